//! `hafiz restore`: puts the metadata of a backup back onto stopped drives.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use store::{Outcome, RestoreOptions, Restored};

use crate::banner::say;
use crate::credentials::Keys;
use crate::offsite::{self, Place};
use crate::remote::{Remote, Server};
use crate::settings::{Settings, Source, Typed, find};
use crate::{braces, cli};

pub(crate) const USAGE: &str = "\
hafiz restore --from DIR DIR... [--read-only] [--elsewhere] [--force]
hafiz restore --from s3://BUCKET/PREFIX --endpoint URL DIR... [flags]
hafiz restore --accept DIR... [--discard] [--accept-missing]
";

pub(crate) const FLAGS_USAGE: &str = "
  --from DIR                  the backup
  --read-only                 restore although commits since the backup may be lost; the deployment is read-only then
  --elsewhere                 put tables on other drives if none is here on which they would count; those that are not
                              here never count again
  --force                     also replace tables that the drives still have
  --endpoint URL              the bucket's server, http:// or https://
  --ca FILE                   PEM certificates to believe of it; else those that the system believes
  --region NAME               its region [us-east-1]
  --credentials-file FILE     who reads the bucket; else AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if there is one,
                              AWS_SESSION_TOKEN; else HAFIZ_ROOT_USER and HAFIZ_ROOT_PASSWORD
  --stage DIR                 holds a copy of what is in the bucket, which is removed [/var/tmp]
";

/// What to put where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Restoration {
    pub(crate) from: From,
    pub(crate) dirs: Vec<PathBuf>,
    pub(crate) read_only: bool,
    pub(crate) force: bool,
    pub(crate) elsewhere: bool,
    /// Settings about the bucket's server.
    pub(crate) flags: cli::Flags,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Dir(PathBuf),
    Bucket {
        place: Place,
        endpoint: String,
        ca: Vec<PathBuf>,
        credentials_file: Option<PathBuf>,
        /// Holds a copy on the way.
        stage: PathBuf,
    },
}

/// Reads the arguments after `restore`.
pub(crate) fn parse(arguments: &[String]) -> Result<Restoration, String> {
    let (mut from, mut endpoint, mut ca, mut credentials_file, mut stage) = (None, None, Vec::new(), None, None);
    let (mut dirs, mut flags) = (Vec::new(), cli::Flags::new());
    let (mut read_only, mut force, mut elsewhere) = (false, false, false);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let (flag, inline) = match argument.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
            _ => (argument.as_str(), None),
        };
        let mut value = || inline.clone().or_else(|| arguments.next().cloned()).ok_or(format!("{flag} needs a value"));
        match flag {
            "--from" => from = Some(value()?),
            "--endpoint" => endpoint = Some(value()?),
            "--ca" => ca.push(PathBuf::from(value()?)),
            "--stage" => stage = Some(PathBuf::from(value()?)),
            "--read-only" => read_only = true,
            "--force" => force = true,
            "--elsewhere" => elsewhere = true,
            "--credentials-file" => credentials_file = Some(PathBuf::from(value()?)),
            "--region" => {
                let name = find("region").expect("the table has it").name;
                let typed = Typed { words: vec![value()?], source: Source::CommandLine, place: flag.to_owned() };
                flags.insert(name, typed);
            }
            _ if flag.starts_with('-') => return Err(format!("unknown flag {flag}; try hafiz help restore")),
            _ => dirs.extend(braces::expand(argument)?.into_iter().map(PathBuf::from)),
        }
    }
    let from = from.ok_or_else(|| format!("name the backup:\n{USAGE}"))?;
    let from = match (Place::parse(&from).transpose()?, endpoint) {
        (Some(place), Some(endpoint)) => {
            let stage = stage.unwrap_or_else(|| offsite::STAGE.into());
            From::Bucket { place, endpoint, ca, credentials_file, stage }
        }
        (Some(_), None) => return Err("name the bucket's server with --endpoint".to_owned()),
        (None, None) if ca.is_empty() && credentials_file.is_none() && stage.is_none() && flags.is_empty() => {
            From::Dir(from.into())
        }
        (None, _) => return Err("flags about a server go with --from s3://BUCKET/PREFIX".to_owned()),
    };
    if dirs.is_empty() {
        return Err(format!("name the directories of the drives:\n{USAGE}"));
    }
    Ok(Restoration { from, dirs, read_only, force, elsewhere, flags })
}

/// Restores. Exit code 1 when it was refused; then nothing was touched.
pub(crate) fn run(restoration: &Restoration, settings: &Settings) -> ExitCode {
    let done = match &restoration.from {
        From::Dir(dir) => restore(restoration, dir.clone()),
        From::Bucket { place, endpoint, ca, credentials_file, stage } => {
            let server = Server { endpoint: endpoint.clone(), ca: ca.clone(), region: settings.region.clone() };
            let keys = Keys::of_other(credentials_file.as_deref(), settings);
            keys.and_then(|keys| fetch(place, &server, keys, stage)).and_then(|dir| {
                let done = restore(restoration, dir.clone());
                match &done {
                    Ok(_) => offsite::remove_stage(&dir),
                    Err(_) => eprintln!(
                        "hafiz: the backup is in {} now: a further attempt may name it with --from; remove it afterwards",
                        dir.display()
                    ),
                }
                done
            })
        }
    };
    match done {
        Ok(restored) => {
            say(&report(&restored));
            ExitCode::SUCCESS
        }
        Err(error) => crate::refuse(&error),
    }
}

fn restore(restoration: &Restoration, from: PathBuf) -> Result<Restored, String> {
    let Restoration { dirs, read_only, force, elsewhere, .. } = restoration.clone();
    store::restore(&RestoreOptions { from, dirs, read_only, force, elsewhere }).map_err(|refusal| refusal.to_string())
}

/// Brings the backup to a new directory below `stage`. After an error nothing is left there.
fn fetch(place: &Place, server: &Server, keys: Keys, stage: &Path) -> Result<PathBuf, String> {
    let mut remote = Remote::new(server, &place.bucket, keys)?;
    let dir = offsite::new_stage(stage)?;
    let progress = &mut |done, of| crate::admin::progress(&format!("{done} of {of} files downloaded"));
    match offsite::download(&mut remote, place, &dir, progress) {
        Ok(()) => Ok(dir),
        Err(error) => {
            offsite::remove_stage(&dir);
            Err(error)
        }
    }
}

fn report(restored: &Restored) -> String {
    let is_kept = |outcome: Outcome| outcome == Outcome::Kept;
    let kept = restored.partitions.iter().filter(|partition| is_kept(partition.outcome)).count();
    let put = restored.partitions.len() - kept;
    let created = s3::date::iso8601(restored.created.milliseconds());
    let mut text = format!(
        "the tables of {put} partitions were put back as of {created} or a little later; {kept} are on the drives and were \
         left alone\n"
    );
    if restored.elsewhere > 0 {
        text.push_str(&format!(
            "those of {} lie on other drives now: they count from the next start on, and the drives that had them never again; name \
             the directories of drives that are gone as well, and --accept-missing if the start asks for it\n",
            restored.elsewhere
        ));
    }
    text.push_str(match (put, restored.is_incomplete) {
        (0, _) => "nothing was to be done: start the server\n",
        (_, false) => "the logs have every commit since: start the server, then hafiz verify\n",
        (_, true) => {
            "commits since may be lost: the deployment is read-only from now on; start the server, hafiz verify lists the \
             objects whose bytes are gone, and copy what is there to a new deployment\n"
        }
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backup_and_drives_are_read_or_asked_for() {
        let parsed = |line: &str| parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let found = parsed("--from /b /d{1..2} --read-only").unwrap();
        let dir = |dir: &str| From::Dir(dir.into());
        assert_eq!((found.from, found.dirs.len(), found.read_only, found.force), (dir("/b"), 2, true, false));
        assert!(parsed("--from=/b /d1 --force").unwrap().force);
        assert!(parsed("--from /b /d1 --elsewhere").unwrap().elsewhere);
        let found = parsed("--from s3://b/p /d1 --endpoint https://h --ca=c --region r").unwrap();
        let place = Place::parse("s3://b/p").unwrap().unwrap();
        let stage = offsite::STAGE.into();
        let (endpoint, ca) = ("https://h".to_owned(), vec!["c".into()]);
        let bucket = From::Bucket { place, endpoint, ca, credentials_file: None, stage };
        assert_eq!((found.from, found.dirs, found.flags.len()), (bucket, vec!["/d1".into()], 1));
        for (line, expect) in [
            ("/d1", "name the backup"),
            ("--from /b", "name the directories"),
            ("--from", "needs a value"),
            ("--from /b /d1 --now", "unknown flag --now"),
            ("--from s3://b /d1", "--endpoint"),
            ("--from s3:// /d1 --endpoint http://h", "s3://BUCKET"),
            ("--from /b /d1 --endpoint http://h", "go with --from s3://"),
        ] {
            let error = parsed(line).err().unwrap_or_default();
            assert!(error.contains(expect), "{line}: {error}");
        }
    }
}

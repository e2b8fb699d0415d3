//! `hafiz recover`: takes what is left on the drives of a deployment that no server starts any more, and says what cannot be
//! known. Writes nothing on the drives.

mod folder;
mod manifest;
mod quarantine;
mod show;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use store::DeploymentId;
use store::salvage::{Found, Options, Report, Salvage};

use crate::banner::say;
use crate::credentials::Keys;
use crate::remote::{Remote, Server};
use crate::settings::{Settings, Source, Typed, find, value};
use crate::{braces, cli};
use folder::Folder;
use quarantine::Quarantine;

/// What to take from where, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recovery {
    pub(crate) dirs: Vec<PathBuf>,
    /// A new or empty directory, or one that an earlier run wrote.
    pub(crate) into: Option<PathBuf>,
    /// An S3 server and a bucket of it.
    pub(crate) quarantine: Option<(String, String)>,
    /// PEM files of certificates to believe of it.
    pub(crate) ca: Vec<PathBuf>,
    pub(crate) with_deleted: bool,
    pub(crate) deployment: Option<DeploymentId>,
    pub(crate) memory_bytes: u64,
    pub(crate) json: bool,
    /// Settings that say who uploads.
    pub(crate) flags: cli::Flags,
}

pub(crate) const USAGE: &str = "\
hafiz recover DIR... [--into DIR] [--endpoint URL --bucket NAME] [flags]
";

pub(crate) const FLAGS_USAGE: &str = "
  --into DIR                  write what is found as files, with a manifest; new, empty, or of an earlier run
  --endpoint URL              upload what is found to this S3 server
  --bucket NAME               ... into this bucket, which must be new, empty, or of an earlier run
  --ca FILE                   PEM certificates to believe of https; else those that the system believes
  --credentials-file FILE     who uploads; or HAFIZ_ROOT_USER and HAFIZ_ROOT_PASSWORD, or AWS_ACCESS_KEY_ID,
                              AWS_SECRET_ACCESS_KEY and, if there is one, AWS_SESSION_TOKEN
  --region NAME               the S3 server's region [us-east-1]
  --with-deleted              also take what is known to have been deleted or replaced
  --deployment ID             which one, when the directories are of several
  --memory SIZE               for entries held at a time [1GiB]
  --json                      print the report as JSON
";

const MEMORY_BYTES: u64 = 1 << 30;
/// Exit codes beside 0.
const UNCERTAIN: u8 = 1;
const SHORT: u8 = 2;
const NOT_DONE: u8 = 3;

/// Reads the arguments after `recover`.
pub(crate) fn parse(arguments: &[String]) -> Result<Recovery, String> {
    let mut recovery = Recovery {
        dirs: Vec::new(),
        into: None,
        quarantine: None,
        ca: Vec::new(),
        with_deleted: false,
        deployment: None,
        memory_bytes: MEMORY_BYTES,
        json: false,
        flags: cli::Flags::new(),
    };
    let (mut endpoint, mut bucket) = (None, None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let (flag, inline) = match argument.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
            _ => (argument.as_str(), None),
        };
        let mut text = || inline.clone().or_else(|| arguments.next().cloned()).ok_or(format!("{flag} needs a value"));
        match flag {
            "--into" => recovery.into = Some(text()?.into()),
            "--endpoint" => endpoint = Some(text()?),
            "--bucket" => bucket = Some(text()?),
            "--ca" => recovery.ca.push(text()?.into()),
            "--with-deleted" => recovery.with_deleted = true,
            "--json" => recovery.json = true,
            "--memory" => recovery.memory_bytes = value::size(&text()?)?,
            "--deployment" => recovery.deployment = Some(deployment(&text()?)?),
            "--credentials-file" | "--region" => {
                let name = find(flag.trim_start_matches('-')).expect("the table has it").name;
                let typed = Typed { words: vec![text()?], source: Source::CommandLine, place: flag.to_owned() };
                recovery.flags.insert(name, typed);
            }
            _ if flag.starts_with('-') => return Err(format!("unknown flag {flag}; try hafiz help recover")),
            dir => recovery.dirs.extend(braces::expand(dir)?.into_iter().map(PathBuf::from)),
        }
    }
    recovery.quarantine = match (endpoint, bucket) {
        (Some(endpoint), Some(bucket)) => Some((endpoint, bucket)),
        (None, None) => None,
        _ => return Err("--endpoint and --bucket go together".to_owned()),
    };
    if !recovery.ca.is_empty() && recovery.quarantine.is_none() {
        return Err("--ca goes with --endpoint".to_owned());
    }
    if recovery.dirs.is_empty() {
        return Err(format!("name the directories of the drives:\n{USAGE}"));
    }
    Ok(recovery)
}

fn deployment(text: &str) -> Result<DeploymentId, String> {
    let id = (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten();
    id.map(DeploymentId).ok_or_else(|| format!("{text} is no deployment: 32 hexadecimal digits"))
}

/// Recovers, and prints the report.
///
/// Exit code: 0 everything that was alive is there, 1 everything found is whole but later changes may be lost, 2 something
/// that was found is not whole or has no name, 3 it could not be done.
pub(crate) fn run(recovery: &Recovery, settings: &Settings) -> ExitCode {
    match recover(recovery, settings) {
        Ok(report) if report.is_short() => ExitCode::from(SHORT),
        Ok(report) if !report.is_certain() => ExitCode::from(UNCERTAIN),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hafiz: {error}");
            ExitCode::from(NOT_DONE)
        }
    }
}

/// What is on the drives, and that as text. Takes and changes nothing.
pub(crate) fn look(dirs: &[PathBuf]) -> Result<(Report, String), String> {
    let recovery = Recovery { dirs: dirs.to_vec(), ..parse(&[".".to_owned()])? };
    let options = Options { memory_bytes: MEMORY_BYTES, deleted: false, unnamed: true, deployment: None };
    let salvage = Salvage::open(dirs, options).map_err(|error| error.to_string())?;
    let report = salvage.run(&mut |_| Ok(())).map_err(|error| error.to_string())?;
    let text = show::report(&report, &recovery);
    Ok((report, text))
}

/// Takes what is found, one after another.
trait Taker {
    fn take(&mut self, salvage: &Salvage, found: &Found) -> io::Result<()>;
    /// Everything was taken.
    fn finish(&mut self, report: &Report) -> io::Result<()>;
}

fn recover(recovery: &Recovery, settings: &Settings) -> Result<Report, String> {
    let options = Options {
        memory_bytes: recovery.memory_bytes,
        deleted: recovery.with_deleted,
        unnamed: recovery.into.is_some() || recovery.quarantine.is_some(),
        deployment: recovery.deployment,
    };
    let salvage = Salvage::open(&recovery.dirs, options).map_err(|error| error.to_string())?;
    let mut takers: Vec<Box<dyn Taker>> = Vec::new();
    if let Some(into) = &recovery.into {
        takers.push(Box::new(Folder::open(into, &recovery.dirs, salvage.deployment())?));
    }
    if let Some((endpoint, bucket)) = &recovery.quarantine {
        let server = Server { endpoint: endpoint.clone(), ca: recovery.ca.clone(), region: settings.region.clone() };
        let remote = Remote::new(&server, bucket, Keys::of(settings)?)?;
        let quarantine = Quarantine::open(remote, bucket, salvage.deployment()).map_err(|error| error.to_string())?;
        takers.push(Box::new(quarantine));
    }
    let report = salvage.run(&mut |found| takers.iter_mut().try_for_each(|taker| taker.take(&salvage, found)));
    let report = report.map_err(|error| error.to_string())?;
    for taker in &mut takers {
        taker.finish(&report).map_err(|error| error.to_string())?;
    }
    let text = if recovery.json { format!("{}\n", manifest::report(&report)) } else { show::report(&report, recovery) };
    say(&text);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Recovery, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn directories_and_flags_are_read_in_any_order() {
        let found = parsed("/d{1..2} --into /out --memory=64MiB /d3 --endpoint http://h:1 --bucket q --json").unwrap();
        let dirs: Vec<PathBuf> = ["/d1", "/d2", "/d3"].map(PathBuf::from).into();
        assert_eq!((found.dirs, found.into, found.memory_bytes), (dirs, Some("/out".into()), 64 << 20));
        assert_eq!(found.quarantine, Some(("http://h:1".to_owned(), "q".to_owned())));
        assert!(found.json && !found.with_deleted);
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_plain_words() {
        for (line, expect) in [
            ("", "name the directories"),
            ("/d1 --into", "--into needs a value"),
            ("/d1 --bucket q", "go together"),
            ("/d1 --ca f", "goes with --endpoint"),
            ("/d1 --deployment 12", "32 hexadecimal digits"),
            ("/d1 --force", "unknown flag --force"),
        ] {
            let error = parsed(line).err().unwrap_or_default();
            assert!(error.contains(expect), "{line}: {error}");
        }
    }
}

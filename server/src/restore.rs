//! `hafiz restore`: puts the metadata of a backup back onto stopped drives.

use std::path::PathBuf;
use std::process::ExitCode;

use store::{Outcome, RestoreOptions, Restored};

use crate::banner::say;
use crate::braces;

pub(crate) const USAGE: &str = "\
hafiz restore --from DIR DIR... [--read-only] [--force]
";

pub(crate) const FLAGS_USAGE: &str = "
  --from DIR                  the backup
  --read-only                 restore although commits since the backup may be lost; the deployment is read-only then
  --force                     also replace tables that the drives still have
";

/// Reads the arguments after `restore`.
pub(crate) fn parse(arguments: &[String]) -> Result<RestoreOptions, String> {
    let mut from = None;
    let mut options = RestoreOptions { from: PathBuf::new(), dirs: Vec::new(), read_only: false, force: false };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.split_once('=').unwrap_or((argument, "")) {
            ("--from", "") => from = Some(arguments.next().ok_or("--from needs a value")?.into()),
            ("--from", dir) => from = Some(dir.into()),
            ("--read-only", "") => options.read_only = true,
            ("--force", "") => options.force = true,
            (flag, _) if flag.starts_with('-') => return Err(format!("unknown flag {flag}; try hafiz help restore")),
            _ => options.dirs.extend(braces::expand(argument)?.into_iter().map(PathBuf::from)),
        }
    }
    options.from = from.ok_or_else(|| format!("name the backup:\n{USAGE}"))?;
    if options.dirs.is_empty() {
        return Err(format!("name the directories of the drives:\n{USAGE}"));
    }
    Ok(options)
}

/// Restores. Exit code 1 when it was refused; then nothing was touched.
pub(crate) fn run(options: &RestoreOptions) -> ExitCode {
    match store::restore(options) {
        Ok(restored) => {
            say(&report(&restored));
            ExitCode::SUCCESS
        }
        Err(refusal) => crate::refuse(&refusal.to_string()),
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
        assert_eq!((found.from, found.dirs.len(), found.read_only, found.force), ("/b".into(), 2, true, false));
        assert!(parsed("--from=/b /d1 --force").unwrap().force);
        for (line, expect) in [
            ("/d1", "name the backup"),
            ("--from /b", "name the directories"),
            ("--from", "needs a value"),
            ("--from /b /d1 --now", "unknown flag --now"),
        ] {
            let error = parsed(line).err().unwrap_or_default();
            assert!(error.contains(expect), "{line}: {error}");
        }
    }
}

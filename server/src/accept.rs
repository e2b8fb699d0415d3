//! `hafiz restore --accept`: takes what an incomplete restore gave back as all there is.

use std::path::PathBuf;
use std::process::ExitCode;

use store::Accepted;
use store::salvage::Report;

use crate::banner::say;
use crate::{braces, recover};

pub(crate) const USAGE: &str = "\
hafiz restore --accept DIR... [--discard] [--accept-missing]
";

/// What to accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acceptance {
    pub(crate) dirs: Vec<PathBuf>,
    /// Do it. Otherwise only what it would cost is said.
    pub(crate) discard: bool,
    pub(crate) accept_missing: bool,
}

/// Reads the arguments after `restore`, which has `--accept` among them.
pub(crate) fn parse(arguments: &[String]) -> Result<Acceptance, String> {
    let mut acceptance = Acceptance { dirs: Vec::new(), discard: false, accept_missing: false };
    for argument in arguments {
        match argument.as_str() {
            "--accept" => {}
            "--discard" => acceptance.discard = true,
            "--accept-missing" => acceptance.accept_missing = true,
            flag if flag.starts_with('-') => {
                return Err(format!("{flag} does not go with --accept; try hafiz help restore"));
            }
            dir => acceptance.dirs.extend(braces::expand(dir)?.into_iter().map(PathBuf::from)),
        }
    }
    if acceptance.dirs.is_empty() {
        return Err(format!("name the directories of the drives:\n{USAGE}"));
    }
    Ok(acceptance)
}

/// Exit code 0 when the mark is taken away, 1 when it is there.
pub(crate) fn run(acceptance: &Acceptance) -> ExitCode {
    let done = if acceptance.discard { accept(acceptance).map(|accepted| done(&accepted)) } else { look(acceptance) };
    match done {
        Ok(text) => {
            say(&text);
            ExitCode::from(if acceptance.discard { 0 } else { crate::REFUSED })
        }
        Err(error) => crate::refuse(&error),
    }
}

/// Reads the drives and changes nothing.
fn look(acceptance: &Acceptance) -> Result<String, String> {
    let mark = mark(&acceptance.dirs)?;
    let (report, text) = recover::look(&acceptance.dirs)?;
    Ok(format!("{text}{}", cost(&mark, &report)))
}

/// Times of the backup and of the restore, as text.
fn mark(dirs: &[PathBuf]) -> Result<(String, String), String> {
    let found = dirs.iter().find_map(|dir| store::restore_mark(dir).transpose());
    let found = found.ok_or("no drive has the mark of an incomplete restore: there is nothing to accept")?;
    let (created, restored) = found.map_err(|error| error.to_string())?;
    Ok((s3::date::iso8601(created.milliseconds()), s3::date::iso8601(restored.milliseconds())))
}

fn cost((created, restored): &(String, String), report: &Report) -> String {
    format!(
        "\nrestored at {restored} from a backup of {created}. If that is accepted as all there is:\n\
         - {} stretches of bodies that no record names, {} bytes, are freed for good, and so is whatever else has no name;\n\
         - objects that were deleted since {created} and are back stay, and so do older versions of what was replaced;\n\
         - commits that could not be read, be it that drives are missing, are never looked for again.\n\
         What may be needed of it is to be taken before: hafiz recover --into. Nothing was changed; to go on, the same with \
         --discard\n",
        report.unnamed.found, report.unnamed.bytes
    )
}

fn accept(acceptance: &Acceptance) -> Result<Accepted, String> {
    // A start is refused for reasons of its own; this one is better said before.
    mark(&acceptance.dirs)?;
    let config =
        store::Config { accept_missing: acceptance.accept_missing, ..store::Config::new(acceptance.dirs.clone()) };
    let main = move || async move {
        store::open(config).await.map_err(|error| error.to_string())?;
        let accepted = store::here().accept_restored().await;
        store::close().await;
        accepted.map_err(|what| format!("nothing was accepted: {what}"))
    };
    rt::run_alone(rt::Config::new(1), main).map_err(|error| format!("{error}; hafiz doctor says more"))?
}

fn done(accepted: &Accepted) -> String {
    let mut text = format!(
        "{} objects, {} bytes in {} partitions, are all there is now",
        accepted.objects, accepted.bytes, accepted.partitions
    );
    if accepted.extents_dropped + accepted.parts_dropped > 0 {
        text.push_str(&format!(
            "; {} extents of {} bytes and {} parts of uploads were listed that nothing has",
            accepted.extents_dropped, accepted.bytes_dropped, accepted.parts_dropped
        ));
    }
    if accepted.buckets_named > 0 {
        text.push_str(&format!(
            "\n{} buckets of which no name is left are there as recovered-ID, owned by this site",
            accepted.buckets_named
        ));
    }
    if accepted.short > 0 {
        text.push_str(&format!(
            "\n{} objects or parts of uploads, {} bytes, are short: volumes that they lie in are gone",
            accepted.short, accepted.bytes_short
        ));
    }
    text.push_str(
        "\nstart the server: it takes writes, and frees what nothing names; hafiz verify lists what is not whole\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_needed_and_nothing_of_a_restore() {
        let parsed = |line: &str| parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let found = parsed("--accept /d{1..3} --discard").unwrap();
        assert_eq!((found.dirs.len(), found.discard, found.accept_missing), (3, true, false));
        assert!(!parsed("/d --accept").unwrap().discard);
        assert!(parsed("--accept").unwrap_err().contains("name the directories"));
        assert!(parsed("--accept /d --from=/b").unwrap_err().contains("--from=/b does not go with --accept"));
    }

    #[test]
    fn drives_without_the_mark_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let error = mark(&[place.path().to_owned()]).unwrap_err();
        assert!(error.contains("nothing to accept"), "{error}");
    }
}

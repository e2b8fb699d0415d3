//! `hafiz inspect`: what is on the drives, read without a lock and without writing; it may run beside the server.

use std::path::PathBuf;
use std::process::ExitCode;

use store::VolumeId;
use store::inspect::{self, Failure};
use types::{BucketName, ObjectKey};

use crate::banner;
use crate::braces;

/// What to look at, and the drives' directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inspection {
    pub(crate) subject: Subject,
    pub(crate) dirs: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Identity, epoch and slot files of each directory.
    Drive,
    /// First page, slots and every stripe, all fragments verified.
    Volume(VolumeId),
    /// Record and fragments of the current object of a key, all verified.
    Object(BucketName, ObjectKey),
}

pub(crate) const USAGE: &str = "\
hafiz inspect drive DIR...                 identity, epoch, slot files
hafiz inspect volume ID DIR...             first page, slots, every stripe with its fragments
hafiz inspect object BUCKET/KEY DIR...     record, and which fragments are on which drives
";

/// Reads the arguments after `inspect`.
pub(crate) fn parse(arguments: &[String]) -> Result<Inspection, String> {
    let (subject, dirs) = match arguments {
        [what, dirs @ ..] if what == "drive" => (Subject::Drive, dirs),
        [what, id, dirs @ ..] if what == "volume" => (Subject::Volume(volume_id(id)?), dirs),
        [what, object, dirs @ ..] if what == "object" => {
            let (bucket, key) = object.split_once('/').ok_or_else(|| format!("{object}: write BUCKET/KEY"))?;
            let bucket = BucketName::parse(bucket).map_err(|_| format!("{bucket} is no bucket name"))?;
            let key = ObjectKey::parse(key).map_err(|_| format!("{key:?} is no object key"))?;
            (Subject::Object(bucket, key), dirs)
        }
        _ => return Err(format!("write one of:\n{USAGE}")),
    };
    let mut expanded = Vec::new();
    for dir in dirs {
        expanded.extend(braces::expand(dir)?.into_iter().map(PathBuf::from));
    }
    if expanded.is_empty() {
        return Err("name the directories of the drives".to_owned());
    }
    Ok(Inspection { subject, dirs: expanded })
}

/// A volume's id as the names of its files have it: 16 hexadecimal digits.
fn volume_id(text: &str) -> Result<VolumeId, String> {
    let id = (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
    id.map(VolumeId).ok_or_else(|| format!("{text} is no volume id: 16 hexadecimal digits, as in volumes/ID.SLOT"))
}

/// Prints the report. Exit code 1 when something cannot be read that should be there.
pub(crate) fn run(inspection: &Inspection) -> ExitCode {
    match inspect(inspection) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("hafiz: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn inspect(inspection: &Inspection) -> Result<bool, Failure> {
    let Inspection { subject, dirs } = inspection;
    match subject {
        Subject::Drive => {
            let mut is_well = true;
            for dir in dirs {
                let report = inspect::drive(dir)?;
                is_well &= report.identity.is_ok();
                banner::say(&format!("{report}\n"));
            }
            Ok(is_well)
        }
        Subject::Volume(id) => {
            banner::say(&format!("{}\n", inspect::volume(dirs, *id)?));
            inspect::stripes(dirs, *id, |stripe| banner::say(&format!("{stripe}\n")))?;
            Ok(true)
        }
        Subject::Object(bucket, key) => {
            let report = inspect::object(dirs, bucket, key)?;
            banner::say(&format!("{report}\n"));
            Ok(report.is_readable())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_and_its_directories_are_read_or_refused_in_plain_words() {
        let check = |line: &str, expect: Result<Inspection, &str>| {
            let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
            match (parse(&arguments), expect) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{line}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{line}: {found}"),
                (found, expected) => panic!("{line}: {found:?}, not {expected:?}"),
            }
        };
        let dirs = || vec![PathBuf::from("/d1"), PathBuf::from("/d2")];
        check("drive /d{1..2}", Ok(Inspection { subject: Subject::Drive, dirs: dirs() }));
        let volume = Subject::Volume(VolumeId(0x0100_0002));
        check("volume 0000000001000002 /d1 /d2", Ok(Inspection { subject: volume, dirs: dirs() }));
        let bucket = BucketName::parse("abc").expect("a valid name");
        let object = Subject::Object(bucket, ObjectKey::parse("k/1").expect("a valid key"));
        check("object abc/k/1 /d1 /d2", Ok(Inspection { subject: object, dirs: dirs() }));
        check("volume 12 /d1", Err("16 hexadecimal digits"));
        check("object abc /d1", Err("BUCKET/KEY"));
        check("object A/k /d1", Err("no bucket name"));
        check("drive", Err("name the directories"));
        check("table /d1", Err("write one of"));
    }
}

//! Looks at a directory at the start. Changes nothing but for taking the lock of a drive that is ours.

use std::io;
use std::path::Path;

use rt::file::FileLock;

use super::{ASIDE_SUFFIX, IDENTITY_NAME, LOCK_NAME, TOPOLOGY_NAME, VOLUMES_NAME, is_gone, parse_volume_name};
use crate::format::Invalid;
use crate::format::drive::Identity;
use crate::format::topology::Topology;
use crate::topology::{Found, OpenError, Seen};

/// Made by the file system itself.
const FRESH_NAMES: [&str; 1] = ["lost+found"];

/// What was found, and the lock that keeps it so.
pub(crate) struct Looked {
    pub(crate) seen: Seen,
    pub(crate) lock: Option<FileLock>,
    /// Device and inode of the directory, if there is one.
    pub(crate) place: Option<(u64, u64)>,
    /// The largest start number among the volume files.
    pub(crate) newest_start: u32,
}

impl Looked {
    /// Of a drive that did not answer.
    pub(crate) fn silent(dir: &Path) -> Looked {
        let seen = Seen { dir: dir.to_owned(), found: Found::Unreadable };
        Looked { seen, lock: None, place: None, newest_start: 0 }
    }
}

/// Looks at one directory.
///
/// Errors: `Locked`, and `Io` for what the operator must correct. A drive that answers with errors is `Unreadable`.
pub(crate) async fn look(dir: &Path) -> Result<Looked, OpenError> {
    let mut looked =
        Looked { seen: Seen { dir: dir.to_owned(), found: Found::Absent }, lock: None, place: None, newest_start: 0 };
    match look_inside(dir, &mut looked).await {
        Ok(found) => looked.seen.found = found,
        Err(Failure::Locked) => return Err(OpenError::Locked { dir: dir.to_owned() }),
        Err(Failure::Io(error)) if is_gone(&error) => looked.seen.found = Found::Unreadable,
        Err(Failure::Io(error)) => {
            return Err(OpenError::Io { path: dir.to_owned(), doing: "look into", error });
        }
    }
    Ok(looked)
}

enum Failure {
    Locked,
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

async fn look_inside(dir: &Path, looked: &mut Looked) -> Result<Found, Failure> {
    let metadata = match rt::file::metadata(dir).await {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Absent),
        Err(error) => return Err(error.into()),
    };
    looked.place = Some((metadata.dev, metadata.ino));
    let entries = rt::file::read_dir(dir).await?;
    if !entries.iter().any(|entry| entry.name == IDENTITY_NAME) {
        let aside = format!("{IDENTITY_NAME}{ASIDE_SUFFIX}");
        let is_fresh = |name: &str| FRESH_NAMES.contains(&name) || name == LOCK_NAME || name == aside;
        let other = entries.into_iter().find(|entry| !is_fresh(&entry.name));
        return Ok(other.map_or(Found::Empty, |entry| Found::NotOurs { entry: entry.name }));
    }
    looked.lock = Some(rt::file::try_lock(dir.join(LOCK_NAME)).await?.ok_or(Failure::Locked)?);
    let identity = match Identity::decode_file(&rt::file::read(dir.join(IDENTITY_NAME)).await?) {
        Ok(identity) => identity,
        Err(why) => return Ok(Found::Invalid(why)),
    };
    let topology = match read_if_there(&dir.join(TOPOLOGY_NAME)).await? {
        Some(bytes) => Topology::decode_file(&bytes).map(|(topology, _)| topology),
        None => Err(Invalid::Magic),
    };
    let volumes = match rt::file::read_dir(dir.join(VOLUMES_NAME)).await {
        Ok(volumes) => volumes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let starts = volumes.iter().filter_map(|entry| parse_volume_name(&entry.name)).map(|(id, _)| id.start().value());
    looked.newest_start = starts.max().unwrap_or(0);
    Ok(Found::Drive { identity, topology, has_volumes: !volumes.is_empty() })
}

async fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match rt::file::read(path).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

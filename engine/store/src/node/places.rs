//! Where drives were last: written by every start and admission, so that a directory that was forgotten on the command line
//! does not cost its drive.

use std::path::Path;

use super::Node;
use crate::drive::{Drive, Looked, look, write_whole};
use crate::format::places::{self, Places};
use crate::topology::{Found, OpenError, Topology};

const NAME: &str = "places";

/// Notes where the drives that are in are, on each of them. What fails is only a hint less.
pub(super) async fn write(node: &Node) {
    let topology = node.topology();
    let drives = node.drives();
    let is_in = |drive: &&std::sync::Arc<Drive>| topology.is_in(drive.id) && drive.is_usable();
    let mut noted = Places::new();
    for drive in drives.iter().filter(is_in) {
        noted.push((drive.id, std::path::absolute(&drive.dir).unwrap_or_else(|_| drive.dir.clone())));
    }
    let bytes = places::encode(&noted);
    let writes: Vec<_> = drives
        .iter()
        .filter(is_in)
        .map(|drive| {
            let (drive, bytes) = (drive.clone(), bytes.clone());
            rt::spawn_foreground(async move { drive.while_answering(write_on(&drive, bytes)).await })
        })
        .collect();
    for write in writes {
        write.await;
    }
}

async fn write_on(drive: &Drive, bytes: Vec<u8>) {
    let _in_flight = drive.begin();
    let path = drive.dir.join(NAME);
    if rt::file::read(&path).await.is_ok_and(|there| there == bytes) {
        return;
    }
    if let Err(error) = write_whole(&path, bytes).await {
        telemetry::warn!("the places of the drives cannot be noted: {error}"; drive = drive.dir.display());
    }
}

/// Looks for members that no directory holds where they were last. Only the very drive counts. One line for each found, for
/// the operator.
///
/// Errors: as of looking at a directory that was named.
pub(super) async fn find_forgotten(looked: &mut Vec<Looked>) -> Result<Vec<String>, OpenError> {
    let Some((newest, holder)) = newest(looked) else { return Ok(Vec::new()) };
    let of_others = looked.iter().any(|looked| match &looked.seen.found {
        Found::Drive { identity, .. } => identity.deployment != newest.deployment,
        Found::Absent | Found::Empty | Found::NotOurs { .. } | Found::Unreadable | Found::Invalid(_) => false,
    });
    if of_others {
        // The start is refused, and should name what was given.
        return Ok(Vec::new());
    }
    let Some(noted) = read(&holder).await else { return Ok(Vec::new()) };
    let mut notices = Vec::new();
    for (drive, dir) in noted {
        let is_it = |looked: &Looked| match &looked.seen.found {
            Found::Drive { identity, .. } => identity.drive == drive && identity.deployment == newest.deployment,
            Found::Absent | Found::Empty | Found::NotOurs { .. } | Found::Unreadable | Found::Invalid(_) => false,
        };
        let is_known = looked.iter().any(is_it) || looked.iter().any(|looked| same_path(&looked.seen.dir, &dir));
        if is_known || !newest.is_in(drive) {
            continue;
        }
        // Not there or unreadable: then the drive is missing.
        let Ok(found) = look(&dir).await else { continue };
        let twice = found.place.is_some() && looked.iter().any(|looked| looked.place == found.place);
        if is_it(&found) && !twice {
            notices.push(format!(
                "drive {drive} was not named and is used all the same: it is in {}, where it was last; add that directory \
                 to the command line (or HAFIZ_DIRS)",
                dir.display()
            ));
            looked.push(found);
        }
    }
    Ok(notices)
}

/// By their names only.
pub(super) fn same_path(one: &Path, other: &Path) -> bool {
    std::path::absolute(one).ok() == std::path::absolute(other).ok()
}

/// The newest epoch that is here, and a directory that holds it.
fn newest(looked: &[Looked]) -> Option<(Topology, std::path::PathBuf)> {
    let held = looked.iter().filter_map(|looked| match &looked.seen.found {
        Found::Drive { topology: Ok(topology), identity, .. } if topology.is_in(identity.drive) => {
            Some((topology, &looked.seen.dir))
        }
        _ => None,
    });
    held.max_by_key(|(topology, _)| topology.number).map(|(topology, dir)| (topology.clone(), dir.clone()))
}

async fn read(dir: &Path) -> Option<Places> {
    places::decode(&rt::file::read(dir.join(NAME)).await.ok()?).ok()
}

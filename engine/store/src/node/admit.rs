//! Drives that enter and leave while the node runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rt::time::{Duration, Instant};

use super::epoch::change;
use super::open::look_in_time;
use super::places::same_path;
use super::{Node, places, write};
use crate::drive::{Drive, Looked, State, equip};
use crate::error::{Error, Result};
use crate::format::topology::DRIVES_MAX;
use crate::ids::DriveId;
use crate::space;
use crate::topology::{AdmitError, Found, OpenError, in_own_task, may_retire, may_shrink};
use crate::volume::Volume;

/// How long a drive that is to leave waits for volumes that are being made, and how often it looks.
const CREATIONS_WAIT_MAX: Duration = Duration::from_secs(20);
const CREATIONS_LOOK_EVERY: Duration = Duration::from_millis(2);

/// How long a directory may take to become a drive.
const EQUIP_MAX: Duration = Duration::from_secs(20);

impl Node {
    /// Makes a drive of the directory and takes it in: when this returns, an epoch with it counts, and the next volume may
    /// lie on it. The directory is made if it is not there. May be called on any shard; a call that is given up goes on.
    ///
    /// A crash leaves the node as it was or with the drive. An identity without an epoch may be left in the directory, which
    /// is then admitted again as if it were empty.
    pub(crate) async fn admit(self: &Arc<Node>, dir: PathBuf) -> std::result::Result<DriveId, AdmitError> {
        let node = self.clone();
        in_own_task(move || admit_here(node, dir)).await
    }

    /// Takes a drive out because the operator says so; unlike `take_out` it never makes the node refuse writes.
    ///
    /// Errors: `NotFound`, and `Unavailable` when data or the last copy of some tables would be lost, or too few drives left.
    pub(crate) async fn retire(self: &Arc<Node>, id: DriveId) -> Result<()> {
        let node = self.clone();
        in_own_task(move || retire_here(node, id)).await
    }

    /// The volumes that could not be read any more without these drives. What hollow slots have does not count.
    pub(crate) fn unreadable_without(&self, drives: &[DriveId]) -> Vec<Arc<Volume>> {
        let is_unreadable = |volume: &Arc<Volume>| {
            let width = volume.geometry.width();
            let solid = volume.solid_slots();
            let goes = |slot: usize| drives.contains(&volume.drive(slot).id);
            let holds = (0..width).any(|slot| volume.is_readable(slot) && goes(slot));
            // What a drive that is behind has is not known yet.
            let counts = |slot: usize| solid & (1 << slot) != 0 && !volume.drive(slot).is_behind();
            let left = (0..width).filter(|&slot| counts(slot) && !goes(slot)).count();
            holds && left < usize::from(volume.geometry.data)
        };
        self.volumes().into_iter().filter(is_unreadable).collect()
    }

    /// Whether no other drive has a copy of some tables that counts and is known to be whole. While tables do not count yet the
    /// log has everything.
    pub(super) fn hold_last_tables(&self, ids: &[DriveId]) -> bool {
        let topology = self.topology();
        self.heal.tables().into_iter().any(|(partition, index)| {
            let whole = index.whole_copies();
            let is_good = |drive: &&Arc<Drive>| {
                drive.is_usable()
                    && topology.is_in_sync(partition, drive.id)
                    && whole.contains(&self.index_dir(drive, partition))
            };
            let drives = self.drives();
            topology.is_any_in_sync(partition)
                && ids.iter().any(|&id| topology.is_in_sync(partition, id))
                && !drives.iter().filter(is_good).any(|drive| !ids.contains(&drive.id))
        })
    }
}

/// All is looked at in the turn: of two drives that can do without each other only one may go.
async fn retire_here(node: Arc<Node>, id: DriveId) -> Result<()> {
    let _turn = node.turns.take().await;
    let topology = node.topology();
    if !topology.member(id).ok_or(Error::NotFound)?.is_in() {
        return Ok(());
    }
    let members = topology.in_count();
    if !may_retire(members, members - 1, topology.parity) {
        return Err(Error::Unavailable("too few drives would be left"));
    }
    let Some(drive) = node.drive(id) else { return Err(Error::NotFound) };
    drive.set_leaving(true);
    let retired = retire_leaving(&node, id).await;
    // One that is out by now gets no volumes anyway.
    drive.set_leaving(false);
    retired
}

/// The rest, with a drive that no new volume chooses any more.
async fn retire_leaving(node: &Arc<Node>, id: DriveId) -> Result<()> {
    let begun = node.creations.begun();
    let give_up = Instant::now() + CREATIONS_WAIT_MAX;
    while !node.creations.have_ended(begun) {
        if Instant::now() >= give_up {
            return Err(Error::Unavailable("a volume is being made on it; try again in a minute"));
        }
        rt::time::sleep(CREATIONS_LOOK_EVERY).await;
    }
    if space::is_any_needed(node, &[id]).await {
        return Err(Error::Unavailable(
            "data would be lost: parity cannot make up for it, or not yet; drain the drive first",
        ));
    }
    if node.hold_last_tables(&[id]) {
        return Err(Error::Unavailable("it holds the only good copy of some index tables; try again in a minute"));
    }
    let epoch = change(node, vec![id], None, may_retire, |_| {}).await?;
    telemetry::info!("a drive was taken out as asked for"; drive = id, epoch = epoch.number);
    places::write(node).await;
    Ok(())
}

async fn admit_here(node: Arc<Node>, dir: PathBuf) -> std::result::Result<DriveId, AdmitError> {
    let _turn = node.turns.take().await;
    if node.refuses_writes() {
        return Err(AdmitError::Unavailable);
    }
    let drives = node.drives();
    if drives.len() >= DRIVES_MAX {
        return Err(AdmitError::ListFull { drives: drives.len() });
    }
    refuse_used(&node, &dir).await?;
    let mut looked = match look_in_time(&dir).await {
        // A drive that was taken out since the start is still locked by this process.
        Err(OpenError::Locked { dir }) => {
            let gone = drives.iter().find(|drive| !drive.is_usable() && same_path(&drive.dir, &dir));
            return Err(match gone {
                Some(drive) => AdmitError::Returned { dir, drive: drive.id },
                None => OpenError::Locked { dir }.into(),
            });
        }
        looked => looked?,
    };
    refuse_unfit(&node, &looked)?;
    // The turn is held meanwhile: a directory that hangs must not keep other drives from being taken out.
    let equipped = rt::time::timeout(EQUIP_MAX, equip(&mut looked, &node.topology())).await;
    let id = equipped.map_err(|rt::time::Elapsed| AdmitError::Fails { dir: dir.clone() })??;
    let drive = Arc::new(Drive::new(id, dir.clone(), State::Out));
    // Before any epoch names it: the places of drives in the two lists are the same.
    let listed: Vec<Arc<Drive>> = drives.iter().cloned().chain([drive.clone()]).collect();
    *write(&node.drives) = listed.into();
    let topology =
        change(&node, Vec::new(), Some(id), may_shrink, |_| {}).await.map_err(|_| AdmitError::Unavailable)?;
    if !topology.is_in(id) {
        return Err(AdmitError::Fails { dir });
    }
    if let Some(lock) = looked.lock.take() {
        node.keep_locks(vec![lock]);
    }
    if let Ok(space) = rt::file::fs_space(&dir).await {
        drive.set_space(space);
    }
    drive.set_in();
    telemetry::info!("a drive was taken in"; drive = dir.display(), id = id, epoch = topology.number);
    places::write(&node).await;
    Ok(id)
}

/// Refuses the directory of a drive that is used, by whatever name.
async fn refuse_used(node: &Node, dir: &Path) -> std::result::Result<(), AdmitError> {
    // What is not there yet is nobody's; other errors show when it is looked into.
    let Ok(place) = rt::file::metadata(dir).await else { return Ok(()) };
    for drive in node.drives().iter().filter(|drive| drive.is_usable()) {
        // One that does not answer is known by its name.
        let other = drive.while_answering(rt::file::metadata(&drive.dir)).await.and_then(|other| other.ok());
        let same = other.is_some_and(|other| (other.dev, other.ino) == (place.dev, place.ino));
        if same || drive.dir == dir {
            return Err(AdmitError::InUse { dir: dir.to_owned() });
        }
    }
    Ok(())
}

/// Refuses all but what is empty or was left by an admission that was broken off.
fn refuse_unfit(node: &Node, looked: &Looked) -> std::result::Result<(), AdmitError> {
    let dir = looked.seen.dir.clone();
    match &looked.seen.found {
        Found::Absent | Found::Empty => Ok(()),
        Found::NotOurs { entry } => Err(OpenError::NotEmpty { dir, entry: entry.clone() }.into()),
        Found::Unreadable => Err(AdmitError::Fails { dir }),
        Found::Invalid(crate::format::Invalid::Newer { version }) => {
            Err(OpenError::Newer { dir, what: "the drive identity", version: *version }.into())
        }
        Found::Invalid(_) => Err(AdmitError::Damaged { dir }),
        Found::Drive { identity, has_volumes, .. } => {
            let (deployment, drive) = (identity.deployment, identity.drive);
            match node.topology().member(drive) {
                _ if deployment != node.deployment => {
                    Err(OpenError::Foreign { dir, deployment, expected: node.deployment }.into())
                }
                Some(member) if member.is_in() => Err(AdmitError::Copy { dir, drive }),
                Some(_) => Err(AdmitError::Returned { dir, drive }),
                None if *has_volumes => Err(OpenError::Foreign { dir, deployment, expected: node.deployment }.into()),
                None => Ok(()),
            }
        }
    }
}

//! The set of drives as operators see and change it.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rt::ShardId;

use crate::drive::{Kind, State};
use crate::error::{Error, Result};
use crate::heal::{self, Draining, HealStatus};
use crate::ids::DriveId;
use crate::node::{Mark, Node};
use crate::store::Store;
use crate::topology::AdmitError;
use crate::volume::Volume;

/// How often a drive that is being drained is looked at.
const DRAIN_LOOK_EVERY: Duration = Duration::from_secs(2);
/// Looks after which volumes that still take writes keep a drained drive no longer.
const OPEN_LOOKS: u32 = 5;

/// Whether a drive is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveState {
    In,
    /// Late or failing: gets no new volumes.
    Suspect,
    /// Taken out: it may be removed, and comes back as a new drive only.
    Out,
    /// Was not there at the start.
    Missing,
}

/// One drive of the deployment.
#[derive(Clone, Debug)]
pub struct DriveStatus {
    pub id: DriveId,
    pub dir: PathBuf,
    pub state: DriveState,
    /// What it holds is being moved to others.
    pub is_draining: bool,
    /// It lacked what it had acknowledged; all it holds is verified now.
    pub is_behind: bool,
    /// Of the file system, as asked last; 0 for one that is not used.
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// Bytes of the slots that lie on it.
    pub used_bytes: u64,
    /// Of slots that should lie on it; `None` while nothing is evened out, and of drives that take no new slots.
    pub target_bytes: Option<u64>,
    pub read_errors: u64,
    pub write_errors: u64,
    /// Suspect because it is much slower than the others.
    pub is_slow: bool,
    /// Operations that it has not ended.
    pub in_flight: u32,
    /// How long an operation takes: moving averages of the last dozens; zero when there were none.
    pub read_latency: Duration,
    pub write_latency: Duration,
    /// Of flushes, and of writes that are durable when they end.
    pub flush_latency: Duration,
    /// Slots of volumes that lie on it and can be read.
    pub slots: usize,
    /// Slots that are expected on it and cannot be read there. Other drives make up for them until they are rebuilt.
    pub slots_lost: usize,
}

impl Store {
    /// Every drive that this deployment has listed, in the order in which they came. Those that were taken out are left out
    /// when nothing is expected on them any more.
    pub fn drives(&self) -> Vec<DriveStatus> {
        let node = self.shard().node();
        let volumes = node.volumes();
        let drives = node.drives();
        let targets = heal::balance::targets(node);
        let statuses = drives.iter().map(|drive| {
            let (mut slots, mut slots_lost, mut used_bytes) = (0, 0, 0);
            for volume in &volumes {
                for slot in (0..volume.geometry.width()).filter(|&slot| volume.drive(slot).id == drive.id) {
                    if volume.is_readable(slot) {
                        (slots, used_bytes) = (slots + 1, used_bytes + volume.slot_bytes);
                    } else {
                        slots_lost += 1;
                    }
                }
            }
            let (space, (read_errors, write_errors)) = (drive.space(), drive.errors());
            DriveStatus {
                id: drive.id,
                dir: drive.dir.clone(),
                state: match drive.state() {
                    State::In => DriveState::In,
                    State::Suspect => DriveState::Suspect,
                    State::Out => DriveState::Out,
                    State::Missing => DriveState::Missing,
                },
                is_draining: drive.is_draining(),
                is_behind: drive.is_behind(),
                total_bytes: space.total,
                free_bytes: space.free,
                used_bytes,
                target_bytes: targets.iter().find(|(id, _)| *id == drive.id).map(|(_, bytes)| *bytes),
                read_errors,
                write_errors,
                is_slow: drive.is_slow(),
                in_flight: drive.pulse.in_flight(),
                read_latency: drive.pulse.latency(Kind::Read).mean,
                write_latency: drive.pulse.latency(Kind::Write).mean,
                flush_latency: drive.pulse.latency(Kind::Flush).mean,
                slots,
                slots_lost,
            }
        });
        statuses.filter(|drive| drive.state != DriveState::Out || drive.slots_lost > 0).collect()
    }

    /// Takes one more drive in. The directory is made if it is not there; otherwise it must be empty.
    pub async fn add_drive(&self, dir: PathBuf) -> std::result::Result<DriveId, AdmitError> {
        self.shard().node().admit(dir).await
    }

    /// Takes a drive out for good. What it holds is expected on it no more.
    ///
    /// Errors: `NotFound`; `Unavailable` when data would be lost, or too few drives were left.
    pub async fn take_out_drive(&self, id: DriveId) -> Result<()> {
        self.shard().node().retire(id).await
    }

    /// Has what the drive holds moved to others, and takes it out when nothing is left on it. The answer says what is. Goes on
    /// until it is done or `undrain_drive`, over restarts.
    ///
    /// Errors: `NotFound` when there is no such drive among those that are in; `Unavailable` when it cannot be made durable.
    pub async fn drain_drive(&self, id: DriveId) -> Result<Draining> {
        let node = self.shard().node().clone();
        rt::call(ShardId(0), move || async move {
            let was_draining = node.drive(id).is_some_and(|drive| drive.is_draining());
            node.mark(Mark::Drain(id)).await?;
            if !was_draining {
                drop(rt::spawn(retire_when_empty(Arc::downgrade(&node), id)));
            }
            heal::left_on(id)
        })
        .await
    }

    /// Uses a drive again that was being drained. What has moved stays where it is now.
    ///
    /// Errors: as of `drain_drive`.
    pub async fn undrain_drive(&self, id: DriveId) -> Result<()> {
        self.shard().node().mark(Mark::Undrain(id)).await
    }

    /// Has slots moved from fuller drives to emptier ones until they are about equally full for their sizes, at most so many
    /// MiB of slots in a second (0 = as fast as requests let it). Goes on until that is so or `end_rebalance`, over restarts.
    /// Asked for again it takes the new pace.
    ///
    /// Errors: `Unavailable` when there is nothing to do, or nothing can be moved, or it cannot be made durable.
    pub async fn rebalance(&self, pace_mib: u32) -> Result<()> {
        let node = self.shard().node().clone();
        rt::call(ShardId(0), move || async move { heal::balance::begin(&node, pace_mib).await }).await
    }

    /// No more slots move for it; those that have moved stay where they are now.
    pub async fn end_rebalance(&self) -> Result<()> {
        let node = self.shard().node().clone();
        rt::call(ShardId(0), move || async move { heal::balance::end(&node).await }).await
    }

    /// How healing stands. Cost: a look at every slot of every volume, in memory.
    pub fn heal_status(&self) -> HealStatus {
        heal::heal_status()
    }

    /// Whether a drive is listed and in.
    pub fn is_drive_in(&self, id: DriveId) -> Result<bool> {
        let topology = self.shard().node().topology();
        topology.member(id).map(|member| member.is_in()).ok_or(Error::NotFound)
    }
}

/// Goes on with what an earlier start was asked for. On shard 0, when recovery is over.
pub(crate) fn go_on(node: &Arc<Node>) {
    for drive in node.drives().iter().filter(|drive| drive.is_draining()) {
        telemetry::info!("a drive is still being drained"; drive = drive.dir.display());
        drop(rt::spawn(retire_when_empty(Arc::downgrade(node), drive.id)));
    }
}

/// A volume that takes writes moves when it is full, which may be long from now. When nothing else is left the drive is taken
/// out all the same, if parity makes up for it: the writers go on in new volumes, and these slots are rebuilt like lost ones.
async fn retire_when_empty(node: Weak<Node>, id: DriveId) {
    let mut looks_at_open = 0;
    loop {
        rt::time::sleep(DRAIN_LOOK_EVERY).await;
        let Some(node) = node.upgrade() else { return };
        if !node.drive(id).is_some_and(|drive| drive.is_draining() && drive.is_usable()) {
            return;
        }
        let is_there = |volume: &Arc<Volume>| (0..volume.geometry.width()).any(|slot| volume.drive(slot).id == id);
        let there: Vec<Arc<Volume>> = node.volumes().into_iter().filter(is_there).collect();
        if there.iter().any(|volume| volume.is_sealed()) {
            continue;
        }
        looks_at_open += 1;
        if !there.is_empty() && looks_at_open < OPEN_LOOKS {
            continue;
        }
        match node.retire(id).await {
            Ok(()) => return,
            // Its tables are on their way to others, or there is no parity: then the volumes are waited for.
            Err(error) => telemetry::debug!("a drive that was drained is not taken out yet"; drive = id, error = error),
        }
    }
}

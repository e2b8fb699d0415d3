//! How healing stands, and the drives that are being drained.

use std::sync::atomic::Ordering::Relaxed;

use types::Timestamp;

use super::rebuild::slots_to_move;
use super::{FRAGMENTS_REPAIRED, STRIPES_CHECKED, lock};
use crate::error::{Error, Result};
use crate::ids::{DriveId, VolumeId};
use crate::node::Node;
use crate::planted::{self, Bug};

/// How healing stands now. What is missing is counted afresh with each look.
#[derive(Clone, Copy, Debug)]
pub struct HealStatus {
    pub volumes_total: u64,
    /// Volumes of which a slot is missing.
    pub volumes_short: u64,
    /// Slots whose drive is out or missing, or whose file is not there.
    pub slots_missing: u64,
    /// Slots on drives that are being drained.
    pub slots_to_drain: u64,
    /// Volumes that stay short, or on a drive that is drained, until there is a drive for them.
    pub waiting_for_drive: u64,
    /// Since the process began.
    pub stripes_checked: u64,
    pub fragments_repaired: u64,
    /// Stripes that something needs and that cannot be read.
    pub stripes_lost: u64,
    /// Of the rebuild under way; left counts whole slots, of which what is dead is not written.
    pub bytes_done: u64,
    pub bytes_left: u64,
    /// Bytes per second of the rebuild under way; 0 without one.
    pub rate: u64,
    /// `None` when nothing is rebuilt or it cannot be said.
    pub seconds_left: Option<u64>,
    /// The next volume of the scrub.
    pub scrub_cursor: VolumeId,
    pub round_began: Option<Timestamp>,
    pub last_full_round: Option<Timestamp>,
    pub rounds: u64,
}

impl HealStatus {
    /// Whether every slot of every volume is there and nothing is known to be lost.
    pub fn is_whole(&self) -> bool {
        self.slots_missing == 0 && self.slots_to_drain == 0 && self.stripes_lost == 0
    }
}

/// How healing stands. Cost: a look at every slot of every volume, in memory. Panics before the store is open.
pub fn heal_status() -> HealStatus {
    let store = crate::store::local();
    let node = store.node();
    let progress = node.heal.progress();
    let volumes = node.volumes();
    let (mut short, mut missing, mut to_drain, mut left) = (0, 0, 0, 0);
    for volume in &volumes {
        let gone = u64::from(volume.missing_slots().count_ones());
        let moving = slots_to_move(volume).len() as u64;
        short += u64::from(gone > 0);
        missing += gone;
        to_drain += moving - gone;
        left += moving * volume.slot_bytes;
    }
    let rebuilt = node.heal.rebuilt_bytes.load(Relaxed);
    let (done, seconds) =
        progress.rebuild.map_or((0, 0.0), |(began, before)| (rebuilt - before, began.elapsed().as_secs_f64()));
    let rate = if seconds > 0.0 { (done as f64 / seconds) as u64 } else { 0 };
    let time = |nanos: u64| (nanos > 0).then_some(Timestamp(nanos));
    HealStatus {
        volumes_total: volumes.len() as u64,
        volumes_short: short,
        slots_missing: if planted::is(Bug::HealDoneEarly) { 0 } else { missing },
        slots_to_drain: to_drain,
        waiting_for_drive: progress.waiting_for_drive,
        stripes_checked: STRIPES_CHECKED.value(),
        fragments_repaired: FRAGMENTS_REPAIRED.value(),
        stripes_lost: lock(&node.heal.lost).len() as u64,
        bytes_done: done,
        bytes_left: left,
        rate,
        seconds_left: left.checked_div(rate),
        scrub_cursor: progress.cursor.next,
        round_began: time(progress.cursor.round_began),
        last_full_round: time(progress.cursor.round_ended),
        rounds: progress.cursor.rounds,
    }
}

/// What is left on a drive that is being drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining {
    /// Slots that are on it.
    pub slots_left: u64,
    /// Of those, slots of volumes that still take writes: they move when the volume is full or sealed.
    pub slots_open: u64,
}

/// Has the slots on a drive moved to others; nothing new is placed on it. Idempotent, and lasts until `undrain` or the end of
/// the process. The answer says what is left: when that is nothing, the drive may be taken out.
///
/// Errors: `NotFound` when there is no such drive among those that are in.
pub fn drain(drive: DriveId) -> Result<Draining> {
    let store = crate::store::local();
    let node = store.node();
    find(node, drive)?.set_draining(true);
    let mut left = Draining { slots_left: 0, slots_open: 0 };
    for volume in node.volumes() {
        let here = (0..volume.geometry.width()).filter(|&slot| volume.drive(slot).id == drive).count() as u64;
        left.slots_left += here;
        left.slots_open += if volume.is_sealed() { 0 } else { here };
    }
    Ok(left)
}

/// Lets the drive be used again like any other. What has moved stays where it is now.
pub fn undrain(drive: DriveId) -> Result<()> {
    let store = crate::store::local();
    find(store.node(), drive)?.set_draining(false);
    Ok(())
}

fn find(node: &Node, id: DriveId) -> Result<std::sync::Arc<crate::drive::Drive>> {
    node.drives().iter().find(|drive| drive.id == id && drive.is_usable()).cloned().ok_or(Error::NotFound)
}

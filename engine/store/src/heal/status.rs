//! How healing stands, and what is left on a drive.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use telemetry::Gauge;
use types::Timestamp;

use super::balance::{self, BalanceStatus};
use super::rebuild::slots_to_move;
use super::{FRAGMENTS_REPAIRED, SCRUBBED_BYTES, STRIPES_CHECKED, TABLES_CHECKED, lock, tables};
use crate::error::{Error, Result};
use crate::ids::{DriveId, VolumeId};
use crate::node::Node;
use crate::planted::{self, Bug};

static MISSING: Gauge = Gauge::new("hafiz_heal_slots_missing", "Slots of volumes that cannot be read.");
static HOLLOW: Gauge =
    Gauge::new("hafiz_heal_slots_hollow", "Slots of volumes that were made again without all that was in them.");
static LOST: Gauge = Gauge::new("hafiz_heal_stripes_lost", "Stripes that something needs and that cannot be read now.");
static TABLES_SHORT: Gauge = Gauge::new(
    "hafiz_heal_table_copies_short",
    "Copies of index tables that there should be and that are missing, bad or not brought up to date.",
);

/// How healing stands now. What is missing is counted afresh with each look.
#[derive(Clone, Copy, Debug)]
pub struct HealStatus {
    pub volumes_total: u64,
    /// Volumes of which a slot is missing.
    pub volumes_short: u64,
    /// Volumes of which no slot was found and in which something is live: that is lost.
    pub volumes_gone: u64,
    /// Slots whose drive is out or missing, or whose file is not there.
    pub slots_missing: u64,
    /// Slots that are there and may lack what could not be computed when they were made again. What they held may be lost; it is
    /// `verify` that names the objects.
    pub slots_hollow: u64,
    /// Slots on drives that are being drained.
    pub slots_to_drain: u64,
    /// Copies of index tables that there should be: parity and one for each partition that has tables.
    pub table_copies: u64,
    /// Those of them that are missing, bad, or not brought up to date, and what they would have.
    pub table_copies_short: u64,
    pub table_bytes_short: u64,
    /// Volumes that stay short, or on a drive that is drained, until there is a drive for them.
    pub waiting_for_drive: u64,
    /// Drives that lacked what they had acknowledged, and were not verified since.
    pub drives_behind: u64,
    /// Since the process began.
    pub stripes_checked: u64,
    pub table_copies_checked: u64,
    pub fragments_repaired: u64,
    /// Stripes that something needs and that cannot be read.
    pub stripes_lost: u64,
    /// Stripes that cannot be read; it is not known yet whether anything needs them.
    pub stripes_in_doubt: u64,
    /// Stripes with bad fragments that wait for their repair, or of which it failed: it is tried again.
    pub stripes_to_repair: u64,
    /// Of the rebuild under way; left counts whole slots, of which what is dead is not written.
    pub bytes_done: u64,
    pub bytes_left: u64,
    /// Bytes per second of the rebuild under way; 0 without one.
    pub rate: u64,
    /// `None` when nothing is rebuilt or it cannot be said.
    pub seconds_left: Option<u64>,
    /// The next volume of the scrub, and the next partition whose tables it reads: those come first.
    pub scrub_cursor: VolumeId,
    pub scrub_partition: u32,
    /// Of the scrub's round under way: what it has passed and what there is, by the sizes of slots and tables.
    pub scrub_bytes_done: u64,
    pub scrub_bytes_total: u64,
    /// Bytes per second that it reads; 0 while it rests or is off.
    pub scrub_rate: u64,
    /// `None` when it rests, is off, or it cannot be said.
    pub scrub_seconds_left: Option<u64>,
    pub round_began: Option<Timestamp>,
    pub last_full_round: Option<Timestamp>,
    pub rounds: u64,
    pub balance: BalanceStatus,
}

impl HealStatus {
    /// Whether every slot of every volume is there with all it should have, on drives that are known to have it, and nothing is
    /// lost or may be.
    pub fn is_whole(&self) -> bool {
        self.slots_missing == 0
            && self.volumes_gone == 0
            && self.slots_hollow == 0
            && self.slots_to_drain == 0
            && self.drives_behind == 0
            && self.stripes_lost == 0
            && self.stripes_in_doubt == 0
            && self.stripes_to_repair == 0
            && self.table_copies_short == 0
    }
}

/// How healing stands. Cost: a look at every slot of every volume and at every partition, in memory. Panics before the store is
/// open.
pub fn heal_status() -> HealStatus {
    status_of(crate::store::local().node())
}

/// Sets the gauges.
pub(super) fn publish(node: &Node) {
    let status = status_of(node);
    for (gauge, value) in [
        (&MISSING, status.slots_missing),
        (&HOLLOW, status.slots_hollow),
        (&LOST, status.stripes_lost),
        (&TABLES_SHORT, status.table_copies_short),
    ] {
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    }
}

fn status_of(node: &Node) -> HealStatus {
    let progress = node.heal.progress();
    let volumes = node.volumes();
    let (mut short, mut missing, mut hollow, mut to_drain, mut left) = (0, 0, 0, 0, 0);
    let copies = tables::count(node);
    let waiting = lock(&node.heal.queue).clone();
    let to_repair =
        waiting.into_iter().chain(lock(&node.heal.unrepaired).iter().copied()).collect::<BTreeSet<_>>().len();
    let cursor = progress.cursor;
    let (mut scrub_done, mut scrub_total) = (0, 0);
    for (id, index) in node.heal.tables() {
        let bytes = index.bytes() * (u64::from(node.topology().parity) + 1);
        scrub_total += bytes;
        scrub_done += if u32::from(id.0) < cursor.partition { bytes } else { 0 };
    }
    for volume in &volumes {
        let bytes = u64::from(volume.solid_slots().count_ones()) * volume.slot_bytes;
        scrub_total += bytes;
        scrub_done += if volume.id < cursor.next { bytes } else { 0 };
        let gone = u64::from(volume.missing_slots().count_ones());
        hollow += u64::from(volume.hollow_slots().count_ones());
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
    let scrub_rate = progress.scrub.map_or(0, |(began, before)| {
        let seconds = began.elapsed().as_secs_f64();
        if seconds > 0.0 { ((SCRUBBED_BYTES.value() - before) as f64 / seconds) as u64 } else { 0 }
    });
    let time = |nanos: u64| (nanos > 0).then_some(Timestamp(nanos));
    HealStatus {
        volumes_total: volumes.len() as u64,
        volumes_short: short,
        volumes_gone: progress.volumes_gone,
        slots_missing: if planted::is(Bug::HealDoneEarly) { 0 } else { missing },
        slots_hollow: hollow,
        slots_to_drain: to_drain,
        table_copies: copies.wanted,
        table_copies_short: copies.short,
        table_bytes_short: copies.bytes_short,
        waiting_for_drive: progress.waiting_for_drive,
        drives_behind: node.drives().iter().filter(|drive| drive.is_behind() && drive.is_usable()).count() as u64,
        stripes_checked: STRIPES_CHECKED.value(),
        table_copies_checked: TABLES_CHECKED.value(),
        fragments_repaired: FRAGMENTS_REPAIRED.value(),
        stripes_lost: lock(&node.heal.lost).len() as u64,
        stripes_in_doubt: lock(&node.heal.suspects).len() as u64,
        stripes_to_repair: to_repair as u64,
        bytes_done: done,
        bytes_left: left,
        rate,
        seconds_left: left.checked_div(rate),
        scrub_cursor: cursor.next,
        scrub_partition: cursor.partition,
        scrub_bytes_done: scrub_done,
        scrub_bytes_total: scrub_total,
        scrub_rate,
        scrub_seconds_left: (scrub_total - scrub_done).checked_div(scrub_rate),
        round_began: time(cursor.round_began),
        last_full_round: time(cursor.round_ended),
        rounds: cursor.rounds,
        balance: balance::status(node),
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

/// What is left on a drive.
///
/// Errors: `NotFound` when there is no such drive among those that are in.
pub fn left_on(drive: DriveId) -> Result<Draining> {
    let store = crate::store::local();
    let node = store.node();
    node.drive(drive).filter(|drive| drive.is_usable()).ok_or(Error::NotFound)?;
    let mut left = Draining { slots_left: 0, slots_open: 0 };
    for volume in node.volumes() {
        let here = (0..volume.geometry.width()).filter(|&slot| volume.drive(slot).id == drive).count() as u64;
        left.slots_left += here;
        left.slots_open += if volume.is_sealed() { 0 } else { here };
    }
    Ok(left)
}

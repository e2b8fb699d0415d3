//! Heal: scrub, repair, rebuild, and the census that proves how things stand.
//!
//! A volume that takes no more stripes never changes but for dead ranges that are punched. So a fragment has one right
//! content for ever, and writing it again, in its place or on another drive, can do no harm. *Scrub* walks all volumes at a
//! set pace and verifies every fragment; *repair* computes what is bad from the rest and writes it again; *rebuild* makes the
//! slots of a lost drive again, volume by volume, on drives that are there; *drain* moves slots off a drive that is, and
//! *rebalance* from full drives to emptier ones. What cannot be computed is never touched: it is counted as lost if anything
//! needs it, and is garbage if not.
//!
//! One task on shard 0 says what is done; each volume is worked on by one shard at a time. Reading goes by headers, not by
//! the index: what is not committed yet is kept as well. The index is asked only about what cannot be read, and by the
//! census, which goes by the index alone.

pub(crate) mod balance;
mod catch_up;
mod census;
mod check;
mod cursor;
mod hollow;
mod identity;
mod lost;
mod mend;
mod pace;
mod pieces;
#[cfg(feature = "sim")]
mod placed;
mod rebuild;
mod salvage;
mod scrub;
mod standing;
mod status;
mod tables;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rt::time::Instant;
use telemetry::Counter;

use crate::ids::{PartitionId, SlotOffset, VolumeId};
use crate::index::Index;
use crate::node::Node;

use mend::Mended;

pub use balance::BalanceStatus;
pub use census::{Census, LostObject, verify};
#[cfg(feature = "sim")]
pub use placed::{PlacedFragment, placed_fragments};
pub(crate) use scrub::start;
pub use status::{Draining, HealStatus, heal_status, left_on};

/// Stripes with bad fragments that wait for their repair; what finds more leaves them to the scrub.
const QUEUE_MAX: usize = 1024;
/// Stripes that cannot be read and wait until it is known whether anything needs them, and stripes known to be lost.
const SUSPECTS_MAX: usize = crate::format::lost::STRIPES_MAX;

pub(crate) static STRIPES_CHECKED: Counter =
    Counter::new("hafiz_heal_stripes_checked_total", "Stripes of which every fragment was read and verified.");
static FRAGMENTS_REPAIRED: Counter = Counter::new(
    "hafiz_heal_fragments_repaired_total",
    "Fragments that were bad or missing, and were written again, read back and verified.",
);
static REPAIRS_FAILED: Counter = Counter::new(
    "hafiz_heal_repairs_failed_total",
    "Fragments that were written again and are still not what they should be.",
);
static STRIPES_LOST: Counter =
    Counter::new("hafiz_heal_stripes_lost_total", "Stripes that something needs and that cannot be read.");
static SLOTS_REBUILT: Counter =
    Counter::new("hafiz_heal_slots_rebuilt_total", "Slots of volumes that were made again or moved to another drive.");
static SLOTS_BALANCED: Counter = Counter::new(
    "hafiz_heal_slots_balanced_total",
    "Slots of volumes that were moved to even out how full drives are.",
);
static BYTES_REBUILT: Counter =
    Counter::new("hafiz_heal_rebuilt_bytes_total", "Bytes of fragments that were written into slots made again.");
static SCRUBBED_BYTES: Counter =
    Counter::new("hafiz_heal_scrubbed_bytes_total", "Bytes that were read to verify fragments.");
static ROUNDS: Counter =
    Counter::new("hafiz_heal_rounds_total", "Times that all volumes were scrubbed from first to last.");

static TABLES_CHECKED: Counter = Counter::new(
    "hafiz_heal_table_copies_checked_total",
    "Copies of a partition's tables of which every file was read and verified.",
);
static TABLES_BAD: Counter = Counter::new(
    "hafiz_heal_table_copies_bad_total",
    "Copies of a partition's tables that were found to be bad or gone, and are made again.",
);
static IDENTITIES_REPAIRED: Counter = Counter::new(
    "hafiz_heal_identities_repaired_total",
    "Copies of a drive's identity or topology that were bad and were written again.",
);

/// A stripe, by its place.
type Place = (VolumeId, SlotOffset);

/// What the healing of a node knows; shared by all shards.
#[derive(Default)]
pub(crate) struct Heal {
    stopping: AtomicBool,
    /// Stripes in which a read met bad fragments.
    queue: Mutex<VecDeque<Place>>,
    /// Stripes of which a fragment is bad and could not be repaired: its drive did not take it, or something else was done
    /// with the volume, or it still takes stripes.
    unrepaired: Mutex<BTreeSet<Place>>,
    /// Stripes that cannot be read; it is not known yet whether anything needs them.
    suspects: Mutex<BTreeSet<Place>>,
    /// Stripes that something needs and that cannot be read.
    lost: Mutex<BTreeSet<Place>>,
    /// Those that were lost when it was last asked about them: they are not told of twice.
    known_lost: Mutex<BTreeSet<Place>>,
    progress: Mutex<Progress>,
    rebuilt_bytes: AtomicU64,
    /// Slots that were begun to be made.
    attempts: AtomicU64,
    /// Operations on drives that are healing's own.
    in_flight: AtomicU32,
    /// The indexes of all partitions.
    tables: Mutex<BTreeMap<PartitionId, Arc<Index>>>,
    balance: Mutex<balance::Progress>,
}

/// How far scrub and rebuild have come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    cursor: cursor::Cursor,
    /// Since when there has been something to rebuild, and how much had been rebuilt by then.
    rebuild: Option<(Instant, u64)>,
    /// Since when the round under way has been scrubbed by this process, and the bytes it has read for that.
    scrub: Option<(Instant, u64)>,
    /// Volumes of which the last pass found no drive for some slots.
    waiting_for_drive: u64,
    /// Volumes with something live of which nothing is there.
    volumes_gone: u64,
}

impl Heal {
    /// Ends what runs beside the requests.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Asks for the repair of a stripe in which a read met a bad fragment. Never waits.
    pub(crate) fn ask_repair(&self, volume: VolumeId, at: SlotOffset) {
        let mut queue = lock(&self.queue);
        if queue.len() < QUEUE_MAX && !queue.contains(&(volume, at)) {
            queue.push_back((volume, at));
        }
    }

    fn next_repair(&self) -> Option<Place> {
        lock(&self.queue).pop_front()
    }

    /// What came of the repair of a stripe with bad fragments. `None`: it was not tried.
    fn note_repair(&self, place: Place, mended: Option<Mended>) {
        let mut unrepaired = lock(&self.unrepaired);
        match mended {
            // What cannot be computed is told of otherwise.
            Some(Mended { failed: 0, .. }) => drop(unrepaired.remove(&place)),
            Some(_) | None if unrepaired.len() < SUSPECTS_MAX => drop(unrepaired.insert(place)),
            Some(_) | None => {}
        }
    }

    /// Has what could not be repaired tried again.
    fn retry_repairs(&self) {
        let places = lock(&self.unrepaired).clone();
        places.into_iter().for_each(|(volume, at)| self.ask_repair(volume, at));
    }

    fn suspect(&self, volume: VolumeId, at: SlotOffset) {
        let mut suspects = lock(&self.suspects);
        if suspects.len() < SUSPECTS_MAX {
            suspects.insert((volume, at));
        }
    }

    /// They stay in doubt until it is known what they are.
    fn suspects(&self) -> BTreeSet<Place> {
        lock(&self.suspects).clone()
    }

    fn settled(&self, places: &BTreeSet<Place>) {
        lock(&self.suspects).retain(|place| !places.contains(place));
    }

    /// What was lost may have been deleted since, or have come back.
    fn doubt_lost(&self) {
        let mut lost = lock(&self.lost);
        lock(&self.suspects).extend(lost.iter().copied());
        lock(&self.known_lost).append(&mut lost);
    }

    fn lose(&self, node: &Node, (volume, at): Place) {
        let mut lost = lock(&self.lost);
        let is_news = lost.len() < SUSPECTS_MAX && lost.insert((volume, at));
        if is_news && !lock(&self.known_lost).remove(&(volume, at)) {
            STRIPES_LOST.add(1);
            let missing =
                node.volumes().iter().find(|known| known.id == volume).map_or(0, |known| known.missing_slots());
            telemetry::error!("LOST: a stripe cannot be read any more"; volume = volume, at = at.0, missing_slots = missing);
        }
    }

    /// Counts an operation on a drive as one of healing, until the value is dropped.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(self)
    }

    fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(crate) fn know_tables(&self, partition: PartitionId, index: Arc<Index>) {
        lock(&self.tables).insert(partition, index);
    }

    /// Lets go of them: their files are opened again by the next start, which may be one of this process.
    pub(crate) fn forget_tables(&self) {
        lock(&self.tables).clear();
    }

    /// The indexes of all partitions, in order. What of an `Index` does not block may be asked on any shard.
    pub(crate) fn tables(&self) -> Vec<(PartitionId, Arc<Index>)> {
        lock(&self.tables).iter().map(|(id, index)| (*id, index.clone())).collect()
    }

    fn next_attempt(&self) -> u64 {
        self.attempts.fetch_add(1, Relaxed)
    }

    fn rebuilt_bytes(&self, bytes: u64) {
        self.rebuilt_bytes.fetch_add(bytes, Relaxed);
    }

    fn progress(&self) -> Progress {
        *lock(&self.progress)
    }

    fn balance(&self) -> balance::Progress {
        *lock(&self.balance)
    }

    fn update_balance(&self, change: impl FnOnce(&mut balance::Progress)) {
        change(&mut lock(&self.balance));
    }

    fn update(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut lock(&self.progress));
    }
}

/// An operation of healing that is not over.
pub(crate) struct InFlight<'a>(&'a Heal);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// Nothing panics while these are held, so a poisoned one still holds a whole value.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

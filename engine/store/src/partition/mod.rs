//! A partition: a slice of the key space, on the shard that owns it.
//!
//! An entry is decided (into the overlay), made durable by the shard's log, applied (from the overlay into the memtable,
//! where readers see it), flushed into the tree, and let go when every copy has it. Applied in LSN order: one durable LSN
//! rules visibility, acknowledgement and checkpoints.

mod correct;
mod counters;
mod flush;
mod locks;
mod memtable;
mod overlay;
mod records;
mod scan;
mod set;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rt::sync::{Event, Semaphore};
use rt::time::Instant;
use types::BucketId;

use crate::error::{Error, Result};
use crate::format::batch::{Ckpt, Entry, Op, SmallBody, UsageDelta};
use crate::ids::{Lsn, PartitionId, StartNumber, VolumeId};
use crate::index::keys;
use crate::index::scan::Scan;
use crate::index::{Absent, Bytes, Caches, FailedCopy, Index, OpenError, TreeError};
use crate::log::{Log, Ticket};
use crate::planted::{self, Bug};
use counters::Counters;
pub(crate) use counters::{Live, Usage};
pub(crate) use flush::FlushError;
use flush::Sealed;
pub(crate) use locks::KeyLock;
use locks::KeyLocks;
use memtable::Memtable;
use overlay::{Overlay, Pending};
use records::Records;
pub(crate) use scan::scan_each;
use set::Logged;
pub(crate) use set::{Partitions, Stream, Upkeep};

/// Counters read at a time when a partition is opened.
const COUNTERS_PAGE: usize = 10_000;

/// Which entries count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Durable ones only: for all that a client is shown.
    Durable,
    /// Pending ones as well: for decisions. A reply that rests on a pending entry waits for it: see `settle`.
    Decided,
}

/// What one commit changes, but for its LSN.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) ops: Vec<Op>,
    pub(crate) body: Option<SmallBody>,
    /// Without the body's own bytes, which are counted by themselves.
    pub(crate) live: Vec<(VolumeId, i64)>,
    pub(crate) usage: Vec<UsageDelta>,
}

/// How a partition is opened.
pub(crate) struct Options {
    pub(crate) start: StartNumber,
    /// Index directories of its copies, the preferred one first.
    pub(crate) copies: Vec<PathBuf>,
    pub(crate) absent: Absent,
    pub(crate) caches: Arc<Caches>,
    /// A memtable of this size is flushed; at twice the size commits are refused.
    pub(crate) memtable_bytes: usize,
    /// For records read from the tree.
    pub(crate) records_bytes: usize,
    /// Of the shard's log.
    pub(crate) stream: Rc<Stream>,
    pub(crate) drives: Rc<dyn Drives>,
}

/// What partitions ask about the drives on which their copies lie.
pub(crate) trait Drives {
    /// Whether the drive of this index directory does not answer, or is not used any more.
    fn is_silent(&self, dir: &Path) -> bool;

    /// Has it found out whether that drive answers: somebody waits for it. Never blocks.
    fn ask(&self, dir: &Path);

    /// Tells that these are the partition's tables from now on.
    fn replaced(&self, partition: PartitionId, index: Arc<Index>);
}

/// How often whoever waits for a helper looks whether the index was given up meanwhile.
const HELPER_LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long anybody waits for tables on a drive that does not answer and of which there is no other copy.
const SILENT_WAIT_MAX: Duration = Duration::from_secs(20);

const INDEX_SILENT: Error = Error::Unavailable("the drive of the index does not answer");

pub(crate) struct Partition {
    id: PartitionId,
    /// Another one when this was given up for a drive that does not answer.
    index: RefCell<Arc<Index>>,
    drives: Rc<dyn Drives>,
    stream: Rc<Stream>,
    memtable_bytes: usize,
    state: RefCell<State>,
    records: RefCell<Records>,
    locks: KeyLocks,
    /// Told whenever pending entries were applied or failed.
    settled: Event,
    /// Why commits are refused.
    closed: Cell<Option<&'static str>>,
    /// Acknowledged entries cannot be read: its checkpoint stays, so that a later start looks for them again.
    damaged: Cell<bool>,
    one_flush: Rc<Semaphore>,
    /// Another copy is being opened instead of one whose drive does not answer.
    leaving: Cell<bool>,
    /// Somebody waits until it is.
    waited_for: Cell<bool>,
    /// There was none: the next regular check looks again, nobody else.
    without_others: Cell<bool>,
    /// It was said that there is none.
    told: Cell<bool>,
    /// The copies are others than those of the last flush.
    recopy: Cell<bool>,
    /// The flusher has a task for it; and an urgent one.
    flush_queued: [Cell<bool>; 2],
    /// Number of memtables let go: a look-up that spans one may be out of date.
    released: Cell<u64>,
    /// Number of entries that may have made a version the current object of its key.
    promotions: Cell<u64>,
}

struct State {
    next_lsn: Lsn,
    /// Highest LSN applied.
    durable: Lsn,
    /// What every copy of the tree has.
    ckpt: Ckpt,
    overlay: Overlay,
    memtable: Memtable,
    /// Oldest first.
    sealed: VecDeque<Sealed>,
    counters: Counters,
    /// `Stream::logged` when the memtable was last sealed.
    logged_at_seal: Logged,
    /// Age of the memtable: checks of the flusher that found it not empty.
    checks: u32,
}

impl State {
    /// Memtables, newest first.
    fn layers(&self) -> impl Iterator<Item = &Memtable> {
        std::iter::once(&self.memtable).chain(self.sealed.iter().rev().map(|sealed| &*sealed.memtable))
    }

    /// The newest value in a memtable.
    fn value(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        self.layers().find_map(|layer| layer.get(key))
    }
}

impl Partition {
    /// Opens the freshest copy and reads the counters. Also gives the copies that could not be opened.
    pub(crate) async fn open(
        id: PartitionId,
        options: Options,
    ) -> std::result::Result<(Rc<Partition>, Vec<FailedCopy>), OpenError> {
        let Options { start, copies, absent, caches, memtable_bytes, records_bytes, stream, drives } = options;
        let (index, ckpt, failed, counters, behind) = rt::offload(move || {
            let count = copies.len();
            let (index, ckpt, failed) = Index::open(copies, absent, caches)?;
            let behind = ckpt.position.is_some() && index.whole_copies().len() < count;
            let counters = load_counters(&index)
                .map_err(|error| OpenError::Failed(vec![FailedCopy { dir: index.active(), error }]))?;
            Ok((index, ckpt, failed, counters, behind))
        })
        .await?;
        let partition = Partition {
            id,
            index: RefCell::new(Arc::new(index)),
            drives,
            memtable_bytes,
            state: RefCell::new(State {
                next_lsn: Lsn::first(start),
                durable: ckpt.lsn,
                ckpt,
                overlay: Overlay::default(),
                memtable: Memtable::default(),
                sealed: VecDeque::new(),
                counters,
                logged_at_seal: stream.logged(),
                checks: 0,
            }),
            records: RefCell::new(Records::new(records_bytes)),
            locks: KeyLocks::default(),
            settled: Event::new(),
            closed: Cell::new(None),
            damaged: Cell::new(false),
            one_flush: Semaphore::new(1),
            leaving: Cell::new(false),
            waited_for: Cell::new(false),
            without_others: Cell::new(false),
            told: Cell::new(false),
            recopy: Cell::new(behind),
            flush_queued: Default::default(),
            released: Cell::new(0),
            promotions: Cell::new(0),
            stream,
        };
        Ok((Rc::new(partition), failed))
    }

    pub(crate) fn id(&self) -> PartitionId {
        self.id
    }

    /// Highest LSN that is durable and seen by readers.
    pub(crate) fn durable_lsn(&self) -> Lsn {
        self.state.borrow().durable
    }

    /// What every copy of the tables holds: the log is not needed before it.
    pub(crate) fn ckpt(&self) -> Ckpt {
        self.state.borrow().ckpt
    }

    /// Refuses commits from now on, with this reason.
    pub(crate) fn close(&self, why: &'static str) {
        self.closed.set(Some(why));
    }

    /// Acknowledged entries of this partition cannot be read: it takes no commits, and nothing is flushed. A checkpoint
    /// beyond the damage would hide it from the next start, which may have the drives that are missing now.
    pub(crate) fn set_damaged(&self) {
        self.damaged.set(true);
        self.close("acknowledged commits of this partition cannot be read");
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.get()
    }

    /// Index directories of the copies that hold what `ckpt` says.
    pub(crate) fn whole_copies(&self) -> Vec<PathBuf> {
        self.index().whole_copies()
    }

    /// The tables that are used now.
    pub(crate) fn index(&self) -> Arc<Index> {
        self.index.borrow().clone()
    }

    /// Has the copies of the tables made again that are missing or bad, soon.
    pub(crate) fn copy_again(&self) {
        self.recopy.set(true);
        self.stream.wake();
    }

    /// Whether a copy was found to be bad that is not made again yet.
    pub(crate) fn has_bad_copies(&self) -> bool {
        self.index().has_bad_copies()
    }

    /// From the next flush on these are the copies.
    pub(crate) fn set_copies(&self, copies: Vec<PathBuf>) {
        if self.index().set_copies(copies) {
            self.recopy.set(true);
        }
    }

    /// Has `leave_silent` called soon: somebody waits for it.
    fn want_others(&self) {
        if !self.without_others.get() {
            self.waited_for.set(true);
            self.stream.wake();
        }
    }

    fn uses(&self, index: &Arc<Index>) -> bool {
        Arc::ptr_eq(&self.index.borrow(), index)
    }

    /// Gives the index up for the copies on other drives if it waits for one that does not answer. What the memtables hold
    /// is flushed into those then. Readers that wait go on with it. Called regularly, and when one begins to wait, with the
    /// copies on drives that answer.
    pub(crate) async fn leave_silent(&self, copies: Vec<PathBuf>) {
        let (index, drives) = (self.index(), self.drives.clone());
        let is_silent = |dir: &Path| drives.is_silent(dir);
        if copies.is_empty() || !index.is_stuck(is_silent) || self.leaving.get() || !index.retire(is_silent) {
            return;
        }
        self.leaving.set(true);
        let ckpt = self.ckpt();
        // Before the first flush everything is in the log and the memtables.
        let absent = if ckpt.position.is_none() { Absent::Create } else { Absent::Refuse };
        let caches = index.caches();
        let opened = rt::offload(move || Index::open(copies, absent, caches)).await;
        let why = match opened {
            Ok((other, there, _)) if there.lsn >= ckpt.lsn => {
                telemetry::warn!("tables on a drive that does not answer were left for another copy"; partition = self.id.0, copy = other.active().display());
                let other = Arc::new(other);
                self.index.replace(other.clone());
                self.drives.replaced(self.id, other);
                self.recopy.set(true);
                self.stream.replaced.notify();
                None
            }
            Ok(_) => Some("they are not up to date".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = why {
            index.take_back();
            self.without_others.set(true);
            if !self.told.replace(true) {
                telemetry::error!("other copies of the tables cannot be used: {why}"; partition = self.id.0);
            }
        }
        self.leaving.set(false);
    }

    #[cfg(test)]
    fn index_stats(&self) -> crate::index::TreeStats {
        self.index().stats()
    }

    /// Applies an entry that recovery found. One at or below the checkpoint, or seen before, is ignored: what the tables
    /// hold is never counted or inserted again.
    pub(crate) fn replay(&self, entry: Entry) {
        if planted::is(Bug::RecoveryCountsTwice) && entry.lsn <= self.durable_lsn() {
            self.state.borrow_mut().counters.apply(&entry);
        }
        if entry.lsn > self.durable_lsn() {
            self.apply(entry);
            // Flushed soon: starts that follow each other fast would replay ever more and never let a log volume go.
            self.state.borrow_mut().checks = flush::AGE_CHECKS;
        }
    }

    /// Waits for the sole right to decide about `key`. Hold it from the read to `decide`; not longer, for then nobody
    /// else's commit of the key can join the same batch. `Busy` when too many wait.
    pub(crate) async fn lock(&self, key: &[u8]) -> Result<KeyLock> {
        self.locks.lock(key).await
    }

    /// Decides a commit: gives it an LSN, makes it count for all later decisions, and hands it to the log. Does not wait.
    ///
    /// The ticket resolves when the entry is durable and visible, or has failed. `Busy`, `Full`, `Unavailable`: nothing
    /// happened.
    pub(crate) fn decide(&self, log: &Log, build: impl FnOnce(Lsn) -> Change) -> Result<(Lsn, Ticket)> {
        let entry = self.next_entry(build)?;
        let (lsn, pending) = (entry.lsn, Pending::of(&entry));
        let ticket = log.append(entry)?;
        self.pend(pending);
        Ok((lsn, ticket))
    }

    /// The entry of a commit, with the next LSN. If the log refuses it, the LSN is left out.
    fn next_entry(&self, build: impl FnOnce(Lsn) -> Change) -> Result<Entry> {
        if let Some(why) = self.closed.get() {
            return Err(Error::Unavailable(why));
        }
        let lsn = {
            let mut state = self.state.borrow_mut();
            if state.memtable.bytes() >= self.memtable_bytes.saturating_mul(2) {
                self.stream.wake();
                return Err(Error::Busy);
            }
            let lsn = state.next_lsn;
            state.next_lsn = lsn.next();
            lsn
        };
        let Change { ops, body, live, usage } = build(lsn);
        Ok(Entry { partition: self.id, lsn, ops, body, placed: None, live, usage })
    }

    /// From here on the entry counts for decisions.
    fn pend(&self, pending: Pending) {
        let mut state = self.state.borrow_mut();
        state.counters.decide(&pending.usage);
        state.overlay.push(pending);
    }

    /// Takes back an entry that failed: it was never there.
    fn entry_failed(&self, entry: &Entry) {
        if planted::is(Bug::FailedStaysDecided) {
            return;
        }
        let mut state = self.state.borrow_mut();
        if state.overlay.pop(entry) {
            state.counters.settle(&entry.usage);
        }
        drop(state);
        self.settled.notify();
    }

    /// Makes a durable entry visible.
    fn apply(&self, entry: Entry) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        assert!(entry.lsn > state.durable, "entries are applied once, in the order of their LSNs");
        state.durable = entry.lsn;
        state.counters.apply(&entry);
        let mut records = self.records.borrow_mut();
        if is_promotion(&entry) {
            self.promotions.set(self.promotions.get() + 1);
        }
        for op in entry.ops {
            records.remove(&op.key);
            state.memtable.put(op.key.into(), op.value.map(Bytes::from));
        }
        if state.memtable.bytes() >= self.memtable_bytes {
            self.stream.wake();
        }
    }

    /// Called by the shard's log, by way of `Partitions`.
    fn entry_durable(&self, entry: Entry) {
        {
            let mut state = self.state.borrow_mut();
            if state.overlay.pop(&entry) {
                state.counters.settle(&entry.usage);
            }
        }
        self.apply(entry);
        self.settled.notify();
    }

    /// The value of a key if it is known without asking the tree; else `None`.
    pub(crate) fn get_cached(&self, key: &[u8], view: View) -> Option<Option<Bytes>> {
        let state = self.state.borrow();
        if (view == View::Decided || planted::is(Bug::VisibleBeforeDurable))
            && let Some(value) = state.overlay.get(key)
        {
            return Some(value.clone());
        }
        if let Some(value) = state.value(key) {
            return Some(value.clone());
        }
        if self.index().is_empty() {
            return Some(None);
        }
        self.records.borrow_mut().get(key)
    }

    /// The value of a key. Cost: memtable look-ups, and at most one visit to a helper.
    pub(crate) async fn get(&self, key: &[u8], view: View) -> Result<Option<Bytes>> {
        if let Some(value) = self.get_cached(key, view) {
            return Ok(value);
        }
        let key = Bytes::new(key);
        let (index, asked) = (self.index().clone(), key.clone());
        let released = self.released.get();
        let found = rt::offload(move || index.get(&asked)).await.map_err(|error| self.unreadable(&error))?;
        // What became visible meanwhile is newer.
        if let Some(value) = self.get_cached(&key, view) {
            return Ok(value);
        }
        if self.released.get() == released {
            self.records.borrow_mut().insert(key, found.clone());
        }
        Ok(found)
    }

    /// Whether a decided entry of the key is not durable yet.
    pub(crate) fn is_pending(&self, key: &[u8]) -> bool {
        self.state.borrow().overlay.contains(key)
    }

    /// Waits until no entry of the key is pending: applied or failed. Then look again: a reply must not rest on an entry
    /// that may fail.
    pub(crate) async fn settle(&self, key: &[u8]) {
        self.settled.wait_for(|| (!self.is_pending(key)).then_some(())).await;
    }

    /// The same for all keys from `from` on and before `to`.
    pub(crate) async fn settle_range(&self, from: &[u8], to: &[u8]) {
        let is_pending = || self.state.borrow().overlay.contains_any(from, to);
        self.settled.wait_for(|| (!is_pending()).then_some(())).await;
    }

    /// Waits until nothing is pending that was decided before this call. What is decided meanwhile is not waited for: under
    /// load there is always something.
    pub(crate) async fn drain(&self) {
        let next = self.state.borrow().next_lsn;
        let drained = || self.state.borrow().overlay.oldest().is_none_or(|oldest| oldest >= next);
        self.settled.wait_for(|| drained().then_some(())).await;
    }

    /// What the bucket holds in this partition.
    pub(crate) fn usage(&self, bucket: BucketId, view: View) -> Usage {
        let state = self.state.borrow();
        match view {
            View::Durable => state.counters.durable(bucket),
            View::Decided => state.counters.decided(bucket),
        }
    }

    /// The volumes that this partition keeps alive, and how much of each, as of the durable LSN.
    pub(crate) fn all_live(&self) -> Vec<(VolumeId, Live)> {
        self.state.borrow().counters.all_live().collect()
    }

    /// Changes whenever a version may have become the current object of its key: who reads the one key space after the
    /// other has missed it then.
    pub(crate) fn promotions(&self) -> u64 {
        self.promotions.get()
    }

    fn unreadable(&self, error: &TreeError) -> Error {
        telemetry::error!("the index cannot be read: {error}"; partition = self.id.0);
        Error::Unavailable("the index cannot be read")
    }
}

/// Whether an entry takes one of the other versions away and writes something else.
fn is_promotion(entry: &Entry) -> bool {
    entry.ops.iter().any(|op| op.value.is_none() && keys::is_version(&op.key))
        && entry.ops.iter().any(|op| op.value.is_some() && keys::parse_current(&op.key).is_some())
}

/// Why a job on a helper came to nothing. It may go on by itself, and what it does counts no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stuck {
    /// An index that it is about was given up: another one has taken its place.
    GivenUp,
    /// A drive does not answer, and there is no other copy.
    Silent,
}

/// Runs a job on a helper that reads or changes these indexes.
async fn on_helper<R: Send + 'static>(
    indexes: &[(&Partition, &Arc<Index>)],
    job: impl FnOnce() -> R + Send + 'static,
) -> std::result::Result<R, Stuck> {
    let is_silent = |(partition, index): &(&Partition, &Arc<Index>)| partition.drives.is_silent(&index.active());
    let mut job = Some(job);
    let mut running = None;
    let mut silent_since = None;
    loop {
        // All are of one shard.
        let replaced = indexes[0].0.stream.replaced.wait();
        if indexes.iter().any(|(partition, index)| !partition.uses(index)) {
            return Err(Stuck::GivenUp);
        }
        if indexes.iter().any(is_silent) {
            let since = *silent_since.get_or_insert_with(|| {
                indexes.iter().filter(|index| is_silent(index)).for_each(|(partition, _)| partition.want_others());
                Instant::now()
            });
            if since.elapsed() >= SILENT_WAIT_MAX {
                return Err(Stuck::Silent);
            }
        } else {
            silent_since = None;
            // Not before: those that begin while the drive is silent would take a helper each.
            running = running.or_else(|| job.take().map(|job| rt::spawn(rt::offload(job))));
        }
        match &mut running {
            None => rt::time::timeout(HELPER_LOOK_EVERY, replaced).await.unwrap_or_default(),
            Some(running) => match rt::time::timeout(HELPER_LOOK_EVERY, running).await {
                Ok(result) => return Ok(result),
                Err(rt::time::Elapsed) => {
                    indexes.iter().for_each(|(partition, index)| partition.drives.ask(&index.active()));
                }
            },
        }
    }
}

fn load_counters(index: &Index) -> std::result::Result<Counters, TreeError> {
    let mut counters = Counters::default();
    let (from, to) = crate::index::keys::counters();
    let mut scan = Scan { from, to, limit: COUNTERS_PAGE, group: None };
    loop {
        let page = index.scan(&scan, &Default::default(), usize::MAX)?;
        for item in page.items {
            let crate::index::scan::Item::Entry { key, value } = item else { continue };
            counters.load(&key, &value).map_err(|error| TreeError::Damaged(format!("counter {key:?}: {error}")))?;
        }
        match page.next {
            Some(next) => scan.from = next,
            None => return Ok(counters),
        }
    }
}

#[cfg(test)]
mod tests;

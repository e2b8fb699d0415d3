//! The partitions that a shard owns: where its log delivers, and what flushes them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use rt::sync::{Event, Semaphore};
use rt::time::Instant;

use super::{FlushError, Partition};
use crate::format::batch::{Entry, Position};
use crate::ids::PartitionId;
use crate::log::Sink;

/// How often the flusher looks for partitions that are old or pin the log, and how long it leaves one alone that failed.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Flushes of one shard at a time: one may be merging large tables while the other lets memory go.
const FLUSHES_MAX: usize = 2;

/// What went through a log since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Logged {
    /// About.
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

/// What partitions need to know of the shard's log.
#[derive(Default)]
pub(crate) struct Stream {
    position: Cell<Option<Position>>,
    logged: Cell<Logged>,
    wanted: Event,
    /// Told when a partition has other tables, and at each regular check: who waited in vain is forgotten then.
    pub(super) replaced: Event,
}

impl Stream {
    /// Everything in the log before it is applied, in all partitions of the shard. `None` until the log was opened.
    pub(super) fn position(&self) -> Option<Position> {
        self.position.get()
    }

    pub(super) fn logged(&self) -> Logged {
        self.logged.get()
    }

    /// Asks for a flush.
    pub(super) fn wake(&self) {
        self.wanted.notify();
    }
}

/// The partitions of one shard.
pub(crate) struct Partitions {
    stream: Rc<Stream>,
    partitions: RefCell<BTreeMap<PartitionId, Rc<Partition>>>,
    /// Permits for flushes, and for urgent ones, which wait for none of the others.
    pub(super) flushes: [Rc<Semaphore>; 2],
    stopping: Cell<bool>,
    any_failed: Cell<bool>,
}

/// What the flusher needs of its shard.
pub(crate) trait Upkeep {
    /// Index directories of a partition's copies now, on drives that answer, the primary first.
    fn copies(&self, partition: PartitionId) -> Vec<PathBuf>;

    /// Told of flushes that failed, to take drives out; the flush is tried again at the next check.
    fn failed(&self, partition: PartitionId, error: &FlushError);

    /// Flush every partition so often, whether it is due or not.
    fn eager(&self) -> Option<Duration>;
}

impl Partitions {
    pub(crate) fn new() -> Rc<Partitions> {
        Rc::new(Partitions {
            stream: Rc::default(),
            partitions: RefCell::default(),
            flushes: [Semaphore::new(FLUSHES_MAX), Semaphore::new(FLUSHES_MAX)],
            stopping: Cell::new(false),
            any_failed: Cell::new(false),
        })
    }

    /// For `Options` of the partitions.
    pub(crate) fn stream(&self) -> Rc<Stream> {
        self.stream.clone()
    }

    pub(crate) fn add(&self, partition: Rc<Partition>) {
        let before = self.partitions.borrow_mut().insert(partition.id(), partition);
        assert!(before.is_none(), "a partition has one owner");
    }

    pub(crate) fn get(&self, id: PartitionId) -> Option<Rc<Partition>> {
        self.partitions.borrow().get(&id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Rc<Partition>> {
        self.partitions.borrow().values().cloned().collect()
    }

    /// Recovery is over and what it committed again is durable: from here on the log's position counts for checkpoints.
    pub(crate) fn begin(&self, position: Position) {
        self.stream.position.set(Some(position));
    }

    /// Whether a commit failed that a recovery may yet find, with the places it was written to.
    pub(crate) fn any_failed(&self) -> bool {
        self.any_failed.get()
    }

    /// Flushes partitions as they need it, until `stop`.
    pub(crate) async fn run_flusher(self: Rc<Self>, upkeep: Rc<dyn Upkeep>) {
        let mut checked = Instant::now();
        while !self.stopping.get() {
            let eager = upkeep.eager();
            let check_every = eager.unwrap_or(CHECK_EVERY);
            let wanted = self.stream.wanted.wait();
            let regular = checked.elapsed() >= check_every;
            if regular {
                checked = Instant::now();
                self.stream.replaced.notify();
            }
            for partition in self.all() {
                if partition.waited_for.take() || regular {
                    partition.without_others.set(false);
                    // Drives come and go.
                    let copies = upkeep.copies(partition.id());
                    partition.set_copies(copies.clone());
                    let partition = partition.clone();
                    drop(rt::spawn(async move { partition.leave_silent(copies).await }));
                }
                let due = partition.is_due(regular) || (regular && eager.is_some());
                // Soon its commits would be refused.
                let is_urgent = partition.is_full();
                if due && !partition.flush_queued(is_urgent).replace(true) {
                    let flush = self.clone().flush_one(partition, upkeep.clone(), is_urgent);
                    drop(if is_urgent { rt::spawn_foreground(flush) } else { rt::spawn_background(flush) });
                }
            }
            // It makes no difference which of the two it was.
            rt::time::timeout(check_every, wanted).await.ok();
        }
    }

    async fn flush_one(self: Rc<Self>, partition: Rc<Partition>, upkeep: Rc<dyn Upkeep>, is_urgent: bool) {
        let permit = self.flushes[usize::from(is_urgent)].acquire(1).await;
        if self.stopping.get() {
            return;
        }
        let outcome = partition.flush().await;
        drop(permit);
        if let Err(error) = outcome {
            telemetry::warn!("partition not flushed: {error}"; partition = partition.id().0);
            upkeep.failed(partition.id(), &error);
            partition.set_copies(upkeep.copies(partition.id()));
            // Every commit asks again while a memtable is too large.
            rt::time::sleep(CHECK_EVERY).await;
        }
        partition.flush_queued(is_urgent).set(false);
    }

    /// Ends the flusher; flushes on their way go on.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        self.stream.wake();
    }

    /// Flushes everything; the last error if any failed.
    pub(crate) async fn flush_all(&self) -> Result<(), FlushError> {
        let mut outcome = Ok(());
        for partition in self.all() {
            if let Err(error) = partition.flush_all().await {
                outcome = Err(error);
            }
        }
        outcome
    }
}

impl Sink for Partitions {
    fn durable(&self, entries: Vec<Entry>, position_after: Position) {
        let mut logged = self.stream.logged.get();
        for entry in entries {
            logged.bytes += entry.batch_len() as u64;
            logged.entries += 1;
            let partition = self.get(entry.partition).expect("a shard logs for its own partitions only");
            partition.entry_durable(entry);
        }
        self.stream.logged.set(logged);
        // Only now: a memtable sealed in between must not claim entries that were not applied.
        if self.stream.position.get().is_some() {
            self.stream.position.set(Some(position_after));
        }
    }

    fn failed(&self, entries: &[Entry]) {
        self.any_failed.set(self.any_failed.get() || !entries.is_empty());
        for entry in entries {
            if let Some(partition) = self.get(entry.partition) {
                partition.entry_failed(entry);
            }
        }
    }

    fn ended(&self) {
        self.any_failed.set(false);
    }
}

//! Group flush: one flush of every slot file covers all stripes of a volume whose writes had completed before.
//!
//! A flush covers writes that completed before it was submitted, and only those. So a stripe takes a mark when its writes
//! are complete, which counts the flushes submitted until then, and is covered by the next one. When the flush of a slot
//! fails, whatever was written to that slot since its last good flush counts as missing, for ever: a later flush that
//! succeeds says nothing about pages that the failed one may have dropped.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use rt::sync::{Event, join_all};

use crate::planted::{self, Bug};
use crate::volume::Volume;

static FLUSHES: telemetry::Counter =
    telemetry::Counter::new("hafiz_data_flushes_total", "Group flushes of data volumes.");

/// Flushes submitted before a stripe's writes had completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u64);

/// The flushes of one volume that this shard writes.
pub(super) struct Flusher {
    volume: Arc<Volume>,
    submitted: Cell<u64>,
    completed: Cell<u64>,
    changed: Event,
    /// By slot: the first flush that failed.
    failed: RefCell<Vec<Option<u64>>>,
}

impl Flusher {
    pub(super) fn new(volume: Arc<Volume>) -> Rc<Flusher> {
        let failed = RefCell::new(vec![None; volume.geometry.width()]);
        let (submitted, completed) = (Cell::new(0), Cell::new(0));
        Rc::new(Flusher { volume, submitted, completed, changed: Event::new(), failed })
    }

    /// To be taken when the writes of a stripe have completed.
    pub(super) fn mark(&self) -> Mark {
        let is_under_way = self.submitted.get() > self.completed.get();
        Mark(self.submitted.get() - u64::from(planted::is(Bug::FlushCoversLaterWrites) && is_under_way))
    }

    /// Waits until a flush that was submitted after `mark` has completed; submits one when none is under way.
    pub(super) async fn cover(self: &Rc<Self>, mark: Mark) {
        while !self.is_covered(mark) {
            let changed = self.changed.wait();
            if self.submitted.get() == self.completed.get() {
                // A task of its own: others wait for it too, and this caller may go away.
                self.submitted.set(self.submitted.get() + 1);
                rt::spawn(self.clone().flush());
            }
            changed.await;
        }
    }

    /// Whether a flush that was submitted after the mark has completed, well or not.
    pub(super) fn is_covered(&self, mark: Mark) -> bool {
        self.completed.get() > mark.0
    }

    async fn flush(self: Rc<Self>) {
        let number = self.submitted.get();
        FLUSHES.add(1);
        let flushed = if planted::is(Bug::DataFlushSkipped) { 0 } else { self.volume.geometry.width() };
        let slots = join_all((0..flushed).map(|slot| self.volume.sync_slot(slot))).await;
        for (slot, result) in slots.into_iter().enumerate() {
            if result.is_err() {
                self.failed.borrow_mut()[slot].get_or_insert(number);
            }
        }
        self.completed.set(number);
        self.changed.notify();
    }

    /// Whether the flush of any slot has failed.
    pub(super) fn any_failed(&self) -> bool {
        self.failed.borrow().iter().any(Option::is_some)
    }

    /// The slots, one bit each, that do not hold a stripe with this mark although its writes completed. Final once the
    /// mark is covered.
    pub(super) fn lost(&self, mark: Mark) -> u32 {
        let covering = mark.0 + 1;
        let failed = self.failed.borrow();
        let lost = failed.iter().enumerate().filter(|(_, first)| first.is_some_and(|first| first <= covering));
        lost.fold(0, |mask, (slot, _)| mask | 1 << slot)
    }
}

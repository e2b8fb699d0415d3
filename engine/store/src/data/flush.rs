//! Group flush: one flush of every slot file covers all stripes of a volume whose writes had completed before.
//!
//! A flush covers writes that completed before it was submitted, and only those. So a stripe takes a mark when its writes
//! are complete, which counts the flushes submitted until then, and is covered by the next one. When the flush of a slot
//! fails, whatever was written to that slot since its last good flush counts as missing, for ever: a later flush that
//! succeeds says nothing about pages that the failed one may have dropped.
//!
//! A slot whose drive does not answer in time keeps nobody from the next flush of the others. What it has not covered is
//! *late*: it may come yet, and it does not count before it has.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use rt::sync::Event;

use crate::planted::{self, Bug};
use crate::volume::{Answers, Volume};

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
    slots: RefCell<Vec<Slot>>,
}

/// The flushes of one slot, by number.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// The last one that ended well.
    done: u64,
    under_way: Option<u64>,
    /// The first one that did not end well, if there is one.
    failed: Option<u64>,
}

impl Flusher {
    pub(super) fn new(volume: Arc<Volume>) -> Rc<Flusher> {
        let slots = RefCell::new(vec![Slot::default(); volume.geometry.width()]);
        let (submitted, completed) = (Cell::new(0), Cell::new(0));
        Rc::new(Flusher { volume, submitted, completed, changed: Event::new(), slots })
    }

    /// To be taken when the writes of a stripe have completed.
    pub(super) fn mark(&self) -> Mark {
        let is_under_way = self.submitted.get() > self.completed.get();
        Mark(self.submitted.get() - u64::from(planted::is(Bug::FlushCoversLaterWrites) && is_under_way))
    }

    /// Waits until a flush that was submitted after `mark` has completed, but for slots that are late; submits one when
    /// none is under way.
    pub(super) async fn cover(self: &Rc<Self>, mark: Mark) {
        while !self.is_covered(mark) {
            let changed = self.changed.wait();
            if self.submitted.get() == self.completed.get() {
                // A task of its own: others wait for it too, requests maybe, and this caller may go away.
                self.submitted.set(self.submitted.get() + 1);
                drop(rt::spawn_foreground(self.clone().flush()));
            }
            changed.await;
        }
    }

    /// Whether a flush that was submitted after the mark has completed, well or not, but for slots that are late.
    pub(super) fn is_covered(&self, mark: Mark) -> bool {
        self.completed.get() > mark.0
    }

    async fn flush(self: Rc<Self>) {
        let number = self.submitted.get();
        FLUSHES.add(1);
        for slot in 0..self.volume.geometry.width() {
            if planted::is(Bug::DataFlushSkipped) {
                self.slots.borrow_mut()[slot].done = number;
            } else if self.slots.borrow()[slot].under_way.is_none() {
                // One that is late since an earlier flush goes on with this one when it answers.
                self.slots.borrow_mut()[slot].under_way = Some(number);
                drop(rt::spawn(self.clone().flush_slot(slot)));
            }
        }
        let answers = || Answers { waiting: self.under_way(number), done: self.done(number) };
        // Drives that are silent are waited for by those who need them.
        let _late_or_silent = self.volume.wait_for_answers(&self.changed, answers).await;
        self.completed.set(number);
        self.changed.notify();
    }

    /// Flushes a slot until it has come as far as the others.
    async fn flush_slot(self: Rc<Self>, slot: usize) {
        loop {
            let number = self.slots.borrow()[slot].under_way.expect("set before this began");
            let result = self.volume.sync_slot(slot).await;
            let is_behind = {
                let mut slots = self.slots.borrow_mut();
                let state = &mut slots[slot];
                match result {
                    Ok(()) => state.done = number,
                    Err(_) => drop(state.failed.get_or_insert(state.done + 1)),
                }
                let is_behind = self.submitted.get() > number;
                state.under_way = is_behind.then_some(self.submitted.get());
                is_behind
            };
            self.changed.notify();
            if !is_behind {
                return;
            }
        }
    }

    fn mask(&self, f: impl Fn(&Slot) -> bool) -> u32 {
        let slots = self.slots.borrow();
        slots.iter().enumerate().filter(|(_, state)| f(state)).fold(0, |mask, (slot, _)| mask | 1 << slot)
    }

    /// Slots on which this very flush is under way.
    fn under_way(&self, number: u64) -> u32 {
        self.mask(|slot| slot.under_way == Some(number))
    }

    fn done(&self, number: u64) -> u32 {
        self.mask(|slot| slot.done >= number)
    }

    /// Whether the flush of any slot has failed, or some slot is late.
    pub(super) fn is_any_behind(&self) -> bool {
        let completed = self.completed.get();
        self.mask(|slot| slot.failed.is_some() || slot.done < completed) != 0
    }

    /// Told when anything of the following may have changed.
    pub(super) fn changed(&self) -> &Event {
        &self.changed
    }

    /// The slots, one bit each, that do not hold a stripe with this mark although its writes completed. Final once the
    /// mark is covered and no slot is late.
    pub(super) fn lost(&self, mark: Mark) -> u32 {
        self.mask(|slot| slot.failed.is_some_and(|first| first <= mark.0 + 1))
    }

    /// The slots of which it is not known yet whether they hold a stripe with this mark, which is covered.
    pub(super) fn late(&self, mark: Mark) -> u32 {
        self.mask(|slot| slot.done <= mark.0) & !self.lost(mark)
    }
}

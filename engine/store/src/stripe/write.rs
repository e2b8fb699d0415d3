//! Writing a stripe: one write for each fragment, all at once.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use rt::file::Sync;
use rt::sync::{Event, Permit};

use super::build::Fragment;
use crate::error::Error;
use crate::ids::SlotOffset;
use crate::planted::{self, Bug};
use crate::volume::{Answers, Silent, SlotError, Volume};

/// The writes of a stripe, one bit for each slot. Errors are reported to the node by the writes themselves.
pub(crate) struct Writes {
    volume: Arc<Volume>,
    /// Slots that have not answered.
    waiting: Cell<u32>,
    done: Cell<u32>,
    failed: Cell<u32>,
    /// Some drive had no room.
    full: Cell<bool>,
    changed: Event,
}

impl Writes {
    /// Waits until every slot has answered, or those that have not count as late.
    pub(crate) async fn in_time(&self) -> Result<(), Silent> {
        let answers = || Answers { waiting: self.waiting.get(), done: self.done.get() };
        self.volume.wait_for_answers(&self.changed, answers).await
    }

    /// Slots that have not answered. Their buffers are still in use.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.get()
    }

    /// Slots that did not take their fragment.
    pub(crate) fn failed(&self) -> u32 {
        self.failed.get()
    }

    /// Told when a slot answers.
    pub(crate) fn changed(&self) -> &Event {
        &self.changed
    }

    /// What to tell who wanted the stripe written.
    pub(crate) fn error(&self) -> Error {
        match self.full.get() {
            true => Error::Full,
            false => Error::Unavailable("too many drives failed while a body was written"),
        }
    }

    fn answered(&self, slot: usize, result: Result<(), SlotError>) {
        let answers = if result.is_ok() { &self.done } else { &self.failed };
        answers.set(answers.get() | 1 << slot);
        self.waiting.set(self.waiting.get() & !(1 << slot));
        self.full.set(self.full.get() || result == Err(SlotError::Full));
        self.changed.notify();
    }
}

/// Begins to write the fragments of the stripe at `at`. With `Sync::None` nothing is durable when all have answered.
///
/// Each write keeps its buffer, and its share of the memory that the stripe was given, until the drive has answered: whoever
/// waits for it may give up before.
pub(crate) fn write(
    volume: &Arc<Volume>,
    at: SlotOffset,
    mut fragments: Vec<Fragment>,
    sync: Sync,
    mut memory: Option<Permit>,
) -> Rc<Writes> {
    fragments.retain(|fragment| {
        fragment.index < usize::from(volume.geometry.data) || !planted::is(Bug::DataParityNotWritten)
    });
    let slots = fragments.iter().fold(0, |mask, fragment| mask | 1 << volume.slot_of(at, fragment.index));
    let (waiting, volume) = (Cell::new(slots), volume.clone());
    let (done, failed, full, changed) = Default::default();
    let writes = Rc::new(Writes { volume, waiting, done, failed, full, changed });
    let share = memory.as_ref().map_or(0, |memory| memory.count().div_ceil(fragments.len().max(1)));
    for Fragment { index, bytes } in fragments {
        let (writes, share) = (writes.clone(), memory.as_mut().map(|memory| memory.split(share)));
        drop(rt::spawn(async move {
            let slot = writes.volume.slot_of(at, index);
            let result = writes.volume.write_slot(slot, at, bytes, sync).await;
            drop(share);
            writes.answered(slot, result);
        }));
    }
    writes
}

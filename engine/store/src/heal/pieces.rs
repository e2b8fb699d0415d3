//! Reads the slots of one volume from front to back, in large pieces.
//!
//! Each piece comes through one buffer of the shard's pool and is copied out of it at once: reading holds no more than
//! `PIECES_IN_FLIGHT` of the pool's buffers, however wide the volume is, so that requests are never kept from theirs.

use std::ops::Range;
use std::sync::Arc;

use crate::ids::{PAGE_BYTES, SlotOffset};
use crate::volume::{SlotError, Volume};

/// Pages of one read: 512 KiB. Requests wait behind one: twice as much would double the slowest of them.
pub(super) const PIECE_PAGES: u32 = 128;

/// Reads on their way at a time: one is copied and checked while the other comes.
const PIECES_IN_FLIGHT: usize = 2;

/// What was read of the slots. Memory: for each slot a piece and the longest fragment.
pub(super) struct Pieces {
    pub(super) volume: Arc<Volume>,
    /// Nothing at or beyond it is read ahead.
    end: SlotOffset,
    slots: Vec<Slot>,
    /// Slots that are not read for now. Bit n = slot n.
    asleep: u32,
    bytes_read: u64,
}

struct Slot {
    /// From this page on there is nothing: the file ends there, or before it.
    ends: u32,
    /// Page of the first byte held.
    from: u32,
    bytes: Vec<u8>,
    /// Pages that the drive did not give; `bytes` has zeros there.
    unread: Vec<Range<u32>>,
}

impl Default for Slot {
    fn default() -> Slot {
        Slot { ends: u32::MAX, from: 0, bytes: Vec::new(), unread: Vec::new() }
    }
}

impl Slot {
    fn end(&self) -> u32 {
        self.from + (self.bytes.len() / PAGE_BYTES) as u32
    }

    /// Makes `at` the first page that is held, or would be. Moves the rest to the front, so not to be done for each stripe.
    fn skip_to(&mut self, at: u32) {
        if at >= self.end() || at < self.from {
            self.bytes.clear();
        } else {
            self.bytes.drain(..(at - self.from) as usize * PAGE_BYTES);
        }
        self.from = at;
        self.unread.retain(|pages| pages.end > at);
    }

    fn holds(&self, from: u32, to: u32) -> bool {
        from >= self.from && to <= self.end()
    }
}

impl Pieces {
    pub(super) fn new(volume: Arc<Volume>, end: SlotOffset) -> Pieces {
        let slots = (0..volume.geometry.width()).map(|_| Slot::default()).collect();
        Pieces { end: end.min(volume.end()), volume, slots, asleep: 0, bytes_read: 0 }
    }

    /// From here on the slots of the mask are not read, the others are: what is asleep has no bytes, and nobody asks why.
    pub(super) fn let_sleep(&mut self, asleep: u32) {
        self.asleep = asleep;
    }

    pub(super) fn is_asleep(&self, slot: usize) -> bool {
        self.asleep & (1 << slot) != 0
    }

    pub(super) fn is_all_awake(&self) -> bool {
        self.asleep == 0
    }

    /// Has all slots read from here on; whether there were any that were not.
    pub(super) fn wake(&mut self) -> bool {
        std::mem::take(&mut self.asleep) != 0
    }

    pub(super) fn end(&self) -> SlotOffset {
        self.end
    }

    /// Bytes read since the last call.
    pub(super) fn take_bytes_read(&mut self) -> u64 {
        std::mem::take(&mut self.bytes_read)
    }

    /// Makes these pages of every slot that is awake available, if they lie in the volume. Pages before `at` may be let go of.
    pub(super) async fn load(&mut self, at: SlotOffset, pages: u32) {
        let to = at.0.saturating_add(pages).min(self.volume.end().0);
        loop {
            let mut wanted = Vec::new();
            for (slot, held) in self.slots.iter_mut().enumerate() {
                if self.asleep & (1 << slot) == 0 && !held.holds(at.0, to) {
                    if held.from != at.0 {
                        held.skip_to(at.0);
                    }
                    let from = held.end();
                    let ahead = PIECE_PAGES.min(self.end.0.saturating_sub(from));
                    wanted.push((slot, from, ahead.max((to - from).min(PIECE_PAGES))));
                }
            }
            if wanted.is_empty() {
                return;
            }
            for some in wanted.chunks(PIECES_IN_FLIGHT) {
                let reads: Vec<_> = some
                    .iter()
                    .map(|&(slot, from, pages)| {
                        let volume = self.volume.clone();
                        rt::spawn_foreground(
                            async move { volume.read_slot_to_heal(slot, SlotOffset(from), pages).await },
                        )
                    })
                    .collect();
                for (&(slot, from, pages), read) in some.iter().zip(reads) {
                    let held = &mut self.slots[slot];
                    let len = pages as usize * PAGE_BYTES;
                    match read.await {
                        Ok(buffer) => {
                            held.bytes.extend_from_slice(&buffer[..len]);
                            self.bytes_read += len as u64;
                        }
                        Err(_) => {
                            held.bytes.resize(held.bytes.len() + len, 0);
                            held.unread.push(from..from + pages);
                        }
                    }
                }
            }
        }
    }

    /// Makes the page at `at` of every slot available. Where a large read failed the drive is asked for this page alone: one
    /// bad sector must not hide what lies around it.
    pub(super) async fn load_front(&mut self, at: SlotOffset) {
        self.load(at, 1).await;
        for slot in 0..self.slots.len() {
            let is_asked = !self.is_asleep(slot) && self.volume.is_readable(slot) && self.slots[slot].ends > at.0;
            // What fails again stays unread, and whoever needs it sees that.
            if is_asked
                && self.bytes(slot, at, 1).is_none()
                && self.ask_again(slot, at, 1).await == Err(SlotError::Ended)
            {
                self.slots[slot].ends = at.0;
            }
        }
    }

    /// Whether nothing can be said of the page at `at`, which was loaded with all slots awake: there are slots that should have
    /// it, and none of their drives gave it, or said that the file ends before it.
    pub(super) fn is_unknown(&self, at: SlotOffset) -> bool {
        let mut readable = (0..self.slots.len()).filter(|&slot| self.volume.is_readable(slot)).peekable();
        readable.peek().is_some()
            && readable.all(|slot| self.bytes(slot, at, 1).is_none() && self.slots[slot].ends > at.0)
    }

    /// Pages of a slot that were loaded; `None` when the drive did not give all of them.
    pub(super) fn bytes(&self, slot: usize, at: SlotOffset, pages: u32) -> Option<&[u8]> {
        let held = &self.slots[slot];
        let to = at.0.checked_add(pages)?;
        if self.is_asleep(slot)
            || !held.holds(at.0, to)
            || held.unread.iter().any(|gone| gone.start < to && at.0 < gone.end)
        {
            return None;
        }
        let begin = (at.0 - held.from) as usize * PAGE_BYTES;
        Some(&held.bytes[begin..begin + pages as usize * PAGE_BYTES])
    }

    /// Asks the drive once more for pages that a large read did not give: it may be only some of them that are gone.
    pub(super) async fn ask_again(&mut self, slot: usize, at: SlotOffset, pages: u32) -> Result<(), SlotError> {
        let buffer = self.volume.read_slot(slot, at, pages).await?;
        let len = pages as usize * PAGE_BYTES;
        self.bytes_read += len as u64;
        let held = &mut self.slots[slot];
        if !held.holds(at.0, at.0 + pages) {
            return Err(SlotError::Gone);
        }
        let begin = (at.0 - held.from) as usize * PAGE_BYTES;
        held.bytes[begin..begin + len].copy_from_slice(&buffer[..len]);
        let (from, to) = (at.0, at.0 + pages);
        let unread = std::mem::take(&mut held.unread);
        let rest = unread.into_iter().flat_map(|gone| [gone.start..gone.end.min(from), gone.start.max(to)..gone.end]);
        held.unread = rest.filter(|pages| !pages.is_empty()).collect();
        Ok(())
    }
}

//! Buffers of which the kernel picks one when bytes come: a connection that waits for them holds none.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::buf::{Buf, SUPERBLOCK_BYTES, try_alloc};
use crate::net::PICKED_BYTES;

/// Buffers that lie ready; a power of two. More connections than that which become readable at once have to look for one
/// themselves.
pub(crate) const PICKS: u16 = 128;
/// The kernel's number of the group they are in.
pub(super) const GROUP: u16 = 0;

// What is left of the class is enough for others (`buf::reserved`).
const _: () = assert!(PICKS as usize * PICKED_BYTES <= SUPERBLOCK_BYTES / 2 && PICKS.is_power_of_two());

/// The kernel reads them, and wants them at the beginning of a page. The last field of the first entry is the tail.
#[repr(C, align(4096))]
struct Entries([BufRingEntry; PICKS as usize]);

pub(super) struct Picks {
    /// What `Box::into_raw` gave: the kernel reads it until the ring is gone.
    entries: *mut Entries,
    tail: Cell<u16>,
    /// By the number that the kernel knows each by.
    ready: RefCell<[Option<Buf>; PICKS as usize]>,
    /// Numbers without a buffer.
    empty: RefCell<Vec<u16>>,
}

impl Picks {
    /// # Safety
    /// To be dropped after the ring.
    pub(super) unsafe fn register(ring: &IoUring) -> io::Result<Picks> {
        // SAFETY: entries are plain numbers, for which zero is valid.
        let entries = Box::into_raw(Box::new(unsafe { std::mem::zeroed::<Entries>() }));
        let picks = Picks {
            entries,
            tail: Cell::new(0),
            ready: RefCell::new([const { None }; PICKS as usize]),
            empty: RefCell::new((0..PICKS).rev().collect()),
        };
        // SAFETY: the entries stay where they are until `picks` is dropped, which is after the ring.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, PICKS, GROUP, 0)? };
        Ok(picks)
    }

    /// Takes the buffer that the kernel picked.
    pub(super) fn take(&self, number: u16) -> Buf {
        self.empty.borrow_mut().push(number);
        self.ready.borrow_mut()[usize::from(number)].take().expect("the kernel picks what was given to it")
    }

    /// Lays out as many as the pool has.
    pub(super) fn refill(&self) {
        let (mut empty, tail) = (self.empty.borrow_mut(), self.tail.get());
        let mut next = tail;
        while let Some(&number) = empty.last() {
            let Some(mut buf) = try_alloc(PICKED_BYTES) else { break };
            // SAFETY: in bounds, and not between the kernel's head and the tail: there are no more numbers than entries.
            // Only the tail, which is no part of what is written here, may be read meanwhile.
            let entry = unsafe { &mut (*self.entries).0[usize::from(next % PICKS)] };
            entry.set_addr(buf.as_mut_ptr() as u64);
            entry.set_len(PICKED_BYTES as u32);
            entry.set_bid(number);
            self.ready.borrow_mut()[usize::from(number)] = Some(buf);
            empty.pop();
            next = next.wrapping_add(1);
        }
        if next != tail {
            self.tail.set(next);
            // SAFETY: the first entry's last field, which is aligned and only the kernel reads.
            let shown = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.cast()).cast_mut()) };
            shown.store(next, Ordering::Release);
        }
    }
}

impl Drop for Picks {
    fn drop(&mut self) {
        // SAFETY: from `Box::into_raw`, and the ring is gone.
        drop(unsafe { Box::from_raw(self.entries) });
    }
}

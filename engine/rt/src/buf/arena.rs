//! The memory behind a pool, and the buffer that owns a piece of it.
#![allow(unsafe_code)]

use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::{Arc, PoisonError};

use super::{CLASS_BYTES, SUPERBLOCK_BYTES, Window};
use crate::mailbox::Inbox;
use crate::threads::atomic::{AtomicBool, Ordering::SeqCst};
use crate::threads::{Bug, Mutex, is_planted};

const HUGE_PAGE_BYTES: usize = 2 << 20;
/// The kernel takes at most 1 GiB per registered buffer; no superblock may straddle two of them.
const REGION_BYTES: usize = (1 << 30) / SUPERBLOCK_BYTES * SUPERBLOCK_BYTES;

pub(crate) struct Arena {
    base: NonNull<u8>,
    len: usize,
    /// What was mapped: more than `len`, so that `base` lies on a huge page.
    mapping: (usize, usize),
    /// Offsets of buffers that other threads dropped.
    returned: Mutex<Vec<usize>>,
    any_returned: AtomicBool,
    /// Set by the owner while an allocation waits.
    waiting: AtomicBool,
    inbox: Arc<Inbox>,
}

// SAFETY: the memory behind `base` is only reached through `Buf`s, which never overlap; the rest is Sync by itself.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    pub(crate) fn map(len: usize, inbox: Arc<Inbox>) -> io::Result<Arc<Arena>> {
        let mapped_len = len + HUGE_PAGE_BYTES;
        // SAFETY: a fresh anonymous mapping at an address the kernel chooses; no existing memory is touched.
        let mapped = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), mapped_len, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let skip = mapped.align_offset(HUGE_PAGE_BYTES);
        // SAFETY: `skip` is below HUGE_PAGE_BYTES, so the result and `len` bytes after it lie in the mapping.
        let base = unsafe { mapped.cast::<u8>().add(skip) };
        // SAFETY: advice on our own mapping. A kernel without huge pages refuses it, and small pages work as well.
        let _refused = unsafe { libc::madvise(base.cast(), len, libc::MADV_HUGEPAGE) };
        Ok(Arc::new(Arena {
            base: NonNull::new(base).expect("mmap gives no null"),
            len,
            mapping: (mapped as usize, mapped_len),
            returned: Mutex::default(),
            any_returned: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            inbox,
        }))
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The pieces to register with a ring; `Buf::region` is an index into them.
    pub(crate) fn regions(&self) -> Vec<libc::iovec> {
        (0..self.len)
            .step_by(REGION_BYTES)
            .map(|offset| libc::iovec {
                // SAFETY: `offset` is below `len`.
                iov_base: unsafe { self.base.as_ptr().add(offset) }.cast(),
                iov_len: REGION_BYTES.min(self.len - offset),
            })
            .collect()
    }

    pub(crate) fn return_from_elsewhere(&self, offset: usize) {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).push(offset);
        self.any_returned.store(true, SeqCst);
        // Pairs with `set_waiting(true)` followed by `take_returned`: one of the two sees the other.
        if self.waiting.load(SeqCst) {
            self.inbox.notify();
        }
    }

    pub(crate) fn take_returned(&self) -> Option<Vec<usize>> {
        if !self.any_returned.load(SeqCst) {
            return None;
        }
        self.any_returned.store(false, SeqCst);
        Some(std::mem::take(&mut *self.returned.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Announces that an allocation waits, and looks at what came back before anybody could know.
    pub(crate) fn wait_for_returned(&self, look: impl FnOnce()) {
        if is_planted(Bug::WaitingSaidLate) {
            look();
            self.set_waiting(true);
        } else {
            self.set_waiting(true);
            look();
        }
    }

    pub(super) fn set_waiting(&self, waiting: bool) {
        if self.waiting.load(SeqCst) != waiting {
            self.waiting.store(waiting, SeqCst);
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no `Buf` is left since each holds this arena. The kernel is done with it:
        // an operation in flight holds its `Buf`.
        let result = unsafe { libc::munmap(self.mapping.0 as *mut libc::c_void, self.mapping.1) };
        debug_assert_eq!(result, 0);
    }
}

/// An owned buffer: 4 KiB aligned, of its class's full capacity, contents undefined at first (never zeroed).
///
/// Dropping it gives it back to its shard's pool, from any thread.
pub struct Buf {
    arena: Arc<Arena>,
    start: NonNull<u8>,
    class: u8,
}

// SAFETY: a `Buf` is the only way to its bytes, like a Box<[u8]>.
unsafe impl Send for Buf {}
// SAFETY: through `&Buf` the bytes can only be read.
unsafe impl Sync for Buf {}

impl Buf {
    /// The pool hands out each offset to one buffer at a time.
    pub(super) fn new(arena: &Arc<Arena>, offset: usize, class: usize) -> Buf {
        assert!(offset + CLASS_BYTES[class] <= arena.len, "the buffer lies in its arena");
        // SAFETY: just checked.
        let start = unsafe { arena.base.add(offset) };
        Buf { arena: arena.clone(), start, class: class as u8 }
    }

    fn offset(&self) -> usize {
        self.start.as_ptr() as usize - self.arena.base.as_ptr() as usize
    }

    /// Which registered buffer of the ring holds this one, if the ring knows `arena` and this buffer is of it.
    pub(crate) fn region(&self, registered: &Arc<Arena>) -> Option<u16> {
        Arc::ptr_eq(&self.arena, registered).then(|| (self.offset() / REGION_BYTES) as u16)
    }

    /// A part of this buffer for partial I/O. Panics when the range does not lie in it.
    pub fn window(self, range: Range<usize>) -> Window {
        Window::new(self, range)
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes are mapped as long as the arena lives, initialised by the kernel, and only ours.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), CLASS_BYTES[self.class as usize]) }
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), CLASS_BYTES[self.class as usize]) }
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        super::give_back(&self.arena, self.offset());
    }
}

impl std::fmt::Debug for Buf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buf({} bytes)", self.len())
    }
}

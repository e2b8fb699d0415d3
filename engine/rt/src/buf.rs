//! Buffers: one bounded arena per shard, cut into size classes, 4 KiB aligned, registered with the ring when possible.
//!
//! The arena is a row of superblocks of `SUPERBLOCK_BYTES`; each belongs to one size class at a time or is free. Every
//! class has a reserve of superblocks that no other class may take, so a class whose buffers come back always makes
//! progress, whatever the others hold: that rules out a deadlock by fragmentation. The rest goes to whoever asks.
//! The arena is also the back-pressure: `alloc` waits, first come first served within a class.

mod arena;
mod window;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::mailbox::Inbox;
use crate::net::PICKED_BYTES;
use crate::shard;
use crate::uring::picks::PICKS;
pub(crate) use arena::Arena;
pub use arena::Buf;
pub use window::{Shared, Window};

pub const ALIGN_BYTES: usize = 4096;
/// What a buffer can hold, by class: pages, network reads, small objects, 256 KiB and 1 MiB and 4 MiB of payload with
/// room for a header page and slack.
pub const CLASS_BYTES: [usize; CLASSES] = [4 << 10, 16 << 10, 64 << 10, 272 << 10, 1040 << 10, 4160 << 10];
pub const CLASSES: usize = 6;
/// The largest buffer.
pub const BUF_BYTES_MAX: usize = CLASS_BYTES[CLASSES - 1];
pub const SUPERBLOCK_BYTES: usize = BUF_BYTES_MAX;
/// Superblocks each class may always have.
const RESERVE_MIN: [usize; CLASSES] = [1, 1, 1, 1, 2, 2];
/// The smallest arena: all reserves.
pub const ARENA_BYTES_MIN: usize = 8 * SUPERBLOCK_BYTES;
/// Small classes may hold at most one n-th of the arena, so that idle connections cannot take it all.
const SHARE_MAX: [usize; CLASSES] = [4, 3, 3, 1, 1, 1];

const _: () = assert!(SUPERBLOCK_BYTES == 4 * CLASS_BYTES[4] && SUPERBLOCK_BYTES.is_multiple_of(ALIGN_BYTES));

static WAITS: telemetry::Counter =
    telemetry::Counter::new("hafiz_buffer_waits_total", "Buffer allocations that had to wait.");

static WAITING: telemetry::Gauge = telemetry::Gauge::new("hafiz_buffer_waiters", "Tasks that wait for a buffer.");
static USED: telemetry::Gauge = telemetry::Gauge::new("hafiz_buffer_used_bytes", "Buffers that are not in their pool.");

/// The length asked for is above `BUF_BYTES_MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a buffer holds at most {BUF_BYTES_MAX} bytes")
    }
}

impl std::error::Error for TooLarge {}

/// The class whose buffers hold `len` bytes.
fn class_of(len: usize) -> Result<usize, TooLarge> {
    CLASS_BYTES.iter().position(|bytes| len <= *bytes).ok_or(TooLarge)
}

/// Waits for a buffer of at least `len` bytes from this shard's pool. Its contents are whatever was there before.
///
/// Panics when `len` is above `BUF_BYTES_MAX`; use `alloc_checked` for lengths that come from outside.
/// A task that holds a buffer and waits for another of the same class can deadlock with its like: take all at once or
/// bound the number of such tasks.
pub async fn alloc(len: usize) -> Buf {
    alloc_checked(len).await.expect("no caller asks for more than BUF_BYTES_MAX")
}

/// Like `alloc`, with an error for lengths no buffer has.
pub async fn alloc_checked(len: usize) -> Result<Buf, TooLarge> {
    let class = class_of(len)?;
    if let Some(buf) = try_alloc(len) {
        return Ok(buf);
    }
    WAITS.add(1);
    WAITING.add(1);
    Ok(Allocation { class, place: Rc::default() }.await)
}

/// A buffer if one is free now and nobody waits for its class; `None` also when `len` is above `BUF_BYTES_MAX`.
pub fn try_alloc(len: usize) -> Option<Buf> {
    let class = class_of(len).ok()?;
    shard::with(|shard| {
        let pool = &shard.pool;
        pool.take_returned();
        let mut state = pool.state.borrow_mut();
        if !state.waiting[class].is_empty() {
            return None;
        }
        state.take(class).map(|offset| Buf::new(&pool.arena, offset, class))
    })
}

/// How many buffers of at least `len` bytes this shard can have at a time, whatever others hold: who takes no more for one
/// step, and is alone with its class, gets them. 0 for lengths that no buffer has.
pub fn reserved(len: usize) -> usize {
    let Ok(class) = class_of(len) else { return 0 };
    let all = shard::with(|shard| shard.pool.state.borrow().reserve[class]) * (SUPERBLOCK_BYTES / CLASS_BYTES[class]);
    // Some lie ready for the kernel.
    if CLASS_BYTES[class] == PICKED_BYTES { all - usize::from(PICKS) } else { all }
}

/// How full this shard's pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    pub arena_bytes: usize,
    /// Bytes in buffers that are handed out.
    pub used_bytes: usize,
    /// Allocations that wait, by class.
    pub waiting: [usize; CLASSES],
    /// Whether the ring knows the arena (fixed reads and writes).
    pub registered: bool,
}

pub fn stats() -> Stats {
    shard::with(|shard| {
        shard.pool.take_returned();
        let state = shard.pool.state.borrow();
        Stats {
            arena_bytes: shard.pool.arena.len(),
            used_bytes: state.used_bytes,
            waiting: std::array::from_fn(|class| state.waiting[class].len()),
            registered: shard.pool.registered.get(),
        }
    })
}

/// Whether anyone on this shard waits for buffers, or for leave to take some (`sync::Semaphore::of_buffers`).
pub fn is_scarce() -> bool {
    shard::with(|shard| {
        shard.pool.wanted.get() > 0 || shard.pool.state.borrow().waiting.iter().any(|waiting| !waiting.is_empty())
    })
}

struct Superblock {
    class: usize,
    free: Vec<u16>,
}

/// Where a waiting allocation finds its buffer.
#[derive(Default)]
struct Place {
    buf: Cell<Option<Buf>>,
    waker: RefCell<Option<Waker>>,
}

struct State {
    superblocks: Vec<Superblock>,
    /// Superblocks that belong to no class.
    unclaimed: Vec<usize>,
    /// Superblocks of the class that have a free buffer.
    partial: [Vec<usize>; CLASSES],
    held: [usize; CLASSES],
    reserve: [usize; CLASSES],
    limit: [usize; CLASSES],
    waiting: [VecDeque<Rc<Place>>; CLASSES],
    used_bytes: usize,
}

impl State {
    fn new(superblocks: usize) -> State {
        let reserve: [usize; CLASSES] = RESERVE_MIN.map(|min| min.max(superblocks / 16));
        assert!(reserve.iter().sum::<usize>() <= superblocks, "the arena holds all reserves");
        State {
            superblocks: (0..superblocks).map(|_| Superblock { class: 0, free: Vec::new() }).collect(),
            unclaimed: (0..superblocks).rev().collect(),
            partial: Default::default(),
            held: [0; CLASSES],
            reserve,
            limit: std::array::from_fn(|class| (superblocks / SHARE_MAX[class]).max(reserve[class])),
            waiting: Default::default(),
            used_bytes: 0,
        }
    }

    /// The offset of a free buffer, claiming a superblock when the class has none left and may have one.
    fn take(&mut self, class: usize) -> Option<usize> {
        if self.partial[class].is_empty() {
            self.claim(class)?;
        }
        let number = *self.partial[class].last()?;
        let superblock = &mut self.superblocks[number];
        let index = superblock.free.pop().expect("a partial superblock has a free buffer");
        if superblock.free.is_empty() {
            self.partial[class].pop();
        }
        self.used_bytes += CLASS_BYTES[class];
        USED.add(CLASS_BYTES[class] as i64);
        Some(number * SUPERBLOCK_BYTES + index as usize * CLASS_BYTES[class])
    }

    fn claim(&mut self, class: usize) -> Option<()> {
        let owed: usize = (0..CLASSES).map(|other| self.reserve[other].saturating_sub(self.held[other])).sum();
        let spare = self.unclaimed.len() > owed && self.held[class] < self.limit[class];
        if self.held[class] >= self.reserve[class] && !spare {
            return None;
        }
        let number = self.unclaimed.pop()?;
        let count = SUPERBLOCK_BYTES / CLASS_BYTES[class];
        self.superblocks[number] = Superblock { class, free: (0..count as u16).rev().collect() };
        self.held[class] += 1;
        self.partial[class].push(number);
        Some(())
    }

    fn give_back(&mut self, offset: usize) {
        let number = offset / SUPERBLOCK_BYTES;
        let superblock = &mut self.superblocks[number];
        let class = superblock.class;
        let index = (offset % SUPERBLOCK_BYTES / CLASS_BYTES[class]) as u16;
        debug_assert!(!superblock.free.contains(&index), "a buffer comes back once");
        superblock.free.push(index);
        self.used_bytes -= CLASS_BYTES[class];
        USED.add(-(CLASS_BYTES[class] as i64));
        if superblock.free.len() == 1 {
            self.partial[class].push(number);
        }
        let whole = superblock.free.len() == SUPERBLOCK_BYTES / CLASS_BYTES[class];
        // The reserve is kept as it is, so that a class at rest does not cut superblocks again and again.
        if whole && self.held[class] > self.reserve[class] {
            self.partial[class].retain(|partial| *partial != number);
            self.held[class] -= 1;
            self.unclaimed.push(number);
        }
    }
}

/// The buffers of one shard.
pub(crate) struct Pool {
    arena: Arc<Arena>,
    state: RefCell<State>,
    registered: Cell<bool>,
    /// Tasks that wait for leave to take buffers.
    pub(crate) wanted: Cell<usize>,
}

impl Pool {
    pub(crate) fn new(bytes: usize, inbox: Arc<Inbox>) -> io::Result<Pool> {
        let superblocks = bytes.max(ARENA_BYTES_MIN) / SUPERBLOCK_BYTES;
        // Shown before anybody has waited.
        WAITING.add(0);
        Ok(Pool {
            arena: Arena::map(superblocks * SUPERBLOCK_BYTES, inbox)?,
            state: RefCell::new(State::new(superblocks)),
            registered: Cell::new(false),
            wanted: Cell::new(0),
        })
    }

    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    pub(crate) fn set_registered(&self) {
        self.registered.set(true);
    }

    /// Takes back what other threads dropped.
    pub(crate) fn take_returned(&self) {
        if let Some(offsets) = self.arena.take_returned() {
            let mut state = self.state.borrow_mut();
            for offset in offsets {
                state.give_back(offset);
            }
            drop(state);
            self.serve();
        }
    }

    fn give_back(&self, offset: usize) {
        self.state.borrow_mut().give_back(offset);
        self.serve();
    }

    /// Hands free buffers to those who wait, in their order.
    fn serve(&self) {
        let mut state = self.state.borrow_mut();
        for class in 0..CLASSES {
            while !state.waiting[class].is_empty() {
                let Some(offset) = state.take(class) else { break };
                let place = state.waiting[class].pop_front().expect("just looked");
                place.buf.set(Some(Buf::new(&self.arena, offset, class)));
                if let Some(waker) = place.waker.take() {
                    waker.wake();
                }
            }
        }
        let waiting = state.waiting.iter().any(|waiting| !waiting.is_empty());
        self.arena.set_waiting(waiting);
    }
}

/// Called when a buffer is dropped: gives it to its pool, from another thread by way of the arena's list.
fn give_back(arena: &Arc<Arena>, offset: usize) {
    let here = shard::try_with(|shard| match shard {
        Some(shard) if Arc::ptr_eq(&shard.pool.arena, arena) => {
            shard.pool.give_back(offset);
            true
        }
        _ => false,
    });
    if !here {
        arena.return_from_elsewhere(offset);
    }
}

/// An allocation that waits.
struct Allocation {
    class: usize,
    place: Rc<Place>,
}

impl Future for Allocation {
    type Output = Buf;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Buf> {
        if let Some(buf) = self.place.buf.take() {
            return Poll::Ready(buf);
        }
        let first = self.place.waker.replace(Some(cx.waker().clone())).is_none();
        if first {
            shard::with(|shard| {
                shard.pool.state.borrow_mut().waiting[self.class].push_back(self.place.clone());
                shard.pool.arena.wait_for_returned(|| shard.pool.take_returned());
            });
        }
        self.place.buf.take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        WAITING.add(-1);
        shard::try_with(|shard| {
            if let Some(shard) = shard {
                shard.pool.state.borrow_mut().waiting[self.class].retain(|place| !Rc::ptr_eq(place, &self.place));
            }
        });
    }
}

#[cfg(test)]
mod tests;

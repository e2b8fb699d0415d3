//! The ring of one shard and the operations on it. The only module that names io_uring.
//!
//! An operation's future owns what the kernel works on (buffer, path, descriptor). When it is dropped early, all of
//! that moves into the ring's table and stays there until the completion arrives.
#![allow(unsafe_code)]

pub(crate) mod picks;

use std::cell::{Cell, RefCell, UnsafeCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use io_uring::types::{CancelBuilder, Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use picks::Picks;

use crate::buf::{Arena, Buf, Pool, Shared, Window};
use crate::mailbox::Inbox;
use crate::net::Picked;
use crate::shard;
use crate::slab::Slab;
use crate::sys::RawAddress;
use crate::threads::Event;
use crate::time::Instant;

/// Submission queue entries; the completion queue has twice as many, and the kernel keeps what does not fit.
pub(crate) const RING_ENTRIES: u32 = 4096;

/// Kernel threads for operations that block, of regular files and of everything else. Each one on a drive that hangs takes
/// one until that answers; the default, four for each core, is gone after a few, and then no other drive's flush is begun.
/// They are made as they are needed.
const IO_WORKERS_MAX: [u32; 2] = [512, 512];

/// User data at and above this value belongs to the driver; below it is a key of the table of operations.
const INTERNAL: u64 = 1 << 63;
const EVENT: u64 = INTERNAL;
const WOKEN: u64 = INTERNAL | 1;
const CANCEL: u64 = INTERNAL | 2;
/// A wake-up sent to another ring; the low bits say which shard.
const WAKE_SENT: u64 = INTERNAL | 1 << 32;

static UNREGISTERED: telemetry::Counter =
    telemetry::Counter::new("hafiz_ring_unregistered_total", "Shards whose buffers could not be registered.");

static SLEPT: telemetry::Counter =
    telemetry::Counter::new("hafiz_shard_idle_microseconds_total", "Time the shards had nothing to do.");

/// What an operation holds for the kernel.
pub(crate) trait Held: 'static {
    /// The future was dropped before the completion came; last chance to undo `result`.
    fn orphaned(&mut self, _result: i32) {}
}

enum State {
    Waiting(Option<Waker>),
    /// With the buffer that the kernel picked, if it was to do so.
    Done(i32, Option<Buf>),
    Orphan(Box<dyn Held>),
}

pub(crate) struct Driver {
    /// First, so that it goes before what the kernel uses.
    ring: RefCell<IoUring>,
    /// `None`: this kernel picks none.
    picks: Option<Picks>,
    operations: RefCell<Slab<State>>,
    /// The arena the ring knows, when it does.
    registered: Option<Arc<Arena>>,
    inbox: Arc<Inbox>,
    /// Where the kernel puts the value of the wake-up eventfd.
    event_value: Box<UnsafeCell<u64>>,
    event_armed: Cell<bool>,
    draining: Cell<bool>,
}

impl Driver {
    /// Sets up the ring of the calling thread, which alone may use it.
    pub(crate) fn new(inbox: &Arc<Inbox>, pool: &Pool) -> io::Result<Driver> {
        let ring = build_ring()?;
        let regions = pool.arena().regions();
        // SAFETY: the regions are mapped as long as the arena lives, and the driver keeps it.
        let registered = unsafe { ring.submitter().register_buffers(&regions) };
        let registered = match registered {
            Ok(()) => {
                pool.set_registered();
                Some(pool.arena().clone())
            }
            Err(error) => {
                UNREGISTERED.add(1);
                telemetry::warn!("the buffers could not be registered with the ring, large writes cost twice the CPU; raise the memlock limit"; error = error);
                None
            }
        };
        // The kernel answers with what it was before.
        let mut workers = IO_WORKERS_MAX;
        if let Err(error) = ring.submitter().register_iowq_max_workers(&mut workers) {
            telemetry::warn!("a few operations on a drive that hangs may hold up those on others"; error = error);
        }
        // SAFETY: the ring stands before them in the driver, so it is dropped first.
        let picks = match unsafe { Picks::register(&ring) } {
            Ok(picks) => Some(picks),
            Err(error) => {
                telemetry::warn!("the kernel picks no buffers, idle connections cost an operation more"; error = error);
                None
            }
        };
        inbox.set_ring_fd(ring.as_raw_fd());
        let driver = Driver {
            ring: RefCell::new(ring),
            picks,
            operations: RefCell::new(Slab::new()),
            registered,
            inbox: inbox.clone(),
            event_value: Box::new(UnsafeCell::new(0)),
            event_armed: Cell::new(false),
            draining: Cell::new(false),
        };
        driver.arm_event();
        Ok(driver)
    }

    fn arm_event(&self) {
        let event = self.inbox.event().expect("a shard with a ring has an eventfd");
        let place = self.event_value.get().cast();
        let entry = opcode::Read::new(Fd(event.as_raw_fd()), place, 8).build().user_data(EVENT);
        self.event_armed.set(true);
        // SAFETY: the value is boxed and the eventfd open as long as the driver lives; `drain` waits for this read.
        // Nothing else reads or writes the value.
        unsafe { self.push(entry) };
    }

    /// Queues an entry, submitting first when the queue is full.
    ///
    /// # Safety
    /// All the entry points to must stay valid until its completion has been seen.
    unsafe fn push(&self, entry: squeue::Entry) {
        let mut ring = self.ring.borrow_mut();
        loop {
            // SAFETY: handed on to the caller.
            if unsafe { ring.submission().push(&entry) }.is_ok() {
                return;
            }
            enter_result(ring.submit());
        }
    }

    /// Tells the kernel what was queued and takes what is complete. Does not wait.
    pub(crate) fn submit(&self) {
        {
            let mut ring = self.ring.borrow_mut();
            let (queued, work) = {
                let queue = ring.submission();
                (!queue.is_empty(), queue.taskrun() || queue.cq_overflow())
            };
            if queued || work {
                enter_result(ring.submit());
            }
        }
        self.complete();
    }

    /// Like `submit`, and waits for a completion, at most until `deadline`.
    pub(crate) fn wait(&self, deadline: Option<Instant>) {
        let began = Instant::now();
        {
            let mut ring = self.ring.borrow_mut();
            let want = usize::from(ring.completion().is_empty());
            let result = match deadline {
                None => ring.submit_and_wait(want),
                Some(deadline) => {
                    let left = deadline - began;
                    let timespec = Timespec::from(left);
                    ring.submitter().submit_with_args(want, &SubmitArgs::new().timespec(&timespec))
                }
            };
            enter_result(result);
        }
        SLEPT.add(began.elapsed().as_micros() as u64);
        self.complete();
    }

    /// Hands completions to their futures.
    fn complete(&self) {
        let mut orphans: Vec<(Box<dyn Held>, i32, Option<State>)> = Vec::new();
        let mut rearm = false;
        {
            let mut ring = self.ring.borrow_mut();
            let mut operations = self.operations.borrow_mut();
            for completion in ring.completion() {
                let data = completion.user_data();
                if data >= INTERNAL {
                    rearm |= self.internal(&completion);
                    continue;
                }
                let key = data as usize;
                let state = operations.get_mut(key).expect("an operation stays in the table until it completes");
                let picked = cqueue::buffer_select(completion.flags());
                let picked = picked.and_then(|number| Some(self.picks.as_ref()?.take(number)));
                match std::mem::replace(state, State::Done(completion.result(), picked)) {
                    State::Waiting(waker) => {
                        if let Some(waker) = waker {
                            waker.wake();
                        }
                    }
                    State::Orphan(held) => {
                        orphans.push((held, completion.result(), operations.remove(key)));
                    }
                    State::Done(..) => unreachable!("an operation completes once"),
                }
            }
        }
        for (mut held, result, _done) in orphans {
            held.orphaned(result);
        }
        if rearm {
            self.arm_event();
        }
    }

    /// Returns true when the wake-up read must be queued again.
    fn internal(&self, completion: &cqueue::Entry) -> bool {
        match completion.user_data() {
            EVENT => {
                self.event_armed.set(false);
                !self.draining.get()
            }
            WOKEN | CANCEL => false,
            sent => {
                debug_assert!(sent & WAKE_SENT == WAKE_SENT);
                if completion.result() < 0 {
                    // The other ring could not take the message: its eventfd always can.
                    let to = (sent & 0xFFFF) as usize;
                    shard::with(|shard| shard.inboxes[to].event().map(Event::signal));
                }
                false
            }
        }
    }

    /// Wakes a sleeping shard through its ring, with the next system call of this one.
    pub(crate) fn wake_ring(&self, ring_fd: i32, shard: u16) {
        let entry = opcode::MsgRingData::new(Fd(ring_fd), 0, WOKEN, None).build();
        // SAFETY: the entry points to nothing.
        unsafe { self.push(entry.user_data(WAKE_SENT | u64::from(shard))) };
    }

    /// Waits until the kernel has completed everything, but no longer than `deadline`: then says how many operations are
    /// still in its hands, and what they work on must stay. To be called after all futures were dropped.
    pub(crate) fn drain(&self, deadline: Instant) -> usize {
        self.draining.set(true);
        let cancel_all = opcode::AsyncCancel2::new(CancelBuilder::any()).build().user_data(CANCEL);
        // SAFETY: the entry points to nothing.
        unsafe { self.push(cancel_all) };
        loop {
            let left = self.operations.borrow().len() + usize::from(self.event_armed.get());
            if left == 0 || Instant::now() >= deadline {
                return left;
            }
            self.wait(Some(deadline));
        }
    }

    fn cancel(&self, key: usize) {
        let entry = opcode::AsyncCancel::new(key as u64).build().user_data(CANCEL);
        // SAFETY: the entry points to nothing.
        unsafe { self.push(entry) };
    }
}

fn build_ring() -> io::Result<IoUring> {
    let full = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .dontfork()
        .build(RING_ENTRIES);
    match full {
        // A kernel before 6.1 knows not all of these; `check` has said so.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => IoUring::builder().dontfork().build(RING_ENTRIES),
        other => other,
    }
}

/// A short probe for `check`: can a ring with all our flags be made, and if not, why.
pub(crate) fn probe(locked: Option<&mut [u8]>) -> Result<(), (&'static str, io::Error)> {
    let ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .build(RING_ENTRIES)
        .map_err(|error| ("ring", error))?;
    if let Some(memory) = locked {
        let region = libc::iovec { iov_base: memory.as_mut_ptr().cast(), iov_len: memory.len() };
        // SAFETY: the memory outlives the ring, which ends with this function and runs no operation.
        unsafe { ring.submitter().register_buffers(&[region]) }.map_err(|error| ("register", error))?;
        ring.submitter().unregister_buffers().map_err(|error| ("register", error))?;
    }
    Ok(())
}

/// Of a receive: wait until there is something before a buffer is picked, or there would be none for whoever waits when
/// all are taken (`IORING_RECVSEND_POLL_FIRST` of linux/io_uring.h, since 5.19 like the ring of buffers).
const POLL_FIRST: u16 = 1;

/// What `io_uring_enter` may say in normal life; anything else means that the ring is unusable.
fn enter_result(result: io::Result<usize>) {
    if let Err(error) = result {
        let harmless = [libc::ETIME, libc::EINTR, libc::EBUSY, libc::EAGAIN];
        assert!(error.raw_os_error().is_some_and(|code| harmless.contains(&code)), "io_uring_enter failed: {error}");
    }
}

/// One operation in flight: the kernel's result and what it held.
pub(crate) struct Operation<H: Held> {
    key: usize,
    held: Option<H>,
    cancel_on_drop: bool,
}

// The pointers are the kernel's business; moving the future moves none of the memory behind them.
impl<H: Held> Unpin for Operation<H> {}

impl<H: Held> Operation<H> {
    /// Queues `entry`.
    ///
    /// # Safety
    /// Everything `entry` points to must be owned by `held` (or be static) and must not move when `held` moves.
    unsafe fn start(entry: squeue::Entry, held: H, cancel_on_drop: bool) -> Operation<H> {
        shard::with(|shard| {
            let driver = shard.driver();
            let key = driver.operations.borrow_mut().insert(State::Waiting(None));
            // SAFETY: `held` lives in this future or, after its drop, in the table until the completion.
            unsafe { driver.push(entry.user_data(key as u64)) };
            Operation { key, held: Some(held), cancel_on_drop }
        })
    }
}

impl<H: Held> Future for Operation<H> {
    type Output = (i32, H);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(i32, H)> {
        self.poll_picked(cx).map(|(result, _, held)| (result, held))
    }
}

impl<H: Held> Operation<H> {
    /// The result with the buffer that the kernel picked.
    fn poll_picked(&mut self, cx: &mut Context<'_>) -> Poll<(i32, Option<Buf>, H)> {
        let done = shard::with(|shard| {
            let mut operations = shard.driver().operations.borrow_mut();
            match operations.get_mut(self.key).expect("the operation is in the table until its result is taken") {
                State::Waiting(Some(waker)) if waker.will_wake(cx.waker()) => None,
                State::Waiting(waker) => {
                    *waker = Some(cx.waker().clone());
                    None
                }
                State::Done(result, picked) => {
                    let done = (*result, picked.take());
                    operations.remove(self.key);
                    Some(done)
                }
                State::Orphan(_) => unreachable!("only a dropped future leaves an orphan"),
            }
        });
        match done {
            Some((result, picked)) => {
                Poll::Ready((result, picked, self.held.take().expect("the result is taken once")))
            }
            None => Poll::Pending,
        }
    }
}

impl<H: Held> Drop for Operation<H> {
    fn drop(&mut self) {
        let Some(mut held) = self.held.take() else { return };
        shard::with(|shard| {
            let driver = shard.driver();
            // A buffer goes back to the pool when the table is free again.
            let mut _picked = None;
            let done = {
                let mut operations = driver.operations.borrow_mut();
                match operations.get_mut(self.key).expect("the operation is in the table until its result is taken") {
                    State::Done(result, picked) => {
                        let result = *result;
                        _picked = picked.take();
                        operations.remove(self.key);
                        held.orphaned(result);
                        true
                    }
                    state => {
                        *state = State::Orphan(Box::new(held));
                        false
                    }
                }
            };
            if !done && self.cancel_on_drop && !driver.draining.get() {
                driver.cancel(self.key);
            }
        });
    }
}

/// Bytes an operation may send or write.
///
/// # Safety
/// `bytes` must return the same memory until the value is dropped, wherever it moves.
pub(crate) unsafe trait Source: 'static {
    fn bytes(&self) -> &[u8];
    fn pool_buf(&self) -> Option<&Buf>;
}

// SAFETY: a Buf's bytes lie in its arena.
unsafe impl Source for Window {
    fn bytes(&self) -> &[u8] {
        self
    }
    fn pool_buf(&self) -> Option<&Buf> {
        Some(self.buf())
    }
}

// SAFETY: the bytes lie in an arena, behind an Arc, or are static.
unsafe impl Source for Shared {
    fn bytes(&self) -> &[u8] {
        self
    }
    fn pool_buf(&self) -> Option<&Buf> {
        Shared::pool_buf(self)
    }
}

/// A descriptor and the bytes in flight on it.
pub(crate) struct Transfer<S> {
    _fd: Arc<OwnedFd>,
    bytes: S,
}
impl<S: 'static> Held for Transfer<S> {}

fn transfer<S>(fd: &Arc<OwnedFd>, bytes: S) -> Transfer<S> {
    Transfer { _fd: fd.clone(), bytes }
}

fn region(source: &impl Source) -> Option<u16> {
    shard::with(|shard| {
        let registered = shard.driver().registered.as_ref()?;
        source.pool_buf()?.region(registered)
    })
}

fn result(code: i32) -> io::Result<usize> {
    if code < 0 { Err(io::Error::from_raw_os_error(-code)) } else { Ok(code as usize) }
}

/// Reads into `window[skip..]` from `offset` of a file.
pub(crate) async fn read(
    fd: &Arc<OwnedFd>,
    mut window: Window,
    skip: usize,
    offset: u64,
) -> (io::Result<usize>, Window) {
    let region = region(&window);
    let bytes = &mut window[skip..];
    let (place, len, raw) = (bytes.as_mut_ptr(), bytes.len() as u32, Fd(fd.as_raw_fd()));
    let entry = match region {
        Some(region) => opcode::ReadFixed::new(raw, place, len, region).offset(offset).build(),
        None => opcode::Read::new(raw, place, len).offset(offset).build(),
    };
    // SAFETY: the window's bytes do not move with it, and nobody else can reach them.
    let (code, Transfer { bytes: window, .. }) = unsafe { Operation::start(entry, transfer(fd, window), false) }.await;
    (result(code), window)
}

/// Writes `source[skip..]` at `offset` of a file; `dsync` makes it durable before it completes.
pub(crate) async fn write<S: Source>(
    fd: &Arc<OwnedFd>,
    source: S,
    skip: usize,
    offset: u64,
    dsync: bool,
) -> (io::Result<usize>, S) {
    let region = region(&source);
    let bytes = &source.bytes()[skip..];
    let (place, len, raw) = (bytes.as_ptr(), bytes.len() as u32, Fd(fd.as_raw_fd()));
    let flags = if dsync { libc::RWF_DSYNC } else { 0 };
    let entry = match region {
        Some(region) => opcode::WriteFixed::new(raw, place, len, region).offset(offset).rw_flags(flags).build(),
        None => opcode::Write::new(raw, place, len).offset(offset).rw_flags(flags).build(),
    };
    // SAFETY: a Source's bytes do not move with it and are only read, by anyone.
    let (code, Transfer { bytes: source, .. }) = unsafe { Operation::start(entry, transfer(fd, source), false) }.await;
    (result(code), source)
}

pub(crate) async fn sync(fd: &Arc<OwnedFd>, data_only: bool) -> io::Result<()> {
    let flags = if data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
    let entry = opcode::Fsync::new(Fd(fd.as_raw_fd())).flags(flags).build();
    // SAFETY: the entry points to nothing; the descriptor is held.
    let (code, _) = unsafe { Operation::start(entry, transfer(fd, ()), false) }.await;
    result(code).map(|_| ())
}

/// `mode` as in fallocate(2).
pub(crate) async fn fallocate(fd: &Arc<OwnedFd>, mode: i32, offset: u64, len: u64) -> io::Result<()> {
    let entry = opcode::Fallocate::new(Fd(fd.as_raw_fd()), len).offset(offset).mode(mode).build();
    // SAFETY: the entry points to nothing; the descriptor is held.
    let (code, _) = unsafe { Operation::start(entry, transfer(fd, ()), false) }.await;
    result(code).map(|_| ())
}

/// Receives into the window; 0 bytes mean that the peer has finished (or that the socket was shut down).
pub(crate) async fn receive(fd: &Arc<OwnedFd>, mut window: Window) -> (io::Result<usize>, Window) {
    let entry = opcode::Recv::new(Fd(fd.as_raw_fd()), window.as_mut_ptr(), window.len() as u32).build();
    // SAFETY: the window's bytes do not move with it, and nobody else can reach them.
    let (code, Transfer { bytes: window, .. }) = unsafe { Operation::start(entry, transfer(fd, window), true) }.await;
    (result(code), window)
}

/// Waits for bytes and receives at most `most` of them into a buffer that is free then.
pub(crate) async fn receive_picked(fd: &Arc<OwnedFd>, most: usize) -> io::Result<Picked> {
    let has_picks = shard::with(|shard| {
        let picks = shard.driver().picks.as_ref();
        picks.inspect(|picks| picks.refill()).is_some()
    });
    if !has_picks {
        return readable(fd).await.map(|()| Picked::NoBuffer);
    }
    let entry = opcode::Recv::new(Fd(fd.as_raw_fd()), ptr::null_mut(), most as u32).buf_group(picks::GROUP);
    let entry = entry.ioprio(POLL_FIRST).build();
    // SAFETY: the entry points to nothing, and the buffers belong to the driver; the descriptor is held.
    let mut operation = unsafe { Operation::start(entry.flags(squeue::Flags::BUFFER_SELECT), transfer(fd, ()), true) };
    match poll_fn(|cx| operation.poll_picked(cx)).await {
        (0, ..) => Ok(Picked::End),
        (code, ..) if code == -libc::ENOBUFS => Ok(Picked::NoBuffer),
        (code, ..) if code < 0 => Err(io::Error::from_raw_os_error(-code)),
        (code, buf, _) => Ok(Picked::Bytes(buf.expect("bytes come in a buffer"), code as usize)),
    }
}

/// Has the kernel throw away what arrives, up to `most` bytes, without copying it; 0 bytes mean that the peer has finished.
pub(crate) async fn discard(fd: &Arc<OwnedFd>, most: usize) -> io::Result<usize> {
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    let entry = opcode::Recv::new(Fd(fd.as_raw_fd()), ptr::null_mut(), most).flags(libc::MSG_TRUNC).build();
    // SAFETY: with MSG_TRUNC a TCP socket writes nothing (tcp(7)), so the entry points to nothing; the descriptor is held.
    let (code, _) = unsafe { Operation::start(entry, transfer(fd, ()), true) }.await;
    result(code)
}

/// Waits until there is something to receive, or the end.
pub(crate) async fn readable(fd: &Arc<OwnedFd>) -> io::Result<()> {
    let entry = opcode::PollAdd::new(Fd(fd.as_raw_fd()), libc::POLLIN as u32).build();
    // SAFETY: the entry points to nothing; the descriptor is held.
    let (code, _) = unsafe { Operation::start(entry, transfer(fd, ()), true) }.await;
    result(code).map(|_| ())
}

const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

/// Sends `source[skip..]`; short only when the connection breaks half-way.
pub(crate) async fn send<S: Source>(fd: &Arc<OwnedFd>, source: S, skip: usize) -> (io::Result<usize>, S) {
    let bytes = &source.bytes()[skip..];
    let entry = opcode::Send::new(Fd(fd.as_raw_fd()), bytes.as_ptr(), bytes.len() as u32).flags(SEND_FLAGS).build();
    // SAFETY: a Source's bytes do not move with it and are only read, by anyone.
    let (code, Transfer { bytes: source, .. }) = unsafe { Operation::start(entry, transfer(fd, source), true) }.await;
    (result(code), source)
}

/// A vectored send in flight. The header and the vectors it points to are boxed.
struct Vectored {
    _fd: Arc<OwnedFd>,
    parts: Vec<Shared>,
    vectors: Box<[libc::iovec]>,
    header: Box<libc::msghdr>,
}
impl Held for Vectored {}

/// Sends all parts with one operation, from the `skip`th byte on. Returns the parts for the rest of a short send.
pub(crate) async fn send_vectored(
    fd: &Arc<OwnedFd>,
    parts: Vec<Shared>,
    skip: usize,
) -> (io::Result<usize>, Vec<Shared>) {
    let mut skip = skip;
    let vectors: Box<[libc::iovec]> = parts
        .iter()
        .filter_map(|part| {
            let skipped = skip.min(part.len());
            skip -= skipped;
            let rest = &part[skipped..];
            let vector = libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() };
            (!rest.is_empty()).then_some(vector)
        })
        .collect();
    // SAFETY: msghdr is plain numbers and pointers, for which zero is valid.
    let header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
    let mut held = Vectored { _fd: fd.clone(), parts, vectors, header };
    held.header.msg_iov = held.vectors.as_mut_ptr();
    held.header.msg_iovlen = held.vectors.len();
    let entry = opcode::SendMsg::new(Fd(fd.as_raw_fd()), &raw const *held.header).flags(SEND_FLAGS as u32).build();
    // SAFETY: header, vectors and bytes are all behind pointers that `held` owns.
    let (code, held) = unsafe { Operation::start(entry, held, true) }.await;
    (result(code), held.parts)
}

struct Accepting {
    _fd: Arc<OwnedFd>,
    address: Box<RawAddress>,
}

impl Held for Accepting {
    fn orphaned(&mut self, result: i32) {
        if result >= 0 {
            // SAFETY: a fresh descriptor from the kernel that nobody else knows of.
            drop(unsafe { OwnedFd::from_raw_fd(result) });
        }
    }
}

pub(crate) async fn accept(fd: &Arc<OwnedFd>) -> io::Result<(OwnedFd, RawAddress)> {
    let mut held = Accepting { _fd: fd.clone(), address: Box::new(RawAddress::empty()) };
    let address = &mut *held.address;
    let entry = opcode::Accept::new(Fd(fd.as_raw_fd()), (&raw mut address.storage).cast(), &raw mut address.len)
        .flags(libc::SOCK_CLOEXEC)
        .build();
    // SAFETY: the address is boxed and owned by `held`.
    let (code, held) = unsafe { Operation::start(entry, held, true) }.await;
    let accepted = result(code)?;
    // SAFETY: a fresh descriptor from the kernel that nobody else knows of.
    let accepted = unsafe { OwnedFd::from_raw_fd(accepted as i32) };
    Ok((accepted, *held.address))
}

pub(crate) async fn connect(fd: &Arc<OwnedFd>, address: RawAddress) -> io::Result<()> {
    let held = transfer(fd, Box::new(address));
    let entry =
        opcode::Connect::new(Fd(fd.as_raw_fd()), (&raw const held.bytes.storage).cast(), held.bytes.len).build();
    // SAFETY: the address is boxed and owned by `held`.
    let (code, _) = unsafe { Operation::start(entry, held, true) }.await;
    result(code).map(|_| ())
}

struct EventValue(Box<u64>);
impl Held for EventValue {}

/// Waits until an eventfd has been signalled and resets it.
pub(crate) async fn read_event(fd: &'static OwnedFd) -> io::Result<()> {
    let mut held = EventValue(Box::new(0));
    let entry = opcode::Read::new(Fd(fd.as_raw_fd()), (&raw mut *held.0).cast(), 8).build();
    // SAFETY: the value is boxed and owned by `held`; the descriptor is never closed.
    let (code, _) = unsafe { Operation::start(entry, held, true) }.await;
    result(code).map(|_| ())
}

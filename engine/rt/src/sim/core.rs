//! The clock, the dice, the queue of events and the trace: what all parts of a world share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::net::Network;
use super::{Drive, DriveConfig, Fault, SimConfig};
use crate::random::Generator;
use crate::shard::{self, Backend};

pub(crate) type Event = Box<dyn FnOnce(&Rc<Core>)>;

pub(crate) struct Core {
    config: SimConfig,
    now: Cell<u64>,
    /// Nanoseconds by which the wall clock has jumped so far, and whether nobody has read it since it last did.
    jumped: Cell<i64>,
    jump_unseen: Cell<bool>,
    generator: RefCell<Generator>,
    trace: Cell<u64>,
    /// By time and order of creation.
    events: RefCell<BTreeMap<(u64, u64), Event>>,
    sequence: Cell<u64>,
    drives: RefCell<Vec<Rc<Drive>>>,
    pub(super) network: RefCell<Network>,
    counts: RefCell<BTreeMap<Fault, u64>>,
    io_count: Cell<u64>,
    crash_at: Cell<Option<u64>>,
    /// The operation that fails, and how.
    fail_at: Cell<Option<(u64, i32)>>,
    /// Set between a power cut and the next start: operations on drives are no longer taken.
    frozen: Cell<bool>,
}

/// The world the caller runs in, if it runs in one.
pub(crate) fn core() -> Option<Rc<Core>> {
    shard::try_with(|shard| match &shard?.backend {
        Backend::Sim(core) => Some(core.clone()),
        Backend::Ring { .. } => None,
    })
}

/// Lets a random, short virtual time pass: stands for the way to a helper thread.
pub(crate) async fn pause() {
    if let Some(core) = core() {
        let nanos = core.below(200_000);
        crate::time::sleep(Duration::from_nanos(nanos)).await;
    }
}

impl Core {
    pub(super) fn new(seed: u64, config: SimConfig) -> Rc<Core> {
        Rc::new(Core {
            config,
            now: Cell::new(1_000_000_000),
            jumped: Cell::new(0),
            jump_unseen: Cell::new(false),
            generator: RefCell::new(Generator::new(seed)),
            trace: Cell::new(seed),
            events: RefCell::default(),
            sequence: Cell::new(0),
            drives: RefCell::default(),
            network: RefCell::default(),
            counts: RefCell::default(),
            io_count: Cell::new(0),
            crash_at: Cell::new(None),
            fail_at: Cell::new(None),
            frozen: Cell::new(false),
        })
    }

    pub(super) fn config(&self) -> &SimConfig {
        &self.config
    }

    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    pub(super) fn set_now(&self, now: u64) {
        self.now.set(now.max(self.now.get()));
    }

    pub(crate) fn wall_clock(&self) -> u64 {
        if self.jump_unseen.take() {
            self.count(Fault::ClockJump);
        }
        (self.config.wall_clock + self.now.get()).saturating_add_signed(self.jumped.get())
    }

    pub(crate) fn random(&self) -> u64 {
        self.generator.borrow_mut().next()
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.random()) * u128::from(bound)) >> 64) as u64
    }

    pub(super) fn within(&self, range: &std::ops::Range<Duration>) -> u64 {
        let (start, end) = (range.start.as_nanos() as u64, range.end.as_nanos() as u64);
        start + self.below((end - start).max(1))
    }

    /// True with the given chance. Draws nothing for a chance of 0, so that adding a fault class moves no old seed.
    pub(super) fn strikes(&self, chance: f64) -> bool {
        chance > 0.0 && ((self.random() >> 11) as f64) < chance * (1u64 << 53) as f64
    }

    pub(super) fn jump_wall_clock(&self, nanos: i64) {
        self.jumped.set(self.jumped.get().saturating_add(nanos));
        self.jump_unseen.set(true);
    }

    pub(super) fn note(&self, words: &[u64]) {
        let mut trace = self.trace.get();
        for word in words.iter().chain([&self.now.get()]) {
            trace = (trace ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23);
        }
        self.trace.set(trace);
    }

    /// In four lanes, which do not wait for each other.
    pub(super) fn note_bytes(&self, bytes: &[u8]) {
        let step = |state: u64, word: u64| (state ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23);
        let word = |part: &[u8]| u64::from_le_bytes(part.try_into().expect("eight bytes"));
        let mut lanes = [0, 1, 2, 3].map(|lane| self.trace.get() ^ lane);
        let (blocks, rest) = bytes.as_chunks::<32>();
        for block in blocks {
            lanes = std::array::from_fn(|lane| step(lanes[lane], word(&block[lane * 8..][..8])));
        }
        let mut last = [0; 32];
        last[..rest.len()].copy_from_slice(rest);
        let trace = lanes
            .into_iter()
            .zip(last.chunks_exact(8))
            .fold(bytes.len() as u64, |trace, (lane, part)| step(step(trace, lane), word(part)));
        self.trace.set(trace);
    }

    pub(super) fn trace_hash(&self) -> u64 {
        self.trace.get()
    }

    pub(super) fn count(&self, fault: Fault) {
        *self.counts.borrow_mut().entry(fault).or_default() += 1;
    }

    pub(super) fn fault_count(&self, fault: Fault) -> u64 {
        self.counts.borrow().get(&fault).copied().unwrap_or(0)
    }

    pub(super) fn schedule(&self, at: u64, event: Event) {
        self.sequence.set(self.sequence.get() + 1);
        self.events.borrow_mut().insert((at, self.sequence.get()), event);
    }

    pub(super) fn next_event(&self) -> Option<u64> {
        self.events.borrow().first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn run_due_events(self: &Rc<Self>) {
        loop {
            let event = {
                let mut events = self.events.borrow_mut();
                match events.first_entry() {
                    Some(first) if first.key().0 <= self.now.get() => first.remove(),
                    _ => return,
                }
            };
            event(self);
        }
    }

    /// Lets `effect` happen after `delay` nanoseconds, and waits for what it returns. It happens also when the caller
    /// is dropped meanwhile.
    pub(super) async fn after<T: 'static>(
        self: &Rc<Self>,
        delay: u64,
        effect: impl FnOnce(&Rc<Core>) -> T + 'static,
    ) -> T {
        let (event, done) = Completion::new(effect);
        self.schedule(self.now() + delay, event);
        done.wait().await
    }

    /// Takes note of an operation on a drive. False when the power is off: the caller then waits for ever.
    pub(super) fn begin_io(&self, drive: usize, kind: u64, words: &[u64]) -> bool {
        if self.frozen.get() {
            return false;
        }
        self.io_count.set(self.io_count.get() + 1);
        self.note(&[drive as u64, kind]);
        self.note(words);
        if self.crash_at.get() == Some(self.io_count.get()) {
            self.crash_at.set(None);
            self.frozen.set(true);
        }
        true
    }

    pub(super) fn crash_is_due(&self) -> bool {
        self.frozen.get()
    }

    pub(super) fn io_count(&self) -> u64 {
        self.io_count.get()
    }

    pub(super) fn crash_at_io(&self, count: u64) {
        assert!(count > 0, "the first operation is number 1");
        self.crash_at.set(Some(self.io_count.get() + count));
    }

    pub(super) fn fail_at_io(&self, count: u64, errno: i32) {
        assert!(count > 0, "the first operation is number 1");
        self.fail_at.set(Some((self.io_count.get() + count, errno)));
    }

    /// How the operation that was begun last is to fail.
    pub(super) fn failure_due(&self) -> Option<i32> {
        let (_, errno) = self.fail_at.get().filter(|(count, _)| *count == self.io_count.get())?;
        self.fail_at.set(None);
        Some(errno)
    }

    pub(super) fn freeze(&self) {
        self.frozen.set(true);
    }

    pub(super) fn begin_process(&self) {
        self.frozen.set(false);
    }

    /// Drops what hanging drives hold back: it holds on to the drives.
    pub(super) fn drop_hung(&self) {
        let drives = self.drives.borrow().clone();
        drives.iter().for_each(|drive| drive.drop_hung());
    }

    pub(super) fn end_process(&self) {
        self.crash_at.set(None);
    }

    /// Applies the power cut to all drives. What was in flight is settled by each drive, so its events are void.
    pub(super) fn crash_drives(self: &Rc<Self>) {
        let drives = self.drives.borrow().clone();
        for drive in drives {
            drive.crash(self);
        }
        self.frozen.set(false);
        self.note(&[u64::MAX]);
    }

    pub(super) fn reset_connections(&self) {
        let connections = self.network.borrow_mut().take_connections();
        for connection in connections {
            connection.reset();
        }
    }

    pub(super) fn add_drive(&self, prefix: PathBuf, config: DriveConfig) {
        let mut drives = self.drives.borrow_mut();
        assert!(drives.iter().all(|drive| !prefix.starts_with(drive.prefix())), "one drive per path");
        let number = drives.len();
        drives.push(Rc::new(Drive::new(number, prefix, config)));
    }

    pub(super) fn replace_drive(&self, prefix: &Path, config: DriveConfig) {
        let mut drives = self.drives.borrow_mut();
        let drive = drives.iter_mut().find(|drive| drive.prefix() == prefix).expect("there is a drive at the prefix");
        *drive = Rc::new(Drive::new(drive.number(), prefix.to_owned(), config));
    }

    pub(super) fn drive(&self, path: &Path) -> Option<Rc<Drive>> {
        self.drives.borrow().iter().find(|drive| path.starts_with(drive.prefix())).cloned()
    }
}

/// The way from an event to the task that waits for it.
pub(super) struct Completion<T> {
    slot: Rc<RefCell<(Option<T>, Option<Waker>)>>,
}

impl<T: 'static> Completion<T> {
    pub(super) fn new(effect: impl FnOnce(&Rc<Core>) -> T + 'static) -> (Event, Completion<T>) {
        let slot = Rc::new(RefCell::new((None, None::<Waker>)));
        let target = slot.clone();
        let event: Event = Box::new(move |core| {
            let value = effect(core);
            let waker = {
                let mut slot = target.borrow_mut();
                slot.0 = Some(value);
                slot.1.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        (event, Completion { slot })
    }

    pub(super) async fn wait(self) -> T {
        poll_fn(|cx| {
            let mut slot = self.slot.borrow_mut();
            match slot.0.take() {
                Some(value) => Poll::Ready(value),
                None => {
                    slot.1 = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

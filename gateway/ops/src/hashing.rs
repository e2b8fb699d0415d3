//! The digests of all bodies of a shard, hashed side by side: their MD5s, and the SHA-256s by which signatures bind them.
//!
//! One stream of MD5 is bound by its own chain of additions; a vector register holds many. One of SHA-256 leaves gaps that a
//! second one fills. So bytes wait for company: those of a large body lie in the store's buffers, on their way to the drives,
//! and their digest is needed only when they are durable. They are hashed when enough streams have come together, or all there
//! are; when too many bytes wait; when a digest was asked for and company did not come in a part of the time its body took
//! anyway (the others ride along); or after a while.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use codec::{md5, sha256};
use rt::buf::Shared;
use rt::sync::Event;
use rt::time::Instant;
use s3::body::Digests;
use store::Tap;

/// Streams hashed in one pass: what the widest kernel takes.
const BATCH_MAX: usize = 32;
/// Streams that fill the lanes: two registers of the widest kernel, whose pass costs hardly more than that of one.
const COMPANY: usize = BATCH_MAX;
/// With fewer streams than this MD5 has hardly anything to gain: a lane is half as fast as a stream alone. (SHA-256 gains all
/// there is from the second stream on; it takes what company MD5 has.)
const COMPANY_MIN: usize = 4;
/// Bytes of each stream hashed in one pass: it holds the shard for well under a millisecond.
const PASS_BYTES_MAX: usize = 128 << 10;
/// Bytes of all streams in one pass when some have a SHA-256, which takes a third of a millisecond for so many with the
/// processor's own instructions.
const SIGNED_PASS_BYTES_MAX: usize = 1 << 20;
/// Of the shard's buffers, what may wait here: bytes that were written and not hashed keep theirs.
const WAITING_SHARE: usize = 4;
/// Of the time since its body began, what a digest that is asked for may wait for company: so it is never late by more.
const PATIENCE_SHARE: u32 = 4;
/// The most it may wait: hashing 8 MiB alone.
const PATIENCE_MAX: Duration = Duration::from_millis(10);
/// A stream with fewer bytes to hash does not wait: alone they take 0.4 ms, and small bodies come in such numbers that waiting
/// costs more than it saves (64 KiB at 64 connections: 15 % more CPU).
const PATIENCE_BYTES_MIN: usize = 256 << 10;
/// How long bytes wait for company: a few writes of a slow drive, and never for long what others need the buffers for.
const WAIT_MAX: Duration = Duration::from_millis(50);

static BATCHES: telemetry::Histogram =
    telemetry::Histogram::plain("hafiz_hash_batch_streams", "Streams hashed side by side in one pass.");

/// The streams of one shard. What waits is bounded by `WAITING_SHARE`, the streams by admission.
#[derive(Default)]
pub(crate) struct Lanes {
    /// Streams with bytes that wait, the oldest first. Some may be given up.
    waiting: RefCell<VecDeque<Rc<Stream>>>,
    waiting_bytes: Cell<usize>,
    /// Streams whose digest is asked for and waits no more.
    urgent: Cell<usize>,
    /// Bytes that lie here for longer than `WAIT_MAX`: everything is hashed.
    overdue: Cell<bool>,
    has_timer: Cell<bool>,
    is_hashing: Cell<bool>,
    streams: Cell<usize>,
}

struct Stream {
    state: Cell<State>,
    pieces: RefCell<VecDeque<Shared>>,
    began: Instant,
    is_urgent: Cell<bool>,
    is_signed: bool,
    /// Notified when no bytes wait any more.
    drained: Event,
}

/// What is hashed of a stream so far.
#[derive(Clone, Copy)]
struct State {
    md5: md5::State,
    sha256: Option<sha256::State>,
}

/// One body's digests.
pub(crate) struct Hashing {
    lanes: Rc<Lanes>,
    stream: Rc<Stream>,
}

impl Hashing {
    /// `with_sha256`: not the MD5 alone.
    pub(crate) fn new(lanes: &Rc<Lanes>, with_sha256: bool) -> Hashing {
        lanes.streams.set(lanes.streams.get() + 1);
        let stream = Stream {
            state: Cell::new(State { md5: md5::State::new(), sha256: with_sha256.then(sha256::State::new) }),
            pieces: RefCell::default(),
            began: Instant::now(),
            is_urgent: Cell::new(false),
            is_signed: with_sha256,
            drained: Event::new(),
        };
        Hashing { lanes: lanes.clone(), stream: Rc::new(stream) }
    }

    /// Hands over bytes, in order; they are hashed by and by.
    pub(crate) fn tap(&self) -> Tap {
        let (lanes, stream) = (self.lanes.clone(), self.stream.clone());
        Rc::new(move |piece| lanes.push(&stream, piece))
    }

    /// The digests of all bytes that were handed over.
    pub(crate) async fn finish(self) -> Digests {
        if self.lanes.streams.get() == 1 {
            // Nobody to wait for, and no task to go through.
            while !self.stream.is_drained() {
                self.lanes.pass(PASS_BYTES_MAX);
                rt::yield_now().await;
            }
        } else if !self.stream.is_drained() && !self.comes_along().await {
            let _urgent = Urgent::new(&self.lanes, &self.stream);
            self.lanes.hash_if_due();
            self.stream.drained().await;
        }
        let State { md5, sha256 } = self.stream.state.get();
        Digests { md5: md5.finish(), sha256: sha256.map(sha256::State::finish) }
    }

    /// Waits for company, as long as that is worth it; whether everything was hashed meanwhile.
    async fn comes_along(&self) -> bool {
        if self.lanes.streams.get() < COMPANY_MIN || self.stream.waiting_bytes() < PATIENCE_BYTES_MIN {
            return false;
        }
        let patience = (self.stream.began.elapsed() / PATIENCE_SHARE).min(PATIENCE_MAX);
        rt::time::timeout(patience, self.stream.drained()).await.is_ok()
    }
}

impl Stream {
    fn waiting_bytes(&self) -> usize {
        self.pieces.borrow().iter().map(|piece| piece.len()).sum()
    }

    fn is_drained(&self) -> bool {
        self.pieces.borrow().is_empty()
    }

    async fn drained(&self) {
        self.drained.wait_for(|| self.is_drained().then_some(())).await;
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        self.lanes.streams.set(self.lanes.streams.get() - 1);
        // Given up in the middle: what waits need not be hashed.
        for piece in self.stream.pieces.take() {
            self.lanes.waiting_bytes.set(self.lanes.waiting_bytes.get() - piece.len());
        }
    }
}

/// Somebody waits for a digest, for as long as this lives.
struct Urgent<'l>(&'l Lanes);

impl<'l> Urgent<'l> {
    /// `stream` must not be urgent already, and stays it.
    fn new(lanes: &'l Lanes, stream: &Stream) -> Urgent<'l> {
        lanes.urgent.set(lanes.urgent.get() + 1);
        stream.is_urgent.set(true);
        Urgent(lanes)
    }
}

impl Drop for Urgent<'_> {
    fn drop(&mut self) {
        self.0.urgent.set(self.0.urgent.get() - 1);
    }
}

impl Lanes {
    fn push(self: &Rc<Lanes>, stream: &Rc<Stream>, piece: Shared) {
        self.waiting_bytes.set(self.waiting_bytes.get() + piece.len());
        let was_drained = {
            let mut pieces = stream.pieces.borrow_mut();
            pieces.push_back(piece);
            pieces.len() == 1
        };
        // A stream that is in a pass now is put back by it.
        let mut waiting = self.waiting.borrow_mut();
        if was_drained && !waiting.iter().any(|other| Rc::ptr_eq(other, stream)) {
            waiting.push_back(stream.clone());
        }
        drop(waiting);
        if !self.hash_if_due() && !self.has_timer.replace(true) {
            let lanes = self.clone();
            drop(rt::spawn(async move {
                rt::time::sleep(WAIT_MAX).await;
                lanes.has_timer.set(false);
                lanes.overdue.set(!lanes.waiting.borrow().is_empty());
                lanes.hash_if_due();
            }));
        }
    }

    fn is_due(&self) -> bool {
        self.bytes_due().is_some()
    }

    /// How many bytes of each stream to hash in the next pass; `None` when they are better off waiting.
    fn bytes_due(&self) -> Option<usize> {
        let waiting = self.waiting.borrow();
        if !waiting.is_empty()
            && (self.overdue.get()
                || waiting.len() >= COMPANY.min(self.streams.get())
                || self.waiting_bytes.get() >= rt::buf::stats().arena_bytes / WAITING_SHARE)
        {
            return Some(PASS_BYTES_MAX);
        }
        // The others ride along only as far as the pass goes anyway: for the rest better company may come.
        let urgent = waiting.iter().filter(|stream| stream.is_urgent.get()).map(|stream| stream.waiting_bytes());
        (self.urgent.get() > 0).then(|| urgent.max().map(|bytes| bytes.min(PASS_BYTES_MAX))).flatten()
    }

    /// Whether bytes are being hashed, or will be as soon as the tasks that are ready have run.
    fn hash_if_due(self: &Rc<Lanes>) -> bool {
        if !self.is_hashing.get() && self.is_due() {
            self.is_hashing.set(true);
            let lanes = self.clone();
            drop(rt::spawn(async move {
                while let Some(bytes) = lanes.bytes_due() {
                    lanes.pass(bytes);
                    rt::yield_now().await;
                }
                lanes.overdue.set(false);
                lanes.is_hashing.set(false);
            }));
        }
        self.is_hashing.get()
    }

    /// Hashes the next bytes, at most so many of each, of the streams that wait, as many as fit side by side.
    fn pass(&self, bytes_max: usize) {
        let mut batch: Vec<(Rc<Stream>, State, Shared)> = Vec::with_capacity(BATCH_MAX);
        let mut waiting = self.waiting.borrow_mut();
        // Those that were given up take nobody's share.
        waiting.retain(|stream| !stream.is_drained());
        let streams = waiting.len().min(BATCH_MAX);
        let bytes_max = match waiting.iter().take(streams).any(|stream| stream.is_signed) {
            true => bytes_max.min(SIGNED_PASS_BYTES_MAX / streams),
            false => bytes_max,
        };
        while batch.len() < BATCH_MAX
            && let Some(stream) = waiting.pop_front()
        {
            let Some(piece) = stream.pieces.borrow_mut().front_mut().map(|front| {
                let piece = front.slice(0..front.len().min(bytes_max));
                *front = front.slice(piece.len()..front.len());
                piece
            }) else {
                continue;
            };
            self.waiting_bytes.set(self.waiting_bytes.get() - piece.len());
            let state = stream.state.get();
            batch.push((stream, state, piece));
        }
        if batch.is_empty() {
            return;
        }
        BATCHES.observe(batch.len() as u64);
        // Bytes are in the cache for the second hash.
        let mut jobs: Vec<(&mut md5::State, &[u8])> =
            batch.iter_mut().map(|(_, state, piece)| (&mut state.md5, &piece[..])).collect();
        md5::update_many(&mut jobs);
        let signed = batch.iter_mut().filter_map(|(_, state, piece)| Some((state.sha256.as_mut()?, &piece[..])));
        let mut jobs: Vec<(&mut sha256::State, &[u8])> = signed.collect();
        sha256::update_many(&mut jobs);
        for (stream, state, _) in batch {
            stream.state.set(state);
            let mut pieces = stream.pieces.borrow_mut();
            if pieces.front().is_some_and(|front| front.is_empty()) {
                pieces.pop_front();
            }
            if pieces.is_empty() {
                stream.drained.notify();
            } else {
                waiting.push_back(stream.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_a_shard(test: impl AsyncFn() + Send + Sync + Copy + 'static) {
        rt::run(rt::Config::new(1), move |_| Box::pin(async move { test().await })).expect("a shard starts");
    }

    fn piece(seed: usize, len: usize) -> Shared {
        Shared::from((0..len).map(|at| (at * 31 + seed * 7) as u8).collect::<Vec<u8>>())
    }

    #[test]
    fn streams_hashed_side_by_side_have_the_digests_they_have_alone() {
        on_a_shard(async || {
            let lanes = Rc::new(Lanes::default());
            let streams = (0..40).map(|stream| {
                let lanes = lanes.clone();
                rt::spawn(async move {
                    let with_sha256 = stream % 3 > 0;
                    let hashing = Hashing::new(&lanes, with_sha256);
                    let tap = hashing.tap();
                    let (mut alone, mut signed) = (md5::State::new(), sha256::State::new());
                    for round in 0..3 {
                        let piece = piece(stream + round, 1_000 + 9_000 * stream + round);
                        alone.update(&piece);
                        signed.update(&piece);
                        tap(piece);
                        rt::yield_now().await;
                    }
                    let alone = Digests { md5: alone.finish(), sha256: with_sha256.then(|| signed.finish()) };
                    (hashing.finish().await, alone)
                })
            });
            for stream in streams.collect::<Vec<_>>() {
                let (together, alone) = stream.await;
                assert_eq!(together, alone);
            }
            assert_eq!((lanes.streams.get(), lanes.waiting_bytes.get(), lanes.urgent.get()), (0, 0, 0));
        });
    }

    #[test]
    fn bytes_wait_for_company_until_a_digest_is_asked_for_and_are_then_hashed_along() {
        on_a_shard(async || {
            let lanes = Rc::new(Lanes::default());
            let streams: Vec<Hashing> = (0..3).map(|_| Hashing::new(&lanes, false)).collect();
            let _to_come = Hashing::new(&lanes, false);
            for (seed, hashing) in streams.iter().enumerate() {
                hashing.tap()(piece(seed, 5_000));
            }
            assert_eq!(lanes.waiting_bytes.get(), 15_000);
            assert!(!lanes.is_hashing.get());
            let mut streams = streams.into_iter();
            let first = streams.next().expect("three were made").finish().await.md5;
            let mut alone = md5::State::new();
            alone.update(&piece(0, 5_000));
            assert_eq!(first, alone.finish());
            assert_eq!(lanes.waiting_bytes.get(), 0, "the others were hashed along");
        });
    }

    #[test]
    fn a_pass_over_signed_streams_takes_no_more_of_all_than_it_may() {
        on_a_shard(async || {
            let lanes = Rc::new(Lanes::default());
            let _to_come: Vec<Hashing> = (0..BATCH_MAX).map(|_| Hashing::new(&lanes, false)).collect();
            let given_up: Vec<Hashing> = (0..4).map(|_| Hashing::new(&lanes, true)).collect();
            given_up.iter().for_each(|hashing| hashing.tap()(piece(0, PASS_BYTES_MAX)));
            let signed: Vec<Hashing> = (0..BATCH_MAX / 2).map(|_| Hashing::new(&lanes, true)).collect();
            signed.iter().for_each(|hashing| hashing.tap()(piece(1, PASS_BYTES_MAX)));
            drop(given_up);
            let before = lanes.waiting_bytes.get();
            lanes.pass(PASS_BYTES_MAX);
            assert_eq!(before - lanes.waiting_bytes.get(), SIGNED_PASS_BYTES_MAX);
        });
    }

    #[test]
    fn large_streams_ride_along_with_a_small_urgent_one_no_further_than_it_goes() {
        on_a_shard(async || {
            let lanes = Rc::new(Lanes::default());
            let large: Vec<Hashing> = (0..4).map(|_| Hashing::new(&lanes, false)).collect();
            let (small, _to_come) = (Hashing::new(&lanes, false), Hashing::new(&lanes, false));
            for (seed, hashing) in large.iter().enumerate() {
                hashing.tap()(piece(seed, 100_000));
            }
            small.tap()(piece(9, 5_000));
            let mut alone = md5::State::new();
            alone.update(&piece(9, 5_000));
            assert_eq!(small.finish().await.md5, alone.finish());
            assert_eq!(lanes.waiting_bytes.get(), 4 * (100_000 - 5_000));
        });
    }

    #[test]
    fn a_stream_that_is_given_up_leaves_nothing_behind() {
        on_a_shard(async || {
            let lanes = Rc::new(Lanes::default());
            let (kept, given_up) = (Hashing::new(&lanes, false), Hashing::new(&lanes, false));
            let to_come = Hashing::new(&lanes, false);
            kept.tap()(piece(1, 300_000));
            given_up.tap()(piece(2, 300_000));
            drop((given_up, to_come));
            assert_eq!(lanes.waiting_bytes.get(), 300_000);
            let mut alone = md5::State::new();
            alone.update(&piece(1, 300_000));
            assert_eq!(kept.finish().await.md5, alone.finish());
            assert_eq!((lanes.streams.get(), lanes.waiting_bytes.get()), (0, 0));
        });
    }

    #[test]
    fn nobody_waits_for_company_that_does_not_come() {
        on_a_shard(async || {
            let lanes = Rc::new(Lanes::default());
            let (one, _other) = (Hashing::new(&lanes, false), Hashing::new(&lanes, false));
            one.tap()(piece(1, 5_000));
            one.stream.drained.wait_for(|| one.stream.pieces.borrow().is_empty().then_some(())).await;
            assert_eq!(lanes.waiting_bytes.get(), 0);
        });
    }
}

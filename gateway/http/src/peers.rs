//! What the exchanges of one shard owe to slow peers, looked at a few times a second.
//!
//! An exchange that waits for its peer does no work, so it does not hold the place of one that would (`held`). And when
//! others wait for buffers, an exchange that holds some must get on: of those that do not, the slowest are cut, a quarter
//! at a time, and those that never do, however many come that are slower still. While there are buffers for everybody, a slow
//! peer bothers nobody and may take its time.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::Duration;

use rt::time::Instant;

use crate::metrics;

/// How often is looked while there are exchanges.
const INTERVAL: Duration = Duration::from_millis(20);
/// And while there are none.
const INTERVAL_IDLE: Duration = Duration::from_millis(250);
/// Looks between two judgements.
const LOOKS_PER_JUDGEMENT: u32 = 10;
/// Waiting for a peer for so long at a stretch gives up the place that the exchange holds.
const PLACE_PATIENCE: Duration = Duration::from_millis(20);
/// An exchange is judged after so much waiting for its peer.
const JUDGED_AFTER: Duration = Duration::from_secs(1);
/// What it must have moved per second of waiting, while others wait for buffers.
const BYTES_PER_SECOND_MIN: u64 = 32 * 1024;
/// A peer that is found too slow for so many times is cut, whoever else is. Most peers hold nothing that anybody waits for: as
/// long as enough of those come that are slower, the few that do hold it would keep it.
const TOO_SLOW_MAX: u32 = 10;

/// One exchange, as far as its peer is concerned.
#[derive(Default)]
pub(crate) struct Peer {
    /// When the operation in flight began.
    since: Cell<Option<Instant>>,
    /// Before that, since the last judgement.
    waited: Cell<Duration>,
    moved: Cell<u64>,
    /// How often it was found too slow, since it was found not to be.
    too_slow: Cell<u32>,
    is_cut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    held: RefCell<Option<Box<dyn Any>>>,
}

impl Peer {
    /// Dropped with the exchange, or as soon as the peer keeps it waiting.
    pub(crate) fn hold(&self, held: Box<dyn Any>) {
        self.held.replace(Some(held));
    }

    pub(crate) fn let_go(&self) {
        drop(self.held.take());
    }

    /// An operation waits for the peer. True when the exchange was cut: then the operation has to be ended.
    pub(crate) fn waits(&self, waker: &Waker) -> bool {
        if self.since.get().is_none() {
            self.since.set(Some(Instant::now()));
            self.waker.replace(Some(waker.clone()));
        }
        self.is_cut.get()
    }

    /// The operation has ended and moved so much.
    pub(crate) fn moved(&self, bytes: u64) {
        if let Some(since) = self.since.take() {
            self.waited.set(self.waited.get() + since.elapsed());
        }
        self.moved.set(self.moved.get() + bytes);
    }

    /// Bytes per second of waiting if they are too few; `None` if they are not, or it is too early to tell.
    fn judge(&self, now: Instant) -> Option<u64> {
        let current = self.since.get().map_or(Duration::ZERO, |since| now - since);
        let waited = self.waited.get() + current;
        if waited < JUDGED_AFTER {
            return None;
        }
        let rate = self.moved.get() / waited.as_secs().max(1);
        if rate < BYTES_PER_SECOND_MIN {
            self.too_slow.set(self.too_slow.get() + 1);
            return Some(rate);
        }
        self.too_slow.set(0);
        self.waited.set(Duration::ZERO);
        self.moved.set(0);
        if self.since.get().is_some() {
            self.since.set(Some(now));
        }
        None
    }

    fn cut(&self) {
        self.is_cut.set(true);
        metrics::PEERS_CUT.add(1);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The exchanges under way.
#[derive(Default)]
pub(crate) struct Peers {
    all: RefCell<BTreeMap<u64, Rc<Peer>>>,
    next_key: Cell<u64>,
}

/// A peer that is listed as long as its exchange goes on.
pub(crate) struct Listed {
    peers: Rc<Peers>,
    key: u64,
    pub(crate) peer: Rc<Peer>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.peers.all.borrow_mut().remove(&self.key);
    }
}

impl Peers {
    pub(crate) fn list(self: &Rc<Self>) -> Listed {
        let (key, peer) = (self.next_key.get(), Rc::new(Peer::default()));
        self.next_key.set(key + 1);
        self.all.borrow_mut().insert(key, peer.clone());
        Listed { peers: self.clone(), key, peer }
    }

    fn look(&self, is_scarce: bool) {
        let now = Instant::now();
        // Out of the list first: what is dropped or woken may come back to it.
        let all: Vec<Rc<Peer>> = self.all.borrow().values().cloned().collect();
        let waiting = |peer: &&Rc<Peer>| peer.since.get().is_some_and(|since| now - since >= PLACE_PATIENCE);
        all.iter().filter(waiting).for_each(|peer| peer.let_go());
        if !is_scarce {
            return;
        }
        let mut slow: Vec<(u64, &Rc<Peer>)> = all.iter().filter_map(|peer| Some((peer.judge(now)?, peer))).collect();
        slow.sort_by_key(|(rate, _)| *rate);
        let count = slow.len().div_ceil(4);
        for (position, (_, peer)) in slow.iter().enumerate() {
            if position < count || peer.too_slow.get() >= TOO_SLOW_MAX {
                peer.cut();
            }
        }
    }

    /// Looks for as long as anyone else knows `peers`.
    pub(crate) async fn watch(peers: Weak<Peers>) {
        let mut looks = 0u32;
        let mut interval = INTERVAL_IDLE;
        loop {
            rt::time::sleep(interval).await;
            let Some(peers) = peers.upgrade() else { return };
            looks = looks.wrapping_add(1);
            peers.look(looks.is_multiple_of(LOOKS_PER_JUDGEMENT) && rt::buf::is_scarce());
            interval = if peers.all.borrow().is_empty() { INTERVAL_IDLE } else { INTERVAL };
        }
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use rt::sim::{SimConfig, World};

    use super::*;

    const JUDGEMENT: Duration = INTERVAL.saturating_mul(LOOKS_PER_JUDGEMENT);

    /// As an operation in flight is, which is polled once.
    async fn wait(peer: &Peer) {
        poll_fn(|cx| Poll::Ready(peer.waits(cx.waker()))).await;
    }

    fn run(main: impl Future<Output = ()> + 'static) {
        World::new(1, SimConfig::default()).run_alone(main, Duration::from_secs(600)).unwrap();
    }

    #[test]
    fn a_slow_peer_is_cut_in_time_although_slower_ones_keep_coming() {
        run(async {
            let peers = Rc::new(Peers::default());
            let slow = peers.list();
            slow.peer.moved(20 * 1024);
            wait(&slow.peer).await;
            let mut slower = Vec::new();
            let mut judgements = 0;
            while !slow.peer.is_cut.get() {
                judgements += 1;
                assert!(judgements <= 20, "it is never cut");
                for _ in 0..8 {
                    let other = peers.list();
                    wait(&other.peer).await;
                    slower.push(other);
                }
                rt::time::sleep(JUDGEMENT).await;
                peers.look(true);
                slower.retain(|other| !other.peer.is_cut.get());
            }
            // It took a second to be judged at all.
            assert_eq!(judgements, 4 + TOO_SLOW_MAX, "slower ones went first until then");
        });
    }

    #[test]
    fn who_gets_on_is_not_cut_however_long_buffers_are_short() {
        run(async {
            let peers = Rc::new(Peers::default());
            let (fast, slow) = (peers.list(), peers.list());
            wait(&slow.peer).await;
            for judgement in 0..100 {
                wait(&fast.peer).await;
                rt::time::sleep(JUDGEMENT).await;
                fast.peer.moved(BYTES_PER_SECOND_MIN / 4);
                peers.look(true);
                assert_eq!(slow.peer.is_cut.get(), judgement >= 4, "the only one that is slow");
            }
            assert!(!fast.peer.is_cut.get());
        });
    }
}

//! How fast the work beside the requests goes: a set number of bytes in a second, and never in the requests' way.

use std::sync::Arc;

use rt::time::{Duration, Instant};

use super::balance;
use crate::node::Node;
use crate::planted::{self, Bug};

/// Longest sleep at a time: whoever sleeps notices soon that the store is being closed.
const NAP: Duration = Duration::from_millis(100);
/// Operations of requests in flight for each drive above which they are said to be many.
const BUSY_PER_DRIVE: u32 = 8;
/// How long, and how often for each piece of work, requests are let pass when they are many. So a rebuild goes on under any
/// load, if slowly.
const PAUSE: Duration = Duration::from_millis(2);
const PAUSES_MAX: u32 = 10;
/// While there are requests at all the work rests after each piece as long as the piece took, but not longer than this: on
/// a drive that is slow anyway something must come of it.
const REST_MAX: Duration = Duration::from_millis(20);

/// How long a shard is kept at a time: requests wait so long.
const BREATH: Duration = Duration::from_micros(200);

/// The pace of one task.
pub(super) struct Pace {
    node: Arc<Node>,
    /// 0 = as fast as it goes.
    bytes_per_second: u64,
    /// When the next piece of work is due.
    due: Instant,
    /// When this piece was begun.
    began: Instant,
    /// When others could have the shard.
    breathed: Instant,
    /// Of a move for the rebalance: the drives that were used when it began.
    balance: Option<usize>,
}

impl Pace {
    pub(super) fn new(node: Arc<Node>, bytes_per_second: u64) -> Pace {
        let now = Instant::now();
        Pace { node, bytes_per_second, due: now, began: now, breathed: now, balance: None }
    }

    /// The pace at which a slot moves for the rebalance: it alone is read.
    pub(super) fn of_moves(node: Arc<Node>, bytes_per_second: u64) -> Pace {
        let drives = balance::usable(&node);
        Pace { balance: Some(drives), ..Pace::new(node, bytes_per_second) }
    }

    fn goes_on(&self) -> bool {
        !self.node.heal.is_stopping() && self.balance.is_none_or(|drives| balance::goes_on(&self.node, drives))
    }

    /// To be called after `bytes` were read or written; returns when more may be. False: the store is being closed, or the
    /// work is not wanted any more.
    pub(super) async fn spend(&mut self, bytes: u64) -> bool {
        if self.requests_in_flight() > 0 && !planted::is(Bug::RebuildNeverRests) {
            rt::time::sleep(self.began.elapsed().min(REST_MAX)).await;
        }
        for _ in 0..PAUSES_MAX {
            if !self.is_busy() || planted::is(Bug::RebuildNeverRests) {
                break;
            }
            rt::time::sleep(PAUSE).await;
        }
        if self.bytes_per_second > 0 {
            let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
            // What was not used while something else took long is not made up for.
            self.due = self.due.max(Instant::now()) + Duration::from_nanos(nanos.min(u128::from(u64::MAX)) as u64);
            while Instant::now() < self.due && self.goes_on() {
                rt::time::sleep(NAP.min(self.due - Instant::now())).await;
            }
        } else {
            rt::yield_now().await;
        }
        self.began = Instant::now();
        self.breathed = self.began;
        self.goes_on()
    }

    /// To be called for each stripe: lets others have the shard now and then.
    pub(super) async fn breathe(&mut self) {
        if self.breathed.elapsed() >= BREATH {
            rt::yield_now().await;
            self.breathed = Instant::now();
        }
    }

    /// Operations on the drives on behalf of requests: all but those of healing. What waits for a drive that does not answer
    /// is not made slower by anything.
    fn requests_in_flight(&self) -> u32 {
        let drives = self.node.drives();
        let in_flight: u32 = drives.iter().filter(|drive| drive.answers()).map(|drive| drive.progress().0).sum();
        in_flight.saturating_sub(self.node.heal.in_flight())
    }

    fn is_busy(&self) -> bool {
        if rt::buf::stats().waiting.iter().any(|&waiting| waiting > 0) {
            return true;
        }
        self.requests_in_flight() > BUSY_PER_DRIVE * self.node.drives().len() as u32
    }
}

//! Time on a shard: a monotonic clock, timers, deadlines. Virtual in simulation.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
pub use std::time::Duration;

use crate::shard::{self, Backend};
use crate::sys;

/// A moment of the monotonic clock, in nanoseconds from an arbitrary origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    pub fn now() -> Instant {
        let simulated = shard::try_with(|shard| match shard.map(|shard| &shard.backend) {
            #[cfg(feature = "sim")]
            Some(Backend::Sim(core)) => Some(core.now()),
            Some(Backend::Ring { .. }) | None => None::<u64>,
        });
        Instant(simulated.unwrap_or_else(sys::monotonic_ns))
    }

    pub fn elapsed(self) -> Duration {
        Instant::now() - self
    }

    #[cfg(feature = "sim")]
    pub(crate) fn as_nanos(self) -> u64 {
        self.0
    }

    #[cfg(feature = "sim")]
    pub(crate) fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates: a moment too far away is the last one.
    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Zero when `earlier` is later.
    fn sub(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

pub fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds since 1970 of the wall clock. May jump; never use it for order.
pub fn wall_clock() -> u64 {
    let simulated = shard::try_with(|shard| match shard.map(|shard| &shard.backend) {
        #[cfg(feature = "sim")]
        Some(Backend::Sim(core)) => Some(core.wall_clock()),
        Some(Backend::Ring { .. }) | None => None::<u64>,
    });
    simulated.unwrap_or_else(sys::wall_clock_ns)
}

/// The timers of one shard, by deadline and then by the order they were set in.
#[derive(Default)]
pub(crate) struct Timers {
    waiting: BTreeMap<(Instant, u64), Waker>,
    sequence: u64,
}

impl Timers {
    pub(crate) fn next(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Wakes everything whose deadline has come.
    pub(crate) fn fire(&mut self, now: Instant) {
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > now {
                break;
            }
            entry.remove().wake();
        }
    }

    fn set(&mut self, deadline: Instant, waker: Waker) -> (Instant, u64) {
        self.sequence += 1;
        let key = (deadline, self.sequence);
        self.waiting.insert(key, waker);
        key
    }
}

/// Waits until a moment has come. Made by `sleep` and `sleep_until`.
pub struct Sleep {
    deadline: Instant,
    key: Option<(Instant, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        shard::with(|shard| {
            let mut timers = shard.timers.borrow_mut();
            match self.key.and_then(|key| timers.waiting.get_mut(&key)) {
                Some(waker) if waker.will_wake(cx.waker()) => {}
                Some(waker) => *waker = cx.waker().clone(),
                None => self.key = Some(timers.set(self.deadline, cx.waker().clone())),
            }
        });
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            shard::try_with(|shard| shard.map(|shard| shard.timers.borrow_mut().waiting.remove(&key)));
        }
    }
}

pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, key: None }
}

/// The deadline came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Runs `future` for at most `duration`, then drops it.
///
/// Never around I/O on a buffer that must come back: the dropped operation keeps its buffer. Reads from sockets have
/// `net::Stream::recv_until`; a disk operation that takes too long is awaited by a task of its own.
pub async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut future = pin!(future);
    let mut sleep = pin!(sleep(duration));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        sleep.as_mut().poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::task::Wake;

    use super::*;

    struct Mark(u64, Arc<Mutex<Vec<u64>>>);

    impl Wake for Mark {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    #[test]
    fn timers_fire_by_deadline_then_by_the_order_they_were_set_in() {
        let fired = Arc::new(Mutex::new(Vec::new()));
        let mut timers = Timers::default();
        for (number, deadline) in [(1, 30), (2, 10), (3, 20), (4, 10)] {
            timers.set(Instant(deadline), Arc::new(Mark(number, fired.clone())).into());
        }
        timers.fire(Instant(9));
        assert_eq!((timers.next(), fired.lock().unwrap().len()), (Some(Instant(10)), 0));
        timers.fire(Instant(20));
        timers.fire(Instant(20));
        assert_eq!(*fired.lock().unwrap(), [2, 4, 3]);
        timers.fire(Instant(u64::MAX));
        assert_eq!((*fired.lock().unwrap()).last(), Some(&1));
        assert_eq!(timers.next(), None);
    }
}

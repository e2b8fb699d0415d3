//! Asks the connections of one shard to end: idle ones at once, busy ones after their reply.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::task::{Poll, Waker};

/// Shared by a listener, its connections, and whoever decides to stop them. Of one shard.
#[derive(Default)]
pub struct Stop {
    stopping: Cell<bool>,
    /// At most one entry per connection and listener.
    waiting: RefCell<BTreeMap<u64, Waker>>,
    next_key: Cell<u64>,
}

impl Stop {
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks; there is no way back.
    pub fn stop(&self) {
        self.stopping.set(true);
        let waiting = self.waiting.take();
        for waker in waiting.into_values() {
            waker.wake();
        }
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Returns once `stop` was called.
    pub fn wait(&self) -> impl Future<Output = ()> + '_ {
        let key = self.next_key.get();
        self.next_key.set(key + 1);
        let place = Place { stop: self, key };
        poll_fn(move |cx| {
            let stop = place.stop;
            if stop.is_stopping() {
                return Poll::Ready(());
            }
            stop.waiting.borrow_mut().insert(place.key, cx.waker().clone());
            Poll::Pending
        })
    }
}

/// Leaves the list when the wait is dropped.
struct Place<'s> {
    stop: &'s Stop,
    key: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.stop.waiting.borrow_mut().remove(&self.key);
    }
}

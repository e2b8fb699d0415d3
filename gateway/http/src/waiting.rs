//! The connections of one shard that wait for a request's head, in the order in which they began to.
//!
//! When the shard has no place left, or no buffers, whoever has waited longest makes room: first those that have never said
//! anything (they hold no buffers), then those whose first head is not complete, then those that have been idle for a
//! while (who hold a buffer only over TLS, or when a head has begun). So sockets that are opened and left alone keep nobody
//! out, and neither do heads that never end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use rt::time::Instant;

/// How long a new connection may be silent before it has to make room. Clients speak first, and what they say comes right
/// behind the end of the handshake, however far away they are; but the machine that they run on may be busy.
const SILENT_PATIENCE: Duration = Duration::from_millis(500);
/// How long a new connection may take for its first head: some round trips.
const NEW_PATIENCE: Duration = Duration::from_millis(500);
/// The same for one that has been served before: clients that are at work ask again sooner.
const SERVED_PATIENCE: Duration = Duration::from_secs(2);

struct Entry {
    since: Instant,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Has not sent a byte yet.
    Silent,
    /// Has not asked for anything yet.
    New,
    /// Has been served, and holds no buffer for the next head.
    Idle,
    /// Has been served, and holds one.
    Served,
}

/// At most one entry per connection, so `Limits::connections_max` bounds it.
#[derive(Default)]
pub(crate) struct Waiting {
    silent: RefCell<BTreeMap<u64, Entry>>,
    new: RefCell<BTreeMap<u64, Entry>>,
    idle: RefCell<BTreeMap<u64, Entry>>,
    served: RefCell<BTreeMap<u64, Entry>>,
    next_key: Cell<u64>,
}

impl Waiting {
    /// From now on the connection may be told to make room, until the place is dropped.
    pub(crate) fn enter(self: &Rc<Self>, standing: Standing) -> Place {
        let key = self.next_key.get();
        self.next_key.set(key + 1);
        self.line(standing).borrow_mut().insert(key, Entry { since: Instant::now(), waker: None });
        Place { waiting: self.clone(), standing, key }
    }

    /// Tells one connection to make room. False when none has waited for long enough.
    pub(crate) fn make_room(&self) -> bool {
        self.call([
            (Standing::Silent, SILENT_PATIENCE),
            (Standing::New, NEW_PATIENCE),
            (Standing::Idle, SERVED_PATIENCE),
            (Standing::Served, SERVED_PATIENCE),
        ])
    }

    /// Tells whoever came first to make room, however short a time ago that was.
    pub(crate) fn make_room_at_once(&self) -> bool {
        let standings = [Standing::Silent, Standing::New, Standing::Idle, Standing::Served];
        self.call(standings.map(|standing| (standing, Duration::ZERO)))
    }

    /// The same as `make_room`, of those that hold buffers.
    pub(crate) fn free_buffers(&self) -> bool {
        self.call([(Standing::New, NEW_PATIENCE), (Standing::Served, SERVED_PATIENCE)])
    }

    fn call<const N: usize>(&self, lines: [(Standing, Duration); N]) -> bool {
        let now = Instant::now();
        for (standing, patience) in lines {
            let mut line = self.line(standing).borrow_mut();
            if let Some(first) = line.first_entry()
                && now - first.get().since >= patience
            {
                let left = first.remove();
                drop(line);
                if let Some(waker) = left.waker {
                    waker.wake();
                }
                return true;
            }
        }
        false
    }

    fn line(&self, standing: Standing) -> &RefCell<BTreeMap<u64, Entry>> {
        match standing {
            Standing::Silent => &self.silent,
            Standing::New => &self.new,
            Standing::Idle => &self.idle,
            Standing::Served => &self.served,
        }
    }
}

/// One connection's place in the line.
pub(crate) struct Place {
    waiting: Rc<Waiting>,
    standing: Standing,
    key: u64,
}

impl Place {
    /// Returns when the connection has to make room.
    pub(crate) async fn called(&self) {
        poll_fn(|cx| match self.waiting.line(self.standing).borrow_mut().get_mut(&self.key) {
            Some(entry) => {
                entry.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        })
        .await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.line(self.standing).borrow_mut().remove(&self.key);
    }
}

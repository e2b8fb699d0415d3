//! What one shard consists of, and which shard the running code is on.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::buf::Pool;
use crate::executor::Executor;
use crate::mailbox::Inbox;
use crate::offload::Helpers;
use crate::time::Timers;
use crate::uring::Driver;

/// A core and its executor. Shards of one run are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

pub(crate) struct Shard {
    pub(crate) id: ShardId,
    /// The inboxes of all shards of this run, by shard number.
    pub(crate) inboxes: Arc<[Arc<Inbox>]>,
    pub(crate) executor: Executor,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) pool: Pool,
    pub(crate) backend: Backend,
    /// Shards that got something from this one and may sleep; woken together at the end of the turn.
    pub(crate) to_wake: RefCell<Vec<u16>>,
}

#[cfg_attr(feature = "sim", expect(clippy::large_enum_variant, reason = "there is one per shard"))]
pub(crate) enum Backend {
    Ring {
        driver: Driver,
        helpers: Helpers,
    },
    #[cfg(feature = "sim")]
    Sim(Rc<crate::sim::Core>),
}

impl Shard {
    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inboxes[self.id.0 as usize]
    }

    /// The ring of this shard. Only handles of the real backend ask for it.
    pub(crate) fn driver(&self) -> &Driver {
        match &self.backend {
            Backend::Ring { driver, .. } => driver,
            #[cfg(feature = "sim")]
            Backend::Sim(_) => panic!("a handle of the real backend was used in a simulation"),
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Shard>>> = const { RefCell::new(None) };
}

/// Runs `f` with the shard of this thread, `None` off the shards (and while the thread ends).
pub(crate) fn try_with<R>(f: impl FnOnce(Option<&Rc<Shard>>) -> R) -> R {
    // The closure must be callable on either path, so it travels in an Option.
    let mut f = Some(f);
    let found = CURRENT.try_with(|current| (f.take().expect("called once"))(current.borrow().as_ref()));
    found.unwrap_or_else(|_| (f.take().expect("not called when the storage is gone"))(None))
}

/// Runs `f` with the shard of this thread.
///
/// Panics when the caller is not on a shard: that is a programming error.
pub(crate) fn with<R>(f: impl FnOnce(&Rc<Shard>) -> R) -> R {
    try_with(|shard| f(shard.expect("called outside a shard")))
}

/// Makes `shard` the current one of this thread and returns the one before.
pub(crate) fn enter(shard: Option<Rc<Shard>>) -> Option<Rc<Shard>> {
    CURRENT.with(|current| current.replace(shard))
}

/// The shard that runs the caller. Panics off the shards.
pub fn this_shard() -> ShardId {
    with(|shard| shard.id)
}

/// How many shards this run has. Panics off the shards.
pub fn shard_count() -> u16 {
    with(|shard| shard.inboxes.len() as u16)
}

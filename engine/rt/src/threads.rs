//! What threads share: std's locks and atomics, or under `--cfg shuttle` models of them, with which
//! `tests/interleave/run` tries thousands of schedules. Whatever in this crate synchronises threads takes them from here.

#[cfg(not(shuttle))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};

#[cfg(not(shuttle))]
pub(crate) use crate::sys::Event;
#[cfg(shuttle)]
pub(crate) use model::Event;
#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic};

/// Bugs that are planted to prove that the schedules find their like. Nothing of it is left in a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A shard looks for work before it says that it sleeps.
    LooksBeforeItSleeps,
    /// What is pending is marked as taken after it was taken.
    PendingClearedLate,
    /// The owner is told of a message before that is in the mailbox.
    NotifiedBeforeSent,
    /// Senders that have gone away take the wake-ups of those that wait.
    GoneSendersCount,
    /// The same for jobs.
    GoneJobsCount,
    /// Idle helpers are not told that there will be no more jobs.
    HelpersNotToldOfTheEnd,
    /// A wake-up while a task is being polled is lost.
    WakesWhilePolledLost,
    /// Whoever waits for a buffer says so after the last look for one.
    WaitingSaidLate,
    /// A reply takes the waiter before it puts the value.
    ReplyWakesFirst,
}

/// Whether a bug is planted. A constant in anything but a model.
#[cfg(not(shuttle))]
pub(crate) const fn is_planted(_bug: Bug) -> bool {
    false
}

#[cfg(shuttle)]
pub(crate) use model::{is_planted, plant};

#[cfg(shuttle)]
mod model {
    use std::io;
    use std::os::fd::{AsRawFd, RawFd};
    use std::sync::PoisonError;

    use super::{Bug, Condvar, Mutex};

    // The models run on one thread of the system, and there is one bug at a time.
    std::thread_local! {
        static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
    }

    pub(crate) fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(crate) fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// An eventfd, and the wait in the kernel for it.
    pub(crate) struct Event(Mutex<u64>, Condvar);

    impl Event {
        pub(crate) fn new() -> io::Result<Event> {
            Ok(Event(Mutex::new(0), Condvar::new()))
        }

        pub(crate) fn signal(&self) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            self.1.notify_one();
        }

        pub(crate) fn wait(&self) {
            let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            while *count == 0 {
                count = self.1.wait(count).unwrap_or_else(PoisonError::into_inner);
            }
            *count = 0;
        }
    }

    impl AsRawFd for Event {
        fn as_raw_fd(&self) -> RawFd {
            unreachable!("a model has no ring")
        }
    }
}

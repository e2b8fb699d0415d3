//! Turns: epoch changes are made one after another, first come first served.

use std::collections::VecDeque;
use std::future::Future;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use rt::ShardId;

/// An asynchronous lock that may live in process-wide state. Only shard 0 takes turns, so the mutex inside is never
/// waited for.
#[derive(Default)]
pub(crate) struct TurnQueue(Mutex<State>);

#[derive(Default)]
struct State {
    taken: bool,
    next_ticket: u64,
    waiting: VecDeque<(u64, Option<Waker>)>,
}

/// The right to change the epoch, until it is dropped.
pub(crate) struct Turn<'a>(&'a TurnQueue);

impl TurnQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn. Must not be cancelled: callers run it in a task of their own.
    pub(crate) async fn take(&self) -> Turn<'_> {
        let ticket = {
            let mut state = self.state();
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.waiting.push_back((ticket, None));
            ticket
        };
        poll_fn(|cx| {
            let mut state = self.state();
            let first = state.waiting.front().is_some_and(|(other, _)| *other == ticket);
            if first && !state.taken {
                state.waiting.pop_front();
                state.taken = true;
                return Poll::Ready(());
            }
            if let Some((_, waker)) = state.waiting.iter_mut().find(|(other, _)| *other == ticket) {
                *waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
        Turn(self)
    }
}

/// Runs on shard 0 what takes a turn. In a task of its own, so that a caller that goes away leaves no turn half taken; in the
/// foreground, for whoever has the turn, requests may wait for it.
pub(crate) async fn in_own_task<F, Fut, R>(f: F) -> R
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = R> + 'static,
    R: Send + 'static,
{
    rt::call(ShardId(0), move || async move { rt::spawn_foreground(f()).await }).await
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.0.state();
            state.taken = false;
            state.waiting.front_mut().and_then(|(_, waker)| waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

//! How a committer waits for its entry, and how the log's own tasks wait for each other.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::error::Result;

/// Resolves when its entry is durable and applied, or has failed. Dropping it changes nothing about the entry.
pub(crate) struct Ticket(Rc<Outcome>);

/// The log's end of a ticket.
pub(super) struct Outcome {
    result: RefCell<Option<Result<()>>>,
    waker: Cell<Option<Waker>>,
}

impl Outcome {
    pub(super) fn new() -> (Rc<Outcome>, Ticket) {
        let outcome = Rc::new(Outcome { result: RefCell::new(None), waker: Cell::new(None) });
        (outcome.clone(), Ticket(outcome))
    }

    pub(super) fn resolve(&self, result: Result<()>) {
        let before = self.result.borrow_mut().replace(result);
        assert!(before.is_none(), "an entry has one outcome");
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Future for Ticket {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(result) = &*self.0.result.borrow() {
            return Poll::Ready(result.clone());
        }
        self.0.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

/// A flag with one waiter: raised any number of times, seen once.
#[derive(Default)]
pub(super) struct Signal {
    raised: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Signal {
    pub(super) fn raise(&self) {
        self.raised.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Returns at once when the flag was raised since the last return.
    pub(super) async fn wait(&self) {
        poll_fn(|cx| {
            if self.raised.take() {
                return Poll::Ready(());
            }
            self.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

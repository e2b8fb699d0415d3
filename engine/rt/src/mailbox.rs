//! Messages between shards: one bounded inbox per shard, filled by any thread, emptied by its owner once per turn.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::executor::{self, Executor, TaskWake};
use crate::shard::{self, Backend, ShardId};
use crate::threads::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use crate::threads::{Bug, Event, Mutex, MutexGuard, is_planted};

/// Messages that may wait in one shard's mailbox; senders wait when it is full.
pub const MAILBOX_MESSAGES_MAX: usize = if cfg!(shuttle) { 2 } else { 4096 };
/// Messages a shard starts per turn, so that its own tasks are not starved.
const MESSAGES_PER_TURN: usize = if cfg!(shuttle) { 1 } else { 256 };

static FULL: telemetry::Counter =
    telemetry::Counter::new("hafiz_mailbox_full_total", "Messages to other shards that had to wait for room.");

/// Runs on the receiving shard; must only start a task there.
pub(crate) type Message = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queues {
    messages: VecDeque<Message>,
    /// Tasks of the owner that other threads woke.
    wakes: Vec<Arc<TaskWake>>,
    /// Senders that found the mailbox full.
    waiting: VecDeque<Waker>,
    /// The shard has ended: nothing is kept any more. A wake-up keeps this mailbox, and would keep itself in it.
    closed: bool,
}

pub(crate) struct Inbox {
    shard: ShardId,
    queues: Mutex<Queues>,
    /// Set after a push, cleared by the owner before it looks.
    pending: AtomicBool,
    /// Set by the owner before its last look and its wait in the kernel.
    sleeping: AtomicBool,
    /// Written to wake the owner from threads without a ring. `None` in simulation, where nobody sleeps.
    event: Option<Event>,
    /// The owner's ring, the target of wake-ups by other rings; -1 until it is up.
    ring_fd: AtomicI32,
}

impl Inbox {
    pub(crate) fn new(shard: ShardId, event: Option<Event>) -> Inbox {
        Inbox {
            shard,
            queues: Mutex::default(),
            pending: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            event,
            ring_fd: AtomicI32::new(-1),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // Nothing under this lock can panic half-way; a poisoned flag says nothing.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn event(&self) -> Option<&Event> {
        self.event.as_ref()
    }

    pub(crate) fn set_ring_fd(&self, fd: i32) {
        self.ring_fd.store(fd, SeqCst);
    }

    pub(crate) fn ring_fd(&self) -> i32 {
        self.ring_fd.load(SeqCst)
    }

    pub(crate) fn push_wake(&self, wake: Arc<TaskWake>) {
        {
            let mut queues = self.lock();
            if queues.closed {
                return;
            }
            queues.wakes.push(wake);
        }
        self.notify();
    }

    /// `Err` gives the message back when the mailbox is full; the waker is kept and woken when there is room.
    fn push_message(&self, message: Message, waker: &Waker) -> Result<(), Message> {
        if is_planted(Bug::NotifiedBeforeSent) {
            self.notify();
        }
        {
            let mut queues = self.lock();
            if queues.messages.len() >= MAILBOX_MESSAGES_MAX {
                queues.waiting.push_back(waker.clone());
                FULL.add(1);
                return Err(message);
            }
            queues.messages.push_back(message);
        }
        if !is_planted(Bug::NotifiedBeforeSent) {
            self.notify();
        }
        Ok(())
    }

    /// Tells the owner to look. Pairs with `prepare_sleep`: either the owner sees `pending`, or we see `sleeping`.
    pub(crate) fn notify(&self) {
        self.pending.store(true, SeqCst);
        if !self.sleeping.load(SeqCst) {
            return;
        }
        shard::try_with(|current| match current {
            // A shard of the same run wakes at the end of its turn, in the same system call as its other operations.
            Some(shard) if self.is_sibling_of(shard) => {
                let mut to_wake = shard.to_wake.borrow_mut();
                if !to_wake.contains(&self.shard.0) {
                    to_wake.push(self.shard.0);
                }
            }
            _ => self.wake_by_event(),
        });
    }

    fn is_sibling_of(&self, shard: &crate::shard::Shard) -> bool {
        shard.inboxes.get(self.shard.0 as usize).is_some_and(|inbox| std::ptr::eq(Arc::as_ptr(inbox), self))
            && matches!(shard.backend, Backend::Ring { .. })
    }

    pub(crate) fn wake_by_event(&self) {
        if self.take_sleeping()
            && let Some(event) = &self.event
        {
            event.signal();
        }
    }

    /// True when the owner slept and the caller must wake it: exactly one waker gets it.
    pub(crate) fn take_sleeping(&self) -> bool {
        self.sleeping.swap(false, SeqCst)
    }

    /// Called by the owner before it waits. False when something came in: it must not wait.
    pub(crate) fn prepare_sleep(&self) -> bool {
        if is_planted(Bug::LooksBeforeItSleeps) {
            let is_idle = !self.pending.load(SeqCst);
            self.sleeping.store(is_idle, SeqCst);
            return is_idle;
        }
        self.sleeping.store(true, SeqCst);
        if self.pending.load(SeqCst) {
            self.sleeping.store(false, SeqCst);
            return false;
        }
        true
    }

    pub(crate) fn woke(&self) {
        self.sleeping.store(false, SeqCst);
    }

    /// Takes what came in: queues woken tasks and starts messages. Runs on the owner with its shard current.
    pub(crate) fn drain(&self, executor: &Executor) {
        if is_planted(Bug::PendingClearedLate) {
            if !self.pending.load(SeqCst) {
                return;
            }
        } else if !self.pending.swap(false, SeqCst) {
            return;
        }
        let (messages, wakes, room) = {
            let mut queues = self.lock();
            let count = queues.messages.len().min(MESSAGES_PER_TURN);
            let messages: Vec<Message> = queues.messages.drain(..count).collect();
            // Some of those who waited may be gone, and would not pass it on: nobody waits for an empty mailbox.
            let is_empty = queues.messages.is_empty() && !is_planted(Bug::GoneSendersCount);
            let room = if is_empty { queues.waiting.len() } else { count.min(queues.waiting.len()) };
            let room: Vec<Waker> = queues.waiting.drain(..room).collect();
            let wakes = std::mem::take(&mut queues.wakes);
            let are_more = !queues.messages.is_empty();
            if is_planted(Bug::PendingClearedLate) {
                drop(queues);
                self.pending.store(are_more, SeqCst);
            } else if are_more {
                self.pending.store(true, SeqCst);
            }
            (messages, wakes, room)
        };
        for wake in wakes {
            executor.push_ready(wake);
        }
        for message in messages {
            message();
        }
        for waker in room {
            waker.wake();
        }
    }

    /// Drops what is left when the shard ends.
    pub(crate) fn close(&self) {
        let left = std::mem::replace(&mut *self.lock(), Queues { closed: true, ..Queues::default() });
        drop(left);
    }
}

/// A result on its way between threads.
pub(crate) struct Reply<R> {
    slot: Mutex<(Option<R>, Option<Waker>)>,
}

impl<R> Reply<R> {
    pub(crate) fn new() -> Arc<Reply<R>> {
        Arc::new(Reply { slot: Mutex::new((None, None)) })
    }

    fn lock(&self) -> MutexGuard<'_, (Option<R>, Option<Waker>)> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, value: R) {
        let waker = {
            if is_planted(Bug::ReplyWakesFirst) {
                let waker = self.lock().1.take();
                self.lock().0 = Some(value);
                waker
            } else {
                let mut slot = self.lock();
                slot.0 = Some(value);
                slot.1.take()
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) async fn get(&self) -> R {
        std::future::poll_fn(|cx| {
            let mut slot = self.lock();
            match slot.0.take() {
                Some(value) => Poll::Ready(value),
                None => {
                    slot.1 = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

pub(crate) struct Posting {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) message: Option<Message>,
}

impl Future for Posting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(message) = self.message.take() else { return Poll::Ready(()) };
        match self.inbox.push_message(message, cx.waker()) {
            Ok(()) => Poll::Ready(()),
            Err(message) => {
                self.message = Some(message);
                Poll::Pending
            }
        }
    }
}

/// Runs `f` as a task of the caller's priority on another shard and brings its result back. On the same shard it runs in place.
///
/// Waits while the destination's mailbox is full. Dropping the caller does not stop the callee once it was sent.
/// Panics when there is no such shard.
pub async fn call<F, Fut, R>(to: ShardId, f: F) -> R
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = R> + 'static,
    R: Send + 'static,
{
    let inbox = shard::with(|shard| {
        (shard.id != to).then(|| shard.inboxes.get(to.0 as usize).expect("the shard exists").clone())
    });
    let Some(inbox) = inbox else { return f().await };
    let (reply, priority) = (Reply::new(), executor::priority());
    let answer = reply.clone();
    let message: Message = Box::new(move || {
        // The task is detached: its result goes through the reply.
        drop(executor::spawn_as(priority, async move { answer.put(f().await) }));
    });
    Posting { inbox, message: Some(message) }.await;
    reply.get().await
}

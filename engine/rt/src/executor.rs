//! The executor of one shard: a slab of tasks and a queue of ready ones for each priority, all on one thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::mailbox::Inbox;
use crate::shard;
use crate::slab::Slab;
use crate::threads::atomic::{AtomicBool, Ordering};
use crate::threads::{Bug, is_planted};

type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Who waits for a task. What a task spawns, calls on other shards or offloads is of its own priority, unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Priority {
    /// A request, or several of them.
    #[default]
    Foreground,
    /// Nobody, for now: it has what the others leave of the shard, and a tenth of it at least. Its jobs for helper threads
    /// are run by some of their own, which give way as well.
    ///
    /// What requests may wait for, too, is spawned by `spawn_foreground` even there.
    Background,
}

struct Task {
    /// Taken out while the task is polled, so that the slab is not borrowed meanwhile.
    future: Option<TaskFuture>,
    wake: Arc<TaskWake>,
    waker: Waker,
}

/// What a waker points to. Owned by the task's slot; stale copies may outlive the task.
pub(crate) struct TaskWake {
    inbox: Arc<Inbox>,
    slot: SlotCell,
    priority: Priority,
    /// Set while the task is in a ready queue or on its way there.
    queued: AtomicBool,
}

/// The slot is written once, before the waker is shared.
type SlotCell = std::sync::OnceLock<u32>;

impl Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        TaskWake::wake_by_ref(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        shard::try_with(|current| match current {
            Some(shard) if Arc::ptr_eq(shard.inbox(), &self.inbox) => shard.executor.push_ready(self.clone()),
            _ => self.inbox.push_wake(self.clone()),
        });
    }
}

pub(crate) struct Executor {
    tasks: RefCell<Slab<Task>>,
    ready: RefCell<VecDeque<Arc<TaskWake>>>,
    /// Those of the background.
    behind: RefCell<VecDeque<Arc<TaskWake>>>,
    /// Of the task that is being polled.
    priority: Cell<Priority>,
    /// Set when the tasks are being dropped: what they spawn while dying is dropped too.
    closed: Cell<bool>,
}

impl Executor {
    pub(crate) fn new() -> Executor {
        Executor {
            tasks: RefCell::new(Slab::new()),
            ready: RefCell::default(),
            behind: RefCell::default(),
            priority: Cell::default(),
            closed: Cell::new(false),
        }
    }

    /// The priority of the task that is being polled.
    pub(crate) fn priority(&self) -> Priority {
        self.priority.get()
    }

    pub(crate) fn spawn(&self, inbox: &Arc<Inbox>, priority: Priority, future: TaskFuture) {
        if self.closed.get() {
            return;
        }
        let (slot, queued) = (SlotCell::new(), AtomicBool::new(true));
        let wake = Arc::new(TaskWake { inbox: inbox.clone(), slot, priority, queued });
        let task = Task { future: Some(future), wake: wake.clone(), waker: Waker::from(wake.clone()) };
        let slot = self.tasks.borrow_mut().insert(task);
        wake.slot.set(slot as u32).expect("a new task has no slot yet");
        self.push_ready(wake);
    }

    fn queue(&self, priority: Priority) -> &RefCell<VecDeque<Arc<TaskWake>>> {
        match priority {
            Priority::Foreground => &self.ready,
            Priority::Background => &self.behind,
        }
    }

    pub(crate) fn push_ready(&self, wake: Arc<TaskWake>) {
        self.queue(wake.priority).borrow_mut().push_back(wake);
    }

    pub(crate) fn ready_len(&self, priority: Priority) -> usize {
        self.queue(priority).borrow().len()
    }

    /// Polls the ready task at `index` of its priority; the task that is last takes its place unless `index` is 0.
    pub(crate) fn run_one(&self, priority: Priority, index: usize) {
        let wake = {
            let mut ready = self.queue(priority).borrow_mut();
            if index == 0 { ready.pop_front() } else { ready.swap_remove_back(index) }
        };
        let Some(wake) = wake else { return };
        let slot = *wake.slot.get().expect("a queued task has a slot") as usize;
        let (mut future, waker) = {
            let mut tasks = self.tasks.borrow_mut();
            match tasks.get_mut(slot) {
                // A task that ended leaves stale wakers behind; its slot may belong to another one now.
                Some(task) if Arc::ptr_eq(&task.wake, &wake) => match task.future.take() {
                    Some(future) => (future, task.waker.clone()),
                    None => return,
                },
                _ => return,
            }
        };
        // From here on a wake-up queues the task again, also one that comes while it is being polled.
        //
        // Whoever finds the flag set has made its change before, under the lock that the task takes to look for it: so it
        // is seen, or the task's own waker is found there and comes after this store.
        if !is_planted(Bug::WakesWhilePolledLost) {
            wake.queued.store(false, Ordering::Release);
        }
        self.priority.set(priority);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        self.priority.set(Priority::Foreground);
        if is_planted(Bug::WakesWhilePolledLost) {
            wake.queued.store(false, Ordering::Release);
        }
        match polled {
            Poll::Ready(()) => {
                let ended = self.tasks.borrow_mut().remove(slot);
                drop(ended);
                drop(future);
            }
            Poll::Pending => {
                let mut tasks = self.tasks.borrow_mut();
                if let Some(task) = tasks.get_mut(slot) {
                    task.future = Some(future);
                }
            }
        }
    }

    /// Drops every task. To be called with the shard still current, since futures give things back when dropped.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        loop {
            let tasks = self.tasks.borrow_mut().take_all();
            if tasks.is_empty() {
                break;
            }
            drop(tasks);
        }
        self.ready.borrow_mut().clear();
        self.behind.borrow_mut().clear();
    }
}

struct JoinState<T> {
    output: Option<T>,
    waiter: Option<Waker>,
}

/// The way to a task's result. Dropping it detaches the task, which goes on.
pub struct JoinHandle<T> {
    state: Rc<RefCell<JoinState<T>>>,
}

impl<T> JoinHandle<T> {
    /// Whether the task has ended and its result waits here.
    pub fn is_finished(&self) -> bool {
        self.state.borrow().output.is_some()
    }

    /// The result, if the task has ended and nobody has taken it. For code that is not async, like a world's driver.
    pub fn take_result(&mut self) -> Option<T> {
        self.state.borrow_mut().output.take()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut state = self.state.borrow_mut();
        match state.output.take() {
            Some(output) => Poll::Ready(output),
            None => {
                state.waiter = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Starts a task on this shard, of the priority of the one that calls. Two allocations; the task runs on the next turn at the
/// earliest.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    spawn_as(priority(), future)
}

/// The same in the foreground, whoever calls: for what requests may wait for, too.
pub fn spawn_foreground<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    spawn_as(Priority::Foreground, future)
}

/// The same in the background.
pub fn spawn_background<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    spawn_as(Priority::Background, future)
}

pub(crate) fn spawn_as<T: 'static>(priority: Priority, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    let state = Rc::new(RefCell::new(JoinState { output: None, waiter: None }));
    let task = Box::pin(task(future, state.clone()));
    shard::with(|shard| shard.executor.spawn(shard.inbox(), priority, task));
    JoinHandle { state }
}

/// The priority of the calling task.
pub(crate) fn priority() -> Priority {
    shard::with(|shard| shard.executor.priority())
}

/// Leaves the future's output where it is waited for. Hardly larger than the future.
// An `async fn` would have room for it twice: as its argument, and where it is polled.
#[allow(clippy::manual_async_fn)]
fn task<T>(mut future: impl Future<Output = T>, result: Rc<RefCell<JoinState<T>>>) -> impl Future<Output = ()> {
    async move {
        // Polled where it was captured, for the same reason.
        // SAFETY: whoever polls has pinned this block, its captures with it, and nothing moves this one out of it.
        #[allow(unsafe_code)]
        let pinned = unsafe { Pin::new_unchecked(&mut future) };
        let output = pinned.await;
        let waiter = {
            let mut state = result.borrow_mut();
            state.output = Some(output);
            state.waiter.take()
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

/// Lets the other ready tasks run first. Long loops call it between slices.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(move |cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests;

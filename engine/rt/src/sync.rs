//! Waiting for each other on one shard: `Event`, `Semaphore`, `Oneshot`, `Watch`, `WaitGroup`. Nothing here is Send.
//!
//! No borrow of a cell is held across an await, and no waker is called while one is held.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Something that may happen again and again. Waiters wake when it is told after they began to wait.
#[derive(Default)]
pub struct Event {
    generation: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Event {
    pub fn new() -> Event {
        Event::default()
    }

    /// Wakes all who wait now.
    pub fn notify(&self) {
        self.generation.set(self.generation.get() + 1);
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Waits for the next `notify`. What counts is when this is called, not when the future is first polled.
    pub fn wait(&self) -> impl Future<Output = ()> + '_ {
        let seen = self.generation.get();
        poll_fn(move |cx| {
            if self.generation.get() != seen {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
    }

    /// Waits until `ready` returns something, asking again after every `notify`.
    pub async fn wait_for<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        loop {
            let next = self.wait();
            if let Some(value) = ready() {
                return value;
            }
            next.await;
        }
    }
}

struct Acquirer {
    wanted: usize,
    /// It goes before those that are not.
    is_ahead: bool,
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Permits handed out in the order they were asked for, to those who go ahead before all others; among each of the two a
/// large request is not overtaken by small ones.
pub struct Semaphore {
    free: Cell<usize>,
    total: usize,
    /// Those who go ahead are in front.
    waiting: RefCell<VecDeque<Rc<Acquirer>>>,
    /// Permits stand for buffers of the shard's pool.
    is_of_buffers: bool,
}

impl Semaphore {
    pub fn new(permits: usize) -> Rc<Semaphore> {
        Semaphore::made(permits, false)
    }

    /// Permits for buffers of the shard's pool: who waits for them makes buffers scarce (`buf::is_scarce`).
    pub fn of_buffers(permits: usize) -> Rc<Semaphore> {
        Semaphore::made(permits, true)
    }

    fn made(permits: usize, is_of_buffers: bool) -> Rc<Semaphore> {
        Rc::new(Semaphore { free: Cell::new(permits), total: permits, waiting: RefCell::default(), is_of_buffers })
    }

    pub fn available(&self) -> usize {
        self.free.get()
    }

    pub fn waiting(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Permits if they are free now and nobody waits.
    pub fn try_acquire(self: &Rc<Self>, count: usize) -> Option<Permit> {
        self.try_acquire_as(count, false)
    }

    fn try_acquire_as(self: &Rc<Self>, count: usize, is_ahead: bool) -> Option<Permit> {
        let is_turn = self.waiting.borrow().front().is_none_or(|first| is_ahead && !first.is_ahead);
        if !is_turn || self.free.get() < count {
            return None;
        }
        self.free.set(self.free.get() - count);
        Some(Permit { semaphore: self.clone(), count })
    }

    /// Waits for `count` permits. Panics when there are not that many in all: it would wait for ever.
    pub async fn acquire(self: &Rc<Self>, count: usize) -> Permit {
        self.acquire_as(count, false).await
    }

    /// The same, before all who wait by `acquire`: for work that has begun. They get nothing while there is always more of it.
    pub async fn acquire_ahead(self: &Rc<Self>, count: usize) -> Permit {
        self.acquire_as(count, true).await
    }

    async fn acquire_as(self: &Rc<Self>, count: usize, is_ahead: bool) -> Permit {
        assert!(count <= self.total, "a semaphore of {} permits cannot give {count}", self.total);
        if let Some(permit) = self.try_acquire_as(count, is_ahead) {
            return permit;
        }
        let acquirer =
            Rc::new(Acquirer { wanted: count, is_ahead, granted: Cell::new(false), waker: RefCell::new(None) });
        {
            let mut waiting = self.waiting.borrow_mut();
            let place = if is_ahead { waiting.partition_point(|other| other.is_ahead) } else { waiting.len() };
            waiting.insert(place, acquirer.clone());
        }
        let _wanted = self.is_of_buffers.then(Wanted::new);
        Acquiring { semaphore: self.clone(), acquirer }.await
    }

    fn release(&self, count: usize) {
        self.free.set(self.free.get() + count);
        self.grant();
    }

    fn grant(&self) {
        loop {
            let next = {
                let mut waiting = self.waiting.borrow_mut();
                match waiting.front() {
                    Some(first) if first.wanted <= self.free.get() => waiting.pop_front().expect("just seen"),
                    _ => return,
                }
            };
            self.free.set(self.free.get() - next.wanted);
            next.granted.set(true);
            if let Some(waker) = next.waker.take() {
                waker.wake();
            }
        }
    }
}

/// Someone waits for leave to take buffers.
struct Wanted;

impl Wanted {
    fn new() -> Wanted {
        crate::shard::with(|shard| shard.pool.wanted.set(shard.pool.wanted.get() + 1));
        Wanted
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        crate::shard::with(|shard| shard.pool.wanted.set(shard.pool.wanted.get() - 1));
    }
}

struct Acquiring {
    semaphore: Rc<Semaphore>,
    acquirer: Rc<Acquirer>,
}

impl Future for Acquiring {
    type Output = Permit;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        if self.acquirer.granted.replace(false) {
            return Poll::Ready(Permit { semaphore: self.semaphore.clone(), count: self.acquirer.wanted });
        }
        self.acquirer.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Acquiring {
    fn drop(&mut self) {
        if self.acquirer.granted.get() {
            // Granted but never taken.
            self.semaphore.release(self.acquirer.wanted);
        } else {
            self.semaphore.waiting.borrow_mut().retain(|waiting| !Rc::ptr_eq(waiting, &self.acquirer));
            // The one behind may have waited only for this one.
            self.semaphore.grant();
        }
    }
}

/// Permits held; given back when dropped.
pub struct Permit {
    semaphore: Rc<Semaphore>,
    count: usize,
}

impl Permit {
    pub fn count(&self) -> usize {
        self.count
    }

    /// Takes a part of it away, or all if there is less: given back by itself.
    pub fn split(&mut self, count: usize) -> Permit {
        let count = count.min(self.count);
        self.count -= count;
        Permit { semaphore: self.semaphore.clone(), count }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.semaphore.release(self.count);
    }
}

struct OneshotState<T> {
    value: Option<T>,
    waker: Option<Waker>,
    closed: bool,
}

pub struct Sender<T>(Rc<RefCell<OneshotState<T>>>);

/// A future of the value, or `None` when the sender was dropped without one.
pub struct Receiver<T>(Rc<RefCell<OneshotState<T>>>);

/// One value from one task to another.
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let state = Rc::new(RefCell::new(OneshotState { value: None, waker: None, closed: false }));
    (Sender(state.clone()), Receiver(state))
}

impl<T> Sender<T> {
    /// Gives the value back when nobody waits for it any more.
    pub fn send(self, value: T) -> Result<(), T> {
        if self.is_closed() {
            return Err(value);
        }
        self.0.borrow_mut().value = Some(value);
        Ok(())
    }

    pub fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.0.borrow_mut();
            state.closed = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.borrow_mut();
        if let Some(value) = state.value.take() {
            return Poll::Ready(Some(value));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.borrow_mut().closed = true;
    }
}

/// A value with one writer that others wait on, like a durable LSN.
pub struct Watch<T> {
    value: RefCell<T>,
    changed: Event,
}

impl<T> Watch<T> {
    pub fn new(value: T) -> Watch<T> {
        Watch { value: RefCell::new(value), changed: Event::new() }
    }

    pub fn set(&self, value: T) {
        let old = self.value.replace(value);
        self.changed.notify();
        drop(old);
    }

    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.value.borrow().clone()
    }

    /// Waits until the value satisfies `wanted`, and returns what `wanted` made of it.
    pub async fn wait_for<R>(&self, mut wanted: impl FnMut(&T) -> Option<R>) -> R {
        self.changed.wait_for(|| wanted(&self.value.borrow())).await
    }
}

/// Counts what is under way; `wait` returns when nothing is.
#[derive(Clone, Default)]
pub struct WaitGroup(Rc<(Cell<usize>, Event)>);

/// One thing under way, until dropped.
pub struct Working(WaitGroup);

impl WaitGroup {
    pub fn new() -> WaitGroup {
        WaitGroup::default()
    }

    pub fn enter(&self) -> Working {
        self.0.0.set(self.0.0.get() + 1);
        Working(self.clone())
    }

    pub fn count(&self) -> usize {
        self.0.0.get()
    }

    pub async fn wait(&self) {
        self.0.1.wait_for(|| (self.count() == 0).then_some(())).await;
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let group = &self.0.0;
        group.0.set(group.0.get() - 1);
        if group.0.get() == 0 {
            group.1.notify();
        }
    }
}

/// Runs all futures of one shard at the same time and returns their results in order.
pub async fn join_all<T>(futures: impl IntoIterator<Item: Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|cx| {
        let mut pending = false;
        for (future, output) in &mut running {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *output = Some(value),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    running.into_iter().map(|(_, output)| output.expect("all have finished")).collect()
}

#[cfg(test)]
mod tests;

//! Blocking or long work on helper threads, so that a shard never waits for it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker};

use crate::mailbox::Reply;
use crate::shard::{self, Backend};
use crate::threads::{Bug, Condvar, Mutex, MutexGuard, is_planted};

/// Jobs of all shards that may wait for a helper thread; who comes later waits.
pub const OFFLOAD_JOBS_MAX: usize = if cfg!(shuttle) { 2 } else { 1024 };

static FULL: telemetry::Counter =
    telemetry::Counter::new("hafiz_offload_full_total", "Jobs for helper threads that had to wait for room.");
static JOBS: telemetry::Counter = telemetry::Counter::new("hafiz_offload_jobs_total", "Jobs run by helper threads.");

pub(crate) type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    waiting: VecDeque<Waker>,
    closed: bool,
}

pub(crate) struct Offload {
    queue: Mutex<Queue>,
    work: Condvar,
}

impl Offload {
    pub(crate) fn new() -> Arc<Offload> {
        Arc::new(Offload { queue: Mutex::default(), work: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No user code runs under this lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One helper thread's life: runs jobs until the queue is closed and empty.
    pub(crate) fn work(&self) {
        loop {
            let (job, waiting) = {
                let mut queue = self.lock();
                loop {
                    if let Some(job) = queue.jobs.pop_front() {
                        // Some of those who waited may be gone, and would not pass it on: nobody waits for an empty queue.
                        let is_last = queue.jobs.is_empty() && !is_planted(Bug::GoneJobsCount);
                        let count = if is_last { queue.waiting.len() } else { queue.waiting.len().min(1) };
                        break (job, queue.waiting.drain(..count).collect::<Vec<Waker>>());
                    }
                    if queue.closed {
                        return;
                    }
                    queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
            };
            for waker in waiting {
                waker.wake();
            }
            job();
            JOBS.add(1);
        }
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        if !is_planted(Bug::HelpersNotToldOfTheEnd) {
            self.work.notify_all();
        }
    }

    pub(crate) async fn push(&self, job: Job) {
        // A Cell, since poll_fn may be polled again with the job given back.
        let job = Cell::new(Some(job));
        std::future::poll_fn(|cx| {
            let Some(taken) = job.take() else { return Poll::Ready(()) };
            let mut queue = self.lock();
            if queue.jobs.len() >= OFFLOAD_JOBS_MAX {
                queue.waiting.push_back(cx.waker().clone());
                FULL.add(1);
                job.set(Some(taken));
                return Poll::Pending;
            }
            queue.jobs.push_back(taken);
            drop(queue);
            self.work.notify_one();
            Poll::Ready(())
        })
        .await;
    }
}

/// Runs `f` on a helper thread. In simulation it runs in place, at a random moment of virtual time.
///
/// Waits while the queue is full. Dropping the caller does not stop `f` once it is queued. A panic in `f` aborts the
/// process, like one on a shard.
pub async fn offload<F, R>(f: F) -> R
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    let helpers = shard::with(|shard| match &shard.backend {
        Backend::Ring { offload, .. } => Some(offload.clone()),
        #[cfg(feature = "sim")]
        Backend::Sim(_) => None,
    });
    let Some(helpers) = helpers else {
        #[cfg(feature = "sim")]
        crate::sim::pause().await;
        return f();
    };
    let reply = Reply::new();
    let answer = reply.clone();
    helpers.push(Box::new(move || answer.put(f()))).await;
    reply.get().await
}

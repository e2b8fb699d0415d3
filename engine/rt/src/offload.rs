//! Blocking or long work on helper threads, so that a shard never waits for it.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::executor::Priority;
use crate::mailbox::Reply;
use crate::shard::{self, Backend};
use crate::threads::{Bug, Condvar, Mutex, MutexGuard, is_planted};

/// Jobs of one priority of all shards that may wait for a helper thread; who comes later waits.
pub const OFFLOAD_JOBS_MAX: usize = if cfg!(shuttle) { 2 } else { 1024 };

/// A helper that has been at a job for so long is stuck, as far as others are concerned: most take microseconds. Those of the
/// background merge tables for seconds.
const STUCK_AFTER: Duration = Duration::from_millis(500);
const STUCK_BEHIND_AFTER: Duration = Duration::from_secs(5);
/// Helpers that are made instead of stuck ones, at most.
const EXTRA_MAX: usize = 256;
/// How often it is looked whether helpers are stuck, while all are busy.
const LOOK_EVERY: Duration = Duration::from_millis(100);

static EXTRA: telemetry::Counter =
    telemetry::Counter::new("hafiz_offload_extra_total", "Helper threads made because others were at a job for long.");
static FULL: telemetry::Counter =
    telemetry::Counter::new("hafiz_offload_full_total", "Jobs for helper threads that had to wait for room.");
static JOBS: telemetry::Counter = telemetry::Counter::new("hafiz_offload_jobs_total", "Jobs run by helper threads.");

pub(crate) type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    waiting: VecDeque<Waker>,
    /// When each job that is run was begun.
    begun: BTreeMap<u64, Instant>,
    next: u64,
    /// Helpers that were made because others are stuck.
    extra: usize,
    closed: bool,
}

/// The helper threads: those of each priority have a queue of their own.
#[derive(Clone)]
pub(crate) struct Helpers {
    foreground: Arc<Offload>,
    background: Arc<Offload>,
}

impl Helpers {
    /// `threads`: of each priority, for `work`.
    pub(crate) fn new(threads: usize) -> Helpers {
        let foreground = Offload::new(threads, STUCK_AFTER);
        Helpers { foreground, background: Offload::new(threads, STUCK_BEHIND_AFTER) }
    }

    pub(crate) fn of(&self, priority: Priority) -> &Arc<Offload> {
        match priority {
            Priority::Foreground => &self.foreground,
            Priority::Background => &self.background,
        }
    }

    /// No more jobs: whether all have ended within this time.
    pub(crate) fn end(&self, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        let both = [&self.foreground, &self.background];
        both.iter().for_each(|offload| offload.close());
        both.iter().all(|offload| offload.wait_until_idle(deadline.saturating_duration_since(Instant::now())))
    }
}

pub(crate) struct Offload {
    queue: Mutex<Queue>,
    work: Condvar,
    /// For whoever looks after the helpers.
    watched: Condvar,
    /// Helpers that are there from the start.
    pub(crate) threads: usize,
    stuck_after: Duration,
}

impl Offload {
    pub(crate) fn new(threads: usize, stuck_after: Duration) -> Arc<Offload> {
        let (queue, work, watched) = (Mutex::default(), Condvar::new(), Condvar::new());
        Arc::new(Offload { queue, work, watched, threads, stuck_after })
    }

    /// Whether some job waits for another one to end.
    fn is_short(&self, queue: &Queue) -> bool {
        queue.begun.len() + queue.jobs.len() > self.threads
    }

    fn stuck(&self, queue: &Queue) -> usize {
        queue.begun.values().filter(|begun| begun.elapsed() >= self.stuck_after).count()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No user code runs under this lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One helper thread's life: runs jobs until the queue is closed and empty, or, if it was made for one that is stuck no
    /// more, until it is not needed.
    pub(crate) fn work(&self) {
        loop {
            let (job, waiting, number) = {
                let mut queue = self.lock();
                loop {
                    if let Some(job) = queue.jobs.pop_front() {
                        // Some of those who waited may be gone, and would not pass it on: nobody waits for an empty queue.
                        let is_last = queue.jobs.is_empty() && !is_planted(Bug::GoneJobsCount);
                        let count = if is_last { queue.waiting.len() } else { queue.waiting.len().min(1) };
                        let number = queue.next;
                        queue.next += 1;
                        queue.begun.insert(number, Instant::now());
                        break (job, queue.waiting.drain(..count).collect::<Vec<Waker>>(), number);
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
            let mut queue = self.lock();
            queue.begun.remove(&number);
            let is_over = queue.closed && queue.begun.is_empty();
            if queue.extra > self.stuck(&queue) {
                // Whichever of them this is: there is one more than there need be.
                queue.extra -= 1;
                return;
            }
            drop(queue);
            if is_over {
                self.watched.notify_all();
            }
        }
    }

    /// Makes a helper for each one that has been at its job for long, so that a drive that hangs does not take all of them,
    /// until the queue is closed. `spawn` makes a thread that does `work`.
    pub(crate) fn watch(self: &Arc<Self>, spawn: impl Fn(Arc<Offload>, usize) -> bool) {
        let mut queue = self.lock();
        while !queue.closed {
            let wanted = self.stuck(&queue).min(EXTRA_MAX);
            if !queue.jobs.is_empty() && queue.extra < wanted {
                queue.extra += 1;
                let number = queue.extra;
                drop(queue);
                let made = spawn(self.clone(), number);
                queue = self.lock();
                if made {
                    EXTRA.add(1);
                    continue;
                }
                queue.extra -= 1;
            }
            queue = if self.is_short(&queue) {
                let wait = self.watched.wait_timeout(queue, LOOK_EVERY);
                wait.unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.watched.wait(queue).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        if !is_planted(Bug::HelpersNotToldOfTheEnd) {
            self.work.notify_all();
        }
        self.watched.notify_all();
    }

    /// After `close`: whether all jobs have ended within this time.
    pub(crate) fn wait_until_idle(&self, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        let mut queue = self.lock();
        while !(queue.jobs.is_empty() && queue.begun.is_empty()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let wait = self.watched.wait_timeout(queue, left.min(LOOK_EVERY));
            queue = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
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
            let is_short = self.is_short(&queue);
            drop(queue);
            self.work.notify_one();
            if is_short {
                self.watched.notify_one();
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// Runs `f` on a helper thread of the caller's priority. In simulation it runs in place, at a random moment of virtual time.
///
/// Waits while the queue is full. Dropping the caller does not stop `f` once it is queued. A panic in `f` aborts the
/// process, like one on a shard.
pub async fn offload<F, R>(f: F) -> R
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    let offload = shard::with(|shard| match &shard.backend {
        Backend::Ring { helpers, .. } => Some(helpers.of(shard.executor.priority()).clone()),
        #[cfg(feature = "sim")]
        Backend::Sim(_) => None,
    });
    let Some(offload) = offload else {
        #[cfg(feature = "sim")]
        crate::sim::pause().await;
        return f();
    };
    let reply = Reply::new();
    let answer = reply.clone();
    offload.push(Box::new(move || answer.put(f()))).await;
    reply.get().await
}

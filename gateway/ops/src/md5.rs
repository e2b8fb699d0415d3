//! The MD5s of all bodies of a shard, hashed side by side.
//!
//! One stream of MD5 is bound by its own chain of additions; a vector register holds many. Uploads hand in their next
//! bytes with the buffer they lie in; a task gathers what other tasks hand in while they are ready, then hashes all at
//! once. An upload that is alone on its shard is hashed on the spot: it would wait for company in vain.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use codec::md5::{State, update_many};
use rt::buf::Window;
use rt::sync::{Sender, oneshot};

/// Streams hashed in one pass: what the widest kernel takes. With 256 KiB each it holds the shard for under a
/// millisecond.
const BATCH_MAX: usize = 32;
/// Fewer bytes are hashed on the spot: the detour through another task would cost more.
const GATHERED_BYTES_MIN: usize = 2 * 1024;

static BATCHES: telemetry::Histogram =
    telemetry::Histogram::plain("hafiz_md5_batch_streams", "Streams hashed side by side in one pass.");

/// The streams of one shard. At most one job per upload waits here, and uploads are bounded by admission.
#[derive(Default)]
pub(crate) struct Lanes {
    waiting: RefCell<VecDeque<Job>>,
    is_gathering: Cell<bool>,
    streams: Cell<usize>,
}

struct Job {
    state: State,
    window: Window,
    len: usize,
    done: Sender<(State, Window)>,
}

/// One body's MD5.
pub(crate) struct Md5 {
    lanes: Rc<Lanes>,
    state: State,
}

impl Md5 {
    pub(crate) fn new(lanes: &Rc<Lanes>) -> Md5 {
        lanes.streams.set(lanes.streams.get() + 1);
        Md5 { lanes: lanes.clone(), state: State::new() }
    }

    /// Hashes the first `len` bytes of `window` and gives it back. The larger the window, the fuller the lanes.
    pub(crate) async fn update(&mut self, window: Window, len: usize) -> Window {
        if len < GATHERED_BYTES_MIN || self.lanes.streams.get() == 1 {
            self.state.update(&window[..len]);
            return window;
        }
        let (done, hashed) = oneshot();
        self.lanes.waiting.borrow_mut().push_back(Job { state: self.state, window, len, done });
        if !self.lanes.is_gathering.replace(true) {
            // A new task stands behind all that are ready now: those are the ones to gather.
            drop(rt::spawn(gather(self.lanes.clone())));
        }
        let (state, window) = hashed.await.expect("every job that waits is hashed");
        self.state = state;
        window
    }

    pub(crate) fn finish(&self) -> [u8; 16] {
        self.state.finish()
    }
}

impl Drop for Md5 {
    fn drop(&mut self) {
        self.lanes.streams.set(self.lanes.streams.get() - 1);
    }
}

async fn gather(lanes: Rc<Lanes>) {
    loop {
        let mut batch: Vec<Job> = {
            let mut waiting = lanes.waiting.borrow_mut();
            let count = waiting.len().min(BATCH_MAX);
            waiting.drain(..count).collect()
        };
        if batch.is_empty() {
            lanes.is_gathering.set(false);
            return;
        }
        BATCHES.observe(batch.len() as u64);
        let mut jobs: Vec<(&mut State, &[u8])> =
            batch.iter_mut().map(|job| (&mut job.state, &job.window[..job.len])).collect();
        update_many(&mut jobs);
        for job in batch {
            // An upload that was given up meanwhile has no use for its digest.
            drop(job.done.send((job.state, job.window)));
        }
        rt::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_hashed_side_by_side_have_the_digests_they_have_alone() {
        let main = |_| -> rt::LocalFuture {
            Box::pin(async {
                let lanes = Rc::new(Lanes::default());
                let streams = (0..40u8).map(|i| {
                    let lanes = lanes.clone();
                    rt::spawn(async move {
                        let mut md5 = Md5::new(&lanes);
                        let mut alone = State::new();
                        for round in 0..3 {
                            let len = 1_000 + 700 * usize::from(i) + round;
                            let mut window = Window::from(rt::buf::alloc(64 << 10).await);
                            window[..len].fill(i ^ round as u8);
                            alone.update(&window[..len]);
                            drop(md5.update(window, len).await);
                        }
                        (md5.finish(), alone.finish())
                    })
                });
                for stream in streams.collect::<Vec<_>>() {
                    let (together, alone) = stream.await;
                    assert_eq!(together, alone);
                }
                assert_eq!(lanes.streams.get(), 0);
            })
        };
        rt::run(rt::Config::new(1), main).expect("a shard starts");
    }
}

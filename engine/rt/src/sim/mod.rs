//! The simulated world: whole processes on one thread, with seeded scheduling, virtual time, drives and a network that
//! fail on purpose.
//!
//! The code under test is the production code: handles have a second variant, nothing else differs. Everything random
//! comes from the world's seed, so a run replays bit for bit; `World::trace_hash` proves it.
//!
//! ```text
//! let mut world = World::new(seed, SimConfig::default());
//! world.add_drive("/d0", DriveConfig::default());
//! world.start(2, |shard| Box::pin(async move { serve(shard).await }));
//! world.crash_at_io(100);
//! assert_eq!(world.run_until(|| false, Duration::from_secs(60)), Stop::Crashed);
//! world.start(2, |shard| Box::pin(async move { serve(shard).await }));
//! ```

mod core;
mod drive;
mod faults;
pub(crate) mod files;
mod image;
mod net;
mod tree;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::core::{Core, core, pause};
use crate::buf::Pool;
use crate::executor::{Executor, Priority};
use crate::mailbox::Inbox;
use crate::shard::{self, Backend, Shard, ShardId};
use crate::time::{Instant, Timers};
use crate::{JoinHandle, LocalFuture};
use drive::Drive;
pub use faults::{Fault, Faults};
pub(crate) use files::{Handle, HeldLock};
pub(crate) use net::{Listener, Stream};

#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Each operation on a drive takes a random time within these bounds, times the drive's `slow_factor`.
    pub io_latency: std::ops::Range<Duration>,
    /// Each segment on the network takes a random time within these bounds.
    pub net_latency: std::ops::Range<Duration>,
    /// The largest piece of a stream that arrives at once; `usize::MAX`: what is sent at once arrives at once.
    pub net_segment_bytes_max: usize,
    /// Chance that a send breaks its connection.
    pub net_reset: f64,
    pub buffers_bytes_per_shard: usize,
    /// The wall clock at the start of the world, in nanoseconds since 1970.
    pub wall_clock: u64,
}

impl Default for SimConfig {
    fn default() -> SimConfig {
        SimConfig {
            io_latency: Duration::from_micros(20)..Duration::from_micros(400),
            net_latency: Duration::from_micros(10)..Duration::from_micros(300),
            net_segment_bytes_max: 16 << 10,
            net_reset: 0.0,
            buffers_bytes_per_shard: crate::buf::ARENA_BYTES_MIN,
            wall_clock: 1_800_000_000_000_000_000,
        }
    }
}

#[derive(Clone, Debug)]
pub struct DriveConfig {
    pub capacity_bytes: u64,
    /// What the drive writes whole or not at all: 512 or 4096. A crash tears writes at these boundaries.
    pub atomic_write_bytes: usize,
    /// Whether files can be opened for direct I/O.
    pub direct: bool,
    /// How fast bytes are read and written, one operation behind the other; 0 = only latency counts.
    pub bytes_per_second: u64,
}

impl Default for DriveConfig {
    fn default() -> DriveConfig {
        DriveConfig { capacity_bytes: 1 << 30, atomic_write_bytes: 512, direct: true, bytes_per_second: 0 }
    }
}

/// Why the world stopped running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The condition holds.
    Condition,
    /// Nothing is ready and nothing will be: no timer, no operation in flight.
    Idle,
    /// `crash_at_io` has struck; the drives are as the crash left them and no process runs.
    Crashed,
    /// The virtual time is over.
    TimeLimit,
}

/// Drives, network, clock, and at most one running process plus the clients outside it.
pub struct World {
    core: Rc<Core>,
    process: Vec<Rc<Shard>>,
    outside: Rc<Shard>,
}

impl World {
    pub fn new(seed: u64, config: SimConfig) -> World {
        let core = Core::new(seed, config);
        let outside = shards(&core, 1).remove(0);
        World { core, process: Vec::new(), outside }
    }

    /// Makes all paths under `prefix` a drive of its own. They keep their contents over crashes.
    /// Paths outside all drives go to the real file system, at once and in place.
    pub fn add_drive(&mut self, prefix: impl Into<PathBuf>, config: DriveConfig) {
        self.core.add_drive(prefix.into(), config);
    }

    /// Puts an empty drive where one was.
    pub fn replace_drive(&mut self, prefix: impl AsRef<Path>, config: DriveConfig) {
        self.core.replace_drive(prefix.as_ref(), config);
    }

    /// Boots a process of `shards` shards. Panics when one is running: `crash` or `kill` it first.
    pub fn start(&mut self, shards: u16, main: impl Fn(ShardId) -> LocalFuture) {
        assert!(self.process.is_empty(), "one process runs at a time");
        self.core.begin_process();
        self.process = self::shards(&self.core, shards);
        for shard in &self.process {
            inside(shard, || drop(crate::spawn(main(shard.id))));
        }
    }

    /// Boots a process of one shard, runs `main` to its end and stops the process. `Err` says what came first; after
    /// `Idle` and `TimeLimit` the process is stopped as well.
    pub fn run_alone<T: 'static>(
        &mut self,
        main: impl Future<Output = T> + 'static,
        limit: Duration,
    ) -> Result<T, Stop> {
        let result = Rc::new(std::cell::Cell::new(None));
        let output = result.clone();
        let main = std::cell::Cell::new(Some(async move { output.set(Some(main.await)) }));
        self.start(1, |_| Box::pin(main.take().expect("one shard starts once")));
        let finished = result.clone();
        let stop = self.run_until(
            || {
                let value = finished.take();
                let done = value.is_some();
                finished.set(value);
                done
            },
            limit,
        );
        if stop != Stop::Crashed {
            self.kill();
        }
        result.take().ok_or(stop)
    }

    /// Starts a task outside the process: a client. It survives crashes of the process; its connections do not.
    pub fn client<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        inside(&self.outside, || crate::spawn(future))
    }

    /// Runs until `condition` holds, which is asked after every step, or for `limit` of virtual time.
    pub fn run_until(&mut self, mut condition: impl FnMut() -> bool, limit: Duration) -> Stop {
        let end = self.now() + limit;
        loop {
            if self.core.crash_is_due() {
                self.crash();
                return Stop::Crashed;
            }
            if condition() {
                return Stop::Condition;
            }
            if self.now() >= end {
                return Stop::TimeLimit;
            }
            if !self.step(end) {
                return Stop::Idle;
            }
        }
    }

    pub fn run_for(&mut self, limit: Duration) -> Stop {
        self.run_until(|| false, limit)
    }

    /// Does one thing: runs one ready task, chosen at random, or lets time pass until something happens.
    fn step(&mut self, end: Instant) -> bool {
        self.core.run_due_events();
        let now = Instant::from_nanos(self.core.now());
        let mut ready = Vec::new();
        for (number, shard) in self.process.iter().chain([&self.outside]).enumerate() {
            inside(shard, || {
                shard.inbox().drain(&shard.executor);
                shard.pool.take_returned();
                shard.timers.borrow_mut().fire(now);
            });
            let [foreground, background] =
                [Priority::Foreground, Priority::Background].map(|priority| shard.executor.ready_len(priority));
            if foreground + background > 0 {
                ready.push((number, shard, foreground, background));
            }
        }
        if ready.is_empty() {
            let timers = self.process.iter().chain([&self.outside]).filter_map(|shard| shard.timers.borrow().next());
            let next = timers.map(Instant::as_nanos).chain(self.core.next_event()).min();
            let Some(next) = next else { return false };
            self.core.set_now(next.min(end.as_nanos()));
            return true;
        }
        let (number, shard, foreground, background) = ready[self.core.below(ready.len() as u64) as usize];
        let index = self.core.below((foreground + background) as u64) as usize;
        self.core.note(&[number as u64, index as u64]);
        // Any order may be met: what waits behind may be first, or wait for long.
        inside(shard, || match index.checked_sub(foreground) {
            None => shard.executor.run_one(Priority::Foreground, index),
            Some(index) => shard.executor.run_one(Priority::Background, index),
        });
        // Work takes time, so that a loop of yields cannot hold the world still.
        self.core.set_now(self.core.now() + 1 + self.core.below(1000));
        true
    }

    /// Cuts the power: the process is gone, and each drive keeps of its unsynced writes and names what the seed says.
    pub fn crash(&mut self) {
        self.core.freeze();
        self.core.reset_connections();
        self.drop_process();
        self.core.crash_drives();
    }

    /// Ends the process as SIGKILL does: the drives finish what they were given and lose nothing.
    pub fn kill(&mut self) {
        self.core.reset_connections();
        self.drop_process();
    }

    fn drop_process(&mut self) {
        for shard in self.process.drain(..) {
            inside(&shard, || {
                shard.executor.close();
                shard.inbox().close();
            });
        }
        self.core.end_process();
    }

    /// The `count`-th operation on any drive from now on fails with `errno`, and only that one.
    pub fn fail_at_io(&mut self, count: u64, errno: i32) {
        self.core.fail_at_io(count, errno);
    }

    /// Crashes when the `count`th operation on any drive from now on is submitted: it may or may not take effect.
    pub fn crash_at_io(&mut self, count: u64) {
        self.core.crash_at_io(count);
    }

    /// Operations submitted to drives since the world began.
    pub fn io_count(&self) -> u64 {
        self.core.io_count()
    }

    /// Changes what goes wrong on the drive that holds `path`. Panics when there is none.
    pub fn faults(&mut self, path: impl AsRef<Path>, change: impl FnOnce(&mut Faults)) {
        let drive = self.core.drive(path.as_ref()).expect("the path lies on a drive");
        drive.change_faults(&self.core, change);
    }

    /// Flips `count` random bits of the contents of a file, or of all files under a directory, at rest.
    /// Returns how many were flipped: fewer only if there is no data.
    pub fn flip_bits(&mut self, path: impl AsRef<Path>, count: usize) -> usize {
        let drive = self.core.drive(path.as_ref()).expect("the path lies on a drive");
        drive.flip_bits(&self.core, path.as_ref(), count)
    }

    /// How often a fault has struck since the world began.
    pub fn fault_count(&self, fault: Fault) -> u64 {
        self.core.fault_count(fault)
    }

    /// Sets the wall clock forward, or back. Time itself, and with it every timer, goes on as before.
    pub fn jump_wall_clock(&mut self, nanos: i64) {
        self.core.jump_wall_clock(nanos);
    }

    /// Breaks all connections.
    pub fn reset_connections(&mut self) {
        self.core.reset_connections();
    }

    pub fn now(&self) -> Instant {
        Instant::from_nanos(self.core.now())
    }

    /// A random number from the world's seed, for choices of the test that are to replay with it.
    pub fn random(&mut self) -> u64 {
        self.core.random()
    }

    /// Sums up every choice, operation and byte written so far: equal for two runs exactly when they were the same.
    pub fn trace_hash(&self) -> u64 {
        self.core.trace_hash()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.core.freeze();
        self.drop_process();
        let outside = self.outside.clone();
        inside(&outside, || outside.executor.close());
        self.core.drop_hung();
    }
}

/// Runs `f` with `shard` as the current one, and puts back what was current also when `f` panics.
fn inside<R>(shard: &Rc<Shard>, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Rc<Shard>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            shard::enter(self.0.take());
        }
    }
    let _restore = Restore(shard::enter(Some(shard.clone())));
    f()
}

fn shards(core: &Rc<Core>, count: u16) -> Vec<Rc<Shard>> {
    let inboxes: Arc<[Arc<Inbox>]> = (0..count).map(|i| Arc::new(Inbox::new(ShardId(i), None))).collect();
    let shard = |i: u16| {
        let inbox = inboxes[i as usize].clone();
        Rc::new(Shard {
            id: ShardId(i),
            inboxes: inboxes.clone(),
            executor: Executor::new(),
            timers: Timers::default().into(),
            pool: Pool::new(core.config().buffers_bytes_per_shard, inbox)
                .expect("the machine has room for the buffers"),
            backend: Backend::Sim(core.clone()),
            to_wake: Vec::new().into(),
        })
    };
    (0..count).map(shard).collect()
}

#[cfg(test)]
mod tests;

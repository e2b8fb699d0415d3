//! Starting and ending the shards of a process.

use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use crate::buf::Pool;
use crate::executor::{Executor, Priority};
use crate::mailbox::Inbox;
use crate::offload::{Helpers, Offload};
use crate::shard::{self, Backend, Shard, ShardId};
use crate::sys;
use crate::threads::Event;
use crate::time::{self, Timers};
use crate::uring::Driver;

/// Tasks polled before the ring is looked at again.
const TASKS_PER_TURN: usize = 256;
/// How long the end waits for what drives have not answered.
const END_WAIT_MAX: Duration = Duration::from_secs(5);
/// Of a shard's time while others are ready background tasks may have a part in so many.
const BACKGROUND_PART: u64 = 10;
/// How much of that they may save up, and how much more than they may have they are held to: one that keeps the shard for long
/// must not keep all others from it for ten times as long.
const CREDIT_MAX: Duration = Duration::from_millis(1);
const DEBT_MAX: Duration = Duration::from_millis(5);
/// Of a shard with nothing else to do they have so much at a time: then it looks whether there is something.
const BACKGROUND_SLICE: Duration = Duration::from_micros(100);
/// How much nicer than a shard a helper of the background is: 110 against 1,024 of a core that both want (sched(7)). With 5, 335,
/// two of them take more than half load leaves.
const BACKGROUND_NICER: i32 = 10;
/// More shards than any machine has cores; keeps typing errors from starting a million threads.
const SHARDS_MAX: u16 = 1024;

static BACKGROUND: telemetry::Counter = telemetry::Counter::new(
    "hafiz_shard_background_microseconds_total",
    "Time the shards spent on what nobody waits for.",
);

pub type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Clone, Debug)]
pub struct Config {
    pub shards: u16,
    /// The core of each shard; `None` pins shard i to the i-th core this process may use, when there are enough.
    pub pin: Option<Vec<usize>>,
    /// Rounded up to `buf::ARENA_BYTES_MIN`.
    pub buffers_bytes_per_shard: usize,
    /// Helper threads of each priority for `offload`, shared by all shards; at least 1.
    pub offload_threads: usize,
}

impl Config {
    /// Small buffers and two helper threads; what tests and tools want.
    pub fn new(shards: u16) -> Config {
        Config { shards, pin: None, buffers_bytes_per_shard: crate::buf::ARENA_BYTES_MIN, offload_threads: 2 }
    }
}

/// Why the shards could not start. `check::check` says what to do about it.
#[derive(Debug)]
pub enum StartError {
    Config(&'static str),
    /// The step that failed ("create the ring of shard 0") and the system's reason.
    System(String, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config(what) => f.write_str(what),
            StartError::System(step, error) => write!(f, "{step}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// What the threads of one run share.
struct Run {
    inboxes: Arc<[Arc<Inbox>]>,
    helpers: Helpers,
    config: Config,
    cores: Vec<usize>,
    mains_left: AtomicUsize,
    stop: AtomicBool,
}

/// Starts one thread per shard and runs `main(shard)` on each; returns when all of them have finished.
///
/// Tasks that are left then are dropped. A shard whose main has finished goes on serving calls until the last one has.
/// A panic on a shard or a helper thread aborts the process.
pub fn run(
    config: Config,
    main: impl Fn(ShardId) -> LocalFuture + Send + Sync + Clone + 'static,
) -> Result<(), StartError> {
    if config.shards == 0 || config.shards > SHARDS_MAX {
        return Err(StartError::Config("the number of shards must be between 1 and 1024"));
    }
    let allowed = sys::allowed_cores();
    let cores = match &config.pin {
        Some(pin) if pin.len() != config.shards as usize => {
            return Err(StartError::Config("as many cores as shards must be named"));
        }
        Some(pin) => pin.clone(),
        None if allowed.len() >= config.shards as usize => allowed[..config.shards as usize].to_vec(),
        None => Vec::new(),
    };
    abort_on_panic();
    let inboxes: Result<Arc<[Arc<Inbox>]>, io::Error> =
        (0..config.shards).map(|i| Ok(Arc::new(Inbox::new(ShardId(i), Some(Event::new()?))))).collect();
    let inboxes = inboxes.map_err(|error| StartError::System("create an eventfd".to_owned(), error))?;
    let run = Arc::new(Run {
        inboxes,
        helpers: Helpers::new(config.offload_threads.max(1)),
        mains_left: AtomicUsize::new(config.shards as usize),
        config,
        cores,
        stop: AtomicBool::new(false),
    });
    // Helpers stay off the shards' cores when there are others.
    let others: Vec<usize> = allowed.into_iter().filter(|core| !run.cores.contains(core)).collect();
    let mut threads = Vec::new();
    let started = [Priority::Foreground, Priority::Background]
        .into_iter()
        .try_for_each(|priority| start_helpers(&run, priority, &others, &mut threads));
    let started = started.and_then(|()| start_shards(&run, main));
    if !run.helpers.end(END_WAIT_MAX) {
        // They end with the process.
        telemetry::warn!("helpers have not ended: some drive does not answer");
        return started;
    }
    for helper in threads {
        helper.join().expect("a panic on a helper has aborted the process");
    }
    started
}

/// Starts the helpers of one priority, and who looks after them.
fn start_helpers(
    run: &Run,
    priority: Priority,
    cores: &[usize],
    started: &mut Vec<thread::JoinHandle<()>>,
) -> Result<(), StartError> {
    let name = match priority {
        Priority::Foreground => "helper",
        Priority::Background => "background",
    };
    let (offload, cores) = (run.helpers.of(priority), cores.to_vec());
    let count = offload.threads;
    let spawn_helper = move |offload: Arc<Offload>, number: usize| {
        let cores = cores.clone();
        spawn_thread(format!("{name}-{number}"), move || {
            if !cores.is_empty() {
                pin(&cores);
            }
            if priority == Priority::Background
                && let Err(error) = sys::be_nicer(BACKGROUND_NICER)
            {
                telemetry::warn!("a helper thread does not give way"; error = error);
            }
            offload.work();
        })
    };
    for number in 0..count {
        started.push(spawn_helper(offload.clone(), number)?);
    }
    let watched = offload.clone();
    started.push(spawn_thread(format!("{name}-watch"), move || {
        watched.watch(|offload, number| spawn_helper(offload, count + number).is_ok());
    })?);
    Ok(())
}

fn start_shards(
    run: &Arc<Run>,
    main: impl Fn(ShardId) -> LocalFuture + Send + Sync + Clone + 'static,
) -> Result<(), StartError> {
    let (ready, readiness) = mpsc::channel::<Result<(), StartError>>();
    let mut threads = Vec::new();
    let mut gates = Vec::new();
    let mut failure = None;
    for i in 0..run.config.shards {
        let (gate, go) = mpsc::channel::<()>();
        let (shared, main, ready) = (run.clone(), main.clone(), ready.clone());
        let thread = spawn_thread(format!("shard-{i}"), move || {
            if let Some(core) = shared.cores.get(i as usize) {
                pin(&[*core]);
            }
            match build(&shared, ShardId(i)) {
                Ok(shard) => {
                    ready.send(Ok(())).expect("run waits for every shard");
                    // A closed gate means that another shard failed.
                    if go.recv().is_ok() {
                        live(&shared, &shard, main(ShardId(i)));
                    }
                    end(&shard);
                }
                Err(error) => ready.send(Err(error)).expect("run waits for every shard"),
            }
        });
        match thread {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
        gates.push(gate);
    }
    for _ in 0..threads.len() {
        if let Err(error) = readiness.recv().expect("each shard reports once") {
            failure.get_or_insert(error);
        }
    }
    for gate in gates {
        if failure.is_none() {
            gate.send(()).expect("a shard that started waits at its gate");
        }
    }
    for thread in threads {
        thread.join().expect("a panic on a shard has aborted the process");
    }
    failure.map_or(Ok(()), Err)
}

fn pin(cores: &[usize]) {
    if let Err(error) = sys::pin_to(cores) {
        telemetry::warn!("a thread could not be pinned"; core = cores[0], error = error);
    }
}

fn build(run: &Arc<Run>, id: ShardId) -> Result<Rc<Shard>, StartError> {
    let system = |step: &str| {
        let step = format!("{step} of shard {}", id.0);
        move |error| StartError::System(step, error)
    };
    let inbox = &run.inboxes[id.0 as usize];
    let pool = Pool::new(run.config.buffers_bytes_per_shard, inbox.clone()).map_err(system("map the buffers"))?;
    let driver = Driver::new(inbox, &pool).map_err(system("create the ring"))?;
    Ok(Rc::new(Shard {
        id,
        inboxes: run.inboxes.clone(),
        executor: Executor::new(),
        timers: Timers::default().into(),
        pool,
        backend: Backend::Ring { driver, helpers: run.helpers.clone() },
        to_wake: Vec::new().into(),
    }))
}

/// The life of one shard: turns of inbox, timers, tasks and ring until all mains have finished.
fn live(run: &Arc<Run>, shard: &Rc<Shard>, main: LocalFuture) {
    shard::enter(Some(shard.clone()));
    let ending = run.clone();
    drop(crate::spawn(async move {
        main.await;
        if ending.mains_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            ending.stop.store(true, Ordering::SeqCst);
            for inbox in ending.inboxes.iter() {
                inbox.notify();
            }
        }
    }));
    let (driver, inbox, executor) = (shard.driver(), shard.inbox(), &shard.executor);
    let mut background = Background::default();
    loop {
        inbox.drain(executor);
        shard.pool.take_returned();
        let began = time::Instant::now();
        shard.timers.borrow_mut().fire(began);
        for _ in 0..executor.ready_len(Priority::Foreground).min(TASKS_PER_TURN) {
            executor.run_one(Priority::Foreground, 0);
        }
        wake_others(shard);
        if run.stop.load(Ordering::SeqCst) {
            break;
        }
        if executor.ready_len(Priority::Background) > 0 {
            let others = began.elapsed();
            driver.submit();
            // Whoever was answered just now comes first.
            let is_alone = executor.ready_len(Priority::Foreground) == 0;
            if let Some(slice) = background.slice(others, is_alone) {
                background.had(run_background(executor, slice), is_alone);
                wake_others(shard);
            }
        } else if executor.ready_len(Priority::Foreground) > 0 {
            driver.submit();
        } else if inbox.prepare_sleep() {
            let deadline = shard.timers.borrow().next();
            driver.wait(deadline);
            inbox.woke();
        } else {
            driver.submit();
        }
    }
}

/// Wakes the shards that sleep and were sent something.
fn wake_others(shard: &Shard) {
    for to in shard.to_wake.take() {
        let inbox = &shard.inboxes[to as usize];
        if inbox.take_sleeping() {
            shard.driver().wake_ring(inbox.ring_fd(), to);
        }
    }
}

/// Polls background tasks for so long, one at least. How long that took.
fn run_background(executor: &Executor, slice: Duration) -> Duration {
    let began = time::Instant::now();
    loop {
        executor.run_one(Priority::Background, 0);
        let took = began.elapsed();
        if took >= slice || executor.ready_len(Priority::Background) == 0 {
            return took;
        }
    }
}

/// How much of a shard's time background tasks may have.
#[derive(Default)]
struct Background {
    /// What they may have although others are ready, in nanoseconds. Below zero after one that took long.
    credit: i64,
    /// Nanoseconds that are not in the counter yet.
    uncounted: u64,
}

impl Background {
    /// For how long background tasks may be polled after a turn in which they waited and `others` had so much; `None`: not now.
    fn slice(&mut self, others: Duration, is_alone: bool) -> Option<Duration> {
        if is_alone {
            self.credit = self.credit.max(0);
            return Some(BACKGROUND_SLICE);
        }
        let part = others.as_nanos() as i64 / (BACKGROUND_PART as i64 - 1);
        self.credit = (self.credit + part).min(CREDIT_MAX.as_nanos() as i64);
        (self.credit > 0).then_some(Duration::from_nanos(self.credit as u64))
    }

    /// They have had so much.
    fn had(&mut self, time: Duration, is_alone: bool) {
        if !is_alone {
            self.credit = (self.credit - time.as_nanos() as i64).max(-(DEBT_MAX.as_nanos() as i64));
        }
        self.uncounted += time.as_nanos() as u64;
        BACKGROUND.add(self.uncounted / 1000);
        self.uncounted %= 1000;
    }
}

/// Drops the tasks, then waits until the kernel has given everything back. What a drive that hangs keeps is left to it, with
/// the ring and the buffers, until the process ends.
fn end(shard: &Rc<Shard>) {
    shard::enter(Some(shard.clone()));
    shard.executor.close();
    shard.inbox().close();
    let left = shard.driver().drain(time::Instant::now() + END_WAIT_MAX);
    shard::enter(None);
    if left > 0 {
        telemetry::warn!("operations have not ended: some drive does not answer"; shard = shard.id.0, operations = left);
        std::mem::forget(shard.clone());
    }
}

/// Runs one future on one shard of its own and returns its result. For tests and tools.
pub fn run_alone<F, Fut, R>(config: Config, main: F) -> Result<R, StartError>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = R> + 'static,
    R: Send + 'static,
{
    let main = Arc::new(Mutex::new(Some(main)));
    let result = Arc::new(Mutex::new(None));
    let output = result.clone();
    run(Config { shards: 1, ..config }, move |_| {
        let main = main.lock().unwrap_or_else(PoisonError::into_inner).take().expect("one shard starts once");
        let output = output.clone();
        Box::pin(async move {
            let value = main().await;
            *output.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        })
    })?;
    let value = result.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok(value.expect("main has finished"))
}

thread_local! {
    static ABORTS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

fn spawn_thread(name: String, body: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, StartError> {
    let start = move || {
        ABORTS.set(true);
        body();
    };
    thread::Builder::new()
        .name(name)
        .spawn(start)
        .map_err(|error| StartError::System("start a thread".to_owned(), error))
}

/// Makes a panic on a shard or helper thread end the process, after the usual report.
fn abort_on_panic() {
    static INSTALLED: std::sync::Once = std::sync::Once::new();
    INSTALLED.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let aborts = ABORTS.try_with(std::cell::Cell::get).unwrap_or(false);
            if aborts {
                // Straight to stderr: a test harness would swallow what goes through the usual hook.
                let backtrace = std::backtrace::Backtrace::capture();
                let name = thread::current().name().unwrap_or("unnamed").to_owned();
                // The process ends whether or not anybody can read why.
                let _lost = writeln!(io::stderr(), "thread '{name}': {info}\n{backtrace}");
                std::process::abort();
            }
            usual(info);
        }));
    });
}

#[cfg(test)]
mod tests;

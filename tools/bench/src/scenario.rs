//! A whole run: what is there first, what is measured, what is cleared away.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::content::Content;
use crate::plan::{Plan, Scenario};
use crate::result::{Repeat, table};
use crate::tally::{Live, Tally};
use crate::task::Work;
use crate::usage::Usage;
use crate::worker::{Pace, Until, Worker};

const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How exactly the moments are met at which the server's counters are read.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Does as planned, and prints what each repeat measured. How it goes meanwhile is told on the standard error.
pub(crate) fn run(plan: &Arc<Plan>) -> Result<Vec<Repeat>, String> {
    let content = Arc::new(Content::new());
    let workers = (0..plan.threads).map(|number| Worker::new(number, plan, &content));
    let mut workers = workers.collect::<Result<Vec<_>, _>>()?;
    let outcome = prepare(plan, &mut workers).and_then(|()| measure_all(plan, &mut workers));
    // What was made is cleared away also when something failed; what failed first is what is told.
    let cleared = clear(plan, &mut workers);
    let repeats = outcome?;
    cleared?;
    Ok(repeats)
}

fn prepare(plan: &Plan, workers: &mut [Worker]) -> Result<(), String> {
    if plan.prepared {
        workers.iter_mut().for_each(Worker::believe);
        return Ok(());
    }
    phase(plan, &mut workers[..1], Work::MakeBucket, |_| Until::Count(1), None)?;
    if plan.scenario == Scenario::Versioned {
        phase(plan, &mut workers[..1], Work::EnableVersions, |_| Until::Count(1), None)?;
    }
    Ok(())
}

/// Makes the objects that are to be there, when there are none.
fn fill(plan: &Plan, workers: &mut [Worker]) -> Result<Option<Measured>, String> {
    let needs_none = matches!(plan.scenario, Scenario::Put | Scenario::Multipart);
    let has_some = workers.iter().any(|worker| !worker.objects.is_empty());
    if plan.prepared || needs_none || has_some {
        return Ok(None);
    }
    for worker in workers.iter_mut() {
        worker.next_object = 0;
    }
    let filled = phase(plan, workers, Work::Prepare, |_| Until::Done, None)?;
    workers.iter_mut().for_each(|worker| worker.objects.sort());
    Ok(Some(filled))
}

fn measure_all(plan: &Plan, workers: &mut [Worker]) -> Result<Vec<Repeat>, String> {
    let mut repeats = Vec::new();
    for number in 1..=plan.repeats {
        let filled = fill(plan, workers)?;
        let repeat = match (plan.scenario, filled) {
            (Scenario::Fill, Some(filled)) => Repeat::new(plan, &filled.tally, filled.time, filled.usage),
            _ => measure(plan, workers)?,
        };
        if plan.repeats > 1 {
            println!("repeat {number} of {}", plan.repeats);
        }
        print!("{}", table(&repeat));
        repeats.push(repeat);
        if plan.scenario == Scenario::Fill {
            break;
        }
    }
    Ok(repeats)
}

fn measure(plan: &Plan, workers: &mut [Worker]) -> Result<Repeat, String> {
    let began = Instant::now();
    // Deletes end when nothing is left, which may be soon.
    let consumes = matches!(plan.scenario, Scenario::Delete | Scenario::MultiDelete);
    let from = if consumes { began } else { began + plan.warmup };
    let to = from + plan.measured;
    let threads = plan.threads as u64;
    let until = |number: u64| match plan.count {
        None => Until::Time(from, to),
        Some(count) => Until::Count(count / threads + u64::from(number < count % threads)),
    };
    let measured = phase(plan, workers, Work::Measure, until, plan.rate.map(|rate| (began, rate)))?;
    phase(plan, workers, Work::Abort, |_| Until::Done, None)?;
    if measured.tally.done() == 0 {
        return Err(match (measured.tally.first_failure(), measured.tally.unsent) {
            (Some(failure), _) => format!("no request succeeded: {failure}"),
            (None, 0) => "no request was answered in the measured time".to_owned(),
            (None, unsent) => {
                format!(
                    "{unsent} requests that were due in the measured time could not be begun: the rate is out of reach"
                )
            }
        });
    }
    Ok(Repeat::new(plan, &measured.tally, measured.time, measured.usage))
}

fn clear(plan: &Plan, workers: &mut [Worker]) -> Result<(), String> {
    phase(plan, workers, Work::Abort, |_| Until::Done, None)?;
    if !plan.keep && !plan.prepared {
        phase(plan, workers, Work::Clean, |_| Until::Done, None)?;
    }
    Ok(())
}

struct Measured {
    tally: Tally,
    time: Duration,
    usage: Option<Usage>,
}

/// All workers do `work`, side by side. `pace`: from when on, and how many requests a second in all.
fn phase(
    plan: &Plan,
    workers: &mut [Worker],
    work: Work,
    until: impl Fn(u64) -> Until,
    pace: Option<(Instant, f64)>,
) -> Result<Measured, String> {
    let lives: Vec<Live> = workers.iter().map(|_| Live::default()).collect();
    let count = workers.len() as f64;
    let began = Instant::now();
    thread::scope(|scope| {
        let threads = workers.iter_mut().zip(&lives).map(|(worker, live)| {
            let until = until(worker.number);
            // One behind the other, so that not all begin at the same moment.
            let pace = pace.map(|(began, rate)| Pace {
                first: began + Duration::from_secs_f64(worker.number as f64 / rate),
                every: Duration::from_secs_f64(count / rate),
            });
            scope.spawn(move || worker.run(work, until, pace, live))
        });
        let threads: Vec<_> = threads.collect();
        let watched = watch(plan, work, until(0), began, &threads, &lives);
        let mut tally = Tally::default();
        for thread in threads {
            tally.add(&thread.join().map_err(|_| "a worker panicked".to_owned())??);
        }
        let (time, usage) = watched?;
        Ok(Measured { tally, time, usage })
    })
}

/// Until the workers have ended: says how it goes, and reads the server's counters when the measured time begins and ends.
fn watch(
    plan: &Plan,
    work: Work,
    until: Until,
    began: Instant,
    threads: &[ScopedJoinHandle<'_, Result<Tally, String>>],
    lives: &[Live],
) -> Result<(Duration, Option<Usage>), String> {
    let is_measured = work == Work::Measure || plan.scenario == Scenario::Fill && work == Work::Prepare;
    let reads = is_measured && Usage::is_asked_for(plan);
    let read = || if reads { Usage::read(plan).map(Some) } else { Ok(None) };
    let (from, to) = match until {
        Until::Time(from, to) => (from, Some(to)),
        Until::Count(_) | Until::Done => (began, None),
    };
    let mut progress = Progress { began, said: began, done: 0, bytes: 0, is_quiet: plan.quiet || !is_measured };
    let wait_until = |moment: Option<Instant>, progress: &mut Progress| {
        while moment.is_none_or(|moment| Instant::now() < moment) && !threads.iter().all(ScopedJoinHandle::is_finished)
        {
            thread::sleep(LOOK_EVERY);
            progress.say(lives);
        }
    };
    wait_until(Some(from), &mut progress);
    let before = read()?;
    wait_until(to, &mut progress);
    let ended = Instant::now();
    let after = read()?;
    wait_until(None, &mut progress);
    let usage = after.zip(before).map(|(after, before)| after.since(before));
    Ok((to.map_or(ended, |to| to.min(ended)).saturating_duration_since(from), usage))
}

struct Progress {
    began: Instant,
    said: Instant,
    done: u64,
    bytes: u64,
    is_quiet: bool,
}

impl Progress {
    fn say(&mut self, lives: &[Live]) {
        let now = Instant::now();
        let time = now - self.said;
        if self.is_quiet || time < PROGRESS_EVERY {
            return;
        }
        let sum = |of: fn(&Live) -> u64| lives.iter().map(of).sum::<u64>();
        let (done, failed, bytes) = (
            sum(|live| live.done.load(Relaxed)),
            sum(|live| live.failed.load(Relaxed)),
            sum(|live| live.bytes.load(Relaxed)),
        );
        let rate = |new: u64, old: u64| (new - old) as f64 / time.as_secs_f64();
        eprintln!(
            "{:>4.0} s {:>10.0} requests/s {:>9.1} MiB/s {failed:>8} failed",
            (now - self.began).as_secs_f64(),
            rate(done, self.done),
            rate(bytes, self.bytes) / 1_048_576.0,
        );
        (self.said, self.done, self.bytes) = (now, done, bytes);
    }
}

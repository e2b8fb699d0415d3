//! One thread: its connections are kept busy, or are given requests by the clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use crate::connection::{Connection, Ended};
use crate::content::Content;
use crate::objects::Objects;
use crate::plan::Plan;
use crate::random::Random;
use crate::requests::Requests;
use crate::tally::{Live, Tally};
use crate::task::{Next, Task, Work};
use crate::uploads::Uploads;

/// Read at a time: an answer of 1 MiB in a few calls.
const SCRATCH_BYTES: usize = 256 << 10;
const EVENTS_MAX: usize = 1024;
/// How often exchanges are looked at that take too long.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What is not measured takes so many connections at most, of all workers together: a server that refuses more should be
/// found out by what is measured.
const UNMEASURED_CONNECTIONS_MAX: usize = 64;
/// So many failures with no success between them end a run: there is no server, or it does not know us. More when there are
/// many connections, all of which may be refused at once.
const FAILURES_IN_A_ROW_MAX: u64 = 1000;
const FAILURES_IN_A_ROW_OF_A_CONNECTION_MAX: u64 = 10;

/// When a phase ends, and what of it counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// Exchanges that end, or by the clock begin, from the first to the last moment.
    Time(Instant, Instant),
    /// After this many requests, all of which count.
    Count(u64),
    /// After all that there is to do.
    Done,
}

/// Requests by the clock: from when on, and how far apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) first: Instant,
    pub(crate) every: Duration,
}

pub(crate) struct Worker {
    /// Of all: numbers of objects are dealt out like cards.
    pub(crate) number: u64,
    pub(crate) plan: Arc<Plan>,
    pub(crate) requests: Requests,
    pub(crate) objects: Objects,
    pub(crate) uploads: Uploads,
    pub(crate) random: Random,
    /// Of the next object that is made, counted by this worker.
    pub(crate) next_object: u64,
    /// Of the next version of an object that is there.
    pub(crate) next_version: u64,
    /// Uploads that were asked for and have no id yet.
    pub(crate) creating: usize,
    content: Arc<Content>,
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    /// What each connection does, and since when that was due.
    tasks: Vec<Option<(Task, Option<Instant>)>>,
    idle: Vec<usize>,
    scratch: Box<[u8]>,
}

impl Worker {
    pub(crate) fn new(number: usize, plan: &Arc<Plan>, content: &Arc<Content>) -> Result<Worker, String> {
        let poll = Poll::new().map_err(|error| format!("make a poll: {error}"))?;
        // The first ones get one more when it does not come out even.
        let count = plan.connections / plan.threads + usize::from(number < plan.connections % plan.threads);
        let connections = (0..count).map(|slot| {
            let endpoint = &plan.endpoints[(number + slot) % plan.endpoints.len()];
            Connection::new(endpoint.address, endpoint.tls.clone(), Token(slot))
        });
        Ok(Worker {
            number: number as u64,
            plan: plan.clone(),
            requests: Requests::new(plan.clone(), content.clone()),
            objects: Objects::default(),
            uploads: Uploads::default(),
            random: Random::new(plan.seed ^ (number as u64) << 32),
            next_object: 0,
            next_version: 0,
            creating: 0,
            content: content.clone(),
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            connections: connections.collect(),
            tasks: (0..count).map(|_| None).collect(),
            idle: (0..count).collect(),
            scratch: vec![0; SCRATCH_BYTES].into(),
        })
    }

    /// Does `work`. Errors: nothing succeeds any more, or, with work that may not fail, something did.
    pub(crate) fn run(&mut self, work: Work, until: Until, pace: Option<Pace>, live: &Live) -> Result<Tally, String> {
        let mut run = Run { tally: Tally::default(), until, pace, begun: 0, failures_in_a_row: 0 };
        let mut looked = Instant::now();
        loop {
            let now = Instant::now();
            let is_over = run.is_over(now);
            let has_work = !is_over && self.begin(work, &mut run, live, now)?;
            if !has_work && self.idle.len() == self.connections.len() {
                break;
            }
            if now.duration_since(looked) >= LOOK_EVERY {
                looked = now;
                self.look_for_late_ones(work, &mut run, live, now)?;
            }
            let wait = run.pause(now).unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
            match self.poll.poll(&mut self.events, Some(wait)) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("wait for sockets: {error}")),
            }
            let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
            for slot in ready {
                if let Some(ended) = self.connections[slot].advance(&mut self.scratch, &self.content) {
                    self.ended(slot, ended, work, &mut run, live)?;
                }
            }
        }
        run.count_unsent();
        Ok(run.tally)
    }

    /// Gives work to connections that have none. False when there is no more to be had now or later.
    fn begin(&mut self, work: Work, run: &mut Run, live: &Live, now: Instant) -> Result<bool, String> {
        let spared = match work {
            Work::Measure => 0,
            _ => self.connections.len().saturating_sub(UNMEASURED_CONNECTIONS_MAX.div_ceil(self.plan.threads)),
        };
        while let Some(&slot) = self.idle.last()
            && self.idle.len() > spared
        {
            let due = run.due();
            let may_begin = !run.is_full() && due.is_none_or(|due| due <= now);
            let (task, due) = match self.next_task(work, may_begin) {
                // What an upload goes on with is no request by the clock.
                Next::Step(task) => (task, None),
                Next::Task(task) => {
                    run.begun += 1;
                    (task, due)
                }
                Next::Wait => return Ok(true),
                Next::Done => return Ok(!run.is_full() && !may_begin),
            };
            self.idle.pop();
            let plan = self.plan.clone();
            let endpoint = &plan.endpoints[(self.number as usize + slot) % plan.endpoints.len()];
            let request = self.request(endpoint, &task);
            self.tasks[slot] = Some((task, due));
            if let Some(ended) = self.connections[slot].begin(request, &self.content, self.poll.registry()) {
                self.ended(slot, ended, work, run, live)?;
            }
        }
        Ok(true)
    }

    fn look_for_late_ones(&mut self, work: Work, run: &mut Run, live: &Live, now: Instant) -> Result<(), String> {
        for slot in 0..self.connections.len() {
            if let Some(ended) = self.connections[slot].abandon(now, self.plan.timeout) {
                self.ended(slot, ended, work, run, live)?;
            }
        }
        Ok(())
    }

    fn ended(&mut self, slot: usize, ended: Ended, work: Work, run: &mut Run, live: &Live) -> Result<(), String> {
        let (task, due) = self.tasks[slot].take().expect("a connection that ends an exchange has a task");
        self.idle.push(slot);
        let (kind, began) = (task.kind(), due.unwrap_or(ended.began));
        let moment = if due.is_some() { began } else { Instant::now() };
        let answer = ended.outcome.map_err(|error| error.to_string());
        let gained = self.accept(task, answer.as_ref().map_err(String::clone));
        match gained.and_then(|gain| Ok((gain, answer?))) {
            Ok((gain, reply)) => {
                run.failures_in_a_row = 0;
                live.success(gain.bytes);
                if let Some(kind) = kind.filter(|_| run.counts(moment)) {
                    let after = |moment: Instant| moment.saturating_duration_since(began);
                    run.tally.success(kind, gain, after(reply.first_byte), after(reply.last_byte));
                }
            }
            Err(text) => {
                run.failures_in_a_row += 1;
                if work.may_not_fail() {
                    return Err(text);
                }
                let max = self.connections.len() as u64 * FAILURES_IN_A_ROW_OF_A_CONNECTION_MAX;
                if run.failures_in_a_row > max.max(FAILURES_IN_A_ROW_MAX) {
                    return Err(format!("given up: {} requests failed in a row: {text}", run.failures_in_a_row));
                }
                live.failure();
                if let Some(kind) = kind.filter(|_| run.counts(moment)) {
                    run.tally.failure(kind, &text);
                }
            }
        }
        Ok(())
    }
}

/// A phase under way.
struct Run {
    tally: Tally,
    until: Until,
    pace: Option<Pace>,
    begun: u64,
    failures_in_a_row: u64,
}

impl Run {
    fn is_over(&self, now: Instant) -> bool {
        matches!(self.until, Until::Time(_, end) if now >= end)
    }

    fn is_full(&self) -> bool {
        matches!(self.until, Until::Count(count) if self.begun >= count)
    }

    fn counts(&self, moment: Instant) -> bool {
        match self.until {
            Until::Time(begin, end) => begin <= moment && moment < end,
            Until::Count(_) | Until::Done => true,
        }
    }

    /// When the next request is to begin.
    fn due(&self) -> Option<Instant> {
        self.pace.map(|pace| pace.first + Duration::from_secs_f64(pace.every.as_secs_f64() * self.begun as f64))
    }

    /// How long nothing has to begin.
    fn pause(&self, now: Instant) -> Option<Duration> {
        self.due().map(|due| due.saturating_duration_since(now)).filter(|pause| !pause.is_zero())
    }

    /// Requests that were due and had to wait until it was over: a server that is too slow may not hide them.
    fn count_unsent(&mut self) {
        if let (Some(pace), Until::Time(begin, end)) = (self.pace, self.until) {
            let due = end.saturating_duration_since(pace.first).as_secs_f64() / pace.every.as_secs_f64();
            let before = begin.saturating_duration_since(pace.first).as_secs_f64() / pace.every.as_secs_f64();
            self.tally.unsent = (due as u64).saturating_sub(self.begun.max(before as u64));
        }
    }
}

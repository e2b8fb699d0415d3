//! The loop: every connection is kept busy until the time or the requests are over.

use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::connection::{Connection, Reply};
use crate::process::Usage;
use crate::report::Report;
use crate::request::Request;

/// Nothing at all came back for so long: the server hangs.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// When a run ends, and from when on it counts.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    Time {
        warmup: Duration,
        measured: Duration,
    },
    /// After this many requests, all of them counted.
    Count(u64),
}

/// Runs requests side by side. `next` makes the request of an index, counted from 0; `seen` looks at each reply, and
/// says why it is not what it should be.
pub(crate) fn run(
    arguments: &Arguments,
    until: Until,
    mut next: impl FnMut(u64) -> Result<Request, String>,
    mut seen: impl FnMut(&Reply) -> Result<(), String>,
) -> Result<Report, String> {
    let count_max = if let Until::Count(count) = until { count } else { u64::MAX };
    let (warmup, measured) = match until {
        Until::Time { warmup, measured } => (warmup, measured),
        Until::Count(_) => (Duration::ZERO, Duration::MAX),
    };
    let connections = count_max.min(arguments.connections as u64);
    let mut connections = (0..connections)
        .map(|_| Connection::open(&arguments.endpoint).map_err(|error| format!("connect: {error}")))
        .collect::<Result<Vec<_>, _>>()?;
    let usage = || Usage::read(arguments.pid, arguments.device.as_deref());

    let began = Instant::now();
    let mut report = Report::default();
    let mut counting: Option<(Instant, Usage)> = None;
    let (mut asked, mut answered) = (0, 0);
    let mut last_moved = began;
    loop {
        let now = Instant::now();
        if counting.is_none() && now - began >= warmup {
            counting = Some((now, usage()?));
        }
        if answered >= count_max || counting.is_some_and(|(since, _)| now - since >= measured) {
            break;
        }
        let mut has_moved = false;
        for connection in &mut connections {
            if connection.is_idle() && asked < count_max {
                connection.begin(asked, next(asked)?);
                asked += 1;
            }
            let (moved, reply) = connection.advance().map_err(|error| error.to_string())?;
            has_moved |= moved;
            if let Some(reply) = reply {
                answered += 1;
                let outcome = seen(&reply);
                if counting.is_some() {
                    count(&mut report, &reply, outcome);
                } else {
                    outcome?;
                }
            }
        }
        if has_moved {
            last_moved = now;
        } else if now - last_moved > SILENCE_MAX {
            return Err(format!("no byte moved for {} s", SILENCE_MAX.as_secs()));
        } else {
            std::thread::yield_now();
        }
    }
    if let Some((since, before)) = counting {
        report.elapsed = since.elapsed();
        report.usage = usage()?.since(before);
    }
    Ok(report)
}

fn count(report: &mut Report, reply: &Reply, outcome: Result<(), String>) {
    match outcome {
        Ok(()) => {
            report.done += 1;
            report.body_bytes += reply.body_len;
            report.took_us.push(u32::try_from(reply.took.as_micros()).unwrap_or(u32::MAX));
        }
        Err(error) => {
            report.failed += 1;
            report.first_failure.get_or_insert(error);
        }
    }
}

//! Results: as JSON, which says all, and as a table.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::tally::{Count, Tally};
use crate::usage::Usage;

/// Of the form of the JSON.
pub(crate) const FORM: u32 = 1;
const MIB: f64 = 1_048_576.0;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunResult {
    pub(crate) form: u32,
    /// As it was typed. Credentials are no part of it.
    pub(crate) command: String,
    pub(crate) version: String,
    pub(crate) repeats: Vec<Repeat>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Repeat {
    pub(crate) seconds: f64,
    pub(crate) kinds: BTreeMap<String, KindResult>,
    /// Of all kinds together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<UsageResult>,
    /// Requests by the clock that were due and could not be begun in time. Their times are in no histogram.
    pub(crate) unsent: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KindResult {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) per_second: f64,
    pub(crate) mib_per_second: f64,
    pub(crate) keys_per_second: f64,
    pub(crate) mean_us: f64,
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
    pub(crate) first_byte_p50_us: u64,
    pub(crate) first_byte_p99_us: u64,
    /// Pairs of a time in microseconds, three digits of which are exact, and how often it was met.
    pub(crate) histogram_us: Vec<(u64, u64)>,
}

/// For each request, but for the memory.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct UsageResult {
    pub(crate) cpu_us: f64,
    pub(crate) cpu_user_us: f64,
    pub(crate) cpu_system_us: f64,
    pub(crate) rss_max_mib: f64,
    pub(crate) device_reads: f64,
    pub(crate) device_read_bytes: f64,
    pub(crate) device_writes: f64,
    pub(crate) device_written_bytes: f64,
    pub(crate) device_flushes: f64,
}

impl Repeat {
    pub(crate) fn new(plan: &Plan, tally: &Tally, time: Duration, usage: Option<Usage>) -> Repeat {
        let seconds = time.as_secs_f64().max(1e-9);
        let kinds = tally.kinds().map(|(kind, count)| (kind.name().to_owned(), KindResult::new(count, seconds)));
        let requests = tally.done().max(1) as f64;
        let usage = usage.filter(|_| Usage::is_asked_for(plan)).map(|usage| UsageResult::new(&usage, requests));
        Repeat { seconds, kinds: kinds.collect(), usage, unsent: tally.unsent }
    }

    pub(crate) fn failed(&self) -> u64 {
        self.kinds.values().map(|kind| kind.failed).sum()
    }
}

impl KindResult {
    fn new(count: &Count, seconds: f64) -> KindResult {
        let at = |share| count.latency_us.value_at_quantile(share);
        let recorded = count.latency_us.iter_recorded();
        KindResult {
            done: count.done,
            failed: count.failed(),
            failures: count.failures.clone(),
            per_second: count.done as f64 / seconds,
            mib_per_second: count.bytes as f64 / MIB / seconds,
            keys_per_second: count.keys as f64 / seconds,
            mean_us: count.latency_us.mean(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: count.latency_us.max(),
            first_byte_p50_us: count.first_byte_us.value_at_quantile(0.5),
            first_byte_p99_us: count.first_byte_us.value_at_quantile(0.99),
            histogram_us: recorded.map(|bar| (bar.value_iterated_to(), bar.count_at_value())).collect(),
        }
    }
}

impl UsageResult {
    fn new(usage: &Usage, requests: f64) -> UsageResult {
        let each = |total: u64| total as f64 / requests;
        UsageResult {
            cpu_us: each(usage.user_us + usage.system_us),
            cpu_user_us: each(usage.user_us),
            cpu_system_us: each(usage.system_us),
            rss_max_mib: usage.rss_max_kib as f64 / 1024.0,
            device_reads: each(usage.reads),
            device_read_bytes: each(usage.read_bytes),
            device_writes: each(usage.writes),
            device_written_bytes: each(usage.written_bytes),
            device_flushes: each(usage.flushes),
        }
    }
}

/// What one measurement says, for people.
pub(crate) fn table(repeat: &Repeat) -> String {
    let mut text = format!(
        "{:<16} {:>10} {:>8} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
        "", "requests", "failed", "per second", "MiB/s", "p50 us", "p90 us", "p99 us", "p99.9 us", "max us"
    );
    for (name, kind) in &repeat.kinds {
        text += &format!(
            "{name:<16} {:>10} {:>8} {:>11.1} {:>9.1} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
            kind.done,
            kind.failed,
            kind.per_second,
            kind.mib_per_second,
            kind.p50_us,
            kind.p90_us,
            kind.p99_us,
            kind.p999_us,
            kind.max_us
        );
        if kind.keys_per_second > 0.0 {
            text += &format!("{:<16} {:>31.1} keys per second\n", "", kind.keys_per_second);
        }
        for (failure, count) in &kind.failures {
            text += &format!("{:<16} {count} failed: {failure}\n", "");
        }
    }
    if repeat.unsent > 0 {
        text +=
            &format!("{} requests were due and could not be begun in time: the rate was not reached\n", repeat.unsent);
    }
    if let Some(usage) = repeat.usage {
        text += &format!(
            "each request: {:.1} us of CPU ({:.1} user, {:.1} system), {:.3} reads ({:.0} B), {:.3} writes ({:.0} B), {:.3} flushes; \
             largest resident set {:.1} MiB\n",
            usage.cpu_us,
            usage.cpu_user_us,
            usage.cpu_system_us,
            usage.device_reads,
            usage.device_read_bytes,
            usage.device_writes,
            usage.device_written_bytes,
            usage.device_flushes,
            usage.rss_max_mib
        );
    }
    text
}

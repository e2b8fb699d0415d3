//! What was counted: for each kind of request how many, how much, how long.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::plan::Kind;

/// Longer answers count as this long.
const LATENCY_US_MAX: u64 = 3_600_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
/// Further failures of other words are counted as one.
const FAILURES_NAMED_MAX: usize = 20;
const FAILURE_CHARS_MAX: usize = 300;
const OTHERS: &str = "others";

/// Of one kind.
pub(crate) struct Count {
    pub(crate) done: u64,
    /// Of bodies, sent and received.
    pub(crate) bytes: u64,
    /// That were listed or deleted.
    pub(crate) keys: u64,
    pub(crate) failures: BTreeMap<String, u64>,
    /// From the first byte of the request, or from when it was due, to the last of the answer.
    pub(crate) latency_us: Histogram<u64>,
    /// To the first byte of the answer.
    pub(crate) first_byte_us: Histogram<u64>,
}

impl Count {
    fn new() -> Count {
        let histogram = || {
            Histogram::new_with_bounds(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS)
                .expect("bounds and digits are as they may be")
        };
        Count {
            done: 0,
            bytes: 0,
            keys: 0,
            failures: BTreeMap::new(),
            latency_us: histogram(),
            first_byte_us: histogram(),
        }
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// What one exchange gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gain {
    pub(crate) bytes: u64,
    pub(crate) keys: u64,
}

#[derive(Default)]
pub(crate) struct Tally {
    counts: BTreeMap<Kind, Count>,
    /// That were due before the end and could not be begun.
    pub(crate) unsent: u64,
}

impl Tally {
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (Kind, &Count)> {
        self.counts.iter().map(|(kind, count)| (*kind, count))
    }

    pub(crate) fn done(&self) -> u64 {
        self.counts.values().map(|count| count.done).sum()
    }

    pub(crate) fn first_failure(&self) -> Option<String> {
        self.counts
            .iter()
            .find_map(|(kind, count)| count.failures.keys().next().map(|failure| format!("{}: {failure}", kind.name())))
    }

    pub(crate) fn success(&mut self, kind: Kind, gain: Gain, first_byte: Duration, last_byte: Duration) {
        let count = self.counts.entry(kind).or_insert_with(Count::new);
        count.done += 1;
        count.bytes += gain.bytes;
        count.keys += gain.keys;
        count.latency_us.saturating_record(micros(last_byte));
        count.first_byte_us.saturating_record(micros(first_byte));
    }

    pub(crate) fn failure(&mut self, kind: Kind, text: &str) {
        let failures = &mut self.counts.entry(kind).or_insert_with(Count::new).failures;
        let text: String = text.chars().take(FAILURE_CHARS_MAX).collect();
        let is_known = failures.contains_key(&text) || failures.len() < FAILURES_NAMED_MAX;
        *failures.entry(if is_known { text } else { OTHERS.to_owned() }).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        self.unsent += other.unsent;
        for (kind, theirs) in &other.counts {
            let count = self.counts.entry(*kind).or_insert_with(Count::new);
            count.done += theirs.done;
            count.bytes += theirs.bytes;
            count.keys += theirs.keys;
            count.latency_us += &theirs.latency_us;
            count.first_byte_us += &theirs.first_byte_us;
            for (failure, number) in &theirs.failures {
                *count.failures.entry(failure.clone()).or_default() += number;
            }
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Counts of one worker that others look at while it works.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Live {
    pub(crate) done: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

impl Live {
    pub(crate) fn success(&self, bytes: u64) {
        self.done.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn failure(&self) {
        self.failed.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_workers_add_up() {
        let mut one = Tally::default();
        let mut other = Tally::default();
        let gain = Gain { bytes: 10, keys: 1 };
        for us in 1..=100 {
            one.success(Kind::Get, gain, Duration::from_micros(1), Duration::from_micros(us));
        }
        other.success(Kind::Get, gain, Duration::ZERO, Duration::from_secs(1_000_000));
        other.failure(Kind::Put, "no");
        other.unsent = 3;
        one.add(&other);
        let (_, get) = one.kinds().find(|(kind, _)| *kind == Kind::Get).unwrap();
        assert_eq!((get.done, get.bytes, get.keys, get.latency_us.value_at_quantile(0.5)), (101, 1010, 101, 51));
        assert_eq!((one.done(), one.unsent), (101, 3));
        assert_eq!(one.first_failure().as_deref(), Some("put: no"));
    }

    #[test]
    fn failures_have_their_words_up_to_a_limit() {
        let mut tally = Tally::default();
        for number in 0..100 {
            tally.failure(Kind::Get, &format!("failure {number}"));
            tally.failure(Kind::Get, "failure 0");
        }
        let (_, get) = tally.kinds().next().unwrap();
        assert_eq!((get.failed(), get.failures.len()), (200, FAILURES_NAMED_MAX + 1));
        assert_eq!((get.failures["failure 0"], get.failures[OTHERS]), (101, 80));
    }
}

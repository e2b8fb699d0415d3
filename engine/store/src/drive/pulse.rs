//! What a drive is doing: operations in flight by how long they have been, operations ended, and how long those took.
//!
//! Ages are counted in *looks* of the node's watch. Each look begins a new class of operations; as a class is known by its
//! counter alone, one is used again only when nothing of it is in flight any more. So the oldest operation in flight is known
//! without a list of them, at the cost of two atomic additions for each.

use std::sync::atomic::{
    AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::time::Duration;

use rt::time::Instant;

/// Classes that are told apart. When operations of all of them are in flight the last one grows older than it is: the drive
/// is long late by then.
const CLASSES: usize = 16;
/// A new sample counts for one in so many.
const WEIGHT: u64 = 16;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read = 0,
    Write = 1,
    /// A flush, or a write that returns when it is durable.
    Flush = 2,
    /// Anything else: opening, allocation, names. Its time says little and is not kept.
    Other = 3,
}

impl Kind {
    /// Those whose times are kept.
    pub(crate) const TIMED: [Kind; 3] = [Kind::Read, Kind::Write, Kind::Flush];
}

/// How long operations of one kind take: a moving average of the last dozens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Latency {
    pub(crate) mean: Duration,
    /// Operations so far.
    pub(crate) count: u64,
}

/// The operations of one drive, for all shards.
#[derive(Default)]
pub(crate) struct Pulse {
    in_flight: [AtomicU32; CLASSES],
    class: AtomicUsize,
    ended: AtomicU64,
    /// Nanoseconds, by kind. Two shards that end operations at the same moment may lose one sample.
    means: [AtomicU64; 3],
    counts: [AtomicU64; 3],
}

impl Pulse {
    pub(super) fn begin(&self, kind: Kind) -> InFlight<'_> {
        let class = self.class.load(Acquire);
        self.in_flight[class].fetch_add(1, AcqRel);
        InFlight { pulse: self, class, kind, began: Instant::now() }
    }

    /// Operations in flight.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.iter().map(|class| class.load(Relaxed)).sum()
    }

    /// Operations ended so far.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Relaxed)
    }

    pub(crate) fn latency(&self, kind: Kind) -> Latency {
        let Some(mean) = self.means.get(kind as usize) else { return Latency::default() };
        Latency { mean: Duration::from_nanos(mean.load(Relaxed)), count: self.counts[kind as usize].load(Relaxed) }
    }

    fn ended_after(&self, kind: Kind, took: Duration) {
        let Some(mean) = self.means.get(kind as usize) else { return };
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX / WEIGHT);
        let first = self.counts[kind as usize].fetch_add(1, Relaxed) == 0;
        let old = mean.load(Relaxed);
        mean.store(if first { took } else { old - old / WEIGHT + took / WEIGHT }, Relaxed);
    }
}

/// An operation on a drive that is not over.
pub(crate) struct InFlight<'a> {
    pulse: &'a Pulse,
    class: usize,
    kind: Kind,
    began: Instant,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.pulse.ended_after(self.kind, self.began.elapsed());
        self.pulse.ended.fetch_add(1, Relaxed);
        self.pulse.in_flight[self.class].fetch_sub(1, AcqRel);
    }
}

/// What whoever looks regularly remembers of a drive: how old each class of operations is, in looks that count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ages {
    ages: [u32; CLASSES],
}

impl Ages {
    /// One look: the age of the oldest operation in flight. `counts` says whether the time since the last look does.
    /// One who looks only.
    pub(crate) fn look(&mut self, pulse: &Pulse, counts: bool) -> u32 {
        let current = pulse.class.load(Relaxed);
        let mut oldest = 0;
        for (age, class) in self.ages.iter_mut().zip(&pulse.in_flight) {
            if class.load(Acquire) == 0 {
                *age = 0;
            } else {
                *age += u32::from(counts);
                oldest = oldest.max(*age);
            }
        }
        if pulse.in_flight[current].load(Acquire) > 0
            && let Some(empty) = (0..CLASSES).find(|&class| pulse.in_flight[class].load(Acquire) == 0)
        {
            pulse.class.store(empty, Release);
        }
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_operation_is_known_however_many_end_beside_it() {
        rt::run_alone(rt::Config::new(1), || async {
            let (pulse, mut ages) = (Pulse::default(), Ages::default());
            assert_eq!(ages.look(&pulse, true), 0);
            let stuck = pulse.begin(Kind::Write);
            for age in 1..=100 {
                drop(pulse.begin(Kind::Read));
                let young = pulse.begin(Kind::Read);
                assert_eq!(ages.look(&pulse, true), age);
                drop(young);
            }
            assert_eq!(ages.look(&pulse, false), 100, "time that does not count");
            drop(stuck);
            assert_eq!((ages.look(&pulse, true), pulse.in_flight(), pulse.ended()), (0, 0, 201));
        })
        .expect("a shard");
    }

    #[test]
    fn when_all_classes_are_in_use_nothing_is_taken_for_younger_than_it_is() {
        rt::run_alone(rt::Config::new(1), || async {
            let (pulse, mut ages) = (Pulse::default(), Ages::default());
            let mut stuck: Vec<_> = Vec::new();
            for age in 1..=3 * CLASSES as u32 {
                stuck.push(pulse.begin(Kind::Flush));
                assert_eq!(ages.look(&pulse, true), age);
            }
            stuck.drain(..2 * CLASSES);
            assert!(ages.look(&pulse, true) >= CLASSES as u32);
            drop(stuck);
            assert_eq!(ages.look(&pulse, true), 0);
        })
        .expect("a shard");
    }

    #[test]
    fn times_are_kept_by_kind_and_follow_a_change() {
        let pulse = Pulse::default();
        for _ in 0..100 {
            pulse.ended_after(Kind::Read, Duration::from_micros(100));
            pulse.ended_after(Kind::Other, Duration::from_secs(9));
        }
        let before = pulse.latency(Kind::Read);
        assert_eq!(before.count, 100);
        assert!(before.mean.abs_diff(Duration::from_micros(100)) < Duration::from_micros(1), "{before:?}");
        for _ in 0..100 {
            pulse.ended_after(Kind::Read, Duration::from_millis(10));
        }
        assert!(pulse.latency(Kind::Read).mean > Duration::from_millis(9));
        assert_eq!(pulse.latency(Kind::Write), Latency::default());
        assert_eq!(pulse.latency(Kind::Other), Latency::default());
    }
}

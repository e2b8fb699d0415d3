//! What is left of the logs: batches in the order of their streams, and which numbers are missing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::source::Source;
use crate::format::batch::{self, BATCH_HEADER_LEN, BatchHeader, Ckpt, Entry, Place};
use crate::format::fragment::Header;
use crate::format::volume::Class;
use crate::ids::{PartitionId, SlotOffset, VolumeId};

/// Lost numbers of a stream that are listed one by one; more are counted.
const LOST_LISTED_MAX: usize = 1_000;

/// One log stream, as far as it is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFound {
    /// The run of the process and the shard that wrote it.
    pub start: u32,
    pub shard: u16,
    /// Batches that were read.
    pub batches: u64,
    pub first: u64,
    pub last: u64,
    /// Numbers between the first and the last, and those that are known to have been durable, of which no batch can be read.
    pub lost: Vec<RangeInclusive<u64>>,
    pub lost_count: u64,
    /// Batches behind a recorded end: they were never acknowledged, or committed again elsewhere. Not taken.
    pub behind_end: u64,
    /// The highest number that any header says was durable.
    durable_upto: u64,
    /// Its first volume is there.
    begins: bool,
}

/// A stream: start and shard.
type Key = (u32, u16);

/// Where the batches lie, and what is known of their streams.
#[derive(Default)]
pub(crate) struct Logs {
    /// In the order in which streams are read: by start, shard and counter.
    places: BTreeMap<VolumeId, Vec<SlotOffset>>,
    streams: BTreeMap<Key, StreamFound>,
    /// Streams of earlier starts that the pages of a start say it found open.
    found_open: BTreeMap<u32, BTreeSet<Key>>,
}

impl Logs {
    /// Walks all log volumes and hands over every entry that can be read.
    pub(crate) fn survey(source: &Source, mut each: impl FnMut(&Entry)) -> Logs {
        let mut logs = Logs::default();
        let volumes: Vec<VolumeId> = source.volumes_of(Class::Log).collect();
        for id in volumes {
            let Some(slots) = source.slots(id) else { continue };
            let key = (id.start().value(), id.shard());
            let fresh = StreamFound { start: key.0, shard: key.1, ..StreamFound::default() };
            let stream = logs.streams.entry(key).or_insert(fresh);
            stream.begins |= slots.page.predecessor.is_none();
            let earlier = slots.page.closes.iter().map(|closed| (closed.volume.start().value(), closed.volume.shard()));
            logs.found_open.entry(key.0).or_default().extend(earlier.filter(|earlier| earlier.0 < key.0));
            let end = source.end(id);
            for header in slots.walk(slots.end()) {
                if end.is_some_and(|end| header.slot_offset >= end) {
                    stream.behind_end += 1;
                    continue;
                }
                stream.durable_upto = stream.durable_upto.max(header.durable_upto);
                let entries = entries(source, id, &header);
                stream.take(header.sequence, entries.is_some());
                let Some(entries) = entries else { continue };
                logs.places.entry(id).or_default().push(header.slot_offset);
                entries.iter().for_each(&mut each);
            }
        }
        logs.streams.values_mut().for_each(StreamFound::close);
        logs
    }

    /// Hands over every entry of `partitions` again, in order.
    pub(super) fn replay(&self, source: &Source, partitions: &BTreeSet<PartitionId>, mut each: impl FnMut(Entry)) {
        for (id, places) in &self.places {
            let Some(slots) = source.slots(*id) else { continue };
            for at in places {
                let Some(header) = slots.stripe_at(*at) else { continue };
                let entries = entries(source, *id, &header).unwrap_or_default();
                let wanted = entries.into_iter().filter(|entry| partitions.contains(&entry.partition));
                wanted.for_each(&mut each);
            }
        }
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = &StreamFound> {
        self.streams.values()
    }

    /// Whether every batch behind the checkpoint is there, as far as what is there can tell.
    ///
    /// A start that serves makes its log volumes first, and closes in them the streams that it found open: those of the
    /// last start that served. The volumes of a start are freed only by a later one that serves. So the chain of starts
    /// is followed back from the newest, and starts that are not in it never served.
    pub(crate) fn is_complete_behind(&self, ckpt: Ckpt) -> bool {
        let position = ckpt.position.map(|at| ((at.volume.start().value(), at.volume.shard()), at.sequence));
        let Some(mut start) = self.streams.keys().next_back().map(|(start, _)| *start) else { return false };
        loop {
            if let Some(((of, _), _)) = position.filter(|((of, _), _)| start <= *of) {
                // Within a start a partition lives in one stream.
                let own = position.and_then(|(key, sequence)| Some(self.streams.get(&key)?.has_all_from(sequence)));
                return of == start && own == Some(true);
            }
            let shards = (start, 0)..=(start, u16::MAX);
            let named = self.found_open.values().flatten().filter(|key| shards.contains(key));
            let all_there = named.copied().all(|key| self.streams.contains_key(&key));
            let all_whole = self.streams.range(shards).all(|(_, stream)| stream.begins && stream.has_all_from(1));
            if !all_there || !all_whole {
                return false;
            }
            match self.found_open.get(&start).and_then(|found| found.iter().map(|(start, _)| *start).max()) {
                Some(before) if self.streams.range((before, 0)..=(before, u16::MAX)).next().is_some() => start = before,
                Some(_) => return false,
                // The first start that served.
                None => return position.is_none() && self.streams.keys().all(|key| key.0 >= start),
            }
        }
    }
}

impl StreamFound {
    fn take(&mut self, sequence: u64, is_readable: bool) {
        if self.batches == 0 && self.lost_count == 0 {
            self.first = sequence;
            self.last = sequence.saturating_sub(1);
        }
        if sequence > self.last + 1 {
            self.lose(self.last + 1..=sequence - 1);
        }
        if is_readable {
            self.batches += 1;
        } else {
            self.lose(sequence..=sequence);
        }
        self.last = self.last.max(sequence);
    }

    fn lose(&mut self, numbers: RangeInclusive<u64>) {
        self.lost_count = self.lost_count.saturating_add(numbers.end() - numbers.start() + 1);
        if self.lost.len() < LOST_LISTED_MAX {
            self.lost.push(numbers);
        }
    }

    /// No more batches come: what was durable and is not there is lost.
    fn close(&mut self) {
        if self.durable_upto > self.last {
            self.lose(self.last + 1..=self.durable_upto);
        }
    }

    fn has_all_from(&self, sequence: u64) -> bool {
        let nothing_there = self.batches == 0 && self.lost_count == 0 && self.begins;
        let lost = self.lost.iter().any(|numbers| *numbers.end() >= sequence);
        let unlisted = self.lost.len() == LOST_LISTED_MAX;
        // A checkpoint may stand behind the last batch.
        !lost && !unlisted && (nothing_there || self.first <= sequence || sequence > self.last)
    }
}

/// The entries of a batch; `None` when they cannot be read.
fn entries(source: &Source, volume: VolumeId, stripe: &Header) -> Option<Vec<Entry>> {
    let slots = source.slots(volume)?;
    let read = |len: usize| {
        let piece = slots.read(stripe, 0..len.min(stripe.stripe_len as usize));
        piece.missing.is_empty().then_some(piece.bytes)
    };
    let head = BatchHeader::decode(&read(BATCH_HEADER_LEN)?).ok()?;
    if head.sequence != stripe.sequence || head.batch_len() != stripe.stripe_len as usize {
        return None;
    }
    let place = Place { volume, at: stripe.slot_offset, fragment_len: stripe.fragment_len };
    batch::decode(&read(head.head_len())?, place).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream_of(sequences: &[(u64, bool)], durable_upto: u64) -> StreamFound {
        let mut stream = StreamFound { durable_upto, begins: true, ..StreamFound::default() };
        sequences.iter().for_each(|(sequence, is_readable)| stream.take(*sequence, *is_readable));
        stream.close();
        stream
    }

    #[test]
    fn a_stream_knows_which_of_its_batches_are_lost() {
        let check = |sequences: &[(u64, bool)], durable_upto, lost: &[RangeInclusive<u64>], first_complete: u64| {
            let stream = stream_of(sequences, durable_upto);
            assert_eq!(stream.lost, lost, "{sequences:?}");
            let complete = (1..=20).find(|from| stream.has_all_from(*from)).unwrap_or(0);
            assert_eq!(complete, first_complete, "{sequences:?} up to {durable_upto}");
        };
        check(&[], 0, &[], 1);
        check(&[(1, true), (2, true)], 1, &[], 1);
        check(&[(3, true), (4, true)], 3, &[], 3);
        check(&[(1, true), (4, true)], 3, &[2..=3], 4);
        check(&[(1, true), (2, false), (3, true)], 2, &[2..=2], 3);
        check(&[(1, true)], 3, &[2..=3], 4);
        check(&[(1, false)], 0, &[1..=1], 2);
    }

    /// Streams with so many batches each, and which streams a start found open.
    fn logs(streams: &[(Key, u64)], found_open: &[(u32, &[Key])]) -> Logs {
        let stream = |last: u64| stream_of(&(1..=last).map(|sequence| (sequence, true)).collect::<Vec<_>>(), 0);
        Logs {
            places: BTreeMap::new(),
            streams: streams.iter().map(|(key, last)| (*key, stream(*last))).collect(),
            found_open: found_open.iter().map(|(start, found)| (*start, found.iter().copied().collect())).collect(),
        }
    }

    #[test]
    fn the_chain_of_starts_tells_whether_a_log_is_missing() {
        let at = |start, shard, sequence| {
            let volume = VolumeId::new(crate::ids::StartNumber::new(start).expect("small"), shard, 1);
            let position = Some(batch::Position { volume, offset: SlotOffset(1), sequence });
            Ckpt { lsn: crate::ids::Lsn(1), position }
        };
        let birth = Ckpt { lsn: crate::ids::Lsn::ZERO, position: None };
        let check = |logs: &Logs, ckpt, expect, why: &str| assert_eq!(logs.is_complete_behind(ckpt), expect, "{why}");
        check(&logs(&[], &[]), birth, false, "nothing is left");
        let all = logs(&[((1, 0), 5), ((1, 1), 0), ((3, 0), 2)], &[(3, &[(1, 0), (1, 1)])]);
        check(&all, birth, true, "start 2 never served");
        check(&all, at(1, 0, 4), true, "the tables stand in the first start");
        check(&all, at(1, 0, 6), true, "the tables stand behind its last batch");
        check(&all, at(3, 0, 2), true, "the tables stand in the last start");
        check(&all, at(2, 0, 2), false, "the start of the tables is gone");
        check(&all, at(4, 0, 2), false, "a later start wrote the tables");
        let freed = logs(&[((1, 0), 5), ((4, 0), 2)], &[(4, &[(3, 0)])]);
        check(&freed, at(1, 0, 4), false, "start 3 served and is gone");
        check(&freed, at(4, 0, 1), true, "and is not needed");
        let other_shard = logs(&[((1, 0), 5), ((2, 0), 5), ((3, 0), 1)], &[(2, &[(1, 0)]), (3, &[(2, 0), (2, 1)])]);
        check(&other_shard, at(1, 0, 4), false, "a stream of start 2 is gone");
        check(&other_shard, at(2, 0, 4), true, "a partition of the other shard has all of it");
        check(&logs(&[((3, 0), 2)], &[]), at(1, 0, 4), false, "nothing says what came before");
    }
}

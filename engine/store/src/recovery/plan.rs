//! Which log volumes are read, from where, and where pages say that they end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::read::probe;
use super::stream::{Part, Stream};
use crate::error::Result;
use crate::format::batch::{Ckpt, Position};
use crate::format::volume::{Class, Closed};
use crate::ids::{PartitionId, SlotOffset, VolumeId};
use crate::node::Node;
use crate::planted::{self, Bug};
use crate::volume::Presence;

/// The log volumes of earlier starts.
pub(super) struct Volumes {
    /// In order of their ids; with each, whether its page is known to be on all its drives.
    pages: BTreeMap<VolumeId, bool>,
    ends: HashMap<VolumeId, Recorded>,
}

/// An end that a page records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Recorded {
    by: VolumeId,
    end: SlotOffset,
}

/// A stream that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    volumes: Vec<(VolumeId, Option<SlotOffset>)>,
    from: SlotOffset,
    /// `None`: the first batch says.
    sequence: Option<u64>,
    durable_upto: u64,
}

/// Reads the pages of all log volumes that were made before this start.
pub(super) async fn log_volumes(node: &Arc<Node>) -> Result<Volumes> {
    let mut volumes = Volumes { pages: BTreeMap::new(), ends: HashMap::new() };
    for found in node.scan_volumes().await? {
        let page = &found.page;
        if page.class != Class::Log || page.start() >= node.start {
            continue;
        }
        let everywhere = found.slots.iter().all(|presence| *presence == Presence::Present);
        volumes.pages.insert(page.volume, everywhere);
        for closed in page.predecessor.iter().chain(&page.closes) {
            volumes.record(page.volume, *closed);
        }
    }
    Ok(volumes)
}

impl Volumes {
    /// The latest volume that records an end is right: the one before it may have been made by a start that crashed
    /// before it served, and then a later one has decided with other drives.
    fn record(&mut self, by: VolumeId, closed: Closed) {
        let recorded = self.ends.entry(closed.volume).or_insert(Recorded { by, end: closed.end });
        if recorded.by <= by {
            *recorded = Recorded { by, end: closed.end };
        }
    }
}

/// Where a checkpoint stands to a stream.
enum Standing {
    /// It covers nothing of the stream.
    Behind,
    /// It covers what lies before this place.
    Within(Position),
    /// It covers all that its partition has in the stream.
    Beyond,
}

fn standing(ckpt: &Ckpt, stream: (u32, u16)) -> Standing {
    let Some(position) = ckpt.position else { return Standing::Behind };
    let (start, shard) = stream_of(position.volume);
    // Within a start a partition lives in one stream; what another one has of it was committed again, before all others.
    match start.cmp(&stream.0) {
        std::cmp::Ordering::Less => Standing::Behind,
        std::cmp::Ordering::Equal if shard == stream.1 => Standing::Within(position),
        std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => Standing::Beyond,
    }
}

fn stream_of(volume: VolumeId) -> (u32, u16) {
    (volume.start().value(), volume.shard())
}

/// Whether a log volume may hold entries that no table has.
pub(super) fn is_needed(ckpts: &HashMap<PartitionId, Ckpt>, volume: VolumeId) -> bool {
    ckpts.values().any(|ckpt| match standing(ckpt, stream_of(volume)) {
        Standing::Behind => true,
        Standing::Within(position) => position.volume <= volume,
        Standing::Beyond => false,
    })
}

/// The streams in the order in which they are read: by start, then by shard. What was committed again is in the first
/// stream of its start.
pub(super) fn streams(volumes: &Volumes, ckpts: &HashMap<PartitionId, Ckpt>) -> Vec<Plan> {
    let mut streams: BTreeMap<(u32, u16), Vec<VolumeId>> = BTreeMap::new();
    for volume in volumes.pages.keys() {
        streams.entry(stream_of(*volume)).or_default().push(*volume);
    }
    streams.into_iter().filter_map(|(stream, ids)| plan(volumes, ckpts, stream, &ids)).collect()
}

fn plan(volumes: &Volumes, ckpts: &HashMap<PartitionId, Ckpt>, stream: (u32, u16), ids: &[VolumeId]) -> Option<Plan> {
    let mut behind = false;
    let mut within: Vec<Position> = Vec::new();
    for ckpt in ckpts.values() {
        match standing(ckpt, stream) {
            Standing::Behind => behind = true,
            Standing::Within(position) => within.push(position),
            Standing::Beyond => {}
        }
    }
    // A later start that got as far as a checkpoint had closed this stream.
    let later = |ckpt: &Ckpt| ckpt.position.is_some_and(|position| stream_of(position.volume).0 > stream.0);
    let closed = ids.iter().all(|id| volumes.ends.contains_key(id)) || ckpts.values().any(later);
    if !behind && within.is_empty() && closed {
        return None;
    }
    let durable_upto = within.iter().map(|position| position.sequence - 1).max().unwrap_or(0);
    let first = within.iter().min_by_key(|position| (position.volume, position.offset)).filter(|_| !behind);
    let ids: Vec<VolumeId> = ids.iter().copied().filter(|id| first.is_none_or(|first| *id >= first.volume)).collect();
    let from = match first {
        Some(first) if ids.first() == Some(&first.volume) => first.offset,
        // The volume of the checkpoint is gone already: the stream goes on in the next one.
        Some(_) | None => SlotOffset::FIRST_STRIPE,
    };
    let sequence = first.map(|first| first.sequence);
    let end = |id: &VolumeId| {
        let recorded = volumes.ends.get(id).filter(|_| !planted::is(Bug::RecoveryReadsBeyondEnd));
        recorded.map(|recorded| recorded.end)
    };
    let with_end = |id| (id, end(&id));
    let volumes: Vec<_> = ids.into_iter().map(with_end).collect();
    (!volumes.is_empty()).then_some(Plan { volumes, from, sequence, durable_upto })
}

/// Opens the volumes of a stream.
pub(super) async fn open(node: &Arc<Node>, plan: &Plan) -> Result<Stream> {
    let mut volumes = Vec::with_capacity(plan.volumes.len());
    for (id, end) in &plan.volumes {
        volumes.push(Part { volume: node.volume(*id).await?, end: *end });
    }
    let sequence = match plan.sequence {
        Some(sequence) => sequence,
        // The first volumes of the stream may be gone: then the first batch that is there has another number than 1.
        None => probe(&volumes[0].volume, plan.from).await.map_or(1, |stripe| stripe.sequence()),
    };
    Ok(Stream { volumes, from: plan.from, sequence, durable_upto: plan.durable_upto })
}

/// Partitions that may have entries in the lost batches up to `last` of the stream of `volume`.
pub(super) fn concerned(ckpts: &HashMap<PartitionId, Ckpt>, volume: VolumeId, last: u64) -> Vec<PartitionId> {
    let mut partitions: Vec<PartitionId> = ckpts
        .iter()
        .filter(|(_, ckpt)| match standing(ckpt, stream_of(volume)) {
            Standing::Behind => true,
            Standing::Within(position) => position.sequence <= last,
            Standing::Beyond => false,
        })
        .map(|(partition, _)| *partition)
        .collect();
    partitions.sort_unstable();
    partitions
}

/// Ends that are recorded, but in a page of which it is not known that all drives have it: the start that wrote it may
/// have crashed in between. A batch in the same volume proves that it had not.
pub(super) async fn uncertain_ends(node: &Arc<Node>, volumes: &Volumes) -> Result<Vec<Closed>> {
    let mut proved: HashMap<VolumeId, bool> = HashMap::new();
    let mut ends = Vec::new();
    for (id, Recorded { by, end }) in &volumes.ends {
        if !volumes.pages.contains_key(id) {
            continue;
        }
        let sure = match proved.get(by) {
            Some(sure) => *sure,
            None => {
                let everywhere = volumes.pages.get(by) == Some(&true);
                let sure = everywhere || probe(&node.volume(*by).await?, SlotOffset::FIRST_STRIPE).await.is_some();
                proved.insert(*by, sure);
                sure
            }
        };
        if !sure {
            ends.push(Closed { volume: *id, end: *end });
        }
    }
    ends.sort_unstable_by_key(|closed| closed.volume);
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Lsn, StartNumber};

    fn volume(start: u32, shard: u16, counter: u32) -> VolumeId {
        VolumeId::new(StartNumber::new(start).expect("small"), shard, counter)
    }

    fn ckpt(position: Option<(VolumeId, u32, u64)>) -> Ckpt {
        let position =
            position.map(|(volume, offset, sequence)| Position { volume, offset: SlotOffset(offset), sequence });
        Ckpt { lsn: Lsn::ZERO, position }
    }

    fn ckpts(positions: &[Option<(VolumeId, u32, u64)>]) -> HashMap<PartitionId, Ckpt> {
        (0..).map(PartitionId).zip(positions.iter().map(|position| ckpt(*position))).collect()
    }

    fn volumes(ids: &[VolumeId], ends: &[(VolumeId, VolumeId, u32)]) -> Volumes {
        let pages = ids.iter().map(|id| (*id, true)).collect();
        let mut volumes = Volumes { pages, ends: HashMap::new() };
        for (by, volume, end) in ends {
            volumes.record(*by, Closed { volume: *volume, end: SlotOffset(*end) });
        }
        volumes
    }

    #[test]
    fn streams_are_read_from_the_oldest_checkpoint_in_them() {
        let (a, b, c) = (volume(1, 0, 1), volume(1, 0, 4), volume(2, 0, 1));
        let all = volumes(&[a, b, c], &[(c, b, 9)]);
        let ckpts = ckpts(&[Some((b, 5, 30)), Some((b, 3, 20)), Some((c, 2, 2))]);
        let plans = streams(&all, &ckpts);
        let first =
            Plan { volumes: vec![(b, Some(SlotOffset(9)))], from: SlotOffset(3), sequence: Some(20), durable_upto: 29 };
        let second = Plan { volumes: vec![(c, None)], from: SlotOffset::FIRST_STRIPE, sequence: None, durable_upto: 1 };
        assert_eq!(plans, [first, second]);
        let lost_late = concerned(&ckpts, b, 29);
        assert_eq!(lost_late, [PartitionId(1)]);
        assert_eq!(concerned(&ckpts, b, 30), [PartitionId(0), PartitionId(1)]);
        assert_eq!(concerned(&ckpts, c, 5), [PartitionId(0), PartitionId(1), PartitionId(2)]);
    }

    #[test]
    fn a_stream_below_every_checkpoint_is_read_only_while_it_is_open() {
        let (a, b) = (volume(1, 0, 1), volume(2, 0, 1));
        let ckpts = ckpts(&[Some((b, 5, 30))]);
        assert_eq!(streams(&volumes(&[a, b], &[(b, a, 9)]), &ckpts).len(), 1);
        assert_eq!(streams(&volumes(&[a, b], &[]), &ckpts).len(), 1, "the start of `b` had closed it");
        let other_shard = volume(1, 1, 1);
        assert_eq!(streams(&volumes(&[a, other_shard], &[]), &self::ckpts(&[Some((a, 5, 30))])).len(), 2);
    }

    #[test]
    fn a_log_volume_is_needed_until_every_checkpoint_lies_beyond_it() {
        let (a, b, other) = (volume(2, 0, 1), volume(2, 0, 4), volume(2, 1, 1));
        let check = |id, positions: &[Option<(VolumeId, u32, u64)>], expect| {
            assert_eq!(is_needed(&ckpts(positions), id), expect, "{id}: {positions:?}");
        };
        check(a, &[Some((b, 5, 30))], false);
        check(b, &[Some((b, 5, 30))], true);
        check(b, &[Some((a, 5, 30))], true);
        check(other, &[Some((b, 5, 30))], false);
        check(a, &[Some((b, 5, 30)), None], true);
        check(b, &[Some((volume(1, 0, 9), 5, 30)), Some((volume(3, 0, 1), 1, 1))], true);
        check(b, &[Some((volume(3, 0, 1), 1, 1))], false);
    }

    #[test]
    fn the_latest_record_of_an_end_is_right() {
        let (a, b, c) = (volume(1, 0, 1), volume(2, 0, 1), volume(3, 0, 1));
        for order in [[(b, a, 9), (c, a, 12)], [(c, a, 12), (b, a, 9)]] {
            let all = volumes(&[a, b, c], &order);
            assert_eq!(all.ends[&a], Recorded { by: c, end: SlotOffset(12) });
        }
    }

    #[test]
    fn a_checkpoint_in_a_volume_that_is_gone_leads_to_the_next_one() {
        let (a, b) = (volume(1, 0, 1), volume(1, 0, 2));
        let plans = streams(&volumes(&[b], &[]), &ckpts(&[Some((a, 7, 30))]));
        let expect =
            Plan { volumes: vec![(b, None)], from: SlotOffset::FIRST_STRIPE, sequence: Some(30), durable_upto: 29 };
        assert_eq!(plans, [expect]);
    }
}

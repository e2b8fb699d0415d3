//! What the entries say of each key: all that was ever written there and is still in a log, in order.

use std::collections::{BTreeMap, HashMap};

use types::BucketId;

use crate::data::Extent;
use crate::format::batch::{Entry, Op};
use crate::format::record::{Body, BucketRecord, BucketState, PartRecord, Record};
use crate::ids::{Geometry, Lsn, PartitionId, VolumeId};
use crate::index::keys;
use crate::object::parse_place_value;

/// Memory that an operation takes beside its key and value.
const OP_OVERHEAD_BYTES: usize = 128;

/// A value of a key, or its removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Of the commit.
    pub(super) lsn: Lsn,
    /// `None`: it was removed.
    pub(super) value: Option<Vec<u8>>,
}

/// The changes of some partitions' keys. Only keys whose values name bodies.
#[derive(Default)]
pub(super) struct Histories {
    partitions: BTreeMap<PartitionId, History>,
}

/// The changes of one partition's keys.
pub(super) type History = BTreeMap<Vec<u8>, Vec<Change>>;

impl Histories {
    pub(super) fn take(&mut self, entry: Entry) {
        let keys = self.partitions.entry(entry.partition).or_default();
        for Op { key, value, .. } in entry.ops {
            if is_kept(&key) {
                keys.entry(key).or_default().push(Change { lsn: entry.lsn, value });
            }
        }
    }

    /// The changes of a partition, of each key in the order of their commits. What was committed again has the number that
    /// it had.
    pub(super) fn remove(&mut self, partition: PartitionId) -> History {
        let mut history = self.partitions.remove(&partition).unwrap_or_default();
        history.values_mut().for_each(|changes| changes.sort_by_key(|change| change.lsn));
        history
    }
}

fn is_kept(key: &[u8]) -> bool {
    keys::spaces_with_bodies().iter().any(|(from, to)| (&from[..]..&to[..]).contains(&key))
}

/// Memory that `Histories` takes for an entry.
pub(super) fn weight(entry: &Entry) -> u64 {
    let kept = entry.ops.iter().filter(|op| is_kept(&op.key));
    kept.map(|op| (OP_OVERHEAD_BYTES + op.key.len() + op.value.as_ref().map_or(0, Vec::len)) as u64).sum()
}

/// What is known of the buckets.
#[derive(Default)]
pub(super) struct Buckets {
    /// The latest record of each.
    known: HashMap<BucketId, BucketRecord>,
}

impl Buckets {
    pub(super) fn take(&mut self, entry: &Entry) {
        let values = entry.ops.iter().filter(|op| keys::is_bucket(&op.key)).filter_map(|op| op.value.as_deref());
        values.for_each(|value| self.take_value(value));
    }

    /// Takes a value of the bucket key space.
    pub(super) fn take_value(&mut self, value: &[u8]) {
        let Ok(record) = BucketRecord::decode(value) else { return };
        let known = self.known.entry(record.id).or_insert_with(|| record.clone());
        if known.lsn <= record.lsn {
            *known = record;
        }
    }

    pub(super) fn name(&self, id: BucketId) -> Option<&str> {
        self.known.get(&id).map(|record| record.name.as_str())
    }

    /// Whether it is known to be gone, and with it all that was in it.
    pub(super) fn is_dead(&self, id: BucketId) -> bool {
        self.known.get(&id).is_some_and(|record| record.state == BucketState::Dead)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &BucketRecord> {
        self.known.values()
    }
}

/// Pages of data volumes that some record names, or that are known to be dead.
#[derive(Default)]
pub(super) struct Claims {
    pages: HashMap<VolumeId, Vec<(u32, u32)>>,
}

impl Claims {
    /// The range that the operation says was given up, if it is one that says so.
    pub(super) fn take_dead(&mut self, op: &Op, geometry: impl Fn(VolumeId) -> Option<Geometry>) {
        if let Some(value) = &op.value {
            self.take_dead_value(&op.key, value, geometry);
        }
    }

    pub(super) fn take_dead_value(
        &mut self,
        key: &[u8],
        value: &[u8],
        geometry: impl Fn(VolumeId) -> Option<Geometry>,
    ) {
        let extent = keys::parse_dead(key).and_then(|(volume, at)| parse_place_value(volume, at, value));
        if let Some(extent) = extent {
            self.take_extent(&extent, geometry);
        }
    }

    pub(super) fn take_body(&mut self, body: &Body, geometry: &impl Fn(VolumeId) -> Option<Geometry>) {
        match body {
            Body::Empty | Body::Small { .. } => {}
            Body::Extents(extents) => extents.iter().for_each(|extent| self.take_extent(extent, geometry)),
            Body::Pieces(pieces) => pieces.iter().for_each(|piece| self.take_body(piece, geometry)),
        }
    }

    fn take_extent(&mut self, extent: &Extent, geometry: impl Fn(VolumeId) -> Option<Geometry>) {
        let Some(pages) = geometry(extent.volume).and_then(|geometry| extent.pages_if_possible(geometry)) else {
            return;
        };
        self.pages.entry(extent.volume).or_default().push((extent.at.0, extent.at.0.saturating_add(pages)));
    }

    /// Puts the ranges in order, for `covers`.
    pub(super) fn settle(&mut self) {
        for ranges in self.pages.values_mut() {
            ranges.sort_unstable();
            let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
            for (from, to) in ranges.drain(..) {
                match merged.last_mut().filter(|last| last.1 >= from) {
                    Some(last) => last.1 = last.1.max(to),
                    None => merged.push((from, to)),
                }
            }
            *ranges = merged;
        }
    }

    pub(super) fn covers(&self, volume: VolumeId, page: u32) -> bool {
        let Some(ranges) = self.pages.get(&volume) else { return false };
        let behind = ranges.partition_point(|(from, _)| *from <= page);
        behind > 0 && page < ranges[behind - 1].1
    }
}

/// Bodies of one version, newest place first: compaction moves a body and keeps its version.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) records: Vec<Record>,
}

/// The versions of a key, newest first, and whether the newest change that is known removed it.
pub(super) fn versions(changes: &[Change]) -> (Vec<Version>, bool) {
    let mut versions: BTreeMap<Lsn, Vec<Record>> = BTreeMap::new();
    for change in changes {
        if let Some(Ok(record)) = change.value.as_deref().map(Record::decode) {
            versions.entry(record.lsn).or_default().push(record);
        }
    }
    let newest_first = versions.into_values().rev().map(|mut records| {
        records.reverse();
        Version { records }
    });
    (newest_first.collect(), changes.last().is_some_and(|change| change.value.is_none()))
}

/// The latest record of a part, and whether a later change removed it.
pub(super) fn part(changes: &[Change]) -> (Vec<PartRecord>, bool) {
    let mut parts: Vec<PartRecord> =
        changes.iter().filter_map(|change| PartRecord::decode(change.value.as_deref()?).ok()).collect();
    parts.reverse();
    (parts, changes.last().is_some_and(|change| change.value.is_none()))
}

//! What a run found and what it cannot know.

use std::collections::{BTreeMap, BTreeSet};

use types::BucketId;

use super::history::Buckets;
use super::log::{Logs, StreamFound};
use super::source::{DriveFound, Source};
use super::tables::Tables;
use super::{Found, Verdict, What};
use crate::format::volume::Class;
use crate::ids::{DeploymentId, PartitionId, VolumeId};

/// Things of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub found: u64,
    pub bytes: u64,
    /// Of which not every byte can be read, and how many bytes those are.
    pub partial: u64,
    pub bytes_missing: u64,
}

impl Count {
    fn add(&mut self, found: &Found) {
        self.found += 1;
        self.bytes += found.size;
        self.partial += u64::from(!found.is_whole());
        self.bytes_missing += found.bytes_missing();
    }
}

/// A bucket of which anything was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketFound {
    pub id: BucketId,
    /// `None`: no record of it is left.
    pub name: Option<String>,
    pub is_deleted: bool,
}

/// What a run found and what it cannot know.
#[derive(Debug)]
pub struct Report {
    pub deployment: DeploymentId,
    pub drives: Vec<DriveFound>,
    /// Of the newest epoch; `None` when it cannot be told which one that is.
    pub epoch: Option<u64>,
    pub volumes_log: usize,
    pub volumes_data: usize,
    /// Volumes of which no first page is left.
    pub volumes_headless: Vec<VolumeId>,
    /// Slot files that contradict the others of their volume.
    pub files_contradicting: Vec<std::path::PathBuf>,
    pub streams: Vec<StreamFound>,
    /// Partitions of which a copy of the tables was read to its end.
    pub partitions_with_tables: usize,
    /// Partitions of which it is certain what is current.
    pub partitions_certain: usize,
    pub partitions: usize,
    /// Tables that cannot be read, or not to their end.
    pub tables_failed: Vec<String>,
    pub buckets: Vec<BucketFound>,
    pub objects: BTreeMap<Verdict, Count>,
    pub parts: BTreeMap<Verdict, Count>,
    /// Uploads that were not completed, as far as is known.
    pub uploads: u64,
    pub unnamed: Count,
    /// Keys or values of an index that make no sense.
    pub unreadable_records: u64,
    seen: BTreeSet<u64>,
}

pub(super) fn begin(source: &Source, logs: &Logs) -> Report {
    Report {
        deployment: source.deployment,
        drives: source.drives.clone(),
        epoch: source.newest_topology().map(|topology| topology.number),
        volumes_log: source.volumes_of(Class::Log).count(),
        volumes_data: source.volumes_of(Class::Data).count(),
        volumes_headless: source.headless.clone(),
        files_contradicting: source.contradicting.clone(),
        streams: logs.streams().cloned().collect(),
        partitions_with_tables: 0,
        partitions_certain: 0,
        partitions: 0,
        tables_failed: Vec::new(),
        buckets: Vec::new(),
        objects: BTreeMap::new(),
        parts: BTreeMap::new(),
        uploads: 0,
        unnamed: Count::default(),
        unreadable_records: 0,
        seen: BTreeSet::new(),
    }
}

impl Report {
    pub(super) fn take_partition(&mut self, partition: PartitionId, tables: &Tables, is_certain: bool) {
        self.partitions += 1;
        self.partitions_certain += usize::from(is_certain);
        self.partitions_with_tables += usize::from(tables.is_there());
        self.tables_failed.extend(tables.failed.iter().map(|why| format!("partition {}: {why}", partition.0)));
    }

    /// A record of this bucket was found.
    pub(super) fn record(&mut self, bucket: BucketId) {
        self.seen.insert(bucket.0);
    }

    pub(super) fn count(&mut self, found: &Found) {
        match found.what {
            What::Object => self.objects.entry(found.verdict).or_default().add(found),
            What::Part { .. } => self.parts.entry(found.verdict).or_default().add(found),
            What::Unnamed { .. } => self.unnamed.add(found),
        }
    }

    pub(super) fn set_buckets(&mut self, buckets: &Buckets) {
        self.seen.extend(buckets.all().map(|record| record.id.0));
        let found = |id: &u64| {
            let id = BucketId(*id);
            BucketFound { id, name: buckets.name(id).map(str::to_owned), is_deleted: buckets.is_dead(id) }
        };
        self.buckets = self.seen.iter().map(found).collect();
    }

    /// Objects of this verdict.
    pub fn objects(&self, verdict: Verdict) -> Count {
        self.objects.get(&verdict).copied().unwrap_or_default()
    }

    /// Parts of this verdict.
    pub fn parts(&self, verdict: Verdict) -> Count {
        self.parts.get(&verdict).copied().unwrap_or_default()
    }

    /// Batches of commits that are known to be lost.
    pub fn batches_lost(&self) -> u64 {
        self.streams.iter().fold(0, |sum, stream| sum.saturating_add(stream.lost_count))
    }

    /// Whether something that may be alive cannot be read, or cannot be named, or commits are known to be lost. The room of
    /// what was deleted may have been given back.
    pub fn is_short(&self) -> bool {
        let partial = |counts: &BTreeMap<Verdict, Count>| {
            counts.iter().any(|(verdict, count)| verdict.is_live() && count.partial > 0)
        };
        partial(&self.objects)
            || partial(&self.parts)
            || self.unnamed.found > 0
            || self.batches_lost() > 0
            || !self.volumes_headless.is_empty()
            || self.unreadable_records > 0
            || self.buckets.iter().any(|bucket| bucket.name.is_none())
    }

    /// Whether it is certain of every partition what is current.
    pub fn is_certain(&self) -> bool {
        self.partitions_certain == self.partitions && self.epoch.is_some() && !self.streams.is_empty()
    }
}

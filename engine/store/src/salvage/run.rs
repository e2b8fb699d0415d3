//! One run: a look at all entries, then the partitions, as many at a time as the memory holds, then what is left over.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use types::{Attributes, BucketId, Etag, VersionId};

use super::body::{self, BODY_BYTES_MAX, Place};
use super::history::{self, Buckets, Change, Claims, Histories, History};
use super::log::Logs;
use super::report::{self, Report};
use super::source::Source;
use super::tables::Tables;
use super::{Found, Options, RunError, Verdict, What};
use crate::data::stripe_data;
use crate::format::batch::Entry;
use crate::format::fragment::{FRAGMENT_LEN_MAX, Header, fragment_pages};
use crate::format::record::{Body, Record, UploadRecord};
use crate::format::volume::Class;
use crate::ids::{Geometry, Lsn, PartitionId, SlotOffset, VolumeId};
use crate::index::keys;

type Each<'a> = &'a mut dyn FnMut(&Found) -> io::Result<()>;

pub(super) fn run(source: &Source, options: &Options, each: Each<'_>) -> Result<Report, RunError> {
    let mut buckets = Buckets::default();
    let mut claims = Claims::default();
    let mut weights: BTreeMap<PartitionId, u64> = BTreeMap::new();
    let logs = Logs::survey(source, |entry: &Entry| {
        buckets.take(entry);
        entry.ops.iter().for_each(|op| claims.take_dead(op, |volume| geometry(source, volume)));
        *weights.entry(entry.partition).or_default() += history::weight(entry);
    });
    for partition in source.partitions_with_tables().map_err(RunError::Source)? {
        weights.entry(partition).or_default();
    }
    // One of which nothing is left is not certain either.
    let known = source.topology.as_ref().map_or(0, |topology| topology.partition_count());
    for partition in (0..known).map(PartitionId) {
        weights.entry(partition).or_default();
    }
    let report = report::begin(source, &logs);
    let mut run = Run { source, options, logs: &logs, buckets, claims, report, each };
    run.take_buckets_of_tables();
    for group in groups(&weights, options.memory_bytes) {
        let mut histories = Histories::default();
        logs.replay(source, &group, |entry| histories.take(entry));
        for partition in group {
            run.partition(partition, histories.remove(partition)).map_err(RunError::Taker)?;
        }
    }
    run.unnamed().map_err(RunError::Taker)?;
    run.report.set_buckets(&run.buckets);
    Ok(run.report)
}

fn geometry(source: &Source, volume: VolumeId) -> Option<Geometry> {
    source.volumes.get(&volume).map(|described| described.page.geometry)
}

/// Partitions whose entries fit into the memory together; a larger one is alone.
fn groups(weights: &BTreeMap<PartitionId, u64>, memory_bytes: u64) -> Vec<BTreeSet<PartitionId>> {
    let mut groups: Vec<BTreeSet<PartitionId>> = Vec::new();
    let mut taken = 0;
    for (partition, weight) in weights {
        match groups.last_mut().filter(|_| taken + weight <= memory_bytes) {
            Some(group) => {
                group.insert(*partition);
                taken += weight;
            }
            None => {
                groups.push(BTreeSet::from([*partition]));
                taken = *weight;
            }
        }
    }
    groups
}

/// Whether a record can be one of ours, however it came to be: bounds what it makes its reader do.
fn is_possible(body: &Body) -> bool {
    let stripe_max = u64::from(Geometry::DATA_MAX) * u64::from(FRAGMENT_LEN_MAX);
    let part = |body: &Body| match body {
        Body::Small { .. } => body.len() <= stripe_max,
        Body::Empty | Body::Extents(_) | Body::Pieces(_) => true,
    };
    let parts = match body {
        Body::Pieces(pieces) => pieces.iter().all(part),
        other => part(other),
    };
    parts && body.len() <= BODY_BYTES_MAX
}

struct Run<'a> {
    source: &'a Source,
    options: &'a Options,
    logs: &'a Logs,
    buckets: Buckets,
    claims: Claims,
    report: Report,
    each: Each<'a>,
}

impl Run<'_> {
    /// Buckets whose records are in no log any more.
    fn take_buckets_of_tables(&mut self) {
        let mut tables = Tables::open(self.source, PartitionId::BUCKETS);
        let (from, to) = keys::buckets();
        tables.seek(from, to);
        while let Some((_, value)) = tables.pop() {
            self.buckets.take_value(&value);
        }
    }

    /// Goes through the keys of a partition: what its tables say, with what the logs say of each before and after.
    fn partition(&mut self, partition: PartitionId, mut history: History) -> io::Result<()> {
        let mut tables = Tables::open(self.source, partition);
        let is_certain = self.is_certain(&tables);
        if tables.is_there() {
            self.take_dead_of_tables(&mut tables);
        }
        for (from, to) in keys::spaces_with_bodies() {
            let mut ended = None;
            tables.seek(from.clone(), to.clone());
            let mut logged = history.split_off(&from);
            history.append(&mut logged.split_off(&to));
            let mut logged = logged.into_iter().peekable();
            loop {
                let in_tables = tables.peek().map(|(key, _)| key.clone());
                let (key, mut changes) = match (in_tables, logged.peek()) {
                    (Some(key), Some((other, _))) if *key < other[..] => (key.to_vec(), Vec::new()),
                    (Some(key), None) => (key.to_vec(), Vec::new()),
                    (_, Some(_)) => logged.next().expect("it was peeked at"),
                    (None, None) => break,
                };
                // Tables that cannot be read any further prove nothing of the keys behind.
                if tables.is_there() {
                    let value = match tables.peek() {
                        Some((next, _)) if **next == *key => tables.pop().map(|(_, value)| value.to_vec()),
                        _ => None,
                    };
                    insert_base(&mut changes, Change { lsn: tables.ckpt.lsn, value });
                }
                let is_certain = is_certain && !tables.broke_off();
                self.key(partition, &key, &changes, is_certain, &mut ended)?;
            }
        }
        self.report.take_partition(partition, &tables, is_certain && !tables.broke_off());
        Ok(())
    }

    /// Whether nothing can be missing behind these tables or, without any, since the deployment was formed.
    fn is_certain(&self, tables: &Tables) -> bool {
        let Some(topology) = self.source.newest_topology() else { return false };
        let from_birth = !topology.tables_count();
        let base = if tables.is_there() { tables.counts || from_birth } else { from_birth };
        base && self.logs.is_complete_behind(tables.ckpt)
    }

    fn take_dead_of_tables(&mut self, tables: &mut Tables) {
        let (from, to) = keys::all_dead();
        tables.seek(from, to);
        while let Some((key, value)) = tables.pop() {
            self.claims.take_dead_value(&key, &value, |volume| geometry(self.source, volume));
        }
    }

    /// `ended`: the upload whose parts come next, and whether it is known to have ended.
    fn key(
        &mut self,
        partition: PartitionId,
        key: &[u8],
        changes: &[Change],
        is_certain: bool,
        ended: &mut Option<(keys::UploadKey, bool)>,
    ) -> io::Result<()> {
        let live = if is_certain { Verdict::Current } else { Verdict::PossiblyDeleted };
        if let Some(upload) = keys::parse_upload(key) {
            let of_upload = keys::UploadKey { part: None, ..upload.clone() };
            let Some(number) = upload.part else {
                let is_removed = changes.last().is_some_and(|change| change.value.is_none());
                let last = changes.iter().rev().find_map(|change| change.value.as_deref());
                if !is_removed && last.is_some_and(|value| UploadRecord::decode(value).is_ok()) {
                    self.report.uploads += 1;
                }
                *ended = Some((of_upload, is_removed));
                return Ok(());
            };
            let is_ended = ended.as_ref().is_some_and(|(of, is_ended)| *of == of_upload && *is_ended);
            let (parts, is_removed) = history::part(changes);
            let verdict = if is_removed || is_ended { Verdict::Deleted } else { live };
            let what = What::Part { upload: upload.upload, number };
            return self.part(partition, upload.bucket, upload.key, what, parts, verdict);
        }
        let Some(owner) = keys::owner_of(key) else {
            self.report.unreadable_records += 1;
            return Ok(());
        };
        let (bucket, name) =
            keys::parse_current(&owner).map(|(bucket, name)| (bucket, name.to_vec())).expect("it is one");
        let is_current = !keys::is_version(key);
        let (versions, is_removed) = history::versions(changes);
        for (age, version) in versions.into_iter().enumerate() {
            let verdict = match (is_removed, age) {
                (true, _) => Verdict::Deleted,
                // Behind another version or a delete marker: what a reader of the key did not get.
                (false, 0) if is_current => live,
                (false, _) => Verdict::Superseded,
            };
            self.object(partition, bucket, &name, version.records, verdict)?;
        }
        Ok(())
    }

    fn object(
        &mut self,
        partition: PartitionId,
        bucket: BucketId,
        key: &[u8],
        records: Vec<Record>,
        verdict: Verdict,
    ) -> io::Result<()> {
        let Some(newest) = records.first().filter(|record| !record.delete_marker).cloned() else { return Ok(()) };
        let found = Found {
            id: format!("{:04x}-{:016x}", partition.0, newest.lsn.0),
            what: What::Object,
            verdict,
            bucket: Some(bucket),
            bucket_name: None,
            key: None,
            version: newest.version,
            lsn: newest.lsn,
            modified: Some(newest.modified),
            etag: Some(newest.etag),
            attributes: newest.attributes,
            parts: newest.parts.len(),
            size: newest.body.len(),
            missing: Vec::new(),
            place: Place::Record(Body::Empty),
        };
        let bodies = records.into_iter().map(|record| record.body).collect();
        self.found(found, key, bodies)
    }

    fn part(
        &mut self,
        partition: PartitionId,
        bucket: BucketId,
        key: Vec<u8>,
        what: What,
        parts: Vec<crate::format::record::PartRecord>,
        verdict: Verdict,
    ) -> io::Result<()> {
        let Some(newest) = parts.first() else { return Ok(()) };
        let (lsn, modified, md5, size) = (newest.lsn, newest.modified, newest.md5, newest.size());
        let found = Found {
            id: format!("{:04x}-{:016x}", partition.0, lsn.0),
            what,
            verdict,
            bucket: Some(bucket),
            bucket_name: None,
            key: None,
            version: VersionId::NULL,
            lsn,
            modified: Some(modified),
            etag: Some(Etag::from_md5(md5)),
            attributes: Attributes::new(),
            parts: 0,
            size,
            missing: Vec::new(),
            place: Place::Record(Body::Empty),
        };
        // Others of the number were replaced: their bodies are let go, and named by nobody.
        let bodies: Vec<Body> = parts.into_iter().map(|part| part.body).collect();
        self.claim(&bodies);
        let same = bodies.into_iter().filter(|body| body.len() == size).collect();
        self.found(found, &key, same)
    }

    fn claim(&mut self, bodies: &[Body]) {
        let source = self.source;
        bodies.iter().for_each(|body| self.claims.take_body(body, &|volume| geometry(source, volume)));
    }

    /// Looks which of a version's places can be read best, and hands it over.
    fn found(&mut self, mut found: Found, key: &[u8], bodies: Vec<Body>) -> io::Result<()> {
        self.claim(&bodies);
        let bucket = found.bucket.expect("a record is of a bucket");
        if self.buckets.is_dead(bucket) {
            found.verdict = Verdict::Deleted;
        }
        self.report.record(bucket);
        if !found.verdict.is_live() && !self.options.deleted {
            // Not handed over, and so not read: nothing is known to be missing.
            self.report.count(&found);
            return Ok(());
        }
        let Ok(key) = String::from_utf8(key.to_vec()) else {
            self.report.unreadable_records += 1;
            return Ok(());
        };
        found.key = Some(key);
        found.bucket_name = self.buckets.name(bucket).map(str::to_owned);
        let mut best: Option<(u64, Vec<std::ops::Range<u64>>, Place)> = None;
        for body in bodies.into_iter().filter(is_possible) {
            let place = Place::Record(body);
            let missing = body::missing(self.source, &place);
            let bytes: u64 = missing.iter().map(|range| range.end - range.start).sum();
            if best.as_ref().is_none_or(|(fewest, ..)| bytes < *fewest) {
                let is_whole = bytes == 0;
                best = Some((bytes, missing, place));
                if is_whole {
                    break;
                }
            }
        }
        let Some((_, missing, place)) = best else {
            self.report.unreadable_records += 1;
            return Ok(());
        };
        (found.missing, found.place) = (missing, place);
        self.report.count(&found);
        (self.each)(&found)
    }

    /// Goes through the data volumes for stripes that nothing names.
    fn unnamed(&mut self) -> io::Result<()> {
        self.claims.settle();
        let volumes: Vec<VolumeId> = self.source.volumes_of(Class::Data).collect();
        for volume in volumes {
            let Some(slots) = self.source.slots(volume) else { continue };
            let full = stripe_data(slots.page.geometry);
            let mut stripes: Vec<(SlotOffset, u32)> = Vec::new();
            let mut next = None;
            for header in slots.walk(slots.end()) {
                let Header { slot_offset: at, stripe_len, fragment_len, .. } = header;
                if next != Some(at) {
                    self.hand_over_unnamed(volume, std::mem::take(&mut stripes))?;
                }
                next = at.0.checked_add(fragment_pages(fragment_len)).map(SlotOffset);
                if self.claims.covers(volume, at.0) {
                    self.hand_over_unnamed(volume, std::mem::take(&mut stripes))?;
                    continue;
                }
                stripes.push((at, stripe_len));
                // A stripe that is not full is the last one of its body.
                if stripe_len != full {
                    self.hand_over_unnamed(volume, std::mem::take(&mut stripes))?;
                }
            }
            self.hand_over_unnamed(volume, stripes)?;
        }
        Ok(())
    }

    fn hand_over_unnamed(&mut self, volume: VolumeId, stripes: Vec<(SlotOffset, u32)>) -> io::Result<()> {
        let Some((at, _)) = stripes.first().copied() else { return Ok(()) };
        let place = Place::Stripes(volume, stripes);
        let found = Found {
            id: format!("{volume}-{:08x}", at.0),
            what: What::Unnamed { volume, at },
            verdict: Verdict::PossiblyDeleted,
            bucket: None,
            bucket_name: None,
            key: None,
            version: VersionId::NULL,
            lsn: Lsn::ZERO,
            modified: None,
            etag: None,
            attributes: Attributes::new(),
            parts: 0,
            size: place.len(),
            missing: body::missing(self.source, &place),
            place,
        };
        self.report.count(&found);
        if self.options.unnamed { (self.each)(&found) } else { Ok(()) }
    }
}

/// Puts what the tables say behind all commits that they cover.
fn insert_base(changes: &mut Vec<Change>, base: Change) {
    let covered = changes.partition_point(|change| change.lsn <= base.lsn);
    changes.insert(covered, base);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_taken_together_as_long_as_the_memory_holds_them() {
        let weights: BTreeMap<_, _> =
            [(0, 3), (1, 4), (2, 9), (3, 1), (4, 0)].map(|(id, w)| (PartitionId(id), w)).into();
        let check = |memory, expect: &[&[u16]]| {
            let found: Vec<Vec<u16>> =
                groups(&weights, memory).iter().map(|group| group.iter().map(|id| id.0).collect()).collect();
            assert_eq!(found, expect, "{memory}");
        };
        check(100, &[&[0, 1, 2, 3, 4]]);
        check(8, &[&[0, 1], &[2], &[3, 4]]);
        check(0, &[&[0], &[1], &[2], &[3], &[4]]);
    }

    #[test]
    fn tables_stand_behind_what_they_cover() {
        let change = |lsn| Change { lsn: Lsn(lsn), value: Some(Vec::new()) };
        let mut changes = vec![change(1), change(5), change(6)];
        insert_base(&mut changes, Change { lsn: Lsn(5), value: None });
        let order: Vec<(u64, bool)> = changes.iter().map(|change| (change.lsn.0, change.value.is_some())).collect();
        assert_eq!(order, [(1, true), (5, true), (5, false), (6, true)]);
    }
}

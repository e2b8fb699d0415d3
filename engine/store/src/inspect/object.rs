//! Where an object lies: its record from the tables and the log, then every fragment of every stripe that it names.

use std::path::PathBuf;

use types::{BucketName, Etag, ObjectKey, Timestamp, VersionId};

use super::deployment::Deployment;
use super::stripe::{Files, Stripe, StripeReport, Walk};
use super::{Class, Failure};
use crate::data::Extent;
use crate::format::batch::{self, Address, Ckpt, Place};
use crate::format::fragment::fragment_pages;
use crate::format::record::{Body, BucketRecord, Record};
use crate::ids::{Lsn, PartitionId, SlotOffset, VolumeId};
use crate::index::{self, keys};
use crate::log::BATCHES_IN_FLIGHT_MAX;
use crate::stripe::STRIPE_LEN_MAX;

/// A running server may flush between two reads: then the record is looked for again.
const ATTEMPTS_MAX: usize = 5;
/// Stripes that a report lists.
const STRIPES_LISTED_MAX: usize = 1024;
/// Of these, room that is kept for stripes that are not whole.
const STRIPES_BAD_MIN: usize = 768;
/// Where a log has no recorded end, it ends when so many pages hold no header: more than what was on its way.
const LOG_GAP_PAGES: u32 = (BATCHES_IN_FLIGHT_MAX as u32 + 1) * fragment_pages(STRIPE_LEN_MAX as u32);

/// Where the record of an object was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundIn {
    /// In this copy of its partition's tables.
    Tables(PathBuf),
    /// In a commit batch that the tables do not hold yet. The last batches of a running server's log may not have been
    /// acknowledged yet.
    Log { volume: VolumeId, at: SlotOffset },
}

/// An object, and what is left of it on the drives.
#[derive(Debug)]
pub struct ObjectReport {
    pub bucket: String,
    pub key: String,
    pub partition: PartitionId,
    pub found_in: FoundIn,
    pub version: VersionId,
    pub lsn: Lsn,
    pub modified: Timestamp,
    pub etag: Etag,
    pub size: u64,
    /// Parts of its upload; 0 when it came in one.
    pub parts: usize,
    /// Stripes that hold its bytes; of these, how many miss fragments but can be read, and how many cannot.
    pub stripes: usize,
    pub stripes_degraded: usize,
    pub stripes_lost: usize,
    /// Small bodies whose bytes were read and are not those that were committed.
    pub bodies_wrong: usize,
    /// Stripes in the order of the object; of a long one those that are not whole, and some others.
    pub listed: Vec<StripeReport>,
}

impl ObjectReport {
    /// Whether every byte can be read.
    pub fn is_readable(&self) -> bool {
        self.stripes_lost == 0 && self.bodies_wrong == 0
    }
}

/// Finds the current object of a key and verifies every fragment that holds bytes of it.
///
/// Errors: `NoBucket`, `NoObject`; `Index` when the tables of its partition cannot be read, or change all the time.
/// Cost: the log beyond the tables' checkpoint is read, then the whole object with its parity.
pub fn object(dirs: &[PathBuf], bucket: &BucketName, key: &ObjectKey) -> Result<ObjectReport, Failure> {
    let bad = |what: &str| Failure::Index(format!("the record of {what} cannot be read"));
    let (_, value, _) = find(dirs, |_| (PartitionId::BUCKETS, keys::bucket(bucket.as_str())))?;
    let no_bucket = || Failure::NoBucket(bucket.as_str().to_owned());
    let found = BucketRecord::decode(&value.ok_or_else(no_bucket)?.0).map_err(|_| bad(bucket.as_str()))?;
    let (deployment, value, partition) = find(dirs, |partitions| {
        (keys::partition_of(found.id, key.as_bytes(), partitions), keys::current(found.id, key.as_bytes()))
    })?;
    let (value, found_in) = value.ok_or_else(|| Failure::NoObject(format!("{}/{}", bucket.as_str(), key.as_str())))?;
    let record = Record::decode(&value).map_err(|_| bad(key.as_str()))?;
    let mut report = ObjectReport {
        bucket: bucket.as_str().to_owned(),
        key: key.as_str().to_owned(),
        partition,
        found_in,
        version: record.version,
        lsn: record.lsn,
        modified: record.modified,
        etag: record.etag,
        size: record.size(),
        parts: record.parts.len(),
        stripes: 0,
        stripes_degraded: 0,
        stripes_lost: 0,
        bodies_wrong: 0,
        listed: Vec::new(),
    };
    report.add_body(&deployment, &record.body);
    Ok(report)
}

impl ObjectReport {
    fn add_body(&mut self, deployment: &Deployment, body: &Body) {
        match body {
            Body::Empty => {}
            Body::Small { address, crc } => self.add_small(deployment, *address, *crc),
            Body::Extents(extents) => extents.iter().for_each(|extent| self.add_extent(deployment, extent)),
            Body::Pieces(pieces) => pieces.iter().for_each(|piece| self.add_body(deployment, piece)),
        }
    }

    fn add_small(&mut self, deployment: &Deployment, address: Address, crc: u32) {
        let Ok(files) = Files::open(deployment, address.volume) else { return self.add_lost() };
        let stripe = files.stripe(address.slot_offset);
        if let Some(linear) = stripe.linear() {
            let right = linear.get(address.range()).is_some_and(|bytes| codec::checksum::crc32c(bytes) == crc);
            self.bodies_wrong += usize::from(!right);
        }
        self.add(&files, &stripe);
    }

    fn add_extent(&mut self, deployment: &Deployment, extent: &Extent) {
        let Ok(files) = Files::open(deployment, extent.volume) else { return self.add_lost() };
        let mut offset = 0;
        while offset < extent.len {
            let Some(part) = extent.stripe(files.page.geometry, offset, extent.len) else { return self.add_lost() };
            offset += part.range.len() as u64;
            self.add(&files, &files.stripe(part.at));
        }
    }

    fn add(&mut self, files: &Files, stripe: &Stripe) {
        let report = stripe.report(files);
        let whole = report.is_whole();
        self.stripes += 1;
        self.stripes_lost += usize::from(!report.is_readable());
        self.stripes_degraded += usize::from(report.is_readable() && !whole);
        let room = if whole { STRIPES_LISTED_MAX - STRIPES_BAD_MIN } else { STRIPES_LISTED_MAX };
        if self.listed.len() < room {
            self.listed.push(report);
        }
    }

    /// A volume of which no file is there, or a place that cannot be.
    fn add_lost(&mut self) {
        self.stripes += 1;
        self.stripes_lost += 1;
    }
}

type Found = Option<(Vec<u8>, FoundIn)>;

/// The value of the key that `place` names, given the number of partitions; and what it was found with.
fn find(
    dirs: &[PathBuf],
    place: impl Fn(u16) -> (PartitionId, Vec<u8>),
) -> Result<(Deployment, Found, PartitionId), Failure> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS_MAX {
        let deployment = Deployment::open(dirs)?;
        let (partition, key) = place(deployment.topology.partition_count());
        let tables = match in_tables(&deployment, partition, &key) {
            Ok(tables) => tables,
            // Perhaps it was being replaced.
            Err(what) => {
                last = what;
                continue;
            }
        };
        let ckpt = tables.as_ref().map_or(Ckpt { lsn: Lsn::ZERO, position: None }, |tables| tables.ckpt);
        let logged = in_log(&deployment, partition, &key, ckpt);
        if let Some(Tables { dir, version, .. }) = &tables
            && index::version(dir).ok().flatten().as_ref() != Some(version)
        {
            "they change all the time".clone_into(&mut last);
            continue;
        }
        let found = match logged {
            Some(logged) => logged.value.map(|value| (value, logged.found_in)),
            None => tables.and_then(|tables| Some((tables.value?, FoundIn::Tables(tables.dir)))),
        };
        return Ok((deployment, found, partition));
    }
    Err(Failure::Index(format!("tables cannot be read: {last}")))
}

/// What the freshest copy of a partition's tables says.
struct Tables {
    dir: PathBuf,
    ckpt: Ckpt,
    value: Option<Vec<u8>>,
    version: Vec<u8>,
}

/// `None` for a partition that has no tables yet.
fn in_tables(deployment: &Deployment, partition: PartitionId, key: &[u8]) -> Result<Option<Tables>, String> {
    let mut best: Option<Tables> = None;
    let mut failed = None;
    for dir in deployment.index_dirs(partition) {
        match index::look(&dir, key) {
            Ok(Some(index::Looked { ckpt, value, version })) => {
                if best.as_ref().is_none_or(|best| best.ckpt.lsn < ckpt.lsn) {
                    best = Some(Tables { dir, ckpt, value, version });
                }
            }
            Ok(None) => {}
            Err(error) => failed = Some(format!("{}: {error}", dir.display())),
        }
    }
    match (best, failed) {
        (Some(best), _) => Ok(Some(best)),
        (None, Some(failed)) => Err(failed),
        (None, None) if deployment.topology.tables_count() => {
            Err(format!("no copy of partition {} is on these drives", partition.0))
        }
        (None, None) => Ok(None),
    }
}

/// The newest change of a key in the log.
struct Logged {
    lsn: Lsn,
    /// `None`: it was removed.
    value: Option<Vec<u8>>,
    found_in: FoundIn,
}

/// The newest change of `key` beyond `ckpt` in any log volume. Batches that cannot be read are passed over.
fn in_log(deployment: &Deployment, partition: PartitionId, key: &[u8], ckpt: Ckpt) -> Option<Logged> {
    let mut newest: Option<Logged> = None;
    // A checkpoint covers all earlier starts; within its own the LSN tells.
    let covered = |volume: VolumeId| ckpt.position.is_some_and(|position| volume.start() < position.volume.start());
    let logs = deployment.volumes.values().filter(|page| page.class == Class::Log && !covered(page.volume));
    for page in logs {
        let Ok(files) = Files::open(deployment, page.volume) else { continue };
        let recorded = deployment.end(page.volume);
        let gap_max = if recorded.is_some() { u32::MAX } else { LOG_GAP_PAGES };
        for at in Walk::new(&files, recorded.unwrap_or(files.end()), gap_max) {
            let stripe = files.stripe(at);
            let (Some(header), Some(linear)) = (stripe.header, stripe.linear()) else { continue };
            let place = Place { volume: page.volume, at, fragment_len: header.fragment_len };
            let Ok(entries) = batch::decode(&linear, place) else { continue };
            for entry in entries.into_iter().filter(|entry| entry.partition == partition && entry.lsn > ckpt.lsn) {
                // What was committed again has the same number: the first one counts.
                if newest.as_ref().is_some_and(|newest| newest.lsn >= entry.lsn) {
                    continue;
                }
                if let Some(op) = entry.ops.into_iter().rev().find(|op| op.key == key) {
                    let found_in = FoundIn::Log { volume: page.volume, at };
                    newest = Some(Logged { lsn: entry.lsn, value: op.value, found_in });
                }
            }
        }
    }
    newest
}

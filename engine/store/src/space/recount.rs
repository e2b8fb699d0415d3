//! Counts anew what a partition keeps alive, from its records alone: after a restore that lacks commits, what was counted along
//! the way is wrong.
//!
//! Records say what lives. From them follow the entries of extents (`e/`), the counters, and that no living extent has a dead
//! range (`g/`). What is corrected goes into the memtable without a commit: nobody else commits meanwhile, and before the mark
//! of the restore is taken away all of it is in the tables of all copies. A walk over the corrected index must find nothing more
//! to correct. An extent with two owners, of which one could free what the other has, is refused.
//!
//! Extents are compared with their entries in order of their places, so many at a time as memory is to be had for.
//!
//! Memory: `EXTENTS_MAX` extents, counters of volumes and buckets, and pages of rows. Cost: reads the index twice, and the
//! records once more for each further `EXTENTS_MAX` extents, and where entries are missing.

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{BTreeSet, HashMap};

use types::BucketId;

use crate::data::Extent;
use crate::format::record::{Body, PartRecord, Record};
use crate::ids::{SlotOffset, VolumeId};
use crate::index::keys::UploadKey;
use crate::index::{Bytes, keys};
use crate::list::scan_up_to;
use crate::node::Node;
use crate::object::{BAD_RECORD, parse_place_value, place_value};
use crate::partition::{Live, Partition, Usage, View};

/// Rows read at a time.
const ROWS: usize = 4_096;

/// Extents in memory at a time: about 64 MiB.
pub(crate) const EXTENTS_MAX: usize = 1 << 20;

/// Errors are one line about what cannot be read or does not fit together.
type Result<T> = std::result::Result<T, String>;

/// What a partition names, and what had to be put right for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recounted {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    /// Objects, and parts of uploads, of which a volume is gone, or lies on too few drives to be read; and their bytes.
    /// Ranges that were freed in volumes that are there are not looked for.
    pub(crate) short: u64,
    pub(crate) bytes_short: u64,
    /// Parts of uploads of which nothing is known any more.
    pub(crate) parts_dropped: u64,
    /// Entries of extents that no record names, and their bytes.
    pub(crate) extents_dropped: u64,
    pub(crate) bytes_dropped: u64,
    /// Entries that were missing, and dead ranges of what is alive.
    pub(crate) corrected: u64,
    /// Buckets that have uploads in progress.
    pub(crate) uploads_in: BTreeSet<BucketId>,
    live: HashMap<VolumeId, Live>,
    usage: HashMap<BucketId, Usage>,
}

impl Recounted {
    fn changes(&self) -> u64 {
        self.parts_dropped + self.extents_dropped + self.corrected
    }

    /// Buckets that have versions beside the current ones.
    pub(crate) fn versions_in(&self) -> impl Iterator<Item = BucketId> {
        self.usage.iter().filter(|(_, usage)| usage.versions > 0).map(|(bucket, _)| *bucket)
    }

    /// Buckets that have objects.
    pub(crate) fn objects_in(&self) -> impl Iterator<Item = BucketId> {
        self.usage.keys().copied()
    }

    fn add(&mut self, node: &Node, row: &Row) {
        let body = match row {
            Row::Object { bucket, record, is_current } => {
                let usage = self.usage.entry(*bucket).or_default();
                *usage = *usage + Usage::of(record.size(), *is_current);
                self.objects += 1;
                self.bytes += record.size();
                &record.body
            }
            Row::Upload(upload) => {
                self.uploads_in.insert(upload.bucket);
                return;
            }
            Row::Part { part, .. } => &part.body,
        };
        let mut is_short = false;
        let mut bytes = 0;
        each_place(body, &mut |place| {
            let (volume, len) = match place {
                Place::Small(volume, len) => (volume, u64::from(len)),
                Place::Large(extent) => (extent.volume, extent.len),
            };
            *self.live.entry(volume).or_default() += Live::one(len as i64);
            is_short |= !node.can_read(volume);
            bytes += len;
        });
        self.short += u64::from(is_short);
        self.bytes_short += if is_short { bytes } else { 0 };
    }
}

/// Corrects a partition and has it flushed into all its copies. It must take no commits. At most `extents_max` extents are
/// in memory at a time.
///
/// Errors: then only part of it may be corrected.
pub(crate) async fn recount(partition: &Partition, node: &Node, extents_max: usize) -> Result<Recounted> {
    let correct = |key, value| partition.correct(key, value);
    let counted = walk(partition, node, extents_max, &correct).await?;
    partition.set_counters(counted.live.clone(), counted.usage.clone());
    partition.flush().await.map_err(text)?;
    let again = verify(partition, node, extents_max).await?;
    if (&again.live, &again.usage) != (&counted.live, &counted.usage) {
        return Err("its index is not what was written".to_owned());
    }
    Ok(counted)
}

/// Counts what is named, and compares it with what is listed and with the counters in the tables; changes nothing. Nothing may
/// be committed meanwhile, and everything must be flushed.
///
/// Errors: what differs.
pub(crate) async fn verify(partition: &Partition, node: &Node, extents_max: usize) -> Result<Recounted> {
    let counted = walk(partition, node, extents_max, &|_, _| {}).await?;
    if counted.changes() > 0 {
        return Err(format!("records and what is listed differ in {} places", counted.changes()));
    }
    if !partition.has_counters(&counted.live, &counted.usage).await.map_err(text)? {
        return Err("its tables do not have what was counted".to_owned());
    }
    Ok(counted)
}

/// Takes a key and what its value should be.
trait Correct: Fn(Vec<u8>, Option<Vec<u8>>) {}

impl<F: Fn(Vec<u8>, Option<Vec<u8>>)> Correct for F {}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Where an extent begins.
type At = (VolumeId, SlotOffset);

/// The extents that records name from one place up to another.
struct Window {
    from: At,
    /// `None`: all that follow.
    end: Option<At>,
    extents: BTreeMap<At, Extent>,
    extents_max: usize,
}

impl Window {
    fn starting(from: At, extents_max: usize) -> Window {
        assert!(extents_max > 0, "a window holds an extent");
        Window { from, end: None, extents: BTreeMap::new(), extents_max }
    }

    fn covers(&self, at: At) -> bool {
        at >= self.from && self.end.is_none_or(|end| at < end)
    }

    /// Takes an extent if it lies in the window, which ends earlier when it is full.
    fn take(&mut self, extent: &Extent) -> Result<()> {
        let at = (extent.volume, extent.at);
        if !self.covers(at) {
            return Ok(());
        }
        match self.extents.entry(at) {
            Entry::Vacant(place) => place.insert(*extent),
            Entry::Occupied(_) => {
                let volume = extent.volume;
                return Err(format!(
                    "two records name the same bytes of volume {volume}: deleting one would free what the other has"
                ));
            }
        };
        if self.extents.len() > self.extents_max {
            self.end = self.extents.pop_last().map(|(at, _)| at);
        }
        Ok(())
    }

    /// Keys of the space of `key` that belong to it, and of `all` when it has no end.
    fn range(&self, key: fn(VolumeId, SlotOffset) -> Vec<u8>, all: (Vec<u8>, Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
        (key(self.from.0, self.from.1), self.end.map_or(all.1, |(volume, at)| key(volume, at)))
    }
}

/// Hands to `correct` what should be another value, or none.
async fn walk(partition: &Partition, node: &Node, extents_max: usize, correct: &impl Correct) -> Result<Recounted> {
    let mut found = Recounted { parts_dropped: drop_orphans(partition, correct).await?, ..Recounted::default() };
    let mut window = Window::starting((VolumeId(0), SlotOffset(0)), extents_max);
    each_row(partition, async |row, _| {
        found.add(node, row);
        extents(row).into_iter().try_for_each(|extent| window.take(&extent))
    })
    .await?;
    loop {
        compare(partition, &mut found, &window, correct).await?;
        let Some(end) = window.end else { return Ok(found) };
        window = Window::starting(end, extents_max);
        each_row(partition, async |row, _| extents(row).into_iter().try_for_each(|extent| window.take(&extent)))
            .await?;
    }
}

/// Makes entries and dead ranges in the window what its extents say.
async fn compare(partition: &Partition, found: &mut Recounted, window: &Window, correct: &impl Correct) -> Result<()> {
    let mut missing: BTreeSet<At> = window.extents.keys().copied().collect();
    let (mut from, to) = window.range(keys::extent, keys::all_extents());
    while let Some(rows) = page(partition, &mut from, &to).await? {
        for (key, value) in &rows {
            let at = keys::parse_place(key).ok_or_else(|| text(BAD_RECORD))?;
            let listed = parse_place_value(at.0, at.1, value);
            match window.extents.get(&at) {
                Some(extent) if listed == Some(*extent) => drop(missing.remove(&at)),
                // Made anew below.
                Some(_) => {}
                None => {
                    correct(key.to_vec(), None);
                    found.extents_dropped += 1;
                    found.bytes_dropped += listed.map_or(0, |extent| extent.len);
                }
            }
        }
        partition.flush_if_large().await;
    }
    let (mut from, to) = window.range(keys::dead, keys::all_dead());
    while let Some(rows) = page(partition, &mut from, &to).await? {
        for (key, _) in &rows {
            let at = keys::parse_place(key).ok_or_else(|| text(BAD_RECORD))?;
            if window.extents.contains_key(&at) {
                correct(key.to_vec(), None);
                found.corrected += 1;
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    each_row(partition, async |row, owner| {
        for extent in extents(row).iter().filter(|extent| missing.contains(&(extent.volume, extent.at))) {
            let mut value = place_value(extent);
            value.extend(owner);
            correct(keys::extent(extent.volume, extent.at), Some(value));
            found.corrected += 1;
        }
        partition.flush_if_large().await;
        Ok(())
    })
    .await
}

/// The next rows from `from` on, which moves behind them; `None` when there are no more.
async fn page(partition: &Partition, from: &mut Vec<u8>, to: &[u8]) -> Result<Option<Vec<(Bytes, Bytes)>>> {
    let rows = scan_up_to(partition, from.clone(), to, ROWS).await.map_err(text)?;
    let Some((last, _)) = rows.last() else { return Ok(None) };
    *from = keys::successor(last);
    Ok(Some(rows))
}

/// What keeps bytes alive, or will.
enum Row {
    Object {
        bucket: BucketId,
        record: Record,
        /// Not one of the other versions.
        is_current: bool,
    },
    Upload(UploadKey),
    /// One whose bytes no object has.
    Part {
        part: PartRecord,
    },
}

/// Hands every row to `f`, with the key of the object that it is of: the owner of its extents.
async fn each_row(partition: &Partition, mut f: impl AsyncFnMut(&Row, &[u8]) -> Result<()>) -> Result<()> {
    for (mut from, to) in keys::spaces_with_bodies() {
        while let Some(rows) = page(partition, &mut from, &to).await? {
            for (key, value) in &rows {
                let Some(upload) = keys::parse_upload(key) else {
                    let owner = keys::owner_of(key).ok_or_else(|| text(BAD_RECORD))?;
                    let (bucket, _) = keys::parse_current(&owner).ok_or_else(|| text(BAD_RECORD))?;
                    let record = Record::decode(value).map_err(|_| text(BAD_RECORD))?;
                    f(&Row::Object { bucket, record, is_current: !keys::is_version(key) }, &owner).await?;
                    continue;
                };
                let owner = keys::current(upload.bucket, &upload.key);
                match standing(partition, &upload).await? {
                    Standing::Upload => f(&Row::Upload(upload), &owner).await?,
                    Standing::Owner => {
                        let part = PartRecord::decode(value).map_err(|_| text(BAD_RECORD))?;
                        f(&Row::Part { part }, &owner).await?;
                    }
                    Standing::Taken | Standing::Orphan => {}
                }
            }
        }
    }
    Ok(())
}

/// Removes the parts of which neither upload nor note is left, since the commit that cleared them is lost; how many. An
/// object may have their bytes, so they go without letting go of them.
async fn drop_orphans(partition: &Partition, correct: &impl Correct) -> Result<u64> {
    let mut dropped = 0;
    let (mut from, to) = keys::all_uploads();
    while let Some(rows) = page(partition, &mut from, &to).await? {
        for (key, _) in &rows {
            let upload = keys::parse_upload(key).ok_or_else(|| text(BAD_RECORD))?;
            if standing(partition, &upload).await? == Standing::Orphan {
                correct(key.to_vec(), None);
                dropped += 1;
            }
        }
        partition.flush_if_large().await;
    }
    Ok(dropped)
}

/// What a row of the uploads' space is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// An upload, not a part of one.
    Upload,
    /// A part that keeps its bytes alive.
    Owner,
    /// A part whose bytes an object has now.
    Taken,
    /// A part of which no upload is known.
    Orphan,
}

async fn standing(partition: &Partition, row: &UploadKey) -> Result<Standing> {
    let Some(number) = row.part else { return Ok(Standing::Upload) };
    let note = keys::ended_upload(row.bucket, &row.key, row.upload);
    if let Some(note) = partition.get(&note, View::Durable).await.map_err(text)? {
        let mut taken = note.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let is_taken = taken.any(|taken| taken == number.value());
        return Ok(if is_taken { Standing::Taken } else { Standing::Owner });
    }
    let upload = keys::upload(row.bucket, &row.key, row.upload);
    Ok(match partition.get(&upload, View::Durable).await.map_err(text)? {
        Some(_) => Standing::Owner,
        None => Standing::Orphan,
    })
}

fn extents(row: &Row) -> Vec<Extent> {
    let mut extents = Vec::new();
    let body = match row {
        Row::Object { record, .. } => &record.body,
        Row::Part { part } => &part.body,
        Row::Upload(_) => return extents,
    };
    each_place(body, &mut |place| {
        if let Place::Large(extent) = place {
            extents.push(*extent);
        }
    });
    extents
}

enum Place<'b> {
    Small(VolumeId, u32),
    Large(&'b Extent),
}

fn each_place(body: &Body, f: &mut impl FnMut(Place<'_>)) {
    match body {
        Body::Empty => {}
        Body::Small { address, .. } => f(Place::Small(address.volume, address.len)),
        Body::Extents(extents) => extents.iter().for_each(|extent| f(Place::Large(extent))),
        Body::Pieces(pieces) => pieces.iter().for_each(|piece| each_place(piece, f)),
    }
}

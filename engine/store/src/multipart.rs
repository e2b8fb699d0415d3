//! Multipart uploads: parts are bodies of their own until one commit makes them an object.
//!
//! Upload and parts lie in the partition of the object's key. Complete and abort are one small commit each, whatever the
//! number of parts: it ends the upload, makes the object (complete), and leaves a note that the parts' index entries are to
//! be cleared. Clearing goes in chunks, frees only what the object did not take, and is resumed by a start from the note.

use std::collections::HashSet;

use types::{Attributes, BucketId, Etag, ObjectKey, PartNumber, Timestamp, UploadId, WriteCondition};

use crate::error::{Error, Result};
use crate::format::record::{Body, PartEntry, PartRecord, Record, UploadRecord};
use crate::ids::{Lsn, PartitionId};
use crate::index::keys;
use crate::list::{common_prefix, scan_up_to};
use crate::object::{BAD_RECORD, Receipt};
use crate::partition::{Change, Partition, View};
use crate::put::PutBody;
use crate::store::{ShardStore, Store, try_local};

/// Parts cleared by one commit: bounds the size of a batch entry.
const CLEAR_CHUNK: usize = 256;

/// An upload in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    pub attributes: Attributes,
    /// As given to `create_upload`; the store does not look inside.
    pub settings: Vec<u8>,
    pub initiated: Timestamp,
}

/// A part to be made part of its upload.
pub struct CommitPart {
    pub bucket: BucketId,
    pub key: ObjectKey,
    pub upload: UploadId,
    pub number: PartNumber,
    pub body: PutBody,
    pub md5: [u8; 16],
    /// The store does not look inside. At most 255 bytes.
    pub checksum: Vec<u8>,
}

/// A part of an upload in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub number: PartNumber,
    pub size: u64,
    pub md5: [u8; 16],
    pub modified: Timestamp,
    pub checksum: Vec<u8>,
    /// The commit that wrote it: tells a part from a later one of the same number.
    pub lsn: Lsn,
}

/// What makes an object of an upload.
pub struct Complete {
    pub bucket: BucketId,
    pub key: ObjectKey,
    pub upload: UploadId,
    /// In the order of the object; each with the commit that `parts` showed.
    pub parts: Vec<(PartNumber, Lsn)>,
    pub etag: Etag,
    pub attributes: Attributes,
    pub condition: WriteCondition,
}

/// Which uploads to list.
#[derive(Clone, Debug, Default)]
pub struct Uploads {
    pub prefix: String,
    pub delimiter: Option<String>,
    /// Only what comes after this key (or common prefix), or after this upload of this key.
    pub after: Option<(String, Option<UploadId>)>,
    pub max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListedUpload {
    Upload { key: String, upload: UploadId, initiated: Timestamp, attributes: Vec<u8>, settings: Vec<u8> },
    Prefix(String),
}

impl ListedUpload {
    pub fn name(&self) -> &str {
        match self {
            ListedUpload::Upload { key, .. } => key,
            ListedUpload::Prefix(prefix) => prefix,
        }
    }

    fn order(&self) -> (&str, UploadId) {
        match self {
            ListedUpload::Upload { key, upload, .. } => (key, *upload),
            ListedUpload::Prefix(prefix) => (prefix, UploadId(0)),
        }
    }
}

/// Uploads in order of key, then of when they were begun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadPage {
    pub entries: Vec<ListedUpload>,
    pub truncated: bool,
}

impl Store {
    /// Begins an upload. Uploads of one key sort by when they were begun.
    pub async fn create_upload(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        attributes: Attributes,
        settings: Vec<u8>,
    ) -> Result<UploadId> {
        self.at_key(bucket, key, move |store, partition, key| async move {
            store.check_bucket(bucket)?;
            store.check_room()?;
            let initiated = Timestamp(rt::time::wall_clock());
            let upload = UploadId((u128::from(initiated.0) << 64) | u128::from(rt::random::u64()));
            let (_, ticket) = partition.decide(store.log(), |lsn| {
                let record = UploadRecord { lsn, initiated, attributes, settings };
                let mut change = Change::default();
                change.put(keys::upload(bucket, key.as_bytes(), upload), record.encode());
                change
            })?;
            ticket.await?;
            Ok(upload)
        })
        .await
    }

    /// An upload in progress, or `NoUpload`.
    pub async fn upload(&self, bucket: BucketId, key: &ObjectKey, upload: UploadId) -> Result<Upload> {
        self.at_key(bucket, key, move |_, partition, key| async move {
            let record = upload_record(&partition, bucket, &key, upload, View::Durable).await?;
            Ok(Upload { attributes: record.attributes, settings: record.settings, initiated: record.initiated })
        })
        .await
    }

    /// Makes a body a part; one of the same number is replaced.
    pub async fn commit_part(&self, commit: CommitPart) -> Result<Timestamp> {
        let bucket = commit.bucket;
        let key = commit.key.clone();
        self.to_the_end_at_key(bucket, &key, move |store, partition, key| async move {
            let upload_key = keys::upload(bucket, key.as_bytes(), commit.upload);
            let guard = partition.lock(&upload_key).await?;
            upload_record(&partition, bucket, &key, commit.upload, View::Decided).await?;
            let part_key = keys::part(bucket, key.as_bytes(), commit.upload, commit.number);
            // A body can be let go when it is known where it lies.
            partition.settle(&part_key).await;
            let previous = match partition.get(&part_key, View::Decided).await? {
                Some(value) => Some(PartRecord::decode(&value).map_err(|_| BAD_RECORD)?),
                None => None,
            };
            store.check_bucket(bucket)?;
            let modified = Timestamp(rt::time::wall_clock());
            store.check_room()?;
            let mut change = Change::default();
            let (body, holds) = change.attach(commit.body, &keys::current(bucket, key.as_bytes()));
            let (_, ticket) = partition.decide(store.log(), |lsn| {
                let record = PartRecord { lsn, modified, md5: commit.md5, body, checksum: commit.checksum };
                change.put_with_body(part_key, record.encode());
                if let Some(previous) = previous {
                    change.release(&previous.body);
                }
                change
            })?;
            drop(guard);
            let outcome = ticket.await;
            drop(holds);
            outcome?;
            Ok(modified)
        })
        .await
    }

    /// Parts of an upload with numbers above `after`, at most `max`.
    pub async fn parts(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        upload: UploadId,
        after: Option<PartNumber>,
        max: usize,
    ) -> Result<Vec<Part>> {
        self.at_key(bucket, key, move |_, partition, key| async move {
            upload_record(&partition, bucket, &key, upload, View::Durable).await?;
            let (mut from, end) = keys::parts_range(bucket, key.as_bytes(), upload);
            if let Some(after) = after {
                from = keys::successor(&keys::part(bucket, key.as_bytes(), upload, after));
            }
            let mut parts = Vec::new();
            for (index_key, value) in scan_up_to(&partition, from, &end, max).await? {
                let (number, part) = parse_part(&index_key, &value)?;
                parts.push(Part {
                    number,
                    size: part.size(),
                    md5: part.md5,
                    modified: part.modified,
                    checksum: part.checksum,
                    lsn: part.lsn,
                });
            }
            Ok(parts)
        })
        .await
    }

    /// Makes an object of an upload's parts. `NoPart` when a part is not the one named, `NoUpload`, `Precondition`.
    pub async fn complete_upload(&self, complete: Complete) -> Result<Receipt> {
        let bucket = complete.bucket;
        let key = complete.key.clone();
        self.to_the_end_at_key(bucket, &key, move |store, partition, key| async move {
            store.complete_upload(&partition, &key, complete).await
        })
        .await
    }

    /// Ends an upload and frees its parts.
    pub async fn abort_upload(&self, bucket: BucketId, key: &ObjectKey, upload: UploadId) -> Result<()> {
        self.to_the_end_at_key(bucket, key, move |store, partition, key| async move {
            store.with_patience(async || store.abort_upload(&partition, bucket, &key, upload).await).await
        })
        .await
    }

    /// Uploads in progress, a page.
    pub async fn uploads(&self, bucket: BucketId, list: Uploads) -> Result<UploadPage> {
        let mut found = Vec::new();
        for partition in keys::partitions_of(bucket, self.partition_count()) {
            let list = list.clone();
            let slice = self.at_owner(partition, move |store| async move {
                let partition = store.partition(partition)?;
                uploads_slice(&partition, bucket, &list).await
            });
            found.extend(slice.await?);
        }
        found.sort_by(|a, b| a.order().cmp(&b.order()));
        found.dedup_by(|a, b| matches!((a, b), (ListedUpload::Prefix(a), ListedUpload::Prefix(b)) if a == b));
        let truncated = found.len() > list.max;
        found.truncate(list.max);
        Ok(UploadPage { entries: found, truncated })
    }
}

impl ShardStore {
    async fn complete_upload(&self, partition: &Partition, key: &ObjectKey, complete: Complete) -> Result<Receipt> {
        let Complete { bucket, upload, parts: wanted, etag, attributes, condition, .. } = complete;
        let index_key = keys::current(bucket, key.as_bytes());
        let upload_key = keys::upload(bucket, key.as_bytes(), upload);
        // Always in this order: the upload, then the object.
        let upload_guard = partition.lock(&upload_key).await?;
        upload_record(partition, bucket, key, upload, View::Decided).await?;
        // Parts decided before this lock was taken become durable now; none can be decided while it is held, and none is
        // moved by compaction.
        partition.drain().await;
        let (from, end) = keys::parts_range(bucket, key.as_bytes(), upload);
        let rows = scan_up_to(partition, from, &end, usize::from(PartNumber::MAX)).await?;
        let mut rows = rows.iter();
        let mut bodies = Vec::with_capacity(wanted.len());
        let mut entries = Vec::with_capacity(wanted.len());
        for &(number, lsn) in &wanted {
            let part = loop {
                let (part_key, value) = rows.next().ok_or(Error::NoPart)?;
                let (found, part) = parse_part(part_key, value)?;
                if found == number {
                    break part;
                }
            };
            if part.lsn != lsn {
                return Err(Error::NoPart);
            }
            entries.push(PartEntry { number: number.value(), size: part.size(), checksum: part.checksum });
            bodies.push(part.body);
        }
        let object_guard = partition.lock(&index_key).await?;
        let check = |current: Option<&Record>| condition.check(current.map(|record| &record.etag));
        let standing = self.standing(partition, bucket, key.as_bytes(), check).await?;
        self.check_room()?;
        let modified = Timestamp(rt::time::wall_clock());
        let (lsn, ticket) = partition.decide(self.log(), |lsn| {
            let record = Record {
                version: standing.next_version(lsn),
                lsn,
                modified,
                etag,
                delete_marker: false,
                attributes,
                body: Body::Pieces(bodies),
                parts: entries,
            };
            let mut change = Change::default();
            change.put_current(bucket, key.as_bytes(), &standing, &record);
            change.end_upload(bucket, key, upload, wanted.iter().map(|(number, _)| *number));
            change
        })?;
        drop(object_guard);
        drop(upload_guard);
        ticket.await?;
        self.spawn_clear(partition.id(), bucket, key.clone(), upload);
        Ok(Receipt { version: standing.shown(standing.next_version(lsn)), modified })
    }

    async fn abort_upload(
        &self,
        partition: &Partition,
        bucket: BucketId,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<()> {
        let guard = partition.lock(&keys::upload(bucket, key.as_bytes(), upload)).await?;
        upload_record(partition, bucket, key, upload, View::Decided).await?;
        self.check_room_to_delete()?;
        let (_, ticket) = partition.decide(self.log(), |_| {
            let mut change = Change::default();
            change.end_upload(bucket, key, upload, std::iter::empty());
            change
        })?;
        drop(guard);
        ticket.await?;
        self.spawn_clear(partition.id(), bucket, key.clone(), upload);
        Ok(())
    }

    fn spawn_clear(&self, partition: PartitionId, bucket: BucketId, key: ObjectKey, upload: UploadId) {
        // Closed meanwhile: the note stays.
        let Some(store) = try_local() else { return };
        let clear = async move {
            // On an error the note stays: the next start clears the rest.
            if let Err(error) = store.clear_upload(partition, bucket, &key, upload).await {
                telemetry::warn!("clear the parts of an ended upload: {error}");
            }
        };
        drop(rt::spawn(clear));
    }

    /// Clears the parts of an ended upload, then the note of it. Idempotent.
    async fn clear_upload(
        &self,
        partition: PartitionId,
        bucket: BucketId,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<()> {
        let partition = self.partition(partition)?;
        let note_key = keys::ended_upload(bucket, key.as_bytes(), upload);
        let Some(note) = partition.get(&note_key, View::Durable).await? else {
            return Ok(());
        };
        let taken: HashSet<u16> = note.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        let (from, end) = keys::parts_range(bucket, key.as_bytes(), upload);
        loop {
            let rows = scan_up_to(&partition, from.clone(), &end, CLEAR_CHUNK).await?;
            let mut change = Change::default();
            for (part_key, value) in &rows {
                let (number, part) = parse_part(part_key, value)?;
                if !taken.contains(&number.value()) {
                    change.release(&part.body);
                }
                change.remove(part_key.to_vec());
            }
            if rows.is_empty() {
                change.remove(note_key);
                return partition.decide(self.log(), |_| change)?.1.await;
            }
            partition.decide(self.log(), |_| change)?.1.await?;
        }
    }

    /// Clears what uploads that ended before this start left behind. Every shard, for its own partitions.
    pub(crate) async fn resume_clearing(&self, partition: PartitionId) -> Result<()> {
        let owner = self.partition(partition)?;
        let (mut from, end) = keys::ended_uploads();
        loop {
            let rows = scan_up_to(&owner, from.clone(), &end, CLEAR_CHUNK).await?;
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            from = keys::successor(last);
            for (note_key, _) in &rows {
                let ended = keys::parse_ended_upload(note_key).ok_or(BAD_RECORD)?;
                let key = object_key(&ended.key)?;
                self.clear_upload(partition, ended.bucket, &key, ended.upload).await?;
            }
        }
    }

    /// Ends all uploads of a bucket that is gone; then nothing names its id any more.
    pub(crate) fn spawn_purge_bucket(&self, bucket: BucketId) {
        // Closed meanwhile: the next start does it.
        let Some(store) = try_local() else { return };
        let purge = async move {
            if let Err(error) = store.purge_bucket(bucket).await {
                telemetry::warn!("end the uploads of a deleted bucket: {error}");
            }
        };
        drop(rt::spawn(purge));
    }

    /// At the owner of the buckets' partition.
    async fn purge_bucket(&self, bucket: BucketId) -> Result<()> {
        for partition in keys::partitions_of(bucket, self.partition_count()) {
            self.at_owner(partition, move |store| async move {
                let owner = store.partition(partition)?;
                let (mut from, end) = keys::uploads_range(bucket, b"");
                loop {
                    let rows = scan_up_to(&owner, from.clone(), &end, 1).await?;
                    let Some((index_key, _)) = rows.first() else {
                        return Ok(());
                    };
                    let found = keys::parse_upload(index_key).ok_or(BAD_RECORD)?;
                    let after = keys::upload(bucket, &found.key, found.upload);
                    from = keys::after_prefix(&after).ok_or(BAD_RECORD)?;
                    let key = object_key(&found.key)?;
                    match store.abort_upload(&owner, bucket, &key, found.upload).await {
                        Ok(()) | Err(Error::NoUpload) => {}
                        Err(error) => return Err(error),
                    }
                }
            })
            .await?;
        }
        let partition = self.partition(PartitionId::BUCKETS)?;
        let mut change = Change::default();
        change.remove(keys::dead_bucket(bucket));
        partition.decide(self.log(), |_| change)?.1.await
    }
}

impl Change {
    /// Ends an upload: it is gone for clients, and a note keeps which parts the object took.
    fn end_upload(
        &mut self,
        bucket: BucketId,
        key: &ObjectKey,
        upload: UploadId,
        taken: impl Iterator<Item = PartNumber>,
    ) {
        self.remove(keys::upload(bucket, key.as_bytes(), upload));
        let note = taken.flat_map(|number| number.value().to_le_bytes()).collect();
        self.put(keys::ended_upload(bucket, key.as_bytes(), upload), note);
    }
}

async fn upload_record(
    partition: &Partition,
    bucket: BucketId,
    key: &ObjectKey,
    upload: UploadId,
    view: View,
) -> Result<UploadRecord> {
    let value = partition.get(&keys::upload(bucket, key.as_bytes(), upload), view).await?.ok_or(Error::NoUpload)?;
    UploadRecord::decode(&value).map_err(|_| BAD_RECORD)
}

fn parse_part(index_key: &[u8], value: &[u8]) -> Result<(PartNumber, PartRecord)> {
    let number = keys::parse_upload(index_key).and_then(|parsed| parsed.part).ok_or(BAD_RECORD)?;
    Ok((number, PartRecord::decode(value).map_err(|_| BAD_RECORD)?))
}

fn object_key(bytes: &[u8]) -> Result<ObjectKey> {
    std::str::from_utf8(bytes).ok().and_then(|key| ObjectKey::parse(key).ok()).ok_or(BAD_RECORD)
}

/// Up to `max + 1` uploads of one partition: the one too many tells that there are more.
async fn uploads_slice(partition: &Partition, bucket: BucketId, list: &Uploads) -> Result<Vec<ListedUpload>> {
    let (mut from, end) = keys::uploads_range(bucket, list.prefix.as_bytes());
    if let Some((key, upload)) = &list.after {
        let start = match upload {
            Some(upload) => keys::after_prefix(&keys::upload(bucket, key.as_bytes(), *upload)),
            None => keys::after_prefix(&keys::uploads_of(bucket, key.as_bytes())),
        };
        from = from.max(start.ok_or(BAD_RECORD)?);
    }
    let delimiter = list.delimiter.as_deref();
    let mut found = Vec::new();
    while found.len() <= list.max {
        let rows = scan_up_to(partition, from.clone(), &end, 1).await?;
        let Some((index_key, value)) = rows.first() else {
            break;
        };
        let parsed = keys::parse_upload(index_key).ok_or(BAD_RECORD)?;
        let key = object_key(&parsed.key)?;
        if let Some(common) = delimiter.and_then(|delimiter| common_prefix(key.as_str(), &list.prefix, delimiter)) {
            let below = keys::uploads_range(bucket, common.as_bytes()).1;
            from = below;
            if list.after.as_ref().is_none_or(|(after, _)| common > after.as_str()) {
                found.push(ListedUpload::Prefix(common.to_owned()));
            }
            continue;
        }
        let own = keys::upload(bucket, &parsed.key, parsed.upload);
        from = keys::after_prefix(&own).ok_or(BAD_RECORD)?;
        if parsed.part.is_some() {
            // Parts whose upload has ended, not cleared yet.
            continue;
        }
        let record = UploadRecord::decode(value).map_err(|_| BAD_RECORD)?;
        found.push(ListedUpload::Upload {
            key: key.as_str().to_owned(),
            upload: parsed.upload,
            initiated: record.initiated,
            attributes: record.attributes.as_bytes().to_vec(),
            settings: record.settings,
        });
    }
    Ok(found)
}

//! Objects: what a put, a delete and a read mean for the index, decided at the key's owner.
//!
//! A decision holds the key's lock from reading what is there to entering what shall be there; between them lies at most
//! one look into the tables. It answers when its batch is durable. A refusal that rests on a pending change waits for that
//! change, so that no reply ever depends on what a crash may undo.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use types::{
    Attributes, BucketId, ConditionRefused, DeleteCondition, Etag, ObjectKey, Timestamp, VersionId, WriteCondition,
};

use crate::data::Extent;
use crate::error::{Error, Result};
use crate::format::batch::{Address, Op, UsageDelta};
use crate::format::record::{ADDRESS_AT, Body, Record};
use crate::ids::{PartitionId, SlotOffset, VolumeId};
use crate::index::keys;
use crate::partition::{Change, Partition, View};
use crate::planted::{self, Bug};
use crate::put::PutBody;
use crate::space::FULL_PASS_EVERY;
use crate::store::{ShardStore, Store, on_shard};
use crate::version::Deleted;
use crate::volume::Hold;

/// How long what makes room waits for room in the log.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often a key without a current object is looked at, since it may have got one meanwhile.
const LOOKS_MAX: usize = 8;

/// An object to be made visible.
pub struct CommitPut {
    pub bucket: BucketId,
    pub key: ObjectKey,
    pub body: PutBody,
    pub etag: Etag,
    pub attributes: Attributes,
    pub condition: WriteCondition,
}

/// A delete of a key's current object, or of one version.
#[derive(Clone, Debug)]
pub struct Delete {
    pub key: ObjectKey,
    pub version: Option<VersionId>,
    pub condition: DeleteCondition,
}

/// What a commit gave the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// `None` in a bucket that never had versions.
    pub version: Option<VersionId>,
    pub modified: Timestamp,
}

impl Store {
    /// Makes a body the current object of its key. Durable and visible when this returns.
    ///
    /// Errors: `NoBucket`, `Precondition`, `Busy`, `Full`, `Unavailable` (the outcome is not known). Cost: one message to
    /// the owner, at most one look into its tables, one entry in its next commit batch.
    pub async fn commit_put(&self, commit: CommitPut) -> Result<Receipt> {
        let partition = keys::partition_of(commit.bucket, commit.key.as_bytes(), self.partition_count());
        self.to_the_end(partition, move |store| async move { store.commit_put(partition, commit).await }).await
    }

    /// The current object of a key. `NotFound`; `DeleteMarker` where that is the newest version.
    pub async fn head(&self, bucket: BucketId, key: &ObjectKey) -> Result<Arc<Record>> {
        let partition = keys::partition_of(bucket, key.as_bytes(), self.partition_count());
        let index_key = keys::current(bucket, key.as_bytes());
        self.at_owner(partition, move |store| async move {
            let partition = store.partition(partition)?;
            for _ in 0..LOOKS_MAX {
                if let Some(value) = partition.get(&index_key, View::Durable).await? {
                    return Record::decode(&value).map(Arc::new).map_err(|_| BAD_RECORD);
                }
                let (_, key) = keys::parse_current(&index_key).expect("it was just made");
                if let Some(why) = store.absent(&partition, bucket, key).await? {
                    return Err(why);
                }
            }
            Err(Error::Busy)
        })
        .await
    }

    /// Deletes the current object of a key. Where versions are kept it stays, behind a delete marker.
    pub async fn delete(&self, bucket: BucketId, key: &ObjectKey, condition: DeleteCondition) -> Result<Deleted> {
        self.delete_one(bucket, Delete { key: key.clone(), version: None, condition }).await
    }

    /// Deletes one version of a key for good. If it was the current object, the newest of the others is it from now on.
    pub async fn delete_version(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        version: VersionId,
        condition: DeleteCondition,
    ) -> Result<Deleted> {
        self.delete_one(bucket, Delete { key: key.clone(), version: Some(version), condition }).await
    }

    async fn delete_one(&self, bucket: BucketId, delete: Delete) -> Result<Deleted> {
        let partition = keys::partition_of(bucket, delete.key.as_bytes(), self.partition_count());
        self.at_owner(partition, move |store| async move { store.commit_delete(partition, bucket, &delete).await })
            .await
    }

    /// Deletes many keys: one message per owner shard, and the changes of one shard share its commit batches.
    /// The answers are in the order of `items`.
    pub async fn delete_many(&self, bucket: BucketId, items: Vec<Delete>) -> Vec<Result<Deleted>> {
        let count = items.len();
        let mut by_shard: Vec<Vec<(usize, PartitionId, Delete)>> = Vec::new();
        by_shard.resize_with(usize::from(rt::shard_count()), Vec::new);
        for (i, delete) in items.into_iter().enumerate() {
            let partition = keys::partition_of(bucket, delete.key.as_bytes(), self.partition_count());
            by_shard[usize::from(self.owner(partition).0)].push((i, partition, delete));
        }
        let mut calls = Vec::new();
        for (shard, items) in by_shard.into_iter().enumerate().filter(|(_, items)| !items.is_empty()) {
            calls.push(rt::spawn(on_shard(rt::ShardId(shard as u16), move |store| delete_batch(store, bucket, items))));
        }
        let mut results = vec![Err(Error::Unavailable("the owner did not answer")); count];
        for call in calls {
            match call.await {
                Ok(answers) => answers.into_iter().for_each(|(i, result)| results[i] = result),
                // Nothing of its keys was decided.
                Err(_closed) => {}
            }
        }
        results
    }
}

/// Deletes keys of one shard, all under way at once; those of one key one after the other, since each waits for the one
/// before it, and few may wait for one key.
async fn delete_batch(
    store: Rc<ShardStore>,
    bucket: BucketId,
    items: Vec<(usize, PartitionId, Delete)>,
) -> Result<Vec<(usize, Result<Deleted>)>> {
    let mut results = Vec::with_capacity(items.len());
    let mut by_key: HashMap<ObjectKey, Vec<(usize, PartitionId, Delete)>> = HashMap::new();
    for item in items {
        by_key.entry(item.2.key.clone()).or_default().push(item);
    }
    let mut tasks = Vec::with_capacity(by_key.len());
    for deletes in by_key.into_values() {
        let store = store.clone();
        tasks.push(rt::spawn(async move {
            let mut results = Vec::with_capacity(deletes.len());
            for (i, partition, delete) in deletes {
                results.push((i, store.commit_delete(partition, bucket, &delete).await));
            }
            results
        }));
    }
    for task in tasks {
        results.append(&mut task.await);
    }
    Ok(results)
}

impl ShardStore {
    async fn commit_put(&self, partition: PartitionId, commit: CommitPut) -> Result<Receipt> {
        let CommitPut { bucket, key, body, etag, attributes, condition } = commit;
        let partition = self.partition(partition)?;
        let index_key = keys::current(bucket, key.as_bytes());
        let lock = partition.lock(&index_key).await?;
        let check = |current: Option<&Record>| condition.check(current.map(|record| &record.etag));
        let standing = self.standing(&partition, bucket, key.as_bytes(), check).await?;
        let modified = Timestamp(rt::time::wall_clock());
        self.check_room()?;
        let mut change = Change::default();
        let (body, holds) = change.attach(body, &index_key);
        let (lsn, ticket) = partition.decide(self.log(), |lsn| {
            let record = Record {
                version: standing.next_version(lsn),
                lsn,
                modified,
                etag,
                delete_marker: false,
                attributes,
                body,
                parts: Vec::new(),
            };
            change.put_current(bucket, key.as_bytes(), &standing, &record);
            change
        })?;
        drop(lock);
        if !planted::is(Bug::AcknowledgedBeforeDurable) {
            ticket.await?;
        }
        drop(holds);
        Ok(Receipt { version: standing.shown(standing.next_version(lsn)), modified })
    }

    async fn commit_delete(&self, partition: PartitionId, bucket: BucketId, delete: &Delete) -> Result<Deleted> {
        let partition = self.partition(partition)?;
        self.with_patience(async || self.try_delete(&partition, bucket, delete).await).await
    }

    /// Does what makes room. That goes on when the drives are full: it waits for what the reclaimer frees.
    pub(crate) async fn with_patience<T>(&self, attempt: impl AsyncFn() -> Result<T>) -> Result<T> {
        let began = rt::time::now();
        loop {
            match attempt().await {
                Err(Error::Full) if began.elapsed() < PATIENCE => rt::time::sleep(FULL_PASS_EVERY).await,
                outcome => return outcome,
            }
        }
    }

    /// Whether what takes room may be committed: not while the reserve is in use.
    pub(crate) fn check_room(&self) -> Result<()> {
        if self.node().is_full() { Err(Error::Full) } else { Ok(()) }
    }

    /// Whether what makes room in the long run may be committed: as long as it leaves compaction its share of the reserve.
    pub(crate) fn check_room_to_delete(&self) -> Result<()> {
        if self.node().reserve.takes_deletes() { Ok(()) } else { Err(Error::Full) }
    }

    /// Whether `bucket` takes writes, in the same step as the decision that asks.
    pub(crate) fn check_bucket(&self, bucket: BucketId) -> Result<()> {
        self.versioning(bucket).map(drop)
    }
}

/// The current record of a key whose lock is held, if `check` lets the change go on. A refusal, and the answer that there
/// is no object, never rest on a pending entry: that may still fail. Nor does a change that lets go of a small body: where
/// that lies, and so what it counts for, is known when its batch is durable.
pub(crate) async fn checked_record(
    partition: &Partition,
    index_key: &[u8],
    check: impl Fn(Option<&Record>) -> std::result::Result<(), ConditionRefused>,
) -> Result<Option<Record>> {
    loop {
        let view = if planted::is(Bug::ConditionsIgnorePending) { View::Durable } else { View::Decided };
        let record = match partition.get(index_key, view).await? {
            Some(value) => Some(Record::decode(&value).map_err(|_| BAD_RECORD)?),
            None => None,
        };
        let checked = check(record.as_ref());
        let settled = checked.is_ok() && record.as_ref().is_some_and(|record| is_placed(&record.body));
        if !settled && partition.is_pending(index_key) {
            partition.settle(index_key).await;
            continue;
        }
        return checked.map(|()| record).map_err(Error::Precondition);
    }
}

/// The volume of a body that waits for its batch.
const NOWHERE: VolumeId = VolumeId(0);

/// Whether all of a body has its place: false for a small one whose commit is not durable.
fn is_placed(body: &Body) -> bool {
    match body {
        Body::Small { address, .. } => address.volume != NOWHERE,
        Body::Pieces(pieces) => pieces.iter().all(is_placed),
        Body::Empty | Body::Extents(_) => true,
    }
}

pub(crate) const BAD_RECORD: Error = Error::Unavailable("the index holds a record that cannot be read");

impl Change {
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.ops.push(Op { key, value: Some(value), address_at: None });
    }

    pub(crate) fn remove(&mut self, key: Vec<u8>) {
        self.ops.push(Op { key, value: None, address_at: None });
    }

    /// Enters a value whose body, if it is small, is the one that this change carries.
    pub(crate) fn put_with_body(&mut self, key: Vec<u8>, value: Vec<u8>) {
        let address_at = self.body.is_some().then_some(ADDRESS_AT);
        self.ops.push(Op { key, value: Some(value), address_at });
    }

    /// Takes a body into the change: a small one travels with it, a large one's extents become live.
    /// The holds are to be kept until the commit has its outcome.
    pub(crate) fn attach(&mut self, body: PutBody, owner: &[u8]) -> (Body, Vec<Hold>) {
        match body {
            PutBody::Empty => (Body::Empty, Vec::new()),
            PutBody::Small { body, crc, len } => {
                // Where it will lie is known when its batch is sealed; until then only the length counts.
                let nowhere = Address { volume: NOWHERE, slot_offset: SlotOffset(0), fragment_len: 0, offset: 0, len };
                self.body = Some(body);
                (Body::Small { address: nowhere, crc }, Vec::new())
            }
            PutBody::Large { extents, holds, .. } => {
                for extent in &extents {
                    let mut value = place_value(extent);
                    value.extend(owner);
                    self.put(keys::extent(extent.volume, extent.at), value);
                    self.live.push((extent.volume, extent.len as i64));
                }
                (Body::Extents(extents), holds)
            }
        }
    }

    /// Lets go of a body: its extents are dead from this commit on.
    pub(crate) fn release(&mut self, body: &Body) {
        match body {
            Body::Empty => {}
            Body::Small { address, .. } => {
                assert!(address.volume != NOWHERE, "a body is let go after it has got its place");
                self.live.push((address.volume, -i64::from(address.len)));
            }
            Body::Extents(extents) => {
                for extent in extents {
                    self.remove(keys::extent(extent.volume, extent.at));
                    self.put(keys::dead(extent.volume, extent.at), place_value(extent));
                    self.live.push((extent.volume, -(extent.len as i64)));
                }
            }
            Body::Pieces(pieces) => pieces.iter().for_each(|piece| self.release(piece)),
        }
    }

    /// Puts `next` in the place of `previous` as the current object of a key, with all that follows from it.
    pub(crate) fn replace_current(
        &mut self,
        bucket: BucketId,
        index_key: Vec<u8>,
        previous: Option<&Record>,
        next: Option<&Record>,
    ) {
        match next {
            Some(record) => {
                self.count(bucket, 1, record.size() as i64, 0);
                self.put_with_body(index_key, record.encode());
            }
            None => self.remove(index_key),
        }
        if let Some(previous) = previous {
            self.count(bucket, -1, -(previous.size() as i64), 0);
            let wrong = next.filter(|next| planted::is(Bug::ReleasesNewBody) && is_placed(&next.body));
            self.release(&wrong.unwrap_or(previous).body);
        }
    }

    /// Counts current objects, bytes and other versions of a bucket. A change is about one bucket.
    pub(crate) fn count(&mut self, bucket: BucketId, objects: i64, bytes: i64, versions: i64) {
        if self.usage.is_empty() {
            self.usage.push(UsageDelta { bucket, objects: 0, bytes: 0, versions: 0 });
        }
        let usage = self.usage.last_mut().filter(|usage| usage.bucket == bucket).expect("a change is about one bucket");
        usage.objects += objects;
        usage.bytes += bytes;
        usage.versions += versions;
    }
}

/// How far an extent reaches from its place: what `e/` begins with (the owner's index key follows) and `g/` holds.
pub(crate) fn place_value(extent: &Extent) -> Vec<u8> {
    let mut value = Vec::with_capacity(12);
    value.extend(extent.len.to_le_bytes());
    value.extend(extent.stripe_data.to_le_bytes());
    value
}

/// Reads the extent of an `e/` or `g/` entry back from its place and value.
pub(crate) fn parse_place_value(volume: VolumeId, at: SlotOffset, value: &[u8]) -> Option<Extent> {
    let (len, rest) = value.split_first_chunk::<8>()?;
    let stripe_data = rest.first_chunk::<4>()?;
    Some(Extent { volume, at, len: u64::from_le_bytes(*len), stripe_data: u32::from_le_bytes(*stripe_data) })
}

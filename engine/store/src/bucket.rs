//! Buckets: they live in partition 0; every shard holds a snapshot, swapped before a change is acknowledged.
//!
//! A bucket is known inside by its id. Deleting one goes through a durable mark: owners refuse writes to a marked
//! bucket, then each proves its slice empty; a start that finds a mark clears it (the delete was never acknowledged).

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use types::{BucketId, BucketName, Timestamp, Versioning};

use crate::error::{Error, Result};
use crate::format::record::{BucketRecord, BucketState};
use crate::ids::PartitionId;
use crate::index::keys;
use crate::list::scan_up_to;
use crate::object::BAD_RECORD;
use crate::partition::{Change, View};
use crate::store::{ShardStore, Store, on_shard};

/// Buckets of one deployment, deleted ones included that still have uploads.
const BUCKETS_MAX: usize = 1_000_000;

/// A bucket as every shard sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub id: BucketId,
    pub name: BucketName,
    pub created: Timestamp,
    pub versioning: Versioning,
    /// What the layer above keeps of a bucket; the store never looks inside.
    pub settings: Vec<u8>,
    pub derived: Derived,
}

/// What the layer above has made of a bucket's settings: made once, for all shards, and gone when the settings change.
#[derive(Default)]
pub struct Derived(OnceLock<Arc<dyn Any + Send + Sync>>);

impl Derived {
    /// Makes it, if it is not there yet. Panics if it is of another type.
    pub fn get_or_make<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> &T {
        let made = self.0.get_or_init(|| Arc::new(make()));
        made.downcast_ref().expect("one type is made of settings")
    }
}

impl Clone for Derived {
    fn clone(&self) -> Derived {
        Derived(self.0.clone())
    }
}

impl std::fmt::Debug for Derived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Derived")
    }
}

/// It follows from the settings.
impl PartialEq for Derived {
    fn eq(&self, _: &Derived) -> bool {
        true
    }
}

impl Eq for Derived {}

/// The buckets of one moment.
#[derive(Clone, Default)]
pub(crate) struct BucketTable {
    pub(crate) by_name: Arc<BTreeMap<BucketName, Arc<Bucket>>>,
    /// Buckets that take writes. A commit looks at this at its owner, in the step that decides it.
    open: Arc<HashMap<BucketId, Versioning>>,
}

impl BucketTable {
    pub(crate) fn new(records: Vec<BucketRecord>) -> BucketTable {
        let mut by_name = BTreeMap::new();
        let mut open = HashMap::new();
        for BucketRecord { id, name, created, state, versioning, settings, .. } in records {
            match state {
                BucketState::Dead => continue,
                BucketState::Deleting => {}
                BucketState::Live => {
                    open.insert(id, versioning);
                }
            }
            by_name.insert(
                name.clone(),
                Arc::new(Bucket { id, name, created, versioning, settings, derived: Derived::default() }),
            );
        }
        BucketTable { by_name: Arc::new(by_name), open: Arc::new(open) }
    }

    /// What is to become of versions in a bucket that takes writes.
    pub(crate) fn versioning(&self, bucket: BucketId) -> Option<Versioning> {
        self.open.get(&bucket).copied()
    }
}

impl Store {
    /// The bucket of this name, from this shard's snapshot.
    pub fn bucket(&self, name: &BucketName) -> Option<Arc<Bucket>> {
        self.shard().buckets().by_name.get(name).cloned()
    }

    /// All buckets in order of their names, from this shard's snapshot.
    pub fn buckets(&self) -> Arc<BTreeMap<BucketName, Arc<Bucket>>> {
        self.shard().buckets().by_name.clone()
    }

    /// Makes a bucket; visible on every shard when this returns. `BucketExists` when the name is taken.
    pub async fn create_bucket(&self, name: &BucketName, settings: Vec<u8>) -> Result<Arc<Bucket>> {
        let name = name.clone();
        self.to_the_end(PartitionId::BUCKETS, move |store| async move {
            let _changing = store.changing_buckets().await;
            let partition = store.partition(PartitionId::BUCKETS)?;
            let key = keys::bucket(name.as_str());
            if partition.get(&key, View::Decided).await?.is_some() {
                return Err(Error::BucketExists);
            }
            store.check_room()?;
            let created = Timestamp(rt::time::wall_clock());
            let (_, ticket) = partition.decide(store.log(), |lsn| {
                // The LSN of its creation is never given again: neither is the id.
                let id = BucketId(lsn.0);
                let state = BucketState::Live;
                let versioning = Versioning::Unversioned;
                let record = BucketRecord { id, name: name.clone(), created, lsn, state, versioning, settings };
                let mut change = Change::default();
                change.put(key, record.encode());
                change
            })?;
            ticket.await?;
            store.publish_buckets().await?;
            store.buckets().by_name.get(&name).cloned().ok_or(Error::Unavailable("the bucket was not published"))
        })
        .await
    }

    /// Replaces what the layer above keeps of a bucket by what `change` makes of it; in force on every shard when this
    /// returns. Changes of buckets come one after the other, so that none is made of settings which another one is
    /// replacing. What `change` refuses is the inner error: then nothing happened.
    pub async fn put_bucket_settings<R, F>(&self, name: &BucketName, change: F) -> Result<std::result::Result<(), R>>
    where
        R: Send + 'static,
        F: FnOnce(&[u8]) -> std::result::Result<Vec<u8>, R> + Send + 'static,
    {
        let name = name.clone();
        self.to_the_end(PartitionId::BUCKETS, move |store| async move {
            let _changing = store.changing_buckets().await;
            let record = store.bucket_record(&name).await?;
            let settings = match change(&record.settings) {
                Ok(settings) => settings,
                Err(refused) => return Ok(Err(refused)),
            };
            // Settings that become shorter make room, as deletes do.
            let grows = settings.len() > record.settings.len();
            if grows { store.check_room() } else { store.check_room_to_delete() }?;
            store.put_bucket_record(BucketRecord { settings, ..record }).await?;
            Ok(Ok(()))
        })
        .await
    }

    /// Turns versions on, or suspends them: what versions a bucket has stays. Decides all
    /// changes of objects that begin after this returns.
    ///
    /// Panics for `Unversioned`.
    pub async fn put_bucket_versioning(&self, name: &BucketName, versioning: Versioning) -> Result<()> {
        assert!(versioning != Versioning::Unversioned, "a bucket that had versions is never without them again");
        let name = name.clone();
        self.to_the_end(PartitionId::BUCKETS, move |store| async move {
            let _changing = store.changing_buckets().await;
            let record = store.bucket_record(&name).await?;
            store.check_room()?;
            store.put_bucket_record(BucketRecord { versioning, ..record }).await
        })
        .await
    }

    /// Deletes an empty bucket. Uploads in progress are not content: they end with it.
    pub async fn delete_bucket(&self, name: &BucketName) -> Result<()> {
        let name = name.clone();
        self.to_the_end(PartitionId::BUCKETS, move |store| async move {
            let _changing = store.changing_buckets().await;
            let record = store.bucket_record(&name).await?;
            store.with_patience(async || store.check_room_to_delete()).await?;
            let id = record.id;
            store.put_bucket_record(BucketRecord { state: BucketState::Deleting, ..record.clone() }).await?;
            let empty = store.bucket_is_empty(id).await;
            if !matches!(empty, Ok(true)) {
                store.put_bucket_record(BucketRecord { state: BucketState::Live, ..record.clone() }).await?;
                empty?;
                return Err(Error::BucketNotEmpty);
            }
            // One commit: the name is free and the id is listed as dead until its uploads are gone.
            let partition = store.partition(PartitionId::BUCKETS)?;
            let (_, ticket) = partition.decide(store.log(), |lsn| {
                let dead = BucketRecord { state: BucketState::Dead, lsn, ..record };
                let mut change = Change::default();
                change.remove(keys::bucket(name.as_str()));
                change.put(keys::dead_bucket(id), dead.encode());
                change
            })?;
            ticket.await?;
            store.publish_buckets().await?;
            store.spawn_purge_bucket(id);
            Ok(())
        })
        .await
    }
}

impl ShardStore {
    async fn bucket_record(&self, name: &BucketName) -> Result<BucketRecord> {
        let partition = self.partition(PartitionId::BUCKETS)?;
        let value = partition.get(&keys::bucket(name.as_str()), View::Decided).await?.ok_or(Error::NoBucket)?;
        BucketRecord::decode(&value).map_err(|_| BAD_RECORD)
    }

    async fn put_bucket_record(&self, record: BucketRecord) -> Result<()> {
        let partition = self.partition(PartitionId::BUCKETS)?;
        let (_, ticket) = partition.decide(self.log(), |lsn| {
            let record = BucketRecord { lsn, ..record };
            let mut change = Change::default();
            change.put(keys::bucket(record.name.as_str()), record.encode());
            change
        })?;
        ticket.await?;
        self.publish_buckets().await
    }

    /// All bucket records, dead ones too. At the owner of the buckets' partition.
    pub(crate) async fn bucket_records(&self) -> Result<Vec<BucketRecord>> {
        let partition = self.partition(PartitionId::BUCKETS)?;
        let (from, end) = keys::buckets();
        let rows = scan_up_to(&partition, from, &end, BUCKETS_MAX).await?;
        rows.iter().map(|(_, value)| BucketRecord::decode(value).map_err(|_| BAD_RECORD)).collect()
    }

    /// What a start does before it serves: a delete that was under way was never acknowledged, so the bucket lives on;
    /// what dead buckets left behind is cleared. Where nothing is committed all stays as it is.
    pub(crate) async fn resume_buckets(&self) -> Result<()> {
        if self.node().is_restored() {
            return self.publish_buckets().await;
        }
        for record in self.bucket_records().await? {
            match record.state {
                BucketState::Live => {}
                BucketState::Deleting => {
                    self.put_bucket_record(BucketRecord { state: BucketState::Live, ..record }).await?;
                }
                BucketState::Dead => self.spawn_purge_bucket(record.id),
            }
        }
        self.publish_buckets().await
    }

    /// Reads all buckets and swaps the snapshot of every shard.
    async fn publish_buckets(&self) -> Result<()> {
        let table = BucketTable::new(self.bucket_records().await?);
        for shard in 0..rt::shard_count() {
            let table = table.clone();
            let swap = |store: Rc<ShardStore>| async move {
                store.swap_buckets(table);
                Ok(())
            };
            on_shard(rt::ShardId(shard), swap).await?;
        }
        Ok(())
    }

    /// Asks every owner: nothing pending, no current object and no version of `bucket`.
    async fn bucket_is_empty(&self, bucket: BucketId) -> Result<bool> {
        for partition in keys::partitions_of(bucket, self.partition_count()) {
            let empty = self.at_owner(partition, move |store| async move {
                let partition = store.partition(partition)?;
                partition.drain().await;
                for (from, end) in [keys::current_range(bucket, b""), keys::versions_range(bucket, b"")] {
                    if !scan_up_to(&partition, from, &end, 1).await?.is_empty() {
                        return Ok(false);
                    }
                }
                Ok(true)
            });
            if !empty.await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

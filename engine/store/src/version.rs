//! Versions: what writes and deletes make of the object that is there, in a bucket that keeps them.
//!
//! The current object of a key has its own key space (`c`), in which listings find no delete markers. All other versions,
//! and the markers, are in `v`, newest first; so a key whose newest version is a marker has no current object, and a key
//! with a million versions is read and written like any other. At most one version of a key is the null version; when it is
//! not the current object, `w` says where it is.
//!
//! All changes of one key's versions are decided under the lock of its current record.

use std::sync::Arc;

use types::{
    Attributes, BucketId, ConditionRefused, DeleteCondition, Etag, ObjectKey, Timestamp, VersionId, Versioning,
};

use crate::error::{Error, Result};
use crate::format::record::{Body, Record};
use crate::ids::Lsn;
use crate::index::keys;
use crate::list::scan_up_to;
use crate::object::{BAD_RECORD, Delete, checked_record};
use crate::partition::{Change, Partition, View};
use crate::planted::{self, Bug};
use crate::store::{ShardStore, Store};

/// What a delete did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Whether there was what was to be deleted.
    pub existed: bool,
    /// The version that is gone, or the delete marker that was made. `None` in a bucket that never had versions.
    pub version: Option<VersionId>,
    /// Whether that is a delete marker.
    pub marker: bool,
}

/// What a write or a delete of a key finds, while it holds the key's lock.
pub(crate) struct Standing {
    versioning: Versioning,
    pub(crate) current: Option<Record>,
    /// The null version if it is not the current object and this change replaces it.
    null: Option<Record>,
}

impl Standing {
    /// The version that a write makes with this commit.
    pub(crate) fn next_version(&self, lsn: Lsn) -> VersionId {
        match self.versioning {
            Versioning::Unversioned | Versioning::Suspended => VersionId::NULL,
            Versioning::Enabled => VersionId(lsn.0),
        }
    }

    /// What the caller is told of that version: nothing where there are no versions.
    pub(crate) fn shown(&self, version: VersionId) -> Option<VersionId> {
        match self.versioning {
            Versioning::Unversioned => None,
            Versioning::Enabled | Versioning::Suspended => Some(version),
        }
    }

    /// Whether a write or delete leaves the current object as another version.
    fn keeps(&self, current: &Record) -> bool {
        match self.versioning {
            Versioning::Unversioned => false,
            Versioning::Enabled => true,
            Versioning::Suspended => current.version != VersionId::NULL,
        }
    }
}

impl Store {
    /// A version of a key. `NotFound`; `DeleteMarker` when it is one.
    pub async fn head_version(&self, bucket: BucketId, key: &ObjectKey, version: VersionId) -> Result<Arc<Record>> {
        let partition = keys::partition_of(bucket, key.as_bytes(), self.partition_count());
        let key = key.clone();
        self.at_owner(partition, move |store| async move {
            let found = find_version(&*store.partition(partition)?, bucket, key.as_bytes(), version).await?;
            match found {
                Some(record) if record.delete_marker => Err(marker(&record)),
                Some(record) => Ok(Arc::new(record)),
                None => Err(Error::NotFound),
            }
        })
        .await
    }
}

impl Store {
    /// The commit that wrote a version.
    pub(crate) async fn version_lsn(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        version: VersionId,
    ) -> Result<Option<Lsn>> {
        let partition = keys::partition_of(bucket, key.as_bytes(), self.partition_count());
        let key = key.clone();
        self.at_owner(partition, move |store| async move {
            let found = find_version(&*store.partition(partition)?, bucket, key.as_bytes(), version).await?;
            Ok(found.map(|record| record.lsn))
        })
        .await
    }
}

/// The commit that wrote the newest version of a key, delete markers included.
pub(crate) async fn newest_lsn(partition: &Partition, bucket: BucketId, key: &[u8]) -> Result<Option<Lsn>> {
    let current = record_at(partition, &keys::current(bucket, key)).await?;
    let others = others(partition, bucket, key, 1).await?;
    Ok(current.iter().chain(&others).map(|record| record.lsn).max())
}

impl ShardStore {
    /// What is there of a key whose lock is held, if `check` lets a write or a delete go on. Decide in the same step as this
    /// returns: it holds as long as nothing else has its turn.
    pub(crate) async fn standing(
        &self,
        partition: &Partition,
        bucket: BucketId,
        key: &[u8],
        check: impl Fn(Option<&Record>) -> std::result::Result<(), ConditionRefused>,
    ) -> Result<Standing> {
        let index_key = keys::current(bucket, key);
        loop {
            let versioning = self.versioning(bucket)?;
            let null = match versioning {
                Versioning::Suspended if !planted::is(Bug::NullVersionKept) => {
                    settle_versions(partition, bucket, key).await;
                    noncurrent_null(partition, bucket, key).await?
                }
                Versioning::Unversioned | Versioning::Enabled | Versioning::Suspended => None,
            };
            // Last, for it may rest on an entry that is pending, and fail as soon as something else has its turn.
            let current = checked_record(partition, &index_key, &check).await?;
            // It may have been changed while the tables were read.
            if self.versioning(bucket)? == versioning {
                return Ok(Standing { versioning, current, null });
            }
        }
    }

    /// The versioning of a bucket that takes writes.
    pub(crate) fn versioning(&self, bucket: BucketId) -> Result<Versioning> {
        self.buckets().versioning(bucket).ok_or(Error::NoBucket)
    }

    /// The error of a key that has no current object: a bucket that keeps versions may have a delete marker there.
    /// `None`: look again, it has one by now.
    pub(crate) async fn absent(&self, partition: &Partition, bucket: BucketId, key: &[u8]) -> Result<Option<Error>> {
        match self.versioning(bucket) {
            Err(_) | Ok(Versioning::Unversioned) => return Ok(Some(Error::NotFound)),
            Ok(Versioning::Enabled | Versioning::Suspended) => {}
        }
        Ok(match others(partition, bucket, key, 1).await?.first() {
            None => Some(Error::NotFound),
            Some(newest) if newest.delete_marker => Some(marker(newest)),
            Some(_) => None,
        })
    }

    pub(crate) async fn try_delete(&self, partition: &Partition, bucket: BucketId, delete: &Delete) -> Result<Deleted> {
        match delete.version {
            None => self.try_delete_current(partition, bucket, &delete.key, &delete.condition).await,
            Some(version) => self.try_delete_version(partition, bucket, version, delete).await,
        }
    }

    async fn try_delete_current(
        &self,
        partition: &Partition,
        bucket: BucketId,
        key: &ObjectKey,
        condition: &DeleteCondition,
    ) -> Result<Deleted> {
        let key = key.as_bytes();
        let lock = partition.lock(&keys::current(bucket, key)).await?;
        let standing = self.standing(partition, bucket, key, |current| check_delete(condition, current)).await?;
        let existed = standing.current.is_some();
        if standing.versioning == Versioning::Unversioned && !existed {
            return Ok(Deleted { existed, version: None, marker: false });
        }
        self.check_room_to_delete()?;
        let modified = Timestamp(rt::time::wall_clock());
        let (lsn, ticket) = partition.decide(self.log(), |lsn| {
            let mut change = Change::default();
            change.delete_current(bucket, key, &standing, lsn, modified);
            change
        })?;
        drop(lock);
        ticket.await?;
        let version = standing.shown(standing.next_version(lsn));
        Ok(Deleted { existed, version, marker: version.is_some() })
    }

    async fn try_delete_version(
        &self,
        partition: &Partition,
        bucket: BucketId,
        version: VersionId,
        delete: &Delete,
    ) -> Result<Deleted> {
        let key = delete.key.as_bytes();
        let index_key = keys::current(bucket, key);
        let lock = partition.lock(&index_key).await?;
        // Then all that is read is durable, and so is what the answer rests on.
        partition.settle(&index_key).await;
        settle_versions(partition, bucket, key).await;
        let current = record_at(partition, &index_key).await?;
        let found = match &current {
            Some(current) if current.version == version => Some(current.clone()),
            Some(_) | None => find_version(partition, bucket, key, version).await?,
        };
        check_delete(&delete.condition, found.as_ref()).map_err(Error::Precondition)?;
        let Some(found) = found else {
            return Ok(Deleted { existed: false, version: Some(version), marker: false });
        };
        // The two newest: the one that goes may be the first of them.
        let others = others(partition, bucket, key, 2).await?;
        self.versioning(bucket)?;
        self.check_room_to_delete()?;
        let (_, ticket) = partition.decide(self.log(), |_| {
            let mut change = Change::default();
            change.delete_version(bucket, key, current.as_ref(), &found, &others);
            change
        })?;
        drop(lock);
        ticket.await?;
        Ok(Deleted { existed: true, version: Some(version), marker: found.delete_marker })
    }
}

fn check_delete(condition: &DeleteCondition, found: Option<&Record>) -> std::result::Result<(), ConditionRefused> {
    condition.check(found.map(|record| (&record.etag, record.modified, record.size())))
}

fn marker(record: &Record) -> Error {
    Error::DeleteMarker { version: record.version, modified: record.modified }
}

/// A version of a key, as readers see it.
async fn find_version(
    partition: &Partition,
    bucket: BucketId,
    key: &[u8],
    version: VersionId,
) -> Result<Option<Record>> {
    let index_key = keys::current(bucket, key);
    let mut current = record_at(partition, &index_key).await?;
    loop {
        if current.as_ref().is_some_and(|current| current.version == version) {
            return Ok(current);
        }
        let found = match version {
            VersionId::NULL => noncurrent_null(partition, bucket, key).await?,
            VersionId(lsn) => record_at(partition, &keys::version(bucket, key, Lsn(lsn))).await?,
        };
        // The null version has a place of this kind as well, and is not known by it.
        let found = found.filter(|record| record.version == version);
        let lsn = |record: &Option<Record>| record.as_ref().map(|record| record.lsn);
        let before = lsn(&current);
        // It may have become the current object between the two looks.
        current = record_at(partition, &index_key).await?;
        if found.is_some() || lsn(&current) == before {
            return Ok(found);
        }
    }
}

/// The null version of a key, if it is not the current object.
async fn noncurrent_null(partition: &Partition, bucket: BucketId, key: &[u8]) -> Result<Option<Record>> {
    let place = keys::null_version(bucket, key);
    let mut seen = None;
    loop {
        let Some(lsn) = partition.get(&place, View::Durable).await? else { return Ok(None) };
        let lsn = Lsn(u64::from_le_bytes(lsn[..].try_into().map_err(|_| BAD_RECORD)?));
        let found = record_at(partition, &keys::version(bucket, key, lsn)).await?;
        // It may have been replaced by another one between the two looks.
        if found.is_some() || seen == Some(lsn) {
            return Ok(found);
        }
        seen = Some(lsn);
    }
}

/// The newest versions of a key beside the current object.
async fn others(partition: &Partition, bucket: BucketId, key: &[u8], max: usize) -> Result<Vec<Record>> {
    let (from, to) = keys::versions_of(bucket, key);
    let rows = scan_up_to(partition, from, &to, max).await?;
    rows.iter().map(|(_, value)| Record::decode(value).map_err(|_| BAD_RECORD)).collect()
}

async fn record_at(partition: &Partition, index_key: &[u8]) -> Result<Option<Record>> {
    let value = partition.get(index_key, View::Durable).await?;
    value.map(|value| Record::decode(&value).map_err(|_| BAD_RECORD)).transpose()
}

/// Waits until none of a key's other versions is pending. Of a key whose lock is held nothing is decided meanwhile.
async fn settle_versions(partition: &Partition, bucket: BucketId, key: &[u8]) {
    let (from, to) = keys::versions_of(bucket, key);
    partition.settle_range(&from, &to).await;
}

impl Change {
    /// Makes `next`, whose small body this change carries, the current object of a key.
    pub(crate) fn put_current(&mut self, bucket: BucketId, key: &[u8], standing: &Standing, next: &Record) {
        match &standing.current {
            Some(current) if standing.keeps(current) => {
                self.keep(bucket, key, current);
                self.replace_current(bucket, keys::current(bucket, key), None, Some(next));
            }
            current => self.replace_current(bucket, keys::current(bucket, key), current.as_ref(), Some(next)),
        }
        if let Some(null) = &standing.null {
            self.drop_version(bucket, key, null);
        }
    }

    fn delete_current(&mut self, bucket: BucketId, key: &[u8], standing: &Standing, lsn: Lsn, modified: Timestamp) {
        match &standing.current {
            Some(current) if standing.keeps(current) => {
                self.keep(bucket, key, current);
                self.remove(keys::current(bucket, key));
            }
            Some(current) => self.replace_current(bucket, keys::current(bucket, key), Some(current), None),
            None => {}
        }
        if standing.versioning == Versioning::Unversioned {
            return;
        }
        if let Some(null) = &standing.null {
            self.drop_version(bucket, key, null);
        }
        let marker = Record {
            version: standing.next_version(lsn),
            lsn,
            modified,
            etag: Etag::from_md5([0; 16]),
            delete_marker: true,
            attributes: Attributes::default(),
            body: Body::Empty,
            parts: Vec::new(),
        };
        self.add_version(bucket, key, &marker);
    }

    /// Removes `found`; `others` are the newest ones beside the current object.
    fn delete_version(
        &mut self,
        bucket: BucketId,
        key: &[u8],
        current: Option<&Record>,
        found: &Record,
        others: &[Record],
    ) {
        let is_current = current.is_some_and(|current| current.lsn == found.lsn);
        if is_current {
            self.count(bucket, -1, -(found.size() as i64), 0);
            self.release(&found.body);
        } else {
            self.drop_version(bucket, key, found);
        }
        // What is the newest version now.
        let newest = match current {
            Some(_) if !is_current => return,
            Some(_) | None => others.iter().find(|other| other.lsn != found.lsn),
        };
        match newest.filter(|newest| !newest.delete_marker && !planted::is(Bug::VersionNotPromoted)) {
            Some(next) => {
                self.take_version(bucket, key, next);
                self.put(keys::current(bucket, key), next.encode());
                self.count(bucket, 1, 0, 0);
            }
            None if is_current => self.remove(keys::current(bucket, key)),
            None => {}
        }
    }

    /// Leaves the current object as another version.
    fn keep(&mut self, bucket: BucketId, key: &[u8], current: &Record) {
        self.count(bucket, -1, 0, 0);
        self.add_version(bucket, key, current);
    }

    fn add_version(&mut self, bucket: BucketId, key: &[u8], record: &Record) {
        self.put(keys::version(bucket, key, record.lsn), record.encode());
        if record.version == VersionId::NULL && !planted::is(Bug::NullVersionForgotten) {
            let place = keys::null_version(bucket, key);
            // That of the null version which this one replaces.
            self.ops.retain(|op| op.key != place);
            self.put(place, record.lsn.0.to_le_bytes().to_vec());
        }
        self.count(bucket, 0, 0, 1);
    }

    /// Takes a version out of its place, with all that it keeps alive.
    fn take_version(&mut self, bucket: BucketId, key: &[u8], record: &Record) {
        self.remove(keys::version(bucket, key, record.lsn));
        if record.version == VersionId::NULL {
            self.remove(keys::null_version(bucket, key));
        }
        self.count(bucket, 0, 0, -1);
    }

    fn drop_version(&mut self, bucket: BucketId, key: &[u8], record: &Record) {
        self.take_version(bucket, key, record);
        self.count(bucket, 0, -(record.size() as i64), 0);
        self.release(&record.body);
    }
}

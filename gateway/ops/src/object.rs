//! What the store's record of an object says in S3's terms.

use std::sync::Arc;

use s3::Error;
use s3::checksum::Checksum;
use s3::reply::ObjectFacts;
use store::{Bucket, Record};
use types::{Attribute, Attributes, BucketId, ObjectKey, VersionId, Versioning, WriteCondition};

use crate::Ops;
use crate::refusal::{about_key, no_such_version, refuse, refuse_version};

/// Longest source of one copy: 5 GiB.
pub(crate) const COPY_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

pub(crate) fn facts(record: &Record, versioning: Versioning) -> ObjectFacts {
    ObjectFacts {
        etag: record.etag,
        modified: record.modified,
        size: record.size(),
        checksum: checksum_of(&record.attributes),
        attributes: record.attributes.clone(),
        version: shown_version(record, versioning),
    }
}

/// The version of a record, where its bucket has versions.
pub(crate) fn shown_version(record: &Record, versioning: Versioning) -> Option<VersionId> {
    (versioning != Versioning::Unversioned).then_some(record.version)
}

/// Checks the condition of a write before it begins, to fail early: what counts is decided again by the commit.
pub(crate) async fn check_condition(
    ops: &Ops,
    bucket: BucketId,
    key: &ObjectKey,
    condition: &WriteCondition,
) -> Result<(), Error> {
    if condition.is_empty() {
        return Ok(());
    }
    let current = match ops.store.head(bucket, key).await {
        Ok(record) => Some(record),
        Err(store::Error::NotFound | store::Error::DeleteMarker { .. }) => None,
        Err(error) => return Err(refuse(error)),
    };
    let checked = condition.check(current.as_ref().map(|record| &record.etag));
    checked.map_err(|refused| about_key(refuse(store::Error::Precondition(refused)), key))
}

pub(crate) fn checksum_of(attributes: &Attributes) -> Option<Checksum> {
    attributes.get(Attribute::Checksum).and_then(Checksum::from_attribute)
}

/// The object that a request is about, or the version of it that the request names.
pub(crate) async fn find(
    ops: &Ops,
    bucket: &Bucket,
    key: &ObjectKey,
    version: Option<VersionId>,
) -> Result<Arc<Record>, Error> {
    let found = match (version, bucket.versioning) {
        // There it is the only version.
        (None, _) | (Some(VersionId::NULL), Versioning::Unversioned) => {
            ops.store.head(bucket.id, key).await.map_err(refuse)
        }
        (Some(version), Versioning::Unversioned) => Err(no_such_version(version)),
        (Some(version), Versioning::Enabled | Versioning::Suspended) => {
            let found = ops.store.head_version(bucket.id, key, version).await;
            found.map_err(|error| refuse_version(error, version))
        }
    };
    found.map_err(|error| about_key(error, key))
}

//! What the store's record of an object says in S3's terms.

use s3::checksum::Checksum;
use s3::reply::ObjectFacts;
use s3::{Code, Error};
use store::Record;
use types::{Attribute, Attributes, BucketId, ObjectKey, VersionId, WriteCondition};

use crate::Ops;
use crate::refusal::{about_key, refuse};

/// Longest source of one copy: 5 GiB.
pub(crate) const COPY_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

pub(crate) fn facts(record: &Record) -> ObjectFacts {
    ObjectFacts {
        etag: record.etag,
        modified: record.modified,
        size: record.size(),
        checksum: checksum_of(&record.attributes),
        attributes: record.attributes.clone(),
        version: None,
    }
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
        Err(store::Error::NotFound) => None,
        Err(error) => return Err(refuse(error)),
    };
    let checked = condition.check(current.as_ref().map(|record| &record.etag));
    checked.map_err(|refused| about_key(refuse(store::Error::Precondition(refused)), key))
}

pub(crate) fn checksum_of(attributes: &Attributes) -> Option<Checksum> {
    attributes.get(Attribute::Checksum).and_then(Checksum::from_attribute)
}

/// A bucket without versions has the null version of each key only.
pub(crate) fn check_version(version: Option<VersionId>) -> Result<(), Error> {
    match version {
        None | Some(VersionId::NULL) => Ok(()),
        Some(version) => Err(Error::new(Code::NoSuchVersion).field("VersionId", version.to_string())),
    }
}

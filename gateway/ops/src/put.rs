//! PutObject.

use s3::Error;
use s3::reply::StoredObject;
use s3::request::PutObject;
use store::CommitPut;
use types::{Attribute, Etag};

use crate::Ops;
use crate::body::{CHECKSUM_DEFAULT, Incoming, Source, receive};
use crate::bucket::bucket;
use crate::gate::Authorized;
use crate::object::check_condition;
use crate::refusal::{about_key, refuse};

/// Bodies from here on are not asked for when their condition has failed already: one look-up may save a transfer.
const EARLY_CHECK_BYTES_MIN: u64 = 1024 * 1024;

/// Stores an object. Durable and visible when this returns; nothing is visible after an error, but one that says that
/// the outcome is not known.
pub async fn put_object<S: Source>(
    ops: &Ops,
    request: Authorized<PutObject>,
    body: Incoming<'_, S>,
) -> Result<StoredObject, Error> {
    let request = request.into_inner();
    let bucket = bucket(ops, &request.bucket)?;
    if request.body.length >= EARLY_CHECK_BYTES_MIN {
        check_condition(ops, bucket.id, &request.key, &request.condition).await?;
    }
    let wanted = request.body.claim.map_or(CHECKSUM_DEFAULT, |claim| claim.algorithm());
    let uploaded = receive(ops, &request.body, wanted, body).await?;
    let etag = Etag::from_md5(uploaded.md5);
    let mut attributes = request.attributes;
    attributes.push(Attribute::Checksum, "", &uploaded.kept.to_attribute());
    let commit = CommitPut {
        bucket: bucket.id,
        key: request.key.clone(),
        body: uploaded.body,
        etag,
        attributes,
        condition: request.condition,
    };
    let receipt = ops.store.commit_put(commit).await.map_err(|error| about_key(refuse(error), &request.key))?;
    Ok(StoredObject { etag, checksum: Some(uploaded.told), version: receipt.version })
}

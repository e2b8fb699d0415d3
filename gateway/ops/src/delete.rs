//! DeleteObject and DeleteObjects.

use s3::Error;
use s3::reply::{Deleted, DeletedEntry, DeletedObject};
use s3::request::{DeleteObject, DeleteObjects};
use store::Delete;

use crate::Ops;
use crate::bucket::bucket;
use crate::gate::Authorized;
use crate::refusal::{about_key, refuse};

/// DeleteObject. A key or a version that is not there is deleted as well as any other.
pub async fn delete_object(ops: &Ops, request: Authorized<DeleteObject>) -> Result<DeletedObject, Error> {
    let DeleteObject { bucket: wanted, key, version, condition } = request.into_inner();
    let bucket = bucket(ops, &wanted)?;
    let deleted = match version {
        None => ops.store.delete(bucket.id, &key, condition).await,
        Some(version) => ops.store.delete_version(bucket.id, &key, version, condition).await,
    };
    let deleted = deleted.map_err(|error| about_key(refuse(error), &key))?;
    Ok(DeletedObject { version: deleted.version, delete_marker: deleted.marker })
}

/// DeleteObjects: each entry fails or succeeds alone. The reply keeps the order of the request, refused entries last.
pub async fn delete_objects(ops: &Ops, request: Authorized<DeleteObjects>) -> Result<Deleted, Error> {
    let request = request.into_inner();
    let bucket = bucket(ops, &request.bucket)?;
    let mut items = Vec::with_capacity(request.entries.len());
    let mut entries = Vec::with_capacity(request.entries.len() + request.refused.len());
    for entry in request.entries {
        let version = entry.version.map(|version| version.to_string());
        entries.push(DeletedEntry { key: entry.key.as_str().to_owned(), version, marker: None, error: None });
        items.push(Delete { key: entry.key, version: entry.version, condition: entry.condition });
    }
    let deleted = ops.store.delete_many(bucket.id, items).await;
    for (entry, deleted) in entries.iter_mut().zip(deleted) {
        match deleted {
            Ok(deleted) => entry.marker = deleted.version.filter(|_| deleted.marker),
            Err(error) => entry.error = Some(refuse(error)),
        }
    }
    entries.extend(request.refused.into_iter().map(|refused| DeletedEntry {
        key: refused.key,
        version: refused.version,
        marker: None,
        error: Some(refused.error),
    }));
    Ok(Deleted { quiet: request.quiet, entries })
}

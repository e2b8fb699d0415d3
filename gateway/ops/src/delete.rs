//! DeleteObject and DeleteObjects.

use s3::Error;
use s3::reply::{Deleted, DeletedEntry, DeletedObject};
use s3::request::{DeleteObject, DeleteObjects};
use types::VersionId;

use crate::Ops;
use crate::bucket::bucket;
use crate::gate::Authorized;
use crate::object::check_version;
use crate::refusal::{about_key, refuse};

/// DeleteObject. A key that is not there is deleted as well as any other.
pub async fn delete_object(ops: &Ops, request: Authorized<DeleteObject>) -> Result<DeletedObject, Error> {
    let request = request.into_inner();
    let bucket = bucket(ops, &request.bucket)?;
    // A version that cannot exist here is gone already.
    if check_version(request.version).is_ok() {
        let deleted = ops.store.delete(bucket.id, &request.key, request.condition).await;
        deleted.map_err(|error| about_key(refuse(error), &request.key))?;
    }
    Ok(DeletedObject { version: request.version, delete_marker: false })
}

/// DeleteObjects: each entry fails or succeeds alone. The reply keeps the order of the request, refused entries last.
pub async fn delete_objects(ops: &Ops, request: Authorized<DeleteObjects>) -> Result<Deleted, Error> {
    let request = request.into_inner();
    let bucket = bucket(ops, &request.bucket)?;
    let mut items = Vec::with_capacity(request.entries.len());
    let mut entries: Vec<(DeletedEntry, bool)> = Vec::with_capacity(request.entries.len());
    for entry in request.entries {
        let exists = check_version(entry.version).is_ok();
        let version = entry.version.map(|version: VersionId| version.to_string());
        entries.push((DeletedEntry { key: entry.key.as_str().to_owned(), version, marker: None, error: None }, exists));
        if exists {
            items.push((entry.key, entry.condition));
        }
    }
    let mut results = ops.store.delete_many(bucket.id, items).await.into_iter();
    let mut deleted = Vec::with_capacity(entries.len() + request.refused.len());
    for (mut entry, exists) in entries {
        if exists {
            entry.error = match results.next() {
                Some(Ok(_)) => None,
                Some(Err(error)) => Some(refuse(error)),
                None => Some(refuse(store::Error::Unavailable("an entry of a delete was not answered"))),
            };
        }
        deleted.push(entry);
    }
    deleted.extend(request.refused.into_iter().map(|refused| DeletedEntry {
        key: refused.key,
        version: refused.version,
        marker: None,
        error: Some(refused.error),
    }));
    Ok(Deleted { quiet: request.quiet, entries: deleted })
}

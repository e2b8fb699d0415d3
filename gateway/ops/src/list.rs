//! ListObjects in both versions.

use s3::Error;
use s3::metadata::storage_class_of;
use s3::reply::{ListedObject, ListedObjects, ListedObjectsV2, Listing};
use s3::request::{BucketRef, ListObjects, ListObjectsV2, Page};
use store::{List, Listed};

use crate::Ops;
use crate::bucket::bucket;
use crate::gate::Authorized;
use crate::object::checksum_of;
use crate::refusal::refuse;

/// ListObjects.
pub async fn list_objects(ops: &Ops, request: &Authorized<ListObjects>) -> Result<ListedObjects, Error> {
    let listing = listing(ops, &request.bucket, &request.page, request.after()).await?;
    Ok(ListedObjects { owner: ops.site.owner.clone(), listing })
}

/// ListObjectsV2.
pub async fn list_objects_v2(ops: &Ops, request: &Authorized<ListObjectsV2>) -> Result<ListedObjectsV2, Error> {
    let listing = listing(ops, &request.bucket, &request.page, request.after()).await?;
    Ok(ListedObjectsV2 { owner: ops.site.owner.clone(), listing })
}

async fn listing(ops: &Ops, wanted: &BucketRef, page: &Page, after: &str) -> Result<Listing, Error> {
    let bucket = bucket(ops, wanted)?;
    let list = List {
        prefix: page.prefix.clone(),
        after: (!after.is_empty()).then(|| after.to_owned()),
        delimiter: page.delimiter.clone(),
        max: page.max_keys as usize,
    };
    let found = ops.store.list(bucket.id, list).await.map_err(refuse)?;
    let mut listing = Listing { next: found.next, ..Listing::default() };
    for entry in found.entries {
        match entry {
            Listed::Object(summary) => listing.objects.push(ListedObject {
                key: summary.key.as_str().to_owned(),
                modified: summary.modified,
                etag: summary.etag,
                size: summary.size,
                storage_class: storage_class_of(&summary.attributes).to_owned(),
                checksum: checksum_of(&summary.attributes),
            }),
            Listed::Prefix(prefix) => listing.common_prefixes.push(prefix),
        }
    }
    Ok(listing)
}

//! ListObjects in both versions, and ListObjectVersions.

use std::borrow::Cow;

use s3::Error;
use s3::metadata::{STORAGE_CLASS_DEFAULT, storage_class_of};
use s3::reply::{ListedObject, ListedObjects, ListedObjectsV2, ListedVersions, Listing};
use s3::request::{BucketRef, ListObjectVersions, ListObjects, ListObjectsV2, Page};
use store::{List, Listed};
use types::Attribute;

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

/// ListObjectVersions of a bucket without versioning: what a listing shows.
pub async fn list_object_versions(
    ops: &Ops,
    request: &Authorized<ListObjectVersions>,
) -> Result<ListedVersions, Error> {
    let listing = listing(ops, &request.bucket, &request.page, request.after()).await?;
    Ok(ListedVersions { owner: ops.site.owner.clone(), listing })
}

async fn listing(ops: &Ops, wanted: &BucketRef, page: &Page, after: &str) -> Result<Listing, Error> {
    let bucket = bucket(ops, wanted)?;
    let list = List {
        prefix: page.prefix.clone(),
        after: (!after.is_empty()).then(|| after.to_owned()),
        delimiter: page.delimiter.clone(),
        max: page.max_keys as usize,
        attributes: &[Attribute::StorageClass, Attribute::Checksum],
    };
    let found = ops.store.list(bucket.id, list).await.map_err(refuse)?;
    let mut listing = Listing { next: found.next, ..Listing::default() };
    listing.objects.reserve(found.entries.len());
    for entry in found.entries {
        match entry {
            Listed::Object(summary) => listing.objects.push(ListedObject {
                storage_class: match storage_class_of(&summary.attributes) {
                    STORAGE_CLASS_DEFAULT => Cow::Borrowed(STORAGE_CLASS_DEFAULT),
                    other => Cow::Owned(other.to_owned()),
                },
                checksum: checksum_of(&summary.attributes).map(|checksum| (checksum.algorithm, checksum.kind)),
                key: summary.key.into(),
                modified: summary.modified,
                etag: summary.etag,
                size: summary.size,
            }),
            Listed::Prefix(prefix) => listing.common_prefixes.push(prefix),
        }
    }
    Ok(listing)
}

//! ListObjects in both versions, and ListObjectVersions.

use std::borrow::Cow;

use s3::Error;
use s3::metadata::{STORAGE_CLASS_DEFAULT, storage_class_of};
use s3::reply::{ListedObject, ListedObjects, ListedObjectsV2, ListedVersion, ListedVersions, Listing};
use s3::request::{BucketRef, ListObjectVersions, ListObjects, ListObjectsV2, Page};
use store::{List, ListVersions, Listed, Summary, VersionsAfter};
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

/// ListObjectVersions.
pub async fn list_object_versions(
    ops: &Ops,
    request: &Authorized<ListObjectVersions>,
) -> Result<ListedVersions, Error> {
    let bucket = bucket(ops, &request.bucket)?;
    let page = &request.page;
    let after = (!request.key_marker.is_empty())
        .then(|| VersionsAfter { key: request.key_marker.clone(), version: request.version_id_marker });
    let list = ListVersions {
        prefix: page.prefix.clone(),
        after,
        delimiter: page.delimiter.clone(),
        max: page.max_keys as usize,
        attributes: SHOWN,
    };
    let found = ops.store.list_versions(bucket.id, list).await.map_err(refuse)?;
    let mut listed = ListedVersions {
        owner: ops.site.owner.clone(),
        versions: Vec::with_capacity(found.entries.len()),
        common_prefixes: Vec::new(),
        next: found.next.map(|after| (after.key, after.version)),
    };
    for entry in found.entries {
        match entry {
            store::ListedVersion::Version(row) => listed.versions.push(ListedVersion {
                version: row.version,
                is_latest: row.is_latest,
                delete_marker: row.delete_marker,
                object: listed_object(row.summary),
            }),
            store::ListedVersion::Prefix(prefix) => listed.common_prefixes.push(prefix),
        }
    }
    Ok(listed)
}

/// What listings show of an object's attributes.
const SHOWN: &[Attribute] = &[Attribute::StorageClass, Attribute::Checksum];

async fn listing(ops: &Ops, wanted: &BucketRef, page: &Page, after: &str) -> Result<Listing, Error> {
    let bucket = bucket(ops, wanted)?;
    let list = List {
        prefix: page.prefix.clone(),
        after: (!after.is_empty()).then(|| after.to_owned()),
        delimiter: page.delimiter.clone(),
        max: page.max_keys as usize,
        attributes: SHOWN,
    };
    let found = ops.store.list(bucket.id, list).await.map_err(refuse)?;
    let mut listing = Listing { next: found.next, ..Listing::default() };
    listing.objects.reserve(found.entries.len());
    for entry in found.entries {
        match entry {
            Listed::Object(summary) => listing.objects.push(listed_object(summary)),
            Listed::Prefix(prefix) => listing.common_prefixes.push(prefix),
        }
    }
    Ok(listing)
}

fn listed_object(summary: Summary) -> ListedObject {
    ListedObject {
        storage_class: match storage_class_of(&summary.attributes) {
            STORAGE_CLASS_DEFAULT => Cow::Borrowed(STORAGE_CLASS_DEFAULT),
            other => Cow::Owned(other.to_owned()),
        },
        checksum: checksum_of(&summary.attributes).map(|checksum| (checksum.algorithm, checksum.kind)),
        key: summary.key.into(),
        modified: summary.modified,
        etag: summary.etag,
        size: summary.size,
    }
}

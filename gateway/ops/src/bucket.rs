//! Buckets: make, find, describe, delete, list.

use std::ops::Bound;
use std::sync::Arc;

use s3::reply::{ListedBucket, ListedBuckets, Location};
use s3::request::{
    BucketRef, CreateBucket, DeleteBucket, GetBucketLocation, GetBucketVersioning, HeadBucket, ListBuckets,
    PutBucketVersioning,
};
use s3::{Code, Error};
use store::Bucket;
use types::{BucketName, Versioning};

use crate::Ops;
use crate::configuration::with_tags;
use crate::gate::Authorized;
use crate::refusal::{no_such_bucket, refuse};
use crate::settings::BucketSettings;

/// The region in which making one's own bucket again succeeds.
const REGION_OF_REPEATED_CREATION: &str = "us-east-1";

/// The bucket a request names. `NoSuchBucket`, `AccessDenied` when another owner was expected.
pub(crate) fn bucket(ops: &Ops, wanted: &BucketRef) -> Result<Arc<Bucket>, Error> {
    bucket_of(ops, &wanted.name, wanted.expected_owner.as_deref())
}

pub(crate) fn bucket_of(ops: &Ops, name: &BucketName, expected_owner: Option<&str>) -> Result<Arc<Bucket>, Error> {
    let bucket = ops.store.bucket(name).ok_or_else(|| no_such_bucket(name))?;
    match expected_owner {
        Some(expected) if settings(ops, &bucket).owner != expected => Err(Error::new(Code::AccessDenied)),
        Some(_) | None => Ok(bucket),
    }
}

/// A bucket whose settings a later release wrote is taken for one of this site.
fn settings(ops: &Ops, bucket: &Bucket) -> BucketSettings {
    BucketSettings::decode(&bucket.settings).unwrap_or_else(|| own_settings(ops))
}

fn own_settings(ops: &Ops) -> BucketSettings {
    BucketSettings { owner: ops.site.owner.id.clone(), region: ops.site.region.clone() }
}

/// CreateBucket. Making one's own bucket again succeeds in us-east-1 and is refused elsewhere, as S3 has it.
pub async fn create_bucket(ops: &Ops, request: Authorized<CreateBucket>) -> Result<(), Error> {
    let request = request.into_inner();
    request.check_location(&ops.site.region)?;
    let settings = own_settings(ops);
    let tagged = with_tags(settings.encode(), &request.tags)?;
    match ops.store.create_bucket(&request.bucket.name, tagged).await {
        Ok(_) => Ok(()),
        Err(store::Error::BucketExists) if settings.region == REGION_OF_REPEATED_CREATION => Ok(()),
        Err(error) => Err(refuse(error).field("BucketName", request.bucket.name.as_str())),
    }
}

/// HeadBucket.
pub fn head_bucket(ops: &Ops, request: Authorized<HeadBucket>) -> Result<Location, Error> {
    location(ops, &request.into_inner().bucket)
}

/// GetBucketLocation.
pub fn get_bucket_location(ops: &Ops, request: Authorized<GetBucketLocation>) -> Result<Location, Error> {
    location(ops, &request.into_inner().bucket)
}

fn location(ops: &Ops, wanted: &BucketRef) -> Result<Location, Error> {
    let bucket = bucket(ops, wanted)?;
    Ok(Location { region: settings(ops, &bucket).region })
}

/// GetBucketVersioning.
pub fn get_bucket_versioning(ops: &Ops, request: Authorized<GetBucketVersioning>) -> Result<Versioning, Error> {
    Ok(bucket(ops, &request.into_inner().bucket)?.versioning)
}

/// PutBucketVersioning. Decides all writes that begin after it is answered.
pub async fn put_bucket_versioning(ops: &Ops, request: Authorized<PutBucketVersioning>) -> Result<(), Error> {
    let request = request.into_inner();
    let bucket = bucket(ops, &request.bucket)?;
    let put = ops.store.put_bucket_versioning(&bucket.name, request.versioning).await;
    put.map_err(|error| refuse(error).field("BucketName", bucket.name.as_str()))
}

/// DeleteBucket. `BucketNotEmpty` while there is any object; uploads in progress end with the bucket.
pub async fn delete_bucket(ops: &Ops, request: Authorized<DeleteBucket>) -> Result<(), Error> {
    let request = request.into_inner();
    let bucket = bucket(ops, &request.bucket)?;
    let deleted = ops.store.delete_bucket(&bucket.name).await;
    deleted.map_err(|error| refuse(error).field("BucketName", bucket.name.as_str()))
}

/// ListBuckets, a page when one was asked for.
pub fn list_buckets(ops: &Ops, request: Authorized<ListBuckets>) -> ListedBuckets {
    let ListBuckets { prefix, after, max_buckets, region } = request.into_inner();
    let table = ops.store.buckets();
    let max = max_buckets.map_or(usize::MAX, |max| max as usize);
    let start = after.as_deref().and_then(|after| BucketName::parse(after).ok());
    let from = start.map_or(Bound::Unbounded, Bound::Excluded);
    let mut shown = table
        .range((from, Bound::Unbounded))
        .map(|(_, bucket)| bucket)
        .filter(|bucket| prefix.as_deref().is_none_or(|prefix| bucket.name.as_str().starts_with(prefix)))
        .filter(|bucket| region.as_deref().is_none_or(|region| settings(ops, bucket).region == region));
    let buckets: Vec<ListedBucket> = shown
        .by_ref()
        .take(max)
        .map(|bucket| ListedBucket { name: bucket.name.clone(), created: bucket.created })
        .collect();
    let truncated = shown.next().is_some();
    let paged = max_buckets.is_some();
    let (owner, region) = (ops.site.owner.clone(), ops.site.region.clone());
    ListedBuckets { owner, region, buckets, prefix, truncated, paged }
}

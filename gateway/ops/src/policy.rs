//! The policy of a bucket: kept byte by byte as it was sent, read once for all decisions.

use iam::Guard;
use iam::policy::Policy;
use s3::configuration::{Kind, blocks_public_policy, restricts_public_buckets};
use s3::reply::Reply;
use s3::request::{DeleteBucketPolicy, GetBucketPolicy, GetBucketPolicyStatus, PutBucketPolicy};
use s3::{Code, Error};
use store::Bucket;
use types::BucketName;

use crate::Ops;
use crate::bucket::bucket;
use crate::configuration::{change, encode, entries, of_a_later_release};
use crate::gate::Authorized;
use crate::settings::{Entries, POLICY};

/// What a bucket's settings say of who may do something in it.
pub(crate) enum Access {
    Owner,
    Policy { policy: Policy, restricts_public: bool },
    Unreadable,
}

impl Access {
    fn read(bucket: &Bucket) -> Access {
        let Some(entries) = Entries::of(&bucket.settings) else { return Access::Unreadable };
        let Some(document) = entries.get(POLICY, "") else { return Access::Owner };
        let block = entries.get(Kind::PublicAccessBlock, "");
        match Policy::of_bucket(document.as_bytes(), &bucket.name) {
            Ok(policy) => Access::Policy { policy, restricts_public: block.is_some_and(restricts_public_buckets) },
            Err(error) => {
                telemetry::error!("the policy of a bucket cannot be read"; bucket = bucket.name, error = error);
                Access::Unreadable
            }
        }
    }
}

/// Who may do something in a bucket. Read at the first request after a change, on one shard for all.
pub(crate) fn guard(bucket: &Bucket) -> Guard<'_> {
    match bucket.derived.get_or_make(|| Access::read(bucket)) {
        Access::Owner => Guard::Owner,
        Access::Policy { policy, restricts_public } => Guard::Policy { policy, restricts_public: *restricts_public },
        Access::Unreadable => Guard::Unreadable,
    }
}

/// GetBucketPolicy: the bytes that were put.
pub fn get_bucket_policy(ops: &Ops, request: Authorized<GetBucketPolicy>) -> Result<Reply, Error> {
    let bucket = bucket(ops, &request.into_inner().bucket)?;
    let document = entries(&bucket)?.get(POLICY, "").ok_or_else(|| no_policy(&bucket.name))?;
    Ok(Reply::json(document))
}

/// PutBucketPolicy. What AWS would refuse is refused here, never when it is asked.
pub async fn put_bucket_policy(ops: &Ops, request: Authorized<PutBucketPolicy>) -> Result<(), Error> {
    let PutBucketPolicy { bucket: wanted, document } = request.into_inner();
    let name = bucket(ops, &wanted)?.name.clone();
    let policy = Policy::of_bucket(document.as_bytes(), &name)
        .map_err(|invalid| Error::with(Code::MalformedPolicy, invalid.to_string()))?;
    let is_public = policy.is_public();
    change(ops, &wanted, move |settings| {
        let mut entries = Entries::of(settings).ok_or_else(of_a_later_release)?;
        let block = entries.get(Kind::PublicAccessBlock, "");
        // In the step that puts it: the block may be put at the same time.
        if is_public && block.is_some_and(blocks_public_policy) {
            return Err(Error::with(Code::AccessDenied, "The block public access settings prevent public policies"));
        }
        entries.put(POLICY, "", &document);
        encode(&entries)
    })
    .await
}

/// DeleteBucketPolicy. One that is not there is deleted already.
pub async fn delete_bucket_policy(ops: &Ops, request: Authorized<DeleteBucketPolicy>) -> Result<(), Error> {
    change(ops, &request.into_inner().bucket, |settings| {
        let mut entries = Entries::of(settings).ok_or_else(of_a_later_release)?;
        entries.remove(POLICY, "");
        encode(&entries)
    })
    .await
}

/// GetBucketPolicyStatus: whether the policy is public.
pub fn get_bucket_policy_status(ops: &Ops, request: Authorized<GetBucketPolicyStatus>) -> Result<bool, Error> {
    let bucket = bucket(ops, &request.into_inner().bucket)?;
    match guard(&bucket) {
        Guard::Owner => Err(no_policy(&bucket.name)),
        Guard::Policy { policy, .. } => Ok(policy.is_public()),
        Guard::Unreadable => Err(of_a_later_release()),
    }
}

fn no_policy(bucket: &BucketName) -> Error {
    Error::new(Code::NoSuchBucketPolicy).field("BucketName", bucket.as_str())
}

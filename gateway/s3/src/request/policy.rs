//! Requests about the policy of a bucket.

use super::bucket::demands_on_bucket;
use super::{BucketRef, Demand, Demands};
use crate::error::{Code, Error, Result};
use crate::routing::Operation;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetBucketPolicy {
    pub bucket: BucketRef,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutBucketPolicy {
    pub bucket: BucketRef,
    /// As it was sent, and not looked at: what it means is not this crate's to know.
    pub document: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteBucketPolicy {
    pub bucket: BucketRef,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetBucketPolicyStatus {
    pub bucket: BucketRef,
}

demands_on_bucket! {
    GetBucketPolicy
    PutBucketPolicy
    DeleteBucketPolicy
    GetBucketPolicyStatus
}

impl PutBucketPolicy {
    pub(super) fn read(bucket: BucketRef, document: &[u8]) -> Result<PutBucketPolicy> {
        if document.is_empty() {
            return Err(Error::new(Code::MissingRequestBody));
        }
        match std::str::from_utf8(document) {
            Ok(document) => Ok(PutBucketPolicy { bucket, document: document.to_owned() }),
            Err(_) => Err(Error::with(Code::MalformedPolicy, "This policy contains invalid Json")),
        }
    }
}

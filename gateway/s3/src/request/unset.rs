//! Reads of configurations that nobody can have written, since their writing is not provided: answered as S3 answers
//! for a bucket that never had one. Clients branch on exactly these.

use types::{ObjectKey, VersionId};

use super::{BucketRef, Demand, Demands, Source};
use crate::error::{Code, Result};
use crate::routing::{Level, Operation};

/// What S3 answers when a configuration was never set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// An error that says so.
    Missing(Code),
    /// `InvalidRequest`, with this message.
    NotApplicable(&'static str),
    /// A document of elements nested in each other, with a text in the innermost.
    Document(&'static [&'static str], &'static str),
    /// The access list that gives the owner everything.
    OwnersList,
}

const WITHOUT_LOCK: Unset = Unset::NotApplicable("Bucket is missing Object Lock Configuration");

/// `None` when there is no such answer.
fn answer(operation: Operation) -> Option<Unset> {
    use Unset::{Document, Missing};
    Some(match operation {
        Operation::GetBucketAcl | Operation::GetObjectAcl => Unset::OwnersList,
        Operation::GetBucketLifecycleConfiguration => Missing(Code::NoSuchLifecycle),
        Operation::GetBucketReplication => Missing(Code::NoSuchReplication),
        Operation::GetObjectLockConfiguration => Missing(Code::NoSuchObjectLock),
        Operation::GetObjectRetention | Operation::GetObjectLegalHold => WITHOUT_LOCK,
        Operation::GetObjectTagging => Document(&["Tagging", "TagSet"], ""),
        // S3 encrypts all buckets by now. Here nothing is encrypted, and the older answer says so.
        Operation::GetBucketEncryption => Missing(Code::NoSuchEncryption),
        Operation::GetBucketWebsite => Missing(Code::NoSuchWebsite),
        Operation::GetBucketLogging => Document(&["BucketLoggingStatus"], ""),
        _ => return None,
    })
}

/// The read of a configuration which is not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadUnset {
    pub operation: Operation,
    pub bucket: BucketRef,
    /// The object asked about, which must be there.
    pub key: Option<ObjectKey>,
    pub version: Option<VersionId>,
    pub unset: Unset,
}

impl ReadUnset {
    /// `None` for an operation that is no such read.
    pub(super) fn parse(operation: Operation, source: &Source<'_>) -> Result<Option<ReadUnset>> {
        let Some(unset) = answer(operation) else {
            return Ok(None);
        };
        let bucket = source.bucket()?;
        let (key, version) = match operation.route().level {
            Level::Object => (Some(source.key()?), source.version()?),
            Level::Bucket | Level::Service => (None, None),
        };
        Ok(Some(ReadUnset { operation, bucket, key, version, unset }))
    }
}

impl Demands for ReadUnset {
    fn operation(&self) -> Operation {
        self.operation
    }

    fn bucket(&self) -> Option<&BucketRef> {
        Some(&self.bucket)
    }

    fn demands(&self) -> Vec<Demand<'_>> {
        let action = match (self.operation, self.version) {
            (Operation::GetObjectAcl, Some(_)) => "s3:GetObjectVersionAcl",
            (Operation::GetObjectTagging, Some(_)) => "s3:GetObjectVersionTagging",
            (operation, _) => operation.action(),
        };
        vec![Demand { action, bucket: Some(&self.bucket.name), key: self.key.as_ref(), version: self.version }]
    }
}

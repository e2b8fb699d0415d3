//! The typed requests: one struct per implemented operation, every field checked.
//!
//! `parse` takes the head. Operations whose parameters are in an XML body come back as [`Parsed::AwaitsDocument`]:
//! the body is read within its bound, checked against its digests (`body::check_document`) and handed to
//! [`AwaitsDocument::read`].

mod bucket;
mod configuration;
mod features;
mod list;
mod multipart;
mod object;
mod policy;
mod unset;
mod versioning;

pub use bucket::{
    BUCKETS_MAX, CreateBucket, DELETE_ENTRIES_MAX, DeleteBucket, DeleteEntry, DeleteObjects, GetBucketLocation,
    HeadBucket, ListBuckets, RefusedEntry,
};
pub use configuration::{DeleteConfiguration, GetConfiguration, ListConfigurations, PutConfiguration};
pub use list::{KEYS_MAX, ListObjectVersions, ListObjects, ListObjectsV2, Page};
pub use multipart::{
    AbortMultipartUpload, ClaimedChecksum, CompleteMultipartUpload, CompletedPart, CreateMultipartUpload,
    ListMultipartUploads, ListParts, UploadPart, UploadPartCopy,
};
pub use object::{
    AttributeSelection, CopyObject, DeleteObject, GetObject, GetObjectAttributes, HeadObject, MetadataDirective,
    PARTS_MAX, PutObject,
};
pub use policy::{DeleteBucketPolicy, GetBucketPolicy, GetBucketPolicyStatus, PutBucketPolicy};
pub use unset::{ReadUnset, Unset};
pub use versioning::{GetBucketVersioning, PutBucketVersioning};

use types::{BucketName, ObjectKey, VersionId};

use crate::address::Address;
use crate::body::BodyPlan;
use crate::error::{Code, Error, Result};
use crate::head::Head;
use crate::routing::{Operation, Route};

/// A bucket as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketRef {
    pub name: BucketName,
    /// `x-amz-expected-bucket-owner`: another owner is `AccessDenied`.
    pub expected_owner: Option<String>,
}

/// One thing that must be allowed before a request may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand<'a> {
    /// As policies write it: `s3:GetObject`.
    pub action: &'static str,
    pub bucket: Option<&'a BucketName>,
    pub key: Option<&'a ObjectKey>,
    pub version: Option<VersionId>,
}

/// What every typed request tells the gate that authorises it.
pub trait Demands {
    fn operation(&self) -> Operation;

    /// The bucket acted on, with the owner expected of it.
    fn bucket(&self) -> Option<&BucketRef>;

    /// All that must be allowed; never empty.
    fn demands(&self) -> Vec<Demand<'_>>;
}

macro_rules! requests {
    ($($name:ident)*) => {
        /// Any typed request.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Request { $($name(Box<$name>),)* }

        impl Request {
            pub fn operation(&self) -> Operation {
                match self { $(Request::$name(request) => request.operation(),)* }
            }

            pub fn bucket(&self) -> Option<&BucketRef> {
                match self { $(Request::$name(request) => request.bucket(),)* }
            }

            pub fn demands(&self) -> Vec<Demand<'_>> {
                match self { $(Request::$name(request) => request.demands(),)* }
            }
        }

        $(impl From<$name> for Request {
            fn from(request: $name) -> Request {
                Request::$name(Box::new(request))
            }
        })*
    };
}

requests! {
    ListBuckets CreateBucket HeadBucket DeleteBucket GetBucketLocation ListObjects ListObjectsV2 ListObjectVersions
    PutObject GetObject HeadObject DeleteObject DeleteObjects CopyObject GetObjectAttributes
    CreateMultipartUpload UploadPart UploadPartCopy CompleteMultipartUpload AbortMultipartUpload ListParts
    ListMultipartUploads GetBucketVersioning PutBucketVersioning GetConfiguration PutConfiguration
    DeleteConfiguration ListConfigurations GetBucketPolicy PutBucketPolicy DeleteBucketPolicy GetBucketPolicyStatus
    ReadUnset
}

/// The outcome of parsing a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    Ready(Request),
    AwaitsDocument(AwaitsDocument),
}

/// A request whose XML body is still to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwaitsDocument {
    plan: BodyPlan,
    waiting: Waiting,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Waiting {
    CreateBucket(BucketRef),
    PutBucketVersioning(BucketRef),
    PutBucketPolicy(BucketRef),
    DeleteObjects(BucketRef),
    CompleteMultipartUpload(Box<multipart::CompleteHead>),
    PutConfiguration(Box<configuration::PutHead>),
}

impl AwaitsDocument {
    /// Length (at most `xml::DOCUMENT_BYTES_MAX`) and digests of the body.
    pub fn plan(&self) -> &BodyPlan {
        &self.plan
    }

    pub fn operation(&self) -> Operation {
        match self.waiting {
            Waiting::CreateBucket(_) => Operation::CreateBucket,
            Waiting::PutBucketVersioning(_) => Operation::PutBucketVersioning,
            Waiting::PutBucketPolicy(_) => Operation::PutBucketPolicy,
            Waiting::DeleteObjects(_) => Operation::DeleteObjects,
            Waiting::CompleteMultipartUpload(_) => Operation::CompleteMultipartUpload,
            Waiting::PutConfiguration(ref head) => head.operation,
        }
    }

    /// Reads the document, whose digests have been checked.
    pub fn read(self, document: &[u8]) -> Result<Request> {
        match self.waiting {
            Waiting::CreateBucket(bucket) => Ok(CreateBucket::read(bucket, document)?.into()),
            Waiting::PutBucketVersioning(bucket) => Ok(PutBucketVersioning::read(bucket, document)?.into()),
            Waiting::PutBucketPolicy(bucket) => Ok(PutBucketPolicy::read(bucket, document)?.into()),
            Waiting::DeleteObjects(bucket) => Ok(DeleteObjects::read(bucket, document)?.into()),
            Waiting::CompleteMultipartUpload(head) => Ok(head.read(document)?.into()),
            Waiting::PutConfiguration(head) => Ok(head.read(document)?.into()),
        }
    }
}

/// Parses the head of a routed request. Malformed and unimplemented requests end here.
pub fn parse(route: &Route, head: &Head<'_>, address: &Address) -> Result<Parsed> {
    let source = Source { head, address };
    let ready = |request: Request| Ok(Parsed::Ready(request));
    let awaits = |plan, waiting| Ok(Parsed::AwaitsDocument(AwaitsDocument { plan, waiting }));
    if route.implemented {
        features::refuse_unimplemented(head)?;
    }
    match route.operation {
        Operation::ListBuckets => ready(ListBuckets::parse(&source)?.into()),
        Operation::CreateBucket => {
            features::refuse_on_create_bucket(head)?;
            let waiting = Waiting::CreateBucket(source.bucket()?);
            awaits(BodyPlan::of_document(head)?, waiting)
        }
        Operation::HeadBucket => ready(HeadBucket { bucket: source.bucket()? }.into()),
        Operation::DeleteBucket => ready(DeleteBucket { bucket: source.bucket()? }.into()),
        Operation::GetBucketLocation => ready(GetBucketLocation { bucket: source.bucket()? }.into()),
        Operation::ListObjects => ready(ListObjects::parse(&source)?.into()),
        Operation::ListObjectsV2 => ready(ListObjectsV2::parse(&source)?.into()),
        Operation::ListObjectVersions => ready(ListObjectVersions::parse(&source)?.into()),
        Operation::PutObject => ready(PutObject::parse(&source)?.into()),
        Operation::GetObject => ready(GetObject::parse(&source)?.into()),
        Operation::HeadObject => ready(HeadObject(GetObject::parse(&source)?).into()),
        Operation::DeleteObject => ready(DeleteObject::parse(&source)?.into()),
        Operation::DeleteObjects => {
            let waiting = Waiting::DeleteObjects(source.bucket()?);
            let plan = BodyPlan::of_document(head)?;
            if !plan.has_digest() {
                return Err(Error::invalid_request("Missing required header for this request: Content-MD5"));
            }
            awaits(plan, waiting)
        }
        Operation::GetBucketVersioning => ready(GetBucketVersioning { bucket: source.bucket()? }.into()),
        Operation::PutBucketVersioning => {
            let waiting = Waiting::PutBucketVersioning(source.bucket()?);
            awaits(BodyPlan::of_document(head)?, waiting)
        }
        Operation::GetBucketPolicy => ready(GetBucketPolicy { bucket: source.bucket()? }.into()),
        Operation::PutBucketPolicy => {
            let waiting = Waiting::PutBucketPolicy(source.bucket()?);
            awaits(BodyPlan::of_document(head)?, waiting)
        }
        Operation::DeleteBucketPolicy => ready(DeleteBucketPolicy { bucket: source.bucket()? }.into()),
        Operation::GetBucketPolicyStatus => ready(GetBucketPolicyStatus { bucket: source.bucket()? }.into()),
        Operation::CopyObject => ready(CopyObject::parse(&source)?.into()),
        Operation::GetObjectAttributes => ready(GetObjectAttributes::parse(&source)?.into()),
        Operation::CreateMultipartUpload => ready(CreateMultipartUpload::parse(&source)?.into()),
        Operation::UploadPart => ready(UploadPart::parse(&source)?.into()),
        Operation::UploadPartCopy => ready(UploadPartCopy::parse(&source)?.into()),
        Operation::CompleteMultipartUpload => {
            let complete = Box::new(multipart::CompleteHead::parse(&source)?);
            awaits(BodyPlan::of_completion(head)?, Waiting::CompleteMultipartUpload(complete))
        }
        Operation::AbortMultipartUpload => ready(AbortMultipartUpload::parse(&source)?.into()),
        Operation::ListParts => ready(ListParts::parse(&source)?.into()),
        Operation::ListMultipartUploads => ready(ListMultipartUploads::parse(&source)?.into()),
        operation => {
            if let Some(parsed) = configuration::parse(operation, &source)? {
                return Ok(parsed);
            }
            match ReadUnset::parse(operation, &source)? {
                Some(request) => ready(request.into()),
                // Routed, and answered as what it is: known and not provided. A test holds this against the table.
                None => Err(Error::with(Code::NotImplemented, format!("{} is not implemented", route.name))),
            }
        }
    }
}

/// A head and its address: what the parsers of this module read from.
struct Source<'a> {
    head: &'a Head<'a>,
    address: &'a Address,
}

impl Source<'_> {
    fn bucket(&self) -> Result<BucketRef> {
        let name = self.address.bucket.as_deref().unwrap_or("");
        Ok(BucketRef {
            name: BucketName::parse(name).map_err(|_| Error::new(Code::InvalidBucketName).field("BucketName", name))?,
            expected_owner: self.head.single("x-amz-expected-bucket-owner")?.map(str::to_owned),
        })
    }

    fn key(&self) -> Result<ObjectKey> {
        let key = self.address.key.as_deref().unwrap_or("");
        parse_key(key)
    }

    fn version(&self) -> Result<Option<VersionId>> {
        match self.address.query.get("versionId") {
            Some(text) => match VersionId::parse(text) {
                Some(version) => Ok(Some(version)),
                None => Err(Error::argument("versionId", text, "Invalid version id specified")),
            },
            None => Ok(None),
        }
    }

    /// A whole number in a query parameter; empty counts as absent.
    fn number(&self, name: &str, default: u32, max: u32) -> Result<u32> {
        let Some(text) = self.address.query.get_filled(name) else {
            return Ok(default);
        };
        match text.parse::<i64>() {
            Ok(number) if (0..=i64::from(i32::MAX)).contains(&number) => Ok(max.min(number as u32)),
            Ok(_) => Err(Error::argument(name, text, "Argument must be an integer between 0 and 2147483647")),
            Err(_) => Err(Error::argument(name, text, "Provided argument is not an integer")),
        }
    }

    /// Whether listings are to be `encoding-type=url`.
    fn encoding_url(&self) -> Result<bool> {
        match self.address.query.get_filled("encoding-type") {
            None => Ok(false),
            Some("url") => Ok(true),
            Some(other) => Err(Error::argument("encoding-type", other, "Invalid Encoding Method specified in Request")),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.address.query.get_filled(name).map(str::to_owned)
    }
}

fn parse_key(key: &str) -> Result<ObjectKey> {
    ObjectKey::parse(key).map_err(|invalid| match invalid {
        types::InvalidKey::Empty => Error::new(Code::UserKeyMustBeSpecified),
        types::InvalidKey::TooLong => Error::new(Code::KeyTooLong)
            .field("Size", key.len().to_string())
            .field("MaxSizeAllowed", ObjectKey::LEN_MAX.to_string()),
    })
}

/// `s3:GetObject` and its like have a second name when a version is named.
fn versioned(plain: &'static str, of_version: &'static str, version: Option<VersionId>) -> &'static str {
    if version.is_some() { of_version } else { plain }
}

#[cfg(test)]
mod tests;

//! Requests on the service and on buckets, and the multi-object delete.

use types::{BucketName, DeleteCondition, EtagSet, ObjectKey, Timestamp, VersionId};

use super::object::with_read;
use super::{BucketRef, Demand, Demands, Source, versioned};
use crate::conditions;
use crate::configuration;
use crate::date;
use crate::error::{Code, Error, Result};
use crate::head::parse_digits;
use crate::routing::Operation;
use crate::token;
use crate::xml::{self, Element};

/// Most keys of one DeleteObjects.
pub const DELETE_ENTRIES_MAX: usize = 1_000;
/// Most buckets of one page.
pub const BUCKETS_MAX: u32 = 10_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListBuckets {
    pub prefix: Option<String>,
    /// Continue after this name.
    pub after: Option<String>,
    /// `None`: no paging was asked for.
    pub max_buckets: Option<u32>,
    /// Only buckets of this region.
    pub region: Option<String>,
}

impl ListBuckets {
    pub(super) fn parse(source: &Source<'_>) -> Result<ListBuckets> {
        let max_buckets = match source.address.query.get_filled("max-buckets") {
            None => None,
            Some(text) => match parse_digits(text) {
                Some(number) if (1..=u64::from(BUCKETS_MAX)).contains(&number) => Some(number as u32),
                Some(_) | None => {
                    return Err(Error::argument(
                        "max-buckets",
                        text,
                        "Argument max-buckets must be an integer between 1 and 10000",
                    ));
                }
            },
        };
        let after = match source.address.query.get_filled("continuation-token") {
            None => None,
            Some(text) => Some(token::decode(text).ok_or_else(|| {
                Error::argument("continuation-token", text, "The continuation token provided is incorrect")
            })?),
        };
        Ok(ListBuckets { prefix: source.text("prefix"), after, max_buckets, region: source.text("bucket-region") })
    }
}

impl Demands for ListBuckets {
    fn operation(&self) -> Operation {
        Operation::ListBuckets
    }

    fn bucket(&self) -> Option<&BucketRef> {
        None
    }

    fn demands(&self) -> Vec<Demand<'_>> {
        vec![Demand { action: self.operation().action(), bucket: None, key: None, version: None }]
    }
}

macro_rules! demands_on_bucket {
    ($($name:ident)*) => {
        $(impl Demands for $name {
            fn operation(&self) -> Operation {
                Operation::$name
            }

            fn bucket(&self) -> Option<&BucketRef> {
                Some(&self.bucket)
            }

            fn demands(&self) -> Vec<Demand<'_>> {
                let action = self.operation().action();
                vec![Demand { action, bucket: Some(&self.bucket.name), key: None, version: None }]
            }
        })*
    };
}
pub(super) use demands_on_bucket;

demands_on_bucket! {
    CreateBucket
    HeadBucket
    DeleteBucket
    GetBucketLocation
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateBucket {
    pub bucket: BucketRef,
    /// The region the document names, if any.
    pub location: Option<String>,
    /// Content of the bucket's tagging; empty without tags.
    pub tags: String,
}

impl CreateBucket {
    pub(super) fn read(bucket: BucketRef, document: &[u8]) -> Result<CreateBucket> {
        if document.is_empty() {
            return Ok(CreateBucket { bucket, location: None, tags: String::new() });
        }
        let root = xml::read(document, "CreateBucketConfiguration")?;
        if root.child("Bucket").is_some() {
            return Err(Error::with(Code::NotImplemented, "Directory buckets are not implemented"));
        }
        let tags = root.child("Tags").map(configuration::read_tags).transpose()?.unwrap_or_default();
        let location = root.text_of("LocationConstraint").map(str::trim).filter(|text| !text.is_empty());
        Ok(CreateBucket { bucket, location: location.map(str::to_owned), tags })
    }

    /// Decides whether the bucket may be made here. No constraint means wherever the request arrived.
    pub fn check_location(&self, region: &str) -> Result<()> {
        match &self.location {
            Some(location) if location != region => Err(Error::new(Code::InvalidLocationConstraint)
                .field("LocationConstraint", location.clone())
                .field("Region", region)),
            Some(_) | None => Ok(()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadBucket {
    pub bucket: BucketRef,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteBucket {
    pub bucket: BucketRef,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetBucketLocation {
    pub bucket: BucketRef,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteObjects {
    pub bucket: BucketRef,
    /// Only failures are reported.
    pub quiet: bool,
    /// At most 1,000 together with `refused`.
    pub entries: Vec<DeleteEntry>,
    /// Entries that cannot be carried out; each becomes an error of the reply.
    pub refused: Vec<RefusedEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteEntry {
    pub key: ObjectKey,
    pub version: Option<VersionId>,
    pub condition: DeleteCondition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedEntry {
    pub key: String,
    pub version: Option<String>,
    pub error: Error,
}

impl DeleteObjects {
    pub(super) fn read(bucket: BucketRef, document: &[u8]) -> Result<DeleteObjects> {
        let root = xml::read(document, "Delete")?;
        let quiet = match root.text_of("Quiet").map(str::trim) {
            None | Some("false" | "") => false,
            Some("true") => true,
            Some(_) => return Err(Error::new(Code::MalformedXml)),
        };
        let objects: Vec<&Element> = root.children("Object").collect();
        if objects.is_empty() || objects.len() > DELETE_ENTRIES_MAX {
            return Err(Error::new(Code::MalformedXml));
        }
        let mut request = DeleteObjects { bucket, quiet, entries: Vec::new(), refused: Vec::new() };
        for object in objects {
            let key = object.text_of("Key").ok_or(Code::MalformedXml)?;
            match entry(object, key) {
                Ok(entry) => request.entries.push(entry),
                Err(error) => request.refused.push(RefusedEntry {
                    key: key.to_owned(),
                    version: object.text_of("VersionId").map(str::to_owned),
                    error,
                }),
            }
        }
        Ok(request)
    }
}

fn entry(object: &Element, key: &str) -> Result<DeleteEntry> {
    let filled = |name| object.text_of(name).map(str::trim).filter(|text| !text.is_empty());
    let version = match filled("VersionId") {
        Some(text) => Some(VersionId::parse(text).ok_or(Code::NoSuchVersion)?),
        None => None,
    };
    let if_match = filled("ETag").map(|text| conditions::parse_etags(text, conditions::Comparison::Strong));
    let modified = match filled("LastModifiedTime") {
        Some(text) => Some(parse_time(text).ok_or(Code::MalformedXml)?),
        None => None,
    };
    let size_bytes = match filled("Size") {
        Some(text) => Some(parse_digits(text).ok_or(Code::MalformedXml)?),
        None => None,
    };
    let condition = DeleteCondition { if_match, modified, size_bytes };
    Ok(DeleteEntry { key: super::parse_key(key)?, version, condition })
}

/// SDKs write times of documents as HTTP dates or as ISO 8601, by the model's whim.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    let nanoseconds = match date::parse_http(text) {
        Some(seconds) => seconds.checked_mul(1_000_000_000)?,
        None => date::parse_iso8601(text)?,
    };
    Some(Timestamp(nanoseconds))
}

impl Demands for DeleteObjects {
    fn operation(&self) -> Operation {
        Operation::DeleteObjects
    }

    fn bucket(&self) -> Option<&BucketRef> {
        Some(&self.bucket)
    }

    /// One for each entry: an entry that is not allowed fails alone.
    fn demands(&self) -> Vec<Demand<'_>> {
        self.entries.iter().flat_map(|entry| entry.demands(&self.bucket.name)).collect()
    }
}

impl DeleteEntry {
    /// What must be allowed for this entry alone.
    pub fn demands<'a>(&'a self, bucket: &'a BucketName) -> impl Iterator<Item = Demand<'a>> {
        let delete = Demand {
            action: versioned("s3:DeleteObject", "s3:DeleteObjectVersion", self.version),
            bucket: Some(bucket),
            key: Some(&self.key),
            version: self.version,
        };
        with_read(delete, self.is_conditional()).into_iter()
    }

    /// Whether it names any state the object must be in.
    pub fn is_conditional(&self) -> bool {
        !self.condition.is_empty()
    }
}

/// `If-Match: *` on a delete asks for existence only.
pub(super) fn delete_if_match(source: &Source<'_>) -> Result<Option<EtagSet>> {
    conditions::etags(source.head, "if-match", conditions::Comparison::Strong)
}

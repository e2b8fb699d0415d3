//! Requests on one object.

use types::{Attributes, DeleteCondition, ObjectKey, PartNumber, VersionId, WriteCondition};

use super::{BucketRef, Demand, Demands, Source, bucket, versioned};
use crate::body::BodyPlan;
use crate::checksum::{self, Algorithm};
use crate::conditions::{self, ReadConditions};
use crate::copy_source::CopySource;
use crate::error::{Error, Result};
use crate::head::{Head, parse_digits};
use crate::metadata::{self, ResponseOverrides};
use crate::range::RangeSpec;
use crate::routing::Operation;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutObject {
    pub bucket: BucketRef,
    pub key: ObjectKey,
    pub attributes: Attributes,
    pub body: BodyPlan,
    pub condition: WriteCondition,
}

impl PutObject {
    pub(super) fn parse(source: &Source<'_>) -> Result<PutObject> {
        Ok(PutObject {
            bucket: source.bucket()?,
            key: source.key()?,
            attributes: metadata::attributes(source.head)?,
            body: BodyPlan::of_object(source.head)?,
            condition: conditions::write_condition(source.head)?,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetObject {
    pub bucket: BucketRef,
    pub key: ObjectKey,
    pub version: Option<VersionId>,
    /// Never together with `part`.
    pub range: Option<RangeSpec>,
    pub part: Option<PartNumber>,
    pub conditions: ReadConditions,
    pub overrides: ResponseOverrides,
    /// `x-amz-checksum-mode: ENABLED`.
    pub with_checksum: bool,
}

impl GetObject {
    pub(super) fn parse(source: &Source<'_>) -> Result<GetObject> {
        let head = source.head;
        let range = head.single("range")?;
        let part = match source.address.query.get("partNumber") {
            Some(text) => Some(parse_part_number(text)?),
            None => None,
        };
        if range.is_some() && part.is_some() {
            return Err(Error::invalid_request("Cannot specify both Range header and partNumber query parameter"));
        }
        Ok(GetObject {
            bucket: source.bucket()?,
            key: source.key()?,
            version: source.version()?,
            range: range.and_then(RangeSpec::parse),
            part,
            conditions: ReadConditions::from_head(head)?,
            overrides: ResponseOverrides::from_query(&source.address.query)?,
            with_checksum: head.single("x-amz-checksum-mode")?.is_some_and(|mode| mode.eq_ignore_ascii_case("enabled")),
        })
    }

    /// Refuses what only a known principal may ask for: another head than the object's own.
    pub fn check_anonymous(&self) -> Result<()> {
        if self.overrides.is_empty() {
            Ok(())
        } else {
            Err(Error::invalid_request("Request specific response headers cannot be used for anonymous GET requests."))
        }
    }
}

pub(super) fn parse_part_number(text: &str) -> Result<PartNumber> {
    let number = parse_digits(text).and_then(|number| PartNumber::new(u32::try_from(number).ok()?));
    number.ok_or_else(|| {
        Error::argument("partNumber", text, "Part number must be an integer between 1 and 10000, inclusive")
    })
}

/// A read of the head alone; its fields are those of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadObject(pub GetObject);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteObject {
    pub bucket: BucketRef,
    pub key: ObjectKey,
    pub version: Option<VersionId>,
    pub condition: DeleteCondition,
}

impl DeleteObject {
    pub(super) fn parse(source: &Source<'_>) -> Result<DeleteObject> {
        let modified = "x-amz-if-match-last-modified-time";
        let modified = match source.head.single(modified)? {
            Some(text) => Some(bucket::parse_time(text).ok_or_else(|| Error::argument(modified, text, "Not a date"))?),
            None => None,
        };
        Ok(DeleteObject {
            bucket: source.bucket()?,
            key: source.key()?,
            version: source.version()?,
            condition: DeleteCondition {
                if_match: bucket::delete_if_match(source)?,
                modified,
                size_bytes: source.head.number("x-amz-if-match-size")?,
            },
        })
    }
}

/// Where a copy takes content headers and user metadata from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataDirective {
    Copy,
    Replace,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyObject {
    pub bucket: BucketRef,
    pub key: ObjectKey,
    pub source: CopySource,
    pub source_expected_owner: Option<String>,
    pub source_conditions: ReadConditions,
    pub condition: WriteCondition,
    pub directive: MetadataDirective,
    /// What this request itself says; see `attributes_of`.
    pub attributes: Attributes,
    /// The checksum the copy is to have; `None`: the source's.
    pub checksum_algorithm: Option<Algorithm>,
}

impl CopyObject {
    pub(super) fn parse(source: &Source<'_>) -> Result<CopyObject> {
        let head = source.head;
        tagging_directive(head)?;
        let name = "x-amz-metadata-directive";
        let directive = match head.single(name)? {
            None | Some("COPY") => MetadataDirective::Copy,
            Some("REPLACE") => MetadataDirective::Replace,
            Some(other) => return Err(Error::argument(name, other, "Unknown metadata directive.")),
        };
        let request = CopyObject {
            bucket: source.bucket()?,
            key: source.key()?,
            source: CopySource::from_head(head)?,
            source_expected_owner: head.single("x-amz-source-expected-bucket-owner")?.map(str::to_owned),
            source_conditions: ReadConditions::of_copy_source(head)?,
            condition: conditions::write_condition(head)?,
            directive,
            attributes: metadata::attributes(head)?,
            checksum_algorithm: checksum::algorithm_of_head(head, "x-amz-checksum-algorithm")?,
        };
        request.check_self_copy()?;
        Ok(request)
    }

    /// A copy of an object onto itself must change something.
    fn check_self_copy(&self) -> Result<()> {
        let same =
            self.source.bucket == self.bucket.name && self.source.key == self.key && self.source.version.is_none();
        let changes = self.directive == MetadataDirective::Replace
            || !self.attributes_of(&Attributes::new()).as_bytes().is_empty()
            || self.checksum_algorithm.is_some();
        if same && !changes {
            return Err(Error::invalid_request(
                "This copy request is illegal because it is trying to copy an object to itself without changing the \
                 object's metadata, storage class, website redirect location or encryption attributes.",
            ));
        }
        Ok(())
    }

    /// The attributes of the copy, given those of its source. The checksum is for the caller to add.
    pub fn attributes_of(&self, source: &Attributes) -> Attributes {
        match self.directive {
            MetadataDirective::Copy => metadata::attributes_of_copy(source, &self.attributes),
            MetadataDirective::Replace => self.attributes.clone(),
        }
    }
}

/// Objects have no tags, so copying them is done by doing nothing.
fn tagging_directive(head: &Head<'_>) -> Result<()> {
    let name = "x-amz-tagging-directive";
    match head.single(name)? {
        None | Some("COPY" | "REPLACE") => Ok(()),
        Some(other) => Err(Error::argument(name, other, "Unknown tagging directive.")),
    }
}

/// What GetObjectAttributes is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttributeSelection {
    pub etag: bool,
    pub checksum: bool,
    pub object_parts: bool,
    pub storage_class: bool,
    pub object_size: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetObjectAttributes {
    pub bucket: BucketRef,
    pub key: ObjectKey,
    pub version: Option<VersionId>,
    pub selection: AttributeSelection,
    /// List parts after this number; 0: from the first.
    pub part_number_marker: u32,
    /// 0 to 1,000.
    pub max_parts: u32,
}

/// Most parts of one page.
pub const PARTS_MAX: u32 = 1_000;

impl GetObjectAttributes {
    pub(super) fn parse(source: &Source<'_>) -> Result<GetObjectAttributes> {
        let name = "x-amz-object-attributes";
        let mut selection = AttributeSelection::default();
        for value in source.head.values(name) {
            for word in String::from_utf8_lossy(value).split(',') {
                match word.trim() {
                    "ETag" => selection.etag = true,
                    "Checksum" => selection.checksum = true,
                    "ObjectParts" => selection.object_parts = true,
                    "StorageClass" => selection.storage_class = true,
                    "ObjectSize" => selection.object_size = true,
                    other => return Err(Error::argument(name, other, "Invalid attribute name specified.")),
                }
            }
        }
        if selection == AttributeSelection::default() {
            return Err(Error::invalid_request("Missing required header for this request: x-amz-object-attributes"));
        }
        let number = |name: &str, default: u32| -> Result<u32> {
            Ok(source.head.number(name)?.map_or(default, |number| u32::try_from(number).unwrap_or(u32::MAX)))
        };
        Ok(GetObjectAttributes {
            bucket: source.bucket()?,
            key: source.key()?,
            version: source.version()?,
            selection,
            part_number_marker: number("x-amz-part-number-marker", 0)?,
            max_parts: number("x-amz-max-parts", PARTS_MAX)?.min(PARTS_MAX),
        })
    }
}

macro_rules! demands_on_object {
    ($($name:ident |$request:ident| $demands:expr;)*) => {
        $(impl Demands for $name {
            fn operation(&self) -> Operation {
                Operation::$name
            }

            fn bucket(&self) -> Option<&BucketRef> {
                Some(&self.bucket)
            }

            fn demands(&self) -> Vec<Demand<'_>> {
                let $request = self;
                $demands
            }
        })*
    };
}
pub(super) use demands_on_object;

demands_on_object! {
    PutObject |request| {
        let put = on(&request.bucket, &request.key, request.operation().action(), None);
        with_read(put, request.condition.if_match.is_some())
    };
    GetObject |request| {
        let action = versioned("s3:GetObject", "s3:GetObjectVersion", request.version);
        vec![on(&request.bucket, &request.key, action, request.version)]
    };
    DeleteObject |request| {
        let action = versioned("s3:DeleteObject", "s3:DeleteObjectVersion", request.version);
        let delete = on(&request.bucket, &request.key, action, request.version);
        with_read(delete, !request.condition.is_empty())
    };
    CopyObject |request| {
        let put = on(&request.bucket, &request.key, request.operation().action(), None);
        let mut demands = with_read(put, request.condition.if_match.is_some());
        demands.push(from(&request.source));
        demands
    };
    GetObjectAttributes |request| {
        let read = versioned("s3:GetObject", "s3:GetObjectVersion", request.version);
        let attributes = versioned("s3:GetObjectAttributes", "s3:GetObjectVersionAttributes", request.version);
        vec![
            on(&request.bucket, &request.key, read, request.version),
            on(&request.bucket, &request.key, attributes, request.version),
        ]
    };
}

impl Demands for HeadObject {
    fn operation(&self) -> Operation {
        Operation::HeadObject
    }

    fn bucket(&self) -> Option<&BucketRef> {
        Some(&self.0.bucket)
    }

    fn demands(&self) -> Vec<Demand<'_>> {
        self.0.demands()
    }
}

pub(super) fn on<'a>(
    bucket: &'a BucketRef,
    key: &'a ObjectKey,
    action: &'static str,
    version: Option<VersionId>,
) -> Demand<'a> {
    Demand { action, bucket: Some(&bucket.name), key: Some(key), version }
}

/// A change of an object that says what must be there tells what is there: whoever makes it must be allowed to read.
pub(super) fn with_read(change: Demand<'_>, is_told: bool) -> Vec<Demand<'_>> {
    let action = versioned("s3:GetObject", "s3:GetObjectVersion", change.version);
    let read = is_told.then_some(Demand { action, ..change });
    std::iter::once(change).chain(read).collect()
}

/// The read that a copy makes of its source.
pub(super) fn from(source: &CopySource) -> Demand<'_> {
    Demand {
        action: versioned("s3:GetObject", "s3:GetObjectVersion", source.version),
        bucket: Some(&source.bucket),
        key: Some(&source.key),
        version: source.version,
    }
}

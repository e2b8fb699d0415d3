//! Requests of multipart uploads.

use types::{Attributes, Etag, ObjectKey, PartNumber, UploadId, WriteCondition};

use super::bucket::demands_on_bucket;
use super::object::{PARTS_MAX, demands_on_object, from, on, parse_part_number, with_read};
use super::{BucketRef, Demand, Demands, Source};
use crate::body::BodyPlan;
use crate::checksum::{self, Algorithm, ChecksumType, Digest};
use crate::conditions::{self, ReadConditions};
use crate::copy_source::CopySource;
use crate::error::{Code, Error, Result};
use crate::metadata;
use crate::range::{self, RangeSpec};
use crate::routing::Operation;
use crate::xml::{self, Element};

/// Most uploads of one page.
const UPLOADS_MAX: u32 = 1_000;

fn upload_id(source: &Source<'_>) -> Result<UploadId> {
    let text = source.address.query.get("uploadId").unwrap_or("");
    // An id we could not have given out names no upload.
    UploadId::parse(text).ok_or_else(|| Error::new(Code::NoSuchUpload).field("UploadId", text))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateMultipartUpload {
    pub bucket: BucketRef,
    pub key: ObjectKey,
    pub attributes: Attributes,
    /// Algorithm and type of the object's checksum; the type fits the algorithm.
    pub checksum: Option<(Algorithm, ChecksumType)>,
    /// Checked when the upload begins; completing checks its own.
    pub condition: WriteCondition,
}

impl CreateMultipartUpload {
    pub(super) fn parse(source: &Source<'_>) -> Result<CreateMultipartUpload> {
        let head = source.head;
        let algorithm = checksum::algorithm_of_head(head, "x-amz-checksum-algorithm")?;
        let checksum = match (algorithm, ChecksumType::from_head(head)?) {
            (None, None) => None,
            (None, Some(_)) => {
                return Err(Error::invalid_request(
                    "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
                ));
            }
            (Some(algorithm), kind) => {
                let allowed = checksum::types_of(algorithm);
                let kind = kind.unwrap_or(allowed[0]);
                if !allowed.contains(&kind) {
                    return Err(Error::invalid_request(format!(
                        "The {} checksum type cannot be used with the {} checksum algorithm.",
                        kind.wire_name(),
                        checksum::wire_name(algorithm).to_ascii_lowercase()
                    )));
                }
                Some((algorithm, kind))
            }
        };
        Ok(CreateMultipartUpload {
            bucket: source.bucket()?,
            key: source.key()?,
            attributes: metadata::attributes(head)?,
            checksum,
            condition: conditions::write_condition(head)?,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadPart {
    pub bucket: BucketRef,
    pub key: ObjectKey,
    pub upload: UploadId,
    pub part: PartNumber,
    pub body: BodyPlan,
}

impl UploadPart {
    pub(super) fn parse(source: &Source<'_>) -> Result<UploadPart> {
        Ok(UploadPart {
            bucket: source.bucket()?,
            key: source.key()?,
            part: parse_part_number(source.address.query.get("partNumber").unwrap_or(""))?,
            upload: upload_id(source)?,
            body: BodyPlan::of_object(source.head)?,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadPartCopy {
    pub bucket: BucketRef,
    pub key: ObjectKey,
    pub upload: UploadId,
    pub part: PartNumber,
    pub source: CopySource,
    pub source_expected_owner: Option<String>,
    pub source_conditions: ReadConditions,
    /// Resolve with `range::resolve_copy`; `None`: the whole source.
    pub range: Option<RangeSpec>,
}

impl UploadPartCopy {
    pub(super) fn parse(source: &Source<'_>) -> Result<UploadPartCopy> {
        let head = source.head;
        Ok(UploadPartCopy {
            bucket: source.bucket()?,
            key: source.key()?,
            part: parse_part_number(source.address.query.get("partNumber").unwrap_or(""))?,
            upload: upload_id(source)?,
            source: CopySource::from_head(head)?,
            source_expected_owner: head.single("x-amz-source-expected-bucket-owner")?.map(str::to_owned),
            source_conditions: ReadConditions::of_copy_source(head)?,
            range: range::copy_source_range(head)?,
        })
    }
}

/// A checksum of the whole object that the client expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimedChecksum {
    pub algorithm: Algorithm,
    pub digest: Digest,
    /// Number of parts, when written as a composite value.
    pub parts: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedPart {
    pub number: PartNumber,
    pub etag: Etag,
    pub checksum: Option<(Algorithm, Digest)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompleteMultipartUpload {
    pub bucket: BucketRef,
    pub key: ObjectKey,
    pub upload: UploadId,
    /// 1 to 10,000, strictly ascending by number.
    pub parts: Vec<CompletedPart>,
    pub checksum: Option<ClaimedChecksum>,
    pub checksum_type: Option<ChecksumType>,
    /// `x-amz-mp-object-size`.
    pub object_size: Option<u64>,
    pub condition: WriteCondition,
}

/// The head of a completion: all but the list of parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CompleteHead {
    bucket: BucketRef,
    key: ObjectKey,
    upload: UploadId,
    checksum: Option<ClaimedChecksum>,
    checksum_type: Option<ChecksumType>,
    object_size: Option<u64>,
    condition: WriteCondition,
}

impl CompleteHead {
    pub(super) fn parse(source: &Source<'_>) -> Result<CompleteHead> {
        let head = source.head;
        let checksum = checksum::value_of_head(head, true)?;
        Ok(CompleteHead {
            bucket: source.bucket()?,
            key: source.key()?,
            upload: upload_id(source)?,
            checksum: checksum.map(|(algorithm, digest, parts)| ClaimedChecksum { algorithm, digest, parts }),
            checksum_type: ChecksumType::from_head(head)?,
            object_size: head.number("x-amz-mp-object-size")?,
            condition: conditions::write_condition(head)?,
        })
    }

    pub(super) fn read(self, document: &[u8]) -> Result<CompleteMultipartUpload> {
        let root = xml::read(document, "CompleteMultipartUpload")?;
        let mut parts: Vec<CompletedPart> = Vec::new();
        for element in root.children("Part") {
            let part = completed_part(element)?;
            if parts.last().is_some_and(|last| last.number >= part.number) {
                return Err(Error::new(Code::InvalidPartOrder));
            }
            parts.push(part);
        }
        // Ascending numbers up to 10,000 bound the list from above.
        if parts.is_empty() {
            return Err(Error::new(Code::MalformedXml));
        }
        let CompleteHead { bucket, key, upload, checksum, checksum_type, object_size, condition } = self;
        Ok(CompleteMultipartUpload { bucket, key, upload, parts, checksum, checksum_type, object_size, condition })
    }
}

fn completed_part(element: &Element) -> Result<CompletedPart> {
    let number = element.text_of("PartNumber").ok_or(Code::MalformedXml)?;
    let number = parse_part_number(number.trim())?;
    let etag = element.text_of("ETag").ok_or(Code::MalformedXml)?;
    let etag = conditions::parse_etag(etag.trim()).ok_or_else(|| {
        Error::new(Code::InvalidPart).field("PartNumber", number.value().to_string()).field("ETag", etag)
    })?;
    let mut checksum = None;
    for algorithm in Algorithm::ALL {
        let name = checksum::element_name(algorithm);
        let Some(text) = element.text_of(name).map(str::trim).filter(|text| !text.is_empty()) else {
            continue;
        };
        let digest = checksum::parse_digest(algorithm, text)
            .ok_or_else(|| Error::invalid_request(format!("Value for {name} is invalid.")))?;
        if checksum.replace((algorithm, digest)).is_some() {
            return Err(Error::invalid_request("A part may have one checksum only."));
        }
    }
    Ok(CompletedPart { number, etag, checksum })
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbortMultipartUpload {
    pub bucket: BucketRef,
    pub key: ObjectKey,
    pub upload: UploadId,
    /// `x-amz-if-match-initiated-time`, in Unix seconds.
    pub if_initiated: Option<u64>,
}

impl AbortMultipartUpload {
    pub(super) fn parse(source: &Source<'_>) -> Result<AbortMultipartUpload> {
        let name = "x-amz-if-match-initiated-time";
        let if_initiated = match source.head.single(name)? {
            Some(text) => match super::bucket::parse_time(text) {
                Some(time) => Some(time.seconds()),
                None => return Err(Error::argument(name, text, "Not a date")),
            },
            None => None,
        };
        Ok(AbortMultipartUpload {
            bucket: source.bucket()?,
            key: source.key()?,
            upload: upload_id(source)?,
            if_initiated,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListParts {
    pub bucket: BucketRef,
    pub key: ObjectKey,
    pub upload: UploadId,
    /// List parts after this number; 0: from the first.
    pub part_number_marker: u32,
    /// 0 to 1,000.
    pub max_parts: u32,
    pub encoding_url: bool,
}

impl ListParts {
    pub(super) fn parse(source: &Source<'_>) -> Result<ListParts> {
        Ok(ListParts {
            bucket: source.bucket()?,
            key: source.key()?,
            upload: upload_id(source)?,
            part_number_marker: source.number("part-number-marker", 0, u32::MAX)?,
            max_parts: source.number("max-parts", PARTS_MAX, PARTS_MAX)?,
            encoding_url: source.encoding_url()?,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListMultipartUploads {
    pub bucket: BucketRef,
    /// Empty when absent.
    pub prefix: String,
    pub delimiter: Option<String>,
    /// List uploads of keys after this one, and of this one after `upload_id_marker`.
    pub key_marker: String,
    /// Only with a key marker.
    pub upload_id_marker: Option<UploadId>,
    /// 1 to 1,000.
    pub max_uploads: u32,
    pub encoding_url: bool,
}

impl ListMultipartUploads {
    pub(super) fn parse(source: &Source<'_>) -> Result<ListMultipartUploads> {
        let key_marker = source.text("key-marker").unwrap_or_default();
        let name = "upload-id-marker";
        let upload_id_marker = match source.address.query.get_filled(name) {
            // S3 ignores the id when there is no key to go with it.
            Some(text) if !key_marker.is_empty() => match UploadId::parse(text) {
                Some(upload) => Some(upload),
                None => return Err(Error::argument(name, text, "Invalid uploadId marker")),
            },
            Some(_) | None => None,
        };
        let max_uploads = source.number("max-uploads", UPLOADS_MAX, UPLOADS_MAX)?;
        if max_uploads == 0 {
            return Err(Error::argument(
                "max-uploads",
                "0",
                "Argument max-uploads must be an integer between 1 and 1000",
            ));
        }
        Ok(ListMultipartUploads {
            bucket: source.bucket()?,
            prefix: source.text("prefix").unwrap_or_default(),
            delimiter: source.text("delimiter"),
            key_marker,
            upload_id_marker,
            max_uploads,
            encoding_url: source.encoding_url()?,
        })
    }
}

demands_on_object! {
    CreateMultipartUpload |request| {
        let create = on(&request.bucket, &request.key, request.operation().action(), None);
        with_read(create, !request.condition.is_empty())
    };
    UploadPart |request| vec![on(&request.bucket, &request.key, request.operation().action(), None)];
    UploadPartCopy |request| vec![
        on(&request.bucket, &request.key, request.operation().action(), None),
        from(&request.source),
    ];
    CompleteMultipartUpload |request| {
        let complete = on(&request.bucket, &request.key, request.operation().action(), None);
        with_read(complete, request.condition.if_match.is_some())
    };
    AbortMultipartUpload |request| vec![on(&request.bucket, &request.key, request.operation().action(), None)];
    ListParts |request| vec![on(&request.bucket, &request.key, request.operation().action(), None)];
}

demands_on_bucket! {
    ListMultipartUploads
}

//! Replies of multipart uploads.

use std::borrow::Cow;

use types::{BucketName, Etag, ObjectKey, PartNumber, Timestamp, UploadId, VersionId};

use super::object::{push_version, quoted, write_checksum};
use super::{Owner, Reply};
use crate::checksum::{self, Algorithm, Checksum, ChecksumType};
use crate::date;
use crate::query;
use crate::request::{ListMultipartUploads, ListParts};
use crate::xml::Writer;

/// CreateMultipartUpload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedUpload<'a> {
    pub bucket: &'a BucketName,
    pub key: &'a ObjectKey,
    pub upload: UploadId,
    pub checksum: Option<(Algorithm, ChecksumType)>,
}

impl StartedUpload<'_> {
    pub fn render(&self) -> Reply {
        let mut xml = Writer::document();
        xml.open_root("InitiateMultipartUploadResult");
        xml.text("Bucket", self.bucket.as_str());
        xml.text("Key", self.key.as_str());
        xml.text("UploadId", &self.upload.to_string());
        xml.close("InitiateMultipartUploadResult");
        let mut reply = Reply::xml(200, xml);
        if let Some((algorithm, kind)) = self.checksum {
            reply.headers.push("x-amz-checksum-algorithm", checksum::wire_name(algorithm).as_bytes());
            reply.headers.push("x-amz-checksum-type", kind.wire_name().as_bytes());
        }
        reply
    }
}

/// UploadPartCopy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedPart {
    pub etag: Etag,
    pub modified: Timestamp,
    pub checksum: Option<Checksum>,
    pub source_version: Option<VersionId>,
}

impl CopiedPart {
    pub fn render(&self) -> Reply {
        let mut xml = Writer::document();
        xml.open_root("CopyPartResult");
        xml.text("LastModified", &date::iso8601(self.modified.milliseconds()));
        xml.text("ETag", &quoted(&self.etag));
        if let Some(checksum) = &self.checksum {
            xml.text(checksum::element_name(checksum.algorithm), &checksum.wire_value(None));
        }
        xml.close("CopyPartResult");
        let mut reply = Reply::xml(200, xml);
        if let Some(version) = self.source_version {
            reply.headers.push("x-amz-copy-source-version-id", version.to_string().as_bytes());
        }
        reply
    }
}

/// CompleteMultipartUpload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed<'a> {
    /// Where the object can be read: scheme, host and path, as the request named them.
    pub location: String,
    pub bucket: &'a BucketName,
    pub key: &'a ObjectKey,
    pub etag: Etag,
    pub checksum: Option<Checksum>,
    pub version: Option<VersionId>,
}

impl Completed<'_> {
    pub fn render(&self) -> Reply {
        let mut xml = Writer::document();
        xml.open_root("CompleteMultipartUploadResult");
        xml.text("Location", &self.location);
        xml.text("Bucket", self.bucket.as_str());
        xml.text("Key", self.key.as_str());
        xml.text("ETag", &quoted(&self.etag));
        write_checksum(&mut xml, self.checksum.as_ref(), self.etag.parts.map(std::num::NonZeroU16::get));
        xml.close("CompleteMultipartUploadResult");
        let mut reply = Reply::xml(200, xml);
        push_version(&mut reply.headers, self.version);
        reply
    }
}

/// AbortMultipartUpload answers without a document.
impl StartedUpload<'_> {
    pub fn render_aborted() -> Reply {
        Reply::empty(204)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPart {
    pub number: PartNumber,
    pub modified: Timestamp,
    pub etag: Etag,
    pub size: u64,
    pub checksum: Option<Checksum>,
}

/// ListParts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedParts {
    pub owner: Owner,
    pub storage_class: String,
    /// Of the upload.
    pub checksum: Option<(Algorithm, ChecksumType)>,
    /// By number.
    pub parts: Vec<ListedPart>,
    pub truncated: bool,
}

fn name(encoding_url: bool, name: &str) -> Cow<'_, str> {
    if encoding_url { Cow::Owned(query::encode_listing(name)) } else { Cow::Borrowed(name) }
}

impl ListedParts {
    pub fn render(&self, request: &ListParts) -> Reply {
        let mut xml = Writer::document();
        xml.open_root("ListPartsResult");
        xml.text("Bucket", request.bucket.name.as_str());
        if request.encoding_url {
            xml.text("EncodingType", "url");
        }
        xml.text("Key", &name(request.encoding_url, request.key.as_str()));
        xml.text("UploadId", &request.upload.to_string());
        self.owner.write("Initiator", &mut xml);
        self.owner.write("Owner", &mut xml);
        xml.text("StorageClass", &self.storage_class);
        xml.number("PartNumberMarker", request.part_number_marker.into());
        let last = self.parts.last().map_or(0, |part| part.number.value());
        xml.number("NextPartNumberMarker", last.into());
        xml.number("MaxParts", request.max_parts.into());
        xml.flag("IsTruncated", self.truncated);
        if let Some((algorithm, kind)) = self.checksum {
            xml.text("ChecksumAlgorithm", checksum::wire_name(algorithm));
            xml.text("ChecksumType", kind.wire_name());
        }
        for part in &self.parts {
            xml.open("Part");
            xml.number("PartNumber", part.number.value().into());
            xml.text("LastModified", &date::iso8601(part.modified.milliseconds()));
            xml.text("ETag", &quoted(&part.etag));
            xml.number("Size", part.size);
            if let Some(checksum) = &part.checksum {
                xml.text(checksum::element_name(checksum.algorithm), &checksum.wire_value(None));
            }
            xml.close("Part");
        }
        xml.close("ListPartsResult");
        Reply::xml(200, xml)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedUpload {
    pub key: String,
    pub upload: UploadId,
    pub initiated: Timestamp,
    pub storage_class: String,
    pub checksum: Option<(Algorithm, ChecksumType)>,
}

/// ListMultipartUploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedUploads {
    pub owner: Owner,
    /// By key, then by time of initiation.
    pub uploads: Vec<ListedUpload>,
    pub common_prefixes: Vec<String>,
    /// The last key or common prefix of this page, and the last upload when it was one, when there is more.
    pub next: Option<(String, Option<UploadId>)>,
}

impl ListedUploads {
    pub fn render(&self, request: &ListMultipartUploads) -> Reply {
        let names = |text| name(request.encoding_url, text);
        let mut xml = Writer::document();
        xml.open_root("ListMultipartUploadsResult");
        xml.text("Bucket", request.bucket.name.as_str());
        xml.text("KeyMarker", &names(&request.key_marker));
        xml.text("UploadIdMarker", &request.upload_id_marker.map(|upload| upload.to_string()).unwrap_or_default());
        if let Some((key, upload)) = &self.next {
            xml.text("NextKeyMarker", &names(key));
            xml.text("NextUploadIdMarker", &upload.map(|upload| upload.to_string()).unwrap_or_default());
        }
        xml.text("Prefix", &names(&request.prefix));
        if let Some(delimiter) = &request.delimiter {
            xml.text("Delimiter", &names(delimiter));
        }
        xml.number("MaxUploads", request.max_uploads.into());
        if request.encoding_url {
            xml.text("EncodingType", "url");
        }
        xml.flag("IsTruncated", self.next.is_some());
        for upload in &self.uploads {
            xml.open("Upload");
            xml.text("Key", &names(&upload.key));
            xml.text("UploadId", &upload.upload.to_string());
            self.owner.write("Initiator", &mut xml);
            self.owner.write("Owner", &mut xml);
            xml.text("StorageClass", &upload.storage_class);
            xml.text("Initiated", &date::iso8601(upload.initiated.milliseconds()));
            if let Some((algorithm, kind)) = upload.checksum {
                xml.text("ChecksumAlgorithm", checksum::wire_name(algorithm));
                xml.text("ChecksumType", kind.wire_name());
            }
            xml.close("Upload");
        }
        for prefix in &self.common_prefixes {
            xml.open("CommonPrefixes");
            xml.text("Prefix", &names(prefix));
            xml.close("CommonPrefixes");
        }
        xml.close("ListMultipartUploadsResult");
        Reply::xml(200, xml)
    }
}

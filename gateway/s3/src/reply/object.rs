//! Replies of object operations.

use types::{Attributes, Etag, PartNumber, Timestamp, VersionId};

use super::{Reply, ReplyBody};
use crate::checksum::{self, Checksum};
use crate::date;
use crate::metadata::{self, ResponseOverrides};
use crate::range::ByteRange;
use crate::reply::Headers;
use crate::request::AttributeSelection;
use crate::xml::Writer;

pub(super) fn quoted(etag: &Etag) -> String {
    format!("\"{etag}\"")
}

pub(super) fn push_checksum(headers: &mut Headers, checksum: Option<&Checksum>, parts: Option<u16>) {
    if let Some(checksum) = checksum {
        headers.push(checksum::header_name(checksum.algorithm), checksum.wire_value(parts).as_bytes());
        headers.push("x-amz-checksum-type", checksum.kind.wire_name().as_bytes());
    }
}

pub(super) fn write_checksum(xml: &mut Writer, checksum: Option<&Checksum>, parts: Option<u16>) {
    if let Some(checksum) = checksum {
        xml.text(checksum::element_name(checksum.algorithm), &checksum.wire_value(parts));
        xml.text("ChecksumType", checksum.kind.wire_name());
    }
}

/// The null version of an unversioned bucket is not told.
pub(super) fn push_version(headers: &mut Headers, version: Option<VersionId>) {
    if let Some(version) = version {
        headers.push("x-amz-version-id", version.to_string().as_bytes());
    }
}

/// What is known of an object besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFacts {
    pub etag: Etag,
    pub modified: Timestamp,
    pub size: u64,
    pub attributes: Attributes,
    pub checksum: Option<Checksum>,
    /// `None` in a bucket that never had versioning.
    pub version: Option<VersionId>,
}

impl ObjectFacts {
    fn parts(&self) -> Option<u16> {
        self.etag.parts.map(std::num::NonZeroU16::get)
    }
}

/// GetObject and HeadObject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadObject<'a> {
    pub facts: &'a ObjectFacts,
    /// The part of the object that is sent; `None`: all of it.
    pub range: Option<ByteRange>,
    /// The number of parts, when one part was asked for by number.
    pub parts_count: Option<u16>,
    pub overrides: &'a ResponseOverrides,
    pub with_checksum: bool,
}

impl ReadObject<'_> {
    /// 200 or 206 with the object's head; the body is the caller's to stream.
    pub fn render(&self) -> Reply {
        let facts = self.facts;
        let len = self.range.map_or(facts.size, |range| range.len);
        let mut headers = self.headers();
        if let Some(range) = self.range {
            headers.push("Content-Range", range.content_range(facts.size).as_bytes());
        }
        if let Some(parts) = self.parts_count {
            headers.push("x-amz-mp-parts-count", parts.to_string().as_bytes());
        }
        // Of a range, the checksum of the whole would fail in every client that checks it.
        if self.with_checksum && self.range.is_none() {
            push_checksum(&mut headers, facts.checksum.as_ref(), facts.parts());
        }
        let status = if self.range.is_some() { 206 } else { 200 };
        Reply { status, headers, body: ReplyBody::Object { len } }
    }

    /// 304: the client has it already.
    pub fn render_not_modified(&self) -> Reply {
        let mut reply = Reply::empty(304);
        reply.headers.push("ETag", quoted(&self.facts.etag).as_bytes());
        reply.headers.push("Last-Modified", date::http(self.facts.modified.seconds()).as_bytes());
        push_version(&mut reply.headers, self.facts.version);
        reply
    }

    fn headers(&self) -> Headers {
        let facts = self.facts;
        let mut headers = Headers::new();
        headers.push("Last-Modified", date::http(facts.modified.seconds()).as_bytes());
        headers.push("ETag", quoted(&facts.etag).as_bytes());
        headers.push("Accept-Ranges", b"bytes");
        push_version(&mut headers, facts.version);
        metadata::write_headers(&facts.attributes, self.overrides, &mut headers);
        headers
    }
}

/// PutObject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    pub etag: Etag,
    pub checksum: Option<Checksum>,
    pub version: Option<VersionId>,
}

impl StoredObject {
    pub fn render(&self) -> Reply {
        let mut reply = Reply::empty(200);
        reply.headers.push("ETag", quoted(&self.etag).as_bytes());
        push_checksum(&mut reply.headers, self.checksum.as_ref(), None);
        push_version(&mut reply.headers, self.version);
        reply
    }
}

/// UploadPart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPart {
    pub etag: Etag,
    pub checksum: Option<Checksum>,
}

impl StoredPart {
    pub fn render(&self) -> Reply {
        let mut reply = Reply::empty(200);
        reply.headers.push("ETag", quoted(&self.etag).as_bytes());
        if let Some(checksum) = &self.checksum {
            reply.headers.push(checksum::header_name(checksum.algorithm), checksum.wire_value(None).as_bytes());
        }
        reply
    }
}

/// DeleteObject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletedObject {
    /// The version removed, or the delete marker made.
    pub version: Option<VersionId>,
    pub delete_marker: bool,
}

impl DeletedObject {
    pub fn render(&self) -> Reply {
        let mut reply = Reply::empty(204);
        if self.delete_marker {
            reply.headers.push("x-amz-delete-marker", b"true");
        }
        push_version(&mut reply.headers, self.version);
        reply
    }
}

/// CopyObject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    pub etag: Etag,
    pub modified: Timestamp,
    pub checksum: Option<Checksum>,
    pub version: Option<VersionId>,
    /// The version that was copied, when its bucket has versions.
    pub source_version: Option<VersionId>,
}

impl Copied {
    pub fn render(&self) -> Reply {
        let mut xml = Writer::document();
        xml.open_root("CopyObjectResult");
        xml.text("LastModified", &date::iso8601(self.modified.milliseconds()));
        xml.text("ETag", &quoted(&self.etag));
        write_checksum(&mut xml, self.checksum.as_ref(), self.etag.parts.map(std::num::NonZeroU16::get));
        xml.close("CopyObjectResult");
        let mut reply = Reply::xml(200, xml);
        push_version(&mut reply.headers, self.version);
        if let Some(version) = self.source_version {
            reply.headers.push("x-amz-copy-source-version-id", version.to_string().as_bytes());
        }
        reply
    }
}

/// One part of a completed object, as GetObjectAttributes lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPart {
    pub number: PartNumber,
    pub size: u64,
    pub checksum: Option<Checksum>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPartsPage {
    pub total: u16,
    pub part_number_marker: u32,
    pub max_parts: u32,
    pub truncated: bool,
    /// S3 lists parts of objects with a composite checksum only; otherwise empty.
    pub parts: Vec<ObjectPart>,
}

/// GetObjectAttributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedAttributes<'a> {
    pub facts: &'a ObjectFacts,
    pub selection: AttributeSelection,
    /// `None` when the object was not put together from parts.
    pub parts: Option<ObjectPartsPage>,
}

impl SelectedAttributes<'_> {
    pub fn render(&self) -> Reply {
        let (facts, selection) = (self.facts, self.selection);
        let mut xml = Writer::document();
        xml.open_root("GetObjectAttributesResponse");
        if selection.etag {
            // The one document in which S3 leaves the quotes out.
            xml.text("ETag", &facts.etag.to_string());
        }
        if let (true, Some(checksum)) = (selection.checksum, &facts.checksum) {
            xml.open("Checksum");
            // Without the number of parts, unlike everywhere else.
            write_checksum(&mut xml, Some(checksum), None);
            xml.close("Checksum");
        }
        if let (true, Some(page)) = (selection.object_parts, &self.parts) {
            write_parts(page, &mut xml);
        }
        if selection.storage_class {
            xml.text("StorageClass", metadata::storage_class_of(&facts.attributes));
        }
        if selection.object_size {
            xml.number("ObjectSize", facts.size);
        }
        xml.close("GetObjectAttributesResponse");
        let mut reply = Reply::xml(200, xml);
        reply.headers.push("Last-Modified", date::http(facts.modified.seconds()).as_bytes());
        push_version(&mut reply.headers, facts.version);
        reply
    }
}

fn write_parts(page: &ObjectPartsPage, xml: &mut Writer) {
    xml.open("ObjectParts");
    xml.number("PartsCount", page.total.into());
    xml.number("PartNumberMarker", page.part_number_marker.into());
    let last = page.parts.last().map_or(0, |part| part.number.value());
    xml.number("NextPartNumberMarker", last.into());
    xml.number("MaxParts", page.max_parts.into());
    xml.flag("IsTruncated", page.truncated);
    for part in &page.parts {
        xml.open("Part");
        if let Some(checksum) = &part.checksum {
            xml.text(checksum::element_name(checksum.algorithm), &checksum.wire_value(None));
        }
        xml.number("PartNumber", part.number.value().into());
        xml.number("Size", part.size);
        xml.close("Part");
    }
    xml.close("ObjectParts");
}

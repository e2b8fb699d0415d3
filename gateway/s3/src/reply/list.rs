//! Replies of ListObjects in both versions.

use std::borrow::Cow;

use types::{Etag, Timestamp};

use super::{Owner, Reply};
use crate::checksum::{self, Algorithm, ChecksumType};
use crate::date;
use crate::query;
use crate::request::{ListObjects, ListObjectsV2, Page};
use crate::token;
use crate::xml::Writer;

/// One key of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    pub key: String,
    pub modified: Timestamp,
    pub etag: Etag,
    pub size: u64,
    pub storage_class: Cow<'static, str>,
    pub checksum: Option<(Algorithm, ChecksumType)>,
}

/// One page of what is in a bucket, in byte order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub objects: Vec<ListedObject>,
    pub common_prefixes: Vec<String>,
    /// The last name of this page, a key or a common prefix, when there is more after it.
    pub next: Option<String>,
}

/// About what an entry takes besides its key, with checksum and storage class.
const OBJECT_BYTES: usize = 320;

/// Writes names as the page's encoding asks for.
pub(super) struct Names {
    pub(super) encoding_url: bool,
}

impl Names {
    pub(super) fn of<'a>(&self, name: &'a str) -> Cow<'a, str> {
        if self.encoding_url { Cow::Owned(query::encode_listing(name)) } else { Cow::Borrowed(name) }
    }
}

/// Text that is mostly the same as it was before: the objects of a page have the same kind of checksum, the same class.
struct Repeated<K> {
    of: Option<K>,
    text: String,
}

impl<K: PartialEq> Repeated<K> {
    fn new() -> Repeated<K> {
        Repeated { of: None, text: String::new() }
    }

    fn text(&mut self, of: K, write: impl FnOnce(&mut Writer)) -> &str {
        if self.of.as_ref() != Some(&of) {
            let mut xml = Writer::piece();
            write(&mut xml);
            self.text = xml.finish();
            self.of = Some(of);
        }
        &self.text
    }
}

fn write_objects(listing: &Listing, owner: Option<&Owner>, names: &Names, xml: &mut Writer) {
    xml.reserve(listing.objects.iter().map(|object| OBJECT_BYTES + object.key.len()).sum());
    let mut dates = date::Iso8601::default();
    let (mut before_size, mut after_size) = (Repeated::new(), Repeated::new());
    for object in &listing.objects {
        xml.verbatim("<Contents><Key>");
        xml.content(&names.of(&object.key));
        xml.verbatim("</Key><LastModified>");
        xml.verbatim(dates.text(object.modified.milliseconds()));
        xml.verbatim("</LastModified><ETag>&quot;");
        xml.plain(|text| object.etag.write_to(text).expect("a String takes all text"));
        xml.verbatim(before_size.text(object.checksum, |xml| {
            xml.verbatim("&quot;</ETag>");
            if let Some((algorithm, kind)) = object.checksum {
                xml.text("ChecksumAlgorithm", checksum::wire_name(algorithm));
                xml.text("ChecksumType", kind.wire_name());
            }
            xml.verbatim("<Size>");
        }));
        xml.digits(object.size);
        xml.verbatim(after_size.text(&object.storage_class, |xml| {
            xml.verbatim("</Size>");
            if let Some(owner) = owner {
                owner.write("Owner", xml);
            }
            xml.text("StorageClass", &object.storage_class);
            xml.verbatim("</Contents>");
        }));
    }
    for prefix in &listing.common_prefixes {
        xml.open("CommonPrefixes");
        xml.text("Prefix", &names.of(prefix));
        xml.close("CommonPrefixes");
    }
}

fn write_page(page: &Page, names: &Names, xml: &mut Writer) {
    xml.text("Prefix", &names.of(&page.prefix));
    if let Some(delimiter) = &page.delimiter {
        xml.text("Delimiter", &names.of(delimiter));
    }
    xml.number("MaxKeys", page.max_keys.into());
    if page.encoding_url {
        xml.text("EncodingType", "url");
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObjects {
    pub owner: Owner,
    pub listing: Listing,
}

impl ListedObjects {
    pub fn render(&self, request: &ListObjects) -> Reply {
        let names = Names { encoding_url: request.page.encoding_url };
        let mut xml = Writer::document();
        xml.open_root("ListBucketResult");
        xml.text("Name", request.bucket.name.as_str());
        write_page(&request.page, &names, &mut xml);
        xml.text("Marker", &names.of(&request.marker));
        // Without a delimiter the last key is the next marker, and S3 does not say it twice.
        if let (Some(next), Some(_)) = (&self.listing.next, &request.page.delimiter) {
            xml.text("NextMarker", &names.of(next));
        }
        xml.flag("IsTruncated", self.listing.next.is_some());
        write_objects(&self.listing, Some(&self.owner), &names, &mut xml);
        xml.close("ListBucketResult");
        Reply::xml(200, xml)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObjectsV2 {
    /// Written when the request asked for it.
    pub owner: Owner,
    pub listing: Listing,
}

impl ListedObjectsV2 {
    pub fn render(&self, request: &ListObjectsV2) -> Reply {
        let names = Names { encoding_url: request.page.encoding_url };
        let mut xml = Writer::document();
        xml.open_root("ListBucketResult");
        xml.text("Name", request.bucket.name.as_str());
        write_page(&request.page, &names, &mut xml);
        let listing = &self.listing;
        xml.number("KeyCount", (listing.objects.len() + listing.common_prefixes.len()) as u64);
        if let Some((token, _)) = &request.continuation {
            xml.text("ContinuationToken", token);
        }
        if let Some(start_after) = &request.start_after {
            xml.text("StartAfter", &names.of(start_after));
        }
        if let Some(next) = &listing.next {
            xml.text("NextContinuationToken", &token::encode(next));
        }
        xml.flag("IsTruncated", listing.next.is_some());
        let owner = request.fetch_owner.then_some(&self.owner);
        write_objects(listing, owner, &names, &mut xml);
        xml.close("ListBucketResult");
        Reply::xml(200, xml)
    }
}

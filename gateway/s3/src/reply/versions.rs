//! The reply of ListObjectVersions. Without versioning each key has one version, `null`, which is the latest.

use types::VersionId;

use super::list::{Listing, Names};
use super::{Owner, Reply};
use crate::checksum;
use crate::date;
use crate::request::ListObjectVersions;
use crate::xml::Writer;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVersions {
    pub owner: Owner,
    pub listing: Listing,
}

impl ListedVersions {
    pub fn render(&self, request: &ListObjectVersions) -> Reply {
        let page = &request.page;
        let names = Names { encoding_url: page.encoding_url };
        let null = VersionId::NULL.to_string();
        let mut xml = Writer::document();
        xml.open_root("ListVersionsResult");
        xml.text("Name", request.bucket.name.as_str());
        xml.text("Prefix", &names.of(&page.prefix));
        xml.text("KeyMarker", &names.of(&request.key_marker));
        xml.text("VersionIdMarker", request.version_id_marker.as_deref().unwrap_or(""));
        if let Some(next) = &self.listing.next {
            xml.text("NextKeyMarker", &names.of(next));
            // A page that ends with a common prefix goes on after it, whatever version that key may have.
            if self.listing.objects.last().is_some_and(|object| object.key == *next) {
                xml.text("NextVersionIdMarker", &null);
            }
        }
        xml.number("MaxKeys", page.max_keys.into());
        if let Some(delimiter) = &page.delimiter {
            xml.text("Delimiter", &names.of(delimiter));
        }
        if page.encoding_url {
            xml.text("EncodingType", "url");
        }
        xml.flag("IsTruncated", self.listing.next.is_some());
        for object in &self.listing.objects {
            xml.open("Version");
            xml.text("Key", &names.of(&object.key));
            xml.text("VersionId", &null);
            xml.flag("IsLatest", true);
            xml.text("LastModified", &date::iso8601(object.modified.milliseconds()));
            xml.text("ETag", &format!("\"{}\"", object.etag));
            if let Some((algorithm, kind)) = object.checksum {
                xml.text("ChecksumAlgorithm", checksum::wire_name(algorithm));
                xml.text("ChecksumType", kind.wire_name());
            }
            xml.number("Size", object.size);
            self.owner.write("Owner", &mut xml);
            xml.text("StorageClass", &object.storage_class);
            xml.close("Version");
        }
        for prefix in &self.listing.common_prefixes {
            xml.open("CommonPrefixes");
            xml.text("Prefix", &names.of(prefix));
            xml.close("CommonPrefixes");
        }
        xml.close("ListVersionsResult");
        Reply::xml(200, xml)
    }
}

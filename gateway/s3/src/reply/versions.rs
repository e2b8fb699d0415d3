//! Replies about versions: ListObjectVersions, GetBucketVersioning.

use types::{VersionId, Versioning};

use super::list::{ListedObject, Names};
use super::{Owner, Reply};
use crate::checksum;
use crate::date;
use crate::request::ListObjectVersions;
use crate::xml::Writer;

/// One version, or a delete marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVersion {
    pub object: ListedObject,
    pub version: VersionId,
    pub is_latest: bool,
    pub delete_marker: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVersions {
    pub owner: Owner,
    /// By key, of each the newest first.
    pub versions: Vec<ListedVersion>,
    pub common_prefixes: Vec<String>,
    /// The key that the next page goes on after, and the version of it; `None` after a common prefix.
    pub next: Option<(String, Option<VersionId>)>,
}

impl ListedVersions {
    pub fn render(&self, request: &ListObjectVersions) -> Reply {
        let page = &request.page;
        let names = Names { encoding_url: page.encoding_url };
        let mut xml = Writer::document();
        xml.open_root("ListVersionsResult");
        xml.text("Name", request.bucket.name.as_str());
        xml.text("Prefix", &names.of(&page.prefix));
        xml.text("KeyMarker", &names.of(&request.key_marker));
        let marker = request.version_id_marker.map(|version| version.to_string());
        xml.text("VersionIdMarker", marker.as_deref().unwrap_or(""));
        if let Some((key, version)) = &self.next {
            xml.text("NextKeyMarker", &names.of(key));
            if let Some(version) = version {
                xml.text("NextVersionIdMarker", &version.to_string());
            }
        }
        xml.number("MaxKeys", page.max_keys.into());
        if let Some(delimiter) = &page.delimiter {
            xml.text("Delimiter", &names.of(delimiter));
        }
        if page.encoding_url {
            xml.text("EncodingType", "url");
        }
        xml.flag("IsTruncated", self.next.is_some());
        for version in &self.versions {
            self.write(version, &names, &mut xml);
        }
        for prefix in &self.common_prefixes {
            xml.open("CommonPrefixes");
            xml.text("Prefix", &names.of(prefix));
            xml.close("CommonPrefixes");
        }
        xml.close("ListVersionsResult");
        Reply::xml(200, xml)
    }

    fn write(&self, listed: &ListedVersion, names: &Names, xml: &mut Writer) {
        let object = &listed.object;
        let element = if listed.delete_marker { "DeleteMarker" } else { "Version" };
        xml.open(element);
        xml.text("Key", &names.of(&object.key));
        xml.text("VersionId", &listed.version.to_string());
        xml.flag("IsLatest", listed.is_latest);
        xml.text("LastModified", &date::iso8601(object.modified.milliseconds()));
        if !listed.delete_marker {
            xml.text("ETag", &format!("\"{}\"", object.etag));
            if let Some((algorithm, kind)) = object.checksum {
                xml.text("ChecksumAlgorithm", checksum::wire_name(algorithm));
                xml.text("ChecksumType", kind.wire_name());
            }
            xml.number("Size", object.size);
        }
        self.owner.write("Owner", xml);
        if !listed.delete_marker {
            xml.text("StorageClass", &object.storage_class);
        }
        xml.close(element);
    }
}

/// GetBucketVersioning.
pub fn render_versioning(versioning: Versioning) -> Reply {
    let mut xml = Writer::document();
    xml.open_root("VersioningConfiguration");
    match versioning {
        Versioning::Unversioned => {}
        Versioning::Enabled => xml.text("Status", "Enabled"),
        Versioning::Suspended => xml.text("Status", "Suspended"),
    }
    xml.close("VersioningConfiguration");
    Reply::xml(200, xml)
}

//! Replies of bucket operations and of the multi-object delete.

use types::{BucketName, Timestamp, VersionId};

use super::Reply;
use crate::date;
use crate::error::Error;
use crate::token;
use crate::xml::Writer;

/// Who a bucket or an object belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub id: String,
    pub display_name: String,
}

impl Owner {
    pub(super) fn write(&self, element: &str, xml: &mut Writer) {
        xml.open(element);
        xml.text("ID", &self.id);
        xml.text("DisplayName", &self.display_name);
        xml.close(element);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedBucket {
    pub name: BucketName,
    pub created: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedBuckets {
    pub owner: Owner,
    pub region: String,
    /// By name.
    pub buckets: Vec<ListedBucket>,
    pub prefix: Option<String>,
    /// There are more after the last one listed.
    pub truncated: bool,
    /// Paging was asked for: only then S3 tells each bucket's region.
    pub paged: bool,
}

impl ListedBuckets {
    pub fn render(&self) -> Reply {
        let mut xml = Writer::document();
        xml.open_root("ListAllMyBucketsResult");
        xml.open("Buckets");
        for bucket in &self.buckets {
            xml.open("Bucket");
            if self.paged {
                xml.text("BucketRegion", &self.region);
            }
            xml.text("CreationDate", &date::iso8601(bucket.created.milliseconds()));
            xml.text("Name", bucket.name.as_str());
            xml.close("Bucket");
        }
        xml.close("Buckets");
        self.owner.write("Owner", &mut xml);
        if let (true, Some(last)) = (self.truncated, self.buckets.last()) {
            xml.text("ContinuationToken", &token::encode(last.name.as_str()));
        }
        xml.optional("Prefix", self.prefix.as_deref());
        xml.close("ListAllMyBucketsResult");
        Reply::xml(200, xml)
    }
}

/// Where a bucket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub region: String,
}

/// The region that S3 writes as the empty location.
const REGION_WITHOUT_NAME: &str = "us-east-1";

impl Location {
    /// GetBucketLocation.
    pub fn render(&self) -> Reply {
        let mut xml = Writer::document();
        xml.open_root("LocationConstraint");
        if self.region != REGION_WITHOUT_NAME {
            xml.content(&self.region);
        }
        xml.close("LocationConstraint");
        Reply::xml(200, xml)
    }

    /// HeadBucket.
    pub fn render_head(&self) -> Reply {
        let mut reply = Reply::empty(200);
        reply.headers.push("x-amz-bucket-region", self.region.as_bytes());
        reply.headers.push("x-amz-access-point-alias", b"false");
        reply
    }

    /// CreateBucket of `name`.
    pub fn render_created(name: &BucketName) -> Reply {
        let mut reply = Reply::empty(200);
        reply.headers.push("Location", format!("/{name}").as_bytes());
        reply
    }

    /// DeleteBucket.
    pub fn render_deleted() -> Reply {
        Reply::empty(204)
    }
}

/// The outcome of one entry of DeleteObjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedEntry {
    pub key: String,
    /// The version asked for, as it was written.
    pub version: Option<String>,
    /// The delete marker that was made or removed.
    pub marker: Option<VersionId>,
    pub error: Option<Error>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    pub quiet: bool,
    pub entries: Vec<DeletedEntry>,
}

impl Deleted {
    pub fn render(&self) -> Reply {
        let mut xml = Writer::document();
        xml.open_root("DeleteResult");
        for entry in &self.entries {
            match &entry.error {
                Some(error) => {
                    xml.open("Error");
                    xml.text("Key", &entry.key);
                    xml.optional("VersionId", entry.version.as_deref());
                    xml.text("Code", error.code.wire_name());
                    xml.text("Message", &error.message);
                    xml.close("Error");
                }
                None if self.quiet => {}
                None => {
                    xml.open("Deleted");
                    xml.text("Key", &entry.key);
                    xml.optional("VersionId", entry.version.as_deref());
                    if let Some(marker) = entry.marker {
                        xml.flag("DeleteMarker", true);
                        xml.text("DeleteMarkerVersionId", &marker.to_string());
                    }
                    xml.close("Deleted");
                }
            }
        }
        xml.close("DeleteResult");
        Reply::xml(200, xml)
    }
}

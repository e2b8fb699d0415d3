//! The typed replies: one struct per implemented operation, each renders itself to status, headers and body.
//!
//! `Date`, `Server`, `Content-Length` and connection headers are HTTP's; `finish` adds what every S3 reply carries.

mod bucket;
mod configuration;
mod headers;
mod list;
mod multipart;
mod object;
mod unset;
mod versions;

pub use bucket::{Deleted, DeletedEntry, ListedBucket, ListedBuckets, Location, Owner};
pub use configuration::{CONFIGURATIONS_PAGE_MAX, ListedConfigurations, Stored, render_configuration};
pub use headers::Headers;
pub(crate) use headers::is_token;
pub use list::{ListedObject, ListedObjects, ListedObjectsV2, Listing};
pub use multipart::{Completed, CopiedPart, ListedPart, ListedParts, ListedUpload, ListedUploads, StartedUpload};
pub use object::{
    Copied, DeletedObject, ObjectFacts, ObjectPart, ObjectPartsPage, ReadObject, SelectedAttributes, StoredObject,
    StoredPart,
};
pub use unset::render_unset;
pub use versions::{ListedVersion, ListedVersions, render_versioning};

use crate::error::{Code, Error};
use crate::xml::Writer;

/// A reply ready for HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Headers,
    pub body: ReplyBody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// No bytes; `Content-Length: 0` where HTTP wants one.
    Empty,
    Bytes(Vec<u8>),
    /// So many bytes of the object, which the caller streams; for HEAD only their number is told.
    Object {
        len: u64,
    },
}

impl Reply {
    pub fn empty(status: u16) -> Reply {
        Reply { status, headers: Headers::new(), body: ReplyBody::Empty }
    }

    pub(crate) fn xml(status: u16, xml: Writer) -> Reply {
        let mut headers = Headers::new();
        headers.push("Content-Type", b"application/xml");
        Reply { status, headers, body: ReplyBody::Bytes(xml.finish().into_bytes()) }
    }

    /// A document of JSON.
    pub fn json(document: &str) -> Reply {
        let mut headers = Headers::new();
        headers.push("Content-Type", b"application/json");
        Reply { status: 200, headers, body: ReplyBody::Bytes(document.as_bytes().to_vec()) }
    }

    /// GetBucketPolicyStatus.
    pub fn policy_status(is_public: bool) -> Reply {
        let mut xml = Writer::document();
        xml.open_root("PolicyStatus");
        xml.flag("IsPublic", is_public);
        xml.close("PolicyStatus");
        Reply::xml(200, xml)
    }

    /// Adds the ids by which a request can be found again.
    pub fn finish(mut self, request_id: &str, host_id: &str) -> Reply {
        self.headers.push("x-amz-request-id", request_id.as_bytes());
        self.headers.push("x-amz-id-2", host_id.as_bytes());
        self
    }

    /// The reply to a failed request, ids included. `method` decides whether a document may follow.
    pub fn of_error(error: &Error, method: &str, resource: &str, request_id: &str, host_id: &str) -> Reply {
        let mut headers = Headers::new();
        let field = |name| error.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        match error.code {
            Code::InvalidRange => {
                if let Some(size) = field("ActualObjectSize") {
                    headers.push("Content-Range", format!("bytes */{size}").as_bytes());
                }
            }
            Code::SlowDown | Code::ServiceUnavailable => headers.push("Retry-After", b"1"),
            _ => {}
        }
        for (name, value) in &error.headers {
            headers.push(name, value.as_bytes());
        }
        if let Some(region) = field("Region") {
            headers.push("x-amz-bucket-region", region.as_bytes());
        }
        let body = if method == "HEAD" || error.status() == 304 {
            ReplyBody::Empty
        } else {
            headers.push("Content-Type", b"application/xml");
            ReplyBody::Bytes(error.document(resource, request_id, host_id).into_bytes())
        };
        Reply { status: error.status(), headers, body }.finish(request_id, host_id)
    }
}

#[cfg(test)]
mod tests;

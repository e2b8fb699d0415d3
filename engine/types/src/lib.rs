//! The shared vocabulary: names, ids, sizes, versions.
//!
//! Duty: one checked type per noun that more than one crate speaks of. Invariants: a value of a type here is
//! valid by construction (one constructor guards it). Must never know: files, sockets, async, HTTP, XML.

mod attributes;
mod bucket;
mod condition;
mod etag;
mod key;
mod object;

pub use attributes::{Attribute, Attributes, AttributesView};
pub use bucket::{BucketId, BucketName, InvalidBucketName};
pub use condition::{ConditionRefused, DeleteCondition, EtagSet, WriteCondition};
pub use etag::Etag;
pub use key::{InvalidKey, ObjectKey};
pub use object::{PartNumber, Timestamp, UploadId, VersionId, Versioning};

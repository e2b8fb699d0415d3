//! What can go wrong, named after what the caller can do about it.

use std::fmt;

use types::{ConditionRefused, Timestamp, VersionId};

use crate::ids::VolumeId;

/// Errors of the store's operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no such bucket.
    NoBucket,
    /// A bucket of this name exists.
    BucketExists,
    /// The bucket has objects or versions.
    BucketNotEmpty,
    /// There is no such object or version.
    NotFound,
    /// The version is a delete marker; so the key has no object, if it is the newest one.
    DeleteMarker { version: VersionId, modified: Timestamp },
    /// There is no such upload.
    NoUpload,
    /// A part named by the caller is not there, or is another one by now.
    NoPart,
    /// A precondition does not hold; nothing was changed.
    Precondition(ConditionRefused),
    /// Try again later: a queue is full or a change is under way. Nothing was changed.
    Busy,
    /// The drives are full. Deletes still work.
    Full,
    /// The bytes on the drives are damaged beyond what parity can repair.
    Corrupt { volume: VolumeId, what: &'static str },
    /// Fewer drives answer than this needs, or the outcome of a write is not known.
    Unavailable(&'static str),
    /// The caller broke off or gave another length than it had announced.
    Incomplete,
}

pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoBucket => f.write_str("no such bucket"),
            Error::BucketExists => f.write_str("the bucket exists"),
            Error::BucketNotEmpty => f.write_str("the bucket is not empty"),
            Error::NotFound => f.write_str("no such object"),
            Error::DeleteMarker { .. } => f.write_str("a delete marker"),
            Error::NoUpload => f.write_str("no such upload"),
            Error::NoPart => f.write_str("no such part"),
            Error::Precondition(_) => f.write_str("a precondition does not hold"),
            Error::Busy => f.write_str("busy"),
            Error::Full => f.write_str("the drives are full"),
            Error::Corrupt { volume, what } => write!(f, "volume {volume} is damaged: {what}"),
            Error::Unavailable(what) => write!(f, "unavailable: {what}"),
            Error::Incomplete => f.write_str("the body ended early"),
        }
    }
}

impl std::error::Error for Error {}

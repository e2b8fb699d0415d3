//! What the store refuses, as S3 says it. The one place where that is decided.

use s3::{Code, Error};
use store::ReadError;
use types::{BucketName, ConditionRefused, ObjectKey, VersionId};

static CORRUPT: telemetry::Counter =
    telemetry::Counter::new("hafiz_requests_corrupt_total", "Requests that met damage beyond repair.");

/// The S3 error for an error of the store.
///
/// Full drives are `InsufficientStorage` with 507: no code of S3 itself says it, SDKs do not retry it, and WebDAV's
/// status is what people look up. Deletes go on.
pub(crate) fn refuse(error: store::Error) -> Error {
    match error {
        store::Error::NoBucket => Error::new(Code::NoSuchBucket),
        store::Error::BucketExists => Error::new(Code::BucketAlreadyOwnedByYou),
        store::Error::BucketNotEmpty => Error::new(Code::BucketNotEmpty),
        store::Error::NotFound => Error::new(Code::NoSuchKey),
        store::Error::DeleteMarker { version, modified } => Error::delete_marker(version, modified, false),
        store::Error::NoUpload => Error::new(Code::NoSuchUpload),
        store::Error::NoPart => Error::new(Code::InvalidPart),
        store::Error::Precondition(ConditionRefused::Missing) => Error::new(Code::NoSuchKey),
        store::Error::Precondition(ConditionRefused::Failed) => Error::new(Code::PreconditionFailed),
        store::Error::Busy => Error::new(Code::SlowDown),
        store::Error::Full => Error::new(Code::StorageFull),
        store::Error::Incomplete => Error::new(Code::IncompleteBody),
        store::Error::Corrupt { .. } => {
            CORRUPT.add(1);
            telemetry::error!("a request met damage that cannot be repaired"; error = error);
            Error::new(Code::InternalError)
        }
        store::Error::Unavailable(what) => {
            telemetry::warn!("a request could not be served"; error = what);
            Error::new(Code::ServiceUnavailable)
        }
    }
}

/// The same for a read. Bytes that were moved twice while they were read come with the next try.
pub(crate) fn refuse_read(error: ReadError) -> Error {
    match error {
        ReadError::Stale => refuse(store::Error::Busy),
        ReadError::Failed(error) => refuse(error),
    }
}

/// An answer of the store, or something we wrote ourselves, makes no sense.
pub(crate) fn senseless(what: &'static str) -> Error {
    telemetry::error!("a request met what cannot be"; error = what);
    Error::new(Code::InternalError)
}

/// The same for a version that was asked for by its id.
pub(crate) fn refuse_version(error: store::Error, version: VersionId) -> Error {
    match error {
        store::Error::NotFound => no_such_version(version),
        store::Error::DeleteMarker { version, modified } => Error::delete_marker(version, modified, true),
        other => refuse(other),
    }
}

pub(crate) fn no_such_version(version: VersionId) -> Error {
    Error::new(Code::NoSuchVersion).field("VersionId", version.to_string())
}

/// Names the key in an error that speaks of one.
pub(crate) fn about_key(error: Error, key: &ObjectKey) -> Error {
    match error.code {
        Code::NoSuchKey | Code::NoSuchVersion => error.field("Key", key.as_str()),
        _ => error,
    }
}

pub(crate) fn no_such_bucket(name: &BucketName) -> Error {
    Error::new(Code::NoSuchBucket).field("BucketName", name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_the_store_has_its_code() {
        let check = |error, code: Code, status| {
            let refused = refuse(error);
            assert_eq!((refused.code, refused.status()), (code, status));
        };
        check(store::Error::NoBucket, Code::NoSuchBucket, 404);
        check(store::Error::NotFound, Code::NoSuchKey, 404);
        check(store::Error::NoUpload, Code::NoSuchUpload, 404);
        check(store::Error::NoPart, Code::InvalidPart, 400);
        check(store::Error::Precondition(ConditionRefused::Missing), Code::NoSuchKey, 404);
        check(store::Error::Precondition(ConditionRefused::Failed), Code::PreconditionFailed, 412);
        check(store::Error::Busy, Code::SlowDown, 503);
        check(store::Error::Full, Code::StorageFull, 507);
        check(store::Error::Unavailable("x"), Code::ServiceUnavailable, 503);
        check(store::Error::Incomplete, Code::IncompleteBody, 400);
    }
}

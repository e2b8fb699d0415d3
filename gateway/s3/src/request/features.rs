//! Headers that ask for what Hafiz does not provide: refused, so that no client believes a promise nobody keeps.

use crate::error::{Code, Error, Result};
use crate::head::Head;

/// Any header that begins so is refused.
const PREFIXES: [&str; 3] =
    ["x-amz-server-side-encryption", "x-amz-copy-source-server-side-encryption", "x-amz-object-lock-"];

/// Refused when present and not empty.
const NAMES: [&str; 3] = ["x-amz-tagging", "x-amz-write-offset-bytes", "x-amz-rename-source"];

/// The canned access lists that say no more than that the owner owns.
const ACL_OF_OWNER: [&str; 2] = ["private", "bucket-owner-full-control"];

const ACL_OTHERS: [&str; 6] = [
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "log-delivery-write",
];

/// Refuses encryption, locks, tags and appends; and access lists, as a bucket that enforces its owner's rights does.
pub(super) fn refuse_unimplemented(head: &Head<'_>) -> Result<()> {
    for (name, value) in head.headers {
        let starts_with = |prefix: &str| name.get(..prefix.len()).is_some_and(|n| n.eq_ignore_ascii_case(prefix));
        if PREFIXES.iter().any(|prefix| starts_with(prefix)) {
            return Err(Error::header_not_implemented(name));
        }
        if NAMES.iter().any(|known| known.eq_ignore_ascii_case(name)) && !value.trim_ascii().is_empty() {
            return Err(Error::header_not_implemented(name));
        }
        if starts_with("x-amz-grant-") {
            return Err(Error::new(Code::AccessControlListNotSupported));
        }
    }
    match head.single("x-amz-acl")?.filter(|acl| !acl.is_empty()) {
        None => Ok(()),
        Some(acl) if ACL_OF_OWNER.contains(&acl) => Ok(()),
        Some(acl) if ACL_OTHERS.contains(&acl) => Err(Error::new(Code::AccessControlListNotSupported)),
        Some(acl) => Err(Error::argument("x-amz-acl", acl, "Invalid canned ACL")),
    }
}

pub(super) fn refuse_on_create_bucket(head: &Head<'_>) -> Result<()> {
    let locked = "x-amz-bucket-object-lock-enabled";
    if head.single(locked)?.is_some_and(|value| !value.eq_ignore_ascii_case("false")) {
        return Err(Error::header_not_implemented(locked));
    }
    let ownership = "x-amz-object-ownership";
    match head.single(ownership)? {
        None | Some("BucketOwnerEnforced") => Ok(()),
        Some("BucketOwnerPreferred" | "ObjectWriter") => Err(Error::header_not_implemented(ownership)),
        Some(other) => Err(Error::argument(ownership, other, "Invalid x-amz-object-ownership header")),
    }
}

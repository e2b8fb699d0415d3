//! The source of a copy: `x-amz-copy-source`.

use types::{BucketName, ObjectKey, VersionId};

use crate::error::{Code, Error, Result};
use crate::head::Head;
use crate::query::{self, Plus};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySource {
    pub bucket: BucketName,
    pub key: ObjectKey,
    pub version: Option<VersionId>,
}

const HEADER: &str = "x-amz-copy-source";

impl CopySource {
    /// Reads `[/]bucket/key[?versionId=...]`, percent-encoded. The version is told from the key before decoding, so
    /// that a key may hold an encoded `?`.
    pub fn from_head(head: &Head<'_>) -> Result<CopySource> {
        let value = head.single(HEADER)?.unwrap_or("");
        let malformed = || {
            Error::argument(HEADER, value, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
        };
        let (path, version) = match value.split_once("?versionId=") {
            Some((path, version)) => (path, Some(query::decode_text(version, Plus::IsPlus).map_err(|_| malformed())?)),
            None => (value, None),
        };
        if path.starts_with("arn:") {
            return Err(Error::header_not_implemented(HEADER));
        }
        let path = query::decode_text(path, Plus::IsBlank).map_err(|_| malformed())?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        let (bucket, key) = path.split_once('/').ok_or_else(malformed)?;
        if bucket.is_empty() || key.is_empty() {
            return Err(malformed());
        }
        let version = match version.as_deref().filter(|version| !version.is_empty()) {
            Some(version) => Some(
                VersionId::parse(version)
                    .ok_or_else(|| Error::argument("versionId", version, "Invalid version id specified"))?,
            ),
            None => None,
        };
        Ok(CopySource {
            bucket: BucketName::parse(bucket)
                .map_err(|_| Error::new(Code::InvalidBucketName).field("BucketName", bucket))?,
            key: ObjectKey::parse(key).map_err(|_| Error::new(Code::KeyTooLong))?,
            version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<(String, String, Option<VersionId>)> {
        let headers = [(HEADER, value.as_bytes())];
        let source = CopySource::from_head(&Head { method: "PUT", target: "/", headers: &headers })?;
        Ok((source.bucket.as_str().to_owned(), source.key.as_str().to_owned(), source.version))
    }

    #[test]
    fn a_copy_source_is_decoded_once_and_its_version_is_told_apart() {
        let check = |value: &str, key: &str, version: Option<VersionId>| {
            assert_eq!(parse(value), Ok(("bucket".to_owned(), key.to_owned(), version)), "{value}");
        };
        check("bucket/key", "key", None);
        check("/bucket/key/with//slashes/", "key/with//slashes/", None);
        check("bucket%2Fkey", "key", None);
        check("bucket/a%20b+c%2525%2B", "a b c%25+", None);
        check("bucket/%3FversionId=null", "?versionId=null", None);
        check("bucket/key?versionId=null", "key", Some(VersionId::NULL));
        check("bucket/key?versionId=000000000000000a", "key", Some(VersionId(10)));
    }

    #[test]
    fn a_source_without_bucket_and_key_is_refused() {
        for value in ["", "/", "bucket", "bucket/", "/bucket/", "//key", "bucket/k?versionId=zz", "bucket/%zz"] {
            assert_eq!(parse(value).unwrap_err().code, Code::InvalidArgument, "{value}");
        }
    }
}

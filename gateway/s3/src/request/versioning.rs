//! Requests about the versioning of a bucket.

use types::Versioning;

use super::bucket::demands_on_bucket;
use super::{BucketRef, Demand, Demands};
use crate::error::{Code, Error, Result};
use crate::routing::Operation;
use crate::xml;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetBucketVersioning {
    pub bucket: BucketRef,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutBucketVersioning {
    pub bucket: BucketRef,
    /// `Enabled` or `Suspended`.
    pub versioning: Versioning,
}

demands_on_bucket! {
    GetBucketVersioning
    PutBucketVersioning
}

impl PutBucketVersioning {
    pub(super) fn read(bucket: BucketRef, document: &[u8]) -> Result<PutBucketVersioning> {
        let root = xml::read(document, "VersioningConfiguration")?;
        match root.text_of("MfaDelete").map(str::trim) {
            None | Some("Disabled" | "") => {}
            Some("Enabled") => return Err(Error::with(Code::NotImplemented, "MfaDelete is not implemented")),
            Some(_) => return Err(Error::new(Code::MalformedXml)),
        }
        // Of MinIO: what it would leave without versions must not get them in silence, nor lose them.
        if let Some(element) = root.children.iter().find(|child| child.name.starts_with("Exclude")) {
            return Err(Error::with(Code::NotImplemented, format!("{} is not implemented", element.name)));
        }
        let versioning = match root.text_of("Status").map(str::trim) {
            Some("Enabled") => Versioning::Enabled,
            Some("Suspended") => Versioning::Suspended,
            None => return Err(Error::new(Code::IllegalVersioning)),
            Some(_) => return Err(Error::new(Code::MalformedXml)),
        };
        Ok(PutBucketVersioning { bucket, versioning })
    }
}

#[cfg(test)]
mod tests {
    use types::BucketName;

    use super::*;

    #[test]
    fn a_configuration_is_one_of_two_and_what_is_not_provided_is_refused() {
        let check = |content: &str, expect: std::result::Result<Versioning, Code>| {
            let bucket = BucketRef { name: BucketName::parse("bucket").expect("valid"), expected_owner: None };
            let document = format!("<VersioningConfiguration>{content}</VersioningConfiguration>");
            let read = PutBucketVersioning::read(bucket, document.as_bytes());
            assert_eq!(read.map(|read| read.versioning).map_err(|error| error.code), expect, "{content}");
        };
        check("<Status>Enabled</Status>", Ok(Versioning::Enabled));
        check("<Status> Suspended\n</Status><MfaDelete>Disabled</MfaDelete>", Ok(Versioning::Suspended));
        check("<Status>enabled</Status>", Err(Code::MalformedXml));
        check("<Status/>", Err(Code::MalformedXml));
        check("", Err(Code::IllegalVersioning));
        check("<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>", Err(Code::NotImplemented));
        check("<Status>Enabled</Status><MfaDelete>x</MfaDelete>", Err(Code::MalformedXml));
        check("<Status>Enabled</Status><ExcludeFolders>true</ExcludeFolders>", Err(Code::NotImplemented));
    }
}

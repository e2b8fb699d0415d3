//! Lists of a bucket's objects, made every day or week and put into another bucket.

use types::BucketName;

use super::fields::{Fields, malformed, text, word};
use crate::error::{Error, Result};
use crate::xml::{Element, Writer};

/// What a list may tell beside the key.
const OPTIONAL_FIELDS: [&str; 19] = [
    "Size",
    "LastModifiedDate",
    "StorageClass",
    "ETag",
    "IsMultipartUploaded",
    "ReplicationStatus",
    "EncryptionStatus",
    "ObjectLockRetainUntilDate",
    "ObjectLockMode",
    "ObjectLockLegalHoldStatus",
    "ObjectLockEventHoldStatus",
    "ObjectLockEventHoldDuration",
    "IntelligentTieringAccessTier",
    "BucketKeyStatus",
    "ChecksumAlgorithm",
    "ObjectAccessControlList",
    "ObjectOwner",
    "LifecycleExpirationDate",
    "IntelligentTieringReferenceDate",
];

pub(super) fn copy(fields: &mut Fields<'_>, xml: &mut Writer) -> Result<()> {
    xml.flag("IsEnabled", fields.flag("IsEnabled")?.ok_or_else(malformed)?);
    if let Some(mut filter) = fields.inner("Filter")? {
        xml.open("Filter");
        xml.text("Prefix", filter.required_text("Prefix")?);
        xml.close("Filter");
        filter.end()?;
    }
    let mut destination = fields.required_inner("Destination")?;
    xml.open("Destination");
    copy_destination(destination.required_inner("S3BucketDestination")?, xml)?;
    xml.close("Destination");
    destination.end()?;
    let mut schedule = fields.required_inner("Schedule")?;
    xml.open("Schedule");
    xml.text("Frequency", schedule.required_word("Frequency", &["Daily", "Weekly"])?);
    xml.close("Schedule");
    schedule.end()?;
    xml.text("IncludedObjectVersions", fields.required_word("IncludedObjectVersions", &["All", "Current"])?);
    if let Some(mut optional) = fields.inner("OptionalFields")? {
        copy_optional_fields(&optional.all("Field"), xml)?;
        optional.end()?;
    }
    Ok(())
}

fn copy_destination(mut bucket: Fields<'_>, xml: &mut Writer) -> Result<()> {
    xml.open("S3BucketDestination");
    xml.optional("AccountId", bucket.text("AccountId")?);
    copy_bucket_arn(&mut bucket, xml)?;
    xml.text("Format", bucket.required_word("Format", &["CSV", "ORC", "Parquet"])?);
    xml.optional("Prefix", bucket.text("Prefix")?);
    if let Some(mut encryption) = bucket.inner("Encryption")? {
        xml.open("Encryption");
        match (encryption.text("SSE-S3")?, encryption.inner("SSE-KMS")?) {
            (Some(_), None) => xml.text("SSE-S3", ""),
            (None, Some(mut kms)) => {
                xml.open("SSE-KMS");
                xml.text("KeyId", kms.required_text("KeyId")?);
                xml.close("SSE-KMS");
                kms.end()?;
            }
            (None, None) | (Some(_), Some(_)) => return Err(malformed()),
        }
        xml.close("Encryption");
        encryption.end()?;
    }
    xml.close("S3BucketDestination");
    bucket.end()
}

fn copy_optional_fields(fields: &[&Element], xml: &mut Writer) -> Result<()> {
    if fields.len() > OPTIONAL_FIELDS.len() {
        return Err(malformed());
    }
    xml.open("OptionalFields");
    for field in fields {
        xml.text("Field", word(text(field)?, &OPTIONAL_FIELDS)?);
    }
    xml.close("OptionalFields");
    Ok(())
}

/// Copies the bucket that results go to, which documents name as `arn:aws:s3:::name`. Whether it is there is found out
/// when there is something to put.
pub(super) fn copy_bucket_arn(fields: &mut Fields<'_>, xml: &mut Writer) -> Result<()> {
    let arn = fields.required_text("Bucket")?;
    let name = arn.strip_prefix("arn:").and_then(|arn| arn.split_once(":s3:::"));
    if name.is_none_or(|(partition, name)| partition.is_empty() || BucketName::parse(name).is_err()) {
        return Err(Error::argument("Bucket", arn, "The destination is not the ARN of a bucket"));
    }
    xml.text("Bucket", arn);
    Ok(())
}

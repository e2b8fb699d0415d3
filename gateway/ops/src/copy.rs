//! CopyObject and UploadPartCopy.
//!
//! A copy is written anew: two objects never share bytes on the drives. What is known of the source and stays true of
//! the copy (an MD5, a checksum of the whole) is kept, the rest is computed on the way.

use std::ops::Range;
use std::sync::Arc;

use s3::checksum::{Algorithm, Checksum, ChecksumType};
use s3::conditions::ReadConditions;
use s3::copy_source::CopySource;
use s3::range::resolve_copy;
use s3::reply::{Copied as CopiedObject, CopiedPart};
use s3::request::{CopyObject, UploadPartCopy};
use s3::{Code, Error};
use store::{Bucket, CommitPart, CommitPut, PutBody, Record};
use types::{Attribute, Etag, VersionId};

use crate::Ops;
use crate::body::{CHECKSUM_DEFAULT, Copied, Hashes, pump};
use crate::bucket::{bucket, bucket_of};
use crate::gate::Authorized;
use crate::multipart::{part_algorithm, upload_of};
use crate::object::{self, COPY_BYTES_MAX, checksum_of};
use crate::refusal::{about_key, refuse, senseless};

/// A source that may be copied.
struct Found<'r> {
    bucket: Arc<Bucket>,
    source: &'r CopySource,
    record: Arc<Record>,
}

impl Found<'_> {
    /// The version that is copied, where the source's bucket has versions.
    fn version(&self) -> Option<VersionId> {
        object::shown_version(&self.record, self.bucket.versioning)
    }
}

async fn find<'r>(
    ops: &Ops,
    source: &'r CopySource,
    expected_owner: Option<&str>,
    conditions: &ReadConditions,
) -> Result<Found<'r>, Error> {
    let bucket = bucket_of(ops, &source.bucket, expected_owner)?;
    let record = object::find(ops, &bucket, &source.key, source.version).await.map_err(of_copy_source)?;
    conditions.check_copy_source(&record.etag, record.modified.seconds())?;
    Ok(Found { bucket, source, record })
}

/// A delete marker cannot be copied, which is the request's fault.
fn of_copy_source(error: Error) -> Error {
    match error.code {
        Code::MethodNotAllowed => Error::invalid_request(
            "The source of a copy request may not specifically refer to a delete marker by version id.",
        ),
        _ => error,
    }
}

/// CopyObject.
pub async fn copy_object(ops: &Ops, request: Authorized<CopyObject>) -> Result<CopiedObject, Error> {
    let request = request.into_inner();
    let bucket = bucket(ops, &request.bucket)?;
    let found =
        find(ops, &request.source, request.source_expected_owner.as_deref(), &request.source_conditions).await?;
    let size = found.record.size();
    if size > COPY_BYTES_MAX {
        return Err(Error::invalid_request(
            "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120",
        ));
    }
    let mut attributes = request.attributes_of(&found.record.attributes);
    let of_source = checksum_of(&found.record.attributes);
    let algorithm = request.checksum_algorithm.or(of_source.map(|checksum| checksum.algorithm));
    let algorithm = algorithm.unwrap_or(CHECKSUM_DEFAULT);
    let written = write(ops, &found, 0..size, algorithm).await?;
    attributes.push(Attribute::Checksum, "", &written.checksum.to_attribute());
    let etag = Etag::from_md5(written.md5);
    let commit = CommitPut {
        bucket: bucket.id,
        key: request.key.clone(),
        body: written.body,
        etag,
        attributes,
        condition: request.condition,
    };
    let receipt = ops.store.commit_put(commit).await.map_err(|error| about_key(refuse(error), &request.key))?;
    let checksum = Some(written.checksum);
    let (version, source_version) = (receipt.version, found.version());
    Ok(CopiedObject { etag, modified: receipt.modified, checksum, version, source_version })
}

/// UploadPartCopy.
pub async fn upload_part_copy(ops: &Ops, request: Authorized<UploadPartCopy>) -> Result<CopiedPart, Error> {
    let request = request.into_inner();
    let bucket = bucket(ops, &request.bucket)?;
    let (_, of_upload) = upload_of(ops, bucket.id, &request.key, request.upload).await?;
    let found =
        find(ops, &request.source, request.source_expected_owner.as_deref(), &request.source_conditions).await?;
    let size = found.record.size();
    let range = match request.range {
        Some(range) => {
            let range = resolve_copy(range, size)?;
            range.start..range.start + range.len
        }
        None => 0..size,
    };
    if range.end - range.start > COPY_BYTES_MAX {
        return Err(Error::new(Code::EntityTooLarge).field("MaxSizeAllowed", COPY_BYTES_MAX.to_string()));
    }
    let written = write(ops, &found, range, part_algorithm(of_upload)).await?;
    let commit = CommitPart {
        bucket: bucket.id,
        key: request.key,
        upload: request.upload,
        number: request.part,
        body: written.body,
        md5: written.md5,
        checksum: written.checksum.to_attribute(),
    };
    let modified = ops.store.commit_part(commit).await.map_err(refuse)?;
    // Only a checksum that was asked for is told.
    let checksum = of_upload.map(|_| written.checksum);
    Ok(CopiedPart { etag: Etag::from_md5(written.md5), modified, checksum, source_version: found.version() })
}

struct Written {
    body: PutBody,
    md5: [u8; 16],
    checksum: Checksum,
}

async fn write(ops: &Ops, found: &Found<'_>, range: Range<u64>, algorithm: Algorithm) -> Result<Written, Error> {
    let record = &found.record;
    let is_whole = range == (0..record.size());
    let (known_md5, known_checksum) = known(is_whole, &record.etag, checksum_of(&record.attributes), algorithm);
    let compute = known_checksum.is_none().then_some(algorithm);
    let len = range.end - range.start;
    let mut payload = Copied::new(ops, (found.bucket.id, &found.source.key), record.clone(), range, compute);
    let received = pump(ops, len, &mut payload, known_md5.map_or(Hashes::Md5, Hashes::Known)).await?;
    let (body, digests) = received.finish().await?;
    let checksum = payload.finish().or(known_checksum).ok_or_else(|| senseless("a copy without a checksum"))?;
    Ok(Written { body, md5: digests.md5, checksum })
}

/// What need not be computed: the store verifies the bytes it gives, so they still have the digests they came with.
fn known(
    is_whole: bool,
    etag: &Etag,
    checksum: Option<Checksum>,
    wanted: Algorithm,
) -> (Option<[u8; 16]>, Option<Checksum>) {
    if !is_whole {
        return (None, None);
    }
    let md5 = etag.parts.is_none().then_some(etag.digest);
    // A composite checksum says nothing of bytes that lie in one piece.
    let checksum =
        checksum.filter(|checksum| checksum.algorithm == wanted && checksum.kind == ChecksumType::FullObject);
    (md5, checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_only_digests_that_are_still_true_of_it() {
        let whole = Etag::from_md5([7; 16]);
        let parts = Etag { parts: std::num::NonZeroU16::new(2), ..whole };
        let crc = Checksum::full(Algorithm::Crc32, Algorithm::Crc32.digest(b"x"));
        let composite = Checksum { kind: ChecksumType::Composite, ..crc };
        assert_eq!(known(true, &whole, Some(crc), Algorithm::Crc32), (Some([7; 16]), Some(crc)));
        assert_eq!(known(true, &whole, Some(crc), Algorithm::Sha1), (Some([7; 16]), None));
        assert_eq!(known(true, &parts, Some(composite), Algorithm::Crc32), (None, None));
        assert_eq!(known(false, &whole, Some(crc), Algorithm::Crc32), (None, None));
        assert_eq!(known(true, &parts, None, Algorithm::Crc32), (None, None));
    }
}

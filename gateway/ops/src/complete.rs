//! CompleteMultipartUpload: what the client says of its parts against what is there, then one commit.

use std::num::NonZeroU16;

use s3::checksum::{Algorithm, Checksum, ChecksumType, of_parts, wire_name};
use s3::reply::Completed;
use s3::request::{ClaimedChecksum, CompleteMultipartUpload, CompletedPart};
use s3::{Code, Error};
use store::{Complete, Part};
use types::{Attribute, Etag, PartNumber};

use crate::Ops;
use crate::bucket::bucket;
use crate::gate::Authorized;
use crate::multipart::{about_upload, part_algorithm, upload_of};
use crate::object::{checksum_of, shown_version};
use crate::refusal::{about_key, refuse, senseless};
use crate::settings::UploadChecksum;

/// All parts but the last are at least this long: 5 MiB.
const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;
/// A part that is uploaded again between our look and the commit makes us look again; then the client is told.
const ATTEMPTS_MAX: usize = 2;

/// CompleteMultipartUpload. `location` is where the object can be read.
///
/// Completing again what was completed succeeds as long as the object is the one that came of it: clients that lost the
/// first reply ask again.
pub async fn complete_multipart_upload<'r>(
    ops: &Ops,
    request: &'r Authorized<CompleteMultipartUpload>,
    location: String,
) -> Result<Completed<'r>, Error> {
    let bucket = bucket(ops, &request.bucket)?;
    let completed = |etag, checksum, version| Completed {
        location,
        bucket: &request.bucket.name,
        key: &request.key,
        etag,
        checksum,
        version,
    };
    let (upload, of_upload) = match upload_of(ops, bucket.id, &request.key, request.upload).await {
        Ok(found) => found,
        Err(error) if error.code == Code::NoSuchUpload => {
            return match ops.store.head(bucket.id, &request.key).await {
                Ok(record) if Some(record.etag) == claimed_etag(&request.parts) => {
                    let version = shown_version(&record, bucket.versioning);
                    Ok(completed(record.etag, checksum_of(&record.attributes), version))
                }
                _ => Err(error),
            };
        }
        Err(error) => return Err(error),
    };
    for attempt in 1.. {
        let parts_max = usize::from(PartNumber::MAX);
        let found = ops.store.parts(bucket.id, &request.key, request.upload, None, parts_max).await;
        let found = found.map_err(|error| about_upload(refuse(error), request.upload))?;
        let Assembled { parts, etag, checksum } = assemble(request, of_upload, &found)?;
        let mut attributes = upload.attributes.clone();
        attributes.push(Attribute::Checksum, "", &checksum.to_attribute());
        let complete = Complete {
            bucket: bucket.id,
            key: request.key.clone(),
            upload: request.upload,
            parts,
            etag,
            attributes,
            condition: request.condition.clone(),
        };
        match ops.store.complete_upload(complete).await {
            Ok(receipt) => return Ok(completed(etag, Some(checksum), receipt.version)),
            Err(store::Error::NoPart) if attempt < ATTEMPTS_MAX => {}
            Err(error) => return Err(about_upload(about_key(refuse(error), &request.key), request.upload)),
        }
    }
    unreachable!("the last attempt returns")
}

/// The tag that an object of the parts a client names must have.
fn claimed_etag(parts: &[CompletedPart]) -> Option<Etag> {
    etag_of(parts.iter().map(|part| part.etag.digest))
}

/// The MD5 of the parts' MD5s and their number. `None` without parts.
fn etag_of(md5s: impl ExactSizeIterator<Item = [u8; 16]>) -> Option<Etag> {
    let parts = NonZeroU16::new(u16::try_from(md5s.len()).ok()?)?;
    let mut state = codec::md5::State::new();
    for md5 in md5s {
        state.update(&md5);
    }
    Some(Etag { digest: state.finish(), parts: Some(parts) })
}

/// What the commit is told.
#[derive(Debug, PartialEq, Eq)]
struct Assembled {
    parts: Vec<(PartNumber, store::Lsn)>,
    etag: Etag,
    checksum: Checksum,
}

/// Holds the request against the parts that are there. `found` is in order of numbers.
fn assemble(request: &CompleteMultipartUpload, of_upload: UploadChecksum, found: &[Part]) -> Result<Assembled, Error> {
    let algorithm = part_algorithm(of_upload);
    let kind = of_upload.map_or(ChecksumType::FullObject, |(_, kind)| kind);
    check_type(request, kind)?;
    let mut chosen = Vec::with_capacity(request.parts.len());
    let mut digests = Vec::with_capacity(request.parts.len());
    for named in &request.parts {
        let at = found.binary_search_by_key(&named.number, |part| part.number);
        let part = at.map(|at| &found[at]).map_err(|_| invalid_part(named))?;
        if named.etag != Etag::from_md5(part.md5) {
            return Err(invalid_part(named));
        }
        let checksum = Checksum::from_attribute(&part.checksum).ok_or_else(|| senseless("checksum of a part"))?;
        check_part_checksum(named, of_upload, &checksum)?;
        chosen.push(part);
        digests.push((checksum.digest, part.size));
    }
    check_sizes(&chosen)?;
    let size: u64 = chosen.iter().map(|part| part.size).sum();
    if let Some(claimed) = request.object_size.filter(|claimed| *claimed != size) {
        return Err(Error::invalid_request(format!(
            "The provided 'x-amz-mp-object-size' header value {claimed} does not match what was computed: {size}"
        )));
    }
    let checksum = of_parts(algorithm, kind, &digests).ok_or_else(|| senseless("checksum type of an upload"))?;
    if let Some(claimed) = &request.checksum {
        check_claim(claimed, &checksum, chosen.len())?;
    }
    let etag = etag_of(chosen.iter().map(|part| part.md5)).ok_or(Code::MalformedXml)?;
    Ok(Assembled { parts: chosen.iter().map(|part| (part.number, part.lsn)).collect(), etag, checksum })
}

fn check_type(request: &CompleteMultipartUpload, kind: ChecksumType) -> Result<(), Error> {
    match request.checksum_type {
        Some(named) if named != kind => Err(Error::invalid_request(format!(
            "The upload was created using the {} checksum mode. The complete request must use the same checksum mode.",
            kind.wire_name()
        ))),
        Some(_) | None => Ok(()),
    }
}

fn invalid_part(named: &CompletedPart) -> Error {
    Error::new(Code::InvalidPart)
        .field("PartNumber", named.number.value().to_string())
        .field("ETag", named.etag.to_string())
}

/// A composite checksum is made of what the client vouches for, so it must name each part's.
fn check_part_checksum(named: &CompletedPart, of_upload: UploadChecksum, kept: &Checksum) -> Result<(), Error> {
    match (named.checksum, of_upload) {
        (None, Some((algorithm, ChecksumType::Composite))) => Err(Error::invalid_request(format!(
            "The upload was created using a {} checksum. The complete request must include the checksum for each part. \
             It was missing for part {} in the request.",
            lower_name(algorithm),
            named.number.value()
        ))),
        (Some((algorithm, digest)), _) if algorithm == kept.algorithm => {
            if digest == kept.digest {
                Ok(())
            } else {
                Err(invalid_part(named))
            }
        }
        (Some((actual, _)), Some((expected, _))) => Err(Error::invalid_request(format!(
            "The upload was created using a {} checksum. The complete request names a {} checksum.",
            lower_name(expected),
            lower_name(actual)
        ))),
        // Of an upload begun without a checksum only our own is kept; the part's other one was verified as it came.
        (Some(_), None) | (None, _) => Ok(()),
    }
}

fn lower_name(algorithm: Algorithm) -> String {
    wire_name(algorithm).to_ascii_lowercase()
}

fn check_sizes(parts: &[&Part]) -> Result<(), Error> {
    let all_but_last = &parts[..parts.len().saturating_sub(1)];
    match all_but_last.iter().find(|part| part.size < PART_BYTES_MIN) {
        Some(part) => Err(Error::new(Code::EntityTooSmall)
            .field("ProposedSize", part.size.to_string())
            .field("MinSizeAllowed", PART_BYTES_MIN.to_string())
            .field("PartNumber", part.number.value().to_string())
            .field("ETag", Etag::from_md5(part.md5).to_string())),
        None => Ok(()),
    }
}

fn check_claim(claimed: &ClaimedChecksum, computed: &Checksum, count: usize) -> Result<(), Error> {
    let name = wire_name(computed.algorithm);
    if claimed.algorithm != computed.algorithm {
        return Err(Error::invalid_request(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            lower_name(computed.algorithm),
            lower_name(claimed.algorithm)
        )));
    }
    let count_differs = claimed.parts.is_some_and(|parts| usize::from(parts) != count);
    if claimed.digest != computed.digest || count_differs {
        let message = format!("The {name} you specified did not match the calculated checksum.");
        return Err(Error::with(Code::BadDigest, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Multipart uploads: begin, store parts, list, abort. Completing is in `complete`, copied parts in `copy`.

use s3::checksum::{Algorithm, Checksum, wire_name};
use s3::metadata::{STORAGE_CLASS_DEFAULT, storage_class_of};
use s3::reply::{ListedPart, ListedParts, ListedUpload, ListedUploads, StartedUpload, StoredPart};
use s3::request::{AbortMultipartUpload, CreateMultipartUpload, ListMultipartUploads, ListParts, UploadPart};
use s3::{Code, Error};
use store::{CommitPart, Upload, Uploads};
use types::{Attributes, BucketId, Etag, ObjectKey, PartNumber, UploadId};

use crate::Ops;
use crate::body::{CHECKSUM_DEFAULT, Incoming, Source, receive};
use crate::bucket::bucket;
use crate::gate::Authorized;
use crate::object::check_condition;
use crate::refusal::{refuse, senseless};
use crate::settings::{UploadChecksum, decode_upload, encode_upload};

/// An upload in progress and the checksum it was begun with.
pub(crate) async fn upload_of(
    ops: &Ops,
    bucket: BucketId,
    key: &ObjectKey,
    upload: UploadId,
) -> Result<(Upload, UploadChecksum), Error> {
    let found = ops.store.upload(bucket, key, upload).await.map_err(|error| about_upload(refuse(error), upload))?;
    let checksum = decode_upload(&found.settings).ok_or_else(|| senseless("settings of an upload"))?;
    Ok((found, checksum))
}

pub(crate) fn about_upload(error: Error, upload: UploadId) -> Error {
    match error.code {
        Code::NoSuchUpload => error.field("UploadId", upload.to_string()),
        _ => error,
    }
}

/// The algorithm of the checksums that are kept of an upload's parts.
pub(crate) fn part_algorithm(of_upload: UploadChecksum) -> Algorithm {
    of_upload.map_or(CHECKSUM_DEFAULT, |(algorithm, _)| algorithm)
}

/// CreateMultipartUpload. A condition is checked now, to fail early; completing checks its own.
pub async fn create_multipart_upload<'r>(
    ops: &Ops,
    request: &'r Authorized<CreateMultipartUpload>,
) -> Result<StartedUpload<'r>, Error> {
    let bucket = bucket(ops, &request.bucket)?;
    check_condition(ops, bucket.id, &request.key, &request.condition).await?;
    let settings = encode_upload(request.checksum);
    let created = ops.store.create_upload(bucket.id, &request.key, request.attributes.clone(), settings).await;
    let upload = created.map_err(refuse)?;
    Ok(StartedUpload { bucket: &request.bucket.name, key: &request.key, upload, checksum: request.checksum })
}

/// UploadPart. Replaces an earlier part of the same number.
pub async fn upload_part<S: Source>(
    ops: &Ops,
    request: Authorized<UploadPart>,
    body: Incoming<'_, S>,
) -> Result<StoredPart, Error> {
    let request = request.into_inner();
    let bucket = bucket(ops, &request.bucket)?;
    let (_, of_upload) = upload_of(ops, bucket.id, &request.key, request.upload).await?;
    let claimed = request.body.claim.map(|claim| claim.algorithm());
    if let (Some((expected, _)), Some(actual)) = (of_upload, claimed)
        && expected != actual
    {
        let name = |algorithm| wire_name(algorithm).to_ascii_lowercase();
        return Err(Error::invalid_request(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            name(expected),
            name(actual)
        )));
    }
    let uploaded = receive(ops, &request.body, part_algorithm(of_upload), body).await?;
    let commit = CommitPart {
        bucket: bucket.id,
        key: request.key,
        upload: request.upload,
        number: request.part,
        body: uploaded.body,
        md5: uploaded.md5,
        checksum: uploaded.kept.to_attribute(),
    };
    ops.store.commit_part(commit).await.map_err(|error| about_upload(refuse(error), request.upload))?;
    // Only a checksum that was asked for is told.
    let checksum = (of_upload.is_some() || claimed.is_some()).then_some(uploaded.told);
    Ok(StoredPart { etag: Etag::from_md5(uploaded.md5), checksum })
}

/// AbortMultipartUpload.
pub async fn abort_multipart_upload(ops: &Ops, request: Authorized<AbortMultipartUpload>) -> Result<(), Error> {
    let request = request.into_inner();
    let bucket = bucket(ops, &request.bucket)?;
    if let Some(initiated) = request.if_initiated {
        let (upload, _) = upload_of(ops, bucket.id, &request.key, request.upload).await?;
        if upload.initiated.seconds() != initiated {
            return Err(Error::new(Code::PreconditionFailed));
        }
    }
    let aborted = ops.store.abort_upload(bucket.id, &request.key, request.upload).await;
    aborted.map_err(|error| about_upload(refuse(error), request.upload))
}

/// ListParts.
pub async fn list_parts(ops: &Ops, request: &Authorized<ListParts>) -> Result<ListedParts, Error> {
    let bucket = bucket(ops, &request.bucket)?;
    let (upload, checksum) = upload_of(ops, bucket.id, &request.key, request.upload).await?;
    let max = request.max_parts as usize;
    let parts = match marker(request.part_number_marker) {
        // One more than is shown tells whether there are more.
        Marker::After(after) if max > 0 => {
            let listed = ops.store.parts(bucket.id, &request.key, request.upload, after, max + 1).await;
            listed.map_err(|error| about_upload(refuse(error), request.upload))?
        }
        Marker::After(_) | Marker::Beyond => Vec::new(),
    };
    let truncated = parts.len() > max;
    let parts = parts.into_iter().take(max).map(|part| ListedPart {
        number: part.number,
        modified: part.modified,
        etag: Etag::from_md5(part.md5),
        size: part.size,
        checksum: checksum.and_then(|_| Checksum::from_attribute(&part.checksum)),
    });
    Ok(ListedParts {
        owner: ops.site().owner.clone(),
        storage_class: storage_class_of(&upload.attributes).to_owned(),
        checksum,
        parts: parts.collect(),
        truncated,
    })
}

enum Marker {
    /// `None`: from the first part.
    After(Option<PartNumber>),
    /// No part has a number above it.
    Beyond,
}

fn marker(number: u32) -> Marker {
    match (number, PartNumber::new(number)) {
        (0, _) => Marker::After(None),
        (_, Some(number)) => Marker::After(Some(number)),
        (_, None) => Marker::Beyond,
    }
}

/// ListMultipartUploads.
pub async fn list_multipart_uploads(
    ops: &Ops,
    request: &Authorized<ListMultipartUploads>,
) -> Result<ListedUploads, Error> {
    let bucket = bucket(ops, &request.bucket)?;
    let list = Uploads {
        prefix: request.prefix.clone(),
        delimiter: request.delimiter.clone(),
        after: (!request.key_marker.is_empty()).then(|| (request.key_marker.clone(), request.upload_id_marker)),
        max: request.max_uploads as usize,
    };
    let page = ops.store.uploads(bucket.id, list).await.map_err(refuse)?;
    let next = page.entries.last().filter(|_| page.truncated).map(|last| match last {
        store::ListedUpload::Upload { key, upload, .. } => (key.clone(), Some(*upload)),
        store::ListedUpload::Prefix(prefix) => (prefix.clone(), None),
    });
    let mut listed =
        ListedUploads { owner: ops.site().owner.clone(), uploads: Vec::new(), common_prefixes: Vec::new(), next };
    for entry in page.entries {
        match entry {
            store::ListedUpload::Upload { key, upload, initiated, attributes, settings } => {
                let attributes = Attributes::from_bytes(&attributes);
                let class = attributes.as_ref().map_or(STORAGE_CLASS_DEFAULT, |kept| storage_class_of(kept));
                listed.uploads.push(ListedUpload {
                    key,
                    upload,
                    initiated,
                    storage_class: class.to_owned(),
                    checksum: decode_upload(&settings).flatten(),
                });
            }
            store::ListedUpload::Prefix(prefix) => listed.common_prefixes.push(prefix),
        }
    }
    Ok(listed)
}

//! What is found, as objects of a bucket that holds nothing else: `bucket/key`, marked with what is known of it.

use std::io;

use store::DeploymentId;
use store::salvage::{Found, Report, Salvage, Verdict, What};
use types::{Attribute, ObjectKey};

use super::{Taker, manifest};
use crate::remote::{Body, Headers, PUT_BYTES_MAX, Payload, Remote};

/// Says of which deployment the bucket holds what was recovered.
const ORIGIN: &str = "_hafiz-recover";
/// The report, when everything was taken.
const REPORT: &str = "_hafiz-recover-report.json";
const META: &str = "x-amz-meta-";
const DEPLOYMENT: &str = "x-amz-meta-hafiz-deployment";
const ID: &str = "x-amz-meta-hafiz-id";
const BYTES_MISSING: &str = "x-amz-meta-hafiz-bytes-missing";
/// S3 takes as much of user metadata.
const METADATA_BYTES_MAX: usize = 2_048;
/// Ranges that are written out in metadata; all of them are in a manifest.
const RANGES_MAX: usize = 8;

pub(super) struct Quarantine {
    remote: Remote,
    /// Nothing was in the bucket before.
    is_new: bool,
    too_large: u64,
}

impl Quarantine {
    /// Makes the bucket, or makes sure that it is empty or holds what an earlier run recovered of this deployment.
    ///
    /// Errors: the connection's; what the bucket is that it should not be.
    pub(super) fn open(mut remote: Remote, bucket: &str, deployment: DeploymentId) -> io::Result<Quarantine> {
        let made = remote.ask("PUT", "", "")?;
        remote.expect(made, &[200, 409], "make", "")?;
        let origin = remote.ask("HEAD", ORIGIN, "")?;
        let is_new = origin.status == 404;
        if is_new {
            let listed = remote.ask("GET", "", "list-type=2&max-keys=1")?;
            let listed = remote.expect(listed, &[200], "list", "")?;
            if !listed.says("KeyCount", "0") {
                return Err(io::Error::other(format!("the bucket {bucket} is not empty: name a new one")));
            }
            let mark = vec![(DEPLOYMENT.to_owned(), deployment.to_string().into_bytes())];
            put(&mut remote, ORIGIN, mark, 0, &mut |_| Ok(()))?;
        } else if origin.header(DEPLOYMENT) != Some(&deployment.to_string()) {
            return Err(io::Error::other(format!(
                "the bucket {bucket} holds what was recovered of another deployment ({})",
                origin.status
            )));
        }
        Ok(Quarantine { remote, is_new, too_large: 0 })
    }
}

fn put(remote: &mut Remote, key: &str, headers: Headers, size: u64, body: Body<'_>) -> io::Result<()> {
    // The bytes were verified when they were read from the drives; their checksum would take reading them twice.
    let put = remote.put(key, headers, Payload { size, sha256: None }, body)?;
    remote.expect(put, &[200], "put", key).map(drop)
}

/// The key in the quarantine bucket. What is no living object is kept apart; no bucket's name begins with `_`.
fn key(found: &Found) -> String {
    let bucket = match (&found.bucket_name, found.bucket) {
        (Some(name), _) => name.clone(),
        (None, Some(id)) => format!("_bucket-{:016x}", id.0),
        (None, None) => String::new(),
    };
    let of = found.key.as_deref().unwrap_or_default();
    let key = match (&found.what, found.verdict) {
        (What::Unnamed { .. }, _) => format!("_unnamed/{}", found.id),
        (What::Part { upload, number }, _) => format!("_parts/{:032x}/{:05}", upload.0, number.value()),
        (What::Object, Verdict::Current | Verdict::PossiblyDeleted) => format!("{bucket}/{of}"),
        (What::Object, Verdict::Superseded | Verdict::Deleted) => format!("_deleted/{bucket}/{}/{of}", found.id),
    };
    // With its bucket a long key may be too long.
    if key.len() <= ObjectKey::LEN_MAX { key } else { format!("_long/{bucket}/{}", found.id) }
}

/// What is known of it, and as much of what its owner said as there is room for.
fn headers(found: &Found) -> Headers {
    let mut headers = Headers::new();
    let mut add = |name: &str, value: String| headers.push((format!("{META}hafiz-{name}"), value.into_bytes()));
    add("id", found.id.clone());
    add("verdict", found.verdict.as_str().to_owned());
    add("complete", if found.is_whole() { "yes" } else { "no" }.to_owned());
    add("bytes-missing", found.bytes_missing().to_string());
    if !found.is_whole() {
        let ranges = found.missing.iter().take(RANGES_MAX).map(|range| format!("{}-{}", range.start, range.end - 1));
        let more = if found.missing.len() > RANGES_MAX { ",..." } else { "" };
        add("missing", ranges.collect::<Vec<_>>().join(",") + more);
    }
    if found.lsn.0 > 0 {
        add("lsn", format!("{:016x}", found.lsn.0));
    }
    if let Some(etag) = found.etag {
        add("etag", etag.to_string());
    }
    if let Some(modified) = found.modified {
        add("modified", s3::date::iso8601(modified.milliseconds()));
    }
    let mut room =
        METADATA_BYTES_MAX.saturating_sub(headers.iter().map(|(name, value)| name.len() + value.len()).sum());
    for (attribute, name, value) in found.attributes.iter() {
        if attribute == Attribute::UserMetadata {
            let name = format!("{META}{name}");
            let is_printable = value.iter().all(|byte| (b' '..=b'~').contains(byte));
            if is_printable && name.len() + value.len() <= room && !headers.iter().any(|(known, _)| *known == name) {
                room -= name.len() + value.len();
                headers.push((name, value.to_vec()));
            }
        } else if let Some(name) = manifest::header(attribute)
            && value.iter().all(|byte| (b' '..=b'~').contains(byte))
        {
            headers.push((name.to_owned(), value.to_vec()));
        }
    }
    headers
}

impl Taker for Quarantine {
    fn take(&mut self, salvage: &Salvage, found: &Found) -> io::Result<()> {
        let key = key(found);
        if found.size > PUT_BYTES_MAX {
            eprintln!("hafiz: {key} has {} bytes, more than one request takes: use --into", found.size);
            self.too_large += 1;
            return Ok(());
        }
        if !self.is_new {
            let there = self.remote.ask("HEAD", &key, "")?;
            let missing = found.bytes_missing().to_string();
            if there.status == 200
                && there.header(ID) == Some(&found.id)
                && there.header(BYTES_MISSING) == Some(&missing)
            {
                return Ok(());
            }
        }
        put(&mut self.remote, &key, headers(found), found.size, &mut |sink| salvage.read(found, sink))
    }

    fn finish(&mut self, report: &Report) -> io::Result<()> {
        let document = manifest::report(report).to_string().into_bytes();
        let kind = vec![("content-type".to_owned(), b"application/json".to_vec())];
        put(&mut self.remote, REPORT, kind, document.len() as u64, &mut |sink| sink(&document))?;
        match self.too_large {
            0 => Ok(()),
            count => {
                Err(io::Error::other(format!("{count} objects are too large for one request and were not uploaded")))
            }
        }
    }
}

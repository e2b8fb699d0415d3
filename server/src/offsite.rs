//! A backup of the metadata in a bucket: each of its files is an object below a prefix, named as below a directory.
//!
//! The manifest is written last and asked for first: without it there is no backup, only what a broken-off one left. The
//! copy that the server makes, and the one that a restore works from, lie in a directory of this machine on the way.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use store::{BackupFile, MANIFEST_BYTES_MAX, MANIFEST_NAME};

use crate::remote::{Headers, PUT_BYTES_MAX, Payload, Remote};

/// Leaves room for the longest name of a file in a key of S3.
const PREFIX_BYTES_MAX: usize = 900;
/// Where copies lie on the way unless another directory is named: on most systems it is no memory.
pub(crate) const STAGE: &str = "/var/tmp";
const SCHEME: &str = "s3://";
/// Bytes of a file that are sent at a time.
const PIECE_BYTES: usize = 64 << 10;

/// `s3://BUCKET` or `s3://BUCKET/PREFIX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) bucket: String,
    /// Empty, or with the slash behind it.
    prefix: String,
}

impl Place {
    /// `None`: it is a directory.
    pub(crate) fn parse(text: &str) -> Option<Result<Place, String>> {
        let rest = text.strip_prefix(SCHEME)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        Some(if bucket.is_empty() {
            Err(format!("{text}: write s3://BUCKET or s3://BUCKET/PREFIX"))
        } else if prefix.len() > PREFIX_BYTES_MAX {
            Err(format!("{text}: a prefix has at most {PREFIX_BYTES_MAX} bytes"))
        } else if prefix.split('/').any(|word| matches!(word, "." | "..")) || prefix.starts_with('/') {
            // Proxies and clients take these for something else.
            Err(format!("{text}: a prefix has no empty first word, no . and no .."))
        } else {
            let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
            Ok(Place { bucket: bucket.to_owned(), prefix })
        })
    }

    pub(crate) fn text(&self) -> String {
        format!("{SCHEME}{}/{}", self.bucket, self.prefix).trim_end_matches('/').to_owned()
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// A new directory below `stage`, which nobody else can name beforehand. Not made yet.
pub(crate) fn new_stage(stage: &Path) -> Result<PathBuf, String> {
    let stage = std::path::absolute(stage).map_err(|error| format!("{}: {error}", stage.display()))?;
    let mut word = [0; 16];
    rt::random::fill_secret(&mut word);
    let word: String = word.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(stage.join(format!("hafiz-backup-{word}")))
}

/// Removes what is in it, and says so if that cannot be.
pub(crate) fn remove_stage(dir: &Path) {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            eprintln!("hafiz: remove the copy in {}: {error}", dir.display());
        }
        Ok(()) | Err(_) => {}
    }
}

/// Refuses a place that holds something: a file of another backup below this one's manifest would be neither's.
///
/// Errors: what the server says, the bucket is not there.
pub(crate) fn refuse_used(remote: &mut Remote, place: &Place) -> Result<(), String> {
    let mut query = String::from("list-type=2&max-keys=1&prefix=");
    s3::query::encode_into(&mut query, place.prefix.as_bytes(), false);
    let listed = remote.ask("GET", "", &query).map_err(|error| error.to_string())?;
    let listed = remote.expect(listed, &[200], "list", "").map_err(|error| error.to_string())?;
    if listed.says("KeyCount", "0") {
        return Ok(());
    }
    let manifest = place.key(MANIFEST_NAME);
    let there = remote.ask("HEAD", &manifest, "").map_err(|error| error.to_string())?;
    Err(match there.status {
        404 => format!(
            "{} is not empty; there is no {manifest} in it, so it may be what a backup left that was broken off: remove it, or \
             name another prefix",
            place.text()
        ),
        _ => format!("{} is not empty: name another prefix for each backup", place.text()),
    })
}

/// Takes the backup in `dir` to the place. Every object is put with its checksum signed, so that the server refuses other
/// bytes; before the manifest is written, each is looked at once more.
///
/// Errors: a line that names bucket, key and what happened. What was put stays, and is no backup.
pub(crate) fn upload(
    remote: &mut Remote,
    place: &Place,
    dir: &Path,
    told: &mut dyn FnMut(usize, usize),
) -> Result<(), String> {
    let (manifest, files) = store::backup_files(dir).map_err(|refusal| refusal.to_string())?;
    let mut etags = Vec::with_capacity(files.len());
    for (n, file) in files.iter().enumerate() {
        told(n, files.len());
        etags.push(put(remote, place, dir, file)?);
    }
    for (file, etag) in files.iter().zip(etags) {
        let key = place.key(&file.name);
        let there = remote.ask("HEAD", &key, "").map_err(|error| error.to_string())?;
        let there = remote.expect(there, &[200], "look at", &key).map_err(|error| error.to_string())?;
        let len = there.header("content-length").unwrap_or("an unknown number of");
        if len != file.len.to_string() {
            return Err(format!("{}/{key} has {len} bytes instead of {}: no backup was made", place.bucket, file.len));
        }
        // Another backup may have been put to the same place meanwhile.
        if etag.is_some() && there.header("etag") != etag.as_deref() {
            return Err(format!("{}/{key} was replaced meanwhile: no backup was made", place.bucket));
        }
    }
    put(remote, place, dir, &manifest).map(drop)
}

/// The object's entity tag, if the server says one.
fn put(remote: &mut Remote, place: &Place, dir: &Path, file: &BackupFile) -> Result<Option<String>, String> {
    let (path, key) = (dir.join(&file.name), place.key(&file.name));
    if file.len > PUT_BYTES_MAX {
        // Tables have 64 MiB.
        return Err(format!("{}: it has {} bytes, more than {PUT_BYTES_MAX}", path.display(), file.len));
    }
    let payload = Payload { size: file.len, sha256: Some(file.sha256) };
    let put = remote.put(&key, Headers::new(), payload, &mut |sink| {
        let mut source = fs::File::open(&path)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match source.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => sink(&piece[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    });
    let put = put.and_then(|put| remote.expect(put, &[200], "put", &key)).map_err(|error| error.to_string())?;
    Ok(put.header("etag").map(str::to_owned))
}

/// Brings the backup to `dir`, which is made for it; then it is one as any other directory. Every file is read back and has
/// the length and the checksum that the manifest says.
///
/// Errors: a line that names bucket, key and what is not as it should be.
pub(crate) fn download(
    remote: &mut Remote,
    place: &Place,
    dir: &Path,
    told: &mut dyn FnMut(usize, usize),
) -> Result<(), String> {
    let fail = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    fs::DirBuilder::new().mode(0o700).create(dir).map_err(|error| fail(dir, error))?;
    let manifest = dir.join(MANIFEST_NAME);
    let key = place.key(MANIFEST_NAME);
    let got = remote.download(&key, &manifest, MANIFEST_BYTES_MAX).map_err(|error| error.to_string())?;
    if got.status == 404 {
        return Err(format!(
            "there is no backup in {}: it has no {MANIFEST_NAME}, which is written last ({}); a backup that was broken off is none",
            place.text(),
            got.refusal()
        ));
    }
    remote.expect(got, &[200], "get", &key).map_err(|error| error.to_string())?;
    let broken =
        |key: &str, what: &str| format!("{}/{key}: the backup is not whole: {what}; nothing was touched", place.bucket);
    let named = store::backup_files(dir).map_err(|refusal| broken(&key, &refusal.to_string()))?;
    for (n, file) in named.1.iter().enumerate() {
        told(n, named.1.len());
        let (path, key) = (dir.join(&file.name), place.key(&file.name));
        let folder = path.parent().expect("a file lies in a directory");
        fs::create_dir_all(folder).map_err(|error| fail(folder, error))?;
        let got = remote.download(&key, &path, file.len).map_err(|error| broken(&key, &error.to_string()))?;
        remote.expect(got, &[200], "get", &key).map_err(|error| broken(&key, &error.to_string()))?;
        file.check(&path).map_err(|what| broken(&key, &what))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_bucket_and_a_prefix() {
        let key =
            |text: &str| Place::parse(text).unwrap().map(|place| (place.text(), place.bucket.clone(), place.key("x")));
        let found = |text: &str, bucket: &str, key: &str| (text.to_owned(), bucket.to_owned(), key.to_owned());
        assert_eq!(key("s3://b"), Ok(found("s3://b", "b", "x")));
        assert_eq!(key("s3://b/"), Ok(found("s3://b", "b", "x")));
        assert_eq!(key("s3://b/a/monday/"), Ok(found("s3://b/a/monday", "b", "a/monday/x")));
        assert_eq!(Place::parse("/backup"), None);
        let long = format!("s3://b/{}", "x".repeat(PREFIX_BYTES_MAX + 1));
        for text in ["s3://", "s3:///x", "s3://b/../x", "s3://b//x", &long] {
            assert!(key(text).is_err(), "{text}");
        }
    }

    #[test]
    fn stages_have_names_that_nobody_guesses() {
        let (a, b) = (new_stage(Path::new("/t")).unwrap(), new_stage(Path::new("/t")).unwrap());
        assert!(a != b && a.parent() == Some(Path::new("/t")));
    }
}

//! The files of a backup, for whoever carries it elsewhere: which there are, and whether one is what it was.

use std::path::Path;

use super::{MANIFEST_NAME, RestoreRefusal, hash, restore};
use crate::drive::INDEX_NAME;
use crate::format::backup::Manifest;

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFile {
    /// Below the backup's directory, with slashes: `index/3/tables/17`. Words of letters, digits and dots only.
    pub name: String,
    pub len: u64,
    pub sha256: [u8; 32],
}

/// The manifest of the backup in this directory, and the files that it names, which need not be there. Reads the manifest.
///
/// Errors: what cannot be read, or is no manifest.
pub fn backup_files(dir: &Path) -> Result<(BackupFile, Vec<BackupFile>), RestoreRefusal> {
    let manifest = restore::read_manifest(dir)?;
    let path = dir.join(MANIFEST_NAME);
    let (len, sha256) = hash(&path).map_err(|error| RestoreRefusal::Io { path, error })?;
    Ok((BackupFile { name: MANIFEST_NAME.to_owned(), len, sha256 }, named_in(&manifest)))
}

pub(super) fn named_in(manifest: &Manifest) -> Vec<BackupFile> {
    let mut files = Vec::new();
    for (id, tables) in (0_u16..).zip(&manifest.partitions) {
        files.extend(tables.files.iter().map(|file| BackupFile {
            name: format!("{INDEX_NAME}/{id}/{}", file.name),
            len: file.len,
            sha256: file.sha256,
        }));
    }
    files
}

impl BackupFile {
    /// Reads the file at `path` to its end.
    ///
    /// Errors: what is not as the manifest says, or cannot be read.
    pub fn check(&self, path: &Path) -> Result<(), String> {
        match hash(path) {
            Ok((len, _)) if len != self.len => Err(format!("it has {len} bytes and should have {}", self.len)),
            Ok((_, sha256)) if sha256 != self.sha256 => Err("its checksum is not the one in the manifest".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

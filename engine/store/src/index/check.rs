//! Whether a copy of a tree is what it should be: the pointer to its version, the version file that names the tables, and
//! every byte of every table, by the checksums that the engine wrote. Changes nothing; somebody may be using the copy.
//!
//! Blocks, a piece at a time: whoever checks decides how fast.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use codec::checksum::{Algorithm, Digest, Hasher};

use super::look;
use super::mirror::{CURRENT, table_path};
use super::tree::{TableFile, TreeError};
use crate::planted::{self, Bug};

/// Bytes read at a time.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
/// The pointer: number of the version, checksum of its file, 0 for the kind of checksum.
const POINTER_LEN: usize = 8 + 16 + 1;

/// What a copy consists of.
pub(crate) struct Contents {
    /// The pointer to the version: another one later says that the copy has changed.
    pub(crate) pointer: Vec<u8>,
    pub(crate) tables: Vec<TableFile>,
    /// Bytes of pointer and version file.
    pub(crate) bytes: u64,
}

/// What the copy in `dir` consists of; `None` when there is none.
///
/// Errors: `Damaged` when pointer or version file are not what they should be. Also when the copy changes meanwhile: look
/// whether the pointer is another one then.
pub(crate) fn contents(dir: &Path) -> Result<Option<Contents>, TreeError> {
    let Some(pointer) = look::version(dir)? else { return Ok(None) };
    let damaged = |what: &str| TreeError::Damaged(format!("{what} in {}", dir.display()));
    let (Ok(id), Some(checksum)) = (pointer[..pointer.len().min(8)].try_into(), pointer.get(8..24)) else {
        return Err(damaged("a pointer that is too short"));
    };
    if pointer.len() != POINTER_LEN || pointer[POINTER_LEN - 1] != 0 {
        return Err(damaged("a pointer that is none"));
    }
    let version = fs::read(dir.join(format!("v{}", u64::from_le_bytes(id))))?;
    let checksum = checksum.try_into().map(u128::from_le_bytes).expect("16 bytes were taken");
    if number(Algorithm::Xxh128.digest(&version)) != checksum {
        return Err(damaged("a version file with a wrong checksum"));
    }
    let tables = look::tables(dir, &pointer)?;
    Ok(Some(Contents { bytes: (pointer.len() + version.len()) as u64, pointer, tables }))
}

/// Whether the copy is still the one that `contents` told of.
pub(crate) fn is_unchanged(dir: &Path, contents: &Contents) -> bool {
    fs::read(dir.join(CURRENT)).is_ok_and(|pointer| pointer == contents.pointer)
}

/// One table file while it is read.
pub(crate) struct Reading {
    file: File,
    checksum: Checksum,
    offset: u64,
}

impl Reading {
    pub(crate) fn begin(dir: &Path, table: &TableFile) -> io::Result<Reading> {
        Ok(Reading { file: File::open(table_path(dir, table.id))?, checksum: Checksum::new(), offset: 0 })
    }

    /// Reads the next piece, from the drive if the kernel lets it; its bytes, 0 at the end.
    pub(crate) fn step(&mut self) -> io::Result<usize> {
        // A file system that knows no such hint is read as it is.
        rt::file::forget_cached(&self.file, self.offset, PIECE_BYTES as u64).ok();
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        (&self.file).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        self.checksum.update(&piece);
        self.offset += piece.len() as u64;
        Ok(piece.len())
    }

    /// Whether all that was read is the table.
    pub(crate) fn matches(self, table: &TableFile) -> bool {
        self.checksum.finish() == table.checksum || planted::is(Bug::TableScrubSkipsChecksum)
    }
}

/// The checksum of a whole file, as the engine's manifest has it.
pub(super) struct Checksum(Hasher);

impl Checksum {
    pub(super) fn new() -> Checksum {
        Checksum(Algorithm::Xxh128.new_hasher())
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> u128 {
        number(self.0.finish())
    }
}

fn number(digest: Digest) -> u128 {
    u128::from_be_bytes(digest.as_slice().try_into().expect("this digest has 16 bytes"))
}

//! One look-up in a copy of a tree that somebody else may be using: nothing of the copy is changed.
//!
//! The engine removes files that a manifest does not name when it opens a tree. So it is given a directory of its own with
//! symbolic links to the tables: what it removes there are links.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::mirror::{CURRENT, TABLES};
use super::scan::Cursor as _;
use super::tree::{Bytes, Caches, TableFile, Tree, TreeError};
use crate::format::batch::Ckpt;

const CACHE_BYTES: u64 = 8 << 20;
const FILES_MAX: usize = 64;
/// Directories tried: others may use the same names.
const NAMES_MAX: u32 = 1000;
/// A file system in memory, on most machines: the scrub makes such a directory for every copy that it reads.
const MEMORY: &str = "/dev/shm";

/// What a copy of a tree says.
pub(crate) struct Looked {
    pub(crate) ckpt: Ckpt,
    pub(crate) value: Option<Vec<u8>>,
    /// Names the version of the tree: another one later says that it has changed.
    pub(crate) version: Vec<u8>,
}

/// The value of `key` in the copy in `dir`; `None` when there is no tree.
///
/// Errors: also when the tree changes meanwhile; then it may be tried again. Blocks.
pub(crate) fn look(dir: &Path, key: &[u8]) -> Result<Option<Looked>, TreeError> {
    let Some(opened) = Opened::open(dir)? else { return Ok(None) };
    let value = opened.tree.get(key)?.map(|value| value.to_vec());
    Ok(Some(Looked { ckpt: opened.ckpt, value, version: opened.version }))
}

/// A copy that is being read.
pub(crate) struct Opened {
    tree: Tree,
    pub(crate) ckpt: Ckpt,
    version: Vec<u8>,
    /// Dropped behind the tree.
    _links: Links,
}

impl Opened {
    /// Opens the copy in `dir`; `None` when there is no tree. Blocks.
    pub(crate) fn open(dir: &Path) -> Result<Option<Opened>, TreeError> {
        let Some(version) = version(dir)? else { return Ok(None) };
        let links = Links::make(dir, &version)?;
        let tree = Tree::open(&links.dir, &Caches::new(CACHE_BYTES, FILES_MAX))?;
        Ok(Some(Opened { ckpt: super::read_ckpt(&tree)?, tree, version, _links: links }))
    }

    /// Reads every block.
    pub(crate) fn read_all(&self) -> Result<(), TreeError> {
        self.tree.scan(|cursor| {
            cursor.seek(&[], &[0xff])?;
            while cursor.next()?.is_some() {}
            Ok(())
        })
    }

    /// Up to `max` keys from `from` on and before `to`, with their values.
    pub(crate) fn rows(&self, from: &[u8], to: &[u8], max: usize) -> Result<Vec<(Bytes, Bytes)>, TreeError> {
        self.tree.scan(|cursor| {
            cursor.seek(from, to)?;
            let mut rows = Vec::new();
            while rows.len() < max
                && let Some(row) = cursor.next()?
            {
                rows.push(row);
            }
            Ok(rows)
        })
    }
}

/// The table files that the version `pointer` of the copy in `dir` names.
///
/// Errors: also when the tree changes meanwhile. Blocks.
pub(super) fn tables(dir: &Path, pointer: &[u8]) -> Result<Vec<TableFile>, TreeError> {
    let links = Links::make(dir, pointer)?;
    Tree::open(&links.dir, &Caches::new(CACHE_BYTES, FILES_MAX))?.table_files()
}

/// What names the current version of the tree in `dir`; `None` when there is no tree.
pub(crate) fn version(dir: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(dir.join(CURRENT)) {
        Ok(version) => Ok(Some(version)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A directory of links, removed when it is dropped.
struct Links {
    dir: PathBuf,
}

impl Links {
    /// In memory where that works, or else where temporary files belong.
    fn make(source: &Path, version: &[u8]) -> io::Result<Links> {
        let source = source.canonicalize()?;
        Links::make_in(Path::new(MEMORY), &source, version)
            .or_else(|_| Links::make_in(&std::env::temp_dir(), &source, version))
    }

    fn make_in(parent: &Path, source: &Path, version: &[u8]) -> io::Result<Links> {
        let links = Links { dir: private_dir(parent)? };
        let id =
            version.first_chunk().ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "short version pointer"))?;
        let name = format!("v{}", u64::from_le_bytes(*id));
        fs::write(links.dir.join(CURRENT), version)?;
        fs::write(links.dir.join(&name), fs::read(source.join(&name))?)?;
        fs::create_dir(links.dir.join(TABLES))?;
        for table in fs::read_dir(source.join(TABLES))? {
            let table = table?;
            symlink(table.path(), links.dir.join(TABLES).join(table.file_name()))?;
        }
        Ok(links)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            telemetry::warn!("a temporary directory stays: {error}"; dir = self.dir.display());
        }
    }
}

/// A new directory that only this user can enter.
fn private_dir(parent: &Path) -> io::Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..NAMES_MAX {
        let number = NEXT.fetch_add(1, Relaxed);
        let dir = parent.join(format!("hafiz-look-{}-{number}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, "no name is left for a temporary directory"))
}

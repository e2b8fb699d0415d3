//! Copies of a tree's directory on other drives.
//!
//! Order: hard links of what the current version needs; then, on each copy, tables, the note of what was copied, the
//! version file, all durable; then `current`, which makes the copy the new one in one step; then deletions. A crash in
//! between leaves the copy as it was, or new. The directory of hard links is never opened by the engine, which would
//! remove files from it.
//!
//! A copy that has other tables under the same numbers, or bad ones, is made anew in a directory beside it, `<n>.copy`. When
//! all of that is durable the old one becomes `<n>.old`, the new one takes its name, and the old one goes. A drive that is
//! full, or a crash anywhere, leaves the old one or the new one. Every table is verified while it is copied.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::check::{Checksum, PIECE_BYTES};
use super::fence::Fence;
use super::tree::TableFile;
use crate::format;

/// Names the version in use: 8 bytes little-endian, then its checksum.
pub(super) const CURRENT: &str = "current";
pub(super) const TABLES: &str = "tables";
/// Which tables of a copy are whole, with their checksums: an id alone does not name a content, since a copy that became
/// the active one counts on by itself.
const COPIED: &str = "hafiz.tables";
const COPIED_MAGIC: &[u8; 8] = b"HFZTABLE";
const COPIED_VERSION: u16 = 1;
const COPIED_ENTRY_LEN: usize = 32;
/// End the names of directories of links, for the copies of a flush and for a backup.
const LINKS: &str = ".links";
const BACKUP_LINKS: &str = ".backup";
const TEMPORARY: &str = "hafiz.new";

const ANEW: &str = ".copy";
const OLD: &str = ".old";

/// Why a copy was not made.
#[derive(Debug)]
pub(super) enum CopyError {
    /// A table that was to be copied is not what its checksum says.
    Source(String),
    /// The copy could not be written. It is as it was.
    Copy(io::Error),
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> CopyError {
        CopyError::Copy(error)
    }
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CopyError::Source(what) => f.write_str(what),
            CopyError::Copy(error) => error.fmt(f),
        }
    }
}

/// Ends what a crash broke off while a copy took another one's place. To be called before the directory is opened.
pub(super) fn settle(dir: &Path) -> io::Result<()> {
    let (anew, old) = (beside(dir, ANEW), beside(dir, OLD));
    if !dir.try_exists()? {
        // The pointer comes last: then the new one is whole.
        let from = if anew.join(CURRENT).try_exists()? { &anew } else { &old };
        if from.try_exists()? {
            fs::rename(from, dir)?;
            dir.parent().map_or(Ok(()), sync_dir)?;
        }
    }
    if dir.try_exists()? {
        remove_dir_if_there(&anew)?;
        remove_dir_if_there(&old)?;
    }
    Ok(())
}

/// Call before a directory is flushed into: it is no longer a copy. Also removes links that a crash left behind.
pub(super) fn become_source(dir: &Path) -> io::Result<()> {
    remove_dir_if_there(&beside(dir, LINKS))?;
    if remove_if_there(&dir.join(COPIED))? {
        sync_dir(dir)?;
    }
    Ok(())
}

/// Removes links of a backup that a crash broke off: they only hold room.
pub(super) fn forget_backup(dir: &Path) {
    if let Err(error) = remove_dir_if_there(&beside(dir, BACKUP_LINKS)) {
        telemetry::warn!("links of a broken off backup stay: {error}"; dir = dir.display());
    }
}

/// Takes a directory that cannot be opened out of the way, and keeps it for whoever wants to look.
pub(super) fn set_aside(dir: &Path) -> io::Result<()> {
    let aside = beside(dir, ".damaged");
    remove_dir_if_there(&aside)?;
    fs::rename(dir, &aside)?;
    dir.parent().map_or(Ok(()), sync_dir)
}

/// Hard links of one version of a tree.
pub(super) struct Snapshot {
    dir: PathBuf,
    /// File name of the version.
    version: String,
    tables: Vec<(TableFile, u64)>,
}

impl Snapshot {
    /// Links the files of the tree in `source`, which does not change meanwhile, into a directory beside it.
    pub(super) fn take(source: &Path, tables: &[TableFile]) -> io::Result<Snapshot> {
        Snapshot::take_in(beside(source, LINKS), source, tables)
    }

    /// The same, in a directory that flushes leave alone.
    pub(super) fn take_for_backup(source: &Path, tables: &[TableFile]) -> io::Result<Snapshot> {
        Snapshot::take_in(beside(source, BACKUP_LINKS), source, tables)
    }

    fn take_in(dir: PathBuf, source: &Path, tables: &[TableFile]) -> io::Result<Snapshot> {
        remove_dir_if_there(&dir)?;
        fs::create_dir(&dir)?;
        fs::create_dir(dir.join(TABLES))?;
        let current = fs::read(source.join(CURRENT))?;
        let id =
            current.first_chunk().ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "short version pointer"))?;
        let version = format!("v{}", u64::from_le_bytes(*id));
        fs::hard_link(source.join(CURRENT), dir.join(CURRENT))?;
        fs::hard_link(source.join(&version), dir.join(&version))?;
        let mut linked = Vec::with_capacity(tables.len());
        for table in tables {
            let to = table_path(&dir, table.id);
            fs::hard_link(table_path(source, table.id), &to)?;
            linked.push((*table, fs::metadata(&to)?.len()));
        }
        Ok(Snapshot { dir, version, tables: linked })
    }

    /// Makes `copy` equal to the snapshot. Cost: the tables it lacks, and some fsyncs.
    pub(super) fn copy_to(&self, copy: &Path, fence: &Fence) -> Result<(), CopyError> {
        fence.enter(copy)?;
        create_durably(copy)?;
        create_durably(&copy.join(TABLES))?;
        let whole = read_copied(copy)?;
        let missing: Vec<_> = self.tables.iter().filter(|table| !is_whole(copy, table, &whole)).collect();
        // In a copy with a note, a table that it does not name is what a crash left behind.
        let known = |id: u64| whole.is_empty() || whole.contains_key(&id);
        let overwrites = missing.iter().any(|(table, _)| known(table.id) && table_path(copy, table.id).exists());
        if overwrites && copy.join(CURRENT).try_exists()? {
            // Another history of this tree, with the same numbers.
            return self.copy_anew(copy, fence);
        }
        self.fill(copy, missing, &whole, fence)?;
        Ok(self.remove_others(copy)?)
    }

    /// Makes a copy of all tables beside `copy`, then puts it in its place. Cost: all tables, and room for both.
    pub(super) fn copy_anew(&self, copy: &Path, fence: &Fence) -> Result<(), CopyError> {
        fence.enter(copy)?;
        let (anew, old) = (beside(copy, ANEW), beside(copy, OLD));
        remove_dir_if_there(&anew)?;
        let filled = create_durably(&anew)
            .and_then(|()| create_durably(&anew.join(TABLES)))
            .map_err(CopyError::Copy)
            .and_then(|()| self.fill(&anew, self.tables.iter().collect(), &Copied::new(), fence));
        fence.enter(copy)?;
        if filled.is_err() {
            // Of a full drive the room is wanted back at once; what cannot be removed now is at the next attempt or start.
            remove_dir_if_there(&anew).ok();
            return filled;
        }
        if copy.try_exists()? {
            remove_dir_if_there(&old)?;
            fs::rename(copy, &old)?;
        }
        fs::rename(&anew, copy)?;
        copy.parent().map_or(Ok(()), sync_dir)?;
        Ok(remove_dir_if_there(&old)?)
    }

    /// Copies tables into a directory and has it point to this version.
    fn fill(&self, dir: &Path, tables: Vec<&(TableFile, u64)>, whole: &Copied, fence: &Fence) -> Result<(), CopyError> {
        for (table, len) in &tables {
            let (from, to) = (table_path(&self.dir, table.id), table_path(dir, table.id));
            copy_table((&self.dir, &from), (dir, &to), table, *len, fence)?;
        }
        if !tables.is_empty() {
            sync_dir(&dir.join(TABLES))?;
        }
        replace(dir, COPIED, &self.note(dir, whole))?;
        for name in [&self.version, CURRENT] {
            fence.enter(&self.dir)?;
            let content = fs::read(self.dir.join(name))?;
            fence.enter(dir)?;
            replace(dir, name, &content)?;
        }
        Ok(())
    }

    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.dir)
    }

    fn remove_others(&self, copy: &Path) -> io::Result<()> {
        for entry in fs::read_dir(copy)? {
            let name = entry?.file_name();
            let other = name.to_str().is_some_and(|name| name.starts_with('v') && *name != *self.version);
            if other {
                fs::remove_file(copy.join(name))?;
            }
        }
        let kept: HashSet<OsString> = self.tables.iter().map(|(table, _)| table.id.to_string().into()).collect();
        for entry in fs::read_dir(copy.join(TABLES))? {
            let entry = entry?;
            if !kept.contains(&entry.file_name()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Per table id: u64, length: u64, checksum: u128. Names the tables of the version before, too: until `current` is
    /// replaced they are still in use.
    fn note(&self, copy: &Path, before: &Copied) -> Vec<u8> {
        let mut noted: Copied = before.clone();
        noted.retain(|id, _| table_path(copy, *id).exists());
        noted.extend(self.tables.iter().map(|(table, len)| (table.id, (*len, table.checksum))));
        let mut content = Vec::with_capacity(noted.len() * COPIED_ENTRY_LEN);
        for (id, (len, checksum)) in noted {
            content.extend(id.to_le_bytes());
            content.extend(len.to_le_bytes());
            content.extend(checksum.to_le_bytes());
        }
        let total = format::ENVELOPE_LEN + content.len();
        format::wrap(COPIED_MAGIC, COPIED_VERSION, &content, total)
    }
}

type Copied = HashMap<u64, (u64, u128)>;

/// What is noted as whole; nothing if the note is not there or not readable, which only costs a copy.
fn read_copied(copy: &Path) -> io::Result<Copied> {
    let bytes = match fs::read(copy.join(COPIED)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Copied::new()),
        Err(error) => return Err(error),
    };
    let Ok((_, content)) = format::unwrap(COPIED_MAGIC, COPIED_VERSION, &bytes) else {
        return Ok(Copied::new());
    };
    let mut copied = Copied::new();
    for entry in content.chunks_exact(COPIED_ENTRY_LEN) {
        let mut fields = format::Reader::new(entry);
        if let (Ok(id), Ok(len), Ok(checksum)) = (fields.u64(), fields.u64(), fields.u128()) {
            copied.insert(id, (len, checksum));
        }
    }
    Ok(copied)
}

fn is_whole(copy: &Path, (table, len): &(TableFile, u64), copied: &Copied) -> bool {
    let noted = copied.get(&table.id) == Some(&(*len, table.checksum));
    noted && fs::metadata(table_path(copy, table.id)).is_ok_and(|there| there.len() == *len)
}

pub(super) fn table_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(TABLES).join(id.to_string())
}

/// A directory beside that of a tree.
fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(suffix);
    dir.with_file_name(name)
}

/// Copies one table and makes it durable. What is not what the table's checksum says is not left behind. Files are given with
/// the directories on whose drives they lie: reading and writing are told apart for the fence.
fn copy_table(
    from: (&Path, &Path),
    to: (&Path, &Path),
    table: &TableFile,
    len: u64,
    fence: &Fence,
) -> Result<(), CopyError> {
    fence.enter(from.0)?;
    let mut source = File::open(from.1)?;
    fence.enter(to.0)?;
    remove_if_there(to.1)?;
    let mut copy = File::create(to.1)?;
    let (mut piece, mut checksum, mut copied) = (vec![0; PIECE_BYTES], Checksum::new(), 0);
    loop {
        fence.enter(from.0)?;
        // The copy is not to blame for what cannot be read.
        let read =
            source.read(&mut piece).map_err(|error| CopyError::Source(format!("{}: {error}", from.1.display())))?;
        fence.enter(to.0)?;
        if read == 0 {
            break;
        }
        checksum.update(&piece[..read]);
        copy.write_all(&piece[..read])?;
        copied += read as u64;
    }
    if copied != len || checksum.finish() != table.checksum {
        drop(copy);
        remove_if_there(to.1)?;
        return Err(CopyError::Source(format!("table {} is not what its checksum says", table.id)));
    }
    Ok(copy.sync_all()?)
}

/// Replaces `dir/name` in one durable step.
fn replace(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = dir.join(TEMPORARY);
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(name))?;
    sync_dir(dir)
}

/// Makes one level only: what should hold it was made with the drive. When that is gone the drive is, and a directory made
/// in its place would pass for a copy.
pub(super) fn create_durably(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir(dir)?;
    dir.parent().map_or(Ok(()), sync_dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Whether the file was there.
fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove_dir_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

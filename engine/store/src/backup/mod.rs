//! Backup of the metadata: a copy of every partition's tables, whole as of a checkpoint each, and the topology.
//!
//! Bodies are not in it. What a backup is good for: when tables are lost on more drives than there are copies of them, they
//! are put back (`restore`), and the log volumes that are left say what came after.

mod accept;
mod files;
mod restore;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rt::ShardId;
use types::Timestamp;

use crate::drive::INDEX_NAME;
use crate::format::backup::{BackedUp, Manifest, PartitionTables};
use crate::ids::PartitionId;
use crate::index::{self, Opened};
use crate::node::{Node, lock};
use crate::store::Store;

pub use accept::{Accepted, restore_mark};
pub use files::{BackupFile, backup_files};
pub use restore::{Outcome, PartitionRestored, RestoreOptions, RestoreRefusal, Restored, restore};

/// The name of the manifest in a backup's directory. Written last: without it there is no backup.
pub const MANIFEST_NAME: &str = "backup";
/// Bytes that are hashed at a time.
const HASH_BYTES: usize = 1 << 20;

/// The last backup that was asked for.
#[derive(Clone, Debug, Default)]
pub enum BackupState {
    /// None since the process began.
    #[default]
    Never,
    Running {
        began: Timestamp,
        partitions_done: u16,
        partitions: u16,
    },
    Done {
        began: Timestamp,
        ended: Timestamp,
        taken: Taken,
    },
    Failed {
        began: Timestamp,
        why: String,
    },
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub dir: PathBuf,
    pub partitions: u16,
    pub files: u64,
    pub bytes: u64,
    /// The run of the process that it was taken of, and the epoch.
    pub start: u32,
    pub epoch: u64,
}

impl Store {
    /// Begins a backup into a directory of this machine, which must be empty or not there yet, unless one is under way;
    /// `backup_state` tells how it stands. Answers whether it was begun. Requests go on meanwhile.
    pub async fn begin_backup(&self, dir: PathBuf) -> bool {
        let node = self.shard().node().clone();
        rt::call(ShardId(0), move || async move {
            let (began, partitions) = (Timestamp(rt::time::wall_clock()), node.config.partitions);
            {
                let mut state = lock(&node.backup);
                if matches!(*state, BackupState::Running { .. }) {
                    return false;
                }
                *state = BackupState::Running { began, partitions_done: 0, partitions };
            }
            drop(rt::spawn_background(async move {
                let taken = take(&node, began, dir).await;
                let ended = Timestamp(rt::time::wall_clock());
                *lock(&node.backup) = match taken {
                    Ok(taken) => BackupState::Done { began, ended, taken },
                    Err(why) => BackupState::Failed { began, why },
                };
            }));
            true
        })
        .await
    }

    pub fn backup_state(&self) -> BackupState {
        lock(&self.shard().node().backup).clone()
    }
}

/// Each partition as of a checkpoint of its own: a restore replays each from there.
async fn take(node: &Arc<Node>, began: Timestamp, dir: PathBuf) -> Result<Taken, String> {
    if node.is_restored() {
        return Err("these tables were restored and lack commits: there is nothing to keep them for".to_owned());
    }
    let fail = |dir: &Path, error: io::Error| format!("{}: {error}", dir.display());
    let place = dir.clone();
    rt::offload(move || prepare(&place)).await.map_err(|error| fail(&dir, error))?;
    let mut partitions = Vec::with_capacity(usize::from(node.config.partitions));
    let store = crate::store::here();
    for id in (0..node.config.partitions).map(PartitionId) {
        let to = dir.join(INDEX_NAME).join(id.0.to_string());
        let copy = to.clone();
        let copied = store.at_owner(id, move |store| async move {
            let partition = store.partition(id)?;
            Ok(partition.copy_out(copy).await)
        });
        let copied = copied.await.map_err(|error| format!("partition {}: {error}", id.0))?;
        copied.map_err(|error| format!("partition {}: {error}", id.0))?;
        let tables = rt::offload(move || read_back(&to)).await;
        partitions.push(tables.map_err(|error| format!("partition {}: {error}", id.0))?);
        let partitions = node.config.partitions;
        *lock(&node.backup) = BackupState::Running { began, partitions_done: id.0 + 1, partitions };
    }
    // Later than all tables: a drive that it lists as in may hold what they name.
    let topology = (*node.topology()).clone();
    let files = partitions.iter().flat_map(|partition| &partition.files);
    let taken = Taken {
        dir: dir.clone(),
        partitions: node.config.partitions,
        files: files.clone().count() as u64,
        bytes: files.map(|file| file.len).sum(),
        start: topology.start.value(),
        epoch: topology.number,
    };
    let bytes = Manifest { created: began, topology, partitions }.encode();
    let place = dir.clone();
    rt::offload(move || write_whole(&place, MANIFEST_NAME, &bytes)).await.map_err(|error| fail(&dir, error))?;
    Ok(taken)
}

fn prepare(dir: &Path) -> io::Result<()> {
    // Names of buckets and keys are in it: nobody else is to read them, wherever it lies.
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if fs::read_dir(dir)?.next().is_some() {
                return Err(io::Error::new(ErrorKind::AlreadyExists, "it is not empty"));
            }
        }
        outcome => outcome?,
    }
    fs::create_dir(dir.join(INDEX_NAME))?;
    sync_dir(dir)
}

/// Reads what was copied to its end, as a restore will: rot in the tables is found while there are others.
fn read_back(dir: &Path) -> Result<PartitionTables, String> {
    let ckpt = read_tables(dir)?;
    let mut files = Vec::new();
    list(dir, "", &mut files).map_err(|error| format!("{}: {error}", dir.display()))?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(PartitionTables { ckpt, files })
}

/// The checkpoint of tables of which every block can be read.
fn read_tables(dir: &Path) -> Result<crate::format::batch::Ckpt, String> {
    let text = |error: index::TreeError| format!("{}: {error}", dir.display());
    let copy = Opened::open(dir).map_err(text)?.ok_or_else(|| format!("{}: no tables", dir.display()))?;
    copy.read_all().map_err(text)?;
    Ok(copy.ckpt)
}

fn list(dir: &Path, below: &str, files: &mut Vec<BackedUp>) -> io::Result<()> {
    for entry in fs::read_dir(dir.join(below))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { return Err(ErrorKind::InvalidData.into()) };
        let name = if below.is_empty() { name } else { format!("{below}/{name}") };
        if entry.file_type()?.is_dir() {
            list(dir, &name, files)?;
        } else {
            let (len, sha256) = hash(&dir.join(&name))?;
            files.push(BackedUp { name, len, sha256 });
        }
    }
    Ok(())
}

fn hash(path: &Path) -> io::Result<(u64, [u8; 32])> {
    let mut file = File::open(path)?;
    let (mut hash, mut len, mut buffer) = (codec::sha256::State::new(), 0, vec![0; HASH_BYTES]);
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok((len, hash.finish())),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..read]);
        len += read as u64;
    }
}

/// Writes a file so that after a crash it is there whole or not at all.
fn write_whole(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let aside = dir.join(format!("{name}{}", crate::drive::ASIDE_SUFFIX));
    let mut file = File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, dir.join(name))?;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;

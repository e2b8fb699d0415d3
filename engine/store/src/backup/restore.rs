//! Puts tables back from a backup onto stopped drives.
//!
//! Nothing is touched before everything was verified. Only partitions without tables that count are restored: what a drive
//! still has is newer. Afterwards the start replays what the logs that are left say behind the backup's checkpoints.
//!
//! A log volume that was freed since the backup takes commits with it. Then what the restored tables count as dead may be
//! alive, and nothing may ever be freed by them: a mark on every drive makes each start read-only. Without the mark a
//! restore is allowed only where no commit can be missing, and then it is as if the tables had never been lost.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use types::Timestamp;

use super::files::named_in;
use super::{MANIFEST_NAME, hash, read_tables, sync_dir, write_whole};
use crate::drive::{INDEX_NAME, PLACED_NAME, RESTORED_NAME};
use crate::format::backup::{MANIFEST_BYTES_MAX, Manifest, Mark, PartitionTables};
use crate::format::placed::Placed;
use crate::format::topology::Topology;
use crate::ids::{DeploymentId, DriveId, PartitionId};
use crate::salvage::{DriveFound, Logs, Refusal, Source, Tables};
use crate::topology;

/// What to put where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOptions {
    /// The backup's directory.
    pub from: PathBuf,
    /// All drives' directories.
    pub dirs: Vec<PathBuf>,
    /// Go on although commits are missing: the deployment is read-only from then on.
    pub read_only: bool,
    /// Replace tables that count, too.
    pub force: bool,
    /// Where no drive is here on which the tables would count, put them on others: from the next start on these count, and
    /// those that are not here never again.
    pub elsewhere: bool,
}

/// What was done.
#[derive(Debug)]
pub struct Restored {
    pub deployment: DeploymentId,
    pub created: Timestamp,
    pub partitions: Vec<PartitionRestored>,
    /// Commits behind the backup may be missing: the drives were marked, and are read-only from now on.
    pub is_incomplete: bool,
    /// Partitions of which the tables were put on drives where they count from the next start on.
    pub elsewhere: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionRestored {
    pub partition: PartitionId,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The drives have tables that count, or logs that have everything.
    Kept,
    /// Onto so many drives.
    Restored { copies: usize },
}

/// Why nothing was restored. Nothing was touched.
#[derive(Debug)]
pub enum RestoreRefusal {
    Drives(Refusal),
    /// The backup is not whole.
    Backup {
        path: PathBuf,
        what: String,
    },
    /// It is one of another deployment, or of another line of epochs.
    Foreign {
        backup: DeploymentId,
        drives: DeploymentId,
    },
    /// It cannot be told which drives count.
    NoTopology,
    /// No drive is there on which the tables of the partition would count.
    NoPlace(PartitionId),
    /// Commits behind the backup may be missing.
    Incomplete {
        partitions: usize,
    },
    Io {
        path: PathBuf,
        error: io::Error,
    },
}

impl fmt::Display for RestoreRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreRefusal::Drives(refusal) => refusal.fmt(f),
            RestoreRefusal::Backup { path, what } => {
                write!(f, "{}: the backup is not whole: {what}; nothing was touched", path.display())
            }
            RestoreRefusal::Foreign { backup, drives } if backup == drives => f.write_str(
                "the backup is of these drives when they ran apart from what they are now; nothing was touched",
            ),
            RestoreRefusal::Foreign { backup, drives } => {
                write!(f, "the backup is of deployment {backup}, the drives are of {drives}; nothing was touched")
            }
            RestoreRefusal::NoTopology => f.write_str(
                "too few drives with identity and topology are here to know which count: name all that are left, or take \
                 what is on them with 'hafiz recover'; nothing was touched",
            ),
            RestoreRefusal::NoPlace(partition) => write!(
                f,
                "none of the drives is here on which the tables of partition {} would count: bring one of them back. If they are \
                 gone for good, --elsewhere puts the tables on the drives that are here; nothing was touched",
                partition.0
            ),
            RestoreRefusal::Incomplete { partitions } => write!(
                f,
                "log volumes were freed since the backup, so commits of {partitions} partitions may be missing in what would \
                 be restored: objects put since then, deletes and replacements. Restored so, the deployment could never \
                 know what is dead: it would be read-only for ever, good for copying what is there to a new one. If that is \
                 wanted: --read-only; nothing was touched"
            ),
            RestoreRefusal::Io { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for RestoreRefusal {}

impl From<Refusal> for RestoreRefusal {
    fn from(refusal: Refusal) -> RestoreRefusal {
        RestoreRefusal::Drives(refusal)
    }
}

/// Restores. Blocks; holds the drives' locks meanwhile. After an error on the way it can be run again.
pub fn restore(options: &RestoreOptions) -> Result<Restored, RestoreRefusal> {
    let manifest = read_manifest(&options.from)?;
    let source = Source::open(&options.dirs, None)?;
    let ours = manifest.topology.deployment;
    if ours != source.deployment {
        return Err(RestoreRefusal::Foreign { backup: ours, drives: source.deployment });
    }
    let topology = source.newest_topology().ok_or(RestoreRefusal::NoTopology)?;
    let is_same_line = match topology.id_at(manifest.topology.number) {
        Some(id) => id == manifest.topology.id,
        // Older than what is remembered; a later one than the drives have is none of theirs.
        None => manifest.topology.number < topology.number,
    };
    if !is_same_line || topology.partition_count() != manifest.topology.partition_count() {
        return Err(RestoreRefusal::Foreign { backup: ours, drives: ours });
    }
    verify(&options.from, &manifest)?;
    let mut wanted = Vec::new();
    for (id, tables) in (0..).map(PartitionId).zip(&manifest.partitions) {
        if options.force || !has_tables(&source, topology, id) {
            wanted.push((id, tables, places(&source, topology, id, options.elsewhere)?));
        }
    }
    let logs = Logs::survey(&source, |_| {});
    let is_short = |tables: &PartitionTables| !logs.is_complete_behind(tables.ckpt);
    let short = wanted.iter().filter(|(_, tables, _)| is_short(tables)).count();
    if short > 0 && !options.read_only {
        return Err(RestoreRefusal::Incomplete { partitions: short });
    }
    let restored = now();
    if short > 0 {
        let mark = Mark { deployment: ours, created: manifest.created, restored }.encode();
        for drive in source.drives.iter().filter(|drive| drive.identity.is_ok()) {
            let failed = |error| RestoreRefusal::Io { path: drive.dir.join(RESTORED_NAME), error };
            write_whole(&drive.dir, RESTORED_NAME, &mark).map_err(failed)?;
        }
    }
    let mut placed: BTreeMap<&Path, Vec<PartitionId>> = BTreeMap::new();
    for (id, tables, places) in &wanted {
        let name = id.0.to_string();
        let from = options.from.join(INDEX_NAME).join(&name);
        for dir in &places.dirs {
            let place = dir.join(INDEX_NAME).join(&name);
            put(&from, tables, &place, restored).map_err(|error| RestoreRefusal::Io { path: place, error })?;
            if !places.count {
                placed.entry(dir).or_default().push(*id);
            }
        }
    }
    // Behind the tables: what is said to be there is there.
    for (dir, partitions) in placed {
        let (epoch, epoch_id) = (topology.number, topology.id);
        let record = Placed { deployment: ours, epoch, epoch_id, restored, partitions }.encode();
        let failed = |error| RestoreRefusal::Io { path: dir.join(PLACED_NAME), error };
        write_whole(dir, PLACED_NAME, &record).map_err(failed)?;
    }
    let outcome = |partition| {
        let found = wanted.iter().find(|(id, ..)| *id == partition);
        found.map_or(Outcome::Kept, |(.., places)| Outcome::Restored { copies: places.dirs.len() })
    };
    let partitions = (0..topology.partition_count()).map(PartitionId);
    Ok(Restored {
        deployment: ours,
        created: manifest.created,
        partitions: partitions.map(|partition| PartitionRestored { partition, outcome: outcome(partition) }).collect(),
        is_incomplete: short > 0,
        elsewhere: wanted.iter().filter(|(.., places)| !places.count).count(),
    })
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

pub(super) fn read_manifest(from: &Path) -> Result<Manifest, RestoreRefusal> {
    let path = from.join(MANIFEST_NAME);
    let read = fs::metadata(&path).and_then(|metadata| {
        if metadata.len() > MANIFEST_BYTES_MAX {
            return Err(ErrorKind::FileTooLarge.into());
        }
        fs::read(&path)
    });
    match read {
        Ok(bytes) => Manifest::decode(&bytes).map_err(|why| RestoreRefusal::Backup { path, what: why.to_string() }),
        Err(error) => Err(RestoreRefusal::Backup { path, what: error.to_string() }),
    }
}

/// Every file has its length and checksum, and every partition's tables can be read to their end.
fn verify(from: &Path, manifest: &Manifest) -> Result<(), RestoreRefusal> {
    for file in named_in(manifest) {
        let path = from.join(&file.name);
        if let Err(what) = file.check(&path) {
            return Err(RestoreRefusal::Backup { path, what });
        }
    }
    for (id, tables) in (0_u16..).zip(&manifest.partitions) {
        let dir = from.join(INDEX_NAME).join(id.to_string());
        match read_tables(&dir) {
            Ok(ckpt) if ckpt == tables.ckpt => {}
            Ok(_) => {
                return Err(RestoreRefusal::Backup { path: dir, what: "other tables than the manifest says".into() });
            }
            Err(what) => return Err(RestoreRefusal::Backup { path: dir, what }),
        }
    }
    Ok(())
}

/// Whether the drives have what a start needs: tables that count or, as long as none does, the log since birth.
fn has_tables(source: &Source, topology: &Topology, partition: PartitionId) -> bool {
    if !topology.tables_count() {
        return true;
    }
    let tables = Tables::open(source, partition);
    tables.is_there() && (tables.counts || !topology.is_any_in_sync(partition))
}

/// Drives for a partition's tables.
struct Places {
    dirs: Vec<PathBuf>,
    /// They count there already. Otherwise a record has the next start make them count (`node::placed`).
    count: bool,
}

fn places(
    source: &Source,
    topology: &Topology,
    partition: PartitionId,
    elsewhere: bool,
) -> Result<Places, RestoreRefusal> {
    // A drive without a topology is none that a start would use.
    let is_found = |found: &&DriveFound, drive: DriveId| found.identity == Ok(drive) && found.epoch.is_ok();
    let here = |drive: DriveId| source.drives.iter().find(|found| is_found(found, drive));
    let dirs = |drives: &mut dyn Iterator<Item = DriveId>| -> Vec<PathBuf> {
        drives.filter_map(here).map(|found| found.dir.clone()).collect()
    };
    let is_recorded = topology.is_any_in_sync(partition);
    if is_recorded {
        let dirs = dirs(&mut topology.in_set().filter(|drive| topology.is_in_sync(partition, *drive)));
        if !dirs.is_empty() {
            return Ok(Places { dirs, count: true });
        }
        if !elsewhere {
            return Err(RestoreRefusal::NoPlace(partition));
        }
    }
    // As the start chooses that finds these drives alone.
    let copies = topology::copies(topology, partition, |drive| here(drive).is_none());
    let dirs = dirs(&mut copies.into_iter().map(|index| topology.drives[index].drive));
    if dirs.is_empty() { Err(RestoreRefusal::NoPlace(partition)) } else { Ok(Places { dirs, count: !is_recorded }) }
}

/// Puts the tables in one place. What was there is renamed; a crash in between leaves nothing, or all of it.
fn put(from: &Path, tables: &PartitionTables, place: &Path, restored: Timestamp) -> io::Result<()> {
    let index = place.parent().expect("tables lie in the directory of all tables");
    if !index.is_dir() {
        fs::create_dir(index)?;
        index.parent().map_or(Ok(()), sync_dir)?;
    }
    let beside = |ending: &str| {
        let mut name = place.file_name().unwrap_or_default().to_os_string();
        name.push(ending);
        index.join(name)
    };
    let new = beside(".restoring");
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir(&new)?;
    for file in &tables.files {
        let to = new.join(&file.name);
        let folder = to.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder)?;
        fs::copy(from.join(&file.name), &to)?;
        fs::File::open(&to)?.sync_all()?;
        if hash(&to)? != (file.len, file.sha256) {
            return Err(io::Error::new(ErrorKind::InvalidData, "the copy is not what was copied"));
        }
        sync_dir(folder)?;
    }
    sync_dir(&new)?;
    if place.exists() {
        fs::rename(place, beside(&format!(".before-{}", restored.seconds())))?;
    }
    fs::rename(&new, place)?;
    sync_dir(index)
}

//! What the directories hold, found without relying on identity or topology: drives, volumes, tables.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::Refusal;
use super::slots::Slots;
use crate::drive::{IDENTITY_NAME, INDEX_NAME, LOCK_NAME, TOPOLOGY_NAME, VOLUMES_NAME, parse_volume_name};
use crate::format::drive::{COPY_BYTES, Identity};
use crate::format::topology::{FILE_BYTES, Topology};
use crate::format::volume::{Class, VolumePage};
use crate::ids::{DeploymentId, DriveId, PartitionId, SlotOffset, VolumeId};
use crate::inspect::{names_in, read_front, read_page};

/// Slot files that are open at the same time: well below the usual limit of a process.
const FILES_OPEN_MAX: usize = 400;

/// A directory that was named, and what can still be read there.
#[derive(Clone, Debug)]
pub struct DriveFound {
    pub dir: PathBuf,
    /// Or why it cannot be read.
    pub identity: Result<DriveId, String>,
    /// Number of the epoch that it knows, or why it cannot be read.
    pub epoch: Result<u64, String>,
    pub slot_files: usize,
    /// Partitions of which it has a directory of tables.
    pub tables: usize,
}

/// A volume: its description, and every file that says it is one of its slots.
pub(super) struct Described {
    pub(super) page: VolumePage,
    files: Vec<(usize, PathBuf)>,
}

pub(crate) struct Source {
    pub(crate) drives: Vec<DriveFound>,
    pub(crate) deployment: DeploymentId,
    /// The newest epoch that any drive knows.
    pub(super) topology: Option<Topology>,
    pub(super) volumes: BTreeMap<VolumeId, Described>,
    /// Volumes of which no first page is left: without the secret in it no fragment can be told from other bytes.
    pub(super) headless: Vec<VolumeId>,
    /// Files that contradict the others of their volume: written by drives that ran apart.
    pub(super) contradicting: Vec<PathBuf>,
    /// Where the latest page that names a log volume says that it ends.
    ends: HashMap<VolumeId, (VolumeId, SlotOffset)>,
    open: RefCell<OpenVolumes>,
    /// Held so that no server starts meanwhile.
    _locks: Vec<File>,
}

#[derive(Default)]
struct OpenVolumes {
    volumes: HashMap<VolumeId, Rc<Slots>>,
    order: VecDeque<VolumeId>,
    files: usize,
}

/// One slot file and what its first page says, if it can be read.
struct SlotFile {
    slot: usize,
    path: PathBuf,
    page: Option<VolumePage>,
}

impl Source {
    /// Looks at every directory. Blocks; reads only, and locks the drives' lock files as far as they are there.
    ///
    /// Errors: `Locked` while a server has a drive; `NoDrives` when nothing of a deployment is found; `Several` when the
    /// directories are of more than one and none was chosen.
    pub(crate) fn open(dirs: &[PathBuf], chosen: Option<DeploymentId>) -> Result<Source, Refusal> {
        let dirs = unique(dirs)?;
        let locks = dirs.iter().filter_map(|dir| lock(dir).transpose()).collect::<Result<Vec<File>, Refusal>>()?;
        let (mut drives, mut topologies, mut files) = (Vec::new(), Vec::new(), BTreeMap::<_, Vec<SlotFile>>::new());
        let mut deployments = BTreeSet::new();
        for dir in dirs {
            let identity = read_front(&dir.join(IDENTITY_NAME), 2 * COPY_BYTES);
            let identity = identity.and_then(|bytes| Identity::decode_file(&bytes).map_err(|why| why.to_string()));
            let topology = read_front(&dir.join(TOPOLOGY_NAME), FILE_BYTES);
            let topology = topology.and_then(|bytes| Topology::decode_file(&bytes).map_err(|why| why.to_string()));
            deployments.extend(identity.as_ref().ok().map(|identity| identity.deployment.0));
            deployments.extend(topology.as_ref().ok().map(|(topology, _)| topology.deployment.0));
            let volumes = dir.join(VOLUMES_NAME);
            let mut slot_files = 0;
            for name in names_in(&volumes)? {
                let Some((volume, slot)) = parse_volume_name(&name) else { continue };
                let path = volumes.join(&name);
                let page = read_page(&path, volume, slot).ok();
                deployments.extend(page.as_ref().map(|page| page.deployment.0));
                files.entry(volume).or_default().push(SlotFile { slot, path, page });
                slot_files += 1;
            }
            let names = names_in(&dir.join(INDEX_NAME))?;
            drives.push(DriveFound {
                dir: dir.clone(),
                identity: identity.map(|identity| identity.drive),
                epoch: topology.as_ref().map(|(topology, _)| topology.number).map_err(String::clone),
                slot_files,
                tables: names.iter().filter(|name| name.parse::<u16>().is_ok()).count(),
            });
            topologies.extend(topology.ok().map(|(topology, _)| topology));
        }
        let deployment = match (chosen, deployments.len()) {
            (Some(chosen), _) if deployments.contains(&chosen.0) => chosen,
            (_, 0) | (Some(_), _) => return Err(Refusal::NoDrives),
            (None, 1) => DeploymentId(*deployments.first().expect("there is one")),
            (None, _) => return Err(Refusal::Several(deployments.into_iter().map(DeploymentId).collect())),
        };
        topologies.retain(|topology| topology.deployment == deployment);
        let mut source = Source {
            drives,
            deployment,
            topology: topologies.into_iter().max_by_key(|topology| topology.number),
            volumes: BTreeMap::new(),
            headless: Vec::new(),
            contradicting: Vec::new(),
            ends: HashMap::new(),
            open: RefCell::default(),
            _locks: locks,
        };
        files.into_iter().for_each(|(id, files)| source.describe(id, files));
        source.find_ends();
        Ok(source)
    }

    /// A fragment whose header and checksum are right is right, wherever its file lies now: so all files count that agree
    /// with the volume's description, and those whose own page cannot be read.
    fn describe(&mut self, id: VolumeId, mut files: Vec<SlotFile>) {
        let deployment = self.deployment;
        files.retain(|file| file.page.as_ref().is_none_or(|page| page.deployment == deployment));
        let pages = || files.iter().filter_map(|file| file.page.as_ref());
        // Most agree with it, then most moves: the same choice whatever the order of the directories.
        let support = |page: &VolumePage| pages().filter(|other| page.agrees_with(other)).count();
        let Some(page) = pages().max_by_key(|page| (support(page), page.moves, page.secret)).cloned() else {
            if !files.is_empty() {
                self.headless.push(id);
            }
            return;
        };
        let width = page.geometry.width();
        let mut counted = Vec::new();
        for file in files {
            if file.page.as_ref().is_some_and(|other| !page.agrees_with(other)) {
                self.contradicting.push(file.path);
            } else if file.slot < width {
                counted.push((file.slot, file.path));
            }
        }
        counted.sort();
        self.volumes.insert(id, Described { page, files: counted });
    }

    fn find_ends(&mut self) {
        for Described { page, .. } in self.volumes.values() {
            for closed in page.predecessor.iter().chain(&page.closes) {
                let end = self.ends.entry(closed.volume).or_insert((page.volume, closed.end));
                if end.0 <= page.volume {
                    *end = (page.volume, closed.end);
                }
            }
        }
    }

    /// The epoch that counted last; `None` when it cannot be told. A later one keeps all but P members of the one before,
    /// and is on all of its own members: so of more than P drives that know an epoch as their newest, one would know it.
    pub(crate) fn newest_topology(&self) -> Option<&Topology> {
        let newest = self.topology.as_ref()?;
        let knowing = self.drives.iter().filter(|drive| {
            let is_member = drive.identity.as_ref().is_ok_and(|id| newest.is_in(*id));
            is_member && drive.epoch == Ok(newest.number)
        });
        (knowing.count() > usize::from(newest.parity)).then_some(newest)
    }

    pub(super) fn end(&self, volume: VolumeId) -> Option<SlotOffset> {
        self.ends.get(&volume).map(|(_, end)| *end)
    }

    pub(super) fn volumes_of(&self, class: Class) -> impl Iterator<Item = VolumeId> + '_ {
        self.volumes.iter().filter(move |(_, volume)| volume.page.class == class).map(|(id, _)| *id)
    }

    /// The files of a volume, opened; `None` when there is no such volume.
    pub(super) fn slots(&self, id: VolumeId) -> Option<Rc<Slots>> {
        let described = self.volumes.get(&id)?;
        let mut open = self.open.borrow_mut();
        if let Some(slots) = open.volumes.get(&id) {
            return Some(slots.clone());
        }
        while open.files + described.files.len() > FILES_OPEN_MAX
            && let Some(oldest) = open.order.pop_front()
        {
            open.files -= open.volumes.remove(&oldest).map_or(0, |slots| slots.file_count());
        }
        let slots = Rc::new(Slots::open(described.page.clone(), &described.files));
        open.files += slots.file_count();
        open.order.push_back(id);
        open.volumes.insert(id, slots.clone());
        Some(slots)
    }

    /// Where copies of the partition's tables may be, with the drives that they lie on as far as those are known.
    pub(super) fn index_dirs(&self, partition: PartitionId) -> Vec<(Option<DriveId>, PathBuf)> {
        let name = partition.0.to_string();
        let dir = |drive: &DriveFound| (drive.identity.as_ref().ok().copied(), drive.dir.join(INDEX_NAME).join(&name));
        self.drives.iter().map(dir).filter(|(_, dir)| dir.is_dir()).collect()
    }

    /// Partitions of which any drive has a directory of tables.
    pub(super) fn partitions_with_tables(&self) -> Result<BTreeSet<PartitionId>, Refusal> {
        let mut partitions = BTreeSet::new();
        for drive in &self.drives {
            let names = names_in(&drive.dir.join(INDEX_NAME))?;
            partitions.extend(names.iter().filter_map(|name| name.parse().ok()).map(PartitionId));
        }
        Ok(partitions)
    }
}

/// Each directory once, however it was named.
fn unique(dirs: &[PathBuf]) -> Result<BTreeSet<PathBuf>, Refusal> {
    let canonical = |dir: &PathBuf| dir.canonicalize().map_err(|error| Refusal::Io { path: dir.clone(), error });
    let mut unique = BTreeSet::new();
    for dir in dirs {
        match canonical(dir) {
            Ok(dir) => {
                unique.insert(dir);
            }
            // A drive that is not there is what this is for.
            Err(Refusal::Io { error, .. }) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(unique)
}

/// Takes the lock that a server holds on its drives. A drive without a lock file was never served, or lost it.
pub(crate) fn lock(dir: &Path) -> Result<Option<File>, Refusal> {
    let path = dir.join(LOCK_NAME);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(Refusal::Io { path, error }),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Refusal::Locked(dir.to_owned())),
        // A file system that knows no locks was none that a server could run on.
        Err(TryLockError::Error(error)) => Err(Refusal::Io { path, error }),
    }
}

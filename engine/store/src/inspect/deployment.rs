//! The drives that were named, as one deployment.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::{Failure, names_in, read_front, read_page};
use crate::drive::{IDENTITY_NAME, INDEX_NAME, TOPOLOGY_NAME, VOLUMES_NAME, parse_volume_name, volume_name};
use crate::format::drive::{COPY_BYTES, Identity};
use crate::format::topology::{FILE_BYTES, Topology};
use crate::format::volume::VolumePage;
use crate::ids::{DriveId, PartitionId, SlotOffset, VolumeId};

pub(super) struct Deployment {
    /// The newest epoch that any of the drives knows.
    pub(super) topology: Topology,
    /// Drives that are in, and where they are. The files of drives that were taken out are not trusted.
    dirs: HashMap<DriveId, PathBuf>,
    /// Volumes with a first page that can be read, with the drives on which their slots lie now.
    pub(super) volumes: BTreeMap<VolumeId, VolumePage>,
    /// Where a page says that a log volume ends, and whose page: the latest one is right.
    ends: HashMap<VolumeId, (VolumeId, SlotOffset)>,
}

impl Deployment {
    /// Errors: `Drives` when no directory is a drive, or they are of more than one deployment.
    pub(super) fn open(dirs: &[PathBuf]) -> Result<Deployment, Failure> {
        let mut drives: Vec<(Identity, &Path)> = Vec::new();
        let mut newest: Option<Topology> = None;
        for dir in dirs {
            let identity = read_front(&dir.join(IDENTITY_NAME), 2 * COPY_BYTES);
            let Some(identity) = identity.ok().and_then(|bytes| Identity::decode_file(&bytes).ok()) else { continue };
            if drives.first().is_some_and(|(first, _)| first.deployment != identity.deployment) {
                return Err(Failure::Drives(format!("{} is a drive of another deployment", dir.display())));
            }
            drives.push((identity, dir));
            let topology = read_front(&dir.join(TOPOLOGY_NAME), FILE_BYTES);
            if let Some((topology, _)) = topology.ok().and_then(|bytes| Topology::decode_file(&bytes).ok())
                && topology.deployment == identity.deployment
                && newest.as_ref().is_none_or(|newest| newest.number < topology.number)
            {
                newest = Some(topology);
            }
        }
        let topology = newest.ok_or_else(|| Failure::Drives("no drive with a topology is among them".to_owned()))?;
        let is_in = |(identity, _): &(Identity, &Path)| topology.is_in(identity.drive);
        let dirs = drives.into_iter().filter(is_in).map(|(identity, dir)| (identity.drive, dir.to_owned())).collect();
        let mut deployment = Deployment { topology, dirs, volumes: BTreeMap::new(), ends: HashMap::new() };
        deployment.find_volumes()?;
        Ok(deployment)
    }

    fn find_volumes(&mut self) -> Result<(), Failure> {
        let mut found: BTreeMap<VolumeId, Vec<(usize, VolumePage)>> = BTreeMap::new();
        for (drive, dir) in &self.dirs {
            let volumes = dir.join(VOLUMES_NAME);
            for name in names_in(&volumes)? {
                let Some((volume, slot)) = parse_volume_name(&name) else { continue };
                if let Ok(page) = read_page(&volumes.join(&name), volume, slot)
                    && page.deployment == self.topology.deployment
                    && page.drives.get(slot) == Some(drive)
                {
                    found.entry(volume).or_default().push((slot, page));
                }
            }
        }
        for (volume, mut pages) in found {
            // Slots may have moved: a file's own page says where that slot lies, the one with the most moves the rest.
            pages.sort_by_key(|(_, page)| page.moves);
            let mut newest = pages.last().expect("a volume is listed with its first page").1.clone();
            for (slot, page) in &pages {
                if newest.agrees_with(page) {
                    newest.drives[*slot] = page.drives[*slot];
                }
            }
            self.volumes.insert(volume, newest);
        }
        for page in self.volumes.values() {
            for closed in page.predecessor.iter().chain(&page.closes) {
                let end = self.ends.entry(closed.volume).or_insert((page.volume, closed.end));
                if end.0 <= page.volume {
                    *end = (page.volume, closed.end);
                }
            }
        }
        Ok(())
    }

    /// Where a page says that the volume ends.
    pub(super) fn end(&self, volume: VolumeId) -> Option<SlotOffset> {
        self.ends.get(&volume).map(|(_, end)| *end)
    }

    /// Where a slot file is, if its drive is here.
    pub(super) fn slot_path(&self, drive: DriveId, volume: VolumeId, slot: usize) -> Option<PathBuf> {
        Some(self.dirs.get(&drive)?.join(VOLUMES_NAME).join(volume_name(volume, slot)))
    }

    /// Where copies of the partition's tables may be.
    pub(super) fn index_dirs(&self, partition: PartitionId) -> Vec<PathBuf> {
        let name = partition.0.to_string();
        let mut dirs: Vec<PathBuf> = self.dirs.values().map(|dir| dir.join(INDEX_NAME).join(&name)).collect();
        dirs.sort_unstable();
        dirs
    }
}

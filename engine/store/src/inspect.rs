//! Looks at drives without running a store: what a drive holds, what a volume holds, where an object lies and whether it
//! is whole.
//!
//! Reads files only: takes no lock, writes nothing on any drive, and works while a server runs on them. Then it sees what
//! is durable at the moment of each read; what changes meanwhile may show as missing. Everything here blocks.

mod deployment;
mod object;
mod report;
mod stripe;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use self::deployment::Deployment;
use self::stripe::{Files, Walk};
use crate::drive::{IDENTITY_NAME, INDEX_NAME, TOPOLOGY_NAME, VOLUMES_NAME, parse_volume_name};
use crate::format::drive::{COPY_BYTES, Identity};
use crate::format::topology::{FILE_BYTES, Topology};
pub use crate::format::volume::Class;
use crate::format::volume::{Closed, VolumePage};
use crate::ids::{DeploymentId, DriveId, Geometry, PAGE_BYTES, SlotOffset, StartNumber, VolumeId};
pub use object::{FoundIn, ObjectReport, object};
pub use stripe::{FragmentReport, FragmentState, Stated, StripeReport};

/// Why there is no report.
#[derive(Debug)]
pub enum Failure {
    Io {
        path: PathBuf,
        error: io::Error,
    },
    /// The directories are not drives of one deployment.
    Drives(String),
    NoVolume(VolumeId),
    NoBucket(String),
    NoObject(String),
    /// The index does not say what it should.
    Index(String),
}

/// What a directory says of itself.
#[derive(Debug)]
pub struct DriveReport {
    pub dir: PathBuf,
    /// Or why it cannot be read.
    pub identity: Result<DriveIdentity, String>,
    pub epoch: Result<Epoch, String>,
    /// In order of volume and slot.
    pub files: Vec<SlotFile>,
    /// Partitions of which this drive has tables.
    pub partitions: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriveIdentity {
    pub deployment: DeploymentId,
    pub drive: DriveId,
}

/// The newest epoch that a drive knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    pub number: u64,
    pub id: u64,
    pub start: StartNumber,
    pub parity: u8,
    pub partitions: u16,
    /// With the number of the epoch that took the drive out; 0 while it is in.
    pub drives: Vec<(DriveId, u64)>,
    /// Log volumes may have been removed: the tables are primary data.
    pub tables_count: bool,
}

/// One slot of a volume, by the name of its file.
#[derive(Debug)]
pub struct SlotFile {
    pub volume: VolumeId,
    pub slot: usize,
    /// Length of the file.
    pub bytes: u64,
    /// Or why it cannot be read.
    pub page: Result<VolumeFacts, String>,
}

/// The first page of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFacts {
    pub volume: VolumeId,
    pub deployment: DeploymentId,
    pub class: Class,
    pub geometry: Geometry,
    pub slot_bytes: u64,
    /// In which the volume was made.
    pub epoch: u64,
    /// The drive of each slot.
    pub drives: Vec<DriveId>,
    /// Where the volume before it in its log stream ends.
    pub predecessor: Option<End>,
    /// Where log streams of earlier starts end.
    pub closes: Vec<End>,
}

/// Where a log volume ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub volume: VolumeId,
    pub end: SlotOffset,
}

/// A volume and which of its files are there.
#[derive(Debug)]
pub struct VolumeReport {
    pub facts: VolumeFacts,
    /// Where a later volume says that this one ends.
    pub end: Option<SlotOffset>,
    /// The file of each slot; `None` when its drive was not named, was taken out, or has no such file.
    pub slots: Vec<Option<PathBuf>>,
}

/// What the drive in `dir` says of itself. Damage is part of the report; a directory that cannot be read is a failure.
pub fn drive(dir: &Path) -> Result<DriveReport, Failure> {
    let identity = read_front(&dir.join(IDENTITY_NAME), 2 * COPY_BYTES);
    let identity = identity.and_then(|bytes| Identity::decode_file(&bytes).map_err(|why| why.to_string()));
    let epoch = read_front(&dir.join(TOPOLOGY_NAME), FILE_BYTES);
    let epoch = epoch.and_then(|bytes| Topology::decode_file(&bytes).map_err(|why| why.to_string()));
    let mut partitions: Vec<u16> =
        names_in(&dir.join(INDEX_NAME))?.iter().filter_map(|name| name.parse().ok()).collect();
    partitions.sort_unstable();
    Ok(DriveReport {
        dir: dir.to_owned(),
        identity: identity.map(|found| DriveIdentity { deployment: found.deployment, drive: found.drive }),
        epoch: epoch.map(|(topology, _)| Epoch::from(topology)),
        files: slot_files(dir)?,
        partitions,
    })
}

/// The first page of volume `id`, which of its files are there, and where it ends.
pub fn volume(dirs: &[PathBuf], id: VolumeId) -> Result<VolumeReport, Failure> {
    let deployment = Deployment::open(dirs)?;
    let files = Files::open(&deployment, id)?;
    let slots = (0..files.page.geometry.width()).map(|slot| files.path(slot)).collect();
    Ok(VolumeReport { facts: VolumeFacts::from(&files.page), end: deployment.end(id), slots })
}

/// Calls `each` with every stripe of volume `id`, in order, after all of its fragments were read and verified.
///
/// Cost: reads the whole volume. Stripes of which no header is left on any drive cannot be told from room that was never
/// used or was given back, and are passed over.
pub fn stripes(dirs: &[PathBuf], id: VolumeId, mut each: impl FnMut(StripeReport)) -> Result<(), Failure> {
    let deployment = Deployment::open(dirs)?;
    let files = Files::open(&deployment, id)?;
    let end = deployment.end(id).unwrap_or(files.end());
    Walk::new(&files, end, u32::MAX).for_each(|at| each(files.stripe(at).report(&files)));
    Ok(())
}

impl From<Topology> for Epoch {
    fn from(topology: Topology) -> Epoch {
        Epoch {
            number: topology.number,
            id: topology.id,
            start: topology.start,
            parity: topology.parity,
            partitions: topology.partition_count(),
            drives: topology.drives.iter().map(|member| (member.drive, member.out_since)).collect(),
            tables_count: topology.tables_count(),
        }
    }
}

impl From<Closed> for End {
    fn from(Closed { volume, end }: Closed) -> End {
        End { volume, end }
    }
}

impl From<&VolumePage> for VolumeFacts {
    fn from(page: &VolumePage) -> VolumeFacts {
        VolumeFacts {
            volume: page.volume,
            deployment: page.deployment,
            class: page.class,
            geometry: page.geometry,
            slot_bytes: page.slot_bytes,
            epoch: page.epoch,
            drives: page.drives.clone(),
            predecessor: page.predecessor.map(End::from),
            closes: page.closes.iter().copied().map(End::from).collect(),
        }
    }
}

fn slot_files(dir: &Path) -> Result<Vec<SlotFile>, Failure> {
    let volumes = dir.join(VOLUMES_NAME);
    let mut files = Vec::new();
    for name in names_in(&volumes)? {
        let Some((volume, slot)) = parse_volume_name(&name) else { continue };
        let path = volumes.join(&name);
        let page = read_page(&path, volume, slot);
        let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        files.push(SlotFile { volume, slot, bytes, page: page.map(|page| VolumeFacts::from(&page)) });
    }
    files.sort_unstable_by_key(|file| (file.volume, file.slot));
    Ok(files)
}

/// The first page of a slot file, if it is the one that its name says.
pub(crate) fn read_page(path: &Path, volume: VolumeId, slot: usize) -> Result<VolumePage, String> {
    let bytes = read_front(path, PAGE_BYTES)?;
    let (page, said) = VolumePage::decode(&bytes).map_err(|why| why.to_string())?;
    if page.volume == volume && said == slot { Ok(page) } else { Err("it is the page of another file".to_owned()) }
}

/// The first `len` bytes of a file, or as many as there are.
pub(crate) fn read_front(path: &Path, len: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(len as u64).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|error| error.to_string())
}

/// Names in a directory, none if it is not there.
pub(crate) fn names_in(dir: &Path) -> Result<Vec<String>, Failure> {
    let fail = |error| Failure::Io { path: dir.to_owned(), error };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(fail)?.file_name().into_string());
    }
    Ok(names)
}

#[cfg(test)]
mod tests;

//! Finds every volume at the start: which there are, and which of their slots.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use rt::file::{File, OpenOptions};

use super::{Volume, VolumePage};
use crate::drive::{Drive, Op, parse_volume_name};
use crate::error::{Error, Result};
use crate::format::Invalid;
use crate::ids::{PAGE_BYTES, VolumeId};
use crate::node::Node;

/// First pages of one drive that are read at the same time.
const READS_IN_FLIGHT: usize = 16;

/// A slot of a volume, as found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The file is there and is this volume's.
    Present,
    /// The file is there, but its first page is not what it should be.
    Damaged,
    /// The drive is there and has no such file: the volume was being made or removed, or the file was lost.
    Absent,
    /// The drive is not there, or was taken out.
    DriveGone,
}

/// A volume, as found.
#[derive(Clone, Debug)]
pub(crate) struct Scanned {
    pub(crate) page: VolumePage,
    /// One for each slot.
    pub(crate) slots: Vec<Presence>,
}

/// A slot file and what its first page says.
struct SlotFile {
    volume: VolumeId,
    slot: usize,
    page: std::result::Result<VolumePage, Invalid>,
    /// The first page was never written.
    is_blank: bool,
}

impl Node {
    /// Reads the first page of every slot file on every usable drive and registers the volumes; sorted by id.
    ///
    /// Volumes of which no first page can be read are left out: they are counted in the log and stay as they are.
    /// Errors: `Unavailable` when a drive fails: it is taken out, and the caller may scan again.
    pub(crate) async fn scan_volumes(self: &Arc<Node>) -> Result<Vec<Scanned>> {
        let drives = self.drives().iter().filter(|drive| drive.is_usable()).cloned();
        let scans: Vec<_> = drives
            .map(|drive| {
                let scanned = drive.clone();
                (drive, rt::spawn(async move { scan_drive(&scanned).await }))
            })
            .collect();
        let mut files: Vec<(Arc<Drive>, SlotFile)> = Vec::new();
        let mut failed = None;
        for (drive, scan) in scans {
            match scan.await {
                Ok(found) => files.extend(found.into_iter().map(|file| (drive.clone(), file))),
                Err(error) => {
                    telemetry::error!("volumes cannot be listed"; drive = drive.dir.display(), error = error);
                    drive.count_error(Op::Read);
                    failed = Some(drive);
                }
            }
        }
        if let Some(drive) = failed {
            self.take_out(drive.id, "its volumes cannot be listed").await?;
            return Err(Error::Unavailable("a drive failed while volumes were looked for"));
        }
        let scanned = self.assemble(&files);
        for found in &scanned {
            let lost = found.slots.iter().enumerate().filter(|(_, presence)| **presence != Presence::Present);
            let lost = lost.fold(0, |mask, (slot, _)| mask | 1 << slot);
            let drives = self.drives_of(&found.page).expect("assemble leaves out volumes of unknown drives");
            self.register(Volume::new(found.page.clone(), drives, lost, Arc::downgrade(self)));
        }
        Ok(scanned)
    }

    fn assemble(&self, files: &[(Arc<Drive>, SlotFile)]) -> Vec<Scanned> {
        let mut volumes: BTreeMap<VolumeId, Option<Scanned>> = BTreeMap::new();
        for (drive, file) in files {
            let entry = volumes.entry(file.volume).or_default();
            let Ok(page) = &file.page else { continue };
            // A file that was copied here from elsewhere is not this slot, however whole it is.
            if page.deployment != self.deployment || page.drives.get(file.slot) != Some(&drive.id) {
                continue;
            }
            let Some(drives) = self.drives_of(page) else { continue };
            let scanned = entry.get_or_insert_with(|| Scanned {
                page: page.clone(),
                slots: drives
                    .iter()
                    .map(|drive| if drive.is_usable() { Presence::Absent } else { Presence::DriveGone })
                    .collect(),
            });
            if scanned.page == *page {
                scanned.slots[file.slot] = Presence::Present;
            }
        }
        for (_, file) in files {
            if let Some(Some(scanned)) = volumes.get_mut(&file.volume)
                && let Some(presence @ Presence::Absent) = scanned.slots.get_mut(file.slot)
            {
                *presence = Presence::Damaged;
            }
        }
        let is_blank = |id: VolumeId| files.iter().filter(|(_, file)| file.volume == id).all(|(_, file)| file.is_blank);
        let headless = volumes.iter().filter(|(_, found)| found.is_none()).map(|(id, _)| *id);
        let (unborn, headless): (Vec<_>, Vec<_>) = headless.partition(|id| is_blank(*id));
        if !headless.is_empty() {
            telemetry::warn!("volumes without a readable first page are left alone"; volumes = headless.len());
        }
        self.set_unborn(unborn);
        volumes.into_values().flatten().collect()
    }

    fn drives_of(&self, page: &VolumePage) -> Option<Vec<Arc<Drive>>> {
        page.drives.iter().map(|&id| self.drive(id).cloned()).collect()
    }
}

async fn scan_drive(drive: &Arc<Drive>) -> io::Result<Vec<SlotFile>> {
    let entries = rt::file::read_dir(drive.volumes_dir()).await?;
    let names: Vec<(VolumeId, usize)> = entries.iter().filter_map(|entry| parse_volume_name(&entry.name)).collect();
    let mut files = Vec::with_capacity(names.len());
    for some in names.chunks(READS_IN_FLIGHT) {
        let reads: Vec<_> = some
            .iter()
            .map(|&(volume, slot)| {
                let drive = drive.clone();
                rt::spawn(async move { (volume, slot, read_page(&drive, volume, slot).await) })
            })
            .collect();
        for read in reads {
            let (volume, slot, page) = read.await;
            // One unreadable page is one slot; a drive that fails altogether shows it in the listing.
            let (page, is_blank) = page.unwrap_or((Err(Invalid::Short), false));
            let page = page.and_then(|(page, said)| {
                if page.volume == volume && said == slot { Ok(page) } else { Err(Invalid::Field("volume")) }
            });
            files.push(SlotFile { volume, slot, page, is_blank });
        }
    }
    Ok(files)
}

type PageRead = std::result::Result<(VolumePage, usize), Invalid>;

/// The first page, and whether it was never written.
async fn read_page(drive: &Drive, volume: VolumeId, slot: usize) -> io::Result<(PageRead, bool)> {
    let _in_flight = drive.begin();
    let file = File::open(drive.volume_path(volume, slot), OpenOptions::READ_DIRECT).await?;
    let (result, buf) = file.read_at(rt::buf::alloc(PAGE_BYTES).await, PAGE_BYTES, 0).await;
    let page = &buf[..result?.min(PAGE_BYTES)];
    Ok((VolumePage::decode(page), page.iter().all(|&byte| byte == 0)))
}

//! Finds every volume at the start: which there are, and which of their slots.
//!
//! A volume of which no first page is right was being made when the process ended, or has lost them since. The first page is
//! durable before anything is behind it, so what tells the two apart is whether there is something.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rt::file::{File, OpenOptions};

use super::{Volume, VolumePage};
use crate::drive::{Drive, Op, parse_volume_name};
use crate::error::{Error, Result};
use crate::format::Invalid;
use crate::format::fragment::{Header, Kind};
use crate::ids::{PAGE_BYTES, SlotOffset, VolumeId};
use crate::node::Node;

/// First pages of one drive that are read at the same time.
const READS_IN_FLIGHT: usize = 16;

/// Attempts at a first page: nothing else may say that there is this volume.
const READ_ATTEMPTS: usize = 3;

/// Pages that are read at a time behind a first page that is not right.
const CONTENT_PAGES: usize = 64;

/// A volume of which no first page is right, and which holds something that may be commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Headless {
    pub(crate) volume: VolumeId,
    /// One of its files.
    pub(crate) path: PathBuf,
}

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

/// A volume, as found, and where.
struct Found {
    scanned: Scanned,
    /// Where each slot lies, or should lie.
    drives: Vec<Arc<Drive>>,
    /// Slots that may lack fragments, as a bit mask.
    hollow: u32,
    /// Other whole files of its slots: left behind by moves.
    strays: Vec<(usize, Arc<Drive>)>,
}

/// A slot file and what its first page says.
struct SlotFile {
    volume: VolumeId,
    slot: usize,
    page: std::result::Result<VolumePage, Invalid>,
}

/// The files of a volume of which none has a right first page.
type PagelessFiles = (VolumeId, Vec<(Arc<Drive>, usize)>);

/// What lies behind the first page of a slot file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Nothing was ever written there.
    Nothing,
    /// By what it says of itself.
    Stripes(Kind),
    /// It cannot be told.
    Unknown,
}

impl Node {
    /// Reads the first page of every slot file on every usable drive and registers the volumes; sorted by id.
    ///
    /// Volumes of which no first page is right are left out: those that hold nothing were being made when the process ended, the
    /// others stay as they are, and are told of.
    /// Errors: `Unavailable` when a drive fails: it is taken out, and the caller may scan again.
    pub(crate) async fn scan_volumes(self: &Arc<Node>) -> Result<Vec<Scanned>> {
        let all = self.drives();
        let drives = all.iter().filter(|drive| drive.is_usable()).cloned();
        let scans: Vec<_> = drives
            .map(|drive| {
                let scanned = drive.clone();
                let silent = || Err(io::ErrorKind::TimedOut.into());
                (drive, rt::spawn(async move { scanned.while_used(scan_drive(&scanned)).await.unwrap_or_else(silent) }))
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
        let (found, pageless) = self.assemble(&files);
        self.look_into(pageless).await;
        let mut scanned = Vec::with_capacity(found.len());
        for Found { scanned: found, drives, hollow, strays } in found {
            let lost = found.slots.iter().enumerate().filter(|(_, presence)| **presence != Presence::Present);
            let lost = lost.fold(0, |mask, (slot, _)| mask | 1 << slot);
            let volume = Volume::new(found.page.clone(), drives, lost, Arc::downgrade(self));
            volume.set_hollow(hollow);
            strays.into_iter().for_each(|(slot, drive)| volume.add_stray(slot, drive));
            self.register(volume);
            scanned.push(found);
        }
        Ok(scanned)
    }

    /// The volumes that have a right first page, and the files of the others.
    fn assemble(&self, files: &[(Arc<Drive>, SlotFile)]) -> (Vec<Found>, Vec<PagelessFiles>) {
        let mut volumes: BTreeMap<VolumeId, Vec<(&Arc<Drive>, &SlotFile)>> = BTreeMap::new();
        for (drive, file) in files {
            volumes.entry(file.volume).or_default().push((drive, file));
        }
        let (mut found, mut pageless, mut strange) = (Vec::new(), Vec::new(), 0);
        for (id, files) in volumes {
            if let Some(volume) = self.assemble_one(&files) {
                found.push(volume);
                continue;
            }
            // A page that is right and names other drives says that its file was put here by somebody.
            let bad = files.into_iter().filter(|(_, file)| file.page.is_err());
            let bad: Vec<_> = bad.map(|(drive, file)| (drive.clone(), file.slot)).collect();
            match bad.is_empty() {
                true => strange += 1,
                false => pageless.push((id, bad)),
            }
        }
        if strange > 0 {
            telemetry::warn!("volumes that belong elsewhere are left alone"; volumes = strange);
        }
        (found, pageless)
    }

    /// Tells volumes that were being made when the process ended from those that have lost their first pages.
    async fn look_into(&self, pageless: Vec<PagelessFiles>) {
        let (mut unborn, mut headless) = (Vec::new(), Vec::new());
        for (id, files) in pageless {
            let mut contents = Vec::with_capacity(files.len());
            for (drive, slot) in &files {
                let content = drive.while_used(content_of(drive, id, *slot)).await;
                contents.push(content.and_then(|content| content.ok()).unwrap_or(Content::Unknown));
            }
            if contents.iter().all(|content| *content == Content::Nothing) {
                unborn.push(id);
                continue;
            }
            let path = files.first().map(|(drive, slot)| drive.volume_path(id, *slot)).expect("it has a file");
            telemetry::error!("a volume without a right first page is left alone"; path = path.display());
            if !contents.contains(&Content::Stripes(Kind::Data)) {
                headless.push(Headless { volume: id, path });
            }
        }
        self.set_unborn(unborn);
        self.set_headless(headless);
    }

    /// One volume from its files. A slot may have moved: then pages differ in the drives that they name, and the one with
    /// the most moves knows best. `None` when no page is right.
    fn assemble_one(&self, files: &[(&Arc<Drive>, &SlotFile)]) -> Option<Found> {
        // A file that was copied here from elsewhere is not this slot, however whole it is.
        let own = |(drive, file): &(&Arc<Drive>, &SlotFile)| {
            let page = file.page.as_ref().ok()?;
            let here = page.deployment == self.deployment && page.drives.get(file.slot) == Some(&drive.id);
            here.then(|| (Arc::clone(drive), file.slot, page.clone()))
        };
        let mut good: Vec<(Arc<Drive>, usize, VolumePage)> = files.iter().filter_map(own).collect();
        // Most moves first; the order is stable, so that every start decides alike.
        good.sort_by_key(|(.., page)| std::cmp::Reverse(page.moves));
        let mut page = good.first()?.2.clone();
        good.retain(|(.., other)| page.agrees_with(other));
        let mut drives = self.drives_of(&page)?;
        let mut slots: Vec<Presence> =
            drives.iter().map(|drive| if drive.is_usable() { Presence::Absent } else { Presence::DriveGone }).collect();
        let (mut strays, mut hollow) = (Vec::new(), 0);
        // One that has all it should comes before one that was made again without, wherever it lies.
        good.sort_by_key(|(.., page)| page.hollow);
        for (drive, slot, found) in good {
            if slots[slot] == Presence::Present {
                strays.push((slot, drive));
                continue;
            }
            slots[slot] = Presence::Present;
            hollow |= u32::from(found.hollow) << slot;
            page.drives[slot] = drive.id;
            drives[slot] = drive;
        }
        for (_, file) in files {
            if let Some(presence @ Presence::Absent) = slots.get_mut(file.slot) {
                *presence = Presence::Damaged;
            }
        }
        page.hollow = false;
        Some(Found { scanned: Scanned { page, slots }, drives, hollow, strays })
    }

    fn drives_of(&self, page: &VolumePage) -> Option<Vec<Arc<Drive>>> {
        page.drives.iter().map(|&id| self.drive(id)).collect()
    }
}

async fn scan_drive(drive: &Arc<Drive>) -> io::Result<Vec<SlotFile>> {
    let entries = {
        let _in_flight = drive.begin();
        rt::file::read_dir(drive.volumes_dir()).await?
    };
    let names: Vec<(VolumeId, usize)> = entries.iter().filter_map(|entry| parse_volume_name(&entry.name)).collect();
    let mut files = Vec::with_capacity(names.len());
    for some in names.chunks(READS_IN_FLIGHT) {
        let reads: Vec<_> = some
            .iter()
            .map(|&(volume, slot)| {
                let drive = drive.clone();
                rt::spawn(async move {
                    let mut page = read_page(&drive, volume, slot).await;
                    for _ in 1..READ_ATTEMPTS {
                        if page.is_err() {
                            page = read_page(&drive, volume, slot).await;
                        }
                    }
                    (volume, slot, page)
                })
            })
            .collect();
        for read in reads {
            let (volume, slot, page) = read.await;
            // One unreadable page is one slot; a drive that fails altogether shows it in the listing.
            let page = page.unwrap_or(Err(Invalid::Short));
            let page = page.and_then(|(page, said)| {
                if page.volume == volume && said == slot { Ok(page) } else { Err(Invalid::Field("volume")) }
            });
            files.push(SlotFile { volume, slot, page });
        }
    }
    Ok(files)
}

type PageRead = std::result::Result<(VolumePage, usize), Invalid>;

async fn read_page(drive: &Drive, volume: VolumeId, slot: usize) -> io::Result<PageRead> {
    let _in_flight = drive.begin();
    let file = File::open(drive.volume_path(volume, slot), OpenOptions::READ_DIRECT).await?;
    let (result, buf) = file.read_at(rt::buf::alloc(PAGE_BYTES).await, PAGE_BYTES, 0).await;
    Ok(VolumePage::decode(&buf[..result?.min(PAGE_BYTES)]))
}

/// Looks for the first thing behind the first page. Cost: what was written ahead of use is read, as far as it is zero.
async fn content_of(drive: &Drive, volume: VolumeId, slot: usize) -> io::Result<Content> {
    let file = {
        let _in_flight = drive.begin();
        File::open(drive.volume_path(volume, slot), OpenOptions::READ_DIRECT).await?
    };
    let mut at = SlotOffset::FIRST_STRIPE.bytes();
    loop {
        let len = CONTENT_PAGES * PAGE_BYTES;
        let buffer = rt::buf::alloc(len).await;
        let _in_flight = drive.begin();
        let Some(data) = file.next_data(at).await? else { return Ok(Content::Nothing) };
        at = data / PAGE_BYTES as u64 * PAGE_BYTES as u64;
        let (result, buffer) = file.read_at(buffer, len, at).await;
        let read = result?;
        if read == 0 {
            return Ok(Content::Nothing);
        }
        let pages = buffer[..read].chunks(PAGE_BYTES).enumerate();
        if let Some((page, bytes)) = pages.into_iter().find(|(_, bytes)| bytes.iter().any(|&byte| byte != 0)) {
            let place = SlotOffset((at / PAGE_BYTES as u64) as u32).advance(page as u32);
            return Ok(Header::unproved_kind(bytes, volume, place).map_or(Content::Unknown, Content::Stripes));
        }
        at += (read as u64).next_multiple_of(PAGE_BYTES as u64);
    }
}

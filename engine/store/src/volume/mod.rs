//! Volumes: append-only containers over N drives, one slot file on each.

mod create;
mod files;
mod lateness;
mod scan;
mod upkeep;

use std::fmt;
use std::io;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak};

use codec::erasure::Code;
use rt::buf::{Buf, Shared};
use rt::file::{File, Sync};

pub(crate) use crate::format::volume::{CLOSES_MAX, Class, Closed, VolumePage};
pub(crate) use lateness::{Answers, Silent};
pub(crate) use scan::{Headless, Presence};
pub(crate) use upkeep::Mending;

use crate::drive::{Drive, Kind, Op, State, is_full};
use crate::ids::{Geometry, PAGE_BYTES, SlotOffset, VolumeId};
use crate::node::Node;
use crate::space::proof::{PageRange, ProvenDead};
use crate::topology::mix;

/// What happened to one slot of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotError {
    /// The drive is not used, or has no such file.
    Gone,
    /// The file ends before that: whoever made it had not come to its end, so nothing was ever there.
    Ended,
    /// The drive answered with an error; the node knows already.
    Io(io::ErrorKind),
    /// No room. That is no failure of the drive.
    Full,
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SlotError::Gone => f.write_str("the slot is not there"),
            SlotError::Ended => f.write_str("the slot's file ends early"),
            SlotError::Io(kind) => write!(f, "i/o error: {kind}"),
            SlotError::Full => f.write_str("the drive is full"),
        }
    }
}

impl std::error::Error for SlotError {}

/// One volume, for all shards. Files are opened by each shard for itself, when it first uses them.
pub(crate) struct Volume {
    pub(crate) id: VolumeId,
    pub(crate) class: Class,
    pub(crate) geometry: Geometry,
    /// Bytes of each slot, the first page included.
    pub(crate) slot_bytes: u64,
    page: VolumePage,
    code: Code,
    placement: RwLock<Placement>,
    /// Slots whose file is not there or not this volume's, as a bit mask.
    lost_slots: AtomicU32,
    /// Slots that may lack fragments: see `VolumePage::hollow`. A bit mask.
    hollow_slots: AtomicU32,
    /// Whole files of slots that lie elsewhere now: what is left of a move.
    strays: Mutex<Vec<(usize, Arc<Drive>)>>,
    /// Who changes slots without appending: see `upkeep`.
    upkeep: AtomicI32,
    /// Takes no more stripes.
    sealed: AtomicBool,
    /// Bodies on their way that have or may have stripes here which no index counts yet.
    holds: AtomicU32,
    node: Weak<Node>,
}

/// Where the slots lie. Changes when one moves.
struct Placement {
    drives: Vec<Arc<Drive>>,
    /// Slots that have moved so far.
    moves: u16,
}

/// Keeps a volume from being removed while a body is received or committed that has stripes in it.
pub struct Hold(Arc<Volume>);

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hold({})", self.0.id)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Release);
    }
}

const _: () = assert!(Geometry::DATA_MAX as u32 + Geometry::PARITY_MAX as u32 <= u32::BITS);

impl Volume {
    /// `drives` are those of the slots, in that order. The page is one of those with the most moves.
    fn new(page: VolumePage, drives: Vec<Arc<Drive>>, lost_slots: u32, node: Weak<Node>) -> Arc<Volume> {
        assert_eq!(drives.len(), page.geometry.width(), "a drive for each slot");
        let code = Code::new(page.geometry.data, page.geometry.parity).expect("Geometry has the same bounds as Code");
        Arc::new(Volume {
            id: page.volume,
            class: page.class,
            geometry: page.geometry,
            slot_bytes: page.slot_bytes,
            code,
            placement: RwLock::new(Placement { drives, moves: page.moves }),
            lost_slots: AtomicU32::new(lost_slots),
            hollow_slots: AtomicU32::new(0),
            strays: Mutex::new(Vec::new()),
            upkeep: AtomicI32::new(0),
            sealed: AtomicBool::new(false),
            holds: AtomicU32::new(0),
            node,
            page,
        })
    }

    /// The volume's own description, as it was found or made: slots may have moved since.
    pub(crate) fn page(&self) -> &VolumePage {
        &self.page
    }

    pub(crate) fn code(&self) -> &Code {
        &self.code
    }

    /// Seeds the checksums of this volume's fragment headers.
    pub(crate) fn secret(&self) -> u32 {
        self.page.secret
    }

    /// Pages of each slot; the end of the volume as a slot offset.
    pub(crate) fn end(&self) -> SlotOffset {
        SlotOffset((self.slot_bytes / PAGE_BYTES as u64) as u32)
    }

    /// Where the slot lies now.
    pub(crate) fn drive(&self, slot: usize) -> Arc<Drive> {
        self.placement().drives[slot].clone()
    }

    fn placement(&self) -> RwLockReadGuard<'_, Placement> {
        self.placement.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot that holds a fragment of the stripe at `at`. Rotates, so that data, parity and reads spread evenly.
    pub(crate) fn slot_of(&self, at: SlotOffset, fragment: usize) -> usize {
        rotate(at, fragment, self.geometry.width())
    }

    /// Slots that are not well: the drive is late, drained, out or missing, or the file is not there. Bit n = slot n.
    pub(crate) fn sick_slots(&self) -> u32 {
        let lost = self.lost_slots.load(Relaxed);
        let placement = self.placement();
        let sick =
            placement.drives.iter().enumerate().filter(|(_, drive)| drive.state() != State::In || drive.is_draining());
        sick.fold(lost, |mask, (slot, _)| mask | 1 << slot)
    }

    /// Asks for the repair of a stripe in which a fragment is bad. Never waits.
    pub(crate) fn ask_repair(&self, at: SlotOffset) {
        if let Some(node) = self.node.upgrade() {
            node.heal.ask_repair(self.id, at);
        }
    }

    /// Says that the slot's drive lacks what it had acknowledged: all that it holds is verified.
    pub(crate) async fn distrust(&self, slot: usize) {
        if let Some(node) = self.node.upgrade() {
            node.distrust(&self.drive(slot)).await;
        }
    }

    /// Whether every slot is well.
    pub(crate) fn is_whole(&self) -> bool {
        self.sick_slots() == 0
    }

    /// Whether the slot can be read now: its drive is used and has the file.
    pub(crate) fn is_readable(&self, slot: usize) -> bool {
        self.placement().drives[slot].is_usable() && self.lost_slots.load(Relaxed) & (1 << slot) == 0
    }

    /// Slots that cannot be read: their drives are out or missing, or their files are not there. Bit n = slot n.
    pub(crate) fn missing_slots(&self) -> u32 {
        let slots = (0..self.geometry.width()).filter(|&slot| !self.is_readable(slot));
        slots.fold(0, |mask, slot| mask | 1 << slot)
    }

    /// Slots that can be read and may lack fragments: they were made again, or their first pages were, without proof that they
    /// have all they should. Bit n = slot n.
    pub(crate) fn hollow_slots(&self) -> u32 {
        self.hollow_slots.load(Relaxed) & !self.missing_slots()
    }

    /// Slots that can be read and have what they should, as far as is known. Bit n = slot n.
    pub(crate) fn solid_slots(&self) -> u32 {
        let all = (1 << self.geometry.width()) - 1;
        all & !self.missing_slots() & !self.hollow_slots.load(Relaxed)
    }

    /// Says that nothing more is appended. Whoever still places stripes took a `hold` before this.
    pub(crate) fn seal(&self) {
        self.sealed.store(true, Release);
    }

    /// Whether nothing more is appended: it was sealed, or it is of an earlier start.
    pub(crate) fn is_sealed(&self) -> bool {
        let is_earlier = || self.node.upgrade().is_some_and(|node| node.start != self.page.start());
        self.sealed.load(Acquire) || is_earlier()
    }

    /// To be taken before the first stripe of a body is placed, and dropped after its record is durable or given up.
    pub(crate) fn hold(self: &Arc<Volume>) -> Hold {
        self.holds.fetch_add(1, Relaxed);
        Hold(self.clone())
    }

    pub(crate) fn is_held(&self) -> bool {
        self.holds.load(Acquire) > 0
    }

    /// Writes whole pages into one slot. With `Sync::Data` they are durable when it returns; otherwise after a
    /// `sync_slot` that was called later. However long the drive takes: the buffer is in use until it has answered.
    ///
    /// Panics if the pages do not lie behind the first page and within the slot: the caller placed them.
    pub(crate) async fn write_slot(
        &self,
        slot: usize,
        at: SlotOffset,
        data: Shared,
        sync: Sync,
    ) -> Result<(), SlotError> {
        assert!(at >= SlotOffset::FIRST_STRIPE && data.len().is_multiple_of(PAGE_BYTES));
        assert!(at.bytes() + data.len() as u64 <= self.slot_bytes, "a fragment lies within its slot");
        let drive = self.usable(slot)?;
        let file = self.file(slot, &drive, Op::Write).await?;
        let kind = if sync == Sync::Data { Kind::Flush } else { Kind::Write };
        let _in_flight = drive.begin_timed(kind);
        let result = file.write_shared_at(data, at.bytes(), sync).await;
        self.judge(&drive, result, Op::Write)
    }

    /// As `write_slot`, for one who need not know when the drive is done with the buffer.
    pub(crate) async fn write_slot_while_used(
        &self,
        slot: usize,
        at: SlotOffset,
        data: Shared,
    ) -> Result<(), SlotError> {
        let drive = self.usable(slot)?;
        drive.while_used(self.write_slot(slot, at, data, Sync::Data)).await.unwrap_or(Err(SlotError::Gone))
    }

    /// Reads whole pages of one slot into the start of a buffer. Pages beyond the end of the file are `Ended`; what a drive had
    /// not given before it was taken out is `Gone`.
    pub(crate) async fn read_slot(&self, slot: usize, at: SlotOffset, pages: u32) -> Result<Buf, SlotError> {
        let len = pages as usize * PAGE_BYTES;
        if at.bytes() + len as u64 > self.slot_bytes {
            return Err(SlotError::Gone);
        }
        if !self.is_readable(slot) {
            return Err(SlotError::Gone);
        }
        // The lengths that are read come from checked headers and records, but those are bounded above this. Waiting
        // for a buffer is not the drive's time.
        let buf = rt::buf::alloc_checked(len).await.map_err(|_| SlotError::Gone)?;
        let drive = self.usable(slot)?;
        if !drive.takes_reads() {
            return Err(SlotError::Io(io::ErrorKind::TimedOut));
        }
        let read = async {
            let file = self.file(slot, &drive, Op::Read).await?;
            let _in_flight = drive.begin_timed(Kind::Read);
            let (result, buf) = file.read_at(buf, len, at.bytes()).await;
            match self.judge(&drive, result, Op::Read)? {
                read if read == len => Ok(buf),
                _ => Err(SlotError::Ended),
            }
        };
        drive.while_used(read).await.unwrap_or(Err(SlotError::Gone))
    }

    /// The same on behalf of healing, which keeps out of the requests' way.
    pub(crate) async fn read_slot_to_heal(&self, slot: usize, at: SlotOffset, pages: u32) -> Result<Buf, SlotError> {
        let node = self.node.upgrade().ok_or(SlotError::Gone)?;
        let _in_flight = node.heal.begin();
        self.read_slot(slot, at, pages).await
    }

    /// The first page of the slot at or behind `at` that may hold anything; the volume's end when there is none.
    pub(crate) async fn next_data(&self, slot: usize, at: SlotOffset) -> Result<SlotOffset, SlotError> {
        let drive = self.usable(slot)?;
        let find = async {
            let file = self.file(slot, &drive, Op::Read).await?;
            let _in_flight = drive.begin();
            self.judge(&drive, file.next_data(at.bytes()).await, Op::Read)
        };
        let found = drive.while_used(find).await.unwrap_or(Err(SlotError::Gone))?;
        Ok(found.map_or(self.end(), |bytes| SlotOffset((bytes / PAGE_BYTES as u64) as u32).min(self.end())))
    }

    /// Makes all writes to the slot that completed before this call durable. After an error none of those since the
    /// last good flush counts.
    pub(crate) async fn sync_slot(&self, slot: usize) -> Result<(), SlotError> {
        let drive = self.usable(slot)?;
        let sync = async {
            let file = self.file(slot, &drive, Op::Write).await?;
            let _in_flight = drive.begin_timed(Kind::Flush);
            self.judge(&drive, file.sync_data().await, Op::Write)
        };
        drive.while_used(sync).await.unwrap_or(Err(SlotError::Gone))
    }

    /// Gives pages back on every slot that is there. Idempotent; not durable before `sync_slot`. Slots of drives that
    /// are absent keep theirs: those drives enter again as new ones. `Io(ResourceBusy)` while slots are mended, which must
    /// not bring back what goes here: try again later.
    pub(crate) async fn punch(&self, dead: &ProvenDead<PageRange>) -> Result<(), SlotError> {
        let range = dead.what();
        assert!(range.volume == self.id && range.at >= SlotOffset::FIRST_STRIPE);
        let len = u64::from(range.pages) * PAGE_BYTES as u64;
        assert!(range.at.bytes() + len <= self.slot_bytes);
        let _punching = self.begin_punch().ok_or(SlotError::Io(io::ErrorKind::ResourceBusy))?;
        for slot in (0..self.geometry.width()).filter(|&slot| self.is_readable(slot)) {
            let drive = self.usable(slot)?;
            let punch = async {
                let file = self.file(slot, &drive, Op::Write).await?;
                let _in_flight = drive.begin();
                self.judge(&drive, file.punch_hole(range.at.bytes(), len).await, Op::Write)
            };
            drive.while_used(punch).await.unwrap_or(Err(SlotError::Gone))?;
        }
        Ok(())
    }

    /// The drive of a slot that can be used.
    fn usable(&self, slot: usize) -> Result<Arc<Drive>, SlotError> {
        if self.is_readable(slot) { Ok(self.drive(slot)) } else { Err(SlotError::Gone) }
    }

    /// This shard's file of the slot on `drive`. Opening it is counted on the drive like what is done there: it can hang as
    /// well.
    async fn file(&self, slot: usize, drive: &Arc<Drive>, op: Op) -> Result<File, SlotError> {
        let node = self.node.upgrade().ok_or(SlotError::Gone)?;
        if let Some(file) = files::opened(node.instance(), self.id, slot, drive.id) {
            return Ok(file);
        }
        let opened = {
            let _in_flight = drive.begin();
            File::open(drive.volume_path(self.id, slot), rt::file::OpenOptions::READ_WRITE_DIRECT).await
        };
        match opened {
            Ok(file) => {
                files::keep(node.instance(), (self.id, slot), self.geometry.width(), drive.id, &file);
                Ok(file)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // One file is gone, or the whole drive is.
                match rt::file::exists(drive.identity_path()).await {
                    Ok(true) => self.lose(slot, drive),
                    Ok(false) => node.note_io_error(drive, &error, Op::Write),
                    Err(error) => node.note_io_error(drive, &error, Op::Write),
                }
                Err(SlotError::Gone)
            }
            // Too many open files and the like say nothing about the drive.
            Err(error) if error.raw_os_error().is_some_and(files::is_shortage) => Err(SlotError::Io(error.kind())),
            Err(error) => {
                node.note_io_error(drive, &error, op);
                Err(SlotError::Io(error.kind()))
            }
        }
    }

    fn lose(&self, slot: usize, drive: &Drive) {
        let placement = self.placement();
        if placement.drives[slot].id != drive.id || self.is_removed() {
            // It has moved meanwhile, or somebody who knew the volume from before still reads it.
            return;
        }
        self.lost_slots.fetch_or(1 << slot, Relaxed);
        let path = drive.volume_path(self.id, slot);
        telemetry::error!("a slot file is gone"; path = path.display());
    }

    fn judge<T>(&self, drive: &Arc<Drive>, result: io::Result<T>, op: Op) -> Result<T, SlotError> {
        result.map_err(|error| {
            if is_full(&error) {
                return SlotError::Full;
            }
            if let Some(node) = self.node.upgrade() {
                node.note_io_error(drive, &error, op);
            }
            SlotError::Io(error.kind())
        })
    }
}

/// Part of the format: which slot holds a fragment follows from the slot offset alone.
pub(crate) fn rotate(at: SlotOffset, fragment: usize, width: usize) -> usize {
    (fragment + shift(at, width)) % width
}

fn shift(at: SlotOffset, width: usize) -> usize {
    (mix(u64::from(at.0)) % width as u64) as usize
}

#[cfg(test)]
mod tests;

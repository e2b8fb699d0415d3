//! What happens to the slots of a volume besides appending: dead ranges are punched, fragments are written again, slots move
//! to other drives, the whole is removed.
//!
//! These exclude each other: a repair that read before a punch must not write after it, and nothing moves into a volume that
//! is being removed. One counter says who is at it: punches (several at a time), or one mender, or the removal for good.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, PoisonError};

use rt::file::{File, OpenOptions, Sync};

use super::{SlotError, Volume, VolumePage, files};
use crate::drive::{Drive, Op};
use crate::ids::{DriveId, PAGE_BYTES, SlotOffset};

const FREE: i32 = 0;
/// Above zero: punches under way.
const MENDED: i32 = -1;
const REMOVED: i32 = -2;

/// The exclusive right to write fragments of a volume again and to move its slots.
pub(crate) struct Mending(Arc<Volume>);

impl Drop for Mending {
    fn drop(&mut self) {
        self.0.upkeep.store(FREE, Release);
    }
}

/// A punch under way.
pub(super) struct Punching<'a>(&'a Volume);

impl Drop for Punching<'_> {
    fn drop(&mut self) {
        self.0.upkeep.fetch_sub(1, Release);
    }
}

impl Volume {
    /// `None` while something is punched, somebody else mends, or the volume is removed. What is read from here on is not
    /// punched before the value is dropped.
    pub(crate) fn begin_mending(self: &Arc<Volume>) -> Option<Mending> {
        self.upkeep.compare_exchange(FREE, MENDED, AcqRel, Relaxed).ok()?;
        Some(Mending(self.clone()))
    }

    /// Whether somebody mends the volume: what is to be freed in it waits.
    pub(crate) fn is_mended(&self) -> bool {
        self.upkeep.load(Acquire) == MENDED
    }

    /// Whether the volume is gone for good, or about to be.
    pub(crate) fn is_removed(&self) -> bool {
        self.upkeep.load(Acquire) == REMOVED
    }

    pub(super) fn begin_punch(&self) -> Option<Punching<'_>> {
        let begun = self.upkeep.fetch_update(AcqRel, Relaxed, |state| (state >= FREE).then_some(state + 1));
        begun.ok().map(|_| Punching(self))
    }

    /// Claims the volume for its removal; false when something else is under way.
    pub(super) fn begin_removal(&self) -> bool {
        self.upkeep.compare_exchange(FREE, REMOVED, AcqRel, Relaxed).is_ok()
    }

    /// The removal did not succeed and will be tried again.
    pub(super) fn end_removal(&self) {
        self.upkeep.store(FREE, Release);
    }

    /// The first page as it is once these slots lie on these drives, in a slot that is not hollow.
    pub(crate) fn moved_page(&self, moved: &[(usize, DriveId)]) -> VolumePage {
        let placement = self.placement();
        let mut page = self.page.clone();
        page.drives = placement.drives.iter().map(|drive| drive.id).collect();
        moved.iter().for_each(|&(slot, drive)| page.drives[slot] = drive);
        page.moves = placement.moves.saturating_add(moved.len() as u16);
        page.hollow = false;
        page
    }

    /// Whether the slot's first page says what it should. Also when the slot cannot be read: that is another matter.
    pub(crate) async fn is_first_page_whole(&self, slot: usize) -> bool {
        match self.read_slot(slot, SlotOffset(0), 1).await {
            Ok(page) => VolumePage::decode(&page[..PAGE_BYTES]).is_ok_and(|(page, said)| {
                said == slot
                    && page.agrees_with(&self.page)
                    && page.drives.get(slot) == Some(&self.drive(slot).id)
                    && page.hollow == (self.hollow_slots.load(Acquire) & (1 << slot) != 0)
            }),
            Err(SlotError::Io(_)) => false,
            Err(SlotError::Gone | SlotError::Ended | SlotError::Full) => true,
        }
    }

    /// Writes the slot's first page again as it should be now. Durable when it returns.
    pub(crate) async fn rewrite_first_page(&self, _mending: &Mending, slot: usize) -> Result<(), SlotError> {
        let hollow = self.hollow_slots.load(Acquire) & (1 << slot) != 0;
        let page = VolumePage { hollow, ..self.moved_page(&[]) };
        let mut buffer = rt::buf::alloc(PAGE_BYTES).await;
        buffer[..PAGE_BYTES].copy_from_slice(&page.encode(slot));
        let drive = self.usable(slot)?;
        let write = async {
            let file = self.file(slot, &drive, Op::Write).await?;
            let _in_flight = drive.begin();
            let (result, _) = file.write_at(buffer.window(0..PAGE_BYTES), 0, Sync::Data).await;
            self.judge(&drive, result, Op::Write)
        };
        drive.while_used(write).await.unwrap_or(Err(SlotError::Gone))
    }

    /// Writes the first page of a slot that counts as lost for want of a right one, if there is a file of the right length in
    /// its place that is not plainly something else. False: there is not. When it is true the slot can be read, and is hollow:
    /// what its page said of that is not known.
    pub(crate) async fn restore_first_page(&self, mending: &Mending, slot: usize) -> Result<bool, SlotError> {
        let drive = self.drive(slot);
        if !drive.is_usable() {
            return Ok(false);
        }
        let page = VolumePage { hollow: true, ..self.moved_page(&[]) };
        let (path, slot_bytes) = (drive.volume_path(self.id, slot), self.slot_bytes);
        let (ours, encoded) = (page.clone(), page.encode(slot));
        let restoring = async move {
            let Ok(file) = File::open(&path, OpenOptions::READ_WRITE_DIRECT).await else { return Ok(false) };
            let is_long_enough = rt::file::metadata(&path).await.is_ok_and(|metadata| metadata.len == slot_bytes);
            let (result, mut buffer) = file.read_at(rt::buf::alloc(PAGE_BYTES).await, PAGE_BYTES, 0).await;
            // A page that is right but for this place: the file was put here by somebody.
            let is_other = result.is_ok()
                && VolumePage::decode(&buffer[..PAGE_BYTES]).is_ok_and(|(page, said)| {
                    said != slot || !page.agrees_with(&ours) || page.drives.get(slot) != ours.drives.get(slot)
                });
            if !is_long_enough || is_other {
                return Ok(false);
            }
            buffer[..PAGE_BYTES].copy_from_slice(&encoded);
            file.write_at(buffer.window(0..PAGE_BYTES), 0, Sync::Data).await.0.map(|_| true)
        };
        // What a drive does late is found right by the next attempt.
        let Some(result) = drive.attempt(restoring).await else { return Ok(false) };
        if !self.judge(&drive, result, Op::Write)? {
            return Ok(false);
        }
        self.move_slots(mending, &page, &[(slot, drive.clone())]).await;
        Ok(true)
    }

    /// Slots lie on other drives, or in new files, from here on: those were made whole, or hollow as the page says, and durable
    /// with their names. Files that shards still have open of the old places are closed.
    pub(crate) async fn move_slots(&self, _mending: &Mending, page: &VolumePage, moved: &[(usize, Arc<Drive>)]) {
        // Slots that are lost are not opened by anybody, so nobody keeps a file of a slot that was made again in its place.
        self.close_everywhere().await;
        {
            let mut placement = self.placement.write().unwrap_or_else(PoisonError::into_inner);
            placement.moves = page.moves;
            for (slot, drive) in moved {
                let old = std::mem::replace(&mut placement.drives[*slot], drive.clone());
                match page.hollow {
                    true => self.hollow_slots.fetch_or(1 << slot, AcqRel),
                    false => self.hollow_slots.fetch_and(!(1 << slot), AcqRel),
                };
                let was_there = self.lost_slots.fetch_and(!(1 << slot), AcqRel) & (1 << slot) == 0;
                if was_there && old.is_usable() && old.id != drive.id {
                    self.add_stray(*slot, old);
                }
            }
        }
        self.close_everywhere().await;
    }

    /// Every stripe that is needed was found whole: the slot lacks nothing. Durable when it returns.
    pub(crate) async fn fill_in(&self, mending: &Mending, slot: usize) -> Result<(), SlotError> {
        self.hollow_slots.fetch_and(!(1 << slot), AcqRel);
        let written = self.rewrite_first_page(mending, slot).await;
        if written.is_err() {
            self.hollow_slots.fetch_or(1 << slot, AcqRel);
        }
        written
    }

    pub(super) fn set_hollow(&self, slots: u32) {
        self.hollow_slots.store(slots, Release);
    }

    async fn close_everywhere(&self) {
        let id = self.id;
        for shard in 0..rt::shard_count() {
            rt::call(rt::ShardId(shard), move || async move { files::close(id) }).await;
        }
    }

    pub(super) fn add_stray(&self, slot: usize, drive: Arc<Drive>) {
        self.strays.lock().unwrap_or_else(PoisonError::into_inner).push((slot, drive));
    }

    /// Files that were slots of this volume before those moved; they are no source of anything any more.
    pub(crate) fn strays(&self) -> Vec<(usize, Arc<Drive>)> {
        self.strays.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn forget_stray(&self, slot: usize, drive: DriveId) {
        let mut strays = self.strays.lock().unwrap_or_else(PoisonError::into_inner);
        strays.retain(|(stray, on)| (*stray, on.id) != (slot, drive));
    }

    /// Every file that the volume has on drives that are there, strays included.
    pub(super) fn files(&self) -> Vec<(usize, Arc<Drive>)> {
        let mut files: Vec<_> = self.placement().drives.iter().cloned().enumerate().collect();
        files.extend(self.strays());
        files.retain(|(_, drive)| drive.is_usable());
        files
    }
}

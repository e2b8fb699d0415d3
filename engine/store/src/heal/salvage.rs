//! What drives that were taken out still have of stripes that lack fragments.
//!
//! Such a drive is not trusted: it may lack anything, and what it says of ends and tables is of an earlier time. But a fragment
//! whose header and checksums are right is right, whoever has it. So into the hollow slots of a volume is copied what their
//! former files have, fragment by fragment. Nothing on the drive is changed.

use std::io;
use std::sync::Arc;

use rt::file::{File, OpenOptions, Sync};

use super::FRAGMENTS_REPAIRED;
use super::check::{Found, judge};
use super::mend::pooled;
use super::pace::Pace;
use super::pieces::PIECE_PAGES;
use super::standing::{Standing, covers, live_extents};
use crate::drive::{Drive, State};
use crate::format::fragment::{fragment_pages, used_pages};
use crate::format::volume::VolumePage;
use crate::ids::{PAGE_BYTES, SlotOffset};
use crate::node::Node;
use crate::stripe::header_at;
use crate::volume::{Class, Mending, Volume};

/// Copies what former drives have of the hollow slots. False: the store is being closed.
pub(super) async fn salvage(node: &Arc<Node>, volume: &Arc<Volume>, _mending: &Mending, pace: &mut Pace) -> bool {
    let live = match volume.class {
        Class::Data => match live_extents(volume.id).await {
            Ok(extents) => Some(extents),
            Err(_) => return true,
        },
        Class::Log => None,
    };
    let end = Standing::of(node, volume).await.end;
    let drives = node.drives();
    for drive in drives.iter().filter(|drive| drive.state() == State::Out && !drive.dir.as_os_str().is_empty()) {
        for slot in (0..volume.geometry.width()).filter(|slot| volume.hollow_slots() & (1 << slot) != 0) {
            let Some(former) = Former::open(volume, slot, drive).await else { continue };
            let is_live = |at| live.as_ref().is_none_or(|extents| covers(volume.geometry, extents, at));
            match former.copy(volume, end, is_live, pace).await {
                Ok(0) => {}
                Ok(copied) => telemetry::info!(
                    "{copied} fragments were fetched from a drive that had been taken out";
                    volume = volume.id, slot = slot, drive = drive.dir.display()
                ),
                // It was taken out for a reason; or somebody empties it.
                Err(error) => {
                    telemetry::warn!("a drive that was taken out cannot be read: {error}"; drive = drive.dir.display());
                }
            }
            if node.heal.is_stopping() {
                return false;
            }
        }
    }
    true
}

/// What was a slot of a volume.
struct Former {
    slot: usize,
    file: File,
}

impl Former {
    /// `None` unless there is a file that says that it was this slot on this drive.
    async fn open(volume: &Volume, slot: usize, drive: &Drive) -> Option<Former> {
        let file = File::open(drive.volume_path(volume.id, slot), OpenOptions::READ_DIRECT).await.ok()?;
        let former = Former { slot, file };
        let page = former.read(SlotOffset(0), 1).await.ok()?;
        let (page, said) = VolumePage::decode(&page).ok()?;
        let is_it = said == slot && page.agrees_with(volume.page()) && page.drives.get(slot) == Some(&drive.id);
        is_it.then_some(former)
    }

    async fn read(&self, at: SlotOffset, pages: u32) -> io::Result<Vec<u8>> {
        let len = pages as usize * PAGE_BYTES;
        let buffer = rt::buf::alloc_checked(len).await.map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let (result, buffer) = self.file.read_at(buffer, len, at.bytes()).await;
        Ok(buffer[..result?.min(len) / PAGE_BYTES * PAGE_BYTES].to_vec())
    }

    /// Copies the fragments that are right here and not in the slot as it is now; how many.
    async fn copy(
        &self,
        volume: &Volume,
        end: SlotOffset,
        is_live: impl Fn(SlotOffset) -> bool,
        pace: &mut Pace,
    ) -> io::Result<u64> {
        let (mut copied, mut at) = (0, SlotOffset::FIRST_STRIPE);
        let end = end.min(volume.end());
        let mut piece: (SlotOffset, Vec<u8>) = (at, Vec::new());
        while at < end {
            let held = (at.0 - piece.0.0) as usize * PAGE_BYTES;
            if held >= piece.1.len() {
                let bytes = self.read(at, PIECE_PAGES.min(end.0 - at.0)).await?;
                if bytes.is_empty() || !pace.spend(bytes.len() as u64).await {
                    break;
                }
                piece = (at, bytes);
                continue;
            }
            let Some(header) = header_at(volume.page(), self.slot, at, &piece.1[held..held + PAGE_BYTES]) else {
                at = at.advance(1);
                continue;
            };
            let pages = used_pages(header.fragment_len, header.used());
            if is_live(at) {
                let index = usize::from(header.index);
                let is_good = |bytes: &[u8]| {
                    bytes.len() == pages as usize * PAGE_BYTES && judge(volume, &header, index, bytes) == Found::Good
                };
                let there = volume.read_slot(self.slot, at, pages).await;
                let is_there = there.is_ok_and(|there| is_good(&there[..pages as usize * PAGE_BYTES]));
                let bytes = if is_there { Vec::new() } else { self.read(at, pages).await? };
                if !is_there
                    && is_good(&bytes)
                    && let Some(shared) = pooled(&bytes).await
                    && volume.write_slot(self.slot, at, shared, Sync::Data).await.is_ok()
                {
                    FRAGMENTS_REPAIRED.add(1);
                    copied += 1;
                }
            }
            at = at.advance(fragment_pages(header.fragment_len));
        }
        Ok(copied)
    }
}

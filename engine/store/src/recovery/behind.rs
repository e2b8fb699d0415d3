//! Drives that lack what they had acknowledged: restored from an image of an earlier time, swapped for a copy, or lying.
//!
//! A batch that something vouches for was durable on every drive of its volume. So a drive that is there and has nothing
//! where its fragment should be has gone back in time since. Rot leaves something else than zeros, and costs the fragments it
//! hits; but a drive of an earlier time lacks all that came later, large bodies and whole volumes as well, and nobody would
//! know before the scrub comes by. Therefore the end of each stream is looked at, which every drive should have.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::read::{Stripe, last_before};
use crate::ids::{DriveId, PAGE_BYTES, SlotOffset};
use crate::planted::{self, Bug};
use crate::volume::Volume;

/// Batches at the end of a stream that are looked at, at most: a small one has no fragment on most drives.
pub(super) const STRIPES_MAX: usize = 64;

/// Has the drives verified that lack a fragment of the last batch which was durable and should have one on them. Those batches
/// are the ones in `vouched_for`, the last of them last, and before them what lies before `from` in `volume`, where reading
/// began: a checkpoint's position is there.
pub(super) async fn look(mut vouched_for: Vec<Stripe>, volume: &Arc<Volume>, from: SlotOffset) {
    if planted::is(Bug::BehindNotNoticed) {
        return;
    }
    let newest = vouched_for.last().map_or(volume, |stripe| &stripe.volume);
    let mut unseen: BTreeSet<DriveId> =
        (0..newest.geometry.width()).map(|slot| newest.drive(slot)).filter(|d| d.is_usable()).map(|d| d.id).collect();
    let mut before = from;
    for _ in 0..STRIPES_MAX {
        if unseen.is_empty() {
            return;
        }
        let stripe = match vouched_for.pop() {
            Some(stripe) => stripe,
            None => {
                let Some(stripe) = last_before(volume, before).await else { return };
                before = stripe.at();
                stripe
            }
        };
        for slot in stripe.expected_slots() {
            if unseen.remove(&stripe.volume.drive(slot).id) && lacks(&stripe, slot).await {
                stripe.volume.distrust(slot).await;
            }
        }
    }
}

/// Whether the slot's drive is there and has nothing at all where the stripe's fragment should be.
async fn lacks(stripe: &Stripe, slot: usize) -> bool {
    let volume = &stripe.volume;
    let drive = volume.drive(slot);
    if !drive.is_usable() {
        return false;
    }
    if !volume.is_readable(slot) {
        // Gone, and not only its first page.
        return matches!(rt::file::exists(drive.volume_path(volume.id, slot)).await, Ok(false));
    }
    let page = volume.read_slot(slot, stripe.at(), 1).await;
    page.is_ok_and(|page| page[..PAGE_BYTES].iter().all(|&byte| byte == 0))
}

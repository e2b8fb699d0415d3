//! Repair of one stripe where it lies: what is bad or missing on drives that are there is computed from the rest, written
//! again, read back and verified.

use std::sync::Arc;

use rt::buf::{Shared, Window};

use super::check::{Checked, Found, check, compute, judge};
use super::pieces::Pieces;
use super::{FRAGMENTS_REPAIRED, REPAIRS_FAILED};
use crate::ids::{PAGE_BYTES, SlotOffset};
use crate::planted::{self, Bug};
use crate::volume::{Mending, Volume};

/// What a repair came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mended {
    /// Fragments that are right again.
    pub(super) repaired: u64,
    /// Fragments that are not: their drive did not take them.
    pub(super) failed: u64,
    /// Too few fragments are right to compute anything from.
    pub(super) too_few: bool,
    pub(super) bytes: u64,
}

/// Checks the stripe at `at` anew and repairs it. The volume takes no more stripes: then each fragment has one right content,
/// and writing it again can do no harm. The right to mend keeps it from being punched in between.
pub(super) async fn mend(volume: &Arc<Volume>, _mending: &Mending, at: SlotOffset) -> Mended {
    // Nothing is read beyond what the stripe itself needs.
    let mut pieces = Pieces::new(volume.clone(), at.advance(1));
    let checked = check(&mut pieces, at, None).await;
    let mut mended = mend_checked(&pieces, &checked).await;
    mended.bytes += pieces.take_bytes_read();
    mended
}

/// The same with a stripe that was checked while the right to mend was held.
pub(super) async fn mend_checked(pieces: &Pieces, checked: &Checked) -> Mended {
    let mut mended = Mended::default();
    let Some(stripe) = checked.header else { return mended };
    let bad = checked.to_mend();
    if bad.is_empty() {
        return mended;
    }
    let Some(computed) = compute(pieces, checked, &bad) else {
        mended.too_few = true;
        return mended;
    };
    let (volume, at) = (&pieces.volume, stripe.slot_offset);
    for (index, bytes) in computed {
        let slot = volume.slot_of(at, index);
        assert!(judge(volume, &stripe, index, &bytes) == Found::Good, "what was computed is right");
        let pages = (bytes.len() / PAGE_BYTES) as u32;
        let written = match pooled(&bytes).await {
            Some(_) if planted::is(Bug::RepairNotWritten) => true,
            Some(shared) => volume.write_slot_while_used(slot, at, shared).await.is_ok(),
            None => false,
        };
        let read = if written { volume.read_slot(slot, at, pages).await.ok() } else { None };
        if read.is_some_and(|read| read[..bytes.len()] == bytes[..] || planted::is(Bug::RepairNotWritten)) {
            FRAGMENTS_REPAIRED.add(1);
            mended.repaired += 1;
            mended.bytes += 2 * bytes.len() as u64;
        } else {
            REPAIRS_FAILED.add(1);
            mended.failed += 1;
        }
    }
    mended
}

/// The bytes in a buffer of the pool, as direct writes need them; `None` if no buffer is as large.
pub(super) async fn pooled(bytes: &[u8]) -> Option<Shared> {
    let mut buffer = rt::buf::alloc_checked(bytes.len()).await.ok()?;
    buffer[..bytes.len()].copy_from_slice(bytes);
    Some(Shared::from(Window::new(buffer, 0..bytes.len())))
}

//! What a slot leaves behind when it moves to another drive.

use std::sync::Arc;

use super::proof::ProvenDead;
use crate::drive::Drive;
use crate::volume::{Mending, Volume};

/// A file that was a slot of a volume before the slot moved.
pub(crate) struct Stray {
    pub(crate) slot: usize,
    pub(crate) drive: Arc<Drive>,
}

/// The files of `volume` that are strays for sure.
///
/// The proof: the slot lies on another drive now, where its file is there, was made whole and durable before the slot moved,
/// and names itself in its first page with more moves. The volume takes no more stripes, and the slot is not hollow, so the old
/// file has nothing that the new one lacks. Nothing moves back meanwhile, since moving takes the same right to mend.
pub(crate) fn strays(volume: &Volume, _mending: &Mending) -> Vec<ProvenDead<Stray>> {
    let solid = volume.solid_slots();
    let moved = |(slot, drive): &(usize, Arc<Drive>)| solid & 1 << slot != 0 && volume.drive(*slot).id != drive.id;
    let strays = volume.strays().into_iter().filter(moved);
    strays.map(|(slot, drive)| ProvenDead::new(Stray { slot, drive })).collect()
}

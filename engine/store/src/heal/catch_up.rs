//! Drives that are behind: all that they hold is verified and repaired, at the pace of a rebuild, before they count as whole.
//!
//! What such a drive has is right, for fragments say themselves whether they are; what it lacks is not where the index says.
//! The mark is in the epoch, so a start begins again where one was broken off.

use std::sync::Arc;

use rt::ShardId;

use super::pace::Pace;
use super::rebuild::slots_to_move;
use super::scrub::scrub;
use crate::ids::VolumeId;
use crate::node::{Mark, Node};
use crate::volume::Volume;

/// How far it has come.
pub(super) struct CatchUp {
    /// Volumes below it were verified.
    next: VolumeId,
    /// Fragments that could not be repaired.
    left: u64,
}

impl Default for CatchUp {
    fn default() -> CatchUp {
        CatchUp { next: VolumeId(0), left: 0 }
    }
}

impl CatchUp {
    /// Verifies volumes with slots on drives that are behind, one on each shard at a time, until it is through, or one round of
    /// them when something is to be rebuilt. False: it came to the end, and not everything could be repaired.
    pub(super) async fn go_on(&mut self, node: &Arc<Node>) -> bool {
        loop {
            let drives = node.drives();
            let behind: Vec<_> = drives.iter().filter(|drive| drive.is_behind() && drive.is_usable()).collect();
            if behind.is_empty() || node.heal.is_stopping() {
                return true;
            }
            let mut volumes = node.volumes();
            let is_behind = |volume: &Volume| {
                let mut slots = 0..volume.geometry.width();
                slots.any(|slot| behind.iter().any(|drive| drive.id == volume.drive(slot).id))
            };
            // What this start writes is there: the drive was seen to answer.
            volumes.retain(|volume| volume.id >= self.next && volume.id.start() < node.start && is_behind(volume));
            volumes.truncate(usize::from(rt::shard_count()));
            let Some(last) = volumes.last().map(|volume| volume.id) else {
                let left = std::mem::take(self).left;
                if left > 0 {
                    telemetry::error!("{left} fragments of drives that are behind cannot be repaired");
                    return false;
                }
                for drive in behind {
                    match node.mark(Mark::CaughtUp(drive.id)).await {
                        Ok(()) => telemetry::info!("a drive that was behind is whole"; drive = drive.dir.display()),
                        Err(error) => telemetry::warn!("it cannot be noted that a drive is whole: {error}"),
                    }
                }
                return true;
            };
            let Some(left) = verify(node, volumes).await else { return true };
            self.left += left;
            self.next = VolumeId(last.0 + 1);
            if node.volumes().iter().any(|volume| !slots_to_move(volume).is_empty()) {
                // The rebuild has its turn before the next ones.
                return true;
            }
        }
    }
}

/// Verifies and repairs these volumes, each on a shard of its own; how many fragments stay bad. `None`: broken off.
async fn verify(node: &Arc<Node>, volumes: Vec<Arc<Volume>>) -> Option<u64> {
    let verified: Vec<_> = (0..rt::shard_count())
        .zip(volumes)
        .map(|(shard, volume)| {
            let node = node.clone();
            rt::spawn(rt::call(ShardId(shard), move || async move {
                let rate = node.config.rebuild_bytes_per_second / u64::from(rt::shard_count());
                let mut pace = Pace::new(node.clone(), rate);
                scrub(&node, &volume, &mut pace).await
            }))
        })
        .collect();
    let mut left = Some(0);
    for verified in verified {
        left = left.zip(verified.await).map(|(left, more)| left + more);
    }
    left
}

//! Hollow slots: made again when not everything could be computed that may be needed.
//!
//! They are looked at by the index, since a stripe may be gone without leaving anything that says so: every stripe of their
//! volumes that something needs. What can be computed is written, what a drive that was taken out still has is fetched from it,
//! and the rest is lost. When nothing is missing any more the slots are like any other.

use std::sync::Arc;

use super::census::{State, broken_stripes};
use super::pace::Pace;
use super::salvage::salvage;
use super::scrub::repair;
use super::standing::{Standing, is_below_checkpoints};
use crate::error::Result;
use crate::ids::SlotOffset;
use crate::node::Node;
use crate::volume::{Class, Volume};

/// Has another look at all volumes with hollow slots. What fails is tried again at the next look.
pub(super) async fn look(node: &Arc<Node>) {
    let volumes = hollow_volumes(node);
    if volumes.is_empty() {
        return;
    }
    let mut pace = Pace::new(node.clone(), node.config.rebuild_bytes_per_second);
    for volume in &volumes {
        if let Some(mending) = volume.begin_mending()
            && Standing::of(node, volume).await.settled
            && !salvage(node, volume, &mending, &mut pace).await
        {
            return;
        }
    }
    if let Err(error) = settle(node, volumes).await {
        telemetry::warn!("it is not known what hollow slots lack: {error}");
    }
}

/// Volumes that have slots which may lack something.
pub(super) fn hollow_volumes(node: &Node) -> Vec<Arc<Volume>> {
    let mut volumes = node.volumes();
    volumes.retain(|volume| volume.hollow_slots() != 0);
    volumes
}

async fn settle(node: &Arc<Node>, volumes: Vec<Arc<Volume>>) -> Result<()> {
    let first = broken_stripes(node, volumes.clone()).await?;
    for volume in &volumes {
        for (at, _) in first.get(&volume.id).into_iter().flatten().filter(|(_, state)| *state == State::Short) {
            repair(volume, *at).await;
        }
    }
    let is_broken = |volume: &Arc<Volume>| first.get(&volume.id).is_some_and(|broken| !broken.is_empty());
    let again = broken_stripes(node, volumes.iter().filter(|volume| is_broken(volume)).cloned().collect()).await?;
    for volume in volumes {
        let broken = match is_broken(&volume) {
            true => again.get(&volume.id),
            false => first.get(&volume.id),
        };
        let Some(broken) = broken else { continue };
        for (at, _) in broken.iter().filter(|(_, state)| *state == State::Lost) {
            node.heal.lose(node, (volume.id, *at));
        }
        // Of a log volume that was closed before its first batch no checkpoint need ever lie beyond it.
        let is_needed_by_index_alone = volume.class == Class::Data
            || Standing::of(node, &volume).await.end <= SlotOffset::FIRST_STRIPE
            || is_below_checkpoints(volume.id).await?;
        if broken.is_empty() && is_needed_by_index_alone && volume.missing_slots() == 0 {
            fill_in(&volume).await;
        }
    }
    Ok(())
}

/// Nothing is missing in any slot of the volume.
async fn fill_in(volume: &Arc<Volume>) {
    let Some(mending) = volume.begin_mending() else { return };
    for slot in (0..volume.geometry.width()).filter(|slot| volume.hollow_slots() & (1 << slot) != 0) {
        match volume.fill_in(&mending, slot).await {
            Ok(()) => telemetry::info!("a slot has again all that is needed of it"; volume = volume.id, slot = slot),
            Err(error) => {
                telemetry::warn!("the first page of a slot cannot be written again: {error}"; volume = volume.id, slot = slot);
            }
        }
    }
}

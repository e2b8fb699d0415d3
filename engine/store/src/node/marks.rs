//! What an epoch keeps beside who is in: drives that are drained, drives that are behind, whether slots are evened out. So
//! it outlasts the process, and all drives agree on it.

use std::sync::Arc;

use super::Node;
use super::epoch::change;
use crate::drive::Drive;
use crate::error::{Error, Result};
use crate::ids::DriveId;
use crate::topology::{Rebalance, Topology, in_own_task, may_shrink};

/// A change of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// What the drive holds is moved to others, and nothing new is placed on it.
    Drain(DriveId),
    Undrain(DriveId),
    /// The drive lacked what it had acknowledged.
    Behind(DriveId),
    /// All that it holds was verified since.
    CaughtUp(DriveId),
    /// Slots are moved until drives are about equally full.
    Rebalance(Rebalance),
    NoRebalance,
}

impl Mark {
    /// False: the drive is not among those that are in.
    fn apply(self, topology: &mut Topology) -> bool {
        let id = match self {
            Mark::Drain(id) | Mark::Undrain(id) | Mark::Behind(id) | Mark::CaughtUp(id) => id,
            Mark::Rebalance(rebalance) => {
                topology.rebalance = Some(rebalance);
                return true;
            }
            Mark::NoRebalance => {
                topology.rebalance = None;
                return true;
            }
        };
        let Some(member) = topology.member_mut(id).filter(|member| member.is_in()) else { return false };
        match self {
            Mark::Drain(_) => member.is_draining = true,
            Mark::Undrain(_) => member.is_draining = false,
            Mark::Behind(_) => member.is_behind = true,
            Mark::CaughtUp(_) => member.is_behind = false,
            Mark::Rebalance(_) | Mark::NoRebalance => {}
        }
        true
    }
}

impl Node {
    /// Makes a mark durable on all drives that are in. Idempotent; may be called on any shard.
    ///
    /// Errors: `NotFound` when the drive is not among those that are in; `Unavailable` as of any change of the epoch.
    pub(crate) async fn mark(self: &Arc<Node>, mark: Mark) -> Result<()> {
        let node = self.clone();
        in_own_task(move || mark_here(node, mark)).await
    }
}

impl Node {
    /// Has all verified that a drive holds, since it lacks what it had acknowledged.
    pub(crate) async fn distrust(self: &Arc<Node>, drive: &Drive) {
        if drive.is_behind() {
            return;
        }
        telemetry::error!(
            "a drive lacks what it had acknowledged: it was restored from an earlier time, or lost writes; all that it holds \
             is verified now";
            drive = drive.dir.display()
        );
        if let Err(error) = self.mark(Mark::Behind(drive.id)).await {
            telemetry::warn!("it cannot be noted that a drive is behind: {error}"; drive = drive.dir.display());
        }
    }
}

async fn mark_here(node: Arc<Node>, mark: Mark) -> Result<()> {
    let _turn = node.turns.take().await;
    let topology = node.topology();
    let mut marked = Topology::clone(&topology);
    if !mark.apply(&mut marked) {
        return Err(Error::NotFound);
    }
    if marked == *topology {
        return Ok(());
    }
    // A drive that fails meanwhile is out, and needs no mark.
    change(&node, Vec::new(), None, may_shrink, |next| {
        // A member of the epoch that counts is one of the next.
        let _is_member = mark.apply(next);
    })
    .await?;
    Ok(())
}

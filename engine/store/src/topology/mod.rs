//! Epochs: which drives count, what a start may go on with, where volumes and partitions are placed.
//!
//! An epoch counts when it is durable on *all* drives of its own in-set, which keeps at least n-P members of the
//! previous one. There is no majority and no log of epochs: the rules in `decide` make two lines of epochs that both
//! count impossible, or refuse to start.
//!
//! An epoch may also have one member more than its parent. The identity of a new member is made anew for each attempt, so
//! that every drive joins by one epoch only, and all epochs that list it descend from that one. That keeps the rules: a start
//! that goes on from the parent has more than P of its members or all of them, and one that goes on from the larger epoch
//! misses P of its own at most, so the two have a drive in common.

mod decide;
pub(crate) mod file;
mod placement;
mod refusal;
mod turn;

pub(crate) use decide::{Chosen, Decision, Found, Seen, Wanted, decide, may_retire, may_shrink, may_start};
pub(crate) use placement::{copies, default_parity, drives_needed, geometry_for, mix, pick};
pub use refusal::{AdmitError, OpenError};
pub(crate) use turn::{TurnQueue, in_own_task};

use crate::format::topology::ANCESTORS_MAX;
pub(crate) use crate::format::topology::{DRIVES_MAX, Member, PARTITIONS_MAX, Rebalance, Topology};
use crate::ids::{DeploymentId, DriveId, StartNumber};

/// Number of the epoch that forms a deployment. Data is written from the next one on.
pub(crate) const FORMING: u64 = 1;

/// The first epoch of a new deployment: all drives are in, no start has been made.
pub(crate) fn form(
    deployment: DeploymentId,
    id: u64,
    drives: &[DriveId],
    parity: u8,
    partition_count: u16,
) -> Topology {
    let drives: Vec<Member> = drives.iter().map(|&drive| Member::new(drive)).collect();
    Topology {
        deployment,
        number: FORMING,
        id,
        ancestors: Vec::new(),
        start: StartNumber::new(0).expect("0 is in range"),
        parity,
        rebalance: None,
        drives,
        // The log has everything: no copy of any table counts yet.
        in_sync: vec![0; usize::from(partition_count)],
    }
}

/// The epoch after `previous`, without the drives in `out`. Their copies of partitions are in sync no more: see `is_in_sync`.
pub(crate) fn next(previous: &Topology, id: u64, start: StartNumber, out: &[DriveId]) -> Topology {
    let number = previous.number + 1;
    let mut ancestors = Vec::with_capacity(ANCESTORS_MAX);
    ancestors.push(previous.id);
    ancestors.extend(previous.ancestors.iter().take(ANCESTORS_MAX - 1));
    let drives: Vec<Member> = previous
        .drives
        .iter()
        .map(|&member| if member.is_in() && out.contains(&member.drive) { member.out(number) } else { member })
        .collect();
    Topology { number, id, ancestors, start, drives, ..previous.clone() }
}

/// `epoch` with one more member, which holds nothing yet. Panics when the list is full or has it: the caller looked.
pub(crate) fn with_member(mut epoch: Topology, drive: DriveId) -> Topology {
    assert!(epoch.drives.len() < DRIVES_MAX && epoch.member(drive).is_none(), "a new member has a new place");
    // Masks of copies in sync are by place: a new place at the end leaves them as they are.
    epoch.drives.push(Member::new(drive));
    epoch
}

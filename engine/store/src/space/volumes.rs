//! Whole volumes: gone when nothing live is in them and nothing needs them for recovery.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use rt::ShardId;

use super::proof::ProvenDead;
use super::readers;
use crate::error::{Error, Result};
use crate::format::batch::Ckpt;
use crate::ids::{DriveId, PartitionId, VolumeId};
use crate::node::Node;
use crate::partition::Live;
use crate::planted::{self, Bug};
use crate::store::{ShardStore, try_local};
use crate::volume::{Class, Volume};

static REMOVED: telemetry::Counter =
    telemetry::Counter::new("hafiz_volumes_removed_total", "Volumes that were removed.");

/// What all shards know of volumes, at one moment each.
pub(super) struct Census {
    live: HashMap<VolumeId, Live>,
    ckpts: Vec<(PartitionId, Ckpt)>,
    /// The drives whose copies of a partition's tables hold its checkpoint.
    copies: Vec<(PartitionId, Vec<DriveId>)>,
    /// A copy was found to be bad and counts no more.
    any_bad: bool,
    /// A commit failed that a recovery may yet find: volumes of this start stay.
    pub(super) uncertain: bool,
    /// Acknowledged commits of a partition cannot be read: what they name is not counted.
    damaged: bool,
}

impl Census {
    /// Asks every shard. Counters and checkpoints are those of durable entries. `NotFound` while the store is being closed.
    pub(super) async fn take() -> Result<Census> {
        let mut census = Census {
            live: HashMap::new(),
            ckpts: Vec::new(),
            copies: Vec::new(),
            any_bad: false,
            uncertain: false,
            damaged: false,
        };
        for shard in 0..rt::shard_count() {
            let answer = rt::call(ShardId(shard), || async {
                let store = try_local().ok_or(Error::NotFound)?;
                let partitions = store.partitions().all();
                let live: Vec<_> = partitions.iter().flat_map(|partition| partition.all_live()).collect();
                let ckpts: Vec<_> = partitions.iter().map(|partition| (partition.id(), partition.ckpt())).collect();
                let copies: Vec<_> = partitions.iter().map(|partition| store.whole_copies(partition)).collect();
                let damaged = partitions.iter().any(|partition| partition.is_damaged());
                let any_bad = partitions.iter().any(|partition| partition.has_bad_copies());
                Ok::<_, Error>((live, ckpts, copies, any_bad, store.partitions().any_failed(), damaged))
            });
            let (live, ckpts, copies, any_bad, uncertain, damaged) = answer.await?;
            census.any_bad |= any_bad;
            census.copies.extend(copies);
            live.into_iter().for_each(|(volume, live)| *census.live.entry(volume).or_default() += live);
            census.ckpts.extend(ckpts);
            census.uncertain |= uncertain;
            census.damaged |= damaged;
        }
        Ok(census)
    }

    /// Whether all copies that each partition shall have are there: after drives came or went the next flush makes them.
    fn is_copied(&self, node: &Node) -> bool {
        self.copies.iter().all(|(id, there)| node.partition_copies(*id).iter().all(|drive| there.contains(&drive.id)))
    }

    /// The proof that nobody needs a volume; see `free_dead_volumes`. It was idle before this census was taken.
    fn is_dead(&self, node: &Node, volume: &Volume) -> bool {
        let id = volume.id;
        let unneeded = match volume.class {
            Class::Data => true,
            Class::Log => self.is_covered(id) && self.is_copied(node),
        };
        unneeded && !self.damaged && self.live(id) == Live::default() && !(self.uncertain && id.start() == node.start)
    }

    pub(super) fn live(&self, volume: VolumeId) -> Live {
        self.live.get(&volume).copied().unwrap_or_default()
    }

    /// Whether no recovery will read this log volume: every partition's tables, on all their copies, hold what is in it.
    pub(super) fn is_covered(&self, volume: VolumeId) -> bool {
        self.ckpts.iter().all(|(_, ckpt)| ckpt.position.is_some_and(|position| is_before(volume, position.volume)))
    }
}

/// Whether a checkpoint in the volume `at` covers all of `volume`. Within a start a partition lives in one stream, and its
/// checkpoint there covers all earlier starts.
fn is_before(volume: VolumeId, at: VolumeId) -> bool {
    if volume.start() != at.start() {
        return volume.start() < at.start();
    }
    volume.shard() != at.shard() || volume.counter() < at.counter() + u32::from(planted::is(Bug::LogFreedUncovered))
}

/// Removes every volume that is proved dead.
///
/// The proof for a data volume: it takes no more stripes, no body that is being received or committed has any in it, and no
/// partition counts a live byte. For a log volume: every checkpoint lies beyond it, and no partition counts a live byte.
/// The first half is looked at before the counters are asked, so that nothing can become live in between.
pub(super) async fn free_dead_volumes(store: &Rc<ShardStore>) -> Result<()> {
    let idle: BTreeSet<VolumeId> =
        store.node().volumes().iter().filter(|v| is_idle(v) && !v.is_mended()).map(|v| v.id).collect();
    let census = Census::take().await?;
    if census.damaged {
        return Ok(());
    }
    let mut dead = Vec::new();
    for id in idle {
        let Ok(volume) = store.node().volume(id).await else { continue };
        if census.is_dead(store.node(), &volume) {
            dead.push(ProvenDead::new(id));
        }
    }
    // Which copies count is changed when all are there, before log volumes go that others would need; or when some are bad. A
    // copy that is only behind goes on counting, with the log from there on: as long as one is missing, all of that is kept.
    let is_due = !dead.is_empty() || store.node().topology().tables_count();
    if is_due && (census.is_copied(store.node()) || census.any_bad) {
        count_on_tables(store, &census).await?;
    }
    if dead.is_empty() {
        return Ok(());
    }
    readers::pass_on_all_shards().await?;
    for volume in dead {
        match store.node().remove_volume(volume).await {
            Ok(()) => REMOVED.add(1),
            // Its slots are mended or punched: at the next pass.
            Err(Error::Busy) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether anything that is needed could not be read without these drives. Volumes that are proved dead do not count: they are
/// only still there, and a crash may have left them with fewer slots than parity makes up for. Asks all shards when there
/// are volumes to judge.
pub(crate) async fn is_any_needed(node: &Node, drives: &[DriveId]) -> bool {
    let unreadable = node.unreadable_without(drives);
    if unreadable.iter().any(|volume| !is_idle(volume)) {
        return true;
    }
    if unreadable.is_empty() {
        return false;
    }
    match Census::take().await {
        Ok(census) => unreadable.iter().any(|volume| !census.is_dead(node, volume)),
        // What is not known is assumed.
        Err(_) => true,
    }
}

/// Before a log volume goes it is made durable which tables count: from then on a partition without any of these copies is
/// damage, not a new one.
async fn count_on_tables(store: &Rc<ShardStore>, census: &Census) -> Result<()> {
    let is_flushed = |id: PartitionId| census.ckpts.iter().any(|(other, ckpt)| *other == id && ckpt.position.is_some());
    // When no copy is known to be whole those that counted are still the best there are.
    let counts = |(id, there): &&(PartitionId, Vec<DriveId>)| is_flushed(*id) && !there.is_empty();
    let copies = census.copies.iter().filter(counts).cloned().collect();
    store.node().set_in_sync(copies).await
}

/// Whether nothing is on its way into the volume. A log volume's own stream is judged by the checkpoints.
fn is_idle(volume: &Volume) -> bool {
    match volume.class {
        Class::Data => volume.is_sealed() && !volume.is_held(),
        Class::Log => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StartNumber;

    #[test]
    fn a_checkpoint_covers_earlier_starts_other_streams_of_its_start_and_earlier_volumes_of_its_own() {
        let id = |start, shard, counter| VolumeId::new(StartNumber::new(start).expect("in range"), shard, counter);
        let check = |volume, at, expect| assert_eq!(is_before(volume, at), expect, "{volume} at {at}");
        check(id(1, 0, 9), id(2, 0, 0), true);
        check(id(2, 0, 0), id(1, 0, 9), false);
        check(id(2, 0, 3), id(2, 0, 4), true);
        check(id(2, 0, 4), id(2, 0, 4), false);
        check(id(2, 0, 5), id(2, 0, 4), false);
        check(id(2, 1, 9), id(2, 0, 0), true);
    }
}

//! Changes of the epoch while the node runs.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rt::ShardId;

use super::{Node, lock, write};
use crate::drive::Drive;
use crate::error::{Error, Result};
use crate::ids::{DriveId, PartitionId};
use crate::topology::{self, Topology, may_shrink};

/// A drive that has not written an epoch after so long has failed.
const EPOCH_WRITE_MAX: Duration = Duration::from_secs(20);

impl Node {
    /// Takes a drive out of the in-set: when this returns, an epoch without it counts, and nothing that was not written
    /// to it will be expected on it. Idempotent; may be called on any shard.
    ///
    /// Errors: `Unavailable` when too few drives would be left. The node refuses writes from then on.
    pub(crate) async fn take_out(self: &Arc<Node>, drive: DriveId, why: &'static str) -> Result<()> {
        if !self.topology().is_in(drive) {
            return Ok(());
        }
        let node = self.clone();
        // A task of its own, so that a caller that goes away leaves no turn half taken.
        rt::call(ShardId(0), move || async move { rt::spawn(take_out_here(node, drive, why)).await }).await
    }

    /// Records that the copies of these partitions' tables on these drives count from now on.
    pub(crate) async fn mark_in_sync(self: &Arc<Node>, copies: Vec<(PartitionId, DriveId)>) -> Result<()> {
        let node = self.clone();
        rt::call(ShardId(0), move || async move { rt::spawn(mark_in_sync_here(node, copies)).await }).await
    }
}

async fn take_out_here(node: Arc<Node>, id: DriveId, why: &'static str) -> Result<()> {
    let _turn = node.turns.take().await;
    if !node.topology().is_in(id) {
        return Ok(());
    }
    let changed = change(&node, vec![id], |_| {}).await;
    match &changed {
        Ok(epoch) => telemetry::warn!("a drive was taken out: {why}"; drive = id, epoch = epoch.number),
        Err(_) => {
            if let Some(drive) = node.drive(id) {
                drive.unreport();
            }
        }
    }
    changed.map(|_| ())
}

async fn mark_in_sync_here(node: Arc<Node>, copies: Vec<(PartitionId, DriveId)>) -> Result<()> {
    let _turn = node.turns.take().await;
    let topology = node.topology();
    if copies.iter().all(|&(partition, drive)| topology.is_in_sync(partition, drive)) {
        return Ok(());
    }
    change(&node, Vec::new(), |next| {
        for &(partition, drive) in &copies {
            let index = next.drives.iter().position(|member| member.drive == drive && member.is_in());
            if let (Some(index), Some(mask)) = (index, next.in_sync.get_mut(usize::from(partition.0))) {
                *mask |= 1 << index;
            }
        }
    })
    .await?;
    Ok(())
}

/// Makes an epoch without the drives in `out` durable on all others of the in-set, leaving out those on which it
/// cannot be written, and publishes it.
async fn change(node: &Arc<Node>, mut out: Vec<DriveId>, alter: impl Fn(&mut Topology)) -> Result<Arc<Topology>> {
    let counts = node.topology();
    let members = counts.in_count();
    loop {
        let kept: Vec<DriveId> = counts.in_set().filter(|drive| !out.contains(drive)).collect();
        if !may_shrink(members, kept.len(), counts.parity) {
            node.refuses_writes.store(true, Relaxed);
            return Err(Error::Unavailable("too few drives are left"));
        }
        // The parent is the last epoch written anywhere: a drive may hold it although it never counted.
        let mut next = topology::next(&lock(&node.written), rt::random::u64(), node.start, &out);
        alter(&mut next);
        *lock(&node.written) = next.clone();
        let drives: Vec<Arc<Drive>> = kept.iter().filter_map(|&id| node.drive(id).cloned()).collect();
        let failed = write_everywhere(&drives, &next).await;
        if failed.is_empty() {
            let next = Arc::new(next);
            *write(&node.topology) = next.clone();
            for drive in node.drives().iter().filter(|drive| !next.is_in(drive.id) && drive.is_usable()) {
                drive.set_out();
            }
            return Ok(next);
        }
        out.extend(failed);
    }
}

/// Writes an epoch on all `drives` at once; those that failed.
pub(super) async fn write_everywhere(drives: &[Arc<Drive>], topology: &Topology) -> Vec<DriveId> {
    let writes: Vec<_> = drives
        .iter()
        .map(|drive| {
            let (drive, topology) = (drive.clone(), topology.clone());
            rt::spawn(async move { topology::file::write(&drive.dir, &topology).await })
        })
        .collect();
    let deadline = rt::time::Instant::now() + EPOCH_WRITE_MAX;
    let mut failed = Vec::new();
    for (drive, write) in drives.iter().zip(writes) {
        let left = deadline - rt::time::Instant::now();
        // The task goes on and keeps its buffer when this gives up on it.
        match rt::time::timeout(left, write).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => {
                telemetry::error!("an epoch cannot be written"; drive = drive.dir.display(), error = error);
            }
            Err(rt::time::Elapsed) => {
                telemetry::error!("an epoch is not written in time"; drive = drive.dir.display());
            }
        }
        failed.push(drive.id);
    }
    failed
}

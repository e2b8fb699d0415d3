//! Changes of the epoch while the node runs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{Node, lock, write};
use crate::drive::Drive;
use crate::error::{Error, Result};
use crate::ids::{DriveId, PartitionId};
use crate::space;
use crate::topology::{self, Topology, in_own_task, may_shrink};

/// A drive that has not written an epoch after so long is done without, if it can be.
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
        in_own_task(move || take_out_here(node, drive, why)).await
    }

    /// Takes drives out that have not answered for long, if nothing is lost by it. Called on shard 0.
    pub(super) async fn take_out_hung(self: &Arc<Node>, hung: Vec<DriveId>) {
        let node = self.clone();
        in_own_task(move || take_out_hung_here(node, hung)).await;
    }

    /// Records that of these partitions' tables exactly the copies on these drives count from now on.
    pub(crate) async fn set_in_sync(self: &Arc<Node>, copies: Vec<(PartitionId, Vec<DriveId>)>) -> Result<()> {
        let node = self.clone();
        in_own_task(move || set_in_sync_here(node, copies)).await
    }
}

/// Writes the copies of the epoch on a drive again that are bad; how many. Called on shard 0, in a task that is not cancelled.
pub(crate) async fn mend_topology(node: &Arc<Node>, drive: &Arc<Drive>) -> io::Result<u64> {
    let _turn = node.turns.take().await;
    let topology = node.topology();
    if !drive.is_usable() || !topology.is_in(drive.id) {
        return Ok(0);
    }
    let (mended, known) = (drive.clone(), topology.clone());
    let mending = rt::spawn_foreground(async move { topology::file::mend(&mended.dir, &known).await });
    match rt::time::timeout(EPOCH_WRITE_MAX, mending).await {
        Ok(mended) => mended,
        Err(rt::time::Elapsed) => {
            // What is written later than this would go over a later epoch: none may be expected on this drive.
            if let Err(error) = change(node, vec![drive.id], None, may_shrink, |_| {}).await {
                telemetry::error!("no more writes are accepted"; error = error);
            }
            Err(io::ErrorKind::TimedOut.into())
        }
    }
}

/// All at once: while one of them hangs, an epoch that keeps it cannot become durable.
async fn take_out_hung_here(node: Arc<Node>, mut hung: Vec<DriveId>) {
    let _turn = node.turns.take().await;
    // What was late may have answered while this waited for its turn.
    hung.retain(|&id| node.topology().is_in(id) && node.drive(id).is_some_and(|drive| drive.is_late()));
    if hung.is_empty() {
        return;
    }
    let members = node.topology().in_count();
    let dirs: Vec<String> =
        hung.iter().filter_map(|&id| node.drive(id)).map(|drive| drive.dir.display().to_string()).collect();
    let dirs = dirs.join(", ");
    let outcome = if !may_shrink(members, members - hung.len(), node.topology().parity) {
        Err(Error::Unavailable("too few drives would be left"))
    } else if space::is_any_needed(&node, &hung).await {
        Err(Error::Unavailable("parity cannot make up for it"))
    } else if node.hold_last_tables(&hung) {
        Err(Error::Unavailable("the only good copy of some index tables is there"))
    } else {
        change(&node, hung, None, may_shrink, |_| {}).await
    };
    match outcome {
        Ok(epoch) => {
            telemetry::error!("what does not answer for long was taken out"; drives = dirs, epoch = epoch.number);
        }
        Err(error) => {
            telemetry::error!("drives do not answer and cannot be done without: {error}"; drives = dirs);
        }
    }
}

async fn take_out_here(node: Arc<Node>, id: DriveId, why: &'static str) -> Result<()> {
    let _turn = node.turns.take().await;
    if !node.topology().is_in(id) {
        return Ok(());
    }
    let changed = change(&node, vec![id], None, may_shrink, |_| {}).await;
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

async fn set_in_sync_here(node: Arc<Node>, copies: Vec<(PartitionId, Vec<DriveId>)>) -> Result<()> {
    let _turn = node.turns.take().await;
    let topology = node.topology();
    let members = mask(&topology, |_| true);
    let is_so = |(partition, drives): &(PartitionId, Vec<DriveId>)| {
        let there = topology.in_sync.get(usize::from(partition.0)).copied().unwrap_or(0);
        there & members == mask(&topology, |drive| drives.contains(&drive))
    };
    if copies.iter().all(is_so) {
        return Ok(());
    }
    change(&node, Vec::new(), None, may_shrink, |next| {
        for (partition, drives) in &copies {
            let there = mask(next, |drive| drives.contains(&drive));
            if let Some(mask) = next.in_sync.get_mut(usize::from(partition.0)) {
                *mask = there;
            }
        }
    })
    .await?;
    Ok(())
}

/// The members that are in and of which `f` holds, as a bit mask over the drive list.
fn mask(topology: &Topology, f: impl Fn(DriveId) -> bool) -> u64 {
    let bits = topology.drives.iter().enumerate().filter(|(_, member)| member.is_in() && f(member.drive));
    bits.fold(0, |mask, (index, _)| mask | 1 << index)
}

/// Makes an epoch without the drives in `out` and with the one that joins durable on all drives of its in-set, leaving out
/// those on which it cannot be written, be it the new one, and publishes it. `may_shrink` says how small the in-set may become.
/// Called in a turn.
pub(super) async fn change(
    node: &Arc<Node>,
    mut out: Vec<DriveId>,
    joins: Option<DriveId>,
    may_shrink: fn(usize, usize, u8) -> bool,
    alter: impl Fn(&mut Topology),
) -> Result<Arc<Topology>> {
    let counts = node.topology();
    let members = counts.in_count();
    loop {
        let kept: Vec<DriveId> = counts.in_set().filter(|drive| !out.contains(drive)).collect();
        if !may_shrink(members, kept.len(), counts.parity) {
            node.refuses_writes.store(true, Relaxed);
            return Err(Error::Unavailable("too few drives are left"));
        }
        // The parent is the last epoch written anywhere: a drive may hold it although it never counted.
        let written = lock(&node.written).clone();
        // One that was to join in an epoch that never counted does not join now.
        out.extend(written.in_set().filter(|&drive| !counts.is_in(drive) && joins != Some(drive)));
        let mut next = topology::next(&written, rt::random::u64(), node.start, &out);
        next.take_marks(&counts);
        if let Some(joins) = joins.filter(|&joins| next.member(joins).is_none()) {
            next = topology::with_member(next, joins);
        }
        alter(&mut next);
        *lock(&node.written) = next.clone();
        let joins = joins.filter(|joins| !out.contains(joins));
        let drives: Vec<Arc<Drive>> = kept.into_iter().chain(joins).filter_map(|id| node.drive(id)).collect();
        let Unwritten { failed, late } = write_everywhere(&drives, &next).await;
        if failed.is_empty() && late.is_empty() {
            let next = Arc::new(next);
            *write(&node.topology) = next.clone();
            node.drives().iter().for_each(|drive| drive.take_marks(&next));
            for drive in node.drives().iter().filter(|drive| !next.is_in(drive.id) && drive.is_usable()) {
                drive.set_out();
            }
            return Ok(next);
        }
        // What has failed goes, whatever it costs: nobody knows what it holds. What is only late goes if it can be done
        // without; else the epoch comes to nothing, and is tried again by whoever wants it.
        let gone: Vec<DriveId> = out.iter().chain(&failed).chain(&late).copied().collect();
        let kept = counts.in_set().filter(|drive| !gone.contains(drive)).count();
        let costs_data = || !node.unreadable_without(&gone).is_empty() || node.hold_last_tables(&gone);
        if !late.is_empty() && (!may_shrink(members, kept, counts.parity) || costs_data()) {
            return Err(Error::Unavailable("a drive does not answer"));
        }
        out.extend(late);
        out.extend(failed);
    }
}

/// Drives on which an epoch is not durable.
#[derive(Default)]
pub(super) struct Unwritten {
    pub(super) failed: Vec<DriveId>,
    /// The write may still come to its end.
    pub(super) late: Vec<DriveId>,
}

/// Writes an epoch on all `drives` at once.
pub(super) async fn write_everywhere(drives: &[Arc<Drive>], topology: &Topology) -> Unwritten {
    let writes: Vec<_> = drives
        .iter()
        .map(|drive| {
            let (drive, topology) = (drive.clone(), topology.clone());
            // An earlier one that is still under way would write into the same files.
            drive.begin_epoch().then(|| {
                rt::spawn_foreground(async move {
                    let written = {
                        let _in_flight = drive.begin();
                        topology::file::write(&drive.dir, &topology).await
                    };
                    drive.end_epoch();
                    written
                })
            })
        })
        .collect();
    let deadline = rt::time::Instant::now() + EPOCH_WRITE_MAX;
    let mut unwritten = Unwritten::default();
    for (drive, write) in drives.iter().zip(writes) {
        let left = deadline - rt::time::Instant::now();
        let written = match write {
            // The task goes on and keeps its buffer when this gives up on it.
            Some(write) => rt::time::timeout(left, write).await,
            None => Err(rt::time::Elapsed),
        };
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                telemetry::error!("an epoch cannot be written"; drive = drive.dir.display(), error = error);
                unwritten.failed.push(drive.id);
            }
            Err(rt::time::Elapsed) => {
                telemetry::error!("an epoch is not written in time"; drive = drive.dir.display());
                unwritten.late.push(drive.id);
            }
        }
    }
    unwritten
}

//! Tables that a restore put on drives where they did not count: the start makes them count, by the epoch that it writes anyway.
//!
//! So all rules of epochs hold for it: which drives must be there, which are taken out, that nothing counts before it is on
//! all drives. Tables that count and are here are newer than any backup, and are never done without. The drives that hold
//! such tables and are not here are taken out by the same epoch: they never count again.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use crate::drive::{Drive, PLACED_NAME};
use crate::format::placed::Placed;
use crate::ids::{DriveId, PartitionId};
use crate::topology::{Chosen, Topology};

/// The records that were found, to be removed once the epoch is durable: it holds what they say, or they say nothing.
#[must_use]
pub(super) struct Records(Vec<PathBuf>);

/// Changes which tables count in the epoch to be written next.
/// A record that cannot be read is told and ignored: then fewer copies count, and a partition without any is refused as before.
pub(super) async fn count_placed(drives: &[Arc<Drive>], chosen: &mut Chosen) -> Records {
    let (mut placed, mut paths) = (Vec::new(), Vec::new());
    for drive in drives.iter().filter(|drive| chosen.present.iter().any(|(_, present)| *present == drive.id)) {
        let path = drive.dir.join(PLACED_NAME);
        let record = match rt::file::read(&path).await {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => Err(error.to_string()),
            Ok(bytes) => Placed::decode(&bytes).map_err(|why| why.to_string()),
        };
        match record {
            Ok(record) => placed.push((drive.id, record)),
            Err(why) => telemetry::error!("which tables were restored cannot be read: {why}"; file = path.display()),
        }
        paths.push(path);
    }
    let present: Vec<DriveId> = chosen.present.iter().map(|(_, drive)| *drive).collect();
    let counted = apply(&mut chosen.topology, &placed, &present);
    if counted > 0 {
        telemetry::warn!("restored tables count from now on, those on drives that are not here never again"; partitions = counted);
    }
    Records(paths)
}

impl Records {
    pub(super) async fn remove(self) {
        for path in self.0 {
            if let Err(error) = rt::file::unlink(&path).await {
                // It names an epoch that is over, and means nothing.
                telemetry::warn!("a file that is of no use cannot be removed"; file = path.display(), error = error);
            }
        }
    }
}

/// How many partitions have other copies that count.
fn apply(topology: &mut Topology, placed: &[(DriveId, Placed)], present: &[DriveId]) -> usize {
    let is_of_this = |record: &Placed| {
        record.deployment == topology.deployment && (record.epoch, record.epoch_id) == (topology.number, topology.id)
    };
    let placed: Vec<&(DriveId, Placed)> = placed.iter().filter(|(_, record)| is_of_this(record)).collect();
    let mut counted = 0;
    for partition in (0..topology.partition_count()).map(PartitionId) {
        let is_here = present.iter().any(|drive| topology.is_in_sync(partition, *drive));
        if is_here || !topology.is_any_in_sync(partition) {
            continue;
        }
        let holds = |id: DriveId| {
            placed.iter().any(|(drive, record)| *drive == id && record.partitions.binary_search(&partition).is_ok())
        };
        let members = topology.drives.iter().enumerate().filter(|(_, member)| member.is_in() && holds(member.drive));
        let mask = members.fold(0, |mask, (index, _)| mask | 1 << index);
        if mask != 0 {
            topology.in_sync[usize::from(partition.0)] = mask;
            counted += 1;
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use types::Timestamp;

    use super::*;
    use crate::ids::DeploymentId;
    use crate::topology;

    const DRIVES: [DriveId; 4] = [DriveId(1), DriveId(2), DriveId(3), DriveId(4)];

    /// Of partition 0 the copies on the first two drives count; partition 1 has everything in the log.
    fn epoch() -> Topology {
        let mut epoch = topology::form(DeploymentId(9), 7, &DRIVES, 1, 2);
        epoch.in_sync[0] = 0b0011;
        epoch
    }

    fn check(change: impl FnOnce(&mut Topology, &mut Placed), present: &[DriveId], expect: [u64; 2]) {
        let mut topology = epoch();
        let partitions = vec![PartitionId(0), PartitionId(1)];
        let (epoch, epoch_id) = (topology.number, topology.id);
        let mut record =
            Placed { deployment: topology.deployment, epoch, epoch_id, restored: Timestamp(1), partitions };
        change(&mut topology, &mut record);
        let placed = [(DriveId(3), record.clone()), (DriveId(4), record)];
        apply(&mut topology, &placed, present);
        assert_eq!(topology.in_sync, expect);
    }

    #[test]
    fn placed_tables_count_where_no_others_do() {
        check(|_, _| {}, &DRIVES[2..], [0b1100, 0]);
    }

    #[test]
    fn what_counts_and_is_here_is_never_done_without() {
        check(|_, _| {}, &DRIVES[1..], [0b0011, 0]);
    }

    #[test]
    fn a_record_of_another_epoch_or_deployment_says_nothing() {
        check(|_, record| record.epoch += 1, &DRIVES[2..], [0b0011, 0]);
        check(|_, record| record.epoch_id += 1, &DRIVES[2..], [0b0011, 0]);
        check(|_, record| record.deployment.0 += 1, &DRIVES[2..], [0b0011, 0]);
    }

    #[test]
    fn what_a_drive_that_was_taken_out_holds_never_counts() {
        check(|topology, _| topology.drives[3] = topology.drives[3].out(1), &DRIVES[2..3], [0b0100, 0]);
    }
}

//! Copies of the index tables: how many there are of those there should be, and whether each is what it should be.
//!
//! There should be P+1 copies of the tables of each partition. A scrub reads every file of every copy that counts and verifies
//! it by the checksums that the engine wrote. A copy that is bad or gone counts no more; the partition's next flush, which comes
//! at once, makes it again from the copy in use, verifying what it copies. When it is the copy in use that is bad, another
//! one is used first: what no copy but that one has is still in the memtables.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::pace::Pace;
use super::{SCRUBBED_BYTES, TABLES_BAD, TABLES_CHECKED};
use crate::drive::{Drive, Op};
use crate::ids::PartitionId;
use crate::index::check::{Contents, Reading, contents, is_unchanged};
use crate::index::{Index, TreeError};
use crate::node::Node;
use crate::planted::{self, Bug};
use crate::store::{owner, try_local};

/// Looks at a copy that changes while it is looked at, or that is not as it should be: it may have been on its way.
const LOOKS: u32 = 4;
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// How many copies there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Those that there should be: P+1 for each partition that has tables.
    pub(super) wanted: u64,
    /// Those of them that are missing, bad, or not brought up to date.
    pub(super) short: u64,
    /// What they would have.
    pub(super) bytes_short: u64,
}

/// Counts the copies, by what is known of them. Cost: a look at every partition, in memory.
pub(super) fn count(node: &Node) -> Count {
    let mut count = Count::default();
    if planted::is(Bug::TableCopiesNotCounted) {
        return count;
    }
    let wanted = u64::from(node.topology().parity) + 1;
    for (id, index) in node.heal.tables().into_iter().filter(|(_, index)| !index.is_empty()) {
        let whole = index.whole_copies();
        let there = node.partition_copies(id).iter().filter(|drive| whole.contains(&node.index_dir(drive, id))).count();
        let short = wanted.saturating_sub(there as u64);
        count.wanted += wanted;
        count.short += short;
        count.bytes_short += short * index.bytes();
    }
    count
}

/// What reading all copies of a partition's tables came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) good: u64,
    pub(super) bad: u64,
    /// Not there, not brought up to date, or without a drive.
    pub(super) missing: u64,
    pub(super) bytes_read: u64,
}

/// Reads every copy of the tables of a partition that there should be. Those that are not what they should be count no more,
/// and are made again. `None`: the store is being closed.
pub(super) async fn check(node: &Arc<Node>, id: PartitionId, index: &Arc<Index>, pace: &mut Pace) -> Option<Checked> {
    let mut checked = Checked::default();
    if index.is_empty() {
        return Some(checked);
    }
    let mut copies: Vec<(Arc<Drive>, PathBuf)> =
        node.partition_copies(id).into_iter().map(|drive| (drive.clone(), node.index_dir(&drive, id))).collect();
    checked.missing = (u64::from(node.topology().parity) + 1).saturating_sub(copies.len() as u64);
    // The one in use last: should it be bad, it is known of the others whether they are.
    copies.sort_by_key(|(_, dir)| *dir == index.active());
    for (drive, dir) in copies {
        if !index.whole_copies().contains(&dir) {
            checked.missing += 1;
            continue;
        }
        let why = match check_copy(&dir, pace, &mut checked.bytes_read).await? {
            Found::Good => {
                TABLES_CHECKED.add(1);
                checked.good += 1;
                continue;
            }
            Found::Gone => {
                checked.missing += 1;
                "it is gone".to_owned()
            }
            Found::Bad(error) => {
                checked.bad += 1;
                // A file that is gone says nothing against the drive.
                if let TreeError::Io(error) = &error
                    && error.kind() != std::io::ErrorKind::NotFound
                {
                    node.note_io_error(&drive, error, Op::Read);
                }
                error.to_string()
            }
        };
        TABLES_BAD.add(1);
        telemetry::error!("a copy of index tables is made again: {why}"; partition = id.0, dir = dir.display());
        let (bad, index) = (dir, index.clone());
        if let Err(error) = rt::offload(move || index.distrust(&bad)).await {
            telemetry::error!("index tables are damaged and there is no other copy: {error}"; partition = id.0);
        }
        copy_again(id).await;
    }
    Some(checked)
}

/// Has the partition's copies made again.
async fn copy_again(id: PartitionId) {
    rt::call(owner(id), move || async move {
        if let Some(partition) = try_local().and_then(|store| store.partitions().get(id)) {
            partition.copy_again();
        }
    })
    .await;
}

enum Found {
    Good,
    /// There is no copy.
    Gone,
    Bad(TreeError),
}

/// `None`: the store is being closed.
async fn check_copy(dir: &Path, pace: &mut Pace, bytes_read: &mut u64) -> Option<Found> {
    let mut found = Found::Good;
    for look in 0..LOOKS {
        if look > 0 {
            rt::time::sleep(LOOK_PAUSE).await;
        }
        let at = dir.to_path_buf();
        let contents = match rt::offload(move || contents(&at)).await {
            Ok(Some(contents)) => contents,
            Ok(None) => {
                found = Found::Gone;
                continue;
            }
            Err(error) => {
                found = Found::Bad(error);
                continue;
            }
        };
        *bytes_read += contents.bytes;
        found = check_tables(dir, &contents, pace, bytes_read).await?;
        let at = dir.to_path_buf();
        let unchanged = rt::offload(move || is_unchanged(&at, &contents)).await;
        // What was read of a copy that has changed says nothing against it, and all that was right was right.
        if unchanged || matches!(found, Found::Good) {
            break;
        }
    }
    Some(found)
}

async fn check_tables(dir: &Path, contents: &Contents, pace: &mut Pace, bytes_read: &mut u64) -> Option<Found> {
    for table in contents.tables.iter().copied() {
        let at = dir.to_path_buf();
        let mut reading = match rt::offload(move || Reading::begin(&at, &table)).await {
            Ok(reading) => reading,
            Err(error) => return Some(Found::Bad(error.into())),
        };
        loop {
            let (result, back) = rt::offload(move || {
                let result = reading.step();
                (result, reading)
            })
            .await;
            reading = back;
            match result {
                Ok(0) => break,
                Ok(read) => {
                    *bytes_read += read as u64;
                    SCRUBBED_BYTES.add(read as u64);
                    if !pace.spend(read as u64).await {
                        return None;
                    }
                }
                Err(error) => return Some(Found::Bad(error.into())),
            }
        }
        if !reading.matches(&table) {
            return Some(Found::Bad(TreeError::Damaged(format!("table {} is not what its checksum says", table.id))));
        }
    }
    Some(Found::Good)
}

//! The reserve: room that is kept for what makes room.
//!
//! Each drive holds ballast: one file for each log volume of the reserve, and one for tables. There are as many log volumes as
//! each shard needs; with many shards they are smaller than others, so that all of them take what a few of those would. What
//! the drives hold counts that enough have to make a volume: one that is too small for its ballast, or full, is left out.
//!
//! When a log volume finds the drives full the store is *full*: bodies are refused, and from then on each log volume
//! takes the room of one ballast file, never what else becomes free. A flush that finds a drive full gets the ballast of the
//! tables. What the reclaimer frees goes back into the ballast, that of the tables first; when all of it is held again, with
//! room for one more log volume, bodies are taken again. No restart is needed.
//!
//! So none of the three can starve the others: checkpoints have the tables' room, deletes stop before they eat what
//! compaction needs, and compaction is begun only when it can be finished before it eats what the next start needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use rt::file::{File, OpenOptions};

use crate::drive::{Drive, is_full};
use crate::node::Node;
use crate::topology::{TurnQueue, drives_needed, in_own_task};

/// Ballast files are called `ballast.` and their number, or this.
const TABLES: &str = "ballast.tables";
/// The ballast of the tables takes at most this share of a drive, and at most or at least so much.
const TABLES_SHARE_MAX: u64 = 64;
const TABLES_BYTES_MAX: u64 = 512 << 20;
const TABLES_BYTES_MIN: u64 = 4 << 20;
/// Memtables of each partition that a full store must be able to flush.
const MEMTABLES: u64 = 2;
/// Log volumes of the reserve for each shard: the first for deletes, the second for compaction, the last for the next start.
const VOLUMES_PER_SHARD: u32 = 3;
const COMPACTION_FROM: u32 = 2;
const START_FROM: u32 = 1;

static FULL: telemetry::Gauge =
    telemetry::Gauge::new("hafiz_storage_full", "1 while bodies are refused because the drives are full.");
static VOLUMES: telemetry::Gauge =
    telemetry::Gauge::new("hafiz_reserve_log_volumes", "Log volumes that the reserve has room for.");

/// What of the reserve is held now.
#[derive(Default)]
pub(crate) struct Reserve {
    full: AtomicBool,
    /// Ballast files for log volumes, held on every drive that is used. Only shard 0 changes it, in a turn.
    volumes: AtomicU32,
    turns: TurnQueue,
}

impl Reserve {
    /// Whether new data is refused because the reserve is in use.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Relaxed)
    }

    fn set_full(&self, full: bool) -> bool {
        FULL.set(i64::from(full));
        self.full.swap(full, Relaxed)
    }

    fn set_volumes(&self, volumes: u32) {
        VOLUMES.set(i64::from(volumes));
        self.volumes.store(volumes, Relaxed);
    }

    /// Whether what makes room in the long run, deletes above all, may be logged.
    pub(crate) fn takes_deletes(&self) -> bool {
        !self.is_full() || self.volumes.load(Relaxed) >= COMPACTION_FROM * u32::from(rt::shard_count())
    }

    /// Log volumes that compaction may take.
    pub(super) fn volumes_for_compaction(&self) -> u32 {
        self.volumes.load(Relaxed).saturating_sub(START_FROM * u32::from(rt::shard_count()))
    }
}

/// Of each kind of log volumes, what all shards' together have room for at least, in full log volumes: compaction frees one
/// that is 90 % full by committing all of that again.
const FULL_VOLUMES: u64 = 2;
/// Slots of log volumes of the reserve are no smaller: half of one takes the largest entry, the delete of an object of 10,000
/// parts.
const SLOT_BYTES_MIN: u64 = 8 << 20;

/// Bytes of each slot of a log volume that takes its room from the reserve. Follows from the drives' sizes, and from how many
/// share a file system, so that what is held stays right while they fill.
pub(super) fn slot_bytes(node: &Node) -> u64 {
    let mut totals: Vec<u64> = used_drives(node).iter().map(|drive| node.share(drive).total).collect();
    totals.sort_unstable_by_key(|&total| std::cmp::Reverse(total));
    let total = totals.get(needed(node) - 1).copied().unwrap_or(0);
    slot_bytes_for(node.log_slot_bytes_at_first(total), u64::from(rt::shard_count()))
}

fn slot_bytes_for(full: u64, shards: u64) -> u64 {
    let page = crate::ids::PAGE_BYTES as u64;
    (FULL_VOLUMES * full / shards).clamp(SLOT_BYTES_MIN.min(full), full).next_multiple_of(page)
}

fn used_drives(node: &Node) -> Vec<Arc<Drive>> {
    node.drives().iter().filter(|drive| drive.is_usable()).cloned().collect()
}

/// Drives that must hold their ballast: as many as a volume needs at least.
fn needed(node: &Node) -> usize {
    drives_needed(used_drives(node).len(), node.topology().parity).max(1)
}

/// What enough drives hold, of what each of them does.
fn held_by_enough(node: &Node, mut counts: Vec<u32>) -> u32 {
    counts.sort_unstable_by_key(|&count| std::cmp::Reverse(count));
    counts.get(needed(node) - 1).copied().unwrap_or(0)
}

fn volumes_wanted() -> u32 {
    VOLUMES_PER_SHARD * u32::from(rt::shard_count())
}

fn tables_path(drive: &Drive) -> PathBuf {
    drive.dir.join(TABLES)
}

fn volume_path(drive: &Drive, number: u32) -> PathBuf {
    drive.dir.join(format!("ballast.{number}"))
}

/// Bytes of one drive's ballast for tables: its share of what flushes write, within bounds that leave small drives usable.
fn tables_bytes(node: &Node, total: u64) -> u64 {
    let drives = node.drives().len().max(1) as u64;
    let copies = u64::from(node.topology().parity) + 1;
    let tables = MEMTABLES * node.config.memory_bytes / 8 * copies / drives;
    tables.min(total / TABLES_SHARE_MAX).clamp(TABLES_BYTES_MIN, TABLES_BYTES_MAX)
}

/// Looks what an earlier start holds. Called on shard 0 before the first volume is made. A drive that came last may hold
/// nothing yet: its free room is as good.
pub(crate) async fn look(node: &Node) {
    let (slot_bytes, mut counts) = (slot_bytes(node), Vec::new());
    for drive in used_drives(node) {
        let (mut volumes, mut free) = (0, node.share(&drive).free);
        while volumes < volumes_wanted() {
            let there = drive.while_answering(rt::file::exists(volume_path(&drive, volumes))).await;
            if !there.is_none_or(|there| there.unwrap_or(false)) {
                let Some(rest) = free.checked_sub(slot_bytes) else { break };
                free = rest;
            }
            volumes += 1;
        }
        counts.push(volumes);
    }
    node.reserve.set_volumes(held_by_enough(node, counts));
}

/// Gives up the ballast of one log volume, on behalf of one that is made now; the bytes of its slots. `None`: there is none.
/// The store is full from here on.
pub(crate) async fn give_volume(node: &Arc<Node>) -> Option<u64> {
    let node = node.clone();
    in_own_task(move || give_volume_here(node)).await
}

async fn give_volume_here(node: Arc<Node>) -> Option<u64> {
    let _turn = node.reserve.turns.take().await;
    if !node.reserve.set_full(true) {
        telemetry::error!("the drives are full: new data is refused until something is deleted");
    }
    let number = node.reserve.volumes.load(Relaxed).checked_sub(1)?;
    node.reserve.set_volumes(number);
    let mut given: Option<u64> = None;
    for drive in node.drives().iter().filter(|drive| drive.is_usable()) {
        if let Some(bytes) = drive.while_answering(give(drive, &volume_path(drive, number))).await.flatten() {
            given = Some(given.map_or(bytes, |least| least.min(bytes)));
        }
    }
    given
}

/// Gives up the ballast of the tables: a flush has found a drive full.
pub(crate) async fn give_tables(node: &Arc<Node>) {
    let node = node.clone();
    in_own_task(move || async move {
        let _turn = node.reserve.turns.take().await;
        node.reserve.set_full(true);
        for drive in node.drives().iter().filter(|drive| drive.is_usable()) {
            if drive.while_answering(give(drive, &tables_path(drive))).await.flatten().is_some() {
                telemetry::error!("tables found the drive full and take from the reserve"; drive = drive.dir.display());
            }
        }
    })
    .await;
}

/// Removes one ballast file; the bytes it had.
async fn give(drive: &Drive, path: &Path) -> Option<u64> {
    let _in_flight = drive.begin();
    let bytes = rt::file::metadata(path).await.ok()?.len;
    match rt::file::unlink(path).await {
        Ok(()) => Some(bytes),
        Err(error) => {
            telemetry::warn!("the reserve cannot be given up: {error}"; drive = drive.dir.display());
            None
        }
    }
}

/// Takes back what is missing of the ballast, as far as there is room; the store is full as long as something is missing on
/// drives that are needed. Called on shard 0.
pub(crate) async fn refill(node: &Arc<Node>) {
    let node = node.clone();
    in_own_task(move || async move { refill_here(&node).await }).await;
}

async fn refill_here(node: &Arc<Node>) {
    let _turn = node.reserve.turns.take().await;
    let was_full = node.reserve.is_full();
    let (slot_bytes, full_slot_bytes) = (slot_bytes(node), node.log_slot_bytes());
    let (mut counts, mut with_slack, mut tables_held) = (Vec::new(), 0, true);
    for drive in used_drives(node) {
        let (path, bytes) = (tables_path(&drive), tables_bytes(node, node.share(&drive).total));
        // One that does not answer has the room that it had.
        let Some(mut room) = drive.while_answering(hold(&drive, &path, bytes)).await else {
            counts.push(volumes_wanted());
            with_slack += 1;
            continue;
        };
        tables_held &= room;
        let mut volumes = 0;
        // What is held counts although the tables' ballast cannot be: else nothing could be logged that makes room for it.
        while volumes < volumes_wanted() {
            let path = volume_path(&drive, volumes);
            room = room && drive.while_answering(hold(&drive, &path, slot_bytes)).await.unwrap_or(true);
            if !room && !rt::file::exists(&path).await.unwrap_or(false) {
                break;
            }
            volumes += 1;
        }
        counts.push(volumes);
        if let Some(Ok(space)) = drive.while_answering(rt::file::fs_space(&drive.dir)).await {
            drive.set_space(space);
        }
        let free = node.share(&drive).free;
        with_slack += usize::from(room && free >= full_slot_bytes);
    }
    let held = held_by_enough(node, counts);
    node.reserve.set_volumes(held);
    // Tables are on every drive, and one that cannot take them keeps checkpoints from moving.
    let has_slack = tables_held && with_slack >= needed(node);
    let full = if was_full { !has_slack } else { held < volumes_wanted() };
    if node.reserve.set_full(full) && !full {
        telemetry::info!("there is room again: new data is taken");
    }
}

/// Whether a ballast file of about so many bytes is there or could be made. What is wanted follows the free room, so a file
/// of half the size still serves. A drive that fails is no full one: that is found out elsewhere.
async fn hold(drive: &Drive, path: &Path, bytes: u64) -> bool {
    let _in_flight = drive.begin();
    if rt::file::metadata(path).await.is_ok_and(|metadata| metadata.len >= bytes / 2) {
        return true;
    }
    let grown = async {
        let file = File::open(path, OpenOptions { create: true, ..OpenOptions::READ_WRITE_DIRECT }).await?;
        file.allocate(0, bytes).await
    };
    let Err(error) = grown.await else { return true };
    // Part of it may have been taken.
    if let Err(error) = rt::file::unlink(path).await {
        telemetry::warn!("the reserve cannot be given up: {error}"; drive = drive.dir.display());
    }
    if !is_full(&error) {
        telemetry::warn!("the reserve cannot be held: {error}"; drive = drive.dir.display());
    }
    !is_full(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    #[test]
    fn the_reserve_is_a_small_part_of_a_drive_however_many_shards_there_are() {
        // Size of the drive, shards: what the ballast of log volumes and tables takes.
        let check = |total: u64, shards: u64, percent_max: u64| {
            let full = (total / 512 / MIB * MIB).clamp(16 * MIB, 256 * MIB);
            let volumes = u64::from(VOLUMES_PER_SHARD) * shards * slot_bytes_for(full, shards);
            let tables = (total / TABLES_SHARE_MAX).clamp(TABLES_BYTES_MIN, TABLES_BYTES_MAX);
            let taken = volumes + tables;
            assert!(taken * 100 <= total * percent_max, "{} MiB of {} GiB", taken / MIB, total / GIB);
        };
        for shards in [1, 2, 4, 8, 16, 32, 64] {
            check(100 * GIB, shards, 3);
            check(40 * GIB, shards, 5);
            check(1024 * GIB, shards, 1);
        }
        check(10 * GIB, 8, 5);
        check(4 * GIB, 2, 5);
    }

    #[test]
    fn all_log_volumes_of_a_kind_have_room_for_what_compaction_moves_out_of_a_full_one() {
        for shards in 1..=128 {
            for full in [256 * MIB, 195 * MIB, 16 * MIB, 8 * MIB, MIB] {
                let slot = slot_bytes_for(full, shards);
                assert!(slot * shards >= (FULL_VOLUMES * full).min(shards * full), "{shards} shards, {full}");
                assert!(slot <= full && slot >= full.min(SLOT_BYTES_MIN));
            }
        }
    }
}

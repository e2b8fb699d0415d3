//! The reserve: room that is kept for what makes room.
//!
//! Each drive holds a ballast file. When a log volume or a table finds the drives full, the ballast is given up: deletes,
//! checkpoints and compaction go on with its room, while bodies and uploads are refused with `Full`. The reclaimer takes the
//! ballast back as soon as there is room for it again, and then bodies are taken again. No restart is needed.
//!
//! The ballast is one for all: when deletes that come one by one have filled it with log before tables and compaction had
//! their turn, deletes are refused too, and small bodies do not give their room back.

use std::path::PathBuf;
use std::sync::Arc;

use rt::file::{File, OpenOptions};

use crate::drive::{Drive, is_full};
use crate::node::Node;

const NAME: &str = "ballast";
/// The ballast takes at most this share of a drive, and at most so much.
const SHARE_MAX: u64 = 64;
const BYTES_MAX: u64 = 512 << 20;
/// Memtables of each partition that a full store must be able to flush.
const MEMTABLES: u64 = 2;
/// Room that must be free beyond the ballast before it is taken back, as a share of the ballast.
const SLACK_SHARE: u64 = 2;

static FULL: telemetry::Gauge =
    telemetry::Gauge::new("hafiz_storage_full", "1 while bodies are refused because the drives are full.");

fn path(drive: &Drive) -> PathBuf {
    drive.dir.join(NAME)
}

/// Bytes of one drive's ballast: log volumes for each shard and the largest compaction, and its share of what flushes write,
/// within bounds that leave small drives usable.
fn ballast_bytes(node: &Node, total: u64) -> u64 {
    let log_slots = u64::from(rt::shard_count()) + 1;
    let drives = node.drives().len().max(1) as u64;
    let copies = u64::from(node.topology().parity) + 1;
    let tables = MEMTABLES * node.config.memory_bytes / 8 * copies / drives;
    let logs = log_slots * node.log_slot_bytes();
    // Less than the logs need would keep a full store from starting again.
    (logs + tables).min(total / SHARE_MAX).min(BYTES_MAX).max(logs)
}

/// Gives the ballast up; whether there was any to give.
pub(crate) async fn release(node: &Node) -> bool {
    node.set_full(true);
    FULL.set(1);
    let mut released = false;
    for drive in node.drives().iter().filter(|drive| drive.is_usable()) {
        match rt::file::unlink(path(drive)).await {
            Ok(()) => released = true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => telemetry::warn!("the reserve cannot be given up: {error}"; drive = drive.dir.display()),
        }
    }
    if released {
        telemetry::error!("the drives are full: new data is refused until something is deleted");
    }
    released
}

/// Takes the ballast back on every drive; the store is full as long as one of them has no room for it.
pub(crate) async fn refill(node: &Arc<Node>) {
    let was_full = node.is_full();
    for drive in node.drives().iter().filter(|drive| drive.is_usable()) {
        let wanted = ballast_bytes(node, drive.space().total);
        let held = rt::file::metadata(path(drive)).await.map_or(0, |metadata| metadata.len);
        if held >= wanted {
            continue;
        }
        let slack = if was_full { wanted / SLACK_SHARE } else { 0 };
        if drive.space().free < wanted - held + slack || grow(drive, wanted).await == Grown::Full {
            node.set_full(true);
            FULL.set(1);
            return;
        }
    }
    if was_full {
        telemetry::info!("there is room again: new data is taken");
    }
    node.set_full(false);
    FULL.set(0);
}

#[derive(PartialEq, Eq)]
enum Grown {
    Done,
    Full,
    /// The drive fails: that is found out elsewhere, and says nothing about room.
    Failed,
}

async fn grow(drive: &Drive, bytes: u64) -> Grown {
    let grown = async {
        let file = File::open(path(drive), OpenOptions { create: true, ..OpenOptions::READ_WRITE_DIRECT }).await?;
        file.allocate(0, bytes).await
    };
    match grown.await {
        Ok(()) => Grown::Done,
        Err(error) => {
            telemetry::warn!("the reserve cannot be held: {error}"; drive = drive.dir.display());
            if is_full(&error) { Grown::Full } else { Grown::Failed }
        }
    }
}

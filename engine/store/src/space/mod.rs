//! Space: what may be freed, and the freeing of it.
//!
//! Liveness is decided by address. A commit that lets go of an extent writes its dead range (`g/`) in the same entry; a
//! volume counts its live bytes per partition. From these, and from the checkpoints, this module proves that nothing live
//! is left in a range or a volume, waits until nobody reads it any more, and frees it through `ProvenDead`.

mod compact;
pub(crate) mod proof;
mod punch;
pub(crate) mod readers;
pub(crate) mod reserve;
mod volumes;

use std::rc::Rc;
use std::time::Duration;

use rt::ShardId;

use crate::error::Result;
use crate::store::ShardStore;

/// Pause between two passes of the reclaimer.
const PASS_EVERY: Duration = Duration::from_secs(5);

static PASSES_FAILED: telemetry::Counter =
    telemetry::Counter::new("hafiz_reclaim_failures_total", "Passes of the reclaimer that ended with an error.");

/// Frees space on behalf of one shard until the store is closed: dead ranges of its own partitions; shard 0 also volumes.
pub(crate) async fn run(store: Rc<ShardStore>) {
    while !store.is_closing() {
        rt::time::sleep(PASS_EVERY).await;
        if store.is_closing() {
            return;
        }
        if let Err(error) = pass(&store).await {
            PASSES_FAILED.add(1);
            telemetry::warn!("space not reclaimed, tried again later: {error}");
        }
    }
}

/// One pass: everything that can be freed now is.
pub(crate) async fn pass(store: &Rc<ShardStore>) -> Result<()> {
    for partition in store.partitions().all() {
        punch::free_dead_ranges(store, &partition).await?;
    }
    if rt::this_shard() == ShardId(0) {
        store.node().refresh_space().await;
        volumes::free_dead_volumes(store).await?;
        compact::compact_log_volumes(store).await?;
        reserve::refill(store.node()).await;
    }
    Ok(())
}

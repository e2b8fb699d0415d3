//! Space: what may be freed, and the freeing of it.
//!
//! Liveness is decided by address. A commit that lets go of an extent writes its dead range (`g/`) in the same entry; a
//! volume counts its live bytes per partition. From these, and from the checkpoints, this module proves that nothing live
//! is left in a range or a volume, waits until nobody reads it any more, and frees it through `ProvenDead`.

#[cfg(feature = "sim")]
mod audit;
mod compact;
pub(crate) mod moved;
pub(crate) mod proof;
mod punch;
pub(crate) mod readers;
pub(crate) mod recount;
mod remains;
pub(crate) mod reserve;
mod volumes;

pub(crate) use volumes::is_any_needed;

#[cfg(feature = "sim")]
pub use audit::audit;

use std::rc::Rc;
use std::time::Duration;

use rt::ShardId;

use crate::error::Result;
use crate::store::ShardStore;

/// Pause between two passes of the reclaimer.
const PASS_EVERY: Duration = Duration::from_secs(5);
/// How often every partition is flushed while the drives are full: what the tables hold lets log volumes go.
pub(crate) const FULL_FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Pause between two passes while the drives are full: deletes wait for them.
pub(crate) const FULL_PASS_EVERY: Duration = Duration::from_millis(250);

static PASSES_FAILED: telemetry::Counter =
    telemetry::Counter::new("hafiz_reclaim_failures_total", "Passes of the reclaimer that ended with an error.");

/// Frees space on behalf of one shard until the store is closed: dead ranges of its own partitions; shard 0 also volumes.
pub(crate) async fn run(store: Rc<ShardStore>) {
    if rt::this_shard() == ShardId(0) {
        let _pass = store.reclaiming().await;
        if let Err(error) = remains::free_remains(&store).await {
            telemetry::warn!("what earlier starts left is not given back, tried again at the next start: {error}");
        }
        store.node().refresh_space().await;
        reserve::refill(store.node()).await;
    }
    while !store.is_closing() {
        rt::time::sleep(pause(&store)).await;
        let _pass = store.reclaiming().await;
        if store.is_closing() {
            return;
        }
        let reclaimed = if store.node().is_full() {
            // Writers wait for it.
            let store = store.clone();
            rt::spawn_foreground(async move { pass(&store).await }).await
        } else {
            pass(&store).await
        };
        if let Err(error) = reclaimed {
            PASSES_FAILED.add(1);
            telemetry::warn!("space not reclaimed, tried again later: {error}");
        }
    }
}

/// Between two passes.
fn pause(store: &ShardStore) -> Duration {
    let usual = if store.node().is_full() { FULL_PASS_EVERY } else { PASS_EVERY };
    store.node().config.upkeep_every().unwrap_or(usual)
}

/// One pass: everything that can be freed now is. What fails does not keep the rest from being freed; the last error.
pub(crate) async fn pass(store: &Rc<ShardStore>) -> Result<()> {
    let mut outcome = Ok(());
    for partition in store.partitions().all().into_iter().filter(|partition| !partition.is_damaged()) {
        outcome = punch::free_dead_ranges(store, &partition).await.and(outcome);
    }
    if rt::this_shard() == ShardId(0) {
        store.node().refresh_space().await;
        outcome = volumes::free_dead_volumes(store).await.and(outcome);
        outcome = compact::compact_log_volumes(store).await.and(outcome);
        reserve::refill(store.node()).await;
    }
    outcome
}

//! Metrics of the process as a whole.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use telemetry::Gauge;

use crate::machine;

/// How often the process looks at itself.
const INTERVAL: Duration = Duration::from_secs(10);

static BUILD: Gauge = Gauge::labeled(
    "hafiz_build_info",
    concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""),
    "Always 1; the label tells the version.",
);
static STARTED: Gauge = Gauge::new("process_start_time_seconds", "When the process started, in unix seconds.");
static UPTIME: Gauge = Gauge::new("hafiz_uptime_seconds", "Since the process started.");
static RESIDENT: Gauge = Gauge::new("process_resident_memory_bytes", "Memory of the process that is in RAM.");

/// Keeps the metrics fresh for as long as the shard lives. For one task of one shard.
pub(crate) async fn watch() {
    let began = rt::time::now();
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    BUILD.set(1);
    STARTED.set(unix.as_secs() as i64);
    loop {
        UPTIME.set(began.elapsed().as_secs() as i64);
        if let Some(bytes) = rt::offload(machine::resident_bytes).await {
            RESIDENT.set(bytes as i64);
        }
        rt::time::sleep(INTERVAL).await;
    }
}

//! Counters, gauges, histograms and the log of a process.
//!
//! Duty: let any crate count and say things without a lock or an atomic read-modify-write on the hot path. Each thread
//! owns one block of cells that only it writes; readers sum the blocks of all threads.
//! Invariants: a value never goes back because a thread ended (its block is kept and reused); a metric that was never
//! touched still renders as zero once registered.
//! Must never know: what is being counted; files, sockets, async.
//!
//! ```
//! # use hafiz_telemetry as telemetry;
//! static PUTS: telemetry::Counter = telemetry::Counter::new("hafiz_puts_total", "Objects stored.");
//! PUTS.add(1);
//! telemetry::info!("listening"; address = "127.0.0.1:9000");
//! ```

pub mod log;
pub mod metrics;

pub use log::{Level, set_level};
pub use metrics::{Counter, Gauge, Histogram, render};

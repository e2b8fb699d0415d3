//! Who speaks to us: each front turns a protocol into typed requests and pumps bytes between it and `ops`.
//!
//! Duty: S3 over HTTP; administration, health and metrics beside it; admission; ids by which a request can be found again; counters and
//! latencies by operation.
//!
//! Invariants:
//! - Nothing reaches an operation but through `ops::gate`, with the principal that the signature proved.
//! - Every request gets exactly one reply, with its id; a reply that breaks off never looks whole.
//! - A request is refused before its body is asked for, wherever the head says enough.
//!
//! Must never know: drives, log, placement, index.

mod admin;
mod health;
mod metrics;
mod request_id;
pub mod s3;
mod serve;

pub use health::Health;
pub use metrics::MetricsAccess;
pub use s3::{FrontConfig, S3Front};
pub use serve::serve;

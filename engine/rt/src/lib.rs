//! One shard's world: tasks, time, random numbers, buffers, files, sockets and messages to other shards.
//!
//! Duty: one pinned thread per shard, each with its own single-threaded executor straight on io_uring; and, under the
//! feature `sim`, the same interface on a seeded scheduler with virtual time, simulated drives and a simulated network.
//! Everything here is a free function or a handle that may be used from any future that runs on a shard.
//!
//! Invariants:
//! - An operation owns its buffer until the kernel is done with it; a dropped future leaves both in the ring's care.
//! - A task never moves to another shard. Other shards get messages (`call`), never pointers to mutable things.
//! - Every queue is bounded by a named constant; who finds it full waits.
//! - A panic on a shard aborts the process.
//!
//! Must never know: objects, buckets, fragments. The only crate that names io_uring.

pub mod buf;
pub mod check;
mod executor;
pub mod file;
#[cfg(all(test, shuttle))]
mod interleavings;
mod mailbox;
pub mod net;
pub mod nvme;
mod offload;
pub mod random;
mod shard;
pub mod signal;
#[cfg(feature = "sim")]
pub mod sim;
mod slab;
mod start;
pub mod sync;
mod sys;
mod threads;
pub mod time;
mod uring;

pub use executor::{JoinHandle, spawn, spawn_background, spawn_foreground, yield_now};
pub use mailbox::{MAILBOX_MESSAGES_MAX, call};
pub use offload::{OFFLOAD_JOBS_MAX, offload};
pub use shard::{ShardId, shard_count, this_shard};
pub use start::{Config, LocalFuture, StartError, run, run_alone};

//! Identities and decisions: pure functions over an immutable snapshot.
//!
//! Duty: who an access key belongs to, and whether that principal may do something.
//! Invariants:
//! - A decision is a function of its arguments: the snapshot is replaced as a whole, never changed.
//! - Nothing is allowed unless something says so; an anonymous principal is denied everything today.
//! - A principal that is no longer in the snapshot is denied, whatever it was when it signed.
//!
//! Must never know: how requests look on the wire, the store, files, sockets.

pub mod admin;
mod decision;
mod identity;
mod snapshot;

pub use decision::{Context, Decision, Resource, decide};
pub use identity::{Identity, InvalidIdentity, Secret};
pub use snapshot::{Principal, Snapshot};

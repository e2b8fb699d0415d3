//! Identities, policies and decisions: pure functions over an immutable snapshot.
//!
//! Duty: who an access key belongs to, what policies say, and whether a principal may do something.
//! Invariants:
//! - A decision is a function of its arguments: the snapshot is replaced as a whole, never changed.
//! - Nothing is allowed unless something says so; an anonymous principal has what a bucket's policy gives it.
//! - A principal that is no longer in the snapshot is denied, whatever it was when it signed.
//! - A policy that was read means something: what AWS would refuse is refused when it is put, not when it is asked.
//! - What a policy leaves open, for want of a value, allows nothing and denies what it may deny.
//!
//! Must never know: how requests look on the wire, the store, files, sockets, the clock.

pub mod admin;
mod decision;
mod identity;
pub mod policy;
mod snapshot;

pub use decision::{ACCOUNT_ID, Context, Decision, Guard, Resource, decide};
pub use identity::{Identity, InvalidIdentity, Secret};
pub use snapshot::{Principal, Snapshot};

//! Stripes: what is encoded together and lies at one offset of every slot of a volume.
//!
//! A stripe is filled or built in pool buffers whose fronts are kept for the headers, so that its bytes are written, and
//! later sent, from where they first arrived. It is written once, one write for each fragment, and read by ranges of its
//! linear space; what is missing or bad is reconstructed from the rest, and wrong bytes are never handed out.

mod build;
mod gather;
mod header;
mod layout;
mod read;
mod write;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use build::{Fill, Fragment, Stamp, build, payloads};
pub(crate) use header::header_at;
pub(crate) use layout::{Layout, STRIPE_LEN_MAX, cut};
pub use read::ReadError;
pub(crate) use read::{read, read_body, read_body_repaired};
pub(crate) use write::{Writes, write};

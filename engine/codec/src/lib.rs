//! Byte kernels of Hafiz: slices in, slices out.
//!
//! Duty: erasure coding, checksums, digests and their hexadecimal spelling, each as fast as the
//! processor allows and each with a portable twin that gives the same bytes.
//!
//! Invariants:
//! - A result never depends on which kernel ran: every kernel is tested against the portable one.
//! - No kernel allocates per byte or keeps global state beyond what the processor can do.
//! - What is stored on drives (parity bytes, CRC32C) follows published codes: ISA-L's Cauchy matrix
//!   over GF(2^8) with polynomial 0x11D, and the CRC catalogue. Another program can read it.
//!
//! Must never know: files, async, sockets, objects, buckets, volumes, or any other crate of ours.

pub mod checksum;
pub mod erasure;
pub mod hex;
mod lanes;
pub mod md5;
pub mod sha256;

//! Checksums and digests: the ones S3 names, the CRC32C on drives, and HMAC for signatures.
//!
//! This module is the only one that names `crc-fast`, `aws-lc-rs` and `xxhash-rust`.

use aws_lc_rs::{constant_time, digest, hmac};
use crc_fast::CrcAlgorithm;
use xxhash_rust::{xxh3::Xxh3, xxh64::Xxh64};

use crate::{hex, md5};

mod combine;

use combine::Modulus;

/// Bytes of the longest digest (SHA-512).
pub const DIGEST_LEN_MAX: usize = 64;

/// A checksum algorithm that S3 accepts for objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// CRC-32/ISO-HDLC, the one of zlib.
    Crc32,
    /// CRC-32/ISCSI.
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    Sha1,
    Sha256,
    Sha512,
    Md5,
    /// XXH3, 64 bits, seed 0.
    Xxh3,
    /// XXH64, seed 0.
    Xxh64,
    /// XXH3, 128 bits, seed 0.
    Xxh128,
}

impl Algorithm {
    pub const ALL: [Algorithm; 10] = [
        Algorithm::Crc32,
        Algorithm::Crc32c,
        Algorithm::Crc64Nvme,
        Algorithm::Sha1,
        Algorithm::Sha256,
        Algorithm::Sha512,
        Algorithm::Md5,
        Algorithm::Xxh3,
        Algorithm::Xxh64,
        Algorithm::Xxh128,
    ];

    /// Bytes of this algorithm's digest.
    pub const fn digest_len(self) -> usize {
        match self {
            Algorithm::Crc32 | Algorithm::Crc32c => 4,
            Algorithm::Crc64Nvme | Algorithm::Xxh3 | Algorithm::Xxh64 => 8,
            Algorithm::Md5 | Algorithm::Xxh128 => 16,
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        }
    }

    /// Starts a stream. Allocates for SHA and XXH3.
    pub fn new_hasher(self) -> Hasher {
        Hasher(match self {
            Algorithm::Crc32 => State::Crc(Crc::new(CrcAlgorithm::Crc32IsoHdlc)),
            Algorithm::Crc32c => State::Crc(Crc::new(CrcAlgorithm::Crc32Iscsi)),
            Algorithm::Crc64Nvme => State::Crc(Crc::new(CrcAlgorithm::Crc64Nvme)),
            Algorithm::Sha1 => State::Sha(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY)),
            Algorithm::Sha256 => State::Sha(digest::Context::new(&digest::SHA256)),
            Algorithm::Sha512 => State::Sha(digest::Context::new(&digest::SHA512)),
            Algorithm::Md5 => State::Md5(md5::State::new()),
            Algorithm::Xxh3 => State::Xxh3(Box::new(Xxh3::new())),
            Algorithm::Xxh64 => State::Xxh64(Xxh64::new(0)),
            Algorithm::Xxh128 => State::Xxh128(Box::new(Xxh3::new())),
        })
    }

    /// The digest of one slice.
    pub fn digest(self, bytes: &[u8]) -> Digest {
        let mut hasher = self.new_hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The polynomial of a CRC; none for the others.
    fn modulus(self) -> Option<&'static Modulus> {
        match self {
            Algorithm::Crc32 => Some(&combine::CRC32),
            Algorithm::Crc32c => Some(&combine::CRC32C),
            Algorithm::Crc64Nvme => Some(&combine::CRC64_NVME),
            Algorithm::Sha1
            | Algorithm::Sha256
            | Algorithm::Sha512
            | Algorithm::Md5
            | Algorithm::Xxh3
            | Algorithm::Xxh64
            | Algorithm::Xxh128 => None,
        }
    }
}

/// A finished checksum: the bytes as S3 writes them (numbers big-endian) before base64.
///
/// Comparison is not constant-time; secrets are compared with [`equal_constant_time`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    len: u8,
    /// Zero beyond `len`, so that the derived comparison is right.
    bytes: [u8; DIGEST_LEN_MAX],
}

impl Digest {
    /// Takes a digest received or stored. `None` when longer than [`DIGEST_LEN_MAX`]; whether the
    /// length fits an algorithm is for the caller to check (`Algorithm::digest_len`).
    pub fn from_slice(slice: &[u8]) -> Option<Digest> {
        let mut bytes = [0; DIGEST_LEN_MAX];
        bytes.get_mut(..slice.len())?.copy_from_slice(slice);
        Some(Digest { len: u8::try_from(slice.len()).ok()?, bytes })
    }

    /// The low `len` bytes of `value`, big-endian.
    fn from_number(value: u128, len: usize) -> Digest {
        Digest::from_array(&value.to_be_bytes()[16 - len..])
    }

    fn from_array(slice: &[u8]) -> Digest {
        Digest::from_slice(slice).expect("every algorithm's digest fits DIGEST_LEN_MAX")
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The bytes read as one big-endian number; `None` beyond 8 bytes.
    fn as_number(&self) -> Option<u64> {
        if self.len > 8 {
            return None;
        }
        let number = self.as_slice().iter();
        Some(number.fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.as_slice()))
    }
}

/// One running checksum of any [`Algorithm`].
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Crc(Crc),
    Sha(digest::Context),
    Md5(md5::State),
    // Boxed: their state of over 500 bytes would make every hasher that large.
    Xxh3(Box<Xxh3>),
    Xxh64(Xxh64),
    Xxh128(Box<Xxh3>),
}

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Crc(crc) => crc.update(bytes),
            State::Sha(context) => context.update(bytes),
            State::Md5(state) => state.update(bytes),
            State::Xxh3(state) | State::Xxh128(state) => state.update(bytes),
            State::Xxh64(state) => state.update(bytes),
        }
    }

    pub fn finish(self) -> Digest {
        match self.0 {
            State::Crc(crc) => crc.finish(),
            State::Sha(context) => Digest::from_array(context.finish().as_ref()),
            State::Md5(state) => Digest::from_array(&state.finish()),
            State::Xxh3(state) => Digest::from_number(state.digest().into(), 8),
            State::Xxh64(state) => Digest::from_number(state.digest().into(), 8),
            State::Xxh128(state) => Digest::from_number(state.digest128(), 16),
        }
    }
}

/// The register of a CRC: 16 bytes where `crc_fast::Digest` carries its tables along.
#[derive(Clone, Copy)]
struct Crc {
    algorithm: CrcAlgorithm,
    register: u64,
}

impl Crc {
    fn new(algorithm: CrcAlgorithm) -> Crc {
        let register = crc_fast::Digest::new(algorithm).get_state();
        Crc { algorithm, register }
    }

    fn update(&mut self, bytes: &[u8]) {
        let mut digest = crc_fast::Digest::new_with_init_state(self.algorithm, self.register);
        digest.update(bytes);
        self.register = digest.get_state();
    }

    fn finish(self) -> Digest {
        let digest = crc_fast::Digest::new_with_init_state(self.algorithm, self.register);
        let len = match self.algorithm {
            CrcAlgorithm::Crc64Nvme => 8,
            _ => 4,
        };
        Digest::from_number(digest.finalize().into(), len)
    }
}

/// The checksum of `A` followed by `B` from the checksums of both and the length of `B` in bytes,
/// without reading either again: the full-object checksum of a multipart upload from its parts.
///
/// `None` for algorithms without this property (everything but the CRCs) and for digests whose
/// length is not the algorithm's. Cost: about 0.1 us for each bit set in the length.
pub fn combine(algorithm: Algorithm, a: &Digest, b: &Digest, len_b: u64) -> Option<Digest> {
    let modulus = algorithm.modulus()?;
    let len = algorithm.digest_len();
    if a.as_slice().len() != len || b.as_slice().len() != len {
        return None;
    }
    let combined = modulus.combine(a.as_number()?, b.as_number()?, len_b);
    Some(Digest::from_number(combined.into(), len))
}

/// CRC32C of `bytes`. Cost: 60 GB/s, 5 ns for 64 bytes (Zen 5, VPCLMULQDQ).
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// CRC32C of what `crc` covers followed by `bytes`: `crc32c_append(crc32c(a), b)` is the CRC32C of
/// a and b together, and 0 is the CRC32C of nothing. Also a CRC32C seeded with `crc`.
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    let register = u64::from(!crc);
    let mut digest = crc_fast::Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, register);
    digest.update(bytes);
    u32::try_from(digest.finalize()).expect("a 32-bit CRC stays within 32 bits")
}

/// CRC32C of each block of `block_len` bytes; the last block may be shorter.
///
/// Panics unless `block_len > 0` and `out` has one place for each block.
pub fn crc32c_blocks(payload: &[u8], block_len: usize, out: &mut [u32]) {
    assert_eq!(out.len(), payload.len().div_ceil(block_len), "one per block");
    for (crc, block) in out.iter_mut().zip(payload.chunks(block_len)) {
        *crc = crc32c(block);
    }
}

/// SHA-256 of one slice; `crate::sha256` has running ones. Cost: 2 GB/s, 75 ns for 64 bytes (Zen 5, SHA-NI).
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    array(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// HMAC-SHA-256 of `message` under `key`, of any length. Cost: 0.3 us for 64 bytes.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    array(hmac::sign(&key, message).as_ref())
}

fn array(digest: &[u8]) -> [u8; 32] {
    digest.try_into().expect("SHA-256 is 32 bytes")
}

/// Compares secrets in time that depends on their lengths only.
pub fn equal_constant_time(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests;

//! On-drive layouts: explicit little-endian fields, magic, version, length and CRC32C on everything.
//!
//! Decoders take any bytes and never panic; a released version never changes. `docs/format.md` describes all of it.
//!
//! An *envelope* is what every description (drive, topology, volume) is wrapped in: magic (8 bytes), version (u16),
//! reserved (u16, zero), length of envelope and content together (u32), CRC32C over those bytes but for itself (u32),
//! reserved (u32, zero), content; the rest of the page or copy is zero.

pub(crate) mod backup;
pub(crate) mod batch;
pub(crate) mod drive;
pub(crate) mod fragment;
pub(crate) mod lost;
pub(crate) mod placed;
pub(crate) mod places;
pub(crate) mod record;
pub(crate) mod scrub;
pub(crate) mod topology;
pub(crate) mod volume;

use std::fmt;

use codec::checksum::{crc32c, crc32c_append};

/// Why bytes were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// The bytes end before what they announce.
    Short,
    /// These bytes are something else, or nothing.
    Magic,
    /// Right magic, but written by a later release.
    Newer { version: u16 },
    /// The checksum does not match: torn, rotten or stale.
    Checksum,
    /// The checksum holds, but this field has a value it cannot have.
    Field(&'static str),
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::Short => f.write_str("too short"),
            Invalid::Magic => f.write_str("no such structure here"),
            Invalid::Newer { version } => write!(f, "format version {version} is newer than this release"),
            Invalid::Checksum => f.write_str("checksum does not match"),
            Invalid::Field(name) => write!(f, "field {name} is out of range"),
        }
    }
}

impl std::error::Error for Invalid {}

/// Bytes of an envelope before its content.
pub(crate) const ENVELOPE_LEN: usize = 24;
const CRC_AT: usize = 16;

/// Wraps `content` and pads it with zeros to `total` bytes. Panics if it does not fit: contents are bounded by their
/// own constants, which are checked against `total` at compile time.
pub(crate) fn wrap(magic: &[u8; 8], version: u16, content: &[u8], total: usize) -> Vec<u8> {
    let len = ENVELOPE_LEN + content.len();
    assert!(len <= total, "the content is larger than its place on the drive");
    let mut bytes = Vec::with_capacity(total);
    bytes.extend(magic);
    bytes.extend(version.to_le_bytes());
    bytes.extend([0; 2]);
    bytes.extend((len as u32).to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(content);
    let crc = envelope_crc(&bytes);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    bytes.resize(total, 0);
    bytes
}

/// The version and content of an envelope at the start of `bytes`; `version_max` is the newest one the caller reads.
pub(crate) fn unwrap<'a>(magic: &[u8; 8], version_max: u16, bytes: &'a [u8]) -> Result<(u16, &'a [u8]), Invalid> {
    let head = bytes.get(..ENVELOPE_LEN).ok_or(Invalid::Short)?;
    if &head[..8] != magic {
        return Err(Invalid::Magic);
    }
    let mut fields = Reader::new(&head[8..]);
    let (version, _, len, crc) = (fields.u16()?, fields.u16()?, fields.u32()?, fields.u32()?);
    // The checksum comes before the version: a torn version field must not read as "newer".
    let whole = bytes.get(..len as usize).filter(|w| w.len() >= ENVELOPE_LEN).ok_or(Invalid::Short)?;
    if envelope_crc(whole) != crc {
        return Err(Invalid::Checksum);
    }
    if version > version_max {
        return Err(Invalid::Newer { version });
    }
    if version == 0 {
        return Err(Invalid::Field("version"));
    }
    Ok((version, &whole[ENVELOPE_LEN..]))
}

fn envelope_crc(whole: &[u8]) -> u32 {
    crc32c_append(crc32c(&whole[..CRC_AT]), &whole[CRC_AT + 4..])
}

/// The newer one of the two copies in `file`, and which of them it is (0 or 1). A copy written by a later release makes
/// the whole file newer; else one whole copy is enough.
fn newest<T>(
    file: &[u8],
    copy_bytes: usize,
    decode: impl Fn(&[u8]) -> Result<T, Invalid>,
    sequence: impl Fn(&T) -> u64,
) -> Result<(T, usize), Invalid> {
    let copy = |index: usize| decode(file.get(index * copy_bytes..).unwrap_or_default());
    match (copy(0), copy(1)) {
        (Err(newer @ Invalid::Newer { .. }), _) | (_, Err(newer @ Invalid::Newer { .. })) => Err(newer),
        (Ok(first), Ok(second)) if sequence(&first) >= sequence(&second) => Ok((first, 0)),
        (_, Ok(second)) => Ok((second, 1)),
        (Ok(first), Err(_)) => Ok((first, 0)),
        // A damaged structure says more than an absent one.
        (Err(Invalid::Magic | Invalid::Short), Err(other)) => Err(other),
        (Err(why), Err(_)) => Err(why),
    }
}

/// Reads little-endian fields from the front of a slice.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Invalid> {
        let (front, rest) = self.rest.split_at_checked(len).ok_or(Invalid::Short)?;
        self.rest = rest;
        Ok(front)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Invalid> {
        let (front, rest) = self.rest.split_first_chunk().ok_or(Invalid::Short)?;
        self.rest = rest;
        Ok(*front)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Invalid> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Invalid> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Invalid> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Invalid> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Invalid> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Refuses bytes after the last field.
    pub(crate) fn end(&self) -> Result<(), Invalid> {
        if self.rest.is_empty() { Ok(()) } else { Err(Invalid::Field("length")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &[u8; 8] = b"TESTTEST";

    #[test]
    fn an_envelope_has_golden_bytes_and_reads_back() {
        let bytes = wrap(MAGIC, 3, &[7, 8, 9], 32);
        let mut expect = b"TESTTEST\x03\0\0\0\x1b\0\0\0".to_vec();
        expect.extend(crc32c(b"TESTTEST\x03\0\0\0\x1b\0\0\0\0\0\0\0\x07\x08\x09").to_le_bytes());
        expect.extend(b"\0\0\0\0\x07\x08\x09\0\0\0\0\0");
        assert_eq!(bytes, expect);
        assert_eq!(unwrap(MAGIC, 3, &bytes), Ok((3, &[7u8, 8, 9][..])));
    }

    #[test]
    fn an_envelope_that_is_cut_changed_foreign_or_newer_is_refused() {
        let bytes = wrap(MAGIC, 2, &[1; 40], 100);
        for len in 0..64 {
            assert!(unwrap(MAGIC, 2, &bytes[..len]).is_err(), "cut to {len}");
        }
        for at in 0..64 {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(unwrap(MAGIC, 2, &changed).is_err(), "bit {bit} of byte {at}");
            }
        }
        assert_eq!(unwrap(MAGIC, 1, &bytes), Err(Invalid::Newer { version: 2 }));
        assert_eq!(unwrap(b"OTHEROTH", 2, &bytes), Err(Invalid::Magic));
        assert_eq!(unwrap(MAGIC, 2, &[0; 4096]), Err(Invalid::Magic));
    }

    proptest::proptest! {
        /// Contents with a right checksum get past the envelope, so that every field is read from arbitrary bytes.
        #[test]
        fn no_bytes_make_a_decoder_panic(
            content in proptest::collection::vec(proptest::num::u8::ANY, 0..2000),
            small in proptest::collection::vec(0u8..4, 0..200),
        ) {
            for content in [content, small] {
                for magic in [b"HAFIZDRV", b"HAFIZTOP", b"HAFIZVOL"] {
                    let bytes = wrap(magic, 1, &content, 4096);
                    let _identity = drive::Identity::decode(&bytes);
                    let _identity = drive::Identity::decode_file(&bytes);
                    if let Ok(topology) = topology::Topology::decode(&bytes) {
                        assert_eq!(topology::Topology::decode(&topology.encode()), Ok(topology));
                    }
                    if let Ok((page, slot)) = volume::VolumePage::decode(&bytes) {
                        assert_eq!(volume::VolumePage::decode(&page.encode(slot)), Ok((page, slot)));
                    }
                }
                let _header = fragment::Header::decode(&content, 0);
                let fragment = [b"HZFR\x01\x01\x00", &content[..]].concat();
                let _header = fragment::Header::decode(&fragment, 0);
            }
        }
    }
}

//! Values of the index: what is kept of one object version, upload, part and bucket.
//!
//! All integers little-endian. A value lies in a commit batch or a table block, both of which carry checksums, so it has
//! none of its own. Decoders take any bytes and never panic. The first byte is the format version of that value.
//!
//! A record: head (40 bytes), body, attributes, explicit version, parts:
//! ```text
//!  0 version: u8 = 1   1 flags: u8   2 body kind: u8   3 zero   4 attributes len: u16   6 etag parts: u16 (0: none)
//!  8 lsn: u64         16 modified: u64                 24 etag: 16 bytes
//! 40 body: nothing (Empty) | address 24, crc: u32 (Small) | size: u64, count: u32, extents of 24 (Extents)
//!          | size: u64, count: u32, then per piece its kind: u8 and its body (Pieces)
//! ```
//! A small record holds no size: it is the address's length. A record of 40 + 28 + attributes bytes is 96 bytes with
//! `application/octet-stream`.

use std::num::NonZeroU16;

use types::{Attributes, BucketId, BucketName, Etag, Timestamp, VersionId, Versioning};

use super::batch::Address;
use super::{Invalid, Reader};
use crate::data::Extent;
use crate::ids::{Lsn, SlotOffset, VolumeId};

/// Byte offset of the address in the value of a record or part whose body is `Small`, for `Op::address_at`. Until the
/// batch is sealed only the address's length counts.
pub(crate) const ADDRESS_AT: u16 = HEAD_LEN as u16;

const VERSION: u8 = 1;
const HEAD_LEN: usize = 40;
const EXTENT_LEN: usize = 24;
/// Number, size and an empty checksum.
const PART_LEN_MIN: usize = 11;

const DELETE_MARKER: u8 = 1;
/// The version id is the LSN of the record.
const VERSION_IS_LSN: u8 = 2;
/// The version id follows the attributes.
const VERSION_FOLLOWS: u8 = 4;
const HAS_PARTS: u8 = 8;
const FLAGS: u8 = DELETE_MARKER | VERSION_IS_LSN | VERSION_FOLLOWS | HAS_PARTS;

const EMPTY: u8 = 0;
const SMALL: u8 = 1;
const EXTENTS: u8 = 2;
const PIECES: u8 = 3;

/// Where the bytes of an object are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Empty,
    /// In a commit batch; `crc` is the CRC32C of the bytes.
    Small {
        address: Address,
        crc: u32,
    },
    Extents(Vec<Extent>),
    /// The parts of a multipart upload, in order. A piece is never `Pieces` itself.
    Pieces(Vec<Body>),
}

impl Body {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Body::Empty => 0,
            Body::Small { address, .. } => u64::from(address.len),
            Body::Extents(extents) => extents.iter().fold(0, |sum, extent| sum.saturating_add(extent.len)),
            Body::Pieces(pieces) => pieces.iter().fold(0, |sum, piece| sum.saturating_add(piece.len())),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Body::Empty => EMPTY,
            Body::Small { .. } => SMALL,
            Body::Extents(_) => EXTENTS,
            Body::Pieces(_) => PIECES,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Body::Empty => {}
            Body::Small { address, crc } => {
                out.extend(address.encode());
                out.extend(crc.to_le_bytes());
            }
            Body::Extents(extents) => {
                out.extend(self.len().to_le_bytes());
                out.extend(count(extents.len()).to_le_bytes());
                for extent in extents {
                    out.extend(extent.volume.0.to_le_bytes());
                    out.extend(extent.at.0.to_le_bytes());
                    out.extend(extent.stripe_data.to_le_bytes());
                    out.extend(extent.len.to_le_bytes());
                }
            }
            Body::Pieces(pieces) => {
                out.extend(self.len().to_le_bytes());
                out.extend(count(pieces.len()).to_le_bytes());
                for piece in pieces {
                    assert!(!matches!(piece, Body::Pieces(_)), "a piece has no pieces");
                    out.push(piece.kind());
                    piece.encode(out);
                }
            }
        }
    }

    fn decode(kind: u8, input: &mut Reader<'_>) -> Result<Body, Invalid> {
        match kind {
            EMPTY => Ok(Body::Empty),
            SMALL => {
                let address = Address::decode(input.bytes(Address::LEN)?)?;
                Ok(Body::Small { address, crc: input.u32()? })
            }
            EXTENTS => {
                let len = input.u64()?;
                let count = decode_count(input, EXTENT_LEN)?;
                let mut extents = Vec::with_capacity(count);
                for _ in 0..count {
                    let volume = VolumeId(input.u64()?);
                    let at = SlotOffset(input.u32()?);
                    let stripe_data = input.u32()?;
                    extents.push(Extent { volume, at, len: input.u64()?, stripe_data });
                }
                let body = Body::Extents(extents);
                if body.len() == len { Ok(body) } else { Err(Invalid::Field("body size")) }
            }
            PIECES => {
                let len = input.u64()?;
                let count = decode_count(input, 1)?;
                let mut pieces = Vec::with_capacity(count);
                for _ in 0..count {
                    let kind = input.u8()?;
                    if kind == PIECES {
                        return Err(Invalid::Field("piece kind"));
                    }
                    pieces.push(Body::decode(kind, input)?);
                }
                let body = Body::Pieces(pieces);
                if body.len() == len { Ok(body) } else { Err(Invalid::Field("body size")) }
            }
            _ => Err(Invalid::Field("body kind")),
        }
    }
}

/// One part of the upload an object was put together from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartEntry {
    pub number: u16,
    pub size: u64,
    /// As the client's algorithm gave it; empty if it named none. At most 255 bytes.
    pub checksum: Vec<u8>,
}

/// What the index keeps of one object version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub version: VersionId,
    /// The commit that wrote this version. A relocation keeps it.
    pub lsn: Lsn,
    pub modified: Timestamp,
    pub etag: Etag,
    pub delete_marker: bool,
    pub attributes: Attributes,
    pub(crate) body: Body,
    pub parts: Vec<PartEntry>,
}

impl Record {
    pub fn size(&self) -> u64 {
        self.body.len()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let attributes = self.attributes.as_bytes();
        let mut flags = 0;
        if self.delete_marker {
            flags |= DELETE_MARKER;
        }
        if self.version.0 == self.lsn.0 {
            flags |= VERSION_IS_LSN;
        } else if self.version != VersionId::NULL {
            flags |= VERSION_FOLLOWS;
        }
        if !self.parts.is_empty() {
            flags |= HAS_PARTS;
        }
        let mut out = Vec::with_capacity(HEAD_LEN + 32 + attributes.len());
        out.extend([VERSION, flags, self.body.kind(), 0]);
        out.extend(attributes_len(attributes).to_le_bytes());
        out.extend(self.etag.parts.map_or(0, NonZeroU16::get).to_le_bytes());
        out.extend(self.lsn.0.to_le_bytes());
        out.extend(self.modified.0.to_le_bytes());
        out.extend(self.etag.digest);
        debug_assert_eq!(out.len(), HEAD_LEN);
        self.body.encode(&mut out);
        out.extend(attributes);
        if flags & VERSION_FOLLOWS != 0 {
            out.extend(self.version.0.to_le_bytes());
        }
        if flags & HAS_PARTS != 0 {
            out.extend(count(self.parts.len()).to_le_bytes());
            for part in &self.parts {
                out.extend(part.number.to_le_bytes());
                out.extend(part.size.to_le_bytes());
                encode_short(&part.checksum, &mut out);
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Record, Invalid> {
        let mut input = Reader::new(bytes);
        let head = Head::decode(&mut input)?;
        let body = Body::decode(head.kind, &mut input)?;
        let attributes = decode_attributes(&mut input, head.attributes_len)?;
        let version = if head.flags & VERSION_FOLLOWS != 0 { VersionId(input.u64()?) } else { head.version() };
        let mut parts = Vec::new();
        if head.flags & HAS_PARTS != 0 {
            let count = decode_count(&mut input, PART_LEN_MIN)?;
            parts.reserve_exact(count);
            for _ in 0..count {
                let number = input.u16()?;
                let size = input.u64()?;
                parts.push(PartEntry { number, size, checksum: decode_short(&mut input)?.to_vec() });
            }
        }
        input.end()?;
        Ok(Record {
            version,
            lsn: head.lsn,
            modified: head.modified,
            etag: head.etag,
            delete_marker: head.flags & DELETE_MARKER != 0,
            attributes,
            body,
            parts,
        })
    }
}

/// What a listing shows of a record, read without allocating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peek<'a> {
    pub(crate) version: VersionId,
    pub(crate) lsn: Lsn,
    pub(crate) modified: Timestamp,
    pub(crate) size: u64,
    pub(crate) etag: Etag,
    pub(crate) delete_marker: bool,
    /// Packed as `Attributes::as_bytes` gave them.
    pub(crate) attributes: &'a [u8],
}

/// Reads what a listing needs. Cost: constant, but for `Pieces` (one step per piece).
pub(crate) fn peek(bytes: &[u8]) -> Result<Peek<'_>, Invalid> {
    let mut input = Reader::new(bytes);
    let head = Head::decode(&mut input)?;
    let size = skip_body(head.kind, &mut input)?;
    let attributes = input.bytes(head.attributes_len)?;
    let version = if head.flags & VERSION_FOLLOWS != 0 { VersionId(input.u64()?) } else { head.version() };
    Ok(Peek {
        version,
        lsn: head.lsn,
        modified: head.modified,
        size,
        etag: head.etag,
        delete_marker: head.flags & DELETE_MARKER != 0,
        attributes,
    })
}

/// Passes over a body and gives its size.
fn skip_body(kind: u8, input: &mut Reader<'_>) -> Result<u64, Invalid> {
    match kind {
        EMPTY => Ok(0),
        SMALL => {
            // The length is the last field of an address; the checksum follows.
            let [.., len_0, len_1, len_2, len_3, _, _, _, _] = input.array::<{ Address::LEN + 4 }>()?;
            Ok(u64::from(u32::from_le_bytes([len_0, len_1, len_2, len_3])))
        }
        EXTENTS => {
            let size = input.u64()?;
            let count = decode_count(input, EXTENT_LEN)?;
            input.bytes(count * EXTENT_LEN)?;
            Ok(size)
        }
        PIECES => {
            let size = input.u64()?;
            for _ in 0..decode_count(input, 1)? {
                let kind = input.u8()?;
                if kind == PIECES {
                    return Err(Invalid::Field("piece kind"));
                }
                skip_body(kind, input)?;
            }
            Ok(size)
        }
        _ => Err(Invalid::Field("body kind")),
    }
}

struct Head {
    flags: u8,
    kind: u8,
    attributes_len: usize,
    lsn: Lsn,
    modified: Timestamp,
    etag: Etag,
}

impl Head {
    /// One check of the length for all fields: a page of a listing reads a thousand heads.
    fn decode(input: &mut Reader<'_>) -> Result<Head, Invalid> {
        check_version(*input.rest().first().ok_or(Invalid::Short)?)?;
        let bytes: [u8; HEAD_LEN] = input.array()?;
        let mut fields = Reader::new(&bytes);
        let [_, flags, kind, zero] = fields.array()?;
        let both = VERSION_IS_LSN | VERSION_FOLLOWS;
        if flags & !FLAGS != 0 || flags & both == both || zero != 0 {
            return Err(Invalid::Field("record flags"));
        }
        let attributes_len = usize::from(fields.u16()?);
        let parts = NonZeroU16::new(fields.u16()?);
        let lsn = Lsn(fields.u64()?);
        let modified = Timestamp(fields.u64()?);
        Ok(Head { flags, kind, attributes_len, lsn, modified, etag: Etag { digest: fields.array()?, parts } })
    }

    /// The version, when it does not follow the attributes.
    fn version(&self) -> VersionId {
        if self.flags & VERSION_IS_LSN != 0 { VersionId(self.lsn.0) } else { VersionId::NULL }
    }
}

/// A multipart upload in progress. Bucket, key and upload id are in its index key.
/// `version: u8, zero: u8, attributes len: u16, zero: u32, lsn, initiated, attributes, settings to the end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UploadRecord {
    pub(crate) lsn: Lsn,
    pub(crate) initiated: Timestamp,
    /// For the object that comes of it.
    pub(crate) attributes: Attributes,
    /// Checksum algorithm and type as the caller packed them; the store does not look inside.
    pub(crate) settings: Vec<u8>,
}

impl UploadRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let attributes = self.attributes.as_bytes();
        let mut out = vec![VERSION, 0];
        out.extend(attributes_len(attributes).to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.lsn.0.to_le_bytes());
        out.extend(self.initiated.0.to_le_bytes());
        out.extend(attributes);
        out.extend(&self.settings);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<UploadRecord, Invalid> {
        let mut input = Reader::new(bytes);
        let [version, zero] = input.array()?;
        check_version(version)?;
        let attributes_len = usize::from(input.u16()?);
        if zero != 0 || input.u32()? != 0 {
            return Err(Invalid::Field("reserved"));
        }
        let lsn = Lsn(input.u64()?);
        let initiated = Timestamp(input.u64()?);
        let attributes = decode_attributes(&mut input, attributes_len)?;
        Ok(UploadRecord { lsn, initiated, attributes, settings: input.rest().to_vec() })
    }
}

/// A part of an upload in progress. Its number is in its index key.
/// `version: u8, kind: u8, checksum len: u8, zero: 5, lsn: u64, modified: u64, md5: 16, body, checksum`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartRecord {
    pub(crate) lsn: Lsn,
    pub(crate) modified: Timestamp,
    pub(crate) md5: [u8; 16],
    pub(crate) body: Body,
    /// As the client's algorithm gave it; empty if it named none. At most 255 bytes.
    pub(crate) checksum: Vec<u8>,
}

impl PartRecord {
    pub(crate) fn size(&self) -> u64 {
        self.body.len()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        assert!(!matches!(self.body, Body::Pieces(_)), "a part has no pieces");
        let mut out = vec![VERSION, self.body.kind(), short_len(&self.checksum), 0, 0, 0, 0, 0];
        out.extend(self.lsn.0.to_le_bytes());
        out.extend(self.modified.0.to_le_bytes());
        out.extend(self.md5);
        debug_assert_eq!(out.len(), HEAD_LEN);
        self.body.encode(&mut out);
        out.extend(&self.checksum);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<PartRecord, Invalid> {
        let mut input = Reader::new(bytes);
        let [version, kind, checksum_len, 0, 0, 0, 0, 0] = input.array()? else {
            return Err(Invalid::Field("reserved"));
        };
        check_version(version)?;
        if kind == PIECES {
            return Err(Invalid::Field("body kind"));
        }
        let lsn = Lsn(input.u64()?);
        let modified = Timestamp(input.u64()?);
        let md5 = input.array()?;
        let body = Body::decode(kind, &mut input)?;
        let checksum = input.bytes(usize::from(checksum_len))?.to_vec();
        input.end()?;
        Ok(PartRecord { lsn, modified, md5, body, checksum })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BucketState {
    Live = 1,
    /// DeleteBucket is under way; a restart resumes or clears it.
    Deleting = 2,
    /// Gone for clients; kept until every partition has proved its prefix empty.
    Dead = 3,
}

/// A bucket and its settings. The state's upper four bits are its versioning.
/// `version: u8, state: u8, name len: u16, settings len: u32, id: u64, created: u64, lsn: u64, name, settings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BucketRecord {
    pub(crate) id: BucketId,
    pub(crate) name: BucketName,
    pub(crate) created: Timestamp,
    /// The commit that wrote these settings.
    pub(crate) lsn: Lsn,
    pub(crate) state: BucketState,
    pub(crate) versioning: Versioning,
    /// The store does not look inside.
    pub(crate) settings: Vec<u8>,
}

const ENABLED: u8 = 1;
const SUSPENDED: u8 = 2;

impl BucketRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let name = self.name.as_str().as_bytes();
        let versioning = match self.versioning {
            Versioning::Unversioned => 0,
            Versioning::Enabled => ENABLED,
            Versioning::Suspended => SUSPENDED,
        };
        let mut out = vec![VERSION, self.state as u8 | versioning << 4];
        out.extend(u16::try_from(name.len()).expect("bucket names have at most 63 bytes").to_le_bytes());
        out.extend(count(self.settings.len()).to_le_bytes());
        out.extend(self.id.0.to_le_bytes());
        out.extend(self.created.0.to_le_bytes());
        out.extend(self.lsn.0.to_le_bytes());
        out.extend(name);
        out.extend(&self.settings);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<BucketRecord, Invalid> {
        let mut input = Reader::new(bytes);
        let [version, state] = input.array()?;
        check_version(version)?;
        let versioning = match state >> 4 {
            0 => Versioning::Unversioned,
            ENABLED => Versioning::Enabled,
            SUSPENDED => Versioning::Suspended,
            _ => return Err(Invalid::Field("bucket versioning")),
        };
        let state = match state & 0xf {
            1 => BucketState::Live,
            2 => BucketState::Deleting,
            3 => BucketState::Dead,
            _ => return Err(Invalid::Field("bucket state")),
        };
        let name_len = usize::from(input.u16()?);
        let settings_len = input.u32()? as usize;
        let id = BucketId(input.u64()?);
        let created = Timestamp(input.u64()?);
        let lsn = Lsn(input.u64()?);
        let name = std::str::from_utf8(input.bytes(name_len)?).map_err(|_| Invalid::Field("bucket name"))?;
        let name = BucketName::parse(name).map_err(|_| Invalid::Field("bucket name"))?;
        let settings = input.bytes(settings_len)?.to_vec();
        input.end()?;
        Ok(BucketRecord { id, name, created, lsn, state, versioning, settings })
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("lists are bounded by the limits of an upload and of a request")
}

fn attributes_len(attributes: &[u8]) -> u16 {
    u16::try_from(attributes.len()).expect("attributes are bounded by Attributes::LEN_MAX")
}

fn short_len(bytes: &[u8]) -> u8 {
    u8::try_from(bytes.len()).expect("checksums have at most 64 bytes")
}

fn encode_short(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(short_len(bytes));
    out.extend(bytes);
}

fn check_version(version: u8) -> Result<(), Invalid> {
    match version {
        VERSION => Ok(()),
        0 => Err(Invalid::Magic),
        newer => Err(Invalid::Newer { version: u16::from(newer) }),
    }
}

fn decode_short<'a>(input: &mut Reader<'a>) -> Result<&'a [u8], Invalid> {
    let len = usize::from(input.u8()?);
    input.bytes(len)
}

/// A count of items of at least `item_len` bytes each: never more than the input can hold.
fn decode_count(input: &mut Reader<'_>, item_len: usize) -> Result<usize, Invalid> {
    let count = input.u32()? as usize;
    if count <= input.rest().len() / item_len { Ok(count) } else { Err(Invalid::Short) }
}

fn decode_attributes(input: &mut Reader<'_>, len: usize) -> Result<Attributes, Invalid> {
    Attributes::from_bytes(input.bytes(len)?).ok_or(Invalid::Field("attributes"))
}

#[cfg(test)]
mod tests;

//! A commit batch: what the linear space of a stripe in a log volume holds.
//!
//! ```text
//! header (48 bytes) | entries, one after the other | bodies, byte-packed in the order of their entries
//! header: magic 8 | version u16 | 0 u16 | entries u32 | entries_len u32 | bodies_len u32 | sequence u64 | 0 (12) | crc u32
//! entry:  partition u16 | flags u16 | lsn u64 | ops u16 | live u16 | usage u16 | 0 u16 | body_len u32
//!         | live: volume u64, bytes i64 | usage: bucket u64, objects i64, bytes i64, versions i64
//!         | ops: key_len u16, address_at u16, value_len u32, key, value
//! ```
//! All integers little-endian. The CRC32C covers the header before it and all entries; bodies are covered by the checksums
//! of the fragments and by the CRC in their records.

use std::fmt;
use std::ops::Range;

use rt::buf::Shared;
use types::BucketId;

use crate::format::{Invalid, Reader};
use crate::ids::{Lsn, PartitionId, SlotOffset, VolumeId};

/// Bytes before the first entry.
pub(crate) const BATCH_HEADER_LEN: usize = 48;

const MAGIC: [u8; 8] = *b"HFZBATCH";
const VERSION: u16 = 1;
const CRC_AT: usize = BATCH_HEADER_LEN - 4;
const ENTRY_FIXED_LEN: usize = 24;
const LIVE_LEN: usize = 16;
const USAGE_LEN: usize = 32;
const OP_FIXED_LEN: usize = 8;
const FLAG_BODY: u16 = 1;
/// `address_at` of an operation whose value holds no address to be set.
const NO_ADDRESS: u16 = u16::MAX;
/// `value_len` of a tombstone.
const TOMBSTONE: u32 = u32::MAX;

/// What one commit of a partition says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) partition: PartitionId,
    pub(crate) lsn: Lsn,
    /// Changes of the index, in order.
    pub(crate) ops: Vec<Op>,
    /// The small body that this commit stores. `None` in entries that recovery found: there `placed` says where it lies.
    pub(crate) body: Option<SmallBody>,
    /// Where the body lies: set when the entry is laid out in its batch, `None` before and without a body. Its length
    /// counts as live in `placed.volume`, in addition to `live`.
    pub(crate) placed: Option<Address>,
    /// Changes of live bytes in volumes, the entry's own body not counted.
    pub(crate) live: Vec<(VolumeId, i64)>,
    pub(crate) usage: Vec<UsageDelta>,
}

/// One change of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) key: Vec<u8>,
    /// `None` is a tombstone.
    pub(crate) value: Option<Vec<u8>>,
    /// Byte offset in `value` where the address of the entry's body is put when the entry is laid out in its batch.
    pub(crate) address_at: Option<u16>,
}

/// A change of what a bucket holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsageDelta {
    pub(crate) bucket: BucketId,
    pub(crate) objects: i64,
    pub(crate) bytes: i64,
    pub(crate) versions: i64,
}

/// A body that travels in a batch: slices that are copied once, into the fragments.
#[derive(Clone, Default)]
pub struct SmallBody {
    pieces: Vec<Piece>,
    len: usize,
}

#[derive(Clone)]
enum Piece {
    Shared(Shared),
    Bytes(Vec<u8>),
}

impl SmallBody {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The bytes, in order.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| match piece {
            Piece::Shared(shared) => &shared[..],
            Piece::Bytes(bytes) => &bytes[..],
        })
    }

    /// A copy of all bytes.
    #[cfg(test)]
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len);
        self.pieces().for_each(|piece| bytes.extend_from_slice(piece));
        bytes
    }
}

impl From<Vec<u8>> for SmallBody {
    fn from(bytes: Vec<u8>) -> SmallBody {
        SmallBody { len: bytes.len(), pieces: vec![Piece::Bytes(bytes)] }
    }
}

impl From<Shared> for SmallBody {
    fn from(shared: Shared) -> SmallBody {
        SmallBody { len: shared.len(), pieces: vec![Piece::Shared(shared)] }
    }
}

impl PartialEq for SmallBody {
    fn eq(&self, other: &SmallBody) -> bool {
        self.pieces().flatten().eq(other.pieces().flatten())
    }
}

impl fmt::Debug for SmallBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmallBody({} bytes)", self.len)
    }
}

/// Where a small body lies: with the first page of the volume it needs nothing else to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) volume: VolumeId,
    /// Where the stripe begins, in every slot.
    pub(crate) slot_offset: SlotOffset,
    /// Payload bytes of each fragment of the stripe.
    pub(crate) fragment_len: u32,
    /// Offset of the body in the linear space of the stripe.
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl Address {
    /// Bytes of an encoded address.
    pub(crate) const LEN: usize = 24;

    pub(crate) fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.volume.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.slot_offset.0.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.fragment_len.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.offset.to_le_bytes());
        bytes[20..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// The inverse of `encode`; bytes behind it are not looked at.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Address, Invalid> {
        let mut reader = Reader::new(bytes);
        Ok(Address {
            volume: VolumeId(reader.u64()?),
            slot_offset: SlotOffset(reader.u32()?),
            fragment_len: reader.u32()?,
            offset: reader.u32()?,
            len: reader.u32()?,
        })
    }

    /// The body's place in the linear space of its stripe.
    pub(crate) fn range(self) -> Range<usize> {
        self.offset as usize..self.offset as usize + self.len as usize
    }
}

/// A place in a log stream: everything before it is durable. Checkpoints keep it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Position {
    /// Names the stream too: its start and its shard.
    pub(crate) volume: VolumeId,
    pub(crate) offset: SlotOffset,
    /// Number of the first batch at or after this place.
    pub(crate) sequence: u64,
}

impl Position {
    /// Bytes of an encoded position.
    pub(crate) const LEN: usize = 20;

    pub(crate) fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.volume.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.offset.0.to_le_bytes());
        bytes[12..].copy_from_slice(&self.sequence.to_le_bytes());
        bytes
    }

    /// The inverse of `encode`; bytes behind it are not looked at.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Position, Invalid> {
        let mut reader = Reader::new(bytes);
        Ok(Position { volume: VolumeId(reader.u64()?), offset: SlotOffset(reader.u32()?), sequence: reader.u64()? })
    }
}

/// What a checkpoint of a partition covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ckpt {
    /// Entries at or below it are in the tables.
    pub(crate) lsn: Lsn,
    /// Where the stream that the partition lived in was read or written up to; `None` before the first entry ever.
    pub(crate) position: Option<Position>,
}

impl Entry {
    /// Bytes that the entry takes in a batch, its body not counted.
    pub(crate) fn encoded_len(&self) -> usize {
        let ops: usize =
            self.ops.iter().map(|op| OP_FIXED_LEN + op.key.len() + op.value.as_ref().map_or(0, Vec::len)).sum();
        ENTRY_FIXED_LEN + self.live.len() * LIVE_LEN + self.usage.len() * USAGE_LEN + ops
    }

    pub(crate) fn body_len(&self) -> usize {
        self.body.as_ref().map_or(0, SmallBody::len)
    }

    /// Bytes that the entry takes in a batch with its body.
    pub(crate) fn batch_len(&self) -> usize {
        self.encoded_len() + self.body_len()
    }

    /// Sets the address of the body here and in the values that hold it.
    fn place(&mut self, address: Address) {
        self.placed = Some(address);
        let bytes = address.encode();
        for op in &mut self.ops {
            if let (Some(at), Some(value)) = (op.address_at, op.value.as_mut()) {
                let at = usize::from(at);
                value[at..at + Address::LEN].copy_from_slice(&bytes);
            }
        }
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        let small = |count: usize| u16::try_from(count).expect("an entry has few parts");
        let flags = if self.body_len() > 0 { FLAG_BODY } else { 0 };
        out.extend_from_slice(&self.partition.0.to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&self.lsn.0.to_le_bytes());
        out.extend_from_slice(&small(self.ops.len()).to_le_bytes());
        out.extend_from_slice(&small(self.live.len()).to_le_bytes());
        out.extend_from_slice(&small(self.usage.len()).to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&(self.body_len() as u32).to_le_bytes());
        for (volume, bytes) in &self.live {
            out.extend_from_slice(&volume.0.to_le_bytes());
            out.extend_from_slice(&bytes.to_le_bytes());
        }
        for usage in &self.usage {
            out.extend_from_slice(&usage.bucket.0.to_le_bytes());
            out.extend_from_slice(&usage.objects.to_le_bytes());
            out.extend_from_slice(&usage.bytes.to_le_bytes());
            out.extend_from_slice(&usage.versions.to_le_bytes());
        }
        for op in &self.ops {
            let value_len = match &op.value {
                None => TOMBSTONE,
                Some(value) => u32::try_from(value.len()).expect("a value fits a batch"),
            };
            out.extend_from_slice(&small(op.key.len()).to_le_bytes());
            out.extend_from_slice(&op.address_at.unwrap_or(NO_ADDRESS).to_le_bytes());
            out.extend_from_slice(&value_len.to_le_bytes());
            out.extend_from_slice(&op.key);
            out.extend_from_slice(op.value.as_deref().unwrap_or_default());
        }
    }

    /// Reads one entry; its body begins at `body_at` of the linear space.
    fn decode(reader: &mut Reader<'_>, place: Place, body_at: u32) -> Result<Entry, Invalid> {
        let partition = PartitionId(reader.u16()?);
        let flags = reader.u16()?;
        let lsn = Lsn(reader.u64()?);
        let (ops, live, usage) = (reader.u16()?, reader.u16()?, reader.u16()?);
        let reserved = reader.u16()?;
        let body_len = reader.u32()?;
        let has_body = flags == FLAG_BODY;
        if flags & !FLAG_BODY != 0 || reserved != 0 || has_body != (body_len > 0) {
            return Err(Invalid::Field("entry flags"));
        }
        let placed = has_body.then_some(Address {
            volume: place.volume,
            slot_offset: place.at,
            fragment_len: place.fragment_len,
            offset: body_at,
            len: body_len,
        });
        let live =
            (0..live).map(|_| Ok((VolumeId(reader.u64()?), reader.u64()? as i64))).collect::<Result<_, Invalid>>()?;
        let usage = (0..usage)
            .map(|_| {
                Ok(UsageDelta {
                    bucket: BucketId(reader.u64()?),
                    objects: reader.u64()? as i64,
                    bytes: reader.u64()? as i64,
                    versions: reader.u64()? as i64,
                })
            })
            .collect::<Result<_, Invalid>>()?;
        let ops = (0..ops).map(|_| Op::decode(reader)).collect::<Result<_, Invalid>>()?;
        Ok(Entry { partition, lsn, ops, body: None, placed, live, usage })
    }
}

impl Op {
    fn decode(reader: &mut Reader<'_>) -> Result<Op, Invalid> {
        let key_len = reader.u16()?;
        let address_at = Some(reader.u16()?).filter(|at| *at != NO_ADDRESS);
        let value_len = reader.u32()?;
        let key = reader.bytes(usize::from(key_len))?.to_vec();
        let value = match value_len {
            TOMBSTONE => None,
            len => Some(reader.bytes(len as usize)?.to_vec()),
        };
        let room = value.as_ref().map_or(0, Vec::len);
        if address_at.is_some_and(|at| usize::from(at) + Address::LEN > room) {
            return Err(Invalid::Field("address in a value"));
        }
        Ok(Op { key, value, address_at })
    }
}

/// Where a batch lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) volume: VolumeId,
    pub(crate) at: SlotOffset,
    pub(crate) fragment_len: u32,
}

/// Bytes of the linear space that a batch of these entries takes.
pub(crate) fn batch_len(entries: &[Entry]) -> usize {
    BATCH_HEADER_LEN + entries.iter().map(Entry::batch_len).sum::<usize>()
}

/// Gives every body its address and encodes the batch up to its bodies, which the caller puts behind it in order.
///
/// # Panics
/// When a part is beyond its field: more than 65,535 operations, keys above 64 KiB. The log refuses larger entries before.
pub(crate) fn encode_head(entries: &mut [Entry], sequence: u64, place: Place) -> Vec<u8> {
    let entries_len: usize = entries.iter().map(Entry::encoded_len).sum();
    let bodies_len: usize = entries.iter().map(Entry::body_len).sum();
    let mut head = Vec::with_capacity(BATCH_HEADER_LEN + entries_len);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&[0; 2]);
    head.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    head.extend_from_slice(&(entries_len as u32).to_le_bytes());
    head.extend_from_slice(&(bodies_len as u32).to_le_bytes());
    head.extend_from_slice(&sequence.to_le_bytes());
    head.resize(BATCH_HEADER_LEN, 0);
    let mut offset = BATCH_HEADER_LEN + entries_len;
    for entry in entries {
        let len = entry.body_len();
        if len > 0 {
            entry.place(Address {
                volume: place.volume,
                slot_offset: place.at,
                fragment_len: place.fragment_len,
                offset: offset as u32,
                len: len as u32,
            });
        }
        entry.encode_into(&mut head);
        offset += len;
    }
    assert_eq!(head.len(), BATCH_HEADER_LEN + entries_len, "entries take what was counted");
    let crc = head_crc(&head);
    head[CRC_AT..BATCH_HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    head
}

/// Makes `bytes` a batch head with a right checksum, whatever its entries are; whether there is room for one.
#[cfg(feature = "fuzz")]
pub(crate) fn set_checksum(bytes: &mut [u8]) -> bool {
    let Some(entries_len) = bytes.len().checked_sub(BATCH_HEADER_LEN) else { return false };
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..20].copy_from_slice(&(entries_len as u32).to_le_bytes());
    let crc = head_crc(bytes);
    bytes[CRC_AT..BATCH_HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    true
}

fn head_crc(head: &[u8]) -> u32 {
    let crc = codec::checksum::crc32c(&head[..CRC_AT]);
    codec::checksum::crc32c_append(crc, &head[BATCH_HEADER_LEN..])
}

/// The facts in front of the entries. They count only after `decode` has verified the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) entries: u32,
    pub(crate) entries_len: u32,
    pub(crate) bodies_len: u32,
    pub(crate) sequence: u64,
}

impl BatchHeader {
    /// Reads the first `BATCH_HEADER_LEN` bytes of a stripe.
    pub(crate) fn decode(bytes: &[u8]) -> Result<BatchHeader, Invalid> {
        let mut reader = Reader::new(bytes.get(..BATCH_HEADER_LEN).ok_or(Invalid::Short)?);
        if reader.array()? != MAGIC {
            return Err(Invalid::Magic);
        }
        let (version, _reserved) = (reader.u16()?, reader.u16()?);
        let header = BatchHeader {
            entries: reader.u32()?,
            entries_len: reader.u32()?,
            bodies_len: reader.u32()?,
            sequence: reader.u64()?,
        };
        if version > VERSION {
            return Err(Invalid::Newer { version });
        }
        Ok(header)
    }

    /// Bytes of header and entries.
    pub(crate) fn head_len(&self) -> usize {
        BATCH_HEADER_LEN + self.entries_len as usize
    }

    /// Bytes of the whole batch.
    pub(crate) fn batch_len(&self) -> usize {
        self.head_len() + self.bodies_len as usize
    }
}

/// Reads the entries of the batch at `place`. `bytes` begins with header and entries; what follows is not looked at.
pub(crate) fn decode(bytes: &[u8], place: Place) -> Result<Vec<Entry>, Invalid> {
    let header = BatchHeader::decode(bytes)?;
    let head = bytes.get(..header.head_len()).ok_or(Invalid::Short)?;
    if head[CRC_AT..BATCH_HEADER_LEN] != head_crc(head).to_le_bytes() {
        return Err(Invalid::Checksum);
    }
    let mut reader = Reader::new(&head[BATCH_HEADER_LEN..]);
    let mut entries = Vec::with_capacity((header.entries as usize).min(head.len() / ENTRY_FIXED_LEN));
    let mut body_at = header.head_len() as u64;
    for _ in 0..header.entries {
        let at = u32::try_from(body_at).map_err(|_| Invalid::Field("length of the bodies"))?;
        let entry = Entry::decode(&mut reader, place, at)?;
        body_at += u64::from(entry.placed.map_or(0, |address| address.len));
        entries.push(entry);
    }
    reader.end()?;
    if body_at != header.batch_len() as u64 {
        return Err(Invalid::Field("length of the bodies"));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;

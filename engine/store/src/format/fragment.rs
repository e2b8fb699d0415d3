//! One drive's share of a stripe: a header, the payload, zeros up to the page.
//!
//! Header, 64 bytes: magic "HZFR", version (u8), kind (u8), fragment index (u8), D (u8), P (u8), reserved (3 bytes,
//! zero), block count (u32), volume id, stripe sequence, durable-up-to sequence (u64 each), slot offset in pages,
//! stripe length, F (u32 each), reserved (8 bytes, zero), header CRC32C (u32). Then the CRC32C of each block of 16 KiB
//! of the payload (u32 each), zeros to a multiple of 64. The header CRC covers all of this but itself and is seeded with
//! the volume's secret.
//!
//! The stripe is a linear space of D x F bytes, of which `stripe_len` are used. Data fragment i holds the bytes from
//! i x F on, so it *uses* `min(F, stripe_len - i x F)` bytes, and a parity fragment uses as many as the longest data
//! fragment. A data fragment that uses none is implied zero and not written. The CRC of a block covers its used bytes;
//! blocks beyond them have none (0). Bytes beyond the used ones are zero for the code, and need not be read.

use std::ops::Range;

use codec::checksum::{crc32c, crc32c_append};

use super::{Invalid, Reader};
use crate::ids::{Geometry, PAGE_BYTES, SlotOffset, VolumeId};

/// Bytes of payload under one checksum.
pub(crate) const BLOCK_BYTES: usize = 16 * 1024;
/// Largest F: bounds what a header makes its reader allocate.
pub(crate) const FRAGMENT_LEN_MAX: u32 = 8 << 20;

const MAGIC: &[u8; 4] = b"HZFR";
const VERSION: u8 = 1;
const FIXED_LEN: usize = 64;
const CRC_AT: usize = 60;
/// Headers end on a cache line, so that the payload starts aligned for the code's kernels.
const ALIGNMENT: usize = 64;

const _: () = assert!(PAGE_BYTES.is_multiple_of(ALIGNMENT) && FIXED_LEN == CRC_AT + 4);
// The part of a header that says how long it is always lies in the first page.
const _: () = assert!(FIXED_LEN <= PAGE_BYTES);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Part of a commit batch.
    Log,
    /// Part of a large object.
    Data,
}

/// What a fragment says of itself and its stripe. All fields but `index` are the same in all fragments of a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// Below D: data; from D on: parity.
    pub(crate) index: u8,
    pub(crate) geometry: Geometry,
    pub(crate) volume: VolumeId,
    /// Counts stripes in the stream (log) or volume (data).
    pub(crate) sequence: u64,
    /// All stripes of the stream up to this sequence were durable when this one was sealed.
    pub(crate) durable_upto: u64,
    pub(crate) slot_offset: SlotOffset,
    /// Bytes the stripe holds, 1..=D x F.
    pub(crate) stripe_len: u32,
    /// F: payload bytes of a full fragment.
    pub(crate) fragment_len: u32,
}

impl Header {
    /// Bytes before the payload: a multiple of 64.
    pub(crate) const fn len(fragment_len: u32) -> usize {
        (FIXED_LEN + 4 * block_count(fragment_len)).next_multiple_of(ALIGNMENT)
    }

    /// Bytes that this fragment uses of its F; 0 = implied zero, not written.
    pub(crate) fn used(&self) -> u32 {
        used(self.geometry, self.fragment_len, self.stripe_len, self.index)
    }

    /// Fragments that are enough to give back the bytes of this stripe.
    pub(crate) fn needed(&self) -> usize {
        self.stripe_len.div_ceil(self.fragment_len) as usize
    }

    /// Bytes that fragment `index` of this stripe uses of its F.
    pub(crate) fn used_by(&self, index: u8) -> u32 {
        used(self.geometry, self.fragment_len, self.stripe_len, index)
    }

    /// Writes the header before a payload whose block checksums are known: `block_crcs` covers the used bytes, one for
    /// each 16 KiB begun.
    ///
    /// `out` is at least `Header::len(F)` long. Panics if a field is out of range: checked before it is written.
    pub(crate) fn encode_into(&self, out: &mut [u8], block_crcs: &[u32], secret: u32) {
        assert_eq!(self.check(), Ok(()), "a header is checked before it is written");
        assert_eq!(block_crcs.len(), block_count(self.used()), "one checksum for each block in use");
        let out = &mut out[..Header::len(self.fragment_len)];
        out.fill(0);
        out[0..4].copy_from_slice(MAGIC);
        out[4] = VERSION;
        out[5] = match self.kind {
            Kind::Log => 1,
            Kind::Data => 2,
        };
        out[6] = self.index;
        out[7] = self.geometry.data;
        out[8] = self.geometry.parity;
        out[12..16].copy_from_slice(&(block_count(self.fragment_len) as u32).to_le_bytes());
        out[16..24].copy_from_slice(&self.volume.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        out[32..40].copy_from_slice(&self.durable_upto.to_le_bytes());
        out[40..44].copy_from_slice(&self.slot_offset.0.to_le_bytes());
        out[44..48].copy_from_slice(&self.stripe_len.to_le_bytes());
        out[48..52].copy_from_slice(&self.fragment_len.to_le_bytes());
        for (place, crc) in out[FIXED_LEN..].chunks_exact_mut(4).zip(block_crcs) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        let crc = header_crc(out, secret);
        out[CRC_AT..FIXED_LEN].copy_from_slice(&crc.to_le_bytes());
    }

    /// Writes the header in front of the payload that already lies at `Header::len(F)` in `fragment`, and zeros behind
    /// its used bytes up to the end of `fragment`.
    pub(crate) fn seal(&self, fragment: &mut [u8], secret: u32) {
        let used = self.used() as usize;
        let (head, payload) = fragment.split_at_mut(Header::len(self.fragment_len));
        payload[used..].fill(0);
        let mut crcs = [0; block_count(FRAGMENT_LEN_MAX)];
        let crcs = &mut crcs[..block_count(used as u32)];
        codec::checksum::crc32c_blocks(&payload[..used], BLOCK_BYTES, crcs);
        self.encode_into(head, crcs, secret);
    }

    /// Takes the header at the start of `bytes`, which may go on with the payload. Cost: one checksum over the header.
    pub(crate) fn decode(bytes: &[u8], secret: u32) -> Result<(Header, Blocks<'_>), Invalid> {
        let fixed = bytes.get(..FIXED_LEN).ok_or(Invalid::Short)?;
        let mut fields = Reader::new(fixed);
        if fields.bytes(4)? != MAGIC {
            return Err(Invalid::Magic);
        }
        let (version, kind, index) = (fields.u8()?, fields.u8()?, fields.u8()?);
        let (data, parity) = (fields.u8()?, fields.u8()?);
        fields.bytes(3)?;
        let blocks = fields.u32()?;
        let volume = VolumeId(fields.u64()?);
        let (sequence, durable_upto) = (fields.u64()?, fields.u64()?);
        let slot_offset = SlotOffset(fields.u32()?);
        let (stripe_len, fragment_len) = (fields.u32()?, fields.u32()?);
        fields.bytes(8)?;
        let crc = fields.u32()?;
        // The length comes from bytes that are not yet proved; it is bounded, and the checksum proves it.
        if blocks as usize > block_count(FRAGMENT_LEN_MAX) {
            return Err(Invalid::Checksum);
        }
        let len = (FIXED_LEN + 4 * blocks as usize).next_multiple_of(ALIGNMENT);
        let head = bytes.get(..len).ok_or(Invalid::Short)?;
        if header_crc(head, secret) != crc {
            return Err(Invalid::Checksum);
        }
        if version != VERSION {
            return Err(Invalid::Newer { version: u16::from(version) });
        }
        let kind = match kind {
            1 => Kind::Log,
            2 => Kind::Data,
            _ => return Err(Invalid::Field("kind")),
        };
        let header = Header {
            kind,
            index,
            geometry: Geometry::new(data, parity).ok_or(Invalid::Field("geometry"))?,
            volume,
            sequence,
            durable_upto,
            slot_offset,
            stripe_len,
            fragment_len,
        };
        header.check()?;
        if blocks as usize != block_count(fragment_len) {
            return Err(Invalid::Field("blocks"));
        }
        Ok((header, Blocks { crcs: &head[FIXED_LEN..], used: header.used() as usize }))
    }

    /// What the page at `at` of a slot says that it begins, if it says so of this place. Nothing of it is proved: the secret that
    /// proves it is in the volume's first page, and this is for those who have none.
    pub(crate) fn unproved_kind(page: &[u8], volume: VolumeId, at: SlotOffset) -> Option<Kind> {
        let fixed = page.get(..FIXED_LEN)?;
        let is_here = fixed[16..24] == volume.0.to_le_bytes() && fixed[40..44] == at.0.to_le_bytes();
        match fixed[5] {
            1 if fixed.starts_with(MAGIC) && is_here => Some(Kind::Log),
            2 if fixed.starts_with(MAGIC) && is_here => Some(Kind::Data),
            _ => None,
        }
    }

    fn check(&self) -> Result<(), Invalid> {
        if !(1..=FRAGMENT_LEN_MAX).contains(&self.fragment_len) {
            return Err(Invalid::Field("fragment length"));
        }
        let room = u64::from(self.geometry.data) * u64::from(self.fragment_len);
        if self.stripe_len == 0 || u64::from(self.stripe_len) > room {
            return Err(Invalid::Field("stripe length"));
        }
        if usize::from(self.index) >= self.geometry.width() || self.used() == 0 {
            return Err(Invalid::Field("index"));
        }
        if self.slot_offset < SlotOffset::FIRST_STRIPE {
            return Err(Invalid::Field("slot offset"));
        }
        Ok(())
    }
}

/// The block checksums of one fragment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks<'a> {
    crcs: &'a [u8],
    used: usize,
}

impl Blocks<'_> {
    /// Bytes of the payload in use.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    pub(crate) fn crc(&self, block: usize) -> Option<u32> {
        if block >= self.used.div_ceil(BLOCK_BYTES) {
            return None;
        }
        let bytes = self.crcs.get(4 * block..4 * block + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The range widened to whole blocks: what must be read so that `range` can be verified.
    pub(crate) fn whole(&self, range: Range<usize>) -> Range<usize> {
        let start = range.start / BLOCK_BYTES * BLOCK_BYTES;
        start..range.end.next_multiple_of(BLOCK_BYTES).min(self.used)
    }

    /// Verifies `bytes`, which lie at `at` in the payload: `at` begins a block and `bytes` ends with a block or with
    /// the used bytes, as `whole` gives them.
    pub(crate) fn verify_at(&self, bytes: &[u8], at: usize) -> Result<(), Invalid> {
        let end = at + bytes.len();
        if !at.is_multiple_of(BLOCK_BYTES) || end > self.used || (!end.is_multiple_of(BLOCK_BYTES) && end != self.used)
        {
            return Err(Invalid::Short);
        }
        for (n, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
            if self.crc(at / BLOCK_BYTES + n) != Some(crc32c(block)) {
                return Err(Invalid::Checksum);
            }
        }
        Ok(())
    }

    /// Verifies the blocks of the whole `payload` (its used bytes at least) that `range` touches.
    pub(crate) fn verify(&self, payload: &[u8], range: Range<usize>) -> Result<(), Invalid> {
        let whole = self.whole(range);
        self.verify_at(payload.get(whole.clone()).ok_or(Invalid::Short)?, whole.start)
    }
}

/// Blocks of 16 KiB that `len` bytes begin.
pub(crate) const fn block_count(len: u32) -> usize {
    (len as usize).div_ceil(BLOCK_BYTES)
}

/// Bytes that fragment `index` of a stripe uses of its F.
pub(crate) fn used(geometry: Geometry, fragment_len: u32, stripe_len: u32, index: u8) -> u32 {
    if index >= geometry.data {
        return stripe_len.min(fragment_len);
    }
    let before = u64::from(index) * u64::from(fragment_len);
    u64::from(stripe_len).saturating_sub(before).min(u64::from(fragment_len)) as u32
}

/// Pages that a stripe of this F takes in each slot.
pub(crate) const fn fragment_pages(fragment_len: u32) -> u32 {
    (Header::len(fragment_len) + fragment_len as usize).div_ceil(PAGE_BYTES) as u32
}

/// Pages that must be written or read of a fragment that uses `used` of its F.
pub(crate) const fn used_pages(fragment_len: u32, used: u32) -> u32 {
    (Header::len(fragment_len) + used as usize).div_ceil(PAGE_BYTES) as u32
}

/// Makes `bytes` begin like a header with a right checksum, whatever its fields are; whether there is room for one.
#[cfg(feature = "fuzz")]
pub(crate) fn set_checksum(bytes: &mut [u8], secret: u32) -> bool {
    if bytes.len() < FIXED_LEN {
        return false;
    }
    bytes[..5].copy_from_slice(&[MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], VERSION]);
    let blocks = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) as usize;
    if blocks > block_count(FRAGMENT_LEN_MAX) {
        return false;
    }
    let len = (FIXED_LEN + 4 * blocks).next_multiple_of(ALIGNMENT);
    let Some(head) = bytes.get_mut(..len) else { return false };
    let crc = header_crc(head, secret);
    head[CRC_AT..FIXED_LEN].copy_from_slice(&crc.to_le_bytes());
    true
}

fn header_crc(head: &[u8], secret: u32) -> u32 {
    crc32c_append(crc32c_append(secret, &head[..CRC_AT]), &head[FIXED_LEN..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StartNumber;

    const SECRET: u32 = 0x5ec2_e700;

    fn sample() -> Header {
        Header {
            kind: Kind::Data,
            index: 1,
            geometry: Geometry::new(4, 2).unwrap(),
            volume: VolumeId::new(StartNumber::new(2).unwrap(), 1, 7),
            sequence: 0x1122_3344_5566_7788,
            durable_upto: 0x0102_0304_0506_0708,
            slot_offset: SlotOffset(33),
            stripe_len: 100_000,
            fragment_len: 40_000,
        }
    }

    fn sealed(header: &Header) -> Vec<u8> {
        let mut fragment = vec![0xee; fragment_pages(header.fragment_len) as usize * PAGE_BYTES];
        let at = Header::len(header.fragment_len);
        for (n, byte) in fragment[at..at + header.used() as usize].iter_mut().enumerate() {
            *byte = (n * 7 % 251) as u8;
        }
        header.seal(&mut fragment, SECRET);
        fragment
    }

    #[test]
    fn a_fragment_has_golden_bytes() {
        let header = Header { stripe_len: 80_005, index: 2, ..sample() };
        let fragment = sealed(&header);
        assert_eq!(
            codec::hex::encode(&fragment[..144]),
            "485a4652010202040200000003000000\
             07000001000200008877665544332211\
             08070605040302012100000085380100\
             409c00000000000000000000c94b50a1\
             b806628a000000000000000000000000\
             00000000000000000000000000000000\
             00000000000000000000000000000000\
             00000000000000000000000000000000\
             00070e151c0000000000000000000000"
        );
        assert!(fragment[133..].iter().all(|&b| b == 0), "nothing of an earlier buffer stays behind the payload");
        let (read, blocks) = Header::decode(&fragment, SECRET).unwrap();
        assert_eq!((read, blocks.used()), (header, 5));
        assert_eq!(blocks.crc(0), Some(crc32c(&[0, 7, 14, 21, 28])));
        assert_eq!(blocks.crc(1), None);
    }

    #[test]
    fn used_bytes_follow_from_the_stripe() {
        let used = |stripe_len: u32| -> Vec<u32> {
            (0..6).map(|index| used(Geometry::new(4, 2).unwrap(), 100, stripe_len, index)).collect()
        };
        assert_eq!(used(400), [100, 100, 100, 100, 100, 100]);
        assert_eq!(used(250), [100, 100, 50, 0, 100, 100]);
        assert_eq!(used(30), [30, 0, 0, 0, 30, 30]);
    }

    #[test]
    fn payloads_start_aligned_and_fit_their_pages() {
        for fragment_len in [1, 4032, 16_384, 16_385, 262_144, FRAGMENT_LEN_MAX] {
            let len = Header::len(fragment_len);
            assert_eq!(len % 64, 0);
            let bytes = fragment_pages(fragment_len) as usize * PAGE_BYTES;
            assert!(len + fragment_len as usize <= bytes && bytes < len + fragment_len as usize + PAGE_BYTES);
        }
        assert_eq!(Header::len(1), 128);
        assert_eq!(Header::len(262_144), 128);
        assert_eq!(fragment_pages(3968), 1);
    }

    #[test]
    fn a_block_is_verified_by_itself_and_any_changed_byte_is_found() {
        let header = sample();
        let mut fragment = sealed(&header);
        let payload_at = Header::len(header.fragment_len);
        let head = fragment[..payload_at].to_vec();
        let (_, blocks) = Header::decode(&head, SECRET).unwrap();
        assert_eq!(blocks.whole(16_383..16_385), 0..32_768);
        assert_eq!(blocks.whole(32_768..32_769), 32_768..40_000);
        fragment[payload_at + 20_000] ^= 1;
        let payload = &fragment[payload_at..];
        assert_eq!(blocks.verify(payload, 0..16_384), Ok(()));
        assert_eq!(blocks.verify(payload, 16_384..16_385), Err(Invalid::Checksum));
        assert_eq!(blocks.verify(payload, 0..40_000), Err(Invalid::Checksum));
        assert_eq!(blocks.verify_at(&payload[32_768..40_000], 32_768), Ok(()));
        assert_eq!(blocks.verify_at(&payload[32_768..39_999], 32_768), Err(Invalid::Short));
        assert_eq!(blocks.verify(&payload[..100], 0..1), Err(Invalid::Short));
    }

    #[test]
    fn a_header_that_is_cut_changed_or_of_another_volume_is_refused() {
        let fragment = sealed(&sample());
        let len = Header::len(sample().fragment_len);
        for cut in 0..len {
            assert!(Header::decode(&fragment[..cut], SECRET).is_err(), "cut to {cut}");
        }
        for at in 0..len {
            let mut changed = fragment[..len].to_vec();
            changed[at] ^= 0x10;
            assert!(Header::decode(&changed, SECRET).is_err(), "byte {at}");
        }
        assert_eq!(Header::decode(&fragment, SECRET + 1).err(), Some(Invalid::Checksum));
        assert_eq!(Header::decode(&[0; 4096], SECRET).err(), Some(Invalid::Magic));
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        let check = |at: usize, bytes: &[u8], expect: &'static str| {
            let mut fragment = sealed(&sample());
            fragment[at..at + bytes.len()].copy_from_slice(bytes);
            let head = &mut fragment[..Header::len(sample().fragment_len)];
            let crc = header_crc(head, SECRET);
            head[CRC_AT..FIXED_LEN].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(Header::decode(&fragment, SECRET).err(), Some(Invalid::Field(expect)));
        };
        check(5, &[3], "kind");
        check(7, &[0], "geometry");
        check(6, &[6], "index");
        check(6, &[3], "index");
        check(40, &[0], "slot offset");
        check(44, &[0; 4], "stripe length");
        check(44, &[0xff; 4], "stripe length");
        check(48, &[0; 4], "fragment length");
        check(48, &[0xff; 4], "fragment length");
        check(12, &[2], "blocks");
    }
}

//! The first page of every slot file: the volume's own description. The same in all slots but for the slot's number and, once
//! slots have moved, for the slots' drives.
//!
//! Content: volume id (u64), deployment id (u128), epoch number (u64), slot bytes (u64), header secret (u32), class,
//! data fragments, parity fragments, this slot and whether it is hollow (u8 each), predecessor (u64, 0 = none), its end (u32), number of closed
//! streams (u16), moves (u16); the slots' drives (u128 each); per closed stream: volume (u64), end (u32).
//!
//! A slot may move to another drive: its file there has a page of its own, which names the drives as they are then and says
//! how many slots had moved. All else is the same in all pages of a volume for ever.

use super::{Invalid, Reader};
use crate::ids::{DeploymentId, DriveId, Geometry, PAGE_BYTES, SlotOffset, StartNumber, VolumeId};

/// Streams that one first page can close: every shard of a start leaves at most one open.
pub(crate) const CLOSES_MAX: usize = 256;

const MAGIC: &[u8; 8] = b"HAFIZVOL";
const VERSION: u16 = 1;
const FIXED_LEN: usize = 64;
const DRIVE_LEN: usize = 16;
const CLOSED_LEN: usize = 12;
/// Added to the slot's number.
const HOLLOW: u8 = 0x80;
const WIDTH_MAX: usize = (Geometry::DATA_MAX + Geometry::PARITY_MAX) as usize;

const _: () = assert!(WIDTH_MAX <= HOLLOW as usize);
const _: () = assert!(super::ENVELOPE_LEN + FIXED_LEN + WIDTH_MAX * DRIVE_LEN + CLOSES_MAX * CLOSED_LEN <= PAGE_BYTES);

/// What a volume's stripes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Commit batches.
    Log,
    /// Pieces of large objects.
    Data,
}

impl Class {
    pub(crate) fn code(self) -> u8 {
        match self {
            Class::Log => 1,
            Class::Data => 2,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Class> {
        match code {
            1 => Some(Class::Log),
            2 => Some(Class::Data),
            _ => None,
        }
    }
}

/// Where a log volume ends: nothing at or beyond `end` is ever read, whatever drives come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) volume: VolumeId,
    pub(crate) end: SlotOffset,
}

/// The description of a volume. The start number and shard are in the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumePage {
    pub(crate) volume: VolumeId,
    pub(crate) deployment: DeploymentId,
    /// The epoch in which the volume was made.
    pub(crate) epoch: u64,
    /// Bytes of each slot file, the first page included.
    pub(crate) slot_bytes: u64,
    /// Seeds the checksum of every fragment header of this volume, so that no tenant's bytes can pose as a fragment.
    pub(crate) secret: u32,
    pub(crate) class: Class,
    pub(crate) geometry: Geometry,
    /// The drive of each slot; `geometry.width()` of them.
    pub(crate) drives: Vec<DriveId>,
    /// Slots of the volume that had moved to another drive, or were made again, when this page was written.
    pub(crate) moves: u16,
    /// Of the slot in which the page lies: it was made again when not all could be computed that may be needed, so where it has
    /// a hole a fragment may be missing. Until it is known that none is, it counts as short.
    pub(crate) hollow: bool,
    /// For a log volume: the one before it in its stream, and where that one ends.
    pub(crate) predecessor: Option<Closed>,
    /// Ends of the streams of earlier starts; at most `CLOSES_MAX`.
    pub(crate) closes: Vec<Closed>,
}

impl VolumePage {
    pub(crate) fn start(&self) -> StartNumber {
        self.volume.start()
    }

    /// The first page of slot number `slot`. Panics if a list is longer than its bound: `create_volume` checks them.
    pub(crate) fn encode(&self, slot: usize) -> Vec<u8> {
        assert!(slot < self.geometry.width() && self.drives.len() == self.geometry.width());
        assert!(self.closes.len() <= CLOSES_MAX);
        let predecessor = self.predecessor.unwrap_or(Closed { volume: VolumeId(0), end: SlotOffset(0) });
        let mut content = Vec::with_capacity(PAGE_BYTES);
        content.extend(self.volume.0.to_le_bytes());
        content.extend(self.deployment.0.to_le_bytes());
        content.extend(self.epoch.to_le_bytes());
        content.extend(self.slot_bytes.to_le_bytes());
        content.extend(self.secret.to_le_bytes());
        let slot = slot as u8 | if self.hollow { HOLLOW } else { 0 };
        content.extend([self.class.code(), self.geometry.data, self.geometry.parity, slot]);
        content.extend(predecessor.volume.0.to_le_bytes());
        content.extend(predecessor.end.0.to_le_bytes());
        content.extend((self.closes.len() as u16).to_le_bytes());
        content.extend(self.moves.to_le_bytes());
        for drive in &self.drives {
            content.extend(drive.0.to_le_bytes());
        }
        for closed in &self.closes {
            content.extend(closed.volume.0.to_le_bytes());
            content.extend(closed.end.0.to_le_bytes());
        }
        super::wrap(MAGIC, VERSION, &content, PAGE_BYTES)
    }

    /// The description and the slot it says it lies in.
    pub(crate) fn decode(page: &[u8]) -> Result<(VolumePage, usize), Invalid> {
        let (_, content) = super::unwrap(MAGIC, VERSION, page)?;
        let mut fields = Reader::new(content);
        let volume = VolumeId(fields.u64()?);
        let deployment = DeploymentId(fields.u128()?);
        let (epoch, slot_bytes, secret) = (fields.u64()?, fields.u64()?, fields.u32()?);
        let class = Class::from_code(fields.u8()?).ok_or(Invalid::Field("class"))?;
        let geometry = Geometry::new(fields.u8()?, fields.u8()?).ok_or(Invalid::Field("geometry"))?;
        let slot = fields.u8()?;
        let (slot, hollow) = (usize::from(slot & !HOLLOW), slot & HOLLOW != 0);
        let predecessor = read_closed(&mut fields)?;
        let closes_count = usize::from(fields.u16()?);
        let moves = fields.u16()?;
        if slot >= geometry.width() {
            return Err(Invalid::Field("slot"));
        }
        if closes_count > CLOSES_MAX {
            return Err(Invalid::Field("closes"));
        }
        let pages = slot_bytes / PAGE_BYTES as u64;
        if slot_bytes % PAGE_BYTES as u64 != 0 || pages < 2 || pages > u64::from(u32::MAX) {
            return Err(Invalid::Field("slot bytes"));
        }
        let drives =
            (0..geometry.width()).map(|_| Ok(DriveId(fields.u128()?))).collect::<Result<Vec<DriveId>, Invalid>>()?;
        let closes = (0..closes_count).map(|_| read_closed(&mut fields)).collect::<Result<Vec<Closed>, Invalid>>()?;
        fields.end()?;
        let predecessor = (predecessor.volume != VolumeId(0)).then_some(predecessor);
        let page = VolumePage {
            volume,
            deployment,
            epoch,
            slot_bytes,
            secret,
            class,
            geometry,
            drives,
            moves,
            hollow,
            predecessor,
            closes,
        };
        Ok((page, slot))
    }

    /// Whether both are pages of one volume: they agree in all that does not change when slots move.
    pub(crate) fn agrees_with(&self, other: &VolumePage) -> bool {
        *self == VolumePage { drives: self.drives.clone(), moves: self.moves, hollow: self.hollow, ..other.clone() }
    }
}

fn read_closed(fields: &mut Reader<'_>) -> Result<Closed, Invalid> {
    Ok(Closed { volume: VolumeId(fields.u64()?), end: SlotOffset(fields.u32()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> VolumePage {
        let start = StartNumber::new(2).unwrap();
        VolumePage {
            volume: VolumeId::new(start, 1, 7),
            deployment: DeploymentId(0xd0),
            epoch: 9,
            slot_bytes: 1 << 20,
            secret: 0x5ec2_e700,
            class: Class::Log,
            geometry: Geometry::new(2, 1).unwrap(),
            drives: vec![DriveId(0xa), DriveId(0xb), DriveId(0xc)],
            moves: 0x0102,
            hollow: false,
            predecessor: Some(Closed { volume: VolumeId::new(start, 1, 6), end: SlotOffset(33) }),
            closes: vec![Closed { volume: VolumeId::new(StartNumber::new(1).unwrap(), 0, 4), end: SlotOffset(5) }],
        }
    }

    #[test]
    fn a_volume_page_has_golden_bytes() {
        let bytes = sample().encode(2);
        assert_eq!(bytes.len(), PAGE_BYTES);
        assert_eq!(
            codec::hex::encode(&bytes[..24 + 64 + 3 * 16 + 12]),
            "484146495a564f4c0100000094000000752d422200000000".to_owned()
                + "0700000100020000d0000000000000000000000000000000"
                + "0900000000000000000010000000000000e7c25e01020102"
                + "06000001000200002100000001000201"
                + "0a0000000000000000000000000000000b0000000000000000000000000000000c000000000000000000000000000000"
                + "040000000001000005000000"
        );
        assert_eq!(VolumePage::decode(&bytes), Ok((sample(), 2)));
        let hollow = VolumePage { hollow: true, ..sample() };
        assert_eq!(VolumePage::decode(&hollow.encode(2)), Ok((hollow.clone(), 2)));
        assert_eq!(hollow.encode(2)[71], 0x82);
        assert!(hollow.agrees_with(&sample()));
    }

    #[test]
    fn the_largest_page_fits_and_reads_back() {
        let page = VolumePage {
            geometry: Geometry::new(16, 8).unwrap(),
            drives: (0..24).map(DriveId).collect(),
            closes: vec![sample().closes[0]; CLOSES_MAX],
            predecessor: None,
            class: Class::Data,
            ..sample()
        };
        assert_eq!(VolumePage::decode(&page.encode(23)), Ok((page, 23)));
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        let check = |at: usize, value: u8, expect: &'static str| {
            let page = sample().encode(0);
            let len = u32::from_le_bytes(page[12..16].try_into().unwrap()) as usize;
            let mut content = page[super::super::ENVELOPE_LEN..len].to_vec();
            content[at] = value;
            let page = super::super::wrap(MAGIC, VERSION, &content, PAGE_BYTES);
            assert_eq!(VolumePage::decode(&page), Err(Invalid::Field(expect)));
        };
        check(44, 3, "class");
        check(45, 17, "geometry");
        check(45, 0, "geometry");
        check(46, 9, "geometry");
        check(47, 3, "slot");
        check(32, 1, "slot bytes");
        check(34, 0, "slot bytes");
        check(61, 2, "closes");
        check(60, 0, "length");
    }
}

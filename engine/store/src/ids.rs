//! Identities inside the store. Each is a type of its own, so that they cannot be mixed up.

use std::fmt;

macro_rules! display_hex {
    ($name:ident, $format:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}

/// A deployment: all drives that belong together. Random, fixed when it is formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeploymentId(pub u128);
display_hex!(DeploymentId, "{:032x}");

/// A drive, for as long as its contents are trusted: a drive that comes back after it was taken out gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriveId(pub u128);
display_hex!(DriveId, "{:032x}");

impl DriveId {
    /// As it is shown: 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<DriveId> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(DriveId)
    }
}

/// A slice of the key space, owned by one shard at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u16);

impl PartitionId {
    /// Buckets and their settings live here.
    pub const BUCKETS: PartitionId = PartitionId(0);
}

/// One run of the process: 24 bits, durable in a new epoch before the first write of that start. Starts at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartNumber(u32);

impl StartNumber {
    pub const MAX: u32 = (1 << 24) - 1;

    pub fn new(number: u32) -> Option<StartNumber> {
        (number <= Self::MAX).then_some(StartNumber(number))
    }

    pub fn value(self) -> u32 {
        self.0
    }
}

/// A partition's commit number: start number (24 bits), counter (40 bits). Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    pub const ZERO: Lsn = Lsn(0);
    const COUNTER_BITS: u32 = 40;

    /// The first LSN of a start is `Lsn::first(start)`; the next one is always `lsn.next()`.
    pub fn first(start: StartNumber) -> Lsn {
        Lsn((u64::from(start.value()) << Self::COUNTER_BITS) | 1)
    }

    pub fn next(self) -> Lsn {
        let next = Lsn(self.0 + 1);
        assert!(next.start() == self.start(), "a start has used all of its 2^40 LSNs");
        next
    }

    pub fn start(self) -> u32 {
        (self.0 >> Self::COUNTER_BITS) as u32
    }
}

/// A volume: start number (24 bits), shard that writes it (16 bits), counter (24 bits). Never reused: an id names one
/// content for ever. The stream of a log volume is its (start, shard).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId(pub u64);
display_hex!(VolumeId, "{:016x}");

impl VolumeId {
    pub const COUNTER_MAX: u32 = (1 << 24) - 1;

    pub fn new(start: StartNumber, shard: u16, counter: u32) -> VolumeId {
        assert!(counter <= Self::COUNTER_MAX, "a shard has used all volume ids of this start");
        VolumeId((u64::from(start.value()) << 40) | (u64::from(shard) << 24) | u64::from(counter))
    }

    pub fn start(self) -> StartNumber {
        StartNumber((self.0 >> 40) as u32)
    }

    pub fn shard(self) -> u16 {
        (self.0 >> 24) as u16
    }

    pub fn counter(self) -> u32 {
        self.0 as u32 & Self::COUNTER_MAX
    }
}

/// A place in every slot of a volume, in pages of 4 KiB. Page 0 is the volume's own description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotOffset(pub u32);

impl SlotOffset {
    /// Where the first stripe of a volume lies.
    pub const FIRST_STRIPE: SlotOffset = SlotOffset(1);

    pub fn bytes(self) -> u64 {
        u64::from(self.0) * PAGE_BYTES as u64
    }

    pub fn advance(self, pages: u32) -> SlotOffset {
        SlotOffset(self.0.checked_add(pages).expect("slots are sized below 2^32 pages"))
    }
}

/// Unit of direct I/O and of addresses in slots.
pub const PAGE_BYTES: usize = 4096;

/// D data and P parity fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    pub data: u8,
    pub parity: u8,
}

impl Geometry {
    pub const DATA_MAX: u8 = 16;
    pub const PARITY_MAX: u8 = 8;

    pub fn new(data: u8, parity: u8) -> Option<Geometry> {
        let valid = (1..=Self::DATA_MAX).contains(&data) && parity <= Self::PARITY_MAX;
        valid.then_some(Geometry { data, parity })
    }

    /// Number of slots.
    pub fn width(self) -> usize {
        usize::from(self.data) + usize::from(self.parity)
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.data, self.parity)
    }
}

//! `topology`: the epoch a drive knows: which drives are in, the start number, where partitions are in sync.
//!
//! Two copies of 16 KiB; the older one is overwritten. Content: epoch number, epoch id (u64 each), deployment id (u128),
//! start number (u32), partitions (u16), ancestors (u16), drives (u8), parity (u8), rebalance (u8: 1 = asked for),
//! reserved (u8, zero), its pace (u32, MiB/s, 0 = as fast as it goes); per drive: id (u128), the epoch that took it out
//! (u64, 0 = in), flags (u8: 1 draining, 2 behind), reserved (7 bytes, zero); per partition: in-sync drives as a bit mask
//! over the drive list (u64); the ids of the epochs before this one, the parent's first (u64 each).

use super::{Invalid, Reader};
use crate::ids::{DeploymentId, DriveId, Geometry, PartitionId, StartNumber};

/// Bytes of one copy.
pub(crate) const COPY_BYTES: usize = 16 * 1024;
/// Bytes of the file.
pub(crate) const FILE_BYTES: usize = 2 * COPY_BYTES;
/// Drives of one deployment; in-sync sets are 64-bit masks.
pub(crate) const DRIVES_MAX: usize = 64;
pub(crate) const PARTITIONS_MAX: usize = 1024;
/// How far back an epoch knows its ancestors. A drive of the in-set lags by the epochs that were broken off since the
/// last complete one: a handful.
pub(crate) const ANCESTORS_MAX: usize = 512;

const MAGIC: &[u8; 8] = b"HAFIZTOP";
const VERSION: u16 = 1;
const FIXED_LEN: usize = 48;
const DRIVE_LEN: usize = 32;
/// Bits of a drive's flags.
const DRAINING: u8 = 1;
const BEHIND: u8 = 2;

const _: () = assert!(
    super::ENVELOPE_LEN + FIXED_LEN + DRIVES_MAX * DRIVE_LEN + PARTITIONS_MAX * 8 + ANCESTORS_MAX * 8 <= COPY_BYTES
);

/// A drive as the epoch lists it. A drive that was taken out stays listed, so that it is known when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) drive: DriveId,
    /// Number of the epoch that took the drive out; 0 while it is in.
    pub(crate) out_since: u64,
    /// What it holds is moved to others, and nothing new is placed on it. Only of a drive that is in.
    pub(crate) is_draining: bool,
    /// It lacked what it had acknowledged: all it holds is to be verified. Only of a drive that is in.
    pub(crate) is_behind: bool,
}

impl Member {
    /// A drive that is in.
    pub(crate) fn new(drive: DriveId) -> Member {
        Member { drive, out_since: 0, is_draining: false, is_behind: false }
    }

    /// The drive as it is once the epoch of that number took it out.
    pub(crate) fn out(self, epoch: u64) -> Member {
        Member { out_since: epoch, ..Member::new(self.drive) }
    }

    fn flags(&self) -> u8 {
        DRAINING * u8::from(self.is_draining) + BEHIND * u8::from(self.is_behind)
    }

    pub(crate) fn is_in(&self) -> bool {
        self.out_since == 0
    }
}

/// That slots are moved until the drives are about equally full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rebalance {
    /// MiB of slots that are moved in a second at most; 0 = as fast as requests let it.
    pub(crate) pace_mib: u32,
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topology {
    pub(crate) deployment: DeploymentId,
    /// Counts epochs: the parent's number and one.
    pub(crate) number: u64,
    /// Random: two epochs of the same number are told apart by it.
    pub(crate) id: u64,
    /// Ids of the epochs `number - 1`, `number - 2`, ...; the first one is the parent.
    pub(crate) ancestors: Vec<u64>,
    pub(crate) start: StartNumber,
    pub(crate) parity: u8,
    /// `None`: slots stay on the drives that they are on.
    pub(crate) rebalance: Option<Rebalance>,
    /// In an order that never changes; at most `DRIVES_MAX`.
    pub(crate) drives: Vec<Member>,
    /// Per partition: the drives whose copy of its tables counts, bit n = `drives[n]`.
    pub(crate) in_sync: Vec<u64>,
}

impl Topology {
    /// The epoch's id under that number, if this epoch or one of its known ancestors has it.
    pub(crate) fn id_at(&self, number: u64) -> Option<u64> {
        let back = self.number.checked_sub(number)?;
        if back == 0 {
            return Some(self.id);
        }
        self.ancestors.get(usize::try_from(back - 1).ok()?).copied()
    }

    /// The drives that are in.
    pub(crate) fn in_set(&self) -> impl Iterator<Item = DriveId> + '_ {
        self.drives.iter().filter(|member| member.is_in()).map(|member| member.drive)
    }

    pub(crate) fn in_count(&self) -> usize {
        self.in_set().count()
    }

    pub(crate) fn member(&self, drive: DriveId) -> Option<&Member> {
        self.drives.iter().find(|member| member.drive == drive)
    }

    pub(crate) fn is_in(&self, drive: DriveId) -> bool {
        self.member(drive).is_some_and(Member::is_in)
    }

    /// Takes over the marks of an earlier epoch: those of one that never counted are not kept.
    pub(crate) fn take_marks(&mut self, counts: &Topology) {
        self.rebalance = counts.rebalance;
        for member in self.drives.iter_mut().filter(|member| member.is_in()) {
            let marked = counts.member(member.drive);
            member.is_draining = marked.is_some_and(|marked| marked.is_draining);
            member.is_behind = marked.is_some_and(|marked| marked.is_behind);
        }
    }

    pub(crate) fn member_mut(&mut self, drive: DriveId) -> Option<&mut Member> {
        self.drives.iter_mut().find(|member| member.drive == drive)
    }

    pub(crate) fn partition_count(&self) -> u16 {
        self.in_sync.len() as u16
    }

    /// Whether log volumes may have been removed: from then on a partition without any copy of its tables is damage.
    pub(crate) fn tables_count(&self) -> bool {
        self.in_sync.iter().any(|mask| *mask != 0)
    }

    /// Whether the copy of that partition's tables on that drive counts.
    pub(crate) fn is_in_sync(&self, partition: PartitionId, drive: DriveId) -> bool {
        let mask = self.in_sync.get(usize::from(partition.0)).copied().unwrap_or(0);
        self.drives.iter().position(|m| m.drive == drive && m.is_in()).is_some_and(|at| mask & (1 << at) != 0)
    }

    /// Whether it was ever recorded which copies of that partition's tables count.
    pub(crate) fn is_any_in_sync(&self, partition: PartitionId) -> bool {
        self.in_sync.get(usize::from(partition.0)).is_some_and(|mask| *mask != 0)
    }

    /// One copy, padded to `COPY_BYTES`. Panics if a list is longer than its bound: `form` and the decoder keep them.
    pub(crate) fn encode(&self) -> Vec<u8> {
        assert!((1..=DRIVES_MAX).contains(&self.drives.len()) && self.in_sync.len() <= PARTITIONS_MAX);
        assert!(self.ancestors.len() <= ANCESTORS_MAX);
        let mut content = Vec::with_capacity(COPY_BYTES);
        content.extend(self.number.to_le_bytes());
        content.extend(self.id.to_le_bytes());
        content.extend(self.deployment.0.to_le_bytes());
        content.extend(self.start.value().to_le_bytes());
        content.extend((self.in_sync.len() as u16).to_le_bytes());
        content.extend((self.ancestors.len() as u16).to_le_bytes());
        content.extend([self.drives.len() as u8, self.parity]);
        content.extend([u8::from(self.rebalance.is_some()), 0]);
        content.extend(self.rebalance.map_or(0, |rebalance| rebalance.pace_mib).to_le_bytes());
        for member in &self.drives {
            content.extend(member.drive.0.to_le_bytes());
            content.extend(member.out_since.to_le_bytes());
            content.extend([member.flags(), 0, 0, 0, 0, 0, 0, 0]);
        }
        for word in self.in_sync.iter().chain(&self.ancestors) {
            content.extend(word.to_le_bytes());
        }
        super::wrap(MAGIC, VERSION, &content, COPY_BYTES)
    }

    pub(crate) fn decode(copy: &[u8]) -> Result<Topology, Invalid> {
        let (_, content) = super::unwrap(MAGIC, VERSION, copy)?;
        let mut fields = Reader::new(content);
        let (number, id) = (fields.u64()?, fields.u64()?);
        let deployment = DeploymentId(fields.u128()?);
        let start = StartNumber::new(fields.u32()?).ok_or(Invalid::Field("start"))?;
        let (partition_count, ancestor_count) = (usize::from(fields.u16()?), usize::from(fields.u16()?));
        let (drive_count, parity) = (usize::from(fields.u8()?), fields.u8()?);
        let rebalance = match (fields.u8()?, fields.u8()?, fields.u32()?) {
            (0, _, _) => None,
            (1, _, pace_mib) => Some(Rebalance { pace_mib }),
            _ => return Err(Invalid::Field("rebalance")),
        };
        if number == 0 {
            return Err(Invalid::Field("number"));
        }
        if !(1..=DRIVES_MAX).contains(&drive_count) {
            return Err(Invalid::Field("drives"));
        }
        if !(1..=PARTITIONS_MAX).contains(&partition_count) {
            return Err(Invalid::Field("partitions"));
        }
        if ancestor_count > ANCESTORS_MAX || ancestor_count as u64 >= number {
            return Err(Invalid::Field("ancestors"));
        }
        if parity > Geometry::PARITY_MAX {
            return Err(Invalid::Field("parity"));
        }
        let mut drives: Vec<Member> = Vec::with_capacity(drive_count);
        for _ in 0..drive_count {
            let (drive, out_since, flags) = (DriveId(fields.u128()?), fields.u64()?, fields.u8()?);
            fields.bytes(7)?;
            let (is_draining, is_behind) = (flags & DRAINING != 0, flags & BEHIND != 0);
            let member = Member { drive, out_since, is_draining, is_behind };
            if flags & !(DRAINING | BEHIND) != 0 || (flags != 0 && !member.is_in()) {
                return Err(Invalid::Field("drive flags"));
            }
            if member.out_since > number || drives.iter().any(|other| other.drive == member.drive) {
                return Err(Invalid::Field("drive"));
            }
            drives.push(member);
        }
        let words = |fields: &mut Reader<'_>, count: usize| -> Result<Vec<u64>, Invalid> {
            (0..count).map(|_| fields.u64()).collect()
        };
        let in_sync = words(&mut fields, partition_count)?;
        let ancestors = words(&mut fields, ancestor_count)?;
        fields.end()?;
        if !drives.iter().any(Member::is_in) {
            return Err(Invalid::Field("in-set"));
        }
        Ok(Topology { deployment, number, id, ancestors, start, parity, rebalance, drives, in_sync })
    }

    /// The newer copy of the whole file and which copy it is (0 or 1): the other one is to be overwritten next.
    pub(crate) fn decode_file(file: &[u8]) -> Result<(Topology, usize), Invalid> {
        super::newest(file, COPY_BYTES, Topology::decode, |topology| topology.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Topology {
        Topology {
            deployment: DeploymentId(0xd0),
            number: 4,
            id: 0xe4,
            ancestors: vec![0xe3, 0xe2, 0xe1],
            start: StartNumber::new(3).unwrap(),
            parity: 1,
            rebalance: Some(Rebalance { pace_mib: 0x70 }),
            drives: vec![
                Member { is_draining: true, ..Member::new(DriveId(0xa)) },
                Member::new(DriveId(0xb)).out(4),
                Member { is_behind: true, ..Member::new(DriveId(0xc)) },
            ],
            in_sync: vec![0b101, 0b001],
        }
    }

    #[test]
    fn a_topology_has_golden_bytes() {
        let bytes = sample().encode();
        assert_eq!(bytes.len(), COPY_BYTES);
        assert_eq!(
            codec::hex::encode(&bytes[..24 + 48 + 3 * 32 + 2 * 8 + 3 * 8]),
            "484146495a544f5001000000d0000000f9433fc200000000".to_owned()
                + "0400000000000000e400000000000000d0000000000000000000000000000000"
                + "03000000020003000301010070000000"
                + "0a000000000000000000000000000000"
                + "00000000000000000100000000000000"
                + "0b000000000000000000000000000000"
                + "04000000000000000000000000000000"
                + "0c000000000000000000000000000000"
                + "00000000000000000200000000000000"
                + "05000000000000000100000000000000"
                + "e300000000000000e200000000000000e100000000000000"
        );
        assert_eq!(Topology::decode(&bytes), Ok(sample()));
    }

    #[test]
    fn the_largest_topology_fits_and_reads_back() {
        let topology = Topology {
            number: 1000,
            ancestors: (0..ANCESTORS_MAX as u64).collect(),
            drives: (0..DRIVES_MAX as u128).map(|n| Member::new(DriveId(n))).collect(),
            in_sync: vec![u64::MAX; PARTITIONS_MAX],
            ..sample()
        };
        assert_eq!(Topology::decode(&topology.encode()), Ok(topology));
    }

    #[test]
    fn ids_are_known_as_far_back_as_the_ancestors_go() {
        let topology = sample();
        let ids: Vec<Option<u64>> = (0..6).map(|number| topology.id_at(number)).collect();
        assert_eq!(ids, [None, Some(0xe1), Some(0xe2), Some(0xe3), Some(0xe4), None]);
    }

    #[test]
    fn a_drive_that_is_out_is_never_in_sync() {
        let mut topology = sample();
        topology.in_sync[0] = 0b111;
        let in_sync = |n| topology.is_in_sync(PartitionId(0), DriveId(n));
        assert_eq!([in_sync(0xa), in_sync(0xb), in_sync(0xc), in_sync(0xd)], [true, false, true, false]);
        assert!(!topology.is_in_sync(PartitionId(2), DriveId(0xa)));
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        let check = |change: fn(&mut Topology), expect: &'static str| {
            let mut topology = sample();
            change(&mut topology);
            assert_eq!(Topology::decode(&topology.encode()), Err(Invalid::Field(expect)));
        };
        check(|t| t.number = 0, "number");
        check(|t| t.number = 3, "ancestors");
        check(|t| t.parity = 9, "parity");
        check(|t| t.in_sync.clear(), "partitions");
        check(|t| t.drives[2].drive = DriveId(0xa), "drive");
        check(|t| t.drives[2].out_since = 1, "drive flags");
        check(|t| t.drives[1].out_since = 5, "drive");
        check(|t| t.drives.iter_mut().for_each(|m| *m = m.out(1)), "in-set");
    }

    #[test]
    fn the_newer_whole_copy_counts_and_the_other_is_the_next_to_write() {
        let (old, new) = (Topology { number: 4, ..sample() }, Topology { number: 5, ..sample() });
        let file = [new.encode(), old.encode()].concat();
        assert_eq!(Topology::decode_file(&file), Ok((new.clone(), 0)));
        let mut torn = [old.encode(), new.encode()].concat();
        assert_eq!(Topology::decode_file(&torn), Ok((new, 1)));
        torn[COPY_BYTES + 100] ^= 1;
        assert_eq!(Topology::decode_file(&torn), Ok((old, 0)));
    }
}

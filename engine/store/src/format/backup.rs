//! The manifest of a backup of the metadata, and the mark that an incomplete restore leaves on the drives.
//!
//! Manifest, in an envelope: time (u64), topology (16 KiB, as on a drive: its deployment, start and epoch are the
//! backup's), partitions (u16); per partition: length of the checkpoint (u8), checkpoint as tables hold it, files (u32);
//! per file: length of its name (u8), name, length (u64), SHA-256 (32).
//!
//! Mark: deployment (u128), time of the backup, time of the restore (u64 each).

use types::Timestamp;

use super::topology::{COPY_BYTES, Topology};
use super::{ENVELOPE_LEN, Invalid, Reader};
use crate::format::batch::Ckpt;
use crate::ids::DeploymentId;
use crate::index::{decode_ckpt, encode_ckpt};

const MAGIC: &[u8; 8] = b"HAFIZBAK";
const VERSION: u16 = 1;
const MARK_MAGIC: &[u8; 8] = b"HAFIZRST";
const MARK_VERSION: u16 = 1;
/// Bounds what a manifest makes its reader hold.
pub const MANIFEST_BYTES_MAX: u64 = 256 << 20;
/// Name, length and checksum of a file with a name of one letter.
const FILE_LEN_MIN: usize = 1 + 1 + 8 + 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) created: Timestamp,
    pub(crate) topology: Topology,
    /// In order of their numbers, all that the topology has.
    pub(crate) partitions: Vec<PartitionTables>,
}

/// The tables of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionTables {
    pub(crate) ckpt: Ckpt,
    pub(crate) files: Vec<BackedUp>,
}

/// One file, below the directory of its partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BackedUp {
    /// `current`, `v3`, `tables/17`: words of letters, digits and dots, with one slash at most.
    pub(crate) name: String,
    pub(crate) len: u64,
    pub(crate) sha256: [u8; 32],
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut content = Vec::new();
        content.extend(self.created.0.to_le_bytes());
        content.extend(self.topology.encode());
        content.extend(u16::try_from(self.partitions.len()).expect("as many as the topology has").to_le_bytes());
        for partition in &self.partitions {
            let ckpt = encode_ckpt(partition.ckpt);
            content.push(u8::try_from(ckpt.len()).expect("a checkpoint is short"));
            content.extend(ckpt);
            content.extend(u32::try_from(partition.files.len()).expect("tables are of 64 MiB").to_le_bytes());
            for file in &partition.files {
                content.push(u8::try_from(file.name.len()).expect("names of tables are short"));
                content.extend(file.name.as_bytes());
                content.extend(file.len.to_le_bytes());
                content.extend(file.sha256);
            }
        }
        let total = ENVELOPE_LEN + content.len();
        super::wrap(MAGIC, VERSION, &content, total)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Manifest, Invalid> {
        let (_, content) = super::unwrap(MAGIC, VERSION, bytes)?;
        let mut fields = Reader::new(content);
        let created = Timestamp(fields.u64()?);
        let topology = Topology::decode(fields.bytes(COPY_BYTES)?)?;
        let count = fields.u16()?;
        if count != topology.partition_count() {
            return Err(Invalid::Field("partitions"));
        }
        let mut partitions = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let len = usize::from(fields.u8()?);
            let ckpt = decode_ckpt(fields.bytes(len)?)?;
            let files = fields.u32()? as usize;
            if files > fields.rest().len() / FILE_LEN_MIN {
                return Err(Invalid::Short);
            }
            let files = (0..files).map(|_| BackedUp::decode(&mut fields)).collect::<Result<Vec<_>, Invalid>>()?;
            partitions.push(PartitionTables { ckpt, files });
        }
        fields.end()?;
        Ok(Manifest { created, topology, partitions })
    }
}

impl BackedUp {
    fn decode(fields: &mut Reader<'_>) -> Result<BackedUp, Invalid> {
        let len = usize::from(fields.u8()?);
        let name = std::str::from_utf8(fields.bytes(len)?).ok().filter(|name| is_name(name));
        let name = name.ok_or(Invalid::Field("name of a file"))?.to_owned();
        Ok(BackedUp { name, len: fields.u64()?, sha256: fields.array()? })
    }
}

/// Nothing that leads out of the directory, whoever wrote the manifest.
fn is_name(name: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && !word.starts_with('.') && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')
    };
    name.split('/').all(is_word) && name.split('/').count() <= 2
}

/// Lies on the drives of a deployment whose restored tables lack commits of logs that were freed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) deployment: DeploymentId,
    pub(crate) created: Timestamp,
    pub(crate) restored: Timestamp,
}

impl Mark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut content = self.deployment.0.to_le_bytes().to_vec();
        content.extend(self.created.0.to_le_bytes());
        content.extend(self.restored.0.to_le_bytes());
        let total = ENVELOPE_LEN + content.len();
        super::wrap(MARK_MAGIC, MARK_VERSION, &content, total)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Mark, Invalid> {
        let (_, content) = super::unwrap(MARK_MAGIC, MARK_VERSION, bytes)?;
        let mut fields = Reader::new(content);
        let mark = Mark {
            deployment: DeploymentId(fields.u128()?),
            created: Timestamp(fields.u64()?),
            restored: Timestamp(fields.u64()?),
        };
        fields.end()?;
        Ok(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::batch::Position;
    use crate::format::topology::Member;
    use crate::ids::{DriveId, Lsn, SlotOffset, StartNumber, VolumeId};

    fn sample() -> Manifest {
        let topology = Topology {
            deployment: DeploymentId(0xd0),
            number: 2,
            id: 0xe2,
            ancestors: vec![0xe1],
            start: StartNumber::new(1).unwrap(),
            parity: 0,
            rebalance: None,
            drives: vec![Member::new(DriveId(0xa))],
            in_sync: vec![1, 0],
        };
        let position = Position { volume: VolumeId(0x0102), offset: SlotOffset(3), sequence: 4 };
        let ckpt = Ckpt { lsn: Lsn(5), position: Some(position) };
        let file = |name: &str, len| BackedUp { name: name.to_owned(), len, sha256: [len as u8; 32] };
        let first = PartitionTables { ckpt, files: vec![file("current", 24), file("tables/7", 9)] };
        let second = PartitionTables { ckpt: Ckpt { lsn: Lsn::ZERO, position: None }, files: Vec::new() };
        Manifest { created: Timestamp(0x0708), topology, partitions: vec![first, second] }
    }

    #[test]
    fn a_manifest_has_golden_bytes() {
        let bytes = sample().encode();
        let behind = ENVELOPE_LEN + 8 + COPY_BYTES;
        assert_eq!(codec::hex::encode(&bytes[..16]), "484146495a42414b01000000c1400000");
        assert_eq!(codec::hex::encode(&bytes[ENVELOPE_LEN..ENVELOPE_LEN + 16]), "0807000000000000484146495a544f50");
        assert_eq!(
            codec::hex::encode(&bytes[behind..]),
            "0200".to_owned()
                + "240101000000000000"
                + "0500000000000000"
                + "020100000000000003000000"
                + "0400000000000000"
                + "02000000"
                + "0763757272656e74"
                + "1800000000000000"
                + &"18".repeat(32)
                + "087461626c65732f37"
                + "0900000000000000"
                + &"09".repeat(32)
                + "100100000000000000"
                + "0000000000000000"
                + "00000000"
        );
        assert_eq!(Manifest::decode(&bytes), Ok(sample()));
        let mark = Mark { deployment: DeploymentId(0xd0), created: Timestamp(1), restored: Timestamp(2) };
        let bytes = mark.encode();
        let content = "d0000000000000000000000000000000".to_owned() + "0100000000000000" + "0200000000000000";
        assert_eq!(codec::hex::encode(&bytes[ENVELOPE_LEN..]), content);
        assert_eq!(Mark::decode(&bytes), Ok(mark));
    }

    #[test]
    fn a_cut_or_flipped_manifest_is_refused() {
        let bytes = sample().encode();
        for len in [0, 10, ENVELOPE_LEN, bytes.len() - 1] {
            assert!(Manifest::decode(&bytes[..len]).is_err(), "{len}");
        }
        for at in (0..bytes.len()).filter(|at| *at < 100 || at + 200 > bytes.len()) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            let is_reserved = matches!(at, 20..24);
            assert!(is_reserved || Manifest::decode(&flipped).is_err(), "{at}");
        }
    }

    #[test]
    fn names_lead_nowhere_else() {
        for name in ["current", "v12", "tables/7", "hafiz.tables"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "/etc", "../x", "tables/../x", "tables//x", "a/b/c", "tables/", ".x", "a b"] {
            assert!(!is_name(name), "{name}");
        }
    }
}

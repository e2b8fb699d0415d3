//! What a restore leaves on a drive where tables were put that did not count there yet: an envelope with deployment (u128),
//! number and id of the epoch that the restore saw (u64 each), time of the restore (u64), how many partitions (u16), and
//! their numbers (u16 each), ascending.

use types::Timestamp;

use super::topology::PARTITIONS_MAX;
use super::{ENVELOPE_LEN, Invalid, Reader};
use crate::ids::{DeploymentId, PartitionId};

const MAGIC: &[u8; 8] = b"HAFIZPUT";
const VERSION: u16 = 1;

/// Tables on this drive that are to count, if the epoch it names is still the one to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) deployment: DeploymentId,
    pub(crate) epoch: u64,
    pub(crate) epoch_id: u64,
    pub(crate) restored: Timestamp,
    pub(crate) partitions: Vec<PartitionId>,
}

impl Placed {
    pub(crate) fn encode(&self) -> Vec<u8> {
        assert!(self.partitions.is_sorted() && self.partitions.len() <= PARTITIONS_MAX, "partitions of one topology");
        let mut content = self.deployment.0.to_le_bytes().to_vec();
        for word in [self.epoch, self.epoch_id, self.restored.0] {
            content.extend(word.to_le_bytes());
        }
        content.extend((self.partitions.len() as u16).to_le_bytes());
        for partition in &self.partitions {
            content.extend(partition.0.to_le_bytes());
        }
        let total = ENVELOPE_LEN + content.len();
        super::wrap(MAGIC, VERSION, &content, total)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Placed, Invalid> {
        let (_, content) = super::unwrap(MAGIC, VERSION, bytes)?;
        let mut fields = Reader::new(content);
        let deployment = DeploymentId(fields.u128()?);
        let (epoch, epoch_id, restored) = (fields.u64()?, fields.u64()?, Timestamp(fields.u64()?));
        let count = usize::from(fields.u16()?);
        if count > PARTITIONS_MAX {
            return Err(Invalid::Field("partitions"));
        }
        let partitions = (0..count).map(|_| fields.u16().map(PartitionId)).collect::<Result<Vec<_>, Invalid>>()?;
        fields.end()?;
        if partitions.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(Invalid::Field("partitions"));
        }
        Ok(Placed { deployment, epoch, epoch_id, restored, partitions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placed_tables_have_golden_bytes() {
        let placed = Placed {
            deployment: DeploymentId(0xd0),
            epoch: 7,
            epoch_id: 0xe7,
            restored: Timestamp(3),
            partitions: vec![PartitionId(1), PartitionId(0x203)],
        };
        let bytes = placed.encode();
        assert_eq!(codec::hex::encode(&bytes[..16]), "484146495a5055540100000046000000");
        assert_eq!(
            codec::hex::encode(&bytes[ENVELOPE_LEN..]),
            "d0000000000000000000000000000000".to_owned()
                + "0700000000000000"
                + "e700000000000000"
                + "0300000000000000"
                + "0200"
                + "0100"
                + "0302"
        );
        assert_eq!(Placed::decode(&bytes), Ok(placed.clone()));
        for len in [0, ENVELOPE_LEN, bytes.len() - 1] {
            assert!(Placed::decode(&bytes[..len]).is_err(), "{len}");
        }
        let twice = Placed { partitions: vec![PartitionId(1), PartitionId(1)], ..placed };
        assert_eq!(Placed::decode(&twice.encode()), Err(Invalid::Field("partitions")));
    }
}

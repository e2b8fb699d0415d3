//! How far the scrub has come, one page: so that it goes on there after a restart. Lost or torn, it begins anew.
//!
//! Content: next volume (u64), rounds completed (u64), begin of this round, end of the last one (u64 each, nanoseconds since
//! 1970-01-01 UTC, 0 = none), next partition (u32), reserved (u32). A round goes through the tables of all partitions first.

use super::{Invalid, Reader};
use crate::ids::{PAGE_BYTES, VolumeId};

const MAGIC: &[u8; 8] = b"HAFIZSCR";
const VERSION: u16 = 1;

/// Where the scrub goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The tables of partitions below it were scrubbed in this round.
    pub(crate) partition: u32,
    /// Volumes below it were scrubbed in this round.
    pub(crate) next: VolumeId,
    /// Rounds completed.
    pub(crate) rounds: u64,
    /// Nanoseconds since 1970; 0 = no round was begun.
    pub(crate) round_began: u64,
    /// Nanoseconds since 1970; 0 = no round was completed.
    pub(crate) round_ended: u64,
}

impl Default for Cursor {
    fn default() -> Cursor {
        Cursor { partition: 0, next: VolumeId(0), rounds: 0, round_began: 0, round_ended: 0 }
    }
}

impl Cursor {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(40);
        for field in [self.next.0, self.rounds, self.round_began, self.round_ended] {
            content.extend(field.to_le_bytes());
        }
        content.extend(self.partition.to_le_bytes());
        content.extend([0; 4]);
        super::wrap(MAGIC, VERSION, &content, PAGE_BYTES)
    }

    pub(crate) fn decode(page: &[u8]) -> Result<Cursor, Invalid> {
        let (_, content) = super::unwrap(MAGIC, VERSION, page)?;
        let mut fields = Reader::new(content);
        let next = VolumeId(fields.u64()?);
        let (rounds, round_began, round_ended) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let cursor = Cursor { partition: fields.u32()?, next, rounds, round_began, round_ended };
        if fields.u32()? != 0 {
            return Err(Invalid::Field("reserved"));
        }
        fields.end()?;
        Ok(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_has_golden_bytes_and_reads_back() {
        let cursor = Cursor { partition: 6, next: VolumeId(0x0102), rounds: 3, round_began: 4, round_ended: 5 };
        let bytes = cursor.encode();
        assert_eq!(bytes.len(), PAGE_BYTES);
        let golden = "484146495a5343520100000040000000382e10b600000000".to_owned()
            + "02010000000000000300000000000000040000000000000005000000000000000600000000000000";
        assert_eq!(codec::hex::encode(&bytes[..64]), golden);
        assert_eq!(Cursor::decode(&bytes), Ok(cursor));
        assert_eq!(Cursor::decode(&bytes[..40]), Err(Invalid::Short));
    }
}

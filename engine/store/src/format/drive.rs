//! `hafiz.drive`: which deployment a directory belongs to and which of its drives it is.
//!
//! Two copies of 4 KiB. The copy to overwrite is always the older one, so a torn write leaves the newer one whole.
//! Content: sequence (u64), deployment id (u128), drive id (u128).

use super::{Invalid, Reader};
use crate::ids::{DeploymentId, DriveId, PAGE_BYTES};

/// Bytes of one copy.
pub(crate) const COPY_BYTES: usize = PAGE_BYTES;

const MAGIC: &[u8; 8] = b"HAFIZDRV";
const VERSION: u16 = 1;

/// The identity of a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Grows with each write of this file; the copy with the larger one counts.
    pub(crate) sequence: u64,
    pub(crate) deployment: DeploymentId,
    pub(crate) drive: DriveId,
}

impl Identity {
    /// One copy, padded to `COPY_BYTES`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(40);
        content.extend(self.sequence.to_le_bytes());
        content.extend(self.deployment.0.to_le_bytes());
        content.extend(self.drive.0.to_le_bytes());
        super::wrap(MAGIC, VERSION, &content, COPY_BYTES)
    }

    pub(crate) fn decode(copy: &[u8]) -> Result<Identity, Invalid> {
        let (_, content) = super::unwrap(MAGIC, VERSION, copy)?;
        let mut fields = Reader::new(content);
        let identity = Identity {
            sequence: fields.u64()?,
            deployment: DeploymentId(fields.u128()?),
            drive: DriveId(fields.u128()?),
        };
        fields.end()?;
        Ok(identity)
    }

    /// The newer copy of the whole file. A copy written by a later release makes the file newer, whatever the other
    /// one says.
    pub(crate) fn decode_file(file: &[u8]) -> Result<Identity, Invalid> {
        super::newest(file, COPY_BYTES, Identity::decode, |identity| identity.sequence).map(|(identity, _)| identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(sequence: u64) -> Identity {
        Identity {
            sequence,
            deployment: DeploymentId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
            drive: DriveId(0x1112_1314_1516_1718_191a_1b1c_1d1e_1f20),
        }
    }

    #[test]
    fn an_identity_has_golden_bytes() {
        let bytes = identity(5).encode();
        assert_eq!(bytes.len(), 4096);
        assert_eq!(
            codec::hex::encode(&bytes[..64]),
            "484146495a4452560100000040000000fbf2b44d00000000\
             0500000000000000100f0e0d0c0b0a090807060504030201201f1e1d1c1b1a191817161514131211"
        );
        assert!(bytes[64..].iter().all(|&b| b == 0));
        assert_eq!(Identity::decode(&bytes), Ok(identity(5)));
    }

    #[test]
    fn the_newer_whole_copy_counts() {
        let file = |a: Vec<u8>, b: Vec<u8>| [a, b].concat();
        let torn = vec![0xff; COPY_BYTES];
        assert_eq!(Identity::decode_file(&file(identity(1).encode(), identity(2).encode())), Ok(identity(2)));
        assert_eq!(Identity::decode_file(&file(identity(3).encode(), identity(2).encode())), Ok(identity(3)));
        assert_eq!(Identity::decode_file(&file(torn.clone(), identity(2).encode())), Ok(identity(2)));
        assert_eq!(Identity::decode_file(&file(identity(1).encode(), torn.clone())), Ok(identity(1)));
        assert_eq!(Identity::decode_file(&file(torn.clone(), torn)), Err(Invalid::Magic));
        assert_eq!(Identity::decode_file(&[]), Err(Invalid::Short));
    }

    #[test]
    fn a_copy_of_a_later_release_makes_the_file_newer() {
        let newer = super::super::wrap(MAGIC, VERSION + 1, &[0; 100], COPY_BYTES);
        let file = [identity(9).encode(), newer].concat();
        assert_eq!(Identity::decode_file(&file), Err(Invalid::Newer { version: VERSION + 1 }));
    }
}

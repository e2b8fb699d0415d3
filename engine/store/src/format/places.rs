//! `places`: in which directory each drive was last. A hint and nothing more: a start that misses a drive looks there.
//!
//! One copy, replaced as a whole. Content: number of drives (u16); per drive its id (u128), the length of the path (u16) and
//! the path's bytes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::topology::DRIVES_MAX;
use super::{ENVELOPE_LEN, Invalid, Reader};
use crate::ids::DriveId;

/// Longer paths are left out. The system knows no longer ones either.
const PATH_BYTES_MAX: usize = 4096;

const MAGIC: &[u8; 8] = b"HAFIZPLC";
const VERSION: u16 = 1;

pub(crate) type Places = Vec<(DriveId, PathBuf)>;

/// The file. At most `DRIVES_MAX` drives are named.
pub(crate) fn encode(places: &[(DriveId, PathBuf)]) -> Vec<u8> {
    let fits = |(_, path): &&(DriveId, PathBuf)| path.as_os_str().len() <= PATH_BYTES_MAX;
    let named: Vec<_> = places.iter().filter(fits).take(DRIVES_MAX).collect();
    let mut content = (named.len() as u16).to_le_bytes().to_vec();
    for (drive, path) in named {
        let path = path.as_os_str().as_bytes();
        content.extend(drive.0.to_le_bytes());
        content.extend((path.len() as u16).to_le_bytes());
        content.extend(path);
    }
    super::wrap(MAGIC, VERSION, &content, ENVELOPE_LEN + content.len())
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Places, Invalid> {
    let (_, content) = super::unwrap(MAGIC, VERSION, bytes)?;
    let mut fields = Reader::new(content);
    let count = usize::from(fields.u16()?);
    if count > DRIVES_MAX {
        return Err(Invalid::Field("drives"));
    }
    let mut places = Places::with_capacity(count);
    for _ in 0..count {
        let drive = DriveId(fields.u128()?);
        let len = usize::from(fields.u16()?);
        if len > PATH_BYTES_MAX {
            return Err(Invalid::Field("path"));
        }
        places.push((drive, PathBuf::from(OsStr::from_bytes(fields.bytes(len)?))));
    }
    fields.end()?;
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_golden_bytes() {
        let places = vec![(DriveId(0xa), PathBuf::from("/d0")), (DriveId(0xb), PathBuf::from("/mnt/ü"))];
        let bytes = encode(&places);
        assert_eq!(
            codec::hex::encode(&bytes[ENVELOPE_LEN..]),
            "02000a00000000000000000000000000000003002f6430\
             0b00000000000000000000000000000007002f6d6e742fc3bc"
        );
        assert_eq!(decode(&bytes), Ok(places));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), Err(Invalid::Short));
    }

    #[test]
    fn a_path_that_is_too_long_is_left_out() {
        let long = PathBuf::from("x".repeat(PATH_BYTES_MAX + 1));
        let kept = (DriveId(2), PathBuf::from("/d"));
        assert_eq!(decode(&encode(&[(DriveId(1), long), kept.clone()])), Ok(vec![kept]));
    }
}

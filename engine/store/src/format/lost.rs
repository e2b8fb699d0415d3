//! Stripes that were found to be lost, or are in doubt: a start looks at them again. Lost or torn, the scrub finds them.
//!
//! One copy, replaced as a whole. Content: number of stripes (u32), reserved (u32); per stripe its volume (u64), its slot offset
//! (u32), reserved (u32).

use super::{ENVELOPE_LEN, Invalid, Reader};
use crate::ids::{SlotOffset, VolumeId};

/// Stripes that a file names at most.
pub(crate) const STRIPES_MAX: usize = 1 << 16;

const MAGIC: &[u8; 8] = b"HAFIZLST";
const VERSION: u16 = 1;

/// The file. Of more stripes than `STRIPES_MAX` the first ones are named.
pub(crate) fn encode<'a>(stripes: impl ExactSizeIterator<Item = &'a (VolumeId, SlotOffset)>) -> Vec<u8> {
    let count = stripes.len().min(STRIPES_MAX);
    let mut content = Vec::with_capacity(8 + 16 * count);
    content.extend((count as u32).to_le_bytes());
    content.extend([0; 4]);
    for (volume, at) in stripes.take(STRIPES_MAX) {
        content.extend(volume.0.to_le_bytes());
        content.extend(at.0.to_le_bytes());
        content.extend([0; 4]);
    }
    super::wrap(MAGIC, VERSION, &content, ENVELOPE_LEN + content.len())
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<(VolumeId, SlotOffset)>, Invalid> {
    let (_, content) = super::unwrap(MAGIC, VERSION, bytes)?;
    let mut fields = Reader::new(content);
    let (count, reserved) = (fields.u32()? as usize, fields.u32()?);
    if count > STRIPES_MAX || reserved != 0 {
        return Err(Invalid::Field("stripes"));
    }
    let mut stripes = Vec::with_capacity(count);
    for _ in 0..count {
        stripes.push((VolumeId(fields.u64()?), SlotOffset(fields.u32()?)));
        if fields.u32()? != 0 {
            return Err(Invalid::Field("reserved"));
        }
    }
    fields.end()?;
    Ok(stripes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripes_have_golden_bytes_and_read_back() {
        let stripes = [(VolumeId(0x0102), SlotOffset(3)), (VolumeId(0x0405), SlotOffset(6))];
        let bytes = encode(stripes.iter());
        let golden = "484146495a4c535401000000400000000f0e3d2400000000".to_owned()
            + "020000000000000002010000000000000300000000000000"
            + "05040000000000000600000000000000";
        assert_eq!(codec::hex::encode(&bytes), golden);
        assert_eq!(decode(&bytes).as_deref(), Ok(&stripes[..]));
        assert_eq!(decode(&encode([].iter())).as_deref(), Ok(&[][..]));
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "cut to {len}");
        }
    }
}

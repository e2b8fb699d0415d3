//! Hexadecimal spelling of bytes, as ETags and signatures are written.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Spells `bytes` in lower case. Allocates the string, `2 * bytes.len()` bytes.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = vec![0; bytes.len() * 2];
    encode_into(bytes, &mut text);
    String::from_utf8(text).expect("digits are ASCII")
}

/// Spells `bytes` in lower case into `text` without allocating.
///
/// Panics unless `text.len() == 2 * bytes.len()`.
pub fn encode_into(bytes: &[u8], text: &mut [u8]) {
    assert_eq!(text.len(), bytes.len() * 2, "hex text is twice as long");
    for (pair, &byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
}

/// Reads hexadecimal text of either case. `None` for an odd length or a foreign character.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = vec![0; text.len() / 2];
    decode_into(text, &mut bytes)?;
    Some(bytes)
}

/// Reads hexadecimal text of either case into `bytes`. `None`, with `bytes` in an unspecified
/// state, unless `text.len() == 2 * bytes.len()` and every character is a digit.
pub fn decode_into(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    if text.len() != bytes.len() * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        b'A'..=b'F' => Some(character - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back_from_either_case() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = encode(&bytes);
        assert_eq!(decode(text.as_bytes()), Some(bytes.clone()));
        assert_eq!(decode(text.to_uppercase().as_bytes()), Some(bytes.clone()));
        let mut into = vec![0; 512];
        encode_into(&bytes, &mut into);
        assert_eq!(into, text.as_bytes());
        assert_eq!(encode(&[0x00, 0x9a, 0xff]), "009aff");
    }

    #[test]
    fn odd_lengths_and_foreign_characters_are_refused() {
        for text in ["0", "0g", "g0", " 0", "0x00", "+1", "00 ", "é"] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(decode(b""), Some(vec![]));
        assert_eq!(decode_into(b"0011", &mut [0]), None);
    }
}

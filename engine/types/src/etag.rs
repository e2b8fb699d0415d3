//! Entity tags: an MD5, or the MD5 of the parts' MD5s and the number of parts.

use std::fmt;
use std::num::NonZeroU16;

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// An object's entity tag. Shown without quotes; the wire adds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Etag {
    pub digest: [u8; 16],
    /// Number of parts when the object was put together by a multipart upload.
    pub parts: Option<NonZeroU16>,
}

impl Etag {
    pub fn from_md5(digest: [u8; 16]) -> Etag {
        Etag { digest, parts: None }
    }

    /// Parses `32 hex digits[-parts]`, without quotes.
    pub fn parse(text: &str) -> Option<Etag> {
        let (hex, parts) = match text.split_once('-') {
            // `parse` alone would take a sign.
            Some((hex, parts)) if parts.bytes().all(|b| b.is_ascii_digit()) => (hex, Some(parts.parse().ok()?)),
            Some(_) => return None,
            None => (text, None),
        };
        if hex.len() != 32 || !hex.is_ascii() {
            return None;
        }
        let mut digest = [0; 16];
        for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let digit = |b: u8| (b as char).to_digit(16);
            *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Some(Etag { digest, parts })
    }

    /// Writes it as it is shown. Into a `String` without the detour of a formatter: a page of a listing shows a thousand.
    pub fn write_to(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_str(std::str::from_utf8(&self.hex()).expect("digits are ASCII"))?;
        match self.parts {
            Some(parts) => write!(out, "-{parts}"),
            None => Ok(()),
        }
    }

    fn hex(&self) -> [u8; 32] {
        let mut hex = [0; 32];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.digest) {
            pair[0] = HEX_DIGITS[usize::from(byte >> 4)];
            pair[1] = HEX_DIGITS[usize::from(byte & 15)];
        }
        hex
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_reads_back_as_it_was_written() {
        for text in ["d41d8cd98f00b204e9800998ecf8427e", "d41d8cd98f00b204e9800998ecf8427e-17"] {
            let etag = Etag::parse(text).expect("an etag");
            assert_eq!(etag.to_string(), text);
            let mut written = String::from("before ");
            etag.write_to(&mut written).expect("a String takes all text");
            assert_eq!(written.strip_prefix("before "), Some(text));
        }
        for text in [
            "",
            "d41d",
            "zz1d8cd98f00b204e9800998ecf8427e",
            "d41d8cd98f00b204e9800998ecf8427e-0",
            "d41d8cd98f00b204e9800998ecf8427e-x",
            "d41d8cd98f00b204e9800998ecf8427e-+1",
        ] {
            assert_eq!(Etag::parse(text), None);
        }
    }
}

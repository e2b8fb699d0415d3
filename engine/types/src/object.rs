//! Versions, uploads, parts and times of objects.

use std::fmt;

/// Unix time in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }

    pub fn milliseconds(self) -> u64 {
        self.0 / 1_000_000
    }
}

/// The version of an object: the LSN of the commit that wrote it. The null version, which unversioned buckets
/// have, is `NULL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(pub u64);

impl VersionId {
    pub const NULL: VersionId = VersionId(0);

    /// Parses what `Display` writes: `null`, or 16 hexadecimal digits in lower case.
    pub fn parse(text: &str) -> Option<VersionId> {
        if text == "null" {
            return Some(VersionId::NULL);
        }
        let shape = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = if shape { u64::from_str_radix(text, 16).ok()? } else { return None };
        // The null version has one spelling only.
        (number != 0).then_some(VersionId(number))
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            VersionId::NULL => f.write_str("null"),
            VersionId(number) => write!(f, "{number:016x}"),
        }
    }
}

/// Whether a bucket keeps the versions of its objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versioning {
    /// Never turned on: each key has its null version only.
    #[default]
    Unversioned,
    /// Every write makes a version of its own, every delete a delete marker.
    Enabled,
    /// Writes and deletes replace the null version; the others stay.
    Suspended,
}

/// A multipart upload. Shown as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(pub u128);

impl UploadId {
    pub fn parse(text: &str) -> Option<UploadId> {
        let shape = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !shape {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(UploadId)
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A part's number: 1 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartNumber(u16);

impl PartNumber {
    pub const MAX: u16 = 10_000;

    pub fn new(number: u32) -> Option<PartNumber> {
        (1..=u32::from(Self::MAX)).contains(&number).then_some(PartNumber(number as u16))
    }

    pub fn value(self) -> u16 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_id_has_one_spelling() {
        for version in [VersionId::NULL, VersionId(1), VersionId(u64::MAX)] {
            assert_eq!(VersionId::parse(&version.to_string()), Some(version));
        }
        for text in ["", "0", "NULL", "0000000000000000", "000000000000000G", "00000000000000001", "+00000000000000a"] {
            assert_eq!(VersionId::parse(text), None, "{text:?}");
        }
    }
}

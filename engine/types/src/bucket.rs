//! Bucket names and ids. A bucket is known inside by its id: deleting and recreating a name starts clean.

use std::fmt;

/// The identity of a bucket inside the store; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(pub u64);

/// A bucket's name: 3 to 63 characters after the rules of general purpose buckets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketName(Box<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidBucketName;

impl BucketName {
    /// Checks `name`: lower-case letters, digits, `.` and `-`; begins and ends with a letter or digit;
    /// no two dots in a row, no dot beside a dash, not shaped like an IPv4 address, no reserved prefix or suffix.
    pub fn parse(name: &str) -> Result<BucketName, InvalidBucketName> {
        let bytes = name.as_bytes();
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
            return Err(InvalidBucketName);
        };
        let shape = (3..=63).contains(&bytes.len())
            && bytes.iter().all(|&b| alphanumeric(b) || b == b'.' || b == b'-')
            && alphanumeric(first)
            && alphanumeric(last)
            && !bytes.windows(2).any(|w| matches!(w, b".." | b".-" | b"-."));
        let reserved = ["xn--", "sthree-", "amzn-s3-demo-"].iter().any(|p| name.starts_with(p))
            || ["-s3alias", "--ol-s3", "--x-s3", ".mrap", "--table-s3"].iter().any(|s| name.ends_with(s));
        if !shape || reserved || name.parse::<std::net::Ipv4Addr>().is_ok() {
            return Err(InvalidBucketName);
        }
        Ok(BucketName(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_general_purpose_buckets() {
        let check = |name: &str, expect: bool| assert_eq!(BucketName::parse(name).is_ok(), expect, "{name:?}");
        for name in ["abc", "a-b", "a.b.c", "0bucket9", &"a".repeat(63)] {
            check(name, true);
        }
        for name in [
            "",
            "ab",
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            ".ab",
            "a..b",
            "a.-b",
            "192.168.1.1",
            "xn--ab",
            "ab-s3alias",
            "ab--x-s3",
            &"a".repeat(64),
        ] {
            check(name, false);
        }
    }
}

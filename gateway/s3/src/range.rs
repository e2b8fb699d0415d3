//! Byte ranges of reads and of part copies.

use crate::error::{Code, Error, Result};
use crate::head::{Head, parse_digits};

/// One range as asked for, not yet held against a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// From `first` to `last` inclusive, or to the end.
    From { first: u64, last: Option<u64> },
    /// The last so many bytes.
    Suffix { len: u64 },
}

/// A range within an object: `start + len <= size`, `len > 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    pub start: u64,
    pub len: u64,
}

impl ByteRange {
    /// `bytes 0-9/100`.
    pub fn content_range(self, size: u64) -> String {
        format!("bytes {}-{}/{size}", self.start, self.start + self.len - 1)
    }
}

impl RangeSpec {
    /// Reads a `Range` value. `None` for what RFC 9110 lets a server ignore: other units, broken syntax, a first byte
    /// after the last; and for several ranges, which S3 answers with the whole object.
    pub fn parse(value: &str) -> Option<RangeSpec> {
        let (unit, range) = value.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = range.trim().split_once('-')?;
        if first.is_empty() {
            return Some(RangeSpec::Suffix { len: parse_digits(last)? });
        }
        let first = parse_digits(first)?;
        let last = if last.is_empty() { None } else { Some(parse_digits(last)?) };
        if last.is_some_and(|last| last < first) { None } else { Some(RangeSpec::From { first, last }) }
    }

    /// Holds the range against an object of `size` bytes; `InvalidRange` when no byte of it exists.
    pub fn resolve(self, size: u64) -> Result<ByteRange> {
        let (start, end) = match self {
            RangeSpec::From { first, last } => (first, last.map_or(size, |last| size.min(last.saturating_add(1)))),
            RangeSpec::Suffix { len } => (size.saturating_sub(len), size),
        };
        if start >= end {
            return Err(unsatisfiable(size));
        }
        Ok(ByteRange { start, len: end - start })
    }
}

/// `InvalidRange`; the reply carries `Content-Range: bytes */size`.
pub fn unsatisfiable(size: u64) -> Error {
    Error::new(Code::InvalidRange).field("ActualObjectSize", size.to_string())
}

/// Reads `x-amz-copy-source-range`: `bytes=first-last` only.
pub fn copy_source_range(head: &Head<'_>) -> Result<Option<RangeSpec>> {
    let name = "x-amz-copy-source-range";
    let Some(value) = head.single(name)? else {
        return Ok(None);
    };
    match value.strip_prefix("bytes=").and_then(|_| RangeSpec::parse(value)) {
        Some(range @ RangeSpec::From { last: Some(_), .. }) => Ok(Some(range)),
        Some(_) | None => Err(Error::argument(
            name,
            value,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the \
             zero-based offsets of the first and last bytes to copy",
        )),
    }
}

/// Holds a part copy's range against its source: unlike a read, it must lie within it altogether.
pub fn resolve_copy(range: RangeSpec, size: u64) -> Result<ByteRange> {
    match range {
        RangeSpec::From { last: Some(last), .. } if last >= size => Err(unsatisfiable(size)),
        range => range.resolve(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_mean_what_rfc_9110_says() {
        let check = |value: &str, size: u64, expect: Option<Option<(u64, u64)>>| {
            let found = RangeSpec::parse(value).map(|range| range.resolve(size).ok().map(|r| (r.start, r.len)));
            assert_eq!(found, expect, "{value} of {size}");
        };
        check("bytes=0-0", 10, Some(Some((0, 1))));
        check("bytes=4-7", 10, Some(Some((4, 4))));
        check("bytes=4-", 10, Some(Some((4, 6))));
        check("bytes=4-99", 10, Some(Some((4, 6))));
        check("bytes=0-18446744073709551615", 10, Some(Some((0, 10))));
        check("bytes=-3", 10, Some(Some((7, 3))));
        check("bytes=-30", 10, Some(Some((0, 10))));
        check("bytes=-0", 10, Some(None));
        check("bytes=10-", 10, Some(None));
        check("bytes=0-", 0, Some(None));
        check("bytes=-1", 0, Some(None));
        for ignored in ["bytes=7-4", "bytes=a-b", "bytes=1-2,4-5", "lines=1-2", "bytes", "bytes=", "bytes=+1-2"] {
            check(ignored, 10, None);
        }
        assert_eq!(ByteRange { start: 4, len: 4 }.content_range(10), "bytes 4-7/10");
    }

    #[test]
    fn a_copy_range_has_both_ends_and_lies_within_the_source() {
        let parse = |value: &str| {
            let headers = [("x-amz-copy-source-range", value.as_bytes())];
            copy_source_range(&Head { method: "PUT", target: "/", headers: &headers })
        };
        assert_eq!(resolve_copy(parse("bytes=0-4").unwrap().unwrap(), 5).unwrap(), ByteRange { start: 0, len: 5 });
        assert_eq!(resolve_copy(parse("bytes=0-5").unwrap().unwrap(), 5).unwrap_err().code, Code::InvalidRange);
        for value in ["0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5", "bytes=-2"]
        {
            assert_eq!(parse(value).unwrap_err().code, Code::InvalidArgument, "{value}");
        }
    }
}

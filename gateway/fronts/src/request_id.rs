//! Ids by which a request can be found again: in its reply, in its error document, in the log.

use std::fmt;

/// 16 hexadecimal digits, upper case, as S3's own look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId([u8; 16]);

impl RequestId {
    /// A random one.
    pub(crate) fn new() -> RequestId {
        RequestId::from_number(rt::random::u64())
    }

    fn from_number(number: u64) -> RequestId {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        RequestId(std::array::from_fn(|i| DIGITS[(number >> (60 - 4 * i) & 15) as usize]))
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits are ASCII")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_sixteen_upper_case_digits() {
        assert_eq!(RequestId::from_number(0x0123_4567_89AB_CDEF).as_str(), "0123456789ABCDEF");
        assert_eq!(RequestId::from_number(u64::MAX).to_string(), "FFFFFFFFFFFFFFFF");
    }
}

//! The head of a request as this crate sees it: borrowed, in order, duplicates kept.

use crate::error::{Error, Result};

/// A request's method, target and headers, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub method: &'a str,
    /// Path and query exactly as sent: what was signed.
    pub target: &'a str,
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl<'a> Head<'a> {
    /// The path of the target, still percent-encoded.
    pub fn raw_path(&self) -> &'a str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// The query of the target without `?`; empty when there is none.
    pub fn raw_query(&self) -> &'a str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// All values of `name` in the order sent, without surrounding blanks.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim_ascii())
    }

    pub fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// The first value of `name`, as bytes.
    pub fn bytes(&self, name: &str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// The first value of `name` as text; `InvalidArgument` when it is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>> {
        let Some(bytes) = self.bytes(name) else {
            return Ok(None);
        };
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Error::argument(name, "", "The header is not valid UTF-8")),
        }
    }

    /// The value of a header that may be sent once only. Two values of one security decision are never chosen between.
    pub fn single(&self, name: &str) -> Result<Option<&'a str>> {
        if self.values(name).nth(1).is_some() {
            return Err(Error::argument(name, "", "The header was sent more than once"));
        }
        self.text(name)
    }

    /// An unsigned number in plain digits; `InvalidArgument` for anything else.
    pub fn number(&self, name: &str) -> Result<Option<u64>> {
        let Some(text) = self.single(name)? else {
            return Ok(None);
        };
        match parse_digits(text) {
            Some(number) => Ok(Some(number)),
            None => Err(Error::argument(name, text, "The value is not an integer in range")),
        }
    }
}

/// Digits only: no sign, no blank, at least one, within 64 bits.
pub fn parse_digits(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_in_any_case_and_two_values_of_a_single_header_are_refused() {
        let headers: &[(&str, &[u8])] = &[("X-A", b" 1 "), ("x-a", b"2"), ("Only", b"7"), ("Bad", b"+7")];
        let head = Head { method: "GET", target: "/p?q", headers };
        assert_eq!(head.values("x-A").collect::<Vec<_>>(), [b"1", b"2"]);
        assert!(head.single("X-A").is_err());
        assert_eq!(head.number("only"), Ok(Some(7)));
        assert!(head.number("bad").is_err());
        assert_eq!((head.raw_path(), head.raw_query()), ("/p", "q"));
    }
}

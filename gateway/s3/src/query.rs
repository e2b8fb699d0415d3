//! Percent-encoding and the query of a request.

use crate::error::{Code, Error, Result};

/// Most parameters a query may have: far beyond any request of S3, far below what would cost time.
pub const PARAMETERS_MAX: usize = 128;

/// A query, decoded once. `+` is a blank, here and therefore in the canonical query that is signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    parameters: Vec<Parameter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    /// `None` when there was no `=`.
    pub value: Option<String>,
}

impl Query {
    /// Decodes `raw`, the query without `?`. `InvalidURI` when it is not percent-encoded UTF-8.
    pub fn parse(raw: &str) -> Result<Query> {
        let mut parameters = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            if parameters.len() == PARAMETERS_MAX {
                return Err(Error::new(Code::InvalidUri));
            }
            let (name, value) = match pair.split_once('=') {
                Some((name, value)) => (name, Some(decode_text(value, Plus::IsBlank)?)),
                None => (pair, None),
            };
            parameters.push(Parameter { name: decode_text(name, Plus::IsBlank)?, value });
        }
        Ok(Query { parameters })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter()
    }

    pub fn has(&self, name: &str) -> bool {
        self.parameters.iter().any(|p| p.name == name)
    }

    /// The first value of `name`; a parameter without `=` has the empty value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|p| p.name == name).map(|p| p.value.as_deref().unwrap_or(""))
    }

    /// The value of `name` when it says something: absent and empty are one.
    pub fn get_filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Plus {
    IsPlus,
    IsBlank,
}

/// Decodes percent-encoding once. `InvalidURI` for a broken escape.
pub fn decode(text: &str, plus: Plus) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let (digits, after) = after.split_at_checked(2).ok_or(Code::InvalidUri)?;
                let mut decoded = [0];
                codec::hex::decode_into(digits, &mut decoded).ok_or(Code::InvalidUri)?;
                bytes.push(decoded[0]);
                rest = after;
            }
            b'+' if plus == Plus::IsBlank => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    Ok(bytes)
}

/// `decode`, and the result must be UTF-8 without NUL (which XML cannot carry).
pub fn decode_text(text: &str, plus: Plus) -> Result<String> {
    let text = String::from_utf8(decode(text, plus)?).map_err(|_| Code::InvalidUri)?;
    if text.contains('\0') { Err(Error::new(Code::InvalidUri)) } else { Ok(text) }
}

/// Percent-encodes all but the unreserved characters of RFC 3986, in upper case: Signature V4's way.
pub fn encode_into(out: &mut String, bytes: &[u8], keep_slash: bool) {
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b'/' if keep_slash => out.push('/'),
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(char::from(DIGITS[usize::from(byte >> 4)]));
                out.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
}

/// Encodes a key for a listing with `encoding-type=url`: as S3 does, `/` is kept and a blank becomes `+`.
pub fn encode_listing(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for (index, piece) in text.split('*').enumerate() {
        // S3 leaves the asterisk as it is, as form encoding does.
        if index > 0 {
            out.push('*');
        }
        // A blank is %20 and not the + of S3: those who decode forms read both, those who decode paths only this.
        encode_into(&mut out, piece.as_bytes(), true);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_once_and_plus_is_a_blank() {
        let query = Query::parse("a=1+2&b=%2B&c=%2525&acl&e=&%41=x").unwrap();
        let get = |name| query.get(name);
        assert_eq!(get("a"), Some("1 2"));
        assert_eq!(get("b"), Some("+"));
        assert_eq!(get("c"), Some("%25"));
        assert_eq!(get("acl"), Some(""));
        assert_eq!(get("A"), Some("x"));
        assert_eq!(query.get_filled("e"), None);
        assert_eq!(get("zz"), None);
    }

    #[test]
    fn broken_escapes_foreign_bytes_and_nul_are_refused() {
        for raw in ["a=%", "a=%4", "a=%zz", "a=%ff", "%00", "a=%+1"] {
            assert_eq!(Query::parse(raw).unwrap_err().code, Code::InvalidUri, "{raw}");
        }
        assert!(Query::parse(&"a&".repeat(PARAMETERS_MAX + 1)).is_err());
    }

    #[test]
    fn listing_keys_are_encoded_as_s3_encodes_them() {
        let check = |key, expect| assert_eq!(encode_listing(key), expect);
        check("a b/c+d", "a%20b/c%2Bd");
        check("a%\n*~\u{e9}", "a%25%0A*~%C3%A9");
    }
}

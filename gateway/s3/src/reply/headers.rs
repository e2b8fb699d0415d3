//! Reply headers as one block of bytes, ready to be copied behind a status line.

/// `Name: value\r\n` lines. No value can break out of its line.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    block: Vec<u8>,
}

impl Headers {
    pub fn new() -> Headers {
        Headers::default()
    }

    /// Appends a line. A control character in `value` becomes a blank: the last guard against a stored value that
    /// would end its line. Panics if `name` is no token, which only a mistake of ours or a stored name could be:
    /// names come from constants and from heads that HTTP has parsed.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        assert!(!name.is_empty() && is_token(name), "header name {name:?}");
        self.block.reserve(name.len() + value.len() + 4);
        self.block.extend_from_slice(name.as_bytes());
        self.block.extend_from_slice(b": ");
        let from = self.block.len();
        self.block.extend_from_slice(value);
        for byte in &mut self.block[from..] {
            let is_control = *byte < 0x20 && *byte != b'\t' || *byte == 0x7f;
            *byte = if is_control { b' ' } else { *byte };
        }
        self.block.extend_from_slice(b"\r\n");
    }

    pub fn push_optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.push(name, value.as_bytes());
        }
    }

    /// All lines, each ending in CR LF.
    pub fn as_bytes(&self) -> &[u8] {
        &self.block
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest = &self.block[..];
        std::iter::from_fn(move || {
            let colon = rest.iter().position(|&byte| byte == b':')?;
            let (name, after) = rest.split_at(colon);
            let end = after.iter().position(|&byte| byte == b'\r')?;
            rest = &after[end + 2..];
            Some((std::str::from_utf8(name).ok()?, &after[2..end]))
        })
    }

    pub fn get(&self, wanted: &str) -> Option<&[u8]> {
        self.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    }
}

/// Whether `name` may be, or be part of, a header's name.
pub(crate) fn is_token(name: &str) -> bool {
    // Patterns become a table of bits, which a search through a text does not: every reply has a dozen names.
    name.bytes().all(|b| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            )
    })
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.block.split(|&b| b == b'\n').map(String::from_utf8_lossy)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_never_leaves_its_line() {
        let mut headers = Headers::new();
        headers.push("A", b"x\r\nSet-Cookie: y");
        headers.push("b", b"");
        assert_eq!(headers.as_bytes(), b"A: x  Set-Cookie: y\r\nb: \r\n");
        let all: Vec<_> = headers.iter().collect();
        let expect: [(&str, &[u8]); 2] = [("A", b"x  Set-Cookie: y"), ("b", b"")];
        assert_eq!(all, expect);
        assert_eq!(headers.get("B"), Some(b"".as_slice()));
    }
}

//! Request heads: from bytes to method, target, headers and body framing.
//!
//! Pure functions over slices. Where RFC 9112 leaves a choice, the strict side is taken: two parsers that disagree
//! about where a message ends are how requests are smuggled.

use std::mem::MaybeUninit;

use crate::error::ProtocolError;
use crate::limits::{HEADERS_MAX, LEADING_EMPTY_LINES_MAX, Limits};

/// One header field: the name as sent, the value without surrounding white space.
pub type Header<'b> = (&'b str, &'b [u8]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// How the body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Neither Content-Length nor Transfer-Encoding: no body.
    None,
    Length(u64),
    Chunked,
}

/// A request head, borrowed from the receive buffer.
#[derive(Clone)]
pub struct Head<'b> {
    method: &'b str,
    target: &'b str,
    authority: Option<&'b str>,
    version: Version,
    framing: Framing,
    keep_alive: bool,
    expects_continue: bool,
    headers: [Header<'b>; HEADERS_MAX],
    header_count: usize,
}

impl<'b> Head<'b> {
    pub fn method(&self) -> &'b str {
        self.method
    }

    /// Path and query as sent, neither decoded nor normalised; `*` only for OPTIONS. Of an absolute-form target this
    /// is what follows the authority.
    pub fn target(&self) -> &'b str {
        self.target
    }

    /// The authority of an absolute-form target, else the Host header. None only in HTTP/1.0.
    pub fn host(&self) -> Option<&'b str> {
        self.authority.or_else(|| std::str::from_utf8(self.header("host")?).ok())
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the client lets the connection go on after this request.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// All header fields in the order sent, duplicates kept.
    pub fn headers(&self) -> &[Header<'b>] {
        &self.headers[..self.header_count]
    }

    /// The first value of a header; `name` in any case.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.header_all(name).next()
    }

    /// Every value of a header, in the order sent; `name` in any case.
    pub fn header_all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'b [u8]> + 'h {
        self.headers().iter().filter(move |(have, _)| have.eq_ignore_ascii_case(name)).map(|&(_, value)| value)
    }
}

/// Finds the end of a head while its bytes trickle in; looks at each byte once.
#[derive(Default)]
pub struct Scan {
    position: usize,
    line_start: usize,
    empty_lines: usize,
    request_line_seen: bool,
}

impl Scan {
    /// `buf` is everything received since the head began: what the last call saw, and perhaps more behind it. Returns
    /// the head's length once its empty line is there.
    pub fn advance(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        while let Some(offset) = buf[self.position..].iter().position(|&byte| byte == b'\n') {
            let line_feed = self.position + offset;
            if line_feed == 0 || buf[line_feed - 1] != b'\r' {
                return Err(ProtocolError::BareLineFeed);
            }
            let line_is_empty = line_feed - 1 == self.line_start;
            self.position = line_feed + 1;
            self.line_start = line_feed + 1;
            if !line_is_empty {
                self.request_line_seen = true;
            } else if self.request_line_seen {
                return if self.position > limits.head_bytes_max {
                    Err(ProtocolError::HeadTooLarge)
                } else {
                    Ok(Some(self.position))
                };
            } else {
                self.empty_lines += 1;
                if self.empty_lines > LEADING_EMPTY_LINES_MAX {
                    return Err(ProtocolError::RequestLine);
                }
            }
        }
        self.position = buf.len();
        // What cannot begin a method never becomes a head: a TLS hello on a plain port is answered at once.
        if !self.request_line_seen
            && buf.get(self.line_start).is_some_and(|&byte| byte != b'\r' && !is_token_byte(byte))
        {
            return Err(ProtocolError::RequestLine);
        }
        if buf.len() < limits.head_bytes_max {
            Ok(None)
        } else if self.request_line_seen {
            Err(ProtocolError::HeadTooLarge)
        } else {
            Err(ProtocolError::TargetTooLong)
        }
    }
}

/// A head and its length, or the news that more bytes are needed.
// The head is made and looked at on the stack; boxing it would cost an allocation per request.
#[allow(clippy::large_enum_variant)]
pub enum Parsed<'b> {
    Partial,
    Complete { head: Head<'b>, len: usize },
}

/// Parses the head that `buf` begins with.
pub fn parse<'b>(buf: &'b [u8], limits: &Limits) -> Result<Parsed<'b>, ProtocolError> {
    match Scan::default().advance(buf, limits)? {
        None => Ok(Parsed::Partial),
        Some(len) => Ok(Parsed::Complete { head: parse_complete(&buf[..len])?, len }),
    }
}

/// Parses a whole head, its final empty line included, as `Scan` found it.
pub fn parse_complete(buf: &[u8]) -> Result<Head<'_>, ProtocolError> {
    let mut storage = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(buf, &mut storage) {
        Ok(httparse::Status::Complete(len)) if len == buf.len() => {}
        // The empty line is not where the parser sees it: do not guess.
        Ok(httparse::Status::Complete(_) | httparse::Status::Partial) => return Err(ProtocolError::Header),
        Err(httparse::Error::TooManyHeaders) => return Err(ProtocolError::TooManyHeaders),
        Err(httparse::Error::Version) => return Err(version_error(buf)),
        Err(httparse::Error::Token | httparse::Error::NewLine | httparse::Error::Status) => {
            return Err(ProtocolError::RequestLine);
        }
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => return Err(ProtocolError::Header),
    }
    let (Some(method), Some(raw_target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(ProtocolError::RequestLine);
    };
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let mut headers: [Header<'_>; HEADERS_MAX] = [("", &[]); HEADERS_MAX];
    let header_count = request.headers.len();
    for (header, from) in headers.iter_mut().zip(request.headers.iter()) {
        *header = (from.name, from.value);
    }
    let fields = &headers[..header_count];
    let (target, authority) = parse_target(method, raw_target)?;
    check_host(fields, version, authority)?;
    let framing = parse_framing(fields, version)?;
    let keep_alive = parse_keep_alive(fields, version);
    let expects_continue = parse_expect(fields, version);
    Ok(Head { method, target, authority, version, framing, keep_alive, expects_continue, headers, header_count })
}

/// `HTTP/2.0` is a version we do not speak; anything else there is no request line.
fn version_error(buf: &[u8]) -> ProtocolError {
    let line = buf.split(|&byte| byte == b'\r').find(|line| !line.is_empty() && *line != b"\n").unwrap_or(buf);
    let mut words = line.split(|&byte| byte == b' ').skip(2);
    match (words.next(), words.next()) {
        (Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']), None) => ProtocolError::Version,
        _ => ProtocolError::RequestLine,
    }
}

/// Origin form passes; `*` is for OPTIONS; absolute form is cut after its authority; CONNECT's form is refused.
fn parse_target<'b>(method: &str, target: &'b str) -> Result<(&'b str, Option<&'b str>), ProtocolError> {
    if method == "CONNECT" {
        return Err(ProtocolError::Target);
    }
    if target.starts_with('/') {
        return Ok((target, None));
    }
    if target == "*" {
        return if method == "OPTIONS" { Ok((target, None)) } else { Err(ProtocolError::Target) };
    }
    let after_scheme = ["http://", "https://"].iter().find_map(|scheme| {
        let prefix = target.get(..scheme.len())?;
        prefix.eq_ignore_ascii_case(scheme).then(|| &target[scheme.len()..])
    });
    let rest = after_scheme.ok_or(ProtocolError::Target)?;
    let (authority, path) = match rest.find(['/', '?', '#']) {
        None => (rest, "/"),
        Some(end) if rest.as_bytes()[end] == b'/' => rest.split_at(end),
        // `http://host?query` would need a slash that was never sent.
        Some(_) => return Err(ProtocolError::Target),
    };
    if authority.is_empty() || !is_host(authority.as_bytes()) {
        return Err(ProtocolError::Target);
    }
    Ok((path, Some(authority)))
}

/// RFC 9112 section 3.2: exactly one well-formed Host in HTTP/1.1. It must also agree with an absolute-form target.
fn check_host(headers: &[Header<'_>], version: Version, authority: Option<&str>) -> Result<(), ProtocolError> {
    let mut hosts = values(headers, "host");
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::Http10 => Ok(()),
        (Some(host), None) => {
            let agrees = authority.is_none_or(|authority| authority.as_bytes().eq_ignore_ascii_case(host));
            if is_host(host) && agrees { Ok(()) } else { Err(ProtocolError::Host) }
        }
        (None, _) | (Some(_), Some(_)) => Err(ProtocolError::Host),
    }
}

/// Name, IPv4 or bracketed IPv6 and a port; no user information, nothing that could be a path.
fn is_host(host: &[u8]) -> bool {
    host.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(&byte))
}

fn parse_framing(headers: &[Header<'_>], version: Version) -> Result<Framing, ProtocolError> {
    let mut lengths = values(headers, "content-length");
    let mut encodings = values(headers, "transfer-encoding");
    match (lengths.next(), encodings.next()) {
        (None, None) => Ok(Framing::None),
        // Allowed by the RFC when all values agree; no honest client sends it.
        (Some(_), _) if lengths.next().is_some() => Err(ProtocolError::ContentLength),
        (Some(_), Some(_)) => Err(ProtocolError::ContentLength),
        (Some(length), None) => parse_length(length).map(Framing::Length),
        (None, Some(encoding)) => {
            if version == Version::Http10 || encodings.next().is_some() {
                return Err(ProtocolError::TransferEncoding);
            }
            if encoding.eq_ignore_ascii_case(b"chunked") {
                return Ok(Framing::Chunked);
            }
            let codings = || encoding.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            if !codings().all(is_token) {
                return Err(ProtocolError::TransferEncoding);
            }
            let chunked_count = codings().filter(|coding| coding.eq_ignore_ascii_case(b"chunked")).count();
            let chunked_is_last = codings().next_back().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
            // `chunked` anywhere but once at the end leaves the length of the message open.
            if chunked_count > 1 || (chunked_count == 1 && !chunked_is_last) {
                return Err(ProtocolError::TransferEncoding);
            }
            Err(ProtocolError::TransferCoding)
        }
    }
}

/// Digits only: no sign, no list, no white space, below 2^63 so that sums of lengths cannot wrap.
fn parse_length(value: &[u8]) -> Result<u64, ProtocolError> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(ProtocolError::ContentLength);
    }
    let length = value.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    if length > i64::MAX as u64 { Err(ProtocolError::ContentLength) } else { Ok(length) }
}

fn parse_keep_alive(headers: &[Header<'_>], version: Version) -> bool {
    let mut keep_alive = false;
    for value in values(headers, "connection") {
        for token in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"close") {
                return false;
            }
            keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    keep_alive || version == Version::Http11
}

fn parse_expect(headers: &[Header<'_>], version: Version) -> bool {
    // RFC 9110 section 10.1.1: an expectation of an HTTP/1.0 client is ignored; others than this one may be, and are.
    version == Version::Http11 && values(headers, "expect").any(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

fn values<'h, 'b>(headers: &'h [Header<'b>], name: &'static str) -> impl Iterator<Item = &'b [u8]> + 'h {
    headers.iter().filter(move |(have, _)| have.eq_ignore_ascii_case(name)).map(|&(_, value)| value)
}

/// Whether `bytes` is a token of RFC 9110 section 5.6.2.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether `bytes` can stand in a field value: no CR, LF, NUL or other control byte but the tab.
pub(crate) fn is_field_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

#[cfg(test)]
mod tests;

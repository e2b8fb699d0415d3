//! What a server answers, taken apart as it arrives.

use std::io::{self, ErrorKind};
use std::time::Instant;

use crate::content::Content;

const HEAD_BYTES_MAX: usize = 64 << 10;
/// Of a body that nobody asked for: enough of an error's text to tell what went wrong.
const TEXT_BYTES_MAX: usize = 4 << 10;
const CHUNK_LINE_BYTES_MAX: usize = 1 << 10;

/// What is to be done with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Counted. Errors are kept as text.
    Nothing,
    /// Kept whole, up to so many bytes.
    Whole(usize),
    /// Compared with the object of this number.
    Compared(u64),
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) body_bytes: u64,
    /// What was kept of the body.
    pub(crate) body: Vec<u8>,
    /// Whether the body was what it was compared with. True when it was not compared.
    pub(crate) is_right: bool,
    pub(crate) first_byte: Instant,
    pub(crate) last_byte: Instant,
    pub(crate) closes: bool,
}

/// An answer that is arriving.
pub(crate) struct Incoming {
    keep: Keep,
    is_head: bool,
    /// Until the head is whole.
    head: Vec<u8>,
    parsed: Option<Head>,
    rest: Rest,
    body_bytes: u64,
    body: Vec<u8>,
    is_right: bool,
    first_byte: Option<Instant>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Head {
    status: u16,
    length: Option<u64>,
    is_chunked: bool,
    etag: Option<String>,
    version: Option<String>,
    closes: bool,
}

/// What is still to come of the body.
#[derive(Debug)]
enum Rest {
    Bytes(u64),
    /// The line with a chunk's size, as far as it is there.
    ChunkLine(Vec<u8>),
    ChunkBytes(u64),
    /// The end of line behind a chunk: so many bytes of it.
    ChunkEnd(u8),
    /// A line behind the last chunk; an empty one is the end.
    Trailer(Vec<u8>),
    /// As long as the connection lasts.
    UntilClose,
    Nothing,
}

impl Incoming {
    pub(crate) fn new(keep: Keep, is_head: bool) -> Incoming {
        Incoming {
            keep,
            is_head,
            head: Vec::new(),
            parsed: None,
            rest: Rest::Nothing,
            body_bytes: 0,
            body: Vec::new(),
            is_right: true,
            first_byte: None,
        }
    }

    /// Takes what has arrived; the answer once it is whole. Errors: what arrived is no answer.
    pub(crate) fn take(&mut self, mut bytes: &[u8], content: &Content) -> io::Result<Option<Reply>> {
        self.first_byte.get_or_insert_with(Instant::now);
        if self.parsed.is_none() {
            let Some(after) = self.take_head(bytes)? else { return Ok(None) };
            bytes = after;
        }
        self.take_body(bytes, content)
    }

    /// The server closed the connection; the answer when that was its end.
    pub(crate) fn end(&mut self) -> io::Result<Reply> {
        match self.rest {
            Rest::UntilClose => {
                self.rest = Rest::Nothing;
                self.whole()
            }
            _ if self.first_byte.is_none() => Err(io::Error::new(ErrorKind::UnexpectedEof, "closed without an answer")),
            _ => Err(io::Error::new(ErrorKind::UnexpectedEof, "closed in the middle of an answer")),
        }
    }

    fn whole(&mut self) -> io::Result<Reply> {
        let head = self.parsed.take().ok_or_else(malformed)?;
        let now = Instant::now();
        Ok(Reply {
            status: head.status,
            etag: head.etag,
            version: head.version,
            body_bytes: self.body_bytes,
            body: std::mem::take(&mut self.body),
            is_right: self.is_right,
            first_byte: self.first_byte.unwrap_or(now),
            last_byte: now,
            closes: head.closes,
        })
    }

    /// What lies behind the head, once that is whole.
    fn take_head<'b>(&mut self, bytes: &'b [u8]) -> io::Result<Option<&'b [u8]>> {
        let before = self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(HEAD_BYTES_MAX)]);
        // The mark may have begun in what was there before.
        let from = before.saturating_sub(3);
        let Some(end) = self.head[from..].windows(4).position(|four| four == b"\r\n\r\n").map(|at| from + at + 4)
        else {
            return if self.head.len() < HEAD_BYTES_MAX { Ok(None) } else { Err(malformed()) };
        };
        let head = parse(&self.head[..end]).ok_or_else(malformed)?;
        let after = &bytes[end - before..];
        self.head.clear();
        if head.status == 100 {
            return if after.is_empty() { Ok(None) } else { self.take_head(after) };
        }
        let has_no_body = self.is_head || matches!(head.status, 204 | 304);
        self.rest = match head.length {
            _ if has_no_body => Rest::Nothing,
            _ if head.is_chunked => Rest::ChunkLine(Vec::new()),
            Some(length) => Rest::Bytes(length),
            None if head.closes => Rest::UntilClose,
            None => return Err(malformed()),
        };
        self.parsed = Some(head);
        Ok(Some(after))
    }

    fn take_body(&mut self, mut bytes: &[u8], content: &Content) -> io::Result<Option<Reply>> {
        loop {
            match &mut self.rest {
                Rest::Nothing | Rest::Bytes(0) => {
                    // Nothing was asked for ahead.
                    return if bytes.is_empty() { self.whole().map(Some) } else { Err(malformed()) };
                }
                Rest::ChunkBytes(0) => self.rest = Rest::ChunkEnd(2),
                _ if bytes.is_empty() => return Ok(None),
                Rest::Bytes(left) | Rest::ChunkBytes(left) => {
                    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= len as u64;
                    let (piece, after) = bytes.split_at(len);
                    bytes = after;
                    self.take_piece(piece, content);
                }
                Rest::UntilClose => {
                    self.take_piece(bytes, content);
                    return Ok(None);
                }
                Rest::ChunkEnd(left) => {
                    let expected = if *left == 2 { b'\r' } else { b'\n' };
                    if bytes[0] != expected {
                        return Err(malformed());
                    }
                    bytes = &bytes[1..];
                    self.rest = if *left == 2 { Rest::ChunkEnd(1) } else { Rest::ChunkLine(Vec::new()) };
                }
                Rest::ChunkLine(line) | Rest::Trailer(line) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
                    line.extend_from_slice(&bytes[..end]);
                    bytes = &bytes[end..];
                    if line.len() > CHUNK_LINE_BYTES_MAX {
                        return Err(malformed());
                    }
                    if !line.ends_with(b"\n") {
                        return Ok(None);
                    }
                    let line = std::mem::take(line);
                    self.rest = match self.rest {
                        Rest::Trailer(_) if line == b"\r\n" => Rest::Nothing,
                        Rest::Trailer(_) => Rest::Trailer(Vec::new()),
                        _ => match chunk_bytes(&line).ok_or_else(malformed)? {
                            0 => Rest::Trailer(Vec::new()),
                            size => Rest::ChunkBytes(size),
                        },
                    };
                }
            }
        }
    }

    fn take_piece(&mut self, piece: &[u8], content: &Content) {
        let is_error = self.parsed.as_ref().is_some_and(|head| head.status >= 300);
        let max = match self.keep {
            Keep::Whole(max) => max,
            Keep::Nothing | Keep::Compared(_) if is_error => TEXT_BYTES_MAX,
            Keep::Nothing => 0,
            Keep::Compared(number) => {
                self.is_right = self.is_right && content.is(number, self.body_bytes, piece);
                0
            }
        };
        let room = max.saturating_sub(self.body.len());
        self.body.extend_from_slice(&piece[..piece.len().min(room)]);
        self.body_bytes += piece.len() as u64;
    }
}

fn malformed() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the answer is no HTTP/1.1")
}

fn chunk_bytes(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?.trim_end();
    u64::from_str_radix(text.split(';').next()?.trim(), 16).ok()
}

fn parse(bytes: &[u8]) -> Option<Head> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.split("\r\n");
    let first = lines.next()?;
    let status = first.strip_prefix("HTTP/1.1 ").or_else(|| first.strip_prefix("HTTP/1.0 "))?.get(..3)?.parse().ok()?;
    let mut head = Head { status, closes: first.starts_with("HTTP/1.0"), ..Head::default() };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name {
            _ if name.eq_ignore_ascii_case("content-length") => head.length = Some(value.parse().ok()?),
            _ if name.eq_ignore_ascii_case("transfer-encoding") => {
                head.is_chunked = value.eq_ignore_ascii_case("chunked");
            }
            _ if name.eq_ignore_ascii_case("etag") => head.etag = Some(value.to_owned()),
            _ if name.eq_ignore_ascii_case("x-amz-version-id") => head.version = Some(value.to_owned()),
            _ if name.eq_ignore_ascii_case("connection") => head.closes |= value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer, when `wire` arrives in pieces of `piece` bytes and then the server closes.
    fn arrive(wire: &[u8], piece: usize, keep: Keep, is_head: bool) -> io::Result<Reply> {
        let content = Content::new();
        let mut incoming = Incoming::new(keep, is_head);
        for part in wire.chunks(piece) {
            if let Some(reply) = incoming.take(part, &content)? {
                return Ok(reply);
            }
        }
        incoming.end()
    }

    #[test]
    fn answers_of_all_forms_are_read_whatever_the_pieces() {
        let check = |wire: &str, expect: Result<(u16, &str), &str>| {
            for piece in 1..=wire.len() {
                let reply = arrive(wire.as_bytes(), piece, Keep::Whole(100), false);
                let reply = reply.map(|reply| (reply.status, String::from_utf8(reply.body).unwrap()));
                let expect = expect.map(|(status, body)| (status, body.to_owned())).map_err(str::to_owned);
                assert_eq!(reply.map_err(|error| error.to_string()), expect, "{wire} in pieces of {piece}");
            }
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Ok((200, "hello")));
        check("HTTP/1.1 204 No Content\r\n\r\n", Ok((204, "")));
        check("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", Ok((200, "x")));
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
            Ok((200, "abc0123456789")),
        );
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n", Ok((200, "")));
        check("HTTP/1.0 200 OK\r\n\r\nold", Ok((200, "old")));
        check("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nlast", Ok((200, "last")));
        check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", Err("closed in the middle of an answer"));
        check("ICY 200 OK\r\n\r\n", Err("the answer is no HTTP/1.1"));
        check("HTTP/1.1 200 OK\r\n\r\n", Err("the answer is no HTTP/1.1"));
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Err("the answer is no HTTP/1.1"));
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab", Err("the answer is no HTTP/1.1"));
        assert_eq!(arrive(b"", 1, Keep::Nothing, false).unwrap_err().to_string(), "closed without an answer");
    }

    #[test]
    fn more_than_was_asked_for_is_an_error() {
        let wire = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab";
        assert!(arrive(wire, wire.len(), Keep::Nothing, false).is_err());
    }

    #[test]
    fn an_answer_to_head_has_a_length_and_no_body() {
        let wire = b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\nETag: \"ab\"\r\nx-amz-version-id: v1\r\n\r\n";
        let reply = arrive(wire, 7, Keep::Nothing, true).unwrap();
        assert_eq!(
            (reply.etag.as_deref(), reply.version.as_deref(), reply.body_bytes),
            (Some("\"ab\""), Some("v1"), 0)
        );
    }

    #[test]
    fn a_body_is_compared_and_of_an_error_the_text_is_kept() {
        let content = Content::new();
        let mut wire = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n".to_vec();
        content.pieces(3, 20, |piece| wire.extend_from_slice(piece));
        assert!(arrive(&wire, 9, Keep::Compared(3), false).unwrap().is_right);
        assert!(!arrive(&wire, 9, Keep::Compared(4), false).unwrap().is_right);
        let error = arrive(b"HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\ngone", 3, Keep::Compared(3), false).unwrap();
        assert_eq!((error.status, error.body.as_slice(), error.is_right), (404, b"gone".as_slice(), true));
    }
}

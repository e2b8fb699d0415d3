//! One connection: a request goes out, its reply comes in, again and again. Never blocks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::request::Request;

/// Read at a time: enough for a reply of 1 MiB in a few calls.
const RECEIVED_BYTES: usize = 256 << 10;
const HEAD_BYTES_MAX: usize = 16 << 10;
/// What is kept of a reply's body; the rest is only counted.
const BODY_BYTES_KEPT: u64 = 64 << 10;

/// A reply, with the time from the first byte sent to the last received.
pub(crate) struct Reply {
    /// Which request it answers.
    pub(crate) index: u64,
    pub(crate) status: u16,
    pub(crate) took: Duration,
    /// Length of the body that came in.
    pub(crate) body_len: u64,
    pub(crate) etag: Option<String>,
    /// The body's beginning.
    pub(crate) body: Vec<u8>,
}

/// The request that is under way.
struct Exchange {
    index: u64,
    request: Request,
    began: Instant,
    /// Bytes of the request that are out, head included.
    sent: u64,
    head: Option<ReplyHead>,
    /// Bytes of the body that are still to come.
    left: u64,
    body: Vec<u8>,
}

struct ReplyHead {
    status: u16,
    body_len: u64,
    etag: Option<String>,
}

pub(crate) struct Connection {
    stream: TcpStream,
    exchange: Option<Exchange>,
    received: Box<[u8]>,
    filled: usize,
}

impl Connection {
    pub(crate) fn open(endpoint: &str) -> io::Result<Connection> {
        let stream = TcpStream::connect(endpoint)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, exchange: None, received: vec![0; RECEIVED_BYTES].into(), filled: 0 })
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.exchange.is_none()
    }

    /// Begins the next exchange. Panics when one is under way.
    pub(crate) fn begin(&mut self, index: u64, request: Request) {
        assert!(self.is_idle(), "a connection does one exchange at a time");
        let body = Vec::new();
        self.exchange = Some(Exchange { index, request, began: Instant::now(), sent: 0, head: None, left: 0, body });
    }

    /// Does what can be done now. The flag: whether any byte moved.
    pub(crate) fn advance(&mut self) -> io::Result<(bool, Option<Reply>)> {
        let Some(exchange) = &mut self.exchange else {
            return Ok((false, None));
        };
        let has_sent = send(&mut self.stream, exchange)?;
        let len = match self.stream.read(&mut self.received[self.filled..]) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((has_sent, None)),
            Err(error) => return Err(error),
        };
        self.filled += len;
        let mut from = 0;
        if exchange.head.is_none() {
            let Some(end) = find_head_end(&self.received[..self.filled]) else {
                return if self.filled < HEAD_BYTES_MAX { Ok((true, None)) } else { Err(malformed()) };
            };
            let head = parse_head(&self.received[..end]).ok_or_else(malformed)?;
            if head.status == 100 {
                return Err(malformed());
            }
            exchange.left = if exchange.request.is_head { 0 } else { head.body_len };
            exchange.head = Some(head);
            from = end;
        }
        let piece = &self.received[from..self.filled];
        // Nothing was asked for ahead: more than the reply is an error.
        exchange.left = exchange.left.checked_sub(piece.len() as u64).ok_or_else(malformed)?;
        if exchange.head.as_ref().is_some_and(|head| head.body_len <= BODY_BYTES_KEPT || head.status >= 300) {
            exchange.body.extend_from_slice(piece);
        }
        self.filled = 0;
        if exchange.left > 0 {
            return Ok((true, None));
        }
        let reply = self.exchange.take().and_then(|exchange| {
            let head = exchange.head?;
            Some(Reply {
                index: exchange.index,
                status: head.status,
                took: exchange.began.elapsed(),
                body_len: if exchange.request.is_head { 0 } else { head.body_len },
                etag: head.etag,
                body: exchange.body,
            })
        });
        Ok((true, reply))
    }
}

/// Sends what the socket takes; whether that was anything.
fn send(stream: &mut TcpStream, exchange: &mut Exchange) -> io::Result<bool> {
    let Request { front, block, block_bytes, .. } = &exchange.request;
    let total = front.len() as u64 + block_bytes;
    let before = exchange.sent;
    while exchange.sent < total {
        let piece = match exchange.sent.checked_sub(front.len() as u64) {
            None => &front[exchange.sent as usize..],
            Some(at) => {
                let offset = (at % block.len() as u64) as usize;
                let len = ((block.len() - offset) as u64).min(block_bytes - at) as usize;
                &block[offset..offset + len]
            }
        };
        match stream.write(piece) {
            Ok(len) => exchange.sent += len as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(exchange.sent > before)
}

fn malformed() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the server's reply is no HTTP that was expected")
}

/// Where the body begins.
fn find_head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn parse_head(bytes: &[u8]) -> Option<ReplyHead> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let mut head = ReplyHead { status, body_len: 0, etag: None };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            head.body_len = value.parse().ok()?;
        } else if name.eq_ignore_ascii_case("etag") {
            head.etag = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return None;
        }
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_status_length_and_etag_and_chunks_are_refused() {
        let head = parse_head(b"HTTP/1.1 206 Partial\r\nContent-Length: 12\r\netag: \"ab\"\r\n\r\n").unwrap();
        assert_eq!((head.status, head.body_len, head.etag.as_deref()), (206, 12, Some("\"ab\"")));
        assert!(parse_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_none());
        assert!(parse_head(b"ICY 200 OK\r\n\r\n").is_none());
        assert_eq!(find_head_end(b"HTTP/1.1 200 OK\r\n\r\nbody"), Some(19));
        assert_eq!(find_head_end(b"HTTP/1.1 200 OK\r\n\r"), None);
    }
}

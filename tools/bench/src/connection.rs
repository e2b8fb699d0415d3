//! One connection: a request goes out, its answer comes in, again and again. Never blocks.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use mio::{Registry, Token};

use crate::content::{Content, STAMP_BYTES};
use crate::reply::{Incoming, Keep, Reply};
use crate::stream::{Stream, Tls};

/// One request, ready to be sent.
#[derive(Clone)]
pub(crate) struct Request {
    /// Head, and the body as well unless that is an object's.
    pub(crate) front: Arc<[u8]>,
    /// Number and size of the object that is the body.
    pub(crate) object: Option<(u64, u64)>,
    pub(crate) keep: Keep,
    pub(crate) is_head: bool,
}

struct Exchange {
    request: Request,
    /// Bytes that are out, the head's included.
    sent: u64,
    incoming: Incoming,
    began: Instant,
}

pub(crate) struct Connection {
    stream: Option<Stream>,
    exchange: Option<Exchange>,
    address: SocketAddr,
    tls: Option<Tls>,
    token: Token,
}

/// What became of an exchange.
pub(crate) struct Ended {
    pub(crate) began: Instant,
    pub(crate) outcome: io::Result<Reply>,
}

impl Connection {
    pub(crate) fn new(address: SocketAddr, tls: Option<Tls>, token: Token) -> Connection {
        Connection { stream: None, exchange: None, address, tls, token }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.exchange.is_none()
    }

    /// Begins the next exchange, and sends what the socket takes. Panics when one is under way.
    pub(crate) fn begin(&mut self, request: Request, content: &Content, registry: &Registry) -> Option<Ended> {
        assert!(self.is_idle(), "a connection does one exchange at a time");
        let incoming = Incoming::new(request.keep, request.is_head);
        self.exchange = Some(Exchange { request, sent: 0, incoming, began: Instant::now() });
        if self.stream.is_none() {
            match Stream::open(self.address, self.tls.as_ref(), registry, self.token) {
                Ok(stream) => self.stream = Some(stream),
                Err(error) => return self.end(Err(error)),
            }
        }
        match self.send(content) {
            Ok(()) => None,
            Err(error) => self.end(Err(error)),
        }
    }

    /// Does what can be done now. `scratch` is overwritten.
    pub(crate) fn advance(&mut self, scratch: &mut [u8], content: &Content) -> Option<Ended> {
        if self.exchange.is_none() {
            self.look_while_idle();
            return None;
        }
        // An answer may come although not all of the request could be sent.
        let sent = self.send(content);
        match self.receive(scratch, content) {
            Ok(Some(reply)) => self.end(Ok(reply)),
            Ok(None) => sent.err().and_then(|error| self.end(Err(error))),
            Err(error) => self.end(Err(error)),
        }
    }

    /// Gives up an exchange that takes too long.
    pub(crate) fn abandon(&mut self, now: Instant, after: std::time::Duration) -> Option<Ended> {
        let is_late =
            self.exchange.as_ref().is_some_and(|exchange| now.saturating_duration_since(exchange.began) >= after);
        if is_late { self.end(Err(io::Error::new(ErrorKind::TimedOut, "no answer in time"))) } else { None }
    }

    /// The server may close a connection that has nothing to do.
    fn look_while_idle(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let mut byte = [0];
        match stream.read(&mut byte) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The end, an error, or what nobody asked for: the next exchange opens a connection of its own.
            Ok(_) | Err(_) => self.stream = None,
        }
    }

    fn end(&mut self, outcome: io::Result<Reply>) -> Option<Ended> {
        let exchange = self.exchange.take()?;
        let is_whole = exchange.sent == total_bytes(&exchange.request);
        if !is_whole || !outcome.as_ref().is_ok_and(|reply| !reply.closes) {
            self.stream = None;
        }
        Some(Ended { began: exchange.began, outcome })
    }

    fn send(&mut self, content: &Content) -> io::Result<()> {
        let (Some(stream), Some(exchange)) = (&mut self.stream, &mut self.exchange) else { return Ok(()) };
        let total = total_bytes(&exchange.request);
        while exchange.sent < total {
            match stream.write(next_piece(&exchange.request, exchange.sent, content)) {
                Ok(len) => exchange.sent += len as u64,
                // Also while the connection is being made.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        match stream.flush() {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => Ok(()),
            other => other.map(drop),
        }
    }

    fn receive(&mut self, scratch: &mut [u8], content: &Content) -> io::Result<Option<Reply>> {
        let (Some(stream), Some(exchange)) = (&mut self.stream, &mut self.exchange) else { return Ok(None) };
        loop {
            match stream.read(scratch) {
                Ok(0) => return exchange.incoming.end().map(Some),
                Ok(len) => {
                    if let Some(reply) = exchange.incoming.take(&scratch[..len], content)? {
                        return Ok(Some(reply));
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn total_bytes(request: &Request) -> u64 {
    request.front.len() as u64 + request.object.map_or(0, |(_, size)| size - Content::stamp(0, size).1 as u64)
}

/// What follows behind `sent` bytes. The stamp of an object is part of the front.
fn next_piece<'p>(request: &'p Request, sent: u64, content: &'p Content) -> &'p [u8] {
    match (sent.checked_sub(request.front.len() as u64), request.object) {
        (Some(at), Some((number, size))) => {
            let at = at + STAMP_BYTES as u64;
            content.piece(number, at, size - at)
        }
        _ => &request.front[usize::try_from(sent).expect("a front is short")..],
    }
}

//! One request and its reply: the handler pulls the body and answers through an `Exchange`.

use std::any::Any;
use std::net::SocketAddr;

use rt::buf::{Buf, Shared, Window};
use rt::time::Instant;

use crate::chunked::{self, Decoder};
use crate::date;
use crate::error::{BodyError, ReplyError};
use crate::head::{Framing, Head, Version};
use crate::limits::Limits;
use crate::metrics;
use crate::pace::Pace;
use crate::response::{self, ConnectionHeader, ReplyFraming, Response};
use crate::transport::{RecvError, SendError, Transport};

/// A chunk with at least this much to come is read straight into its destination; smaller ones are read together.
const DIRECT_READ_BYTES_MIN: usize = 4096;
/// Reads ahead of a chunked body, and of a body that is thrown away.
pub(crate) const SPILL_BYTES: usize = 4096;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

enum Body {
    /// Bytes still to come; 0 at the end.
    Length(u64),
    Chunked(Decoder),
    /// A read failed: nothing after it can be made sense of.
    Broken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reply {
    Due,
    /// The head is rendered or sent; this much body is still owed.
    Length(u64),
    Chunked,
    UntilClose,
    /// HEAD and bodyless statuses: what the handler sends is dropped.
    Silent,
    Finished,
    /// The reply cannot be completed: the connection is cut.
    Broken,
}

/// Bytes read ahead of the decoder, kept outside of the receive buffer, which the head still borrows.
pub(crate) struct Spill {
    pub(crate) buf: Buf,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// What the connection goes on with after an exchange.
pub(crate) struct Remains {
    /// Bytes of the receive buffer, at its end, that were not consumed.
    pub(crate) early_len: usize,
    pub(crate) spill: Option<Spill>,
    pub(crate) ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    KeepAlive,
    /// The reply is complete: let the peer read it, then close.
    Close,
    /// The reply is not complete: the peer must see that.
    Cut,
    /// Nothing was sent.
    NoReply,
}

/// One request under way.
///
/// The body is pulled with `read_into`; `100 Continue` goes out with the first pull that has to wait, so an error that
/// needs no body is answered before it is sent. One reply is given: whole with `reply`, or with `start`, any number of
/// `send`, and `finish`. A handler that returns in between cuts the connection, so that a broken reply never looks
/// whole. The futures may be dropped, but the connection does not survive that.
pub struct Exchange<'c> {
    transport: &'c mut Transport,
    limits: &'c Limits,
    early: &'c [u8],
    spill: Option<Spill>,
    body: Body,
    pace: Pace,
    continue_due: bool,
    /// The request has no body.
    is_empty: bool,
    /// Set while a read is in flight. A read whose future was dropped takes bytes nobody counts: what follows on the
    /// connection can no longer be made sense of.
    reading: bool,
    reply: Reply,
    /// Head and framing that wait for the next send.
    pending: &'c mut Vec<u8>,
    is_head: bool,
    version: Version,
    keep_alive: bool,
}

impl<'c> Exchange<'c> {
    /// `early` is what the receive buffer holds behind the head; `spill` is there when the body is chunked.
    pub(crate) fn new(
        transport: &'c mut Transport,
        limits: &'c Limits,
        pending: &'c mut Vec<u8>,
        head: &Head<'_>,
        early: &'c [u8],
        spill: Option<Buf>,
    ) -> Self {
        pending.clear();
        Self {
            transport,
            limits,
            early,
            spill: spill.map(|buf| Spill { buf, start: 0, end: 0 }),
            body: match head.framing() {
                Framing::None => Body::Length(0),
                Framing::Length(length) => Body::Length(length),
                Framing::Chunked => Body::Chunked(Decoder::new()),
            },
            pace: Pace::default(),
            continue_due: head.expects_continue(),
            is_empty: matches!(head.framing(), Framing::None | Framing::Length(0)),
            reading: false,
            reply: Reply::Due,
            pending,
            is_head: head.method() == "HEAD",
            version: head.version(),
            keep_alive: head.keep_alive(),
        }
    }

    pub fn peer(&self) -> SocketAddr {
        self.transport.peer()
    }

    pub fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }

    /// Body bytes still to come; `None` when only the end of a chunked body will tell, or after an error.
    pub fn remaining_len(&self) -> Option<u64> {
        match &self.body {
            Body::Length(left) => Some(*left),
            Body::Chunked(decoder) => decoder.is_done().then_some(0),
            Body::Broken => None,
        }
    }

    /// The trailer fields of a chunked body that has been read to its end.
    pub fn trailers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let decoder = match &self.body {
            Body::Chunked(decoder) if decoder.is_done() => Some(decoder),
            Body::Length(_) | Body::Chunked(_) | Body::Broken => None,
        };
        decoder.into_iter().flat_map(Decoder::trailers)
    }

    /// Reads body bytes into the front of `window` and says how many; 0 only at the end. The bytes of a large body go
    /// from the socket into the window without a copy (over TLS they are copied out of the record layer). On error the
    /// window is given up. An empty window panics.
    pub async fn read_into(&mut self, window: Window) -> Result<(usize, Window), BodyError> {
        assert!(!window.is_empty(), "a body is read into a window that has room");
        match self.read(window).await {
            Ok(read) => Ok(read),
            Err(error) => {
                self.body = Body::Broken;
                metrics::BODIES_CUT.add(1);
                Err(error)
            }
        }
    }

    /// As `read_into`, until the window is full or the body ends: fewer bytes than the window holds mean the end.
    pub async fn read_full(&mut self, window: Window) -> Result<(usize, Window), BodyError> {
        let range = window.range();
        let (mut window, mut filled) = (window, range.start);
        while filled < range.end {
            let (len, back) = self.read_into(window.with_range(filled..range.end)).await?;
            window = back;
            filled += len;
            if len == 0 {
                break;
            }
        }
        Ok((filled - range.start, window.with_range(range)))
    }

    async fn read(&mut self, mut window: Window) -> Result<(usize, Window), BodyError> {
        loop {
            match &mut self.body {
                Body::Broken => return Err(BodyError::Truncated),
                Body::Length(0) => return Ok((0, window)),
                Body::Length(left) if !self.early.is_empty() => {
                    let len = bounded(*left, self.early.len().min(window.len()));
                    window[..len].copy_from_slice(&self.early[..len]);
                    self.early = &self.early[len..];
                    *left -= len as u64;
                    return Ok((len, window));
                }
                Body::Length(left) => {
                    let want = bounded(*left, window.len());
                    let (len, window) = self.receive(window, want).await?;
                    if let Body::Length(left) = &mut self.body {
                        *left -= len as u64;
                    }
                    return Ok((len, window));
                }
                Body::Chunked(decoder) => {
                    let spilled = self.spill.as_ref().map_or(0, |spill| spill.end - spill.start);
                    if decoder.is_done() {
                        return Ok((0, window));
                    }
                    if !self.early.is_empty() {
                        let progress = decoder.decode(self.early, &mut window).map_err(BodyError::Chunk)?;
                        self.early = &self.early[progress.consumed..];
                        if progress.produced > 0 {
                            return Ok((progress.produced, window));
                        }
                    } else if let (Some(spill), true) = (&mut self.spill, spilled > 0) {
                        let ahead = &spill.buf[spill.start..spill.end];
                        let progress = decoder.decode(ahead, &mut window).map_err(BodyError::Chunk)?;
                        spill.start += progress.consumed;
                        if progress.produced > 0 {
                            return Ok((progress.produced, window));
                        }
                    } else {
                        let want = bounded(decoder.payload_ahead(), window.len());
                        if want >= DIRECT_READ_BYTES_MIN {
                            let (len, window) = self.receive(window, want).await?;
                            if let Body::Chunked(decoder) = &mut self.body {
                                decoder.skip_payload(len as u64);
                            }
                            return Ok((len, window));
                        }
                        self.receive_spill().await?;
                    }
                }
            }
        }
    }

    async fn receive_spill(&mut self) -> Result<(), BodyError> {
        // Only a read that was abandoned half-way leaves the buffer away.
        let spill = self.spill.take().ok_or(BodyError::Truncated)?;
        let window = Window::new(spill.buf, 0..SPILL_BYTES);
        let (len, window) = self.receive(window, SPILL_BYTES).await?;
        self.spill = Some(Spill { buf: window.into_buf(), start: 0, end: len });
        Ok(())
    }

    /// Reads `1..=want` bytes from the connection.
    async fn receive(&mut self, window: Window, want: usize) -> Result<(usize, Window), BodyError> {
        if std::mem::replace(&mut self.reading, true) {
            return Err(BodyError::Truncated);
        }
        if self.continue_due && self.reply == Reply::Due {
            self.continue_due = false;
            self.transport.send_copied(&[CONTINUE], self.limits.send_timeout).await.map_err(|error| match error {
                SendError::Timeout => BodyError::TooSlow,
                SendError::Io(error) => BodyError::Io(error),
            })?;
        }
        let span = self.limits.body_window;
        let bytes_min = self.limits.body_bytes_per_second_min.saturating_mul(span.as_secs()).max(1);
        let before = Instant::now();
        let deadline = before + self.pace.patience(span, bytes_min);
        let (outcome, window) = self.transport.recv(window, want, deadline).await;
        self.reading = false;
        match outcome {
            Ok(0) => Err(BodyError::Truncated),
            Ok(len) if self.pace.observe(before.elapsed(), len as u64, span, bytes_min) => Ok((len, window)),
            Ok(_) | Err(RecvError::Timeout) => Err(BodyError::TooSlow),
            Err(RecvError::Stopped) => Err(BodyError::Stopped),
            Err(RecvError::Io(error)) => Err(BodyError::Io(error)),
        }
    }

    /// Drops `held` with this exchange, or as soon as the peer keeps it waiting for longer than a moment.
    pub fn hold(&self, held: impl Any) {
        self.transport.hold(Box::new(held));
    }

    /// Drops what `hold` was given.
    pub fn let_go(&mut self) {
        self.transport.let_go();
    }

    /// Answers with a whole body; head and body go out in one send unless the body is large. For HEAD the body is
    /// measured and not sent; statuses without a body drop it.
    pub async fn reply<N: AsRef<str>, V: AsRef<[u8]>>(
        &mut self,
        response: &Response<'_, N, V>,
        body: &[u8],
    ) -> Result<(), ReplyError> {
        self.start(response, Some(body.len() as u64))?;
        if !body.is_empty() {
            self.send_bytes(body).await?;
        }
        self.finish().await
    }

    /// Answers without sending a body; `length` is what GET would have sent. For HEAD.
    pub async fn reply_head<N: AsRef<str>, V: AsRef<[u8]>>(
        &mut self,
        response: &Response<'_, N, V>,
        length: u64,
    ) -> Result<(), ReplyError> {
        assert!(self.is_head || length == 0, "only HEAD announces a body that does not come");
        self.start(response, Some(length))?;
        self.finish().await
    }

    /// Begins a reply whose body follows through `send`: of a known length, or chunked. The head waits for the first
    /// bytes, or for `flush`. A second reply panics.
    ///
    /// An HTTP/1.0 client gets a body of unknown length up to the end of the connection and cannot tell a broken one
    /// from a whole one: without a length send only what shows its own end, like a document.
    pub fn start<N: AsRef<str>, V: AsRef<[u8]>>(
        &mut self,
        response: &Response<'_, N, V>,
        length: Option<u64>,
    ) -> Result<(), ReplyError> {
        assert!(self.reply == Reply::Due, "a request is answered once");
        let bodyless = response::is_bodyless(response.status);
        let (framing, reply) = match length {
            _ if bodyless => (ReplyFraming::Bodyless, Reply::Silent),
            Some(length) if self.is_head => (ReplyFraming::Length(length), Reply::Silent),
            Some(length) => (ReplyFraming::Length(length), Reply::Length(length)),
            None if self.version == Version::Http10 => {
                self.keep_alive = false;
                (ReplyFraming::UntilClose, if self.is_head { Reply::Silent } else { Reply::UntilClose })
            }
            None => (ReplyFraming::Chunked, if self.is_head { Reply::Silent } else { Reply::Chunked }),
        };
        self.keep_alive = self.keep_alive && self.can_drain() && !self.transport.is_stopping();
        let connection = match (self.keep_alive, self.version) {
            (true, Version::Http11) => ConnectionHeader::Omitted,
            (true, Version::Http10) => ConnectionHeader::KeepAlive,
            (false, _) => ConnectionHeader::Close,
        };
        let date = date::cached(rt::time::wall_clock() / 1_000_000_000);
        response::render(self.pending, response, framing, connection, &date).map_err(|_| ReplyError::Header)?;
        // Clients that wait for it take a final status in its place for the end of the connection (botocore sends nothing
        // more), even when there is no body to wait with.
        if self.keep_alive && self.is_empty && std::mem::take(&mut self.continue_due) {
            self.pending.splice(0..0, CONTINUE.iter().copied());
        }
        self.reply = reply;
        Ok(())
    }

    /// Sends body bytes that the caller goes on sharing, without copying them.
    pub async fn send(&mut self, data: Shared) -> Result<(), ReplyError> {
        if data.is_empty() || !self.owe(data.len())? {
            return Ok(());
        }
        let reply = std::mem::replace(&mut self.reply, Reply::Broken);
        let suffix = self.frame_chunk(reply, data.len());
        let sent = self.transport.send_shared(self.pending, data, suffix, self.limits.send_timeout).await;
        self.sent(reply, sent)
    }

    /// Sends body bytes by copying them; for small pieces.
    pub async fn send_bytes(&mut self, data: &[u8]) -> Result<(), ReplyError> {
        if data.is_empty() || !self.owe(data.len())? {
            return Ok(());
        }
        let reply = std::mem::replace(&mut self.reply, Reply::Broken);
        let suffix = self.frame_chunk(reply, data.len());
        let sent = self.transport.send_copied(&[self.pending, data, suffix], self.limits.send_timeout).await;
        self.sent(reply, sent)
    }

    /// Sends the head now, before there is a body to send with it.
    pub async fn flush(&mut self) -> Result<(), ReplyError> {
        assert!(self.reply != Reply::Due, "a reply is started before it is flushed");
        if self.pending.is_empty() {
            return Ok(());
        }
        let reply = std::mem::replace(&mut self.reply, Reply::Broken);
        let sent = self.transport.send_copied(&[self.pending], self.limits.send_timeout).await;
        self.sent(reply, sent)
    }

    /// Ends the reply. Must follow `start`; fails when less was sent than announced.
    pub async fn finish(&mut self) -> Result<(), ReplyError> {
        match self.reply {
            Reply::Due => panic!("a reply is started before it is finished"),
            Reply::Finished => return Ok(()),
            Reply::Length(0) | Reply::UntilClose | Reply::Silent => {}
            Reply::Chunked => self.pending.extend_from_slice(chunked::LAST_CHUNK),
            Reply::Length(_) | Reply::Broken => {
                self.reply = Reply::Broken;
                return Err(ReplyError::Length);
            }
        }
        self.flush().await?;
        self.reply = Reply::Finished;
        Ok(())
    }

    /// Whether anything of a reply was begun.
    pub fn is_replied(&self) -> bool {
        self.reply != Reply::Due
    }

    /// Books `len` body bytes; false when they are to be dropped.
    fn owe(&mut self, len: usize) -> Result<bool, ReplyError> {
        match &mut self.reply {
            Reply::Due | Reply::Finished => panic!("body bytes belong between start and finish"),
            Reply::Length(left) if *left >= len as u64 => {
                *left -= len as u64;
                Ok(true)
            }
            Reply::Length(_) | Reply::Broken => {
                self.reply = Reply::Broken;
                Err(ReplyError::Length)
            }
            Reply::Chunked | Reply::UntilClose => Ok(true),
            Reply::Silent => Ok(false),
        }
    }

    fn frame_chunk(&mut self, reply: Reply, len: usize) -> &'static [u8] {
        if reply != Reply::Chunked {
            return b"";
        }
        chunked::render_size(self.pending, len);
        b"\r\n"
    }

    /// Restores the state that was set to broken while the send was in flight, so that a dropped future leaves it so.
    fn sent(&mut self, reply: Reply, outcome: Result<(), SendError>) -> Result<(), ReplyError> {
        outcome.map_err(|error| match error {
            SendError::Timeout => ReplyError::Timeout,
            SendError::Io(error) => ReplyError::Io(error),
        })?;
        self.pending.clear();
        self.reply = reply;
        Ok(())
    }

    /// Whether what is left of the body can be read away so that the next request can follow.
    fn can_drain(&self) -> bool {
        match &self.body {
            Body::Broken => false,
            _ if self.reading => false,
            Body::Length(0) => true,
            // A client that still waits may send the body or not: nobody can tell what its next byte is.
            Body::Length(_) if self.continue_due => self.early.len() as u64 >= self.remaining_len().unwrap_or(u64::MAX),
            Body::Length(left) => left.saturating_sub(self.early.len() as u64) <= self.limits.drain_bytes_max,
            Body::Chunked(decoder) => decoder.is_done() || !self.continue_due || !self.early.is_empty(),
        }
    }

    /// Reads away what is left of the body, then says how the connection goes on.
    pub(crate) async fn conclude(mut self) -> Remains {
        let ending = match self.reply {
            // A body that broke off is no news to its sender.
            Reply::Due if matches!(self.body, Body::Broken) => Ending::Cut,
            Reply::Due => Ending::NoReply,
            Reply::Finished if !self.keep_alive => Ending::Close,
            Reply::Finished => {
                if self.drain().await {
                    Ending::KeepAlive
                } else {
                    Ending::Close
                }
            }
            Reply::Length(_) | Reply::Chunked | Reply::UntilClose | Reply::Silent | Reply::Broken => Ending::Cut,
        };
        Remains { early_len: self.early.len(), spill: self.spill, ending }
    }

    /// True when the body was read to its end within the limit.
    async fn drain(&mut self) -> bool {
        self.continue_due = false;
        let mut budget = self.limits.drain_bytes_max + self.early.len() as u64;
        let mut scrap: Option<Window> = None;
        while self.remaining_len() != Some(0) {
            let window = match scrap.take() {
                Some(window) => window,
                None => {
                    let Some(buf) = rt::buf::try_alloc(SPILL_BYTES) else { return false };
                    Window::new(buf, 0..SPILL_BYTES)
                }
            };
            let Ok((len, window)) = self.read_into(window).await else { return false };
            if len as u64 > budget {
                return false;
            }
            budget -= len as u64;
            scrap = Some(window);
        }
        true
    }
}

/// The smaller of a length and the room there is for it.
fn bounded(length: u64, room: usize) -> usize {
    usize::try_from(length).map_or(room, |length| length.min(room))
}

//! The byte stream under the messages: a socket, plain or TLS, with deadlines.
//!
//! A connection owns the buffers it needs to get on: one to send small things with, and over TLS one to receive into.
//! Larger sends take a pool buffer if there is a free one and else go out in small pieces, so that a request which holds
//! buffers never waits for more of them.

use std::any::Any;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rt::buf::{Buf, Shared, Window};
use rt::net::{Picked, Stream};
use rt::time::Instant;
use rustls::ServerConfig;

use crate::limits::{LINGER_BYTES_MAX, SEND_BYTES_MAX};
use crate::metrics;
use crate::peers::{Listed, Peer};
use crate::stop::Stop;
use crate::tls::session::{INCOMING_BYTES_MIN, Session, Step, encrypted_bytes_max, plain_bytes_max};
use crate::waiting::Place;

/// The send buffer every connection has.
const OUT_BYTES: usize = 4096;
/// Most plain bytes gathered for one send: a full piece of data with its head and framing.
const GATHERED_BYTES_MAX: usize = SEND_BYTES_MAX + 8 * 1024;
/// What a larger send asks the pool for when the largest size is not to be had.
const OUT_BYTES_FALLBACK: usize = 64 * 1024;
/// Most encrypted bytes of one send: they are still in the core's second cache when the kernel copies them.
const ENCRYPTED_BYTES_MAX: usize = OUT_BYTES_FALLBACK;

const _: () = assert!(plain_bytes_max(OUT_BYTES) > OUT_BYTES / 2 && SEND_BYTES_MAX > OUT_BYTES_FALLBACK);
const _: () = assert!(encrypted_bytes_max(plain_bytes_max(ENCRYPTED_BYTES_MAX)) <= ENCRYPTED_BYTES_MAX);

#[derive(Debug)]
pub(crate) enum RecvError {
    /// The socket is shut down for reading; it can still be written to.
    Timeout,
    /// The same, but we did it, to stop or to make room, while the beginning of a request was arriving.
    Stopped,
    Io(io::Error),
}

#[derive(Debug)]
pub(crate) enum SendError {
    /// The socket is shut down.
    Timeout,
    Io(io::Error),
}

impl From<SendError> for RecvError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Timeout => Self::Timeout,
            SendError::Io(error) => Self::Io(error),
        }
    }
}

/// There are no buffers for one more connection.
#[derive(Debug)]
pub(crate) struct NoBuffers;

pub(crate) struct Transport {
    stream: Stream,
    peer: SocketAddr,
    tls: Option<Box<Tls>>,
    /// Away only while a send is in flight.
    out: Option<Buf>,
    stop: Rc<Stop>,
    /// Reading was shut down between requests, and bytes of one came all the same.
    is_deaf: Cell<bool>,
    /// While the connection has no request under way: what is read then is given up when it has to make room.
    place: Option<Place>,
    /// While it has one.
    exchange: Option<Listed>,
}

struct Tls {
    session: Session,
    /// Away only while a read is in flight.
    incoming: Option<Buf>,
    filled: usize,
}

impl Tls {
    /// The received bytes, with the session that reads them.
    fn parts(&mut self) -> Option<(&mut Session, &mut [u8])> {
        let incoming = self.incoming.as_mut()?;
        Some((&mut self.session, &mut incoming[..self.filled]))
    }

    /// Drops what the session is done with from the front.
    fn discard(&mut self, len: usize) {
        if let (Some(incoming), true) = (&mut self.incoming, len > 0) {
            incoming.copy_within(len..self.filled, 0);
            self.filled -= len;
        }
    }
}

/// Waits for the first byte without a buffer for it. False when the connection is to be closed instead.
pub(crate) async fn readable(stream: &Stream, deadline: Instant, stop: &Stop, place: &Place) -> bool {
    let causes = Causes { deadline, stop: Some(stop), place: Some(place), peer: None };
    let (outcome, interrupted) = interruptible(stream.readable_until(deadline), causes, || {
        // It fails only when the connection is gone already; the wait ends in either case.
        drop(stream.shutdown(Shutdown::Both));
    })
    .await;
    outcome.is_ok() && interrupted == Interrupted::No
}

impl Transport {
    pub(crate) fn new(
        stream: Stream,
        peer: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        stop: Rc<Stop>,
    ) -> Result<Self, NoBuffers> {
        let tls = match tls {
            None => None,
            Some(config) => {
                let incoming = Some(rt::buf::try_alloc(INCOMING_BYTES_MIN).ok_or(NoBuffers)?);
                // A configuration that made one connection makes them all.
                let session = Session::new(config).map_err(|_| NoBuffers)?;
                Some(Box::new(Tls { session, incoming, filled: 0 }))
            }
        };
        let out = Some(rt::buf::try_alloc(OUT_BYTES).ok_or(NoBuffers)?);
        Ok(Self { stream, peer, tls, out, stop, is_deaf: Cell::new(false), place: None, exchange: None })
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_stopping()
    }

    /// Whether the connection may be closed to make room: only while it has a place.
    pub(crate) fn set_place(&mut self, place: Option<Place>) {
        self.place = place;
    }

    /// The exchange that what is received and sent belongs to.
    pub(crate) fn set_exchange(&mut self, exchange: Option<Listed>) {
        self.exchange = exchange;
    }

    /// Drops `held` with the exchange, or as soon as the peer keeps it waiting.
    pub(crate) fn hold(&self, held: Box<dyn Any>) {
        if let Some(exchange) = &self.exchange {
            exchange.peer.hold(held);
        }
    }

    pub(crate) fn let_go(&self) {
        if let Some(exchange) = &self.exchange {
            exchange.peer.let_go();
        }
    }

    fn peer_of_exchange(&self) -> Option<&Peer> {
        self.exchange.as_ref().map(|listed| &*listed.peer)
    }

    /// Completes the TLS handshake, if there is one. On failure the peer has been sent an alert.
    pub(crate) async fn handshake(&mut self, deadline: Instant) -> Result<(), RecvError> {
        if self.tls.is_none() {
            return Ok(());
        }
        loop {
            match self.step(&mut [], deadline).await? {
                Step::Established => return Ok(()),
                Step::Flush | Step::Plaintext(_) => {}
                Step::Handshaking => {
                    if self.fill_incoming(deadline, false).await? == 0 {
                        return Err(RecvError::Io(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
                Step::PeerClosed => return Err(RecvError::Io(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }

    /// Reads up to `want` bytes into the front of the window; 0 means that the peer sends no more.
    pub(crate) async fn recv(
        &mut self,
        window: Window,
        want: usize,
        deadline: Instant,
    ) -> (Result<usize, RecvError>, Window) {
        self.recv_or_stop(window, want, deadline, false).await
    }

    /// As `recv`, between requests: a stop ends it like a peer that sends no more.
    pub(crate) async fn recv_idle(
        &mut self,
        window: Window,
        want: usize,
        deadline: Instant,
    ) -> (Result<usize, RecvError>, Window) {
        self.recv_or_stop(window, want, deadline, true).await
    }

    async fn recv_or_stop(
        &mut self,
        mut window: Window,
        want: usize,
        deadline: Instant,
        is_idle: bool,
    ) -> (Result<usize, RecvError>, Window) {
        debug_assert!(want > 0 && want <= window.len());
        if self.tls.is_some() {
            let outcome = self.recv_tls(&mut window[..want], deadline, is_idle).await;
            return (outcome, window);
        }
        let range = window.range();
        let narrow = window.with_range(range.start..range.start + want);
        let (outcome, narrow) = self.recv_raw(narrow, deadline, is_idle).await;
        (outcome, narrow.with_range(range))
    }

    async fn recv_tls(&mut self, window: &mut [u8], deadline: Instant, is_idle: bool) -> Result<usize, RecvError> {
        loop {
            match self.step(window, deadline).await? {
                Step::Plaintext(len) => return Ok(len),
                Step::PeerClosed => return Ok(0),
                Step::Flush => {}
                Step::Handshaking | Step::Established => {
                    if self.fill_incoming(deadline, is_idle).await? == 0 {
                        return Ok(0);
                    }
                }
            }
        }
    }

    /// One step of the TLS session, with everything it wants to say sent.
    async fn step(&mut self, window: &mut [u8], deadline: Instant) -> Result<Step, RecvError> {
        let tls = self.tls.as_mut().ok_or_else(abandoned)?;
        let (session, incoming) = tls.parts().ok_or_else(abandoned)?;
        let (done_with, step) = session.advance(incoming, window);
        tls.discard(done_with);
        let flushed = self.flush_session(deadline - Instant::now()).await;
        // After an error the flushed bytes are only an alert: the error is what counts.
        let step = step.map_err(|error| RecvError::Io(tls_error(error)))?;
        flushed?;
        Ok(step)
    }

    /// Receives more TLS bytes behind those that are there; 0 means that the peer sends no more.
    async fn fill_incoming(&mut self, deadline: Instant, is_idle: bool) -> Result<usize, RecvError> {
        let tls = self.tls.as_mut().ok_or_else(abandoned)?;
        let incoming = tls.incoming.take().ok_or_else(abandoned)?;
        let room = tls.filled..incoming.len();
        if room.is_empty() {
            tls.incoming = Some(incoming);
            return Err(RecvError::Io(io::Error::new(io::ErrorKind::InvalidData, "TLS message too large")));
        }
        let (outcome, window) = self.recv_raw(Window::new(incoming, room), deadline, is_idle).await;
        let tls = self.tls.as_mut().ok_or_else(abandoned)?;
        tls.incoming = Some(window.into_buf());
        let len = outcome?;
        tls.filled += len;
        Ok(len)
    }

    /// At the deadline, at a stop while idle, or when it has to make room, reading is shut down so that the read returns
    /// with its buffer. It may return with bytes that had just come.
    async fn recv_raw(&self, window: Window, deadline: Instant, is_idle: bool) -> (Result<usize, RecvError>, Window) {
        let ((outcome, window), interrupted) = self.reading(self.stream.recv(window), deadline, is_idle).await;
        if let Some(peer) = self.peer_of_exchange() {
            peer.moved(*outcome.as_ref().unwrap_or(&0) as u64);
        }
        (self.received(outcome, interrupted), window)
    }

    /// As `recv_idle`, of a connection without TLS, into a buffer that is picked when bytes come.
    pub(crate) async fn recv_picked(&self, want: usize, deadline: Instant) -> Result<Picked, RecvError> {
        debug_assert!(!self.is_tls(), "what is received is no plain text");
        let (outcome, interrupted) = self.reading(self.stream.recv_picked(want), deadline, true).await;
        match outcome {
            // It is read on, so it is not the end.
            Ok(Picked::NoBuffer) if interrupted == Interrupted::No => Ok(Picked::NoBuffer),
            Ok(picked) => {
                let len = if let Picked::Bytes(_, len) = &picked { *len } else { 0 };
                self.received(Ok(len), interrupted).map(|_| picked)
            }
            Err(error) => self.received(Err(error), interrupted).map(|_| Picked::End),
        }
    }

    /// What a read that ended so means for the connection.
    fn received(&self, outcome: io::Result<usize>, interrupted: Interrupted) -> Result<usize, RecvError> {
        match (outcome, interrupted) {
            // What the kernel has is read to its end; then it looks as if the peer sent no more.
            (Ok(0), Interrupted::No) if self.is_deaf.get() => Err(RecvError::Stopped),
            (Ok(len), Interrupted::No | Interrupted::Stop | Interrupted::Evicted) => {
                self.is_deaf.set(self.is_deaf.get() || interrupted != Interrupted::No);
                metrics::RECEIVED_BYTES.add(len as u64);
                Ok(len)
            }
            (_, Interrupted::Deadline | Interrupted::TooSlow) => Err(RecvError::Timeout),
            (Err(error), Interrupted::No | Interrupted::Stop | Interrupted::Evicted) => Err(RecvError::Io(error)),
        }
    }

    /// Awaits a read to its end, which is brought about when it is called off.
    async fn reading<T>(&self, read: impl Future<Output = T>, deadline: Instant, is_idle: bool) -> (T, Interrupted) {
        let causes = Causes {
            deadline,
            stop: is_idle.then_some(&*self.stop),
            place: self.place.as_ref(),
            peer: self.peer_of_exchange(),
        };
        interruptible(read, causes, || {
            // It fails only when the connection is gone already; the read returns in either case.
            drop(self.stream.shutdown(Shutdown::Read));
        })
        .await
    }

    /// Sends what the TLS session has queued by itself.
    async fn flush_session(&mut self, timeout: Duration) -> Result<(), SendError> {
        let mut sent = 0;
        while let Some(tls) = &mut self.tls {
            let queued = &tls.session.outgoing()[sent..];
            if queued.is_empty() {
                tls.session.clear_outgoing();
                break;
            }
            let mut out = self.out.take().ok_or_else(abandoned)?;
            let len = queued.len().min(out.len());
            out[..len].copy_from_slice(&queued[..len]);
            self.send_out(out, len, timeout).await?;
            sent += len;
        }
        Ok(())
    }

    /// Sends the parts one behind the other, copied or encrypted into as few sends as the pool has room for.
    pub(crate) async fn send_copied(&mut self, parts: &[&[u8]], timeout: Duration) -> Result<(), SendError> {
        let mut left: usize = parts.iter().map(|part| part.len()).sum();
        let mut parts = parts.iter().copied();
        let mut part: &[u8] = &[];
        let at_a_time = if self.tls.is_some() { plain_bytes_max(ENCRYPTED_BYTES_MAX) } else { GATHERED_BYTES_MAX };
        while left > 0 {
            let mut out = self.take_out(left.min(at_a_time))?;
            let mut used = 0;
            while left > 0 {
                if part.is_empty() {
                    part = parts.next().unwrap_or_default();
                    continue;
                }
                let room = &mut out[used..];
                let len = part.len().min(if self.tls.is_some() { plain_bytes_max(room.len()) } else { room.len() });
                if len == 0 {
                    break;
                }
                used += self.put(&part[..len], room)?;
                part = &part[len..];
                left -= len;
            }
            self.send_out(out, used, timeout).await?;
        }
        Ok(())
    }

    /// Sends `data` without copying it, between two small pieces. Over TLS it is encrypted into a buffer of our own.
    pub(crate) async fn send_shared(
        &mut self,
        prefix: &[u8],
        data: Shared,
        suffix: &'static [u8],
        timeout: Duration,
    ) -> Result<(), SendError> {
        if self.tls.is_some() {
            return self.send_copied(&[prefix, &data, suffix], timeout).await;
        }
        let mut prefix = prefix;
        if prefix.len() > OUT_BYTES {
            self.send_copied(&[prefix], timeout).await?;
            prefix = &[];
        }
        let mut sent = 0;
        while sent < data.len() {
            let len = (data.len() - sent).min(SEND_BYTES_MAX);
            let piece = data.slice(sent..sent + len);
            let is_last = sent + len == data.len();
            if prefix.is_empty() && (suffix.is_empty() || !is_last) {
                self.send_parts(vec![piece], timeout).await?;
            } else {
                let mut out = self.out.take().ok_or_else(abandoned)?;
                out[..prefix.len()].copy_from_slice(prefix);
                let front = Shared::from(Window::new(out, 0..prefix.len()));
                let mut parts = vec![front.clone(), piece];
                if is_last && !suffix.is_empty() {
                    parts.push(Shared::from_static(suffix));
                }
                self.send_parts(parts, timeout).await?;
                self.out = front.into_buf().ok().or_else(|| rt::buf::try_alloc(OUT_BYTES));
            }
            prefix = &[];
            sent += len;
        }
        Ok(())
    }

    async fn send_parts(&self, mut parts: Vec<Shared>, timeout: Duration) -> Result<(), SendError> {
        parts.retain(|part| !part.is_empty());
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.interruptible_send(self.stream.send_vectored(parts), len, timeout).await
    }

    /// Sends the first `len` bytes of a buffer that `take_out` gave, and keeps it for the next time if it is our own.
    async fn send_out(&mut self, out: Buf, len: usize, timeout: Duration) -> Result<(), SendError> {
        let send = async {
            let (outcome, window) = self.stream.send_window(Window::new(out, 0..len)).await;
            outcome.map(|()| window.into_buf())
        };
        let out = self.interruptible_send(send, len, timeout).await?;
        if self.out.is_none() {
            self.out = Some(out);
        }
        Ok(())
    }

    /// At the deadline the socket is shut down so that the send returns with its buffers.
    async fn interruptible_send<T>(
        &self,
        operation: impl Future<Output = io::Result<T>>,
        len: usize,
        timeout: Duration,
    ) -> Result<T, SendError> {
        let peer = self.peer_of_exchange();
        let causes = Causes { deadline: Instant::now() + timeout, stop: None, place: None, peer };
        let (outcome, interrupted) = interruptible(operation, causes, || {
            // It fails only when the connection is gone already; the send returns in either case.
            drop(self.stream.shutdown(Shutdown::Both));
        })
        .await;
        if let Some(peer) = peer {
            peer.moved(len as u64);
        }
        match (outcome, interrupted) {
            (Ok(done), _) => {
                metrics::SENT_BYTES.add(len as u64);
                Ok(done)
            }
            (Err(_), Interrupted::Deadline | Interrupted::TooSlow) => Err(SendError::Timeout),
            (Err(error), Interrupted::No | Interrupted::Stop | Interrupted::Evicted) => Err(SendError::Io(error)),
        }
    }

    /// Our own buffer when it is large enough; else one of the pool's, the largest that is free; else our own.
    fn take_out(&mut self, plain_len: usize) -> io::Result<Buf> {
        let wanted = if self.tls.is_some() { encrypted_bytes_max(plain_len) } else { plain_len };
        let larger = if wanted > OUT_BYTES {
            rt::buf::try_alloc(wanted).or_else(|| rt::buf::try_alloc(wanted.min(OUT_BYTES_FALLBACK)))
        } else {
            None
        };
        larger.or_else(|| self.out.take()).ok_or_else(abandoned)
    }

    /// Copies or encrypts `plain` into `out`; returns the bytes used of it.
    fn put(&mut self, plain: &[u8], out: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            out[..plain.len()].copy_from_slice(plain);
            return Ok(plain.len());
        };
        let (session, incoming) = tls.parts().ok_or_else(abandoned)?;
        let (done_with, used) = session.encrypt(incoming, plain, out);
        tls.discard(done_with);
        used.map_err(tls_error)
    }

    /// Closes after everything was sent and nothing more is expected.
    pub(crate) async fn close(mut self, timeout: Duration) {
        self.say_goodbye(timeout).await;
    }

    /// Closes after a reply while the peer may still be sending: closed with input unread, the kernel would reset the
    /// connection, and the reply could be lost on its way.
    pub(crate) async fn linger(mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        self.say_goodbye(timeout).await;
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        self.out = None;
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match self.reading(self.stream.discard(left), deadline, false).await {
                (Ok(len), Interrupted::No) if len > 0 => {
                    metrics::RECEIVED_BYTES.add(len as u64);
                    left -= len;
                }
                _ => return,
            }
        }
    }

    /// Closes so that the peer sees a broken reply: no TLS goodbye, no lingering.
    pub(crate) fn cut(self) {
        drop(self.stream.shutdown(Shutdown::Both));
    }

    async fn say_goodbye(&mut self, timeout: Duration) {
        if let Some(tls) = &mut self.tls {
            tls.session.close();
            // The peer may be gone; we are going too.
            drop(self.flush_session(timeout).await);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Interrupted {
    No,
    Deadline,
    Stop,
    Evicted,
    TooSlow,
}

/// What may end an operation before its time.
struct Causes<'c> {
    deadline: Instant,
    stop: Option<&'c Stop>,
    place: Option<&'c Place>,
    peer: Option<&'c Peer>,
}

/// Awaits `operation` to its end. When one of the causes comes first, `interrupt` makes the operation return.
async fn interruptible<T>(
    operation: impl Future<Output = T>,
    causes: Causes<'_>,
    interrupt: impl Fn(),
) -> (T, Interrupted) {
    let Causes { deadline, stop, place, peer } = causes;
    let mut operation = pin!(operation);
    let mut expired = pin!(rt::time::sleep_until(deadline));
    let mut stopped = pin!(stop.map(Stop::wait));
    let mut called = pin!(place.map(Place::called));
    let mut interrupted = Interrupted::No;
    poll_fn(|cx| {
        if let Poll::Ready(done) = operation.as_mut().poll(cx) {
            return Poll::Ready((done, interrupted));
        }
        if interrupted == Interrupted::No {
            if peer.is_some_and(|peer| peer.waits(cx.waker())) {
                interrupted = Interrupted::TooSlow;
                interrupt();
            } else if expired.as_mut().poll(cx).is_ready() {
                interrupted = Interrupted::Deadline;
                interrupt();
            } else if let Some(stopped) = stopped.as_mut().as_pin_mut()
                && stopped.poll(cx).is_ready()
            {
                interrupted = Interrupted::Stop;
                interrupt();
            } else if let Some(called) = called.as_mut().as_pin_mut()
                && called.poll(cx).is_ready()
            {
                interrupted = Interrupted::Evicted;
                metrics::CONNECTIONS_EVICTED.add(1);
                interrupt();
            }
        }
        Poll::Pending
    })
    .await
}

/// A future was dropped inside an operation and took a buffer along; the connection is of no more use.
fn abandoned() -> io::Error {
    io::Error::other("an operation on the connection was abandoned")
}

fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl From<io::Error> for RecvError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

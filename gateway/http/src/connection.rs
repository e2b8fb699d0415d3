//! One connection from accept to close: head, handler, what is left of the body, next head.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rt::buf::{Buf, Window};
use rt::net::{PICKED_BYTES, Picked, Stream};
use rt::time::Instant;

use crate::date;
use crate::error::ProtocolError;
use crate::exchange::{Ending, Exchange, SPILL_BYTES};
use crate::handler::Handler;
use crate::head::{self, Framing, Scan};
use crate::limits::Limits;
use crate::metrics;
use crate::peers::Peers;
use crate::response::{self, ConnectionHeader, ReplyFraming, Response};
use crate::stop::Stop;
use crate::tls::CertStore;
use crate::transport::{self, RecvError, Transport};
use crate::waiting::{Standing, Waiting};

/// Received bytes: `start..end` of the buffer are not consumed yet.
struct Received {
    /// Away while a read is in flight, and between requests: then the first bytes of the next one come with a buffer.
    buf: Option<Buf>,
    start: usize,
    end: usize,
}

/// How waiting for a head ended.
enum NextHead {
    /// A head of this length lies at the front of the received bytes.
    Complete(usize),
    Refused(ProtocolError),
    /// Some came, but there is no buffer for them.
    NoBuffer,
    /// Nothing to answer: the peer is gone, was idle for too long, or we are stopping.
    Over,
}

/// The other connections of the shard.
#[derive(Default)]
pub(crate) struct Company {
    pub(crate) waiting: Rc<Waiting>,
    /// Those without room, while they are told so.
    pub(crate) reception: Rc<Waiting>,
    pub(crate) peers: Rc<Peers>,
}

/// How long a connection beyond the limit may take to say what it wants.
const REFUSED_PATIENCE: Duration = Duration::from_secs(1);
/// Longest head that is read of such a connection: of the smallest buffers there are always some left.
const REFUSED_HEAD_BYTES: usize = 4096;

/// How long a new connection waits for buffers before it is refused. Slow peers who hold some are judged five times meanwhile.
const BUFFER_PATIENCE: Duration = Duration::from_secs(1);

/// Serves one accepted connection until it closes. Errors of the peer end here; there is nobody to tell.
pub(crate) async fn serve<H: Handler>(
    stream: Stream,
    peer: SocketAddr,
    tls: Option<Arc<CertStore>>,
    limits: &Limits,
    handler: &H,
    stop: Rc<Stop>,
    company: &Company,
) {
    let _open = OpenConnection::new();
    let accepted = Instant::now();
    let place = company.waiting.enter(Standing::Silent);
    if !transport::readable(&stream, accepted + limits.header_timeout, &stop, &place).await {
        return;
    }
    drop(place);
    // It holds no buffer yet, so it may wait for one; then not any more: that would only tie up more.
    let Some(buf) = head_buffer(limits, &company.waiting).await else {
        return refuse(stream, peer, tls, limits, handler, stop, &company.reception).await;
    };
    let is_tls = tls.is_some();
    let Ok(transport) = Transport::new(stream, peer, tls.map(|store| store.config()), stop) else {
        metrics::CONNECTIONS_REFUSED.add(1);
        return;
    };
    let mut connection = Connection::new(transport, limits, buf);
    connection.transport.set_place(Some(company.waiting.enter(Standing::New)));
    if is_tls && let Err(error) = connection.transport.handshake(accepted + limits.header_timeout).await {
        metrics::HANDSHAKES_FAILED.add(1);
        if let RecvError::Io(error) = error {
            telemetry::debug!("TLS handshake failed"; peer = peer, error = error);
        }
        return;
    }
    connection.run(handler, company).await;
}

/// The buffer that heads are received into. When there is none, whoever only waits gives up his.
async fn head_buffer(limits: &Limits, waiting: &Waiting) -> Option<Buf> {
    if let Some(buf) = rt::buf::try_alloc(limits.head_bytes_max) {
        return Some(buf);
    }
    waiting.free_buffers();
    rt::time::timeout(BUFFER_PATIENCE, rt::buf::alloc(limits.head_bytes_max)).await.ok()
}

/// Tells a client that there are too many connections, and closes; but first answers one request that must be answered
/// all the same: whether we are alive. In `reception`, others that come may cut it short.
pub(crate) async fn refuse<H: Handler>(
    stream: Stream,
    peer: SocketAddr,
    tls: Option<Arc<CertStore>>,
    limits: &Limits,
    handler: &H,
    stop: Rc<Stop>,
    reception: &Rc<Waiting>,
) {
    metrics::CONNECTIONS_REFUSED.add(1);
    let deadline = Instant::now() + REFUSED_PATIENCE;
    let tls = tls.map(|store| store.config());
    let Ok(mut transport) = Transport::new(stream, peer, tls, stop) else { return };
    transport.set_place(Some(reception.enter(Standing::New)));
    if transport.handshake(deadline).await.is_err() {
        metrics::HANDSHAKES_FAILED.add(1);
        return;
    }
    refuse_next(transport, limits, handler, reception).await;
}

/// The same, of a connection that was served before and for whose next request there is no buffer.
async fn refuse_next<H: Handler>(transport: Transport, limits: &Limits, handler: &H, waiting: &Rc<Waiting>) {
    let head_bytes_max = limits.head_bytes_max.min(REFUSED_HEAD_BYTES);
    let limits = &Limits { header_timeout: REFUSED_PATIENCE, head_bytes_max, ..limits.clone() };
    let Some(buf) = rt::buf::try_alloc(head_bytes_max) else {
        return reply_error(transport, limits, &mut Vec::new(), handler, ProtocolError::Busy).await;
    };
    let mut connection = Connection::new(transport, limits, buf);
    if let NextHead::Complete(len) = connection.next_head(REFUSED_PATIENCE, waiting).await
        && connection.is_vital(len, handler)
        && connection.exchange(len, handler).await.is_ok()
    {
        return connection.transport.linger(limits.linger_timeout).await;
    }
    reply_error(connection.transport, limits, &mut connection.pending, handler, ProtocolError::Busy).await;
}

/// Counts a connection for as long as it lives.
struct OpenConnection;

impl OpenConnection {
    fn new() -> Self {
        metrics::CONNECTIONS.add(1);
        Self
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        metrics::CONNECTIONS.add(-1);
    }
}

struct Connection<'l> {
    transport: Transport,
    limits: &'l Limits,
    received: Received,
    /// Rendered bytes on their way out; kept so that its memory is reused.
    pending: Vec<u8>,
}

impl<'l> Connection<'l> {
    fn new(transport: Transport, limits: &'l Limits, buf: Buf) -> Connection<'l> {
        Connection { transport, limits, received: Received { buf: Some(buf), start: 0, end: 0 }, pending: Vec::new() }
    }

    async fn run<H: Handler>(mut self, handler: &H, company: &Company) {
        let mut patience = self.limits.header_timeout;
        loop {
            let next = self.next_head(patience, &company.waiting).await;
            self.transport.set_place(None);
            let head_len = match next {
                NextHead::Complete(len) => len,
                NextHead::NoBuffer => {
                    metrics::CONNECTIONS_REFUSED.add(1);
                    self.transport.set_place(Some(company.waiting.enter(Standing::New)));
                    return refuse_next(self.transport, self.limits, handler, &company.waiting).await;
                }
                NextHead::Over => return self.transport.close(self.limits.linger_timeout).await,
                NextHead::Refused(error) => {
                    return reply_error(self.transport, self.limits, &mut self.pending, handler, error).await;
                }
            };
            patience = self.limits.idle_timeout;
            self.transport.set_exchange(Some(company.peers.list()));
            let ending = self.exchange(head_len, handler).await;
            self.transport.set_exchange(None);
            match ending {
                Ok(Ending::KeepAlive) => {
                    let standing = if self.let_go() { Standing::Idle } else { Standing::Served };
                    self.transport.set_place(Some(company.waiting.enter(standing)));
                }
                Ok(Ending::Close) => return self.transport.linger(self.limits.linger_timeout).await,
                Ok(Ending::Cut) => {
                    metrics::REPLIES_CUT.add(1);
                    return self.transport.cut();
                }
                Ok(Ending::NoReply) => {
                    telemetry::error!("a request was not answered"; peer = self.transport.peer());
                    let error = ProtocolError::NoReply;
                    return reply_error(self.transport, self.limits, &mut self.pending, handler, error).await;
                }
                Err(error) => {
                    return reply_error(self.transport, self.limits, &mut self.pending, handler, error).await;
                }
            }
        }
    }

    /// Gives the buffer back if it holds nothing and the next bytes can come with another one.
    fn let_go(&mut self) -> bool {
        let received = &mut self.received;
        let goes =
            received.start == received.end && !self.transport.is_tls() && self.limits.head_bytes_max <= PICKED_BYTES;
        if goes {
            *received = Received { buf: None, start: 0, end: 0 };
        }
        goes
    }

    /// Whether the head at the front of the received bytes is of a request that is answered whatever happens.
    fn is_vital<H: Handler>(&self, head_len: usize, handler: &H) -> bool {
        let Received { buf: Some(buf), start, .. } = &self.received else { return false };
        head::parse_complete(&buf[*start..*start + head_len])
            .is_ok_and(|head| matches!(head.framing(), Framing::None) && handler.is_vital(&head))
    }

    /// Parses the head at the front of the received bytes and lets the handler answer it. In a box, so that connections
    /// without a request need no room for one; the allocator gives the next request the same memory.
    fn exchange<H: Handler>(
        &mut self,
        head_len: usize,
        handler: &H,
    ) -> Pin<Box<impl Future<Output = Result<Ending, ProtocolError>>>> {
        Box::pin(self.exchange_here(head_len, handler))
    }

    async fn exchange_here<H: Handler>(&mut self, head_len: usize, handler: &H) -> Result<Ending, ProtocolError> {
        let Received { buf: Some(buf), start, end } = &mut self.received else { return Ok(Ending::Cut) };
        let (head_bytes, early) = buf[*start..*end].split_at(head_len);
        let head = head::parse_complete(head_bytes)?;
        metrics::REQUESTS.add(1);
        // Not waited for: this connection already holds buffers, and so do all the others.
        let spill = match head.framing() {
            Framing::Chunked => Some(rt::buf::try_alloc(SPILL_BYTES).ok_or(ProtocolError::Busy)?),
            Framing::None | Framing::Length(_) => None,
        };
        let mut exchange = Exchange::new(&mut self.transport, self.limits, &mut self.pending, &head, early, spill);
        handler.handle(&head, &mut exchange).await;
        let remains = exchange.conclude().await;
        *start = *end - remains.early_len;
        // The spill is only read into once the early bytes are used up, so at least one of the two is empty.
        if let Some(spill) = remains.spill {
            let ahead = &spill.buf[spill.start..spill.end];
            if !ahead.is_empty() {
                debug_assert!(remains.early_len == 0, "bytes read ahead come after the early ones");
                buf[..ahead.len()].copy_from_slice(ahead);
                (*start, *end) = (0, ahead.len());
            }
        }
        Ok(remains.ending)
    }

    /// Waits for a whole head; `patience` is for its first byte. `waiting`: where those are who only wait.
    async fn next_head(&mut self, patience: Duration, waiting: &Rc<Waiting>) -> NextHead {
        let mut scan = Scan::default();
        let mut deadline = Instant::now() + patience;
        let mut begun = false;
        let was_idle = self.received.buf.is_none();
        if was_idle && let Some(ending) = self.pick(deadline, waiting).await {
            return ending;
        }
        loop {
            let Received { buf: Some(buf), start, end } = &mut self.received else { return NextHead::Over };
            if *start < *end {
                match scan.advance(&buf[*start..*end], self.limits) {
                    Ok(Some(len)) => return NextHead::Complete(len),
                    Ok(None) => {}
                    Err(error) => return NextHead::Refused(error),
                }
                if !begun {
                    begun = true;
                    deadline = Instant::now() + self.limits.header_timeout;
                    if was_idle {
                        self.transport.set_place(Some(waiting.enter(Standing::Served)));
                    }
                }
            }
            if *start > 0 {
                buf.copy_within(*start..*end, 0);
                (*start, *end) = (0, *end - *start);
            }
            if !begun && self.transport.is_stopping() {
                return NextHead::Over;
            }
            match self.receive(deadline, !begun).await {
                Ok(0) | Err(RecvError::Stopped | RecvError::Io(_)) => return NextHead::Over,
                Ok(_) => {}
                Err(RecvError::Timeout) if begun => return NextHead::Refused(ProtocolError::HeaderTimeout),
                Err(RecvError::Timeout) => return NextHead::Over,
            }
        }
    }

    /// Waits for the first bytes of a request without a buffer, and takes one for them. `None`: the head can be read on.
    async fn pick(&mut self, deadline: Instant, waiting: &Waiting) -> Option<NextHead> {
        if self.transport.is_stopping() {
            return Some(NextHead::Over);
        }
        match self.transport.recv_picked(self.limits.head_bytes_max, deadline).await {
            Ok(Picked::Bytes(buf, end)) => self.received = Received { buf: Some(buf), start: 0, end },
            Ok(Picked::NoBuffer) => match head_buffer(self.limits, waiting).await {
                Some(buf) => {
                    self.received.buf = Some(buf);
                    // There is something: it is read even if the server is being stopped or the time is up.
                    let deadline = Instant::now() + self.limits.header_timeout;
                    if matches!(self.receive(deadline, true).await, Ok(0) | Err(_)) {
                        return Some(NextHead::Over);
                    }
                }
                None => return Some(NextHead::NoBuffer),
            },
            Ok(Picked::End) | Err(_) => return Some(NextHead::Over),
        }
        None
    }

    /// Receives more behind what is there. There is room: a buffer that is full without a head was refused.
    async fn receive(&mut self, deadline: Instant, is_idle: bool) -> Result<usize, RecvError> {
        let Some(buf) = self.received.buf.take() else { return Ok(0) };
        let window = Window::new(buf, self.received.end..self.limits.head_bytes_max);
        let want = window.len();
        let (outcome, window) = if is_idle {
            self.transport.recv_idle(window, want, deadline).await
        } else {
            self.transport.recv(window, want, deadline).await
        };
        self.received.buf = Some(window.into_buf());
        let len = outcome?;
        self.received.end += len;
        Ok(len)
    }
}

/// What a client is asked to wait that found no room.
const RETRY_AFTER_SECONDS: &str = "1";

/// Answers a request that never reached a handler, and closes.
async fn reply_error<H: Handler>(
    mut transport: Transport,
    limits: &Limits,
    pending: &mut Vec<u8>,
    handler: &H,
    error: ProtocolError,
) {
    metrics::PROTOCOL_ERRORS.add(1);
    let reply = handler.protocol_error(error);
    let headers = [("Content-Type", reply.content_type), ("Retry-After", RETRY_AFTER_SECONDS)];
    let headers = if error == ProtocolError::Busy { &headers[..] } else { &headers[..1] };
    let response = Response { status: reply.status, headers };
    let framing = ReplyFraming::Length(reply.body.len() as u64);
    let date = date::cached(rt::time::wall_clock() / 1_000_000_000);
    pending.clear();
    if response::render(pending, &response, framing, ConnectionHeader::Close, &date).is_err() {
        telemetry::error!("the reply to a protocol error cannot be sent"; status = reply.status);
        return transport.cut();
    }
    match transport.send_copied(&[pending, &reply.body], limits.send_timeout).await {
        Ok(()) => transport.linger(limits.linger_timeout).await,
        Err(_) => transport.cut(),
    }
}

//! A server on a shard of its own and a client on plain sockets, for the end-to-end tests.

use std::future::{Future as _, poll_fn};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use hafiz_http::{CertStore, Exchange, Handler, Head, Limits, ReplyError, Response, Stop};
use rt::buf::{Shared, Window};

/// A test that waits longer than this for its server has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// The body of `/stream`.
pub(crate) const STREAM_BYTES: usize = 3 * 1024 * 1024 + 17;

/// What `/stream` and the upload tests send: no period that a lost or doubled piece could hide in.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

pub(crate) struct TestHandler;

thread_local! {
    /// How many exchanges of `/hold` hold what they were given.
    static HELD: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// What `/hold` holds.
struct Held;

impl Held {
    fn new() -> Held {
        HELD.set(HELD.get() + 1);
        Held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
    }
}

impl Handler for TestHandler {
    fn is_vital(&self, head: &Head<'_>) -> bool {
        head.target() == "/vital"
    }

    async fn handle(&self, head: &Head<'_>, exchange: &mut Exchange<'_>) {
        // What goes wrong with the connection is seen by the client, which is where the tests look.
        drop(self.answer(head, exchange).await);
    }
}

impl TestHandler {
    async fn answer(&self, head: &Head<'_>, exchange: &mut Exchange<'_>) -> Result<(), ReplyError> {
        let ok: Response<'_> = Response { status: 200, headers: &[("x-path", head.target().as_bytes())] };
        match head.target() {
            "/hello" if head.method() == "HEAD" => exchange.reply_head(&ok, 5).await,
            "/hello" => exchange.reply(&ok, b"hello").await,
            "/none" => exchange.reply(&Response { status: 204, ..ok }, b"").await,
            "/refuse" => exchange.reply(&Response { status: 403, ..ok }, b"no").await,
            "/silent" => Ok(()),
            "/short" => {
                exchange.start(&ok, Some(100))?;
                exchange.send_bytes(b"only this").await
            }
            "/broken-chunks" => {
                exchange.start(&ok, None)?;
                exchange.send_bytes(b"only this").await
            }
            "/split" => {
                let evil: Response<'_> = Response { status: 200, headers: &[("x-evil", b"a\r\nset-cookie: b")] };
                assert!(matches!(exchange.reply(&evil, b"").await, Err(ReplyError::Header)));
                exchange.reply(&Response { status: 500, ..ok }, b"caught").await
            }
            "/big" => exchange.reply(&ok, &pattern(STREAM_BYTES)).await,
            "/stream" | "/chunks" => {
                let length = (head.target() == "/stream").then_some(STREAM_BYTES as u64);
                exchange.start(&ok, length)?;
                let data = Shared::from(pattern(STREAM_BYTES));
                for start in (0..STREAM_BYTES).step_by(1024 * 1024) {
                    exchange.send(data.slice(start..STREAM_BYTES.min(start + 1024 * 1024))).await?;
                }
                exchange.finish().await
            }
            "/whitespace" => {
                exchange.start(&ok, None)?;
                exchange.flush().await?;
                exchange.send_bytes(b" ").await?;
                exchange.send_bytes(b"<done/>").await?;
                exchange.finish().await
            }
            "/give-up" => {
                let window = Window::new(rt::buf::alloc(10).await, 0..10);
                let read = rt::time::timeout(Duration::from_millis(20), exchange.read_into(window)).await;
                assert!(read.is_err(), "the client sends nothing yet");
                exchange.reply(&Response { status: 408, ..ok }, b"").await
            }
            "/starved" => {
                let sizes = [272 * 1024, 64 * 1024, 16 * 1024, 4096];
                let take = |size| std::iter::from_fn(move || rt::buf::try_alloc(size));
                let held: Vec<_> = sizes.into_iter().flat_map(take).collect();
                let answered = exchange.reply(&ok, &pattern(300_000)).await;
                drop(held);
                answered
            }
            "/vital" => exchange.reply(&ok, b"alive").await,
            "/hold" => {
                exchange.hold(Held::new());
                self.echo(head, exchange).await
            }
            "/held" => exchange.reply(&ok, HELD.get().to_string().as_bytes()).await,
            "/wait-for-buffers" => {
                let all: Vec<_> = std::iter::from_fn(|| rt::buf::try_alloc(rt::buf::BUF_BYTES_MAX)).collect();
                let none = rt::time::timeout(Duration::from_secs(10), rt::buf::alloc(rt::buf::BUF_BYTES_MAX)).await;
                assert!(none.is_err() && !all.is_empty(), "nobody gives one back");
                exchange.reply(&ok, b"").await
            }
            "/take-all-buffers" => {
                let all: Vec<_> = std::iter::from_fn(|| rt::buf::try_alloc(rt::net::PICKED_BYTES)).collect();
                rt::time::sleep(Duration::from_secs(10)).await;
                drop(all);
                exchange.reply(&ok, b"").await
            }
            "/echo" => self.echo(head, exchange).await,
            _ => exchange.reply(&Response { status: 404, ..ok }, b"").await,
        }
    }

    /// Sends the body back, read through small and large windows in turn; trailers become headers.
    async fn echo(&self, head: &Head<'_>, exchange: &mut Exchange<'_>) -> Result<(), ReplyError> {
        let mut body = Vec::new();
        let mut room = 7;
        loop {
            let window = Window::new(rt::buf::alloc(room).await, 0..room);
            match exchange.read_full(window).await {
                Ok((len, window)) => {
                    body.extend_from_slice(&window[..len]);
                    if len < room {
                        break;
                    }
                }
                Err(error) => {
                    let message = format!("{error:?}");
                    let response: Response<'_> = Response { status: error.status(), headers: &[] };
                    return exchange.reply(&response, message.as_bytes()).await;
                }
            }
            room = (room * 11).min(200_000);
        }
        let headers: Vec<(String, Vec<u8>)> =
            exchange.trailers().map(|(name, value)| (format!("echo-{name}"), value.to_vec())).collect();
        assert_eq!((head.method(), exchange.remaining_len()), ("PUT", Some(0)));
        exchange.reply(&Response { status: 200, headers: &headers }, &body).await
    }
}

/// The shard stands still when it is asked to stop, before it tells the connections that read from then on.
pub(crate) struct Hold {
    begun: Receiver<()>,
    end: Sender<()>,
}

impl Hold {
    /// Waits until the shard stands still.
    pub(crate) fn begun(&self) {
        self.begun.recv_timeout(PATIENCE).unwrap();
    }

    pub(crate) fn end(self) {
        self.end.send(()).unwrap();
    }
}

/// The shard's part of a `Hold`.
struct Holding {
    begun: Sender<()>,
    end: Receiver<()>,
}

/// Stops when dropped, and waits for the shard to end.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<Sender<Holding>>,
    shard: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(limits: Limits, tls: Option<Arc<CertStore>>) -> Self {
        let (told, address) = channel();
        let (stop, stopped) = channel();
        let stopped = Arc::new(Mutex::new(Some(stopped)));
        let shard = std::thread::spawn(move || {
            let main = move |_| -> rt::LocalFuture {
                let (limits, tls, told, stopped) = (limits.clone(), tls.clone(), told.clone(), stopped.clone());
                Box::pin(async move {
                    let stopped = stopped.lock().unwrap().take().unwrap();
                    serve(limits, tls, told, stopped).await;
                })
            };
            rt::run(rt::Config::new(1), main).unwrap();
        });
        Self { address: address.recv_timeout(PATIENCE).unwrap(), stop: Some(stop), shard: Some(shard) }
    }

    pub(crate) fn plain() -> Self {
        Self::start(Limits::default(), None)
    }

    pub(crate) fn connect(&self) -> Client<TcpStream> {
        Client::new(self.connect_raw())
    }

    pub(crate) fn connect_raw(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Asks the server to end, without waiting for it.
    pub(crate) fn ask_to_stop(&mut self) {
        self.stop = None;
    }

    pub(crate) fn hold_at_stop(&self) -> Hold {
        let ((told, begun), (end, ended)) = (channel(), channel());
        self.stop.as_ref().expect("not asked to stop yet").send(Holding { begun: told, end: ended }).unwrap();
        let hold = Hold { begun, end };
        // It is in its place.
        hold.begun();
        hold
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ask_to_stop();
        if let Some(shard) = self.shard.take() {
            shard.join().unwrap();
        }
    }
}

async fn serve(limits: Limits, tls: Option<Arc<CertStore>>, told: Sender<SocketAddr>, stopped: Receiver<Holding>) {
    let listener = rt::net::Listener::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
    told.send(listener.local_addr()).unwrap();
    let stop = Rc::new(Stop::new());
    let stopper = stop.clone();
    let waiter = rt::spawn(async move {
        let mut stopped = stopped;
        // An error when the test has dropped its end.
        while let (Ok(holding), back) = rt::offload(move || (stopped.recv(), stopped)).await {
            stopped = back;
            drop(rt::spawn(stand_still(stopper.clone(), holding)));
        }
        stopper.stop();
    });
    hafiz_http::listen(listener, tls, limits, Rc::new(TestHandler), stop).await;
    waiter.await;
}

async fn stand_still(stop: Rc<Stop>, holding: Holding) {
    let mut stopped = pin!(stop.wait());
    assert!(poll_fn(|cx| Poll::Ready(stopped.as_mut().poll(cx))).await.is_pending());
    holding.begun.send(()).unwrap();
    stopped.await;
    holding.begun.send(()).unwrap();
    holding.end.recv_timeout(PATIENCE).unwrap();
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").skip(1).find_map(|line| {
            let (have, value) = line.split_once(": ")?;
            have.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Sends bytes and reads replies, over TCP or TLS.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    received: Vec<u8>,
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, received: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self.stream.flush().unwrap();
    }

    /// A bodyless request and its reply.
    pub(crate) fn ask(&mut self, method: &str, target: &str) -> Reply {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.reply(method)
    }

    /// The next whole reply to a request of this method.
    pub(crate) fn reply(&mut self, method: &str) -> Reply {
        self.try_reply(method).unwrap()
    }

    /// As `reply`; an error when the connection ends before the reply does.
    pub(crate) fn try_reply(&mut self, method: &str) -> io::Result<Reply> {
        let head_len = loop {
            if let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.receive()?;
        };
        let head = String::from_utf8(self.received.drain(..head_len).collect()).unwrap();
        let status = head[9..12].parse().unwrap();
        let mut reply = Reply { status, head, body: Vec::new() };
        let bodyless = method == "HEAD" || matches!(status, 100 | 204 | 304);
        if bodyless {
            return Ok(reply);
        }
        if reply.header("transfer-encoding") == Some("chunked") {
            self.read_chunks(&mut reply.body)?;
        } else if let Some(length) = reply.header("content-length") {
            let length = length.parse().unwrap();
            while self.received.len() < length {
                self.receive()?;
            }
            reply.body = self.received.drain(..length).collect();
        } else {
            while self.receive().is_ok() {}
            reply.body = std::mem::take(&mut self.received);
        }
        Ok(reply)
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        let mut decoder = hafiz_http::chunked::Decoder::new();
        let mut output = vec![0; 64 * 1024];
        while !decoder.is_done() {
            if self.received.is_empty() {
                self.receive()?;
            }
            let progress = decoder.decode(&self.received, &mut output).unwrap();
            body.extend_from_slice(&output[..progress.produced]);
            self.received.drain(..progress.consumed);
        }
        Ok(())
    }

    /// True when the server has closed without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.received.is_empty() && self.receive().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buf = [0; 64 * 1024];
        match self.stream.read(&mut buf)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            len => {
                self.received.extend_from_slice(&buf[..len]);
                Ok(())
            }
        }
    }
}

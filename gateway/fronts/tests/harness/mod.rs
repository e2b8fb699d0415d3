//! A server on six directories and a client that signs, for tests over loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hafiz_fronts::{FrontConfig, Health, MetricsAccess, S3Front, serve};
use http::{Limits, Stop};
use iam::{Identity, Snapshot};
use ops::{Ops, Site};
use s3::head::Head;
use s3::reply::Owner;
use s3::sigv4::Signer;

pub(crate) const ACCESS_KEY: &str = "test-root";
pub(crate) const SECRET: &str = "test-root-secret";
pub(crate) const REGION: &str = "us-east-1";
pub(crate) const METRICS_TOKEN: &str = "let-me-see";
const DRIVES: usize = 6;
/// A test that waits longer than this for its server has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes without a period that a lost or doubled piece could hide in.
pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|i| ((i ^ seed << 40).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// Two shards, one of which serves. Stops when dropped, and waits for the end.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(root: &Path) -> Server {
        Server::start_with(root, FrontConfig::default().requests_max)
    }

    pub(crate) fn start_with(root: &Path, requests_max: usize) -> Server {
        let dirs: Vec<PathBuf> = (0..DRIVES).map(|i| root.join(format!("drive{i}"))).collect();
        for dir in &dirs {
            std::fs::create_dir_all(dir).unwrap();
        }
        let (told, address) = channel();
        let (stop, stopped) = channel();
        let stopped = Arc::new(Mutex::new(Some(stopped)));
        let thread = std::thread::spawn(move || {
            let main = move |shard: rt::ShardId| -> rt::LocalFuture {
                let (dirs, told, stopped) = (dirs.clone(), told.clone(), stopped.clone());
                Box::pin(async move {
                    if shard.0 == 0 {
                        let stopped = stopped.lock().unwrap().take().unwrap();
                        run(dirs, requests_max, told, stopped).await;
                    }
                })
            };
            rt::run(rt::Config::new(2), main).unwrap();
        });
        Server { address: address.recv_timeout(PATIENCE).unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn client(&self) -> Client {
        Client { address: self.address, access_key: ACCESS_KEY.into(), secret: SECRET.into(), clock_off: 0 }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

async fn run(dirs: Vec<PathBuf>, requests_max: usize, told: Sender<SocketAddr>, stopped: Receiver<()>) {
    let config = store::Config {
        log_slot_bytes: Some(8 << 20),
        data_slot_bytes: Some(16 << 20),
        memory_bytes: 256 << 20,
        body_cache_bytes: 32 << 20,
        partitions: 8,
        ..store::Config::new(dirs)
    };
    store::open(config).await.unwrap();
    let owner = Owner { id: "owner-id".into(), display_name: "owner".into() };
    let ops = Ops::new(store::here(), Site { region: REGION.into(), owner });
    let identity = Identity::new(ACCESS_KEY, SECRET, "owner-id", "owner").unwrap();
    let health = Arc::new(Health::new());
    health.set_ready(true);
    let config = FrontConfig {
        domains: vec!["s3.test".into()],
        metrics: MetricsAccess::Bearer(METRICS_TOKEN.into()),
        requests_max,
        ..FrontConfig::default()
    };
    let front = Rc::new(S3Front::new(config, ops, Arc::new(Snapshot::new(identity)), health));
    let listener = rt::net::Listener::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
    told.send(listener.local_addr()).unwrap();
    let stop = Rc::new(Stop::new());
    let stopper = stop.clone();
    drop(rt::spawn(async move {
        // An error is what is waited for: the other end was dropped.
        let _ended = rt::offload(move || stopped.recv()).await;
        stopper.stop();
    }));
    serve(listener, None, Limits::default(), front, stop, PATIENCE).await;
    store::close().await;
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

    /// The first element of this name in the document.
    pub(crate) fn element(&self, name: &str) -> Option<&str> {
        let (_, after) = self.text().split_once(&format!("<{name}>"))?;
        Some(after.split_once(&format!("</{name}>"))?.0)
    }

    /// All elements of this name.
    pub(crate) fn elements(&self, name: &str) -> Vec<&str> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        self.text().split(&open).skip(1).map(|after| after.split_once(&close).unwrap().0).collect()
    }

    /// Asserts the status and, if it is an error with a document, its code.
    #[track_caller]
    pub(crate) fn expect(self, status: u16, code: &str) -> Reply {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(2000)]).into_owned();
        assert_eq!(self.status, status, "{}{text}", self.head);
        if !code.is_empty() {
            assert_eq!(self.element("Code"), Some(code), "{text}");
            assert_eq!(self.element("RequestId"), self.header("x-amz-request-id"), "{text}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Reply {
        let status = self.status;
        assert!((200..300).contains(&status), "{}{}", self.head, String::from_utf8_lossy(&self.body));
        self
    }
}

pub(crate) type Headers<'h> = &'h [(&'h str, &'h str)];

/// One connection per request: what is kept between them is tested where HTTP is.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) access_key: String,
    pub(crate) secret: String,
    /// Seconds that this client's clock is wrong by.
    pub(crate) clock_off: i64,
}

impl Client {
    pub(crate) fn signer(&self) -> Signer {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        Signer::new(&self.access_key, &self.secret, REGION, now.checked_add_signed(self.clock_off).unwrap())
    }

    pub(crate) fn get(&self, target: &str) -> Reply {
        self.send("GET", target, &[], b"")
    }

    pub(crate) fn put(&self, target: &str, body: &[u8]) -> Reply {
        self.send("PUT", target, &[], body)
    }

    pub(crate) fn delete(&self, target: &str) -> Reply {
        self.send("DELETE", target, &[], b"")
    }

    /// A request signed with the hash of its body, all `headers` covered.
    pub(crate) fn send(&self, method: &str, target: &str, headers: Headers<'_>, body: &[u8]) -> Reply {
        let hash = codec::hex::encode(&codec::checksum::sha256(body));
        self.send_hashed(method, target, headers, &hash, &[], body)
    }

    /// As `send`, with this for `x-amz-content-sha256`; `unsigned` headers are added after signing.
    pub(crate) fn send_hashed(
        &self,
        method: &str,
        target: &str,
        headers: Headers<'_>,
        hash: &str,
        unsigned: Headers<'_>,
        body: &[u8],
    ) -> Reply {
        let (mut head, _) = self.head(method, target, headers, hash);
        for (name, value) in unsigned {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.raw(method, &head, body)
    }

    /// A signed head without its final empty line and length, and its signature.
    pub(crate) fn head(&self, method: &str, target: &str, headers: Headers<'_>, hash: &str) -> (String, String) {
        let signer = self.signer();
        let address = self.address.to_string();
        let mut all: Vec<(&str, &str)> = headers.to_vec();
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            all.push(("host", &address));
        }
        all.push(("x-amz-date", signer.timestamp()));
        all.push(("x-amz-content-sha256", hash));
        let bytes: Vec<(&str, &[u8])> = all.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let signed = signer.sign(&Head { method, target, headers: &bytes }).unwrap();
        let mut head = format!("{method} {target} HTTP/1.1\r\nauthorization: {}\r\n", signed.authorization);
        for (name, value) in all {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        (head, signed.signature)
    }

    /// A request without a signature.
    pub(crate) fn anonymous(&self, method: &str, target: &str, headers: Headers<'_>) -> Reply {
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.raw(method, &head, b"")
    }

    /// Sends a head as it is, with the length of the body, and reads the reply to the end of the connection.
    pub(crate) fn raw(&self, method: &str, head: &str, body: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let length = if body.is_empty() && method != "PUT" && method != "POST" {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        stream.write_all(format!("{head}{length}connection: close\r\n\r\n").as_bytes()).unwrap();
        // A refusal may close the connection before it has taken the body.
        let sent = stream.write_all(body);
        let mut received = Vec::new();
        let read = stream.read_to_end(&mut received);
        let end = received.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no reply: {sent:?} {read:?} {received:?}"));
        let body = received.split_off(end + 4);
        let head = String::from_utf8(received).unwrap();
        let reply = Reply { status: head[9..12].parse().unwrap(), head, body };
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        if method != "HEAD" && reply.status != 304 {
            assert_eq!(reply.body.len(), length, "{}", reply.head);
        }
        reply
    }
}

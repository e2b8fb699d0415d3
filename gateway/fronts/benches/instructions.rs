//! One kind of request, over and over, to front and store in the simulated world, for a tool that counts instructions.
//!
//! ```sh
//! perf/instructions
//! ```
//!
//! runs this under valgrind with two counts; what the second one executes beyond the first one is what its requests cost. No
//! kernel, no neighbours, no clock: the same code executes the same instructions, so a change of a percent is a change of the
//! code. Included are the client, which signs beforehand what it can, and the simulation of drives and connections; left out is
//! all that the kernel does. Under `cargo test` each kind runs a few times, and every answer is looked at.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hafiz_fronts::{FrontConfig, Health, MetricsAccess, S3Front, serve};
use http::{Limits, Stop};
use iam::{Identity, Snapshot};
use ops::{Ops, Site};
use rt::buf::{Shared, Window};
use rt::net::{Listener, Stream};
use rt::sim::{self, DriveConfig, SimConfig, World};
use s3::head::Head;
use s3::reply::Owner;
use s3::sigv4::Signer;

const ACCESS_KEY: &str = "instructions";
const SECRET: &str = "of-no-worth";
const REGION: &str = "us-east-1";
const ADDRESS: &str = "127.0.0.1:9000";
const DRIVES: usize = 6;
const CONNECTIONS: usize = 16;
const SMALL: usize = 4 << 10;
const LARGE: usize = 1 << 20;
/// Keys of the bucket that is listed, and of a page.
const LISTED: usize = 1_000;
/// Objects that are read.
const READ: usize = 16;
/// Virtual time for all of it.
const LIMIT: Duration = Duration::from_secs(600);
const RECEIVE_BYTES: usize = 256 << 10;
const SMOKE_COUNT: usize = 32;

#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    method: &'static str,
    /// Of the body that is put or read.
    len: usize,
}

const KINDS: &[Kind] = &[
    Kind { name: "get-4k", method: "GET", len: SMALL },
    Kind { name: "head-4k", method: "HEAD", len: SMALL },
    Kind { name: "put-4k", method: "PUT", len: SMALL },
    Kind { name: "list", method: "GET", len: 0 },
    Kind { name: "get-1m", method: "GET", len: LARGE },
    Kind { name: "put-1m", method: "PUT", len: LARGE },
];

fn main() {
    telemetry::set_level(telemetry::Level::Error);
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    match &arguments[..] {
        [name, count] => {
            let kind = KINDS.iter().find(|kind| kind.name == name).unwrap_or_else(|| panic!("no kind {name}"));
            run(*kind, count.parse().expect("a count"));
        }
        _ => KINDS.iter().for_each(|kind| run(*kind, SMOKE_COUNT)),
    }
}

fn run(kind: Kind, count: usize) {
    let tables = tempfile::tempdir().expect("a directory for the tables");
    let config =
        SimConfig { net_segment_bytes_max: usize::MAX, buffers_bytes_per_shard: 128 << 20, ..SimConfig::default() };
    let mut world = World::new(1, config);
    let dirs: Vec<PathBuf> = (1..=DRIVES).map(|n| PathBuf::from(format!("/sim-drive{n}"))).collect();
    for dir in &dirs {
        world.add_drive(dir, DriveConfig { capacity_bytes: 4 << 30, ..DriveConfig::default() });
        std::fs::create_dir(tables.path().join(dir.file_name().expect("it has a name"))).expect("a directory is made");
    }
    let is_ready = Rc::new(Cell::new(false));
    let (ready, root) = (is_ready.clone(), tables.path().to_owned());
    world.start(1, move |_| Box::pin(server(dirs.clone(), root.clone(), ready.clone())));
    assert!(world.run_until(|| is_ready.get(), LIMIT) == sim::Stop::Condition, "the server listens");
    let prepared = world.client(prepare(kind));
    assert!(world.run_until(|| prepared.is_finished(), LIMIT) == sim::Stop::Condition, "what is asked for is there");
    let clients: Vec<_> =
        (0..CONNECTIONS).map(|client| world.client(load(kind, client, count / CONNECTIONS))).collect();
    let all = || clients.iter().all(rt::JoinHandle::is_finished);
    assert!(world.run_until(all, LIMIT) == sim::Stop::Condition, "every request is answered");
    world.kill();
}

async fn server(dirs: Vec<PathBuf>, tables: PathBuf, ready: Rc<Cell<bool>>) {
    let config = store::Config {
        partitions: 8,
        memory_bytes: 256 << 20,
        body_cache_bytes: 64 << 20,
        index_root: Some(tables),
        ..store::Config::new(dirs)
    };
    store::open(config).await.expect("the store opens");
    let owner = Owner { id: "owner".into(), display_name: "owner".into() };
    let ops = Ops::new(store::here(), Site { region: REGION.into(), owner });
    let identity = Identity::new(ACCESS_KEY, SECRET, "owner", "owner").expect("an identity");
    let config = FrontConfig { metrics: MetricsAccess::Bearer("none".into()), ..FrontConfig::default() };
    let front = Rc::new(S3Front::new(config, ops, Arc::new(Snapshot::new(identity)), Arc::new(Health::new())));
    let listener = Listener::bind(address(), false).expect("the address is free");
    ready.set(true);
    serve(listener, None, Limits::default(), front, Rc::new(Stop::new()), LIMIT).await;
}

fn address() -> SocketAddr {
    ADDRESS.parse().expect("an address")
}

/// Makes the bucket and what is read in it.
async fn prepare(kind: Kind) {
    let mut client = Client::connect().await;
    client.ask(&request("PUT", "/bucket", b"")).await;
    let objects = match kind.name {
        "list" => LISTED,
        _ if kind.method == "PUT" => 0,
        _ => READ,
    };
    let body = vec![b'x'; kind.len];
    for object in 0..objects {
        client.ask(&request("PUT", &format!("/bucket/some/prefix/object-{object:06}"), &body)).await;
    }
}

/// So many requests on one connection. Those that repeat are signed once.
async fn load(kind: Kind, number: usize, count: usize) {
    let mut client = Client::connect().await;
    let body = vec![b'x'; kind.len];
    let targets: Vec<String> = match kind.name {
        "list" => vec!["/bucket?list-type=2&prefix=some%2Fprefix%2F".into()],
        _ => (0..READ).map(|object| format!("/bucket/some/prefix/object-{object:06}")).collect(),
    };
    let repeated: Vec<_> = targets.iter().map(|target| request(kind.method, target, b"")).collect();
    // Looked at once: that all pages are as long as the first one is seen at less cost.
    let mut page_len = None;
    for n in 0..count {
        if kind.method == "PUT" {
            client.ask(&request("PUT", &format!("/bucket/some/prefix/object-{number:02}-{n:06}"), &body)).await;
            continue;
        }
        let got = client.ask(&repeated[n % repeated.len()]).await;
        match kind.name {
            "list" => {
                let keys = || got.windows(5).filter(|five| five == b"<Key>").count();
                assert!(page_len.is_some() || keys() == LISTED, "a page lacks keys");
                assert_eq!(*page_len.get_or_insert(got.len()), got.len());
            }
            "head-4k" => assert!(got.is_empty()),
            _ => assert_eq!(got.len(), kind.len),
        }
    }
}

/// A signed request as it goes over the wire. The body is not part of the signature.
fn request(method: &str, target: &str, body: &[u8]) -> Shared {
    let signer = Signer::new(ACCESS_KEY, SECRET, REGION, rt::time::wall_clock() / 1_000_000_000);
    let headers = [("host", ADDRESS), ("x-amz-date", signer.timestamp()), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
    let bytes = headers.map(|(name, value)| (name, value.as_bytes()));
    let signed = signer.sign(&Head { method, target, headers: &bytes }).expect("it can be signed");
    let mut wire = format!("{method} {target} HTTP/1.1\r\nauthorization: {}\r\n", signed.authorization);
    for (name, value) in headers {
        wire.push_str(&format!("{name}: {value}\r\n"));
    }
    if method == "PUT" {
        wire.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    wire.push_str("\r\n");
    let mut wire = wire.into_bytes();
    wire.extend_from_slice(body);
    Shared::from(wire)
}

struct Client {
    stream: Stream,
    window: Option<Window>,
}

impl Client {
    async fn connect() -> Client {
        let stream = Stream::connect(address()).await.expect("the server listens");
        Client { stream, window: Some(Window::from(rt::buf::alloc(RECEIVE_BYTES).await)) }
    }

    /// The body of the answer, which is 200.
    async fn ask(&mut self, request: &Shared) -> Vec<u8> {
        self.stream.send(request.clone()).await.expect("the server listens");
        let is_head = request.starts_with(b"HEAD");
        let mut received = Vec::new();
        loop {
            if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = std::str::from_utf8(&received[..end]).expect("a head is text");
                assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                let len = head.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: "));
                let len = len.map_or(0, |len| len.parse().expect("a length"));
                let mut body = received.split_off(end + 4);
                while !is_head && body.len() < len {
                    self.receive(&mut body).await;
                }
                return body;
            }
            self.receive(&mut received).await;
        }
    }

    async fn receive(&mut self, into: &mut Vec<u8>) {
        let window = self.window.take().expect("one call at a time");
        let (result, window) = self.stream.recv(window).await;
        let count = result.expect("the connection holds");
        assert!(count > 0, "an answer ends before its length");
        into.extend_from_slice(&window[..count]);
        self.window = Some(window);
    }
}

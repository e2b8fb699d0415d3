//! The same connections in the simulated world: bytes arrive in random pieces, and minutes pass at once.

// The client on real sockets is not needed here.
#[allow(dead_code)]
mod harness;

use std::cell::RefCell;
use std::io::Cursor;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hafiz_http::{Limits, Stop};
use harness::{Client, STREAM_BYTES, TestHandler, pattern};
use rt::buf::{Shared, Window};
use rt::net::{Listener, Stream};
use rt::sim::{SimConfig, World};
use rt::time::Instant;

/// Runs `client` against a server with default limits; what it returns.
fn simulate<T: 'static>(seed: u64, client: impl AsyncFnOnce(SocketAddr) -> T + 'static) -> T {
    simulate_with(seed, Limits::default(), client)
}

fn simulate_with<T: 'static>(seed: u64, limits: Limits, client: impl AsyncFnOnce(SocketAddr) -> T + 'static) -> T {
    let address: SocketAddr = "127.0.0.1:9000".parse().unwrap();
    let mut world = World::new(seed, SimConfig { net_reset: 0.0, ..SimConfig::default() });
    world.start(1, move |_| {
        let limits = limits.clone();
        Box::pin(async move {
            let listener = Listener::bind(address, false).unwrap();
            hafiz_http::listen(listener, None, limits, Rc::new(TestHandler), Rc::new(Stop::new())).await;
        })
    });
    world.run_for(Duration::from_millis(1));
    let outcome = Rc::new(RefCell::new(None));
    let told = outcome.clone();
    drop(world.client(async move {
        let value = client(address).await;
        *told.borrow_mut() = Some(value);
    }));
    world.run_until(|| outcome.borrow().is_some(), Duration::from_secs(3600));
    outcome.take().expect("the client came to its end")
}

/// Everything the server sends until it closes.
async fn read_to_end(stream: &Stream) -> Client<Cursor<Vec<u8>>> {
    let mut received = Vec::new();
    let mut window = Window::from(rt::buf::alloc(16 * 1024).await);
    loop {
        let (outcome, back) = stream.recv(window).await;
        window = back;
        match outcome {
            Ok(len) if len > 0 => received.extend_from_slice(&window[..len]),
            Ok(_) | Err(_) => return Client::new(Cursor::new(received)),
        }
    }
}

async fn send(stream: &Stream, bytes: impl Into<Vec<u8>>) {
    stream.send(Shared::from(bytes.into())).await.unwrap();
}

#[test]
fn requests_and_replies_survive_any_segmentation() {
    for seed in 0..20 {
        let mut replies = simulate(seed, async |address| {
            let stream = Stream::connect(address).await.unwrap();
            let body = pattern(30_000);
            let mut wire = b"PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n".to_vec();
            wire.extend_from_slice(&body);
            wire.extend_from_slice(b"PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(7000) {
                wire.extend_from_slice(format!("{:x};a=b\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\nx: y\r\n\r\n");
            wire.extend_from_slice(b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nunread");
            wire.extend_from_slice(b"GET /chunks HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            send(&stream, wire).await;
            read_to_end(&stream).await
        });
        let echoed = replies.reply("PUT");
        assert!(echoed.body == pattern(30_000), "seed {seed}");
        let echoed = replies.reply("PUT");
        assert!(echoed.body == pattern(30_000) && echoed.header("echo-x") == Some("y"), "seed {seed}");
        assert_eq!(replies.reply("PUT").status, 403, "seed {seed}");
        assert!(replies.reply("GET").body == pattern(STREAM_BYTES), "seed {seed}");
        assert!(replies.is_closed(), "seed {seed}");
    }
}

const BODY: &str = "PUT /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 600000\r\n\r\n";

/// Sends `start`, then `piece` once a second `count` times; the last status and how long the server kept up.
fn drip(start: &'static str, piece: Vec<u8>, count: usize) -> (u16, u64) {
    simulate(1, async move |address| drip_to(address, start, piece, count).await)
}

async fn drip_to(address: SocketAddr, start: &'static str, piece: Vec<u8>, count: usize) -> (u16, u64) {
    let began = Instant::now();
    let stream = Rc::new(Stream::connect(address).await.unwrap());
    send(&stream, start).await;
    let dripping = stream.clone();
    let drips = rt::spawn(async move {
        for _ in 0..count {
            rt::time::sleep(Duration::from_secs(1)).await;
            if dripping.send(Shared::from(piece.clone())).await.is_err() {
                return;
            }
        }
    });
    let mut replies = read_to_end(&stream).await;
    let seconds = began.elapsed().as_secs();
    drips.await;
    (replies.try_reply("PUT").map_or(0, |reply| reply.status), seconds)
}

#[test]
fn the_default_time_limits_are_kept() {
    let body = BODY;
    let (status, seconds) = drip(body, pattern(2000), 300);
    assert_eq!(status, 200, "slow but steady");
    assert!((299..=303).contains(&seconds), "{seconds}");
    let (status, seconds) = drip(body, pattern(500), 300);
    assert_eq!(status, 408, "below the least rate");
    assert!((30..=33).contains(&seconds), "{seconds}");
    let (status, seconds) = drip(body, Vec::new(), 0);
    assert_eq!(status, 408, "nothing at all");
    assert!((30..=33).contains(&seconds), "{seconds}");
    let (status, seconds) = drip("PUT /echo HTTP/1.1\r\nX: ", b"x".to_vec(), 100);
    assert_eq!(status, 408, "a head that trickles");
    assert!((10..=13).contains(&seconds), "{seconds}");
    let (status, seconds) = drip("", Vec::new(), 0);
    assert_eq!(status, 0, "a connection without a request");
    assert!((10..=13).contains(&seconds), "{seconds}");
    let (status, seconds) = drip("PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Vec::new(), 0);
    assert_eq!(status, 200, "then idle");
    assert!((60..=63).contains(&seconds), "{seconds}");
}

/// For one connection.
fn one() -> Limits {
    Limits { connections_max: 1, ..Limits::default() }
}

/// Sends a request on a connection of its own, which stays open; the first reply on it, or `None` when there was none.
async fn ask(address: SocketAddr, head: &'static str) -> (Stream, Option<harness::Reply>) {
    let stream = Stream::connect(address).await.unwrap();
    let reply = ask_on(&stream, head).await;
    (stream, reply)
}

async fn ask_on(stream: &Stream, head: &'static str) -> Option<harness::Reply> {
    stream.send(Shared::from_static(head.as_bytes())).await.ok()?;
    let mut received = Vec::new();
    let mut window = Window::from(rt::buf::alloc(16 * 1024).await);
    loop {
        let (outcome, back) = stream.recv(window).await;
        window = back;
        let len = outcome.ok().filter(|len| *len > 0)?;
        received.extend_from_slice(&window[..len]);
        if let Ok(reply) = Client::new(Cursor::new(received.clone())).try_reply("GET") {
            return Some(reply);
        }
    }
}

const HELLO: &str = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";

async fn is_closed(stream: &Stream) -> bool {
    let window = Window::from(rt::buf::alloc(4096).await);
    matches!(stream.recv_until(window, Instant::now() + Duration::from_secs(3)).await.0, Ok(0))
}

#[test]
fn whoever_has_waited_longest_makes_room_and_whoever_is_at_work_does_not() {
    simulate_with(3, one(), async |address| {
        let silent = Stream::connect(address).await.unwrap();
        rt::time::sleep(Duration::from_millis(600)).await;
        let (first, reply) = ask(address, HELLO).await;
        assert_eq!(reply.unwrap().text(), "hello", "the silent one makes room");
        assert!(is_closed(&silent).await);
        assert_eq!(ask_on(&first, HELLO).await.unwrap().text(), "hello", "it is at work");
        rt::time::sleep(Duration::from_secs(1)).await;
        let refused = ask(address, HELLO).await.1.unwrap();
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
        assert_eq!(ask_on(&first, HELLO).await.unwrap().text(), "hello", "and goes on");
        rt::time::sleep(Duration::from_secs(3)).await;
        let (trickling, reply) = ask(address, HELLO).await;
        assert_eq!(reply.unwrap().text(), "hello", "the idle one makes room");
        assert!(is_closed(&first).await);
        send(&trickling, "GET /hello HT").await;
        rt::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(ask(address, HELLO).await.1.unwrap().text(), "hello", "so does one whose head never ends");
        assert!(is_closed(&trickling).await);
    });
}

#[test]
fn a_connection_without_room_is_answered_whether_the_server_lives() {
    simulate_with(4, one(), async |address| {
        let busy = Stream::connect(address).await.unwrap();
        send(&busy, "PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await;
        rt::time::sleep(Duration::from_secs(5)).await;
        let (probe, reply) = ask(address, "GET /vital HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(reply.unwrap().text(), "alive");
        assert!(is_closed(&probe).await, "it keeps no place");
        assert_eq!(ask(address, HELLO).await.1.unwrap().status, 503);
        assert_eq!(ask_on(&busy, "hello").await.unwrap().text(), "hello", "the one at work was left alone");
    });
}

/// More than are refused at the same time.
const CROWD: usize = 100;

#[test]
fn a_crowd_without_room_keeps_nobody_from_being_answered() {
    simulate_with(4, one(), async |address| {
        let busy = Stream::connect(address).await.unwrap();
        send(&busy, "PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await;
        rt::time::sleep(Duration::from_millis(50)).await;
        let mut crowd = Vec::new();
        for _ in 0..CROWD {
            let stream = Stream::connect(address).await.unwrap();
            send(&stream, "GET /hello HT").await;
            crowd.push(stream);
        }
        let (_probe, reply) = ask(address, "GET /vital HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(reply.unwrap().text(), "alive");
        assert_eq!(ask(address, HELLO).await.1.unwrap().status, 503);
        for stream in &crowd {
            assert_eq!(read_to_end(stream).await.try_reply("GET").unwrap().status, 503, "whoever comes is told");
        }
        assert_eq!(ask_on(&busy, "hello").await.unwrap().text(), "hello", "the one at work was left alone");
    });
}

#[test]
fn a_request_that_waits_for_its_client_holds_no_place() {
    simulate(5, async |address| {
        const HELD: &str = "GET /held HTTP/1.1\r\nHost: a\r\n\r\n";
        let slow = Stream::connect(address).await.unwrap();
        send(&slow, "PUT /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await;
        rt::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(ask(address, HELD).await.1.unwrap().text(), "1");
        rt::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(ask(address, HELD).await.1.unwrap().text(), "0");
        assert_eq!(ask_on(&slow, "hello").await.unwrap().text(), "hello");
    });
}

#[test]
fn a_slow_body_is_cut_when_others_wait_for_buffers() {
    let (status, seconds) = simulate(6, async |address| {
        drop(rt::spawn(async move {
            rt::time::sleep(Duration::from_secs(20)).await;
            assert_eq!(ask(address, "GET /wait-for-buffers HTTP/1.1\r\nHost: a\r\n\r\n").await.1.unwrap().status, 200);
        }));
        drip_to(address, BODY, pattern(2000), 300).await
    });
    assert_eq!(status, 408);
    assert!((20..=23).contains(&seconds), "{seconds}");
}

#[test]
fn idle_connections_hold_no_buffers_for_heads() {
    // More than there are such buffers in the smallest pool.
    const IDLE: usize = 1000;
    simulate_with(7, Limits { connections_max: IDLE, ..Limits::default() }, async |address| {
        let mut streams = Vec::new();
        for _ in 0..IDLE {
            let (stream, reply) = ask(address, HELLO).await;
            assert_eq!(reply.expect("is answered").text(), "hello");
            streams.push(stream);
        }
        for stream in &streams {
            assert_eq!(ask_on(stream, HELLO).await.expect("is still served").text(), "hello");
        }
    });
}

#[test]
fn an_idle_connection_for_whose_request_there_is_no_buffer_is_told_and_whether_the_server_lives() {
    simulate(8, async |address| {
        let [idle, probe, patient] = [ask(address, HELLO), ask(address, HELLO), ask(address, HELLO)];
        let [idle, probe, patient] = [idle.await.0, probe.await.0, patient.await.0];
        let taker = Stream::connect(address).await.unwrap();
        send(&taker, "GET /take-all-buffers HTTP/1.1\r\nHost: a\r\n\r\n").await;
        rt::time::sleep(Duration::from_secs(1)).await;
        let refused = ask_on(&idle, HELLO).await.unwrap();
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
        assert!(is_closed(&idle).await);
        let alive = ask_on(&probe, "GET /vital HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_eq!(alive.text(), "alive");
        rt::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(ask_on(&patient, HELLO).await.unwrap().text(), "hello", "there are buffers again");
    });
}

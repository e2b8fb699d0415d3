//! Requests and replies end to end over loopback.

mod harness;

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use hafiz_http::Limits;
use harness::{STREAM_BYTES, Server, pattern};

fn put(target: &str, fields: &str) -> String {
    format!("PUT {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

#[test]
fn a_connection_serves_many_requests() {
    let server = Server::plain();
    let mut client = server.connect();
    for _ in 0..20 {
        let reply = client.ask("GET", "/hello");
        assert_eq!((reply.status, reply.text()), (200, "hello"));
        assert_eq!(reply.header("server"), Some("Hafiz"));
        assert_eq!(reply.header("x-path"), Some("/hello"));
        assert_eq!(reply.header("date").map(str::len), Some(29));
        assert_eq!(reply.header("connection"), None);
        assert_eq!(client.ask("GET", "/nothing-here").status, 404);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::plain();
    let mut client = server.connect();
    client.send(
        "PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none\
         PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n\
         GET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(client.reply("PUT").text(), "one");
    assert_eq!(client.reply("PUT").text(), "two");
    assert_eq!(client.reply("GET").text(), "hello");
}

#[test]
fn requests_pipelined_behind_a_chunked_body_larger_than_the_receive_buffer_are_kept() {
    let server = Server::plain();
    let mut client = server.connect();
    let body = pattern(100_000);
    let mut wire = put("/echo", "Transfer-Encoding: chunked\r\n").into_bytes();
    for chunk in body.chunks(1000) {
        write!(wire, "{:x}\r\n", chunk.len()).unwrap();
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send(&wire);
    assert!(client.reply("PUT").body == body);
    assert_eq!(client.reply("GET").text(), "hello");
    assert_eq!(client.reply("GET").text(), "hello");
}

#[test]
fn bodies_arrive_whole_with_a_length_and_chunked() {
    let server = Server::plain();
    let mut client = server.connect();
    for len in [0, 1, 7, 4096, 16_384, 70_001, 1_500_000] {
        let body = pattern(len);
        client.send(put("/echo", &format!("Content-Length: {len}\r\n")));
        client.send(&body);
        assert!(client.reply("PUT").body == body, "{len} bytes with a length");
        for chunk_len in [1_000, 300_000] {
            client.send(put("/echo", "Transfer-Encoding: chunked\r\n"));
            let mut wire = Vec::new();
            for chunk in body.chunks(chunk_len) {
                write!(wire, "{:x};ext=1\r\n", chunk.len()).unwrap();
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\nx-sum: 42\r\n\r\n");
            client.send(&wire);
            let reply = client.reply("PUT");
            assert!(reply.body == body, "{len} bytes in chunks of {chunk_len}");
            assert_eq!(reply.header("echo-x-sum"), Some("42"));
        }
    }
}

#[test]
fn requests_sent_byte_by_byte_are_served() {
    let server = Server::plain();
    let mut client = server.connect();
    let chunked = put("/echo", "Transfer-Encoding: chunked\r\n") + "3;x\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n";
    let sized = put("/echo", "Content-Length: 5\r\n") + "vwxyz";
    for byte in chunked.bytes().chain(sized.bytes()) {
        client.send([byte]);
    }
    assert_eq!(client.reply("PUT").text(), "abcde");
    assert_eq!(client.reply("PUT").text(), "vwxyz");
}

#[test]
fn a_reply_goes_out_though_the_pool_is_empty() {
    let server = Server::plain();
    let mut client = server.connect();
    assert!(client.ask("GET", "/starved").body == pattern(300_000));
    assert!(client.ask("GET", "/big").body == pattern(STREAM_BYTES));
}

#[test]
fn replies_arrive_whole_with_a_length_and_chunked() {
    let server = Server::plain();
    let mut client = server.connect();
    for target in ["/stream", "/big", "/chunks"] {
        let reply = client.ask("GET", target);
        assert!(reply.body == pattern(STREAM_BYTES), "{target}");
        assert_eq!(reply.header("transfer-encoding").is_some(), target == "/chunks");
    }
    assert_eq!(client.ask("GET", "/whitespace").text(), " <done/>");
    assert_eq!(client.ask("GET", "/hello").text(), "hello");
}

#[test]
fn head_and_no_content_have_headers_and_no_body() {
    let server = Server::plain();
    let mut client = server.connect();
    let reply = client.ask("HEAD", "/hello");
    assert_eq!((reply.status, reply.header("content-length")), (200, Some("5")));
    let reply = client.ask("HEAD", "/stream");
    assert_eq!(reply.header("content-length"), Some(STREAM_BYTES.to_string().as_str()));
    assert_eq!(client.ask("HEAD", "/chunks").header("transfer-encoding"), Some("chunked"));
    let reply = client.ask("GET", "/none");
    assert_eq!((reply.status, reply.header("content-length")), (204, None));
    assert_eq!(client.ask("GET", "/hello").text(), "hello");
}

#[test]
fn continue_is_sent_when_the_body_is_wanted_and_not_before() {
    let server = Server::plain();
    let mut client = server.connect();
    client.send(put("/echo", "Content-Length: 5\r\nExpect: 100-continue\r\n"));
    assert_eq!(client.reply("PUT").status, 100);
    client.send("hello");
    assert_eq!(client.reply("PUT").text(), "hello");

    // The body came along: nobody waits for the 100.
    client.send(put("/echo", "Content-Length: 5\r\nExpect: 100-continue\r\n") + "hello");
    assert_eq!(client.reply("PUT").text(), "hello");

    // A body of no bytes is never waited for, but the client waits.
    client.send(put("/echo", "Content-Length: 0\r\nExpect: 100-continue\r\n"));
    assert_eq!(client.reply("PUT").status, 100);
    assert_eq!(client.reply("PUT").status, 200);

    // An error needs no body. Whether the client still sends it cannot be known: the connection closes.
    client.send(put("/refuse", "Content-Length: 5\r\nExpect: 100-continue\r\n"));
    let reply = client.reply("PUT");
    assert_eq!((reply.status, reply.header("connection")), (403, Some("close")));
    assert!(client.is_closed());
}

#[test]
fn a_small_unread_body_is_drained_and_a_large_one_closes() {
    let server = Server::plain();
    let mut client = server.connect();
    for fields in ["Content-Length: 200000\r\n", "Transfer-Encoding: chunked\r\n"] {
        client.send(put("/refuse", fields));
        let reply = client.reply("PUT");
        assert_eq!((reply.status, reply.header("connection")), (403, None));
        if fields.starts_with('T') {
            client.send("30d40\r\n");
        }
        client.send(pattern(200_000));
        if fields.starts_with('T') {
            client.send("\r\n0\r\n\r\n");
        }
        assert_eq!(client.ask("GET", "/hello").text(), "hello");
    }
    // Whoever sends a whole part before it looks for an answer still finds one, and no reset.
    for len in [300_000, 8 << 20] {
        let mut client = server.connect();
        client.send(put("/refuse", &format!("Content-Length: {len}\r\n")));
        client.send(pattern(len));
        let reply = client.reply("PUT");
        assert_eq!((reply.status, reply.header("connection")), (403, Some("close")));
        assert!(client.is_closed());
    }
}

#[test]
fn refused_heads_are_answered_and_close() {
    let server = Server::plain();
    for (head, status) in [
        ("PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    ] {
        let mut client = server.connect();
        client.send(head);
        let reply = client.reply("GET");
        assert_eq!((reply.status, reply.header("connection")), (status, Some("close")), "{head:?}");
        assert!(client.is_closed());
    }
    let mut client = server.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(20_000)));
    assert_eq!(client.reply("GET").status, 431);
    let mut client = server.connect();
    client.send(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(20_000)));
    assert_eq!(client.reply("GET").status, 414);
}

#[test]
fn http_1_0_closes_or_keeps_alive_and_gets_no_chunks() {
    let server = Server::plain();
    let mut client = server.connect();
    client.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let reply = client.reply("GET");
    assert_eq!((reply.text(), reply.header("connection")), ("hello", Some("keep-alive")));
    client.send("GET /chunks HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let reply = client.reply("GET");
    assert_eq!((reply.header("transfer-encoding"), reply.header("connection")), (None, Some("close")));
    assert!(reply.body == pattern(STREAM_BYTES));
    let mut client = server.connect();
    client.send("GET /hello HTTP/1.0\r\n\r\n");
    assert_eq!(client.reply("GET").header("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn a_reply_that_breaks_off_never_looks_whole() {
    let server = Server::plain();
    for target in ["/short", "/broken-chunks"] {
        let mut client = server.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(client.try_reply("GET").is_err(), "{target}");
    }
    let mut client = server.connect();
    let reply = client.ask("GET", "/silent");
    assert_eq!((reply.status, reply.header("connection")), (500, Some("close")));
}

#[test]
fn a_header_that_would_split_the_reply_is_caught_before_anything_is_sent() {
    let server = Server::plain();
    let mut client = server.connect();
    let reply = client.ask("GET", "/split");
    assert_eq!((reply.status, reply.text()), (500, "caught"));
    assert_eq!(client.ask("GET", "/hello").text(), "hello");
}

#[test]
fn a_body_that_breaks_off_is_an_error_to_the_handler() {
    let server = Server::plain();
    let mut client = server.connect();
    client.send(put("/echo", "Content-Length: 100\r\n") + "some of it");
    client.stream.shutdown(Shutdown::Write).unwrap();
    let reply = client.reply("PUT");
    assert_eq!((reply.status, reply.text()), (400, "Truncated"));
    assert!(client.is_closed());

    let mut client = server.connect();
    client.send(put("/echo", "Transfer-Encoding: chunked\r\n") + "5\r\nhelloXX");
    let reply = client.reply("PUT");
    assert_eq!((reply.status, reply.text()), (400, "Chunk(LineEnd)"));
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn a_read_given_up_by_the_handler_ends_the_connection() {
    let server = Server::plain();
    let mut client = server.connect();
    client.send(put("/give-up", "Content-Length: 10\r\n"));
    let reply = client.reply("PUT");
    assert_eq!((reply.status, reply.header("connection")), (408, Some("close")));
    // These bytes go to the read that was given up; what follows must not be taken for a request.
    client.send("0123456789GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.is_closed());
}

#[test]
fn slow_heads_and_bodies_are_cut_and_idle_connections_closed() {
    let short = Duration::from_millis(400);
    let limits = Limits { header_timeout: short, idle_timeout: short, body_window: short, ..Limits::default() };
    let server = Server::start(limits, None);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHo");
    let reply = client.reply("GET");
    assert_eq!((reply.status, reply.header("connection")), (408, Some("close")));
    assert!(client.is_closed());

    let mut client = server.connect();
    client.send(put("/echo", "Content-Length: 100\r\n") + "some of it");
    let reply = client.reply("PUT");
    assert_eq!((reply.status, reply.text()), (408, "TooSlow"));
    assert!(client.is_closed());

    let mut client = server.connect();
    assert_eq!(client.ask("GET", "/hello").text(), "hello");
    assert!(client.is_closed());
    assert!(server.connect().is_closed());
}

#[test]
fn a_peer_that_takes_nothing_is_cut() {
    let limits = Limits { send_timeout: Duration::from_millis(150), ..Limits::default() };
    let server = Server::start(limits, None);
    let mut client = server.connect();
    // More replies than any socket buffer holds, none of which is read.
    for _ in 0..16 {
        client.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    // The server ends only when it has given the connection up.
    drop(server);
    let whole = (0..16).take_while(|_| client.try_reply("GET").is_ok()).count();
    assert!(whole < 16);
}

#[test]
fn connections_beyond_the_limit_are_told_so() {
    let server = Server::start(Limits { connections_max: 1, ..Limits::default() }, None);
    let mut first = server.connect();
    assert_eq!(first.ask("GET", "/hello").text(), "hello");
    let mut second = server.connect();
    let refused = second.reply("GET");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert!(second.is_closed());
    assert_eq!(first.ask("GET", "/hello").text(), "hello");
}

#[test]
fn a_stop_closes_idle_connections_and_lets_busy_ones_finish() {
    let mut server = Server::plain();
    let mut idle = server.connect();
    assert_eq!(idle.ask("GET", "/hello").text(), "hello");
    let mut busy = server.connect();
    busy.send(put("/echo", "Content-Length: 5\r\nExpect: 100-continue\r\n"));
    assert_eq!(busy.reply("PUT").status, 100);
    server.ask_to_stop();
    assert!(idle.is_closed());
    busy.send("hello");
    let reply = busy.reply("PUT");
    assert_eq!((reply.text(), reply.header("connection")), ("hello", Some("close")));
    assert!(busy.is_closed());
}

/// A stop ends what is read between requests. What the kernel had read by then is a request all the same, of which no more is
/// read; its client is not to blame for that.
#[test]
fn a_request_that_arrives_in_the_moment_of_a_stop_is_told_that_the_server_stops() {
    let mut server = Server::plain();
    let hold = server.hold_at_stop();
    let mut client = server.connect();
    assert_eq!(client.ask("GET", "/hello").text(), "hello");
    server.ask_to_stop();
    hold.begun();
    client.send(put("/echo", "Content-Length: 5\r\n"));
    hold.end();
    let reply = client.reply("PUT");
    assert_eq!((reply.status, reply.header("connection")), (503, Some("close")), "{}", reply.text());
    assert!(client.is_closed());
}

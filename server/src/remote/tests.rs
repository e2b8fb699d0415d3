use std::io::Write as _;
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;
use crate::credentials::{Credentials, Origin};

/// What a server does with one request after another; then it closes.
#[derive(Clone, Copy)]
enum Act {
    Answer(u16, &'static str),
    /// Half of an object.
    BreakOff,
    Close,
}

/// Answers with how many requests came, each on a connection of its own.
fn serve(acts: Vec<Act>) -> (Remote, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let count = acts.len();
        for act in acts {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                io::BufRead::read_until(&mut reader, b'\n', &mut head).unwrap();
            }
            let head = String::from_utf8(head).unwrap();
            let (_, length) = head.split_once("content-length: ").unwrap();
            let length = length.lines().next().unwrap().parse().unwrap();
            io::copy(&mut reader.take(length), &mut io::sink()).unwrap();
            match act {
                Act::Answer(status, body) => {
                    let length = body.len();
                    write!(stream, "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
                }
                Act::BreakOff => write!(stream, "HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\nhalf!"),
                Act::Close => Ok(()),
            }
            .unwrap();
        }
        count
    });
    let credentials = Credentials { user: "u".to_owned(), password: "p".to_owned(), origin: Origin::Given };
    let server_at = Server { endpoint: format!("http://127.0.0.1:{port}"), ca: Vec::new(), region: "r".to_owned() };
    (Remote::new(&server_at, "b", Keys { credentials, token: Some("t".to_owned()) }).unwrap(), server)
}

fn put(remote: &mut Remote) -> io::Result<Reply> {
    remote.put("k", Headers::new(), Payload { size: 3, sha256: Some([7; 32]) }, &mut |sink| sink(b"abc"))
}

#[test]
fn what_fails_in_passing_is_asked_again() {
    let (mut remote, server) =
        serve(vec![Act::Answer(503, ""), Act::Close, Act::Answer(500, ""), Act::Answer(200, "")]);
    assert_eq!(put(&mut remote).unwrap().status, 200);
    assert_eq!(server.join().unwrap(), 4);
}

#[test]
fn attempts_have_an_end_and_errors_name_what_was_asked() {
    let busy = Act::Answer(503, "<Code>SlowDown</Code>");
    let (mut remote, server) = serve(vec![busy; ATTEMPTS_MAX as usize]);
    let reply = put(&mut remote).unwrap();
    let error = remote.expect(reply, &[200], "put", "k").unwrap_err().to_string();
    assert!(error.starts_with("put b/k at 127.0.0.1:") && error.ends_with("answers 503 SlowDown"), "{error}");
    server.join().unwrap();
    let (mut remote, server) = serve(vec![Act::Close; ATTEMPTS_MAX as usize]);
    let error = put(&mut remote).unwrap_err().to_string();
    assert!(error.starts_with("PUT b/k at 127.0.0.1:") && error.ends_with("(5 times)"), "{error}");
    server.join().unwrap();
}

#[test]
fn a_refusal_is_no_failure_in_passing() {
    let (mut remote, server) = serve(vec![Act::Answer(403, "")]);
    assert_eq!(put(&mut remote).unwrap().status, 403);
    server.join().unwrap();
    // There is nobody any more, and never was for who asks the first time.
    let (mut remote, server) = serve(Vec::new());
    server.join().unwrap();
    assert_eq!(put(&mut remote).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn an_object_that_breaks_off_begins_anew_and_a_larger_one_than_expected_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("f");
    let (mut remote, server) = serve(vec![Act::BreakOff, Act::Answer(200, "whole")]);
    assert_eq!(remote.download("k", &file, 5).unwrap().status, 200);
    assert_eq!(std::fs::read(&file).unwrap(), b"whole");
    server.join().unwrap();
    let (mut remote, server) = serve(vec![Act::Answer(404, "none"), Act::Answer(200, "longer"), Act::Answer(200, "")]);
    assert_eq!(remote.download("k", &file, 5).unwrap().status, 404);
    assert_eq!(std::fs::read(&file).unwrap(), b"whole");
    let error = remote.download("k", &file, 5).unwrap_err();
    assert!(error.to_string().contains("more than 5 bytes"), "{error}");
    assert_eq!(remote.download("k", &file, 5).unwrap().status, 200);
    assert_eq!(std::fs::read(&file).unwrap(), b"");
    server.join().unwrap();
}

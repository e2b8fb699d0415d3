use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use super::*;
use crate::buf;
use crate::time::Duration;
use crate::{Config, run_alone, spawn};

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

async fn pair() -> (Stream, Stream) {
    let listener = Listener::bind(loopback(), true).unwrap();
    let connecting = spawn(Stream::connect(listener.local_addr()));
    let (server, peer) = listener.accept().await.unwrap();
    let client = connecting.await.unwrap();
    assert_eq!(client.local_addr().unwrap(), peer);
    client.set_nodelay().unwrap();
    (client, server)
}

#[test]
fn what_is_sent_in_parts_arrives_in_order() {
    run_alone(Config::new(1), || async {
        let (client, server) = pair().await;
        const BYTES: usize = 1 << 20;
        let sender = spawn(async move {
            let mut buf = buf::alloc(BYTES).await;
            for (i, byte) in buf.iter_mut().enumerate() {
                *byte = (i / 7) as u8;
            }
            let shared = Shared::from(buf.window(0..BYTES));
            client.send(shared.slice(0..1000)).await.unwrap();
            let parts = vec![shared.slice(1000..1000), shared.slice(1000..70_000), shared.slice(70_000..BYTES)];
            client.send_vectored(parts).await.unwrap();
            client.send_vectored(vec![Shared::from_static(b"a"), Shared::from(b"bc".to_vec())]).await.unwrap();
        });
        let mut received = Vec::new();
        let mut window = buf::alloc(16 << 10).await.window(0..10_000);
        loop {
            let (result, back) = server.recv(window).await;
            window = back;
            match result.unwrap() {
                0 => break,
                count => received.extend_from_slice(&window[..count]),
            }
        }
        sender.await;
        assert_eq!(received.len(), BYTES + 3);
        assert!(received[..BYTES].iter().enumerate().all(|(i, byte)| *byte == (i / 7) as u8));
        assert_eq!(&received[BYTES..], b"abc");
    })
    .unwrap();
}

#[test]
fn what_is_discarded_is_gone_and_what_follows_is_whole() {
    run_alone(Config::new(1), || async {
        const BYTES: usize = 3 << 20;
        let (client, server) = pair().await;
        let sender = spawn(async move {
            let shared = Shared::from(vec![1; BYTES]);
            client.send(shared).await.unwrap();
            client.send(Shared::from_static(b"rest")).await.unwrap();
        });
        let mut left = BYTES;
        while left > 0 {
            let count = server.discard(left).await.unwrap();
            assert!((1..=left).contains(&count), "{count} of {left}");
            left -= count;
        }
        let (result, window) = server.recv(buf::alloc(4096).await.into()).await;
        assert_eq!(&window[..result.unwrap()], b"rest");
        sender.await;
        assert_eq!(server.discard(1).await.unwrap(), 0, "the peer has finished");
    })
    .unwrap();
}

#[test]
fn a_deadline_ends_a_read_and_the_window_comes_back() {
    run_alone(Config::new(1), || async {
        let (client, server) = pair().await;
        let window = Window::from(buf::alloc(4096).await);
        let deadline = Instant::now() + Duration::from_millis(20);
        let (result, window) = server.recv_until(window, deadline).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(server.is_cut() && Instant::now() >= deadline);
        // The other end sees the connection end.
        let (result, _) = client.recv(window).await;
        assert_eq!(result.unwrap(), 0);
    })
    .unwrap();
}

#[test]
fn an_idle_connection_waits_without_a_buffer() {
    run_alone(Config::new(1), || async {
        let (client, server) = pair().await;
        let soon = Instant::now() + Duration::from_millis(10);
        let far = Instant::now() + Duration::from_secs(600);
        let waiting = spawn(async move {
            server.readable_until(far).await.unwrap();
            let (result, window) = server.recv(buf::alloc(4096).await.into()).await;
            assert_eq!(&window[..result.unwrap()], b"hello");
            server.readable_until(soon).await.unwrap_err().kind()
        });
        crate::yield_now().await;
        assert_eq!(buf::stats().used_bytes, 0);
        client.send(Shared::from_static(b"hello")).await.unwrap();
        assert_eq!(waiting.await, io::ErrorKind::TimedOut);
    })
    .unwrap();
}

#[test]
fn a_dropped_read_gives_its_buffer_back_after_the_kernel_is_done() {
    run_alone(Config::new(1), || async {
        let (client, server) = pair().await;
        let before = buf::stats().used_bytes;
        let server = Rc::new(server);
        let window = Window::from(buf::alloc(4096).await);
        let reading = crate::time::timeout(Duration::from_millis(5), server.recv(window)).await;
        assert!(reading.is_err());
        while buf::stats().used_bytes != before {
            crate::yield_now().await;
        }
        drop(client);
    })
    .unwrap();
}

#[test]
fn accepts_in_flight_end_with_their_shard() {
    run_alone(Config::new(1), || async {
        let listener = Listener::bind(loopback(), false).unwrap();
        drop(spawn(async move { listener.accept().await.map(|_| ()) }));
        crate::yield_now().await;
    })
    .unwrap();
}

#[test]
fn connecting_to_nobody_is_refused() {
    run_alone(Config::new(1), || async {
        let listener = Listener::bind(loopback(), false).unwrap();
        let address = listener.local_addr();
        drop(listener);
        let error = Stream::connect(address).await.err().expect("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    })
    .unwrap();
}

fn picked(outcome: io::Result<Picked>) -> (Buf, usize) {
    match outcome {
        Ok(Picked::Bytes(buf, len)) => (buf, len),
        other => panic!("no bytes: {other:?}"),
    }
}

#[test]
fn a_picked_buffer_holds_what_came_at_most_so_much_of_it() {
    run_alone(Config::new(1), || async {
        let (client, server) = pair().await;
        // More rounds than there are buffers that lie ready, of which each is given back after some more.
        let mut kept = std::collections::VecDeque::new();
        for round in 0..1000_u32 {
            client.send(Shared::from(round.to_le_bytes().to_vec())).await.unwrap();
            let (buf, len) = picked(server.recv_picked(3).await);
            assert_eq!(buf[..len], round.to_le_bytes()[..3]);
            let (rest, len) = picked(server.recv_picked(100).await);
            assert_eq!(rest[..len], round.to_le_bytes()[3..]);
            kept.push_back((round, buf));
            if kept.len() > 50 {
                let (round, buf) = kept.pop_front().unwrap();
                assert_eq!(buf[..3], round.to_le_bytes()[..3], "nobody writes to a buffer that was picked");
            }
        }
        client.shutdown(Shutdown::Write).unwrap();
        assert!(matches!(server.recv_picked(1).await, Ok(Picked::End)));
    })
    .unwrap();
}

#[test]
fn whoever_is_dropped_while_it_waits_leaves_its_buffer() {
    run_alone(Config::new(1), || async {
        let (client, server) = pair().await;
        drop(crate::time::timeout(Duration::from_millis(1), server.recv_picked(10)).await);
        // All that lie ready.
        let used = buf::stats().used_bytes;
        client.send(Shared::from_static(b"a")).await.unwrap();
        // It may have been received by the one that was dropped.
        client.shutdown(Shutdown::Write).unwrap();
        while !matches!(server.recv_picked(10).await, Ok(Picked::End)) {}
        assert_eq!(buf::stats().used_bytes, used, "nothing else is used");
    })
    .unwrap();
}

#[test]
fn without_a_free_buffer_that_is_said_and_the_bytes_stay() {
    run_alone(Config::new(1), || async {
        let all: Vec<Buf> = std::iter::from_fn(|| buf::try_alloc(PICKED_BYTES)).collect();
        let (client, server) = pair().await;
        let sent = Rc::new(Cell::new(false));
        let sends = sent.clone();
        let sender = spawn(async move {
            crate::time::sleep(Duration::from_millis(5)).await;
            sends.set(true);
            client.send(Shared::from_static(b"abc")).await.unwrap();
            client
        });
        assert!(matches!(server.recv_picked(10).await, Ok(Picked::NoBuffer)));
        assert!(sent.get(), "it is not said before there is something");
        let _client = sender.await;
        drop(all);
        let (buf, len) = picked(server.recv_picked(10).await);
        assert_eq!(&buf[..len], b"abc");
    })
    .unwrap();
}

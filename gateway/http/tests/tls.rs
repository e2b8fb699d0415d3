//! TLS end to end over loopback: names, reload, bodies, refusals.

// The plain client's helpers are not all needed here.
#[allow(dead_code)]
mod harness;

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use hafiz_http::{CertSource, CertStore, Limits, Trust};
use harness::{Client, STREAM_BYTES, Server, pattern};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

type TlsClient = Client<StreamOwned<ClientConnection, TcpStream>>;

fn write_pair(directory: &Path, stem: &str, name: &str) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    fs::write(directory.join(format!("{stem}.crt")), made.cert.pem()).unwrap();
    fs::write(directory.join(format!("{stem}.key")), made.signing_key.serialize_pem()).unwrap();
}

fn start(directory: &Path, limits: Limits) -> (Server, Arc<CertStore>) {
    let store = Arc::new(CertStore::open(CertSource::Directory(directory.into())).unwrap());
    (Server::start(limits, Some(store.clone())), store)
}

/// A client that trusts just this certificate and asks for this name.
fn connect(server: &Server, cert: &Path, name: &str, version: &'static rustls::SupportedProtocolVersion) -> TlsClient {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    Client::new(StreamOwned::new(connection, server.connect_raw()))
}

#[test]
fn each_name_gets_its_certificate_and_a_changed_one_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write_pair(at, "a", "a.test");
    write_pair(at, "b", "*.b.test");
    let (server, store) = start(at, Limits::default());
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut client = connect(&server, &at.join("a.crt"), "a.test", version);
        assert_eq!(client.ask("GET", "/hello").text(), "hello");
        assert_eq!(client.stream.conn.alpn_protocol(), Some(b"http/1.1".as_slice()));
        let mut client = connect(&server, &at.join("b.crt"), "x.b.test", version);
        assert_eq!(client.ask("GET", "/hello").text(), "hello");
    }

    let old = at.join("old.pem");
    fs::copy(at.join("b.crt"), &old).unwrap();
    let mut before = connect(&server, &old, "x.b.test", &rustls::version::TLS13);
    assert_eq!(before.ask("GET", "/hello").text(), "hello");
    write_pair(at, "b", "*.b.test");
    assert!(store.reload_if_changed().unwrap());
    let mut client = connect(&server, &at.join("b.crt"), "x.b.test", &rustls::version::TLS13);
    assert_eq!(client.ask("GET", "/hello").text(), "hello");
    assert_eq!(before.ask("GET", "/hello").text(), "hello", "open connections go on");
}

#[test]
fn the_command_lines_client_believes_the_very_certificate_by_any_name_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let (at, elsewhere) = (directory.path().join("served"), directory.path().join("elsewhere"));
    [&at, &elsewhere].into_iter().for_each(|dir| fs::create_dir(dir).unwrap());
    write_pair(&at, "a", "a.test");
    // Another one for the same name.
    write_pair(&elsewhere, "a", "a.test");
    let (server, _) = start(&at, Limits::default());
    let ask = |trusted: &Path, name: &str| -> std::io::Result<String> {
        let trust = Trust::of(&[trusted.join("a.crt")]).unwrap();
        let mut stream = trust.encrypt(server.connect_raw(), name)?;
        std::io::Write::write_all(&mut stream, b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut reply = String::new();
        std::io::Read::read_to_string(&mut stream, &mut reply)?;
        Ok(reply)
    };
    for name in ["a.test", "other.test", "127.0.0.1"] {
        assert!(ask(&at, name).unwrap().ends_with("hello"), "{name}");
        let refused = ask(&elsewhere, name).unwrap_err().to_string();
        assert!(refused.contains("certificate"), "{name}: {refused}");
    }
    assert!(ask(&at, "no name").is_err());
    assert!(Trust::of(&[at.join("a.key")]).is_err() && Trust::of(&[at.join("none")]).is_err());
}

#[test]
fn bodies_and_replies_arrive_whole_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write_pair(at, "a", "a.test");
    let (server, _) = start(at, Limits::default());
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut client = connect(&server, &at.join("a.crt"), "a.test", version);
        for len in [0, 1, 16_384, 70_001, 1_500_000] {
            let body = pattern(len);
            client.send(format!("PUT /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: {len}\r\n\r\n"));
            client.send(&body);
            assert!(client.reply("PUT").body == body, "{len} bytes");
        }
        client.send("PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n");
        assert_eq!(client.reply("PUT").text(), "one");
        for target in ["/stream", "/big", "/chunks"] {
            assert!(client.ask("GET", target).body == pattern(STREAM_BYTES), "{target}");
        }
        assert!(client.ask("GET", "/starved").body == pattern(300_000), "without a free buffer in the pool");
        client
            .send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(client.reply("GET").text(), "hello");
        assert_eq!(client.reply("GET").text(), "hello");
        // A clean end: rustls reports one without close_notify as an error of another kind.
        let mut end = Vec::new();
        assert_eq!(std::io::Read::read_to_end(&mut client.stream, &mut end).unwrap(), 0);
    }
}

#[test]
fn a_broken_reply_ends_without_goodbye() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write_pair(at, "a", "a.test");
    let (server, _) = start(at, Limits::default());
    let mut client = connect(&server, &at.join("a.crt"), "a.test", &rustls::version::TLS13);
    client.send("GET /short HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.try_reply("GET").is_err());
}

#[test]
fn what_is_no_tls_hello_is_closed_and_others_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write_pair(at, "a", "a.test");
    let limits = Limits { header_timeout: std::time::Duration::from_millis(600), ..Limits::default() };
    let (server, _) = start(at, limits);
    let mut plain = server.connect();
    plain.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(plain.try_reply("GET").is_err());
    assert!(server.connect().is_closed(), "a peer that says nothing is closed at the header time-out");
    let mut client = connect(&server, &at.join("a.crt"), "a.test", &rustls::version::TLS13);
    assert_eq!(client.ask("GET", "/hello").text(), "hello");
}

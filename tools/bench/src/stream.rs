//! A socket that does not block, plain or with TLS.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// How to speak TLS with an endpoint.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl Tls {
    /// Trusts the certificates of a PEM file, and no others.
    pub(crate) fn trusting(path: &str, host: &str) -> Result<Tls, String> {
        let pem = fs::read(path).map_err(|error| format!("read {path}: {error}"))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| format!("{path}: {error}"))?;
            roots.add(certificate).map_err(|error| format!("{path}: {error}"))?;
        }
        if roots.is_empty() {
            return Err(format!("{path}: no certificate in it"));
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("{host}: {error}"))?;
        Ok(Tls { config: Arc::new(config), name })
    }
}

pub(crate) struct Stream {
    tcp: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Stream {
    /// Begins to connect; writes block until it has.
    pub(crate) fn open(
        address: SocketAddr,
        tls: Option<&Tls>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Stream> {
        let mut tcp = TcpStream::connect(address)?;
        tcp.set_nodelay(true)?;
        registry.register(&mut tcp, token, Interest::READABLE | Interest::WRITABLE)?;
        let session = tls.map(|tls| ClientConnection::new(tls.config.clone(), tls.name.clone()));
        Ok(Stream { tcp, tls: session.transpose().map_err(io::Error::other)?.map(Box::new) })
    }

    /// 0 when the server sends no more. `WouldBlock` when nothing is there.
    pub(crate) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.tcp.read(bytes) };
        loop {
            match tls.reader().read(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            if tls.read_tls(&mut self.tcp)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            flush(tls, &mut self.tcp)?;
        }
    }

    /// How many bytes were taken: at least one. `WouldBlock` when the socket takes no more.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.tcp.write(bytes) };
        flush(tls, &mut self.tcp)?;
        if tls.wants_write() {
            return Err(ErrorKind::WouldBlock.into());
        }
        match tls.writer().write(bytes)? {
            // Its buffer is full before the handshake is over.
            0 => Err(ErrorKind::WouldBlock.into()),
            taken => {
                flush(tls, &mut self.tcp)?;
                Ok(taken)
            }
        }
    }

    /// Sends what TLS still holds back. True when nothing is left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        flush(tls, &mut self.tcp)?;
        Ok(!tls.wants_write())
    }
}

fn flush(tls: &mut ClientConnection, tcp: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(tcp) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

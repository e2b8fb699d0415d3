//! One TLS connection as a state machine over slices; it does no I/O.
//!
//! Built on rustls' unbuffered interface: records are decrypted in the buffer they were received into.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

/// Received bytes one connection needs room for: a record of the largest size and its header.
pub(crate) const INCOMING_BYTES_MIN: usize = 5 + 16 * 1024 + 2048;
/// Payload of one record.
const RECORD_PAYLOAD_BYTES: usize = 16 * 1024;
/// More than the header, nonce, tag and padding of a record in any suite we speak.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// Room for a key update that goes out in front of the data.
const CONTROL_BYTES: usize = 128;

/// Bytes that certainly hold `len` plain bytes once encrypted.
pub(crate) const fn encrypted_bytes_max(len: usize) -> usize {
    len + (len / RECORD_PAYLOAD_BYTES + 1) * RECORD_OVERHEAD_BYTES + CONTROL_BYTES
}

/// The most plain bytes whose encryption certainly fits in `room`; 0 when nothing certainly does.
pub(crate) const fn plain_bytes_max(room: usize) -> usize {
    let records = room / RECORD_PAYLOAD_BYTES + 1;
    room.saturating_sub(records * RECORD_OVERHEAD_BYTES + CONTROL_BYTES)
}

/// What happened, or what is needed next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// This many plain bytes were written to the window.
    Plaintext(usize),
    /// Send what `take_outgoing` gives before anything else.
    Flush,
    /// More received bytes are needed. The handshake goes on.
    Handshaking,
    /// More received bytes are needed. The handshake is done: data may be encrypted.
    Established,
    /// The peer said that it sends no more.
    PeerClosed,
}

pub(crate) struct Session {
    connection: UnbufferedServerConnection,
    /// Handshake bytes, alerts, tickets and key updates on their way out.
    outgoing: Vec<u8>,
    /// Plain bytes that did not fit the window they came for; `held_start..` is still to be read.
    held: Vec<u8>,
    held_start: usize,
    peer_closed: bool,
}

impl Session {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Self { connection, outgoing: Vec::new(), held: Vec::new(), held_start: 0, peer_closed: false })
    }

    /// Takes one step over the received bytes; returns how many of them are done with, to be removed from the front.
    /// Call again until it asks for something. On error `take_outgoing` may hold an alert.
    pub(crate) fn advance(&mut self, incoming: &mut [u8], window: &mut [u8]) -> (usize, Result<Step, rustls::Error>) {
        let held = self.take_held(window);
        if held > 0 {
            return (0, Ok(Step::Plaintext(held)));
        }
        if self.peer_closed {
            return (0, Ok(Step::PeerClosed));
        }
        let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(incoming);
        let step = match state {
            Err(error) => {
                self.collect_alert();
                return (discard, Err(error));
            }
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut filled = 0;
                while let Some(record) = traffic.next_record() {
                    let record = match record {
                        Ok(record) => record,
                        Err(error) => return (discard, Err(error)),
                    };
                    discard += record.discard;
                    let len = record.payload.len().min(window.len() - filled);
                    window[filled..filled + len].copy_from_slice(&record.payload[..len]);
                    filled += len;
                    self.held.extend_from_slice(&record.payload[len..]);
                }
                // An empty record, or an empty window, is no end of data: go on.
                if filled > 0 { Step::Plaintext(filled) } else { Step::Flush }
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(&mut data, &mut self.outgoing);
                Step::Flush
            }
            Ok(ConnectionState::TransmitTlsData(transmit)) => {
                // The bytes are in `outgoing`, which is sent before the next read.
                transmit.done();
                Step::Flush
            }
            Ok(ConnectionState::BlockedHandshake) => Step::Handshaking,
            Ok(ConnectionState::WriteTraffic(_)) => Step::Established,
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                self.peer_closed = true;
                Step::PeerClosed
            }
            // Early data is not enabled, and the enum may grow: neither can be served.
            Ok(_) => return (discard, Err(rustls::Error::General("unexpected TLS state".into()))),
        };
        (discard, Ok(step))
    }

    /// Encrypts `plain` into `out`, which must have room for `encrypted_bytes_max(plain.len())`; returns the bytes used
    /// of `out` and those done with of `incoming`. Plain bytes found in `incoming` on the way are kept for `advance`.
    pub(crate) fn encrypt(
        &mut self,
        incoming: &mut [u8],
        plain: &[u8],
        out: &mut [u8],
    ) -> (usize, Result<usize, rustls::Error>) {
        let mut used = 0;
        let discarded = loop_discarding(incoming, |incoming| {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(incoming);
            let outcome = match state {
                Err(error) => Some(Err(error)),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    Some(traffic.encrypt(plain, &mut out[used..]).map_err(|error| match error {
                        EncryptError::EncryptExhausted => rustls::Error::EncryptError,
                        EncryptError::InsufficientSize(_) => {
                            rustls::Error::General("encryption outgrew its room".into())
                        }
                    }))
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    let mut failed = None;
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                discard += record.discard;
                                self.held.extend_from_slice(record.payload);
                            }
                            Err(error) => failed = Some(Err(error)),
                        }
                    }
                    failed
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => match data.encode(&mut out[used..]) {
                    Ok(len) => {
                        used += len;
                        None
                    }
                    Err(_) => Some(Err(rustls::Error::General("control record outgrew its room".into()))),
                },
                Ok(ConnectionState::TransmitTlsData(transmit)) => {
                    transmit.done();
                    None
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_closed = true;
                    None
                }
                Ok(_) => Some(Err(rustls::Error::HandshakeNotComplete)),
            };
            (discard, outcome)
        });
        let (discarded, outcome) = discarded;
        (discarded, outcome.map(|len| used + len))
    }

    /// Appends a close_notify to the outgoing bytes, if the handshake is done.
    pub(crate) fn close(&mut self) {
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            let start = self.outgoing.len();
            self.outgoing.resize(start + CONTROL_BYTES, 0);
            let len = traffic.queue_close_notify(&mut self.outgoing[start..]).unwrap_or(0);
            self.outgoing.truncate(start + len);
        }
    }

    /// Bytes to be sent; empty when there are none.
    pub(crate) fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    pub(crate) fn clear_outgoing(&mut self) {
        self.outgoing.clear();
    }

    fn take_held(&mut self, window: &mut [u8]) -> usize {
        let held = &self.held[self.held_start..];
        let len = held.len().min(window.len());
        window[..len].copy_from_slice(&held[..len]);
        self.held_start += len;
        if self.held_start == self.held.len() {
            self.held.clear();
            self.held_start = 0;
        }
        len
    }

    /// After an error the alert that tells the peer is queued behind it.
    fn collect_alert(&mut self) {
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = state {
            encode(&mut data, &mut self.outgoing);
        }
    }
}

/// Repeats `step`, dropping from the front of `incoming` what each one is done with, until one has an outcome.
fn loop_discarding<R>(incoming: &mut [u8], mut step: impl FnMut(&mut [u8]) -> (usize, Option<R>)) -> (usize, R) {
    let mut discarded = 0;
    loop {
        let (discard, outcome) = step(&mut incoming[discarded..]);
        discarded += discard;
        if let Some(outcome) = outcome {
            return (discarded, outcome);
        }
    }
}

fn encode<Data>(data: &mut rustls::unbuffered::EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) {
    let start = outgoing.len();
    // Asked with no room the encoder says how much it needs.
    let needed = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        Ok(_) | Err(EncodeError::AlreadyEncoded) => return,
    };
    outgoing.resize(start + needed, 0);
    let len = data.encode(&mut outgoing[start..]).unwrap_or(0);
    outgoing.truncate(start + len);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

    fn pair(version: &'static SupportedProtocolVersion) -> (ClientConnection, Session) {
        let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("a.test").unwrap();
        (ClientConnection::new(Arc::new(client), name).unwrap(), Session::new(Arc::new(config)).unwrap())
    }

    /// Feeds `wire` to the session in pieces, reading through a window of `room` bytes; the plain bytes it gave.
    fn feed(session: &mut Session, wire: &[u8], piece: usize, room: usize) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut incoming = Vec::new();
        let mut window = vec![0; room];
        for part in wire.chunks(piece) {
            incoming.extend_from_slice(part);
            loop {
                let (done_with, step) = session.advance(&mut incoming, &mut window);
                incoming.drain(..done_with);
                match step.unwrap() {
                    Step::Plaintext(len) => plain.extend_from_slice(&window[..len]),
                    Step::Flush => {}
                    Step::Handshaking | Step::Established | Step::PeerClosed => break,
                }
            }
        }
        plain
    }

    fn to_client(client: &mut ClientConnection, mut wire: &[u8]) {
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            client.process_new_packets().unwrap();
        }
    }

    fn from_client(client: &mut ClientConnection) -> Vec<u8> {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        wire
    }

    fn shake_hands(client: &mut ClientConnection, session: &mut Session, piece: usize) {
        while client.is_handshaking() {
            let wire = from_client(client);
            assert!(feed(session, &wire, piece, 1).is_empty());
            to_client(client, session.outgoing());
            session.clear_outgoing();
        }
        let wire = from_client(client);
        assert!(feed(session, &wire, piece, 1).is_empty());
        to_client(client, session.outgoing());
        session.clear_outgoing();
    }

    #[test]
    fn plain_bytes_come_out_however_the_wire_and_the_window_are_cut() {
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            for (piece, room) in [(1, 1), (7, 4096), (1000, 3), (1 << 20, 1 << 20)] {
                let (mut client, mut session) = pair(version);
                shake_hands(&mut client, &mut session, piece);
                let sent: Vec<u8> = (0..40_000u32).map(|i| (i % 251) as u8).collect();
                std::io::Write::write_all(&mut client.writer(), &sent).unwrap();
                client.send_close_notify();
                let wire = from_client(&mut client);
                assert!(feed(&mut session, &wire, piece, room) == sent, "piece {piece} room {room}");
                assert_eq!(session.advance(&mut [], &mut [0; 8]).1, Ok(Step::PeerClosed));
            }
        }
    }

    #[test]
    fn encryption_fits_the_room_it_was_promised_and_keeps_what_arrived_meanwhile() {
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let (mut client, mut session) = pair(version);
            shake_hands(&mut client, &mut session, 1 << 20);
            for len in [1, 1000, 16_384, 16_385, 262_144] {
                std::io::Write::write_all(&mut client.writer(), b"meanwhile").unwrap();
                let mut incoming = from_client(&mut client);
                let plain = vec![7; len];
                let mut out = vec![0; encrypted_bytes_max(len)];
                assert!(plain_bytes_max(out.len()) >= len - len / 256);
                let (done_with, used) = session.encrypt(&mut incoming, &plain, &mut out);
                incoming.drain(..done_with);
                let mut got = Vec::new();
                let mut wire = &out[..used.unwrap()];
                while !wire.is_empty() {
                    client.read_tls(&mut wire).unwrap();
                    let waiting = client.process_new_packets().unwrap().plaintext_bytes_to_read();
                    let start = got.len();
                    got.resize(start + waiting, 0);
                    std::io::Read::read_exact(&mut client.reader(), &mut got[start..]).unwrap();
                }
                assert!(got == plain, "{len} bytes");
                assert_eq!(feed(&mut session, &incoming, 1, 4), b"");
                let mut window = [0; 32];
                assert_eq!(session.advance(&mut [], &mut window).1, Ok(Step::Plaintext(9)));
                assert_eq!(&window[..9], b"meanwhile");
            }
        }
    }

    #[test]
    fn garbage_is_an_error_and_leaves_an_alert() {
        let (_, mut session) = pair(&rustls::version::TLS13);
        let mut garbage = *b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert!(session.advance(&mut garbage, &mut []).1.is_err());
        assert_eq!(session.outgoing().first(), Some(&21), "an alert record");
    }
}

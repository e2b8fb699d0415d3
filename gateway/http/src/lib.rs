//! Bytes to HTTP/1.1 messages and back, over rt sockets.
//!
//! Duty: read request heads, hand bodies to a handler in the handler's own pool buffers, frame and send its replies,
//! keep connections alive and within their limits, speak TLS.
//!
//! Invariants:
//! - A message that two parsers could read differently is refused (RFC 9112, the strict side everywhere).
//! - A reply that was not completed never looks complete: the connection is cut.
//! - Nothing that is read, held or waited for is without a limit (`limits`).
//! - A connection never waits for a pool buffer while it holds another.
//!
//! Must never know: S3, buckets, identities, storage. The only crate that names httparse and rustls.

pub mod chunked;
mod connection;
pub mod date;
mod error;
mod exchange;
mod handler;
pub mod head;
pub mod limits;
mod listener;
mod metrics;
mod pace;
mod peers;
pub mod response;
mod stop;
pub mod tls;
mod transport;
mod waiting;

pub use error::{BodyError, ChunkError, ProtocolError, ReplyError};
pub use exchange::Exchange;
pub use handler::{ErrorReply, Handler};
pub use head::{Framing, Head, Header, Version};
pub use limits::Limits;
pub use listener::listen;
pub use response::Response;
pub use stop::Stop;
pub use tls::{CertError, CertSource, CertStore, KeyPair, Trust};

//! What the layer above provides.

use std::future::Future;

use crate::error::ProtocolError;
use crate::exchange::Exchange;
use crate::head::Head;

/// The answer to a request that never became a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

/// Answers requests. One handler serves all connections of a shard, many at a time.
pub trait Handler {
    /// Answers one request through `exchange`. `head` lives in the receive buffer. Returning without a whole reply
    /// closes the connection; returning without any is answered with 500.
    fn handle(&self, head: &Head<'_>, exchange: &mut Exchange<'_>) -> impl Future<Output = ()>;

    /// Whether this request is answered even on a connection for which there is no room. To be answered from memory.
    fn is_vital(&self, _head: &Head<'_>) -> bool {
        false
    }

    /// What a client is told whose request is refused below the handler.
    fn protocol_error(&self, error: ProtocolError) -> ErrorReply {
        ErrorReply { status: error.status(), content_type: "text/plain", body: format!("{error}\n").into_bytes() }
    }
}

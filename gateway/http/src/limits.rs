//! Every bound of the HTTP layer, in one place, with its default.

use std::time::Duration;

/// Most header fields a request may carry. A constant, not a setting: heads are parsed into fixed arrays.
pub const HEADERS_MAX: usize = 100;
/// Most empty lines skipped before a request line (RFC 9112 section 2.2 asks for at least one).
pub const LEADING_EMPTY_LINES_MAX: usize = 4;
/// Longest chunk-size line, its extensions included, without the line end.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Most chunk-extension bytes in one body: many tiny chunks with fat extensions cost us, not the sender.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 16 * 1024;
/// Longest trailer section of a chunked body.
pub const TRAILER_BYTES_MAX: usize = 4 * 1024;
/// Most trailer fields of a chunked body.
pub const TRAILERS_MAX: usize = 32;
/// Longest stretch handed to one send, so that the send time-out measures progress and not size.
pub const SEND_BYTES_MAX: usize = 256 * 1024;
/// Most bytes thrown away from a connection that lingers after its last reply: what clients send at once for a part, so
/// that they see why it was refused, not a reset. It costs no memory and no copy.
pub const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The bounds one listener works under.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Request line and headers together, with all line ends.
    pub head_bytes_max: usize,
    /// From the first byte of a head (or from accept, or from the TLS hello) to its end.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// A body is judged once per this much time spent waiting for it.
    pub body_window: Duration,
    /// Fewer body bytes than this per second of waiting, over one window, is too slow.
    pub body_bytes_per_second_min: u64,
    /// How long one send may take without progress.
    pub send_timeout: Duration,
    /// Unread request body that is read and thrown away to keep a connection; more closes it.
    pub drain_bytes_max: u64,
    /// How long a connection that closes with input pending goes on reading, so that the peer sees our reply.
    pub linger_timeout: Duration,
    /// Open connections of one shard; the next one gets 503 and is closed.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 16 * 1024,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_window: Duration::from_secs(30),
            body_bytes_per_second_min: 1024,
            send_timeout: Duration::from_secs(60),
            drain_bytes_max: 256 * 1024,
            linger_timeout: Duration::from_secs(2),
            connections_max: 1024,
        }
    }
}

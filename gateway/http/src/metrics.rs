//! What this layer counts.

use telemetry::{Counter, Gauge};

pub(crate) static CONNECTIONS: Gauge = Gauge::new("hafiz_http_connections", "Open HTTP connections.");
pub(crate) static CONNECTIONS_REFUSED: Counter =
    Counter::new("hafiz_http_connections_refused_total", "Connections answered 503 because their shard had too many.");
pub(crate) static CONNECTIONS_EVICTED: Counter = Counter::new(
    "hafiz_http_connections_evicted_total",
    "Connections without a request that were closed to make room for new ones.",
);
pub(crate) static HANDSHAKES_FAILED: Counter =
    Counter::new("hafiz_http_tls_handshakes_failed_total", "TLS handshakes that failed or took too long.");
pub(crate) static REQUESTS: Counter = Counter::new("hafiz_http_requests_total", "Request heads parsed.");
pub(crate) static PROTOCOL_ERRORS: Counter =
    Counter::new("hafiz_http_protocol_errors_total", "Requests refused before they reached a handler.");
pub(crate) static BODIES_CUT: Counter = Counter::new(
    "hafiz_http_request_bodies_cut_total",
    "Request bodies that ended early, came too slowly or were malformed.",
);
pub(crate) static REPLIES_CUT: Counter =
    Counter::new("hafiz_http_replies_cut_total", "Connections closed inside a reply.");
pub(crate) static PEERS_CUT: Counter = Counter::new(
    "hafiz_http_slow_peers_cut_total",
    "Exchanges with slow peers that were cut since others waited for buffers.",
);
pub(crate) static RECEIVED_BYTES: Counter =
    Counter::new("hafiz_http_received_bytes_total", "Bytes read from sockets, TLS included.");
pub(crate) static SENT_BYTES: Counter =
    Counter::new("hafiz_http_sent_bytes_total", "Bytes written to sockets, TLS included.");

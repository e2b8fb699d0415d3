//! What can go wrong between the bytes and a message, named by what the caller can do about it.

use std::fmt;
use std::io;

/// A request that never became a message, or a connection that broke a bound. Answered once, then the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The request line is not `method SP target SP version`.
    RequestLine,
    /// A header field has a bad name or value: NUL, bare CR, space before the colon, a folded line.
    Header,
    /// A line ends in LF without CR.
    BareLineFeed,
    /// The request line alone is longer than a whole head may be.
    TargetTooLong,
    HeadTooLarge,
    TooManyHeaders,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// The target has none of the forms its method allows.
    Target,
    /// No Host, two of them, a malformed one, or one that contradicts the target.
    Host,
    /// Content-Length is no number, is there twice, or stands beside Transfer-Encoding.
    ContentLength,
    /// Transfer-Encoding is malformed, or does not end in one `chunked`.
    TransferEncoding,
    /// A transfer coding other than `chunked`.
    TransferCoding,
    HeaderTimeout,
    /// Too many connections, or no buffer to serve this one with.
    Busy,
    /// The handler returned without a reply.
    NoReply,
}

impl ProtocolError {
    /// The status this error is answered with.
    pub fn status(self) -> u16 {
        match self {
            Self::RequestLine
            | Self::Header
            | Self::BareLineFeed
            | Self::Target
            | Self::Host
            | Self::ContentLength
            | Self::TransferEncoding => 400,
            Self::HeaderTimeout => 408,
            Self::TargetTooLong => 414,
            Self::HeadTooLarge | Self::TooManyHeaders => 431,
            Self::NoReply => 500,
            Self::TransferCoding => 501,
            Self::Busy => 503,
            Self::Version => 505,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RequestLine => "malformed request line",
            Self::Header => "malformed header field",
            Self::BareLineFeed => "line end without carriage return",
            Self::TargetTooLong => "request target too long",
            Self::HeadTooLarge => "request head too large",
            Self::TooManyHeaders => "too many header fields",
            Self::Version => "unsupported HTTP version",
            Self::Target => "malformed request target",
            Self::Host => "missing, repeated or malformed Host",
            Self::ContentLength => "malformed, repeated or contradicting Content-Length",
            Self::TransferEncoding => "malformed Transfer-Encoding",
            Self::TransferCoding => "unsupported transfer coding",
            Self::HeaderTimeout => "request head took too long",
            Self::Busy => "server is busy",
            Self::NoReply => "request was not answered",
        })
    }
}

impl std::error::Error for ProtocolError {}

/// A chunked body that breaks its own framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// No hexadecimal size, or one beyond 64 bits.
    Size,
    LineTooLong,
    Extension,
    ExtensionsTooLong,
    /// CR without LF, LF without CR, or data that runs over its size.
    LineEnd,
    Trailer,
    TrailersTooLong,
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size => "malformed chunk size",
            Self::LineTooLong => "chunk size line too long",
            Self::Extension => "malformed chunk extension",
            Self::ExtensionsTooLong => "chunk extensions too long",
            Self::LineEnd => "malformed line end in chunked body",
            Self::Trailer => "malformed trailer field",
            Self::TrailersTooLong => "trailers too long",
        })
    }
}

impl std::error::Error for ChunkError {}

/// Why no more of the request body can be had. The connection closes after the reply, if one is still possible.
#[derive(Debug)]
pub enum BodyError {
    /// The peer closed before the end of the body.
    Truncated,
    /// Fewer bytes came than the limits demand: answer 408.
    TooSlow,
    /// We read no more of it, since the server stops or had no room for an idle connection: answer 503.
    Stopped,
    /// The chunked framing is broken: answer 400.
    Chunk(ChunkError),
    Io(io::Error),
}

impl BodyError {
    /// The status this error is answered with when the peer can still be reached.
    pub fn status(&self) -> u16 {
        match self {
            Self::TooSlow => 408,
            Self::Stopped => 503,
            Self::Truncated | Self::Chunk(_) | Self::Io(_) => 400,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("connection closed inside the request body"),
            Self::TooSlow => f.write_str("request body came too slowly"),
            Self::Stopped => f.write_str("the server stopped inside the request body"),
            Self::Chunk(error) => error.fmt(f),
            Self::Io(error) => write!(f, "read request body: {error}"),
        }
    }
}

impl std::error::Error for BodyError {}

/// Why a reply did not go out.
#[derive(Debug)]
pub enum ReplyError {
    /// A header name or value cannot be sent, or is one that only this layer writes. Nothing was sent: another reply
    /// may be tried.
    Header,
    /// More or fewer body bytes than the announced length. The connection closes.
    Length,
    /// The peer took no bytes for too long. The connection closes.
    Timeout,
    /// The connection is gone.
    Io(io::Error),
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("reply header cannot be sent"),
            Self::Length => f.write_str("reply body differs from its announced length"),
            Self::Timeout => f.write_str("peer took no bytes in time"),
            Self::Io(error) => write!(f, "send reply: {error}"),
        }
    }
}

impl std::error::Error for ReplyError {}

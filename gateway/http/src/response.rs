//! Response heads: status, headers and framing to bytes. Pure.

use crate::date::DATE_BYTES;
use crate::head::{is_field_value, is_token};

/// Status and headers of a reply. Names and values are anything that can be seen as text and bytes, so that callers
/// pass what they have without copying.
///
/// Date, Server, Connection, Content-Length and Transfer-Encoding are written by this layer and must not be among them.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a, N = &'a str, V = &'a [u8]> {
    pub status: u16,
    pub headers: &'a [(N, V)],
}

impl Response<'static> {
    /// A reply without headers of the caller's own.
    pub const fn bare(status: u16) -> Self {
        Response { status, headers: &[] }
    }
}

/// How the reply's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFraming {
    /// No Content-Length at all: 1xx, 204, 304.
    Bodyless,
    Length(u64),
    Chunked,
    /// The body ends with the connection: HTTP/1.0 and an unknown length.
    UntilClose,
}

/// What the Connection header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionHeader {
    /// The version's default holds: nothing is said.
    Omitted,
    Close,
    KeepAlive,
}

/// A header cannot be sent. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHeader;

/// Appends a whole response head to `out`. On error `out` is as before.
pub fn render<N: AsRef<str>, V: AsRef<[u8]>>(
    out: &mut Vec<u8>,
    response: &Response<'_, N, V>,
    framing: ReplyFraming,
    connection: ConnectionHeader,
    date: &[u8; DATE_BYTES],
) -> Result<(), BadHeader> {
    let start = out.len();
    debug_assert!((200..=599).contains(&response.status), "not a final status");
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, u64::from(response.status));
    out.push(b' ');
    out.extend_from_slice(reason(response.status).as_bytes());
    for (name, value) in response.headers {
        let (name, value) = (name.as_ref(), value.as_ref());
        // A CR or LF that came from stored metadata would end the head early: response splitting.
        if !is_token(name.as_bytes()) || !is_field_value(value) || is_ours(name) {
            out.truncate(start);
            return Err(BadHeader);
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
    }
    match framing {
        ReplyFraming::Bodyless | ReplyFraming::UntilClose => {}
        ReplyFraming::Length(length) => {
            out.extend_from_slice(b"\r\nContent-Length: ");
            push_decimal(out, length);
        }
        ReplyFraming::Chunked => out.extend_from_slice(b"\r\nTransfer-Encoding: chunked"),
    }
    match connection {
        ConnectionHeader::Omitted => {}
        ConnectionHeader::Close => out.extend_from_slice(b"\r\nConnection: close"),
        ConnectionHeader::KeepAlive => out.extend_from_slice(b"\r\nConnection: keep-alive"),
    }
    out.extend_from_slice(b"\r\nDate: ");
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\nServer: Hafiz\r\n\r\n");
    Ok(())
}

/// Whether a reply of this status never has a body, whatever the method.
pub fn is_bodyless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

fn is_ours(name: &str) -> bool {
    const OURS: [&str; 5] = ["content-length", "transfer-encoding", "connection", "date", "server"];
    OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours))
}

fn push_decimal(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = value;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        // RFC 9112 section 4: the phrase may be empty, its space may not.
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &[u8; DATE_BYTES] = b"Sun, 06 Nov 1994 08:49:37 GMT";

    fn check(status: u16, headers: &[(&str, &str)], framing: ReplyFraming, connection: ConnectionHeader, want: &str) {
        let mut out = b"before".to_vec();
        let response = Response { status, headers };
        match render(&mut out, &response, framing, connection, DATE) {
            Ok(()) => {
                let tail = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: Hafiz\r\n\r\n";
                assert_eq!(String::from_utf8(out).unwrap(), format!("before{want}{tail}"));
            }
            Err(BadHeader) => {
                assert_eq!((want, out.as_slice()), ("", b"before".as_slice()));
            }
        }
    }

    #[test]
    fn heads_render_with_their_framing() {
        use ConnectionHeader::{Close, KeepAlive, Omitted};
        use ReplyFraming::{Bodyless, Chunked, Length, UntilClose};
        check(200, &[("ETag", "\"a\"")], Length(0), Omitted, "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 0\r\n");
        check(204, &[], Bodyless, Omitted, "HTTP/1.1 204 No Content\r\n");
        check(
            200,
            &[],
            Length(u64::MAX),
            Close,
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\nConnection: close\r\n",
        );
        check(
            599,
            &[("a", "")],
            Chunked,
            KeepAlive,
            "HTTP/1.1 599 \r\na: \r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n",
        );
        check(200, &[], UntilClose, Close, "HTTP/1.1 200 OK\r\nConnection: close\r\n");
    }

    #[test]
    fn headers_that_could_split_a_response_are_refused() {
        for (name, value) in [
            ("a", "b\r\nc: d"),
            ("a", "b\nc"),
            ("a", "b\rc"),
            ("a", "b\0"),
            ("a b", "c"),
            ("a:", "c"),
            ("", "c"),
            ("a\r\nb", "c"),
            ("content-length", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            ("DATE", "now"),
            ("server", "x"),
        ] {
            check(200, &[("ok", "ok"), (name, value)], ReplyFraming::Length(1), ConnectionHeader::Omitted, "");
        }
    }
}

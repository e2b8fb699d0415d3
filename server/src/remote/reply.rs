//! A reply of an S3 server, read from a blocking stream: its head, and its body in whichever of the three ways it is framed.

use std::io::{self, BufRead, Read};

/// Bounds what a server makes us hold: of a line, of all headers, of a document.
const LINE_BYTES_MAX: u64 = 16 << 10;
const HEADERS_MAX: usize = 200;
const DOCUMENT_BYTES_MAX: u64 = 1 << 20;
/// Heads of `100 Continue` and its kind before the reply.
const INTERIM_HEADS_MAX: usize = 10;
/// Bytes of a body that are passed on at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Names and values; names in lower case.
pub(crate) type Headers = Vec<(String, Vec<u8>)>;

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(super) headers: Headers,
    /// Of a reply that is no object: an error, a list.
    pub(super) document: String,
}

/// Takes the bytes of an object.
pub(super) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        std::str::from_utf8(value).ok()
    }

    /// Whether an element of this name with this content is in the document.
    pub(crate) fn says(&self, element: &str, content: &str) -> bool {
        self.element(element) == Some(content)
    }

    /// The content of the first element of this name.
    fn element(&self, name: &str) -> Option<&str> {
        let (_, after) = self.document.split_once(&format!("<{name}>"))?;
        Some(after.split_once(&format!("</{name}>"))?.0)
    }

    /// Status, code and message, as far as the server says them.
    pub(crate) fn refusal(&self) -> String {
        let mut text = format!("the server answers {}", self.status);
        if let Some(code) = self.element("Code") {
            text.push(' ');
            text.push_str(code);
        }
        if let Some(message) = self.element("Message") {
            text.push_str(": ");
            text.push_str(message);
        }
        text
    }
}

/// Reads a reply, and answers whether the connection can be used again. The body of a 200 goes to `object` if there is one.
pub(super) fn read(stream: &mut impl BufRead, is_to_head: bool, object: Option<Sink<'_>>) -> io::Result<(Reply, bool)> {
    let (status, headers) = read_head(stream)?;
    let mut reply = Reply { status, headers, document: String::new() };
    let closes = reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    if is_to_head || matches!(status, 204 | 304) {
        return Ok((reply, !closes));
    }
    let framing = Framing::of(&reply)?;
    match object {
        Some(sink) if status == 200 => framing.read(stream, sink)?,
        _ => {
            let mut document = Vec::new();
            let mut keep = |bytes: &[u8]| {
                if (document.len() + bytes.len()) as u64 > DOCUMENT_BYTES_MAX {
                    return Err(invalid("its document is longer than any that was asked for"));
                }
                document.extend_from_slice(bytes);
                Ok(())
            };
            framing.read(stream, &mut keep)?;
            reply.document = String::from_utf8_lossy(&document).into_owned();
        }
    }
    Ok((reply, !closes && framing != Framing::ToTheEnd))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the reply is not as S3 servers write it: {what}"))
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    stream.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(b'\n') => {
            let line = String::from_utf8(line).map_err(|_| invalid("a line is no text"))?;
            Ok(line.trim_end_matches('\r').to_owned())
        }
        Some(_) if line.len() as u64 + 1 == LINE_BYTES_MAX => Err(invalid("a line is too long")),
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn read_head(stream: &mut impl BufRead) -> io::Result<(u16, Headers)> {
    for _ in 0..=INTERIM_HEADS_MAX {
        let first = read_line(stream)?;
        let rest = first.strip_prefix("HTTP/1.").and_then(|rest| rest.strip_prefix(['0', '1'])?.strip_prefix(' '));
        let status = rest.and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
        let status = status.ok_or_else(|| invalid("it is no HTTP/1.1"))?;
        let headers = read_headers(stream)?;
        if status >= 200 {
            return Ok((status, headers));
        }
    }
    Err(invalid("it does not come to its status"))
}

fn read_headers(stream: &mut impl BufRead) -> io::Result<Headers> {
    let mut headers = Headers::new();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            return Ok(headers);
        }
        if headers.len() == HEADERS_MAX {
            return Err(invalid("too many headers"));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("a header has no colon"))?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().as_bytes().to_vec()));
    }
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    /// Of the connection.
    ToTheEnd,
}

impl Framing {
    fn of(reply: &Reply) -> io::Result<Framing> {
        if reply.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Ok(Framing::Chunked);
        }
        match reply.header("content-length") {
            Some(length) => length.parse().map(Framing::Length).map_err(|_| invalid("its length is no number")),
            None => Ok(Framing::ToTheEnd),
        }
    }

    fn read(self, stream: &mut impl BufRead, sink: Sink<'_>) -> io::Result<()> {
        match self {
            Framing::Length(length) => pass(stream, length, sink),
            Framing::ToTheEnd => {
                let mut piece = vec![0; PIECE_BYTES];
                loop {
                    match stream.read(&mut piece)? {
                        0 => return Ok(()),
                        count => sink(&piece[..count])?,
                    }
                }
            }
            Framing::Chunked => loop {
                let line = read_line(stream)?;
                let digits = line.split(';').next().unwrap_or_default().trim();
                let length = u64::from_str_radix(digits, 16).map_err(|_| invalid("a chunk has no length"))?;
                if length == 0 {
                    read_headers(stream)?;
                    return Ok(());
                }
                pass(stream, length, sink)?;
                if !read_line(stream)?.is_empty() {
                    return Err(invalid("a chunk is longer than it says"));
                }
            },
        }
    }
}

/// Passes on exactly `length` bytes.
fn pass(stream: &mut impl BufRead, length: u64, sink: Sink<'_>) -> io::Result<()> {
    let (mut left, mut piece) = (length, vec![0; PIECE_BYTES.min(usize::try_from(length).unwrap_or(PIECE_BYTES))]);
    while left > 0 {
        let want = piece.len().min(usize::try_from(left).unwrap_or(piece.len()));
        match stream.read(&mut piece[..want])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                sink(&piece[..count])?;
                left -= count as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status, document or object, whether the connection stays.
    fn parsed(bytes: &str, is_object: bool) -> io::Result<(u16, String, bool)> {
        let mut object = Vec::new();
        let mut sink = |bytes: &[u8]| {
            object.extend_from_slice(bytes);
            Ok(())
        };
        let (reply, stays) = read(&mut bytes.as_bytes(), false, is_object.then_some(&mut sink as Sink<'_>))?;
        let body = if is_object && reply.status == 200 { String::from_utf8(object).unwrap() } else { reply.document };
        Ok((reply.status, body, stays))
    }

    #[test]
    fn bodies_end_where_the_head_says() {
        let check = |bytes: &str, status: u16, body: &str, stays: bool| {
            for is_object in [false, true] {
                assert_eq!(parsed(bytes, is_object).unwrap(), (status, body.to_owned(), stays), "{bytes}");
            }
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", 200, "abc", true);
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc", 200, "abc", false);
        check("HTTP/1.1 200 OK\r\n\r\nto the end", 200, "to the end", false);
        check(
            "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nTrailer: 1\r\n\r\nHTTP",
            404,
            "abc",
            true,
        );
        check("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, "", true);
    }

    #[test]
    fn what_breaks_off_or_is_no_reply_is_an_error() {
        for bytes in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        ] {
            assert_eq!(parsed(bytes, true).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{bytes}");
        }
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(1 << 20));
        let many = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(201));
        let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(20);
        let large = format!("HTTP/1.1 403 No\r\nContent-Length: 2000000\r\n\r\n{}", "x".repeat(2_000_000));
        for bytes in [
            "SSH-2.0\r\n",
            "HTTP/1.1 x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            &long,
            &many,
            &interim,
            &large,
        ] {
            assert_eq!(parsed(bytes, false).unwrap_err().kind(), io::ErrorKind::InvalidData, "{bytes:.60}");
        }
    }

    #[test]
    fn a_refusal_says_what_the_server_says() {
        let body = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
        let bytes = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let (reply, _) = read(&mut bytes.as_bytes(), false, None).unwrap();
        assert_eq!(reply.refusal(), "the server answers 403 AccessDenied: no");
        let (reply, _) = read(&mut "HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n".as_bytes(), false, None).unwrap();
        assert_eq!(reply.refusal(), "the server answers 502");
    }
}

//! A bucket of an S3 server, this one or any other: what `hafiz recover` writes to. Signed requests, one connection that is
//! used again; bodies are streamed and never held.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use s3::head::Head;
use s3::query::encode_into;
use s3::sigv4::Signer;

use crate::credentials::Credentials;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
const REPLY_TIME_MAX: Duration = Duration::from_secs(180);
/// Bounds what a server makes us hold.
const REPLY_BYTES_MAX: u64 = 1 << 20;
const REPLY_HEADERS_MAX: usize = 200;
/// Signed for bodies that are streamed: their fragments were verified when they were read.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Names and values; names in lower case.
pub(crate) type Headers = Vec<(String, Vec<u8>)>;

pub(crate) struct Remote {
    /// Host and port.
    host: String,
    region: String,
    credentials: Credentials,
    bucket: String,
    connection: Option<BufReader<TcpStream>>,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Headers,
    body: String,
}

/// The bytes of a request, written to the sink that is given.
pub(crate) type Body<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        std::str::from_utf8(value).ok()
    }

    /// Whether an element of this name with this content is in the document.
    pub(crate) fn says(&self, element: &str, content: &str) -> bool {
        self.body.contains(&format!("<{element}>{content}</{element}>"))
    }
}

impl Remote {
    /// Nothing is sent yet. `endpoint` is `http://HOST:PORT`.
    pub(crate) fn new(endpoint: &str, region: &str, bucket: &str, credentials: Credentials) -> Result<Remote, String> {
        let host = endpoint.strip_prefix("http://").map(|host| host.trim_end_matches('/'));
        let host = host.filter(|host| !host.is_empty() && !host.contains('/')).ok_or_else(|| {
            format!("{endpoint}: write http://HOST:PORT; https is not spoken here, a proxy on this machine may do it")
        })?;
        let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        Ok(Remote { host, region: region.to_owned(), credentials, bucket: bucket.to_owned(), connection: None })
    }

    /// `key` empty: the bucket itself. `query` without its question mark. Errors: the connection's; every status is a reply.
    pub(crate) fn ask(&mut self, method: &str, key: &str, query: &str, headers: Headers) -> io::Result<Reply> {
        self.send(method, key, query, headers, 0, &mut |_| Ok(()))
    }

    /// Sends `size` bytes that `body` writes.
    pub(crate) fn put(&mut self, key: &str, headers: Headers, size: u64, body: Body<'_>) -> io::Result<Reply> {
        self.send("PUT", key, "", headers, size, body)
    }

    fn send(
        &mut self,
        method: &str,
        key: &str,
        query: &str,
        headers: Headers,
        size: u64,
        body: Body<'_>,
    ) -> io::Result<Reply> {
        let mut target = String::from("/");
        encode_into(&mut target, self.bucket.as_bytes(), false);
        if !key.is_empty() {
            target.push('/');
            encode_into(&mut target, key.as_bytes(), true);
        }
        if !query.is_empty() {
            target.push('?');
            target.push_str(query);
        }
        let head = self.head(method, &target, headers, size)?;
        if let Some(stream) = self.connection.take() {
            match self.exchange(stream, method, &head, size, body) {
                // A server may close a connection that was idle; what is asked here may be asked twice.
                Err(error) if is_closed(&error) => {}
                outcome => return outcome,
            }
        }
        let stream = self.connect()?;
        self.exchange(stream, method, &head, size, body)
    }

    fn exchange(
        &mut self,
        mut stream: BufReader<TcpStream>,
        method: &str,
        head: &[u8],
        size: u64,
        body: Body<'_>,
    ) -> io::Result<Reply> {
        stream.get_mut().write_all(head)?;
        let mut left = size;
        body(&mut |bytes| {
            left = left.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
            stream.get_mut().write_all(bytes)
        })?;
        if left > 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "fewer bytes than were announced"));
        }
        let (reply, stays) = read_reply(&mut stream, method == "HEAD")?;
        self.connection = stays.then_some(stream);
        Ok(reply)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let address = self.host.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIME_MAX)?;
        stream.set_read_timeout(Some(REPLY_TIME_MAX))?;
        stream.set_write_timeout(Some(REPLY_TIME_MAX))?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }

    fn head(&self, method: &str, target: &str, headers: Headers, size: u64) -> io::Result<Vec<u8>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let signer = Signer::new(&self.credentials.user, &self.credentials.password, &self.region, now);
        let mut signed: Headers = vec![
            ("host".to_owned(), self.host.clone().into_bytes()),
            ("x-amz-content-sha256".to_owned(), UNSIGNED.into()),
            ("x-amz-date".to_owned(), signer.timestamp().into()),
        ];
        signed.extend(headers);
        let fields: Vec<(&str, &[u8])> = signed.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
        let signature = signer
            .sign(&Head { method, target, headers: &fields })
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a header cannot be signed"))?;
        let mut head = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        let length = ("content-length".to_owned(), size.to_string().into_bytes());
        let authorization = ("authorization".to_owned(), signature.authorization.into_bytes());
        for (name, value) in signed.iter().chain([&length, &authorization]) {
            head.extend(name.as_bytes());
            head.extend(b": ");
            head.extend(value);
            head.extend(b"\r\n");
        }
        head.extend(b"\r\n");
        Ok(head)
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// The reply, and whether the connection can be used again.
fn read_reply(stream: &mut BufReader<TcpStream>, is_head: bool) -> io::Result<(Reply, bool)> {
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("the reply is no HTTP: {what}"));
    let mut line = String::new();
    let mut read_line = |stream: &mut BufReader<TcpStream>| {
        line.clear();
        stream.take(REPLY_BYTES_MAX).read_line(&mut line)?;
        Ok::<String, io::Error>(line.trim_end_matches(['\r', '\n']).to_owned())
    };
    let (status, mut headers) = loop {
        let first = read_line(stream)?;
        if first.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
        let status = status.ok_or_else(|| broken(&first))?;
        let mut headers = Headers::new();
        loop {
            let line = read_line(stream)?;
            if line.is_empty() {
                break;
            }
            if headers.len() == REPLY_HEADERS_MAX {
                return Err(broken("too many headers"));
            }
            let (name, value) = line.split_once(':').ok_or_else(|| broken(&line))?;
            headers.push((name.to_ascii_lowercase(), value.trim().as_bytes().to_vec()));
        }
        // `100 Continue` and its kind come before the reply.
        if status >= 200 {
            break (status, headers);
        }
    };
    let mut reply = Reply { status, headers: std::mem::take(&mut headers), body: String::new() };
    let length = reply.header("content-length").and_then(|length| length.parse::<u64>().ok());
    let closes = reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    if is_head || status == 204 {
        return Ok((reply, !closes));
    }
    let mut body = Vec::new();
    stream.take(length.unwrap_or(REPLY_BYTES_MAX).min(REPLY_BYTES_MAX)).read_to_end(&mut body)?;
    reply.body = String::from_utf8_lossy(&body).into_owned();
    Ok((reply, !closes && length == Some(body.len() as u64)))
}

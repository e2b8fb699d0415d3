//! A bucket of an S3 server, this one or any other: what `hafiz recover` and `hafiz backup` write to and `hafiz restore` reads
//! from. Signed requests over one connection that is used again, encrypted or not; bodies are streamed and never held; what
//! fails in passing is asked again, a bounded number of times.

mod reply;

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Trust;
use s3::head::Head;
use s3::query::encode_into;
use s3::sigv4::Signer;

use crate::credentials::Keys;
use crate::trust::{self, Endpoint};

pub(crate) use reply::{Headers, Reply};

/// S3 takes no larger object in one request.
pub(crate) const PUT_BYTES_MAX: u64 = 5 << 30;
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
const REPLY_TIME_MAX: Duration = Duration::from_secs(180);
/// How often something is asked for in all, and the pause behind the first time, which doubles with each: 7.5 s together.
const ATTEMPTS_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 500 });
/// What servers answer that are busy or starting.
const PASSING: [u16; 5] = [429, 500, 502, 503, 504];
/// Signed for bodies whose checksum is not known before they are read.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Where a bucket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) endpoint: String,
    /// PEM files of certificates to believe of https; none = those that the system believes.
    pub(crate) ca: Vec<PathBuf>,
    pub(crate) region: String,
}

pub(crate) struct Remote {
    endpoint: Endpoint,
    /// `None`: without TLS.
    trust: Option<Trust>,
    region: String,
    keys: Keys,
    bucket: String,
    connection: Option<BufReader<Box<dyn Stream>>>,
    /// Since it did answer once, a server that takes no connection is one that starts again.
    has_answered: bool,
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// The bytes of a request, written to the sink that is given. Asked for once for each attempt.
pub(crate) type Body<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;

/// What is known of a body before it is sent.
#[derive(Clone, Copy)]
pub(crate) struct Payload {
    pub(crate) size: u64,
    /// Signed when it is known; then the server refuses other bytes.
    pub(crate) sha256: Option<[u8; 32]>,
}

struct Request<'r> {
    method: &'r str,
    /// Empty: the bucket itself.
    key: &'r str,
    /// Without its question mark.
    query: &'r str,
    headers: Headers,
    payload: Payload,
    body: Body<'r>,
    /// File for the object that is answered, and the most bytes it may have.
    into: Option<(&'r Path, u64)>,
}

const NOTHING: Payload = Payload { size: 0, sha256: None };

impl Remote {
    /// Nothing is sent yet.
    ///
    /// Errors: one line about the endpoint or the certificates.
    pub(crate) fn new(server: &Server, bucket: &str, keys: Keys) -> Result<Remote, String> {
        let endpoint = Endpoint::parse(&server.endpoint)?;
        let trust = endpoint.is_tls.then(|| trust::trust(&server.ca, Vec::new())).transpose()?;
        let (region, bucket) = (server.region.clone(), bucket.to_owned());
        Ok(Remote { endpoint, trust, region, keys, bucket, connection: None, has_answered: false })
    }

    /// `key` empty: the bucket itself. `query` without its question mark. Errors: the connection's; every status is a reply.
    pub(crate) fn ask(&mut self, method: &str, key: &str, query: &str) -> io::Result<Reply> {
        let body = &mut |_: &mut dyn FnMut(&[u8]) -> io::Result<()>| Ok(());
        self.send(Request { method, key, query, headers: Headers::new(), payload: NOTHING, body, into: None })
    }

    /// Sends `payload.size` bytes that `body` writes.
    pub(crate) fn put(&mut self, key: &str, headers: Headers, payload: Payload, body: Body<'_>) -> io::Result<Reply> {
        self.send(Request { method: "PUT", key, query: "", headers, payload, body, into: None })
    }

    /// Writes an object to a file, which is made, or emptied first. With another status than 200 it stays as it was.
    ///
    /// Errors: the connection's, the file's, more than `bytes_max`.
    pub(crate) fn download(&mut self, key: &str, file: &Path, bytes_max: u64) -> io::Result<Reply> {
        let body = &mut |_: &mut dyn FnMut(&[u8]) -> io::Result<()>| Ok(());
        let (headers, into) = (Headers::new(), Some((file, bytes_max)));
        self.send(Request { method: "GET", key, query: "", headers, payload: NOTHING, body, into })
    }

    /// The reply if its status is one of these.
    ///
    /// Errors: what was asked, of what, and what the server says.
    pub(crate) fn expect(&self, reply: Reply, statuses: &[u16], method: &str, key: &str) -> io::Result<Reply> {
        if statuses.contains(&reply.status) {
            return Ok(reply);
        }
        Err(io::Error::other(format!("{}: {}", self.describe(method, key), reply.refusal())))
    }

    fn describe(&self, method: &str, key: &str) -> String {
        let separator = if key.is_empty() { "" } else { "/" };
        format!("{method} {}{separator}{key} at {}", self.bucket, self.endpoint.host)
    }

    fn send(&mut self, mut request: Request<'_>) -> io::Result<Reply> {
        let mut attempts = 0;
        loop {
            let was_open = self.connection.is_some();
            let outcome = self.attempt(&mut request);
            let is_passing = match &outcome {
                Ok(reply) => PASSING.contains(&reply.status),
                Err(error) => is_closed(error) || self.has_answered && error.kind() == io::ErrorKind::ConnectionRefused,
            };
            self.has_answered |= outcome.is_ok();
            // A server may close a connection that was idle: that is no failure.
            if was_open && matches!(&outcome, Err(error) if is_closed(error)) {
                continue;
            }
            attempts += 1;
            if !is_passing || attempts == ATTEMPTS_MAX {
                return outcome.map_err(|error| {
                    let times = if attempts > 1 { format!(" ({attempts} times)") } else { String::new() };
                    let what = match error.kind() {
                        // How a blocking socket says that its time is over.
                        io::ErrorKind::WouldBlock => format!("no answer within {} s", REPLY_TIME_MAX.as_secs()),
                        _ => error.to_string(),
                    };
                    io::Error::new(
                        error.kind(),
                        format!("{}: {what}{times}", self.describe(request.method, request.key)),
                    )
                });
            }
            std::thread::sleep(PAUSE * (1 << (attempts - 1)));
        }
    }

    fn attempt(&mut self, request: &mut Request<'_>) -> io::Result<Reply> {
        let head = self.head(request)?;
        let mut stream = match self.connection.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        match say(stream.get_mut(), &head, request) {
            // A server that refuses a body may say so and close without having read it.
            Err(error) if is_closed(&error) => {
                return reply::read(&mut stream, false, None).map(|(reply, _)| reply).map_err(|_| error);
            }
            outcome => outcome?,
        }
        let is_to_head = request.method == "HEAD";
        let Some((path, bytes_max)) = request.into else {
            let (reply, stays) = reply::read(&mut stream, is_to_head, None)?;
            self.connection = stays.then_some(stream);
            return Ok(reply);
        };
        let (mut file, mut left) = (None, bytes_max);
        let mut keep = |bytes: &[u8]| {
            left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
                io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {bytes_max} bytes"))
            })?;
            let file = match &mut file {
                Some(file) => file,
                None => file.insert(File::create(path)?),
            };
            file.write_all(bytes)
        };
        let (reply, stays) = reply::read(&mut stream, is_to_head, Some(&mut keep))?;
        if reply.status == 200 && file.is_none() {
            // It has no bytes.
            File::create(path)?;
        }
        self.connection = stays.then_some(stream);
        Ok(reply)
    }

    fn connect(&self) -> io::Result<BufReader<Box<dyn Stream>>> {
        let address = self.endpoint.address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIME_MAX)?;
        stream.set_read_timeout(Some(REPLY_TIME_MAX))?;
        stream.set_write_timeout(Some(REPLY_TIME_MAX))?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(match &self.trust {
            None => Box::new(stream),
            Some(trust) => Box::new(trust.encrypt(stream, self.endpoint.name())?),
        }))
    }

    fn head(&self, request: &Request<'_>) -> io::Result<Vec<u8>> {
        let Request { method, key, query, headers, payload, .. } = request;
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
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let credentials = &self.keys.credentials;
        let signer = Signer::new(&credentials.user, &credentials.password, &self.region, now);
        let sha256 = payload.sha256.map(|sha256| sha256.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let sha256 = sha256.unwrap_or_else(|| UNSIGNED.to_owned());
        let mut signed: Headers = vec![
            ("host".to_owned(), self.endpoint.host.clone().into_bytes()),
            ("x-amz-content-sha256".to_owned(), sha256.into_bytes()),
            ("x-amz-date".to_owned(), signer.timestamp().into()),
        ];
        if let Some(token) = &self.keys.token {
            signed.push(("x-amz-security-token".to_owned(), token.clone().into_bytes()));
        }
        signed.extend_from_slice(headers);
        let fields: Vec<(&str, &[u8])> = signed.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
        let signature = signer
            .sign(&Head { method, target: &target, headers: &fields })
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a header cannot be signed"))?;
        let mut head = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        let length = ("content-length".to_owned(), payload.size.to_string().into_bytes());
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

fn say(stream: &mut dyn Stream, head: &[u8], request: &mut Request<'_>) -> io::Result<()> {
    stream.write_all(head)?;
    let mut left = request.payload.size;
    (request.body)(&mut |bytes| {
        left = left.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
        stream.write_all(bytes)
    })?;
    if left > 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "fewer bytes than were announced"));
    }
    stream.flush()
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

#[cfg(test)]
mod tests;

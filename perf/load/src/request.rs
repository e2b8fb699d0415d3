//! Signed requests as bytes.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use s3::checksum::{Algorithm, Checksum};
use s3::head::Head;
use s3::sigv4::Signer;

use crate::arguments::{Arguments, Payload, Signing};

const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const PRESIGNED_SECONDS: u64 = 24 * 3600;
/// A signature is good for 15 minutes: the signer is renewed well before.
const SIGNER_SECONDS_MAX: u64 = 300;
/// Bodies larger than this repeat it, so that a body of any length takes no memory.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;

/// One request, ready to be sent.
pub(crate) struct Request {
    /// Head, and the body as well when it is small.
    pub(crate) front: Rc<[u8]>,
    /// What follows: this block, again and again, for so many bytes.
    pub(crate) block: Rc<[u8]>,
    pub(crate) block_bytes: u64,
    /// A reply to HEAD has a length and no body.
    pub(crate) is_head: bool,
}

/// Signs requests for one endpoint.
pub(crate) struct Requests {
    host: String,
    bucket: String,
    credentials: (String, String),
    signer: Signer,
    signer_since: u64,
    payload: Payload,
    signing: Signing,
    block: Rc<[u8]>,
    nothing: Rc<[u8]>,
}

impl Requests {
    pub(crate) fn new(arguments: &Arguments) -> Requests {
        let credentials = (arguments.access_key.clone(), arguments.secret.clone());
        let now = now();
        // Bytes that do not compress: a xorshift sequence from a fixed seed.
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let block = (0..BLOCK_BYTES / 8).flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        Requests {
            host: arguments.endpoint.clone(),
            bucket: arguments.bucket.clone(),
            signer: Signer::new(&credentials.0, &credentials.1, "us-east-1", now),
            signer_since: now,
            credentials,
            payload: arguments.payload,
            signing: arguments.signing,
            block: block.collect(),
            nothing: Rc::from([]),
        }
    }

    /// A request without a body. `tail`: what follows the bucket in the target, `/key` or `?list-type=2`.
    pub(crate) fn plain(&mut self, method: &str, tail: &str) -> Result<Request, String> {
        let head = if self.signing == Signing::Presigned {
            let target = self.presigned(method, tail)?;
            format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: hafiz-load\r\n\r\n", self.host)
        } else {
            self.head(method, tail, EMPTY_SHA256, None, "")?
        };
        Ok(Request {
            front: head.into_bytes().into(),
            block: self.nothing.clone(),
            block_bytes: 0,
            is_head: method == "HEAD",
        })
    }

    /// A PUT of `len` bytes; `stamp` makes the content of a small body its own.
    pub(crate) fn put(&mut self, tail: &str, len: u64, stamp: u64) -> Result<Request, String> {
        if len > BLOCK_BYTES as u64 {
            let head = self.head("PUT", tail, "UNSIGNED-PAYLOAD", Some(len), "")?;
            let block = self.block.clone();
            return Ok(Request { front: head.into_bytes().into(), block, block_bytes: len, is_head: false });
        }
        let mut body = self.block[..len as usize].to_vec();
        for (byte, stamp) in body.iter_mut().zip(stamp.to_le_bytes()) {
            *byte ^= stamp;
        }
        self.with_body("PUT", tail, &body)
    }

    /// A request whose body is sent together with its head.
    pub(crate) fn with_body(&mut self, method: &str, tail: &str, body: &[u8]) -> Result<Request, String> {
        let hash = match self.payload {
            Payload::Signed => hex(Algorithm::Sha256.digest(body).as_slice()),
            Payload::Unsigned => "UNSIGNED-PAYLOAD".to_owned(),
        };
        // Multi-object deletes demand a checksum.
        let more = if tail == "?delete" {
            let md5 = Checksum::full(Algorithm::Md5, Algorithm::Md5.digest(body));
            format!("Content-MD5: {}\r\n", md5.wire_value(None))
        } else {
            String::new()
        };
        let mut front = self.head(method, tail, &hash, Some(body.len() as u64), &more)?.into_bytes();
        front.extend_from_slice(body);
        Ok(Request { front: front.into(), block: self.nothing.clone(), block_bytes: 0, is_head: false })
    }

    /// `more`: lines that go with a body and are not signed.
    fn head(
        &mut self,
        method: &str,
        tail: &str,
        hash: &str,
        body_len: Option<u64>,
        more: &str,
    ) -> Result<String, String> {
        self.renew();
        let target = format!("/{}{tail}", self.bucket);
        let headers: [(&str, &[u8]); 3] = [
            ("host", self.host.as_bytes()),
            ("x-amz-content-sha256", hash.as_bytes()),
            ("x-amz-date", self.signer.timestamp().as_bytes()),
        ];
        let signed = self.signer.sign(&Head { method, target: &target, headers: &headers });
        let signed = signed.map_err(|error| format!("sign {target}: {error}"))?;
        let length = body_len.map(|len| format!("Content-Length: {len}\r\n{more}")).unwrap_or_default();
        Ok(format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: hafiz-load\r\nAuthorization: {}\r\n\
             X-Amz-Content-Sha256: {hash}\r\nX-Amz-Date: {}\r\n{length}\r\n",
            self.host,
            signed.authorization,
            self.signer.timestamp(),
        ))
    }

    fn presigned(&mut self, method: &str, tail: &str) -> Result<String, String> {
        self.renew();
        let target = format!("/{}{tail}", self.bucket);
        let headers: [(&str, &[u8]); 1] = [("host", self.host.as_bytes())];
        let head = Head { method, target: &target, headers: &headers };
        self.signer.presign(&head, PRESIGNED_SECONDS).map_err(|error| format!("sign {target}: {error}"))
    }

    fn renew(&mut self) {
        let now = now();
        if now - self.signer_since > SIGNER_SECONDS_MAX {
            self.signer = Signer::new(&self.credentials.0, &self.credentials.1, "us-east-1", now);
            self.signer_since = now;
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

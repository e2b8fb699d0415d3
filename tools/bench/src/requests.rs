//! Requests as bytes, signed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use crate::connection::Request;
use crate::content::Content;
use crate::objects::Object;
use crate::plan::{Endpoint, Payload, Plan, Signing};
use crate::reply::Keep;
use crate::sign::{self, EMPTY, Hash, Signer, UNSIGNED, Unsigned};

/// Requests that say the same each time are signed once, so many of them at most.
const READY_MAX: usize = 64 * 1024;
/// A page of keys of 1,024 bytes, with all that a listing says of each.
const PAGE_BYTES_MAX: usize = 4 << 20;
/// What a multi-delete answers when it is not quiet, and what the steps of an upload do.
const ANSWER_BYTES_MAX: usize = 2 << 20;

pub(crate) struct Requests {
    plan: Arc<Plan>,
    content: Arc<Content>,
    signer: Signer,
    /// By method and object number. Of one endpoint and without versions only.
    ready: HashMap<(&'static str, u64), Arc<[u8]>>,
}

/// A request before it is signed.
struct Draft<'a> {
    method: &'static str,
    /// Behind the bucket, not yet encoded; empty for the bucket itself.
    key: &'a str,
    /// Encoded, in order.
    query: &'a str,
    /// Lines that are not signed, each with its end.
    lines: &'a str,
    body: Body<'a>,
}

enum Body<'a> {
    None,
    Bytes(&'a [u8]),
    /// Number and size of an object's content.
    Content(u64, u64),
}

impl Requests {
    pub(crate) fn new(plan: Arc<Plan>, content: Arc<Content>) -> Requests {
        let signer = Signer::new(&plan.access_key, &plan.secret, &plan.region);
        Requests { plan, content, signer, ready: HashMap::new() }
    }

    pub(crate) fn key(&self, number: u64) -> String {
        format!("{}{number:010}", self.plan.prefix)
    }

    pub(crate) fn make_bucket(&mut self, endpoint: &Endpoint) -> Request {
        self.small(endpoint, &Draft { method: "PUT", key: "", query: "", lines: "", body: Body::Bytes(b"") })
    }

    pub(crate) fn enable_versions(&mut self, endpoint: &Endpoint) -> Request {
        let body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        self.with_md5(endpoint, "PUT", "versioning=", body)
    }

    pub(crate) fn put(&mut self, endpoint: &Endpoint, object: &Object) -> Request {
        let key = self.key(object.number);
        let body = Body::Content(object.content, object.size);
        self.large(endpoint, &Draft { method: "PUT", key: &key, query: "", lines: "", body }, object.size)
    }

    pub(crate) fn part(&mut self, endpoint: &Endpoint, object: &Object, id: &str, number: usize, size: u64) -> Request {
        let key = self.key(object.number);
        let query = format!("partNumber={number}&uploadId={}", sign::escape(id));
        let body = Body::Content(object.content + number as u64, size);
        self.large(endpoint, &Draft { method: "PUT", key: &key, query: &query, lines: "", body }, size)
    }

    pub(crate) fn get(&mut self, endpoint: &Endpoint, object: &Object) -> Request {
        let keep = if self.plan.verify { Keep::Compared(object.content) } else { Keep::Nothing };
        Request { front: self.of_object(endpoint, "GET", object), object: None, keep, is_head: false }
    }

    pub(crate) fn head(&mut self, endpoint: &Endpoint, object: &Object) -> Request {
        Request { front: self.of_object(endpoint, "HEAD", object), object: None, keep: Keep::Nothing, is_head: true }
    }

    pub(crate) fn delete(&mut self, endpoint: &Endpoint, object: &Object) -> Request {
        let (key, query) = (self.key(object.number), version_query(object));
        self.small(endpoint, &Draft { method: "DELETE", key: &key, query: &query, lines: "", body: Body::None })
    }

    pub(crate) fn delete_many(&mut self, endpoint: &Endpoint, objects: &[Arc<Object>]) -> Request {
        let mut body = "<Delete><Quiet>true</Quiet>".to_owned();
        for object in objects {
            body += &format!("<Object><Key>{}</Key>", escape_xml(&self.key(object.number)));
            if let Some(version) = &object.version {
                body += &format!("<VersionId>{}</VersionId>", escape_xml(version));
            }
            body += "</Object>";
        }
        body += "</Delete>";
        self.with_md5(endpoint, "POST", "delete=", body.as_bytes())
    }

    /// A page of the keys behind that of `after`.
    pub(crate) fn list(&mut self, endpoint: &Endpoint, after: u64) -> Request {
        let query = format!(
            "list-type=2&max-keys={}&prefix={}&start-after={}",
            self.plan.page,
            sign::escape(&self.plan.prefix),
            sign::escape(&self.key(after)),
        );
        let draft = Draft { method: "GET", key: "", query: &query, lines: "", body: Body::None };
        let front = self.once(endpoint, "LIST", after, &draft);
        Request { front, object: None, keep: Keep::Whole(PAGE_BYTES_MAX), is_head: false }
    }

    pub(crate) fn create_upload(&mut self, endpoint: &Endpoint, object: &Object) -> Request {
        let key = self.key(object.number);
        self.small(endpoint, &Draft { method: "POST", key: &key, query: "uploads=", lines: "", body: Body::Bytes(b"") })
    }

    pub(crate) fn complete_upload(
        &mut self,
        endpoint: &Endpoint,
        object: &Object,
        id: &str,
        etags: &[String],
    ) -> Request {
        let mut body = "<CompleteMultipartUpload>".to_owned();
        for (index, etag) in etags.iter().enumerate() {
            write!(body, "<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>", index + 1, escape_xml(etag))
                .expect("a string takes what is written to it");
        }
        body += "</CompleteMultipartUpload>";
        let (key, query) = (self.key(object.number), format!("uploadId={}", sign::escape(id)));
        let body = Body::Bytes(body.as_bytes());
        self.small(endpoint, &Draft { method: "POST", key: &key, query: &query, lines: "", body })
    }

    pub(crate) fn abort_upload(&mut self, endpoint: &Endpoint, object: &Object, id: &str) -> Request {
        let (key, query) = (self.key(object.number), format!("uploadId={}", sign::escape(id)));
        self.small(endpoint, &Draft { method: "DELETE", key: &key, query: &query, lines: "", body: Body::None })
    }

    fn of_object(&mut self, endpoint: &Endpoint, method: &'static str, object: &Object) -> Arc<[u8]> {
        let (key, query) = (self.key(object.number), version_query(object));
        let draft = Draft { method, key: &key, query: &query, lines: "", body: Body::None };
        if object.version.is_some() {
            return self.front(endpoint, &draft).into();
        }
        self.once(endpoint, method, object.number, &draft)
    }

    /// What says the same each time is signed once.
    fn once(&mut self, endpoint: &Endpoint, method: &'static str, number: u64, draft: &Draft<'_>) -> Arc<[u8]> {
        self.renew();
        if let Some(front) = self.ready.get(&(method, number)) {
            return front.clone();
        }
        let front: Arc<[u8]> = self.front(endpoint, draft).into();
        if self.plan.endpoints.len() == 1 && self.ready.len() < READY_MAX {
            self.ready.insert((method, number), front.clone());
        }
        front
    }

    fn with_md5(&mut self, endpoint: &Endpoint, method: &'static str, query: &str, body: &[u8]) -> Request {
        let lines = format!("Content-MD5: {}\r\n", STANDARD.encode(Md5::digest(body)));
        self.small(endpoint, &Draft { method, key: "", query, lines: &lines, body: Body::Bytes(body) })
    }

    /// A request whose body is sent together with its head.
    fn small(&mut self, endpoint: &Endpoint, draft: &Draft<'_>) -> Request {
        let front = self.front(endpoint, draft).into();
        Request { front, object: None, keep: Keep::Whole(ANSWER_BYTES_MAX), is_head: false }
    }

    fn large(&mut self, endpoint: &Endpoint, draft: &Draft<'_>, size: u64) -> Request {
        let Body::Content(number, _) = draft.body else { unreachable!("a large request has an object's content") };
        let mut front = self.front(endpoint, draft);
        let (stamp, len) = Content::stamp(number, size);
        front.extend_from_slice(&stamp[..len]);
        Request { front: front.into(), object: Some((number, size)), keep: Keep::Nothing, is_head: false }
    }

    /// The head, and a body of bytes.
    fn front(&mut self, endpoint: &Endpoint, draft: &Draft<'_>) -> Vec<u8> {
        self.renew();
        let Draft { method, key, query, lines, body } = draft;
        let slash = if key.is_empty() { "" } else { "/" };
        let path = format!("/{}{slash}{}", self.plan.bucket, sign::escape_path(key));
        let length = match body {
            Body::None => String::new(),
            Body::Bytes(bytes) => format!("Content-Length: {}\r\n", bytes.len()),
            Body::Content(_, size) => format!("Content-Length: {size}\r\n"),
        };
        let unsigned = Unsigned { method, host: &endpoint.host, path: &path, query };
        let can_presign = !matches!(body, Body::Bytes(_));
        let (query, signature) = if self.plan.signing == Signing::Presigned && can_presign {
            (self.signer.query(&unsigned), String::new())
        } else {
            ((*query).to_owned(), self.signer.header(&unsigned, &self.payload(body)))
        };
        let question = if query.is_empty() { "" } else { "?" };
        let mut front = format!(
            "{method} {path}{question}{query} HTTP/1.1\r\nHost: {}\r\nUser-Agent: hafiz-bench\r\n{signature}{length}{lines}\r\n",
            endpoint.host,
        )
        .into_bytes();
        if let Body::Bytes(bytes) = body {
            front.extend_from_slice(bytes);
        }
        front
    }

    fn payload(&self, body: &Body<'_>) -> String {
        let mut hash = Hash::new();
        match body {
            Body::None => return EMPTY.to_owned(),
            _ if self.plan.payload == Payload::Unsigned => return UNSIGNED.to_owned(),
            Body::Bytes(bytes) => hash.update(bytes),
            Body::Content(number, size) => self.content.pieces(*number, *size, |piece| hash.update(piece)),
        }
        hash.finish()
    }

    fn renew(&mut self) {
        if self.signer.renew() {
            self.ready.clear();
        }
    }
}

fn version_query(object: &Object) -> String {
    object.version.as_ref().map_or_else(String::new, |version| format!("versionId={}", sign::escape(version)))
}

fn escape_xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

//! What the fuzzer feeds: every parser of what comes from a socket, every decoder of what lies on a drive.
//!
//! One binary, one link: the variable `TARGET` chooses. Invariants beyond "no panic" stand with each target.

#![no_main]

mod config;
mod policy;
/// The server is a program, not a library: what is fuzzed of it is compiled once more, in place.
#[path = "../../server/src"]
#[allow(dead_code, unused_imports, reason = "most of the settings are read by the server only")]
mod server {
    pub(crate) mod braces;
    pub(crate) mod nearest;
    pub(crate) mod settings;
}

use std::sync::LazyLock;

use http::Limits;
use http::head::{self, Parsed};
use libfuzzer_sys::fuzz_target;
use s3::address::Address;
use s3::chunked::ChunkSigner;
use s3::configuration::{Kind, cors};
use s3::reply::Reply;
use s3::sigv4::{self, SigningKey};
use s3::{copy_source, request, routing, xml};
// As the settings name them.
use server::{braces, nearest};

/// Name and body of each target; `fuzz/run` reads the names from here.
const TARGETS: &[(&str, fn(&[u8]))] = &[
    ("head", http_head),
    ("http_chunked", http_chunked),
    ("request", s3_request),
    ("aws_chunked", aws_chunked),
    ("xml", xml_document),
    ("configuration", configuration),
    ("texts", texts),
    ("config", config::file),
    ("policy", policy::document),
    ("drive_identity", store::fuzz::drive_identity),
    ("topology", store::fuzz::topology),
    ("volume_page", store::fuzz::volume_page),
    ("fragment_header", store::fuzz::fragment_header),
    ("batch", store::fuzz::batch),
    ("record", store::fuzz::record),
    ("upload", store::fuzz::upload),
    ("part", store::fuzz::part),
    ("bucket", store::fuzz::bucket),
    ("settings", ops::fuzz::settings),
    ("index_key", store::fuzz::index_key),
    ("ckpt", store::fuzz::ckpt),
    ("backup_manifest", store::fuzz::backup_manifest),
    ("placed_tables", store::fuzz::placed_tables),
    ("restore_mark", store::fuzz::restore_mark),
    ("drive_places", store::fuzz::drive_places),
    ("scrub_cursor", store::fuzz::scrub_cursor),
    ("lost_stripes", store::fuzz::lost_stripes),
];

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("TARGET").expect("TARGET names what to fuzz");
    let target = TARGETS.iter().find(|(name, _)| *name == wanted);
    target.unwrap_or_else(|| panic!("there is no target {wanted}")).1
});

fuzz_target!(|data: &[u8]| TARGET(data));

/// 2013-05-24T00:00:00Z, the day of the published examples, which the seeds are signed for.
const NOW: u64 = 1_369_353_600;

/// However a head is cut, it is the same head.
fn http_head(data: &[u8]) {
    let limits = Limits::default();
    let whole = head::parse(data, &limits);
    let mut scan = head::Scan::default();
    for cut in [data.len() / 3, data.len() / 2, data.len()] {
        match (scan.advance(&data[..cut], &limits), &whole) {
            (Ok(None), _) => {}
            (Ok(Some(len)), Ok(Parsed::Complete { len: expected, .. })) => {
                assert_eq!(len, *expected);
                break;
            }
            (Ok(Some(len)), Err(_)) => {
                assert!(head::parse_complete(&data[..len]).is_err());
                break;
            }
            (Ok(Some(_)), Ok(Parsed::Partial)) => panic!("a head was found in a part of what has none"),
            (Err(_), whole) => {
                // As a whole it may still be waited for, up to the end of its last line, but never be taken.
                assert!(!matches!(whole, Ok(Parsed::Complete { .. })), "what is refused in part is a head as a whole");
                break;
            }
        }
    }
}

/// However a body is cut, it has the same payload, ends at the same byte, or fails.
fn http_chunked(data: &[u8]) {
    let Some((&piece, body)) = data.split_first() else { return };
    let decode = |piece: usize| {
        let (mut decoder, mut payload, mut taken) = (http::chunked::Decoder::new(), Vec::new(), 0);
        let mut output = [0; 64];
        while taken < body.len() && !decoder.is_done() {
            let end = body.len().min(taken + piece);
            let progress = decoder.decode(&body[taken..end], &mut output)?;
            assert!(progress.consumed > 0 && progress.consumed <= end - taken);
            payload.extend_from_slice(&output[..progress.produced]);
            taken += progress.consumed;
        }
        let trailers = decoder.trailers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect::<Vec<_>>();
        Ok::<_, http::ChunkError>((payload, decoder.is_done().then_some((taken, trailers))))
    };
    assert_eq!(decode(usize::from(piece) + 1), decode(body.len().max(1)));
}

/// A message becomes a typed request or an error of the table; a signature is never right by chance.
fn s3_request(data: &[u8]) {
    let Ok(Parsed::Complete { head, len }) = head::parse(data, &Limits::default()) else { return };
    let fields: Vec<(&str, &[u8])> = head.headers().to_vec();
    // Names come in lower case to the S3 layer.
    let names: Vec<String> = fields.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    let headers: Vec<(&str, &[u8])> =
        names.iter().map(String::as_str).zip(fields.iter().map(|(_, value)| *value)).collect();
    let head = s3::head::Head { method: head.method(), target: head.target(), headers: &headers };
    if let Err(error) = handle(&head, &data[len..]) {
        let reply = Reply::of_error(&error, head.method, head.target, "R", "H");
        assert!((300..=599).contains(&reply.status));
    }
}

fn handle(head: &s3::head::Head<'_>, document: &[u8]) -> Result<(), s3::Error> {
    let address = Address::split(head, &["example.org"])?;
    let route = routing::route(head, &address)?;
    let verified = sigv4::verify(head, &address.query, NOW, "us-east-1", |scope| {
        Some(SigningKey::derive("secret", &scope.date, &scope.region, &scope.service))
    });
    drop(verified);
    let request = match request::parse(route, head, &address)? {
        request::Parsed::Ready(request) => request,
        request::Parsed::AwaitsDocument(awaits) => awaits.read(document)?,
    };
    assert_eq!(request.operation(), route.operation);
    Ok(())
}

/// However a stream is cut, it has the same payload or fails. Signed and unsigned.
fn aws_chunked(data: &[u8]) {
    let [kind, piece, length, body @ ..] = data else { return };
    let decode = |piece: usize| {
        let signer = (kind & 1 != 0).then(|| {
            let key = SigningKey::derive("secret", "20130524", "us-east-1", "s3");
            ChunkSigner::new(key, "20130524T000000Z", "20130524/us-east-1/s3/aws4_request", "seed")
        });
        let trailer = kind & 2 != 0;
        let expected = (kind & 4 != 0).then_some("x-amz-checksum-crc32");
        let mut decoder = s3::chunked::Decoder::new(u64::from(*length), signer, trailer, expected);
        let mut payload = Vec::new();
        for piece in body.chunks(piece) {
            let mut piece = piece.to_vec();
            let len = decoder.decode(&mut piece).ok()?;
            payload.extend_from_slice(&piece[..len]);
        }
        let trailer = decoder.finish().ok()?;
        assert_eq!(payload.len(), usize::from(*length), "a body that counts has its announced length");
        Some((payload, trailer))
    };
    assert_eq!(decode(usize::from(*piece) + 1), decode(body.len().max(1)));
}

fn xml_document(data: &[u8]) {
    for root in ["Delete", "CompleteMultipartUpload", "CreateBucketConfiguration"] {
        let _read = xml::read(data, root);
    }
}

/// What is accepted as the configuration of a bucket is accepted as it is kept. The first letter chooses the kind.
fn configuration(data: &[u8]) {
    let Some((&letter, document)) = data.split_first() else { return };
    let Some(&kind) = Kind::ALL.get(usize::from(letter.wrapping_sub(b'a'))) else { return };
    let Ok(accepted) = s3::configuration::read(kind, document) else { return };
    if accepted.content.is_empty() {
        return;
    }
    let root = kind.root();
    let kept = format!("<{root}>{}</{root}>", accepted.content);
    if kind != Kind::Cors || kept.len() <= cors::DOCUMENT_BYTES_MAX {
        assert_eq!(s3::configuration::read(kind, kept.as_bytes()).as_ref(), Ok(&accepted));
    }
    if kind == Kind::Cors {
        let rules = cors::Rules::of_content(&accepted.content).expect("what is kept can be read");
        let headers: [(&str, &[u8]); 2] = [("origin", document), ("access-control-request-method", b"GET")];
        let head = s3::head::Head { method: "OPTIONS", target: "/b/k", headers: &headers };
        let _answer = cors::preflight(&head, "OBJECT", Some(&rules));
    }
}

/// Single values of headers and queries.
fn texts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(range) = s3::range::RangeSpec::parse(text) {
        for size in [0, 1, 1000, u64::MAX] {
            let _resolved = range.resolve(size);
        }
    }
    let _http = s3::date::parse_http(text);
    let _iso = s3::date::parse_iso8601(text);
    let _basic = s3::date::parse_basic(text);
    let _etag = s3::conditions::parse_etag(text);
    let _query = s3::query::Query::parse(text);
    if let Some(name) = s3::token::decode(text) {
        assert_eq!(s3::token::decode(&s3::token::encode(&name)), Some(name));
    }
    let headers: [(&str, &[u8]); 1] = [("x-amz-copy-source", data)];
    let _source =
        copy_source::CopySource::from_head(&s3::head::Head { method: "PUT", target: "/b/k", headers: &headers });
}

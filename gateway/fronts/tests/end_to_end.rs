//! S3 end to end over loopback: signed requests against a store on six directories.

mod harness;

use std::time::{Duration, Instant};

use harness::{METRICS_TOKEN, Server, pattern};
use s3::checksum::{Algorithm, Checksum};

const MIB: usize = 1024 * 1024;

fn md5(bytes: &[u8]) -> Vec<u8> {
    Algorithm::Md5.digest(bytes).as_slice().to_vec()
}

/// The digest as headers and documents give it.
fn base64(algorithm: Algorithm, bytes: &[u8]) -> String {
    Checksum::full(algorithm, algorithm.digest(bytes)).wire_value(None)
}

fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", codec::hex::encode(&md5(bytes)))
}

#[test]
fn objects_of_every_size_are_put_read_and_deleted() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    client.put("/bucket", b"").ok();
    for len in [0, 1, 4096, 32 << 10, (32 << 10) + 1, 300_000, 5 * MIB + 7] {
        let body = pattern(len, 1);
        let stored = client.send("PUT", "/bucket/dir/a%20key", &[("x-amz-meta-kind", "test")], &body).ok();
        assert_eq!(stored.header("etag"), Some(etag(&body).as_str()));
        let crc = base64(Algorithm::Crc64Nvme, &body);
        assert_eq!(stored.header("x-amz-checksum-crc64nvme"), Some(crc.as_str()));
        let read = client.send("GET", "/bucket/dir/a%20key", &[("x-amz-checksum-mode", "ENABLED")], b"").ok();
        assert!(read.body == body, "{len} bytes");
        assert_eq!(read.header("etag"), Some(etag(&body).as_str()));
        assert_eq!(read.header("x-amz-meta-kind"), Some("test"));
        assert_eq!(read.header("x-amz-checksum-crc64nvme"), Some(crc.as_str()));
        let head = client.send("HEAD", "/bucket/dir/a%20key", &[], b"").ok();
        assert_eq!(head.header("content-length"), Some(len.to_string().as_str()));
        assert!(head.body.is_empty());
    }
    assert_eq!(client.delete("/bucket/dir/a%20key").status, 204);
    client.get("/bucket/dir/a%20key").expect(404, "NoSuchKey");
    let missing = client.send("HEAD", "/bucket/dir/a%20key", &[], b"");
    assert_eq!((missing.status, missing.body.len()), (404, 0));
    assert_eq!(client.delete("/bucket/dir/a%20key").status, 204);
    client.get("/nowhere/key").expect(404, "NoSuchBucket");
}

#[test]
fn buckets_are_made_found_listed_and_deleted_when_empty() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    for name in ["alpha", "beta", "gamma"] {
        client.put(&format!("/{name}"), b"").ok();
    }
    // In us-east-1 making one's own bucket again succeeds.
    client.put("/alpha", b"").ok();
    let there = b"<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint></CreateBucketConfiguration>";
    client.put("/elsewhere", there).expect(400, "InvalidLocationConstraint");
    client.put("/Bad_Name", b"").expect(400, "InvalidBucketName");
    assert_eq!(client.get("/").ok().elements("Name"), ["alpha", "beta", "gamma"]);
    let page = client.get("/?max-buckets=2").ok();
    assert_eq!(page.elements("Name"), ["alpha", "beta"]);
    let token = page.element("ContinuationToken").unwrap().to_owned();
    let page = client.get(&format!("/?continuation-token={token}&max-buckets=2")).ok();
    assert_eq!((page.elements("Name"), page.element("ContinuationToken")), (vec!["gamma"], None));
    assert_eq!(client.send("HEAD", "/beta", &[], b"").ok().header("x-amz-bucket-region"), Some("us-east-1"));
    assert_eq!(client.send("HEAD", "/delta", &[], b"").status, 404);
    assert!(client.get("/beta?location").ok().text().contains("LocationConstraint"));
    let host = [("x-amz-expected-bucket-owner", "someone-else")];
    client.send("GET", "/beta?list-type=2", &host, b"").expect(403, "AccessDenied");
    client.put("/beta/key", b"x").ok();
    client.delete("/beta").expect(409, "BucketNotEmpty");
    client.delete("/beta/key").ok();
    assert_eq!(client.delete("/beta").status, 204);
    client.delete("/beta").expect(404, "NoSuchBucket");
    // By virtual host.
    client.send("PUT", "/k", &[("host", "gamma.s3.test")], b"virtual").ok();
    assert_eq!(client.get("/gamma/k").ok().body, b"virtual");
}

#[test]
fn listings_page_and_fold_common_prefixes() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    client.put("/bucket", b"").ok();
    for i in 0..30 {
        client.put(&format!("/bucket/dir{}/key{i:02}", i % 3), b"x").ok();
    }
    client.put("/bucket/top", b"top").ok();
    let mut keys = Vec::new();
    let mut token = String::new();
    loop {
        let page = client.get(&format!("/bucket?list-type=2&max-keys=7{token}")).ok();
        keys.extend(page.elements("Key").into_iter().map(str::to_owned));
        match page.element("NextContinuationToken") {
            Some(next) => token = format!("&continuation-token={next}"),
            None => break,
        }
    }
    let mut sorted = keys.clone();
    sorted.sort();
    assert_eq!((keys.len(), &keys), (31, &sorted));
    let folded = client.get("/bucket?list-type=2&delimiter=%2F").ok();
    assert_eq!(folded.elements("Key"), ["top"]);
    assert_eq!(folded.element("KeyCount"), Some("4"));
    assert!(folded.text().contains("<CommonPrefixes><Prefix>dir2/</Prefix></CommonPrefixes>"), "{}", folded.text());
    let below = client.get("/bucket?prefix=dir1%2F&marker=dir1%2Fkey20&max-keys=2").ok();
    assert_eq!(below.elements("Key"), ["dir1/key22", "dir1/key25"]);
    assert_eq!(below.element("IsTruncated"), Some("true"));
    client.get("/bucket?list-type=2&max-keys=-1").expect(400, "InvalidArgument");
}

#[test]
fn ranges_parts_conditions_and_overrides_are_answered_as_asked() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    client.put("/bucket", b"").ok();
    let body = pattern(2 * MIB + 100, 3);
    client.put("/bucket/key", &body).ok();
    let etag = etag(&body);
    let get = |headers: harness::Headers<'_>| client.send("GET", "/bucket/key", headers, b"");
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=1048570-1048600", 1_048_570, 1_048_601),
        ("bytes=2097200-", 2_097_200, body.len()),
        ("bytes=-5", body.len() - 5, body.len()),
        ("bytes=5-99999999", 5, body.len()),
    ] {
        let part = get(&[("range", range)]).expect(206, "");
        assert!(part.body == body[start..end], "{range}");
        let expect = format!("bytes {start}-{}/{}", end - 1, body.len());
        assert_eq!(part.header("content-range"), Some(expect.as_str()));
    }
    assert_eq!(get(&[("range", "bytes=0-1,4-5")]).expect(200, "").body.len(), body.len());
    let beyond = get(&[("range", "bytes=99999999-")]).expect(416, "InvalidRange");
    assert_eq!(beyond.header("content-range"), Some(format!("bytes */{}", body.len()).as_str()));
    assert_eq!(get(&[("if-none-match", &etag)]).status, 304);
    get(&[("if-match", "\"00000000000000000000000000000000\"")]).expect(412, "PreconditionFailed");
    get(&[("if-match", &etag)]).expect(200, "");
    let read = client.get("/bucket/key?response-content-type=text%2Fx&response-cache-control=no-store").ok();
    assert_eq!((read.header("content-type"), read.header("cache-control")), (Some("text/x"), Some("no-store")));
    let part = client.get("/bucket/key?partNumber=1").expect(206, "");
    assert_eq!((part.body.len(), part.header("x-amz-mp-parts-count")), (body.len(), None));
    client.get("/bucket/key?partNumber=2").expect(416, "InvalidPartNumber");
    // Writes and deletes on conditions.
    let put = |headers: harness::Headers<'_>| client.send("PUT", "/bucket/key", headers, b"new");
    put(&[("if-none-match", "*")]).expect(412, "PreconditionFailed");
    // A large body is not asked for when its condition has failed already.
    client.send("PUT", "/bucket/key", &[("if-none-match", "*")], &body).expect(412, "PreconditionFailed");
    put(&[("if-match", "\"00000000000000000000000000000000\"")]).expect(412, "PreconditionFailed");
    put(&[("if-match", &etag)]).ok();
    client.send("PUT", "/bucket/other", &[("if-match", "*")], b"x").expect(404, "NoSuchKey");
    client.send("PUT", "/bucket/other", &[("if-none-match", "*")], b"x").ok();
    client.send("DELETE", "/bucket/other", &[("if-match", &etag)], b"").expect(412, "PreconditionFailed");
    assert_eq!(client.send("DELETE", "/bucket/other", &[("if-match", "*")], b"").status, 204);
    assert_eq!(client.send("DELETE", "/bucket/other", &[("if-match", "*")], b"").status, 204);
}

#[test]
fn a_body_that_is_not_as_promised_never_becomes_an_object() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    client.put("/bucket", b"").ok();
    for body in [pattern(100, 5), pattern(3 * MIB, 5)] {
        let hash = codec::hex::encode(&codec::checksum::sha256(&body));
        let send = |headers: harness::Headers<'_>, hash: &str, body: &[u8]| {
            client.send_hashed("PUT", "/bucket/bad", headers, hash, &[], body)
        };
        let mut other = body.clone();
        *other.last_mut().unwrap() ^= 1;
        send(&[], &hash, &other).expect(400, "XAmzContentSHA256Mismatch");
        let right_md5 = base64(Algorithm::Md5, &body);
        send(&[("content-md5", &right_md5)], "UNSIGNED-PAYLOAD", &other).expect(400, "BadDigest");
        send(&[("content-md5", "")], &hash, &body).expect(400, "InvalidDigest");
        for algorithm in Algorithm::ALL {
            let header = s3::checksum::header_name(algorithm);
            let value = base64(algorithm, &body);
            send(&[(header, &value)], "UNSIGNED-PAYLOAD", &other).expect(400, "BadDigest");
        }
        client.get("/bucket/bad").expect(404, "NoSuchKey");
        for algorithm in Algorithm::ALL {
            let header = s3::checksum::header_name(algorithm);
            let value = base64(algorithm, &body);
            let stored = send(&[(header, &value), ("content-md5", &right_md5)], &hash, &body).ok();
            assert_eq!(stored.header(header), Some(value.as_str()));
            client.delete("/bucket/bad").ok();
        }
    }
    // Less than the announced length, then the end.
    let (head, _) = client.head("PUT", "/bucket/bad", &[("content-length", "100")], "UNSIGNED-PAYLOAD");
    let stream = std::net::TcpStream::connect(client.address).unwrap();
    std::io::Write::write_all(&mut &stream, format!("{head}\r\nonly this").as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut reply = String::new();
    std::io::Read::read_to_string(&mut &stream, &mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 400") && reply.contains("IncompleteBody"), "{reply}");
    client.get("/bucket/bad").expect(404, "NoSuchKey");
}

/// Frames a body as `aws-chunked`, signed when there is a signer.
fn chunked(
    body: &[u8],
    chunk_len: usize,
    mut signer: Option<s3::chunked::ChunkSigner>,
    trailer: Option<(&str, &str)>,
) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in body.chunks(chunk_len).chain([&b""[..]]) {
        wire.extend(format!("{:x}", chunk.len()).as_bytes());
        if let Some(signer) = &mut signer {
            let signature = signer.next_chunk(codec::checksum::sha256(chunk));
            wire.extend(format!(";chunk-signature={signature}").as_bytes());
        }
        wire.extend(b"\r\n");
        wire.extend(chunk);
        if !chunk.is_empty() || trailer.is_none() {
            wire.extend(b"\r\n");
        }
    }
    if let Some((name, value)) = trailer {
        wire.extend(format!("{name}:{value}\r\n").as_bytes());
        if let Some(signer) = &mut signer {
            let signature = signer.trailer(&format!("{name}:{value}\n"));
            wire.extend(format!("x-amz-trailer-signature:{signature}\r\n").as_bytes());
        }
        wire.extend(b"\r\n");
    }
    wire
}

#[test]
fn streamed_uploads_are_decoded_and_every_chunk_and_trailer_is_verified() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    client.put("/bucket", b"").ok();
    let body = pattern(MIB + 11, 9);
    let length = body.len().to_string();
    let crc = base64(Algorithm::Crc32c, &body);
    let trailer = ("x-amz-checksum-crc32c", crc.as_str());
    let headers = [("x-amz-decoded-content-length", length.as_str()), ("content-encoding", "gzip,aws-chunked")];
    let with_trailer = [headers[0], headers[1], ("x-amz-trailer", trailer.0)];
    let check = |hash: &str, headers: harness::Headers<'_>, trailer, spoil: Option<usize>, expect: (u16, &str)| {
        let client = server.client();
        let (head, signature) = client.head("PUT", "/bucket/streamed", headers, hash);
        let signer = hash.contains("HMAC").then(|| client.signer().chunks(&signature));
        let mut wire = chunked(&body, 64 << 10, signer, trailer);
        if let Some(from_end) = spoil {
            let at = wire.len() - from_end;
            wire[at] ^= 1;
        }
        let reply = client.raw("PUT", &head, &wire).expect(expect.0, expect.1);
        if expect.0 == 200 {
            let read = client.get("/bucket/streamed").ok();
            assert!(read.body == body);
            assert_eq!(read.header("content-encoding"), Some("gzip"));
            client.delete("/bucket/streamed").ok();
        } else {
            client.get("/bucket/streamed").expect(404, "NoSuchKey");
        }
        reply
    };
    let signed = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    let signed_trailer = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
    let unsigned_trailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    check(signed, &headers, None, None, (200, ""));
    check(signed, &headers, None, Some(MIB / 2), (403, "SignatureDoesNotMatch"));
    let reply = check(signed_trailer, &with_trailer, Some(trailer), None, (200, ""));
    assert_eq!(reply.header("x-amz-checksum-crc32c"), Some(crc.as_str()));
    check(unsigned_trailer, &with_trailer, Some(trailer), None, (200, ""));
    check(unsigned_trailer, &with_trailer, Some(trailer), Some(MIB / 2), (400, "BadDigest"));
    check(unsigned_trailer, &with_trailer, Some((trailer.0, "AAAAAA==")), None, (400, "BadDigest"));
    check(unsigned_trailer, &with_trailer, None, None, (400, "MalformedTrailerError"));
}

#[test]
fn uploads_in_parts_become_one_object() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    client.put("/bucket", b"").ok();
    client.put("/bucket/source", &pattern(6 * MIB, 21)).ok();
    let started = client.send("POST", "/bucket/big?uploads", &[("content-type", "a/b")], b"").ok();
    let upload = started.element("UploadId").unwrap().to_owned();
    let parts = [pattern(5 * MIB, 20), pattern(5 * MIB, 21), pattern(1000, 22)];
    for number in [3, 1] {
        let target = format!("/bucket/big?partNumber={number}&uploadId={upload}");
        client.put(&target, b"an earlier try").ok();
        let stored = client.put(&target, &parts[number - 1]).ok();
        assert_eq!(stored.header("etag"), Some(etag(&parts[number - 1]).as_str()));
    }
    let source = [("x-amz-copy-source", "/bucket/source"), ("x-amz-copy-source-range", "bytes=0-5242879")];
    let target = format!("/bucket/big?partNumber=2&uploadId={upload}");
    let copied = client.send("PUT", &target, &source, b"").ok();
    assert_eq!(copied.element("ETag"), Some(etag(&parts[1]).replace('"', "&quot;").as_str()));
    let listed = client.get(&format!("/bucket/big?uploadId={upload}&max-parts=2")).ok();
    assert_eq!(listed.elements("PartNumber"), ["1", "2"]);
    assert_eq!((listed.element("IsTruncated"), listed.element("NextPartNumberMarker")), (Some("true"), Some("2")));
    assert_eq!(client.get("/bucket?uploads").ok().elements("UploadId"), [upload.as_str()]);
    let document = |numbers: &[usize]| {
        let part = |number: &usize| {
            let tag = etag(&parts[number - 1]);
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
        };
        let parts: String = numbers.iter().map(part).collect();
        format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>").into_bytes()
    };
    let target = format!("/bucket/big?uploadId={upload}");
    let complete =
        |headers: harness::Headers<'_>, numbers: &[usize]| client.send("POST", &target, headers, &document(numbers));
    complete(&[], &[2, 1]).expect(400, "InvalidPartOrder");
    complete(&[], &[3, 1]).expect(400, "InvalidPartOrder");
    complete(&[("x-amz-mp-object-size", "1")], &[1, 2, 3]).expect(400, "InvalidRequest");
    client.get("/bucket/big").expect(404, "NoSuchKey");
    let done = complete(&[("if-none-match", "*")], &[1, 2, 3]).ok();
    let whole = parts.concat();
    let md5s: Vec<u8> = parts.iter().flat_map(|part| md5(part)).collect();
    let tag = format!("\"{}-3\"", codec::hex::encode(&md5(&md5s)));
    assert_eq!(done.element("ETag"), Some(tag.replace('"', "&quot;").as_str()));
    let crc = base64(Algorithm::Crc64Nvme, &whole);
    assert_eq!(done.element("ChecksumCRC64NVME"), Some(crc.as_str()));
    // The client may not have seen the reply.
    complete(&[], &[1, 2, 3]).ok();
    let read = client.get("/bucket/big").ok();
    assert!(read.body == whole);
    assert_eq!((read.header("etag"), read.header("content-type")), (Some(tag.as_str()), Some("a/b")));
    let part = client.get("/bucket/big?partNumber=2").expect(206, "");
    assert!(part.body == parts[1]);
    assert_eq!(part.header("x-amz-mp-parts-count"), Some("3"));
    let facts = [("x-amz-object-attributes", "ETag,ObjectSize,ObjectParts,Checksum")];
    let facts = client.send("GET", "/bucket/big?attributes", &facts, b"").ok();
    assert_eq!(facts.element("ObjectSize"), Some(whole.len().to_string().as_str()));
    assert_eq!(facts.element("PartsCount"), Some("3"));
    client.put(&format!("/bucket/big?partNumber=1&uploadId={upload}"), b"x").expect(404, "NoSuchUpload");
    // Aborted.
    let started = client.send("POST", "/bucket/gone?uploads", &[], b"").ok();
    let target = format!("/bucket/gone?uploadId={}", started.element("UploadId").unwrap());
    assert_eq!(client.delete(&target).status, 204);
    client.delete(&target).expect(404, "NoSuchUpload");
}

#[test]
fn copies_keep_or_replace_what_is_told_of_their_source() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    client.put("/bucket", b"").ok();
    client.put("/other", b"").ok();
    for len in [0, 100, 3 * MIB + 1] {
        let body = pattern(len, 13);
        let headers = [("content-type", "a/b"), ("x-amz-meta-k", "v")];
        client.send("PUT", "/bucket/a%20source", &headers, &body).ok();
        let source = ("x-amz-copy-source", "bucket/a%20source");
        let copied = client.send("PUT", "/other/copy", &[source], b"").ok();
        assert_eq!(copied.element("ETag"), Some(etag(&body).replace('"', "&quot;").as_str()));
        let read = client.get("/other/copy").ok();
        assert!(read.body == body);
        assert_eq!((read.header("content-type"), read.header("x-amz-meta-k")), (Some("a/b"), Some("v")));
        let replace = [source, ("x-amz-metadata-directive", "REPLACE"), ("x-amz-checksum-algorithm", "SHA256")];
        let copied = client.send("PUT", "/other/copy", &replace, b"").ok();
        let sha = base64(Algorithm::Sha256, &body);
        assert_eq!(copied.element("ChecksumSHA256"), Some(sha.as_str()));
        let read = client.get("/other/copy").ok();
        assert!(read.body == body);
        assert_eq!(read.header("x-amz-meta-k"), None);
        let stale = [source, ("x-amz-copy-source-if-none-match", &etag(&body))];
        client.send("PUT", "/other/copy", &stale, b"").expect(412, "PreconditionFailed");
    }
    let itself = [("x-amz-copy-source", "bucket/a%20source")];
    client.send("PUT", "/bucket/a%20source", &itself, b"").expect(400, "InvalidRequest");
    let missing = [("x-amz-copy-source", "bucket/missing")];
    client.send("PUT", "/other/copy", &missing, b"").expect(404, "NoSuchKey");
    let missing = [("x-amz-copy-source", "nowhere/missing")];
    client.send("PUT", "/other/copy", &missing, b"").expect(404, "NoSuchBucket");
}

#[test]
fn many_keys_are_deleted_at_once_and_each_answers_for_itself() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    client.put("/bucket", b"").ok();
    for i in 0..20 {
        client.put(&format!("/bucket/k{i}"), b"x").ok();
    }
    let objects: String = (0..15).map(|i| format!("<Object><Key>k{i}</Key></Object>")).collect();
    let kept = "<Object><Key>k19</Key><ETag>\"00000000000000000000000000000000\"</ETag></Object>";
    let document = format!("<Delete>{objects}{kept}<Object><Key>never</Key></Object></Delete>");
    let delete = |headers: harness::Headers<'_>| client.send("POST", "/bucket?delete", headers, document.as_bytes());
    delete(&[]).expect(400, "InvalidRequest");
    let wrong = base64(Algorithm::Md5, b"another document");
    delete(&[("content-md5", &wrong)]).expect(400, "BadDigest");
    let digest = base64(Algorithm::Md5, document.as_bytes());
    let deleted = delete(&[("content-md5", &digest)]).expect(200, "");
    assert_eq!(deleted.elements("Deleted").len(), 16);
    assert_eq!(deleted.elements("Error").len(), 1);
    assert_eq!(deleted.element("Code"), Some("PreconditionFailed"));
    assert_eq!(client.get("/bucket?list-type=2").ok().elements("Key"), ["k15", "k16", "k17", "k18", "k19"]);
}

#[test]
fn a_request_that_is_not_signed_right_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    client.put("/bucket", b"").ok();
    client.put("/bucket/key", b"secret").ok();
    let anonymous = |headers: harness::Headers<'_>| client.anonymous("GET", "/bucket/key", headers);
    anonymous(&[]).expect(403, "AccessDenied");
    anonymous(&[("authorization", "")]).expect(403, "AccessDenied");
    anonymous(&[("authorization", "AWS4-HMAC-SHA256 nonsense")]).expect(400, "AuthorizationHeaderMalformed");
    client.anonymous("GET", "/", &[]).expect(403, "AccessDenied");
    client.anonymous("PUT", "/bucket/new", &[]).expect(403, "AccessDenied");
    client
        .anonymous("POST", "/bucket?delete", &[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")])
        .expect(403, "AccessDenied");
    let mut stranger = client.clone();
    stranger.access_key = "nobody".into();
    stranger.get("/bucket/key").expect(403, "InvalidAccessKeyId");
    let mut forger = client.clone();
    forger.secret = "not-the-secret".into();
    forger.get("/bucket/key").expect(403, "SignatureDoesNotMatch");
    forger.put("/bucket/new", b"x").expect(403, "SignatureDoesNotMatch");
    for clock_off in [-3600, 3600] {
        let late = harness::Client { clock_off, ..client.clone() };
        late.get("/bucket/key").expect(403, "RequestTimeTooSkewed");
    }
    let empty = codec::hex::encode(&codec::checksum::sha256(b""));
    let added = [("x-amz-meta-added", "on the way")];
    client.send_hashed("PUT", "/bucket/new", &[], &empty, &added, b"").expect(403, "AccessDenied");
    // A signature of one request is of no use for another.
    let (head, _) = client.head("GET", "/bucket/key", &[], &empty);
    client.raw("GET", &head, b"").expect(200, "");
    client.raw("GET", &head.replace("/bucket/key", "/bucket/kez"), b"").expect(403, "SignatureDoesNotMatch");
    client.raw("DELETE", &head.replace("GET ", "DELETE "), b"").expect(403, "SignatureDoesNotMatch");
    // Presigned.
    let host = client.address.to_string();
    let headers: [(&str, &[u8]); 1] = [("host", host.as_bytes())];
    let unsigned = s3::head::Head { method: "GET", target: "/bucket/key", headers: &headers };
    let presigned = client.signer().presign(&unsigned, 60).unwrap();
    assert_eq!(client.anonymous("GET", &presigned, &[]).ok().body, b"secret");
    let old = harness::Client { clock_off: -100, ..client.clone() };
    let expired = old.signer().presign(&unsigned, 60).unwrap();
    client.anonymous("GET", &expired, &[]).expect(403, "AccessDenied");
    client.anonymous("GET", &presigned.replace("/key", "/kez"), &[]).expect(403, "SignatureDoesNotMatch");
    client.get("/bucket/new").expect(404, "NoSuchKey");
    assert_eq!(client.get("/bucket/key").ok().body, b"secret");
}

#[test]
fn what_is_not_provided_or_not_allowed_is_said_so() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    client.put("/bucket", b"").ok();
    client.put("/bucket?replication", b"").expect(501, "NotImplemented");
    client.put("/bucket?versioning", b"").expect(400, "MalformedXML");
    client.get("/bucket?some-new-thing").expect(501, "NotImplemented");
    client.send("POST", "/bucket/key", &[], b"").expect(405, "MethodNotAllowed");
    client.anonymous("GET", "http://h/%", &[("a b", "c")]).expect(400, "");
    let (head, _) = client.head("PUT", "/bucket/key", &[], "UNSIGNED-PAYLOAD");
    let mut stream = std::net::TcpStream::connect(client.address).unwrap();
    std::io::Write::write_all(&mut stream, format!("{head}connection: close\r\n\r\n").as_bytes()).unwrap();
    let mut reply = String::new();
    std::io::Read::read_to_string(&mut stream, &mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 411") && reply.contains("MissingContentLength"), "{reply}");
}

#[test]
fn a_shard_that_has_enough_to_do_says_slow_down_and_stays_alive() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start_with(root.path(), 0);
    let client = server.client();
    let began = Instant::now();
    let refused = client.put("/bucket", b"").expect(503, "SlowDown");
    assert!(began.elapsed() >= Duration::from_millis(100), "whoever asks again at once is slowed down");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(client.anonymous("GET", "/livez", &[]).status, 200);
}

#[test]
fn health_and_metrics_are_answered_beside_s3() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    let client = server.client();
    for (path, status) in [("/livez", 200), ("/minio/health/ready", 200), ("/minio/health/cluster", 503)] {
        assert_eq!(client.anonymous("GET", path, &[]).status, status, "{path}");
    }
    // A signed request is S3's: the name is free for a bucket.
    client.get("/metrics").expect(404, "NoSuchBucket");
    assert_eq!(client.anonymous("GET", "/metrics", &[]).status, 403);
    let bearer = format!("Bearer {METRICS_TOKEN}");
    let metrics = client.anonymous("GET", "/metrics", &[("authorization", &bearer)]).ok();
    assert!(metrics.text().contains("hafiz_s3_requests_total{op=\"ListObjects\",outcome=\"refused\"}"));
}

#[test]
fn many_uploads_at_once_each_keep_their_own_bytes_and_survive_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path());
    server.client().put("/bucket", b"").ok();
    let uploads: Vec<_> = (0..24u64)
        .map(|i| {
            let client = server.client();
            std::thread::spawn(move || {
                for round in 0..4 {
                    let body = pattern(if round == 3 { 700_000 } else { 9_000 } + i as usize, i);
                    let stored = client.put(&format!("/bucket/{i}/{round}"), &body).ok();
                    assert_eq!(stored.header("etag"), Some(etag(&body).as_str()));
                }
            })
        })
        .collect();
    for upload in uploads {
        upload.join().unwrap();
    }
    drop(server);
    let server = Server::start(root.path());
    let client = server.client();
    for i in 0..24u64 {
        let read = client.get(&format!("/bucket/{i}/3")).ok();
        assert!(read.body == pattern(700_000 + i as usize, i), "object {i}");
        assert!(client.get(&format!("/bucket/{i}/0")).ok().body == pattern(9_000 + i as usize, i));
    }
}

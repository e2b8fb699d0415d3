use super::*;
use crate::address::Address;
use crate::body::{BodyCheck, BodyPlan, Digests};

const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const REGION: &str = "us-east-1";
/// 2013-05-24T00:00:00Z, the time of AWS's published examples.
const NOW: u64 = 1_369_353_600;
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const HOST: (&str, &str) = ("Host", "examplebucket.s3.amazonaws.com");
const DATE: (&str, &str) = ("x-amz-date", "20130524T000000Z");
const HASH_EMPTY: (&str, &str) = ("x-amz-content-sha256", EMPTY);

type Lines<'a> = [(&'a str, &'a str)];

fn with_head<T>(method: &str, target: &str, lines: &Lines<'_>, test: impl FnOnce(&Head<'_>) -> T) -> T {
    let headers: Vec<(&str, &[u8])> = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    test(&Head { method, target, headers: &headers })
}

fn verify_at(now: u64, head: &Head<'_>) -> Result<Authentication> {
    let query = Query::parse(head.raw_query())?;
    verify(head, &query, now, REGION, |scope| {
        (scope.access_key == ACCESS_KEY).then(|| SigningKey::derive(SECRET, &scope.date, &scope.region, &scope.service))
    })
}

fn authorization(signed: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,SignedHeaders={signed},\
         Signature={signature}"
    )
}

fn outcome(method: &str, target: &str, lines: &Lines<'_>) -> std::result::Result<Option<String>, Code> {
    with_head(method, target, lines, |head| verify_at(NOW, head))
        .map(|authentication| authentication.into_parts().0)
        .map_err(|error| error.code)
}

fn accepted() -> std::result::Result<Option<String>, Code> {
    Ok(Some(ACCESS_KEY.to_owned()))
}

/// The simplest signed request: AWS's GetBucketLifecycle example.
const LIFECYCLE: &str = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";

#[test]
fn the_published_example_of_get_object_verifies() {
    let auth = authorization(
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
    let lines = [HOST, ("Authorization", &auth), ("Range", "bytes=0-9"), HASH_EMPTY, DATE];
    assert_eq!(outcome("GET", "/test.txt", &lines), accepted());
}

#[test]
fn the_published_example_of_put_object_verifies() {
    let auth = authorization(
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
    let lines = [
        HOST,
        ("Date", "Fri, 24 May 2013 00:00:00 GMT"),
        ("Authorization", &auth),
        DATE,
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
    ];
    assert_eq!(outcome("PUT", "/test%24file.text", &lines), accepted());
    // The canonical path does not depend on how the client escaped it.
    assert_eq!(outcome("PUT", "/test$file.text", &lines), accepted());
    assert_eq!(outcome("PUT", "/test%24file.texx", &lines), Err(Code::SignatureDoesNotMatch));
}

#[test]
fn the_published_examples_of_bucket_requests_verify() {
    let check = |target: &str, signature: &str| {
        let auth = authorization(SIGNED, signature);
        let lines = [HOST, ("Authorization", auth.as_str()), DATE, HASH_EMPTY];
        assert_eq!(outcome("GET", target, &lines), accepted(), "{target}");
    };
    check("/?lifecycle", LIFECYCLE);
    check("/?lifecycle=", LIFECYCLE);
    check("/?max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    check("/?prefix=J&max-keys=2", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

const PRESIGNED: &str = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524\
                         %2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400\
                         &X-Amz-SignedHeaders=host&X-Amz-Signature=\
                         aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

#[test]
fn the_published_presigned_url_verifies_until_it_expires_and_for_its_method_only() {
    let at = |now: u64, method: &str| {
        with_head(method, PRESIGNED, &[HOST], |head| verify_at(now, head))
            .map(|authentication| authentication.into_parts().0)
            .map_err(|error| error.code)
    };
    assert_eq!(at(NOW, "GET"), accepted());
    assert_eq!(at(NOW + 86_400, "GET"), accepted());
    assert_eq!(at(NOW + 86_401, "GET"), Err(Code::AccessDenied));
    assert_eq!(at(NOW - SKEW_SECONDS_MAX, "GET"), accepted());
    assert_eq!(at(NOW - SKEW_SECONDS_MAX - 1, "GET"), Err(Code::AccessDenied));
    assert_eq!(at(NOW, "HEAD"), Err(Code::SignatureDoesNotMatch));
}

#[test]
fn a_presigned_life_is_1_second_to_7_days() {
    let check = |expires: &str, code: Code, status: u16| {
        let target = PRESIGNED.replace("86400", expires);
        let error = with_head("GET", &target, &[HOST], |head| verify_at(NOW, head)).unwrap_err();
        assert_eq!((error.code, error.status()), (code, status), "{expires}");
    };
    check("0", Code::AuthorizationExpiresOutOfRange, 403);
    check("-7", Code::AuthorizationExpiresOutOfRange, 403);
    check("604801", Code::AuthorizationExpiresOutOfRange, 403);
    check("604800", Code::SignatureDoesNotMatch, 403);
    check("x", Code::AuthorizationQueryParametersError, 400);
}

#[test]
fn a_presigned_url_with_a_parameter_missing_doubled_or_added_is_refused() {
    let outcome = |target: &str| outcome("GET", target, &[HOST]);
    for name in ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"] {
        let without = PRESIGNED.replace(&format!("X-Amz-{name}"), "Left-Out");
        assert_eq!(outcome(&without), Err(Code::AuthorizationQueryParametersError), "{name}");
        let doubled = format!("{PRESIGNED}&X-Amz-{name}=x");
        assert_eq!(outcome(&doubled), Err(Code::AuthorizationQueryParametersError), "{name}");
    }
    assert_eq!(outcome(&format!("{PRESIGNED}&response-content-type=a")), Err(Code::SignatureDoesNotMatch));
    let unsigned_header = [HOST, ("x-amz-acl", "public-read")];
    assert_eq!(super::tests::outcome("GET", PRESIGNED, &unsigned_header), Err(Code::AccessDenied));
    assert_eq!(outcome(&format!("{PRESIGNED}&X-Amz-Security-Token=t")), Err(Code::InvalidToken));
}

#[test]
fn a_broken_authorization_is_refused_and_never_anonymous() {
    let check = |authorization: &str, code: Code| {
        let lines = [HOST, ("Authorization", authorization), DATE, HASH_EMPTY];
        assert_eq!(outcome("GET", "/?lifecycle", &lines), Err(code), "{authorization}");
    };
    let good = authorization(SIGNED, LIFECYCLE);
    check("", Code::AccessDenied);
    check(" ", Code::AccessDenied);
    check("AWS HAHAHA", Code::InvalidArgument);
    check("AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=", Code::InvalidRequest);
    check("Bearer x", Code::InvalidArgument);
    check("AWS4-HMAC-SHA256", Code::AuthorizationHeaderMalformed);
    check("AWS4-HMAC-SHA256 Credential=HAHAHA", Code::AuthorizationHeaderMalformed);
    check(&good.replace("Signature=", "X="), Code::AuthorizationHeaderMalformed);
    check(&good.replace("SignedHeaders=", "X="), Code::AuthorizationHeaderMalformed);
    check(&good.replace("us-east-1", "eu-west-1"), Code::AuthorizationHeaderMalformed);
    check(&good.replace("/s3/", "/sqs/"), Code::AuthorizationHeaderMalformed);
    check(&good.replace("20130524", "20130523"), Code::AuthorizationHeaderMalformed);
    check(&good.replace("aws4_request", "aws5_request"), Code::AuthorizationHeaderMalformed);
    check(&good.replace(ACCESS_KEY, "AKIAUNKNOWN"), Code::InvalidAccessKeyId);
    check(&good.replace("host;", ""), Code::AccessDenied);
    check(&good.replace(";x-amz-date", ""), Code::AccessDenied);
    check(&good.replace("fea4", "fea5"), Code::SignatureDoesNotMatch);
    check(&good.replace(LIFECYCLE, "short"), Code::SignatureDoesNotMatch);
    check(&good.replace("SignedHeaders=", "SignedHeaders=expect;"), Code::SignatureDoesNotMatch);
    assert_eq!(
        outcome("GET", &PRESIGNED.replace("/test.txt", "/"), &[HOST, ("Authorization", &good), DATE, HASH_EMPTY]),
        Err(Code::InvalidArgument)
    );
    assert_eq!(outcome("GET", "/k?Signature=x&AWSAccessKeyId=y&Expires=1", &[HOST]), Err(Code::InvalidRequest));
    assert_eq!(outcome("GET", "/k?x-amz-signature=x", &[HOST]), Err(Code::AuthorizationQueryParametersError));
    assert_eq!(outcome("GET", "/k", &[HOST]), Ok(None));
}

#[test]
fn a_wrong_region_names_the_right_one() {
    let auth = authorization(SIGNED, LIFECYCLE).replace("us-east-1", "eu-west-1");
    let lines = [HOST, ("Authorization", auth.as_str()), DATE, HASH_EMPTY];
    let error = with_head("GET", "/?lifecycle", &lines, |head| verify_at(NOW, head)).unwrap_err();
    assert_eq!(error.status(), 400);
    assert!(error.fields.contains(&("Region", REGION.to_owned())));
}

#[test]
fn the_clock_may_be_15_minutes_off_and_x_amz_date_wins_over_date() {
    let auth = authorization(SIGNED, LIFECYCLE);
    let at = |now: u64, lines: &Lines<'_>| {
        with_head("GET", "/?lifecycle", lines, |head| verify_at(now, head)).map(|_| ()).map_err(|error| error.code)
    };
    let lines = [HOST, ("Authorization", auth.as_str()), DATE, HASH_EMPTY];
    assert_eq!(at(NOW + SKEW_SECONDS_MAX, &lines), Ok(()));
    assert_eq!(at(NOW + SKEW_SECONDS_MAX + 1, &lines), Err(Code::RequestTimeTooSkewed));
    assert_eq!(at(NOW - SKEW_SECONDS_MAX - 1, &lines), Err(Code::RequestTimeTooSkewed));
    let both = [HOST, ("Authorization", auth.as_str()), ("Date", "Tue, 07 Jul 2026 21:53:04 GMT"), DATE, HASH_EMPTY];
    assert_eq!(at(NOW, &both), Ok(()));
    for bad in ["", "Bad Date", "20130524"] {
        let lines = [HOST, ("Authorization", auth.as_str()), ("x-amz-date", bad), HASH_EMPTY];
        assert_eq!(at(NOW, &lines), Err(Code::AccessDenied), "{bad}");
    }
    let none = [HOST, ("Authorization", auth.as_str()), HASH_EMPTY];
    assert_eq!(at(NOW, &none), Err(Code::AccessDenied));
}

#[test]
fn a_request_signed_with_date_alone_verifies() {
    let names = ["date".to_owned(), "host".to_owned(), "x-amz-content-sha256".to_owned()];
    let lines = [HOST, ("Date", "Fri, 24 May 2013 00:00:00 GMT"), HASH_EMPTY];
    let signature = with_head("GET", "/k", &lines, |head| {
        let canonical = canonical_request(head, &Query::default(), &names, EMPTY).unwrap();
        let text = string_to_sign("20130524T000000Z", "20130524/us-east-1/s3/aws4_request", &canonical);
        hex::encode(&SigningKey::derive(SECRET, "20130524", REGION, SERVICE).sign(text.as_bytes()))
    });
    let auth = authorization("date;host;x-amz-content-sha256", &signature);
    let lines = [lines[0], lines[1], lines[2], ("Authorization", auth.as_str())];
    assert_eq!(outcome("GET", "/k", &lines), accepted());
}

#[test]
fn the_payload_hash_must_be_said_and_must_be_one() {
    let auth = authorization("host;x-amz-date", LIFECYCLE);
    assert_eq!(outcome("GET", "/", &[HOST, ("Authorization", &auth), DATE]), Err(Code::InvalidRequest));
    let auth = authorization(SIGNED, LIFECYCLE);
    for hash in ["", "abc", "STREAMING-UNSIGNED-PAYLOAD", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"] {
        let lines = [HOST, ("Authorization", auth.as_str()), DATE, ("x-amz-content-sha256", hash)];
        assert_eq!(outcome("GET", "/", &lines), Err(Code::InvalidArgument), "{hash}");
    }
    let signed_chunks = [HOST, ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")];
    assert_eq!(outcome("PUT", "/k", &signed_chunks), Err(Code::AccessDenied));
}

#[test]
fn the_canonical_request_spells_path_query_and_headers_in_one_way() {
    let check = |target: &str, lines: &Lines<'_>, signed: &str, expect: &str| {
        let signed: Vec<String> = signed.split(';').map(str::to_owned).collect();
        let canonical = with_head("GET", target, lines, |head| {
            canonical_request(head, &Query::parse(head.raw_query()).unwrap(), &signed, "UNSIGNED-PAYLOAD").unwrap()
        });
        assert_eq!(canonical, expect, "{target}");
    };
    let tail = "host:h:9000\n\nhost\nUNSIGNED-PAYLOAD";
    let host = [("Host", "h:9000")];
    check("/b//a/./../c%2F d/", &host, "host", &format!("GET\n/b//a/./../c/%20d/\n\n{tail}"));
    check("/b/%e4%bd%a0+=%2b~%7E", &host, "host", &format!("GET\n/b/%E4%BD%A0%2B%3D%2B~~\n\n{tail}"));
    check("/?b=2&a=3&a=1&acl&A=%2f", &host, "host", &format!("GET\n/\nA=%2F&a=1&a=3&acl=&b=2\n{tail}"));
    // A raw plus is a blank, as a form would have it; an escaped one is a plus.
    check("/?p=a+b%20c%2Bd", &host, "host", &format!("GET\n/\np=a%20b%20c%2Bd\n{tail}"));
    // Sorted by the encoded name: `a-` before `a=`, `%` before letters.
    check("/?a-b=1&a=2&%C3%A9=3", &host, "host", &format!("GET\n/\n%C3%A9=3&a=2&a-b=1\n{tail}"));
    let lines = [("Host", "h"), ("X-Amz-Meta-A", "  x   y\tz "), ("x-amz-meta-a", "2"), ("Unsigned", "u")];
    check(
        "/",
        &lines,
        "host;x-amz-meta-a",
        "GET\n/\n\nhost:h\nx-amz-meta-a:x y z,2\n\nhost;x-amz-meta-a\nUNSIGNED-PAYLOAD",
    );
}

#[test]
fn header_bytes_that_are_not_utf_8_are_signed_as_latin_1() {
    let headers: [(&str, &[u8]); 1] = [("x-amz-meta-a", b"caf\xe9")];
    let head = Head { method: "GET", target: "/", headers: &headers };
    let canonical = canonical_request(&head, &Query::default(), &["x-amz-meta-a".to_owned()], "").unwrap();
    assert!(canonical.contains("x-amz-meta-a:caf\u{e9}\n"));
}

/// Feeds `wire` in steps of `step` bytes and returns the payload.
fn receive(head: &Head<'_>, wire: &[u8], step: usize) -> Result<Vec<u8>> {
    let plan = BodyPlan::of_object(head)?;
    let (_, rule) = verify_at(NOW, head)?.into_parts();
    let mut check = BodyCheck::new(&plan, rule, None);
    let mut payload = Vec::new();
    for piece in wire.chunks(step) {
        let mut piece = piece.to_vec();
        let len = check.advance(&mut piece)?;
        payload.extend(&piece[..len]);
    }
    let md5 = crate::checksum::Algorithm::Md5.digest(&payload);
    check.finish(&Digests { md5: md5.as_slice().try_into().unwrap(), sha256: None })?;
    Ok(payload)
}

fn chunk(signature: &str, payload: &[u8]) -> Vec<u8> {
    let mut wire = format!("{:x};chunk-signature={signature}\r\n", payload.len()).into_bytes();
    wire.extend(payload);
    wire.extend(b"\r\n");
    wire
}

#[test]
fn the_published_example_of_signed_chunks_verifies() {
    let auth = authorization(
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
         x-amz-storage-class",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    );
    let lines = [
        ("Host", "s3.amazonaws.com"),
        DATE,
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("Authorization", &auth),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("Content-Encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        ("Content-Length", "66824"),
    ];
    let payload = vec![b'a'; 66_560];
    let wire = [
        chunk("ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648", &payload[..65_536]),
        chunk("0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497", &payload[65_536..]),
        chunk("b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9", b""),
    ]
    .concat();
    assert_eq!(wire.len(), 66_824);
    with_head("PUT", "/examplebucket/chunkObject.txt", &lines, |head| {
        assert_eq!(Address::split(head, &[]).unwrap().key.as_deref(), Some("chunkObject.txt"));
        assert_eq!(receive(head, &wire, 4_096).as_ref(), Ok(&payload));
        let mut wrong = wire.clone();
        wrong[40_000] ^= 1;
        assert_eq!(receive(head, &wrong, 4_096).unwrap_err().code, Code::SignatureDoesNotMatch);
        let cut = &wire[..wire.len() - 90];
        assert_eq!(receive(head, cut, 4_096).unwrap_err().code, Code::IncompleteBody);
    });
}

#[test]
fn the_published_example_of_signed_chunks_with_a_trailer_verifies() {
    let auth = authorization(
        "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;\
         x-amz-trailer",
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    );
    let lines = [
        ("Host", "s3.amazonaws.com"),
        DATE,
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("Authorization", &auth),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
        ("Content-Encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        ("x-amz-trailer", "x-amz-checksum-crc32c"),
        ("Content-Length", "66946"),
    ];
    let payload = vec![b'a'; 66_560];
    let mut wire = [
        chunk("b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2", &payload[..65_536]),
        chunk("1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7", &payload[65_536..]),
        b"0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n".to_vec(),
    ]
    .concat();
    let trailer = "x-amz-checksum-crc32c:sOO8/Q==";
    let signature = "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
    let body = wire.len();
    with_head("PUT", "/examplebucket/chunkObject.txt", &lines, |head| {
        for end in [
            format!("{trailer}\r\n{signature}\r\n\r\n"),
            format!("{trailer}\n\r\n{signature}\r\n\r\n"),
            format!("{trailer}\r\n{signature}\r\n"),
        ] {
            wire.truncate(body);
            wire.extend(end.as_bytes());
            assert_eq!(receive(head, &wire, 1_000).as_ref(), Ok(&payload), "{end}");
        }
        for (end, code) in [
            (format!("{trailer}\r\n\r\n"), Code::MalformedTrailer),
            ("\r\n".to_owned(), Code::MalformedTrailer),
            (format!("{trailer}\r\n{}\r\n\r\n", signature.replace("d81f", "d81e")), Code::SignatureDoesNotMatch),
            (format!("{}\r\n{signature}\r\n\r\n", trailer.replace("sOO", "sOP")), Code::SignatureDoesNotMatch),
        ] {
            wire.truncate(body);
            wire.extend(end.as_bytes());
            assert_eq!(receive(head, &wire, 1_000).unwrap_err().code, code, "{end}");
        }
    });
}

#[test]
fn what_the_signer_signs_verifies() {
    let signer = Signer::new(ACCESS_KEY, SECRET, REGION, NOW);
    let lines = [HOST, DATE, ("x-amz-content-sha256", EMPTY), ("x-amz-meta-\u{61}", " x  y ")];
    let target = "/b/k%20\u{e9}?partNumber=1&uploadId=a+b";
    let signed = with_head("PUT", target, &lines, |head| signer.sign(head)).unwrap();
    let mut with_auth = lines.to_vec();
    with_auth.push(("authorization", &signed.authorization));
    assert_eq!(outcome("PUT", target, &with_auth), accepted());
    let url = with_head("GET", "/b/k?versionId=null", &[HOST], |head| signer.presign(head, 60)).unwrap();
    assert_eq!(outcome("GET", &url, &[HOST]), accepted());
    assert_eq!(outcome("GET", &url, &[("Host", "other")]), Err(Code::SignatureDoesNotMatch));
}

use super::*;

type Lines<'a> = [(&'a str, &'a str)];

fn plan(lines: &Lines<'_>) -> Result<BodyPlan> {
    let headers: Vec<(&str, &[u8])> = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    BodyPlan::of_object(&Head { method: "PUT", target: "/b/k", headers: &headers })
}

fn code(lines: &Lines<'_>) -> Code {
    plan(lines).unwrap_err().code
}

const LENGTH: (&str, &str) = ("Content-Length", "9");
/// Of "123456789".
const MD5: (&str, &str) = ("Content-MD5", "JfnnlDI7RTiF9RgfG2JNCw==");
const CRC32: (&str, &str) = ("x-amz-checksum-crc32", "y/Q5Jg==");
const UNSIGNED_TRAILER: (&str, &str) = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");

#[test]
fn a_length_is_demanded_and_bounded() {
    assert_eq!(code(&[]), Code::MissingContentLength);
    assert_eq!(code(&[("Content-Length", "-1")]), Code::InvalidArgument);
    assert_eq!(code(&[("Content-Length", "")]), Code::InvalidArgument);
    assert_eq!(code(&[("Content-Length", "5368709121")]), Code::EntityTooLarge);
    assert_eq!(plan(&[("Content-Length", "5368709120")]).unwrap().length, OBJECT_BODY_BYTES_MAX);
    // Chunks: only the decoded length counts; transfer coding without a length is fine when it is known.
    assert_eq!(code(&[LENGTH, UNSIGNED_TRAILER]), Code::MissingContentLength);
    let decoded = ("x-amz-decoded-content-length", "9");
    let chunked = plan(&[("Transfer-Encoding", "chunked"), UNSIGNED_TRAILER, decoded]).unwrap();
    assert_eq!((chunked.length, chunked.chunked), (9, true));
    assert_eq!(plan(&[("Transfer-Encoding", "chunked"), decoded]).unwrap().length, 9);
    assert_eq!(code(&[("Transfer-Encoding", "chunked")]), Code::MissingContentLength);
}

#[test]
fn digests_of_the_head_are_checked_for_shape() {
    for value in ["", "short", "JfnnlDI7RTiF9RgfG2JNCw", "JfnnlDI7RTiF9RgfG2JNCwAA"] {
        assert_eq!(code(&[LENGTH, ("Content-MD5", value)]), Code::InvalidDigest, "{value}");
    }
    assert_eq!(code(&[LENGTH, CRC32, ("x-amz-checksum-crc32c", "4waSgw==")]), Code::InvalidRequest);
    assert_eq!(code(&[LENGTH, ("x-amz-sdk-checksum-algorithm", "CRC32")]), Code::InvalidRequest);
    assert_eq!(code(&[LENGTH, CRC32, ("x-amz-sdk-checksum-algorithm", "SHA1")]), Code::InvalidRequest);
    assert_eq!(code(&[LENGTH, CRC32, ("x-amz-sdk-checksum-algorithm", "ROT13")]), Code::InvalidRequest);
    assert_eq!(code(&[LENGTH, ("x-amz-trailer", "x-amz-checksum-crc32")]), Code::InvalidRequest);
    let decoded = ("x-amz-decoded-content-length", "9");
    assert_eq!(code(&[UNSIGNED_TRAILER, decoded, ("x-amz-trailer", "x-other")]), Code::InvalidRequest);
    let both = [UNSIGNED_TRAILER, decoded, CRC32, ("x-amz-trailer", "x-amz-checksum-crc32")];
    assert_eq!(code(&both), Code::InvalidRequest);
    let plan = plan(&[LENGTH, CRC32, ("x-amz-sdk-checksum-algorithm", "crc32")]).unwrap();
    assert_eq!(plan.claim.map(Claim::algorithm), Some(Algorithm::Crc32));
}

/// Sends `wire` as the body of a request with these headers.
fn receive(lines: &Lines<'_>, wire: &[u8], compute: Option<Algorithm>) -> std::result::Result<Option<Checksum>, Code> {
    let headers: Vec<(&str, &[u8])> = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let head = Head { method: "PUT", target: "/b/k", headers: &headers };
    let run = || {
        let hash = PayloadHash::from_head(&head)?.unwrap_or(PayloadHash::Unsigned);
        let mut check = BodyCheck::new(&BodyPlan::of_object(&head)?, BodyRule { hash, signer: None }, compute);
        let mut wire = wire.to_vec();
        let len = check.advance(&mut wire)?;
        let md5 = Algorithm::Md5.digest(&wire[..len]);
        check.finish(&Digests { md5: md5.as_slice().try_into().unwrap(), sha256: None })
    };
    run().map_err(|error: Error| error.code)
}

#[test]
fn a_sha256_that_is_left_to_the_caller_is_compared_all_the_same() {
    let expect = codec::checksum::sha256(b"123456789");
    let finish = |hash, sha256| -> Result<_> {
        let head = Head { method: "PUT", target: "/b/k", headers: &[("content-length", b"9")] };
        let mut check = BodyCheck::new(&BodyPlan::of_object(&head)?, BodyRule { hash, signer: None }, None);
        assert_eq!(check.leave_sha256(), matches!(hash, PayloadHash::Literal(_)));
        assert!(!check.leave_sha256(), "it was left before");
        check.advance(&mut b"123456789".to_vec())?;
        check.finish(&Digests { md5: [0; 16], sha256 })
    };
    let code = |hash, sha256| finish(hash, sha256).map_err(|error| error.code);
    assert_eq!(code(PayloadHash::Literal(expect), Some(expect)), Ok(None));
    assert_eq!(code(PayloadHash::Literal(expect), Some([7; 32])), Err(Code::ContentSha256Mismatch));
    assert_eq!(code(PayloadHash::Unsigned, None), Ok(None));
}

#[test]
fn a_body_must_be_what_every_digest_says() {
    let body = b"123456789";
    let sha256 = "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225";
    let literal = ("x-amz-content-sha256", sha256);
    let crc32 = Checksum::full(Algorithm::Crc32, Algorithm::Crc32.digest(body));
    assert_eq!(receive(&[LENGTH], body, None), Ok(None));
    assert_eq!(receive(&[LENGTH, MD5, CRC32, literal], body, None), Ok(Some(crc32)));
    assert_eq!(receive(&[LENGTH], body, Some(Algorithm::Crc32)), Ok(Some(crc32)));
    let other = b"123456780";
    assert_eq!(receive(&[LENGTH, MD5], other, None), Err(Code::BadDigest));
    assert_eq!(receive(&[LENGTH, CRC32], other, None), Err(Code::BadDigest));
    assert_eq!(receive(&[LENGTH, literal], other, None), Err(Code::ContentSha256Mismatch));
    assert_eq!(receive(&[LENGTH], b"12345678", None), Err(Code::IncompleteBody));
    assert_eq!(receive(&[LENGTH], b"1234567890", None), Err(Code::IncompleteBody));
}

#[test]
fn a_trailing_checksum_is_compared_with_the_payload() {
    let lines = [UNSIGNED_TRAILER, ("x-amz-decoded-content-length", "9"), ("x-amz-trailer", "x-amz-checksum-crc32")];
    let wire = |value: &str| format!("9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:{value}\r\n\r\n").into_bytes();
    let crc32 = Checksum::full(Algorithm::Crc32, Algorithm::Crc32.digest(b"123456789"));
    assert_eq!(receive(&lines, &wire("y/Q5Jg=="), None), Ok(Some(crc32)));
    assert_eq!(receive(&lines, &wire("y/Q5JQ=="), None), Err(Code::BadDigest));
    assert_eq!(receive(&lines, &wire("y/Q5"), None), Err(Code::InvalidRequest));
}

#[test]
fn a_document_is_bounded_checked_and_cut_to_its_payload() {
    let headers: Vec<(&str, &[u8])> = vec![
        ("x-amz-content-sha256", b"STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-decoded-content-length", b"4"),
        ("x-amz-trailer", b"x-amz-checksum-crc32"),
    ];
    let plan = BodyPlan::of_document(&Head { method: "POST", target: "/b?delete", headers: &headers }).unwrap();
    let crc = base64::encode(Algorithm::Crc32.digest(b"<a/>").as_slice());
    let mut wire = format!("4\r\n<a/>\r\n0\r\nx-amz-checksum-crc32:{crc}\r\n\r\n").into_bytes();
    check_document(&plan, BodyRule { hash: PayloadHash::ChunksUnsigned, signer: None }, &mut wire).unwrap();
    assert_eq!(wire, b"<a/>");
    let long: Vec<(&str, &[u8])> = vec![("content-length", b"2097153")];
    let error = BodyPlan::of_document(&Head { method: "POST", target: "/b?delete", headers: &long }).unwrap_err();
    assert_eq!(error.code, Code::MaxMessageLengthExceeded);
    let none = BodyPlan::of_document(&Head { method: "PUT", target: "/b", headers: &[] }).unwrap();
    assert_eq!(none.length, 0);
}

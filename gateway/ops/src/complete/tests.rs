//! Completing, as far as it is decided without the store.

use s3::checksum::Digest;
use s3::request::BucketRef;
use types::{BucketName, ObjectKey, Timestamp, UploadId, WriteCondition};

use super::*;

const BIG: u64 = PART_BYTES_MIN;

fn digest(number: u8) -> Digest {
    Algorithm::Crc32.digest(&[number])
}

fn number(number: u8) -> PartNumber {
    PartNumber::new(number.into()).unwrap()
}

fn part(n: u8, size: u64, algorithm: Algorithm) -> Part {
    Part {
        number: number(n),
        size,
        md5: [n; 16],
        modified: Timestamp(0),
        checksum: Checksum::full(algorithm, algorithm.digest(&[n])).to_attribute(),
        lsn: store::Lsn(n.into()),
    }
}

fn named(n: u8) -> CompletedPart {
    CompletedPart { number: number(n), etag: Etag::from_md5([n; 16]), checksum: None }
}

fn with_crc(n: u8, of: u8) -> CompletedPart {
    CompletedPart { checksum: Some((Algorithm::Crc32, digest(of))), ..named(n) }
}

fn request(parts: Vec<CompletedPart>) -> CompleteMultipartUpload {
    CompleteMultipartUpload {
        bucket: BucketRef { name: BucketName::parse("bucket").unwrap(), expected_owner: None },
        key: ObjectKey::parse("key").unwrap(),
        upload: UploadId(1),
        parts,
        checksum: None,
        checksum_type: None,
        object_size: None,
        condition: WriteCondition::default(),
    }
}

fn check(request: &CompleteMultipartUpload, of_upload: UploadChecksum, found: &[Part], expect: Result<u16, Code>) {
    let assembled = assemble(request, of_upload, found);
    let outcome = assembled.map(|assembled| assembled.etag.parts.unwrap().get()).map_err(|error| error.code);
    assert_eq!(outcome, expect, "{request:?}");
}

#[test]
fn parts_must_be_there_with_their_tags_and_large_enough() {
    let crc64 = Algorithm::Crc64Nvme;
    let found = [part(1, BIG, crc64), part(3, BIG, crc64), part(4, 1, crc64)];
    check(&request(vec![named(1), named(3), named(4)]), None, &found, Ok(3));
    check(&request(vec![named(1), named(4)]), None, &found, Ok(2));
    check(&request(vec![named(4)]), None, &found, Ok(1));
    check(&request(vec![named(1), named(2)]), None, &found, Err(Code::InvalidPart));
    let other = CompletedPart { etag: Etag::from_md5([9; 16]), ..named(1) };
    check(&request(vec![other]), None, &found, Err(Code::InvalidPart));
    let small = [part(1, BIG - 1, crc64), part(2, BIG, crc64)];
    check(&request(vec![named(1), named(2)]), None, &small, Err(Code::EntityTooSmall));
    check(&request(vec![named(1)]), None, &small, Ok(1));
}

#[test]
fn the_tag_is_the_md5_of_the_md5s_and_the_size_must_be_the_one_announced() {
    let crc64 = Algorithm::Crc64Nvme;
    let found = [part(1, BIG, crc64), part(2, 5, crc64)];
    let mut request = request(vec![named(1), named(2)]);
    request.object_size = Some(BIG + 5);
    let assembled = assemble(&request, None, &found).unwrap();
    let expect = Algorithm::Md5.digest(&[[1; 16], [2; 16]].concat());
    assert_eq!(assembled.etag.digest, *expect.as_slice());
    assert_eq!(assembled.checksum.kind, ChecksumType::FullObject);
    assert_eq!(claimed_etag(&request.parts), Some(assembled.etag));
    request.object_size = Some(BIG);
    check(&request, None, &found, Err(Code::InvalidRequest));
}

#[test]
fn a_composite_upload_names_every_checksum_and_each_must_be_right() {
    let composite = Some((Algorithm::Crc32, ChecksumType::Composite));
    let found = [part(1, BIG, Algorithm::Crc32), part(2, 5, Algorithm::Crc32)];
    check(&request(vec![with_crc(1, 1), with_crc(2, 2)]), composite, &found, Ok(2));
    check(&request(vec![with_crc(1, 1), with_crc(2, 1)]), composite, &found, Err(Code::InvalidPart));
    check(&request(vec![with_crc(1, 1), named(2)]), composite, &found, Err(Code::InvalidRequest));
    let full = Some((Algorithm::Crc32, ChecksumType::FullObject));
    check(&request(vec![named(1), named(2)]), full, &found, Ok(2));
    let sha = CompletedPart { checksum: Some((Algorithm::Sha1, Algorithm::Sha1.digest(b"x"))), ..named(1) };
    check(&request(vec![sha]), full, &found, Err(Code::InvalidRequest));
}

#[test]
fn a_checksum_of_the_whole_must_match_in_value_algorithm_type_and_count() {
    let composite = Some((Algorithm::Crc32, ChecksumType::Composite));
    let found = [part(1, BIG, Algorithm::Crc32), part(2, 5, Algorithm::Crc32)];
    let right = assemble(&request(vec![with_crc(1, 1), with_crc(2, 2)]), composite, &found).unwrap().checksum;
    let claim = |algorithm, digest, parts, kind| {
        let mut request = request(vec![with_crc(1, 1), with_crc(2, 2)]);
        request.checksum = Some(ClaimedChecksum { algorithm, digest, parts });
        request.checksum_type = kind;
        request
    };
    let crc32 = Algorithm::Crc32;
    check(&claim(crc32, right.digest, Some(2), None), composite, &found, Ok(2));
    check(&claim(crc32, right.digest, None, Some(ChecksumType::Composite)), composite, &found, Ok(2));
    check(&claim(crc32, right.digest, Some(3), None), composite, &found, Err(Code::BadDigest));
    check(&claim(crc32, digest(9), Some(2), None), composite, &found, Err(Code::BadDigest));
    let sha1 = Algorithm::Sha1.digest(b"x");
    check(&claim(Algorithm::Sha1, sha1, None, None), composite, &found, Err(Code::InvalidRequest));
    let full = Some(ChecksumType::FullObject);
    check(&claim(crc32, right.digest, None, full), composite, &found, Err(Code::InvalidRequest));
}

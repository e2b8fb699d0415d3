use types::{Attribute, Attributes, DeleteCondition, Etag, EtagSet, PartNumber, Timestamp, UploadId};

use super::*;
use crate::address::Address;
use crate::checksum::{Algorithm, ChecksumType};
use crate::range::RangeSpec;
use crate::routing::{self, ROUTES};

type Lines<'a> = [(&'a str, &'a str)];

const LENGTH: (&str, &str) = ("Content-Length", "0");
const UPLOAD: &str = "00000000000000000000000000000001";
const TAG: &str = "d41d8cd98f00b204e9800998ecf8427e";

fn parsed(method: &str, target: &str, lines: &Lines<'_>) -> Result<Parsed> {
    let headers: Vec<(&str, &[u8])> = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let head = Head { method, target, headers: &headers };
    let address = Address::split(&head, &[])?;
    parse(routing::route(&head, &address)?, &head, &address)
}

fn ready(method: &str, target: &str, lines: &Lines<'_>) -> Result<Request> {
    match parsed(method, target, lines)? {
        Parsed::Ready(request) => Ok(request),
        Parsed::AwaitsDocument(awaits) => panic!("{:?} awaits a document", awaits.operation()),
    }
}

fn with_document(method: &str, target: &str, lines: &Lines<'_>, document: &str) -> Result<Request> {
    match parsed(method, target, lines)? {
        Parsed::Ready(request) => panic!("{:?} needs no document", request.operation()),
        Parsed::AwaitsDocument(awaits) => awaits.read(document.as_bytes()),
    }
}

/// Takes the one variant a test is about.
macro_rules! take {
    ($request:expr, $variant:ident) => {
        match $request.unwrap() {
            Request::$variant(request) => *request,
            other => panic!("{other:?}"),
        }
    };
}

fn code<T: std::fmt::Debug>(outcome: Result<T>) -> Code {
    outcome.unwrap_err().code
}

#[test]
fn exactly_the_implemented_operations_of_the_table_parse() {
    for route in ROUTES {
        let query: Vec<&str> = route.needs.to_vec();
        let target = format!("/bucket/key?{}", query.join("&"));
        let head = Head { method: route.method, target: &target, headers: &[] };
        let outcome = parse(route, &head, &Address::split(&head, &[]).unwrap());
        let refused = outcome.is_err_and(|error| error.code == Code::NotImplemented);
        assert_eq!(refused, !route.implemented, "{}", route.name);
    }
    assert_eq!(ROUTES.iter().filter(|route| route.implemented).count(), 75);
}

#[test]
fn names_are_checked_before_anything_acts_on_them() {
    assert_eq!(code(parsed("PUT", "/Bad_Name", &[])), Code::InvalidBucketName);
    assert_eq!(code(ready("GET", "/ab", &[])), Code::InvalidBucketName);
    let long = format!("/bucket/{}", "k".repeat(1_025));
    assert_eq!(code(ready("GET", &long, &[])), Code::KeyTooLong);
    let request = take!(ready("GET", "/bucket/../a//b/", &[("x-amz-expected-bucket-owner", "o")]), GetObject);
    assert_eq!(request.key.as_str(), "../a//b/");
    assert_eq!(request.bucket.expected_owner.as_deref(), Some("o"));
}

#[test]
fn a_put_carries_all_that_its_head_says() {
    let lines = [
        ("Content-Length", "5"),
        ("Content-Type", "text/plain"),
        ("x-amz-meta-Colour", "red"),
        ("x-amz-checksum-crc32", "NhCmhg=="),
        ("If-None-Match", "*"),
        ("x-amz-acl", "private"),
    ];
    let request = take!(ready("PUT", "/bucket/key", &lines), PutObject);
    assert_eq!(request.body.length, 5);
    assert_eq!(request.body.claim.map(|claim| claim.algorithm()), Some(Algorithm::Crc32));
    assert_eq!(request.condition.if_none_match, Some(EtagSet::Any));
    assert_eq!(request.attributes.get_str(Attribute::ContentType), Some("text/plain"));
    let metadata: Vec<_> = request.attributes.iter().filter(|(a, ..)| *a == Attribute::UserMetadata).collect();
    assert_eq!(metadata, [(Attribute::UserMetadata, "colour", b"red".as_slice())]);
}

#[test]
fn what_is_not_provided_is_refused_and_not_left_out() {
    let check = |name: &str, value: &str, expect: Code| {
        assert_eq!(code(ready("PUT", "/bucket/key", &[LENGTH, (name, value)])), expect, "{name}: {value}");
    };
    check("x-amz-server-side-encryption", "AES256", Code::NotImplemented);
    check("X-Amz-Server-Side-Encryption-Customer-Key", "k", Code::NotImplemented);
    check("x-amz-object-lock-mode", "GOVERNANCE", Code::NotImplemented);
    check("x-amz-tagging", "a=b", Code::NotImplemented);
    check("x-amz-write-offset-bytes", "1", Code::NotImplemented);
    check("x-amz-acl", "public-read", Code::AccessControlListNotSupported);
    check("x-amz-acl", "everyone", Code::InvalidArgument);
    check("x-amz-grant-read", "id=1", Code::AccessControlListNotSupported);
    check("x-amz-storage-class", "COLD", Code::InvalidStorageClass);
    let lock = [("x-amz-bucket-object-lock-enabled", "true")];
    assert_eq!(code(parsed("PUT", "/bucket", &lock)), Code::NotImplemented);
    assert!(parsed("PUT", "/bucket", &[("x-amz-bucket-object-lock-enabled", "false")]).is_ok());
    assert_eq!(code(parsed("PUT", "/bucket?acl", &[LENGTH])), Code::NotImplemented);
}

#[test]
fn a_read_says_what_part_of_which_version_it_wants() {
    let request = take!(
        ready("GET", "/bucket/key?versionId=null&response-content-type=a%2Fb", &[("Range", "bytes=1-2")]),
        GetObject
    );
    assert_eq!(request.version, Some(types::VersionId::NULL));
    assert_eq!(request.range, Some(RangeSpec::From { first: 1, last: Some(2) }));
    assert_eq!(code(request.check_anonymous()), Code::InvalidRequest);
    assert_eq!(request.demands()[0].action, "s3:GetObjectVersion");
    let request = take!(ready("HEAD", "/bucket/key?partNumber=7", &[("x-amz-checksum-mode", "ENABLED")]), HeadObject).0;
    assert_eq!((request.part, request.with_checksum), (PartNumber::new(7), true));
    assert_eq!(request.demands()[0].action, "s3:GetObject");
    for target in ["partNumber=0", "partNumber=10001", "partNumber=x", "partNumber=", "versionId=", "versionId=x"] {
        assert_eq!(code(ready("GET", &format!("/bucket/key?{target}"), &[])), Code::InvalidArgument, "{target}");
    }
    let both = ready("GET", "/bucket/key?partNumber=1", &[("Range", "bytes=0-1")]);
    assert_eq!(code(both), Code::InvalidRequest);
}

#[test]
fn listings_cap_their_size_and_refuse_what_is_no_number() {
    let list = |query: &str| ready("GET", &format!("/bucket?{query}"), &[]);
    let page = |query: &str| take!(list(query), ListObjects).page;
    assert_eq!(page("").max_keys, 1_000);
    assert_eq!(page("max-keys=").max_keys, 1_000);
    assert_eq!(page("max-keys=0").max_keys, 0);
    assert_eq!(page("max-keys=5000").max_keys, 1_000);
    assert_eq!(page("delimiter=").delimiter, None);
    assert_eq!(page("delimiter=%2F%2F&prefix=a+b").delimiter.as_deref(), Some("//"));
    assert_eq!(page("delimiter=%2F&prefix=a+b").prefix, "a b");
    assert!(page("encoding-type=url").encoding_url);
    for query in ["max-keys=-1", "max-keys=blah", "max-keys=2147483648", "encoding-type=base64"] {
        assert_eq!(code(list(query)), Code::InvalidArgument, "{query}");
    }
}

#[test]
fn a_continuation_token_is_opaque_and_overrules_start_after() {
    let token = crate::token::encode("k\n1");
    let target = format!("/bucket?list-type=2&start-after=a&continuation-token={token}&fetch-owner=true");
    let request = take!(ready("GET", &target, &[]), ListObjectsV2);
    assert_eq!((request.after(), request.fetch_owner), ("k\n1", true));
    assert_eq!(request.continuation.as_ref().map(|(token, _)| token), Some(&token));
    let request = take!(ready("GET", "/bucket?list-type=2&start-after=a", &[]), ListObjectsV2);
    assert_eq!(request.after(), "a");
    let request = take!(ready("GET", "/bucket?list-type=2&continuation-token=&start-after=b", &[]), ListObjectsV2);
    assert_eq!((request.after(), request.continuation.as_ref().map(|(token, _)| token.as_str())), ("b", Some("")));
    for bad in ["k", "!", "%00"] {
        let outcome = ready("GET", &format!("/bucket?list-type=2&continuation-token={bad}"), &[]);
        assert!(outcome.is_err(), "{bad}");
    }
}

#[test]
fn buckets_are_listed_in_pages() {
    let target = format!("/?max-buckets=2&prefix=b&continuation-token={}", crate::token::encode("b1"));
    let request = take!(ready("GET", &target, &[]), ListBuckets);
    assert_eq!(
        (request.max_buckets, request.after.as_deref(), request.prefix.as_deref()),
        (Some(2), Some("b1"), Some("b"))
    );
    assert_eq!(take!(ready("GET", "/", &[]), ListBuckets).max_buckets, None);
    for bad in ["max-buckets=0", "max-buckets=10001", "max-buckets=x", "continuation-token=x"] {
        assert_eq!(code(ready("GET", &format!("/?{bad}"), &[])), Code::InvalidArgument, "{bad}");
    }
}

#[test]
fn a_bucket_may_name_its_region_and_must_name_the_right_one() {
    let create = |document: &str| with_document("PUT", "/bucket", &[], document);
    let located = |document: &str| take!(create(document), CreateBucket);
    assert_eq!(located("").check_location("us-east-1"), Ok(()));
    let document = "<CreateBucketConfiguration xmlns=\"x\"><LocationConstraint>eu-west-1</LocationConstraint>\
                    </CreateBucketConfiguration>";
    assert_eq!(located(document).check_location("eu-west-1"), Ok(()));
    assert_eq!(code(located(document).check_location("us-east-1")), Code::InvalidLocationConstraint);
    assert_eq!(located("<CreateBucketConfiguration/>").location, None);
    assert_eq!(code(create("<CreateBucketConfiguration>")), Code::MalformedXml);
    let tagged = |tags: &str| create(&format!("<CreateBucketConfiguration>{tags}</CreateBucketConfiguration>"));
    let tags = "<Tag><Key>k</Key><Value>v</Value></Tag>";
    let request = take!(tagged(&format!("<Tags>{tags}</Tags>")), CreateBucket);
    assert_eq!(request.tags, format!("<TagSet>{tags}</TagSet>"));
    assert_eq!(take!(tagged("<Tags/>"), CreateBucket).tags, "");
    assert_eq!(code(tagged(&format!("<Tags>{tags}{tags}</Tags>"))), Code::InvalidTag);
    assert_eq!(code(tagged("<Tags><Tag/></Tags>")), Code::MalformedXml);
    assert_eq!(code(tagged("<Bucket><Type>Directory</Type></Bucket>")), Code::NotImplemented);
}

#[test]
fn a_multi_delete_is_parsed_entry_by_entry() {
    let lines = [LENGTH, ("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")];
    let delete = |document: &str| with_document("POST", "/bucket?delete", &lines, document);
    let document = "<Delete><Quiet>true</Quiet><Object><Key>a&amp;b </Key></Object>\
                    <Object><Key>c</Key><VersionId>null</VersionId><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>\
                    <LastModifiedTime>Sun, 06 Nov 1994 08:49:37 GMT</LastModifiedTime><Size>3</Size></Object>\
                    <Object><Key>d</Key><VersionId>unknown</VersionId></Object></Delete>";
    let request = take!(delete(document), DeleteObjects);
    assert!(request.quiet);
    let [plain, conditional] = &request.entries[..] else { panic!("{request:?}") };
    assert_eq!((plain.key.as_str(), plain.is_conditional()), ("a&b ", false));
    assert_eq!(
        conditional.condition,
        DeleteCondition {
            if_match: Some(EtagSet::OneOf(vec![Etag::parse(TAG).unwrap()])),
            modified: Some(Timestamp(784_111_777_000_000_000)),
            size_bytes: Some(3),
        }
    );
    assert_eq!((request.refused[0].key.as_str(), request.refused[0].error.code), ("d", Code::NoSuchVersion));
    let actions: Vec<_> = request.demands().iter().map(|demand| demand.action).collect();
    assert_eq!(actions, ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObjectVersion"]);

    let many = |count: usize| format!("<Delete>{}</Delete>", "<Object><Key>k</Key></Object>".repeat(count));
    assert_eq!(take!(delete(&many(1_000)), DeleteObjects).entries.len(), 1_000);
    for document in [&many(1_001), &many(0), "<Delete><Object/></Delete>", "<Delete><Quiet>maybe</Quiet></Delete>", ""]
    {
        assert_eq!(code(delete(document)), Code::MalformedXml, "{document:.40}");
    }
    assert_eq!(code(parsed("POST", "/bucket?delete", &[LENGTH])), Code::InvalidRequest);
}

#[test]
fn a_conditional_delete_reads_all_three_conditions() {
    let lines = [
        ("If-Match", TAG),
        ("x-amz-if-match-size", "12"),
        ("x-amz-if-match-last-modified-time", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ];
    let request = take!(ready("DELETE", "/bucket/key", &lines), DeleteObject);
    assert_eq!(request.condition.size_bytes, Some(12));
    assert_eq!(request.condition.modified, Some(Timestamp(784_111_777_000_000_000)));
    assert!(request.condition.if_match.is_some());
    let bad = [("x-amz-if-match-last-modified-time", "soon")];
    assert_eq!(code(ready("DELETE", "/bucket/key", &bad)), Code::InvalidArgument);
}

#[test]
fn a_copy_names_its_source_and_a_self_copy_must_change_something() {
    let copy = |lines: &Lines<'_>| ready("PUT", "/bucket/key", lines);
    let source = ("x-amz-copy-source", "other/k%20y?versionId=null");
    let request = take!(copy(&[source, ("x-amz-copy-source-if-match", TAG)]), CopyObject);
    assert_eq!((request.source.key.as_str(), request.directive), ("k y", MetadataDirective::Copy));
    assert!(request.source_conditions.if_match.is_some());
    let demands: Vec<_> = request.demands().iter().map(|d| (d.action, d.key.unwrap().as_str().to_owned())).collect();
    assert_eq!(demands, [("s3:PutObject", "key".to_owned()), ("s3:GetObjectVersion", "k y".to_owned())]);

    let itself = ("x-amz-copy-source", "/bucket/key");
    assert_eq!(code(copy(&[itself])), Code::InvalidRequest);
    assert_eq!(code(copy(&[itself, ("x-amz-meta-a", "b")])), Code::InvalidRequest);
    for change in [
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-website-redirect-location", "/x"),
        ("x-amz-checksum-algorithm", "SHA256"),
    ] {
        assert!(copy(&[itself, change]).is_ok(), "{change:?}");
    }
    assert!(copy(&[("x-amz-copy-source", "/bucket/key?versionId=null")]).is_ok());
    assert_eq!(code(copy(&[source, ("x-amz-metadata-directive", "MERGE")])), Code::InvalidArgument);
    let mut stored = Attributes::new();
    stored.push(Attribute::ContentType, "", b"a/b");
    assert_eq!(request.attributes_of(&stored), stored);
}

#[test]
fn a_multipart_checksum_type_must_fit_its_algorithm() {
    let create = |lines: &Lines<'_>| ready("POST", "/bucket/key?uploads", lines);
    let check = |algorithm: &str, kind: Option<&str>, expect: Option<ChecksumType>| {
        let mut lines = vec![("x-amz-checksum-algorithm", algorithm)];
        lines.extend(kind.map(|kind| ("x-amz-checksum-type", kind)));
        match expect {
            Some(kind) => {
                let found = take!(create(&lines), CreateMultipartUpload).checksum;
                assert_eq!(found.map(|(_, kind)| kind), Some(kind), "{lines:?}");
            }
            None => assert_eq!(code(create(&lines)), Code::InvalidRequest, "{lines:?}"),
        }
    };
    check("CRC32", None, Some(ChecksumType::Composite));
    check("CRC32C", Some("FULL_OBJECT"), Some(ChecksumType::FullObject));
    check("CRC64NVME", None, Some(ChecksumType::FullObject));
    check("CRC64NVME", Some("COMPOSITE"), None);
    check("SHA256", None, Some(ChecksumType::Composite));
    check("SHA256", Some("FULL_OBJECT"), None);
    check("XXHASH128", Some("COMPOSITE"), Some(ChecksumType::Composite));
    check("ROT13", None, None);
    check("CRC32", Some("HALF"), None);
    assert_eq!(code(create(&[("x-amz-checksum-type", "COMPOSITE")])), Code::InvalidRequest);
}

#[test]
fn parts_have_a_number_and_an_upload() {
    let put = |query: &str| ready("PUT", &format!("/bucket/key?{query}"), &[LENGTH]);
    let request = take!(put(&format!("partNumber=10000&uploadId={UPLOAD}")), UploadPart);
    assert_eq!((request.part.value(), request.upload), (10_000, UploadId(1)));
    assert_eq!(code(put(&format!("partNumber=10001&uploadId={UPLOAD}"))), Code::InvalidArgument);
    assert_eq!(code(put("partNumber=1&uploadId=nonsense")), Code::NoSuchUpload);
    let lines = [("x-amz-copy-source", "other/k"), ("x-amz-copy-source-range", "bytes=0-9")];
    let copy = ready("PUT", &format!("/bucket/key?partNumber=1&uploadId={UPLOAD}"), &lines);
    let copy = take!(copy, UploadPartCopy);
    assert_eq!(copy.range, Some(RangeSpec::From { first: 0, last: Some(9) }));
    assert_eq!(copy.demands().len(), 2);
    let abort = take!(ready("DELETE", &format!("/bucket/key?uploadId={UPLOAD}"), &[]), AbortMultipartUpload);
    assert_eq!(abort.upload, UploadId(1));
}

#[test]
fn a_completion_lists_its_parts_in_order() {
    let complete = |lines: &Lines<'_>, document: &str| {
        let mut all = vec![("Content-Length", "9")];
        all.extend(lines);
        with_document("POST", &format!("/bucket/key?uploadId={UPLOAD}"), &all, document)
    };
    let part = |number: u32| format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{TAG}\"</ETag></Part>");
    let list = |numbers: &[u32]| {
        let parts: String = numbers.iter().map(|number| part(*number)).collect();
        format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
    };
    let lines = [
        ("x-amz-checksum-crc32", "y/Q5Jg==-2"),
        ("x-amz-checksum-type", "COMPOSITE"),
        ("x-amz-mp-object-size", "77"),
        ("If-None-Match", "*"),
    ];
    let request = take!(complete(&lines, &list(&[1, 7])), CompleteMultipartUpload);
    assert_eq!(request.parts.iter().map(|part| part.number.value()).collect::<Vec<_>>(), [1, 7]);
    assert_eq!(request.checksum.and_then(|claimed| claimed.parts), Some(2));
    assert_eq!((request.object_size, request.checksum_type), (Some(77), Some(ChecksumType::Composite)));
    assert!(!request.condition.is_empty());
    let check = |document: &str, expect: Code| assert_eq!(code(complete(&[], document)), expect, "{document}");
    check(&list(&[2, 1]), Code::InvalidPartOrder);
    check(&list(&[1, 1]), Code::InvalidPartOrder);
    check(&list(&[]), Code::MalformedXml);
    check(&list(&[0]), Code::InvalidArgument);
    check("", Code::MalformedXml);
    check(&list(&[1]).replace(TAG, "x"), Code::InvalidPart);
    check(&list(&[1]).replace("</ETag>", "</ETag><ChecksumCRC32>x</ChecksumCRC32>"), Code::InvalidRequest);
    let checksum = list(&[1]).replace("</ETag>", "</ETag><ChecksumCRC32>y/Q5Jg==</ChecksumCRC32>");
    assert!(take!(complete(&[], &checksum), CompleteMultipartUpload).parts[0].checksum.is_some());
}

#[test]
fn attributes_of_an_object_must_be_named() {
    let ask = |lines: &Lines<'_>| ready("GET", "/bucket/key?attributes", lines);
    let lines = [("x-amz-object-attributes", "ETag, ObjectSize"), ("x-amz-object-attributes", "Checksum")];
    let request = take!(ask(&lines), GetObjectAttributes);
    let selection = request.selection;
    assert!(selection.etag && selection.object_size && selection.checksum && !selection.object_parts);
    assert_eq!(code(ask(&[])), Code::InvalidRequest);
    assert_eq!(code(ask(&[("x-amz-object-attributes", "Colour")])), Code::InvalidArgument);
}

#[test]
fn uploads_are_listed_from_a_key_and_an_upload() {
    let list = |query: &str| ready("GET", &format!("/bucket?uploads&{query}"), &[]);
    let target = format!("key-marker=k&upload-id-marker={UPLOAD}&max-uploads=5&delimiter=/");
    let request = take!(list(&target), ListMultipartUploads);
    assert_eq!(
        (request.key_marker.as_str(), request.upload_id_marker, request.max_uploads),
        ("k", Some(UploadId(1)), 5)
    );
    assert_eq!(take!(list("upload-id-marker=x"), ListMultipartUploads).upload_id_marker, None);
    assert_eq!(code(list("key-marker=k&upload-id-marker=x")), Code::InvalidArgument);
    assert_eq!(code(list("max-uploads=0")), Code::InvalidArgument);
    let parts = ready("GET", &format!("/bucket/key?uploadId={UPLOAD}&max-parts=5000&part-number-marker=3"), &[]);
    let parts = take!(parts, ListParts);
    assert_eq!((parts.max_parts, parts.part_number_marker), (1_000, 3));
}

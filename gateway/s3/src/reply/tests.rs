use std::num::NonZeroU16;

use types::{
    Attribute, Attributes, BucketName, Etag, ObjectKey, PartNumber, Timestamp, UploadId, VersionId, Versioning,
};

use super::*;
use crate::address::Address;
use crate::checksum::{Algorithm, Checksum, ChecksumType};
use crate::configuration::Kind;
use crate::head::Head;
use crate::metadata::ResponseOverrides;
use crate::range::ByteRange;
use crate::request::{self, AttributeSelection, Parsed, Request};
use crate::routing;

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const NS: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
/// 1994-11-06T08:49:37.045Z.
const TIME: Timestamp = Timestamp(784_111_777_045_000_000);

fn etag() -> Etag {
    Etag::parse("d41d8cd98f00b204e9800998ecf8427e").unwrap()
}

fn owner() -> Owner {
    Owner { id: "id".into(), display_name: "root".into() }
}

fn crc32() -> Checksum {
    Checksum::full(Algorithm::Crc32, Algorithm::Crc32.digest(b"123456789"))
}

fn body(reply: &Reply) -> &str {
    match &reply.body {
        ReplyBody::Bytes(bytes) => std::str::from_utf8(bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn head_of(reply: &Reply) -> String {
    String::from_utf8(reply.headers.as_bytes().to_vec()).unwrap()
}

fn request(target: &str) -> Request {
    let head = Head { method: "GET", target, headers: &[] };
    let address = Address::split(&head, &[]).unwrap();
    match request::parse(routing::route(&head, &address).unwrap(), &head, &address).unwrap() {
        Parsed::Ready(request) => request,
        Parsed::AwaitsDocument(awaits) => panic!("{awaits:?}"),
    }
}

fn object(key: &str) -> ListedObject {
    ListedObject {
        key: key.into(),
        modified: TIME,
        etag: etag(),
        size: 3,
        storage_class: "STANDARD".into(),
        checksum: None,
    }
}

fn facts() -> ObjectFacts {
    let mut attributes = Attributes::new();
    attributes.push(Attribute::ContentType, "", b"text/plain");
    attributes.push(Attribute::UserMetadata, "a", b"b");
    ObjectFacts { etag: etag(), modified: TIME, size: 10, attributes, checksum: Some(crc32()), version: None }
}

#[test]
fn a_listing_has_the_form_of_s3() {
    let Request::ListObjects(request) = request("/bucket?prefix=a&delimiter=/&marker=m&max-keys=2") else {
        panic!("not a listing");
    };
    let listing =
        Listing { objects: vec![object("a<1>")], common_prefixes: vec!["a/".into()], next: Some("a/".into()) };
    let reply = ListedObjects { owner: owner(), listing }.render(&request);
    assert_eq!((reply.status, head_of(&reply).as_str()), (200, "Content-Type: application/xml\r\n"));
    assert_eq!(
        body(&reply),
        format!(
            "{XML}<ListBucketResult {NS}><Name>bucket</Name><Prefix>a</Prefix><Delimiter>/</Delimiter><MaxKeys>2\
             </MaxKeys><Marker>m</Marker><NextMarker>a/</NextMarker><IsTruncated>true</IsTruncated><Contents><Key>\
             a&lt;1&gt;</Key><LastModified>1994-11-06T08:49:37.045Z</LastModified><ETag>&quot;\
             d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>3</Size><Owner><ID>id</ID><DisplayName>root\
             </DisplayName></Owner><StorageClass>STANDARD</StorageClass></Contents><CommonPrefixes><Prefix>a/</Prefix>\
             </CommonPrefixes></ListBucketResult>"
        )
    );
}

#[test]
fn a_second_version_listing_encodes_names_and_continues_by_token() {
    let target = "/bucket?list-type=2&encoding-type=url&prefix=a+b&start-after=a%0a";
    let Request::ListObjectsV2(request) = request(target) else { panic!("not a listing") };
    let mut listed = object("a b\n%");
    listed.checksum = Some((Algorithm::Crc32, ChecksumType::FullObject));
    let listing = Listing { objects: vec![listed], common_prefixes: vec![], next: Some("a b\n%".into()) };
    let reply = ListedObjectsV2 { owner: owner(), listing }.render(&request);
    assert_eq!(
        body(&reply),
        format!(
            "{XML}<ListBucketResult {NS}><Name>bucket</Name><Prefix>a%20b</Prefix><MaxKeys>1000</MaxKeys><EncodingType>\
             url</EncodingType><KeyCount>1</KeyCount><StartAfter>a%0A</StartAfter><NextContinuationToken>AWEgYgol\
             </NextContinuationToken><IsTruncated>true</IsTruncated><Contents><Key>a%20b%0A%25</Key><LastModified>\
             1994-11-06T08:49:37.045Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>\
             <ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>3</Size>\
             <StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>"
        )
    );
}

#[test]
fn buckets_locations_and_deletes_have_the_form_of_s3() {
    let name = BucketName::parse("bucket").unwrap();
    let listed = ListedBuckets {
        owner: owner(),
        region: "us-east-1".into(),
        buckets: vec![ListedBucket { name: name.clone(), created: TIME }],
        prefix: Some("b".into()),
        truncated: true,
        paged: true,
    };
    assert_eq!(
        body(&listed.render()),
        format!(
            "{XML}<ListAllMyBucketsResult {NS}><Buckets><Bucket><BucketRegion>us-east-1</BucketRegion><CreationDate>\
             1994-11-06T08:49:37.045Z</CreationDate><Name>bucket</Name></Bucket></Buckets><Owner><ID>id</ID>\
             <DisplayName>root</DisplayName></Owner><ContinuationToken>AWJ1Y2tldA</ContinuationToken><Prefix>b\
             </Prefix></ListAllMyBucketsResult>"
        )
    );
    let location = |region: &str| body(&Location { region: region.into() }.render()).to_owned();
    assert_eq!(location("us-east-1"), format!("{XML}<LocationConstraint {NS}></LocationConstraint>"));
    assert_eq!(location("eu-west-1"), format!("{XML}<LocationConstraint {NS}>eu-west-1</LocationConstraint>"));
    assert_eq!(head_of(&Location::render_created(&name)), "Location: /bucket\r\n");

    let entry = |key: &str, error| DeletedEntry { key: key.into(), version: None, marker: None, error };
    let mut deleted =
        Deleted { quiet: false, entries: vec![entry("a", None), entry("b", Some(Error::new(Code::AccessDenied)))] };
    let failed = "<Error><Key>b</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    assert_eq!(
        body(&deleted.render()),
        format!("{XML}<DeleteResult {NS}><Deleted><Key>a</Key></Deleted>{failed}</DeleteResult>")
    );
    deleted.quiet = true;
    assert_eq!(body(&deleted.render()), format!("{XML}<DeleteResult {NS}>{failed}</DeleteResult>"));
}

#[test]
fn a_read_tells_the_object_and_what_of_it_is_sent() {
    let facts = facts();
    let overrides = ResponseOverrides::default();
    let whole =
        ReadObject { facts: &facts, range: None, parts_count: None, overrides: &overrides, with_checksum: true };
    let reply = whole.render();
    assert_eq!((reply.status, &reply.body), (200, &ReplyBody::Object { len: 10 }));
    assert_eq!(
        head_of(&reply),
        "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\n\
         Accept-Ranges: bytes\r\nContent-Type: text/plain\r\nx-amz-meta-a: b\r\nx-amz-checksum-crc32: y/Q5Jg==\r\n\
         x-amz-checksum-type: FULL_OBJECT\r\n"
    );
    let query = crate::query::Query::parse("response-content-type=x%2Fy&response-content-encoding=br").unwrap();
    let overrides = ResponseOverrides::from_query(&query).unwrap();
    let range = Some(ByteRange { start: 2, len: 3 });
    let part = ReadObject { facts: &facts, range, parts_count: Some(4), overrides: &overrides, with_checksum: true };
    let reply = part.render();
    assert_eq!((reply.status, &reply.body), (206, &ReplyBody::Object { len: 3 }));
    let get = |name| reply.headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
    assert_eq!(get("content-range").as_deref(), Some("bytes 2-4/10"));
    assert_eq!(get("x-amz-mp-parts-count").as_deref(), Some("4"));
    assert_eq!(get("content-type").as_deref(), Some("x/y"));
    assert_eq!(get("content-encoding").as_deref(), Some("br"));
    assert_eq!(get("x-amz-checksum-crc32"), None);
    let reply = part.render_not_modified();
    assert_eq!((reply.status, &reply.body), (304, &ReplyBody::Empty));
    assert!(reply.headers.get("etag").is_some());
}

#[test]
fn writes_copies_and_deletes_tell_what_became_of_the_object() {
    let stored = StoredObject { etag: etag(), checksum: Some(crc32()), version: Some(VersionId(10)) };
    assert_eq!(
        head_of(&stored.render()),
        "ETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\nx-amz-checksum-crc32: y/Q5Jg==\r\nx-amz-checksum-type: \
         FULL_OBJECT\r\nx-amz-version-id: 000000000000000a\r\n"
    );
    let part = StoredPart { etag: etag(), checksum: Some(crc32()) };
    assert!(!head_of(&part.render()).contains("checksum-type"));
    let deleted = DeletedObject { version: Some(VersionId::NULL), delete_marker: true }.render();
    assert_eq!(
        (deleted.status, head_of(&deleted).as_str()),
        (204, "x-amz-delete-marker: true\r\nx-amz-version-id: null\r\n")
    );
    let copied = Copied { etag: etag(), modified: TIME, checksum: None, version: None, source_version: None };
    assert_eq!(
        body(&copied.render()),
        format!(
            "{XML}<CopyObjectResult {NS}><LastModified>1994-11-06T08:49:37.045Z</LastModified><ETag>&quot;\
             d41d8cd98f00b204e9800998ecf8427e&quot;</ETag></CopyObjectResult>"
        )
    );
}

#[test]
fn a_multipart_upload_has_the_form_of_s3_from_start_to_end() {
    let (bucket, key) = (BucketName::parse("bucket").unwrap(), ObjectKey::parse("a b").unwrap());
    let checksum = Some((Algorithm::Crc32, ChecksumType::Composite));
    let reply = StartedUpload { bucket: &bucket, key: &key, upload: UploadId(1), checksum }.render();
    assert_eq!(
        body(&reply),
        format!(
            "{XML}<InitiateMultipartUploadResult {NS}><Bucket>bucket</Bucket><Key>a b</Key><UploadId>\
             00000000000000000000000000000001</UploadId></InitiateMultipartUploadResult>"
        )
    );
    assert!(head_of(&reply).contains("x-amz-checksum-type: COMPOSITE"));

    let etag = Etag { parts: NonZeroU16::new(2), ..etag() };
    let checksum = Checksum { kind: ChecksumType::Composite, ..crc32() };
    let completed = Completed {
        location: "http://h/bucket/a%20b".into(),
        bucket: &bucket,
        key: &key,
        etag,
        checksum: Some(checksum),
        version: None,
    };
    assert_eq!(
        body(&completed.render()),
        format!(
            "{XML}<CompleteMultipartUploadResult {NS}><Location>http://h/bucket/a%20b</Location><Bucket>bucket</Bucket>\
             <Key>a b</Key><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e-2&quot;</ETag><ChecksumCRC32>y/Q5Jg==-2\
             </ChecksumCRC32><ChecksumType>COMPOSITE</ChecksumType></CompleteMultipartUploadResult>"
        )
    );

    let target = format!("/bucket/a%20b?uploadId={}&max-parts=1", UploadId(1));
    let Request::ListParts(parts) = request(&target) else { panic!("not ListParts") };
    let part =
        ListedPart { number: PartNumber::new(3).unwrap(), modified: TIME, etag, size: 5, checksum: Some(crc32()) };
    let listed = ListedParts {
        owner: owner(),
        storage_class: "STANDARD".into(),
        checksum: Some((Algorithm::Crc32, ChecksumType::Composite)),
        parts: vec![part],
        truncated: true,
    };
    assert_eq!(
        body(&listed.render(&parts)),
        format!(
            "{XML}<ListPartsResult {NS}><Bucket>bucket</Bucket><Key>a b</Key><UploadId>\
             00000000000000000000000000000001</UploadId><Initiator><ID>id</ID><DisplayName>root</DisplayName>\
             </Initiator><Owner><ID>id</ID><DisplayName>root</DisplayName></Owner><StorageClass>STANDARD\
             </StorageClass><PartNumberMarker>0</PartNumberMarker><NextPartNumberMarker>3</NextPartNumberMarker>\
             <MaxParts>1</MaxParts><IsTruncated>true</IsTruncated><ChecksumAlgorithm>CRC32</ChecksumAlgorithm>\
             <ChecksumType>COMPOSITE</ChecksumType><Part><PartNumber>3</PartNumber><LastModified>\
             1994-11-06T08:49:37.045Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e-2&quot;</ETag><Size>5\
             </Size><ChecksumCRC32>y/Q5Jg==</ChecksumCRC32></Part></ListPartsResult>"
        )
    );

    let Request::ListMultipartUploads(uploads) = request("/bucket?uploads&delimiter=/&key-marker=k") else {
        panic!("not ListMultipartUploads")
    };
    let upload = ListedUpload {
        key: "key".into(),
        upload: UploadId(1),
        initiated: TIME,
        storage_class: "STANDARD".into(),
        checksum: None,
    };
    let listed = ListedUploads {
        owner: owner(),
        uploads: vec![upload],
        common_prefixes: vec!["p/".into()],
        next: Some(("p/".into(), None)),
    };
    assert_eq!(
        body(&listed.render(&uploads)),
        format!(
            "{XML}<ListMultipartUploadsResult {NS}><Bucket>bucket</Bucket><KeyMarker>k</KeyMarker><UploadIdMarker>\
             </UploadIdMarker><NextKeyMarker>p/</NextKeyMarker><NextUploadIdMarker></NextUploadIdMarker><Prefix>\
             </Prefix><Delimiter>/</Delimiter><MaxUploads>1000</MaxUploads><IsTruncated>true</IsTruncated><Upload>\
             <Key>key</Key><UploadId>00000000000000000000000000000001</UploadId><Initiator><ID>id</ID><DisplayName>\
             root</DisplayName></Initiator><Owner><ID>id</ID><DisplayName>root</DisplayName></Owner><StorageClass>\
             STANDARD</StorageClass><Initiated>1994-11-06T08:49:37.045Z</Initiated></Upload><CommonPrefixes><Prefix>\
             p/</Prefix></CommonPrefixes></ListMultipartUploadsResult>"
        )
    );
}

#[test]
fn selected_attributes_tell_no_more_than_was_asked() {
    let mut facts = facts();
    facts.etag.parts = NonZeroU16::new(2);
    facts.checksum = Some(Checksum { kind: ChecksumType::Composite, ..crc32() });
    let parts = ObjectPartsPage {
        total: 2,
        part_number_marker: 0,
        max_parts: 1,
        truncated: true,
        parts: vec![ObjectPart { number: PartNumber::new(1).unwrap(), size: 5, checksum: Some(crc32()) }],
    };
    let render = |selection| {
        body(&SelectedAttributes { facts: &facts, selection, parts: Some(parts.clone()) }.render()).to_owned()
    };
    let none = AttributeSelection::default();
    let all =
        AttributeSelection { etag: true, checksum: true, object_parts: true, storage_class: true, object_size: true };
    assert_eq!(
        render(AttributeSelection { object_size: true, ..none }),
        format!("{XML}<GetObjectAttributesResponse {NS}><ObjectSize>10</ObjectSize></GetObjectAttributesResponse>")
    );
    assert_eq!(
        render(all),
        format!(
            "{XML}<GetObjectAttributesResponse {NS}><ETag>d41d8cd98f00b204e9800998ecf8427e-2</ETag><Checksum>\
             <ChecksumCRC32>y/Q5Jg==</ChecksumCRC32><ChecksumType>COMPOSITE</ChecksumType></Checksum><ObjectParts>\
             <PartsCount>2</PartsCount><PartNumberMarker>0</PartNumberMarker><NextPartNumberMarker>1\
             </NextPartNumberMarker><MaxParts>1</MaxParts><IsTruncated>true</IsTruncated><Part><ChecksumCRC32>y/Q5Jg==\
             </ChecksumCRC32><PartNumber>1</PartNumber><Size>5</Size></Part></ObjectParts><StorageClass>STANDARD\
             </StorageClass><ObjectSize>10</ObjectSize></GetObjectAttributesResponse>"
        )
    );
}

#[test]
fn an_error_has_the_same_id_in_head_and_body_and_no_body_for_head_and_304() {
    let error = Error::new(Code::NoSuchKey).field("Key", "k");
    let reply = Reply::of_error(&error, "GET", "/b/k", "R1", "H1");
    assert_eq!(reply.status, 404);
    assert_eq!(reply.headers.get("x-amz-request-id"), Some(b"R1".as_slice()));
    assert!(body(&reply).contains("<Key>k</Key><Resource>/b/k</Resource><RequestId>R1</RequestId><HostId>H1</HostId>"));
    let head = Reply::of_error(&error, "HEAD", "/b/k", "R1", "H1");
    assert_eq!((head.status, &head.body), (404, &ReplyBody::Empty));
    assert!(head.headers.get("content-type").is_none());
    let not_modified = Reply::of_error(&Error::new(Code::NotModified), "GET", "/b/k", "R1", "H1");
    assert_eq!(not_modified.body, ReplyBody::Empty);
    let range = Reply::of_error(&crate::range::unsatisfiable(10), "GET", "/b/k", "R1", "H1");
    assert_eq!((range.status, range.headers.get("content-range")), (416, Some(b"bytes */10".as_slice())));
    let slow = Reply::of_error(&Error::new(Code::SlowDown), "GET", "/b/k", "R1", "H1");
    assert_eq!((slow.status, slow.headers.get("retry-after")), (503, Some(b"1".as_slice())));
}

#[test]
fn a_version_listing_tells_versions_from_delete_markers() {
    let Request::ListObjectVersions(request) =
        request("/bucket?versions&max-keys=2&key-marker=a&version-id-marker=null&encoding-type=url")
    else {
        panic!("another request");
    };
    let version = |key: &str, version, is_latest, delete_marker| ListedVersion {
        object: object(key),
        version: VersionId(version),
        is_latest,
        delete_marker,
    };
    let versions = vec![version("b c", 7, true, true), version("b c", 0, false, false)];
    let mut listed = ListedVersions {
        owner: owner(),
        versions,
        common_prefixes: vec!["d/".into()],
        next: Some(("d/".into(), None)),
    };
    let xml = body(&listed.render(&request)).to_owned();
    let marker = "<DeleteMarker><Key>b%20c</Key><VersionId>0000000000000007</VersionId><IsLatest>true</IsLatest>\
                  <LastModified>";
    assert!(xml.contains(marker), "{xml}");
    let version =
        "</Owner></DeleteMarker><Version><Key>b%20c</Key><VersionId>null</VersionId><IsLatest>false</IsLatest>";
    assert!(xml.contains(version), "{xml}");
    let page =
        "<KeyMarker>a</KeyMarker><VersionIdMarker>null</VersionIdMarker><NextKeyMarker>d/</NextKeyMarker><MaxKeys>2";
    assert!(xml.contains(page), "{xml}");
    assert!(xml.contains("<CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes></ListVersionsResult>"), "{xml}");
    listed.next = Some(("b c".into(), Some(VersionId(9))));
    let xml = body(&listed.render(&request)).to_owned();
    let next = "<NextKeyMarker>b%20c</NextKeyMarker><NextVersionIdMarker>0000000000000009</NextVersionIdMarker>";
    assert!(xml.contains(next), "{xml}");
}

#[test]
fn the_versioning_of_a_bucket_is_empty_until_it_was_set() {
    let check = |versioning, expect: &str| {
        let expect = format!("{XML}<VersioningConfiguration {NS}>{expect}</VersioningConfiguration>");
        assert_eq!(body(&render_versioning(versioning)), expect);
    };
    check(Versioning::Unversioned, "");
    check(Versioning::Enabled, "<Status>Enabled</Status>");
    check(Versioning::Suspended, "<Status>Suspended</Status>");
}

#[test]
fn a_delete_marker_is_told_in_headers() {
    let reply = |named| {
        let error = Error::delete_marker(VersionId(7), Timestamp(0), named);
        Reply::of_error(&error, "GET", "/b/k", "R1", "H1")
    };
    let header = |reply: &Reply, name: &str| reply.headers.get(name).map(<[u8]>::to_vec);
    let absent = reply(false);
    assert_eq!((absent.status, header(&absent, "x-amz-delete-marker")), (404, Some(b"true".to_vec())));
    assert_eq!(header(&absent, "x-amz-version-id"), Some(b"0000000000000007".to_vec()));
    assert_eq!(header(&absent, "last-modified"), None);
    let named = reply(true);
    assert_eq!((named.status, header(&named, "allow")), (405, Some(b"DELETE".to_vec())));
    assert_eq!(header(&named, "last-modified"), Some(b"Thu, 01 Jan 1970 00:00:00 GMT".to_vec()));
}

#[test]
fn a_configuration_that_was_never_set_is_answered_as_s3_does() {
    let render = |target: &str| match request(target) {
        Request::ReadUnset(request) => render_unset(&request, &owner()),
        Request::GetConfiguration(request) => render_configuration(request.kind, Stored::Nothing, &request.bucket.name),
        other => panic!("another request: {other:?}"),
    };
    let check = |target: &str, expect: &str| {
        assert_eq!(body(&render(target).unwrap()), format!("{XML}{expect}"), "{target}");
    };
    check("/bucket/key?tagging", &format!("<Tagging {NS}><TagSet></TagSet></Tagging>"));
    check("/bucket?accelerate", &format!("<AccelerateConfiguration {NS}></AccelerateConfiguration>"));
    check("/bucket?notification", &format!("<NotificationConfiguration {NS}></NotificationConfiguration>"));
    check("/bucket?abac", &format!("<AbacStatus {NS}><Status>Disabled</Status></AbacStatus>"));
    check(
        "/bucket?requestPayment",
        &format!("<RequestPaymentConfiguration {NS}><Payer>BucketOwner</Payer></RequestPaymentConfiguration>"),
    );
    check(
        "/bucket?ownershipControls",
        &format!(
            "<OwnershipControls {NS}><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>\
             </OwnershipControls>"
        ),
    );
    check(
        "/bucket?acl",
        &format!(
            "<AccessControlPolicy {NS}><Owner><ID>id</ID><DisplayName>root</DisplayName></Owner><AccessControlList><Grant>\
             <Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"><ID>id</ID>\
             <DisplayName>root</DisplayName></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList>\
             </AccessControlPolicy>"
        ),
    );
    let refused = |target: &str, code: &str, status| {
        let error = render(target).unwrap_err();
        assert_eq!((error.code.wire_name(), error.status()), (code, status), "{target}");
    };
    refused("/bucket?lifecycle", "NoSuchLifecycleConfiguration", 404);
    refused("/bucket?cors", "NoSuchCORSConfiguration", 404);
    refused("/bucket?tagging", "NoSuchTagSet", 404);
    refused("/bucket?encryption", "ServerSideEncryptionConfigurationNotFoundError", 404);
    refused("/bucket?website", "NoSuchWebsiteConfiguration", 404);
    refused("/bucket?replication", "ReplicationConfigurationNotFoundError", 404);
    refused("/bucket?publicAccessBlock", "NoSuchPublicAccessBlockConfiguration", 404);
    refused("/bucket?object-lock", "ObjectLockConfigurationNotFoundError", 404);
    refused("/bucket?inventory&id=1", "NoSuchConfiguration", 404);
    refused("/bucket/key?retention", "InvalidRequest", 400);
}

#[test]
fn configurations_are_sent_as_they_are_kept_and_listed_in_pages() {
    let bucket = BucketName::parse("bucket").unwrap();
    let reply = render_configuration(Kind::Tagging, Stored::Content("<TagSet></TagSet>"), &bucket).unwrap();
    assert_eq!(body(&reply), format!("{XML}<Tagging {NS}><TagSet></TagSet></Tagging>"));
    let deleted = Stored::Deleted(Code::NoSuchOwnershipControls);
    let error = render_configuration(Kind::OwnershipControls, deleted, &bucket).unwrap_err();
    assert_eq!(error, Error::new(Code::NoSuchOwnershipControls).field("BucketName", "bucket"));

    let check = |target: &str, listed: ListedConfigurations, root: &str, expect: &str| {
        let Request::ListConfigurations(request) = request(target) else { panic!("another request: {target}") };
        let expect = format!("{XML}<{root} {NS}>{expect}</{root}>");
        assert_eq!(body(&listed.render(&request)), expect);
    };
    let empty = "<IsTruncated>false</IsTruncated>";
    let none = ListedConfigurations::default;
    check("/bucket?metrics", none(), "ListMetricsConfigurationsResult", empty);
    check("/bucket?analytics", none(), "ListBucketAnalyticsConfigurationResult", empty);
    check("/bucket?intelligent-tiering", none(), "ListBucketIntelligentTieringConfigurationsResult", empty);
    let contents = vec!["<Id>a</Id>".to_owned(), "<Id>b</Id>".to_owned()];
    check(
        "/bucket?inventory&continuation-token=AUE",
        ListedConfigurations { contents, next: Some("b".into()) },
        "ListInventoryConfigurationsResult",
        "<InventoryConfiguration><Id>a</Id></InventoryConfiguration><InventoryConfiguration><Id>b</Id>\
         </InventoryConfiguration><IsTruncated>true</IsTruncated><ContinuationToken>AUE</ContinuationToken>\
         <NextContinuationToken>AWI</NextContinuationToken>",
    );
}

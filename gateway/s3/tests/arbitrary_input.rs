//! Whatever comes from a socket ends in a typed request or in an error of S3, never in a panic.

use hafiz_s3::address::Address;
use hafiz_s3::configuration::{self, Kind};
use hafiz_s3::head::Head;
use hafiz_s3::reply::{Reply, ReplyBody};
use hafiz_s3::request::{self, Parsed};
use hafiz_s3::sigv4::{self, SigningKey};
use hafiz_s3::{date, routing, xml};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const NAMES: [&str; 24] = [
    "host",
    "authorization",
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-decoded-content-length",
    "content-length",
    "content-md5",
    "content-encoding",
    "x-amz-copy-source",
    "x-amz-copy-source-range",
    "x-amz-meta-a",
    "x-amz-checksum-crc32",
    "x-amz-checksum-type",
    "x-amz-trailer",
    "x-amz-object-attributes",
    "x-amz-storage-class",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "range",
    "x-amz-if-match-size",
    "x-amz-mp-object-size",
    "x-amz-acl",
    "expires",
];

const TARGETS: [&str; 19] = [
    "/",
    "/bucket",
    "/bucket?list-type=2&",
    "/bucket?uploads&",
    "/bucket?delete&",
    "/bucket/key",
    "/bucket/key?uploads",
    "/bucket/key?partNumber=1&uploadId=",
    "/bucket/key?uploadId=00000000000000000000000000000001",
    "/bucket/key?attributes&",
    "/bucket/key?versionId=",
    "/bucket/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=",
    "/bucket?max-keys=",
    "/?continuation-token=",
    "/bucket/%",
    "/bucket?acl",
    "/bucket?cors&",
    "/bucket?inventory&id=i&",
    "/bucket?metrics&continuation-token=",
];

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(0x20_u8..=0xff, 0..40),
        "[0-9]{0,25}".prop_map(String::into_bytes),
        "[A-Za-z0-9+/=]{0,12}".prop_map(String::into_bytes),
        "bytes=[0-9]{0,22}-[0-9]{0,22}".prop_map(String::into_bytes),
        "AWS4-HMAC-SHA256 Credential=[a-z/0-9]{0,40}, SignedHeaders=[a-z;-]{0,20}, Signature=[0-9a-f]{0,64}"
            .prop_map(String::into_bytes),
        "=\\?(UTF-8|x)\\?[BQ]\\?[A-Za-z0-9=_%]{0,20}\\?=".prop_map(String::into_bytes),
        "(STREAMING-UNSIGNED-PAYLOAD-TRAILER|UNSIGNED-PAYLOAD|\\*|a/b\\?versionId=null)".prop_map(String::into_bytes),
    ]
}

fn handle(head: &Head<'_>, document: &[u8]) -> Result<(), hafiz_s3::Error> {
    let address = Address::split(head, &["example.org"])?;
    let route = routing::route(head, &address)?;
    let signed = sigv4::verify(head, &address.query, 1_369_353_600, "us-east-1", |scope| {
        Some(SigningKey::derive("secret", &scope.date, &scope.region, &scope.service))
    });
    signed.map(drop).or_else(|error| if error.status() < 500 { Ok(()) } else { Err(error) })?;
    let request = match request::parse(route, head, &address)? {
        Parsed::Ready(request) => request,
        Parsed::AwaitsDocument(awaits) => awaits.read(document)?,
    };
    assert_eq!(request.operation(), route.operation);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        rng_seed: RngSeed::Fixed(1_995),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_head_gives_a_request_or_an_error_of_the_table(
        method in prop::sample::select(&["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "BREW"][..]),
        target in prop::sample::select(&TARGETS[..]),
        tail in "[ -~]{0,30}",
        headers in prop::collection::vec((prop::sample::select(&NAMES[..]), value()), 0..8),
        document in "(<(Delete|Object|Key|Part|CompleteMultipartUpload)/?>|</(Delete|Object|Key)>|[ -~]){0,30}",
    ) {
        let target = format!("{target}{tail}");
        let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        let head = Head { method, target: &target, headers: &headers };
        if let Err(error) = handle(&head, document.as_bytes()) {
            let reply = Reply::of_error(&error, method, &target, "R", "H");
            prop_assert!((400..=501).contains(&reply.status), "{error}");
            if let ReplyBody::Bytes(document) = &reply.body {
                prop_assert!(xml::read(document, "Error").is_ok(), "{}", String::from_utf8_lossy(document));
            }
        }
    }

    #[test]
    fn any_date_is_read_or_refused(text in "[ -~]{0,40}", digits in "[0-9]{8}T[0-9]{6}Z") {
        let _: (Option<u64>, Option<u64>) = (date::parse_http(&text), date::parse_iso8601(&text));
        if let Some(seconds) = date::parse_basic(&digits) {
            // A leap second is read as the second before it.
            prop_assert!(date::basic(seconds) == digits || digits.ends_with("60Z"));
        }
    }

    #[test]
    fn any_document_is_read_or_refused(document in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(xml::read(&document, "Delete").is_err());
    }

    #[test]
    fn a_configuration_that_is_accepted_is_accepted_as_it_is_kept(
        kind in prop::sample::select(&Kind::ALL[..]),
        inner in "(<(Id|Status|Payer|Filter|TagSet)/>|<(CORSRule|AllowedOrigin|AllowedMethod|TagSet|Tag|Key|Value|Id|\
                  Filter|And|Prefix|Status|Payer)>|</(CORSRule|AllowedOrigin|AllowedMethod|TagSet|Tag|Key|Value|Id|\
                  Filter|And|Prefix|Status|Payer)>|\\*|GET|Enabled|Requester|&#xd;|&lt;|[ -~]){0,12}",
    ) {
        let read = |inner: &str| {
            let root = kind.root();
            configuration::read(kind, format!("<{root}>{inner}</{root}>").as_bytes())
        };
        if let Ok(accepted) = read(&inner)
            && !accepted.content.is_empty()
        {
            prop_assert_eq!(read(&accepted.content), Ok(accepted));
        }
    }
}

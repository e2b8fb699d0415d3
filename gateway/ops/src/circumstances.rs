//! What a request says of the condition keys that policies may ask for. Only what a policy names is put together.

use iam::policy::{Key, Keys, Value, Values};
use s3::copy_source::CopySource;
use s3::request::Demand;
use s3::routing::Operation;
use s3::sigv4::AuthKind;

use crate::gate::Asker;

const SIGNATURE_VERSION: &str = "AWS4-HMAC-SHA256";
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// Of one demand of a request.
pub(crate) struct Circumstances<'a> {
    pub(crate) asker: &'a Asker<'a>,
    pub(crate) operation: Operation,
    pub(crate) demand: &'a Demand<'a>,
    /// The demand is a listing of one key, which the request is not.
    pub(crate) prefix: Option<&'a str>,
}

impl Circumstances<'_> {
    /// All values of a header, whatever its bytes: a policy must not take for absent what the operation sees.
    fn header(&self, name: &str) -> Values<'_> {
        let mut values: Vec<Value<'_>> =
            self.asker.head.values(name).map(|value| Value::Text(String::from_utf8_lossy(value))).collect();
        match values.len() {
            0 => Values::Absent,
            1 => Values::One(values.remove(0)),
            _ => Values::Many(values),
        }
    }

    /// A parameter of a listing, as the listing takes it.
    fn listing(&self, name: &str) -> Option<&str> {
        let is_listing = self.prefix.is_none() && self.demand.action.starts_with("s3:ListBucket");
        self.asker.query.get(name).filter(|_| is_listing)
    }

    /// Whether the request makes an object. Absent where it cannot.
    fn makes_object(&self) -> Values<'_> {
        match self.operation {
            Operation::PutObject | Operation::CopyObject | Operation::CompleteMultipartUpload => true.into(),
            Operation::CreateMultipartUpload | Operation::UploadPart | Operation::UploadPartCopy => false.into(),
            _ => Values::Absent,
        }
    }

    /// The hash of the body that a request was verified with: a presigned one says nothing of its body.
    fn content_hash(&self) -> Values<'_> {
        match (self.header("x-amz-content-sha256"), self.asker.signed) {
            (Values::Absent, Some((AuthKind::Presigned, _))) => {
                self.asker.query.get("X-Amz-Content-Sha256").unwrap_or(UNSIGNED_PAYLOAD).into()
            }
            (said, _) => said,
        }
    }
}

impl Keys for Circumstances<'_> {
    fn values(&self, key: &Key) -> Values<'_> {
        let asker = self.asker;
        // Objects and requests have no tags yet, and those of buckets do not decide yet.
        if key.tag().is_some() {
            return Values::Absent;
        }
        match key.name() {
            "aws:sourceip" => asker.context.source.into(),
            "aws:securetransport" => asker.context.secure_transport.into(),
            "aws:useragent" => self.header("user-agent"),
            "aws:referer" => self.header("referer"),
            "aws:requestedregion" => asker.region.into(),
            "aws:currenttime" => Values::One(Value::Time(seconds(asker.now) * 1000)),
            "aws:epochtime" => seconds(asker.now).into(),
            // Absent and empty are two things here, and one below.
            "s3:prefix" => text(self.prefix.or_else(|| self.listing("prefix"))),
            "s3:delimiter" => text(self.listing("delimiter").filter(|text| !text.is_empty())),
            "s3:max-keys" => match self.listing("max-keys").map(str::parse::<i64>) {
                Some(Ok(number)) => number.into(),
                Some(Err(_)) | None => Values::Absent,
            },
            "s3:versionid" => match self.demand.version {
                Some(version) => version.to_string().into(),
                None => Values::Absent,
            },
            "s3:authtype" => match asker.signed {
                Some((AuthKind::Header, _)) => "REST-HEADER".into(),
                Some((AuthKind::Presigned, _)) => "REST-QUERY-STRING".into(),
                None => Values::Absent,
            },
            "s3:signatureversion" if asker.signed.is_some() => SIGNATURE_VERSION.into(),
            "s3:signatureage" => match asker.signed {
                Some((_, at)) => (seconds(asker.now.saturating_sub(at)) * 1000).into(),
                None => Values::Absent,
            },
            "s3:objectcreationoperation" => self.makes_object(),
            "s3:if-match" => self.header("if-match"),
            // A tag, or nothing that is one, keeps no object from being replaced.
            "s3:if-none-match" => match asker.head.bytes("if-none-match") {
                Some(b"*") => "*".into(),
                Some(_) | None => Values::Absent,
            },
            "s3:x-amz-content-sha256" => self.content_hash(),
            // One spelling, decoded.
            "s3:x-amz-copy-source" => match CopySource::from_head(asker.head) {
                Ok(source) => format!("{}/{}", source.bucket, source.key.as_str()).into(),
                Err(_) => Values::Absent,
            },
            name => match name.strip_prefix("s3:").filter(|header| header.starts_with("x-amz-")) {
                Some(header) => self.header(header),
                None => Values::Absent,
            },
        }
    }
}

fn text(text: Option<&str>) -> Values<'_> {
    text.map_or(Values::Absent, Values::from)
}

fn seconds(unix: u64) -> i64 {
    i64::try_from(unix).unwrap_or(i64::MAX / 1000)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use iam::{Context, Identity, Principal, Snapshot};
    use s3::head::Head;
    use s3::query::Query;
    use types::{BucketName, VersionId};

    use super::*;

    #[test]
    fn keys_are_answered_from_the_request_and_unknown_ones_are_absent() {
        let headers: [(&str, &[u8]); 7] = [
            ("Referer", b"http://a/"),
            ("x-amz-storage-class", b"STANDARD"),
            ("If-None-Match", b"*"),
            ("If-Match", b"\"a\""),
            ("User-Agent", b"one"),
            ("User-Agent", b"\xff"),
            ("x-amz-copy-source", b"/bucket/%73ecret?versionId=null"),
        ];
        let head = Head { method: "GET", target: "/", headers: &headers };
        let query = Query::parse("prefix=&max-keys=%2B007&delimiter=").expect("a query");
        let identity = Identity::new("root", "12345678", "id", "name").expect("well-formed");
        let context = Context { source: IpAddr::V4(Ipv4Addr::LOCALHOST), secure_transport: true };
        let asker = Asker {
            principal: &Principal::Anonymous,
            identities: &Snapshot::new(identity),
            context: &context,
            head: &head,
            query: &query,
            signed: Some((AuthKind::Presigned, 90)),
            now: 100,
            region: "eu-1",
            buckets: &|_| None,
        };
        let bucket = BucketName::parse("bucket").expect("valid");
        let check = |action: &'static str, prefix: Option<&str>, key: &str, expect: Values<'_>| {
            let demand = Demand { action, bucket: Some(&bucket), key: None, version: Some(VersionId(7)) };
            let operation = Operation::PutObject;
            let circumstances = Circumstances { asker: &asker, operation, demand: &demand, prefix };
            assert_eq!(circumstances.values(&Key::new(key)), expect, "{action} {key}");
        };
        let list = "s3:ListBucket";
        check(list, None, "aws:SourceIp", context.source.into());
        check(list, None, "aws:SecureTransport", true.into());
        check(list, None, "aws:Referer", "http://a/".into());
        check(list, None, "aws:UserAgent", Values::Many(vec!["one".into(), "\u{fffd}".into()]));
        check(list, None, "aws:RequestedRegion", "eu-1".into());
        check(list, None, "aws:EpochTime", 100.into());
        check(list, None, "s3:prefix", "".into());
        check(list, Some("key"), "s3:prefix", "key".into());
        check("s3:GetObject", None, "s3:prefix", Values::Absent);
        check(list, None, "s3:delimiter", Values::Absent);
        check(list, None, "s3:max-keys", 7.into());
        check(list, Some("key"), "s3:max-keys", Values::Absent);
        check(list, None, "s3:VersionId", String::from("0000000000000007").into());
        check(list, None, "s3:authType", "REST-QUERY-STRING".into());
        check(list, None, "s3:signatureAge", 10_000.into());
        check(list, None, "s3:x-amz-storage-class", "STANDARD".into());
        check(list, None, "s3:x-amz-acl", Values::Absent);
        check(list, None, "s3:if-none-match", "*".into());
        check(list, None, "s3:if-match", "\"a\"".into());
        check(list, None, "s3:x-amz-copy-source", String::from("bucket/secret").into());
        check(list, None, "s3:x-amz-content-sha256", "UNSIGNED-PAYLOAD".into());
        check(list, None, "s3:ObjectCreationOperation", true.into());
        check(list, None, "s3:ExistingObjectTag/a", Values::Absent);
        check(list, None, "aws:SourceVpc", Values::Absent);
    }
}

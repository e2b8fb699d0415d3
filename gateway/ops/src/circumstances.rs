//! What a request says of the condition keys that policies may ask for. Only what a policy names is put together.

use iam::policy::{Key, Keys, Value, Values};
use s3::request::Demand;
use s3::sigv4::AuthKind;

use crate::gate::Asker;

const SIGNATURE_VERSION: &str = "AWS4-HMAC-SHA256";

/// Of one demand of a request.
pub(crate) struct Circumstances<'a> {
    pub(crate) asker: &'a Asker<'a>,
    pub(crate) demand: &'a Demand<'a>,
    /// The prefix of a listing, where that is not the request's.
    pub(crate) prefix: Option<&'a str>,
}

impl Circumstances<'_> {
    fn header(&self, name: &str) -> Values<'_> {
        match self.asker.head.text(name) {
            Ok(Some(text)) => text.into(),
            Ok(None) | Err(_) => Values::Absent,
        }
    }

    /// A parameter of a listing. Absent and empty are two things here.
    fn listing(&self, name: &str) -> Values<'_> {
        let is_listing = self.demand.action.starts_with("s3:ListBucket");
        match self.asker.query.get(name).filter(|_| is_listing) {
            Some(text) => text.into(),
            None => Values::Absent,
        }
    }
}

impl Keys for Circumstances<'_> {
    fn values(&self, key: &Key) -> Values<'_> {
        let asker = self.asker;
        // Objects have no tags yet, nor have requests.
        if key.tag().is_some() {
            return Values::Absent;
        }
        match key.name() {
            "aws:sourceip" => asker.context.source.into(),
            "aws:securetransport" => asker.context.secure_transport.into(),
            "aws:useragent" => self.header("user-agent"),
            "aws:referer" => self.header("referer"),
            "aws:currenttime" => Values::One(Value::Time(seconds(asker.now) * 1000)),
            "aws:epochtime" => seconds(asker.now).into(),
            "s3:prefix" => match self.prefix {
                Some(prefix) => prefix.into(),
                None => self.listing("prefix"),
            },
            "s3:delimiter" => self.listing("delimiter"),
            "s3:max-keys" => self.listing("max-keys"),
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
            "s3:if-match" => self.header("if-match"),
            "s3:if-none-match" => self.header("if-none-match"),
            name => match name.strip_prefix("s3:").filter(|header| header.starts_with("x-amz-")) {
                Some(header) => self.header(header),
                None => Values::Absent,
            },
        }
    }
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
        let headers: [(&str, &[u8]); 3] =
            [("Referer", b"http://a/"), ("x-amz-storage-class", b"STANDARD"), ("If-None-Match", b"*")];
        let head = Head { method: "GET", target: "/", headers: &headers };
        let query = Query::parse("prefix=&max-keys=7").expect("a query");
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
            buckets: &|_| None,
        };
        let bucket = BucketName::parse("bucket").expect("valid");
        let check = |action: &'static str, prefix: Option<&str>, key: &str, expect: Values<'_>| {
            let demand = Demand { action, bucket: Some(&bucket), key: None, version: Some(VersionId(7)) };
            let circumstances = Circumstances { asker: &asker, demand: &demand, prefix };
            assert_eq!(circumstances.values(&Key::new(key)), expect, "{action} {key}");
        };
        let list = "s3:ListBucket";
        check(list, None, "aws:SourceIp", context.source.into());
        check(list, None, "aws:SecureTransport", true.into());
        check(list, None, "aws:Referer", "http://a/".into());
        check(list, None, "aws:UserAgent", Values::Absent);
        check(list, None, "aws:EpochTime", 100.into());
        check(list, None, "s3:prefix", "".into());
        check(list, Some("key"), "s3:prefix", "key".into());
        check("s3:GetObject", None, "s3:prefix", Values::Absent);
        check(list, None, "s3:delimiter", Values::Absent);
        check(list, None, "s3:max-keys", "7".into());
        check(list, None, "s3:VersionId", String::from("0000000000000007").into());
        check(list, None, "s3:authType", "REST-QUERY-STRING".into());
        check(list, None, "s3:signatureAge", 10_000.into());
        check(list, None, "s3:x-amz-storage-class", "STANDARD".into());
        check(list, None, "s3:x-amz-acl", Values::Absent);
        check(list, None, "s3:if-none-match", "*".into());
        check(list, None, "s3:ExistingObjectTag/a", Values::Absent);
        check(list, None, "aws:SourceVpc", Values::Absent);
    }
}

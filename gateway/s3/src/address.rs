//! Where a request points: bucket and key, from path style or virtual-host style.

use crate::error::{Code, Error, Result};
use crate::head::Head;
use crate::query::{self, Plus, Query};

/// What a target addresses. Names are decoded once and never normalised: `..`, `//` and a trailing `/` are part of a
/// key. Whether they are valid names is decided when the operation is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub bucket: Option<String>,
    pub key: Option<String>,
    pub query: Query,
}

impl Address {
    /// Splits the target of `head`. A `Host` of the form `<bucket>.<one of domains>` is virtual-host style; any other
    /// host is path style.
    pub fn split(head: &Head<'_>, domains: &[&str]) -> Result<Address> {
        let query = Query::parse(head.raw_query())?;
        let path = head.raw_path().strip_prefix('/').ok_or(Code::InvalidUri)?;
        let host = match head.bytes("host") {
            Some(host) => std::str::from_utf8(host).map_err(|_| Code::InvalidUri)?,
            None => "",
        };
        let (bucket, key) = match bucket_of_host(host, domains) {
            Some(bucket) => (bucket, path),
            None => {
                let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
                (query::decode_text(bucket, Plus::IsPlus)?, key)
            }
        };
        let key = query::decode_text(key, Plus::IsPlus)?;
        let filled = |text: String| (!text.is_empty()).then_some(text);
        let address = Address { bucket: filled(bucket), key: filled(key), query };
        if address.bucket.is_none() && address.key.is_some() {
            return Err(Error::new(Code::InvalidBucketName));
        }
        Ok(address)
    }
}

fn bucket_of_host(host: &str, domains: &[&str]) -> Option<String> {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let host = host.to_ascii_lowercase();
    // The longest domain wins, so that one domain may lie within another.
    let bucket = domains
        .iter()
        .filter_map(|domain| {
            let bucket = host.strip_suffix(domain.to_ascii_lowercase().as_str())?;
            if bucket.is_empty() { Some(bucket) } else { bucket.strip_suffix('.') }
        })
        .min_by_key(|bucket| bucket.len())?;
    (!bucket.is_empty()).then(|| bucket.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(host: &str, target: &str) -> Result<(Option<String>, Option<String>)> {
        let headers = [("Host", host.as_bytes())];
        let head = Head { method: "GET", target, headers: &headers };
        Address::split(&head, &["s3.example.org", "example.org"]).map(|address| (address.bucket, address.key))
    }

    #[test]
    fn both_styles_name_bucket_and_key_and_nothing_is_normalised() {
        let check = |host: &str, target: &str, bucket: Option<&str>, key: Option<&str>| {
            let expect = Ok((bucket.map(String::from), key.map(String::from)));
            assert_eq!(split(host, target), expect, "{host} {target}");
        };
        check("127.0.0.1:9000", "/", None, None);
        check("127.0.0.1:9000", "/b", Some("b"), None);
        check("127.0.0.1:9000", "/b/", Some("b"), None);
        check("127.0.0.1:9000", "/b/k?x=/y", Some("b"), Some("k"));
        check("[::1]:9000", "/b//a/../%2e%2e/c/", Some("b"), Some("/a/../../c/"));
        check("h", "/b/a+b%20c%2Fd%252F", Some("b"), Some("a+b c/d%2F"));
        check("s3.example.org", "/b/k", Some("b"), Some("k"));
        check("S3.EXAMPLE.ORG:80", "/b/k", Some("b"), Some("k"));
        check("buck.et.s3.example.org:9000", "/a/k", Some("buck.et"), Some("a/k"));
        check("bucket.s3.example.org", "/", Some("bucket"), None);
        check("xs3.example.org", "/k", Some("xs3"), Some("k"));
        check("notexample.org", "/b/k", Some("b"), Some("k"));
    }

    #[test]
    fn broken_paths_are_refused() {
        for (target, code) in [
            ("/b/%zz", Code::InvalidUri),
            ("/b/%ff", Code::InvalidUri),
            ("/b/%00", Code::InvalidUri),
            ("b/k", Code::InvalidUri),
            ("*", Code::InvalidUri),
            ("//k", Code::InvalidBucketName),
        ] {
            assert_eq!(split("h", target).unwrap_err().code, code, "{target}");
        }
    }
}

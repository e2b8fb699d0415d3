//! What is to be done, checked: the command line's meaning.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use crate::sizes::Sizes;
use crate::stream::Tls;

/// What a run measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// New objects.
    Put,
    Get,
    Head,
    /// Pages that begin anywhere in the bucket.
    List,
    /// Objects one by one.
    Delete,
    /// Many objects with one request.
    MultiDelete,
    /// Uploads in parts, which go side by side.
    Multipart,
    /// Several kinds, by their weights.
    Mixed,
    /// As mixed, in a bucket with versions, of which any is read and deleted.
    Versioned,
    /// Nothing is measured: objects are made, for runs that begin with `--prepared`.
    Fill,
}

/// A kind of request: what is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Put,
    Get,
    Head,
    List,
    Delete,
    MultiDelete,
    CreateUpload,
    UploadPart,
    CompleteUpload,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Put => "put",
            Kind::Get => "get",
            Kind::Head => "head",
            Kind::List => "list",
            Kind::Delete => "delete",
            Kind::MultiDelete => "multi-delete",
            Kind::CreateUpload => "create-upload",
            Kind::UploadPart => "upload-part",
            Kind::CompleteUpload => "complete-upload",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// With their SHA-256 in the signature.
    Signed,
    Unsigned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signing {
    Header,
    /// Requests without a body and objects' bodies have their signature in the query.
    Presigned,
}

#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) region: String,
    pub(crate) access_key: String,
    pub(crate) secret: String,
    pub(crate) connections: usize,
    pub(crate) threads: usize,
    pub(crate) warmup: Duration,
    pub(crate) measured: Duration,
    /// So many requests instead of a time. Of `Multipart`: uploads.
    pub(crate) count: Option<u64>,
    /// Requests begin by a clock, so many a second in all.
    pub(crate) rate: Option<f64>,
    pub(crate) repeats: usize,
    pub(crate) objects: u64,
    /// Versions of each object, of `Versioned`.
    pub(crate) versions: u64,
    pub(crate) sizes: Sizes,
    pub(crate) page: u64,
    pub(crate) batch: usize,
    pub(crate) part_bytes: u64,
    /// Weights.
    pub(crate) mix: Vec<(Kind, u64)>,
    pub(crate) payload: Payload,
    pub(crate) signing: Signing,
    /// Bodies are compared with what was written.
    pub(crate) verify: bool,
    /// The objects are there already.
    pub(crate) prepared: bool,
    /// What was made stays.
    pub(crate) keep: bool,
    pub(crate) timeout: Duration,
    pub(crate) seed: u64,
    pub(crate) quiet: bool,
    pub(crate) json: Option<String>,
    pub(crate) pid: Option<u32>,
    pub(crate) cgroup: Option<String>,
    pub(crate) device: Option<String>,
}

#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// As the `Host` header has it.
    pub(crate) host: String,
    pub(crate) tls: Option<Tls>,
}

impl Endpoint {
    /// `http://HOST:PORT` or `https://HOST:PORT`, the latter with a file of certificates to trust.
    pub(crate) fn parse(url: &str, trusted: Option<&str>) -> Result<Endpoint, String> {
        let (is_tls, host) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(host), _) => (false, host),
            (_, Some(host)) => (true, host),
            _ => return Err(format!("--endpoint {url}: http:// or https:// is missing")),
        };
        let host = host.trim_end_matches('/');
        if host.is_empty() || host.contains('/') {
            return Err(format!("--endpoint {url}: a host is asked for, without a path"));
        }
        let (name, has_port) = match host.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() => (name, true),
            _ => (host, false),
        };
        let port = if is_tls { 443 } else { 80 };
        let with_port = if has_port { host.to_owned() } else { format!("{host}:{port}") };
        let mut found = with_port.to_socket_addrs().map_err(|error| format!("--endpoint {url}: {error}"))?;
        let address = found.next().ok_or_else(|| format!("--endpoint {url}: no address"))?;
        let tls = if is_tls {
            let trusted = trusted.ok_or("an https endpoint needs --ca FILE: the certificates to trust")?;
            Some(Tls::trusting(trusted, name.trim_start_matches('[').trim_end_matches(']'))?)
        } else {
            None
        };
        Ok(Endpoint { address, host: host.to_owned(), tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_what_is_none_is_refused() {
        let check = |url: &str, expect: Result<(&str, &str), &str>| {
            let found = Endpoint::parse(url, None).map(|endpoint| (endpoint.address.to_string(), endpoint.host));
            let expect = expect.map(|(address, host)| (address.to_owned(), host.to_owned()));
            assert_eq!(found, expect.map_err(str::to_owned), "{url}");
        };
        check("http://127.0.0.1:9000", Ok(("127.0.0.1:9000", "127.0.0.1:9000")));
        check("http://127.0.0.1/", Ok(("127.0.0.1:80", "127.0.0.1")));
        check("http://[::1]:9000", Ok(("[::1]:9000", "[::1]:9000")));
        check("127.0.0.1:9000", Err("--endpoint 127.0.0.1:9000: http:// or https:// is missing"));
        check("http://", Err("--endpoint http://: a host is asked for, without a path"));
        check("http://127.0.0.1/x", Err("--endpoint http://127.0.0.1/x: a host is asked for, without a path"));
        check("https://127.0.0.1", Err("an https endpoint needs --ca FILE: the certificates to trust"));
    }
}

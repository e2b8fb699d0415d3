//! One signed request after another to a server's admin endpoint, each on a connection of its own.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Trust;
use s3::head::Head;
use s3::query::encode_into;
use s3::sigv4::Signer;

use super::json::Json;
use crate::credentials::{self, Credentials};
use crate::settings::Settings;
use crate::trust::{self, Endpoint};

const HOST: &str = "127.0.0.1:9000";
const PREFIX: &str = "/-/admin/v1/";
/// The hash of no body.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// An admission waits for writes to all drives.
const REPLY_TIME_MAX: Duration = Duration::from_secs(180);
/// Far more than a reply about the most drives and lost objects has.
const REPLY_BYTES_MAX: u64 = 16 << 20;

pub(super) struct Client {
    endpoint: Endpoint,
    /// `None`: without TLS.
    trust: Option<Trust>,
    region: String,
    credentials: Credentials,
}

impl Client {
    /// A client of that server, or of the one on this machine that the settings are of. Certificates in `ca` are believed;
    /// without any, those that the settings serve and those that the system believes.
    pub(super) fn open(endpoint: Option<&str>, ca: &[PathBuf], settings: &Settings) -> Result<Client, String> {
        let own = own_certificates(settings)?;
        let scheme = if own.is_empty() && ca.is_empty() { "http" } else { "https" };
        let endpoint = match endpoint {
            Some(endpoint) => Endpoint::parse(endpoint)?,
            None => Endpoint::parse(&format!("{scheme}://{HOST}"))?,
        };
        let trust = endpoint.is_tls.then(|| trust::trust(ca, own)).transpose()?;
        let credentials = credentials::find(settings)?;
        Ok(Client { endpoint, trust, region: settings.region.clone(), credentials })
    }

    pub(super) fn get(&self, path: &str) -> Result<Json, String> {
        self.ask("GET", path, &[])
    }

    pub(super) fn post(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Json, String> {
        self.ask("POST", path, parameters)
    }

    /// The reply's document; what the server says when it refuses.
    fn ask(&self, method: &str, path: &str, parameters: &[(&str, &str)]) -> Result<Json, String> {
        let mut target = format!("{PREFIX}{path}");
        for (n, (name, value)) in parameters.iter().enumerate() {
            target.push(if n == 0 { '?' } else { '&' });
            target.push_str(name);
            target.push('=');
            encode_into(&mut target, value.as_bytes(), false);
        }
        let (status, body) =
            self.exchange(method, &target).map_err(|error| format!("{}: {error}", self.endpoint.host))?;
        let reply = Json::parse(&body);
        match (status, reply) {
            (200..300, Some(reply)) => Ok(reply),
            (_, Some(reply)) if !reply.text("error").is_empty() => Err(reply.text("error").to_owned()),
            // Refused before it was known what was asked for: S3 says that in XML.
            (status, _) => Err(match element(&body, "Message") {
                Some(message) => format!("{} says: {message} ({status})", self.endpoint.host),
                None => format!("{} answers {status}, not as a Hafiz server does", self.endpoint.host),
            }),
        }
    }

    fn exchange(&self, method: &str, target: &str) -> std::io::Result<(u16, String)> {
        let head = self.head(method, target);
        let address = self.endpoint.address.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIME_MAX)?;
        stream.set_read_timeout(Some(REPLY_TIME_MAX))?;
        let reply = match &self.trust {
            None => say_and_hear(stream, &head)?,
            Some(trust) => say_and_hear(trust.encrypt(stream, self.endpoint.name())?, &head)?,
        };
        let reply = String::from_utf8_lossy(&reply);
        let parts = reply.split_once("\r\n\r\n").and_then(|(head, body)| {
            let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
            Some((status, body.to_owned()))
        });
        parts.ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "the reply is no HTTP"))
    }

    fn head(&self, method: &str, target: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let signer = Signer::new(&self.credentials.user, &self.credentials.password, &self.region, now);
        let headers: [(&str, &[u8]); 3] = [
            ("host", self.endpoint.host.as_bytes()),
            ("x-amz-content-sha256", EMPTY_SHA256.as_bytes()),
            ("x-amz-date", signer.timestamp().as_bytes()),
        ];
        let signed =
            signer.sign(&Head { method, target, headers: &headers }).expect("what is signed was put together here");
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nX-Amz-Content-Sha256: {EMPTY_SHA256}\r\n\
             X-Amz-Date: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.endpoint.host,
            signed.authorization,
            signer.timestamp(),
        )
    }
}

fn say_and_hear(mut stream: impl Read + Write, head: &str) -> std::io::Result<Vec<u8>> {
    stream.write_all(head.as_bytes())?;
    stream.flush()?;
    let mut reply = Vec::new();
    stream.take(REPLY_BYTES_MAX).read_to_end(&mut reply)?;
    Ok(reply)
}

/// The certificates that a server with these settings serves.
fn own_certificates(settings: &Settings) -> Result<Vec<PathBuf>, String> {
    if let Some(cert) = &settings.tls_cert {
        return Ok(vec![cert.clone()]);
    }
    let Some(dir) = &settings.tls_dir else { return Ok(Vec::new()) };
    let entries = std::fs::read_dir(dir).map_err(|error| format!("read {}: {error}", dir.display()))?;
    let is_cert = |path: &Path| path.extension().is_some_and(|extension| extension == "crt" || extension == "pem");
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_cert(path)).collect())
}

fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, after) = text.split_once(&format!("<{name}>"))?;
    Some(after.split_once(&format!("</{name}>"))?.0)
}

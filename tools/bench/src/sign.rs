//! AWS Signature Version 4, in a header or in the query. Made for speed: one signer for each thread, keys and queries that
//! need no decoding.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, hmac};

pub(crate) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
pub(crate) const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// A signature counts for 15 minutes; what has been signed is sent well before.
pub(crate) const SIGNATURE_SECONDS_MAX: u64 = 300;
const PRESIGNED_SECONDS: u64 = 24 * 3600;

pub(crate) struct Signer {
    access_key: String,
    secret: String,
    region: String,
    /// When the timestamp was made, in seconds since 1970, and with it the key of the day.
    since: u64,
    timestamp: String,
    scope: String,
    key: hmac::Key,
}

impl Signer {
    pub(crate) fn new(access_key: &str, secret: &str, region: &str) -> Signer {
        Signer::at(access_key, secret, region, now())
    }

    fn at(access_key: &str, secret: &str, region: &str, since: u64) -> Signer {
        let timestamp = timestamp(since);
        let day = &timestamp[..8];
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
        for word in [day, region, "s3", "aws4_request"] {
            key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, word.as_bytes()).as_ref());
        }
        Signer {
            access_key: access_key.to_owned(),
            secret: secret.to_owned(),
            region: region.to_owned(),
            since,
            scope: format!("{day}/{region}/s3/aws4_request"),
            timestamp,
            key,
        }
    }

    /// Takes a new timestamp when this one is old. True when it did: what was signed before is not to be sent any more.
    pub(crate) fn renew(&mut self) -> bool {
        let now = now();
        let is_old = now.abs_diff(self.since) > SIGNATURE_SECONDS_MAX;
        if is_old {
            *self = Signer::at(&self.access_key, &self.secret, &self.region, now);
        }
        is_old
    }

    /// The header lines of a signed request, each with its end. `path` and `query` are encoded, the query is in order.
    pub(crate) fn header(&self, request: &Unsigned<'_>, payload: &str) -> String {
        let Unsigned { method, host, path, query } = request;
        let (names, timestamp) = ("host;x-amz-content-sha256;x-amz-date", &self.timestamp);
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{timestamp}\n\n{names}\n{payload}"
        );
        let signature = self.signature(&canonical);
        format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={names}, Signature={signature}\r\n\
             X-Amz-Content-Sha256: {payload}\r\nX-Amz-Date: {}\r\n",
            self.access_key, self.scope, self.timestamp,
        )
    }

    /// The query of a presigned request, with that of the request itself.
    pub(crate) fn query(&self, request: &Unsigned<'_>) -> String {
        let own = [
            format!(
                "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}",
                escape(&format!("{}/{}", self.access_key, self.scope))
            ),
            format!("X-Amz-Date={}", self.timestamp),
            format!("X-Amz-Expires={PRESIGNED_SECONDS}"),
            "X-Amz-SignedHeaders=host".to_owned(),
        ];
        let mut words: Vec<&str> = own.iter().flat_map(|word| word.split('&')).collect();
        words.extend(request.query.split('&').filter(|word| !word.is_empty()));
        words.sort_unstable();
        let query = words.join("&");
        let (method, path, host) = (request.method, request.path, request.host);
        let canonical = format!("{method}\n{path}\n{query}\nhost:{host}\n\nhost\n{UNSIGNED}");
        format!("{query}&X-Amz-Signature={}", self.signature(&canonical))
    }

    fn signature(&self, canonical: &str) -> String {
        let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{}\n{}\n{hash}", self.timestamp, self.scope);
        hex(hmac::sign(&self.key, text.as_bytes()).as_ref())
    }
}

/// What is signed of a request.
pub(crate) struct Unsigned<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
}

/// The SHA-256 of a body that comes in pieces.
pub(crate) struct Hash(digest::Context);

impl Hash {
    pub(crate) fn new() -> Hash {
        Hash(digest::Context::new(&digest::SHA256))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> String {
        hex(self.0.finish().as_ref())
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Percent-encodes all but the unreserved characters.
pub(crate) fn escape(text: &str) -> String {
    escape_but(text, "")
}

/// A key as a path: slashes stay.
pub(crate) fn escape_path(text: &str) -> String {
    escape_but(text, "/")
}

fn escape_but(text: &str, kept: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes what is written to it");
        }
    }
    out
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `20130524T000000Z`. The civil date of a day number: Hinnant, "chrono-compatible low-level date algorithms".
fn timestamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The access key, secret and moment of the examples of the S3 documentation.
    fn example() -> Signer {
        Signer::at("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1", 1_369_353_600)
    }

    #[test]
    fn signatures_are_those_of_the_documentation() {
        // "Example: GET Bucket (List Objects)" of the documentation of the Authorization header.
        let host = "examplebucket.s3.amazonaws.com";
        let list = Unsigned { method: "GET", host, path: "/", query: "max-keys=2&prefix=J" };
        let header = example().header(&list, EMPTY);
        assert!(header.contains("34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"), "{header}");
        // The example of the documentation of query parameters.
        let get = Unsigned { method: "GET", host, path: "/test.txt", query: "" };
        let query = example().query(&get);
        let expected = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F\
                        aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=\
                        aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert_eq!(query, expected);
    }

    #[test]
    fn times_and_names_are_written_as_signatures_want_them() {
        assert_eq!(timestamp(0), "19700101T000000Z");
        assert_eq!(timestamp(951_827_696), "20000229T123456Z");
        assert_eq!(timestamp(1_735_689_599), "20241231T235959Z");
        assert_eq!(escape("a/b c~ü"), "a%2Fb%20c~%C3%BC");
        assert_eq!(escape_path("a/b+c"), "a/b%2Bc");
    }

    #[test]
    fn a_signer_keeps_its_timestamp_until_it_is_old() {
        let mut signer = Signer::new("a", "b", "us-east-1");
        assert!(!signer.renew());
        signer.since -= SIGNATURE_SECONDS_MAX + 1;
        assert!(signer.renew());
        assert!(!signer.renew());
    }
}

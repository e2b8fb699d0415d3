//! Which server an address names, and which certificates are believed of it.

use std::path::PathBuf;

use http::Trust;

/// Where systems keep the authorities that they believe.
const SYSTEM_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// The server at `http://HOST[:PORT]` or `https://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// As a request's `Host` says it: with the port unless it is the scheme's own.
    pub(crate) host: String,
    /// Host and port, to connect to.
    pub(crate) address: String,
    pub(crate) is_tls: bool,
}

impl Endpoint {
    /// Errors: one line that says how to write it.
    pub(crate) fn parse(text: &str) -> Result<Endpoint, String> {
        let bad = || format!("{text}: write http://HOST:PORT or https://HOST:PORT");
        let (scheme, host) = text.split_once("://").ok_or_else(bad)?;
        let (is_tls, port) = match scheme {
            "http" => (false, HTTP_PORT),
            "https" => (true, HTTPS_PORT),
            _ => return Err(bad()),
        };
        let host = host.trim_end_matches('/');
        if host.is_empty() || host.contains(['/', '?', '#', '@']) || host.contains(char::is_whitespace) {
            return Err(bad());
        }
        // The colons of an IPv6 address without a port lie in its brackets.
        let typed = host.rsplit_once(':').and_then(|(name, typed)| Some((name, typed.parse::<u16>().ok()?)));
        let (host, address) = match typed {
            Some((name, typed)) if typed == port => (name.to_owned(), host.to_owned()),
            Some(_) => (host.to_owned(), host.to_owned()),
            None => (host.to_owned(), format!("{host}:{port}")),
        };
        Ok(Endpoint { host, address, is_tls })
    }

    /// The name that its certificate must have.
    pub(crate) fn name(&self) -> &str {
        let name = self.address.rsplit_once(':').map_or(self.address.as_str(), |(name, _)| name);
        name.trim_matches(['[', ']'])
    }
}

/// Believes the certificates in `ca`; without any, those in `own` and those that the system believes.
///
/// Errors: one line that names the file, or says that there is nobody to believe.
pub(crate) fn trust(ca: &[PathBuf], own: Vec<PathBuf>) -> Result<Trust, String> {
    let files = match ca {
        [] => own.into_iter().chain(SYSTEM_BUNDLES.map(PathBuf::from).into_iter().find(|file| file.exists())).collect(),
        ca => ca.to_vec(),
    };
    if files.is_empty() {
        return Err(format!(
            "this machine has no list of certificate authorities ({}): name one of your own for https",
            SYSTEM_BUNDLES.join(", ")
        ));
    }
    Trust::of(&files).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_scheme_and_a_host() {
        for (text, host, address, name, is_tls) in [
            ("http://h", "h", "h:80", "h", false),
            ("http://h:9000/", "h:9000", "h:9000", "h", false),
            ("https://h.example", "h.example", "h.example:443", "h.example", true),
            ("https://h:443", "h", "h:443", "h", true),
            ("https://[::1]:9000", "[::1]:9000", "[::1]:9000", "::1", true),
            ("https://[::1]", "[::1]", "[::1]:443", "::1", true),
        ] {
            let found = Endpoint::parse(text).unwrap();
            assert_eq!((&*found.host, &*found.address, found.name(), found.is_tls), (host, address, name, is_tls));
        }
        for text in ["h:9000", "ftp://h", "http://", "http://h/bucket", "http://u@h", "https://h h"] {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(error.contains("https://HOST:PORT"), "{text}: {error}");
        }
    }
}

//! Certificates from PEM files: several at once, chosen by the name the client asks for, reloaded when files change.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Most certificates of one store: a handshake looks at each of them.
pub const CERTIFICATES_MAX: usize = 64;
/// Largest PEM file that is read.
pub const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// A certificate chain, leaf first, and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Where the PEM files are. The first pair answers clients that ask for no name, or for one nobody has.
#[derive(Clone, Debug)]
pub enum CertSource {
    /// Every `<name>.crt` or `<name>.pem` beside a `<name>.key`, in the order of their names.
    Directory(PathBuf),
    Pairs(Vec<KeyPair>),
}

#[derive(Debug)]
pub enum CertError {
    Read {
        path: PathBuf,
        error: io::Error,
    },
    /// No certificate or key in the file, or a malformed one.
    Pem {
        path: PathBuf,
        reason: String,
    },
    /// The key does not belong to the certificate, or is of an unsupported kind.
    Pair {
        path: PathBuf,
        error: rustls::Error,
    },
    /// Nothing to serve.
    Empty,
    TooMany,
    Tls(rustls::Error),
}

impl fmt::Display for CertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, error } => write!(f, "read {}: {error}", path.display()),
            Self::Pem { path, reason } => write!(f, "parse {}: {reason}", path.display()),
            Self::Pair { path, error } => write!(f, "use {} with its key: {error}", path.display()),
            Self::Empty => f.write_str("no certificate with a key found"),
            Self::TooMany => write!(f, "more than {CERTIFICATES_MAX} certificates"),
            Self::Tls(error) => write!(f, "configure TLS: {error}"),
        }
    }
}

impl std::error::Error for CertError {}

/// The certificates of one listener, shared by all shards.
pub struct CertStore {
    source: CertSource,
    resolver: Arc<Resolver>,
    config: Arc<ServerConfig>,
    /// What the files looked like when they were last read, well or badly.
    seen: Mutex<Vec<Stamp>>,
}

impl CertStore {
    /// Reads all files. Blocks on the file system: call it before the shards run, or on a helper thread.
    pub fn open(source: CertSource) -> Result<Self, CertError> {
        let pairs = find_pairs(&source)?;
        let seen = stamps(&pairs);
        let resolver = Arc::new(Resolver { keys: RwLock::new(Arc::new(load(&pairs)?)) });
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(CertError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(resolver.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Stateless tickets: a client may resume on whichever shard its next connection lands.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(CertError::Tls)?;
        Ok(Self { source, resolver, config: Arc::new(config), seen: Mutex::new(seen) })
    }

    /// Reads the files again if their list, a size or a time of change differs from the last look; true when new
    /// certificates are in use. On error the old ones stay, and the same broken files are not tried a second time.
    /// Blocks on the file system: call it on a helper thread, every few seconds.
    pub fn reload_if_changed(&self) -> Result<bool, CertError> {
        let pairs = find_pairs(&self.source)?;
        let now = stamps(&pairs);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now {
                return Ok(false);
            }
            *seen = now;
        }
        let keys = Arc::new(load(&pairs)?);
        *self.resolver.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(true)
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}

/// Path, time of change and size of one file; none when it cannot be looked at.
type Stamp = (PathBuf, Option<(SystemTime, u64)>);

fn stamps(pairs: &[KeyPair]) -> Vec<Stamp> {
    let paths = pairs.iter().flat_map(|pair| [&pair.cert, &pair.key]);
    paths
        .map(|path| {
            let stamp = fs::metadata(path).ok().and_then(|meta| Some((meta.modified().ok()?, meta.len())));
            (path.clone(), stamp)
        })
        .collect()
}

fn find_pairs(source: &CertSource) -> Result<Vec<KeyPair>, CertError> {
    let pairs = match source {
        CertSource::Pairs(pairs) => pairs.clone(),
        CertSource::Directory(directory) => {
            let read = |error| CertError::Read { path: directory.clone(), error };
            let mut pairs = Vec::new();
            for entry in fs::read_dir(directory).map_err(read)? {
                let cert = entry.map_err(read)?.path();
                let key = cert.with_extension("key");
                let is_cert = cert.extension().is_some_and(|extension| extension == "crt" || extension == "pem");
                if is_cert && key.is_file() {
                    pairs.push(KeyPair { cert, key });
                }
            }
            pairs.sort_by(|a, b| a.cert.cmp(&b.cert));
            pairs
        }
    };
    match pairs.len() {
        0 => Err(CertError::Empty),
        count if count > CERTIFICATES_MAX => Err(CertError::TooMany),
        _ => Ok(pairs),
    }
}

fn load(pairs: &[KeyPair]) -> Result<Vec<Arc<CertifiedKey>>, CertError> {
    let provider = aws_lc_rs::default_provider();
    pairs.iter().map(|pair| load_pair(pair, &provider).map(Arc::new)).collect()
}

fn load_pair(pair: &KeyPair, provider: &rustls::crypto::CryptoProvider) -> Result<CertifiedKey, CertError> {
    let bad = |path: &Path, reason: &dyn fmt::Display| CertError::Pem { path: path.into(), reason: reason.to_string() };
    let chain = CertificateDer::pem_slice_iter(&read_bounded(&pair.cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(&pair.cert, &error))?;
    let leaf = chain.first().ok_or_else(|| bad(&pair.cert, &"no certificate"))?;
    ParsedCertificate::try_from(leaf).map_err(|error| bad(&pair.cert, &error))?;
    let key = PrivateKeyDer::from_pem_slice(&read_bounded(&pair.key)?).map_err(|error| bad(&pair.key, &error))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| CertError::Pair { path: pair.cert.clone(), error })
}

pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, CertError> {
    let read = |error| CertError::Read { path: path.into(), error };
    let len = fs::metadata(path).map_err(read)?.len();
    if len > PEM_BYTES_MAX {
        return Err(CertError::Pem { path: path.into(), reason: "file too large".into() });
    }
    fs::read(path).map_err(read)
}

/// Picks a certificate per handshake. The lock is held for one pointer copy, and written once per reload.
struct Resolver {
    keys: RwLock<Arc<Vec<Arc<CertifiedKey>>>>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        choose(&keys, hello.server_name())
    }
}

/// The first certificate that names `name` itself, else the first whose wildcard covers it, else the first of all.
fn choose(keys: &[Arc<CertifiedKey>], name: Option<&str>) -> Option<Arc<CertifiedKey>> {
    let first = keys.first()?;
    let Some(name) = name else { return Some(first.clone()) };
    let mut wildcard = None;
    for key in keys.iter().filter(|key| covers(key, name)) {
        // Only a wildcard also covers a sibling that nobody has.
        let sibling = name.split_once('.').map(|(_, parent)| format!("hafiz-no-such-name.{parent}"));
        if !sibling.is_some_and(|sibling| covers(key, &sibling)) {
            return Some(key.clone());
        }
        wildcard = wildcard.or(Some(key));
    }
    Some(wildcard.unwrap_or(first).clone())
}

fn covers(key: &CertifiedKey, name: &str) -> bool {
    let Some(leaf) = key.cert.first() else { return false };
    let Ok(certificate) = ParsedCertificate::try_from(leaf) else { return false };
    ServerName::try_from(name).is_ok_and(|name| verify_server_name(&certificate, &name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a self-signed pair for `names` as `<stem>.crt` and `<stem>.key`.
    fn write_pair(directory: &Path, stem: &str, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        fs::write(directory.join(format!("{stem}.crt")), made.cert.pem()).unwrap();
        fs::write(directory.join(format!("{stem}.key")), made.signing_key.serialize_pem()).unwrap();
    }

    fn chosen(store: &CertStore, name: Option<&str>) -> Vec<u8> {
        let keys = store.resolver.keys.read().unwrap().clone();
        choose(&keys, name).unwrap().cert[0].to_vec()
    }

    fn on_disk(directory: &Path, stem: &str) -> Vec<u8> {
        CertificateDer::from_pem_file(directory.join(format!("{stem}.crt"))).unwrap().to_vec()
    }

    #[test]
    fn exact_names_come_before_wildcards_and_the_first_is_the_default() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        write_pair(at, "1-default", &["default.test"]);
        write_pair(at, "2-wild", &["*.s3.test"]);
        write_pair(at, "3-exact", &["b.s3.test"]);
        fs::write(at.join("4-lonely.crt"), "no key beside it").unwrap();
        let store = CertStore::open(CertSource::Directory(at.into())).unwrap();
        for (name, stem) in [
            (None, "1-default"),
            (Some("unknown.test"), "1-default"),
            (Some("default.test"), "1-default"),
            (Some("a.s3.test"), "2-wild"),
            (Some("b.s3.test"), "3-exact"),
            (Some("a.b.s3.test"), "1-default"),
        ] {
            assert!(chosen(&store, name) == on_disk(at, stem), "{name:?}");
        }
    }

    #[test]
    fn changed_files_are_taken_and_broken_ones_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        write_pair(at, "a", &["a.test"]);
        let store = CertStore::open(CertSource::Directory(at.into())).unwrap();
        assert!(!store.reload_if_changed().unwrap());
        let old = chosen(&store, None);

        fs::write(at.join("a.crt"), "-----BEGIN CERTIFICATE-----\ngarbage").unwrap();
        assert!(matches!(store.reload_if_changed(), Err(CertError::Pem { .. })));
        assert!(chosen(&store, None) == old);
        assert!(!store.reload_if_changed().unwrap(), "the same broken files are not read again");

        write_pair(at, "a", &["a.test", "longer.test"]);
        assert!(store.reload_if_changed().unwrap());
        assert!(chosen(&store, None) == on_disk(at, "a") && chosen(&store, None) != old);

        write_pair(at, "b", &["b.test"]);
        assert!(store.reload_if_changed().unwrap());
        assert!(chosen(&store, Some("b.test")) == on_disk(at, "b"));
    }

    #[test]
    fn pairs_that_cannot_work_are_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        assert!(matches!(CertStore::open(CertSource::Directory(at.into())), Err(CertError::Empty)));
        assert!(matches!(CertStore::open(CertSource::Directory(at.join("none"))), Err(CertError::Read { .. })));
        write_pair(at, "a", &["a.test"]);
        write_pair(at, "b", &["b.test"]);
        let pair = KeyPair { cert: at.join("a.crt"), key: at.join("b.key") };
        assert!(matches!(CertStore::open(CertSource::Pairs(vec![pair])), Err(CertError::Pair { .. })));
    }
}

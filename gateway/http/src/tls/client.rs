//! TLS as a client, over a blocking stream: for a command line that asks one server one thing at a time.
//!
//! A server is known by an authority that signed its certificate for its name, as everywhere, or by the very certificate: one
//! that was read from the server's own files needs neither name nor signature.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned,
};

use super::certs::{CertError, read_bounded};

/// Whom a client believes.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// The certificates in these PEM files, as authorities and as servers' own.
    ///
    /// Errors: a file that cannot be read, or has no certificate.
    pub fn of(files: &[PathBuf]) -> Result<Trust, CertError> {
        let mut known = Vec::new();
        for path in files {
            let bad = |reason: String| CertError::Pem { path: path.clone(), reason };
            let before = known.len();
            for certificate in CertificateDer::pem_slice_iter(&read_bounded(path)?) {
                known.push(certificate.map_err(|error| bad(error.to_string()))?);
            }
            if known.len() == before {
                return Err(bad("no certificate".to_owned()));
            }
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        // What is no authority is one of the servers' own.
        roots.add_parsable_certificates(known.iter().cloned());
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().ok();
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(CertError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { authorities, known, provider }))
            .with_no_client_auth();
        Ok(Trust(Arc::new(config)))
    }

    /// Encrypts a connection to the server of that name or address. The handshake comes with the first bytes.
    ///
    /// Errors: what is no name. A server that is not believed shows in the first read or write.
    pub fn encrypt<S: Read + Write>(&self, stream: S, name: &str) -> io::Result<StreamOwned<ClientConnection, S>> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        let connection = ClientConnection::new(self.0.clone(), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, stream))
    }
}

struct Verifier {
    /// `None` without any.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    known: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} certificates)", self.known.len())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // Byte for byte: whoever has its key is the server, which the handshake's signature proves.
        if self.known.iter().any(|known| known == leaf) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.authorities {
            Some(authorities) => authorities.verify_server_cert(leaf, intermediates, name, ocsp, now),
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

//! TLS by rustls: which certificate (`certs`) and the record layer over our own buffers (`session`).

pub mod certs;
pub(crate) mod session;

pub use certs::{CertError, CertSource, CertStore, KeyPair};

//! TLS by rustls: which certificate (`certs`), the record layer over our own buffers (`session`), and a
//! client for the command line (`client`).

pub mod certs;
pub mod client;
pub(crate) mod session;

pub use certs::{CertError, CertSource, CertStore, KeyPair};
pub use client::Trust;

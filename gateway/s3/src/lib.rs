//! HTTP messages to typed S3 requests, typed replies back to HTTP.
//!
//! Duty: addresses, routing, Signature V4, `aws-chunked` bodies, checksums, XML, dates, the one error table.
//! Order for one request: [`head::Head`] -> [`address::Address::split`] -> [`routing::route`] ->
//! [`sigv4::verify`] -> [`request::parse`] -> (XML body) -> a typed request for `ops`; its typed reply renders itself.
//!
//! Invariants:
//! - Pure: no I/O, no clock (time is an argument), no async, no state between calls.
//! - Every operation S3 knows is routed; a sub-resource never falls into another operation.
//! - A request that carries any trace of a signature is verified or refused, never taken as anonymous.
//! - A typed request holds only values that passed their check: malformed input stops in this crate.
//!
//! Must never know: sockets, the clock, the store, identities and policies.

pub mod address;
mod base64;
pub mod body;
pub mod checksum;
pub mod chunked;
pub mod conditions;
pub mod configuration;
pub mod copy_source;
pub mod date;
pub mod error;
pub mod head;
pub mod metadata;
pub mod query;
pub mod range;
pub mod reply;
pub mod request;
pub mod routing;
pub mod sigv4;
pub mod token;
pub mod xml;

pub use error::{Code, Error};

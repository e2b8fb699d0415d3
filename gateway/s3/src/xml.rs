//! XML documents: a bounded reader for the few that clients send, a small writer for all that we answer.

mod reader;
mod writer;

pub use reader::{Element, read};
pub use writer::Writer;

/// Longest document taken from a client.
pub const DOCUMENT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Deepest nesting taken from a client.
pub const DEPTH_MAX: usize = 16;
/// Most elements of one document: 10,000 parts with every field they may have.
pub const ELEMENTS_MAX: usize = 160_000;

/// The namespace of S3's documents.
pub const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

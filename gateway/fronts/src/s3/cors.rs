//! Browsers: the question they ask before a page's request, and what the reply to the request says to them.

use s3::Error;
use s3::address::Address;
use s3::configuration::cors::ORIGIN;
use s3::head::Head;
use s3::reply::Headers;

use super::{Answer, S3Front};

/// The method by which a browser asks.
const ASKING: &str = "OPTIONS";

impl S3Front {
    /// Answers the question, if the request is one. It comes before the signature: a browser has none to send, also where
    /// the request that follows is presigned.
    pub(super) fn preflight(&self, head: &Head<'_>, address: &Address) -> Option<Result<Answer, Error>> {
        if head.method != ASKING {
            return None;
        }
        let resource_type = if address.key.is_some() { "OBJECT" } else { "BUCKET" };
        let reply = ops::preflight(&self.ops, head, address.bucket.as_deref(), resource_type);
        Some(reply.map(Answer::from))
    }

    /// Adds to a reply what lets the page read it that sent the request, if the bucket's rules do. Refusals, too: a page
    /// that may not read them cannot tell them from a broken connection.
    pub(super) fn allow_origin(&self, head: &Head<'_>, headers: &mut Headers) {
        if head.method == ASKING || !head.has(ORIGIN) {
            return;
        }
        // Once more, for the few that come from pages: a request may have been refused before its address was known.
        let domains: Vec<&str> = self.config.domains.iter().map(String::as_str).collect();
        if let Ok(Address { bucket: Some(bucket), .. }) = Address::split(head, &domains) {
            ops::allow_origin(&self.ops, head, &bucket, headers);
        }
    }
}

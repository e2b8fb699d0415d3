//! Replies of operations on the configurations that a bucket keeps as documents.

use types::BucketName;

use super::Reply;
use crate::configuration::{Kind, Unwritten};
use crate::error::{Code, Error, Result};
use crate::request::ListConfigurations;
use crate::token;
use crate::xml::Writer;

/// Most configurations of one page.
pub const CONFIGURATIONS_PAGE_MAX: usize = 100;

/// What there is of one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored<'a> {
    Nothing,
    /// It was there once, and was deleted, where that makes a difference.
    Deleted(Code),
    Content(&'a str),
}

/// GetBucketTagging and all like it. An error where S3 has one for what is not there.
pub fn render_configuration(kind: Kind, stored: Stored<'_>, bucket: &BucketName) -> Result<Reply> {
    let missing = |code| Err(Error::new(code).field("BucketName", bucket.as_str()));
    let content = match (stored, kind.unwritten()) {
        (Stored::Content(content), _) | (Stored::Nothing, Unwritten::Content(content)) => content,
        (Stored::Deleted(code), _) | (Stored::Nothing, Unwritten::Missing(code)) => return missing(code),
    };
    let mut xml = Writer::document();
    xml.open_root(kind.root());
    xml.verbatim(content);
    xml.close(kind.root());
    Ok(Reply::xml(200, xml))
}

/// A page of all configurations of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedConfigurations {
    /// Their contents, by id; at most `CONFIGURATIONS_PAGE_MAX`.
    pub contents: Vec<String>,
    /// The id of the last one, when there are more after it.
    pub next: Option<String>,
}

impl ListedConfigurations {
    pub fn render(&self, request: &ListConfigurations) -> Reply {
        let root = request.kind.list_root().expect("only kinds with ids are listed");
        let mut xml = Writer::document();
        xml.open_root(root);
        for content in &self.contents {
            xml.open(request.kind.root());
            xml.verbatim(content);
            xml.close(request.kind.root());
        }
        xml.flag("IsTruncated", self.next.is_some());
        xml.optional("ContinuationToken", request.continuation.as_ref().map(|(token, _)| token.as_str()));
        xml.optional("NextContinuationToken", self.next.as_deref().map(token::encode).as_deref());
        xml.close(root);
        Reply::xml(200, xml)
    }
}

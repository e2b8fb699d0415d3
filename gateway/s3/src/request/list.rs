//! ListObjects in both versions, and ListObjectVersions.

use types::VersionId;

use super::bucket::demands_on_bucket;
use super::{BucketRef, Demand, Demands, Source};
use crate::error::{Error, Result};
use crate::routing::Operation;
use crate::token;

/// Most keys of one page; more asked for is cut to it.
pub const KEYS_MAX: u32 = 1_000;

/// What both versions share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Empty when absent.
    pub prefix: String,
    /// Never empty.
    pub delimiter: Option<String>,
    /// 0 to 1,000.
    pub max_keys: u32,
    /// `encoding-type=url`.
    pub encoding_url: bool,
}

impl Page {
    fn parse(source: &Source<'_>) -> Result<Page> {
        Ok(Page {
            prefix: source.text("prefix").unwrap_or_default(),
            delimiter: source.text("delimiter"),
            max_keys: source.number("max-keys", KEYS_MAX, KEYS_MAX)?,
            encoding_url: source.encoding_url()?,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListObjects {
    pub bucket: BucketRef,
    pub page: Page,
    /// List what comes after this key, which need not exist; empty: from the start.
    pub marker: String,
}

impl ListObjects {
    pub(super) fn parse(source: &Source<'_>) -> Result<ListObjects> {
        Ok(ListObjects {
            bucket: source.bucket()?,
            page: Page::parse(source)?,
            marker: source.text("marker").unwrap_or_default(),
        })
    }

    /// Where to continue: after this name; a common prefix stands for all keys below it.
    pub fn after(&self) -> &str {
        &self.marker
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListObjectsV2 {
    pub bucket: BucketRef,
    pub page: Page,
    pub start_after: Option<String>,
    /// The token as sent, for the reply, and the name it holds.
    pub continuation: Option<(String, String)>,
    pub fetch_owner: bool,
}

impl ListObjectsV2 {
    pub(super) fn parse(source: &Source<'_>) -> Result<ListObjectsV2> {
        let query = &source.address.query;
        let name = "continuation-token";
        let continuation = match query.get(name) {
            None => None,
            // Sent by clients that page from the very start; told back as it came.
            Some("") => Some((String::new(), String::new())),
            Some(text) => match token::decode(text) {
                Some(after) => Some((text.to_owned(), after)),
                None => return Err(Error::argument(name, text, "The continuation token provided is incorrect")),
            },
        };
        Ok(ListObjectsV2 {
            bucket: source.bucket()?,
            page: Page::parse(source)?,
            start_after: source.text("start-after"),
            continuation,
            fetch_owner: query.get("fetch-owner") == Some("true"),
        })
    }

    /// Where to continue: after this name; a token overrules `start-after`. Empty: from the start.
    pub fn after(&self) -> &str {
        match (&self.continuation, &self.start_after) {
            (Some((_, after)), _) if !after.is_empty() => after,
            (_, Some(after)) => after,
            (_, None) => "",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListObjectVersions {
    pub bucket: BucketRef,
    pub page: Page,
    /// List what comes after this key; empty: from the start.
    pub key_marker: String,
    /// The version of that key to go on after. Only with a key marker.
    pub version_id_marker: Option<VersionId>,
}

impl ListObjectVersions {
    pub(super) fn parse(source: &Source<'_>) -> Result<ListObjectVersions> {
        let key_marker = source.text("key-marker").unwrap_or_default();
        let name = "version-id-marker";
        let version_id_marker = match source.text(name) {
            None => None,
            Some(text) if key_marker.is_empty() => {
                let message = "A version-id marker cannot be specified without a key marker.";
                return Err(Error::argument(name, &text, message));
            }
            Some(text) => match VersionId::parse(&text) {
                Some(version) => Some(version),
                None => return Err(Error::argument(name, &text, "Invalid version id specified")),
            },
        };
        Ok(ListObjectVersions { bucket: source.bucket()?, page: Page::parse(source)?, key_marker, version_id_marker })
    }
}

demands_on_bucket! {
    ListObjects
    ListObjectsV2
    ListObjectVersions
}

//! The tags of a bucket, and what a tag may be.

use std::collections::HashSet;

use super::fields::{Fields, text};
use crate::error::{Code, Error, Result};
use crate::xml::{Element, Writer};

/// Most tags of a bucket.
const TAGS_MAX: usize = 50;
/// Longest key and value, in units of UTF-16, which is what S3 counts in.
const KEY_LEN_MAX: usize = 128;
const VALUE_LEN_MAX: usize = 256;
/// Tags that begin so are S3's own.
const RESERVED_PREFIX: &str = "aws:";

/// Copies the tag set of a document; no tags are no content.
pub(super) fn copy(fields: &mut Fields<'_>, xml: &mut Writer) -> Result<()> {
    copy_set(&mut fields.required_inner("TagSet")?, xml)
}

/// Copies the tags within an element.
pub(super) fn copy_set(set: &mut Fields<'_>, xml: &mut Writer) -> Result<()> {
    let tags = set.all("Tag");
    set.end()?;
    if tags.len() > TAGS_MAX {
        let message = format!("Bucket tag count cannot be greater than {TAGS_MAX}");
        return Err(Error::with(Code::BadRequest, message));
    }
    let mut keys = HashSet::new();
    if tags.is_empty() {
        return Ok(());
    }
    xml.open("TagSet");
    for tag in tags {
        let key = copy_tag(tag, xml)?;
        if key.get(..RESERVED_PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(RESERVED_PREFIX)) {
            return Err(invalid("System tags cannot be added/updated by requester", key));
        }
        if !keys.insert(key) {
            return Err(invalid("Cannot provide multiple Tags with the same key", key));
        }
    }
    xml.close("TagSet");
    Ok(())
}

/// Copies one tag, and returns its key.
pub(super) fn copy_tag<'a>(tag: &'a Element, xml: &mut Writer) -> Result<&'a str> {
    let mut fields = Fields::of(tag)?;
    let (key, value) = (text(fields.required("Key")?)?, text(fields.required("Value")?)?);
    fields.end()?;
    if key.is_empty() || !is_tag_text(key, KEY_LEN_MAX) {
        return Err(invalid("The TagKey you have provided is invalid", key));
    }
    if !is_tag_text(value, VALUE_LEN_MAX) {
        return Err(invalid("The TagValue you have provided is invalid", key));
    }
    xml.open("Tag");
    xml.text("Key", key);
    xml.text("Value", value);
    xml.close("Tag");
    Ok(key)
}

/// Letters, digits and blanks of any script, and a few signs.
fn is_tag_text(text: &str, len_max: usize) -> bool {
    let is_valid = |char: char| {
        let is_word = char.is_alphanumeric() || char.is_whitespace() && !char.is_control();
        is_word || matches!(char, '+' | '-' | '=' | '.' | '_' | ':' | '/' | '@')
    };
    text.chars().all(is_valid) && text.encode_utf16().count() <= len_max
}

fn invalid(message: &'static str, key: &str) -> Error {
    Error::with(Code::InvalidTag, message).field("TagKey", key)
}

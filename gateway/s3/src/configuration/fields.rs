//! The children of one element, taken by name, each check once for all documents.

use crate::error::{Code, Error, Result};
use crate::xml::Element;

/// Longest prefix of a key, and longest text of any other kind that has no limit of its own.
pub(super) const TEXT_BYTES_MAX: usize = 1024;

pub(super) fn malformed() -> Error {
    Error::new(Code::MalformedXml)
}

/// Children that nobody has taken yet. What is left at the end is nothing that S3 knows.
pub(super) struct Fields<'a> {
    rest: Vec<&'a Element>,
}

impl<'a> Fields<'a> {
    /// Of an element that holds elements only.
    pub(super) fn of(element: &'a Element) -> Result<Fields<'a>> {
        if element.text.trim().is_empty() {
            Ok(Fields { rest: element.children.iter().collect() })
        } else {
            Err(malformed())
        }
    }

    /// All of this name, in order.
    pub(super) fn all(&mut self, name: &str) -> Vec<&'a Element> {
        self.rest.extract_if(.., |element| element.name == name).collect()
    }

    /// The one of this name. Two are `MalformedXML`.
    pub(super) fn optional(&mut self, name: &str) -> Result<Option<&'a Element>> {
        match self.all(name)[..] {
            [] => Ok(None),
            [element] => Ok(Some(element)),
            [..] => Err(malformed()),
        }
    }

    pub(super) fn required(&mut self, name: &str) -> Result<&'a Element> {
        self.optional(name)?.ok_or_else(malformed)
    }

    /// The children of the one of this name.
    pub(super) fn inner(&mut self, name: &str) -> Result<Option<Fields<'a>>> {
        self.optional(name)?.map(Fields::of).transpose()
    }

    pub(super) fn required_inner(&mut self, name: &str) -> Result<Fields<'a>> {
        Fields::of(self.required(name)?)
    }

    /// The text of the one of this name, as it is.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<&'a str>> {
        self.optional(name)?.map(text).transpose()
    }

    pub(super) fn required_text(&mut self, name: &str) -> Result<&'a str> {
        text(self.required(name)?)
    }

    /// The text of the one of this name, which is one of `words`.
    pub(super) fn required_word(&mut self, name: &str, words: &[&'static str]) -> Result<&'static str> {
        word(self.required_text(name)?, words)
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        self.text(name)?.map(flag).transpose()
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(malformed()) }
    }
}

/// The text of an element without children, within `TEXT_BYTES_MAX`, of characters that XML can carry: a document with
/// others could not be read back.
pub(super) fn text(element: &Element) -> Result<&str> {
    let is_carried = |byte: u8| byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r');
    let fits = element.text.len() <= TEXT_BYTES_MAX && element.text.bytes().all(is_carried);
    if element.children.is_empty() && fits { Ok(&element.text) } else { Err(malformed()) }
}

/// One of `words`, in their own case.
pub(super) fn word(text: &str, words: &[&'static str]) -> Result<&'static str> {
    words.iter().find(|word| **word == text.trim()).copied().ok_or_else(malformed)
}

/// S3's own examples write `TRUE`, SDKs write `true`.
fn flag(text: &str) -> Result<bool> {
    match text.trim() {
        text if text.eq_ignore_ascii_case("true") => Ok(true),
        text if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(malformed()),
    }
}

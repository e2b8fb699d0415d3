//! Reads a client's document into a tree, within bounds. This module is the only one that names quick-xml.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::{DEPTH_MAX, DOCUMENT_BYTES_MAX, ELEMENTS_MAX};
use crate::error::{Code, Error, Result};

/// An element without its namespace prefix; attributes are not kept, no document of S3 we read needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    pub name: String,
    /// The element's own text, references resolved, not trimmed.
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    pub fn children(&self, name: &str) -> impl Iterator<Item = &Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of a child, as it is.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }
}

/// Reads one document whose root is `root`. `MalformedXML` for anything that is not one well-formed element within
/// the bounds, and for document types and entities beyond the five of XML: nothing here expands.
pub fn read(document: &[u8], root: &str) -> Result<Element> {
    let malformed = || Error::new(Code::MalformedXml);
    if document.len() > DOCUMENT_BYTES_MAX {
        return Err(Error::new(Code::MaxMessageLengthExceeded));
    }
    let text = std::str::from_utf8(document).map_err(|_| malformed())?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut open: Vec<Element> = Vec::new();
    let mut done: Option<Element> = None;
    let mut elements = 0;
    loop {
        match reader.read_event().map_err(|_| malformed())? {
            Event::Start(start) => {
                elements += 1;
                if done.is_some() || open.len() == DEPTH_MAX || elements > ELEMENTS_MAX {
                    return Err(malformed());
                }
                open.push(element(&start));
            }
            Event::Empty(start) => {
                elements += 1;
                if done.is_some() || open.len() == DEPTH_MAX || elements > ELEMENTS_MAX {
                    return Err(malformed());
                }
                close(&mut open, &mut done, element(&start));
            }
            Event::End(_) => {
                // The reader has checked that the names match.
                let element = open.pop().ok_or_else(malformed)?;
                close(&mut open, &mut done, element);
            }
            Event::Text(text) => append(&mut open, &text.xml10_content())?,
            Event::CData(text) => append(&mut open, &text.xml10_content())?,
            Event::GeneralRef(reference) => append(&mut open, &resolve(&reference)?)?,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::DocType(_) => return Err(malformed()),
            Event::Eof => break,
        }
    }
    match done {
        Some(element) if open.is_empty() && element.name == root => Ok(element),
        Some(_) | None => Err(malformed()),
    }
}

fn element(start: &BytesStart<'_>) -> Element {
    Element { name: start.local_name().as_ref().to_owned(), ..Element::default() }
}

fn close(open: &mut [Element], done: &mut Option<Element>, element: Element) {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *done = Some(element),
    }
}

fn append(open: &mut [Element], text: &str) -> Result<()> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(Error::new(Code::MalformedXml)),
    }
    Ok(())
}

fn resolve(reference: &BytesRef<'_>) -> Result<String> {
    if let Some(character) = reference.resolve_char_ref().map_err(|_| Code::MalformedXml)? {
        return if character == '\0' { Err(Error::new(Code::MalformedXml)) } else { Ok(character.to_string()) };
    }
    let text = match &*reference.xml10_content() {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        _ => return Err(Error::new(Code::MalformedXml)),
    };
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_with_prefixes_references_and_cdata() {
        let document = b"\xef\xbb\xbf<?xml version=\"1.0\"?><!-- c --><p:D xmlns:p=\"u\"><Q/>\n<K>a&amp;&#x42;&#67; \
                         <![CDATA[<d>]]></K></p:D>\n";
        let root = read(document, "D").unwrap();
        assert_eq!(root.text_of("K"), Some("a&BC <d>"));
        assert_eq!(root.text_of("Q"), Some(""));
    }

    #[test]
    fn broken_documents_bombs_and_wrong_roots_are_malformed() {
        let deep = format!("{}{}", "<D>".repeat(DEPTH_MAX + 1), "</D>".repeat(DEPTH_MAX + 1));
        let wide = format!("<D>{}</D>", "<a/>".repeat(ELEMENTS_MAX + 1));
        for document in [
            "",
            "x",
            "<D>",
            "<D></E>",
            "</D>",
            "<D/><D/>",
            "<D/>x",
            "<E/>",
            "<D>&unknown;</D>",
            "<D>&#0;</D>",
            "<!DOCTYPE D [<!ENTITY a \"b\">]><D>&a;</D>",
            &deep,
            &wide,
        ] {
            let code = read(document.as_bytes(), "D").unwrap_err().code;
            assert_eq!(code, Code::MalformedXml, "{}", document.get(..60).unwrap_or(document));
        }
        assert_eq!(read(b"<D>\xff</D>", "D").unwrap_err().code, Code::MalformedXml);
        let long = vec![b' '; DOCUMENT_BYTES_MAX + 1];
        assert_eq!(read(&long, "D").unwrap_err().code, Code::MaxMessageLengthExceeded);
    }
}

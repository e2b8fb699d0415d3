//! JSON as policies have it: a bounded tree in which no object has a name twice. This module is the only one that
//! names serde_json.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Deepest nesting: document, statements, statement, condition, operator, values are six.
const DEPTH_MAX: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// As text: policies compare numbers as decimals.
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Broken, nested too deeply, or with a name twice in one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidJson;

/// Reads one document. The caller bounds its length.
pub(super) fn read(document: &[u8]) -> Result<Json, InvalidJson> {
    let mut reader = serde_json::Deserializer::from_slice(document);
    let json = Depth(DEPTH_MAX).deserialize(&mut reader).map_err(|_| InvalidJson)?;
    reader.end().map_err(|_| InvalidJson)?;
    Ok(json)
}

/// Bytes and characters of a document without the white space between its tokens.
pub(super) fn normalized_len(document: &str) -> (usize, usize) {
    let (mut bytes, mut characters) = (0, 0);
    let (mut in_text, mut is_escaped) = (false, false);
    for c in document.chars() {
        if !in_text && matches!(c, ' ' | '\t' | '\n' | '\r') {
            continue;
        }
        (bytes, characters) = (bytes + c.len_utf8(), characters + 1);
        if c == '"' && !is_escaped {
            in_text = !in_text;
        }
        is_escaped = in_text && c == '\\' && !is_escaped;
    }
    (bytes, characters)
}

/// Reads one value that may nest so much further.
#[derive(Clone, Copy)]
struct Depth(usize);

impl Depth {
    fn below<E: Error>(self) -> Result<Depth, E> {
        self.0.checked_sub(1).map(Depth).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Number(number.to_string()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut values = Vec::new();
        while let Some(value) = array.next_element_seed(below)? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut members: Vec<(String, Json)> = Vec::new();
        let mut names = HashSet::new();
        while let Some(name) = object.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom("a name stands twice"));
            }
            members.push((name, object.next_value_seed(below)?));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Json {
        Json::Text(text.to_owned())
    }

    #[test]
    fn documents_are_read_in_their_order() {
        let check = |document: &str, expect: Json| assert_eq!(read(document.as_bytes()), Ok(expect), "{document}");
        check("null", Json::Null);
        check(" true\n", Json::Bool(true));
        check("-1", Json::Number("-1".to_owned()));
        check("1.5", Json::Number("1.5".to_owned()));
        check("18446744073709551615", Json::Number("18446744073709551615".to_owned()));
        check("\"\\u00fc\\n\"", text("ü\n"));
        check("[\"a\",[]]", Json::Array(vec![text("a"), Json::Array(vec![])]));
        let members = vec![("b".to_owned(), text("1")), ("a".to_owned(), Json::Object(vec![]))];
        check("{\"b\":\"1\",\"a\":{}}", Json::Object(members));
        check("[[[[[[[[]]]]]]]]", nested(8));
    }

    fn nested(depth: usize) -> Json {
        (1..depth).fold(Json::Array(vec![]), |inner, _| Json::Array(vec![inner]))
    }

    #[test]
    fn broken_deep_and_ambiguous_documents_are_refused() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let open = "{\"a\":".repeat(10_000);
        for document in [
            "",
            "{",
            "{}}",
            "{} {}",
            "{\"a\":1,}",
            "{'a':1}",
            "{\"a\":1,\"a\":1}",
            "{\"a\":1,\"\\u0061\":1}",
            "[{\"x\":{\"a\":1,\"a\":2}}]",
            "[[[[[[[[[]]]]]]]]]",
            "\"\u{1}\"",
            "\"\\ud800\"",
            "nul",
            "01",
            "1e999",
            "// comment\n{}",
            &deep,
            &open,
        ] {
            assert_eq!(read(document.as_bytes()), Err(InvalidJson), "{}", document.get(..40).unwrap_or(document));
        }
        assert_eq!(read(b"\"\xff\""), Err(InvalidJson));
        assert_eq!(read(b"\xef\xbb\xbf{}"), Err(InvalidJson));
    }

    #[test]
    fn white_space_counts_within_texts_only() {
        let check = |document: &str, expect: (usize, usize)| {
            assert_eq!(normalized_len(document), expect, "{document}");
        };
        check("", (0, 0));
        check("{ }\r\n\t", (2, 2));
        check("{ \"a b\" : \"c\\\" \" }", (14, 14));
        check("\"\\\\\" \" \"", (7, 7));
        check("\"ü\"", (4, 3));
    }
}

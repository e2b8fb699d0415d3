//! JSON as the admin endpoint writes it, read into a tree.

use std::fmt;

/// Deeper documents are refused: reading them takes stack.
const DEPTH_MAX: usize = 16;

/// A value. Looking for what is not there gives nothing: empty text, 0, false.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Truth(bool),
    Number(u64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// `None` when it is no JSON, or has numbers that are not whole.
    pub(crate) fn parse(text: &str) -> Option<Json> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        reader.skip_space();
        (reader.at == text.len()).then_some(value)
    }

    fn field(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(fields) => fields.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The same with other text in a field.
    pub(crate) fn with_text(mut self, name: &str, text: &str) -> Json {
        if let Json::Object(fields) = &mut self
            && let Some((_, value)) = fields.iter_mut().find(|(known, _)| known == name)
        {
            *value = Json::Text(text.to_owned());
        }
        self
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        match self.field(name) {
            Some(Json::Text(text)) => text,
            _ => "",
        }
    }

    pub(crate) fn number_if(&self, name: &str) -> Option<u64> {
        match self.field(name) {
            Some(Json::Number(number)) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.number_if(name).unwrap_or(0)
    }

    pub(crate) fn truth(&self, name: &str) -> bool {
        self.field(name) == Some(&Json::Truth(true))
    }

    pub(crate) fn list(&self, name: &str) -> &[Json] {
        match self.field(name) {
            Some(Json::List(list)) => list,
            _ => &[],
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Truth(truth) => write!(f, "{truth}"),
            Json::Number(number) => write!(f, "{number}"),
            Json::Text(text) => quote(f, text),
            Json::List(list) => {
                f.write_str("[")?;
                for (n, value) in list.iter().enumerate() {
                    write!(f, "{}{value}", if n == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Json::Object(fields) => {
                f.write_str("{")?;
                for (n, (name, value)) in fields.iter().enumerate() {
                    f.write_str(if n == 0 { "" } else { ", " })?;
                    quote(f, name)?;
                    write!(f, ": {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    /// Takes the word if it comes next.
    fn take(&mut self, word: &str) -> bool {
        self.skip_space();
        let is_next = self.rest().starts_with(word);
        self.at += if is_next { word.len() } else { 0 };
        is_next
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.skip_space();
        match self.rest().chars().next()? {
            '{' => self.object(depth),
            '[' => self.list(depth),
            '"' => self.quoted().map(Json::Text),
            '0'..='9' => self.whole(),
            _ if self.take("null") => Some(Json::Null),
            _ if self.take("true") => Some(Json::Truth(true)),
            _ => self.take("false").then_some(Json::Truth(false)),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        let mut fields = Vec::new();
        self.take("{");
        while !self.take("}") {
            if !fields.is_empty() && !self.take(",") {
                return None;
            }
            self.skip_space();
            let name = self.quoted()?;
            if !self.take(":") {
                return None;
            }
            fields.push((name, self.value(depth + 1)?));
        }
        Some(Json::Object(fields))
    }

    fn list(&mut self, depth: usize) -> Option<Json> {
        let mut list = Vec::new();
        self.take("[");
        while !self.take("]") {
            if !list.is_empty() && !self.take(",") {
                return None;
            }
            list.push(self.value(depth + 1)?);
        }
        Some(Json::List(list))
    }

    fn whole(&mut self) -> Option<Json> {
        let rest = self.rest();
        let len = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = rest[..len].parse().ok()?;
        self.at += len;
        (!self.rest().starts_with(['.', 'e', 'E'])).then_some(Json::Number(number))
    }

    fn quoted(&mut self) -> Option<String> {
        let mut chars = self.text[self.at..].char_indices();
        if chars.next()?.1 != '"' {
            return None;
        }
        let mut text = String::new();
        loop {
            let (at, c) = chars.next()?;
            match c {
                '"' => {
                    self.at += at + 1;
                    return Some(text);
                }
                '\\' => text.push(match chars.next()?.1 {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'u' => {
                        let digits: String = (0..4).map_while(|_| chars.next().map(|(_, c)| c)).collect();
                        char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
                    }
                    c @ ('"' | '\\' | '/') => c,
                    _ => return None,
                }),
                c => text.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_read_back_as_they_were_written() {
        let text = r#"{"a": "x\"\\\u000a", "n": 18446744073709551615, "list": [{"id": "1"}, null, true, []], "o": {}}"#;
        let json = Json::parse(text).unwrap();
        assert_eq!(json.to_string(), text);
        assert_eq!((json.text("a"), json.number("n"), json.list("list").len()), ("x\"\\\n", u64::MAX, 4));
        assert_eq!((json.text("n"), json.number("a"), json.truth("none")), ("", 0, false));
    }

    #[test]
    fn what_is_no_json_of_ours_is_refused() {
        for text in ["", "{", "{\"a\"}", "[1 2]", "1.5", "-1", "\"", "{} x", "<Error/>", "\"\\q\"", &"[".repeat(100)] {
            assert_eq!(Json::parse(text), None, "{text}");
        }
    }
}

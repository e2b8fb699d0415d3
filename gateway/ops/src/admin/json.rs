//! JSON as it is written: objects and arrays, in order.

use std::fmt::Write;

/// A document under construction. Brackets are the caller's to balance.
#[derive(Default)]
pub(super) struct Json {
    text: String,
}

impl Json {
    pub(super) fn open(&mut self, bracket: char) -> &mut Json {
        self.comma();
        self.text.push(bracket);
        self
    }

    pub(super) fn close(&mut self, bracket: char) -> &mut Json {
        self.text.push(bracket);
        self
    }

    pub(super) fn name(&mut self, name: &str) -> &mut Json {
        self.comma();
        self.quote(name);
        self.text.push(':');
        self
    }

    pub(super) fn text(&mut self, name: &str, value: &str) -> &mut Json {
        self.name(name).quote(value);
        self
    }

    pub(super) fn texts(&mut self, name: &str, values: &[String]) -> &mut Json {
        self.name(name).open('[');
        for value in values {
            self.comma();
            self.quote(value);
        }
        self.close(']')
    }

    pub(super) fn number(&mut self, name: &str, value: u64) -> &mut Json {
        self.name(name);
        write!(self.text, "{value}").expect("a String takes every write");
        self
    }

    /// `null` for none.
    pub(super) fn number_if(&mut self, name: &str, value: Option<u64>) -> &mut Json {
        match value {
            Some(value) => self.number(name, value),
            None => self.raw(name, "null"),
        }
    }

    pub(super) fn truth(&mut self, name: &str, value: bool) -> &mut Json {
        self.raw(name, if value { "true" } else { "false" })
    }

    pub(super) fn finish(&mut self) -> String {
        self.text.push('\n');
        std::mem::take(&mut self.text)
    }

    fn raw(&mut self, name: &str, value: &str) -> &mut Json {
        self.name(name);
        self.text.push_str(value);
        self
    }

    fn comma(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(['{', '[', ':']) {
            self.text.push(',');
        }
    }

    fn quote(&mut self, value: &str) {
        self.text.push('"');
        for c in value.chars() {
            match c {
                '"' | '\\' => self.text.extend(['\\', c]),
                c if c < ' ' => write!(self.text, "\\u{:04x}", u32::from(c)).expect("a String takes every write"),
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_commas_where_they_belong_and_text_is_escaped() {
        let mut json = Json::default();
        json.open('{')
            .text("a\"\\", "b\n:")
            .name("list")
            .open('[')
            .open('{')
            .close('}')
            .open('{')
            .close('}')
            .close(']');
        json.number("n", 7).number_if("none", None).truth("yes", true);
        json.texts("no", &[]).texts("two", &["a".to_owned(), "b,[".to_owned()]);
        json.name("inner").open('{').close('}').close('}');
        let expect = concat!(
            r#"{"a\"\\":"b\u000a:","list":[{},{}],"n":7,"none":null,"yes":true,"#,
            r#""no":[],"two":["a","b,["],"inner":{}}"#,
        );
        assert_eq!(json.finish(), format!("{expect}\n"));
    }
}

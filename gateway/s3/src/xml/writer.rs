//! Writes XML text: elements, text, the one namespace. No indentation, as S3.

use super::NAMESPACE;

/// A document under construction.
pub struct Writer {
    out: String,
}

impl Writer {
    /// Starts with the XML declaration.
    pub fn document() -> Writer {
        Writer { out: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n") }
    }

    pub fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    /// Opens the root of a document in S3's namespace.
    pub fn open_root(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push_str(" xmlns=\"");
        self.out.push_str(NAMESPACE);
        self.out.push_str("\">");
    }

    pub fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// One element with text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        self.escape(text);
        self.close(name);
    }

    /// Text within the element that is open.
    pub fn content(&mut self, text: &str) {
        self.escape(text);
    }

    pub fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    pub fn number(&mut self, name: &str, number: u64) {
        self.text(name, &number.to_string());
    }

    pub fn flag(&mut self, name: &str, flag: bool) {
        self.text(name, if flag { "true" } else { "false" });
    }

    pub fn finish(self) -> String {
        self.out
    }

    /// Control characters become references, as S3 writes them: not all parsers take them, hence `encoding-type=url`.
    fn escape(&mut self, text: &str) {
        let mut plain_from = 0;
        for (index, byte) in text.bytes().enumerate() {
            let escaped = match byte {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                0x20.. | b'\n' | b'\t' => continue,
                _ => "",
            };
            self.out.push_str(&text[plain_from..index]);
            plain_from = index + 1;
            if escaped.is_empty() {
                self.out.push_str(&format!("&#x{byte:X};"));
            } else {
                self.out.push_str(escaped);
            }
        }
        self.out.push_str(&text[plain_from..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut xml = Writer::document();
        xml.open_root("R");
        xml.text("K", "a<b>&\"'\r\n\u{1}\u{e9}");
        xml.close("R");
        assert_eq!(
            xml.finish(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <K>a&lt;b&gt;&amp;&quot;'&#xD;\n&#x1;\u{e9}</K></R>"
        );
    }
}

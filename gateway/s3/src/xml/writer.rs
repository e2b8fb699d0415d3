//! Writes XML text: elements, text, the one namespace. No indentation, as S3.

use super::NAMESPACE;

/// Decimal digits of the largest number.
const DIGITS_MAX: usize = 20;

/// A document under construction.
pub struct Writer {
    out: String,
}

impl Writer {
    /// Starts with the XML declaration.
    pub fn document() -> Writer {
        Writer { out: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n") }
    }

    /// Starts with nothing: what it writes is to stand within a document.
    pub fn piece() -> Writer {
        Writer { out: String::new() }
    }

    /// Makes room for about so many bytes more, so that a long document does not move as it grows.
    pub fn reserve(&mut self, len: usize) {
        self.out.reserve(len);
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
        self.open(name);
        self.digits(number);
        self.close(name);
    }

    /// Text as it stands in the document, often several tags at once: for long lists, whose cost is the number of pieces.
    pub fn verbatim(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Lets `push` append text within the element that is open. It needs no escape.
    pub fn plain(&mut self, push: impl FnOnce(&mut String)) {
        let from = self.out.len();
        push(&mut self.out);
        debug_assert!(!needs_escape(&self.out[from..]), "{} needs an escape", &self.out[from..]);
    }

    /// A number within the element that is open.
    pub fn digits(&mut self, number: u64) {
        let mut digits = [0; DIGITS_MAX];
        let (mut from, mut rest) = (DIGITS_MAX, number);
        loop {
            from -= 1;
            digits[from] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.out.push_str(std::str::from_utf8(&digits[from..]).expect("digits are ASCII"));
    }

    pub fn flag(&mut self, name: &str, flag: bool) {
        self.text(name, if flag { "true" } else { "false" });
    }

    pub fn finish(self) -> String {
        self.out
    }

    /// Control characters become references, as S3 writes them: not all parsers take them, hence `encoding-type=url`.
    fn escape(&mut self, text: &str) {
        if !needs_escape(text) {
            self.out.push_str(text);
            return;
        }
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

/// Looks at every byte, without a branch in between: most text needs no escape, and so the loop takes many at a time.
fn needs_escape(text: &str) -> bool {
    let special = |byte: u8| (byte < 0x20) | matches!(byte, b'&' | b'<' | b'>' | b'"');
    text.bytes().fold(false, |found, byte| found | special(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 100, 4_294_967_296, u64::MAX] {
            let mut xml = Writer { out: String::new() };
            xml.number("N", number);
            assert_eq!(xml.finish(), format!("<N>{number}</N>"));
        }
    }

    #[test]
    fn text_is_escaped() {
        let mut xml = Writer::document();
        xml.open_root("R");
        xml.text("K", "a<b>&\"'\r\n\u{1}\u{e9}");
        xml.close("R");
        let plain = "plain \u{e9}";
        for special in ["&", "<", ">", "\"", "\r", "\n", "\u{1}"] {
            assert!(needs_escape(&format!("{plain}{special}")), "{special:?}");
        }
        assert!(!needs_escape(plain));
        assert_eq!(
            xml.finish(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <K>a&lt;b&gt;&amp;&quot;'&#xD;\n&#x1;\u{e9}</K></R>"
        );
    }
}

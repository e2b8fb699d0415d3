//! Continuation tokens: opaque to clients, a name to us.

use crate::base64;

/// First byte of a token, so that its meaning can change.
const VERSION: u8 = 1;

/// The token that continues after `name`.
pub fn encode(name: &str) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend(name.as_bytes());
    base64::encode_url(&bytes)
}

/// The name in a token; `None` when we did not make it.
pub fn decode(token: &str) -> Option<String> {
    let bytes = base64::decode_url(token)?;
    let (&VERSION, name) = bytes.split_first()? else {
        return None;
    };
    String::from_utf8(name.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_a_foreign_one_is_refused() {
        for name in ["", "a/b", "\u{e9}\n%"] {
            assert_eq!(decode(&encode(name)).as_deref(), Some(name));
        }
        for token in ["", "a", "!", "AAAA", "Af8"] {
            assert_eq!(decode(token), None, "{token}");
        }
    }
}

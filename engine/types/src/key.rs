//! Object keys: any UTF-8 of 1 to 1,024 bytes, compared as bytes, never normalised.

use std::fmt;

/// The key of an object within its bucket.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Box<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidKey {
    Empty,
    TooLong,
}

impl ObjectKey {
    pub const LEN_MAX: usize = 1024;

    pub fn parse(key: &str) -> Result<ObjectKey, InvalidKey> {
        match key.len() {
            0 => Err(InvalidKey::Empty),
            1..=Self::LEN_MAX => Ok(ObjectKey(key.into())),
            _ => Err(InvalidKey::TooLong),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> String {
        key.0.into()
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

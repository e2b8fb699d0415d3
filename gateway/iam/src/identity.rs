//! One identity: an access key, its secret, and who stands behind it.

use std::fmt;

/// A secret access key. It can be used and not be shown.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidIdentity {
    /// 3 to 128 letters, digits, `-`, `_`, `.`: what a credential can hold without being taken apart wrongly.
    AccessKey,
    /// 8 to 128 printable characters.
    Secret,
}

impl fmt::Display for InvalidIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InvalidIdentity::AccessKey => "access key: 3 to 128 letters, digits, '-', '_' or '.'",
            InvalidIdentity::Secret => "secret key: 8 to 128 printable ASCII characters",
        })
    }
}

impl std::error::Error for InvalidIdentity {}

/// Who signs with an access key.
#[derive(Clone, Debug)]
pub struct Identity {
    access_key: String,
    secret: Secret,
    /// The canonical id of the owner in documents and `x-amz-expected-bucket-owner`.
    pub owner_id: String,
    pub display_name: String,
}

impl Identity {
    /// Checks the pair of keys.
    pub fn new(
        access_key: &str,
        secret: &str,
        owner_id: &str,
        display_name: &str,
    ) -> Result<Identity, InvalidIdentity> {
        let in_key = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if !(3..=128).contains(&access_key.len()) || !access_key.bytes().all(in_key) {
            return Err(InvalidIdentity::AccessKey);
        }
        if !(8..=128).contains(&secret.len()) || !secret.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(InvalidIdentity::Secret);
        }
        Ok(Identity {
            access_key: access_key.to_owned(),
            secret: Secret(secret.to_owned()),
            owner_id: owner_id.to_owned(),
            display_name: display_name.to_owned(),
        })
    }

    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    pub fn secret(&self) -> &Secret {
        &self.secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked_and_a_secret_is_never_shown() {
        let check = |access_key: &str, secret: &str, expect: Result<(), InvalidIdentity>| {
            let found = Identity::new(access_key, secret, "id", "name").map(|_| ());
            assert_eq!(found, expect, "{access_key} {secret}");
        };
        check("root", "12345678", Ok(()));
        check("ro", "12345678", Err(InvalidIdentity::AccessKey));
        check("ro/ot", "12345678", Err(InvalidIdentity::AccessKey));
        check("ro,ot", "12345678", Err(InvalidIdentity::AccessKey));
        check("root", "1234567", Err(InvalidIdentity::Secret));
        check("root", "1234 5678", Err(InvalidIdentity::Secret));
        let identity = Identity::new("root", "top-secret", "id", "name").unwrap();
        assert!(!format!("{identity:?}").contains("top-secret"));
    }
}

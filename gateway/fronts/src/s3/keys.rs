//! Signing keys that were derived lately: deriving one costs four HMACs, and a client uses one all day.

use std::cell::RefCell;
use std::collections::HashMap;

use iam::Snapshot;
use s3::sigv4::{Scope, SigningKey};

/// Scopes kept on one shard. A scope is an access key and a day, so this is far beyond what is in use.
const KEYS_MAX: usize = 256;

#[derive(Default)]
pub(super) struct SigningKeys {
    known: RefCell<HashMap<Scope, SigningKey>>,
}

impl SigningKeys {
    /// The key of a scope; `None` when its access key is unknown.
    pub(super) fn get(&self, scope: &Scope, identities: &Snapshot) -> Option<SigningKey> {
        // Asked even when the key is kept: an identity that is gone signs nothing.
        let secret = identities.secret(&scope.access_key)?;
        let mut known = self.known.borrow_mut();
        if let Some(key) = known.get(scope) {
            return Some(key.clone());
        }
        let key = SigningKey::derive(secret.expose(), &scope.date, &scope.region, &scope.service);
        if known.len() == KEYS_MAX {
            known.clear();
        }
        known.insert(scope.clone(), key.clone());
        Some(key)
    }

    /// Secrets may have changed.
    pub(super) fn forget(&self) {
        self.known.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use iam::Identity;

    use super::*;

    #[test]
    fn keys_are_kept_within_their_bound_and_only_for_known_identities() {
        let identities = Snapshot::new(Identity::new("root", "12345678", "id", "name").expect("well-formed keys"));
        let keys = SigningKeys::default();
        let scope = |access_key: &str, day: usize| Scope {
            access_key: access_key.into(),
            date: format!("{day:08}"),
            region: "r".into(),
            service: "s3".into(),
        };
        for day in 0..KEYS_MAX + 3 {
            assert!(keys.get(&scope("root", day), &identities).is_some());
        }
        assert_eq!(keys.known.borrow().len(), 3);
        assert!(keys.get(&scope("other", 0), &identities).is_none());
        keys.forget();
        assert!(keys.known.borrow().is_empty());
    }
}

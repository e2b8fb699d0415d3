//! The state that decisions are made on: replaced as a whole, shared by reference.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Identity, Secret};

/// Who asks.
#[derive(Clone, Debug)]
pub enum Principal {
    /// No signature at all.
    Anonymous,
    Known(Arc<Identity>),
}

/// All identities at one moment. Root is the only one today.
#[derive(Clone, Debug)]
pub struct Snapshot {
    identities: HashMap<String, Arc<Identity>>,
    root: Arc<Identity>,
}

impl Snapshot {
    pub fn new(root: Identity) -> Snapshot {
        let root = Arc::new(root);
        Snapshot { identities: HashMap::from([(root.access_key().to_owned(), Arc::clone(&root))]), root }
    }

    /// The owner of every bucket, as long as root is the only identity.
    pub fn root(&self) -> &Identity {
        &self.root
    }

    /// The secret that signatures of `access_key` are made with.
    pub fn secret(&self, access_key: &str) -> Option<&Secret> {
        self.identities.get(access_key).map(|identity| identity.secret())
    }

    /// The principal behind a verified access key; `None` when it has gone since. Without a key: anonymous.
    pub fn principal(&self, access_key: Option<&str>) -> Option<Principal> {
        match access_key {
            None => Some(Principal::Anonymous),
            Some(key) => self.identities.get(key).map(|identity| Principal::Known(Arc::clone(identity))),
        }
    }

    pub(crate) fn is_root(&self, identity: &Identity) -> bool {
        self.identities.contains_key(identity.access_key()) && identity.access_key() == self.root.access_key()
    }
}

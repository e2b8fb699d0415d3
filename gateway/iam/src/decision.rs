//! The one place where it is decided whether a principal may act.

use std::net::IpAddr;

use types::{BucketName, ObjectKey, VersionId};

use crate::{Principal, Snapshot};

/// What is acted on. Neither bucket nor key: the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resource<'a> {
    pub bucket: Option<&'a BucketName>,
    pub key: Option<&'a ObjectKey>,
    pub version: Option<VersionId>,
}

/// The circumstances that a decision may rest on.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The client, as far as trusted.
    pub source: IpAddr,
    /// Whether the request came over TLS.
    pub secure_transport: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Deny,
}

/// Decides. Root may do everything; nobody else may do anything: policies will be asked here. The action, resource
/// and context are part of every call already, so that no caller can forget them when they begin to count.
pub fn decide(
    snapshot: &Snapshot,
    principal: &Principal,
    _action: &str,
    _resource: &Resource<'_>,
    _context: &Context,
) -> Decision {
    match principal {
        Principal::Anonymous => Decision::Deny,
        Principal::Known(identity) if snapshot.is_root(identity) => Decision::Allow,
        Principal::Known(_) => Decision::Deny,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::Identity;

    fn snapshot(access_key: &str) -> Snapshot {
        Snapshot::new(Identity::new(access_key, "12345678", "id", "name").unwrap())
    }

    fn decision(snapshot: &Snapshot, principal: &Principal) -> Decision {
        let context = Context { source: IpAddr::V4(Ipv4Addr::LOCALHOST), secure_transport: false };
        decide(snapshot, principal, "s3:GetObject", &Resource::default(), &context)
    }

    #[test]
    fn root_may_act_and_no_one_else() {
        let snapshot = snapshot("root");
        let root = snapshot.principal(Some("root")).unwrap();
        assert_eq!(decision(&snapshot, &root), Decision::Allow);
        assert_eq!(decision(&snapshot, &snapshot.principal(None).unwrap()), Decision::Deny);
        assert!(snapshot.principal(Some("other")).is_none());
        assert!(snapshot.secret("other").is_none());
        assert_eq!(snapshot.secret("root").map(|secret| secret.expose()), Some("12345678"));
    }

    #[test]
    fn a_principal_of_an_older_snapshot_is_denied() {
        let principal = snapshot("before").principal(Some("before")).unwrap();
        assert_eq!(decision(&snapshot("after"), &principal), Decision::Deny);
    }
}

//! The one place where it is decided whether a principal may act.

use std::net::IpAddr;

use types::{BucketName, ObjectKey, VersionId};

use crate::policy::{self, Account, Caller, Keys, Policies, Policy, Request, Verdict, evaluate};
use crate::{Principal, Snapshot};

/// What is acted on. Neither bucket nor key: the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resource<'a> {
    pub bucket: Option<&'a BucketName>,
    pub key: Option<&'a ObjectKey>,
    pub version: Option<VersionId>,
}

impl Resource<'_> {
    /// As policies name it.
    fn arn(&self) -> String {
        match (self.bucket, self.key) {
            (None, _) => "*".to_owned(),
            (Some(bucket), None) => format!("arn:aws:s3:::{bucket}"),
            (Some(bucket), Some(key)) => format!("arn:aws:s3:::{bucket}/{}", key.as_str()),
        }
    }
}

/// The circumstances that every decision may rest on.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The client, as far as trusted.
    pub source: IpAddr,
    /// Whether the request came over TLS.
    pub secure_transport: bool,
}

/// The one account of a deployment, as ARNs name it.
pub const ACCOUNT_ID: &str = "000000000000";

/// What a bucket says of who may do something in it.
#[derive(Clone, Copy, Debug)]
pub enum Guard<'a> {
    /// Nothing, or there is no bucket: it is its owner's alone.
    Owner,
    Policy {
        policy: &'a Policy,
        /// Its public access block keeps everyone but the owner's account out while the policy is public.
        restricts_public: bool,
    },
    /// A policy that cannot be read: nobody knows whom it keeps out.
    Unreadable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Deny,
}

/// What no policy of a bucket gives to anyone: who is let in, and the making of buckets.
const OF_THE_ACCOUNT: &[&str] = &[
    "s3:CreateBucket",
    "s3:DeleteBucketPolicy",
    "s3:GetBucketPolicy",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
];

/// Decides. Root may do everything that the bucket's policy does not deny, and can always mend that. Others may do what
/// the policy allows them, and nothing without one. `keys` answers for the request's condition keys.
pub fn decide(
    snapshot: &Snapshot,
    principal: &Principal,
    action: &str,
    resource: &Resource<'_>,
    guard: Guard<'_>,
    keys: &dyn Keys,
) -> Decision {
    let caller = match principal {
        Principal::Anonymous => Caller::Anonymous,
        Principal::Known(identity) if snapshot.is_root(identity) => {
            Caller::Root(Account { id: ACCOUNT_ID, canonical_id: &identity.owner_id })
        }
        Principal::Known(_) => return Decision::Deny,
    };
    let is_root = matches!(caller, Caller::Root(_));
    // Whatever the policy says: who could change it could give away what it keeps.
    if !is_root && OF_THE_ACCOUNT.contains(&action) {
        return Decision::Deny;
    }
    let (policy, restricts_public) = match guard {
        Guard::Owner if is_root => return Decision::Allow,
        Guard::Owner => return Decision::Deny,
        Guard::Unreadable if is_root && policy::mends(action) => return Decision::Allow,
        Guard::Unreadable => return Decision::Deny,
        Guard::Policy { policy, restricts_public } => (policy, restricts_public),
    };
    if restricts_public && !is_root && policy.is_public() {
        return Decision::Deny;
    }
    let arn = resource.arn();
    let request = Request { caller, action, resource: &arn, resource_account: ACCOUNT_ID, keys };
    let policies = Policies { resource: Some(policy), ..Policies::default() };
    match evaluate(&request, &policies) {
        Verdict::Allow => Decision::Allow,
        Verdict::ExplicitDeny | Verdict::ImplicitDeny => Decision::Deny,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;

    fn snapshot(access_key: &str) -> Snapshot {
        Snapshot::new(Identity::new(access_key, "12345678", "id", "name").unwrap())
    }

    fn bucket() -> BucketName {
        BucketName::parse("bucket").unwrap()
    }

    fn policy(statements: &str) -> Policy {
        let document = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
        Policy::of_bucket(document.as_bytes(), &bucket()).unwrap()
    }

    fn decision(snapshot: &Snapshot, principal: &Principal, action: &str, guard: Guard<'_>) -> Decision {
        let (bucket, key) = (bucket(), ObjectKey::parse("a/b").unwrap());
        let is_about_bucket = action.contains("Bucket");
        let resource = Resource { bucket: Some(&bucket), key: (!is_about_bucket).then_some(&key), version: None };
        decide(snapshot, principal, action, &resource, guard, &())
    }

    #[test]
    fn root_may_act_and_no_one_else() {
        let snapshot = snapshot("root");
        let root = snapshot.principal(Some("root")).unwrap();
        assert_eq!(decision(&snapshot, &root, "s3:GetObject", Guard::Owner), Decision::Allow);
        assert_eq!(decision(&snapshot, &Principal::Anonymous, "s3:GetObject", Guard::Owner), Decision::Deny);
        assert!(snapshot.principal(Some("other")).is_none());
        assert!(snapshot.secret("other").is_none());
        assert_eq!(snapshot.secret("root").map(|secret| secret.expose()), Some("12345678"));
    }

    #[test]
    fn a_principal_of_an_older_snapshot_is_denied() {
        let principal = snapshot("before").principal(Some("before")).unwrap();
        let after = snapshot("after");
        assert_eq!(decision(&after, &principal, "s3:GetObject", Guard::Owner), Decision::Deny);
        let public = policy(r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::bucket/*"}"#);
        let guard = Guard::Policy { policy: &public, restricts_public: false };
        assert_eq!(decision(&after, &principal, "s3:GetObject", guard), Decision::Deny);
    }

    #[test]
    fn a_policy_lets_everyone_in_and_keeps_root_out_but_for_mending_it() {
        let snapshot = snapshot("root");
        let root = snapshot.principal(Some("root")).unwrap();
        let check = |policy: &Policy, restricts_public, principal: &Principal, action: &str, expect: Decision| {
            let guard = Guard::Policy { policy, restricts_public };
            assert_eq!(decision(&snapshot, principal, action, guard), expect, "{action} {principal:?}");
        };
        let public = policy(
            r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/a/*"}"#,
        );
        let anonymous = &Principal::Anonymous;
        check(&public, false, anonymous, "s3:GetObject", Decision::Allow);
        check(&public, false, anonymous, "s3:PutObject", Decision::Deny);
        check(&public, true, anonymous, "s3:GetObject", Decision::Deny);
        check(&public, true, &root, "s3:GetObject", Decision::Allow);
        check(&public, false, &root, "s3:DeleteObject", Decision::Allow);
        let open = policy(
            r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]}"#,
        );
        check(&open, false, anonymous, "s3:PutObject", Decision::Allow);
        check(&open, false, anonymous, "s3:DeleteBucket", Decision::Allow);
        for action in OF_THE_ACCOUNT {
            check(&open, false, anonymous, action, Decision::Deny);
            check(&open, false, &root, action, Decision::Allow);
        }
        let closed = policy(
            r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]}"#,
        );
        check(&closed, false, &root, "s3:GetObject", Decision::Deny);
        check(&closed, false, &root, "s3:ListBucket", Decision::Deny);
        check(&closed, false, &root, "s3:PutBucketPolicy", Decision::Allow);
        check(&closed, false, anonymous, "s3:PutBucketPolicy", Decision::Deny);
    }

    #[test]
    fn a_policy_that_cannot_be_read_allows_only_to_mend_it() {
        let snapshot = snapshot("root");
        let root = snapshot.principal(Some("root")).unwrap();
        let check = |principal: &Principal, action: &str, expect: Decision| {
            assert_eq!(decision(&snapshot, principal, action, Guard::Unreadable), expect, "{action} {principal:?}");
        };
        check(&root, "s3:GetObject", Decision::Deny);
        check(&root, "s3:DeleteBucketPolicy", Decision::Allow);
        check(&Principal::Anonymous, "s3:DeleteBucketPolicy", Decision::Deny);
        check(&Principal::Anonymous, "s3:GetObject", Decision::Deny);
    }
}

//! The gate: the only way from a request to an operation.
//!
//! An operation takes [`Authorized`] requests, and only this module makes them, after every demand of the request has
//! been decided. So an operation that nobody authorised does not compile:
//!
//! ```compile_fail,E0423
//! use hafiz_ops as ops;
//! fn sneak(request: s3::request::HeadBucket) -> ops::gate::Authorized<s3::request::HeadBucket> {
//!     ops::gate::Authorized(request)
//! }
//! ```
//!
//! ```compile_fail,E0308
//! use hafiz_ops as ops;
//! fn sneak(ops: &ops::Ops, request: s3::request::HeadBucket) {
//!     drop(ops::head_bucket(ops, request));
//! }
//! ```
//!
//! ```
//! use hafiz_ops as ops;
//! fn proper(ops: &ops::Ops, request: ops::gate::Authorized<s3::request::HeadBucket>) {
//!     drop(ops::head_bucket(ops, request));
//! }
//! ```

use std::ops::Deref;
use std::sync::Arc;

use iam::{Context, Decision, Guard, Principal, Resource, Snapshot};
use s3::head::Head;
use s3::query::Query;
use s3::request::{DeleteObjects, Demand, Demands, RefusedEntry};
use s3::routing::Operation;
use s3::sigv4::AuthKind;
use s3::{Code, Error};
use store::Bucket;
use types::{BucketName, ObjectKey};

use crate::circumstances::Circumstances;
use crate::policy::guard;

static DENIED: telemetry::Counter =
    telemetry::Counter::new("hafiz_requests_denied_total", "Requests that their principal may not make.");

/// A request whose principal may make it.
#[derive(Debug)]
pub struct Authorized<R>(R);

impl<R> Authorized<R> {
    pub(crate) fn into_inner(self) -> R {
        self.0
    }
}

impl<R> Deref for Authorized<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.0
    }
}

/// The principal may not make the request. It is not told why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied;

impl From<Denied> for Error {
    fn from(Denied: Denied) -> Error {
        Error::new(Code::AccessDenied)
    }
}

/// Who asks, how, and what that is decided on.
pub struct Asker<'a> {
    pub principal: &'a Principal,
    pub identities: &'a Snapshot,
    pub context: &'a Context,
    pub head: &'a Head<'a>,
    pub query: &'a Query,
    /// How and when it was signed, in Unix seconds.
    pub signed: Option<(AuthKind, u64)>,
    /// In Unix seconds.
    pub now: u64,
    /// Of this server.
    pub region: &'a str,
    /// Where buckets, and so their policies, are looked up.
    pub buckets: &'a dyn Fn(&BucketName) -> Option<Arc<Bucket>>,
}

/// Decides every demand of `request`; all must be allowed.
pub fn authorize<R: Demands>(request: R, asker: &Asker<'_>) -> Result<Authorized<R>, Denied> {
    let (operation, demands) = (request.operation(), request.demands());
    // A request that demands nothing would be allowed to anyone.
    let allowed = !demands.is_empty() && demands.iter().all(|demand| allows(operation, demand, None, asker));
    if allowed { Ok(Authorized(request)) } else { Err(denied()) }
}

/// What is told of a key that is not there, or not in this version: who may not list it does not learn that.
pub fn hide_absence(error: Error, bucket: &BucketName, key: &ObjectKey, asker: &Asker<'_>) -> Error {
    let is_absence = matches!(error.code, Code::NoSuchKey | Code::NoSuchVersion);
    let list = Demand { action: "s3:ListBucket", bucket: Some(bucket), key: None, version: None };
    if is_absence && !allows(Operation::ListObjects, &list, Some(key.as_str()), asker) {
        denied().into()
    } else {
        error
    }
}

/// A request to the server itself, which is about neither bucket nor key.
pub trait Administrative {
    /// As policies write it: one of `iam::admin`.
    fn action(&self) -> &'static str;
}

/// Decides a request to the server itself.
pub fn authorize_admin<R: Administrative>(request: R, asker: &Asker<'_>) -> Result<Authorized<R>, Denied> {
    let Asker { principal, identities, .. } = asker;
    match iam::decide(identities, principal, request.action(), &Resource::default(), Guard::Owner, &()) {
        Decision::Allow => Ok(Authorized(request)),
        Decision::Deny => Err(denied()),
    }
}

/// Decides each entry of a multi-object delete: one that is not allowed fails alone, in the reply. A principal who is
/// not known gets no reply of that kind, unless something is allowed.
pub fn authorize_entries(mut request: DeleteObjects, asker: &Asker<'_>) -> Result<Authorized<DeleteObjects>, Denied> {
    let bucket = &request.bucket.name;
    let (allowed, refused): (Vec<_>, Vec<_>) = request.entries.into_iter().partition(|entry| {
        let mut demands = entry.demands(bucket);
        demands.all(|demand| allows(Operation::DeleteObjects, &demand, None, asker))
    });
    if let (Principal::Anonymous, []) = (asker.principal, &allowed[..]) {
        return Err(denied());
    }
    request.entries = allowed;
    request.refused.extend(refused.into_iter().map(|entry| RefusedEntry {
        key: entry.key.as_str().to_owned(),
        version: entry.version.map(|version| version.to_string()),
        error: denied().into(),
    }));
    Ok(Authorized(request))
}

/// Whether a principal may be listened to at all before its request is known: reading its document costs memory. The
/// anonymous may if what the document is for is allowed to them; of a multi-object delete that shows entry by entry, so a
/// policy has to be there.
pub fn admit(
    asker: &Asker<'_>,
    operation: Option<Operation>,
    bucket: Option<&BucketName>,
    key: Option<&ObjectKey>,
) -> Result<(), Denied> {
    let may = match (asker.principal, operation) {
        (Principal::Known(_), _) => true,
        (Principal::Anonymous, None) => false,
        (Principal::Anonymous, Some(Operation::DeleteObjects)) => {
            let bucket = bucket.and_then(asker.buckets);
            matches!(bucket.as_deref().map(guard), Some(Guard::Policy { .. }))
        }
        (Principal::Anonymous, Some(operation)) => {
            allows(operation, &Demand { action: operation.action(), bucket, key, version: None }, None, asker)
        }
    };
    if may { Ok(()) } else { Err(denied()) }
}

/// `prefix`: what the demand, which is a listing, is about, where that is not the request's.
fn allows(operation: Operation, demand: &Demand<'_>, prefix: Option<&str>, asker: &Asker<'_>) -> bool {
    let resource = Resource { bucket: demand.bucket, key: demand.key, version: demand.version };
    let circumstances = Circumstances { asker, operation, demand, prefix };
    let bucket = demand.bucket.and_then(asker.buckets);
    let guard = bucket.as_deref().map_or(Guard::Owner, guard);
    match iam::decide(asker.identities, asker.principal, demand.action, &resource, guard, &circumstances) {
        Decision::Allow => true,
        Decision::Deny => false,
    }
}

fn denied() -> Denied {
    DENIED.add(1);
    Denied
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use iam::Identity;
    use s3::request::{BucketRef, DeleteEntry, HeadBucket};
    use types::{BucketId, DeleteCondition, Timestamp, Versioning};

    use super::*;
    use crate::settings::{BucketSettings, Entries, POLICY};

    const CONTEXT: Context = Context { source: IpAddr::V4(Ipv4Addr::LOCALHOST), secure_transport: false };

    fn snapshot(key: &str) -> Snapshot {
        Snapshot::new(Identity::new(key, "secret-of-root", "id", "name").expect("the credentials are well-formed"))
    }

    fn name() -> BucketName {
        BucketName::parse("bucket").expect("a valid name")
    }

    fn bucket() -> BucketRef {
        BucketRef { name: name(), expected_owner: None }
    }

    /// A bucket whose policy has this statement.
    fn guarded(statement: &str) -> Arc<Bucket> {
        let plain = BucketSettings { owner: "id".into(), region: "eu-1".into() }.encode();
        let mut entries = Entries::of(&plain).expect("just made");
        let document = format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#);
        entries.put(POLICY, "", &document);
        let settings = entries.encode().expect("short");
        let (created, versioning) = (Timestamp(0), Versioning::Unversioned);
        Arc::new(Bucket { id: BucketId(1), name: name(), created, versioning, settings, derived: Default::default() })
    }

    /// Lets `principal` ask, of a bucket with this policy if there is one.
    fn ask<T>(
        principal: &Principal,
        identities: &Snapshot,
        statement: Option<&str>,
        ask: impl FnOnce(&Asker<'_>) -> T,
    ) -> T {
        let bucket = statement.map(guarded);
        ask(&Asker {
            principal,
            identities,
            context: &CONTEXT,
            head: &Head { method: "GET", target: "/", headers: &[] },
            query: &Query::default(),
            signed: None,
            now: 0,
            region: "eu-1",
            buckets: &|_| bucket.clone(),
        })
    }

    #[test]
    fn root_passes_and_the_anonymous_and_the_unknown_are_denied() {
        let (snapshot, other) = (snapshot("root"), snapshot("other"));
        let root = snapshot.principal(Some("root")).expect("root is known");
        let check = |principal: &Principal, identities: &Snapshot, expect: bool| {
            let request = HeadBucket { bucket: bucket() };
            assert_eq!(ask(principal, identities, None, |asker| authorize(request, asker).is_ok()), expect);
        };
        check(&root, &snapshot, true);
        check(&Principal::Anonymous, &snapshot, false);
        check(&root, &other, false);
        assert_eq!(Error::from(Denied).code, Code::AccessDenied);
    }

    const READ: &str =
        r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}"#;
    const LIST_A: &str = r#"{"Effect":"Allow","Principal":"*","Action":"s3:ListBucket","Resource":"arn:aws:s3:::bucket",
                             "Condition":{"StringLike":{"s3:prefix":"a*"}}}"#;
    const DELETE_A: &str =
        r#"{"Effect":"Allow","Principal":"*","Action":"s3:DeleteObject","Resource":"arn:aws:s3:::bucket/a"}"#;

    #[test]
    fn who_may_not_list_a_key_does_not_learn_that_it_is_not_there() {
        let snapshot = snapshot("root");
        let root = snapshot.principal(Some("root")).expect("root is known");
        let check = |principal: &Principal, statement: &str, key: &str, found: Code, expect: Code| {
            let key = ObjectKey::parse(key).expect("a valid key");
            let told = ask(principal, &snapshot, Some(statement), |asker| {
                hide_absence(Error::new(found), &name(), &key, asker).code
            });
            assert_eq!(told, expect, "{statement} {key:?}");
        };
        check(&root, READ, "a", Code::NoSuchKey, Code::NoSuchKey);
        check(&Principal::Anonymous, READ, "a", Code::NoSuchKey, Code::AccessDenied);
        check(&Principal::Anonymous, READ, "a", Code::NoSuchVersion, Code::AccessDenied);
        check(&Principal::Anonymous, READ, "a", Code::SlowDown, Code::SlowDown);
        check(&Principal::Anonymous, LIST_A, "a", Code::NoSuchKey, Code::NoSuchKey);
        check(&Principal::Anonymous, LIST_A, "b", Code::NoSuchKey, Code::AccessDenied);
    }

    #[test]
    fn each_entry_of_a_delete_is_decided_alone() {
        let (snapshot, stranger) = (snapshot("root"), snapshot("other"));
        let root = snapshot.principal(Some("root")).expect("root is known");
        let entry = |key| DeleteEntry {
            key: ObjectKey::parse(key).expect("a valid key"),
            version: None,
            condition: DeleteCondition::default(),
        };
        let check =
            |principal: &Principal, identities: &Snapshot, statement: Option<&str>, expect: Option<(usize, usize)>| {
                let entries = vec![entry("a"), entry("b")];
                let request = DeleteObjects { bucket: bucket(), quiet: false, entries, refused: vec![] };
                let decided = ask(principal, identities, statement, |asker| authorize_entries(request, asker));
                if let Ok(decided) = &decided {
                    assert!(decided.refused.iter().all(|entry| entry.error.code == Code::AccessDenied));
                }
                assert_eq!(decided.ok().map(|decided| (decided.entries.len(), decided.refused.len())), expect);
            };
        check(&root, &snapshot, None, Some((2, 0)));
        check(&root, &stranger, None, Some((0, 2)));
        check(&Principal::Anonymous, &snapshot, None, None);
        check(&Principal::Anonymous, &snapshot, Some(READ), None);
        check(&Principal::Anonymous, &snapshot, Some(DELETE_A), Some((1, 1)));
    }

    #[test]
    fn a_document_of_the_anonymous_is_read_only_where_a_policy_allows_what_it_is_for() {
        let snapshot = snapshot("root");
        let root = snapshot.principal(Some("root")).expect("root is known");
        let check = |principal: &Principal, operation, statement: Option<&str>, expect: bool| {
            let key = ObjectKey::parse("a").expect("a valid key");
            let admitted = ask(principal, &snapshot, statement, |asker| {
                admit(asker, Some(operation), Some(&name()), Some(&key)).is_ok()
            });
            assert_eq!(admitted, expect, "{operation:?} {statement:?}");
        };
        const WRITE: &str =
            r#"{"Effect":"Allow","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::bucket/*"}"#;
        let (complete, delete) = (Operation::CompleteMultipartUpload, Operation::DeleteObjects);
        check(&root, complete, None, true);
        check(&Principal::Anonymous, complete, None, false);
        check(&Principal::Anonymous, complete, Some(READ), false);
        check(&Principal::Anonymous, complete, Some(WRITE), true);
        check(&Principal::Anonymous, Operation::PutBucketTagging, Some(WRITE), false);
        check(&Principal::Anonymous, delete, None, false);
        check(&Principal::Anonymous, delete, Some(READ), true);
        check(&Principal::Anonymous, delete, Some("{}"), false);
    }
}

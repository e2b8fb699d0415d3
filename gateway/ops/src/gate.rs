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

use iam::{Context, Decision, Principal, Resource, Snapshot};
use s3::request::{DeleteObjects, Demand, Demands, RefusedEntry};
use s3::{Code, Error};

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

/// Decides every demand of `request`; all must be allowed.
pub fn authorize<R: Demands>(
    request: R,
    principal: &Principal,
    snapshot: &Snapshot,
    context: &Context,
) -> Result<Authorized<R>, Denied> {
    let demands = request.demands();
    // A request that demands nothing would be allowed to anyone.
    let allowed = !demands.is_empty() && demands.iter().all(|demand| allows(demand, principal, snapshot, context));
    if allowed { Ok(Authorized(request)) } else { Err(denied()) }
}

/// A request to the server itself, which is about neither bucket nor key.
pub trait Administrative {
    /// As policies write it: one of `iam::admin`.
    fn action(&self) -> &'static str;
}

/// Decides a request to the server itself.
pub fn authorize_admin<R: Administrative>(
    request: R,
    principal: &Principal,
    snapshot: &Snapshot,
    context: &Context,
) -> Result<Authorized<R>, Denied> {
    match iam::decide(snapshot, principal, request.action(), &Resource::default(), context) {
        Decision::Allow => Ok(Authorized(request)),
        Decision::Deny => Err(denied()),
    }
}

/// Decides each entry of a multi-object delete: one that is not allowed fails alone, in the reply. A principal who is
/// not known gets no reply of that kind.
pub fn authorize_entries(
    mut request: DeleteObjects,
    principal: &Principal,
    snapshot: &Snapshot,
    context: &Context,
) -> Result<Authorized<DeleteObjects>, Denied> {
    admit(principal)?;
    let bucket = &request.bucket.name;
    let (allowed, refused): (Vec<_>, Vec<_>) =
        request.entries.into_iter().partition(|entry| allows(&entry.demand(bucket), principal, snapshot, context));
    request.entries = allowed;
    request.refused.extend(refused.into_iter().map(|entry| RefusedEntry {
        key: entry.key.as_str().to_owned(),
        version: entry.version.map(|version| version.to_string()),
        error: denied().into(),
    }));
    Ok(Authorized(request))
}

/// Whether a principal may be listened to at all before its request is known: reading its document costs memory.
pub fn admit(principal: &Principal) -> Result<(), Denied> {
    match principal {
        Principal::Anonymous => Err(denied()),
        Principal::Known(_) => Ok(()),
    }
}

fn allows(demand: &Demand<'_>, principal: &Principal, snapshot: &Snapshot, context: &Context) -> bool {
    let resource = Resource { bucket: demand.bucket, key: demand.key, version: demand.version };
    match iam::decide(snapshot, principal, demand.action, &resource, context) {
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
    use types::{BucketName, DeleteCondition, ObjectKey};

    use super::*;

    const CONTEXT: Context = Context { source: IpAddr::V4(Ipv4Addr::LOCALHOST), secure_transport: false };

    fn snapshot(key: &str) -> Snapshot {
        Snapshot::new(Identity::new(key, "secret-of-root", "id", "name").expect("the credentials are well-formed"))
    }

    fn bucket() -> BucketRef {
        BucketRef { name: BucketName::parse("bucket").expect("a valid name"), expected_owner: None }
    }

    #[test]
    fn root_passes_and_the_anonymous_and_the_unknown_are_denied() {
        let snapshot = snapshot("root");
        let root = snapshot.principal(Some("root")).expect("root is known");
        let request = || HeadBucket { bucket: bucket() };
        assert!(authorize(request(), &root, &snapshot, &CONTEXT).is_ok());
        assert!(authorize(request(), &Principal::Anonymous, &snapshot, &CONTEXT).is_err());
        assert!(authorize(request(), &root, &self::snapshot("other"), &CONTEXT).is_err());
        assert_eq!(Error::from(Denied).code, Code::AccessDenied);
    }

    #[test]
    fn each_entry_of_a_delete_is_decided_alone() {
        let snapshot = snapshot("root");
        let root = snapshot.principal(Some("root")).expect("root is known");
        let entry = |key| DeleteEntry {
            key: ObjectKey::parse(key).expect("a valid key"),
            version: None,
            condition: DeleteCondition::default(),
        };
        let request =
            || DeleteObjects { bucket: bucket(), quiet: false, entries: vec![entry("a"), entry("b")], refused: vec![] };
        let allowed = authorize_entries(request(), &root, &snapshot, &CONTEXT).expect("root may delete");
        assert_eq!((allowed.entries.len(), allowed.refused.len()), (2, 0));
        let stranger = self::snapshot("other");
        let refused = authorize_entries(request(), &root, &stranger, &CONTEXT).expect("entries fail alone");
        assert_eq!((refused.entries.len(), refused.refused.len()), (0, 2));
        assert!(refused.refused.iter().all(|entry| entry.error.code == Code::AccessDenied));
        assert!(authorize_entries(request(), &Principal::Anonymous, &snapshot, &CONTEXT).is_err());
    }
}

//! The decision: what all policies together say of one request, in AWS's order.

use std::sync::Arc;

use super::caller::Caller;
use super::document::Policy;
use super::keys::{Key, Keys, Values};
use super::principal::Grant;
use super::statement::{Effect, Question};

/// What is asked, and about what.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub caller: Caller<'a>,
    /// As policies write it: `s3:GetObject`.
    pub action: &'a str,
    /// The ARN of a bucket or an object. What concerns neither has `*`, which only `*` matches; S3's list of buckets has
    /// `arn:aws:s3:::*`, so that policies may also write that.
    pub resource: &'a str,
    /// The account that owns the resource.
    pub resource_account: &'a str,
    /// Keys that are about the caller or about the resource's account are never asked here: they follow from the
    /// other fields.
    pub keys: &'a dyn Keys,
}

/// The policies that concern a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policies<'a> {
    /// Of the user and of its groups, or of the role: one of them has to allow.
    pub identity: &'a [Arc<Policy>],
    /// What the identity's policies can give at most.
    pub boundary: Option<&'a Policy>,
    /// What was handed over when the session began, or with a key that does less than its user. `None` restrains
    /// nothing, an empty list allows nothing.
    pub session: Option<&'a [Arc<Policy>]>,
    /// Of the bucket.
    pub resource: Option<&'a Policy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// A statement denies it: nothing can allow it.
    ExplicitDeny,
    /// Nothing allows it.
    ImplicitDeny,
}

/// What the owner of a bucket can do whatever its policy says, so that a policy can always be mended.
const OF_THE_OWNER: &[&str] = &["s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"];

/// Whether an action is one by which the owner can mend a policy.
pub(crate) fn mends(action: &str) -> bool {
    OF_THE_OWNER.contains(&action)
}

/// Decides. A statement that denies wins, wherever it stands. Then, within one account, the resource's policy or the
/// identity's has to allow; between accounts both have to. Boundary and session restrain what the identity has, and
/// what the resource gives to a role; not what it gives to everyone, or to a user or a session by name.
pub fn evaluate(request: &Request<'_>, policies: &Policies<'_>) -> Verdict {
    let is_owner = request.caller.account().is_some_and(|account| account.id == request.resource_account);
    let is_root = matches!(request.caller, Caller::Root(_));
    if is_root && is_owner && policies.session.is_none() && mends(request.action) {
        return Verdict::Allow;
    }
    let keys = KeysOfRequest(request);
    let question =
        Question { caller: &request.caller, action: request.action, resource: request.resource, keys: &keys };
    match sides(policies, &question, is_root) {
        None => Verdict::ExplicitDeny,
        Some(sides) if sides.allow(&request.caller, is_owner, policies.session.is_some()) => Verdict::Allow,
        Some(_) => Verdict::ImplicitDeny,
    }
}

/// What each kind of policy allows.
struct Sides {
    resource: Option<Grant>,
    identity: bool,
    /// Neither the boundary nor the session stands against it.
    is_within_limits: bool,
}

/// Asks all policies; `None` as soon as one denies.
fn sides(policies: &Policies<'_>, question: &Question<'_>, is_root: bool) -> Option<Sides> {
    let resource = match policies.resource {
        Some(policy) => answer(policy, question)?,
        None => None,
    };
    let is_in_identity = any_allows(policies.identity, question)?;
    let is_in_boundary = match policies.boundary {
        Some(boundary) => answer(boundary, question)?.is_some(),
        None => true,
    };
    let is_in_session = match policies.session {
        Some(session) => any_allows(session, question)?,
        None => true,
    };
    Some(Sides {
        resource,
        // Root has no policies, and may do everything in its account.
        identity: is_root || is_in_identity,
        is_within_limits: is_in_boundary && is_in_session,
    })
}

impl Sides {
    fn allow(&self, caller: &Caller<'_>, is_owner: bool, has_session_policy: bool) -> bool {
        let by_identity = self.identity && self.is_within_limits;
        match (caller, self.resource) {
            // It has no account, so that nobody else has to allow it; only everyone is its name.
            (Caller::Anonymous, grant) => grant == Some(Grant::Session),
            (Caller::Root(_) | Caller::User(_) | Caller::Session(_), grant) if !is_owner => {
                grant.is_some() && by_identity
            }
            (Caller::Root(_) | Caller::User(_) | Caller::Session(_), None | Some(Grant::Account)) => by_identity,
            (Caller::Root(_) | Caller::User(_) | Caller::Session(_), Some(Grant::Session)) => true,
            // A user that acts with less than it has is named as who it is, not as the session that asks.
            (Caller::User(_), Some(Grant::Principal)) => !has_session_policy || self.is_within_limits,
            (Caller::Root(_) | Caller::Session(_), Some(Grant::Principal)) => self.is_within_limits,
        }
    }
}

/// Whether one allows it; `None` when one denies.
fn any_allows(policies: &[Arc<Policy>], question: &Question<'_>) -> Option<bool> {
    let mut is_allowed = false;
    for policy in policies {
        is_allowed |= answer(policy, question)?.is_some();
    }
    Some(is_allowed)
}

/// The closest grant of a policy, if it has any; `None` when it denies.
fn answer(policy: &Policy, question: &Question<'_>) -> Option<Option<Grant>> {
    let mut granted = None;
    for statement in &policy.statements {
        match statement.effect {
            Effect::Deny if statement.grant(question).is_some() => return None,
            Effect::Deny => {}
            // Nothing is closer.
            Effect::Allow if granted == Some(Grant::Session) => {}
            Effect::Allow => granted = granted.max(statement.grant(question)),
        }
    }
    Some(granted)
}

/// The keys of the request, below those that follow from who asks and whose resource it is: these no client can set.
struct KeysOfRequest<'a>(&'a Request<'a>);

impl Keys for KeysOfRequest<'_> {
    fn values(&self, key: &Key) -> Values<'_> {
        let KeysOfRequest(request) = self;
        match key.name() {
            "aws:resourceaccount" | "s3:resourceaccount" => request.resource_account.into(),
            _ => request.caller.values(key).unwrap_or_else(|| request.keys.values(key)),
        }
    }
}

#[cfg(test)]
mod tests;

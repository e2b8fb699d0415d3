//! Principals: how the policy of a resource names who asks.

use super::caller::Caller;
use super::error::Fault;
use super::json::Json;

/// One entry of `Principal` or `NotPrincipal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedPrincipal {
    /// `*`, also without a signature.
    Everyone,
    /// By its number or the ARN of its root: the account may pass on what it is given.
    Account(Box<str>),
    /// An account by its canonical id.
    CanonicalUser(Box<str>),
    User(Box<str>),
    Role(Box<str>),
    /// The ARN of one session of a role.
    Session(Box<str>),
    /// The ARN of a federated user. No request comes from one yet.
    FederatedUser(Box<str>),
    /// Like `logging.s3.amazonaws.com`. No request comes from one.
    Service(Box<str>),
    /// An identity provider. Nobody acts as one on a resource: it only counts where roles are assumed.
    Federated(Box<str>),
}

/// How closely an allowing statement of a resource names the caller, from the farthest to the closest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grant {
    /// The caller's account, whose policies must allow it as well.
    Account,
    /// The user or the role.
    Principal,
    /// The session itself, or everyone: nothing that restrains the role or the session counts.
    Session,
}

/// Reads `Principal` or `NotPrincipal`.
pub(super) fn parse(json: &Json, name: &'static str) -> Result<Box<[NamedPrincipal]>, Fault> {
    let members = match json {
        Json::Text(text) if text == "*" => return Ok(Box::new([NamedPrincipal::Everyone])),
        Json::Object(members) if members.is_empty() => return Err(Fault::Empty(name)),
        Json::Object(members) => members,
        Json::Text(_) | Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) => return Err(Fault::Syntax),
    };
    let mut principals = Vec::new();
    for (kind, values) in members {
        let read: fn(&str) -> Option<NamedPrincipal> = match kind.as_str() {
            "AWS" => aws,
            "CanonicalUser" => canonical_user,
            "Service" => service,
            "Federated" => federated,
            _ => return Err(Fault::Principal),
        };
        let values = match values {
            Json::Array(values) if values.is_empty() => return Err(Fault::Empty(name)),
            Json::Array(values) => values,
            value => std::slice::from_ref(value),
        };
        for value in values {
            let Json::Text(text) = value else { return Err(Fault::Principal) };
            principals.push(read(text).ok_or(Fault::Principal)?);
        }
    }
    Ok(principals.into())
}

/// The closest grant of those named.
pub(super) fn grant(principals: &[NamedPrincipal], caller: &Caller<'_>) -> Option<Grant> {
    principals.iter().filter_map(|principal| principal.grant(caller)).max()
}

/// Whether `NotPrincipal` spares the caller: each of its names must be listed, its account's too.
pub(super) fn spares(principals: &[NamedPrincipal], caller: &Caller<'_>) -> bool {
    let lists = |grant| principals.iter().any(|principal| principal.grant(caller) == Some(grant));
    principals.contains(&NamedPrincipal::Everyone)
        || match caller {
            Caller::Anonymous => false,
            Caller::Root(_) => lists(Grant::Account),
            Caller::User(_) => lists(Grant::Account) && lists(Grant::Principal),
            Caller::Session(_) => lists(Grant::Account) && lists(Grant::Principal) && lists(Grant::Session),
        }
}

impl NamedPrincipal {
    fn grant(&self, caller: &Caller<'_>) -> Option<Grant> {
        let (is_named, grant) = match self {
            NamedPrincipal::Everyone => (true, Grant::Session),
            NamedPrincipal::Account(id) => {
                (caller.account().is_some_and(|account| account.id == &**id), Grant::Account)
            }
            NamedPrincipal::CanonicalUser(id) => {
                (caller.account().is_some_and(|account| account.canonical_id == &**id), Grant::Account)
            }
            NamedPrincipal::User(arn) => (matches!(caller, Caller::User(user) if user.arn == &**arn), Grant::Principal),
            NamedPrincipal::Role(arn) => {
                (matches!(caller, Caller::Session(session) if session.role_arn == &**arn), Grant::Principal)
            }
            NamedPrincipal::Session(arn) => {
                (matches!(caller, Caller::Session(session) if session.arn == &**arn), Grant::Session)
            }
            NamedPrincipal::FederatedUser(_) | NamedPrincipal::Service(_) | NamedPrincipal::Federated(_) => {
                (false, Grant::Session)
            }
        };
        is_named.then_some(grant)
    }
}

fn aws(text: &str) -> Option<NamedPrincipal> {
    if text == "*" {
        return Some(NamedPrincipal::Everyone);
    }
    if is_account(text) {
        return Some(NamedPrincipal::Account(text.into()));
    }
    let mut fields = text.splitn(6, ':');
    let mut field = || fields.next();
    let (arn, partition, service, region) = (field()?, field()?, field()?, field()?);
    let (account, resource) = (field()?, field()?);
    // A wildcard in an ARN would be taken literally, and so would not do what it seems to.
    if (arn, partition, region) != ("arn", "aws", "") || !is_account(account) || has_wildcard(resource) {
        return None;
    }
    let (kind, name) = resource.split_once('/').unwrap_or((resource, ""));
    match (service, kind, name) {
        ("iam", "root", "") if resource == "root" => Some(NamedPrincipal::Account(account.into())),
        (_, _, "") => None,
        ("iam", "user", _) => Some(NamedPrincipal::User(text.into())),
        ("iam", "role", _) => Some(NamedPrincipal::Role(text.into())),
        ("sts", "assumed-role", name) => {
            let (role, session) = name.split_once('/')?;
            let is_session = !role.is_empty() && !session.is_empty() && !session.contains('/');
            is_session.then(|| NamedPrincipal::Session(text.into()))
        }
        ("sts", "federated-user", _) => Some(NamedPrincipal::FederatedUser(text.into())),
        _ => None,
    }
}

/// Twelve digits.
fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

fn canonical_user(text: &str) -> Option<NamedPrincipal> {
    let is_id = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    is_id.then(|| NamedPrincipal::CanonicalUser(text.into()))
}

fn service(text: &str) -> Option<NamedPrincipal> {
    let is_name = text.contains('.') && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    is_name.then(|| NamedPrincipal::Service(text.into()))
}

fn federated(text: &str) -> Option<NamedPrincipal> {
    let is_name = !text.is_empty() && !has_wildcard(text) && text.bytes().all(|b| b.is_ascii_graphic());
    is_name.then(|| NamedPrincipal::Federated(text.into()))
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;
    use crate::policy::caller::{Account, Session, User};

    const ACCOUNT: Account<'_> = Account { id: "111122223333", canonical_id: "c1" };
    const ALICE: Caller<'_> = Caller::User(User {
        account: ACCOUNT,
        arn: "arn:aws:iam::111122223333:user/alice",
        name: "alice",
        id: "AIDA",
        tags: &[],
    });
    const SESSION: Caller<'_> = Caller::Session(Session {
        account: ACCOUNT,
        role_arn: "arn:aws:iam::111122223333:role/work/r",
        arn: "arn:aws:sts::111122223333:assumed-role/r/s",
        id: "AROA:s",
        tags: &[],
    });

    fn read(text: &str) -> Result<Box<[NamedPrincipal]>, Fault> {
        parse(&json::read(text.as_bytes()).unwrap(), "Principal")
    }

    #[test]
    fn principals_are_read_in_every_form() {
        let check = |text: &str, expect: &[NamedPrincipal]| assert_eq!(read(text).as_deref(), Ok(expect), "{text}");
        use NamedPrincipal::*;
        let account = Account("111122223333".into());
        check(r#""*""#, &[Everyone]);
        check(r#"{"AWS":"*"}"#, &[Everyone]);
        check(r#"{"AWS":["*"]}"#, &[Everyone]);
        check(r#"{"AWS":"111122223333"}"#, std::slice::from_ref(&account));
        check(r#"{"AWS":"arn:aws:iam::111122223333:root"}"#, &[account]);
        check(
            r#"{"AWS":["arn:aws:iam::111122223333:user/a/b","arn:aws:iam::111122223333:role/r"]}"#,
            &[User("arn:aws:iam::111122223333:user/a/b".into()), Role("arn:aws:iam::111122223333:role/r".into())],
        );
        check(
            r#"{"AWS":"arn:aws:sts::111122223333:assumed-role/r/s"}"#,
            &[Session("arn:aws:sts::111122223333:assumed-role/r/s".into())],
        );
        check(
            r#"{"AWS":"arn:aws:sts::111122223333:federated-user/f"}"#,
            &[FederatedUser("arn:aws:sts::111122223333:federated-user/f".into())],
        );
        check(r#"{"CanonicalUser":"79a59df900b949e5"}"#, &[CanonicalUser("79a59df900b949e5".into())]);
        check(r#"{"Service":"logging.s3.amazonaws.com"}"#, &[Service("logging.s3.amazonaws.com".into())]);
        check(
            r#"{"Federated":"cognito-identity.amazonaws.com","AWS":"*"}"#,
            &[Federated("cognito-identity.amazonaws.com".into()), Everyone],
        );
    }

    #[test]
    fn wrong_principals_are_refused() {
        let check = |text: &str, expect: Fault| assert_eq!(read(text), Err(expect), "{text}");
        check(r#""alice""#, Fault::Syntax);
        check(r#""111122223333""#, Fault::Syntax);
        check(r#"["*"]"#, Fault::Syntax);
        check("null", Fault::Syntax);
        check("{}", Fault::Empty("Principal"));
        check(r#"{"AWS":[]}"#, Fault::Empty("Principal"));
        check(r#"{"aws":"*"}"#, Fault::Principal);
        check(r#"{"AWS":{}}"#, Fault::Principal);
        check(r#"{"AWS":[1]}"#, Fault::Principal);
        check(r#"{"AWS":111122223333}"#, Fault::Principal);
        for text in [
            "",
            "alice",
            "1111222233334",
            "11112222333",
            "1111-2222-3333",
            "arn:aws:iam::111122223333:group/g",
            "arn:aws:iam::111122223333:user/*",
            "arn:aws:iam::111122223333:user/a?",
            "arn:aws:iam::111122223333:user/",
            "arn:aws:iam::111122223333:user",
            "arn:aws:iam::111122223333:root/",
            "arn:aws:iam::*:root",
            "arn:aws:iam::1:root",
            "arn:aws:iam:eu:111122223333:root",
            "arn:aws:s3::111122223333:root",
            "arn:aws:sts::111122223333:assumed-role/r",
            "arn:aws:sts::111122223333:assumed-role/r/",
            "arn:aws:sts::111122223333:assumed-role/r/s/t",
            "arn:aws:sts::111122223333:assumed-role/r/*",
            "AIDAEXAMPLE",
        ] {
            check(&format!(r#"{{"AWS":"{text}"}}"#), Fault::Principal);
        }
        check(r#"{"CanonicalUser":"*"}"#, Fault::Principal);
        check(r#"{"CanonicalUser":""}"#, Fault::Principal);
        check(r#"{"Service":"*"}"#, Fault::Principal);
        check(r#"{"Service":"logging"}"#, Fault::Principal);
        check(r#"{"Federated":"*"}"#, Fault::Principal);
    }

    #[test]
    fn the_closest_name_counts() {
        let check = |caller: &Caller<'_>, text: &str, expect: Option<Grant>| {
            assert_eq!(grant(&read(text).unwrap(), caller), expect, "{text} {caller:?}");
        };
        let root = Caller::Root(ACCOUNT);
        let role = r#"{"AWS":"arn:aws:iam::111122223333:role/work/r"}"#;
        let both = r#"{"AWS":["111122223333","arn:aws:sts::111122223333:assumed-role/r/s"]}"#;
        for caller in [&Caller::Anonymous, &root, &ALICE, &SESSION] {
            check(caller, r#""*""#, Some(Grant::Session));
            check(caller, r#"{"AWS":"444455556666"}"#, None);
            check(caller, r#"{"Service":"s3.amazonaws.com"}"#, None);
        }
        for caller in [&root, &ALICE, &SESSION] {
            check(caller, r#"{"AWS":"111122223333"}"#, Some(Grant::Account));
            check(caller, r#"{"CanonicalUser":"c1"}"#, Some(Grant::Account));
            check(caller, r#"{"CanonicalUser":"c2"}"#, None);
        }
        check(&Caller::Anonymous, r#"{"AWS":"111122223333"}"#, None);
        check(&ALICE, r#"{"AWS":"arn:aws:iam::111122223333:user/alice"}"#, Some(Grant::Principal));
        check(&ALICE, r#"{"AWS":"arn:aws:iam::111122223333:user/Alice"}"#, None);
        check(&ALICE, both, Some(Grant::Account));
        check(&SESSION, role, Some(Grant::Principal));
        check(&SESSION, both, Some(Grant::Session));
        check(&root, role, None);
    }

    #[test]
    fn not_principal_spares_who_is_listed_with_the_account() {
        let check = |caller: &Caller<'_>, text: &str, expect: bool| {
            assert_eq!(spares(&read(text).unwrap(), caller), expect, "{text} {caller:?}");
        };
        let root = Caller::Root(ACCOUNT);
        let account = r#"{"AWS":"111122223333"}"#;
        let alice = r#"{"AWS":["arn:aws:iam::111122223333:root","arn:aws:iam::111122223333:user/alice"]}"#;
        let session = r#"{"AWS":["111122223333","arn:aws:iam::111122223333:role/work/r",
            "arn:aws:sts::111122223333:assumed-role/r/s"]}"#;
        check(&root, account, true);
        check(&root, r#"{"CanonicalUser":"c1"}"#, true);
        check(&ALICE, account, false);
        check(&ALICE, alice, true);
        check(&ALICE, r#"{"AWS":"arn:aws:iam::111122223333:user/alice"}"#, false);
        check(&SESSION, alice, false);
        check(&SESSION, session, true);
        check(&SESSION, r#"{"AWS":["111122223333","arn:aws:iam::111122223333:role/work/r"]}"#, false);
        check(&Caller::Anonymous, alice, false);
        for caller in [&Caller::Anonymous, &root, &ALICE, &SESSION] {
            check(caller, r#""*""#, true);
        }
    }
}

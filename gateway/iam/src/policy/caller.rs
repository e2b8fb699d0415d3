//! Who asks, with what policies name and ask of it.

use super::keys::{Key, Value, Values};

/// `aws:userid` of who has no id.
pub(super) const ANONYMOUS_ID: &str = "anonymous";

/// An account: its number, which ARNs hold, and the id that ACLs and `CanonicalUser` name it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account<'a> {
    pub id: &'a str,
    pub canonical_id: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller<'a> {
    /// No signature at all.
    Anonymous,
    /// The account itself.
    Root(Account<'a>),
    User(User<'a>),
    Session(Session<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User<'a> {
    pub account: Account<'a>,
    /// `arn:aws:iam::<account>:user/<path><name>`.
    pub arn: &'a str,
    pub name: &'a str,
    /// The unique id, which no other user ever had.
    pub id: &'a str,
    pub tags: &'a [(String, String)],
}

/// A role that somebody has assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session<'a> {
    pub account: Account<'a>,
    /// `arn:aws:iam::<account>:role/<path><role>`.
    pub role_arn: &'a str,
    /// `arn:aws:sts::<account>:assumed-role/<role>/<session>`.
    pub arn: &'a str,
    /// The unique id of the role, a colon, the name of the session.
    pub id: &'a str,
    /// Those of the role and of the session: the session's win.
    pub tags: &'a [(String, String)],
}

impl<'a> Caller<'a> {
    pub fn account(&self) -> Option<Account<'a>> {
        match self {
            Caller::Anonymous => None,
            Caller::Root(account) => Some(*account),
            Caller::User(user) => Some(user.account),
            Caller::Session(session) => Some(session.account),
        }
    }

    /// The values of a key that is about the caller; `None` for other keys. What a request carries must not answer
    /// these.
    pub(super) fn values(&self, key: &Key) -> Option<Values<'a>> {
        if let Some(tag) = key.tag() {
            return (key.name() == "aws:principaltag").then(|| self.tag(tag));
        }
        Some(match key.name() {
            "aws:username" => match self {
                Caller::User(user) => user.name.into(),
                Caller::Anonymous | Caller::Root(_) | Caller::Session(_) => Values::Absent,
            },
            "aws:userid" => match self {
                Caller::Anonymous => ANONYMOUS_ID.into(),
                Caller::Root(account) => account.id.into(),
                Caller::User(user) => user.id.into(),
                Caller::Session(session) => session.id.into(),
            },
            "aws:principalarn" => match self {
                Caller::Anonymous => Values::Absent,
                Caller::Root(account) => format!("arn:aws:iam::{}:root", account.id).into(),
                Caller::User(user) => user.arn.into(),
                Caller::Session(session) => session.role_arn.into(),
            },
            "aws:principalaccount" => match self.account() {
                Some(account) => account.id.into(),
                None => Values::Absent,
            },
            "aws:principaltype" => match self {
                Caller::Anonymous => "Anonymous".into(),
                Caller::Root(_) => "Account".into(),
                Caller::User(_) => "User".into(),
                Caller::Session(_) => "AssumedRole".into(),
            },
            "aws:principalisawsservice" | "aws:viaawsservice" => false.into(),
            _ => return None,
        })
    }

    /// Tags of principals compare without regard to case, like the keys that they are part of.
    fn tag(&self, name: &str) -> Values<'a> {
        let tags = match self {
            Caller::Anonymous | Caller::Root(_) => &[],
            Caller::User(user) => user.tags,
            Caller::Session(session) => session.tags,
        };
        let tag = tags.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(name));
        tag.map_or(Values::Absent, |(_, value)| Value::from(value.as_str()).into())
    }
}

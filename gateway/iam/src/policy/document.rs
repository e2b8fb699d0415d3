//! A policy: its document, read once into what evaluation needs.

use types::BucketName;

use super::error::{Fault, InvalidPolicy, Kind};
use super::json::{self, Json};
use super::keys::Key;
use super::pattern::Language;
use super::principal::NamedPrincipal;
use super::statement::{Scope, Statement};

/// Longest document that is looked at, with its white space. What IAM takes on its wire.
pub const DOCUMENT_BYTES_MAX: usize = 131_072;
/// Longest policy of a bucket, white space between tokens not counted.
pub const BUCKET_POLICY_BYTES_MAX: usize = 20 * 1024;
/// Longest policy of an identity, white space between tokens not counted.
pub const IDENTITY_POLICY_CHARACTERS_MAX: usize = 6_144;
/// Most statements of one policy: each is looked at for each request. A bucket's longest policy has room for no more
/// than 300 that say something.
pub const STATEMENTS_MAX: usize = 300;

/// A policy that means something. The document itself is kept by who stores it: clients compare its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(super) statements: Box<[Statement]>,
}

impl Policy {
    /// Reads the policy of a bucket.
    pub fn of_bucket(document: &[u8], bucket: &BucketName) -> Result<Policy, InvalidPolicy> {
        read(document, Some(bucket.as_str())).map_err(|fault| InvalidPolicy { kind: Kind::Bucket, fault })
    }

    /// Reads the policy of a user, a group, a role or a session, or a permissions boundary.
    pub fn of_identity(document: &[u8]) -> Result<Policy, InvalidPolicy> {
        read(document, None).map_err(|fault| InvalidPolicy { kind: Kind::Identity, fault })
    }

    /// The condition keys that it may ask a request for. Who would have to fetch a value (the tags of an object) sees
    /// here whether anybody wants it.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.statements.iter().flat_map(Statement::keys)
    }

    /// The principals that it names: AWS refuses a policy with one that does not exist, which is not known here.
    pub fn principals(&self) -> impl Iterator<Item = &NamedPrincipal> {
        let principals = self.statements.iter().filter_map(|statement| statement.principals.as_ref());
        principals.flat_map(|(Scope::Only(principals) | Scope::AllBut(principals))| principals)
    }
}

/// Reads the policy of `bucket`, or of an identity.
fn read(document: &[u8], bucket: Option<&str>) -> Result<Policy, Fault> {
    let limit = if bucket.is_some() { BUCKET_POLICY_BYTES_MAX } else { IDENTITY_POLICY_CHARACTERS_MAX };
    if document.len() > DOCUMENT_BYTES_MAX {
        return Err(Fault::TooLong(limit));
    }
    if bucket.is_some() && document.first() != Some(&b'{') {
        return Err(Fault::NotJson);
    }
    let text = std::str::from_utf8(document).map_err(|_| Fault::InvalidJson)?;
    let (bytes, characters) = json::normalized_len(text);
    let len = if bucket.is_some() { bytes } else { characters };
    if len > limit {
        return Err(Fault::TooLong(limit));
    }
    let Json::Object(members) = json::read(document).map_err(|_| Fault::InvalidJson)? else {
        return Err(Fault::NotJson);
    };
    let (mut language, mut statements) = (Language::WithoutVariables, None);
    for (name, value) in &members {
        match (name.as_str(), value) {
            ("Version", Json::Text(version)) => language = self::language(version).ok_or(Fault::Version)?,
            ("Version", _) => return Err(Fault::Version),
            ("Id", Json::Text(_)) => {}
            ("Id", _) => return Err(Fault::Syntax),
            ("Statement", value) => statements = Some(value),
            _ => return Err(Fault::Unknown(name.clone())),
        }
    }
    let statements = match statements {
        None => return Err(Fault::Missing("Statement")),
        Some(Json::Array(statements)) if statements.is_empty() => return Err(Fault::Empty("Statement")),
        Some(Json::Array(statements)) => statements,
        Some(statement) => std::slice::from_ref(statement),
    };
    if statements.len() > STATEMENTS_MAX {
        return Err(Fault::TooManyStatements);
    }
    let statements = statements.iter().map(|statement| Statement::parse(statement, bucket, language));
    let statements = statements.collect::<Result<Box<[Statement]>, Fault>>()?;
    check_sids(&statements)?;
    Ok(Policy { statements })
}

fn language(version: &str) -> Option<Language> {
    match version {
        "2012-10-17" => Some(Language::WithVariables),
        "2008-10-17" => Some(Language::WithoutVariables),
        _ => None,
    }
}

fn check_sids(statements: &[Statement]) -> Result<(), Fault> {
    let mut sids: Vec<&str> = statements.iter().filter_map(|statement| statement.sid.as_deref()).collect();
    sids.sort_unstable();
    if sids.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(Fault::DuplicateSid) }
}

#[cfg(test)]
mod tests;

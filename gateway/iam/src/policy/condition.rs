//! Conditions: an operator, a key, and the values of which one has to match.

use super::error::{Fault, Kind};
use super::json::Json;
use super::keys::{Key, Keys, Value};
use super::operand::{Comparison, InvalidOperand, Operands, Order, boolean};
use super::pattern::{Language, Match};
use super::statement::Effect;

/// One key under one operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) key: Key,
    pub(super) test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// `Null`: whether the key may be absent, whether it may be there.
    Null {
        absent: bool,
        present: bool,
    },
    Compare(Operator, Operands),
}

/// What an operator's name says beside what it compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    pub(super) quantifier: Quantifier,
    pub(super) polarity: Polarity,
    /// `...IfExists`: without the key it holds.
    pub(super) if_exists: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantifier {
    /// For keys of one value. Of several, one must match, or none where the operator is negated.
    One,
    /// `ForAllValues:`: also of none.
    All,
    /// `ForAnyValue:`: never of none, whatever the rest of the operator says.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Polarity {
    Matches,
    /// None of the policy's values may match; without the key it holds.
    MatchesNot,
}

const NULL: &str = "Null";
const FOR_ALL_VALUES: &str = "ForAllValues:";
const FOR_ANY_VALUE: &str = "ForAnyValue:";
const IF_EXISTS: &str = "IfExists";

/// Every operator, without its prefix and suffix.
const OPERATORS: &[(&str, Comparison, Polarity)] = &[
    ("StringEquals", Comparison::StringEquals, Polarity::Matches),
    ("StringNotEquals", Comparison::StringEquals, Polarity::MatchesNot),
    ("StringEqualsIgnoreCase", Comparison::StringEqualsIgnoreCase, Polarity::Matches),
    ("StringNotEqualsIgnoreCase", Comparison::StringEqualsIgnoreCase, Polarity::MatchesNot),
    ("StringLike", Comparison::StringLike, Polarity::Matches),
    ("StringNotLike", Comparison::StringLike, Polarity::MatchesNot),
    ("NumericEquals", Comparison::Numeric(Order::Equal), Polarity::Matches),
    ("NumericNotEquals", Comparison::Numeric(Order::Equal), Polarity::MatchesNot),
    ("NumericLessThan", Comparison::Numeric(Order::Less), Polarity::Matches),
    ("NumericLessThanEquals", Comparison::Numeric(Order::LessOrEqual), Polarity::Matches),
    ("NumericGreaterThan", Comparison::Numeric(Order::Greater), Polarity::Matches),
    ("NumericGreaterThanEquals", Comparison::Numeric(Order::GreaterOrEqual), Polarity::Matches),
    ("DateEquals", Comparison::Date(Order::Equal), Polarity::Matches),
    ("DateNotEquals", Comparison::Date(Order::Equal), Polarity::MatchesNot),
    ("DateLessThan", Comparison::Date(Order::Less), Polarity::Matches),
    ("DateLessThanEquals", Comparison::Date(Order::LessOrEqual), Polarity::Matches),
    ("DateGreaterThan", Comparison::Date(Order::Greater), Polarity::Matches),
    ("DateGreaterThanEquals", Comparison::Date(Order::GreaterOrEqual), Polarity::Matches),
    ("Bool", Comparison::Bool, Polarity::Matches),
    ("BinaryEquals", Comparison::Binary, Polarity::Matches),
    ("IpAddress", Comparison::Address, Polarity::Matches),
    ("NotIpAddress", Comparison::Address, Polarity::MatchesNot),
    ("ArnEquals", Comparison::Arn, Polarity::Matches),
    ("ArnNotEquals", Comparison::Arn, Polarity::MatchesNot),
    ("ArnLike", Comparison::Arn, Polarity::Matches),
    ("ArnNotLike", Comparison::Arn, Polarity::MatchesNot),
];

/// The condition keys of S3 itself, without their tags. Those of other vendors are open sets.
const S3_KEYS: &[&str] = &[
    "s3:accessgrantsinstancearn",
    "s3:accesspointnetworkorigin",
    "s3:accesspointtag",
    "s3:authtype",
    "s3:buckettag",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
    "s3:delimiter",
    "s3:destinationregion",
    "s3:existingjoboperation",
    "s3:existingjobpriority",
    "s3:existingobjecttag",
    "s3:if-match",
    "s3:if-none-match",
    "s3:inventoryaccessibleoptionalfields",
    "s3:isreplicationpauserequest",
    "s3:jobsuspendedcause",
    "s3:locationconstraint",
    "s3:max-keys",
    "s3:object-lock-legal-hold",
    "s3:object-lock-mode",
    "s3:object-lock-remaining-retention-days",
    "s3:object-lock-retain-until-date",
    "s3:objectcreationoperation",
    "s3:prefix",
    "s3:requestjoboperation",
    "s3:requestjobpriority",
    "s3:requestobjecttag",
    "s3:requestobjecttagkeys",
    "s3:resourceaccount",
    "s3:signatureage",
    "s3:signatureversion",
    "s3:tlsversion",
    "s3:versionid",
    "s3:x-amz-acl",
    "s3:x-amz-bucket-namespace",
    "s3:x-amz-content-sha256",
    "s3:x-amz-copy-source",
    "s3:x-amz-grant-full-control",
    "s3:x-amz-grant-read",
    "s3:x-amz-grant-read-acp",
    "s3:x-amz-grant-write",
    "s3:x-amz-grant-write-acp",
    "s3:x-amz-metadata-directive",
    "s3:x-amz-object-annotation-directive",
    "s3:x-amz-object-if-match",
    "s3:x-amz-object-ownership",
    "s3:x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:x-amz-server-side-encryption-customer-algorithm",
    "s3:x-amz-storage-class",
    "s3:x-amz-website-redirect-location",
];

/// Reads `Condition`: operators, each with its keys, each with its values. All of them have to hold.
pub(super) fn parse(json: &Json, kind: Kind, language: Language) -> Result<Box<[Condition]>, Fault> {
    let mut conditions = Vec::new();
    for (operator, keys) in object(json)? {
        let parsed = Named::parse(operator).ok_or_else(|| Fault::ConditionOperator(operator.clone()))?;
        for (key, values) in object(keys)? {
            let key = self::key(key, kind)?;
            let values = scalars(values)?;
            let test = match parsed {
                Named::Null => null(&values).map_err(|value| Fault::ConditionValue(operator.clone(), value))?,
                Named::Compare(named, comparison) => {
                    let operands = Operands::parse(comparison, &values, language);
                    Test::Compare(named, operands.map_err(|invalid| invalid.of(operator))?)
                }
            };
            conditions.push(Condition { key, test });
        }
    }
    Ok(conditions.into())
}

impl Condition {
    /// Whether it holds for a request. `effect`, of its statement, decides where a variable without a value leaves it
    /// open whether a negated operator holds: then a statement denies rather than allows.
    pub(super) fn holds(&self, keys: &dyn Keys, effect: Effect) -> bool {
        let values = keys.values(&self.key);
        let values = values.as_slice();
        let (operator, operands) = match &self.test {
            Test::Null { absent, present } => return if values.is_empty() { *absent } else { *present },
            Test::Compare(operator, operands) => (operator, operands),
        };
        let each = |value: &Value<'_>| match (operator.polarity, operands.matches(value, keys)) {
            (Polarity::Matches, Match::Yes) | (Polarity::MatchesNot, Match::No) => true,
            (Polarity::Matches, Match::No | Match::Unresolved) | (Polarity::MatchesNot, Match::Yes) => false,
            (Polarity::MatchesNot, Match::Unresolved) => effect == Effect::Deny,
        };
        // AWS takes a set of nothing but empty texts for an empty one.
        let is_empty_set = || values.iter().all(Value::is_empty);
        match (operator.quantifier, operator.polarity) {
            (Quantifier::One, Polarity::Matches) if values.is_empty() => operator.if_exists,
            (Quantifier::One, Polarity::Matches) => values.iter().any(each),
            (Quantifier::One, Polarity::MatchesNot) => values.iter().all(each),
            (Quantifier::All, _) => is_empty_set() || values.iter().all(each),
            (Quantifier::Any, _) => !is_empty_set() && values.iter().any(each),
        }
    }

    /// Its own key, and those that its variables name.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        let operands = match &self.test {
            Test::Null { .. } => None,
            Test::Compare(_, operands) => Some(operands.keys()),
        };
        std::iter::once(&self.key).chain(operands.into_iter().flatten())
    }
}

/// What the name of an operator means.
#[derive(Clone, Copy)]
enum Named {
    Null,
    Compare(Operator, Comparison),
}

impl Named {
    fn parse(text: &str) -> Option<Named> {
        if text == NULL {
            return Some(Named::Null);
        }
        let (quantifier, rest) = if let Some(rest) = text.strip_prefix(FOR_ALL_VALUES) {
            (Quantifier::All, rest)
        } else if let Some(rest) = text.strip_prefix(FOR_ANY_VALUE) {
            (Quantifier::Any, rest)
        } else {
            (Quantifier::One, text)
        };
        let name = rest.strip_suffix(IF_EXISTS).unwrap_or(rest);
        let (_, comparison, polarity) = OPERATORS.iter().find(|(operator, ..)| *operator == name)?;
        let operator = Operator { quantifier, polarity: *polarity, if_exists: name.len() < rest.len() };
        Some(Named::Compare(operator, *comparison))
    }
}

impl InvalidOperand {
    fn of(self, operator: &str) -> Fault {
        match self {
            InvalidOperand::Value(value) => Fault::ConditionValue(operator.to_owned(), value),
            InvalidOperand::Address => Fault::Address,
            InvalidOperand::Variable(text) => Fault::Variable(text),
        }
    }
}

fn object(json: &Json) -> Result<&[(String, Json)], Fault> {
    match json {
        Json::Object(members) => Ok(members),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_) => Err(Fault::Syntax),
    }
}

/// A key has a vendor and a name. A bucket's policy may name those of S3 only that exist.
fn key(text: &str, kind: Kind) -> Result<Key, Fault> {
    let key = Key::new(text);
    let is_known = match (kind, key.name().split_once(':')) {
        (_, None | Some(("", _) | (_, ""))) => false,
        (Kind::Bucket, Some(("s3", _))) => S3_KEYS.contains(&key.name()),
        (Kind::Bucket | Kind::Identity, Some(_)) => true,
    };
    if is_known && key.tag() != Some("") { Ok(key) } else { Err(Fault::ConditionKey(text.to_owned())) }
}

/// One value or an array of them; numbers and `true` may come without quotes.
fn scalars(json: &Json) -> Result<Vec<String>, Fault> {
    let values = match json {
        Json::Array(values) if values.is_empty() => return Err(Fault::Empty("Condition")),
        Json::Array(values) => values,
        value => std::slice::from_ref(value),
    };
    let scalar = |value: &Json| match value {
        Json::Text(text) | Json::Number(text) => Ok(text.clone()),
        Json::Bool(value) => Ok(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => Err(Fault::Syntax),
    };
    values.iter().map(scalar).collect()
}

/// `true`: the key is absent; `false`: it is there. Fails with the value that is neither.
fn null(values: &[String]) -> Result<Test, String> {
    let bools: Vec<bool> =
        values.iter().map(|value| boolean(value).ok_or_else(|| value.clone())).collect::<Result<_, _>>()?;
    Ok(Test::Null { absent: bools.contains(&true), present: bools.contains(&false) })
}

#[cfg(test)]
mod tests;

//! Whether a bucket's policy is public, as `GetBucketPolicyStatus` tells and `BlockPublicPolicy` refuses it.

use super::arn::{self, Fields};
use super::caller::ANONYMOUS_ID;
use super::condition::{Condition, Polarity, Quantifier, Test};
use super::document::Policy;
use super::operand::Operands;
use super::principal::NamedPrincipal;
use super::statement::{Effect, Scope, Statement};

/// The keys that say where a request comes from. A statement for everyone that asks one of them for fixed values is
/// not public.
const FIXING: &[&str] = &[
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalorgid",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    "s3:dataaccesspointaccount",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
];
/// Of access points the account has to be fixed, the name not.
const ACCESS_POINT: &str = "s3:dataaccesspointarn";

impl Policy {
    /// Whether a statement allows something to everyone, from anywhere. A policy is taken for public unless it shows
    /// that it is not.
    pub fn is_public(&self) -> bool {
        self.statements.iter().any(is_public)
    }
}

fn is_public(statement: &Statement) -> bool {
    let is_for_everyone = match &statement.principals {
        // Only policies of identities name nobody.
        None => false,
        Some(Scope::Only(principals)) => principals.contains(&NamedPrincipal::Everyone),
        Some(Scope::AllBut(_)) => true,
    };
    statement.effect == Effect::Allow && is_for_everyone && !statement.conditions.iter().any(fixes)
}

/// Whether a request can only hold the condition if it comes from fixed places: it has the key, and the key has one
/// of the values.
fn fixes(condition: &Condition) -> bool {
    let (operator, operands) = match &condition.test {
        Test::Null { .. } => return false,
        Test::Compare(operator, operands) => (operator, operands),
    };
    let needs_key = match operator.quantifier {
        Quantifier::One => !operator.if_exists,
        Quantifier::All => false,
        Quantifier::Any => true,
    };
    if !needs_key || operator.polarity == Polarity::MatchesNot {
        return false;
    }
    match (condition.key.name(), operands) {
        ("aws:sourceip", Operands::Networks(networks)) => networks.iter().all(|network| network.is_narrow()),
        (ACCESS_POINT, Operands::Texts(_, patterns)) => {
            patterns.iter().all(|pattern| has_fixed_account(arn::fields(pattern.clone()).ok()))
        }
        (ACCESS_POINT, Operands::Arns(patterns)) => patterns.iter().all(|pattern| has_fixed_account(pattern.fields())),
        (key, Operands::Texts(_, patterns)) if FIXING.contains(&key) => {
            patterns.iter().all(|pattern| is_fixed(pattern.fixed()) && !is_of_everyone(pattern.fixed()))
        }
        (key, Operands::Arns(patterns)) if FIXING.contains(&key) => {
            patterns.iter().all(|pattern| is_fixed(pattern.fixed()))
        }
        (
            _,
            Operands::Texts(..)
            | Operands::Arns(_)
            | Operands::Numbers(..)
            | Operands::Times(..)
            | Operands::Bools(_)
            | Operands::Binaries(_)
            | Operands::Networks(_),
        ) => false,
    }
}

/// A value without wildcards and variables, also where the operator or the language takes them for text.
fn is_fixed(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty() && !text.contains(['*', '?']) && !text.contains("${"))
}

/// The id of those who have none.
fn is_of_everyone(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.eq_ignore_ascii_case(ANONYMOUS_ID))
}

fn has_fixed_account(fields: Option<Fields>) -> bool {
    fields.is_some_and(|[.., account, _]| is_fixed(account.fixed()))
}

#[cfg(test)]
mod tests;

//! ARNs with wildcards: `arn:partition:service:region:account:resource`, field by field.

use super::keys::{Key, Keys};
use super::pattern::{Case, InvalidVariable, Language, Match, Pattern};

const FIELDS: usize = 6;

/// Partition, service and the rest, each by its place.
pub(super) type Fields = [Pattern; FIELDS];

/// A pattern of ARNs. A wildcard of a field stays within it; the last field may hold colons and slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ArnPattern {
    /// `*`.
    Any,
    /// Nothing is open in the fields before the last, so that the whole is compared at once; or the whole is a
    /// variable.
    Whole(Pattern),
    Fields(Box<Fields>),
    /// It is no ARN, and no variable makes it one.
    Never,
}

impl ArnPattern {
    /// As `Resource` writes it: fields that are missing at the end are `*`.
    pub(super) fn of_resource(pattern: Pattern) -> ArnPattern {
        if pattern.is_any() {
            return ArnPattern::Any;
        }
        match fields(pattern.clone()) {
            Ok(fields) => ArnPattern::of(pattern, fields),
            Err(_) => ArnPattern::Fields(Box::new(completed(pattern))),
        }
    }

    /// As a condition writes it: an ARN has all its fields.
    pub(super) fn of_condition(text: &str, language: Language) -> Result<ArnPattern, InvalidVariable> {
        let pattern = Pattern::wild(text, language)?;
        Ok(match fields(pattern.clone()) {
            Ok(fields) => ArnPattern::of(pattern, fields),
            Err(_) if pattern.is_any() => ArnPattern::Any,
            Err(_) if pattern.has_variables() => ArnPattern::Whole(pattern),
            Err(_) => ArnPattern::Never,
        })
    }

    fn of(pattern: Pattern, fields: Fields) -> ArnPattern {
        let is_whole = fields[..FIELDS - 1].iter().all(|field| field.fixed().is_some());
        if is_whole { ArnPattern::Whole(pattern) } else { ArnPattern::Fields(Box::new(fields)) }
    }

    pub(super) fn matches(&self, arn: &str, keys: &dyn Keys) -> Match {
        match self {
            ArnPattern::Any => Match::Yes,
            ArnPattern::Never => Match::No,
            ArnPattern::Whole(pattern) => pattern.matches(arn, Case::Sensitive, keys),
            ArnPattern::Fields(fields) => {
                let mut texts = arn.splitn(FIELDS, ':');
                let mut all = Match::Yes;
                for field in fields.iter() {
                    match texts.next().map(|text| field.matches(text, Case::Sensitive, keys)) {
                        Some(Match::Yes) => {}
                        Some(Match::Unresolved) => all = Match::Unresolved,
                        Some(Match::No) | None => return Match::No,
                    }
                }
                all
            }
        }
    }

    /// The fields, where it has any.
    pub(super) fn fields(&self) -> Option<Fields> {
        match self {
            ArnPattern::Any | ArnPattern::Never => None,
            ArnPattern::Whole(pattern) => fields(pattern.clone()).ok(),
            ArnPattern::Fields(fields) => Some((**fields).clone()),
        }
    }

    /// The only ARN that matches, where it is one and known.
    pub(super) fn fixed(&self) -> Option<&str> {
        match self {
            ArnPattern::Whole(pattern) => pattern.fixed(),
            ArnPattern::Any | ArnPattern::Never | ArnPattern::Fields(_) => None,
        }
    }

    /// The keys that its variables name.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        let patterns = match self {
            ArnPattern::Any | ArnPattern::Never => &[],
            ArnPattern::Whole(pattern) => std::slice::from_ref(pattern),
            ArnPattern::Fields(fields) => &fields[..],
        };
        patterns.iter().flat_map(Pattern::keys)
    }
}

/// The fields of a pattern that has all of them; else those that it has.
pub(super) fn fields(pattern: Pattern) -> Result<Fields, Vec<Pattern>> {
    let (mut fields, mut rest) = (Vec::with_capacity(FIELDS), pattern);
    while fields.len() < FIELDS - 1 {
        match rest.split_once(':') {
            Ok((field, behind)) => {
                fields.push(field);
                rest = behind;
            }
            Err(last) => {
                fields.push(last);
                return Err(fields);
            }
        }
    }
    fields.push(rest);
    fields.try_into()
}

/// The fields of a pattern; those that are missing at the end are `*`.
pub(super) fn completed(pattern: Pattern) -> Fields {
    fields(pattern).unwrap_or_else(|fields| {
        let mut fields = fields.into_iter();
        std::array::from_fn(|_| fields.next().unwrap_or_else(Pattern::any))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::keys::Values;

    struct Account;

    impl Keys for Account {
        fn values(&self, key: &Key) -> Values<'_> {
            match key.name() {
                "aws:principalaccount" => "111122223333".into(),
                "aws:principalarn" => "arn:aws:iam::111122223333:user/a".into(),
                _ => Values::Absent,
            }
        }
    }

    type Read = fn(&str, Language) -> Result<ArnPattern, InvalidVariable>;

    fn resource(text: &str, language: Language) -> Result<ArnPattern, InvalidVariable> {
        Pattern::wild(text, language).map(ArnPattern::of_resource)
    }

    fn check(read: Read, pattern: &str, arn: &str, expect: Match) {
        let read = read(pattern, Language::WithVariables).unwrap();
        assert_eq!(read.matches(arn, &Account), expect, "{pattern} {arn}");
    }

    #[test]
    fn wildcards_stay_within_their_field() {
        for read in [resource as Read, ArnPattern::of_condition] {
            let check = |pattern: &str, arn: &str, expect: bool| check(read, pattern, arn, expect.into());
            check("*", "arn:aws:s3:::b", true);
            check("arn:aws:s3:::b", "arn:aws:s3:::b", true);
            check("arn:aws:s3:::b", "arn:aws:s3:::B", false);
            check("arn:aws:s3:::b/*", "arn:aws:s3:::b/c:d/e", true);
            check("arn:aws:s3:::*", "arn:aws:s3:::b/c", true);
            check("arn:aws:s3:*:*:b", "arn:aws:s3:::b", true);
            check("arn:aws:s3::*:b", "arn:aws:s3:::b", true);
            check("arn:*:s3:::b", "arn:aws:s3:::b", true);
            check("arn:aws:*:::b", "arn:aws:s3:::b", true);
            check("arn:aws:iam::*:role/*", "arn:aws:iam::123456789012:role/Admin", true);
            check("arn:aws:iam::*:role/*", "arn:aws:iam::123456789012:user/User", false);
            check("arn:aws:ec2:*:*:instance/i-?????", "arn:aws:ec2:eu:1:instance/i-12345", true);
            check("arn:aws:ec2:*:*:instance/i-?????", "arn:aws:ec2:eu:1:instance/i-1234", false);
            check("arn:aws:iam::1*:b", "arn:aws:iam::1:x:b", false);
            check("arn:aws:iam::1:*:b", "arn:aws:iam::1:x:b", true);
            check("arn:aws:s3:*:*:b", "b", false);
            check("arn:aws:s3:*:*:b", "", false);
        }
    }

    #[test]
    fn a_resource_is_completed_and_a_value_of_a_condition_is_not() {
        check(resource, "arn:aws:sqs", "arn:aws:sqs:eu:1:queue", Match::Yes);
        check(resource, "arn:aws:s3", "arn:aws:sqs:eu:1:queue", Match::No);
        check(resource, "arn:aws:s3:::", "arn:aws:s3:::", Match::Yes);
        check(resource, "arn:aws:s3:::", "arn:aws:s3:::b", Match::No);
        check(resource, "arn:aws:s3::", "arn:aws:s3:::b", Match::Yes);
        check(ArnPattern::of_condition, "arn:aws:sqs", "arn:aws:sqs:eu:1:queue", Match::No);
        check(ArnPattern::of_condition, "arn:*", "arn:aws:sqs:eu:1:queue", Match::No);
        check(ArnPattern::of_condition, "", "", Match::No);
    }

    #[test]
    fn variables_stand_in_any_field_or_are_the_whole() {
        let condition = ArnPattern::of_condition;
        check(condition, "arn:aws:iam::${aws:PrincipalAccount}:user/*", "arn:aws:iam::111122223333:user/x", Match::Yes);
        check(condition, "arn:aws:iam::${aws:PrincipalAccount}:user/*", "arn:aws:iam::1:user/x", Match::No);
        check(condition, "${aws:PrincipalArn}", "arn:aws:iam::111122223333:user/a", Match::Yes);
        check(condition, "arn:aws:iam::${aws:none}:user/*", "arn:aws:iam::1:user/x", Match::Unresolved);
        check(condition, "arn:aws:iam::${aws:none}:user/*", "arn:aws:iam::1:role/x", Match::No);
    }
}

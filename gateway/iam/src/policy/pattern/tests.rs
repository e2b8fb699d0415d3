use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::policy::keys::{Value, Values};

/// A request of the user Alice, who has a team and works under a prefix.
struct Alice;

impl Keys for Alice {
    fn values(&self, key: &Key) -> Values<'_> {
        match (key.name(), key.tag()) {
            ("aws:username", None) => "alice".into(),
            ("aws:principaltag", Some("team")) => "yellow".into(),
            ("aws:principaltag", Some("star")) => "*".into(),
            ("s3:prefix", None) => "".into(),
            ("aws:tagkeys", None) => Values::Many(vec![Value::from("a"), Value::from("b")]),
            _ => Values::Absent,
        }
    }
}

#[test]
fn wildcards_match_as_in_aws() {
    let check = |pattern: &str, text: &str, expect: bool| {
        let pattern = Pattern::wild(pattern, Language::WithVariables).unwrap();
        assert_eq!(pattern.matches(text, Case::Sensitive, &()), Match::from(expect), "{pattern:?} {text}");
    };
    check("", "", true);
    check("", "a", false);
    check("*", "", true);
    check("*", "anything/at:all", true);
    check("**", "", true);
    check("?", "", false);
    check("?", "a", true);
    check("?", "ü", true);
    check("?", "ab", false);
    check("??", "aü", true);
    check("a", "A", false);
    check("a*", "a", true);
    check("a*", "ab/c", true);
    check("*a", "ba", true);
    check("*a", "ab", false);
    check("*a*", "bab", true);
    check("a*b*c", "a-b-b-c", true);
    check("a*b*c", "a-c-b", false);
    check("*aab", "aaab", true);
    check("*a?b", "aaaxb", true);
    check("*?", "", false);
    check("*ü?", "aüü", true);
    check("arn:aws:s3:::bucket/*", "arn:aws:s3:::bucket/a/b", true);
    check("arn:aws:s3:::bucket/*", "arn:aws:s3:::bucket", false);
    check("arn:aws:s3:::bucket/", "arn:aws:s3:::bucket/", true);
    check("a$b", "a$b", true);
    check("a$*", "a$bc", true);
    check("$", "$", true);
}

#[test]
fn actions_match_without_regard_to_case() {
    let check = |pattern: &str, text: &str, expect: bool| {
        let pattern = Pattern::wild(pattern, Language::WithVariables).unwrap();
        assert_eq!(pattern.matches(text, Case::Insensitive, &()), Match::from(expect), "{pattern:?} {text}");
    };
    check("s3:getobject", "s3:GetObject", true);
    check("S3:GET*", "s3:GetObject", true);
    check("s3:*object", "s3:GetObject", true);
    check("s3:GetObject?", "s3:GetObject", false);
    check("ü", "Ü", false);
}

#[test]
fn variables_are_expanded_in_the_new_language_only() {
    let check = |language, pattern: &str, text: &str, expect: Match| {
        let pattern = Pattern::wild(pattern, language).unwrap();
        assert_eq!(pattern.matches(text, Case::Sensitive, &Alice), expect, "{pattern:?} {text}");
    };
    use Language::{WithVariables as New, WithoutVariables as Old};
    use Match::{No, Unresolved, Yes};
    check(New, "home/${aws:username}/*", "home/alice/x", Yes);
    check(New, "home/${AWS:UserName}/*", "home/alice/x", Yes);
    check(New, "home/${aws:username}/*", "home/bob/x", No);
    check(New, "home/${aws:username}/*", "home/${aws:username}/x", No);
    check(Old, "home/${aws:username}/*", "home/alice/x", No);
    check(Old, "home/${aws:username}/*", "home/${aws:username}/x", Yes);
    check(New, "${aws:PrincipalTag/team}-${aws:username}", "yellow-alice", Yes);
    check(New, "*${aws:PrincipalTag/team}*", "the yellow one", Yes);
    check(New, "x${s3:prefix}y", "xy", Yes);
    // A value is no pattern.
    check(New, "${aws:PrincipalTag/star}", "anything", No);
    check(New, "${aws:PrincipalTag/star}", "*", Yes);
    check(New, "${aws:PrincipalTag/none}*", "anything", Unresolved);
    check(New, "${aws:TagKeys}", "a", Unresolved);
    check(New, "${aws:PrincipalTag/none, 'default'}/*", "default/x", Yes);
    check(New, "${aws:PrincipalTag/none,'it, is}'}", "it, is}", Yes);
    check(New, "${aws:PrincipalTag/none, ''}x", "x", Yes);
    check(New, "${aws:PrincipalTag/team, 'default'}", "yellow", Yes);
    check(New, "${aws:PrincipalTag/team, 'default'}", "default", No);
    check(New, "a${*}b", "a*b", Yes);
    check(New, "a${*}b", "axb", No);
    check(New, "a${?}b", "a?b", Yes);
    check(New, "a${?}b", "axb", No);
    check(New, "${$}{aws:username}", "${aws:username}", Yes);
    check(Old, "a${*}b", "a${anything}b", Yes);
}

#[test]
fn exact_texts_have_variables_but_no_wildcards() {
    let check = |pattern: &str, text: &str, expect: bool| {
        let pattern = Pattern::exact(pattern, Language::WithVariables).unwrap();
        assert_eq!(pattern.matches(text, Case::Sensitive, &Alice), Match::from(expect), "{pattern:?} {text}");
    };
    check("a*", "a*", true);
    check("a*", "ab", false);
    check("a?", "ab", false);
    check("${aws:username}*", "alice*", true);
    check("${*}", "*", true);
}

#[test]
fn broken_variables_are_refused_where_there_are_variables() {
    for text in ["${", "${aws:username", "${}", "${ }", "${a, b}", "${a, 'b}", "${a, 'b' c}", "${, 'b'}", "${a x 'b'"] {
        assert_eq!(Pattern::wild(text, Language::WithVariables), Err(InvalidVariable), "{text}");
        assert!(Pattern::wild(text, Language::WithoutVariables).is_ok(), "{text}");
    }
}

#[test]
fn a_pattern_is_cut_outside_of_its_variables() {
    let check = |text: &str, expect: Option<(&str, &str)>| {
        let wild = |text: &str| Pattern::wild(text, Language::WithVariables).unwrap();
        let expect = expect.map(|(left, right)| (wild(left), wild(right)));
        assert_eq!(wild(text).split_once(':').ok(), expect, "{text}");
    };
    check("a", None);
    check("${aws:username}", None);
    check("a:b:c", Some(("a", "b:c")));
    check(":", Some(("", "")));
    check("${aws:username}*:?${s3:prefix}", Some(("${aws:username}*", "?${s3:prefix}")));
}

#[test]
fn hostile_patterns_take_bounded_time() {
    let text = "a".repeat(1_100);
    let stars = format!("{}b", "a*".repeat(500));
    let long = format!("*{}b", "a".repeat(550));
    let started = Instant::now();
    for pattern in [stars, long, format!("{}b", "*?".repeat(500)), "*a".repeat(500) + "b"] {
        let pattern = Pattern::wild(&pattern, Language::WithVariables).unwrap();
        assert_eq!(pattern.matches(&text, Case::Sensitive, &()), Match::No);
    }
    println!("4 hostile patterns: {:?}", started.elapsed());
}

/// The definition, with all its branches.
fn naive(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], text) => text.is_empty(),
        (['*', rest @ ..], text) => (0..=text.len()).any(|taken| naive(rest, &text[taken..])),
        (['?', rest @ ..], [_, text @ ..]) => naive(rest, text),
        ([c, rest @ ..], [d, text @ ..]) => c == d && naive(rest, text),
        (_, []) => false,
    }
}

proptest! {
    #[test]
    fn wildcards_match_what_the_definition_matches(pattern in "[abü*?]{0,10}", text in "[abü]{0,12}") {
        let (characters, of_text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
        let found = Pattern::wild(&pattern, Language::WithVariables).unwrap().matches(&text, Case::Sensitive, &());
        prop_assert_eq!(found, Match::from(naive(&characters, &of_text)));
    }

    #[test]
    fn no_text_breaks_the_reader(text in "[a$\\{\\}*?,' :ü]{0,12}") {
        // What stands between `${` and `}` is refused or not; nothing else can be wrong.
        let read = Pattern::wild(&text, Language::WithVariables);
        let has_reference = text.contains("${");
        prop_assert!(read.is_ok() || has_reference);
        prop_assert!(Pattern::wild(&text, Language::WithoutVariables).is_ok());
    }
}

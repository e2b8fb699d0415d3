use std::net::IpAddr;

use super::super::json;
use super::*;
use crate::policy::keys::Values;

/// A request with each type of value.
struct Asked;

impl Keys for Asked {
    fn values(&self, key: &Key) -> Values<'_> {
        let tags = || Values::Many(vec![Value::from("Owner"), Value::from("Team")]);
        match (key.name(), key.tag()) {
            ("aws:username", None) => "alice".into(),
            ("aws:useragent", None) => "aws-cli/2".into(),
            ("aws:sourceip", None) => IpAddr::from([203, 0, 113, 9]).into(),
            ("x:mapped", None) => "::ffff:203.0.113.9".into(),
            ("x:six", None) => "2001:db8::9".into(),
            ("aws:currenttime", None) => Value::Time(1_372_550_400_000).into(),
            ("aws:epochtime", None) => 1_372_550_400.into(),
            ("aws:securetransport", None) => true.into(),
            ("x:textual-bool", None) => "False".into(),
            ("s3:max-keys", None) => 10.into(),
            ("x:decimal", None) => "10.5".into(),
            ("s3:prefix", None) => "".into(),
            ("s3:delimiter", None) => "/".into(),
            ("x:binary", None) => "BinaryValueInBase64".into(),
            ("aws:sourcearn", None) => "arn:aws:s3:::source".into(),
            ("aws:principaltag", Some("team")) => "yellow".into(),
            ("s3:existingobjecttag", Some("team")) => "yellow".into(),
            ("aws:tagkeys", None) => tags(),
            ("x:no-keys", None) => Values::Many(Vec::new()),
            ("x:empty-keys", None) => Values::Many(vec!["".into()]),
            _ => Values::Absent,
        }
    }
}

/// Reads a `Condition` of a policy of an identity, and asks it for a statement that allows.
fn holds(text: &str) -> Result<bool, Fault> {
    holds_for(text, Effect::Allow)
}

fn holds_for(text: &str, effect: Effect) -> Result<bool, Fault> {
    let json = json::read(text.as_bytes()).unwrap();
    let conditions = parse(&json, Kind::Identity, Language::WithVariables)?;
    Ok(conditions.iter().all(|condition| condition.holds(&Asked, effect)))
}

/// One operator with one key, in both the plain and the `IfExists` form where the key is there.
fn check(operator: &str, key: &str, values: &str, expect: bool) {
    let text = format!(r#"{{"{operator}":{{"{key}":{values}}}}}"#);
    assert_eq!(holds(&text), Ok(expect), "{text}");
}

#[test]
fn texts_compare_whole_without_case_or_with_wildcards() {
    check("StringEquals", "aws:username", r#""alice""#, true);
    check("StringEquals", "AWS:UserName", r#""alice""#, true);
    check("StringEquals", "aws:username", r#"["bob","alice"]"#, true);
    check("StringEquals", "aws:username", r#""Alice""#, false);
    check("StringEquals", "aws:username", r#""a*""#, false);
    check("StringEquals", "s3:max-keys", r#""10""#, true);
    check("StringEquals", "aws:securetransport", r#""true""#, true);
    check("StringNotEquals", "aws:username", r#""bob""#, true);
    // Several values of a negated operator: none may match.
    check("StringNotEquals", "aws:username", r#"["bob","alice"]"#, false);
    check("StringNotEquals", "aws:username", r#"["bob","carol"]"#, true);
    check("StringEqualsIgnoreCase", "aws:username", r#""ALICE""#, true);
    check("StringEqualsIgnoreCase", "aws:username", r#""al""#, false);
    check("StringNotEqualsIgnoreCase", "aws:username", r#""ALICE""#, false);
    check("StringLike", "aws:username", r#""a*e""#, true);
    check("StringLike", "aws:username", r#""al?ce""#, true);
    check("StringLike", "aws:username", r#""A*""#, false);
    check("StringLike", "aws:useragent", r#"["*boto*","aws-cli/*"]"#, true);
    check("StringNotLike", "aws:username", r#""a*""#, false);
    check("StringNotLike", "aws:username", r#"["b*","c*"]"#, true);
}

#[test]
fn variables_stand_in_texts_and_arns() {
    check("StringEquals", "s3:ExistingObjectTag/team", r#""${aws:PrincipalTag/team}""#, true);
    check("StringLike", "aws:username", r#""${aws:PrincipalTag/none, 'al'}*""#, true);
    check("StringEquals", "aws:username", r#""${aws:PrincipalTag/none}""#, false);
    check("StringEquals", "aws:username", r#"["${aws:PrincipalTag/none}","alice"]"#, true);
    check("StringEquals", "s3:prefix", r#""${s3:prefix}""#, true);
    check("ArnLike", "aws:SourceArn", r#""arn:aws:s3:::${aws:PrincipalTag/none, 'source'}""#, true);
    let check = |text: &str, allows: bool, denies: bool| {
        let found = (holds_for(text, Effect::Allow), holds_for(text, Effect::Deny));
        assert_eq!(found, (Ok(allows), Ok(denies)), "{text}");
    };
    // Whether the value differs is not known: a statement denies rather than allows.
    check(r#"{"StringNotEquals":{"aws:username":"${aws:PrincipalTag/none}"}}"#, false, true);
    check(r#"{"StringNotEquals":{"aws:username":["${aws:PrincipalTag/none}","alice"]}}"#, false, false);
    check(r#"{"StringNotEquals":{"aws:username":"${aws:PrincipalTag/team}"}}"#, true, true);
    check(r#"{"StringEquals":{"aws:username":"${aws:PrincipalTag/none}"}}"#, false, false);
}

#[test]
fn numbers_compare_as_decimals() {
    check("NumericEquals", "s3:max-keys", r#""10""#, true);
    check("NumericEquals", "s3:max-keys", "10", true);
    check("NumericEquals", "s3:max-keys", r#""10.0""#, true);
    check("NumericEquals", "s3:max-keys", r#"[9,11]"#, false);
    check("NumericNotEquals", "s3:max-keys", r#""10""#, false);
    check("NumericNotEquals", "s3:max-keys", r#""11""#, true);
    check("NumericLessThan", "s3:max-keys", r#""10""#, false);
    check("NumericLessThan", "s3:max-keys", r#""11""#, true);
    check("NumericLessThanEquals", "s3:max-keys", r#""10""#, true);
    check("NumericGreaterThan", "s3:max-keys", r#""9""#, true);
    check("NumericGreaterThan", "s3:max-keys", r#""10""#, false);
    check("NumericGreaterThanEquals", "s3:max-keys", r#""10""#, true);
    check("NumericGreaterThan", "x:decimal", r#""10.25""#, true);
    check("NumericEquals", "aws:username", r#""10""#, false);
    check("NumericNotEquals", "aws:username", r#""10""#, true);
}

#[test]
fn dates_compare_in_both_notations() {
    for key in ["aws:CurrentTime", "aws:EpochTime"] {
        check("DateEquals", key, r#""2013-06-30T00:00:00Z""#, true);
        check("DateEquals", key, r#""1372550400""#, true);
        check("DateEquals", key, "1372550400", true);
        check("DateNotEquals", key, r#""2013-06-30T00:00:00Z""#, false);
        check("DateLessThan", key, r#""2013-06-30T00:00:00Z""#, false);
        check("DateLessThan", key, r#""2013-06-30T00:00:00.001Z""#, true);
        check("DateLessThanEquals", key, r#""2013-06-30""#, true);
        check("DateGreaterThan", key, r#""2013-06-29T23:59:59Z""#, true);
        check("DateGreaterThan", key, r#""2013-06-30T00:00:00Z""#, false);
        check("DateGreaterThanEquals", key, r#""2013-06-30T01:00:00+01:00""#, true);
    }
    check("StringLike", "aws:CurrentTime", r#""2013-06-*""#, true);
}

#[test]
fn truth_and_bytes_compare() {
    check("Bool", "aws:SecureTransport", r#""true""#, true);
    check("Bool", "aws:SecureTransport", "true", true);
    check("Bool", "aws:SecureTransport", r#""TRUE""#, true);
    check("Bool", "aws:SecureTransport", r#""false""#, false);
    check("Bool", "x:textual-bool", "false", true);
    check("Bool", "aws:username", "true", false);
    check("BinaryEquals", "x:binary", r#""QmluYXJ5VmFsdWVJbkJhc2U2NA==""#, true);
    check("BinaryEquals", "x:binary", r#""QQ==""#, false);
}

#[test]
fn addresses_lie_in_networks_of_their_family() {
    check("IpAddress", "aws:SourceIp", r#""203.0.113.0/24""#, true);
    check("IpAddress", "aws:SourceIp", r#"["10.0.0.0/8","203.0.113.9"]"#, true);
    check("IpAddress", "aws:SourceIp", r#""203.0.114.0/24""#, false);
    check("NotIpAddress", "aws:SourceIp", r#""203.0.113.0/24""#, false);
    check("NotIpAddress", "aws:SourceIp", r#"["10.0.0.0/8","192.0.2.0/24"]"#, true);
    check("NotIpAddress", "aws:SourceIp", r#"["10.0.0.0/8","203.0.113.0/24"]"#, false);
    check("IpAddress", "x:mapped", r#""203.0.113.0/24""#, true);
    check("IpAddress", "aws:SourceIp", r#""::ffff:203.0.113.0/120""#, true);
    check("IpAddress", "x:six", r#""2001:db8::/32""#, true);
    check("IpAddress", "x:six", r#""0.0.0.0/0""#, false);
    check("IpAddress", "aws:username", r#""0.0.0.0/0""#, false);
}

#[test]
fn arns_compare_field_by_field() {
    for operator in ["ArnEquals", "ArnLike"] {
        check(operator, "aws:SourceArn", r#""arn:aws:s3:::source""#, true);
        check(operator, "aws:SourceArn", r#""arn:aws:s3:*:*:so*""#, true);
        check(operator, "aws:SourceArn", r#""arn:aws:s3:::Source""#, false);
        check(operator, "aws:SourceArn", r#""arn:*""#, false);
        check(operator, "aws:SourceArn", r#""*""#, true);
        check(operator, "aws:username", r#""arn:aws:s3:::source""#, false);
    }
    for operator in ["ArnNotEquals", "ArnNotLike"] {
        check(operator, "aws:SourceArn", r#""arn:aws:s3:::so*""#, false);
        check(operator, "aws:SourceArn", r#""arn:aws:s3:::other""#, true);
        check(operator, "aws:none", r#""arn:aws:s3:::other""#, true);
    }
}

#[test]
fn a_key_that_is_missing_matches_nothing() {
    let positive = [
        ("StringEquals", r#""a""#),
        ("StringEqualsIgnoreCase", r#""a""#),
        ("StringLike", r#""*""#),
        ("NumericEquals", "1"),
        ("NumericLessThan", "1"),
        ("NumericLessThanEquals", "1"),
        ("NumericGreaterThan", "1"),
        ("NumericGreaterThanEquals", "1"),
        ("DateEquals", "1"),
        ("DateLessThan", "1"),
        ("DateLessThanEquals", "1"),
        ("DateGreaterThan", "1"),
        ("DateGreaterThanEquals", "1"),
        ("Bool", "false"),
        ("BinaryEquals", r#""""#),
        ("IpAddress", r#""0.0.0.0/0""#),
        ("ArnEquals", r#""*""#),
        ("ArnLike", r#""*""#),
    ];
    let negative = [
        ("StringNotEquals", r#""a""#),
        ("StringNotEqualsIgnoreCase", r#""a""#),
        ("StringNotLike", r#""*""#),
        ("NumericNotEquals", "1"),
        ("DateNotEquals", "1"),
        ("NotIpAddress", r#""0.0.0.0/0""#),
        ("ArnNotEquals", r#""*""#),
        ("ArnNotLike", r#""*""#),
    ];
    assert_eq!(positive.len() + negative.len(), OPERATORS.len());
    let operators = positive.iter().map(|row| (row, false)).chain(negative.iter().map(|row| (row, true)));
    for ((operator, value), when_missing) in operators {
        for key in ["x:none", "x:no-keys"] {
            check(operator, key, value, when_missing);
            check(&format!("{operator}IfExists"), key, value, true);
            check(&format!("ForAllValues:{operator}"), key, value, true);
            check(&format!("ForAllValues:{operator}IfExists"), key, value, true);
            check(&format!("ForAnyValue:{operator}"), key, value, false);
            // The suffix is about single values, of which there are none.
            check(&format!("ForAnyValue:{operator}IfExists"), key, value, false);
        }
    }
}

#[test]
fn if_exists_changes_nothing_where_the_key_is_there() {
    check("StringEqualsIfExists", "aws:username", r#""alice""#, true);
    check("StringEqualsIfExists", "aws:username", r#""bob""#, false);
    check("StringNotEqualsIfExists", "aws:username", r#""alice""#, false);
    check("IpAddressIfExists", "aws:SourceIp", r#""10.0.0.0/8""#, false);
    check("NumericLessThanEqualsIfExists", "s3:max-keys", r#""5""#, false);
}

#[test]
fn sets_hold_for_all_or_for_any_of_their_values() {
    // The request has Owner and Team.
    check("ForAllValues:StringEquals", "aws:TagKeys", r#"["Owner","Team","Cost"]"#, true);
    check("ForAllValues:StringEquals", "aws:TagKeys", r#"["Owner","Cost"]"#, false);
    check("ForAllValues:StringLike", "aws:TagKeys", r#"["O*","T*"]"#, true);
    check("ForAllValues:StringNotEquals", "aws:TagKeys", r#"["Cost"]"#, true);
    check("ForAllValues:StringNotEquals", "aws:TagKeys", r#"["Cost","Team"]"#, false);
    check("ForAnyValue:StringEquals", "aws:TagKeys", r#"["Owner","Cost"]"#, true);
    check("ForAnyValue:StringEquals", "aws:TagKeys", r#"["Cost"]"#, false);
    check("ForAnyValue:StringNotEquals", "aws:TagKeys", r#"["Owner"]"#, true);
    check("ForAnyValue:StringNotEquals", "aws:TagKeys", r#"["Owner","Team"]"#, false);
    check("ForAnyValue:StringEqualsIgnoreCase", "aws:TagKeys", r#""team""#, true);
    // Without a quantifier one must match, or none.
    check("StringEquals", "aws:TagKeys", r#""Team""#, true);
    check("StringNotEquals", "aws:TagKeys", r#""Team""#, false);
    // One value is a set too, and a set of empty texts is an empty one.
    check("ForAllValues:StringEquals", "aws:username", r#""bob""#, false);
    check("ForAllValues:StringEquals", "x:empty-keys", r#""bob""#, true);
    check("ForAnyValue:StringEquals", "x:empty-keys", r#""""#, false);
}

#[test]
fn null_asks_whether_the_key_is_there() {
    check("Null", "aws:none", r#""true""#, true);
    check("Null", "aws:none", "true", true);
    check("Null", "aws:none", r#""false""#, false);
    check("Null", "aws:username", r#""true""#, false);
    check("Null", "aws:username", "false", true);
    check("Null", "aws:username", r#"["true","false"]"#, true);
    check("Null", "x:no-keys", "true", true);
}

#[test]
fn an_absent_prefix_is_not_an_empty_one() {
    check("StringEquals", "s3:prefix", r#""""#, true);
    check("StringEquals", "s3:none", r#""""#, false);
    check("StringLike", "s3:prefix", r#""*""#, true);
    check("StringLike", "s3:none", r#""*""#, false);
    check("StringNotEquals", "s3:prefix", r#""""#, false);
    check("StringNotEquals", "s3:none", r#""""#, true);
    check("Null", "s3:prefix", "true", false);
    check("Null", "s3:none", "true", true);
    check("StringEquals", "s3:delimiter", r#"["/"]"#, true);
}

#[test]
fn operators_and_keys_all_have_to_hold() {
    let check = |text: &str, expect: bool| assert_eq!(holds(text), Ok(expect), "{text}");
    check("{}", true);
    check(r#"{"StringEquals":{}}"#, true);
    check(r#"{"StringEquals":{"aws:username":"alice","s3:delimiter":"/"}}"#, true);
    check(r#"{"StringEquals":{"aws:username":"alice","s3:delimiter":"-"}}"#, false);
    check(r#"{"StringEquals":{"aws:username":"alice"},"Bool":{"aws:SecureTransport":true}}"#, true);
    check(r#"{"StringEquals":{"aws:username":"alice"},"Bool":{"aws:SecureTransport":false}}"#, false);
    check(r#"{"StringLike":{"aws:username":"a*"},"StringNotLike":{"aws:username":"*e"}}"#, false);
}

#[test]
fn what_no_operator_can_compare_is_refused() {
    let check = |text: &str, expect: Fault| assert_eq!(holds(text), Err(expect), "{text}");
    let operator = |name: &str| Fault::ConditionOperator(name.to_owned());
    let value = |operator: &str, value: &str| Fault::ConditionValue(operator.to_owned(), value.to_owned());
    for name in ["", "Equals", "stringEquals", "StringEqual", "NullIfExists", "ForAllValues:Null", "BinaryNotEquals"]
        .into_iter()
        .chain(["NotBool", "ForSomeValues:Bool", "IfExists", "StringEqualsIfExistsIfExists", "ForAllValues:"])
    {
        check(&format!(r#"{{"{name}":{{"aws:a":"b"}}}}"#), operator(name));
    }
    check("[]", Fault::Syntax);
    check(r#""x""#, Fault::Syntax);
    check(r#"{"Bool":"aws:a"}"#, Fault::Syntax);
    check(r#"{"Bool":{"aws:a":null}}"#, Fault::Syntax);
    check(r#"{"Bool":{"aws:a":{"b":"c"}}}"#, Fault::Syntax);
    check(r#"{"Bool":{"aws:a":[["true"]]}}"#, Fault::Syntax);
    check(r#"{"Bool":{"aws:a":[]}}"#, Fault::Empty("Condition"));
    check(r#"{"Bool":{"aws:a":"yes"}}"#, value("Bool", "yes"));
    check(r#"{"Null":{"aws:a":"yes"}}"#, value("Null", "yes"));
    check(r#"{"NumericEquals":{"aws:a":["1","one"]}}"#, value("NumericEquals", "one"));
    check(r#"{"NumericEqualsIfExists":{"aws:a":"${aws:b}"}}"#, value("NumericEqualsIfExists", "${aws:b}"));
    check(r#"{"DateEquals":{"aws:a":"today"}}"#, value("DateEquals", "today"));
    check(r#"{"BinaryEquals":{"aws:a":"?"}}"#, value("BinaryEquals", "?"));
    check(r#"{"IpAddress":{"aws:a":"203.0.113.*"}}"#, Fault::Address);
    check(r#"{"StringEquals":{"aws:a":"${aws:b"}}"#, Fault::Variable("${aws:b".to_owned()));
    for key in ["", "username", "aws:", ":username", "s3:ExistingObjectTag/"] {
        check(&format!(r#"{{"Bool":{{"{key}":"true"}}}}"#), Fault::ConditionKey(key.to_owned()));
    }
}

#[test]
fn a_bucket_knows_the_keys_of_s3() {
    let check = |key: &str, expect: bool| {
        let json = json::read(format!(r#"{{"StringEquals":{{"{key}":"a"}}}}"#).as_bytes()).unwrap();
        assert_eq!(parse(&json, Kind::Bucket, Language::WithVariables).is_ok(), expect, "{key}");
    };
    check("s3:prefix", true);
    check("S3:Prefix", true);
    check("s3:x-amz-server-side-encryption-aws-kms-key-id", true);
    check("s3:ExistingObjectTag/security", true);
    check("s3:if-none-match", true);
    check("aws:AnythingAtAll", true);
    check("accounts.example.org:sub", true);
    check("accounts.example.org/realms/one:sub", true);
    check("s3:prefixes", false);
    check("s3:x-amz-anything", false);
    check("prefix", false);
    assert!(S3_KEYS.is_sorted());
}

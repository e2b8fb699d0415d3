use types::BucketName;

use super::*;

/// Whether a policy is public that allows reading to everyone, with these elements beside.
fn check(elements: &str, expect: bool) {
    let principal = if elements.contains("Principal\":") { "" } else { r#""Principal":"*","# };
    let effect = if elements.contains("Effect\":") { "" } else { r#""Effect":"Allow","# };
    let text = format!(
        r#"{{"Version":"2012-10-17","Statement":{{{effect}{principal}"Action":"s3:GetObject",
            "Resource":"arn:aws:s3:::bucket/*"{elements}}}}}"#
    );
    let policy = Policy::of_bucket(text.as_bytes(), &BucketName::parse("bucket").unwrap());
    assert_eq!(policy.unwrap_or_else(|invalid| panic!("{invalid}: {text}")).is_public(), expect, "{elements}");
}

fn check_condition(operator: &str, key: &str, values: &str, expect: bool) {
    check(&format!(r#","Condition":{{"{operator}":{{"{key}":{values}}}}}"#), expect);
}

#[test]
fn a_policy_for_everyone_is_public() {
    check("", true);
    check(r#","Principal":{"AWS":"*"}"#, true);
    check(r#","Principal":{"AWS":["111122223333","*"]}"#, true);
    check(r#","Condition":{}"#, true);
    check(r#","Effect":"Deny""#, false);
    check(r#","Effect":"Deny","NotPrincipal":{"AWS":"111122223333"}"#, false);
}

#[test]
fn fixed_principals_are_not_public() {
    check(r#","Principal":{"AWS":"111122223333"}"#, false);
    check(r#","Principal":{"AWS":["arn:aws:iam::111122223333:user/a","444455556666"]}"#, false);
    check(r#","Principal":{"CanonicalUser":"c0ffee"}"#, false);
    check(r#","Principal":{"Service":"cloudtrail.amazonaws.com"}"#, false);
}

#[test]
fn narrow_networks_are_not_public() {
    let check = |operator: &str, values: &str, expect| check_condition(operator, "aws:SourceIp", values, expect);
    check("IpAddress", r#""203.0.113.0/24""#, false);
    check("IpAddress", r#"["203.0.113.0/24","54.0.0.0/8"]"#, false);
    check("IpAddress", r#"["203.0.113.0/24","0.0.0.0/1"]"#, true);
    check("IpAddress", r#""0.0.0.0/0""#, true);
    check("IpAddress", r#""10.0.0.0/8""#, false);
    check("IpAddress", r#""2001:db8::/32""#, false);
    check("IpAddress", r#""2000::/3""#, true);
    check("NotIpAddress", r#""203.0.113.0/24""#, true);
    check("IpAddressIfExists", r#""203.0.113.0/24""#, true);
    check("StringEquals", r#""203.0.113.9""#, true);
}

#[test]
fn fixed_sources_are_not_public() {
    for key in [
        "aws:SourceArn",
        "aws:SourceVpc",
        "aws:SourceVpce",
        "aws:SourceOwner",
        "aws:SourceAccount",
        "aws:PrincipalOrgID",
        "aws:PrincipalArn",
        "aws:PrincipalAccount",
        "aws:userid",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
    ] {
        check_condition("StringEquals", key, r#""fixed""#, false);
        check_condition("StringLike", key, r#"["fixed","other"]"#, false);
        check_condition("StringEqualsIgnoreCase", key, r#""fixed""#, false);
        check_condition("ForAnyValue:StringEquals", key, r#""fixed""#, false);
        check_condition("StringEquals", key, r#"["fixed","fix*"]"#, true);
        check_condition("StringLike", key, r#""fix*""#, true);
        check_condition("StringLike", key, r#""fix?d""#, true);
        check_condition("StringLike", key, r#""${aws:PrincipalTag/x}""#, true);
        check_condition("StringEquals", key, r#""""#, true);
        check_condition("StringNotEquals", key, r#""fixed""#, true);
        check_condition("StringEqualsIfExists", key, r#""fixed""#, true);
        check_condition("ForAllValues:StringEquals", key, r#""fixed""#, true);
        check_condition("Null", key, r#""false""#, true);
    }
    check_condition("ArnEquals", "aws:SourceArn", r#""arn:aws:sns:eu:111122223333:topic""#, false);
    check_condition("ArnLike", "aws:SourceArn", r#""arn:aws:sns:eu:111122223333:*""#, true);
    check_condition("StringLike", "aws:userid", r#""AROAEXAMPLE:*""#, true);
}

#[test]
fn access_points_of_a_fixed_account_are_not_public() {
    let check = |operator: &str, value: &str, expect| check_condition(operator, "s3:DataAccessPointArn", value, expect);
    check("ArnLike", r#""arn:aws:s3:us-west-2:111122223333:accesspoint/*""#, false);
    check("StringLike", r#""arn:aws:s3:us-west-2:111122223333:accesspoint/*""#, false);
    check("StringLike", r#""arn:aws:s3:*:111122223333:accesspoint/*""#, false);
    check("StringLike", r#""arn:aws:s3:us-west-2:*:accesspoint/*""#, true);
    check("StringLike", r#""arn:aws:s3:us-west-2:${aws:PrincipalAccount}:accesspoint/*""#, true);
    check("StringLike", r#""*""#, true);
    check_condition("StringEquals", "s3:DataAccessPointAccount", r#""111122223333""#, false);
}

#[test]
fn other_conditions_leave_a_policy_public() {
    check_condition("StringEquals", "aws:Referer", r#""http://example.com/""#, true);
    check_condition("StringEquals", "aws:PrincipalTag/team", r#""yellow""#, true);
    check_condition("Bool", "aws:SecureTransport", "true", true);
    check_condition("NumericLessThan", "s3:max-keys", "10", true);
    // One that fixes is enough: all have to hold.
    check(r#","Condition":{"Bool":{"aws:SecureTransport":true},"StringEquals":{"aws:SourceVpc":"vpc-1"}}"#, false);
}

#[test]
fn one_public_statement_is_enough() {
    let text = br#"{"Statement":[
        {"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"s3:*","Resource":"arn:aws:s3:::bucket/*"},
        {"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/open/*"}]}"#;
    let policy = Policy::of_bucket(text, &BucketName::parse("bucket").unwrap()).unwrap();
    assert!(policy.is_public());
}

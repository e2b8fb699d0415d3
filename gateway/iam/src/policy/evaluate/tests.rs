use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use proptest::prelude::*;
use types::BucketName;

use super::*;
use crate::policy::caller::{Account, Session, User};
use crate::policy::keys::Value;

const OURS: &str = "111122223333";
const THEIRS: &str = "444455556666";
const BUCKET: &str = "arn:aws:s3:::bucket";
const OBJECT: &str = "arn:aws:s3:::bucket/key";

const ACCOUNT: Account<'_> = Account { id: OURS, canonical_id: "ours" };
const ROOT: Caller<'_> = Caller::Root(ACCOUNT);
const ALICE: Caller<'_> = Caller::User(User {
    account: ACCOUNT,
    arn: "arn:aws:iam::111122223333:user/alice",
    name: "alice",
    id: "AIDAALICE",
    tags: &[],
});
const SESSION: Caller<'_> = Caller::Session(Session {
    account: ACCOUNT,
    role_arn: "arn:aws:iam::111122223333:role/work",
    arn: "arn:aws:sts::111122223333:assumed-role/work/today",
    id: "AROAWORK:today",
    tags: &[],
});

/// Condition keys by their names, with their tags behind a slash.
struct Given<'a>(&'a [(&'a str, Value<'a>)]);

impl Keys for Given<'_> {
    fn values(&self, key: &Key) -> Values<'_> {
        let name = match key.tag() {
            Some(tag) => format!("{}/{tag}", key.name()),
            None => key.name().to_owned(),
        };
        let found = self.0.iter().find(|(given, _)| *given == name);
        found.map_or(Values::Absent, |(_, value)| Values::One(value.clone()))
    }
}

fn document(statements: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#)
}

fn identity(statements: &str) -> Arc<Policy> {
    Arc::new(Policy::of_identity(document(statements).as_bytes()).unwrap_or_else(|e| panic!("{e}: {statements}")))
}

fn bucket(statements: &str) -> Policy {
    let bucket = BucketName::parse("bucket").unwrap();
    Policy::of_bucket(document(statements).as_bytes(), &bucket).unwrap_or_else(|e| panic!("{e}: {statements}"))
}

/// What an identity has that is allowed, or denied, everything.
fn all(effect: &str) -> [Arc<Policy>; 1] {
    [identity(&format!(r#"{{"Effect":"{effect}","Action":"s3:*","Resource":"*"}}"#))]
}

/// What an identity has that is allowed nothing that is asked here.
fn nothing() -> [Arc<Policy>; 1] {
    [identity(r#"{"Effect":"Allow","Action":"s3:GetBucketAcl","Resource":"*"}"#)]
}

/// A policy of the bucket about its objects, for one principal.
fn to(effect: &str, principal: &str) -> Policy {
    let principal = if principal == "*" { r#""*""#.to_owned() } else { format!(r#"{{"AWS":"{principal}"}}"#) };
    bucket(&format!(
        r#"{{"Effect":"{effect}","Principal":{principal},"Action":"s3:*","Resource":["{BUCKET}","{BUCKET}/*"]}}"#
    ))
}

fn request(caller: Caller<'static>) -> Request<'static> {
    Request { caller, action: "s3:GetObject", resource: OBJECT, resource_account: OURS, keys: &() }
}

fn abroad(caller: Caller<'static>) -> Request<'static> {
    Request { resource_account: THEIRS, ..request(caller) }
}

use Verdict::{Allow, ExplicitDeny, ImplicitDeny};

#[test]
fn nothing_is_allowed_unless_a_policy_says_so() {
    let check = |caller: Caller<'static>, at_home: Verdict, away: Verdict| {
        let found = |request| evaluate(&request, &Policies::default());
        assert_eq!((found(request(caller)), found(abroad(caller))), (at_home, away), "{caller:?}");
    };
    check(Caller::Anonymous, ImplicitDeny, ImplicitDeny);
    check(ROOT, Allow, ImplicitDeny);
    check(ALICE, ImplicitDeny, ImplicitDeny);
    check(SESSION, ImplicitDeny, ImplicitDeny);
}

#[test]
fn a_deny_anywhere_wins() {
    let (allow, deny) = (all("Allow"), all("Deny"));
    let (to_all, to_none) = (to("Allow", "*"), to("Deny", "*"));
    let allows =
        Policies { identity: &allow, boundary: Some(&allow[0]), session: Some(&allow), resource: Some(&to_all) };
    for caller in [ALICE, SESSION] {
        let check = |policies: Policies<'_>, expect: Verdict| {
            assert_eq!(evaluate(&request(caller), &policies), expect, "{caller:?}");
            assert_eq!(evaluate(&abroad(caller), &policies), expect, "{caller:?}");
        };
        check(allows, Allow);
        check(Policies { identity: &[allow[0].clone(), deny[0].clone()], ..allows }, ExplicitDeny);
        check(Policies { boundary: Some(&deny[0]), ..allows }, ExplicitDeny);
        check(Policies { session: Some(&[allow[0].clone(), deny[0].clone()]), ..allows }, ExplicitDeny);
        check(Policies { resource: Some(&to_none), ..allows }, ExplicitDeny);
    }
    let denied = Policies { resource: Some(&to_none), ..Policies::default() };
    assert_eq!(evaluate(&request(Caller::Anonymous), &denied), ExplicitDeny);
    assert_eq!(evaluate(&request(ROOT), &denied), ExplicitDeny);
}

#[test]
fn within_an_account_either_side_allows() {
    let (allow, other) = (all("Allow"), nothing());
    let check = |caller: Caller<'static>, principal: &str, without: Verdict, with: Verdict| {
        let policy = to("Allow", principal);
        let found = |identity: &[Arc<Policy>]| {
            evaluate(&request(caller), &Policies { identity, resource: Some(&policy), ..Policies::default() })
        };
        let found = (found(&other), found(&allow));
        assert_eq!(found, (without, with), "{principal} {caller:?}");
    };
    check(ALICE, "*", Allow, Allow);
    check(ALICE, "arn:aws:iam::111122223333:user/alice", Allow, Allow);
    check(ALICE, "arn:aws:iam::111122223333:user/bob", ImplicitDeny, Allow);
    // What the account is given it has to pass on.
    check(ALICE, OURS, ImplicitDeny, Allow);
    check(ALICE, "arn:aws:iam::111122223333:root", ImplicitDeny, Allow);
    check(ALICE, THEIRS, ImplicitDeny, Allow);
    check(SESSION, "arn:aws:iam::111122223333:role/work", Allow, Allow);
    check(SESSION, "arn:aws:sts::111122223333:assumed-role/work/today", Allow, Allow);
    check(SESSION, "arn:aws:sts::111122223333:assumed-role/work/other", ImplicitDeny, Allow);
    check(ROOT, THEIRS, Allow, Allow);
}

#[test]
fn between_accounts_both_sides_allow() {
    let allow = all("Allow");
    let check = |caller: Caller<'static>, principal: &str, without: Verdict, with: Verdict| {
        let policy = to("Allow", principal);
        let found = |identity: &[Arc<Policy>]| {
            evaluate(&abroad(caller), &Policies { identity, resource: Some(&policy), ..Policies::default() })
        };
        assert_eq!((found(&[]), found(&allow)), (without, with), "{principal} {caller:?}");
    };
    check(ALICE, "*", ImplicitDeny, Allow);
    check(ALICE, OURS, ImplicitDeny, Allow);
    check(ALICE, "arn:aws:iam::111122223333:user/alice", ImplicitDeny, Allow);
    check(ALICE, THEIRS, ImplicitDeny, ImplicitDeny);
    check(SESSION, "arn:aws:iam::111122223333:role/work", ImplicitDeny, Allow);
    check(SESSION, "arn:aws:sts::111122223333:assumed-role/work/today", ImplicitDeny, Allow);
    // Root needs no policy of its own, but the other account's.
    check(ROOT, OURS, Allow, Allow);
    check(ROOT, THEIRS, ImplicitDeny, ImplicitDeny);
    let own_only = Policies { identity: &allow, ..Policies::default() };
    assert_eq!(evaluate(&abroad(ALICE), &own_only), ImplicitDeny);
}

#[test]
fn the_anonymous_have_the_policy_of_the_resource_only() {
    let allow = all("Allow");
    let check = |principal: &str, expect: Verdict| {
        let policy = to("Allow", principal);
        // No caller of this crate has policies without a name; they would not count.
        let policies = Policies { identity: &allow, resource: Some(&policy), ..Policies::default() };
        assert_eq!(evaluate(&request(Caller::Anonymous), &policies), expect, "{principal}");
    };
    check("*", Allow);
    check(OURS, ImplicitDeny);
    check("arn:aws:iam::111122223333:user/alice", ImplicitDeny);
    assert_eq!(evaluate(&request(Caller::Anonymous), &Policies::default()), ImplicitDeny);
}

/// AWS's table of resource-based policies and implicit denies in other policies.
#[test]
fn what_a_resource_gives_by_name_passes_limits_or_not() {
    let (allow, other) = (all("Allow"), nothing());
    let check = |caller: Caller<'static>, principal: &str, boundary: Verdict, session: Verdict| {
        let policy = to("Allow", principal);
        let base = Policies { resource: Some(&policy), ..Policies::default() };
        let in_boundary = evaluate(&request(caller), &Policies { boundary: Some(&other[0]), ..base });
        let in_session = evaluate(&request(caller), &Policies { session: Some(&other), ..base });
        assert_eq!((in_boundary, in_session), (boundary, session), "{principal} {caller:?}");
        let wide = Policies { boundary: Some(&allow[0]), session: Some(&allow), ..base };
        assert_eq!(evaluate(&request(caller), &wide), Allow, "{principal} {caller:?}");
    };
    check(SESSION, "arn:aws:iam::111122223333:role/work", ImplicitDeny, ImplicitDeny);
    check(SESSION, "arn:aws:sts::111122223333:assumed-role/work/today", Allow, Allow);
    check(SESSION, "*", Allow, Allow);
    // The user passes a boundary; a session of its own does not pass what it was begun with.
    check(ALICE, "arn:aws:iam::111122223333:user/alice", Allow, ImplicitDeny);
    check(ALICE, "*", Allow, Allow);
}

#[test]
fn boundary_and_session_intersect_with_the_identity() {
    let (allow, other) = (all("Allow"), nothing());
    let wide = Some(&allow[..]);
    let narrow = Some(&other[..]);
    let none: Option<&[Arc<Policy>]> = Some(&[]);
    for caller in [ALICE, SESSION] {
        let check =
            |identity: &[Arc<Policy>], boundary: Option<&Policy>, session: Option<&[Arc<Policy>]>, expect: Verdict| {
                let policies = Policies { identity, boundary, session, resource: None };
                assert_eq!(evaluate(&request(caller), &policies), expect, "{caller:?}");
            };
        check(&allow, None, None, Allow);
        check(&[other[0].clone(), allow[0].clone()], None, None, Allow);
        check(&allow, Some(&allow[0]), wide, Allow);
        check(&allow, Some(&other[0]), None, ImplicitDeny);
        check(&allow, None, narrow, ImplicitDeny);
        check(&allow, None, none, ImplicitDeny);
        // Neither gives anything.
        check(&other, Some(&allow[0]), wide, ImplicitDeny);
    }
    // A key of root that may do less than root.
    let found = |session| evaluate(&request(ROOT), &Policies { session, ..Policies::default() });
    assert_eq!((found(wide), found(narrow), found(none)), (Allow, ImplicitDeny, ImplicitDeny));
}

#[test]
fn limits_hold_between_accounts_whoever_is_named() {
    let (allow, other) = (all("Allow"), nothing());
    for principal in ["*", "arn:aws:sts::111122223333:assumed-role/work/today"] {
        let policy = to("Allow", principal);
        let base = Policies { identity: &allow, resource: Some(&policy), ..Policies::default() };
        let check = |policies: Policies<'_>, expect| assert_eq!(evaluate(&abroad(SESSION), &policies), expect);
        check(base, Allow);
        check(Policies { boundary: Some(&other[0]), ..base }, ImplicitDeny);
        check(Policies { session: Some(&other), ..base }, ImplicitDeny);
    }
}

#[test]
fn the_owner_can_always_mend_a_policy() {
    let (policy, limited) = (to("Deny", "*"), all("Allow"));
    let check = |caller: Caller<'static>, account: &'static str, action: &'static str, expect: Verdict| {
        let request = Request { action, resource: BUCKET, resource_account: account, ..request(caller) };
        let policies = Policies { resource: Some(&policy), ..Policies::default() };
        assert_eq!(evaluate(&request, &policies), expect, "{action} {caller:?}");
        let session = Policies { session: Some(&limited), ..policies };
        assert_eq!(evaluate(&request, &session), ExplicitDeny, "a key that does less than root is not root");
    };
    for action in ["s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"] {
        check(ROOT, OURS, action, Allow);
        check(ROOT, THEIRS, action, ExplicitDeny);
        check(ALICE, OURS, action, ExplicitDeny);
    }
    check(ROOT, OURS, "s3:PutBucketAcl", ExplicitDeny);
}

#[test]
fn not_principal_denies_everybody_else() {
    let policy = bucket(
        r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::bucket/*"},
           {"Effect":"Deny","NotPrincipal":{"AWS":["111122223333","arn:aws:iam::111122223333:user/alice"]},
            "Action":"s3:*","Resource":"arn:aws:s3:::bucket/*"}"#,
    );
    let check = |caller: Caller<'static>, expect: Verdict| {
        let policies = Policies { resource: Some(&policy), ..Policies::default() };
        assert_eq!(evaluate(&request(caller), &policies), expect, "{caller:?}");
    };
    check(ALICE, Allow);
    check(ROOT, Allow);
    check(SESSION, ExplicitDeny);
    check(Caller::Anonymous, ExplicitDeny);
}

#[test]
fn not_action_and_not_resource_take_everything_else() {
    let check = |statement: &str, action: &'static str, resource: &'static str, expect: Verdict| {
        let policies = Policies { identity: &[identity(statement)], ..Policies::default() };
        let request = Request { action, resource, ..request(ALICE) };
        assert_eq!(evaluate(&request, &policies), expect, "{statement} {action} {resource}");
    };
    let not_action = r#"{"Effect":"Allow","NotAction":["s3:Delete*","iam:*"],"Resource":"*"}"#;
    check(not_action, "s3:GetObject", OBJECT, Allow);
    check(not_action, "s3:DeleteObject", OBJECT, ImplicitDeny);
    check(not_action, "iam:CreateUser", "*", ImplicitDeny);
    let not_resource = r#"{"Effect":"Allow","Action":"s3:*","NotResource":"arn:aws:s3:::bucket/private/*"}"#;
    check(not_resource, "s3:GetObject", OBJECT, Allow);
    check(not_resource, "s3:GetObject", "arn:aws:s3:::bucket/private/x", ImplicitDeny);
    // An exception that is not known is one for who is allowed, and none for who is denied.
    let unknown = r#"{"Effect":"Allow","Action":"s3:*","NotResource":"arn:aws:s3:::bucket/${aws:PrincipalTag/x}"}"#;
    check(unknown, "s3:GetObject", OBJECT, ImplicitDeny);
    check(&unknown.replace("Allow", "Deny"), "s3:GetObject", OBJECT, ExplicitDeny);
    let denies = r#"{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::bucket/${aws:PrincipalTag/x}"}"#;
    check(denies, "s3:GetObject", OBJECT, ImplicitDeny);
}

#[test]
fn a_version_is_another_action() {
    let versions = identity(r#"{"Effect":"Allow","Action":"s3:GetObjectVersion","Resource":"*"}"#);
    let current = identity(r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}"#);
    let check = |policy: &Arc<Policy>, action: &'static str, expect: Verdict| {
        let policies = Policies { identity: std::slice::from_ref(policy), ..Policies::default() };
        assert_eq!(evaluate(&Request { action, ..request(ALICE) }, &policies), expect, "{action}");
    };
    check(&versions, "s3:GetObjectVersion", Allow);
    check(&versions, "s3:GetObject", ImplicitDeny);
    check(&current, "s3:GetObject", Allow);
    check(&current, "s3:GetObjectVersion", ImplicitDeny);
}

#[test]
fn the_keys_of_the_caller_follow_from_who_it_is() {
    let tags = [("Team".to_owned(), "yellow".to_owned())];
    let tagged = |caller| match caller {
        Caller::User(user) => Caller::User(User { tags: &tags, ..user }),
        Caller::Session(session) => Caller::Session(Session { tags: &tags, ..session }),
        Caller::Anonymous | Caller::Root(_) => caller,
    };
    // The client says of itself whatever it likes.
    let lies = Given(&[
        ("aws:username", Value::Text("bob".into())),
        ("aws:principaltag/team", Value::Text("red".into())),
        ("aws:resourceaccount", Value::Text("1".into())),
        ("aws:principalisawsservice", Value::Bool(true)),
    ]);
    let check = |caller, key: &str, expect: Option<&str>| {
        let request = Request { caller: tagged(caller), keys: &lies, ..request(caller) };
        let keys = KeysOfRequest(&request);
        let found = keys.values(&Key::new(key)).into_variable();
        assert_eq!(found.as_deref(), expect, "{key} {caller:?}");
    };
    check(Caller::Anonymous, "aws:username", None);
    check(Caller::Anonymous, "aws:userid", Some("anonymous"));
    check(Caller::Anonymous, "aws:PrincipalType", Some("Anonymous"));
    check(Caller::Anonymous, "aws:PrincipalArn", None);
    check(Caller::Anonymous, "aws:PrincipalAccount", None);
    check(Caller::Anonymous, "aws:PrincipalTag/team", None);
    check(ROOT, "aws:username", None);
    check(ROOT, "aws:userid", Some(OURS));
    check(ROOT, "aws:PrincipalType", Some("Account"));
    check(ROOT, "aws:PrincipalArn", Some("arn:aws:iam::111122223333:root"));
    check(ROOT, "aws:PrincipalAccount", Some(OURS));
    check(ALICE, "aws:username", Some("alice"));
    check(ALICE, "aws:userid", Some("AIDAALICE"));
    check(ALICE, "aws:PrincipalType", Some("User"));
    check(ALICE, "aws:PrincipalArn", Some("arn:aws:iam::111122223333:user/alice"));
    check(ALICE, "aws:PrincipalTag/team", Some("yellow"));
    check(ALICE, "aws:PrincipalTag/other", None);
    check(SESSION, "aws:username", None);
    check(SESSION, "aws:userid", Some("AROAWORK:today"));
    check(SESSION, "aws:PrincipalType", Some("AssumedRole"));
    check(SESSION, "aws:PrincipalArn", Some("arn:aws:iam::111122223333:role/work"));
    check(SESSION, "aws:PrincipalTag/TEAM", Some("yellow"));
    check(SESSION, "aws:PrincipalIsAWSService", Some("false"));
    check(SESSION, "aws:ResourceAccount", Some(OURS));
    check(SESSION, "s3:ResourceAccount", Some(OURS));
}

/// The examples of AWS's guides to S3, each asked once for what it allows and once for what it does not.
#[test]
fn documented_bucket_policies_do_what_they_are_for() {
    type Keys<'a> = &'a [(&'a str, Value<'a>)];
    let text = |text: &'static str| Value::Text(text.into());
    let check = |policy: &Policy, caller: Caller<'static>, action: &'static str, keys: Keys<'_>, expect: Verdict| {
        let resource = if action.contains("List") { BUCKET } else { OBJECT };
        let keys = Given(keys);
        let request = Request { caller, action, resource, resource_account: OURS, keys: &keys };
        let policies = Policies { resource: Some(policy), ..Policies::default() };
        assert_eq!(evaluate(&request, &policies), expect, "{policy:?} {action} {:?}", keys.0);
    };
    let public = bucket(
        r#"{"Sid":"PublicRead","Effect":"Allow","Principal":"*","Action":["s3:GetObject","s3:GetObjectVersion"],
            "Resource":["arn:aws:s3:::bucket/*"]}"#,
    );
    check(&public, Caller::Anonymous, "s3:GetObject", &[], Allow);
    check(&public, Caller::Anonymous, "s3:PutObject", &[], ImplicitDeny);
    let tls = bucket(
        r#"{"Sid":"RestrictToTLSRequestsOnly","Action":"s3:*","Effect":"Deny","Principal":"*",
            "Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"],
            "Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#,
    );
    check(&tls, ROOT, "s3:GetObject", &[("aws:securetransport", false.into())], ExplicitDeny);
    check(&tls, ROOT, "s3:GetObject", &[("aws:securetransport", true.into())], Allow);
    let office = bucket(
        r#"{"Sid":"IPAllow","Effect":"Deny","Principal":"*","Action":"s3:*",
            "Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"],
            "Condition":{"NotIpAddress":{"aws:SourceIp":["192.0.2.0/24","2001:DB8:1234:5678::/64"]}}}"#,
    );
    let from = |address: &str| Value::Address(address.parse::<IpAddr>().unwrap());
    check(&office, ROOT, "s3:GetObject", &[("aws:sourceip", from("192.0.2.7"))], Allow);
    check(&office, ROOT, "s3:GetObject", &[("aws:sourceip", from("::ffff:192.0.2.7"))], Allow);
    check(&office, ROOT, "s3:GetObject", &[("aws:sourceip", from("2001:db8:1234:5678::1"))], Allow);
    check(&office, ROOT, "s3:GetObject", &[("aws:sourceip", from("198.51.100.7"))], ExplicitDeny);
    check(&office, ROOT, "s3:GetObject", &[], ExplicitDeny);
    let referer = bucket(
        r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*",
            "Condition":{"StringLike":{"aws:Referer":["http://www.example.com/*","http://example.com/*"]}}}"#,
    );
    let page = text("http://example.com/page");
    check(&referer, Caller::Anonymous, "s3:GetObject", &[("aws:referer", page)], Allow);
    check(&referer, Caller::Anonymous, "s3:GetObject", &[("aws:referer", text("http://example.org/"))], ImplicitDeny);
    check(&referer, Caller::Anonymous, "s3:GetObject", &[], ImplicitDeny);
    let encrypted = bucket(
        r#"{"Sid":"DenyObjectsThatAreNotSSEKMS","Principal":"*","Effect":"Deny","Action":"s3:PutObject",
            "Resource":"arn:aws:s3:::bucket/*",
            "Condition":{"Null":{"s3:x-amz-server-side-encryption-aws-kms-key-id":"true"}}}"#,
    );
    let key = ("s3:x-amz-server-side-encryption-aws-kms-key-id", text("key"));
    check(&encrypted, ROOT, "s3:PutObject", &[key], Allow);
    check(&encrypted, ROOT, "s3:PutObject", &[], ExplicitDeny);
    let full_control = bucket(
        r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/alice"},"Action":"s3:PutObject",
            "Resource":"arn:aws:s3:::bucket/*",
            "Condition":{"StringEquals":{"s3:x-amz-acl":"bucket-owner-full-control"}}}"#,
    );
    let acl = ("s3:x-amz-acl", text("bucket-owner-full-control"));
    check(&full_control, ALICE, "s3:PutObject", &[acl], Allow);
    check(&full_control, ALICE, "s3:PutObject", &[("s3:x-amz-acl", text("private"))], ImplicitDeny);
    check(&full_control, ALICE, "s3:PutObject", &[], ImplicitDeny);
    let tagged = bucket(
        r#"{"Principal":"*","Effect":"Allow","Action":["s3:GetObject","s3:GetObjectVersion"],
            "Resource":"arn:aws:s3:::bucket/*",
            "Condition":{"StringEquals":{"s3:ExistingObjectTag/environment":"production"}}}"#,
    );
    let tag = ("s3:existingobjecttag/environment", text("production"));
    check(&tagged, ALICE, "s3:GetObject", &[tag], Allow);
    check(&tagged, ALICE, "s3:GetObject", &[], ImplicitDeny);
    let prefix = bucket(
        r#"{"Sid":"statement1","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/alice"},
            "Action":"s3:ListBucket","Resource":"arn:aws:s3:::bucket",
            "Condition":{"StringEquals":{"s3:prefix":"projects"}}},
           {"Sid":"statement2","Effect":"Deny","Principal":{"AWS":"arn:aws:iam::111122223333:user/alice"},
            "Action":"s3:ListBucket","Resource":"arn:aws:s3:::bucket",
            "Condition":{"StringNotEquals":{"s3:prefix":"projects"}}}"#,
    );
    check(&prefix, ALICE, "s3:ListBucket", &[("s3:prefix", text("projects"))], Allow);
    check(&prefix, ALICE, "s3:ListBucket", &[("s3:prefix", text("other"))], ExplicitDeny);
    check(&prefix, ALICE, "s3:ListBucket", &[("s3:prefix", text(""))], ExplicitDeny);
    check(&prefix, ALICE, "s3:ListBucket", &[], ExplicitDeny);
    let max_keys = bucket(
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:ListBucket","Resource":"arn:aws:s3:::bucket",
            "Condition":{"NumericGreaterThan":{"s3:max-keys":"10"}}}"#,
    );
    check(&max_keys, ROOT, "s3:ListBucket", &[("s3:max-keys", 10.into())], Allow);
    check(&max_keys, ROOT, "s3:ListBucket", &[("s3:max-keys", 11.into())], ExplicitDeny);
    check(&max_keys, ROOT, "s3:ListBucket", &[], Allow);
    let age = bucket(
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::bucket/*",
            "Condition":{"NumericGreaterThan":{"s3:signatureAge":600000}}}"#,
    );
    check(&age, ROOT, "s3:GetObject", &[("s3:signatureage", 600_000.into())], Allow);
    check(&age, ROOT, "s3:GetObject", &[("s3:signatureage", 600_001.into())], ExplicitDeny);
    let header_only = bucket(
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::bucket/*",
            "Condition":{"StringNotEquals":{"s3:authType":"REST-HEADER"}}}"#,
    );
    check(&header_only, ROOT, "s3:GetObject", &[("s3:authtype", text("REST-HEADER"))], Allow);
    check(&header_only, ROOT, "s3:GetObject", &[("s3:authtype", text("REST-QUERY-STRING"))], ExplicitDeny);
    let tls_version = bucket(
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::bucket/*",
            "Condition":{"NumericLessThan":{"s3:TlsVersion":1.2}}}"#,
    );
    check(&tls_version, ROOT, "s3:GetObject", &[("s3:tlsversion", text("1.2"))], Allow);
    check(&tls_version, ROOT, "s3:GetObject", &[("s3:tlsversion", text("1.1"))], ExplicitDeny);
    let conditional = bucket(
        r#"{"Effect":"Allow","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::bucket/*",
            "Condition":{"Null":{"s3:if-none-match":"false"}}}"#,
    );
    check(&conditional, ALICE, "s3:PutObject", &[("s3:if-none-match", text("*"))], Allow);
    check(&conditional, ALICE, "s3:PutObject", &[], ImplicitDeny);
    let mfa = bucket(
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::bucket/*",
            "Condition":{"Null":{"aws:MultiFactorAuthAge":true}}},
           {"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::bucket/*",
            "Condition":{"NumericGreaterThan":{"aws:MultiFactorAuthAge":3600}}}"#,
    );
    check(&mfa, ROOT, "s3:GetObject", &[("aws:multifactorauthage", 3_600.into())], Allow);
    check(&mfa, ROOT, "s3:GetObject", &[("aws:multifactorauthage", 3_601.into())], ExplicitDeny);
    check(&mfa, ROOT, "s3:GetObject", &[], ExplicitDeny);
}

#[test]
fn documented_identity_policies_do_what_they_are_for() {
    type Keys<'a> = &'a [(&'a str, Value<'a>)];
    let text = |text: &'static str| Value::Text(text.into());
    let check = |policy: &Arc<Policy>, (action, resource): (&str, &str), keys: Keys<'_>, expect: Verdict| {
        let keys = Given(keys);
        let request = Request { caller: ALICE, action, resource, resource_account: OURS, keys: &keys };
        let policies = Policies { identity: std::slice::from_ref(policy), ..Policies::default() };
        assert_eq!(evaluate(&request, &policies), expect, "{policy:?} {action} {resource} {:?}", keys.0);
    };
    // Home folders, where the prefix may be one of three.
    let home = identity(
        r#"{"Sid":"AllowListBuckets","Effect":"Allow","Action":["s3:ListAllMyBuckets","s3:GetBucketLocation"],
            "Resource":"arn:aws:s3:::*"},
           {"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::bucket",
            "Condition":{"StringLike":{"s3:prefix":["","home/","home/${aws:username}/*"]}}},
           {"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::bucket/home/${aws:username}",
            "arn:aws:s3:::bucket/home/${aws:username}/*"]}"#,
    );
    check(&home, ("s3:ListAllMyBuckets", "arn:aws:s3:::*"), &[], Allow);
    check(&home, ("s3:GetBucketLocation", BUCKET), &[], Allow);
    check(&home, ("s3:ListBucket", BUCKET), &[("s3:prefix", text(""))], Allow);
    check(&home, ("s3:ListBucket", BUCKET), &[("s3:prefix", text("home/alice/x"))], Allow);
    check(&home, ("s3:ListBucket", BUCKET), &[("s3:prefix", text("home/bob/x"))], ImplicitDeny);
    check(&home, ("s3:ListBucket", BUCKET), &[], ImplicitDeny);
    check(&home, ("s3:PutObject", "arn:aws:s3:::bucket/home/alice/x"), &[], Allow);
    check(&home, ("s3:PutObject", "arn:aws:s3:::bucket/home/bob/x"), &[], ImplicitDeny);
    check(&home, ("s3:PutObject", "arn:aws:s3:::bucket/home/alice2/x"), &[], ImplicitDeny);
    // Only the version of the language with variables has them.
    let old = br#"{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"s3:*",
        "Resource":"arn:aws:s3:::bucket/${aws:username}"}}"#;
    let old = Arc::new(Policy::of_identity(old).unwrap());
    check(&old, ("s3:PutObject", "arn:aws:s3:::bucket/alice"), &[], ImplicitDeny);
    check(&old, ("s3:PutObject", "arn:aws:s3:::bucket/${aws:username}"), &[], Allow);
    // A range of dates.
    let dates = identity(
        r#"{"Effect":"Allow","Action":"s3:*","Resource":"*",
            "Condition":{"DateGreaterThan":{"aws:CurrentTime":"2020-04-01T00:00:00Z"},
                         "DateLessThan":{"aws:CurrentTime":"2020-06-30T23:59:59Z"}}}"#,
    );
    check(&dates, ("s3:GetObject", OBJECT), &[("aws:currenttime", Value::Time(1_588_291_200_000))], Allow);
    check(&dates, ("s3:GetObject", OBJECT), &[("aws:currenttime", Value::Time(1_593_561_600_000))], ImplicitDeny);
    // All but one bucket, and nothing beside S3.
    let one = identity(
        r#"{"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]},
           {"Effect":"Deny","NotAction":"s3:*",
            "NotResource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]}"#,
    );
    check(&one, ("s3:PutObject", OBJECT), &[], Allow);
    check(&one, ("s3:PutObject", "arn:aws:s3:::other/key"), &[], ImplicitDeny);
    check(&one, ("hafiz:ListDrives", "*"), &[], ExplicitDeny);
    // Away from two networks, unless a service acts for the caller.
    let networks = identity(
        r#"{"Effect":"Deny","Action":"*","Resource":"*",
            "Condition":{"NotIpAddress":{"aws:SourceIp":["192.0.2.0/24","203.0.113.0/24"]},
                         "Bool":{"aws:ViaAWSService":"false"}}},
           {"Effect":"Allow","Action":"*","Resource":"*"}"#,
    );
    let from = |address: [u8; 4]| ("aws:sourceip", Value::Address(address.into()));
    check(&networks, ("s3:GetObject", OBJECT), &[from([192, 0, 2, 1])], Allow);
    check(&networks, ("s3:GetObject", OBJECT), &[from([198, 51, 100, 1])], ExplicitDeny);
    // Tags of a request, of which each must be one of a few.
    let tags = identity(
        r#"{"Effect":"Allow","Action":"s3:PutObjectTagging","Resource":"*",
            "Condition":{"ForAllValues:StringEquals":{"s3:RequestObjectTagKeys":["Owner","CreationDate"]},
                         "Null":{"s3:RequestObjectTagKeys":"false"}}}"#,
    );
    let tagging = ("s3:PutObjectTagging", OBJECT);
    check(&tags, tagging, &[("s3:requestobjecttagkeys", text("Owner"))], Allow);
    check(&tags, tagging, &[("s3:requestobjecttagkeys", text("Cost"))], ImplicitDeny);
    check(&tags, tagging, &[], ImplicitDeny);
}

/// Statements of an identity.
fn statements() -> impl Strategy<Value = String> {
    let effect = prop::sample::select(vec!["Allow", "Allow", "Deny"]);
    let action = prop::sample::select(vec![
        r#""Action":"s3:*""#,
        r#""Action":["s3:PutObject","s3:Get*"]"#,
        r#""Action":"s3:PutObject""#,
        r#""NotAction":"s3:PutObject""#,
    ]);
    let resource = prop::sample::select(vec![
        r#""Resource":"*""#,
        r#""Resource":"arn:aws:s3:::bucket/k*""#,
        r#""Resource":"arn:aws:s3:::bucket/${aws:username}""#,
        r#""NotResource":"arn:aws:s3:::bucket/${aws:PrincipalTag/none}""#,
    ]);
    (effect, action, resource).prop_map(|(e, a, r)| format!(r#"{{"Effect":"{e}",{a},{r}}}"#))
}

proptest! {
    #[test]
    fn what_restrains_never_allows_and_what_allows_never_restrains(
        own in prop::collection::vec(statements(), 1..4),
        limit in prop::collection::vec(statements(), 1..4),
        principal in prop::sample::select(vec!["*", OURS, THEIRS, "arn:aws:iam::111122223333:user/alice",
            "arn:aws:iam::111122223333:role/work", "arn:aws:sts::111122223333:assumed-role/work/today"]),
        caller in prop::sample::select(vec![Caller::Anonymous, ROOT, ALICE, SESSION]),
        is_abroad in any::<bool>(),
    ) {
        let request = if is_abroad { abroad(caller) } else { request(caller) };
        let (own, limit) = ([identity(&own.join(","))], [identity(&limit.join(","))]);
        let (given, taken) = (to("Allow", principal), to("Deny", principal));
        let base = Policies { identity: &own, ..Policies::default() };
        let given = Policies { resource: Some(&given), ..base };
        let allows = |policies: &Policies<'_>| evaluate(&request, policies) == Allow;
        let is_anonymous = matches!(caller, Caller::Anonymous);
        for less in [base, given] {
            for more in [
                Policies { boundary: Some(&limit[0]), ..less },
                Policies { session: Some(&limit), ..less },
                Policies { session: Some(&[]), ..less },
                Policies { boundary: Some(&limit[0]), session: Some(&own), ..less },
                Policies { resource: Some(&taken), ..less },
            ] {
                prop_assert!(!allows(&more) || allows(&less));
            }
        }
        prop_assert!(!allows(&base) || allows(&given));
        // Between accounts nothing is allowed that only one of them allows.
        prop_assert!(!is_abroad || !allows(&base));
        prop_assert!(!is_anonymous || principal == "*" || !allows(&given));
    }
}

/// Prints what a decision costs. A typical user: ten statements, the last of which allows, and a bucket's policy that
/// denies plain connections.
#[test]
fn a_decision_takes_a_moment() {
    const ROUNDS: u32 = 20_000;
    let statements: Vec<String> = (0..9)
        .map(|n| {
            format!(
                r#"{{"Effect":"Allow","Action":["s3:GetObject","s3:Put*","s3:ListBucket"],
                    "Resource":["arn:aws:s3:::data-{n}","arn:aws:s3:::data-{n}/*"]}}"#
            )
        })
        .collect();
    let last = r#"{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::bucket/*",
        "Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}}"#;
    let variable = r#"{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::bucket/${aws:username}/*"}"#;
    let tls = bucket(
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"],
            "Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#,
    );
    struct Plain;
    impl Keys for Plain {
        fn values(&self, key: &Key) -> Values<'_> {
            match key.name() {
                "aws:sourceip" => IpAddr::from([192, 0, 2, 1]).into(),
                "aws:securetransport" => true.into(),
                _ => Values::Absent,
            }
        }
    }
    for (name, last, resource) in [("plain", last, OBJECT), ("variable", variable, "arn:aws:s3:::bucket/alice/key")] {
        let policy = [identity(&format!("{},{last}", statements.join(",")))];
        let policies = Policies { identity: &policy, resource: Some(&tls), ..Policies::default() };
        let request = Request { resource, keys: &Plain, ..request(ALICE) };
        let started = Instant::now();
        for _ in 0..ROUNDS {
            assert_eq!(evaluate(black_box(&request), black_box(&policies)), Allow);
        }
        println!("evaluate 10 statements and a bucket's policy, {name}: {:?}", started.elapsed() / ROUNDS);
    }
}

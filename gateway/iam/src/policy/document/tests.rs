use super::*;
use crate::policy::error::Fault::*;

/// A statement of a bucket's policy: these elements, and those that it needs where neither they nor their `Not` are
/// among them.
fn statement(elements: &str) -> String {
    let needed = [
        ("Effect", r#""Allow""#),
        ("Principal", r#""*""#),
        ("Action", r#""s3:GetObject""#),
        ("Resource", r#""arn:aws:s3:::bucket/*""#),
    ];
    let missing = needed.iter().filter(|(name, _)| !elements.contains(&format!("{name}\":")));
    let missing = missing.map(|(name, value)| format!("\"{name}\":{value}"));
    let given = (!elements.is_empty()).then(|| elements.to_owned());
    format!("{{{}}}", missing.chain(given).collect::<Vec<_>>().join(","))
}

fn of_bucket(document: &str) -> Result<Policy, Fault> {
    let bucket = BucketName::parse("bucket").unwrap();
    Policy::of_bucket(document.as_bytes(), &bucket).map_err(|invalid| {
        assert_eq!(invalid.kind, Kind::Bucket);
        invalid.fault
    })
}

fn of_identity(document: &str) -> Result<Policy, Fault> {
    Policy::of_identity(document.as_bytes()).map_err(|invalid| {
        assert_eq!(invalid.kind, Kind::Identity);
        invalid.fault
    })
}

fn document(statements: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":{statements}}}"#)
}

#[test]
fn documents_are_read_in_every_form() {
    let check = |document: &str, count: usize| {
        assert_eq!(of_bucket(document).map(|policy| policy.statements.len()), Ok(count), "{document}");
    };
    let one = statement("");
    check(&document(&one), 1);
    check(&document(&format!("[{one}]")), 1);
    check(&document(&format!("[{one},{one}]")), 2);
    check(&format!(r#"{{"Statement":{one},"Id":"x","Version":"2008-10-17"}}"#), 1);
    check(&format!(r#"{{"Statement":{one}}}"#), 1);
    check(&format!("{{ \"Statement\" :\r\n\t{one} }}\n"), 1);
    for elements in [
        r#""Action":["s3:GetObject","s3:PutObject"]"#,
        r#""Action":"s3:*""#,
        r#""Action":"*""#,
        r#""NotAction":"s3:DeleteObject""#,
        r#""Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]"#,
        r#""NotResource":"arn:aws:s3:::bucket/private/*""#,
        r#""Principal":{"AWS":["111122223333","*"],"CanonicalUser":"c0ffee"}"#,
        r#""Effect":"Deny","NotPrincipal":{"AWS":"111122223333"}"#,
        r#""Sid":"one statement","Condition":{}"#,
        r#""Sid":"""#,
        r#""Condition":{"StringEquals":{"s3:x-amz-acl":["private"]}}"#,
    ] {
        check(&document(&statement(elements)), 1);
    }
}

#[test]
fn broken_documents_are_refused() {
    let check = |document: &str, expect: Fault| assert_eq!(of_bucket(document), Err(expect), "{document}");
    let one = statement("");
    check("", NotJson);
    check(" {}", NotJson);
    check("[]", NotJson);
    check("null", NotJson);
    check("\u{feff}{}", NotJson);
    check("{", InvalidJson);
    check("{}x", InvalidJson);
    check("{}", Missing("Statement"));
    check(r#"{"Version":"2012-10-17"}"#, Missing("Statement"));
    check(r#"{"Statement":[]}"#, Empty("Statement"));
    check(r#"{"Statement":null}"#, Syntax);
    check(r#"{"Statement":"x"}"#, Syntax);
    check(r#"{"Statement":[[]]}"#, Syntax);
    check(r#"{"Statement":[{}]}"#, Missing("Effect"));
    check(&format!(r#"{{"Statement":{one},"Statement":{one}}}"#), InvalidJson);
    check(&format!(r#"{{"Statement":{one},"Other":1}}"#), Unknown("Other".to_owned()));
    check(&format!(r#"{{"statement":{one}}}"#), Unknown("statement".to_owned()));
    check(&format!(r#"{{"Statement":{one},"Id":1}}"#), Syntax);
    for version in [r#""2012-10-18""#, r#""""#, r#""2012""#, "20121017", "null", r#"["2012-10-17"]"#] {
        check(&format!(r#"{{"Version":{version},"Statement":{one}}}"#), Version);
    }
    check(&document(&format!("[{}]", vec!["1"; STATEMENTS_MAX + 1].join(","))), TooManyStatements);
    assert_eq!(
        Policy::of_identity(b"{\"Id\":\"\xff\"}"),
        Err(InvalidPolicy { kind: Kind::Identity, fault: InvalidJson })
    );
    let bomb = document(&format!("{}{}", "[".repeat(5_000), "]".repeat(5_000)));
    assert_eq!(of_bucket(&bomb), Err(InvalidJson));
}

#[test]
fn wrong_statements_are_refused() {
    let check = |elements: &str, expect: Fault| {
        assert_eq!(of_bucket(&document(&statement(elements))), Err(expect), "{elements}");
    };
    let without = |name: &str, expect: Fault| {
        let text = document(&statement("").replace(&format!("\"{name}\":"), "\"Sid\":"));
        assert_eq!(of_bucket(&text), Err(expect), "{text}");
    };
    without("Effect", Missing("Effect"));
    without("Principal", Missing("Principal"));
    without("Action", Missing("Action"));
    without("Resource", Missing("Resource"));
    check(r#""Effect":"allow""#, Effect("allow".to_owned()));
    check(r#""Effect":"""#, Effect(String::new()));
    check(r#""Effect":["Allow"]"#, Syntax);
    check(r#""Sid":1"#, Syntax);
    check(r#""Other":1"#, Unknown("Other".to_owned()));
    check(r#""action":"s3:*""#, Unknown("action".to_owned()));
    check(r#""Action":[]"#, Empty("Action"));
    check(r#""Action":null"#, Syntax);
    check(r#""Action":{}"#, Syntax);
    check(r#""Action":[1]"#, Syntax);
    check(r#""Action":["s3:GetObject",["s3:PutObject"]]"#, Syntax);
    check(r#""Action":"""#, Action(String::new()));
    check(r#""Action":"GetObject""#, Action("GetObject".to_owned()));
    check(r#""Action":"s3:NoSuchAction""#, Action("s3:NoSuchAction".to_owned()));
    check(r#""Action":["s3:GetObject","ec2:RunInstances"]"#, Action("ec2:RunInstances".to_owned()));
    check(r#""Action":"s3:GetObject","NotAction":"s3:PutObject""#, Both("Action", "NotAction"));
    check(r#""Resource":[]"#, Empty("Resource"));
    check(r#""Resource":"*""#, Resource("*".to_owned()));
    check(r#""Resource":"arn:aws:s3:::other/*""#, Resource("arn:aws:s3:::other/*".to_owned()));
    check(r#""Resource":["arn:aws:s3:::bucket/*","bucket"]"#, Resource("bucket".to_owned()));
    check(r#""Resource":"arn:aws:s3:::bucket/${a""#, Variable("arn:aws:s3:::bucket/${a".to_owned()));
    check(r#""Resource":"arn:aws:s3:::bucket","NotResource":"arn:aws:s3:::bucket""#, Both("Resource", "NotResource"));
    check(r#""Principal":"alice""#, Syntax);
    check(r#""Principal":{}"#, Empty("Principal"));
    check(r#""Principal":{"AWS":"alice"}"#, Principal);
    check(r#""Principal":"*","NotPrincipal":"*""#, Both("Principal", "NotPrincipal"));
    check(r#""Condition":[]"#, Syntax);
    check(r#""Condition":{"Equals":{"aws:a":"b"}}"#, ConditionOperator("Equals".to_owned()));
    check(r#""NotPrincipal":{"AWS":"111122223333"}"#, AllowNotPrincipal);
    let twice = format!("[{0},{0}]", statement(r#""Sid":"one""#));
    assert_eq!(of_bucket(&document(&twice)), Err(DuplicateSid));
    let unnamed = format!("[{0},{0}]", statement(r#""Sid":"""#));
    assert!(of_bucket(&document(&unnamed)).is_ok());
}

#[test]
fn actions_need_a_resource_that_they_are_about() {
    let check = |action: &str, resource: &str, expect: bool| {
        let text = document(&statement(&format!(r#""Action":{action},"Resource":{resource}"#)));
        let expect = if expect { None } else { Some(NotApplicable) };
        assert_eq!(of_bucket(&text).err(), expect, "{action} {resource}");
    };
    let (bucket, object) = (r#""arn:aws:s3:::bucket""#, r#""arn:aws:s3:::bucket/*""#);
    let both = r#"["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]"#;
    check(r#""s3:GetObject""#, object, true);
    check(r#""s3:GetObject""#, bucket, false);
    check(r#""s3:GetObject""#, r#""arn:aws:s3:::bucket*""#, true);
    check(r#""s3:ListBucket""#, bucket, true);
    check(r#""s3:ListBucket""#, object, false);
    check(r#""s3:*""#, bucket, true);
    check(r#""s3:*""#, object, true);
    check(r#""*""#, object, true);
    check(r#"["s3:GetObject","s3:ListBucket"]"#, object, false);
    check(r#"["s3:GetObject","s3:ListBucket"]"#, both, true);
    check(r#""s3:ListAllMyBuckets""#, both, false);
    check(r#""s3:AbortMultipartUpload""#, bucket, false);
    check(r#""s3:ListBucketMultipartUploads""#, bucket, true);
}

#[test]
fn identities_name_no_principal_and_any_resource() {
    let check = |elements: &str, expect: Option<Fault>| {
        let text = document(&format!("{{{elements}}}"));
        assert_eq!(of_identity(&text).err(), expect, "{elements}");
    };
    check(r#""Effect":"Allow","Action":"*","Resource":"*""#, None);
    check(r#""Effect":"Allow","Action":["s3:Get*","iam:*"],"Resource":["arn:aws:s3:::a/*","*"]"#, None);
    check(r#""Effect":"Deny","NotAction":"iam:*","NotResource":"arn:aws:s3:::a""#, None);
    check(r#""Effect":"Allow","Action":"hafiz:ListDrives","Resource":"*""#, None);
    // No table of actions: IAM takes those of services that it does not know.
    check(r#""Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket""#, None);
    check(r#""Effect":"Allow","Action":"s3:NoSuchAction","Resource":"*""#, None);
    check(r#""Effect":"Allow","Action":"*","Resource":"*","Principal":"*""#, Some(SpecifiesPrincipal));
    check(r#""Effect":"Deny","Action":"*","Resource":"*","NotPrincipal":{"AWS":"*"}"#, Some(SpecifiesPrincipal));
    check(r#""Effect":"Allow","Action":"Get*","Resource":"*""#, Some(Action("Get*".to_owned())));
    check(r#""Effect":"Allow","Action":"*","Resource":"bucket""#, Some(Resource("bucket".to_owned())));
    check(r#""Effect":"Allow","Resource":"*""#, Some(Missing("Action")));
    check(r#""Effect":"Allow","Action":"*""#, Some(Missing("Resource")));
    assert!(of_identity(&format!("\n {}", document(r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#))).is_ok());
}

#[test]
fn policies_have_a_size_without_their_white_space() {
    let policy = |len: usize, space: usize| {
        let text = document(&statement(r#""Sid":"@""#));
        let sid = "x".repeat(len + 1 - text.len());
        text.replace('@', &sid).replace(":[", &format!(":{}[", " ".repeat(space))) + &" ".repeat(space)
    };
    assert!(of_bucket(&policy(BUCKET_POLICY_BYTES_MAX, 0)).is_ok());
    assert!(of_bucket(&policy(BUCKET_POLICY_BYTES_MAX, 50_000)).is_ok());
    assert_eq!(of_bucket(&policy(BUCKET_POLICY_BYTES_MAX + 1, 0)), Err(TooLong(BUCKET_POLICY_BYTES_MAX)));
    let too_long = policy(BUCKET_POLICY_BYTES_MAX, DOCUMENT_BYTES_MAX);
    assert_eq!(of_bucket(&too_long), Err(TooLong(BUCKET_POLICY_BYTES_MAX)));
    let identity = |len: usize, letter: &str| {
        let text = document(r#"{"Sid":"@","Effect":"Allow","Action":"*","Resource":"*"}"#);
        text.replace('@', &letter.repeat(len + 1 - text.len()))
    };
    assert!(of_identity(&identity(IDENTITY_POLICY_CHARACTERS_MAX, "x")).is_ok());
    // Characters count, not bytes.
    assert!(of_identity(&identity(IDENTITY_POLICY_CHARACTERS_MAX, "ü")).is_ok());
    let too_long = identity(IDENTITY_POLICY_CHARACTERS_MAX + 1, "x");
    assert_eq!(of_identity(&too_long), Err(TooLong(IDENTITY_POLICY_CHARACTERS_MAX)));
}

#[test]
fn faults_are_told_in_the_words_of_the_service() {
    let check = |fault: Fault, of_bucket: &str, of_identity: &str| {
        let told = |kind| InvalidPolicy { kind, fault: fault.clone() }.to_string();
        assert_eq!((&*told(Kind::Bucket), &*told(Kind::Identity)), (of_bucket, of_identity));
    };
    let syntax = "Syntax errors in policy.";
    check(NotJson, "Policies must be valid JSON and the first byte must be '{'", syntax);
    check(InvalidJson, "This policy contains invalid Json", syntax);
    check(Syntax, "Invalid policy syntax.", syntax);
    check(Version, "The policy must contain a valid version string", syntax);
    check(Missing("Principal"), "Missing required field Principal", syntax);
    check(Missing("Action"), "Missing required field Action", "Policy statement must contain actions.");
    check(Missing("Resource"), "Missing required field Resource", "Policy statement must contain resources.");
    check(Empty("Statement"), "Could not parse the policy: Statement is empty!", syntax);
    check(Empty("Principal"), "Missing required field Principal cannot be empty!", syntax);
    check(Effect("allow".to_owned()), "Invalid effect: allow", syntax);
    check(Principal, "Invalid principal in policy", syntax);
    check(SpecifiesPrincipal, "Invalid principal in policy", "Policy document should not specify a principal.");
    check(AllowNotPrincipal, "Allow with NotPrincipal is not allowed.", syntax);
    let vendor = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.";
    check(Action("Get".to_owned()), "Policy has invalid action", vendor);
    let colons = "Actions/Condition can contain only one colon.";
    check(Action("s3:a:b".to_owned()), "Policy has invalid action", colons);
    check(Action("s 3:a".to_owned()), "Policy has invalid action", "Vendor s 3 is not valid");
    let resource = "Resource a must be in ARN format or \"*\".";
    check(Resource("a".to_owned()), "Policy has invalid resource", resource);
    check(NotApplicable, "Action does not apply to any resource(s) in statement", syntax);
    check(ConditionOperator("Is".to_owned()), "Invalid Condition type : Is", syntax);
    check(ConditionKey("s3:x".to_owned()), "Policy has an invalid condition key", syntax);
    let too_long = "Normalized policy document exceeds the maximum allowed size of 20480 bytes";
    check(TooLong(20_480), too_long, "Cannot exceed quota for PolicySize: 20480");
}

#[test]
fn a_policy_tells_its_keys_and_principals() {
    let text = document(&statement(
        r#""Principal":{"AWS":"111122223333"},"Resource":"arn:aws:s3:::bucket/${aws:username}/*",
        "Condition":{"StringEquals":{"s3:ExistingObjectTag/Team":"${aws:PrincipalTag/team}"},"Null":{"s3:x-amz-acl":true}}"#,
    ));
    let policy = of_bucket(&text).unwrap();
    let keys: Vec<(&str, Option<&str>)> = policy.keys().map(|key| (key.name(), key.tag())).collect();
    let expect = [
        ("aws:username", None),
        ("s3:existingobjecttag", Some("Team")),
        ("aws:principaltag", Some("team")),
        ("s3:x-amz-acl", None),
    ];
    assert_eq!(keys, expect);
    let principals: Vec<&NamedPrincipal> = policy.principals().collect();
    assert_eq!(principals, [&NamedPrincipal::Account("111122223333".into())]);
}

//! Policies, which anybody with a bucket may put, and which every request to it is asked about.

use std::sync::Arc;

use iam::policy::{Account, Caller, Key, Keys, Policies, Policy, Request, User, Value, Values, Verdict, evaluate};
use types::BucketName;

/// A request that has whatever a policy asks for: the same few values for every key.
struct Anything;

impl Keys for Anything {
    fn values(&self, key: &Key) -> Values<'_> {
        match key.name().len() % 7 {
            0 => Values::Absent,
            1 => "a*?${b}".into(),
            2 => true.into(),
            3 => 10.into(),
            4 => Value::Time(1_369_353_600_000).into(),
            5 => Value::Address([203, 0, 113, 9].into()).into(),
            _ => Values::Many(vec!["a".into(), "".into()]),
        }
    }
}

const ALICE: Caller<'_> = Caller::User(User {
    account: Account { id: "111122223333", canonical_id: "c" },
    arn: "arn:aws:iam::111122223333:user/alice",
    name: "alice",
    id: "AIDA",
    tags: &[],
});

/// A policy is refused or can be asked; white space changes nothing; what denies everything denies it beside any.
pub(crate) fn document(data: &[u8]) {
    let bucket = BucketName::parse("bucket").expect("a valid name");
    let request = |caller| Request {
        caller,
        action: "s3:GetObject",
        resource: "arn:aws:s3:::bucket/key",
        resource_account: "111122223333",
        keys: &Anything,
    };
    let read_identity = Policy::of_identity(data);
    match &read_identity {
        Ok(policy) => {
            let deny = Policy::of_identity(DENY).expect("a valid policy");
            let identity = [Arc::new(policy.clone()), Arc::new(deny)];
            let policies = Policies { identity: &identity[..1], boundary: Some(policy), ..Policies::default() };
            // A policy within itself is itself.
            let alone = Policies { boundary: None, ..policies };
            assert_eq!(evaluate(&request(ALICE), &policies), evaluate(&request(ALICE), &alone));
            let denied = Policies { identity: &identity, ..policies };
            assert_eq!(evaluate(&request(ALICE), &denied), Verdict::ExplicitDeny);
            assert!(!policy.is_public(), "a policy of an identity names nobody");
        }
        Err(invalid) => assert!(!invalid.to_string().is_empty()),
    }
    match Policy::of_bucket(data, &bucket) {
        Ok(policy) => {
            let policies = Policies { resource: Some(&policy), ..Policies::default() };
            let anonymous = evaluate(&request(Caller::Anonymous), &policies);
            // What asks for nothing allows everyone only if it is public.
            assert!(policy.keys().next().is_some() || policy.is_public() || anonymous != Verdict::Allow);
            // As everyone, Alice may do what everyone may; a statement may deny it to her alone.
            let of_alice = evaluate(&request(ALICE), &policies);
            assert!(policy.keys().next().is_some() || anonymous != Verdict::Allow || of_alice != Verdict::ImplicitDeny);
            assert!(read_identity.is_err(), "one of them names principals");
            let padded = [data, b" \n"].concat();
            let again = Policy::of_bucket(&padded, &bucket).ok();
            assert!(padded.len() > iam::policy::DOCUMENT_BYTES_MAX || again == Some(policy));
        }
        Err(invalid) => assert!(!invalid.to_string().is_empty()),
    }
}

const DENY: &[u8] = br#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;

//! Resources: how policies write them, and what a bucket's policy may speak of.

use super::action::Target;
use super::arn::{self, ArnPattern, Fields};
use super::error::Fault;
use super::pattern::{Case, Language, Match, Pattern};

const PARTITIONS: &[&str] = &["aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-eusc"];

/// What a resource of a bucket's policy can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    bucket: bool,
    object: bool,
}

impl Reach {
    pub(super) fn has(self, target: Target) -> bool {
        match target {
            Target::Bucket => self.bucket,
            Target::Object => self.object,
            Target::Account => false,
        }
    }
}

/// One entry of `Resource` or `NotResource`; of the policy of `bucket` it must be that bucket or something in it.
pub(super) fn parse(text: &str, bucket: Option<&str>, language: Language) -> Result<(ArnPattern, Reach), Fault> {
    let pattern = Pattern::wild(text, language).map_err(|_| Fault::Variable(text.to_owned()))?;
    let fields = arn::completed(pattern.clone());
    let is_valid = match bucket {
        Some(bucket) => is_of_bucket(&fields, bucket),
        None => pattern.is_any() || is_arn(&fields),
    };
    if !is_valid {
        return Err(Fault::Resource(text.to_owned()));
    }
    let [.., resource] = fields;
    let is_open = resource.is_open();
    let has_key = resource.split_once('/').is_ok();
    // A `*` also takes slashes, and a variable may be anything.
    Ok((ArnPattern::of_resource(pattern), Reach { bucket: !has_key, object: has_key || is_open }))
}

/// Of S3, without a region, and the part before the slash can be the bucket.
fn is_of_bucket([arn, partition, service, region, account, resource]: &Fields, bucket: &str) -> bool {
    // A variable is known when it is asked for.
    let can_be = |pattern: &Pattern, text| match pattern.matches(text, Case::Sensitive, &()) {
        Match::Yes | Match::Unresolved => true,
        Match::No => false,
    };
    let name = match resource.clone().split_once('/') {
        Ok((name, _)) => name,
        Err(name) => name,
    };
    (arn.fixed(), partition.fixed(), service.fixed()) == (Some("arn"), Some("aws"), Some("s3"))
        && can_be(region, "")
        && can_be(account, "")
        && can_be(&name, bucket)
}

/// An ARN whose service is spelled out.
fn is_arn([arn, partition, service, region, ..]: &Fields) -> bool {
    let is_partition = partition.is_any() || partition.fixed().is_some_and(|text| PARTITIONS.contains(&text));
    let is_service = match service.fixed() {
        None | Some("") => false,
        // Their names are global.
        Some("s3" | "iam") => region.fixed() == Some(""),
        Some(_) => true,
    };
    arn.fixed() == Some("arn") && is_partition && is_service
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_of_a_bucket_is_the_bucket_or_in_it() {
        let check = |text: &str, expect: bool| {
            assert_eq!(parse(text, Some("bucket"), Language::WithVariables).is_ok(), expect, "{text}");
        };
        check("arn:aws:s3:::bucket", true);
        check("arn:aws:s3:::bucket/*", true);
        check("arn:aws:s3:::bucket/a/b", true);
        check("arn:aws:s3:::bucket*", true);
        check("arn:aws:s3:::buck?t/*", true);
        check("arn:aws:s3:::*", true);
        check("arn:aws:s3:::*/*", true);
        check("arn:aws:s3::*:bucket", true);
        // What is missing at the end is `*`.
        check("arn:aws:s3", true);
        check("arn:aws:s3:::bucket/${aws:username}/*", true);
        check("arn:aws:s3:::${aws:PrincipalTag/bucket}/*", true);
        check("*", false);
        check("", false);
        check("bucket", false);
        check("arn:aws:s3:::", false);
        check("arn:aws:s3:::/*", false);
        check("arn:aws:s3:::other", false);
        check("arn:aws:s3:::bucket2/*", false);
        check("arn:aws:s3:::Bucket", false);
        check("arn:aws:s3:eu-west-1::bucket", false);
        check("arn:aws:s3::111122223333:bucket", false);
        check("arn:aws:sqs:::bucket", false);
        check("arn:aws:*:::bucket", false);
        check("arn:*:s3:::bucket", false);
        check("arn:aws:s3:::bucket/${aws:username", false);
    }

    #[test]
    fn a_resource_of_an_identity_is_everything_or_an_arn() {
        let check = |text: &str, expect: bool| {
            assert_eq!(parse(text, None, Language::WithVariables).is_ok(), expect, "{text}");
        };
        check("*", true);
        check("arn:aws:s3:::*", true);
        check("arn:aws:s3:::bucket/${aws:username}/*", true);
        check("arn:*:s3:::bucket", true);
        check("arn:aws-cn:s3:::bucket", true);
        check("arn:aws:dynamodb:us-east-2:111122223333:table/T", true);
        check("arn:aws:iam::${aws:PrincipalAccount}:user/*", true);
        check("arn:aws:sqs", true);
        check("", false);
        check("bucket", false);
        check("bucket/*", false);
        check("*bucket", false);
        check("arn:aws", false);
        check("arn:aws:", false);
        check("arn:aws::::bucket", false);
        check("arn:aws:*:::bucket", false);
        check("arn:gcp:s3:::bucket", false);
        check("arm:aws:s3:::bucket", false);
        check("arn:aws:s3:eu-west-1::bucket", false);
        check("${aws:PrincipalArn}", false);
    }

    #[test]
    fn resources_reach_buckets_or_objects_or_both() {
        let check = |text: &str, bucket: bool, object: bool| {
            let (_, reach) = parse(text, Some("bucket"), Language::WithVariables).unwrap();
            assert_eq!(reach, Reach { bucket, object }, "{text}");
        };
        check("arn:aws:s3:::bucket", true, false);
        check("arn:aws:s3:::buck?t", true, false);
        check("arn:aws:s3:::bucket*", true, true);
        check("arn:aws:s3:::b*t", true, true);
        check("arn:aws:s3:::bucket/*", false, true);
        check("arn:aws:s3:::bucket/key", false, true);
        check("arn:aws:s3:::bucket*/key", false, true);
        check("arn:aws:s3:::${aws:username}", true, true);
    }
}

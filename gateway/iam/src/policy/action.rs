//! Actions: how policies write them, and what S3's are about.

use super::error::{Fault, Kind};
use super::keys::Keys;
use super::pattern::{Case, Language, Match, Pattern};

/// One entry of `Action` or `NotAction`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ActionPattern(Pattern);

/// What an action of S3 acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Bucket,
    Object,
    /// Everything of an account: no bucket policy reaches it.
    Account,
}

impl ActionPattern {
    /// `*`, or a vendor and a name with wildcards. A bucket's policy may name actions of S3 only, and only those that
    /// exist.
    pub(super) fn parse(text: &str, kind: Kind) -> Result<ActionPattern, Fault> {
        let invalid = || Fault::Action(text.to_owned());
        // Variables stand in resources and conditions only.
        let pattern = Pattern::wild(text, Language::WithoutVariables).map_err(|_| invalid())?;
        let is_valid = text == "*"
            || text.split_once(':').is_some_and(|(vendor, name)| {
                let is_vendor = vendor.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
                (vendor == "*" || !vendor.is_empty() && is_vendor) && !name.is_empty() && !name.contains(':')
            });
        let action = ActionPattern(pattern);
        let exists = match kind {
            Kind::Bucket => action.targets().next().is_some(),
            Kind::Identity => true,
        };
        if is_valid && exists { Ok(action) } else { Err(invalid()) }
    }

    pub(super) fn matches(&self, action: &str) -> bool {
        let keys: &dyn Keys = &();
        match self.0.matches(action, Case::Insensitive, keys) {
            Match::Yes => true,
            Match::No | Match::Unresolved => false,
        }
    }

    /// What the actions of S3 that it names are about.
    pub(super) fn targets(&self) -> impl Iterator<Item = Target> {
        let all = [(Target::Bucket, OF_BUCKETS), (Target::Object, OF_OBJECTS), (Target::Account, OF_ACCOUNTS)];
        all.into_iter().filter(|(_, names)| names.iter().any(|name| self.matches(name))).map(|(target, _)| target)
    }
}

const OF_BUCKETS: &[&str] = &[
    "s3:CreateBucket",
    "s3:CreateBucketMetadataTableConfiguration",
    "s3:DeleteBucket",
    "s3:DeleteBucketMetadataTableConfiguration",
    "s3:DeleteBucketPolicy",
    "s3:DeleteBucketWebsite",
    "s3:GetAccelerateConfiguration",
    "s3:GetAnalyticsConfiguration",
    "s3:GetBucketAbac",
    "s3:GetBucketAcl",
    "s3:GetBucketCORS",
    "s3:GetBucketLocation",
    "s3:GetBucketLogging",
    "s3:GetBucketMetadataTableConfiguration",
    "s3:GetBucketNotification",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketPolicy",
    "s3:GetBucketPolicyStatus",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketRequestPayment",
    "s3:GetBucketTagging",
    "s3:GetBucketVersioning",
    "s3:GetBucketWebsite",
    "s3:GetEncryptionConfiguration",
    "s3:GetIntelligentTieringConfiguration",
    "s3:GetInventoryConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:GetMetricsConfiguration",
    "s3:GetReplicationConfiguration",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:ListBucketVersions",
    "s3:ListTagsForResource",
    "s3:PutAccelerateConfiguration",
    "s3:PutAnalyticsConfiguration",
    "s3:PutBucketAbac",
    "s3:PutBucketAcl",
    "s3:PutBucketCORS",
    "s3:PutBucketLogging",
    "s3:PutBucketNotification",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketRequestPayment",
    "s3:PutBucketTagging",
    "s3:PutBucketVersioning",
    "s3:PutBucketWebsite",
    "s3:PutEncryptionConfiguration",
    "s3:PutIntelligentTieringConfiguration",
    "s3:PutInventoryConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:PutMetricsConfiguration",
    "s3:PutReplicationConfiguration",
    "s3:TagResource",
    "s3:UntagResource",
    "s3:UpdateBucketMetadataAnnotationTableConfiguration",
    "s3:UpdateBucketMetadataInventoryTableConfiguration",
    "s3:UpdateBucketMetadataJournalTableConfiguration",
];

const OF_OBJECTS: &[&str] = &[
    "s3:AbortMultipartUpload",
    "s3:BypassGovernanceRetention",
    "s3:DeleteObject",
    "s3:DeleteObjectAnnotation",
    "s3:DeleteObjectTagging",
    "s3:DeleteObjectVersion",
    "s3:DeleteObjectVersionTagging",
    "s3:GetObject",
    "s3:GetObjectAcl",
    "s3:GetObjectAnnotation",
    "s3:GetObjectAttributes",
    "s3:GetObjectLegalHold",
    "s3:GetObjectRetention",
    "s3:GetObjectTagging",
    "s3:GetObjectTorrent",
    "s3:GetObjectVersion",
    "s3:GetObjectVersionAcl",
    "s3:GetObjectVersionAttributes",
    "s3:GetObjectVersionForReplication",
    "s3:GetObjectVersionTagging",
    "s3:GetObjectVersionTorrent",
    "s3:InitiateReplication",
    "s3:ListMultipartUploadParts",
    "s3:ListObjectAnnotations",
    "s3:ObjectOwnerOverrideToBucketOwner",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:PutObjectAnnotation",
    "s3:PutObjectLegalHold",
    "s3:PutObjectRetention",
    "s3:PutObjectTagging",
    "s3:PutObjectVersionAcl",
    "s3:PutObjectVersionTagging",
    "s3:ReplicateDelete",
    "s3:ReplicateObject",
    "s3:ReplicateTags",
    "s3:RestoreObject",
    "s3:UpdateObjectEncryption",
];

const OF_ACCOUNTS: &[&str] = &[
    "s3:CreateJob",
    "s3:GetAccountPublicAccessBlock",
    "s3:ListAccessPoints",
    "s3:ListAllMyBuckets",
    "s3:ListJobs",
    "s3:PutAccountPublicAccessBlock",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_have_a_vendor_and_a_name() {
        let check = |text: &str, in_bucket: bool, in_identity: bool| {
            let is_valid = |kind| ActionPattern::parse(text, kind).is_ok();
            assert_eq!((is_valid(Kind::Bucket), is_valid(Kind::Identity)), (in_bucket, in_identity), "{text}");
        };
        check("*", true, true);
        check("s3:*", true, true);
        check("*:*", true, true);
        check("s3:GetObject", true, true);
        check("S3:getobject", true, true);
        check("s3:Get*", true, true);
        check("s3:???Object", true, true);
        check("s3:ListAllMyBuckets", true, true);
        // There is no such action.
        check("s3:GetObjects", false, true);
        check("s3:Got*", false, true);
        // Another service.
        check("ec2:RunInstances", false, true);
        check("hafiz:ListDrives", false, true);
        check("sts:*", false, true);
        check("", false, false);
        check("GetObject", false, false);
        check("Get*", false, false);
        check("s3:", false, false);
        check(":GetObject", false, false);
        check("s3:Get:Object", false, false);
        check("s*:GetObject", false, false);
        check("s 3:GetObject", false, false);
        check("s3*", false, false);
    }

    #[test]
    fn actions_know_what_they_are_about() {
        let check = |text: &str, expect: &[Target]| {
            let action = ActionPattern::parse(text, Kind::Bucket).unwrap();
            assert_eq!(action.targets().collect::<Vec<_>>(), expect, "{text}");
        };
        check("*", &[Target::Bucket, Target::Object, Target::Account]);
        check("s3:GetObject", &[Target::Object]);
        check("s3:ListBucket*", &[Target::Bucket]);
        check("s3:ListAllMyBuckets", &[Target::Account]);
        check("s3:List*", &[Target::Bucket, Target::Object, Target::Account]);
    }
}

//! The table of all operations, in the order of S3's own families. A deprecated operation that cannot be told from
//! the one which replaced it comes after it, and is never chosen.

use super::{Level, Route};

macro_rules! operations {
    ($($name:ident $method:literal $level:ident [$($need:literal)*] $header:expr, [$($parameter:literal)*] $action:literal $implemented:literal;)*) => {
        /// Every operation of S3.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation { $($name,)* }

        pub static ROUTES: &[Route] = &[$(Route {
            operation: Operation::$name,
            name: stringify!($name),
            method: $method,
            level: Level::$level,
            needs: &[$($need),*],
            header: $header,
            parameters: &[$($parameter),*],
            action: $action,
            implemented: $implemented,
        },)*];
    };
}

// name, method, level, [query that must be there], header that must be there, [further query], action, implemented
operations! {
    // 1 Bucket core
    ListBuckets "GET" Service [] None, ["prefix" "continuation-token" "max-buckets" "bucket-region"] "s3:ListAllMyBuckets" true;
    CreateBucket "PUT" Bucket [] None, [] "s3:CreateBucket" true;
    HeadBucket "HEAD" Bucket [] None, [] "s3:ListBucket" true;
    DeleteBucket "DELETE" Bucket [] None, [] "s3:DeleteBucket" true;
    GetBucketLocation "GET" Bucket ["location"] None, [] "s3:GetBucketLocation" true;
    ListObjects "GET" Bucket [] None, ["prefix" "delimiter" "encoding-type" "max-keys" "marker"] "s3:ListBucket" true;
    ListObjectsV2 "GET" Bucket ["list-type=2"] None, ["prefix" "delimiter" "encoding-type" "max-keys" "continuation-token" "start-after" "fetch-owner"] "s3:ListBucket" true;
    ListObjectVersions "GET" Bucket ["versions"] None, ["prefix" "delimiter" "encoding-type" "max-keys" "key-marker" "version-id-marker"] "s3:ListBucketVersions" true;
    // 2 Object core
    PutObject "PUT" Object [] None, [] "s3:PutObject" true;
    GetObject "GET" Object [] None, ["versionId" "partNumber"] "s3:GetObject" true;
    HeadObject "HEAD" Object [] None, ["versionId" "partNumber"] "s3:GetObject" true;
    DeleteObject "DELETE" Object [] None, ["versionId"] "s3:DeleteObject" true;
    DeleteObjects "POST" Bucket ["delete"] None, [] "s3:DeleteObject" true;
    CopyObject "PUT" Object [] Some("x-amz-copy-source"), [] "s3:PutObject" true;
    GetObjectAttributes "GET" Object ["attributes"] None, ["versionId"] "s3:GetObjectAttributes" true;
    RestoreObject "POST" Object ["restore"] None, ["versionId"] "s3:RestoreObject" false;
    GetObjectTorrent "GET" Object ["torrent"] None, [] "s3:GetObjectTorrent" false;
    // 3 Multipart
    CreateMultipartUpload "POST" Object ["uploads"] None, [] "s3:PutObject" true;
    UploadPart "PUT" Object ["partNumber" "uploadId"] None, [] "s3:PutObject" true;
    UploadPartCopy "PUT" Object ["partNumber" "uploadId"] Some("x-amz-copy-source"), [] "s3:PutObject" true;
    CompleteMultipartUpload "POST" Object ["uploadId"] None, [] "s3:PutObject" true;
    AbortMultipartUpload "DELETE" Object ["uploadId"] None, [] "s3:AbortMultipartUpload" true;
    ListParts "GET" Object ["uploadId"] None, ["max-parts" "part-number-marker" "encoding-type"] "s3:ListMultipartUploadParts" true;
    ListMultipartUploads "GET" Bucket ["uploads"] None, ["prefix" "delimiter" "encoding-type" "key-marker" "upload-id-marker" "max-uploads"] "s3:ListBucketMultipartUploads" true;
    // 4 Versioning
    GetBucketVersioning "GET" Bucket ["versioning"] None, [] "s3:GetBucketVersioning" true;
    PutBucketVersioning "PUT" Bucket ["versioning"] None, [] "s3:PutBucketVersioning" true;
    // 5 ACL, ownership, public access
    GetBucketAcl "GET" Bucket ["acl"] None, [] "s3:GetBucketAcl" true;
    PutBucketAcl "PUT" Bucket ["acl"] None, [] "s3:PutBucketAcl" false;
    GetObjectAcl "GET" Object ["acl"] None, ["versionId"] "s3:GetObjectAcl" true;
    PutObjectAcl "PUT" Object ["acl"] None, ["versionId"] "s3:PutObjectAcl" false;
    GetBucketOwnershipControls "GET" Bucket ["ownershipControls"] None, [] "s3:GetBucketOwnershipControls" true;
    PutBucketOwnershipControls "PUT" Bucket ["ownershipControls"] None, [] "s3:PutBucketOwnershipControls" true;
    DeleteBucketOwnershipControls "DELETE" Bucket ["ownershipControls"] None, [] "s3:PutBucketOwnershipControls" true;
    GetPublicAccessBlock "GET" Bucket ["publicAccessBlock"] None, [] "s3:GetBucketPublicAccessBlock" true;
    PutPublicAccessBlock "PUT" Bucket ["publicAccessBlock"] None, [] "s3:PutBucketPublicAccessBlock" true;
    DeletePublicAccessBlock "DELETE" Bucket ["publicAccessBlock"] None, [] "s3:PutBucketPublicAccessBlock" true;
    // 6 Policy, ABAC
    GetBucketPolicy "GET" Bucket ["policy"] None, [] "s3:GetBucketPolicy" true;
    PutBucketPolicy "PUT" Bucket ["policy"] None, [] "s3:PutBucketPolicy" true;
    DeleteBucketPolicy "DELETE" Bucket ["policy"] None, [] "s3:DeleteBucketPolicy" true;
    GetBucketPolicyStatus "GET" Bucket ["policyStatus"] None, [] "s3:GetBucketPolicyStatus" true;
    GetBucketAbac "GET" Bucket ["abac"] None, [] "s3:GetBucketAbac" true;
    PutBucketAbac "PUT" Bucket ["abac"] None, [] "s3:PutBucketAbac" true;
    // 7 Lifecycle
    GetBucketLifecycleConfiguration "GET" Bucket ["lifecycle"] None, [] "s3:GetLifecycleConfiguration" true;
    PutBucketLifecycleConfiguration "PUT" Bucket ["lifecycle"] None, [] "s3:PutLifecycleConfiguration" false;
    DeleteBucketLifecycle "DELETE" Bucket ["lifecycle"] None, [] "s3:PutLifecycleConfiguration" false;
    GetBucketLifecycle "GET" Bucket ["lifecycle"] None, [] "s3:GetLifecycleConfiguration" false;
    PutBucketLifecycle "PUT" Bucket ["lifecycle"] None, [] "s3:PutLifecycleConfiguration" false;
    // 8 Replication
    GetBucketReplication "GET" Bucket ["replication"] None, [] "s3:GetReplicationConfiguration" true;
    PutBucketReplication "PUT" Bucket ["replication"] None, [] "s3:PutReplicationConfiguration" false;
    DeleteBucketReplication "DELETE" Bucket ["replication"] None, [] "s3:PutReplicationConfiguration" false;
    // 9 Notification
    GetBucketNotificationConfiguration "GET" Bucket ["notification"] None, [] "s3:GetBucketNotification" true;
    PutBucketNotificationConfiguration "PUT" Bucket ["notification"] None, [] "s3:PutBucketNotification" true;
    GetBucketNotification "GET" Bucket ["notification"] None, [] "s3:GetBucketNotification" false;
    PutBucketNotification "PUT" Bucket ["notification"] None, [] "s3:PutBucketNotification" false;
    // 10 Object lock
    GetObjectLockConfiguration "GET" Bucket ["object-lock"] None, [] "s3:GetBucketObjectLockConfiguration" true;
    PutObjectLockConfiguration "PUT" Bucket ["object-lock"] None, [] "s3:PutBucketObjectLockConfiguration" false;
    GetObjectRetention "GET" Object ["retention"] None, ["versionId"] "s3:GetObjectRetention" true;
    PutObjectRetention "PUT" Object ["retention"] None, ["versionId"] "s3:PutObjectRetention" false;
    GetObjectLegalHold "GET" Object ["legal-hold"] None, ["versionId"] "s3:GetObjectLegalHold" true;
    PutObjectLegalHold "PUT" Object ["legal-hold"] None, ["versionId"] "s3:PutObjectLegalHold" false;
    // 11 Tagging
    GetBucketTagging "GET" Bucket ["tagging"] None, [] "s3:GetBucketTagging" true;
    PutBucketTagging "PUT" Bucket ["tagging"] None, [] "s3:PutBucketTagging" true;
    DeleteBucketTagging "DELETE" Bucket ["tagging"] None, [] "s3:PutBucketTagging" true;
    GetObjectTagging "GET" Object ["tagging"] None, ["versionId"] "s3:GetObjectTagging" true;
    PutObjectTagging "PUT" Object ["tagging"] None, ["versionId"] "s3:PutObjectTagging" false;
    DeleteObjectTagging "DELETE" Object ["tagging"] None, ["versionId"] "s3:DeleteObjectTagging" false;
    // 12 Encryption
    GetBucketEncryption "GET" Bucket ["encryption"] None, [] "s3:GetEncryptionConfiguration" true;
    PutBucketEncryption "PUT" Bucket ["encryption"] None, [] "s3:PutEncryptionConfiguration" false;
    DeleteBucketEncryption "DELETE" Bucket ["encryption"] None, [] "s3:PutEncryptionConfiguration" false;
    UpdateObjectEncryption "PUT" Object ["encryption"] None, ["versionId"] "s3:UpdateObjectEncryption" false;
    // 13 CORS, website, logging, payment, accelerate
    GetBucketCors "GET" Bucket ["cors"] None, [] "s3:GetBucketCORS" true;
    PutBucketCors "PUT" Bucket ["cors"] None, [] "s3:PutBucketCORS" true;
    DeleteBucketCors "DELETE" Bucket ["cors"] None, [] "s3:PutBucketCORS" true;
    GetBucketWebsite "GET" Bucket ["website"] None, [] "s3:GetBucketWebsite" true;
    PutBucketWebsite "PUT" Bucket ["website"] None, [] "s3:PutBucketWebsite" false;
    DeleteBucketWebsite "DELETE" Bucket ["website"] None, [] "s3:DeleteBucketWebsite" false;
    GetBucketLogging "GET" Bucket ["logging"] None, [] "s3:GetBucketLogging" true;
    PutBucketLogging "PUT" Bucket ["logging"] None, [] "s3:PutBucketLogging" false;
    GetBucketRequestPayment "GET" Bucket ["requestPayment"] None, [] "s3:GetBucketRequestPayment" true;
    PutBucketRequestPayment "PUT" Bucket ["requestPayment"] None, [] "s3:PutBucketRequestPayment" true;
    GetBucketAccelerateConfiguration "GET" Bucket ["accelerate"] None, [] "s3:GetAccelerateConfiguration" true;
    PutBucketAccelerateConfiguration "PUT" Bucket ["accelerate"] None, [] "s3:PutAccelerateConfiguration" true;
    // 14 Inventory, analytics, intelligent tiering, metrics
    DeleteBucketAnalyticsConfiguration "DELETE" Bucket ["analytics" "id"] None, [] "s3:PutAnalyticsConfiguration" true;
    GetBucketAnalyticsConfiguration "GET" Bucket ["analytics" "id"] None, [] "s3:GetAnalyticsConfiguration" true;
    ListBucketAnalyticsConfigurations "GET" Bucket ["analytics"] None, ["continuation-token"] "s3:GetAnalyticsConfiguration" true;
    PutBucketAnalyticsConfiguration "PUT" Bucket ["analytics" "id"] None, [] "s3:PutAnalyticsConfiguration" true;
    DeleteBucketIntelligentTieringConfiguration "DELETE" Bucket ["intelligent-tiering" "id"] None, [] "s3:PutIntelligentTieringConfiguration" true;
    GetBucketIntelligentTieringConfiguration "GET" Bucket ["intelligent-tiering" "id"] None, [] "s3:GetIntelligentTieringConfiguration" true;
    ListBucketIntelligentTieringConfigurations "GET" Bucket ["intelligent-tiering"] None, ["continuation-token"] "s3:GetIntelligentTieringConfiguration" true;
    PutBucketIntelligentTieringConfiguration "PUT" Bucket ["intelligent-tiering" "id"] None, [] "s3:PutIntelligentTieringConfiguration" true;
    DeleteBucketInventoryConfiguration "DELETE" Bucket ["inventory" "id"] None, [] "s3:PutInventoryConfiguration" true;
    GetBucketInventoryConfiguration "GET" Bucket ["inventory" "id"] None, [] "s3:GetInventoryConfiguration" true;
    ListBucketInventoryConfigurations "GET" Bucket ["inventory"] None, ["continuation-token"] "s3:GetInventoryConfiguration" true;
    PutBucketInventoryConfiguration "PUT" Bucket ["inventory" "id"] None, [] "s3:PutInventoryConfiguration" true;
    DeleteBucketMetricsConfiguration "DELETE" Bucket ["metrics" "id"] None, [] "s3:PutMetricsConfiguration" true;
    GetBucketMetricsConfiguration "GET" Bucket ["metrics" "id"] None, [] "s3:GetMetricsConfiguration" true;
    ListBucketMetricsConfigurations "GET" Bucket ["metrics"] None, ["continuation-token"] "s3:GetMetricsConfiguration" true;
    PutBucketMetricsConfiguration "PUT" Bucket ["metrics" "id"] None, [] "s3:PutMetricsConfiguration" true;
    // 15 Metadata tables
    CreateBucketMetadataConfiguration "POST" Bucket ["metadataConfiguration"] None, [] "s3:CreateBucketMetadataTableConfiguration" false;
    CreateBucketMetadataTableConfiguration "POST" Bucket ["metadataTable"] None, [] "s3:CreateBucketMetadataTableConfiguration" false;
    DeleteBucketMetadataConfiguration "DELETE" Bucket ["metadataConfiguration"] None, [] "s3:DeleteBucketMetadataTableConfiguration" false;
    DeleteBucketMetadataTableConfiguration "DELETE" Bucket ["metadataTable"] None, [] "s3:DeleteBucketMetadataTableConfiguration" false;
    GetBucketMetadataConfiguration "GET" Bucket ["metadataConfiguration"] None, [] "s3:GetBucketMetadataTableConfiguration" false;
    GetBucketMetadataTableConfiguration "GET" Bucket ["metadataTable"] None, [] "s3:GetBucketMetadataTableConfiguration" false;
    UpdateBucketMetadataAnnotationTableConfiguration "PUT" Bucket ["metadataAnnotationTable"] None, [] "s3:UpdateBucketMetadataAnnotationTableConfiguration" false;
    UpdateBucketMetadataInventoryTableConfiguration "PUT" Bucket ["metadataInventoryTable"] None, [] "s3:UpdateBucketMetadataInventoryTableConfiguration" false;
    UpdateBucketMetadataJournalTableConfiguration "PUT" Bucket ["metadataJournalTable"] None, [] "s3:UpdateBucketMetadataJournalTableConfiguration" false;
    // 16 Select, Object Lambda
    SelectObjectContent "POST" Object ["select" "select-type=2"] None, [] "s3:GetObject" false;
    WriteGetObjectResponse "POST" Bucket [] Some("x-amz-request-route"), [] "s3-object-lambda:WriteGetObjectResponse" false;
    // 17 Directory buckets
    CreateSession "GET" Bucket ["session"] None, [] "s3express:CreateSession" false;
    ListDirectoryBuckets "GET" Service ["x-id=ListDirectoryBuckets"] None, ["continuation-token" "max-directory-buckets"] "s3express:ListAllMyDirectoryBuckets" false;
    RenameObject "PUT" Object ["renameObject"] Some("x-amz-rename-source"), [] "s3express:RenameObject" false;
    // 18 Annotations
    PutObjectAnnotation "PUT" Object ["annotation" "annotationName"] None, ["versionId"] "s3:PutObjectAnnotation" false;
    GetObjectAnnotation "GET" Object ["annotation" "annotationName"] None, ["versionId"] "s3:GetObjectAnnotation" false;
    DeleteObjectAnnotation "DELETE" Object ["annotation" "annotationName"] None, ["versionId"] "s3:DeleteObjectAnnotation" false;
    ListObjectAnnotations "GET" Object ["annotation"] None, ["versionId" "annotation-prefix" "continuation-token" "max-annotation-results"] "s3:ListObjectAnnotations" false;
}

impl Operation {
    /// The operation's row.
    pub fn route(self) -> &'static Route {
        // Rows stand in the order of the variants: both come from one list.
        &ROUTES[self as usize]
    }

    pub fn name(self) -> &'static str {
        self.route().name
    }

    pub fn action(self) -> &'static str {
        self.route().action
    }
}

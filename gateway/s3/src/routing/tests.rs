use std::collections::HashSet;

use super::*;

/// The operations of S3's service model, by family.
const MODEL: &str = "
    ListBuckets CreateBucket HeadBucket DeleteBucket GetBucketLocation ListObjects ListObjectsV2 ListObjectVersions
    PutObject GetObject HeadObject DeleteObject DeleteObjects CopyObject GetObjectAttributes RestoreObject
    GetObjectTorrent CreateMultipartUpload UploadPart UploadPartCopy CompleteMultipartUpload AbortMultipartUpload
    ListParts ListMultipartUploads GetBucketVersioning PutBucketVersioning GetBucketAcl PutBucketAcl GetObjectAcl
    PutObjectAcl GetBucketOwnershipControls PutBucketOwnershipControls DeleteBucketOwnershipControls
    GetPublicAccessBlock PutPublicAccessBlock DeletePublicAccessBlock GetBucketPolicy PutBucketPolicy
    DeleteBucketPolicy GetBucketPolicyStatus GetBucketAbac PutBucketAbac GetBucketLifecycleConfiguration
    PutBucketLifecycleConfiguration DeleteBucketLifecycle GetBucketLifecycle PutBucketLifecycle GetBucketReplication
    PutBucketReplication DeleteBucketReplication GetBucketNotificationConfiguration
    PutBucketNotificationConfiguration GetBucketNotification PutBucketNotification GetObjectLockConfiguration
    PutObjectLockConfiguration GetObjectRetention PutObjectRetention GetObjectLegalHold PutObjectLegalHold
    GetBucketTagging PutBucketTagging DeleteBucketTagging GetObjectTagging PutObjectTagging DeleteObjectTagging
    GetBucketEncryption PutBucketEncryption DeleteBucketEncryption UpdateObjectEncryption GetBucketCors PutBucketCors
    DeleteBucketCors GetBucketWebsite PutBucketWebsite DeleteBucketWebsite GetBucketLogging PutBucketLogging
    GetBucketRequestPayment PutBucketRequestPayment GetBucketAccelerateConfiguration
    PutBucketAccelerateConfiguration DeleteBucketAnalyticsConfiguration DeleteBucketIntelligentTieringConfiguration
    DeleteBucketInventoryConfiguration DeleteBucketMetricsConfiguration GetBucketAnalyticsConfiguration
    GetBucketIntelligentTieringConfiguration GetBucketInventoryConfiguration GetBucketMetricsConfiguration
    ListBucketAnalyticsConfigurations ListBucketIntelligentTieringConfigurations ListBucketInventoryConfigurations
    ListBucketMetricsConfigurations PutBucketAnalyticsConfiguration PutBucketIntelligentTieringConfiguration
    PutBucketInventoryConfiguration PutBucketMetricsConfiguration CreateBucketMetadataConfiguration
    CreateBucketMetadataTableConfiguration DeleteBucketMetadataConfiguration DeleteBucketMetadataTableConfiguration
    GetBucketMetadataConfiguration GetBucketMetadataTableConfiguration UpdateBucketMetadataAnnotationTableConfiguration
    UpdateBucketMetadataInventoryTableConfiguration UpdateBucketMetadataJournalTableConfiguration SelectObjectContent
    WriteGetObjectResponse CreateSession ListDirectoryBuckets RenameObject PutObjectAnnotation GetObjectAnnotation
    DeleteObjectAnnotation ListObjectAnnotations";

/// Operations that S3 replaced without giving the new one an address of its own.
const DEPRECATED_TWINS: [(Operation, Operation); 4] = [
    (Operation::GetBucketLifecycle, Operation::GetBucketLifecycleConfiguration),
    (Operation::PutBucketLifecycle, Operation::PutBucketLifecycleConfiguration),
    (Operation::GetBucketNotification, Operation::GetBucketNotificationConfiguration),
    (Operation::PutBucketNotification, Operation::PutBucketNotificationConfiguration),
];

fn ask(method: &str, target: &str, headers: &[(&str, &[u8])]) -> Result<&'static Route> {
    let head = Head { method, target, headers };
    route(&head, &Address::split(&head, &[]).unwrap())
}

#[test]
fn the_table_holds_the_116_operations_of_the_model_and_no_other() {
    let model: HashSet<&str> = MODEL.split_whitespace().collect();
    let table: HashSet<&str> = ROUTES.iter().map(|route| route.name).collect();
    assert_eq!(table, model);
    assert_eq!((ROUTES.len(), model.len()), (116, 116));
    for route in ROUTES {
        assert_eq!(route.operation.route().operation, route.operation);
    }
}

#[test]
fn every_operation_is_reached_by_its_own_request() {
    for row in ROUTES {
        let path = match row.level {
            Level::Service => "/",
            Level::Bucket => "/bucket",
            Level::Object => "/bucket/key",
        };
        let query: Vec<String> = row
            .needs
            .iter()
            .map(|need| {
                if need.contains('=') || ["id", "uploadId", "partNumber", "annotationName"].contains(need) {
                    format!("{need}{}", if need.contains('=') { "" } else { "=1" })
                } else {
                    (*need).to_owned()
                }
            })
            .chain(row.parameters.iter().map(|parameter| format!("{parameter}=")))
            .chain(["x-id=x".to_owned(), "unknown=1".to_owned()])
            .filter(|parameter| !(parameter == "x-id=x" && row.operation == Operation::ListDirectoryBuckets))
            .collect();
        let headers: Vec<(&str, &[u8])> = row.header.iter().map(|header| (*header, b"v".as_slice())).collect();
        let found = ask(row.method, &format!("{path}?{}", query.join("&")), &headers).unwrap().operation;
        let expect =
            DEPRECATED_TWINS.iter().find(|(old, _)| *old == row.operation).map_or(row.operation, |(_, new)| *new);
        assert_eq!(found, expect);
    }
}

#[test]
fn a_sub_resource_never_falls_into_another_operation() {
    let check = |method: &str, target: &str, code: Code| {
        let found = ask(method, target, &[]).map(|route| route.name);
        assert_eq!(found.map_err(|error| error.code), Err(code), "{method} {target}");
    };
    check("GET", "/b?newthing", Code::NotImplemented);
    check("GET", "/b?newthing=", Code::NotImplemented);
    check("GET", "/b?list-type=2&newthing", Code::NotImplemented);
    check("GET", "/b?events=s3:*", Code::NotImplemented);
    check("GET", "/b/k?newthing", Code::NotImplemented);
    check("PUT", "/b?newthing", Code::NotImplemented);
    check("DELETE", "/b?newthing", Code::NotImplemented);
    check("DELETE", "/b?acl", Code::MethodNotAllowed);
    check("DELETE", "/b?versions", Code::MethodNotAllowed);
    check("GET", "/b?delete", Code::MethodNotAllowed);
    check("DELETE", "/b/k?acl", Code::MethodNotAllowed);
    check("DELETE", "/b/k?lifecycle", Code::NotImplemented);
    check("PUT", "/b/k?partNumber=1", Code::InvalidArgument);
    check("PUT", "/b/k?uploadId=1", Code::InvalidArgument);
    check("PUT", "/b/k?versionId=1", Code::InvalidArgument);
    check("GET", "/b?list-type=3", Code::InvalidArgument);
    check("GET", "/b?acl&policy", Code::InvalidArgument);
    check("POST", "/b/k", Code::MethodNotAllowed);
    check("PATCH", "/b/k", Code::MethodNotAllowed);
    check("DELETE", "/", Code::MethodNotAllowed);
    check("POST", "/b", Code::NotImplemented);
    check("OPTIONS", "/b/k", Code::CrossOriginForbidden);
}

#[test]
fn plain_parameters_do_not_change_the_operation() {
    let check = |method: &str, target: &str, operation: Operation| {
        assert_eq!(ask(method, target, &[]).unwrap().operation, operation, "{method} {target}");
    };
    check("GET", "/b?prefix=&delimiter=&marker=&max-keys=", Operation::ListObjects);
    check("GET", "/b?list-type=2&fetch-owner=true&metadata=true", Operation::ListObjectsV2);
    check("GET", "/b/", Operation::ListObjects);
    check("GET", "/b/k?_=123&X-Amz-Signature=0&response-expires=x", Operation::GetObject);
    check("GET", "/b/k?partNumber=1&versionId=null", Operation::GetObject);
    check("GET", "/?x-id=ListBuckets", Operation::ListBuckets);
    check("PUT", "/b/k?x-id=PutObject", Operation::PutObject);
}

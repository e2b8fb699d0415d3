//! The one table of S3 errors: wire name, HTTP status, default message; and how an error is written.

use std::borrow::Cow;
use std::fmt;

use types::{Timestamp, VersionId};

use crate::date;
use crate::xml::Writer;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $wire:literal $status:literal $message:literal;)*) => {
        /// What went wrong, as S3 names it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The name on the wire.
            pub fn wire_name(self) -> &'static str {
                match self { $(Code::$name => $wire,)* }
            }

            pub fn status(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }

            pub fn message(self) -> &'static str {
                match self { $(Code::$name => $message,)* }
            }
        }
    };
}

codes! {
    AccessControlListNotSupported "AccessControlListNotSupported" 400 "The bucket does not allow ACLs";
    AccessDenied "AccessDenied" 403 "Access Denied";
    AuthorizationHeaderMalformed "AuthorizationHeaderMalformed" 400 "The authorization header that you provided is not valid.";
    AuthorizationQueryParametersError "AuthorizationQueryParametersError" 400 "Query-string authentication requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.";
    /// A presigned URL whose lifetime is out of range: refused as forbidden, so that no client takes it for a typing error.
    AuthorizationExpiresOutOfRange "AuthorizationQueryParametersError" 403 "X-Amz-Expires must be between 1 and 604800 seconds";
    BadDigest "BadDigest" 400 "The Content-MD5 or checksum value that you specified did not match what the server received.";
    BadRequest "BadRequest" 400 "Bad Request";
    BucketAlreadyExists "BucketAlreadyExists" 409 "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Select a different name and try again.";
    BucketAlreadyOwnedByYou "BucketAlreadyOwnedByYou" 409 "Your previous request to create the named bucket succeeded and you already own it.";
    BucketNotEmpty "BucketNotEmpty" 409 "The bucket you tried to delete is not empty";
    ConditionalRequestConflict "ConditionalRequestConflict" 409 "The conditional request cannot succeed due to a conflicting operation against this resource.";
    CrossOriginForbidden "AccessForbidden" 403 "CORSResponse: This CORS request is not allowed.";
    EntityTooLarge "EntityTooLarge" 400 "Your proposed upload exceeds the maximum allowed size";
    EntityTooSmall "EntityTooSmall" 400 "Your proposed upload is smaller than the minimum allowed size";
    ExpiredToken "ExpiredToken" 400 "The provided token has expired.";
    IllegalLocationConstraint "IllegalLocationConstraintException" 400 "The specified location constraint is incompatible for the region specific endpoint this request was sent to.";
    IllegalVersioning "IllegalVersioningConfigurationException" 400 "The Versioning element must be specified";
    IncompleteBody "IncompleteBody" 400 "You did not provide the number of bytes specified by the Content-Length HTTP header.";
    InternalError "InternalError" 500 "We encountered an internal error. Please try again.";
    InvalidAccessKeyId "InvalidAccessKeyId" 403 "The AWS Access Key Id you provided does not exist in our records.";
    InvalidArgument "InvalidArgument" 400 "Invalid Argument";
    InvalidBucketName "InvalidBucketName" 400 "The specified bucket is not valid.";
    InvalidChunkSize "InvalidChunkSizeError" 403 "Only the last chunk is allowed to have a size less than 8192 bytes";
    InvalidConfigurationId "InvalidConfigurationId" 400 "The specified configuration id is invalid.";
    InvalidDigest "InvalidDigest" 400 "The Content-MD5 you specified was invalid.";
    InvalidLocationConstraint "InvalidLocationConstraint" 400 "The specified location-constraint is not valid";
    InvalidObjectState "InvalidObjectState" 403 "The operation is not valid for the object's storage class";
    InvalidPart "InvalidPart" 400 "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
    InvalidPartNumber "InvalidPartNumber" 416 "The requested partnumber is not satisfiable";
    InvalidPartOrder "InvalidPartOrder" 400 "The list of parts was not in ascending order. Parts must be ordered by part number.";
    InvalidRange "InvalidRange" 416 "The requested range is not satisfiable";
    InvalidRequest "InvalidRequest" 400 "Invalid Request";
    InvalidStorageClass "InvalidStorageClass" 400 "The storage class you specified is not valid";
    InvalidTag "InvalidTag" 400 "The tag provided was not a valid tag";
    InvalidToken "InvalidToken" 400 "The provided token is malformed or otherwise invalid.";
    InvalidUri "InvalidURI" 400 "Couldn't parse the specified URI.";
    KeyTooLong "KeyTooLongError" 400 "Your key is too long";
    MalformedPolicy "MalformedPolicy" 400 "Policies must be valid JSON and the first byte must be '{'";
    MalformedTrailer "MalformedTrailerError" 400 "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    MalformedXml "MalformedXML" 400 "The XML you provided was not well-formed or did not validate against our published schema";
    MaxMessageLengthExceeded "MaxMessageLengthExceeded" 400 "Your request was too big.";
    MetadataTooLarge "MetadataTooLarge" 400 "Your metadata headers exceed the maximum allowed metadata size";
    MethodNotAllowed "MethodNotAllowed" 405 "The specified method is not allowed against this resource.";
    MissingContentLength "MissingContentLength" 411 "You must provide the Content-Length HTTP header.";
    MissingRequestBody "MissingRequestBodyError" 400 "Request Body is empty";
    NoSuchBucketPolicy "NoSuchBucketPolicy" 404 "The bucket policy does not exist";
    NoSuchConfiguration "NoSuchConfiguration" 404 "The specified configuration does not exist.";
    NoSuchCors "NoSuchCORSConfiguration" 404 "The CORS configuration does not exist";
    NoSuchEncryption "ServerSideEncryptionConfigurationNotFoundError" 404 "The server side encryption configuration was not found";
    NoSuchLifecycle "NoSuchLifecycleConfiguration" 404 "The lifecycle configuration does not exist";
    NoSuchObjectLock "ObjectLockConfigurationNotFoundError" 404 "Object Lock configuration does not exist for this bucket";
    NoSuchOwnershipControls "OwnershipControlsNotFoundError" 404 "The bucket ownership controls were not found";
    NoSuchPublicAccessBlock "NoSuchPublicAccessBlockConfiguration" 404 "The public access block configuration was not found";
    NoSuchReplication "ReplicationConfigurationNotFoundError" 404 "The replication configuration was not found";
    NoSuchTagSet "NoSuchTagSet" 404 "The TagSet does not exist";
    NoSuchWebsite "NoSuchWebsiteConfiguration" 404 "The specified bucket does not have a website configuration";
    NoSuchBucket "NoSuchBucket" 404 "The specified bucket does not exist";
    NoSuchKey "NoSuchKey" 404 "The specified key does not exist.";
    NoSuchUpload "NoSuchUpload" 404 "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
    NoSuchVersion "NoSuchVersion" 404 "The specified version does not exist.";
    NotFound "NotFound" 404 "Not Found";
    NotImplemented "NotImplemented" 501 "A header you provided implies functionality that is not implemented";
    /// No error document: a read whose condition says that the client has the object already.
    NotModified "NotModified" 304 "Not Modified";
    OperationAborted "OperationAborted" 409 "A conflicting conditional operation is currently in progress against this resource. Please try again.";
    PreconditionFailed "PreconditionFailed" 412 "At least one of the pre-conditions you specified did not hold";
    QuotaExceeded "QuotaExceeded" 403 "The quota of the bucket is exhausted";
    RequestHeaderSectionTooLarge "RequestHeaderSectionTooLarge" 400 "Your request header section exceeds the maximum allowed size";
    RequestTimeout "RequestTimeout" 400 "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed.";
    RequestTimeTooSkewed "RequestTimeTooSkewed" 403 "The difference between the request time and the current time is too large.";
    ServiceUnavailable "ServiceUnavailable" 503 "Service is unable to handle request.";
    SignatureDoesNotMatch "SignatureDoesNotMatch" 403 "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
    SlowDown "SlowDown" 503 "Please reduce your request rate.";
    StorageFull "InsufficientStorage" 507 "There is not enough space left to store the object";
    TooManyBuckets "TooManyBuckets" 400 "You have attempted to create more buckets than allowed";
    TooManyConfigurations "TooManyConfigurations" 400 "You are attempting to create a new configuration but have already reached the 1,000-configuration limit.";
    UserKeyMustBeSpecified "UserKeyMustBeSpecified" 400 "The bucket POST must contain the specified field name. If it is specified, check the order of the fields.";
    ContentSha256Mismatch "XAmzContentSHA256Mismatch" 400 "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

/// An S3 error: a code, a message, and what else its document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub code: Code,
    pub message: Cow<'static, str>,
    /// Further elements of the error document, in order; values are escaped when written.
    pub fields: Vec<(&'static str, String)>,
    /// Headers that S3 sends with this error alone.
    pub headers: Vec<(&'static str, String)>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(code: Code) -> Error {
        Error::with(code, code.message())
    }

    pub fn with(code: Code, message: impl Into<Cow<'static, str>>) -> Error {
        Error { code, message: message.into(), fields: Vec::new(), headers: Vec::new() }
    }

    /// `InvalidArgument` that names the argument and the value found.
    pub fn argument(name: &str, value: &str, message: impl Into<Cow<'static, str>>) -> Error {
        Error::with(Code::InvalidArgument, message).field("ArgumentName", name).field("ArgumentValue", value)
    }

    pub fn invalid_request(message: impl Into<Cow<'static, str>>) -> Error {
        Error::with(Code::InvalidRequest, message)
    }

    /// `NotImplemented` for a header whose meaning Hafiz does not provide: refused rather than left out in silence.
    pub fn header_not_implemented(header: &str) -> Error {
        Error::new(Code::NotImplemented).field("Header", header)
    }

    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Error {
        self.fields.push((name, value.into()));
        self
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Error {
        self.headers.push((name, value.into()));
        self
    }

    /// The version that a read found is a delete marker. `named`: the request asked for that version; else for the object,
    /// and there is none.
    pub fn delete_marker(version: VersionId, modified: Timestamp, named: bool) -> Error {
        let error = match named {
            true => Error::new(Code::MethodNotAllowed)
                .field("ResourceType", "DeleteMarker")
                .header("Allow", "DELETE")
                .header("Last-Modified", date::http(modified.seconds())),
            false => Error::new(Code::NoSuchKey),
        };
        error.header("x-amz-delete-marker", "true").header("x-amz-version-id", version.to_string())
    }

    pub fn status(&self) -> u16 {
        self.code.status()
    }

    /// The error document. `resource` is the path as the client sent it. Replies to HEAD and 304 carry none.
    pub fn document(&self, resource: &str, request_id: &str, host_id: &str) -> String {
        let mut xml = Writer::document();
        xml.open("Error");
        xml.text("Code", self.code.wire_name());
        xml.text("Message", &self.message);
        for (name, value) in &self.fields {
            xml.text(name, value);
        }
        xml.text("Resource", resource);
        xml.text("RequestId", request_id);
        xml.text("HostId", host_id);
        xml.close("Error");
        xml.finish()
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Error {
        Error::new(code)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.wire_name(), self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_document_is_escaped_and_names_the_request() {
        let error = Error::argument("max-keys", "<&\">", "Not an integer");
        assert_eq!(
            error.document("/b/k", "R1", "H1"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InvalidArgument</Code><Message>Not an \
             integer</Message><ArgumentName>max-keys</ArgumentName><ArgumentValue>&lt;&amp;&quot;&gt;</ArgumentValue>\
             <Resource>/b/k</Resource><RequestId>R1</RequestId><HostId>H1</HostId></Error>"
        );
    }

    #[test]
    fn every_code_has_an_error_status_and_a_message() {
        for &code in Code::ALL {
            assert!((300..600).contains(&code.status()), "{code:?}");
            assert!(!code.message().is_empty() && !code.wire_name().is_empty(), "{code:?}");
        }
    }
}

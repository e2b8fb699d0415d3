//! From a route to its operation: parse, gate, call, render.

use std::sync::Arc;

use http::Exchange;
use iam::{Context, Principal, Snapshot};
use ops::gate::{self, Asker, Authorized};
use ops::{Incoming, Ops};
use s3::Error;
use s3::address::Address;
use s3::body::BodyRule;
use s3::head::Head;
use s3::query::Query;
use s3::reply::{Location, SelectedAttributes, StartedUpload, render_versioning};
use s3::request::{self, Demands, Parsed, Request};
use s3::routing::{Operation, Route};
use s3::sigv4::AuthKind;
use s3::{Code, reply::Reply};
use types::{BucketName, ObjectKey};

use super::wire::{Wire, document};
use super::{Answer, S3Front, too_much};
use crate::admin;

/// Who asks, how, and what that is decided on.
pub(super) struct Caller<'a> {
    pub(super) principal: Principal,
    pub(super) identities: Arc<Snapshot>,
    pub(super) context: Context,
    pub(super) ops: &'a Ops,
    pub(super) head: &'a Head<'a>,
    pub(super) query: &'a Query,
    pub(super) signed: Option<(AuthKind, u64)>,
    pub(super) now: u64,
}

impl Caller<'_> {
    fn authorize<R: Demands>(&self, request: R) -> Result<Authorized<R>, Error> {
        Ok(self.ask(|asker| gate::authorize(request, asker))?)
    }

    /// `operation`: what the document is for, if it is for one of S3.
    fn admit(&self, operation: Option<Operation>, address: &Address) -> Result<(), Error> {
        let bucket = address.bucket.as_deref().and_then(|bucket| BucketName::parse(bucket).ok());
        let key = address.key.as_deref().and_then(|key| ObjectKey::parse(key).ok());
        Ok(self.ask(|asker| gate::admit(asker, operation, bucket.as_ref(), key.as_ref()))?)
    }

    /// The outcome of a read: who may not list the bucket does not learn whether the key is there.
    fn told<T>(&self, read: Result<T, Error>, bucket: &BucketName, key: &ObjectKey) -> Result<T, Error> {
        read.map_err(|error| self.ask(|asker| gate::hide_absence(error, bucket, key, asker)))
    }

    fn ask<T>(&self, ask: impl FnOnce(&Asker<'_>) -> T) -> T {
        ask(&Asker {
            principal: &self.principal,
            identities: &self.identities,
            context: &self.context,
            head: self.head,
            query: self.query,
            signed: self.signed,
            now: self.now,
            region: &self.ops.site().region,
            buckets: &|name| self.ops.bucket(name),
        })
    }
}

impl S3Front {
    /// Carries out what is asked of the server itself. A body means nothing there and is left unread.
    pub(super) async fn administer(&self, path: &str, address: &Address, caller: Caller<'_>) -> Result<Answer, Error> {
        let reply = match admin::parse(caller.head.method, path, address) {
            Ok(request) => {
                let request = caller.ask(|asker| gate::authorize_admin(request, asker))?;
                ops::admin::administer(&self.ops, request).await
            }
            Err(refusal) => {
                caller.admit(None, address)?;
                refusal
            }
        };
        Ok(admin::render(reply).into())
    }

    /// Parses the request, reads its document if it has one, and carries it out.
    pub(super) async fn perform(
        &self,
        route: &Route,
        address: &Address,
        caller: Caller<'_>,
        rule: BodyRule,
        exchange: &mut Exchange<'_>,
    ) -> Result<Answer, Error> {
        let (request, rule) = match request::parse(route, caller.head, address)? {
            Parsed::Ready(request) => (request, Some(rule)),
            Parsed::AwaitsDocument(waiting) => {
                caller.admit(Some(waiting.operation()), address)?;
                let kib = (waiting.plan().length / 1024 + 1) as usize;
                let documents = match caller.principal {
                    Principal::Known(_) => &self.documents,
                    Principal::Anonymous => &self.unsigned_documents,
                };
                let _memory = documents.try_acquire(kib).ok_or_else(too_much)?;
                let document = document(exchange, waiting.plan(), rule).await?;
                // The document was the whole body: nothing is left to be bound.
                return carry_out(waiting.read(&document)?, caller, None, exchange).await;
            }
        };
        carry_out(request, caller, rule, exchange).await
    }
}

/// `rule` binds a body that is still to come.
async fn carry_out(
    request: Request,
    caller: Caller<'_>,
    rule: Option<BodyRule>,
    exchange: &mut Exchange<'_>,
) -> Result<Answer, Error> {
    let ops = caller.ops;
    let reply: Reply = match request {
        Request::GetObject(request) => {
            if let Principal::Anonymous = caller.principal {
                request.check_anonymous()?;
            }
            let request = caller.authorize(*request)?;
            let read = ops::get_object(ops, &request).await;
            let (reading, outgoing) = caller.told(read, &request.bucket.name, &request.key)?;
            return Ok(Answer { reply: reading.render(&request), outgoing });
        }
        Request::HeadObject(request) => {
            let request = caller.authorize(*request)?;
            let read = ops::head_object(ops, &request).await;
            caller.told(read, &request.0.bucket.name, &request.0.key)?.render(&request.0)
        }
        Request::PutObject(request) => {
            let request = caller.authorize(*request)?;
            let source = &mut Wire::new(exchange);
            ops::put_object(ops, request, Incoming { source, rule: bound(rule)? }).await?.render()
        }
        Request::UploadPart(request) => {
            let request = caller.authorize(*request)?;
            let source = &mut Wire::new(exchange);
            ops::upload_part(ops, request, Incoming { source, rule: bound(rule)? }).await?.render()
        }
        Request::DeleteObject(request) => ops::delete_object(ops, caller.authorize(*request)?).await?.render(),
        Request::DeleteObjects(request) => {
            let request = caller.ask(|asker| gate::authorize_entries(*request, asker))?;
            ops::delete_objects(ops, request).await?.render()
        }
        Request::CopyObject(request) => {
            let source = request.source.clone();
            let copied = ops::copy_object(ops, caller.authorize(*request)?).await;
            caller.told(copied, &source.bucket, &source.key)?.render()
        }
        Request::GetObjectAttributes(request) => {
            let request = caller.authorize(*request)?;
            let read = ops::get_object_attributes(ops, &request).await;
            let (facts, parts) = caller.told(read, &request.bucket.name, &request.key)?;
            SelectedAttributes { facts: &facts, selection: request.selection, parts }.render()
        }
        Request::ListBuckets(request) => ops::list_buckets(ops, caller.authorize(*request)?).render(),
        Request::CreateBucket(request) => {
            let name = request.bucket.name.clone();
            ops::create_bucket(ops, caller.authorize(*request)?).await?;
            Location::render_created(&name)
        }
        Request::HeadBucket(request) => ops::head_bucket(ops, caller.authorize(*request)?)?.render_head(),
        Request::GetBucketLocation(request) => ops::get_bucket_location(ops, caller.authorize(*request)?)?.render(),
        Request::GetBucketVersioning(request) => {
            render_versioning(ops::get_bucket_versioning(ops, caller.authorize(*request)?)?)
        }
        Request::PutBucketVersioning(request) => {
            ops::put_bucket_versioning(ops, caller.authorize(*request)?).await?;
            Reply::empty(200)
        }
        Request::GetBucketPolicy(request) => ops::get_bucket_policy(ops, caller.authorize(*request)?)?,
        Request::PutBucketPolicy(request) => {
            ops::put_bucket_policy(ops, caller.authorize(*request)?).await?;
            Reply::empty(204)
        }
        Request::DeleteBucketPolicy(request) => {
            ops::delete_bucket_policy(ops, caller.authorize(*request)?).await?;
            Reply::empty(204)
        }
        Request::GetBucketPolicyStatus(request) => {
            Reply::policy_status(ops::get_bucket_policy_status(ops, caller.authorize(*request)?)?)
        }
        Request::DeleteBucket(request) => {
            ops::delete_bucket(ops, caller.authorize(*request)?).await?;
            Location::render_deleted()
        }
        Request::ListObjects(request) => {
            let request = caller.authorize(*request)?;
            ops::list_objects(ops, &request).await?.render(&request)
        }
        Request::ListObjectsV2(request) => {
            let request = caller.authorize(*request)?;
            ops::list_objects_v2(ops, &request).await?.render(&request)
        }
        Request::ListObjectVersions(request) => {
            let request = caller.authorize(*request)?;
            ops::list_object_versions(ops, &request).await?.render(&request)
        }
        Request::GetConfiguration(request) => ops::get_configuration(ops, &caller.authorize(*request)?)?,
        Request::PutConfiguration(request) => {
            ops::put_configuration(ops, caller.authorize(*request)?).await?;
            Reply::empty(200)
        }
        Request::DeleteConfiguration(request) => {
            ops::delete_configuration(ops, caller.authorize(*request)?).await?;
            Reply::empty(204)
        }
        Request::ListConfigurations(request) => {
            let request = caller.authorize(*request)?;
            ops::list_configurations(ops, &request)?.render(&request)
        }
        Request::ReadUnset(request) => {
            let request = caller.authorize(*request)?;
            let read = ops::read_unset(ops, &request).await;
            match &request.key {
                Some(key) => caller.told(read, &request.bucket.name, key)?,
                None => read?,
            }
        }
        Request::CreateMultipartUpload(request) => {
            let request = caller.authorize(*request)?;
            ops::create_multipart_upload(ops, &request).await?.render()
        }
        Request::UploadPartCopy(request) => {
            let source = request.source.clone();
            let copied = ops::upload_part_copy(ops, caller.authorize(*request)?).await;
            caller.told(copied, &source.bucket, &source.key)?.render()
        }
        Request::CompleteMultipartUpload(request) => {
            let request = caller.authorize(*request)?;
            let location = location(caller.head, exchange.is_tls());
            ops::complete_multipart_upload(ops, &request, location).await?.render()
        }
        Request::AbortMultipartUpload(request) => {
            ops::abort_multipart_upload(ops, caller.authorize(*request)?).await?;
            StartedUpload::render_aborted()
        }
        Request::ListParts(request) => {
            let request = caller.authorize(*request)?;
            ops::list_parts(ops, &request).await?.render(&request)
        }
        Request::ListMultipartUploads(request) => {
            let request = caller.authorize(*request)?;
            ops::list_multipart_uploads(ops, &request).await?.render(&request)
        }
    };
    Ok(reply.into())
}

/// The rule of a body that follows its head.
fn bound(rule: Option<BodyRule>) -> Result<BodyRule, Error> {
    rule.ok_or_else(|| Error::new(Code::InternalError))
}

/// Where the object of the request can be read: what the client itself asked for, without the query.
fn location(head: &Head<'_>, is_tls: bool) -> String {
    let scheme = if is_tls { "https" } else { "http" };
    let host = head.bytes("host").and_then(|host| std::str::from_utf8(host).ok()).unwrap_or("");
    format!("{scheme}://{host}{}", head.raw_path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_what_the_client_asked_for_without_its_query() {
        let headers: [(&str, &[u8]); 1] = [("Host", b"h:9000")];
        let head = Head { method: "POST", target: "/b/a%20k?uploadId=1", headers: &headers };
        assert_eq!(location(&head, false), "http://h:9000/b/a%20k");
        assert_eq!(location(&head, true), "https://h:9000/b/a%20k");
    }
}

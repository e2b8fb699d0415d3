//! From a route to its operation: parse, gate, call, render.

use std::sync::Arc;

use http::Exchange;
use iam::{Context, Principal, Snapshot};
use ops::gate::{self, Authorized};
use ops::{Incoming, Ops};
use s3::Error;
use s3::address::Address;
use s3::body::BodyRule;
use s3::head::Head;
use s3::reply::{Location, SelectedAttributes, StartedUpload, render_versioning};
use s3::request::{self, Demands, Parsed, Request};
use s3::routing::Route;
use s3::{Code, reply::Reply};

use super::wire::{Wire, document};
use super::{Answer, S3Front, too_much};
use crate::admin;

/// Who asks, and what that is decided on.
pub(super) struct Caller {
    pub(super) principal: Principal,
    pub(super) identities: Arc<Snapshot>,
    pub(super) context: Context,
}

impl Caller {
    fn authorize<R: Demands>(&self, request: R) -> Result<Authorized<R>, Error> {
        Ok(gate::authorize(request, &self.principal, &self.identities, &self.context)?)
    }
}

impl S3Front {
    /// Carries out what is asked of the server itself. A body means nothing there and is left unread.
    pub(super) async fn administer(
        &self,
        method: &str,
        path: &str,
        address: &Address,
        caller: Caller,
    ) -> Result<Answer, Error> {
        let reply = match admin::parse(method, path, address) {
            Ok(request) => {
                let request = gate::authorize_admin(request, &caller.principal, &caller.identities, &caller.context)?;
                ops::admin::administer(&self.ops, request).await
            }
            Err(refusal) => {
                gate::admit(&caller.principal)?;
                refusal
            }
        };
        Ok(admin::render(reply).into())
    }

    /// Parses the request, reads its document if it has one, and carries it out.
    pub(super) async fn perform(
        &self,
        route: &Route,
        head: &Head<'_>,
        address: &Address,
        caller: Caller,
        rule: BodyRule,
        exchange: &mut Exchange<'_>,
    ) -> Result<Answer, Error> {
        let (request, rule) = match request::parse(route, head, address)? {
            Parsed::Ready(request) => (request, rule),
            Parsed::AwaitsDocument(waiting) => {
                gate::admit(&caller.principal)?;
                let kib = (waiting.plan().length / 1024 + 1) as usize;
                let _memory = self.documents.try_acquire(kib).ok_or_else(too_much)?;
                let document = document(exchange, waiting.plan(), rule).await?;
                // The document was the whole body: nothing is left to be bound.
                return carry_out(&self.ops, waiting.read(&document)?, caller, None, head, exchange).await;
            }
        };
        carry_out(&self.ops, request, caller, Some(rule), head, exchange).await
    }
}

/// `rule` binds a body that is still to come.
async fn carry_out(
    ops: &Ops,
    request: Request,
    caller: Caller,
    rule: Option<BodyRule>,
    head: &Head<'_>,
    exchange: &mut Exchange<'_>,
) -> Result<Answer, Error> {
    let reply: Reply = match request {
        Request::GetObject(request) => {
            if let Principal::Anonymous = caller.principal {
                request.check_anonymous()?;
            }
            let request = caller.authorize(*request)?;
            let (reading, outgoing) = ops::get_object(ops, &request).await?;
            return Ok(Answer { reply: reading.render(&request), outgoing });
        }
        Request::HeadObject(request) => {
            let request = caller.authorize(*request)?;
            ops::head_object(ops, &request).await?.render(&request.0)
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
            let request = gate::authorize_entries(*request, &caller.principal, &caller.identities, &caller.context)?;
            ops::delete_objects(ops, request).await?.render()
        }
        Request::CopyObject(request) => ops::copy_object(ops, caller.authorize(*request)?).await?.render(),
        Request::GetObjectAttributes(request) => {
            let request = caller.authorize(*request)?;
            let (facts, parts) = ops::get_object_attributes(ops, &request).await?;
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
        Request::ReadUnset(request) => ops::read_unset(ops, &caller.authorize(*request)?).await?,
        Request::CreateMultipartUpload(request) => {
            let request = caller.authorize(*request)?;
            ops::create_multipart_upload(ops, &request).await?.render()
        }
        Request::UploadPartCopy(request) => ops::upload_part_copy(ops, caller.authorize(*request)?).await?.render(),
        Request::CompleteMultipartUpload(request) => {
            let request = caller.authorize(*request)?;
            let location = location(head, exchange.is_tls());
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

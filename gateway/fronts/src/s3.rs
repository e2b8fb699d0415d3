//! The S3 front: one HTTP request to one operation and back.
//!
//! Health and metrics come first, for requests without a signature: a signed request is always S3's, whatever its path,
//! so no bucket name is taken away. Then admission, address, signature, route, parameters, gate, operation, reply. A
//! browser that asks what a page may do (`OPTIONS`) is answered before its signature is looked for.

mod cors;
mod dispatch;
mod keys;
mod wire;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{ErrorReply, Exchange, Handler, ProtocolError, ReplyError, Response};
use iam::Snapshot;
use ops::{Ops, Outgoing};
use rt::sync::{Permit, Semaphore};
use rt::time::Instant;
use s3::address::Address;
use s3::head::Head;
use s3::reply::{Reply, ReplyBody};
use s3::routing::{self, Operation};
use s3::sigv4::{self, Authentication};
use s3::{Code, Error};

use crate::admin;
use crate::health::{Check, Health};
use crate::metrics::{self, MetricsAccess};
use crate::request_id::RequestId;
use keys::SigningKeys;

/// Requests under way on one shard, when nothing else is configured.
pub const REQUESTS_MAX_DEFAULT: usize = 1024;
/// Bytes of XML documents that one shard holds at a time, in KiB.
const DOCUMENTS_KIB_MAX: usize = 64 * 1024;
/// Of them, those that nobody has signed: who sends such slowly keeps out no one but others like it.
const UNSIGNED_DOCUMENTS_KIB_MAX: usize = 8 * 1024;
/// A refused client is answered after this pause, which costs nothing and counts as the request's time. One that asks again at once
/// would otherwise use up what refusing it saves: a refusal costs a third of a small request.
const REFUSAL_PAUSE: Duration = Duration::from_millis(100);

static UNDER_WAY: telemetry::Gauge =
    telemetry::Gauge::new("hafiz_s3_requests_under_way", "S3 requests that hold one of requests-max places.");
static REFUSED: telemetry::Counter =
    telemetry::Counter::new("hafiz_admission_refused_total", "Requests refused since too many were under way.");
static CUT: telemetry::Counter = telemetry::Counter::new(
    "hafiz_reads_cut_total",
    "Replies cut in their body since the object could not be read on.",
);

/// How the front is set up.
#[derive(Clone, Debug)]
pub struct FrontConfig {
    /// Domains under which buckets are host names: `<bucket>.<domain>`.
    pub domains: Vec<String>,
    pub metrics: MetricsAccess,
    /// Sent as `x-amz-id-2`: tells which server answered. Printable ASCII.
    pub host_id: String,
    /// Requests under way on one shard; the next one gets 503.
    pub requests_max: usize,
}

impl Default for FrontConfig {
    fn default() -> FrontConfig {
        FrontConfig {
            domains: Vec::new(),
            metrics: MetricsAccess::Off,
            host_id: "hafiz".to_owned(),
            requests_max: REQUESTS_MAX_DEFAULT,
        }
    }
}

/// Answers the S3 requests of one shard.
pub struct S3Front {
    config: FrontConfig,
    ops: Ops,
    identities: RefCell<Arc<Snapshot>>,
    keys: SigningKeys,
    health: Arc<Health>,
    admission: Rc<Semaphore>,
    documents: Rc<Semaphore>,
    unsigned_documents: Rc<Semaphore>,
}

/// What goes back to the client, and what follows its head.
struct Answer {
    reply: Reply,
    outgoing: Option<Outgoing>,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Answer {
        Answer { reply, outgoing: None }
    }
}

impl S3Front {
    /// To be called on the shard that serves.
    pub fn new(config: FrontConfig, ops: Ops, identities: Arc<Snapshot>, health: Arc<Health>) -> S3Front {
        S3Front {
            admission: Semaphore::new(config.requests_max),
            documents: Semaphore::new(DOCUMENTS_KIB_MAX - UNSIGNED_DOCUMENTS_KIB_MAX),
            unsigned_documents: Semaphore::new(UNSIGNED_DOCUMENTS_KIB_MAX),
            config,
            ops,
            identities: RefCell::new(identities),
            keys: SigningKeys::default(),
            health,
        }
    }

    /// From now on requests are decided on `identities`.
    pub fn set_identities(&self, identities: Arc<Snapshot>) {
        self.identities.replace(identities);
        self.keys.forget();
    }

    /// Answers what is not S3: status, content type and body.
    fn beside_s3(&self, head: &Head<'_>) -> Option<(u16, &'static str, String)> {
        if head.method != "GET" && head.method != "HEAD" || is_signed(head) {
            return None;
        }
        if let Some(check) = Check::at(head.raw_path()) {
            return Some((self.health.status(check), "text/plain", String::new()));
        }
        if head.raw_path() != metrics::PATH {
            return None;
        }
        let status = self.config.metrics.status(head.bytes("authorization"));
        let text = match status {
            200 => telemetry::render() + &ops::admin::drive_metrics(&self.ops),
            _ => String::new(),
        };
        Some((status, metrics::CONTENT_TYPE, text))
    }

    /// Does what the request asks for, or says why not. Fills in the operation as soon as it is known.
    async fn answer(
        &self,
        head: &Head<'_>,
        exchange: &mut Exchange<'_>,
        operation: &mut Option<Operation>,
    ) -> Result<Answer, Error> {
        let domains: Vec<&str> = self.config.domains.iter().map(String::as_str).collect();
        let address = Address::split(head, &domains)?;
        if let Some(answer) = self.preflight(head, &address) {
            return answer;
        }
        let identities = self.identities.borrow().clone();
        let now = rt::time::wall_clock() / 1_000_000_000;
        let authentication = sigv4::verify(head, &address.query, now, &self.ops.site().region, |scope| {
            self.keys.get(scope, &identities)
        })?;
        let admin = admin::path(&address);
        let route = if admin.is_none() { Some(routing::route(head, &address)?) } else { None };
        *operation = route.map(|route| route.operation);
        let signed = match &authentication {
            Authentication::Anonymous(_) => None,
            Authentication::Verified(verified) => Some((verified.kind, verified.signed_at)),
        };
        let (access_key, rule) = authentication.into_parts();
        let principal = identities.principal(access_key.as_deref()).ok_or(Code::InvalidAccessKeyId)?;
        let context = iam::Context { source: exchange.peer().ip(), secure_transport: exchange.is_tls() };
        let (ops, query) = (&self.ops, &address.query);
        let caller = dispatch::Caller { principal, identities, context, ops, head, query, signed, now };
        match (route, admin) {
            (Some(route), _) => self.perform(route, &address, caller, rule, exchange).await,
            (None, path) => self.administer(path.unwrap_or_default(), &address, caller).await,
        }
    }
}

/// A request's place, counted.
struct Admitted(#[expect(dead_code, reason = "held, not looked at")] Permit);

impl Admitted {
    fn new(permit: Permit) -> Admitted {
        UNDER_WAY.add(1);
        Admitted(permit)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        UNDER_WAY.add(-1);
    }
}

/// The shard has enough to do.
fn too_much() -> Error {
    REFUSED.add(1);
    Error::new(Code::SlowDown)
}

/// Whether a request bears a signature of S3: a bearer token for the metrics is none.
fn is_signed(head: &Head<'_>) -> bool {
    let by_header = head.bytes("authorization").is_some_and(|value| value.starts_with(b"AWS"));
    by_header || ["X-Amz-Signature", "Signature"].iter().any(|name| has_parameter(head.raw_query(), name))
}

fn has_parameter(query: &str, wanted: &str) -> bool {
    query.split('&').any(|pair| pair.split('=').next().is_some_and(|name| name.eq_ignore_ascii_case(wanted)))
}

impl Handler for S3Front {
    async fn handle(&self, head: &http::Head<'_>, exchange: &mut Exchange<'_>) {
        let began = Instant::now();
        let head = Head { method: head.method(), target: head.target(), headers: head.headers() };
        if let Some((status, content_type, body)) = self.beside_s3(&head) {
            let response = Response { status, headers: &[("Content-Type", content_type)] };
            // A client that is gone needs no reply, here and below.
            drop(exchange.reply(&response, body.as_bytes()).await);
            return;
        }
        let id = RequestId::new();
        let mut operation = None;
        let outcome = match self.admission.try_acquire(1) {
            Some(permit) => {
                // Until the object's first bytes are sent or the reply is over; but a request that waits for its client
                // keeps nobody out.
                exchange.hold(Admitted::new(permit));
                self.answer(&head, exchange, &mut operation).await
            }
            None => {
                rt::time::sleep(REFUSAL_PAUSE).await;
                Err(too_much())
            }
        };
        let mut answer = match outcome {
            Ok(Answer { reply, outgoing }) => {
                Answer { reply: reply.finish(id.as_str(), &self.config.host_id), outgoing }
            }
            Err(error) => {
                telemetry::debug!("refused"; request = id, error = error);
                Reply::of_error(&error, head.method, head.raw_path(), id.as_str(), &self.config.host_id).into()
            }
        };
        self.allow_origin(&head, &mut answer.reply.headers);
        let status = answer.reply.status;
        if let Err(error) = send(answer, head.method, exchange).await {
            telemetry::debug!("a reply did not go out"; request = id, error = error);
        }
        metrics::observe(operation, status, began);
    }

    fn is_vital(&self, head: &http::Head<'_>) -> bool {
        let head = Head { method: head.method(), target: head.target(), headers: head.headers() };
        !is_signed(&head) && Check::at(head.raw_path()).is_some()
    }

    fn protocol_error(&self, error: ProtocolError) -> ErrorReply {
        let code = match error {
            ProtocolError::HeadTooLarge | ProtocolError::TooManyHeaders => Code::RequestHeaderSectionTooLarge,
            ProtocolError::TargetTooLong | ProtocolError::Target => Code::InvalidUri,
            ProtocolError::HeaderTimeout => Code::RequestTimeout,
            ProtocolError::Busy => Code::SlowDown,
            ProtocolError::NoReply => Code::InternalError,
            ProtocolError::TransferCoding => Code::NotImplemented,
            ProtocolError::RequestLine
            | ProtocolError::Header
            | ProtocolError::BareLineFeed
            | ProtocolError::Version
            | ProtocolError::Host
            | ProtocolError::ContentLength
            | ProtocolError::TransferEncoding => Code::BadRequest,
        };
        let id = RequestId::new();
        let body = Error::with(code, error.to_string()).document("", id.as_str(), &self.config.host_id);
        // HTTP's own status: this is not yet a request of S3.
        ErrorReply { status: error.status(), content_type: "application/xml", body: body.into_bytes() }
    }
}

/// Sends the head and what follows it.
async fn send(answer: Answer, method: &str, exchange: &mut Exchange<'_>) -> Result<(), ReplyError> {
    let Answer { reply, outgoing } = answer;
    let headers: Vec<(&str, &[u8])> = reply.headers.iter().collect();
    let response = Response { status: reply.status, headers: &headers };
    match reply.body {
        ReplyBody::Empty => exchange.reply(&response, b"").await,
        ReplyBody::Bytes(bytes) => exchange.reply(&response, &bytes).await,
        ReplyBody::Object { len } if method == "HEAD" => exchange.reply_head(&response, len).await,
        ReplyBody::Object { len } => {
            exchange.start(&response, Some(len))?;
            if let Some(mut outgoing) = outgoing {
                while let Some(bytes) = outgoing.next().await {
                    let Ok(bytes) = bytes else {
                        // The head promised more: the connection is cut, so that nobody takes this for the object.
                        CUT.add(1);
                        return Err(ReplyError::Length);
                    };
                    exchange.send(bytes).await?;
                    // What follows is bounded by the memory of reads, and may have to wait for it.
                    exchange.let_go();
                }
            }
            exchange.finish().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_without_a_signature_are_looked_at_for_health_and_metrics() {
        let check = |target: &str, authorization: Option<&str>, expect: bool| {
            let headers: Vec<(&str, &[u8])> =
                authorization.iter().map(|value| ("Authorization", value.as_bytes())).collect();
            let head = Head { method: "GET", target, headers: &headers };
            assert_eq!(is_signed(&head), expect, "{target} {authorization:?}");
        };
        check("/metrics", None, false);
        check("/metrics", Some("Bearer x"), false);
        check("/metrics", Some("AWS4-HMAC-SHA256 Credential=x"), true);
        check("/metrics?x=1&X-Amz-Signature=ab", None, true);
        check("/metrics?AWSAccessKeyId=a&Signature=b", None, true);
        check("/metrics?prefix=Signature", None, false);
    }
}

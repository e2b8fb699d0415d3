//! `GET /metrics` in the Prometheus text format, and the counters of requests by operation.

use rt::time::Instant;
use s3::routing::Operation;
use telemetry::{Counter, Histogram};

/// Who may read the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MetricsAccess {
    /// Nobody: there is no such page.
    #[default]
    Off,
    Everyone,
    /// Whoever sends `Authorization: Bearer <token>`.
    Bearer(String),
}

pub(crate) const PATH: &str = "/metrics";
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl MetricsAccess {
    /// 200, 403 or 404 for a request with this `Authorization`.
    pub(crate) fn status(&self, authorization: Option<&[u8]>) -> u16 {
        match self {
            MetricsAccess::Off => 404,
            MetricsAccess::Everyone => 200,
            MetricsAccess::Bearer(token) => {
                let sent = authorization.and_then(|value| value.strip_prefix(b"Bearer "));
                if sent.is_some_and(|sent| equal(sent, token.as_bytes())) { 200 } else { 403 }
            }
        }
    }
}

/// Compares without telling by its time how much of the token was right.
fn equal(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differing) == 0
}

/// What is counted of one operation.
struct OperationMetrics {
    done: Counter,
    refused: Counter,
    failed: Counter,
    latency: Histogram,
}

const REQUESTS: &str = "hafiz_s3_requests_total";
const REQUESTS_HELP: &str = "S3 requests by operation and outcome: done, refused (4xx), failed (5xx).";
const LATENCY: &str = "hafiz_s3_request_seconds";
const LATENCY_HELP: &str = "From the head of a request to the end of its reply.";

macro_rules! metrics {
    ($op:expr) => {{
        static METRICS: OperationMetrics = OperationMetrics {
            done: Counter::labeled(REQUESTS, concat!("op=\"", $op, "\",outcome=\"done\""), REQUESTS_HELP),
            refused: Counter::labeled(REQUESTS, concat!("op=\"", $op, "\",outcome=\"refused\""), REQUESTS_HELP),
            failed: Counter::labeled(REQUESTS, concat!("op=\"", $op, "\",outcome=\"failed\""), REQUESTS_HELP),
            latency: Histogram::micros_labeled(LATENCY, concat!("op=\"", $op, "\""), LATENCY_HELP),
        };
        &METRICS
    }};
}

macro_rules! by_operation {
    ($($name:ident)*) => {
        /// Operations that are not implemented, or read what cannot be set, share their metrics, as do requests that never became one.
        fn of(operation: Option<Operation>) -> &'static OperationMetrics {
            match operation {
                $(Some(Operation::$name) => metrics!(stringify!($name)),)*
                Some(_) => metrics!("Other"),
                None => metrics!("None"),
            }
        }
    };
}

by_operation! {
    ListBuckets CreateBucket HeadBucket DeleteBucket GetBucketLocation ListObjects ListObjectsV2 ListObjectVersions
    PutObject GetObject HeadObject DeleteObject DeleteObjects CopyObject GetObjectAttributes
    CreateMultipartUpload UploadPart UploadPartCopy CompleteMultipartUpload AbortMultipartUpload ListParts
    ListMultipartUploads
}

/// Counts one request. No allocation, no lock.
pub(crate) fn observe(operation: Option<Operation>, status: u16, began: Instant) {
    let metrics = of(operation);
    match status {
        0..=399 => metrics.done.add(1),
        400..=499 => metrics.refused.add(1),
        500.. => metrics.failed.add(1),
    }
    metrics.latency.observe(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_shown_to_whom_the_configuration_says() {
        let check = |access: &MetricsAccess, sent: Option<&str>, expect| {
            assert_eq!(access.status(sent.map(str::as_bytes)), expect, "{access:?} {sent:?}");
        };
        check(&MetricsAccess::Off, Some("Bearer x"), 404);
        check(&MetricsAccess::Everyone, None, 200);
        let bearer = MetricsAccess::Bearer("secret".into());
        check(&bearer, Some("Bearer secret"), 200);
        for sent in [None, Some(""), Some("Bearer "), Some("Bearer secre"), Some("Bearer secrets"), Some("secret")] {
            check(&bearer, sent, 403);
        }
    }

    #[test]
    fn outcomes_are_counted_by_operation() {
        observe(Some(Operation::GetBucketLocation), 200, Instant::now());
        observe(Some(Operation::GetBucketLocation), 404, Instant::now());
        observe(Some(Operation::GetBucketLocation), 503, Instant::now());
        let text = telemetry::render();
        for outcome in ["done", "refused", "failed"] {
            let line = format!("hafiz_s3_requests_total{{op=\"GetBucketLocation\",outcome=\"{outcome}\"}} 1\n");
            assert!(text.contains(&line), "{text}");
        }
        assert!(text.contains("hafiz_s3_request_seconds_count{op=\"GetBucketLocation\"} 3\n"), "{text}");
    }
}

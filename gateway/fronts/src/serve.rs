//! Serving on one shard until told to stop.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{CertStore, Limits, Stop};
use rt::net::Listener;

use crate::s3::S3Front;

/// Serves `listener` on this shard. After `stop` nothing is accepted any more and requests under way have `grace` to
/// finish; what is left then is left behind, and its connections end with the process.
pub async fn serve(
    listener: Listener,
    tls: Option<Arc<CertStore>>,
    limits: Limits,
    front: Rc<S3Front>,
    stop: Rc<Stop>,
    grace: Duration,
) {
    let listening = rt::spawn(http::listen(listener, tls, limits, front, stop.clone()));
    stop.wait().await;
    if rt::time::timeout(grace, listening).await.is_err() {
        telemetry::warn!("requests were still under way when the shard stopped"; grace_seconds = grace.as_secs());
    }
}

//! Accepts connections on one shard and serves each in a task of its own, up to a limit.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rt::net::Listener;
use rt::sync::Semaphore;

use crate::connection::{self, Company};
use crate::handler::Handler;
use crate::limits::Limits;
use crate::metrics;
use crate::peers::Peers;
use crate::stop::Stop;
use crate::tls::CertStore;
use crate::waiting::Waiting;

/// Connections beyond the limit that are told so at the same time, or ask after our health: a quarter of the limit, within these
/// bounds. When there are more, the one that came first is told at once, whatever it wanted to say.
const REFUSALS_SHARE: usize = 4;
const REFUSALS_MIN: usize = 16;
const REFUSALS_MAX: usize = 256;
/// Pause after a failed accept: out of file descriptors is the usual reason, and does not go away faster.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `listener` until `stop`, then returns once every connection has finished its reply and closed. How long that
/// may take is for the caller to bound.
pub async fn listen<H: Handler + 'static>(
    listener: Listener,
    tls: Option<Arc<CertStore>>,
    limits: Limits,
    handler: Rc<H>,
    stop: Rc<Stop>,
) {
    let limits = Rc::new(limits);
    let serving = Semaphore::new(limits.connections_max);
    let refusing = Semaphore::new((limits.connections_max / REFUSALS_SHARE).clamp(REFUSALS_MIN, REFUSALS_MAX));
    let waiting = Rc::new(Waiting::default());
    let reception = Rc::new(Waiting::default());
    let peers = Rc::new(Peers::default());
    drop(rt::spawn(Peers::watch(Rc::downgrade(&peers))));
    while let Some(accepted) = until_stopped(listener.accept(), &stop).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                telemetry::warn!("accept failed"; error = error);
                rt::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Replies are sent whole: waiting for more bytes to send along only adds latency.
        if let Err(error) = stream.set_nodelay() {
            telemetry::debug!("set TCP_NODELAY failed"; peer = peer, error = error);
        }
        let (limits, handler, stop) = (limits.clone(), handler.clone(), stop.clone());
        let permit = serving.try_acquire(1);
        if permit.is_some() || waiting.make_room() {
            let (tls, serving) = (tls.clone(), serving.clone());
            let company = Company { waiting: waiting.clone(), reception: reception.clone(), peers: peers.clone() };
            drop(rt::spawn(async move {
                // Whoever was told to make room is about to: no more wait here than were told.
                let _permit = match permit {
                    Some(permit) => permit,
                    None => serving.acquire(1).await,
                };
                connection::serve(stream, peer, tls, &limits, &*handler, stop, &company).await;
            }));
            continue;
        }
        let permit = refusing.try_acquire(1);
        if permit.is_some() || reception.make_room_at_once() {
            let (tls, refusing, reception) = (tls.clone(), refusing.clone(), reception.clone());
            drop(rt::spawn(async move {
                let _permit = match permit {
                    Some(permit) => permit,
                    None => refusing.acquire(1).await,
                };
                connection::refuse(stream, peer, tls, &limits, &*handler, stop, &reception).await;
            }));
        } else {
            // Those that were told to go are not gone yet.
            metrics::CONNECTIONS_REFUSED.add(1);
        }
    }
    drop(listener);
    serving.acquire(limits.connections_max).await;
}

/// What `operation` gives, or none when the stop comes first.
async fn until_stopped<T>(operation: impl Future<Output = T>, stop: &Stop) -> Option<T> {
    let mut operation = pin!(operation);
    let mut stopped = pin!(stop.wait());
    poll_fn(|cx| {
        if stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        operation.as_mut().poll(cx).map(Some)
    })
    .await
}

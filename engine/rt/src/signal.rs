//! SIGTERM and SIGINT as a future.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::{sys, uring};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Terminate,
    Interrupt,
}

/// Waits for the next SIGTERM or SIGINT. From the first call on they no longer end the process by themselves.
/// Meant for one task of one shard; of several waiters each signal reaches one.
pub async fn wait() -> io::Result<Signal> {
    #[cfg(feature = "sim")]
    if crate::sim::core().is_some() {
        // A world ends its processes itself.
        return std::future::pending().await;
    }
    static EVENT: OnceLock<OwnedFd> = OnceLock::new();
    static FIRST: Mutex<()> = Mutex::new(());
    let event = {
        let _first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
        match EVENT.get() {
            Some(event) => event,
            None => {
                let created = sys::eventfd()?;
                let event = EVENT.get_or_init(|| created);
                sys::catch_signals(event, &[libc::SIGTERM, libc::SIGINT])?;
                event
            }
        }
    };
    uring::read_event(event).await?;
    Ok(if sys::last_signal() == libc::SIGINT { Signal::Interrupt } else { Signal::Terminate })
}

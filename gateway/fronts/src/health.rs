//! Health checks, answered to anyone who asks without a signature: paths that load balancers and MinIO's tools know.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What the process says of itself. Shared by all shards; set by whoever starts and watches the store.
#[derive(Debug, Default)]
pub struct Health {
    is_ready: AtomicBool,
    is_writable: AtomicBool,
}

/// One question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// The process answers.
    Live,
    /// The store is open and serves.
    Ready,
    /// Enough drives for writes.
    Writable,
}

impl Check {
    /// The check at a path; the query does not matter.
    pub(crate) fn at(path: &str) -> Option<Check> {
        match path {
            "/livez" | "/minio/health/live" => Some(Check::Live),
            "/readyz" | "/minio/health/ready" => Some(Check::Ready),
            "/minio/health/cluster" => Some(Check::Writable),
            _ => None,
        }
    }
}

impl Health {
    /// Neither ready nor writable.
    pub fn new() -> Health {
        Health::default()
    }

    /// The store is open and serves, or no longer.
    pub fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Relaxed);
    }

    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Relaxed)
    }

    /// Enough drives for writes answer, or no longer.
    pub fn set_writable(&self, is_writable: bool) {
        self.is_writable.store(is_writable, Relaxed);
    }

    /// 200 or 503.
    pub(crate) fn status(&self, check: Check) -> u16 {
        let holds = match check {
            Check::Live => true,
            Check::Ready => self.is_ready.load(Relaxed),
            Check::Writable => self.is_ready.load(Relaxed) && self.is_writable.load(Relaxed),
        };
        if holds { 200 } else { 503 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_has_its_paths_and_says_what_was_set() {
        let health = Health::new();
        let check = |path, expect: Option<u16>| {
            assert_eq!(Check::at(path).map(|check| health.status(check)), expect, "{path}");
        };
        check("/livez", Some(200));
        check("/readyz", Some(503));
        health.set_ready(true);
        check("/minio/health/live", Some(200));
        check("/minio/health/ready", Some(200));
        check("/minio/health/cluster", Some(503));
        health.set_writable(true);
        check("/minio/health/cluster", Some(200));
        check("/minio/health/", None);
        check("/livez/", None);
    }
}

//! Judges whether a request body comes fast enough. Only time spent waiting for the peer counts: a body that we are
//! slow to take is not the peer's fault.

use std::time::Duration;

/// Bytes and waiting of the current window.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// How long the next read may wait. When it takes longer the body is too slow: either no byte came for a whole
    /// window, or the window closes with fewer than `bytes_min`.
    pub(crate) fn patience(&mut self, window: Duration, bytes_min: u64) -> Duration {
        if self.bytes >= bytes_min || self.waited >= window {
            *self = Self::default();
        }
        window - self.waited
    }

    /// Accounts for a read that waited and brought `bytes`. False when the window is over and brought too little.
    pub(crate) fn observe(&mut self, waited: Duration, bytes: u64, window: Duration, bytes_min: u64) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        self.waited < window || self.bytes >= bytes_min
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(30);
    const BYTES_MIN: u64 = 30 * 1024;

    #[test]
    fn a_steady_body_goes_on_for_ever() {
        let mut pace = Pace::default();
        for _ in 0..1000 {
            assert!(pace.patience(WINDOW, BYTES_MIN) > Duration::from_secs(1));
            assert!(pace.observe(Duration::from_secs(1), 2048, WINDOW, BYTES_MIN));
        }
    }

    #[test]
    fn a_trickle_is_cut_at_the_end_of_its_window() {
        let mut pace = Pace::default();
        for second in 0..29 {
            assert_eq!(pace.patience(WINDOW, BYTES_MIN), WINDOW - Duration::from_secs(second));
            assert!(pace.observe(Duration::from_secs(1), 1, WINDOW, BYTES_MIN));
        }
        assert_eq!(pace.patience(WINDOW, BYTES_MIN), Duration::from_secs(1));
        assert!(!pace.observe(Duration::from_secs(1), 1, WINDOW, BYTES_MIN));
    }

    #[test]
    fn a_burst_earns_one_fresh_window() {
        let mut pace = Pace::default();
        assert!(pace.observe(Duration::from_secs(29), BYTES_MIN, WINDOW, BYTES_MIN));
        assert_eq!(pace.patience(WINDOW, BYTES_MIN), WINDOW);
        assert!(!pace.observe(WINDOW, 0, WINDOW, BYTES_MIN));
    }
}

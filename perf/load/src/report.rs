//! What one run measured.

use std::time::Duration;

use crate::process::Usage;

#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) first_failure: Option<String>,
    pub(crate) body_bytes: u64,
    pub(crate) elapsed: Duration,
    pub(crate) usage: Usage,
    /// Times of the exchanges that were counted, in microseconds.
    pub(crate) took_us: Vec<u32>,
}

impl Report {
    /// The time within which this share of the exchanges was answered. 0 without any.
    pub(crate) fn percentile(&mut self, share: f64) -> u32 {
        self.took_us.sort_unstable();
        let index = (self.took_us.len() as f64 * share).ceil() as usize;
        self.took_us.get(index.saturating_sub(1)).copied().unwrap_or(0)
    }

    /// One line. CPU in microseconds for each operation.
    pub(crate) fn json(mut self) -> String {
        let (p50, p99) = (self.percentile(0.5), self.percentile(0.99));
        let each = |total: u64| total as f64 / self.done.max(1) as f64;
        let seconds = self.elapsed.as_secs_f64();
        let failure = self.first_failure.unwrap_or_default().replace(['"', '\\', '\n', '\r'], " ");
        format!(
            "{{\"ops\": {}, \"failed\": {}, \"first_failure\": \"{failure}\", \"seconds\": {seconds:.3}, \"ops_per_s\": {:.1}, \
             \"mib_per_s\": {:.1}, \"p50_us\": {p50}, \"p99_us\": {p99}, \"cpu_us\": {:.2}, \"cpu_user_us\": {:.2}, \
             \"cpu_system_us\": {:.2}, \"device_writes\": {:.3}, \"device_bytes\": {:.0}, \"device_flushes\": {:.3}, \
             \"rss_max_mib\": {:.1}}}",
            self.done,
            self.failed,
            self.done as f64 / seconds.max(1e-9),
            self.body_bytes as f64 / seconds.max(1e-9) / f64::from(1 << 20),
            each(self.usage.user_us + self.usage.system_us),
            each(self.usage.user_us),
            each(self.usage.system_us),
            each(self.usage.writes),
            each(self.usage.written_bytes),
            each(self.usage.flushes),
            self.usage.rss_max_kib as f64 / 1024.0,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_time_within_which_that_share_was_answered() {
        let mut report = Report { took_us: (1..=100).rev().collect(), ..Report::default() };
        assert_eq!((report.percentile(0.5), report.percentile(0.99), report.percentile(1.0)), (50, 99, 100));
        assert_eq!(Report::default().percentile(0.5), 0);
    }
}

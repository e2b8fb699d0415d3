//! What the server and its device used, as the kernel counts it.

use std::fs;

/// The unit of /proc/PID/stat: USER_HZ, 100 on every Linux that the server runs on.
const TICK_US: u64 = 10_000;

/// Counters at one moment, or their growth.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    /// Largest resident set so far.
    pub(crate) rss_max_kib: u64,
    pub(crate) writes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) flushes: u64,
}

impl Usage {
    /// Zero for what was not asked for.
    pub(crate) fn read(pid: Option<u32>, device: Option<&str>) -> Result<Usage, String> {
        let mut usage = Usage::default();
        if let Some(pid) = pid {
            let stat = read(&format!("/proc/{pid}/stat"))?;
            // All threads. The name in parentheses may hold blanks.
            let fields: Vec<u64> =
                stat.rsplit(')').next().unwrap_or("").split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
            let ticks = |index: usize| fields.get(index).copied().ok_or(format!("/proc/{pid}/stat is too short"));
            usage.user_us = ticks(11)? * TICK_US;
            usage.system_us = ticks(12)? * TICK_US;
            let status = read(&format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            usage.rss_max_kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        }
        if let Some(device) = device {
            let table = read("/proc/diskstats")?;
            let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let row = rows.find(|row| row.get(2) == Some(&device)).ok_or(format!("no device {device}"))?;
            let field = |index: usize| row.get(index).and_then(|text| text.parse().ok()).unwrap_or(0_u64);
            usage.writes = field(7);
            usage.written_bytes = field(9) * 512;
            usage.flushes = field(18);
        }
        Ok(usage)
    }

    /// The growth since `before`; the largest resident set stays as it is.
    pub(crate) fn since(self, before: Usage) -> Usage {
        Usage {
            user_us: self.user_us - before.user_us,
            system_us: self.system_us - before.system_us,
            rss_max_kib: self.rss_max_kib,
            writes: self.writes - before.writes,
            written_bytes: self.written_bytes - before.written_bytes,
            flushes: self.flushes - before.flushes,
        }
    }
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_memory_and_an_unknown_device_is_an_error() {
        let usage = Usage::read(Some(std::process::id()), None).unwrap();
        assert!(usage.rss_max_kib > 0);
        assert_eq!(usage.since(usage).user_us, 0);
        assert!(Usage::read(None, Some("no-such-device")).is_err());
    }
}

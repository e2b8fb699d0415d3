//! What the server and its device used, as the kernel counts it.

use std::fs;

use crate::plan::Plan;

/// The unit of /proc/PID/stat: USER_HZ, 100 on all Linux that is in use.
const TICK_US: u64 = 10_000;
const SECTOR_BYTES: u64 = 512;

/// Counters at one moment, or their growth. Zero for what was not asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    /// Largest resident set so far.
    pub(crate) rss_max_kib: u64,
    pub(crate) reads: u64,
    pub(crate) read_bytes: u64,
    pub(crate) writes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) flushes: u64,
}

impl Usage {
    pub(crate) fn is_asked_for(plan: &Plan) -> bool {
        plan.pid.is_some() || plan.cgroup.is_some() || plan.device.is_some()
    }

    pub(crate) fn read(plan: &Plan) -> Result<Usage, String> {
        let mut usage = Usage::default();
        if let Some(pid) = plan.pid {
            let stat = read(&format!("/proc/{pid}/stat"))?;
            (usage.user_us, usage.system_us) = ticks(&stat).ok_or_else(|| format!("/proc/{pid}/stat is too short"))?;
            let status = read(&format!("/proc/{pid}/status"))?;
            usage.rss_max_kib = status.lines().find_map(|line| row(line, "VmHWM:")).unwrap_or(0);
        }
        if let Some(cgroup) = &plan.cgroup {
            let stat = read(&format!("{cgroup}/cpu.stat"))?;
            let value = |name: &str| stat.lines().find_map(|line| row(line, name));
            let missing = || format!("{cgroup}/cpu.stat has no user_usec and system_usec");
            usage.user_us = value("user_usec").ok_or_else(missing)?;
            usage.system_us = value("system_usec").ok_or_else(missing)?;
        }
        if let Some(device) = &plan.device {
            let table = read("/proc/diskstats")?;
            let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let row =
                rows.find(|row| row.get(2) == Some(&device.as_str())).ok_or_else(|| format!("no device {device}"))?;
            let field = |index: usize| row.get(index).and_then(|text| text.parse().ok()).unwrap_or(0_u64);
            (usage.reads, usage.read_bytes) = (field(3), field(5) * SECTOR_BYTES);
            (usage.writes, usage.written_bytes, usage.flushes) = (field(7), field(9) * SECTOR_BYTES, field(18));
        }
        Ok(usage)
    }

    /// The growth since `before`; the largest resident set stays as it is.
    pub(crate) fn since(self, before: Usage) -> Usage {
        Usage {
            user_us: self.user_us.saturating_sub(before.user_us),
            system_us: self.system_us.saturating_sub(before.system_us),
            rss_max_kib: self.rss_max_kib,
            reads: self.reads.saturating_sub(before.reads),
            read_bytes: self.read_bytes.saturating_sub(before.read_bytes),
            writes: self.writes.saturating_sub(before.writes),
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
            flushes: self.flushes.saturating_sub(before.flushes),
        }
    }
}

/// User and system time of all threads. The name in parentheses may hold blanks.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let field = |index: usize| Some(fields.get(index)?.parse::<u64>().ok()? * TICK_US);
    Some((field(11)?, field(12)?))
}

/// The number behind a name at the beginning of a line.
fn row(line: &str, name: &str) -> Option<u64> {
    line.strip_prefix(name)?.split_whitespace().next()?.parse().ok()
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("read {path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 12 34 0 0 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat), Some((120_000, 340_000)));
        assert_eq!(ticks("7 (a) S 1"), None);
        assert_eq!(
            (row("user_usec 12", "user_usec"), row("VmHWM:\t  99 kB", "VmHWM:"), row("x 1", "y")),
            (Some(12), Some(99), None)
        );
    }
}

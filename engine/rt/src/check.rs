//! The start-up check: what this machine lacks, what follows from it, and what to do.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::{sys, uring};

/// The first kernel with every ring flag we set.
const KERNEL_WANTED: (u32, u32) = (6, 1);
/// Descriptors a node wants: one per connection, some per drive.
const OPEN_FILES_WANTED: u64 = 65_536;

/// How long the check waits for the file systems.
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, but slower or with less room.
    Warning,
    /// It will not start.
    Fatal,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub what: String,
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.fix)
    }
}

/// Checks the kernel, io_uring, the limits, and direct I/O in each of `dirs` that exists. Blocks for some milliseconds:
/// to be called before the shards start. `locked_bytes` is the size of all shards' buffers together.
pub fn check(dirs: &[PathBuf], locked_bytes: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |severity, what: String, fix: &str| findings.push(Finding { severity, what, fix: fix.to_owned() });
    let release = sys::kernel_release();
    if parse_release(&release).is_some_and(|version| version < KERNEL_WANTED) {
        add(
            Severity::Warning,
            format!("kernel {release} is older than 6.1"),
            "upgrade the kernel; until then the rings run without deferred task work and cost more CPU",
        );
    }
    check_ring(locked_bytes, &mut add);
    if let Some(limit) = sys::open_files_limit().filter(|limit| *limit < OPEN_FILES_WANTED) {
        add(
            Severity::Warning,
            format!("only {limit} files may be open at once"),
            "raise it: LimitNOFILE=1048576 in the systemd unit, or ulimit -n",
        );
    }
    let huge = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if huge.contains("[never]") || huge.is_empty() {
        add(
            Severity::Warning,
            "transparent huge pages are off".to_owned(),
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled; buffers use small pages until then",
        );
    }
    // All at once, and each on a thread of its own: a drive that hangs is not waited for, here or at the end.
    let asked: Vec<_> = dirs
        .iter()
        .filter(|dir| dir.is_dir())
        .map(|dir| {
            let (answer, answered) = mpsc::channel();
            let place = dir.clone();
            std::thread::spawn(move || {
                // Nobody listens any more to one that comes late.
                let _late = answer.send(direct_io(&place));
            });
            (dir, answered)
        })
        .collect();
    let deadline = Instant::now() + ANSWER_MAX;
    for (dir, answered) in asked {
        match answered.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Err(_) => add(
                Severity::Warning,
                format!("the file system of {} does not answer", dir.display()),
                "see what the kernel says of its device; a start goes on without it if it can",
            ),
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => add(
                Severity::Warning,
                format!("the file system of {} has no direct I/O", dir.display()),
                "use ext4 or XFS on a device of its own; until then data goes through the page cache",
            ),
            Ok(Err(error)) => add(
                Severity::Fatal,
                format!("{} cannot be written: {error}", dir.display()),
                "give this user write permission, or mount the file system read-write",
            ),
        }
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Lets this process open as many files as it may, and says how many that are; `None` when there is no limit. The limit
/// that a shell sets by default is for programs that use select(2).
pub fn raise_open_files() -> Option<u64> {
    if let Err(error) = sys::raise_open_files_limit() {
        telemetry::warn!("the limit on open files could not be raised"; error = error);
    }
    sys::open_files_limit()
}

fn check_ring(locked_bytes: u64, add: &mut impl FnMut(Severity, String, &str)) {
    match uring::probe(None) {
        Ok(()) => {}
        Err((_, error)) => {
            let code = error.raw_os_error();
            if code == Some(libc::ENOSYS) {
                let what = "this kernel has no io_uring".to_owned();
                add(Severity::Fatal, what, "use a kernel from 6.1 on with CONFIG_IO_URING");
            } else if code == Some(libc::EPERM) || code == Some(libc::EACCES) {
                add(
                    Severity::Fatal,
                    "io_uring is forbidden here".to_owned(),
                    "sysctl kernel.io_uring_disabled=0; in a container allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile",
                );
            } else if code == Some(libc::ENOMEM) {
                let what = "no memory may be locked for a ring".to_owned();
                add(Severity::Fatal, what, "raise the memlock limit: LimitMEMLOCK=infinity, or ulimit -l unlimited");
            } else if code != Some(libc::EINVAL) {
                // EINVAL is an older kernel: the ring falls back, and the kernel check has spoken.
                add(Severity::Fatal, format!("a ring cannot be created: {error}"), "see io_uring_setup(2)");
            }
            return;
        }
    }
    // A privileged process may lock more than its limit, so the limit alone does not decide: try it.
    if let Some(limit) = sys::memlock_limit().filter(|limit| *limit < locked_bytes) {
        let mut sample = vec![0u8; (limit as usize + (1 << 20)).min(64 << 20)];
        if uring::probe(Some(&mut sample)).is_err() {
            add(
                Severity::Warning,
                format!("only {limit} bytes may be locked, the buffers have {locked_bytes}"),
                "raise the memlock limit: LimitMEMLOCK=infinity, or ulimit -l unlimited; unregistered buffers cost twice the CPU per large write",
            );
        }
    }
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Tries to create a file for direct I/O; `false` when the file system takes it only buffered.
fn direct_io(dir: &Path) -> io::Result<bool> {
    let path = dir.join(format!(".hafiz-check-{}", std::process::id()));
    let mut open = std::fs::OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600);
    let direct = open.clone().custom_flags(libc::O_DIRECT).open(&path);
    let answer = match direct {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            open.open(&path).and_then(|mut file| file.write_all(b"x")).map(|()| false)
        }
        Err(error) => Err(error),
    };
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => answer.and(Err(error)),
        _ => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_release_is_compared_by_its_first_two_numbers() {
        assert_eq!(parse_release("6.8.0-31-generic"), Some((6, 8)));
        assert_eq!(parse_release("5.15-rc1"), Some((5, 15)));
        assert_eq!(parse_release("strange"), None);
    }

    #[test]
    fn the_limit_on_open_files_is_raised_as_far_as_it_goes() {
        let raised = raise_open_files();
        assert_eq!(raised, sys::open_files_limit());
        assert_eq!(raise_open_files(), raised, "there is nothing left to raise");
    }

    #[test]
    fn a_directory_that_takes_files_is_not_fatal_and_is_left_empty() {
        let dir = std::env::temp_dir().join(format!("hafiz-rt-check-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let findings = check(std::slice::from_ref(&dir), 1 << 20);
        assert!(!findings.iter().any(|f| f.what.contains(dir.to_str().unwrap()) && f.severity == Severity::Fatal));
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        std::fs::remove_dir(&dir).unwrap();
    }
}

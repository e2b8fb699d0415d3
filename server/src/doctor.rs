//! `hafiz doctor`: what keeps the server from starting here, or slows it down, and what to do about it.
//! Drives are only read.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rt::check::Severity;
use rt::file::{File, OpenOptions};

use crate::banner::say;
use crate::machine;
use crate::plan::Plan;
use crate::serve::sharing_warning;
use crate::settings::Settings;
use crate::settings::value::show_bytes;

/// The file that makes a directory a drive.
const IDENTITY_NAME: &str = "hafiz.drive";
/// Below this share of a drive, in percent, little more can be stored.
const FREE_PERCENT_WARN: u64 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Ok,
    Warning,
    Error,
}

/// One line of the report.
struct Line {
    verdict: Verdict,
    what: String,
    /// Empty when nothing is to be done.
    fix: String,
}

impl Line {
    fn ok(what: impl Into<String>) -> Line {
        Line { verdict: Verdict::Ok, what: what.into(), fix: String::new() }
    }

    fn warning(what: impl Into<String>, fix: impl Into<String>) -> Line {
        Line { verdict: Verdict::Warning, what: what.into(), fix: fix.into() }
    }

    fn error(what: impl Into<String>, fix: impl Into<String>) -> Line {
        Line { verdict: Verdict::Error, what: what.into(), fix: fix.into() }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Error => "error",
        };
        writeln!(f, "{verdict:<8} {}", self.what)?;
        if self.fix.is_empty() { Ok(()) } else { writeln!(f, "{:<8} -> {}", "", self.fix) }
    }
}

/// Prints the report. Exit code 1 when something in it keeps the server from starting.
pub(crate) fn run(settings: Settings) -> ExitCode {
    let mut lines = machine_lines(&settings);
    let dirs = settings.dirs.clone();
    // Reading the drives needs a shard, and a shard needs a ring; without one the lines above have said why.
    match rt::run_alone(rt::Config::new(1), move || drive_lines(dirs)) {
        Ok(drives) => lines.extend(drives),
        Err(error) => lines.push(Line::error(format!("no shard can be started: {error}"), "mend what is named above")),
    }
    if settings.dirs.is_empty() {
        lines.push(Line::warning("no directory was given, so no drive was looked at", "write hafiz doctor DIR..."));
    }
    lines.extend(machine::sharing_device(&settings.dirs).iter().map(|group| {
        match sharing_warning(group).split_once("; ") {
            Some((what, fix)) => Line::warning(what, fix),
            None => Line::warning(sharing_warning(group), ""),
        }
    }));
    let worst = lines.iter().map(|line| line.verdict).max().unwrap_or(Verdict::Ok);
    say(&lines.iter().map(ToString::to_string).collect::<String>());
    if worst == Verdict::Error { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Kernel, ring, limits, memory.
fn machine_lines(settings: &Settings) -> Vec<Line> {
    let mut lines = Vec::new();
    let locked_bytes = match Plan::here(settings) {
        Ok(plan) => {
            let (memory, buffers) = (show_bytes(plan.memory_bytes), show_bytes(plan.locked_bytes()));
            lines.push(Line::ok(format!("shards {}, memory {memory}, buffers {buffers}", plan.shards)));
            plan.locked_bytes()
        }
        Err(error) => {
            lines.push(Line::error(error, "see hafiz help server"));
            0
        }
    };
    // Only directories that are no drives yet are written to, with a file that is removed again.
    let fresh: Vec<PathBuf> = settings.dirs.iter().filter(|dir| !is_drive(dir)).cloned().collect();
    let findings = rt::check::check(&fresh, locked_bytes);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if findings.is_empty() {
        lines.push(Line::ok(format!("kernel {}, io_uring, limits, huge pages", release.trim())));
    }
    lines.extend(findings.into_iter().map(|finding| match finding.severity {
        Severity::Warning => Line::warning(finding.what, finding.fix),
        Severity::Fatal => Line::error(finding.what, finding.fix),
    }));
    lines
}

fn is_drive(dir: &Path) -> bool {
    dir.join(IDENTITY_NAME).exists()
}

async fn drive_lines(dirs: Vec<PathBuf>) -> Vec<Line> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut lines = Vec::new();
    for dir in &dirs {
        lines.push(drive_line(dir, &mounts).await);
    }
    lines
}

async fn drive_line(dir: &Path, mounts: &str) -> Line {
    let name = dir.display();
    let place = machine::existing(dir);
    let file_system = file_system(&place, mounts).unwrap_or("unknown file system");
    let space = match rt::file::fs_space(&place).await {
        Ok(space) => space,
        Err(error) => return Line::error(format!("{name}: {error}"), "check the mount and the permissions"),
    };
    let room = format!("{file_system}, {} free of {}", show_bytes(space.free), show_bytes(space.total));
    let what = match identity(dir).await {
        Ok(None) if dir.is_dir() => format!("{name}: no drive yet, {room}"),
        Ok(None) => format!("{name}: does not exist yet, {room}"),
        Ok(Some(true)) => format!("{name}: a drive, direct I/O, {room}"),
        Ok(Some(false)) => {
            let fix = "use ext4 or XFS on a device of its own";
            return Line::warning(format!("{name}: a drive without direct I/O, {room}"), fix);
        }
        Err(error) => {
            let fix = "run as the server's user; if the device fails, replace it";
            return Line::error(format!("{name}: its identity cannot be read: {error}"), fix);
        }
    };
    if space.free / FREE_PERCENT_WARN < space.total / 100 {
        return Line::warning(what, "it is nearly full: delete objects or add room");
    }
    Line::ok(what)
}

/// Whether the directory has an identity that can be read, and whether by direct I/O.
async fn identity(dir: &Path) -> std::io::Result<Option<bool>> {
    const PAGE_BYTES: usize = rt::buf::ALIGN_BYTES;
    let path = dir.join(IDENTITY_NAME);
    if !rt::file::exists(&path).await? {
        return Ok(None);
    }
    let file = File::open(&path, OpenOptions::READ_DIRECT).await?;
    let (read, _) = file.read_at(rt::buf::alloc(PAGE_BYTES).await, PAGE_BYTES, 0).await;
    match read? {
        PAGE_BYTES => Ok(Some(file.is_direct())),
        _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The type of the file system that holds `place`: of the mounts that lead to it the longest, of two as long the later.
fn file_system<'m>(place: &Path, mounts: &'m str) -> Option<&'m str> {
    let mount = |line: &'m str| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        Some((point, after.split(' ').next()?))
    };
    let above = mounts.lines().filter_map(mount).filter(|(point, _)| place.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_names_the_file_system() {
        let mounts = "1 1 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /data rw shared:1 - xfs /dev/b rw\n";
        for (place, expect) in [("/data/d1", "xfs"), ("/database", "ext4"), ("/", "ext4")] {
            assert_eq!(file_system(Path::new(place), mounts), Some(expect), "{place}");
        }
    }

    #[test]
    fn a_directory_is_looked_at_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (fresh, drive) = (dir.path().join("fresh"), dir.path().join("drive"));
        std::fs::create_dir(&drive).unwrap();
        std::fs::write(drive.join(IDENTITY_NAME), [0; 100]).unwrap();
        let dirs = vec![fresh.clone(), drive];
        let lines = rt::run_alone(rt::Config::new(1), move || drive_lines(dirs)).unwrap();
        assert!(lines[0].what.contains("does not exist yet"), "{}", lines[0]);
        assert_eq!(lines[1].verdict, Verdict::Error, "{}", lines[1]);
        assert!(!fresh.exists());
    }
}

//! The admin endpoint's answers for people.

use std::fmt::Write;

use super::json::Json;

/// Digits of a drive's id.
pub(super) const ID_LEN: usize = 32;
/// Objects that are named of those that are lost.
const LOST_SHOWN: usize = 20;

pub(super) fn drives(reply: &Json) -> String {
    let mut rows = vec![
        ["DRIVE", "STATE", "SIZE", "FREE", "USED", "TARGET", "SLOTS", "LOST", "ERRORS", "HEALTH", "DIRECTORY"]
            .map(str::to_owned),
    ];
    for drive in reply.list("drives") {
        let size = |name| match drive.number(name) {
            0 => "-".to_owned(),
            bytes => bytes_of(bytes),
        };
        rows.push([
            drive.text("id").to_owned(),
            drive.text("state").to_owned(),
            size("total_bytes"),
            size("free_bytes"),
            size("used_bytes"),
            size("target_bytes"),
            drive.number("slots").to_string(),
            drive.number("slots_lost").to_string(),
            (drive.number("read_errors") + drive.number("write_errors")).to_string(),
            health(drive),
            drive.text("dir").to_owned(),
        ]);
    }
    table(&rows)
}

/// What the NVMe drives beneath a directory say of themselves, in a word, and what they warn of.
fn health(drive: &Json) -> String {
    let health = if drive.text("health").is_empty() { "-" } else { drive.text("health") };
    let devices = drive.list("smart");
    let mut details = Vec::new();
    for name in ["warnings", "notes"] {
        for detail in devices.iter().flat_map(|device| device.list(name)) {
            if let Json::Text(detail) = detail {
                details.push(detail.as_str());
            }
        }
    }
    if details.is_empty() { health.to_owned() } else { format!("{health}: {}", details.join(", ")) }
}

/// Columns as wide as their widest entry; the last one is not padded.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let pad = if column + 1 == N { 0 } else { width(column) + 2 };
            write!(text, "{cell:<pad$}").expect("a String takes every write");
        }
        text.push('\n');
    }
    text
}

pub(super) fn heal_line(reply: &Json) -> String {
    let left = match reply.number_if("seconds_left") {
        Some(seconds) => format!(", {seconds} s left"),
        None => String::new(),
    };
    let mut line = format!(
        "{} slots missing, {} to move, {} to go at {}/s{left}",
        reply.number("slots_missing"),
        reply.number("slots_to_drain"),
        bytes_of(reply.number("bytes_left")),
        bytes_of(reply.number("bytes_per_second")),
    );
    for (name, what) in [
        ("table_copies_short", "copies of index tables missing"),
        ("stripes_to_repair", "stripes with bad fragments to repair"),
        ("stripes_in_doubt", "stripes that cannot be read and may be needed"),
    ] {
        if reply.number(name) > 0 {
            write!(line, ", {} {what}", reply.number(name)).expect("a String takes every write");
        }
    }
    line
}

pub(super) fn rebalance_line(reply: &Json) -> String {
    let done = bytes_of(reply.number("rebalance_bytes_done"));
    if !reply.truth("rebalancing") {
        return format!("drives are as even as it goes; {done} were moved");
    }
    if reply.truth("rebalance_waits") {
        return "waits until nothing is missing".to_owned();
    }
    let left = match reply.number_if("rebalance_seconds_left") {
        Some(seconds) => format!(", {seconds} s left"),
        None => String::new(),
    };
    format!(
        "{done} moved, {} to go at {}/s{left}",
        bytes_of(reply.number("rebalance_bytes_left")),
        bytes_of(reply.number("rebalance_bytes_per_second")),
    )
}

/// Whether something is lost that no waiting brings back.
pub(super) fn is_lost(reply: &Json) -> bool {
    ["stripes_lost", "slots_hollow", "volumes_gone"].iter().any(|name| reply.number(name) > 0)
}

/// `now`: seconds since 1970.
pub(super) fn heal(reply: &Json, now: u64) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        writeln!(text, "{name:<22}{value}").expect("a String takes every write");
    };
    let number = |name| reply.number(name);
    let verdict = match (reply.truth("whole"), is_lost(reply)) {
        (true, _) => "whole: nothing is missing".to_owned(),
        (false, false) if number("drives_behind") > 0 => {
            format!("{} drives were behind and are verified; {}", number("drives_behind"), heal_line(reply))
        }
        (false, false) => heal_line(reply),
        (false, true) => format!(
            "lost: {} stripes cannot be read, {} slots lack something, {} volumes are gone: hafiz verify names the objects",
            number("stripes_lost"),
            number("slots_hollow"),
            number("volumes_gone")
        ),
    };
    line("state", verdict);
    line(
        "volumes",
        format!(
            "{}, {} short of a slot, {} slots missing",
            number("volumes_total"),
            number("volumes_short"),
            number("slots_missing")
        ),
    );
    line("waiting for a drive", format!("{} volumes", number("waiting_for_drive")));
    line(
        "index tables",
        format!(
            "{} copies, {} of them missing or bad ({})",
            number("table_copies"),
            number("table_copies_short"),
            bytes_of(number("table_bytes_short"))
        ),
    );
    line("fragments repaired", number("fragments_repaired").to_string());
    line("stripes checked", number("stripes_checked").to_string());
    let left = match reply.number_if("scrub_seconds_left") {
        Some(seconds) => format!(" at {}/s, {seconds} s left", bytes_of(number("scrub_bytes_per_second"))),
        None => String::new(),
    };
    let passed = bytes_of(number("scrub_bytes_done"));
    line("scrub", format!("{passed} of {} passed{left}", bytes_of(number("scrub_bytes_total"))));
    let last = match reply.number_if("scrub_last_full_round") {
        Some(ended) => {
            format!("{} full rounds, the last one {} s ago", number("scrub_rounds"), now.saturating_sub(ended))
        }
        None => "none was completed".to_owned(),
    };
    line("full scrub rounds", last);
    if reply.truth("rebalancing") {
        line("rebalance", rebalance_line(reply));
    }
    text
}

pub(super) fn verify_line(reply: &Json) -> String {
    format!("{} objects, {} read", reply.number("objects"), bytes_of(reply.number("bytes_read")))
}

pub(super) fn verify(reply: &Json) -> String {
    let mut text = String::new();
    let verdict = match (reply.truth("lossy"), reply.truth("whole")) {
        (true, _) => "something is lost",
        (false, false) => "everything can be read, something is short of fragments or copies",
        (false, true) => "everything is there, every fragment and every table is right",
    };
    let mut line = |name: &str, value: String| {
        writeln!(text, "{name:<22}{value}").expect("a String takes every write");
    };
    let number = |name| reply.number(name).to_string();
    line("verdict", verdict.to_owned());
    line("objects", format!("{} and {} parts of uploads", number("objects"), number("parts")));
    line("  short", number("objects_short"));
    line("  lost", number("objects_lost"));
    line("fragments", format!("{} good", number("fragments_good")));
    line("  bad", number("fragments_bad"));
    line("  missing", number("fragments_missing"));
    line("  on absent drives", number("fragments_absent"));
    line("copies of tables", format!("{} good", number("table_copies_good")));
    line("  bad", number("table_copies_bad"));
    line("  missing", number("table_copies_missing"));
    line("read", bytes_of(reply.number("bytes_read")));
    for (name, what) in [
        ("extents_unlisted", "extents that the index does not list as live"),
        ("partitions_damaged", "partitions that lack acknowledged commits"),
        ("partitions_without_tables", "partitions of whose tables no copy is right"),
    ] {
        if reply.number(name) > 0 {
            line("damage", format!("{} {what}", number(name)));
        }
    }
    let lost = reply.list("lost");
    for object in lost.iter().take(LOST_SHOWN) {
        let part = if object.truth("part") { " (a part of an upload)" } else { "" };
        line("lost", format!("{}/{}{part}", object.text("bucket"), object.text("key")));
    }
    if lost.len() > LOST_SHOWN {
        line("", format!("and {} more: --json", lost.len() - LOST_SHOWN));
    }
    text
}

/// With three digits, in powers of 1024.
fn bytes_of(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(value < 100.0) + usize::from(value < 10.0);
    format!("{value:.decimals$} {}", UNITS[unit])
}

pub(super) fn backup_line(reply: &Json) -> String {
    format!("{} of {} partitions", reply.number("partitions_done"), reply.number("partitions"))
}

/// `place`: where it is.
pub(super) fn backup(reply: &Json, place: &str) -> String {
    format!(
        "the metadata of {} partitions is in {place}: {} files, {} bytes, of start {}, epoch {}\n",
        reply.number("partitions"),
        reply.number("files"),
        reply.number("bytes"),
        reply.number("start"),
        reply.number("epoch")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_are_a_table_with_aligned_columns() {
        let reply = r#"{"drives":[{"id":"ab","dir":"/d0","state":"in","total_bytes":1099511627776,"free_bytes":5,
            "used_bytes":4,"target_bytes":null,"read_errors":1,"write_errors":2,"slots":3,"slots_lost":0,
            "health":"ok","smart":[{"warnings":[]}]},{"id":"abc","dir":"/d1","state":"missing"}]}"#;
        let text = drives(&Json::parse(reply).unwrap());
        assert_eq!(
            text,
            "DRIVE  STATE    SIZE      FREE  USED  TARGET  SLOTS  LOST  ERRORS  HEALTH  DIRECTORY\n\
             ab     in       1.00 TiB  5 B   4 B   -       3      0     3       ok      /d0\n\
             abc    missing  -         -     -     -       0      0     0       -       /d1\n"
        );
    }

    #[test]
    fn health_is_a_word_and_what_the_drives_warn_of() {
        let check = |reply: &str, expect: &str| assert_eq!(health(&Json::parse(reply).unwrap()), expect, "{reply}");
        check("{}", "-");
        check(r#"{"health":"none","smart":[]}"#, "none");
        check(r#"{"health":"forbidden","smart":[{"device":"nvme0","unread":"forbidden"}]}"#, "forbidden");
        check(r#"{"health":"ok","smart":[{"warnings":[],"notes":[]}]}"#, "ok");
        check(r#"{"health":"ok","smart":[{"warnings":[],"notes":["worn 103%"]}]}"#, "ok: worn 103%");
        check(
            r#"{"health":"failing","smart":[{"warnings":["spare low"],"notes":["media errors 7"]},
                {"warnings":["degraded","temperature"],"notes":[]}]}"#,
            "failing: spare low, degraded, temperature, media errors 7",
        );
    }

    #[test]
    fn what_is_lost_or_short_is_said_first() {
        let check = |reply: &str, expect: &str| {
            let text = heal(&Json::parse(reply).unwrap(), 1000);
            assert!(text.starts_with("state") && text.contains(expect), "{text}");
        };
        check(r#"{"whole":true,"table_copies":192}"#, "whole: nothing is missing\n");
        check(r#"{"whole":false,"slots_missing":3}"#, "3 slots missing, 0 to move, 0 B to go");
        check(
            r#"{"whole":false,"slots_hollow":2}"#,
            "lost: 0 stripes cannot be read, 2 slots lack something, 0 volumes",
        );
        check(
            r#"{"whole":false,"table_copies":192,"table_copies_short":1,"table_bytes_short":2048}"#,
            "192 copies, 1 of them missing or bad (2.00 KiB)",
        );
        check(r#"{"whole":false,"table_copies_short":1}"#, ", 1 copies of index tables missing\n");
        check(
            r#"{"whole":true,"scrub_rounds":2,"scrub_last_full_round":900}"#,
            "2 full rounds, the last one 100 s ago",
        );
        check(r#"{"whole":true}"#, "none was completed");
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, expect) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.50 KiB"), (10 << 20, "10.0 MiB"), (999 << 30, "999 GiB")]
        {
            assert_eq!(bytes_of(bytes), expect);
        }
    }
}

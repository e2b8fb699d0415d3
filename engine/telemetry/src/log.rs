//! The log: one line per event on stderr, `time LEVEL message key=value ...`, limited per call site.

use std::fmt::{Arguments, Display, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines one call site may write within one second; the rest is counted and reported with the next line.
pub const LINES_PER_SECOND_MAX: u32 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A human must look.
    Error = 1,
    /// We coped.
    Warn = 2,
    Info = 3,
    Debug = 4,
}

impl Level {
    /// Reads a configured name; `None` when it is none of error, warn, info, debug.
    pub fn parse(name: &str) -> Option<Level> {
        match name {
            "error" => Some(Level::Error),
            "warn" => Some(Level::Warn),
            "info" => Some(Level::Info),
            "debug" => Some(Level::Debug),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Level::Error => "ERROR",
            Level::Warn => "WARN ",
            Level::Info => "INFO ",
            Level::Debug => "DEBUG",
        }
    }
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Lines above this level are dropped before they are formatted. Starts as `Info`.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Relaxed);
}

pub fn enabled(level: Level) -> bool {
    level as u8 <= LEVEL.load(Relaxed)
}

/// One place in the code that logs. The macros make one static each.
pub struct CallSite {
    /// High 32 bits: the second the window began (unix, truncated); low 32 bits: lines asked for in it.
    window: AtomicU64,
}

impl CallSite {
    pub const fn new() -> CallSite {
        CallSite { window: AtomicU64::new(0) }
    }

    /// `Some(suppressed)` when a line may be written now, with the number of lines dropped before it.
    fn admit(&self, now_seconds: u32) -> Option<u32> {
        let mut suppressed = 0;
        let count = self
            .window
            .fetch_update(Relaxed, Relaxed, |window| {
                let (began, count) = ((window >> 32) as u32, window as u32);
                if began == now_seconds {
                    suppressed = 0;
                    Some(window & !0xFFFF_FFFF | u64::from(count.saturating_add(1)))
                } else {
                    suppressed = count.saturating_sub(LINES_PER_SECOND_MAX);
                    Some(u64::from(now_seconds) << 32 | 1)
                }
            })
            .map_or(
                1,
                |before| if (before >> 32) as u32 == now_seconds { (before as u32).saturating_add(1) } else { 1 },
            );
        (count <= LINES_PER_SECOND_MAX).then_some(suppressed)
    }
}

impl Default for CallSite {
    fn default() -> CallSite {
        CallSite::new()
    }
}

/// Writes one line if the call site may. Used through the macros.
pub fn write(site: &CallSite, level: Level, message: Arguments<'_>, fields: &[(&str, &dyn Display)]) {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let Some(suppressed) = site.admit(since_epoch.as_secs() as u32) else { return };
    let unix_ms = since_epoch.as_millis() as u64;
    let line = format_line(unix_ms, level, message, fields, suppressed);
    // Nobody is left to tell when stderr is gone.
    let _lost = std::io::stderr().write_all(line.as_bytes());
}

fn format_line(
    unix_ms: u64,
    level: Level,
    message: Arguments<'_>,
    fields: &[(&str, &dyn Display)],
    suppressed: u32,
) -> String {
    let mut line = format!("{} {} {message}", Rfc3339(unix_ms), level.name());
    for (key, value) in fields {
        let value = value.to_string();
        let plain = !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'=');
        let written = if plain { write!(line, " {key}={value}") } else { write!(line, " {key}={value:?}") };
        written.expect("a String takes every write");
    }
    if suppressed > 0 {
        write!(line, " suppressed={suppressed}").expect("a String takes every write");
    }
    // One event is one line, whatever a key or an error text holds.
    let mut line = line.replace('\n', "\\n");
    line.push('\n');
    line
}

/// Unix milliseconds shown as `2026-01-31T23:59:59.123Z`.
pub struct Rfc3339(pub u64);

impl Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, ms) = (self.0 / 1000, self.0 % 1000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Civil date from a day count, in years that begin in March so that the leap day comes last.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
    }
}

/// `log_at!(Level::Info, "text {x}"; key = value, ...)`. The message comes first, then fields after a semicolon.
#[macro_export]
macro_rules! log_at {
    ($level:expr, $format:literal $(, $arg:expr)* $(; $($key:ident = $value:expr),* $(,)?)?) => {{
        static SITE: $crate::log::CallSite = $crate::log::CallSite::new();
        if $crate::log::enabled($level) {
            $crate::log::write(&SITE, $level, format_args!($format $(, $arg)*), &[$($((stringify!($key), &$value)),*)?]);
        }
    }};
}

#[macro_export]
macro_rules! error { ($($t:tt)*) => { $crate::log_at!($crate::log::Level::Error, $($t)*) }; }
#[macro_export]
macro_rules! warn { ($($t:tt)*) => { $crate::log_at!($crate::log::Level::Warn, $($t)*) }; }
#[macro_export]
macro_rules! info { ($($t:tt)*) => { $crate::log_at!($crate::log::Level::Info, $($t)*) }; }
#[macro_export]
macro_rules! debug { ($($t:tt)*) => { $crate::log_at!($crate::log::Level::Debug, $($t)*) }; }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_quotes_what_is_not_plain() {
        let line = format_line(0, Level::Warn, format_args!("lost {}", 3), &[("a", &7), ("b", &"x y\n\"")], 2);
        assert_eq!(line, "1970-01-01T00:00:00.000Z WARN  lost 3 a=7 b=\"x y\\n\\\"\" suppressed=2\n");
    }

    #[test]
    fn time_is_shown_as_rfc3339() {
        for (unix_ms, text) in [
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
            (1_785_542_400_000, "2026-08-01T00:00:00.000Z"),
        ] {
            assert_eq!(Rfc3339(unix_ms).to_string(), text);
        }
    }

    #[test]
    fn a_call_site_is_cut_at_its_limit_and_tells_how_much_was_dropped() {
        let site = CallSite::new();
        let admitted = (0..50).filter(|_| site.admit(9).is_some()).count();
        assert_eq!(admitted, LINES_PER_SECOND_MAX as usize);
        assert_eq!(site.admit(10), Some(50 - LINES_PER_SECOND_MAX));
        assert_eq!(site.admit(10), Some(0));
    }

    #[test]
    fn macros_take_arguments_and_fields() {
        let volume = 3;
        crate::debug!("opened {volume}");
        crate::debug!("opened {}", volume; drive = 1, path = "a b");
        assert_eq!(Level::parse("warn"), Some(Level::Warn));
        assert_eq!(Level::parse("loud"), None);
    }
}

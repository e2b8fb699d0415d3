//! What a start says to whoever watches: what runs, what it survives, how to use it, what to mend.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use store::StartSummary;

use crate::credentials::{Credentials, Origin};
use crate::machine;
use crate::plan::Plan;
use crate::settings::value::show_bytes;

/// All that the banner tells.
pub(crate) struct Banner<'a> {
    pub(crate) summary: &'a StartSummary,
    pub(crate) plan: &'a Plan,
    pub(crate) credentials: &'a Credentials,
    pub(crate) endpoints: &'a [String],
    /// What to mend: each with its fix.
    pub(crate) warnings: &'a [String],
    /// Whether a person reads this: only then a new password is shown.
    pub(crate) is_terminal: bool,
}

impl Banner<'_> {
    pub(crate) fn render(&self) -> String {
        let mut text = format!("Hafiz {}\n", env!("CARGO_PKG_VERSION"));
        let mut line = |name: &str, value: &str| {
            writeln!(text, "  {name:<11} {value}").expect("a String takes every write");
        };
        let StartSummary { deployment, start, geometry, drives, drives_missing, .. } = self.summary;
        line("deployment", &format!("{deployment}, start {start}"));
        line("drives", &format!("{} of {drives} in use, geometry {geometry}", drives - drives_missing));
        line("survives", &survives(self.summary));
        let Plan { shards, memory_bytes, cache_bytes, .. } = self.plan;
        line(
            "machine",
            &format!(
                "{}, memory {}, of it cache {}",
                count(usize::from(*shards), "shard"),
                show_bytes(*memory_bytes),
                show_bytes(*cache_bytes)
            ),
        );
        if self.summary.entries_replayed > 0 {
            line("recovered", &format!("{} entries from the log", self.summary.entries_replayed));
        }
        for endpoint in self.endpoints {
            line("endpoint", endpoint);
        }
        match &self.credentials.origin {
            Origin::Given => line("root user", &self.credentials.user),
            Origin::Kept { file, .. } => {
                line("root user", &format!("{}, password in {}", self.credentials.user, file.display()));
            }
            Origin::Made { file } if self.is_terminal => {
                line("root user", &self.credentials.user);
                line("password", &format!("{} (shown once; kept in {})", self.credentials.password, file.display()));
            }
            Origin::Made { file } => {
                line("root user", &format!("{}, password made and kept in {}", self.credentials.user, file.display()));
            }
        }
        if let Some(endpoint) = self.endpoints.first() {
            line("try", &format!("{} aws --endpoint-url {endpoint} s3 mb s3://first", self.login()));
        }
        if self.summary.partitions_damaged > 0 {
            line(
                "damage",
                &format!(
                    "{} partitions are closed for writing: acknowledged commits cannot be read; bring the missing \
                     drives back and start again",
                    self.summary.partitions_damaged
                ),
            );
        }
        for warning in self.warnings {
            line("warning", warning);
        }
        text
    }

    /// How a client gets the credentials.
    fn login(&self) -> String {
        match &self.credentials.origin {
            Origin::Given => format!("AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY=...", self.credentials.user),
            Origin::Kept { file, .. } | Origin::Made { file } => {
                format!("AWS_SHARED_CREDENTIALS_FILE={}", quoted(file))
            }
        }
    }
}

/// `1 shard`, `2 shards`.
fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    if is_plain { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

/// What may still be lost without losing an object.
fn survives(summary: &StartSummary) -> String {
    let parity = usize::from(summary.geometry.parity);
    let now = match parity {
        0 => "nothing: an object is lost with its drive".to_owned(),
        1 => "the loss of any one drive".to_owned(),
        n => format!("the loss of any {n} drives"),
    };
    match summary.drives_missing {
        0 => now,
        missing => format!(
            "{now}, for what is written from now on; what was written to the missing drives too survives {} more",
            parity.saturating_sub(missing)
        ),
    }
}

/// URLs to reach a listener under, the simplest first.
pub(crate) fn endpoints(address: SocketAddr, is_tls: bool) -> Vec<String> {
    let scheme = if is_tls { "https" } else { "http" };
    let url = |ip: IpAddr| format!("{scheme}://{}", SocketAddr::new(ip, address.port()));
    if !address.ip().is_unspecified() {
        return vec![url(address.ip())];
    }
    let mut urls = vec![url(Ipv4Addr::LOCALHOST.into())];
    urls.extend(machine::outward_address().map(url));
    urls
}

/// Writes to standard output, at once.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // Serving does not depend on anybody listening to the banner.
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn summary() -> StartSummary {
        StartSummary {
            deployment: store::DeploymentId(0xd),
            start: 3,
            geometry: store::Geometry::new(4, 2).unwrap(),
            drives: 6,
            drives_missing: 0,
            entries_replayed: 0,
            partitions_damaged: 0,
        }
    }

    fn render(origin: Origin, is_terminal: bool) -> String {
        let summary = summary();
        let plan = Plan {
            shards: 2,
            pin: None,
            helpers: 2,
            memory_bytes: 1 << 30,
            cache_bytes: 256 << 20,
            buffers_bytes: 64 << 20,
        };
        Banner {
            summary: &summary,
            plan: &plan,
            credentials: &Credentials { user: "hafiz".to_owned(), password: "the-secret".to_owned(), origin },
            endpoints: &endpoints("127.0.0.1:9000".parse().unwrap(), false),
            warnings: &["a: mend it".to_owned()],
            is_terminal,
        }
        .render()
    }

    #[test]
    fn a_password_is_shown_once_and_only_to_a_terminal() {
        let file = PathBuf::from("/x y/k");
        let made = Origin::Made { file: file.clone() };
        assert!(render(made.clone(), true).contains("the-secret (shown once; kept in /x y/k)"));
        assert!(!render(made, false).contains("the-secret"));
        for origin in [Origin::Given, Origin::Kept { file, readable_by_others: false }] {
            assert!(!render(origin, true).contains("the-secret"));
        }
    }

    #[test]
    fn missing_drives_are_counted_against_what_older_objects_survive() {
        let text = survives(&StartSummary { drives_missing: 1, ..summary() });
        assert!(text.starts_with("the loss of any 2 drives, for what is written from now on"), "{text}");
        assert!(text.ends_with("survives 1 more"), "{text}");
    }

    #[test]
    fn the_banner_tells_what_runs_and_how_to_use_it() {
        let text = render(Origin::Kept { file: PathBuf::from("/x y/k"), readable_by_others: false }, true);
        for expect in [
            "drives      6 of 6 in use, geometry 4+2\n",
            "survives    the loss of any 2 drives\n",
            "try         AWS_SHARED_CREDENTIALS_FILE='/x y/k' aws --endpoint-url http://127.0.0.1:9000 s3 mb s3://first\n",
            "warning     a: mend it\n",
        ] {
            assert!(text.contains(expect), "{expect} in {text}");
        }
        assert_eq!(endpoints("[::]:9000".parse().unwrap(), true)[0], "https://127.0.0.1:9000");
    }
}

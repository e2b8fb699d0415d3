//! The one table of settings: name, default, meaning, and how its text becomes a value.

use std::path::PathBuf;

use super::Settings;
use super::value::{address, boolean, cores, duration, number, share, size};
use crate::braces;

/// What a setting is when nobody sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preset {
    /// As if this had been typed.
    Text(&'static str),
    /// Decided elsewhere; the words tell how.
    Later(&'static str),
}

/// How a setting's values are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One value. The word stands for it in help.
    One(&'static str),
    /// The flag alone means true.
    Switch,
    /// Several values: the flag repeated, separated by spaces in the environment, an array in the file.
    Many(&'static str),
}

/// Where a setting may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sources {
    /// Flag, environment and file.
    All,
    /// Not as a flag: every user of the machine can read the command line.
    Secret,
    /// Arguments without a name, environment and file.
    Arguments,
    /// Flag and environment: it says where the file is.
    NotFile,
}

pub(crate) struct Setting {
    /// Flag `--name`, key `name` in the file, variable `HAFIZ_NAME`.
    pub(crate) name: &'static str,
    pub(crate) section: &'static str,
    pub(crate) shape: Shape,
    pub(crate) sources: Sources,
    pub(crate) default: Preset,
    /// MinIO's variable for the same thing.
    pub(crate) minio: Option<&'static str>,
    pub(crate) doc: &'static str,
    pub(crate) set: fn(&mut Settings, &[String]) -> Result<(), String>,
}

impl Setting {
    pub(crate) fn variable(&self) -> String {
        format!("HAFIZ_{}", self.name.replace('-', "_").to_ascii_uppercase())
    }

    pub(crate) fn has_flag(&self) -> bool {
        matches!(self.sources, Sources::All | Sources::NotFile)
    }

    pub(crate) fn has_key(&self) -> bool {
        !matches!(self.sources, Sources::NotFile)
    }
}

/// The setting of that name.
pub(crate) fn find(name: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.name == name)
}

/// Headings in the order of the table.
pub(crate) const SECTIONS: [&str; 6] = ["Drives", "Network", "Identity", "Machine", "Limits", "Process"];

fn one(words: &[String]) -> Result<&str, String> {
    match words {
        [word] => Ok(word),
        _ => Err("one value is expected".to_owned()),
    }
}

fn path(words: &[String]) -> Result<Option<PathBuf>, String> {
    match one(words)? {
        "" => Err("a path is expected".to_owned()),
        path => Ok(Some(PathBuf::from(path))),
    }
}

fn file_size(words: &[String]) -> Result<Option<u64>, String> {
    const SLOT_BYTES_MIN: u64 = 1 << 20;
    let bytes = size(one(words)?)?;
    if bytes < SLOT_BYTES_MIN || bytes % 4096 != 0 {
        return Err("a multiple of 4KiB from 1MiB on is expected".to_owned());
    }
    Ok(Some(bytes))
}

/// A DNS name as it stands in a Host header.
fn domain(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        !label.is_empty() && label.len() <= 63 && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(is_label) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("{text:?} is not a domain name"))
    }
}

const ONE: Setting = Setting {
    name: "",
    section: "",
    shape: Shape::One("VALUE"),
    sources: Sources::All,
    default: Preset::Later("none"),
    minio: None,
    doc: "",
    set: |_, _| Ok(()),
};

pub(crate) const TABLE: &[Setting] = &[
    Setting {
        name: "dirs",
        section: "Drives",
        shape: Shape::Many("DIR"),
        sources: Sources::Arguments,
        minio: Some("MINIO_VOLUMES"),
        doc: "One directory for each drive, each on a device of its own; ranges as in /data{1..6} or /data{1...6} are \
              expanded. Directories that do not exist are made when a deployment is formed. Always name all drives of \
              the deployment, in any order, missing ones too.",
        set: |settings, words| {
            settings.dirs.clear();
            for word in words {
                settings.dirs.extend(braces::expand(word)?.into_iter().map(PathBuf::from));
            }
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "parity",
        section: "Drives",
        shape: Shape::One("N"),
        default: Preset::Later("by the number of drives: 0 for one, 1 for two and three, 2 for more"),
        doc: "How many drives may be lost without losing an object. Fixed when the deployment is formed.",
        set: |settings, words| {
            settings.parity = Some(number(one(words)?, 0, 8)? as u8);
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "accept-missing",
        section: "Drives",
        shape: Shape::Switch,
        default: Preset::Text("false"),
        doc: "Start although more drives are missing than a start may do without by itself. For once, when they are \
              gone for good: what was written without the drives that are here is lost.",
        set: |settings, words| {
            settings.accept_missing = boolean(one(words)?)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "suspect-after",
        section: "Drives",
        shape: Shape::One("DURATION"),
        default: Preset::Text("1s"),
        doc: "A drive that does not answer for so long, while others do, gets no new volumes until it answers again.",
        set: |settings, words| {
            settings.suspect_after = duration(one(words)?)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "inline-max",
        section: "Drives",
        shape: Shape::One("SIZE"),
        default: Preset::Text("32KiB"),
        doc: "Largest object that is kept in the log, together with its index entry: one write in all. Larger ones are \
              streamed into data volumes.",
        set: |settings, words| {
            const INLINE_MAX: u64 = 128 << 10;
            settings.inline_max = size(one(words)?)?;
            if settings.inline_max > INLINE_MAX { Err("at most 128KiB".to_owned()) } else { Ok(()) }
        },
        ..ONE
    },
    Setting {
        name: "log-slot",
        section: "Drives",
        shape: Shape::One("SIZE"),
        default: Preset::Later("by the room that is free"),
        doc: "Size of a log volume's file on each drive.",
        set: |settings, words| {
            settings.log_slot = file_size(words)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "data-slot",
        section: "Drives",
        shape: Shape::One("SIZE"),
        default: Preset::Later("by the room that is free"),
        doc: "Size of a data volume's file on each drive.",
        set: |settings, words| {
            settings.data_slot = file_size(words)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "partitions",
        section: "Drives",
        shape: Shape::One("N"),
        default: Preset::Text("64"),
        doc: "Slices of the key space, dealt out to the shards: the most shards that can share the work. Fixed when the \
              deployment is formed; what is set later is not heeded.",
        set: |settings, words| {
            settings.partitions = number(one(words)?, 1, 1024)? as u16;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "address",
        section: "Network",
        shape: Shape::One("ADDRESS"),
        default: Preset::Text(":9000"),
        doc: "Where to listen. Without a host: every interface, IPv6 and IPv4. Port 0 takes a free one and says which.",
        set: |settings, words| {
            settings.address = address(one(words)?)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "domains",
        section: "Network",
        shape: Shape::Many("NAME"),
        doc: "Domain names for virtual-host style requests: with s3.example.com, bucket.s3.example.com is that bucket. \
              Path style always works.",
        set: |settings, words| {
            settings.domains = words.iter().map(|word| domain(word)).collect::<Result<_, _>>()?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "region",
        section: "Network",
        shape: Shape::One("NAME"),
        default: Preset::Text("us-east-1"),
        doc: "The region that requests are signed for.",
        set: |settings, words| {
            let region = one(words)?;
            let fits = region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if !fits || !(1..=64).contains(&region.len()) {
                return Err(format!("{region:?} is not a region: lower-case letters, digits and '-'"));
            }
            settings.region = region.to_owned();
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "tls-dir",
        section: "Network",
        shape: Shape::One("DIR"),
        default: Preset::Later("no TLS"),
        doc: "Directory of PEM files: each NAME.crt (or NAME.pem) with its NAME.key. The client's wish decides which \
              certificate it gets, the first by name is for everyone else. Read again when they change.",
        set: |settings, words| {
            settings.tls_dir = path(words)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "tls-cert",
        section: "Network",
        shape: Shape::One("FILE"),
        doc: "One PEM certificate chain, leaf first, instead of tls-dir.",
        set: |settings, words| {
            settings.tls_cert = path(words)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "tls-key",
        section: "Network",
        shape: Shape::One("FILE"),
        doc: "The private key of tls-cert.",
        set: |settings, words| {
            settings.tls_key = path(words)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "root-user",
        section: "Identity",
        shape: Shape::One("NAME"),
        default: Preset::Later("made at the first start"),
        minio: Some("MINIO_ROOT_USER"),
        doc: "Access key of root, who may do everything. Together with root-password.",
        set: |settings, words| {
            settings.root_user = Some(one(words)?.to_owned());
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "root-password",
        section: "Identity",
        shape: Shape::One("SECRET"),
        sources: Sources::Secret,
        default: Preset::Later("made at the first start"),
        minio: Some("MINIO_ROOT_PASSWORD"),
        doc: "Secret key of root: 8 to 128 printable characters without spaces.",
        set: |settings, words| {
            settings.root_password = Some(one(words)?.to_owned());
            Ok(())
        },
    },
    Setting {
        name: "root-user-file",
        section: "Identity",
        shape: Shape::One("FILE"),
        minio: Some("MINIO_ROOT_USER_FILE"),
        doc: "File whose content is root-user.",
        set: |settings, words| {
            settings.root_user_file = path(words)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "root-password-file",
        section: "Identity",
        shape: Shape::One("FILE"),
        minio: Some("MINIO_ROOT_PASSWORD_FILE"),
        doc: "File whose content is root-password.",
        set: |settings, words| {
            settings.root_password_file = path(words)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "credentials-file",
        section: "Identity",
        shape: Shape::One("FILE"),
        default: Preset::Later("hafiz-DEPLOYMENT.credentials beside the first drive"),
        doc: "Where the root credentials that are made at the first start are kept, for the owner's eyes only, in the \
              form of ~/.aws/credentials. Not used when root-user and root-password are given.",
        set: |settings, words| {
            settings.credentials_file = path(words)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "metrics-token",
        section: "Identity",
        shape: Shape::One("SECRET"),
        sources: Sources::Secret,
        default: Preset::Later("/metrics is off"),
        doc: "Bearer token that /metrics asks for.",
        set: |settings, words| {
            settings.metrics_token = Some(one(words)?.to_owned());
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "metrics-token-file",
        section: "Identity",
        shape: Shape::One("FILE"),
        doc: "File whose content is metrics-token.",
        set: |settings, words| {
            settings.metrics_token_file = path(words)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "metrics-open",
        section: "Identity",
        shape: Shape::Switch,
        default: Preset::Text("false"),
        doc: "Show /metrics to everyone, without a token.",
        set: |settings, words| {
            settings.metrics_open = boolean(one(words)?)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "shards",
        section: "Machine",
        shape: Shape::One("N"),
        default: Preset::Later("one for each core, or for each core of pin"),
        doc: "Threads that serve requests, each with a ring, buffers and a listener of its own. May change between \
              starts; at most as many as partitions.",
        set: |settings, words| {
            settings.shards = Some(number(one(words)?, 1, 1024)? as u16);
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "pin",
        section: "Machine",
        shape: Shape::Many("CORES"),
        default: Preset::Later("the first cores the process may use"),
        doc: "The core of each shard: numbers and ranges, as in 2 4-7.",
        set: |settings, words| {
            settings.pin = cores(words)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "memory",
        section: "Machine",
        shape: Shape::One("SIZE"),
        default: Preset::Text("50%"),
        doc: "Budget for memtables, caches and batches of all shards together, or a share of the machine's (or the \
              container's) memory.",
        set: |settings, words| {
            settings.memory = share(one(words)?)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "cache",
        section: "Machine",
        shape: Shape::One("SIZE"),
        default: Preset::Text("25%"),
        doc: "Of memory, what the caches of hot objects may take, or a share of it. Direct I/O knows no page cache.",
        set: |settings, words| {
            settings.cache = share(one(words)?)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "buffers",
        section: "Machine",
        shape: Shape::One("SIZE"),
        default: Preset::Text("64MiB"),
        doc: "I/O buffers of each shard: huge pages, locked when the memlock limit allows. Bounds the bytes in flight; \
              more lets more large transfers run at once.",
        set: |settings, words| {
            const BUFFERS_MAX: u64 = 64 << 30;
            settings.buffers = size(one(words)?)?;
            let least = rt::buf::ARENA_BYTES_MIN as u64;
            if (least..=BUFFERS_MAX).contains(&settings.buffers) {
                Ok(())
            } else {
                Err(format!("from {least} bytes to 64GiB"))
            }
        },
        ..ONE
    },
    Setting {
        name: "helpers",
        section: "Machine",
        shape: Shape::One("N"),
        default: Preset::Later("one for two shards, 2 to 8"),
        doc: "Threads for what blocks: reads of index tables, names of files. As many again, which give way to the shards, write and merge tables.",
        set: |settings, words| {
            settings.helpers = Some(number(one(words)?, 1, 256)? as usize);
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "connections-max",
        section: "Limits",
        shape: Shape::One("N"),
        default: Preset::Text("1024"),
        doc: "Open connections of each shard; the next one gets 503.",
        set: |settings, words| {
            settings.connections_max = number(one(words)?, 1, 1_000_000)? as usize;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "requests-max",
        section: "Limits",
        shape: Shape::One("N"),
        default: Preset::Text("1024"),
        doc: "Requests under way on each shard; the next one is told to slow down.",
        set: |settings, words| {
            settings.requests_max = number(one(words)?, 1, 1_000_000)? as usize;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "header-timeout",
        section: "Limits",
        shape: Shape::One("DURATION"),
        default: Preset::Text("10s"),
        doc: "How long a request line and its headers may take.",
        set: |settings, words| {
            settings.header_timeout = duration(one(words)?)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "idle-timeout",
        section: "Limits",
        shape: Shape::One("DURATION"),
        default: Preset::Text("60s"),
        doc: "How long a connection may wait for its next request.",
        set: |settings, words| {
            settings.idle_timeout = duration(one(words)?)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "send-timeout",
        section: "Limits",
        shape: Shape::One("DURATION"),
        default: Preset::Text("60s"),
        doc: "How long a client may take nothing of a reply.",
        set: |settings, words| {
            settings.send_timeout = duration(one(words)?)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "body-window",
        section: "Limits",
        shape: Shape::One("DURATION"),
        default: Preset::Text("30s"),
        doc: "An upload is judged once per this much time spent waiting for it.",
        set: |settings, words| {
            settings.body_window = duration(one(words)?)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "body-rate-min",
        section: "Limits",
        shape: Shape::One("SIZE"),
        default: Preset::Text("1KiB"),
        doc: "An upload that brings fewer bytes per second over a body-window is cut off.",
        set: |settings, words| {
            settings.body_rate_min = size(one(words)?)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "stop-timeout",
        section: "Limits",
        shape: Shape::One("DURATION"),
        default: Preset::Text("10s"),
        doc: "How long requests in flight may go on after SIGTERM. A second signal ends the process at once.",
        set: |settings, words| {
            settings.stop_timeout = duration(one(words)?)?;
            Ok(())
        },
        ..ONE
    },
    Setting {
        name: "log-level",
        section: "Process",
        shape: Shape::One("LEVEL"),
        default: Preset::Text("info"),
        doc: "error, warn, info or debug. The log goes to standard error.",
        set: |settings, words| {
            let level = one(words)?;
            settings.log_level = telemetry::Level::parse(level);
            match settings.log_level {
                Some(_) => Ok(()),
                None => Err(format!("{level:?} is no level: error, warn, info or debug")),
            }
        },
        ..ONE
    },
    Setting {
        name: "config",
        section: "Process",
        shape: Shape::One("FILE"),
        sources: Sources::NotFile,
        doc: "TOML file of settings; its keys are the names on this page.",
        set: |settings, words| {
            settings.config = path(words)?;
            Ok(())
        },
        ..ONE
    },
];

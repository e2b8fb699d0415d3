//! What can be got out of drives from which no server starts any more: `hafiz recover`.
//!
//! Rests on one rule: every address is written once, so a block whose checksum is right is right. Objects are found in the
//! commit batches of the log volumes that are left and, for partitions of which any copy can be read, in the index tables;
//! identity and topology are used where they can be read and missed nowhere else.
//!
//! What was freed with a log volume cannot be known: a later change of a key, or its removal. So the newest version that is
//! found *may* have been deleted, and is said to be current only where nothing can be missing: all batches behind a copy
//! of the tables that counts are there, or all batches since the deployment was formed.
//!
//! Reads files only and writes nothing on any drive. Takes the drives' locks, so that no server runs meanwhile. Everything
//! here blocks. Memory: the entries of as many partitions at a time as `Options::memory_bytes` has room for, one at least;
//! 8 bytes for each batch and each extent.

mod body;
mod history;
mod log;
mod report;
mod run;
mod slots;
mod source;
mod tables;

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use types::{Attributes, BucketId, Etag, PartNumber, Timestamp, UploadId, VersionId};

use self::body::Place;
pub(crate) use self::log::Logs;
pub use self::log::StreamFound;
pub use self::report::{BucketFound, Count, Report};
pub use self::source::DriveFound;
pub(crate) use self::source::Source;
#[cfg(test)]
pub(crate) use self::source::lock;
pub(crate) use self::tables::Tables;
use crate::ids::{DeploymentId, Lsn, SlotOffset, VolumeId};
use crate::inspect;

/// Why nothing was salvaged.
#[derive(Debug)]
pub enum Refusal {
    /// A server has the drive.
    Locked(PathBuf),
    /// Nothing in the directories is of a deployment, or of the one that was chosen.
    NoDrives,
    /// The directories are of several deployments.
    Several(Vec<DeploymentId>),
    Io {
        path: PathBuf,
        error: io::Error,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Locked(dir) => write!(f, "{} is in use by a server: stop it first", dir.display()),
            Refusal::NoDrives => f.write_str("nothing of a deployment is left in these directories"),
            Refusal::Several(deployments) => {
                f.write_str("these directories are of several deployments, choose one with --deployment:")?;
                deployments.iter().try_for_each(|deployment| write!(f, " {deployment}"))
            }
            Refusal::Io { path, error } => write!(f, "read {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<inspect::Failure> for Refusal {
    fn from(failure: inspect::Failure) -> Refusal {
        match failure {
            inspect::Failure::Io { path, error } => Refusal::Io { path, error },
            other => Refusal::Io { path: PathBuf::new(), error: io::Error::other(other.to_string()) },
        }
    }
}

/// How to salvage.
#[derive(Clone, Debug)]
pub struct Options {
    /// For the entries that are held at a time.
    pub memory_bytes: u64,
    /// Also hand over what is known to have been deleted or replaced.
    pub deleted: bool,
    /// Hand over bodies that no record names.
    pub unnamed: bool,
    /// Which deployment, when the directories are of several.
    pub deployment: Option<DeploymentId>,
}

/// What is known of the fate of something that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is what a server would serve: nothing that could say otherwise is missing.
    Current,
    /// It is the newest that was found. It may have been replaced or deleted by a commit that is lost.
    PossiblyDeleted,
    /// A later version of its key was found.
    Superseded,
    /// A commit was found that deleted it, ended its upload, or deleted its bucket.
    Deleted,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Current => "current",
            Verdict::PossiblyDeleted => "possibly-deleted",
            Verdict::Superseded => "superseded",
            Verdict::Deleted => "deleted",
        }
    }

    fn is_live(self) -> bool {
        matches!(self, Verdict::Current | Verdict::PossiblyDeleted)
    }
}

/// What something that was found is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Object,
    /// Of an upload that was not completed, as far as is known.
    Part {
        upload: UploadId,
        number: PartNumber,
    },
    /// Consecutive stripes of a data volume that no record names, from this page on: one body, several, or a part of one;
    /// or what never became an object. Where one ends and the next begins is not known.
    Unnamed {
        volume: VolumeId,
        at: SlotOffset,
    },
}

/// Something that was found, and where its bytes are.
#[derive(Debug)]
pub struct Found {
    /// The same in every run: it names the commit or the place. Letters, digits, `-`.
    pub id: String,
    pub what: What,
    pub verdict: Verdict,
    pub bucket: Option<BucketId>,
    /// If a record of the bucket is left.
    pub bucket_name: Option<String>,
    pub key: Option<String>,
    pub version: VersionId,
    pub lsn: Lsn,
    pub modified: Option<Timestamp>,
    pub etag: Option<Etag>,
    pub attributes: Attributes,
    /// Parts it was put together from; 0 when it came in one.
    pub parts: usize,
    pub size: u64,
    /// What cannot be read: ascending, none next to another.
    pub missing: Vec<Range<u64>>,
    place: Place,
}

impl Found {
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }

    pub fn bytes_missing(&self) -> u64 {
        self.missing.iter().map(|range| range.end - range.start).sum()
    }
}

/// Drives that were looked at and are locked.
pub struct Salvage {
    source: Source,
    options: Options,
}

impl Salvage {
    /// Looks at the directories: identities, epochs, first pages of volumes.
    pub fn open(dirs: &[PathBuf], options: Options) -> Result<Salvage, Refusal> {
        Ok(Salvage { source: Source::open(dirs, options.deployment)?, options })
    }

    /// Finds everything, hands it over, and says what cannot be known. The same drives give the same in the same order.
    ///
    /// Errors: those of `each`, which end it. Cost: reads every log volume once and its entries again for each group of
    /// partitions that the memory holds; every body that is handed over, to know whether it is whole.
    pub fn run(&self, each: &mut dyn FnMut(&Found) -> io::Result<()>) -> Result<Report, RunError> {
        run::run(&self.source, &self.options, each)
    }

    /// Hands over the bytes of something that was found, in order and in pieces of a stripe at most; zeros where they
    /// cannot be read.
    pub fn read(&self, found: &Found, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        body::read(&self.source, &found.place, &mut |piece| sink(&piece.bytes))
    }

    pub fn deployment(&self) -> DeploymentId {
        self.source.deployment
    }
}

/// Why a run ended before its end.
#[derive(Debug)]
pub enum RunError {
    Source(Refusal),
    /// What was found could not be taken.
    Taker(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Source(refusal) => refusal.fmt(f),
            RunError::Taker(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

#[cfg(test)]
mod tests;

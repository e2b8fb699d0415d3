//! Why a node does not start or a drive is not admitted, and what to do about it. Nothing was changed on any drive.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::drive::{INDEX_NAME, TOPOLOGY_NAME, VOLUMES_NAME};
use crate::ids::{DeploymentId, DriveId};

/// What is left in a drive that lost its identity.
const LEFT_NAMES: [&str; 3] = [INDEX_NAME, TOPOLOGY_NAME, VOLUMES_NAME];

/// One variant for each refusal; the text says what to do.
#[derive(Debug)]
pub enum OpenError {
    /// No directory, too many, or one of them twice.
    Directories(String),
    /// A directory has files but no drive identity.
    NotEmpty { dir: PathBuf, entry: String },
    /// The drive belongs to another deployment, or is none of this one's.
    Foreign { dir: PathBuf, deployment: DeploymentId, expected: DeploymentId },
    /// Something on the drive was written by a later release.
    Newer { dir: PathBuf, what: &'static str, version: u16 },
    /// Two directories carry the same drive identity.
    Cloned { first: PathBuf, second: PathBuf },
    /// Another process has the drive.
    Locked { dir: PathBuf },
    /// The number of directories is not the number of drives.
    WrongNumber { have: usize, want: usize },
    /// More drives are missing than a start may go on without.
    TooManyMissing { missing: usize, members: usize, allowed: usize, dirs: Vec<PathBuf> },
    /// Two lines of epochs that may both have taken writes.
    Fork { first: Vec<PathBuf>, second: Vec<PathBuf> },
    /// The parity asked for is not possible, or not the deployment's.
    Parity { asked: u8, drives: usize, formed_with: Option<u8> },
    /// What identifies the drives cannot be read on any of them.
    Damaged { dir: PathBuf, what: &'static str },
    /// The deployment has been started 2^24 times.
    StartsUsedUp,
    /// The operating system refused.
    Io { path: PathBuf, doing: &'static str, error: io::Error },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Directories(what) => f.write_str(what),
            OpenError::NotEmpty { dir, entry } if LEFT_NAMES.contains(&entry.as_str()) => write!(
                f,
                "{} holds '{entry}' and no drive identity: if it is a drive that lost it, move it aside as it is and start \
                 with the same directories; when too few drives are left, 'hafiz recover' takes what is on all of them",
                dir.display()
            ),
            OpenError::NotEmpty { dir, entry } => {
                write!(f, "{} holds '{entry}' and is not a drive of this store; give an empty directory", dir.display())
            }
            OpenError::Foreign { dir, deployment, expected } if deployment == expected => write!(
                f,
                "{} carries the id of this deployment {expected}, which has no such drive; take it out of the list",
                dir.display()
            ),
            OpenError::Foreign { dir, deployment, expected } => write!(
                f,
                "{} belongs to deployment {deployment}, the others to {expected}; correct the list of directories",
                dir.display()
            ),
            OpenError::Newer { dir, what, version } => write!(
                f,
                "{}: {what} has format version {version}, written by a later release; start that release",
                dir.display()
            ),
            OpenError::Cloned { first, second } => write!(
                f,
                "{} and {} carry the same drive identity: one is a copy of the other; take the copy out of the list",
                first.display(),
                second.display()
            ),
            OpenError::Locked { dir } => {
                write!(f, "{} is in use by another process; stop that one first", dir.display())
            }
            OpenError::WrongNumber { have, want } => write!(
                f,
                "{have} directories were given, but this deployment has {want} drives; list all of them, \
                 missing ones too (a new drive enters with 'hafiz drive add' while the server runs)"
            ),
            OpenError::TooManyMissing { missing, members, allowed, dirs } => {
                write!(f, "{missing} of {members} drives are missing, and a start goes on by itself ")?;
                match allowed {
                    0 => f.write_str("only with all of them")?,
                    _ => write!(f, "without {allowed} at most")?,
                }
                f.write_str(" (nothing usable in")?;
                for dir in dirs {
                    write!(f, " {}", dir.display())?;
                }
                f.write_str(
                    "); bring them back, or start once with --accept-missing if they are gone for good: what was \
                     written without the drives that are here is lost then",
                )
            }
            OpenError::Fork { first, second } => {
                f.write_str("the drives have been running apart:")?;
                for dir in first {
                    write!(f, " {}", dir.display())?;
                }
                f.write_str(" on one side,")?;
                for dir in second {
                    write!(f, " {}", dir.display())?;
                }
                f.write_str(
                    " on the other, and both may hold newer objects; start with the drives of one side only, the \
                     other directories left empty or absent",
                )
            }
            OpenError::Parity { asked, drives, formed_with: None } => write!(
                f,
                "parity {asked} is not possible with {drives} drives: it is below the number of drives and 8 at most"
            ),
            OpenError::Parity { asked, formed_with: Some(formed_with), .. } => write!(
                f,
                "parity {asked} was asked for, but the deployment was formed with {formed_with}; leave the option out"
            ),
            OpenError::Damaged { dir, what } => {
                write!(
                    f,
                    "{}: {what} cannot be read, and no other drive has it; 'hafiz recover' takes what is left on the drives",
                    dir.display()
                )
            }
            OpenError::StartsUsedUp => f.write_str("this deployment has used all of its 16,777,215 starts"),
            OpenError::Io { path, doing, error } => write!(f, "{doing} {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Why a directory does not become a drive of a running node.
#[derive(Debug)]
pub enum AdmitError {
    /// What would keep a start from using it, too.
    Directory(OpenError),
    /// It is a drive of this node already, by this or another name.
    InUse { dir: PathBuf },
    /// A drive that was taken out: what it holds is not trusted.
    Returned { dir: PathBuf, drive: DriveId },
    /// It carries the identity of a drive that is in use elsewhere.
    Copy { dir: PathBuf, drive: DriveId },
    /// Its identity cannot be read.
    Damaged { dir: PathBuf },
    /// It does not answer, or did not take the new epoch.
    Fails { dir: PathBuf },
    /// The deployment has listed as many drives as it can, those that were taken out included.
    ListFull { drives: usize },
    /// Too few drives are left for any change.
    Unavailable,
}

impl fmt::Display for AdmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdmitError::Directory(error) => error.fmt(f),
            AdmitError::InUse { dir } => write!(f, "{} is a drive of this server already", dir.display()),
            AdmitError::Returned { dir, drive } => write!(
                f,
                "{} holds drive {drive}, which was taken out earlier; empty the directory to give it back as a new drive",
                dir.display()
            ),
            AdmitError::Copy { dir, drive } => write!(
                f,
                "{} carries the identity of drive {drive}, which is in use: it is a copy; give an empty directory",
                dir.display()
            ),
            AdmitError::Damaged { dir } => write!(
                f,
                "{} has a drive identity that cannot be read; if nothing on it is needed, empty the directory",
                dir.display()
            ),
            AdmitError::Fails { dir } => {
                write!(f, "{} does not answer as a drive must; see the log, and give another one", dir.display())
            }
            AdmitError::ListFull { drives } => {
                write!(f, "this deployment has listed {drives} drives, those that were taken out included: no more fit")
            }
            AdmitError::Unavailable => f.write_str("too few drives are left to change the set of drives"),
        }
    }
}

impl std::error::Error for AdmitError {}

impl From<OpenError> for AdmitError {
    fn from(error: OpenError) -> AdmitError {
        AdmitError::Directory(error)
    }
}

//! The object store: put, get, list, delete, multipart, volumes, index, recovery.
//!
//! Duty: keep what was acknowledged. Invariants: every address is written once; nothing is acknowledged before it is
//! durable; nothing is freed that is not proved dead; a reader sees durable entries only, in LSN order. Must never know:
//! HTTP, XML, headers, principals, policies.

mod backup;
mod bucket;
mod cache;
mod data;
mod drive;
mod drives;
mod error;
mod format;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod get;
mod heal;
mod ids;
mod index;
pub mod inspect;
mod list;
mod log;
mod multipart;
mod node;
mod object;
mod partition;
mod planted;
mod put;
mod read;
mod recovery;
pub mod salvage;
mod space;
mod store;
mod stripe;
mod topology;
mod usage;
mod verification;
mod version;
mod volume;

pub use backup::{
    Accepted, BackupFile, BackupState, MANIFEST_NAME, Outcome, PartitionRestored, RestoreOptions, RestoreRefusal,
    Restored, Taken, backup_files, restore, restore_mark,
};
pub use bucket::{Bucket, Derived};
pub use drives::{DriveState, DriveStatus};
pub use error::{Error, Result};
pub use format::backup::MANIFEST_BYTES_MAX;
pub use format::record::{PartEntry, Record};
pub use get::{Get, ReadError};
pub use heal::{BalanceStatus, Census, Draining, HealStatus, LostObject, heal_status, left_on, verify};
#[cfg(feature = "sim")]
pub use heal::{PlacedFragment, placed_fragments};
pub use ids::{DeploymentId, DriveId, Geometry, Lsn, PAGE_BYTES, PartitionId, SlotOffset, StartNumber, VolumeId};
pub use list::{List, ListVersions, Listed, ListedVersion, Page, Summary, VersionPage, VersionSummary, VersionsAfter};
pub use multipart::{CommitPart, Complete, ListedUpload, Part, Upload, UploadPage, Uploads};
pub use node::{AdmitError, Config, OpenError};
pub use object::{CommitPut, Delete, Receipt};
#[cfg(feature = "sim")]
pub use planted::{Bug, plant};
pub use put::{Put, PutBody, Tap};
#[cfg(feature = "sim")]
pub use space::audit;
#[cfg(feature = "sim")]
pub use store::forget_all;
pub use store::{StartError, Store, Summary as StartSummary, close, here, open};
pub use usage::Usage;
pub use verification::Verification;
pub use version::Deleted;

//! What each operation does. The only caller of the store.
//!
//! Duty: turn an authorised, typed request into calls of the store and a typed reply; pump bodies in and out; verify
//! every digest before anything becomes visible.
//!
//! Invariants:
//! - No operation can be called without an [`gate::Authorized`] request, which only the gate makes. What a browser
//!   asks before its request is none (`cors`).
//! - A body whose length, digest, signature or trailer is not as promised is never committed.
//! - What the store refuses becomes an S3 error in one place (`refusal`).
//!
//! Must never know: sockets, HTTP framing, drives, XML.

pub mod admin;
mod attributes;
mod body;
mod bucket;
mod circumstances;
mod complete;
mod configuration;
mod copy;
mod cors;
mod delete;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod gate;
mod get;
mod hashing;
mod list;
mod multipart;
mod object;
mod policy;
mod put;
mod refusal;
mod settings;
mod unset;

use std::rc::Rc;
use std::sync::Arc;

use rt::sync::{Permit, Semaphore};
use s3::reply::Owner;
use s3::{Code, Error};
use store::{Bucket, Store};
use types::BucketName;

pub use attributes::get_object_attributes;
pub use body::{Incoming, Source};
pub use bucket::{
    create_bucket, delete_bucket, get_bucket_location, get_bucket_versioning, head_bucket, list_buckets,
    put_bucket_versioning,
};
pub use complete::complete_multipart_upload;
pub use configuration::{delete_configuration, get_configuration, list_configurations, put_configuration};
pub use copy::{copy_object, upload_part_copy};
pub use cors::{allow_origin, preflight};
pub use delete::{delete_object, delete_objects};
pub use get::{Outgoing, Reading, get_object, head_object};
pub use list::{list_object_versions, list_objects, list_objects_v2};
pub use multipart::{abort_multipart_upload, create_multipart_upload, list_multipart_uploads, list_parts, upload_part};
pub use policy::{delete_bucket_policy, get_bucket_policy, get_bucket_policy_status, put_bucket_policy};
pub use put::put_object;
pub use unset::read_unset;

use cors::RulesRead;
use hashing::Lanes;

/// What all operations of one deployment share.
#[derive(Clone, Debug)]
pub struct Site {
    pub region: String,
    /// Everything belongs to it: there is one account.
    pub owner: Owner,
}

/// One shard's means to carry out operations. Cheap to clone; stays on its shard.
#[derive(Clone)]
pub struct Ops {
    store: Store,
    site: Rc<Site>,
    lanes: Rc<Lanes>,
    rules_read: Rc<RulesRead>,
    /// Of those that wait for buffers before their first byte; see `buffers_turn`.
    turns: Rc<Semaphore>,
}

/// Bodies above it may have to wait for buffers for long.
const LARGE_BYTES: u64 = 128 << 10;
/// Requests of one shard that may wait for buffers at the same time, when nothing else is set.
const BUFFER_WAITERS_MAX: usize = 512;

impl Ops {
    /// To be called on the shard that uses it.
    pub fn new(store: Store, site: Site) -> Ops {
        Ops {
            store,
            site: Rc::new(site),
            lanes: Rc::default(),
            rules_read: Rc::default(),
            turns: Semaphore::new(BUFFER_WAITERS_MAX),
        }
    }

    /// At most `count` large bodies wait for buffers at the same time; the next one is told to slow down. Fewer than are
    /// admitted, so that large bodies which wait for room keep no small request out.
    pub fn with_buffer_waiters_max(self, count: usize) -> Ops {
        Ops { turns: Semaphore::new(count.max(1)), ..self }
    }

    /// Leave to wait for the buffers of a body of `len` bytes, to be dropped when they are there. Small ones need none.
    fn buffers_turn(&self, len: u64) -> Result<Option<Permit>, Error> {
        if len <= LARGE_BYTES {
            return Ok(None);
        }
        self.turns.try_acquire(1).map(Some).ok_or_else(|| Error::new(Code::SlowDown))
    }

    /// The bucket of this name, for the gate.
    pub fn bucket(&self, name: &BucketName) -> Option<Arc<Bucket>> {
        self.store.bucket(name)
    }

    pub fn site(&self) -> &Site {
        &self.site
    }
}

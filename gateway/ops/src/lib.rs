//! What each operation does. The only caller of the store.
//!
//! Duty: turn an authorised, typed request into calls of the store and a typed reply; pump bodies in and out; verify
//! every digest before anything becomes visible.
//!
//! Invariants:
//! - No operation can be called without an [`gate::Authorized`] request, which only the gate makes.
//! - A body whose length, digest, signature or trailer is not as promised is never committed.
//! - What the store refuses becomes an S3 error in one place (`refusal`).
//!
//! Must never know: sockets, HTTP framing, drives, XML.

pub mod admin;
mod attributes;
mod body;
mod bucket;
mod complete;
mod copy;
mod delete;
pub mod gate;
mod get;
mod list;
mod md5;
mod multipart;
mod object;
mod put;
mod refusal;
mod settings;
mod unset;

use std::rc::Rc;

use s3::reply::Owner;
use store::Store;

pub use attributes::get_object_attributes;
pub use body::{Incoming, Source};
pub use bucket::{create_bucket, delete_bucket, get_bucket_location, head_bucket, list_buckets};
pub use complete::complete_multipart_upload;
pub use copy::{copy_object, upload_part_copy};
pub use delete::{delete_object, delete_objects};
pub use get::{Outgoing, Reading, get_object, head_object};
pub use list::{list_object_versions, list_objects, list_objects_v2};
pub use multipart::{abort_multipart_upload, create_multipart_upload, list_multipart_uploads, list_parts, upload_part};
pub use put::put_object;
pub use unset::read_unset;

use md5::Lanes;

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
}

impl Ops {
    /// To be called on the shard that uses it.
    pub fn new(store: Store, site: Site) -> Ops {
        Ops { store, site: Rc::new(site), lanes: Rc::default() }
    }

    pub fn site(&self) -> &Site {
        &self.site
    }
}

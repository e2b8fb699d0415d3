//! Reads of configurations that are not set.

use s3::Error;
use s3::reply::{Reply, render_unset};
use s3::request::ReadUnset;

use crate::Ops;
use crate::bucket::bucket;
use crate::gate::Authorized;
use crate::object::find;

/// Answers as for a bucket that never had the configuration; the bucket, and the object asked about, must be there.
pub async fn read_unset(ops: &Ops, request: &Authorized<ReadUnset>) -> Result<Reply, Error> {
    let bucket = bucket(ops, &request.bucket)?;
    if let Some(key) = &request.key {
        find(ops, &bucket, key, request.version).await?;
    }
    render_unset(request, &ops.site.owner)
}

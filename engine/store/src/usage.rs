//! What a bucket holds, counted in the commit: exact and current.

use types::BucketId;

use crate::error::Result;
use crate::index::keys;
use crate::partition::View;
use crate::store::Store;

/// Objects, bytes and versions of one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Keys with a current object.
    pub objects: u64,
    /// Sum of the sizes of all versions.
    pub bytes: u64,
    /// Versions beside the current ones, delete markers included.
    pub versions: u64,
}

impl Store {
    /// What `bucket` holds. Cost: one message to each owner of the bucket's partitions, no I/O.
    pub async fn usage(&self, bucket: BucketId) -> Result<Usage> {
        let mut sum = Usage::default();
        for partition in keys::partitions_of(bucket, self.partition_count()) {
            let counted = self.at_owner(partition, move |store| async move {
                Ok(store.partition(partition)?.usage(bucket, View::Durable))
            });
            let counted = counted.await?;
            // A partition's counters never go below zero: each delta rests on the record that it replaces.
            sum.objects += u64::try_from(counted.objects).expect("objects are counted exactly");
            sum.bytes += u64::try_from(counted.bytes).expect("bytes are counted exactly");
            sum.versions += u64::try_from(counted.versions).expect("versions are counted exactly");
        }
        Ok(sum)
    }
}

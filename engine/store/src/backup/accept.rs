//! Takes the mark of an incomplete restore away: from then on what the tables do not name is dead.
//!
//! Every partition is counted anew from its records, and what was counted is in the tables of all its copies, before the first
//! drive loses the mark. A start spreads the mark from any drive that has it: so until the last one has lost it every start is
//! read-only, and this can be run again. Drives that are not here are out since the start, and what they have never counts.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use types::{BucketId, BucketName, Timestamp, Versioning};

use crate::drive::RESTORED_NAME;
use crate::format::backup::Mark;
use crate::format::record::{BucketRecord, BucketState};
use crate::ids::PartitionId;
use crate::index::keys;
use crate::space::recount::{EXTENTS_MAX, Recounted, recount};
use crate::store::{ShardStore, Store};

/// What was counted, and what had to be put right for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    pub partitions: u16,
    pub objects: u64,
    pub bytes: u64,
    /// Objects, and parts of uploads, of which a volume is gone or lies on too few drives, and their bytes. Others may lack
    /// bytes as well, in volumes that are there: a verification finds all.
    pub short: u64,
    pub bytes_short: u64,
    /// Buckets that have objects or uploads and of which no record was left: they have the name `recovered-` and their id now.
    pub buckets_named: u64,
    /// Parts of uploads of which nothing is known any more.
    pub parts_dropped: u64,
    /// Extents that tables listed and no object has, and their bytes. What no table lists is not counted here.
    pub extents_dropped: u64,
    pub bytes_dropped: u64,
}

/// When the backup was begun, and when it was restored, if that was incomplete and the drive has the mark of it.
///
/// Errors: a mark that cannot be read. It counts all the same.
pub fn restore_mark(dir: &Path) -> io::Result<Option<(Timestamp, Timestamp)>> {
    let path = dir.join(RESTORED_NAME);
    let named = |what: String| io::Error::new(ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    match fs::read(&path) {
        Ok(bytes) => {
            let mark = Mark::decode(&bytes).map_err(|why| named(why.to_string()))?;
            Ok(Some((mark.created, mark.restored)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(error.to_string())),
    }
}

impl Accepted {
    fn add(&mut self, counted: &Recounted) {
        self.partitions += 1;
        self.objects += counted.objects;
        self.bytes += counted.bytes;
        self.short += counted.short;
        self.bytes_short += counted.bytes_short;
        self.parts_dropped += counted.parts_dropped;
        self.extents_dropped += counted.extents_dropped;
        self.bytes_dropped += counted.bytes_dropped;
    }
}

impl Store {
    /// Accepts what was restored as all there is. In a store that was opened on marked drives, of which nobody asks anything
    /// meanwhile; to be closed afterwards. The next start takes commits again, and frees what nothing names.
    ///
    /// Errors: one line. Then the mark is there, on one drive at least, and this can be tried again.
    pub async fn accept_restored(&self) -> Result<Accepted, String> {
        self.accept_until(usize::MAX).await
    }

    /// Ends with an error before the step of this number, as a crash would: partitions, buckets without names, which copies
    /// count, the mark drive by drive.
    pub(super) async fn accept_until(&self, steps_max: usize) -> Result<Accepted, String> {
        let node = self.shard().node().clone();
        if !node.is_restored() {
            return Err("no drive has the mark of an incomplete restore: there is nothing to accept".to_owned());
        }
        let mut steps = 0;
        let mut step = || {
            steps += 1;
            if steps > steps_max { Err("it ends here".to_owned()) } else { Ok(()) }
        };
        let partitions = || (0..node.config.partitions).map(PartitionId);
        let mut accepted = Accepted::default();
        let mut found = Found::default();
        for id in partitions() {
            step()?;
            let counted = self.shard().at_owner(id, move |store| async move {
                let partition = store.partition(id)?;
                Ok(recount(&partition, store.node(), EXTENTS_MAX).await)
            });
            let counted = of_partition(id, counted.await)?;
            found.objects_in.extend(counted.objects_in());
            found.versions_in.extend(counted.versions_in());
            found.uploads_in.extend(counted.uploads_in.iter().copied());
            accepted.add(&counted);
        }
        step()?;
        let named = self
            .shard()
            .at_owner(PartitionId::BUCKETS, move |store| async move { Ok(name_buckets(&store, &found).await) });
        accepted.buckets_named = of_partition(PartitionId::BUCKETS, named.await)?;
        let mut copies = Vec::new();
        for id in partitions() {
            let whole = self.shard().at_owner(id, move |store| async move {
                let partition = store.partition(id)?;
                let is_there = partition.ckpt().position.is_some() && partition.is_flushed();
                Ok(if is_there { Ok(store.whole_copies(&partition)) } else { Err("it is not flushed".to_owned()) })
            });
            let whole = of_partition(id, whole.await)?;
            if whole.1.is_empty() {
                return Err(format!("partition {}: no copy of its tables is whole", id.0));
            }
            copies.push(whole);
        }
        step()?;
        // A copy that could not be written has what was counted wrong: it counts no more.
        node.set_in_sync(copies).await.map_err(|error| error.to_string())?;
        for drive in node.marked_drives() {
            step()?;
            node.unmark(&drive).await.map_err(|error| format!("{}: {error}", drive.dir.display()))?;
        }
        Ok(accepted)
    }
}

fn of_partition<R>(id: PartitionId, outcome: crate::Result<Result<R, String>>) -> Result<R, String> {
    let outcome = outcome.unwrap_or_else(|error| Err(error.to_string()));
    outcome.map_err(|what| format!("partition {}: {what}", id.0))
}

/// Which buckets something was found of.
#[derive(Default)]
struct Found {
    objects_in: BTreeSet<BucketId>,
    /// Those that have versions beside the current ones.
    versions_in: BTreeSet<BucketId>,
    uploads_in: BTreeSet<BucketId>,
}

/// Gives buckets a name of which the record is lost, so that what is in them can be read and deleted; how many. A bucket that
/// is known to be deleted gets one if objects in it are back; its uploads alone go by themselves. At the owner of the buckets.
async fn name_buckets(store: &ShardStore, found: &Found) -> Result<u64, String> {
    let records = store.bucket_records().await.map_err(|error| error.to_string())?;
    let partition = store.partition(PartitionId::BUCKETS).map_err(|error| error.to_string())?;
    let ids = |state: fn(BucketState) -> bool| -> BTreeSet<BucketId> {
        records.iter().filter(|record| state(record.state)).map(|record| record.id).collect()
    };
    let (named, dead) = (ids(|state| state != BucketState::Dead), ids(|state| state == BucketState::Dead));
    let mut taken: BTreeSet<BucketName> =
        records.iter().filter(|record| record.state != BucketState::Dead).map(|record| record.name.clone()).collect();
    // The record may be of a time before versions were turned on.
    let is_older =
        |record: &&BucketRecord| record.versioning == Versioning::Unversioned && found.versions_in.contains(&record.id);
    for record in records.iter().filter(|record| record.state != BucketState::Dead).filter(is_older) {
        let record = BucketRecord { versioning: Versioning::Suspended, ..record.clone() };
        partition.correct(keys::bucket(record.name.as_str()), Some(record.encode()));
    }
    let nameless: BTreeSet<BucketId> = found
        .objects_in
        .iter()
        .chain(found.uploads_in.difference(&dead))
        .filter(|id| !named.contains(id))
        .copied()
        .collect();
    for &id in &nameless {
        let first = format!("recovered-{:016x}", id.0);
        let others = (1..).map(|n: u32| format!("{first}-{n}"));
        let names = std::iter::once(first.clone()).chain(others);
        let mut free = names.map(|name| BucketName::parse(&name).expect("lower-case letters, digits and dashes"));
        let name = free.find(|name| !taken.contains(name)).expect("there are fewer buckets than numbers");
        taken.insert(name.clone());
        let record = BucketRecord {
            id,
            name,
            created: Timestamp(rt::time::wall_clock()),
            lsn: partition.durable_lsn(),
            state: BucketState::Live,
            // Whether it was enabled is lost. Suspended, nothing is deleted that somebody relied on, and nothing grows.
            versioning: match found.versions_in.contains(&id) {
                true => Versioning::Suspended,
                false => Versioning::Unversioned,
            },
            settings: Vec::new(),
        };
        partition.correct(keys::bucket(record.name.as_str()), Some(record.encode()));
    }
    partition.flush().await.map_err(|error| error.to_string())?;
    Ok(nameless.len() as u64)
}

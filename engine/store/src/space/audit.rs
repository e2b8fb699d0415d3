//! For the simulation: whether what is counted is what is there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use rt::ShardId;
use types::BucketId;

use crate::error::Result;
use crate::format::record::{Body, PartRecord, Record};
use crate::ids::{SlotOffset, VolumeId};
use crate::index::keys;
use crate::list::scan_up_to;
use crate::object::BAD_RECORD;
use crate::partition::{Live, Partition, Usage, View};
use crate::store::ShardStore;

/// Attempts at a walk during which nothing is committed.
const ATTEMPTS: usize = 100;

/// What the entries of a partition name.
#[derive(Default)]
struct Named {
    live: BTreeMap<VolumeId, Live>,
    extents: HashSet<(VolumeId, SlotOffset)>,
    usage: BTreeMap<BucketId, Usage>,
    twice: Option<String>,
}

impl Named {
    fn add(&mut self, body: &Body) {
        match body {
            Body::Empty => {}
            Body::Small { address, .. } => {
                *self.live.entry(address.volume).or_default() += Live::one(i64::from(address.len));
            }
            Body::Extents(extents) => {
                for extent in extents {
                    *self.live.entry(extent.volume).or_default() += Live::one(extent.len as i64);
                    if !self.extents.insert((extent.volume, extent.at)) {
                        self.twice = Some(format!("{} at {} has two records", extent.volume, extent.at.0));
                    }
                }
            }
            Body::Pieces(pieces) => pieces.iter().for_each(|piece| self.add(piece)),
        }
    }
}

/// Walks the whole index of every shard and compares: live bytes of every volume, usage of every bucket, the entry of
/// every extent. Every volume that is named is known.
pub async fn audit() -> std::result::Result<(), String> {
    for shard in 0..rt::shard_count() {
        rt::call(ShardId(shard), || async {
            let store = crate::store::local();
            for partition in store.partitions().all() {
                audit_partition(&store, &partition)
                    .await
                    .map_err(|what| format!("partition {}: {what}", partition.id().0))?;
            }
            Ok::<(), String>(())
        })
        .await?;
    }
    Ok(())
}

async fn audit_partition(store: &Rc<ShardStore>, partition: &Partition) -> std::result::Result<(), String> {
    for _ in 0..ATTEMPTS {
        let lsn = partition.durable_lsn();
        let named = named(partition).await.map_err(|error| error.to_string())?;
        let entries = extent_entries(partition).await.map_err(|error| error.to_string())?;
        if partition.durable_lsn() != lsn {
            continue;
        }
        if let Some(what) = named.twice {
            return Err(what);
        }
        let counted: BTreeMap<_, _> = partition.all_live().into_iter().collect();
        if counted != named.live {
            return Err(format!("live bytes: counted {counted:?}, there are {:?}", named.live));
        }
        for (bucket, usage) in &named.usage {
            let counted = partition.usage(*bucket, View::Durable);
            if counted != *usage {
                return Err(format!("usage of {bucket:?}: counted {counted:?}, there is {usage:?}"));
            }
        }
        if entries != named.extents {
            return Err(format!("extents: entries {entries:?}, records {:?}", named.extents));
        }
        for volume in named.live.keys() {
            store.node().volume(*volume).await.map_err(|_| format!("volume {volume} is gone and has live bytes"))?;
        }
        return Ok(());
    }
    Err("something is committed all the time".into())
}

async fn named(partition: &Partition) -> Result<Named> {
    let mut named = Named::default();
    let all = usize::MAX >> 1;
    let mut ended: HashMap<Vec<u8>, HashSet<u16>> = HashMap::new();
    let (from, to) = keys::ended_uploads();
    for (key, note) in scan_up_to(partition, from, &to, all).await? {
        let upload = keys::parse_ended_upload(&key).ok_or(BAD_RECORD)?;
        let taken = note.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        ended.insert(keys::upload(upload.bucket, &upload.key, upload.upload), taken);
    }
    let mut uploads: HashSet<Vec<u8>> = HashSet::new();
    for (from, to) in keys::spaces_with_bodies() {
        for (key, value) in scan_up_to(partition, from, &to, all).await? {
            let Some(parsed) = keys::parse_upload(&key) else {
                let owner = keys::owner_of(&key).ok_or(BAD_RECORD)?;
                let (bucket, _) = keys::parse_current(&owner).ok_or(BAD_RECORD)?;
                let record = Record::decode(&value).map_err(|_| BAD_RECORD)?;
                let usage = Usage::of(record.size(), !keys::is_version(&key));
                let sum = named.usage.entry(bucket).or_default();
                *sum = *sum + usage;
                named.add(&record.body);
                continue;
            };
            let Some(number) = parsed.part else {
                uploads.insert(key.to_vec());
                continue;
            };
            let part = PartRecord::decode(&value).map_err(|_| BAD_RECORD)?;
            let upload = keys::upload(parsed.bucket, &parsed.key, parsed.upload);
            match ended.get(&upload) {
                // The object has it.
                Some(taken) if taken.contains(&number.value()) => {}
                Some(_) => named.add(&part.body),
                None if uploads.contains(&upload) => named.add(&part.body),
                None => named.twice = Some(format!("a part without an upload: {upload:?}")),
            }
        }
    }
    Ok(named)
}

async fn extent_entries(partition: &Partition) -> Result<HashSet<(VolumeId, SlotOffset)>> {
    let (from, to) = keys::all_extents();
    let rows = scan_up_to(partition, from, &to, usize::MAX >> 1).await?;
    rows.iter().map(|(key, _)| keys::parse_place(key).ok_or(BAD_RECORD)).collect()
}

//! Log compaction: small bodies that outlived their neighbours are committed again, so that their old volume can go.
//!
//! A volume is judged by the room that its bodies take when they are committed side by side: what compaction has packed is
//! not sparse again, however small the bodies are. So many move at a time that they share batches.
//!
//! Several sparse volumes are taken at once, for one walk over the index finds the bodies of all of them. A body is read,
//! then moves by a commit of its own, decided at the key's owner under the key's lock: the newest entry must still have the
//! address. What moves keeps its version, etag and time. The parts of an upload are decided under the upload's lock, and
//! stay where they are once it has ended: an object may have taken them.

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

use rt::ShardId;

use super::reserve;
use super::volumes::{self, Census};
use crate::error::{Error, Result};
use crate::format::batch::Address;
use crate::format::record::{Body, PartRecord, Record};
use crate::get::ReadError;
use crate::ids::VolumeId;
use crate::index::keys;
use crate::list::scan_up_to;
use crate::log::SmallBody;
use crate::object::BAD_RECORD;
use crate::partition::{Change, Live, Partition, View};
use crate::planted::{self, Bug};
use crate::put::PutBody;
use crate::store::{ShardStore, on_shard};
use crate::volume::{Class, Volume};

/// A sealed log volume whose bodies, packed, take less than this share of its room is compacted, in percent.
const SPARSE_PERCENT: u64 = 40;
/// The same while the drives are full: then room is worth more than writes.
const SPARSE_PERCENT_FULL: u64 = 90;
/// Room that an entry takes in a batch beside its body: 56 bytes of the entry, 16 of the body that it replaces, key and
/// record. Generous.
const ENTRY_BYTES: u64 = 288;
/// What batches lose to headers and to the ends of pages, in percent of what is in them.
const BATCH_LOSS_PERCENT: u64 = 25;
/// Bodies that one shard moves at a time: they wait for memory before requests do.
const MOVES_MAX: usize = 64;
/// Volumes compacted in one round.
const VICTIMS_MAX: usize = 64;
/// A walk over the index is not begun for less than this share of a volume's room, in percent of one volume.
const GAIN_MIN_PERCENT: u64 = 100;
/// Entries looked at between two turns of other tasks.
const WALK_CHUNK: usize = 512;

static MOVED_BYTES: telemetry::Counter =
    telemetry::Counter::new("hafiz_compacted_bytes_total", "Bytes of small bodies that were committed again.");

/// Compacts the sparsest log volumes, if that frees at least one volume's room. On full drives as many as the reserve has
/// room for: what was begun is finished, and frees more than it takes.
pub(super) async fn compact_log_volumes(store: &Rc<ShardStore>) -> Result<()> {
    let full = store.node().is_full();
    let census = Census::take().await?;
    let mut sparse: Vec<Sparse> = Vec::new();
    for volume in store.node().volumes().iter().filter(|volume| volume.class == Class::Log) {
        let (live, room) = (census.live(volume.id), room(volume));
        // A volume without live bytes goes as a whole; one that a recovery would read is not done yet.
        if live.bytes > 0 && is_sparse(live, room, full) && census.is_covered(volume.id) {
            sparse.push(Sparse { packed: packed_bytes(live), room, volume: volume.id });
        }
    }
    sparse.sort_unstable_by_key(|sparse| (sparse.packed, sparse.volume));
    sparse.truncate(VICTIMS_MAX);
    if full {
        let budget = room_for_compaction(store).await?;
        let mut needed = 0;
        sparse.retain(|sparse| {
            needed += sparse.packed * (100 + BATCH_LOSS_PERCENT) / 100;
            needed <= budget
        });
    }
    let gain: u64 = sparse.iter().map(|sparse| sparse.room - sparse.packed).sum();
    let one = sparse.first().map_or(0, |sparse| sparse.room);
    if sparse.is_empty() || (!full && gain * 100 < one * GAIN_MIN_PERCENT) {
        return Ok(());
    }
    let victims: HashSet<VolumeId> = sparse.into_iter().map(|sparse| sparse.volume).collect();
    for shard in 0..rt::shard_count() {
        let victims = victims.clone();
        let compact = on_shard(ShardId(shard), move |store| async move { compact_shard(&store, victims).await });
        let (mut compacting, mut freed) = (rt::spawn(compact), Ok(()));
        // It may take minutes where requests leave little: what is dead meanwhile goes meanwhile.
        loop {
            match rt::time::timeout(super::pause(store), &mut compacting).await {
                Ok(outcome) => break outcome.and(freed)?,
                Err(rt::time::Elapsed) => freed = volumes::free_dead_volumes(store).await.and(freed),
            }
        }
    }
    Ok(())
}

struct Sparse {
    /// Bytes of batches that its bodies take when they move.
    packed: u64,
    room: u64,
    volume: VolumeId,
}

fn is_sparse(live: Live, room: u64, full: bool) -> bool {
    let sparse_percent = if full { SPARSE_PERCENT_FULL } else { SPARSE_PERCENT };
    packed_bytes(live) * 100 < room * sparse_percent
}

/// Bytes of batches that bodies take when they are committed side by side.
fn packed_bytes(live: Live) -> u64 {
    live.bytes.max(0) as u64 + live.bodies.max(0) as u64 * ENTRY_BYTES
}

/// Bytes of batches that compaction may write on full drives: what the logs' volumes have left, as if all had as little as
/// the fullest, and what the reserve has for it.
async fn room_for_compaction(store: &Rc<ShardStore>) -> Result<u64> {
    let shards = rt::shard_count();
    let mut least = u64::MAX;
    for shard in 0..shards {
        least = least.min(on_shard(ShardId(shard), |store| async move { Ok(store.log().room()) }).await?);
    }
    let node = store.node();
    let data = node.places().map_or(1, |places| u64::from(places.geometry.data));
    let volumes = u64::from(node.reserve.volumes_for_compaction());
    Ok(least * u64::from(shards) + volumes * reserve::slot_bytes(node) * data)
}

/// Bytes of entries and bodies that a volume has room for.
fn room(volume: &Volume) -> u64 {
    volume.slot_bytes * u64::from(volume.geometry.data)
}

async fn compact_shard(store: &Rc<ShardStore>, victims: HashSet<VolumeId>) -> Result<()> {
    let victims = Rc::new(victims);
    // Where nothing is committed nothing can move.
    for partition in store.partitions().all().into_iter().filter(|partition| !partition.is_damaged()) {
        for (from, to) in keys::spaces_with_bodies() {
            walk(store, &partition, from, &to, &victims).await?;
        }
    }
    Ok(())
}

async fn walk(
    store: &Rc<ShardStore>,
    partition: &Rc<Partition>,
    mut from: Vec<u8>,
    to: &[u8],
    victims: &Rc<HashSet<VolumeId>>,
) -> Result<()> {
    let mut moves = VecDeque::new();
    let mut outcome = Ok(());
    loop {
        let rows = scan_up_to(partition, from, to, WALK_CHUNK).await?;
        let Some((last, _)) = rows.last() else { break };
        from = keys::successor(last);
        for (key, value) in rows {
            if Holder::decode(&key, &value)?.is_some_and(|holder| holder.first_in(victims).is_some()) {
                let (store, partition, victims) = (store.clone(), partition.clone(), victims.clone());
                moves.push_back(rt::spawn(async move { relocate(&store, &partition, &key, &victims).await }));
                if moves.len() >= MOVES_MAX {
                    outcome = moves.pop_front().expect("some are on their way").await.and(outcome);
                }
            }
        }
        if outcome.is_err() {
            break;
        }
        rt::yield_now().await;
    }
    for relocated in moves {
        outcome = relocated.await.and(outcome);
    }
    outcome
}

/// A value that may name small bodies.
enum Holder {
    Record(Record),
    Part(PartRecord),
}

impl Holder {
    /// `None` for an upload, which has no body.
    fn decode(key: &[u8], value: &[u8]) -> Result<Option<Holder>> {
        match keys::parse_upload(key) {
            Some(parsed) if parsed.part.is_none() => Ok(None),
            Some(_) => Ok(Some(Holder::Part(PartRecord::decode(value).map_err(|_| BAD_RECORD)?))),
            None => Ok(Some(Holder::Record(Record::decode(value).map_err(|_| BAD_RECORD)?))),
        }
    }

    fn body(&self) -> &Body {
        match self {
            Holder::Record(record) => &record.body,
            Holder::Part(part) => &part.body,
        }
    }

    fn body_mut(&mut self) -> &mut Body {
        match self {
            Holder::Record(record) => &mut record.body,
            Holder::Part(part) => &mut part.body,
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Holder::Record(record) => record.encode(),
            Holder::Part(part) => part.encode(),
        }
    }

    /// The first small body that lies in one of `volumes`.
    fn first_in(&self, volumes: &HashSet<VolumeId>) -> Option<(Address, u32)> {
        let in_one = |body: &Body| match body {
            Body::Small { address, crc } if volumes.contains(&address.volume) => Some((*address, *crc)),
            Body::Small { .. } | Body::Empty | Body::Extents(_) | Body::Pieces(_) => None,
        };
        match self.body() {
            Body::Pieces(pieces) => pieces.iter().find_map(in_one),
            body => in_one(body),
        }
    }

    /// Whether the body is a piece: its address does not lie where a commit puts one.
    fn is_in_pieces(&self) -> bool {
        matches!(self.body(), Body::Pieces(_))
    }
}

/// Moves what `key` has in `victims`, one body at a time.
async fn relocate(
    store: &Rc<ShardStore>,
    partition: &Rc<Partition>,
    key: &[u8],
    victims: &Rc<HashSet<VolumeId>>,
) -> Result<()> {
    loop {
        let Some(found) = find(partition, key, View::Durable).await? else { return Ok(()) };
        let Some((old, crc)) = found.first_in(victims) else { return Ok(()) };
        // Before the lock is taken: clients wait for it.
        let bytes = match read_small(store, old, crc).await {
            Ok(bytes) => bytes,
            // It was let go, and its volume with it.
            Err(ReadError::Stale) => return Ok(()),
            Err(ReadError::Failed(error)) => return Err(error),
        };
        let (store, partition, key, victims) = (store.clone(), partition.clone(), key.to_vec(), victims.clone());
        // Nor is the lock held while requests have the shard.
        let moving = async move { commit_again(&store, &partition, &key, &victims, &found, bytes).await };
        if !rt::spawn_foreground(moving).await? {
            return Ok(());
        }
    }
}

/// Commits the first body that `found` has in `victims` again, if the key still has it there; whether something else of the key
/// may have to move.
async fn commit_again(
    store: &Rc<ShardStore>,
    partition: &Partition,
    key: &[u8],
    victims: &HashSet<VolumeId>,
    found: &Holder,
    bytes: Vec<u8>,
) -> Result<bool> {
    let Some((old, crc)) = found.first_in(victims) else { return Ok(false) };
    let body = if found.is_in_pieces() {
        // A piece's address has no fixed place in the record, so it moves to a data volume.
        match put_apart(store, &bytes).await {
            // On full drives no data volume is made: the others can move all the same.
            Err(Error::Full) => return Ok(false),
            put => put?,
        }
    } else {
        let len = bytes.len() as u32;
        PutBody::Small { body: SmallBody::from(bytes), crc, len }
    };
    let upload = keys::parse_upload(key).map(|part| keys::upload(part.bucket, &part.key, part.upload));
    // Of an object all versions are decided about under one lock.
    let owner = keys::owner_of(key);
    let lock_key = upload.as_deref().or(owner.as_deref()).ok_or(BAD_RECORD)?;
    let lock = partition.lock(if planted::is(Bug::CompactionUnlocked) { key } else { lock_key }).await?;
    if let Some(upload) = &upload
        && partition.get(upload, View::Decided).await?.is_none()
    {
        return Ok(false);
    }
    // Once nothing of the key is pending its address is what a reader sees.
    partition.settle(key).await;
    let Some(mut holder) = find(partition, key, View::Decided).await? else { return Ok(false) };
    let is_same = holder.first_in(victims) == Some((old, crc)) || planted::is(Bug::CompactionBlind);
    if !is_same || holder.is_in_pieces() != found.is_in_pieces() {
        return Ok(true);
    }
    let mut change = Change::default();
    let (body, holds) = change.attach(body, owner.as_deref().unwrap_or(key));
    change.release(&Body::Small { address: old, crc });
    match holder.body_mut() {
        Body::Pieces(pieces) => {
            let piece = pieces
                .iter_mut()
                .find(|piece| matches!(piece, Body::Small { address, .. } if *address == old))
                .expect("the piece was just found");
            *piece = body;
        }
        whole => *whole = body,
    }
    change.put_with_body(key.to_vec(), holder.encode());
    let (_, ticket) = partition.decide(store.log(), |_| change)?;
    drop(lock);
    ticket.await?;
    drop(holds);
    MOVED_BYTES.add(u64::from(old.len));
    Ok(true)
}

/// Stores a body in a data volume.
async fn put_apart(store: &Rc<ShardStore>, bytes: &[u8]) -> Result<PutBody> {
    let mut put = store.put_large(bytes.len() as u64);
    put.write(bytes).await?;
    put.finish().await
}

/// What `key` holds that may name small bodies.
async fn find(partition: &Partition, key: &[u8], view: View) -> Result<Option<Holder>> {
    match partition.get(key, view).await? {
        Some(value) => Holder::decode(key, &value),
        None => Ok(None),
    }
}

async fn read_small(store: &Rc<ShardStore>, address: Address, crc: u32) -> std::result::Result<Vec<u8>, ReadError> {
    let body = Body::Small { address, crc };
    let mut get = store.read(&body, 0..body.len());
    let mut bytes = Vec::with_capacity(address.len as usize);
    while let Some(window) = get.next().await {
        bytes.extend_from_slice(&window?);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an entry takes beside its body when the key has 20 bytes: less than `ENTRY_BYTES`.
    const SHORT_ENTRY_BYTES: u64 = 190;

    #[test]
    fn a_volume_filled_side_by_side_is_sparse_only_after_most_of_it_was_let_go() {
        let room = 64 << 20;
        for body in [1, 100, 4_096, 32 << 10] {
            let all = room / (SHORT_ENTRY_BYTES + body);
            let live = |bodies: u64| Live { bytes: (bodies * body) as i64, bodies: bodies as i64 };
            for full in [false, true] {
                assert!(!is_sparse(live(all), room, full), "{body}: all live");
                assert!(is_sparse(live(all / 5), room, full), "{body}: a fifth live");
            }
            assert!(is_sparse(live(all / 2), room, true), "{body}: half live, and room is short");
        }
    }
}

//! The census: every object version and every part, by the index; every fragment of every stripe that holds their bytes is
//! read and verified. Writes nothing: what it finds is repaired by others.
//!
//! One walk over the index counts, and gathers the batches of some log volumes that small bodies lie in; more walks for more
//! log volumes. Data volumes are read by their entries in the index. What is short or lost is kept as ranges of each volume,
//! and one last walk, if there are any, tells which objects they belong to. What is written meanwhile is not looked at; what
//! is deleted meanwhile is left out. In the end every copy of the index's own tables is read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rt::{JoinHandle, ShardId};
use types::BucketId;

use super::check::{Checked, Found, check};
use super::pace::Pace;
use super::pieces::Pieces;
use super::standing::{body_of, covers, each_extent, each_row, each_small, live_extents};
use super::tables;
use crate::data::Extent;
use crate::error::{Error, Result};
use crate::format::record::Body;
use crate::ids::{SlotOffset, VolumeId};
use crate::index::keys;
use crate::node::Node;
use crate::object::BAD_RECORD;
use crate::partition::View;
use crate::planted::{self, Bug};
use crate::store::try_local;
use crate::stripe::Layout;
use crate::volume::{Class, Volume};

/// Log volumes of which one walk gathers the batches. Each has at most 65,536 of them.
const VOLUMES_PER_WALK: usize = 32;
/// Objects that are named in the report.
const NAMED_MAX: usize = 1000;
/// Ranges of stripes that are short or lost, of all volumes together. When there are more, neighbours are put together, and
/// the objects between them are counted as short too.
const RANGES_MAX: usize = 1 << 20;

/// What a census found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Object versions.
    pub objects: u64,
    /// Parts of uploads in progress.
    pub parts: u64,
    /// Stripes that hold their bytes.
    pub stripes: u64,
    pub fragments_good: u64,
    /// Read, and not what was written, or not readable.
    pub fragments_bad: u64,
    /// Nothing where they should be, on drives that are there.
    pub fragments_missing: u64,
    /// On drives that are out or missing.
    pub fragments_absent: u64,
    /// Objects and parts with a stripe that lacks a fragment, all of whose bytes can be read.
    pub objects_short: u64,
    /// Objects and parts with bytes that cannot be read.
    pub objects_lost: u64,
    /// The first of those that are lost, at most 1,000.
    pub lost: Vec<LostObject>,
    /// Copies of index tables of which every byte was read and is right.
    pub table_copies_good: u64,
    /// Read, and not what was written, or not readable.
    pub table_copies_bad: u64,
    /// Of parity and one for each partition: not there, not brought up to date, or without a drive.
    pub table_copies_missing: u64,
    /// Partitions of whose tables no copy is right.
    pub partitions_without_tables: u64,
    /// Extents of objects that the index does not list as live: their room might be given away.
    pub extents_unlisted: u64,
    /// Partitions of which acknowledged commits could not be read at the start: what they named is not known.
    pub partitions_damaged: u64,
    pub bytes_read: u64,
}

/// An object, or a part of an upload, that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostObject {
    pub bucket: BucketId,
    /// As its client wrote it, if that was UTF-8.
    pub key: String,
    pub is_part: bool,
}

impl Census {
    /// Whether every fragment of everything is there and right, and every copy of every table.
    pub fn is_whole(&self) -> bool {
        self.fragments_bad == 0
            && self.fragments_missing == 0
            && self.fragments_absent == 0
            && self.table_copies_bad == 0
            && self.table_copies_missing == 0
            && !self.is_lossy()
    }

    /// Whether something cannot be read, or is not sure to stay.
    pub fn is_lossy(&self) -> bool {
        self.objects_lost > 0
            || self.extents_unlisted > 0
            || self.partitions_damaged > 0
            || self.partitions_without_tables > 0
    }

    fn add_counts(&mut self, tally: &Tally) {
        self.stripes += tally.stripes;
        self.fragments_good += tally.good;
        self.fragments_bad += tally.bad;
        self.fragments_missing += tally.missing;
        self.fragments_absent += tally.absent;
    }
}

/// Takes the census; `progress` is told of it now and then. On shard 0.
///
/// Cost: reads every live byte once, and the index at least once. Errors: an index that cannot be read, `Unavailable` while
/// the store is being closed.
pub async fn verify(mut progress: impl FnMut(&Census)) -> Result<Census> {
    let store = try_local().ok_or(CLOSING)?;
    let node = store.node().clone();
    let mut census = Census::default();
    let mut broken = Broken::default();
    let mut volumes = node.volumes();
    volumes.sort_unstable_by_key(|volume| volume.id);
    let (logs, data): (Vec<_>, Vec<_>) = volumes.into_iter().partition(|volume| volume.class == Class::Log);
    let mut groups = logs.chunks(VOLUMES_PER_WALK);
    let mut group = groups.next().unwrap_or_default();
    let mut counting = true;
    loop {
        let mut walked = walk(group, counting).await?;
        if counting {
            (census.objects, census.parts) = (walked.objects, walked.parts);
            census.extents_unlisted = walked.unlisted;
            census.partitions_damaged = walked.damaged;
            for (id, at) in std::mem::take(&mut walked.homeless) {
                broken.add(id, at, State::Lost);
            }
        }
        let work = group.iter().filter_map(|volume| {
            let places = walked.batches.remove(&volume.id)?;
            Some((volume.clone(), Places::Batches(places.into_iter().collect())))
        });
        check_volumes(&node, work.collect(), &mut census, &mut broken, &mut progress).await?;
        counting = false;
        match groups.next() {
            Some(next) => group = next,
            None => break,
        }
    }
    for some in data.chunks(VOLUMES_PER_WALK) {
        let mut work = Vec::with_capacity(some.len());
        for volume in some {
            let extents = live_extents(volume.id).await?;
            if !extents.is_empty() {
                work.push((volume.clone(), Places::Extents(extents)));
            }
        }
        check_volumes(&node, work, &mut census, &mut broken, &mut progress).await?;
    }
    if !broken.ranges.is_empty() {
        name_objects(broken, &mut census).await?;
    }
    check_tables(&node, &mut census, &mut progress).await?;
    progress(&census);
    Ok(census)
}

const CLOSING: Error = Error::Unavailable("shutting down");

/// What a walk over the index gathers.
#[derive(Default)]
struct Walked {
    objects: u64,
    parts: u64,
    unlisted: u64,
    damaged: u64,
    /// Places in volumes that are not there at all.
    homeless: BTreeSet<(VolumeId, SlotOffset)>,
    /// Where batches with small bodies begin, in the volumes asked about.
    batches: BTreeMap<VolumeId, BTreeSet<SlotOffset>>,
}

/// Walks over all bodies. With `counting` it counts them, and looks whether their volumes and the entries of their extents are
/// there.
async fn walk(group: &[Arc<Volume>], counting: bool) -> Result<Walked> {
    let ids: BTreeSet<VolumeId> = group.iter().map(|volume| volume.id).collect();
    let mut all = Walked::default();
    for shard in 0..rt::shard_count() {
        let ids = ids.clone();
        let walked = rt::call(ShardId(shard), move || async move { walk_shard(&ids, counting).await }).await?;
        all.objects += walked.objects;
        all.parts += walked.parts;
        all.unlisted += walked.unlisted;
        all.damaged += walked.damaged;
        all.homeless.extend(walked.homeless);
        for (id, places) in walked.batches {
            all.batches.entry(id).or_default().extend(places);
        }
    }
    Ok(all)
}

async fn walk_shard(ids: &BTreeSet<VolumeId>, counting: bool) -> Result<Walked> {
    let store = try_local().ok_or(CLOSING)?;
    let mut walked = Walked::default();
    for partition in store.partitions().all() {
        walked.damaged += u64::from(partition.is_damaged());
        for (from, to) in keys::spaces_with_bodies() {
            each_row(&partition, from, &to, async |key, value| {
                let Some(body) = body_of(key, value)? else { return Ok(()) };
                each_small(&body, &mut |address| {
                    if ids.contains(&address.volume) {
                        walked.batches.entry(address.volume).or_default().insert(address.slot_offset);
                    }
                });
                if !counting {
                    return Ok(());
                }
                match keys::parse_upload(key) {
                    Some(_) => walked.parts += 1,
                    None => walked.objects += 1,
                }
                for (volume, at) in places(&body) {
                    if store.node().volume(volume).await.is_err() {
                        walked.homeless.insert((volume, at));
                    }
                }
                let mut extents = Vec::new();
                each_extent(&body, &mut |extent| extents.push((extent.volume, extent.at)));
                for (volume, at) in extents {
                    // A row that is gone by now has let go of its extents.
                    let entry = keys::extent(volume, at);
                    if partition.get(&entry, View::Durable).await?.is_none()
                        && partition.get(key, View::Durable).await?.as_ref() == Some(value)
                        && partition.get(&entry, View::Durable).await?.is_none()
                    {
                        walked.unlisted += 1;
                    }
                }
                Ok(())
            })
            .await?;
        }
    }
    Ok(walked)
}

/// The stripes of some volumes, of those the index names, that are not whole. A volume without any is in the answer, one that
/// went meanwhile is not.
///
/// Cost: reads all that is live in them, and walks over the index for every 32 log volumes.
pub(super) async fn broken_stripes(
    node: &Arc<Node>,
    volumes: Vec<Arc<Volume>>,
) -> Result<BTreeMap<VolumeId, Vec<(SlotOffset, State)>>> {
    let mut broken = BTreeMap::new();
    for some in volumes.chunks(VOLUMES_PER_WALK) {
        let is_log = |volume: &&Arc<Volume>| volume.class == Class::Log;
        let logs: Vec<Arc<Volume>> = some.iter().filter(is_log).cloned().collect();
        let mut batches = match logs.is_empty() {
            true => BTreeMap::new(),
            false => walk(&logs, false).await?.batches,
        };
        for volume in some {
            let places = match volume.class {
                Class::Log => Places::Batches(batches.remove(&volume.id).unwrap_or_default().into_iter().collect()),
                Class::Data => Places::Extents(live_extents(volume.id).await?),
            };
            let mut outcome = check_volume(node.clone(), volume.clone(), places).await.ok_or(CLOSING)?;
            if !outcome.broken.is_empty() {
                drop_what_was_freed(node, volume, &mut outcome).await?;
            }
            if !volume.is_removed() {
                broken.insert(volume.id, outcome.broken.iter().map(|(at, state, _)| (*at, *state)).collect());
            }
        }
    }
    Ok(broken)
}

/// Where the stripes of a body begin, one for each small body or extent.
fn places(body: &Body) -> Vec<(VolumeId, SlotOffset)> {
    let mut places = Vec::new();
    each_small(body, &mut |address| places.push((address.volume, address.slot_offset)));
    each_extent(body, &mut |extent| places.push((extent.volume, extent.at)));
    places
}

/// Reads every copy of the tables of every partition.
async fn check_tables(node: &Arc<Node>, census: &mut Census, progress: &mut impl FnMut(&Census)) -> Result<()> {
    let mut pace = Pace::new(node.clone(), 0);
    for (id, index) in node.heal.tables() {
        let checked = tables::check(node, id, &index, &mut pace).await.ok_or(CLOSING)?;
        census.table_copies_good += checked.good;
        census.table_copies_bad += checked.bad;
        census.table_copies_missing += checked.missing;
        let is_lost = checked.good == 0 && !index.is_empty() && index.whole_copies().is_empty();
        census.partitions_without_tables += u64::from(is_lost);
        census.bytes_read += checked.bytes_read;
        progress(census);
    }
    Ok(())
}

/// What is to be read of a volume, in order.
enum Places {
    Batches(Vec<SlotOffset>),
    Extents(Vec<Extent>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Short,
    Lost,
}

/// Counts of fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    stripes: u64,
    good: u64,
    bad: u64,
    missing: u64,
    absent: u64,
}

impl Tally {
    fn of(checked: &Checked) -> Tally {
        let count = |what| checked.count(what) as u64;
        let missing = count(Found::Missing) + count(Found::NoFile);
        Tally {
            stripes: 1,
            good: count(Found::Good) + if planted::is(Bug::CensusCountsMissing) { missing } else { 0 },
            bad: count(Found::Damaged),
            missing: if planted::is(Bug::CensusCountsMissing) { 0 } else { missing },
            absent: count(Found::NoDrive),
        }
    }

    fn add(&mut self, other: Tally) {
        self.stripes += other.stripes;
        self.good += other.good;
        self.bad += other.bad;
        self.missing += other.missing;
        self.absent += other.absent;
    }
}

/// What one volume came to.
#[derive(Default)]
struct Outcome {
    tally: Tally,
    /// Stripes that are not whole, in order; they are not in the tally.
    broken: Vec<(SlotOffset, State, Tally)>,
    bytes_read: u64,
}

/// Reads volumes, one on each shard at a time.
async fn check_volumes(
    node: &Arc<Node>,
    work: Vec<(Arc<Volume>, Places)>,
    census: &mut Census,
    broken: &mut Broken,
    progress: &mut impl FnMut(&Census),
) -> Result<()> {
    let shards = rt::shard_count();
    let mut under_way: VecDeque<(Arc<Volume>, JoinHandle<Option<Outcome>>)> = VecDeque::new();
    let mut work = (0..shards).cycle().zip(work);
    loop {
        let next = if under_way.len() < usize::from(shards) { work.next() } else { None };
        if let Some((shard, (volume, places))) = next {
            let (node, checked) = (node.clone(), volume.clone());
            let checking = rt::call(ShardId(shard), move || async move { check_volume(node, checked, places).await });
            under_way.push_back((volume, rt::spawn(checking)));
            continue;
        }
        let Some((volume, checking)) = under_way.pop_front() else { return Ok(()) };
        let mut outcome = checking.await.ok_or(CLOSING)?;
        census.bytes_read += outcome.bytes_read;
        if !outcome.broken.is_empty() {
            drop_what_was_freed(node, &volume, &mut outcome).await?;
        }
        census.add_counts(&outcome.tally);
        for (at, state, tally) in outcome.broken {
            census.add_counts(&tally);
            broken.add(volume.id, at, state);
        }
        progress(census);
    }
}

/// What was deleted while the volume was read may have been given back: that is no damage.
async fn drop_what_was_freed(node: &Arc<Node>, volume: &Volume, outcome: &mut Outcome) -> Result<()> {
    if node.volume(volume.id).await.is_err() {
        outcome.broken.clear();
    } else if volume.class == Class::Data {
        let extents = live_extents(volume.id).await?;
        outcome.broken.retain(|(at, ..)| covers(volume.geometry, &extents, *at));
    }
    Ok(())
}

/// `None`: the store is being closed.
async fn check_volume(node: Arc<Node>, volume: Arc<Volume>, places: Places) -> Option<Outcome> {
    let mut outcome = Outcome::default();
    let mut pace = Pace::new(node, 0);
    let mut pieces = Pieces::new(volume.clone(), volume.end());
    match places {
        Places::Batches(batches) => {
            for at in batches {
                look_at(&mut pieces, at, None, &mut outcome, &mut pace).await?;
            }
        }
        Places::Extents(extents) => {
            for extent in extents {
                let mut offset = 0;
                while offset < extent.len {
                    // An entry of the index that states no possible stripe is no stripe.
                    let Some(stripe) = extent.stripe(volume.geometry, offset, extent.len) else { break };
                    offset += stripe.range.len() as u64;
                    look_at(&mut pieces, stripe.at, Some(stripe.layout), &mut outcome, &mut pace).await?;
                }
            }
        }
    }
    Some(outcome)
}

async fn look_at(
    pieces: &mut Pieces,
    at: SlotOffset,
    layout: Option<Layout>,
    outcome: &mut Outcome,
    pace: &mut Pace,
) -> Option<()> {
    pace.breathe().await;
    let checked = check(pieces, at, layout).await;
    let read = pieces.take_bytes_read();
    outcome.bytes_read += read;
    if read > 0 && !pace.spend(read).await {
        return None;
    }
    let as_stated = checked.header.is_none_or(|header| {
        layout.is_none_or(|layout| (layout.fragment_len, layout.stripe_len) == (header.fragment_len, header.stripe_len))
    });
    let tally = Tally::of(&checked);
    if checked.is_whole() && as_stated {
        outcome.tally.add(tally);
    } else {
        let state = if checked.is_readable() && as_stated { State::Short } else { State::Lost };
        outcome.broken.push((at, state, tally));
    }
    Some(())
}

/// Stripes that are not whole, as ranges from the first to the last of neighbours in the same state.
#[derive(Clone, Debug, Default)]
struct Broken {
    /// By volume and first stripe: last stripe and state. Of one volume they come in order.
    ranges: BTreeMap<(VolumeId, SlotOffset), (SlotOffset, State)>,
}

impl Broken {
    fn add(&mut self, volume: VolumeId, at: SlotOffset, state: State) {
        if self.ranges.len() >= RANGES_MAX
            && let Some((_, (last, known))) = self.ranges.range_mut((volume, SlotOffset(0))..=(volume, at)).next_back()
        {
            (*last, *known) = (at, state.max(*known));
            return;
        }
        self.ranges.insert((volume, at), (at, state));
    }

    /// The worst that is known of the stripes that begin from `from` up to `to`.
    fn worst(&self, volume: VolumeId, from: SlotOffset, to: SlotOffset) -> Option<State> {
        let before = self.ranges.range((volume, SlotOffset(0))..(volume, from)).next_back();
        let reaching = before.filter(|(_, (last, _))| *last >= from);
        let within = self.ranges.range((volume, from)..(volume, to));
        reaching.into_iter().chain(within).map(|(_, (_, state))| *state).max()
    }

    fn worst_of(&self, body: &Body, node: &[(VolumeId, crate::ids::Geometry)]) -> Option<State> {
        let mut worst = None;
        each_small(body, &mut |address| {
            let at = address.slot_offset;
            worst = worst.max(self.worst(address.volume, at, SlotOffset(at.0.saturating_add(1))));
        });
        each_extent(body, &mut |extent| {
            let geometry = node.binary_search_by_key(&extent.volume, |(id, _)| *id).ok().map(|index| node[index].1);
            let pages = geometry.map_or(1, |geometry| extent.pages(geometry));
            let to = SlotOffset(u64::from(extent.at.0).saturating_add(pages).min(u64::from(u32::MAX)) as u32);
            worst = worst.max(self.worst(extent.volume, extent.at, to));
        });
        worst
    }
}

/// Walks over the index once more to tell which objects are short or lost.
async fn name_objects(broken: Broken, census: &mut Census) -> Result<()> {
    let broken = Arc::new(broken);
    for shard in 0..rt::shard_count() {
        let broken = broken.clone();
        let named = rt::call(ShardId(shard), move || async move {
            let store = try_local().ok_or(CLOSING)?;
            let mut geometries: Vec<_> = store.node().volumes().iter().map(|v| (v.id, v.geometry)).collect();
            geometries.sort_unstable_by_key(|(id, _)| *id);
            let (mut short, mut lost, mut names) = (0, 0, Vec::new());
            for partition in store.partitions().all() {
                for (from, to) in keys::spaces_with_bodies() {
                    each_row(&partition, from, &to, async |key, value| {
                        let Some(body) = body_of(key, value)? else { return Ok(()) };
                        match broken.worst_of(&body, &geometries) {
                            None => {}
                            Some(State::Short) => short += 1,
                            Some(State::Lost) => {
                                lost += 1;
                                if names.len() < NAMED_MAX {
                                    names.push(name(key)?);
                                }
                            }
                        }
                        Ok(())
                    })
                    .await?;
                }
            }
            Ok::<_, Error>((short, lost, names))
        });
        let (short, lost, names) = named.await?;
        census.objects_short += short;
        census.objects_lost += lost;
        census.lost.extend(names);
    }
    census.lost.truncate(NAMED_MAX);
    Ok(())
}

fn name(key: &[u8]) -> Result<LostObject> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if let Some((bucket, key)) = keys::parse_current(key) {
        return Ok(LostObject { bucket, key: text(key), is_part: false });
    }
    if let Some(upload) = keys::parse_upload(key) {
        return Ok(LostObject { bucket: upload.bucket, key: text(&upload.key), is_part: true });
    }
    let (bucket, key, _) = keys::parse_version(key).ok_or(BAD_RECORD)?;
    Ok(LostObject { bucket, key: text(&key), is_part: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_stripe_of_a_stretch_is_what_counts() {
        let mut broken = Broken::default();
        let id = VolumeId(7);
        broken.add(id, SlotOffset(10), State::Short);
        broken.add(id, SlotOffset(75), State::Lost);
        let check = |volume, from, to, expect| {
            assert_eq!(broken.worst(volume, SlotOffset(from), SlotOffset(to)), expect, "{from}..{to}");
        };
        check(id, 1, 10, None);
        check(id, 1, 11, Some(State::Short));
        check(id, 10, 76, Some(State::Lost));
        check(id, 11, 75, None);
        check(id, 76, 99, None);
        check(VolumeId(8), 1, 99, None);
    }
}

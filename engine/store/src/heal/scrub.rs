//! The tasks that heal: repairs that were asked for, rebuild of what is lost, and the scrub of everything, over and over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rt::time::{Duration, Instant};
use rt::{JoinHandle, ShardId};

use super::balance;
use super::catch_up::CatchUp;
use super::check::{check, header};
use super::cursor;
use super::hollow;
use super::identity;
use super::lost;
use super::mend::{Mended, mend};
use super::pace::Pace;
use super::pieces::Pieces;
use super::rebuild::{self, Outcome, rebuild, slots_to_move};
use super::standing::{Standing, covers, live_extents, needed_batches};
use super::{Place, ROUNDS, SCRUBBED_BYTES, STRIPES_CHECKED, status, tables};
use crate::data::Extent;
use crate::error::Result;
use crate::format::fragment::fragment_pages;
use crate::ids::{SlotOffset, VolumeId};
use crate::node::Node;
use crate::partition::Live;
use crate::store::try_local;
use crate::volume::{Class, Volume};

/// How often it is looked whether something is lost, and how long the scrub rests between two rounds at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the queue of repairs is looked at.
const QUEUE_EVERY: Duration = Duration::from_millis(200);
/// The scrub rests so long between two rounds: on a small deployment a round takes seconds.
const ROUND_PAUSE: Duration = Duration::from_secs(600);
/// How often the cursor is written.
const CURSOR_EVERY: Duration = Duration::from_secs(30);
/// How often stripes that cannot be read are asked about: that is a walk over the index.
const SETTLE_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked whether what was lost was deleted, or has come back.
const DOUBT_EVERY: Duration = Duration::from_secs(600);
/// How often it is looked whether hollow slots can be filled, or nothing needs what they lack any more.
const HOLLOW_EVERY: Duration = Duration::from_secs(600);
/// Attempts at the right to mend, and the pause between them: a punch is soon over, a rebuild finds the stripe itself.
const MEND_ATTEMPTS: u32 = 20;
const MEND_PAUSE: Duration = Duration::from_millis(10);

/// Starts the tasks. On shard 0, when recovery is over.
pub(crate) fn start(node: &Arc<Node>) {
    drop(rt::spawn_background(serve_queue(node.clone())));
    let node = node.clone();
    drop(rt::spawn_background(async move {
        // Before anybody makes slots: what is being made looks like what was not finished.
        rebuild::remove_unfinished(&node).await;
        drop(rt::spawn(balance::run(node.clone())));
        run(node).await;
    }));
}

async fn serve_queue(node: Arc<Node>) {
    while !node.heal.is_stopping() {
        while let Some((id, at)) = node.heal.next_repair() {
            let Ok(volume) = node.volume(id).await else {
                node.heal.note_repair((id, at), Some(Mended::default()));
                continue;
            };
            let settled = Standing::of(&node, &volume).await.settled;
            let mended = if settled { repair(&volume, at).await } else { None };
            node.heal.note_repair((id, at), mended);
        }
        rt::time::sleep(pause(&node, QUEUE_EVERY)).await;
    }
}

/// Only a simulation hurries.
pub(super) fn pause(node: &Node, usual: Duration) -> Duration {
    node.config.upkeep_every().map_or(usual, |every| every.min(usual))
}

/// Repairs a stripe of a settled volume, unless something else is done with the volume.
pub(super) async fn repair(volume: &Arc<Volume>, at: SlotOffset) -> Option<Mended> {
    for _ in 0..MEND_ATTEMPTS {
        if let Some(mending) = volume.begin_mending() {
            return Some(mend(volume, &mending, at).await);
        }
        rt::time::sleep(MEND_PAUSE).await;
    }
    None
}

async fn run(node: Arc<Node>) {
    let mut cursor = cursor::read(&node).await;
    let mut written = Instant::now();
    // Rounds of a former start ended at some time that this clock does not know.
    let mut next_round = Instant::now();
    let (mut settled, mut doubted) = (Instant::now(), Instant::now());
    let (mut hollow_looked, mut hollow_known) = (Instant::now(), Vec::new());
    let (mut catch_up, mut next_catch_up) = (CatchUp::default(), Instant::now());
    let gone = count_gone(&node).await;
    node.heal.update(|progress| (progress.cursor, progress.volumes_gone) = (cursor, gone));
    let mut known_lost = lost::recall(&node).await;
    settle_suspects(&node).await;
    while !node.heal.is_stopping() {
        rebuild_all(&node).await;
        if Instant::now() >= next_catch_up && !catch_up.go_on(&node).await {
            next_catch_up = Instant::now() + pause(&node, ROUND_PAUSE);
        }
        let hollow: Vec<_> = hollow::hollow_volumes(&node).iter().map(|v| (v.id, v.hollow_slots())).collect();
        if hollow != hollow_known || (!hollow.is_empty() && hollow_looked.elapsed() >= pause(&node, HOLLOW_EVERY)) {
            hollow::look(&node).await;
            (hollow_looked, hollow_known) = (Instant::now(), hollow);
        }
        if settled.elapsed() >= pause(&node, SETTLE_EVERY) {
            if doubted.elapsed() >= pause(&node, DOUBT_EVERY) {
                node.heal.doubt_lost();
                doubted = Instant::now();
            }
            settle_suspects(&node).await;
            let gone = count_gone(&node).await;
            node.heal.update(|progress| progress.volumes_gone = gone);
            node.heal.retry_repairs();
            settled = Instant::now();
        }
        let off = node.config.scrub_bytes_per_second == 0 || Instant::now() < next_round;
        if !off {
            if (cursor.partition, cursor.next) == (0, VolumeId(0)) {
                cursor.round_began = rt::time::wall_clock();
                identity::scrub(&node).await;
            }
            node.heal.update(|progress| {
                progress.scrub = progress.scrub.or(Some((Instant::now(), SCRUBBED_BYTES.value())));
            });
            let tables_left = scrub_tables(&node, &mut cursor.partition).await;
            let ended = !tables_left && scrub_some(&node, &mut cursor.next).await;
            if ended {
                cursor.rounds += 1;
                cursor.round_ended = rt::time::wall_clock();
                (cursor.partition, cursor.next) = (0, VolumeId(0));
                node.heal.update(|progress| progress.scrub = None);
                next_round = Instant::now() + pause(&node, ROUND_PAUSE);
                ROUNDS.add(1);
                node.heal.doubt_lost();
                settle_suspects(&node).await;
            }
            node.heal.update(|progress| progress.cursor = cursor);
            if (ended || written.elapsed() >= CURSOR_EVERY) && !node.heal.is_stopping() {
                // First: what lies before the cursor is not looked at again for long.
                known_lost.keep(&node).await;
                cursor::write(&node, cursor).await;
                written = Instant::now();
            }
        }
        known_lost.keep_in_time(&node).await;
        status::publish(&node);
        rt::time::sleep(pause(&node, LOOK_EVERY)).await;
    }
}

/// Volumes of which nothing at all was found and in which something is live: all of that is lost.
async fn count_gone(node: &Arc<Node>) -> u64 {
    // Known before the counters are asked, or after it: a volume may be made or removed in between.
    let mut known: BTreeSet<VolumeId> = node.volumes().iter().map(|volume| volume.id).collect();
    let mut live = BTreeSet::new();
    for shard in 0..rt::shard_count() {
        let asked = rt::call(ShardId(shard), || async {
            let partitions = try_local().map(|store| store.partitions().all()).unwrap_or_default();
            let live = partitions.iter().flat_map(|partition| partition.all_live());
            live.filter(|(_, live)| *live != Live::default()).map(|(id, _)| id).collect::<Vec<_>>()
        });
        live.extend(asked.await);
    }
    known.extend(node.volumes().iter().map(|volume| volume.id));
    live.difference(&known).count() as u64
}

/// Volumes from `from` on, in order.
fn volumes_from(node: &Node, from: VolumeId) -> Vec<Arc<Volume>> {
    let mut volumes = node.volumes();
    volumes.retain(|volume| volume.id >= from);
    volumes.sort_unstable_by_key(|volume| volume.id);
    volumes
}

/// Rebuilds every volume that lacks a slot, those that lack most first, one on each shard at a time.
async fn rebuild_all(node: &Arc<Node>) {
    let mut short: Vec<Arc<Volume>> =
        node.volumes().into_iter().filter(|v| !slots_to_move(v).is_empty() || has_dead_strays(v)).collect();
    if short.is_empty() {
        node.heal.update(|progress| (progress.rebuild, progress.waiting_for_drive) = (None, 0));
        return;
    }
    short.sort_unstable_by_key(|volume| (std::cmp::Reverse(volume.missing_slots().count_ones()), volume.id));
    let began = (Instant::now(), node.heal.rebuilt_bytes.load(std::sync::atomic::Ordering::Relaxed));
    node.heal.update(|progress| progress.rebuild = progress.rebuild.or(Some(began)));
    for shard in 0..rt::shard_count() {
        rt::call(ShardId(shard), || async {
            if let Some(store) = try_local() {
                store.leave_sick_volumes();
            }
        })
        .await;
    }
    let mut waiting = 0;
    let mut under_way: VecDeque<JoinHandle<Outcome>> = VecDeque::new();
    let shards = rt::shard_count();
    for (shard, volume) in (0..shards).cycle().zip(short) {
        if node.heal.is_stopping() {
            break;
        }
        if under_way.len() >= usize::from(shards) {
            let outcome = under_way.pop_front().expect("there are some").await;
            waiting += u64::from(outcome == Outcome::NoDrive);
        }
        let node = node.clone();
        // The next drive that fails would take data with it: requests do not come first then.
        let missing = volume.missing_slots().count_ones();
        let is_urgent = missing > 0 && missing >= u32::from(volume.geometry.parity);
        let rebuilding = rt::call(ShardId(shard), move || async move {
            let rate = node.config.rebuild_bytes_per_second / u64::from(rt::shard_count());
            let mut pace = Pace::new(node.clone(), rate);
            rebuild(&node, &volume, &mut pace).await
        });
        under_way.push_back(if is_urgent { rt::spawn_foreground(rebuilding) } else { rt::spawn(rebuilding) });
    }
    for rebuilding in under_way {
        waiting += u64::from(rebuilding.await == Outcome::NoDrive);
    }
    node.heal.update(|progress| progress.waiting_for_drive = waiting);
    settle_suspects(node).await;
}

/// Whether there are files of slots that have moved and have all they should in their new places.
fn has_dead_strays(volume: &Volume) -> bool {
    volume.strays().iter().any(|(slot, _)| volume.solid_slots() & (1 << slot) != 0)
}

/// Scrubs the tables of the next partition; false when there is none left in this round.
async fn scrub_tables(node: &Arc<Node>, next: &mut u32) -> bool {
    let mut pace = Pace::new(node.clone(), node.config.scrub_bytes_per_second);
    let from = *next;
    for (id, index) in node.heal.tables().into_iter().filter(|(id, _)| u32::from(id.0) >= from) {
        if tables::check(node, id, &index, &mut pace).await.is_none() {
            return true;
        }
        *next = u32::from(id.0) + 1;
        // A partition without tables is nothing to wait after.
        if !index.is_empty() {
            return true;
        }
    }
    false
}

/// Scrubs some volumes, one on each shard; whether that was the last of them.
async fn scrub_some(node: &Arc<Node>, next: &mut VolumeId) -> bool {
    let shards = rt::shard_count();
    let some: Vec<_> = volumes_from(node, *next).into_iter().take(usize::from(shards)).collect();
    let Some(last) = some.last().map(|volume| volume.id) else { return true };
    let scrubs: Vec<_> = (0..shards)
        .zip(some)
        .map(|(shard, volume)| {
            let node = node.clone();
            rt::spawn(rt::call(ShardId(shard), move || async move {
                let rate = (node.config.scrub_bytes_per_second / u64::from(rt::shard_count())).max(1);
                let mut pace = Pace::new(node.clone(), rate);
                scrub(&node, &volume, &mut pace).await
            }))
        })
        .collect();
    let mut whole = true;
    for scrub in scrubs {
        whole &= scrub.await.is_some();
    }
    if whole {
        *next = VolumeId(last.0 + 1);
    }
    false
}

/// Verifies every stripe of a volume and repairs what is bad; how many fragments of stripes that can be read stay bad. `None`
/// when it was broken off: the store is being closed, or a drive has come or gone, and then rebuild comes first.
pub(super) async fn scrub(node: &Arc<Node>, volume: &Arc<Volume>, pace: &mut Pace) -> Option<u64> {
    let mut left = 0;
    let epoch = node.topology().number;
    let standing = Standing::of(node, volume).await;
    // Of an open data volume only what is committed is sure to be there.
    let committed: Option<Vec<Extent>> = match volume.class {
        Class::Data if !standing.settled => match live_extents(volume.id).await {
            Ok(extents) => Some(extents),
            Err(_) => return Some(left),
        },
        Class::Data | Class::Log => None,
    };
    for slot in 0..volume.geometry.width() {
        repair_first_page(volume, slot).await;
    }
    let mut pieces = Pieces::new(volume.clone(), standing.end);
    let mut seen = BTreeSet::new();
    let mut at = SlotOffset::FIRST_STRIPE;
    while at < pieces.end() {
        pieces.load_front(at).await;
        let read = pieces.take_bytes_read();
        if read > 0 {
            SCRUBBED_BYTES.add(read);
            if volume.is_removed() {
                return Some(0);
            }
            if !pace.spend(read).await || node.topology().number != epoch {
                return None;
            }
        }
        let Some(stated) = header(&pieces, at) else {
            at = at.advance(1);
            continue;
        };
        let counts = committed.as_ref().is_none_or(|extents| covers(volume.geometry, extents, at));
        if counts {
            pace.breathe().await;
            let checked = check(&mut pieces, at, None).await;
            STRIPES_CHECKED.add(1);
            if !checked.is_readable() {
                node.heal.suspect(volume.id, at);
            } else if !checked.to_mend().is_empty() {
                let mended = if standing.settled { repair(volume, at).await } else { None };
                node.heal.note_repair((volume.id, at), mended);
                left += mended.map_or(checked.to_mend().len() as u64, |mended| mended.failed);
            }
        }
        seen.insert(at);
        at = at.advance(fragment_pages(stated.fragment_len));
    }
    // Those of a volume that still takes stripes that were there when this began.
    let expected = match (volume.class, committed) {
        (Class::Log, _) => None,
        (Class::Data, Some(committed)) => Some(committed),
        (Class::Data, None) => live_extents(volume.id).await.ok(),
    };
    if let Some(extents) = expected {
        // Of a stripe without any right header only the index knows.
        for extent in extents {
            let mut offset = 0;
            while let Some(stripe) = extent.stripe(volume.geometry, offset, extent.len) {
                if !seen.contains(&stripe.at) && stripe.at < standing.end {
                    node.heal.suspect(volume.id, stripe.at);
                }
                offset += stripe.range.len() as u64;
            }
        }
    }
    Some(left)
}

/// Writes the first page of a slot again if it is not what it should be: without them nobody finds the volume.
async fn repair_first_page(volume: &Arc<Volume>, slot: usize) {
    if volume.is_first_page_whole(slot).await {
        return;
    }
    let Some(mending) = volume.begin_mending() else { return };
    if let Err(error) = volume.rewrite_first_page(&mending, slot).await {
        telemetry::warn!("the first page of a slot cannot be written again: {error}"; volume = volume.id, slot = slot);
    }
}

/// Finds out which of the stripes that could not be read are needed: those are lost.
async fn settle_suspects(node: &Arc<Node>) {
    let mut data: BTreeMap<VolumeId, Vec<SlotOffset>> = BTreeMap::new();
    let mut batches = BTreeSet::new();
    let suspects = node.heal.suspects();
    if suspects.is_empty() {
        return;
    }
    for &(id, at) in &suspects {
        let Ok(volume) = node.volume(id).await else { continue };
        // It may have been punched or written since, or a drive did not answer for a moment.
        let mut pieces = Pieces::new(volume.clone(), at.advance(1));
        let checked = check(&mut pieces, at, None).await;
        if checked.is_readable() {
            if !checked.to_mend().is_empty() {
                // A rebuild has passed over it meanwhile.
                node.heal.ask_repair(id, at);
            }
            continue;
        }
        match volume.class {
            Class::Data => data.entry(id).or_default().push(at),
            Class::Log => drop(batches.insert((id, at))),
        }
    }
    match settle(node, data, batches).await {
        Ok(()) => node.heal.settled(&suspects),
        Err(error) => {
            telemetry::warn!("it is not known whether stripes that cannot be read are needed: {error}");
        }
    }
}

async fn settle(node: &Arc<Node>, data: BTreeMap<VolumeId, Vec<SlotOffset>>, batches: BTreeSet<Place>) -> Result<()> {
    for (id, places) in data {
        let extents = live_extents(id).await?;
        let Ok(volume) = node.volume(id).await else { continue };
        for at in places.into_iter().filter(|at| covers(volume.geometry, &extents, *at)) {
            node.heal.lose(node, (id, at));
        }
    }
    if !batches.is_empty() {
        for place in needed_batches(&batches).await? {
            node.heal.lose(node, place);
        }
    }
    Ok(())
}

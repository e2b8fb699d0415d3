//! Rebalance: slots move from the fullest drives to the emptiest, until drives are about equally full for their sizes.
//!
//! One volume after the other, on each shard one at a time, by the same move that a drain makes: the slot is written whole on
//! the other drive, read back, made the slot by its first page, and only then is the old file proved dead. A move that is
//! broken off leaves the volume as it was. That slots are evened out is a mark of the epoch, so a start goes on with it;
//! which slots are to move is found anew each time, from where they lie.
//!
//! What is lost is rebuilt first, and drains come first: nothing is moved while they have something to do.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;
use std::sync::Arc;

use rt::ShardId;
use rt::time::{Duration, Instant};

use super::SLOTS_BALANCED;
use super::pace::Pace;
use super::rebuild::{Outcome, relocate, slots_to_move};
use super::scrub::pause;
use crate::drive::{Drive, State};
use crate::error::{Error, Result};
use crate::ids::{DriveId, VolumeId};
use crate::node::{Mark, Node};
use crate::planted::{self, Bug};
use crate::store::try_local;
use crate::topology::Rebalance;
use crate::volume::{Class, Volume};

/// Drives whose fills differ by no more, in thousandths of their sizes, are equally full.
const SPREAD_PERMILLE: u64 = 20;
/// How often it is looked whether slots are to be moved.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Rounds in a row in which not one of the moves that were begun succeeded, until those are given up.
const VAIN_ROUNDS_MAX: u32 = 30;
/// Pause after such a round.
const VAIN_PAUSE: Duration = Duration::from_secs(2);

const NOTHING_TO_DO: Error =
    Error::Unavailable("nothing to do: the drives' fills are within 2 % of their sizes of each other");
const NOTHING_MOVES: Error = Error::Unavailable(
    "nothing can be moved: each volume that takes no more writes has a slot on every emptier drive already, or none on a \
     fuller one; new volumes even it out",
);

/// How the evening out stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BalanceStatus {
    pub running: bool,
    /// It waits for what is lost to be rebuilt, or for drains.
    pub waits: bool,
    /// MiB of slots in a second at most; 0 = as fast as requests let it.
    pub pace_mib: u32,
    /// Bytes of slots that this process has moved for it, and that are left to move at best.
    pub bytes_done: u64,
    pub bytes_left: u64,
    /// Bytes per second.
    pub rate: u64,
    pub seconds_left: Option<u64>,
}

/// What the process remembers of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    began: Option<Instant>,
    bytes_done: u64,
    waits: bool,
}

/// The drives among which slots are evened out, and how full each of them is.
struct Loads {
    drives: Vec<Arc<Drive>>,
    loads: Vec<Load>,
}

impl Loads {
    fn of(node: &Node) -> Loads {
        let topology = node.topology();
        let takes_slots =
            |drive: &&Arc<Drive>| topology.is_in(drive.id) && drive.state() == State::In && !drive.is_draining();
        let drives: Vec<Arc<Drive>> = node.drives().iter().filter(takes_slots).cloned().collect();
        let mut used = vec![0; drives.len()];
        for volume in node.volumes() {
            for slot in 0..volume.geometry.width() {
                let id = volume.drive(slot).id;
                if let Some(at) = drives.iter().position(|drive| drive.id == id) {
                    used[at] += volume.slot_bytes;
                }
            }
        }
        let load = |(drive, used): (&Arc<Drive>, u64)| {
            let space = drive.space();
            Load { size: space.total.min(space.free + used).max(1), used }
        };
        let loads = drives.iter().zip(used).map(load).collect();
        Loads { drives, loads }
    }

    /// Volumes that take no more stripes and lack nothing.
    async fn movable(&self, node: &Arc<Node>) -> Vec<Movable> {
        let mut written = Vec::new();
        for shard in 0..rt::shard_count() {
            let asked = rt::call(ShardId(shard), || async { Some(try_local()?.log_position()?.volume) });
            written.push(asked.await);
        }
        let written_by = |shard: ShardId| written.get(usize::from(shard.0)).copied().flatten();
        let takes_no_more = |volume: &Volume| match volume.class {
            Class::Data => volume.is_sealed() && !volume.is_held(),
            Class::Log if volume.id.start() != node.start => true,
            Class::Log => written_by(ShardId(volume.id.shard())).is_some_and(|now| volume.id < now),
        };
        let on = |volume: &Volume| {
            let holders = (0..volume.geometry.width()).map(|slot| volume.drive(slot).id);
            let places = holders.filter_map(|id| self.drives.iter().position(|drive| drive.id == id));
            places.fold(0, |mask, place| mask | 1 << place)
        };
        let lacks_nothing = |volume: &Volume| volume.missing_slots() == 0 && volume.hollow_slots() == 0;
        let volumes = node.volumes().into_iter().filter(|volume| takes_no_more(volume) && lacks_nothing(volume));
        volumes.map(|volume| Movable { id: volume.id, bytes: volume.slot_bytes, on: on(&volume) }).collect()
    }
}

/// How full a drive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Load {
    /// Bytes that slots could take: what others have on the same file system is not counted.
    size: u64,
    /// Bytes of the slots that lie on it, holes included: they are the same in all slots of a volume.
    used: u64,
}

impl Load {
    /// The emptier one first.
    fn by_fill(&self, other: &Load) -> Ordering {
        let cross = |used: u64, size: u64| u128::from(used) * u128::from(size);
        cross(self.used, other.size).cmp(&cross(other.used, self.size))
    }

    fn permille(&self) -> u64 {
        (u128::from(self.used) * 1000 / u128::from(self.size)) as u64
    }

    /// Whether both together are more evenly full once `bytes` have moved from `self` to `other`: the sum of the squares of
    /// what they hold, over their sizes, is smaller then. So it comes to an end.
    fn gains_by_giving(&self, bytes: u64, other: &Load) -> bool {
        let (from, to, moved) = (self.used as f64, other.used as f64, bytes as f64);
        let (size, other_size) = (self.size as f64, other.size as f64);
        2.0 * (from / size - to / other_size) > moved * (1.0 / size + 1.0 / other_size)
    }
}

/// What each drive should hold, in proportion to its size.
fn targets_of(loads: &[Load]) -> Vec<u64> {
    let used: u128 = loads.iter().map(|load| u128::from(load.used)).sum();
    let size: u128 = loads.iter().map(|load| u128::from(load.size)).sum();
    loads.iter().map(|load| (used * u128::from(load.size) / size) as u64).collect()
}

fn is_even(loads: &[Load]) -> bool {
    let (least, most) = (loads.iter().map(Load::permille).min(), loads.iter().map(Load::permille).max());
    most.zip(least).is_none_or(|(most, least)| most - least <= SPREAD_PERMILLE)
}

/// A volume whose slots may move.
#[derive(Clone, Copy, Debug)]
struct Movable {
    id: VolumeId,
    /// Of each slot.
    bytes: u64,
    /// The drives that hold a slot; bit n = place n among the loads.
    on: u64,
}

const _: () = assert!(crate::topology::DRIVES_MAX <= u64::BITS as usize);

/// A slot that is to move, from and to the drives at these places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Move {
    volume: VolumeId,
    from: usize,
    to: usize,
}

/// The moves to make next, of different volumes: from the fullest drive that has something to give to the emptiest that can
/// take it. Cost: with nothing to move, a look at each volume for each pair of drives.
fn choose(loads: &[Load], movable: &[Movable], skipped: &BTreeSet<VolumeId>, count: usize) -> Vec<Move> {
    let mut loads = loads.to_vec();
    let mut moves: Vec<Move> = Vec::new();
    while moves.len() < count {
        let mut order: Vec<usize> = (0..loads.len()).collect();
        order.sort_by(|&a, &b| loads[a].by_fill(&loads[b]));
        let pairs = order.iter().rev().flat_map(|&from| order.iter().map(move |&to| (from, to)));
        let uneven = |(from, to): &(usize, usize)| {
            loads[*from].permille().saturating_sub(loads[*to].permille()) > SPREAD_PERMILLE
        };
        let next = pairs.filter(uneven).find_map(|(from, to)| {
            let fits = |movable: &&Movable| {
                movable.on & 1 << from != 0
                    && (movable.on & 1 << to == 0 || planted::is(Bug::MoveSharesDrive))
                    && movable.bytes <= loads[to].size.saturating_sub(loads[to].used)
                    && loads[from].gains_by_giving(movable.bytes, &loads[to])
                    && !skipped.contains(&movable.id)
                    && moves.iter().all(|made| made.volume != movable.id)
            };
            // The largest, then the oldest: few moves, and what lived long will live on.
            let best = movable.iter().filter(fits).max_by_key(|movable| (movable.bytes, Reverse(movable.id)))?;
            Some((Move { volume: best.id, from, to }, best.bytes))
        });
        let Some((made, bytes)) = next else { break };
        loads[made.from].used -= bytes;
        loads[made.to].used += bytes;
        moves.push(made);
    }
    moves
}

/// Asks for it, and makes that durable; or says why there is nothing to do. Asked for again it takes the new pace.
pub(crate) async fn begin(node: &Arc<Node>, pace_mib: u32) -> Result<()> {
    if node.topology().rebalance.is_none() {
        node.refresh_space().await;
        let now = Loads::of(node);
        if is_even(&now.loads) {
            return Err(NOTHING_TO_DO);
        }
        if choose(&now.loads, &now.movable(node).await, &BTreeSet::new(), 1).is_empty() {
            return Err(NOTHING_MOVES);
        }
    }
    node.mark(Mark::Rebalance(Rebalance { pace_mib })).await
}

/// No more slots move; what is on its way is given up.
pub(crate) async fn end(node: &Arc<Node>) -> Result<()> {
    node.mark(Mark::NoRebalance).await
}

pub(super) fn status(node: &Node) -> BalanceStatus {
    let progress = node.heal.balance();
    let Some(rebalance) = node.topology().rebalance else {
        return BalanceStatus { bytes_done: progress.bytes_done, ..BalanceStatus::default() };
    };
    let loads = Loads::of(node).loads;
    let left: u64 = loads.iter().zip(targets_of(&loads)).map(|(load, target)| load.used.saturating_sub(target)).sum();
    let seconds = progress.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
    let rate = if seconds > 0.0 { (progress.bytes_done as f64 / seconds) as u64 } else { 0 };
    BalanceStatus {
        running: true,
        waits: progress.waits,
        pace_mib: rebalance.pace_mib,
        bytes_done: progress.bytes_done,
        bytes_left: left,
        rate,
        seconds_left: left.checked_div(rate),
    }
}

/// The bytes of slots that belong on a drive, while slots are evened out.
pub(crate) fn targets(node: &Node) -> Vec<(DriveId, u64)> {
    if node.topology().rebalance.is_none() {
        return Vec::new();
    }
    let Loads { drives, loads } = Loads::of(node);
    drives.iter().map(|drive| drive.id).zip(targets_of(&loads)).collect()
}

/// Whether something is lost or drained that can be made good now, or a drive is behind.
fn heal_comes_first(node: &Node) -> bool {
    if node.drives().iter().any(|drive| drive.is_behind() && drive.is_usable()) {
        return true;
    }
    let short = node.volumes().iter().filter(|volume| !slots_to_move(volume).is_empty()).count() as u64;
    short > node.heal.progress().waiting_for_drive
}

/// The task: looks whether slots are to be moved, and moves them. On shard 0, until the store is closed.
pub(super) async fn run(node: Arc<Node>) {
    let mut skipped: BTreeSet<VolumeId> = BTreeSet::new();
    let mut vain_rounds = 0;
    while !node.heal.is_stopping() {
        let wanted = node.topology().rebalance;
        let waits = wanted.is_some() && heal_comes_first(&node);
        node.heal.update_balance(|progress| {
            match (wanted, progress.began) {
                (Some(_), None) => *progress = Progress { began: Some(Instant::now()), ..Progress::default() },
                (None, Some(_)) => progress.began = None,
                (Some(_), Some(_)) | (None, None) => {}
            }
            progress.waits = waits;
        });
        let Some(wanted) = wanted.filter(|_| !waits) else {
            (skipped, vain_rounds) = (BTreeSet::new(), 0);
            rt::time::sleep(pause(&node, LOOK_EVERY)).await;
            continue;
        };
        node.refresh_space().await;
        let now = Loads::of(&node);
        let moves = choose(&now.loads, &now.movable(&node).await, &skipped, usize::from(rt::shard_count()));
        if moves.is_empty() {
            if skipped.is_empty() || vain_rounds >= VAIN_ROUNDS_MAX {
                finish(&node, &skipped).await;
            }
            skipped.clear();
            rt::time::sleep(pause(&node, VAIN_PAUSE)).await;
            continue;
        }
        let moved = make(&node, &now.drives, &moves, wanted, &mut skipped).await;
        vain_rounds = if moved { 0 } else { vain_rounds + 1 };
    }
}

/// Makes moves side by side, one on each shard; whether any of them succeeded. Volumes of the others are skipped from now on.
async fn make(
    node: &Arc<Node>,
    drives: &[Arc<Drive>],
    moves: &[Move],
    wanted: Rebalance,
    skipped: &mut BTreeSet<VolumeId>,
) -> bool {
    let mut under_way = Vec::new();
    for (shard, &Move { volume: id, from, to }) in (0..rt::shard_count()).zip(moves) {
        let Ok(volume) = node.volume(id).await else { continue };
        let Some(slot) = (0..volume.geometry.width()).find(|&slot| volume.drive(slot).id == drives[from].id) else {
            continue;
        };
        let (node, to, bytes) = (node.clone(), drives[to].clone(), volume.slot_bytes);
        let bytes_per_second = (u64::from(wanted.pace_mib) << 20) / moves.len() as u64;
        let moving = rt::call(ShardId(shard), move || async move {
            let mut pace = Pace::of_moves(node.clone(), bytes_per_second);
            relocate(&node, &volume, Some((slot, to)), &mut pace).await
        });
        under_way.push((id, bytes, rt::spawn(moving)));
    }
    let mut any = false;
    for (id, bytes, moving) in under_way {
        match moving.await {
            Outcome::Done => {
                any = true;
                SLOTS_BALANCED.add(1);
                node.heal.update_balance(|progress| progress.bytes_done += bytes);
            }
            Outcome::NoDrive | Outcome::Later | Outcome::Failed => drop(skipped.insert(id)),
        }
    }
    any
}

async fn finish(node: &Arc<Node>, skipped: &BTreeSet<VolumeId>) {
    if !skipped.is_empty() {
        telemetry::warn!("{} volumes could not be moved; drives are not as even as they could be", skipped.len());
    }
    match node.mark(Mark::NoRebalance).await {
        Ok(()) => {
            let moved = node.heal.balance().bytes_done;
            telemetry::info!("drives are evened out as far as it goes"; moved_bytes = moved);
        }
        Err(error) => telemetry::warn!("the end of a rebalance cannot be noted: {error}"),
    }
}

/// Whether a move for the rebalance may go on: it is still wanted, and no drive has come or gone, after which what is lost
/// is rebuilt first.
pub(super) fn goes_on(node: &Node, drives: usize) -> bool {
    node.topology().rebalance.is_some() && usable(node) == drives
}

pub(super) fn usable(node: &Node) -> usize {
    node.drives().iter().filter(|drive| drive.is_usable()).count()
}

#[cfg(test)]
mod tests;

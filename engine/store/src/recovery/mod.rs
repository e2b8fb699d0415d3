//! From the drives to the state before the crash: reads what the checkpoints do not cover, and closes what was open.
//!
//! A partition lives in one stream within a start, and its LSNs grow from start to start. So the streams are read start by
//! start, one after the other, and entries come in LSN order without any merging. Recovery changes nothing that it has
//! read: what it commits again is written to a new volume first, and only then are the old streams closed. It may crash at
//! any point and be run again, with other drives there.
//!
//! A volume that closes others may go only when those are gone or wholly below every checkpoint: else they would be open
//! again.

mod behind;
mod classify;
mod plan;
mod read;
mod stream;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;

use self::stream::Hole;
use crate::error::{Error, Result};
use crate::format::batch::{Ckpt, Entry, Position};
use crate::format::volume::Closed;
use crate::ids::{Lsn, PartitionId, SlotOffset, VolumeId};
use crate::log::{Log, Opening, Sink, Ticket};
use crate::node::Node;
use crate::planted::{self, Bug};
use crate::volume::Headless;

/// Entries that are committed again wait for their batches at most in this number.
const RECOMMITS_WAITING_MAX: usize = 1024;

/// Acknowledged commits that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) volume: VolumeId,
    /// Where the first of them should be.
    pub(crate) at: SlotOffset,
    /// Numbers of the lost batches in their stream.
    pub(crate) sequences: RangeInclusive<u64>,
    /// Partitions that may have entries there which are in no table: they stay closed for writing.
    pub(crate) partitions: Vec<PartitionId>,
}

/// What recovery found and did.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// How the log of this shard begins: it closes all that recovery found open.
    pub(crate) opening: Opening,
    pub(crate) damage: Vec<Damage>,
    /// Batches read.
    pub(crate) batches: u64,
    /// Entries handed to `apply`.
    pub(crate) entries: u64,
    /// Entries that were committed again.
    pub(crate) recommitted: u64,
}

/// Replays every log stream of earlier starts beyond `ckpts`, which has one item for each partition of the deployment.
/// `apply` gets each entry once, with its address in its values, in LSN order of its partition.
///
/// Runs on the shard whose log is opened with the result, before any other log is opened and before anything is served:
/// the streams are closed once `Log::open` has returned. Memory: a few batches for each stream that ends in doubt.
pub(crate) async fn recover(
    node: &Arc<Node>,
    ckpts: &HashMap<PartitionId, Ckpt>,
    mut apply: impl FnMut(PartitionId, Entry),
) -> Result<Recovered> {
    let volumes = plan::log_volumes(node).await?;
    let mut progress = Progress {
        upto: ckpts.iter().map(|(id, ckpt)| (*id, ckpt.lsn)).collect(),
        waiting: HashMap::new(),
        entries: 0,
    };
    let mut recovered =
        Recovered { opening: Opening::fresh(), damage: Vec::new(), batches: 0, entries: 0, recommitted: 0 };
    let mut recommit = Vec::new();
    for stream in plan::streams(&volumes, ckpts) {
        let opened = plan::open(node, &stream).await?;
        let outcome = stream::read_stream(opened, &mut |entry| progress.apply(entry, &mut apply)).await?;
        recovered.batches += outcome.stripes;
        recovered.opening.closes.extend(outcome.ends);
        for (place, entries) in outcome.recommit {
            for entry in entries {
                if progress.is_new(&entry) {
                    progress.waiting.insert((entry.partition, entry.lsn), place.clone());
                    recommit.push(entry);
                }
            }
        }
        recovered.damage.extend(outcome.holes.into_iter().map(|hole| Damage {
            partitions: plan::concerned(ckpts, hole.volume, *hole.sequences.end()),
            volume: hole.volume,
            at: hole.at,
            sequences: hole.sequences,
        }));
    }
    recovered.opening.closes.extend(plan::uncertain_ends(node, &volumes).await?);
    // What a crashed recovery committed again was found where it put it.
    recommit.retain(|entry| progress.is_new(entry));
    recovered.damage.extend(progress.overtaken());
    if !recommit.is_empty() {
        recovered.recommitted = recommit.len() as u64;
        let end = commit_again(node, recommit, |entry| progress.apply(entry, &mut apply)).await?;
        recovered.opening.closes.push(Closed { volume: end.volume, end: end.offset });
        recovered.opening.sequence = end.sequence;
    }
    recovered.entries = progress.entries;
    for damage in &recovered.damage {
        telemetry::error!(
            "batches {} to {} of log volume {} cannot be read, {} partitions stay closed for writing",
            damage.sequences.start(),
            damage.sequences.end(),
            damage.volume,
            damage.partitions.len()
        );
    }
    Ok(recovered)
}

/// Log volumes of earlier starts that would have to be read, and of which no first page is right: what they hold may have been
/// acknowledged, and no table has it.
pub(crate) fn unreadable(node: &Node, ckpts: &HashMap<PartitionId, Ckpt>) -> Vec<Headless> {
    let mut headless = node.headless();
    headless.retain(|headless| headless.volume.start() < node.start && plan::is_needed(ckpts, headless.volume));
    headless
}

/// How far each partition has come.
struct Progress {
    upto: HashMap<PartitionId, Lsn>,
    /// Entries that are to be committed again, and where they were found.
    waiting: HashMap<(PartitionId, Lsn), Hole>,
    entries: u64,
}

impl Progress {
    fn is_new(&self, entry: &Entry) -> bool {
        self.upto.get(&entry.partition).is_none_or(|upto| entry.lsn > *upto)
    }

    /// Hands `entry` on unless a checkpoint covers it or it was found before, in the place it was first committed to.
    fn apply(&mut self, entry: Entry, apply: &mut impl FnMut(PartitionId, Entry)) {
        if self.is_new(&entry) || planted::is(Bug::RecoveryCountsTwice) {
            self.upto.insert(entry.partition, entry.lsn);
            self.waiting.remove(&(entry.partition, entry.lsn));
            self.entries += 1;
            apply(entry.partition, entry);
        }
    }

    /// Entries that waited to be committed again while later ones of their partition were applied: a start that served
    /// had closed the stream before, so this is never so, and if it is, it is not passed over.
    fn overtaken(&self) -> impl Iterator<Item = Damage> {
        let overtaken = self.waiting.iter().filter(|((partition, lsn), _)| self.upto.get(partition) >= Some(lsn));
        overtaken.map(|((partition, _), hole)| Damage {
            volume: hole.volume,
            at: hole.at,
            sequences: hole.sequences.clone(),
            partitions: vec![*partition],
        })
    }
}

/// Commits entries again, in a stream of this start that closes nothing yet: a crash before the old streams are closed
/// finds both copies, and takes the first. Returns where the stream goes on.
async fn commit_again(node: &Arc<Node>, entries: Vec<Entry>, mut apply: impl FnMut(Entry)) -> Result<Position> {
    let mut apply = |mut entry: Entry| {
        entry.body = None;
        apply(entry);
    };
    let sink = Rc::new(Collector::default());
    let log = Log::open(node.clone(), Opening::fresh(), sink.clone()).await?;
    let mut tickets: VecDeque<Ticket> = VecDeque::new();
    for entry in entries {
        if tickets.len() >= RECOMMITS_WAITING_MAX {
            settle(&mut tickets).await?;
        }
        let ticket = match log.append(entry.clone()) {
            Err(Error::Busy) => {
                settle(&mut tickets).await?;
                log.append(entry)?
            }
            ticket => ticket?,
        };
        tickets.push_back(ticket);
        sink.0.take().into_iter().for_each(&mut apply);
    }
    settle(&mut tickets).await?;
    log.close().await;
    sink.0.take().into_iter().for_each(&mut apply);
    Ok(log.position())
}

async fn settle(tickets: &mut VecDeque<Ticket>) -> Result<()> {
    for ticket in tickets.drain(..) {
        ticket.await?;
    }
    Ok(())
}

/// Keeps what became durable until it is applied.
#[derive(Default)]
struct Collector(RefCell<Vec<Entry>>);

impl Sink for Collector {
    fn durable(&self, entries: Vec<Entry>, _position_after: Position) {
        self.0.borrow_mut().extend(entries);
    }

    /// The tickets tell: recovery ends with their error, and is run again.
    fn failed(&self, _entries: &[Entry]) {}

    fn ended(&self) {}
}

#[cfg(all(test, feature = "sim"))]
mod tests;

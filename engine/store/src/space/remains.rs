//! What earlier starts left behind: room that was placed in a data volume and never became part of an object.
//!
//! Also volumes that were being made when the process ended: their files are there, and none of their first pages.
//!
//! A volume is preallocated, a body takes a run of it before it arrives, and a kill leaves what was not used. Nothing is
//! placed in a volume of an earlier start any more, so once all partitions have replayed, every page there that neither an
//! extent nor a dead range covers is nobody's.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use rt::ShardId;

use super::proof::{PageRange, ProvenDead};
use crate::error::{Error, Result};
use crate::ids::{Geometry, SlotOffset, VolumeId};
use crate::index::keys;
use crate::list::scan_up_to;
use crate::object::{BAD_RECORD, parse_place_value};
use crate::planted::{self, Bug};
use crate::store::{ShardStore, on_shard};
use crate::volume::{Class, SlotError, Volume};

/// How long to wait for a volume whose slots are mended.
const MENDED_PAUSE: Duration = Duration::from_millis(20);
/// Extents read at a time.
const CHUNK: usize = 4_096;

static FREED_PAGES: telemetry::Counter = telemetry::Counter::new(
    "hafiz_remains_punched_pages_total",
    "Pages of each slot given back that no object of an earlier start had used.",
);

/// Pages of every slot, from the first up to the second.
type Pages = (u32, u32);

/// Gives back what no extent covers in the data volumes of earlier starts. Once in a start, on shard 0. Does nothing while
/// a partition is damaged: what it lost may be there.
pub(super) async fn free_remains(store: &Rc<ShardStore>) -> Result<()> {
    let start = store.node().start;
    // A volume takes stripes only when its first page is durable on all of its drives.
    for unborn in store.node().take_unborn() {
        store.node().remove_unborn(ProvenDead::new(unborn)).await?;
    }
    free_log_tails(store).await?;
    for volume in store.node().volumes() {
        if volume.class != Class::Data || volume.id.start() == start {
            continue;
        }
        let mut covered = Vec::new();
        for shard in 0..rt::shard_count() {
            let (id, geometry) = (volume.id, volume.geometry);
            let asked = on_shard(ShardId(shard), move |store| async move { covered_pages(&store, id, geometry).await });
            let Some(pages) = asked.await? else { return Ok(()) };
            covered.extend(pages);
        }
        punch_gaps(&volume, gaps(covered, volume.end().0)).await?;
    }
    Ok(())
}

/// Gives back what lies beyond the recorded ends of the streams of earlier starts: it is never read, whatever drives come
/// back. The logs of this start are open, so all ends are durable.
async fn free_log_tails(store: &Rc<ShardStore>) -> Result<()> {
    let node = store.node();
    let volumes = node.volumes();
    // Of several ends of one volume the one that the latest volume records is right; they come in order.
    let recorded = volumes.iter().flat_map(|volume| volume.page().closes.iter().chain(&volume.page().predecessor));
    let ends: BTreeMap<VolumeId, SlotOffset> = recorded.map(|closed| (closed.volume, closed.end)).collect();
    for (id, end) in ends.into_iter().filter(|(id, _)| id.start() != node.start) {
        let Some(volume) = volumes.iter().find(|volume| volume.id == id) else { continue };
        let from = end.0.max(SlotOffset::FIRST_STRIPE.0);
        if from < volume.end().0 {
            punch_gaps(volume, vec![(from, volume.end().0)]).await?;
        }
    }
    Ok(())
}

/// What this shard's partitions have in a volume, dead ranges that are not punched yet included; `None` when one of them is
/// damaged.
async fn covered_pages(store: &ShardStore, id: VolumeId, geometry: Geometry) -> Result<Option<Vec<Pages>>> {
    let mut covered = Vec::new();
    for partition in store.partitions().all() {
        if partition.is_damaged() {
            return Ok(None);
        }
        for of in [keys::extent, keys::dead].into_iter().skip(usize::from(planted::is(Bug::RemainsPunchLive))) {
            let (mut from, to) = (of(id, SlotOffset(0)), of(id, SlotOffset(u32::MAX)));
            loop {
                let rows = scan_up_to(&partition, from, &to, CHUNK).await?;
                let Some((last, _)) = rows.last() else { break };
                from = keys::successor(last);
                for (key, value) in &rows {
                    let (id, at) = keys::parse_place(key).ok_or(BAD_RECORD)?;
                    let extent = parse_place_value(id, at, value).ok_or(BAD_RECORD)?;
                    let pages = u32::try_from(extent.pages(geometry)).map_err(|_| BAD_RECORD)?;
                    covered.push((at.0, at.0.checked_add(pages).ok_or(BAD_RECORD)?));
                }
            }
        }
    }
    Ok(Some(covered))
}

/// What `covered` leaves of the pages behind the first one and before `end`.
fn gaps(mut covered: Vec<Pages>, end: u32) -> Vec<Pages> {
    covered.sort_unstable();
    let mut gaps = Vec::new();
    let mut free_from = SlotOffset::FIRST_STRIPE.0;
    for (from, to) in covered {
        if from > free_from {
            gaps.push((free_from, from));
        }
        free_from = free_from.max(to);
    }
    if free_from < end {
        gaps.push((free_from, end));
    }
    gaps
}

async fn punch_gaps(volume: &Volume, gaps: Vec<Pages>) -> Result<()> {
    for (from, to) in gaps {
        let pages = to - from;
        let dead = ProvenDead::new(PageRange { volume: volume.id, at: SlotOffset(from), pages });
        // While slots are mended nothing is punched: this is done once in a start, so it waits.
        loop {
            match volume.punch(&dead).await {
                Ok(()) => break,
                Err(SlotError::Io(ErrorKind::ResourceBusy)) => rt::time::sleep(MENDED_PAUSE).await,
                Err(_) => return Err(Error::Unavailable("a drive failed while space was freed")),
            }
        }
        FREED_PAGES.add(u64::from(pages));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_nothing_covers_behind_the_first_page() {
        let check = |covered: &[Pages], end, expect: &[Pages]| {
            assert_eq!(gaps(covered.to_vec(), end), expect, "{covered:?} up to {end}");
        };
        check(&[], 10, &[(1, 10)]);
        check(&[(1, 10)], 10, &[]);
        check(&[(5, 7), (1, 3)], 10, &[(3, 5), (7, 10)]);
        check(&[(1, 4), (2, 3), (4, 6)], 6, &[]);
        check(&[(2, 6), (3, 4)], 8, &[(1, 2), (6, 8)]);
    }
}

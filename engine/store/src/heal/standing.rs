//! How far a volume may be read and whether it may be written, and what of it is live.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use rt::ShardId;

use crate::data::Extent;
use crate::error::{Error, Result};
use crate::format::batch::{Address, Ckpt};
use crate::format::record::{Body, PartRecord, Record};
use crate::ids::{Geometry, SlotOffset, VolumeId};
use crate::index::{Bytes, keys};
use crate::list::scan_up_to;
use crate::node::Node;
use crate::object::{BAD_RECORD, parse_place_value};
use crate::partition::Partition;
use crate::store::try_local;
use crate::volume::{Class, Volume};

/// Rows of the index that are looked at between two turns of other tasks.
const ROWS: usize = 1024;

/// What may be done with a volume now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Nothing at or beyond it counts.
    pub(super) end: SlotOffset,
    /// It takes no more stripes, and none is on its way: it may be mended.
    pub(super) settled: bool,
}

impl Standing {
    pub(super) async fn of(node: &Arc<Node>, volume: &Volume) -> Standing {
        match volume.class {
            Class::Data => Standing { end: volume.end(), settled: volume.is_sealed() && !volume.is_held() },
            Class::Log => log_standing(node, volume).await,
        }
    }
}

/// Of a log volume of this start its stream says whether it has gone on; ends are in the pages of later volumes.
async fn log_standing(node: &Arc<Node>, volume: &Volume) -> Standing {
    let id = volume.id;
    if id.start() == node.start {
        let asked = rt::call(ShardId(id.shard()), || async { try_local()?.log_position() });
        let Some(position) = asked.await else { return Standing { end: SlotOffset::FIRST_STRIPE, settled: false } };
        if position.volume == id {
            return Standing { end: position.offset, settled: false };
        }
        if id > position.volume {
            return Standing { end: SlotOffset::FIRST_STRIPE, settled: false };
        }
    }
    // The latest volume that records an end is right.
    let mut recorded: Option<(VolumeId, SlotOffset)> = None;
    for by in node.volumes() {
        for closed in by.page().predecessor.iter().chain(&by.page().closes).filter(|closed| closed.volume == id) {
            if recorded.is_none_or(|(known, _)| known <= by.id) {
                recorded = Some((by.id, closed.end));
            }
        }
    }
    Standing { end: recorded.map_or(volume.end(), |(_, end)| end.min(volume.end())), settled: true }
}

/// The extents of a data volume that are live, in order. `NotFound` while the store is being closed.
pub(super) async fn live_extents(id: VolumeId) -> Result<Vec<Extent>> {
    let mut extents = Vec::new();
    for shard in 0..rt::shard_count() {
        let asked = rt::call(ShardId(shard), move || async move {
            let store = try_local().ok_or(Error::NotFound)?;
            let mut extents = Vec::new();
            for partition in store.partitions().all() {
                let (from, to) = (keys::extent(id, SlotOffset(0)), keys::extent(id, SlotOffset(u32::MAX)));
                each_row(&partition, from, &to, async |key, value| {
                    let (id, at) = keys::parse_place(key).ok_or(BAD_RECORD)?;
                    extents.push(parse_place_value(id, at, value).ok_or(BAD_RECORD)?);
                    Ok(())
                })
                .await?;
            }
            Ok::<_, Error>(extents)
        });
        extents.extend(asked.await?);
    }
    extents.sort_unstable_by_key(|extent| extent.at);
    Ok(extents)
}

/// Whether the stripe at `at` belongs to one of the extents.
pub(super) fn covers(geometry: Geometry, extents: &[Extent], at: SlotOffset) -> bool {
    let candidate = extents.partition_point(|extent| extent.at <= at).checked_sub(1).map(|index| &extents[index]);
    candidate.is_some_and(|extent| u64::from(at.0) < u64::from(extent.at.0) + extent.pages(geometry))
}

/// Those of the stripes of a data volume that are live.
pub(super) async fn needed_extents(volume: &Volume, stripes: &[SlotOffset]) -> Result<Vec<SlotOffset>> {
    let extents = live_extents(volume.id).await?;
    Ok(stripes.iter().copied().filter(|at| covers(volume.geometry, &extents, *at)).collect())
}

/// Those of `stripes` (of log volumes) that are needed: a small body lies in them, or a recovery would read them.
pub(super) async fn needed_batches(
    stripes: &BTreeSet<(VolumeId, SlotOffset)>,
) -> Result<BTreeSet<(VolumeId, SlotOffset)>> {
    let mut needed = BTreeSet::new();
    for shard in 0..rt::shard_count() {
        let stripes = stripes.clone();
        let asked = rt::call(ShardId(shard), move || async move {
            let store = try_local().ok_or(Error::NotFound)?;
            let mut needed = BTreeSet::new();
            for partition in store.partitions().all() {
                let ckpt = partition.ckpt();
                needed.extend(stripes.iter().filter(|(volume, at)| is_above(&ckpt, *volume, *at)));
                for (from, to) in keys::spaces_with_bodies() {
                    each_row(&partition, from, &to, async |key, value| {
                        if let Some(body) = body_of(key, value)? {
                            each_small(&body, &mut |address| {
                                let place = (address.volume, address.slot_offset);
                                if stripes.contains(&place) {
                                    needed.insert(place);
                                }
                            });
                        }
                        Ok(())
                    })
                    .await?;
                }
            }
            Ok::<_, Error>(needed)
        });
        needed.extend(asked.await?);
    }
    Ok(needed)
}

/// Whether a start now would not read anything of this log volume to recover.
pub(super) async fn is_below_checkpoints(volume: VolumeId) -> Result<bool> {
    for shard in 0..rt::shard_count() {
        let asked = rt::call(ShardId(shard), move || async move {
            let store = try_local().ok_or(Error::NotFound)?;
            let is_read = |partition: &Rc<Partition>| is_above(&partition.ckpt(), volume, SlotOffset(u32::MAX));
            Ok::<_, Error>(store.partitions().all().iter().any(is_read))
        });
        if asked.await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a recovery from this checkpoint would read the batch at `at` of a log volume.
fn is_above(ckpt: &Ckpt, volume: VolumeId, at: SlotOffset) -> bool {
    let Some(position) = ckpt.position else { return true };
    let (stream, here) = ((volume.start(), volume.shard()), (position.volume.start(), position.volume.shard()));
    if stream == here { (volume, at) >= (position.volume, position.offset) } else { stream.0 > here.0 }
}

/// The body that a value of the spaces with bodies names; `None` for an upload, which has none.
pub(super) fn body_of(key: &[u8], value: &[u8]) -> Result<Option<Body>> {
    match keys::parse_upload(key) {
        Some(parsed) if parsed.part.is_none() => Ok(None),
        Some(_) => Ok(Some(PartRecord::decode(value).map_err(|_| BAD_RECORD)?.body)),
        None => Ok(Some(Record::decode(value).map_err(|_| BAD_RECORD)?.body)),
    }
}

/// Calls `each` with the address of every small body in `body`.
pub(super) fn each_small(body: &Body, each: &mut impl FnMut(&Address)) {
    match body {
        Body::Empty | Body::Extents(_) => {}
        Body::Small { address, .. } => each(address),
        Body::Pieces(pieces) => pieces.iter().for_each(|piece| each_small(piece, each)),
    }
}

/// Calls `each` with every extent in `body`.
pub(super) fn each_extent(body: &Body, each: &mut impl FnMut(&Extent)) {
    match body {
        Body::Empty | Body::Small { .. } => {}
        Body::Extents(extents) => extents.iter().for_each(each),
        Body::Pieces(pieces) => pieces.iter().for_each(|piece| each_extent(piece, each)),
    }
}

/// Calls `each` with every durable row of a range, in slices.
pub(super) async fn each_row(
    partition: &Partition,
    mut from: Vec<u8>,
    to: &[u8],
    mut each: impl AsyncFnMut(&Bytes, &Bytes) -> Result<()>,
) -> Result<()> {
    loop {
        let rows = scan_up_to(partition, from, to, ROWS).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        from = keys::successor(last);
        for (key, value) in &rows {
            each(key, value).await?;
        }
        rt::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::batch::Position;
    use crate::ids::{Lsn, StartNumber};

    #[test]
    fn a_checkpoint_spares_what_lies_before_it_and_streams_that_it_has_left() {
        let id = |start, shard, counter| VolumeId::new(StartNumber::new(start).expect("small"), shard, counter);
        let ckpt = Ckpt {
            lsn: Lsn::ZERO,
            position: Some(Position { volume: id(2, 1, 5), offset: SlotOffset(9), sequence: 1 }),
        };
        let check = |volume, at, expect| assert_eq!(is_above(&ckpt, volume, SlotOffset(at)), expect, "{volume} {at}");
        check(id(2, 1, 5), 8, false);
        check(id(2, 1, 5), 9, true);
        check(id(2, 1, 6), 1, true);
        check(id(2, 1, 4), 99, false);
        check(id(2, 0, 7), 99, false);
        check(id(1, 1, 9), 99, false);
        check(id(3, 0, 0), 1, true);
        assert!(is_above(&Ckpt { position: None, ..ckpt }, id(1, 0, 0), SlotOffset(1)));
    }

    #[test]
    fn a_stripe_is_covered_from_the_first_page_of_an_extent_to_its_last() {
        let geometry = Geometry::new(4, 2).expect("valid");
        let extent = |at, len| Extent { volume: VolumeId(1), at: SlotOffset(at), len, stripe_data: 1 << 20 };
        let extents = [extent(4, 3000), extent(9, (1 << 20) + 1)];
        assert_eq!(extents[1].pages(geometry), 66);
        let covered: Vec<u32> = (0..90).filter(|at| covers(geometry, &extents, SlotOffset(*at))).collect();
        let expect: Vec<u32> = std::iter::once(4).chain(9..75).collect();
        assert_eq!(covered, expect);
    }
}

//! Dead ranges of data volumes: given back to the file system, then forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::proof::{PageRange, ProvenDead};
use super::readers;
use crate::error::{Error, Result};
use crate::ids::VolumeId;
use crate::index::{Bytes, keys};
use crate::list::scan_up_to;
use crate::object::{BAD_RECORD, parse_place_value};
use crate::partition::{Change, Partition, View};
use crate::planted::{self, Bug};
use crate::store::ShardStore;
use crate::volume::Volume;

/// Dead ranges that are freed by one commit.
const CHUNK: usize = 512;

static FREED_BYTES: telemetry::Counter =
    telemetry::Counter::new("hafiz_punched_bytes_total", "Bytes of bodies whose stripes were given back.");

/// Frees the dead ranges that `partition` knows of.
///
/// The proof: a range gets its `g/` entry in the commit that removes its `e/` entry, addresses are never used again, so
/// nothing can become live there; and no read that may have found the old record is still going on. The entry goes when
/// the punch is durable on every drive that is there; drives that are absent enter again as new ones.
pub(super) async fn free_dead_ranges(store: &ShardStore, partition: &Partition) -> Result<()> {
    let (mut from, to) = keys::all_dead();
    loop {
        let rows = scan_up_to(partition, from, &to, CHUNK).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        from = keys::successor(last);
        readers::pass_on_all_shards().await?;
        let mut by_volume: BTreeMap<VolumeId, Vec<(Bytes, Bytes)>> = BTreeMap::new();
        for (key, value) in rows {
            let (volume, _) = keys::parse_place(&key).ok_or(BAD_RECORD)?;
            by_volume.entry(volume).or_default().push((key, value));
        }
        let mut change = Change::default();
        for (id, rows) in by_volume {
            match store.node().volume(id).await {
                // Its rows stay for the next pass.
                Ok(volume) if volume.is_mended() => continue,
                Ok(volume) => punch(partition, &volume, &rows).await?,
                // The volume went as a whole: its ranges went with it.
                Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
            rows.into_iter().for_each(|(key, _)| change.remove(key.to_vec()));
        }
        if !change.ops.is_empty() {
            partition.decide(store.log(), |_| change)?.1.await?;
        }
    }
}

async fn punch(partition: &Partition, volume: &Arc<Volume>, rows: &[(Bytes, Bytes)]) -> Result<()> {
    for (key, value) in rows {
        let (id, at) = keys::parse_place(key).ok_or(BAD_RECORD)?;
        let extent = parse_place_value(id, at, value).ok_or(BAD_RECORD)?;
        let live = partition.get(&keys::extent(id, at), View::Decided).await?;
        assert!(live.is_none(), "a dead range has no live extent");
        let pages = u32::try_from(extent.pages(volume.geometry)).map_err(|_| BAD_RECORD)?;
        let fits = at.0 + pages < volume.end().0;
        let pages = pages + u32::from(fits && planted::is(Bug::PunchTooLong));
        let dead = ProvenDead::new(PageRange { volume: id, at, pages });
        volume.punch(&dead).await.map_err(|_| Error::Unavailable("a drive failed while space was freed"))?;
        FREED_BYTES.add(extent.len);
    }
    for slot in (0..volume.geometry.width()).filter(|&slot| volume.is_readable(slot)) {
        volume.sync_slot(slot).await.map_err(|_| Error::Unavailable("a drive failed while space was freed"))?;
    }
    Ok(())
}

//! For the simulation: where the fragments of an object lie, so that a test can damage those it chooses.

use std::path::PathBuf;
use std::sync::Arc;

use super::check::check;
use super::pieces::Pieces;
use super::standing::{each_extent, each_small};
use crate::error::{Error, Result};
use crate::format::fragment::used_pages;
use crate::format::record::Record;
use crate::ids::{PAGE_BYTES, SlotOffset};
use crate::volume::Volume;

/// A fragment of a stripe that holds bytes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedFragment {
    /// Counts the object's stripes.
    pub stripe: usize,
    /// Below D: data; from D on: parity.
    pub index: usize,
    pub path: PathBuf,
    pub offset: u64,
    pub len: u64,
}

/// The expected fragments of every stripe of an object, in order. On any shard of an open store.
pub async fn placed_fragments(record: &Record) -> Result<Vec<PlacedFragment>> {
    let store = crate::store::local();
    let mut places = Vec::new();
    each_small(&record.body, &mut |address| places.push((address.volume, address.slot_offset, None)));
    each_extent(&record.body, &mut |extent| places.push((extent.volume, extent.at, Some(*extent))));
    let (mut placed, mut stripe) = (Vec::new(), 0);
    for (id, at, extent) in places {
        let volume = store.node().volume(id).await?;
        let Some(extent) = extent else {
            add(&volume, at, stripe, &mut placed).await?;
            stripe += 1;
            continue;
        };
        let mut offset = 0;
        while let Some(found) = extent.stripe(volume.geometry, offset, extent.len) {
            add(&volume, found.at, stripe, &mut placed).await?;
            stripe += 1;
            offset += found.range.len() as u64;
        }
    }
    Ok(placed)
}

async fn add(volume: &Arc<Volume>, at: SlotOffset, stripe: usize, placed: &mut Vec<PlacedFragment>) -> Result<()> {
    let mut pieces = Pieces::new(volume.clone(), at.advance(1));
    let checked = check(&mut pieces, at, None).await;
    let header = checked.header.ok_or(Error::Corrupt { volume: volume.id, what: "a stripe has no header" })?;
    for (index, _) in checked.fragments {
        let slot = volume.slot_of(at, index);
        let pages = used_pages(header.fragment_len, header.used_by(index as u8));
        let len = u64::from(pages) * PAGE_BYTES as u64;
        let path = volume.drive(slot).volume_path(volume.id, slot);
        placed.push(PlacedFragment { stripe, index, path, offset: at.bytes(), len });
    }
    Ok(())
}

//! The bytes of a body, as far as its stripes can be read.

use std::io;
use std::ops::Range;

use super::slots::{Piece, push};
use super::source::Source;
use crate::data::Extent;
use crate::format::batch::Address;
use crate::format::record::Body;
use crate::ids::{SlotOffset, VolumeId};
use crate::stripe::Layout;

/// Zeros handed over at a time for what is not there.
const ZEROS_BYTES: u64 = 1 << 20;

/// Larger bodies are none: bounds what a record makes its reader do.
pub(super) const BODY_BYTES_MAX: u64 = 1 << 46;

/// Where bytes lie.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Record(Body),
    /// Stripes that no record names: where they begin, and bytes of each.
    Stripes(VolumeId, Vec<(SlotOffset, u32)>),
}

impl Place {
    pub(super) fn len(&self) -> u64 {
        match self {
            Place::Record(body) => body.len(),
            Place::Stripes(_, stripes) => stripes.iter().map(|(_, len)| u64::from(*len)).sum(),
        }
    }
}

/// Hands over all bytes in order, at most one stripe at a time; what cannot be read is zero.
pub(super) fn read(source: &Source, place: &Place, sink: &mut dyn FnMut(Piece) -> io::Result<()>) -> io::Result<()> {
    match place {
        Place::Record(body) => read_body(source, body, sink),
        Place::Stripes(volume, stripes) => {
            for (at, len) in stripes {
                let whole = |layout: Layout| layout.stripe_len == *len;
                sink(stripe(source, *volume, *at, 0..*len as usize, whole))?;
            }
            Ok(())
        }
    }
}

/// The ranges that cannot be read. Cost: reads everything.
pub(super) fn missing(source: &Source, place: &Place) -> Vec<Range<u64>> {
    let (mut offset, mut missing) = (0, Vec::new());
    let mut look = |piece: Piece| {
        piece.missing.iter().for_each(|gap| push(&mut missing, offset + gap.start as u64..offset + gap.end as u64));
        offset += piece.bytes.len() as u64;
        Ok(())
    };
    read(source, place, &mut look).expect("looking at a piece does not fail");
    missing
}

fn read_body(source: &Source, body: &Body, sink: &mut dyn FnMut(Piece) -> io::Result<()>) -> io::Result<()> {
    match body {
        Body::Empty => Ok(()),
        Body::Small { address, crc } => sink(small(source, *address, *crc)),
        Body::Extents(extents) => extents.iter().try_for_each(|extent| read_extent(source, extent, sink)),
        Body::Pieces(pieces) => pieces.iter().try_for_each(|piece| read_body(source, piece, sink)),
    }
}

fn small(source: &Source, address: Address, crc: u32) -> Piece {
    let same = |layout: Layout| layout.fragment_len == address.fragment_len;
    let piece = stripe(source, address.volume, address.slot_offset, address.range(), same);
    let right = !piece.missing.is_empty() || codec::checksum::crc32c(&piece.bytes) == crc;
    if right { piece } else { nothing(piece.bytes.len()) }
}

fn read_extent(source: &Source, extent: &Extent, sink: &mut dyn FnMut(Piece) -> io::Result<()>) -> io::Result<()> {
    let geometry = source.volumes.get(&extent.volume).map(|described| described.page.geometry);
    let mut offset = 0;
    while offset < extent.len {
        let part = geometry.and_then(|geometry| extent.stripe(geometry, offset, extent.len));
        let piece = match part {
            Some(part) => stripe(source, extent.volume, part.at, part.range, |layout| layout == part.layout),
            None => nothing(ZEROS_BYTES.min(extent.len - offset) as usize),
        };
        offset += piece.bytes.len() as u64;
        sink(piece)?;
    }
    Ok(())
}

/// A range of the stripe at `at`, if what stands there is the stripe that is meant.
fn stripe(
    source: &Source,
    volume: VolumeId,
    at: SlotOffset,
    range: Range<usize>,
    is_meant: impl Fn(Layout) -> bool,
) -> Piece {
    let Some(slots) = source.slots(volume) else { return nothing(range.len()) };
    let header = slots.stripe_at(at).filter(|header| {
        let layout = Layout::stated(header.geometry, header.fragment_len, header.stripe_len);
        layout.is_some_and(&is_meant) && range.end <= header.stripe_len as usize
    });
    match header {
        Some(header) => slots.read(&header, range),
        None => nothing(range.len()),
    }
}

#[expect(clippy::single_range_in_vec_init, reason = "one range that is missing")]
fn nothing(len: usize) -> Piece {
    Piece { bytes: vec![0; len], missing: if len == 0 { Vec::new() } else { vec![0..len] } }
}

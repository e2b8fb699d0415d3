//! Extents: consecutive stripes of one volume that hold a stretch of one body. Every stripe holds `stripe_data` bytes of
//! it, the last one what is left; with the volume's geometry this says where every byte is.

use std::ops::Range;

use crate::ids::{Geometry, SlotOffset, VolumeId};
use crate::stripe::{Layout, STRIPE_LEN_MAX};

/// Most bytes of a body in one stripe of a data volume.
const STRIPE_DATA_BYTES_MAX: u32 = 1 << 20;

/// Most bytes of a body in one fragment when there are several: a header more, and the second size of large buffers is
/// used well.
const FRAGMENT_DATA_BYTES_MAX: u32 = 256 << 10;

/// Bytes of a body in each stripe of a data volume of this geometry, but the last of an extent.
pub(crate) fn stripe_data(geometry: Geometry) -> u32 {
    match u32::from(geometry.data) {
        1 => STRIPE_DATA_BYTES_MAX,
        data => (data * FRAGMENT_DATA_BYTES_MAX).min(STRIPE_DATA_BYTES_MAX),
    }
}

/// Consecutive stripes that hold a stretch of one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub volume: VolumeId,
    /// Slot offset of the first stripe.
    pub at: SlotOffset,
    /// Bytes of the body; at least 1.
    pub len: u64,
    /// Bytes of the body in each full stripe; at least 1.
    pub stripe_data: u32,
}

/// One stripe of an extent, as far as a range of the body touches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StripeRange {
    pub(crate) at: SlotOffset,
    pub(crate) layout: Layout,
    /// Of the stripe's linear space.
    pub(crate) range: Range<usize>,
}

impl Extent {
    /// Pages of every slot that the extent takes.
    pub(crate) fn pages(&self, geometry: Geometry) -> u64 {
        pages(geometry, self.len, self.stripe_data)
    }

    /// The same for an extent of which nothing is known but what is written; `None` if it cannot exist.
    pub(crate) fn pages_if_possible(&self, geometry: Geometry) -> Option<u32> {
        let possible = (1..=STRIPE_LEN_MAX as u32).contains(&self.stripe_data);
        let stripes = self.len.div_ceil(u64::from(self.stripe_data).max(1));
        // Every stripe takes a page at least.
        let pages = (possible && stripes <= u64::from(u32::MAX)).then(|| self.pages(geometry))?;
        u32::try_from(pages).ok()
    }

    /// The stripe that holds byte `offset` of this extent, with the bytes up to `end` that it holds. `None` if a record
    /// states a place that cannot exist.
    pub(crate) fn stripe(&self, geometry: Geometry, offset: u64, end: u64) -> Option<StripeRange> {
        let possible = (1..=STRIPE_LEN_MAX as u32).contains(&self.stripe_data);
        if !possible || offset >= end || end > self.len {
            return None;
        }
        let stripe_data = u64::from(self.stripe_data);
        let number = offset / stripe_data;
        let base = number * stripe_data;
        let full = Layout::for_len(geometry, usize::try_from(self.len.min(stripe_data)).ok()?);
        let pages = number.checked_mul(u64::from(full.pages()))?;
        let at = u64::from(self.at.0).checked_add(pages)?;
        let layout = Layout::for_len(geometry, (self.len - base).min(stripe_data) as usize);
        let range = (offset - base) as usize..(end - base).min(stripe_data) as usize;
        Some(StripeRange { at: SlotOffset(u32::try_from(at).ok()?), layout, range })
    }
}

/// Pages of every slot for `len` bytes in stripes of `stripe_data`.
pub(super) fn pages(geometry: Geometry, len: u64, stripe_data: u32) -> u64 {
    let (full, rest) = (len / u64::from(stripe_data), len % u64::from(stripe_data));
    let of = |len: u64| u64::from(Layout::for_len(geometry, len as usize).pages());
    let full_pages = if full > 0 { full * of(u64::from(stripe_data)) } else { 0 };
    full_pages + if rest > 0 { of(rest) } else { 0 }
}

/// The extents of a body that is being written, merged as far as its stripes follow each other.
#[derive(Debug, Default)]
pub(crate) struct Extents {
    extents: Vec<Extent>,
    /// Where the stripe after the last one would be, if that was a full one.
    next: Option<SlotOffset>,
}

impl Extents {
    /// Adds the stripe of `layout` at `at`.
    pub(crate) fn push(&mut self, volume: VolumeId, at: SlotOffset, layout: Layout) {
        let len = layout.stripe_len;
        let stripe_data = stripe_data(layout.geometry);
        match self.extents.last_mut() {
            Some(last) if last.volume == volume && self.next == Some(at) => last.len += u64::from(len),
            _ => self.extents.push(Extent { volume, at, len: u64::from(len), stripe_data }),
        }
        self.next = (len == stripe_data).then(|| at.advance(layout.pages()));
    }

    pub(crate) fn finish(self) -> Vec<Extent> {
        self.extents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRIPE: u64 = 1 << 20;
    const GEOMETRY: Geometry = Geometry { data: 4, parity: 2 };

    fn volume(counter: u64) -> VolumeId {
        VolumeId(counter)
    }

    #[test]
    fn stripes_that_follow_each_other_become_one_extent() {
        let full = Layout::for_len(GEOMETRY, STRIPE as usize);
        let short = Layout::for_len(GEOMETRY, 1000);
        let mut extents = Extents::default();
        let mut at = SlotOffset(10);
        for _ in 0..3 {
            extents.push(volume(1), at, full);
            at = at.advance(full.pages());
        }
        extents.push(volume(1), at, short);
        extents.push(volume(1), at.advance(short.pages()), full);
        extents.push(volume(2), SlotOffset(1), full);
        let lens: Vec<_> = extents.finish().iter().map(|extent| extent.len).collect();
        assert_eq!(lens, [3 * STRIPE + 1000, STRIPE, STRIPE]);
    }

    #[test]
    fn every_byte_of_an_extent_is_found_where_it_was_put() {
        let full = Layout::for_len(GEOMETRY, STRIPE as usize);
        let extent = Extent { volume: volume(1), at: SlotOffset(7), len: 2 * STRIPE + 5, stripe_data: STRIPE as u32 };
        let first = extent.stripe(GEOMETRY, 10, extent.len).expect("inside");
        assert_eq!((first.at, first.range), (SlotOffset(7), 10..STRIPE as usize));
        let last = extent.stripe(GEOMETRY, 2 * STRIPE + 1, 2 * STRIPE + 3).expect("inside");
        assert_eq!((last.at, last.range), (SlotOffset(7 + 2 * full.pages()), 1..3));
        assert_eq!(last.layout, Layout::for_len(GEOMETRY, 5));
        assert_eq!(extent.stripe(GEOMETRY, 5, extent.len + 1), None);
        assert_eq!(extent.stripe(GEOMETRY, extent.len, extent.len), None);
        assert_eq!(pages(GEOMETRY, extent.len, extent.stripe_data), u64::from(2 * full.pages() + 1));
    }
}

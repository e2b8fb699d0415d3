//! How the bytes of one stripe lie on the fragments of a volume: a pure function of geometry and length.

use std::ops::Range;

use crate::format::fragment::{self, Header};
use crate::ids::{Geometry, PAGE_BYTES};

/// Unit of a fragment's length: payloads are whole cache lines, which the erasure kernels like best.
const FRAGMENT_UNIT: usize = 64;

/// Most bytes one stripe holds: a full commit batch. The largest buffers hold this and a header.
pub(crate) const STRIPE_LEN_MAX: usize = 4 << 20;

/// The shape of one stripe. Its linear space is cut into fragments of `fragment_len` bytes: the first ones carry data, data
/// fragments beyond `stripe_len` are all zero and are not written, parity fragments always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) geometry: Geometry,
    /// Payload bytes of each fragment (F).
    pub(crate) fragment_len: u32,
    /// Bytes of the linear space that are in use; at least 1.
    pub(crate) stripe_len: u32,
}

impl Layout {
    /// The layout of a stripe of `len` bytes, `1..=STRIPE_LEN_MAX`. It writes the fewest pages, and of those choices the
    /// one with the fewest fragments (fewest I/Os). Stored addresses depend on this choice: it never changes.
    pub(crate) fn for_len(geometry: Geometry, len: usize) -> Layout {
        assert!((1..=STRIPE_LEN_MAX).contains(&len), "a stripe of {len} bytes");
        let mut best: Option<(usize, usize)> = None;
        for fragments in 1..=usize::from(geometry.data) {
            let fragment_len = len.div_ceil(fragments).next_multiple_of(FRAGMENT_UNIT);
            let written = len.div_ceil(fragment_len) + usize::from(geometry.parity);
            let pages = written * fragment::fragment_pages(fragment_len as u32) as usize;
            if best.is_none_or(|(fewest, _)| pages < fewest) {
                best = Some((pages, fragment_len));
            }
        }
        let (_, fragment_len) = best.expect("a geometry has at least one data fragment");
        Layout { geometry, fragment_len: fragment_len as u32, stripe_len: len as u32 }
    }

    /// The layout that a fragment's header states, unless it is none that could have been written.
    pub(crate) fn stated(geometry: Geometry, fragment_len: u32, stripe_len: u32) -> Option<Layout> {
        let room = u64::from(fragment_len) * u64::from(geometry.data);
        let valid = fragment_len > 0 && stripe_len > 0 && u64::from(stripe_len) <= room;
        valid.then_some(Layout { geometry, fragment_len, stripe_len })
    }

    /// Data fragments that carry bytes: indices `0..data_used()`. The other data fragments are implied zero.
    pub(crate) fn data_used(&self) -> usize {
        (self.stripe_len as usize).div_ceil(self.fragment_len as usize)
    }

    /// Indices of the fragments that are written: data fragments that carry bytes, then parity.
    pub(crate) fn expected(&self) -> impl Iterator<Item = usize> + use<> {
        let data = usize::from(self.geometry.data);
        (0..self.data_used()).chain(data..self.geometry.width())
    }

    /// Bytes before the payload of each fragment.
    pub(crate) fn header_len(&self) -> usize {
        Header::len(self.fragment_len)
    }

    /// Pages of every slot that the stripe takes.
    pub(crate) fn pages(&self) -> u32 {
        fragment::fragment_pages(self.fragment_len)
    }

    /// Bytes of one fragment on its drive: header, payload, padding.
    pub(crate) fn fragment_bytes(&self) -> usize {
        self.pages() as usize * PAGE_BYTES
    }

    /// Bytes that fragment `index` uses of its payload: 0 = implied zero, not written. Parity uses as many as the
    /// longest data fragment.
    pub(crate) fn used(&self, index: usize) -> usize {
        fragment::used(self.geometry, self.fragment_len, self.stripe_len, index as u8) as usize
    }
}

/// Cuts a range of the linear space at fragment borders: (fragment, range of its payload), in order.
pub(crate) fn cut(fragment_len: u32, range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
    let len = fragment_len as usize;
    let first = range.start / len;
    let end = if range.is_empty() { first } else { range.end.div_ceil(len) };
    (first..end).map(move |index| {
        let base = index * len;
        (index, range.start.max(base) - base..range.end.min(base + len) - base)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(data: u8, parity: u8, len: usize) -> Layout {
        Layout::for_len(Geometry::new(data, parity).expect("valid"), len)
    }

    #[test]
    fn a_full_stripe_spreads_over_all_fragments() {
        let full = layout(4, 2, 1 << 20);
        assert_eq!((full.fragment_len, full.pages(), full.data_used()), (256 << 10, 65, 4));
        assert_eq!(full.expected().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        let wide = layout(12, 2, 1 << 20);
        assert_eq!((wide.fragment_len, wide.pages(), wide.data_used()), (87_424, 22, 12));
    }

    #[test]
    fn a_small_stripe_takes_one_page_of_few_fragments() {
        let small = layout(4, 2, 1000);
        assert_eq!((small.pages(), small.data_used()), (1, 1));
        assert_eq!(small.expected().collect::<Vec<_>>(), [0, 4, 5]);
        let two = layout(4, 2, 4500);
        assert_eq!((two.pages(), two.data_used()), (1, 2));
    }

    #[test]
    fn every_byte_has_its_place_and_every_fragment_its_share() {
        for (data, parity) in [(1, 0), (1, 1), (2, 1), (4, 2), (12, 2), (16, 8)] {
            for len in [1, 63, 64, 4096, 5000, 16_384, 65_537, 1 << 20, STRIPE_LEN_MAX] {
                let layout = layout(data, parity, len);
                assert!(layout.data_used() <= usize::from(data));
                let used: usize = (0..usize::from(data)).map(|index| layout.used(index)).sum();
                assert_eq!(used, len);
                let cuts: Vec<_> = cut(layout.fragment_len, 0..len).collect();
                assert_eq!(cuts.len(), layout.data_used());
                assert!(cuts.iter().all(|(index, range)| range.len() == layout.used(*index)));
                assert!(layout.fragment_bytes() >= layout.header_len() + layout.fragment_len as usize);
            }
        }
    }

    #[test]
    fn a_range_is_cut_at_fragment_borders() {
        let cuts: Vec<_> = cut(100, 150..310).collect();
        assert_eq!(cuts, [(1, 50..100), (2, 0..100), (3, 0..10)]);
        assert_eq!(cut(100, 150..150).count(), 0);
    }

    #[test]
    fn a_header_that_states_an_impossible_layout_is_refused() {
        let geometry = Geometry::new(2, 1).expect("valid");
        assert!(Layout::stated(geometry, 64, 128).is_some());
        assert!(Layout::stated(geometry, 64, 129).is_none());
        assert!(Layout::stated(geometry, 0, 0).is_none());
    }
}

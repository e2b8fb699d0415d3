//! From a body and a range of it to the steps in which it is read.

use std::collections::VecDeque;
use std::ops::Range;

use crate::data::Extent;
use crate::format::record::Body;
use crate::ids::VolumeId;
use crate::log::Address;

/// What is read at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `range` of a small body, which is read and verified whole.
    Small { address: Address, crc: u32, range: Range<usize> },
    /// The bytes `from..to` of an extent: in one stripe.
    Stripe { extent: Extent, from: u64, to: u64 },
}

impl Step {
    pub(crate) fn volume(&self) -> VolumeId {
        match self {
            Step::Small { address, .. } => address.volume,
            Step::Stripe { extent, .. } => extent.volume,
        }
    }

    fn len(&self) -> u64 {
        match self {
            Step::Small { range, .. } => range.len() as u64,
            Step::Stripe { from, to, .. } => to - from,
        }
    }
}

/// The steps of a read that are still to come. An extent is cut into stripes as they are asked for.
#[derive(Debug)]
pub(crate) struct Plan {
    /// A stripe step may span stripes here.
    pieces: VecDeque<Step>,
}

impl Plan {
    /// Reads `range` of `body`, which lies in it. Cost: one look at every piece.
    pub(crate) fn new(body: &Body, range: Range<u64>) -> Plan {
        assert!(range.start <= range.end && range.end <= body.len(), "the range lies in the body");
        let mut pieces = VecDeque::new();
        collect(body, &mut 0, &range, &mut pieces);
        Plan { pieces }
    }

    /// Takes a step back that came from here last.
    pub(crate) fn put_back(&mut self, step: Step) {
        self.pieces.push_front(step);
    }

    /// Whether exactly one step is left.
    pub(crate) fn is_single(&self) -> bool {
        self.pieces.len() == 1 && self.pieces.front().is_some_and(|step| first_len(step) == step.len())
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let front = self.pieces.front_mut()?;
        let len = first_len(front);
        if let Step::Stripe { extent, from, to } = front
            && *to - *from > len
        {
            let step = Step::Stripe { extent: *extent, from: *from, to: *from + len };
            *from += len;
            return Some(step);
        }
        self.pieces.pop_front()
    }
}

/// Bytes of a piece that its first step reads.
fn first_len(piece: &Step) -> u64 {
    match piece {
        Step::Small { .. } => piece.len(),
        Step::Stripe { extent, from, to } => {
            let stripe_data = u64::from(extent.stripe_data.max(1));
            (to - from).min(stripe_data - from % stripe_data)
        }
    }
}

/// Adds the pieces of `body`, which begins at `base` of the whole, as far as `range` touches them; moves `base` behind it.
fn collect(body: &Body, base: &mut u64, range: &Range<u64>, pieces: &mut VecDeque<Step>) {
    let mut touched = |len: u64| {
        let (start, end) = (*base, base.saturating_add(len));
        *base = end;
        let (from, to) = (range.start.clamp(start, end), range.end.clamp(start, end));
        (from < to).then(|| (from - start, to - start))
    };
    match body {
        Body::Empty => {}
        Body::Small { address, crc } => {
            if let Some((from, to)) = touched(u64::from(address.len)) {
                let range = from as usize..to as usize;
                pieces.push_back(Step::Small { address: *address, crc: *crc, range });
            }
        }
        Body::Extents(extents) => {
            for extent in extents {
                if let Some((from, to)) = touched(extent.len) {
                    pieces.push_back(Step::Stripe { extent: *extent, from, to });
                }
            }
        }
        Body::Pieces(bodies) => bodies.iter().for_each(|body| collect(body, base, range, pieces)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SlotOffset;

    fn extent(volume: u64, len: u64) -> Extent {
        Extent { volume: VolumeId(volume), at: SlotOffset(1), len, stripe_data: 100 }
    }

    fn small(len: u32) -> Body {
        let (volume, slot_offset) = (VolumeId(9), SlotOffset(3));
        Body::Small { address: Address { volume, slot_offset, fragment_len: 64, offset: 0, len }, crc: 7 }
    }

    fn check(body: &Body, range: Range<u64>, expect: &[(u64, u64, u64)]) {
        let steps: Vec<_> = Plan::new(body, range)
            .map(|step| match step {
                Step::Small { address, range, .. } => (address.volume.0, range.start as u64, range.end as u64),
                Step::Stripe { extent, from, to } => (extent.volume.0, from, to),
            })
            .collect();
        assert_eq!(steps, expect);
    }

    #[test]
    fn a_range_becomes_the_stripes_it_touches() {
        let body = Body::Extents(vec![extent(1, 250), extent(2, 120)]);
        check(&body, 0..370, &[(1, 0, 100), (1, 100, 200), (1, 200, 250), (2, 0, 100), (2, 100, 120)]);
        check(&body, 150..260, &[(1, 150, 200), (1, 200, 250), (2, 0, 10)]);
        check(&body, 99..101, &[(1, 99, 100), (1, 100, 101)]);
        check(&body, 250..250, &[]);
    }

    #[test]
    fn pieces_follow_each_other_whatever_they_are() {
        let body = Body::Pieces(vec![small(50), Body::Empty, Body::Extents(vec![extent(1, 150)]), small(20)]);
        check(&body, 0..220, &[(9, 0, 50), (1, 0, 100), (1, 100, 150), (9, 0, 20)]);
        check(&body, 49..51, &[(9, 49, 50), (1, 0, 1)]);
        check(&body, 205..210, &[(9, 5, 10)]);
    }

    #[test]
    fn a_single_step_is_known_as_such() {
        assert!(Plan::new(&small(5), 0..5).is_single());
        let body = Body::Extents(vec![extent(1, 250)]);
        assert!(Plan::new(&body, 0..100).is_single());
        assert!(!Plan::new(&body, 0..101).is_single());
        assert!(!Plan::new(&body, 7..7).is_single());
    }
}

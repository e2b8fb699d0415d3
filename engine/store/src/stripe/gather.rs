//! Gathering the fragments of a stripe that is damaged, incomplete or slow, and computing what does not come.

use std::collections::BTreeMap;
use std::ops::Range;

use rt::JoinHandle;
use rt::buf::{Shared, Window};
use rt::time::{Instant, timeout};

use super::build::allocate;
use super::layout::Layout;
use super::read::{Column, Known, LATE_AFTER, ReadError, Unusable};
use crate::error::Error;
use crate::read::counters;

/// Payload bytes that were computed from other fragments; every piece begins at byte `from` of its payload.
#[derive(Default)]
pub(super) struct Rebuilt {
    from: usize,
    pieces: BTreeMap<usize, Shared>,
}

impl Rebuilt {
    /// Columns of a fragment, if it was computed.
    pub(super) fn slice(&self, index: usize, columns: Range<usize>) -> Option<Shared> {
        let piece = self.pieces.get(&index)?;
        Some(piece.slice(columns.start - self.from..columns.end - self.from))
    }
}

/// The fragments of one stripe, as far as they have been asked for.
pub(super) struct Gather<'a> {
    known: &'a Known,
    good: BTreeMap<usize, Column>,
    unusable: BTreeMap<usize, Unusable>,
    pending: Vec<(usize, JoinHandle<Result<Column, Unusable>>)>,
    /// Reads that missed their deadline; they may still come.
    late: Vec<(usize, JoinHandle<Result<Column, Unusable>>)>,
}

impl<'a> Gather<'a> {
    pub(super) fn new(known: &'a Known) -> Gather<'a> {
        let (good, unusable) = (BTreeMap::new(), BTreeMap::new());
        Gather { known, good, unusable, pending: Vec::new(), late: Vec::new() }
    }

    pub(super) fn request(&mut self, index: usize, columns: Range<usize>) {
        self.pending.push((index, self.known.fetch(index, columns)));
    }

    /// Waits for what was requested, until the deadline.
    pub(super) async fn settle(&mut self) {
        let deadline = Instant::now() + LATE_AFTER;
        for (index, mut read) in std::mem::take(&mut self.pending) {
            match timeout(deadline - Instant::now(), &mut read).await {
                Ok(result) => self.take(index, result),
                Err(_) => {
                    counters::FRAGMENTS_LATE.add(1);
                    self.late.push((index, read));
                }
            }
        }
    }

    /// What was read of a fragment, if that was right.
    pub(super) fn good(&self, index: usize) -> Option<&Column> {
        self.good.get(&index)
    }

    fn take(&mut self, index: usize, result: Result<Column, Unusable>) {
        match result {
            Ok(column) => {
                self.good.insert(index, column);
            }
            Err(why) => {
                if why == Unusable::Damaged {
                    counters::FRAGMENTS_BAD.add(1);
                    self.known.volume.ask_repair(self.known.at);
                }
                self.unusable.insert(index, why);
            }
        }
    }

    fn was_asked(&self, index: usize) -> bool {
        self.unusable.contains_key(&index) || self.late.iter().any(|(late, _)| *late == index)
    }

    /// The fragments from which these columns of others can be computed.
    fn usable(&self, columns: &Range<usize>) -> impl Iterator<Item = (usize, &Column)> {
        let good = self.good.iter().map(|(index, column)| (*index, column));
        good.filter(|(_, column)| column.covers(columns))
    }

    /// The layout that the headers of the stripe state: what was read already, else the first header that is right,
    /// parity first because parity is always written.
    pub(super) async fn learn_layout(&mut self) -> Result<Layout, ReadError> {
        let (geometry, fragment_len) = (self.known.volume.geometry, self.known.fragment_len);
        let stated = |column: &Column| Layout::stated(geometry, fragment_len, column.stripe_len);
        if let Some(layout) = self.good.values().find_map(stated) {
            return Ok(layout);
        }
        let data = usize::from(geometry.data);
        let mut order: Vec<usize> = (data..geometry.width()).chain(0..data).collect();
        order.sort_by_key(|index| self.known.avoids(*index));
        for index in order {
            if self.was_asked(index) {
                continue;
            }
            self.request(index, 0..1);
            self.settle().await;
            if let Some(layout) = self.good.get(&index).and_then(stated) {
                return Ok(layout);
            }
        }
        while let Some((index, read)) = self.late.pop() {
            let result = read.await;
            self.take(index, result);
            if let Some(layout) = self.good.get(&index).and_then(stated) {
                return Ok(layout);
            }
        }
        Err(self.too_few())
    }

    /// Reads `columns` of as many other fragments as it takes, and computes those of `wanted`.
    pub(super) async fn reconstruct(
        &mut self,
        layout: Layout,
        wanted: &[usize],
        columns: Range<usize>,
    ) -> Result<Rebuilt, ReadError> {
        let data = usize::from(layout.geometry.data);
        if wanted.iter().any(|index| *index >= layout.data_used()) {
            return Err(self.known.corrupt("a record names bytes beyond the end of its stripe"));
        }
        let mut wanted = wanted.to_vec();
        let mut candidates: Vec<usize> = layout.expected().filter(|index| !wanted.contains(index)).collect();
        // Taken from the end: data before parity, slots that are not well at last.
        candidates.sort_by_key(|index| self.known.avoids(*index));
        candidates.reverse();
        loop {
            // A late one may have come after all.
            wanted.retain(|index| !self.good.contains_key(index));
            if wanted.is_empty() {
                return Ok(Rebuilt::default());
            }
            let mut missing = layout.data_used().saturating_sub(self.usable(&columns).count());
            if missing == 0 {
                break;
            }
            while missing > 0
                && let Some(index) = candidates.pop()
            {
                let there = self.good.get(&index).map(|column| column.from..column.from + column.window.len());
                let wider = match there {
                    Some(there) => there.start.min(columns.start)..there.end.max(columns.end),
                    None => columns.clone(),
                };
                if !self.was_asked(index) && self.good.get(&index).is_none_or(|column| !column.covers(&columns)) {
                    self.request(index, wider);
                    missing -= 1;
                }
            }
            if !self.pending.is_empty() {
                self.settle().await;
            } else if let Some((index, read)) = self.late.pop() {
                // Nothing is left but what is slow.
                let result = read.await;
                self.take(index, result);
                candidates.push(index);
            } else if let Some(index) = wanted.iter().find(|index| !self.was_asked(**index)) {
                // Nor anything but those that were avoided.
                self.request(*index, columns.clone());
            } else {
                return Err(self.too_few());
            }
        }
        self.agree(Some(layout))?;
        let mut outputs = Vec::with_capacity(wanted.len());
        for index in wanted {
            outputs.push((index, allocate(columns.len()).await?));
        }
        let sources: Vec<(usize, Shared)> =
            self.usable(&columns).map(|(index, column)| (index, column.slice(columns.clone()))).collect();
        let mut present: Vec<(u8, &[u8])> = sources.iter().map(|(index, bytes)| (*index as u8, &bytes[..])).collect();
        // Data fragments that were not written are zero, which an empty slice says.
        present.extend((layout.data_used()..data).map(|index| (index as u8, &[][..])));
        let mut targets: Vec<(u8, &mut [u8])> =
            outputs.iter_mut().map(|(index, buffer)| (*index as u8, &mut buffer[..columns.len()])).collect();
        let code = self.known.volume.code();
        code.reconstruct(&present, &mut targets).map_err(|_| self.too_few())?;
        let len = columns.len();
        let shared = |(index, buffer)| (index, Shared::from(Window::new(buffer, 0..len)));
        Ok(Rebuilt { from: columns.start, pieces: outputs.into_iter().map(shared).collect() })
    }

    /// All headers of a stripe say the same about it; if not, none of them can be believed.
    pub(super) fn agree(&self, layout: Option<Layout>) -> Result<(), ReadError> {
        let mut columns = self.good.values();
        let Some(first) = columns.next() else { return Ok(()) };
        let stripe_len = layout.map_or(first.stripe_len, |layout| layout.stripe_len);
        let same = |column: &Column| column.sequence == first.sequence && column.stripe_len == stripe_len;
        if same(first) && columns.all(same) {
            Ok(())
        } else {
            Err(self.known.corrupt("the fragments of a stripe contradict each other"))
        }
    }

    /// More fragments are unusable than parity makes good. Damage, when more were found damaged than that; else the
    /// drives that do not answer may bring them back.
    fn too_few(&self) -> ReadError {
        let count = |what| self.unusable.values().filter(|why| **why == what).count();
        if count(Unusable::Damaged) > usize::from(self.known.volume.geometry.parity) {
            self.known.corrupt("more fragments of a stripe are damaged than parity makes good")
        } else if count(Unusable::Ours) > 0 {
            ReadError::Failed(Error::Busy)
        } else {
            ReadError::Failed(Error::Unavailable("too few fragments of a stripe can be read"))
        }
    }
}

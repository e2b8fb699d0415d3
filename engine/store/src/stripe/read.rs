//! Reading a range of a stripe: only the blocks that it touches, every one verified; what is missing, bad or late is
//! reconstructed from the other fragments.

use std::ops::Range;
use std::sync::Arc;

use rt::JoinHandle;
use rt::buf::{Shared, Window};
use rt::time::{Duration, Instant, timeout};

use super::build::kind_of;
use super::gather::Gather;
use super::layout::{Layout, cut};
use crate::error::Error;
use crate::format::fragment::{BLOCK_BYTES, FRAGMENT_LEN_MAX, Header};
use crate::ids::{PAGE_BYTES, SlotOffset};
use crate::log::Address;
use crate::planted::{self, Bug};
use crate::read::counters;
use crate::volume::{SlotError, Volume};

/// A fragment that has not come after this long is reconstructed from the others.
pub(super) const LATE_AFTER: Duration = Duration::from_millis(250);

/// Header and blocks are read in one go if the blocks begin within this many bytes: cheaper than a second I/O.
const ONE_READ_BYTES: usize = 64 << 10;

/// Why a read gave no bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The volume is gone: the record that named it was replaced. Ask for the record again, once.
    Stale,
    Failed(Error),
}

impl From<Error> for ReadError {
    fn from(error: Error) -> ReadError {
        ReadError::Failed(error)
    }
}

/// Verified bytes of one fragment: `window` begins at byte `from` of the payload.
pub(super) struct Column {
    pub(super) window: Shared,
    pub(super) from: usize,
    pub(super) sequence: u64,
    pub(super) stripe_len: u32,
}

impl Column {
    fn new(header: Header, window: Shared, from: usize) -> Column {
        Column { window, from, sequence: header.sequence, stripe_len: header.stripe_len }
    }

    pub(super) fn covers(&self, columns: &Range<usize>) -> bool {
        self.from <= columns.start && columns.end <= self.from + self.window.len()
    }

    pub(super) fn slice(&self, columns: Range<usize>) -> Shared {
        self.window.slice(columns.start - self.from..columns.end - self.from)
    }
}

/// Why a fragment is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// Its drive does not answer, or not in time.
    Absent,
    /// It was read and is not what was written.
    Damaged,
    /// Our own side failed: no buffer.
    Ours,
}

/// Reads `range` of the linear space of the stripe at `at`: windows in order, without a copy. Holds up to a whole
/// stripe of buffers and two when damaged, for which the caller has a permit.
pub(crate) async fn read(
    volume: &Arc<Volume>,
    at: SlotOffset,
    layout: Layout,
    range: Range<usize>,
) -> Result<Vec<Shared>, ReadError> {
    assert!(range.end <= layout.stripe_len as usize, "the range lies in the stripe");
    let known = Known { volume: volume.clone(), at, fragment_len: layout.fragment_len };
    read_range(&known, Some(layout), range).await
}

/// Reads a small body from a commit stripe: only the pages that hold it, verified by the CRC32C in its record. `None` if
/// they do not come in time or are not right; `read_body_repaired` knows more ways. Holds the body's own pages.
pub(crate) async fn read_body(volume: &Arc<Volume>, address: &Address, crc: u32) -> Option<Vec<Shared>> {
    let known = Known::small(volume, address).ok()?;
    let pieces = read_unverified(&known, address.range()).await?;
    (crc_of(&pieces) == crc || planted::is(Bug::BodyChecksumSkipped)).then_some(pieces)
}

/// Reads a small body by way of its stripe's own checksums and parity. Holds up to a block of every fragment of the stripe
/// and more, for which the caller has a permit.
pub(crate) async fn read_body_repaired(
    volume: &Arc<Volume>,
    address: &Address,
    crc: u32,
) -> Result<Vec<Shared>, ReadError> {
    counters::BODIES_REPAIRED.add(1);
    let known = Known::small(volume, address)?;
    let pieces = read_range(&known, None, address.range()).await?;
    if crc_of(&pieces) != crc {
        return Err(known.corrupt("a small body does not match its record"));
    }
    Ok(pieces)
}

fn crc_of(pieces: &[Shared]) -> u32 {
    pieces.iter().fold(0, |crc, piece| codec::checksum::crc32c_append(crc, piece))
}

/// The stripe that is read.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) volume: Arc<Volume>,
    pub(super) at: SlotOffset,
    pub(super) fragment_len: u32,
}

impl Known {
    /// The stripe of a small body, if its record names a place that can exist.
    fn small(volume: &Arc<Volume>, address: &Address) -> Result<Known, ReadError> {
        let known = Known { volume: volume.clone(), at: address.slot_offset, fragment_len: address.fragment_len };
        let room = u64::from(address.fragment_len) * u64::from(volume.geometry.data);
        let end = u64::from(address.offset) + u64::from(address.len);
        if (1..=FRAGMENT_LEN_MAX).contains(&address.fragment_len) && end <= room {
            Ok(known)
        } else {
            Err(known.corrupt("a record names bytes outside of any stripe"))
        }
    }

    pub(super) fn corrupt(&self, what: &'static str) -> ReadError {
        ReadError::Failed(Error::Corrupt { volume: self.volume.id, what })
    }

    /// Whether a fragment is rather computed from others than read: its slot is not well, and all that are not well can
    /// be done without. So a drive that hangs does not gather reads that hold buffers.
    pub(super) fn avoids(&self, index: usize) -> bool {
        let sick = self.volume.sick_slots();
        sick & (1 << self.volume.slot_of(self.at, index)) != 0
            && sick.count_ones() <= u32::from(self.volume.geometry.parity)
    }

    /// The columns of whole blocks that hold `columns`.
    fn blocks(&self, columns: Range<usize>) -> Range<usize> {
        let end = columns.end.next_multiple_of(BLOCK_BYTES).min(self.fragment_len as usize);
        columns.start / BLOCK_BYTES * BLOCK_BYTES..end
    }

    /// Reads the pages of fragment `index` that hold bytes `range` of it, header included; the window is those bytes.
    async fn pages(&self, index: usize, range: Range<usize>) -> Result<Window, Unusable> {
        let first = range.start / PAGE_BYTES;
        let pages = range.end.div_ceil(PAGE_BYTES) - first;
        let slot = self.volume.slot_of(self.at, index);
        let at = self.at.0.checked_add(first as u32).ok_or(Unusable::Damaged)?;
        let buffer = self.volume.read_slot(slot, SlotOffset(at), pages as u32).await;
        let buffer = buffer.map_err(|error| match error {
            SlotError::Gone | SlotError::Ended | SlotError::Io(_) => Unusable::Absent,
            SlotError::Full => Unusable::Ours,
        })?;
        let base = first * PAGE_BYTES;
        Ok(Window::new(buffer, range.start - base..range.end - base))
    }

    /// Reads and verifies the header of fragment `index` and the blocks that hold `columns` of its payload.
    async fn column(self, index: usize, columns: Range<usize>) -> Result<Column, Unusable> {
        let header_len = Header::len(self.fragment_len);
        let Range { start: from, end: to } = self.blocks(columns);
        if from < ONE_READ_BYTES {
            let mut window = self.pages(index, 0..header_len + to).await?;
            let (head, payload) = window.split_at_mut(header_len);
            let header = self.verify(index, head, &mut payload[from..], from)?;
            let shared = Shared::from(window);
            return Ok(Column::new(header, shared.slice(header_len + from..header_len + to), from));
        }
        let head = self.clone();
        let head = rt::spawn(async move { head.pages(index, 0..header_len).await });
        let window = self.pages(index, header_len + from..header_len + to).await;
        let (head, mut window) = (head.await?, window?);
        let header = self.verify(index, &head, &mut window, from)?;
        Ok(Column::new(header, Shared::from(window), from))
    }

    /// Verifies the header in `head` and the blocks in `bytes`, which begin at byte `from` of the payload. What lies
    /// beyond the used bytes is set to zero, whatever was read there: that is what the code takes it for.
    fn verify(&self, index: usize, head: &[u8], bytes: &mut [u8], from: usize) -> Result<Header, Unusable> {
        let (header, blocks) = Header::decode(head, self.volume.secret()).map_err(|_| Unusable::Damaged)?;
        let right = header.volume == self.volume.id
            && header.kind == kind_of(self.volume.class)
            && header.slot_offset == self.at
            && usize::from(header.index) == index
            && header.geometry == self.volume.geometry
            && header.fragment_len == self.fragment_len;
        let used = blocks.used().saturating_sub(from).min(bytes.len());
        let (inside, beyond) = bytes.split_at_mut(used);
        let verified = planted::is(Bug::BlockChecksumSkipped) || used == 0 || blocks.verify_at(inside, from).is_ok();
        if !right || !verified {
            return Err(Unusable::Damaged);
        }
        beyond.fill(0);
        Ok(header)
    }

    pub(super) fn fetch(&self, index: usize, columns: Range<usize>) -> JoinHandle<Result<Column, Unusable>> {
        rt::spawn(self.clone().column(index, columns))
    }
}

/// The bytes as they are on the drives, without looking at any header. `None` if some do not come in time.
async fn read_unverified(known: &Known, range: Range<usize>) -> Option<Vec<Shared>> {
    let header_len = Header::len(known.fragment_len);
    if cut(known.fragment_len, range.clone()).any(|(index, _)| known.avoids(index)) {
        return None;
    }
    let reads: Vec<_> = cut(known.fragment_len, range)
        .map(|(index, columns)| {
            let known = known.clone();
            rt::spawn(async move { known.pages(index, header_len + columns.start..header_len + columns.end).await })
        })
        .collect();
    let deadline = Instant::now() + LATE_AFTER;
    let mut pieces = Vec::with_capacity(reads.len());
    for read in reads {
        let window = timeout(deadline - Instant::now(), read).await.ok()?.ok()?;
        pieces.push(Shared::from(window));
    }
    Some(pieces)
}

/// Reads a range by the fragments' own checksums. Without a layout the stripe's length is learned from a header.
async fn read_range(known: &Known, layout: Option<Layout>, range: Range<usize>) -> Result<Vec<Shared>, ReadError> {
    let cuts: Vec<_> = cut(known.fragment_len, range).collect();
    let (avoided, direct): (Vec<_>, Vec<_>) = cuts.iter().cloned().partition(|(index, _)| known.avoids(*index));
    let mut gather = Gather::new(known);
    for (index, columns) in direct {
        gather.request(index, columns);
    }
    if let Some(columns) = union(&avoided) {
        // Parity is asked for at once: what is missing is known beforehand.
        let parity = usize::from(known.volume.geometry.data)..known.volume.geometry.width();
        for index in parity.filter(|index| !known.avoids(*index)).take(avoided.len()) {
            gather.request(index, known.blocks(columns.clone()));
        }
    }
    gather.settle().await;
    let bad: Vec<_> = cuts.iter().filter(|(index, _)| gather.good(*index).is_none()).cloned().collect();
    let mut rebuilt = None;
    if let Some(columns) = union(&bad) {
        counters::STRIPES_RECONSTRUCTED.add(1);
        let layout = match layout {
            Some(layout) => layout,
            None => gather.learn_layout().await?,
        };
        let wanted: Vec<usize> = bad.iter().map(|(index, _)| *index).collect();
        rebuilt = Some(gather.reconstruct(layout, &wanted, known.blocks(columns)).await?);
    }
    gather.agree(layout)?;
    let piece = |(index, columns): (usize, Range<usize>)| {
        let computed = rebuilt.as_ref().and_then(|rebuilt| rebuilt.slice(index, columns.clone()));
        computed.unwrap_or_else(|| gather.good(index).expect("what was not computed was read").slice(columns))
    };
    Ok(cuts.into_iter().map(piece).collect())
}

/// The smallest range that holds all of these.
fn union(cuts: &[(usize, Range<usize>)]) -> Option<Range<usize>> {
    let start = cuts.iter().map(|(_, columns)| columns.start).min()?;
    let end = cuts.iter().map(|(_, columns)| columns.end).max()?;
    Some(start..end)
}

//! What recovery reads of a log volume: headers where stripes should be, entries, whole stripes, and, behind a gap, every
//! page that could begin a fragment.

use std::sync::Arc;

use rt::buf::{Buf, Shared, Window};
use rt::sync::join_all;

use super::classify::{Found, Front};
use crate::error::{Error, Result};
use crate::format::batch::{self, BATCH_HEADER_LEN, BatchHeader, Entry, Place, SmallBody};
use crate::format::fragment::{FRAGMENT_LEN_MAX, Header, fragment_pages, used_pages};
use crate::ids::{PAGE_BYTES, SlotOffset, VolumeId};
use crate::log::BATCHES_IN_FLIGHT_MAX;
use crate::stripe::{self, Layout, ReadError, header_at};
use crate::volume::{SlotError, Volume};

/// Pages read where a stripe should begin: most batches of an idle or middling shard have all entries there.
const PROBE_PAGES: u32 = 16;

/// Pages of every slot read at a time where stripes are small: one by one, each would cost a read of its own.
const AHEAD_PAGES: u32 = 64;

/// Stripes that are kept until something vouches for them: batches in flight, and the one that does.
const HELD_MAX: usize = BATCHES_IN_FLIGHT_MAX + 1;

/// Pages read at a time behind a gap.
const SEARCH_PAGES: u32 = 256;

/// A stripe whose header was found.
pub(super) struct Stripe {
    pub(super) volume: Arc<Volume>,
    pub(super) header: Header,
    /// The beginning of its first fragment, when that was read and is right.
    front: Option<Shared>,
}

impl Stripe {
    pub(super) fn at(&self) -> SlotOffset {
        self.header.slot_offset
    }

    pub(super) fn end(&self) -> SlotOffset {
        self.at().advance(fragment_pages(self.header.fragment_len))
    }

    pub(super) fn sequence(&self) -> u64 {
        self.header.sequence
    }

    /// The same without what was read of it.
    pub(super) fn bare(&self) -> Stripe {
        Stripe { volume: self.volume.clone(), header: self.header, front: None }
    }

    /// The slots that have a fragment of it.
    pub(super) fn expected_slots(&self) -> Vec<usize> {
        let layout = self.layout();
        layout.map_or_else(
            |_| Vec::new(),
            |layout| layout.expected().map(|n| self.volume.slot_of(self.at(), n)).collect(),
        )
    }

    fn place(&self) -> Place {
        Place { volume: self.volume.id, at: self.at(), fragment_len: self.header.fragment_len }
    }

    fn layout(&self) -> Result<Layout> {
        let Header { geometry, fragment_len, stripe_len, .. } = self.header;
        Layout::stated(geometry, fragment_len, stripe_len).ok_or(self.corrupt("a header states no layout"))
    }

    fn corrupt(&self, what: &'static str) -> Error {
        Error::Corrupt { volume: self.volume.id, what }
    }

    /// The entries, without their bodies: from what was read already, else by way of checksums and parity.
    pub(super) async fn entries(&self) -> Result<Vec<Entry>> {
        if let Some(front) = &self.front {
            let from = Header::len(self.header.fragment_len);
            let used = from + self.header.used_by(0) as usize;
            if let Some(payload) = front.get(from..front.len().min(used))
                && let Ok(entries) = self.decode(payload)
            {
                return Ok(entries);
            }
        }
        let head_len = {
            let head = self.linear(BATCH_HEADER_LEN.min(self.header.stripe_len as usize)).await?;
            BatchHeader::decode(&head).map_err(|_| self.corrupt("a batch has no header"))?.head_len()
        };
        if head_len > self.header.stripe_len as usize {
            return Err(self.corrupt("a batch is longer than its stripe"));
        }
        let head = self.linear(head_len).await?;
        self.decode(&head).map_err(|_| self.corrupt("the entries of a batch"))
    }

    /// The entries with copies of their bodies, to be committed again.
    pub(super) async fn entries_with_bodies(&self) -> Result<Vec<Entry>> {
        let bytes = self.linear(self.header.stripe_len as usize).await?;
        let mut entries = self.decode(&bytes).map_err(|_| self.corrupt("the entries of a batch"))?;
        for entry in &mut entries {
            if let Some(address) = entry.placed.take() {
                let body = bytes.get(address.range()).ok_or(self.corrupt("a body outside of its batch"))?;
                entry.body = Some(SmallBody::from(body.to_vec()));
            }
        }
        Ok(entries)
    }

    fn decode(&self, front: &[u8]) -> std::result::Result<Vec<Entry>, crate::format::Invalid> {
        let header = BatchHeader::decode(front)?;
        let entries = batch::decode(front, self.place())?;
        if header.sequence != self.sequence() || header.batch_len() != self.header.stripe_len as usize {
            return Err(crate::format::Invalid::Field("batch of another stripe"));
        }
        Ok(entries)
    }

    /// The first `len` bytes of the linear space, verified.
    async fn linear(&self, len: usize) -> Result<Vec<u8>> {
        let pieces = stripe::read(&self.volume, self.at(), self.layout()?, 0..len).await;
        let pieces = pieces.map_err(|error| match error {
            ReadError::Stale => Error::Unavailable("a log volume went away during recovery"),
            ReadError::Failed(error) => error,
        })?;
        let mut bytes = Vec::with_capacity(len);
        pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
        Ok(bytes)
    }

    /// Reads every fragment that the stripe should have and verifies all of it. One fragment is held at a time.
    pub(super) async fn verify(&self) -> Result<Vec<Found>> {
        let mut found = Vec::with_capacity(self.header.geometry.width());
        for index in self.layout()?.expected() {
            found.push(self.verify_fragment(index).await);
        }
        Ok(found)
    }

    async fn verify_fragment(&self, index: usize) -> Found {
        let used = self.header.used_by(index as u8);
        let pages = used_pages(self.header.fragment_len, used);
        let slot = self.volume.slot_of(self.at(), index);
        let Some(buffer) = read_pages(&self.volume, slot, self.at(), pages).await else {
            return Found::Unknown;
        };
        // A drive that has lost what it acknowledged proves nothing by what it lacks.
        let missing = if self.volume.drive(slot).is_behind() { Found::Unknown } else { Found::Missing };
        let bytes = &buffer[..pages as usize * PAGE_BYTES];
        let Ok((header, blocks)) = Header::decode(bytes, self.volume.secret()) else {
            return missing;
        };
        let payload = &bytes[Header::len(self.header.fragment_len)..];
        let same = Header { index: self.header.index, ..header } == self.header && usize::from(header.index) == index;
        let whole = same && blocks.verify(payload, 0..used as usize).is_ok();
        if whole { Found::Whole } else { missing }
    }
}

/// Looks for a stripe at `at`: the header of its first fragment, else of any other. `None` when there is none.
pub(super) async fn probe(volume: &Arc<Volume>, at: SlotOffset) -> Option<Stripe> {
    let first = volume.slot_of(at, 0);
    let pages = PROBE_PAGES.min(volume.end().0.saturating_sub(at.0));
    if pages == 0 {
        return None;
    }
    let front = read_pages(volume, first, at, pages).await;
    // Where many pages cannot be read at once, the one that counts may still be.
    let asked = front.as_ref().map(|_| first);
    if let Some(buffer) = front
        && let Some(header) = header_at(volume.page(), first, at, &buffer[..pages as usize * PAGE_BYTES])
    {
        let front = Shared::from(Window::new(buffer, 0..pages as usize * PAGE_BYTES));
        return Some(Stripe { volume: volume.clone(), header, front: Some(front) });
    }
    for slot in (0..volume.geometry.width()).filter(|slot| asked != Some(*slot)) {
        if let Some(buffer) = read_pages(volume, slot, at, 1).await
            && let Some(header) = header_at(volume.page(), slot, at, &buffer[..PAGE_BYTES])
        {
            return Some(Stripe { volume: volume.clone(), header, front: None });
        }
    }
    None
}

/// What the fragments that every stripe has say at a place where `probe` found none.
pub(super) async fn fronts(volume: &Arc<Volume>, at: SlotOffset) -> Vec<Front> {
    let parity = usize::from(volume.geometry.data)..volume.geometry.width();
    let mut fronts = Vec::with_capacity(1 + parity.len());
    for index in std::iter::once(0).chain(parity) {
        fronts.push(match volume.read_slot(volume.slot_of(at, index), at, 1).await {
            Ok(_) => Front::Empty,
            Err(SlotError::Io(_)) => Front::Unreadable,
            Err(SlotError::Gone | SlotError::Ended | SlotError::Full) => Front::Absent,
        });
    }
    fronts
}

/// Looks for the stripes of a stream one after another, and reads ahead while they are small.
#[derive(Default)]
pub(super) struct Ahead {
    /// Whether the last stripe took fewer pages of a slot than a probe reads.
    small: bool,
    pages: Option<Pages>,
}

/// The same pages of every slot of a volume.
struct Pages {
    volume: VolumeId,
    from: SlotOffset,
    to: SlotOffset,
    /// `None` where they cannot be read.
    slots: Vec<Option<Shared>>,
}

impl Ahead {
    /// As `probe`.
    pub(super) async fn probe(&mut self, volume: &Arc<Volume>, at: SlotOffset) -> Option<Stripe> {
        let stripe = if self.small && at < volume.end() {
            let known = |pages: &Pages| pages.volume == volume.id && (pages.from..pages.to).contains(&at);
            if !self.pages.as_ref().is_some_and(known) {
                // The buffers of the last ones go back first.
                self.pages = None;
                self.pages = Pages::read(volume, at).await;
            }
            match self.pages.as_ref().map(|pages| (pages.probe(volume, at), pages.is_complete())) {
                Some((Some(stripe), _)) => Some(stripe),
                Some((None, true)) => None,
                // A bad sector somewhere in the window is not taken for the end of the log.
                Some((None, false)) | None => probe(volume, at).await,
            }
        } else {
            probe(volume, at).await
        };
        self.small = stripe.as_ref().is_some_and(|stripe| fragment_pages(stripe.header.fragment_len) < PROBE_PAGES);
        stripe
    }
}

impl Pages {
    /// `None` when the pool is too small for it: a stripe of as large fragments must find its buffers beside these.
    async fn read(volume: &Arc<Volume>, from: SlotOffset) -> Option<Pages> {
        let pages = AHEAD_PAGES.min(volume.end().0.saturating_sub(from.0));
        let (len, width) = (pages as usize * PAGE_BYTES, volume.geometry.width());
        if rt::buf::reserved(len) < 2 * width + HELD_MAX {
            return None;
        }
        let slots = join_all((0..width).map(|slot| read_pages(volume, slot, from, pages))).await;
        let slots = slots.into_iter().map(|buffer| Some(Shared::from(Window::new(buffer?, 0..len)))).collect();
        Some(Pages { volume: volume.id, from, to: from.advance(pages), slots })
    }

    /// Whether every slot could be read.
    fn is_complete(&self) -> bool {
        self.slots.iter().all(Option::is_some)
    }

    fn probe(&self, volume: &Arc<Volume>, at: SlotOffset) -> Option<Stripe> {
        let from = (at.0 - self.from.0) as usize * PAGE_BYTES;
        let first = volume.slot_of(at, 0);
        let header = |slot: usize| {
            let bytes = self.slots[slot].as_ref()?;
            Some((header_at(volume.page(), slot, at, &bytes[from..])?, bytes))
        };
        if let Some((header, bytes)) = header(first) {
            return Some(Stripe { volume: volume.clone(), header, front: Some(bytes.slice(from..bytes.len())) });
        }
        let others = (0..volume.geometry.width()).filter(|slot| *slot != first);
        let (header, _) = others.into_iter().find_map(header)?;
        Some(Stripe { volume: volume.clone(), header, front: None })
    }
}

/// What lies behind a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Behind {
    /// The nearest header: its place and sequence.
    pub(super) nearest: Option<(SlotOffset, u64)>,
    /// The highest durable end that any header states.
    pub(super) durable_upto: u64,
}

impl Behind {
    /// Takes in the headers at the fronts of these pages of a slot.
    fn look(&mut self, volume: &Volume, slot: usize, from: SlotOffset, bytes: &[u8]) {
        for (page, front) in (0..bytes.len()).step_by(PAGE_BYTES).enumerate() {
            let place = from.advance(page as u32);
            if let Some(header) = header_at(volume.page(), slot, place, &bytes[front..]) {
                self.durable_upto = self.durable_upto.max(header.durable_upto);
                let found = (place, header.sequence);
                self.nearest = Some(self.nearest.map_or(found, |nearest| nearest.min(found)));
            }
        }
    }
}

/// Looks at every page of every slot in `from..to` for the begin of a fragment.
///
/// Cost: what was ever written of it is read once, 1 MiB of one slot at a time.
pub(super) async fn search(volume: &Arc<Volume>, from: SlotOffset, to: SlotOffset) -> Behind {
    let mut behind = Behind::default();
    for slot in 0..volume.geometry.width() {
        let mut at = from;
        while at < to {
            // What was never written is no fragment. A slot that cannot say so is read.
            at = volume.next_data(slot, at).await.unwrap_or(at).max(at);
            if at >= to {
                break;
            }
            let pages = SEARCH_PAGES.min(to.0 - at.0);
            match read_pages(volume, slot, at, pages).await {
                Some(buffer) => behind.look(volume, slot, at, &buffer[..pages as usize * PAGE_BYTES]),
                // A bad sector hides no more than itself.
                None if volume.is_readable(slot) => {
                    for page in (0..pages).map(|page| at.advance(page)) {
                        if let Some(buffer) = read_pages(volume, slot, page, 1).await {
                            behind.look(volume, slot, page, &buffer[..PAGE_BYTES]);
                        }
                    }
                }
                None => {}
            }
            at = at.advance(pages);
        }
    }
    behind
}

/// The last stripe that ends at or before `to`. Reads a few pages of each slot, and more as long as there is none in them,
/// as far as the longest fragment reaches.
pub(super) async fn last_before(volume: &Arc<Volume>, to: SlotOffset) -> Option<Stripe> {
    let least = to.0.saturating_sub(fragment_pages(FRAGMENT_LEN_MAX)).max(SlotOffset::FIRST_STRIPE.0);
    let (mut end, mut pages) = (to.0, PROBE_PAGES);
    while end > least {
        let from = SlotOffset(end.saturating_sub(pages).max(least));
        let mut last: Option<Header> = None;
        for slot in 0..volume.geometry.width() {
            let Some(buffer) = read_pages(volume, slot, from, end - from.0).await else { continue };
            for page in 0..end - from.0 {
                let place = from.advance(page);
                let header = header_at(volume.page(), slot, place, &buffer[page as usize * PAGE_BYTES..]);
                let ends_before = |header: &Header| place.advance(fragment_pages(header.fragment_len)) <= to;
                let header = header.filter(ends_before);
                let is_later = |header: &Header| last.is_none_or(|last| header.slot_offset > last.slot_offset);
                last = header.filter(is_later).or(last);
            }
        }
        if let Some(header) = last {
            return Some(Stripe { volume: volume.clone(), header, front: None });
        }
        (end, pages) = (from.0, SEARCH_PAGES);
    }
    None
}

/// Reads pages of a slot; `None` when its drive is absent, out or does not answer, or when the file is not there: a volume
/// is only written when all of its files are, so a file that is not there proves nothing about what was in it.
async fn read_pages(volume: &Arc<Volume>, slot: usize, at: SlotOffset, pages: u32) -> Option<Buf> {
    volume.read_slot(slot, at, pages).await.ok()
}

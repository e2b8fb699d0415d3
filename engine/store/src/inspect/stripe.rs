//! Stripes of a volume, read from its slot files: every fragment is found or not, and verified.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use codec::erasure::Code;

use super::deployment::Deployment;
use super::{Failure, read_page};
use crate::format::fragment::{Header, fragment_pages, used_pages};
use crate::format::volume::VolumePage;
use crate::ids::{DriveId, Geometry, PAGE_BYTES, SlotOffset, VolumeId};
use crate::stripe::{Layout, header_at};
use crate::volume::rotate;

/// Pages of one slot that are read at a time while stripes are looked for.
const WINDOW_PAGES: u32 = 256;

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentState {
    /// Header and every byte are right.
    Whole,
    /// The header is right, but not all bytes are.
    Damaged,
    /// The file is there, and this fragment is not in it.
    Missing,
    /// Its drive was not named or was taken out, or has no such file.
    Unavailable,
}

/// One drive's share of a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentReport {
    /// Below D: data; from D on: parity.
    pub index: usize,
    pub slot: usize,
    pub drive: DriveId,
    pub state: FragmentState,
}

/// A stripe and the fragments that it should have. Data fragments that hold nothing of it are never written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripeReport {
    pub volume: VolumeId,
    pub at: SlotOffset,
    pub geometry: Geometry,
    /// As the headers say; `None` when no header is left.
    pub stated: Option<Stated>,
    pub fragments: Vec<FragmentReport>,
    /// Fragments that are enough to give back the bytes.
    pub needed: usize,
}

/// What headers say of a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stated {
    pub sequence: u64,
    pub durable_upto: u64,
    pub stripe_len: u32,
    pub fragment_len: u32,
}

impl StripeReport {
    /// Whether every fragment is there and right.
    pub fn is_whole(&self) -> bool {
        !self.fragments.is_empty() && self.whole() == self.fragments.len()
    }

    /// Whether its bytes can be read.
    pub fn is_readable(&self) -> bool {
        self.stated.is_some() && self.whole() >= self.needed
    }

    fn whole(&self) -> usize {
        self.fragments.iter().filter(|fragment| fragment.state == FragmentState::Whole).count()
    }
}

/// The slot files of one volume, as far as they are there.
pub(super) struct Files {
    pub(super) page: VolumePage,
    slots: Vec<Option<(PathBuf, File)>>,
}

impl Files {
    pub(super) fn open(deployment: &Deployment, id: VolumeId) -> Result<Files, Failure> {
        let page = deployment.volumes.get(&id).ok_or(Failure::NoVolume(id))?.clone();
        let open = |(slot, drive): (usize, &DriveId)| {
            let path = deployment.slot_path(*drive, id, slot)?;
            let same = read_page(&path, id, slot)
                .is_ok_and(|found| found.agrees_with(&page) && found.drives.get(slot) == Some(drive));
            let file = File::open(&path).ok().filter(|_| same)?;
            Some((path, file))
        };
        let slots = page.drives.iter().enumerate().map(open).collect();
        Ok(Files { page, slots })
    }

    pub(super) fn path(&self, slot: usize) -> Option<PathBuf> {
        self.slots[slot].as_ref().map(|(path, _)| path.clone())
    }

    /// Pages of each slot.
    pub(super) fn end(&self) -> SlotOffset {
        SlotOffset((self.page.slot_bytes / PAGE_BYTES as u64) as u32)
    }

    fn slot_of(&self, at: SlotOffset, index: usize) -> usize {
        rotate(at, index, self.page.geometry.width())
    }

    /// Pages of a slot, as many of them as are there; `None` without the file.
    fn read(&self, slot: usize, at: SlotOffset, pages: u32) -> Option<Vec<u8>> {
        let (_, file) = self.slots[slot].as_ref()?;
        let mut bytes = vec![0; pages as usize * PAGE_BYTES];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], at.bytes() + filled as u64) {
                Ok(0) | Err(_) => break,
                Ok(read) => filled += read,
            }
        }
        bytes.truncate(filled / PAGE_BYTES * PAGE_BYTES);
        Some(bytes)
    }

    /// Reads and verifies every fragment of the stripe at `at`.
    pub(super) fn stripe(&self, at: SlotOffset) -> Stripe {
        let width = self.page.geometry.width();
        let header = (0..width).find_map(|slot| header_at(&self.page, slot, at, &self.read(slot, at, 1)?));
        let layout = header.and_then(|header| Layout::stated(header.geometry, header.fragment_len, header.stripe_len));
        let (Some(header), Some(layout)) = (header, layout) else {
            return Stripe { at, header: None, fragments: Vec::new() };
        };
        let fragments = layout.expected().map(|index| self.fragment(&header, at, index)).collect();
        Stripe { at, header: Some(header), fragments }
    }

    fn fragment(&self, stripe: &Header, at: SlotOffset, index: usize) -> Fragment {
        let slot = self.slot_of(at, index);
        let used = stripe.used_by(index as u8);
        let Some(bytes) = self.read(slot, at, used_pages(stripe.fragment_len, used)) else {
            return Fragment { index, slot, state: FragmentState::Unavailable, payload: Vec::new() };
        };
        let missing = Fragment { index, slot, state: FragmentState::Missing, payload: Vec::new() };
        let Some(header) = header_at(&self.page, slot, at, &bytes) else { return missing };
        if (Header { index: stripe.index, ..header }) != *stripe || usize::from(header.index) != index {
            return missing;
        }
        let payload = bytes.get(Header::len(header.fragment_len)..).unwrap_or_default();
        let verified =
            Header::decode(&bytes, self.page.secret).and_then(|(_, blocks)| blocks.verify(payload, 0..used as usize));
        match verified {
            Ok(()) => {
                let payload = payload[..used as usize].to_vec();
                Fragment { index, slot, state: FragmentState::Whole, payload }
            }
            Err(_) => Fragment { state: FragmentState::Damaged, ..missing },
        }
    }
}

/// A stripe as it was read.
pub(super) struct Stripe {
    at: SlotOffset,
    pub(super) header: Option<Header>,
    fragments: Vec<Fragment>,
}

struct Fragment {
    index: usize,
    slot: usize,
    state: FragmentState,
    /// The used bytes, if they are right.
    payload: Vec<u8>,
}

impl Stripe {
    pub(super) fn report(&self, files: &Files) -> StripeReport {
        let fragment = |found: &Fragment| FragmentReport {
            index: found.index,
            slot: found.slot,
            drive: files.page.drives[found.slot],
            state: found.state,
        };
        let stated = self.header.map(|header| Stated {
            sequence: header.sequence,
            durable_upto: header.durable_upto,
            stripe_len: header.stripe_len,
            fragment_len: header.fragment_len,
        });
        StripeReport {
            volume: files.page.volume,
            at: self.at,
            geometry: files.page.geometry,
            stated,
            fragments: self.fragments.iter().map(fragment).collect(),
            needed: stated.map_or(1, |stated| stated.stripe_len.div_ceil(stated.fragment_len) as usize),
        }
    }

    /// The bytes of the stripe, from parity where data is not right; `None` when too little is.
    pub(super) fn linear(&self) -> Option<Vec<u8>> {
        let header = self.header?;
        let (data, len) = (usize::from(header.geometry.data), header.fragment_len as usize);
        let used = header.needed();
        let padded: Vec<(u8, Vec<u8>)> = self
            .fragments
            .iter()
            .filter(|found| found.state == FragmentState::Whole)
            .map(|found| {
                let mut payload = found.payload.clone();
                payload.resize(len, 0);
                (found.index as u8, payload)
            })
            .collect();
        // Data fragments that hold nothing of the stripe are zeros.
        let zeros = (used..data).map(|index| (index as u8, &[][..]));
        let present: Vec<(u8, &[u8])> = padded.iter().map(|(index, bytes)| (*index, &bytes[..])).chain(zeros).collect();
        let mut linear = vec![0; used * len];
        let mut wanted: Vec<(u8, &mut [u8])> = (0..).zip(linear.chunks_mut(len)).collect();
        let code = Code::new(header.geometry.data, header.geometry.parity)?;
        code.reconstruct(&present, &mut wanted).ok()?;
        linear.truncate(header.stripe_len as usize);
        Some(linear)
    }
}

/// Where stripes begin in a volume, in order.
pub(super) struct Walk<'a> {
    files: &'a Files,
    at: SlotOffset,
    end: SlotOffset,
    /// Pages without any header after which nothing more is looked for.
    gap_max: u32,
    /// Of each slot what was read last, and where it lay.
    windows: Vec<(SlotOffset, Vec<u8>)>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(files: &'a Files, end: SlotOffset, gap_max: u32) -> Walk<'a> {
        let end = end.min(files.end());
        let windows = vec![(SlotOffset(0), Vec::new()); files.slots.len()];
        Walk { files, at: SlotOffset::FIRST_STRIPE, end, gap_max, windows }
    }

    /// Pages of the stripe at `at`, if a header of it is on any drive.
    fn pages_at(&mut self, at: SlotOffset) -> Option<u32> {
        for slot in 0..self.windows.len() {
            let (from, window) = &mut self.windows[slot];
            if at < *from || at.bytes() >= from.bytes() + window.len() as u64 {
                let pages = WINDOW_PAGES.min(self.end.0 - at.0);
                *window = self.files.read(slot, at, pages).unwrap_or_default();
                *from = at;
            }
            let begin = (at.0 - from.0) as usize * PAGE_BYTES;
            let Some(bytes) = window.get(begin..) else { continue };
            if let Some(header) = header_at(&self.files.page, slot, at, bytes) {
                return Some(fragment_pages(header.fragment_len));
            }
        }
        None
    }
}

impl Iterator for Walk<'_> {
    type Item = SlotOffset;

    fn next(&mut self) -> Option<SlotOffset> {
        let mut gap = 0;
        while self.at < self.end && gap <= self.gap_max {
            let at = self.at;
            if let Some(pages) = self.pages_at(at) {
                self.at = at.advance(pages);
                return Some(at);
            }
            self.at = at.advance(1);
            gap += 1;
        }
        None
    }
}

//! One stripe: which of its fragments are right, and the computing of those that are not.

use super::pieces::Pieces;
use crate::format::fragment::{FRAGMENT_LEN_MAX, Header, fragment_pages, used_pages};
use crate::ids::{PAGE_BYTES, SlotOffset};
use crate::planted::{self, Bug};
use crate::stripe::{Layout, header_at};
use crate::volume::{SlotError, Volume};

// The first page of a fragment holds all of its header.
const _: () = assert!(Header::len(FRAGMENT_LEN_MAX) <= PAGE_BYTES);

/// What became of an expected fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Header and every block are right.
    Good,
    /// The drive gives something else than what was written, or an error.
    Damaged,
    /// There is nothing where it should be.
    Missing,
    /// The slot's file is not there, on a drive that is.
    NoFile,
    /// Its drive is not used.
    NoDrive,
}

/// A stripe whose fragments were looked at.
pub(super) struct Checked {
    /// What all fragments state, but for the index. `None`: none of them is right.
    pub(super) header: Option<Header>,
    /// The expected fragments, by index, but for those in slots that are asleep. All when nothing says how many there are.
    pub(super) fragments: Vec<(usize, Found)>,
}

impl Checked {
    pub(super) fn count(&self, what: Found) -> usize {
        self.fragments.iter().filter(|(_, found)| *found == what).count()
    }

    pub(super) fn is_whole(&self) -> bool {
        self.header.is_some() && self.count(Found::Good) == self.fragments.len()
    }

    /// Whether its bytes can be had.
    pub(super) fn is_readable(&self) -> bool {
        self.header.is_some_and(|header| self.count(Found::Good) >= header.needed())
    }

    /// Fragments that should be written again where they lie.
    pub(super) fn to_mend(&self) -> Vec<usize> {
        let bad = self.fragments.iter().filter(|(_, found)| matches!(found, Found::Damaged | Found::Missing));
        bad.map(|(index, _)| *index).collect()
    }
}

/// What the headers at `at` state: as most of them say, should they ever contradict each other. Their page was loaded.
pub(super) fn header(pieces: &Pieces, at: SlotOffset) -> Option<Header> {
    let volume = &pieces.volume;
    let mut stated: Vec<(Header, usize)> = Vec::new();
    for slot in 0..volume.geometry.width() {
        let bytes = pieces.bytes(slot, at, 1);
        let Some(found) = bytes.and_then(|bytes| header_at(volume.page(), slot, at, bytes)) else { continue };
        match stated.iter_mut().find(|(header, _)| Header { index: header.index, ..found } == *header) {
            Some((_, count)) => *count += 1,
            None => stated.push((found, 1)),
        }
    }
    stated.into_iter().max_by_key(|(_, count)| *count).map(|(header, _)| header)
}

/// Reads and verifies all expected fragments of the stripe at `at` whose slots are awake. `layout`: what the index knows of it, when no header
/// can be read; else the headers say.
pub(super) async fn check(pieces: &mut Pieces, at: SlotOffset, layout: Option<Layout>) -> Checked {
    pieces.load_front(at).await;
    let stated = header(pieces, at);
    let Some(stated) = stated else {
        let expected: Vec<usize> = match layout {
            Some(layout) => layout.expected().collect(),
            None => (0..pieces.volume.geometry.width()).collect(),
        };
        let mut fragments = Vec::with_capacity(expected.len());
        for index in expected {
            let slot = pieces.volume.slot_of(at, index);
            if !pieces.is_asleep(slot) {
                fragments.push((index, without_header(pieces, slot, at).await));
            }
        }
        return Checked { header: None, fragments };
    };
    pieces.load(at, fragment_pages(stated.fragment_len)).await;
    let expected = Layout::stated(stated.geometry, stated.fragment_len, stated.stripe_len);
    let mut fragments = Vec::with_capacity(stated.geometry.width());
    for index in expected.expect("a header that was decoded states a layout").expected() {
        if !pieces.is_asleep(pieces.volume.slot_of(at, index)) {
            fragments.push((index, check_fragment(pieces, &stated, index).await));
        }
    }
    Checked { header: Some(stated), fragments }
}

/// A fragment of a stripe of which no header is right.
async fn without_header(pieces: &mut Pieces, slot: usize, at: SlotOffset) -> Found {
    if let Err(found) = give(pieces, slot, at, 1).await {
        return found;
    }
    match pieces.bytes(slot, at, 1) {
        Some(bytes) if bytes.iter().any(|&byte| byte != 0) => Found::Damaged,
        Some(_) | None => Found::Missing,
    }
}

/// Has the drive asked once more if it did not give these pages.
async fn give(pieces: &mut Pieces, slot: usize, at: SlotOffset, pages: u32) -> Result<(), Found> {
    if pieces.bytes(slot, at, pages).is_some() {
        return Ok(());
    }
    let volume = pieces.volume.clone();
    match pieces.ask_again(slot, at, pages).await {
        Ok(()) => Ok(()),
        _ if !volume.drive(slot).is_usable() => Err(Found::NoDrive),
        _ if !volume.is_readable(slot) => Err(Found::NoFile),
        // The file ends early, or there was no buffer for so much.
        Err(SlotError::Gone | SlotError::Ended | SlotError::Full) => Err(Found::Missing),
        Err(SlotError::Io(_)) => Err(Found::Damaged),
    }
}

async fn check_fragment(pieces: &mut Pieces, stripe: &Header, index: usize) -> Found {
    let at = stripe.slot_offset;
    let slot = pieces.volume.slot_of(at, index);
    let used = stripe.used_by(index as u8);
    let pages = used_pages(stripe.fragment_len, used);
    if let Err(found) = give(pieces, slot, at, pages).await {
        return found;
    }
    let Some(bytes) = pieces.bytes(slot, at, pages) else { return Found::Missing };
    judge(&pieces.volume, stripe, index, bytes)
}

/// What `bytes`, the used pages of a fragment, are.
pub(super) fn judge(volume: &Volume, stripe: &Header, index: usize, bytes: &[u8]) -> Found {
    let bad = || if bytes[..PAGE_BYTES].iter().all(|&byte| byte == 0) { Found::Missing } else { Found::Damaged };
    let Ok((header, blocks)) = Header::decode(bytes, volume.secret()) else { return bad() };
    let payload = &bytes[Header::len(stripe.fragment_len).min(bytes.len())..];
    let same = Header { index: index as u8, ..*stripe } == header;
    let whole = same && blocks.verify(payload, 0..stripe.used_by(index as u8) as usize).is_ok();
    if whole { Found::Good } else { Found::Damaged }
}

/// Computes fragments from the good ones of a stripe that was just checked: (index, its used pages). `None` when too few
/// are good. Cost: a pass of the code over D fragments, and copies of fragments that are not full.
pub(super) fn compute(pieces: &Pieces, checked: &Checked, wanted: &[usize]) -> Option<Vec<(usize, Vec<u8>)>> {
    let stripe = checked.header?;
    let volume = &pieces.volume;
    let (at, fragment_len) = (stripe.slot_offset, stripe.fragment_len as usize);
    let head = Header::len(stripe.fragment_len);
    let pages = fragment_pages(stripe.fragment_len);
    let mut padded: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut present: Vec<(u8, &[u8])> = Vec::new();
    let is_source = |found| found == Found::Good || (planted::is(Bug::RepairFromBad) && found == Found::Damaged);
    for &(index, _) in checked.fragments.iter().filter(|(_, found)| is_source(*found)) {
        let used = stripe.used_by(index as u8) as usize;
        let slot = volume.slot_of(at, index);
        let written = pieces.bytes(slot, at, used_pages(stripe.fragment_len, used as u32))?;
        if used == fragment_len {
            present.push((index as u8, &written[head..head + used]));
        } else {
            // Beyond the used bytes the code takes zeros, whatever lies there.
            let mut payload = vec![0; fragment_len];
            payload[..used].copy_from_slice(&written[head..head + used]);
            padded.push((index as u8, payload));
        }
    }
    present.extend(padded.iter().map(|(index, payload)| (*index, &payload[..])));
    let unwritten = stripe.needed()..usize::from(stripe.geometry.data);
    present.extend(unwritten.map(|index| (index as u8, &[][..])));
    let mut outputs: Vec<(usize, Vec<u8>)> =
        wanted.iter().map(|&index| (index, vec![0; pages as usize * PAGE_BYTES])).collect();
    let mut targets: Vec<(u8, &mut [u8])> =
        outputs.iter_mut().map(|(index, bytes)| (*index as u8, &mut bytes[head..head + fragment_len])).collect();
    volume.code().reconstruct(&present, &mut targets).ok()?;
    for (index, bytes) in &mut outputs {
        let header = Header { index: *index as u8, ..stripe };
        bytes.truncate(used_pages(stripe.fragment_len, header.used()) as usize * PAGE_BYTES);
        header.seal(bytes, volume.secret());
    }
    Some(outputs)
}

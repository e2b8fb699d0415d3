//! Reading stripes from whatever slot files of a volume are left, block by block.
//!
//! A block of 16 KiB is right when its checksum is, in whichever file it is found. What no file gives back is computed from
//! the same block of other fragments, so that a stripe survives more bad fragments than there is parity as long as they are
//! bad in different places. What cannot be computed either is zero and named.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use codec::erasure::Code;

use crate::format::fragment::{BLOCK_BYTES, Blocks, Header, fragment_pages};
use crate::format::volume::VolumePage;
use crate::ids::{PAGE_BYTES, SlotOffset};
use crate::stripe::{Layout, cut, header_at};
use crate::volume::rotate;

/// Pages of one slot that are read at a time while stripes are looked for.
const WINDOW_PAGES: u32 = 256;

/// The slot files of one volume, as far as they can be opened. A slot may have several.
pub(super) struct Slots {
    pub(super) page: VolumePage,
    files: Vec<(usize, File)>,
}

/// A range of a stripe's linear space. Missing bytes are zero.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    /// Ascending, within `bytes`, none next to another.
    pub(super) missing: Vec<Range<usize>>,
}

/// The front of a fragment, header verified.
struct Front {
    file: usize,
    bytes: Vec<u8>,
}

impl Slots {
    pub(super) fn open(page: VolumePage, files: &[(usize, PathBuf)]) -> Slots {
        let files = files.iter().filter_map(|(slot, path)| Some((*slot, File::open(path).ok()?))).collect();
        Slots { page, files }
    }

    pub(super) fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Pages of each slot.
    pub(super) fn end(&self) -> SlotOffset {
        SlotOffset((self.page.slot_bytes / PAGE_BYTES as u64) as u32)
    }

    /// As many of `len` bytes as can be read.
    fn read_file(&self, file: usize, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match self.files[file].1.read_at(&mut bytes[filled..], at + filled as u64) {
                Ok(0) | Err(_) => break,
                Ok(read) => filled += read,
            }
        }
        bytes.truncate(filled);
        bytes
    }

    /// Pages of a file; those that cannot be read, or are not there, are zero.
    fn read_pages(&self, file: usize, at: SlotOffset, pages: u32) -> Vec<u8> {
        let len = pages as usize * PAGE_BYTES;
        let mut bytes = self.read_file(file, at.bytes(), len);
        while bytes.len() < len {
            // A bad sector hides no more than its page.
            let next = bytes.len() / PAGE_BYTES * PAGE_BYTES;
            bytes.truncate(next);
            bytes.extend(self.read_file(file, at.bytes() + next as u64, PAGE_BYTES));
            bytes.resize(next + PAGE_BYTES, 0);
        }
        bytes
    }

    /// What any header at `at` says of the stripe there.
    pub(super) fn stripe_at(&self, at: SlotOffset) -> Option<Header> {
        let front =
            |file: usize| header_at(&self.page, self.files[file].0, at, &self.read_file(file, at.bytes(), PAGE_BYTES));
        (0..self.files.len()).find_map(front).filter(|header| layout(header).is_some())
    }

    /// `range` of the stripe's linear space, verified, computed from parity where it must be.
    ///
    /// Panics unless the range lies in the stripe. Cost: the blocks of the range; where one is bad, its column.
    pub(super) fn read(&self, stripe: &Header, range: Range<usize>) -> Piece {
        assert!(range.end <= stripe.stripe_len as usize, "a range of the stripe");
        let mut piece = Piece { bytes: vec![0; range.len()], missing: Vec::new() };
        let mut view = View { slots: self, stripe, fronts: HashMap::new() };
        let (fragment_len, from) = (stripe.fragment_len as usize, range.start);
        for (index, within) in cut(stripe.fragment_len, range) {
            let mut at = within.start;
            while at < within.end {
                let column = at / BLOCK_BYTES;
                let end = within.end.min((column + 1) * BLOCK_BYTES);
                let target = index * fragment_len + at - from..index * fragment_len + end - from;
                match view.block(index, column).or_else(|| view.compute(index, column)) {
                    Some(block) => {
                        let base = column * BLOCK_BYTES;
                        piece.bytes[target].copy_from_slice(&block[at - base..end - base]);
                    }
                    None => push(&mut piece.missing, target),
                }
                at = end;
            }
        }
        piece
    }

    /// Where stripes begin before `end`, in order, with what they say of themselves.
    pub(super) fn walk(&self, end: SlotOffset) -> Walk<'_> {
        let windows = vec![(SlotOffset(0), Vec::new()); self.files.len()];
        Walk { slots: self, at: SlotOffset::FIRST_STRIPE, end: end.min(self.end()), is_behind_stripe: true, windows }
    }
}

fn layout(header: &Header) -> Option<Layout> {
    Layout::stated(header.geometry, header.fragment_len, header.stripe_len)
}

/// Adds a range behind all others.
pub(super) fn push<T: PartialEq>(ranges: &mut Vec<Range<T>>, range: Range<T>) {
    match ranges.last_mut().filter(|last| last.end == range.start) {
        Some(last) => last.end = range.end,
        None => ranges.push(range),
    }
}

/// A stripe that is being read; fronts of fragments are read once.
struct View<'a> {
    slots: &'a Slots,
    stripe: &'a Header,
    fronts: HashMap<usize, Vec<Front>>,
}

impl View<'_> {
    /// The fronts of all files that hold fragment `index` of this very stripe.
    fn fronts(&mut self, index: usize) -> &[Front] {
        let (slots, stripe) = (self.slots, self.stripe);
        self.fronts.entry(index).or_insert_with(|| {
            let slot = rotate(stripe.slot_offset, index, slots.page.geometry.width());
            let len = Header::len(stripe.fragment_len);
            let files = slots.files.iter().enumerate().filter(|(_, (of, _))| *of == slot);
            files
                .filter_map(|(file, _)| {
                    let bytes = slots.read_file(file, stripe.slot_offset.bytes(), len);
                    let header = header_at(&slots.page, slot, stripe.slot_offset, &bytes)?;
                    let same = Header { index: stripe.index, ..header } == *stripe;
                    (same && usize::from(header.index) == index).then_some(Front { file, bytes })
                })
                .collect()
        })
    }

    /// The used bytes of block `column` of a fragment, from the first file in which they are right.
    fn block(&mut self, index: usize, column: usize) -> Option<Vec<u8>> {
        let (slots, stripe) = (self.slots, self.stripe);
        let used = stripe.used_by(index as u8) as usize;
        let range = column * BLOCK_BYTES..used.min((column + 1) * BLOCK_BYTES);
        if range.is_empty() {
            return None;
        }
        self.fronts(index).iter().find_map(|front| {
            let (_, blocks): (_, Blocks<'_>) = Header::decode(&front.bytes, slots.page.secret).ok()?;
            let at = stripe.slot_offset.bytes() + (Header::len(stripe.fragment_len) + range.start) as u64;
            let bytes = slots.read_file(front.file, at, range.len());
            (bytes.len() == range.len() && blocks.verify_at(&bytes, range.start).is_ok()).then_some(bytes)
        })
    }

    /// Block `column` of data fragment `index`, computed from the same block of other fragments.
    fn compute(&mut self, index: usize, column: usize) -> Option<Vec<u8>> {
        let layout = layout(self.stripe)?;
        let data = usize::from(layout.geometry.data);
        let len = BLOCK_BYTES.min(layout.fragment_len as usize - column * BLOCK_BYTES);
        let mut present: Vec<(u8, Vec<u8>)> = Vec::with_capacity(data);
        for other in layout.expected().filter(|other| *other != index) {
            if present.len() + data - layout.data_used() >= data {
                break;
            }
            // A fragment that ends before this column is zero here, whether it is there or not.
            let ends_before = layout.used(other) <= column * BLOCK_BYTES;
            let block = if ends_before { Some(Vec::new()) } else { self.block(other, column) };
            if let Some(mut block) = block {
                block.resize(len, 0);
                present.push((other as u8, block));
            }
        }
        let zeros = (layout.data_used()..data).map(|index| (index as u8, &[][..]));
        let sources: Vec<(u8, &[u8])> =
            present.iter().map(|(index, block)| (*index, &block[..])).chain(zeros).collect();
        let mut block = vec![0; len];
        let code = Code::new(layout.geometry.data, layout.geometry.parity)?;
        code.reconstruct(&sources, &mut [(index as u8, &mut block[..])]).ok()?;
        Some(block)
    }
}

/// Stripes of a volume, in order.
pub(super) struct Walk<'a> {
    slots: &'a Slots,
    at: SlotOffset,
    end: SlotOffset,
    /// A stripe ends here: most often the next one begins.
    is_behind_stripe: bool,
    /// Of each file what was read last, and where it lay.
    windows: Vec<(SlotOffset, Vec<u8>)>,
}

impl Walk<'_> {
    fn header(&mut self, at: SlotOffset) -> Option<Header> {
        for file in 0..self.windows.len() {
            let (from, window) = &mut self.windows[file];
            if at < *from || at.bytes() >= from.bytes() + window.len() as u64 {
                let pages = WINDOW_PAGES.min(self.end.0 - at.0);
                *window = self.slots.read_pages(file, at, pages);
                *from = at;
            }
            let begin = (at.0 - from.0) as usize * PAGE_BYTES;
            let Some(bytes) = window.get(begin..) else { continue };
            let header = header_at(&self.slots.page, self.slots.files[file].0, at, bytes);
            if let Some(header) = header.filter(|header| layout(header).is_some()) {
                return Some(header);
            }
        }
        None
    }
}

impl Iterator for Walk<'_> {
    type Item = Header;

    fn next(&mut self) -> Option<Header> {
        while self.at < self.end {
            let at = self.at;
            // One page each, before all that lies behind is read.
            let next = if self.is_behind_stripe { self.slots.stripe_at(at) } else { None };
            self.is_behind_stripe = false;
            if let Some(header) = next.or_else(|| self.header(at)) {
                self.at = at.advance(fragment_pages(header.fragment_len));
                self.is_behind_stripe = true;
                return Some(header);
            }
            self.at = at.advance(1);
        }
        None
    }
}

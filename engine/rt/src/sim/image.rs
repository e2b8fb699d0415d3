//! The contents of one simulated file: what reads see, what would survive a crash, and what lies between the two.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use super::core::Core;
use super::faults::Fault;

pub(super) const PAGE_BYTES: u64 = 4096;

/// A page's bytes: a part of what was written, which all images share until one of them changes it.
#[derive(Clone)]
struct Page {
    written: Rc<[u8]>,
    at: usize,
}

impl Page {
    fn new(bytes: [u8; PAGE_BYTES as usize]) -> Page {
        Page { written: Rc::new(bytes), at: 0 }
    }

    fn bytes(&self) -> &[u8; PAGE_BYTES as usize] {
        self.written[self.at..][..PAGE_BYTES as usize].try_into().expect("a page")
    }

    /// Its bytes, of which nobody else has a share.
    fn change(&mut self) -> &mut [u8] {
        if self.written.len() != PAGE_BYTES as usize || Rc::get_mut(&mut self.written).is_none() {
            *self = Page::new(*self.bytes());
        }
        Rc::get_mut(&mut self.written).expect("nobody shares it")
    }
}

/// Sparse bytes: pages that are missing read as zeros.
#[derive(Clone, Default)]
pub(super) struct Image {
    pages: BTreeMap<u64, Page>,
    len: u64,
}

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes of `range` that lie before the end.
    pub(super) fn read(&self, range: Range<u64>) -> Vec<u8> {
        let end = range.end.min(self.len);
        let mut bytes = vec![0; end.saturating_sub(range.start) as usize];
        let mut at = range.start;
        while at < end {
            let (page, within) = (at / PAGE_BYTES, (at % PAGE_BYTES) as usize);
            let count = (PAGE_BYTES - within as u64).min(end - at) as usize;
            if let Some(page) = self.pages.get(&page) {
                let start = (at - range.start) as usize;
                bytes[start..start + count].copy_from_slice(&page.bytes()[within..within + count]);
            }
            at += count as u64;
        }
        bytes
    }

    /// Puts `range` of what was written at `offset`.
    fn write(&mut self, offset: u64, written: &Rc<[u8]>, range: Range<usize>) {
        let mut from = range.start;
        while from < range.end {
            let at = offset + (from - range.start) as u64;
            let (number, within) = (at / PAGE_BYTES, (at % PAGE_BYTES) as usize);
            let count = (PAGE_BYTES as usize - within).min(range.end - from);
            let (part, is_whole) = (&written[from..from + count], count == PAGE_BYTES as usize);
            if part.iter().all(|byte| *byte == 0) && (is_whole || !self.pages.contains_key(&number)) {
                // Zeros need no memory, so that preallocated volumes cost none.
                self.pages.remove(&number);
            } else if is_whole {
                self.pages.insert(number, Page { written: written.clone(), at: from });
            } else {
                let page = self.pages.entry(number).or_insert_with(|| Page::new([0; PAGE_BYTES as usize]));
                page.change()[within..within + count].copy_from_slice(part);
            }
            from += count;
        }
        self.len = self.len.max(offset + range.len() as u64);
    }

    pub(super) fn zero(&mut self, range: Range<u64>) {
        let end = range.end.min(self.len);
        let mut at = range.start;
        while at < end {
            let within = at % PAGE_BYTES;
            let count = (PAGE_BYTES - within).min(end - at);
            if count == PAGE_BYTES {
                self.pages.remove(&(at / PAGE_BYTES));
            } else if let Some(page) = self.pages.get_mut(&(at / PAGE_BYTES)) {
                page.change()[within as usize..(within + count) as usize].fill(0);
            }
            at += count;
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.zero(len..self.len);
            self.pages.split_off(&len.div_ceil(PAGE_BYTES));
        }
        self.len = len;
    }

    fn flip(&mut self, page: u64, bit: u64) {
        if let Some(page) = self.pages.get_mut(&page) {
            page.change()[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
    }
}

#[derive(Clone)]
pub(super) enum Kind {
    Write { offset: u64, bytes: Rc<[u8]> },
    SetLen(u64),
    Punch(Range<u64>),
    Allocate(Range<u64>),
}

impl Kind {
    fn apply(&self, image: &mut Image) {
        match self {
            Kind::Write { offset, bytes } => image.write(*offset, bytes, 0..bytes.len()),
            Kind::SetLen(len) => image.set_len(*len),
            Kind::Punch(range) => image.zero(range.clone()),
            Kind::Allocate(range) => image.set_len(image.len().max(range.end)),
        }
    }

    fn range(&self) -> Range<u64> {
        match self {
            Kind::Write { offset, bytes } => *offset..offset + bytes.len() as u64,
            Kind::Punch(range) => range.clone(),
            Kind::SetLen(_) | Kind::Allocate(_) => 0..0,
        }
    }
}

/// A change that is not durable yet.
struct Change {
    id: u64,
    kind: Kind,
    completed: bool,
    /// Parts that a later, durable write has overwritten: a crash must not bring the older bytes back.
    overwritten: Vec<Range<u64>>,
}

impl Change {
    /// The parts of a write or a punch that still count.
    fn parts(&self) -> Vec<Range<u64>> {
        let mut parts = Vec::from([self.kind.range()]);
        for gone in &self.overwritten {
            parts = parts
                .into_iter()
                .flat_map(|part| {
                    let before = part.start..gone.start.clamp(part.start, part.end);
                    let after = gone.end.clamp(part.start, part.end)..part.end;
                    [before, after]
                })
                .filter(|part| !part.is_empty())
                .collect();
        }
        parts
    }

    fn make_durable(&self, durable: &mut Image) {
        match &self.kind {
            Kind::Write { offset, bytes } => {
                for part in self.parts() {
                    let range = (part.start - offset) as usize..(part.end - offset) as usize;
                    durable.write(part.start, bytes, range);
                }
            }
            Kind::Punch(_) => {
                for part in self.parts() {
                    durable.zero(part);
                }
            }
            Kind::SetLen(_) | Kind::Allocate(_) => self.kind.apply(durable),
        }
    }

    /// Changes of the length stand in the journal before every later write of the file that is durable.
    fn is_of_length(&self) -> bool {
        match self.kind {
            Kind::SetLen(_) | Kind::Allocate(_) => true,
            Kind::Write { .. } | Kind::Punch(_) => false,
        }
    }
}

#[derive(Default)]
pub(super) struct Contents {
    pub(super) visible: Image,
    durable: Image,
    pending: Vec<Change>,
    next_id: u64,
}

impl Contents {
    /// A change has been submitted.
    pub(super) fn begin(&mut self, kind: Kind) -> u64 {
        self.next_id += 1;
        self.pending.push(Change { id: self.next_id, kind, completed: false, overwritten: Vec::new() });
        self.next_id
    }

    /// It has completed: reads see it now. Void after a crash has settled it.
    pub(super) fn complete(&mut self, id: u64) {
        if let Some(change) = self.pending.iter_mut().find(|change| change.id == id) {
            change.completed = true;
            change.kind.apply(&mut self.visible);
        }
    }

    /// It failed, or was acknowledged and never written: nothing of it stays.
    pub(super) fn abandon(&mut self, id: u64) {
        self.pending.retain(|change| change.id != id);
    }

    /// What a sync that is submitted now will cover.
    pub(super) fn completed(&self) -> Vec<u64> {
        self.pending.iter().filter(|change| change.completed).map(|change| change.id).collect()
    }

    /// Makes the named changes durable.
    pub(super) fn make_durable(&mut self, ids: &[u64]) {
        let last = ids.iter().copied().max().unwrap_or(0);
        let covered = |change: &Change| {
            ids.contains(&change.id) || (change.completed && change.id < last && change.is_of_length())
        };
        let (durable, pending): (Vec<Change>, Vec<Change>) =
            std::mem::take(&mut self.pending).into_iter().partition(covered);
        self.pending = pending;
        for change in &durable {
            change.make_durable(&mut self.durable);
            let range = change.kind.range();
            for older in self.pending.iter_mut().filter(|older| older.completed && older.id < change.id) {
                let theirs = older.kind.range();
                if theirs.start < range.end && range.start < theirs.end {
                    older.overwritten.push(range.clone());
                }
            }
        }
    }

    /// A sync failed: each of these is gone from the cache as if it were clean, or reached the medium after all.
    /// Reads go on seeing what the page cache has.
    pub(super) fn fail_sync(&mut self, ids: &[u64], core: &Core) {
        let reached: Vec<u64> = ids.iter().copied().filter(|_| core.below(2) == 0).collect();
        self.make_durable(&reached);
        self.pending.retain(|change| !ids.contains(&change.id));
    }

    /// Settles every change that is not durable: kept, lost or torn.
    pub(super) fn crash(&mut self, core: &Core, atomic_bytes: usize) {
        for change in std::mem::take(&mut self.pending) {
            match core.below(3) {
                0 => core.count(Fault::CrashLost),
                1 => {
                    core.count(Fault::CrashKept);
                    change.make_durable(&mut self.durable);
                }
                _ => match &change.kind {
                    Kind::Write { offset, bytes } => {
                        core.count(Fault::CrashTorn);
                        for part in change.parts() {
                            for at in part.clone().step_by(atomic_bytes) {
                                let end = part.end.min(at + atomic_bytes as u64);
                                if core.below(2) == 0 {
                                    let range = (at - offset) as usize..(end - offset) as usize;
                                    self.durable.write(at, bytes, range);
                                }
                            }
                        }
                    }
                    Kind::SetLen(_) | Kind::Punch(_) | Kind::Allocate(_) => core.count(Fault::CrashLost),
                },
            }
        }
        self.visible = self.durable.clone();
    }

    /// Flips a random bit of a page that holds data, for reads now and after a crash. False when there is no data.
    pub(super) fn flip_bit(&mut self, core: &Core) -> bool {
        let count = self.visible.pages.len() as u64;
        if count == 0 {
            return false;
        }
        let page = *self.visible.pages.keys().nth(core.below(count) as usize).expect("below the count");
        let bit = core.below(PAGE_BYTES * 8);
        self.visible.flip(page, bit);
        self.durable.flip(page, bit);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimConfig;

    #[test]
    fn an_image_keeps_bytes_holes_and_its_length() {
        let mut image = Image::default();
        image.write(4090, &Rc::from(*b"0123456789"), 0..10);
        assert_eq!((image.len(), image.read(4088..5000)), (4100, b"\0\x000123456789".to_vec()));
        image.zero(4092..4096);
        assert_eq!(image.read(4090..4100), b"01\0\0\0\x006789");
        image.set_len(4091);
        image.set_len(4100);
        assert_eq!(image.read(4090..4100), b"0\0\0\0\0\0\0\0\0\0");
        image.write(0, &Rc::from([0; 8192]), 0..8192);
        assert!(image.pages.is_empty());
    }

    #[test]
    fn a_page_that_images_share_is_changed_in_one_of_them_only() {
        let written: Rc<[u8]> = Rc::from([7; 3 * 4096]);
        let (mut one, mut other) = (Image::default(), Image::default());
        one.write(0, &written, 0..written.len());
        other.write(8192, &written, 4096..8192);
        let copy = one.clone();
        one.write(4100, &Rc::from([1; 8]), 0..8);
        one.flip(2, 0);
        one.zero(0..10);
        other.zero(8192..8200);
        assert_eq!(copy.read(0..12288), vec![7; 12288]);
        assert_eq!(one.read(0..12), [[0; 10].as_slice(), &[7; 2]].concat());
        assert_eq!(one.read(4096..4110), [[7; 4].as_slice(), &[1; 8], &[7; 2]].concat());
        assert_eq!(one.read(8192..8194), [6, 7]);
        assert_eq!(other.read(8190..8202), [[0; 10].as_slice(), &[7; 2]].concat());
        assert!(written.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn a_durable_overwrite_is_never_undone_by_an_older_write() {
        for seed in 0..64 {
            let core = Core::new(seed, SimConfig::default());
            let mut contents = Contents::default();
            let older = contents.begin(Kind::Write { offset: 0, bytes: Rc::from([1; 4096]) });
            contents.complete(older);
            let newer = contents.begin(Kind::Write { offset: 512, bytes: Rc::from([2; 1024]) });
            contents.complete(newer);
            contents.make_durable(&[newer]);
            contents.crash(&core, 512);
            assert_eq!(contents.visible.read(512..1536), [2; 1024]);
            for byte in contents.visible.read(0..512) {
                assert!(byte == 0 || byte == 1);
            }
        }
    }

    #[test]
    fn an_older_punch_or_cut_never_undoes_a_durable_write() {
        for seed in 0..64 {
            let core = Core::new(seed, SimConfig::default());
            let mut contents = Contents::default();
            for kind in [Kind::Punch(0..8192), Kind::SetLen(0), Kind::Allocate(0..16384)] {
                let id = contents.begin(kind);
                contents.complete(id);
            }
            let newer = contents.begin(Kind::Write { offset: 4096, bytes: Rc::from([2; 4096]) });
            contents.complete(newer);
            contents.make_durable(&[newer]);
            if seed % 2 == 0 {
                let rest = contents.completed();
                contents.make_durable(&rest);
            }
            contents.crash(&core, 512);
            assert_eq!((contents.visible.len(), contents.visible.read(4096..8192)), (16384, vec![2; 4096]));
        }
    }
}

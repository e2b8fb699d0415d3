//! Merges the sorted slices of a bucket's partitions, entry by entry.

use std::vec::IntoIter;

use crate::ids::PartitionId;
use crate::index::scan::{Item, Page};

/// Cursors over the partitions of a bucket. They are few (`keys::SPREAD_MAX`), so the smallest head is found by looking at
/// all of them, which needs no branches: the first eight bytes in which the names at hand differ are kept as one number.
pub(super) struct Merge {
    cursors: Vec<Cursor>,
    /// Of the head of each cursor; `u64::MAX` when there is none.
    chunks: Vec<u64>,
    /// All names at hand begin with the same so many bytes.
    shared: usize,
}

pub(super) struct Cursor {
    partition: PartitionId,
    items: IntoIter<Item>,
    /// Index key to go on from; `None`: the partition has no more, or it is being asked.
    resume: Option<Vec<u8>>,
}

impl Cursor {
    fn head(&self) -> Option<&[u8]> {
        self.items.as_slice().first().map(name)
    }

    fn is_starved(&self) -> bool {
        self.items.as_slice().is_empty() && self.resume.is_some()
    }
}

impl Merge {
    /// Cursors that begin at `start` and have nothing yet.
    pub(super) fn new(partitions: impl Iterator<Item = PartitionId>, start: &[u8]) -> Merge {
        let cursor = |partition| Cursor { partition, items: Vec::new().into_iter(), resume: Some(start.to_vec()) };
        let cursors: Vec<_> = partitions.map(cursor).collect();
        Merge { chunks: vec![u64::MAX; cursors.len()], cursors, shared: 0 }
    }

    pub(super) fn cursors(&self) -> &[Cursor] {
        &self.cursors
    }

    /// Whether a cursor has to be fed before the next entry is known.
    pub(super) fn is_starved(&self) -> bool {
        self.cursors.iter().any(Cursor::is_starved)
    }

    /// The starved cursors with where to go on. They are to be fed before anything else.
    pub(super) fn starved(&mut self) -> impl Iterator<Item = (usize, PartitionId, Vec<u8>)> {
        let starved = self.cursors.iter_mut().enumerate().filter(|(_, cursor)| cursor.is_starved());
        starved.filter_map(|(at, cursor)| Some((at, cursor.partition, cursor.resume.take()?)))
    }

    /// Gives starved cursors their next items, ascending and behind those they had.
    pub(super) fn feed(&mut self, slices: Vec<(usize, Page)>) {
        for (cursor, slice) in slices {
            debug_assert!(slice.items.is_sorted_by(|a, b| name(a) < name(b)));
            self.cursors[cursor].items = slice.items.into_iter();
            self.cursors[cursor].resume = slice.next;
        }
        self.compare_anew();
    }

    /// The cursor with the smallest name; `None` when all are at their end. No cursor may be starved.
    pub(super) fn smallest(&self) -> Option<usize> {
        debug_assert!(!self.is_starved());
        let smallest = self.chunks.iter().min()?;
        let heads = self.cursors.iter().zip(&self.chunks).enumerate().filter(|(_, (_, chunk))| *chunk == smallest);
        heads.filter_map(|(at, (cursor, _))| Some((&cursor.head()?[self.shared..], at))).min().map(|(_, at)| at)
    }

    /// Index key of a cursor's first item, or what it shares with its group. The cursor has one.
    pub(super) fn name(&self, cursor: usize) -> &[u8] {
        self.cursors[cursor].head().expect("the cursor has an item")
    }

    /// Takes a cursor's first item. The cursor has one.
    pub(super) fn take(&mut self, cursor: usize) -> Item {
        let item = self.cursors[cursor].items.next().expect("the cursor has an item");
        self.chunks[cursor] = self.cursors[cursor].head().map_or(u64::MAX, |name| chunk(name, self.shared));
        item
    }

    /// Sets what the names share, and the numbers. The slices are sorted: what all their ends share, all names do.
    fn compare_anew(&mut self) {
        let slices = self.cursors.iter().map(|cursor| cursor.items.as_slice());
        let mut ends = slices.flat_map(|items| items.first().into_iter().chain(items.last())).map(name);
        let first = ends.next().unwrap_or_default();
        self.shared = ends.fold(first.len(), |shared, end| {
            first[..shared].iter().zip(end).take_while(|(one, other)| one == other).count()
        });
        for (cursor, number) in self.cursors.iter().zip(&mut self.chunks) {
            *number = cursor.head().map_or(u64::MAX, |name| chunk(name, self.shared));
        }
    }
}

fn name(item: &Item) -> &[u8] {
    match item {
        Item::Entry { key, .. } => key,
        Item::Prefix(prefix) => prefix,
    }
}

/// The eight bytes at `from` as a number that sorts as they do; zeros stand for what is missing.
fn chunk(name: &[u8], from: usize) -> u64 {
    let rest = &name[from..];
    if let Some(bytes) = rest.first_chunk() {
        return u64::from_be_bytes(*bytes);
    }
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests;

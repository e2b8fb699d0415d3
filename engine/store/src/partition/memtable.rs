//! Durable entries that are not yet in tables, in key order; and several such layers read as one.

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::iter::Peekable;
use std::ops::Bound;

use crate::index::Bytes;
use crate::index::keys;
use crate::index::scan::{Scan, Upper};

/// Memory of one entry beside its key and value: tree node, two handles of 24 bytes, two allocations.
const ENTRY_OVERHEAD_BYTES: usize = 112;

/// The newest value of each key; `None` is a tombstone.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    entries: BTreeMap<Bytes, Option<Bytes>>,
    bytes: usize,
}

impl Memtable {
    pub(super) fn put(&mut self, key: Bytes, value: Option<Bytes>) {
        let key_len = key.len();
        let value_len = value.as_ref().map_or(0, |value| value.len());
        match self.entries.insert(key, value) {
            Some(before) => {
                self.bytes -= before.map_or(0, |value| value.len());
                self.bytes += value_len;
            }
            None => self.bytes += ENTRY_OVERHEAD_BYTES + key_len + value_len,
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        self.entries.get(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Estimate of the memory it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> + Clone {
        self.entries.iter().map(|(key, value)| (key, value.as_ref()))
    }

    fn range(&self, from: &[u8], to: &[u8]) -> Peekable<Range<'_, Bytes, Option<Bytes>>> {
        // An empty range that ends before it begins would panic.
        let from = from.min(to);
        self.entries.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to))).peekable()
    }
}

/// What `layers`, newest first, hold in the range of `scan`: at most `entries_max` entries.
pub(super) fn collect(layers: &[&Memtable], scan: &Scan, entries_max: usize) -> Upper {
    let mut heads: Vec<_> = layers.iter().map(|layer| layer.range(&scan.from, &scan.to)).collect();
    let mut upper = Upper::default();
    loop {
        // Of layers with the same key the first one, which is the newest. With one layer, the usual case, no key is
        // compared.
        let smallest = heads.iter_mut().enumerate().filter_map(|(layer, head)| Some((head.peek()?.0, layer))).min();
        let Some((key, newest)) = smallest else {
            return upper;
        };
        if upper.entries.len() >= entries_max {
            upper.horizon = Some(key.to_vec());
            return upper;
        }
        let (_, value) = heads[newest].next().expect("the layer has an entry");
        for older in &mut heads[newest + 1..] {
            older.next_if(|(other, _)| *other == key);
        }
        let group = scan.group.as_ref().filter(|_| value.is_some());
        let behind = group.and_then(|group| group.prefix_of(key)).and_then(keys::after_prefix);
        upper.entries.push((key.clone(), value.clone()));
        if let Some(behind) = behind {
            for (head, layer) in heads.iter_mut().zip(layers) {
                if head.peek().is_some_and(|(key, _)| ***key < *behind) {
                    *head = layer.range(&behind, &scan.to);
                }
            }
        }
    }
}

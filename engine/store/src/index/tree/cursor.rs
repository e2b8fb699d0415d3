//! Reads a tree's tables in key order.

use std::cmp::Ordering;
use std::ops::Bound;
use std::vec::IntoIter;

use lsm_tree::{AbstractTree, AnyTree, BoxedIterator, InternalValue, Table};

use super::{Bytes, TreeError};
use crate::index::scan::Cursor;

/// Runs through a part of the tree in key order; tombstones are passed over.
///
/// It merges the runs itself, with `Table::range`: the engine's own ranges step through a heap, a second filter for old
/// versions and three boxes for each entry, and look for the upper bound in every block (perf/README.md). Here the bound is
/// compared with the keys, and runs are few (`L0_RUNS_STOP` and one for each level), so the smallest head is found by
/// looking at all of them.
pub(crate) struct TreeCursor<'a> {
    tree: &'a AnyTree,
    runs: Vec<RunCursor>,
    to: Vec<u8>,
}

impl<'a> TreeCursor<'a> {
    /// At the end, until it seeks.
    pub(super) fn new(tree: &'a AnyTree) -> TreeCursor<'a> {
        TreeCursor { tree, runs: Vec::new(), to: Vec::new() }
    }
}

impl Cursor for TreeCursor<'_> {
    type Error = TreeError;

    fn seek(&mut self, from: &[u8], to: &[u8]) -> Result<(), TreeError> {
        self.runs.clear();
        to.clone_into(&mut self.to);
        if from >= to {
            return Ok(());
        }
        for run in self.tree.current_version().iter_levels().flat_map(|level| level.iter()) {
            let within = (Bound::Included(from), Bound::Excluded(to));
            if let Some((first, last)) = run.range_overlap_indexes::<&[u8], _>(&within) {
                self.runs.push(RunCursor::seek(run[first..=last].to_vec(), from, to)?);
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, TreeError> {
        while let Some(smallest) = self.smallest() {
            let entry = self.runs[smallest.newest].take(&self.to)?;
            let Some(InternalValue { key, value }) = entry else { continue };
            if smallest.in_several {
                for run in &mut self.runs {
                    while run.is_at(&key.user_key) {
                        run.take(&self.to)?;
                    }
                }
            }
            if !key.is_tombstone() {
                return Ok(Some((key.user_key, value)));
            }
        }
        Ok(None)
    }
}

/// Where the smallest key is.
struct Smallest {
    /// The run with its newest version.
    newest: usize,
    /// Other runs have older versions of it.
    in_several: bool,
}

impl TreeCursor<'_> {
    fn smallest(&self) -> Option<Smallest> {
        let mut smallest: Option<(&InternalValue, Smallest)> = None;
        for (at, run) in self.runs.iter().enumerate() {
            let Some(head) = &run.head else { continue };
            let order =
                smallest.as_ref().map_or(Ordering::Less, |(other, _)| head.key.user_key.cmp(&other.key.user_key));
            match (order, &mut smallest) {
                (Ordering::Equal, Some((other, found))) => {
                    found.in_several = true;
                    if head.key.seqno > other.key.seqno {
                        (*other, found.newest) = (head, at);
                    }
                }
                (Ordering::Less, _) => smallest = Some((head, Smallest { newest: at, in_several: false })),
                (Ordering::Greater, _) | (Ordering::Equal, None) => {}
            }
        }
        smallest.map(|(_, found)| found)
    }
}

/// Runs through tables that follow each other. A run has one version of each key: flushes and merges see to that.
struct RunCursor {
    tables: IntoIter<Table>,
    entries: BoxedIterator<'static>,
    /// `None`: at the end.
    head: Option<InternalValue>,
}

impl RunCursor {
    /// At the first entry at or after `from`; ends before `to`. `tables` are those of a run that overlap with it.
    fn seek(tables: Vec<Table>, from: &[u8], to: &[u8]) -> Result<RunCursor, TreeError> {
        let mut tables = tables.into_iter();
        let first = tables.next().map(|table| table.range((Bound::Included(Bytes::new(from)), Bound::Unbounded)));
        let entries = first.map_or_else(|| Box::new(std::iter::empty()) as BoxedIterator<'_>, |first| Box::new(first));
        let mut run = RunCursor { tables, entries, head: None };
        run.take(to)?;
        Ok(run)
    }

    /// Gives the head and steps on.
    fn take(&mut self, to: &[u8]) -> Result<Option<InternalValue>, TreeError> {
        loop {
            if let Some(next) = self.entries.next().transpose()? {
                debug_assert!(self.head.as_ref().is_none_or(|head| head.key.user_key < next.key.user_key));
                let next = Some(next).filter(|next| *next.key.user_key < *to);
                return Ok(std::mem::replace(&mut self.head, next));
            }
            let Some(table) = self.tables.next() else { return Ok(self.head.take()) };
            self.entries = Box::new(table.iter());
        }
    }

    fn is_at(&self, key: &[u8]) -> bool {
        self.head.as_ref().is_some_and(|head| *head.key.user_key == *key)
    }
}

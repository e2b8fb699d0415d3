//! The tables of a partition, where a copy can still be read: what they hold needs no log.

use std::collections::VecDeque;

use super::source::Source;
use crate::format::batch::Ckpt;
use crate::ids::{Lsn, PartitionId};
use crate::index::{Bytes, Opened, keys};

/// The checkpoint of a tree that was never flushed.
const NOTHING: Ckpt = Ckpt { lsn: Lsn::ZERO, position: None };

/// Rows that are read at a time.
const ROWS: usize = 1_024;

/// The freshest copy of a partition's tables, read in the order of its keys.
pub(crate) struct Tables {
    copy: Option<Opened>,
    pub(super) ckpt: Ckpt,
    /// Copies that count are known, and this is one: it holds all that its partition's freed logs held.
    pub(crate) counts: bool,
    /// Why the rest could not be read.
    pub(super) failed: Option<String>,
    rows: VecDeque<(Bytes, Bytes)>,
    next: Option<Vec<u8>>,
    to: Vec<u8>,
}

impl Tables {
    /// Of a partition without any copy that can be opened: nothing is known but what the logs say.
    pub(super) fn none() -> Tables {
        Tables {
            copy: None,
            ckpt: NOTHING,
            counts: false,
            failed: None,
            rows: VecDeque::new(),
            next: None,
            to: Vec::new(),
        }
    }

    /// Opens the copy with the highest checkpoint, of those that count if that is known.
    pub(crate) fn open(source: &Source, partition: PartitionId) -> Tables {
        let known = source.topology.as_ref().filter(|topology| topology.is_any_in_sync(partition));
        let mut best: Option<(bool, Opened)> = None;
        let mut failed = None;
        for (drive, dir) in source.index_dirs(partition) {
            let counts = known.zip(drive).is_some_and(|(topology, drive)| topology.is_in_sync(partition, drive));
            match Opened::open(&dir) {
                Ok(Some(copy)) => {
                    let rank = |counts: bool, copy: &Opened| (counts, copy.ckpt.lsn);
                    if best.as_ref().is_none_or(|(than, best)| rank(*than, best) < rank(counts, &copy)) {
                        best = Some((counts, copy));
                    }
                }
                Ok(None) => {}
                Err(error) => failed = Some(format!("{}: {error}", dir.display())),
            }
        }
        match best {
            // A tree without a checkpoint is one that was just made: it holds nothing. A partition without a commit has one.
            Some((counts, copy)) if copy.ckpt != NOTHING => {
                Tables { ckpt: copy.ckpt, counts, copy: Some(copy), ..Tables::none() }
            }
            Some(_) => Tables::none(),
            None => Tables { failed, ..Tables::none() },
        }
    }

    /// Whether there is a copy, and all of it could be read so far.
    pub(crate) fn is_there(&self) -> bool {
        self.copy.is_some() && self.failed.is_none()
    }

    /// Whether it was read and cannot be read any further.
    pub(super) fn broke_off(&self) -> bool {
        self.copy.is_some() && self.failed.is_some()
    }

    /// From here on the rows of this range come.
    pub(super) fn seek(&mut self, from: Vec<u8>, to: Vec<u8>) {
        self.rows.clear();
        (self.next, self.to) = (Some(from), to);
    }

    /// The next row, left where it is.
    pub(super) fn peek(&mut self) -> Option<&(Bytes, Bytes)> {
        if self.rows.is_empty()
            && self.failed.is_none()
            && let (Some(copy), Some(from)) = (&self.copy, self.next.take())
        {
            match copy.rows(&from, &self.to, ROWS) {
                Ok(rows) => {
                    self.next = rows.last().filter(|_| rows.len() == ROWS).map(|(last, _)| keys::successor(last));
                    self.rows = rows.into();
                }
                Err(error) => self.failed = Some(error.to_string()),
            }
        }
        self.rows.front()
    }

    pub(super) fn pop(&mut self) -> Option<(Bytes, Bytes)> {
        self.peek()?;
        self.rows.pop_front()
    }
}

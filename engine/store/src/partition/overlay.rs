//! Entries that are decided but not durable. Conditions are decided against them; no reader sees them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use crate::format::batch::{Entry, Op, UsageDelta};
use crate::ids::Lsn;
use crate::index::Bytes;

#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// Of each key its pending values, oldest first.
    values: BTreeMap<Bytes, VecDeque<(Lsn, Option<Bytes>)>>,
    /// LSNs in the order of `push`.
    pending: VecDeque<Lsn>,
}

/// What one entry adds to the overlay.
#[derive(Debug)]
pub(super) struct Pending {
    lsn: Lsn,
    values: Vec<(Bytes, Option<Bytes>)>,
    pub(super) usage: Vec<UsageDelta>,
}

impl Pending {
    pub(super) fn of(entry: &Entry) -> Pending {
        let copy = |op: &Op| (Bytes::new(&op.key), op.value.as_deref().map(Bytes::new));
        Pending { lsn: entry.lsn, values: entry.ops.iter().map(copy).collect(), usage: entry.usage.clone() }
    }
}

impl Overlay {
    pub(super) fn push(&mut self, pending: Pending) {
        let Pending { lsn, values, .. } = pending;
        assert!(self.pending.back().is_none_or(|last| *last < lsn), "LSNs are handed out in order");
        self.pending.push_back(lsn);
        for (key, value) in values {
            self.values.entry(key).or_default().push_back((lsn, value));
        }
    }

    /// Takes out what was put in for this entry: the oldest one. `false` if it was never pending: recovery found it.
    pub(super) fn pop(&mut self, entry: &Entry) -> bool {
        let Some(first) = self.pending.front() else { return false };
        assert!(*first == entry.lsn, "entries become durable, or fail, in the order they were decided");
        self.pending.pop_front();
        for op in &entry.ops {
            let values = self.values.get_mut(&op.key[..]).expect("pending values go with their entry");
            let popped = values.pop_front();
            debug_assert!(popped.is_some_and(|(lsn, _)| lsn == entry.lsn));
            if values.is_empty() {
                self.values.remove(&op.key[..]);
            }
        }
        true
    }

    /// The newest pending value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        self.values.get(key).and_then(|values| values.back()).map(|(_, value)| value)
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.values.contains_key(key)
    }

    /// Whether any key from `from` on and before `to` has a pending value.
    pub(super) fn contains_any(&self, from: &[u8], to: &[u8]) -> bool {
        self.values.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to))).next().is_some()
    }

    /// The last entry that is pending.
    pub(super) fn newest(&self) -> Option<Lsn> {
        self.pending.back().copied()
    }

    /// The first entry that is pending.
    pub(super) fn oldest(&self) -> Option<Lsn> {
        self.pending.front().copied()
    }
}

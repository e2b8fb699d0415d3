//! Values read from the tree lately, and keys found not to be there: a hot key costs no second look-up.
//!
//! Two generations: what is asked for again moves to the young one; when the young one is full the old one goes. A scan
//! does not come here, so it cannot push anything out.

use std::collections::HashMap;

use crate::index::Bytes;

/// Memory of one entry beside its key and value.
const ENTRY_OVERHEAD_BYTES: usize = 112;

#[derive(Default)]
pub(super) struct Records {
    young: HashMap<Bytes, Option<Bytes>>,
    old: HashMap<Bytes, Option<Bytes>>,
    young_bytes: usize,
    /// For both generations together.
    bytes_max: usize,
}

impl Records {
    pub(super) fn new(bytes_max: usize) -> Records {
        Records { bytes_max, ..Records::default() }
    }

    pub(super) fn get(&mut self, key: &[u8]) -> Option<Option<Bytes>> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    pub(super) fn insert(&mut self, key: Bytes, value: Option<Bytes>) {
        let bytes = ENTRY_OVERHEAD_BYTES + key.len() + value.as_ref().map_or(0, |value| value.len());
        if bytes > self.bytes_max / 8 {
            return;
        }
        if self.young_bytes + bytes > self.bytes_max / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        self.young.insert(key, value);
    }

    /// The key has changed: the memtable answers for it from now on.
    pub(super) fn remove(&mut self, key: &[u8]) {
        // The bytes stay counted until the generation changes: an overestimate.
        self.young.remove(key);
        self.old.remove(key);
    }
}

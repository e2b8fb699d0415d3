//! The body cache of a shard: bytes by address. An address never changes what it names, so nothing is ever invalidated.
//!
//! Eviction is S3-FIFO (Yang et al., SOSP 2023): new bytes wait in a short queue; what is read again there moves to the main
//! queue, what is not leaves and only its key is remembered; a remembered key that comes back goes to the main queue at
//! once. A scan passes through the short queue and leaves the main one alone.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use crate::ids::{SlotOffset, VolumeId};

/// Largest body that is cached.
pub(crate) const CACHED_BODY_BYTES_MAX: usize = 1 << 20;

/// Larger bodies are copied into the cache only when they are read again soon: the copy is not free.
const COPIED_AT_ONCE_BYTES_MAX: usize = 64 << 10;

/// Share of the budget that new bytes may take before they are judged.
const SMALL_SHARE: usize = 10;

/// Keys that are remembered at least, however few bodies are cached.
const GHOSTS_MIN: usize = 256;

/// Reads of an entry that are counted: more make no difference.
const READS_MAX: u8 = 3;

/// What a cached entry costs beyond its bytes: keys in the map and the queues, the value's own header.
const ENTRY_OVERHEAD: usize = 160;

/// Where a body begins: unique for ever, since every address is written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BodyKey {
    pub(crate) volume: VolumeId,
    pub(crate) at: SlotOffset,
    /// Offset in the linear space of the stripe at `at`.
    pub(crate) offset: u32,
}

/// A cache with a budget in bytes. `V` is cheap to clone and keeps its bytes outside the buffer pool.
pub(crate) struct Cache<K, V> {
    budget: usize,
    state: RefCell<State<K, V>>,
}

struct State<K, V> {
    entries: HashMap<K, Entry<V>>,
    small: VecDeque<K>,
    main: VecDeque<K>,
    small_bytes: usize,
    main_bytes: usize,
    /// Keys that left the short queue unread, or were seen once.
    ghosts: VecDeque<K>,
    ghost_count: HashMap<K, u32>,
}

struct Entry<V> {
    value: V,
    bytes: usize,
    reads: u8,
}

impl<K: Copy + Eq + Hash, V: Clone> Cache<K, V> {
    /// A cache of `budget` bytes; 0 caches nothing.
    pub(crate) fn new(budget: usize) -> Cache<K, V> {
        let state = State {
            entries: HashMap::new(),
            small: VecDeque::new(),
            main: VecDeque::new(),
            small_bytes: 0,
            main_bytes: 0,
            ghosts: VecDeque::new(),
            ghost_count: HashMap::new(),
        };
        Cache { budget, state: RefCell::new(state) }
    }

    /// The bytes under `key`, counted as a read.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let mut state = self.state.borrow_mut();
        let entry = state.entries.get_mut(key)?;
        entry.reads = (entry.reads + 1).min(READS_MAX);
        Some(entry.value.clone())
    }

    /// Whether a value should be copied into the cache after it was missed. A large one is remembered the first time and
    /// wanted the second.
    pub(crate) fn wants(&self, key: &K, bytes: usize) -> bool {
        if !self.admits(bytes) || bytes <= COPIED_AT_ONCE_BYTES_MAX {
            return self.admits(bytes);
        }
        let mut state = self.state.borrow_mut();
        let again = state.ghost_count.contains_key(key);
        if !again {
            state.remember(*key);
        }
        again
    }

    fn admits(&self, bytes: usize) -> bool {
        bytes <= CACHED_BODY_BYTES_MAX && bytes + ENTRY_OVERHEAD <= self.budget / SMALL_SHARE
    }

    /// Takes a value of `bytes`, unless it is too large or there already.
    pub(crate) fn insert(&self, key: K, value: V, bytes: usize) {
        if !self.admits(bytes) {
            return;
        }
        let mut state = self.state.borrow_mut();
        if state.entries.contains_key(&key) {
            return;
        }
        let bytes = bytes + ENTRY_OVERHEAD;
        state.entries.insert(key, Entry { value, bytes, reads: 0 });
        if state.ghost_count.contains_key(&key) {
            state.main.push_back(key);
            state.main_bytes += bytes;
        } else {
            state.small.push_back(key);
            state.small_bytes += bytes;
        }
        while state.small_bytes + state.main_bytes > self.budget {
            state.evict(self.budget / SMALL_SHARE);
        }
    }
}

impl<K: Copy + Eq + Hash, V> State<K, V> {
    /// Takes one step towards less: from the short queue when it has more than its share, else from the main one.
    fn evict(&mut self, small_budget: usize) {
        if self.small_bytes > small_budget || self.main.is_empty() {
            self.judge_oldest_small();
        } else {
            self.age_oldest_main();
        }
    }

    fn judge_oldest_small(&mut self) {
        let key = self.small.pop_front().expect("bytes are counted for queued keys only");
        let entry = self.entries.get_mut(&key).expect("queued keys have an entry");
        self.small_bytes -= entry.bytes;
        if entry.reads > 0 {
            entry.reads = 0;
            self.main_bytes += entry.bytes;
            self.main.push_back(key);
            return;
        }
        self.entries.remove(&key);
        self.remember(key);
    }

    fn remember(&mut self, key: K) {
        self.ghosts.push_back(key);
        *self.ghost_count.entry(key).or_insert(0) += 1;
        while self.ghosts.len() > self.entries.len().max(GHOSTS_MIN) {
            let forgotten = self.ghosts.pop_front().expect("the queue is longer than its limit");
            let count = self.ghost_count.get_mut(&forgotten).expect("queued ghosts are counted");
            *count -= 1;
            if *count == 0 {
                self.ghost_count.remove(&forgotten);
            }
        }
    }

    fn age_oldest_main(&mut self) {
        let key = self.main.pop_front().expect("the caller saw an entry");
        let entry = self.entries.get_mut(&key).expect("queued keys have an entry");
        if entry.reads > 0 {
            entry.reads -= 1;
            self.main.push_back(key);
            return;
        }
        self.main_bytes -= entry.bytes;
        self.entries.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: usize = 1000;

    fn held(cache: &Cache<u32, u32>) -> usize {
        let state = cache.state.borrow();
        state.small_bytes + state.main_bytes
    }

    fn cache(bodies: usize) -> Cache<u32, u32> {
        Cache::new(bodies * (BODY + ENTRY_OVERHEAD))
    }

    #[test]
    fn the_budget_holds_whatever_comes() {
        let cache = cache(50);
        for key in 0..10_000u32 {
            let key = key.wrapping_mul(2_654_435_761) % 700;
            if cache.get(&key).is_none() {
                cache.insert(key, key, BODY - (key as usize % 900));
            }
            assert!(held(&cache) <= 50 * (BODY + ENTRY_OVERHEAD));
        }
    }

    #[test]
    fn a_scan_does_not_push_out_what_is_read_often() {
        let cache = cache(50);
        for key in 0..20 {
            cache.insert(key, key, BODY);
            cache.get(&key);
        }
        for key in 1000..5000 {
            cache.insert(key, key, BODY);
            if key % 100 == 0 {
                (0..20).for_each(|hot| assert_eq!(cache.get(&hot), Some(hot)));
            }
        }
        (0..20).for_each(|hot| assert_eq!(cache.get(&hot), Some(hot)));
    }

    #[test]
    fn what_comes_back_soon_goes_to_the_main_queue() {
        let cache = cache(50);
        for key in 0..51 {
            cache.insert(key, key, BODY);
        }
        let gone = (0..51).find(|key| !cache.state.borrow().entries.contains_key(key));
        let gone = gone.expect("one did not fit");
        cache.insert(gone, gone, BODY);
        assert!(cache.state.borrow().main.contains(&gone));
    }

    #[test]
    fn a_large_body_is_wanted_when_it_is_read_again() {
        let large = COPIED_AT_ONCE_BYTES_MAX + 1;
        let cache: Cache<u32, u32> = Cache::new(20 * large);
        assert!(cache.wants(&1, COPIED_AT_ONCE_BYTES_MAX));
        assert!(!cache.wants(&2, large));
        assert!(cache.wants(&2, large));
    }

    #[test]
    fn a_body_larger_than_the_short_queue_is_not_taken() {
        let cache = cache(50);
        cache.insert(1, 1, 10 * BODY);
        assert_eq!((cache.get(&1), held(&cache)), (None, 0));
        let off: Cache<u32, u32> = Cache::new(0);
        off.insert(1, 1, 0);
        assert_eq!(off.get(&1), None);
    }
}

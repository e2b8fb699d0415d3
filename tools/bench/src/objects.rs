//! The objects that one worker knows to be there. Each worker has its own, so that none reads what another one deletes.

use std::sync::Arc;

use crate::random::Random;

/// Tries to find an object that nobody reads.
const TRIES_MAX: usize = 16;

/// A version of an object. Whoever has a request for it under way holds on to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// Names the key, and the content unless it was overwritten.
    pub(crate) number: u64,
    /// Names the content.
    pub(crate) content: u64,
    pub(crate) size: u64,
    pub(crate) version: Option<String>,
}

#[derive(Default)]
pub(crate) struct Objects {
    rows: Vec<Arc<Object>>,
}

impl Objects {
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn add(&mut self, object: Object) {
        self.rows.push(Arc::new(object));
    }

    /// In order of their numbers, so that what is taken from the end goes on side by side in the bucket.
    pub(crate) fn sort(&mut self) {
        self.rows.sort_unstable_by_key(|object| (object.number, object.content));
    }

    pub(crate) fn pick(&self, random: &mut Random) -> Option<Arc<Object>> {
        let row = random.below(self.rows.len().max(1) as u64) as usize;
        self.rows.get(row).cloned()
    }

    /// Takes one out that nobody holds.
    pub(crate) fn take(&mut self, random: &mut Random) -> Option<Arc<Object>> {
        for _ in 0..TRIES_MAX {
            let row = random.below(self.rows.len().max(1) as u64) as usize;
            if Arc::strong_count(self.rows.get(row)?) == 1 {
                return Some(self.rows.swap_remove(row));
            }
        }
        None
    }

    /// Takes up to `count` out, from the end.
    pub(crate) fn take_last(&mut self, count: usize) -> Vec<Arc<Object>> {
        self.rows.split_off(self.rows.len().saturating_sub(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_read_is_not_taken() {
        let mut objects = Objects::default();
        let mut random = Random::new(1);
        assert_eq!((objects.pick(&mut random), objects.take(&mut random)), (None, None));
        for number in 0..3 {
            objects.add(Object { number, content: number, size: 1, version: None });
        }
        let held = objects.pick(&mut random).unwrap();
        let taken: Vec<_> = std::iter::from_fn(|| objects.take(&mut random)).collect();
        assert!(!taken.contains(&held));
        drop(held);
        assert_eq!(objects.take_last(10).len() + taken.len(), 3);
        assert!(objects.is_empty());
    }
}

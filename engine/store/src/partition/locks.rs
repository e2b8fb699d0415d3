//! One holder per key, in the order of asking: held from the read that a decision rests on to the decision.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use rt::sync::{Permit, Semaphore};

use crate::error::{Error, Result};
use crate::index::Bytes;

/// Who comes later while so many wait for one key is told `Busy`.
pub(crate) const KEY_WAITERS_MAX: usize = 256;

#[derive(Default)]
pub(super) struct KeyLocks {
    held: Rc<RefCell<HashMap<Bytes, Rc<Semaphore>>>>,
}

/// The right to decide about a key. Given up when dropped.
pub(crate) struct KeyLock {
    /// Dropped before the lock is looked at.
    permit: Option<Permit>,
    semaphore: Rc<Semaphore>,
    key: Bytes,
    held: Rc<RefCell<HashMap<Bytes, Rc<Semaphore>>>>,
}

impl KeyLocks {
    pub(super) async fn lock(&self, key: &[u8]) -> Result<KeyLock> {
        let key = Bytes::new(key);
        let semaphore = self.held.borrow_mut().entry(key.clone()).or_insert_with(|| Semaphore::new(1)).clone();
        // Made before waiting, so that a dropped waiter cleans up as well.
        let mut lock = KeyLock { permit: None, semaphore, key, held: self.held.clone() };
        if lock.semaphore.waiting() >= KEY_WAITERS_MAX {
            return Err(Error::Busy);
        }
        lock.permit = Some(lock.semaphore.acquire(1).await);
        Ok(lock)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.borrow().len()
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut held = self.held.borrow_mut();
        // This one's and the table's.
        if Rc::strong_count(&self.semaphore) == 2 && self.semaphore.available() == 1 {
            held.remove(&self.key);
        }
    }
}

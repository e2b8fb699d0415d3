//! Volumes that are being made, so that a drive that is about to leave can be sure of what will lie on it.
//!
//! Which drives a volume gets is decided before it is made, and known to all only afterwards. Whoever retires a drive marks
//! it as leaving, so that no volume chooses it any more, and waits until those that had chosen before are made or given up.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tickets of volumes that are being made, in the order in which they began.
#[derive(Default)]
pub(crate) struct Creations(Mutex<State>);

#[derive(Default)]
struct State {
    next: u64,
    under_way: BTreeSet<u64>,
}

/// A volume that is being made, until it is known or given up.
pub(crate) struct Creation<'a> {
    creations: &'a Creations,
    ticket: u64,
}

impl Creations {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before drives are chosen.
    pub(crate) fn begin(&self) -> Creation<'_> {
        let mut state = self.state();
        let ticket = state.next;
        state.next += 1;
        state.under_way.insert(ticket);
        Creation { creations: self, ticket }
    }

    /// Stands for all that have begun by now.
    pub(super) fn begun(&self) -> u64 {
        self.state().next
    }

    /// Whether all of those have ended.
    pub(super) fn have_ended(&self, begun: u64) -> bool {
        self.state().under_way.first().is_none_or(|first| *first >= begun)
    }
}

impl Drop for Creation<'_> {
    fn drop(&mut self) {
        self.creations.state().under_way.remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_begin_later_are_not_waited_for() {
        let creations = Creations::default();
        assert!(creations.have_ended(creations.begun()));
        let (first, second) = (creations.begin(), creations.begin());
        let begun = creations.begun();
        let third = creations.begin();
        drop(second);
        assert!(!creations.have_ended(begun));
        drop(first);
        assert!(creations.have_ended(begun) && !creations.have_ended(creations.begun()));
        drop(third);
        assert!(creations.have_ended(creations.begun()));
    }
}

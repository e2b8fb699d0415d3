//! Keeps a helper that is stuck from doing any more harm when its drive answers at last.
//!
//! Helpers that change files say on whose drive they are about to. An index is *retired* only while none of its helpers is
//! at files of a drive that answers: then whatever wakes up later ends before it touches another drive, and the copies that
//! are left can be opened anew at once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

#[derive(Default)]
pub(super) struct Fence(Mutex<State>);

#[derive(Default)]
struct State {
    /// Where the helper is that changes files; there is one at a time.
    at: Option<PathBuf>,
    retired: bool,
}

impl Fence {
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// To be called before files below `dir` are touched, and nothing else until the next call.
    pub(super) fn enter(&self, dir: &Path) -> io::Result<()> {
        self.with(|state| {
            if state.retired {
                return Err(io::Error::other("this index was given up for another copy"));
            }
            state.at = Some(dir.to_path_buf());
            Ok(())
        })
    }

    /// No files are touched until the next `enter`.
    pub(super) fn leave(&self) {
        self.with(|state| state.at = None);
    }

    /// Gives the index up, unless a helper is at files of a drive that answers. Idempotent.
    pub(super) fn retire(&self, is_silent: impl Fn(&Path) -> bool) -> bool {
        self.with(|state| {
            state.retired |= state.at.as_deref().is_none_or(is_silent);
            state.retired
        })
    }

    /// There is nothing to go on with instead.
    pub(super) fn take_back(&self) {
        self.with(|state| state.retired = false);
    }

    /// Whether it was retired, or a helper is at files of which this holds.
    pub(super) fn is_stuck(&self, is_silent: impl Fn(&Path) -> bool) -> bool {
        self.with(|state| state.retired || state.at.as_deref().is_some_and(is_silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_given_up_only_while_nobody_is_at_files_of_a_drive_that_answers() {
        let is_silent = |dir: &Path| dir.starts_with("/silent");
        let fence = Fence::default();
        fence.enter(Path::new("/well/index/1")).expect("not retired");
        assert!(!fence.is_stuck(is_silent) && !fence.retire(is_silent));
        fence.enter(Path::new("/silent/index/1")).expect("not retired");
        assert!(fence.is_stuck(is_silent) && fence.retire(is_silent));
        // What wakes up goes no further.
        assert!(fence.enter(Path::new("/well/index/1")).is_err());
        assert!(fence.is_stuck(|_| false), "it stays so");
        let idle = Fence::default();
        idle.enter(Path::new("/well/index/1")).expect("not retired");
        idle.leave();
        assert!(idle.retire(is_silent) && idle.enter(Path::new("/well/index/1")).is_err());
    }
}

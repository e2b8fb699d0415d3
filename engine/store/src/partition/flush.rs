//! From the memtable into the tree and its copies, then let go.

use std::cell::Cell;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::memtable::Memtable;
use super::set::Logged;
use super::{Partition, State, Stuck, on_helper};
use crate::format::batch::{Ckpt, Position};
use crate::index::{Bytes, FailedCopy, TreeError};
use crate::planted::{self, Bug};

/// Memtables that wait for their flush.
const SEALED_MAX: usize = 2;
/// Bytes and entries logged by the shard after which a partition is flushed, so that it does not pin the log and a start has
/// not much to replay: a quarter of a million entries of small bodies are about 300 MiB of log, whatever is stored in all.
const LOG_DISTANCE_BYTES: u64 = 1 << 30;
const LOG_DISTANCE_ENTRIES: u64 = 1 << 18;
/// A memtable is flushed at this age, in checks of the flusher.
pub(super) const AGE_CHECKS: u32 = 600;

/// A memtable that changes no more.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub(super) memtable: Arc<Memtable>,
    /// What the tables hold when it is flushed.
    pub(super) ckpt: Ckpt,
}

/// What was not let go was kept; nothing is lost.
#[derive(Debug)]
pub(crate) enum FlushError {
    Index(TreeError),
    /// The tree has the entries, these copies do not: their drives should be taken out, or the flush tried again.
    Copies(Vec<FailedCopy>),
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlushError::Index(error) => write!(f, "flush index: {error}"),
            FlushError::Copies(copies) => {
                f.write_str("copy index:")?;
                copies.iter().try_for_each(|copy| write!(f, " {}: {};", copy.dir.display(), copy.error))
            }
        }
    }
}

impl std::error::Error for FlushError {}

/// The index that was worked on was given up; the next attempt has another one.
fn given_up<T>() -> Result<T, TreeError> {
    Err(TreeError::Io(std::io::Error::other("its drive does not answer")))
}

impl Partition {
    /// Flushes all that is durable now, on helpers, one flush of the partition at a time, then merges tables if that is
    /// due. An empty memtable only moves the checkpoint.
    pub(crate) async fn flush(&self) -> Result<(), FlushError> {
        let _one = self.one_flush.acquire(1).await;
        if self.is_damaged() {
            return Ok(());
        }
        self.seal();
        loop {
            let Some(sealed) = self.state.borrow().sealed.front().cloned() else { break };
            let (index, flushed) = (self.index(), sealed.clone());
            let flush = {
                let index = index.clone();
                move || {
                    let counts = |value: Option<&Bytes>| value.is_some() || !planted::is(Bug::TombstonesNotFlushed);
                    index.flush(flushed.memtable.iter().filter(|(_, value)| counts(*value)), flushed.ckpt)
                }
            };
            let outcome = on_helper(&[(self, &index)], flush).await.unwrap_or_else(|_: Stuck| given_up());
            let failed = outcome.map_err(FlushError::Index)?;
            if !failed.is_empty() {
                return Err(FlushError::Copies(failed));
            }
            let gone = {
                let mut state = self.state.borrow_mut();
                state.ckpt = sealed.ckpt;
                state.sealed.pop_front()
            };
            self.released.set(self.released.get() + 1);
            drop(sealed);
            // Freeing a million entries takes longer than a shard should be away.
            rt::offload(move || drop(gone)).await;
        }
        let index = self.index();
        let merge = {
            let index = index.clone();
            move || index.compact()
        };
        on_helper(&[(self, &index)], merge).await.unwrap_or_else(|_: Stuck| given_up()).map_err(FlushError::Index)
    }

    fn seal(&self) {
        let mut state = self.state.borrow_mut();
        let State { memtable, sealed, counters, overlay, durable, ckpt, logged_at_seal, checks, .. } = &mut *state;
        let covered = sealed.back().map_or(*ckpt, |sealed| sealed.ckpt);
        let upto = if planted::is(Bug::CheckpointTooFar) { overlay.newest().unwrap_or(*durable) } else { *durable };
        let next = Ckpt { lsn: upto, position: self.stream.position().or(covered.position) };
        // New copies are filled by a flush, and be it one of nothing.
        let recopy = sealed.is_empty() && covered.position.is_some() && self.recopy.take();
        if sealed.len() >= SEALED_MAX || (memtable.is_empty() && next == covered && !recopy) {
            return;
        }
        for (key, value) in counters.take_changed().into_iter().filter(|_| !planted::is(Bug::CountersNotFlushed)) {
            memtable.put(key.into(), value.map(Bytes::from));
        }
        let memtable = Arc::new(std::mem::take(memtable));
        sealed.push_back(Sealed { memtable, ckpt: next });
        *logged_at_seal = self.stream.logged();
        *checks = 0;
    }

    /// Whether it is time to flush. Called at every check of the flusher.
    pub(super) fn is_due(&self, regular: bool) -> bool {
        if self.is_damaged() {
            return false;
        }
        let mut state = self.state.borrow_mut();
        // A partition without changes pins the log all the same, as long as its checkpoint is in an earlier volume.
        let volume = |position: Option<Position>| position.map(|position| position.volume);
        let pins = volume(state.ckpt.position) != volume(self.stream.position());
        if regular && (pins || !state.memtable.is_empty()) {
            state.checks += 1;
        }
        !state.sealed.is_empty()
            || (self.recopy.get() && state.ckpt.position.is_some())
            || self.is_full_of(&state)
            || state.checks >= AGE_CHECKS
            || self.is_far_behind(state.logged_at_seal)
    }

    /// Whether the memtable has all it should have: at twice as much commits are refused.
    pub(super) fn is_full(&self) -> bool {
        self.is_full_of(&self.state.borrow())
    }

    fn is_full_of(&self, state: &State) -> bool {
        state.memtable.bytes() >= self.memtable_bytes
    }

    /// Whether such a flush waits or is under way. The urgent ones do not stand behind the others.
    pub(super) fn flush_queued(&self, is_urgent: bool) -> &Cell<bool> {
        &self.flush_queued[usize::from(is_urgent)]
    }

    fn is_far_behind(&self, sealed: Logged) -> bool {
        let logged = self.stream.logged();
        logged.bytes - sealed.bytes >= LOG_DISTANCE_BYTES || logged.entries - sealed.entries >= LOG_DISTANCE_ENTRIES
    }

    /// Flushes what is durable now, then copies the tables into the directory `to`, which is made. Commits go on meanwhile.
    pub(crate) async fn copy_out(&self, to: PathBuf) -> Result<(), FlushError> {
        self.flush().await?;
        let index = self.index();
        rt::offload(move || index.copy_out(&to)).await.map_err(FlushError::Index)
    }

    /// Flushes as often as it is needed until nothing durable is left in memory: before a shutdown.
    pub(crate) async fn flush_all(self: &Rc<Self>) -> Result<(), FlushError> {
        self.drain().await;
        self.flush().await
    }
}

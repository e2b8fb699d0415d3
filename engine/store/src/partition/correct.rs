//! Changes that are no commits: what a recount puts right while nothing is committed. They are durable once they are flushed.
//!
//! Each takes an LSN all the same. Tables that have a checkpoint are not written again with the same one, so what came without
//! an LSN would be lost if the partition was flushed before at the same position of its log; and a copy that lacks it would
//! count as equal to one that has it.

use std::collections::HashMap;

use types::BucketId;

use super::{Live, Partition, State, Usage, load_counters};
use crate::ids::VolumeId;
use crate::index::{Bytes, TreeError};

impl State {
    /// What is put into the memtable next belongs to a new LSN, which is durable as soon as a flush has it.
    fn advance(&mut self) {
        assert!(self.overlay.oldest().is_none(), "nothing is committed while rows are corrected");
        self.durable = self.next_lsn;
        self.next_lsn = self.next_lsn.next();
    }
}

impl Partition {
    /// Puts or removes a row. Nobody may commit meanwhile: the next flush would write a row that no log has.
    pub(crate) fn correct(&self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.records.borrow_mut().remove(&key);
        let mut state = self.state.borrow_mut();
        state.advance();
        state.memtable.put(key.into(), value.map(Bytes::from));
    }

    /// Flushes when there are as many rows in memory as there should be at most.
    pub(crate) async fn flush_if_large(&self) {
        if self.state.borrow().memtable.bytes() < self.memtable_bytes {
            return;
        }
        if let Err(error) = self.flush().await {
            // What was not flushed is kept; the flush at the end tells whoever waits for it.
            telemetry::warn!("{error}"; partition = self.id.0);
        }
    }

    /// These are the counters from now on.
    pub(crate) fn set_counters(&self, live: HashMap<VolumeId, Live>, usage: HashMap<BucketId, Usage>) {
        let mut state = self.state.borrow_mut();
        state.advance();
        state.counters.replace(live, usage);
        // By itself a counter does not make a flush due.
        for (key, value) in state.counters.take_changed() {
            state.memtable.put(key.into(), value.map(Bytes::from));
        }
    }

    /// Whether nothing is in memory alone.
    pub(crate) fn is_flushed(&self) -> bool {
        let state = self.state.borrow();
        state.memtable.is_empty() && state.sealed.is_empty()
    }

    /// Whether nothing is in memory alone, and both the tables and the memory have exactly these counters.
    ///
    /// Errors: tables that cannot be read.
    pub(crate) async fn has_counters(
        &self,
        live: &HashMap<VolumeId, Live>,
        usage: &HashMap<BucketId, Usage>,
    ) -> Result<bool, TreeError> {
        let index = self.index();
        let counters = rt::offload(move || load_counters(&index)).await?;
        Ok(self.is_flushed() && counters.are(live, usage) && self.state.borrow().counters.are(live, usage))
    }
}

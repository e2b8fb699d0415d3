//! Who reads: bytes that were live when a read began stay until it has ended.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use rt::ShardId;
use rt::sync::Event;

use crate::error::Result;
use crate::planted::{self, Bug};
use crate::store::on_shard;

/// The reads of one shard, by the turn they began in.
#[derive(Default)]
pub(crate) struct Readers {
    turn: Cell<u64>,
    active: RefCell<BTreeMap<u64, usize>>,
    ended: Event,
}

/// Keeps what is live now from being freed.
pub(crate) struct Pin {
    readers: Rc<Readers>,
    turn: u64,
}

impl Readers {
    pub(crate) fn enter(self: &Rc<Self>) -> Pin {
        let turn = self.turn.get();
        *self.active.borrow_mut().entry(turn).or_insert(0) += 1;
        Pin { readers: self.clone(), turn }
    }

    /// Waits until every read that has begun before this call has ended. Reads that begin meanwhile are not waited for.
    async fn pass(&self) {
        let turn = self.turn.get();
        self.turn.set(turn + 1);
        let none_older = || self.active.borrow().first_key_value().is_none_or(|(oldest, _)| *oldest > turn);
        self.ended.wait_for(|| none_older().then_some(())).await;
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut active = self.readers.active.borrow_mut();
        let count = active.get_mut(&self.turn).expect("a pin is counted");
        *count -= 1;
        if *count == 0 {
            active.remove(&self.turn);
            drop(active);
            self.readers.ended.notify();
        }
    }
}

/// Waits until every read on any shard that has begun before this call has ended.
pub(super) async fn pass_on_all_shards() -> Result<()> {
    if planted::is(Bug::ReadersNotAwaited) {
        return Ok(());
    }
    for shard in 0..rt::shard_count() {
        on_shard(ShardId(shard), |store| async move {
            store.readers().pass().await;
            Ok(())
        })
        .await?;
    }
    Ok(())
}

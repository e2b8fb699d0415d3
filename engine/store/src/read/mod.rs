//! Reading bodies on a shard: what a body is made of, the memory its reads may hold, and the body cache.

pub(crate) mod counters;
mod plan;

use std::rc::Rc;
use std::sync::Arc;

use rt::buf::Shared;
use rt::sync::{Permit, Semaphore};

pub(crate) use plan::{Plan, Step};

use crate::cache::{BodyKey, Cache};
use crate::data::{MEMORY_PATIENCE, StripeRange, buffer_budget, stripe_memory};
use crate::error::Error;
use crate::format::fragment::BLOCK_BYTES;
use crate::ids::{PAGE_BYTES, VolumeId};
use crate::log::Address;
use crate::node::Node;
use crate::stripe::{self, ReadError};
use crate::volume::Volume;

/// Of the buffers that are spare in a shard's pool, what reads may hold, in percent.
const BUFFER_SHARE_PERCENT: usize = 30;

/// Reads bodies for one shard.
pub(crate) struct Reader {
    node: Arc<Node>,
    cache: Cache<BodyKey, Shared>,
    /// Pages of buffers that reads may hold, from their start until their bytes were sent.
    memory: Rc<Semaphore>,
    memory_pages: usize,
}

/// What to do when reads hold all the memory they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Wait its turn. Who waits for it holds none for later steps, or two readers could wait for each other.
    Turn,
    /// The same before all whose turn it is: of what has begun.
    Ahead,
    /// Wait its turn, but for a while only: `Busy`. Of a reply that has not begun.
    Soon,
    /// Give up: it is only reading ahead.
    Try,
}

/// Bytes of one step, verified, with the memory they stand in.
pub(crate) struct Loaded {
    pub(crate) windows: Vec<Shared>,
    /// Held until the windows were sent.
    pub(crate) permit: Option<Permit>,
}

impl Reader {
    /// To be called on the shard that reads.
    pub(crate) fn new(node: Arc<Node>, cache_bytes: usize) -> Rc<Reader> {
        let memory_pages = buffer_budget(BUFFER_SHARE_PERCENT) / PAGE_BYTES;
        let memory = Semaphore::of_buffers(memory_pages);
        Rc::new(Reader { node, cache: Cache::new(cache_bytes), memory, memory_pages })
    }

    /// The bytes of a step, from the cache or the drives. `None` when there was no memory and it was not to be waited for.
    pub(crate) async fn load(self: Rc<Self>, step: Step, memory: Memory) -> Result<Option<Loaded>, ReadError> {
        if let Some(windows) = self.cached(&step) {
            return Ok(Some(Loaded { windows, permit: None }));
        }
        let volume = self.volume(step.volume()).await?;
        match step {
            Step::Small { address, crc, range } => {
                let windows = self.small(&volume, &address, crc).await?;
                Ok(Some(Loaded { windows: slice(windows, range), permit: None }))
            }
            Step::Stripe { extent, from, to } => {
                let stripe = extent.stripe(volume.geometry, from, to).ok_or_else(|| {
                    let what = "a record names bytes outside of any stripe";
                    ReadError::Failed(Error::Corrupt { volume: volume.id, what })
                })?;
                let whole = extent.len == stripe.range.len() as u64;
                self.stripe(&volume, stripe, whole, memory).await
            }
        }
    }

    fn cached(&self, step: &Step) -> Option<Vec<Shared>> {
        let (key, range) = match step {
            Step::Small { address, range, .. } => (body_key(address), range.clone()),
            Step::Stripe { extent, from, to } => {
                let key = BodyKey { volume: extent.volume, at: extent.at, offset: 0 };
                (key, usize::try_from(*from).ok()?..usize::try_from(*to).ok()?)
            }
        };
        let body = self.cache.get(&key)?;
        counters::CACHE_HITS.add(1);
        Some(vec![body.slice(range)])
    }

    /// Keeps a copy of a body that was read whole, if it is worth it.
    fn keep(&self, key: BodyKey, windows: &[Shared]) {
        let len = windows.iter().map(|window| window.len()).sum();
        if self.cache.wants(&key, len) {
            let mut copy = Vec::with_capacity(len);
            windows.iter().for_each(|window| copy.extend_from_slice(window));
            self.cache.insert(key, Shared::from(copy), len);
        }
    }

    /// Never behind those that wait for stripes: it needs little, and only while it reads.
    async fn small(&self, volume: &Arc<Volume>, address: &Address, crc: u32) -> Result<Vec<Shared>, ReadError> {
        let len = address.len as usize;
        let windows = {
            // A body touches a page more than it fills in each of a few fragments.
            let _memory = self.memory.acquire_ahead(self.pages(2 * len + 4 * PAGE_BYTES)).await;
            stripe::read_body(volume, address, crc).await
        };
        let windows = match windows {
            Some(windows) => windows,
            None => {
                let per_fragment = len.min(address.fragment_len as usize) + 3 * BLOCK_BYTES;
                let _memory = self.memory.acquire_ahead(self.pages(stripe_memory(volume.geometry, per_fragment))).await;
                stripe::read_body_repaired(volume, address, crc).await?
            }
        };
        self.keep(body_key(address), &windows);
        Ok(windows)
    }

    /// `whole` means that the range is the whole extent.
    async fn stripe(
        &self,
        volume: &Arc<Volume>,
        stripe: StripeRange,
        whole: bool,
        memory: Memory,
    ) -> Result<Option<Loaded>, ReadError> {
        let StripeRange { at, layout, range } = stripe;
        let per_fragment = (range.len() + 3 * BLOCK_BYTES).min(layout.fragment_bytes());
        let bytes = stripe_memory(volume.geometry, per_fragment);
        let pages = self.pages(bytes);
        let permit = match memory {
            Memory::Turn => self.memory.acquire(pages).await,
            Memory::Ahead => self.memory.acquire_ahead(pages).await,
            Memory::Soon => {
                let soon = rt::time::timeout(MEMORY_PATIENCE, self.memory.acquire(pages)).await;
                soon.map_err(|_| ReadError::Failed(Error::Busy))?
            }
            Memory::Try => match self.memory.try_acquire(bytes.div_ceil(PAGE_BYTES)) {
                Some(permit) => permit,
                None => return Ok(None),
            },
        };
        let windows = stripe::read(volume, at, layout, range).await?;
        if whole {
            self.keep(BodyKey { volume: volume.id, at, offset: 0 }, &windows);
        }
        Ok(Some(Loaded { windows, permit: Some(permit) }))
    }

    /// Of memory for `bytes`, or all there is if that is less.
    fn pages(&self, bytes: usize) -> usize {
        bytes.div_ceil(PAGE_BYTES).min(self.memory_pages)
    }

    async fn volume(&self, id: VolumeId) -> Result<Arc<Volume>, ReadError> {
        self.node.volume(id).await.map_err(|error| match error {
            Error::NotFound => ReadError::Stale,
            other => ReadError::Failed(other),
        })
    }
}

fn body_key(address: &Address) -> BodyKey {
    BodyKey { volume: address.volume, at: address.slot_offset, offset: address.offset }
}

/// The part `range` of bytes that lie in several windows.
fn slice(windows: Vec<Shared>, range: std::ops::Range<usize>) -> Vec<Shared> {
    let mut base = 0;
    let mut parts = Vec::with_capacity(windows.len());
    for window in windows {
        let end = base + window.len();
        let (from, to) = (range.start.clamp(base, end), range.end.clamp(base, end));
        if from < to {
            parts.push(window.slice(from - base..to - base));
        }
        base = end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_several_windows_is_cut_at_both_ends() {
        let windows = || vec![Shared::from_static(b"abc"), Shared::from_static(b"de"), Shared::from_static(b"fgh")];
        let check = |range, expect: &[&[u8]]| {
            let parts = slice(windows(), range);
            assert_eq!(parts.iter().map(|part| &part[..]).collect::<Vec<_>>(), expect);
        };
        check(0..8, &[b"abc", b"de", b"fgh"]);
        check(2..6, &[b"c", b"de", b"f"]);
        check(3..5, &[b"de"]);
        check(4..4, &[]);
    }
}

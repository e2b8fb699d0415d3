//! Writing a stripe: one write for each fragment, all at once.

use std::sync::Arc;

use rt::file::Sync;

use super::build::Fragment;
use crate::error::Error;
use crate::ids::SlotOffset;
use crate::planted::{self, Bug};
use crate::volume::{SlotError, Volume};

/// How the writes of a stripe ended. Errors were reported to the node already.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// The fragments that are not there: (fragment, slot, why).
    pub(crate) failed: Vec<(usize, usize, SlotError)>,
}

impl Written {
    /// The slots whose fragment is missing, one bit each.
    pub(crate) fn missing_slots(&self) -> u32 {
        self.failed.iter().fold(0, |mask, (_, slot, _)| mask | 1 << slot)
    }

    /// What to tell who wanted the stripe written.
    pub(crate) fn error(&self) -> Error {
        if self.failed.iter().any(|(_, _, error)| matches!(error, SlotError::Full)) {
            Error::Full
        } else {
            Error::Unavailable("too many drives failed while a body was written")
        }
    }
}

/// Writes the fragments of the stripe at `at` and waits for all of them. With `Sync::None` nothing is durable yet.
pub(crate) async fn write(volume: &Arc<Volume>, at: SlotOffset, fragments: Vec<Fragment>, sync: Sync) -> Written {
    let writes: Vec<_> = fragments
        .into_iter()
        .filter(|fragment| {
            fragment.index < usize::from(volume.geometry.data) || !planted::is(Bug::DataParityNotWritten)
        })
        .map(|Fragment { index, bytes }| {
            let (volume, slot) = (volume.clone(), volume.slot_of(at, index));
            (index, slot, rt::spawn(async move { volume.write_slot(slot, at, bytes, sync).await }))
        })
        .collect();
    let mut written = Written::default();
    for (index, slot, write) in writes {
        if let Err(error) = write.await {
            written.failed.push((index, slot, error));
        }
    }
    written
}

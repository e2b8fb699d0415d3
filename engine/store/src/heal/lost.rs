//! What was found to be lost, on the drives: a start does not wait for the scrub to come by again before it says so.

use std::collections::BTreeSet;
use std::sync::Arc;

use rt::time::{Duration, Instant};

use super::{Place, lock, scrub};
use crate::drive::{Op, write_whole};
use crate::format::lost::{STRIPES_MAX, decode, encode};
use crate::node::Node;

const NAME: &str = "lost";
/// How often it is written at most while it changes.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// What the drives say is lost.
pub(super) struct Written {
    places: BTreeSet<Place>,
    at: Instant,
}

/// Has everything doubted that any drive names: it may have come back since, or have been deleted.
pub(super) async fn recall(node: &Arc<Node>) -> Written {
    let mut places = BTreeSet::new();
    for drive in node.drives().iter().filter(|drive| drive.is_usable()) {
        // A drive that nothing was ever lost on has no such file.
        let Some(Ok(bytes)) = drive.while_answering(rt::file::read(drive.dir.join(NAME))).await else { continue };
        match decode(&bytes) {
            Ok(named) => places.extend(named),
            Err(error) => telemetry::warn!("what is lost is not known: {error}"; drive = drive.dir.display()),
        }
    }
    places.iter().for_each(|(volume, at)| node.heal.suspect(*volume, *at));
    Written { places, at: Instant::now() }
}

impl Written {
    /// Writes what is lost or in doubt now on every drive that is there, if it is not what they say.
    pub(super) async fn keep(&mut self, node: &Arc<Node>) {
        let mut places = lock(&node.heal.lost).clone();
        places.extend(node.heal.suspects());
        while places.len() > STRIPES_MAX {
            places.pop_last();
        }
        if places == self.places {
            return;
        }
        let bytes = encode(places.iter());
        for drive in node.drives().iter().filter(|drive| drive.is_usable()) {
            let path = drive.dir.join(NAME);
            if let Some(Err(error)) = drive.while_answering(write_whole(&path, bytes.clone())).await {
                node.note_io_error(drive, &error, Op::Write);
            }
        }
        *self = Written { places, at: Instant::now() };
    }

    /// The same, now and then.
    pub(super) async fn keep_in_time(&mut self, node: &Arc<Node>) {
        if self.at.elapsed() >= scrub::pause(node, WRITE_EVERY) {
            self.keep(node).await;
        }
    }
}

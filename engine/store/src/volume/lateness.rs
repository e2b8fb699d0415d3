//! When a slot is late: one rule for the log, for bodies, and for volumes that are made.

use std::sync::Arc;

use rt::sync::Event;
use rt::time::{Instant, timeout};

use super::Volume;
use crate::drive::{Drive, State};
use crate::ids::Geometry;
use crate::node::Node;

impl Volume {
    /// Reports the drives of slots that have not answered in time; says which of these slots count as late from now on.
    /// See `suspect_late`.
    pub(crate) fn suspect_late(&self, answers: Answers) -> u32 {
        let Some(node) = self.node.upgrade() else { return 0 };
        let drives = self.placement().drives.clone();
        node.suspect_late(&drives, answers, self.geometry)
    }
}

impl Node {
    /// A drive is late only when others have answered, and only as many are as can be done without: else the whole machine is
    /// slow, and going on elsewhere would not help. Gives those that are waited for whose drives are suspect, or not used any
    /// more. `drives` are those of the slots.
    pub(super) fn suspect_late(&self, drives: &[Arc<Drive>], answers: Answers, geometry: Geometry) -> u32 {
        let Answers { waiting, done } = answers;
        if done == 0 || waiting.count_ones() > u32::from(geometry.parity) {
            return 0;
        }
        let late = || drives.iter().enumerate().filter(|(slot, _)| waiting & 1 << slot != 0);
        late().for_each(|(_, drive)| self.suspect(drive.id));
        late().filter(|(_, drive)| drive.state() != State::In).fold(0, |mask, (slot, _)| mask | 1 << slot)
    }
}

impl Volume {
    /// Waits until every slot has answered, or those that have not count as late. `changed` tells of answers.
    ///
    /// Errors: drives that cannot be done without were silent for so long that others would have been taken out.
    pub(crate) async fn wait_for_answers(&self, changed: &Event, answers: impl Fn() -> Answers) -> Result<(), Silent> {
        let Some(node) = self.node.upgrade() else { return Err(Silent) };
        wait_for_answers(&node, changed, answers, |answers| self.suspect_late(answers)).await
    }
}

/// The same; `late` says which of the slots that are waited for count as late.
pub(super) async fn wait_for_answers(
    node: &Node,
    changed: &Event,
    answers: impl Fn() -> Answers,
    late: impl Fn(Answers) -> u32,
) -> Result<(), Silent> {
    let began = Instant::now();
    let mut deadline = began + node.config.suspect_after;
    loop {
        let news = changed.wait();
        if answers().waiting == 0 {
            return Ok(());
        }
        if timeout(deadline - Instant::now(), news).await.is_ok() {
            continue;
        }
        let answers = answers();
        if answers.waiting == 0 || late(answers) == answers.waiting {
            return Ok(());
        }
        if began.elapsed() >= node.config.out_after {
            return Err(Silent);
        }
        deadline = Instant::now() + node.config.suspect_after;
    }
}

/// How far operations on all slots of a volume have come, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) waiting: u32,
    pub(crate) done: u32,
}

/// Drives that cannot be done without did not answer for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Silent;

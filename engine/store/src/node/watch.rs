//! Watches drives: one that has operations in flight and ends none while others do is suspect, until it ends some again.

use std::sync::Weak;
use std::time::Duration;

use super::Node;
use crate::drive::State;

/// Looks per `suspect_after`.
const LOOKS: u32 = 4;
/// Looks without a stall after which a suspect drive is well again: 10 times `suspect_after`.
const WELL_LOOKS: u32 = 10 * LOOKS;
/// Free space is asked for each so many looks.
const SPACE_LOOKS: u32 = 10 * LOOKS;

/// What the watch remembers of one drive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Memory {
    ended: u64,
    /// Looks in a row at which nothing had ended though something was in flight.
    stalled: u32,
    /// Looks in a row without a stall.
    moving: u32,
}

/// One look at a drive.
fn look(memory: Memory, in_flight: u32, ended: u64) -> Memory {
    let stalled = in_flight > 0 && ended == memory.ended;
    Memory {
        ended,
        stalled: if stalled { memory.stalled + 1 } else { 0 },
        moving: if stalled { 0 } else { memory.moving.saturating_add(1) },
    }
}

/// Runs until the node is gone.
pub(super) async fn watch(node: Weak<Node>) {
    let mut memories: Vec<Memory> = Vec::new();
    let mut looks = 0u32;
    loop {
        let Some(pause) = node.upgrade().map(|node| node.config.suspect_after / LOOKS) else { return };
        rt::time::sleep(pause.max(Duration::from_millis(1))).await;
        let Some(node) = node.upgrade() else { return };
        let drives = node.drives();
        memories.resize(drives.len(), Memory::default());
        let before = memories.clone();
        for (memory, drive) in memories.iter_mut().zip(drives.iter()) {
            let (in_flight, ended) = drive.progress();
            *memory = look(*memory, in_flight, ended);
        }
        for (index, drive) in drives.iter().enumerate() {
            let others = || (0..memories.len()).filter(|&other| other != index);
            // Time counts only while some other drive makes progress.
            if memories[index].stalled > 0 && !others().any(|other| memories[other].ended != before[other].ended) {
                memories[index].stalled = before[index].stalled;
            }
            match drive.state() {
                State::In if memories[index].stalled >= LOOKS => node.suspect(drive.id),
                State::Suspect if memories[index].moving >= WELL_LOOKS => {
                    if drive.set_well() {
                        telemetry::info!("a drive answers again"; drive = drive.dir.display());
                    }
                }
                State::In | State::Suspect | State::Out | State::Missing => {}
            }
        }
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(SPACE_LOOKS) {
            node.refresh_space().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_stalls_while_something_is_in_flight_and_nothing_ends() {
        let check = |memory: Memory, in_flight: u32, ended: u64, stalled: u32, moving: u32| {
            assert_eq!(look(memory, in_flight, ended), Memory { ended, stalled, moving });
        };
        let memory = Memory { ended: 5, stalled: 2, moving: 0 };
        check(memory, 1, 5, 3, 0);
        check(memory, 1, 6, 0, 1);
        check(memory, 0, 5, 0, 1);
    }
}

//! Watches drives. One that does not end an operation in time while others do, or is much slower than the others, is
//! *suspect* until it does well again. One that has not answered for long is taken out as if it had failed, if nothing is
//! lost by that.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rt::file::{File, OpenOptions};

use super::Node;
use crate::drive::{Ages, Drive, Kind, Latency, State};
use crate::ids::{DriveId, PAGE_BYTES};

/// Looks per `suspect_after`.
const LOOKS: u32 = 4;
/// Looks without a late operation after which a suspect drive is well again: 10 times `suspect_after`.
const WELL_LOOKS: u32 = 10 * LOOKS;
/// Free space is asked for each so many looks.
const SPACE_LOOKS: u32 = 10 * LOOKS;
/// Looks between two attempts to take out a drive that hangs.
const OUT_LOOKS: u32 = 5 * LOOKS;

/// Looks between two comparisons of the drives' times.
const COMPARE_LOOKS: u32 = LOOKS;
/// A drive is slow when an operation takes it so many times as long as the median of the others, and at least so long.
const SLOW_FACTOR: u32 = 8;
const SLOW_MIN: Duration = Duration::from_millis(5);
/// Operations since the last comparison without which a drive is not compared: one that took long is no habit.
const SAMPLES_MIN: u64 = 32;
/// Comparisons in a row that a drive must fail.
const SLOW_COMPARISONS: u32 = 3;
/// A drive that is suspect for being slow has hardly anything to do: after so many looks it gets another chance.
const SLOW_LOOKS: u32 = 240 * LOOKS;

/// What the watch remembers of one drive.
#[derive(Clone, Debug, Default)]
struct Memory {
    ages: Ages,
    ended: u64,
    /// Age of the oldest operation in flight, in looks.
    oldest: u32,
    /// Looks in a row at which nothing was late.
    well: u32,
    counts: [u64; 3],
    /// Comparisons in a row in which it was slow.
    slow: u32,
    /// Looks since it became suspect for being slow.
    suspect_for: u32,
}

/// Runs until the node is gone.
pub(super) async fn watch(node: Weak<Node>) {
    let mut memories: Vec<Memory> = Vec::new();
    let mut looks = 0u32;
    let mut silent = 0u32;
    let taking_out = Rc::new(Cell::new(false));
    loop {
        let Some(pause) = node.upgrade().map(|node| node.config.suspect_after / LOOKS) else { return };
        let pause = pause.max(Duration::from_millis(1));
        rt::time::sleep(pause).await;
        let Some(node) = node.upgrade() else { return };
        let drives = node.drives();
        memories.resize(drives.len(), Memory::default());
        looks = looks.wrapping_add(1);
        let out_after = (node.config.out_after.as_nanos() / pause.as_nanos()).max(u128::from(LOOKS)) as u32;

        let any_moved = look(&drives, &mut memories);
        let is_waiting = drives.iter().any(|drive| drive.is_usable() && drive.progress().0 > 0);
        silent = if is_waiting && !any_moved { silent + 1 } else { 0 };
        if silent == out_after {
            telemetry::error!("no drive has answered for long: nothing goes on before one does"; seconds = node.config.out_after.as_secs());
        }
        if looks.is_multiple_of(COMPARE_LOOKS) {
            compare(&drives, &mut memories);
        }
        for (memory, drive) in memories.iter_mut().zip(drives.iter()) {
            settle(&node, memory, drive);
        }
        let is_hung = |(memory, drive): &(&Memory, &Arc<Drive>)| drive.is_usable() && memory.oldest >= out_after;
        let hung: Vec<DriveId> =
            memories.iter().zip(drives.iter()).filter(is_hung).map(|(_, drive)| drive.id).collect();
        if !hung.is_empty() && looks.is_multiple_of(OUT_LOOKS.min(out_after)) && !taking_out.replace(true) {
            let (node, taking_out) = (node.clone(), taking_out.clone());
            drop(rt::spawn(async move {
                node.take_out_hung(hung).await;
                taking_out.set(false);
            }));
        }
        if looks.is_multiple_of(SPACE_LOOKS) {
            node.ask_space();
        }
    }
}

/// One look at all drives; whether any of them has ended anything since the last one.
fn look(drives: &[Arc<Drive>], memories: &mut [Memory]) -> bool {
    let moved: Vec<bool> =
        memories.iter().zip(drives).map(|(memory, drive)| drive.pulse.ended() != memory.ended).collect();
    for (index, (memory, drive)) in memories.iter_mut().zip(drives).enumerate() {
        memory.ended = drive.pulse.ended();
        // Time counts only while some other drive makes progress: else the machine is slow, not the drive.
        let counts = moved.iter().enumerate().any(|(other, moved)| other != index && *moved);
        memory.oldest = memory.ages.look(&drive.pulse, counts);
        let late = memory.oldest >= LOOKS;
        drive.set_late(late);
        memory.well = if late { 0 } else { memory.well.saturating_add(1) };
    }
    let is_waiting = |index: usize| drives[index].is_usable() && drives[index].progress().0 > 0 && !moved[index];
    if (0..drives.len()).any(is_waiting) {
        // Others that have nothing to do show by a read that they could.
        let idle = drives.iter().filter(|drive| drive.is_usable() && drive.progress().0 == 0);
        idle.for_each(|drive| drop(rt::spawn_foreground(probe(drive.clone()))));
    }
    moved.contains(&true)
}

impl Node {
    /// Has a drive read something: if it does not answer, that is noticed. Never waits.
    pub(crate) fn ask_whether_it_answers(&self, drive: &Arc<Drive>) {
        if drive.is_usable() && drive.progress().0 == 0 {
            drop(rt::spawn_foreground(probe(drive.clone())));
        }
    }
}

/// Reads a page. What comes of it does not matter, only that it comes.
async fn probe(drive: Arc<Drive>) {
    let _in_flight = drive.begin();
    if let Ok(file) = File::open(drive.identity_path(), OpenOptions::READ_DIRECT).await {
        let _answered = file.read_at(rt::buf::alloc(PAGE_BYTES).await, PAGE_BYTES, 0).await;
    }
}

/// Compares how long the drives take. One that is much slower than the others, again and again, is noted as slow.
fn compare(drives: &[Arc<Drive>], memories: &mut [Memory]) {
    let mut slow = vec![false; drives.len()];
    let mut compared = vec![false; drives.len()];
    for kind in Kind::TIMED {
        let times: Vec<Option<Duration>> = (memories.iter_mut().zip(drives))
            .map(|(memory, drive)| {
                let Latency { mean, count } = drive.pulse.latency(kind);
                let before = std::mem::replace(&mut memory.counts[kind as usize], count);
                (drive.is_usable() && count - before >= SAMPLES_MIN).then_some(mean)
            })
            .collect();
        for index in 0..drives.len() {
            compared[index] |= times[index].is_some();
            slow[index] |= is_slow(&times, index);
        }
    }
    for (index, memory) in memories.iter_mut().enumerate().filter(|(index, _)| compared[*index]) {
        memory.slow = if slow[index] { memory.slow + 1 } else { 0 };
    }
}

/// Whether one of these is far above the median of the others. At least two others must have been busy.
fn is_slow(times: &[Option<Duration>], index: usize) -> bool {
    let Some(time) = times[index] else { return false };
    let mut others: Vec<Duration> =
        times.iter().enumerate().filter(|(other, _)| *other != index).filter_map(|(_, time)| *time).collect();
    others.sort_unstable();
    others.len() >= 2 && time > SLOW_MIN.max(others[others.len() / 2] * SLOW_FACTOR)
}

/// Makes a drive suspect or well again by what was seen.
fn settle(node: &Node, memory: &mut Memory, drive: &Arc<Drive>) {
    match drive.state() {
        State::In if memory.oldest >= LOOKS => node.suspect(drive.id),
        State::In if memory.slow >= SLOW_COMPARISONS => {
            memory.suspect_for = 0;
            node.suspect_slow(drive.id);
        }
        State::Suspect if drive.is_slow() && memory.suspect_for < SLOW_LOOKS => memory.suspect_for += 1,
        State::Suspect if memory.well >= WELL_LOOKS => {
            memory.slow = 0;
            if drive.set_well() {
                telemetry::info!("a drive answers again"; drive = drive.dir.display());
            }
        }
        State::In | State::Suspect | State::Out | State::Missing => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_is_slow_by_comparison_with_others_that_are_busy() {
        let check = |micros: &[u64], expect: bool| {
            let times: Vec<_> = micros.iter().map(|&us| (us > 0).then(|| Duration::from_micros(us))).collect();
            assert_eq!(is_slow(&times, 0), expect, "{micros:?}");
        };
        // Ten times as slow as flash is slower than the least that counts; a hundred times is not.
        check(&[1_000, 100, 100, 100, 100, 100], false);
        check(&[10_000, 100, 100, 100, 100, 100], true);
        // Hard disks are.
        check(&[50_000, 10_000, 10_000, 10_000], false);
        check(&[100_000, 10_000, 10_000, 10_000], true);
        // One other slow one hides nothing, and one alone is no measure.
        check(&[100_000, 100_000, 1_000, 1_000, 1_000], true);
        check(&[100_000, 1_000], false);
        check(&[100_000, 1_000, 0, 0], false);
        check(&[0, 1_000, 1_000, 1_000], false);
        check(&[1_000, 100_000, 100_000, 100_000], false);
    }
}

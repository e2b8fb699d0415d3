//! Scenarios: a store that is crashed, loses drives, gets wrong bytes or runs full. Each panics if anything acknowledged is
//! lost, or anything wrong is returned.

use std::time::Duration;

use hafiz_store as store;
use rt::sim::Fault;

use super::run::{LIMIT, Progress, Run, Workload};

/// Crashes at any operation, recovery included, with other drives there at each start.
pub(crate) fn other_drives_at_each_start(seed: u64) {
    let mut run = Run::new(seed, 6);
    run.start_and_crash(400);
    if run.progress.borrow().bucket.is_none() {
        // Nothing is formed with a drive missing.
        run.start_and_verify(Duration::ZERO);
    }
    // Recovery is interrupted, twice.
    run.start_and_crash(60);
    run.start_and_crash(60);
    let first = (run.world.random() % 6) as usize;
    run.remove(first);
    run.start_and_verify(Duration::from_millis(40));
    // The one that was away is back, as a stranger; another one is gone.
    run.bring_back(first);
    let second = (first + 1 + (run.world.random() % 5) as usize) % 6;
    run.remove(second);
    run.start_and_crash(300);
    run.start_and_verify(Duration::from_millis(20));
    run.assert_unused(first);
    run.start_and_verify(Duration::ZERO);
    assert!(run.progress.borrow().acknowledged > 0, "seed {seed}: nothing was written");
}

pub(crate) fn as_many_drives_missing_as_parity(seed: u64) {
    let workload = if (seed / 2).is_multiple_of(2) { Workload::Small } else { Workload::Mixed };
    drive_lags_behind(seed, workload, seed.is_multiple_of(2));
}

/// A crash while one drive lags behind, and then as many others are missing as parity makes up for: at once, or after a start
/// with all of them.
pub(crate) fn drive_lags_behind(seed: u64, workload: Workload, all_come_back: bool) {
    let mut run = Run::new(seed, 6);
    run.start_and_verify(Duration::from_millis(10));
    run.workload = workload;
    run.start_and_wait();
    let slow = (run.world.random() % 6) as usize;
    run.world.faults(run.dirs[slow].clone(), |faults| faults.slow_factor = 20);
    let micros = 20_000 + run.world.random() % 20_000;
    run.world.run_for(Duration::from_micros(micros));
    run.world.crash();
    store::forget_all();
    run.world.faults(run.dirs[slow].clone(), |faults| faults.slow_factor = 1);
    if all_come_back {
        run.start_and_verify(Duration::ZERO);
    }
    let first = (run.world.random() % 5) as usize;
    let second = (first + 1 + (run.world.random() % 4) as usize) % 5;
    for other in [first, second] {
        run.remove((slow + 1 + other) % 6);
    }
    run.start_and_verify(Duration::from_millis(10));
    run.start_and_verify(Duration::ZERO);
}

/// Small objects, most of them soon gone, at the pace that a server flushes tables and reclaims space with: log volumes go long
/// before the next flush. Crashes at any moment.
pub(crate) fn log_volumes_go(seed: u64) {
    let mut run = Run::new(seed, 6);
    (run.workload, run.log_slot_bytes) = (Workload::Brief, 256 << 10);
    for _ in 0..2 {
        let seconds = 30 + run.world.random() % 60;
        run.start_and_verify(Duration::from_secs(seconds));
    }
    run.start_and_verify(Duration::ZERO);
    assert!(run.progress.borrow().acknowledged > 0, "seed {seed}: nothing was written");
}

/// Crashes while nothing is written: only what was made durable for its own sake is there.
pub(crate) fn bodies_then_quiet(seed: u64) {
    let mut run = Run::new(seed, 6);
    run.workload = Workload::Bodies;
    for _ in 0..4 {
        let micros = 30_000 + run.world.random() % 60_000;
        run.start_and_verify(Duration::from_micros(micros));
    }
    run.start_and_verify(Duration::ZERO);
    assert!(run.progress.borrow().acknowledged > 0, "seed {seed}: nothing was written");
}

pub(crate) fn drives_die(seed: u64) {
    let mut run = Run::new(seed, 6);
    run.start_and_verify(Duration::from_millis(10));
    run.start();
    let progress = run.progress.clone();
    run.world.run_until(|| progress.borrow().verified, LIMIT);
    for _ in 0..2 {
        run.world.run_for(Duration::from_millis(10));
        let drive = (run.world.random() % 6) as usize;
        run.world.faults(run.dirs[drive].clone(), |faults| faults.dead = true);
    }
    run.world.run_for(Duration::from_millis(30));
    run.world.crash();
    store::forget_all();
    // The dead ones stay dead.
    run.start_and_verify(Duration::from_millis(10));
    run.start_and_verify(Duration::ZERO);
    assert!(run.world.fault_count(Fault::Dead) > 0, "seed {seed}: no dead drive was used");
}

pub(crate) fn wrong_bytes(seed: u64) {
    let mut run = Run::new(seed, 6);
    run.start_and_verify(Duration::from_millis(40));
    for drive in [seed % 6, (seed + 1 + seed / 6 % 5) % 6] {
        let dir = run.dirs[drive as usize].join("volumes");
        run.world.flip_bits(dir, 200);
    }
    run.start_and_verify(Duration::ZERO);
    assert!(run.world.fault_count(Fault::BitFlipAtRest) > 0, "seed {seed}: no bit was flipped");
}

/// For a moment, or for so long that commits fail for want of a log volume.
pub(crate) fn no_space_for_a_while(seed: u64) {
    let mut run = Run::new(seed, 3);
    let mut without = Duration::from_millis(50);
    if seed.is_multiple_of(2) {
        run.log_slot_bytes = 256 << 10;
        run.workload = Workload::Small;
        without = Duration::from_secs(2);
    }
    run.start_and_verify(Duration::from_millis(10));
    run.start();
    let progress = run.progress.clone();
    run.world.run_until(|| progress.borrow().verified, LIMIT);
    for dir in run.dirs.clone() {
        run.world.faults(dir, |faults| faults.no_space = true);
    }
    run.world.run_for(without);
    for dir in run.dirs.clone() {
        run.world.faults(dir, |faults| faults.no_space = false);
    }
    run.goes_on("when there is room again");
    run.world.crash();
    store::forget_all();
    run.start_and_verify(Duration::ZERO);
}

pub(crate) fn slow_drive(seed: u64) {
    let mut run = Run::new(seed, 6);
    run.start_and_verify(Duration::from_millis(10));
    run.start_and_wait();
    let slow = (seed % 6) as usize;
    run.world.faults(run.dirs[slow].clone(), |faults| faults.slow_factor = 100);
    run.goes_on("beside the slow one");
    run.world.crash();
    store::forget_all();
    run.world.faults(run.dirs[slow].clone(), |faults| faults.slow_factor = 1);
    run.start_and_verify(Duration::ZERO);
}

/// Commits move on to a successor without the drive. What happens to bodies: see `hangs`.
pub(crate) fn hanging_drive(seed: u64) {
    let mut run = Run::new(seed, 6);
    run.start_and_verify(Duration::from_millis(10));
    run.workload = Workload::Small;
    run.start_and_wait();
    let hanging = (seed % 6) as usize;
    run.world.faults(run.dirs[hanging].clone(), |faults| faults.hang = true);
    run.goes_on("beside the hanging one");
    run.world.crash();
    store::forget_all();
    run.world.faults(run.dirs[hanging].clone(), |faults| faults.hang = false);
    run.start_and_verify(Duration::ZERO);
}

/// Gives what the clients have done.
pub(crate) fn space_reclaimed_under_load(seed: u64) -> Progress {
    let mut run = Run::new(seed, 4 + (seed % 3) as usize).hurried();
    if seed % 3 == 1 {
        // A volume for each stripe: dead with the body that it is part of, and full at once.
        run.data_slot_bytes = 512 << 10;
    }
    run.start_and_verify(Duration::from_millis(120));
    // Who owns which partition changes with the number of shards.
    for _ in 0..2 {
        run.shards = 1 + (run.world.random() % 4) as u16;
        run.serve_and_crash(2_000);
    }
    run.shards = 1 + (run.world.random() % 4) as u16;
    run.start_and_verify(Duration::from_millis(60));
    run.start_and_verify(Duration::ZERO);
    run.progress.take()
}

pub(crate) fn drive_goes_while_space_is_reclaimed(seed: u64) {
    let mut run = Run::new(seed, 6).hurried();
    run.start_and_wait();
    run.world.run_for(Duration::from_millis(40));
    let first = (seed % 6) as usize;
    run.world.faults(run.dirs[first].clone(), |faults| faults.dead = true);
    run.world.run_for(Duration::from_millis(60));
    run.world.crash();
    store::forget_all();
    // The dead one stays away, and another one is gone as well.
    run.remove(first);
    run.remove((first + 1 + (seed / 6 % 5) as usize) % 6);
    run.start_and_verify(Duration::from_millis(60));
    run.serve_and_crash(1_000);
    run.start_and_verify(Duration::ZERO);
}

pub(crate) fn full_drives(seed: u64) {
    let mut run = Run::with_capacity(seed, 3, 64 << 20).hurried();
    run.workload = Workload::Fill;
    run.start_and_wait();
    run.until("filled", 2);
    run.world.crash();
    store::forget_all();
    run.start_and_wait();
    run.until("filled", 4);
    run.world.crash();
    store::forget_all();
    run.start_and_verify(Duration::ZERO);
}

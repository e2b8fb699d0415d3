//! Every kind of fault that the simulated drives know, and one failed operation at every place.
//!
//! `HAFIZ_SIM_SEEDS` (how many) and `HAFIZ_SIM_FIRST` (from which on) choose other seeds. The n-th seed of the second test
//! fails the n-th operation, so as many seeds as a run has operations fail every one of them.
#![cfg(feature = "sim")]

mod harness;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use hafiz_store as store;
use harness::run::{LIMIT, Run, for_each_seed};
use rt::sim::{Fault, Faults, Stop};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EMFILE: i32 = 24;

/// A fault that a drive has for a while.
type Change = fn(&mut Faults);

/// What a drive may do wrong; those that may leave it with other bytes than it said, or without some, come last.
const CHANGES: [Change; 12] = [
    |faults| faults.slow_factor = 10,
    |faults| faults.slow_factor = 100,
    |faults| faults.hang = true,
    |faults| faults.short_io = 0.2,
    |faults| faults.bit_flip_read = 0.1,
    |faults| faults.read_error = 0.1,
    |faults| faults.write_error = 0.02,
    |faults| faults.sync_error = 0.05,
    |faults| faults.bit_flip_write = 0.05,
    |faults| faults.lost_write = 0.05,
    |faults| faults.misdirected_write = 0.05,
    |faults| faults.lying_sync = 0.2,
];

/// Two drives of six have faults of any kind, the same two all the time, while clients write, at starts, and over crashes.
#[test]
fn two_drives_that_do_anything_wrong_cost_nothing() {
    let counts: RefCell<BTreeMap<Fault, u64>> = RefCell::default();
    for_each_seed(48, |seed| {
        let mut run = Run::new(seed, 6);
        run.start_and_verify(Duration::from_millis(5));
        let bad = [(seed % 6) as usize, ((seed + 1 + seed / 6 % 5) % 6) as usize];
        for round in 0..3 {
            run.start_and_wait();
            for (n, drive) in bad.into_iter().enumerate() {
                let change = CHANGES[((seed * 2 + round * 5 + n as u64 * 7) % CHANGES.len() as u64) as usize];
                run.world.faults(run.dirs[drive].clone(), change);
            }
            run.world.run_for(Duration::from_millis(30));
            let crash_at = 1 + run.world.random() % 200;
            run.world.crash_at_io(crash_at);
            let stop = run.world.run_until(|| false, Duration::from_secs(5));
            if stop != Stop::Crashed {
                run.world.crash();
            }
            store::forget_all();
            for drive in bad {
                run.world.faults(run.dirs[drive].clone(), |faults| *faults = Faults::default());
            }
        }
        run.start_and_verify(Duration::from_millis(10));
        run.start_and_verify(Duration::ZERO);
        for fault in seen(&run) {
            *counts.borrow_mut().entry(fault).or_default() += run.world.fault_count(fault);
        }
    });
    println!("\nfaults: {:?}", counts.borrow());
    for fault in ALL {
        assert!(counts.borrow().get(&fault).is_some_and(|count| *count > 0), "{fault:?} never happened");
    }
}

/// What the drives of this test can have.
const ALL: [Fault; 12] = [
    Fault::CrashLost,
    Fault::CrashTorn,
    Fault::ReadError,
    Fault::WriteError,
    Fault::SyncError,
    Fault::LostWrite,
    Fault::Misdirected,
    Fault::BitFlipRead,
    Fault::BitFlipWrite,
    Fault::LyingSync,
    Fault::Slow,
    Fault::Hang,
];

fn seen(run: &Run) -> impl Iterator<Item = Fault> {
    ALL.into_iter().filter(|fault| run.world.fault_count(*fault) > 0)
}

/// A start, or what follows it until twenty commits more are acknowledged, has about so many operations at least.
const OPERATIONS: u64 = 200;

/// The n-th operation fails: of a start, recovery included, or of what follows it.
#[test]
fn one_failed_operation_anywhere_costs_nothing_acknowledged() {
    for_each_seed(120, |seed| {
        let nth = 1 + (seed - 1) % OPERATIONS;
        let mut run = Run::new(seed, 6);
        if seed.is_multiple_of(2) {
            run = run.hurried();
        }
        run.start_and_verify(Duration::from_millis(10));
        let errno = [EIO, ENOSPC, EMFILE][(seed % 3) as usize];
        if seed.is_multiple_of(4) {
            // A start may be refused by it; then the next one is not.
            run.start();
            run.world.fail_at_io(nth, errno);
            let progress = run.progress.clone();
            let ended = || progress.borrow().verified || progress.borrow().refused.is_some();
            let stop = run.world.run_until(ended, LIMIT);
            assert!(stop == Stop::Condition, "seed {seed}: {stop:?}");
        } else {
            run.start_and_wait();
            run.world.fail_at_io(nth, errno);
        }
        let refused = run.progress.borrow().refused.clone();
        if refused.is_none() {
            // A failure that is still to come would hit the next start.
            while run.world.fault_count(Fault::OneFailed) == 0 {
                run.goes_on("until an operation fails");
            }
            run.goes_on("after one failed operation");
        }
        assert_eq!(run.world.fault_count(Fault::OneFailed), 1, "seed {seed}: {refused:?}");
        run.world.crash();
        store::forget_all();
        run.start_and_verify(Duration::from_millis(5));
        run.start_and_verify(Duration::ZERO);
    });
}

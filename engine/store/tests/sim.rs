//! The whole store in the simulated world: crashes at any operation, restarts with other drives there, faults.
//!
//! Clients inside the process write values that say what they are and keep a model of what was acknowledged. After each
//! restart every key must hold its acknowledged value or one of those that were under way when the process ended.
//!
//! `HAFIZ_SIM_SEEDS` (how many) and `HAFIZ_SIM_FIRST` (from which on) choose other seeds; a seed replays bit for bit.
#![cfg(feature = "sim")]

mod harness;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use harness::crashes;
use harness::run::{Run, for_each_seed};

const SEEDS: u64 = 100;

#[test]
fn nothing_acknowledged_is_lost_by_crashes_and_restarts_with_other_drives() {
    for_each_seed(SEEDS, crashes::other_drives_at_each_start);
}

#[test]
fn nothing_acknowledged_is_lost_with_as_many_drives_as_parity_makes_up_for() {
    for_each_seed(SEEDS / 2, crashes::as_many_drives_missing_as_parity);
}

#[test]
fn nothing_acknowledged_is_lost_by_a_crash_when_no_later_flush_makes_up_for_one_left_out() {
    for_each_seed(SEEDS / 2, crashes::bodies_then_quiet);
}

#[test]
fn no_log_volume_goes_before_its_entries_are_in_the_tables() {
    for_each_seed(SEEDS / 10, crashes::log_volumes_go);
    assert!(counted("hafiz_volumes_removed_total") > 0, "no volume ever went");
}

#[test]
fn a_seed_replays_bit_for_bit() {
    let hash = || {
        let mut run = Run::new(7, 4);
        run.start_and_crash(300);
        run.start_and_verify(Duration::from_millis(10));
        run.world.trace_hash()
    };
    assert_eq!(hash(), hash());
}

#[test]
fn drives_that_die_while_running_cost_nothing_acknowledged() {
    for_each_seed(SEEDS / 2, crashes::drives_die);
}

#[test]
fn wrong_bytes_on_up_to_parity_drives_are_never_returned() {
    for_each_seed(SEEDS / 2, crashes::wrong_bytes);
}

#[test]
fn a_full_drive_refuses_and_loses_nothing() {
    for_each_seed(SEEDS / 4, crashes::no_space_for_a_while);
}

#[test]
fn a_slow_drive_stops_nobody() {
    for_each_seed(SEEDS / 4, crashes::slow_drive);
}

#[test]
fn a_hanging_drive_does_not_stop_commits_and_loses_nothing() {
    for_each_seed(SEEDS / 4, crashes::hanging_drive);
}

/// The value of a counter of the store, of all simulations in this process.
fn counted(name: &str) -> u64 {
    let metrics = telemetry::render();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.trim().parse().expect("a number"))
}

#[test]
fn space_is_reclaimed_under_load_and_nothing_is_lost() {
    let done: RefCell<BTreeMap<&str, u64>> = RefCell::default();
    for_each_seed(SEEDS / 4, |seed| {
        for (what, count) in crashes::space_reclaimed_under_load(seed).done {
            *done.borrow_mut().entry(what).or_default() += count;
        }
    });
    for what in ["put", "delete", "upload", "copy", "shared"] {
        assert!(done.borrow().contains_key(what), "{what} never happened");
    }
    for what in ["hafiz_volumes_removed_total", "hafiz_punched_bytes_total", "hafiz_compacted_bytes_total"] {
        assert!(counted(what) > 0, "{what} never happened");
    }
}

#[test]
fn a_drive_that_goes_while_space_is_reclaimed_costs_nothing() {
    for_each_seed(SEEDS / 4, crashes::drive_goes_while_space_is_reclaimed);
}

#[test]
fn full_drives_take_deletes_and_then_bodies_again_without_a_restart() {
    for_each_seed(SEEDS / 20, crashes::full_drives);
}

/// A stop in the middle of everything: what still runs then, beside the requests and for them, ends without a word, and what
/// was acknowledged is there at the next start.
#[test]
fn a_store_that_is_closed_under_load_ends_in_order() {
    for_each_seed(SEEDS / 8, |seed| {
        let mut run = Run::new(seed, 6).hurried();
        for _ in 0..3 {
            run.shards = 1 + (run.world.random() % 3) as u16;
            run.closes_after = Some(Duration::from_micros(run.world.random() % 80_000));
            run.start_and_wait();
            let closed = run.progress.borrow().count("closed");
            run.until("closed", closed + 1);
            // A process that ended at once would not see who comes too late.
            run.world.run_for(Duration::from_secs(2));
            run.world.crash();
            hafiz_store::forget_all();
        }
        run.closes_after = None;
        run.start_and_verify(Duration::from_millis(20));
    });
}

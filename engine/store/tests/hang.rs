//! Drives that hang or are slow, under load, with crashes in between: what goes on, and for how long anything waits.
//!
//! `HAFIZ_SIM_SEEDS` (how many) and `HAFIZ_SIM_FIRST` (from which on) choose other seeds; a seed replays bit for bit.
#![cfg(feature = "sim")]

mod harness;

use harness::hangs;
use harness::run::for_each_seed;

const SEEDS: u64 = 12;

#[test]
fn a_drive_that_hangs_for_ever_is_taken_out_and_stops_nobody() {
    for_each_seed(SEEDS, hangs::for_ever);
}

#[test]
fn a_volume_without_anything_in_it_that_a_crash_left_short_keeps_no_hanging_drive_in() {
    hangs::for_ever(21);
}

#[test]
fn a_drive_that_answers_again_in_time_is_used_again() {
    for_each_seed(SEEDS, hangs::for_a_while);
}

#[test]
fn a_second_drive_that_hangs_is_done_without_as_well() {
    for_each_seed(SEEDS, hangs::two);
}

#[test]
fn nothing_acknowledged_rests_on_a_drive_that_hangs() {
    for_each_seed(4 * SEEDS, hangs::crash_meanwhile);
}

#[test]
fn a_copy_of_tables_on_a_drive_that_hangs_goes_on_counting_until_another_one_is_there() {
    hangs::crash_meanwhile(255);
}

#[test]
fn a_slow_drive_makes_nobody_wait_and_stays() {
    for_each_seed(SEEDS / 2, hangs::slow);
}

#[test]
fn a_machine_that_stands_still_for_seconds_goes_on() {
    for_each_seed(SEEDS, hangs::stalls);
}

#[test]
fn a_rebuild_onto_a_drive_that_hangs_goes_on_with_another_one() {
    for_each_seed(SEEDS / 2, |seed| hangs::rebuild_target(seed, true));
}

#[test]
fn a_rebuild_onto_the_only_drive_there_is_says_that_it_waits_when_that_hangs() {
    for_each_seed(SEEDS / 2, |seed| hangs::rebuild_target(seed, false));
}

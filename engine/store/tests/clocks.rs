//! The wall clock jumps by seconds, hours and years: nothing is ordered by it, nothing waits for it, nothing expires by it.
//!
//! `HAFIZ_SIM_SEEDS` (how many) and `HAFIZ_SIM_FIRST` (from which on) choose other seeds; a seed replays bit for bit.
#![cfg(feature = "sim")]

mod harness;

use harness::clocks;
use harness::run::for_each_seed;

#[test]
fn what_was_acknowledged_stays_whatever_the_clock_says() {
    for_each_seed(16, clocks::jumps);
}

#[test]
fn the_last_change_counts_and_conditions_hold_whatever_the_clock_says() {
    for_each_seed(8, clocks::one_by_one);
}

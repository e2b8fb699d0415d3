//! Versions of objects, over crashes anywhere: each key has exactly those that it should have.
//!
//! `HAFIZ_SIM_SEEDS` (how many) and `HAFIZ_SIM_FIRST` (from which on) choose other seeds; a seed replays bit for bit.
#![cfg(feature = "sim")]

mod harness;

use harness::run::for_each_seed;
use harness::versions;

#[test]
fn every_version_that_was_acknowledged_stays_and_none_comes_back() {
    for_each_seed(16, versions::crashes);
    versions::assert_all_was_done();
}

#[test]
fn a_version_that_is_deleted_while_its_body_moves_stays_deleted() {
    for_each_seed(4, versions::moved);
}

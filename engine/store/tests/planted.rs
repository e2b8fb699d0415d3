//! Planted bugs: every one of them makes a scenario fail, and no scenario fails without one. Prints which scenario caught
//! which bug, and with which seed, as a table for `docs/reliability.md`.
//!
//! `HAFIZ_PLANTED` chooses one bug by name; then the scenario's own words are printed too. `HAFIZ_SIM_FIRST` and `HAFIZ_SIM_SEEDS`
//! say with which seed the search begins and how many are tried, when a change of the store has shifted them.
#![cfg(feature = "sim")]

mod harness;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Instant;

use hafiz_store as store;
use hafiz_store::Bug;

use harness::run::Workload;
use harness::{balances, crashes, hangs, heals, versions};

/// Bugs that are looked for at the same time.
const THREADS: usize = 2;
/// Seeds of a scenario after which a bug counts as not caught. One in ten catches the hardest, `CompactionBlind`.
const SEEDS: u64 = 100;

type Scenario = (&'static str, fn(u64));

const OTHER_DRIVES: Scenario = ("crashes, other drives at each start", crashes::other_drives_at_each_start);
const BODIES: Scenario = ("large bodies, quiet, crash", crashes::bodies_then_quiet);
const LOG_VOLUMES: Scenario = ("log volumes go, crash", crashes::log_volumes_go);
const AS_MANY_MISSING: Scenario = ("crash, then P drives missing", crashes::as_many_drives_missing_as_parity);
const LAGS: Scenario = ("a drive lags behind, crash, then P others missing", |seed| {
    crashes::drive_lags_behind(seed, Workload::Small, false);
});
const LAGGED: Scenario = ("a drive lags behind, crash, start, then P others missing", |seed| {
    crashes::drive_lags_behind(seed, Workload::Small, true);
});
const DRIVES_DIE: Scenario = ("drives die", crashes::drives_die);
const WRONG_BYTES: Scenario = ("wrong bytes on P drives", crashes::wrong_bytes);
const NO_SPACE: Scenario = ("no space for a while", crashes::no_space_for_a_while);
const RECLAIMED: Scenario =
    ("space reclaimed under load, crashes", |seed| drop(crashes::space_reclaimed_under_load(seed)));
const GOES_MEANWHILE: Scenario =
    ("a drive goes while space is reclaimed", crashes::drive_goes_while_space_is_reclaimed);
const HANGS: Scenario = ("a drive hangs, crash, then P others missing", hangs::crash_meanwhile);
const FLIPPED_BITS: Scenario = ("flipped bits, scrub", heals::flipped_bits);
const COUNTED: Scenario = ("planted damage, census, scrub", heals::planted_damage_counted);
const MORE_LOST: Scenario = ("more drives are lost than parity", heals::more_lost_than_parity);
const TABLES_ROT: Scenario = ("copies of tables rot", heals::tables_rot);
const TABLES_LOST: Scenario = ("copies of tables are lost", heals::tables_lost);
const REQUESTS: Scenario = ("requests while a drive is rebuilt", heals::requests_while_rebuilt);
const LOST_DRIVE: Scenario = ("a lost drive is rebuilt", heals::lost_drive_rebuilt);

const EVENED_OUT: Scenario = ("a rebalance crashes, then P drives missing", |seed| {
    balances::moved_with_crashes(seed);
});
const ROLLED_BACK: Scenario = ("a drive is restored from an earlier time", balances::rolled_back);

const VERSIONS: Scenario = ("versions, crashes", versions::crashes);
const VERSIONS_MOVE: Scenario = ("versions go while their bodies move", versions::moved);

/// Where a bug is looked for: the quickest first.
fn scenarios(bug: Bug) -> &'static [Scenario] {
    match bug {
        Bug::LogNotSynced | Bug::AcknowledgedBeforeDurable | Bug::StaleDriveUsed => &[OTHER_DRIVES],
        Bug::StartNumberReused | Bug::RecoveryDropsLastEntry => &[OTHER_DRIVES],
        Bug::DataFlushSkipped | Bug::RemainsPunchLive => &[OTHER_DRIVES],
        Bug::FlushCoversLaterWrites => &[BODIES],
        Bug::VisibleBeforeDurable | Bug::ConditionsIgnorePending => &[OTHER_DRIVES, RECLAIMED],
        Bug::VolumeNameNotSynced | Bug::VolumePageNotSynced => &[OTHER_DRIVES, RECLAIMED],
        Bug::LogAcknowledgedEarly => &[LAGS],
        Bug::RecoveryTrustsTail => &[LAGGED],
        Bug::LogParityNotWritten | Bug::DataParityNotWritten => &[AS_MANY_MISSING],
        Bug::SuccessorForgetsEnd | Bug::RecoveryReadsBeyondEnd => &[DRIVES_DIE, OTHER_DRIVES, GOES_MEANWHILE],
        Bug::FailedStaysDecided => &[NO_SPACE],
        Bug::BodyChecksumSkipped | Bug::BlockChecksumSkipped => &[WRONG_BYTES],
        Bug::ReleasesNewBody | Bug::PunchTooLong | Bug::ReadersNotAwaited => &[RECLAIMED],
        Bug::RecoveryCountsTwice | Bug::CheckpointTooFar | Bug::CountersNotFlushed => &[RECLAIMED],
        Bug::TombstonesNotFlushed => &[RECLAIMED],
        Bug::CompactionBlind => &[RECLAIMED],
        Bug::CompactionUnlocked => &[VERSIONS_MOVE],
        Bug::VersionNotPromoted | Bug::NullVersionForgotten | Bug::NullVersionKept => &[VERSIONS],
        Bug::LogFreedUncovered => &[LOG_VOLUMES],
        Bug::CopiesSkipped => &[GOES_MEANWHILE],
        Bug::RebuildStopsEarly | Bug::RebuildSkipsParity | Bug::HealDoneEarly => &[LOST_DRIVE],
        Bug::HollowCountsAsHealed => &[MORE_LOST],
        Bug::TableCopiesNotCounted => &[TABLES_LOST],
        Bug::TableScrubSkipsChecksum => &[TABLES_ROT],
        Bug::RebuildNeverRests => &[REQUESTS],
        Bug::MoveNotSynced | Bug::MoveSharesDrive => &[EVENED_OUT],
        Bug::BehindNotNoticed => &[ROLLED_BACK],
        Bug::RepairFromBad | Bug::RepairNotWritten => &[FLIPPED_BITS],
        Bug::CensusCountsMissing => &[COUNTED],
        Bug::HungCountsAsDurable => &[HANGS],
    }
}

/// Runs a scenario; whether it failed.
fn fails(scenario: Scenario, seed: u64, bug: Option<Bug>) -> bool {
    store::plant(bug);
    let failed = catch_unwind(AssertUnwindSafe(|| scenario.1(seed))).is_err();
    store::forget_all();
    store::plant(None);
    failed
}

/// The scenario and seed that caught a bug.
fn hunt(bug: Bug) -> Option<(Scenario, u64)> {
    let given = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let first = given("HAFIZ_SIM_FIRST").unwrap_or(1);
    let seeds = given("HAFIZ_SIM_SEEDS").unwrap_or(SEEDS);
    let of = |scenario: &'static Scenario| (first..first + seeds).map(|seed| (*scenario, seed));
    let mut attempts = scenarios(bug).iter().flat_map(of);
    attempts.find(|(scenario, seed)| fails(*scenario, *seed, Some(bug)))
}

/// Does all of `work`, some of it at a time.
fn each<T: Copy + Send + Sync, R: Send>(work: &[T], f: impl Fn(T) -> R + Sync) -> Vec<R> {
    let next = Mutex::new(0..work.len());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                loop {
                    let Some(at) = next.lock().expect("nothing panics").next() else { return };
                    let result = f(work[at]);
                    done.lock().expect("nothing panics").push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("nothing panics");
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[test]
fn every_planted_bug_is_caught() {
    let chosen = std::env::var("HAFIZ_PLANTED").ok();
    if chosen.is_none() {
        // Failures are what is hoped for: their words would bury those that count.
        std::panic::set_hook(Box::new(|_| {}));
    }
    telemetry::set_level(telemetry::Level::Error);
    let is_chosen = |bug: &&Bug| chosen.as_ref().is_none_or(|name| *name == format!("{bug:?}"));
    let bugs: Vec<Bug> = Bug::ALL.iter().filter(is_chosen).copied().collect();
    let hunts = each(&bugs, |bug| {
        let began = Instant::now();
        (hunt(bug), began.elapsed())
    });
    let _panics_are_told_again = std::panic::take_hook();
    let mut table = String::from("| bug | caught by | seed |\n|---|---|---|\n");
    let (mut free, mut caught_by) = (Vec::new(), BTreeSet::new());
    for (bug, (caught, took)) in bugs.iter().zip(&hunts) {
        match caught {
            Some(((name, _), seed)) => {
                table += &format!("| {bug:?} | {name} | {seed} |\n");
                caught_by.insert((*name, *seed));
            }
            None => free.push(bug),
        }
        println!("{bug:?}: {took:.1?}");
    }
    println!("\n{table}");
    assert!(!bugs.is_empty(), "there is no such bug");
    assert!(free.is_empty(), "not caught: {free:?}");
    // What caught a bug does so because of the bug.
    let all = bugs.iter().flat_map(|bug| scenarios(*bug).iter().copied());
    let mut again: Vec<(Scenario, u64)> = all
        .flat_map(|scenario| {
            let seeds = caught_by.iter().filter(move |(name, _)| *name == scenario.0);
            seeds.map(move |(_, seed)| (scenario, *seed)).collect::<Vec<_>>()
        })
        .collect();
    again.sort_by_key(|(scenario, seed)| (scenario.0, *seed));
    again.dedup_by_key(|(scenario, seed)| (scenario.0, *seed));
    let failed = each(&again, |(scenario, seed)| fails(scenario, seed, None).then_some((scenario.0, seed)));
    let failed: Vec<_> = failed.into_iter().flatten().collect();
    assert!(failed.is_empty(), "these fail without a bug: {failed:?}");
}

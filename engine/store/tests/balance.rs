//! Drives are evened out, drained and left out in the simulated world: protection is never less than it was, whatever happens
//! meanwhile.
#![cfg(feature = "sim")]

mod harness;

use std::path::PathBuf;
use std::time::Duration;

use hafiz_store as store;
use hafiz_store::{DriveStatus, Error, Store};
use types::BucketId;

use harness::balances::{SIZE, grown, moved_with_crashes, rolled_back};
use harness::healing::{OBJECTS, Run, add_drive, census, check_all, fill, until};
use harness::run::for_each_seed;

fn fills(store: &Store) -> Vec<u64> {
    let permille = |drive: &DriveStatus| drive.used_bytes * 1000 / drive.total_bytes;
    store.drives().iter().map(permille).collect()
}

async fn evened_out() {
    until("rebalance", || !store::heal_status().balance.running).await;
}

/// Everything is there, and no drive holds two slots of a volume: then what is on one of them would count for less.
async fn check_whole(store: &Store, bucket: BucketId) {
    let found = census().await;
    assert!(found.is_whole(), "{found:?}");
    check_all(store, bucket, 0..OBJECTS).await;
    store::audit().await.expect("nothing is counted wrong");
}

#[test]
fn slots_move_to_a_drive_that_was_added_until_all_are_about_equally_full() {
    let mut run = grown(1, SIZE);
    run.run(async |store, bucket| {
        let before = fills(&store);
        assert!(before[6] + 50 < before[0], "{before:?}");
        store.rebalance(0).await.expect("there is something to do");
        let status = store::heal_status().balance;
        assert!(status.running && status.bytes_left > 0, "{status:?}");
        let drives = store.drives();
        assert!(drives.iter().all(|drive| drive.target_bytes.is_some()), "{drives:?}");
        evened_out().await;
        let after = fills(&store);
        // 20 thousandths, and a slot is 16.
        assert!(after.iter().max().unwrap() - after.iter().min().unwrap() <= 36, "{before:?} became {after:?}");
        check_whole(&store, bucket).await;
        let again = store.rebalance(0).await;
        assert!(matches!(again, Err(Error::Unavailable(why)) if why.contains("nothing to do")), "{again:?}");
    });
    run.run(async |store, bucket| {
        assert!(store::heal_status().is_whole() && !store::heal_status().balance.running);
        check_whole(&store, bucket).await;
    });
}

#[test]
fn a_larger_drive_takes_more() {
    let mut run = grown(2, 3 * SIZE);
    run.run(async |store, _| {
        store.rebalance(0).await.expect("there is something to do");
        evened_out().await;
        let used: Vec<u64> = store.drives().iter().map(|drive| drive.used_bytes).collect();
        // One slot of each volume that could move; with seven of a size it would have the fewest.
        assert!(used[..6].iter().all(|&other| other < used[6]), "{used:?}");
    });
}

#[test]
fn a_rebalance_keeps_its_pace_and_stops_when_it_is_told() {
    let mut run = grown(3, SIZE);
    run.run(async |store, bucket| {
        let began = rt::time::Instant::now();
        store.rebalance(1).await.expect("there is something to do");
        until("some moves", || store::heal_status().balance.bytes_done >= 3 << 20).await;
        let (status, seconds) = (store::heal_status().balance, began.elapsed().as_secs_f64());
        assert!(status.pace_mib == 1 && status.rate > 0 && status.seconds_left.is_some(), "{status:?}");
        assert!(status.bytes_done as f64 <= (seconds + 1.0) * f64::from(1 << 20), "{status:?} in {seconds} s");
        store.end_rebalance().await.expect("it is noted");
        let before = store.drives();
        rt::time::sleep(Duration::from_secs(5)).await;
        assert!(!store::heal_status().balance.running);
        let slots = |drives: &[DriveStatus]| drives.iter().map(|drive| drive.slots).collect::<Vec<_>>();
        let after = store.drives();
        assert!(slots(&before).iter().zip(slots(&after)).all(|(a, b)| a.abs_diff(b) <= 1), "what was on its way ended");
        check_whole(&store, bucket).await;
    });
    // Stopped is stopped, also for the next start.
    run.run(async |_, _| {
        rt::time::sleep(Duration::from_secs(5)).await;
        let status = store::heal_status().balance;
        assert!(!status.running && status.bytes_done == 0, "{status:?}");
    });
}

#[test]
fn a_rebalance_goes_on_after_crashes_anywhere_and_loses_no_protection() {
    let mut crashed = 0;
    for_each_seed(8, |seed| crashed += moved_with_crashes(seed));
    assert!(crashed > 0, "no rebalance crashed");
}

#[test]
fn what_is_lost_is_rebuilt_before_slots_are_evened_out() {
    let mut run = grown(4, SIZE);
    let gone = run.dirs[0].clone();
    run.run(async move |store, bucket| {
        store.rebalance(1).await.expect("there is something to do");
        until("a beginning", || store::heal_status().balance.bytes_done > 0).await;
        let drives = store.drives();
        let id = drives.iter().find(|drive| drive.dir == gone).expect("it is there").id;
        store.take_out_drive(id).await.expect("the others are enough");
        until("the turn of the rebuild", || {
            let status = store::heal_status();
            status.balance.waits || status.slots_missing == 0
        })
        .await;
        // What is as wide as there were drives waits for one.
        until("rebuild", || store::heal_status().slots_missing <= store::heal_status().waiting_for_drive).await;
        store.end_rebalance().await.expect("it is noted");
        check_all(&store, bucket, 0..OBJECTS).await;
        let found = census().await;
        assert!(!found.is_lossy(), "{found:?}");
    });
}

#[test]
fn a_drain_goes_on_after_a_crash_and_so_does_its_end() {
    let mut run = grown(5, SIZE);
    run.rebuild = 1 << 20;
    let leaving = run.dirs[1].clone();
    let find = |store: &Store, dir: &PathBuf| store.drives().into_iter().find(|drive| drive.dir == *dir);
    let dir = leaving.clone();
    let crashed = run.run_and_crash(1 << 40, async move |store, _| {
        let drive = find(&store, &dir).expect("it is there");
        let left = store.drain_drive(drive.id).await.expect("it is in");
        assert!(left.slots_left > 0);
    });
    assert!(!crashed, "it is cut off right behind the answer");
    let dir = leaving.clone();
    run.run_and_crash(1 << 40, async move |store, _| {
        let drive = find(&store, &dir).expect("it is there");
        assert!(drive.is_draining, "{drive:?}");
        store.undrain_drive(drive.id).await.expect("it is in");
    });
    let dir = leaving.clone();
    run.run_and_crash(1 << 40, async move |store, _| {
        let drive = find(&store, &dir).expect("it is there");
        assert!(!drive.is_draining && drive.slots > 0, "{drive:?}");
        store.drain_drive(drive.id).await.expect("it is in");
    });
    run.rebuild = 0;
    run.run(async move |store, bucket| {
        // Nobody asks again.
        until("the end of the drain", || find(&store, &leaving).is_none()).await;
        check_whole(&store, bucket).await;
    });
}

#[test]
fn a_deployment_that_cannot_be_evened_out_says_so() {
    let mut run = Run::with_capacity(6, 3, SIZE);
    run.run(async |store, bucket| {
        fill(store.clone(), bucket).await;
        let refused = store.rebalance(0).await;
        assert!(matches!(refused, Err(Error::Unavailable(why)) if why.contains("nothing to do")), "{refused:?}");
    });
    // One of another size: each volume has a slot on every drive from then on.
    let mut run = Run::with_capacity(6, 2, SIZE);
    let small = PathBuf::from("/heal-d2");
    add_drive(&mut run.world, &run.tables, &small, SIZE / 2);
    run.dirs.push(small);
    run.run(async |store, bucket| {
        fill(store.clone(), bucket).await;
        let refused = store.rebalance(0).await;
        assert!(matches!(refused, Err(Error::Unavailable(why)) if why.contains("nothing can be moved")), "{refused:?}");
        assert!(store.drives().iter().all(|drive| drive.target_bytes.is_none()));
    });
}

#[test]
fn a_drive_that_was_restored_from_an_earlier_time_is_known_and_brought_up_to_date() {
    for_each_seed(9, rolled_back);
}

//! Healing in the simulated world: what is planted is found, repaired, rebuilt and counted, and nothing else.
#![cfg(feature = "sim")]

mod harness;

use std::path::PathBuf;
use std::time::Duration;

use hafiz_store as store;
use hafiz_store::PlacedFragment;
use types::DeleteCondition;

use harness::healing::{
    DRIVE_BYTES, Damage, OBJECTS, Run, add_drive, census, check_all, check_rebuilt, damage, fill, key, placed, rebuilt,
    scrubbed, until, with_spare,
};
use harness::heals;

#[test]
fn bits_that_flip_in_up_to_parity_fragments_are_found_and_repaired() {
    (1..=6).for_each(heals::flipped_bits);
}

#[test]
fn a_bad_fragment_that_a_read_meets_is_repaired_without_a_scrub() {
    heals::bad_fragment_read(1);
}

#[test]
fn a_census_counts_exactly_what_was_planted() {
    heals::planted_damage_counted(1);
}

#[test]
fn a_lost_drive_is_rebuilt_on_another_and_then_two_more_can_be_lost() {
    (1..=4).for_each(heals::lost_drive_rebuilt);
}

#[test]
fn a_slot_file_that_is_gone_is_made_again_on_its_drive() {
    let mut run = Run::new(1, 6);
    run.run(fill);
    run.run(async |store, bucket| {
        let path = placed(&store, bucket, 4).await[0].path.clone();
        rt::file::unlink(&path).await.expect("it was there");
        rt::file::sync_dir(path.parent().expect("it lies in a directory")).await.expect("durable");
    });
    run.run(async |store, bucket| {
        check_rebuilt(&store, bucket).await;
    });
    let found = run.run(async |_, _| census().await);
    assert!(found.is_whole(), "after a restart: {found:?}");
}

#[test]
fn without_a_drive_for_it_a_volume_stays_short_and_says_so() {
    let mut run = Run::new(1, 6);
    run.run(fill);
    run.remove(2);
    run.run(async |store, bucket| {
        until("a pass", || store::heal_status().waiting_for_drive > 0).await;
        let status = store::heal_status();
        assert!(status.slots_missing > 0 && !status.is_whole(), "{status:?}");
        let found = census().await;
        assert!(found.fragments_absent > 0 && found.objects_short > 0 && !found.is_lossy(), "{found:?}");
        check_all(&store, bucket, 0..OBJECTS).await;
    });
}

#[test]
fn a_rebuild_that_crashes_anywhere_is_done_again() {
    let mut crashed = 0;
    for seed in 1..=12 {
        let mut run = with_spare(seed);
        run.remove((seed % 6) as usize);
        for attempt in 0..2 {
            let operations = 150 + seed * 37 + attempt * 61 + run.world.random() % 200;
            crashed += u32::from(run.run_and_crash(operations, async |_, _| rebuilt().await));
        }
        run.run(async move |store, bucket| {
            rebuilt().await;
            let found = census().await;
            assert!(found.is_whole(), "seed {seed}: {found:?}");
            check_all(&store, bucket, 0..OBJECTS).await;
            store::audit().await.expect("nothing is counted wrong");
        });
    }
    assert!(crashed > 0, "no rebuild crashed");
}

#[test]
fn what_is_deleted_while_slots_are_rebuilt_is_gone_and_the_rest_is_whole() {
    for seed in 1..=4 {
        let mut run = with_spare(seed);
        run.remove((seed % 6) as usize);
        // Slow enough for the deletes to come in between.
        run.rebuild = 20 << 20;
        run.run(async |store, bucket| {
            for n in (0..OBJECTS).filter(|n| n % 2 == 0) {
                store.delete(bucket, &key(n), DeleteCondition::default()).await.expect("it is deleted");
                rt::time::sleep(Duration::from_millis(15)).await;
            }
            rebuilt().await;
            rt::time::sleep(Duration::from_secs(1)).await;
            let found = census().await;
            assert!(found.is_whole() && found.objects == OBJECTS / 2, "{found:?}");
            check_all(&store, bucket, (0..OBJECTS).filter(|n| n % 2 == 1)).await;
            store::audit().await.expect("nothing is counted wrong");
        });
        run.run(async |store, bucket| {
            let found = census().await;
            assert!(found.is_whole() && found.objects == OBJECTS / 2, "after a restart: {found:?}");
            check_all(&store, bucket, (0..OBJECTS).filter(|n| n % 2 == 1)).await;
        });
    }
}

#[test]
fn a_drive_that_is_drained_has_nothing_left_and_can_go() {
    let mut run = with_spare(1);
    let drained = run.run(async |store, bucket| {
        let drive = store.drives().first().expect("there are drives").id;
        until("drain", || {
            let left = store::drain(drive).expect("it is there");
            left.slots_left == left.slots_open
        })
        .await;
        let found = census().await;
        assert!(found.is_whole(), "{found:?}");
        check_all(&store, bucket, 0..OBJECTS).await;
        store.take_out_drive(drive).await.expect("the others are enough");
        let found = census().await;
        assert!(found.fragments_missing == 0 && !found.is_lossy(), "{found:?}");
        store.drives().iter().any(|status| status.id == drive && status.slots > 0)
    });
    assert!(!drained);
    run.run(async |store, bucket| check_all(&store, bucket, 0..OBJECTS).await);
}

#[test]
fn an_idle_store_leaves_the_volumes_of_a_drive_that_goes_and_rebuilds_them() {
    let mut run = Run::new(1, 6);
    let added = PathBuf::from("/heal-d6");
    add_drive(&mut run.world, &run.tables, &added, DRIVE_BYTES);
    let dir = added.clone();
    run.run(async move |store, bucket| {
        fill(store.clone(), bucket).await;
        store.add_drive(dir).await.expect("an empty directory is taken in");
        // The log and the open data volume lie on the first six drives.
        let drive = store.drives().first().expect("there are drives").id;
        store.take_out_drive(drive).await.expect("the others are enough");
        rebuilt().await;
        let found = census().await;
        assert!(found.is_whole(), "{found:?}");
        check_all(&store, bucket, 0..OBJECTS).await;
    });
    run.dirs.push(added);
    run.run(async |store, bucket| check_all(&store, bucket, 0..OBJECTS).await);
}

#[test]
fn first_pages_that_rot_are_written_again() {
    let mut run = Run::new(1, 6);
    run.run(fill);
    run.scrub = 1 << 30;
    run.run(async |store, bucket| {
        for fragment in placed(&store, bucket, 4).await.iter().take(3) {
            damage(&PlacedFragment { offset: 0, ..fragment.clone() }, Damage::HeaderByte).await;
        }
        scrubbed().await;
    });
    run.scrub = 0;
    run.run(async |store, bucket| {
        // Not rebuilt at the start: they were right again.
        assert_eq!(store::heal_status().slots_missing, 0);
        check_all(&store, bucket, 0..OBJECTS).await;
    });
}

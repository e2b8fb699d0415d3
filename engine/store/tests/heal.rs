//! Healing in the simulated world: what is planted is found, repaired, rebuilt and counted, and nothing else.
#![cfg(feature = "sim")]

mod harness;

use std::path::PathBuf;
use std::time::Duration;

use hafiz_store as store;
use hafiz_store::PlacedFragment;
use rt::file::{File, OpenOptions};
use types::DeleteCondition;

use harness::healing::{
    DRIVE_BYTES, Damage, OBJECTS, Run, add_drive, census, check_all, check_rebuilt, damage, fill, key, placed, rebuilt,
    scrubbed, until, with_spare,
};
use harness::heals;
use harness::run::for_each_seed;

#[test]
fn bits_that_flip_in_up_to_parity_fragments_are_found_and_repaired() {
    for_each_seed(6, heals::flipped_bits);
}

#[test]
fn a_bad_fragment_that_a_read_meets_is_repaired_without_a_scrub() {
    for_each_seed(1, heals::bad_fragment_read);
}

#[test]
fn a_census_counts_exactly_what_was_planted() {
    for_each_seed(1, heals::planted_damage_counted);
}

#[test]
fn a_lost_drive_is_rebuilt_on_another_and_then_two_more_can_be_lost() {
    for_each_seed(4, heals::lost_drive_rebuilt);
}

#[test]
fn what_more_drives_took_than_parity_makes_up_for_is_lost_until_they_come_back() {
    for_each_seed(3, heals::more_lost_than_parity);
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
    for_each_seed(12, |seed| {
        let mut run = with_spare(seed);
        run.remove((seed % 6) as usize);
        for attempt in 0..2 {
            let operations = 187 + (seed - 1) % 12 * 37 + attempt * 61 + run.world.random() % 200;
            crashed += u32::from(run.run_and_crash(operations, async |_, _| rebuilt().await));
        }
        run.run(async move |store, bucket| {
            rebuilt().await;
            let found = census().await;
            assert!(found.is_whole(), "seed {seed}: {found:?}");
            check_all(&store, bucket, 0..OBJECTS).await;
            store::audit().await.expect("nothing is counted wrong");
        });
    });
    assert!(crashed > 0, "no rebuild crashed");
}

#[test]
fn what_is_deleted_while_slots_are_rebuilt_is_gone_and_the_rest_is_whole() {
    for_each_seed(4, |seed| {
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
    });
}

#[test]
fn a_drive_that_is_drained_has_nothing_left_and_can_go() {
    let mut run = with_spare(1);
    let drained = run.run(async |store, bucket| {
        let drive = store.drives().first().expect("there are drives").id;
        store.drain_drive(drive).await.expect("it is there");
        until("drain", || {
            let left = store::left_on(drive).expect("it is there");
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
fn copies_of_tables_that_rot_are_counted_and_made_again() {
    for_each_seed(1, heals::tables_rot);
}

#[test]
fn copies_of_tables_that_are_lost_are_counted_until_they_were_made_again() {
    for_each_seed(3, heals::tables_lost);
}

#[test]
fn a_scrub_finds_copies_of_tables_that_have_rotted() {
    let mut run = Run::new(2, 6);
    run.run(fill);
    let copies: Vec<PathBuf> = run.table_holders(1).into_iter().map(|drive| run.table_dir(drive, 1)).collect();
    run.scrub = 1 << 30;
    run.run(async move |store, bucket| {
        until("all is well", || store::heal_status().is_whole()).await;
        for dir in &copies {
            heals::harm(dir, heals::Harm::Table);
            scrubbed().await;
            until("the copy is made again", || store::heal_status().is_whole()).await;
        }
        assert!(store::heal_status().table_copies_checked > 0);
        let found = census().await;
        assert!(found.is_whole() && found.table_copies_good == 12, "{found:?}");
        check_all(&store, bucket, 0..OBJECTS).await;
    });
}

#[test]
fn a_scrub_goes_on_where_it_was_before_a_restart() {
    let mut run = Run::new(1, 6);
    run.run(fill);
    (run.scrub, run.hurried) = (1 << 20, false);
    let before = run.run(async |_, _| {
        rt::time::sleep(Duration::from_secs(45)).await;
        store::heal_status()
    });
    assert!(before.rounds == 0 && before.scrub_cursor != store::VolumeId(0), "{before:?}");
    assert!(before.scrub_rate > 0 && before.scrub_seconds_left.is_some(), "{before:?}");
    assert!(0 < before.scrub_bytes_done && before.scrub_bytes_done < before.scrub_bytes_total, "{before:?}");
    let after = run.run(async |_, _| {
        until("the cursor is read", || store::heal_status().round_began.is_some()).await;
        store::heal_status()
    });
    // What was passed after the cursor was last written is read again.
    assert!(after.scrub_cursor != store::VolumeId(0) && after.scrub_cursor <= before.scrub_cursor, "{after:?}");
    assert_eq!((after.round_began, after.scrub_partition), (before.round_began, 4));
}

/// Overwrites one of the two copies of a small file of a drive with something else.
async fn spoil_copy(dir: &std::path::Path, name: &str, copy: u64, copy_bytes: usize) {
    let file = File::open(dir.join(name), OpenOptions::READ_WRITE_DIRECT).await.expect("it is there");
    let mut buffer = rt::buf::alloc(copy_bytes).await;
    buffer[..copy_bytes].fill(0xa5);
    let at = copy * copy_bytes as u64;
    file.write_at(buffer.window(0..copy_bytes), at, rt::file::Sync::Data).await.0.expect("it can be written");
}

#[test]
fn identities_and_topologies_that_rot_are_written_again_copy_by_copy() {
    let mut run = Run::new(1, 6);
    run.run(fill);
    run.scrub = 1 << 30;
    for copy in [0, 1, 0] {
        let dirs = run.dirs.clone();
        run.run(async move |store, bucket| {
            for dir in &dirs {
                spoil_copy(dir, "hafiz.drive", copy, 4096).await;
                spoil_copy(dir, "topology", copy, 16_384).await;
            }
            // Of one drive nothing says any more which it is, but for its volumes.
            spoil_copy(&dirs[2], "hafiz.drive", 1 - copy, 4096).await;
            spoil_copy(&dirs[2], "topology", 1 - copy, 16_384).await;
            scrubbed().await;
            for dir in &dirs {
                spoil_copy(dir, "hafiz.drive", 1 - copy, 4096).await;
                spoil_copy(dir, "topology", 1 - copy, 16_384).await;
            }
            check_all(&store, bucket, 0..OBJECTS).await;
        });
        run.run(async |store, bucket| {
            let drives = store.drives();
            assert!(drives.len() == 6 && drives.iter().all(|drive| drive.state == store::DriveState::In), "{drives:?}");
            check_all(&store, bucket, 0..OBJECTS).await;
            scrubbed().await;
        });
    }
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

#[test]
fn requests_take_no_more_than_twice_as_long_while_slots_are_rebuilt() {
    heals::requests_while_rebuilt(1);
}

//! Drives that answer badly at the wrong moment: reads that fail during a drain or a start, rotten first pages, tables of an
//! earlier time, drives that are full to the last page.
#![cfg(feature = "sim")]

mod harness;

use std::path::PathBuf;
use std::time::Duration;

use hafiz_store as store;
use hafiz_store::{CommitPut, List, PlacedFragment, Store};
use rt::file::{File, OpenOptions};
use rt::time::Instant;
use types::{Attributes, BucketId, BucketName, DeleteCondition, Etag, WriteCondition};

use harness::balances::copy_dir;
use harness::healing::{
    DRIVE_BYTES, Damage, LIMIT, LOOK_EVERY, OBJECTS, Run, add_drive, add_seventh, bytes, census, check_all, damage,
    fill, key, len_of, placed, put, read, rebuilt, until, with_spare,
};
use harness::run::for_each_seed;

/// More operations than any run has.
const NEVER: u64 = 1 << 40;

/// Damages the first pages of so many slots of the volumes of two objects, a small and a large one.
async fn damage_first_pages(store: &Store, bucket: BucketId, slots: usize) {
    for n in [1, 4] {
        for fragment in placed(store, bucket, n).await.iter().take(slots) {
            damage(&PlacedFragment { offset: 0, ..fragment.clone() }, Damage::HeaderByte).await;
        }
    }
}

#[test]
fn slots_whose_first_pages_have_rotted_are_not_made_anew_without_what_they_hold() {
    // More slots than parity makes up for.
    for (drives, slots) in [(6, 3), (3, 2)] {
        let mut run = Run::new(1, drives);
        run.run(fill);
        run.run(async move |store, bucket| damage_first_pages(&store, bucket, slots).await);
        run.run(async move |store, bucket| {
            rebuilt().await;
            check_all(&store, bucket, 0..OBJECTS).await;
            let found = census().await;
            assert!(found.is_whole(), "{drives}: {found:?}");
        });
        run.run(async |store, bucket| {
            assert_eq!(store::heal_status().slots_missing, 0);
            check_all(&store, bucket, 0..OBJECTS).await;
        });
    }
}

#[test]
fn a_drain_leaves_nothing_behind_that_could_not_be_read_for_a_moment() {
    for_each_seed(8, |seed| {
        let mut run = Run::new(seed, 1);
        run.run(fill);
        let dir = PathBuf::from("/heal-d1");
        add_drive(&mut run.world, &run.tables, &dir, DRIVE_BYTES);
        let added = dir.clone();
        run.run(async move |store, _| add_seventh(store, added).await);
        run.dirs.push(dir);
        run.world.faults(&run.dirs[0], |faults| faults.read_error = 0.04);
        let mut drained = false;
        while !drained {
            let config = run.config();
            let draining = async move {
                if store::open(config).await.is_err() {
                    return false;
                }
                let drive = store::here().drives().first().expect("there are drives").id;
                // The epoch that says so may meet a read error, too.
                if store::here().drain_drive(drive).await.is_err() {
                    return false;
                }
                for _ in 0..50 {
                    if store::left_on(drive).is_err() {
                        break;
                    }
                    rt::time::sleep(LOOK_EVERY).await;
                }
                true
            };
            drained = run.world.run_alone(draining, LIMIT).expect("it ends");
            store::forget_all();
            run.world.crash();
        }
        run.world.faults(&run.dirs[0], |faults| faults.read_error = 0.0);
        run.run(async |store, bucket| check_all(&store, bucket, 0..OBJECTS).await);
    });
}

#[test]
fn whoever_lists_when_a_drive_is_taken_out_does_not_wait_for_its_tables() {
    // No check comes by in that time, nor does anybody look again by himself.
    const SOON: Duration = Duration::from_millis(200);
    for_each_seed(4, |seed| {
        let mut run = Run::new(seed, 6);
        (run.hurried, run.log_slot_bytes) = (false, 8 << 20);
        run.run(fill);
        // After that start all is in tables.
        run.run(async move |store, bucket| {
            let drives: Vec<_> = store.drives().iter().map(|drive| drive.id).take(2).collect();
            for drive in drives {
                store.take_out_drive(drive).await.expect("there are enough others");
                let began = Instant::now();
                let page = store.list(bucket, List { max: 1000, ..List::default() }).await.expect("listed");
                assert_eq!(page.entries.len() as u64, OBJECTS);
                assert!(began.elapsed() < SOON, "seed {seed}: {:?}", began.elapsed());
            }
        });
    });
}

#[test]
fn a_start_that_cannot_read_some_of_the_log_loses_none_of_it() {
    for_each_seed(20, |seed| {
        let mut run = Run::new(seed, 1);
        (run.hurried, run.log_slot_bytes) = (false, 8 << 20);
        // Cut off before anything is flushed.
        run.run_and_crash(NEVER, fill);
        run.world.faults(&run.dirs[0], |faults| faults.read_error = 0.1);
        for _ in 0..5 {
            let config = run.config();
            let opened = async move { drop(store::open(config).await) };
            run.world.run_alone(opened, LIMIT).expect("it is opened or refused");
            store::forget_all();
            run.world.crash();
        }
        run.world.faults(&run.dirs[0], |faults| faults.read_error = 0.0);
        run.run(async |store, bucket| check_all(&store, bucket, 0..OBJECTS).await);
    });
}

/// Puts until the drives are full; how many objects there are.
async fn fill_up(store: &Store, bucket: BucketId) -> u64 {
    for n in 0.. {
        let content = bytes(n, len_of(n));
        let mut put = store.put(Some(content.len() as u64));
        let written = put.write(&content).await;
        let body = match written {
            Ok(()) => put.finish().await,
            Err(error) => Err(error),
        };
        let (attributes, condition) = (Attributes::new(), WriteCondition::default());
        let committed = match body {
            Ok(body) => {
                let commit =
                    CommitPut { bucket, key: key(n), body, etag: Etag::from_md5([0; 16]), attributes, condition };
                store.commit_put(commit).await.map(drop)
            }
            Err(error) => Err(error),
        };
        if committed.is_err() {
            return n;
        }
    }
    unreachable!("drives are finite")
}

async fn delete_all(store: &Store, bucket: BucketId, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let mut attempts = 0;
        while let Err(error) = store.delete(bucket, &key(n), DeleteCondition::default()).await {
            attempts += 1;
            assert!(attempts < 1000, "object {n} cannot be deleted: {error}");
            rt::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Takes the room of a drive that is free by a file that is none of the store's.
async fn take_all_room(dir: &std::path::Path) {
    let taken = File::open(dir.join("volumes").join("taken"), OpenOptions::CREATE_NEW_DIRECT).await.expect("made");
    let mut at = 0;
    while taken.allocate(at, 64 << 10).await.is_ok() {
        at += 64 << 10;
    }
    taken.sync_all().await.expect("durable");
    rt::file::sync_dir(dir.join("volumes")).await.expect("durable");
}

/// Drives with room for some 60 MiB of bodies.
const SMALL_DRIVE_BYTES: u64 = 64 << 20;

#[test]
fn full_drives_take_deletes_although_the_room_of_the_tables_is_gone() {
    let mut run = Run::with_capacity(1, 3, SMALL_DRIVE_BYTES);
    let dirs = run.dirs.clone();
    run.run(async move |store, bucket| {
        let count = fill_up(&store, bucket).await;
        // Tables have taken theirs, and all that was free beside it.
        for dir in &dirs {
            let tables = dir.join("ballast.tables");
            if rt::file::exists(&tables).await.expect("the drive answers") {
                rt::file::unlink(&tables).await.expect("it was there");
            }
            take_all_room(dir).await;
        }
        rt::time::sleep(Duration::from_secs(1)).await;
        delete_all(&store, bucket, 0..count).await;
        rt::time::sleep(Duration::from_secs(5)).await;
        put(&store, bucket, 3).await;
    });
}

#[test]
fn one_small_drive_among_six_is_left_out_when_it_is_full() {
    let mut run = Run::with_capacity(1, 5, SMALL_DRIVE_BYTES);
    let small = PathBuf::from("/heal-d5");
    add_drive(&mut run.world, &run.tables, &small, SMALL_DRIVE_BYTES / 4);
    run.dirs.push(small);
    run.run(async move |store, bucket| {
        let count = fill_up(&store, bucket).await;
        let stored: u64 = (0..count).map(|n| len_of(n) as u64).sum();
        // Four times the small drive is what there would be room for if all stopped with it.
        assert!(stored > SMALL_DRIVE_BYTES * 7 / 4, "{} MiB", stored >> 20);
        check_all(&store, bucket, (0..count).step_by(7)).await;
        delete_all(&store, bucket, 0..count / 2).await;
        rt::time::sleep(Duration::from_secs(5)).await;
        for n in 0..20 {
            put(&store, bucket, n).await;
        }
        check_all(&store, bucket, (0..20).chain((count / 2..count).step_by(3))).await;
        store::audit().await.expect("nothing is counted wrong");
    });
    run.run(async |store, bucket| check_all(&store, bucket, 0..20).await);
}

#[test]
fn tables_of_an_earlier_time_are_not_taken_for_a_copy() {
    let mut run = Run::new(1, 6);
    run.run(fill);
    let tables = |drive: usize, partition: usize| format!("heal-d{drive}/{partition}");
    let root = run.tables.path().to_owned();
    let holders = |partition: usize| -> Vec<usize> {
        (0..6).filter(|&drive| root.join(tables(drive, partition)).join("current").exists()).collect()
    };
    let old = tempfile::tempdir_in("/dev/shm").expect("a directory for old tables");
    for partition in 0..4 {
        let from = root.join(tables(holders(partition)[0], partition));
        copy_dir(&from, &old.path().join(partition.to_string()));
    }
    // The log that the old tables lack goes.
    run.run(async |store, bucket| {
        delete_all(&store, bucket, 0..OBJECTS / 2).await;
        rt::time::sleep(Duration::from_secs(2)).await;
    });
    run.run(async |_, _| rt::time::sleep(Duration::from_secs(2)).await);
    let lost = holders(1);
    assert_eq!(lost.len(), 3);
    for partition in 0..4 {
        for drive in (0..6).filter(|drive| !holders(partition).contains(drive)) {
            copy_dir(&old.path().join(partition.to_string()), &root.join(tables(drive, partition)));
        }
    }
    let first = run.dirs[lost[0]].clone();
    run.run_and_crash(NEVER, async move |store, _| {
        let drives = store.drives();
        let drive = drives.iter().find(|drive| drive.dir == first).expect("it is there");
        store.take_out_drive(drive.id).await.expect("the others are enough");
    });
    run.remove(lost[1]);
    run.remove(lost[2]);
    let config = run.config();
    let opened = async move {
        if store::open(config).await.is_err() {
            return;
        }
        let store = store::here();
        let bucket = store.bucket(&BucketName::parse("bucket").expect("valid")).expect("it was not deleted").id;
        check_all(&store, bucket, OBJECTS / 2..OBJECTS).await;
        for n in 0..OBJECTS / 2 {
            assert!(read(&store, bucket, n).await.is_err(), "object {n} was deleted");
        }
    };
    run.world.run_alone(opened, LIMIT).expect("it is opened or refused");
    store::forget_all();
}
#[test]
fn a_rebuild_that_finds_its_drive_full_is_done_again() {
    const ENOSPC: i32 = 28;
    let (mut failed, mut whole) = (0, 0);
    for seed in 1..=6 {
        let mut run = with_spare(seed);
        run.remove((seed % 6) as usize);
        run.world.fail_at_io(400 + seed * 53, ENOSPC);
        whole += run.run(async move |store, bucket| {
            // When it is an epoch that cannot be written, its drive goes, and there is none for what was on it.
            let is_out = || store.drives().iter().any(|drive| drive.state == store::DriveState::Out);
            let waits = || {
                let status = store::heal_status();
                is_out() && status.slots_missing > 0 && status.slots_missing <= status.waiting_for_drive
            };
            until("all is well", || store::heal_status().is_whole() || waits()).await;
            let found = census().await;
            assert!(found.is_whole() || (is_out() && !found.is_lossy()), "seed {seed}: {found:?}");
            check_all(&store, bucket, 0..OBJECTS).await;
            u64::from(found.is_whole())
        });
        failed += run.world.fault_count(rt::sim::Fault::OneFailed);
    }
    assert!(failed > 0 && whole > 3, "{failed} failed, {whole} are whole");
}

#[test]
fn a_second_drive_that_goes_while_the_first_is_rebuilt_is_rebuilt_as_well() {
    let mut crashed = 0;
    for seed in 1..=6 {
        let mut run = with_spare(seed);
        let second = PathBuf::from("/heal-d7");
        add_drive(&mut run.world, &run.tables, &second, DRIVE_BYTES);
        let added = second.clone();
        run.run(async move |store, _| add_seventh(store, added).await);
        run.dirs.push(second);
        run.remove((seed % 6) as usize);
        crashed += u32::from(run.run_and_crash(400 + seed * 53, async |_, _| rebuilt().await));
        run.remove(((seed + 2) % 6) as usize);
        run.run(async move |store, bucket| {
            until("all is well", || store::heal_status().is_whole()).await;
            let found = census().await;
            assert!(found.is_whole(), "seed {seed}: {found:?}");
            check_all(&store, bucket, 0..OBJECTS).await;
            store::audit().await.expect("nothing is counted wrong");
        });
    }
    assert!(crashed > 0, "no rebuild was cut off");
}

#[test]
fn a_drive_that_goes_while_slots_are_made_on_it_takes_nothing_along() {
    let mut run = with_spare(3);
    run.remove(3);
    run.rebuild = 4 << 20;
    run.run(async |store, bucket| {
        until("a rebuild under way", || store::heal_status().bytes_done > 0).await;
        let spare = store.drives().last().expect("there are drives").id;
        store.take_out_drive(spare).await.expect("nothing is on it yet that others lack");
        until("another attempt", || store::heal_status().waiting_for_drive > 0).await;
        let status = store::heal_status();
        assert!(status.slots_missing > 0 && status.slots_hollow == 0 && status.stripes_lost == 0, "{status:?}");
        let found = census().await;
        assert!(!found.is_whole() && !found.is_lossy(), "{found:?}");
        check_all(&store, bucket, 0..OBJECTS).await;
    });
}

#[test]
fn slot_files_that_come_back_fill_what_was_made_without_them() {
    let mut run = Run::new(1, 6);
    run.run(fill);
    let taken = run.run(async |store, bucket| {
        let mut taken = Vec::new();
        // Three slots of the volume of a large object.
        let mut paths: Vec<PathBuf> = placed(&store, bucket, 4).await.into_iter().map(|place| place.path).collect();
        paths.sort();
        paths.dedup();
        for path in paths.into_iter().take(3) {
            taken.push((path.clone(), rt::file::read(&path).await.expect("it is there")));
            rt::file::unlink(&path).await.expect("it was there");
            rt::file::sync_dir(path.parent().expect("it lies in a directory")).await.expect("durable");
        }
        taken
    });
    run.run(async |_, _| {
        rebuilt().await;
        until("it is known what is lost", || store::heal_status().stripes_lost > 0).await;
        let (status, found) = (store::heal_status(), census().await);
        assert!(status.slots_hollow == 3 && !status.is_whole(), "{status:?}");
        assert!(found.objects_lost > 0 && found.lost.iter().any(|lost| lost.key == "object/004"), "{found:?}");
    });
    // One of them is enough for D of the stripes that have all of their fragments.
    let (path, content) = taken[0].clone();
    let back = async move {
        let aside = path.with_extension("back");
        rt::file::write_new(&aside, content).await.expect("there is room");
        rt::file::rename(&aside, &path).await.expect("renamed");
        rt::file::sync_dir(path.parent().expect("it lies in a directory")).await.expect("durable");
    };
    run.world.run_alone(back, LIMIT).expect("it ends");
    run.run(async |store, bucket| {
        until("all is well", || store::heal_status().is_whole()).await;
        let found = census().await;
        assert!(found.is_whole(), "{found:?}");
        check_all(&store, bucket, 0..OBJECTS).await;
    });
}

#[test]
fn a_volume_that_is_lost_altogether_is_not_made_anew_and_does_not_count_as_whole() {
    let mut run = Run::new(1, 1);
    run.run(fill);
    run.run(async |store, bucket| {
        let path = placed(&store, bucket, 4).await[0].path.clone();
        rt::file::unlink(&path).await.expect("it was there");
        rt::file::sync_dir(path.parent().expect("it lies in a directory")).await.expect("durable");
    });
    run.run(async |_, _| {
        until("it is missed", || store::heal_status().volumes_gone > 0).await;
        assert!(!store::heal_status().is_whole());
        let found = census().await;
        assert!(found.is_lossy() && found.objects_lost > 0, "{found:?}");
    });
}

#[test]
fn what_was_lost_and_is_deleted_is_not_missed_any_more() {
    let mut run = Run::new(1, 6);
    run.run(fill);
    run.run(async |store, bucket| {
        let mut paths: Vec<PathBuf> = placed(&store, bucket, 4).await.into_iter().map(|place| place.path).collect();
        paths.sort();
        paths.dedup();
        for path in paths.into_iter().take(3) {
            rt::file::unlink(&path).await.expect("it was there");
            rt::file::sync_dir(path.parent().expect("it lies in a directory")).await.expect("durable");
        }
    });
    run.run(async |store, bucket| {
        rebuilt().await;
        let lost = census().await.lost;
        assert!(!lost.is_empty() && !store::heal_status().is_whole());
        for object in lost {
            let key = types::ObjectKey::parse(&object.key).expect("a valid key");
            store.delete(bucket, &key, DeleteCondition::default()).await.expect("it is deleted");
        }
        until("all is well", || store::heal_status().is_whole()).await;
        let found = census().await;
        assert!(found.is_whole() && found.objects > 0, "{found:?}");
        store::audit().await.expect("nothing is counted wrong");
    });
}

/// The slot files of all volumes of a kind: 1 = log, 2 = data. A first stripe somewhere says it.
async fn files_of_kind(dirs: &[PathBuf], kind: u8) -> Vec<PathBuf> {
    let (mut all, mut ids) = (Vec::new(), Vec::new());
    for dir in dirs {
        for entry in rt::file::read_dir(dir.join("volumes")).await.expect("the drive answers") {
            let id = entry.name.split('.').next().expect("a part").to_owned();
            let path = dir.join("volumes").join(entry.name);
            let file = File::open(&path, OpenOptions::READ_DIRECT).await.expect("it is there");
            let (result, page) = file.read_at(rt::buf::alloc(4096).await, 4096, 4096).await;
            if result.expect("it can be read") == 4096 && page.starts_with(b"HZFR") && page[5] == kind {
                ids.push(id.clone());
            }
            all.push((id, path));
        }
    }
    all.into_iter().filter(|(id, _)| ids.contains(id)).map(|(_, path)| path).collect()
}

/// Flips a bit in the first page of each of them; done twice nothing has changed.
async fn flip_first_pages(paths: &[PathBuf]) {
    for path in paths {
        let place = PlacedFragment { stripe: 0, index: 0, path: path.clone(), offset: 0, len: 4096 };
        damage(&place, Damage::HeaderByte).await;
    }
}

/// Whether the store opens; else why not.
fn opens(run: &mut Run) -> Result<(), String> {
    let config = run.config();
    let opened = async move {
        let opened = store::open(config).await.map(drop).map_err(|error| error.to_string());
        if opened.is_ok() {
            store::close().await;
        }
        opened
    };
    let opened = run.world.run_alone(opened, LIMIT).expect("it is opened or refused");
    store::forget_all();
    opened
}

#[test]
fn a_log_volume_without_its_first_page_is_not_passed_over_while_tables_lack_what_it_holds() {
    for drives in [1, 3] {
        let mut run = Run::new(1, drives);
        run.hurried = false;
        // Cut off before anything is flushed.
        run.run_and_crash(NEVER, fill);
        let dirs = run.dirs.clone();
        let find = async move {
            let paths = files_of_kind(&dirs, 1).await;
            flip_first_pages(&paths).await;
            paths
        };
        let paths = run.world.run_alone(find, LIMIT).expect("it ends");
        assert!(paths.len() >= drives, "{paths:?}");
        for _ in 0..2 {
            let why = opens(&mut run).expect_err("acknowledged changes are there and nowhere else");
            assert!(paths.iter().any(|path| why.contains(&path.display().to_string())), "{why}");
            assert!(why.contains("hafiz recover") && why.contains("first page"), "{why}");
        }
        run.world.run_alone(async move { flip_first_pages(&paths).await }, LIMIT).expect("it ends");
        run.run(async |store, bucket| check_all(&store, bucket, 0..OBJECTS).await);
    }
}

#[test]
fn a_data_volume_without_its_first_page_is_told_of_and_stops_nothing() {
    let mut run = Run::new(1, 1);
    run.run_and_crash(NEVER, fill);
    let dirs = run.dirs.clone();
    let harm = async move { flip_first_pages(&files_of_kind(&dirs, 2).await).await };
    run.world.run_alone(harm, LIMIT).expect("it ends");
    run.run(async |_, _| {
        until("it is missed", || store::heal_status().volumes_gone > 0).await;
        assert!(census().await.is_lossy());
    });
}

#[test]
fn a_volume_that_was_being_made_when_the_power_went_is_nothing_to_stop_at() {
    let mut run = Run::new(1, 1);
    run.run(fill);
    // The first page is torn, and nothing was ever behind it.
    let dir = run.dirs[0].join("volumes");
    let torn = dir.join("0000010000ffffff.0");
    let made = torn.clone();
    let make = async move {
        let file = File::open(&made, OpenOptions::CREATE_NEW_DIRECT).await.expect("made");
        file.allocate(0, 256 << 10).await.expect("there is room");
        let mut page = rt::buf::alloc(4096).await;
        page[..4096].fill(0);
        page[..512].fill(0xa5);
        file.write_at(page.window(0..4096), 0, rt::file::Sync::Data).await.0.expect("written");
        file.sync_all().await.expect("durable");
        rt::file::sync_dir(dir).await.expect("durable");
    };
    run.world.run_alone(make, LIMIT).expect("it ends");
    run.run(async move |store, bucket| {
        check_all(&store, bucket, 0..OBJECTS).await;
        rt::time::sleep(Duration::from_secs(2)).await;
        assert!(!rt::file::exists(&torn).await.expect("the drive answers"), "its room is given back");
        assert!(store::heal_status().is_whole(), "{:?}", store::heal_status());
    });
}

#[test]
fn no_power_cut_while_volumes_are_made_on_one_drive_refuses_the_next_start() {
    let mut crashed = 0;
    for_each_seed(30, |seed| {
        let mut run = Run::new(seed, 1);
        (run.log_slot_bytes, run.data_slot_bytes) = (256 << 10, 1 << 20);
        for _ in 0..4 {
            let operations = 1 + run.world.random() % 150;
            crashed += u32::from(run.run_and_crash(operations, async |store, bucket| {
                for n in (0..OBJECTS).filter(|n| n % 5 < 3) {
                    put(&store, bucket, n).await;
                }
            }));
        }
        run.run(async |_, _| {});
    });
    assert!(crashed > 40, "{crashed} were cut off before they were through");
}

//! Healing in the simulated world: what is planted is found, repaired, rebuilt and counted, and nothing else.
#![cfg(feature = "sim")]

use std::path::PathBuf;
use std::time::Duration;

use hafiz_store as store;
use hafiz_store::{Census, CommitPut, Config, PlacedFragment, ReadError, Store};
use rt::file::{File, OpenOptions};
use rt::sim::{DriveConfig, Fault, SimConfig, Stop, World};
use types::{Attributes, BucketId, BucketName, DeleteCondition, Etag, ObjectKey, WriteCondition};

/// Virtual time after which a step counts as hung.
const LIMIT: Duration = Duration::from_secs(600);
/// How often a test looks whether healing has come as far as it waits for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const DRIVE_BYTES: u64 = 1 << 30;

struct Run {
    world: World,
    tables: tempfile::TempDir,
    dirs: Vec<PathBuf>,
    scrub: u64,
    rebuild: u64,
}

impl Run {
    fn new(seed: u64, drives: usize) -> Run {
        let mut world = World::new(seed, SimConfig { buffers_bytes_per_shard: 64 << 20, ..SimConfig::default() });
        let tables = tempfile::tempdir_in("/dev/shm").expect("a directory for the tables");
        std::fs::create_dir(tables.path().join("away")).expect("a directory for tables of absent drives");
        let dirs: Vec<PathBuf> = (0..drives).map(|n| PathBuf::from(format!("/heal-d{n}"))).collect();
        for dir in &dirs {
            add_drive(&mut world, &tables, dir);
        }
        Run { world, tables, dirs, scrub: 0, rebuild: 0 }
    }

    fn config(&self) -> Config {
        Config {
            log_slot_bytes: Some(512 << 10),
            data_slot_bytes: Some(4 << 20),
            upkeep_every: Some(Duration::from_millis(20)),
            partitions: 4,
            memory_bytes: 32 << 20,
            body_cache_bytes: 1 << 20,
            index_root: Some(self.tables.path().to_owned()),
            scrub_bytes_per_second: self.scrub,
            rebuild_bytes_per_second: self.rebuild,
            ..Config::new(self.dirs.clone())
        }
    }

    /// Runs one process to the end of `main` and closes the store.
    fn run<T: 'static>(&mut self, main: impl AsyncFnOnce(Store, BucketId) -> T + 'static) -> T {
        let config = self.config();
        let body = async move {
            let (store, bucket) = open(config).await;
            let result = main(store, bucket).await;
            store::close().await;
            result
        };
        let result = self.world.run_alone(body, LIMIT);
        store::forget_all();
        result.unwrap_or_else(|stop| panic!("{stop:?}"))
    }

    /// Runs a process until one of its next operations on the drives, and cuts the power there. False: it ended before.
    fn run_and_crash(&mut self, operations: u64, main: impl AsyncFnOnce(Store, BucketId) + 'static) -> bool {
        let config = self.config();
        self.world.crash_at_io(operations);
        let body = async move {
            let (store, bucket) = open(config).await;
            main(store, bucket).await;
        };
        let result = self.world.run_alone(body, LIMIT);
        store::forget_all();
        match result {
            Err(Stop::Crashed) => true,
            Ok(()) => {
                self.world.crash();
                false
            }
            Err(stop) => panic!("{stop:?}"),
        }
    }

    fn remove(&mut self, drive: usize) {
        self.world.faults(&self.dirs[drive], |faults| faults.removed = true);
        let name = self.dirs[drive].file_name().expect("a drive has a name").to_owned();
        let away = self.tables.path().join("away").join(&name);
        std::fs::rename(self.tables.path().join(name), away).expect("the tables go with their drive");
    }
}

fn add_drive(world: &mut World, tables: &tempfile::TempDir, dir: &PathBuf) {
    world.add_drive(dir, DriveConfig { capacity_bytes: DRIVE_BYTES, ..DriveConfig::default() });
    let name = dir.file_name().expect("a drive has a name");
    std::fs::create_dir(tables.path().join(name)).expect("a directory for the tables of a drive");
}

async fn open(config: Config) -> (Store, BucketId) {
    store::open(config).await.expect("the store opens");
    let store = store::here();
    let name = BucketName::parse("bucket").expect("a valid name");
    let bucket = match store.bucket(&name) {
        Some(bucket) => bucket.id,
        None => store.create_bucket(&name, Vec::new()).await.expect("a bucket is made").id,
    };
    (store, bucket)
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Objects of all kinds: in one batch page, in several, in part of a stripe, in several stripes.
const OBJECTS: u64 = 40;

fn len_of(n: u64) -> usize {
    [300, 9_000, 30_000, 150_000, 2_500_000][(n % 5) as usize] + n as usize
}

fn key(n: u64) -> ObjectKey {
    ObjectKey::parse(&format!("object/{n:03}")).expect("a valid key")
}

async fn put(store: &Store, bucket: BucketId, n: u64) {
    let content = bytes(n, len_of(n));
    let mut put = store.put(Some(content.len() as u64));
    put.write(&content).await.expect("there is room");
    let body = put.finish().await.expect("drives take it");
    let (attributes, condition) = (Attributes::new(), WriteCondition::default());
    let commit = CommitPut { bucket, key: key(n), body, etag: Etag::from_md5([0; 16]), attributes, condition };
    store.commit_put(commit).await.expect("it is committed");
}

async fn fill(store: Store, bucket: BucketId) {
    for n in 0..OBJECTS {
        put(&store, bucket, n).await;
    }
}

async fn read(store: &Store, bucket: BucketId, n: u64) -> Result<Vec<u8>, ReadError> {
    let record = store.head(bucket, &key(n)).await.map_err(ReadError::Failed)?;
    let mut get = store.read(&record, 0..record.size());
    let mut content = Vec::new();
    while let Some(window) = get.next().await {
        content.extend_from_slice(&window?);
    }
    Ok(content)
}

async fn check_all(store: &Store, bucket: BucketId, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        assert!(read(store, bucket, n).await.expect("it can be read") == bytes(n, len_of(n)), "object {n}");
    }
}

async fn census() -> Census {
    store::verify(|_| {}).await.expect("the index can be read")
}

async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if done() {
            return;
        }
        rt::time::sleep(LOOK_EVERY).await;
    }
    panic!("{what}: {:?}", store::heal_status());
}

async fn rebuilt() {
    until("rebuild", || store::heal_status().slots_missing == 0).await;
}

async fn scrubbed() {
    let rounds = store::heal_status().rounds;
    // The round under way may have passed what was planted.
    until("scrub", || store::heal_status().rounds >= rounds + 2).await;
}

/// Where the fragments of an object lie.
async fn placed(store: &Store, bucket: BucketId, n: u64) -> Vec<PlacedFragment> {
    let record = store.head(bucket, &key(n)).await.expect("it is there");
    store::placed_fragments(&record).await.expect("it has stripes")
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    PayloadByte,
    HeaderByte,
    Zeroed,
}

async fn damage(fragment: &PlacedFragment, how: Damage) {
    let file = File::open(&fragment.path, OpenOptions::READ_WRITE_DIRECT).await.expect("the slot is there");
    let mut page = rt::buf::alloc(4096).await;
    let (result, mut back) = file.read_at(page, 4096, fragment.offset).await;
    assert_eq!(result.expect("it can be read"), 4096);
    match how {
        // The payload of the smallest fragment begins at 128.
        Damage::PayloadByte => back[200] ^= 0x40,
        Damage::HeaderByte => back[17] ^= 1,
        Damage::Zeroed => back[..4096].fill(0),
    }
    page = back;
    let (result, _) = file.write_at(page.window(0..4096), fragment.offset, rt::file::Sync::Data).await;
    result.expect("it can be written");
}

#[test]
fn bits_that_flip_in_up_to_parity_fragments_are_found_and_repaired() {
    for seed in 1..=6 {
        let mut run = Run::new(seed, 6);
        run.run(fill);
        for drive in [seed % 6, (seed + 2) % 6] {
            let dir = run.dirs[drive as usize].join("volumes");
            run.world.flip_bits(dir, 400);
        }
        assert!(run.world.fault_count(Fault::BitFlipAtRest) > 0);
        let before = run.run(async |_, _| census().await);
        assert!(before.fragments_bad > 0 && before.objects_short > 0 && !before.is_lossy(), "{before:?}");
        run.scrub = 1 << 30;
        run.run(async |store, bucket| {
            rebuilt().await;
            scrubbed().await;
            check_all(&store, bucket, 0..OBJECTS).await;
        });
        run.scrub = 0;
        let after = run.run(async |_, _| census().await);
        assert!(after.is_whole() && after.objects == OBJECTS, "seed {seed}: {after:?}");
        assert_eq!(after.objects_short, 0);
    }
}

#[test]
fn a_bad_fragment_that_a_read_meets_is_repaired_without_a_scrub() {
    let mut run = Run::new(1, 6);
    run.run(fill);
    run.run(async |store, bucket| {
        let fragments = placed(&store, bucket, 3).await;
        damage(&fragments[0], Damage::PayloadByte).await;
        let damaged = census().await;
        assert_eq!((damaged.fragments_bad, damaged.objects_short), (1, 1), "{damaged:?}");
        check_all(&store, bucket, [3]).await;
        let repaired = store::heal_status().fragments_repaired;
        rt::time::sleep(Duration::from_secs(1)).await;
        assert!(store::heal_status().fragments_repaired >= repaired);
        assert!(census().await.is_whole());
    });
}

#[test]
fn a_census_counts_exactly_what_was_planted() {
    let mut run = Run::new(1, 6);
    run.run(fill);
    run.run(async |store, bucket| {
        let whole = census().await;
        assert!(whole.is_whole() && whole.objects == OBJECTS && whole.stripes > 0, "{whole:?}");
        // One bad fragment in object 3, two missing ones in object 8, and more bad ones than parity makes good in object 14.
        let (three, eight, fourteen) =
            (placed(&store, bucket, 3).await, placed(&store, bucket, 8).await, placed(&store, bucket, 14).await);
        damage(&three[0], Damage::PayloadByte).await;
        damage(&eight[0], Damage::Zeroed).await;
        damage(&eight[1], Damage::Zeroed).await;
        let last = fourteen.last().expect("it has fragments").stripe;
        let of_last: Vec<_> = fourteen.iter().filter(|fragment| fragment.stripe == last).collect();
        for fragment in of_last.iter().rev().take(4) {
            damage(fragment, Damage::HeaderByte).await;
        }
        let found = census().await;
        assert_eq!((found.fragments_bad, found.fragments_missing, found.fragments_absent), (1 + 4, 2, 0), "{found:?}");
        assert_eq!((found.objects_short, found.objects_lost), (2, 1), "{found:?}");
        assert_eq!((found.stripes, found.objects), (whole.stripes, whole.objects));
        assert_eq!(found.fragments_good, whole.fragments_good - 7);
        assert!(found.is_lossy() && !found.is_whole());
        let names: Vec<_> = found.lost.iter().map(|lost| lost.key.clone()).collect();
        assert_eq!(names, ["object/014"]);
    });
    // The scrub repairs what can be, tells what cannot, and touches none of that.
    run.scrub = 1 << 30;
    run.run(async |_, _| {
        scrubbed().await;
        let status = store::heal_status();
        assert_eq!(status.stripes_lost, 1, "{status:?}");
        assert!(!status.is_whole());
        let left = census().await;
        assert_eq!((left.fragments_bad, left.fragments_missing, left.objects_lost), (4, 0, 1), "{left:?}");
    });
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
        rebuilt().await;
        let found = census().await;
        assert!(found.is_whole(), "{found:?}");
        check_all(&store, bucket, 0..OBJECTS).await;
        store::audit().await.expect("nothing is counted wrong");
    });
    let found = run.run(async |_, _| census().await);
    assert!(found.is_whole(), "after a restart: {found:?}");
}

/// Adds a seventh drive, so that a lost slot has somewhere to go.
async fn add_seventh(store: Store, dir: PathBuf) {
    store.add_drive(dir).await.expect("an empty directory is taken in");
}

fn with_spare(seed: u64) -> Run {
    let mut run = Run::new(seed, 6);
    run.run(fill);
    let dir = PathBuf::from("/heal-d6");
    add_drive(&mut run.world, &run.tables, &dir);
    let added = dir.clone();
    run.run(async move |store, _| add_seventh(store, added).await);
    run.dirs.push(dir);
    run
}

#[test]
fn a_lost_drive_is_rebuilt_on_another_and_then_two_more_can_be_lost() {
    for seed in 1..=4 {
        let mut run = with_spare(seed);
        let first = (seed % 6) as usize;
        run.remove(first);
        run.run(async |store, bucket| {
            rebuilt().await;
            let found = census().await;
            assert!(found.is_whole(), "{found:?}");
            check_all(&store, bucket, 0..OBJECTS).await;
            store::audit().await.expect("nothing is counted wrong");
        });
        run.remove((first + 1) % 6);
        run.remove((first + 2) % 6);
        run.run(async |store, bucket| {
            check_all(&store, bucket, 0..OBJECTS).await;
            let found = census().await;
            assert!(!found.is_lossy(), "{found:?}");
        });
    }
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
    add_drive(&mut run.world, &run.tables, &added);
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

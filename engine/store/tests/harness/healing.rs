//! A simulated process with a store that heals, and what is done to it.

use std::path::PathBuf;
use std::time::Duration;

use hafiz_store as store;
use hafiz_store::{Census, CommitPut, Config, PlacedFragment, ReadError, Store};
use rt::file::{File, OpenOptions};
use rt::sim::{DriveConfig, SimConfig, Stop, World};
use types::{Attributes, BucketId, BucketName, Etag, ObjectKey, WriteCondition};

/// Virtual time after which a step counts as hung.
pub(crate) const LIMIT: Duration = Duration::from_secs(600);
/// How often a test looks whether healing has come as far as it waits for.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);
pub(crate) const DRIVE_BYTES: u64 = 1 << 30;

pub(crate) struct Run {
    pub(crate) world: World,
    pub(crate) tables: tempfile::TempDir,
    pub(crate) dirs: Vec<PathBuf>,
    pub(crate) scrub: u64,
    pub(crate) rebuild: u64,
    /// Flush and reclaim all the time.
    pub(crate) hurried: bool,
    pub(crate) log_slot_bytes: u64,
    pub(crate) accept_missing: bool,
    pub(crate) body_cache_bytes: u64,
    pub(crate) data_slot_bytes: u64,
}

impl Run {
    pub(crate) fn new(seed: u64, drives: usize) -> Run {
        Run::with_capacity(seed, drives, DRIVE_BYTES)
    }

    pub(crate) fn with_capacity(seed: u64, drives: usize, capacity_bytes: u64) -> Run {
        Run::with_drives(seed, drives, DriveConfig { capacity_bytes, ..DriveConfig::default() }, SimConfig::default())
    }

    pub(crate) fn with_drives(seed: u64, drives: usize, config: DriveConfig, world: SimConfig) -> Run {
        let mut world = World::new(seed, SimConfig { buffers_bytes_per_shard: 64 << 20, ..world });
        let tables = tempfile::tempdir_in("/dev/shm").expect("a directory for the tables");
        std::fs::create_dir(tables.path().join("away")).expect("a directory for tables of absent drives");
        let dirs: Vec<PathBuf> = (0..drives).map(|n| PathBuf::from(format!("/heal-d{n}"))).collect();
        for dir in &dirs {
            add_drive_of(&mut world, &tables, dir, config.clone());
        }
        Run {
            world,
            tables,
            dirs,
            scrub: 0,
            rebuild: 0,
            hurried: true,
            log_slot_bytes: 512 << 10,
            accept_missing: false,
            body_cache_bytes: 1 << 20,
            data_slot_bytes: 4 << 20,
        }
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            log_slot_bytes: Some(self.log_slot_bytes),
            data_slot_bytes: Some(self.data_slot_bytes),
            upkeep_every: self.hurried.then_some(Duration::from_millis(20)),
            partitions: 4,
            memory_bytes: 32 << 20,
            body_cache_bytes: self.body_cache_bytes,
            index_root: Some(self.tables.path().to_owned()),
            scrub_bytes_per_second: self.scrub,
            rebuild_bytes_per_second: self.rebuild,
            accept_missing: self.accept_missing,
            ..Config::new(self.dirs.clone())
        }
    }

    /// Runs one process to the end of `main` and closes the store.
    pub(crate) fn run<T: 'static>(&mut self, main: impl AsyncFnOnce(Store, BucketId) -> T + 'static) -> T {
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
    pub(crate) fn run_and_crash(&mut self, operations: u64, main: impl AsyncFnOnce(Store, BucketId) + 'static) -> bool {
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

    /// Drives that hold a copy of a partition's tables.
    pub(crate) fn table_holders(&self, partition: usize) -> Vec<usize> {
        let is_there = |drive: &usize| self.table_dir(*drive, partition).join("current").exists();
        (0..self.dirs.len()).filter(is_there).collect()
    }

    pub(crate) fn table_dir(&self, drive: usize, partition: usize) -> PathBuf {
        let name = self.dirs[drive].file_name().expect("a drive has a name");
        self.tables.path().join(name).join(partition.to_string())
    }

    /// Three drives without which a copy of all tables is left.
    pub(crate) fn three_drives(&self, from: usize) -> [usize; 3] {
        let count = self.dirs.len();
        let all = (0..count).flat_map(|a| (a + 1..count).flat_map(move |b| (b + 1..count).map(move |c| [a, b, c])));
        let fit: Vec<[usize; 3]> = all
            .filter(|three| (0..4).all(|id| self.table_holders(id).iter().any(|drive| !three.contains(drive))))
            .collect();
        fit[from % fit.len()]
    }

    /// Where the tables of a drive lie.
    pub(crate) fn tables_of(&self, drive: usize) -> PathBuf {
        self.tables.path().join(self.dirs[drive].file_name().expect("a drive has a name"))
    }

    pub(crate) fn remove(&mut self, drive: usize) {
        self.world.faults(&self.dirs[drive], |faults| faults.removed = true);
        let name = self.dirs[drive].file_name().expect("a drive has a name").to_owned();
        let away = self.tables.path().join("away").join(&name);
        std::fs::rename(self.tables.path().join(name), away).expect("the tables go with their drive");
    }
}

pub(crate) fn add_drive(world: &mut World, tables: &tempfile::TempDir, dir: &PathBuf, capacity_bytes: u64) {
    add_drive_of(world, tables, dir, DriveConfig { capacity_bytes, ..DriveConfig::default() });
}

pub(crate) fn add_drive_of(world: &mut World, tables: &tempfile::TempDir, dir: &PathBuf, config: DriveConfig) {
    world.add_drive(dir, config);
    let name = dir.file_name().expect("a drive has a name");
    std::fs::create_dir(tables.path().join(name)).expect("a directory for the tables of a drive");
}

pub(crate) async fn open(config: Config) -> (Store, BucketId) {
    store::open(config).await.expect("the store opens");
    let store = store::here();
    let name = BucketName::parse("bucket").expect("a valid name");
    let bucket = match store.bucket(&name) {
        Some(bucket) => bucket.id,
        None => store.create_bucket(&name, Vec::new()).await.expect("a bucket is made").id,
    };
    (store, bucket)
}

pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
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
pub(crate) const OBJECTS: u64 = 40;

pub(crate) fn len_of(n: u64) -> usize {
    [300, 9_000, 30_000, 150_000, 2_500_000][(n % 5) as usize] + n as usize
}

pub(crate) fn key(n: u64) -> ObjectKey {
    ObjectKey::parse(&format!("object/{n:03}")).expect("a valid key")
}

pub(crate) async fn put(store: &Store, bucket: BucketId, n: u64) {
    let content = bytes(n, len_of(n));
    let mut put = store.put(Some(content.len() as u64));
    put.write(&content).await.expect("there is room");
    let body = put.finish().await.expect("drives take it");
    let (attributes, condition) = (Attributes::new(), WriteCondition::default());
    let commit = CommitPut { bucket, key: key(n), body, etag: Etag::from_md5([0; 16]), attributes, condition };
    store.commit_put(commit).await.expect("it is committed");
}

pub(crate) async fn fill(store: Store, bucket: BucketId) {
    for n in 0..OBJECTS {
        put(&store, bucket, n).await;
    }
}

pub(crate) async fn read(store: &Store, bucket: BucketId, n: u64) -> Result<Vec<u8>, ReadError> {
    let record = store.head(bucket, &key(n)).await.map_err(ReadError::Failed)?;
    let mut get = store.read(&record, 0..record.size());
    let mut content = Vec::new();
    while let Some(window) = get.next().await {
        content.extend_from_slice(&window?);
    }
    Ok(content)
}

pub(crate) async fn check_all(store: &Store, bucket: BucketId, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        assert!(read(store, bucket, n).await.expect("it can be read") == bytes(n, len_of(n)), "object {n}");
    }
}

pub(crate) async fn census() -> Census {
    store::verify(|_| {}).await.expect("the index can be read")
}

pub(crate) async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if done() {
            return;
        }
        rt::time::sleep(LOOK_EVERY).await;
    }
    panic!("{what}: {:?}", store::heal_status());
}

pub(crate) async fn rebuilt() {
    until("rebuild", || store::heal_status().slots_missing == 0).await;
}

/// Waits until every slot is there; then all that was put is, all of its fragments, and what is counted.
pub(crate) async fn check_rebuilt(store: &Store, bucket: BucketId) {
    rebuilt().await;
    let found = census().await;
    assert!(found.is_whole(), "{found:?}");
    check_all(store, bucket, 0..OBJECTS).await;
    store::audit().await.expect("nothing is counted wrong");
}

pub(crate) async fn scrubbed() {
    let rounds = store::heal_status().rounds;
    // The round under way may have passed what was planted.
    until("scrub", || store::heal_status().rounds >= rounds + 2).await;
}

/// Where the fragments of an object lie.
pub(crate) async fn placed(store: &Store, bucket: BucketId, n: u64) -> Vec<PlacedFragment> {
    let record = store.head(bucket, &key(n)).await.expect("it is there");
    store::placed_fragments(&record).await.expect("it has stripes")
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Damage {
    PayloadByte,
    HeaderByte,
    Zeroed,
}

pub(crate) async fn damage(fragment: &PlacedFragment, how: Damage) {
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

/// Adds a seventh drive, so that a lost slot has somewhere to go.
pub(crate) async fn add_seventh(store: Store, dir: PathBuf) {
    store.add_drive(dir).await.expect("an empty directory is taken in");
}

pub(crate) fn with_spare(seed: u64) -> Run {
    let mut run = Run::new(seed, 6);
    run.run(fill);
    let dir = PathBuf::from("/heal-d6");
    add_drive(&mut run.world, &run.tables, &dir, DRIVE_BYTES);
    let added = dir.clone();
    run.run(async move |store, _| add_seventh(store, added).await);
    run.dirs.push(dir);
    run
}

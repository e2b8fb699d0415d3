//! The whole store in the simulated world: crashes at any operation, restarts with other drives there, faults.
//!
//! Clients inside the process write values that say what they are and keep a model of what was acknowledged. After each
//! restart every key must hold its acknowledged value or one of those that were under way when the process ended.
//!
//! `HAFIZ_SIM_SEEDS` (how many) and `HAFIZ_SIM_FIRST` (from which on) choose other seeds; a seed replays bit for bit.
#![cfg(feature = "sim")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use hafiz_store as store;
use hafiz_store::{CommitPut, Config, Error, List, ReadError, Store};
use rt::sim::{DriveConfig, Fault, SimConfig, Stop, World};
use types::{Attributes, BucketId, BucketName, DeleteCondition, Etag, ObjectKey, WriteCondition};

const SEEDS: u64 = 100;
const SHARDS: u16 = 2;
const CLIENTS: usize = 4;
const KEYS_PER_CLIENT: usize = 8;
/// Virtual time after which a step of a seed counts as hung.
const LIMIT: Duration = Duration::from_secs(120);
const DRIVE_BYTES: u64 = 1 << 30;

/// A value: what its bytes are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Value {
    id: u64,
    len: usize,
}

impl Value {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len + 16);
        let mut state = self.id | 1;
        bytes.extend(self.id.to_le_bytes());
        while bytes.len() < self.len {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend(state.to_le_bytes());
        }
        bytes.truncate(self.len);
        bytes
    }
}

/// What is known of one key.
#[derive(Clone, Debug, Default)]
struct Known {
    acknowledged: Option<Value>,
    /// Attempts whose outcome is not known.
    open: Vec<Option<Value>>,
}

type Model = Rc<RefCell<BTreeMap<String, Known>>>;

#[derive(Default)]
struct Progress {
    bucket: Option<BucketId>,
    /// Of this start: the store is open and everything was checked.
    verified: bool,
    refused: Option<String>,
    acknowledged: u64,
}

struct Run {
    seed: u64,
    world: World,
    tables: tempfile::TempDir,
    dirs: Vec<PathBuf>,
    model: Model,
    progress: Rc<RefCell<Progress>>,
    accept_missing: bool,
}

impl Run {
    fn new(seed: u64, drives: usize) -> Run {
        let mut world = World::new(seed, SimConfig { buffers_bytes_per_shard: 64 << 20, ..SimConfig::default() });
        let dirs: Vec<PathBuf> = (0..drives).map(|i| PathBuf::from(format!("/sim-d{i}"))).collect();
        for dir in &dirs {
            world.add_drive(dir, DriveConfig { capacity_bytes: DRIVE_BYTES, ..DriveConfig::default() });
        }
        let tables = tempfile::tempdir_in("/dev/shm").expect("a directory for the tables");
        std::fs::create_dir(tables.path().join("away")).expect("a directory for tables of absent drives");
        let (model, progress) = Default::default();
        Run { seed, world, tables, dirs, model, progress, accept_missing: false }
    }

    fn config(&self) -> Config {
        Config {
            log_slot_bytes: Some(4 << 20),
            data_slot_bytes: Some(32 << 20),
            partitions: 4,
            memory_bytes: 32 << 20,
            body_cache_bytes: 1 << 20,
            accept_missing: self.accept_missing,
            index_root: Some(self.tables.path().to_owned()),
            ..Config::new(self.dirs.clone())
        }
    }

    /// Boots a process: it opens the store, checks every key, then its clients write until it ends.
    fn start(&mut self) {
        self.progress.borrow_mut().verified = false;
        self.progress.borrow_mut().refused = None;
        let (config, model, progress, seed) = (self.config(), self.model.clone(), self.progress.clone(), self.seed);
        self.world.start(SHARDS, move |shard| {
            let (config, model, progress) = (config.clone(), model.clone(), progress.clone());
            Box::pin(async move {
                if shard != rt::ShardId(0) {
                    return;
                }
                if let Err(error) = store::open(config).await {
                    progress.borrow_mut().refused = Some(error.to_string());
                    return;
                }
                let store = store::here();
                let bucket = match store.bucket(&bucket_name()) {
                    Some(bucket) => bucket.id,
                    None => {
                        assert!(progress.borrow().bucket.is_none(), "seed {seed}: an acknowledged bucket is lost");
                        match store.create_bucket(&bucket_name(), Vec::new()).await {
                            Ok(bucket) => bucket.id,
                            Err(error) => {
                                progress.borrow_mut().refused = Some(error.to_string());
                                return;
                            }
                        }
                    }
                };
                progress.borrow_mut().bucket = Some(bucket);
                verify(seed, &store, bucket, &model).await;
                progress.borrow_mut().verified = true;
                for client in 0..CLIENTS {
                    drop(rt::spawn(write(store.clone(), bucket, client, model.clone(), progress.clone())));
                }
            })
        });
    }

    /// Boots, and crashes at one of the next operations on the drives.
    fn start_and_crash(&mut self, operations_max: u64) {
        self.start();
        let count = 1 + self.world.random() % operations_max;
        self.world.crash_at_io(count);
        let stop = self.world.run_until(|| false, LIMIT);
        if stop != Stop::Crashed {
            self.fail_unless_refused(stop);
            self.world.crash();
        }
        store::forget_all();
    }

    /// Boots, checks everything, lets the clients write for a while and ends the process by a crash.
    fn start_and_verify(&mut self, write_for: Duration) {
        self.start();
        let progress = self.progress.clone();
        let stop = self.world.run_until(|| progress.borrow().verified || progress.borrow().refused.is_some(), LIMIT);
        let refused = self.progress.borrow().refused.clone();
        assert!(self.progress.borrow().verified, "seed {}: {stop:?}, {refused:?}", self.seed);
        self.world.run_for(write_for);
        self.world.crash();
        store::forget_all();
    }

    fn fail_unless_refused(&self, stop: Stop) {
        let progress = self.progress.borrow();
        assert!(progress.verified || progress.refused.is_some(), "seed {}: hung: {stop:?}", self.seed);
    }

    /// Runs until some more commits were acknowledged.
    fn goes_on(&mut self, when: &str) {
        let wanted = self.progress.borrow().acknowledged + 20;
        let progress = self.progress.clone();
        let stop = self.world.run_until(|| progress.borrow().acknowledged >= wanted, LIMIT);
        assert!(stop == Stop::Condition, "seed {}: writes go on {when}: {stop:?}", self.seed);
    }

    fn remove(&mut self, drive: usize) {
        self.world.faults(&self.dirs[drive], |faults| faults.removed = true);
        let (here, away) = self.table_dirs(drive);
        if here.exists() {
            std::fs::rename(here, away).expect("the tables go with their drive");
        }
    }

    fn bring_back(&mut self, drive: usize) {
        self.world.faults(&self.dirs[drive], |faults| faults.removed = false);
        let (here, away) = self.table_dirs(drive);
        if away.exists() {
            std::fs::rename(away, here).expect("the tables come with their drive");
        }
    }

    fn table_dirs(&self, drive: usize) -> (PathBuf, PathBuf) {
        let name = self.dirs[drive].file_name().expect("a drive has a name");
        (self.tables.path().join(name), self.tables.path().join("away").join(name))
    }
}

fn bucket_name() -> BucketName {
    BucketName::parse("bucket").expect("a valid name")
}

fn key_name(client: usize, key: usize) -> String {
    format!("client{client}/key{key}")
}

fn etag(value: Value) -> Etag {
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&value.id.to_le_bytes());
    digest[8..].copy_from_slice(&(value.len as u64).to_le_bytes());
    Etag::from_md5(digest)
}

fn random_len() -> usize {
    let random = rt::random::u64();
    match random % 10 {
        0 => 8,
        1..=6 => 8 + (random >> 8) as usize % 8_000,
        7 | 8 => 33_000 + (random >> 8) as usize % 200_000,
        _ => 1_000_000 + (random >> 8) as usize % 2_000_000,
    }
}

/// One client: puts and deletes of its own keys, one after another, for as long as the process lives.
async fn write(store: Store, bucket: BucketId, client: usize, model: Model, progress: Rc<RefCell<Progress>>) {
    loop {
        let name = key_name(client, (rt::random::u64() % KEYS_PER_CLIENT as u64) as usize);
        let key = ObjectKey::parse(&name).expect("a valid key");
        let next = (rt::random::u64() % 5 != 0).then(|| Value { id: rt::random::u64() | 1 << 63, len: random_len() });
        model.borrow_mut().entry(name.clone()).or_default().open.push(next);
        let result = match next {
            Some(value) => put(&store, bucket, key, value).await,
            None => store.delete(bucket, &key, DeleteCondition::default()).await.map(|_| ()),
        };
        match result {
            Ok(()) => {
                let known = Known { acknowledged: next, open: Vec::new() };
                model.borrow_mut().insert(name, known);
                progress.borrow_mut().acknowledged += 1;
            }
            Err(Error::Busy | Error::Full) => {
                model.borrow_mut().get_mut(&name).expect("entered above").open.pop();
                rt::time::sleep(Duration::from_millis(5)).await;
            }
            Err(_) => rt::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

async fn put(store: &Store, bucket: BucketId, key: ObjectKey, value: Value) -> Result<(), Error> {
    let expected = (rt::random::u64() % 4 != 0).then_some(value.len as u64);
    let mut put = store.put(expected);
    put.write(&value.bytes()).await?;
    let body = put.finish().await?;
    let (etag, attributes, condition) = (etag(value), Attributes::new(), WriteCondition::default());
    store.commit_put(CommitPut { bucket, key, body, etag, attributes, condition }).await.map(|_| ())
}

/// Every key holds what was acknowledged or what was under way; listing and usage agree with the keys.
async fn verify(seed: u64, store: &Store, bucket: BucketId, model: &Model) {
    let names: Vec<String> = model.borrow().keys().cloned().collect();
    let (mut present, mut bytes) = (Vec::new(), 0);
    for name in names {
        let known = model.borrow()[&name].clone();
        let found = read(store, bucket, &name).await.unwrap_or_else(|error| {
            panic!("seed {seed}: {name}: {error:?}; known {known:?}");
        });
        let legal = found == known.acknowledged || known.open.contains(&found);
        assert!(legal, "seed {seed}: {name} holds {found:?}, known {known:?}");
        model.borrow_mut().insert(name.clone(), Known { acknowledged: found, open: Vec::new() });
        if let Some(value) = found {
            present.push(name);
            bytes += value.len as u64;
        }
    }
    let page = store.list(bucket, List { max: 1000, ..List::default() }).await.expect("the bucket can be listed");
    let listed: Vec<_> = page.entries.iter().map(|entry| entry.name().to_owned()).collect();
    assert_eq!(listed, present, "seed {seed}: the listing");
    let usage = store.usage(bucket).await.expect("counted");
    assert_eq!((usage.objects, usage.bytes), (present.len() as u64, bytes), "seed {seed}: the usage");
}

async fn read(store: &Store, bucket: BucketId, name: &str) -> Result<Option<Value>, ReadError> {
    let key = ObjectKey::parse(name).expect("a valid key");
    let record = match store.head(bucket, &key).await {
        Ok(record) => record,
        Err(Error::NotFound) => return Ok(None),
        Err(error) => return Err(ReadError::Failed(error)),
    };
    let mut get = store.read(&record, 0..record.size());
    let mut bytes = Vec::new();
    while let Some(window) = get.next().await {
        bytes.extend_from_slice(&window?);
    }
    let id = bytes.first_chunk::<8>().map(|id| u64::from_le_bytes(*id)).expect("a value begins with its id");
    let value = Value { id, len: bytes.len() };
    assert_eq!(record.etag, etag(value), "{name}");
    assert!(bytes == value.bytes(), "{name}: wrong bytes");
    Ok(Some(value))
}

fn for_each_seed(default_count: u64, run: impl Fn(u64)) {
    let number = |name: &str, default: u64| match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name} is a number")),
        Err(_) => default,
    };
    let first = number("HAFIZ_SIM_FIRST", 1);
    for seed in first..first + number("HAFIZ_SIM_SEEDS", default_count) {
        run(seed);
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_crashes_and_restarts_with_other_drives() {
    for_each_seed(SEEDS, |seed| {
        let mut run = Run::new(seed, 6);
        run.start_and_crash(400);
        // Recovery is interrupted, twice.
        run.start_and_crash(60);
        run.start_and_crash(60);
        let first = (run.world.random() % 6) as usize;
        run.remove(first);
        run.start_and_verify(Duration::from_millis(40));
        // The one that was away is back, as a stranger; another one is gone.
        run.bring_back(first);
        let second = (first + 1 + (run.world.random() % 5) as usize) % 6;
        run.remove(second);
        run.start_and_crash(300);
        run.start_and_verify(Duration::from_millis(20));
        run.start_and_verify(Duration::ZERO);
        assert!(run.progress.borrow().acknowledged > 0, "seed {seed}: nothing was written");
    });
}

#[test]
fn a_seed_replays_bit_for_bit() {
    let hash = || {
        let mut run = Run::new(7, 4);
        run.start_and_crash(300);
        run.start_and_verify(Duration::from_millis(10));
        run.world.trace_hash()
    };
    assert_eq!(hash(), hash());
}

#[test]
fn drives_that_die_while_running_cost_nothing_acknowledged() {
    for_each_seed(SEEDS / 2, |seed| {
        let mut run = Run::new(seed, 6);
        run.start_and_verify(Duration::from_millis(10));
        run.start();
        let progress = run.progress.clone();
        run.world.run_until(|| progress.borrow().verified, LIMIT);
        for _ in 0..2 {
            run.world.run_for(Duration::from_millis(10));
            let drive = (run.world.random() % 6) as usize;
            run.world.faults(run.dirs[drive].clone(), |faults| faults.dead = true);
        }
        run.world.run_for(Duration::from_millis(30));
        run.world.crash();
        store::forget_all();
        // The dead ones stay dead.
        run.start_and_verify(Duration::from_millis(10));
        run.start_and_verify(Duration::ZERO);
        assert!(run.world.fault_count(Fault::Dead) > 0, "seed {seed}: no dead drive was used");
    });
}

#[test]
fn wrong_bytes_on_up_to_parity_drives_are_never_returned() {
    for_each_seed(SEEDS / 2, |seed| {
        let mut run = Run::new(seed, 6);
        run.start_and_verify(Duration::from_millis(40));
        for drive in [seed % 6, (seed + 1 + seed / 6 % 5) % 6] {
            let dir = run.dirs[drive as usize].join("volumes");
            run.world.flip_bits(dir, 200);
        }
        run.start_and_verify(Duration::ZERO);
        assert!(run.world.fault_count(Fault::BitFlipAtRest) > 0, "seed {seed}: no bit was flipped");
    });
}

#[test]
fn a_full_drive_refuses_and_loses_nothing() {
    for_each_seed(SEEDS / 4, |seed| {
        let mut run = Run::new(seed, 3);
        run.start_and_verify(Duration::from_millis(10));
        run.start();
        let progress = run.progress.clone();
        run.world.run_until(|| progress.borrow().verified, LIMIT);
        for dir in run.dirs.clone() {
            run.world.faults(dir, |faults| faults.no_space = true);
        }
        run.world.run_for(Duration::from_millis(50));
        for dir in run.dirs.clone() {
            run.world.faults(dir, |faults| faults.no_space = false);
        }
        run.goes_on("when there is room again");
        run.world.crash();
        store::forget_all();
        run.start_and_verify(Duration::ZERO);
    });
}

#[test]
fn slow_and_hanging_drives_stop_nobody() {
    for_each_seed(SEEDS / 4, |seed| {
        let mut run = Run::new(seed, 6);
        run.start_and_verify(Duration::from_millis(10));
        run.start();
        let progress = run.progress.clone();
        run.world.run_until(|| progress.borrow().verified, LIMIT);
        let (slow, hanging) = ((seed % 6) as usize, ((seed + 1) % 6) as usize);
        run.world.faults(run.dirs[slow].clone(), |faults| faults.slow_factor = 100);
        run.world.faults(run.dirs[hanging].clone(), |faults| faults.hang = true);
        run.goes_on("beside the slow ones");
        run.world.crash();
        store::forget_all();
        for drive in [slow, hanging] {
            run.world.faults(run.dirs[drive].clone(), |faults| {
                faults.slow_factor = 1;
                faults.hang = false;
            });
        }
        run.start_and_verify(Duration::ZERO);
    });
}

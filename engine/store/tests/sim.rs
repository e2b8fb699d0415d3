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
use hafiz_store::{CommitPart, CommitPut, Complete, Config, Error, List, ReadError, Store};
use rt::sim::{DriveConfig, Fault, SimConfig, Stop, World};
use types::{Attributes, BucketId, BucketName, DeleteCondition, Etag, ObjectKey, PartNumber, WriteCondition};

const SEEDS: u64 = 100;
const SHARDS: u16 = 2;
const CLIENTS: usize = 4;
const KEYS_PER_CLIENT: usize = 8;
/// Keys that all clients write at the same time.
const SHARED_KEYS: u64 = 2;
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
    /// What clients have done, by kind.
    done: BTreeMap<&'static str, u64>,
}

/// What clients do after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Workload {
    /// Puts, copies, uploads and deletes of few keys.
    Mixed,
    /// Puts of small bodies and deletes: nothing but commits.
    Small,
    /// New keys until the drives are full, then deletes of all of them, then new keys again.
    Fill,
}

struct Run {
    seed: u64,
    world: World,
    tables: tempfile::TempDir,
    dirs: Vec<PathBuf>,
    model: Model,
    progress: Rc<RefCell<Progress>>,
    accept_missing: bool,
    shards: u16,
    workload: Workload,
    log_slot_bytes: u64,
    data_slot_bytes: u64,
    /// Flush and reclaim so often.
    upkeep_every: Option<Duration>,
}

impl Run {
    fn new(seed: u64, drives: usize) -> Run {
        Run::with_capacity(seed, drives, DRIVE_BYTES)
    }

    fn with_capacity(seed: u64, drives: usize, capacity_bytes: u64) -> Run {
        let mut world = World::new(seed, SimConfig { buffers_bytes_per_shard: 64 << 20, ..SimConfig::default() });
        let dirs: Vec<PathBuf> = (0..drives).map(|i| PathBuf::from(format!("/sim-d{i}"))).collect();
        for dir in &dirs {
            world.add_drive(dir, DriveConfig { capacity_bytes, ..DriveConfig::default() });
        }
        let tables = tempfile::tempdir_in("/dev/shm").expect("a directory for the tables");
        std::fs::create_dir(tables.path().join("away")).expect("a directory for tables of absent drives");
        for dir in &dirs {
            let name = dir.file_name().expect("a drive has a name");
            std::fs::create_dir(tables.path().join(name)).expect("a directory for the tables of a drive");
        }
        let (model, progress) = Default::default();
        Run {
            seed,
            world,
            tables,
            dirs,
            model,
            progress,
            accept_missing: false,
            shards: SHARDS,
            workload: Workload::Mixed,
            log_slot_bytes: 4 << 20,
            data_slot_bytes: 32 << 20,
            upkeep_every: None,
        }
    }

    /// Volumes that are soon full, tables flushed and space reclaimed all the time.
    fn hurried(mut self) -> Run {
        self.log_slot_bytes = 256 << 10;
        self.data_slot_bytes = 2 << 20;
        self.upkeep_every = Some(Duration::from_millis(3));
        self
    }

    fn config(&self) -> Config {
        Config {
            log_slot_bytes: Some(self.log_slot_bytes),
            data_slot_bytes: Some(self.data_slot_bytes),
            upkeep_every: self.upkeep_every,
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
        let (shards, workload) = (self.shards, self.workload);
        self.world.start(shards, move |shard| {
            let (config, model, progress) = (config.clone(), model.clone(), progress.clone());
            Box::pin(async move {
                if shard != rt::ShardId(0) {
                    while !progress.borrow().verified {
                        rt::time::sleep(Duration::from_millis(1)).await;
                    }
                    spawn_clients(shard, shards, workload, &model, &progress);
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
                spawn_clients(shard, shards, workload, &model, &progress);
            })
        });
    }

    /// Boots, checks everything, and crashes at one of the next operations on the drives.
    fn serve_and_crash(&mut self, operations_max: u64) {
        self.start_and_wait();
        let count = 1 + self.world.random() % operations_max;
        self.world.crash_at_io(count);
        let stop = self.world.run_until(|| false, LIMIT);
        assert!(stop == Stop::Crashed, "seed {}: {stop:?}", self.seed);
        store::forget_all();
    }

    /// Boots and checks everything.
    fn start_and_wait(&mut self) {
        self.start();
        let progress = self.progress.clone();
        let stop = self.world.run_until(|| progress.borrow().verified || progress.borrow().refused.is_some(), LIMIT);
        let refused = self.progress.borrow().refused.clone();
        assert!(self.progress.borrow().verified, "seed {}: {stop:?}, {refused:?}", self.seed);
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
        self.start_and_wait();
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

    /// Runs until clients have done something so often, since the world began.
    fn until(&mut self, what: &'static str, count: u64) {
        let progress = self.progress.clone();
        let stop = self.world.run_until(|| progress.borrow().count(what) >= count, LIMIT);
        assert!(stop == Stop::Condition, "seed {}: {what}: {stop:?}, {:?}", self.seed, self.progress.borrow().done);
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

impl Progress {
    fn did(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    fn count(&self, what: &'static str) -> u64 {
        self.done.get(what).copied().unwrap_or_default()
    }
}

/// Starts this shard's clients.
fn spawn_clients(shard: rt::ShardId, shards: u16, workload: Workload, model: &Model, progress: &Rc<RefCell<Progress>>) {
    let bucket = progress.borrow().bucket.expect("the bucket was made");
    for client in (0..CLIENTS).filter(|client| client % usize::from(shards) == usize::from(shard.0)) {
        let (store, model, progress) = (store::here(), model.clone(), progress.clone());
        match workload {
            Workload::Mixed => drop(rt::spawn(write(store, bucket, client, model, progress, true))),
            Workload::Small => drop(rt::spawn(write(store, bucket, client, model, progress, false))),
            Workload::Fill if client == 0 => drop(rt::spawn(fill(store, bucket, model, progress))),
            Workload::Fill => {}
        }
    }
}

/// What is known of an attempt that failed.
enum Failed {
    /// Nothing happened.
    Before,
    Unknown,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        match error {
            Error::Busy | Error::Full => Failed::Before,
            _ => Failed::Unknown,
        }
    }
}

/// One client: puts, copies, uploads and deletes, one after another, of its own keys and of those that all share, for as
/// long as the process lives.
async fn write(
    store: Store,
    bucket: BucketId,
    client: usize,
    model: Model,
    progress: Rc<RefCell<Progress>>,
    mixed: bool,
) {
    loop {
        let shared = rt::random::u64().is_multiple_of(5);
        let name = match shared {
            true => format!("shared/key{}", rt::random::u64() % SHARED_KEYS),
            false => key_name(client, (rt::random::u64() % KEYS_PER_CLIENT as u64) as usize),
        };
        let key = ObjectKey::parse(&name).expect("a valid key");
        let kind = match rt::random::u64() % 10 {
            0 | 1 => "delete",
            2 | 3 if mixed => "upload",
            4 if mixed => "copy",
            _ => "put",
        };
        let mut next = Some(Value { id: rt::random::u64() | 1 << 63, len: if mixed { random_len() } else { 1000 } });
        if kind == "delete" {
            next = None;
        }
        if kind == "copy" {
            // Of a key that nobody else writes.
            let source = key_name(client, (rt::random::u64() % KEYS_PER_CLIENT as u64) as usize);
            let known = model.borrow().get(&source).cloned().unwrap_or_default();
            match read(&store, bucket, &source).await {
                Ok(Some(value)) => next = Some(value),
                Ok(None) => continue,
                Err(error) => panic!("{source}: {error:?}; known {known:?}"),
            }
            assert!(next == known.acknowledged || known.open.contains(&next), "{source} holds {next:?}: {known:?}");
        }
        model.borrow_mut().entry(name.clone()).or_default().open.push(next);
        let result = match (kind, next) {
            ("upload", Some(value)) => upload(&store, bucket, key, value).await,
            (_, Some(value)) => put(&store, bucket, key, value).await.map_err(Failed::from),
            (_, None) => store.delete(bucket, &key, DeleteCondition::default()).await.map(|_| ()).map_err(Failed::from),
        };
        if !shared {
            // Of a shared key nobody can say which attempt was the last one.
            let mut model = model.borrow_mut();
            let known = model.get_mut(&name).expect("entered above");
            match result {
                Ok(()) => *known = Known { acknowledged: next, open: Vec::new() },
                Err(Failed::Before) => drop(known.open.pop()),
                Err(_) => {}
            }
        }
        match result {
            Ok(()) => {
                let mut progress = progress.borrow_mut();
                progress.acknowledged += 1;
                progress.did(if shared { "shared" } else { kind });
            }
            Err(_) => rt::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Uploads a value in parts; now and then a part is sent twice, or the first attempt at the whole is given up.
async fn upload(store: &Store, bucket: BucketId, key: ObjectKey, value: Value) -> Result<(), Failed> {
    let begin = || store.create_upload(bucket, &key, Attributes::new(), Vec::new());
    let before = |_: Error| Failed::Before;
    let part = async |upload, number: u32, bytes: &[u8]| {
        let mut put = store.put(Some(bytes.len() as u64));
        put.write(bytes).await.map_err(before)?;
        let body = put.finish().await.map_err(before)?;
        let number = PartNumber::new(number).expect("a valid number");
        let (key, md5, checksum) = (key.clone(), [number.value() as u8; 16], Vec::new());
        store.commit_part(CommitPart { bucket, key, upload, number, body, md5, checksum }).await.map_err(before)
    };
    let bytes = value.bytes();
    if rt::random::u64().is_multiple_of(4) {
        let given_up = begin().await.map_err(before)?;
        part(given_up, 1, &bytes[..bytes.len() / 2]).await?;
        store.abort_upload(bucket, &key, given_up).await.map_err(before)?;
    }
    let id = begin().await.map_err(before)?;
    let size = (bytes.len() / (1 + (rt::random::u64() % 4) as usize)).max(1);
    // Long enough for parts to be flushed, moved and replaced before the object takes them.
    let pause = || rt::time::sleep(Duration::from_micros(rt::random::u64() % 8_000));
    for (number, bytes) in (1u32..).zip(bytes.chunks(size)) {
        pause().await;
        if rt::random::u64().is_multiple_of(4) {
            part(id, number, b"something else").await?;
            pause().await;
        }
        part(id, number, bytes).await?;
    }
    pause().await;
    let parts = store.parts(bucket, &key, id, None, 1000).await.map_err(before)?;
    let complete = Complete {
        bucket,
        key: key.clone(),
        upload: id,
        parts: parts.iter().map(|part| (part.number, part.lsn)).collect(),
        etag: etag(value),
        attributes: Attributes::new(),
        condition: WriteCondition::default(),
    };
    store.complete_upload(complete).await.map(|_| ()).map_err(Failed::from)
}

/// Fills the drives, makes room again, and so on.
async fn fill(store: Store, bucket: BucketId, model: Model, progress: Rc<RefCell<Progress>>) {
    loop {
        let mut names: Vec<String> = model.borrow().keys().cloned().collect();
        let full = loop {
            let name = format!("fill/key{:016x}", rt::random::u64());
            let key = ObjectKey::parse(&name).expect("a valid key");
            let value = Value { id: rt::random::u64() | 1 << 63, len: 600_000 };
            model.borrow_mut().entry(name.clone()).or_default().open.push(Some(value));
            match put(&store, bucket, key, value).await {
                Ok(()) => {
                    let known = Known { acknowledged: Some(value), open: Vec::new() };
                    model.borrow_mut().insert(name.clone(), known);
                    names.push(name);
                    progress.borrow_mut().did("put");
                }
                Err(Error::Full) => {
                    model.borrow_mut().remove(&name);
                    if names.len() > 10 {
                        break true;
                    }
                    rt::time::sleep(Duration::from_millis(5)).await;
                }
                Err(_) => rt::time::sleep(Duration::from_millis(5)).await,
            }
        };
        if full {
            progress.borrow_mut().did("filled");
        }
        for name in names {
            let key = ObjectKey::parse(&name).expect("a valid key");
            model.borrow_mut().get_mut(&name).expect("it was put").open.push(None);
            while store.delete(bucket, &key, DeleteCondition::default()).await.is_err() {
                progress.borrow_mut().did("delete refused");
                rt::time::sleep(Duration::from_millis(5)).await;
            }
            model.borrow_mut().remove(&name);
            progress.borrow_mut().did("delete");
        }
    }
}

async fn put(store: &Store, bucket: BucketId, key: ObjectKey, value: Value) -> Result<(), Error> {
    let expected = (!rt::random::u64().is_multiple_of(4)).then_some(value.len as u64);
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
    store::audit().await.unwrap_or_else(|what| panic!("seed {seed}: {what}"));
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
        if run.progress.borrow().bucket.is_none() {
            // Nothing is formed with a drive missing.
            run.start_and_verify(Duration::ZERO);
        }
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
fn a_slow_drive_stops_nobody() {
    for_each_seed(SEEDS / 4, |seed| {
        let mut run = Run::new(seed, 6);
        run.start_and_verify(Duration::from_millis(10));
        run.start_and_wait();
        let slow = (seed % 6) as usize;
        run.world.faults(run.dirs[slow].clone(), |faults| faults.slow_factor = 100);
        run.goes_on("beside the slow one");
        run.world.crash();
        store::forget_all();
        run.world.faults(run.dirs[slow].clone(), |faults| faults.slow_factor = 1);
        run.start_and_verify(Duration::ZERO);
    });
}

/// Bodies that were on their way to a drive when it began to hang wait for it, and so do their clients. Commits move on to
/// a successor without it.
#[test]
fn a_hanging_drive_does_not_stop_commits_and_loses_nothing() {
    for_each_seed(SEEDS / 4, |seed| {
        let mut run = Run::new(seed, 6);
        run.start_and_verify(Duration::from_millis(10));
        run.workload = Workload::Small;
        run.start_and_wait();
        let hanging = (seed % 6) as usize;
        run.world.faults(run.dirs[hanging].clone(), |faults| faults.hang = true);
        run.goes_on("beside the hanging one");
        run.world.crash();
        store::forget_all();
        run.world.faults(run.dirs[hanging].clone(), |faults| faults.hang = false);
        run.start_and_verify(Duration::ZERO);
    });
}

/// The value of a counter of the store, of all simulations in this process.
fn counted(name: &str) -> u64 {
    let metrics = telemetry::render();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.trim().parse().expect("a number"))
}

#[test]
fn space_is_reclaimed_under_load_and_nothing_is_lost() {
    let done: RefCell<BTreeMap<&str, u64>> = RefCell::default();
    for_each_seed(SEEDS / 4, |seed| {
        let mut run = Run::new(seed, 4 + (seed % 3) as usize).hurried();
        run.start_and_verify(Duration::from_millis(120));
        // Who owns which partition changes with the number of shards.
        for _ in 0..2 {
            run.shards = 1 + (run.world.random() % 4) as u16;
            run.serve_and_crash(2_000);
        }
        run.shards = 1 + (run.world.random() % 4) as u16;
        run.start_and_verify(Duration::from_millis(60));
        run.start_and_verify(Duration::ZERO);
        for (what, count) in &run.progress.borrow().done {
            *done.borrow_mut().entry(what).or_default() += count;
        }
    });
    for what in ["put", "delete", "upload", "copy", "shared"] {
        assert!(done.borrow().contains_key(what), "{what} never happened");
    }
    for what in ["hafiz_volumes_removed_total", "hafiz_punched_bytes_total", "hafiz_compacted_bytes_total"] {
        assert!(counted(what) > 0, "{what} never happened");
    }
}

#[test]
fn a_drive_that_goes_while_space_is_reclaimed_costs_nothing() {
    for_each_seed(SEEDS / 4, |seed| {
        let mut run = Run::new(seed, 6).hurried();
        run.start_and_wait();
        run.world.run_for(Duration::from_millis(40));
        let first = (seed % 6) as usize;
        run.world.faults(run.dirs[first].clone(), |faults| faults.dead = true);
        run.world.run_for(Duration::from_millis(60));
        run.world.crash();
        store::forget_all();
        // The dead one stays away, and another one is gone as well.
        run.remove(first);
        run.remove((first + 1 + (seed / 6 % 5) as usize) % 6);
        run.start_and_verify(Duration::from_millis(60));
        run.serve_and_crash(1_000);
        run.start_and_verify(Duration::ZERO);
    });
}

#[test]
fn full_drives_take_deletes_and_then_bodies_again_without_a_restart() {
    for_each_seed(SEEDS / 20, |seed| {
        let mut run = Run::with_capacity(seed, 3, 64 << 20).hurried();
        run.workload = Workload::Fill;
        run.start_and_wait();
        run.until("filled", 2);
        run.world.crash();
        store::forget_all();
        run.start_and_wait();
        run.until("filled", 4);
        run.world.crash();
        store::forget_all();
        run.start_and_verify(Duration::ZERO);
    });
}

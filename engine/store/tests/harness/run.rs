//! A simulated process with a store in it, what its clients know, and how it is started, crashed and started again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use hafiz_store as store;
use hafiz_store::{Config, DriveState};
use rt::sim::{DriveConfig, SimConfig, Stop, World};
use types::BucketId;

use super::clients::{bucket_name, spawn_clients, verify};

pub(crate) const SHARDS: u16 = 2;
pub(crate) const CLIENTS: usize = 4;
pub(crate) const KEYS_PER_CLIENT: usize = 8;
/// Keys that all clients write at the same time.
pub(crate) const SHARED_KEYS: u64 = 2;
/// Virtual time after which a step of a seed counts as hung.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
pub(crate) const DRIVE_BYTES: u64 = 1 << 30;

/// A value: what its bytes are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) id: u64,
    pub(crate) len: usize,
}

impl Value {
    /// The id, then xorshift's words.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        let (mut state, mut word) = (self.id | 1, self.id);
        let (words, rest) = bytes.as_chunks_mut();
        for place in words {
            *place = word.to_le_bytes();
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word = state;
        }
        rest.copy_from_slice(&word.to_le_bytes()[..rest.len()]);
        bytes
    }
}

/// What is known of one key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) acknowledged: Option<Value>,
    /// Attempts whose outcome is not known.
    pub(crate) open: Vec<Option<Value>>,
}

pub(crate) type Model = Rc<RefCell<BTreeMap<String, Known>>>;

#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) bucket: Option<BucketId>,
    /// Of this start: the store is open and everything was checked.
    pub(crate) verified: bool,
    pub(crate) refused: Option<String>,
    /// The store is being closed: who is refused goes away.
    pub(crate) is_closing: bool,
    /// Directories of the drives that this start uses.
    pub(crate) used: Vec<PathBuf>,
    pub(crate) acknowledged: u64,
    /// How long each operation of calm clients took.
    pub(crate) took: Vec<Duration>,
    /// What clients have done, by kind.
    pub(crate) done: BTreeMap<&'static str, u64>,
}

/// What clients do after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Puts, copies, uploads and deletes of few keys.
    Mixed,
    /// The same with pauses, so that much time can pass; how long each takes is kept.
    Calm,
    /// Puts of small bodies and deletes: nothing but commits.
    Small,
    /// Puts of large bodies, by all clients at about the same time, then nothing for a while: nothing makes up for a flush
    /// that was left out.
    Bodies,
    /// Small bodies that are deleted at once, between few that stay for a while: volumes with hardly anything live in them.
    Brief,
    /// New keys until the drives are full, then deletes of all of them, then new keys again.
    Fill,
}

pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) world: World,
    pub(crate) tables: tempfile::TempDir,
    pub(crate) dirs: Vec<PathBuf>,
    pub(crate) model: Model,
    pub(crate) progress: Rc<RefCell<Progress>>,
    pub(crate) accept_missing: bool,
    pub(crate) shards: u16,
    pub(crate) workload: Workload,
    pub(crate) log_slot_bytes: u64,
    pub(crate) data_slot_bytes: u64,
    /// Flush and reclaim so often.
    pub(crate) upkeep_every: Option<Duration>,
    /// So long after everything was checked the store is closed, while its clients go on.
    pub(crate) closes_after: Option<Duration>,
}

impl Run {
    pub(crate) fn new(seed: u64, drives: usize) -> Run {
        Run::with_capacity(seed, drives, DRIVE_BYTES)
    }

    pub(crate) fn with_capacity(seed: u64, drives: usize, capacity_bytes: u64) -> Run {
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
            closes_after: None,
        }
    }

    /// Volumes that are soon full, tables flushed and space reclaimed all the time.
    pub(crate) fn hurried(mut self) -> Run {
        self.log_slot_bytes = 256 << 10;
        self.data_slot_bytes = 2 << 20;
        self.upkeep_every = Some(Duration::from_millis(3));
        self
    }

    pub(crate) fn config(&self) -> Config {
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
    pub(crate) fn start(&mut self) {
        self.progress.borrow_mut().verified = false;
        self.progress.borrow_mut().is_closing = false;
        self.progress.borrow_mut().refused = None;
        let (config, model, progress, seed) = (self.config(), self.model.clone(), self.progress.clone(), self.seed);
        let (shards, workload, closes_after) = (self.shards, self.workload, self.closes_after);
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
                let is_used = |state| matches!(state, DriveState::In | DriveState::Suspect);
                let used = store.drives().into_iter().filter(|drive| is_used(drive.state)).map(|drive| drive.dir);
                progress.borrow_mut().used = used.collect();
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
                if let Some(after) = closes_after {
                    rt::time::sleep(after).await;
                    progress.borrow_mut().is_closing = true;
                    store::close().await;
                    progress.borrow_mut().did("closed");
                }
            })
        });
    }

    /// Boots, checks everything, and crashes at one of the next operations on the drives.
    pub(crate) fn serve_and_crash(&mut self, operations_max: u64) {
        self.start_and_wait();
        let count = 1 + self.world.random() % operations_max;
        self.world.crash_at_io(count);
        let stop = self.world.run_until(|| false, LIMIT);
        assert!(stop == Stop::Crashed, "seed {}: {stop:?}", self.seed);
        store::forget_all();
    }

    /// Boots and checks everything.
    pub(crate) fn start_and_wait(&mut self) {
        self.start();
        let progress = self.progress.clone();
        let stop = self.world.run_until(|| progress.borrow().verified || progress.borrow().refused.is_some(), LIMIT);
        let refused = self.progress.borrow().refused.clone();
        assert!(self.progress.borrow().verified, "seed {}: {stop:?}, {refused:?}", self.seed);
    }

    /// Boots, and crashes at one of the next operations on the drives.
    pub(crate) fn start_and_crash(&mut self, operations_max: u64) {
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
    pub(crate) fn start_and_verify(&mut self, write_for: Duration) {
        self.start_and_wait();
        self.world.run_for(write_for);
        self.world.crash();
        store::forget_all();
    }

    pub(crate) fn fail_unless_refused(&self, stop: Stop) {
        let progress = self.progress.borrow();
        assert!(progress.verified || progress.refused.is_some(), "seed {}: hung: {stop:?}", self.seed);
    }

    /// Runs until some more commits were acknowledged.
    pub(crate) fn goes_on(&mut self, when: &str) {
        let wanted = self.progress.borrow().acknowledged + 20;
        let progress = self.progress.clone();
        let stop = self.world.run_until(|| progress.borrow().acknowledged >= wanted, LIMIT);
        assert!(stop == Stop::Condition, "seed {}: writes go on {when}: {stop:?}", self.seed);
    }

    /// Runs until clients have done something so often, since the world began.
    pub(crate) fn until(&mut self, what: &'static str, count: u64) {
        let progress = self.progress.clone();
        let stop = self.world.run_until(|| progress.borrow().count(what) >= count, LIMIT);
        assert!(stop == Stop::Condition, "seed {}: {what}: {stop:?}, {:?}", self.seed, self.progress.borrow().done);
    }

    pub(crate) fn remove(&mut self, drive: usize) {
        self.world.faults(&self.dirs[drive], |faults| faults.removed = true);
        let (here, away) = self.table_dirs(drive);
        if here.exists() {
            std::fs::rename(here, away).expect("the tables go with their drive");
        }
    }

    pub(crate) fn bring_back(&mut self, drive: usize) {
        self.world.faults(&self.dirs[drive], |faults| faults.removed = false);
        let (here, away) = self.table_dirs(drive);
        if away.exists() {
            std::fs::rename(away, here).expect("the tables come with their drive");
        }
    }

    /// A drive that was away while others went on is a stranger: nothing on it counts.
    pub(crate) fn assert_unused(&self, drive: usize) {
        let used = &self.progress.borrow().used;
        assert!(!used.contains(&self.dirs[drive]), "seed {}: a stale drive is used", self.seed);
    }

    fn table_dirs(&self, drive: usize) -> (PathBuf, PathBuf) {
        let name = self.dirs[drive].file_name().expect("a drive has a name");
        (self.tables.path().join(name), self.tables.path().join("away").join(name))
    }
}

impl Progress {
    pub(crate) fn did(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    pub(crate) fn count(&self, what: &'static str) -> u64 {
        self.done.get(what).copied().unwrap_or_default()
    }
}

/// One seed in so many may miss what its scenario is about, where chance decides what a short time holds.
const UNMET_SHARE: u64 = 4;

thread_local! {
    /// While `for_each_seed` runs: how many of its seeds missed what.
    static UNMET: RefCell<Option<BTreeMap<&'static str, u64>>> = const { RefCell::new(None) };
}

/// Notes whether a seed had what its scenario is about. `for_each_seed` fails when too many had not; a seed that is run by itself
/// must have it.
pub(crate) fn met(seed: u64, what: &'static str, is_met: bool) {
    if is_met {
        return;
    }
    UNMET.with_borrow_mut(|unmet| match unmet {
        Some(unmet) => *unmet.entry(what).or_default() += 1,
        None => panic!("seed {seed} did not have it that {what}"),
    });
}

/// Runs a scenario with so many seeds from 1 on, or with those that the environment asks for: `HAFIZ_SIM_FIRST` and
/// `HAFIZ_SIM_SEEDS` say them themselves, `HAFIZ_SIM_ROUND=n` means as many as without it, after those of the rounds before.
pub(crate) fn for_each_seed(default_count: u64, mut run: impl FnMut(u64)) {
    let number = |name: &str| {
        let value = std::env::var(name).ok()?;
        Some(value.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let first = number("HAFIZ_SIM_FIRST").unwrap_or_else(|| 1 + number("HAFIZ_SIM_ROUND").unwrap_or(0) * default_count);
    let count = number("HAFIZ_SIM_SEEDS").unwrap_or(default_count);
    UNMET.set(Some(BTreeMap::new()));
    for seed in first..first + count {
        run(seed);
    }
    for (what, unmet) in UNMET.take().into_iter().flatten() {
        assert!(unmet <= count / UNMET_SHARE, "{unmet} of {count} seeds from {first} on did not have it that {what}");
    }
    // What tests/sim/run adds up.
    println!("\nseeds: {count} from {first}");
}

//! The store's handle, and how a start brings everything up.
//!
//! Each shard has one `ShardStore`: its log, the partitions it owns, its data writer and reader. A closure that arrives
//! from another shard finds it through `local`: that registry is the only thread-local state, and it is keyed by shard
//! because in simulation all shards share one thread.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rt::ShardId;
use rt::sync::{Permit, Semaphore};
use types::{BucketId, ObjectKey};

use crate::bucket::BucketTable;
use crate::data::Writer;
use crate::drive::{Drive, Op};
use crate::drives;
use crate::error::{Error, Result};
use crate::format::batch::{Ckpt, Entry, Position};
use crate::format::record::{Body, Record};
use crate::get::Get;
use crate::heal;
use crate::ids::{DriveId, Geometry, PartitionId};
use crate::index::{Absent, Caches, TreeError, keys};
use crate::log::{Log, Opening};
use crate::node::{Config, Node, OpenError};
use crate::partition::{Drives, FlushError, Options, Partition, Partitions, Upkeep};
use crate::put::Put;
use crate::read::Reader;
use crate::recovery;
use crate::space::{self, readers::Readers, reserve};

/// Entries that recovery hands to another shard in one message.
const REPLAY_CHUNK: usize = 4_096;

/// Table files that all partitions together keep open.
const TABLE_FILES_MAX: usize = 512;

/// How long the end waits for commits that are on their way: as long as it takes to do without a drive that hangs.
const LOG_AT_END_MAX: Duration = Duration::from_secs(5);
/// How long the end waits for what the reclaimer has under way.
const RECLAIM_AT_END_MAX: Duration = Duration::from_secs(5);
/// How long the end waits for tables to be flushed. What is not only makes the next start longer.
const FLUSH_AT_END_MAX: Duration = Duration::from_secs(60);

thread_local! {
    static SHARDS: RefCell<HashMap<ShardId, Rc<ShardStore>>> = RefCell::default();
}

/// This shard's handle of the store. Cheap to clone; stays on its shard.
#[derive(Clone)]
pub struct Store {
    shard: Rc<ShardStore>,
}

/// What a start found, for whoever watches it.
#[derive(Clone, Debug)]
pub struct Summary {
    pub deployment: crate::DeploymentId,
    pub start: u32,
    /// Of volumes made now.
    pub geometry: Geometry,
    pub drives: usize,
    /// Drives of the deployment that are not there, or were taken out.
    pub drives_missing: usize,
    /// Entries that the tables did not hold yet.
    pub entries_replayed: u64,
    /// Partitions that stay closed for writing, since acknowledged commits in them cannot be read.
    pub partitions_damaged: usize,
}

/// Why a start was refused.
#[derive(Debug)]
pub enum StartError {
    Node(OpenError),
    /// The index of a partition cannot be opened.
    Index {
        partition: PartitionId,
        what: String,
    },
    /// The first page of a log volume cannot be read, nor has another drive one, and changes behind it may be nowhere else.
    Log {
        path: PathBuf,
    },
    Store(Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Node(error) => error.fmt(f),
            StartError::Index { partition, what } => write!(
                f,
                "open partition {}: {}; bring back a drive that has it, put the tables back from a backup with 'hafiz \
                 restore', or take what is left with 'hafiz recover'",
                partition.0,
                what.trim_end_matches(';')
            ),
            StartError::Log { path } => write!(
                f,
                "read log volume {}: its first page is not right, and changes that were acknowledged may be behind it and \
                 nowhere else; put the file back from a copy, or another drive that has the volume, take what is left with \
                 'hafiz recover', or move the file away to go on without what it holds",
                path.display()
            ),
            StartError::Store(error) => write!(f, "recover: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<Error> for StartError {
    fn from(error: Error) -> StartError {
        StartError::Store(error)
    }
}

const CLOSED: Error = Error::Unavailable("the store is closed");

/// This shard's handle. Panics before `open` has returned, and when the store was closed.
pub fn here() -> Store {
    Store { shard: local() }
}

/// What this shard has. Panics before `open` has returned, and when the store was closed.
pub(crate) fn local() -> Rc<ShardStore> {
    let shard = rt::this_shard();
    SHARDS.with_borrow(|shards| shards.get(&shard).cloned()).expect("the store is open")
}

/// The same; `None` before `open` has come so far, and when the store was closed.
pub(crate) fn try_local() -> Option<Rc<ShardStore>> {
    let shard = rt::this_shard();
    SHARDS.with_borrow(|shards| shards.get(&shard).cloned())
}

/// Runs `f` with what a shard has.
///
/// Errors: `Unavailable` when the store was closed meanwhile: requests that take longer than a stop waits for them, and what runs
/// beside the requests, may come too late.
pub(crate) async fn on_shard<F, Fut, R>(shard: ShardId, f: F) -> Result<R>
where
    F: FnOnce(Rc<ShardStore>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<R>> + 'static,
    R: Send + 'static,
{
    rt::call(shard, move || async move { f(try_local().ok_or(CLOSED)?).await }).await
}

/// Lets go of all handles on this thread, as the end of the process would: for simulated crashes.
#[cfg(feature = "sim")]
pub fn forget_all() {
    let shards = SHARDS.take();
    drop(shards);
}

/// Brings the store up on all shards: identity and topology, indexes, recovery, then the logs. Called on shard 0, once.
pub async fn open(config: Config) -> std::result::Result<Summary, StartError> {
    assert!(rt::this_shard() == ShardId(0), "shard 0 opens the store");
    let node = Node::open(config).await.map_err(StartError::Node)?;
    reserve::look(&node).await;
    // A drive that fails while it is looked at is taken out: then the others are looked at again.
    if node.scan_volumes().await.is_err() {
        node.scan_volumes().await?;
    }
    let mut ckpts = HashMap::new();
    let budget = Budget::of(&node.config);
    let caches = Caches::new(budget.blocks, TABLE_FILES_MAX);
    for shard in 0..rt::shard_count() {
        let (node, caches) = (node.clone(), caches.clone());
        let opened = rt::call(ShardId(shard), move || open_partitions(node, caches, budget));
        ckpts.extend(opened.await?);
    }
    // That commits are missing is known of tables that were restored, and what is there is wanted.
    if let Some(headless) = recovery::unreadable(&node, &ckpts).into_iter().next().filter(|_| !node.is_restored()) {
        return Err(StartError::Log { path: headless.path });
    }
    let recovered = recover(&node, &ckpts).await?;
    let damaged: Vec<_> = match node.is_restored() {
        false => recovered.damage.iter().flat_map(|damage| damage.partitions.iter().copied()).collect(),
        // That commits are missing is known, and what is there is wanted.
        true => Vec::new(),
    };
    let summary = Summary {
        deployment: node.deployment,
        start: node.start.value(),
        geometry: node.places().map(|places| places.geometry).ok_or(Error::Unavailable("too few drives"))?,
        drives: node.drives().len(),
        drives_missing: node.drives().iter().filter(|drive| !drive.is_usable()).count(),
        entries_replayed: recovered.entries,
        partitions_damaged: damaged.len(),
    };
    // Shard 0 first: its first volume closes all streams of earlier starts.
    local().begin(recovered.opening, &damaged).await?;
    for shard in 1..rt::shard_count() {
        let damaged = damaged.clone();
        let begin = move || async move { local().begin(Opening::fresh(), &damaged).await };
        rt::call(ShardId(shard), begin).await?;
    }
    here().at_owner(PartitionId::BUCKETS, |store| async move { store.resume_buckets().await }).await?;
    if node.is_restored() {
        telemetry::warn!("the tables were restored and lack commits: nothing is written or freed, copy what is there");
    }
    for shard in 0..rt::shard_count() {
        rt::call(ShardId(shard), || async { local().resume() }).await;
    }
    heal::start(&node);
    drives::go_on(&node);
    Ok(summary)
}

/// Ends the store on all shards: nothing is accepted any more, everything pending gets its outcome, memtables are
/// flushed so that the next start has nothing to replay. Called on shard 0.
pub async fn close() {
    for shard in 0..rt::shard_count() {
        rt::call(ShardId(shard), || async { local().end().await }).await;
    }
    local().node.heal.forget_tables();
    local().node.release().await;
    for shard in 0..rt::shard_count() {
        rt::call(ShardId(shard), || async {
            SHARDS.with_borrow_mut(|shards| shards.remove(&rt::this_shard()));
        })
        .await;
    }
}

/// How the memory of `Config::memory_bytes` is divided, for each shard or partition.
#[derive(Clone, Copy)]
struct Budget {
    /// Tables' blocks, for all shards together.
    blocks: u64,
    /// Bodies, on each shard.
    bodies: usize,
    /// One memtable of one partition.
    memtable: usize,
    /// Records read lately, of one partition.
    records: usize,
}

impl Budget {
    const MEMTABLE_MIN: usize = 256 << 10;
    const MEMTABLE_MAX: usize = 32 << 20;

    fn of(config: &Config) -> Budget {
        let partitions = u64::from(config.partitions);
        let memory = config.memory_bytes;
        // A partition has up to four memtables: one that takes writes (up to twice its size) and two that are flushed.
        let memtable = (memory / 8 / (4 * partitions)) as usize;
        Budget {
            blocks: memory / 16,
            bodies: (config.body_cache_bytes / u64::from(rt::shard_count())) as usize,
            memtable: memtable.clamp(Self::MEMTABLE_MIN, Self::MEMTABLE_MAX),
            records: (memory / 16 / partitions) as usize,
        }
    }
}

async fn open_partitions(
    node: Arc<Node>,
    caches: Arc<Caches>,
    budget: Budget,
) -> std::result::Result<Vec<(PartitionId, Ckpt)>, StartError> {
    let store = Rc::new(ShardStore {
        writer: Writer::new(node.clone()),
        reader: Reader::new(node.clone(), budget.bodies),
        partitions: Partitions::new(),
        log: OnceCell::new(),
        readers: Rc::default(),
        closing: Cell::new(false),
        reclaiming: Semaphore::new(1),
        buckets: RefCell::default(),
        changing: Semaphore::new(1),
        node,
    });
    let mut ckpts = Vec::new();
    for id in (0..store.node.config.partitions).map(PartitionId).filter(|id| owner(*id) == rt::this_shard()) {
        let options = Options {
            start: store.node.start,
            copies: store.index_copies_there(id),
            // Log volumes go only when the copies of all partitions are recorded: without that the log has everything.
            absent: if store.node.topology().is_any_in_sync(id) { Absent::Refuse } else { Absent::Create },
            caches: caches.clone(),
            memtable_bytes: budget.memtable,
            records_bytes: budget.records,
            stream: store.partitions.stream(),
            drives: Rc::new(IndexDrives(store.node.clone())),
        };
        let (partition, failed) = Partition::open(id, options)
            .await
            .map_err(|error| StartError::Index { partition: id, what: error.to_string() })?;
        for copy in failed {
            telemetry::warn!("a copy of the index cannot be read: {}", copy.error; dir = copy.dir.display());
        }
        ckpts.push((id, partition.ckpt()));
        store.node.heal.know_tables(id, partition.index());
        store.partitions.add(partition);
    }
    SHARDS.with_borrow_mut(|shards| shards.insert(rt::this_shard(), store));
    Ok(ckpts)
}

/// Reads the logs and hands each entry to its owner, in order.
async fn recover(node: &Arc<Node>, ckpts: &HashMap<PartitionId, Ckpt>) -> Result<recovery::Recovered> {
    let here = local();
    let mut elsewhere: Vec<Vec<Entry>> = Vec::new();
    elsewhere.resize_with(usize::from(rt::shard_count()), Vec::new);
    let recovered = recovery::recover(node, ckpts, |id, entry| match here.partitions.get(id) {
        Some(partition) => partition.replay(entry),
        None => elsewhere[usize::from(owner(id).0)].push(entry),
    })
    .await?;
    for (shard, entries) in elsewhere.into_iter().enumerate() {
        let mut entries = entries.into_iter();
        while entries.len() > 0 {
            let chunk: Vec<_> = entries.by_ref().take(REPLAY_CHUNK).collect();
            let replay = move || async move {
                let store = local();
                for entry in chunk {
                    let partition = store.partitions.get(entry.partition).expect("the owner has its partitions");
                    partition.replay(entry);
                }
            };
            rt::call(ShardId(shard as u16), replay).await;
        }
    }
    Ok(recovered)
}

/// Counts what kept a flush from its copies against the drives that did. Room for tables is taken from the reserve.
fn index_failed(node: &Arc<Node>, error: &FlushError) {
    let full = match error {
        FlushError::Index(error) => error.is_full(),
        FlushError::Copies(copies) => copies.iter().any(|copy| copy.error.is_full()),
    };
    if full {
        let node = node.clone();
        drop(rt::spawn(async move { reserve::give_tables(&node).await }));
    }
    let FlushError::Copies(copies) = error else { return };
    for copy in copies {
        let drives = node.drives();
        let drive = drives.iter().find(|drive| drive.is_usable() && copy.dir.starts_with(&drive.dir));
        if let (Some(drive), TreeError::Io(error)) = (drive, &copy.error) {
            node.note_io_error(drive, error, Op::Write);
        }
    }
}

/// The drives of index directories.
struct IndexDrives(Arc<Node>);

impl IndexDrives {
    fn drive(&self, dir: &Path) -> Option<Arc<Drive>> {
        let id = PartitionId(dir.file_name()?.to_str()?.parse().ok()?);
        // The last one that was in a directory: a new drive may be where another one was.
        self.0.drives().iter().rev().find(|drive| self.0.index_dir(drive, id) == dir).cloned()
    }
}

impl Drives for IndexDrives {
    fn is_silent(&self, dir: &Path) -> bool {
        self.drive(dir).is_some_and(|drive| !drive.answers())
    }

    fn ask(&self, dir: &Path) {
        if let Some(drive) = self.drive(dir) {
            self.0.ask_whether_it_answers(&drive);
        }
    }

    fn replaced(&self, partition: PartitionId, index: Arc<crate::index::Index>) {
        self.0.heal.know_tables(partition, index);
    }
}

impl Upkeep for ShardStore {
    fn copies(&self, partition: PartitionId) -> Vec<std::path::PathBuf> {
        let copies = self.node.partition_copies(partition);
        // A copy on one that does not answer lags behind until it does; the log that it lacks stays as long.
        let (answering, silent): (Vec<_>, Vec<_>) = copies.iter().partition(|drive| drive.answers());
        let some = if answering.is_empty() { silent } else { answering };
        some.into_iter().map(|drive| self.node.index_dir(drive, partition)).collect()
    }

    fn failed(&self, _partition: PartitionId, error: &FlushError) {
        index_failed(&self.node, error);
    }

    fn eager(&self) -> Option<Duration> {
        // What is flushed lets log volumes go.
        let full = self.node.is_full().then_some(space::FULL_FLUSH_EVERY);
        self.node.config.upkeep_every().or(full)
    }
}

/// Which shard owns a partition in this start.
pub(crate) fn owner(partition: PartitionId) -> ShardId {
    ShardId(partition.0 % rt::shard_count())
}

/// What one shard has.
pub(crate) struct ShardStore {
    node: Arc<Node>,
    partitions: Rc<Partitions>,
    /// Set when recovery is over.
    log: OnceCell<Rc<Log>>,
    writer: Rc<Writer>,
    reader: Rc<Reader>,
    readers: Rc<Readers>,
    closing: Cell<bool>,
    /// Held while space is reclaimed.
    reclaiming: Rc<Semaphore>,
    buckets: RefCell<BucketTable>,
    /// Held while a bucket is made or deleted; only the one of the buckets' owner is used.
    changing: Rc<Semaphore>,
}

impl Store {
    /// A body to be received on this shard. `expected`: its length when it is known.
    pub fn put(&self, expected: Option<u64>) -> Put {
        Put::new(self.shard.writer.clone(), expected)
    }

    /// Reads a range of an object's body. Panics unless the range lies in it.
    pub fn read(&self, record: &Record, range: Range<u64>) -> Get {
        self.shard.read(&record.body, range)
    }

    /// Whether commits can become durable: enough drives are left. Being full is another matter.
    pub fn accepts_writes(&self) -> bool {
        !self.shard.node.refuses_writes()
    }

    pub(crate) fn shard(&self) -> &ShardStore {
        &self.shard
    }

    pub(crate) fn partition_count(&self) -> u16 {
        self.shard.partition_count()
    }

    pub(crate) fn owner(&self, partition: PartitionId) -> ShardId {
        owner(partition)
    }

    /// Runs `f` on the shard that owns `partition`.
    pub(crate) async fn at_owner<F, Fut, R>(&self, partition: PartitionId, f: F) -> Result<R>
    where
        F: FnOnce(Rc<ShardStore>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R>> + 'static,
        R: Send + 'static,
    {
        self.shard.at_owner(partition, f).await
    }

    /// Runs `f` on the shard that owns `partition`, to its end even if the caller goes away: for changes of several steps,
    /// and for those that keep a volume from being removed until they are durable.
    pub(crate) async fn to_the_end<F, Fut, R>(&self, partition: PartitionId, f: F) -> Result<R>
    where
        F: FnOnce(Rc<ShardStore>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R>> + 'static,
        R: Send + 'static,
    {
        if owner(partition) == rt::this_shard() {
            // A message to another shard is a task there anyway.
            rt::spawn(f(self.shard.clone())).await
        } else {
            self.shard.at_owner(partition, f).await
        }
    }

    /// Runs `f` where `key` is decided, to its end.
    pub(crate) async fn to_the_end_at_key<F, Fut, R>(&self, bucket: BucketId, key: &ObjectKey, f: F) -> Result<R>
    where
        F: FnOnce(Rc<ShardStore>, Rc<Partition>, ObjectKey) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R>> + 'static,
        R: Send + 'static,
    {
        let id = keys::partition_of(bucket, key.as_bytes(), self.partition_count());
        let key = key.clone();
        let at = move |store: Rc<ShardStore>| async move {
            let partition = store.partition(id)?;
            f(store, partition, key).await
        };
        self.to_the_end(id, at).await
    }

    /// Runs `f` where `key` is decided.
    pub(crate) async fn at_key<F, Fut, R>(&self, bucket: BucketId, key: &ObjectKey, f: F) -> Result<R>
    where
        F: FnOnce(Rc<ShardStore>, Rc<Partition>, ObjectKey) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R>> + 'static,
        R: Send + 'static,
    {
        let id = keys::partition_of(bucket, key.as_bytes(), self.partition_count());
        let key = key.clone();
        let at = move |store: Rc<ShardStore>| async move {
            let partition = store.partition(id)?;
            f(store, partition, key).await
        };
        self.at_owner(id, at).await
    }
}

impl ShardStore {
    pub(crate) fn partition_count(&self) -> u16 {
        self.node.config.partitions
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// A partition of this shard. One that lost acknowledged commits is neither read nor written: it would answer with what
    /// was before them. Buckets are read all the same, since without them nothing could be.
    pub(crate) fn partition(&self, id: PartitionId) -> Result<Rc<Partition>> {
        let partition = self.partitions.get(id).ok_or(Error::Unavailable("the partition is not on this shard"))?;
        if partition.is_damaged() && id != PartitionId::BUCKETS {
            return Err(Error::Unavailable("acknowledged commits of this partition cannot be read"));
        }
        Ok(partition)
    }

    pub(crate) fn partitions(&self) -> &Rc<Partitions> {
        &self.partitions
    }

    pub(crate) fn readers(&self) -> &Rc<Readers> {
        &self.readers
    }

    /// Whether the store is being closed: what runs beside the requests ends.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// A body that goes to a data volume, however small it is.
    pub(crate) fn put_large(&self, len: u64) -> Put {
        Put::large(self.writer.clone(), len)
    }

    pub(crate) fn log(&self) -> &Log {
        self.log.get().expect("nothing is decided before recovery is over")
    }

    /// Has the log and the data writer go on in other volumes if theirs have lost a slot.
    pub(crate) fn leave_sick_volumes(&self) {
        self.writer.leave_sick();
        if let Some(log) = self.log.get() {
            log.leave_sick();
        }
    }

    /// Where the log of this shard goes on; `None` before recovery is over.
    pub(crate) fn log_position(&self) -> Option<Position> {
        self.log.get().map(|log| log.position())
    }

    pub(crate) fn buckets(&self) -> BucketTable {
        self.buckets.borrow().clone()
    }

    pub(crate) fn swap_buckets(&self, table: BucketTable) {
        self.buckets.replace(table);
    }

    /// Reads a range of a body; what is live now stays until the read has ended.
    pub(crate) fn read(&self, body: &Body, range: Range<u64>) -> Get {
        Get::new(self.reader.clone(), body, range, self.readers.enter())
    }

    /// One pass of the reclaimer, or the end of the store.
    pub(crate) async fn reclaiming(&self) -> Permit {
        self.reclaiming.acquire(1).await
    }

    /// One change of buckets at a time.
    pub(crate) async fn changing_buckets(&self) -> Permit {
        self.changing.acquire(1).await
    }

    pub(crate) async fn at_owner<F, Fut, R>(&self, partition: PartitionId, f: F) -> Result<R>
    where
        F: FnOnce(Rc<ShardStore>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R>> + 'static,
        R: Send + 'static,
    {
        on_shard(owner(partition), f).await
    }

    /// Index directories of a partition's copies, the primary first.
    fn index_copies(&self, partition: PartitionId) -> Vec<std::path::PathBuf> {
        self.node.partition_copies(partition).iter().map(|drive| self.node.index_dir(drive, partition)).collect()
    }

    /// Index directories in which a partition's tables may be at the start. Once tables count these are the copies that are
    /// in sync, wherever they lie: another one may be what is left of an earlier time, and the log that it lacks is gone.
    /// The flusher brings the tables to where they shall be.
    fn index_copies_there(&self, partition: PartitionId) -> Vec<std::path::PathBuf> {
        let topology = self.node.topology();
        if !topology.is_any_in_sync(partition) {
            return self.index_copies(partition);
        }
        let (drives, preferred) = (self.node.drives(), self.node.partition_copies(partition));
        let others = drives.iter().filter(|drive| !preferred.iter().any(|preferred| preferred.id == drive.id));
        let in_sync = |drive: &&Arc<Drive>| drive.is_usable() && topology.is_in_sync(partition, drive.id);
        preferred.iter().chain(others).filter(in_sync).map(|drive| self.node.index_dir(drive, partition)).collect()
    }

    /// The drives whose copies of the partition's tables are known to be whole.
    pub(crate) fn whole_copies(&self, partition: &Partition) -> (PartitionId, Vec<DriveId>) {
        let whole = partition.whole_copies();
        let drives = self.node.drives();
        let holders = drives
            .iter()
            .filter(|drive| drive.is_usable() && whole.contains(&self.node.index_dir(drive, partition.id())));
        (partition.id(), holders.map(|drive| drive.id).collect())
    }

    /// Opens the log; from here on commits are taken, unless the tables lack some.
    async fn begin(&self, opening: Opening, damaged: &[PartitionId]) -> Result<()> {
        let log = Log::open(self.node.clone(), opening, self.partitions.clone()).await?;
        if self.node.is_restored() {
            log.refuse();
        }
        self.partitions.begin(log.position());
        for id in damaged {
            if let Some(partition) = self.partitions.get(*id) {
                partition.set_damaged();
            }
        }
        let opened = self.log.set(log);
        assert!(opened.is_ok(), "a shard has one log");
        Ok(())
    }

    /// Starts what runs beside the requests.
    fn resume(&self) {
        let store = local();
        drop(rt::spawn(self.partitions.clone().run_flusher(store)));
        if self.node.is_restored() {
            return;
        }
        drop(rt::spawn_background(space::run(local())));
        for partition in self.partitions.all() {
            let store = local();
            drop(rt::spawn(async move {
                if let Err(error) = store.resume_clearing(partition.id()).await {
                    telemetry::warn!("clear ended uploads: {error}"; partition = partition.id().0);
                }
            }));
        }
    }

    /// Takes no more commits, waits for those on their way, flushes.
    async fn end(&self) {
        self.closing.set(true);
        self.node.heal.stop();
        for partition in self.partitions.all() {
            partition.close("shutting down");
        }
        if rt::time::timeout(LOG_AT_END_MAX, self.log().close()).await.is_err() {
            telemetry::warn!(
                "commits are still on their way to a drive that does not answer: nobody was told that they are done"
            );
        }
        // Its commits fail by now, so it waits for drives only.
        if rt::time::timeout(RECLAIM_AT_END_MAX, self.reclaiming()).await.is_err() {
            telemetry::warn!("space is still being reclaimed on a drive that does not answer");
        }
        self.partitions.stop();
        let flush = async {
            // Whose tables are on a drive that does not answer flushes into other copies; the flusher looks no more.
            for partition in self.partitions.all() {
                partition.leave_silent(self.copies(partition.id())).await;
            }
            self.partitions.flush_all().await
        };
        match rt::time::timeout(FLUSH_AT_END_MAX, flush).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                telemetry::warn!("partitions not flushed at shutdown; the next start replays the log: {error}");
            }
            Err(rt::time::Elapsed) => {
                telemetry::warn!("partitions not flushed in time at shutdown; the next start replays the log");
            }
        }
    }
}

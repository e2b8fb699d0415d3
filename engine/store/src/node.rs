//! Process-wide state: configuration, drives, the epoch, the volumes that are known.
//!
//! `Node` is shared by all shards. Epochs change on shard 0 only, one after another; everyone else sees snapshots.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

mod admit;
mod creations;
mod epoch;
mod flag;
mod marks;
mod open;
mod placed;
mod places;
mod watch;

use creations::Creations;
pub(crate) use epoch::mend_topology;
use flag::Flag;
pub(crate) use marks::Mark;
use rt::file::{FileLock, Space};

pub use crate::topology::{AdmitError, OpenError};

use crate::backup::BackupState;
use crate::drive::{Blame, Drive, Kind, Op, RESTORED_NAME, State, blame};
use crate::error::{Error, Result};
use crate::heal::Heal;
use crate::ids::{DeploymentId, DriveId, PartitionId, StartNumber, VolumeId};
use crate::space::reserve::Reserve;
use crate::topology::{self, Topology, TurnQueue};
use crate::verification::Verification;
use crate::volume::{Headless, Volume};

/// Shards that may write volumes: ids have 16 bits for them, the counters take 4 bytes each.
const SHARDS_MAX: usize = 4096;

/// A drive that does not answer for so long does not come back by itself, as a rule: the kernel's own retries are over by
/// then, or its time-outs are longer than a client waits.
const OUT_AFTER: Duration = Duration::from_secs(15);

/// How a node is run.
#[derive(Clone, Debug)]
pub struct Config {
    /// One directory for each drive, in any order.
    pub dirs: Vec<PathBuf>,
    /// P; `None` = by the number of drives. Fixed when the deployment is formed.
    pub parity: Option<u8>,
    /// Go on although more drives are missing than a start may do without by itself.
    pub accept_missing: bool,
    /// Budget for memtables, caches, buffers and batches of all shards together.
    pub memory_bytes: u64,
    /// Of that, what the caches of hot bodies may take: direct I/O knows no page cache.
    pub body_cache_bytes: u64,
    /// Largest body that is kept in the log.
    pub inline_max: usize,
    /// Bytes of each slot of a log volume; `None` = by the room that is free.
    pub log_slot_bytes: Option<u64>,
    /// Bytes of each slot of a data volume; `None` = by the room that is free.
    pub data_slot_bytes: Option<u64>,
    /// Slices of the key space. Fixed when the deployment is formed; later it is not looked at.
    pub partitions: u16,
    /// Where tables lie instead of on the drives: the tree library knows no simulated files.
    #[cfg(feature = "sim")]
    pub index_root: Option<PathBuf>,
    /// Flush every partition and reclaim space so often, instead of when it is due.
    #[cfg(feature = "sim")]
    pub upkeep_every: Option<Duration>,
    /// How fast everything is read over and over to verify it, on all drives together; 0 = not at all.
    pub scrub_bytes_per_second: u64,
    /// How fast lost slots are made again; 0 = as fast as requests let it.
    pub rebuild_bytes_per_second: u64,
    /// A drive that does not answer for so long, while others do, gets no new volumes until it answers again.
    pub suspect_after: Duration,
    /// A drive that has not answered for so long, while others do, is taken out as if it had failed.
    pub out_after: Duration,
}

impl Config {
    pub fn new(dirs: Vec<PathBuf>) -> Config {
        Config {
            dirs,
            parity: None,
            accept_missing: false,
            memory_bytes: 1 << 30,
            body_cache_bytes: 512 << 20,
            inline_max: 32 << 10,
            log_slot_bytes: None,
            data_slot_bytes: None,
            partitions: 64,
            #[cfg(feature = "sim")]
            index_root: None,
            #[cfg(feature = "sim")]
            upkeep_every: None,
            scrub_bytes_per_second: 32 << 20,
            rebuild_bytes_per_second: 0,
            suspect_after: Duration::from_secs(1),
            out_after: OUT_AFTER,
        }
    }

    /// Only a simulation hurries.
    pub(crate) fn upkeep_every(&self) -> Option<Duration> {
        #[cfg(feature = "sim")]
        return self.upkeep_every;
        #[cfg(not(feature = "sim"))]
        None
    }
}

/// Process-wide state of the store.
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) deployment: DeploymentId,
    /// This run of the process.
    pub(crate) start: StartNumber,
    /// Tells this node from earlier ones of the same process (simulation, tests).
    instance: u64,
    this: Weak<Node>,
    /// In the order of the epochs' lists; only ever appended to.
    drives: RwLock<Arc<[Arc<Drive>]>>,
    /// The epoch that counts: durable on all drives of its in-set.
    topology: RwLock<Arc<Topology>>,
    /// The last epoch that was written anywhere: the parent of the next one, whether it counts or not.
    written: Mutex<Topology>,
    turns: TurnQueue,
    /// The last reading of everything that was asked for.
    pub(crate) verification: Mutex<Verification>,
    /// The last backup that was asked for.
    pub(crate) backup: Mutex<BackupState>,
    /// The tables were restored from a backup and lack commits: nothing is freed, nor written once this start serves.
    restored: bool,
    /// Set when the in-set would have to shrink below what it may: nothing more is acknowledged.
    refuses_writes: AtomicBool,
    /// Room for what makes room when the drives are full.
    pub(crate) reserve: Reserve,
    /// What healing knows.
    pub(crate) heal: Heal,
    volumes: RwLock<HashMap<VolumeId, Arc<Volume>>>,
    /// Volumes that were being made when the process ended: nothing is in them.
    unborn: Mutex<Vec<VolumeId>>,
    /// Volumes that may hold commits, and of which no first page is right.
    headless: Mutex<Vec<Headless>>,
    volume_counters: Vec<AtomicU32>,
    /// Volumes that are being made.
    pub(crate) creations: Creations,
    /// Raised to have the drives unlocked, and when they are. The locks themselves stay on shard 0.
    leaving: Arc<Flag>,
    unlocked: Mutex<Vec<Arc<Flag>>>,
}

impl Node {
    /// Reads identities and epochs, applies the start rule, forms a deployment on empty directories, and makes a new
    /// epoch with this run's start number durable on all drives that are in. Runs on shard 0.
    ///
    /// Errors: a refusal changes nothing on any drive.
    pub(crate) async fn open(config: Config) -> std::result::Result<Arc<Node>, OpenError> {
        open::open(config).await
    }

    /// Lets go of the drives, so that they can be opened again. Nothing may be written through this node afterwards.
    pub(crate) async fn release(&self) {
        self.refuses_writes.store(true, Relaxed);
        self.leaving.raise();
        let unlocked = lock(&self.unlocked).clone();
        for unlocked in unlocked {
            unlocked.raised().await;
        }
    }

    /// Keeps drives locked until the node leaves. Called on shard 0, where the locks stay.
    fn keep_locks(&self, locks: Vec<FileLock>) {
        let (leaving, unlocked) = (self.leaving.clone(), Arc::new(Flag::default()));
        lock(&self.unlocked).push(unlocked.clone());
        drop(rt::spawn(async move {
            leaving.raised().await;
            drop(locks);
            unlocked.raise();
        }));
    }

    pub(crate) fn instance(&self) -> u64 {
        self.instance
    }

    /// All drives of the topology in an order that never changes, missing ones too.
    /// New ones come at the end.
    pub(crate) fn drives(&self) -> Arc<[Arc<Drive>]> {
        read(&self.drives).clone()
    }

    pub(crate) fn drive(&self, id: DriveId) -> Option<Arc<Drive>> {
        read(&self.drives).iter().find(|drive| drive.id == id).cloned()
    }

    /// The epoch that counts now.
    pub(crate) fn topology(&self) -> Arc<Topology> {
        read(&self.topology).clone()
    }

    /// The drives that shall hold the tables of a partition: P+1 of those that are in, the primary first.
    pub(crate) fn partition_copies(&self, partition: PartitionId) -> Vec<Arc<Drive>> {
        let (topology, drives) = (self.topology(), self.drives());
        let shall_go = |id: DriveId| drives.iter().any(|drive| drive.id == id && drive.is_draining());
        topology::copies(&topology, partition, shall_go).into_iter().map(|index| drives[index].clone()).collect()
    }

    /// Where the tables of a partition lie on a drive.
    pub(crate) fn index_dir(&self, drive: &Drive, partition: PartitionId) -> PathBuf {
        #[cfg(feature = "sim")]
        if let Some(root) = &self.config.index_root {
            let name = drive.dir.file_name().expect("a drive's directory has a name");
            return root.join(name).join(partition.0.to_string());
        }
        drive.index_dir(partition)
    }

    /// Whether too few drives are left for writes to be acknowledged.
    pub(crate) fn refuses_writes(&self) -> bool {
        self.refuses_writes.load(Relaxed)
    }

    /// Whether the tables were restored and lack commits: what they do not name may be alive.
    pub(crate) fn is_restored(&self) -> bool {
        self.restored
    }

    /// Drives that have the mark of an incomplete restore: since the start all that are used.
    pub(crate) fn marked_drives(&self) -> Vec<Arc<Drive>> {
        let topology = self.topology();
        self.drives().iter().filter(|drive| topology.is_in(drive.id)).cloned().collect()
    }

    /// Takes the mark off a drive; durable when it returns.
    pub(crate) async fn unmark(&self, drive: &Drive) -> io::Result<()> {
        rt::file::unlink(drive.dir.join(RESTORED_NAME)).await?;
        rt::file::sync_dir(&drive.dir).await
    }

    /// Whether new data is refused because the reserve is in use.
    pub(crate) fn is_full(&self) -> bool {
        self.reserve.is_full()
    }

    /// A volume id that was never used before. Panics when a shard has used 2^24 in one start.
    pub(crate) fn next_volume_id(&self, shard: u16) -> VolumeId {
        let counter = self.volume_counters.get(usize::from(shard)).expect("shards are below SHARDS_MAX");
        VolumeId::new(self.start, shard, counter.fetch_add(1, Relaxed))
    }

    /// A volume that was found at the start or made since.
    ///
    /// Errors: `NotFound` when there is none of that id: it was removed, or all of its drives are gone.
    pub(crate) async fn volume(&self, id: VolumeId) -> Result<Arc<Volume>> {
        read(&self.volumes).get(&id).cloned().ok_or(Error::NotFound)
    }

    /// Whether the volume is there, on enough drives to be read.
    pub(crate) fn can_read(&self, id: VolumeId) -> bool {
        let volumes = read(&self.volumes);
        let is_readable = |volume: &Arc<Volume>| {
            let readable = (0..volume.geometry.width()).filter(|slot| volume.is_readable(*slot)).count();
            readable >= usize::from(volume.geometry.data)
        };
        volumes.get(&id).is_some_and(is_readable)
    }

    pub(crate) fn set_unborn(&self, unborn: Vec<VolumeId>) {
        *lock(&self.unborn) = unborn;
    }

    pub(crate) fn set_headless(&self, headless: Vec<Headless>) {
        *lock(&self.headless) = headless;
    }

    pub(crate) fn headless(&self) -> Vec<Headless> {
        lock(&self.headless).clone()
    }

    pub(crate) fn take_unborn(&self) -> Vec<VolumeId> {
        std::mem::take(&mut lock(&self.unborn))
    }

    /// All volumes that are known, oldest start first: the order of a map would differ from run to run.
    pub(crate) fn volumes(&self) -> Vec<Arc<Volume>> {
        let mut volumes: Vec<_> = read(&self.volumes).values().cloned().collect();
        volumes.sort_unstable_by_key(|volume| volume.id);
        volumes
    }

    /// Makes a volume known. One that is known stays the one that it is: others hold it already.
    pub(crate) fn register(&self, volume: Arc<Volume>) {
        write(&self.volumes).entry(volume.id).or_insert(volume);
    }

    pub(crate) fn unregister(&self, id: VolumeId) -> Option<Arc<Volume>> {
        write(&self.volumes).remove(&id)
    }

    /// Asks the file systems again, and waits for the answers of the drives that are well.
    pub(crate) async fn refresh_space(&self) {
        let drives = self.drives();
        let asks: Vec<_> = drives.iter().filter_map(|drive| Some((drive, self.ask_space_of(drive)?))).collect();
        for (drive, ask) in asks {
            drive.while_answering(ask).await;
        }
    }

    /// Asks the file systems again, without waiting for the answers.
    fn ask_space(&self) {
        self.drives().iter().for_each(|drive| drop(self.ask_space_of(drive)));
    }

    /// One question at a time for each drive: one that hangs does not gather them.
    fn ask_space_of(&self, drive: &Arc<Drive>) -> Option<rt::JoinHandle<()>> {
        let (node, drive) = (self.this.clone(), drive.clone());
        if !drive.is_usable() || !drive.begin_asking() {
            return None;
        }
        Some(rt::spawn_foreground(async move {
            let answer = {
                let _in_flight = drive.begin();
                rt::file::fs_space(&drive.dir).await
            };
            drive.end_asking();
            match (answer, node.upgrade()) {
                (Ok(space), _) => drive.set_space(space),
                (Err(error), Some(node)) => node.note_io_error(&drive, &error, Op::Read),
                (Err(_), None) => {}
            }
        }))
    }

    /// The drive's part of its file system's space: that of drives on the same one counts once.
    pub(crate) fn share(&self, drive: &Drive) -> Space {
        let space = drive.space();
        let sharers = self.drives().iter().filter(|other| other.space().dev == space.dev).count().max(1) as u64;
        Space { total: space.total / sharers, free: space.free / sharers, ..space }
    }

    /// Marks a drive as late: no new volumes, hedged reads. Never more drives than a volume can do without, so that a
    /// slow machine is not taken for failing drives.
    pub(crate) fn suspect(&self, id: DriveId) {
        // One that is only slow gives way.
        let drives = self.drives();
        if let Some(slow) = drives.iter().find(|drive| drive.is_slow() && drive.id != id)
            && self.may_suspect(id).is_none()
        {
            slow.set_well();
        }
        if let Some(drive) = self.may_suspect(id)
            && drive.set_suspect()
        {
            drive.set_slow(false);
            telemetry::warn!("a drive does not answer in time"; drive = drive.dir.display());
        }
    }

    /// The same with one that answers, but much slower than the others.
    fn suspect_slow(&self, id: DriveId) {
        if let Some(drive) = self.may_suspect(id)
            && drive.set_suspect()
        {
            drive.set_slow(true);
            let [read, write, flush] = Kind::TIMED.map(|kind| drive.pulse.latency(kind).mean.as_micros());
            telemetry::warn!("a drive is much slower than the others"; drive = drive.dir.display(), read_us = read, write_us = write, flush_us = flush);
        }
    }

    fn may_suspect(&self, id: DriveId) -> Option<Arc<Drive>> {
        let (topology, drives) = (self.topology(), self.drives());
        let count = |state: State| drives.iter().filter(|drive| drive.state() == state).count();
        let may = count(State::Suspect) < usize::from(topology.parity) && count(State::In) > 1;
        may.then(|| self.drive(id)).flatten()
    }

    /// Counts an I/O error and has the drive taken out if it says so. A full drive is no failing one.
    pub(crate) fn note_io_error(&self, drive: &Arc<Drive>, error: &io::Error, op: Op) {
        let count = drive.count_error(op);
        match blame(error, op, count) {
            Blame::Full => {}
            Blame::Bytes => {
                telemetry::warn!("a drive could not read"; drive = drive.dir.display(), error = error);
            }
            Blame::Drive => {
                if !drive.report() {
                    return;
                }
                telemetry::error!("a drive fails and is taken out"; drive = drive.dir.display(), error = error);
                // The last drive stays what it is: there is nothing to go on with.
                drive.set_suspect();
                let (Some(node), id) = (self.this.upgrade(), drive.id) else { return };
                drop(rt::spawn_foreground(async move {
                    if let Err(error) = node.take_out(id, "i/o errors").await {
                        telemetry::error!("no more writes are accepted"; error = error);
                    }
                }));
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.leaving.raise();
    }
}

/// Nothing panics while these are held, so a poisoned one still holds a whole value.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers the nodes of this process.
static INSTANCES: AtomicU64 = AtomicU64::new(1);

#[cfg(test)]
mod tests;

//! Opens a node: look, decide, form if need be, start.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use rt::file::FileLock;

use super::creations::Creations;
use super::epoch::{Unwritten, write_everywhere};
use super::flag::Flag;
use super::placed::count_placed;
use super::{Config, INSTANCES, Node, SHARDS_MAX, places, watch};
use crate::drive::{Drive, Looked, RESTORED_NAME, State, form, look, write_whole};
use crate::heal::Heal;
use crate::ids::{DriveId, StartNumber};
use crate::planted::{self, Bug};
use crate::space::reserve::Reserve;
use crate::topology::{
    self, Chosen, DRIVES_MAX, Decision, OpenError, PARTITIONS_MAX, Seen, Topology, TurnQueue, Wanted, decide, may_start,
};

/// How long a start waits for a directory to be looked into.
const LOOK_MAX: Duration = Duration::from_secs(10);

pub(super) async fn open(config: Config) -> Result<Arc<Node>, OpenError> {
    check(&config)?;
    let mut looked = Vec::with_capacity(config.dirs.len());
    for dir in &config.dirs {
        looked.push(look_in_time(dir).await?);
    }
    refuse_same_directory(&looked)?;
    for notice in places::find_forgotten(&mut looked).await? {
        telemetry::warn!("{notice}");
    }
    let wanted = Wanted { parity: config.parity, accept_missing: config.accept_missing };
    let seen = |looked: &[Looked]| -> Vec<Seen> { looked.iter().map(|looked| looked.seen.clone()).collect() };
    let chosen = match decide(&seen(&looked), wanted)? {
        Decision::Start(chosen) => *chosen,
        Decision::Form => {
            let topology = form(&mut looked, config.parity, config.partitions).await?;
            telemetry::info!("a new deployment was formed"; deployment = topology.deployment, drives = looked.len());
            let present = topology.drives.iter().map(|member| member.drive).enumerate().collect();
            let (strays, unused) = (Vec::new(), Vec::new());
            Chosen { topology, present, missing: Vec::new(), returned: Vec::new(), strays, unused }
        }
    };
    start(config, looked, chosen).await
}

/// A drive that does not answer at all is `Unreadable`, like one that answers with errors.
pub(super) async fn look_in_time(dir: &Path) -> Result<Looked, OpenError> {
    match rt::time::timeout(LOOK_MAX, look(dir)).await {
        Ok(looked) => looked,
        Err(rt::time::Elapsed) => {
            telemetry::error!("a drive does not answer and counts as missing"; drive = dir.display(), seconds = LOOK_MAX.as_secs());
            Ok(Looked::silent(dir))
        }
    }
}

fn check(config: &Config) -> Result<(), OpenError> {
    let refuse = |what: String| Err(OpenError::Directories(what));
    match config.dirs.len() {
        0 => return refuse("no directory was given".to_owned()),
        count if count > DRIVES_MAX => {
            return refuse(format!("{count} directories were given; a node has {DRIVES_MAX} drives at most"));
        }
        _ => {}
    }
    if !(1..=PARTITIONS_MAX).contains(&usize::from(config.partitions)) {
        return refuse(format!("a deployment has 1 to {PARTITIONS_MAX} partitions"));
    }
    Ok(())
}

fn refuse_same_directory(looked: &[Looked]) -> Result<(), OpenError> {
    for (n, one) in looked.iter().enumerate() {
        let same =
            |other: &&Looked| other.seen.dir == one.seen.dir || (other.place.is_some() && other.place == one.place);
        if let Some(other) = looked[..n].iter().find(same) {
            let (first, second) = (other.seen.dir.display(), one.seen.dir.display());
            return Err(OpenError::Directories(format!("{first} and {second} are the same directory")));
        }
    }
    Ok(())
}

/// Makes the new epoch count and puts the node together.
async fn start(mut config: Config, mut looked: Vec<Looked>, mut chosen: Chosen) -> Result<Arc<Node>, OpenError> {
    // What is not used is free to be given back.
    for dir in chosen.strays.iter().copied().chain(chosen.returned.iter().map(|(dir, _)| *dir)) {
        looked[dir].lock = None;
    }
    let drives = make_drives(&looked, &chosen);
    // Where a key lies follows from their number: what the deployment was formed with counts.
    let partitions = chosen.topology.partition_count();
    if partitions != config.partitions {
        telemetry::warn!("the deployment keeps its number of partitions"; partitions = partitions, asked_for = config.partitions);
        config.partitions = partitions;
    }
    // The names of volumes tell of starts as well: a start number is not used twice even if its epoch has rotted.
    let newest = looked.iter().map(|looked| looked.newest_start).max().unwrap_or(0).max(chosen.topology.start.value());
    let number = StartNumber::new(if planted::is(Bug::StartNumberReused) { newest.max(1) } else { newest + 1 })
        .ok_or(OpenError::StartsUsedUp)?;
    let placed = count_placed(&drives, &mut chosen).await;
    let topology = write_epoch(&config, &drives, &mut chosen, number).await?;
    placed.remove().await;
    for drive in drives.iter().filter(|drive| !topology.is_in(drive.id) && drive.is_usable()) {
        if !planted::is(Bug::StaleDriveUsed) {
            drive.set_out();
        }
    }
    drives.iter().for_each(|drive| drive.take_marks(&topology));
    for notice in notices(&looked, &chosen, &drives) {
        telemetry::warn!("{notice}");
    }
    let restored = spread_mark(&drives).await?;
    let node = Arc::new_cyclic(|this| Node {
        deployment: topology.deployment,
        start: number,
        instance: INSTANCES.fetch_add(1, Relaxed),
        this: this.clone(),
        drives: RwLock::new(drives.into()),
        written: Mutex::new(topology.clone()),
        topology: RwLock::new(Arc::new(topology)),
        turns: TurnQueue::default(),
        verification: Mutex::default(),
        backup: Mutex::default(),
        restored,
        refuses_writes: AtomicBool::new(false),
        reserve: Reserve::default(),
        heal: Heal::default(),
        volumes: RwLock::new(HashMap::new()),
        unborn: Mutex::new(Vec::new()),
        headless: Mutex::new(Vec::new()),
        creations: Creations::default(),
        volume_counters: (0..SHARDS_MAX).map(|_| AtomicU32::new(0)).collect(),
        leaving: Arc::new(Flag::default()),
        unlocked: Mutex::default(),
        config,
    });
    let locks: Vec<FileLock> = looked.into_iter().filter_map(|looked| looked.lock).collect();
    node.keep_locks(locks);
    // First: whatever waits for a drive from here on goes by what the watch has seen.
    drop(rt::spawn(watch::watch(Arc::downgrade(&node))));
    node.refresh_space().await;
    places::write(&node).await;
    Ok(node)
}

/// Whether any drive has the mark of an incomplete restore. Then all get it: the drive that has it may go.
async fn spread_mark(drives: &[Arc<Drive>]) -> Result<bool, OpenError> {
    let failed = |path: PathBuf| move |error| OpenError::Io { path, doing: "read or write", error };
    let (mut mark, mut without) = (None, Vec::new());
    for drive in drives.iter().filter(|drive| drive.is_usable()) {
        let path = drive.dir.join(RESTORED_NAME);
        match rt::file::exists(&path).await.map_err(failed(path.clone()))? {
            true => mark = Some(rt::file::read(&path).await.map_err(failed(path))?),
            false => without.push(path),
        }
    }
    let Some(mark) = mark else { return Ok(false) };
    for path in without {
        write_whole(&path, mark.clone()).await.map_err(failed(path))?;
    }
    Ok(true)
}

/// A drive for each member of the list, in its order. Missing ones get the directories that hold no drive, for want of
/// anything better to call them.
fn make_drives(looked: &[Looked], chosen: &Chosen) -> Vec<Arc<Drive>> {
    let mut unused = chosen.unused.iter().map(|&dir| looked[dir].seen.dir.clone());
    let here = |list: &[(usize, DriveId)], id: DriveId| -> Option<PathBuf> {
        list.iter().find(|(_, drive)| *drive == id).map(|&(dir, _)| looked[dir].seen.dir.clone())
    };
    let drive = |id: DriveId| {
        if let Some(dir) = here(&chosen.present, id) {
            return Drive::new(id, dir, State::In);
        }
        if let Some(dir) = here(&chosen.returned, id) {
            return Drive::new(id, dir, if planted::is(Bug::StaleDriveUsed) { State::In } else { State::Out });
        }
        Drive::new(id, unused.next().unwrap_or_default(), State::Missing)
    };
    chosen.topology.drives.iter().map(|member| member.drive).map(drive).map(Arc::new).collect()
}

/// Writes epochs until one is durable on all drives of its in-set. A drive on which that fails is missing from then on,
/// and the start rule is asked again.
async fn write_epoch(
    config: &Config,
    drives: &[Arc<Drive>],
    chosen: &mut Chosen,
    start: StartNumber,
) -> Result<Topology, OpenError> {
    let members = chosen.topology.in_count();
    let mut parent = chosen.topology.clone();
    loop {
        let next = topology::next(&parent, rt::random::u64(), start, &chosen.missing);
        let present: Vec<Arc<Drive>> = drives.iter().filter(|drive| next.is_in(drive.id)).cloned().collect();
        let Unwritten { mut failed, late } = write_everywhere(&present, &next).await;
        failed.extend(late);
        if failed.is_empty() {
            return Ok(next);
        }
        parent = next;
        chosen.missing.extend(&failed);
        chosen.present.retain(|(_, drive)| !failed.contains(drive));
        let missing = chosen.missing.len();
        let may = config.accept_missing || may_start(members, missing, parent.parity);
        if !may || chosen.present.is_empty() {
            let is_failed = |drive: &&Arc<Drive>| chosen.missing.contains(&drive.id);
            let dirs = drives.iter().filter(is_failed).map(|drive| drive.dir.clone()).collect();
            let allowed = (0..members).rev().find(|&n| may_start(members, n, parent.parity)).unwrap_or(0);
            return Err(OpenError::TooManyMissing { missing, members, allowed, dirs });
        }
    }
}

/// What the operator should know about this start: drives that are missing, or came back and are not used.
fn notices(looked: &[Looked], chosen: &Chosen, drives: &[Arc<Drive>]) -> Vec<String> {
    let mut notices = Vec::new();
    for id in &chosen.missing {
        let dir = drives.iter().find(|drive| drive.id == *id).map(|drive| drive.dir.display().to_string());
        notices.push(format!(
            "drive {id} is missing (perhaps {}): new writes go to the others, and it is not trusted when it comes back",
            dir.unwrap_or_default()
        ));
    }
    for &(dir, id) in &chosen.returned {
        notices.push(format!(
            "drive {id} in {} was taken out earlier and has come back: it is not used; empty the directory to give it \
             back as a new drive",
            looked[dir].seen.dir.display()
        ));
    }
    for &dir in &chosen.strays {
        notices.push(format!(
            "{} holds a drive that was being added when the server ended, and is not used; add it again with 'hafiz drive \
             add'",
            looked[dir].seen.dir.display()
        ));
    }
    notices
}

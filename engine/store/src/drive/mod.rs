//! A drive: a directory with an identity, what is known of its health, and every path on it.

mod failure;
mod form;
mod look;
mod pulse;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use rt::JoinHandle;
use rt::file::Space;

pub(crate) use failure::{Blame, Op, blame, is_full, is_gone};
pub(crate) use form::{equip, form};
pub(crate) use look::{Looked, look};
pub(crate) use pulse::{Ages, InFlight, Kind, Latency, Pulse};

use crate::format::topology::Topology;
use crate::ids::{DriveId, PartitionId, VolumeId};

pub(crate) const IDENTITY_NAME: &str = "hafiz.drive";
pub(crate) const TOPOLOGY_NAME: &str = "topology";
pub(crate) const VOLUMES_NAME: &str = "volumes";
pub(crate) const INDEX_NAME: &str = "index";
/// Locked by the process that has the drive.
pub(crate) const LOCK_NAME: &str = "hafiz.lock";
/// Lies on drives whose tables were restored and lack commits: nothing is written, and nothing freed.
pub(crate) const RESTORED_NAME: &str = "restored";
/// Lies on drives on which tables were restored that did not count there; the next start makes them count.
pub(crate) const PLACED_NAME: &str = "placed";
/// What is written aside and renamed ends so.
pub(crate) const ASIDE_SUFFIX: &str = ".new";
/// What is kept for whoever wants to look, out of the way of what replaced it, ends so, with a number.
pub(crate) const DAMAGED_SUFFIX: &str = ".damaged";

/// Operations in flight on a drive that is late beyond which it gets no more reads.
const LATE_OPERATIONS_MAX: u32 = 64;
/// How often whoever waits for a drive looks whether it is still used.
const STATE_LOOK_EVERY: Duration = Duration::from_millis(250);

/// Whether a drive is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    In = 0,
    /// Late or failing: gets no new volumes; is read and written still.
    Suspect = 1,
    /// Taken out by an epoch, or not in yet: neither read nor written. One that was in enters again as a new drive only.
    Out = 2,
    /// Was not there at the start.
    Missing = 3,
}

/// A drive of the topology.
pub(crate) struct Drive {
    pub(crate) id: DriveId,
    /// Where it is; for a missing one a directory that was named and holds no other drive.
    pub(crate) dir: PathBuf,
    state: AtomicU8,
    /// What lateness is judged by.
    pub(crate) pulse: Pulse,
    /// It has not ended some operation for so long that it counts as late.
    late: AtomicBool,
    /// It was suspected because it is slower than the others.
    slow: AtomicBool,
    /// Its file system is being asked for its space.
    asking: AtomicBool,
    /// An epoch is being written to it, perhaps by a call that gave up waiting: no other one may be at the same files.
    writing_epoch: AtomicBool,
    read_errors: AtomicU64,
    write_errors: AtomicU64,
    /// Whether it is being taken out already.
    reported: AtomicBool,
    /// What it holds is being moved to others, and nothing new is placed on it: as the epoch that counts says.
    draining: AtomicBool,
    /// It lacked what it had acknowledged, and was not verified since: as the epoch that counts says.
    behind: AtomicBool,
    /// It is about to be taken out: no volume chooses it.
    leaving: AtomicBool,
    total_bytes: AtomicU64,
    free_bytes: AtomicU64,
    /// Of its file system; 0 while that was not asked yet.
    dev: AtomicU64,
}

impl Drive {
    pub(crate) fn new(id: DriveId, dir: PathBuf, state: State) -> Drive {
        Drive {
            id,
            dir,
            state: AtomicU8::new(state as u8),
            pulse: Pulse::default(),
            late: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            asking: AtomicBool::new(false),
            writing_epoch: AtomicBool::new(false),
            read_errors: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
            reported: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            behind: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            total_bytes: AtomicU64::new(0),
            free_bytes: AtomicU64::new(0),
            dev: AtomicU64::new(0),
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.state.load(Relaxed) {
            0 => State::In,
            1 => State::Suspect,
            2 => State::Out,
            _ => State::Missing,
        }
    }

    /// Whether it is read and written.
    pub(crate) fn is_usable(&self) -> bool {
        matches!(self.state(), State::In | State::Suspect)
    }

    /// Only the node changes states, on shard 0, but for `suspect`.
    pub(crate) fn set_out(&self) {
        self.state.store(State::Out as u8, Relaxed);
    }

    /// It was taken in by an epoch that counts.
    pub(crate) fn set_in(&self) {
        self.state.store(State::In as u8, Relaxed);
    }

    /// From in to suspect; says whether that changed anything.
    pub(crate) fn set_suspect(&self) -> bool {
        self.state.compare_exchange(State::In as u8, State::Suspect as u8, Relaxed, Relaxed).is_ok()
    }

    /// From suspect to in, unless it is being taken out.
    pub(crate) fn set_well(&self) -> bool {
        !self.reported.load(Relaxed)
            && self.state.compare_exchange(State::Suspect as u8, State::In as u8, Relaxed, Relaxed).is_ok()
    }

    /// Marks the drive as one to be taken out; says whether this call was the first.
    pub(crate) fn report(&self) -> bool {
        !self.reported.swap(true, Relaxed)
    }

    /// Lets it be reported again, after it could not be taken out.
    pub(crate) fn unreport(&self) {
        self.reported.store(false, Relaxed);
    }

    /// Whether it is being emptied.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether all it holds is to be verified.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind.load(Relaxed)
    }

    /// As the epoch has it. The node calls it for each one that counts.
    pub(crate) fn take_marks(&self, topology: &Topology) {
        let marked = topology.member(self.id);
        self.draining.store(marked.is_some_and(|marked| marked.is_draining), Relaxed);
        self.behind.store(marked.is_some_and(|marked| marked.is_behind), Relaxed);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Acquire)
    }

    pub(crate) fn set_leaving(&self, leaving: bool) {
        self.leaving.store(leaving, Release);
    }

    /// Counts one operation until the value is dropped.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.begin_timed(Kind::Other)
    }

    /// The same with one whose time is kept.
    pub(crate) fn begin_timed(&self, kind: Kind) -> InFlight<'_> {
        self.pulse.begin(kind)
    }

    /// Operations in flight and operations ended so far.
    pub(crate) fn progress(&self) -> (u32, u64) {
        (self.pulse.in_flight(), self.pulse.ended())
    }

    /// Whether some operation on it has not ended in time.
    pub(crate) fn is_late(&self) -> bool {
        self.late.load(Relaxed)
    }

    pub(crate) fn set_late(&self, late: bool) {
        self.late.store(late, Relaxed);
    }

    /// Whether it is suspect for being slow.
    pub(crate) fn is_slow(&self) -> bool {
        self.slow.load(Relaxed) && self.state() == State::Suspect
    }

    pub(crate) fn set_slow(&self, slow: bool) {
        self.slow.store(slow, Relaxed);
    }

    /// Whether a read may be sent to it. One that is late and has gathered many is not sent more: each holds a buffer until
    /// the drive answers.
    pub(crate) fn takes_reads(&self) -> bool {
        !self.is_late() || self.pulse.in_flight() < LATE_OPERATIONS_MAX
    }

    /// Takes the right to write an epoch to it; false while an earlier one is still under way.
    pub(crate) fn begin_epoch(&self) -> bool {
        !self.writing_epoch.swap(true, Relaxed)
    }

    pub(crate) fn end_epoch(&self) {
        self.writing_epoch.store(false, Relaxed);
    }

    pub(crate) fn begin_asking(&self) -> bool {
        !self.asking.swap(true, Relaxed)
    }

    pub(crate) fn end_asking(&self) {
        self.asking.store(false, Relaxed);
    }

    /// Whether it is used and ends what it begins in time.
    pub(crate) fn answers(&self) -> bool {
        self.is_usable() && !self.is_late()
    }

    /// As `while_used`, but no longer than the drive answers, and not at all if it does not: for what can be left to later.
    pub(crate) async fn while_answering<T>(&self, operation: impl Future<Output = T>) -> Option<T> {
        if !self.answers() {
            return None;
        }
        // Counted, so that a drive that hangs in it is late.
        let _in_flight = self.begin();
        self.wait_while(Drive::answers, operation).await
    }

    /// Does something on the drive in a task of its own, and waits for it as long as the drive answers. `None`: it does not. In
    /// the foreground, for the drive is judged by the time that it takes. What was begun goes on then and counts as in flight until it ends, so that a drive that hangs in it is taken out in time.
    pub(crate) async fn attempt<T: 'static>(
        self: &Arc<Drive>,
        operation: impl Future<Output = T> + 'static,
    ) -> Option<T> {
        let drive = self.clone();
        self.while_it_answers(&mut rt::spawn_foreground(async move {
            let _in_flight = drive.begin();
            operation.await
        }))
        .await
    }

    /// Waits for a task that is busy on the drive, but no longer than the drive answers; the task goes on by itself.
    pub(crate) async fn while_it_answers<T>(&self, task: &mut JoinHandle<T>) -> Option<T> {
        self.wait_while(Drive::answers, task).await
    }

    /// Waits for an operation on the drive, but no longer than the drive is used: `None` when it was taken out meanwhile. The
    /// operation goes on by itself then, and keeps what it works on.
    pub(crate) async fn while_used<T>(&self, operation: impl Future<Output = T>) -> Option<T> {
        self.wait_while(Drive::is_usable, operation).await
    }

    async fn wait_while<T>(&self, is_worth: fn(&Drive) -> bool, operation: impl Future<Output = T>) -> Option<T> {
        let mut operation = pin!(operation);
        loop {
            match rt::time::timeout(STATE_LOOK_EVERY, operation.as_mut()).await {
                Ok(result) => return Some(result),
                Err(rt::time::Elapsed) if is_worth(self) => {}
                Err(rt::time::Elapsed) => return None,
            }
        }
    }

    /// Counts an error and returns how many of its kind there have been.
    pub(crate) fn count_error(&self, op: Op) -> u64 {
        let counter = match op {
            Op::Read => &self.read_errors,
            Op::Write => &self.write_errors,
        };
        counter.fetch_add(1, Relaxed) + 1
    }

    /// Errors of reads and of writes (flushes included) so far.
    pub(crate) fn errors(&self) -> (u64, u64) {
        (self.read_errors.load(Relaxed), self.write_errors.load(Relaxed))
    }

    /// Its file system's, as last asked.
    pub(crate) fn space(&self) -> Space {
        Space {
            total: self.total_bytes.load(Relaxed),
            free: self.free_bytes.load(Relaxed),
            dev: self.dev.load(Relaxed),
        }
    }

    pub(crate) fn set_space(&self, space: Space) {
        self.total_bytes.store(space.total, Relaxed);
        self.free_bytes.store(space.free, Relaxed);
        self.dev.store(space.dev, Relaxed);
    }

    pub(crate) fn identity_path(&self) -> PathBuf {
        self.dir.join(IDENTITY_NAME)
    }

    pub(crate) fn volumes_dir(&self) -> PathBuf {
        self.dir.join(VOLUMES_NAME)
    }

    pub(crate) fn volume_path(&self, volume: VolumeId, slot: usize) -> PathBuf {
        self.volumes_dir().join(volume_name(volume, slot))
    }

    /// Tables and manifest of a partition.
    pub(crate) fn index_dir(&self, partition: PartitionId) -> PathBuf {
        self.dir.join(INDEX_NAME).join(partition.0.to_string())
    }
}

/// The name of a slot file.
pub(crate) fn volume_name(volume: VolumeId, slot: usize) -> String {
    format!("{volume}.{slot}")
}

/// Volume and slot of a slot file's name; `None` for any other name.
pub(crate) fn parse_volume_name(name: &str) -> Option<(VolumeId, usize)> {
    let (id, slot) = name.split_once('.')?;
    let volume = VolumeId(u64::from_str_radix(id, 16).ok()?);
    let slot = slot.parse().ok()?;
    // One spelling for each file: signs, upper case and leading zeros are not ours.
    (volume_name(volume, slot) == name).then_some((volume, slot))
}

/// The path beside `path` that is written before it is renamed to it.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ASIDE_SUFFIX);
    PathBuf::from(name)
}

/// Writes a small file so that after a crash it is there whole or not at all.
pub(crate) async fn write_whole(path: &Path, bytes: Vec<u8>) -> std::io::Result<()> {
    let aside = aside(path);
    if rt::file::exists(&aside).await? {
        rt::file::unlink(&aside).await?;
    }
    rt::file::write_new(&aside, bytes).await?;
    rt::file::rename(&aside, path).await?;
    rt::file::sync_dir(path.parent().expect("files of a drive lie in its directory")).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StartNumber;

    #[test]
    fn names_of_slot_files_read_back_and_have_one_spelling() {
        let volume = VolumeId::new(StartNumber::new(0xab).unwrap(), 3, 17);
        assert_eq!(volume_name(volume, 11), "0000ab0003000011.11");
        assert_eq!(parse_volume_name("0000ab0003000011.11"), Some((volume, 11)));
        for other in ["", ".", "0000ab0003000011", "ab0003000011.1", "0000AB0003000011.1", "0000ab0003000011.01", "x.1"]
        {
            assert_eq!(parse_volume_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_drive_that_is_being_taken_out_does_not_get_well() {
        let drive = Drive::new(DriveId(1), "/d".into(), State::In);
        assert!(drive.set_suspect() && !drive.set_suspect());
        assert!(drive.set_well());
        assert_eq!(drive.state(), State::In);
        assert!(drive.set_suspect() && drive.report() && !drive.report());
        assert!(!drive.set_well());
        drive.set_out();
        assert!(!drive.is_usable() && !drive.set_suspect());
    }
}

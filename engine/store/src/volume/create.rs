//! Makes a volume and takes one away.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use rt::file::{File, OpenOptions, Space, Sync};
use rt::sync::Event;

use super::lateness::{Answers, Silent, wait_for_answers};
use super::{CLOSES_MAX, Class, Closed, Volume, VolumePage, files};
use crate::drive::{Drive, Op, State, is_full};
use crate::error::{Error, Result};
use crate::ids::{DriveId, Geometry, PAGE_BYTES, VolumeId};
use crate::node::Node;
use crate::planted::{self, Bug};
use crate::space::moved::Stray;
use crate::space::proof::ProvenDead;
use crate::space::reserve;
use crate::topology::DRIVES_MAX;

const MIB: u64 = 1 << 20;
/// Smallest slot: a few of the largest batches on a single drive.
const SLOT_BYTES_MIN: u64 = 16 * MIB;
const LOG_SLOT_BYTES_MAX: u64 = 256 * MIB;
const DATA_SLOT_BYTES_MAX: u64 = 1024 * MIB;
/// A slot takes at most this share of what is free, so that a small drive holds many volumes.
const LOG_SHARE: u64 = 512;
const DATA_SHARE: u64 = 256;

/// A drive with less than this share of its size left, and a slot, is nearly full.
const LOW_SHARE: u64 = 64;
/// Others have much more room when they have so many times as much left.
const ROOMY_FACTOR: u64 = 4;

/// Where a volume made now may lie.
pub(crate) struct Places {
    pub(crate) geometry: Geometry,
    /// As many as the volume is wide, or more.
    drives: Vec<Arc<Drive>>,
    /// Drives that must have room.
    needed: usize,
}

impl Places {
    /// Whether a volume made now would lie on no better drives than one on these.
    pub(crate) fn suit(&self, ours: &[DriveId]) -> bool {
        let is_place = |id: &DriveId| self.drives.iter().any(|drive| drive.id == *id);
        ours.len() == self.geometry.width() && ours.iter().all(is_place)
    }

    /// The drives of the volume: of more than it is wide, each as often as its room says.
    fn pick(&self, volume: VolumeId) -> Vec<Arc<Drive>> {
        let free: Vec<u64> = self.drives.iter().map(|drive| drive.space().free).collect();
        let picked = crate::topology::pick(&free, self.geometry.width(), volume.0);
        picked.into_iter().map(|place| self.drives[place].clone()).collect()
    }
}

impl Node {
    /// Makes a volume that is ready to be written: its files, names and first pages are durable on all of its drives.
    ///
    /// A drive that fails while it is made is taken out, one that does not answer in time is suspect, and the volume is made
    /// without it; so it is without a full one, as long as enough others have room. On full drives a log volume takes its room
    /// from the reserve.
    /// Errors: `Full`, with everything removed again; `Unavailable` when too few drives are left, or none.
    /// Panics if `closes` is longer than `CLOSES_MAX`.
    pub(crate) async fn create_volume(
        self: &Arc<Node>,
        class: Class,
        closes: Vec<Closed>,
        predecessor: Option<Closed>,
    ) -> Result<Arc<Volume>> {
        if !self.is_full() {
            let made = self.try_create_volume(class, None, closes.clone(), predecessor).await;
            if class == Class::Data || !matches!(made, Err(Error::Full)) {
                return made;
            }
        } else if class == Class::Data {
            // What becomes free belongs to the reserve first.
            return Err(Error::Full);
        }
        let slot_bytes = reserve::give_volume(self).await.ok_or(Error::Full)?;
        self.try_create_volume(class, Some(slot_bytes), closes, predecessor).await
    }

    /// Makes a log volume ahead of need. Unlike `create_volume` it leaves the reserve alone.
    pub(crate) async fn create_spare(self: &Arc<Node>) -> Result<Arc<Volume>> {
        if self.is_full() {
            return Err(Error::Full);
        }
        self.try_create_volume(Class::Log, None, Vec::new(), None).await
    }

    /// `slot_bytes`: of each slot; `None` = by class and room.
    async fn try_create_volume(
        self: &Arc<Node>,
        class: Class,
        slot_bytes: Option<u64>,
        closes: Vec<Closed>,
        predecessor: Option<Closed>,
    ) -> Result<Arc<Volume>> {
        assert!(closes.len() <= CLOSES_MAX, "a first page closes CLOSES_MAX streams at most");
        let mut full: Vec<DriveId> = Vec::new();
        // Each attempt but the last takes at least one drive out, or finds one more that is full or suspect.
        for _ in 0..=2 * DRIVES_MAX {
            if self.refuses_writes() {
                return Err(Error::Unavailable("too few drives are left to write to"));
            }
            // Until the volume is known, or given up: see `retire`.
            let _creation = self.creations.begin();
            let places = match self.places_without(&full) {
                Some(places) if full.is_empty() || places.drives.len() >= places.needed => places,
                Some(_) | None if !full.is_empty() => return Err(Error::Full),
                Some(_) | None => return Err(Error::Unavailable("no drive is left")),
            };
            let id = self.next_volume_id(rt::this_shard().0);
            let (geometry, mut drives) = (places.geometry, places.pick(id));
            drives.rotate_left(id.counter() as usize % geometry.width());
            let page = VolumePage {
                volume: id,
                deployment: self.deployment,
                epoch: self.topology().number,
                slot_bytes: slot_bytes.unwrap_or_else(|| self.slot_bytes(class, &drives)),
                secret: rt::random::u64() as u32 | 1,
                class,
                geometry,
                drives: drives.iter().map(|drive| drive.id).collect(),
                moves: 0,
                hollow: false,
                predecessor,
                closes: closes.clone(),
            };
            let making = Making::begin(&page, &drives);
            let in_time = making.in_time(self).await;
            if in_time.is_ok() && making.is_done() {
                let volume = Volume::new(page, drives, 0, Arc::downgrade(self));
                self.register(volume.clone());
                return Ok(volume);
            }
            let failures = making.give_up(id, &drives).await;
            in_time.map_err(|Silent| Error::Unavailable("a drive does not answer and cannot be done without"))?;
            // Those that are late are suspect by now: the next attempt is made without them.
            full.extend(self.learn_from(&failures, &drives).await?);
        }
        Err(Error::Unavailable("no volume can be made"))
    }

    /// Where a volume made now may lie; `None` without a usable drive.
    pub(crate) fn places(&self) -> Option<Places> {
        self.places_without(&[])
    }

    /// The same without drives that were just found full.
    fn places_without(&self, full: &[DriveId]) -> Option<Places> {
        let (topology, drives) = (self.topology(), self.drives());
        let members = || drives.iter().filter(|drive| topology.is_in(drive.id) && !drive.is_leaving());
        let well: Vec<Arc<Drive>> =
            members().filter(|drive| drive.state() == State::In && !drive.is_draining()).cloned().collect();
        // Suspect drives get no new volumes as long as there are others.
        let mut drives: Vec<Arc<Drive>> =
            if well.is_empty() { members().filter(|drive| drive.is_usable()).cloned().collect() } else { well };
        let needed = crate::topology::drives_needed(drives.len(), topology.parity);
        drives.retain(|drive| !full.contains(&drive.id));
        let drives = self.without_full(drives, needed);
        let geometry = crate::topology::geometry_for(drives.len(), topology.parity)?;
        Some(Places { geometry, needed, drives })
    }

    /// Leaves out drives that have no room for a slot, and those that are nearly full while others have much more: what they
    /// have left is for tables. All stay if too few were left.
    fn without_full(&self, drives: Vec<Arc<Drive>>, needed: usize) -> Vec<Arc<Drive>> {
        let slot_bytes = self.config.data_slot_bytes.unwrap_or(SLOT_BYTES_MIN);
        let low = |drive: &Drive| drive.space().total / LOW_SHARE + slot_bytes;
        let without = |drives: Vec<Arc<Drive>>, is_full: &dyn Fn(&Drive) -> bool| {
            let others: Vec<Arc<Drive>> = drives.iter().filter(|drive| !is_full(drive)).cloned().collect();
            if others.len() >= needed { others } else { drives }
        };
        let drives = without(drives, &|drive| drive.space().free < slot_bytes);
        let roomy = drives.iter().filter(|drive| drive.space().free >= ROOMY_FACTOR * low(drive)).count();
        if roomy < needed { drives } else { without(drives, &|drive| drive.space().free < low(drive)) }
    }

    /// Bytes of each slot of a log volume made now.
    pub(crate) fn log_slot_bytes(&self) -> u64 {
        self.places().map_or(SLOT_BYTES_MIN, |places| self.slot_bytes(Class::Log, &places.drives))
    }

    /// Of drives that are empty.
    pub(crate) fn log_slot_bytes_at_first(&self, total: u64) -> u64 {
        self.slot_bytes_for(Class::Log, total)
    }

    fn slot_bytes(&self, class: Class, drives: &[Arc<Drive>]) -> u64 {
        let room = |drive: &Arc<Drive>| match class {
            // As the reserve does, which must have room for what is in one.
            Class::Log => self.share(drive).free,
            Class::Data => drive.space().free,
        };
        self.slot_bytes_for(class, drives.iter().map(room).min().unwrap_or(0))
    }

    fn slot_bytes_for(&self, class: Class, free: u64) -> u64 {
        let (configured, share, max) = match class {
            Class::Log => (self.config.log_slot_bytes, LOG_SHARE, LOG_SLOT_BYTES_MAX),
            Class::Data => (self.config.data_slot_bytes, DATA_SHARE, DATA_SLOT_BYTES_MAX),
        };
        if let Some(bytes) = configured {
            return bytes.next_multiple_of(PAGE_BYTES as u64).max(2 * PAGE_BYTES as u64);
        }
        (free / share / MIB * MIB).clamp(SLOT_BYTES_MIN, max)
    }

    /// The drives that are full; those that failed are taken out.
    async fn learn_from(
        self: &Arc<Node>,
        failures: &[(usize, io::Error)],
        drives: &[Arc<Drive>],
    ) -> Result<Vec<DriveId>> {
        for (slot, error) in failures.iter().filter(|(_, error)| !is_full(error)) {
            if error.raw_os_error().is_some_and(files::is_shortage) {
                return Err(Error::Busy);
            }
            telemetry::warn!("a volume could not be made"; drive = drives[*slot].dir.display(), error = error);
            drives[*slot].count_error(Op::Write);
            self.take_out(drives[*slot].id, "a volume could not be made on it").await?;
        }
        let full = failures.iter().filter(|(_, error)| is_full(error)).map(|(slot, _)| &drives[*slot]);
        // Until the file system is asked again.
        Ok(full.inspect(|drive| drive.set_space(Space { free: 0, ..drive.space() })).map(|drive| drive.id).collect())
    }

    /// Removes a volume for good: its files on all drives that are there. Files on absent drives are no source of
    /// anything when they come back: those drives enter as new ones.
    ///
    /// After an error some files may be left; the call may be repeated.
    pub(crate) async fn remove_volume(self: &Arc<Node>, dead: ProvenDead<VolumeId>) -> Result<()> {
        let id = *dead.what();
        let Ok(volume) = self.volume(id).await else { return Ok(()) };
        if !volume.begin_removal() {
            return Err(Error::Busy);
        }
        self.unregister(id);
        for shard in 0..rt::shard_count() {
            rt::call(rt::ShardId(shard), move || async move { files::close(id) }).await;
        }
        let mut failed = false;
        for (slot, drive) in volume.files() {
            match drive.while_answering(unlink_slot(&drive, id, slot)).await {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    self.note_io_error(&drive, &error, Op::Write);
                    failed = true;
                }
                // The next start finds what stays.
                None => failed |= drive.is_usable(),
            }
        }
        if failed {
            volume.end_removal();
            self.register(volume);
            return Err(Error::Unavailable("a drive failed while a volume was removed"));
        }
        Ok(())
    }
}

impl Node {
    /// Removes a file that was a slot of `volume` before the slot moved.
    pub(crate) async fn remove_stray(&self, volume: &Volume, dead: ProvenDead<Stray>) -> Result<()> {
        let Stray { slot, drive } = dead.what();
        let (on, id, slot_on) = (drive.clone(), volume.id, *slot);
        if drive.is_usable() {
            // A late one can hit nothing that came after it: nothing moves to a drive before it has answered.
            match drive.attempt(async move { unlink_slot(&on, id, slot_on).await }).await {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    self.note_io_error(drive, &error, Op::Write);
                    return Err(Error::Unavailable("a drive failed while a slot that has moved was removed from it"));
                }
                None => return Err(Error::Unavailable("a drive does not answer")),
            }
        }
        volume.forget_stray(*slot, drive.id);
        Ok(())
    }

    /// Removes the files of a volume that was never handed out.
    pub(crate) async fn remove_unborn(&self, dead: ProvenDead<VolumeId>) -> Result<()> {
        let id = *dead.what();
        for drive in self.drives().iter().filter(|drive| drive.is_usable()) {
            let removal = async {
                for slot in 0..usize::from(Geometry::DATA_MAX + Geometry::PARITY_MAX) {
                    if rt::file::exists(drive.volume_path(id, slot)).await.unwrap_or(false) {
                        unlink_slot(drive, id, slot).await?;
                    }
                }
                Ok(())
            };
            match drive.while_answering(removal).await {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    self.note_io_error(drive, &error, Op::Write);
                    return Err(Error::Unavailable("a drive failed while a volume was removed"));
                }
                None => return Err(Error::Unavailable("a drive does not answer")),
            }
        }
        Ok(())
    }
}

/// The slot files of a volume, all made at once.
struct Making {
    width: usize,
    geometry: Geometry,
    drives: Vec<Arc<Drive>>,
    /// By slot: how it ended.
    made: RefCell<Vec<Option<io::Result<()>>>>,
    changed: Event,
}

impl Making {
    fn begin(page: &VolumePage, drives: &[Arc<Drive>]) -> Rc<Making> {
        let made = RefCell::new(drives.iter().map(|_| None).collect());
        let (width, drives) = (page.geometry.width(), drives.to_vec());
        let making = Rc::new(Making { width, geometry: page.geometry, drives, made, changed: Event::new() });
        for (slot, drive) in making.drives.iter().cloned().enumerate() {
            let (making, first_page) = (making.clone(), page.encode(slot));
            let (id, slot_bytes) = (page.volume, page.slot_bytes);
            // Requests may wait for the volume, whoever has it made.
            drop(rt::spawn_foreground(async move {
                let result = make_slot(&drive, id, slot, slot_bytes, &first_page).await;
                making.made.borrow_mut()[slot] = Some(result);
                making.changed.notify();
            }));
        }
        making
    }

    fn answers(&self) -> Answers {
        let made = self.made.borrow();
        let mask = |f: fn(&Option<io::Result<()>>) -> bool| {
            made.iter().enumerate().filter(|(_, made)| f(made)).fold(0, |mask, (slot, _)| mask | 1 << slot)
        };
        Answers { waiting: mask(Option::is_none), done: mask(|made| matches!(made, Some(Ok(())))) }
    }

    /// Waits until all slots are made or have failed, or those that are not count as late.
    async fn in_time(&self, node: &Node) -> std::result::Result<(), Silent> {
        let late = |answers| node.suspect_late(&self.drives, answers, self.geometry);
        wait_for_answers(node, &self.changed, || self.answers(), late).await
    }

    fn is_done(&self) -> bool {
        self.answers().done.count_ones() as usize == self.width
    }

    /// Takes away what was made; the slots that failed and why. No proof is needed: the volume was never handed out, so no
    /// stripe is in it. Where a slot is late this is left to a task that waits for it.
    async fn give_up(self: Rc<Self>, id: VolumeId, drives: &[Arc<Drive>]) -> Vec<(usize, io::Error)> {
        let waiting = self.answers().waiting;
        for (slot, drive) in drives.iter().enumerate() {
            if waiting & 1 << slot == 0 {
                drive.while_answering(remove_file(id, slot, drive)).await;
                continue;
            }
            let (making, drive) = (self.clone(), drive.clone());
            drop(rt::spawn(async move {
                making.changed.wait_for(|| (making.answers().waiting & 1 << slot == 0).then_some(())).await;
                remove_file(id, slot, &drive).await;
            }));
        }
        let mut made = self.made.borrow_mut();
        let failures = made.iter_mut().enumerate().filter_map(|(slot, made)| match made {
            Some(Err(_)) => Some((slot, made.take()?.err()?)),
            Some(Ok(())) | None => None,
        });
        failures.collect()
    }
}

async fn remove_file(id: VolumeId, slot: usize, drive: &Drive) {
    if let Err(error) = unlink_slot(drive, id, slot).await {
        // What stays is an empty volume; the clean-up after a start finds it.
        telemetry::warn!("a slot file of an unfinished volume stays"; drive = drive.dir.display(), error = error);
    }
}

async fn make_slot(drive: &Drive, id: VolumeId, slot: usize, bytes: u64, first_page: &[u8]) -> io::Result<()> {
    let _in_flight = drive.begin();
    let file = File::open(drive.volume_path(id, slot), OpenOptions::CREATE_NEW_DIRECT).await?;
    file.allocate(0, bytes).await?;
    let mut buf = rt::buf::alloc(PAGE_BYTES).await;
    buf[..PAGE_BYTES].copy_from_slice(first_page);
    let sync = if planted::is(Bug::VolumePageNotSynced) { Sync::None } else { Sync::Data };
    let (result, _) = file.write_at(buf.window(0..PAGE_BYTES), 0, sync).await;
    result?;
    if planted::is(Bug::VolumePageNotSynced) {
        return rt::file::sync_dir(drive.volumes_dir()).await;
    }
    // The length is metadata that a later write within it does not sync.
    file.sync_all().await?;
    if planted::is(Bug::VolumeNameNotSynced) {
        return Ok(());
    }
    rt::file::sync_dir(drive.volumes_dir()).await
}

async fn unlink_slot(drive: &Drive, id: VolumeId, slot: usize) -> io::Result<()> {
    let _in_flight = drive.begin();
    match rt::file::unlink(drive.volume_path(id, slot)).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => rt::file::sync_dir(drive.volumes_dir()).await,
    }
}

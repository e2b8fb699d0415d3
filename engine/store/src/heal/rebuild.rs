//! How slots of a volume come to lie on another drive: those that were lost with their drives are computed from the others,
//! those on a drive that is drained move away, and the rebalance moves one. All of them in one pass over the volume.
//!
//! A new slot is written beside its place, `<id>.<slot>.<n>.new`, its first page last, and renamed when all of it is durable. A
//! crash before that leaves the volume as it was. The volume takes no more stripes and is not punched meanwhile.
//!
//! A drive that does not answer in time gets no slot: what was begun on it is given up, and made on another one. From the
//! rename on there is no giving up, since a late one must not bring back a slot that lies elsewhere by then: the volume stays
//! in the hands of a task that waits until the drive has answered or is out, and whoever asked for the rebuild goes on.
//!
//! Only as many slots are read as a stripe needs; the others when those do not give all of a stripe. Where something that is
//! needed cannot be computed, or it cannot be known, the new slots are *hollow*: their first pages say so, and they count as
//! short until `hollow` has found that nothing is missing.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rt::JoinHandle;
use rt::file::{File, OpenOptions, Sync};
use rt::time::Duration;

use super::check::{Checked, Found, check, compute, header};
use super::mend::{mend_checked, pooled};
use super::pace::Pace;
use super::pieces::{PIECE_PAGES, Pieces};
use super::standing::{Standing, needed_batches, needed_extents};
use super::{BYTES_REBUILT, SLOTS_REBUILT, STRIPES_CHECKED};
use crate::drive::{ASIDE_SUFFIX, DAMAGED_SUFFIX, Drive, Op, State, is_full};
use crate::format::fragment::{Header, fragment_pages, used_pages};
use crate::format::volume::VolumePage;
use crate::ids::{DriveId, PAGE_BYTES, SlotOffset, VolumeId};
use crate::node::Node;
use crate::planted::{self, Bug};
use crate::space::moved;
use crate::stripe::Layout;
use crate::volume::{Class, Mending, Volume};

/// Bytes of one write.
const WRITE_BYTES: usize = PIECE_PAGES as usize * PAGE_BYTES;
/// Pages of nothing that are rather written than begun anew behind.
const GAP_PAGES: u32 = 16;
/// Writes on their way, for each new slot.
const WRITES_IN_FLIGHT: usize = 2;
/// One write is durable after so many bytes: it takes new blocks, as all of them do, so the file system commits its journal and
/// flushes the drive's cache for it. The next commit of requests there would wait for all that had gathered.
const SYNC_EVERY: usize = 8 << 20;
/// Stripes of one volume that cannot be computed and of which it is asked whether anything needs them. Of more it is assumed.
const ASKED_MAX: usize = 4096;

/// How often whoever waits for the end of a rebuild looks whether its drives still answer.
const TARGET_LOOK_EVERY: Duration = Duration::from_millis(250);

/// How a rebuild ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing was to do, or all of it was done.
    Done,
    /// There is no drive for some of the slots.
    NoDrive,
    /// Something else is done with the volume, or it still takes stripes: later.
    Later,
    /// A drive failed or does not answer, or the store is being closed.
    Failed,
}

/// Slots that should lie elsewhere: their drive or file is not there, or the drive is being drained.
pub(super) fn slots_to_move(volume: &Volume) -> Vec<usize> {
    let missing = volume.missing_slots();
    let drained = |slot: usize| volume.drive(slot).is_draining();
    (0..volume.geometry.width()).filter(|&slot| missing & 1 << slot != 0 || drained(slot)).collect()
}

/// Makes the slots of `volume` that are missing again, and moves those off drives that are drained.
pub(super) async fn rebuild(node: &Arc<Node>, volume: &Arc<Volume>, pace: &mut Pace) -> Outcome {
    relocate(node, volume, None, pace).await
}

/// The same; if that leaves nothing to do, the slot `also` moves to the drive that was chosen for it.
pub(super) async fn relocate(
    node: &Arc<Node>,
    volume: &Arc<Volume>,
    also: Option<(usize, Arc<Drive>)>,
    pace: &mut Pace,
) -> Outcome {
    let Some(mending) = volume.begin_mending() else { return Outcome::Later };
    let standing = Standing::of(node, volume).await;
    if !standing.settled || node.volume(volume.id).await.is_err() {
        return Outcome::Later;
    }
    remove_strays(node, volume, &mending).await;
    let restored = restore_first_pages(node, volume, &mending).await;
    let mut wanted = slots_to_move(volume);
    let mut targets = choose(node, volume, &wanted);
    if let Some((slot, drive)) = also.filter(|_| wanted.is_empty()) {
        wanted.push(slot);
        // Looked at again now that nobody else moves slots of the volume.
        targets.extend(may_move(node, volume, &drive).then_some((slot, drive)));
    }
    if targets.is_empty() && !restored {
        return if wanted.is_empty() { Outcome::Done } else { Outcome::NoDrive };
    }
    if volume.missing_slots().count_ones() as usize == volume.geometry.width() {
        // There is nothing to make them from; a file that is empty would only stand where the right one may come back.
        return Outcome::NoDrive;
    }
    let is_enough = volume.solid_slots().count_ones() >= u32::from(volume.geometry.data);
    let mut made = Vec::with_capacity(targets.len());
    for (slot, drive) in &targets {
        match NewSlot::create(node, volume, *slot, drive.clone()).await {
            Ok(new) => made.push(new),
            Err(error) => {
                discard(made).await;
                return fail(node, drive, &error);
            }
        }
    }
    let beyond = match fill(node, volume, &mut made, standing.end, pace).await {
        Ok(beyond) => beyond,
        Err(outcome) => {
            discard(made).await;
            return outcome;
        }
    };
    // With fewer slots than a stripe needs there may have been stripes of which nothing is left to be seen.
    let hollow = !is_enough || is_any_needed(volume, beyond).await;
    let ids: Vec<(usize, DriveId)> = targets.iter().map(|(slot, drive)| (*slot, drive.id)).collect();
    let page = VolumePage { hollow: hollow && !planted::is(Bug::HollowCountsAsHealed), ..volume.moved_page(&ids) };
    let outcome = if targets.len() == wanted.len() { Outcome::Done } else { Outcome::NoDrive };
    let (on, of) = (targets.iter().map(|(_, drive)| drive.clone()).collect::<Vec<_>>(), (node.clone(), volume.clone()));
    let mut ending = rt::spawn(async move { put_in_place(&of.0, &of.1, mending, made, &page, outcome).await });
    loop {
        match rt::time::timeout(TARGET_LOOK_EVERY, &mut ending).await {
            Ok(outcome) => return outcome,
            Err(rt::time::Elapsed) if on.iter().all(|drive| drive.answers()) => {}
            Err(rt::time::Elapsed) => {
                telemetry::warn!("a drive does not answer: a slot that was made on it waits for it"; volume = volume.id);
                return Outcome::Later;
            }
        }
    }
}

/// Gives the new slots their names, and the volume the new slots. Takes until each of their drives has answered or is out.
async fn put_in_place(
    node: &Arc<Node>,
    volume: &Arc<Volume>,
    mending: Mending,
    made: Vec<NewSlot>,
    page: &VolumePage,
    mut outcome: Outcome,
) -> Outcome {
    let mut moved = Vec::with_capacity(made.len());
    let mut made = made.into_iter();
    for mut new in made.by_ref() {
        match new.finish(page).await {
            // It was taken out in the end. What it has is no slot; the one that it was to replace still is, if it is there.
            Ok(()) if !new.drive.is_usable() => outcome = Outcome::Failed,
            Ok(()) => moved.push((new.slot, new.drive.clone())),
            Err(error) => {
                outcome = fail(node, &new.drive, &error);
                discard(vec![new]).await;
                break;
            }
        }
    }
    discard(made.collect()).await;
    // Also when a later one failed: what has its name is a slot of the volume for every start from now on.
    volume.move_slots(&mending, page, &moved).await;
    SLOTS_REBUILT.add(moved.len() as u64);
    if !moved.is_empty() {
        telemetry::info!("{} slots of a volume were made again", moved.len(); volume = volume.id);
        if page.hollow {
            telemetry::error!("slots were made again without all that was in them"; volume = volume.id);
        }
    }
    remove_strays(node, volume, &mending).await;
    outcome
}

/// A slot whose file lies in its place and lacks nothing but a right first page gets that again, rather than being made anew:
/// its fragments say for themselves what they are, and may be the only ones. Whether there were any; what else they lack is
/// repaired when the volume is gone through.
async fn restore_first_pages(node: &Arc<Node>, volume: &Arc<Volume>, mending: &Mending) -> bool {
    let topology = node.topology();
    let mut restored = false;
    for slot in (0..volume.geometry.width()).filter(|slot| volume.missing_slots() & 1 << slot != 0) {
        if !topology.is_in(volume.drive(slot).id) || !volume.drive(slot).answers() {
            continue;
        }
        match volume.restore_first_page(mending, slot).await {
            Ok(done) => restored |= done,
            Err(error) => {
                telemetry::warn!("the first page of a slot cannot be written again: {error}"; volume = volume.id, slot = slot);
            }
        }
    }
    restored
}

/// Removes what slots that have moved left behind. What fails is tried again at the next pass.
async fn remove_strays(node: &Arc<Node>, volume: &Volume, mending: &Mending) {
    for stray in moved::strays(volume, mending) {
        if let Err(error) = node.remove_stray(volume, stray).await {
            telemetry::warn!("what a slot left behind stays for now: {error}"; volume = volume.id);
        }
    }
}

/// A drive for each of these slots, as far as there are any: the same one if only the file is gone; else one that is well
/// and holds no slot of this volume, the one with the most room first.
fn choose(node: &Arc<Node>, volume: &Volume, wanted: &[usize]) -> Vec<(usize, Arc<Drive>)> {
    let mut others: Vec<Arc<Drive>> =
        node.drives().iter().filter(|drive| may_move(node, volume, drive)).cloned().collect();
    others.sort_by_key(|drive| drive.space().free);
    let drive_for = |slot: usize| {
        let own = volume.drive(slot);
        if is_fit(node, volume, &own) { Some(own) } else { others.pop() }
    };
    let mut drive_for = drive_for;
    wanted.iter().filter_map(|&slot| Some((slot, drive_for(slot)?))).collect()
}

/// Whether the drive is well and has room for a slot of the volume. While it is late something that was given up on may still
/// be under way there.
fn is_fit(node: &Node, volume: &Volume, drive: &Drive) -> bool {
    drive.state() == State::In
        && drive.answers()
        && !drive.is_draining()
        && node.topology().is_in(drive.id)
        && drive.space().free >= volume.slot_bytes
}

/// Whether a slot may move there: no drive holds two slots of one volume.
fn may_move(node: &Node, volume: &Volume, drive: &Drive) -> bool {
    let holds_one = (0..volume.geometry.width()).any(|slot| volume.drive(slot).id == drive.id);
    is_fit(node, volume, drive) && (!holds_one || planted::is(Bug::MoveSharesDrive))
}

/// Whether anything needs one of these stripes, which cannot be computed: a body that was broken off leaves such, too.
async fn is_any_needed(volume: &Volume, beyond: Vec<SlotOffset>) -> bool {
    if beyond.is_empty() || beyond.len() > ASKED_MAX {
        return !beyond.is_empty();
    }
    let needed = match volume.class {
        Class::Data => needed_extents(volume, &beyond).await.map(|needed| !needed.is_empty()),
        Class::Log => {
            let batches = beyond.into_iter().map(|at| (volume.id, at)).collect();
            needed_batches(&batches).await.map(|needed| !needed.is_empty())
        }
    };
    // What is not known is assumed.
    needed.unwrap_or(true)
}

/// The slots that need not be read to fill the new ones, as a bit mask. Those stay awake that move, and, where something is to
/// be computed, as many others as a stripe needs. All do when there are not that many without holes.
fn spare_slots(volume: &Volume, made: &[NewSlot]) -> u32 {
    let solid = volume.solid_slots();
    let moving = made.iter().fold(0, |mask, new| mask | 1 << new.slot);
    let mut awake = moving & solid;
    if moving & !solid != 0 {
        let mut others: Vec<usize> =
            (0..volume.geometry.width()).filter(|slot| solid & !awake & (1 << slot) != 0).collect();
        others.sort_by_key(|&slot| volume.drive(slot).state() != State::In);
        let lacking = usize::from(volume.geometry.data).saturating_sub(awake.count_ones() as usize);
        if others.len() < lacking {
            return 0;
        }
        awake = others[..lacking].iter().fold(awake, |mask, slot| mask | 1 << slot);
    }
    !awake & ((1 << volume.geometry.width()) - 1)
}

/// Fills the new slots, and repairs in passing what it sees to be bad in the others. Gives the stripes that could not be
/// computed, up to one more than `ASKED_MAX`.
async fn fill(
    node: &Arc<Node>,
    volume: &Arc<Volume>,
    made: &mut [NewSlot],
    end: SlotOffset,
    pace: &mut Pace,
) -> Result<Vec<SlotOffset>, Outcome> {
    let spare = spare_slots(volume, made);
    let mut beyond = Vec::new();
    let mut pieces = Pieces::new(volume.clone(), end);
    pieces.let_sleep(spare);
    let mut at = SlotOffset::FIRST_STRIPE;
    while at < pieces.end() {
        pieces.load_front(at).await;
        let read = pieces.take_bytes_read();
        if read > 0 && !pace.spend(read).await {
            return Err(Outcome::Failed);
        }
        if header(&pieces, at).is_none() {
            // The fragments of a short stripe may all lie in slots that are asleep.
            if pieces.wake() {
                continue;
            }
            if pieces.is_unknown(at) {
                // A slot made now would have a hole where there may be a stripe, and replace one that has it.
                telemetry::warn!("slots are not made again: others cannot be read"; volume = volume.id, at = at.0);
                return Err(Outcome::Failed);
            }
            at = at.advance(1);
            continue;
        }
        pace.breathe().await;
        let mut checked = check(&mut pieces, at, None).await;
        let mut stripe = checked.header.expect("it was just found");
        if !(checked.is_whole() && (checked.is_readable() || wanted_of(volume, &stripe, made, &checked).0.is_empty()))
            && pieces.wake()
        {
            checked = check(&mut pieces, at, None).await;
            // With more of them awake the majority may say something else.
            stripe = checked.header.expect("it was just found");
        }
        STRIPES_CHECKED.add(1);
        let (lost, there) = wanted_of(volume, &stripe, made, &checked);
        if !checked.is_readable() && pieces.is_all_awake() {
            node.heal.suspect(volume.id, at);
        }
        if checked.is_readable() || lost.is_empty() {
            if !checked.to_mend().is_empty() {
                node.heal.note_repair((volume.id, at), Some(mend_checked(&pieces, &checked).await));
            }
            let computed = match lost.is_empty() {
                true => Vec::new(),
                false => compute(&pieces, &checked, &lost).expect("enough fragments are good"),
            };
            let copied = there.into_iter().map(|index| {
                let pages = used_pages(stripe.fragment_len, stripe.used_by(index as u8));
                (index, pieces.bytes(volume.slot_of(at, index), at, pages).expect("it was good").to_vec())
            });
            for (index, bytes) in computed.into_iter().chain(copied) {
                let slot = volume.slot_of(at, index);
                let new = made.iter_mut().find(|new| new.slot == slot).expect("it was asked for");
                if let Err(error) = new.put(at, &bytes).await {
                    return Err(fail(node, &new.drive, &error));
                }
                node.heal.rebuilt_bytes(bytes.len() as u64);
                BYTES_REBUILT.add(bytes.len() as u64);
            }
        } else {
            if beyond.len() <= ASKED_MAX {
                beyond.push(at);
            }
            keep_what_is_there(node, &mut pieces, &stripe, made).await?;
        }
        at = at.advance(fragment_pages(stripe.fragment_len));
        pieces.let_sleep(spare);
    }
    Ok(beyond)
}

/// The fragments of a stripe that the new slots should have: those to be computed, and those that are there to be copied.
fn wanted_of(volume: &Volume, stripe: &Header, made: &[NewSlot], checked: &Checked) -> (Vec<usize>, Vec<usize>) {
    let layout = Layout::stated(stripe.geometry, stripe.fragment_len, stripe.stripe_len);
    let expected = layout.expect("a header that was decoded states a layout").expected();
    let is_wanted = |index: &usize| {
        let slot = volume.slot_of(stripe.slot_offset, *index);
        let is_left_out = planted::is(Bug::RebuildSkipsParity) && *index >= usize::from(volume.geometry.data);
        made.iter().any(|new| new.slot == slot) && !is_left_out
    };
    expected.filter(is_wanted).partition(|index| !checked.fragments.contains(&(*index, Found::Good)))
}

/// Of a stripe that cannot be read slots that only move take along what they have of it, whatever that is: the old files go.
async fn keep_what_is_there(
    node: &Arc<Node>,
    pieces: &mut Pieces,
    stripe: &Header,
    made: &mut [NewSlot],
) -> Result<(), Outcome> {
    let (volume, at) = (pieces.volume.clone(), stripe.slot_offset);
    for new in made.iter_mut().filter(|new| volume.is_readable(new.slot)) {
        let pages = fragment_pages(stripe.fragment_len);
        if pieces.bytes(new.slot, at, pages).is_none() && pieces.ask_again(new.slot, at, pages).await.is_err() {
            return Err(Outcome::Failed);
        }
        let bytes = pieces.bytes(new.slot, at, pages).ok_or(Outcome::Failed)?;
        if let Err(error) = new.put(at, bytes).await {
            return Err(fail(node, &new.drive, &error));
        }
    }
    Ok(())
}

fn fail(node: &Arc<Node>, drive: &Arc<Drive>, error: &io::Error) -> Outcome {
    if is_silence(error) {
        telemetry::warn!("a drive does not answer: no slot is made again on it for now"; drive = drive.dir.display());
        return Outcome::Failed;
    }
    telemetry::warn!("a slot cannot be made again: {error}"; drive = drive.dir.display());
    if is_full(error) {
        return Outcome::NoDrive;
    }
    // What was written well and is read back otherwise is gone, but says less of the drive than a write that fails.
    let op = if error.kind() == io::ErrorKind::InvalidData { Op::Read } else { Op::Write };
    node.note_io_error(drive, error, op);
    Outcome::Failed
}

/// The drive did not answer for so long that it was given up on.
fn silence() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

fn is_silence(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none()
}

/// Gives back the room of slots that will not be finished. Room only: what cannot be removed now is at the next start.
async fn discard(made: Vec<NewSlot>) {
    for new in made {
        let NewSlot { drive, file, path, pending, .. } = new;
        let removing = drive.clone();
        let mut removal = rt::spawn(async move {
            for write in pending {
                drop(write.await);
            }
            drop(file);
            let _in_flight = removing.begin();
            remove_aside(&path).await;
        });
        // Nobody waits for it on a drive that does not answer.
        drive.while_it_answers(&mut removal).await;
    }
}

async fn remove_aside(path: &Path) {
    if let Err(error) = rt::file::unlink(path).await {
        telemetry::warn!("an unfinished slot stays for now: {error}"; path = path.display());
    }
}

/// A slot that is being made.
struct NewSlot {
    node: Arc<Node>,
    slot: usize,
    drive: Arc<Drive>,
    volume: VolumeId,
    file: File,
    path: PathBuf,
    /// What is to be written next, and where it begins.
    run: Vec<u8>,
    from: SlotOffset,
    pending: VecDeque<JoinHandle<io::Result<()>>>,
    /// Bytes since the last write that was made durable.
    unsynced: usize,
    /// What was written, in order: begin, bytes, and their CRC32C. `None`: the slot is lost anyway, and the scrub will see.
    /// A slot that moves is read back before the old one goes.
    written: Option<Vec<(u64, usize, u32)>>,
}

impl NewSlot {
    /// Not preallocated: what is dead or was never used takes no room, and the volume does not grow any more.
    async fn create(node: &Arc<Node>, volume: &Volume, slot: usize, drive: Arc<Drive>) -> io::Result<NewSlot> {
        let path = aside(&drive, volume.id, slot, node.heal.next_attempt());
        let mut making = {
            let (drive, path, slot_bytes) = (drive.clone(), path.clone(), volume.slot_bytes);
            rt::spawn_foreground(async move {
                let _in_flight = drive.begin();
                match rt::file::unlink(&path).await {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
                let file = File::open(&path, OpenOptions::CREATE_NEW_DIRECT).await?;
                if let Err(error) = file.set_len(slot_bytes).await {
                    remove_aside(&path).await;
                    return Err(error);
                }
                Ok(file)
            })
        };
        let Some(made) = drive.while_it_answers(&mut making).await else {
            drop(rt::spawn(async move {
                if making.await.is_ok() {
                    remove_aside(&path).await;
                }
            }));
            return Err(silence());
        };
        let file = made?;
        let (run, from, pending) = (Vec::new(), SlotOffset(0), VecDeque::new());
        let written = volume.is_readable(slot).then(Vec::new);
        Ok(NewSlot {
            node: node.clone(),
            slot,
            drive,
            volume: volume.id,
            file,
            path,
            run,
            from,
            pending,
            unsynced: 0,
            written,
        })
    }

    fn run_end(&self) -> u32 {
        self.from.0 + (self.run.len() / PAGE_BYTES) as u32
    }

    /// Adds whole pages. They come in order.
    async fn put(&mut self, at: SlotOffset, bytes: &[u8]) -> io::Result<()> {
        assert!(bytes.len().is_multiple_of(PAGE_BYTES) && (self.run.is_empty() || at.0 >= self.run_end()));
        if !self.run.is_empty() && at.0 - self.run_end() > GAP_PAGES {
            self.flush().await?;
        }
        if self.run.is_empty() {
            self.from = at;
        }
        self.run.resize((at.0 - self.from.0) as usize * PAGE_BYTES, 0);
        self.run.extend_from_slice(bytes);
        if self.run.len() >= WRITE_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let (run, mut at) = (std::mem::take(&mut self.run), self.from.bytes());
        for bytes in run.chunks(WRITE_BYTES) {
            while self.pending.len() >= WRITES_IN_FLIGHT {
                self.end_write().await?;
            }
            let shared = pooled(bytes).await.expect("the pool has buffers of a piece");
            if let Some(written) = &mut self.written {
                written.push((at, bytes.len(), codec::checksum::crc32c(bytes)));
            }
            let (file, drive, node) = (self.file.clone(), self.drive.clone(), self.node.clone());
            self.unsynced += bytes.len();
            let sync = if self.unsynced >= SYNC_EVERY { Sync::Data } else { Sync::None };
            self.unsynced %= SYNC_EVERY;
            self.pending.push_back(rt::spawn_foreground(async move {
                let _in_flight = (drive.begin(), node.heal.begin());
                file.write_shared_at(shared, at, sync).await
            }));
            at += bytes.len() as u64;
        }
        Ok(())
    }

    /// Waits for the first of the writes on their way.
    async fn end_write(&mut self) -> io::Result<()> {
        let Some(write) = self.pending.front_mut() else { return Ok(()) };
        // What is not waited for any more stays among them: its buffer and file are in use until it ends.
        let result = self.drive.while_it_answers(write).await.ok_or_else(silence)?;
        self.pending.pop_front();
        result
    }

    /// Makes all of it durable, then its first page, then its name. That is not given up once it has begun: it takes until the
    /// drive has answered, or is out.
    async fn finish(&mut self, page: &VolumePage) -> io::Result<()> {
        if planted::is(Bug::RebuildStopsEarly) {
            self.run.clear();
        }
        self.flush().await?;
        while !self.pending.is_empty() {
            self.end_write().await?;
        }
        let first = pooled(&page.encode(self.slot)).await.expect("the pool has buffers of a page");
        let (file, drive, written) = (self.file.clone(), self.drive.clone(), self.written.take());
        let mut ending = rt::spawn(async move {
            if !planted::is(Bug::MoveNotSynced) {
                let _in_flight = drive.begin();
                file.sync_all().await?;
            }
            read_back(&file, &drive, written.iter().flatten()).await?;
            let _in_flight = drive.begin();
            file.write_shared_at(first, 0, Sync::Data).await
        });
        self.drive.while_it_answers(&mut ending).await.ok_or_else(silence)??;
        let (drive, path) = (self.drive.clone(), self.drive.volume_path(self.volume, self.slot));
        let (from, moves) = (self.path.clone(), page.moves);
        let naming = rt::spawn_foreground(async move {
            let _in_flight = drive.begin();
            if rt::file::exists(&path).await? {
                // It is not this slot, as far as can be told; but nothing proves that nobody needs it.
                rt::file::rename(&path, set_aside(&path, moves)).await?;
            }
            rt::file::rename(&from, path).await?;
            rt::file::sync_dir(drive.volumes_dir()).await
        });
        self.drive.while_used(naming).await.unwrap_or_else(|| Err(silence()))
    }
}

/// Reads what was written, and compares. Cost: the slot is read once.
async fn read_back(file: &File, drive: &Drive, written: impl Iterator<Item = &(u64, usize, u32)>) -> io::Result<()> {
    for &(at, len, crc) in written {
        let buffer = rt::buf::alloc(len).await;
        let _in_flight = drive.begin();
        let (result, buffer) = file.read_at(buffer, len, at).await;
        if result? != len || codec::checksum::crc32c(&buffer[..len]) != crc {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the drive does not give what was written"));
        }
    }
    Ok(())
}

/// Each attempt has a file of its own, which what a drive does late for an earlier one cannot touch.
fn aside(drive: &Drive, volume: VolumeId, slot: usize, attempt: u64) -> PathBuf {
    let mut name = drive.volume_path(volume, slot).into_os_string();
    name.push(format!(".{attempt}{ASIDE_SUFFIX}"));
    PathBuf::from(name)
}

/// Where a file goes in whose place a slot is made again. Each move has a name of its own.
fn set_aside(path: &Path, moves: u16) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(format!("{DAMAGED_SUFFIX}{moves}"));
    PathBuf::from(name)
}

/// Removes the slots that an earlier start had not finished.
pub(super) async fn remove_unfinished(node: &Arc<Node>) {
    for drive in node.drives().iter().filter(|drive| drive.is_usable()) {
        let Some(Ok(entries)) = drive.while_answering(rt::file::read_dir(drive.volumes_dir())).await else { continue };
        for entry in entries.iter().filter(|entry| entry.name.ends_with(ASIDE_SUFFIX)) {
            let path = drive.volumes_dir().join(&entry.name);
            if drive.attempt(async move { remove_aside(&path).await }).await.is_none() {
                break;
            }
        }
    }
}

//! One simulated drive: its names and files, its state of health, and the way every operation on it takes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::core::{Completion, Core, Event};
use super::image::{Image, Kind, PAGE_BYTES};
use super::tree::{Inode, Tree};
use super::{DriveConfig, Fault, Faults};
use crate::buf::Window;
use crate::uring::Source;

pub(super) struct Drive {
    number: usize,
    prefix: PathBuf,
    config: DriveConfig,
    pub(super) tree: RefCell<Tree>,
    faults: RefCell<Faults>,
    pub(super) locks: RefCell<BTreeSet<PathBuf>>,
    /// Completions held back while the drive hangs.
    hung: RefCell<Vec<Event>>,
    /// Counts power cuts: what was in flight before one has no effect after it.
    power: Cell<u64>,
    /// Pages in use, when known.
    used: Cell<Option<u64>>,
    /// When the last byte of what was asked for so far has been read or written.
    busy_until: Cell<u64>,
}

/// What an operation is, for the trace and for the faults that concern it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Io {
    Read = 1,
    Write = 2,
    Sync = 3,
    Space = 4,
    Name = 5,
    Look = 6,
}

pub(super) fn eio() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

fn enospc() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

impl Drive {
    pub(super) fn new(number: usize, prefix: PathBuf, config: DriveConfig) -> Drive {
        Drive {
            number,
            tree: RefCell::new(Tree::new(prefix.clone())),
            prefix,
            config,
            faults: RefCell::default(),
            locks: RefCell::default(),
            hung: RefCell::default(),
            power: Cell::new(0),
            used: Cell::new(None),
            busy_until: Cell::new(0),
        }
    }

    pub(super) fn number(&self) -> usize {
        self.number
    }

    pub(super) fn prefix(&self) -> &Path {
        &self.prefix
    }

    pub(super) fn config(&self) -> &DriveConfig {
        &self.config
    }

    /// Differs between drives, like the device number of a file system.
    pub(super) fn dev(&self) -> u64 {
        1000 + self.number as u64
    }

    pub(super) fn change_faults(&self, core: &Rc<Core>, change: impl FnOnce(&mut Faults)) {
        let hangs = {
            let mut faults = self.faults.borrow_mut();
            change(&mut faults);
            faults.hang
        };
        if !hangs {
            for event in self.hung.take() {
                core.schedule(core.now() + core.within(&core.config().io_latency), event);
            }
        }
    }

    fn strikes(&self, core: &Core, fault: Fault, chance: impl FnOnce(&Faults) -> f64) -> bool {
        let struck = core.strikes(chance(&self.faults.borrow()));
        if struck {
            core.count(fault);
        }
        struck
    }

    /// Runs an operation: takes note of it, lets its time pass, then lets `effect` happen, unless the drive or the
    /// power is gone by then.
    pub(super) async fn operate<T: 'static>(
        self: &Rc<Self>,
        core: &Rc<Core>,
        io: Io,
        words: &[u64],
        effect: impl FnOnce(&Rc<Core>) -> io::Result<T> + 'static,
    ) -> io::Result<T> {
        if !core.begin_io(self.number, io as u64, words) {
            return pending().await;
        }
        let failure = core.failure_due();
        let slow_factor = self.faults.borrow().slow_factor;
        if slow_factor > 1 {
            core.count(Fault::Slow);
        }
        let bytes = if matches!(io, Io::Read | Io::Write) { words.get(2).copied().unwrap_or(0) } else { 0 };
        let latency = core.within(&core.config().io_latency).saturating_add(self.transfer(core, bytes));
        let delay = latency.saturating_mul(u64::from(slow_factor));
        let (drive, power) = (self.clone(), self.power.get());
        let (event, done) = Completion::new(move |core| {
            if drive.power.get() != power {
                return Err(eio());
            }
            let (dead, removed) = {
                let faults = drive.faults.borrow();
                (faults.dead, faults.removed)
            };
            if dead {
                core.count(Fault::Dead);
                return Err(eio());
            }
            if removed {
                core.count(Fault::Removed);
                let by_name = io == Io::Name || io == Io::Look;
                return Err(if by_name { io::ErrorKind::NotFound.into() } else { eio() });
            }
            if let Some(errno) = failure {
                core.count(Fault::OneFailed);
                return Err(io::Error::from_raw_os_error(errno));
            }
            effect(core)
        });
        let drive = self.clone();
        let guarded: Event = Box::new(move |core| {
            if drive.faults.borrow().hang {
                core.count(Fault::Hang);
                drive.hung.borrow_mut().push(event);
            } else {
                event(core);
            }
        });
        core.schedule(core.now() + delay, guarded);
        done.wait().await
    }

    /// How long it takes from now on until so many bytes have gone over the drive's one wire, behind those that wait already.
    fn transfer(&self, core: &Core, bytes: u64) -> u64 {
        if self.config.bytes_per_second == 0 || bytes == 0 {
            return 0;
        }
        let nanos = bytes.saturating_mul(1_000_000_000) / self.config.bytes_per_second;
        let end = self.busy_until.get().max(core.now()) + nanos;
        self.busy_until.set(end);
        end - core.now()
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let pages = self.used.get().unwrap_or_else(|| self.tree.borrow().used_pages());
        self.used.set(Some(pages));
        pages * PAGE_BYTES
    }

    pub(super) fn space_changed(&self) {
        self.used.set(None);
    }

    pub(super) fn refuses_space(&self, core: &Core) -> bool {
        let refused = self.faults.borrow().no_space;
        if refused {
            core.count(Fault::NoSpace);
        }
        refused
    }

    /// Takes space for the byte range of a file.
    fn take_space(&self, core: &Core, inode: &Inode, start: u64, end: u64) -> io::Result<()> {
        let missing = inode.missing(start, end);
        if missing == 0 || inode.unlinked.get() {
            return Ok(());
        }
        let free = self.config.capacity_bytes.saturating_sub(self.used_bytes());
        if self.refuses_space(core) {
            return Err(enospc());
        }
        if missing * PAGE_BYTES > free {
            core.count(Fault::NoSpace);
            return Err(enospc());
        }
        inode.take_space(start, end);
        self.used.set(self.used.get().map(|used| used + missing));
        Ok(())
    }

    /// Makes the names in `dir` durable, or fails or lies as the faults say.
    pub(super) fn sync_dir(&self, core: &Core, dir: &Path, upto: u64) -> io::Result<()> {
        let mut tree = self.tree.borrow_mut();
        tree.get(dir)?;
        if self.strikes(core, Fault::SyncError, |faults| faults.sync_error) {
            return Err(eio());
        }
        if !self.strikes(core, Fault::LyingSync, |faults| faults.lying_sync) {
            tree.make_durable(dir, upto);
        }
        Ok(())
    }

    /// A whole file, as the faults let it be read.
    pub(super) fn read_whole(&self, core: &Core, image: &Image) -> io::Result<Vec<u8>> {
        if self.strikes(core, Fault::ReadError, |faults| faults.read_error) {
            return Err(eio());
        }
        let mut bytes = image.read(0..image.len());
        if self.strikes(core, Fault::BitFlipRead, |faults| faults.bit_flip_read) {
            flip(core, &mut bytes);
        }
        Ok(bytes)
    }

    pub(super) fn drop_hung(&self) {
        self.hung.take();
    }

    pub(super) fn crash(&self, core: &Core) {
        self.power.set(self.power.get() + 1);
        self.hung.take();
        self.locks.take();
        self.tree.borrow_mut().crash(core, self.config.atomic_write_bytes);
        self.space_changed();
    }

    pub(super) fn flip_bits(&self, core: &Core, path: &Path, count: usize) -> usize {
        let files = self.tree.borrow().files_below(path);
        let mut files: Vec<_> = files.into_iter().filter(|file| file.used_pages() > 0).collect();
        let mut flipped = 0;
        while flipped < count && !files.is_empty() {
            let index = core.below(files.len() as u64) as usize;
            if files[index].contents.borrow_mut().flip_bit(core) {
                core.count(Fault::BitFlipAtRest);
                flipped += 1;
            } else {
                files.remove(index);
            }
        }
        flipped
    }
}

/// A file of a simulated drive, opened.
pub(crate) struct DriveFile {
    pub(super) core: Rc<Core>,
    pub(super) drive: Rc<Drive>,
    pub(super) inode: Rc<Inode>,
    pub(super) read: bool,
    pub(super) write: bool,
}

impl DriveFile {
    async fn operate<T: 'static>(
        &self,
        io: Io,
        words: &[u64],
        effect: impl FnOnce(&Rc<Core>) -> io::Result<T> + 'static,
    ) -> io::Result<T> {
        let mut noted = vec![self.inode.number];
        noted.extend_from_slice(words);
        self.drive.operate(&self.core, io, &noted, effect).await
    }

    /// A shorter count when the fault strikes: still at least one page, and whole pages.
    fn shorten(&self, len: usize) -> usize {
        let pages = len as u64 / PAGE_BYTES;
        if pages > 1 && self.drive.strikes(&self.core, Fault::ShortIo, |faults| faults.short_io) {
            ((1 + self.core.below(pages - 1)) * PAGE_BYTES) as usize
        } else {
            len
        }
    }

    pub(super) async fn read(&self, mut window: Window, skip: usize, offset: u64) -> (io::Result<usize>, Window) {
        let wanted = self.shorten(window.len() - skip) as u64;
        let (drive, inode, may_read) = (self.drive.clone(), self.inode.clone(), self.read);
        let result = self
            .operate(Io::Read, &[offset, wanted], move |core| {
                if !may_read {
                    return Err(io::Error::from_raw_os_error(libc::EBADF));
                }
                if drive.strikes(core, Fault::ReadError, |faults| faults.read_error) {
                    return Err(eio());
                }
                let mut bytes = inode.contents.borrow().visible.read(offset..offset + wanted);
                if !bytes.is_empty() && drive.strikes(core, Fault::BitFlipRead, |faults| faults.bit_flip_read) {
                    flip(core, &mut bytes);
                }
                Ok(bytes)
            })
            .await;
        let result = result.map(|bytes| {
            window[skip..skip + bytes.len()].copy_from_slice(&bytes);
            bytes.len()
        });
        (result, window)
    }

    pub(super) async fn write<S: Source>(
        &self,
        source: S,
        skip: usize,
        offset: u64,
        dsync: bool,
    ) -> (io::Result<usize>, S) {
        let result = self.write_bytes(&source.bytes()[skip..], offset, dsync).await;
        (result, source)
    }

    async fn write_bytes(&self, bytes: &[u8], offset: u64, dsync: bool) -> io::Result<usize> {
        if !self.write {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        let (core, drive, inode) = (&self.core, &self.drive, &self.inode);
        let len = self.shorten(bytes.len());
        let mut bytes = Rc::<[u8]>::from(&bytes[..len]);
        core.note_bytes(&bytes);
        let words = [offset, len as u64, u64::from(dsync)];
        if let Err(error) = drive.take_space(core, inode, offset, offset + len as u64) {
            return self.operate(Io::Write, &words, move |_| Err(error)).await;
        }
        if drive.strikes(core, Fault::BitFlipWrite, |faults| faults.bit_flip_write) {
            flip(core, Rc::get_mut(&mut bytes).expect("nobody else has it yet"));
        }
        let mut place = offset;
        let pages = inode.contents.borrow().visible.len() / PAGE_BYTES;
        if pages > 0 && drive.strikes(core, Fault::Misdirected, |faults| faults.misdirected_write) {
            place = core.below(pages) * PAGE_BYTES;
        }
        let lost = drive.strikes(core, Fault::LostWrite, |faults| faults.lost_write);
        let failed = drive.strikes(core, Fault::WriteError, |faults| faults.write_error);
        let id = inode.contents.borrow_mut().begin(Kind::Write { offset: place, bytes });
        let (drive, inode) = (drive.clone(), inode.clone());
        self.operate(Io::Write, &words, move |core| {
            let mut contents = inode.contents.borrow_mut();
            if lost || (failed && core.below(2) == 0) {
                contents.abandon(id);
            } else {
                contents.complete(id);
            }
            if failed {
                return Err(eio());
            }
            if dsync && !drive.strikes(core, Fault::LyingSync, |faults| faults.lying_sync) {
                contents.make_durable(&[id]);
            }
            Ok(len)
        })
        .await
    }

    pub(super) async fn sync(&self) -> io::Result<()> {
        let covered = self.inode.contents.borrow().completed();
        let (drive, inode) = (self.drive.clone(), self.inode.clone());
        self.operate(Io::Sync, &[covered.len() as u64], move |core| {
            let mut contents = inode.contents.borrow_mut();
            if drive.strikes(core, Fault::SyncError, |faults| faults.sync_error) {
                contents.fail_sync(&covered, core);
                return Err(eio());
            }
            if !drive.strikes(core, Fault::LyingSync, |faults| faults.lying_sync) {
                contents.make_durable(&covered);
            }
            Ok(())
        })
        .await
    }

    async fn change(&self, kind: Kind, words: &[u64]) -> io::Result<()> {
        let id = self.inode.contents.borrow_mut().begin(kind);
        let inode = self.inode.clone();
        self.operate(Io::Space, words, move |_| {
            inode.contents.borrow_mut().complete(id);
            Ok(())
        })
        .await
    }

    pub(super) async fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        if let Err(error) = self.drive.take_space(&self.core, &self.inode, offset, offset + len) {
            return self.operate(Io::Space, &[offset, len], move |_| Err(error)).await;
        }
        self.change(Kind::Allocate(offset..offset + len), &[offset, len]).await
    }

    pub(super) async fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(Kind::Punch(offset..offset + len), &[offset, len]).await?;
        self.inode.give_space(offset, offset + len);
        self.drive.space_changed();
        Ok(())
    }

    pub(super) async fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Kind::SetLen(len), &[len]).await?;
        self.inode.give_space(len.next_multiple_of(PAGE_BYTES), u64::MAX);
        self.drive.space_changed();
        Ok(())
    }

    pub(super) async fn len(&self) -> io::Result<u64> {
        let inode = self.inode.clone();
        self.operate(Io::Look, &[], move |_| Ok(inode.contents.borrow().visible.len())).await
    }
}

fn flip(core: &Core, bytes: &mut [u8]) {
    if !bytes.is_empty() {
        let bit = core.below(bytes.len() as u64 * 8);
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    }
}

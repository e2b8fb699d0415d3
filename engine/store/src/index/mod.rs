//! The index of one partition on its drives: a tree of tables and copies of it.
//!
//! Everything here blocks and is called on helper threads. One copy is *active*: the engine has it open and flushes into
//! it. The others are mirrors, brought up to date after each flush. When the active copy fails it is opened again, then
//! given up for the freshest mirror that holds everything the memtables no longer have.

pub(crate) mod check;
mod fence;
pub(crate) mod keys;
mod look;
mod mirror;
pub(crate) mod scan;
mod tree;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::format::batch::{Ckpt, Position};
use crate::format::{Invalid, Reader};
use crate::ids::Lsn;
use crate::planted::{self, Bug};
use fence::Fence;
pub(crate) use look::{Looked, Opened, look, version};
use mirror::CopyError;
use scan::{Page, Scan, Upper};
#[cfg(test)]
pub(crate) use tree::Stats as TreeStats;
use tree::Tree;
pub(crate) use tree::{Bytes, Caches, TreeError};

const CKPT_VERSION: u8 = 1;
/// Runs in level 0 above which nothing is flushed before they are merged.
const L0_RUNS_STOP: usize = 20;

/// What to do when no copy holds a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// The partition is new: everything it may have is in the log.
    Create,
    /// There must be one: its loss is damage.
    Refuse,
}

/// A copy that could not be opened or brought up to date.
#[derive(Debug)]
pub(crate) struct FailedCopy {
    pub(crate) dir: PathBuf,
    pub(crate) error: TreeError,
}

#[derive(Debug)]
pub(crate) enum OpenError {
    /// No copy holds a tree, and none could be made.
    Absent,
    /// These copies exist, and none of them can be opened.
    Failed(Vec<FailedCopy>),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Absent => f.write_str("no copy of the index is there"),
            OpenError::Failed(copies) => {
                f.write_str("no copy of the index can be opened:")?;
                copies.iter().try_for_each(|copy| write!(f, " {}: {};", copy.dir.display(), copy.error))
            }
        }
    }
}

impl std::error::Error for OpenError {}

/// A tree and its copies.
pub(crate) struct Index {
    caches: Arc<Caches>,
    /// First is the preferred one. Never locked for long: shards set it.
    copies: Mutex<Vec<PathBuf>>,
    /// Copies that hold all that was let go of. Never locked for long.
    whole: Mutex<Vec<PathBuf>>,
    /// Held while files change. Taken before `tree`.
    upkeep: Mutex<Upkeep>,
    /// Where the one who holds it is.
    fence: Fence,
    tree: Mutex<Arc<Tree>>,
    /// No tables but for checkpoints: look-ups need not ask.
    empty: AtomicBool,
    /// Of the tables of one copy.
    bytes: AtomicU64,
    /// `Upkeep::bad` is not empty.
    has_bad: AtomicBool,
    /// Trees that were in use, as long as somebody still reads them. Never locked for long.
    left: Mutex<Vec<Weak<Tree>>>,
}

struct Upkeep {
    /// A copy below it lacks entries that are in no memtable any more.
    floor: Lsn,
    /// Copies that were opened again after an error and have not flushed since.
    distrusted: Vec<PathBuf>,
    /// Copies that were found to be bad and have not been made anew since.
    bad: Vec<PathBuf>,
}

impl Index {
    /// Opens the freshest copy. Also gives its checkpoint and the copies that could not be opened.
    pub(crate) fn open(
        copies: Vec<PathBuf>,
        absent: Absent,
        caches: Arc<Caches>,
    ) -> Result<(Index, Ckpt, Vec<FailedCopy>), OpenError> {
        let mut failed = Vec::new();
        for dir in &copies {
            if let Err(error) = mirror::settle(dir) {
                telemetry::warn!("index {}: a copy that was being replaced: {error}", dir.display());
            }
        }
        let chosen = freshest(&copies, &caches, Lsn::ZERO, &mut failed, &Fence::default());
        let (tree, ckpt, whole) = match (chosen, absent) {
            (Some(Freshest { tree, ckpt, equals }), _) => (tree, ckpt, equals),
            // A copy that fails may hold entries whose log is gone.
            (None, Absent::Refuse) if !failed.is_empty() => return Err(OpenError::Failed(failed)),
            (None, Absent::Refuse) => return Err(OpenError::Absent),
            (None, Absent::Create) => {
                let tree = create(&copies, &caches, &mut failed)?;
                let whole = vec![tree.dir().to_path_buf()];
                (tree, Ckpt { lsn: Lsn::ZERO, position: None }, whole)
            }
        };
        copies.iter().for_each(|copy| mirror::forget_backup(copy));
        let settle = mirror::become_source(tree.dir());
        settle.map_err(|error| {
            OpenError::Failed(vec![FailedCopy { dir: tree.dir().to_path_buf(), error: error.into() }])
        })?;
        let index = Index {
            caches,
            copies: Mutex::new(copies),
            whole: Mutex::new(whole),
            fence: Fence::default(),
            upkeep: Mutex::new(Upkeep { floor: ckpt.lsn, distrusted: Vec::new(), bad: Vec::new() }),
            empty: AtomicBool::new(tree.stats().tables == 0),
            bytes: AtomicU64::new(tree.stats().bytes),
            has_bad: AtomicBool::new(false),
            left: Mutex::new(Vec::new()),
            tree: Mutex::new(Arc::new(tree)),
        };
        Ok((index, ckpt, failed))
    }

    /// Nothing but what the memtables hold. Never blocks.
    pub(crate) fn is_empty(&self) -> bool {
        self.empty.load(Ordering::Acquire)
    }

    /// Bytes of the tables of one copy, as of the last flush or merge. Never blocks.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn stats(&self) -> tree::Stats {
        self.tree().stats()
    }

    pub(crate) fn caches(&self) -> Arc<Caches> {
        self.caches.clone()
    }

    /// Whether it is of no more use: it was given up, its copy in use lies on a drive that does not answer, or whoever
    /// changes its files waits for such a drive. Never blocks.
    pub(crate) fn is_stuck(&self, is_silent: impl Fn(&Path) -> bool) -> bool {
        is_silent(&self.active()) || self.fence.is_stuck(is_silent)
    }

    /// Gives this index up, so that the copies on other drives can be opened anew: it changes no file any more, even if what
    /// waits for a drive goes on some day. False while somebody changes files on a drive that answers: ask again.
    pub(crate) fn retire(&self, is_silent: impl Fn(&Path) -> bool) -> bool {
        self.fence.retire(is_silent)
    }

    /// Uses it again after all: there is nothing to go on with instead.
    pub(crate) fn take_back(&self) {
        self.fence.take_back();
    }

    /// Directory of the copy in use.
    pub(crate) fn active(&self) -> PathBuf {
        self.tree().dir().to_path_buf()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TreeError> {
        // A copy: the value read may hold on to its block.
        self.read(|tree| Ok(tree.get(key)?.map(|value| Bytes::new(&value))))
    }

    /// One page: `upper` laid over the tree. Looks at no more than `budget` entries.
    pub(crate) fn scan(&self, scan: &Scan, upper: &Upper, budget: usize) -> Result<Page, TreeError> {
        self.read(|tree| tree.scan(|cursor| scan::merge_ref(scan, upper, cursor, budget)))
    }

    /// Writes a sealed memtable (ascending keys, `None` is a tombstone) with its checkpoint and brings the copies up to
    /// date. When no copy failed, the memtable may be let go. May be repeated with the same memtable.
    pub(crate) fn flush<'a>(
        &self,
        entries: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>)> + Clone,
        ckpt: Ckpt,
    ) -> Result<Vec<FailedCopy>, TreeError> {
        let (mut upkeep, _at) = self.upkeep();
        let attempts = self.copies().len() + 1;
        let mut tree = self.tree();
        self.fence.enter(tree.dir())?;
        if tree.stats().l0_runs >= L0_RUNS_STOP {
            // Merging has failed for long: rather keep memtables, and refuse commits, than have look-ups grow slower.
            tree.compact()?;
        }
        let mut attempt = 1;
        let (copies, failed) = loop {
            let copies = self.copies();
            let flushed = self.flush_into(&tree, entries.clone(), ckpt);
            match flushed.and_then(|()| self.mirror(&mut upkeep, &copies, &tree)) {
                Ok(failed) => break (copies, failed),
                Err(error) if attempt > attempts => return Err(error),
                Err(error) => tree = self.replace(&mut upkeep, &tree, error)?,
            }
            attempt += 1;
        };
        upkeep.distrusted.clear();
        self.bytes.store(tree.stats().bytes, Ordering::Relaxed);
        if failed.is_empty() {
            upkeep.floor = ckpt.lsn;
            let bad = &upkeep.bad;
            *lock(&self.whole) = copies.iter().filter(|copy| !bad.contains(copy)).cloned().collect();
            self.prefer_first(&copies, ckpt.lsn, &tree)?;
        } else {
            // A copy that could not be brought up to date has what it had, if it is there at all.
            let gone = |copy: &PathBuf| {
                failed.iter().any(|failed| failed.dir == *copy) && !copy.join(mirror::CURRENT).exists()
            };
            lock(&self.whole).retain(|copy| !gone(copy));
        }
        Ok(failed)
    }

    fn flush_into<'a>(
        &self,
        tree: &Tree,
        entries: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>)>,
        ckpt: Ckpt,
    ) -> Result<(), TreeError> {
        self.fence.enter(tree.dir())?;
        let there = read_ckpt(tree)?;
        // Not again what is there: tombstones that went with the last level would come back to life below them.
        if there.lsn <= ckpt.lsn && there != ckpt {
            tree.flush(entries, &encode_ckpt(ckpt))?;
        }
        self.empty.store(false, Ordering::Release);
        Ok(())
    }

    /// Merges tables as it is due; the copies follow with the next flush. Reads go on. May take long.
    pub(crate) fn compact(&self) -> Result<(), TreeError> {
        let (mut upkeep, _at) = self.upkeep();
        let tree = self.tree();
        self.fence.enter(tree.dir())?;
        let merged = tree.compact();
        self.bytes.store(tree.stats().bytes, Ordering::Relaxed);
        match merged {
            Ok(()) => Ok(()),
            // All that was flushed is in every copy, and what was half merged is not in use.
            Err(error) => self.replace(&mut upkeep, &tree, error).map(drop),
        }
    }

    /// Copies the tables as they are now into the directory `to`, which is made. Flushes and merges go on meanwhile, but for
    /// the moment in which files are linked. May take long.
    pub(crate) fn copy_out(&self, to: &Path) -> Result<(), TreeError> {
        let snapshot = {
            let _nothing_changes = self.upkeep();
            let tree = self.tree();
            self.fence.enter(tree.dir())?;
            mirror::Snapshot::take_for_backup(tree.dir(), &tree.table_files()?)?
        };
        // No copy of this index is touched from here on.
        let copied = snapshot.copy_to(to, &Fence::default());
        snapshot.remove()?;
        copied.map_err(|error| match error {
            CopyError::Source(what) => TreeError::Damaged(what),
            CopyError::Copy(error) => error.into(),
        })
    }

    /// Copies that are known to hold all that was let go of: of the others the last flush, or the one before the start,
    /// may have come to nothing.
    pub(crate) fn whole_copies(&self) -> Vec<PathBuf> {
        lock(&self.whole).clone()
    }

    /// Whether a copy was found to be bad that has not been made anew since. Never blocks.
    pub(crate) fn has_bad_copies(&self) -> bool {
        self.has_bad.load(Ordering::Acquire)
    }

    /// The copy in `dir` is not what it should be: it counts no more, and the next flush makes it anew from the one in use. If
    /// it is the one in use itself, another one is used instead, that has all that no memtable has any more.
    ///
    /// Errors: there is no other one; then it stays in use, for what can still be read of it.
    pub(crate) fn distrust(&self, dir: &Path) -> Result<(), TreeError> {
        let (mut upkeep, _at) = self.upkeep();
        self.spoil(&mut upkeep, dir);
        if self.active() != *dir {
            return Ok(());
        }
        let others = self.whole_copies();
        match freshest(&others, &self.caches, upkeep.floor, &mut Vec::new(), &self.fence) {
            Some(chosen) => self.install(chosen.tree),
            None => Err(TreeError::Damaged("no other copy has all that is in it".to_owned())),
        }
    }

    /// From now on these are the copies; the next flush fills the new ones. A copy that left is used until then. Never
    /// blocks. Answers whether they are others than before.
    pub(crate) fn set_copies(&self, copies: Vec<PathBuf>) -> bool {
        assert!(!copies.is_empty(), "a partition has a copy");
        let mut current = lock(&self.copies);
        let changed = *current != copies;
        *current = copies;
        changed
    }

    /// A copy in use that is no longer one of the copies is left for the first of them, now that they are equal.
    fn prefer_first(&self, copies: &[PathBuf], floor: Lsn, tree: &Arc<Tree>) -> Result<(), TreeError> {
        if copies.iter().any(|copy| copy == tree.dir()) {
            return Ok(());
        }
        let mut failed = Vec::new();
        match freshest(copies, &self.caches, floor, &mut failed, &self.fence) {
            Some(chosen) => self.install(chosen.tree),
            None => {
                telemetry::warn!("index {}: no other copy can be opened", tree.dir().display());
                Ok(())
            }
        }
    }

    fn mirror(&self, upkeep: &mut Upkeep, copies: &[PathBuf], tree: &Tree) -> Result<Vec<FailedCopy>, TreeError> {
        let others: Vec<_> = copies.iter().filter(|copy| *copy != tree.dir()).collect();
        if others.is_empty() || planted::is(Bug::CopiesSkipped) {
            return Ok(Vec::new());
        }
        self.fence.enter(tree.dir())?;
        let snapshot = mirror::Snapshot::take(tree.dir(), &tree.table_files()?)?;
        let mut failed = Vec::new();
        let mut damaged = None;
        for dir in others {
            if self.is_still_read(dir) {
                failed.push(FailedCopy { dir: dir.clone(), error: TreeError::InUse });
                continue;
            }
            let is_bad = upkeep.bad.contains(dir);
            let copied = if is_bad { snapshot.copy_anew(dir, &self.fence) } else { snapshot.copy_to(dir, &self.fence) };
            match copied {
                Ok(()) => upkeep.bad.retain(|bad| bad != dir),
                Err(CopyError::Copy(error)) => failed.push(FailedCopy { dir: dir.clone(), error: error.into() }),
                Err(CopyError::Source(what)) => {
                    damaged = Some(what);
                    break;
                }
            }
        }
        self.has_bad.store(!upkeep.bad.is_empty(), Ordering::Release);
        self.fence.enter(tree.dir())?;
        snapshot.remove()?;
        match damaged {
            Some(what) => Err(TreeError::Damaged(what)),
            None => Ok(failed),
        }
    }

    fn read<R>(&self, f: impl Fn(&Tree) -> Result<R, TreeError>) -> Result<R, TreeError> {
        let mut tree = self.tree();
        loop {
            match f(&tree) {
                Ok(read) => return Ok(read),
                // Ends: each copy is taken at most once between flushes, and opened again at most once.
                Err(error) => {
                    let (mut upkeep, _at) = self.upkeep();
                    tree = self.replace(&mut upkeep, &tree, error)?;
                }
            }
        }
    }

    /// Another tree instead of `failed`: the same copy opened again the first time, then the freshest other one.
    fn replace(&self, upkeep: &mut Upkeep, failed: &Arc<Tree>, error: TreeError) -> Result<Arc<Tree>, TreeError> {
        let current = self.tree();
        if !Arc::ptr_eq(&current, failed) {
            return Ok(current);
        }
        let dir = failed.dir().to_path_buf();
        telemetry::warn!("index {}: opening it again after an error: {error}", dir.display());
        let mut unreadable = Vec::new();
        let mut candidates = Vec::new();
        if !upkeep.distrusted.contains(&dir) {
            candidates = vec![dir.clone()];
            upkeep.distrusted.push(dir);
        }
        let mut chosen = freshest(&candidates, &self.caches, upkeep.floor, &mut unreadable, &self.fence);
        if chosen.is_none() {
            candidates = self.copies();
            candidates.retain(|copy| !upkeep.distrusted.contains(copy));
            chosen = freshest(&candidates, &self.caches, upkeep.floor, &mut unreadable, &self.fence);
        }
        let Some(chosen) = chosen else { return Err(error) };
        if chosen.tree.dir() != failed.dir() && !error.is_full() {
            // It failed twice: what it has is not to be relied on before it has been made anew. A full drive still has it all.
            self.spoil(upkeep, failed.dir());
        }
        self.install(chosen.tree)?;
        Ok(self.tree())
    }

    fn spoil(&self, upkeep: &mut Upkeep, dir: &Path) {
        lock(&self.whole).retain(|copy| copy != dir);
        if !upkeep.bad.iter().any(|bad| bad == dir) {
            upkeep.bad.push(dir.to_path_buf());
        }
        self.has_bad.store(true, Ordering::Release);
    }

    fn install(&self, tree: Tree) -> Result<(), TreeError> {
        self.fence.enter(tree.dir())?;
        mirror::become_source(tree.dir())?;
        telemetry::info!("index: using the copy in {}", tree.dir().display());
        let left = std::mem::replace(&mut *lock(&self.tree), Arc::new(tree));
        lock(&self.left).push(Arc::downgrade(&left));
        Ok(())
    }

    /// Whether somebody reads the copy in `dir` who began when it was in use: a table of another content must not come in the
    /// place of one that he may yet open.
    fn is_still_read(&self, dir: &Path) -> bool {
        let mut left = lock(&self.left);
        left.retain(|tree| tree.strong_count() > 0);
        left.iter().filter_map(Weak::upgrade).any(|tree| tree.dir() == dir)
    }

    fn tree(&self) -> Arc<Tree> {
        lock(&self.tree).clone()
    }

    fn copies(&self) -> Vec<PathBuf> {
        lock(&self.copies).clone()
    }

    /// The sole right to change files, and what tells the fence when it ends.
    fn upkeep(&self) -> (MutexGuard<'_, Upkeep>, At<'_>) {
        (lock(&self.upkeep), At(&self.fence))
    }
}

/// Files are changed as long as it lives.
struct At<'a>(&'a Fence);

impl Drop for At<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// An empty tree where the log has everything: in the first place that has none yet, else in one of those that cannot be
/// opened, which is set aside.
fn create(copies: &[PathBuf], caches: &Caches, failed: &mut Vec<FailedCopy>) -> Result<Tree, OpenError> {
    let is_failed = |dir: &PathBuf| failed.iter().any(|copy| copy.dir == *dir);
    let (damaged, vacant): (Vec<_>, Vec<_>) = copies.iter().partition(|dir| is_failed(dir));
    for dir in vacant {
        match Tree::open(dir, caches) {
            Ok(tree) => return Ok(tree),
            Err(error) => failed.push(FailedCopy { dir: dir.clone(), error }),
        }
    }
    for dir in damaged {
        let made = mirror::set_aside(dir).map_err(TreeError::from).and_then(|()| Tree::open(dir, caches));
        match made {
            Ok(tree) => return Ok(tree),
            Err(error) => failed.push(FailedCopy { dir: dir.clone(), error }),
        }
    }
    Err(if copies.is_empty() { OpenError::Absent } else { OpenError::Failed(std::mem::take(failed)) })
}

struct Freshest {
    tree: Tree,
    ckpt: Ckpt,
    /// All copies with this checkpoint.
    equals: Vec<PathBuf>,
}

/// The copy with the highest checkpoint, not below `floor`; the first one of equals.
fn freshest(
    copies: &[PathBuf],
    caches: &Caches,
    floor: Lsn,
    failed: &mut Vec<FailedCopy>,
    fence: &Fence,
) -> Option<Freshest> {
    let mut best: Option<Freshest> = None;
    for dir in copies {
        match fence.enter(dir).map_err(TreeError::from).and_then(|()| open_existing(dir, caches)) {
            Ok(Some((tree, ckpt))) => {
                if let Some(best) = best.as_mut().filter(|best| best.ckpt == ckpt) {
                    best.equals.push(dir.clone());
                } else if ckpt.lsn >= floor && best.as_ref().is_none_or(|best| best.ckpt.lsn < ckpt.lsn) {
                    best = Some(Freshest { tree, ckpt, equals: vec![dir.clone()] });
                }
            }
            Ok(None) => {}
            Err(error) => {
                telemetry::warn!("index {}: cannot be opened: {error}", dir.display());
                failed.push(FailedCopy { dir: dir.clone(), error });
            }
        }
    }
    best
}

fn open_existing(dir: &Path, caches: &Caches) -> Result<Option<(Tree, Ckpt)>, TreeError> {
    if !Tree::exists(dir)? {
        return Ok(None);
    }
    let tree = Tree::open(dir, caches)?;
    let ckpt = read_ckpt(&tree)?;
    Ok(Some((tree, ckpt)))
}

fn read_ckpt(tree: &Tree) -> Result<Ckpt, TreeError> {
    match tree.get(keys::CKPT)? {
        None => Ok(Ckpt { lsn: Lsn::ZERO, position: None }),
        Some(bytes) => decode_ckpt(&bytes).map_err(|error| TreeError::Damaged(format!("checkpoint: {error}"))),
    }
}

/// `version: u8, has position: u8, zero: 6, lsn: u64, position: 20 if it has one`.
pub(crate) fn encode_ckpt(ckpt: Ckpt) -> Vec<u8> {
    let mut out = vec![CKPT_VERSION, u8::from(ckpt.position.is_some()), 0, 0, 0, 0, 0, 0];
    out.extend(ckpt.lsn.0.to_le_bytes());
    if let Some(position) = ckpt.position {
        out.extend(position.encode());
    }
    out
}

pub(crate) fn decode_ckpt(bytes: &[u8]) -> Result<Ckpt, Invalid> {
    let mut input = Reader::new(bytes);
    let [version, has_position, 0, 0, 0, 0, 0, 0] = input.array()? else {
        return Err(Invalid::Field("reserved"));
    };
    if version != CKPT_VERSION {
        return Err(Invalid::Newer { version: u16::from(version) });
    }
    let lsn = Lsn(input.u64()?);
    let position = match has_position {
        0 => None,
        1 => Some(Position::decode(input.bytes(Position::LEN)?)?),
        _ => return Err(Invalid::Field("has position")),
    };
    input.end()?;
    Ok(Ckpt { lsn, position })
}

/// Whoever held the lock and panicked left a tree that the next error replaces.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> io::Error {
        io::Error::other(error.to_string())
    }
}

#[cfg(test)]
mod tests;

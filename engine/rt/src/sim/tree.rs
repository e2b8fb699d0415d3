//! The names on one simulated drive: which exist, which of them would survive a crash, and the changes in between.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::core::Core;
use super::faults::Fault;
use super::image::{Contents, PAGE_BYTES};

pub(super) struct Inode {
    pub(super) number: u64,
    pub(super) contents: RefCell<Contents>,
    /// One bit per page that has space on the drive.
    space: RefCell<Vec<u64>>,
    /// Without a name its space counts as free, even while it is open.
    pub(super) unlinked: Cell<bool>,
}

impl Inode {
    pub(super) fn new(number: u64) -> Rc<Inode> {
        Rc::new(Inode { number, contents: RefCell::default(), space: RefCell::default(), unlinked: Cell::new(false) })
    }

    fn for_pages(&self, range: std::ops::Range<u64>, mut f: impl FnMut(&mut u64, u64)) {
        let mut space = self.space.borrow_mut();
        for page in range {
            let word = (page / 64) as usize;
            if space.len() <= word {
                space.resize(word + 1, 0);
            }
            f(&mut space[word], 1 << (page % 64));
        }
    }

    /// Pages of the byte range that have no space yet.
    pub(super) fn missing(&self, start: u64, end: u64) -> u64 {
        let mut count = 0;
        self.for_pages(start / PAGE_BYTES..end.div_ceil(PAGE_BYTES), |word, bit| count += u64::from(*word & bit == 0));
        count
    }

    pub(super) fn take_space(&self, start: u64, end: u64) {
        self.for_pages(start / PAGE_BYTES..end.div_ceil(PAGE_BYTES), |word, bit| *word |= bit);
    }

    /// Gives whole pages of the range back.
    pub(super) fn give_space(&self, start: u64, end: u64) {
        let last = (end / PAGE_BYTES).min(self.space.borrow().len() as u64 * 64);
        self.for_pages(start.div_ceil(PAGE_BYTES)..last, |word, bit| *word &= !bit);
    }

    pub(super) fn used_pages(&self) -> u64 {
        self.space.borrow().iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

#[derive(Clone)]
pub(super) enum Node {
    Dir,
    File(Rc<Inode>),
}

#[derive(Clone)]
pub(super) enum NameChange {
    Create(PathBuf, Rc<Inode>),
    MakeDir(PathBuf),
    Unlink(PathBuf),
    RemoveDir(PathBuf),
    Rename(PathBuf, PathBuf),
}

type Names = BTreeMap<PathBuf, Node>;

/// Applies a change; false when it does not fit (any more).
fn apply(names: &mut Names, change: &NameChange) -> bool {
    match change {
        NameChange::Create(path, inode) => names.insert(path.clone(), Node::File(inode.clone())).is_none(),
        NameChange::MakeDir(path) => {
            names.entry(path.clone()).or_insert(Node::Dir);
            true
        }
        NameChange::Unlink(path) | NameChange::RemoveDir(path) => names.remove(path).is_some(),
        NameChange::Rename(from, to) => {
            let Some(node) = names.remove(from) else { return false };
            if let Node::Dir = node {
                let below: Vec<PathBuf> = names.keys().filter(|path| path.starts_with(from)).cloned().collect();
                for path in below {
                    let node = names.remove(&path).expect("just listed");
                    let rest = path.strip_prefix(from).expect("it starts with it");
                    names.insert(to.join(rest), node);
                }
            }
            names.insert(to.clone(), node);
            true
        }
    }
}

pub(super) struct Tree {
    root: PathBuf,
    visible: Names,
    durable: Names,
    pending: Vec<(u64, NameChange)>,
    next_id: u64,
    next_inode: u64,
}

fn error(kind: io::ErrorKind) -> io::Error {
    kind.into()
}

impl Tree {
    pub(super) fn new(root: PathBuf) -> Tree {
        let names = Names::from([(root.clone(), Node::Dir)]);
        Tree { root, visible: names.clone(), durable: names, pending: Vec::new(), next_id: 0, next_inode: 1 }
    }

    pub(super) fn get(&self, path: &Path) -> io::Result<&Node> {
        self.visible.get(path).ok_or_else(|| error(io::ErrorKind::NotFound))
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<Rc<Inode>> {
        match self.get(path)? {
            Node::File(inode) => Ok(inode.clone()),
            Node::Dir => Err(error(io::ErrorKind::IsADirectory)),
        }
    }

    /// All files at or below `path`.
    pub(super) fn files_below(&self, path: &Path) -> Vec<Rc<Inode>> {
        let below = self.visible.iter().filter(|(name, _)| name.starts_with(path));
        below
            .filter_map(|(_, node)| match node {
                Node::File(inode) => Some(inode.clone()),
                Node::Dir => None,
            })
            .collect()
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<(String, Node)>> {
        match self.get(dir)? {
            Node::File(_) => return Err(error(io::ErrorKind::NotADirectory)),
            Node::Dir => {}
        }
        let children = self.visible.iter().filter(|(path, _)| path.parent() == Some(dir));
        children
            .map(|(path, node)| {
                let name = path.file_name().and_then(|name| name.to_str());
                Ok((name.ok_or_else(|| error(io::ErrorKind::InvalidData))?.to_owned(), node.clone()))
            })
            .collect()
    }

    fn change(&mut self, change: NameChange) {
        let applied = apply(&mut self.visible, &change);
        debug_assert!(applied, "checked before");
        self.next_id += 1;
        self.pending.push((self.next_id, change));
    }

    fn check_parent(&self, path: &Path) -> io::Result<()> {
        match self.get(path.parent().ok_or_else(|| error(io::ErrorKind::InvalidInput))?)? {
            Node::Dir => Ok(()),
            Node::File(_) => Err(error(io::ErrorKind::NotADirectory)),
        }
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<Rc<Inode>> {
        self.check_parent(path)?;
        if self.visible.contains_key(path) {
            return Err(error(io::ErrorKind::AlreadyExists));
        }
        let inode = Inode::new(self.next_inode);
        self.next_inode += 1;
        self.change(NameChange::Create(path.to_owned(), inode.clone()));
        Ok(inode)
    }

    pub(super) fn make_dirs(&mut self, path: &Path) -> io::Result<()> {
        let root = self.root.clone();
        let mut missing = Vec::new();
        for dir in path.ancestors().take_while(|dir| dir.starts_with(&root)) {
            match self.visible.get(dir) {
                Some(Node::Dir) => break,
                Some(Node::File(_)) => return Err(error(io::ErrorKind::NotADirectory)),
                None => missing.push(dir.to_owned()),
            }
        }
        for dir in missing.into_iter().rev() {
            self.change(NameChange::MakeDir(dir));
        }
        Ok(())
    }

    pub(super) fn unlink(&mut self, path: &Path) -> io::Result<()> {
        self.file(path)?.unlinked.set(true);
        self.change(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        if !self.list(path)?.is_empty() {
            return Err(error(io::ErrorKind::DirectoryNotEmpty));
        }
        self.change(NameChange::RemoveDir(path.to_owned()));
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let source = self.get(from)?.clone();
        self.check_parent(to)?;
        if from == to {
            return Ok(());
        }
        match (&source, self.visible.get(to)) {
            (_, None) => {}
            (Node::File(_), Some(Node::File(replaced))) => replaced.unlinked.set(true),
            (_, Some(Node::Dir)) => return Err(error(io::ErrorKind::IsADirectory)),
            (Node::Dir, Some(Node::File(_))) => return Err(error(io::ErrorKind::NotADirectory)),
        }
        self.change(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    /// The number of the last change so far: what a sync submitted now covers at most.
    pub(super) fn last_change(&self) -> u64 {
        self.next_id
    }

    /// Makes the changes in `dir` up to number `upto` durable.
    pub(super) fn make_durable(&mut self, dir: &Path, upto: u64) {
        let in_dir = |path: &Path| path.parent() == Some(dir);
        let pending = std::mem::take(&mut self.pending);
        for (id, change) in pending {
            let covered = id <= upto
                && match &change {
                    NameChange::Create(path, _)
                    | NameChange::MakeDir(path)
                    | NameChange::Unlink(path)
                    | NameChange::RemoveDir(path) => in_dir(path),
                    NameChange::Rename(from, to) => in_dir(from) || in_dir(to),
                };
            if covered {
                // A change whose base was never made durable has nothing to change.
                let _fits = apply(&mut self.durable, &change);
            } else {
                self.pending.push((id, change));
            }
        }
    }

    /// Settles every change of names that is not durable, then the contents of all files that are left.
    pub(super) fn crash(&mut self, core: &Core, atomic_bytes: usize) {
        for (_, change) in std::mem::take(&mut self.pending) {
            if core.below(2) == 0 || !apply(&mut self.durable, &change) {
                core.count(Fault::CrashNameLost);
            }
        }
        // What lies in a directory that was lost is lost with it.
        let root = self.root.clone();
        let names = self.durable.clone();
        let reachable = |path: &Path| {
            path.ancestors().skip(1).take_while(|dir| dir.starts_with(&root)).all(|dir| names.contains_key(dir))
        };
        self.durable.retain(|path, _| reachable(path));
        self.visible = self.durable.clone();
        for node in self.visible.values() {
            if let Node::File(inode) = node {
                inode.unlinked.set(false);
                let mut contents = inode.contents.borrow_mut();
                contents.crash(core, atomic_bytes);
                let len = contents.visible.len();
                inode.give_space(len.next_multiple_of(PAGE_BYTES), u64::MAX);
            }
        }
    }

    pub(super) fn used_pages(&self) -> u64 {
        self.files_below(&self.root).iter().map(|inode| inode.used_pages()).sum()
    }
}

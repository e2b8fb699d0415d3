//! The file functions of a world: on a simulated drive, or on the real file system for paths outside all drives.

use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::core::Core;
use super::drive::{Drive, DriveFile, Io};
use super::image::Kind;
use super::tree::Node;
use crate::buf::Window;
use crate::file::{DirEntry, Metadata, OpenOptions, READ_BYTES_MAX, Space};
use crate::uring::Source;

/// An open file of a world.
#[derive(Clone)]
pub(crate) enum Handle {
    Drive(Rc<DriveFile>),
    /// Index tables on tmpfs and the like: done in place, at once.
    Host(Rc<std::fs::File>),
}

impl Handle {
    pub(crate) async fn read(&self, mut window: Window, skip: usize, offset: u64) -> (io::Result<usize>, Window) {
        match self {
            Handle::Drive(file) => file.read(window, skip, offset).await,
            Handle::Host(file) => (file.read_at(&mut window[skip..], offset), window),
        }
    }

    pub(crate) async fn write<S: Source>(
        &self,
        source: S,
        skip: usize,
        offset: u64,
        dsync: bool,
    ) -> (io::Result<usize>, S) {
        match self {
            Handle::Drive(file) => file.write(source, skip, offset, dsync).await,
            Handle::Host(file) => (file.write_at(&source.bytes()[skip..], offset), source),
        }
    }

    pub(crate) async fn sync(&self) -> io::Result<()> {
        match self {
            Handle::Drive(file) => file.sync().await,
            Handle::Host(file) => file.sync_all(),
        }
    }

    pub(crate) async fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        match self {
            Handle::Drive(file) => file.allocate(offset, len).await,
            Handle::Host(file) => file.set_len(file.metadata()?.len().max(offset + len)),
        }
    }

    pub(crate) async fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        match self {
            Handle::Drive(file) => file.punch(offset, len).await,
            Handle::Host(file) => {
                let end = file.metadata()?.len().min(offset + len);
                file.write_all_at(&vec![0; end.saturating_sub(offset) as usize], offset)
            }
        }
    }

    pub(crate) async fn set_len(&self, len: u64) -> io::Result<()> {
        match self {
            Handle::Drive(file) => file.set_len(len).await,
            Handle::Host(file) => file.set_len(len),
        }
    }

    pub(crate) async fn len(&self) -> io::Result<u64> {
        match self {
            Handle::Drive(file) => file.len().await,
            Handle::Host(file) => Ok(file.metadata()?.len()),
        }
    }
}

/// Runs an operation on the names of a drive.
async fn by_name<T: 'static>(
    core: &Rc<Core>,
    drive: &Rc<Drive>,
    io: Io,
    paths: &[&Path],
    effect: impl FnOnce(&Rc<Core>, &Drive) -> io::Result<T> + 'static,
) -> io::Result<T> {
    for path in paths {
        core.note_bytes(path.as_os_str().as_encoded_bytes());
    }
    let target = drive.clone();
    drive.operate(core, io, &[], move |core| effect(core, &target)).await
}

/// `Some` when both paths lie on the same drive; an error when they lie on different ones.
fn common_drive(core: &Rc<Core>, from: &Path, to: &Path) -> io::Result<Option<Rc<Drive>>> {
    match (core.drive(from), core.drive(to)) {
        (None, None) => Ok(None),
        (Some(a), Some(b)) if Rc::ptr_eq(&a, &b) => Ok(Some(a)),
        _ => Err(io::ErrorKind::CrossesDevices.into()),
    }
}

pub(crate) async fn open(core: &Rc<Core>, path: &Path, options: OpenOptions) -> io::Result<(Handle, bool)> {
    let Some(drive) = core.drive(path) else {
        let mut open = std::fs::OpenOptions::new();
        open.read(options.read).write(options.write).create(options.create).create_new(options.create_new);
        return Ok((Handle::Host(Rc::new(open.truncate(options.truncate).open(path)?)), false));
    };
    let direct = options.direct && drive.config().direct;
    let (name, opened) = (path.to_owned(), drive.clone());
    let handle = by_name(core, &drive, Io::Name, &[path], move |core, drive| {
        let mut tree = drive.tree.borrow_mut();
        let found = tree.file(&name);
        let inode = match found {
            Ok(_) if options.create_new => return Err(io::ErrorKind::AlreadyExists.into()),
            Ok(inode) => inode,
            Err(error) if error.kind() == io::ErrorKind::NotFound && (options.create || options.create_new) => {
                if drive.refuses_space(core) {
                    return Err(io::Error::from_raw_os_error(libc::ENOSPC));
                }
                tree.create(&name)?
            }
            Err(error) => return Err(error),
        };
        if options.truncate {
            let mut contents = inode.contents.borrow_mut();
            let id = contents.begin(Kind::SetLen(0));
            contents.complete(id);
            inode.give_space(0, u64::MAX);
            drive.space_changed();
        }
        let (read, write) = (options.read, options.write);
        Ok(DriveFile { core: core.clone(), drive: opened, inode, read, write })
    })
    .await?;
    Ok((Handle::Drive(Rc::new(handle)), direct))
}

pub(crate) async fn create_dir_all(core: &Rc<Core>, path: &Path) -> io::Result<()> {
    let Some(drive) = core.drive(path) else { return std::fs::create_dir_all(path) };
    let name = path.to_owned();
    by_name(core, &drive, Io::Name, &[path], move |_, drive| drive.tree.borrow_mut().make_dirs(&name)).await
}

pub(crate) async fn read_dir(core: &Rc<Core>, path: &Path) -> io::Result<Vec<DirEntry>> {
    let Some(drive) = core.drive(path) else { return crate::file::read_dir_real(path) };
    let name = path.to_owned();
    by_name(core, &drive, Io::Look, &[path], move |_, drive| {
        let nodes = drive.tree.borrow().list(&name)?;
        let entry = |(name, node)| match node {
            Node::Dir => DirEntry { name, is_dir: true, len: 0 },
            Node::File(inode) => DirEntry { name, is_dir: false, len: inode.contents.borrow().visible.len() },
        };
        Ok(nodes.into_iter().map(entry).collect())
    })
    .await
}

pub(crate) async fn rename(core: &Rc<Core>, from: &Path, to: &Path) -> io::Result<()> {
    let Some(drive) = common_drive(core, from, to)? else { return std::fs::rename(from, to) };
    let (old, new) = (from.to_owned(), to.to_owned());
    by_name(core, &drive, Io::Name, &[from, to], move |_, drive| {
        drive.space_changed();
        drive.tree.borrow_mut().rename(&old, &new)
    })
    .await
}

pub(crate) async fn unlink(core: &Rc<Core>, path: &Path) -> io::Result<()> {
    let Some(drive) = core.drive(path) else { return std::fs::remove_file(path) };
    let name = path.to_owned();
    by_name(core, &drive, Io::Name, &[path], move |_, drive| {
        drive.space_changed();
        drive.tree.borrow_mut().unlink(&name)
    })
    .await
}

pub(crate) async fn remove_dir(core: &Rc<Core>, path: &Path) -> io::Result<()> {
    let Some(drive) = core.drive(path) else { return std::fs::remove_dir(path) };
    let name = path.to_owned();
    by_name(core, &drive, Io::Name, &[path], move |_, drive| drive.tree.borrow_mut().remove_dir(&name)).await
}

pub(crate) async fn sync_dir(core: &Rc<Core>, path: &Path) -> io::Result<()> {
    let Some(drive) = core.drive(path) else { return std::fs::File::open(path)?.sync_all() };
    let name = path.to_owned();
    let upto = drive.tree.borrow().last_change();
    by_name(core, &drive, Io::Sync, &[path], move |core, drive| drive.sync_dir(core, &name, upto)).await
}

pub(crate) async fn metadata(core: &Rc<Core>, path: &Path) -> io::Result<Metadata> {
    let Some(drive) = core.drive(path) else {
        let metadata = std::fs::metadata(path)?;
        let (len, dev, ino, is_dir) = (metadata.len(), metadata.dev(), metadata.ino(), metadata.is_dir());
        return Ok(Metadata { len, dev, ino, is_dir });
    };
    let name = path.to_owned();
    by_name(core, &drive, Io::Look, &[path], move |_, drive| {
        let dev = drive.dev();
        Ok(match drive.tree.borrow().get(&name)? {
            Node::Dir => Metadata { len: 0, dev, ino: 0, is_dir: true },
            Node::File(inode) => {
                Metadata { len: inode.contents.borrow().visible.len(), dev, ino: inode.number, is_dir: false }
            }
        })
    })
    .await
}

pub(crate) async fn fs_space(core: &Rc<Core>, path: &Path) -> io::Result<Space> {
    let Some(drive) = core.drive(path) else {
        let (total, free) = crate::sys::statvfs(path)?;
        return Ok(Space { total, free, dev: std::fs::metadata(path)?.dev() });
    };
    by_name(core, &drive, Io::Look, &[path], move |_, drive| {
        let total = drive.config().capacity_bytes;
        Ok(Space { total, free: total.saturating_sub(drive.used_bytes()), dev: drive.dev() })
    })
    .await
}

pub(crate) async fn read(core: &Rc<Core>, path: &Path) -> io::Result<Vec<u8>> {
    let Some(drive) = core.drive(path) else { return std::fs::read(path) };
    let name = path.to_owned();
    by_name(core, &drive, Io::Look, &[path], move |core, drive| {
        let inode = drive.tree.borrow().file(&name)?;
        let contents = inode.contents.borrow();
        if contents.visible.len() > READ_BYTES_MAX {
            return Err(io::Error::other("the file is larger than READ_BYTES_MAX"));
        }
        drive.read_whole(core, &contents.visible)
    })
    .await
}

/// A lock held by a process of the world.
pub(crate) struct HeldLock {
    drive: Rc<Drive>,
    path: PathBuf,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.drive.locks.borrow_mut().remove(&self.path);
    }
}

pub(crate) async fn try_lock(core: &Rc<Core>, path: &Path) -> io::Result<Option<HeldLock>> {
    let Some(drive) = core.drive(path) else {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "locks of a world lie on its drives"));
    };
    let options = OpenOptions { write: true, create: true, ..OpenOptions::default() };
    let _created = open(core, path, options).await?;
    if !drive.locks.borrow_mut().insert(path.to_owned()) {
        return Ok(None);
    }
    Ok(Some(HeldLock { drive, path: path.to_owned() }))
}

//! Files and directories. Data goes through the ring with direct I/O; names go through helper threads.
//!
//! Directory changes are durable only after `sync_dir` of the directory; a synced file whose name is not durable can be
//! gone after a crash.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::buf::{ALIGN_BYTES, Buf, Shared, Window};
use crate::{offload, sys, uring};

/// Entries `read_dir` returns at most; a drive's directories are far below it.
pub const DIR_ENTRIES_MAX: usize = 10_000_000;
/// The longest file `read` takes into memory.
pub const READ_BYTES_MAX: u64 = 1 << 30;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    pub read: bool,
    pub write: bool,
    /// Create the file if there is none.
    pub create: bool,
    /// Create the file; fail with `AlreadyExists` if there is one.
    pub create_new: bool,
    /// Bypass the page cache. Where the file system cannot, the file is buffered and `is_direct` says so.
    pub direct: bool,
    pub truncate: bool,
}

impl OpenOptions {
    pub const READ_DIRECT: OpenOptions =
        OpenOptions { read: true, write: false, create: false, create_new: false, direct: true, truncate: false };
    pub const READ_WRITE_DIRECT: OpenOptions = OpenOptions { write: true, ..OpenOptions::READ_DIRECT };
    pub const CREATE_NEW_DIRECT: OpenOptions = OpenOptions { create_new: true, ..OpenOptions::READ_WRITE_DIRECT };
}

/// When a write is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// After a later `sync_data`.
    None,
    /// When it completes, with the metadata needed to read it (RWF_DSYNC). Says nothing about other writes.
    Data,
}

#[derive(Clone)]
enum Handle {
    Real(Arc<OwnedFd>),
    #[cfg(feature = "sim")]
    Sim(crate::sim::Handle),
}

/// An open file. Clones share the descriptor, which is closed with the last of them and of the operations in flight.
/// Stays on its shard: each shard opens its own.
#[derive(Clone)]
pub struct File {
    handle: Handle,
    direct: bool,
    /// Files belong to one shard in either backend.
    _local: std::marker::PhantomData<std::rc::Rc<()>>,
}

impl File {
    pub async fn open(path: impl AsRef<Path>, options: OpenOptions) -> io::Result<File> {
        let path = path.as_ref().to_owned();
        #[cfg(feature = "sim")]
        if let Some(core) = crate::sim::core() {
            let (handle, direct) = crate::sim::files::open(&core, &path, options).await?;
            return Ok(File { handle: Handle::Sim(handle), direct, _local: std::marker::PhantomData });
        }
        let (fd, direct) = offload(move || open_real(&path, options)).await?;
        Ok(File { handle: Handle::Real(Arc::new(fd)), direct, _local: std::marker::PhantomData })
    }

    /// Whether reads and writes bypass the page cache, and so must be aligned to `ALIGN_BYTES`.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Reads `len` bytes at `offset` into the start of `buf`. Returns fewer only at the end of the file.
    pub async fn read_at(&self, buf: Buf, len: usize, offset: u64) -> (io::Result<usize>, Buf) {
        let (result, window) = self.read_at_into(buf.window(0..len), offset).await;
        (result, window.into_buf())
    }

    /// Fills the window from `offset`. Returns fewer bytes than it holds only at the end of the file.
    pub async fn read_at_into(&self, mut window: Window, offset: u64) -> (io::Result<usize>, Window) {
        self.check_alignment(window.range().start, window.len(), offset);
        let mut done = 0;
        while done < window.len() {
            let (result, back) = match &self.handle {
                Handle::Real(fd) => uring::read(fd, window, done, offset + done as u64).await,
                #[cfg(feature = "sim")]
                Handle::Sim(handle) => handle.read(window, done, offset + done as u64).await,
            };
            window = back;
            match result {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), window),
            }
            // A direct read that ends inside a block has met the end of the file; going on would be unaligned.
            if self.direct && !done.is_multiple_of(ALIGN_BYTES) {
                break;
            }
        }
        (Ok(done), window)
    }

    /// Writes the whole window at `offset`, or fails; after a failure any part of it may have been written.
    pub async fn write_at(&self, window: Window, offset: u64, sync: Sync) -> (io::Result<()>, Window) {
        self.check_alignment(window.range().start, window.len(), offset);
        self.write_all(window, offset, sync).await
    }

    /// Like `write_at`, for bytes that others may read meanwhile.
    pub async fn write_shared_at(&self, bytes: Shared, offset: u64, sync: Sync) -> io::Result<()> {
        self.check_alignment(bytes.as_ptr() as usize, bytes.len(), offset);
        self.write_all(bytes, offset, sync).await.0
    }

    async fn write_all<S: uring::Source>(&self, mut source: S, offset: u64, sync: Sync) -> (io::Result<()>, S) {
        let len = source.bytes().len();
        let dsync = sync == Sync::Data;
        let mut done = 0;
        while done < len {
            let (result, back) = match &self.handle {
                Handle::Real(fd) => uring::write(fd, source, done, offset + done as u64, dsync).await,
                #[cfg(feature = "sim")]
                Handle::Sim(handle) => handle.write(source, done, offset + done as u64, dsync).await,
            };
            source = back;
            match result {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), source),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), source),
            }
        }
        (Ok(()), source)
    }

    /// Makes the writes that completed before this call durable, with the metadata needed to read them.
    /// After an error none of the writes since the last good sync can be relied on.
    pub async fn sync_data(&self) -> io::Result<()> {
        match &self.handle {
            Handle::Real(fd) => uring::sync(fd, true).await,
            #[cfg(feature = "sim")]
            Handle::Sim(handle) => handle.sync().await,
        }
    }

    /// Like `sync_data`, with all metadata.
    pub async fn sync_all(&self) -> io::Result<()> {
        match &self.handle {
            Handle::Real(fd) => uring::sync(fd, false).await,
            #[cfg(feature = "sim")]
            Handle::Sim(handle) => handle.sync().await,
        }
    }

    /// Reserves space, extending the file if need be. New space reads as zeros.
    pub async fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        match &self.handle {
            Handle::Real(fd) => uring::fallocate(fd, 0, offset, len).await,
            #[cfg(feature = "sim")]
            Handle::Sim(handle) => handle.allocate(offset, len).await,
        }
    }

    /// Gives space back; the range reads as zeros afterwards and the length stays.
    pub async fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        match &self.handle {
            Handle::Real(fd) => {
                uring::fallocate(fd, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, offset, len).await
            }
            #[cfg(feature = "sim")]
            Handle::Sim(handle) => handle.punch(offset, len).await,
        }
    }

    /// The first byte at or behind `offset` that may be anything but zero; `None` when there is none. Room that was allocated
    /// and never written is stepped over without reading it, on file systems that know.
    pub async fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        match &self.handle {
            Handle::Real(fd) => {
                let fd = fd.clone();
                offload(move || sys::seek_data(&fd, offset)).await
            }
            #[cfg(feature = "sim")]
            Handle::Sim(_) => Ok(Some(offset)),
        }
    }

    /// Cuts or extends the file; what is added reads as zeros.
    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.handle {
            Handle::Real(fd) => {
                let fd = fd.clone();
                offload(move || std::fs::File::from(fd.try_clone()?).set_len(len)).await
            }
            #[cfg(feature = "sim")]
            Handle::Sim(handle) => handle.set_len(len).await,
        }
    }

    /// The file's length in bytes.
    pub async fn len(&self) -> io::Result<u64> {
        match &self.handle {
            Handle::Real(fd) => {
                let fd = fd.clone();
                offload(move || Ok(std::fs::File::from(fd.try_clone()?).metadata()?.len())).await
            }
            #[cfg(feature = "sim")]
            Handle::Sim(handle) => handle.len().await,
        }
    }

    pub async fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len().await? == 0)
    }

    /// Place in memory (within its buffer or absolute: buffers are aligned), length and offset must all be aligned.
    fn check_alignment(&self, place: usize, len: usize, offset: u64) {
        debug_assert!(
            !self.direct
                || (place.is_multiple_of(ALIGN_BYTES)
                    && len.is_multiple_of(ALIGN_BYTES)
                    && offset.is_multiple_of(ALIGN_BYTES as u64)),
            "direct I/O at {offset} of {len} bytes is not aligned to 4 KiB"
        );
    }
}

fn open_real(path: &Path, options: OpenOptions) -> io::Result<(OwnedFd, bool)> {
    let mut open = std::fs::OpenOptions::new();
    open.read(options.read).write(options.write).create(options.create).create_new(options.create_new);
    open.truncate(options.truncate).mode(0o600);
    if !options.direct {
        return Ok((open.open(path)?.into(), false));
    }
    match open.custom_flags(libc::O_DIRECT).open(path) {
        Ok(file) => Ok((file.into(), true)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            telemetry::warn!("no direct I/O on this file system, going through the page cache"; path = path.display());
            // A refused O_DIRECT may have created the file already, so it need no longer be new: that it was new has
            // been checked by the first attempt, which would have said AlreadyExists.
            open.create_new(false).create(options.create || options.create_new).custom_flags(0);
            Ok((open.open(path)?.into(), false))
        }
        Err(error) => Err(error),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
    pub len: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub len: u64,
    pub dev: u64,
    pub ino: u64,
    pub is_dir: bool,
}

/// A file system's size. `dev` tells file systems apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    /// What this process may still use.
    pub free: u64,
    pub dev: u64,
}

/// Runs the simulated twin of a function on names when there is a world, the real one on a helper otherwise.
macro_rules! by_name {
    ($name:ident($($arg:expr),*), |$($path:ident),*| $real:expr) => {{
        $(let $path = $path.as_ref().to_owned();)*
        #[cfg(feature = "sim")]
        if let Some(core) = crate::sim::core() {
            return crate::sim::files::$name(&core, $($arg),*).await;
        }
        offload(move || $real).await
    }};
}

/// Creates a directory and its parents. Durable after `sync_dir` of each parent that was missing one.
pub async fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    by_name!(create_dir_all(&path), |path| std::fs::create_dir_all(&path))
}

/// The entries of a directory, sorted by name. Names that are not UTF-8 are errors: no file of ours has one.
pub async fn read_dir(path: impl AsRef<Path>) -> io::Result<Vec<DirEntry>> {
    by_name!(read_dir(&path), |path| read_dir_real(&path))
}

pub(crate) fn read_dir_real(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // Removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let name = entry.file_name().into_string().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        if entries.len() == DIR_ENTRIES_MAX {
            return Err(io::Error::other("the directory has more than DIR_ENTRIES_MAX entries"));
        }
        entries.push(DirEntry { name, is_dir: metadata.is_dir(), len: metadata.len() });
    }
    entries.sort();
    Ok(entries)
}

/// Renames a file or directory, replacing a file at `to`. Durable after `sync_dir` of the directories of both.
/// For files that are read by other means than this module: the next read of this part asks the drive, unless somebody uses it
/// or it is not durable. A hint; blocks for a moment.
pub fn forget_cached(file: &std::fs::File, offset: u64, len: u64) -> io::Result<()> {
    crate::sys::forget_cached(file, offset, len)
}

pub async fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    by_name!(rename(&from, &to), |from, to| std::fs::rename(&from, &to))
}

/// Removes a file's name. Durable after `sync_dir`.
pub async fn unlink(path: impl AsRef<Path>) -> io::Result<()> {
    by_name!(unlink(&path), |path| std::fs::remove_file(&path))
}

/// Removes an empty directory. Durable after `sync_dir` of its parent.
pub async fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    by_name!(remove_dir(&path), |path| std::fs::remove_dir(&path))
}

/// Makes the changes of names in a directory that completed before this call durable.
pub async fn sync_dir(path: impl AsRef<Path>) -> io::Result<()> {
    by_name!(sync_dir(&path), |path| std::fs::File::open(&path)?.sync_all())
}

pub async fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    by_name!(metadata(&path), |path| {
        let metadata = std::fs::metadata(&path)?;
        Ok(Metadata { len: metadata.len(), dev: metadata.dev(), ino: metadata.ino(), is_dir: metadata.is_dir() })
    })
}

/// Whether there is something at `path`. Errors other than `NotFound` are errors, not an answer.
pub async fn exists(path: impl AsRef<Path>) -> io::Result<bool> {
    match metadata(path).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Size and free space of the file system that holds `path`.
pub async fn fs_space(path: impl AsRef<Path>) -> io::Result<Space> {
    by_name!(fs_space(&path), |path| {
        let (total, free) = sys::statvfs(&path)?;
        Ok(Space { total, free, dev: std::fs::metadata(&path)?.dev() })
    })
}

/// A whole small file. Fails above `READ_BYTES_MAX`.
pub async fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    by_name!(read(&path), |path| {
        if std::fs::metadata(&path)?.len() > READ_BYTES_MAX {
            return Err(io::Error::other("the file is larger than READ_BYTES_MAX"));
        }
        std::fs::read(&path)
    })
}

/// Writes a small file that must not exist yet, and syncs it. Its name is durable after `sync_dir`.
pub async fn write_new(path: impl AsRef<Path>, bytes: Vec<u8>) -> io::Result<()> {
    let path = path.as_ref();
    let options = OpenOptions { write: true, create_new: true, ..OpenOptions::default() };
    let file = File::open(path, options).await?;
    file.write_shared_at(Shared::from(bytes), 0, Sync::None).await?;
    file.sync_all().await
}

/// The exclusive lock of a file; given back when dropped or when the process ends.
pub struct FileLock {
    _held: Lock,
}

#[expect(dead_code, reason = "held only to be dropped")]
enum Lock {
    Real(std::fs::File),
    #[cfg(feature = "sim")]
    Sim(crate::sim::HeldLock),
}

/// Locks the file at `path`, creating it if need be, so that two processes never share a drive.
/// `None` when another process holds the lock.
pub async fn try_lock(path: impl AsRef<Path>) -> io::Result<Option<FileLock>> {
    let path = path.as_ref().to_owned();
    #[cfg(feature = "sim")]
    if let Some(core) = crate::sim::core() {
        let lock = crate::sim::files::try_lock(&core, &path).await?;
        return Ok(lock.map(|lock| FileLock { _held: Lock::Sim(lock) }));
    }
    let locked = offload(move || {
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        Ok::<_, io::Error>(sys::try_flock(&file)?.then_some(file))
    });
    Ok(locked.await?.map(|file| FileLock { _held: Lock::Real(file) }))
}

#[cfg(test)]
mod tests;

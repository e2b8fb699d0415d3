//! One partition's tree of tables. The only module that names `lsm_tree`.
//!
//! Everything here blocks, some of it across fsyncs: it is called on helper threads only. A panic of the engine becomes
//! an error, after which the tree must be opened again: its locks may be poisoned.
//!
//! Rules: no KV separation, no FIFO, no `clear`, no bulk ingestion; index and filter blocks are partitioned; a flush
//! becomes visible, with its checkpoint, by one atomic change of the version. The engine's own memtable is never used.

mod cursor;

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lsm_tree::compaction::Leveled;
use lsm_tree::config::{BlockSizePolicy, PartitioningPolicy};
use lsm_tree::{
    AbstractTree, AnyTree, Cache, Config, DescriptorTable, InternalValue, SeqNo, SequenceNumberCounter, ValueType,
};

use super::{keys, mirror};
pub(crate) use cursor::TreeCursor;

/// Keys and values: cheap to clone, up to 20 bytes without allocation. A value read from a tree may keep its whole block
/// in memory: copy what is kept for long.
pub(crate) type Bytes = lsm_tree::Slice;

/// Runs in level 0 that are merged at the latest; more cost every lookup a filter probe.
const L0_RUNS_MAX: u8 = 4;
/// Of a block of entries, before compression. One is read for each look-up that no cache answers, which is one I/O at any such
/// size; a listing pays for every block that it enters.
const BLOCK_BYTES: u32 = 16 << 10;
/// Size at which a merge begins the next table.
const TABLE_BYTES: u64 = 64 << 20;
/// Merges after one flush; what is left over waits for the next flush.
const MERGES_MAX: usize = 16;
/// Tombstones below this number never cause a merge of their own.
const TOMBSTONES_MIN: u64 = 10_000;
/// A merge of everything when this part of the entries are tombstones: 1 in 4.
const TOMBSTONES_RATIO: u64 = 4;
/// Old versions of a key serve nobody: what may be seen is decided above the tree.
const NO_SNAPSHOTS: SeqNo = SeqNo::MAX;

/// Why a tree could not do something.
#[derive(Debug)]
pub(crate) enum TreeError {
    Io(io::Error),
    /// Tables or manifest do not hold what they should.
    Damaged(String),
    /// The engine panicked.
    Panicked,
    /// Somebody still reads what is to be replaced: soon nobody does.
    InUse,
}

impl TreeError {
    /// Whether it says that there is no room. That is no failure of the drive.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, TreeError::Io(error) if crate::drive::is_full(error))
    }
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TreeError::Io(error) => write!(f, "{error}"),
            TreeError::Damaged(what) => write!(f, "index tables are damaged: {what}"),
            TreeError::Panicked => f.write_str("the index engine panicked"),
            TreeError::InUse => f.write_str("it is still being read"),
        }
    }
}

impl From<lsm_tree::Error> for TreeError {
    fn from(error: lsm_tree::Error) -> TreeError {
        match error {
            lsm_tree::Error::Io(error) => TreeError::Io(error),
            other => TreeError::Damaged(other.to_string()),
        }
    }
}

impl From<io::Error> for TreeError {
    fn from(error: io::Error) -> TreeError {
        TreeError::Io(error)
    }
}

/// What all trees of the process share.
pub(crate) struct Caches {
    blocks: Arc<Cache>,
    descriptors: Arc<DescriptorTable>,
}

impl Caches {
    /// `block_bytes` for blocks of tables, `files` open table files.
    pub(crate) fn new(block_bytes: u64, files: usize) -> Arc<Caches> {
        Arc::new(Caches {
            blocks: Arc::new(Cache::with_capacity_bytes(block_bytes)),
            descriptors: Arc::new(DescriptorTable::new(files)),
        })
    }
}

/// One table file, as a mirror needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableFile {
    pub(crate) id: u64,
    /// Of the whole file, as the manifest has it.
    pub(crate) checksum: u128,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) tables: usize,
    pub(crate) l0_runs: usize,
    /// Counts every version of a key.
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
    pub(crate) bytes: u64,
}

pub(crate) struct Tree {
    tree: AnyTree,
    dir: PathBuf,
    /// One for all entries of a flush, whose keys are distinct; greater than those of all earlier flushes.
    next_seqno: AtomicU64,
}

impl Tree {
    /// Whether there is a tree in `dir`.
    pub(crate) fn exists(dir: &Path) -> io::Result<bool> {
        dir.join(super::mirror::CURRENT).try_exists()
    }

    /// Opens the tree in `dir`, or makes an empty one. Removes files that its manifest does not name.
    pub(crate) fn open(dir: &Path, caches: &Caches) -> Result<Tree, TreeError> {
        contain(|| {
            // The engine would make all that is missing above it as well.
            mirror::create_durably(dir)?;
            let config = Config::new(dir, SequenceNumberCounter::default(), SequenceNumberCounter::default())
                .use_cache(caches.blocks.clone())
                .use_descriptor_table(Some(caches.descriptors.clone()))
                .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
                .index_block_partitioning_policy(PartitioningPolicy::all(true))
                .filter_block_partitioning_policy(PartitioningPolicy::all(true));
            let tree = config.open()?;
            let next = tree.get_highest_persisted_seqno().map_or(1, |seqno| seqno + 1);
            Ok(Tree { tree, dir: dir.to_path_buf(), next_seqno: AtomicU64::new(next) })
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TreeError> {
        contain(|| Ok(self.tree.get(key, SeqNo::MAX)?))
    }

    /// Calls `f` with a cursor over the tree as it is now.
    pub(crate) fn scan<R>(&self, f: impl FnOnce(&mut TreeCursor<'_>) -> Result<R, TreeError>) -> Result<R, TreeError> {
        contain(|| f(&mut TreeCursor::new(&self.tree)))
    }

    /// Writes `entries` (ascending keys, none twice; `None` is a tombstone) and the checkpoint as new tables, and makes
    /// them visible together. Durable when it returns.
    pub(crate) fn flush<'a>(
        &self,
        entries: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>)>,
        ckpt: &[u8],
    ) -> Result<(), TreeError> {
        contain(|| {
            let seqno = self.next_seqno.fetch_add(1, Ordering::Relaxed);
            let ckpt = InternalValue::from_components(keys::CKPT, ckpt, seqno, ValueType::Value);
            let entries = entries.map(|(key, value)| {
                debug_assert!(&**key > keys::CKPT, "the checkpoint sorts before all keys");
                match value {
                    Some(value) => InternalValue::from_components(key.clone(), value.clone(), seqno, ValueType::Value),
                    None => InternalValue::new_tombstone(key.clone(), seqno),
                }
            });
            let stream = std::iter::once(ckpt).chain(entries).map(Ok);
            // Kept to the end: the engine wants one flush at a time.
            let _one_at_a_time = self.tree.get_flush_lock();
            if let Some((tables, _)) = self.tree.flush_to_tables(stream)? {
                self.tree.register_tables(&tables, None, None, &[], NO_SNAPSHOTS)?;
            }
            Ok(())
        })
    }

    /// Merges tables until level 0 is small and tombstones are few. Long, but it may be left out.
    pub(crate) fn compact(&self) -> Result<(), TreeError> {
        contain(|| {
            let leveled =
                Arc::new(Leveled::default().with_l0_threshold(L0_RUNS_MAX).with_table_target_size(TABLE_BYTES));
            for _ in 0..MERGES_MAX {
                let before = self.tree.current_version().id();
                self.tree.compact(leveled.clone(), NO_SNAPSHOTS)?;
                if self.tree.current_version().id() == before {
                    break;
                }
            }
            let stats = self.stats();
            // A listing steps over every tombstone in its range.
            if stats.tombstones >= TOMBSTONES_MIN && stats.tombstones * TOMBSTONES_RATIO >= stats.entries {
                self.tree.major_compact(TABLE_BYTES, NO_SNAPSHOTS)?;
            }
            Ok(())
        })
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            tables: self.tree.table_count(),
            l0_runs: self.tree.l0_run_count(),
            entries: self.tree.approximate_len() as u64,
            tombstones: self.tree.tombstone_count(),
            bytes: self.tree.disk_space(),
        }
    }

    /// The table files of the current version. They stay as they are until the next flush or merge.
    pub(crate) fn table_files(&self) -> Result<Vec<TableFile>, TreeError> {
        contain(|| {
            let version = self.tree.current_version();
            let file = |table: &lsm_tree::Table| TableFile { id: table.id(), checksum: table.checksum().into_u128() };
            Ok(version.iter_tables().map(file).collect())
        })
    }
}

fn contain<R>(f: impl FnOnce() -> Result<R, TreeError>) -> Result<R, TreeError> {
    // Whoever gets `Panicked` lets the tree go, so that nothing half-changed is seen.
    catch_unwind(AssertUnwindSafe(f)).unwrap_or(Err(TreeError::Panicked))
}

#[cfg(test)]
mod tests;

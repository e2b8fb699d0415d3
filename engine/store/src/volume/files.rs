//! The slot files that this shard has open.
//!
//! Files belong to their shard, volumes to all: so the files live in a table of the thread, keyed by shard, as in
//! simulation all shards share one thread. Entries of an earlier node (a crashed one in simulation, a closed one in
//! tests) are dropped when a later one first opens a file.

use std::cell::RefCell;
use std::collections::HashMap;

use rt::ShardId;
use rt::file::File;

use crate::ids::{DriveId, VolumeId};

/// Volumes that a shard keeps files of; beyond it the one used least recently is closed.
const VOLUMES_MAX: usize = 1024;

const EMFILE: i32 = 24;
const ENFILE: i32 = 23;
const ENOMEM: i32 = 12;

#[derive(Default)]
struct Table {
    /// The node that these files belong to.
    instance: u64,
    clock: u64,
    volumes: HashMap<(ShardId, VolumeId), Opened>,
}

struct Opened {
    last_used: u64,
    /// With the drive that the file lies on: a slot may move to another one.
    slots: Vec<Option<(DriveId, File)>>,
}

thread_local! {
    static TABLE: RefCell<Table> = RefCell::default();
}

/// The file of the slot on `drive`, if this shard has opened it.
pub(super) fn opened(instance: u64, volume: VolumeId, slot: usize, drive: DriveId) -> Option<File> {
    TABLE.with_borrow_mut(|table| {
        if table.instance != instance {
            return None;
        }
        table.clock += 1;
        let opened = table.volumes.get_mut(&(rt::this_shard(), volume))?;
        opened.last_used = table.clock;
        let (on, file) = opened.slots[slot].as_ref()?;
        (*on == drive).then(|| file.clone())
    })
}

pub(super) fn keep(instance: u64, (volume, slot): (VolumeId, usize), width: usize, drive: DriveId, file: &File) {
    // Files are closed after the borrow has ended.
    let _closed = TABLE.with_borrow_mut(|table| {
        let stale = if table.instance == instance { HashMap::new() } else { std::mem::take(&mut table.volumes) };
        table.instance = instance;
        table.clock += 1;
        let shard = rt::this_shard();
        let entry = table.volumes.entry((shard, volume));
        let opened = entry.or_insert_with(|| Opened { last_used: 0, slots: vec![None; width] });
        opened.last_used = table.clock;
        let replaced = opened.slots[slot].replace((drive, file.clone()));
        let mine = table.volumes.iter().filter(|((of, _), _)| *of == shard);
        let oldest = (mine.clone().count() > VOLUMES_MAX)
            .then(|| mine.min_by_key(|(_, opened)| opened.last_used).map(|(key, _)| *key))
            .flatten();
        (stale, replaced, oldest.and_then(|key| table.volumes.remove(&key)))
    });
}

/// Closes the files of a volume on this shard. Operations in flight keep theirs until they end.
pub(super) fn close(volume: VolumeId) {
    let _closed = TABLE.with_borrow_mut(|table| table.volumes.remove(&(rt::this_shard(), volume)));
}

/// Whether opening failed for want of descriptors or memory.
pub(super) fn is_shortage(errno: i32) -> bool {
    matches!(errno, EMFILE | ENFILE | ENOMEM)
}

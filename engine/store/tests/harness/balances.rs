//! Scenarios: slots move to a drive that was added, and nothing is less protected for it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use hafiz_store as store;
use hafiz_store::Store;

use super::healing::{LIMIT, OBJECTS, Run, add_drive, add_seventh, census, check_all, fill, put, until};

/// So small that what is stored fills a good part of it.
pub(crate) const SIZE: u64 = 64 << 20;

/// Six drives with objects, and a seventh of `size` bytes that has nothing yet.
pub(crate) fn grown(seed: u64, size: u64) -> Run {
    let mut run = Run::with_capacity(seed, 6, SIZE);
    // Many volumes, so that there is something to move.
    run.data_slot_bytes = 1 << 20;
    run.run(fill);
    let dir = PathBuf::from("/heal-d6");
    add_drive(&mut run.world, &run.tables, &dir, size);
    let added = dir.clone();
    run.run(async move |store, _| add_seventh(store, added).await);
    run.dirs.push(dir);
    run
}

/// Crashes a rebalance twice, lets it come to its end, and takes two drives away. How often it crashed.
pub(crate) fn moved_with_crashes(seed: u64) -> u32 {
    let mut run = grown(seed, SIZE);
    let mut crashed = 0;
    for attempt in 0..2 {
        let operations = 131 + (seed - 1) % 8 * 31 + attempt * 67 + run.world.random() % 300;
        crashed += u32::from(run.run_and_crash(operations, async |store, _| {
            // Refused when an earlier one has come to its end.
            drop(store.rebalance(0).await);
            until("rebalance", || !store::heal_status().balance.running).await;
        }));
    }
    run.run(async move |store, _| {
        drop(store.rebalance(0).await);
        until("rebalance", || !store::heal_status().balance.running).await;
        // Copies of tables on the new drive are made with the next flushes.
        until("all is well", || store::heal_status().is_whole()).await;
        let found = census().await;
        assert!(found.is_whole(), "seed {seed}: {found:?}");
    });
    // The content of a slot that moved, and of two others.
    run.remove(6);
    run.remove((seed % 6) as usize);
    run.run(async move |store, bucket| {
        check_all(&store, bucket, 0..OBJECTS).await;
        let found = census().await;
        assert!(!found.is_lossy(), "seed {seed}: {found:?}");
    });
    crashed
}

/// The files of a drive, and its tables.
struct DriveImage {
    files: Vec<(PathBuf, Vec<u8>)>,
    tables: tempfile::TempDir,
}

impl DriveImage {
    /// While nothing is written.
    async fn take(dir: &Path, tables: &Path) -> DriveImage {
        let mut files = Vec::new();
        for name in ["hafiz.drive", "topology", "places"] {
            files.push((dir.join(name), rt::file::read(dir.join(name)).await.expect("a drive has it")));
        }
        for entry in rt::file::read_dir(dir.join("volumes")).await.expect("the drive answers") {
            let path = dir.join("volumes").join(entry.name);
            files.push((path.clone(), rt::file::read(&path).await.expect("the drive answers")));
        }
        let kept = tempfile::tempdir_in("/dev/shm").expect("a directory for the tables");
        copy_dir(tables, kept.path());
        DriveImage { files, tables: kept }
    }

    /// Puts it in place of what is there.
    async fn restore(&self, dir: &Path, tables: &Path) {
        for entry in rt::file::read_dir(dir.join("volumes")).await.expect("the drive answers") {
            rt::file::unlink(dir.join("volumes").join(entry.name)).await.expect("it is there");
        }
        for (path, bytes) in &self.files {
            if rt::file::exists(path).await.expect("the drive answers") {
                rt::file::unlink(path).await.expect("it is there");
            }
            rt::file::write_new(path, bytes.clone()).await.expect("there is room");
        }
        for dir in [dir.to_owned(), dir.join("volumes")] {
            rt::file::sync_dir(dir).await.expect("the drive answers");
        }
        std::fs::remove_dir_all(tables).expect("there are tables");
        std::fs::create_dir(tables).expect("a directory is made");
        copy_dir(self.tables.path(), tables);
    }
}

/// A drive is restored from an image of a moment ago, within the same start or from an earlier one; it is known, verified, and
/// as good as the others after that.
pub(crate) fn rolled_back(seed: u64) {
    let mut run = Run::with_capacity(seed, 6, SIZE);
    run.hurried = seed % 2 == 1;
    let old = (seed % 6) as usize;
    let (dir, tables) = (run.dirs[old].clone(), run.tables_of(old));
    let half = OBJECTS / 2;
    let image: Rc<RefCell<Option<DriveImage>>> = Rc::default();
    let (taken, from, from_tables) = (image.clone(), dir.clone(), tables.clone());
    let first = async move |store: Store, bucket| {
        for n in 0..half {
            put(&store, bucket, n).await;
        }
        rt::time::sleep(Duration::from_millis(100)).await;
        *taken.borrow_mut() = Some(DriveImage::take(&from, &from_tables).await);
    };
    let rest = async move |store: Store, bucket| {
        for n in half..OBJECTS {
            put(&store, bucket, n).await;
        }
    };
    match seed % 3 {
        0 => run.run(async move |store: Store, bucket| {
            first(store.clone(), bucket).await;
            rest(store, bucket).await;
        }),
        1 => {
            run.run_and_crash(1 << 40, async move |store: Store, bucket| {
                first(store.clone(), bucket).await;
                rest(store, bucket).await;
            });
        }
        _ => {
            run.run(async move |store: Store, bucket| first(store, bucket).await);
            run.run(rest);
        }
    }
    let image = image.take().expect("it was taken");
    run.world.run_alone(async move { image.restore(&dir, &tables).await }, LIMIT).expect("it ends");
    let path = run.dirs[old].clone();
    run.run(async move |store, bucket| {
        let is_behind = |store: &Store| store.drives().iter().any(|drive| drive.dir == path && drive.is_behind);
        assert!(is_behind(&store) && !store::heal_status().is_whole(), "seed {seed}: it is known");
        check_all(&store, bucket, 0..OBJECTS).await;
        until("the drive to catch up", || store::heal_status().is_whole()).await;
        assert!(!is_behind(&store));
        let found = census().await;
        assert!(found.is_whole(), "seed {seed}: {found:?}");
    });
    // It is as good as the others.
    run.remove((old + 1) % 6);
    run.remove((old + 2) % 6);
    run.run(async move |store, bucket| {
        check_all(&store, bucket, 0..OBJECTS).await;
        assert!(store.drives().iter().all(|drive| !drive.is_behind), "seed {seed}: known for once and all");
    });
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory is made");
    for entry in std::fs::read_dir(from).expect("it can be listed") {
        let entry = entry.expect("it can be listed");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("it is copied");
        }
    }
}

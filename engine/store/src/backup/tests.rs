use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use types::{Attributes, BucketName, DeleteCondition, Etag, ObjectKey, WriteCondition};

use super::*;
use crate::drive::{PLACED_NAME, RESTORED_NAME, VOLUMES_NAME};
use crate::error::Error;
use crate::format::drive::Identity;
use crate::format::topology::Topology;
use crate::salvage::Refusal;
use crate::{CommitPut, Config, topology};

const BUCKET: &str = "bucket";

fn config(dirs: &[PathBuf]) -> Config {
    Config {
        log_slot_bytes: Some(4 << 20),
        data_slot_bytes: Some(8 << 20),
        partitions: 4,
        memory_bytes: 64 << 20,
        body_cache_bytes: 8 << 20,
        ..Config::new(dirs.to_vec())
    }
}

fn dirs(root: &Path) -> Vec<PathBuf> {
    (0..4).map(|n| root.join(format!("d{n}"))).collect()
}

/// Runs `f` in a store that is opened for it and closed behind it.
fn with_store<F: Future<Output = R> + 'static, R: Send + 'static>(
    dirs: &[PathBuf],
    f: impl FnOnce() -> F + Send + 'static,
) -> R {
    let (config, outcome) = (config(dirs), Arc::new(Mutex::new(None)));
    let inner = outcome.clone();
    let main = move || async move {
        crate::open(config).await.expect("opens");
        let value = f().await;
        *inner.lock().expect("not poisoned") = Some(value);
        crate::close().await;
    };
    rt::run_alone(rt::Config::new(1), main).expect("runs");
    let value = outcome.lock().expect("not poisoned").take();
    value.expect("it ran")
}

async fn put(key: &str, len: usize) -> crate::Result<()> {
    let store = crate::here();
    let bucket = store.bucket(&BucketName::parse(BUCKET).expect("valid")).expect("made before").id;
    let mut put = store.put(Some(len as u64));
    put.write(&vec![7; len]).await.expect("received");
    let (body, key) = (put.finish().await.expect("received"), ObjectKey::parse(key).expect("valid"));
    let (etag, attributes, condition) = (Etag::from_md5([7; 16]), Attributes::new(), WriteCondition::default());
    store.commit_put(CommitPut { bucket, key, body, etag, attributes, condition }).await.map(drop)
}

async fn has(key: &str) -> bool {
    let store = crate::here();
    let bucket = store.bucket(&BucketName::parse(BUCKET).expect("valid")).expect("made before").id;
    store.head(bucket, &ObjectKey::parse(key).expect("valid")).await.is_ok()
}

async fn back_up(dir: PathBuf) -> BackupState {
    let store = crate::here();
    assert!(store.begin_backup(dir).await);
    loop {
        match store.backup_state() {
            BackupState::Running { .. } => rt::time::sleep(Duration::from_millis(5)).await,
            state => return state,
        }
    }
}

/// Drives with two objects of which only the first is in the backup.
fn backed_up(root: &Path) -> (Vec<PathBuf>, PathBuf) {
    let (dirs, backup) = (dirs(root), root.join("backup"));
    let to = backup.clone();
    with_store(&dirs, move || async move {
        let name = BucketName::parse(BUCKET).expect("valid");
        crate::here().create_bucket(&name, Vec::new()).await.expect("created");
        put("before", 100_000).await.expect("put");
        let state = back_up(to.clone()).await;
        assert!(matches!(&state, BackupState::Done { taken, .. } if taken.partitions == 4), "{state:?}");
        let again = back_up(to).await;
        assert!(matches!(&again, BackupState::Failed { why, .. } if why.contains("not empty")), "{again:?}");
        put("after", 100_000).await.expect("put");
    });
    (dirs, backup)
}

fn options(dirs: &[PathBuf], from: &Path) -> RestoreOptions {
    RestoreOptions { from: from.to_owned(), dirs: dirs.to_vec(), read_only: false, force: true, elsewhere: false }
}

fn log_files(dirs: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for dir in dirs {
        for file in crate::inspect::drive(dir).expect("a drive").files {
            if file.page.as_ref().is_ok_and(|page| page.class == crate::inspect::Class::Log) {
                files.push(dir.join(VOLUMES_NAME).join(crate::drive::volume_name(file.volume, file.slot)));
            }
        }
    }
    files
}

#[test]
fn restored_tables_and_the_log_behind_them_are_all_there_was() {
    let root = tempfile::tempdir().unwrap();
    let (dirs, backup) = backed_up(root.path());
    let unforced = RestoreOptions { force: false, ..options(&dirs, &backup) };
    let kept = restore(&unforced).unwrap();
    assert!(kept.partitions.iter().all(|partition| partition.outcome == Outcome::Kept), "the log has everything");
    let restored = restore(&options(&dirs, &backup)).unwrap();
    assert!(!restored.is_incomplete && restored.partitions.len() == 4);
    assert!(
        restored.partitions.iter().all(|partition| partition.outcome == Outcome::Restored { copies: 3 }),
        "{restored:?}"
    );
    let there = with_store(&dirs, || async { (has("before").await, has("after").await, put("more", 5).await.is_ok()) });
    assert_eq!(there, (true, true, true));
}

#[test]
fn with_commits_missing_the_drives_are_marked_and_every_start_is_read_only() {
    let root = tempfile::tempdir().unwrap();
    let (dirs, backup) = backed_up(root.path());
    // As if they had been freed since.
    log_files(&dirs).iter().for_each(|file| fs::remove_file(file).unwrap());
    let refused = restore(&options(&dirs, &backup)).unwrap_err();
    assert!(matches!(refused, RestoreRefusal::Incomplete { partitions: 4 }), "{refused}");
    assert!(dirs.iter().all(|dir| !dir.join(RESTORED_NAME).exists()), "nothing was touched");
    let restored = restore(&RestoreOptions { read_only: true, ..options(&dirs, &backup) }).unwrap();
    assert!(restored.is_incomplete);
    // One drive is enough to tell, and the others hear of it.
    dirs[1..].iter().for_each(|dir| fs::remove_file(dir.join(RESTORED_NAME)).unwrap());
    for _ in 0..2 {
        with_store(&dirs, || async {
            assert!(has("before").await && !has("after").await);
            assert!(matches!(put("more", 5).await, Err(Error::Unavailable(what)) if what.contains("restored")));
            let store = crate::here();
            let bucket = store.bucket(&BucketName::parse(BUCKET).unwrap()).unwrap().id;
            let deleted = store.delete(bucket, &ObjectKey::parse("before").unwrap(), DeleteCondition::default()).await;
            assert!(matches!(deleted, Err(Error::Unavailable(_))), "{deleted:?}");
        });
        assert!(dirs.iter().all(|dir| dir.join(RESTORED_NAME).exists()));
    }
}

/// As if log volumes had been freed: of every partition only the copy on the drive `only` counts.
fn count_only(dirs: &[PathBuf], only: usize) {
    let file = |dir: &PathBuf| dir.join(crate::drive::TOPOLOGY_NAME);
    let held = Topology::decode_file(&fs::read(file(&dirs[0])).unwrap()).unwrap().0;
    let mut next = topology::next(&held, 0x5eed, held.start, &[]);
    let id = Identity::decode_file(&fs::read(dirs[only].join(crate::drive::IDENTITY_NAME)).unwrap()).unwrap().drive;
    let place = next.drives.iter().position(|member| member.drive == id).unwrap();
    next.in_sync = vec![1 << place; usize::from(next.partition_count())];
    for dir in dirs {
        fs::write(file(dir), [held.encode(), next.encode()].concat()).unwrap();
    }
}

/// Drives of which the one that alone has tables that count is away, its directory, the backup, and where it is.
fn without_tables(root: &Path) -> (Vec<PathBuf>, PathBuf, PathBuf) {
    let (dirs, backup) = backed_up(root);
    count_only(&dirs, 0);
    let away = root.join("away");
    fs::rename(&dirs[0], &away).unwrap();
    (dirs, backup, away)
}

fn refused_start(dirs: &[PathBuf]) -> String {
    let (config, said) = (config(dirs), Arc::new(Mutex::new(String::new())));
    let inner = said.clone();
    let main = move || async move {
        let refused = crate::open(config).await.expect_err("no copy counts");
        *inner.lock().unwrap() = refused.to_string();
    };
    rt::run_alone(rt::Config::new(1), main).expect("runs");
    said.lock().unwrap().clone()
}

const BOTH: [&str; 2] = ["before", "after"];

/// Which of these are there, and whether more can be put, under which key.
fn started(dirs: &[PathBuf], more: &'static str) -> (Vec<bool>, bool) {
    with_store(dirs, move || async move {
        let mut there = Vec::new();
        for key in BOTH {
            there.push(has(key).await);
        }
        (there, put(more, 100_000).await.is_ok())
    })
}

#[test]
fn tables_go_to_other_drives_when_those_that_count_are_gone_and_never_count_again() {
    let root = tempfile::tempdir().unwrap();
    let (dirs, backup, away) = without_tables(root.path());
    let options = RestoreOptions { force: false, ..options(&dirs, &backup) };
    let refused = restore(&options).unwrap_err();
    assert!(matches!(refused, RestoreRefusal::NoPlace(PartitionId(0))), "{refused}");
    assert!(refused_start(&dirs).contains("no copy"));
    let restored = restore(&RestoreOptions { elsewhere: true, ..options }).unwrap();
    assert!(restored.elsewhere == 4 && !restored.is_incomplete, "{restored:?}");
    assert_eq!(started(&dirs, "more"), (vec![true; 2], true));
    assert!(dirs.iter().all(|dir| !dir.join(PLACED_NAME).exists()), "the epoch says it now");
    // Then it comes back, with tables of which it knows that they count.
    fs::remove_dir_all(&dirs[0]).ok();
    fs::rename(&away, &dirs[0]).unwrap();
    let there =
        with_store(&dirs, || async { (has("after").await, has("more").await, put("yet more", 5).await.is_ok()) });
    assert_eq!(there, (true, true, true));
}

#[test]
fn one_drive_that_knows_of_its_restored_tables_is_enough() {
    let root = tempfile::tempdir().unwrap();
    let (dirs, backup, _) = without_tables(root.path());
    restore(&RestoreOptions { elsewhere: true, ..options(&dirs, &backup) }).unwrap();
    // As a crash leaves it between the first record and the second. Each partition is on all three drives.
    dirs[2..].iter().for_each(|dir| fs::remove_file(dir.join(PLACED_NAME)).unwrap());
    assert_eq!(started(&dirs, "more"), (vec![true; 2], true));
}

#[test]
fn what_is_not_whole_or_of_others_is_refused_before_anything_is_touched() {
    let root = tempfile::tempdir().unwrap();
    let (dirs, backup) = backed_up(root.path());
    let other = root.path().join("other");
    fs::create_dir(&other).unwrap();
    let (others, _) = backed_up(&other);
    let refused = restore(&options(&others, &backup)).unwrap_err();
    assert!(matches!(refused, RestoreRefusal::Foreign { backup, drives } if backup != drives), "{refused}");
    assert!(matches!(restore(&options(&dirs[3..], &backup)), Err(RestoreRefusal::NoTopology)));
    let file = backup.join("index/0/current");
    let whole = fs::read(&file).unwrap();
    for wrong in [&whole[1..], &[&whole[1..], &whole[..1]].concat()[..]] {
        fs::write(&file, wrong).unwrap();
        let refused = restore(&options(&dirs, &backup)).unwrap_err();
        assert!(matches!(&refused, RestoreRefusal::Backup { path, .. } if *path == file), "{refused}");
    }
    fs::write(&file, whole).unwrap();
    let held = crate::salvage::lock(&dirs[0]).unwrap().unwrap();
    assert!(matches!(restore(&options(&dirs, &backup)), Err(RestoreRefusal::Drives(Refusal::Locked(_)))));
    drop(held);
    fs::remove_file(backup.join(MANIFEST_NAME)).unwrap();
    assert!(matches!(restore(&options(&dirs, &backup)), Err(RestoreRefusal::Backup { .. })));
    let names = |dir: &Path| {
        fs::read_dir(dir.join("index")).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
    };
    assert!(dirs.iter().all(|dir| names(dir).iter().all(|name| !name.to_string_lossy().contains("before"))));
}

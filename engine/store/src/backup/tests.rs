use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use types::{Attributes, BucketName, DeleteCondition, Etag, ObjectKey, WriteCondition};

use super::*;
use crate::drive::{RESTORED_NAME, VOLUMES_NAME};
use crate::error::Error;
use crate::salvage::Refusal;
use crate::{CommitPut, Config};

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
    RestoreOptions { from: from.to_owned(), dirs: dirs.to_vec(), read_only: false, force: true }
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

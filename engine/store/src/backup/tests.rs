use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use types::{Attributes, BucketId, BucketName, DeleteCondition, Etag, ObjectKey, PartNumber, UploadId, WriteCondition};

use super::*;
use crate::drive::{PLACED_NAME, RESTORED_NAME, VOLUMES_NAME};
use crate::error::Error;
use crate::format::drive::Identity;
use crate::format::record::{Body, BucketRecord, BucketState, Record};
use crate::format::topology::Topology;
use crate::index::keys;
use crate::partition::Change;
use crate::salvage::Refusal;
use crate::space::recount;
use crate::volume::{Class, Volume};
use crate::{CommitPart, CommitPut, Complete, Config, Uploads, topology};

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

/// Log volumes of starts up to this one, as if they had been freed.
fn free_logs_of(dirs: &[PathBuf], start: u32) {
    for file in log_files(dirs) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let (volume, _) = crate::drive::parse_volume_name(&name).unwrap();
        if volume.start().value() <= start {
            fs::remove_file(file).unwrap();
        }
    }
}

/// Drives with what `fill` put that were restored without the commits of `gap`, which come after the backup, and with those
/// of `later`, which come in the next start.
fn restored_without<F, G, H>(
    root: &Path,
    fill: impl FnOnce() -> F + Send + 'static,
    gap: impl FnOnce() -> G + Send + 'static,
    later: impl FnOnce() -> H + Send + 'static,
) -> Vec<PathBuf>
where
    F: Future<Output = ()> + 'static,
    G: Future<Output = ()> + 'static,
    H: Future<Output = ()> + 'static,
{
    let (dirs, backup) = (dirs(root), root.join("backup"));
    let to = backup.clone();
    let start = with_store(&dirs, move || async move {
        let name = BucketName::parse(BUCKET).expect("valid");
        crate::here().create_bucket(&name, Vec::new()).await.expect("created");
        fill().await;
        let state = back_up(to).await;
        gap().await;
        let BackupState::Done { taken, .. } = state else { panic!("{state:?}") };
        taken.start
    });
    with_store(&dirs, later);
    free_logs_of(&dirs, start);
    let restored = restore(&RestoreOptions { read_only: true, ..options(&dirs, &backup) }).unwrap();
    assert!(restored.is_incomplete);
    dirs
}

/// Drives that were restored without the commits of the time between the backup and the second start, which has deletes of what
/// the backup has and of what it lacks. A log volume goes when no small body in it is alive: so what stays is large, or empty.
fn restored_with_a_gap(root: &Path) -> Vec<PathBuf> {
    let fill = || async {
        for n in 0..12 {
            put(&format!("kept{n}"), [0, 90_000, 100_000][n % 3]).await.expect("put");
            put(&format!("deleted{n}"), [700, 120_000][n % 2]).await.expect("put");
        }
        for n in 0..4 {
            put(&format!("replaced{n}"), 100_000).await.expect("put");
            put(&format!("back{n}"), 100_000).await.expect("put");
        }
    };
    let gap = || async {
        for n in 0..12 {
            put(&format!("lost{n}"), [500, 90_000, 150_000][n % 3]).await.expect("put");
        }
        for n in 0..4 {
            put(&format!("replaced{n}"), [110_000, 900][n % 2]).await.expect("put");
            delete(&format!("back{n}")).await;
        }
    };
    restored_without(root, fill, gap, || async {
        for n in 0..12 {
            for key in [format!("deleted{n}"), format!("lost{n}")].iter().take(2 - n % 2) {
                delete(key).await;
            }
        }
    })
}

async fn delete(key: &str) {
    let key = ObjectKey::parse(key).expect("valid");
    crate::here().delete(bucket(), &key, DeleteCondition::default()).await.expect("deleted");
}

fn is_marked(dirs: &[PathBuf]) -> bool {
    dirs.iter().any(|dir| dir.join(RESTORED_NAME).exists())
}

/// Every partition counts what its records name, and lists it, one extent at a time.
async fn is_counted_right() {
    uploads_are_cleared().await;
    let store = crate::here();
    for id in (0..4).map(PartitionId) {
        let partition = store.shard().partition(id).expect("it is here");
        assert!(!partition.is_damaged());
        loop {
            let lsn = partition.durable_lsn();
            partition.flush().await.expect("flushed");
            let counted = [
                recount::verify(&partition, store.shard().node(), 1).await,
                recount::verify(&partition, store.shard().node(), 1_000).await,
            ];
            // Space may be given back meanwhile.
            if partition.durable_lsn() == lsn {
                assert!(counted.iter().all(Result::is_ok), "partition {}: {counted:?}", id.0);
                break;
            }
        }
    }
}

/// All that earlier starts put into data volumes is deleted: no volume of theirs is left.
async fn has_no_data_of_earlier_starts() {
    is_counted_right().await;
    crate::space::pass(&crate::store::local()).await.expect("reclaims");
    let node = crate::here().shard().node().clone();
    let is_old = |volume: &Arc<Volume>| volume.class == Class::Data && volume.id.start() != node.start;
    let left: Vec<_> = node.volumes().into_iter().filter(is_old).map(|volume| volume.id).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// It takes commits again, and what is counted is what is there.
async fn is_whole_and_writable() {
    for n in 0..12 {
        assert!(
            has(&format!("kept{n}")).await && !has(&format!("lost{n}")).await && !has(&format!("deleted{n}")).await
        );
    }
    put("new", 100_000).await.expect("put");
    delete("kept2").await;
    is_counted_right().await;
    // These are back, whether or not their bytes were freed in time.
    for name in (0..4).flat_map(|n| [format!("replaced{n}"), format!("back{n}")]) {
        let size = crate::here().head(bucket(), &key(&name)).await.expect("it is back").size();
        assert_eq!(size, 100_000, "{name}");
        delete(&name).await;
    }
    // What is freed now was decided by these counters: everything that is named can still be read.
    crate::space::pass(&crate::store::local()).await.expect("reclaims");
    let census = crate::verify(|_| {}).await.expect("verifies");
    assert!(!census.is_lossy(), "{census:?}");
    is_counted_right().await;
    for n in 0..12 {
        delete(&format!("kept{n}")).await;
    }
    has_no_data_of_earlier_starts().await;
}

#[test]
fn what_was_restored_is_all_there_is_once_it_is_accepted() {
    let root = tempfile::tempdir().unwrap();
    let dirs = restored_with_a_gap(root.path());
    let accepted = with_store(&dirs, || async { crate::here().accept_restored().await }).unwrap();
    assert_eq!((accepted.partitions, accepted.objects), (4, 20), "{accepted:?}");
    assert!(!is_marked(&dirs));
    with_store(&dirs, is_whole_and_writable);
    let again = with_store(&dirs, || async { crate::here().accept_restored().await }).unwrap_err();
    assert!(again.contains("nothing to accept"), "{again}");
}

#[test]
fn an_acceptance_that_ends_anywhere_leaves_the_mark_or_all_of_it() {
    let root = tempfile::tempdir().unwrap();
    let dirs = restored_with_a_gap(root.path());
    // Four partitions, buckets, which copies count, four drives; then it comes to its end.
    for steps_max in 0..10 {
        let ended = with_store(&dirs, move || async move { crate::here().accept_until(steps_max).await }).unwrap_err();
        assert!(ended.contains("ends here") && is_marked(&dirs), "{steps_max}: {ended}");
        with_store(&dirs, || async {
            assert!(matches!(put("more", 5).await, Err(Error::Unavailable(what)) if what.contains("restored")));
            assert!(has("kept1").await);
        });
    }
    with_store(&dirs, || async { crate::here().accept_until(10).await }).unwrap();
    assert!(!is_marked(&dirs));
    with_store(&dirs, is_whole_and_writable);
}

/// Records of buckets as the tables have them.
async fn bucket_states() -> Vec<(String, BucketState)> {
    let records = crate::here().shard().bucket_records().await.expect("read");
    records.into_iter().map(|record| (record.name.as_str().to_owned(), record.state)).collect()
}

#[test]
fn a_start_on_marked_drives_leaves_buckets_as_they_are() {
    let root = tempfile::tempdir().unwrap();
    let (dirs, backup) = (dirs(root.path()), root.path().join("backup"));
    let to = backup.clone();
    with_store(&dirs, move || async move {
        let store = crate::here();
        let name = BucketName::parse(BUCKET).expect("valid");
        store.create_bucket(&name, Vec::new()).await.expect("created");
        put("before", 100_000).await.expect("put");
        // As a crash leaves it in the middle of a delete.
        let [record] = &store.shard().bucket_records().await.expect("read")[..] else { panic!("one bucket") };
        let deleting = BucketRecord { state: BucketState::Deleting, ..record.clone() };
        commit(PartitionId::BUCKETS, |change| change.put(keys::bucket(BUCKET), deleting.encode())).await;
        assert!(matches!(back_up(to).await, BackupState::Done { .. }));
    });
    log_files(&dirs).iter().for_each(|file| fs::remove_file(file).unwrap());
    restore(&RestoreOptions { read_only: true, ..options(&dirs, &backup) }).unwrap();
    for _ in 0..2 {
        let states = with_store(&dirs, || async {
            assert!(has("before").await);
            bucket_states().await
        });
        assert_eq!(states, [(BUCKET.to_owned(), BucketState::Deleting)]);
    }
    with_store(&dirs, || async { crate::here().accept_restored().await }).unwrap();
    let states = with_store(&dirs, bucket_states);
    assert_eq!(states, [(BUCKET.to_owned(), BucketState::Live)]);
}

/// Commits a change of index entries.
async fn commit(partition: PartitionId, build: impl FnOnce(&mut Change)) {
    let store = crate::here();
    let partition = store.shard().partition(partition).expect("it is here");
    let mut change = Change::default();
    build(&mut change);
    partition.decide(store.shard().log(), |_| change).expect("decided").1.await.expect("durable");
}

fn bucket() -> BucketId {
    crate::here().bucket(&BucketName::parse(BUCKET).expect("valid")).expect("made before").id
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::parse(name).expect("valid")
}

/// Begins an upload with parts of these lengths.
async fn begin_upload(name: &str, lens: &[usize]) -> UploadId {
    let store = crate::here();
    let upload = store.create_upload(bucket(), &key(name), Attributes::new(), Vec::new()).await.expect("begun");
    for (number, &len) in (1..).zip(lens) {
        let mut part = store.put(Some(len as u64));
        part.write(&vec![number as u8; len]).await.expect("received");
        let (body, number) = (part.finish().await.expect("received"), PartNumber::new(number).expect("valid"));
        let (bucket, key, md5, checksum) = (bucket(), key(name), [7; 16], Vec::new());
        store.commit_part(CommitPart { bucket, key, upload, number, body, md5, checksum }).await.expect("committed");
    }
    upload
}

async fn complete(name: &str, upload: UploadId) {
    let store = crate::here();
    let parts = store.parts(bucket(), &key(name), upload, None, 100).await.expect("listed");
    let parts = parts.into_iter().map(|part| (part.number, part.lsn)).collect();
    let (etag, attributes, condition) = (Etag::from_md5([7; 16]), Attributes::new(), WriteCondition::default());
    let complete = Complete { bucket: bucket(), key: key(name), upload, parts, etag, attributes, condition };
    store.complete_upload(complete).await.expect("completed");
}

/// Uploads in progress, by key.
async fn uploads() -> Vec<(String, UploadId)> {
    let page = crate::here().uploads(bucket(), Uploads { max: 100, ..Uploads::default() }).await.expect("listed");
    let upload = |entry: &_| match entry {
        crate::ListedUpload::Upload { key, upload, .. } => (key.clone(), *upload),
        crate::ListedUpload::Prefix(prefix) => panic!("{prefix}"),
    };
    page.entries.iter().map(upload).collect()
}

#[test]
fn uploads_in_progress_go_on_when_a_restore_is_accepted() {
    let root = tempfile::tempdir().unwrap();
    let fill = || async {
        for name in ["goes on", "ended", "done later"] {
            begin_upload(name, &[90_000, 100_000, 120_000]).await;
        }
        let upload = begin_upload("done", &[90_000, 100_000]).await;
        complete("done", upload).await;
    };
    let gap = || async {
        for (name, upload) in uploads().await {
            match name.as_str() {
                "ended" => crate::here().abort_upload(bucket(), &key(&name), upload).await.expect("ended"),
                "done later" => complete(&name, upload).await,
                _ => {}
            }
        }
        // What is not cleared now is cleared by commits of the next start, which are not lost.
        uploads_are_cleared().await;
    };
    let dirs = restored_without(root.path(), fill, gap, || async {});
    let accepted = with_store(&dirs, || async { crate::here().accept_restored().await }).unwrap();
    assert_eq!((accepted.objects, accepted.extents_dropped, accepted.parts_dropped), (1, 0, 0), "{accepted:?}");
    with_store(&dirs, || async {
        let begun = uploads().await;
        let names: Vec<_> = begun.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["done later", "ended", "goes on"]);
        is_counted_right().await;
        complete(&begun[2].0, begun[2].1).await;
        assert!(body_of("goes on").await == [vec![1; 90_000], vec![2; 100_000], vec![3; 120_000]].concat());
        for (name, upload) in &begun[..2] {
            crate::here().abort_upload(bucket(), &key(name), *upload).await.expect("ended");
        }
        for name in ["goes on", "done"] {
            delete(name).await;
        }
        has_no_data_of_earlier_starts().await;
    });
}

async fn body_of(name: &str) -> Vec<u8> {
    let record = crate::here().head(bucket(), &key(name)).await.expect("it is there");
    let mut get = crate::here().read(&record, 0..record.size());
    let mut read = Vec::new();
    while let Some(window) = get.next().await {
        read.extend_from_slice(&window.expect("read"));
    }
    read
}

/// Waits until no parts of uploads that have ended are left.
async fn uploads_are_cleared() {
    let (from, to) = keys::ended_uploads();
    for id in (0..4).map(PartitionId) {
        let partition = crate::here().shard().partition(id).expect("it is here");
        while !crate::list::scan_up_to(&partition, from.clone(), &to, 1).await.expect("read").is_empty() {
            rt::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The partition and the extents of an object.
async fn extents_of(name: &str) -> (std::rc::Rc<crate::partition::Partition>, Vec<crate::data::Extent>) {
    let store = crate::here();
    let partition = keys::partition_of(bucket(), name.as_bytes(), 4);
    let partition = store.shard().partition(partition).expect("it is here");
    let value = partition.get(&keys::current(bucket(), name.as_bytes()), crate::partition::View::Durable).await;
    let record = Record::decode(&value.expect("read").expect("it is there")).expect("a record");
    let Body::Extents(extents) = record.body else { panic!("a large object") };
    (partition, extents)
}

#[test]
fn records_say_what_lives_whatever_else_the_tables_say() {
    let root = tempfile::tempdir().unwrap();
    let fill = || async {
        for n in 0..8 {
            put(&format!("large{n}"), 100_000).await.expect("put");
        }
        begin_upload("orphan", &[90_000, 100_000]).await;
    };
    let dirs = restored_without(root.path(), fill, || async {}, || async {});
    with_store(&dirs, || async {
        for name in ["large0", "large1", "large2"] {
            let (partition, extents) = extents_of(name).await;
            for extent in extents {
                partition.correct(keys::extent(extent.volume, extent.at), None);
                partition.correct(keys::dead(extent.volume, extent.at), Some(crate::object::place_value(&extent)));
            }
        }
        // An object whose removal left its entries, one whose bytes are counted by nobody, an upload whose parts stay.
        let (partition, _) = extents_of("large3").await;
        partition.correct(keys::current(bucket(), b"large3"), None);
        let (partition, _) = extents_of("large4").await;
        partition.set_counters(Default::default(), Default::default());
        let orphan = keys::partition_of(bucket(), b"orphan", 4);
        let partition = crate::here().shard().partition(orphan).expect("it is here");
        let (_, upload) = uploads().await.pop().expect("one upload");
        partition.correct(keys::upload(bucket(), b"orphan", upload), None);
    });
    let accepted = with_store(&dirs, || async { crate::here().accept_restored().await }).unwrap();
    assert_eq!((accepted.objects, accepted.parts_dropped, accepted.short), (7, 2, 0), "{accepted:?}");
    assert_eq!((accepted.extents_dropped, accepted.bytes_dropped), (3, 290_000), "{accepted:?}");
    with_store(&dirs, || async {
        is_counted_right().await;
        crate::space::pass(&crate::store::local()).await.expect("reclaims");
        assert!(!crate::verify(|_| {}).await.expect("verifies").is_lossy());
        for n in [0, 1, 2, 4, 5, 6, 7] {
            delete(&format!("large{n}")).await;
        }
        has_no_data_of_earlier_starts().await;
    });
}

#[test]
fn two_records_of_the_same_bytes_keep_the_mark() {
    let root = tempfile::tempdir().unwrap();
    let fill = || async {
        put("large", 100_000).await.expect("put");
    };
    let dirs = restored_without(root.path(), fill, || async {}, || async {});
    let accepted = with_store(&dirs, || async {
        let (partition, _) = extents_of("large").await;
        let current = keys::current(bucket(), b"large");
        let value = partition.get(&current, crate::partition::View::Durable).await.expect("read").expect("there");
        partition.correct(keys::current(bucket(), b"other"), Some(value.to_vec()));
        crate::here().accept_restored().await
    });
    assert!(accepted.unwrap_err().contains("two records name the same bytes"));
    assert!(is_marked(&dirs));
}

#[test]
fn objects_whose_bucket_or_bytes_are_lost_are_told_and_can_be_deleted() {
    let root = tempfile::tempdir().unwrap();
    let fill = || async {
        for n in 0..8 {
            put(&format!("large{n}"), 100_000).await.expect("put");
        }
        begin_upload("upload", &[90_000]).await;
    };
    let dirs = restored_without(root.path(), fill, || async {}, || async {});
    let (id, volume) = with_store(&dirs, || async {
        let buckets = crate::here().shard().partition(PartitionId::BUCKETS).expect("it is here");
        let (id, (_, extents)) = (bucket(), extents_of("large0").await);
        buckets.correct(keys::bucket(BUCKET), None);
        (id, extents[0].volume)
    });
    for dir in &dirs {
        for slot in 0..4 {
            fs::remove_file(dir.join(VOLUMES_NAME).join(crate::drive::volume_name(volume, slot))).ok();
        }
    }
    let accepted = with_store(&dirs, || async { crate::here().accept_restored().await }).unwrap();
    assert_eq!((accepted.objects, accepted.buckets_named), (8, 1), "{accepted:?}");
    assert!(accepted.short > 0 && accepted.bytes_short >= 100_000, "{accepted:?}");
    with_store(&dirs, move || async move {
        let name = BucketName::parse(&format!("recovered-{:016x}", id.0)).expect("valid");
        assert_eq!(crate::here().bucket(&name).expect("it has a name").id, id);
        is_counted_right().await;
        for n in 0..8 {
            let name = key(&format!("large{n}"));
            crate::here().delete(id, &name, DeleteCondition::default()).await.expect("deleted");
        }
        let page = crate::here().uploads(id, Uploads { max: 100, ..Uploads::default() }).await.expect("listed");
        let [crate::ListedUpload::Upload { key: name, upload, .. }] = &page.entries[..] else { panic!("{page:?}") };
        crate::here().abort_upload(id, &key(name), *upload).await.expect("ended");
        has_no_data_of_earlier_starts().await;
    });
}

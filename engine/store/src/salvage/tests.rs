use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use types::{Attribute, Attributes, BucketName, DeleteCondition, Etag, ObjectKey, WriteCondition};

use super::*;
use crate::drive::{IDENTITY_NAME, INDEX_NAME, TOPOLOGY_NAME, VOLUMES_NAME};
use crate::format::fragment::BLOCK_BYTES;
use crate::ids::PAGE_BYTES;
use crate::inspect;
use crate::{CommitPart, CommitPut, Complete, Config};

const BUCKET: &str = "bucket";
const LARGE: usize = 3_000_000;
const DRIVES: usize = 6;

/// What lives and what does not: key, size, and the byte that its content begins with.
const LIVE: [(&str, usize, u8); 6] = [
    ("small", 5_000, 1),
    ("large", LARGE, 2),
    ("empty", 0, 3),
    ("replaced", 700, 5),
    ("parts", 2 * LARGE, 6),
    ("z/last", 1, 8),
];

fn content(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 % 251) as u8 ^ seed).collect()
}

fn contents() -> BTreeMap<String, Vec<u8>> {
    let mut contents: BTreeMap<String, Vec<u8>> =
        LIVE.iter().map(|(key, len, seed)| (format!("{BUCKET}/{key}"), content(*seed, *len))).collect();
    let parts = [content(6, LARGE), content(7, LARGE)].concat();
    contents.insert(format!("{BUCKET}/parts"), parts);
    contents
}

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

async fn body(bytes: &[u8]) -> crate::PutBody {
    let mut put = crate::here().put(Some(bytes.len() as u64));
    put.write(bytes).await.expect("received");
    put.finish().await.expect("received")
}

async fn put(bucket: types::BucketId, key: &str, bytes: Vec<u8>) {
    let mut attributes = Attributes::new();
    attributes.push(Attribute::ContentType, "", b"text/plain");
    let commit = CommitPut {
        bucket,
        key: ObjectKey::parse(key).expect("valid"),
        body: body(&bytes).await,
        etag: Etag::from_md5([7; 16]),
        attributes,
        condition: WriteCondition::default(),
    };
    crate::here().commit_put(commit).await.expect("committed");
}

async fn upload(bucket: types::BucketId, key: &str, parts: &[Vec<u8>], complete: bool) {
    let (store, key) = (crate::here(), ObjectKey::parse(key).expect("valid"));
    let upload = store.create_upload(bucket, &key, Attributes::new(), Vec::new()).await.expect("begun");
    for (n, bytes) in (1..).zip(parts) {
        let number = PartNumber::new(n).expect("small");
        let (body, checksum) = (body(bytes).await, Vec::new());
        let part = CommitPart { bucket, key: key.clone(), upload, number, body, md5: [n as u8; 16], checksum };
        store.commit_part(part).await.expect("committed");
    }
    if complete {
        let listed = store.parts(bucket, &key, upload, None, 100).await.expect("listed");
        let parts = listed.iter().map(|part| (part.number, part.lsn)).collect();
        let (etag, attributes) = (Etag::from_md5([9; 16]), Attributes::new());
        let condition = WriteCondition::default();
        let complete = Complete { bucket, key, upload, parts, etag, attributes, condition };
        store.complete_upload(complete).await.expect("completed");
    }
}

/// A closed store on six drives.
fn store(root: &Path) -> Vec<PathBuf> {
    let dirs: Vec<PathBuf> = (0..DRIVES).map(|n| root.join(format!("d{n}"))).collect();
    let config = config(&dirs);
    let main = move || async move {
        crate::open(config).await.expect("opens");
        let store = crate::here();
        let name = BucketName::parse(BUCKET).expect("valid");
        let bucket = store.create_bucket(&name, Vec::new()).await.expect("created").id;
        put(bucket, "deleted-small", content(10, 900)).await;
        put(bucket, "deleted-large", content(11, LARGE)).await;
        put(bucket, "replaced", content(4, LARGE)).await;
        for (key, len, seed) in LIVE.iter().filter(|(key, ..)| *key != "parts") {
            put(bucket, key, content(*seed, *len)).await;
        }
        upload(bucket, "parts", &[content(6, LARGE), content(7, LARGE)], true).await;
        upload(bucket, "unfinished", &[content(12, 100_000)], false).await;
        for key in ["deleted-small", "deleted-large"] {
            let key = ObjectKey::parse(key).expect("valid");
            assert!(store.delete(bucket, &key, DeleteCondition::default()).await.expect("deleted").existed);
        }
        let gone = BucketName::parse("gone").expect("valid");
        store.create_bucket(&gone, Vec::new()).await.expect("created");
        store.delete_bucket(&gone).await.expect("deleted");
        crate::close().await;
    };
    rt::run_alone(rt::Config::new(1), main).expect("runs");
    dirs
}

fn options() -> Options {
    Options { memory_bytes: 64 << 20, deleted: false, unnamed: true, deployment: None }
}

/// What was handed over: verdict, missing ranges, bytes.
type Thing = (Verdict, Vec<Range<u64>>, Vec<u8>);

struct Salvaged {
    report: Report,
    /// By bucket and key, part, or place.
    found: BTreeMap<String, Thing>,
}

fn salvage_with(dirs: &[PathBuf], options: Options) -> Salvaged {
    let salvage = Salvage::open(dirs, options).expect("opens");
    let mut found = BTreeMap::new();
    let report = salvage.run(&mut |thing| {
        let mut bytes = Vec::new();
        salvage.read(thing, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        assert_eq!(bytes.len() as u64, thing.size);
        let bucket = thing.bucket_name.as_deref().unwrap_or("?");
        let key = thing.key.as_deref().unwrap_or("?");
        let name = match &thing.what {
            What::Object if thing.verdict.is_live() => format!("{bucket}/{key}"),
            What::Object => format!("{bucket}/{key} {}", thing.id),
            What::Part { number, .. } => format!("{bucket}/{key} part {}", number.value()),
            What::Unnamed { .. } => thing.id.clone(),
        };
        assert!(found.insert(name, (thing.verdict, thing.missing.clone(), bytes)).is_none(), "{thing:?} twice");
        Ok(())
    });
    Salvaged { report: report.expect("runs"), found }
}

fn salvage(dirs: &[PathBuf]) -> Salvaged {
    salvage_with(dirs, options())
}

impl Salvaged {
    /// Every living object is whole and right, and nothing else is taken for one.
    fn check_all_live(&self, verdict: Verdict) {
        let expect = contents();
        for (name, bytes) in &expect {
            let (found, missing, read) = self.found.get(name).unwrap_or_else(|| panic!("{name} is not there"));
            assert_eq!((*found, &missing[..]), (verdict, &[][..]), "{name}");
            assert!(read == bytes, "{name} has other bytes");
        }
        let others: Vec<_> = self.found.keys().filter(|name| !expect.contains_key(*name)).collect();
        assert_eq!(others, ["bucket/unfinished part 1"]);
        assert_eq!(self.found["bucket/unfinished part 1"].2, content(12, 100_000));
    }
}

fn remove_all(dirs: &[PathBuf], name: &str) {
    for dir in dirs {
        let path = dir.join(name);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("was there");
    }
}

/// Slot files of a class.
fn slot_files(dirs: &[PathBuf], class: inspect::Class) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for dir in dirs {
        for file in inspect::drive(dir).expect("a drive").files {
            if file.page.as_ref().is_ok_and(|page| page.class == class) {
                files.push(dir.join(VOLUMES_NAME).join(crate::drive::volume_name(file.volume, file.slot)));
            }
        }
    }
    files
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).expect("opens").write_all_at(bytes, at).expect("written");
}

#[test]
fn a_log_since_birth_gives_everything_back_without_tables_and_says_what_is_current() {
    let root = tempfile::tempdir().unwrap();
    let dirs = store(root.path());
    let with_tables = salvage(&dirs);
    with_tables.check_all_live(Verdict::Current);
    assert!(with_tables.report.is_certain() && !with_tables.report.is_short(), "{:?}", with_tables.report);
    remove_all(&dirs, INDEX_NAME);
    let salvaged = salvage(&dirs);
    salvaged.check_all_live(Verdict::Current);
    let report = &salvaged.report;
    assert!(report.is_certain() && !report.is_short(), "{report:?}");
    assert_eq!((report.objects(Verdict::Deleted).found, report.objects(Verdict::Superseded).found), (2, 1));
    assert_eq!((report.uploads, report.unnamed.found, report.batches_lost()), (1, 0, 0));
    assert_eq!(report.buckets.iter().map(|bucket| bucket.is_deleted).collect::<Vec<_>>(), [false, true]);
    // One partition at a time gives the same.
    let narrow = salvage_with(&dirs, Options { memory_bytes: 0, ..options() });
    assert_eq!(narrow.found, salvaged.found);
    let all = salvage_with(&dirs, Options { deleted: true, ..options() });
    let of = |verdict| all.found.values().filter(|(found, ..)| *found == verdict).count();
    // The parts of the completed upload were cleared.
    assert_eq!((of(Verdict::Deleted), of(Verdict::Superseded), of(Verdict::Current)), (4, 1, contents().len() + 1));
}

#[test]
fn without_identity_topology_and_tables_and_with_p_drives_gone_objects_are_whole_but_possibly_deleted() {
    let root = tempfile::tempdir().unwrap();
    let dirs = store(root.path());
    remove_all(&dirs, INDEX_NAME);
    remove_all(&dirs, TOPOLOGY_NAME);
    remove_all(&dirs, IDENTITY_NAME);
    for (a, b) in [(0, 1), (2, 5)] {
        let left: Vec<PathBuf> =
            dirs.iter().enumerate().filter(|(n, _)| *n != a && *n != b).map(|(_, dir)| dir.clone()).collect();
        let salvaged = salvage(&left);
        salvaged.check_all_live(Verdict::PossiblyDeleted);
        assert!(!salvaged.report.is_certain() && salvaged.report.epoch.is_none());
    }
    // With one more nothing of what is spread wide can be read, and it is said.
    let salvaged = salvage(&dirs[3..]);
    assert!(salvaged.report.is_short(), "{:?}", salvaged.report);
    assert!(
        salvaged
            .found
            .values()
            .all(|(_, missing, bytes)| bytes.is_empty() || !missing.is_empty() || bytes.len() < BLOCK_BYTES)
    );
}

#[test]
fn rot_in_every_drive_at_other_places_costs_nothing() {
    let root = tempfile::tempdir().unwrap();
    let dirs = store(root.path());
    remove_all(&dirs, INDEX_NAME);
    // Stripes of large objects take 65 pages: one page each of 11, at another place in each drive's file.
    for (n, path) in slot_files(&dirs, inspect::Class::Data).iter().enumerate() {
        for stripe in 0..8_u64 {
            let page = 1 + stripe * 65 + 2 + 11 * (n as u64 % DRIVES as u64 % 5);
            overwrite(path, page * PAGE_BYTES as u64, &[0xa5; 100]);
        }
    }
    salvage(&dirs).check_all_live(Verdict::Current);
}

#[test]
fn bodies_whose_records_are_lost_are_handed_over_without_a_name() {
    let root = tempfile::tempdir().unwrap();
    let dirs = store(root.path());
    remove_all(&dirs, INDEX_NAME);
    slot_files(&dirs, inspect::Class::Log).iter().for_each(|file| fs::remove_file(file).expect("was there"));
    let salvaged = salvage(&dirs);
    assert_eq!(salvaged.report.objects.len(), 0);
    let unnamed: Vec<&Vec<u8>> = salvaged.found.values().map(|(.., bytes)| bytes).collect();
    for (seed, len) in [(2, LARGE), (6, LARGE), (7, LARGE), (12, 100_000)] {
        assert!(unnamed.contains(&&content(seed, len)), "the body that begins with {seed}");
    }
    assert!(salvaged.report.is_short() && !salvaged.report.is_certain());
}

#[test]
fn tables_name_what_no_log_names_any_more() {
    let root = tempfile::tempdir().unwrap();
    let dirs = store(root.path());
    slot_files(&dirs, inspect::Class::Log).iter().for_each(|file| fs::remove_file(file).expect("was there"));
    let salvaged = salvage(&dirs);
    let expect = contents();
    for name in ["bucket/large", "bucket/parts", "bucket/empty"] {
        let (_, missing, bytes) = &salvaged.found[name];
        assert!(missing.is_empty() && *bytes == expect[name], "{name}");
    }
    // Small bodies went with the log: named, and wholly missing.
    assert_eq!(salvaged.found["bucket/small"].1, std::slice::from_ref(&(0..5_000)));
    assert_eq!(salvaged.report.unnamed.found, 0, "what is dead is no body without a name");
    assert!(salvaged.report.is_short());
}

#[test]
fn a_server_that_runs_keeps_its_drives_and_foreign_drives_are_not_mixed_in() {
    let root = tempfile::tempdir().unwrap();
    let (one, other) = (root.path().join("one"), root.path().join("other"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&other).unwrap();
    let (one, other) = (store(&one), store(&other));
    let both: Vec<PathBuf> = one.iter().chain(&other[..1]).cloned().collect();
    let Err(Refusal::Several(deployments)) = Salvage::open(&both, options()) else { panic!("mixed") };
    assert_eq!(deployments.len(), 2);
    let chosen = inspect::drive(&one[0]).unwrap().identity.unwrap().deployment;
    let salvaged = salvage_with(&both, Options { deployment: Some(chosen), ..options() });
    salvaged.check_all_live(Verdict::Current);
    assert!(matches!(Salvage::open(&[root.path().to_owned()], options()), Err(Refusal::NoDrives)));
    let held = source::lock(&one[2]).unwrap().expect("it was served");
    assert!(matches!(Salvage::open(&one, options()), Err(Refusal::Locked(dir)) if dir == one[2]));
    drop(held);
    assert!(Salvage::open(&one, options()).is_ok());
}

/// Whatever happened to the drives, nothing is invented: what is said to be whole has the bytes that were put.
#[test]
fn garbage_on_the_drives_neither_ends_the_run_nor_invents_anything() {
    let root = tempfile::tempdir().unwrap();
    let dirs = store(root.path());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let known: Vec<Vec<u8>> =
        contents().into_values().chain([content(4, LARGE), content(10, 900), content(11, LARGE)]).collect();
    for round in 0..12 {
        let mut files = Vec::new();
        for dir in &dirs {
            find_files(dir, &mut files);
        }
        files.sort();
        for _ in 0..40 {
            let path = &files[random(files.len() as u64) as usize];
            let len = fs::metadata(path).unwrap().len();
            match random(20) {
                0 => OpenOptions::new().write(true).open(path).unwrap().set_len(random(len + 1)).unwrap(),
                1 => fs::rename(path, path.with_file_name("0000010000000001.9")).unwrap(),
                _ if len > 0 => {
                    let bytes: Vec<u8> = (0..random(9_000)).map(|_| random(256) as u8).collect();
                    overwrite(path, random(len), &bytes);
                }
                _ => {}
            }
            if !path.exists() {
                break;
            }
        }
        // What identifies the drives may be gone by now; of what was damaged once more is damaged in each round.
        let Ok(salvage) = Salvage::open(&dirs, Options { deleted: true, ..options() }) else { continue };
        let report = salvage.run(&mut |thing| {
            let mut bytes = Vec::new();
            salvage.read(thing, &mut |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })?;
            if thing.is_whole() && thing.what == What::Object {
                assert!(known.contains(&bytes), "round {round}: {:?} has bytes that nobody put", thing.key);
            }
            Ok(())
        });
        assert!(report.is_ok(), "round {round}: {report:?}");
    }
}

fn find_files(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { find_files(&path, files) } else { files.push(path) }
    }
}

#[test]
fn only_what_readers_of_a_key_got_is_taken_for_current() {
    let root = tempfile::tempdir().unwrap();
    let dirs: Vec<PathBuf> = (0..DRIVES).map(|n| root.path().join(format!("d{n}"))).collect();
    let config = config(&dirs);
    let main = move || async move {
        crate::open(config).await.expect("opens");
        let store = crate::here();
        let name = BucketName::parse(BUCKET).expect("valid");
        let bucket = store.create_bucket(&name, Vec::new()).await.expect("created").id;
        store.put_bucket_versioning(&name, types::Versioning::Enabled).await.expect("told");
        for seed in 1..=3 {
            put(bucket, "k", content(seed, 900)).await;
        }
        put(bucket, "gone", content(7, 900)).await;
        store.delete(bucket, &ObjectKey::parse("gone").unwrap(), DeleteCondition::default()).await.expect("deleted");
        crate::close().await;
    };
    rt::run_alone(rt::Config::new(1), main).expect("runs");
    let check = |deleted: bool, verdict: fn(Verdict) -> bool, expect: &[(&str, u8)]| {
        let salvage = Salvage::open(&dirs, Options { deleted, ..options() }).expect("opens");
        let mut found = Vec::new();
        let taken = salvage.run(&mut |thing| {
            if verdict(thing.verdict) {
                let mut bytes = Vec::new();
                let mut take = |piece: &[u8]| {
                    bytes.extend_from_slice(piece);
                    Ok(())
                };
                salvage.read(thing, &mut take)?;
                found.push((thing.key.clone().unwrap_or_default(), bytes));
            }
            Ok(())
        });
        taken.expect("runs");
        found.sort();
        found.dedup();
        let mut expect: Vec<_> = expect.iter().map(|(key, seed)| ((*key).to_owned(), content(*seed, 900))).collect();
        expect.sort();
        assert_eq!(found, expect);
    };
    check(false, |_| true, &[("k", 3)]);
    check(true, |verdict| verdict == Verdict::Current, &[("k", 3)]);
    check(true, |verdict| verdict != Verdict::Current, &[("gone", 7), ("k", 1), ("k", 2)]);
}

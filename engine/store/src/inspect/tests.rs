use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use types::{Attributes, BucketName, Etag, ObjectKey, WriteCondition};

use super::*;
use crate::{CommitPut, Config};

const LARGE: usize = 3_000_000;
const BUCKET: &str = "bucket";

fn config(dirs: &[PathBuf]) -> Config {
    Config {
        log_slot_bytes: Some(16 << 20),
        data_slot_bytes: Some(16 << 20),
        partitions: 4,
        memory_bytes: 64 << 20,
        body_cache_bytes: 8 << 20,
        ..Config::new(dirs.to_vec())
    }
}

fn name(text: &str) -> (BucketName, ObjectKey) {
    (BucketName::parse(BUCKET).expect("valid"), ObjectKey::parse(text).expect("valid"))
}

fn look(dirs: &[PathBuf], key: &str) -> Result<ObjectReport, Failure> {
    let (bucket, key) = name(key);
    object(dirs, &bucket, &key)
}

async fn put(key: &str, len: usize) {
    let store = crate::here();
    let (bucket, key) = name(key);
    let bucket = store.bucket(&bucket).expect("made before").id;
    let bytes: Vec<u8> = (0..len).map(|at| (at * 7 % 251) as u8).collect();
    let mut put = store.put(Some(len as u64));
    put.write(&bytes).await.expect("received");
    let body = put.finish().await.expect("received");
    let (etag, attributes, condition) = (Etag::from_md5([7; 16]), Attributes::new(), WriteCondition::default());
    store.commit_put(CommitPut { bucket, key, body, etag, attributes, condition }).await.expect("committed");
}

/// A closed store on six drives; returns what was seen of it while it ran.
fn store(root: &Path) -> (Vec<PathBuf>, BTreeMap<&'static str, ObjectReport>) {
    let dirs: Vec<PathBuf> = (0..6).map(|n| root.join(format!("d{n}"))).collect();
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let (config, while_running) = (config(&dirs), (dirs.clone(), seen.clone()));
    let main = move || async move {
        crate::open(config).await.expect("opens");
        let (bucket, _) = name("k");
        crate::here().create_bucket(&bucket, Vec::new()).await.expect("created");
        put("small", 5000).await;
        put("large", LARGE).await;
        put("empty", 0).await;
        let (dirs, seen) = while_running;
        for key in ["small", "large", "empty"] {
            seen.lock().expect("not poisoned").insert(key, look(&dirs, key).expect("found while it runs"));
        }
        crate::close().await;
    };
    rt::run_alone(rt::Config::new(1), main).expect("runs");
    let seen = std::mem::take(&mut *seen.lock().expect("not poisoned"));
    (dirs, seen)
}

#[test]
fn an_object_is_found_in_the_log_while_the_store_runs_and_in_the_tables_after_it() {
    let root = tempfile::tempdir().unwrap();
    let (dirs, running) = store(root.path());
    for (key, size, stripes) in [("small", 5000, 1), ("large", LARGE, 3), ("empty", 0, 0)] {
        let closed = look(&dirs, key).unwrap();
        assert!(matches!(running[key].found_in, FoundIn::Log { .. }), "{:?}", running[key].found_in);
        assert!(matches!(closed.found_in, FoundIn::Tables(_)), "{:?}", closed.found_in);
        for report in [&running[key], &closed] {
            assert_eq!((report.size, report.stripes, report.stripes_degraded), (size as u64, stripes, 0), "{report}");
            assert!(report.is_readable() && report.listed.iter().all(StripeReport::is_whole), "{report}");
            assert_eq!(report.etag, Etag::from_md5([7; 16]));
        }
    }
    assert!(matches!(look(&dirs, "other"), Err(Failure::NoObject(_))));
    let other = BucketName::parse("other").unwrap();
    assert!(matches!(object(&dirs, &other, &name("small").1), Err(Failure::NoBucket(_))));
}

#[test]
fn lost_and_damaged_fragments_are_told_apart_and_beyond_parity_the_object_is_not_readable() {
    let root = tempfile::tempdir().unwrap();
    let (dirs, _) = store(root.path());
    let stripe = look(&dirs, "large").unwrap().listed[1].clone();
    let path = |fragment: &FragmentReport| {
        volume(&dirs, stripe.volume).unwrap().slots[fragment.slot].clone().expect("the file is there")
    };
    // One byte in the middle of fragment 0's payload.
    let at = stripe.at.bytes() + 100_000;
    let file = OpenOptions::new().read(true).write(true).open(path(&stripe.fragments[0])).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    // The whole header of fragment 1.
    let file = OpenOptions::new().write(true).open(path(&stripe.fragments[1])).unwrap();
    file.write_all_at(&[0; 4096], stripe.at.bytes()).unwrap();
    let states = |report: &ObjectReport| -> Vec<FragmentState> {
        report.listed.iter().find(|found| found.at == stripe.at).unwrap().fragments.iter().map(|f| f.state).collect()
    };
    use FragmentState::*;
    let report = look(&dirs, "large").unwrap();
    assert_eq!(states(&report), [Damaged, Missing, Whole, Whole, Whole, Whole]);
    assert_eq!((report.stripes_degraded, report.stripes_lost, report.is_readable()), (1, 0, true), "{report}");
    let drive_of_2 = path(&stripe.fragments[2]).ancestors().nth(2).unwrap().to_owned();
    let without: Vec<PathBuf> = dirs.iter().filter(|dir| **dir != drive_of_2).cloned().collect();
    let report = look(&without, "large").unwrap();
    assert_eq!(states(&report), [Damaged, Missing, Unavailable, Whole, Whole, Whole]);
    assert_eq!((report.stripes_lost, report.is_readable()), (1, false), "{report}");
}

#[test]
fn any_two_drives_less_still_show_every_object() {
    let root = tempfile::tempdir().unwrap();
    let (dirs, _) = store(root.path());
    for (a, b) in [(0, 1), (2, 5), (3, 4)] {
        let left: Vec<PathBuf> =
            dirs.iter().enumerate().filter(|(n, _)| *n != a && *n != b).map(|(_, dir)| dir.clone()).collect();
        for key in ["small", "large", "empty"] {
            let report = look(&left, key).unwrap();
            assert!(report.is_readable(), "without {a} and {b}: {report}");
        }
    }
}

#[test]
fn drives_and_volumes_say_what_they_are_and_nothing_is_changed_on_them() {
    let root = tempfile::tempdir().unwrap();
    let (dirs, _) = store(root.path());
    let before = names(root.path());
    let reports: Vec<DriveReport> = dirs.iter().map(|dir| drive(dir).unwrap()).collect();
    let epoch = reports[0].epoch.clone().unwrap();
    assert_eq!((epoch.start.value(), epoch.parity, epoch.partitions, epoch.drives.len()), (1, 2, 4, 6));
    for report in &reports {
        assert_eq!(report.epoch.as_ref(), Ok(&epoch));
        assert_eq!(report.identity.as_ref().unwrap().deployment, reports[0].identity.as_ref().unwrap().deployment);
        assert!(report.files.iter().all(|file| file.page.is_ok()), "{report}");
    }
    let mut stripes_of = BTreeMap::new();
    for file in &reports[0].files {
        let report = volume(&dirs, file.volume).unwrap();
        assert!(report.slots.iter().all(Option::is_some) && report.to_string().contains("4+2"), "{report}");
        let mut count = 0;
        stripes(&dirs, file.volume, |stripe| {
            assert!(stripe.is_whole() && stripe.is_readable(), "{stripe}");
            count += 1;
        })
        .unwrap();
        *stripes_of.entry(report.facts.class == Class::Data).or_insert(0) += count;
    }
    assert_eq!(stripes_of[&true], 3, "the large object");
    assert!(stripes_of[&false] >= 4, "a batch for the bucket and each object");
    assert!(look(&dirs, "small").unwrap().is_readable());
    assert_eq!(names(root.path()), before);
    let gone = VolumeId(0xffff);
    assert!(matches!(volume(&dirs, gone), Err(Failure::NoVolume(id)) if id == gone));
    assert!(matches!(volume(&[root.path().to_owned()], gone), Err(Failure::Drives(_))));
    let report = drive(root.path()).unwrap();
    assert!(report.identity.is_err() && report.to_string().contains("not readable"), "{report}");
}

/// Every file below a directory, with its length and time of change.
fn names(dir: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                dirs.push(entry.path());
            }
            found.push((entry.path(), metadata.len(), metadata.modified().unwrap()));
        }
    }
    found.sort();
    found
}

//! The store as its callers see it, on directories of a real file system: what was put is found, also after a reopen.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use hafiz_store as store;
use hafiz_store::{
    CommitPart, CommitPut, Complete, Config, Delete, Deleted, Error, List, ListVersions, Listed, ListedVersion, Store,
    Uploads, Usage,
};
use types::{
    Attribute, Attributes, BucketName, DeleteCondition, Etag, EtagSet, ObjectKey, PartNumber, VersionId, Versioning,
    WriteCondition,
};

const SMALL_SLOT_BYTES: u64 = 16 << 20;

fn config(root: &Path, drives: usize) -> Config {
    let dirs: Vec<PathBuf> = (1..=drives).map(|i| root.join(format!("d{i}"))).collect();
    Config {
        log_slot_bytes: Some(SMALL_SLOT_BYTES),
        data_slot_bytes: Some(SMALL_SLOT_BYTES),
        partitions: 8,
        memory_bytes: 64 << 20,
        body_cache_bytes: 8 << 20,
        ..Config::new(dirs)
    }
}

/// Runs `body` with the store open on `shards` shards.
fn with_store<F, Fut>(config: Config, shards: u16, body: F)
where
    F: Fn(Store) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + 'static,
{
    with_store_on(rt::Config::new(shards), config, body);
}

/// The same, on a runtime that the caller sizes.
fn with_store_on<F, Fut>(runtime: rt::Config, config: Config, body: F)
where
    F: Fn(Store) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let main = move |shard: rt::ShardId| -> rt::LocalFuture {
        let (config, body) = (config.clone(), body.clone());
        Box::pin(async move {
            if shard == rt::ShardId(0) {
                store::open(config).await.expect("the store opens");
                body(store::here()).await;
                store::close().await;
            }
        })
    };
    rt::run(runtime, main).expect("the shards run");
}

fn root() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the test")
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).expect("a valid key")
}

fn bucket_name(text: &str) -> BucketName {
    BucketName::parse(text).expect("a valid name")
}

/// Bytes that tell where they belong.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn etag(bytes: &[u8]) -> Etag {
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    digest[8..12].copy_from_slice(&codec::checksum::crc32c(bytes).to_le_bytes());
    Etag::from_md5(digest)
}

async fn put(store: &Store, bucket: types::BucketId, name: &str, bytes: &[u8]) -> Result<(), Error> {
    put_if(store, bucket, name, bytes, WriteCondition::default()).await
}

async fn put_if(
    store: &Store,
    bucket: types::BucketId,
    name: &str,
    bytes: &[u8],
    condition: WriteCondition,
) -> Result<(), Error> {
    let mut put = store.put(Some(bytes.len() as u64));
    put.write(bytes).await?;
    let body = put.finish().await?;
    let mut attributes = Attributes::new();
    attributes.push(Attribute::ContentType, "", b"text/plain");
    let commit = CommitPut { bucket, key: key(name), body, etag: etag(bytes), attributes, condition };
    store.commit_put(commit).await.map(|_| ())
}

async fn read(store: &Store, bucket: types::BucketId, name: &str) -> Result<Vec<u8>, Error> {
    let record = store.head(bucket, &key(name)).await?;
    let mut get = store.read(&record, 0..record.size());
    let mut bytes = Vec::new();
    while let Some(window) = get.next().await {
        bytes.extend_from_slice(&window.expect("the body is readable"));
    }
    assert_eq!(record.etag, etag(&bytes), "{name}: the etag is the one of the bytes");
    Ok(bytes)
}

#[test]
fn commits_that_come_all_at_once_find_buffers_in_the_smallest_pool() {
    let root = root();
    with_store(config(root.path(), 6), 1, |store| async move {
        let bucket = store.create_bucket(&bucket_name("bucket"), Vec::new()).await.expect("made").id;
        let puts: Vec<_> = (0..400)
            .map(|n| {
                let store = store.clone();
                rt::spawn(async move { put(&store, bucket, &format!("k{n}"), &pattern(n, 30_000)).await })
            })
            .collect();
        for put in puts {
            put.await.expect("is committed");
        }
        assert_eq!(read(&store, bucket, "k399").await.expect("is there"), pattern(399, 30_000));
    });
}

#[test]
fn a_body_that_has_begun_gets_buffers_before_those_that_have_not() {
    const LEN: usize = 12 << 20;
    let root = root();
    // Room for the buffers of some stripes.
    let runtime = rt::Config { buffers_bytes_per_shard: 3 * rt::buf::ARENA_BYTES_MIN, ..rt::Config::new(1) };
    with_store_on(runtime, config(root.path(), 6), |store| async move {
        let bytes = pattern(1, LEN);
        let mut first = store.put(Some(LEN as u64));
        first.write(&bytes[..1]).await.expect("begins");
        // Others hold one stripe's buffers each, until one cannot begin.
        let mut others = Vec::new();
        let begun = Rc::new(Cell::new(0));
        while begun.get() == others.len() {
            let (mut other, begins) = (store.put(Some(LEN as u64)), begun.clone());
            others.push(rt::spawn(async move {
                if other.write(&[0]).await.is_ok() {
                    begins.set(begins.get() + 1);
                }
                other
            }));
            while begun.get() < others.len() && !rt::buf::is_scarce() {
                rt::yield_now().await;
            }
        }
        let goes_on = async {
            first.write(&bytes[1..]).await.expect("goes on");
            first.finish().await.expect("is whole")
        };
        // What it gives back itself, stripe by stripe, is enough, unless who has not begun takes that.
        rt::time::timeout(Duration::from_secs(60), goes_on).await.expect("who has begun comes to an end");
    });
}

const SIZES: [usize; 9] = [0, 1, 4096, 32 << 10, (32 << 10) + 1, 1 << 20, (1 << 20) + 1, 3_333_333, 9 << 20];

#[test]
fn a_deployment_keeps_the_number_of_partitions_that_it_was_formed_with() {
    let root = root();
    with_store(config(root.path(), 2), 1, |store| async move {
        let bucket = store.create_bucket(&bucket_name("bucket"), Vec::new()).await.expect("created").id;
        for n in 0..20 {
            put(&store, bucket, &format!("k{n}"), &pattern(n, 100)).await.expect("put");
        }
    });
    let asked = Config { partitions: 16, ..config(root.path(), 2) };
    with_store(asked, 1, |store| async move {
        let bucket = store.bucket(&bucket_name("bucket")).expect("the bucket is still there").id;
        for n in 0..20 {
            assert_eq!(read(&store, bucket, &format!("k{n}")).await, Ok(pattern(n, 100)));
        }
    });
}

#[test]
fn what_was_put_is_read_back_on_any_number_of_drives_and_after_a_reopen() {
    for (drives, shards) in [(1, 1), (2, 1), (4, 2), (6, 2)] {
        let root = root();
        with_store(config(root.path(), drives), shards, |store| async move {
            let bucket = store.create_bucket(&bucket_name("bucket"), vec![1, 2]).await.expect("created").id;
            for size in SIZES {
                put(&store, bucket, &format!("object-{size}"), &pattern(size as u64, size)).await.expect("put");
            }
            for size in SIZES {
                let bytes = read(&store, bucket, &format!("object-{size}")).await.expect("there");
                assert!(bytes == pattern(size as u64, size), "size {size}");
            }
        });
        // Another number of shards: partitions have other owners now.
        with_store(config(root.path(), drives), 3 - shards, |store| async move {
            let bucket = store.bucket(&bucket_name("bucket")).expect("the bucket is still there");
            assert_eq!(bucket.settings, [1, 2]);
            for size in SIZES {
                let bytes = read(&store, bucket.id, &format!("object-{size}")).await.expect("there");
                assert!(bytes == pattern(size as u64, size), "size {size}");
            }
            let usage = store.usage(bucket.id).await.expect("counted");
            assert_eq!(usage.objects, SIZES.len() as u64);
            assert_eq!(usage.bytes, SIZES.iter().sum::<usize>() as u64);
        });
    }
}

#[test]
fn changes_of_a_buckets_settings_that_race_are_all_kept() {
    const CHANGES: u8 = 40;
    let root = root();
    with_store(config(root.path(), 3), 2, |store| async move {
        let name = bucket_name("bucket");
        store.create_bucket(&name, vec![b'-']).await.expect("created");
        let changes: Vec<_> = (0..CHANGES)
            .map(|n| {
                let (store, name) = (store.clone(), name.clone());
                rt::spawn(async move {
                    let change = move |old: &[u8]| -> Result<Vec<u8>, ()> { Ok([old, &[n]].concat()) };
                    store.put_bucket_settings(&name, change).await.expect("committed").expect("not refused");
                    let seen = store.bucket(&name).expect("there");
                    assert!(seen.settings.contains(&n), "acknowledged before it is in force");
                })
            })
            .collect();
        for change in changes {
            change.await;
        }
        let refused = store.put_bucket_settings(&name, |_: &[u8]| Err("no")).await;
        assert_eq!(refused, Ok(Err("no")));
        let nowhere = store.put_bucket_settings(&bucket_name("nowhere"), |_: &[u8]| Err("no")).await;
        assert_eq!(nowhere, Err(Error::NoBucket));
    });
    // Longer than anything the layer above keeps.
    const LONG: usize = (1 << 20) + 4096;
    with_store(config(root.path(), 3), 1, |store| async move {
        let name = bucket_name("bucket");
        let mut kept = store.bucket(&name).expect("there").settings.clone();
        kept.sort_unstable();
        let mut expect: Vec<u8> = (0..CHANGES).chain([b'-']).collect();
        expect.sort_unstable();
        assert_eq!(kept, expect);
        let long = |_: &[u8]| -> Result<Vec<u8>, ()> { Ok(vec![7; LONG]) };
        store.put_bucket_settings(&name, long).await.expect("committed").expect("not refused");
    });
    with_store(config(root.path(), 3), 1, |store| async move {
        assert_eq!(store.bucket(&bucket_name("bucket")).expect("there").settings, vec![7; LONG]);
    });
}

#[test]
fn an_overwrite_replaces_and_a_delete_removes() {
    let root = root();
    with_store(config(root.path(), 3), 2, |store| async move {
        let bucket = store.create_bucket(&bucket_name("bucket"), Vec::new()).await.expect("created").id;
        for round in 0..3u64 {
            for size in [100, 100_000] {
                put(&store, bucket, &format!("k{size}"), &pattern(round, size)).await.expect("put");
            }
        }
        assert!(read(&store, bucket, "k100000").await.expect("there") == pattern(2, 100_000));
        assert_eq!(store.usage(bucket).await.expect("counted").bytes, 100_100);
        let deleted = |existed| Ok(Deleted { existed, version: None, marker: false });
        assert_eq!(store.delete(bucket, &key("k100"), DeleteCondition::default()).await, deleted(true));
        assert_eq!(store.delete(bucket, &key("k100"), DeleteCondition::default()).await, deleted(false));
        assert_eq!(store.head(bucket, &key("k100")).await.map(|_| ()), Err(Error::NotFound));
        assert_eq!(store.usage(bucket).await.expect("counted").bytes, 100_000);
        let name = bucket_name("bucket");
        assert_eq!(store.delete_bucket(&name).await, Err(Error::BucketNotEmpty));
        assert_eq!(put(&store, bucket, "again", b"x").await, Ok(()), "a refused delete leaves the bucket open");
        let delete = |name| Delete { key: key(name), version: None, condition: DeleteCondition::default() };
        let items = vec![delete("k100000"), delete("again")];
        assert_eq!(store.delete_many(bucket, items).await, [deleted(true), deleted(true)]);
        assert_eq!(store.delete_bucket(&name).await, Ok(()));
        assert_eq!(put(&store, bucket, "late", b"x").await, Err(Error::NoBucket));
        let again = store.create_bucket(&name, Vec::new()).await.expect("the name is free").id;
        assert_ne!(again, bucket);
        assert_eq!(store.create_bucket(&name, Vec::new()).await, Err(Error::BucketExists));
    });
}

#[test]
fn conditions_are_decided_against_the_current_object() {
    let root = root();
    with_store(config(root.path(), 2), 2, |store| async move {
        let bucket = store.create_bucket(&bucket_name("bucket"), Vec::new()).await.expect("created").id;
        let create = || WriteCondition { if_match: None, if_none_match: Some(EtagSet::Any) };
        let wins = Rc::new(Cell::new(0));
        let mut racers = Vec::new();
        for i in 0..20u64 {
            let (store, wins) = (store.clone(), wins.clone());
            racers.push(rt::spawn(async move {
                match put_if(&store, bucket, "one", &pattern(i, 500), create()).await {
                    Ok(()) => wins.set(wins.get() + 1),
                    Err(Error::Precondition(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }));
        }
        for racer in racers {
            racer.await;
        }
        assert_eq!(wins.get(), 1, "exactly one creation wins");
    });
}

#[test]
fn pages_of_a_listing_hold_every_key_once_in_order() {
    let root = root();
    with_store(config(root.path(), 2), 2, |store| async move {
        let bucket = store.create_bucket(&bucket_name("bucket"), Vec::new()).await.expect("created").id;
        let mut names: Vec<String> = (0..300).map(|i| format!("dir{}/sub{}/k{i}", i % 7, i % 3)).collect();
        names.extend((0..50).map(|i| format!("top{i:02}")));
        for name in &names {
            put(&store, bucket, name, name.as_bytes()).await.expect("put");
        }
        names.sort();
        for max in [1, 7, 100, 1000] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let list = List { after: after.clone(), max, ..List::default() };
                let page = store.list(bucket, list).await.expect("listed");
                assert!(page.entries.len() <= max);
                seen.extend(page.entries.iter().map(|entry| entry.name().to_owned()));
                let Some(next) = page.next else { break };
                assert_eq!(page.entries.len(), max, "a truncated page is full");
                after = Some(next);
            }
            assert_eq!(seen, names, "max {max}");
        }
        let delimiter = Some("/".to_owned());
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let list = List { after: after.clone(), delimiter: delimiter.clone(), max: 3, ..List::default() };
            let page = store.list(bucket, list).await.expect("listed");
            seen.extend(page.entries.iter().map(|entry| match entry {
                Listed::Prefix(prefix) => format!("[{prefix}]"),
                Listed::Object(summary) => summary.key.as_str().to_owned(),
            }));
            let Some(next) = page.next else { break };
            after = Some(next);
        }
        let mut expected: Vec<String> = (0..7).map(|i| format!("[dir{i}/]")).collect();
        expected.extend((0..50).map(|i| format!("top{i:02}")));
        assert_eq!(seen, expected);
        let list = List { prefix: "dir3/".to_owned(), delimiter, max: 10, ..List::default() };
        let page = store.list(bucket, list).await.expect("listed");
        let names: Vec<_> = page.entries.iter().map(Listed::name).collect();
        assert_eq!((names, page.next), (vec!["dir3/sub0/", "dir3/sub1/", "dir3/sub2/"], None));
    });
}

#[test]
fn an_upload_becomes_an_object_and_leaves_nothing_behind() {
    let root = root();
    with_store(config(root.path(), 4), 2, |store| async move {
        let bucket = store.create_bucket(&bucket_name("bucket"), Vec::new()).await.expect("created").id;
        let object = key("big/object");
        let upload = store.create_upload(bucket, &object, Attributes::new(), vec![7]).await.expect("begun");
        let mut whole = Vec::new();
        for (number, size) in [(1, 6 << 20), (2, 5 << 20), (9, 1234)] {
            let bytes = pattern(number, size);
            let mut put = store.put(Some(size as u64));
            put.write(&bytes).await.expect("written");
            let body = put.finish().await.expect("durable");
            let number = PartNumber::new(number as u32).expect("a valid number");
            let commit = CommitPart {
                bucket,
                key: object.clone(),
                upload,
                number,
                body,
                md5: etag(&bytes).digest,
                checksum: Vec::new(),
            };
            store.commit_part(commit).await.expect("committed");
            whole.extend(bytes);
        }
        let listed = store.uploads(bucket, Uploads { max: 10, ..Uploads::default() }).await.expect("listed");
        assert_eq!(listed.entries.len(), 1);
        let parts = store.parts(bucket, &object, upload, None, 100).await.expect("listed");
        let complete = || Complete {
            bucket,
            key: object.clone(),
            upload,
            parts: parts.iter().map(|part| (part.number, part.lsn)).collect(),
            etag: etag(&whole),
            attributes: Attributes::new(),
            condition: WriteCondition::default(),
        };
        store.complete_upload(complete()).await.expect("completed");
        assert!(read(&store, bucket, "big/object").await.expect("there") == whole);
        assert_eq!(store.complete_upload(complete()).await, Err(Error::NoUpload));
        let record = store.head(bucket, &object).await.expect("there");
        assert_eq!(record.parts.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 2, 9]);
        let range = (6 << 20) - 10..(11 << 20) + 20;
        let mut get = store.read(&record, range.clone());
        let mut bytes = Vec::new();
        while let Some(window) = get.next().await {
            bytes.extend_from_slice(&window.expect("readable"));
        }
        assert!(bytes == whole[range.start as usize..range.end as usize]);
        let aborted = store.create_upload(bucket, &object, Attributes::new(), Vec::new()).await.expect("begun");
        store.abort_upload(bucket, &object, aborted).await.expect("aborted");
        assert_eq!(store.parts(bucket, &object, aborted, None, 1).await, Err(Error::NoUpload));
        let listed = store.uploads(bucket, Uploads { max: 10, ..Uploads::default() }).await.expect("listed");
        assert!(listed.entries.is_empty());
        assert_eq!(store.usage(bucket).await.expect("counted").bytes, whole.len() as u64);
    });
}

async fn versioned_bucket(store: &Store) -> types::BucketId {
    let name = bucket_name("bucket");
    let bucket = store.create_bucket(&name, Vec::new()).await.expect("created").id;
    store.put_bucket_versioning(&name, Versioning::Enabled).await.expect("told");
    bucket
}

async fn versions_of(store: &Store, bucket: types::BucketId, list: ListVersions) -> Vec<ListedVersion> {
    store.list_versions(bucket, list).await.expect("listed").entries
}

fn delete_of(entry: &ListedVersion) -> Delete {
    let ListedVersion::Version(row) = entry else { panic!("no delimiter was asked for: {entry:?}") };
    let (key, version) = (row.summary.key.clone(), Some(row.version));
    Delete { key, version, condition: DeleteCondition::default() }
}

#[test]
fn a_page_of_versions_ends_though_nothing_but_deleted_keys_follows() {
    // More than one scan looks at.
    const DELETED: usize = 14_000;
    const AT_A_TIME: usize = 500;
    let root = root();
    let config =
        Config { partitions: 1, memory_bytes: 1 << 30, log_slot_bytes: Some(128 << 20), ..config(root.path(), 1) };
    with_store(config, 1, |store| async move {
        let bucket = versioned_bucket(&store).await;
        for n in 0..4 {
            put(&store, bucket, "a", &[n]).await.expect("put");
        }
        let come_and_go = async |name: String| {
            put(&store, bucket, &name, b"x").await.expect("put");
            let deleted = store.delete(bucket, &key(&name), DeleteCondition::default()).await.expect("deleted");
            assert!(deleted.marker);
        };
        for from in (0..DELETED).step_by(AT_A_TIME) {
            rt::sync::join_all((from..from + AT_A_TIME).map(|n| come_and_go(format!("b/{n:06}")))).await;
        }
        let mut list = ListVersions { max: 2, ..ListVersions::default() };
        let page = rt::time::timeout(Duration::from_secs(60), store.list_versions(bucket, list.clone())).await;
        let page = page.expect("it ends").expect("listed");
        assert_eq!(page.entries.len(), 2);
        list = ListVersions { max: 100_000, after: page.next, ..list };
        let rest = versions_of(&store, bucket, list).await;
        assert_eq!(rest.len(), 2 + 2 * DELETED);
        let names: Vec<_> = rest[..4].iter().map(|entry| delete_of(entry).key.as_str().to_owned()).collect();
        assert_eq!(names, ["a", "a", "b/000000", "b/000000"]);
    });
}

#[test]
fn a_thousand_versions_of_one_key_go_with_one_request() {
    let root = root();
    with_store(config(root.path(), 1), 1, |store| async move {
        let bucket = versioned_bucket(&store).await;
        for n in 0..1000_u32 {
            put(&store, bucket, "a", &n.to_le_bytes()).await.expect("put");
        }
        let listed = versions_of(&store, bucket, ListVersions { max: 1000, ..ListVersions::default() }).await;
        assert_eq!(listed.len(), 1000);
        let deleted = store.delete_many(bucket, listed.iter().map(delete_of).collect()).await;
        for (entry, deleted) in listed.iter().zip(deleted) {
            let version = delete_of(entry).version;
            assert_eq!(deleted, Ok(Deleted { existed: true, version, marker: false }));
        }
        assert_eq!(store.delete_bucket(&bucket_name("bucket")).await, Ok(()));
    });
}

#[test]
fn a_delimiter_of_any_byte_groups_versions_by_keys_as_they_are() {
    let root = root();
    with_store(config(root.path(), 1), 1, |store| async move {
        let bucket = versioned_bucket(&store).await;
        for name in ["p\u{1}q", "x\u{2}\u{2}y"] {
            for body in [b"1", b"2"] {
                put(&store, bucket, name, body).await.expect("put");
            }
        }
        let check = async |delimiter: &str, expect: &[&str]| {
            let list = ListVersions { max: 9, delimiter: Some(delimiter.into()), ..ListVersions::default() };
            let shown: Vec<String> = versions_of(&store, bucket, list)
                .await
                .iter()
                .map(|entry| match entry {
                    ListedVersion::Prefix(prefix) => format!("{prefix}..."),
                    ListedVersion::Version(row) => row.summary.key.as_str().to_owned(),
                })
                .collect();
            assert_eq!(shown, expect, "{delimiter:?}");
        };
        check("\u{1}", &["p\u{1}...", "x\u{2}\u{2}y", "x\u{2}\u{2}y"]).await;
        check("\u{2}", &["p\u{1}q", "p\u{1}q", "x\u{2}..."]).await;
        check("\u{2}y", &["p\u{1}q", "p\u{1}q", "x\u{2}\u{2}y..."]).await;
    });
}

#[test]
fn writers_of_one_key_leave_one_latest_version_and_one_null_version_at_most() {
    const TASKS: u64 = 12;
    const STEPS: u64 = 150;
    let root = root();
    with_store(config(root.path(), 3), 2, |store| async move {
        let bucket = versioned_bucket(&store).await;
        for _ in 0..3 {
            let act = async |task: u64| {
                for step in 0..STEPS {
                    let name = format!("k{}", rt::random::u64() % 3);
                    match rt::random::u64() % 12 {
                        0..=4 => {
                            let len = [0, 50, 60_000][(step % 3) as usize];
                            put(&store, bucket, &name, &pattern(step, len)).await.expect("put");
                        }
                        5 | 6 => {
                            store.delete(bucket, &key(&name), DeleteCondition::default()).await.expect("deleted");
                        }
                        7..=9 => {
                            let list = ListVersions { prefix: name, max: 2, ..ListVersions::default() };
                            for delete in versions_of(&store, bucket, list).await.iter().map(delete_of) {
                                let version = delete.version.expect("it names one");
                                let gone = store.delete_version(bucket, &delete.key, version, delete.condition).await;
                                gone.expect("deleted");
                            }
                        }
                        _ if task == 0 => {
                            let versioning = [Versioning::Enabled, Versioning::Suspended][(step % 2) as usize];
                            let told = store.put_bucket_versioning(&bucket_name("bucket"), versioning).await;
                            told.expect("told");
                        }
                        _ => {}
                    }
                }
            };
            rt::sync::join_all((0..TASKS).map(act)).await;
            check_versions(&store, bucket).await;
        }
    });
}

/// Of each key one version is the latest, one at most the null version; all can be read, and are what is counted.
async fn check_versions(store: &Store, bucket: types::BucketId) {
    let listed = versions_of(store, bucket, ListVersions { max: 100_000, ..ListVersions::default() }).await;
    let mut keys: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let mut usage = Usage::default();
    for entry in &listed {
        let ListedVersion::Version(row) = entry else { panic!("no delimiter was asked for") };
        let (latest, nulls) = keys.entry(row.summary.key.as_str().to_owned()).or_default();
        *latest += u32::from(row.is_latest);
        *nulls += u32::from(row.version == VersionId::NULL);
        usage.bytes += row.summary.size;
        match row.is_latest && !row.delete_marker {
            true => usage.objects += 1,
            false => usage.versions += 1,
        }
        match store.head_version(bucket, &row.summary.key, row.version).await {
            Ok(record) => assert_eq!((record.size(), row.delete_marker), (row.summary.size, false)),
            Err(Error::DeleteMarker { .. }) => assert!(row.delete_marker),
            Err(error) => panic!("{row:?}: {error:?}"),
        }
    }
    assert!(keys.values().all(|(latest, nulls)| *latest == 1 && *nulls <= 1), "{keys:?}");
    assert_eq!(store.usage(bucket).await.expect("counted"), usage);
}

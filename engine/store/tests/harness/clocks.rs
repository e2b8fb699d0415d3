//! Scenarios: the wall clock jumps, forward and back, while a process runs, at a crash, and between two starts. What is stored
//! says odd times then, and is what it would have been without.

use std::time::Duration;

use hafiz_store as store;
use hafiz_store::Store;
use rt::sim::{Fault, Stop};
use types::{
    Attributes, BucketId, BucketName, DeleteCondition, EtagSet, ObjectKey, PartNumber, UploadId, WriteCondition,
};

use super::clients::{etag, put, read};
use super::healing;
use super::run::{Run, Value};

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;
const YEAR: i64 = 365 * 24 * HOUR;

/// How far the clock jumps at once.
const JUMPS: [i64; 8] = [SECOND, -SECOND, HOUR, -2 * HOUR, 20 * YEAR, -30 * YEAR, 5 * YEAR, -3 * SECOND];
/// Jumps while a process runs, and the time between two of them.
const JUMPS_PER_START: u64 = 6;
const CALM_MICROS_MAX: u64 = 8_000;

fn jump(run: &mut Run) {
    let by = JUMPS[(run.world.random() % JUMPS.len() as u64) as usize];
    run.world.jump_wall_clock(by);
}

/// Clients write while the clock jumps, over crashes anywhere.
pub(crate) fn jumps(seed: u64) {
    let mut run = Run::new(seed, 6);
    if seed.is_multiple_of(2) {
        run = run.hurried();
    }
    run.start_and_verify(Duration::from_millis(10));
    for _ in 0..3 {
        jump(&mut run);
        run.start_and_wait();
        for _ in 0..JUMPS_PER_START {
            jump(&mut run);
            let micros = run.world.random() % CALM_MICROS_MAX;
            run.world.run_for(Duration::from_micros(micros));
        }
        let count = 1 + run.world.random() % 100;
        run.world.crash_at_io(count);
        if run.world.run_until(|| false, Duration::from_secs(5)) != Stop::Crashed {
            run.world.crash();
        }
        store::forget_all();
        // Recovery, too.
        run.start();
        run.world.crash_at_io(count);
        let progress = run.progress.clone();
        if run.world.run_until(|| progress.borrow().verified, Duration::from_secs(60)) != Stop::Crashed {
            run.world.crash();
        }
        store::forget_all();
    }
    run.start_and_verify(Duration::ZERO);
    assert!(run.progress.borrow().acknowledged > 0, "seed {seed}: nothing was written");
    assert!(run.world.fault_count(Fault::ClockJump) > 0, "seed {seed}: nobody saw a jump");
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::parse(name).expect("a valid key")
}

fn value(id: u64) -> Value {
    Value { id: id | 1 << 63, len: 9_000 }
}

/// The bucket is made when the clock is right.
fn bucket(store: &Store) -> BucketId {
    store.bucket(&BucketName::parse("bucket").expect("valid")).expect("it was made").id
}

/// One thing after the other, each at another time of the wall clock: overwrites, deletes, conditions, an upload.
pub(crate) fn one_by_one(seed: u64) {
    let mut run = healing::Run::new(seed, 3);
    run.hurried = seed.is_multiple_of(2);
    run.scrub = 1 << 30;
    // Half of the starts end in a crash: then the log is read again.
    let step = |run: &mut healing::Run, jump: i64, main: fn(Store, BucketId) -> rt::LocalFuture| {
        if jump != 0 {
            run.world.jump_wall_clock(jump);
        }
        match seed % 4 < 2 {
            true => run.run(async move |store, bucket| main(store, bucket).await),
            false => drop(run.run_and_crash(1 << 40, async move |store, bucket| main(store, bucket).await)),
        }
    };
    step(&mut run, 0, |store, bucket| {
        Box::pin(async move {
            put(&store, bucket, key("replaced"), value(1)).await.expect("there is room");
            put(&store, bucket, key("deleted"), value(2)).await.expect("there is room");
            begin_upload(&store, bucket).await;
        })
    });
    step(&mut run, -10 * YEAR, |store, bucket| {
        Box::pin(async move {
            let before = store.head(bucket, &key("replaced")).await.expect("it is there").modified;
            put(&store, bucket, key("replaced"), value(3)).await.expect("there is room");
            let after = store.head(bucket, &key("replaced")).await.expect("it is there").modified;
            assert!(after < before, "the record says what the clock said: {before:?}, {after:?}");
            let taken = WriteCondition { if_none_match: Some(EtagSet::Any), ..WriteCondition::default() };
            assert!(commit(&store, bucket, "replaced", 4, taken).await.is_err(), "it is there, whatever it says");
            let stale = WriteCondition { if_match: one_of(1), ..WriteCondition::default() };
            assert!(commit(&store, bucket, "replaced", 4, stale).await.is_err(), "it was replaced");
            let other = DeleteCondition { modified: Some(before), ..DeleteCondition::default() };
            assert!(store.delete(bucket, &key("replaced"), other).await.is_err(), "it was replaced");
            store.delete(bucket, &key("deleted"), DeleteCondition::default()).await.expect("it is deleted");
        })
    });
    step(&mut run, 40 * YEAR, |store, bucket| {
        Box::pin(async move {
            check(&store, bucket).await;
            let current = WriteCondition { if_match: one_of(3), ..WriteCondition::default() };
            commit(&store, bucket, "replaced", 3, current).await.expect("it is as it was");
            // Begun thirty years ago.
            end_upload(&store, bucket).await;
        })
    });
    step(&mut run, -35 * YEAR, |store, bucket| {
        Box::pin(async move {
            check(&store, bucket).await;
            assert_eq!(read(&store, bucket, "uploaded").await.expect("it can be read"), Some(value(6)));
            // The scrub goes round, whatever its last round says it ended.
            let rounds = store::heal_status().rounds;
            healing::until("another round", || store::heal_status().rounds > rounds).await;
            store::audit().await.expect("nothing is counted wrong");
        })
    });
    assert_eq!(run.world.fault_count(Fault::ClockJump), 3, "seed {seed}: each jump was seen");
}

fn one_of(id: u64) -> Option<EtagSet> {
    Some(EtagSet::OneOf(vec![etag(value(id))]))
}

async fn check(store: &Store, in_bucket: BucketId) {
    assert_eq!(in_bucket, bucket(store));
    assert_eq!(read(store, in_bucket, "replaced").await.expect("it can be read"), Some(value(3)));
    assert_eq!(read(store, in_bucket, "deleted").await.expect("it can be looked for"), None);
}

async fn commit(
    store: &Store,
    bucket: BucketId,
    name: &str,
    id: u64,
    condition: WriteCondition,
) -> Result<(), store::Error> {
    let content = value(id).bytes();
    let mut put = store.put(Some(content.len() as u64));
    put.write(&content).await?;
    let body = put.finish().await?;
    let (key, etag, attributes) = (key(name), etag(value(id)), Attributes::new());
    store.commit_put(store::CommitPut { bucket, key, body, etag, attributes, condition }).await.map(drop)
}

async fn begin_upload(store: &Store, bucket: BucketId) {
    let name = key("uploaded");
    let upload = store.create_upload(bucket, &name, Attributes::new(), Vec::new()).await.expect("there is room");
    commit_part(store, bucket, upload, 1, &value(6).bytes()[..4_000]).await;
}

async fn end_upload(store: &Store, bucket: BucketId) {
    let name = key("uploaded");
    let page = store.uploads(bucket, store::Uploads { max: 10, ..store::Uploads::default() }).await;
    let listed = page.expect("they can be listed").entries;
    let [store::ListedUpload::Upload { upload, .. }] = listed[..] else { panic!("it has expired: {listed:?}") };
    commit_part(store, bucket, upload, 2, &value(6).bytes()[4_000..]).await;
    let parts = store.parts(bucket, &name, upload, None, 10).await.expect("they can be listed");
    let complete = store::Complete {
        bucket,
        key: name,
        upload,
        parts: parts.iter().map(|part| (part.number, part.lsn)).collect(),
        etag: etag(value(6)),
        attributes: Attributes::new(),
        condition: WriteCondition::default(),
    };
    store.complete_upload(complete).await.expect("both parts are there");
}

async fn commit_part(store: &Store, bucket: BucketId, upload: UploadId, number: u32, content: &[u8]) {
    let mut put = store.put(Some(content.len() as u64));
    put.write(content).await.expect("there is room");
    let body = put.finish().await.expect("drives take it");
    let (key, number) = (key("uploaded"), PartNumber::new(number).expect("valid"));
    let part = store::CommitPart { bucket, key, upload, number, body, md5: [0; 16], checksum: Vec::new() };
    store.commit_part(part).await.expect("it is committed");
}

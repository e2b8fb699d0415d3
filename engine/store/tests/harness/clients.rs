//! What clients do in the process, and what must be true of it when it has been started again.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use hafiz_store as store;
use hafiz_store::{CommitPart, CommitPut, Complete, Error, List, ReadError, Record, Store};
use types::{
    Attributes, BucketId, BucketName, DeleteCondition, Etag, ObjectKey, PartNumber, VersionId, WriteCondition,
};

use super::run::{CLIENTS, KEYS_PER_CLIENT, Known, Model, Progress, SHARED_KEYS, Value, Workload};

/// Calm clients rest up to so long between two operations.
const CALM_PAUSE_MICROS: u64 = 500_000;
/// Clients that put bodies all begin one so often.
const BEAT: Duration = Duration::from_millis(20);
/// Within so long of one another.
const BEAT_SPREAD_MICROS: u64 = 500;
/// One in so many of what a brief client does is about a key that stays.
const BRIEF_OF: u64 = 8;
/// Brief clients rest up to so long between two keys.
const BRIEF_PAUSE_MICROS: u64 = 500_000;

pub(crate) fn bucket_name() -> BucketName {
    BucketName::parse("bucket").expect("a valid name")
}

pub(crate) fn key_name(client: usize, key: usize) -> String {
    format!("client{client}/key{key}")
}

pub(crate) fn etag(value: Value) -> Etag {
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&value.id.to_le_bytes());
    digest[8..].copy_from_slice(&(value.len as u64).to_le_bytes());
    Etag::from_md5(digest)
}

pub(crate) fn random_len() -> usize {
    let random = rt::random::u64();
    match random % 10 {
        0 => 8,
        1..=6 => 8 + (random >> 8) as usize % 8_000,
        7 | 8 => 33_000 + (random >> 8) as usize % 200_000,
        _ => 1_000_000 + (random >> 8) as usize % 2_000_000,
    }
}

/// Starts this shard's clients.
pub(crate) fn spawn_clients(
    shard: rt::ShardId,
    shards: u16,
    workload: Workload,
    model: &Model,
    progress: &Rc<RefCell<Progress>>,
) {
    let bucket = progress.borrow().bucket.expect("the bucket was made");
    if workload == Workload::Mixed {
        drop(rt::spawn(watch(store::here(), bucket, model.clone(), progress.clone())));
    }
    for client in (0..CLIENTS).filter(|client| client % usize::from(shards) == usize::from(shard.0)) {
        let (store, model, progress) = (store::here(), model.clone(), progress.clone());
        match workload {
            Workload::Mixed | Workload::Calm | Workload::Small | Workload::Bodies => {
                drop(rt::spawn(write(store, bucket, client, model, progress, workload)));
            }
            Workload::Brief => drop(rt::spawn(brief(store, bucket, client, model, progress))),
            Workload::Fill if client == 0 => drop(rt::spawn(fill(store, bucket, model, progress))),
            Workload::Fill => {}
        }
    }
}

/// What is known of an attempt that failed.
pub(crate) enum Failed {
    /// Nothing happened.
    Before,
    Unknown,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        match error {
            Error::Busy | Error::Full => Failed::Before,
            _ => Failed::Unknown,
        }
    }
}

/// One client: puts, copies, uploads and deletes, one after another, of its own keys and of those that all share, for as
/// long as the process lives.
pub(crate) async fn write(
    store: Store,
    bucket: BucketId,
    client: usize,
    model: Model,
    progress: Rc<RefCell<Progress>>,
    workload: Workload,
) {
    let mixed = matches!(workload, Workload::Mixed | Workload::Calm);
    let began = rt::time::Instant::now();
    for beat in 1.. {
        match workload {
            Workload::Calm => rt::time::sleep(Duration::from_micros(rt::random::u64() % CALM_PAUSE_MICROS)).await,
            Workload::Bodies => {
                let spread = Duration::from_micros(rt::random::u64() % BEAT_SPREAD_MICROS);
                rt::time::sleep((BEAT * beat + spread).saturating_sub(began.elapsed())).await;
            }
            _ => {}
        }
        let shared = rt::random::u64().is_multiple_of(5) && workload != Workload::Bodies;
        let name = match shared {
            true => format!("shared/key{}", rt::random::u64() % SHARED_KEYS),
            false => key_name(client, (rt::random::u64() % KEYS_PER_CLIENT as u64) as usize),
        };
        let key = ObjectKey::parse(&name).expect("a valid key");
        let kind = match rt::random::u64() % 10 {
            0 | 1 if workload != Workload::Bodies => "delete",
            2 | 3 if mixed => "upload",
            4 if mixed => "copy",
            _ => "put",
        };
        let len = match workload {
            Workload::Small => 1000,
            Workload::Bodies => 100_000,
            _ => random_len(),
        };
        let mut next = Some(Value { id: rt::random::u64() | 1 << 63, len });
        if kind == "delete" {
            next = None;
        }
        if kind == "copy" {
            // Of a key that nobody else writes.
            let source = key_name(client, (rt::random::u64() % KEYS_PER_CLIENT as u64) as usize);
            let known = model.borrow().get(&source).cloned().unwrap_or_default();
            match read(&store, bucket, &source).await {
                Ok(Some(value)) => next = Some(value),
                Ok(None) => continue,
                Err(_) if progress.borrow().is_closing => return,
                Err(error) => panic!("{source}: {error:?}; known {known:?}"),
            }
            assert!(next == known.acknowledged || known.open.contains(&next), "{source} holds {next:?}: {known:?}");
        }
        model.borrow_mut().entry(name.clone()).or_default().open.push(next);
        let began = rt::time::Instant::now();
        let result = match (kind, next) {
            ("upload", Some(value)) => upload(&store, bucket, key, value).await.map(drop),
            (_, Some(value)) => put(&store, bucket, key, value).await.map_err(Failed::from),
            (_, None) => store.delete(bucket, &key, DeleteCondition::default()).await.map(|_| ()).map_err(Failed::from),
        };
        if workload == Workload::Calm {
            progress.borrow_mut().took.push(began.elapsed());
        }
        if !shared {
            // Of a shared key nobody can say which attempt was the last one.
            learn(&model, &name, next, &result);
        }
        match result {
            Ok(()) => {
                let mut progress = progress.borrow_mut();
                progress.acknowledged += 1;
                progress.did(if shared { "shared" } else { kind });
            }
            Err(_) => rt::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// What the only client that writes a key knows after its last attempt.
fn learn(model: &Model, name: &str, next: Option<Value>, result: &Result<(), Failed>) {
    let mut model = model.borrow_mut();
    let known = model.get_mut(name).expect("entered before the attempt");
    match result {
        Ok(()) => *known = Known { acknowledged: next, open: Vec::new() },
        Err(Failed::Before) => drop(known.open.pop()),
        Err(Failed::Unknown) => {}
    }
}

/// One client: puts and deletes one key, again and again; now and then it puts another one, which stays until the next time.
async fn brief(store: Store, bucket: BucketId, client: usize, model: Model, progress: Rc<RefCell<Progress>>) {
    loop {
        rt::time::sleep(Duration::from_micros(rt::random::u64() % BRIEF_PAUSE_MICROS)).await;
        let random = rt::random::u64();
        let value = |len| Some(Value { id: random | 1 << 63, len });
        let steps = if random.is_multiple_of(BRIEF_OF) {
            let len = if (random >> 16).is_multiple_of(2) { 1000 } else { 41_000 };
            vec![(1 + (random >> 8) as usize % (KEYS_PER_CLIENT - 1), value(len))]
        } else {
            vec![(0, value(1000)), (0, None)]
        };
        for (key, next) in steps {
            let name = key_name(client, key);
            let key = ObjectKey::parse(&name).expect("a valid key");
            model.borrow_mut().entry(name.clone()).or_default().open.push(next);
            let result = match next {
                Some(value) => put(&store, bucket, key, value).await,
                None => store.delete(bucket, &key, DeleteCondition::default()).await.map(|_| ()),
            };
            let result = result.map_err(Failed::from);
            learn(&model, &name, next, &result);
            match result {
                Ok(()) => progress.borrow_mut().acknowledged += 1,
                Err(_) => rt::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }
}

/// One reader: what it has begun to read stays as it was, however long it takes; and what it has seen of a key is durable.
async fn watch(store: Store, bucket: BucketId, model: Model, progress: Rc<RefCell<Progress>>) {
    loop {
        rt::time::sleep(Duration::from_micros(rt::random::u64() % 2_000)).await;
        let count = model.borrow().len() as u64;
        let at = rt::random::u64().checked_rem(count).unwrap_or_default() as usize;
        let Some(name) = model.borrow().keys().nth(at).cloned() else { continue };
        let key = ObjectKey::parse(&name).expect("a valid key");
        let Ok(record) = store.head(bucket, &key).await else { continue };
        let get = store.read(&record, 0..record.size());
        // Still the same: so it was live when the read began.
        if store.head(bucket, &key).await.as_ref() != Ok(&record) {
            continue;
        }
        rt::time::sleep(Duration::from_micros(rt::random::u64() % 8_000)).await;
        let value = match finish(get, &name, &record).await {
            Ok(value) => value,
            Err(_) if progress.borrow().is_closing => return,
            Err(error) => panic!("{name}: {error:?} while it was read"),
        };
        let mut model = model.borrow_mut();
        let known = model.get_mut(&name).expect("it was listed");
        if !name.starts_with("shared/") && known.open.last() == Some(&Some(value)) {
            // Seen before it was acknowledged: what was there before cannot come back.
            *known = Known { acknowledged: Some(value), open: vec![Some(value)] };
        }
    }
}

/// Uploads a value in parts; now and then a part is sent twice, or the first attempt at the whole is given up.
pub(crate) async fn upload(
    store: &Store,
    bucket: BucketId,
    key: ObjectKey,
    value: Value,
) -> Result<Option<VersionId>, Failed> {
    let begin = || store.create_upload(bucket, &key, Attributes::new(), Vec::new());
    let before = |_: Error| Failed::Before;
    let part = async |upload, number: u32, bytes: &[u8]| {
        let mut put = store.put(Some(bytes.len() as u64));
        put.write(bytes).await.map_err(before)?;
        let body = put.finish().await.map_err(before)?;
        let number = PartNumber::new(number).expect("a valid number");
        let (key, md5, checksum) = (key.clone(), [number.value() as u8; 16], Vec::new());
        store.commit_part(CommitPart { bucket, key, upload, number, body, md5, checksum }).await.map_err(before)
    };
    let bytes = value.bytes();
    if rt::random::u64().is_multiple_of(4) {
        let given_up = begin().await.map_err(before)?;
        part(given_up, 1, &bytes[..bytes.len() / 2]).await?;
        store.abort_upload(bucket, &key, given_up).await.map_err(before)?;
    }
    let id = begin().await.map_err(before)?;
    let size = (bytes.len() / (1 + (rt::random::u64() % 4) as usize)).max(1);
    // Long enough for parts to be flushed, moved and replaced before the object takes them.
    let pause = || rt::time::sleep(Duration::from_micros(rt::random::u64() % 8_000));
    for (number, bytes) in (1u32..).zip(bytes.chunks(size)) {
        pause().await;
        if rt::random::u64().is_multiple_of(4) {
            part(id, number, b"something else").await?;
            pause().await;
        }
        part(id, number, bytes).await?;
    }
    pause().await;
    let parts = store.parts(bucket, &key, id, None, 1000).await.map_err(before)?;
    let complete = Complete {
        bucket,
        key: key.clone(),
        upload: id,
        parts: parts.iter().map(|part| (part.number, part.lsn)).collect(),
        etag: etag(value),
        attributes: Attributes::new(),
        condition: WriteCondition::default(),
    };
    store.complete_upload(complete).await.map(|receipt| receipt.version).map_err(Failed::from)
}

/// Fills the drives, makes room again, and so on.
pub(crate) async fn fill(store: Store, bucket: BucketId, model: Model, progress: Rc<RefCell<Progress>>) {
    loop {
        let mut names: Vec<String> = model.borrow().keys().cloned().collect();
        let full = loop {
            let name = format!("fill/key{:016x}", rt::random::u64());
            let key = ObjectKey::parse(&name).expect("a valid key");
            let value = Value { id: rt::random::u64() | 1 << 63, len: 600_000 };
            model.borrow_mut().entry(name.clone()).or_default().open.push(Some(value));
            match put(&store, bucket, key, value).await {
                Ok(()) => {
                    let known = Known { acknowledged: Some(value), open: Vec::new() };
                    model.borrow_mut().insert(name.clone(), known);
                    names.push(name);
                    progress.borrow_mut().did("put");
                }
                Err(Error::Full) => {
                    model.borrow_mut().remove(&name);
                    if names.len() > 10 {
                        break true;
                    }
                    rt::time::sleep(Duration::from_millis(5)).await;
                }
                Err(_) => rt::time::sleep(Duration::from_millis(5)).await,
            }
        };
        if full {
            progress.borrow_mut().did("filled");
        }
        for name in names {
            let key = ObjectKey::parse(&name).expect("a valid key");
            model.borrow_mut().get_mut(&name).expect("it was put").open.push(None);
            while store.delete(bucket, &key, DeleteCondition::default()).await.is_err() {
                progress.borrow_mut().did("delete refused");
                rt::time::sleep(Duration::from_millis(5)).await;
            }
            model.borrow_mut().remove(&name);
            progress.borrow_mut().did("delete");
        }
    }
}

pub(crate) async fn put(store: &Store, bucket: BucketId, key: ObjectKey, value: Value) -> Result<(), Error> {
    let expected = (!rt::random::u64().is_multiple_of(4)).then_some(value.len as u64);
    let mut put = store.put(expected);
    put.write(&value.bytes()).await?;
    let body = put.finish().await?;
    let (etag, attributes, condition) = (etag(value), Attributes::new(), WriteCondition::default());
    store.commit_put(CommitPut { bucket, key, body, etag, attributes, condition }).await.map(|_| ())
}

/// Every key holds what was acknowledged or what was under way; listing and usage agree with the keys.
pub(crate) async fn verify(seed: u64, store: &Store, bucket: BucketId, model: &Model) {
    let names: Vec<String> = model.borrow().keys().cloned().collect();
    let (mut present, mut bytes) = (Vec::new(), 0);
    for name in names {
        let known = model.borrow()[&name].clone();
        let found = read(store, bucket, &name).await.unwrap_or_else(|error| {
            panic!("seed {seed}: {name}: {error:?}; known {known:?}");
        });
        let legal = found == known.acknowledged || known.open.contains(&found);
        assert!(legal, "seed {seed}: {name} holds {found:?}, known {known:?}");
        model.borrow_mut().insert(name.clone(), Known { acknowledged: found, open: Vec::new() });
        if let Some(value) = found {
            present.push(name);
            bytes += value.len as u64;
        }
    }
    let page = store.list(bucket, List { max: 1000, ..List::default() }).await.expect("the bucket can be listed");
    let listed: Vec<_> = page.entries.iter().map(|entry| entry.name().to_owned()).collect();
    assert_eq!(listed, present, "seed {seed}: the listing");
    let usage = store.usage(bucket).await.expect("counted");
    assert_eq!((usage.objects, usage.bytes), (present.len() as u64, bytes), "seed {seed}: the usage");
    store::audit().await.unwrap_or_else(|what| panic!("seed {seed}: {what}"));
}

pub(crate) async fn read(store: &Store, bucket: BucketId, name: &str) -> Result<Option<Value>, ReadError> {
    let key = ObjectKey::parse(name).expect("a valid key");
    let record = match store.head(bucket, &key).await {
        Ok(record) => record,
        Err(Error::NotFound) => return Ok(None),
        Err(error) => return Err(ReadError::Failed(error)),
    };
    finish(store.read(&record, 0..record.size()), name, &record).await.map(Some)
}

/// Reads to the end: the bytes are those of the record, and of one value.
pub(crate) async fn finish(mut get: store::Get, name: &str, record: &Record) -> Result<Value, ReadError> {
    let mut bytes = Vec::new();
    while let Some(window) = get.next().await {
        bytes.extend_from_slice(&window?);
    }
    let id = bytes.first_chunk::<8>().map(|id| u64::from_le_bytes(*id)).expect("a value begins with its id");
    let value = Value { id, len: bytes.len() };
    assert_eq!(record.etag, etag(value), "{name}");
    assert!(bytes == value.bytes(), "{name}: wrong bytes");
    Ok(value)
}

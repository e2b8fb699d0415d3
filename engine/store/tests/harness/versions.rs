//! Scenarios: a bucket that keeps versions, over crashes anywhere. After each start every key has exactly the versions that
//! it should have, in their order, each with its bytes; and what is counted is what is there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Mutex;

use hafiz_store as store;
use hafiz_store::{CommitPut, Error, List, ListVersions, ListedVersion, Store, VersionSummary};
use types::{
    Attributes, BucketId, BucketName, DeleteCondition, ObjectKey, Timestamp, VersionId, Versioning, WriteCondition,
};

use super::clients::{Failed, etag, finish, random_len, upload};
use super::healing::{self, census};
use super::run::Value;

const CLIENTS: u64 = 3;
const KEYS_PER_CLIENT: u64 = 3;
/// What one client does in a life that is not cut short.
const STEPS: u64 = 60;
const LIVES: u64 = 4;
/// Operations on the drives until a crash, at most.
const OPERATIONS_MAX: u64 = 1500;

/// A version as it must be. Newest first in a key's list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    /// `None`: its write was not answered, and it is no null version.
    id: Option<VersionId>,
    /// `None`: a delete marker.
    value: Option<Value>,
}

#[derive(Clone, Debug)]
enum Change {
    Put(Value),
    Delete,
    DeleteVersion(VersionId),
}

#[derive(Default)]
struct Key {
    versions: Vec<Kept>,
    /// What was not answered.
    open: Option<Change>,
}

#[derive(Default)]
struct Model {
    versioning: Versioning,
    keys: BTreeMap<String, Key>,
    next_value: u64,
    done: BTreeMap<&'static str, u64>,
}

type Shared = Rc<RefCell<Model>>;

impl Model {
    fn did(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }
}

/// What a change makes of a key's versions. `id`: the one that it was answered with.
fn apply(versions: &mut Vec<Kept>, versioning: Versioning, change: &Change, id: Option<VersionId>) {
    let value = match change {
        Change::DeleteVersion(id) => return versions.retain(|kept| kept.id != Some(*id)),
        Change::Put(value) => Some(*value),
        Change::Delete => None,
    };
    let is_null = versioning != Versioning::Enabled;
    if is_null {
        versions.retain(|kept| kept.id != Some(VersionId::NULL));
    }
    if value.is_some() || versioning != Versioning::Unversioned {
        versions.insert(0, Kept { id: if is_null { Some(VersionId::NULL) } else { id }, value });
    }
}

/// Puts, deletes, uploads and deletes of versions; reads of all of them. The first life knows no versions, the others have
/// them or have them suspended; all but the last end in a crash anywhere, in the next start as well.
pub(crate) fn crashes(seed: u64) {
    let mut run = healing::Run::new(seed, 3 + (seed % 2) as usize * 3);
    run.hurried = !seed.is_multiple_of(3);
    let model = Shared::default();
    run.run(async |_, _| {});
    for life in 0..LIVES {
        let versioning = match life {
            0 => None,
            1 => Some(Versioning::Enabled),
            _ if run.world.random().is_multiple_of(2) => Some(Versioning::Suspended),
            _ => Some(Versioning::Enabled),
        };
        let known = model.clone();
        let main = async move |store: Store, bucket: BucketId| live(store, bucket, seed, versioning, known).await;
        let operations = 1 + run.world.random() % OPERATIONS_MAX;
        if life + 1 < LIVES {
            run.run_and_crash(operations, main);
            // Recovery, too.
            run.run_and_crash(1 + operations % 100, async |_, _| {});
        } else {
            run.run(main);
        }
    }
    let known = model.clone();
    run.run(async move |store, bucket| {
        verify(seed, &store, bucket, &known).await;
        let found = census().await;
        assert!(found.is_whole(), "seed {seed}: {found:?}");
    });
    let mut sum = DONE.lock().expect("nobody panics with it");
    for (what, times) in &model.borrow().done {
        *sum.entry(what).or_default() += times;
    }
}

/// What was done in all seeds together: not every one does everything.
static DONE: Mutex<BTreeMap<&str, u64>> = Mutex::new(BTreeMap::new());

pub(crate) fn assert_all_was_done() {
    let done = DONE.lock().expect("nobody panics with it");
    for what in ["put", "delete", "version deleted", "promoted", "null replaced"] {
        assert!(done.contains_key(what), "nothing was {what}: {done:?}");
    }
}

async fn live(store: Store, bucket: BucketId, seed: u64, versioning: Option<Versioning>, model: Shared) {
    verify(seed, &store, bucket, &model).await;
    if let Some(versioning) = versioning {
        // A crash may leave it either way; nothing is under way, so it is what the bucket says.
        let name = BucketName::parse("bucket").expect("valid");
        if store.put_bucket_versioning(&name, versioning).await.is_err() {
            return;
        }
        assert_eq!(store.bucket(&name).expect("it is there").versioning, versioning);
        model.borrow_mut().versioning = versioning;
    }
    let clients: Vec<_> =
        (0..CLIENTS).map(|client| rt::spawn(act(store.clone(), bucket, client, model.clone()))).collect();
    for client in clients {
        client.await;
    }
}

/// One client, with keys of its own: so it is known what each has.
async fn act(store: Store, bucket: BucketId, client: u64, model: Shared) {
    for _ in 0..STEPS {
        let name = format!("c{client}/k{}", rt::random::u64() % KEYS_PER_CLIENT);
        let key = ObjectKey::parse(&name).expect("a valid key");
        let (versioning, versions) = {
            let model = model.borrow();
            (model.versioning, model.keys.get(&name).map_or(Vec::new(), |key| key.versions.clone()))
        };
        let change = match rt::random::u64() % 10 {
            0..=4 => {
                let mut model = model.borrow_mut();
                model.next_value += 1;
                Change::Put(Value { id: model.next_value, len: random_len() })
            }
            5 | 6 => Change::Delete,
            7 | 8 if !versions.is_empty() => {
                let chosen = &versions[(rt::random::u64() % versions.len() as u64) as usize];
                Change::DeleteVersion(chosen.id.expect("all are known by now"))
            }
            _ => {
                check_key(&store, bucket, &key, &versions).await;
                continue;
            }
        };
        model.borrow_mut().keys.entry(name.clone()).or_default().open = Some(change.clone());
        let outcome = carry_out(&store, bucket, &key, &change).await;
        let mut model = model.borrow_mut();
        let known = model.keys.get_mut(&name).expect("it was just made");
        match outcome {
            Ok(id) => {
                known.open = None;
                apply(&mut known.versions, versioning, &change, id);
                let is_null_gone =
                    versions.iter().any(|kept| kept.id == Some(VersionId::NULL)) && versioning == Versioning::Suspended;
                let is_latest_gone =
                    matches!(&change, Change::DeleteVersion(id) if versions[0].id == Some(*id) && versions.len() > 1);
                match change {
                    Change::Put(_) => model.did("put"),
                    Change::Delete => model.did("delete"),
                    Change::DeleteVersion(_) => model.did("version deleted"),
                }
                if is_latest_gone {
                    model.did("promoted");
                }
                if is_null_gone {
                    model.did("null replaced");
                }
            }
            Err(Failed::Before) => known.open = None,
            // Only a start can tell.
            Err(Failed::Unknown) => return,
        }
    }
}

async fn carry_out(
    store: &Store,
    bucket: BucketId,
    key: &ObjectKey,
    change: &Change,
) -> Result<Option<VersionId>, Failed> {
    match change {
        Change::Put(value) if value.id.is_multiple_of(4) => upload(store, bucket, key.clone(), *value).await,
        Change::Put(value) => {
            let mut put = store.put(Some(value.len as u64));
            put.write(&value.bytes()).await?;
            let body = put.finish().await?;
            let (key, etag, attributes) = (key.clone(), etag(*value), Attributes::new());
            let condition = WriteCondition::default();
            Ok(store.commit_put(CommitPut { bucket, key, body, etag, attributes, condition }).await?.version)
        }
        Change::Delete => Ok(store.delete(bucket, key, DeleteCondition::default()).await?.version),
        Change::DeleteVersion(id) => {
            let deleted = store.delete_version(bucket, key, *id, DeleteCondition::default()).await?;
            assert!(deleted.existed, "{key:?}: {id} was there: {deleted:?}");
            Ok(deleted.version)
        }
    }
}

/// Each version of a key by itself, and the key without a version.
async fn check_key(store: &Store, bucket: BucketId, key: &ObjectKey, versions: &[Kept]) {
    for kept in versions {
        let id = kept.id.expect("all are known by now");
        let found = store.head_version(bucket, key, id).await;
        check_version(store, key, found, kept).await;
    }
    let current = store.head(bucket, key).await;
    match versions.first() {
        None => assert_eq!(current.map(drop), Err(Error::NotFound), "{key:?}"),
        Some(newest) => check_version(store, key, current, newest).await,
    }
    let gone = VersionId(7);
    assert_eq!(store.head_version(bucket, key, gone).await.map(drop), Err(Error::NotFound), "{key:?}");
}

async fn check_version(
    store: &Store,
    key: &ObjectKey,
    found: Result<std::sync::Arc<store::Record>, Error>,
    kept: &Kept,
) {
    match (found, kept.value) {
        (Ok(record), Some(value)) => {
            assert_eq!(Some(record.version), kept.id, "{key:?}");
            match finish(store.read(&record, 0..record.size()), key.as_str(), &record).await {
                Ok(read) => assert_eq!(read, value, "{key:?} {kept:?}"),
                // It is moved meanwhile.
                Err(store::ReadError::Stale) => {}
                Err(error) => panic!("{key:?} {kept:?}: {error:?}"),
            }
        }
        (Err(Error::DeleteMarker { version, .. }), None) => assert_eq!(Some(version), kept.id, "{key:?}"),
        (found, _) => panic!("{key:?}: {found:?}, expected {kept:?}"),
    }
}

/// Everything, by listings and one by one.
async fn verify(seed: u64, store: &Store, bucket: BucketId, model: &Shared) {
    let listed = list_all(store, bucket, 1 + (rt::random::u64() % 7) as usize).await;
    let names: Vec<String> = model.borrow().keys.keys().cloned().collect();
    let versioning = model.borrow().versioning;
    for name in &names {
        let rows: Vec<&VersionSummary> =
            listed.iter().filter(|row| row.summary.key.as_str() == name.as_str()).collect();
        let found: Vec<Kept> = rows.iter().map(|row| Kept { id: Some(row.version), value: value_of(row) }).collect();
        let mut model = model.borrow_mut();
        let known = model.keys.get_mut(name).expect("it is one of them");
        let mut may_be = vec![known.versions.clone()];
        if let Some(open) = known.open.take() {
            let mut done = known.versions.clone();
            apply(&mut done, versioning, &open, None);
            may_be.push(done);
        }
        let is_same = |expected: &Vec<Kept>| {
            expected.len() == found.len()
                && expected.iter().zip(&found).all(|(a, b)| a.value == b.value && (a.id.is_none() || a.id == b.id))
        };
        assert!(may_be.iter().any(is_same), "seed {seed}: {name}: found {found:?}, expected one of {may_be:?}");
        for (n, row) in rows.iter().enumerate() {
            assert_eq!(row.is_latest, n == 0, "seed {seed}: {name}: {row:?}");
        }
        known.versions = found;
    }
    assert!(listed.iter().all(|row| names.iter().any(|name| name == row.summary.key.as_str())), "seed {seed}");
    for name in &names {
        let versions = model.borrow().keys[name].versions.clone();
        check_key(store, bucket, &ObjectKey::parse(name).expect("valid"), &versions).await;
    }
    let is_current = |row: &&VersionSummary| row.is_latest && !row.delete_marker;
    let current: Vec<&str> = listed.iter().filter(is_current).map(|row| row.summary.key.as_str()).collect();
    let page = store.list(bucket, List { max: 1000, ..List::default() }).await.expect("it can be listed");
    let plain: Vec<&str> = page.entries.iter().map(|entry| entry.name()).collect();
    assert_eq!(plain, current, "seed {seed}: the listing of current objects");
    let usage = store.usage(bucket).await.expect("counted");
    let expected = store::Usage {
        objects: current.len() as u64,
        bytes: listed.iter().map(|row| row.summary.size).sum(),
        versions: (listed.len() - current.len()) as u64,
    };
    assert_eq!(usage, expected, "seed {seed}: the usage");
    store::audit().await.unwrap_or_else(|what| panic!("seed {seed}: {what}"));
}

/// All versions, in pages of `max`.
async fn list_all(store: &Store, bucket: BucketId, max: usize) -> Vec<VersionSummary> {
    let mut list = ListVersions { max, ..ListVersions::default() };
    let mut all = Vec::new();
    loop {
        let page = store.list_versions(bucket, list.clone()).await.expect("versions can be listed");
        assert!(page.next.is_none() || page.entries.len() == max, "a page that is not the last one is full");
        for entry in page.entries {
            match entry {
                ListedVersion::Version(row) => all.push(row),
                ListedVersion::Prefix(prefix) => panic!("{prefix}: no delimiter was asked for"),
            }
        }
        match page.next {
            Some(next) => list.after = Some(next),
            None => return all,
        }
    }
}

fn value_of(row: &VersionSummary) -> Option<Value> {
    let digest = row.summary.etag.digest;
    let id = u64::from_le_bytes(digest[..8].try_into().expect("eight bytes"));
    assert!(row.summary.modified > Timestamp(0), "{row:?}");
    (!row.delete_marker).then_some(Value { id, len: row.summary.size as usize })
}

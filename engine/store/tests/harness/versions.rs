//! Scenarios: a bucket that keeps versions, over crashes anywhere. After each start every key has exactly the versions that
//! it should have, in their order, each with its bytes; and what is counted is what is there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

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
/// Where compaction is to move versions: what one client does in a round, how many of three writes are deleted at once, and
/// rounds.
const KEPT_PER_ROUND: u64 = 12;
const BRIEF_OF_ONE: u64 = 3;
const ROUNDS: u64 = 12;
const REST_MICROS_MAX: u64 = 100_000;

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
    /// What a change of a key's versions was.
    fn note(&mut self, versioning: Versioning, before: &[Kept], change: &Change) {
        let mut did = |what: &'static str| *self.done.entry(what).or_default() += 1;
        match change {
            Change::Put(_) => did("put"),
            Change::Delete => did("delete"),
            Change::DeleteVersion(id) => {
                did("version deleted");
                if before.len() > 1 && before[0].id == Some(*id) {
                    did("promoted");
                }
                return;
            }
        }
        if versioning == Versioning::Suspended && before.iter().any(|kept| kept.id == Some(VersionId::NULL)) {
            did("null replaced");
        }
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

/// Versions are deleted, and become current objects, while compaction moves their bodies.
pub(crate) fn moved(seed: u64) {
    let mut run = healing::Run::new(seed, 3);
    run.log_slot_bytes = 256 << 10;
    let model = Shared::default();
    let known = model.clone();
    run.run(async move |store, bucket| {
        assert!(set(&store, Versioning::Enabled, &known).await, "drives take it");
        act(clients(&store, bucket, &known, small_len), Client::come_and_go).await;
        verify(seed, &store, bucket, &known).await;
    });
    let known = model.clone();
    run.run(async move |store, bucket| verify(seed, &store, bucket, &known).await);
}

fn small_len() -> usize {
    8 + rt::random::u64() as usize % 3_000
}

async fn live(store: Store, bucket: BucketId, seed: u64, versioning: Option<Versioning>, model: Shared) {
    verify(seed, &store, bucket, &model).await;
    if let Some(versioning) = versioning
        && !set(&store, versioning, &model).await
    {
        // A crash may leave it either way; nothing is under way, so it is what the next start says.
        return;
    }
    act(clients(&store, bucket, &model, random_len), Client::come).await;
}

/// Whether the bucket was told.
async fn set(store: &Store, versioning: Versioning, model: &Shared) -> bool {
    let name = BucketName::parse("bucket").expect("valid");
    if store.put_bucket_versioning(&name, versioning).await.is_err() {
        return false;
    }
    assert_eq!(store.bucket(&name).expect("it is there").versioning, versioning);
    model.borrow_mut().versioning = versioning;
    true
}

/// One client, with keys of its own: so it is known what each has.
struct Client {
    store: Store,
    bucket: BucketId,
    number: u64,
    model: Shared,
    len: fn() -> usize,
}

fn clients(store: &Store, bucket: BucketId, model: &Shared, len: fn() -> usize) -> impl Iterator<Item = Client> {
    (0..CLIENTS).map(move |number| Client { store: store.clone(), bucket, number, model: model.clone(), len })
}

/// All of them at once, to the end.
async fn act<F: Future<Output = ()> + 'static>(clients: impl Iterator<Item = Client>, what: impl Fn(Client) -> F) {
    let tasks: Vec<_> = clients.map(|client| rt::spawn(what(client))).collect();
    for task in tasks {
        task.await;
    }
}

impl Client {
    /// Anything, one after the other.
    async fn come(self) {
        for _ in 0..STEPS {
            let name = self.some_key();
            let versions = self.versions(&name);
            let change = match rt::random::u64() % 10 {
                0..=4 => self.some_put(),
                5 | 6 => Change::Delete,
                7 | 8 if !versions.is_empty() => Change::DeleteVersion(some_of(&versions)),
                _ => {
                    let key = ObjectKey::parse(&name).expect("a valid key");
                    check_key(&self.store, self.bucket, &key, &versions).await;
                    continue;
                }
            };
            if !self.carry_out(&name, change).await {
                return;
            }
        }
    }

    /// Versions that stay for a while between others that go at once, then deletes of all, in any order.
    async fn come_and_go(self) {
        for _ in 0..ROUNDS {
            for step in 0..KEPT_PER_ROUND * BRIEF_OF_ONE {
                let name = self.some_key();
                assert!(self.carry_out(&name, self.some_put()).await, "drives take it");
                if !step.is_multiple_of(BRIEF_OF_ONE) {
                    let newest = self.versions(&name)[0].id.expect("it was answered");
                    assert!(self.carry_out(&name, Change::DeleteVersion(newest)).await, "drives take it");
                }
            }
            rt::time::sleep(Duration::from_micros(rt::random::u64() % REST_MICROS_MAX)).await;
            for key in 0..KEYS_PER_CLIENT {
                let name = self.key(key);
                while let versions @ [_, ..] = &self.versions(&name)[..] {
                    let gone = Change::DeleteVersion(some_of(versions));
                    assert!(self.carry_out(&name, gone).await, "drives take it");
                }
            }
        }
    }

    fn key(&self, n: u64) -> String {
        format!("c{}/k{n}", self.number)
    }

    fn some_key(&self) -> String {
        self.key(rt::random::u64() % KEYS_PER_CLIENT)
    }

    fn some_put(&self) -> Change {
        let mut model = self.model.borrow_mut();
        model.next_value += 1;
        Change::Put(Value { id: model.next_value, len: (self.len)() })
    }

    fn versions(&self, name: &str) -> Vec<Kept> {
        self.model.borrow().keys.get(name).map_or(Vec::new(), |key| key.versions.clone())
    }

    /// False: only the next start can tell what came of it.
    async fn carry_out(&self, name: &str, change: Change) -> bool {
        let (versioning, before) = (self.model.borrow().versioning, self.versions(name));
        self.model.borrow_mut().keys.entry(name.to_owned()).or_default().open = Some(change.clone());
        let key = ObjectKey::parse(name).expect("a valid key");
        let outcome = carry_out(&self.store, self.bucket, &key, &change).await;
        let mut model = self.model.borrow_mut();
        let known = model.keys.get_mut(name).expect("it was just made");
        match outcome {
            Ok(id) => {
                known.open = None;
                apply(&mut known.versions, versioning, &change, id);
                model.note(versioning, &before, &change);
                true
            }
            Err(Failed::Before) => {
                known.open = None;
                true
            }
            Err(Failed::Unknown) => false,
        }
    }
}

fn some_of(versions: &[Kept]) -> VersionId {
    versions[(rt::random::u64() % versions.len() as u64) as usize].id.expect("all are known by now")
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

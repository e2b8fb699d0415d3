//! Listing all versions: a page is a merge of the bucket's partitions, in each of which the current objects and the other
//! versions are merged at their owner.
//!
//! Versions go from one key space to the other while they are listed. A slice reads the current objects first: what a write
//! has moved to the others meanwhile is then found there, and known by its LSN. What a delete has moved back would be missed,
//! so a slice during which that happened is read again.

use std::rc::Rc;

use types::{Attribute, BucketId, ObjectKey, VersionId};

use super::{DOUBLINGS_MAX, ENTRIES_RESERVED_MAX, Summary, common_prefix, even_share, summary};
use crate::error::{Error, Result};
use crate::format::record;
use crate::ids::{Lsn, PartitionId};
use crate::index::scan::{Group, Item, Scan};
use crate::index::{Bytes, keys};
use crate::object::BAD_RECORD;
use crate::partition::{Partition, View};
use crate::store::{ShardStore, Store};
use crate::version;

/// How often a slice is read during which versions became current objects.
const ATTEMPTS_MAX: usize = 8;

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct ListVersions {
    /// Only keys that begin so.
    pub prefix: String,
    /// Only what comes after this.
    pub after: Option<VersionsAfter>,
    /// Keys that agree up to and including the first of these after the prefix are shown as one. Not empty.
    pub delimiter: Option<String>,
    /// Entries on a page.
    pub max: usize,
    /// What the summaries are to have of the objects' attributes.
    pub attributes: &'static [Attribute],
}

/// A place between two versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionsAfter {
    /// Or a common prefix.
    pub key: String,
    /// The version of that key; `None`: the last of them. One that a page gave stays right when that version is deleted.
    pub version: Option<VersionId>,
}

/// One entry of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedVersion {
    Version(VersionSummary),
    Prefix(String),
}

/// What a listing shows of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionSummary {
    pub summary: Summary,
    pub version: VersionId,
    pub is_latest: bool,
    pub delete_marker: bool,
    lsn: Lsn,
}

/// One page: keys in byte order, of each the newest version first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionPage {
    pub entries: Vec<ListedVersion>,
    /// `after` of the next page; `None`: this was the last one.
    pub next: Option<VersionsAfter>,
}

impl Store {
    /// Lists a page of the versions in `bucket`. A change acknowledged before the call is seen.
    ///
    /// Cost: as that of a listing, whatever the number of versions of a key.
    pub async fn list_versions(&self, bucket: BucketId, list: ListVersions) -> Result<VersionPage> {
        let mut page = VersionPage { entries: Vec::with_capacity(list.max.min(ENTRIES_RESERVED_MAX)), next: None };
        if list.max == 0 {
            return Ok(page);
        }
        let start = self.start(bucket, &list).await?;
        let cursor = |partition| Cursor { partition, rows: Vec::new().into_iter(), resume: Some(start.clone()) };
        let mut cursors: Vec<_> = keys::partitions_of(bucket, self.partition_count()).map(cursor).collect();
        let even = even_share(list.max, cursors.len());
        let mut feeds = 0;
        loop {
            while cursors.iter().any(Cursor::is_starved) {
                let want = even.saturating_mul(1 << DOUBLINGS_MAX.min(feeds)).min(list.max + 1);
                self.feed_versions(bucket, &list, want, &mut cursors).await?;
                feeds += 1;
            }
            let heads = cursors.iter_mut().filter(|cursor| cursor.head().is_some());
            let Some(smallest) = heads.min_by(|a, b| a.head().cmp(&b.head())) else {
                return Ok(page);
            };
            let row = smallest.rows.next().expect("the cursor has a head");
            let entry = row.entry(list.attributes)?;
            // Common prefixes may be in several partitions.
            if page.entries.last() == Some(&entry) {
                continue;
            }
            if page.entries.len() == list.max {
                page.next = page.entries.last().map(ListedVersion::after);
                return Ok(page);
            }
            page.entries.push(entry);
        }
    }

    /// Where a listing begins.
    async fn start(&self, bucket: BucketId, list: &ListVersions) -> Result<Position> {
        let prefix = || Position::At(list.prefix.as_bytes().to_vec());
        let Some(VersionsAfter { key, version }) = &list.after else {
            return Ok(prefix());
        };
        let delimiter = list.delimiter.as_deref();
        let after = if delimiter.and_then(|delimiter| common_prefix(key, &list.prefix, delimiter)) == Some(key) {
            // Everything below the common prefix was shown as that prefix.
            Position::behind_prefix(key.as_bytes())
        } else {
            match version {
                None => Position::At(keys::successor(key.as_bytes())),
                Some(VersionId::NULL) => self.behind_null(bucket, key).await?,
                Some(VersionId(lsn)) => Position::Behind(key.as_bytes().to_vec(), Lsn(*lsn)),
            }
        };
        Ok(after.max(prefix()))
    }

    /// After the null version of a key; where there is none any more, before all of its versions: rather twice than not at all.
    async fn behind_null(&self, bucket: BucketId, key: &str) -> Result<Position> {
        let bytes = key.as_bytes().to_vec();
        let Ok(key) = ObjectKey::parse(key) else { return Ok(Position::At(bytes)) };
        match self.version_lsn(bucket, &key, VersionId::NULL).await? {
            Some(lsn) => Ok(Position::Behind(bytes, lsn)),
            None => Ok(Position::At(bytes)),
        }
    }

    /// Fetches the next slice of every cursor that has run dry, all at once, with one message to each owner.
    async fn feed_versions(
        &self,
        bucket: BucketId,
        list: &ListVersions,
        want: usize,
        cursors: &mut [Cursor],
    ) -> Result<()> {
        let mut errands: Vec<Vec<(usize, PartitionId, Position)>> = Vec::new();
        for (at, cursor) in cursors.iter_mut().enumerate().filter(|(_, cursor)| cursor.is_starved()) {
            let Some(from) = cursor.resume.take() else { continue };
            let errand = (at, cursor.partition, from);
            match errands.iter_mut().find(|errands| self.owner(errands[0].1) == self.owner(errand.1)) {
                Some(errands) => errands.push(errand),
                None => errands.push(vec![errand]),
            }
        }
        let mut fetches = Vec::new();
        for errands in errands {
            let (here, partition) = (self.clone(), errands[0].1);
            let (prefix, delimiter) = (list.prefix.clone(), list.delimiter.clone());
            let walk = move |store: Rc<ShardStore>| async move {
                let walk = Walk::new(bucket, &prefix, delimiter.as_deref(), want);
                let mut slices = Vec::with_capacity(errands.len());
                for (at, partition, from) in errands {
                    slices.push((at, walk.slice(&*store.partition(partition)?, from).await?));
                }
                Ok(slices)
            };
            fetches.push(rt::spawn(async move { here.at_owner(partition, walk).await }));
        }
        for fetch in fetches {
            for (at, slice) in fetch.await? {
                cursors[at].rows = slice.rows.into_iter();
                cursors[at].resume = slice.next;
            }
        }
        Ok(())
    }
}

impl ListedVersion {
    fn after(&self) -> VersionsAfter {
        match self {
            // The commit, not the version: the null version is known by it as well.
            ListedVersion::Version(VersionSummary { summary, lsn, .. }) => {
                VersionsAfter { key: summary.key.as_str().to_owned(), version: Some(VersionId(lsn.0)) }
            }
            ListedVersion::Prefix(prefix) => VersionsAfter { key: prefix.clone(), version: None },
        }
    }
}

/// A partition of the bucket.
struct Cursor {
    partition: PartitionId,
    rows: std::vec::IntoIter<Row>,
    /// Where to go on; `None`: the partition has no more, or it is being asked.
    resume: Option<Position>,
}

impl Cursor {
    fn head(&self) -> Option<(&[u8], u64)> {
        self.rows.as_slice().first().map(Row::order)
    }

    fn is_starved(&self) -> bool {
        self.rows.as_slice().is_empty() && self.resume.is_some()
    }
}

/// A place in the order of keys and their versions. Keys are bytes here, since what lies behind a prefix is none.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Position {
    /// Before all versions of this key.
    At(Vec<u8>),
    /// Right after the version of this key that a commit wrote.
    Behind(Vec<u8>, Lsn),
}

impl Position {
    fn behind_prefix(prefix: &[u8]) -> Position {
        Position::At(keys::after_prefix(prefix).expect("text has bytes below 0xff"))
    }

    /// Where a scan of other versions goes on.
    fn of_version(index_key: &[u8]) -> Option<Position> {
        let (key, rest) = keys::parse_place_of_version(index_key)?;
        Some(match rest.split_first_chunk() {
            None => Position::At(key),
            // At a version is right behind the one that would be newer by one; behind it there is more.
            Some((inverse, [])) => match u64::from_be_bytes(*inverse).checked_sub(1) {
                Some(inverse) => Position::Behind(key, Lsn(!inverse)),
                None => Position::At(key),
            },
            Some((inverse, _)) => Position::Behind(key, Lsn(!u64::from_be_bytes(*inverse))),
        })
    }

    /// Places compare as these do; a version lies at its key and the inverse of its LSN.
    fn order(&self) -> (&[u8], Option<u64>) {
        match self {
            Position::At(key) => (key, None),
            Position::Behind(key, lsn) => (key, Some(!lsn.0)),
        }
    }

    fn max(self, other: Position) -> Position {
        if other.order() > self.order() { other } else { self }
    }
}

/// What a partition gives.
enum Row {
    Version { key: Vec<u8>, lsn: Lsn, value: Bytes, is_latest: bool },
    Prefix(Vec<u8>),
}

impl Row {
    /// Rows of one partition and of several compare as these do.
    fn order(&self) -> (&[u8], u64) {
        match self {
            Row::Version { key, lsn, .. } => (key, !lsn.0),
            Row::Prefix(prefix) => (prefix, 0),
        }
    }

    fn is_beyond(&self, bound: &Position) -> bool {
        let (key, inverse) = self.order();
        (key, Some(inverse)) > bound.order()
    }

    fn entry(self, attributes: &[Attribute]) -> Result<ListedVersion> {
        match self {
            Row::Prefix(prefix) => Ok(ListedVersion::Prefix(String::from_utf8(prefix).map_err(|_| BAD_RECORD)?)),
            Row::Version { key, lsn, value, is_latest } => {
                let key = String::from_utf8(key).ok().and_then(|key| ObjectKey::parse(&key).ok()).ok_or(BAD_RECORD)?;
                let facts = record::peek(&value).map_err(|_| BAD_RECORD)?;
                let (version, delete_marker) = (facts.version, facts.delete_marker);
                let summary = summary(key, &value, attributes)?;
                Ok(ListedVersion::Version(VersionSummary { summary, version, is_latest, delete_marker, lsn }))
            }
        }
    }
}

#[derive(Default)]
struct Slice {
    rows: Vec<Row>,
    next: Option<Position>,
}

/// What all slices of one page have in common.
struct Walk {
    bucket: BucketId,
    want: usize,
    current_to: Vec<u8>,
    versions_to: Vec<u8>,
    /// For current objects, and for the other versions.
    groups: Option<[Group; 2]>,
}

impl Walk {
    fn new(bucket: BucketId, prefix: &str, delimiter: Option<&str>, want: usize) -> Walk {
        let (current, current_to) = keys::current_range(bucket, prefix.as_bytes());
        let (versions, versions_to) = keys::versions_range(bucket, prefix.as_bytes());
        let groups = delimiter.map(|delimiter| {
            [
                Group { at: current.len(), delimiter: delimiter.as_bytes().to_vec(), escaped: false },
                Group { at: versions.len(), delimiter: keys::escaped(delimiter.as_bytes()), escaped: true },
            ]
        });
        Walk { bucket, want, current_to, versions_to, groups }
    }

    async fn slice(&self, partition: &Partition, from: Position) -> Result<Slice> {
        for _ in 0..ATTEMPTS_MAX {
            let seen = partition.promotions();
            let slice = self.read(partition, &from).await?;
            if partition.promotions() == seen {
                return Ok(slice);
            }
        }
        Err(Error::Busy)
    }

    async fn read(&self, partition: &Partition, from: &Position) -> Result<Slice> {
        let mut rows = Vec::new();
        let (current_from, versions_from) = match from {
            Position::At(key) => (keys::current(self.bucket, key), keys::versions_range(self.bucket, key).0),
            Position::Behind(key, lsn) => {
                // The current object may have been shown, or have become it since.
                let current = keys::current(self.bucket, key);
                if let Some(value) = partition.get(&current, View::Durable).await? {
                    rows.push(row(Item::Entry { key: Bytes::new(&current), value }, true)?);
                    rows.retain(|row| row.is_beyond(from));
                }
                (keys::successor(&current), keys::successor(&keys::version(self.bucket, key, *lsn)))
            }
        };
        let [of_current, of_versions] = match self.groups.clone() {
            Some(groups) => groups.map(Some),
            None => [None, None],
        };
        let scan = |from, to: &Vec<u8>, group| Scan { from, to: to.clone(), limit: self.want, group };
        let current = partition.scan(&scan(current_from, &self.current_to, of_current)).await?;
        let versions = partition.scan(&scan(versions_from, &self.versions_to, of_versions)).await?;
        // What one side has behind its page is not known: the slice ends where the first of them ends. It may be empty then.
        let ends = [
            current.next.as_deref().map(|next| keys::parse_current(next).map(|(_, key)| Position::At(key.to_vec()))),
            versions.next.as_deref().map(Position::of_version),
        ];
        let mut bound: Option<Position> = None;
        for end in ends.into_iter().flatten() {
            let end = end.ok_or(BAD_RECORD)?;
            bound = Some(match bound {
                Some(bound) if bound.order() < end.order() => bound,
                Some(_) | None => end,
            });
        }
        assert!(bound.as_ref().is_none_or(|bound| bound.order() > from.order()), "a scan goes on");
        for (page, is_current) in [(current, true), (versions, false)] {
            for item in page.items {
                rows.push(row(item, is_current)?);
            }
        }
        rows.retain(|row| !bound.as_ref().is_some_and(|bound| row.is_beyond(bound)));
        rows.sort_by(|a, b| a.order().cmp(&b.order()));
        // What was moved while it was read is on both sides, and so are common prefixes.
        rows.dedup_by(|a, b| a.order() == b.order());
        self.mark_latest(partition, from, &mut rows).await?;
        Ok(Slice { rows, next: bound })
    }

    /// The first version of each key is the latest, but for the key in whose versions the slice begins.
    async fn mark_latest(&self, partition: &Partition, from: &Position, rows: &mut [Row]) -> Result<()> {
        let mut above: Option<Vec<u8>> = match from {
            Position::At(_) => None,
            Position::Behind(key, lsn) => {
                let newest = version::newest_lsn(partition, self.bucket, key).await?;
                newest.is_some_and(|newest| newest >= *lsn).then(|| key.clone())
            }
        };
        for row in rows {
            if let Row::Version { key, is_latest, .. } = row {
                *is_latest = above.as_ref() != Some(key);
                above = Some(key.clone());
            }
        }
        Ok(())
    }
}

fn row(item: Item, is_current: bool) -> Result<Row> {
    match item {
        Item::Entry { key, value } if is_current => {
            let (_, key) = keys::parse_current(&key).ok_or(BAD_RECORD)?;
            let lsn = record::peek(&value).map_err(|_| BAD_RECORD)?.lsn;
            Ok(Row::Version { key: key.to_vec(), lsn, value, is_latest: false })
        }
        Item::Entry { key, value } => {
            let (_, key, lsn) = keys::parse_version(&key).ok_or(BAD_RECORD)?;
            Ok(Row::Version { key, lsn, value, is_latest: false })
        }
        Item::Prefix(prefix) if is_current => {
            Ok(Row::Prefix(keys::parse_current(&prefix).ok_or(BAD_RECORD)?.1.to_vec()))
        }
        Item::Prefix(prefix) => Ok(Row::Prefix(keys::parse_versions_prefix(&prefix).ok_or(BAD_RECORD)?)),
    }
}

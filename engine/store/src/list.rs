//! Listing: a page is a merge of the cursors of the bucket's partitions.
//!
//! A bucket is spread over a fixed number of partitions. Each owner walks its slice of the key order and answers with
//! what a page may show; the caller merges. Cost is O(page), whatever the bucket holds: a delimiter seeks past each
//! common prefix, and an owner stops after a budget of entries and says where to go on.

use std::collections::VecDeque;

use types::{Attributes, BucketId, Etag, ObjectKey, Timestamp};

use crate::error::Result;
use crate::format::record;
use crate::ids::PartitionId;
use crate::index::scan::{Group, Item, Scan};
use crate::index::{Bytes, keys};
use crate::object::BAD_RECORD;
use crate::partition::Partition;
use crate::store::{ShardStore, Store};

/// Entries asked of a partition beyond its even share of the page: most pages then need one round.
const SLICE_SLACK: usize = 24;

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Only keys that begin so.
    pub prefix: String,
    /// Only what comes after this key or common prefix.
    pub after: Option<String>,
    /// Keys that agree up to and including the first of these after the prefix are shown as one. Not empty.
    pub delimiter: Option<String>,
    /// Entries on a page.
    pub max: usize,
}

/// One entry of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    Object(Summary),
    Prefix(String),
}

impl Listed {
    pub fn name(&self) -> &str {
        match self {
            Listed::Object(summary) => summary.key.as_str(),
            Listed::Prefix(prefix) => prefix,
        }
    }
}

/// What a listing shows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub key: ObjectKey,
    pub size: u64,
    pub etag: Etag,
    pub modified: Timestamp,
    pub attributes: Attributes,
}

/// One page, in byte order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<Listed>,
    /// `after` of the next page; `None`: this was the last one.
    pub next: Option<String>,
}

/// A part of one partition's order.
pub(crate) struct Slice {
    pub(crate) entries: Vec<Listed>,
    /// Index key to go on from; `None`: the partition has no more.
    pub(crate) resume: Option<Vec<u8>>,
}

/// Merges sorted cursors into one page. Names that several cursors show (common prefixes) come once.
struct Merge {
    cursors: Vec<Cursor>,
}

struct Cursor {
    partition: PartitionId,
    entries: VecDeque<Listed>,
    resume: Option<Vec<u8>>,
}

impl Cursor {
    fn starved(&self) -> bool {
        self.entries.is_empty() && self.resume.is_some()
    }
}

impl Merge {
    /// The cursor with the smallest name; `None` when all are at their end. No cursor may be starved.
    fn smallest(&self) -> Option<usize> {
        debug_assert!(!self.cursors.iter().any(Cursor::starved));
        let heads = self.cursors.iter().enumerate().filter_map(|(i, cursor)| Some((cursor.entries.front()?.name(), i)));
        heads.min().map(|(_, i)| i)
    }

    fn drop_heads_named(&mut self, name: &str) {
        for cursor in &mut self.cursors {
            while cursor.entries.front().is_some_and(|entry| entry.name() == name) {
                cursor.entries.pop_front();
            }
        }
    }
}

impl Store {
    /// Lists a page of `bucket`. A change acknowledged before the call is seen. Never an empty page that has a next one.
    pub async fn list(&self, bucket: BucketId, list: List) -> Result<Page> {
        let mut page = Page::default();
        if list.max == 0 {
            return Ok(page);
        }
        let start = first_key(bucket, &list);
        let partitions: Vec<_> = keys::partitions_of(bucket, self.partition_count()).collect();
        let share = (list.max / partitions.len() * 5 / 4 + SLICE_SLACK).min(list.max + 1);
        let cursor = |partition| Cursor { partition, entries: VecDeque::new(), resume: Some(start.clone()) };
        let mut merge = Merge { cursors: partitions.into_iter().map(cursor).collect() };
        loop {
            self.feed(bucket, &list, share, &mut merge).await?;
            let Some(smallest) = merge.smallest() else {
                return Ok(page);
            };
            if page.entries.len() == list.max {
                page.next = page.entries.last().map(|entry| entry.name().to_owned());
                return Ok(page);
            }
            let entry = merge.cursors[smallest].entries.pop_front().expect("the smallest cursor has an entry");
            if let Listed::Prefix(prefix) = &entry {
                merge.drop_heads_named(prefix);
            }
            page.entries.push(entry);
        }
    }

    /// Fetches the next slice of every cursor that has run dry, all at once. A slice that spent its budget on tombstones
    /// may be empty and not at its end: then again.
    async fn feed(&self, bucket: BucketId, list: &List, share: usize, merge: &mut Merge) -> Result<()> {
        while merge.cursors.iter().any(Cursor::starved) {
            let mut fetches = Vec::new();
            for (i, cursor) in merge.cursors.iter_mut().enumerate().filter(|(_, cursor)| cursor.entries.is_empty()) {
                let Some(resume) = cursor.resume.take() else { continue };
                let (prefix, delimiter) = (list.prefix.clone(), list.delimiter.clone());
                let (here, partition) = (self.clone(), cursor.partition);
                let fetch = async move {
                    here.at_owner(partition, move |store| async move {
                        slice(&store, partition, bucket, &prefix, delimiter, resume, share).await
                    })
                    .await
                };
                fetches.push((i, rt::spawn(fetch)));
            }
            for (i, fetch) in fetches {
                let slice = fetch.await?;
                merge.cursors[i].entries = slice.entries.into();
                merge.cursors[i].resume = slice.resume;
            }
        }
        Ok(())
    }
}

/// The index key that a listing begins at.
fn first_key(bucket: BucketId, list: &List) -> Vec<u8> {
    let base = keys::current(bucket, list.prefix.as_bytes());
    let Some(after) = list.after.as_deref() else {
        return base;
    };
    let after_is_prefix =
        list.delimiter.as_deref().and_then(|delimiter| common_prefix(after, &list.prefix, delimiter)) == Some(after);
    let start = if after_is_prefix {
        // Everything below the common prefix was shown as that prefix.
        keys::current_range(bucket, after.as_bytes()).1
    } else {
        keys::successor(&keys::current(bucket, after.as_bytes()))
    };
    start.max(base)
}

/// The part of `key` up to and including the first `delimiter` after `prefix`.
pub(crate) fn common_prefix<'a>(key: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    let rest = key.strip_prefix(prefix)?;
    let at = rest.find(delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

/// Up to `max` entries of a range. Also for callers that page by themselves.
pub(crate) async fn scan_up_to(
    partition: &Partition,
    from: Vec<u8>,
    to: &[u8],
    max: usize,
) -> Result<Vec<(Bytes, Bytes)>> {
    let mut rows = Vec::new();
    let mut scan = Scan { from, to: to.to_vec(), limit: max, group: None };
    while scan.limit > 0 {
        let page = partition.scan(&scan).await?;
        for item in page.items {
            if let Item::Entry { key, value } = item {
                rows.push((key, value));
            }
        }
        scan.limit = max - rows.len();
        match page.next {
            Some(next) => scan.from = next,
            None => break,
        }
    }
    Ok(rows)
}

/// Walks one partition's order from `from`, at its owner.
async fn slice(
    store: &ShardStore,
    partition: PartitionId,
    bucket: BucketId,
    prefix: &str,
    delimiter: Option<String>,
    from: Vec<u8>,
    want: usize,
) -> Result<Slice> {
    let partition = store.partition(partition)?;
    let (base, to) = keys::current_range(bucket, prefix.as_bytes());
    let group = delimiter.map(|delimiter| Group { at: base.len(), delimiter: delimiter.into_bytes(), escaped: false });
    let page = partition.scan(&Scan { from, to, limit: want, group }).await?;
    let mut entries = Vec::with_capacity(page.items.len());
    for item in page.items {
        entries.push(match item {
            Item::Entry { key, value } => Listed::Object(summary(object_key(&key)?, &value)?),
            Item::Prefix(prefix) => Listed::Prefix(object_key(&prefix)?.as_str().to_owned()),
        });
    }
    Ok(Slice { entries, resume: page.next })
}

fn object_key(index_key: &[u8]) -> Result<ObjectKey> {
    let (_, key) = keys::parse_current(index_key).ok_or(BAD_RECORD)?;
    std::str::from_utf8(key).ok().and_then(|key| ObjectKey::parse(key).ok()).ok_or(BAD_RECORD)
}

fn summary(key: ObjectKey, value: &[u8]) -> Result<Summary> {
    let facts = record::peek(value).map_err(|_| BAD_RECORD)?;
    let attributes = Attributes::from_bytes(facts.attributes).ok_or(BAD_RECORD)?;
    Ok(Summary { key, size: facts.size, etag: facts.etag, modified: facts.modified, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_prefix_ends_with_the_first_delimiter_after_the_prefix() {
        let check = |key: &str, prefix: &str, delimiter: &str, expect: Option<&str>| {
            assert_eq!(common_prefix(key, prefix, delimiter), expect, "{key:?} {prefix:?} {delimiter:?}");
        };
        check("a/b/c", "", "/", Some("a/"));
        check("a/b/c", "a/", "/", Some("a/b/"));
        check("a/b", "a/", "/", None);
        check("a", "", "/", None);
        check("x--y--z", "x-", "--", Some("x--y--"));
        check("/", "", "/", Some("/"));
    }

    #[test]
    fn a_listing_begins_after_the_marker_and_never_before_its_prefix() {
        let bucket = BucketId(7);
        let key = |text: &str| keys::current(bucket, text.as_bytes());
        let check = |prefix: &str, after: Option<&str>, delimiter: Option<&str>, expect: Vec<u8>| {
            let list = List {
                prefix: prefix.into(),
                after: after.map(Into::into),
                delimiter: delimiter.map(Into::into),
                max: 1,
            };
            assert_eq!(first_key(bucket, &list), expect, "{list:?}");
        };
        check("p/", None, None, key("p/"));
        check("p/", Some("a"), None, key("p/"));
        check("p/", Some("p/x"), None, key("p/x\0"));
        check("", Some("a/"), Some("/"), key("a0"));
        check("", Some("a/b"), Some("/"), key("a/b\0"));
    }
}

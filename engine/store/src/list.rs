//! Listing: a page is a merge of the cursors of the bucket's partitions.
//!
//! A bucket is spread over a fixed number of partitions. Each owner walks its slices of the key order and answers with
//! what a page may show; the caller merges, and decodes what the page does show. Cost is O(page), whatever the bucket
//! holds: a delimiter seeks past each common prefix, and an owner stops after a budget of entries and says where to go on.

mod merge;

use std::rc::Rc;

use types::{Attributes, BucketId, Etag, ObjectKey, Timestamp};

use crate::error::Result;
use crate::format::record;
use crate::ids::PartitionId;
use crate::index::scan::{self, Group, Item, Scan};
use crate::index::{Bytes, keys};
use crate::object::BAD_RECORD;
use crate::partition::{Partition, scan_each};
use crate::store::{ShardStore, Store};
use merge::Merge;

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

/// Where to go on in one partition.
struct Errand {
    /// Place in the merge.
    cursor: usize,
    partition: PartitionId,
    from: Vec<u8>,
}

impl Store {
    /// Lists a page of `bucket`. A change acknowledged before the call is seen. Never an empty page that has a next one.
    pub async fn list(&self, bucket: BucketId, list: List) -> Result<Page> {
        let mut page = Page::default();
        if list.max == 0 {
            return Ok(page);
        }
        let start = first_key(bucket, &list);
        let mut merge = Merge::new(keys::partitions_of(bucket, self.partition_count()), &start);
        let mut share = even_share(list.max, merge.cursors().len());
        loop {
            self.feed(bucket, &list, &mut share, &mut merge).await?;
            let Some(smallest) = merge.smallest() else {
                return Ok(page);
            };
            let name = merge.name(smallest);
            // Common prefixes may be in several partitions.
            if let Some(Listed::Prefix(last)) = page.entries.last()
                && keys::parse_current(name).is_some_and(|(_, name)| name == last.as_bytes())
            {
                merge.take(smallest);
                continue;
            }
            if page.entries.len() == list.max {
                page.next = page.entries.last().map(|entry| entry.name().to_owned());
                return Ok(page);
            }
            page.entries.push(match merge.take(smallest) {
                Item::Entry { key, value } => Listed::Object(summary(object_key(&key)?, &value)?),
                Item::Prefix(prefix) => Listed::Prefix(object_key(&prefix)?.into()),
            });
        }
    }

    /// Fetches the next slice of every cursor that has run dry, all at once, with one message to each owner. A slice that
    /// spent its budget on tombstones may be empty and not at its end: then again.
    async fn feed(&self, bucket: BucketId, list: &List, share: &mut usize, merge: &mut Merge) -> Result<()> {
        while merge.is_starved() {
            let mut errands: Vec<Vec<Errand>> = Vec::new();
            for (cursor, partition, from) in merge.starved() {
                let errand = Errand { cursor, partition, from };
                let owner = |errand: &Errand| self.owner(errand.partition);
                match errands.iter_mut().find(|errands| owner(&errands[0]) == owner(&errand)) {
                    Some(errands) => errands.push(errand),
                    None => errands.push(vec![errand]),
                }
            }
            let mut fetches = Vec::new();
            for errands in errands {
                let (prefix, delimiter) = (list.prefix.clone(), list.delimiter.clone());
                let (here, want, partition) = (self.clone(), *share, errands[0].partition);
                let fetch = async move {
                    let walk = move |store: Rc<ShardStore>| async move {
                        slices(&store, bucket, &prefix, delimiter, errands, want).await
                    };
                    here.at_owner(partition, walk).await
                };
                fetches.push(rt::spawn(fetch));
            }
            let mut slices = Vec::new();
            for fetch in fetches {
                slices.append(&mut fetch.await?);
            }
            merge.feed(slices);
            // What ran dry was asked for too little: common prefixes are in all partitions, keys may be unevenly spread.
            *share = (*share * 2).min(list.max + 1);
        }
        Ok(())
    }
}

/// Entries asked of each partition at first: its even share of the page and three deviations more, for a hash spreads keys
/// as dice would. Most pages then need one round.
fn even_share(max: usize, partitions: usize) -> usize {
    let even = max / partitions;
    (even + 3 * (even + 1).isqrt() + 1).min(max + 1)
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

/// Walks several partitions' orders, at their owner.
async fn slices(
    store: &ShardStore,
    bucket: BucketId,
    prefix: &str,
    delimiter: Option<String>,
    errands: Vec<Errand>,
    want: usize,
) -> Result<Vec<(usize, scan::Page)>> {
    let (base, to) = keys::current_range(bucket, prefix.as_bytes());
    let group = delimiter.map(|delimiter| Group { at: base.len(), delimiter: delimiter.into_bytes(), escaped: false });
    let mut partitions = Vec::with_capacity(errands.len());
    for errand in &errands {
        partitions.push(store.partition(errand.partition)?);
    }
    let cursors: Vec<_> = errands.iter().map(|errand| errand.cursor).collect();
    let scans = errands.into_iter().map(|errand| errand.from);
    let scans = scans.map(|from| Scan { from, to: to.clone(), limit: want, group: group.clone() });
    let pages = scan_each(partitions.iter().map(|partition| &**partition).zip(scans)).await?;
    Ok(cursors.into_iter().zip(pages).collect())
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

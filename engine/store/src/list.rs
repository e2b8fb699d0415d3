//! Listing: a page is a merge of the cursors of the bucket's partitions.
//!
//! A bucket is spread over a fixed number of partitions. Each owner walks its slices of the key order and answers with
//! what a page may show; the caller merges, and decodes what the page does show. Cost is O(page), whatever the bucket
//! holds: a delimiter seeks past each common prefix, and an owner stops after a budget of entries and says where to go on.

mod merge;
mod versions;

use std::rc::Rc;

use types::{Attribute, Attributes, AttributesView, BucketId, Etag, ObjectKey, Timestamp};

use crate::error::Result;
use crate::format::record;
use crate::ids::PartitionId;
use crate::index::scan::{self, Group, Item, Scan};
use crate::index::{Bytes, keys};
use crate::object::BAD_RECORD;
use crate::partition::{Partition, scan_each};
use crate::store::{ShardStore, Store};
use merge::Merge;
pub use versions::{ListVersions, ListedVersion, VersionPage, VersionSummary, VersionsAfter};

/// Entries that a page has room for from the start.
const ENTRIES_RESERVED_MAX: usize = 1000;

/// A partition is asked for so many times twice as much.
const DOUBLINGS_MAX: u32 = 16;

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
    /// What the summaries are to have of the objects' attributes.
    pub attributes: &'static [Attribute],
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
    /// Those that were asked for.
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
        let mut page = Page { entries: Vec::with_capacity(list.max.min(ENTRIES_RESERVED_MAX)), next: None };
        if list.max == 0 {
            return Ok(page);
        }
        let start = first_key(bucket, &list);
        let mut merge = Merge::new(keys::partitions_of(bucket, self.partition_count()), &start);
        let mut feeds = 0;
        loop {
            // A slice that spent its budget on tombstones may be empty and not at its end: then again.
            while merge.is_starved() {
                let want = share(&list, page.entries.len(), merge.cursors().len(), feeds);
                self.feed(bucket, &list, want, &mut merge).await?;
                feeds += 1;
            }
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
                Item::Entry { key, value } => Listed::Object(summary(object_key(&key)?, &value, list.attributes)?),
                Item::Prefix(prefix) => Listed::Prefix(object_key(&prefix)?.into()),
            });
        }
    }

    /// Fetches the next slice, of `want` entries, of every cursor that has run dry, all at once, with one message to each
    /// owner.
    async fn feed(&self, bucket: BucketId, list: &List, want: usize, merge: &mut Merge) -> Result<()> {
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
            let (here, partition) = (self.clone(), errands[0].partition);
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
        Ok(())
    }
}

/// Entries asked of each partition that has none at hand, for a page that has `have` and was fed `feeds` times.
fn share(list: &List, have: usize, partitions: usize, feeds: u32) -> usize {
    let (even, doublings) = match list.delimiter {
        // Common prefixes are in all partitions.
        Some(_) => (even_share(list.max, partitions), feeds),
        // The first to run dry do so near the end of a page, and need little. If that was wrong, ask for more each time: who
        // knows the hash can have all keys in one partition.
        None => (even_share(list.max - have, partitions), feeds.saturating_sub(1)),
    };
    even.saturating_mul(1 << doublings.min(DOUBLINGS_MAX)).min(list.max + 1)
}

/// The share of each partition, over which a hash spreads keys as dice would, and two deviations more. Of 16 partitions one
/// runs dry in every third page then; to read a third deviation from all of them in every page costs more.
fn even_share(max: usize, partitions: usize) -> usize {
    let even = max / partitions;
    even + 2 * (even + 1).isqrt() + 1
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

fn summary(key: ObjectKey, value: &[u8], wanted: &[Attribute]) -> Result<Summary> {
    let facts = record::peek(value).map_err(|_| BAD_RECORD)?;
    let attributes = AttributesView::parse(facts.attributes).ok_or(BAD_RECORD)?.select(wanted);
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
    fn partitions_are_asked_for_their_share_then_for_more_and_never_for_more_than_a_page() {
        let check = |delimiter: Option<&str>, have: usize, feeds: u32, expect: usize| {
            let list = List { max: 1000, delimiter: delimiter.map(Into::into), ..List::default() };
            assert_eq!(share(&list, have, 16, feeds), expect, "{delimiter:?}, {have} of a page, {feeds} times fed");
        };
        check(None, 0, 0, 77);
        check(None, 970, 1, 4);
        check(None, 1000, 1, 3);
        check(None, 970, 3, 16);
        check(None, 0, u32::MAX, 1001);
        check(Some("/"), 0, 0, 77);
        check(Some("/"), 900, 2, 308);
        check(Some("/"), 900, u32::MAX, 1001);
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
                ..List::default()
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

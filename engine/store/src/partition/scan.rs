//! Scans: a page of durable entries in key order, of one partition or of several side by side.

use std::convert::Infallible;
use std::iter::Peekable;
use std::sync::Arc;
use std::vec::IntoIter;

use rt::sync::join_all;

use super::{INDEX_SILENT, Partition, Stuck, memtable, on_helper};
use crate::error::Result;
use crate::index::scan::{Cursor, Item, Page, Scan, Upper, merge};
use crate::index::{Bytes, Index, TreeError};

/// Entries of the tree that one visit of a helper looks at for a scan.
const VISIT_ENTRIES_MAX: usize = 20_000;
/// Partitions that one visit of a helper reads, one after the other. To wake a helper takes about as long as to read 50
/// entries; but blocks that are not cached are waited for, and then two helpers are faster than one.
const VISIT_PARTITIONS_MAX: usize = 8;
/// Visits of one scan: it ends early after them, with or without an item, and says where to go on.
const VISITS_MAX: usize = 16;
/// Entries of the memtables beyond the limit of a page that are laid over the tree at a time: few at first, since most
/// pages have no tombstones to pass over, and four times as many at each further visit.
const UPPER_EXTRA_MIN: usize = 16;
const UPPER_EXTRA_MAX: usize = 1024;
/// Entries of memtables after which other tasks of the shard have their turn.
const YIELD_ENTRIES: usize = 512;

impl Partition {
    /// One page of durable entries in key order. A page ends at the limit, at the end of the range, or when it has looked
    /// at as much as one scan may: then `next` says where to go on, and the page may even be empty. To tell a full page
    /// from one with more behind it, ask for one item more.
    ///
    /// Cost: one visit to a helper when the tree has tables, more only when memtables hold many tombstones.
    pub(crate) async fn scan(&self, scan: &Scan) -> Result<Page> {
        let mut walks = [Walk::new(self, scan.clone())];
        run(&mut walks).await?;
        let [walk] = walks;
        Ok(walk.page)
    }

    /// The memtables as they are now over a page of the tree. Also gives how many entries of them it looked at.
    fn lay_over(&self, scan: &Scan, below: Page) -> (Page, usize) {
        debug_assert!(scan.group.is_none());
        // What the tree has beyond its page is not known yet.
        let Page { items, next } = below;
        let scan = Scan { to: next.clone().unwrap_or_else(|| scan.to.clone()), ..scan.clone() };
        let upper = self.upper(&scan, UPPER_EXTRA_MIN);
        if upper.entries.is_empty() {
            return (Page { items, next }, 0);
        }
        let len = upper.entries.len();
        let mut below = Found { items: items.into_iter().peekable(), to: Vec::new() };
        let Ok(mut page) = merge(&scan, upper, &mut below, usize::MAX);
        page.next = page.next.or(next);
        (page, len)
    }

    /// What the memtables hold of the scan.
    fn upper(&self, scan: &Scan, extra: usize) -> Upper {
        let state = self.state.borrow();
        let layers: Vec<_> = state.layers().collect();
        memtable::collect(&layers, scan, scan.limit.saturating_add(extra))
    }
}

/// One page of each of these partitions, as `Partition::scan` gives it, in the order asked.
///
/// Cost: one visit to a helper for every few partitions whose trees have tables.
pub(crate) async fn scan_each(scans: impl Iterator<Item = (&Partition, Scan)>) -> Result<Vec<Page>> {
    let mut walks: Vec<_> = scans.map(|(partition, scan)| Walk::new(partition, scan)).collect();
    run(&mut walks).await?;
    Ok(walks.into_iter().map(|walk| walk.page).collect())
}

/// A scan on its way through one partition.
struct Walk<'a> {
    partition: &'a Partition,
    /// What is still wanted.
    scan: Scan,
    page: Page,
    done: bool,
}

impl<'a> Walk<'a> {
    fn new(partition: &'a Partition, scan: Scan) -> Walk<'a> {
        let done = scan.limit == 0 || scan.from >= scan.to;
        Walk { partition, scan, page: Page::default(), done }
    }

    fn add(&mut self, visit: Page) {
        self.scan.limit -= visit.items.len();
        if self.page.items.is_empty() {
            self.page.items = visit.items;
        } else {
            self.page.items.extend(visit.items);
        }
        self.page.next = visit.next;
        match &self.page.next {
            Some(next) if self.scan.limit > 0 => self.scan.from.clone_from(next),
            _ => self.done = true,
        }
    }
}

/// What a helper does for one walk.
struct Errand<'a> {
    walk: usize,
    partition: &'a Partition,
    index: Arc<Index>,
    scan: Scan,
    laid: Laid,
}

/// When memtables are laid over the tree.
enum Laid {
    /// Afterwards, by the shard, over what was found: most pages of a large tree have little or nothing in memtables, and
    /// then nothing of them is copied. It holds only if no memtable was let go meanwhile: the number of those that were.
    Afterwards { released: u64 },
    /// By the helper, as copied before. Of a group that the tree has a tombstone above may be all there is of it, so
    /// groups are told with both at hand; and a page that tombstones made short looks further ahead in memtables.
    Before(Upper),
}

async fn run(walks: &mut [Walk<'_>]) -> Result<()> {
    let mut extra = 0;
    for visit in 0..VISITS_MAX {
        let mut errands = Vec::new();
        let mut turn = Turn::default();
        for (at, walk) in walks.iter_mut().enumerate().filter(|(_, walk)| !walk.done) {
            let Walk { partition, scan, .. } = walk;
            let index = partition.index();
            if index.is_empty() {
                let upper = partition.upper(scan, extra);
                let len = upper.entries.len();
                let Ok(page) = merge(scan, upper, &mut Nothing, usize::MAX);
                walk.add(page);
                turn.took(len).await;
                continue;
            }
            let laid = if visit == 0 && scan.group.is_none() {
                Laid::Afterwards { released: partition.released.get() }
            } else {
                Laid::Before(partition.upper(scan, extra.max(UPPER_EXTRA_MIN)))
            };
            let len = laid.len();
            errands.push(Errand { walk: at, partition, index, scan: scan.clone(), laid });
            turn.took(len).await;
        }
        let mut visits = Vec::new();
        while !errands.is_empty() {
            let rest = errands.split_off(errands.len().min(VISIT_PARTITIONS_MAX));
            let some = std::mem::replace(&mut errands, rest);
            visits.push(read(some));
        }
        for visit in join_all(visits).await {
            let pages = match visit {
                Ok(pages) => pages,
                // They are asked for again.
                Err(Stuck::GivenUp) => continue,
                Err(Stuck::Silent) => return Err(INDEX_SILENT),
            };
            for (walk, laid, page) in pages {
                let walk = &mut walks[walk];
                let page = page.map_err(|error| walk.partition.unreadable(&error))?;
                match laid {
                    Laid::Before(_) => walk.add(page),
                    Laid::Afterwards { released } if walk.partition.released.get() == released => {
                        let (page, len) = walk.partition.lay_over(&walk.scan, page);
                        walk.add(page);
                        turn.took(len).await;
                    }
                    // What the memtable held may be on neither side: once more.
                    Laid::Afterwards { .. } => {}
                }
            }
        }
        if walks.iter().all(|walk| walk.done) {
            break;
        }
        extra = (extra * 4).clamp(UPPER_EXTRA_MIN, UPPER_EXTRA_MAX);
    }
    Ok(())
}

impl Laid {
    fn len(&self) -> usize {
        match self {
            Laid::Afterwards { .. } => 0,
            Laid::Before(upper) => upper.entries.len(),
        }
    }
}

/// What an errand came to, with the walk that it is for.
type Done = (usize, Laid, std::result::Result<Page, TreeError>);

/// Does some errands on one helper.
async fn read(errands: Vec<Errand<'_>>) -> std::result::Result<Vec<Done>, Stuck> {
    let indexes: Vec<_> = errands.iter().map(|errand| (errand.partition, errand.index.clone())).collect();
    let indexes: Vec<_> = indexes.iter().map(|(partition, index)| (*partition, index)).collect();
    let jobs: Vec<_> =
        errands.into_iter().map(|errand| (errand.walk, errand.index, errand.scan, errand.laid)).collect();
    let read = |(walk, index, scan, laid): (usize, Arc<Index>, Scan, Laid)| {
        let nothing = Upper::default();
        let upper = match &laid {
            Laid::Afterwards { .. } => &nothing,
            Laid::Before(upper) => upper,
        };
        let page = index.scan(&scan, upper, VISIT_ENTRIES_MAX);
        (walk, laid, page)
    };
    on_helper(&indexes, move || jobs.into_iter().map(read).collect()).await
}

/// Lets other tasks have their turn after every few entries of memtables.
#[derive(Default)]
struct Turn {
    entries: usize,
}

impl Turn {
    async fn took(&mut self, entries: usize) {
        self.entries += entries;
        if self.entries >= YIELD_ENTRIES {
            self.entries = 0;
            rt::yield_now().await;
        }
    }
}

/// A tree without entries.
struct Nothing;

impl Cursor for Nothing {
    type Error = Infallible;

    fn seek(&mut self, _: &[u8], _: &[u8]) -> std::result::Result<(), Infallible> {
        Ok(())
    }

    fn next(&mut self) -> std::result::Result<Option<(Bytes, Bytes)>, Infallible> {
        Ok(None)
    }
}

/// What was found in a tree, without groups.
struct Found {
    items: Peekable<IntoIter<Item>>,
    to: Vec<u8>,
}

impl Found {
    fn next_if(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Option<(Bytes, Bytes)> {
        let is_wanted = |item: &Item| matches!(item, Item::Entry { key, .. } if wanted(key));
        match self.items.next_if(is_wanted)? {
            Item::Entry { key, value } => Some((key, value)),
            Item::Prefix(_) => unreachable!("no groups were asked for"),
        }
    }
}

impl Cursor for Found {
    type Error = Infallible;

    fn seek(&mut self, from: &[u8], to: &[u8]) -> std::result::Result<(), Infallible> {
        to.clone_into(&mut self.to);
        while self.next_if(|key| key < from).is_some() {}
        Ok(())
    }

    fn next(&mut self) -> std::result::Result<Option<(Bytes, Bytes)>, Infallible> {
        let to = std::mem::take(&mut self.to);
        let next = self.next_if(|key| *key < *to);
        self.to = to;
        Ok(next)
    }
}

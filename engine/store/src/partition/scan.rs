//! Scans: a page of durable entries in key order, of one partition or of several side by side.

use std::convert::Infallible;
use std::sync::Arc;

use super::{Partition, memtable};
use crate::error::Result;
use crate::index::scan::{Cursor, Page, Scan, Upper, merge};
use crate::index::{Bytes, Index};

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
struct Errand {
    walk: usize,
    index: Arc<Index>,
    scan: Scan,
    upper: Upper,
}

async fn run(walks: &mut [Walk<'_>]) -> Result<()> {
    let mut extra = 0;
    for _ in 0..VISITS_MAX {
        let mut errands = Vec::new();
        let mut seen = 0;
        for (at, walk) in walks.iter_mut().enumerate().filter(|(_, walk)| !walk.done) {
            if walk.partition.index.is_empty() {
                let upper = walk.partition.upper(&walk.scan, extra);
                seen += upper.entries.len();
                let Ok(page) = merge(&walk.scan, upper, &mut Nothing, usize::MAX);
                walk.add(page);
            } else {
                let upper = walk.partition.upper(&walk.scan, extra.max(UPPER_EXTRA_MIN));
                seen += upper.entries.len();
                errands.push(Errand { walk: at, index: walk.partition.index.clone(), scan: walk.scan.clone(), upper });
            }
            if seen >= YIELD_ENTRIES {
                seen = 0;
                rt::yield_now().await;
            }
        }
        let mut visits = Vec::new();
        while !errands.is_empty() {
            let rest = errands.split_off(errands.len().min(VISIT_PARTITIONS_MAX));
            let some = std::mem::replace(&mut errands, rest);
            let read = |errand: Errand| {
                let Errand { walk, index, scan, upper } = errand;
                (walk, index.scan(&scan, &upper, VISIT_ENTRIES_MAX))
            };
            visits.push(rt::spawn(rt::offload(move || some.into_iter().map(read).collect::<Vec<_>>())));
        }
        for visit in visits {
            for (at, page) in visit.await {
                let walk = &mut walks[at];
                walk.add(page.map_err(|error| walk.partition.unreadable(&error))?);
            }
        }
        if walks.iter().all(|walk| walk.done) {
            break;
        }
        extra = (extra * 4).clamp(UPPER_EXTRA_MIN, UPPER_EXTRA_MAX);
    }
    Ok(())
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

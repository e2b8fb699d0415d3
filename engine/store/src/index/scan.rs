//! One page of a scan: what the memtables hold, laid over what the tree holds, with keys that share a prefix up to a
//! delimiter rolled into one.

use std::iter::Peekable;

use super::keys;
use super::tree::Bytes;

/// Keys of a group that are stepped over one by one before the cursor seeks to the group's end: a seek (16 us) costs about
/// as much as this many steps (0.2 us each).
const STEPS_BEFORE_SEEK: usize = 64;

/// Items that a page has room for from the start.
const ITEMS_RESERVED_MAX: usize = 128;

/// What to list.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    pub(crate) from: Vec<u8>,
    /// First key that is not wanted.
    pub(crate) to: Vec<u8>,
    /// Items wanted at most.
    pub(crate) limit: usize,
    pub(crate) group: Option<Group>,
}

/// Keys that have `delimiter` at or behind byte `at` are rolled into one item: the key up to and including the first one.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) at: usize,
    pub(crate) delimiter: Vec<u8>,
    /// The key is an escaped one: the search ends at the 0x00 that ends it. The delimiter must be escaped too.
    pub(crate) escaped: bool,
}

impl Group {
    /// The part of `key` that it shares with its group, if it is in one.
    pub(crate) fn prefix_of<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let rest = key.get(self.at..)?;
        if self.escaped {
            let found = find_escaped(rest, &self.delimiter)?;
            return Some(&key[..self.at + found + self.delimiter.len()]);
        }
        let found = match self.delimiter[..] {
            [] => None,
            [byte] => rest.iter().position(|&other| other == byte),
            _ => rest.windows(self.delimiter.len()).position(|window| window == self.delimiter),
        }?;
        Some(&key[..self.at + found + self.delimiter.len()])
    }
}

/// Where a delimiter begins in an escaped key, before its end. Both are escaped; it does not begin within an escaped byte.
fn find_escaped(key: &[u8], delimiter: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < key.len() && key[at] != 0 {
        if key[at..].starts_with(delimiter) {
            return Some(at);
        }
        at += if key[at] == 1 { 2 } else { 1 };
    }
    None
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Entry {
        key: Bytes,
        value: Bytes,
    },
    /// All keys that start so.
    Prefix(Bytes),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) items: Vec<Item>,
    /// Where to go on; `None` when there is nothing more. The page may have ended for its limit or for its cost.
    pub(crate) next: Option<Vec<u8>>,
}

/// Ordered entries below.
pub(crate) trait Cursor {
    type Error;
    /// Goes to the first key at or after `from`; ends before `to`.
    fn seek(&mut self, from: &[u8], to: &[u8]) -> Result<(), Self::Error>;
    fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, Self::Error>;
}

/// A key of a memtable and its value; `None` is a tombstone.
pub(crate) type UpperEntry = (Bytes, Option<Bytes>);

/// What the memtables hold in the range, newest of each key, ascending. Of a group nothing needs to
/// be there behind its first live entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upper {
    pub(crate) entries: Vec<UpperEntry>,
    /// Entries at or behind this key are not in `entries`.
    pub(crate) horizon: Option<Vec<u8>>,
}

/// Merges one page. Looks at no more than `budget` entries.
pub(crate) fn merge<C: Cursor>(scan: &Scan, upper: Upper, lower: &mut C, budget: usize) -> Result<Page, C::Error> {
    let Upper { entries, horizon } = upper;
    merge_entries(scan, entries.into_iter(), horizon.as_deref(), lower, budget)
}

/// As `merge`, for a caller that may have to merge again. What the page does not need is not copied.
pub(crate) fn merge_ref<C: Cursor>(scan: &Scan, upper: &Upper, lower: &mut C, budget: usize) -> Result<Page, C::Error> {
    merge_entries(scan, upper.entries.iter().cloned(), upper.horizon.as_deref(), lower, budget)
}

fn merge_entries<C: Cursor>(
    scan: &Scan,
    entries: impl Iterator<Item = UpperEntry>,
    horizon: Option<&[u8]>,
    lower: &mut C,
    budget: usize,
) -> Result<Page, C::Error> {
    let end = horizon.unwrap_or(&scan.to);
    let mut page = Page { items: Vec::with_capacity(scan.limit.min(ITEMS_RESERVED_MAX)), next: None };
    let mut above = entries.peekable();
    lower.seek(&scan.from, end)?;
    let mut below = lower.next()?;
    // Of the last item: the horizon may lie within a group that is done.
    let mut behind = Vec::new();
    for _ in 0..budget {
        let Some((key, value)) = take_smaller(&mut above, &mut below, lower)? else {
            page.next = beyond(horizon, behind, &scan.to);
            return Ok(page);
        };
        let Some(value) = value else { continue };
        let prefix = scan.group.as_ref().and_then(|group| group.prefix_of(&key));
        match prefix {
            Some(prefix) => {
                let prefix = Bytes::new(prefix);
                behind = keys::after_prefix(&prefix).expect("keys begin with a tag below 0xff");
                while above.next_if(|(key, _)| **key < *behind).is_some() {}
                below = skip_to(below, &behind, end, lower)?;
                page.items.push(Item::Prefix(prefix));
                if page.items.len() >= scan.limit {
                    page.next = Some(behind);
                    return Ok(page);
                }
            }
            None => {
                if page.items.len() + 1 >= scan.limit {
                    page.next = Some(keys::successor(&key));
                    page.items.push(Item::Entry { key, value });
                    return Ok(page);
                }
                page.items.push(Item::Entry { key, value });
            }
        }
    }
    page.next = match (above.peek(), &below) {
        (Some((a, _)), Some((b, _))) => Some(a.min(b).to_vec()),
        (Some((key, _)), None) => Some(key.to_vec()),
        (None, Some((key, _))) => Some(key.to_vec()),
        (None, None) => beyond(horizon, behind, &scan.to),
    };
    Ok(page)
}

/// Where to go on when both sides have ended.
fn beyond(horizon: Option<&[u8]>, behind: Vec<u8>, to: &[u8]) -> Option<Vec<u8>> {
    Some(behind.max(horizon?.to_vec())).filter(|next| **next < *to)
}

/// The next key of both, with the upper value where both have one.
fn take_smaller<C: Cursor>(
    above: &mut Peekable<impl Iterator<Item = UpperEntry>>,
    below: &mut Option<(Bytes, Bytes)>,
    lower: &mut C,
) -> Result<Option<(Bytes, Option<Bytes>)>, C::Error> {
    let from_above = match (above.peek(), &*below) {
        (None, None) => return Ok(None),
        (Some(_), None) => true,
        (None, Some(_)) => false,
        (Some((a, _)), Some((b, _))) => {
            if a == b {
                *below = lower.next()?;
                return Ok(above.next());
            }
            a < b
        }
    };
    if from_above {
        return Ok(above.next());
    }
    let taken = std::mem::replace(below, lower.next()?);
    Ok(taken.map(|(key, value)| (key, Some(value))))
}

fn skip_to<C: Cursor>(
    mut below: Option<(Bytes, Bytes)>,
    behind: &[u8],
    end: &[u8],
    lower: &mut C,
) -> Result<Option<(Bytes, Bytes)>, C::Error> {
    for _ in 0..STEPS_BEFORE_SEEK {
        match &below {
            Some((key, _)) if **key < *behind => below = lower.next()?,
            _ => return Ok(below),
        }
    }
    lower.seek(behind, end)?;
    lower.next()
}

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::*;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

struct MapCursor<'a> {
    map: &'a Map,
    iter: Box<dyn Iterator<Item = (Bytes, Bytes)> + 'a>,
    seeks: usize,
}

impl<'a> MapCursor<'a> {
    fn new(map: &'a Map) -> MapCursor<'a> {
        MapCursor { map, iter: Box::new(std::iter::empty()), seeks: 0 }
    }
}

impl Cursor for MapCursor<'_> {
    type Error = Infallible;

    fn seek(&mut self, from: &[u8], to: &[u8]) -> Result<(), Infallible> {
        self.seeks += 1;
        let range = if from < to { from.to_vec()..to.to_vec() } else { vec![]..vec![] };
        self.iter = Box::new(self.map.range(range).map(|(key, value)| (Bytes::new(key), Bytes::new(value))));
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, Infallible> {
        Ok(self.iter.next())
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn key(&mut self) -> Vec<u8> {
        let mut key = vec![b'c'];
        key.extend((0..self.below(5)).map(|_| b"ab/"[self.below(3) as usize]));
        key
    }
}

fn items(map: &Map, group: Option<&Group>, from: &[u8], to: &[u8]) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for (key, value) in map.range(from.to_vec()..to.to_vec()) {
        let item = match group.and_then(|group| group.prefix_of(key)) {
            Some(prefix) => Item::Prefix(Bytes::new(prefix)),
            None => Item::Entry { key: Bytes::new(key), value: Bytes::new(value) },
        };
        if items.last() != Some(&item) {
            items.push(item);
        }
    }
    items
}

#[test]
fn pages_together_are_the_merged_whole_with_any_limit_budget_and_horizon() {
    let mut random = Random(11);
    for round in 0..400 {
        let mut lower = Map::new();
        let mut upper: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        for number in 0..random.below(60) {
            lower.insert(random.key(), vec![number as u8]);
        }
        for number in 0..random.below(40) {
            let value = (random.below(2) == 0).then(|| vec![100 + number as u8]);
            upper.insert(random.key(), value);
        }
        let mut whole = lower.clone();
        for (key, value) in &upper {
            match value {
                Some(value) => whole.insert(key.clone(), value.clone()),
                None => whole.remove(key),
            };
        }
        let group = (random.below(2) == 0).then(|| Group {
            at: 1 + random.below(2) as usize,
            delimiter: b"/"[..].into(),
            escaped: false,
        });
        let (from, to) = (random.key(), vec![b'd']);
        let limit = 1 + random.below(5) as usize;
        let mut scan = Scan { from: from.clone(), to: to.clone(), limit, group: group.clone() };
        let mut found = Vec::new();
        loop {
            let mut entries: Vec<_> = upper
                .range(scan.from.clone()..to.clone())
                .map(|(key, value)| (Bytes::new(key), value.as_deref().map(Bytes::new)))
                .collect();
            let taken = 1 + random.below(6) as usize;
            let horizon = entries.get(taken).map(|(key, _)| key.to_vec());
            entries.truncate(taken);
            let budget = 1 + random.below(8) as usize;
            let page = merge(&scan, Upper { entries, horizon }, &mut MapCursor::new(&lower), budget);
            let Ok(page) = page;
            assert!(page.items.len() <= limit);
            found.extend(page.items);
            let Some(next) = page.next else { break };
            assert!(next > scan.from, "a page makes progress");
            scan.from = next;
        }
        assert_eq!(found, items(&whole, group.as_ref(), &from, &to), "round {round}");
    }
}

#[test]
fn a_large_group_is_passed_by_one_seek() {
    let lower: Map = (0..10_000).map(|number| (format!("ca/{number:05}").into_bytes(), vec![1])).collect();
    let group = Some(Group { at: 1, delimiter: b"/".to_vec(), escaped: false });
    let scan = Scan { from: b"c".to_vec(), to: b"d".to_vec(), limit: 10, group };
    let mut cursor = MapCursor::new(&lower);
    let Ok(page) = merge(&scan, Upper::default(), &mut cursor, 100);
    assert_eq!(page, Page { items: vec![Item::Prefix(Bytes::new(b"ca/"))], next: None });
    assert_eq!(cursor.seeks, 2);
}

#[test]
fn a_delimiter_is_looked_for_between_the_prefix_and_the_end_of_the_key() {
    let check = |at, delimiter: &[u8], escaped, key: &[u8], expect: Option<&[u8]>| {
        let group = Group { at, delimiter: delimiter.to_vec(), escaped };
        assert_eq!(group.prefix_of(key), expect);
    };
    check(1, b"/", false, b"ca/b/c", Some(b"ca/"));
    check(3, b"/", false, b"ca/b/c", Some(b"ca/b/"));
    check(1, b"--", false, b"ca-b--c--", Some(b"ca-b--"));
    check(1, b"x", false, b"ca/b", None);
    check(9, b"/", false, b"ca/b", None);
    check(1, b"", false, b"ca/b", None);
    check(1, b"/", true, b"va\0//////", None);
    check(1, b"/", true, b"va/\0//////", Some(b"va/"));
}

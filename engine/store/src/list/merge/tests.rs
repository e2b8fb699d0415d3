use std::collections::BTreeSet;

use super::*;
use crate::index::Bytes;

struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    /// Short names of few different bytes, so that many begin alike, with the extremes: they look like padding, or like
    /// no name.
    fn name(&mut self) -> Vec<u8> {
        let mut name = b"c-bucket-".to_vec();
        let alike = self.below(12);
        name.extend((0..alike).map(|_| b'a'));
        name.extend((0..self.below(12)).map(|_| [0, b'a', b'b', 0xff][self.below(4) as usize]));
        name
    }
}

fn item(name: &[u8]) -> Item {
    Item::Entry { key: Bytes::new(name), value: Bytes::new(b"") }
}

#[test]
fn slices_of_any_sizes_come_out_as_the_sorted_whole() {
    let mut random = Random(23);
    for round in 0..500 {
        let count = 1 + random.below(16) as usize;
        let mut rest: Vec<BTreeSet<Vec<u8>>> = vec![BTreeSet::new(); count];
        let mut expect = Vec::new();
        for _ in 0..random.below(200) {
            let (name, cursor) = (random.name(), random.below(count as u64) as usize);
            if rest[cursor].insert(name.clone()) {
                expect.push(name);
            }
        }
        // A name in several cursors comes once from each.
        expect.sort();
        let mut merge = Merge::new((0..count as u16).map(PartitionId), b"start");
        assert_eq!(merge.cursors().len(), count);
        let mut found = Vec::new();
        loop {
            while merge.is_starved() {
                let starved: Vec<_> = merge.starved().collect();
                let mut slices = Vec::new();
                for (at, partition, from) in starved {
                    assert_eq!(partition, PartitionId(at as u16));
                    assert!(found.is_empty() || from == b"on", "it goes on from where the slice said");
                    let len = random.below(5) as usize;
                    let items: Vec<_> = rest[at].iter().take(len).map(|name| item(name)).collect();
                    items.iter().for_each(|item| assert!(rest[at].remove(name(item))));
                    let next = (!rest[at].is_empty()).then(|| b"on".to_vec());
                    slices.push((at, Page { items, next }));
                }
                merge.feed(slices);
            }
            let Some(smallest) = merge.smallest() else { break };
            let name = merge.name(smallest).to_vec();
            assert_eq!(merge.take(smallest), item(&name));
            found.push(name);
        }
        assert_eq!(found, expect, "round {round}");
    }
}

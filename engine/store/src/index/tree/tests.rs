use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::index::scan::{self, Cursor, Item, Scan, Upper};

fn caches() -> Arc<Caches> {
    Caches::new(1 << 20, 64)
}

fn flush(tree: &Tree, entries: &[(&str, Option<&str>)], ckpt: &str) {
    let entries: BTreeMap<Bytes, Option<Bytes>> =
        entries.iter().map(|(key, value)| (Bytes::from(*key), value.map(Bytes::from))).collect();
    let entries = entries.iter().map(|(key, value)| (key, value.as_ref()));
    tree.flush(entries, ckpt.as_bytes()).expect("flushes");
}

fn get(tree: &Tree, key: &str) -> Option<String> {
    tree.get(key.as_bytes()).expect("reads").map(|value| String::from_utf8(value.to_vec()).expect("text"))
}

fn keys_in(tree: &Tree, from: &str, to: &str) -> Vec<String> {
    let scan = Scan { from: from.into(), to: to.into(), limit: usize::MAX, group: None };
    let page = tree.scan(|cursor| scan::merge(&scan, Upper::default(), cursor, usize::MAX)).expect("scans");
    let key = |item: &Item| match item {
        Item::Entry { key, .. } => String::from_utf8(key.to_vec()).expect("text"),
        Item::Prefix(_) => panic!("no group was asked for"),
    };
    page.items.iter().map(key).collect()
}

#[test]
fn what_was_flushed_is_there_after_opening_again() {
    let dir = tempfile::tempdir().expect("directory");
    let caches = caches();
    let tree = Tree::open(dir.path(), &caches).expect("opens");
    flush(&tree, &[("ca", Some("1")), ("cb", Some("2"))], "first");
    flush(&tree, &[("ca", Some("3")), ("cb", None), ("cc", Some("4"))], "second");
    let check = |tree: &Tree| {
        assert_eq!(get(tree, "ca").as_deref(), Some("3"));
        assert_eq!(get(tree, "cb"), None);
        assert_eq!(get(tree, "__ckpt").as_deref(), Some("second"));
        assert_eq!(keys_in(tree, "b", "d"), ["ca", "cc"]);
    };
    check(&tree);
    drop(tree);
    let tree = Tree::open(dir.path(), &caches).expect("opens");
    check(&tree);
    flush(&tree, &[("ca", Some("5"))], "third");
    assert_eq!(get(&tree, "ca").as_deref(), Some("5"), "a later start writes over what earlier ones wrote");
}

#[test]
fn a_flush_without_entries_writes_the_checkpoint() {
    let dir = tempfile::tempdir().expect("directory");
    let tree = Tree::open(dir.path(), &caches()).expect("opens");
    flush(&tree, &[], "only");
    assert_eq!(get(&tree, "__ckpt").as_deref(), Some("only"));
    assert_eq!(tree.stats().entries, 1);
}

#[test]
fn merging_keeps_what_is_there_and_bounds_level_0() {
    let dir = tempfile::tempdir().expect("directory");
    let caches = caches();
    let tree = Tree::open(dir.path(), &caches).expect("opens");
    let mut model = BTreeMap::new();
    for round in 0..20_u32 {
        let keys: Vec<String> = (0..50_u32).map(|number| format!("c{:03}", (number * 7 + round * 13) % 200)).collect();
        let entries: Vec<_> =
            keys.iter().enumerate().map(|(at, key)| (key.as_str(), (at % 3 != 0).then_some(key.as_str()))).collect();
        for (key, value) in &entries {
            model.insert(key.to_string(), value.map(str::to_owned));
        }
        flush(&tree, &entries, &round.to_string());
        tree.compact().expect("merges");
        assert!(tree.stats().l0_runs <= usize::from(L0_RUNS_MAX), "round {round}: {:?}", tree.stats());
    }
    let live: Vec<_> = model.iter().filter(|(_, value)| value.is_some()).map(|(key, _)| key.clone()).collect();
    assert_eq!(keys_in(&tree, "b", "d"), live);
    drop(tree);
    let tree = Tree::open(dir.path(), &caches).expect("opens");
    assert_eq!(keys_in(&tree, "b", "d"), live);
    assert_eq!(get(&tree, "__ckpt").as_deref(), Some("19"));
}

/// A tree of several runs, and of runs of several tables, against a map: any part of it, whole or in steps.
#[test]
fn a_cursor_over_many_runs_sees_the_newest_of_each_key() {
    let dir = tempfile::tempdir().expect("directory");
    let tree = Tree::open(dir.path(), &caches()).expect("opens");
    let mut model = BTreeMap::new();
    let mut random = 11_u64;
    let mut below = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    // Long and hard to compress, so that there are several blocks, and several tables.
    let value = |round: u32, number: u32, below: &mut dyn FnMut(u64) -> u64| {
        (0..40).fold(format!("{round}-{number}"), |text, _| format!("{text}-{:x}", below(1 << 31)))
    };
    for round in 0..12 {
        let entries: BTreeMap<String, Option<String>> = (0..200)
            .map(|number| (format!("c{:04}", below(600)), (below(3) != 0).then(|| value(round, number, &mut below))))
            .collect();
        model.extend(entries.clone());
        let entries: Vec<_> = entries.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        flush(&tree, &entries, &round.to_string());
        if round == 5 {
            tree.tree.major_compact(1 << 10, NO_SNAPSHOTS).expect("merges into many tables");
            assert!(tree.stats().tables > 2, "{:?}", tree.stats());
        }
        for _ in 0..20 {
            let (from, to) = (format!("c{:04}", below(700)), format!("c{:04}", below(700)));
            let live: Vec<_> = model
                .iter()
                .filter(|(key, value)| (&from..&to).contains(key) && value.is_some())
                .map(|(key, value)| (key.clone(), value.clone().expect("live")))
                .collect();
            let found = tree.scan(|cursor| {
                cursor.seek(from.as_bytes(), to.as_bytes())?;
                let mut found = Vec::new();
                while let Some((key, value)) = cursor.next()? {
                    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("text");
                    found.push((text(key), text(value)));
                }
                Ok(found)
            });
            assert_eq!(found.expect("reads"), live, "round {round}, {from} to {to}");
        }
    }
    assert!(tree.stats().l0_runs > 2, "{:?}", tree.stats());
}

#[test]
fn many_tombstones_cause_a_merge_that_removes_them() {
    let dir = tempfile::tempdir().expect("directory");
    let tree = Tree::open(dir.path(), &caches()).expect("opens");
    let keys: Vec<String> = (0..2 * TOMBSTONES_MIN).map(|number| format!("c{number:08}")).collect();
    flush(&tree, &keys.iter().map(|key| (key.as_str(), Some("v"))).collect::<Vec<_>>(), "1");
    tree.compact().expect("merges");
    let gone: Vec<_> = keys.iter().step_by(2).map(|key| (key.as_str(), None)).collect();
    flush(&tree, &gone, "2");
    assert_eq!(tree.stats().tombstones, TOMBSTONES_MIN);
    tree.compact().expect("merges");
    assert_eq!(tree.stats().tombstones, 0);
    assert_eq!(keys_in(&tree, "b", "d").len() as u64, TOMBSTONES_MIN);
}

#[test]
fn a_damaged_table_is_an_error_not_a_wrong_value() {
    let dir = tempfile::tempdir().expect("directory");
    let tree = Tree::open(dir.path(), &caches()).expect("opens");
    let keys: Vec<String> = (0..2000).map(|number| format!("c{number:08}")).collect();
    flush(&tree, &keys.iter().map(|key| (key.as_str(), Some(key.as_str()))).collect::<Vec<_>>(), "1");
    let table = tree.table_files().expect("lists")[0];
    drop(tree);
    let path = dir.path().join("tables").join(table.id.to_string());
    let mut bytes = fs::read(&path).expect("reads");
    // The first data blocks begin the file.
    bytes[1000..1100].fill(0xee);
    fs::write(&path, bytes).expect("writes");
    let damaged = Tree::open(dir.path(), &caches()).and_then(|tree| {
        keys.iter().try_for_each(|key| {
            let value = tree.get(key.as_bytes())?;
            assert_eq!(value.as_deref(), Some(key.as_bytes()));
            Ok(())
        })
    });
    assert!(damaged.is_err());
}

#[test]
fn a_panic_becomes_an_error() {
    let outcome: Result<(), _> = contain(|| panic!("on purpose"));
    assert!(matches!(outcome, Err(TreeError::Panicked)));
}

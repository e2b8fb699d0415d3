use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::ids::{SlotOffset, VolumeId};

type Model = BTreeMap<Bytes, Option<Bytes>>;

/// Drives that a rig has.
const COPIES_MAX: usize = 6;

struct Rig {
    root: tempfile::TempDir,
    caches: Arc<Caches>,
}

impl Rig {
    fn new() -> Rig {
        let rig = Rig { root: tempfile::tempdir().expect("directory"), caches: Caches::new(1 << 20, 64) };
        for copy in 0..COPIES_MAX {
            let drive = rig.dir(copy);
            fs::create_dir_all(drive.parent().expect("below its drive")).expect("the drive is formed");
        }
        rig
    }

    fn dir(&self, copy: usize) -> PathBuf {
        self.root.path().join(format!("d{copy}")).join("index").join("7")
    }

    fn open(&self, copies: &[usize]) -> (Index, Ckpt) {
        let (index, ckpt, failed) = self.try_open(copies, Absent::Create).expect("opens");
        assert!(failed.is_empty(), "{failed:?}");
        (index, ckpt)
    }

    fn try_open(&self, copies: &[usize], absent: Absent) -> Result<(Index, Ckpt, Vec<FailedCopy>), OpenError> {
        Index::open(copies.iter().map(|copy| self.dir(*copy)).collect(), absent, self.caches.clone())
    }
}

fn ckpt(lsn: u64) -> Ckpt {
    let position = Position { volume: VolumeId(lsn), offset: SlotOffset(1), sequence: lsn };
    Ckpt { lsn: Lsn(lsn), position: Some(position) }
}

fn entries(pairs: &[(&str, &str)]) -> Model {
    pairs.iter().map(|(key, value)| (Bytes::from(*key), (!value.is_empty()).then(|| Bytes::from(*value)))).collect()
}

fn try_flush(index: &Index, pairs: &[(&str, &str)], lsn: u64) -> Result<Vec<FailedCopy>, TreeError> {
    let model = entries(pairs);
    index.flush(model.iter().map(|(key, value)| (key, value.as_ref())), ckpt(lsn))
}

fn flush(index: &Index, pairs: &[(&str, &str)], lsn: u64) {
    let failed = try_flush(index, pairs, lsn).expect("flushes");
    assert!(failed.is_empty(), "{failed:?}");
    index.compact().expect("merges");
}

fn get(index: &Index, key: &str) -> String {
    let value = index.get(key.as_bytes()).expect("reads");
    value.map(|value| String::from_utf8(value.to_vec()).expect("text")).unwrap_or_default()
}

#[test]
fn a_checkpoint_has_golden_bytes_and_reads_back() {
    let position = Position { volume: VolumeId(2), offset: SlotOffset(3), sequence: 4 };
    let with = Ckpt { lsn: Lsn(1), position: Some(position) };
    let expect = b"\x01\x01\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x04\0\0\0\0\0\0\0";
    assert_eq!(encode_ckpt(with), expect);
    let without = Ckpt { lsn: Lsn(1), position: None };
    assert_eq!(encode_ckpt(without), b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0");
    for ckpt in [with, without] {
        let bytes = encode_ckpt(ckpt);
        assert_eq!(decode_ckpt(&bytes), Ok(ckpt));
        assert!((0..bytes.len()).all(|len| decode_ckpt(&bytes[..len]).is_err()));
    }
}

#[test]
fn every_copy_alone_holds_what_was_flushed() {
    let rig = Rig::new();
    let (index, found) = rig.open(&[0, 1, 2]);
    assert_eq!(found, Ckpt { lsn: Lsn::ZERO, position: None });
    for round in 1..=12 {
        // Enough flushes for merges, which remove tables from the copies as well.
        flush(&index, &[("ca", &round.to_string()), (&format!("c{round:02}"), "v"), ("cgone", "")], round);
    }
    drop(index);
    for copy in 0..3 {
        let (index, found) = rig.open(&[copy]);
        assert_eq!(found, ckpt(12));
        assert_eq!(get(&index, "ca"), "12");
        assert_eq!(get(&index, "c07"), "v");
        assert_eq!(get(&index, "cgone"), "");
        let tables = fs::read_dir(rig.dir(copy).join("tables")).expect("lists").count();
        assert_eq!(tables, index.stats().tables, "copy {copy} keeps no other tables");
    }
}

#[test]
fn the_freshest_copy_is_opened_and_the_others_catch_up() {
    let rig = Rig::new();
    let (index, _) = rig.open(&[0, 1]);
    flush(&index, &[("ca", "1")], 1);
    index.set_copies(vec![rig.dir(0)]);
    flush(&index, &[("ca", "2")], 2);
    drop(index);
    let (index, found) = rig.open(&[1, 0]);
    assert_eq!(found, ckpt(2));
    assert_eq!(index.active(), rig.dir(0));
    flush(&index, &[("cb", "3")], 3);
    drop(index);
    let (index, found) = rig.open(&[1]);
    assert_eq!(found, ckpt(3));
    assert_eq!(get(&index, "ca"), "2");
    assert_eq!(get(&index, "cb"), "3");
}

#[test]
fn losing_the_active_copy_while_running_goes_on_from_a_mirror() {
    let rig = Rig::new();
    let (index, _) = rig.open(&[0, 1, 2]);
    flush(&index, &[("ca", "1")], 1);
    fs::remove_dir_all(rig.dir(0)).expect("removes");
    flush(&index, &[("cb", "2")], 2);
    assert_eq!(index.active(), rig.dir(1));
    assert_eq!(get(&index, "ca"), "1");
    assert_eq!(get(&index, "cb"), "2");
    drop(index);
    for copy in 0..3 {
        let (index, found) = rig.open(&[copy]);
        assert_eq!((found, get(&index, "ca"), get(&index, "cb")), (ckpt(2), "1".into(), "2".into()));
    }
}

#[test]
fn a_damaged_active_copy_is_read_around() {
    let rig = Rig::new();
    let (index, _) = rig.open(&[0, 1]);
    let keys: Vec<String> = (0..4000).map(|number| format!("c{number:08}")).collect();
    flush(&index, &keys.iter().map(|key| (key.as_str(), key.as_str())).collect::<Vec<_>>(), 1);
    drop(index);
    for entry in fs::read_dir(rig.dir(0).join("tables")).expect("lists") {
        let path = entry.expect("entry").path();
        let mut bytes = fs::read(&path).expect("reads");
        // Behind the block of the checkpoint, before filter and index.
        let middle = bytes.len() / 3;
        bytes[middle..middle + 100].fill(0xee);
        fs::write(&path, bytes).expect("writes");
    }
    let (index, _) = rig.open(&[0, 1]);
    assert_eq!(index.active(), rig.dir(0));
    for key in &keys {
        assert_eq!(&get(&index, key), key);
    }
    assert_eq!(index.active(), rig.dir(1));
}

#[test]
fn a_mirror_that_lacks_what_was_let_go_is_never_taken() {
    let rig = Rig::new();
    let (index, _) = rig.open(&[0, 1]);
    flush(&index, &[("ca", "1")], 1);
    index.set_copies(vec![rig.dir(0)]);
    flush(&index, &[("ca", "2")], 2);
    index.set_copies(vec![rig.dir(0), rig.dir(1)]);
    fs::remove_dir_all(rig.dir(0)).expect("removes");
    assert!(try_flush(&index, &[("cb", "3")], 3).is_err());
    assert_eq!(index.active(), rig.dir(0));
}

#[test]
fn a_copy_that_fails_is_named_and_the_flush_may_be_repeated() {
    let rig = Rig::new();
    let (index, _) = rig.open(&[0, 1]);
    let block = rig.root.path().join("d1");
    fs::remove_dir_all(&block).expect("removes");
    fs::write(&block, b"not a directory").expect("writes");
    let failed = try_flush(&index, &[("ca", "1")], 1).expect("flushes");
    assert_eq!(failed.iter().map(|copy| copy.dir.clone()).collect::<Vec<_>>(), [rig.dir(1)]);
    fs::remove_file(&block).expect("removes");
    fs::create_dir_all(block.join("index")).expect("the drive is formed");
    flush(&index, &[("ca", "1")], 1);
    assert_eq!(index.stats().entries, 2, "the repeated flush wrote nothing again");
    drop(index);
    assert_eq!(rig.open(&[1]).1, ckpt(1));
}

#[test]
fn a_copy_that_a_crash_left_half_made_is_ignored_and_made_whole() {
    let rig = Rig::new();
    let (index, _) = rig.open(&[0, 1]);
    flush(&index, &[("ca", "1")], 1);
    drop(index);
    // A copy is whole only with the pointer to its version, which comes last.
    fs::remove_file(rig.dir(1).join("current")).expect("removes");
    fs::remove_file(rig.dir(1).join("hafiz.tables")).expect("removes");
    for entry in fs::read_dir(rig.dir(1).join("tables")).expect("lists") {
        fs::write(entry.expect("entry").path(), b"torn").expect("writes");
    }
    fs::create_dir_all(rig.dir(0).with_file_name("7.links")).expect("creates");
    let (index, found) = rig.open(&[1, 0]);
    assert_eq!(found, ckpt(1));
    assert!(!rig.dir(0).with_file_name("7.links").exists());
    flush(&index, &[("cb", "2")], 2);
    drop(index);
    let (index, found) = rig.open(&[1]);
    assert_eq!((found, get(&index, "ca"), get(&index, "cb")), (ckpt(2), "1".into(), "2".into()));
}

#[test]
fn a_copy_with_another_history_is_replaced() {
    let rig = Rig::new();
    let (index, _) = rig.open(&[0, 1]);
    flush(&index, &[("ca", "1")], 1);
    drop(index);
    // Each goes on alone with the same table numbers.
    let (index, _) = rig.open(&[0]);
    flush(&index, &[("ca", "left"), ("cb", "left")], 2);
    drop(index);
    let (index, _) = rig.open(&[1]);
    flush(&index, &[("ca", "right")], 3);
    drop(index);
    let (index, found) = rig.open(&[0, 1]);
    assert_eq!(found, ckpt(3));
    flush(&index, &[("cc", "4")], 4);
    drop(index);
    let (index, found) = rig.open(&[0]);
    let values = (get(&index, "ca"), get(&index, "cb"), get(&index, "cc"));
    assert_eq!((found, values), (ckpt(4), ("right".into(), String::new(), "4".into())));
}

#[test]
fn a_new_set_of_copies_is_filled_and_the_old_one_left() {
    let rig = Rig::new();
    let (index, _) = rig.open(&[0, 1]);
    flush(&index, &[("ca", "1")], 1);
    index.set_copies(vec![rig.dir(2), rig.dir(3)]);
    flush(&index, &[("cb", "2")], 2);
    assert_eq!(index.active(), rig.dir(2));
    flush(&index, &[("cc", "3")], 3);
    drop(index);
    for copy in [2, 3] {
        let (index, found) = rig.open(&[copy]);
        assert_eq!((found, get(&index, "ca"), get(&index, "cc")), (ckpt(3), "1".into(), "3".into()));
    }
}

#[test]
fn no_copy_is_made_where_one_must_be_and_a_damaged_one_is_set_aside_where_the_log_has_everything() {
    let rig = Rig::new();
    assert!(matches!(rig.try_open(&[0, 1], Absent::Refuse), Err(OpenError::Absent)));
    let (index, _) = rig.open(&[0]);
    flush(&index, &[("ca", "1")], 1);
    drop(index);
    for entry in fs::read_dir(rig.dir(0)).expect("lists") {
        let path = entry.expect("entry").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('v')) {
            fs::write(path, b"garbage").expect("writes");
        }
    }
    assert!(matches!(rig.try_open(&[0, 1], Absent::Refuse), Err(OpenError::Failed(failed)) if failed.len() == 1));
    let (index, found, failed) = rig.try_open(&[0], Absent::Create).expect("opens");
    assert_eq!((found.lsn, failed.len(), index.active()), (Lsn::ZERO, 1, rig.dir(0)));
    flush(&index, &[("ca", "2")], 2);
    drop(index);
    assert_eq!(get(&rig.open(&[0, 1]).0, "ca"), "2");
    assert!(rig.dir(0).with_file_name("7.damaged").exists());
}

#[test]
fn where_the_log_has_everything_a_vacant_place_is_preferred_to_a_damaged_copy() {
    let rig = Rig::new();
    drop(rig.open(&[0]));
    fs::write(rig.dir(0).join("current"), b"garbage").expect("writes");
    let (index, _, failed) = rig.try_open(&[0, 1], Absent::Create).expect("opens");
    assert_eq!((failed.len(), index.active()), (1, rig.dir(1)));
    flush(&index, &[("ca", "1")], 1);
    drop(index);
    // The flush has mended the damaged one, too.
    assert_eq!(get(&rig.open(&[0]).0, "ca"), "1");
}

#[test]
fn a_drive_that_has_vanished_is_a_failed_copy_and_nothing_is_made_in_its_place() {
    let rig = Rig::new();
    let (index, _) = rig.open(&[0, 1]);
    flush(&index, &[("a", "1")], 1);
    let drive = rig.dir(1).parent().and_then(Path::parent).expect("below its drive").to_path_buf();
    fs::rename(&drive, drive.with_file_name("away")).expect("renames");
    let failed = try_flush(&index, &[("b", "2")], 2).expect("the other copy is flushed");
    assert_eq!(failed.iter().map(|copy| copy.dir.clone()).collect::<Vec<_>>(), [rig.dir(1)]);
    assert!(!drive.exists());
    assert!(Tree::open(&rig.dir(1), &rig.caches).is_err());
    assert!(!drive.exists());
}

/// Whether every file of a copy is what it should be.
fn is_sound(dir: &Path) -> bool {
    let Ok(Some(contents)) = check::contents(dir) else { return false };
    contents.tables.iter().all(|table| {
        let Ok(mut reading) = check::Reading::begin(dir, table) else { return false };
        while reading.step().expect("reads") > 0 {}
        reading.matches(table)
    })
}

/// Changes a byte of the first file of a copy whose name is told by `is_it`.
fn spoil(dir: &Path, is_it: impl Fn(&str) -> bool) {
    let entries = fs::read_dir(dir).expect("lists").map(|entry| entry.expect("entry").path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| is_it(&path.file_name().expect("a name").to_string_lossy())).collect();
    paths.sort();
    let path = paths.first().expect("there is one");
    let mut bytes = fs::read(path).expect("reads");
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0x10;
    // In its place, as rot does: the engine has it open.
    let mut file = fs::OpenOptions::new().write(true).open(path).expect("opens");
    io::Write::write_all(&mut file, &bytes).expect("writes");
}

fn filled(rig: &Rig, copies: &[usize]) -> (Index, Vec<String>) {
    let (index, _) = rig.open(copies);
    let keys: Vec<String> = (0..2000).map(|number| format!("c{number:08}")).collect();
    flush(&index, &keys.iter().map(|key| (key.as_str(), key.as_str())).collect::<Vec<_>>(), 1);
    (index, keys)
}

/// A history of two copies that went on alone, the second one further, and both open.
fn parted(rig: &Rig) -> Index {
    let (index, _) = rig.open(&[0, 1]);
    flush(&index, &[("ca", "1")], 1);
    drop(index);
    let (index, _) = rig.open(&[0]);
    flush(&index, &[("ca", "left")], 2);
    drop(index);
    let (index, _) = rig.open(&[1]);
    flush(&index, &[("ca", "right")], 3);
    drop(index);
    rig.open(&[0, 1]).0
}

#[test]
fn a_copy_that_cannot_be_replaced_stays_what_it_was() {
    let rig = Rig::new();
    let index = parted(&rig);
    // Nothing can be made beside it, as on a full drive.
    let blocked = rig.dir(0).with_file_name("7.copy");
    fs::write(&blocked, b"").expect("writes");
    let failed = try_flush(&index, &[("cc", "4")], 4).expect("the other one is flushed");
    assert_eq!(failed.iter().map(|copy| copy.dir.clone()).collect::<Vec<_>>(), [rig.dir(0)]);
    assert!(is_sound(&rig.dir(0)));
    drop(index);
    fs::remove_file(&blocked).expect("removes");
    let (index, found) = rig.open(&[0]);
    assert_eq!((found, get(&index, "ca")), (ckpt(2), "left".into()));
    drop(index);
    let (index, _) = rig.open(&[1, 0]);
    flush(&index, &[("cd", "5")], 5);
    drop(index);
    let (index, found) = rig.open(&[0]);
    assert_eq!((found, get(&index, "ca")), (ckpt(5), "right".into()));
    let names: Vec<_> = fs::read_dir(rig.dir(0).parent().expect("below its drive")).expect("lists").collect();
    assert_eq!(names.len(), 1, "nothing is left beside it: {names:?}");
}

#[test]
fn a_crash_while_a_copy_takes_the_place_of_another_leaves_one_of_them() {
    let rig = Rig::new();
    flush(&rig.open(&[0, 1]).0, &[("ca", "1")], 1);
    let place = rig.dir(1);
    let (anew, old) = (place.with_file_name("7.copy"), place.with_file_name("7.old"));
    let check = |what: &str| {
        let (index, found) = rig.open(&[1]);
        assert_eq!((found, get(&index, "ca")), (ckpt(1), "1".into()), "{what}");
        assert!(!anew.exists() && !old.exists(), "{what}");
    };
    fs::rename(&place, &anew).expect("renames");
    fs::create_dir_all(old.join("tables")).expect("makes");
    check("between the two names");
    fs::create_dir_all(old.join("tables")).expect("makes");
    check("before the old one has gone");
    fs::create_dir_all(anew.join("tables")).expect("makes");
    check("before the new one is whole");
    fs::rename(&place, &old).expect("renames");
    fs::create_dir_all(anew.join("tables")).expect("makes");
    check("which cannot be, and costs nothing");
}

#[test]
fn every_file_of_a_copy_is_verified() {
    let spoil_pointer = |dir: &Path| spoil(dir, |name| name == "current");
    let spoil_version = |dir: &Path| spoil(dir, |name| name.starts_with('v'));
    let spoil_table = |dir: &Path| spoil(&dir.join("tables"), |_| true);
    let lose_table = |dir: &Path| {
        let table = fs::read_dir(dir.join("tables")).expect("lists").next().expect("there is one").expect("entry");
        fs::remove_file(table.path()).expect("removes");
    };
    for harm in [&spoil_pointer as &dyn Fn(&Path), &spoil_version, &spoil_table, &lose_table] {
        let rig = Rig::new();
        let (index, _) = filled(&rig, &[0, 1]);
        // Merges reach the copies with the next flush.
        flush(&index, &[], 2);
        assert!(is_sound(&rig.dir(0)) && is_sound(&rig.dir(1)));
        harm(&rig.dir(1));
        assert!(!is_sound(&rig.dir(1)));
    }
}

#[test]
fn a_bad_copy_counts_no_more_and_is_made_anew_with_the_next_flush() {
    for bad in [0, 1] {
        let rig = Rig::new();
        let (index, keys) = filled(&rig, &[0, 1]);
        flush(&index, &[], 2);
        spoil(&rig.dir(bad).join("tables"), |_| true);
        index.distrust(&rig.dir(bad)).expect("there is another one");
        assert_eq!((index.whole_copies(), index.active()), (vec![rig.dir(1 - bad)], rig.dir(1 - bad)));
        assert!(index.has_bad_copies());
        flush(&index, &[], 3);
        assert!(is_sound(&rig.dir(bad)) && !index.has_bad_copies());
        assert_eq!(index.whole_copies().len(), 2);
        drop(index);
        let (index, found) = rig.open(&[bad]);
        assert_eq!(found, ckpt(3));
        assert!(keys.iter().all(|key| get(&index, key) == *key));
    }
}

#[test]
fn rot_is_not_copied() {
    let rig = Rig::new();
    let (index, keys) = filled(&rig, &[0, 1]);
    flush(&index, &[], 2);
    spoil(&rig.dir(0).join("tables"), |_| true);
    index.set_copies(vec![rig.dir(0), rig.dir(1), rig.dir(2)]);
    flush(&index, &[], 3);
    assert_eq!(index.active(), rig.dir(1));
    assert!((1..3).all(|copy| is_sound(&rig.dir(copy))));
    flush(&index, &[], 4);
    assert!(is_sound(&rig.dir(0)));
    assert_eq!(index.whole_copies().len(), 3);
    assert!(keys.iter().all(|key| get(&index, key) == *key));
    // Without another copy it is said, and nothing is made of it.
    spoil(&rig.dir(1).join("tables"), |_| true);
    index.set_copies(vec![rig.dir(1), rig.dir(3)]);
    for copy in [0, 2] {
        fs::remove_dir_all(rig.dir(copy)).expect("removes");
    }
    assert!(try_flush(&index, &[], 5).is_err());
    assert!(!rig.dir(3).join("current").exists());
}

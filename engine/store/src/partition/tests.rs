use std::collections::BTreeMap;
use std::fs;
use std::pin::pin;
use std::task::{Context, Poll};

use rt::{Config, run_alone};

use super::*;
use crate::format::batch::Position;
use crate::ids::SlotOffset;
use crate::index::scan::{Group, Item, Page};
use crate::log::Sink;

const ID: PartitionId = PartitionId(7);
const BUCKET: BucketId = BucketId(3);
const MEMTABLE_BYTES: usize = 1 << 20;

fn run<Fut: Future<Output = ()> + 'static>(test: impl FnOnce() -> Fut + Send + 'static) {
    run_alone(Config::new(1), test).expect("a shard starts");
}

/// One partition with a log that never loses anything.
struct Rig {
    root: tempfile::TempDir,
    copies: usize,
    start: u32,
    partitions: Rc<Partitions>,
    partition: Rc<Partition>,
    /// Decided, not yet told to be durable.
    pending: VecDeque<Entry>,
    /// All that was durable ever.
    log: Vec<Entry>,
    sequence: u64,
}

async fn open(
    root: &std::path::Path,
    copies: usize,
    start: u32,
    memtable_bytes: usize,
) -> (Rc<Partitions>, Rc<Partition>) {
    for copy in 0..copies.max(3) {
        std::fs::create_dir_all(root.join(format!("d{copy}/index"))).expect("the drive is formed");
    }
    let partitions = Partitions::new();
    let options = Options {
        start: StartNumber::new(start).expect("small"),
        copies: (0..copies).map(|copy| root.join(format!("d{copy}/index/7"))).collect(),
        absent: Absent::Create,
        caches: Caches::new(1 << 20, 64),
        memtable_bytes,
        records_bytes: 1 << 20,
        stream: partitions.stream(),
        drives: Rc::new(Well),
    };
    let (partition, failed) = Partition::open(ID, options).await.expect("opens");
    assert!(failed.is_empty(), "{failed:?}");
    partitions.add(partition.clone());
    (partitions, partition)
}

/// All drives answer.
struct Well;

impl Drives for Well {
    fn is_silent(&self, _: &Path) -> bool {
        false
    }

    fn ask(&self, _: &Path) {}

    fn replaced(&self, _: PartitionId, _: Arc<Index>) {}
}

impl Rig {
    async fn new(copies: usize) -> Rig {
        Rig::with_memtable(copies, MEMTABLE_BYTES).await
    }

    async fn with_memtable(copies: usize, memtable_bytes: usize) -> Rig {
        let root = tempfile::tempdir().expect("directory");
        let (partitions, partition) = open(root.path(), copies, 1, memtable_bytes).await;
        partitions.begin(position(1, 0));
        Rig { root, copies, start: 1, partitions, partition, pending: VecDeque::new(), log: Vec::new(), sequence: 0 }
    }

    /// What a crash and a recovery of everything logged leave.
    async fn restart(&mut self) {
        self.start += 1;
        (self.partitions, self.partition) = open(self.root.path(), self.copies, self.start, MEMTABLE_BYTES).await;
        self.pending.clear();
        for entry in self.log.iter().cloned() {
            self.partition.replay(entry);
        }
        self.partitions.begin(position(self.start, 0));
    }

    fn decide(&mut self, change: Change) -> Result<Lsn> {
        let entry = self.partition.next_entry(|_| change)?;
        self.partition.pend(Pending::of(&entry));
        let lsn = entry.lsn;
        self.pending.push_back(entry);
        Ok(lsn)
    }

    /// The oldest `count` pending entries become durable.
    fn durable(&mut self, count: usize) {
        let entries: Vec<_> = self.pending.drain(..count).collect();
        self.log.extend(entries.iter().cloned());
        self.sequence += 1;
        self.partitions.durable(entries, position(self.start, self.sequence));
    }

    fn fail(&mut self) {
        let entries: Vec<_> = self.pending.drain(..).collect();
        self.partitions.failed(&entries);
    }

    fn commit(&mut self, pairs: &[(&str, &str)]) {
        self.decide(puts(pairs)).expect("room");
        self.durable(1);
    }

    fn live(&self, volume: u64) -> i64 {
        let all = self.partition.all_live();
        all.iter().find(|(id, _)| id.0 == volume).map_or(0, |(_, live)| live.bytes)
    }

    async fn flush(&self) {
        self.partition.flush().await.expect("flushes");
    }

    async fn get(&self, key: &str, view: View) -> String {
        text(self.partition.get(key.as_bytes(), view).await.expect("reads"))
    }

    async fn all(&self, limit: usize) -> Vec<(String, String)> {
        let mut scan = Scan { from: b"c".to_vec(), to: b"d".to_vec(), limit, group: None };
        let mut found = Vec::new();
        loop {
            let page = self.partition.scan(&scan).await.expect("scans");
            found.extend(page.items.into_iter().map(|item| match item {
                Item::Entry { key, value } => (text(Some(key)), text(Some(value))),
                Item::Prefix(_) => panic!("no group was asked for"),
            }));
            match page.next {
                Some(next) => scan.from = next,
                None => return found,
            }
        }
    }
}

fn position(start: u32, sequence: u64) -> Position {
    let volume = VolumeId::new(StartNumber::new(start).expect("small"), 0, 1);
    Position { volume, offset: SlotOffset(1 + sequence as u32), sequence }
}

/// An empty value is a tombstone.
fn puts(pairs: &[(&str, &str)]) -> Change {
    let op = |(key, value): &(&str, &str)| Op {
        key: key.as_bytes().to_vec(),
        value: (!value.is_empty()).then(|| value.as_bytes().to_vec()),
        address_at: None,
    };
    Change { ops: pairs.iter().map(op).collect(), ..Change::default() }
}

fn usage(objects: i64, bytes: i64) -> UsageDelta {
    UsageDelta { bucket: BUCKET, objects, bytes, versions: 0 }
}

fn text(value: Option<Bytes>) -> String {
    value.map(|value| String::from_utf8(value.to_vec()).expect("text")).unwrap_or_default()
}

struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

#[test]
fn a_pending_entry_counts_for_decisions_and_is_seen_when_it_is_durable() {
    run(|| async {
        let mut rig = Rig::new(1).await;
        rig.decide(puts(&[("ca", "1")])).expect("room");
        assert_eq!(rig.get("ca", View::Decided).await, "1");
        assert_eq!(rig.get("ca", View::Durable).await, "");
        assert!(rig.all(10).await.is_empty());
        rig.durable(1);
        assert_eq!(rig.get("ca", View::Durable).await, "1");
        assert_eq!(rig.all(10).await, [("ca".into(), "1".into())]);
    });
}

#[test]
fn pending_entries_that_fail_were_never_there() {
    run(|| async {
        let mut rig = Rig::new(1).await;
        rig.commit(&[("ca", "1")]);
        for value in ["2", "3", ""] {
            let usage = vec![usage(1, 100)];
            rig.decide(Change { usage, ..puts(&[("ca", value), ("cb", "x")]) }).expect("room");
        }
        assert_eq!(rig.get("ca", View::Decided).await, "");
        assert_eq!(rig.partition.usage(BUCKET, View::Decided).bytes, 300);
        assert_eq!(rig.partition.usage(BUCKET, View::Durable).bytes, 0);
        assert!(!rig.partitions.any_failed());
        rig.fail();
        assert!(rig.partitions.any_failed());
        assert_eq!(rig.get("ca", View::Decided).await, "1");
        assert_eq!(rig.get("cb", View::Decided).await, "");
        assert_eq!(rig.partition.usage(BUCKET, View::Decided), Usage::default());
        assert!(!rig.partition.is_pending(b"ca"));
    });
}

#[test]
fn lsns_grow_within_a_start_and_from_start_to_start() {
    run(|| async {
        let mut rig = Rig::new(1).await;
        let mut last = Lsn::ZERO;
        for _ in 0..3 {
            for outcome in [true, false] {
                let lsn = rig.decide(puts(&[("ca", "1")])).expect("room");
                assert!(lsn > last);
                last = lsn;
                if outcome {
                    rig.durable(1);
                    assert_eq!(rig.partition.durable_lsn(), lsn);
                } else {
                    rig.fail();
                }
            }
            rig.restart().await;
        }
    });
}

#[test]
fn a_reader_finds_the_same_before_and_after_a_flush_and_a_restart() {
    run(|| async {
        let mut rig = Rig::new(2).await;
        rig.commit(&[("ca", "1"), ("cb", "2"), ("cc", "3")]);
        rig.flush().await;
        rig.commit(&[("cb", ""), ("cc", "4"), ("cd", "5")]);
        let expect = [("ca", "1"), ("cc", "4"), ("cd", "5")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        for round in 0..4 {
            assert_eq!(rig.all(2).await, expect, "round {round}");
            assert_eq!(rig.get("cb", View::Durable).await, "");
            assert_eq!(rig.get("cc", View::Durable).await, "4");
            match round {
                0 => rig.restart().await,
                1 => rig.flush().await,
                _ => {
                    // Without anything to replay.
                    rig.log.clear();
                    rig.restart().await;
                }
            }
        }
    });
}

#[test]
fn entries_at_or_below_the_checkpoint_are_ignored_in_replay() {
    run(|| async {
        let mut rig = Rig::new(1).await;
        let count =
            |bytes| Change { usage: vec![usage(1, bytes)], live: vec![(VolumeId(9), bytes)], ..puts(&[("ca", "1")]) };
        rig.decide(count(10)).expect("room");
        rig.durable(1);
        rig.flush().await;
        let flushed = rig.partition.ckpt();
        assert_eq!(flushed, Ckpt { lsn: rig.partition.durable_lsn(), position: Some(position(1, 1)) });
        rig.decide(count(5)).expect("room");
        rig.durable(1);
        rig.restart().await;
        assert_eq!(rig.partition.ckpt(), flushed);
        assert_eq!(rig.partition.usage(BUCKET, View::Durable), Usage { objects: 2, bytes: 15, versions: 0 });
        assert_eq!(rig.live(9), 15);
        // A second replay of the same entries changes nothing.
        for entry in rig.log.clone() {
            rig.partition.replay(entry);
        }
        assert_eq!(rig.live(9), 15);
    });
}

#[test]
fn a_body_counts_as_live_where_its_batch_put_it() {
    run(|| async {
        let mut rig = Rig::new(1).await;
        let mut entry = rig.partition.next_entry(|_| puts(&[("ca", "1")])).expect("room");
        rig.partition.pend(Pending::of(&entry));
        let volume = VolumeId(4);
        entry.placed = Some(crate::format::batch::Address {
            volume,
            slot_offset: SlotOffset(1),
            fragment_len: 1,
            offset: 0,
            len: 77,
        });
        rig.pending.push_back(entry);
        rig.durable(1);
        assert_eq!(rig.live(volume.0), 77);
        rig.decide(Change { live: vec![(volume, -77)], ..puts(&[("ca", "")]) }).expect("room");
        rig.durable(1);
        assert_eq!(rig.partition.all_live(), []);
        rig.flush().await;
        rig.restart().await;
        assert_eq!(rig.partition.all_live(), []);
    });
}

#[test]
fn flushing_an_empty_partition_writes_the_checkpoint_and_nothing_else() {
    run(|| async {
        let mut rig = Rig::new(2).await;
        rig.partition.flush().await.expect("flushes");
        assert_eq!(rig.partition.ckpt(), Ckpt { lsn: Lsn::ZERO, position: Some(position(1, 0)) });
        assert_eq!(rig.partition.index_stats().entries, 1);
        let tables = rig.partition.index_stats().tables;
        rig.flush().await;
        assert_eq!(rig.partition.index_stats().tables, tables, "nothing to say, nothing written");
        rig.restart().await;
        assert_eq!(rig.partition.ckpt().position, Some(position(1, 0)));
    });
}

#[test]
fn losing_the_primary_directory_while_running_loses_nothing() {
    run(|| async {
        let mut rig = Rig::new(3).await;
        rig.commit(&[("ca", "1"), ("cb", "2")]);
        rig.flush().await;
        rig.commit(&[("cb", "3")]);
        fs::remove_dir_all(rig.root.path().join("d0/index/7")).expect("removes");
        rig.commit(&[("cc", "4")]);
        rig.flush().await;
        let expect = [("ca", "1"), ("cb", "3"), ("cc", "4")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(rig.all(10).await, expect);
        rig.log.clear();
        rig.restart().await;
        assert_eq!(rig.all(10).await, expect);
    });
}

#[test]
fn a_memtable_is_kept_until_every_copy_has_it() {
    run(|| async {
        let mut rig = Rig::new(2).await;
        rig.commit(&[("ca", "1")]);
        fs::remove_dir_all(rig.root.path().join("d1")).expect("removes");
        fs::write(rig.root.path().join("d1"), b"not a directory").expect("writes");
        let before = rig.partition.ckpt();
        assert!(matches!(rig.partition.flush().await, Err(FlushError::Copies(failed)) if failed.len() == 1));
        assert_eq!(rig.partition.ckpt(), before, "the log is still needed");
        rig.partition.set_copies(vec![rig.root.path().join("d0/index/7")]);
        rig.flush().await;
        assert_eq!(rig.partition.ckpt().lsn, rig.partition.durable_lsn());
        assert_eq!(rig.get("ca", View::Durable).await, "1");
    });
}

#[test]
fn commits_are_refused_while_memtables_are_too_large() {
    run(|| async {
        let mut rig = Rig::with_memtable(1, 10_000).await;
        let value = "v".repeat(1000);
        let mut refused = None;
        for number in 0..100 {
            match rig.decide(puts(&[(&format!("c{number}"), &value)])) {
                Ok(_) => rig.durable(1),
                Err(error) => {
                    refused = Some((number, error));
                    break;
                }
            }
        }
        let (number, error) = refused.expect("there is a bound");
        assert_eq!(error, Error::Busy);
        assert!((10..=20).contains(&number), "{number}");
        rig.flush().await;
        rig.commit(&[("c", "1")]);
    });
}

/// A flush of ten entries is over by then.
const FLUSH_MAX: Duration = Duration::from_secs(60);

/// One copy, below this directory.
struct Flushes(PathBuf);

impl Upkeep for Flushes {
    fn copies(&self, _partition: PartitionId) -> Vec<PathBuf> {
        vec![self.0.join("d0/index/7")]
    }

    fn failed(&self, _partition: PartitionId, error: &FlushError) {
        panic!("{error}");
    }

    fn eager(&self) -> Option<std::time::Duration> {
        None
    }
}

#[test]
fn the_flusher_flushes_a_full_memtable_however_long_others_take_and_stops() {
    run(|| async {
        let mut rig = Rig::with_memtable(1, 10_000).await;
        let unhurried = &rig.partitions.flushes[0].clone();
        let _others = unhurried.acquire(unhurried.available()).await;
        let flusher = rt::spawn(rig.partitions.clone().run_flusher(Rc::new(Flushes(rig.root.path().to_owned()))));
        for number in 0..10 {
            rig.commit(&[(&format!("c{number}"), &"v".repeat(1000))]);
        }
        let all = rig.partition.durable_lsn();
        let flushed = async {
            while rig.partition.ckpt().lsn < all {
                rt::yield_now().await;
            }
        };
        rt::time::timeout(FLUSH_MAX, flushed).await.expect("a full memtable does not wait");
        rig.partitions.stop();
        flusher.await;
        assert_eq!(rig.all(100).await.len(), 10);
    });
}

#[test]
fn a_closed_partition_refuses_commits_and_still_reads() {
    run(|| async {
        let mut rig = Rig::new(1).await;
        rig.commit(&[("ca", "1")]);
        rig.partition.close("damaged");
        assert_eq!(rig.decide(puts(&[("ca", "2")])), Err(Error::Unavailable("damaged")));
        assert_eq!(rig.get("ca", View::Decided).await, "1");
    });
}

#[test]
fn a_damaged_partition_keeps_its_checkpoint_so_that_the_damage_is_found_again() {
    run(|| async {
        let mut rig = Rig::new(1).await;
        rig.commit(&[("ca", "1")]);
        let before = rig.partition.ckpt();
        rig.partition.set_damaged();
        assert!(rig.decide(puts(&[("ca", "2")])).is_err());
        rig.flush().await;
        assert_eq!(rig.partition.ckpt(), before);
        assert_eq!(rig.get("ca", View::Decided).await, "1");
    });
}

#[test]
fn a_drain_waits_for_what_was_decided_before_it_and_for_nothing_else() {
    run(|| async {
        let mut rig = Rig::new(1).await;
        rig.decide(puts(&[("ca", "1")])).expect("room");
        let partition = rig.partition.clone();
        let mut drain = pin!(partition.drain());
        let poll = std::future::poll_fn(|cx| Poll::Ready(drain.as_mut().poll(cx))).await;
        assert!(poll.is_pending());
        rig.decide(puts(&[("cb", "1")])).expect("room");
        rig.durable(1);
        let poll = std::future::poll_fn(|cx| Poll::Ready(drain.as_mut().poll(cx))).await;
        assert!(poll.is_ready(), "the second one is still pending");
    });
}

#[test]
fn new_copies_are_filled_although_nothing_was_committed_since() {
    run(|| async {
        let mut rig = Rig::new(1).await;
        rig.commit(&[("ca", "1")]);
        rig.flush().await;
        rig.partition.set_copies(vec![rig.root.path().join("d1/index/7"), rig.root.path().join("d2/index/7")]);
        rig.flush().await;
        fs::remove_dir_all(rig.root.path().join("d0/index/7")).expect("removes");
        let lsn = rig.partition.ckpt().lsn;
        for copy in ["d1", "d2"] {
            let options = Options {
                start: StartNumber::new(2).expect("small"),
                copies: vec![rig.root.path().join(copy).join("index/7")],
                absent: Absent::Refuse,
                caches: Caches::new(1 << 20, 64),
                memtable_bytes: MEMTABLE_BYTES,
                records_bytes: 1 << 20,
                stream: Partitions::new().stream(),
                drives: Rc::new(Well),
            };
            let (partition, _) = Partition::open(ID, options).await.expect("the copy is whole");
            assert_eq!(partition.ckpt().lsn, lsn);
        }
    });
}

#[test]
fn a_hot_key_is_looked_up_in_the_tree_once() {
    run(|| async {
        let mut rig = Rig::new(1).await;
        rig.commit(&[("ca", "1")]);
        rig.flush().await;
        let cached = |key: &[u8]| rig.partition.get_cached(key, View::Durable).map(text);
        for (key, expect) in [("ca", "1"), ("cnone", "")] {
            assert_eq!(cached(key.as_bytes()), None);
            assert_eq!(rig.get(key, View::Durable).await, expect);
            assert_eq!(cached(key.as_bytes()).as_deref(), Some(expect));
        }
        rig.commit(&[("ca", "2"), ("cnone", "3")]);
        rig.flush().await;
        assert_eq!(rig.get("ca", View::Durable).await, "2");
        assert_eq!(rig.get("cnone", View::Durable).await, "3");
    });
}

#[test]
fn settling_waits_until_no_entry_of_the_key_is_pending() {
    run(|| async {
        let mut rig = Rig::new(1).await;
        rig.decide(puts(&[("ca", "1")])).expect("room");
        rig.decide(puts(&[("ca", "2")])).expect("room");
        rig.partition.settle(b"cb").await;
        let partition = rig.partition.clone();
        let mut settled = pin!(partition.settle(b"ca"));
        for pending in [true, true, false] {
            let poll = std::future::poll_fn(|cx| Poll::Ready(settled.as_mut().poll(cx))).await;
            assert_eq!(poll.is_pending(), pending);
            if pending {
                rig.durable(1);
            }
        }
        rig.partition.drain().await;
    });
}

#[test]
fn a_key_has_one_holder_at_a_time_in_the_order_of_asking() {
    run(|| async {
        let rig = Rig::new(1).await;
        let first = rig.partition.lock(b"ca").await.expect("room");
        let other = rig.partition.lock(b"cb").await.expect("room");
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..3)
            .map(|number| {
                let (partition, order) = (rig.partition.clone(), order.clone());
                rt::spawn(async move {
                    let _lock = partition.lock(b"ca").await.expect("room");
                    order.borrow_mut().push(number);
                    rt::yield_now().await;
                    order.borrow_mut().push(number);
                })
            })
            .collect();
        rt::yield_now().await;
        assert!(order.borrow().is_empty());
        drop((first, other));
        for task in tasks {
            task.await;
        }
        assert_eq!(*order.borrow(), [0, 0, 1, 1, 2, 2]);
        assert_eq!(rig.partition.locks.len(), 0, "nothing is left of locks that are given up");
    });
}

#[test]
fn a_waiter_that_goes_away_leaves_no_lock_behind_and_waiters_are_bounded() {
    run(|| async {
        let rig = Rig::new(1).await;
        let held = rig.partition.lock(b"ca").await.expect("room");
        let mut waiters: Vec<_> = (0..locks::KEY_WAITERS_MAX).map(|_| Box::pin(rig.partition.lock(b"ca"))).collect();
        for waiter in &mut waiters {
            let poll = std::future::poll_fn(|cx| Poll::Ready(waiter.as_mut().poll(cx).is_pending())).await;
            assert!(poll);
        }
        assert!(matches!(rig.partition.lock(b"ca").await, Err(Error::Busy)));
        drop(held);
        drop(waiters);
        assert_eq!(rig.partition.locks.len(), 0);
        rig.partition.lock(b"ca").await.expect("room");
    });
}

/// A helper reads the tables before a flush, and the shard goes on after it: what was flushed is neither in what was read
/// nor in a memtable.
#[test]
fn a_scan_that_spans_a_flush_misses_nothing() {
    run(|| async {
        let mut rig = Rig::new(1).await;
        rig.commit(&[("ca", "1")]);
        rig.flush().await;
        rig.commit(&[("cb", "2")]);
        let scan = Scan { from: b"c".to_vec(), to: b"d".to_vec(), limit: 10, group: None };
        let partition = rig.partition.clone();
        let mut scanning = pin!(partition.scan(&scan));
        let once = |cx: &mut Context<'_>| Poll::Ready(scanning.as_mut().poll(cx).is_pending());
        assert!(std::future::poll_fn(once).await);
        // Helpers take jobs in order: after some more of them that of the scan is done.
        for _ in 0..100 {
            rt::offload(|| ()).await;
        }
        rig.flush().await;
        assert_eq!(scanning.await.expect("scans").items.len(), 2);
    });
}

#[test]
fn common_prefixes_are_rolled_up_across_memtable_and_tables() {
    run(|| async {
        let mut rig = Rig::new(1).await;
        rig.commit(&[("ca/1", "x"), ("ca/2", "x"), ("cb/1", "x"), ("cd", "x"), ("ce/1", "x")]);
        rig.flush().await;
        rig.commit(&[("ca/1", ""), ("cb/1", ""), ("cc/1", "x"), ("cc/2", "x"), ("ce/1", "")]);
        let group = Some(Group { at: 1, delimiter: b"/".to_vec(), escaped: false });
        let scan = Scan { from: b"c".to_vec(), to: b"d".to_vec(), limit: 10, group };
        let page = rig.partition.scan(&scan).await.expect("scans");
        let expect = [
            Item::Prefix(Bytes::new(b"ca/")),
            Item::Prefix(Bytes::new(b"cc/")),
            Item::Entry { key: Bytes::new(b"cd"), value: Bytes::new(b"x") },
        ];
        assert_eq!(page, Page { items: expect.to_vec(), next: None });
    });
}

#[test]
fn the_partition_is_a_map_under_any_order_of_commits_failures_flushes_and_restarts() {
    run(|| async {
        for seed in 0..5 {
            let mut random = Random(seed);
            let mut rig = Rig::new(2).await;
            let mut durable: BTreeMap<String, String> = BTreeMap::new();
            let mut decided = durable.clone();
            let (mut bytes, mut live) = (0, BTreeMap::<u64, i64>::new());
            let mut changes: VecDeque<Decided> = VecDeque::new();
            for step in 0..250 {
                match random.below(20) {
                    0..8 => {
                        let pairs: Vec<(String, String)> = (0..1 + random.below(3))
                            .map(|_| {
                                let value = if random.below(3) == 0 { String::new() } else { format!("{seed}.{step}") };
                                (format!("c{}/{}", random.below(4), random.below(12)), value)
                            })
                            .collect();
                        let borrowed: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                        let (delta, volume) = (random.below(100) as i64 - 50, random.below(3));
                        let change = Change {
                            usage: vec![usage(0, delta)],
                            live: vec![(VolumeId(volume), delta)],
                            ..puts(&borrowed)
                        };
                        rig.decide(change).expect("room");
                        apply(&mut decided, &pairs);
                        changes.push_back((pairs, delta, volume));
                    }
                    8..14 => {
                        let count = random.below(changes.len() as u64 + 1) as usize;
                        rig.durable(count);
                        for (pairs, delta, volume) in changes.drain(..count) {
                            apply(&mut durable, &pairs);
                            bytes += delta;
                            *live.entry(volume).or_default() += delta;
                        }
                    }
                    14 => {
                        rig.fail();
                        changes.clear();
                        decided = durable.clone();
                    }
                    15 => rig.flush().await,
                    16 if random.below(2) == 0 => {
                        rig.restart().await;
                        changes.clear();
                        decided = durable.clone();
                    }
                    _ => {
                        let key = format!("c{}/{}", random.below(4), random.below(12));
                        let value = |model: &BTreeMap<String, String>| model.get(&key).cloned().unwrap_or_default();
                        assert_eq!(rig.get(&key, View::Durable).await, value(&durable), "seed {seed}, step {step}");
                        assert_eq!(rig.get(&key, View::Decided).await, value(&decided), "seed {seed}, step {step}");
                        let all = rig.all(1 + random.below(20) as usize).await;
                        assert_eq!(all, durable.clone().into_iter().collect::<Vec<_>>(), "seed {seed}, step {step}");
                    }
                }
                assert_eq!(rig.partition.usage(BUCKET, View::Durable).bytes, bytes, "seed {seed}, step {step}");
                for (volume, expect) in &live {
                    assert_eq!(rig.live(*volume), *expect, "seed {seed}, step {step}");
                }
            }
        }
    });
}

/// What a change set, by how many bytes it changed the usage, and which volume's live bytes.
type Decided = (Vec<(String, String)>, i64, u64);

fn apply(model: &mut BTreeMap<String, String>, pairs: &[(String, String)]) {
    for (key, value) in pairs {
        if value.is_empty() {
            model.remove(key);
        } else {
            model.insert(key.clone(), value.clone());
        }
    }
}

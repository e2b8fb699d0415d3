//! Scenarios: what rots is repaired, what is lost is rebuilt, and what is reported is so.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hafiz_store as store;
use hafiz_store::Store;
use rt::sim::{DriveConfig, Fault, SimConfig};
use types::{BucketId, DeleteCondition};

use super::healing::{
    DRIVE_BYTES, Damage, OBJECTS, Run, add_drive, add_drive_of, census, check_all, check_rebuilt, damage, fill, key,
    placed, put, rebuilt, scrubbed, until, with_spare,
};

pub(crate) fn flipped_bits(seed: u64) {
    let mut run = Run::new(seed, 6);
    run.run(fill);
    for drive in [seed % 6, (seed + 2) % 6] {
        let dir = run.dirs[drive as usize].join("volumes");
        run.world.flip_bits(dir, 400);
    }
    assert!(run.world.fault_count(Fault::BitFlipAtRest) > 0);
    let before = run.run(async |_, _| census().await);
    assert!(before.fragments_bad > 0 && before.objects_short > 0 && !before.is_lossy(), "{before:?}");
    run.scrub = 1 << 30;
    run.run(async |store, bucket| {
        rebuilt().await;
        scrubbed().await;
        check_all(&store, bucket, 0..OBJECTS).await;
    });
    run.scrub = 0;
    let after = run.run(async |_, _| census().await);
    assert!(after.is_whole() && after.objects == OBJECTS, "seed {seed}: {after:?}");
    assert_eq!(after.objects_short, 0);
}

pub(crate) fn bad_fragment_read(seed: u64) {
    let mut run = Run::new(seed, 6);
    run.run(fill);
    run.run(async |store, bucket| {
        let fragments = placed(&store, bucket, 3).await;
        damage(&fragments[0], Damage::PayloadByte).await;
        let damaged = census().await;
        assert_eq!((damaged.fragments_bad, damaged.objects_short), (1, 1), "{damaged:?}");
        check_all(&store, bucket, [3]).await;
        let repaired = store::heal_status().fragments_repaired;
        rt::time::sleep(Duration::from_secs(1)).await;
        assert!(store::heal_status().fragments_repaired >= repaired);
        assert!(census().await.is_whole());
    });
}

pub(crate) fn planted_damage_counted(seed: u64) {
    let mut run = Run::new(seed, 6);
    run.run(fill);
    run.run(async |store, bucket| {
        let whole = census().await;
        assert!(whole.is_whole() && whole.objects == OBJECTS && whole.stripes > 0, "{whole:?}");
        // One bad fragment in object 3, two missing ones in object 8, and more bad ones than parity makes good in object 14.
        let (three, eight, fourteen) =
            (placed(&store, bucket, 3).await, placed(&store, bucket, 8).await, placed(&store, bucket, 14).await);
        damage(&three[0], Damage::PayloadByte).await;
        damage(&eight[0], Damage::Zeroed).await;
        damage(&eight[1], Damage::Zeroed).await;
        let last = fourteen.last().expect("it has fragments").stripe;
        let of_last: Vec<_> = fourteen.iter().filter(|fragment| fragment.stripe == last).collect();
        for fragment in of_last.iter().rev().take(4) {
            damage(fragment, Damage::HeaderByte).await;
        }
        let found = census().await;
        assert_eq!((found.fragments_bad, found.fragments_missing, found.fragments_absent), (1 + 4, 2, 0), "{found:?}");
        assert_eq!((found.objects_short, found.objects_lost), (2, 1), "{found:?}");
        assert_eq!((found.stripes, found.objects), (whole.stripes, whole.objects));
        assert_eq!(found.fragments_good, whole.fragments_good - 7);
        assert!(found.is_lossy() && !found.is_whole());
        let names: Vec<_> = found.lost.iter().map(|lost| lost.key.clone()).collect();
        assert_eq!(names, ["object/014"]);
    });
    // The scrub repairs what can be, tells what cannot, and touches none of that.
    run.scrub = 1 << 30;
    run.run(async |_, _| {
        scrubbed().await;
        let status = store::heal_status();
        assert_eq!(status.stripes_lost, 1, "{status:?}");
        assert!(!status.is_whole());
        let left = census().await;
        assert_eq!((left.fragments_bad, left.fragments_missing, left.objects_lost), (4, 0, 1), "{left:?}");
    });
    // A start says so by itself, again and again, until nothing needs it any more.
    run.scrub = 0;
    for _ in 0..2 {
        run.run(async |_, _| {
            until("it is told again", || store::heal_status().stripes_lost == 1).await;
            assert!(!store::heal_status().is_whole());
        });
    }
    run.run(async |store, bucket| {
        store.delete(bucket, &key(14), DeleteCondition::default()).await.expect("it is deleted");
        until("all is well", || store::heal_status().is_whole()).await;
        rt::time::sleep(Duration::from_secs(1)).await;
    });
    run.run(async |_, _| {
        rt::time::sleep(Duration::from_secs(1)).await;
        assert!(store::heal_status().is_whole(), "{:?}", store::heal_status());
    });
}

pub(crate) fn lost_drive_rebuilt(seed: u64) {
    let mut run = with_spare(seed);
    let first = (seed % 6) as usize;
    run.remove(first);
    run.run(async |store, bucket| {
        check_rebuilt(&store, bucket).await;
    });
    run.remove((first + 1) % 6);
    run.remove((first + 2) % 6);
    run.run(async |store, bucket| {
        check_all(&store, bucket, 0..OBJECTS).await;
        let found = census().await;
        assert!(!found.is_lossy(), "{found:?}");
    });
}

/// More drives go than parity makes up for, and come back later.
pub(crate) fn more_lost_than_parity(seed: u64) {
    let mut run = Run::new(seed, 6);
    run.run(fill);
    let gone = run.three_drives(seed as usize);
    for drive in gone {
        run.world.faults(run.dirs[drive].clone(), |faults| faults.removed = true);
    }
    let added: Vec<PathBuf> = (6..9).map(|n| PathBuf::from(format!("/heal-d{n}"))).collect();
    for dir in &added {
        add_drive(&mut run.world, &run.tables, dir, DRIVE_BYTES);
    }
    run.accept_missing = true;
    let dirs = added.clone();
    run.run(async move |store, _| {
        assert!(census().await.is_lossy());
        for dir in dirs {
            store.add_drive(dir).await.expect("an empty directory is taken in");
        }
        rebuilt().await;
        check_lossy(seed).await;
    });
    run.dirs.extend(added);
    run.accept_missing = false;
    // Nothing is forgotten by a restart, and nothing has to be scrubbed for it.
    run.run(async move |_, _| check_lossy(seed).await);
    for drive in gone {
        run.world.faults(run.dirs[drive].clone(), |faults| faults.removed = false);
    }
    run.run(async move |store, bucket| {
        until("what was lost comes back", || store::heal_status().is_whole()).await;
        let found = census().await;
        assert!(found.is_whole() && found.objects == OBJECTS, "seed {seed}: {found:?}");
        check_all(&store, bucket, 0..OBJECTS).await;
        store::audit().await.expect("nothing is counted wrong");
    });
}

async fn check_lossy(seed: u64) {
    let status = store::heal_status();
    assert!(!status.is_whole() && status.slots_hollow > 0, "seed {seed}: {status:?}");
    let found = census().await;
    assert!(found.is_lossy() && found.objects_lost > 0 && !found.lost.is_empty(), "seed {seed}: {found:?}");
    until("it is counted as lost", || store::heal_status().stripes_lost > 0).await;
}

/// What happens to a copy of a partition's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    Table,
    Version,
    Pointer,
    Gone,
}

pub(crate) fn harm(dir: &Path, how: Harm) {
    let first = |dir: &Path, prefix: &str| {
        let entries = std::fs::read_dir(dir).expect("it can be listed").map(|entry| entry.expect("an entry").path());
        let is_it = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        let mut paths: Vec<PathBuf> = entries.filter(is_it).collect();
        paths.sort();
        paths.first().expect("there is one").clone()
    };
    let path = match how {
        Harm::Table => first(&dir.join("tables"), ""),
        Harm::Version => first(dir, "v"),
        Harm::Pointer => dir.join("current"),
        Harm::Gone => return std::fs::remove_dir_all(dir).expect("it was there"),
    };
    let mut content = std::fs::read(&path).expect("it can be read");
    let middle = content.len() / 3;
    content[middle] ^= 0x20;
    // In its place, as rot does.
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).expect("it is there");
    std::io::Write::write_all(&mut file, &content).expect("it can be written");
}

/// Every file of every copy of the tables goes bad, one after the other; a census counts it, and it is mended.
pub(crate) fn tables_rot(seed: u64) {
    let mut run = Run::new(seed, 6);
    run.run(fill);
    let partition = (seed % 4) as usize;
    let copies: Vec<PathBuf> =
        run.table_holders(partition).into_iter().map(|drive| run.table_dir(drive, partition)).collect();
    assert_eq!(copies.len(), 3);
    run.run(async move |store, bucket| {
        until("all is well", || store::heal_status().is_whole()).await;
        for how in [Harm::Table, Harm::Version, Harm::Pointer, Harm::Gone] {
            // One of them is the copy in use.
            for dir in &copies {
                rt::time::sleep(Duration::from_millis(200)).await;
                harm(dir, how);
                let found = census().await;
                let counts = (found.table_copies_bad, found.table_copies_missing);
                assert_eq!(counts, if how == Harm::Gone { (0, 1) } else { (1, 0) }, "seed {seed}, {how:?}: {found:?}");
                assert!(!found.is_whole() && !found.is_lossy(), "seed {seed}, {how:?}: {found:?}");
                until("the copy is made again", || store::heal_status().is_whole()).await;
                let found = census().await;
                assert!(found.is_whole() && found.table_copies_good == 12, "seed {seed}, {how:?}: {found:?}");
            }
        }
        check_all(&store, bucket, 0..OBJECTS).await;
    });
    run.run(async move |store, bucket| check_all(&store, bucket, 0..OBJECTS).await);
}

/// A drive with copies of tables goes: they are missing until they were made on others.
pub(crate) fn tables_lost(seed: u64) {
    let mut run = Run::new(seed, 6);
    run.run(fill);
    let first = run.table_holders(0)[0];
    run.run(async move |store, bucket| {
        until("all is well", || store::heal_status().is_whole()).await;
        let drive = store.drives()[first].id;
        store.take_out_drive(drive).await.expect("the others are enough");
        let status = store::heal_status();
        assert!(status.table_copies_short > 0 && status.table_bytes_short > 0 && !status.is_whole(), "{status:?}");
        until("all copies", || store::heal_status().table_copies_short == 0).await;
        let found = census().await;
        let counts = (found.table_copies_good, found.table_copies_bad, found.table_copies_missing);
        assert_eq!(counts, (12, 0, 0), "seed {seed}: {found:?}");
        check_all(&store, bucket, 0..OBJECTS).await;
    });
}

/// Large objects beside those that every run has.
const LARGE: u64 = 120;
const READ_BYTES: u64 = 64 << 10;
const CLIENTS: u64 = 6;
const READS_EACH: u64 = 300;

/// The beginnings of large objects are read by some clients at the same time, as long as `busy`; how long each read took, sorted.
async fn latencies(store: &Store, bucket: BucketId, busy: fn() -> bool) -> Vec<Duration> {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let store = store.clone();
            rt::spawn(async move {
                let mut took = Vec::new();
                for round in (0..READS_EACH).take_while(|_| busy()) {
                    let n = OBJECTS + 5 * ((client * 19 + round * 7) % LARGE) + 4;
                    let began = rt::time::Instant::now();
                    let record = store.head(bucket, &key(n)).await.expect("it is there");
                    let mut get = store.read(&record, 0..READ_BYTES);
                    while let Some(window) = get.next().await {
                        window.expect("it can be read");
                    }
                    took.push(began.elapsed());
                    rt::time::sleep(Duration::from_millis(1)).await;
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await);
    }
    took.sort_unstable();
    took
}

/// A rebuild takes so many hundredths of the time that it takes without requests, at least: it rests while there are any.
const RESTED_PERCENT_MIN: u128 = 125;

/// Loses a drive of `run` and rebuilds what was on it on another one, which is added; how long the reads of clients took
/// meanwhile, sorted, and the time that a MiB took to be rebuilt.
fn rebuild_beside(run: &mut Run, lost: usize, added: &str, is_busy: bool) -> (Vec<Duration>, Duration) {
    let dir = PathBuf::from(added);
    add_drive_of(&mut run.world, &run.tables, &dir, paced_drive());
    run.remove(lost);
    let joining = dir.clone();
    let rebuilt = run.run(async move |store, bucket| {
        store.add_drive(joining).await.expect("an empty directory is taken in");
        until("the rebuild is under way", || store::heal_status().bytes_done > 0).await;
        let (began, before) = (rt::time::Instant::now(), store::heal_status().bytes_done);
        let clients = rt::spawn(async move {
            match is_busy {
                true => latencies(&store, bucket, || store::heal_status().slots_missing > 0).await,
                false => Vec::new(),
            }
        });
        let (mut took, mut bytes) = (Duration::ZERO, 0);
        while store::heal_status().slots_missing > 0 {
            (took, bytes) = (began.elapsed(), store::heal_status().bytes_done.max(before) - before);
            rt::time::sleep(Duration::from_millis(1)).await;
        }
        let during = clients.await;
        rebuilt().await;
        (during, took / u32::try_from(bytes >> 20).expect("little is rebuilt").max(1))
    });
    run.dirs.push(dir);
    rebuilt
}

fn paced_drive() -> DriveConfig {
    DriveConfig { capacity_bytes: 4 << 30, bytes_per_second: 400 << 20, ..DriveConfig::default() }
}

/// Requests while a drive is rebuilt take at most twice as long as without, and the rebuild rests for them. A piece of the
/// rebuild and a latency are to each other as they are on an NVMe drive, and both take five times as long, so that rebuilding
/// little takes long enough.
pub(crate) fn requests_while_rebuilt(seed: u64) {
    let io_latency = Duration::from_micros(100)..Duration::from_micros(1000);
    let mut run = Run::with_drives(seed, 6, paced_drive(), SimConfig { io_latency, ..SimConfig::default() });
    (run.hurried, run.body_cache_bytes) = (false, 0);
    run.run(async |store, bucket| {
        fill(store.clone(), bucket).await;
        for n in 0..LARGE {
            put(&store, bucket, OBJECTS + n * 5 + 4).await;
        }
    });
    let idle = run.run(async |store, bucket| latencies(&store, bucket, || true).await);
    let (_, alone) = rebuild_beside(&mut run, 1, "/heal-d6", false);
    let (during, beside) = rebuild_beside(&mut run, 2, "/heal-d7", true);
    let of = |sorted: &[Duration], percent: usize| sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)];
    println!(
        "reads: p50 {:?} and {:?} while rebuilt, p99 {:?} and {:?}; {} and {} of them; a MiB rebuilt in {alone:?} and {beside:?}",
        of(&idle, 50),
        of(&during, 50),
        of(&idle, 99),
        of(&during, 99),
        idle.len(),
        during.len()
    );
    assert!(during.len() > 200, "the rebuild was over too soon: {}", during.len());
    assert!(of(&during, 99) <= 2 * of(&idle, 99), "p99 {:?} became {:?}", of(&idle, 99), of(&during, 99));
    let rested = beside.as_nanos() * 100 >= alone.as_nanos() * RESTED_PERCENT_MIN;
    assert!(rested, "a MiB was rebuilt in {beside:?} beside requests, {alone:?} without");
}

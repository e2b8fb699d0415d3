//! What a rebuild costs: a drive's slots are lost and made again, on one shard, with no other work.
//!
//! ```sh
//! cargo bench -p hafiz-store --bench rebuild -- DIRECTORY
//! ```
//!
//! `DIRECTORY` should lie on drives that are faster than a core: a file system in memory shows the CPU alone. Prints rebuilt bytes
//! per second of CPU (user and system, of the whole process) and of wall time, for large bodies and for many small ones. Under
//! `cargo test` it runs tiny, in the build's own directory, and only shows that it works.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hafiz_store as store;
use hafiz_store::{CommitPut, Config, Store};
use types::{Attributes, BucketId, BucketName, Etag, ObjectKey, WriteCondition};

const DRIVES: usize = 6;
/// Objects that are put at the same time.
const CLIENTS: u64 = 64;
const PATIENCE: Duration = Duration::from_secs(600);

/// Objects of one size.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    objects: u64,
    len: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    telemetry::set_level(telemetry::Level::Error);
    let place = arguments.first().map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let loads = match is_bench {
        true => [
            Load { name: "large", objects: 400, len: 4 << 20 },
            Load { name: "small", objects: 1_000_000, len: 4 << 10 },
        ],
        false => [Load { name: "large", objects: 2, len: 4 << 20 }, Load { name: "small", objects: 200, len: 4 << 10 }],
    };
    for load in loads {
        let root = place.join(format!("hafiz-rebuild-{}", std::process::id()));
        fs::create_dir_all(&root).expect("the directory can be made");
        measure(&root, load);
        fs::remove_dir_all(&root).expect("the directory can be removed");
    }
}

fn measure(root: &Path, load: Load) {
    let dirs: Vec<PathBuf> = (0..DRIVES).map(|n| root.join(format!("d{n}"))).collect();
    let config =
        Config { partitions: 16, memory_bytes: 512 << 20, body_cache_bytes: 1 << 20, ..Config::new(dirs.clone()) };
    run(config.clone(), async move |store| {
        let name = BucketName::parse("bucket").expect("a valid name");
        let bucket = store.create_bucket(&name, Vec::new()).await.expect("a bucket is made").id;
        let clients: Vec<_> = (0..CLIENTS.min(load.objects))
            .map(|client| {
                let store = store.clone();
                rt::spawn(async move {
                    for n in (client..load.objects).step_by(CLIENTS as usize) {
                        put(&store, bucket, n, load.len).await;
                    }
                })
            })
            .collect();
        for client in clients {
            client.await;
        }
    });
    let mut lost = 0;
    for slot in fs::read_dir(dirs[0].join("volumes")).expect("volumes can be listed") {
        fs::remove_file(slot.expect("an entry").path()).expect("a slot can be removed");
        lost += 1;
    }
    let rebuilt_before = rebuilt_bytes();
    run(config, async move |_| {
        let before = store::heal_status();
        let (began, cpu) = (Instant::now(), cpu());
        while store::heal_status().slots_missing > 0 {
            assert!(began.elapsed() < PATIENCE, "{:?}", store::heal_status());
            rt::time::sleep(Duration::from_millis(10)).await;
        }
        let (wall, cpu) = (began.elapsed(), self::cpu() - cpu);
        let found = store::verify(|_| {}).await.expect("the index can be read");
        assert!(found.is_whole() && found.objects == load.objects, "{found:?}");
        let bytes = rebuilt_bytes() - rebuilt_before;
        println!(
            "{:<6} {} objects, {} of {lost} slots, {:.1} MB rebuilt: {:.2} s CPU ({:.0} MB/s), {:.2} s ({:.0} MB/s)",
            load.name,
            load.objects,
            before.slots_missing,
            bytes as f64 / 1e6,
            cpu.as_secs_f64(),
            bytes as f64 / 1e6 / cpu.as_secs_f64(),
            wall.as_secs_f64(),
            bytes as f64 / 1e6 / wall.as_secs_f64(),
        );
    });
}

fn run(config: Config, body: impl AsyncFnOnce(Store) + Send + 'static) {
    let runtime = rt::Config { buffers_bytes_per_shard: 64 << 20, ..rt::Config::new(1) };
    let main = async move || {
        store::open(config).await.expect("the store opens");
        body(store::here()).await;
        store::close().await;
    };
    rt::run_alone(runtime, main).expect("the shard runs");
}

async fn put(store: &Store, bucket: BucketId, n: u64, len: usize) {
    let mut content = vec![0; len];
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for word in content.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    let mut put = store.put(Some(len as u64));
    put.write(&content).await.expect("there is room");
    let body = put.finish().await.expect("drives take it");
    let key = ObjectKey::parse(&format!("object/{n:09}")).expect("a valid key");
    let (attributes, condition) = (Attributes::new(), WriteCondition::default());
    let commit = CommitPut { bucket, key, body, etag: Etag::from_md5([0; 16]), attributes, condition };
    store.commit_put(commit).await.expect("it is committed");
}

/// Of the whole process so far, user and system, in hundredths of a second.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("the kernel tells");
    // Behind the name, which may have blanks: state is the first field, user and system time are the 12th and 13th.
    let fields: Vec<&str> = stat.rsplit(')').next().expect("there is one").split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// As `/metrics` has it.
fn rebuilt_bytes() -> u64 {
    let metrics = telemetry::render();
    let line = metrics.lines().find(|line| line.starts_with("hafiz_heal_rebuilt_bytes_total "));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

//! What tests of stripes, puts and gets share: bytes to write and a deployment to write them to.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use crate::node::{Config, Node};

const SLOT_BYTES: u64 = 16 << 20;
const BUFFER_BYTES: usize = 96 << 20;

/// `len` bytes that follow from `seed`.
pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

pub(crate) fn config(dirs: Vec<PathBuf>) -> Config {
    Config { log_slot_bytes: Some(SLOT_BYTES), data_slot_bytes: Some(SLOT_BYTES), ..Config::new(dirs) }
}

/// Runs `test` on one shard with a new deployment on `drives` real directories.
pub(crate) fn on_drives<F>(drives: usize, test: impl FnOnce(Arc<Node>) -> F + Send + 'static)
where
    F: Future<Output = ()> + 'static,
{
    on_drives_with(drives, BUFFER_BYTES, test);
}

/// The same with a pool of `buffer_bytes`.
pub(crate) fn on_drives_with<F>(drives: usize, buffer_bytes: usize, test: impl FnOnce(Arc<Node>) -> F + Send + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let dir = tempfile::tempdir().expect("a directory for the test");
    let dirs: Vec<_> = (0..drives).map(|drive| dir.path().join(format!("d{drive}"))).collect();
    dirs.iter().for_each(|dir| std::fs::create_dir(dir).expect("a directory for a drive"));
    let main = move || async move {
        let node = Node::open(config(dirs)).await.expect("a deployment is formed");
        test(node.clone()).await;
        node.release().await;
    };
    let shards = rt::Config { buffers_bytes_per_shard: buffer_bytes, ..rt::Config::new(1) };
    rt::run_alone(shards, main).expect("the shard starts");
}

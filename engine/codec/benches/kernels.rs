//! Speed of each kernel, in GB of input per second on one core.
//!
//! `cargo bench -p hafiz-codec` measures; `cargo test` runs every line once on tiny inputs, so that
//! none of them rots. Inputs are sized to stay in the second-level cache: what is measured is the
//! kernel, not the memory.

use std::hint::black_box;
use std::time::{Duration, Instant};

use hafiz_codec::checksum::{self, Algorithm};
use hafiz_codec::erasure::Code;
use hafiz_codec::{md5, sha256};

/// How long one line is measured, after a tenth of it as warm-up.
const MEASURE: Duration = Duration::from_millis(300);

fn main() {
    // `cargo bench` says so; anything else is a test run.
    let full = std::env::args().any(|arg| arg == "--bench");
    let quick = !full || std::env::args().any(|arg| arg == "--quick");
    let bench = Bench { quick };

    for (data, parity) in [(4, 2), (12, 4), (16, 8)] {
        bench.erasure(data, parity, 4 * 1024);
        bench.erasure(data, parity, 64 * 1024);
    }
    for len in [64, 16 * 1024] {
        let bytes = noise(bench.len(len));
        bench.run("crc32c", len, bytes.len(), || checksum::crc32c(black_box(&bytes)));
        bench.run("crc32c_append", len, bytes.len(), || checksum::crc32c_append(7, black_box(&bytes)));
    }
    for algorithm in Algorithm::ALL {
        let len = 64 * 1024;
        let bytes = noise(bench.len(len));
        let name = format!("{algorithm:?}");
        bench.run(&name, len, bytes.len(), || algorithm.digest(black_box(&bytes)));
    }
    let bytes = noise(bench.len(64));
    bench.run("sha256 one-shot", 64, bytes.len(), || checksum::sha256(black_box(&bytes)));
    bench.run("hmac_sha256", 64, bytes.len(), || checksum::hmac_sha256(&[7; 32], black_box(&bytes)));
    let crc = Algorithm::Crc64Nvme.digest(b"part");
    bench.run("combine crc64nvme", 0, 0, || checksum::combine(Algorithm::Crc64Nvme, &crc, &crc, black_box(8 << 20)));
    for streams in [1, 2, 4, 8, 16, 32, 64] {
        let len = 16 * 1024;
        let bytes = noise(bench.len(len));
        let mut states = vec![md5::State::new(); streams];
        let mut jobs: Vec<(&mut md5::State, &[u8])> = states.iter_mut().map(|state| (state, &bytes[..])).collect();
        let name = format!("md5 of {streams} streams");
        bench.run(&name, len, streams * bytes.len(), || {
            md5::update_many(black_box(&mut jobs));
        });
        let mut states = vec![sha256::State::new(); streams];
        let mut jobs: Vec<(&mut sha256::State, &[u8])> = states.iter_mut().map(|state| (state, &bytes[..])).collect();
        let name = format!("sha256 of {streams} streams");
        bench.run(&name, len, streams * bytes.len(), || {
            sha256::update_many(black_box(&mut jobs));
        });
    }
}

struct Bench {
    quick: bool,
}

impl Bench {
    /// The length to use where a measurement would use `len`.
    fn len(&self, len: usize) -> usize {
        if self.quick { len.min(130) } else { len }
    }

    /// Prints the speed of `work`, which takes in `bytes` bytes; `len` is the length to name.
    fn run<R>(&self, name: &str, len: usize, bytes: usize, mut work: impl FnMut() -> R) {
        if self.quick {
            black_box(work());
            println!("{name:<24} {len:>6}  ran");
            return;
        }
        let mut measure = |span: Duration| {
            let begin = Instant::now();
            let mut calls = 0u32;
            while begin.elapsed() < span {
                for _ in 0..16 {
                    black_box(work());
                }
                calls += 16;
            }
            begin.elapsed().as_nanos() as f64 / f64::from(calls)
        };
        measure(MEASURE / 10);
        let ns = measure(MEASURE);
        let speed = bytes as f64 / ns;
        println!("{name:<24} {len:>6}  {speed:8.2} GB/s  {ns:10.0} ns");
    }

    /// Encoding, and rebuilding of one data fragment and of P of them. Speeds count D fragments.
    fn erasure(&self, data: u8, parity: u8, len: usize) {
        let code = Code::new(data, parity).expect("within the limits");
        let (d, p) = (code.data(), code.parity());
        let fragment_len = self.len(len);
        let fragments: Vec<Vec<u8>> = (0..d).map(|_| noise(fragment_len)).collect();
        let fragments: Vec<&[u8]> = fragments.iter().map(Vec::as_slice).collect();
        let mut parities = vec![vec![0; fragment_len]; p];
        let mut outputs: Vec<&mut [u8]> = parities.iter_mut().map(Vec::as_mut_slice).collect();
        let name = format!("encode {data}+{parity}");
        self.run(&name, len, d * fragment_len, || {
            code.encode(black_box(&fragments), &mut outputs);
        });
        for lost in [1, parity.min(data)] {
            let all = (0..).zip(fragments.iter().copied());
            let parities = (data..).zip(parities.iter().map(Vec::as_slice));
            let present: Vec<(u8, &[u8])> = all.skip(lost.into()).chain(parities).collect();
            let mut rebuilt = vec![vec![0; fragment_len]; lost.into()];
            let mut wanted: Vec<(u8, &mut [u8])> = (0..).zip(rebuilt.iter_mut().map(Vec::as_mut_slice)).collect();
            let name = format!("rebuild {lost} of {data}+{parity}");
            self.run(&name, len, d * fragment_len, || code.reconstruct(black_box(&present), &mut wanted));
        }
    }
}

fn noise(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 13) as u8).collect()
}

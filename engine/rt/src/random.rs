//! Random numbers: fast ones seeded from the system, secret ones straight from it. Seeded by the world in simulation.

use std::cell::Cell;

use crate::shard::{self, Backend};
use crate::sys;

/// xoshiro256**: fast and good for placement, ids and back-off; not for secrets.
#[derive(Clone)]
pub(crate) struct Generator([u64; 4]);

impl Generator {
    pub(crate) fn new(seed: u64) -> Generator {
        // splitmix64 spreads one word over the state and never yields the all-zero one.
        let mut x = seed;
        Generator(std::array::from_fn(|_| {
            x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }))
    }

    pub(crate) fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }
}

thread_local! {
    static GENERATOR: Cell<Option<Generator>> = const { Cell::new(None) };
}

fn from_thread() -> u64 {
    GENERATOR.with(|cell| {
        let mut generator = cell.take().unwrap_or_else(|| {
            let mut seed = [0u8; 8];
            sys::getrandom(&mut seed);
            Generator::new(u64::from_le_bytes(seed))
        });
        let value = generator.next();
        cell.set(Some(generator));
        value
    })
}

/// A random word. A few nanoseconds. Not for secrets.
pub fn u64() -> u64 {
    let simulated = shard::try_with(|shard| match shard.map(|shard| &shard.backend) {
        #[cfg(feature = "sim")]
        Some(Backend::Sim(core)) => Some(core.random()),
        Some(Backend::Ring { .. }) | None => None::<u64>,
    });
    simulated.unwrap_or_else(from_thread)
}

/// A random number below `bound`, which must not be 0. The bias is below 2^-64 times `bound`.
pub fn below(bound: u64) -> u64 {
    assert!(bound > 0, "nothing is below 0");
    ((u128::from(u64()) * u128::from(bound)) >> 64) as u64
}

pub fn fill(bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&u64().to_le_bytes()[..chunk.len()]);
    }
}

/// Fills from the system's generator: for keys, salts and anything an attacker must not guess. One system call.
/// Aborts when the system has no randomness. In simulation it is `fill`, so that runs replay.
pub fn fill_secret(bytes: &mut [u8]) {
    let simulated = shard::try_with(|shard| match shard.map(|shard| &shard.backend) {
        #[cfg(feature = "sim")]
        Some(Backend::Sim(_)) => true,
        Some(Backend::Ring { .. }) | None => false,
    });
    if simulated {
        fill(bytes);
    } else {
        sys::getrandom(bytes);
    }
}

//! SHA-256. One stream on the processor's own instructions waits for each of them; a second one runs in its gaps:
//! `update_many`.
//!
//! This module is the only one that names `sha2`, outside tests.

use crate::lanes::Stream;

#[cfg(target_arch = "x86_64")]
mod pair;

/// A running SHA-256. Small and copyable, so that it can move between requests and lanes.
#[derive(Clone, Copy)]
pub struct State(Stream<8>);

impl Default for State {
    fn default() -> State {
        State::new()
    }
}

impl AsMut<Stream<8>> for State {
    fn as_mut(&mut self) -> &mut Stream<8> {
        &mut self.0
    }
}

impl State {
    pub const fn new() -> State {
        State(Stream::new([
            0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
        ]))
    }

    /// Hashes `bytes` as one stream. Cost: 2 GB/s (Zen 5, SHA-NI).
    pub fn update(&mut self, bytes: &[u8]) {
        let blocks = self.0.take_in(bytes, sha2::block_api::compress256);
        sha2::block_api::compress256(&mut self.0.words, blocks);
    }

    /// Ends the stream.
    pub fn finish(mut self) -> [u8; 32] {
        self.0.pad(self.0.bits().to_be_bytes(), sha2::block_api::compress256);
        let mut digest = [0; 32];
        for (out, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(self.0.words) {
            *out = word.to_be_bytes();
        }
        digest
    }
}

/// Hashes each job's bytes into its state: what `State::update` would do one after the other, in half the time where the
/// processor has the instructions of SHA-NI and there is a second job. Never allocates.
pub fn update_many(jobs: &mut [(&mut State, &[u8])]) {
    #[cfg(target_arch = "x86_64")]
    if pair::runs() {
        return update_pairs(jobs);
    }
    for (state, bytes) in jobs {
        state.update(bytes);
    }
}

/// Panics when the processor lacks the instructions.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn update_pairs(jobs: &mut [(&mut State, &[u8])]) {
    assert!(pair::runs(), "pairs need SHA-NI");
    // SAFETY: `runs` found the instructions.
    let many = |words: &mut _, lanes: &_, _, count| unsafe { pair::compress(words, lanes, count) };
    crate::lanes::schedule(jobs, sha2::block_api::compress256, many);
}

#[cfg(test)]
mod tests;

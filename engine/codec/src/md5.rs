//! MD5. One stream is bound by its own chain of additions and stops at 0.75 GB/s, so many streams
//! are hashed side by side, one per vector lane: `update_many`.

mod kernel;
mod rounds;

use crate::lanes::Stream;

pub use kernel::update_many;

/// A running MD5. Small and copyable, so that it can move between requests and lanes.
#[derive(Clone, Copy)]
pub struct State(Stream<4>);

impl Default for State {
    fn default() -> State {
        State::new()
    }
}

impl AsMut<Stream<4>> for State {
    fn as_mut(&mut self) -> &mut Stream<4> {
        &mut self.0
    }
}

impl State {
    pub const fn new() -> State {
        State(Stream::new([0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476]))
    }

    /// Hashes `bytes` as one stream.
    pub fn update(&mut self, bytes: &[u8]) {
        let blocks = self.0.take_in(bytes, rounds::scalar::compress);
        rounds::scalar::compress(&mut self.0.words, blocks);
    }

    /// Ends the stream.
    pub fn finish(mut self) -> [u8; 16] {
        self.0.pad(self.0.bits().to_le_bytes(), rounds::scalar::compress);
        let mut digest = [0; 16];
        for (out, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(self.0.words) {
            *out = word.to_le_bytes();
        }
        digest
    }
}

#[cfg(test)]
mod tests;

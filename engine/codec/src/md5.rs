//! MD5. One stream is bound by its own chain of additions and stops at 0.75 GB/s, so many streams
//! are hashed side by side, one per vector lane: `update_many`.

mod lanes;
mod rounds;

pub use lanes::update_many;

/// Bytes of one block.
const BLOCK: usize = 64;

/// A running MD5. Small and copyable, so that it can move between requests and lanes.
#[derive(Clone, Copy)]
pub struct State {
    words: [u32; 4],
    /// Bytes seen so far; the last `len % 64` of them wait in `tail`.
    len: u64,
    tail: [u8; BLOCK],
}

impl Default for State {
    fn default() -> State {
        State::new()
    }
}

impl State {
    pub const fn new() -> State {
        State { words: [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476], len: 0, tail: [0; BLOCK] }
    }

    /// Hashes `bytes` as one stream.
    pub fn update(&mut self, bytes: &[u8]) {
        let blocks = self.take_in(bytes);
        rounds::scalar::compress(&mut self.words, blocks);
    }

    /// Ends the stream.
    pub fn finish(mut self) -> [u8; 16] {
        let bits = self.len.wrapping_mul(8);
        // One bit, zeros up to 8 bytes before the end of a block, the length: at most 72 bytes.
        let mut padding = [0; BLOCK + 8];
        padding[0] = 0x80;
        let zeros_end = match self.filled() {
            filled if filled < BLOCK - 8 => BLOCK - 8 - filled,
            filled => 2 * BLOCK - 8 - filled,
        };
        padding[zeros_end..zeros_end + 8].copy_from_slice(&bits.to_le_bytes());
        self.update(&padding[..zeros_end + 8]);
        assert_eq!(self.filled(), 0, "padding ends a block");
        let mut digest = [0; 16];
        for (out, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(self.words) {
            *out = word.to_le_bytes();
        }
        digest
    }

    /// Bytes waiting in the tail.
    fn filled(&self) -> usize {
        (self.len % BLOCK as u64) as usize
    }

    /// Counts all of `bytes`, completes and compresses a waiting tail, keeps the bytes beyond the
    /// last whole block as the new tail, and returns the whole blocks between. The caller owes
    /// their compression into `words` before the state is used again.
    fn take_in<'a>(&mut self, bytes: &'a [u8]) -> &'a [[u8; BLOCK]] {
        let filled = self.filled();
        self.len = self.len.wrapping_add(bytes.len() as u64);
        let mut bytes = bytes;
        if filled > 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK - filled));
            self.tail[filled..filled + head.len()].copy_from_slice(head);
            if filled + head.len() < BLOCK {
                return &[];
            }
            rounds::scalar::compress(&mut self.words, &[self.tail]);
            bytes = rest;
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        self.tail[..rest.len()].copy_from_slice(rest);
        blocks
    }
}

#[cfg(test)]
mod tests;

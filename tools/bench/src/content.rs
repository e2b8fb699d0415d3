//! What objects hold: bytes that do not compress, other ones for each object, made without copying.
//!
//! All come from one block. An object begins with its number and goes on with the block from a place that its number
//! names, round and round. So bodies take no memory of their own, and what comes back can be compared.

use crate::random::Random;

/// Large enough that the processor's caches do not hold it all, as they would not hold what an application sends.
const BLOCK_BYTES: usize = 8 << 20;
const PLACE_BYTES: u64 = 64;
pub(crate) const STAMP_BYTES: usize = 8;

pub(crate) struct Content {
    block: Box<[u8]>,
}

impl Content {
    pub(crate) fn new() -> Content {
        let mut random = Random::new(1);
        Content { block: (0..BLOCK_BYTES / 8).flat_map(|_| random.next().to_le_bytes()).collect() }
    }

    /// The bytes from `at` on that lie side by side in memory; at least one, at most `len`. `at` is behind the stamp.
    pub(crate) fn piece(&self, number: u64, at: u64, len: u64) -> &[u8] {
        let places = BLOCK_BYTES as u64 / PLACE_BYTES;
        let place = Random::new(number).below(places) * PLACE_BYTES;
        let from = ((place + at) % BLOCK_BYTES as u64) as usize;
        &self.block[from..BLOCK_BYTES.min(from + usize::try_from(len).unwrap_or(BLOCK_BYTES))]
    }

    /// What an object of this size begins with.
    pub(crate) fn stamp(number: u64, size: u64) -> ([u8; STAMP_BYTES], usize) {
        (number.to_le_bytes(), size.min(STAMP_BYTES as u64) as usize)
    }

    /// Calls `each` with the pieces of the whole.
    pub(crate) fn pieces(&self, number: u64, size: u64, mut each: impl FnMut(&[u8])) {
        let (stamp, len) = Content::stamp(number, size);
        each(&stamp[..len]);
        let mut at = len as u64;
        while at < size {
            let piece = self.piece(number, at, size - at);
            each(piece);
            at += piece.len() as u64;
        }
    }

    /// Whether these are the object's bytes from `at` on.
    pub(crate) fn is(&self, number: u64, mut at: u64, mut bytes: &[u8]) -> bool {
        let stamp = number.to_le_bytes();
        while let Some(first) = bytes.first() {
            if at < STAMP_BYTES as u64 {
                if *first != stamp[at as usize] {
                    return false;
                }
                (at, bytes) = (at + 1, &bytes[1..]);
                continue;
            }
            let piece = self.piece(number, at, bytes.len() as u64);
            if !bytes.starts_with(piece) {
                return false;
            }
            (at, bytes) = (at + piece.len() as u64, &bytes[piece.len()..]);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_known_again_and_nothing_else_is() {
        let content = Content::new();
        for size in [0, 1, 7, 8, 9, 4096, (BLOCK_BYTES + 100) as u64] {
            let mut whole = Vec::new();
            content.pieces(5, size, |piece| whole.extend_from_slice(piece));
            assert_eq!(whole.len() as u64, size);
            assert!(content.is(5, 0, &whole));
            let from = whole.len() / 3;
            assert!(content.is(5, from as u64, &whole[from..]));
            if size > 0 {
                assert!(!content.is(6, 0, &whole));
                let last = whole.len() - 1;
                whole[last] ^= 1;
                assert!(!content.is(5, 0, &whole));
            }
        }
    }
}

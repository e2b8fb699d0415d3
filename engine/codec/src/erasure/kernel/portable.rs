//! The twin that every other kernel is tested against: 64-bit words, no tables, no instructions
//! beyond those of any processor. The compiler makes vectors of it where it can.

use super::{Pass, ROWS_MAX};

/// Bytes per step.
const STEP: usize = 64;
const WORDS: usize = STEP / 8;

pub(super) fn portable(pass: Pass<'_, '_>) {
    let mut at = pass.start;
    while at < pass.end {
        let len = STEP.min(pass.end - at);
        let mut sums = [[0; WORDS]; ROWS_MAX];
        for (column, source) in pass.sources.iter().enumerate() {
            let mut words = load(&source[at..at + len]);
            // Bit by bit of the coefficients; `words` is the source times 2^bit.
            for bit in 0..8 {
                for (sum, row) in sums.iter_mut().zip(pass.rows) {
                    let mask = 0u64.wrapping_sub(u64::from(row[column] >> bit & 1));
                    for (sum, word) in sum.iter_mut().zip(words) {
                        *sum ^= word & mask;
                    }
                }
                words = words.map(double);
            }
        }
        for (output, sum) in pass.outputs.iter_mut().zip(&sums) {
            let mut bytes = [0; STEP];
            for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(sum) {
                *bytes = word.to_le_bytes();
            }
            output[at..at + len].copy_from_slice(&bytes[..len]);
        }
        at += len;
    }
}

fn load(bytes: &[u8]) -> [u64; WORDS] {
    let mut padded = [0; STEP];
    padded[..bytes.len()].copy_from_slice(bytes);
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(padded.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// Multiplies each of 8 bytes by 2.
fn double(word: u64) -> u64 {
    let carries = word & 0x8080_8080_8080_8080;
    // 0xff in each byte that carries out.
    let reduce = (carries << 1).wrapping_sub(carries >> 7);
    ((word ^ carries) << 1) ^ (reduce & 0x1d1d_1d1d_1d1d_1d1d)
}

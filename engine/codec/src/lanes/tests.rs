//! What the tests of the hashes have in common.

use std::fmt::Debug;

/// Bytes without a short period, the same for the same `seed`.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Hashes pieces of so many bytes, one of each stream in each round, and compares with what `oracle` says of whole streams.
pub(crate) fn check_rounds_of_jobs<S: Copy, D: PartialEq + Debug>(
    new: S,
    update_many: impl Fn(&mut [(&mut S, &[u8])]),
    finish: impl Fn(S) -> D,
    oracle: impl Fn(&[u8]) -> D,
    lens: &[Vec<usize>],
) {
    let streams = lens.iter().map(Vec::len).max().unwrap_or(0);
    let mut states = vec![new; streams];
    let mut seen = vec![Vec::new(); streams];
    for (round, lens) in lens.iter().enumerate() {
        let pieces: Vec<_> = (lens.iter().enumerate()).map(|(i, &len)| noise((round * 1000 + i) as u64, len)).collect();
        let mut jobs: Vec<(&mut S, &[u8])> =
            (states.iter_mut()).zip(&pieces).map(|(state, piece)| (state, &piece[..])).collect();
        update_many(&mut jobs);
        for (seen, piece) in seen.iter_mut().zip(&pieces) {
            seen.extend_from_slice(piece);
        }
    }
    for (i, (state, seen)) in states.into_iter().zip(&seen).enumerate() {
        assert_eq!(finish(state), oracle(seen), "stream {i} of {lens:?}");
    }
}

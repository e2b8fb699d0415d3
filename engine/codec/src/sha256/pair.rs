//! Two streams on the processor's own SHA-256 instructions.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use crate::lanes::BLOCK;

/// Streams at a time.
const LANES: usize = 2;

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2), as many as one
/// step takes.
const ROOTS: [[u32; 4]; 16] = [
    [0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5],
    [0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5],
    [0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3],
    [0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174],
    [0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc],
    [0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da],
    [0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7],
    [0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967],
    [0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13],
    [0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85],
    [0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3],
    [0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070],
    [0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5],
    [0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3],
    [0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208],
    [0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2],
];

pub(super) fn runs() -> bool {
    // The standard library caches what it detects: one load per feature.
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("ssse3") && is_x86_feature_detected!("sse4.1")
}

/// Four rounds of both streams: of the block's own words, or of those that follow from the 16 before.
macro_rules! step {
    ($state:ident $message:ident, $step:literal) => {
        for (state, words) in $state.iter_mut().zip(&mut $message) {
            if $step >= 4 {
                let between = _mm_alignr_epi8::<4>(words[($step + 3) % 4], words[($step + 2) % 4]);
                let early = _mm_sha256msg1_epu32(words[$step % 4], words[($step + 1) % 4]);
                words[$step % 4] = _mm_sha256msg2_epu32(_mm_add_epi32(early, between), words[($step + 3) % 4]);
            }
            let [r0, r1, r2, r3] = ROOTS[$step].map(u32::cast_signed);
            let sums = _mm_add_epi32(words[$step % 4], _mm_set_epi32(r3, r2, r1, r0));
            state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, sums);
            state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, _mm_shuffle_epi32::<0x0e>(sums));
        }
    };
}

/// The eight words as the instructions want them, the first named in the highest element.
#[derive(Clone, Copy)]
struct Registers {
    abef: __m128i,
    cdgh: __m128i,
}

/// Compresses the first `count` blocks of both lanes.
///
/// Panics when a lane has fewer.
#[target_feature(enable = "sha,ssse3,sse4.1")]
pub(super) fn compress(words: &mut [[u32; LANES]; 8], lanes: &[&[[u8; BLOCK]]; LANES], count: usize) {
    let mut state = [load(words, 0), load(words, 1)];
    for (first, second) in lanes[0][..count].iter().zip(&lanes[1][..count]) {
        let before = state;
        let mut message = [message(first), message(second)];
        step!(state message, 0);
        step!(state message, 1);
        step!(state message, 2);
        step!(state message, 3);
        step!(state message, 4);
        step!(state message, 5);
        step!(state message, 6);
        step!(state message, 7);
        step!(state message, 8);
        step!(state message, 9);
        step!(state message, 10);
        step!(state message, 11);
        step!(state message, 12);
        step!(state message, 13);
        step!(state message, 14);
        step!(state message, 15);
        for (state, before) in state.iter_mut().zip(before) {
            state.abef = _mm_add_epi32(state.abef, before.abef);
            state.cdgh = _mm_add_epi32(state.cdgh, before.cdgh);
        }
    }
    for (lane, state) in state.into_iter().enumerate() {
        store(words, lane, state);
    }
}

#[inline]
#[target_feature(enable = "sse4.1")]
fn load(words: &[[u32; LANES]; 8], lane: usize) -> Registers {
    let [a, b, c, d, e, f, g, h] = words.map(|lanes| lanes[lane].cast_signed());
    Registers { abef: _mm_set_epi32(a, b, e, f), cdgh: _mm_set_epi32(c, d, g, h) }
}

#[inline]
#[target_feature(enable = "sse4.1")]
fn store(words: &mut [[u32; LANES]; 8], lane: usize, state: Registers) {
    let four = |x| {
        [_mm_extract_epi32::<3>(x), _mm_extract_epi32::<2>(x), _mm_extract_epi32::<1>(x), _mm_extract_epi32::<0>(x)]
            .map(i32::cast_unsigned)
    };
    let ([a, b, e, f], [c, d, g, h]) = (four(state.abef), four(state.cdgh));
    for (words, word) in words.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        words[lane] = word;
    }
}

/// The words of a block, which are big-endian.
#[inline]
#[target_feature(enable = "ssse3")]
fn message(block: &[u8; BLOCK]) -> [__m128i; 4] {
    let order = _mm_set_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203);
    let mut words = [_mm_setzero_si128(); 4];
    for (words, bytes) in words.iter_mut().zip(block.as_chunks::<16>().0) {
        // SAFETY: `bytes` is 16 readable bytes; the load has no alignment rule.
        *words = _mm_shuffle_epi8(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }, order);
    }
    words
}

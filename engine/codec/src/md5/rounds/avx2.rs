//! Up to 16 streams in AVX2 registers.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::SINES;
use crate::lanes::BLOCK;

/// Lanes of one register.
pub(in crate::md5) const WIDTH: usize = 8;
/// Lanes of two.
pub(in crate::md5) const LANES: usize = 2 * WIDTH;

/// Compresses the first `count` blocks of each of the first `N * WIDTH` lanes.
///
/// Panics when a lane has fewer.
#[target_feature(enable = "avx2")]
pub(in crate::md5) fn compress<const N: usize>(
    words: &mut [[u32; LANES]; 4],
    lanes: &[&[[u8; BLOCK]]; LANES],
    count: usize,
) {
    let mut state = [[_mm256_setzero_si256(); N]; 4];
    for (registers, words) in state.iter_mut().zip(words.iter()) {
        for (register, words) in registers.iter_mut().zip(words.as_chunks::<WIDTH>().0) {
            // SAFETY: `words` is 32 readable bytes; the load has no alignment rule.
            *register = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
        }
    }
    let lanes = lanes.as_chunks::<WIDTH>().0;
    for index in 0..count {
        let mut message = [[_mm256_setzero_si256(); N]; 16];
        for (i, lanes) in lanes.iter().enumerate().take(N) {
            // No `map`: it is compiled without the feature, so that what it calls is not inlined (a twelfth of the time).
            let mut blocks = [&lanes[0][index]; WIDTH];
            for (block, lane) in blocks.iter_mut().zip(lanes) {
                *block = &lane[index];
            }
            for (words, word) in message.iter_mut().zip(transpose(blocks)) {
                words[i] = word;
            }
        }
        rounds!(state, message);
    }
    for (words, registers) in words.iter_mut().zip(state) {
        for (words, register) in words.as_chunks_mut::<WIDTH>().0.iter_mut().zip(registers) {
            // SAFETY: `words` is 32 writable bytes; the store has no alignment rule.
            unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), register) };
        }
    }
}

/// Word `i` of all 8 blocks becomes element `i` of the result: two 8x8 transpositions.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(blocks: [&[u8; BLOCK]; WIDTH]) -> [__m256i; 16] {
    let mut words = [_mm256_setzero_si256(); 16];
    for half in 0..2 {
        let mut quads = [[_mm256_setzero_si256(); 4]; 2];
        for (quad, rows) in quads.iter_mut().zip(blocks.as_chunks::<4>().0) {
            let mut registers = [_mm256_setzero_si256(); 4];
            for (register, row) in registers.iter_mut().zip(rows) {
                *register = load(&row.as_chunks::<32>().0[half]);
            }
            let [r0, r1, r2, r3] = registers;
            let low01 = _mm256_unpacklo_epi32(r0, r1);
            let high01 = _mm256_unpackhi_epi32(r0, r1);
            let low23 = _mm256_unpacklo_epi32(r2, r3);
            let high23 = _mm256_unpackhi_epi32(r2, r3);
            *quad = [
                _mm256_unpacklo_epi64(low01, low23),
                _mm256_unpackhi_epi64(low01, low23),
                _mm256_unpacklo_epi64(high01, high23),
                _mm256_unpackhi_epi64(high01, high23),
            ];
        }
        // quads[q][c], 128-bit lane l: word 4l + c of this half of blocks 4q..4q+4.
        for column in 0..4 {
            let [q0, q1] = [quads[0][column], quads[1][column]];
            words[8 * half + column] = _mm256_permute2x128_si256::<0x20>(q0, q1);
            words[8 * half + column + 4] = _mm256_permute2x128_si256::<0x31>(q0, q1);
        }
    }
    words
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: `bytes` is 32 readable bytes; the load has no alignment rule.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn splat<const N: usize>(value: u32) -> [__m256i; N] {
    [_mm256_set1_epi32(value.cast_signed()); N]
}

#[inline]
#[target_feature(enable = "avx2")]
fn add<const N: usize>(mut a: [__m256i; N], b: [__m256i; N]) -> [__m256i; N] {
    for (a, b) in a.iter_mut().zip(b) {
        *a = _mm256_add_epi32(*a, b);
    }
    a
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotl<const LEFT: i32, const RIGHT: i32, const N: usize>(mut a: [__m256i; N]) -> [__m256i; N] {
    for a in &mut a {
        *a = _mm256_or_si256(_mm256_slli_epi32::<LEFT>(*a), _mm256_srli_epi32::<RIGHT>(*a));
    }
    a
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_f<const N: usize>(mut sum: [__m256i; N], b: [__m256i; N], c: [__m256i; N], d: [__m256i; N]) -> [__m256i; N] {
    for (((sum, b), c), d) in sum.iter_mut().zip(b).zip(c).zip(d) {
        let choice = _mm256_xor_si256(d, _mm256_and_si256(b, _mm256_xor_si256(c, d)));
        *sum = _mm256_add_epi32(*sum, choice);
    }
    sum
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_g<const N: usize>(mut sum: [__m256i; N], b: [__m256i; N], c: [__m256i; N], d: [__m256i; N]) -> [__m256i; N] {
    for (((sum, b), c), d) in sum.iter_mut().zip(b).zip(c).zip(d) {
        let early = _mm256_add_epi32(*sum, _mm256_andnot_si256(d, c));
        *sum = _mm256_add_epi32(early, _mm256_and_si256(b, d));
    }
    sum
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_h<const N: usize>(mut sum: [__m256i; N], b: [__m256i; N], c: [__m256i; N], d: [__m256i; N]) -> [__m256i; N] {
    for (((sum, b), c), d) in sum.iter_mut().zip(b).zip(c).zip(d) {
        *sum = _mm256_add_epi32(*sum, _mm256_xor_si256(b, _mm256_xor_si256(c, d)));
    }
    sum
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_i<const N: usize>(mut sum: [__m256i; N], b: [__m256i; N], c: [__m256i; N], d: [__m256i; N]) -> [__m256i; N] {
    for (((sum, b), c), d) in sum.iter_mut().zip(b).zip(c).zip(d) {
        let not_d = _mm256_xor_si256(d, _mm256_set1_epi32(-1));
        *sum = _mm256_add_epi32(*sum, _mm256_xor_si256(c, _mm256_or_si256(b, not_d)));
    }
    sum
}

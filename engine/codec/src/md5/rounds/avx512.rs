//! Up to 32 streams in AVX-512 registers.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::SINES;
use crate::lanes::BLOCK;

/// Lanes of one register.
pub(in crate::md5) const WIDTH: usize = 16;
/// Lanes of two.
pub(in crate::md5) const LANES: usize = 2 * WIDTH;

/// Compresses the first `count` blocks of each of the first `N * WIDTH` lanes.
///
/// Panics when a lane has fewer.
#[target_feature(enable = "avx512f")]
pub(in crate::md5) fn compress<const N: usize>(
    words: &mut [[u32; LANES]; 4],
    lanes: &[&[[u8; BLOCK]]; LANES],
    count: usize,
) {
    let mut state = [[_mm512_setzero_si512(); N]; 4];
    for (registers, words) in state.iter_mut().zip(words.iter()) {
        for (register, words) in registers.iter_mut().zip(words.as_chunks::<WIDTH>().0) {
            // SAFETY: `words` is 64 readable bytes; the load has no alignment rule.
            *register = unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
        }
    }
    let lanes = lanes.as_chunks::<WIDTH>().0;
    for index in 0..count {
        let mut message = [[_mm512_setzero_si512(); N]; 16];
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
            // SAFETY: `words` is 64 writable bytes; the store has no alignment rule.
            unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), register) };
        }
    }
}

/// Word `i` of all 16 blocks becomes element `i` of the result: a 16x16 transposition.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(blocks: [&[u8; BLOCK]; WIDTH]) -> [__m512i; 16] {
    let mut words = [_mm512_setzero_si512(); 16];
    let mut quads = [[_mm512_setzero_si512(); 4]; 4];
    for (quad, rows) in quads.iter_mut().zip(blocks.as_chunks::<4>().0) {
        let (r0, r1, r2, r3) = (load(rows[0]), load(rows[1]), load(rows[2]), load(rows[3]));
        let (low01, high01) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpackhi_epi32(r0, r1));
        let (low23, high23) = (_mm512_unpacklo_epi32(r2, r3), _mm512_unpackhi_epi32(r2, r3));
        *quad = [
            _mm512_unpacklo_epi64(low01, low23),
            _mm512_unpackhi_epi64(low01, low23),
            _mm512_unpacklo_epi64(high01, high23),
            _mm512_unpackhi_epi64(high01, high23),
        ];
    }
    // quads[q][c], 128-bit lane l: word 4l + c of blocks 4q..4q+4.
    for column in 0..4 {
        let [q0, q1, q2, q3] = [quads[0][column], quads[1][column], quads[2][column], quads[3][column]];
        let even01 = _mm512_shuffle_i32x4::<0x88>(q0, q1);
        let even23 = _mm512_shuffle_i32x4::<0x88>(q2, q3);
        let odd01 = _mm512_shuffle_i32x4::<0xdd>(q0, q1);
        let odd23 = _mm512_shuffle_i32x4::<0xdd>(q2, q3);
        words[column] = _mm512_shuffle_i32x4::<0x88>(even01, even23);
        words[column + 4] = _mm512_shuffle_i32x4::<0x88>(odd01, odd23);
        words[column + 8] = _mm512_shuffle_i32x4::<0xdd>(even01, even23);
        words[column + 12] = _mm512_shuffle_i32x4::<0xdd>(odd01, odd23);
    }
    words
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; BLOCK]) -> __m512i {
    // SAFETY: `bytes` is 64 readable bytes; the load has no alignment rule.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn splat<const N: usize>(value: u32) -> [__m512i; N] {
    [_mm512_set1_epi32(value.cast_signed()); N]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add<const N: usize>(mut a: [__m512i; N], b: [__m512i; N]) -> [__m512i; N] {
    for (a, b) in a.iter_mut().zip(b) {
        *a = _mm512_add_epi32(*a, b);
    }
    a
}

#[inline]
#[target_feature(enable = "avx512f")]
fn rotl<const LEFT: i32, const RIGHT: i32, const N: usize>(mut a: [__m512i; N]) -> [__m512i; N] {
    for a in &mut a {
        *a = _mm512_rol_epi32::<LEFT>(*a);
    }
    a
}

// The constants are truth tables: bit (4b + 2c + d) is the function's value there.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_f<const N: usize>(mut sum: [__m512i; N], b: [__m512i; N], c: [__m512i; N], d: [__m512i; N]) -> [__m512i; N] {
    for (((sum, b), c), d) in sum.iter_mut().zip(b).zip(c).zip(d) {
        *sum = _mm512_add_epi32(*sum, _mm512_ternarylogic_epi32::<0xca>(b, c, d));
    }
    sum
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add_g<const N: usize>(mut sum: [__m512i; N], b: [__m512i; N], c: [__m512i; N], d: [__m512i; N]) -> [__m512i; N] {
    for (((sum, b), c), d) in sum.iter_mut().zip(b).zip(c).zip(d) {
        *sum = _mm512_add_epi32(*sum, _mm512_ternarylogic_epi32::<0xe4>(b, c, d));
    }
    sum
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add_h<const N: usize>(mut sum: [__m512i; N], b: [__m512i; N], c: [__m512i; N], d: [__m512i; N]) -> [__m512i; N] {
    for (((sum, b), c), d) in sum.iter_mut().zip(b).zip(c).zip(d) {
        *sum = _mm512_add_epi32(*sum, _mm512_ternarylogic_epi32::<0x96>(b, c, d));
    }
    sum
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add_i<const N: usize>(mut sum: [__m512i; N], b: [__m512i; N], c: [__m512i; N], d: [__m512i; N]) -> [__m512i; N] {
    for (((sum, b), c), d) in sum.iter_mut().zip(b).zip(c).zip(d) {
        *sum = _mm512_add_epi32(*sum, _mm512_ternarylogic_epi32::<0x39>(b, c, d));
    }
    sum
}

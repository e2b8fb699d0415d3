//! Up to 8 streams in NEON registers.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::SINES;
use crate::lanes::BLOCK;

/// Lanes of one register.
pub(in crate::md5) const WIDTH: usize = 4;
/// Lanes of two.
pub(in crate::md5) const LANES: usize = 2 * WIDTH;

/// Compresses the first `count` blocks of each of the first `N * WIDTH` lanes.
///
/// Panics when a lane has fewer.
#[target_feature(enable = "neon")]
pub(in crate::md5) fn compress<const N: usize>(
    words: &mut [[u32; LANES]; 4],
    lanes: &[&[[u8; BLOCK]]; LANES],
    count: usize,
) {
    let mut state = [[vdupq_n_u32(0); N]; 4];
    for (registers, words) in state.iter_mut().zip(words.iter()) {
        for (register, words) in registers.iter_mut().zip(words.as_chunks::<WIDTH>().0) {
            // SAFETY: `words` is four readable words.
            *register = unsafe { vld1q_u32(words.as_ptr()) };
        }
    }
    let lanes = lanes.as_chunks::<WIDTH>().0;
    for index in 0..count {
        let mut message = [[vdupq_n_u32(0); N]; 16];
        for (i, lanes) in lanes.iter().enumerate().take(N) {
            let column = transpose(lanes.map(|lane| &lane[index]));
            for (words, word) in message.iter_mut().zip(column) {
                words[i] = word;
            }
        }
        rounds!(state, message);
    }
    for (words, registers) in words.iter_mut().zip(state) {
        for (words, register) in words.as_chunks_mut::<WIDTH>().0.iter_mut().zip(registers) {
            // SAFETY: `words` is four writable words.
            unsafe { vst1q_u32(words.as_mut_ptr(), register) };
        }
    }
}

/// Word `i` of all 4 blocks becomes element `i` of the result: four 4x4 transpositions.
#[inline]
#[target_feature(enable = "neon")]
fn transpose(blocks: [&[u8; BLOCK]; WIDTH]) -> [uint32x4_t; 16] {
    let mut words = [vdupq_n_u32(0); 16];
    for (quarter, four) in words.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let [r0, r1, r2, r3] = blocks.map(|row| load(&row.as_chunks::<16>().0[quarter]));
        let low01 = vreinterpretq_u64_u32(vzip1q_u32(r0, r1));
        let high01 = vreinterpretq_u64_u32(vzip2q_u32(r0, r1));
        let low23 = vreinterpretq_u64_u32(vzip1q_u32(r2, r3));
        let high23 = vreinterpretq_u64_u32(vzip2q_u32(r2, r3));
        *four = [
            vreinterpretq_u32_u64(vzip1q_u64(low01, low23)),
            vreinterpretq_u32_u64(vzip2q_u64(low01, low23)),
            vreinterpretq_u32_u64(vzip1q_u64(high01, high23)),
            vreinterpretq_u32_u64(vzip2q_u64(high01, high23)),
        ];
    }
    words
}

#[inline]
#[target_feature(enable = "neon")]
fn load(bytes: &[u8; 16]) -> uint32x4_t {
    // SAFETY: `bytes` is 16 readable bytes; the load has no alignment rule.
    vreinterpretq_u32_u8(unsafe { vld1q_u8(bytes.as_ptr()) })
}

#[inline]
#[target_feature(enable = "neon")]
fn splat<const N: usize>(value: u32) -> [uint32x4_t; N] {
    [vdupq_n_u32(value); N]
}

#[inline]
#[target_feature(enable = "neon")]
fn add<const N: usize>(mut a: [uint32x4_t; N], b: [uint32x4_t; N]) -> [uint32x4_t; N] {
    for (a, b) in a.iter_mut().zip(b) {
        *a = vaddq_u32(*a, b);
    }
    a
}

#[inline]
#[target_feature(enable = "neon")]
fn rotl<const LEFT: i32, const RIGHT: i32, const N: usize>(mut a: [uint32x4_t; N]) -> [uint32x4_t; N] {
    for a in &mut a {
        *a = vsriq_n_u32::<RIGHT>(vshlq_n_u32::<LEFT>(*a), *a);
    }
    a
}

#[inline]
#[target_feature(enable = "neon")]
fn add_f<const N: usize>(
    mut sum: [uint32x4_t; N],
    b: [uint32x4_t; N],
    c: [uint32x4_t; N],
    d: [uint32x4_t; N],
) -> [uint32x4_t; N] {
    for (((sum, b), c), d) in sum.iter_mut().zip(b).zip(c).zip(d) {
        *sum = vaddq_u32(*sum, vbslq_u32(b, c, d));
    }
    sum
}

#[inline]
#[target_feature(enable = "neon")]
fn add_g<const N: usize>(
    mut sum: [uint32x4_t; N],
    b: [uint32x4_t; N],
    c: [uint32x4_t; N],
    d: [uint32x4_t; N],
) -> [uint32x4_t; N] {
    for (((sum, b), c), d) in sum.iter_mut().zip(b).zip(c).zip(d) {
        *sum = vaddq_u32(*sum, vbslq_u32(d, b, c));
    }
    sum
}

#[inline]
#[target_feature(enable = "neon")]
fn add_h<const N: usize>(
    mut sum: [uint32x4_t; N],
    b: [uint32x4_t; N],
    c: [uint32x4_t; N],
    d: [uint32x4_t; N],
) -> [uint32x4_t; N] {
    for (((sum, b), c), d) in sum.iter_mut().zip(b).zip(c).zip(d) {
        *sum = vaddq_u32(*sum, veorq_u32(b, veorq_u32(c, d)));
    }
    sum
}

#[inline]
#[target_feature(enable = "neon")]
fn add_i<const N: usize>(
    mut sum: [uint32x4_t; N],
    b: [uint32x4_t; N],
    c: [uint32x4_t; N],
    d: [uint32x4_t; N],
) -> [uint32x4_t; N] {
    for (((sum, b), c), d) in sum.iter_mut().zip(b).zip(c).zip(d) {
        *sum = vaddq_u32(*sum, veorq_u32(c, vornq_u32(b, d)));
    }
    sum
}

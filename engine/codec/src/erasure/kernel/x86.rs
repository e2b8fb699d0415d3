//! Kernels for x86-64. With GFNI one instruction multiplies a whole vector by an 8x8 bit matrix;
//! without it two shuffles look up the products of the nibbles.
#![allow(unsafe_code)]

use std::arch::x86_64::*;
use std::array::from_fn;

use super::super::field::{BIT_MATRICES, NIBBLE_PRODUCTS};
use super::{DATA_MAX, Pass, Row, by_rows};

/// Two vectors of 64 bytes a step: up to 16 accumulators of 32 registers.
#[target_feature(enable = "avx512f,gfni")]
pub(super) fn avx512_gfni(pass: Pass<'_, '_>) {
    by_rows!(pass, avx512_gfni_rows, 1 2 3 4 5 6 7 8);
}

#[target_feature(enable = "avx512f,gfni")]
fn avx512_gfni_rows<const ROWS: usize>(mut pass: Pass<'_, '_>) {
    const WIDTH: usize = 64;
    let matrices = bit_matrices::<ROWS>(pass.rows);
    let mut at = pass.start;
    while at + 2 * WIDTH <= pass.end {
        avx512_gfni_step::<ROWS, 2>(&mut pass, &matrices, at);
        at += 2 * WIDTH;
    }
    while at < pass.end {
        let last = at.min(pass.end - WIDTH);
        avx512_gfni_step::<ROWS, 1>(&mut pass, &matrices, last);
        at += WIDTH;
    }
}

#[inline]
#[target_feature(enable = "avx512f,gfni")]
fn avx512_gfni_step<const ROWS: usize, const VECTORS: usize>(
    pass: &mut Pass<'_, '_>,
    matrices: &[[u64; ROWS]; DATA_MAX],
    at: usize,
) {
    let mut sums = [[_mm512_setzero_si512(); VECTORS]; ROWS];
    for (source, matrices) in pass.sources.iter().zip(matrices) {
        // SAFETY: `at + 64 * VECTORS <= pass.end <= source.len()`, see `Pass`.
        let vectors: [__m512i; VECTORS] =
            from_fn(|i| unsafe { _mm512_loadu_si512(source.as_ptr().add(at + 64 * i).cast()) });
        for (sums, &matrix) in sums.iter_mut().zip(matrices) {
            let matrix = _mm512_set1_epi64(matrix.cast_signed());
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                let product = _mm512_gf2p8affine_epi64_epi8::<0>(vector, matrix);
                *sum = _mm512_xor_si512(*sum, product);
            }
        }
    }
    for (output, sums) in pass.outputs.iter_mut().zip(sums) {
        for (i, sum) in sums.into_iter().enumerate() {
            // SAFETY: `at + 64 * VECTORS <= pass.end <= output.len()`, see `Pass`.
            unsafe { _mm512_storeu_si512(output.as_mut_ptr().add(at + 64 * i).cast(), sum) };
        }
    }
}

/// Two vectors of 32 bytes a step: up to 8 accumulators of 16 registers.
#[target_feature(enable = "avx2,gfni")]
pub(super) fn avx2_gfni(pass: Pass<'_, '_>) {
    by_rows!(pass, avx2_gfni_rows, 1 2 3 4);
}

#[target_feature(enable = "avx2,gfni")]
fn avx2_gfni_rows<const ROWS: usize>(mut pass: Pass<'_, '_>) {
    const WIDTH: usize = 32;
    let matrices = bit_matrices::<ROWS>(pass.rows);
    let mut at = pass.start;
    while at + 2 * WIDTH <= pass.end {
        avx2_gfni_step::<ROWS, 2>(&mut pass, &matrices, at);
        at += 2 * WIDTH;
    }
    while at < pass.end {
        let last = at.min(pass.end - WIDTH);
        avx2_gfni_step::<ROWS, 1>(&mut pass, &matrices, last);
        at += WIDTH;
    }
}

#[inline]
#[target_feature(enable = "avx2,gfni")]
fn avx2_gfni_step<const ROWS: usize, const VECTORS: usize>(
    pass: &mut Pass<'_, '_>,
    matrices: &[[u64; ROWS]; DATA_MAX],
    at: usize,
) {
    let mut sums = [[_mm256_setzero_si256(); VECTORS]; ROWS];
    for (source, matrices) in pass.sources.iter().zip(matrices) {
        let vectors: [__m256i; VECTORS] = from_fn(|i| load(source, at + 32 * i));
        for (sums, &matrix) in sums.iter_mut().zip(matrices) {
            let matrix = _mm256_set1_epi64x(matrix.cast_signed());
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                let product = _mm256_gf2p8affine_epi64_epi8::<0>(vector, matrix);
                *sum = _mm256_xor_si256(*sum, product);
            }
        }
    }
    for (output, sums) in pass.outputs.iter_mut().zip(sums) {
        for (i, sum) in sums.into_iter().enumerate() {
            store(output, at + 32 * i, sum);
        }
    }
}

/// One vector of 32 bytes a step: the tables take the other registers.
#[target_feature(enable = "avx2")]
pub(super) fn avx2(pass: Pass<'_, '_>) {
    by_rows!(pass, avx2_rows, 1 2 3 4);
}

#[target_feature(enable = "avx2")]
fn avx2_rows<const ROWS: usize>(mut pass: Pass<'_, '_>) {
    const WIDTH: usize = 32;
    let mut at = pass.start;
    while at < pass.end {
        let last = at.min(pass.end - WIDTH);
        avx2_step::<ROWS>(&mut pass, last);
        at += WIDTH;
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn avx2_step<const ROWS: usize>(pass: &mut Pass<'_, '_>, at: usize) {
    let nibble = _mm256_set1_epi8(15);
    let mut sums = [_mm256_setzero_si256(); ROWS];
    for (column, source) in pass.sources.iter().enumerate() {
        let vector = load(source, at);
        let low = _mm256_and_si256(vector, nibble);
        let high = _mm256_and_si256(_mm256_srli_epi64::<4>(vector), nibble);
        for (sum, row) in sums.iter_mut().zip(pass.rows) {
            let products = &NIBBLE_PRODUCTS[usize::from(row[column])];
            let tables = load(products, 0);
            let low_table = _mm256_permute2x128_si256::<0x00>(tables, tables);
            let high_table = _mm256_permute2x128_si256::<0x11>(tables, tables);
            let product = _mm256_xor_si256(_mm256_shuffle_epi8(low_table, low), _mm256_shuffle_epi8(high_table, high));
            *sum = _mm256_xor_si256(*sum, product);
        }
    }
    for (output, sum) in pass.outputs.iter_mut().zip(sums) {
        store(output, at, sum);
    }
}

/// Matrices of `rows`, turned so that those of one source lie together.
fn bit_matrices<const ROWS: usize>(rows: &[Row]) -> [[u64; ROWS]; DATA_MAX] {
    from_fn(|source| from_fn(|row| BIT_MATRICES[usize::from(rows[row][source])]))
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8], at: usize) -> __m256i {
    debug_assert!(at + 32 <= bytes.len());
    // SAFETY: `at + 32 <= bytes.len()`: callers stay below `pass.end`, see `Pass`.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().add(at).cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(bytes: &mut [u8], at: usize, vector: __m256i) {
    debug_assert!(at + 32 <= bytes.len());
    // SAFETY: `at + 32 <= bytes.len()`: callers stay below `pass.end`, see `Pass`.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().add(at).cast(), vector) };
}

//! Kernel for AArch64: two table look-ups give the products of the nibbles.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::super::field::NIBBLE_PRODUCTS;
use super::{Pass, by_rows};

/// Bytes per step.
const WIDTH: usize = 16;

#[target_feature(enable = "neon")]
pub(super) fn neon(pass: Pass<'_, '_>) {
    by_rows!(pass, neon_rows, 1 2 3 4 5 6 7 8);
}

#[target_feature(enable = "neon")]
fn neon_rows<const ROWS: usize>(mut pass: Pass<'_, '_>) {
    let mut at = pass.start;
    while at < pass.end {
        let last = at.min(pass.end - WIDTH);
        neon_step::<ROWS>(&mut pass, last);
        at += WIDTH;
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn neon_step<const ROWS: usize>(pass: &mut Pass<'_, '_>, at: usize) {
    let mut sums = [vdupq_n_u8(0); ROWS];
    for (column, source) in pass.sources.iter().enumerate() {
        // SAFETY: `at + 16 <= pass.end <= source.len()`, see `Pass`.
        let vector = unsafe { vld1q_u8(source.as_ptr().add(at)) };
        let low = vandq_u8(vector, vdupq_n_u8(15));
        let high = vshrq_n_u8::<4>(vector);
        for (sum, row) in sums.iter_mut().zip(pass.rows) {
            let products = &NIBBLE_PRODUCTS[usize::from(row[column])];
            // SAFETY: `products` is 32 readable bytes.
            let (low_table, high_table) = unsafe { (vld1q_u8(products.as_ptr()), vld1q_u8(products.as_ptr().add(16))) };
            let product = veorq_u8(vqtbl1q_u8(low_table, low), vqtbl1q_u8(high_table, high));
            *sum = veorq_u8(*sum, product);
        }
    }
    for (output, sum) in pass.outputs.iter_mut().zip(sums) {
        // SAFETY: `at + 16 <= pass.end <= output.len()`, see `Pass`.
        unsafe { vst1q_u8(output.as_mut_ptr().add(at), sum) };
    }
}

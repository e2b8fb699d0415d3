//! Parity against an independent field and ISA-L's matrix; every kernel against the portable one;
//! every loss that the code promises to bear.

use reed_solomon_erasure::galois_8;

use super::*;
use crate::lanes::tests::noise;

fn geometries() -> impl Iterator<Item = Code> {
    let sizes = (1..=16).flat_map(|data| (0..=8).map(move |parity| (data, parity)));
    sizes.map(|(data, parity)| Code::new(data, parity).expect("within the limits"))
}

fn data_of(code: &Code, seed: u64, len: usize) -> Vec<Vec<u8>> {
    (0..code.data() as u64).map(|d| noise(seed * 100 + d, len)).collect()
}

fn encode(kernel: Kernel, code: &Code, data: &[Vec<u8>], len: usize) -> Vec<Vec<u8>> {
    let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    // Old bytes must not shine through.
    let mut parity = vec![vec![0xa5; len]; code.parity()];
    let mut outputs: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
    code.encode_with(kernel, &data, &mut outputs);
    parity
}

/// Parity by the definition, with the field of another library.
fn oracle(code: &Code, data: &[Vec<u8>], len: usize) -> Vec<Vec<u8>> {
    let mut parity = vec![vec![0; len]; code.parity()];
    for (p, parity) in parity.iter_mut().enumerate() {
        for (d, data) in data.iter().enumerate() {
            let coefficient = galois_8::div(1, ((code.data() + p) ^ d) as u8);
            for (sum, &byte) in parity.iter_mut().zip(data) {
                *sum ^= galois_8::mul(coefficient, byte);
            }
        }
    }
    parity
}

#[test]
fn sizes_beyond_16_and_8_are_refused() {
    for (data, parity) in [(0, 0), (0, 1), (17, 0), (16, 9), (1, 9), (255, 255)] {
        assert!(Code::new(data, parity).is_none(), "{data}+{parity}");
    }
    assert_eq!(geometries().count(), 16 * 9);
}

#[test]
fn the_field_agrees_with_another_library() {
    for a in 0..=255 {
        for b in 0..=255 {
            assert_eq!(field::multiply(a, b), galois_8::mul(a, b), "{a} * {b}");
        }
    }
    for a in 1..=255 {
        assert_eq!(field::inverse(a), galois_8::div(1, a), "1 / {a}");
    }
}

#[test]
fn the_matrix_is_that_of_isa_l() {
    // The first inverses of ISA-L's `gf_inv_table_base`, so that row 0 of 8+1 is 1/8, 1/9, ...
    let inverses = [0x01, 0x8e, 0xf4, 0x47, 0xa7, 0x7a, 0xba, 0xad, 0x9d, 0xdd, 0x98, 0x3d, 0xaa, 0x5d, 0x96];
    for (a, &inverse) in (1..).zip(&inverses) {
        assert_eq!(field::inverse(a), inverse, "1 / {a}");
    }
    // `gf_gen_cauchy1_matrix` for k = 4, m = 6.
    let code = Code::new(4, 2).expect("within the limits");
    assert_eq!(code.rows[0][..4], [0x47, 0xa7, 0x7a, 0xba]);
    assert_eq!(code.rows[1][..4], [0xa7, 0x47, 0xba, 0x7a]);
}

#[test]
fn golden_parity_of_4_and_2() {
    // Computed once from the definition, outside of this program. Such bytes are on drives and
    // never change.
    let code = Code::new(4, 2).expect("within the limits");
    let data: Vec<Vec<u8>> = (0..4u8).map(|d| (0..8).map(|i| 0x10 * (d + 1) + i).collect()).collect();
    for kernel in Kernel::available() {
        let parity = encode(kernel, &code, &data, 8);
        assert_eq!(parity, GOLDEN_4_2, "{kernel:?}");
    }
}

const GOLDEN_4_2: [[u8; 8]; 2] =
    [[0xf4, 0xd4, 0xb4, 0x94, 0x74, 0x54, 0x34, 0x14], [0xf0, 0xd0, 0xb0, 0x90, 0x70, 0x50, 0x30, 0x10]];

#[test]
fn every_kernel_and_geometry_agrees_with_the_oracle() {
    for kernel in Kernel::available() {
        for code in geometries() {
            let len = 77;
            let data = data_of(&code, 1, len);
            assert_eq!(encode(kernel, &code, &data, len), oracle(&code, &data, len), "{kernel:?} {code:?}");
        }
    }
}

#[test]
fn every_length_agrees_with_the_portable_kernel() {
    for (data, parity) in [(1, 1), (2, 1), (4, 2), (12, 4), (5, 5), (16, 8)] {
        let code = Code::new(data, parity).expect("within the limits");
        // Through every remainder of a step of two vectors, and across a block.
        let lens = (0..300).chain([8191, 8192, 8193, 8192 + 63, 3 * 8192 + 129]);
        for len in lens {
            let data = data_of(&code, len as u64, len);
            let expect = encode(Kernel::Portable, &code, &data, len);
            for kernel in Kernel::available() {
                let parity = encode(kernel, &code, &data, len);
                assert_eq!(parity, expect, "{kernel:?} {code:?} of {len}");
            }
        }
    }
}

#[test]
fn every_offset_agrees_with_the_portable_kernel_and_neighbours_stay() {
    let code = Code::new(3, 3).expect("within the limits");
    let (arena_len, len) = (400, 200);
    let data = data_of(&code, 3, arena_len);
    for offset in 0..66 {
        let window = offset..offset + len;
        let slices: Vec<Vec<u8>> = data.iter().map(|d| d[window.clone()].to_vec()).collect();
        let expect = encode(Kernel::Portable, &code, &slices, len);
        for kernel in Kernel::available() {
            let mut parity = vec![vec![0xa5; arena_len]; 3];
            let inputs: Vec<&[u8]> = data.iter().map(|d| &d[window.clone()]).collect();
            let mut outputs: Vec<&mut [u8]> = parity.iter_mut().map(|p| &mut p[window.clone()]).collect();
            code.encode_with(kernel, &inputs, &mut outputs);
            for (parity, expect) in parity.iter().zip(&expect) {
                assert_eq!(&parity[window.clone()], expect, "{kernel:?} at {offset}");
                let outside = parity[..offset].iter().chain(&parity[offset + len..]);
                assert!(outside.into_iter().all(|&byte| byte == 0xa5), "{kernel:?}");
            }
        }
    }
}

#[test]
fn an_empty_fragment_is_one_of_zeros() {
    let code = Code::new(5, 3).expect("within the limits");
    let len = 100;
    let full = data_of(&code, 4, len);
    for zeros in 0..1u32 << 5 {
        let (mut written, mut implied) = (full.clone(), full.clone());
        for d in (0..5).filter(|d| zeros >> d & 1 == 1) {
            written[d].fill(0);
            implied[d].clear();
        }
        for kernel in Kernel::available() {
            let expect = encode(kernel, &code, &written, len);
            assert_eq!(encode(kernel, &code, &implied, len), expect, "{kernel:?} {zeros:b}");
            check_loss(kernel, &code, &implied, &expect, len, 0b0100_0110);
        }
    }
}

/// Loses the fragments in the bit set `lost` and rebuilds all D + P from the others.
fn check_loss(kernel: Kernel, code: &Code, data: &[Vec<u8>], parity: &[Vec<u8>], len: usize, lost: u32) {
    let fragments: Vec<&[u8]> = data.iter().chain(parity).map(Vec::as_slice).collect();
    // The last first: order is free.
    let present: Vec<(u8, &[u8])> = (0..fragments.len())
        .rev()
        .filter(|index| lost >> index & 1 == 0)
        .map(|index| (index as u8, fragments[index]))
        .collect();
    let mut rebuilt = vec![vec![0x5a; len]; fragments.len()];
    let mut wanted: Vec<(u8, &mut [u8])> = (0..).zip(rebuilt.iter_mut().map(Vec::as_mut_slice)).collect();
    assert_eq!(code.reconstruct_with(kernel, &present, &mut wanted), Ok(()));
    for (index, (rebuilt, &fragment)) in rebuilt.iter().zip(&fragments).enumerate() {
        let zeros = vec![0; len];
        let expect = if fragment.is_empty() { &zeros } else { fragment };
        assert_eq!(rebuilt, expect, "{kernel:?} {lost:b}, fragment {index}");
    }
}

#[test]
fn every_loss_of_up_to_p_fragments_is_rebuilt() {
    for (data, parity) in [(1, 1), (1, 2), (2, 1), (3, 3), (4, 2), (6, 3), (8, 4)] {
        let code = Code::new(data, parity).expect("within the limits");
        let len = 70;
        let data = data_of(&code, 5, len);
        let kernel = Kernel::chosen();
        let parity = encode(kernel, &code, &data, len);
        for lost in 0..1u32 << code.fragments() {
            if lost.count_ones() as usize <= code.parity() {
                check_loss(kernel, &code, &data, &parity, len, lost);
            }
        }
    }
}

#[test]
fn losses_of_every_geometry_are_rebuilt_by_every_kernel() {
    for kernel in Kernel::available() {
        for code in geometries() {
            let len = 65;
            let data = data_of(&code, 6, len);
            let parity = encode(kernel, &code, &data, len);
            let window = (1u32 << code.parity()) - 1;
            // P neighbours are lost, wherever they lie.
            for first in 0..=code.data() {
                check_loss(kernel, &code, &data, &parity, len, window << first);
            }
        }
    }
}

#[test]
fn one_loss_too_many_is_refused_and_nothing_is_written() {
    let code = Code::new(4, 2).expect("within the limits");
    let fragment = [1; 8];
    let mut out = [7; 8];
    // Fragment 5 is named twice and counts once.
    let present: Vec<(u8, &[u8])> = [0, 2, 5, 5].map(|index| (index, &fragment[..])).to_vec();
    let refusal = code.reconstruct(&present, &mut [(1, &mut out)]);
    assert_eq!(refusal, Err(TooFewFragments { present: 3, needed: 4 }));
    assert_eq!(out, [7; 8]);
}

#[test]
fn without_parity_only_whole_stripes_are_read() {
    let code = Code::new(2, 0).expect("within the limits");
    code.encode(&[&[1], &[2]], &mut []);
    let mut out = [0; 1];
    let present: [(u8, &[u8]); 2] = [(0, &[1]), (1, &[2])];
    assert_eq!(code.reconstruct(&present, &mut [(1, &mut out)]), Ok(()));
    assert_eq!(out, [2]);
    assert!(code.reconstruct(&present[..1], &mut []).is_err());
}

//! One stream and many, against an independent MD5.

use ::md5::Digest as _;
use proptest::prelude::*;

use super::{State, kernel::Kernel};
use crate::lanes::tests::{self, noise};

fn oracle(bytes: &[u8]) -> [u8; 16] {
    ::md5::Md5::digest(bytes).into()
}

#[test]
fn rfc_1321_vectors_hold() {
    for (text, digest) in [
        ("", "d41d8cd98f00b204e9800998ecf8427e"),
        ("abc", "900150983cd24fb0d6963f7d28e17f72"),
        (
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
            "57edf4a22be3c955ac49da2e2107b67a",
        ),
    ] {
        let mut state = State::new();
        state.update(text.as_bytes());
        assert_eq!(crate::hex::encode(&state.finish()), digest, "{text:?}");
    }
}

#[test]
fn every_length_across_the_padding_agrees_with_the_oracle() {
    let bytes = noise(1, 300);
    for len in 0..=bytes.len() {
        let mut state = State::new();
        state.update(&bytes[..len]);
        assert_eq!(state.finish(), oracle(&bytes[..len]), "length {len}");
    }
}

#[test]
fn cutting_a_stream_does_not_change_it() {
    let bytes = noise(2, 1000);
    for step in [1, 3, 63, 64, 65, 127, 128, 200] {
        let mut state = State::new();
        for piece in bytes.chunks(step) {
            state.update(piece);
        }
        assert_eq!(state.finish(), oracle(&bytes), "pieces of {step}");
    }
}

#[test]
fn no_jobs_and_empty_jobs_change_nothing() {
    for kernel in Kernel::available() {
        kernel.update_many(&mut []);
        let mut states = [State::new(); 40];
        let mut jobs: Vec<(&mut State, &[u8])> = states.iter_mut().map(|state| (state, &[][..])).collect();
        kernel.update_many(&mut jobs);
        for state in states {
            assert_eq!(state.finish(), oracle(b""), "{kernel:?}");
        }
    }
}

fn check_rounds_of_jobs(kernel: Kernel, lens: &[Vec<usize>]) {
    tests::check_rounds_of_jobs(State::new(), |jobs| kernel.update_many(jobs), State::finish, oracle, lens);
}

#[test]
fn any_number_of_equal_streams_agrees_with_the_oracle() {
    for kernel in Kernel::available() {
        for streams in 1..=70 {
            check_rounds_of_jobs(kernel, &[vec![64 * 5; streams], vec![200; streams]]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x4d44_3500),
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn streams_of_unequal_length_agree_with_the_oracle(
        lens in prop::collection::vec(prop::collection::vec(0usize..2000, 0..80), 1..4),
    ) {
        for kernel in Kernel::available() {
            check_rounds_of_jobs(kernel, &lens);
        }
    }
}

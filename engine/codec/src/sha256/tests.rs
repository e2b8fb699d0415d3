//! One stream and many, against an independent SHA-256.

use proptest::prelude::*;

use super::{State, update_many};
use crate::checksum::sha256 as oracle;
use crate::lanes::tests::{self, noise};

#[test]
fn vectors_of_fips_180_hold() {
    for (text, digest) in [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
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
        for piece in bytes[..len].chunks(7 + len % 100) {
            state.update(piece);
        }
        assert_eq!(state.finish(), oracle(&bytes[..len]), "length {len}");
    }
}

fn check_rounds_of_jobs(lens: &[Vec<usize>]) {
    tests::check_rounds_of_jobs(State::new(), update_many, State::finish, oracle, lens);
}

#[test]
fn any_number_of_equal_streams_agrees_with_the_oracle() {
    check_rounds_of_jobs(&[]);
    for streams in 1..=9 {
        check_rounds_of_jobs(&[vec![64 * 5; streams], vec![200; streams], vec![0; streams]]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x5348_4132),
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn streams_of_unequal_length_agree_with_the_oracle(
        lens in prop::collection::vec(prop::collection::vec(0usize..2000, 0..9), 1..4),
    ) {
        check_rounds_of_jobs(&lens);
    }
}

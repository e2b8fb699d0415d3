//! Check values of the CRC catalogue and the specifications, and agreement with other programs.

use proptest::prelude::*;
use sha2::Digest as _;

use super::*;

const DIGITS: &[u8] = b"123456789";

#[test]
fn every_algorithm_gives_its_published_value() {
    // CRCs: the catalogue's check values. SHA and MD5: of the same text, by coreutils. XXH: the
    // reference implementation's values for the empty input.
    for (algorithm, input, expect) in [
        (Algorithm::Crc32, DIGITS, "cbf43926"),
        (Algorithm::Crc32c, DIGITS, "e3069283"),
        (Algorithm::Crc64Nvme, DIGITS, "ae8b14860a799888"),
        (Algorithm::Sha1, DIGITS, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
        (Algorithm::Sha256, DIGITS, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        (
            Algorithm::Sha512,
            DIGITS,
            "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274a\
             d27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85",
        ),
        (Algorithm::Md5, DIGITS, "25f9e794323b453885f5181f1b624d0b"),
        (Algorithm::Xxh3, b"", "2d06800538d394c2"),
        (Algorithm::Xxh64, b"", "ef46db3751d8e999"),
        (Algorithm::Xxh128, b"", "99aa06d3014798d86001c324468d497f"),
    ] {
        let digest = algorithm.digest(input);
        assert_eq!(hex::encode(digest.as_slice()), expect, "{algorithm:?}");
        assert_eq!(digest.as_slice().len(), algorithm.digest_len());
        assert_eq!(Digest::from_slice(digest.as_slice()), Some(digest));
    }
}

#[test]
fn hmac_of_rfc_4231_holds() {
    let tag = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
    assert_eq!(hex::encode(&tag), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    let tag = hmac_sha256(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
    assert_eq!(hex::encode(&tag), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

#[test]
fn comparison_in_constant_time_is_equality() {
    assert!(equal_constant_time(b"", b""));
    assert!(equal_constant_time(b"secret", b"secret"));
    assert!(!equal_constant_time(b"secret", b"secreT"));
    assert!(!equal_constant_time(b"secret", b"secrets"));
}

#[test]
fn digests_longer_than_any_algorithm_are_refused() {
    assert_eq!(Digest::from_slice(&[0; DIGEST_LEN_MAX + 1]), None);
}

#[test]
fn combining_refuses_other_algorithms_and_lengths() {
    for algorithm in Algorithm::ALL {
        let digest = algorithm.digest(DIGITS);
        let combined = combine(algorithm, &digest, &digest, 9);
        assert_eq!(combined.is_some(), algorithm.modulus().is_some(), "{algorithm:?}");
    }
    let short = Algorithm::Crc32.digest(DIGITS);
    let long = Algorithm::Crc64Nvme.digest(DIGITS);
    assert_eq!(combine(Algorithm::Crc64Nvme, &long, &short, 9), None);
    assert_eq!(combine(Algorithm::Crc32, &long, &short, 9), None);
}

#[test]
fn combining_over_long_lengths_agrees_with_another_program() {
    for (algorithm, oracle) in [
        (Algorithm::Crc32, CrcAlgorithm::Crc32IsoHdlc),
        (Algorithm::Crc32c, CrcAlgorithm::Crc32Iscsi),
        (Algorithm::Crc64Nvme, CrcAlgorithm::Crc64Nvme),
    ] {
        let (a, b) = (algorithm.digest(b"a"), algorithm.digest(b"b"));
        let number = |digest: Digest| digest.as_number().expect("at most 8 bytes");
        for len in [0, 1, 5 << 20, (5 << 30) - 1, 5 << 40, u64::MAX >> 3] {
            let combined = combine(algorithm, &a, &b, len).map(number);
            let expect = crc_fast::checksum_combine(oracle, number(a), number(b), len);
            assert_eq!(combined, Some(expect), "{algorithm:?} over {len}");
        }
    }
}

/// A CRC32C without tables or instructions: bit by bit from the reflected polynomial.
fn crc32c_bitwise(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

#[test]
fn crc32c_agrees_with_its_definition_at_every_length() {
    let bytes: Vec<u8> = (0..1100u32).map(|i| (i * i / 7) as u8).collect();
    for len in 0..bytes.len() {
        assert_eq!(crc32c(&bytes[..len]), crc32c_bitwise(&bytes[..len]), "length {len}");
    }
}

#[test]
fn each_block_has_its_own_crc() {
    let payload: Vec<u8> = (0..100).collect();
    let mut crcs = [0; 4];
    crc32c_blocks(&payload, 32, &mut crcs);
    assert_eq!(crcs[0], crc32c_bitwise(&payload[..32]));
    assert_eq!(crcs[3], crc32c_bitwise(&payload[96..]));
    crc32c_blocks(&[], 32, &mut []);
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: proptest::test_runner::RngSeed::Fixed(0xc5c5),
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn pieces_and_parts_give_the_checksum_of_the_whole(
        a in prop::collection::vec(any::<u8>(), 0..700),
        b in prop::collection::vec(any::<u8>(), 0..700),
    ) {
        let whole = [&a[..], &b[..]].concat();
        for algorithm in Algorithm::ALL {
            let mut hasher = algorithm.new_hasher();
            hasher.update(&a);
            hasher.update(&b);
            let digest = hasher.finish();
            prop_assert_eq!(digest, algorithm.digest(&whole));
            if algorithm.modulus().is_some() {
                let (a, b_digest) = (algorithm.digest(&a), algorithm.digest(&b));
                prop_assert_eq!(combine(algorithm, &a, &b_digest, b.len() as u64), Some(digest));
            }
        }
        prop_assert_eq!(crc32c_append(crc32c(&a), &b), crc32c(&whole));
        let oracle: [u8; 32] = sha2::Sha256::digest(&whole).into();
        prop_assert_eq!(sha256(&whole), oracle);
        let oracle: [u8; 64] = sha2::Sha512::digest(&whole).into();
        let digest = Algorithm::Sha512.digest(&whole);
        prop_assert_eq!(digest.as_slice(), &oracle[..]);
    }
}

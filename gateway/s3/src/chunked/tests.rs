use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

const CRC: &str = "x-amz-checksum-crc32";

fn signer() -> ChunkSigner {
    let key = SigningKey::derive("secret", "20130524", "us-east-1", "s3");
    ChunkSigner::new(key, "20130524T000000Z", "20130524/us-east-1/s3/aws4_request", "seed")
}

/// Writes a body as a client would: chunks of `chunk_len`, then the trailer.
fn encode(payload: &[u8], chunk_len: usize, mut signer: Option<ChunkSigner>, trailer: Option<&str>) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in payload.chunks(chunk_len).chain([b"".as_slice()]) {
        wire.extend(format!("{:x}", chunk.len()).as_bytes());
        if let Some(signer) = &mut signer {
            wire.extend(format!(";chunk-signature={}", signer.next_chunk(sha256(chunk))).as_bytes());
        }
        wire.extend(b"\r\n");
        if !chunk.is_empty() {
            wire.extend(chunk);
            wire.extend(b"\r\n");
        }
    }
    if let Some(value) = trailer {
        wire.extend(format!("{CRC}:{value}\r\n").as_bytes());
        if let Some(signer) = &mut signer {
            let signature = signer.trailer(&format!("{CRC}:{value}\n"));
            wire.extend(format!("{TRAILER_SIGNATURE}:{signature}\r\n").as_bytes());
        }
    }
    wire.extend(b"\r\n");
    wire
}

/// Decodes `wire` cut at `cuts`.
fn decode(mut decoder: Decoder, wire: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, Option<String>)> {
    let mut payload = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([wire.len()]) {
        let mut piece = wire[from..to].to_vec();
        let len = decoder.decode(&mut piece)?;
        payload.extend(&piece[..len]);
        from = to;
    }
    Ok((payload, decoder.finish()?))
}

fn unsigned(length: u64) -> Decoder {
    Decoder::new(length, None, true, Some(CRC))
}

#[test]
fn every_single_split_gives_the_same_payload() {
    let payload: Vec<u8> = (0..9_000_u32).map(|n| (n * 7) as u8).collect();
    let wire = encode(&payload, 8_192, Some(signer()), Some("AAAAAA=="));
    let expect = (payload, Some("AAAAAA==".to_owned()));
    for cut in (0..300).chain(8_100..8_500).chain(wire.len() - 400..=wire.len()) {
        let decoder = Decoder::new(9_000, Some(signer()), true, Some(CRC));
        assert_eq!(decode(decoder, &wire, &[cut]).as_ref(), Ok(&expect), "cut at {cut}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, rng_seed: RngSeed::Fixed(20_130_524), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_any_body_gives_the_same_payload(
        payload in prop::collection::vec(any::<u8>(), 0..40_000),
        chunk_len in 8_192_usize..20_000,
        is_signed in any::<bool>(),
        has_trailer in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let trailer = has_trailer.then_some("AAAAAA==");
        let wire = encode(&payload, chunk_len, is_signed.then(signer), trailer);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
        cuts.sort_unstable();
        let length = payload.len() as u64;
        let decoder = Decoder::new(length, is_signed.then(signer), has_trailer, trailer.map(|_| CRC));
        let decoded = decode(decoder, &wire, &cuts);
        prop_assert_eq!(decoded, Ok((payload, trailer.map(str::to_owned))));
    }

    #[test]
    fn no_input_makes_the_decoder_panic_or_give_more_than_announced(
        wire in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'\r'), Just(b'1'), Just(b'0')], 0..300),
        cut in any::<prop::sample::Index>(),
    ) {
        let cut = cut.index(wire.len() + 1);
        if let Ok((payload, _)) = decode(unsigned(5), &wire, &[cut]) {
            prop_assert_eq!(payload.len(), 5);
        }
    }
}

#[test]
fn bodies_that_are_not_what_was_announced_are_refused() {
    let check = |wire: &str, expect: Result<&str>| {
        let found = decode(unsigned(5), wire.as_bytes(), &[]).map(|(payload, _)| String::from_utf8(payload).unwrap());
        assert_eq!(found.map_err(|e| e.code), expect.map(str::to_owned).map_err(|e| e.code), "{wire:?}");
    };
    let trailer_error = || Err(malformed());
    let short = || Err(wrong_length());
    check("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:v\r\n\r\n", Ok("hello"));
    check("5;ext=1\r\nhello\r\n0\r\nX-Amz-Checksum-Crc32: v \n\r\n\r\n", Ok("hello"));
    check("05\nhello\r\n0\r\nx-amz-checksum-crc32:v\r\n", Ok("hello"));
    // Announced and not sent, sent and not announced, sent twice.
    check("5\r\nhello\r\n0\r\n\r\n", trailer_error());
    check("5\r\nhello\r\n0\r\nx-amz-checksum-sha1:v\r\n\r\n", trailer_error());
    check("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:v\r\nx-amz-checksum-crc32:v\r\n\r\n", trailer_error());
    check("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:v\r\nx-amz-trailer-signature:s\r\n\r\n", trailer_error());
    check("5\r\nhello\r\n0\r\nno colon\r\n\r\n", trailer_error());
    // More or less than announced.
    check("6\r\nhello!\r\n0\r\nx-amz-checksum-crc32:v\r\n\r\n", short());
    check("4\r\nhell\r\n0\r\nx-amz-checksum-crc32:v\r\n\r\n", short());
    check("5\r\nhel", short());
    check("5\r\nhello\r\n", short());
    check("", short());
    check("ffffffffffffffff\r\n", short());
    // Not framing at all.
    check("hello", short());
    check("x\r\n", trailer_error());
    check("-5\r\nhello\r\n0\r\n\r\n", trailer_error());
    check("11111111111111111\r\n", trailer_error());
    check("5\r\nhelloXX", trailer_error());
    check("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:v\r\n\r\nGET /", trailer_error());
    check(&"1".repeat(LINE_BYTES_MAX + 1), trailer_error());
}

#[test]
fn only_the_last_chunk_may_be_short() {
    let payload = vec![7; 20_000];
    let decode_in = |chunk_len| {
        let wire = encode(&payload, chunk_len, None, None);
        decode(Decoder::new(20_000, None, true, None), &wire, &[]).map(|_| ()).map_err(|e| e.code)
    };
    assert_eq!(decode_in(8_192), Ok(()));
    assert_eq!(decode_in(8_191), Err(Code::InvalidChunkSize));
}

#[test]
fn a_signed_body_needs_every_signature() {
    let decoder = || Decoder::new(5, Some(signer()), false, None);
    let wire = encode(b"hello", 8_192, Some(signer()), None);
    assert_eq!(decode(decoder(), &wire, &[]), Ok((b"hello".to_vec(), None)));
    let bare = encode(b"hello", 8_192, None, None);
    assert_eq!(decode(decoder(), &bare, &[]).unwrap_err().code, Code::MalformedTrailer);
    let extended = String::from_utf8(wire).unwrap().replace("5;chunk", "5;a=b; chunk");
    assert!(decode(decoder(), extended.as_bytes(), &[]).is_ok());
    // The last signature covers the ones before: a chunk cannot be left out or exchanged.
    let other = encode(b"hallo", 8_192, Some(signer()), None);
    let text = String::from_utf8(other).unwrap().replace("hallo", "hello");
    assert_eq!(decode(decoder(), text.as_bytes(), &[]).unwrap_err().code, Code::SignatureDoesNotMatch);
}

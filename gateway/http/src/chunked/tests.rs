use super::*;

/// Decodes `input` in pieces of `piece` bytes through an output of `room` bytes; the payload and what is left over.
fn decode(input: &[u8], piece: usize, room: usize) -> Result<(Vec<u8>, usize, Decoder), ChunkError> {
    let mut decoder = Decoder::new();
    let mut payload = Vec::new();
    let mut taken = 0;
    let mut output = vec![0; room];
    while taken < input.len() && !decoder.is_done() {
        let end = input.len().min(taken + piece);
        let progress = decoder.decode(&input[taken..end], &mut output)?;
        assert!(progress.consumed > 0, "no progress");
        payload.extend_from_slice(&output[..progress.produced]);
        taken += progress.consumed;
    }
    Ok((payload, input.len() - taken, decoder))
}

/// `Ok(payload)` with the whole input but "NEXT" consumed, or the error, however the input is cut.
fn check(input: &str, expect: Result<&str, ChunkError>) {
    for piece in [1, 2, 3, 7, 64, 1 << 20] {
        for room in [1, 3, 1 << 16] {
            match (decode(input.as_bytes(), piece, room), expect) {
                (Ok((payload, left, decoder)), Ok(expect)) => {
                    assert!(decoder.is_done(), "{input:?} not done");
                    assert_eq!(payload, expect.as_bytes(), "{input:?} piece {piece} room {room}");
                    assert_eq!(&input[input.len() - left..], "NEXT");
                }
                (got, expect) => assert_eq!(got.map(|_| "").err(), expect.err(), "{input:?} piece {piece}"),
            }
        }
    }
}

#[test]
fn bodies_decode_however_they_are_cut_and_leave_the_next_request_alone() {
    check("0\r\n\r\nNEXT", Ok(""));
    check("5\r\nhello\r\n0\r\n\r\nNEXT", Ok("hello"));
    check("1\r\na\r\n00A\r\n0123456789\r\n0\r\n\r\nNEXT", Ok("a0123456789"));
    check("5;name=value;q=\"a b\"\r\nhello\r\n0;x\r\n\r\nNEXT", Ok("hello"));
    check("5 \t;x\r\nhello\r\n0\r\n\r\nNEXT", Ok("hello"));
    check("5\r\nhello\r\n0\r\nA: b\r\nC:\r\n\r\nNEXT", Ok("hello"));
}

#[test]
fn malformed_framing_is_refused() {
    check("\r\n", Err(ChunkError::Size));
    check("g\r\n", Err(ChunkError::Size));
    check("+5\r\n", Err(ChunkError::Size));
    check("-1\r\n", Err(ChunkError::Size));
    check("0x5\r\n", Err(ChunkError::Size));
    check("5 \r\n", Err(ChunkError::Size));
    check("5\nhello", Err(ChunkError::Size));
    check("0000000000000001\r\n", Err(ChunkError::Size));
    check("ffffffffffffffffff\r\n", Err(ChunkError::Size));
    check("5\rX", Err(ChunkError::LineEnd));
    check("5\r\nhelloX\r\n", Err(ChunkError::LineEnd));
    check("5\r\nhello\n0\r\n", Err(ChunkError::LineEnd));
    check("5;a\nb\r\n", Err(ChunkError::Extension));
    check("5;a\0\r\n", Err(ChunkError::Extension));
    check("0\r\nA b: c\r\n\r\n", Err(ChunkError::Trailer));
    check("0\r\nA : c\r\n\r\n", Err(ChunkError::Trailer));
    check("0\r\nnothing\r\n\r\n", Err(ChunkError::Trailer));
    check("0\r\nA: b\x01\r\n\r\n", Err(ChunkError::Trailer));
    check("0\r\n\n", Err(ChunkError::LineEnd));
}

#[test]
fn lines_extensions_and_trailers_are_bounded() {
    let line = format!("5;{}\r\nhello\r\n0\r\n\r\nNEXT", "x".repeat(CHUNK_LINE_BYTES_MAX - 2));
    check(&line, Ok("hello"));
    check(&format!("5;{}\r\n", "x".repeat(CHUNK_LINE_BYTES_MAX - 1)), Err(ChunkError::LineTooLong));
    let chunk = format!("1;{}\r\na\r\n", "x".repeat(200));
    check(&chunk.repeat(CHUNK_EXTENSION_BYTES_MAX / 200 + 1), Err(ChunkError::ExtensionsTooLong));
    let trailer = format!("0\r\nA: {}\r\n\r\n", "x".repeat(TRAILER_BYTES_MAX));
    check(&trailer, Err(ChunkError::TrailersTooLong));
    check(&format!("0\r\n{}\r\n", "A: b\r\n".repeat(TRAILERS_MAX + 1)), Err(ChunkError::TrailersTooLong));
}

#[test]
fn trailers_are_there_after_the_end() {
    let (_, _, decoder) = decode(b"0\r\nx-a: 1 \r\nX-B:\t2\r\n\r\n", 1, 1).unwrap();
    let trailers: Vec<_> = decoder.trailers().collect();
    assert_eq!(trailers, [("x-a", b"1".as_slice()), ("X-B", b"2")]);
}

#[test]
fn payload_may_be_taken_past_the_decoder() {
    let mut decoder = Decoder::new();
    assert_eq!(decoder.payload_ahead(), 0);
    assert_eq!(decoder.decode(b"a\r\nxyz", &mut [0; 3]).unwrap(), Progress { consumed: 6, produced: 3 });
    assert_eq!(decoder.payload_ahead(), 7);
    decoder.skip_payload(7);
    assert_eq!(decoder.payload_ahead(), 0);
    assert_eq!(decoder.decode(b"\r\n0\r\n\r\n", &mut []).unwrap(), Progress { consumed: 7, produced: 0 });
    assert!(decoder.is_done());
}

#[test]
fn what_we_render_decodes_again() {
    for len in [1, 9, 15, 16, 255, 256, 65_537] {
        let mut wire = Vec::new();
        render_size(&mut wire, len);
        wire.resize(wire.len() + len, b'd');
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(LAST_CHUNK);
        let (payload, left, decoder) = decode(&wire, 1000, 777).unwrap();
        assert!(decoder.is_done() && left == 0 && payload == vec![b'd'; len]);
    }
}

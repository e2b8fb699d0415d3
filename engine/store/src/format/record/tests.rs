use types::Attribute;

use super::*;

fn address() -> Address {
    Address {
        volume: VolumeId(0x0102_0304_0506_0708),
        slot_offset: SlotOffset(0x1112_1314),
        fragment_len: 0x2122_2324,
        offset: 0x3132_3334,
        len: 4500,
    }
}

fn attributes(content_type: &str) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.push(Attribute::ContentType, "", content_type.as_bytes());
    attributes
}

fn small() -> Record {
    Record {
        version: VersionId::NULL,
        lsn: Lsn(0x0000_0100_0000_0007),
        modified: Timestamp(0x1122_3344_5566_7788),
        etag: Etag::from_md5(*b"0123456789abcdef"),
        delete_marker: false,
        attributes: attributes("a/b"),
        body: Body::Small { address: address(), crc: 0xa1b2_c3d4 },
        parts: Vec::new(),
    }
}

fn extent(at: u32, len: u64) -> Extent {
    Extent { volume: VolumeId(9), at: SlotOffset(at), len, stripe_data: 1 << 20 }
}

/// One of each shape.
fn records() -> Vec<Record> {
    let small = small();
    let lsn = small.lsn;
    let part = |number, size, checksum: &[u8]| PartEntry { number, size, checksum: checksum.to_vec() };
    let pieces = vec![small.body.clone(), Body::Empty, Body::Extents(vec![extent(5, 9), extent(6, 10)])];
    vec![
        small.clone(),
        Record { version: VersionId(lsn.0), ..small.clone() },
        Record { version: VersionId(77), parts: vec![part(1, 5, b"")], ..small.clone() },
        Record { body: Body::Empty, delete_marker: true, attributes: Attributes::new(), ..small.clone() },
        Record { body: Body::Extents(vec![extent(1, 5 << 30)]), ..small.clone() },
        Record {
            body: Body::Pieces(pieces),
            etag: Etag { digest: [7; 16], parts: NonZeroU16::new(3) },
            parts: vec![part(1, 4500, b"abcd"), part(3, 0, b""), part(10_000, 19, &[9; 64])],
            ..small
        },
    ]
}

#[test]
fn a_small_record_has_golden_bytes() {
    let mut expect = vec![1, 0, 1, 0, 7, 0, 0, 0];
    expect.extend([7, 0, 0, 0, 0, 1, 0, 0]);
    expect.extend([0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
    expect.extend(b"0123456789abcdef");
    expect.extend([8, 7, 6, 5, 4, 3, 2, 1, 0x14, 0x13, 0x12, 0x11, 0x24, 0x23, 0x22, 0x21]);
    expect.extend([0x34, 0x33, 0x32, 0x31, 0x94, 0x11, 0, 0]);
    expect.extend([0xd4, 0xc3, 0xb2, 0xa1]);
    expect.extend(b"\x01\x00\x03\x00a/b");
    assert_eq!(small().encode(), expect);
}

#[test]
fn a_multipart_record_has_golden_bytes() {
    let record = Record {
        version: VersionId(2),
        lsn: Lsn(3),
        modified: Timestamp(4),
        etag: Etag { digest: [5; 16], parts: NonZeroU16::new(2) },
        delete_marker: false,
        attributes: Attributes::new(),
        body: Body::Pieces(vec![Body::Empty, Body::Extents(vec![extent(6, 7)])]),
        parts: vec![PartEntry { number: 1, size: 7, checksum: vec![0xab] }],
    };
    let mut expect = vec![1, VERSION_FOLLOWS | HAS_PARTS, 3, 0, 0, 0, 2, 0];
    expect.extend([3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
    expect.extend([5; 16]);
    expect.extend([7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
    expect.extend([0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    expect.extend([9, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 16, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
    expect.extend([2, 0, 0, 0, 0, 0, 0, 0]);
    expect.extend([1, 0, 0, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0xab]);
    assert_eq!(record.encode(), expect);
}

#[test]
fn the_record_of_a_small_object_takes_less_than_100_bytes() {
    let record = Record { attributes: attributes("application/octet-stream"), ..small() };
    assert_eq!(record.encode().len(), 96);
}

#[test]
fn a_record_reads_back_and_a_peek_agrees_with_it() {
    for record in records() {
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes).as_ref(), Ok(&record));
        let peeked = peek(&bytes).expect("what decodes can be peeked at");
        let expect = Peek {
            version: record.version,
            lsn: record.lsn,
            modified: record.modified,
            size: record.size(),
            etag: record.etag,
            delete_marker: record.delete_marker,
            attributes: record.attributes.as_bytes(),
        };
        assert_eq!(peeked, expect);
    }
}

#[test]
fn the_address_of_a_small_body_is_where_a_batch_puts_it() {
    let at = usize::from(ADDRESS_AT);
    let part =
        PartRecord { lsn: Lsn(1), modified: Timestamp(2), md5: [3; 16], body: small().body, checksum: vec![1, 2] };
    for bytes in [small().encode(), part.encode()] {
        assert_eq!(bytes[at..at + Address::LEN], address().encode());
    }
}

#[test]
fn a_body_is_as_long_as_its_pieces_together() {
    let pieces = Body::Pieces(vec![small().body, Body::Empty, Body::Extents(vec![extent(5, 9), extent(6, 10)])]);
    assert_eq!(pieces.len(), 4519);
}

#[test]
fn uploads_parts_and_buckets_have_golden_bytes_and_read_back() {
    let upload =
        UploadRecord { lsn: Lsn(1), initiated: Timestamp(2), attributes: attributes("a/b"), settings: b"set".to_vec() };
    let expect = b"\x01\0\x07\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\0\x03\0a/bset";
    assert_eq!(upload.encode(), expect);
    assert_eq!(UploadRecord::decode(expect), Ok(upload));

    let part = PartRecord {
        lsn: Lsn(1),
        modified: Timestamp(2),
        md5: [3; 16],
        body: Body::Extents(vec![extent(6, 7)]),
        checksum: b"sum".to_vec(),
    };
    let mut expect = b"\x01\x02\x03\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
    expect.extend([3; 16]);
    expect.extend([7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    expect.extend([9, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 16, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
    expect.extend(b"sum");
    assert_eq!(part.encode(), expect);
    assert_eq!(PartRecord::decode(&expect), Ok(part));

    let bucket = BucketRecord {
        id: BucketId(1),
        name: BucketName::parse("abc").expect("valid"),
        created: Timestamp(2),
        lsn: Lsn(3),
        state: BucketState::Deleting,
        versioning: Versioning::Unversioned,
        settings: b"set".to_vec(),
    };
    let expect = b"\x01\x02\x03\0\x03\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0abcset";
    assert_eq!(bucket.encode(), expect);
    assert_eq!(BucketRecord::decode(expect), Ok(bucket.clone()));
    for (versioning, state) in [(Versioning::Enabled, 0x12), (Versioning::Suspended, 0x22)] {
        let bucket = BucketRecord { versioning, ..bucket.clone() };
        let mut expect = expect.to_vec();
        expect[1] = state;
        assert_eq!(bucket.encode(), expect);
        assert_eq!(BucketRecord::decode(&expect), Ok(bucket));
        expect[1] = 0x32;
        assert_eq!(BucketRecord::decode(&expect), Err(Invalid::Field("bucket versioning")));
    }
}

#[test]
fn any_bytes_are_refused_or_read_but_never_panic() {
    let mut state = 0x1234_5678_9abc_def0_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut seeds: Vec<Vec<u8>> = records().iter().map(Record::encode).collect();
    for seed in &seeds {
        for len in 0..seed.len() {
            assert!(Record::decode(&seed[..len]).is_err(), "cut to {len}");
            assert!(Record::decode(&[seed, &seed[..len + 1]].concat()).is_err(), "{len} bytes too many");
        }
    }
    seeds.push(
        PartRecord { lsn: Lsn(1), modified: Timestamp(2), md5: [3; 16], body: small().body, checksum: vec![4] }
            .encode(),
    );
    for seed in seeds {
        for _ in 0..2000 {
            let mut bytes = seed.clone();
            for _ in 0..1 + random(4) {
                let at = random(bytes.len());
                bytes[at] = random(256) as u8;
            }
            let read = Record::decode(&bytes);
            if let Ok(record) = &read {
                assert_eq!(peek(&bytes).map(|peek| peek.size), Ok(record.size()));
            }
            if let Ok(part) = PartRecord::decode(&bytes) {
                assert_eq!(part.encode(), bytes);
            }
            if let Ok(upload) = UploadRecord::decode(&bytes) {
                assert_eq!(upload.encode(), bytes);
            }
            if let Ok(bucket) = BucketRecord::decode(&bytes) {
                assert_eq!(bucket.encode(), bytes);
            }
        }
    }
}

#[test]
fn a_value_of_a_later_release_is_told_apart() {
    let mut bytes = small().encode();
    bytes[0] = 2;
    assert_eq!(Record::decode(&bytes), Err(Invalid::Newer { version: 2 }));
}

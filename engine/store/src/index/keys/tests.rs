use super::*;

const BUCKET_ID: BucketId = BucketId(0x0102_0304_0506_0708);

/// Keys of few letters, among them the ones that are escaped.
fn random_keys(count: usize) -> Vec<Vec<u8>> {
    let mut state = 7_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let letters = [0, 1, 2, b'a', b'/', 0xfe, 0xff];
    (0..count).map(|_| (0..1 + random(5)).map(|_| letters[random(7) as usize]).collect()).collect()
}

#[test]
fn keys_have_golden_bytes() {
    let volume = VolumeId(0x1112_1314_1516_1718);
    let upload_id = UploadId(0x2122_2324_2526_2728_292a_2b2c_2d2e_2f30);
    let number = PartNumber::new(0x0102).expect("valid");
    let check = |key: Vec<u8>, expect: &[u8]| assert_eq!(key, expect);
    check(bucket("abc"), b"babc");
    check(current(BUCKET_ID, b"k\0"), b"c\x01\x02\x03\x04\x05\x06\x07\x08k\0");
    check(
        version(BUCKET_ID, b"k\0\x01", Lsn(1)),
        b"v\x01\x02\x03\x04\x05\x06\x07\x08k\x01\x01\x01\x02\0\xff\xff\xff\xff\xff\xff\xff\xfe",
    );
    check(null_version(BUCKET_ID, b"k\x01"), b"w\x01\x02\x03\x04\x05\x06\x07\x08k\x01\x02\0");
    check(
        upload(BUCKET_ID, b"k", upload_id),
        b"m\x01\x02\x03\x04\x05\x06\x07\x08k\0\x21\x22\x23\x24\x25\x26\x27\x28\x29\x2a\x2b\x2c\x2d\x2e\x2f\x30",
    );
    check(
        part(BUCKET_ID, b"k", upload_id, number),
        b"m\x01\x02\x03\x04\x05\x06\x07\x08k\0\x21\x22\x23\x24\x25\x26\x27\x28\x29\x2a\x2b\x2c\x2d\x2e\x2f\x30\x01\x02",
    );
    check(extent(volume, SlotOffset(1)), b"e\x11\x12\x13\x14\x15\x16\x17\x18\0\0\0\x01");
    check(dead(volume, SlotOffset(2)), b"g\x11\x12\x13\x14\x15\x16\x17\x18\0\0\0\x02");
    check(counter(Counter::Usage(BUCKET_ID)), b"ub\x01\x02\x03\x04\x05\x06\x07\x08");
    check(counter(Counter::Live(volume)), b"uv\x11\x12\x13\x14\x15\x16\x17\x18");
}

#[test]
fn escaped_keys_keep_the_order_of_keys_and_read_back() {
    let keys = random_keys(300);
    for a in &keys {
        assert_eq!(parse_version(&version(BUCKET_ID, a, Lsn(5))), Some((BUCKET_ID, a.clone(), Lsn(5))));
        for b in &keys {
            let versions = |key| version(BUCKET_ID, key, Lsn(5));
            assert_eq!(versions(a).cmp(&versions(b)), a.cmp(b), "{a:?} {b:?}");
        }
    }
}

#[test]
fn a_version_belongs_to_the_current_record_of_its_key_and_to_the_versions_of_no_other() {
    for key in random_keys(100) {
        let owner = current(BUCKET_ID, &key);
        let (from, to) = versions_of(BUCKET_ID, &key);
        for lsn in [0, 1, u64::MAX] {
            let version = version(BUCKET_ID, &key, Lsn(lsn));
            assert_eq!(owner_of(&version), Some(owner.clone()));
            assert!(from <= version && version < to);
        }
        assert_eq!(owner_of(&owner), Some(owner.clone()));
        let longer = version(BUCKET_ID, &[&key[..], b"\0"].concat(), Lsn(u64::MAX));
        assert!(longer >= to, "{key:?}");
        assert_eq!(owner_of(&null_version(BUCKET_ID, &key)), None);
    }
}

#[test]
fn a_place_among_versions_is_read_from_keys_and_from_bounds() {
    let check = |index_key: &[u8], key: &[u8], rest: &[u8]| {
        let index_key = [b"v\0\0\0\0\0\0\0\x07", index_key].concat();
        assert_eq!(parse_place_of_version(&index_key), Some((key.to_vec(), rest)), "{index_key:?}");
    };
    check(b"a\x01\x02\0\xff\xff\xff\xff\xff\xff\xff\xfe", b"a\x01", b"\xff\xff\xff\xff\xff\xff\xff\xfe");
    check(b"a\0", b"a", b"");
    check(b"a0", b"a0", b"");
    check(b"", b"", b"");
    // Behind everything that begins with an escaped 0x01, with an escaped 0x00, and before that.
    check(b"a\x01\x03", b"a\x02", b"");
    check(b"a\x01\x02", b"a\x01", b"");
    check(b"a\x01", b"a\0", b"");
    assert_eq!(parse_place_of_version(b"c\0\0\0\0\0\0\0\x07a"), None);
    for key in random_keys(100) {
        let (from, to) = versions_of(BUCKET_ID, &key);
        assert_eq!(parse_place_of_version(&from), Some((key.clone(), &b""[..])));
        let (behind, _) = parse_place_of_version(&to).expect("it is among versions");
        assert!(behind > key, "{key:?} {behind:?}");
    }
}

#[test]
fn versions_of_a_key_come_newest_first() {
    assert!(version(BUCKET_ID, b"k", Lsn(9)) < version(BUCKET_ID, b"k", Lsn(8)));
    assert!(version(BUCKET_ID, b"k", Lsn(0)) < version(BUCKET_ID, b"k\0", Lsn(u64::MAX)));
}

#[test]
fn ranges_hold_the_keys_with_their_prefix_and_no_others() {
    let keys = random_keys(200);
    for prefix in &keys {
        let (current_from, current_to) = current_range(BUCKET_ID, prefix);
        let (versions_from, versions_to) = versions_range(BUCKET_ID, prefix);
        for key in &keys {
            let inside = key.starts_with(prefix);
            assert_eq!((current_from.clone()..current_to.clone()).contains(&current(BUCKET_ID, key)), inside);
            let key = version(BUCKET_ID, key, Lsn(3));
            assert_eq!((versions_from.clone()..versions_to.clone()).contains(&key), inside);
        }
    }
    let (from, to) = current_range(BucketId(u64::MAX), b"");
    assert!((from..to).contains(&current(BucketId(u64::MAX), &[0xff; 3])));
}

#[test]
fn parts_come_after_their_upload_and_are_found_without_it() {
    let id = UploadId(u128::MAX);
    let number = |number| PartNumber::new(number).expect("valid");
    let (from, to) = parts_range(BUCKET_ID, b"k", id);
    let range = from..to;
    assert!(!range.contains(&upload(BUCKET_ID, b"k", id)));
    assert!(range.contains(&part(BUCKET_ID, b"k", id, number(1))));
    assert!(range.contains(&part(BUCKET_ID, b"k", id, number(10_000))));
    assert!(!range.contains(&upload(BUCKET_ID, b"k\0", UploadId(0))));
    let key = UploadKey { bucket: BUCKET_ID, key: b"k".to_vec(), upload: id, part: Some(number(7)) };
    assert_eq!(parse_upload(&part(BUCKET_ID, b"k", id, number(7))), Some(key.clone()));
    assert_eq!(parse_upload(&upload(BUCKET_ID, b"k", id)), Some(UploadKey { part: None, ..key }));
}

#[test]
fn parsers_take_what_builders_made_and_nothing_else() {
    let place = (VolumeId(7), SlotOffset(8));
    assert_eq!(parse_place(&extent(place.0, place.1)), Some(place));
    assert_eq!(parse_place(&dead(place.0, place.1)), Some(place));
    assert_eq!(parse_current(&current(BUCKET_ID, b"k")), Some((BUCKET_ID, &b"k"[..])));
    for c in [Counter::Usage(BUCKET_ID), Counter::Live(VolumeId(3))] {
        assert_eq!(parse_counter(&counter(c)), Some(c));
    }
    let longest = version(BUCKET_ID, b"k\0", Lsn(5));
    for len in 0..longest.len() {
        assert_eq!(parse_version(&longest[..len]), None);
        assert_eq!(parse_upload(&longest[..len]), None);
        assert_eq!(parse_place(&longest[..len]), None);
        assert_eq!(parse_counter(&longest[..len]), None);
    }
}

#[test]
fn the_checkpoint_sorts_before_all_keys() {
    assert!(CKPT < &[b'b'][..]);
}

#[test]
fn after_prefix_is_the_least_key_above_all_that_start_with_it() {
    assert_eq!(after_prefix(b"a"), Some(b"b".to_vec()));
    assert_eq!(after_prefix(b"a\xff\xff"), Some(b"b".to_vec()));
    assert_eq!(after_prefix(b"\xff"), None);
    assert_eq!(after_prefix(b""), None);
}

#[test]
fn the_partition_of_a_key_never_changes() {
    let of = |bucket, key: &[u8], partitions| partition_of(BucketId(bucket), key, partitions).0;
    let found =
        [of(1, b"", 64), of(1, b"a", 64), of(1, b"abcdefgh", 64), of(2, b"photos/2024/01.jpg", 64), of(3, b"k", 3)];
    assert_eq!(found, [36, 41, 39, 47, 0]);
}

#[test]
fn a_bucket_lies_in_few_partitions_and_fills_them_evenly() {
    for partitions in [1, 2, 3, 16, 64, 100] {
        let of_bucket: Vec<_> = partitions_of(BucketId(5), partitions).collect();
        let spread = of_bucket.len();
        assert!(spread.is_power_of_two() && spread <= 16 && spread <= usize::from(partitions));
        let mut counts = vec![0; usize::from(partitions)];
        let total = 16_000;
        for number in 0..total {
            let key = format!("photos/2024/{number:08}.jpg");
            let partition = partition_of(BucketId(5), key.as_bytes(), partitions);
            assert!(of_bucket.contains(&partition));
            counts[usize::from(partition.0)] += 1;
        }
        let even = total / spread;
        let filled: Vec<_> = counts.into_iter().filter(|count| *count > 0).collect();
        assert_eq!(filled.len(), spread);
        assert!(filled.iter().all(|count| (even * 4 / 5..=even * 6 / 5).contains(count)), "{filled:?}");
    }
}

use proptest::prelude::*;

use super::*;

const PLACE: Place = Place { volume: VolumeId(0x0102), at: SlotOffset(3), fragment_len: 4096 };

fn entry(lsn: u64, body: &[u8]) -> Entry {
    let mut value = vec![0xEE; 2];
    value.resize(2 + Address::LEN, 0);
    Entry {
        partition: PartitionId(5),
        lsn: Lsn(lsn),
        ops: vec![
            Op { key: b"c/k".to_vec(), value: Some(value), address_at: Some(2) },
            Op { key: b"v/k".to_vec(), value: None, address_at: None },
        ],
        body: (!body.is_empty()).then(|| SmallBody::from(body.to_vec())),
        placed: None,
        live: vec![(VolumeId(9), -7)],
        usage: vec![UsageDelta { bucket: BucketId(11), objects: 1, bytes: 3, versions: 1 }],
    }
}

#[test]
fn what_was_encoded_is_decoded_with_addresses_in_place() {
    let mut entries = vec![entry(7, b"abc"), entry(8, b""), entry(9, b"de")];
    entries[1].ops[0].address_at = None;
    let len = batch_len(&entries);
    let head = encode_head(&mut entries, 42, PLACE);
    let header = BatchHeader::decode(&head).expect("a header");
    assert_eq!((header.head_len(), header.batch_len(), header.sequence), (head.len(), len, 42));
    let decoded = decode(&head, PLACE).expect("a batch");
    let first = decoded[0].placed.expect("a body");
    assert_eq!(first.range(), head.len()..head.len() + 3);
    assert_eq!(decoded[2].placed.expect("a body").range(), head.len() + 3..head.len() + 5);
    let value = decoded[0].ops[0].value.as_ref().expect("a value");
    assert_eq!(Address::decode(&value[2..]), Ok(first));
    entries.iter_mut().for_each(|entry| entry.body = None);
    assert_eq!(decoded, entries);
}

#[test]
fn the_bytes_of_a_batch_stay_as_they_are() {
    let head = encode_head(&mut [entry(7, b"abc")], 42, PLACE);
    let expect = concat!(
        "48465a42415443480100000001000000780000000300000 02a00000000000000",
        "000000000000000000000000CCCCCCCC",
        "05000100070000000000000002000100010000000300000 0",
        "0900000000000000f9ffffffffffffff",
        "0b00000000000000010000000000000003000000000000000100000000000000",
        "030002001a000000632f6beeee0201000000000000030000000010 0000a800000003000000",
        "0300ffffffffffff762f6b",
    );
    let crc = codec::hex::encode(&head[44..48]);
    assert_eq!(codec::hex::encode(&head), expect.replace(' ', "").replace("CCCCCCCC", &crc));
    let position = Position { volume: VolumeId(1), offset: SlotOffset(2), sequence: 3 };
    assert_eq!(codec::hex::encode(&position.encode()), "0100000000000000020000000300000000000000");
    assert_eq!(Position::decode(&position.encode()), Ok(position));
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let head = encode_head(&mut [entry(7, b"abc"), entry(8, b"x")], 1, PLACE);
    for at in 0..head.len() {
        let mut bad = head.clone();
        bad[at] ^= 1;
        assert!(decode(&bad, PLACE).is_err(), "byte {at}");
        assert!(decode(&head[..at], PLACE).is_err(), "cut at {at}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), entries in 0..4u32) {
        let _either_is_fine = decode(&bytes, PLACE);
        // The same with a right header and checksum, so that the entries are reached.
        if bytes.len() >= BATCH_HEADER_LEN {
            let len = (bytes.len() - BATCH_HEADER_LEN) as u32;
            bytes[..8].copy_from_slice(&MAGIC);
            bytes[8..12].copy_from_slice(&[1, 0, 0, 0]);
            bytes[12..16].copy_from_slice(&entries.to_le_bytes());
            bytes[16..20].copy_from_slice(&len.to_le_bytes());
            let crc = head_crc(&bytes);
            bytes[44..48].copy_from_slice(&crc.to_le_bytes());
            let _either_is_fine = decode(&bytes, PLACE);
        }
    }
}

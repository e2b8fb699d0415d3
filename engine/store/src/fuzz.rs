//! Decoders of everything that lies on drives, over any bytes: none may panic, and what one takes is what its encoder
//! writes. Each target also gets its bytes behind a right checksum, so that mutations reach the fields.

use crate::format::backup::{Manifest, Mark};
use crate::format::batch::{self, BatchHeader, Entry, Place, SmallBody};
use crate::format::drive::{COPY_BYTES, Identity};
use crate::format::fragment::{self, Blocks, Header};
use crate::format::placed::Placed;
use crate::format::record::{BucketRecord, PartRecord, Record, UploadRecord, peek};
use crate::format::scrub::Cursor;
use crate::format::topology::{self, Member, Topology};
use crate::format::volume::VolumePage;
use crate::format::{ENVELOPE_LEN, lost, places, wrap};
use crate::ids::{DeploymentId, DriveId, PAGE_BYTES, SlotOffset, StartNumber, VolumeId};
use crate::index::{self, keys};

/// Bodies that are made up to encode a batch again are no longer than this together.
const BODIES_MAX: u32 = 1 << 20;

/// `hafiz.drive`: the file, and one copy's content.
pub fn drive_identity(bytes: &[u8]) {
    let check = |copy: &[u8]| {
        if let Ok(identity) = Identity::decode(copy) {
            assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
        }
    };
    check(bytes);
    check(&enveloped(b"HAFIZDRV", bytes, COPY_BYTES));
    if let Ok(identity) = Identity::decode_file(bytes) {
        assert_eq!(Identity::decode_file(&identity.encode()), Ok(identity));
    }
}

/// `topology`: the file, and one copy's content.
pub fn topology(bytes: &[u8]) {
    let check = |copy: &[u8]| {
        if let Ok(topology) = Topology::decode(copy) {
            assert_eq!(Topology::decode(&topology.encode()).as_ref(), Ok(&topology));
        }
    };
    check(bytes);
    check(&enveloped(b"HAFIZTOP", bytes, topology::COPY_BYTES));
    if let Ok((topology, copy)) = Topology::decode_file(bytes) {
        assert!(copy < 2 && topology.id_at(topology.number) == Some(topology.id));
    }
}

/// The first page of a slot file.
pub fn volume_page(bytes: &[u8]) {
    let check = |page: &[u8]| {
        if let Ok((page, slot)) = VolumePage::decode(page) {
            assert_eq!(VolumePage::decode(&page.encode(slot)), Ok((page, slot)));
        }
    };
    check(bytes);
    check(&enveloped(b"HAFIZVOL", bytes, PAGE_BYTES));
}

/// The header of a fragment, and blocks of its payload.
pub fn fragment_header(bytes: &[u8]) {
    const SECRET: u32 = 0x5ec2_e701;
    let check = |bytes: &[u8]| {
        let Ok((header, blocks)) = Header::decode(bytes, SECRET) else { return };
        let crcs = block_crcs(&header, &blocks);
        let len = Header::len(header.fragment_len);
        let mut again = vec![0xff; len];
        header.encode_into(&mut again, &crcs, SECRET);
        let (read, blocks) = Header::decode(&again, SECRET).expect("what is written reads back");
        assert_eq!((read, block_crcs(&read, &blocks)), (header, crcs));
        let payload = bytes.get(len..).unwrap_or_default();
        let _any = blocks.verify(payload, 0..blocks.used());
    };
    check(bytes);
    let mut sealed = bytes.to_vec();
    if fragment::set_checksum(&mut sealed, SECRET) {
        check(&sealed);
    }
}

fn block_crcs(header: &Header, blocks: &Blocks<'_>) -> Vec<u32> {
    let count = fragment::block_count(header.used());
    (0..count).map(|block| blocks.crc(block).expect("every used block has its checksum")).collect()
}

/// Header and entries of a commit batch.
pub fn batch(bytes: &[u8]) {
    check_batch(bytes);
    let mut sealed = bytes.to_vec();
    if batch::set_checksum(&mut sealed) {
        check_batch(&sealed);
    }
}

fn check_batch(bytes: &[u8]) {
    let place = Place { volume: VolumeId(0x0102_0304), at: SlotOffset(5), fragment_len: 4096 };
    let (Ok(header), Ok(entries)) = (BatchHeader::decode(bytes), batch::decode(bytes, place)) else { return };
    if header.bodies_len > BODIES_MAX {
        return;
    }
    // Encoding puts addresses into the values; from then on nothing changes any more.
    let first = again(entries.clone(), header.sequence, place);
    assert_eq!(again(first.clone(), header.sequence, place), first);
    let facts = |entry: &Entry| (entry.partition, entry.lsn, entry.placed, entry.live.clone(), entry.usage.clone());
    assert!(entries.iter().map(facts).eq(first.iter().map(facts)));
}

fn again(mut entries: Vec<Entry>, sequence: u64, place: Place) -> Vec<Entry> {
    for entry in &mut entries {
        entry.body = entry.placed.take().map(|address| SmallBody::from(vec![0; address.len as usize]));
    }
    let head = batch::encode_head(&mut entries, sequence, place);
    batch::decode(&head, place).expect("what is written reads back")
}

/// The record of an object.
pub fn record(bytes: &[u8]) {
    let Ok(record) = Record::decode(bytes) else {
        let _any = peek(bytes);
        return;
    };
    let peeked = peek(bytes).expect("a listing reads what a look-up reads");
    assert_eq!((peeked.size, peeked.version, peeked.lsn), (record.size(), record.version, record.lsn));
    assert_eq!(
        (peeked.etag, peeked.modified, peeked.delete_marker),
        (record.etag, record.modified, record.delete_marker)
    );
    assert_eq!(Record::decode(&record.encode()), Ok(record));
}

/// The record of an upload.
pub fn upload(bytes: &[u8]) {
    if let Ok(upload) = UploadRecord::decode(bytes) {
        assert_eq!(upload.encode(), bytes);
    }
}

/// The record of a part.
pub fn part(bytes: &[u8]) {
    if let Ok(part) = PartRecord::decode(bytes) {
        assert_eq!(PartRecord::decode(&part.encode()).as_ref(), Ok(&part));
    }
}

/// The record of a bucket.
pub fn bucket(bytes: &[u8]) {
    if let Ok(bucket) = BucketRecord::decode(bytes) {
        assert_eq!(bucket.encode(), bytes);
    }
}

/// Keys of the index: each is read in one way only.
pub fn index_key(bytes: &[u8]) {
    if let Some((bucket, key)) = keys::parse_current(bytes) {
        assert_eq!(keys::current(bucket, key), bytes);
    }
    if let Some((bucket, key, lsn)) = keys::parse_version(bytes) {
        assert_eq!(keys::version(bucket, &key, lsn), bytes);
    }
    if let Some(parsed) = keys::parse_upload(bytes) {
        let again = match parsed.part {
            None => keys::upload(parsed.bucket, &parsed.key, parsed.upload),
            Some(number) => keys::part(parsed.bucket, &parsed.key, parsed.upload, number),
        };
        assert_eq!(again, bytes);
    }
    if let Some(parsed) = keys::parse_ended_upload(bytes) {
        assert_eq!(keys::ended_upload(parsed.bucket, &parsed.key, parsed.upload), bytes);
    }
    if let Some((volume, at)) = keys::parse_place(bytes) {
        assert!(keys::extent(volume, at) == bytes || keys::dead(volume, at) == bytes);
    }
    if let Some(counter) = keys::parse_counter(bytes) {
        assert_eq!(keys::counter(counter), bytes);
    }
}

/// The checkpoint of a tree.
pub fn ckpt(bytes: &[u8]) {
    if let Ok(ckpt) = index::decode_ckpt(bytes) {
        assert_eq!(index::encode_ckpt(ckpt), bytes);
    }
}

/// The manifest of a backup: as it is, and its partitions behind a right topology and checksum.
pub fn backup_manifest(bytes: &[u8]) {
    let check = |bytes: &[u8]| {
        if let Ok(manifest) = Manifest::decode(bytes) {
            assert_eq!(Manifest::decode(&manifest.encode()).as_ref(), Ok(&manifest));
        }
    };
    check(bytes);
    let topology = Topology {
        deployment: DeploymentId(1),
        number: 1,
        id: 1,
        ancestors: Vec::new(),
        start: StartNumber::new(1).expect("small"),
        parity: 0,
        rebalance: None,
        drives: vec![Member::new(DriveId(1))],
        in_sync: vec![1; 2],
    };
    let content = [&[0; 8][..], &topology.encode(), bytes].concat();
    check(&enveloped(b"HAFIZBAK", &content, ENVELOPE_LEN + content.len()));
}

/// Which tables a restore put on a drive where they did not count.
pub fn placed_tables(bytes: &[u8]) {
    let check = |bytes: &[u8]| {
        if let Ok(placed) = Placed::decode(bytes) {
            assert_eq!(Placed::decode(&placed.encode()), Ok(placed));
        }
    };
    check(bytes);
    check(&enveloped(b"HAFIZPUT", bytes, ENVELOPE_LEN + bytes.len()));
}

/// The mark of an incomplete restore.
pub fn restore_mark(bytes: &[u8]) {
    let check = |bytes: &[u8]| {
        if let Ok(mark) = Mark::decode(bytes) {
            assert_eq!(Mark::decode(&mark.encode()), Ok(mark));
        }
    };
    check(bytes);
    check(&enveloped(b"HAFIZRST", bytes, ENVELOPE_LEN + bytes.len()));
}

/// `places`: where the drives were seen last.
pub fn drive_places(bytes: &[u8]) {
    let check = |bytes: &[u8]| {
        if let Ok(found) = places::decode(bytes) {
            assert_eq!(places::decode(&places::encode(&found)), Ok(found));
        }
    };
    check(bytes);
    check(&enveloped(b"HAFIZPLC", bytes, ENVELOPE_LEN + bytes.len()));
}

/// `scrub`: how far the scrub has come.
pub fn scrub_cursor(bytes: &[u8]) {
    let check = |page: &[u8]| {
        if let Ok(cursor) = Cursor::decode(page) {
            assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        }
    };
    check(bytes);
    check(&enveloped(b"HAFIZSCR", bytes, PAGE_BYTES));
}

/// `lost`: stripes that are lost or in doubt.
pub fn lost_stripes(bytes: &[u8]) {
    let check = |bytes: &[u8]| {
        if let Ok(stripes) = lost::decode(bytes) {
            assert_eq!(lost::decode(&lost::encode(stripes.iter())), Ok(stripes));
        }
    };
    check(bytes);
    check(&enveloped(b"HAFIZLST", bytes, ENVELOPE_LEN + bytes.len()));
}

/// `content`, or as much of it as fits, in an envelope with a right checksum.
fn enveloped(magic: &[u8; 8], content: &[u8], total: usize) -> Vec<u8> {
    wrap(magic, 1, &content[..content.len().min(total - ENVELOPE_LEN)], total)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The targets hold on bytes of every length and on a few that are nearly right.
    #[test]
    fn no_target_fails_on_arbitrary_bytes() {
        let targets: [fn(&[u8]); 17] = [
            drive_identity,
            topology,
            volume_page,
            fragment_header,
            batch,
            record,
            upload,
            part,
            bucket,
            index_key,
            ckpt,
            backup_manifest,
            placed_tables,
            restore_mark,
            drive_places,
            scrub_cursor,
            lost_stripes,
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..4000_usize {
            let bytes: Vec<u8> = (0..round % 200)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    // Small numbers reach further than large ones.
                    if state & 0x300 == 0 { state as u8 } else { state as u8 & 3 }
                })
                .collect();
            targets.iter().for_each(|target| target(&bytes));
        }
    }
}

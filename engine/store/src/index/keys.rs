//! Keys of the index: one byte for the key space, then fields whose byte order is the order wanted. Big-endian, so that
//! numbers sort as numbers. On-disk format: never changed, golden bytes below.
//!
//! ```text
//! b name                                            bucket (partition 0 only)
//! b 0x00 bucket: u64                                deleted bucket that may still have uploads
//! c bucket: u64, key                                current record
//! e volume: u64, slot offset: u32                   extent -> owner
//! g volume: u64, slot offset: u32                   dead range not yet punched
//! m bucket: u64, escaped key, upload: u128          upload
//! m bucket: u64, escaped key, upload: u128, u16     part of it
//! n bucket: u64, escaped key, upload: u128          ended upload whose parts are being cleared
//! u b bucket: u64 | u v volume: u64                 counters
//! v bucket: u64, escaped key, !lsn: u64             other version or delete marker, newest first
//! w bucket: u64, escaped key                        LSN of the null version among them
//! ```
//! `x` and `f` are reserved. `__ckpt` sorts before all of them. An escaped key ends in 0x00; inside it 0x00 and 0x01 are
//! written 0x01 0x01 and 0x01 0x02, so that no key's bytes end it early and the order of keys is kept.

use types::{BucketId, PartNumber, UploadId};

use crate::ids::{Lsn, PartitionId, SlotOffset, VolumeId};

/// Holds the checkpoint of the tree it is in.
pub(crate) const CKPT: &[u8] = b"__ckpt";

/// The partitions of one bucket: a power of two, so that a listing has few cursors to merge.
pub(crate) const SPREAD_MAX: u16 = 16;

const BUCKET: u8 = b'b';
const CURRENT: u8 = b'c';
const EXTENT: u8 = b'e';
const DEAD: u8 = b'g';
const UPLOAD: u8 = b'm';
const ENDED: u8 = b'n';
const COUNTER: u8 = b'u';
const VERSIONS: u8 = b'v';
const NULL_VERSION: u8 = b'w';

const END: u8 = 0;
const ESCAPE: u8 = 1;

pub(crate) fn bucket(name: &str) -> Vec<u8> {
    let mut out = vec![BUCKET];
    out.extend(name.as_bytes());
    out
}

/// Whether the value is a bucket, live or dead.
pub(crate) fn is_bucket(key: &[u8]) -> bool {
    key.first() == Some(&BUCKET)
}

/// All buckets, and after the last one.
pub(crate) fn buckets() -> (Vec<u8>, Vec<u8>) {
    (vec![BUCKET], vec![BUCKET + 1])
}

pub(crate) fn current(bucket: BucketId, key: &[u8]) -> Vec<u8> {
    let mut out = with_bucket(CURRENT, bucket, key.len());
    out.extend(key);
    out
}

/// Current records of the bucket whose keys start with `prefix`: first key and the one after the last.
pub(crate) fn current_range(bucket: BucketId, prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let from = current(bucket, prefix);
    let to = after_prefix(&from).expect("the tag is not 0xff");
    (from, to)
}

/// The object key in a key of the `c` space.
pub(crate) fn parse_current(key: &[u8]) -> Option<(BucketId, &[u8])> {
    let (tag, rest) = key.split_first()?;
    let (bucket, rest) = rest.split_first_chunk::<8>()?;
    (*tag == CURRENT).then_some((BucketId(u64::from_be_bytes(*bucket)), rest))
}

pub(crate) fn version(bucket: BucketId, key: &[u8], lsn: Lsn) -> Vec<u8> {
    let (mut out, _) = versions_of(bucket, key);
    out.extend((!lsn.0).to_be_bytes());
    out
}

/// The other versions of one key: first index key and the one after the last.
pub(crate) fn versions_of(bucket: BucketId, key: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut from = with_bucket(VERSIONS, bucket, key.len() + 9);
    escape(key, &mut from);
    from.push(END);
    let to = after_prefix(&from).expect("the tag is not 0xff");
    (from, to)
}

/// Other versions in the bucket of keys that start with `prefix`.
pub(crate) fn versions_range(bucket: BucketId, prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    escaped_range(VERSIONS, bucket, prefix)
}

pub(crate) fn parse_version(key: &[u8]) -> Option<(BucketId, Vec<u8>, Lsn)> {
    let (bucket, key, rest) = parse_escaped(VERSIONS, key)?;
    let lsn = rest.try_into().ok().map(u64::from_be_bytes)?;
    Some((bucket, key, Lsn(!lsn)))
}

/// The beginning of object keys in what other versions of them start with.
pub(crate) fn parse_versions_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    // As if the key ended there.
    let ended = [prefix, &[END]].concat();
    parse_escaped(VERSIONS, &ended).map(|(_, key, _)| key)
}

/// A place among other versions, from a key or from a bound of them: object key, and what follows its end. What is no escaped
/// key, since it lies between two of them, is taken for the first key behind.
pub(crate) fn parse_place_of_version(index_key: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let rest = index_key.strip_prefix(&[VERSIONS])?.get(8..)?;
    let mut key = Vec::with_capacity(rest.len());
    let mut at = 0;
    while let Some(&byte) = rest.get(at) {
        match (byte, rest.get(at + 1)) {
            (END, _) => return Some((key, &rest[at + 1..])),
            (ESCAPE, None | Some(&END)) => {
                key.push(END);
                break;
            }
            (ESCAPE, Some(1)) => key.push(END),
            (ESCAPE, Some(2)) => key.push(ESCAPE),
            (ESCAPE, Some(_)) => {
                key.push(ESCAPE + 1);
                break;
            }
            (byte, _) => {
                key.push(byte);
                at += 1;
                continue;
            }
        }
        at += 2;
    }
    Some((key, &[]))
}

/// Whether the value is a version beside the current one.
pub(crate) fn is_version(key: &[u8]) -> bool {
    key.first() == Some(&VERSIONS)
}

/// Where the null version of a key is, when it is not the current one.
pub(crate) fn null_version(bucket: BucketId, key: &[u8]) -> Vec<u8> {
    let (mut out, _) = versions_of(bucket, key);
    out[0] = NULL_VERSION;
    out
}

/// The current record of the key that a record is of: what owns its extents, and whose lock decides about it.
pub(crate) fn owner_of(record_key: &[u8]) -> Option<Vec<u8>> {
    match parse_version(record_key) {
        Some((bucket, key, _)) => Some(current(bucket, &key)),
        None => parse_current(record_key).map(|_| record_key.to_vec()),
    }
}

pub(crate) fn upload(bucket: BucketId, key: &[u8], upload: UploadId) -> Vec<u8> {
    let mut out = uploads_of(bucket, key);
    out.extend(upload.0.to_be_bytes());
    out
}

/// What the uploads of one key, and their parts, start with.
pub(crate) fn uploads_of(bucket: BucketId, key: &[u8]) -> Vec<u8> {
    let mut out = with_bucket(UPLOAD, bucket, key.len() + 19);
    escape(key, &mut out);
    out.push(END);
    out
}

/// Uploads (and their parts) in the bucket of keys that start with `prefix`.
pub(crate) fn uploads_range(bucket: BucketId, prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    escaped_range(UPLOAD, bucket, prefix)
}

pub(crate) fn part(bucket: BucketId, key: &[u8], upload_id: UploadId, number: PartNumber) -> Vec<u8> {
    let mut out = upload(bucket, key, upload_id);
    out.extend(number.value().to_be_bytes());
    out
}

/// The parts of one upload, without the upload itself.
pub(crate) fn parts_range(bucket: BucketId, key: &[u8], upload_id: UploadId) -> (Vec<u8>, Vec<u8>) {
    let mut from = upload(bucket, key, upload_id);
    let to = after_prefix(&from).expect("the tag is not 0xff");
    from.push(0);
    (from, to)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UploadKey {
    pub(crate) bucket: BucketId,
    pub(crate) key: Vec<u8>,
    pub(crate) upload: UploadId,
    /// `None`: the upload itself.
    pub(crate) part: Option<PartNumber>,
}

pub(crate) fn parse_upload(key: &[u8]) -> Option<UploadKey> {
    let (bucket, key, rest) = parse_escaped(UPLOAD, key)?;
    let (upload, rest) = rest.split_first_chunk::<16>()?;
    let part = match rest {
        [] => None,
        [high, low] => Some(PartNumber::new(u32::from(u16::from_be_bytes([*high, *low])))?),
        _ => return None,
    };
    Some(UploadKey { bucket, key, upload: UploadId(u128::from_be_bytes(*upload)), part })
}

/// The note of an upload that was completed or aborted, until its parts are cleared.
pub(crate) fn ended_upload(bucket: BucketId, key: &[u8], upload: UploadId) -> Vec<u8> {
    let mut out = self::upload(bucket, key, upload);
    out[0] = ENDED;
    out
}

/// All notes of ended uploads.
pub(crate) fn ended_uploads() -> (Vec<u8>, Vec<u8>) {
    (vec![ENDED], vec![ENDED + 1])
}

pub(crate) fn parse_ended_upload(key: &[u8]) -> Option<UploadKey> {
    let (bucket, key, rest) = parse_escaped(ENDED, key)?;
    let upload = UploadId(u128::from_be_bytes(rest.try_into().ok()?));
    Some(UploadKey { bucket, key, upload, part: None })
}

/// A deleted bucket: no name begins with 0x00.
pub(crate) fn dead_bucket(id: BucketId) -> Vec<u8> {
    let mut out = vec![BUCKET, 0];
    out.extend(id.0.to_be_bytes());
    out
}

/// The key spaces whose values name bodies: current records, uploads and parts, other versions.
pub(crate) fn spaces_with_bodies() -> [(Vec<u8>, Vec<u8>); 3] {
    [CURRENT, UPLOAD, VERSIONS].map(|tag| (vec![tag], vec![tag + 1]))
}

/// All uploads and their parts.
pub(crate) fn all_uploads() -> (Vec<u8>, Vec<u8>) {
    (vec![UPLOAD], vec![UPLOAD + 1])
}

pub(crate) fn extent(volume: VolumeId, at: SlotOffset) -> Vec<u8> {
    with_volume(EXTENT, volume, at)
}

pub(crate) fn dead(volume: VolumeId, at: SlotOffset) -> Vec<u8> {
    with_volume(DEAD, volume, at)
}

/// All extents of the partition.
pub(crate) fn all_extents() -> (Vec<u8>, Vec<u8>) {
    (vec![EXTENT], vec![EXTENT + 1])
}

/// All dead ranges of the partition.
pub(crate) fn all_dead() -> (Vec<u8>, Vec<u8>) {
    (vec![DEAD], vec![DEAD + 1])
}

/// Volume and offset of a key of the `e` or `g` space.
pub(crate) fn parse_place(key: &[u8]) -> Option<(VolumeId, SlotOffset)> {
    let (tag, rest) = key.split_first()?;
    let (volume, rest) = rest.split_first_chunk::<8>()?;
    let at: [u8; 4] = rest.try_into().ok()?;
    let place = (VolumeId(u64::from_be_bytes(*volume)), SlotOffset(u32::from_be_bytes(at)));
    matches!(*tag, EXTENT | DEAD).then_some(place)
}

/// Volume and offset of a dead range.
pub(crate) fn parse_dead(key: &[u8]) -> Option<(VolumeId, SlotOffset)> {
    parse_place(key).filter(|_| key[0] == DEAD)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    Usage(BucketId),
    Live(VolumeId),
}

pub(crate) fn counter(counter: Counter) -> Vec<u8> {
    let (kind, id) = match counter {
        Counter::Usage(bucket) => (b'b', bucket.0),
        Counter::Live(volume) => (b'v', volume.0),
    };
    let mut out = vec![COUNTER, kind];
    out.extend(id.to_be_bytes());
    out
}

pub(crate) fn counters() -> (Vec<u8>, Vec<u8>) {
    (vec![COUNTER], vec![COUNTER + 1])
}

pub(crate) fn parse_counter(key: &[u8]) -> Option<Counter> {
    let (head, id) = key.split_first_chunk::<2>()?;
    let id = u64::from_be_bytes(id.try_into().ok()?);
    match head {
        [COUNTER, b'b'] => Some(Counter::Usage(BucketId(id))),
        [COUNTER, b'v'] => Some(Counter::Live(VolumeId(id))),
        _ => None,
    }
}

/// The first key after all that start with `prefix`; `None` if there is none (all bytes 0xff).
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut out = prefix[..=last].to_vec();
    out[last] += 1;
    Some(out)
}

/// The key right after `key`.
pub(crate) fn successor(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 1);
    out.extend(key);
    out.push(0);
    out
}

/// The partition of an object. `partitions` is fixed when the deployment is formed. A bucket lies in
/// `min(SPREAD_MAX, largest power of two <= partitions)` of them, which follow each other.
pub(crate) fn partition_of(bucket: BucketId, key: &[u8], partitions: u16) -> PartitionId {
    let chosen = hash(bucket.0, key) as u16 & (spread(partitions) - 1);
    nth_partition(bucket, chosen, partitions)
}

/// All partitions that hold keys of the bucket.
pub(crate) fn partitions_of(bucket: BucketId, partitions: u16) -> impl Iterator<Item = PartitionId> {
    (0..spread(partitions)).map(move |nth| nth_partition(bucket, nth, partitions))
}

fn nth_partition(bucket: BucketId, nth: u16, partitions: u16) -> PartitionId {
    let first = hash(bucket.0, b"") % u64::from(partitions);
    PartitionId(((first + u64::from(nth)) % u64::from(partitions)) as u16)
}

fn spread(partitions: u16) -> u16 {
    assert!(partitions > 0, "a deployment has partitions");
    SPREAD_MAX.min(1 << partitions.ilog2())
}

/// Fixed for ever: it decides which partition holds a key. Eight bytes a step, finished by MurmurHash3's mixer.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = mix(seed ^ (bytes.len() as u64).wrapping_mul(STEP));
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = (state ^ u64::from_le_bytes(word)).wrapping_mul(STEP).rotate_left(29);
    }
    mix(state)
}

fn mix(mut state: u64) -> u64 {
    state ^= state >> 33;
    state = state.wrapping_mul(0xff51_afd7_ed55_8ccd);
    state ^= state >> 33;
    state = state.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    state ^ (state >> 33)
}

fn with_bucket(tag: u8, bucket: BucketId, more: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 + more);
    out.push(tag);
    out.extend(bucket.0.to_be_bytes());
    out
}

fn with_volume(tag: u8, volume: VolumeId, at: SlotOffset) -> Vec<u8> {
    let mut out = Vec::with_capacity(13);
    out.push(tag);
    out.extend(volume.0.to_be_bytes());
    out.extend(at.0.to_be_bytes());
    out
}

fn escaped_range(tag: u8, bucket: BucketId, prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut from = with_bucket(tag, bucket, prefix.len());
    escape(prefix, &mut from);
    let to = after_prefix(&from).expect("the tag is not 0xff");
    (from, to)
}

/// As it stands in an escaped key.
pub(crate) fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    escape(bytes, &mut out);
    out
}

fn escape(key: &[u8], out: &mut Vec<u8>) {
    for &byte in key {
        match byte {
            END | ESCAPE => out.extend([ESCAPE, byte + 1]),
            _ => out.push(byte),
        }
    }
}

/// Bucket, object key and what follows its end.
fn parse_escaped(tag: u8, key: &[u8]) -> Option<(BucketId, Vec<u8>, &[u8])> {
    let (found, rest) = key.split_first()?;
    let (bucket, rest) = rest.split_first_chunk::<8>()?;
    if *found != tag {
        return None;
    }
    let mut name = Vec::with_capacity(rest.len());
    let mut bytes = rest.iter().enumerate();
    loop {
        match bytes.next()? {
            (at, &END) => return Some((BucketId(u64::from_be_bytes(*bucket)), name, &rest[at + 1..])),
            (_, &ESCAPE) => match bytes.next()?.1 {
                1 => name.push(END),
                2 => name.push(ESCAPE),
                _ => return None,
            },
            (_, &byte) => name.push(byte),
        }
    }
}

#[cfg(test)]
mod tests;

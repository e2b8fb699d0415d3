//! Stripes on real files: round trips, and every kind of damage that parity makes good or does not.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rt::buf::Shared;

use super::testing::{bytes, on_drives};
use super::*;
use crate::error::Error;
use crate::format::fragment::Header;
use crate::ids::{Geometry, PAGE_BYTES, SlotOffset};
use crate::log::Address;
use crate::node::Node;
use crate::volume::{Class, Volume};

/// Drives of a deployment and the geometry that follows.
const GEOMETRIES: [(usize, u8, u8); 5] = [(1, 1, 0), (2, 1, 1), (3, 2, 1), (6, 4, 2), (14, 12, 2)];

fn join(windows: &[Shared]) -> Vec<u8> {
    windows.iter().flat_map(|window| window.iter().copied()).collect()
}

/// Writes stripes one after the other.
struct Tape {
    volume: Arc<Volume>,
    at: SlotOffset,
    stripes: u64,
}

impl Tape {
    async fn new(node: &Arc<Node>, class: Class) -> Tape {
        let volume = node.create_volume(class, Vec::new(), None).await.expect("there is room");
        Tape { volume, at: SlotOffset::FIRST_STRIPE, stripes: 0 }
    }

    async fn write(&mut self, content: &[u8]) -> (SlotOffset, Layout) {
        let layout = Layout::for_len(self.volume.geometry, content.len());
        let stamp = Stamp::new(&self.volume, self.at, self.stripes, 0);
        let pieces = content.chunks(7001);
        let fragments = build(pieces, layout, self.volume.code(), stamp).await.expect("there are buffers");
        let expected: Vec<_> = layout.expected().collect();
        assert_eq!(fragments.iter().map(|fragment| fragment.index).collect::<Vec<_>>(), expected);
        let writes = write(&self.volume, self.at, fragments, rt::file::Sync::Data, None);
        writes.in_time().await.expect("the drives answer");
        assert_eq!((writes.waiting(), writes.failed()), (0, 0));
        let at = self.at;
        self.at = at.advance(layout.pages());
        self.stripes += 1;
        (at, layout)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    /// Never written, or punched.
    Zeroed,
    HeaderBit,
    /// One bit of every block.
    PayloadBits,
    /// What belongs to another stripe of the same volume and shape.
    Misdirected,
}

const DAMAGES: [Damage; 4] = [Damage::Zeroed, Damage::HeaderBit, Damage::PayloadBits, Damage::Misdirected];

fn damage(volume: &Volume, (at, layout): (SlotOffset, Layout), index: usize, other: SlotOffset, how: Damage) {
    let slot = volume.slot_of(at, index);
    let path = volume.drive(slot).volume_path(volume.id, slot);
    let file = std::fs::File::options().read(true).write(true).open(path).expect("the slot is there");
    let mut fragment = vec![0; layout.fragment_bytes()];
    file.read_exact_at(&mut fragment, at.bytes()).expect("the fragment is there");
    let header_len = layout.header_len();
    match how {
        Damage::Zeroed => fragment.fill(0),
        Damage::HeaderBit => fragment[17] ^= 4,
        Damage::PayloadBits => fragment[header_len..].iter_mut().step_by(1000).for_each(|byte| *byte ^= 0x10),
        Damage::Misdirected => {
            let slot = volume.slot_of(other, index);
            let path = volume.drive(slot).volume_path(volume.id, slot);
            let other_slot = std::fs::File::open(path).expect("the slot is there");
            other_slot.read_exact_at(&mut fragment, other.bytes()).expect("the fragment is there");
        }
    }
    file.write_all_at(&fragment, at.bytes()).expect("the slot takes it");
}

#[test]
fn every_range_of_every_stripe_reads_back() {
    for (drives, data, parity) in GEOMETRIES {
        on_drives(drives, move |node| async move {
            let mut tape = Tape::new(&node, Class::Data).await;
            assert_eq!(tape.volume.geometry, Geometry { data, parity });
            for len in [1, 63, 64, 65, 3967, 4033, 16_384, 65_537, 300_001, 1 << 20] {
                let content = bytes(len as u64, len);
                let (at, layout) = tape.write(&content).await;
                for range in [0..len, 0..1, len - 1..len, len / 3..len / 2 + 1, len / 2..len, len..len] {
                    let windows = read(&tape.volume, at, layout, range.clone()).await.expect("nothing is damaged");
                    assert!(join(&windows) == content[range.clone()], "{range:?} of {len} at {data}+{parity}");
                }
            }
        });
    }
}

#[test]
fn a_read_touches_only_the_blocks_it_needs() {
    on_drives(6, |node| async move {
        let mut tape = Tape::new(&node, Class::Data).await;
        let content = bytes(5, 1 << 20);
        let place = tape.write(&content).await;
        let other = tape.write(&content).await.0;
        // Blocks beyond the first of every fragment are damaged: nobody notices who does not read them.
        for index in 0..6 {
            let slot = tape.volume.slot_of(place.0, index);
            let path = tape.volume.drive(slot).volume_path(tape.volume.id, slot);
            let file = std::fs::File::options().write(true).open(path).expect("the slot is there");
            file.write_all_at(&[1; 100], place.0.bytes() + 100_000).expect("the slot takes it");
        }
        let windows = read(&tape.volume, place.0, place.1, 5..16_000).await.expect("these blocks are good");
        assert!(join(&windows) == content[5..16_000]);
        let error = read(&tape.volume, place.0, place.1, 99_000..101_000).await.expect_err("these are not");
        assert!(matches!(error, ReadError::Failed(Error::Corrupt { .. })));
        let windows = read(&tape.volume, other, place.1, 200_000..900_000).await.expect("another stripe");
        assert!(join(&windows) == content[200_000..900_000]);
    });
}

#[test]
fn as_many_bad_fragments_as_parity_are_made_good() {
    for (drives, _, parity) in GEOMETRIES {
        on_drives(drives, move |node| async move {
            let mut tape = Tape::new(&node, Class::Data).await;
            for (len, seed) in [(900, 1), (20_000, 2), (200_000, 3)] {
                let content = bytes(seed, len);
                let other = tape.write(&bytes(seed + 100, len)).await.0;
                let expected: Vec<_> = Layout::for_len(tape.volume.geometry, len).expected().collect();
                for (n, &first) in expected.iter().enumerate() {
                    let place = tape.write(&content).await;
                    let bad = (0..usize::from(parity)).map(|m| expected[(n + m * (1 + n % 2)) % expected.len()]);
                    for (m, index) in bad.enumerate() {
                        damage(&tape.volume, place, index, other, DAMAGES[(n + m) % 4]);
                    }
                    for range in [0..len, len / 4..len / 4 + 10, len / 2..len] {
                        let windows = read(&tape.volume, place.0, place.1, range.clone()).await;
                        let windows = windows.unwrap_or_else(|error| panic!("{error:?} {range:?} from {first}"));
                        assert!(join(&windows) == content[range.clone()], "{range:?} of {len}, bad from {first}");
                    }
                }
            }
        });
    }
}

#[test]
fn damage_beyond_parity_is_told_and_never_read() {
    for (drives, _, parity) in GEOMETRIES {
        on_drives(drives, move |node| async move {
            let mut tape = Tape::new(&node, Class::Data).await;
            let len = 150_000;
            let other = tape.write(&bytes(1, len)).await.0;
            for how in DAMAGES {
                let place = tape.write(&bytes(2, len)).await;
                for index in place.1.expected().take(usize::from(parity) + 1) {
                    damage(&tape.volume, place, index, other, how);
                }
                let volume = tape.volume.id;
                let error = read(&tape.volume, place.0, place.1, 0..len).await.expect_err("too much is damaged");
                let corrupt =
                    matches!(error, ReadError::Failed(Error::Corrupt { volume: found, .. }) if found == volume);
                assert!(corrupt, "{error:?} {how:?}");
            }
        });
    }
}

/// The record of a body that lies at `range` of a stripe.
fn address(volume: &Volume, (at, layout): (SlotOffset, Layout), range: &std::ops::Range<usize>) -> Address {
    Address {
        volume: volume.id,
        slot_offset: at,
        fragment_len: layout.fragment_len,
        offset: range.start as u32,
        len: range.len() as u32,
    }
}

#[test]
fn small_bodies_of_a_commit_stripe_are_read_and_repaired() {
    for (drives, _, parity) in GEOMETRIES {
        on_drives(drives, move |node| async move {
            let mut tape = Tape::new(&node, Class::Log).await;
            for (len, seed) in [(1000, 1), (5000, 2), (100_000, 3)] {
                let content = bytes(seed, len);
                let other = tape.write(&bytes(seed + 100, len)).await.0;
                for (n, body) in
                    [0..1, len / 2..len / 2 + 400, len - 900..len, len / 7..len / 7 + 800].iter().enumerate()
                {
                    let place = tape.write(&content).await;
                    let address = address(&tape.volume, place, body);
                    let crc = codec::checksum::crc32c(&content[body.clone()]);
                    let windows = read_body(&tape.volume, &address, crc).await.expect("nothing is damaged");
                    assert!(join(&windows) == content[body.clone()]);
                    assert_eq!(read_body(&tape.volume, &address, crc ^ 1).await.map(|_| ()), None);

                    let first = body.start / place.1.fragment_len as usize;
                    if parity > 0 {
                        damage(&tape.volume, place, first, other, DAMAGES[n]);
                        let windows = read_body_repaired(&tape.volume, &address, crc).await.expect("parity helps");
                        assert!(join(&windows) == content[body.clone()], "{body:?} of {len}");
                    }
                    let error = read_body_repaired(&tape.volume, &address, crc ^ 1).await.expect_err("another record");
                    assert!(matches!(error, ReadError::Failed(Error::Corrupt { .. })));
                    for index in place.1.expected().take(usize::from(parity) + 1).chain([first]) {
                        damage(&tape.volume, place, index, other, Damage::Zeroed);
                    }
                    assert_eq!(read_body(&tape.volume, &address, crc).await.map(|_| ()), None);
                    let error = read_body_repaired(&tape.volume, &address, crc).await.expect_err("beyond parity");
                    assert!(matches!(error, ReadError::Failed(Error::Corrupt { .. })), "{error:?}");
                }
            }
        });
    }
}

#[test]
fn a_record_that_names_an_impossible_place_is_refused() {
    on_drives(3, |node| async move {
        let mut tape = Tape::new(&node, Class::Log).await;
        let place = tape.write(&bytes(1, 5000)).await;
        let good = address(&tape.volume, place, &(0..100));
        let end = tape.volume.end();
        let strange = [
            Address { fragment_len: 0, ..good },
            Address { fragment_len: u32::MAX, ..good },
            Address { offset: u32::MAX, ..good },
            Address { len: u32::MAX, ..good },
            Address { slot_offset: SlotOffset(0), ..good },
            Address { slot_offset: SlotOffset(u32::MAX), ..good },
            Address { slot_offset: SlotOffset(end.0 - 1), ..good },
            Address { offset: 5000, ..good },
        ];
        for address in strange {
            assert_eq!(read_body(&tape.volume, &address, 7).await.map(|_| ()), None, "{address:?}");
            assert!(read_body_repaired(&tape.volume, &address, 7).await.is_err(), "{address:?}");
        }
    });
}

#[test]
fn a_filled_stripe_is_the_same_as_a_built_one() {
    on_drives(6, |node| async move {
        let volume = node.create_volume(Class::Data, Vec::new(), None).await.expect("there is room");
        let content = bytes(1, 200_000);
        let layout = Layout::for_len(volume.geometry, content.len());
        let stamp = Stamp::new(&volume, SlotOffset(1), 0, 0);
        let built = build([&content[..]], layout, volume.code(), stamp).await.expect("there are buffers");

        let mut fill = Fill::new(Layout::for_len(volume.geometry, 1 << 20));
        let mut done = 0;
        while done < content.len() {
            let mut window = fill.room().await.expect("there are buffers");
            let len = window.len().min(content.len() - done).min(30_011);
            window[..len].copy_from_slice(&content[done..done + len]);
            fill.fill(window, len);
            done += len;
        }
        let short = fill.shorten().await.expect("there are buffers");
        assert_eq!(short.layout(), layout);
        let filled = short.seal(volume.code(), stamp).await.expect("there are buffers");
        let same = |(a, b): (&Fragment, &Fragment)| a.index == b.index && a.bytes[..] == b.bytes[..];
        assert!(built.len() == filled.len() && built.iter().zip(&filled).all(same));
        assert!(built.iter().all(|fragment| fragment.bytes.len().is_multiple_of(PAGE_BYTES)));
        let (header, _) = Header::decode(&built[0].bytes, volume.secret()).expect("a header");
        assert_eq!((header.index, header.stripe_len), (0, 200_000));
    });
}

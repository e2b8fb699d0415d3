//! Bodies on real files: in by `Put`, out by `Get`.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::extent::pages;
use super::*;
use crate::error::Error;
use crate::format::record::Body;
use crate::get::{Get, ReadError};
use crate::ids::{PAGE_BYTES, SlotOffset, VolumeId};
use crate::node::Node;
use crate::put::{Put, PutBody};
use crate::read::Reader;
use crate::stripe::testing::{bytes, on_drives, on_drives_with};

const MIB: usize = 1 << 20;

pub(super) async fn put(writer: &Rc<Writer>, content: &[u8]) -> Result<PutBody, Error> {
    let mut put = Put::new(writer.clone(), Some(content.len() as u64));
    put.write(content).await?;
    put.finish().await
}

pub(super) fn extents(body: PutBody) -> Body {
    match body {
        PutBody::Large { extents, .. } => Body::Extents(extents),
        PutBody::Empty => Body::Empty,
        PutBody::Small { .. } => panic!("a small body has no extents"),
    }
}

pub(super) async fn get(reader: &Rc<Reader>, body: &Body, range: Range<u64>) -> Result<Vec<u8>, ReadError> {
    let mut get = Get::new(reader.clone(), body, range.clone(), pin());
    let mut content = Vec::new();
    while let Some(window) = get.next().await {
        content.extend_from_slice(&window?);
    }
    assert_eq!((content.len() as u64, get.left()), (range.end - range.start, 0));
    Ok(content)
}

#[test]
fn bodies_of_every_size_and_geometry_come_back() {
    for drives in [1, 2, 3, 6, 14] {
        on_drives(drives, move |node| async move {
            let (writer, reader) = (Writer::new(node.clone()), Reader::new(node, 0));
            for len in [32 * 1024 + 1, 100_000, MIB - 1, MIB, MIB + 1, 3 * MIB + 12_345] {
                let content = bytes(len as u64, len);
                let body = extents(put(&writer, &content).await.expect("there is room"));
                assert_eq!(body.len(), len as u64);
                for range in [0..len, 0..1, len / 2..len / 2 + 100, len - 1..len, len / 3..len, 9..9] {
                    let got = get(&reader, &body, range.start as u64..range.end as u64).await;
                    assert!(got.expect("nothing is damaged") == content[range.clone()], "{range:?} of {len}");
                }
            }
        });
    }
}

#[test]
fn a_body_without_a_length_is_the_same_as_one_with() {
    on_drives(6, |node| async move {
        let (writer, reader) = (Writer::new(node.clone()), Reader::new(node, 0));
        for len in [1, 32 * 1024, 32 * 1024 + 1, 200_000, MIB, 2 * MIB + 5] {
            let content = bytes(len as u64, len);
            let mut put = Put::new(writer.clone(), None);
            let mut done = 0;
            while done < len {
                let mut window = put.room().await.expect("there is room");
                let part = window.len().min(len - done).min(50_001);
                window[..part].copy_from_slice(&content[done..done + part]);
                put.fill(window, part).await.expect("there is room");
                done += part;
            }
            match put.finish().await.expect("all of it came") {
                PutBody::Small { body, crc, len: small } => {
                    assert!(len <= 32 * 1024 && small as usize == len);
                    assert!(body.to_vec() == content && crc == codec::checksum::crc32c(&content));
                }
                large => {
                    assert!(len > 32 * 1024 && large.len() == len as u64);
                    let got = get(&reader, &extents(large), 0..len as u64).await;
                    assert!(got.expect("nothing is damaged") == content);
                }
            }
        }
        let empty = Put::new(writer, None).finish().await.expect("nothing is to be stored");
        assert!(matches!(empty, PutBody::Empty) && empty.is_empty());
    });
}

#[test]
fn a_known_length_takes_one_run_and_no_more_pages_than_it_needs() {
    on_drives(6, |node| async move {
        let writer = Writer::new(node.clone());
        let PutBody::Large { extents, .. } = put(&writer, &bytes(1, 5 * MIB + 1)).await.expect("there is room") else {
            panic!("this is not small");
        };
        assert_eq!((extents.len(), extents[0].at), (1, SlotOffset::FIRST_STRIPE));
        let geometry = node.volume(extents[0].volume).await.expect("it is there").geometry;
        let after = SlotOffset(1 + pages(geometry, extents[0].len, extents[0].stripe_data) as u32);
        // A body of unknown length leaves no gap either.
        let mut unknown = Put::new(writer.clone(), None);
        unknown.write(&bytes(2, 100_000)).await.expect("there is room");
        let PutBody::Large { extents: short, .. } = unknown.finish().await.expect("there is room") else {
            panic!("this is not small");
        };
        assert_eq!(short[0].at, after);
        let next = after.advance(pages(geometry, short[0].len, short[0].stripe_data) as u32);
        let PutBody::Large { extents: last, .. } = put(&writer, &bytes(3, 100_000)).await.expect("there is room")
        else {
            panic!("this is not small");
        };
        assert_eq!(last[0].at, next);
    });
}

#[test]
fn a_tap_sees_every_byte_once_and_in_order() {
    on_drives(6, |node| async move {
        let writer = Writer::new(node);
        for (expected, len) in [(true, 10), (true, 5 * MIB + 1), (false, 10), (false, 3 * MIB + 70_000), (true, MIB)] {
            let content = bytes(4, len);
            let mut put = Put::new(writer.clone(), expected.then_some(len as u64));
            let seen = Rc::new(RefCell::new(Vec::new()));
            let sink = seen.clone();
            put.tap(Rc::new(move |piece| sink.borrow_mut().extend_from_slice(&piece)));
            put.write(&content).await.expect("there is room");
            put.finish().await.expect("there is room");
            assert!(*seen.borrow() == content, "{len}");
        }
    });
}

#[test]
fn a_body_larger_than_a_volume_goes_on_in_the_next() {
    on_drives(1, |node| async move {
        let (writer, reader) = (Writer::new(node.clone()), Reader::new(node, 0));
        let len = 40 * MIB + 3;
        let content = bytes(1, len);
        let body = extents(put(&writer, &content).await.expect("there is room"));
        let Body::Extents(extents) = &body else { panic!("this is not small") };
        assert_eq!(extents.len(), 3);
        assert!(get(&reader, &body, 0..len as u64).await.expect("nothing is damaged") == content);
        let across = extents[0].len - 5..extents[0].len + 5;
        let got = get(&reader, &body, across.clone()).await.expect("nothing is damaged");
        assert!(got == content[across.start as usize..across.end as usize]);
    });
}

#[test]
fn a_body_of_another_length_than_announced_is_incomplete() {
    on_drives(2, |node| async move {
        let writer = Writer::new(node);
        for len in [10, 100_000] {
            let mut short = Put::new(writer.clone(), Some(len));
            short.write(&bytes(1, len as usize - 1)).await.expect("there is room");
            assert_eq!(short.finish().await.map(|_| ()), Err(Error::Incomplete));
            let mut long = Put::new(writer.clone(), Some(len));
            assert_eq!(long.write(&bytes(1, len as usize + 1)).await, Err(Error::Incomplete));
            let mut lost = Put::new(writer.clone(), Some(len));
            drop(lost.room().await.expect("there is room"));
            assert_eq!(lost.room().await.map(|_| ()), Err(Error::Incomplete));
        }
    });
}

#[test]
fn many_bodies_at_once_do_not_wait_for_each_others_buffers() {
    let buffers = rt::buf::ARENA_BYTES_MIN;
    on_drives_with(6, buffers, |node| async move {
        let (writer, reader) = (Writer::new(node.clone()), Reader::new(node, 0));
        let tasks: Vec<_> = (0..24)
            .map(|n| {
                let (writer, reader) = (writer.clone(), reader.clone());
                rt::spawn(async move {
                    let content = bytes(n, 2 * MIB + n as usize * 1000);
                    let body = extents(put(&writer, &content).await.expect("there is room"));
                    let got = get(&reader, &body, 0..content.len() as u64).await.expect("nothing is damaged");
                    assert!(got == content);
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
    });
}

#[test]
fn a_whole_body_is_cached_when_it_is_read_again() {
    on_drives(6, |node| async move {
        let (writer, reader) = (Writer::new(node.clone()), Reader::new(node.clone(), 64 * MIB));
        let content = bytes(1, 300_000);
        let body = extents(put(&writer, &content).await.expect("there is room"));
        for _ in 0..2 {
            assert!(get(&reader, &body, 0..300_000).await.expect("nothing is damaged") == content);
        }
        let Body::Extents(extents) = &body else { panic!("this is not small") };
        destroy(&node, extents[0].volume);
        assert!(get(&reader, &body, 0..300_000).await.expect("from memory") == content);
        assert!(get(&reader, &body, 7..20_000).await.expect("from memory") == content[7..20_000]);
        let cold = Reader::new(node, 0);
        let error = get(&cold, &body, 0..300_000).await.expect_err("nothing is left");
        assert!(matches!(error, ReadError::Failed(Error::Corrupt { .. })), "{error:?}");
    });
}

/// Zeroes every stripe of a volume.
fn destroy(node: &Arc<Node>, id: VolumeId) {
    use std::os::unix::fs::FileExt;
    for drive in node.drives().iter() {
        for slot in 0..24 {
            if let Ok(file) = std::fs::File::options().write(true).open(drive.volume_path(id, slot)) {
                file.write_all_at(&vec![0; MIB], PAGE_BYTES as u64).expect("the slot takes it");
            }
        }
    }
}

#[test]
fn a_volume_that_is_gone_makes_the_record_stale() {
    on_drives(2, |node| async move {
        let reader = Reader::new(node, 0);
        let (volume, at) = (VolumeId(77), SlotOffset(1));
        let body = Body::Extents(vec![Extent { volume, at, len: 10, stripe_data: 1 << 20 }]);
        assert_eq!(get(&reader, &body, 0..10).await, Err(ReadError::Stale));
    });
}

fn pin() -> crate::space::readers::Pin {
    Rc::<crate::space::readers::Readers>::default().enter()
}

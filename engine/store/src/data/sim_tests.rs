//! Bodies on simulated drives: what a flush covers, drives that fail meanwhile, crashes.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rt::sim::{DriveConfig, Fault, SimConfig, Stop, World};

use super::flush::Flusher;
use super::tests::{extents, get, put};
use super::*;
use crate::error::Error;
use crate::format::record::Body;
use crate::node::Node;
use crate::read::Reader;
use crate::stripe::testing::{bytes, config};
use crate::volume::Class;

const LIMIT: Duration = Duration::from_secs(120);

fn world(seed: u64, drives: usize) -> World {
    let mut world = World::new(seed, SimConfig { buffers_bytes_per_shard: 96 << 20, ..SimConfig::default() });
    dirs(drives).iter().for_each(|dir| world.add_drive(dir, DriveConfig::default()));
    world
}

fn dirs(drives: usize) -> Vec<PathBuf> {
    (0..drives).map(|drive| PathBuf::from(format!("/d{drive}"))).collect()
}

async fn open(drives: usize) -> Arc<Node> {
    let node = Node::open(config(dirs(drives))).await.expect("the node starts");
    node.scan_volumes().await.expect("the drives can be read");
    node
}

#[test]
fn a_flush_submitted_before_a_write_completed_does_not_cover_it() {
    let mut world = world(1, 3);
    let main = async {
        let node = open(3).await;
        let volume = node.create_volume(Class::Data, Vec::new(), None).await.expect("there is room");
        let flusher = Flusher::new(volume);
        let early = flusher.mark();
        let covering = rt::spawn({
            let flusher = flusher.clone();
            async move { flusher.cover(early).await }
        });
        while flusher.mark() == early {
            rt::yield_now().await;
        }
        // The first flush is on its way now: it covers what was marked before it, and nothing later.
        let late = flusher.mark();
        assert!(!flusher.is_covered(early) && !flusher.is_covered(late));
        covering.await;
        assert!(flusher.is_covered(early) && !flusher.is_covered(late));
        flusher.cover(late).await;
        assert!(flusher.is_covered(late));
    };
    world.run_alone(main, LIMIT).expect("it ends");
}

#[test]
fn a_failed_flush_loses_what_was_written_since_the_last_good_one_for_ever() {
    let mut world = world(2, 3);
    let (begin, fail) = (Rc::new(std::cell::Cell::new(0)), Rc::new(std::cell::Cell::new(0)));
    let (step, told) = (begin.clone(), fail.clone());
    world.start(1, move |_| {
        let (step, told) = (step.clone(), told.clone());
        Box::pin(async move {
            let node = open(3).await;
            let volume = node.create_volume(Class::Data, Vec::new(), None).await.expect("there is room");
            let flusher = Flusher::new(volume.clone());
            let safe = flusher.mark();
            flusher.cover(safe).await;
            step.set(1);
            while told.get() == 0 {
                rt::time::sleep(Duration::from_millis(1)).await;
            }
            let lost = flusher.mark();
            flusher.cover(lost).await;
            let slot = (0..3).find(|slot| volume.drive(*slot).dir.ends_with("d1")).expect("it has a slot");
            assert_eq!(flusher.lost(safe), 0);
            assert_eq!(flusher.lost(lost), 1 << slot);
            told.set(0);
            step.set(2);
            while told.get() == 0 {
                rt::time::sleep(Duration::from_millis(1)).await;
            }
            flusher.cover(flusher.mark()).await;
            assert_eq!((flusher.lost(safe), flusher.lost(lost)), (0, 1 << slot));
            step.set(3);
        })
    });
    for (reached, chance) in [(1, 1.0), (2, 0.0)] {
        assert_eq!(world.run_until(|| begin.get() == reached, LIMIT), Stop::Condition);
        world.faults("/d1", |faults| faults.sync_error = chance);
        fail.set(1);
    }
    assert_eq!(world.run_until(|| begin.get() == 3, LIMIT), Stop::Condition);
    assert!(world.fault_count(Fault::SyncError) > 0);
}

/// Puts bodies until told to stop; keeps what was acknowledged.
type Acknowledged = Rc<RefCell<Vec<(u64, usize, Body)>>>;

async fn put_many(node: Arc<Node>, tasks: u64, each: u64, acknowledged: Acknowledged) {
    let writer = Writer::new(node);
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let (writer, acknowledged) = (writer.clone(), acknowledged.clone());
            rt::spawn(async move {
                for n in 0..each {
                    let seed = task * 1000 + n;
                    let len = 40_000 + (seed as usize * 77_777) % 2_500_000;
                    if let Ok(body) = put(&writer, &bytes(seed, len)).await {
                        acknowledged.borrow_mut().push((seed, len, extents(body)));
                    }
                }
            })
        })
        .collect();
    for task in running {
        task.await;
    }
}

async fn verify(node: Arc<Node>, acknowledged: Vec<(u64, usize, Body)>) -> usize {
    let reader = Reader::new(node, 0);
    for (seed, len, body) in &acknowledged {
        let got = get(&reader, body, 0..*len as u64).await;
        let got = got.unwrap_or_else(|error| panic!("body {seed} of {len} is lost: {error:?}"));
        assert!(got == bytes(*seed, *len), "body {seed} of {len} is another one");
    }
    acknowledged.len()
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_time() {
    let mut survived = 0;
    for seed in 0..24 {
        let drives = [1, 3, 6][seed as usize % 3];
        let mut world = world(seed, drives);
        let acknowledged = Acknowledged::default();
        world.crash_at_io(100 + seed * 60);
        let kept = acknowledged.clone();
        let main = async move { put_many(open(drives).await, 4, 8, kept).await };
        match world.run_alone(main, LIMIT) {
            Err(Stop::Crashed) => {}
            Ok(()) => world.crash(),
            Err(other) => panic!("{other:?} with seed {seed}"),
        }
        let expected = acknowledged.take();
        survived += world.run_alone(async move { verify(open(drives).await, expected).await }, LIMIT).expect("it ends");
    }
    assert!(survived > 50, "only {survived} bodies were acknowledged before the crashes");
}

#[test]
fn a_drive_that_dies_while_bodies_come_in_costs_no_body() {
    for (seed, drives) in [(1, 2), (2, 3), (3, 6)] {
        let mut world = world(seed, drives);
        let acknowledged = Acknowledged::default();
        let (kept, finished) = (acknowledged.clone(), Rc::new(std::cell::Cell::new(false)));
        let done = finished.clone();
        world.start(1, move |_| {
            let (kept, done) = (kept.clone(), done.clone());
            Box::pin(async move {
                put_many(open(drives).await, 4, 6, kept).await;
                done.set(true);
            })
        });
        let some = acknowledged.clone();
        assert_eq!(world.run_until(|| some.borrow().len() >= 5, LIMIT), Stop::Condition);
        world.faults("/d1", |faults| faults.dead = true);
        assert_eq!(world.run_until(|| finished.get(), LIMIT), Stop::Condition);
        assert_eq!(acknowledged.borrow().len(), 24, "every body found room on the drives that are left");
        world.crash();
        let expected = acknowledged.take();
        let main = async move { verify(open(drives).await, expected).await };
        assert_eq!(world.run_alone(main, LIMIT), Ok(24));
    }
}

#[test]
fn without_parity_a_body_on_a_dead_drive_is_refused() {
    let mut world = world(5, 1);
    let state = Rc::new(std::cell::Cell::new(0));
    let step = state.clone();
    world.start(1, move |_| {
        let step = step.clone();
        Box::pin(async move {
            let writer = Writer::new(open(1).await);
            put(&writer, &bytes(1, 100_000)).await.expect("the drive is well");
            step.set(1);
            while step.get() == 1 {
                rt::time::sleep(Duration::from_millis(1)).await;
            }
            let refused = put(&writer, &bytes(2, 100_000)).await;
            assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
            step.set(3);
        })
    });
    assert_eq!(world.run_until(|| state.get() == 1, LIMIT), Stop::Condition);
    world.faults("/d0", |faults| faults.dead = true);
    state.set(2);
    assert_eq!(world.run_until(|| state.get() == 3, LIMIT), Stop::Condition);
}

#[test]
fn reads_go_on_while_drives_hang_flip_bits_or_fail() {
    for seed in 0..6 {
        let mut world = world(seed, 6);
        let acknowledged = Acknowledged::default();
        let kept = acknowledged.clone();
        world.run_alone(async move { put_many(open(6).await, 2, 4, kept).await }, LIMIT).expect("it ends");
        let expected = acknowledged.take();
        assert_eq!(expected.len(), 8);
        let (opened, finished) = (Rc::new(std::cell::Cell::new(false)), Rc::new(std::cell::Cell::new(false)));
        let (is_open, is_done) = (opened.clone(), finished.clone());
        world.start(1, move |_| {
            let (is_open, is_done, expected) = (is_open.clone(), is_done.clone(), expected.clone());
            Box::pin(async move {
                let node = open(6).await;
                is_open.set(true);
                rt::time::sleep(Duration::from_millis(5)).await;
                assert_eq!(verify(node, expected).await, 8);
                is_done.set(true);
            })
        });
        assert_eq!(world.run_until(|| opened.get(), LIMIT), Stop::Condition);
        world.faults("/d2", |faults| match seed % 3 {
            0 => faults.hang = true,
            1 => faults.bit_flip_read = 1.0,
            _ => faults.read_error = 1.0,
        });
        world.faults("/d4", |faults| faults.bit_flip_read = 0.5);
        assert_eq!(world.run_until(|| finished.get(), LIMIT), Stop::Condition, "seed {seed}");
    }
}

#[test]
fn a_megabyte_costs_one_io_for_each_fragment_and_a_flush() {
    let mut world = world(7, 6);
    let (go, done) = (Rc::new(std::cell::Cell::new(0)), Rc::new(std::cell::Cell::new(0)));
    let (told, tell) = (go.clone(), done.clone());
    world.start(1, move |_| {
        let (told, tell) = (told.clone(), tell.clone());
        Box::pin(async move {
            let node = open(6).await;
            let (writer, reader) = (Writer::new(node.clone()), Reader::new(node, 0));
            let content = bytes(1, 1 << 20);
            let mut body = extents(put(&writer, &content).await.expect("there is room"));
            for phase in 1.. {
                tell.set(phase);
                while told.get() < phase {
                    rt::time::sleep(Duration::from_millis(1)).await;
                }
                let range = match phase {
                    1 => {
                        body = extents(put(&writer, &content).await.expect("there is room"));
                        continue;
                    }
                    2 => 0..1 << 20,
                    3 => 200_000..200_100,
                    4 => 10..20,
                    _ => break,
                };
                let got = get(&reader, &body, range.clone()).await.expect("nothing is damaged");
                assert!(got == content[range.start as usize..range.end as usize]);
            }
        })
    });
    assert_eq!(world.run_until(|| done.get() == 1, LIMIT), Stop::Condition);
    for (phase, ios) in [(1, 6 + 6), (2, 4), (3, 2), (4, 1)] {
        let before = world.io_count();
        go.set(phase);
        assert_eq!(world.run_until(|| done.get() == phase + 1, LIMIT), Stop::Condition);
        assert_eq!(world.io_count() - before, ios, "phase {phase}");
    }
}

#[test]
fn a_drive_that_hangs_does_not_gather_the_buffers_of_reads() {
    let mut world = world(8, 6);
    let finished = Rc::new(std::cell::Cell::new(0));
    let state = finished.clone();
    world.start(1, move |_| {
        let state = state.clone();
        Box::pin(async move {
            let node = open(6).await;
            let writer = Writer::new(node.clone());
            let content = bytes(1, 1 << 20);
            let body = extents(put(&writer, &content).await.expect("there is room"));
            state.set(1);
            while state.get() == 1 {
                rt::time::sleep(Duration::from_millis(1)).await;
            }
            let before = rt::buf::stats().used_bytes;
            let reader = Reader::new(node, 0);
            for _ in 0..500 {
                let got = get(&reader, &body, 0..1 << 20).await.expect("parity makes it good");
                assert!(got == content);
            }
            let gathered = rt::buf::stats().used_bytes - before;
            assert!(gathered < 16 << 20, "{gathered} bytes wait for a drive that hangs");
            state.set(3);
        })
    });
    assert_eq!(world.run_until(|| finished.get() == 1, LIMIT), Stop::Condition);
    world.faults("/d3", |faults| faults.hang = true);
    finished.set(2);
    assert_eq!(world.run_until(|| finished.get() == 3, LIMIT), Stop::Condition);
}

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::buf::{self, Shared};
use crate::file::{self, File, OpenOptions, Sync};
use crate::{call, offload, spawn, time, yield_now};

const LIMIT: Duration = Duration::from_secs(600);

fn world(seed: u64) -> World {
    let mut world = World::new(seed, SimConfig::default());
    world.add_drive("/d0", DriveConfig::default());
    world
}

async fn write(file: &File, byte: u8, len: usize, offset: u64, sync: Sync) -> io::Result<()> {
    let mut buf = buf::alloc(len).await;
    buf[..len].fill(byte);
    file.write_at(buf.window(0..len), offset, sync).await.0
}

async fn create(path: &str) -> File {
    let file = File::open(path, OpenOptions::CREATE_NEW_DIRECT).await.unwrap();
    file::sync_dir("/d0").await.unwrap();
    file
}

/// Two shards that do a bit of everything; returns the trace.
fn busy_run(seed: u64) -> (u64, u64) {
    let mut world = world(seed);
    world.faults("/d0", |faults| {
        faults.write_error = 0.05;
        faults.short_io = 0.2;
        faults.bit_flip_read = 0.1;
    });
    world.start(2, |shard| {
        Box::pin(async move {
            let file = File::open(format!("/d0/{}", shard.0), OpenOptions::CREATE_NEW_DIRECT).await.unwrap();
            let mut tasks = Vec::new();
            for i in 0..40u8 {
                let file = file.clone();
                tasks.push(spawn(async move {
                    time::sleep(Duration::from_micros(crate::random::below(500))).await;
                    // Errors are part of the run; the trace must not depend on them being handled.
                    let written = write(&file, i, 16 << 10, u64::from(i) << 14, Sync::Data).await.is_ok();
                    let sum = call(ShardId(1 - this(shard)), move || async move { u64::from(i) + 1 }).await;
                    offload(move || sum + u64::from(written)).await
                }));
            }
            for task in tasks {
                task.await;
            }
            file.sync_data().await.unwrap();
        })
    });
    world.crash_at_io(70);
    assert_eq!(world.run_for(LIMIT), Stop::Crashed);
    (world.trace_hash(), world.now().as_nanos())
}

fn this(shard: ShardId) -> u16 {
    shard.0
}

#[test]
fn a_run_replays_bit_for_bit_from_its_seed() {
    let first = busy_run(7);
    assert_eq!(first, busy_run(7));
    assert_ne!(first, busy_run(8));
}

#[test]
fn the_wall_clock_jumps_and_timers_do_not() {
    const HOUR: i64 = 3_600_000_000_000;
    let mut world = world(1);
    let read = |world: &mut World| world.run_alone(async { time::wall_clock() }, LIMIT).unwrap();
    let before = read(&mut world);
    world.jump_wall_clock(HOUR);
    world.jump_wall_clock(HOUR);
    assert_eq!(world.fault_count(Fault::ClockJump), 0, "nobody has seen it yet");
    let ahead = read(&mut world) - before;
    assert!((2 * HOUR as u64..2 * HOUR as u64 + 1_000_000).contains(&ahead), "{ahead}");
    world.jump_wall_clock(-20 * 365 * 24 * HOUR);
    let slept = async {
        let (began, behind) = (time::now(), time::wall_clock());
        time::sleep(Duration::from_secs(3)).await;
        (began.elapsed(), time::wall_clock() - behind, behind)
    };
    let (took, passed, behind) = world.run_alone(slept, LIMIT).unwrap();
    assert!((3..4).contains(&took.as_secs()) && (3..4).contains(&(passed / 1_000_000_000)), "{took:?}, {passed}");
    assert!(behind < before, "{behind}");
    assert_eq!(world.fault_count(Fault::ClockJump), 2);
}

#[test]
fn virtual_time_jumps_to_the_next_timer() {
    let mut world = world(1);
    let began = std::time::Instant::now();
    let slept = world.run_alone(
        async {
            let start = time::now();
            time::sleep(Duration::from_secs(300)).await;
            start.elapsed()
        },
        LIMIT,
    );
    assert!(slept.unwrap() < Duration::from_secs(301));
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_yielding_loop_cannot_hold_time_still() {
    let mut world = world(1);
    let end = world.run_alone(
        async {
            let deadline = time::now() + Duration::from_millis(1);
            while time::now() < deadline {
                yield_now().await;
            }
        },
        LIMIT,
    );
    assert_eq!(end, Ok(()));
}

#[test]
fn synced_writes_survive_every_crash_and_others_may_not() {
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..40 {
        let mut world = world(seed);
        let ran = world.run_alone(
            async {
                let file = create("/d0/a").await;
                write(&file, 1, 8192, 0, Sync::Data).await.unwrap();
                write(&file, 2, 8192, 8192, Sync::None).await.unwrap();
                file.sync_data().await.unwrap();
                write(&file, 3, 8192, 16384, Sync::None).await.unwrap();
            },
            LIMIT,
        );
        assert_eq!(ran, Ok(()));
        world.crash();
        let bytes = world.run_alone(file::read("/d0/a"), LIMIT).unwrap().unwrap();
        assert!(bytes[..8192].iter().all(|b| *b == 1) && bytes[8192..16384].iter().all(|b| *b == 2));
        match bytes[16384..].iter().filter(|b| **b == 3).count() {
            0 => lost += 1,
            8192 => kept += 1,
            _ => torn += 1,
        }
    }
    assert!(lost > 0 && kept > 0 && torn > 0, "lost {lost}, kept {kept}, torn {torn}");
}

#[test]
fn a_sync_covers_only_writes_that_completed_before_it() {
    let mut lost = 0;
    for seed in 0..60 {
        let mut world = world(seed);
        world
            .run_alone(
                async {
                    let file = create("/d0/a").await;
                    write(&file, 1, 4096, 0, Sync::None).await.unwrap();
                    let racing = spawn({
                        let file = file.clone();
                        async move { write(&file, 2, 4096, 4096, Sync::None).await }
                    });
                    file.sync_data().await.unwrap();
                    racing.await.unwrap();
                },
                LIMIT,
            )
            .unwrap();
        world.crash();
        let bytes = world.run_alone(file::read("/d0/a"), LIMIT).unwrap().unwrap();
        assert!(bytes[..4096].iter().all(|b| *b == 1));
        lost += u32::from(bytes.len() == 4096 || bytes[4096..].iter().any(|b| *b != 2));
    }
    assert!(lost > 0, "the racing write must be able to get lost");
}

#[test]
fn names_survive_only_after_the_sync_of_their_directory() {
    let (mut lost_new, mut lost_rename) = (0, 0);
    for seed in 0..40 {
        let mut world = world(seed);
        world
            .run_alone(
                async {
                    file::create_dir_all("/d0/x/y").await.unwrap();
                    file::sync_dir("/d0").await.unwrap();
                    file::sync_dir("/d0/x").await.unwrap();
                    file::write_new("/d0/x/y/old", b"old".to_vec()).await.unwrap();
                    file::sync_dir("/d0/x/y").await.unwrap();
                    file::write_new("/d0/x/y/tmp", b"new".to_vec()).await.unwrap();
                    file::rename("/d0/x/y/tmp", "/d0/x/y/old").await.unwrap();
                    file::write_new("/d0/x/y/unsynced", vec![1]).await.unwrap();
                    assert_eq!(file::read_dir("/d0/x/y").await.unwrap().len(), 2);
                },
                LIMIT,
            )
            .unwrap();
        world.crash();
        let (old, new) = world
            .run_alone(
                async { (file::read("/d0/x/y/old").await, file::exists("/d0/x/y/unsynced").await.unwrap()) },
                LIMIT,
            )
            .unwrap();
        let old = old.expect("a durable name is replaced or stays");
        assert!(old == b"old" || old == b"new");
        lost_rename += u32::from(old == b"old");
        lost_new += u32::from(!new);
    }
    assert!((1..40).contains(&lost_rename) && (1..40).contains(&lost_new));
}

#[test]
fn a_directory_that_was_never_durable_takes_its_files_with_it() {
    let mut lost = 0;
    for seed in 0..20 {
        let mut world = world(seed);
        world
            .run_alone(
                async {
                    file::create_dir_all("/d0/x").await.unwrap();
                    file::write_new("/d0/x/a", vec![1]).await.unwrap();
                    file::sync_dir("/d0/x").await.unwrap();
                },
                LIMIT,
            )
            .unwrap();
        world.crash();
        let (dir, name) = world
            .run_alone(async { (file::exists("/d0/x").await.unwrap(), file::exists("/d0/x/a").await.unwrap()) }, LIMIT)
            .unwrap();
        assert_eq!(dir, name);
        lost += u32::from(!dir);
    }
    assert!((1..20).contains(&lost));
}

#[test]
fn a_kill_loses_nothing_that_was_submitted() {
    let mut world = world(3);
    world.start(1, |_| {
        Box::pin(async {
            let file = create("/d0/a").await;
            drop(spawn(async move { write(&file, 9, 4096, 0, Sync::None).await }));
            time::sleep(Duration::from_micros(5)).await;
        })
    });
    let before = world.io_count();
    let core = world.core.clone();
    assert_eq!(world.run_until(move || core.io_count() == before + 3, LIMIT), Stop::Condition);
    world.kill();
    assert_eq!(world.run_for(LIMIT), Stop::Idle);
    assert_eq!(world.run_alone(file::read("/d0/a"), LIMIT).unwrap().unwrap(), [9; 4096]);
}

#[test]
fn a_crash_at_an_operation_stops_there_for_every_operation() {
    for count in 1..=5 {
        let mut world = world(count);
        world.crash_at_io(count);
        let ran = world.run_alone(
            async {
                let file = create("/d0/a").await;
                for i in 0..10 {
                    write(&file, 1, 4096, i * 4096, Sync::Data).await.unwrap();
                }
            },
            LIMIT,
        );
        assert_eq!((ran, world.io_count()), (Err(Stop::Crashed), count));
    }
}

#[test]
fn the_operation_that_is_to_fail_fails_and_no_other() {
    for count in 1..=4 {
        let mut world = world(count);
        world.fail_at_io(count, libc::ENOSPC);
        let outcomes = world.run_alone(
            async {
                let path = Path::new("/d0/a");
                let made = File::open(path, OpenOptions::CREATE_NEW_DIRECT).await;
                let Ok(file) = made else { return vec![made.err()] };
                let mut outcomes = vec![None];
                for i in 0..5 {
                    outcomes.push(write(&file, 1, 4096, i * 4096, Sync::None).await.err());
                }
                outcomes
            },
            LIMIT,
        );
        let outcomes = outcomes.expect("runs to its end");
        let failed: Vec<_> = (1..).zip(&outcomes).filter(|(_, error)| error.is_some()).map(|(n, _)| n).collect();
        assert_eq!(failed, [count], "{outcomes:?}");
        assert_eq!(world.fault_count(Fault::OneFailed), 1);
    }
}

/// Writes one file and reads it back with a fault switched on in between or before; `expect` sees both outcomes.
fn check_fault(
    fault: Fault,
    before: impl FnOnce(&mut Faults),
    between: impl FnOnce(&mut Faults),
    expect: impl FnOnce(io::Result<()>, io::Result<Vec<u8>>),
) {
    let mut world = world(11);
    world.run_alone(async { drop(create("/d0/a").await) }, LIMIT).unwrap();
    world.faults("/d0", before);
    let written = world.run_alone(
        async {
            let file = File::open("/d0/a", OpenOptions::READ_WRITE_DIRECT).await?;
            write(&file, 5, 32 << 10, 0, Sync::Data).await
        },
        LIMIT,
    );
    world.faults("/d0", between);
    let read = world.run_alone(
        async {
            let file = File::open("/d0/a", OpenOptions::READ_DIRECT).await?;
            let (result, buf) = file.read_at(buf::alloc(32 << 10).await, 32 << 10, 0).await;
            result.map(|count| buf[..count].to_vec())
        },
        LIMIT,
    );
    expect(written.unwrap(), read.unwrap());
    assert!(world.fault_count(fault) > 0, "{fault:?} must have struck");
}

fn flipped_bits(bytes: &[u8]) -> u32 {
    bytes.iter().map(|byte| (byte ^ 5).count_ones()).sum()
}

#[test]
fn every_fault_of_a_drive_strikes_and_is_counted() {
    let none = |_: &mut Faults| {};
    let is_eio = |error: io::Error| assert_eq!(error.raw_os_error(), Some(libc::EIO));
    check_fault(
        Fault::ReadError,
        none,
        |f| f.read_error = 1.0,
        |w, r| {
            w.unwrap();
            is_eio(r.unwrap_err());
        },
    );
    check_fault(Fault::WriteError, |f| f.write_error = 1.0, none, |w, _| is_eio(w.unwrap_err()));
    check_fault(
        Fault::LostWrite,
        |f| f.lost_write = 1.0,
        none,
        |w, r| {
            w.unwrap();
            assert!(r.unwrap().is_empty());
        },
    );
    check_fault(
        Fault::BitFlipRead,
        none,
        |f| f.bit_flip_read = 1.0,
        |_, r| {
            assert_eq!(flipped_bits(&r.unwrap()), 1);
        },
    );
    check_fault(
        Fault::BitFlipWrite,
        |f| f.bit_flip_write = 1.0,
        none,
        |w, r| {
            w.unwrap();
            assert_eq!(flipped_bits(&r.unwrap()), 1);
        },
    );
    check_fault(
        Fault::ShortIo,
        |f| f.short_io = 1.0,
        none,
        |w, r| {
            w.unwrap();
            assert_eq!(r.unwrap(), vec![5; 32 << 10]);
        },
    );
    check_fault(
        Fault::NoSpace,
        |f| f.no_space = true,
        none,
        |w, _| {
            assert_eq!(w.unwrap_err().kind(), io::ErrorKind::StorageFull);
        },
    );
    check_fault(Fault::Slow, |f| f.slow_factor = 100, none, |w, _| w.unwrap());
    check_fault(Fault::Dead, none, |f| f.dead = true, |_, r| is_eio(r.unwrap_err()));
    check_fault(
        Fault::Removed,
        none,
        |f| f.removed = true,
        |_, r| {
            assert_eq!(r.unwrap_err().kind(), io::ErrorKind::NotFound);
        },
    );
}

#[test]
fn a_lying_sync_and_a_failed_sync_make_nothing_certain() {
    for (fault, set) in
        [(Fault::LyingSync, (|f| f.lying_sync = 1.0) as fn(&mut Faults)), (Fault::SyncError, |f| f.sync_error = 1.0)]
    {
        let mut lost = 0;
        for seed in 0..20 {
            let mut world = world(seed);
            world.run_alone(async { drop(create("/d0/a").await) }, LIMIT).unwrap();
            world.faults("/d0", set);
            let synced = world.run_alone(
                async {
                    let file = File::open("/d0/a", OpenOptions::READ_WRITE_DIRECT).await.unwrap();
                    write(&file, 1, 4096, 0, Sync::None).await.unwrap();
                    file.sync_data().await
                },
                LIMIT,
            );
            assert_eq!(synced.unwrap().is_ok(), fault == Fault::LyingSync);
            world.faults("/d0", |faults| *faults = Faults::default());
            world.crash();
            let bytes = world.run_alone(file::read("/d0/a"), LIMIT).unwrap().unwrap();
            lost += u32::from(bytes != [1; 4096]);
            assert!(world.fault_count(fault) > 0);
        }
        assert!((1..20).contains(&lost), "{fault:?}: {lost}");
    }
}

#[test]
fn a_misdirected_write_hits_another_place() {
    let mut world = world(5);
    let bytes = world.run_alone(
        async {
            let file = create("/d0/a").await;
            write(&file, 1, 64 << 10, 0, Sync::Data).await.unwrap();
        },
        LIMIT,
    );
    bytes.unwrap();
    world.faults("/d0", |faults| faults.misdirected_write = 1.0);
    let bytes = world.run_alone(
        async {
            let file = File::open("/d0/a", OpenOptions::READ_WRITE_DIRECT).await.unwrap();
            write(&file, 2, 4096, 128 << 10, Sync::Data).await.unwrap();
            file::read("/d0/a").await.unwrap()
        },
        LIMIT,
    );
    let bytes = bytes.unwrap();
    assert_eq!((bytes.len(), bytes.iter().filter(|b| **b == 2).count()), (64 << 10, 4096));
    assert_eq!(world.fault_count(Fault::Misdirected), 1);
}

#[test]
fn bits_flipped_at_rest_stay_flipped() {
    let mut world = world(5);
    world
        .run_alone(
            async {
                let file = create("/d0/a").await;
                write(&file, 5, 64 << 10, 0, Sync::Data).await.unwrap();
            },
            LIMIT,
        )
        .unwrap();
    assert_eq!(world.flip_bits("/d0/a", 3), 3);
    world.crash();
    let bytes = world.run_alone(file::read("/d0/a"), LIMIT).unwrap().unwrap();
    assert!((1..=3).contains(&flipped_bits(&bytes)));
}

#[test]
fn a_hanging_drive_goes_on_when_the_fault_is_taken_back() {
    let mut world = world(5);
    world.faults("/d0", |faults| faults.hang = true);
    let done = Rc::new(Cell::new(false));
    let flag = done.clone();
    world.start(1, |_| {
        let flag = flag.clone();
        Box::pin(async move {
            drop(create("/d0/a").await);
            flag.set(true);
        })
    });
    assert_eq!(world.run_for(LIMIT), Stop::Idle);
    assert!(!done.get() && world.fault_count(Fault::Hang) == 1);
    world.faults("/d0", |faults| faults.hang = false);
    assert_eq!(world.run_until(|| done.get(), LIMIT), Stop::Condition);
}

#[test]
fn a_full_drive_refuses_and_space_comes_back() {
    let mut world = World::new(2, SimConfig::default());
    world.add_drive("/d0", DriveConfig { capacity_bytes: 64 << 10, ..DriveConfig::default() });
    let ran = world.run_alone(
        async {
            let file = create("/d0/a").await;
            file.allocate(0, 48 << 10).await.unwrap();
            let other = create("/d0/b").await;
            let refused = other.allocate(0, 32 << 10).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
            // What was allocated can be written although the drive is full for others.
            write(&file, 1, 48 << 10, 0, Sync::Data).await.unwrap();
            file.punch_hole(0, 32 << 10).await.unwrap();
            assert_eq!(file::fs_space("/d0").await.unwrap().free, 48 << 10);
            other.allocate(0, 48 << 10).await.unwrap();
            file::unlink("/d0/b").await.unwrap();
            assert_eq!(file::fs_space("/d0").await.unwrap().free, 48 << 10);
        },
        LIMIT,
    );
    assert_eq!(ran, Ok(()));
}

#[test]
fn a_lock_ends_with_its_process() {
    let mut world = world(2);
    world.start(1, |_| {
        Box::pin(async {
            let lock = file::try_lock("/d0/lock").await.unwrap().expect("free");
            assert!(file::try_lock("/d0/lock").await.unwrap().is_none());
            std::future::pending::<()>().await;
            drop(lock);
        })
    });
    assert_eq!(world.run_for(LIMIT), Stop::Idle);
    world.kill();
    let free = world.run_alone(async { file::try_lock("/d0/lock").await.unwrap().is_some() }, LIMIT);
    assert_eq!(free, Ok(true));
}

/// An echo server as the process and a client outside it.
fn echo(world: &mut World, address: SocketAddr) {
    world.start(2, move |_| {
        Box::pin(async move {
            let listener = crate::net::Listener::bind(address, true).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                drop(spawn(async move {
                    let mut window = buf::alloc(4096).await.window(0..4096);
                    loop {
                        let (result, back) = stream.recv(window).await;
                        let count = match result {
                            Ok(0) | Err(_) => return,
                            Ok(count) => count,
                        };
                        let (result, back) = stream.send_window(back.with_range(0..count)).await;
                        if result.is_err() {
                            return;
                        }
                        window = back.with_range(0..4096);
                    }
                }));
            }
        })
    });
}

#[test]
fn a_client_outside_talks_to_the_process_and_sees_it_crash() {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9000));
    let mut world = World::new(4, SimConfig { net_segment_bytes_max: 100, ..SimConfig::default() });
    echo(&mut world, address);
    let (echoed, failed) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(None)));
    let (flag, error) = (echoed.clone(), failed.clone());
    let client = world.client(async move {
        // Connecting races with the bind of the server.
        let stream = loop {
            match crate::net::Stream::connect(address).await {
                Ok(stream) => break stream,
                Err(_) => time::sleep(Duration::from_millis(1)).await,
            }
        };
        let sent: Vec<u8> = (0..10_000u32).map(|i| i as u8).collect();
        stream.send_vectored(vec![Shared::from(sent.clone())]).await.unwrap();
        let mut received = Vec::new();
        let mut window = buf::alloc(4096).await.window(0..4096);
        while received.len() < sent.len() {
            let (result, back) = stream.recv(window).await;
            window = back;
            received.extend_from_slice(&window[..result.unwrap()]);
        }
        assert_eq!(received, sent);
        flag.set(true);
        let (result, _) = stream.recv(window).await;
        *error.borrow_mut() = Some(result.map(|_| ()).unwrap_err().kind());
    });
    assert_eq!(world.run_until(|| echoed.get(), LIMIT), Stop::Condition);
    world.crash();
    assert_eq!(world.run_until(|| client.is_finished(), LIMIT), Stop::Condition);
    assert_eq!(*failed.borrow(), Some(io::ErrorKind::ConnectionReset));
}

#[test]
fn a_deadline_ends_a_simulated_read() {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9000));
    let mut world = world(4);
    let kind = world.run_alone(
        async move {
            let listener = crate::net::Listener::bind(address, false).unwrap();
            let accepted = spawn(async move { listener.accept().await.unwrap().0 });
            let stream = crate::net::Stream::connect(address).await.unwrap();
            let accepted = accepted.await;
            let deadline = time::now() + Duration::from_secs(10);
            let (result, window) = stream.recv_until(buf::alloc(4096).await.into(), deadline).await;
            let (end, _) = accepted.recv(window).await;
            (result.unwrap_err().kind(), end.unwrap())
        },
        LIMIT,
    );
    assert_eq!(kind, Ok((io::ErrorKind::TimedOut, 0)));
}

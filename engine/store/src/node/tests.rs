use super::*;
use crate::volume::Class;

fn config(dirs: Vec<PathBuf>) -> Config {
    Config { log_slot_bytes: Some(1 << 20), data_slot_bytes: Some(1 << 20), ..Config::new(dirs) }
}

/// Directories of drives that are missing or out.
fn not_used(node: &Node) -> Vec<PathBuf> {
    node.drives().iter().filter(|drive| !drive.is_usable()).map(|drive| drive.dir.clone()).collect()
}

#[test]
fn a_node_opens_again_on_real_directories() {
    let root = tempfile::tempdir().unwrap();
    let dirs: Vec<PathBuf> = (0..3).map(|n| root.path().join(format!("d{n}"))).collect();
    let run = |dirs: Vec<PathBuf>| {
        let main = move || async move {
            let node = Node::open(config(dirs)).await.unwrap();
            let scanned = node.scan_volumes().await.unwrap();
            let volume = node.create_volume(Class::Log, Vec::new(), None).await.unwrap();
            assert_eq!((volume.geometry.to_string(), volume.is_whole()), ("2+1".to_owned(), true));
            assert!(
                node.drives()
                    .iter()
                    .map(|drive| drive.space())
                    .all(|space| space.free > 0 && space.free <= space.total)
            );
            let again = Node::open(node.config.clone()).await.err().unwrap();
            assert!(matches!(again, OpenError::Locked { .. }), "{again}");
            node.release().await;
            (node.deployment, node.start.value(), scanned.len())
        };
        rt::run_alone(rt::Config::new(1), main).unwrap()
    };
    let (deployment, start, volumes) = run(dirs.clone());
    assert_eq!((start, volumes), (1, 0));
    let turned = dirs.iter().rev().cloned().collect();
    assert_eq!(run(turned), (deployment, 2, 1));
    std::fs::remove_dir_all(&dirs[1]).unwrap();
    assert_eq!(run_without_one(dirs), 3);

    fn run_without_one(dirs: Vec<PathBuf>) -> u32 {
        let main = move || async move {
            let node = Node::open(config(dirs)).await.unwrap();
            assert_eq!(not_used(&node).len(), 1);
            let volume = node.create_volume(Class::Data, Vec::new(), None).await.unwrap();
            assert_eq!(volume.geometry.to_string(), "1+1");
            node.start.value()
        };
        rt::run_alone(rt::Config::new(1), main).unwrap()
    }
}

#[test]
fn drives_on_one_file_system_share_its_room_and_the_log_goes_by_that() {
    let root = tempfile::tempdir().unwrap();
    let dirs: Vec<PathBuf> = (0..4).map(|n| root.path().join(format!("d{n}"))).collect();
    let main = move || async move {
        let node = Node::open(Config { log_slot_bytes: None, ..config(dirs) }).await.unwrap();
        let drive = node.drives()[0].clone();
        // Neither slot is at its bounds.
        let space = Space { total: 128 << 30, free: 64 << 30, ..drive.space() };
        node.drives().iter().for_each(|drive| drive.set_space(space));
        assert_eq!(node.share(&drive), Space { total: 32 << 30, free: 16 << 30, ..space });
        let log_slot_bytes = node.log_slot_bytes();
        // The same room on a file system of its own.
        node.drives().iter().zip(1..).for_each(|(drive, dev)| drive.set_space(Space { dev, ..space }));
        assert_eq!(node.share(&drive), Space { dev: 1, ..space });
        assert_eq!(node.log_slot_bytes(), 4 * log_slot_bytes);
        node.release().await;
    };
    rt::run_alone(rt::Config::new(1), main).unwrap();
}

#[test]
fn directories_that_cannot_be_are_refused() {
    let check = |dirs: Vec<PathBuf>, change: fn(&mut Config), expect: &str| {
        let main = move || async move {
            let mut config = config(dirs);
            change(&mut config);
            Node::open(config).await.err().map(|error| error.to_string()).unwrap_or_default()
        };
        let text = rt::run_alone(rt::Config::new(1), main).unwrap();
        assert!(text.contains(expect), "{text}");
    };
    let root = tempfile::tempdir().unwrap();
    let dir = |name: &str| root.path().join(name);
    std::fs::create_dir(dir("photos")).unwrap();
    std::fs::write(dir("photos").join("cat.jpg"), b"cat").unwrap();
    std::fs::write(dir("file"), b"").unwrap();
    std::fs::create_dir(dir("empty")).unwrap();
    std::os::unix::fs::symlink(dir("empty"), dir("link")).unwrap();
    check(vec![], |_| {}, "no directory");
    check((0..65).map(|n| dir(&n.to_string())).collect(), |_| {}, "64 drives at most");
    check(vec![dir("a"), dir("a")], |_| {}, "the same directory");
    check(vec![dir("empty"), dir("link")], |_| {}, "the same directory");
    check(vec![dir("photos"), dir("b")], |_| {}, "cat.jpg");
    check(vec![dir("file")], |_| {}, "look into");
    check(vec![dir("a"), dir("b")], |config| config.parity = Some(2), "parity 2 is not possible");
    check(vec![dir("a")], |config| config.partitions = 0, "partitions");
    assert!(!dir("a").exists() && !dir("b").exists(), "a refusal changes nothing");
}

#[cfg(feature = "sim")]
mod growth;

#[cfg(feature = "sim")]
mod simulated {
    use rt::buf::Shared;
    use rt::file::Sync;
    use rt::sim::{DriveConfig, SimConfig, Stop, World};

    use super::*;
    use crate::ids::{PAGE_BYTES, SlotOffset};
    use crate::topology::FORMING;
    use crate::volume::{Presence, SlotError};

    pub(super) const LIMIT: Duration = Duration::from_secs(600);

    pub(super) fn dirs(count: usize) -> Vec<PathBuf> {
        (0..count).map(|n| PathBuf::from(format!("/d{n}"))).collect()
    }

    pub(super) fn world(seed: u64, drives: usize) -> World {
        let mut world = World::new(seed, SimConfig::default());
        for dir in dirs(drives) {
            world.add_drive(dir, DriveConfig::default());
        }
        world
    }

    fn remove(world: &mut World, drives: &[usize]) {
        for (n, dir) in dirs(6).into_iter().enumerate() {
            world.faults(dir, |faults| faults.removed = drives.contains(&n));
        }
    }

    pub(super) fn run<T: 'static>(world: &mut World, main: impl Future<Output = T> + 'static) -> T {
        world.run_alone(main, LIMIT).expect("the run ends by itself")
    }

    pub(super) async fn open(count: usize) -> Arc<Node> {
        match Node::open(config(dirs(count))).await {
            Ok(node) => node,
            Err(error) => panic!("{error}"),
        }
    }

    async fn refusal(config: Config) -> String {
        Node::open(config).await.err().map_or("none".to_owned(), |error| format!("{error:?}"))
    }

    fn pages(byte: u8, count: usize) -> Shared {
        Shared::from({
            let mut buf = rt::buf::try_alloc(count * PAGE_BYTES).unwrap();
            buf.fill(byte);
            buf.window(0..count * PAGE_BYTES)
        })
    }

    #[test]
    fn what_was_written_with_dsync_is_read_after_a_crash() {
        let mut world = world(1, 6);
        let (id, secret) = run(&mut world, async {
            let node = open(6).await;
            let volume = node.create_volume(Class::Log, Vec::new(), None).await.unwrap();
            for slot in 0..6 {
                let data = pages(slot as u8, 2);
                volume.write_slot(slot, SlotOffset(3), data, Sync::Data).await.unwrap();
            }
            (volume.id, volume.secret())
        });
        world.crash();
        run(&mut world, async move {
            let node = open(6).await;
            let scanned = node.scan_volumes().await.unwrap();
            assert_eq!(scanned.len(), 1);
            assert_eq!(scanned[0].slots, [Presence::Present; 6]);
            let volume = node.volume(id).await.unwrap();
            assert_eq!((volume.geometry.to_string(), volume.secret()), ("4+2".to_owned(), secret));
            for slot in 0..6 {
                let buf = volume.read_slot(slot, SlotOffset(3), 2).await.unwrap();
                assert!(buf[..2 * PAGE_BYTES].iter().all(|&b| b == slot as u8));
            }
            let beyond = volume.read_slot(0, SlotOffset(255), 2).await;
            assert_eq!(beyond.err(), Some(SlotError::Gone));
        });
    }

    #[test]
    fn a_volume_that_does_not_fit_leaves_nothing_behind() {
        let mut world = world(2, 4);
        run(&mut world, async { drop(open(4).await) });
        // One of four is left out; with two of them there are fewer than a volume needs.
        for dir in ["/d1", "/d2"] {
            world.faults(dir, |faults| faults.no_space = true);
        }
        // The start itself writes in place and needs no room.
        run(&mut world, async {
            let node = open(4).await;
            let full = node.create_volume(Class::Log, Vec::new(), None).await;
            assert_eq!(full.err(), Some(Error::Full));
            for dir in dirs(4) {
                assert_eq!(rt::file::read_dir(dir.join("volumes")).await.unwrap(), []);
            }
            assert_eq!(node.topology().in_count(), 4, "a full drive is no failing one");
            assert!(node.volumes().is_empty() && !node.refuses_writes());
        });
        for dir in ["/d1", "/d2"] {
            world.faults(dir, |faults| faults.no_space = false);
        }
        run(&mut world, async {
            let volume = open(4).await.create_volume(Class::Log, Vec::new(), None).await.unwrap();
            assert_eq!(volume.geometry.to_string(), "2+2");
        });
    }

    #[test]
    fn volumes_are_made_without_a_full_drive_as_long_as_enough_others_have_room() {
        let mut world = World::new(9, SimConfig::default());
        for (n, dir) in dirs(8).into_iter().enumerate() {
            // Three small drives, five large ones; the volumes have slots of a MiB.
            let capacity_bytes = if n < 3 { 8 << 20 } else { 40 << 20 };
            world.add_drive(dir, DriveConfig { capacity_bytes, ..DriveConfig::default() });
        }
        run(&mut world, async {
            let node = open(8).await;
            let mut made: std::collections::BTreeMap<String, usize> = Default::default();
            let error = loop {
                node.refresh_space().await;
                match node.create_volume(Class::Data, Vec::new(), None).await {
                    Ok(volume) => *made.entry(volume.geometry.to_string()).or_default() += 1,
                    Err(error) => break error,
                }
            };
            assert_eq!(error, Error::Full);
            let geometries: Vec<&str> = made.keys().map(String::as_str).collect();
            assert_eq!(geometries, ["3+2", "6+2"], "{made:?}");
            assert!((5..=8).contains(&made["6+2"]) && made["3+2"] >= 30, "{made:?}");
            node.refresh_space().await;
            let left: u64 = node.drives().iter().map(|drive| drive.space().free).sum();
            assert!(left <= 8 * (3 << 20), "{left} bytes are not used");
            assert_eq!(node.topology().in_count(), 8, "a full drive is no failing one");
        });
    }

    #[test]
    fn a_drive_that_fails_is_taken_out_and_not_trusted_when_it_is_back() {
        let mut world = world(3, 6);
        let id = run(&mut world, async {
            let volume = open(6).await.create_volume(Class::Data, Vec::new(), None).await.unwrap();
            volume.id
        });
        world.start(1, move |_| {
            Box::pin(async move {
                let node = open(6).await;
                node.scan_volumes().await.unwrap();
                let volume = node.volume(id).await.unwrap();
                rt::time::sleep(Duration::from_secs(1)).await;
                let dead = (0..6).find(|&slot| volume.drive(slot).dir.ends_with("d4")).unwrap();
                let written = volume.write_slot(dead, SlotOffset(1), pages(1, 1), Sync::Data).await;
                assert!(matches!(written, Err(SlotError::Io(_))));
                node.take_out(volume.drive(dead).id, "test").await.unwrap();
                assert_eq!(volume.sick_slots(), 1 << dead);
                assert_eq!(volume.read_slot(dead, SlotOffset(1), 1).await.err(), Some(SlotError::Gone));
                assert_eq!(node.topology().in_count(), 5);
                let next = node.create_volume(Class::Data, Vec::new(), None).await.unwrap();
                assert_eq!((next.geometry.to_string(), next.is_whole()), ("3+2".to_owned(), true));
            })
        });
        assert_eq!(world.run_for(Duration::from_millis(900)), Stop::TimeLimit);
        world.faults("/d4", |faults| faults.dead = true);
        assert_eq!(world.run_for(Duration::from_secs(60)), Stop::Idle, "the run came to its end");
        world.crash();
        world.faults("/d4", |faults| faults.dead = false);
        run(&mut world, async move {
            let node = open(6).await;
            assert_eq!((node.topology().in_count(), not_used(&node)), (5, vec![PathBuf::from("/d4")]));
            let scanned = node.scan_volumes().await.unwrap();
            assert_eq!(scanned.iter().map(|found| found.slots.len()).collect::<Vec<_>>(), [6, 5]);
            assert_eq!(scanned[0].slots.iter().filter(|slot| **slot == Presence::DriveGone).count(), 1);
        });
    }

    #[test]
    fn a_drive_that_dies_while_a_volume_is_made_is_left_out() {
        let mut world = world(4, 6);
        world.start(1, |_| {
            Box::pin(async {
                let node = open(6).await;
                rt::time::sleep(Duration::from_secs(1)).await;
                let volume = node.create_volume(Class::Log, Vec::new(), None).await.unwrap();
                assert_eq!(volume.geometry.to_string(), "3+2");
            })
        });
        world.run_for(Duration::from_millis(900));
        world.faults("/d5", |faults| faults.dead = true);
        assert_eq!(world.run_for(Duration::from_secs(60)), Stop::Idle, "the run came to its end");
    }

    #[test]
    fn a_drive_that_hangs_while_others_answer_is_suspect_until_it_answers_again() {
        let mut world = world(8, 4);
        let states: std::rc::Rc<std::cell::RefCell<Vec<State>>> = std::rc::Rc::default();
        let seen = states.clone();
        world.start(1, move |_| {
            let seen = seen.clone();
            Box::pin(async move {
                let node = open(4).await;
                let volume = node.create_volume(Class::Data, Vec::new(), None).await.unwrap();
                rt::time::sleep(Duration::from_secs(1)).await;
                let hung = (0..4).find(|&slot| volume.drive(slot).dir.ends_with("d1")).unwrap();
                for round in 0..160 {
                    for slot in (0..4).filter(|&slot| slot != hung || round == 0 || round >= 40) {
                        let volume = volume.clone();
                        let data = pages(1, 1);
                        drop(rt::spawn(async move { volume.write_slot(slot, SlotOffset(1), data, Sync::None).await }));
                    }
                    rt::time::sleep(Duration::from_millis(100)).await;
                    seen.borrow_mut().push(volume.drive(hung).state());
                    assert!((0..4).filter(|&slot| slot != hung).all(|slot| volume.drive(slot).state() == State::In));
                }
                let geometry = node.create_volume(Class::Data, Vec::new(), None).await.unwrap().geometry;
                assert_eq!(geometry.to_string(), "2+2");
            })
        });
        world.run_for(Duration::from_millis(900));
        world.faults("/d1", |faults| faults.hang = true);
        world.run_for(Duration::from_secs(4));
        assert_eq!(states.borrow().first(), Some(&State::In));
        assert_eq!(states.borrow().last(), Some(&State::Suspect));
        world.faults("/d1", |faults| faults.hang = false);
        assert_eq!(world.run_for(Duration::from_secs(60)), Stop::Idle, "the run came to its end");
        assert_eq!(states.borrow().last(), Some(&State::In));
    }

    #[test]
    fn the_last_drive_is_not_taken_out() {
        let mut world = world(5, 1);
        world.start(1, |_| {
            Box::pin(async {
                let node = open(1).await;
                let drive = node.drives()[0].id;
                assert!(matches!(node.take_out(drive, "test").await, Err(Error::Unavailable(_))));
                assert!(node.refuses_writes());
                let volume = node.create_volume(Class::Log, Vec::new(), None).await;
                assert!(matches!(volume.err(), Some(Error::Unavailable(_))));
            })
        });
        assert_eq!(world.run_for(Duration::from_secs(60)), Stop::Idle, "the run came to its end");
    }

    #[test]
    fn a_start_goes_by_the_drives_that_are_there() {
        let mut world = world(6, 6);
        run(&mut world, async { drop(open(6).await) });
        remove(&mut world, &[0, 1, 2]);
        run(&mut world, async {
            assert!(refusal(config(dirs(6))).await.starts_with("TooManyMissing { missing: 3, members: 6, allowed: 2"));
        });
        remove(&mut world, &[0, 1]);
        run(&mut world, async {
            let node = open(6).await;
            assert_eq!((node.start.value(), node.topology().in_count(), not_used(&node).len()), (2, 4, 2));
        });
        // What came back does not stand in for what is gone now: it has missed a start.
        remove(&mut world, &[2, 3]);
        run(&mut world, async {
            assert!(refusal(config(dirs(6))).await.starts_with("TooManyMissing { missing: 2, members: 4, allowed: 1"));
        });
        remove(&mut world, &[2]);
        run(&mut world, async { assert_eq!(open(6).await.topology().in_count(), 3) });
        remove(&mut world, &[]);
        run(&mut world, async { assert_eq!(open(6).await.topology().in_count(), 3) });
    }

    #[test]
    fn a_copied_drive_and_a_newer_one_are_refused() {
        let mut world = world(7, 2);
        run(&mut world, async { drop(open(2).await) });
        run(&mut world, async {
            let foreign = |bytes: Vec<u8>| async move {
                rt::file::unlink("/d1/hafiz.drive").await.unwrap();
                rt::file::write_new("/d1/hafiz.drive", bytes).await.unwrap();
                refusal(config(dirs(2))).await
            };
            let original = rt::file::read("/d1/hafiz.drive").await.unwrap();
            let copied = rt::file::read("/d0/hafiz.drive").await.unwrap();
            assert!(foreign(copied).await.starts_with("Cloned"));
            let newer = crate::format::wrap(b"HAFIZDRV", 2, &[0; 40], 8192);
            assert!(foreign(newer).await.starts_with("Newer"));
            let other = crate::format::drive::Identity { sequence: 9, deployment: DeploymentId(1), drive: DriveId(2) };
            assert!(foreign(other.encode()).await.starts_with("Foreign"));
            assert!(foreign(vec![0; 8192]).await.starts_with("TooManyMissing"));
            assert_eq!(foreign(original).await, "none");
        });
    }

    #[test]
    fn forming_and_starting_survive_a_crash_at_any_point() {
        for at in 1.. {
            let mut world = world(100 + at, 3);
            world.crash_at_io(at);
            let first = world.run_alone(async { open(3).await.deployment }, LIMIT);
            let crashed = match first {
                Err(Stop::Crashed) => true,
                Ok(_) => false,
                Err(other) => panic!("{other:?} at {at}"),
            };
            run(&mut world, async {
                let node = open(3).await;
                assert!(node.topology().number > FORMING && node.topology().in_count() == 3);
            });
            if !crashed {
                assert!(at > 20, "forming takes a few operations, {at} were counted");
                break;
            }
        }
    }

    #[test]
    fn a_drive_that_was_taken_out_stays_out_whenever_the_process_dies() {
        for at in 1.. {
            let mut world = world(500 + at, 6);
            run(&mut world, async { drop(open(6).await) });
            world.crash_at_io(at);
            let taken_out = std::rc::Rc::new(std::cell::Cell::new(false));
            let done = taken_out.clone();
            let ended = world.run_alone(
                async move {
                    let node = open(6).await;
                    node.take_out(node.drives()[0].id, "test").await.unwrap();
                    assert!(!node.topology().is_in(node.drives()[0].id));
                    done.set(true);
                },
                LIMIT,
            );
            // Any two drives may be away at the next start. If one of the five was not told, the others know.
            remove(&mut world, &[(at % 6) as usize, (at / 6 % 6) as usize]);
            run(&mut world, async move {
                match Node::open(config(dirs(6))).await {
                    Ok(node) => assert!(!taken_out.get() || !node.topology().is_in(node.drives()[0].id)),
                    Err(OpenError::TooManyMissing { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            });
            remove(&mut world, &[]);
            // With all of them here nothing is in doubt.
            run(&mut world, async { drop(open(6).await) });
            if ended.is_ok() {
                assert!(at > 10, "a start and a change take a few operations, {at} were counted");
                break;
            }
        }
    }

    #[test]
    fn whatever_drives_are_missing_at_each_crash_no_start_number_is_used_twice_and_no_fork_appears() {
        for seed in 0..60 {
            let mut world = world(seed, 6);
            run(&mut world, async { drop(open(6).await) });
            let mut last_start = 1;
            let mut made = Vec::new();
            for _ in 0..6 {
                let gone: Vec<usize> = (0..world.random() % 3).map(|_| (world.random() % 6) as usize).collect();
                remove(&mut world, &gone);
                let all_here = gone.is_empty();
                if world.random().is_multiple_of(2) {
                    let at = 1 + world.random() % 120;
                    world.crash_at_io(at);
                }
                let known: Vec<VolumeId> = made.clone();
                let round = world.run_alone(
                    async move {
                        let node = match Node::open(config(dirs(6))).await {
                            Ok(node) => node,
                            Err(OpenError::TooManyMissing { .. }) if !all_here => return None,
                            Err(error) => panic!("{error}"),
                        };
                        node.scan_volumes().await.unwrap();
                        let id = match node.create_volume(Class::Log, Vec::new(), None).await {
                            Ok(volume) => Some(volume.id),
                            Err(error) => panic!("{error}"),
                        };
                        assert!(known.iter().all(|known| Some(*known) != id));
                        Some((node.start.value(), id))
                    },
                    LIMIT,
                );
                match round {
                    Ok(Some((start, id))) => {
                        assert!(start > last_start, "seed {seed}: start {start} after {last_start}");
                        last_start = start;
                        made.extend(id);
                    }
                    Ok(None) | Err(Stop::Crashed) => {}
                    Err(other) => panic!("seed {seed}: {other:?}"),
                }
            }
        }
    }
}

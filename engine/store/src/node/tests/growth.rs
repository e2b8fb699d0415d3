//! Drives that come and go while the node runs, and crashes in between.

use rt::sim::{Stop, World};

use super::simulated::{LIMIT, dirs, open, run, world};
use super::*;

fn new_dir() -> PathBuf {
    PathBuf::from("/d6")
}

/// Six drives in use and a seventh that is not.
fn seven(seed: u64) -> World {
    let mut world = world(seed, 7);
    run(&mut world, async { drop(open(6).await) });
    world
}

async fn try_open(count: usize) -> std::result::Result<Arc<Node>, String> {
    Node::open(config(dirs(count))).await.map_err(|error| format!("{error:?}"))
}

#[test]
fn a_new_drive_is_used_by_the_next_volume_and_by_later_starts() {
    let mut world = seven(40);
    run(&mut world, async {
        let node = open(6).await;
        let before = node.create_volume(Class::Data, Vec::new(), None).await.unwrap();
        let id = node.admit(new_dir()).await.unwrap();
        let after = node.create_volume(Class::Data, Vec::new(), None).await.unwrap();
        assert_eq!((before.geometry.to_string(), after.geometry.to_string()), ("4+2".to_owned(), "5+2".to_owned()));
        assert_eq!(node.drives().last().map(|drive| (drive.id, drive.state())), Some((id, State::In)));
        assert!((0..7).any(|slot| after.drive(slot).id == id) && after.is_whole());
    });
    world.crash();
    run(&mut world, async {
        let node = open(7).await;
        assert_eq!((node.topology().in_count(), not_used(&node)), (7, vec![]));
        assert_eq!(node.scan_volumes().await.unwrap().len(), 2);
        assert!(node.volumes().iter().all(|volume| volume.is_whole()));
    });
}

#[test]
fn an_admission_that_dies_anywhere_leaves_a_node_that_starts_and_can_admit_again() {
    let mut outcomes = [0; 2];
    for at in 1.. {
        let mut world = seven(1000 + at);
        let began = world.io_count();
        world.crash_at_io(at);
        let ended = world.run_alone(async { open(6).await.admit(new_dir()).await.unwrap() }, LIMIT);
        assert!(matches!(ended, Ok(_) | Err(Stop::Crashed)), "{:?}", ended.err());
        let done = ended.is_ok();
        // Half of the rounds name the new directory, the others do not.
        let named = if at % 2 == 0 { 7 } else { 6 };
        let members = run(&mut world, async move {
            let node = match try_open(named).await {
                Ok(node) => node,
                // Nothing is in it yet, or the epoch counts and the drive must be named.
                Err(error) => {
                    assert!(error.starts_with("WrongNumber"), "{error} at {at}");
                    assert!(!done, "at {at}: the drive is found where it was");
                    open(13 - named).await
                }
            };
            let members = node.topology().in_count();
            assert!(members == 7 || !done, "at {at}: what was admitted stays");
            node.create_volume(Class::Data, Vec::new(), None).await.unwrap();
            if members == 6 {
                node.admit(new_dir()).await.unwrap();
            }
            members
        });
        outcomes[members - 6] += 1;
        world.crash();
        run(&mut world, async {
            let node = open(7).await;
            assert_eq!(node.topology().in_count(), 7);
            node.scan_volumes().await.unwrap();
            assert_eq!(node.volumes().len(), 1);
        });
        if done {
            assert!(at > 30 && began > 0, "a start and an admission take a few operations, {at} were counted");
            break;
        }
    }
    assert!(outcomes.iter().all(|&count| count > 5), "some crashes fall before the epoch, some after: {outcomes:?}");
}

#[test]
fn whatever_drives_are_missing_after_a_broken_admission_no_fork_appears_and_nothing_is_forgotten() {
    for seed in 0..150 {
        let mut world = seven(2000 + seed);
        let at = 20 + world.random() % 120;
        world.crash_at_io(at);
        // Wherever it ended.
        world.run_alone(async { open(6).await.admit(new_dir()).await.is_ok() }, LIMIT).ok();
        let mut made: Vec<VolumeId> = Vec::new();
        for _ in 0..3 {
            let gone: Vec<usize> = (0..world.random() % 3).map(|_| (world.random() % 7) as usize).collect();
            for (n, dir) in dirs(7).into_iter().enumerate() {
                world.faults(dir, |faults| faults.removed = gone.contains(&n));
            }
            let named = 6 + (world.random() % 2) as usize;
            if world.random().is_multiple_of(3) {
                let at = 1 + world.random() % 150;
                world.crash_at_io(at);
            }
            let round = world.run_alone(
                async move {
                    let node = match try_open(named).await {
                        Ok(node) => node,
                        Err(error) => {
                            let may = ["TooManyMissing", "WrongNumber"].iter().any(|name| error.starts_with(name));
                            assert!(may, "seed {seed}: {error}");
                            return None;
                        }
                    };
                    Some(node.create_volume(Class::Log, Vec::new(), None).await.unwrap().id)
                },
                LIMIT,
            );
            made.extend(round.ok().flatten());
        }
        world.crash();
        for dir in dirs(7) {
            world.faults(dir, |faults| faults.removed = false);
        }
        run(&mut world, async move {
            let node = match try_open(7).await {
                Ok(node) => node,
                Err(error) => {
                    assert!(error.starts_with("WrongNumber"), "seed {seed}: {error}");
                    open(6).await
                }
            };
            node.scan_volumes().await.unwrap();
            let known: Vec<VolumeId> = node.volumes().iter().map(|volume| volume.id).collect();
            assert!(made.iter().all(|id| known.contains(id)), "seed {seed}: {made:?} of {known:?}");
        });
    }
}

#[test]
fn a_directory_that_was_forgotten_is_found_where_the_drive_was_last() {
    let mut world = seven(41);
    run(&mut world, async { open(6).await.admit(new_dir()).await.unwrap() });
    world.crash();
    run(&mut world, async {
        let node = open(6).await;
        assert_eq!((node.topology().in_count(), not_used(&node)), (7, vec![]));
        assert_eq!(node.drives().last().map(|drive| drive.dir.clone()), Some(new_dir()));
    });
    world.faults("/d6", |faults| faults.removed = true);
    run(&mut world, async {
        let error = try_open(6).await.err().unwrap();
        assert_eq!(error, "WrongNumber { have: 6, want: 7 }", "one that is not named and not there is not given up");
        // Named, it is: the operator says that it is to be there.
        let node = open(7).await;
        assert_eq!((node.topology().in_count(), not_used(&node)), (6, vec![new_dir()]));
    });
}

#[test]
fn drives_that_changed_places_are_known_and_one_that_was_taken_out_is_not_used() {
    let mut world = world(42, 4);
    run(&mut world, async {
        let node = open(4).await;
        let id = node.drives()[1].id;
        node.retire(id).await.unwrap();
        assert!(!node.refuses_writes() && !node.topology().is_in(id));
        // Idempotent, also for one that is not there any more.
        node.retire(id).await.unwrap();
        assert_eq!(node.retire(DriveId(7)).await, Err(Error::NotFound));
    });
    world.crash();
    run(&mut world, async {
        // Any order, with the directory of the one that is out or without.
        let turned = Config { dirs: dirs(4).into_iter().rev().collect(), ..config(Vec::new()) };
        let node = Node::open(turned).await.unwrap();
        assert_eq!((node.topology().in_count(), not_used(&node)), (3, vec![PathBuf::from("/d1")]));
        node.release().await;
        let without = Config { dirs: [0, 2, 3].map(|n| dirs(4)[n].clone()).to_vec(), ..config(Vec::new()) };
        let node = Node::open(without).await.unwrap();
        assert_eq!(node.topology().in_count(), 3);
        let refused = node.admit("/d1".into()).await.err().unwrap();
        assert!(matches!(refused, AdmitError::Returned { .. }), "{refused}");
        node.release().await;
        let node = open(4).await;
        let refused = node.admit("/d1".into()).await.err().unwrap();
        assert!(matches!(refused, AdmitError::Returned { .. }), "named or not: {refused}");
    });
}

#[test]
fn a_drive_that_data_depends_on_is_not_taken_out() {
    let mut world = world(43, 4);
    run(&mut world, async {
        let node = open(4).await;
        let volume = node.create_volume(Class::Data, Vec::new(), None).await.unwrap();
        for slot in [0, 1] {
            node.retire(volume.drive(slot).id).await.unwrap();
        }
        let refused = node.retire(volume.drive(2).id).await;
        assert!(matches!(refused, Err(Error::Unavailable(why)) if why.contains("data would be lost")), "{refused:?}");
        assert!(!node.refuses_writes());
        assert_eq!(node.topology().in_count(), 2);
    });
}

#[test]
fn directories_that_are_no_new_drives_are_refused_and_left_as_they_are() {
    let mut world = world(44, 7);
    run(&mut world, async {
        let node = open(5).await;
        let refused = |dir: &'static str| {
            let node = node.clone();
            async move { node.admit(dir.into()).await.err().map(|error| format!("{error:?} {error}")).unwrap_or_default() }
        };
        assert!(refused("/d1").await.starts_with("InUse"));
        rt::file::write_new("/d5/photo", vec![1]).await.unwrap();
        assert!(refused("/d5").await.contains("holds 'photo'"));
        rt::file::unlink("/d5/photo").await.unwrap();
        let with_identity = |bytes: Vec<u8>| async move {
            rt::file::write_new("/d5/hafiz.drive", bytes).await.unwrap();
            let refused = refused("/d5").await;
            rt::file::unlink("/d5/hafiz.drive").await.unwrap();
            refused
        };
        let copied = rt::file::read("/d1/hafiz.drive").await.unwrap();
        assert!(with_identity(copied).await.starts_with("Copy"));
        let foreign = crate::format::drive::Identity { sequence: 9, deployment: DeploymentId(1), drive: DriveId(2) };
        assert!(with_identity(foreign.encode()).await.contains("belongs to deployment"));
        let newer = crate::format::wrap(b"HAFIZDRV", 2, &[0; 40], 8192);
        assert!(with_identity(newer).await.contains("later release"));
        assert!(with_identity(vec![0; 8192]).await.starts_with("Damaged"));
        assert_eq!((node.topology().in_count(), node.drives().len()), (5, 5));
    });
    world.faults("/d5", |faults| faults.dead = true);
    run(&mut world, async {
        let node = open(5).await;
        let refused = node.admit("/d5".into()).await.err().unwrap();
        assert!(matches!(refused, AdmitError::Fails { .. } | AdmitError::Directory(_)), "{refused}");
        // The node goes on, and takes another one.
        node.admit("/d6".into()).await.unwrap();
        assert_eq!(node.topology().in_count(), 6);
    });
}

/// Without parity there is one copy of everything: a volume that was being made on a drive while that was taken out would
/// lose what is written to it from then on.
#[test]
fn without_parity_a_drive_leaves_before_a_volume_chooses_it_or_stays() {
    let mut outcomes = [0; 2];
    for seed in 0..60 {
        let mut world = world(3000 + seed, 2);
        let without_parity = || Config { parity: Some(0), ..config(dirs(2)) };
        let left = run(&mut world, async move {
            let node = Node::open(without_parity()).await.unwrap();
            let id = node.drives()[1].id;
            let making = rt::spawn({
                let node = node.clone();
                async move {
                    rt::time::sleep(Duration::from_micros(rt::random::u64() % 3_000)).await;
                    node.create_volume(Class::Data, Vec::new(), None).await.unwrap()
                }
            });
            rt::time::sleep(Duration::from_micros(rt::random::u64() % 3_000)).await;
            let retired = node.retire(id).await;
            let volume = making.await;
            let is_there = (0..volume.geometry.width()).any(|slot| volume.drive(slot).id == id);
            assert!(retired.is_err() || !is_there, "seed {seed}: a volume lies on a drive that was taken out");
            assert!(!node.drive(id).unwrap().is_leaving() && !node.refuses_writes());
            if retired.is_err() {
                let next = node.create_volume(Class::Data, Vec::new(), None).await.unwrap();
                assert_eq!(next.geometry.to_string(), "2+0", "what stays is used");
            }
            retired.is_ok()
        });
        outcomes[usize::from(left)] += 1;
    }
    assert!(outcomes.iter().all(|&count| count > 5), "sometimes the one is first, sometimes the other: {outcomes:?}");
}

//! Scenarios: drives that do not answer, for ever or for a while, or that are much slower than the others.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use hafiz_store as store;
use rt::sim::{Fault, Stop};

use super::healing;
use super::run::{CLIENTS, Run, Workload, met};

const SECOND: Duration = Duration::from_secs(1);

/// The longest that an operation may take which was on its way to a drive when it began to hang: until the drive is out, and
/// some time for the epoch.
const CAUGHT_MAX: Duration = Duration::from_secs(30);
/// The longest that any other may take: until the drive is suspect, and once more for a volume that was being made.
const OTHERS_MAX: Duration = Duration::from_secs(4);

/// Makes operations take 0.2 to 4 seconds.
const STALL_FACTOR: u32 = 10_000;

fn hang(run: &mut Run, drive: usize, hangs: bool) {
    run.world.faults(run.dirs[drive].clone(), |faults| faults.hang = hangs);
}

/// A process with calm clients, on six drives that hold something.
fn calm(seed: u64) -> Run {
    let mut run = Run::new(seed, 6);
    run.start_and_verify(Duration::from_millis(10));
    run.workload = Workload::Calm;
    run.start_and_wait();
    run.world.run_for(SECOND);
    run
}

/// Each client was caught at most once by each of so many drives; all else went on.
fn assert_prompt(run: &Run, hangs: usize) {
    let (seed, took) = (run.seed, &run.progress.borrow().took);
    let caught: Vec<_> = took.iter().filter(|took| **took > OTHERS_MAX).collect();
    assert!(caught.len() <= hangs * CLIENTS, "seed {seed}: {} of {} took long: {caught:?}", caught.len(), took.len());
    let slowest = took.iter().max().copied().unwrap_or_default();
    assert!(slowest <= CAUGHT_MAX, "seed {seed}: something took {slowest:?}");
    assert!(run.world.fault_count(Fault::Hang) > 0, "seed {seed}: nothing hung");
}

fn crash(run: &mut Run) {
    run.world.crash();
    store::forget_all();
}

/// One drive hangs for ever: it is taken out, and everything goes on. Then it answers again, as a stranger.
pub(crate) fn for_ever(seed: u64) {
    let mut run = calm(seed);
    let hung = (seed % 6) as usize;
    hang(&mut run, hung, true);
    run.world.run_for(30 * SECOND);
    assert_prompt(&run, 1);
    run.goes_on("without the drive that hangs");
    crash(&mut run);
    hang(&mut run, hung, false);
    // What was acknowledged meanwhile can be read without one more.
    run.remove((hung + 1 + (seed / 6 % 5) as usize) % 6);
    run.start_and_verify(SECOND);
    run.assert_unused(hung);
    run.start_and_verify(Duration::ZERO);
}

/// One drive hangs for a while. Below the time after which it is taken out it is used again; all that came late counts.
pub(crate) fn for_a_while(seed: u64) {
    let mut run = calm(seed);
    let hung = (seed % 6) as usize;
    hang(&mut run, hung, true);
    let comes_back = seed.is_multiple_of(2);
    run.world.run_for(if comes_back { 6 } else { 20 } * SECOND);
    hang(&mut run, hung, false);
    run.world.run_for(15 * SECOND);
    assert_prompt(&run, 1);
    run.goes_on("after the hang");
    crash(&mut run);
    run.remove((hung + 1 + (seed / 6 % 5) as usize) % 6);
    run.start_and_verify(SECOND);
    let used = run.progress.borrow().used.contains(&run.dirs[hung]);
    assert_eq!(used, comes_back, "seed {seed}: whether the drive is used again");
    run.start_and_verify(Duration::ZERO);
}

/// A second drive hangs while the first one does.
pub(crate) fn two(seed: u64) {
    let mut run = calm(seed);
    // Slots that are still to be made again would be more than parity makes up for with two drives.
    run.world.run_for(10 * SECOND);
    let first = (seed % 6) as usize;
    let second = (first + 1 + (seed / 6 % 5) as usize) % 6;
    hang(&mut run, first, true);
    run.world.run_for(Duration::from_millis(seed % 5 * 2_500));
    hang(&mut run, second, true);
    run.world.run_for(60 * SECOND);
    let slowest = run.progress.borrow().took.iter().max().copied().unwrap_or_default();
    assert!(slowest <= 2 * CAUGHT_MAX, "seed {seed}: something took {slowest:?}");
    run.goes_on("without both of them");
    crash(&mut run);
    hang(&mut run, first, false);
    hang(&mut run, second, false);
    run.start_and_verify(SECOND);
    run.assert_unused(first);
    run.assert_unused(second);
    run.start_and_verify(Duration::ZERO);
}

/// The process ends at some time while a drive hangs. Then as many others are missing as parity makes up for: nothing that
/// was acknowledged may rest on what the drive that hung had not taken.
pub(crate) fn crash_meanwhile(seed: u64) {
    let mut run = calm(seed);
    let hung = (seed % 6) as usize;
    hang(&mut run, hung, true);
    let millis = 200 + run.world.random() % 6_000;
    run.world.run_for(Duration::from_millis(millis));
    met(seed, "a drive hung", run.world.fault_count(Fault::Hang) > 0);
    crash(&mut run);
    hang(&mut run, hung, false);
    let first = (run.world.random() % 5) as usize;
    let second = (first + 1 + (run.world.random() % 4) as usize) % 5;
    for other in [first, second] {
        run.remove((hung + 1 + other) % 6);
    }
    run.workload = Workload::Mixed;
    run.start_and_verify(Duration::from_millis(10));
    run.start_and_verify(Duration::ZERO);
}

/// Again and again more drives than can be done without keep what they have for seconds, and take what comes behind it at once,
/// as when a machine stands still between the two. Nobody is to blame, and everything goes on.
pub(crate) fn stalls(seed: u64) {
    let mut run = calm(seed);
    let count = 3 + (seed % 3) as usize;
    let factor = |run: &mut Run, factor| {
        for drive in 0..count {
            run.world.faults(run.dirs[drive].clone(), |faults| faults.slow_factor = factor);
        }
    };
    for _ in 0..20 {
        factor(&mut run, STALL_FACTOR);
        let micros = 1_000 + run.world.random() % 20_000;
        run.world.run_for(Duration::from_micros(micros));
        factor(&mut run, 1);
        run.world.run_for(6 * SECOND);
    }
    met(seed, "a drive was slow", run.world.fault_count(Fault::Slow) > 0);
    run.goes_on("after the stalls");
    crash(&mut run);
    run.start_and_verify(SECOND);
}

/// A drive that is a hundred times slower than the others is left to itself as soon as that is plain.
pub(crate) fn slow(seed: u64) {
    let mut run = calm(seed);
    let slow = (seed % 6) as usize;
    run.world.faults(run.dirs[slow].clone(), |faults| faults.slow_factor = 100);
    run.workload = Workload::Calm;
    run.world.run_for(60 * SECOND);
    assert!(run.world.fault_count(Fault::Slow) > 0, "seed {seed}: nothing was slow");
    let slowest = run.progress.borrow().took.iter().max().copied().unwrap_or_default();
    assert!(slowest <= OTHERS_MAX, "seed {seed}: something took {slowest:?}");
    crash(&mut run);
    run.world.faults(run.dirs[slow].clone(), |faults| faults.slow_factor = 1);
    run.start_and_verify(SECOND);
    assert!(run.progress.borrow().used.contains(&run.dirs[slow]), "seed {seed}: a slow drive was taken out");
}

/// Steps of a process that the world waits for.
type Steps = Rc<RefCell<Vec<&'static str>>>;

/// The longest that a rebuild may take once another drive is to be had: until the first one is suspect, and the work.
const REBUILT_MAX: Duration = Duration::from_secs(20);
/// The longest that an end of the store may take while a drive hangs.
const CLOSED_MAX: Duration = Duration::from_secs(40);

/// Runs until the process has come to a step.
fn until(run: &mut healing::Run, steps: &Steps, step: &'static str) {
    let stop = run.world.run_until(|| steps.borrow().contains(&step), healing::LIMIT);
    assert!(stop == Stop::Condition, "{step}: {stop:?}");
}

/// The drive that a slot is being made on.
async fn being_written(drives: &[PathBuf]) -> PathBuf {
    loop {
        for dir in drives {
            let entries = rt::file::read_dir(dir.join("volumes")).await.expect("the drive answers");
            if entries.iter().any(|entry| entry.name.ends_with(".new")) {
                return dir.clone();
            }
        }
        rt::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A drive hangs while slots are made on it. With `others` there is one more: the rebuild goes on there, at once. Without it
/// says that it waits for a drive. Requests, the status and the end of the store wait for nobody.
pub(crate) fn rebuild_target(seed: u64, others: bool) {
    let mut run = healing::with_spare(seed);
    let spares: Vec<PathBuf> = ["/heal-d6", "/heal-d7"].map(PathBuf::from).into();
    if others {
        healing::add_drive(&mut run.world, &run.tables, &spares[1], healing::DRIVE_BYTES);
        let added = spares[1].clone();
        run.run(async move |store, _| healing::add_seventh(store, added).await);
        run.dirs.push(spares[1].clone());
    }
    run.remove((seed % 6) as usize);
    run.rebuild = 4 << 20;
    let (config, steps, target) = (run.config(), Steps::default(), Rc::new(RefCell::new(PathBuf::new())));
    let (told, chosen) = (steps.clone(), target.clone());
    run.world.start(1, move |_| {
        let (config, told, chosen, spares) = (config.clone(), told.clone(), chosen.clone(), spares.clone());
        let told = move |step| told.borrow_mut().push(step);
        Box::pin(async move {
            let (store, bucket) = healing::open(config).await;
            *chosen.borrow_mut() = being_written(&spares[..1 + usize::from(others)]).await;
            told("under way");
            let began = rt::time::Instant::now();
            rt::time::sleep(Duration::from_millis(50)).await;
            for n in 0..healing::OBJECTS {
                let began = rt::time::Instant::now();
                healing::put(&store, bucket, n).await;
                assert!(began.elapsed() <= OTHERS_MAX, "a put took {:?}", began.elapsed());
            }
            if others {
                // What is as wide as there were drives waits for one.
                let is_rebuilt = || store::heal_status().slots_missing <= store::heal_status().waiting_for_drive;
                healing::until("rebuild", is_rebuilt).await;
                assert!(began.elapsed() <= REBUILT_MAX, "seed {seed}: the rebuild took {:?}", began.elapsed());
            } else {
                healing::until("it says that it waits", || store::heal_status().waiting_for_drive > 0).await;
                assert!(began.elapsed() <= REBUILT_MAX, "seed {seed}: it was said after {:?}", began.elapsed());
            }
            healing::check_all(&store, bucket, 0..healing::OBJECTS).await;
            if seed.is_multiple_of(2) {
                // Nothing is lost by it, so in time it is out.
                let is_used = |drive: &store::DriveStatus| {
                    matches!(drive.state, store::DriveState::In | store::DriveState::Suspect)
                };
                let hung = chosen.borrow().clone();
                let is_out = || !store.drives().iter().any(|drive| drive.dir == hung && is_used(drive));
                healing::until("the drive is out", is_out).await;
                assert!(began.elapsed() <= CAUGHT_MAX, "seed {seed}: it was out after {:?}", began.elapsed());
            }
            let began = rt::time::Instant::now();
            store::close().await;
            assert!(began.elapsed() <= CLOSED_MAX, "seed {seed}: closing took {:?}", began.elapsed());
            told("closed");
        })
    });
    until(&mut run, &steps, "under way");
    let hung = target.borrow().clone();
    run.world.faults(&hung, |faults| faults.hang = true);
    until(&mut run, &steps, "closed");
    assert!(run.world.fault_count(Fault::Hang) > 0, "seed {seed}: nothing hung");
    run.world.kill();
    store::forget_all();
    run.world.faults(&hung, |faults| faults.hang = false);
    run.rebuild = 0;
    run.run(async |store, bucket| healing::check_all(&store, bucket, 0..healing::OBJECTS).await);
}

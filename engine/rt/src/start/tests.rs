use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{BACKGROUND_SLICE, Background};
use crate::executor::{self, Priority, spawn_as};
use crate::sync::join_all;
use crate::time::{Duration, Elapsed, Instant, sleep, timeout};
use crate::{Config, ShardId, StartError, call, offload, run, run_alone, spawn, this_shard, yield_now};

#[test]
fn every_shard_runs_its_main_and_run_returns_after_the_last() {
    let ran = Arc::new(AtomicUsize::new(0));
    let counter = ran.clone();
    run(Config::new(3), move |shard| {
        let counter = counter.clone();
        Box::pin(async move {
            assert_eq!((this_shard(), crate::shard_count()), (shard, 3));
            sleep(Duration::from_millis(u64::from(shard.0))).await;
            counter.fetch_add(1, Ordering::SeqCst);
        })
    })
    .unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 3);
}

#[test]
fn a_call_runs_on_the_other_shard_and_brings_its_result_back() {
    run(Config::new(2), |shard| {
        Box::pin(async move {
            if shard.0 == 1 {
                return;
            }
            for i in 0..1000u64 {
                let (ran_on, sum) = call(ShardId(1), move || async move {
                    yield_now().await;
                    (this_shard(), i + 1)
                })
                .await;
                assert_eq!((ran_on, sum), (ShardId(1), i + 1));
            }
            assert_eq!(call(ShardId(0), || async { this_shard() }).await, ShardId(0));
        })
    })
    .unwrap();
}

#[test]
fn more_calls_than_a_mailbox_holds_all_arrive() {
    const CALLS: usize = 3 * crate::MAILBOX_MESSAGES_MAX;
    run(Config::new(2), |shard| {
        Box::pin(async move {
            if shard.0 == 1 {
                return;
            }
            let calls: Vec<_> = (0..CALLS).map(|i| spawn(call(ShardId(1), move || async move { i }))).collect();
            for (i, call) in calls.into_iter().enumerate() {
                assert_eq!(call.await, i);
            }
        })
    })
    .unwrap();
}

#[test]
fn the_callee_goes_on_when_the_caller_is_dropped() {
    let (dropped, finished) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (is_dropped, has_finished) = (dropped.clone(), finished.clone());
    run(Config::new(2), move |shard| {
        let (dropped, finished) = (is_dropped.clone(), has_finished.clone());
        Box::pin(async move {
            if shard.0 == 1 {
                // Ends only when the callee has run to its end.
                while !finished.load(Ordering::SeqCst) {
                    yield_now().await;
                }
                return;
            }
            let seen = dropped.clone();
            let callee = call(ShardId(1), move || async move {
                while !seen.load(Ordering::SeqCst) {
                    yield_now().await;
                }
                finished.store(true, Ordering::SeqCst);
            });
            assert_eq!(timeout(Duration::from_millis(5), callee).await, Err(Elapsed));
            dropped.store(true, Ordering::SeqCst);
        })
    })
    .unwrap();
    assert!(finished.load(Ordering::SeqCst));
}

#[test]
fn a_sleep_never_ends_early() {
    run_alone(Config::new(1), || async {
        for ms in [0, 1, 5] {
            let start = Instant::now();
            sleep(Duration::from_millis(ms)).await;
            assert!(start.elapsed() >= Duration::from_millis(ms));
        }
    })
    .unwrap();
}

#[test]
fn a_dropped_handle_detaches_its_task() {
    run_alone(Config::new(1), || async {
        let ran = Rc::new(Cell::new(false));
        let flag = ran.clone();
        drop(spawn(async move { flag.set(true) }));
        while !ran.get() {
            yield_now().await;
        }
    })
    .unwrap();
}

#[test]
fn offload_runs_elsewhere_while_the_shard_goes_on() {
    run_alone(Config::new(1), || async {
        let here = std::thread::current().id();
        let jobs: Vec<_> = (0..2000u64).map(|i| spawn(offload(move || (std::thread::current().id(), i * 2)))).collect();
        for (i, job) in jobs.into_iter().enumerate() {
            let (thread, value) = job.await;
            assert_ne!(thread, here);
            assert_eq!(value, i as u64 * 2);
        }
    })
    .unwrap();
}

#[test]
fn a_run_without_shards_or_with_the_wrong_cores_is_refused() {
    assert!(matches!(run(Config::new(0), |_| Box::pin(async {})), Err(StartError::Config(_))));
    let config = Config { pin: Some(vec![0]), ..Config::new(2) };
    assert!(matches!(run(config, |_| Box::pin(async {})), Err(StartError::Config(_))));
}

/// Set when a test runs itself again as a child that is meant to end badly.
const CHILD: &str = "HAFIZ_RT_TEST_CHILD";

fn child(test: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("start::tests::{test}"), "--nocapture"]).env(CHILD, "1");
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    command
}

#[test]
fn a_panic_on_a_shard_aborts_the_process_and_says_why() {
    use std::os::unix::process::ExitStatusExt;
    if std::env::var_os(CHILD).is_some() {
        run(Config::new(2), |shard| {
            Box::pin(async move {
                assert_ne!(shard.0, 1, "on purpose");
                std::future::pending::<()>().await;
            })
        })
        .unwrap();
    }
    let output = child("a_panic_on_a_shard_aborts_the_process_and_says_why").output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("shard-1") && said.contains("on purpose"), "{said}");
}

#[test]
fn a_signal_is_a_future_and_does_not_end_the_process() {
    use std::io::{BufRead, BufReader};
    const READY: &str = "the handler is in place";
    if std::env::var_os(CHILD).is_some() {
        let signal = run_alone(Config::new(1), || async {
            let signal = spawn(crate::signal::wait());
            yield_now().await;
            println!("\n{READY}");
            signal.await.unwrap()
        });
        println!("\ngot {:?}", signal.unwrap());
        return;
    }
    let mut child = child("a_signal_is_a_future_and_does_not_end_the_process").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == READY));
    let sent = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert!(lines.any(|line| line.unwrap() == "got Terminate"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_task_that_somebody_waits_for_does_not_stand_behind_the_background() {
    const BEHIND: usize = 1000;
    // What the background may have before the next turn, 1 ms, is enough for a hundred of these.
    const TOOK: Duration = Duration::from_micros(10);
    run_alone(Config::new(1), || async {
        let done = Rc::new(Cell::new(0));
        let behind = (0..BEHIND).map(|_| {
            let done = done.clone();
            spawn_as(Priority::Background, async move {
                let began = Instant::now();
                while began.elapsed() < TOOK {}
                done.set(done.get() + 1);
            })
        });
        let behind: Vec<_> = behind.collect();
        let seen = done.clone();
        let before = spawn(async move { seen.get() }).await;
        assert!(before <= 200, "{before} were before it");
        join_all(behind).await;
        assert_eq!(done.get(), BEHIND);
    })
    .unwrap();
}

#[test]
fn the_background_goes_on_beside_tasks_that_are_always_ready() {
    const TURNS_MAX: usize = 10_000_000;
    run_alone(Config::new(1), || async {
        let done = Rc::new(Cell::new(false));
        let told = done.clone();
        let behind = spawn_as(Priority::Background, async move {
            for _ in 0..100 {
                yield_now().await;
            }
            told.set(true);
        });
        let mut turns = 0;
        while !done.get() && turns < TURNS_MAX {
            turns += 1;
            yield_now().await;
        }
        assert!(done.get(), "nothing came of it in {turns} turns");
        behind.await;
    })
    .unwrap();
}

/// Turns in which others have so much each, and background tasks that are polled for `poll` at a time: the part they had.
fn part_of_the_background(others: Duration, poll: Duration) -> f64 {
    let (mut background, mut had) = (Background::default(), Duration::ZERO);
    for _ in 0..10_000 {
        let Some(slice) = background.slice(others, false) else { continue };
        let mut took = poll;
        while took < slice {
            took += poll;
        }
        background.had(took, false);
        had += took;
    }
    had.as_secs_f64() / (had + 10_000 * others).as_secs_f64()
}

#[test]
fn the_background_has_a_tenth_of_a_shard_that_others_want() {
    for others in [5, 1000, 5_000] {
        for poll in [1, 20, 500] {
            let part = part_of_the_background(Duration::from_micros(others), Duration::from_micros(poll));
            assert!((0.09..0.11).contains(&part), "{others} us, polls of {poll} us: {part}");
        }
    }
    // One that keeps the shard for long is held to some of it only.
    let part = part_of_the_background(Duration::from_millis(1), Duration::from_millis(100));
    assert!((0.6..0.7).contains(&part), "{part}");
}

#[test]
fn the_background_has_all_of_a_shard_that_nobody_wants_and_owes_nothing_for_it() {
    let mut background = Background::default();
    for _ in 0..1000 {
        assert_eq!(background.slice(Duration::ZERO, true), Some(BACKGROUND_SLICE));
        background.had(Duration::from_millis(2), true);
    }
    assert!(background.slice(Duration::from_micros(1), false).is_some());
    background.had(Duration::from_millis(3), false);
    assert_eq!(background.slice(Duration::from_millis(1), false), None);
    assert!(background.slice(Duration::ZERO, true).is_some());
    assert!(background.slice(Duration::from_micros(1), false).is_some());
}

/// The priority of a task that the caller spawns, of one that it calls on the other shard, and of the helper that it has.
async fn priorities() -> (Priority, Priority, String) {
    let name = || std::thread::current().name().unwrap().to_owned();
    let called = call(ShardId(1), || async { executor::priority() }).await;
    (spawn(async { executor::priority() }).await, called, offload(name).await)
}

#[test]
fn what_a_task_spawns_calls_and_offloads_is_of_its_priority() {
    run(Config::new(2), |shard| {
        Box::pin(async move {
            if shard.0 == 1 {
                return;
            }
            for (priority, name) in [(Priority::Background, "background-"), (Priority::Foreground, "helper-")] {
                let (spawned, called, helper) = spawn_as(priority, priorities()).await;
                assert_eq!((spawned, called), (priority, priority));
                assert!(helper.starts_with(name), "{helper}");
            }
        })
    })
    .unwrap();
}

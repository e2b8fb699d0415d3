//! What threads do to each other in here, under schedules that a model chooses: `tests/interleave/run`.
//!
//! Each scenario ends under every schedule or the model calls it a deadlock: a wake-up that is lost is one. Half of the
//! schedules switch threads at random, half by priorities that change now and then (PCT), which finds what needs few but
//! unlucky switches. The model is sequentially consistent: memory orders are ThreadSanitizer's matter
//! (`tests/sanitize`). `HAFIZ_SCHEDULES`: of each scenario.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Runner, thread};

use crate::ShardId;
use crate::buf::Arena;
use crate::executor::{Executor, Priority};
use crate::mailbox::{Inbox, Message, Posting, Reply};
use crate::offload::Offload;
use crate::sync::join_all;
use crate::threads::atomic::{AtomicUsize, Ordering::SeqCst};
use crate::threads::{Bug, Event, plant};

const SEED: u64 = 1;
/// Of a scenario, without `HAFIZ_SCHEDULES`.
const SCHEDULES: usize = 1000;
/// Changes of priority in one schedule.
const PCT_DEPTH: usize = 3;
/// Schedules within which a planted bug has to be found.
const SCHEDULES_PLANTED: usize = 20_000;

type Scenario = fn();

const SCENARIOS: [(&str, Scenario); 6] = [
    ("calls between shards whose mailboxes are full", calls),
    ("senders that give up", senders_that_give_up),
    ("wake-ups from other threads", wakes),
    ("jobs for helpers", jobs),
    ("jobs that are given up", jobs_that_are_given_up),
    ("buffers dropped elsewhere", buffers),
];

/// The bug and the scenario that has to find it.
const PLANTED: [(Bug, Scenario); 9] = [
    (Bug::LooksBeforeItSleeps, calls),
    (Bug::PendingClearedLate, calls),
    (Bug::NotifiedBeforeSent, calls),
    (Bug::GoneSendersCount, senders_that_give_up),
    (Bug::GoneJobsCount, jobs_that_are_given_up),
    (Bug::HelpersNotToldOfTheEnd, jobs),
    (Bug::WakesWhilePolledLost, wakes),
    (Bug::WaitingSaidLate, buffers),
    (Bug::ReplyWakesFirst, calls),
];

fn explore(scenario: Scenario, schedules: usize) {
    let random = RandomScheduler::new_from_seed(SEED, schedules / 2);
    Runner::new(random, shuttle::Config::new()).run(scenario);
    let priorities = PctScheduler::new_from_seed(SEED, PCT_DEPTH, schedules - schedules / 2);
    Runner::new(priorities, shuttle::Config::new()).run(scenario);
}

#[test]
fn every_schedule_ends() {
    let schedules = std::env::var("HAFIZ_SCHEDULES").map_or(SCHEDULES, |text| text.parse().expect("a number"));
    plant(None);
    for (name, scenario) in SCENARIOS {
        explore(scenario, schedules);
        println!("interleave: {schedules} schedules of {name}");
    }
}

#[test]
fn planted_bugs_are_found() {
    let usual = std::panic::take_hook();
    // Each of them panics: that is what is hoped for.
    std::panic::set_hook(Box::new(|_| {}));
    let missed: Vec<Bug> = PLANTED
        .into_iter()
        .filter(|(bug, scenario)| {
            plant(Some(*bug));
            catch_unwind(AssertUnwindSafe(|| explore(*scenario, SCHEDULES_PLANTED))).is_ok()
        })
        .map(|(bug, _)| bug)
        .collect();
    plant(None);
    std::panic::set_hook(usual);
    assert_eq!(missed, [], "these were not found");
}

/// A mailbox whose owner sleeps in a modelled kernel.
fn inbox(shard: u16) -> Arc<Inbox> {
    Arc::new(Inbox::new(ShardId(shard), Some(Event::new().expect("a model has no limits"))))
}

/// The life of a shard without a ring and without a background, in the order of `start::live`, until its main has ended and
/// `left` is zero: it serves the others until they have ended, too.
fn live(
    inbox: &Arc<Inbox>,
    left: &Arc<AtomicUsize>,
    everyone: &[Arc<Inbox>],
    main: impl Future<Output = ()> + 'static,
) {
    let executor = Executor::new();
    let (ended, everyone) = (left.clone(), everyone.to_vec());
    let whole = async move {
        main.await;
        if ended.fetch_sub(1, SeqCst) == 1 {
            everyone.iter().for_each(|inbox| inbox.notify());
        }
    };
    executor.spawn(inbox, Priority::Foreground, Box::pin(whole));
    loop {
        inbox.drain(&executor);
        for _ in 0..executor.ready_len(Priority::Foreground) {
            executor.run_one(Priority::Foreground, 0);
        }
        if left.load(SeqCst) == 0 {
            break;
        }
        if executor.ready_len(Priority::Foreground) == 0 && inbox.prepare_sleep() {
            inbox.event().expect("made with one").wait();
            inbox.woke();
        }
    }
    executor.close();
    inbox.close();
}

/// As `crate::call`, of what needs no task on the other side.
async fn call(to: Arc<Inbox>, value: usize) -> usize {
    let reply = Reply::new();
    let answer = reply.clone();
    let message: Message = Box::new(move || answer.put(value * 2));
    Posting { inbox: to, message: Some(message) }.await;
    reply.get().await
}

/// Two shards and more messages than a mailbox holds, both ways.
fn calls() {
    let everyone = [inbox(0), inbox(1)];
    let left = Arc::new(AtomicUsize::new(2));
    let threads: Vec<_> = (0..2)
        .map(|number| {
            let (everyone, left) = (everyone.clone(), left.clone());
            thread::spawn(move || {
                let other = everyone[1 - number].clone();
                live(&everyone[number], &left, &everyone, async move {
                    let answers = join_all((0..4).map(|value| call(other.clone(), value))).await;
                    assert_eq!(answers, [0, 2, 4, 6]);
                });
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no shard panics"));
}

/// Polls once and drops: whoever waited is gone.
fn try_once(future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    let _whatever: Poll<()> = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

/// One shard is sent messages by many who do not wait for room, and by two who do.
fn senders_that_give_up() {
    let everyone = [inbox(0), inbox(1), inbox(2)];
    let left = Arc::new(AtomicUsize::new(3));
    let threads: Vec<_> = (0..3)
        .map(|number| {
            let (everyone, left) = (everyone.clone(), left.clone());
            thread::spawn(move || {
                let first = everyone[0].clone();
                live(&everyone[number], &left, &everyone, async move {
                    if number == 0 {
                        return;
                    }
                    for _ in 0..4 {
                        try_once(Posting { inbox: first.clone(), message: Some(Box::new(|| {})) });
                    }
                    assert_eq!(call(first, number).await, number * 2);
                });
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no shard panics"));
}

/// Threads that are no shards wake tasks of one, also while these are being polled.
fn wakes() {
    let shard = inbox(0);
    let left = Arc::new(AtomicUsize::new(1));
    let replies: Vec<Arc<Reply<usize>>> = (0..3).map(|_| Reply::new()).collect();
    let threads: Vec<_> = replies
        .iter()
        .enumerate()
        .map(|(number, reply)| {
            let reply = reply.clone();
            thread::spawn(move || reply.put(number))
        })
        .collect();
    let main = async move {
        let found = join_all(replies.iter().map(|reply| reply.get())).await;
        assert_eq!(found, [0, 1, 2]);
    };
    live(&shard, &left, std::slice::from_ref(&shard), main);
    threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
}

/// As `crate::offload`.
async fn offload(helpers: Arc<Offload>, value: usize) -> usize {
    let reply = Reply::new();
    let answer = reply.clone();
    helpers.push(Box::new(move || answer.put(value * 2))).await;
    reply.get().await
}

/// Runs a shard beside two helpers, and ends these afterwards.
fn with_helpers<F: Future<Output = ()> + 'static>(main: impl FnOnce(Arc<Offload>) -> F) {
    let offload = Offload::new(2, Duration::from_millis(500));
    let helpers: Vec<_> = (0..2)
        .map(|_| {
            let offload = offload.clone();
            thread::spawn(move || offload.work())
        })
        .collect();
    let shard = inbox(0);
    live(&shard, &Arc::new(AtomicUsize::new(1)), std::slice::from_ref(&shard), main(offload.clone()));
    offload.close();
    helpers.into_iter().for_each(|helper| helper.join().expect("no helper panics"));
}

/// More jobs than the queue holds.
fn jobs() {
    with_helpers(|helpers| async move {
        let answers = join_all((0..4).map(|value| offload(helpers.clone(), value))).await;
        assert_eq!(answers, [0, 2, 4, 6]);
    });
}

fn jobs_that_are_given_up() {
    with_helpers(|helpers| async move {
        for _ in 0..5 {
            try_once(helpers.push(Box::new(|| {})));
        }
        assert_eq!(offload(helpers, 3).await, 6);
    });
}

/// A shard waits for buffers that two other threads drop. As `buf::Allocation` does it: announce, then look.
fn buffers() {
    let shard = inbox(0);
    let arena = Arena::map(1 << 20, shard.clone()).expect("there is memory");
    let threads: Vec<_> = (0..2)
        .map(|number| {
            let arena = arena.clone();
            thread::spawn(move || arena.return_from_elsewhere(number))
        })
        .collect();
    let back = Rc::new(Cell::new(0));
    while back.get() < 2 {
        let look = || back.set(back.get() + arena.take_returned().map_or(0, |offsets| offsets.len()));
        arena.wait_for_returned(look);
        if back.get() < 2 && shard.prepare_sleep() {
            shard.event().expect("made with one").wait();
            shard.woke();
        }
        shard.drain(&Executor::new());
        look();
    }
    threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
}

use super::*;
use crate::{Config, run_alone, spawn, yield_now};

fn check(body: impl AsyncFnOnce() + Send + 'static) {
    run_alone(Config::new(1), move || body()).unwrap();
}

#[test]
fn an_event_wakes_all_who_wait_and_counts_from_the_call() {
    check(async || {
        let event = Rc::new(Event::new());
        let early = event.wait();
        event.notify();
        early.await;
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let event = event.clone();
                spawn(async move { event.wait().await })
            })
            .collect();
        yield_now().await;
        event.notify();
        for waiter in waiters {
            waiter.await;
        }
    });
}

#[test]
fn a_semaphore_serves_in_order_and_small_requests_do_not_overtake() {
    check(async || {
        let semaphore = Semaphore::new(4);
        let first = semaphore.acquire(3).await;
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = [4usize, 1]
            .into_iter()
            .map(|count| {
                let (semaphore, order) = (semaphore.clone(), order.clone());
                spawn(async move {
                    let permit = semaphore.acquire(count).await;
                    order.borrow_mut().push(permit.count());
                })
            })
            .collect();
        yield_now().await;
        assert!(semaphore.try_acquire(1).is_none(), "the free permit belongs to those who wait");
        drop(first);
        for task in tasks {
            task.await;
        }
        assert_eq!(*order.borrow(), [4, 1]);
        assert_eq!(semaphore.available(), 4);
    });
}

#[test]
fn those_who_go_ahead_are_served_before_all_others_and_in_order_among_themselves() {
    check(async || {
        let semaphore = Semaphore::new(3);
        let held = semaphore.acquire(2).await;
        let mut large = Box::pin(semaphore.acquire(3));
        assert!(futures_poll(&mut large).is_none());
        // One is free, and only `large` waits.
        drop(semaphore.acquire_ahead(1).await);
        let mut first = Box::pin(semaphore.acquire_ahead(2));
        let mut second = Box::pin(semaphore.acquire_ahead(1));
        assert!(futures_poll(&mut first).is_none() && futures_poll(&mut second).is_none(), "in order");
        drop(held);
        let (first, second) = (first.await, second.await);
        assert!(futures_poll(&mut large).is_none());
        drop((first, second));
        assert_eq!(large.await.count(), 3);
        assert_eq!((semaphore.available(), semaphore.waiting()), (3, 0));
    });
}

#[test]
fn a_dropped_acquire_lets_the_next_one_in() {
    check(async || {
        let semaphore = Semaphore::new(2);
        let held = semaphore.acquire(1).await;
        let mut large = Box::pin(semaphore.acquire(2));
        assert!(futures_poll(&mut large).is_none());
        let mut small = Box::pin(semaphore.acquire(1));
        assert!(futures_poll(&mut small).is_none());
        drop(large);
        drop(small.await);
        drop(held);
        assert_eq!((semaphore.available(), semaphore.waiting()), (2, 0));
    });
}

/// Polls once; `None` when pending.
fn futures_poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[test]
fn a_oneshot_carries_its_value_or_tells_that_there_is_none() {
    check(async || {
        let (sender, receiver) = oneshot();
        let waiting = spawn(receiver);
        yield_now().await;
        sender.send(5).unwrap();
        assert_eq!(waiting.await, Some(5));
        let (sender, receiver) = oneshot::<u8>();
        drop(sender);
        assert_eq!(receiver.await, None);
        let (sender, receiver) = oneshot();
        drop(receiver);
        assert_eq!(sender.send(6), Err(6));
    });
}

#[test]
fn a_watch_wakes_when_the_value_is_what_was_wanted() {
    check(async || {
        let watch = Rc::new(Watch::new(0));
        let waiting = spawn({
            let watch = watch.clone();
            async move { watch.wait_for(|value| (*value >= 2).then_some(*value)).await }
        });
        for value in 1..=3 {
            yield_now().await;
            watch.set(value);
        }
        assert_eq!(waiting.await, 2);
        assert_eq!(watch.get(), 3);
    });
}

#[test]
fn a_wait_group_ends_with_the_last_and_join_all_keeps_the_order() {
    check(async || {
        let group = WaitGroup::new();
        let results = join_all((0..4u64).map(|i| {
            let working = group.enter();
            async move {
                for _ in i..4 {
                    yield_now().await;
                }
                drop(working);
                i
            }
        }))
        .await;
        assert_eq!(results, [0, 1, 2, 3]);
        group.wait().await;
        assert_eq!(group.count(), 0);
    });
}

#[test]
fn a_part_of_a_permit_is_given_back_by_itself() {
    check(async || {
        let semaphore = Semaphore::new(10);
        let mut whole = semaphore.acquire(7).await;
        let part = whole.split(3);
        assert_eq!((whole.count(), part.count(), semaphore.available()), (4, 3, 3));
        drop(whole);
        assert_eq!(semaphore.available(), 7);
        let mut part = part;
        let all = part.split(9);
        assert_eq!((part.count(), all.count()), (0, 3));
        drop((part, all));
        assert_eq!(semaphore.available(), 10);
    });
}

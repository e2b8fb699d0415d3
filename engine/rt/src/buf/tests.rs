use super::*;
use crate::{Config, call, run, run_alone, spawn};

#[test]
fn a_buffer_holds_what_was_asked_for_and_is_aligned() {
    run_alone(Config::new(1), || async {
        for len in [0, 1, 4096, 4097, 16 << 10, (256 << 10) + 4096, (1 << 20) + (16 << 10), (4 << 20) + (32 << 10)] {
            let buf = alloc(len).await;
            assert!(buf.len() >= len && (buf.as_ptr() as usize).is_multiple_of(ALIGN_BYTES));
        }
        assert_eq!(alloc_checked(BUF_BYTES_MAX + 1).await.unwrap_err(), TooLarge);
        assert!(try_alloc(BUF_BYTES_MAX + 1).is_none());
        assert_eq!(stats().used_bytes, 0);
    })
    .unwrap();
}

#[test]
fn buffers_never_overlap() {
    run_alone(Config::new(1), || async {
        let mut bufs = Vec::new();
        for round in 0..64u8 {
            for class in CLASS_BYTES {
                if let Some(mut buf) = try_alloc(class) {
                    buf.fill(round);
                    bufs.push((round, buf));
                }
            }
        }
        assert!(bufs.len() > 100);
        assert!(bufs.iter().all(|(round, buf)| buf.iter().all(|byte| byte == round)));
    })
    .unwrap();
}

#[test]
fn an_exhausted_class_waits_in_order_and_the_others_go_on() {
    run_alone(Config::new(1), || async {
        let mut held = Vec::new();
        while let Some(buf) = try_alloc(BUF_BYTES_MAX) {
            held.push(buf);
        }
        assert!(held.len() >= RESERVE_MIN[5]);
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..3)
            .map(|i| {
                let order = order.clone();
                spawn(async move {
                    let buf = alloc(BUF_BYTES_MAX).await;
                    order.borrow_mut().push(i);
                    drop(buf);
                })
            })
            .collect();
        crate::yield_now().await;
        assert_eq!(stats().waiting[5], 3);
        assert!(try_alloc(BUF_BYTES_MAX).is_none());
        for class in &CLASS_BYTES[..5] {
            assert!(try_alloc(*class).is_some(), "a class of {class} has its reserve");
        }
        held.pop();
        for task in tasks {
            task.await;
        }
        assert_eq!(*order.borrow(), [0, 1, 2]);
    })
    .unwrap();
}

#[test]
fn superblocks_go_back_to_all_classes_when_they_are_whole() {
    run_alone(Config { buffers_bytes_per_shard: 64 << 20, ..Config::new(1) }, || async {
        for _ in 0..3 {
            let mut counts = Vec::new();
            for class in CLASS_BYTES {
                let mut held = Vec::new();
                while let Some(buf) = try_alloc(class) {
                    held.push(buf);
                }
                counts.push(held.len());
            }
            // 15 superblocks, 8 of them reserved: the largest class gets its 2 and the 7 spare ones.
            assert_eq!(counts[5], 9);
            assert_eq!(stats().used_bytes, 0);
        }
    })
    .unwrap();
}

#[test]
fn a_buffer_dropped_on_another_shard_wakes_who_waits_at_home() {
    run(Config::new(2), |shard| {
        Box::pin(async move {
            if shard.0 == 1 {
                return;
            }
            let mut held = Vec::new();
            while let Some(buf) = try_alloc(1 << 20) {
                held.push(buf);
            }
            for buf in held.drain(..) {
                let waiting = spawn(alloc(1 << 20));
                crate::yield_now().await;
                call(crate::ShardId(1), move || async move { drop(buf) }).await;
                drop(waiting.await);
            }
            assert_eq!(stats().used_bytes, 0);
        })
    })
    .unwrap();
}

#[test]
fn a_wait_that_is_given_up_takes_nothing() {
    run_alone(Config::new(1), || async {
        let mut held = Vec::new();
        while let Some(buf) = try_alloc(BUF_BYTES_MAX) {
            held.push(buf);
        }
        let gone = crate::time::timeout(crate::time::Duration::from_millis(1), alloc(BUF_BYTES_MAX)).await;
        assert!(gone.is_err());
        assert_eq!(stats().waiting, [0; CLASSES]);
        drop(held);
        assert_eq!(stats().used_bytes, 0);
    })
    .unwrap();
}

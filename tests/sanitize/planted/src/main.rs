//! `planted NAME` makes one mistake, and ends with code 0 when nobody notices.

use std::cell::UnsafeCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock, mpsc};
use std::time::Duration;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("overflow") => overflow(),
        Some("use-after-free") => use_after_free(),
        Some("leak") => leak(),
        Some("race") => race(),
        Some("relaxed") => publish(Ordering::Relaxed),
        Some("right") => {
            publish(Ordering::Release);
            ordered();
        }
        other => panic!("{other:?} is not planted"),
    }
}

/// Reads one byte beyond a buffer.
fn overflow() {
    let bytes = black_box(vec![1u8; 64].into_boxed_slice());
    // SAFETY: none.
    black_box(unsafe { *bytes.as_ptr().add(black_box(64)) });
}

/// Reads a buffer that was given back.
fn use_after_free() {
    let bytes = black_box(vec![1u8; 64]);
    let place = bytes.as_ptr();
    drop(bytes);
    // SAFETY: none.
    black_box(unsafe { *place });
}

fn leak() {
    black_box(std::mem::ManuallyDrop::new(vec![1u8; 64]));
}

/// What threads share without a word to each other.
struct Racy(UnsafeCell<u64>);

// SAFETY: none.
unsafe impl Sync for Racy {}

/// Two threads count without a lock.
fn race() {
    let shared = Arc::new(Racy(UnsafeCell::new(0)));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let shared = shared.clone();
            std::thread::spawn(move || {
                for _ in 0..10_000 {
                    // SAFETY: none.
                    unsafe { *shared.0.get() += 1 };
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// One thread publishes a value through a flag. Right with `Release`; with `Relaxed` the value is raced for.
fn publish(order: Ordering) {
    let shared = Arc::new((Racy(UnsafeCell::new(0)), AtomicBool::new(false)));
    let published = shared.clone();
    let thread = std::thread::spawn(move || {
        // SAFETY: none, with `Relaxed`; else the reader waits for the flag.
        unsafe { *published.0.0.get() = 7 };
        published.1.store(true, order);
    });
    while !shared.1.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
    // SAFETY: as above.
    assert_eq!(unsafe { *shared.0.0.get() }, 7);
    thread.join().unwrap();
}

/// What is right and goes through std, which is not instrumented: no report may come of it.
fn ordered() {
    let shared = Arc::new((Mutex::new(0u64), Condvar::new(), RwLock::new(vec![0u64; 8])));
    let (told, heard) = mpsc::channel::<Box<u64>>();
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (shared, told) = (shared.clone(), told.clone());
            std::thread::spawn(move || {
                for turn in 0..2000 {
                    *shared.0.lock().unwrap() += 1;
                    shared.1.notify_all();
                    if turn % 8 == number {
                        shared.2.write().unwrap()[number] += 1;
                    } else {
                        black_box(shared.2.read().unwrap().iter().sum::<u64>());
                    }
                }
                told.send(Box::new(number as u64)).unwrap();
            })
        })
        .collect();
    let mut count = shared.0.lock().unwrap();
    while *count < 4000 {
        count = shared.1.wait(count).unwrap();
    }
    while *count < 8000 {
        count = shared.1.wait_timeout(count, Duration::from_millis(1)).unwrap().0;
    }
    drop(count);
    drop(told);
    assert_eq!(heard.iter().map(|number| *number).sum::<u64>(), 6);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

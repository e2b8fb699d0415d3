use std::path::PathBuf;

use super::*;
use crate::buf;
use crate::{Config, run_alone, spawn};

/// A directory of one test, removed at its end.
struct Dir(PathBuf);

impl Dir {
    fn new(test: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("hafiz-rt-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn check(test: &str, body: impl AsyncFnOnce(PathBuf) + Send + 'static) {
    let dir = Dir::new(test);
    let path = dir.0.clone();
    run_alone(Config::new(1), move || body(path)).unwrap();
}

#[test]
fn what_was_written_is_read_back_by_offset() {
    check("rw", async |dir| {
        let file = File::open(dir.join("a"), OpenOptions::CREATE_NEW_DIRECT).await.unwrap();
        file.allocate(0, 64 << 10).await.unwrap();
        for i in 0..8u8 {
            let mut buf = buf::alloc(4096).await;
            buf.fill(i + 1);
            let sync = if i % 2 == 0 { Sync::Data } else { Sync::None };
            file.write_at(buf.into(), u64::from(i) * 8192, sync).await.0.unwrap();
        }
        file.sync_data().await.unwrap();
        assert_eq!(file.len().await.unwrap(), 64 << 10);
        let reads: Vec<_> = (0..8u8)
            .map(|i| {
                let file = file.clone();
                spawn(async move {
                    let (result, buf) = file.read_at(buf::alloc(8192).await, 8192, u64::from(i) * 8192).await;
                    assert_eq!(result.unwrap(), 8192);
                    assert!(buf[..4096].iter().all(|b| *b == i + 1) && buf[4096..8192].iter().all(|b| *b == 0));
                })
            })
            .collect();
        for read in reads {
            read.await;
        }
    });
}

#[test]
fn a_read_past_the_end_is_short() {
    check("eof", async |dir| {
        let path = dir.join("a");
        write_new(&path, vec![7; 5000]).await.unwrap();
        let file = File::open(&path, OpenOptions::READ_DIRECT).await.unwrap();
        let (result, buf) = file.read_at(buf::alloc(16 << 10).await, 16 << 10, 0).await;
        assert_eq!(result.unwrap(), 5000);
        assert!(buf[..5000].iter().all(|b| *b == 7));
        let (result, _) = file.read_at(buf, 4096, 8192).await;
        assert_eq!(result.unwrap(), 0);
        assert_eq!(read(&path).await.unwrap(), vec![7; 5000]);
        assert_eq!(write_new(&path, vec![1]).await.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    });
}

#[test]
fn shared_bytes_go_to_disk_while_others_hold_them() {
    check("shared", async |dir| {
        let file = File::open(dir.join("a"), OpenOptions::CREATE_NEW_DIRECT).await.unwrap();
        let mut buf = buf::alloc(272 << 10).await;
        buf.fill(9);
        let shared = Shared::from(buf);
        let writing = spawn({
            let (file, part) = (file.clone(), shared.slice(4096..256 << 10));
            async move { file.write_shared_at(part, 4096, Sync::Data).await }
        });
        assert!(shared.iter().all(|b| *b == 9));
        writing.await.unwrap();
        assert!(shared.into_buf().is_ok(), "the last owner gets the buffer back");
        assert_eq!(file.len().await.unwrap(), 256 << 10);
    });
}

#[test]
fn punched_and_cut_ranges_read_as_zeros_or_end() {
    check("punch", async |dir| {
        let file = File::open(dir.join("a"), OpenOptions::CREATE_NEW_DIRECT).await.unwrap();
        let mut buf = buf::alloc(16 << 10).await;
        buf.fill(5);
        let (result, window) = file.write_at(buf.window(0..16 << 10), 0, Sync::None).await;
        result.unwrap();
        file.punch_hole(4096, 4096).await.unwrap();
        file.set_len(12 << 10).await.unwrap();
        file.sync_all().await.unwrap();
        let (result, buf) = file.read_at(window.into_buf(), 16 << 10, 0).await;
        assert_eq!(result.unwrap(), 12 << 10);
        assert!(buf[4096..8192].iter().all(|b| *b == 0) && buf[8192..12 << 10].iter().all(|b| *b == 5));
    });
}

#[test]
fn names_are_created_listed_renamed_and_removed() {
    check("names", async |dir| {
        let sub = dir.join("x/y");
        create_dir_all(&sub).await.unwrap();
        write_new(sub.join("b"), b"bb".to_vec()).await.unwrap();
        write_new(sub.join("a"), b"a".to_vec()).await.unwrap();
        create_dir_all(sub.join("c")).await.unwrap();
        let names = |entries: Vec<DirEntry>| -> Vec<(String, bool, u64)> {
            entries.into_iter().map(|e| (e.name, e.is_dir, if e.is_dir { 0 } else { e.len })).collect()
        };
        let listed = names(read_dir(&sub).await.unwrap());
        assert_eq!(listed, [("a".to_owned(), false, 1), ("b".to_owned(), false, 2), ("c".to_owned(), true, 0)]);
        rename(sub.join("a"), sub.join("b")).await.unwrap();
        sync_dir(&sub).await.unwrap();
        assert_eq!(read(sub.join("b")).await.unwrap(), b"a");
        assert!(!exists(sub.join("a")).await.unwrap());
        unlink(sub.join("b")).await.unwrap();
        remove_dir(sub.join("c")).await.unwrap();
        assert!(read_dir(&sub).await.unwrap().is_empty());
        assert_eq!(read_dir(sub.join("c")).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        let (space, metadata) = (fs_space(&sub).await.unwrap(), metadata(&sub).await.unwrap());
        assert!(metadata.is_dir && space.dev == metadata.dev && space.free <= space.total);
    });
}

#[test]
fn a_lock_is_held_by_one_until_dropped() {
    check("lock", async |dir| {
        let path = dir.join("lock");
        let first = try_lock(&path).await.unwrap().expect("free");
        assert!(try_lock(&path).await.unwrap().is_none());
        drop(first);
        assert!(try_lock(&path).await.unwrap().is_some());
    });
}

#[test]
fn an_operation_that_nobody_waits_for_keeps_its_buffer_until_the_kernel_is_done() {
    check("hung", async |dir| {
        // A pipe that nobody writes to is a file that does not answer.
        let path = dir.join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let options = OpenOptions { read: true, write: true, ..OpenOptions::default() };
        let file = File::open(&path, options).await.unwrap();
        let free = buf::stats().used_bytes;
        let buffer = buf::alloc(4096).await;
        let held = buf::stats().used_bytes;
        assert!(held > free);
        let read = crate::time::timeout(std::time::Duration::from_millis(20), file.read_at(buffer, 4096, 0)).await;
        assert!(read.is_err(), "there is nothing to read");
        assert_eq!(buf::stats().used_bytes, held, "the kernel may still write into it");
        file.write_shared_at(Shared::from(vec![7; 4096]), 0, Sync::None).await.unwrap();
        while buf::stats().used_bytes > free {
            crate::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn the_end_does_not_wait_for_ever_for_what_does_not_answer() {
    check("end", async |dir| {
        let path = dir.join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        // A helper that opens one end of it waits for the other.
        drop(spawn(async move { crate::offload(move || std::fs::File::open(path).is_ok()).await }));
        crate::time::sleep(std::time::Duration::from_millis(20)).await;
    });
}

#[test]
fn helpers_that_are_stuck_are_replaced() {
    check("stuck", async |dir| {
        let path = dir.join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let stuck: Vec<_> = (0..5)
            .map(|_| {
                let path = path.clone();
                spawn(async move { crate::offload(move || std::fs::File::open(path).is_ok()).await })
            })
            .collect();
        crate::time::sleep(std::time::Duration::from_millis(20)).await;
        // More than there are helpers are waiting by now; this one is done all the same.
        assert_eq!(crate::offload(|| 7).await, 7);
        let opened = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        for job in stuck {
            assert!(job.await);
        }
        drop(opened);
        assert_eq!(crate::offload(|| 8).await, 8);
    });
}

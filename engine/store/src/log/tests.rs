//! When a batch goes behind another one, and when its volume is left, on drives whose every operation takes milliseconds.

use std::cell::Cell;
use std::path::PathBuf;

use rt::sim::{DriveConfig, SimConfig, World};
use rt::time::{Duration, sleep};

use super::*;
use crate::format::batch::Op;
use crate::ids::{Lsn, PartitionId};
use crate::node::Config;

const DRIVES: usize = 6;
/// Each operation of a drive takes so many times as long as of one that is well.
const SLOW_FACTOR: u32 = 100;
/// The writer has done all that it does at once, and no drive has answered.
const AT_ONCE: Duration = Duration::from_micros(50);
/// All has landed.
const LONG: Duration = Duration::from_millis(900);
const LIMIT: Duration = Duration::from_secs(60);
/// Entries of the batch ahead.
const AHEAD: usize = 10;

#[derive(Default)]
struct Count(Cell<usize>);

impl Sink for Count {
    fn durable(&self, entries: Vec<Entry>, _position_after: Position) {
        self.0.set(self.0.get() + entries.len());
    }

    fn failed(&self, entries: &[Entry]) {
        panic!("{} entries failed", entries.len());
    }

    fn ended(&self) {}
}

struct Fixture {
    node: Arc<Node>,
    log: Rc<Log>,
    sink: Rc<Count>,
    appended: Cell<usize>,
}

impl Fixture {
    async fn new() -> Fixture {
        let dirs = (0..DRIVES).map(|drive| PathBuf::from(format!("/d{drive}"))).collect();
        let node = Node::open(Config::new(dirs)).await.unwrap();
        let sink = Rc::new(Count::default());
        let log = Log::open(node.clone(), Opening::fresh(), sink.clone()).await.unwrap();
        Fixture { node, log, sink, appended: Cell::new(0) }
    }

    fn append(&self, count: usize, body_len: usize) {
        for _ in 0..count {
            let number = self.appended.replace(self.appended.get() + 1) as u64;
            let entry = Entry {
                partition: PartitionId(0),
                lsn: Lsn(Lsn::first(self.node.start).0 + number),
                ops: vec![Op {
                    key: number.to_le_bytes().to_vec(),
                    value: Some(vec![0; Address::LEN]),
                    address_at: Some(0),
                }],
                body: Some(SmallBody::from(vec![7; body_len])),
                placed: None,
                live: Vec::new(),
                usage: Vec::new(),
            };
            drop(self.log.append(entry).unwrap());
        }
    }

    /// Entries of each batch on its way, oldest first, once the writer has seen what was appended.
    async fn flights(&self) -> Vec<usize> {
        sleep(AT_ONCE).await;
        self.log.state.borrow().flights.iter().map(|flight| flight.entries.len()).collect()
    }

    /// All that was appended becomes durable.
    async fn end(&self) {
        sleep(LONG).await;
        assert_eq!((self.sink.0.get(), self.flights().await), (self.appended.get(), vec![]));
    }
}

fn run<F: Future<Output = ()> + 'static>(main: impl FnOnce(Fixture) -> F + 'static) {
    let mut world = World::new(1, SimConfig::default());
    for drive in 0..DRIVES {
        world.add_drive(format!("/d{drive}"), DriveConfig::default());
        world.faults(format!("/d{drive}"), |faults| faults.slow_factor = SLOW_FACTOR);
    }
    world.run_alone(async { main(Fixture::new().await).await }, LIMIT).unwrap();
}

#[test]
fn fewer_entries_than_the_batch_ahead_wait_for_it() {
    run(async |fixture| {
        fixture.append(AHEAD, 100);
        assert_eq!(fixture.flights().await, [AHEAD]);
        fixture.append(AHEAD - 1, 100);
        assert_eq!(fixture.flights().await, [AHEAD]);
        fixture.append(1, 100);
        assert_eq!(fixture.flights().await, [AHEAD, AHEAD]);
        fixture.append(2 * AHEAD, 100);
        assert_eq!(fixture.flights().await, [AHEAD, AHEAD], "no more than two at a time");
        fixture.end().await;
    });
}

#[test]
fn a_full_batch_waits_for_none_ahead() {
    run(async |fixture| {
        fixture.append(AHEAD, 100);
        assert_eq!(fixture.flights().await, [AHEAD]);
        let half = fixture.log.state.borrow().batch_max / 2;
        fixture.append(1, half);
        assert_eq!(fixture.flights().await, [AHEAD]);
        fixture.append(1, half);
        // Two halves and their heads are more than one.
        assert_eq!(fixture.flights().await, [AHEAD, 1]);
        fixture.end().await;
    });
}

#[test]
fn a_volume_that_got_sick_is_left_as_soon_as_anything_waits() {
    run(async |fixture| {
        fixture.append(AHEAD, 100);
        assert_eq!(fixture.flights().await, [AHEAD]);
        let volume = fixture.log.state.borrow().volume.clone();
        fixture.node.suspect(volume.drive(0).id);
        assert_eq!((fixture.flights().await, volume.sick_slots()), (vec![AHEAD], 1), "nothing waits yet");
        fixture.append(1, 100);
        assert_eq!(fixture.flights().await, [], "all that was on its way is to be written again");
        fixture.end().await;
        assert_ne!(fixture.log.position().volume, volume.id);
    });
}

//! Crash, recover with some drives, write, crash, recover with other drives; crash in the recovery as well. On the level
//! of log and recovery: every acknowledged entry is found once and in order, and what was gone once never comes back.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use rt::sim::{DriveConfig, Fault, Faults, SimConfig, Stop, World};

use super::*;
use crate::format::batch::{Address, Op, SmallBody};
use crate::node::Config;
use crate::stripe;

const PARTITIONS: u16 = 3;
/// P by the number of drives.
const PARITY: [usize; 7] = [0, 0, 1, 1, 2, 2, 2];
const ROUND_MAX: Duration = Duration::from_secs(120);

/// What the outside world knows: kept over crashes.
#[derive(Default)]
struct Model {
    /// Entries that a start has served: every later recovery finds exactly these first.
    settled: BTreeMap<Lsn, Known>,
    /// Entries appended since, in order.
    recent: BTreeMap<Lsn, Known>,
    /// Checkpoints of the tables that a store would have.
    ckpts: HashMap<PartitionId, Ckpt>,
    recoveries: u32,
    recommitted: u64,
    appended: u64,
    failed_for_good: u64,
}

#[derive(Clone, Debug)]
struct Known {
    partition: PartitionId,
    body_len: usize,
    acknowledged: bool,
    address: Option<Address>,
}

impl Model {
    fn ckpts(&self) -> HashMap<PartitionId, Ckpt> {
        let none = Ckpt { lsn: Lsn::ZERO, position: None };
        (0..PARTITIONS).map(PartitionId).map(|id| (id, self.ckpts.get(&id).copied().unwrap_or(none))).collect()
    }

    /// Checks what a recovery found, and takes it for the state from now on.
    fn settle(&mut self, found: Vec<(PartitionId, Entry)>) {
        let ckpts = self.ckpts();
        let mut all: BTreeMap<Lsn, Known> = std::mem::take(&mut self.settled);
        all.append(&mut std::mem::take(&mut self.recent));
        let covered = |lsn: &Lsn, known: &Known| *lsn <= ckpts[&known.partition].lsn;
        let mut upto: HashMap<PartitionId, Lsn> = HashMap::new();
        let mut next: BTreeMap<Lsn, Known> =
            all.iter().filter(|(lsn, known)| covered(lsn, known)).map(|(lsn, known)| (*lsn, known.clone())).collect();
        for (partition, entry) in found {
            let known = all.get(&entry.lsn).unwrap_or_else(|| panic!("{:?} came back", entry.lsn));
            assert_eq!((known.partition, entry.partition), (partition, partition));
            assert!(!covered(&entry.lsn, known), "{:?} is in the tables already", entry.lsn);
            let before = upto.insert(partition, entry.lsn);
            assert!(before < Some(entry.lsn), "{:?} after {before:?}", entry.lsn);
            let address = entry.placed;
            assert_eq!(address.map_or(0, |address| address.len as usize), known.body_len);
            assert_eq!(entry.ops, ops(entry.lsn, known.body_len, address), "values hold the address");
            next.insert(entry.lsn, Known { acknowledged: true, address, ..known.clone() });
        }
        for (lsn, known) in &all {
            assert!(!known.acknowledged || next.contains_key(lsn), "{lsn:?} was acknowledged and is lost");
        }
        self.settled = next;
        self.recoveries += 1;
    }
}

fn body(lsn: Lsn, len: usize) -> Vec<u8> {
    (0..len).map(|at| (lsn.0 as usize * 31 + at * 7 + at / 251) as u8).collect()
}

fn ops(lsn: Lsn, body_len: usize, address: Option<Address>) -> Vec<Op> {
    let mut value = lsn.0.to_le_bytes().to_vec();
    value.extend(address.map_or([0; Address::LEN], Address::encode));
    let address_at = (body_len > 0).then_some(8);
    vec![Op { key: format!("key {}", lsn.0).into_bytes(), value: Some(value), address_at }]
}

/// Keeps the model's checkpoints and addresses up to date.
struct ModelSink {
    model: Rc<RefCell<Model>>,
    /// A checkpoint is made at each so many batches; 0 = never.
    ckpt_every: u64,
    batches: Cell<u64>,
    /// Failed, and may still be found.
    uncertain: RefCell<Vec<Lsn>>,
}

impl Sink for ModelSink {
    fn durable(&self, entries: Vec<Entry>, position_after: Position) {
        let mut model = self.model.borrow_mut();
        for entry in entries {
            let known = model.recent.get_mut(&entry.lsn).expect("was appended");
            known.address = entry.placed;
            let lsn = entry.lsn;
            if self.ckpt_every > 0 && self.batches.get().is_multiple_of(self.ckpt_every) {
                known.acknowledged = true;
                model.ckpts.insert(entry.partition, Ckpt { lsn, position: Some(position_after) });
            }
        }
        self.batches.set(self.batches.get() + 1);
    }

    fn failed(&self, entries: &[Entry]) {
        let mut model = self.model.borrow_mut();
        for entry in entries {
            let known = model.recent.get_mut(&entry.lsn).expect("was appended");
            assert!(!known.acknowledged, "what is durable does not fail");
        }
        self.uncertain.borrow_mut().extend(entries.iter().map(|entry| entry.lsn));
    }

    fn ended(&self) {
        // From here on they must not come back.
        let mut model = self.model.borrow_mut();
        for lsn in self.uncertain.take() {
            model.recent.remove(&lsn);
            model.failed_for_good += 1;
        }
    }
}

#[derive(Debug)]
enum Round {
    Refused,
    Failed,
    Served,
}

struct Plan {
    drives: usize,
    slot_bytes: u64,
    ckpt_every: u64,
    writers: u64,
    entries_each: u64,
    body_max: u64,
}

fn config(plan: &Plan) -> Config {
    let dirs = (0..plan.drives).map(|drive| PathBuf::from(format!("/d{drive}"))).collect();
    Config {
        log_slot_bytes: Some(plan.slot_bytes),
        partitions: PARTITIONS,
        suspect_after: Duration::from_millis(50),
        ..Config::new(dirs)
    }
}

/// One run of the process: open, recover, serve, write.
async fn process(plan: Rc<Plan>, model: Rc<RefCell<Model>>) -> Round {
    let node = match Node::open(config(&plan)).await {
        Ok(node) => node,
        Err(error) => {
            telemetry::debug!("refused: {error}");
            return Round::Refused;
        }
    };
    let mut found = Vec::new();
    let ckpts = model.borrow().ckpts();
    let Ok(recovered) = recover(&node, &ckpts, |partition, entry| found.push((partition, entry))).await else {
        return Round::Failed;
    };
    assert_eq!(recovered.damage, []);
    assert_eq!(recovered.entries, found.len() as u64);
    let sink = Rc::new(ModelSink {
        model: model.clone(),
        ckpt_every: plan.ckpt_every,
        batches: Cell::new(1),
        uncertain: RefCell::default(),
    });
    let Ok(log) = Log::open(node.clone(), recovered.opening, sink).await else { return Round::Failed };
    model.borrow_mut().recommitted += recovered.recommitted;
    model.borrow_mut().settle(found);
    check_bodies(&node, &model).await;
    let next = Rc::new(Cell::new(Lsn::first(node.start)));
    let writers: Vec<_> = (0..plan.writers)
        .map(|_| {
            let (plan, model, log, next) = (plan.clone(), model.clone(), log.clone(), next.clone());
            rt::spawn(async move {
                for _ in 0..plan.entries_each {
                    write_one(&plan, &model, &log, &next).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await;
    }
    log.close().await;
    Round::Served
}

async fn write_one(plan: &Plan, model: &RefCell<Model>, log: &Log, next: &Cell<Lsn>) {
    let random = rt::random::u64();
    let lsn = next.replace(next.get().next());
    let partition = PartitionId((random % u64::from(PARTITIONS)) as u16);
    let body_len = if random & 8 == 0 { 0 } else { (random >> 8) % plan.body_max };
    let body_len = body_len as usize;
    let entry = Entry {
        partition,
        lsn,
        ops: ops(lsn, body_len, None),
        body: (body_len > 0).then(|| SmallBody::from(body(lsn, body_len))),
        placed: None,
        live: Vec::new(),
        usage: Vec::new(),
    };
    model.borrow_mut().recent.insert(lsn, Known { partition, body_len, acknowledged: false, address: None });
    match log.append(entry) {
        Ok(ticket) => {
            if ticket.await.is_ok() {
                let mut model = model.borrow_mut();
                model.appended += 1;
                model.recent.get_mut(&lsn).expect("was appended").acknowledged = true;
            }
        }
        // Nothing was appended: it must not be found.
        Err(_) => drop(model.borrow_mut().recent.remove(&lsn)),
    }
}

async fn check_bodies(node: &Arc<Node>, model: &RefCell<Model>) {
    let settled: Vec<(Lsn, Address)> = {
        let model = model.borrow();
        model.settled.iter().filter_map(|(lsn, known)| Some((*lsn, known.address?))).collect()
    };
    // Some of them: all of them is too slow for many seeds.
    for (lsn, address) in settled.iter().rev().take(40) {
        let expect = body(*lsn, address.len as usize);
        let volume = node.volume(address.volume).await.expect("the volume is there");
        let crc = codec::checksum::crc32c(&expect);
        let pieces = match stripe::read_body(&volume, address, crc).await {
            Some(pieces) => Ok(pieces),
            None => stripe::read_body_repaired(&volume, address, crc).await,
        };
        let pieces = pieces.unwrap_or_else(|error| panic!("{lsn:?} at {address:?}: {error:?}"));
        assert_eq!(pieces.iter().flat_map(|piece| piece.iter()).copied().collect::<Vec<u8>>(), expect);
    }
}

/// What a seed came to, to see that the runs reach what they are for.
#[derive(Default)]
struct Seen {
    appended: u64,
    recoveries: u32,
    recommitted: u64,
    crashed_while_opening: u32,
    refused: u32,
    torn: u64,
}

/// Starts of one round that crash before they serve.
const CRASHES_MAX: u32 = 50;

fn run(seed: u64) -> Seen {
    let mut world = World::new(seed, SimConfig::default());
    let drives = [1, 2, 3, 4, 5, 6, 6, 6][(world.random() % 8) as usize];
    for drive in 0..drives {
        world.add_drive(format!("/d{drive}"), DriveConfig::default());
    }
    let plan = Rc::new(Plan {
        drives,
        slot_bytes: [128 << 10, 512 << 10, 4 << 20][(world.random() % 3) as usize],
        ckpt_every: [0, 0, 3, 10][(world.random() % 4) as usize],
        writers: 1 + world.random() % 12,
        entries_each: 1 + world.random() % 20,
        body_max: [200, 5_000, 20_000][(world.random() % 3) as usize],
    });
    let model = Rc::new(RefCell::new(Model::default()));
    let mut seen = Seen::default();
    for round in 0..7 {
        let last = round == 6;
        // Over all rounds as many drives as parity makes up for: nothing is rebuilt here. The node refuses to start when
        // they are too many at a time.
        for drive in 0..PARITY[drives] {
            let removed = !last && world.random().is_multiple_of(2);
            let failing = world.random() % 4;
            world.faults(format!("/d{drive}"), |faults| {
                faults.removed = removed;
                faults.write_error = if failing == 0 && !last { 0.03 } else { 0.0 };
                faults.slow_factor = if failing == 1 && !last { 1000 } else { 1 };
            });
        }
        let mut first = true;
        for attempt in 0.. {
            let crash_after = 1 + world.random() % [40, 200, 1500][(world.random() % 3) as usize];
            // Each crash leaves volumes that were being made, and what looks through all of them takes longer each time.
            let goes_on = last || attempt == CRASHES_MAX;
            world.crash_at_io(if goes_on { u64::MAX / 2 } else { crash_after });
            let before = model.borrow().recoveries;
            match world.run_alone(process(plan.clone(), model.clone()), ROUND_MAX) {
                Ok(Round::Served) => break,
                // The others come back: they may not have been out yet.
                Ok(Round::Refused | Round::Failed) if first => {
                    seen.refused += 1;
                    (0..drives)
                        .for_each(|drive| world.faults(format!("/d{drive}"), |faults| *faults = Faults::default()));
                    first = false;
                }
                Ok(round @ (Round::Refused | Round::Failed)) => panic!("all drives are there: {round:?}"),
                Err(Stop::Crashed) => {
                    if model.borrow().recoveries > before {
                        break;
                    }
                    // In the opening or the recovery: the next start may see other drives.
                    seen.crashed_while_opening += 1;
                    if world.random().is_multiple_of(2) {
                        (0..drives)
                            .for_each(|drive| world.faults(format!("/d{drive}"), |faults| *faults = Faults::default()));
                    }
                }
                Err(stop) => panic!("round {round}: {stop:?}"),
            }
        }
        world.crash_at_io(u64::MAX / 2);
        world.crash();
        (0..drives).for_each(|drive| world.faults(format!("/d{drive}"), |faults| *faults = Faults::default()));
    }
    let model = model.borrow();
    seen.appended = model.appended;
    seen.recoveries = model.recoveries;
    seen.recommitted = model.recommitted;
    seen.torn = world.fault_count(Fault::CrashTorn);
    seen
}

#[test]
fn acknowledged_entries_survive_crashes_with_changing_drives() {
    let mut total = Seen::default();
    for seed in seeds(200) {
        let seen = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| panic!("seed {seed}"));
        total.appended += seen.appended;
        total.recoveries += seen.recoveries;
        total.recommitted += seen.recommitted;
        total.crashed_while_opening += seen.crashed_while_opening;
        total.refused += seen.refused;
        total.torn += seen.torn;
    }
    println!(
        "{} acknowledged, {} recoveries, {} committed again, {} crashes while opening, {} starts refused, {} torn writes",
        total.appended, total.recoveries, total.recommitted, total.crashed_while_opening, total.refused, total.torn
    );
    assert!(total.recommitted > 0 && total.crashed_while_opening > 0 && total.torn > 0);
}

/// All seeds below `count`, or the one in `HAFIZ_SEED`.
fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("HAFIZ_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    }
}

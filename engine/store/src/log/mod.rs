//! A shard's log: commit batches, one after the other, in a stream of log volumes. The log is the storage of small bodies.
//!
//! Entries wait while the batches before them are on their way; what has gathered is laid out as one stripe, written with
//! all its fragments at once, each durable when its write returns, and acknowledged in order. That is all of group
//! commit: there are no timers. When a fragment cannot be written, or a drive does not answer, or the volume is full, the
//! volume is sealed: everything that is not acknowledged moves to a successor whose first page says where the volume
//! ended, and nothing beyond that end is ever read.

mod ticket;
mod writer;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

pub(crate) use self::ticket::Ticket;
use self::ticket::{Outcome, Signal};
use self::writer::Flight;
use crate::error::{Error, Result};
use crate::format::batch::BATCH_HEADER_LEN;
pub(crate) use crate::format::batch::{Address, Entry, Position, SmallBody};
pub(crate) use crate::format::volume::Closed;
use crate::format::volume::{CLOSES_MAX, Class};
use crate::ids::{PAGE_BYTES, SlotOffset};
use crate::node::Node;
use crate::stripe::{Layout, STRIPE_LEN_MAX};
use crate::volume::Volume;

/// Largest batch: linear bytes of its stripe.
pub(crate) const BATCH_BYTES_MAX: usize = STRIPE_LEN_MAX;

/// Batches on their way at a time.
pub(crate) const BATCHES_IN_FLIGHT_MAX: usize = 2;

/// Bytes of entries, bodies included, that wait for a batch; beyond it `append` answers `Busy`.
pub(crate) const PENDING_BYTES_MAX: usize = 32 << 20;

/// Entries that wait for a batch; beyond it `append` answers `Busy`.
pub(crate) const PENDING_ENTRIES_MAX: usize = 1 << 16;

/// Operations of one entry.
pub(crate) const ENTRY_OPS_MAX: usize = u16::MAX as usize;

/// Where durable entries go. Called on the log's shard, in the order of `append`, before the tickets resolve.
pub(crate) trait Sink {
    /// These entries are durable, with addresses in their values; `position_after` is where the log goes on.
    fn durable(&self, entries: Vec<Entry>, position_after: Position);

    /// The stream cannot go on: these entries, all that were not durable, fail together. Whether they will be found by a
    /// recovery is not known until `ended`.
    fn failed(&self, entries: &[Entry]);

    /// The ends of all volumes that entries failed in are recorded: no recovery will find one that failed.
    fn ended(&self);
}

/// How a stream begins.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Ends that the first page records: of all streams that recovery found open.
    pub(crate) closes: Vec<Closed>,
    /// Number of the first batch; 1 but for a stream that recovery began.
    pub(crate) sequence: u64,
}

impl Opening {
    /// A stream that closes nothing.
    pub(crate) fn fresh() -> Opening {
        Opening { closes: Vec::new(), sequence: 1 }
    }
}

/// The log of one shard.
pub(crate) struct Log {
    node: Arc<Node>,
    sink: Rc<dyn Sink>,
    state: RefCell<State>,
    /// Nothing is taken any more.
    refuses: Cell<bool>,
    /// Something for the writer to look at.
    work: Signal,
    /// Nothing waits and nothing is on its way.
    idle: Signal,
}

struct State {
    mode: Mode,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// Where batches go now.
    volume: Arc<Volume>,
    /// Largest batch: linear bytes of its stripe.
    batch_max: usize,
    /// Slots of `volume` whose drives were suspect or out when it was made: no better one could be had then.
    sick_slots: u32,
    next: SlotOffset,
    next_sequence: u64,
    /// Batches on their way, oldest first.
    flights: VecDeque<Flight>,
    durable: Position,
    /// Ends that no durable page records yet.
    unrecorded: Vec<Closed>,
    spare: Spare,
    /// Whether to move on from a volume that lacks a slot although nothing is to be written.
    leave_sick: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    Running,
    /// No successor could be made; it is tried again and again.
    Stopped(Error),
    Closing,
}

/// The volume that takes over when the current one is full, made ahead of need.
enum Spare {
    None,
    Coming(rt::JoinHandle<Result<Arc<Volume>>>),
}

struct Pending {
    entry: Entry,
    outcome: Rc<Outcome>,
}

impl Log {
    /// Begins a stream: makes its first volume, whose page records the ends in `opening`, and starts the writer.
    pub(crate) async fn open(node: Arc<Node>, opening: Opening, sink: Rc<dyn Sink>) -> Result<Rc<Log>> {
        let volume = first_volume(&node, opening.closes).await?;
        let next = SlotOffset::FIRST_STRIPE;
        let durable = Position { volume: volume.id, offset: next, sequence: opening.sequence };
        let state = State {
            mode: Mode::Running,
            pending: VecDeque::new(),
            pending_bytes: 0,
            sick_slots: volume.sick_slots(),
            batch_max: batch_bytes_max(&volume),
            volume,
            next,
            next_sequence: opening.sequence,
            flights: VecDeque::with_capacity(BATCHES_IN_FLIGHT_MAX),
            durable,
            unrecorded: Vec::new(),
            spare: Spare::None,
            leave_sick: false,
        };
        let (work, idle) = Default::default();
        let log = Rc::new(Log { node, sink, state: RefCell::new(state), refuses: Cell::new(false), work, idle });
        drop(rt::spawn(log.clone().run()));
        Ok(log)
    }

    /// From now on every entry is refused.
    pub(crate) fn refuse(&self) {
        self.refuses.set(true);
    }

    /// Queues an entry behind all others. Never waits.
    ///
    /// `Busy` when too much waits already; `Full` or `Unavailable` while no volume can be written. Then nothing happened.
    pub(crate) fn append(&self, entry: Entry) -> Result<Ticket> {
        if self.refuses.get() {
            return Err(Error::Unavailable("the tables were restored and lack commits: read only"));
        }
        let len = entry.batch_len();
        let mut state = self.state.borrow_mut();
        match &state.mode {
            Mode::Running => {}
            Mode::Stopped(error) => return Err(error.clone()),
            Mode::Closing => return Err(Error::Unavailable("shutting down")),
        }
        if len > state.batch_max - BATCH_HEADER_LEN || entry.ops.len() > ENTRY_OPS_MAX {
            return Err(Error::Unavailable("an entry is larger than a batch"));
        }
        if state.pending_bytes + len > PENDING_BYTES_MAX || state.pending.len() >= PENDING_ENTRIES_MAX {
            return Err(Error::Busy);
        }
        for op in &entry.ops {
            let room = op.value.as_ref().map_or(0, Vec::len);
            let fits = op.address_at.is_none_or(|at| usize::from(at) + Address::LEN <= room);
            assert!(fits, "the place of an address lies in its value");
        }
        let (outcome, ticket) = Outcome::new();
        state.pending_bytes += len;
        state.pending.push_back(Pending { entry, outcome });
        drop(state);
        self.work.raise();
        Ok(ticket)
    }

    /// The durable end: every entry before it was handed to the sink.
    pub(crate) fn position(&self) -> Position {
        self.state.borrow().durable
    }

    /// Moves on to a successor if the volume has lost a slot since it was made, or lies on a drive that is drained: so it can
    /// be rebuilt although nothing is committed. Never waits.
    pub(crate) fn leave_sick(&self) {
        self.state.borrow_mut().leave_sick = true;
        self.work.raise();
    }

    /// Takes no more entries and waits until all have their outcome.
    pub(crate) async fn close(&self) {
        self.state.borrow_mut().mode = Mode::Closing;
        self.work.raise();
        while !self.is_idle() {
            self.idle.wait().await;
        }
    }

    /// Bytes of batches that the current volume has room for.
    pub(crate) fn room(&self) -> u64 {
        let state = self.state.borrow();
        let pages = u64::from(state.volume.end().0.saturating_sub(state.next.0));
        pages * PAGE_BYTES as u64 * u64::from(state.volume.geometry.data)
    }

    fn is_idle(&self) -> bool {
        let state = self.state.borrow();
        state.pending.is_empty() && state.flights.is_empty()
    }
}

/// Makes the first volume of a stream. More ends than one page takes are spread over volumes that stay empty.
pub(crate) async fn first_volume(node: &Arc<Node>, closes: Vec<Closed>) -> Result<Arc<Volume>> {
    let mut rest = &closes[..];
    let mut predecessor = None;
    loop {
        let (page, more) = rest.split_at(rest.len().min(CLOSES_MAX));
        let volume = node.create_volume(Class::Log, page.to_vec(), predecessor).await?;
        if more.is_empty() {
            return Ok(volume);
        }
        predecessor = Some(Closed { volume: volume.id, end: SlotOffset::FIRST_STRIPE });
        rest = more;
    }
}

/// Largest batch that goes into `volume`: at most half of it, whatever its geometry; and no larger than that the pool has
/// buffers for all of its fragments, or the log could wait for itself.
fn batch_bytes_max(volume: &Volume) -> usize {
    let room = (volume.slot_bytes / 2) as usize;
    let mut len = BATCH_BYTES_MAX.min(room.saturating_sub(2 * PAGE_BYTES)).max(PAGE_BYTES);
    while len > PAGE_BYTES {
        let fragment_bytes = Layout::for_len(volume.geometry, len).fragment_bytes();
        if rt::buf::reserved(fragment_bytes) >= volume.geometry.width() {
            break;
        }
        len = len / 4 * 3;
    }
    len
}

#[cfg(all(test, feature = "sim"))]
mod tests;

//! The task that writes a log: lays batches out, sends them on their way, moves on to the next volume.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use rt::file::Sync;
use rt::time::{self, Duration, Instant};
use telemetry::{Counter, Histogram};

use super::ticket::Outcome;
use super::{BATCHES_IN_FLIGHT_MAX, Log, Mode, Pending, Spare, State, batch_bytes_max};
use crate::error::Error;
use crate::format::batch::{self, BATCH_HEADER_LEN, Entry, Place, Position, SmallBody};
use crate::format::volume::{Class, Closed};
use crate::ids::SlotOffset;
use crate::planted::{self, Bug};
use crate::stripe::{self, Fragment, Layout, Stamp};
use crate::volume::{Answers, Volume};

/// Attempts to make a successor before everything that waits fails.
const SUCCESSOR_ATTEMPTS: u32 = 5;

/// Pause after the first failed attempt; doubled each time.
const SUCCESSOR_PAUSE: Duration = Duration::from_millis(20);

/// Pause between attempts of a log that has stopped.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

static BATCHES: Counter = Counter::new("hafiz_log_batches_total", "Commit batches that became durable.");
static ENTRIES: Counter = Counter::new("hafiz_log_entries_total", "Entries that became durable.");
static BATCH_BYTES: Counter = Counter::new("hafiz_log_batch_bytes_total", "Linear bytes of durable commit batches.");
static MOVES: Counter =
    Counter::new("hafiz_log_moves_total", "Log volumes sealed because of an error or a slow drive.");
static FAILED: Counter =
    Counter::new("hafiz_log_failed_entries_total", "Entries that failed because no log volume could be made.");
static COMMIT_SECONDS: Histogram =
    Histogram::micros("hafiz_log_batch_seconds", "From the layout of a batch until all of its fragments are durable.");

/// A batch on its way.
pub(super) struct Flight {
    sequence: u64,
    at: SlotOffset,
    pages: u32,
    stripe_len: u32,
    started: Instant,
    /// When it counts as late; moved on when nothing can be done about it.
    deadline: Instant,
    pub(super) entries: Vec<Entry>,
    outcomes: Vec<Rc<Outcome>>,
    progress: Rc<Progress>,
}

/// What the writes of a batch's fragments have come to. They outlive the flight when its batch moves.
struct Progress {
    /// Slots that have not answered, one bit each.
    waiting: Cell<u32>,
    /// Slots that answered "durable".
    done: Cell<u32>,
    /// Slots that answered with an error.
    failed: Cell<u32>,
}

/// What the writer does next.
enum Step {
    Launch,
    /// Seals the volume: everything on its way moves.
    Move,
    Wait(Option<Instant>),
    End,
}

impl Log {
    pub(super) async fn run(self: Rc<Log>) {
        loop {
            match self.next_step() {
                Step::Launch => self.launch().await,
                Step::Move => self.move_on().await,
                Step::Wait(None) => self.work.wait().await,
                Step::Wait(Some(deadline)) => {
                    // Elapsed is as good as raised: the next step looks at the clock.
                    let _elapsed = time::timeout(deadline - Instant::now(), self.work.wait()).await;
                }
                Step::End => return,
            }
        }
    }

    fn next_step(&self) -> Step {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if state.flights.iter().any(|flight| flight.progress.failed.get() != 0) {
            return Step::Move;
        }
        let now = Instant::now();
        let is_late = |flight: &Flight| flight.progress.waiting.get() != 0 && flight.deadline <= now;
        if state.flights.iter().any(|flight| is_late(flight) && self.suspect_late(state, &flight.progress)) {
            return Step::Move;
        }
        for flight in state.flights.iter_mut().filter(|flight| is_late(flight)) {
            flight.deadline = now + self.node.config.suspect_after;
        }
        if !state.pending.is_empty() && state.flights.len() < BATCHES_IN_FLIGHT_MAX {
            if state.volume.sick_slots() & !state.sick_slots != 0 {
                return Step::Move;
            }
            if state.is_worth_a_batch() {
                return Step::Launch;
            }
        }
        if state.mode == Mode::Closing && state.pending.is_empty() && state.flights.is_empty() {
            return Step::End;
        }
        if state.leave_sick && state.flights.is_empty() && state.mode == Mode::Running {
            state.leave_sick = false;
            if state.volume.sick_slots() & !state.sick_slots != 0 {
                return Step::Move;
            }
        }
        Step::Wait(state.next_deadline())
    }

    /// Reports the drives that have not answered; says whether the volume got sick by that.
    fn suspect_late(&self, state: &State, progress: &Progress) -> bool {
        let late = state.volume.suspect_late(Answers { waiting: progress.waiting.get(), done: progress.done.get() });
        late & !state.sick_slots != 0
    }

    /// Lays out what waits as one batch and sends its fragments on their way.
    async fn launch(self: &Rc<Log>) {
        let started = Instant::now();
        let (volume, mut entries, outcomes) = {
            let mut state = self.state.borrow_mut();
            let volume = state.volume.clone();
            let len_max = state.batch_max;
            let (entries, outcomes) = take_batch(&mut state, len_max);
            (volume, entries, outcomes)
        };
        let layout = Layout::for_len(volume.geometry, batch::batch_len(&entries));
        if layout.pages() > volume.end().0 - SlotOffset::FIRST_STRIPE.0 {
            // Accepted for a larger volume than could be made now.
            self.requeue(entries, outcomes);
            return self.give_up(Error::Full).await;
        }
        let (at, sequence, durable_upto) = {
            let state = self.state.borrow();
            (state.next, state.next_sequence, state.durable.sequence - 1)
        };
        if layout.pages() > volume.end().0 - at.0 {
            self.requeue(entries, outcomes);
            return self.roll_over().await;
        }
        let place = Place { volume: volume.id, at, fragment_len: layout.fragment_len };
        let head = batch::encode_head(&mut entries, sequence, place);
        let bodies = entries.iter().filter_map(|entry| entry.body.as_ref()).flat_map(SmallBody::pieces);
        let pieces = std::iter::once(&head[..]).chain(bodies);
        let stamp = Stamp::new(&volume, at, sequence, durable_upto);
        let built = stripe::build(pieces, layout, volume.code(), stamp).await;
        let fragments = match built {
            Ok(fragments) => fragments,
            Err(error) => {
                self.requeue(entries, outcomes);
                return self.give_up(error).await;
            }
        };
        let progress = Progress::new(&volume, at, &fragments);
        let flight = Flight {
            sequence,
            at,
            pages: layout.pages(),
            stripe_len: layout.stripe_len,
            started,
            deadline: Instant::now() + self.node.config.suspect_after,
            entries,
            outcomes,
            progress: progress.clone(),
        };
        {
            let mut state = self.state.borrow_mut();
            state.flights.push_back(flight);
            state.next = at.advance(layout.pages());
            state.next_sequence = sequence + 1;
        }
        for Fragment { index, bytes } in fragments {
            if planted::is(Bug::LogParityNotWritten) && index >= usize::from(volume.geometry.data) {
                progress.answered(volume.slot_of(at, index), true);
                continue;
            }
            let (log, volume, progress) = (self.clone(), volume.clone(), progress.clone());
            drop(rt::spawn(async move {
                let slot = volume.slot_of(at, index);
                let sync = if planted::is(Bug::LogNotSynced) { Sync::None } else { Sync::Data };
                let result = volume.write_slot(slot, at, bytes, sync).await;
                progress.answered(slot, result.is_ok());
                log.answered(&progress);
            }));
        }
        self.prepare_spare();
    }

    /// A write has returned. Its flight may be gone: then its batch has moved, and the answer says nothing any more.
    fn answered(&self, progress: &Progress) {
        if progress.failed.get() != 0 {
            self.work.raise();
        } else if progress.waiting.get() == 0 || planted::is(Bug::LogAcknowledgedEarly) {
            self.retire();
        }
    }

    /// Hands durable batches to the sink, in order, and resolves their tickets.
    fn retire(&self) {
        loop {
            let flight = {
                let mut state = self.state.borrow_mut();
                let state = &mut *state;
                let Some(flight) = state.flights.pop_front_if(|flight| flight.progress.is_durable()) else { break };
                assert!(flight.sequence == state.durable.sequence, "batches become durable in order");
                let (volume, offset) = (state.volume.id, flight.at.advance(flight.pages));
                state.durable = Position { volume, offset, sequence: flight.sequence + 1 };
                flight
            };
            BATCHES.add(1);
            ENTRIES.add(flight.entries.len() as u64);
            BATCH_BYTES.add(u64::from(flight.stripe_len));
            COMMIT_SECONDS.observe(flight.started.elapsed().as_micros() as u64);
            let position = self.position();
            self.sink.durable(flight.entries, position);
            flight.outcomes.iter().for_each(|outcome| outcome.resolve(Ok(())));
        }
        self.work.raise();
        if self.is_idle() {
            self.idle.raise();
        }
    }

    /// Puts entries back in front of all that wait.
    fn requeue(&self, entries: Vec<Entry>, outcomes: Vec<Rc<Outcome>>) {
        let mut state = self.state.borrow_mut();
        for (entry, outcome) in entries.into_iter().zip(outcomes).rev() {
            state.pending_bytes += entry.batch_len();
            state.pending.push_front(Pending { entry, outcome });
        }
    }

    /// The volume is full: waits for what is on its way, then goes on in the next one.
    ///
    /// The spare does not record where the full volume ends. It need not: every batch in it is durable, and the first
    /// header in the spare says so.
    async fn roll_over(self: &Rc<Log>) {
        if !self.land().await {
            return;
        }
        let spare = std::mem::replace(&mut self.state.borrow_mut().spare, Spare::None);
        if let Spare::Coming(spare) = spare
            && let Ok(volume) = spare.await
            && volume.sick_slots() == 0
            && volume.id > self.state.borrow().volume.id
        {
            return self.install(volume);
        }
        self.seal();
        self.succeed().await;
    }

    /// Waits for what is on its way; false when the next step has to look at it.
    async fn land(&self) -> bool {
        loop {
            let deadline = {
                let state = self.state.borrow();
                if state.flights.iter().any(|flight| flight.progress.failed.get() != 0) {
                    return false;
                }
                let Some(deadline) = state.next_deadline() else { return true };
                deadline
            };
            if time::timeout(deadline - Instant::now(), self.work.wait()).await.is_err() {
                return false;
            }
        }
    }

    /// Fails everything for a reason that another volume may not have, and makes one.
    async fn give_up(self: &Rc<Log>, error: Error) {
        self.seal();
        self.stop(error);
        self.succeed().await;
    }

    /// Seals the volume because of an error or a slow drive, and goes on in a successor.
    async fn move_on(self: &Rc<Log>) {
        MOVES.add(1);
        self.seal();
        self.succeed().await;
    }

    /// Ends the volume before the first batch that is not acknowledged; all of those wait again.
    fn seal(&self) {
        let flights = {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            let (end, sequence) = (state.durable_end(), state.durable.sequence);
            state.next_sequence = sequence;
            state.unrecorded.push(Closed { volume: state.volume.id, end });
            std::mem::take(&mut state.flights)
        };
        for flight in flights.into_iter().rev() {
            self.requeue(flight.entries, flight.outcomes);
        }
    }

    /// Makes a successor that records all ends that no page records yet. When that fails again and again, everything
    /// that waits fails, and new entries are refused until it succeeds.
    async fn succeed(self: &Rc<Log>) {
        let mut pause = SUCCESSOR_PAUSE;
        let mut attempts = 0;
        loop {
            let mut closes = self.state.borrow().unrecorded.clone();
            let mut predecessor = closes.pop();
            if planted::is(Bug::SuccessorForgetsEnd) {
                (closes, predecessor) = (Vec::new(), None);
            }
            let error = match self.node.create_volume(Class::Log, closes, predecessor).await {
                Ok(volume) => {
                    self.install(volume);
                    return self.sink.ended();
                }
                Err(error) => error,
            };
            attempts += 1;
            if attempts >= SUCCESSOR_ATTEMPTS {
                pause = REOPEN_PAUSE;
                let closing = self.state.borrow().mode == Mode::Closing;
                self.stop(error);
                if closing {
                    return;
                }
            }
            time::sleep(pause).await;
            pause = (pause * 2).min(REOPEN_PAUSE);
        }
    }

    fn install(&self, volume: Arc<Volume>) {
        let mut state = self.state.borrow_mut();
        state.unrecorded.clear();
        state.next = SlotOffset::FIRST_STRIPE;
        state.durable.volume = volume.id;
        state.durable.offset = SlotOffset::FIRST_STRIPE;
        state.sick_slots = volume.sick_slots();
        state.batch_max = batch_bytes_max(&volume);
        state.volume = volume;
        if let Mode::Stopped(_) = state.mode {
            state.mode = Mode::Running;
        }
    }

    /// Fails everything that waits. Called with nothing on its way.
    fn stop(&self, error: Error) {
        let pending = {
            let mut state = self.state.borrow_mut();
            assert!(state.flights.is_empty(), "what is on its way is sealed before it fails");
            if state.mode != Mode::Closing {
                state.mode = Mode::Stopped(error.clone());
            }
            state.pending_bytes = 0;
            std::mem::take(&mut state.pending)
        };
        if !pending.is_empty() {
            FAILED.add(pending.len() as u64);
            telemetry::error!("the log cannot go on, {} entries failed: {}", pending.len(), error);
            let (entries, outcomes): (Vec<Entry>, Vec<_>) =
                pending.into_iter().map(|pending| (pending.entry, pending.outcome)).unzip();
            self.sink.failed(&entries);
            outcomes.iter().for_each(|outcome| outcome.resolve(Err(error.clone())));
        }
        self.idle.raise();
    }

    /// Begins to make the next volume when three quarters of this one are full.
    fn prepare_spare(&self) {
        let mut state = self.state.borrow_mut();
        let filled = state.next.bytes() >= state.volume.slot_bytes / 4 * 3;
        if filled && matches!(state.spare, Spare::None) && !self.node.is_full() {
            let node = self.node.clone();
            let spare = rt::spawn(async move { node.create_spare().await });
            state.spare = Spare::Coming(spare);
        }
    }
}

impl State {
    /// Whether what waits goes on its way behind what is under way: only when it has as many entries as the batch before, or
    /// fills a batch. Clients that were answered together ask again one after the other, and the first of them would leave with
    /// a batch of its own. Each batch costs a write and a flush of every drive, and what is left of its last pages.
    fn is_worth_a_batch(&self) -> bool {
        let is_worth = |last: &Flight| self.pending.len() >= last.entries.len() || self.pending_bytes >= self.batch_max;
        self.flights.back().is_none_or(is_worth)
    }

    /// Where the first batch that is not acknowledged begins, or would begin.
    fn durable_end(&self) -> SlotOffset {
        self.flights.front().map_or(self.next, |flight| flight.at)
    }

    /// When the first of what is on its way is late. Nothing is waited for of a batch that only waits for those before it: its
    /// deadline may be over, and waiting for that would be no waiting.
    fn next_deadline(&self) -> Option<Instant> {
        self.flights.iter().filter(|flight| flight.progress.waiting.get() != 0).map(|flight| flight.deadline).min()
    }
}

impl Progress {
    fn new(volume: &Volume, at: SlotOffset, fragments: &[Fragment]) -> Rc<Progress> {
        let waiting = fragments.iter().fold(0, |mask, fragment| mask | 1 << volume.slot_of(at, fragment.index));
        Rc::new(Progress { waiting: Cell::new(waiting), done: Cell::new(0), failed: Cell::new(0) })
    }

    fn answered(&self, slot: usize, durable: bool) {
        let bit = 1 << slot;
        self.waiting.set(self.waiting.get() & !bit);
        let answers = if durable { &self.done } else { &self.failed };
        answers.set(answers.get() | bit);
    }

    fn is_durable(&self) -> bool {
        let early = planted::is(Bug::LogAcknowledgedEarly) && self.waiting.get().count_ones() <= 1;
        (self.waiting.get() == 0 || early) && self.failed.get() == 0
    }
}

/// Takes the entries of the next batch from the front of what waits: at least one, else as many as fit.
fn take_batch(state: &mut State, len_max: usize) -> (Vec<Entry>, Vec<Rc<Outcome>>) {
    let mut len = BATCH_HEADER_LEN;
    let mut count = 0;
    for pending in &state.pending {
        len += pending.entry.batch_len();
        if count > 0 && len > len_max {
            break;
        }
        count += 1;
    }
    let mut entries = Vec::with_capacity(count);
    let mut outcomes = Vec::with_capacity(count);
    for Pending { entry, outcome } in state.pending.drain(..count) {
        state.pending_bytes -= entry.batch_len();
        entries.push(entry);
        outcomes.push(outcome);
    }
    (entries, outcomes)
}

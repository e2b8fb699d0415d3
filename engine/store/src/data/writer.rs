//! The data volumes that a shard writes: one open at a time for new runs, older ones as long as runs in them go on.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rt::buf::CLASS_BYTES;
use rt::sync::{Event, Permit, Semaphore};
use rt::time::{Instant, timeout};

use super::extent::{pages, stripe_data};
use super::flush::{Flusher, Mark};
use crate::error::{Error, Result};
use crate::format::volume::Class;
use crate::ids::{Geometry, PAGE_BYTES, SlotOffset, VolumeId};
use crate::node::Node;
use crate::planted::{self, Bug};
use crate::stripe::{self, Fill, Fragment, Layout, Stamp, Writes};
use crate::volume::{Silent, Volume};

/// Of the buffers that are spare in a shard's pool, what the stripes of bodies that come in may take, in percent.
const BUFFER_SHARE_PERCENT: usize = 40;

/// How long a body that has not begun waits for buffers. Long enough for a queue that moves; those behind one that does
/// not are told so.
pub(crate) const MEMORY_PATIENCE: Duration = Duration::from_secs(5);

/// Attempts at a run when volumes turn out too small or fail at once.
const RESERVE_ATTEMPTS: usize = 3 + Geometry::PARITY_MAX as usize;

/// How often a body that waits for a late drive looks whether that is used still.
const SETTLE_LOOK_EVERY: Duration = Duration::from_millis(100);

/// A body gives up on a late drive so long after that should have been taken out: the epoch without it takes its time.
const SETTLE_SLACK: Duration = Duration::from_secs(25);

const SILENT: Error = Error::Unavailable("a drive does not answer and cannot be done without");

static FRAGMENTS_LATE: telemetry::Counter = telemetry::Counter::new(
    "hafiz_data_fragments_late_total",
    "Fragments of data stripes that a drive had not taken in time.",
);

static FRAGMENTS_MISSED: telemetry::Counter = telemetry::Counter::new(
    "hafiz_data_fragments_missed_total",
    "Fragments of acknowledged data stripes that a drive did not take.",
);

/// Writes stripes into a shard's data volumes.
pub(crate) struct Writer {
    node: Arc<Node>,
    open: RefCell<Option<Rc<Stream>>>,
    /// One permit: who opens the next volume.
    opening: Rc<Semaphore>,
    /// Pages of buffers that stripes may hold from their first byte until they are written.
    memory: Rc<Semaphore>,
    memory_pages: usize,
}

/// One data volume that is appended to.
pub(crate) struct Stream {
    pub(crate) volume: Arc<Volume>,
    next: Cell<SlotOffset>,
    /// Stripes so far.
    stripes: Cell<u64>,
    /// A write has failed: no new runs here.
    failed: Cell<bool>,
    flusher: Rc<Flusher>,
}

/// Consecutive room for `left` bytes of one body.
pub(crate) struct Run {
    stream: Rc<Stream>,
    next: SlotOffset,
    left: u64,
}

/// A stripe with a place.
pub(crate) struct Placed {
    pub(crate) stream: Rc<Stream>,
    pub(crate) at: SlotOffset,
    pub(crate) layout: Layout,
}

impl Writer {
    /// To be called on the shard that writes. Opens no volume yet.
    pub(crate) fn new(node: Arc<Node>) -> Rc<Writer> {
        let memory_pages = buffer_budget(BUFFER_SHARE_PERCENT) / PAGE_BYTES;
        Rc::new(Writer {
            node,
            open: RefCell::new(None),
            opening: Semaphore::new(1),
            memory: Semaphore::of_buffers(memory_pages),
            memory_pages,
        })
    }

    pub(crate) fn inline_max(&self) -> usize {
        self.node.config.inline_max
    }

    /// Permission to hold the buffers of one stripe until it is written. Waits when they are all taken, but behind no body
    /// that has not begun: this one has.
    pub(crate) async fn permit(&self, layout: Layout) -> Permit {
        self.memory.acquire_ahead(self.pages(layout)).await
    }

    /// The same, before a body's first byte: waits its turn, and a while only. Errors: `Busy`.
    pub(crate) async fn permit_soon(&self, layout: Layout) -> Result<Permit> {
        let permit = self.memory.acquire(self.pages(layout));
        rt::time::timeout(MEMORY_PATIENCE, permit).await.map_err(|_| Error::Busy)
    }

    /// Of the buffers of one stripe, or all there are if those are fewer.
    fn pages(&self, layout: Layout) -> usize {
        let pages = stripe_memory(layout.geometry, layout.fragment_bytes()) / PAGE_BYTES;
        pages.min(self.memory_pages)
    }

    /// Room for the next bytes of a body of which `len` are still to come, or for one stripe when that is not known. May
    /// be less than asked for, but never nothing.
    ///
    /// Errors: `Full`, `Unavailable`. Mostly without I/O; now and then a new volume is made first.
    pub(crate) async fn reserve(&self, len: Option<u64>) -> Result<Run> {
        assert!(len != Some(0), "an empty body needs no room");
        for _ in 0..RESERVE_ATTEMPTS {
            let stream = self.open.borrow().clone();
            if let Some(stream) = &stream
                && self.suits(&stream.volume)
                && let Some(run) = Stream::grant(stream, len)
            {
                return Ok(run);
            }
            self.replace(stream).await?;
        }
        Err(Error::Unavailable("no data volume takes writes"))
    }

    /// Whether a new volume would not lie on better drives than this one.
    fn suits(&self, volume: &Volume) -> bool {
        volume.is_whole() || self.node.places().is_some_and(|places| places.suit(&volume.page().drives))
    }

    /// Takes no more bodies into the open volume if a new one would lie on better drives: so it can be rebuilt although
    /// nothing is written.
    pub(crate) fn leave_sick(&self) {
        let open = self.open.borrow().clone();
        if let Some(stream) = open
            && !self.suits(&stream.volume)
        {
            self.open.borrow_mut().take();
            // Bodies that still place stripes in runs there hold it.
            stream.volume.seal();
        }
    }

    /// Makes a new volume the open one, unless another task has done so meanwhile.
    async fn replace(&self, old: Option<Rc<Stream>>) -> Result<()> {
        let _turn = self.opening.acquire(1).await;
        let same = match (&*self.open.borrow(), &old) {
            (Some(open), Some(old)) => Rc::ptr_eq(open, old),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if same {
            let volume = self.node.create_volume(Class::Data, Vec::new(), None).await?;
            if let Some(old) = self.open.replace(Some(Stream::new(volume))) {
                // Bodies that still place stripes in runs there hold it.
                old.volume.seal();
            }
        }
        Ok(())
    }

    /// Makes a full stripe ready for its place.
    pub(crate) async fn seal(&self, placed: &Placed, fill: Fill) -> Result<Vec<Fragment>> {
        let (stream, volume) = (&placed.stream, &placed.stream.volume);
        let sequence = stream.stripes.replace(stream.stripes.get() + 1);
        fill.seal(volume.code(), Stamp::new(volume, placed.at, sequence, 0)).await
    }

    /// Whether a body that has room there goes on in it, or rather elsewhere: a slot has failed or is late since.
    pub(crate) fn goes_on_in(&self, run: &Run) -> bool {
        !run.stream.failed.get() && self.suits(&run.stream.volume)
    }

    /// Writes a sealed stripe to its place. The stripe is not durable yet: see `Coverage`. Fragments of drives that are late
    /// are on their way still when this returns; what they take of `memory` is given back when they have ended.
    ///
    /// Errors: more fragments failed than parity makes good.
    pub(crate) async fn store(&self, placed: &Placed, fragments: Vec<Fragment>, memory: Permit) -> Result<Stored> {
        let (stream, volume) = (&placed.stream, &placed.stream.volume);
        let writes = stripe::write(volume, placed.at, fragments, rt::file::Sync::None, Some(memory));
        writes.in_time().await.map_err(|Silent| SILENT)?;
        let (late, failed) = (writes.waiting(), writes.failed());
        if late | failed != 0 {
            stream.failed.set(true);
        }
        if (late | failed).count_ones() > u32::from(volume.geometry.parity) {
            return Err(writes.error());
        }
        FRAGMENTS_LATE.add(u64::from(late.count_ones()));
        Ok(Stored { stream: stream.clone(), mark: stream.flusher.mark(), writes })
    }

    /// Makes the stripes durable: flushes what they were written to, and takes drives that missed some of them out of
    /// the topology before anything relies on fragments that are not there.
    ///
    /// A fragment that is late may still come: it counts when it was written and flushed after all, or is missing when its
    /// drive was taken out for being late. Until one of both is so the body waits. It is not written again elsewhere: that
    /// would take all of a body which may be larger than memory, to save the few that were on their way a few seconds.
    pub(crate) async fn cover(&self, coverage: Coverage) -> Result<()> {
        for (stream, Covered { mut marks, late }) in coverage.streams {
            for writes in late {
                let missing = self.settle(&stream.volume, writes.changed(), || writes.waiting()).await?;
                // What came late is covered by a flush from now on only.
                marks.push((stream.flusher.mark(), writes.failed() | missing));
            }
            let last = marks.iter().map(|(mark, _)| *mark).max().expect("a stream is listed with its first stripe");
            let flusher = &stream.flusher;
            flusher.cover(last).await;
            let late = || marks.iter().fold(0, |mask, (mark, _)| mask | flusher.late(*mark));
            let unflushed = self.settle(&stream.volume, flusher.changed(), late).await?;
            let parity = u32::from(stream.volume.geometry.parity);
            let mut missing = 0;
            for (mark, unwritten) in marks {
                let lost = unwritten | flusher.lost(mark) | (flusher.late(mark) & unflushed);
                if lost.count_ones() > parity {
                    return Err(Error::Unavailable("too many drives failed while a body was written"));
                }
                missing |= lost;
            }
            for slot in (0..stream.volume.geometry.width()).filter(|slot| missing & 1 << slot != 0) {
                FRAGMENTS_MISSED.add(1);
                let drive = stream.volume.drive(slot);
                let (_, write_errors) = drive.errors();
                if drive.is_usable() && write_errors == 0 {
                    // It was not the drive (no file descriptors, say): there is no reason to go on without it.
                    return Err(Error::Unavailable("a fragment could not be written"));
                }
                self.node.take_out(drive.id, "a fragment could not be written").await?;
            }
        }
        Ok(())
    }

    /// Waits until no slot is waited for any more but those whose drives are not used: these are given.
    ///
    /// Errors: a drive neither answers nor can be taken out.
    async fn settle(&self, volume: &Volume, changed: &Event, waiting: impl Fn() -> u32) -> Result<u32> {
        if planted::is(Bug::HungCountsAsDurable) {
            return Ok(0);
        }
        let give_up = Instant::now() + self.node.config.out_after + SETTLE_SLACK;
        loop {
            let news = changed.wait();
            let waiting = waiting();
            let used = (0..volume.geometry.width()).filter(|&slot| volume.drive(slot).is_usable());
            if waiting & used.fold(0, |mask, slot| mask | 1 << slot) == 0 {
                return Ok(waiting);
            }
            if Instant::now() >= give_up {
                return Err(SILENT);
            }
            // Elapsed is as good as news: whether a drive is used still is looked up.
            let _elapsed = timeout(SETTLE_LOOK_EVERY, news).await;
        }
    }
}

impl Stream {
    fn new(volume: Arc<Volume>) -> Rc<Stream> {
        Rc::new(Stream {
            flusher: Flusher::new(volume.clone()),
            volume,
            next: Cell::new(SlotOffset::FIRST_STRIPE),
            stripes: Cell::new(0),
            failed: Cell::new(false),
        })
    }

    /// Room for up to `len` bytes; `None` when not even one stripe fits or a write has failed here.
    fn grant(stream: &Rc<Stream>, len: Option<u64>) -> Option<Run> {
        let volume = &stream.volume;
        if stream.failed.get() || stream.flusher.is_any_behind() {
            return None;
        }
        let (geometry, next) = (volume.geometry, stream.next.get());
        let stripe_data = stripe_data(geometry);
        let room = u64::from(volume.end().0.saturating_sub(next.0));
        let mut granted = len.unwrap_or(u64::from(stripe_data));
        if pages(geometry, granted, stripe_data) > room {
            let full = pages(geometry, u64::from(stripe_data), stripe_data);
            granted = room / full * u64::from(stripe_data);
        }
        if granted == 0 {
            return None;
        }
        stream.next.set(next.advance(pages(geometry, granted, stripe_data) as u32));
        Some(Run { stream: stream.clone(), next, left: granted })
    }
}

impl Run {
    pub(crate) fn volume(&self) -> &Arc<Volume> {
        &self.stream.volume
    }

    /// The place of the next stripe; `None` when the run is used up.
    pub(crate) fn place(&mut self) -> Option<Placed> {
        let geometry = self.stream.volume.geometry;
        let len = self.left.min(u64::from(stripe_data(geometry)));
        if len == 0 {
            return None;
        }
        let (at, layout) = (self.next, Layout::for_len(geometry, len as usize));
        self.left -= len;
        self.next = at.advance(layout.pages());
        Some(Placed { stream: self.stream.clone(), at, layout })
    }
}

impl Placed {
    pub(crate) fn volume(&self) -> VolumeId {
        self.stream.volume.id
    }

    /// Takes less room than was reserved, for a body whose length was not known. What is left over goes to the next run
    /// if this was the last one, else it stays unused.
    pub(crate) fn shorten(&mut self, layout: Layout) {
        assert!(layout.pages() <= self.layout.pages(), "a stripe does not outgrow its place");
        if self.stream.next.get() == self.at.advance(self.layout.pages()) {
            self.stream.next.set(self.at.advance(layout.pages()));
        }
        self.layout = layout;
    }
}

/// A stripe whose writes have completed, or are late.
pub(crate) struct Stored {
    stream: Rc<Stream>,
    mark: Mark,
    writes: Rc<Writes>,
}

/// What stripes of one volume need to be durable.
#[derive(Default)]
struct Covered {
    /// Of each set of slots that did not take their fragment the last mark.
    marks: Vec<(Mark, u32)>,
    /// Stripes of which fragments were on their way still.
    late: Vec<Rc<Writes>>,
}

/// What a body needs to be durable, for each volume.
#[derive(Default)]
pub(crate) struct Coverage {
    streams: Vec<(Rc<Stream>, Covered)>,
}

impl Coverage {
    /// Adds a stripe. Of stripes that miss the same slots only the last mark is kept: what covers it covers them all.
    pub(crate) fn push(&mut self, stored: Stored) {
        let Stored { stream, mark, writes } = stored;
        let known = self.streams.iter().position(|(known, _)| Rc::ptr_eq(known, &stream));
        let known = known.unwrap_or_else(|| {
            self.streams.push((stream, Covered::default()));
            self.streams.len() - 1
        });
        let Covered { marks, late } = &mut self.streams[known].1;
        if writes.waiting() != 0 {
            late.push(writes);
            return;
        }
        let missing = writes.failed();
        match marks.iter_mut().find(|(_, slots)| *slots == missing) {
            Some((last, _)) => *last = mark.max(*last),
            None => marks.push((mark, missing)),
        }
    }
}

/// Bytes of buffers that a stripe of this shape holds.
pub(crate) fn stripe_memory(geometry: Geometry, fragment_bytes: usize) -> usize {
    let class = CLASS_BYTES.iter().copied().find(|bytes| fragment_bytes <= *bytes);
    class.unwrap_or(fragment_bytes) * geometry.width()
}

/// `percent` of the buffers of this shard's pool that belong to no class, and at least a quarter of what every class of
/// buffers is sure to have.
pub(crate) fn buffer_budget(percent: usize) -> usize {
    let arena = rt::buf::stats().arena_bytes;
    let spare = arena.saturating_sub(rt::buf::ARENA_BYTES_MIN);
    rt::buf::SUPERBLOCK_BYTES / 4 + spare / 100 * percent
}

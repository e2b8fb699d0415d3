//! One body on its way in: received in place, written stripe by stripe, durable when it is finished.
//!
//! Receiving (`room`, `fill`, `write`) goes on while earlier stripes are sealed and written; `finish` waits until all of it
//! is durable. The commit is another step, at the key's owner. Dropping a `Put` at any time leaves only bytes that nothing
//! refers to.

use std::collections::VecDeque;
use std::rc::Rc;

use rt::JoinHandle;
use rt::buf::{self, Buf, Shared, Window};
use rt::sync::Permit;

use crate::data::{Coverage, Extent, Extents, Placed, Run, Stored, Writer};
use crate::error::{Error, Result};
use crate::log::SmallBody;
use crate::stripe::{Fill, payloads};
use crate::volume::Hold;

/// Stripes of one body that are being written while the next one is received.
const STRIPES_IN_FLIGHT_MAX: usize = 2;

static BYTES: telemetry::Counter =
    telemetry::Counter::new("hafiz_put_bytes_total", "Bytes of bodies received, whatever became of them.");

/// A body that was received. What is `Large` is durable; what is `Small` becomes so with its commit.
#[derive(Debug)]
pub enum PutBody {
    Empty,
    /// At most `inline_max` bytes, to be stored in the commit batch.
    Small {
        body: SmallBody,
        /// CRC32C of the bytes, for the record.
        crc: u32,
        len: u32,
    },
    Large {
        extents: Vec<Extent>,
        len: u64,
        /// Until the record is durable.
        holds: Vec<Hold>,
    },
}

impl PutBody {
    /// Bytes of the body.
    pub fn len(&self) -> u64 {
        match self {
            PutBody::Empty => 0,
            PutBody::Small { len, .. } => u64::from(*len),
            PutBody::Large { len, .. } => *len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Sees the bytes of a body, piece by piece and in order, in the buffers that they are stored from. What keeps a piece
/// keeps its buffer from the pool.
pub type Tap = Rc<dyn Fn(Shared)>;

/// A body that is being received. Stays on the shard where it began.
pub struct Put {
    writer: Rc<Writer>,
    expected: Option<u64>,
    received: u64,
    state: State,
    tap: Option<Tap>,
}

enum State {
    /// Nothing has been asked for yet.
    New,
    Small(Small),
    Large(Box<Large>),
}

struct Small {
    /// `None` while it is lent.
    buffer: Option<Buf>,
    limit: usize,
    len: usize,
}

#[derive(Default)]
struct Large {
    run: Option<Run>,
    filling: Option<Filling>,
    writing: VecDeque<JoinHandle<Result<Stored>>>,
    coverage: Coverage,
    extents: Extents,
    holds: Vec<Hold>,
    tap: Option<Tap>,
}

struct Filling {
    placed: Placed,
    fill: Fill,
    permit: Permit,
}

impl Put {
    /// A body of `expected` bytes; without a length it may take one more copy of its last stripe.
    pub(crate) fn new(writer: Rc<Writer>, expected: Option<u64>) -> Put {
        Put { writer, expected, received: 0, state: State::New, tap: None }
    }

    /// A body of `len` bytes that goes to a data volume, however small it is.
    pub(crate) fn large(writer: Rc<Writer>, len: u64) -> Put {
        Put { writer, expected: Some(len), received: 0, state: State::Large(Box::default()), tap: None }
    }

    /// `tap` sees each stripe's bytes when it is full, the last ones and a small body within `finish`. To be called
    /// before the first bytes.
    pub fn tap(&mut self, tap: Tap) {
        assert!(self.received == 0, "a tap sees all bytes");
        if let State::Large(large) = &mut self.state {
            large.tap = Some(tap.clone());
        }
        self.tap = Some(tap);
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Lends room for the next bytes: a window of the buffer from which they will be written. `fill` gives it back.
    ///
    /// Waits while earlier stripes are being written or buffers are short. Errors: `Incomplete` when the whole announced
    /// length was received or the last window never came back; `Full`, `Unavailable` from the drives.
    pub async fn room(&mut self) -> Result<Window> {
        if self.expected == Some(self.received) {
            return Err(Error::Incomplete);
        }
        if matches!(self.state, State::New) {
            self.begin().await?;
        }
        if let State::Small(small) = &mut self.state {
            if small.len < small.limit {
                let buffer = small.buffer.take().ok_or(Error::Incomplete)?;
                return Ok(Window::new(buffer, small.len..small.limit));
            }
            self.outgrow().await?;
        }
        match &mut self.state {
            State::Large(large) => {
                let left = self.expected.map(|expected| expected - self.received);
                large.room(&self.writer, left).await
            }
            State::New | State::Small(_) => unreachable!("a body that is not small is large"),
        }
    }

    /// Takes back the window that `room` lent, with `len` bytes filled from its start.
    ///
    /// Waits when too many stripes are being written. Errors: `Full`, `Unavailable`.
    pub async fn fill(&mut self, window: Window, len: usize) -> Result<()> {
        assert!(len <= window.len(), "no more than the window was filled");
        self.received += len as u64;
        BYTES.add(len as u64);
        match &mut self.state {
            State::New => unreachable!("nothing was lent"),
            State::Small(small) => {
                small.buffer = Some(window.into_buf());
                small.len += len;
                Ok(())
            }
            State::Large(large) => large.fill(&self.writer, window, len).await,
        }
    }

    /// Copies `bytes` in. Errors: as `room` and `fill`.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let mut window = self.room().await?;
            let len = window.len().min(bytes.len());
            window[..len].copy_from_slice(&bytes[..len]);
            self.fill(window, len).await?;
            bytes = &bytes[len..];
        }
        Ok(())
    }

    /// Waits until everything received is durable; a small body is handed over for its commit batch instead.
    ///
    /// Errors: `Incomplete` when less came than was announced; `Full`, `Unavailable`.
    pub async fn finish(self) -> Result<PutBody> {
        if self.expected.is_some_and(|expected| expected != self.received) {
            return Err(Error::Incomplete);
        }
        match self.state {
            _ if self.received == 0 => Ok(PutBody::Empty),
            State::New => unreachable!("a body with bytes has begun"),
            State::Small(Small { buffer, len, .. }) => {
                let buffer = buffer.ok_or(Error::Incomplete)?;
                let body = Shared::from(Window::new(buffer, 0..len));
                let crc = codec::checksum::crc32c(&body);
                if let Some(tap) = &self.tap {
                    tap(body.clone());
                }
                Ok(PutBody::Small { body: SmallBody::from(body), crc, len: len as u32 })
            }
            State::Large(large) => {
                let (extents, holds) = large.finish(&self.writer).await?;
                assert!(extents.iter().map(|extent| extent.len).sum::<u64>() == self.received, "no byte is lost");
                Ok(PutBody::Large { extents, len: self.received, holds })
            }
        }
    }

    /// Chooses by the announced length; an unknown one begins small.
    async fn begin(&mut self) -> Result<()> {
        let inline_max = self.writer.inline_max();
        let limit = match self.expected {
            Some(expected) => usize::try_from(expected).unwrap_or(usize::MAX),
            None => inline_max,
        };
        self.state = if limit <= inline_max && limit > 0 {
            let buffer = buf::alloc_checked(limit).await;
            let buffer = buffer.map_err(|_| Error::Unavailable("a small body is larger than any buffer"))?;
            State::Small(Small { buffer: Some(buffer), limit, len: 0 })
        } else {
            State::Large(Box::new(Large { tap: self.tap.clone(), ..Large::default() }))
        };
        Ok(())
    }

    /// Moves a body of unknown length that is no longer small into its first stripe.
    async fn outgrow(&mut self) -> Result<()> {
        let mut large = Box::new(Large { tap: self.tap.clone(), ..Large::default() });
        if let State::Small(Small { buffer, len, .. }) = std::mem::replace(&mut self.state, State::New) {
            let buffer = buffer.ok_or(Error::Incomplete)?;
            let mut done = 0;
            while done < len {
                let mut window = large.room(&self.writer, None).await?;
                let part = window.len().min(len - done);
                window[..part].copy_from_slice(&buffer[done..done + part]);
                large.fill(&self.writer, window, part).await?;
                done += part;
            }
        }
        self.state = State::Large(large);
        Ok(())
    }
}

impl Large {
    /// `left` are the bytes still to come, if that is known.
    async fn room(&mut self, writer: &Rc<Writer>, left: Option<u64>) -> Result<Window> {
        if self.filling.is_none() {
            self.filling = Some(self.next_stripe(writer, left).await?);
        }
        self.filling.as_mut().expect("just set").fill.room().await
    }

    async fn next_stripe(&mut self, writer: &Rc<Writer>, left: Option<u64>) -> Result<Filling> {
        // What is left of a run in a volume that lost a slot meanwhile stays unused.
        self.run.take_if(|run| !writer.goes_on_in(run));
        let is_first = self.holds.is_empty();
        let placed = match self.run.as_mut().and_then(Run::place) {
            Some(placed) => placed,
            None => {
                let run = writer.reserve(left).await?;
                self.holds.push(run.volume().hold());
                self.run.insert(run).place().expect("a run is never empty")
            }
        };
        let permit =
            if is_first { writer.permit_soon(placed.layout).await? } else { writer.permit(placed.layout).await };
        Ok(Filling { fill: Fill::new(placed.layout), placed, permit })
    }

    async fn fill(&mut self, writer: &Rc<Writer>, window: Window, len: usize) -> Result<()> {
        let filling = self.filling.as_mut().ok_or(Error::Incomplete)?;
        filling.fill.fill(window, len);
        if filling.fill.is_full() {
            let filling = self.filling.take().expect("just looked");
            self.start_write(writer, filling).await?;
        }
        Ok(())
    }

    /// Sends a full stripe on its way and waits for the oldest one if there are too many.
    async fn start_write(&mut self, writer: &Rc<Writer>, filling: Filling) -> Result<()> {
        let Filling { placed, fill, permit } = filling;
        self.extents.push(placed.volume(), placed.at, placed.layout);
        let (layout, fragments) = (fill.layout(), writer.seal(&placed, fill).await?);
        if let Some(tap) = &self.tap {
            payloads(layout, &fragments).for_each(|payload| tap(payload));
        }
        let writer = writer.clone();
        self.writing.push_back(rt::spawn(async move { writer.store(&placed, fragments, permit).await }));
        while self.writing.len() > STRIPES_IN_FLIGHT_MAX {
            self.collect().await?;
        }
        Ok(())
    }

    async fn collect(&mut self) -> Result<()> {
        if let Some(write) = self.writing.pop_front() {
            self.coverage.push(write.await?);
        }
        Ok(())
    }

    async fn finish(mut self, writer: &Rc<Writer>) -> Result<(Vec<Extent>, Vec<Hold>)> {
        if let Some(Filling { mut placed, fill, permit }) = self.filling.take()
            && fill.filled() > 0
        {
            let fill = fill.shorten().await?;
            placed.shorten(fill.layout());
            self.start_write(writer, Filling { placed, fill, permit }).await?;
        }
        while !self.writing.is_empty() {
            self.collect().await?;
        }
        writer.cover(self.coverage).await?;
        Ok((self.extents.finish(), self.holds))
    }
}

//! One body on its way out: a range of it as verified windows of the buffers it was read into.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use rt::JoinHandle;
use rt::buf::Shared;
use rt::sync::Permit;

use crate::format::record::Body;
use crate::read::{Loaded, Memory, Plan, Reader, Step};
use crate::space::readers::Pin;
pub use crate::stripe::ReadError;

/// Steps that are read before they are asked for.
const READ_AHEAD_STEPS: usize = 2;

static BYTES: telemetry::Counter = telemetry::Counter::new("hafiz_get_bytes_total", "Bytes of bodies read.");

/// What became of a step that was read; `None` when there was no memory for it.
type Loading = Result<Option<Loaded>, ReadError>;

/// A range of a body that is being read. Stays on the shard where it began.
///
/// Dropping it lets reads in flight return to nobody.
pub struct Get {
    reader: Rc<Reader>,
    plan: Plan,
    ahead: VecDeque<(Step, JoinHandle<Loading>)>,
    ready: VecDeque<Shared>,
    /// The memory of the windows in `ready` and of the last one handed out.
    permit: Option<Permit>,
    left: u64,
    failed: bool,
    /// How memory for the next step is waited for.
    memory: Memory,
    /// What is read is not freed meanwhile.
    _pin: Pin,
}

impl Get {
    /// Reads `range` of `body`. Panics unless it lies in the body.
    pub(crate) fn new(reader: Rc<Reader>, body: &Body, range: Range<u64>, pin: Pin) -> Get {
        let left = range.end.saturating_sub(range.start);
        let plan = Plan::new(body, range);
        let (ahead, ready) = (VecDeque::new(), VecDeque::new());
        Get { reader, plan, ahead, ready, permit: None, left, failed: false, memory: Memory::Turn, _pin: pin }
    }

    /// The first bytes fail with `Busy` when there is no memory for them for a while. To be called before they are asked
    /// for.
    pub fn hurry(&mut self) {
        self.memory = Memory::Soon;
    }

    /// Bytes that are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes in order, verified; `None` after the last. After an error nothing more comes, whatever was left.
    ///
    /// Whoever asks for more has sent what came before: the memory of a window counts until the next call only.
    pub async fn next(&mut self) -> Option<Result<Shared, ReadError>> {
        while self.ready.is_empty() {
            // Given back before the next step waits for it.
            self.permit = None;
            if self.failed {
                return None;
            }
            match self.load().await? {
                Ok(Loaded { windows, permit }) => {
                    self.ready = windows.into();
                    self.permit = permit;
                }
                Err(error) => {
                    self.failed = true;
                    self.ahead.clear();
                    return Some(Err(error));
                }
            }
        }
        let window = self.ready.pop_front()?;
        self.memory = Memory::Ahead;
        self.left -= window.len() as u64;
        BYTES.add(window.len() as u64);
        Some(Ok(window))
    }

    /// The next step; reads ahead while there are more and there is memory.
    async fn load(&mut self) -> Option<Result<Loaded, ReadError>> {
        if self.ahead.is_empty() {
            let (single, step) = (self.plan.is_single(), self.plan.next()?);
            if single {
                return Some(self.load_now(step).await);
            }
            self.start(step);
        }
        while self.ahead.len() <= READ_AHEAD_STEPS
            && let Some(step) = self.plan.next()
        {
            self.start(step);
        }
        let (step, read) = self.ahead.pop_front()?;
        match read.await {
            Ok(Some(loaded)) => Some(Ok(loaded)),
            Err(error) => Some(Err(error)),
            Ok(None) => {
                // Memory that later steps hold must not be what this one waits for.
                while let Some((later, _)) = self.ahead.pop_back() {
                    self.plan.put_back(later);
                }
                Some(self.load_now(step).await)
            }
        }
    }

    fn start(&mut self, step: Step) {
        let read = self.reader.clone().load(step.clone(), Memory::Try);
        self.ahead.push_back((step, rt::spawn(read)));
    }

    async fn load_now(&self, step: Step) -> Result<Loaded, ReadError> {
        let loaded = self.reader.clone().load(step, self.memory).await?;
        Ok(loaded.expect("who waits for memory gets it"))
    }
}

//! Request bodies off the wire: objects straight into the store's buffers, documents into memory within their bound.

use http::{BodyError, Exchange};
use ops::Source;
use rt::buf::Window;
use s3::body::{BodyPlan, BodyRule, check_document};
use s3::{Code, Error};

/// Read at a time of a document.
const DOCUMENT_READ_BYTES: usize = 4096;
/// Framing of a chunked document beside its payload: as much again, and this.
const FRAMING_BYTES_MAX: u64 = 16 * 1024;

/// The body of one request.
pub(super) struct Wire<'x, 'c> {
    exchange: &'x mut Exchange<'c>,
}

impl<'x, 'c> Wire<'x, 'c> {
    pub(super) fn new(exchange: &'x mut Exchange<'c>) -> Self {
        Wire { exchange }
    }
}

impl Source for Wire<'_, '_> {
    async fn read(&mut self, window: Window) -> Result<(usize, Window), Error> {
        self.exchange.read_into(window).await.map_err(broken)
    }

    fn remaining(&self) -> Option<u64> {
        self.exchange.remaining_len()
    }
}

fn broken(error: BodyError) -> Error {
    match error {
        BodyError::Truncated | BodyError::Io(_) => Error::new(Code::IncompleteBody),
        BodyError::TooSlow => Error::new(Code::RequestTimeout),
        BodyError::Stopped => Error::new(Code::ServiceUnavailable),
        BodyError::Chunk(error) => Error::with(Code::BadRequest, error.to_string()),
    }
}

/// Reads a whole XML body and checks it against its plan.
pub(super) async fn document(exchange: &mut Exchange<'_>, plan: &BodyPlan, rule: BodyRule) -> Result<Vec<u8>, Error> {
    let wire_max = plan.length * 2 + FRAMING_BYTES_MAX;
    let mut wire = Vec::new();
    let mut spare: Option<Window> = None;
    while exchange.remaining_len() != Some(0) {
        let window = match spare.take() {
            Some(window) => window,
            // Not waited for: the connection already holds buffers, as do all others.
            None => Window::from(rt::buf::try_alloc(DOCUMENT_READ_BYTES).ok_or(Code::SlowDown)?),
        };
        let (len, window) = exchange.read_into(window).await.map_err(broken)?;
        if len == 0 {
            break;
        }
        wire.extend_from_slice(&window[..len]);
        if wire.len() as u64 > wire_max {
            return Err(Error::new(Code::IncompleteBody));
        }
        spare = Some(window);
    }
    check_document(plan, rule, &mut wire)?;
    Ok(wire)
}

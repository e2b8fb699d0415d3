//! The chunked transfer coding (RFC 9112 section 7.1): an incremental decoder over slices, and the framing we send.
//!
//! Line ends are CRLF only and every line, extension and trailer is bounded: what a lenient reader would let pass is
//! how one body becomes two requests.

use crate::error::ChunkError;
use crate::head::{is_field_value, is_token};
use crate::limits::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX, TRAILERS_MAX};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a size; how many there were.
    Size {
        digits: u8,
    },
    /// White space behind the size: only an extension may follow.
    SizePadding,
    Extension,
    /// CR of a size line seen.
    SizeEnd,
    Data,
    /// Data done: CR, then LF.
    DataCr,
    DataLf,
    /// In a trailer line.
    Trailer,
    /// CR of a trailer line seen.
    TrailerEnd,
    Done,
}

/// What one call of `Decoder::decode` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the input.
    pub consumed: usize,
    /// Payload bytes written to the output.
    pub produced: usize,
}

/// Decodes one chunked body. After an error the decoder must not be used again.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Payload bytes of this chunk that are still to come.
    chunk_left: u64,
    line_bytes: usize,
    extension_bytes: usize,
    /// The trailer section, line ends included; allocated only when there is one.
    trailers: Vec<u8>,
    trailer_line_start: usize,
    trailer_count: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    pub fn new() -> Self {
        Self {
            state: State::Size { digits: 0 },
            chunk_left: 0,
            line_bytes: 0,
            extension_bytes: 0,
            trailers: Vec::new(),
            trailer_line_start: 0,
            trailer_count: 0,
        }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Payload bytes that come next without any framing between them: these may be read from the socket straight into
    /// their destination, then told to `skip_payload`.
    pub fn payload_ahead(&self) -> u64 {
        if self.state == State::Data { self.chunk_left } else { 0 }
    }

    /// Accounts for `len <= payload_ahead()` bytes that were taken past the decoder.
    pub fn skip_payload(&mut self, len: u64) {
        assert!(len <= self.payload_ahead(), "more payload skipped than the chunk holds");
        self.chunk_left -= len;
        if self.chunk_left == 0 {
            self.state = State::DataCr;
        }
    }

    /// Decodes from `input` into `output` until the body ends, the input is used up, or the output is full. Nothing
    /// behind the body's end is consumed; with a full output framing is still consumed up to the next payload byte.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, ChunkError> {
        let mut progress = Progress { consumed: 0, produced: 0 };
        while progress.consumed < input.len() && self.state != State::Done {
            if self.state != State::Data {
                self.framing_byte(input[progress.consumed])?;
                progress.consumed += 1;
                continue;
            }
            let room = &mut output[progress.produced..];
            let rest = &input[progress.consumed..];
            let len = rest.len().min(room.len()).min(usize::try_from(self.chunk_left).unwrap_or(usize::MAX));
            if len == 0 {
                break;
            }
            room[..len].copy_from_slice(&rest[..len]);
            progress.consumed += len;
            progress.produced += len;
            self.skip_payload(len as u64);
        }
        Ok(progress)
    }

    /// The trailer fields in the order sent; complete once `is_done`.
    pub fn trailers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.trailers.split(|&byte| byte == b'\n').filter_map(|line| parse_trailer(line.strip_suffix(b"\r")?))
    }

    fn framing_byte(&mut self, byte: u8) -> Result<(), ChunkError> {
        match self.state {
            State::Size { digits } => match (byte as char).to_digit(16) {
                // 15 digits are enough for any length and cannot overflow; leading zeros count.
                Some(_) if digits == 15 => return Err(ChunkError::Size),
                Some(digit) => {
                    self.chunk_left = self.chunk_left << 4 | u64::from(digit);
                    self.state = State::Size { digits: digits + 1 };
                    self.line_bytes += 1;
                }
                None if digits == 0 => return Err(ChunkError::Size),
                None => match byte {
                    b'\r' => self.state = State::SizeEnd,
                    b';' => self.extension_byte(State::Extension)?,
                    b' ' | b'\t' => self.extension_byte(State::SizePadding)?,
                    _ => return Err(ChunkError::Size),
                },
            },
            State::SizePadding => match byte {
                b' ' | b'\t' => self.extension_byte(State::SizePadding)?,
                b';' => self.extension_byte(State::Extension)?,
                _ => return Err(ChunkError::Size),
            },
            State::Extension => match byte {
                b'\r' => self.state = State::SizeEnd,
                byte if is_field_value(&[byte]) => self.extension_byte(State::Extension)?,
                _ => return Err(ChunkError::Extension),
            },
            State::SizeEnd => {
                expect(byte, b'\n')?;
                self.line_bytes = 0;
                self.state = if self.chunk_left == 0 { State::Trailer } else { State::Data };
            }
            State::DataCr => {
                expect(byte, b'\r')?;
                self.state = State::DataLf;
            }
            State::DataLf => {
                expect(byte, b'\n')?;
                self.state = State::Size { digits: 0 };
            }
            State::Trailer => match byte {
                b'\r' => self.state = State::TrailerEnd,
                b'\n' => return Err(ChunkError::LineEnd),
                _ => self.trailer_byte(byte)?,
            },
            State::TrailerEnd => {
                expect(byte, b'\n')?;
                self.trailer_line()?;
            }
            State::Data | State::Done => unreachable!("payload is not framing"),
        }
        Ok(())
    }

    fn extension_byte(&mut self, next: State) -> Result<(), ChunkError> {
        self.line_bytes += 1;
        self.extension_bytes += 1;
        if self.line_bytes > CHUNK_LINE_BYTES_MAX {
            return Err(ChunkError::LineTooLong);
        }
        if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
            return Err(ChunkError::ExtensionsTooLong);
        }
        self.state = next;
        Ok(())
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<(), ChunkError> {
        if self.trailers.len() + 2 >= TRAILER_BYTES_MAX {
            return Err(ChunkError::TrailersTooLong);
        }
        self.trailers.push(byte);
        Ok(())
    }

    fn trailer_line(&mut self) -> Result<(), ChunkError> {
        let line = &self.trailers[self.trailer_line_start..];
        if line.is_empty() {
            self.state = State::Done;
            return Ok(());
        }
        if parse_trailer(line).is_none() {
            return Err(ChunkError::Trailer);
        }
        self.trailer_count += 1;
        if self.trailer_count > TRAILERS_MAX {
            return Err(ChunkError::TrailersTooLong);
        }
        self.trailers.extend_from_slice(b"\r\n");
        self.trailer_line_start = self.trailers.len();
        self.state = State::Trailer;
        Ok(())
    }
}

fn expect(byte: u8, wanted: u8) -> Result<(), ChunkError> {
    if byte == wanted { Ok(()) } else { Err(ChunkError::LineEnd) }
}

fn parse_trailer(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if !is_token(name) || !is_field_value(value) {
        return None;
    }
    Some((std::str::from_utf8(name).ok()?, value))
}

/// Ends a chunked body that has no trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends the size line of a chunk of `len > 0` bytes. Its data must be followed by CRLF.
pub fn render_size(out: &mut Vec<u8>, len: usize) {
    debug_assert!(len > 0, "an empty chunk ends the body");
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[len >> (digit * 4) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;

//! `aws-chunked` bodies: decoded in place, chunk by chunk, each signature checked as its chunk ends.

use codec::checksum::{equal_constant_time, sha256};
use codec::hex;

use crate::error::{Code, Error, Result};
use crate::sigv4::SigningKey;

/// Longest line of framing: a size, a signature, a trailer.
pub const LINE_BYTES_MAX: usize = 1024;
/// Most lines of a trailer, empty ones included.
const TRAILER_LINES_MAX: usize = 8;
/// All chunks but the last are at least this long.
pub const CHUNK_BYTES_MIN: u64 = 8 * 1024;

const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// The chain of signatures over the chunks of one body; each covers the one before, the first the head's.
pub struct ChunkSigner {
    key: SigningKey,
    /// `timestamp\nscope\n`, which every string to sign repeats.
    context: String,
    previous: String,
}

impl ChunkSigner {
    /// `timestamp` as in `x-amz-date`, `scope` as in the credential, `seed` the signature of the head.
    pub fn new(key: SigningKey, timestamp: &str, scope: &str, seed: &str) -> ChunkSigner {
        ChunkSigner { key, context: format!("{timestamp}\n{scope}\n"), previous: seed.to_owned() }
    }

    /// The signature of the next chunk, whose bytes have this hash. An empty chunk ends the body.
    pub fn next_chunk(&mut self, hash: [u8; 32]) -> &str {
        let empty = hex::encode(&sha256(b""));
        self.advance("AWS4-HMAC-SHA256-PAYLOAD", &format!("{empty}\n{}", hex::encode(&hash)))
    }

    /// The signature of the trailer, written as `name:value\n` lines.
    pub fn trailer(&mut self, lines: &str) -> &str {
        self.advance("AWS4-HMAC-SHA256-TRAILER", &hex::encode(&sha256(lines.as_bytes())))
    }

    fn advance(&mut self, kind: &str, hashes: &str) -> &str {
        let string_to_sign = format!("{kind}\n{}{}\n{hashes}", self.context, self.previous);
        self.previous = hex::encode(&self.key.sign(string_to_sign.as_bytes()));
        &self.previous
    }
}

impl std::fmt::Debug for ChunkSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkSigner").finish_non_exhaustive()
    }
}

/// Decodes one body. All input is taken as it comes; what is not payload is kept until its line is whole.
pub struct Decoder {
    state: State,
    line: Vec<u8>,
    /// Payload bytes that chunk headers have yet to announce.
    unannounced: u64,
    signer: Option<ChunkSigner>,
    /// Hash of the running chunk and the signature it must have.
    chunk: Option<(codec::sha256::State, Vec<u8>)>,
    last_chunk_len: Option<u64>,
    trailer: Trailer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Data {
        left: u64,
    },
    /// CR LF after a chunk's bytes.
    DataEnd {
        seen_cr: bool,
    },
    Trailer,
    /// Everything is there. One more line end is passed over: some clients send it.
    Done {
        surplus: u8,
    },
}

#[derive(Debug)]
struct Trailer {
    allowed: bool,
    /// The header announced by `x-amz-trailer`.
    expected: Option<&'static str>,
    value: Option<String>,
    /// `name:value\n`, as it is signed.
    canonical: String,
    signature_checked: bool,
    lines: usize,
}

impl Decoder {
    /// `length` is the payload's announced length. With a `signer` every chunk, and the trailer, must be signed.
    pub fn new(length: u64, signer: Option<ChunkSigner>, trailer: bool, expected: Option<&'static str>) -> Decoder {
        let trailer = Trailer {
            allowed: trailer,
            expected,
            value: None,
            canonical: String::new(),
            signature_checked: false,
            lines: 0,
        };
        Decoder {
            state: State::Header,
            line: Vec::new(),
            unannounced: length,
            signer,
            chunk: None,
            last_chunk_len: None,
            trailer,
        }
    }

    /// Takes all of `wire`, moves the payload in it to the front, returns the payload's length. The payload counts
    /// only once `finish` has agreed.
    pub fn decode(&mut self, wire: &mut [u8]) -> Result<usize> {
        let (mut read, mut written) = (0, 0);
        while read < wire.len() {
            match self.state {
                State::Data { left } => {
                    let available = wire.len() - read;
                    let len = usize::try_from(left).map_or(available, |left| left.min(available));
                    wire.copy_within(read..read + len, written);
                    if let Some((hash, _)) = &mut self.chunk {
                        hash.update(&wire[written..written + len]);
                    }
                    read += len;
                    written += len;
                    let left = left - len as u64;
                    self.state = State::Data { left };
                    if left == 0 {
                        self.end_chunk()?;
                        self.state = State::DataEnd { seen_cr: false };
                    }
                }
                State::DataEnd { seen_cr } => {
                    self.state = match (seen_cr, wire[read]) {
                        (false, b'\r') => State::DataEnd { seen_cr: true },
                        (true, b'\n') => State::Header,
                        _ => return Err(malformed()),
                    };
                    read += 1;
                }
                State::Header | State::Trailer => {
                    let rest = &wire[read..];
                    let end = rest.iter().position(|&byte| byte == b'\n');
                    let part = &rest[..end.unwrap_or(rest.len())];
                    if self.line.len() + part.len() > LINE_BYTES_MAX {
                        return Err(malformed());
                    }
                    self.line.extend(part);
                    read += part.len();
                    if end.is_some() {
                        read += 1;
                        self.end_line()?;
                    }
                }
                State::Done { surplus } => {
                    let expect = [b'\r', b'\n'];
                    if expect.get(usize::from(surplus)) != Some(&wire[read]) {
                        return Err(malformed());
                    }
                    self.state = State::Done { surplus: surplus + 1 };
                    read += 1;
                }
            }
        }
        Ok(written)
    }

    /// Decides after the last byte: everything announced has come and was signed. Returns the value of the trailer.
    pub fn finish(mut self) -> Result<Option<String>> {
        if self.state == State::Trailer && self.line.is_empty() {
            // The body ended right after the last line that says something.
            self.end_trailer()?;
        }
        match self.state {
            State::Done { .. } => Ok(self.trailer.value),
            State::Header | State::Data { .. } | State::DataEnd { .. } | State::Trailer => {
                Err(Error::new(Code::IncompleteBody))
            }
        }
    }

    fn end_line(&mut self) -> Result<()> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        let line = std::str::from_utf8(line).map_err(|_| malformed())?;
        match self.state {
            State::Header => self.header_line(line),
            _ => self.trailer_line(line),
        }
    }

    fn header_line(&mut self, line: &str) -> Result<()> {
        let (size, extension) = match line.split_once(';') {
            Some((size, extension)) => (size, Some(extension)),
            None => (line, None),
        };
        let size = size.trim_end();
        let digits = (1..=16).contains(&size.len()) && size.bytes().all(|b| b.is_ascii_hexdigit());
        let len =
            if digits { u64::from_str_radix(size, 16).map_err(|_| malformed())? } else { return Err(malformed()) };
        let mut extensions = extension.iter().flat_map(|extension| extension.split(';'));
        let signature = extensions.find_map(|extension| extension.trim().strip_prefix("chunk-signature="));
        match (&self.signer, signature) {
            (Some(_), Some(signature)) => {
                self.chunk = Some((codec::sha256::State::new(), signature.as_bytes().to_vec()));
            }
            (Some(_), None) => return Err(malformed()),
            (None, _) => {}
        }
        if len > 0 && self.last_chunk_len.is_some_and(|last| last < CHUNK_BYTES_MIN) {
            return Err(Error::new(Code::InvalidChunkSize));
        }
        self.unannounced = self.unannounced.checked_sub(len).ok_or_else(wrong_length)?;
        self.last_chunk_len = Some(len);
        if len > 0 {
            self.state = State::Data { left: len };
            return Ok(());
        }
        if self.unannounced > 0 {
            return Err(wrong_length());
        }
        self.end_chunk()?;
        self.state = State::Trailer;
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<()> {
        let (Some(signer), Some((hash, signature))) = (&mut self.signer, self.chunk.take()) else {
            return Ok(());
        };
        if equal_constant_time(signer.next_chunk(hash.finish()).as_bytes(), &signature) {
            Ok(())
        } else {
            Err(Error::new(Code::SignatureDoesNotMatch))
        }
    }

    fn trailer_line(&mut self, line: &str) -> Result<()> {
        self.trailer.lines += 1;
        if self.trailer.lines > TRAILER_LINES_MAX {
            return Err(malformed());
        }
        if line.is_empty() {
            let awaits_signature = self.trailer.allowed
                && self.signer.is_some()
                && !self.trailer.signature_checked
                && !self.trailer.canonical.is_empty();
            // Some clients put an empty line between the trailer and its signature.
            return if awaits_signature { Ok(()) } else { self.end_trailer() };
        }
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if !self.trailer.allowed || self.trailer.signature_checked {
            return Err(malformed());
        }
        if name == TRAILER_SIGNATURE {
            let signer = self.signer.as_mut().ok_or_else(malformed)?;
            let expect = signer.trailer(&self.trailer.canonical);
            if !equal_constant_time(expect.as_bytes(), value.as_bytes()) {
                return Err(Error::new(Code::SignatureDoesNotMatch));
            }
            self.trailer.signature_checked = true;
            return Ok(());
        }
        if self.trailer.expected != Some(name.as_str()) || self.trailer.value.is_some() {
            return Err(malformed());
        }
        self.trailer.canonical = format!("{name}:{value}\n");
        self.trailer.value = Some(value.to_owned());
        Ok(())
    }

    fn end_trailer(&mut self) -> Result<()> {
        let announced_is_missing = self.trailer.expected.is_some() && self.trailer.value.is_none();
        let unsigned = self.signer.is_some() && self.trailer.value.is_some() && !self.trailer.signature_checked;
        if announced_is_missing || unsigned {
            return Err(malformed());
        }
        self.state = State::Done { surplus: 0 };
        Ok(())
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("state", &self.state).finish_non_exhaustive()
    }
}

fn malformed() -> Error {
    Error::new(Code::MalformedTrailer)
}

fn wrong_length() -> Error {
    Error::with(Code::IncompleteBody, "The chunks do not add up to x-amz-decoded-content-length.")
}

#[cfg(test)]
mod tests;

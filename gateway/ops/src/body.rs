//! Bodies on their way in: from a source into the store's own buffers, hashed and checked on the way.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use rt::buf::Window;
use s3::body::{BodyCheck, BodyPlan, BodyRule, Digests};
use s3::checksum::{Algorithm, Checksum};
use s3::{Code, Error};
use store::{PutBody, ReadError, Record, Store};
use types::{BucketId, ObjectKey};

use crate::Ops;
use crate::hashing::Hashing;
use crate::refusal::{refuse, refuse_read, senseless};

/// The algorithm of the checksum that an object gets when its client names none.
pub(crate) const CHECKSUM_DEFAULT: Algorithm = Algorithm::Crc64Nvme;
/// From so many bytes on a body's SHA-256 is computed side by side with others', as its MD5 is; smaller ones hash what they read
/// at once, while it is in the cache.
const SHA256_SIDE_BY_SIDE_MIN: u64 = 128 << 10;
/// Where the framing behind the payload is read: the store's buffers are full by then.
const SCRATCH_BYTES: usize = 4096;

/// Where the bytes of a request's body come from, as they are on the wire.
pub trait Source {
    /// Reads at least one byte into the front of `window` and says how many; 0 only at the end of the body. An error
    /// ends the body; the window is gone with it.
    fn read(&mut self, window: Window) -> impl Future<Output = Result<(usize, Window), Error>>;

    /// Bytes still to come; `None` when only the end will tell.
    fn remaining(&self) -> Option<u64>;
}

/// A request's body and how its signature binds it.
pub struct Incoming<'s, S> {
    pub source: &'s mut S,
    pub rule: BodyRule,
}

/// Payload that fills the store's buffers.
pub(crate) trait Payload {
    /// Fills `window` from its front; less than the whole only at the end.
    async fn fill(&mut self, window: Window) -> Result<(usize, Window), Error>;
}

/// A body that is in the store's hands and not yet part of any object.
pub(crate) struct Received {
    put: store::Put,
    digests: Coming,
}

/// Which digests of a payload are computed on its way.
pub(crate) enum Hashes {
    /// None: the MD5 is known, of bytes that were verified against it.
    Known([u8; 16]),
    Md5,
    Md5AndSha256,
}

enum Coming {
    Known(Digests),
    Computed(Hashing),
}

impl Received {
    /// Waits until the body is durable (a small one becomes so with its commit), and for its digests.
    pub(crate) async fn finish(self) -> Result<(PutBody, Digests), Error> {
        // In this order: while the drives write, others' bytes come together with these to be hashed.
        let body = self.put.finish().await.map_err(refuse)?;
        let digests = match self.digests {
            Coming::Known(digests) => digests,
            Coming::Computed(hashing) => hashing.finish().await,
        };
        Ok((body, digests))
    }
}

/// Moves `len` bytes of payload into the store.
pub(crate) async fn pump(ops: &Ops, len: u64, payload: &mut impl Payload, hashes: Hashes) -> Result<Received, Error> {
    let mut put = ops.store.put(Some(len));
    let digests = match hashes {
        Hashes::Known(md5) => Coming::Known(Digests { md5, sha256: None }),
        Hashes::Md5 | Hashes::Md5AndSha256 => {
            let hashing = Hashing::new(&ops.lanes, matches!(hashes, Hashes::Md5AndSha256));
            put.tap(hashing.tap());
            Coming::Computed(hashing)
        }
    };
    let mut left = len;
    // A body that has begun has its buffers, or gets them as it goes.
    let mut turn = ops.buffers_turn(len)?;
    while left > 0 {
        let window = put.room().await.map_err(refuse)?;
        turn = None;
        let (count, window) = payload.fill(window).await?;
        if count == 0 {
            return Err(incomplete(len, len - left));
        }
        put.fill(window, count).await.map_err(refuse)?;
        left = left.checked_sub(count as u64).ok_or_else(|| incomplete(len, len - left + count as u64))?;
    }
    drop(turn);
    Ok(Received { put, digests })
}

fn incomplete(expected: u64, provided: u64) -> Error {
    Error::new(Code::IncompleteBody)
        .field("NumberBytesExpected", expected.to_string())
        .field("NumberBytesProvided", provided.to_string())
}

/// What an upload's body turned out to be.
pub(crate) struct Uploaded {
    pub(crate) body: PutBody,
    pub(crate) md5: [u8; 16],
    /// Of the algorithm that was wanted: what is kept.
    pub(crate) kept: Checksum,
    /// Of the algorithm the client vouched with, or else the kept one: what it is told.
    pub(crate) told: Checksum,
}

/// Receives a whole upload: its bytes are in the store, and everything that was promised of them has been verified.
/// `wanted` is the checksum to keep, whatever the client vouches with.
pub(crate) async fn receive<S: Source>(
    ops: &Ops,
    plan: &BodyPlan,
    wanted: Algorithm,
    incoming: Incoming<'_, S>,
) -> Result<Uploaded, Error> {
    let mut upload = Upload::new(plan, wanted, incoming)?;
    let leaves_sha256 = plan.length >= SHA256_SIDE_BY_SIDE_MIN && upload.check.leave_sha256();
    let hashes = if leaves_sha256 { Hashes::Md5AndSha256 } else { Hashes::Md5 };
    let received = pump(ops, plan.length, &mut upload, hashes).await?;
    upload.read_rest().await?;
    let (body, digests) = received.finish().await?;
    // What is not what it was said to be is durable now, and nothing will ever refer to it.
    let (kept, told) = upload.finish(&digests)?;
    Ok(Uploaded { body, md5: digests.md5, kept, told })
}

/// The payload of an upload, taken out of its framing in place.
struct Upload<'s, S> {
    source: &'s mut S,
    check: BodyCheck,
    /// The checksum to keep when the client vouches with another one.
    second: Option<(Algorithm, codec::checksum::Hasher)>,
    left: u64,
    /// There when framing may follow the payload.
    scratch: Option<Window>,
}

impl<'s, S: Source> Upload<'s, S> {
    fn new(plan: &BodyPlan, wanted: Algorithm, incoming: Incoming<'s, S>) -> Result<Self, Error> {
        let Incoming { source, rule } = incoming;
        let scratch = if plan.chunked || source.remaining() != Some(plan.length) {
            // Not waited for: the connection already holds buffers, as do all others.
            Some(Window::from(rt::buf::try_alloc(SCRATCH_BYTES).ok_or(Code::SlowDown)?))
        } else {
            None
        };
        let second = match plan.claim {
            Some(claim) if claim.algorithm() != wanted => Some((wanted, wanted.new_hasher())),
            Some(_) | None => None,
        };
        Ok(Upload { source, check: BodyCheck::new(plan, rule, Some(wanted)), second, left: plan.length, scratch })
    }

    /// Reads what follows the payload.
    async fn read_rest(&mut self) -> Result<(), Error> {
        while self.source.remaining() != Some(0) {
            // Without framing nothing may follow.
            let scratch = self.scratch.take().ok_or(Code::IncompleteBody)?;
            let (count, mut scratch) = self.source.read(scratch).await?;
            if count == 0 {
                break;
            }
            self.check.advance(&mut scratch[..count])?;
            self.scratch = Some(scratch);
        }
        Ok(())
    }

    /// Decides, after the rest was read; the checksums to keep and to tell.
    fn finish(self, digests: &Digests) -> Result<(Checksum, Checksum), Error> {
        let told = self.check.finish(digests)?.ok_or_else(|| senseless("an upload without a checksum"))?;
        let kept = match self.second {
            Some((algorithm, hasher)) => Checksum::full(algorithm, hasher.finish()),
            None => told,
        };
        Ok((kept, told))
    }
}

impl<S: Source> Payload for Upload<'_, S> {
    async fn fill(&mut self, window: Window) -> Result<(usize, Window), Error> {
        let range = window.range();
        let (mut window, mut filled) = (window, range.start);
        while filled < range.end && self.left > 0 {
            let (count, mut back) = self.source.read(window.with_range(filled..range.end)).await?;
            let len = self.check.advance(&mut back[..count])?;
            if let Some((_, hasher)) = &mut self.second {
                hasher.update(&back[..len]);
            }
            window = back;
            filled += len;
            self.left = self.left.checked_sub(len as u64).ok_or(Code::IncompleteBody)?;
            if count == 0 {
                break;
            }
        }
        Ok((filled - range.start, window.with_range(range)))
    }
}

/// The payload of a copy: bytes that come out of the store.
///
/// Each window is read by itself, so that no memory of reads is held while the store waits for memory of writes: two
/// copies that each held what the other waits for would never end.
pub(crate) struct Copied {
    store: Store,
    bucket: BucketId,
    key: ObjectKey,
    record: Arc<Record>,
    left: Range<u64>,
    hasher: Option<(Algorithm, codec::checksum::Hasher)>,
}

impl Copied {
    /// `range` of the body of `record`, the object that was found under `key`. `compute`: the checksum to compute on
    /// the way.
    pub(crate) fn new(
        ops: &Ops,
        (bucket, key): (BucketId, &ObjectKey),
        record: Arc<Record>,
        range: Range<u64>,
        compute: Option<Algorithm>,
    ) -> Copied {
        let hasher = compute.map(|algorithm| (algorithm, algorithm.new_hasher()));
        Copied { store: ops.store.clone(), bucket, key: key.clone(), record, left: range, hasher }
    }

    pub(crate) fn finish(self) -> Option<Checksum> {
        self.hasher.map(|(algorithm, hasher)| Checksum::full(algorithm, hasher.finish()))
    }

    /// Fills `out` with the next bytes.
    async fn read(&self, out: &mut [u8]) -> Result<(), ReadError> {
        let mut get = self.store.read(&self.record, self.left.start..self.left.start + out.len() as u64);
        let mut filled = 0;
        while let Some(piece) = get.next().await {
            let piece = piece?;
            out[filled..filled + piece.len()].copy_from_slice(&piece);
            filled += piece.len();
        }
        assert!(filled == out.len(), "the store gives the whole range or an error");
        Ok(())
    }

    /// The bytes were moved: asks where they are now. An object that was replaced meanwhile cannot be copied on.
    async fn find_again(&mut self) -> Result<(), Error> {
        let record = self.store.head_version(self.bucket, &self.key, self.record.version).await.map_err(refuse)?;
        if (record.version, record.modified, record.etag)
            != (self.record.version, self.record.modified, self.record.etag)
        {
            return Err(refuse(store::Error::Busy));
        }
        self.record = record;
        Ok(())
    }
}

impl Payload for Copied {
    async fn fill(&mut self, mut window: Window) -> Result<(usize, Window), Error> {
        let len = usize::try_from(self.left.end - self.left.start).map_or(window.len(), |left| left.min(window.len()));
        match self.read(&mut window[..len]).await {
            Ok(()) => {}
            Err(ReadError::Stale) => {
                self.find_again().await?;
                self.read(&mut window[..len]).await.map_err(refuse_read)?;
            }
            Err(error) => return Err(refuse_read(error)),
        }
        if let Some((_, hasher)) = &mut self.hasher {
            hasher.update(&window[..len]);
        }
        self.left.start += len as u64;
        Ok((len, window))
    }
}

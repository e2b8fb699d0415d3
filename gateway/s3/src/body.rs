//! What a request's body must prove: its length, its framing, its digests; and the checker that makes it.

use codec::checksum::{Hasher, equal_constant_time};
use codec::sha256;

use crate::base64;
use crate::checksum::{self, Algorithm, Checksum, Digest};
use crate::chunked::{ChunkSigner, Decoder};
use crate::error::{Code, Error, Result};
use crate::head::Head;
use crate::xml::DOCUMENT_BYTES_MAX;

/// Longest body of one PutObject or UploadPart: 5 GiB.
pub const OBJECT_BODY_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// What `x-amz-content-sha256` says of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadHash {
    Unsigned,
    /// The SHA-256 of the body.
    Literal([u8; 32]),
    /// `aws-chunked` with a signature on every chunk.
    ChunksSigned {
        trailer: bool,
    },
    /// `aws-chunked` without signatures, with a trailer.
    ChunksUnsigned,
}

const PAYLOAD_HASH: &str = "x-amz-content-sha256";

impl PayloadHash {
    /// Reads the header; `None` when there is none.
    pub fn from_head(head: &Head<'_>) -> Result<Option<PayloadHash>> {
        head.single(PAYLOAD_HASH)?.map(PayloadHash::parse).transpose()
    }

    pub fn parse(value: &str) -> Result<PayloadHash> {
        match value {
            "UNSIGNED-PAYLOAD" => Ok(PayloadHash::Unsigned),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(PayloadHash::ChunksSigned { trailer: false }),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(PayloadHash::ChunksSigned { trailer: true }),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(PayloadHash::ChunksUnsigned),
            _ => {
                let mut hash = [0; 32];
                match codec::hex::decode_into(value.as_bytes(), &mut hash) {
                    Some(()) => Ok(PayloadHash::Literal(hash)),
                    None => Err(Error::argument(
                        PAYLOAD_HASH,
                        value,
                        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
                         STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid \
                         sha256 value.",
                    )),
                }
            }
        }
    }

    fn is_chunked(self) -> bool {
        matches!(self, PayloadHash::ChunksSigned { .. } | PayloadHash::ChunksUnsigned)
    }

    fn has_trailer(self) -> bool {
        matches!(self, PayloadHash::ChunksSigned { trailer: true } | PayloadHash::ChunksUnsigned)
    }
}

/// A checksum that the client vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Sent in the head.
    Value(Algorithm, Digest),
    /// Announced in the head, sent after the body.
    Trailer(Algorithm),
}

impl Claim {
    pub fn algorithm(self) -> Algorithm {
        match self {
            Claim::Value(algorithm, _) | Claim::Trailer(algorithm) => algorithm,
        }
    }
}

/// What the head says of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyPlan {
    /// Bytes of payload, without any `aws-chunked` framing.
    pub length: u64,
    /// Whether the bytes on the wire are `aws-chunked`.
    pub chunked: bool,
    pub content_md5: Option<[u8; 16]>,
    pub claim: Option<Claim>,
}

impl BodyPlan {
    /// Reads the plan of a body that must announce its length.
    pub fn from_head(head: &Head<'_>) -> Result<BodyPlan> {
        let plan = BodyPlan::without_claim(head)?;
        let hash = PayloadHash::from_head(head)?.unwrap_or(PayloadHash::Unsigned);
        Ok(BodyPlan { claim: claim(head, hash)?, ..plan })
    }

    fn without_claim(head: &Head<'_>) -> Result<BodyPlan> {
        let hash = PayloadHash::from_head(head)?.unwrap_or(PayloadHash::Unsigned);
        let decoded_length = head.number("x-amz-decoded-content-length")?;
        let content_length = head.number("content-length")?;
        let length = if hash.is_chunked() { decoded_length } else { content_length.or(decoded_length) };
        let plan = BodyPlan {
            length: length.ok_or(Code::MissingContentLength)?,
            chunked: hash.is_chunked(),
            content_md5: content_md5(head)?,
            claim: None,
        };
        if let (PayloadHash::Literal(_) | PayloadHash::Unsigned, Some(wire), Some(decoded)) =
            (hash, content_length, decoded_length)
            && wire != decoded
        {
            return Err(Error::argument(
                "x-amz-decoded-content-length",
                &decoded.to_string(),
                "The decoded length differs from the length of a body without chunks",
            ));
        }
        Ok(plan)
    }

    /// The plan of an object's or a part's body.
    pub fn of_object(head: &Head<'_>) -> Result<BodyPlan> {
        let plan = BodyPlan::from_head(head)?;
        if plan.length > OBJECT_BODY_BYTES_MAX {
            return Err(Error::new(Code::EntityTooLarge)
                .field("ProposedSize", plan.length.to_string())
                .field("MaxSizeAllowed", OBJECT_BODY_BYTES_MAX.to_string()));
        }
        Ok(plan)
    }

    /// The plan of an XML body, which may be absent altogether.
    pub fn of_document(head: &Head<'_>) -> Result<BodyPlan> {
        BodyPlan::bounded_document(head, BodyPlan::from_head)
    }

    /// The plan of a completion's document: its checksum headers speak of the object it makes, not of itself.
    pub fn of_completion(head: &Head<'_>) -> Result<BodyPlan> {
        BodyPlan::bounded_document(head, BodyPlan::without_claim)
    }

    fn bounded_document(head: &Head<'_>, read: impl FnOnce(&Head<'_>) -> Result<BodyPlan>) -> Result<BodyPlan> {
        let announced = ["content-length", "transfer-encoding", "x-amz-decoded-content-length"];
        if !announced.iter().any(|name| head.has(name)) {
            return Ok(BodyPlan { length: 0, chunked: false, content_md5: content_md5(head)?, claim: None });
        }
        let plan = read(head)?;
        if plan.length > DOCUMENT_BYTES_MAX as u64 {
            return Err(Error::new(Code::MaxMessageLengthExceeded)
                .field("MaxMessageLengthBytes", DOCUMENT_BYTES_MAX.to_string()));
        }
        Ok(plan)
    }

    /// Whether the body is vouched for as S3 demands of DeleteObjects.
    pub fn has_digest(&self) -> bool {
        self.content_md5.is_some() || self.claim.is_some()
    }
}

fn content_md5(head: &Head<'_>) -> Result<Option<[u8; 16]>> {
    let Some(value) = head.single("content-md5")? else {
        return Ok(None);
    };
    // An empty header is a digest that cannot be right, not an absent one.
    match checksum::parse_md5(value) {
        Some(md5) => Ok(Some(md5)),
        None => Err(Error::new(Code::InvalidDigest).field("Content-MD5", value)),
    }
}

fn claim(head: &Head<'_>, hash: PayloadHash) -> Result<Option<Claim>> {
    let sdk = checksum::algorithm_of_head(head, "x-amz-sdk-checksum-algorithm")
        .map_err(|_| Error::invalid_request("Value for x-amz-sdk-checksum-algorithm header is invalid."))?;
    let value = checksum::value_of_head(head, false)?.map(|(algorithm, digest, _)| Claim::Value(algorithm, digest));
    let trailer = trailer_algorithm(head, hash)?.map(Claim::Trailer);
    let claim = match (value, trailer) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid_request(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
        (value, trailer) => value.or(trailer),
    };
    match (sdk, claim) {
        (Some(_), None) => Err(Error::invalid_request(
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers \
             were found.",
        )),
        (Some(sdk), Some(claim)) if sdk != claim.algorithm() => {
            Err(Error::invalid_request("Value for x-amz-sdk-checksum-algorithm header is invalid."))
        }
        (_, claim) => Ok(claim),
    }
}

fn trailer_algorithm(head: &Head<'_>, hash: PayloadHash) -> Result<Option<Algorithm>> {
    let Some(name) = head.single("x-amz-trailer")? else {
        return Ok(None);
    };
    let invalid = || Error::invalid_request("The value specified in the x-amz-trailer header is not supported");
    let algorithm = checksum::algorithm_of_header(name).ok_or_else(invalid)?;
    if hash.has_trailer() { Ok(Some(algorithm)) } else { Err(invalid()) }
}

/// How the signature binds the body: handed out by `sigv4::verify`, consumed by `BodyCheck::new`.
#[derive(Debug)]
pub struct BodyRule {
    pub(crate) hash: PayloadHash,
    /// There when `hash` is `ChunksSigned`.
    pub(crate) signer: Option<ChunkSigner>,
}

impl BodyRule {
    pub fn hash(&self) -> PayloadHash {
        self.hash
    }
}

/// Digests of a payload that whoever stored it has computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// For its tag.
    pub md5: [u8; 16],
    /// There when `BodyCheck::leave_sha256` asked for it.
    pub sha256: Option<[u8; 32]>,
}

/// Follows one body from its first byte to its last and decides whether it is what the head said.
#[derive(Debug)]
pub struct BodyCheck {
    plan: BodyPlan,
    seen: u64,
    decoder: Option<Decoder>,
    sha256: Option<PayloadSha256>,
    checksum: Option<(Algorithm, HasherRunning)>,
}

impl BodyCheck {
    /// `compute` asks for a checksum that the client did not send, for instance the one of its upload.
    pub fn new(plan: &BodyPlan, rule: BodyRule, compute: Option<Algorithm>) -> BodyCheck {
        let expected_trailer = match plan.claim {
            Some(Claim::Trailer(algorithm)) => Some(checksum::header_name(algorithm)),
            Some(Claim::Value(..)) | None => None,
        };
        let decoder = match rule.hash {
            PayloadHash::ChunksSigned { trailer } => {
                Some(Decoder::new(plan.length, rule.signer, trailer, expected_trailer))
            }
            PayloadHash::ChunksUnsigned => Some(Decoder::new(plan.length, None, true, expected_trailer)),
            PayloadHash::Literal(_) | PayloadHash::Unsigned => None,
        };
        let sha256 = match rule.hash {
            PayloadHash::Literal(expect) => Some(PayloadSha256 { expect, running: Some(sha256::State::new()) }),
            PayloadHash::Unsigned | PayloadHash::ChunksSigned { .. } | PayloadHash::ChunksUnsigned => None,
        };
        let algorithm = plan.claim.map(Claim::algorithm).or(compute);
        let checksum = algorithm.map(|algorithm| (algorithm, HasherRunning(algorithm.new_hasher())));
        BodyCheck { plan: *plan, seen: 0, decoder, sha256, checksum }
    }

    /// Takes the next bytes of the wire, all of them; moves the payload among them to the front of `wire` and returns
    /// its length. Costs one pass per digest demanded; does not allocate for payload.
    pub fn advance(&mut self, wire: &mut [u8]) -> Result<usize> {
        let len = match &mut self.decoder {
            Some(decoder) => decoder.decode(wire)?,
            None => wire.len(),
        };
        let payload = &wire[..len];
        self.seen += len as u64;
        if self.seen > self.plan.length {
            return Err(Error::new(Code::IncompleteBody));
        }
        if let Some(PayloadSha256 { running: Some(running), .. }) = &mut self.sha256 {
            running.update(payload);
        }
        if let Some((_, hasher)) = &mut self.checksum {
            hasher.0.update(payload);
        }
        Ok(len)
    }

    /// Stops computing the payload's SHA-256 here. True if one is demanded and was computed here until now: then the caller owes
    /// it to `finish`. Before the first byte.
    pub fn leave_sha256(&mut self) -> bool {
        assert_eq!(self.seen, 0, "nothing was hashed yet");
        self.sha256.as_mut().is_some_and(|sha256| sha256.running.take().is_some())
    }

    /// Decides after the last byte. Returns the payload's checksum when one was demanded or asked for.
    pub fn finish(self, digests: &Digests) -> Result<Option<Checksum>> {
        let md5 = &digests.md5;
        if self.seen != self.plan.length {
            return Err(Error::new(Code::IncompleteBody)
                .field("NumberBytesExpected", self.plan.length.to_string())
                .field("NumberBytesProvided", self.seen.to_string()));
        }
        let trailer = match self.decoder {
            Some(decoder) => decoder.finish()?,
            None => None,
        };
        if let Some(PayloadSha256 { expect, running }) = self.sha256 {
            let computed = running
                .map(sha256::State::finish)
                .or(digests.sha256)
                .expect("whoever took it with `leave_sha256` gives it");
            if !equal_constant_time(&computed, &expect) {
                return Err(Error::new(Code::ContentSha256Mismatch)
                    .field("ClientComputedContentSHA256", codec::hex::encode(&expect))
                    .field("S3ComputedContentSHA256", codec::hex::encode(&computed)));
            }
        }
        if self.plan.content_md5.is_some_and(|expect| expect != *md5) {
            return Err(Error::with(Code::BadDigest, "The Content-MD5 you specified did not match what we received.")
                .field("CalculatedDigest", base64::encode(md5)));
        }
        let Some((algorithm, hasher)) = self.checksum else {
            return Ok(None);
        };
        let computed = hasher.0.finish();
        let expect = match self.plan.claim {
            Some(Claim::Value(_, digest)) => Some(digest),
            Some(Claim::Trailer(_)) => {
                let value = trailer.ok_or(Code::MalformedTrailer)?;
                let parsed = checksum::parse_digest(algorithm, &value);
                Some(parsed.ok_or_else(|| {
                    let header = checksum::header_name(algorithm);
                    Error::invalid_request(format!("Value for {header} trailing header is invalid."))
                })?)
            }
            None => None,
        };
        if expect.is_some_and(|expect| expect != computed) {
            let name = checksum::wire_name(algorithm);
            return Err(Error::with(
                Code::BadDigest,
                format!("The {name} you specified did not match the calculated checksum."),
            ));
        }
        Ok(Some(Checksum::full(algorithm, computed)))
    }
}

/// The SHA-256 that the payload must have.
struct PayloadSha256 {
    expect: [u8; 32],
    /// `None`: somebody else computes it.
    running: Option<sha256::State>,
}

// The hashers of codec say nothing in `Debug`; these do not either.
struct HasherRunning(Hasher);

impl std::fmt::Debug for PayloadSha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256")
    }
}

impl std::fmt::Debug for HasherRunning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

/// Checks an XML body that is wholly in memory and cuts it down to its payload.
pub fn check_document(plan: &BodyPlan, rule: BodyRule, wire: &mut Vec<u8>) -> Result<()> {
    let mut check = BodyCheck::new(plan, rule, None);
    let len = check.advance(wire)?;
    wire.truncate(len);
    let digest = Algorithm::Md5.digest(wire);
    let md5 = digest.as_slice().try_into().expect("an MD5 is 16 bytes");
    check.finish(&Digests { md5, sha256: None }).map(|_| ())
}

#[cfg(test)]
mod tests;

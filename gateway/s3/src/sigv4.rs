//! Signature V4: who sent a request, and how its body is bound to it.
//!
//! The result of `verify` is a principal's access key or the explicit `Anonymous`. A request with any trace of a
//! signature, however broken, is never anonymous.

mod canonical;
mod credential;
mod key;
mod sign;

pub use canonical::canonical_request;
pub use credential::Scope;
pub use key::SigningKey;
pub use sign::{Signed as SignedRequest, Signer};

use codec::checksum::{equal_constant_time, sha256};
use codec::hex;

use crate::body::{BodyRule, PayloadHash};
use crate::chunked::ChunkSigner;
use crate::date;
use crate::error::{Code, Error, Result};
use crate::head::Head;
use crate::query::Query;
use credential::{Claimed, Via};

/// How far a client's clock may be off: 15 minutes.
pub const SKEW_SECONDS_MAX: u64 = 15 * 60;
/// Longest life of a presigned URL: 7 days.
pub const PRESIGNED_SECONDS_MAX: u64 = 604_800;
/// The only service a request to S3 may be signed for.
pub const SERVICE: &str = "s3";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What every scope ends with.
const TERMINATOR: &str = "aws4_request";

/// How a signature came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthKind {
    Header,
    Presigned,
}

/// A request whose signature is right.
#[derive(Debug)]
pub struct Verified {
    pub access_key: String,
    pub kind: AuthKind,
    /// When it was signed, in Unix seconds.
    pub signed_at: u64,
    pub body: BodyRule,
}

/// Who sent a request.
#[derive(Debug)]
pub enum Authentication {
    /// There is no trace of a signature.
    Anonymous(BodyRule),
    Verified(Verified),
}

impl Authentication {
    /// The access key and the rule of the body.
    pub fn into_parts(self) -> (Option<String>, BodyRule) {
        match self {
            Authentication::Anonymous(body) => (None, body),
            Authentication::Verified(verified) => (Some(verified.access_key), verified.body),
        }
    }
}

/// Verifies the signature of `head` at `now` (Unix seconds) for a server of `region`. `lookup` gives the signing key
/// of a scope, `None` for an unknown access key; it may keep keys per scope, deriving one costs four HMACs.
pub fn verify(
    head: &Head<'_>,
    query: &Query,
    now: u64,
    region: &str,
    lookup: impl FnOnce(&Scope) -> Option<SigningKey>,
) -> Result<Authentication> {
    let Some(claimed) = credential::read(head, query)? else {
        return anonymous(head).map(Authentication::Anonymous);
    };
    let kind = match claimed.via {
        Via::Header => AuthKind::Header,
        Via::Query { .. } => AuthKind::Presigned,
    };
    check_scope(&claimed, region)?;
    check_time(&claimed, now)?;
    check_signed_headers(head, &claimed)?;
    if let Some(token) = claimed.session_token {
        // There are no temporary credentials yet, so no token can be right.
        return Err(Error::new(Code::InvalidToken).field("Token-0", token));
    }
    let (hash, hash_text) = payload_hash(head, query, kind)?;
    let key = lookup(&claimed.scope).ok_or_else(|| {
        Error::new(Code::InvalidAccessKeyId).field("AWSAccessKeyId", claimed.scope.access_key.clone())
    })?;

    let canonical = canonical_request(head, query, &claimed.signed_headers, hash_text)?;
    let timestamp = date::basic(claimed.signed_at);
    let string_to_sign = string_to_sign(&timestamp, &claimed.scope.text(), &canonical);
    let signature = hex::encode(&key.sign(string_to_sign.as_bytes()));
    if !equal_constant_time(signature.as_bytes(), claimed.signature.as_bytes()) {
        return Err(Error::new(Code::SignatureDoesNotMatch)
            .field("AWSAccessKeyId", claimed.scope.access_key)
            .field("StringToSign", string_to_sign)
            .field("SignatureProvided", claimed.signature)
            .field("CanonicalRequest", canonical));
    }
    let signer = matches!(hash, PayloadHash::ChunksSigned { .. })
        .then(|| ChunkSigner::new(key, &timestamp, &claimed.scope.text(), &signature));
    let body = BodyRule { hash, signer };
    let Claimed { scope, signed_at, .. } = claimed;
    Ok(Authentication::Verified(Verified { access_key: scope.access_key, kind, signed_at, body }))
}

fn anonymous(head: &Head<'_>) -> Result<BodyRule> {
    let hash = PayloadHash::from_head(head)?.unwrap_or(PayloadHash::Unsigned);
    if matches!(hash, PayloadHash::ChunksSigned { .. }) {
        return Err(Error::with(Code::AccessDenied, "Signed chunks need a signed request"));
    }
    Ok(BodyRule { hash, signer: None })
}

fn string_to_sign(timestamp: &str, scope: &str, canonical: &str) -> String {
    [ALGORITHM, timestamp, scope, &hex::encode(&sha256(canonical.as_bytes()))].join("\n")
}

fn check_scope(claimed: &Claimed, region: &str) -> Result<()> {
    let scope = &claimed.scope;
    let (code, subject) = match claimed.via {
        Via::Header => (Code::AuthorizationHeaderMalformed, "The authorization header is malformed"),
        Via::Query { .. } => (Code::AuthorizationQueryParametersError, "Error parsing the X-Amz-Credential parameter"),
    };
    if scope.service != SERVICE {
        let message = format!("{subject}; incorrect service \"{}\". This endpoint belongs to \"s3\".", scope.service);
        return Err(Error::with(code, message));
    }
    if scope.region != region {
        let message = format!("{subject}; the region '{}' is wrong; expecting '{region}'", scope.region);
        return Err(Error::with(code, message).field("Region", region));
    }
    if !date::basic(claimed.signed_at).starts_with(&scope.date) {
        let message = format!("{subject}; Invalid credential date \"{}\".", scope.date);
        return Err(Error::with(code, message));
    }
    Ok(())
}

fn check_time(claimed: &Claimed, now: u64) -> Result<()> {
    let server_time = || date::iso8601(now.saturating_mul(1_000));
    match claimed.via {
        Via::Header => {
            if claimed.signed_at.abs_diff(now) > SKEW_SECONDS_MAX {
                return Err(Error::new(Code::RequestTimeTooSkewed)
                    .field("RequestTime", date::basic(claimed.signed_at))
                    .field("ServerTime", server_time())
                    .field("MaxAllowedSkewMilliseconds", (SKEW_SECONDS_MAX * 1_000).to_string()));
            }
        }
        Via::Query { lifetime } => {
            if claimed.signed_at > now + SKEW_SECONDS_MAX {
                return Err(
                    Error::with(Code::AccessDenied, "Request is not valid yet").field("ServerTime", server_time())
                );
            }
            let expires = claimed.signed_at + lifetime;
            if now > expires {
                return Err(Error::with(Code::AccessDenied, "Request has expired")
                    .field("X-Amz-Expires", lifetime.to_string())
                    .field("Expires", date::iso8601(expires * 1_000))
                    .field("ServerTime", server_time()));
            }
        }
    }
    Ok(())
}

/// `host` and every `x-amz-*` header that was sent must be among the signed ones: an unsigned one could have been
/// added by anyone on the way.
fn check_signed_headers(head: &Head<'_>, claimed: &Claimed) -> Result<()> {
    let is_signed = |name: &str| claimed.signed_headers.iter().any(|signed| signed.eq_ignore_ascii_case(name));
    let unsigned = head.headers.iter().map(|(name, _)| *name).chain(["host"]).find(|name| {
        let prefix = name.get(..6).is_some_and(|prefix| prefix.eq_ignore_ascii_case("x-amz-"));
        (prefix || name.eq_ignore_ascii_case("host")) && !is_signed(name)
    });
    match unsigned {
        Some(name) => {
            Err(Error::with(Code::AccessDenied, "There were headers present in the request which were not signed")
                .field("HeadersNotSigned", name.to_ascii_lowercase()))
        }
        None => Ok(()),
    }
}

/// What the body must hash to, and the text that stands for it in the canonical request.
fn payload_hash<'a>(head: &Head<'a>, query: &'a Query, kind: AuthKind) -> Result<(PayloadHash, &'a str)> {
    let name = "x-amz-content-sha256";
    let unsigned = "UNSIGNED-PAYLOAD";
    let text = match (head.single(name)?, kind) {
        (Some(text), _) => text,
        (None, AuthKind::Header) => {
            return Err(Error::invalid_request("Missing required header for this request: x-amz-content-sha256"));
        }
        (None, AuthKind::Presigned) => query.get_filled("X-Amz-Content-Sha256").unwrap_or(unsigned),
    };
    Ok((PayloadHash::parse(text)?, text))
}

#[cfg(test)]
mod tests;

//! The client's side: signing requests, for replication and for tests.

use codec::hex;

use super::{ALGORITHM, SERVICE, Scope, SigningKey, canonical_request, string_to_sign};
use crate::chunked::ChunkSigner;
use crate::date;
use crate::error::Result;
use crate::head::Head;
use crate::query::{Query, encode_into};

/// Signs requests of one access key at one time.
pub struct Signer {
    scope: Scope,
    key: SigningKey,
    timestamp: String,
}

/// Headers to send beside those that were signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    pub authorization: String,
    pub signature: String,
}

impl Signer {
    /// `now` in Unix seconds.
    pub fn new(access_key: &str, secret: &str, region: &str, now: u64) -> Signer {
        let timestamp = date::basic(now);
        let date = timestamp[..8].to_owned();
        let key = SigningKey::derive(secret, &date, region, SERVICE);
        let scope =
            Scope { access_key: access_key.to_owned(), date, region: region.to_owned(), service: SERVICE.to_owned() };
        Signer { scope, key, timestamp }
    }

    /// The value of `x-amz-date`, which the head to be signed must carry.
    pub fn timestamp(&self) -> &str {
        &self.timestamp
    }

    /// Signs all headers of `head`, which must hold `host`, `x-amz-date` and `x-amz-content-sha256`.
    pub fn sign(&self, head: &Head<'_>) -> Result<Signed> {
        let mut names: Vec<String> = head.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort_unstable();
        names.dedup();
        let hash = head.text("x-amz-content-sha256")?.unwrap_or("");
        let query = Query::parse(head.raw_query())?;
        let signature = self.signature(&canonical_request(head, &query, &names, hash)?);
        let authorization = format!(
            "{ALGORITHM} Credential={}/{},SignedHeaders={},Signature={signature}",
            self.scope.access_key,
            self.scope.text(),
            names.join(";")
        );
        Ok(Signed { authorization, signature })
    }

    /// The target of a presigned URL for `head`, whose headers the client must send, valid for `lifetime` seconds.
    pub fn presign(&self, head: &Head<'_>, lifetime: u64) -> Result<String> {
        let mut names: Vec<String> = head.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort_unstable();
        names.dedup();
        let mut target = head.target.to_owned();
        let mut separator = if target.contains('?') { '&' } else { '?' };
        for (name, value) in [
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", &format!("{}/{}", self.scope.access_key, self.scope.text())),
            ("X-Amz-Date", &self.timestamp),
            ("X-Amz-Expires", &lifetime.to_string()),
            ("X-Amz-SignedHeaders", &names.join(";")),
        ] {
            target.push(separator);
            target.push_str(name);
            target.push('=');
            encode_into(&mut target, value.as_bytes(), false);
            separator = '&';
        }
        let head = Head { target: &target, ..*head };
        let query = Query::parse(head.raw_query())?;
        let signature = self.signature(&canonical_request(&head, &query, &names, "UNSIGNED-PAYLOAD")?);
        Ok(format!("{target}&X-Amz-Signature={signature}"))
    }

    /// Signs the chunks of a body whose head has `signature`.
    pub fn chunks(&self, signature: &str) -> ChunkSigner {
        ChunkSigner::new(self.key.clone(), &self.timestamp, &self.scope.text(), signature)
    }

    fn signature(&self, canonical: &str) -> String {
        let string_to_sign = string_to_sign(&self.timestamp, &self.scope.text(), canonical);
        hex::encode(&self.key.sign(string_to_sign.as_bytes()))
    }
}

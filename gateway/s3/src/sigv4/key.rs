//! Signing keys: derived from a secret for one day, region and service.

use codec::checksum::hmac_sha256;

/// A key that signs within one scope. It is not the secret, and is as good as it for a day.
#[derive(Clone)]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    /// Four HMACs. `date` is `YYYYMMDD`.
    pub fn derive(secret: &str, date: &str, region: &str, service: &str) -> SigningKey {
        let date = hmac_sha256(format!("AWS4{secret}").as_bytes(), date.as_bytes());
        let region = hmac_sha256(&date, region.as_bytes());
        let service = hmac_sha256(&region, service.as_bytes());
        SigningKey(hmac_sha256(&service, super::TERMINATOR.as_bytes()))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 32] {
        hmac_sha256(&self.0, message)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

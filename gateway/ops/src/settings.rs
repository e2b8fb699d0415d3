//! What operations keep in the opaque settings of buckets and uploads. Small, versioned; released versions never change.
//!
//! Bucket: `version: u8 = 2, owner len: u8, owner, region len: u8, region`, then the bucket's configurations: see
//! `entries`. Version 1 ends before them.
//! Upload: `version: u8 = 1, checksum type: u8 (0 none, 1 full object, 2 composite), algorithm's name to the end`.

mod entries;

use s3::checksum::{self, Algorithm, ChecksumType};

pub(crate) use entries::{Entries, POLICY, SETTINGS_BYTES_MAX};

const VERSION: u8 = 1;
/// The first version of a bucket's settings that holds configurations.
const VERSION_WITH_ENTRIES: u8 = 2;
const FULL_OBJECT: u8 = 1;
const COMPOSITE: u8 = 2;

/// Settings of a bucket, but for its configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BucketSettings {
    /// Id of the account it belongs to.
    pub(crate) owner: String,
    pub(crate) region: String,
}

impl BucketSettings {
    /// Of a bucket without configurations. Names are cut at 255 bytes; configuration allows no such lengths.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION_WITH_ENTRIES];
        for text in [&self.owner, &self.region] {
            let text = &text.as_bytes()[..text.len().min(usize::from(u8::MAX))];
            bytes.push(text.len() as u8);
            bytes.extend(text);
        }
        bytes
    }

    /// `None` for what a later release wrote. Configurations are not looked at: they may be long.
    pub(crate) fn decode(bytes: &[u8]) -> Option<BucketSettings> {
        let (settings, _) = BucketSettings::split(bytes)?;
        Some(settings)
    }

    /// The settings, and the bytes of the configurations behind them.
    fn split(bytes: &[u8]) -> Option<(BucketSettings, &[u8])> {
        let (&version, rest) = bytes.split_first()?;
        let (owner, rest) = split_text(rest)?;
        let (region, rest) = split_text(rest)?;
        let is_whole = match version {
            VERSION => rest.is_empty(),
            VERSION_WITH_ENTRIES => true,
            _ => false,
        };
        is_whole.then_some((BucketSettings { owner, region }, rest))
    }
}

fn split_text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(len))?;
    Some((String::from_utf8(text.to_vec()).ok()?, rest))
}

/// The checksum an upload was begun with; `None`: the client named none.
pub(crate) type UploadChecksum = Option<(Algorithm, ChecksumType)>;

pub(crate) fn encode_upload(checksum: UploadChecksum) -> Vec<u8> {
    let Some((algorithm, kind)) = checksum else {
        return vec![VERSION, 0];
    };
    let kind = match kind {
        ChecksumType::FullObject => FULL_OBJECT,
        ChecksumType::Composite => COMPOSITE,
    };
    let mut bytes = vec![VERSION, kind];
    bytes.extend(checksum::wire_name(algorithm).as_bytes());
    bytes
}

/// `None` for what a later release wrote.
pub(crate) fn decode_upload(bytes: &[u8]) -> Option<UploadChecksum> {
    let (&[version, kind], name) = bytes.split_first_chunk()?;
    let kind = match (version, kind) {
        (VERSION, 0) => return name.is_empty().then_some(None),
        (VERSION, FULL_OBJECT) => ChecksumType::FullObject,
        (VERSION, COMPOSITE) => ChecksumType::Composite,
        _ => return None,
    };
    let algorithm = checksum::parse_algorithm(std::str::from_utf8(name).ok()?)?;
    Some(Some((algorithm, kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_settings_have_golden_bytes_and_read_back() {
        let settings = BucketSettings { owner: "own".into(), region: "eu-1".into() };
        assert_eq!(settings.encode(), b"\x02\x03own\x04eu-1");
        assert_eq!(BucketSettings::decode(&settings.encode()), Some(settings.clone()));
        // What the release before configurations wrote.
        assert_eq!(BucketSettings::decode(b"\x01\x03own\x04eu-1"), Some(settings));
        for bytes in [&b""[..], b"\x03\x03own\x04eu-1", b"\x01\x03own\x04eu-", b"\x01\x03own\x04eu-1x", b"\x02"] {
            assert_eq!(BucketSettings::decode(bytes), None);
        }
    }

    #[test]
    fn upload_settings_have_golden_bytes_and_read_back() {
        let crc = Some((Algorithm::Crc32, ChecksumType::Composite));
        assert_eq!(encode_upload(crc), b"\x01\x02CRC32");
        assert_eq!(encode_upload(None), b"\x01\x00");
        for algorithm in Algorithm::ALL {
            for &kind in checksum::types_of(algorithm) {
                let upload = Some((algorithm, kind));
                assert_eq!(decode_upload(&encode_upload(upload)), Some(upload));
            }
        }
        assert_eq!(decode_upload(&encode_upload(None)), Some(None));
        for bytes in [&b""[..], b"\x01", b"\x02\x00", b"\x01\x03CRC32", b"\x01\x01CRC99"] {
            assert_eq!(decode_upload(bytes), None);
        }
    }
}

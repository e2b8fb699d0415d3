//! Object checksums: names on the wire, values, types, and how a multipart object's checksum comes from its parts'.

use crate::base64;
use crate::error::{Code, Error, Result};
use crate::head::Head;

pub use codec::checksum::{Algorithm, Digest};

/// Whether a multipart object's checksum covers its bytes or its parts' checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumType {
    FullObject,
    Composite,
}

impl ChecksumType {
    pub fn wire_name(self) -> &'static str {
        match self {
            ChecksumType::FullObject => "FULL_OBJECT",
            ChecksumType::Composite => "COMPOSITE",
        }
    }

    /// Reads `x-amz-checksum-type`.
    pub fn from_head(head: &Head<'_>) -> Result<Option<ChecksumType>> {
        match head.single("x-amz-checksum-type")? {
            None => Ok(None),
            Some("FULL_OBJECT") => Ok(Some(ChecksumType::FullObject)),
            Some("COMPOSITE") => Ok(Some(ChecksumType::Composite)),
            Some(_) => Err(Error::invalid_request("Value for x-amz-checksum-type header is invalid.")),
        }
    }
}

struct Names {
    algorithm: Algorithm,
    name: &'static str,
    header: &'static str,
    element: &'static str,
    /// Stored on drives: never given a second meaning.
    id: u8,
}

const NAMES: [Names; 10] = {
    const fn names(
        algorithm: Algorithm,
        name: &'static str,
        header: &'static str,
        element: &'static str,
        id: u8,
    ) -> Names {
        Names { algorithm, name, header, element, id }
    }
    [
        names(Algorithm::Crc32, "CRC32", "x-amz-checksum-crc32", "ChecksumCRC32", 1),
        names(Algorithm::Crc32c, "CRC32C", "x-amz-checksum-crc32c", "ChecksumCRC32C", 2),
        names(Algorithm::Crc64Nvme, "CRC64NVME", "x-amz-checksum-crc64nvme", "ChecksumCRC64NVME", 3),
        names(Algorithm::Sha1, "SHA1", "x-amz-checksum-sha1", "ChecksumSHA1", 4),
        names(Algorithm::Sha256, "SHA256", "x-amz-checksum-sha256", "ChecksumSHA256", 5),
        names(Algorithm::Sha512, "SHA512", "x-amz-checksum-sha512", "ChecksumSHA512", 6),
        names(Algorithm::Md5, "MD5", "x-amz-checksum-md5", "ChecksumMD5", 7),
        names(Algorithm::Xxh3, "XXHASH3", "x-amz-checksum-xxhash3", "ChecksumXXHASH3", 8),
        names(Algorithm::Xxh64, "XXHASH64", "x-amz-checksum-xxhash64", "ChecksumXXHASH64", 9),
        names(Algorithm::Xxh128, "XXHASH128", "x-amz-checksum-xxhash128", "ChecksumXXHASH128", 10),
    ]
};

fn names(algorithm: Algorithm) -> &'static Names {
    NAMES.iter().find(|names| names.algorithm == algorithm).expect("every algorithm has its names")
}

/// As in `x-amz-checksum-algorithm`: `CRC32`.
pub fn wire_name(algorithm: Algorithm) -> &'static str {
    names(algorithm).name
}

/// `x-amz-checksum-crc32`.
pub fn header_name(algorithm: Algorithm) -> &'static str {
    names(algorithm).header
}

/// `ChecksumCRC32`.
pub fn element_name(algorithm: Algorithm) -> &'static str {
    names(algorithm).element
}

/// Reads an algorithm's name as headers give it, in any case.
pub fn parse_algorithm(name: &str) -> Option<Algorithm> {
    NAMES.iter().find(|names| names.name.eq_ignore_ascii_case(name)).map(|names| names.algorithm)
}

/// The algorithm whose value header is `header`.
pub fn algorithm_of_header(header: &str) -> Option<Algorithm> {
    NAMES.iter().find(|names| names.header.eq_ignore_ascii_case(header)).map(|names| names.algorithm)
}

/// Reads a base64 digest of the algorithm's length.
pub fn parse_digest(algorithm: Algorithm, text: &str) -> Option<Digest> {
    let bytes = base64::decode(text)?;
    if bytes.len() == algorithm.digest_len() { Digest::from_slice(&bytes) } else { None }
}

/// Reads a base64 MD5 as `Content-MD5` gives it.
pub fn parse_md5(text: &str) -> Option<[u8; 16]> {
    base64::decode(text)?.try_into().ok()
}

/// The types an algorithm allows for multipart objects, the default first.
pub fn types_of(algorithm: Algorithm) -> &'static [ChecksumType] {
    match algorithm {
        Algorithm::Crc64Nvme => &[ChecksumType::FullObject],
        Algorithm::Crc32 | Algorithm::Crc32c => &[ChecksumType::Composite, ChecksumType::FullObject],
        // Digests of parts cannot be joined into the digest of the whole.
        Algorithm::Sha1
        | Algorithm::Sha256
        | Algorithm::Sha512
        | Algorithm::Md5
        | Algorithm::Xxh3
        | Algorithm::Xxh64
        | Algorithm::Xxh128 => &[ChecksumType::Composite],
    }
}

/// An object's checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    pub algorithm: Algorithm,
    pub kind: ChecksumType,
    pub digest: Digest,
}

impl Checksum {
    pub fn full(algorithm: Algorithm, digest: Digest) -> Checksum {
        Checksum { algorithm, kind: ChecksumType::FullObject, digest }
    }

    /// The value on the wire: base64, and `-parts` when composite.
    pub fn wire_value(&self, parts: Option<u16>) -> String {
        let mut text = base64::encode(self.digest.as_slice());
        if let (ChecksumType::Composite, Some(parts)) = (self.kind, parts) {
            text.push('-');
            text.push_str(&parts.to_string());
        }
        text
    }

    /// The value of `types::Attribute::Checksum`.
    pub fn to_attribute(&self) -> Vec<u8> {
        let kind = match self.kind {
            ChecksumType::FullObject => 0,
            ChecksumType::Composite => 1,
        };
        let mut bytes = vec![names(self.algorithm).id, kind];
        bytes.extend(self.digest.as_slice());
        bytes
    }

    /// Reads what `to_attribute` wrote; `None` for an algorithm of a later release.
    pub fn from_attribute(bytes: &[u8]) -> Option<Checksum> {
        let (&[id, kind], digest) = bytes.split_first_chunk()?;
        let algorithm = NAMES.iter().find(|names| names.id == id)?.algorithm;
        let kind = match kind {
            0 => ChecksumType::FullObject,
            1 => ChecksumType::Composite,
            _ => return None,
        };
        let digest = Digest::from_slice(digest).filter(|d| d.as_slice().len() == algorithm.digest_len())?;
        Some(Checksum { algorithm, kind, digest })
    }
}

/// The checksum of a multipart object from its parts' checksums and lengths, in part order.
/// `None` when `algorithm` cannot make `kind` or there are no parts. Cost: one hash of the digests, or about 10 us a
/// part for a full-object CRC.
pub fn of_parts(algorithm: Algorithm, kind: ChecksumType, parts: &[(Digest, u64)]) -> Option<Checksum> {
    let digest = match kind {
        ChecksumType::Composite => {
            let mut hasher = algorithm.new_hasher();
            parts.iter().for_each(|(digest, _)| hasher.update(digest.as_slice()));
            hasher.finish()
        }
        ChecksumType::FullObject => {
            let ((first, _), rest) = parts.split_first()?;
            rest.iter()
                .try_fold(*first, |sum, (digest, len)| codec::checksum::combine(algorithm, &sum, digest, *len))?
        }
    };
    types_of(algorithm).contains(&kind).then_some(Checksum { algorithm, kind, digest })
}

/// Reads the single `x-amz-checksum-<algorithm>` value header, or none. `composite` also takes `value-parts`, as
/// CompleteMultipartUpload sends it; the number of parts is returned beside.
pub fn value_of_head(head: &Head<'_>, composite: bool) -> Result<Option<(Algorithm, Digest, Option<u16>)>> {
    let mut found = None;
    for names in &NAMES {
        let Some(text) = head.single(names.header)? else {
            continue;
        };
        if found.is_some() {
            return Err(Error::invalid_request(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
        let invalid = || Error::invalid_request(format!("Value for {} header is invalid.", names.header));
        let (text, parts) = match text.rsplit_once('-') {
            Some((text, parts)) if composite => (text, Some(parts.parse().map_err(|_| invalid())?)),
            _ => (text, None),
        };
        let digest = parse_digest(names.algorithm, text).ok_or_else(invalid)?;
        found = Some((names.algorithm, digest, parts));
    }
    Ok(found)
}

/// Reads an algorithm header such as `x-amz-checksum-algorithm` or `x-amz-sdk-checksum-algorithm`.
pub fn algorithm_of_head(head: &Head<'_>, header: &str) -> Result<Option<Algorithm>> {
    let Some(name) = head.single(header)? else {
        return Ok(None);
    };
    match parse_algorithm(name) {
        Some(algorithm) => Ok(Some(algorithm)),
        None => Err(Error::with(
            Code::InvalidRequest,
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, \
             CRC64NVME, SHA1, SHA256, SHA512, MD5, XXHASH3, XXHASH64, XXHASH128]",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_has_a_known_value() {
        // Digests of "123456789" from the algorithms' own publications, as base64.
        let check = |algorithm: Algorithm, expect: &str| {
            let digest = algorithm.digest(b"123456789");
            assert_eq!(base64::encode(digest.as_slice()), expect, "{algorithm:?}");
            assert_eq!(parse_digest(algorithm, expect), Some(digest));
            assert_eq!(parse_algorithm(wire_name(algorithm)), Some(algorithm));
            assert_eq!(algorithm_of_header(header_name(algorithm)), Some(algorithm));
            assert_eq!(element_name(algorithm), format!("Checksum{}", wire_name(algorithm)));
        };
        check(Algorithm::Crc32, "y/Q5Jg==");
        check(Algorithm::Crc32c, "4waSgw==");
        check(Algorithm::Crc64Nvme, "rosUhgp5mIg=");
        check(Algorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE=");
        check(Algorithm::Md5, "JfnnlDI7RTiF9RgfG2JNCw==");
    }

    #[test]
    fn checksums_read_back_from_their_attribute() {
        for algorithm in Algorithm::ALL {
            for &kind in types_of(algorithm) {
                let checksum = Checksum { algorithm, kind, digest: algorithm.digest(b"x") };
                assert_eq!(Checksum::from_attribute(&checksum.to_attribute()), Some(checksum));
            }
        }
        let golden = Checksum::full(Algorithm::Crc32, Algorithm::Crc32.digest(b"123456789"));
        assert_eq!(golden.to_attribute(), b"\x01\x00\xcb\xf4\x39\x26");
        assert_eq!(Checksum::from_attribute(b"\x01\x00\xcb"), None);
        assert_eq!(Checksum::from_attribute(b"\x77\x00\xcb"), None);
    }

    #[test]
    fn a_full_object_crc_of_parts_is_the_crc_of_the_whole_and_a_composite_hashes_digests() {
        let parts = [b"1234".as_slice(), b"56789"];
        for algorithm in Algorithm::ALL {
            let digests = parts.map(|part| (algorithm.digest(part), part.len() as u64));
            if types_of(algorithm).contains(&ChecksumType::FullObject) {
                let whole = of_parts(algorithm, ChecksumType::FullObject, &digests).unwrap();
                assert_eq!(whole.digest, algorithm.digest(b"123456789"), "{algorithm:?}");
                assert_eq!(whole.wire_value(Some(2)), base64::encode(whole.digest.as_slice()));
            } else {
                assert_eq!(of_parts(algorithm, ChecksumType::FullObject, &digests), None);
            }
            if let Some(composite) = of_parts(algorithm, ChecksumType::Composite, &digests) {
                let joined = [digests[0].0.as_slice(), digests[1].0.as_slice()].concat();
                assert_eq!(composite.digest, algorithm.digest(&joined));
                assert!(composite.wire_value(Some(2)).ends_with("-2"));
            }
        }
        assert_eq!(of_parts(Algorithm::Crc32, ChecksumType::FullObject, &[]), None);
    }

    #[test]
    fn only_one_checksum_header_of_the_right_length_is_taken() {
        let value = |headers: &[(&str, &[u8])], composite| {
            value_of_head(&Head { method: "PUT", target: "/", headers }, composite)
        };
        let crc: (&str, &[u8]) = ("x-amz-checksum-crc32", b"y/Q5Jg==");
        assert!(value(&[crc], false).unwrap().is_some());
        assert!(value(&[crc, ("x-amz-checksum-crc32c", b"4waSgw==")], false).is_err());
        assert!(value(&[("x-amz-checksum-crc32", b"y/Q5")], false).is_err());
        assert!(value(&[("x-amz-checksum-crc32", b"y/Q5Jg==-2")], false).is_err());
        let composite = value(&[("x-amz-checksum-crc32", b"y/Q5Jg==-2")], true).unwrap().unwrap();
        assert_eq!(composite.2, Some(2));
        assert!(
            value(&[("x-amz-checksum-algorithm", b"CRC32"), ("x-amz-checksum-type", b"COMPOSITE")], false)
                .unwrap()
                .is_none()
        );
    }
}

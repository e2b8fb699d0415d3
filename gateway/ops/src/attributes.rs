//! GetObjectAttributes.

use s3::Error;
use s3::checksum::{Checksum, ChecksumType};
use s3::reply::{ObjectFacts, ObjectPart, ObjectPartsPage};
use s3::request::GetObjectAttributes;
use store::PartEntry;
use types::PartNumber;

use crate::Ops;
use crate::bucket::bucket;
use crate::gate::Authorized;
use crate::object::{facts, find};

/// What is known of an object, and a page of its parts when it has any. The caller shows what was selected.
pub async fn get_object_attributes(
    ops: &Ops,
    request: &Authorized<GetObjectAttributes>,
) -> Result<(ObjectFacts, Option<ObjectPartsPage>), Error> {
    let bucket = bucket(ops, &request.bucket)?;
    let record = find(ops, &bucket, &request.key, request.version).await?;
    let facts = facts(&record, bucket.versioning);
    let page = page(&facts, &record.parts, request.part_number_marker, request.max_parts);
    Ok((facts, page))
}

fn page(facts: &ObjectFacts, parts: &[PartEntry], marker: u32, max_parts: u32) -> Option<ObjectPartsPage> {
    let total = u16::try_from(parts.len()).ok().filter(|total| *total > 0)?;
    let mut page =
        ObjectPartsPage { total, part_number_marker: marker, max_parts, truncated: false, parts: Vec::new() };
    // S3 lists the parts only where their checksums make up the object's.
    if facts.checksum.is_none_or(|checksum| checksum.kind != ChecksumType::Composite) {
        return Some(page);
    }
    let mut after = parts.iter().filter(|part| u32::from(part.number) > marker);
    page.parts.extend(after.by_ref().take(max_parts as usize).filter_map(|part| {
        let number = PartNumber::new(part.number.into())?;
        Some(ObjectPart { number, size: part.size, checksum: Checksum::from_attribute(&part.checksum) })
    }));
    page.truncated = after.next().is_some();
    Some(page)
}

#[cfg(test)]
mod tests {
    use s3::checksum::Algorithm;
    use types::{Attributes, Etag, Timestamp};

    use super::*;

    #[test]
    fn parts_are_shown_in_pages_and_only_of_composite_objects() {
        let crc = Checksum::full(Algorithm::Crc32, Algorithm::Crc32.digest(b"x"));
        let facts = |kind| ObjectFacts {
            etag: Etag::from_md5([0; 16]),
            modified: Timestamp(0),
            size: 60,
            attributes: Attributes::new(),
            checksum: Some(Checksum { kind, ..crc }),
            version: None,
        };
        let parts: Vec<PartEntry> =
            [2, 4, 6].map(|number| PartEntry { number, size: 20, checksum: crc.to_attribute() }).into();
        let composite = facts(ChecksumType::Composite);
        let check = |marker, max, expect: &[u16], truncated| {
            let page = page(&composite, &parts, marker, max).unwrap();
            let numbers: Vec<u16> = page.parts.iter().map(|part| part.number.value()).collect();
            assert_eq!((numbers.as_slice(), page.truncated, page.total), (expect, truncated, 3));
        };
        check(0, 1000, &[2, 4, 6], false);
        check(0, 2, &[2, 4], true);
        check(4, 2, &[6], false);
        check(9, 2, &[], false);
        check(0, 0, &[], true);
        assert_eq!(page(&composite, &[], 0, 10), None);
        let whole = page(&facts(ChecksumType::FullObject), &parts, 0, 10).unwrap();
        assert_eq!((whole.total, whole.parts.len()), (3, 0));
    }
}

//! GetObject and HeadObject.

use std::sync::Arc;

use rt::buf::Shared;
use s3::conditions::Verdict;
use s3::range::ByteRange;
use s3::reply::{ObjectFacts, ReadObject, Reply};
use s3::request::{GetObject, HeadObject};
use s3::{Code, Error};
use store::{Get, PartEntry, ReadError, Record};
use types::Versioning;

use crate::Ops;
use crate::bucket::bucket;
use crate::gate::Authorized;
use crate::object::{facts, find};
use crate::refusal::{refuse_read, senseless};

/// A read that was decided: what is told of the object, and which of its bytes are sent.
#[derive(Debug)]
pub struct Reading {
    facts: ObjectFacts,
    shown: Shown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// The client has it already.
    NotModified,
    Bytes {
        /// `None`: the whole object.
        range: Option<ByteRange>,
        /// Told when a part was asked for by its number.
        parts_count: Option<u16>,
    },
}

impl Reading {
    /// The head of the reply.
    pub fn render(&self, request: &GetObject) -> Reply {
        let (range, parts_count) = match self.shown {
            Shown::NotModified => (None, None),
            Shown::Bytes { range, parts_count } => (range, parts_count),
        };
        let read = ReadObject {
            facts: &self.facts,
            range,
            parts_count,
            overrides: &request.overrides,
            with_checksum: request.with_checksum,
        };
        match self.shown {
            Shown::NotModified => read.render_not_modified(),
            Shown::Bytes { .. } => read.render(),
        }
    }

    /// The bytes to be sent.
    fn bytes(&self) -> std::ops::Range<u64> {
        match self.shown {
            Shown::NotModified => 0..0,
            Shown::Bytes { range: Some(range), .. } => range.start..range.start + range.len,
            Shown::Bytes { range: None, .. } => 0..self.facts.size,
        }
    }
}

/// The bytes of a read on their way out. The first ones are there: what can fail before the head is sent has not failed.
pub struct Outgoing {
    first: Option<Shared>,
    get: Get,
}

impl Outgoing {
    /// The next bytes in order; `None` after the last. After an error the reply cannot be completed.
    pub async fn next(&mut self) -> Option<Result<Shared, Error>> {
        match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => Some(self.get.next().await?.map_err(refuse_read)),
        }
    }
}

/// GetObject. `None` instead of a body when no byte is to be sent.
pub async fn get_object(ops: &Ops, request: &Authorized<GetObject>) -> Result<(Reading, Option<Outgoing>), Error> {
    // Bytes may be moved between the look-up and the read: then the second look-up names their new place.
    let mut may_be_stale = true;
    loop {
        let (record, versioning) = look_up(ops, request).await?;
        let reading = decide(&record, versioning, request)?;
        let bytes = reading.bytes();
        if bytes.is_empty() {
            return Ok((reading, None));
        }
        let turn = ops.buffers_turn(bytes.end - bytes.start)?;
        let mut get = ops.store.read(&record, bytes);
        get.hurry();
        let first = get.next().await;
        drop(turn);
        match first {
            Some(Ok(first)) => return Ok((reading, Some(Outgoing { first: Some(first), get }))),
            Some(Err(ReadError::Stale)) if may_be_stale => may_be_stale = false,
            Some(Err(error)) => return Err(refuse_read(error)),
            None => return Err(senseless("a read without bytes")),
        }
    }
}

/// HeadObject.
pub async fn head_object(ops: &Ops, request: &Authorized<HeadObject>) -> Result<Reading, Error> {
    let (record, versioning) = look_up(ops, &request.0).await?;
    decide(&record, versioning, &request.0)
}

async fn look_up(ops: &Ops, request: &GetObject) -> Result<(Arc<Record>, Versioning), Error> {
    let bucket = bucket(ops, &request.bucket)?;
    Ok((find(ops, &bucket, &request.key, request.version).await?, bucket.versioning))
}

fn decide(record: &Record, versioning: Versioning, request: &GetObject) -> Result<Reading, Error> {
    let facts = facts(record, versioning);
    let shown = show(&facts, &record.parts, request)?;
    Ok(Reading { facts, shown })
}

/// Conditions first, then the part or the range: RFC 9110, 13.2.2.
fn show(facts: &ObjectFacts, parts: &[PartEntry], request: &GetObject) -> Result<Shown, Error> {
    match request.conditions.evaluate(&facts.etag, facts.modified.seconds()) {
        Verdict::Failed => return Err(Error::new(Code::PreconditionFailed)),
        Verdict::NotModified => return Ok(Shown::NotModified),
        Verdict::Proceed => {}
    }
    if let Some(part) = request.part {
        let range = part_range(facts.size, parts, part.value()).ok_or(Code::InvalidPartNumber)?;
        let parts_count = u16::try_from(parts.len()).ok().filter(|count| *count > 0);
        return Ok(Shown::Bytes { range: (range.len > 0).then_some(range), parts_count });
    }
    let range = request.range.map(|range| range.resolve(facts.size)).transpose()?;
    Ok(Shown::Bytes { range, parts_count: None })
}

/// The bytes of a part by its number. An object that was put whole is its own first part.
fn part_range(size: u64, parts: &[PartEntry], number: u16) -> Option<ByteRange> {
    if parts.is_empty() {
        return (number == 1).then_some(ByteRange { start: 0, len: size });
    }
    let mut start = 0;
    for part in parts {
        if part.number == number {
            return Some(ByteRange { start, len: part.size });
        }
        start += part.size;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_by_its_number_and_a_whole_object_is_part_one() {
        let part = |number, size| PartEntry { number, size, checksum: Vec::new() };
        let parts = [part(2, 10), part(5, 7), part(9, 3)];
        let check = |parts: &[PartEntry], number, expect: Option<(u64, u64)>| {
            let found = part_range(20, parts, number).map(|range| (range.start, range.len));
            assert_eq!(found, expect, "part {number} of {}", parts.len());
        };
        check(&parts, 2, Some((0, 10)));
        check(&parts, 5, Some((10, 7)));
        check(&parts, 9, Some((17, 3)));
        check(&parts, 1, None);
        check(&parts, 10, None);
        check(&[], 1, Some((0, 20)));
        check(&[], 2, None);
    }
}

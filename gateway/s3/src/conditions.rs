//! Conditional requests: parsing of the headers, and the verdict on reads after RFC 9110 section 13.2.2.

use types::{Etag, EtagSet, WriteCondition};

use crate::date;
use crate::error::{Code, Error, Result};
use crate::head::Head;

/// The conditions of a GET, a HEAD or a copy's source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadConditions {
    pub if_match: Option<EtagSet>,
    pub if_none_match: Option<EtagSet>,
    /// Unix seconds.
    pub if_modified_since: Option<u64>,
    /// Unix seconds.
    pub if_unmodified_since: Option<u64>,
}

/// What the conditions say of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Proceed,
    /// 304 for reads; a copy fails instead.
    NotModified,
    /// 412.
    Failed,
}

impl ReadConditions {
    /// Reads `If-Match` and its kin.
    pub fn from_head(head: &Head<'_>) -> Result<ReadConditions> {
        ReadConditions::named(head, ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"])
    }

    /// Reads `x-amz-copy-source-if-match` and its kin.
    pub fn of_copy_source(head: &Head<'_>) -> Result<ReadConditions> {
        let names = [
            "x-amz-copy-source-if-match",
            "x-amz-copy-source-if-none-match",
            "x-amz-copy-source-if-modified-since",
            "x-amz-copy-source-if-unmodified-since",
        ];
        ReadConditions::named(head, names)
    }

    fn named(head: &Head<'_>, names: [&str; 4]) -> Result<ReadConditions> {
        let [if_match, if_none_match, if_modified_since, if_unmodified_since] = names;
        // A date that cannot be read is no condition (RFC 9110, 13.1.3).
        let date = |name| -> Result<Option<u64>> { Ok(head.text(name)?.and_then(date::parse_http)) };
        Ok(ReadConditions {
            if_match: etags(head, if_match, Comparison::Strong)?,
            if_none_match: etags(head, if_none_match, Comparison::Weak)?,
            if_modified_since: date(if_modified_since)?,
            if_unmodified_since: date(if_unmodified_since)?,
        })
    }

    /// Decides for an object; `modified` in Unix seconds. A tag condition overrules the date condition of its side.
    pub fn evaluate(&self, etag: &Etag, modified: u64) -> Verdict {
        let fails = match (&self.if_match, self.if_unmodified_since) {
            (Some(set), _) => !set.contains(etag),
            (None, Some(date)) => modified > date,
            (None, None) => false,
        };
        if fails {
            return Verdict::Failed;
        }
        let unmodified = match (&self.if_none_match, self.if_modified_since) {
            (Some(set), _) => set.contains(etag),
            (None, Some(date)) => modified <= date,
            (None, None) => false,
        };
        if unmodified { Verdict::NotModified } else { Verdict::Proceed }
    }

    /// `evaluate` for a copy's source: whatever does not hold is `PreconditionFailed`.
    pub fn check_copy_source(&self, etag: &Etag, modified: u64) -> Result<()> {
        match self.evaluate(etag, modified) {
            Verdict::Proceed => Ok(()),
            Verdict::NotModified | Verdict::Failed => Err(Error::new(Code::PreconditionFailed)),
        }
    }
}

/// Reads `If-Match` and `If-None-Match` of a write.
pub fn write_condition(head: &Head<'_>) -> Result<WriteCondition> {
    Ok(WriteCondition {
        if_match: etags(head, "if-match", Comparison::Strong)?,
        if_none_match: etags(head, "if-none-match", Comparison::Weak)?,
    })
}

/// How a weak tag (`W/"..."`) compares: strongly, it equals nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Strong,
    Weak,
}

/// Reads one header of tags; several headers are one list.
pub fn etags(head: &Head<'_>, name: &str, comparison: Comparison) -> Result<Option<EtagSet>> {
    let mut found = None;
    for value in head.values(name) {
        let value = std::str::from_utf8(value).unwrap_or("");
        match (&mut found, parse_etags(value, comparison)) {
            (Some(EtagSet::OneOf(all)), EtagSet::OneOf(more)) => all.extend(more),
            (Some(EtagSet::Any), EtagSet::OneOf(_)) => {}
            (found, set) => *found = Some(set),
        }
    }
    Ok(found)
}

/// Reads tags separated by commas, with or without quotes, or `*`.
pub fn parse_etags(value: &str, comparison: Comparison) -> EtagSet {
    if value.trim() == "*" {
        return EtagSet::Any;
    }
    let tags = value.split(',').filter_map(|tag| {
        let tag = tag.trim();
        let tag = match tag.strip_prefix("W/") {
            Some(_) if comparison == Comparison::Strong => return None,
            Some(tag) => tag,
            None => tag,
        };
        parse_etag(tag)
    });
    EtagSet::OneOf(tags.collect())
}

/// Reads one tag with or without quotes.
pub fn parse_etag(text: &str) -> Option<Etag> {
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    Etag::parse(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "d41d8cd98f00b204e9800998ecf8427e";
    const OTHER: &str = "900150983cd24fb0d6963f7d28e17f72";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const EXACT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn verdict(headers: &[(&str, &str)]) -> Verdict {
        let headers: Vec<(&str, &[u8])> = headers.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
        let head = Head { method: "GET", target: "/", headers: &headers };
        ReadConditions::from_head(&head).unwrap().evaluate(&Etag::parse(TAG).unwrap(), 784_111_777)
    }

    #[test]
    fn conditions_are_judged_in_the_order_of_rfc_9110() {
        let check = |headers: &[(&str, &str)], expect| assert_eq!(verdict(headers), expect, "{headers:?}");
        let (quoted, weak) = (format!("\"{TAG}\""), format!("W/\"{TAG}\""));
        let list = format!("\"{OTHER}\", \"{TAG}\"");
        use Verdict::*;
        check(&[], Proceed);
        check(&[("If-Match", TAG)], Proceed);
        check(&[("If-Match", &quoted)], Proceed);
        check(&[("If-Match", &list)], Proceed);
        check(&[("If-Match", "*")], Proceed);
        check(&[("If-Match", &weak)], Failed);
        check(&[("If-Match", OTHER)], Failed);
        check(&[("If-Match", "\"ABCORZ\"")], Failed);
        check(&[("If-None-Match", &quoted)], NotModified);
        check(&[("If-None-Match", &weak)], NotModified);
        check(&[("If-None-Match", "*")], NotModified);
        check(&[("If-None-Match", "ABCORZ")], Proceed);
        check(&[("If-None-Match", OTHER), ("If-None-Match", TAG)], NotModified);
        check(&[("If-Modified-Since", BEFORE)], Proceed);
        check(&[("If-Modified-Since", EXACT)], NotModified);
        check(&[("If-Modified-Since", "nonsense")], Proceed);
        check(&[("If-Unmodified-Since", BEFORE)], Failed);
        check(&[("If-Unmodified-Since", EXACT)], Proceed);
        check(&[("If-Match", TAG), ("If-Unmodified-Since", BEFORE)], Proceed);
        check(&[("If-None-Match", TAG), ("If-Modified-Since", BEFORE)], NotModified);
        check(&[("If-None-Match", OTHER), ("If-Modified-Since", EXACT)], Proceed);
        check(&[("If-Match", OTHER), ("If-None-Match", TAG)], Failed);
    }

    #[test]
    fn a_copy_source_that_does_not_hold_is_a_failed_precondition() {
        let headers: [(&str, &[u8]); 1] = [("x-amz-copy-source-if-none-match", TAG.as_bytes())];
        let head = Head { method: "PUT", target: "/", headers: &headers };
        let conditions = ReadConditions::of_copy_source(&head).unwrap();
        let error = conditions.check_copy_source(&Etag::parse(TAG).unwrap(), 0).unwrap_err();
        assert_eq!(error.code, Code::PreconditionFailed);
    }
}

//! The canonical request: the one spelling of a request that both sides sign.

use std::borrow::Cow;

use crate::error::Result;
use crate::head::Head;
use crate::query::{self, Plus, Query};

/// Builds the canonical request. The path is encoded once and never normalised; the query is sorted by encoded name,
/// then value, and leaves out the signature itself; only `signed_headers` count, in the order given.
pub fn canonical_request(
    head: &Head<'_>,
    query: &Query,
    signed_headers: &[String],
    payload_hash: &str,
) -> Result<String> {
    let mut out = String::with_capacity(512);
    out.push_str(head.method);
    out.push('\n');
    query::encode_into(&mut out, &query::decode(head.raw_path(), Plus::IsPlus)?, true);
    out.push('\n');
    push_query(&mut out, query);
    out.push('\n');
    for name in signed_headers {
        out.push_str(name);
        out.push(':');
        for (index, value) in head.values(name).enumerate() {
            if index > 0 {
                out.push(',');
            }
            push_value(&mut out, value);
        }
        out.push('\n');
    }
    out.push('\n');
    for (index, name) in signed_headers.iter().enumerate() {
        if index > 0 {
            out.push(';');
        }
        out.push_str(name);
    }
    out.push('\n');
    out.push_str(payload_hash);
    Ok(out)
}

fn push_query(out: &mut String, query: &Query) {
    let encode = |text: &str| {
        let mut encoded = String::with_capacity(text.len() + 8);
        query::encode_into(&mut encoded, text.as_bytes(), false);
        encoded
    };
    let mut pairs: Vec<(String, String)> = query
        .iter()
        .filter(|parameter| parameter.name != "X-Amz-Signature")
        .map(|parameter| (encode(&parameter.name), encode(parameter.value.as_deref().unwrap_or(""))))
        .collect();
    pairs.sort_unstable();
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        out.push_str(value);
    }
}

/// Trims, collapses runs of blanks, and reads bytes that are not UTF-8 as Latin-1: the text their sender signed.
fn push_value(out: &mut String, value: &[u8]) {
    let text = match std::str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.iter().map(|&byte| char::from(byte)).collect()),
    };
    let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
    if let Some(word) = words.next() {
        out.push_str(word);
    }
    for word in words {
        out.push(' ');
        out.push_str(word);
    }
}

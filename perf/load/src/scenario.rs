//! The scenarios: which requests, and what their replies must be.

use crate::arguments::{Arguments, Scenario};
use crate::connection::Reply;
use crate::load::{self, Until};
use crate::report::Report;
use crate::request::{Request, Requests};

/// Requests that are the same each time are signed once, for so many keys at most.
const PREPARED_MAX: u64 = 16 * 1024;
/// Spreads an index over the keys: a large prime.
const STRIDE: u64 = 2_654_435_761;

pub(crate) fn run(arguments: &Arguments) -> Result<Report, String> {
    let mut requests = Requests::new(arguments);
    let by_time = Until::Time { warmup: arguments.warmup, measured: arguments.measured };
    let until = arguments.count.map_or(by_time, Until::Count);
    let key = |index: u64| format!("{}{index:08}", arguments.prefix);
    let size = arguments.size_bytes;
    match arguments.scenario {
        Scenario::MakeBucket => {
            load::run(arguments, Until::Count(1), |_| requests.plain("PUT", ""), |reply| expect(reply, 200))
        }
        Scenario::Fill => load::run(
            arguments,
            Until::Count(arguments.keys),
            |index| requests.put(&format!("/{}", key(index)), size, index),
            |reply| expect(reply, 200),
        ),
        Scenario::Put => load::run(
            arguments,
            until,
            |index| requests.put(&format!("/{}", key(index)), size, index),
            |reply| expect(reply, 200),
        ),
        Scenario::Get | Scenario::Head => {
            let is_get = arguments.scenario == Scenario::Get;
            let method = if is_get { "GET" } else { "HEAD" };
            let keys = arguments.keys;
            prepared(
                arguments,
                until,
                keys,
                |index| requests.plain(method, &format!("/{}", key(index))),
                |reply| {
                    expect(reply, 200)?;
                    if is_get && reply.body_len != size {
                        Err(format!("{} bytes came", reply.body_len))
                    } else {
                        Ok(())
                    }
                },
            )
        }
        Scenario::List => {
            let page = arguments.page;
            let starts = arguments.keys.saturating_sub(page).max(1);
            let tail = |index: u64| format!("?list-type=2&max-keys={page}&start-after={}", escape(&key(index)));
            prepared(arguments, until, starts, |index| requests.plain("GET", &tail(index)), |reply| expect(reply, 200))
        }
        Scenario::Delete => load::run(
            arguments,
            Until::Count(arguments.keys.div_ceil(arguments.page)),
            |index| {
                let first = index * arguments.page;
                let end = arguments.keys.min(first + arguments.page);
                let objects = (first..end).map(|n| format!("<Object><Key>{}</Key></Object>", key(n)));
                let body = format!("<Delete><Quiet>true</Quiet>{}</Delete>", objects.collect::<String>());
                requests.with_body("POST", "?delete", body.as_bytes())
            },
            |reply| {
                expect(reply, 200)?;
                if reply.body.windows(7).any(|w| w == b"<Error>") {
                    Err("a key was not deleted".to_owned())
                } else {
                    Ok(())
                }
            },
        ),
        Scenario::Upload => upload(arguments, &mut requests),
        Scenario::Download => load::run(
            arguments,
            Until::Count(arguments.count.unwrap_or(1)),
            |_| requests.plain("GET", &format!("/{}large", arguments.prefix)),
            |reply| {
                expect(reply, 200)?;
                if reply.body_len == size { Ok(()) } else { Err(format!("{} bytes came", reply.body_len)) }
            },
        ),
    }
}

/// Runs requests that are signed beforehand, so that signing takes nothing from the client's core meanwhile.
fn prepared(
    arguments: &Arguments,
    until: Until,
    keys: u64,
    mut request: impl FnMut(u64) -> Result<Request, String>,
    seen: impl FnMut(&Reply) -> Result<(), String>,
) -> Result<Report, String> {
    let step = keys.div_ceil(PREPARED_MAX);
    let ready = (0..keys / step).map(|n| request(n * step)).collect::<Result<Vec<_>, _>>()?;
    let pick = |index: u64| {
        let request = &ready[((index.wrapping_mul(STRIDE)) % ready.len() as u64) as usize];
        let (front, block) = (request.front.clone(), request.block.clone());
        Ok(Request { front, block, block_bytes: request.block_bytes, is_head: request.is_head })
    };
    load::run(arguments, until, pick, seen)
}

/// One object of `size_bytes` in parts. What is reported is the parts; creating and completing are not counted.
fn upload(arguments: &Arguments, requests: &mut Requests) -> Result<Report, String> {
    let tail = format!("/{}large", arguments.prefix);
    let created = one(arguments, requests.with_body("POST", &format!("{tail}?uploads"), b"")?)?;
    let id = between(&created, "<UploadId>", "</UploadId>").ok_or("no upload id in the reply")?.to_owned();
    let parts = arguments.size_bytes.div_ceil(arguments.part_bytes);
    let mut etags = vec![String::new(); parts as usize];
    let report = load::run(
        arguments,
        Until::Count(parts),
        |index| {
            let len = arguments.part_bytes.min(arguments.size_bytes - index * arguments.part_bytes);
            requests.put(&format!("{tail}?partNumber={}&uploadId={}", index + 1, escape(&id)), len, index)
        },
        |reply| {
            expect(reply, 200)?;
            etags[reply.index as usize] = reply.etag.clone().ok_or("a part without an ETag")?;
            Ok(())
        },
    )?;
    let listed = etags
        .iter()
        .enumerate()
        .map(|(index, etag)| format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", index + 1));
    let body = format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", listed.collect::<String>());
    one(arguments, requests.with_body("POST", &format!("{tail}?uploadId={}", escape(&id)), body.as_bytes())?)?;
    Ok(report)
}

/// One request that must succeed; its body.
fn one(arguments: &Arguments, request: Request) -> Result<String, String> {
    let mut request = Some(request);
    let mut body = Vec::new();
    let report = load::run(
        arguments,
        Until::Count(1),
        |_| request.take().ok_or_else(|| "asked twice".to_owned()),
        |reply| {
            body.clone_from(&reply.body);
            expect(reply, 200)
        },
    )?;
    match report.first_failure {
        Some(error) => Err(error),
        None => Ok(String::from_utf8_lossy(&body).into_owned()),
    }
}

fn expect(reply: &Reply, status: u16) -> Result<(), String> {
    if reply.status == status {
        return Ok(());
    }
    let body: String = String::from_utf8_lossy(&reply.body).chars().take(300).collect();
    Err(format!("status {}: {body}", reply.status))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

/// Percent-encodes all but the unreserved characters.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_two_marks_is_found_and_keys_are_escaped() {
        assert_eq!(between("<a><b>x</b></a>", "<b>", "</b>"), Some("x"));
        assert_eq!(between("<a>x", "<a>", "</a>"), None);
        assert_eq!(escape("key/1 ~"), "key%2F1%20~");
    }
}

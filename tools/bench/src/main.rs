//! `hafiz-bench`: load for any S3 endpoint, and what it measured.
//!
//! One thread for each processor, over sockets that do not block; what is sent is made without copying, and what is asked
//! again and again is signed once: the client should not be what is measured. Closed loop, or requests by the clock, whose
//! times begin when they were due.
#![forbid(unsafe_code)]

mod compare;
mod connection;
mod content;
mod flags;
mod objects;
mod plan;
mod random;
mod reply;
mod requests;
mod result;
mod scenario;
mod sign;
mod sizes;
mod stream;
mod tally;
mod task;
mod uploads;
mod usage;
mod worker;

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;

use result::{FORM, Repeat, RunResult};

const WRONG_COMMAND: u8 = 2;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("-h" | "--help" | "help") => {
            print!("{}", flags::usage());
            ExitCode::SUCCESS
        }
        Some("-V" | "--version") => {
            println!("hafiz-bench {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Some("compare") => compare(&words[1..]),
        _ => measure(&words),
    }
}

fn compare(paths: &[String]) -> ExitCode {
    let [before, after] = paths else { return wrong("compare: two files are asked for") };
    match compare::read(before).and_then(|before| Ok((before, compare::read(after)?))) {
        Ok((before, after)) => {
            print!("{}", compare::table(&before, &after));
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

fn measure(words: &[String]) -> ExitCode {
    let plan = match flags::parse(words, |name| std::env::var(name).ok()) {
        Ok(plan) => Arc::new(plan),
        Err(error) => return wrong(&format!("{error}\n\n{}", flags::usage())),
    };
    let repeats = match scenario::run(&plan) {
        Ok(repeats) => repeats,
        Err(error) => return failed(&error),
    };
    let has_failures = repeats.iter().any(|repeat| repeat.failed() > 0);
    if let Some(path) = &plan.json
        && let Err(error) = write(path, words, repeats)
    {
        return failed(&error);
    }
    if has_failures { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn write(path: &str, words: &[String], repeats: Vec<Repeat>) -> Result<(), String> {
    let command = format!("hafiz-bench {}", words.join(" "));
    let result = RunResult { form: FORM, command, version: env!("CARGO_PKG_VERSION").to_owned(), repeats };
    let text = serde_json::to_string(&result).map_err(|error| format!("write {path}: {error}"))?;
    fs::write(path, text + "\n").map_err(|error| format!("write {path}: {error}"))
}

fn wrong(error: &str) -> ExitCode {
    eprintln!("hafiz-bench: {error}");
    ExitCode::from(WRONG_COMMAND)
}

fn failed(error: &str) -> ExitCode {
    eprintln!("hafiz-bench: {error}");
    ExitCode::FAILURE
}

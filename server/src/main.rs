//! The `hafiz` binary: configuration, wiring, start and stop, command line.
//!
//! Duty: read what the operator wants, say plainly what cannot be, put the crates together, end in order.
//! Invariants: one table of settings feeds everything that names a setting; no password is ever a default; nothing is
//! printed that is secret, but for a new password, once, to a terminal.

mod accept;
mod admin;
mod banner;
mod braces;
mod cli;
mod credentials;
mod docs;
mod doctor;
mod inspect;
mod machine;
mod nearest;
mod offsite;
mod plan;
mod process;
mod recover;
mod remote;
mod restore;
mod serve;
mod settings;
mod trust;

use std::process::ExitCode;

use cli::{Command, Flags};
use settings::Settings;

// Why not the system's: docs/decisions/0005-allocator.md.
#[cfg(not(system_allocator))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a start that was refused.
const REFUSED: u8 = 1;
/// Exit code of a command line, variable or file that makes no sense.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Result<Vec<String>, _> = std::env::args_os().skip(1).map(|word| word.into_string()).collect();
    let Ok(arguments) = arguments else { return refuse_usage("an argument is not UTF-8") };
    match cli::parse(&arguments) {
        Ok(Command::Server(flags)) => with_settings(flags, serve::run),
        Ok(Command::Doctor(flags)) => with_settings(flags, |settings, _| doctor::run(settings)),
        Ok(Command::Inspect(inspection)) => inspect::run(&inspection),
        Ok(Command::Recover(recovery)) => {
            with_settings(recovery.flags.clone(), |settings, _| recover::run(&recovery, &settings))
        }
        Ok(Command::Restore(restoration)) => {
            with_settings(restoration.flags.clone(), |settings, _| restore::run(&restoration, &settings))
        }
        Ok(Command::Accept(acceptance)) => accept::run(&acceptance),
        Ok(Command::Ask(question)) => {
            with_settings(question.flags.clone(), |settings, _| admin::run(&question, &settings))
        }
        Ok(Command::DocsTuning(None)) => show(&docs::settings_section()),
        Ok(Command::DocsTuning(Some(file))) => match docs::rewrite(file.as_ref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refuse(&error),
        },
        Ok(Command::Version) => show(concat!("hafiz ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Help(topic)) => show(&cli::help(topic)),
        Err(error) => refuse_usage(&error),
    }
}

fn with_settings(flags: Flags, command: impl FnOnce(Settings, &[String]) -> ExitCode) -> ExitCode {
    let read = cli::gather(flags).and_then(|layers| Ok((Settings::read(&layers)?, layers.ignored)));
    match read {
        Ok((settings, ignored)) => command(settings, &ignored),
        Err(error) => refuse_usage(&error),
    }
}

fn show(text: &str) -> ExitCode {
    banner::say(text);
    ExitCode::SUCCESS
}

fn refuse(error: &str) -> ExitCode {
    eprintln!("hafiz: {error}");
    ExitCode::from(REFUSED)
}

fn refuse_usage(error: &str) -> ExitCode {
    eprintln!("hafiz: {error}");
    ExitCode::from(USAGE)
}

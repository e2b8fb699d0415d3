//! The command line: which command, which flags, which arguments. Means nothing yet; that is for the settings.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::accept::{self, Acceptance};
use crate::admin::{self, Question};
use crate::inspect::{self, Inspection};
use crate::nearest::suggestion;
use crate::recover::{self, Recovery};
use crate::restore::{self, Restoration};
use crate::settings::{Layers, Preset, SECTIONS, Setting, Shape, Source, TABLE, Typed, find};

/// What the user typed, as far as the command line says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Server(Flags),
    Doctor(Flags),
    Inspect(Inspection),
    Recover(Recovery),
    Restore(Restoration),
    Accept(Acceptance),
    /// To a running server.
    Ask(Question),
    /// Writes the generated part of docs/tuning.md: to standard output, or into the file.
    DocsTuning(Option<String>),
    Version,
    Help(Topic),
}

/// Settings by name.
pub(crate) type Flags = BTreeMap<&'static str, Typed>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    All,
    Server,
    Doctor,
    Inspect,
    Recover,
    Backup,
    Restore,
    Drive,
    Heal,
    Verify,
}

const COMMANDS: [&str; 12] = [
    "server", "doctor", "inspect", "recover", "backup", "restore", "drive", "heal", "verify", "docs", "version", "help",
];

/// Reads the arguments after the program's name.
///
/// Errors: one line for the user; the exit code is 2 then.
pub(crate) fn parse(arguments: &[String]) -> Result<Command, String> {
    let Some((command, rest)) = arguments.split_first() else { return Ok(Command::Help(Topic::All)) };
    let asks_for_help = rest.iter().take_while(|a| *a != "--").any(|a| a == "--help" || a == "-h");
    match command.as_str() {
        "server" if asks_for_help => Ok(Command::Help(Topic::Server)),
        "server" => settings(rest).map(Command::Server),
        "doctor" if asks_for_help => Ok(Command::Help(Topic::Doctor)),
        "doctor" => settings(rest).map(Command::Doctor),
        "inspect" if asks_for_help => Ok(Command::Help(Topic::Inspect)),
        "inspect" => inspect::parse(rest).map(Command::Inspect),
        "recover" if asks_for_help => Ok(Command::Help(Topic::Recover)),
        "recover" => recover::parse(rest).map(Command::Recover),
        "backup" if asks_for_help => Ok(Command::Help(Topic::Backup)),
        "restore" if asks_for_help => Ok(Command::Help(Topic::Restore)),
        "restore" if rest.iter().any(|a| a == "--accept") => accept::parse(rest).map(Command::Accept),
        "restore" => restore::parse(rest).map(Command::Restore),
        "drive" if asks_for_help => Ok(Command::Help(Topic::Drive)),
        "heal" if asks_for_help => Ok(Command::Help(Topic::Heal)),
        "verify" if asks_for_help => Ok(Command::Help(Topic::Verify)),
        "drive" | "heal" | "verify" | "backup" => admin::parse(command, rest).map(Command::Ask),
        "docs" => match rest {
            [page] if page == "tuning" => Ok(Command::DocsTuning(None)),
            [page, file] if page == "tuning" => Ok(Command::DocsTuning(Some(file.clone()))),
            _ => Err("write: hafiz docs tuning [FILE]".to_owned()),
        },
        "version" | "--version" | "-V" => Ok(Command::Version),
        "help" | "--help" | "-h" => match rest {
            [] => Ok(Command::Help(Topic::All)),
            [topic, ..] => match topic.as_str() {
                "server" => Ok(Command::Help(Topic::Server)),
                "doctor" => Ok(Command::Help(Topic::Doctor)),
                "inspect" => Ok(Command::Help(Topic::Inspect)),
                "recover" => Ok(Command::Help(Topic::Recover)),
                "backup" => Ok(Command::Help(Topic::Backup)),
                "restore" => Ok(Command::Help(Topic::Restore)),
                "drive" => Ok(Command::Help(Topic::Drive)),
                "heal" => Ok(Command::Help(Topic::Heal)),
                "verify" => Ok(Command::Help(Topic::Verify)),
                _ => Ok(Command::Help(Topic::All)),
            },
        },
        unknown if unknown.starts_with('-') => {
            Err(format!("{unknown} comes before the command: write hafiz server DIR... {unknown}"))
        }
        unknown => Err(format!("unknown command {unknown}{}; try hafiz help", suggestion(unknown, COMMANDS))),
    }
}

/// Flags and directories, in any order; `--` ends the flags.
fn settings(arguments: &[String]) -> Result<Flags, String> {
    let mut flags = Flags::new();
    let mut add = |setting: &'static Setting, place: String, word: String| -> Result<(), String> {
        let typed = flags.entry(setting.name).or_insert_with(|| Typed {
            words: Vec::new(),
            source: Source::CommandLine,
            place: place.clone(),
        });
        if !typed.words.is_empty() && !matches!(setting.shape, Shape::Many(_)) {
            return Err(format!("{place} is given twice"));
        }
        typed.words.push(word);
        Ok(())
    };
    let dirs = find("dirs").expect("the table has the directories");
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            for dir in arguments.by_ref() {
                add(dirs, "DIR".to_owned(), dir.clone())?;
            }
            break;
        }
        if !argument.starts_with('-') || argument == "-" {
            add(dirs, "DIR".to_owned(), argument.clone())?;
            continue;
        }
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let setting = flag.strip_prefix("--").and_then(find).filter(|setting| setting.has_flag());
        let setting = setting.ok_or_else(|| unknown_flag(flag))?;
        let value = match (value, setting.shape) {
            (Some(value), _) => value,
            (None, Shape::Switch) => "true".to_owned(),
            (None, Shape::One(_) | Shape::Many(_)) => {
                arguments.next().cloned().ok_or_else(|| format!("{flag} needs a value"))?
            }
        };
        add(setting, flag.to_owned(), value)?;
    }
    Ok(flags)
}

fn unknown_flag(flag: &str) -> String {
    let name = flag.trim_start_matches('-');
    if let Some(setting) = find(name).filter(|setting| !setting.has_flag()) {
        return match setting.name {
            "dirs" => "directories are given without a flag".to_owned(),
            name => format!(
                "{flag} is no flag, since everyone on this machine can read the command line: use {} or --{name}-file",
                setting.variable()
            ),
        };
    }
    let known = TABLE.iter().filter(|setting| setting.has_flag()).map(|setting| format!("--{}", setting.name));
    let known: Vec<String> = known.collect();
    format!("unknown flag {flag}{}", suggestion(flag, known.iter().map(String::as_str)))
}

/// Merges flags with environment and file.
pub(crate) fn gather(flags: Flags) -> Result<Layers, String> {
    // A variable that is no text is none of ours: every value we take is text.
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    Layers::gather(flags, std::env::vars_os().filter_map(text))
}

pub(crate) fn help(topic: Topic) -> String {
    match topic {
        Topic::All => "\
Hafiz, an S3-compatible object store.

  hafiz server DIR... [flags]                     serve the drives in these directories
  hafiz doctor DIR... [flags]                     check machine and drives, change nothing
  hafiz inspect drive | volume | object ...       look at what is on the drives
  hafiz backup --to DIR | s3://BUCKET/PREFIX      copy the metadata of a running server
  hafiz restore --from DIR | s3://... DIR...      put it back onto stopped drives
  hafiz recover DIR... --into DIR                 salvage what is left on drives that no server starts any more
  hafiz drive list | add | replace | drain ...    see and change the drives of a running server
  hafiz heal status                               what is missing and being rebuilt
  hafiz verify                                    have every object read and checked
  hafiz version
  hafiz help [server | doctor | inspect | recover | backup | restore | drive | heal | verify]

To try it: hafiz server ./data{1..6}
"
        .to_owned(),
        Topic::Server => {
            let mut text = "\
hafiz server DIR... [flags]

Serves the drives in these directories; forms a deployment when all of them are empty. Each setting may also be given
as HAFIZ_NAME in the environment or as a key of the TOML file; a flag wins over the environment, which wins over the
file.
"
            .to_owned();
            add_settings(&mut text);
            text
        }
        Topic::Doctor => "\
hafiz doctor DIR... [flags]

Checks kernel, io_uring, limits, file systems, free space and drive identities, and says what to do about what it finds.
Drives are only read, so it may run beside the server; in a directory that is no drive yet it makes a file and removes
it again. Takes the server's settings. Exit code 1 when something keeps the server from starting.
"
        .to_owned(),
        Topic::Inspect => format!(
            "{}\nReads the drives without a lock and writes nothing, so it may run beside the server. Every fragment shown is\n\
             verified. Exit code 1 when something cannot be read that should be there.\n",
            inspect::USAGE
        ),
        Topic::Recover => format!(
            "{}\nFor drives whose server is stopped and does not start any more: index tables, topology or identities are lost.\n\
             Reads every log volume, decodes what parity allows, and says what it found and what it cannot know; without\n\
             --into and --endpoint it reports only. Writes nothing on the drives. Exit code 0: everything that was alive is\n\
             there; 1: everything found is whole, but later changes of it may be lost; 2: something is not whole or has no\n\
             name; 3: it could not be done.\n{}",
            recover::USAGE,
            recover::FLAGS_USAGE
        ),
        Topic::Backup => format!(
            "{}\nAsks the server that runs, which goes on serving. Copies the index tables of every partition, each as of a\n\
             checkpoint, and the topology; bodies are not in it. Every block is read back and every file has its SHA-256 in the\n\
             manifest, which is written last. Exit code 1 when no backup was made.\n{}{}",
            admin::BACKUP_USAGE,
            admin::BACKUP_FLAGS_USAGE,
            admin::FLAGS_USAGE
        ),
        Topic::Restore => format!(
            "{}\nFor stopped drives of the deployment that the backup is of. Verifies the whole backup, then puts back the tables\n\
             of partitions of which no copy that counts is left; what was there is renamed. The next start replays what the\n\
             logs have behind the backup. Exit code 1 when it is refused: then nothing was touched.\n{}\n\
             With --accept: takes what an incomplete restore gave back as all there is. Says what that costs, and with\n\
             --discard does it: counts anew what is alive, from every record, and takes away the mark that made the drives\n\
             read-only. The next start frees what nothing names. Exit code 1 when the mark is still there.\n",
            restore::USAGE,
            restore::FLAGS_USAGE
        ),
        Topic::Drive => format!(
            "{}\nAsks the server that runs. DRIVE is an id as the list shows it, the beginning of one, or a directory; DIR is a\n\
             directory of the server's machine, empty or not there yet. Exit code 1 when the server refuses.\n{}",
            admin::DRIVE_USAGE,
            admin::FLAGS_USAGE
        ),
        Topic::Heal => format!(
            "{}\nAsks the server that runs. Exit code 0 when every slot of every volume is there, 1 otherwise.\n{}",
            admin::HEAL_USAGE,
            admin::FLAGS_USAGE
        ),
        Topic::Verify => format!(
            "{}\nThe server that runs reads every fragment of every object version and of every part of an upload; it repairs\n\
             nothing meanwhile. Exit code 0: every fragment is there and right; 1: everything can be read, but something is\n\
             short of fragments; 2: something is lost; 3: it could not be found out.\n{}",
            admin::VERIFY_USAGE,
            admin::FLAGS_USAGE
        ),
    }
}

fn add_settings(text: &mut String) {
    for section in SECTIONS {
        let settings = TABLE.iter().filter(|setting| setting.section == section);
        writeln!(text, "\n{section}:").expect("a String takes every write");
        for setting in settings {
            let name = match (setting.has_flag(), setting.shape) {
                (true, Shape::Switch) => format!("--{}", setting.name),
                (true, Shape::One(value) | Shape::Many(value)) => format!("--{} {value}", setting.name),
                (false, _) if setting.name == "dirs" => "DIR...".to_owned(),
                (false, _) => setting.variable(),
            };
            let default = match setting.default {
                Preset::Text(default) | Preset::Later(default) => default,
            };
            let doc = format!("{} [{default}]", setting.doc);
            let lines = wrap(&doc, 90);
            for (n, line) in lines.iter().enumerate() {
                let name = if n == 0 { name.as_str() } else { "" };
                writeln!(text, "  {name:<27} {line}").expect("a String takes every write");
            }
        }
    }
}

/// Breaks text into lines of at most `width` characters, at spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|line| line.len() + 1 + word.len() <= width) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests;

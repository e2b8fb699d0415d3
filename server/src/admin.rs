//! `hafiz drive`, `hafiz heal`, `hafiz verify` and `hafiz backup`: ask a running server about its drives and have it do what
//! concerns them.

mod backup;
mod client;
pub(crate) mod json;
mod show;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::banner::say;
use crate::cli;
use crate::offsite::{self, Place};
use crate::remote::Server;
use crate::settings::{Settings, Source, Typed, find};
use backup::Target;
use client::Client;
use json::Json;

/// What to ask, of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) ask: Ask,
    /// `None`: the server of this machine.
    pub(crate) endpoint: Option<String>,
    /// PEM files of certificates to believe, beside those of the settings.
    pub(crate) ca: Vec<PathBuf>,
    /// Print what the server said instead of a table.
    pub(crate) json: bool,
    /// Settings that say who asks.
    pub(crate) flags: cli::Flags,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    DriveList,
    DriveAdd(PathBuf),
    /// A drive is named by its id, the beginning of it, or its directory.
    DriveReplace(String, PathBuf),
    DriveOut(String),
    DriveDrain(String),
    DriveUndrain(String),
    /// MiB in a second; none = as fast as requests let it.
    Rebalance {
        pace: Option<u32>,
        wait: bool,
    },
    EndRebalance,
    HealStatus {
        wait: bool,
    },
    Verify,
    Backup(Target),
}

pub(crate) const DRIVE_USAGE: &str = "\
hafiz drive list                       what drives there are, and how they are
hafiz drive add DIR                    take in one more drive
hafiz drive replace DRIVE NEWDIR       take in a drive and take another one out
hafiz drive drain DRIVE                move what a drive holds to others, then take it out
hafiz drive undrain DRIVE              use it again, as long as it is in
hafiz drive out DRIVE                  take a drive out at once; what it held is rebuilt on others
hafiz drive rebalance [--pace MIB] [--wait]
                                       move slots until drives are about equally full, MIB in a second at most
hafiz drive rebalance stop             leave slots where they are now
";

pub(crate) const HEAL_USAGE: &str = "\
hafiz heal status [--wait]             what is missing, and how long it will take; --wait: until nothing is
";

pub(crate) const VERIFY_USAGE: &str = "\
hafiz verify                           have every object read and checked
";

pub(crate) const BACKUP_USAGE: &str = "\
hafiz backup --to DIR                  copy the metadata into a new or empty directory of the server's machine
hafiz backup --to s3://BUCKET/PREFIX --to-endpoint URL
                                       ... into a bucket of any S3 server, where nothing begins with the prefix yet
";

pub(crate) const BACKUP_FLAGS_USAGE: &str = "
  --to-endpoint URL           the bucket's server, http:// or https://
  --to-ca FILE                PEM certificates to believe of it; else those that the system believes
  --to-region NAME            its region [us-east-1]
  --to-credentials-file FILE  who uploads, as aws_access_key_id and aws_secret_access_key; else AWS_ACCESS_KEY_ID,
                              AWS_SECRET_ACCESS_KEY and, if there is one, AWS_SESSION_TOKEN; else as of this server
  --stage DIR                 holds a copy on the way, which is removed; on the server's machine [/var/tmp]
";

pub(crate) const FLAGS_USAGE: &str = "
  --endpoint URL              the server [http://127.0.0.1:9000, or https:// if the settings have a certificate]
  --ca FILE                   PEM certificates to believe of https; else the server's own, as the settings have it,
                              and the system's
  --config FILE               the server's TOML file
  --dir DIR                   a drive's directory, beside which the root credentials are found
  --credentials-file FILE     the root credentials
  --region NAME               the server's region [us-east-1]
  --json                      print what the server said
";

/// Of a bucket's server, unless another one is given.
const REGION: &str = "us-east-1";
/// Pause between two looks at something that takes long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Exit codes of `hafiz verify`.
const SHORT: u8 = 1;
const LOST: u8 = 2;
const NOT_KNOWN: u8 = 3;

/// Reads the arguments after the command `drive`, `heal`, `verify` or `backup`.
pub(crate) fn parse(command: &str, arguments: &[String]) -> Result<Question, String> {
    let mut question =
        Question { ask: Ask::Verify, endpoint: None, ca: Vec::new(), json: false, flags: cli::Flags::new() };
    let (mut words, mut wait, mut pace) = (Vec::new(), false, None);
    let mut to = BTreeMap::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
            _ => (argument.as_str(), None),
        };
        let mut value = || value.clone().or_else(|| arguments.next().cloned()).ok_or(format!("{flag} needs a value"));
        match flag {
            "--json" => question.json = true,
            "--wait" if command == "heal" || words == ["rebalance"] => wait = true,
            "--pace" if words == ["rebalance"] => {
                let bad = "--pace needs a number of MiB in a second";
                pace = Some(value()?.parse().ok().filter(|&pace| pace > 0).ok_or(bad)?);
            }
            "--to" | "--to-endpoint" | "--to-ca" | "--to-region" | "--to-credentials-file" | "--stage"
                if command == "backup" =>
            {
                let (flag, value) = (flag.to_owned(), value()?);
                to.entry(flag).or_insert_with(Vec::new).push(value);
            }
            "--endpoint" => question.endpoint = Some(value()?),
            "--ca" => question.ca.push(value()?.into()),
            "--dir" => add(&mut question.flags, "dirs", flag, value()?),
            "--credentials-file" | "--region" | "--config" => {
                let value = value()?;
                add(&mut question.flags, flag.trim_start_matches('-'), flag, value);
            }
            _ if flag.starts_with('-') && flag != "-" => {
                return Err(format!("unknown flag {flag}; try hafiz help {command}"));
            }
            _ => words.push(argument.as_str()),
        }
    }
    // The server may run elsewhere on this machine.
    let dir = |dir: &str| std::path::absolute(dir).map_err(|error| format!("{dir}: {error}"));
    let drive = |word: &str| {
        let is_path = word.contains('/') || word.starts_with('.');
        if is_path { Ok(dir(word)?.to_string_lossy().into_owned()) } else { Ok::<_, String>(word.to_owned()) }
    };
    question.ask = match (command, words.as_slice()) {
        ("drive", ["list"]) => Ask::DriveList,
        ("drive", ["add", new]) => Ask::DriveAdd(dir(new)?),
        ("drive", ["replace", old, new]) => Ask::DriveReplace(drive(old)?, dir(new)?),
        ("drive", ["out", which]) => Ask::DriveOut(drive(which)?),
        ("drive", ["drain", which]) => Ask::DriveDrain(drive(which)?),
        ("drive", ["undrain", which]) => Ask::DriveUndrain(drive(which)?),
        ("drive", ["rebalance"]) => Ask::Rebalance { pace, wait },
        ("drive", ["rebalance", "stop"]) if !wait && pace.is_none() => Ask::EndRebalance,
        ("heal", ["status"]) => Ask::HealStatus { wait },
        ("verify", []) => Ask::Verify,
        ("backup", []) if to.contains_key("--to") => Ask::Backup(target(to)?),
        ("drive", _) => return Err(format!("write one of:\n{DRIVE_USAGE}")),
        ("heal", _) => return Err(format!("write:\n{HEAL_USAGE}")),
        ("backup", _) => return Err(format!("write:\n{BACKUP_USAGE}")),
        _ => return Err(format!("write:\n{VERIFY_USAGE}")),
    };
    Ok(question)
}

/// Where a backup goes, by the flags of `hafiz backup` that are about that.
fn target(mut flags: BTreeMap<String, Vec<String>>) -> Result<Target, String> {
    let ca = flags.remove("--to-ca").unwrap_or_default().into_iter().map(PathBuf::from).collect();
    if let Some((flag, _)) = flags.iter().find(|(_, values)| values.len() > 1) {
        return Err(format!("{flag} is given twice"));
    }
    let mut value = |flag: &str| flags.remove(flag).and_then(|mut values| values.pop());
    let to = value("--to").unwrap_or_default();
    let Some(place) = Place::parse(&to).transpose()? else {
        return match flags.keys().next() {
            None => Ok(Target::Dir(std::path::absolute(&to).map_err(|error| format!("{to}: {error}"))?)),
            Some(flag) => Err(format!("{flag} goes with --to s3://BUCKET/PREFIX")),
        };
    };
    let endpoint = value("--to-endpoint").ok_or("name the bucket's server with --to-endpoint")?;
    let region = value("--to-region").unwrap_or_else(|| REGION.to_owned());
    let credentials_file = value("--to-credentials-file").map(PathBuf::from);
    let stage = value("--stage").unwrap_or_else(|| offsite::STAGE.to_owned()).into();
    Ok(Target::Bucket { place, server: Server { endpoint, ca, region }, credentials_file, stage })
}

fn add(flags: &mut cli::Flags, name: &str, flag: &str, value: String) {
    let name = find(name).expect("the table has it").name;
    flags.insert(name, Typed { words: vec![value], source: Source::CommandLine, place: flag.to_owned() });
}

/// Asks, and prints the answer.
///
/// Exit code: 0 when it was done or nothing is amiss, 1 when it was refused or something is; of `verify` as in its help.
pub(crate) fn run(question: &Question, settings: &Settings) -> ExitCode {
    let outcome = Client::open(question.endpoint.as_deref(), &question.ca, settings)
        .and_then(|client| answer(question, &client, settings));
    outcome.unwrap_or_else(|error| {
        eprintln!("hafiz: {error}");
        ExitCode::from(if question.ask == Ask::Verify { NOT_KNOWN } else { crate::REFUSED })
    })
}

fn answer(question: &Question, client: &Client, settings: &Settings) -> Result<ExitCode, String> {
    let print = |reply: &Json, text: String| say(&if question.json { format!("{reply}\n") } else { text });
    match &question.ask {
        Ask::DriveList => {
            let reply = client.get("drives")?;
            print(&reply, show::drives(&reply));
        }
        Ask::DriveAdd(dir) => {
            let reply = client.post("drives/add", &[("dir", &dir.to_string_lossy())])?;
            let id = reply.text("drive");
            print(&reply, format!("drive {id} is in: name {} at the next start, too\n", dir.display()));
        }
        Ask::DriveReplace(old, dir) => {
            let old = which(client, old)?;
            let reply = client.post("drives/replace", &[("old", &old), ("dir", &dir.to_string_lossy())])?;
            let id = reply.text("drive");
            let text = format!(
                "drive {id} is in and drive {old} is out: name {} instead of its directory at the next start\n\
                 what the old one held is rebuilt: hafiz heal status --wait\n",
                dir.display()
            );
            print(&reply, text);
        }
        Ask::DriveOut(drive) => {
            let drive = which(client, drive)?;
            let reply = client.post(&format!("drives/{drive}/out"), &[])?;
            print(&reply, format!("drive {drive} is out; what it held is rebuilt: hafiz heal status --wait\n"));
        }
        Ask::DriveDrain(drive) => {
            let drive = which(client, drive)?;
            let reply = client.post(&format!("drives/{drive}/drain"), &[])?;
            let left = reply.number("slots_left");
            print(
                &reply,
                format!("{left} slots are moved to other drives, then drive {drive} is taken out: hafiz drive list\n"),
            );
        }
        Ask::DriveUndrain(drive) => {
            let drive = which(client, drive)?;
            let reply = client.post(&format!("drives/{drive}/undrain"), &[])?;
            print(&reply, format!("drive {drive} is used again\n"));
        }
        Ask::Rebalance { pace, wait } => {
            let pace = pace.map(|pace| pace.to_string());
            let parameters: Vec<(&str, &str)> = pace.iter().map(|pace| ("pace", pace.as_str())).collect();
            let mut reply = client.post("drives/rebalance", &parameters)?;
            while *wait && reply.truth("rebalancing") {
                progress(&show::rebalance_line(&reply));
                std::thread::sleep(LOOK_EVERY);
                reply = client.get("heal")?;
            }
            print(&reply, format!("{}\n", show::rebalance_line(&reply)));
        }
        Ask::EndRebalance => {
            let reply = client.post("drives/rebalance/stop", &[])?;
            print(&reply, "slots stay where they are now\n".to_owned());
        }
        Ask::HealStatus { wait } => {
            let reply = loop {
                let reply = client.get("heal")?;
                // What is lost does not come back by waiting.
                if !wait || reply.truth("whole") || show::is_lost(&reply) {
                    break reply;
                }
                progress(&show::heal_line(&reply));
                std::thread::sleep(LOOK_EVERY);
            };
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            print(&reply, show::heal(&reply, now));
            return Ok(ExitCode::from(u8::from(!reply.truth("whole"))));
        }
        Ask::Backup(target) => {
            let (reply, text) = backup::run(client, target, settings)?;
            print(&reply, text);
        }
        Ask::Verify => {
            client.post("verify", &[])?;
            let reply = loop {
                let reply = client.get("verify")?;
                match reply.text("state") {
                    "running" => progress(&show::verify_line(&reply)),
                    "done" => break reply,
                    _ => return Err(format!("the server could not verify: {}", reply.text("error"))),
                }
                std::thread::sleep(LOOK_EVERY);
            };
            print(&reply, show::verify(&reply));
            let code = match (reply.truth("lossy"), reply.truth("whole")) {
                (true, _) => LOST,
                (false, false) => SHORT,
                (false, true) => 0,
            };
            return Ok(ExitCode::from(code));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells a terminal, and nobody else, how far it is.
pub(crate) fn progress(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}\r");
    }
}

/// The id of the drive that is meant.
fn which(client: &Client, wanted: &str) -> Result<String, String> {
    if is_whole_id(wanted) {
        return Ok(wanted.to_owned());
    }
    let reply = client.get("drives")?;
    let is_meant = |drive: &&Json| match wanted.starts_with('/') {
        // A directory is that of the drive that is in now.
        true => drive.text("dir") == wanted && drive.text("state") != "out",
        false => drive.text("id").starts_with(wanted),
    };
    let mut meant = reply.list("drives").iter().filter(is_meant).map(|drive| drive.text("id").to_owned());
    match (meant.next(), meant.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(format!("there is no drive {wanted}; hafiz drive list shows them")),
        (Some(_), Some(_)) => Err(format!("more than one drive begins with {wanted}")),
    }
}

/// A directory's name may be as long as an id.
fn is_whole_id(wanted: &str) -> bool {
    wanted.len() == show::ID_LEN && !wanted.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Question, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words[0], &words[1..])
    }

    #[test]
    fn questions_are_read_with_their_flags_anywhere() {
        let check =
            |line: &str, expect: Ask| assert_eq!(parsed(line).map(|question| question.ask), Ok(expect), "{line}");
        check("drive list", Ask::DriveList);
        check("drive add /mnt/d7", Ask::DriveAdd("/mnt/d7".into()));
        check("drive replace 0ab1 /mnt/d7", Ask::DriveReplace("0ab1".to_owned(), "/mnt/d7".into()));
        check("drive rebalance", Ask::Rebalance { pace: None, wait: false });
        check("drive rebalance --pace 50 --wait", Ask::Rebalance { pace: Some(50), wait: true });
        check("drive rebalance stop", Ask::EndRebalance);
        check("drive out /mnt/d3 --json", Ask::DriveOut("/mnt/d3".to_owned()));
        check("heal --wait status", Ask::HealStatus { wait: true });
        check("verify --endpoint http://h:1 --dir /d", Ask::Verify);
        check("backup --to /b --dir /d", Ask::Backup(Target::Dir("/b".into())));
        let place = Place::parse("s3://b/p").unwrap().unwrap();
        let server = Server { endpoint: "https://h".to_owned(), ca: vec!["c".into()], region: "us-east-1".to_owned() };
        check(
            "backup --to s3://b/p --to-endpoint https://h --to-ca c --to-credentials-file f --stage=/s --dir /d",
            Ask::Backup(Target::Bucket { place, server, credentials_file: Some("f".into()), stage: "/s".into() }),
        );
        let question = parsed("drive --endpoint=http://h:1 list --dir /mnt/d0 --json").unwrap();
        assert_eq!((question.endpoint.as_deref(), question.json), (Some("http://h:1"), true));
        assert_eq!(question.flags["dirs"].words, ["/mnt/d0"]);
    }

    #[test]
    fn a_directory_is_no_id_however_long_its_name() {
        assert!(is_whole_id("0123456789abcdef0123456789abcdef") && !is_whole_id("0123456789abcdef"));
        let dir = "/srv/objects/nvme/by-slot/drive5";
        assert!(dir.len() == show::ID_LEN && !is_whole_id(dir));
    }

    #[test]
    fn a_wrong_question_is_refused_with_what_there_is() {
        for (line, expect) in [
            ("drive", "hafiz drive list"),
            ("drive add", "hafiz drive add DIR"),
            ("drive list --wait", "unknown flag --wait"),
            ("drive rebalance --pace 0", "--pace needs a number"),
            ("drive rebalance --pace 5 stop", "hafiz drive rebalance stop"),
            ("drive list --endpoint", "--endpoint needs a value"),
            ("heal", "hafiz heal status"),
            ("verify now", "hafiz verify"),
            ("backup", "hafiz backup --to DIR"),
            ("drive list --to /x", "unknown flag --to"),
        ] {
            let error = parsed(line).err().unwrap_or_default();
            assert!(error.contains(expect), "{line}: {error}");
        }
    }
}

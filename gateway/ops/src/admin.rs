//! Operations on the server itself: its drives and their health. Replies are JSON.

mod backup;
mod json;
mod smart;
mod verify;

use std::path::PathBuf;
use std::time::Duration;

use iam::admin as actions;
use store::{AdmitError, DriveId, DriveState, DriveStatus, Error};

use crate::Ops;
use crate::gate::{Administrative, Authorized};
use json::Json;
use smart::Report;

pub use smart::ask_drives;

/// What may be asked. Drives are named by their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    ListDrives,
    /// Takes in a directory of the server's machine.
    AddDrive {
        dir: PathBuf,
    },
    /// Gives up what the drive holds.
    TakeOutDrive {
        drive: String,
    },
    /// Takes the directory in and the old drive out.
    ReplaceDrive {
        old: String,
        dir: PathBuf,
    },
    /// Has what the drive holds moved to others, then takes it out.
    DrainDrive {
        drive: String,
    },
    /// Uses a drive again that is being drained.
    UndrainDrive {
        drive: String,
    },
    /// Has slots moved until drives are about equally full, at most so many MiB in a second (0 = as fast as it goes).
    Rebalance {
        pace_mib: u32,
    },
    EndRebalance,
    HealStatus,
    /// Begins to read and check every object, unless that is under way.
    Verify,
    /// How that stands, or what it found.
    VerifyStatus,
    /// Begins a backup of the metadata into a directory of the server's machine.
    Backup {
        dir: PathBuf,
    },
    /// How that stands.
    BackupStatus,
}

impl Administrative for AdminRequest {
    fn action(&self) -> &'static str {
        match self {
            AdminRequest::ListDrives => actions::LIST_DRIVES,
            AdminRequest::AddDrive { .. } => actions::ADD_DRIVE,
            AdminRequest::TakeOutDrive { .. } => actions::TAKE_OUT_DRIVE,
            AdminRequest::ReplaceDrive { .. } => actions::REPLACE_DRIVE,
            AdminRequest::DrainDrive { .. } | AdminRequest::UndrainDrive { .. } => actions::DRAIN_DRIVE,
            AdminRequest::Rebalance { .. } | AdminRequest::EndRebalance => actions::REBALANCE,
            AdminRequest::HealStatus => actions::GET_HEAL_STATUS,
            AdminRequest::Verify | AdminRequest::VerifyStatus => actions::VERIFY,
            AdminRequest::Backup { .. } | AdminRequest::BackupStatus => actions::BACKUP,
        }
    }
}

/// HTTP's status and a JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminReply {
    pub status: u16,
    pub json: String,
}

impl AdminReply {
    /// A refusal, with what to do about it.
    pub fn refused(status: u16, message: &str) -> AdminReply {
        AdminReply { status, json: Json::default().open('{').text("error", message).close('}').finish() }
    }
}

/// Does what is asked. A change goes on to its end, whether the client waits or not.
pub async fn administer(ops: &Ops, request: Authorized<AdminRequest>) -> AdminReply {
    let outcome = match request.into_inner() {
        AdminRequest::ListDrives => Ok(list_drives(ops).await),
        AdminRequest::AddDrive { dir } => add_drive(ops, dir).await.map(|id| done("drive", id)),
        AdminRequest::TakeOutDrive { drive } => take_out_drive(ops, &drive).await,
        AdminRequest::ReplaceDrive { old, dir } => replace_drive(ops, &old, dir).await,
        AdminRequest::DrainDrive { drive } => drain_drive(ops, &drive).await,
        AdminRequest::UndrainDrive { drive } => undrain_drive(ops, &drive).await,
        AdminRequest::Rebalance { pace_mib } => rebalance(ops, pace_mib).await,
        AdminRequest::EndRebalance => end_rebalance(ops).await,
        AdminRequest::HealStatus => Ok(ok(heal_status(ops))),
        AdminRequest::Verify => Ok(verify::begin(ops).await),
        AdminRequest::VerifyStatus => Ok(verify::status(ops)),
        AdminRequest::Backup { dir } => backup::begin(ops, dir).await,
        AdminRequest::BackupStatus => Ok(backup::status(ops)),
    };
    outcome.unwrap_or_else(|refusal| refusal)
}

type Outcome<T> = Result<T, AdminReply>;

fn ok(json: String) -> AdminReply {
    AdminReply { status: 200, json }
}

fn done(what: &str, id: DriveId) -> AdminReply {
    ok(Json::default().open('{').text(what, &id.to_string()).close('}').finish())
}

async fn list_drives(ops: &Ops) -> AdminReply {
    let drives = ops.store.drives();
    let reports = smart::reports(&drives).await;
    let mut json = Json::default();
    json.open('{').name("drives").open('[');
    for (drive, report) in drives.iter().zip(&reports) {
        drive_of(&mut json, drive, report);
    }
    ok(json.close(']').close('}').finish())
}

fn drive_of(json: &mut Json, drive: &DriveStatus, report: &Report) {
    let state = match drive.state {
        DriveState::In if drive.is_draining => "draining",
        DriveState::In if drive.is_behind => "behind",
        DriveState::In => "in",
        DriveState::Suspect if drive.is_slow => "slow",
        DriveState::Suspect => "suspect",
        DriveState::Out => "out",
        DriveState::Missing => "missing",
    };
    json.open('{')
        .text("id", &drive.id.to_string())
        .text("dir", &drive.dir.to_string_lossy())
        .text("state", state)
        .number("total_bytes", drive.total_bytes)
        .number("free_bytes", drive.free_bytes)
        .number("used_bytes", drive.used_bytes)
        .number_if("target_bytes", drive.target_bytes)
        .number("read_errors", drive.read_errors)
        .number("write_errors", drive.write_errors)
        .number("in_flight", u64::from(drive.in_flight))
        .number("read_microseconds", micros(drive.read_latency))
        .number("write_microseconds", micros(drive.write_latency))
        .number("flush_microseconds", micros(drive.flush_latency))
        .number("slots", drive.slots as u64)
        .number("slots_lost", drive.slots_lost as u64);
    report.write(json);
    json.close('}');
}

fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
}

/// How the drives do, in the Prometheus text format. They come and go, so they are no fixed metrics.
pub fn drive_metrics(ops: &Ops) -> String {
    let drives = ops.store.drives();
    let mut text = String::new();
    let mut metric = |name: &str, help: &str, value: &dyn Fn(&DriveStatus) -> Vec<(&'static str, f64)>| {
        text += &metric_head(name, help);
        for drive in &drives {
            for (labels, value) in value(drive) {
                text += &format!("{name}{{drive=\"{}\"{labels}}} {value}\n", drive.id);
            }
        }
    };
    let is = |yes: bool| vec![("", f64::from(u8::from(yes)))];
    metric("hafiz_drive_in", "Whether the drive is used and does well.", &|drive| is(drive.state == DriveState::In));
    metric(
        "hafiz_drive_suspect",
        "Whether the drive is late or slow.",
        &|drive| is(drive.state == DriveState::Suspect),
    );
    metric("hafiz_drive_in_flight", "Operations that the drive has not ended.", &|drive| {
        vec![("", f64::from(drive.in_flight))]
    });
    metric("hafiz_drive_latency_seconds", "Moving average of the time that an operation takes.", &|drive| {
        vec![
            (",op=\"read\"", drive.read_latency.as_secs_f64()),
            (",op=\"write\"", drive.write_latency.as_secs_f64()),
            (",op=\"flush\"", drive.flush_latency.as_secs_f64()),
        ]
    });
    text + &smart::metrics(drives.iter().map(|drive| drive.id))
}

fn metric_head(name: &str, help: &str) -> String {
    format!("# HELP {name} {help}\n# TYPE {name} gauge\n")
}

async fn add_drive(ops: &Ops, dir: PathBuf) -> Outcome<DriveId> {
    if !dir.is_absolute() {
        return Err(AdminReply::refused(400, "the directory must be an absolute path on the server's machine"));
    }
    ops.store.add_drive(dir).await.map_err(|error| {
        let status = match error {
            AdmitError::Unavailable => 503,
            _ => 409,
        };
        AdminReply::refused(status, &error.to_string())
    })
}

async fn take_out_drive(ops: &Ops, drive: &str) -> Outcome<AdminReply> {
    let id = parse(drive)?;
    ops.store.take_out_drive(id).await.map_err(refuse)?;
    Ok(done("out", id))
}

/// The new drive first, so that there is never one less than there could be.
async fn replace_drive(ops: &Ops, old: &str, dir: PathBuf) -> Outcome<AdminReply> {
    let old = parse(old)?;
    ops.store.is_drive_in(old).map_err(refuse)?;
    let new = add_drive(ops, dir).await?;
    if let Err(error) = ops.store.take_out_drive(old).await {
        let message = format!("drive {new} was taken in, but drive {old} stays: {}", say(&error));
        return Err(AdminReply::refused(409, &message));
    }
    let json =
        Json::default().open('{').text("drive", &new.to_string()).text("out", &old.to_string()).close('}').finish();
    Ok(ok(json))
}

async fn drain_drive(ops: &Ops, drive: &str) -> Outcome<AdminReply> {
    let id = parse(drive)?;
    let draining = ops.store.drain_drive(id).await.map_err(refuse)?;
    let json = Json::default()
        .open('{')
        .text("drive", &id.to_string())
        .number("slots_left", draining.slots_left)
        .number("slots_open", draining.slots_open)
        .close('}')
        .finish();
    Ok(AdminReply { status: 202, json })
}

async fn undrain_drive(ops: &Ops, drive: &str) -> Outcome<AdminReply> {
    let id = parse(drive)?;
    ops.store.undrain_drive(id).await.map_err(refuse)?;
    Ok(done("drive", id))
}

async fn rebalance(ops: &Ops, pace_mib: u32) -> Outcome<AdminReply> {
    ops.store.rebalance(pace_mib).await.map_err(refuse)?;
    Ok(AdminReply { status: 202, json: heal_status(ops) })
}

async fn end_rebalance(ops: &Ops) -> Outcome<AdminReply> {
    ops.store.end_rebalance().await.map_err(refuse)?;
    Ok(ok(heal_status(ops)))
}

fn heal_status(ops: &Ops) -> String {
    let heal = ops.store.heal_status();
    let seconds = |time: Option<types::Timestamp>| time.map(|time| time.0 / 1_000_000_000);
    Json::default()
        .open('{')
        .truth("whole", heal.is_whole())
        .number("volumes_total", heal.volumes_total)
        .number("volumes_short", heal.volumes_short)
        .number("volumes_gone", heal.volumes_gone)
        .number("slots_missing", heal.slots_missing)
        .number("slots_hollow", heal.slots_hollow)
        .number("slots_to_drain", heal.slots_to_drain)
        .number("table_copies", heal.table_copies)
        .number("table_copies_short", heal.table_copies_short)
        .number("table_bytes_short", heal.table_bytes_short)
        .number("table_copies_checked", heal.table_copies_checked)
        .number("waiting_for_drive", heal.waiting_for_drive)
        .number("drives_behind", heal.drives_behind)
        .number("stripes_checked", heal.stripes_checked)
        .number("fragments_repaired", heal.fragments_repaired)
        .number("stripes_lost", heal.stripes_lost)
        .number("stripes_in_doubt", heal.stripes_in_doubt)
        .number("stripes_to_repair", heal.stripes_to_repair)
        .number("bytes_done", heal.bytes_done)
        .number("bytes_left", heal.bytes_left)
        .number("bytes_per_second", heal.rate)
        .number_if("seconds_left", heal.seconds_left)
        .number("scrub_bytes_done", heal.scrub_bytes_done)
        .number("scrub_bytes_total", heal.scrub_bytes_total)
        .number("scrub_bytes_per_second", heal.scrub_rate)
        .number_if("scrub_seconds_left", heal.scrub_seconds_left)
        .number("scrub_rounds", heal.rounds)
        .number_if("scrub_round_began", seconds(heal.round_began))
        .number_if("scrub_last_full_round", seconds(heal.last_full_round))
        .truth("rebalancing", heal.balance.running)
        .truth("rebalance_waits", heal.balance.waits)
        .number("rebalance_pace_mib", u64::from(heal.balance.pace_mib))
        .number("rebalance_bytes_done", heal.balance.bytes_done)
        .number("rebalance_bytes_left", heal.balance.bytes_left)
        .number("rebalance_bytes_per_second", heal.balance.rate)
        .number_if("rebalance_seconds_left", heal.balance.seconds_left)
        .close('}')
        .finish()
}

fn parse(drive: &str) -> Outcome<DriveId> {
    DriveId::parse(drive).ok_or_else(|| AdminReply::refused(400, "a drive is named by its id: 32 hexadecimal digits"))
}

fn say(error: &Error) -> String {
    match error {
        Error::NotFound => "there is no such drive".to_owned(),
        Error::Unavailable(what) => (*what).to_owned(),
        other => other.to_string(),
    }
}

fn refuse(error: Error) -> AdminReply {
    let status = if error == Error::NotFound { 404 } else { 409 };
    AdminReply::refused(status, &say(&error))
}

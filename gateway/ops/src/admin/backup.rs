//! Backup of the metadata: begun by one request, asked for by others.

use std::path::PathBuf;

use store::BackupState;

use super::json::Json;
use super::{AdminReply, Outcome, ok};
use crate::Ops;

pub(super) async fn begin(ops: &Ops, dir: PathBuf) -> Outcome<AdminReply> {
    if !dir.is_absolute() {
        return Err(AdminReply::refused(400, "the directory must be an absolute path on the server's machine"));
    }
    match ops.store.begin_backup(dir).await {
        true => Ok(AdminReply { status: 202, ..status(ops) }),
        false => Err(AdminReply::refused(409, "a backup is under way")),
    }
}

pub(super) fn status(ops: &Ops) -> AdminReply {
    let mut json = Json::default();
    json.open('{');
    match ops.store.backup_state() {
        BackupState::Never => {
            json.text("state", "never");
        }
        BackupState::Running { began, partitions_done, partitions } => {
            json.text("state", "running")
                .number("began", began.seconds())
                .number("partitions_done", u64::from(partitions_done))
                .number("partitions", u64::from(partitions));
        }
        BackupState::Done { began, ended, taken } => {
            json.text("state", "done")
                .number("began", began.seconds())
                .number("ended", ended.seconds())
                .text("dir", &taken.dir.to_string_lossy())
                .number("partitions", u64::from(taken.partitions))
                .number("files", taken.files)
                .number("bytes", taken.bytes)
                .number("start", u64::from(taken.start))
                .number("epoch", taken.epoch);
        }
        BackupState::Failed { began, why } => {
            json.text("state", "failed").number("began", began.seconds()).text("error", &why);
        }
    }
    ok(json.close('}').finish())
}

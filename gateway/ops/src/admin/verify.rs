//! Reading and checking every object: begun by one request, asked for by others.

use store::{Census, Verification};
use types::BucketId;

use super::json::Json;
use super::{AdminReply, ok};
use crate::Ops;

pub(super) async fn begin(ops: &Ops) -> AdminReply {
    ops.store.begin_verification().await;
    AdminReply { status: 202, ..status(ops) }
}

pub(super) fn status(ops: &Ops) -> AdminReply {
    let mut json = Json::default();
    json.open('{');
    match ops.store.verification() {
        Verification::Never => {
            json.text("state", "never");
        }
        Verification::Running { began, so_far } => {
            json.text("state", "running").number("began", seconds(began));
            census(&mut json, &so_far, ops);
        }
        Verification::Done { began, ended, found } => {
            json.text("state", "done").number("began", seconds(began)).number("ended", seconds(ended));
            json.truth("whole", found.is_whole()).truth("lossy", found.is_lossy());
            census(&mut json, &found, ops);
        }
        Verification::Failed { began, why } => {
            json.text("state", "failed").number("began", seconds(began)).text("error", &why);
        }
    }
    ok(json.close('}').finish())
}

fn seconds(time: types::Timestamp) -> u64 {
    time.0 / 1_000_000_000
}

fn census(json: &mut Json, census: &Census, ops: &Ops) {
    json.number("objects", census.objects)
        .number("parts", census.parts)
        .number("stripes", census.stripes)
        .number("fragments_good", census.fragments_good)
        .number("fragments_bad", census.fragments_bad)
        .number("fragments_missing", census.fragments_missing)
        .number("fragments_absent", census.fragments_absent)
        .number("objects_short", census.objects_short)
        .number("objects_lost", census.objects_lost)
        .number("table_copies_good", census.table_copies_good)
        .number("table_copies_bad", census.table_copies_bad)
        .number("table_copies_missing", census.table_copies_missing)
        .number("partitions_without_tables", census.partitions_without_tables)
        .number("extents_unlisted", census.extents_unlisted)
        .number("partitions_damaged", census.partitions_damaged)
        .number("bytes_read", census.bytes_read)
        .name("lost")
        .open('[');
    for lost in &census.lost {
        json.open('{')
            .text("bucket", &name(ops, lost.bucket))
            .text("key", &lost.key)
            .truth("part", lost.is_part)
            .close('}');
    }
    json.close(']');
}

/// A bucket that is gone meanwhile has no name any more.
fn name(ops: &Ops, id: BucketId) -> String {
    let table = ops.store.buckets();
    table.values().find(|bucket| bucket.id == id).map(|bucket| bucket.name.to_string()).unwrap_or_default()
}

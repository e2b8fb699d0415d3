//! What was found, as JSON: one entry for each thing, and the report.

use s3::date::iso8601;
use store::salvage::{Count, Found, Report, Verdict, What};
use types::Attribute;

use crate::admin::json::Json;

const VERDICTS: [Verdict; 4] = [Verdict::Current, Verdict::PossiblyDeleted, Verdict::Superseded, Verdict::Deleted];

pub(super) fn text(value: impl ToString) -> Json {
    Json::Text(value.to_string())
}

fn number(value: usize) -> Json {
    Json::Number(value as u64)
}

pub(super) fn object(fields: Vec<(&str, Json)>) -> Json {
    Json::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Text, or nothing.
fn if_any(value: Option<impl ToString>) -> Json {
    value.map_or(Json::Null, text)
}

/// `file`: where its bytes were put, if they were.
pub(super) fn entry(found: &Found, file: &str) -> Json {
    let what = match &found.what {
        What::Object => "object",
        What::Part { .. } => "part",
        What::Unnamed { .. } => "unnamed",
    };
    let mut fields = vec![
        ("id", text(&found.id)),
        ("file", text(file)),
        ("what", text(what)),
        ("verdict", text(found.verdict.as_str())),
        ("size", Json::Number(found.size)),
        ("whole", Json::Truth(found.is_whole())),
        ("missing", missing(found)),
    ];
    if let What::Unnamed { volume, at } = &found.what {
        fields.extend([("volume", text(volume)), ("page", Json::Number(u64::from(at.0)))]);
        return object(fields);
    }
    if let What::Part { upload, number } = &found.what {
        fields.extend([
            ("upload", text(format!("{:032x}", upload.0))),
            ("part", Json::Number(u64::from(number.value()))),
        ]);
    }
    fields.extend([
        ("bucket", if_any(found.bucket_name.as_ref())),
        ("bucket_id", if_any(found.bucket.map(|id| format!("{:016x}", id.0)))),
        ("key", if_any(found.key.as_ref())),
        ("version", text(found.version)),
        ("lsn", text(format!("{:016x}", found.lsn.0))),
        ("modified", if_any(found.modified.map(|time| iso8601(time.milliseconds())))),
        ("etag", if_any(found.etag)),
        ("parts", number(found.parts)),
        ("headers", headers(found)),
        ("metadata", metadata(found)),
    ]);
    object(fields)
}

/// First byte and the one behind the last of each range.
fn missing(found: &Found) -> Json {
    let range = |range: &std::ops::Range<u64>| Json::List(vec![Json::Number(range.start), Json::Number(range.end)]);
    Json::List(found.missing.iter().map(range).collect())
}

/// The header that an attribute came in; `None` for those that are none or are not text.
pub(super) fn header(attribute: Attribute) -> Option<&'static str> {
    match attribute {
        Attribute::ContentType => Some("content-type"),
        Attribute::ContentEncoding => Some("content-encoding"),
        Attribute::ContentLanguage => Some("content-language"),
        Attribute::ContentDisposition => Some("content-disposition"),
        Attribute::CacheControl => Some("cache-control"),
        Attribute::Expires => Some("expires"),
        Attribute::WebsiteRedirectLocation | Attribute::StorageClass => None,
        Attribute::Checksum | Attribute::UserMetadata => None,
    }
}

fn headers(found: &Found) -> Json {
    let named = found.attributes.iter().filter_map(|(attribute, _, value)| {
        Some((header(attribute)?.to_owned(), text(String::from_utf8_lossy(value))))
    });
    Json::Object(named.collect())
}

fn metadata(found: &Found) -> Json {
    let user = found.attributes.iter().filter(|(attribute, ..)| *attribute == Attribute::UserMetadata);
    Json::Object(user.map(|(_, name, value)| (name.to_owned(), text(String::from_utf8_lossy(value)))).collect())
}

fn count(count: Count) -> Json {
    object(vec![
        ("found", Json::Number(count.found)),
        ("bytes", Json::Number(count.bytes)),
        ("partial", Json::Number(count.partial)),
        ("bytes_missing", Json::Number(count.bytes_missing)),
    ])
}

/// The report, for programs.
pub(super) fn report(report: &Report) -> Json {
    let counts = |of: fn(&Report, Verdict) -> Count| {
        object(VERDICTS.iter().map(|verdict| (verdict.as_str(), count(of(report, *verdict)))).collect())
    };
    let drives = report.drives.iter().map(|drive| {
        object(vec![
            ("dir", text(drive.dir.display())),
            ("drive", if_any(drive.identity.as_ref().ok())),
            ("epoch", drive.epoch.as_ref().map_or(Json::Null, |number| Json::Number(*number))),
            ("slot_files", number(drive.slot_files)),
            ("tables", number(drive.tables)),
        ])
    });
    let streams = report.streams.iter().map(|stream| {
        let lost =
            stream.lost.iter().map(|range| Json::List(vec![Json::Number(*range.start()), Json::Number(*range.end())]));
        object(vec![
            ("start", Json::Number(u64::from(stream.start))),
            ("shard", Json::Number(u64::from(stream.shard))),
            ("batches", Json::Number(stream.batches)),
            ("first", Json::Number(stream.first)),
            ("last", Json::Number(stream.last)),
            ("lost", Json::List(lost.collect())),
            ("lost_count", Json::Number(stream.lost_count)),
            ("behind_end", Json::Number(stream.behind_end)),
        ])
    });
    let buckets = report.buckets.iter().map(|bucket| {
        object(vec![
            ("id", text(format!("{:016x}", bucket.id.0))),
            ("name", if_any(bucket.name.as_ref())),
            ("deleted", Json::Truth(bucket.is_deleted)),
        ])
    });
    object(vec![
        ("deployment", text(report.deployment)),
        ("certain", Json::Truth(report.is_certain())),
        ("short", Json::Truth(report.is_short())),
        ("epoch", report.epoch.map_or(Json::Null, Json::Number)),
        ("drives", Json::List(drives.collect())),
        ("log_volumes", number(report.volumes_log)),
        ("data_volumes", number(report.volumes_data)),
        ("volumes_without_first_page", Json::List(report.volumes_headless.iter().map(text).collect())),
        (
            "files_contradicting",
            Json::List(report.files_contradicting.iter().map(|path| text(path.display())).collect()),
        ),
        ("streams", Json::List(streams.collect())),
        ("batches_lost", Json::Number(report.batches_lost())),
        ("partitions", number(report.partitions)),
        ("partitions_certain", number(report.partitions_certain)),
        ("partitions_with_tables", number(report.partitions_with_tables)),
        ("tables_failed", Json::List(report.tables_failed.iter().map(text).collect())),
        ("buckets", Json::List(buckets.collect())),
        ("objects", counts(Report::objects)),
        ("parts", counts(Report::parts)),
        ("uploads", Json::Number(report.uploads)),
        ("unnamed", count(report.unnamed)),
        ("unreadable_records", Json::Number(report.unreadable_records)),
    ])
}

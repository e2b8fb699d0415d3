//! The report as text for the operator: what was found, what was not, what cannot be known.

use std::fmt::Write;

use store::salvage::{Count, Report, Verdict};

use super::Recovery;

/// Things of a kind that are listed one by one.
const LISTED_MAX: usize = 20;

pub(super) fn report(report: &Report, recovery: &Recovery) -> String {
    let mut text = String::new();
    write(&mut text, report, recovery).expect("a String takes every write");
    text
}

fn write(text: &mut String, report: &Report, recovery: &Recovery) -> std::fmt::Result {
    writeln!(text, "deployment   {}", report.deployment)?;
    for drive in &report.drives {
        let identity = drive.identity.as_ref().map_or("no identity".to_owned(), ToString::to_string);
        let epoch = drive.epoch.as_ref().map_or("no topology".to_owned(), |number| format!("epoch {number}"));
        writeln!(
            text,
            "drive        {}: {identity}, {epoch}, {} slot files, tables of {} partitions",
            drive.dir.display(),
            drive.slot_files,
            drive.tables
        )?;
    }
    writeln!(text, "volumes      {} of the log, {} of data", report.volumes_log, report.volumes_data)?;
    for volume in report.volumes_headless.iter().take(LISTED_MAX) {
        writeln!(text, "  no first page of volume {volume} is left: nothing in it can be told from noise")?;
    }
    for path in report.files_contradicting.iter().take(LISTED_MAX) {
        writeln!(text, "  {} contradicts the other files of its volume and was not used", path.display())?;
    }
    let batches: u64 = report.streams.iter().map(|stream| stream.batches).sum();
    writeln!(text, "commits      {batches} batches read, {} known to be lost", report.batches_lost())?;
    for stream in report.streams.iter().filter(|stream| stream.lost_count > 0).take(LISTED_MAX) {
        let lost: Vec<String> =
            stream.lost.iter().take(LISTED_MAX).map(|lost| format!("{}-{}", lost.start(), lost.end())).collect();
        writeln!(text, "  start {}, shard {}: {} lost", stream.start, stream.shard, lost.join(" "))?;
    }
    writeln!(
        text,
        "partitions   {}: of {} tables could be read, of {} it is certain what is current",
        report.partitions, report.partitions_with_tables, report.partitions_certain
    )?;
    for why in report.tables_failed.iter().take(LISTED_MAX) {
        writeln!(text, "  {why}")?;
    }
    for bucket in report.buckets.iter().filter(|bucket| bucket.name.is_none()).take(LISTED_MAX) {
        writeln!(text, "  the name of bucket {:016x} is lost", bucket.id.0)?;
    }
    for (verdict, what) in [
        (Verdict::Current, "current"),
        (Verdict::PossiblyDeleted, "possibly deleted or replaced since"),
        (Verdict::Superseded, "replaced later"),
        (Verdict::Deleted, "deleted later"),
    ] {
        count(text, "objects", report.objects(verdict), what)?;
        count(text, "parts", report.parts(verdict), what)?;
    }
    count(text, "no name", report.unnamed, "stretches of bodies that no record names")?;
    if report.unreadable_records > 0 {
        writeln!(text, "records      {} cannot be read", report.unreadable_records)?;
    }
    if !recovery.with_deleted && report.objects(Verdict::Deleted).found + report.objects(Verdict::Superseded).found > 0
    {
        writeln!(text, "what was deleted or replaced later was not taken and not read: --with-deleted takes it")?;
    }
    match (report.is_short(), report.is_certain()) {
        (false, true) => writeln!(text, "everything that was alive is there"),
        (false, false) => writeln!(
            text,
            "everything that was found is whole; what commits did that were freed with their log volumes cannot be known"
        ),
        (true, _) => {
            writeln!(text, "not everything is there: see above, and \"whole\" and \"missing\" in the manifest")
        }
    }
}

fn count(text: &mut String, kind: &str, count: Count, what: &str) -> std::fmt::Result {
    if count.found == 0 {
        return Ok(());
    }
    write!(text, "{kind:<12} {} {what}, {} bytes", count.found, count.bytes)?;
    match count.partial {
        0 => writeln!(text),
        partial => writeln!(text, "; {partial} of them not whole, {} bytes missing", count.bytes_missing),
    }
}

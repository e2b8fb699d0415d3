//! What the NVMe drives beneath each directory say of their health: asked when someone wants to know and from time to time,
//! by helper threads, and known to all shards until the next answer.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use rt::nvme::{Device, Smart};
use rt::time::Instant;
use store::{DriveId, DriveState, DriveStatus, Store};

use super::json::Json;

/// Who asks waits for a drive no longer, counted from when the question was put.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What is known of the drives beneath one directory.
#[derive(Default)]
struct Known {
    /// When the question was put that has no answer yet. There is one at a time, so a drive that hangs holds up one helper
    /// thread, however often it is asked for.
    asked: Option<Instant>,
    waiting: Vec<Waker>,
    /// As answered last.
    devices: Option<Vec<Device>>,
    /// Each drive's log as read last: what it warns of has been logged.
    logs: BTreeMap<String, Smart>,
}

/// Written by the helper threads when a drive has answered, read by all shards; nothing is done under this lock but to look
/// things up, and nobody takes it for a request of a client.
static KNOWN: Mutex<BTreeMap<DriveId, Known>> = Mutex::new(BTreeMap::new());

fn with_known<T>(f: impl FnOnce(&mut BTreeMap<DriveId, Known>) -> T) -> T {
    // What is done under it leaves the map whole at every step.
    f(&mut KNOWN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What a list of drives says of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// Not used, so not asked.
    Unasked,
    /// Has not answered in time.
    Silent,
    Answered(Vec<Device>),
}

/// Asks the NVMe drives beneath all directories that are used, so that metrics and log tell what they say. Takes a few
/// milliseconds, or 5 seconds when a drive hangs.
pub async fn ask_drives(store: &Store) {
    reports(&store.drives()).await;
}

/// In the order of `drives`.
pub(super) async fn reports(drives: &[DriveStatus]) -> Vec<Report> {
    let reports = drives.iter().map(|drive| async {
        match drive.state {
            DriveState::In | DriveState::Suspect => report(drive.id, &drive.dir, rt::nvme::smart, ANSWER_WITHIN).await,
            DriveState::Out | DriveState::Missing => {
                forget(drive.id);
                Report::Unasked
            }
        }
    });
    rt::sync::join_all(reports).await
}

/// `ask` blocks for as long as it takes. Whoever comes while a question is under way gets the same answer.
async fn report(
    id: DriveId,
    dir: &Path,
    ask: impl FnOnce(&Path) -> Vec<Device> + Send + 'static,
    within: Duration,
) -> Report {
    let now = rt::time::now();
    let (asked, is_new) = with_known(|known| {
        let known = known.entry(id).or_default();
        let is_new = known.asked.is_none();
        (*known.asked.get_or_insert(now), is_new)
    });
    if is_new {
        let dir = dir.to_owned();
        // A task of its own: whoever wanted to know may go away, and the answer counts all the same.
        drop(rt::spawn(rt::offload(move || {
            let devices = ask(&dir);
            answered(id, &dir, devices);
        })));
    }
    let left = within.saturating_sub(asked.elapsed());
    match rt::time::timeout(left, answer(id)).await {
        Ok(devices) => Report::Answered(devices),
        Err(rt::time::Elapsed) => Report::Silent,
    }
}

/// Waits until the drives beneath a directory have answered.
async fn answer(id: DriveId) -> Vec<Device> {
    std::future::poll_fn(|cx| {
        with_known(|known| {
            let Some(known) = known.get_mut(&id) else { return Poll::Ready(Vec::new()) };
            if known.asked.is_none() {
                return Poll::Ready(known.devices.clone().unwrap_or_default());
            }
            if !known.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                known.waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
    })
    .await
}

/// On a helper thread.
fn answered(id: DriveId, dir: &Path, devices: Vec<Device>) {
    let (waiting, news) = with_known(|known| {
        // Not used any more: nobody wants to know.
        let Some(known) = known.get_mut(&id) else { return Default::default() };
        let news: Vec<News> = devices.iter().filter_map(|device| known.note(device)).collect();
        known.asked = None;
        known.devices = Some(devices);
        (std::mem::take(&mut known.waiting), news)
    });
    for waker in waiting {
        waker.wake();
    }
    for news in news {
        news.log(id, dir);
    }
}

fn forget(id: DriveId) {
    let known = with_known(|known| known.remove(&id));
    for waker in known.into_iter().flat_map(|known| known.waiting) {
        waker.wake();
    }
}

/// What changed in what a drive says of itself.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Fails { device: String, says: String },
    Warns { device: String, says: String },
    IsWell { device: String },
}

impl Known {
    /// Keeps the log of a drive and tells what is new in it. One that was not read changes nothing.
    fn note(&mut self, device: &Device) -> Option<News> {
        let Ok(smart) = device.smart else { return None };
        let before = self.logs.insert(device.name.clone(), smart).map_or(0, |before| before.critical_warning);
        let new = Smart { critical_warning: smart.critical_warning & !before, ..smart };
        let (device, says) = (device.name.clone(), smart.warnings().join(", "));
        match (before, smart.critical_warning) {
            _ if new.is_failing() => Some(News::Fails { device, says }),
            _ if new.critical_warning != 0 => Some(News::Warns { device, says }),
            (1.., 0) => Some(News::IsWell { device }),
            _ => None,
        }
    }
}

impl News {
    fn log(&self, id: DriveId, dir: &Path) {
        let dir = dir.display();
        match self {
            News::Fails { device, says } => {
                telemetry::error!("a drive says that it fails: replace it"; drive = id, dir = dir, device = device, says = says);
            }
            News::Warns { device, says } => {
                telemetry::warn!("a drive warns"; drive = id, dir = dir, device = device, says = says);
            }
            News::IsWell { device } => {
                telemetry::info!("a drive warns no more"; drive = id, dir = dir, device = device);
            }
        }
    }
}

impl Report {
    /// One word: what is worst of all drives beneath a directory.
    fn health(&self) -> &'static str {
        let devices = match self {
            Report::Unasked => return "unasked",
            Report::Silent => return "silent",
            Report::Answered(devices) => devices,
        };
        let read = || devices.iter().filter_map(|device| device.smart.as_ref().ok());
        let unread = devices.iter().filter_map(|device| device.smart.as_ref().err()).max();
        match unread {
            _ if devices.is_empty() => "none",
            _ if read().any(Smart::is_failing) => "failing",
            _ if read().any(|smart| smart.critical_warning != 0) => "warns",
            Some(unread) => unread.word(),
            None => "ok",
        }
    }

    /// The fields of the object of one directory.
    pub(super) fn write(&self, json: &mut Json) {
        json.text("health", self.health()).name("smart").open('[');
        if let Report::Answered(devices) = self {
            devices.iter().for_each(|device| write(json, device));
        }
        json.close(']');
    }
}

fn write(json: &mut Json, device: &Device) {
    json.open('{').text("device", &device.name);
    match &device.smart {
        Err(unread) => {
            json.text("unread", unread.word());
        }
        Ok(smart) => {
            json.number("critical_warning", u64::from(smart.critical_warning))
                .texts("warnings", &smart.warnings())
                .texts("notes", &smart.notes())
                .number("percentage_used", u64::from(smart.percentage_used))
                .number("available_spare", u64::from(smart.available_spare))
                .number("spare_threshold", u64::from(smart.spare_threshold))
                .number("media_errors", smart.media_errors)
                .number("read_bytes", smart.read_bytes)
                .number("written_bytes", smart.written_bytes)
                // Not told, or below zero.
                .number_if("celsius", smart.celsius().and_then(|celsius| u64::try_from(celsius).ok()));
        }
    }
    json.close('}');
}

/// What the drives said last, in the Prometheus text format: nothing of one whose log was never read.
pub(super) fn metrics(drives: impl Iterator<Item = DriveId>) -> String {
    let logs: Vec<(DriveId, BTreeMap<String, Smart>)> =
        with_known(|known| drives.filter_map(|id| known.get(&id).map(|known| (id, known.logs.clone()))).collect());
    let mut text = String::new();
    let mut metric = |name: &str, help: &str, value: &dyn Fn(&Smart) -> Option<f64>| {
        text += &super::metric_head(name, help);
        for (id, logs) in &logs {
            for (device, value) in logs.iter().filter_map(|(device, smart)| Some((device, value(smart)?))) {
                text += &format!("{name}{{drive=\"{id}\",device=\"{device}\"}} {value}\n");
            }
        }
    };
    let share = |percent: u8| Some(f64::from(percent) / 100.0);
    metric(
        "hafiz_drive_failing",
        "Whether the drive says that its spare is low, that it is degraded, or that it is read-only.",
        &|smart| Some(f64::from(u8::from(smart.is_failing()))),
    );
    metric("hafiz_drive_critical_warning", "Bits of what the drive warns of.", &|smart| {
        Some(f64::from(smart.critical_warning))
    });
    metric("hafiz_drive_spare_ratio", "Spare blocks that are left.", &|smart| share(smart.available_spare));
    metric("hafiz_drive_worn_ratio", "Share of its life that is over, as its maker estimates it.", &|smart| {
        share(smart.percentage_used)
    });
    metric("hafiz_drive_media_errors", "Times that the drive could not correct what it read.", &|smart| {
        Some(smart.media_errors as f64)
    });
    metric("hafiz_drive_temperature_celsius", "Temperature of the drive.", &|smart| smart.celsius().map(f64::from));
    text
}

#[cfg(test)]
mod tests;

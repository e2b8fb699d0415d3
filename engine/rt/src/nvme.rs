//! What NVMe drives say of their health: the SMART log of each one that lies beneath a directory.
//!
//! Layouts and numbers are those of the NVM Express base specification 1.4: 5.14.1.2 for the log, figure 194.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::sys::{self, NVME_LOG_BYTES};

/// Layers between a file system and its drives that are looked through: partitions, device mapper, RAID, loop devices.
const LAYERS_MAX: usize = 8;
/// Block devices that are looked at for one directory, and drives of which it says something.
const DEVICES_MAX: usize = 64;
const SYS: &str = "/sys";
const DEV: &str = "/dev";
/// A data unit of the log: a thousand sectors of 512 bytes, whatever sectors the drive has.
const DATA_UNIT_BYTES: u128 = 512_000;
const ZERO_CELSIUS_KELVIN: i32 = 273;
/// When as much of its life is over as the maker of a drive estimates.
const LIFE_PERCENT: u8 = 100;

/// Bits of the critical warning.
const SPARE_LOW: u8 = 1 << 0;
const TEMPERATURE: u8 = 1 << 1;
const DEGRADED: u8 = 1 << 2;
const READ_ONLY: u8 = 1 << 3;
const BACKUP_FAILED: u8 = 1 << 4;
const MEMORY_UNRELIABLE: u8 = 1 << 5;
const WARNINGS: [(u8, &str); 6] = [
    (SPARE_LOW, "spare low"),
    (TEMPERATURE, "temperature"),
    (DEGRADED, "degraded"),
    (READ_ONLY, "read-only"),
    (BACKUP_FAILED, "backup failed"),
    (MEMORY_UNRELIABLE, "memory unreliable"),
];
/// What does not get better: the drive wants to be replaced. The others tell of its place, or of parts that are not used here.
const FAILING: u8 = SPARE_LOW | DEGRADED | READ_ONLY;

/// A drive beneath a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The controller's name below /dev; the namespace's where the kernel does not say whose it is.
    pub name: String,
    pub smart: Result<Smart, Unread>,
}

/// Why a drive's log was not read. None of these says that the drive is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unread {
    /// This process lacks `CAP_SYS_ADMIN`, or may not open the device file.
    Forbidden,
    /// There is no device file, as in most containers.
    Absent,
    /// Its controller is being reset, or was given up by the kernel.
    Resetting,
    /// It has no such log, or did not answer the kernel.
    Refused,
}

impl Unread {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Unread::Forbidden => "forbidden",
            Unread::Absent => "absent",
            Unread::Resetting => "resetting",
            Unread::Refused => "refused",
        }
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Unread {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Unread::Forbidden,
            io::ErrorKind::NotFound => Unread::Absent,
            // What the kernel says when one opens a controller that is not live.
            io::ErrorKind::WouldBlock => Unread::Resetting,
            _ => Unread::Refused,
        }
    }
}

/// The SMART log of one drive, as far as it tells whether the drive should be replaced. Whatever a drive says is taken as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Smart {
    /// Bits of what is wrong: see `warnings`.
    pub critical_warning: u8,
    /// 0 when the drive does not tell.
    pub temperature_kelvin: u16,
    /// Percent of the blocks that were set aside for bad ones.
    pub available_spare: u8,
    /// Below so many percent the drive warns.
    pub spare_threshold: u8,
    /// Percent of the life that its maker estimates, up to 255.
    pub percentage_used: u8,
    /// By the host, in thousands of 512 bytes rounded up; `u64::MAX` for more, as in all below.
    pub read_bytes: u64,
    pub written_bytes: u64,
    /// Times that data were found wrong and could not be corrected.
    pub media_errors: u64,
}

impl Smart {
    /// Any bytes are a log. `None` when there are not `NVME_LOG_BYTES` of them.
    pub fn parse(log: &[u8]) -> Option<Smart> {
        let log: &[u8; NVME_LOG_BYTES] = log.try_into().ok()?;
        let number = |at: usize| u128::from_le_bytes(log[at..at + 16].try_into().expect("16 bytes"));
        let saturated = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        Some(Smart {
            critical_warning: log[0],
            temperature_kelvin: u16::from_le_bytes([log[1], log[2]]),
            available_spare: log[3],
            spare_threshold: log[4],
            percentage_used: log[5],
            read_bytes: saturated(number(32).saturating_mul(DATA_UNIT_BYTES)),
            written_bytes: saturated(number(48).saturating_mul(DATA_UNIT_BYTES)),
            media_errors: saturated(number(160)),
        })
    }

    /// Whether the drive says that it wears out or fails, so that it should be replaced.
    pub fn is_failing(&self) -> bool {
        self.critical_warning & FAILING != 0
    }

    /// What the drive warns of, in a few words each.
    pub fn warnings(&self) -> Vec<String> {
        let known = WARNINGS.iter().filter(|(bit, _)| self.critical_warning & bit != 0);
        let mut warnings: Vec<String> = known.map(|(_, what)| (*what).to_owned()).collect();
        let unknown = WARNINGS.iter().fold(self.critical_warning, |bits, (bit, _)| bits & !bit);
        if unknown != 0 {
            warnings.push(format!("warning {unknown:#x}"));
        }
        warnings
    }

    /// What to know beside the warnings.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.media_errors > 0 {
            notes.push(format!("media errors {}", self.media_errors));
        }
        if self.percentage_used >= LIFE_PERCENT {
            notes.push(format!("worn {}%", self.percentage_used));
        }
        notes
    }

    pub fn celsius(&self) -> Option<i32> {
        (self.temperature_kelvin != 0).then(|| i32::from(self.temperature_kelvin) - ZERO_CELSIUS_KELVIN)
    }
}

/// The NVMe drives beneath the file system that holds `dir`, and their logs: none when there is none, or when the kernel does
/// not say what lies beneath, as for file systems without a block device of their own.
///
/// Blocks, for as long as the drives take: a minute and more for one that hangs. So call it in `offload`, and do not wait for it.
/// Cost: some reads below /sys, and one command for each drive.
pub fn smart(dir: &Path) -> Vec<Device> {
    let Ok(metadata) = fs::metadata(dir) else { return Vec::new() };
    let mut beneath = Beneath::new(Path::new(SYS));
    beneath.device(metadata.dev(), LAYERS_MAX);
    let mut devices: Vec<Device> = Vec::new();
    for namespace in beneath.namespaces {
        let device = ask_any(&controllers(&namespace));
        // Namespaces of one drive share its log.
        if devices.iter().all(|known| known.name != device.name) {
            devices.push(device);
        }
    }
    devices
}

/// Asks the first controller that can be asked: all of them lead to the same drive.
fn ask_any(names: &[String]) -> Device {
    let mut asked = names.iter().map(|name| Device { name: name.clone(), smart: ask(name) });
    let first = asked.next().expect("a namespace has a name");
    match first.smart {
        Ok(_) => first,
        Err(_) => asked.find(|device| device.smart.is_ok()).unwrap_or(first),
    }
}

fn ask(name: &str) -> Result<Smart, Unread> {
    let file = File::open(Path::new(DEV).join(name))?;
    let mut log = [0; NVME_LOG_BYTES];
    sys::nvme_smart_log(&file, &mut log)?;
    Ok(Smart::parse(&log).expect("as long as a log is"))
}

/// Names of the controllers of a namespace, given as its folder in sysfs: one, or several where the drive has several paths.
/// The namespace's own name, which the kernel takes as well, when it does not say.
fn controllers(namespace: &Path) -> Vec<String> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Ok(above) = fs::canonicalize(namespace.join("device")) else { return vec![name(namespace)] };
    if is_controller(&name(&above)) {
        return vec![name(&above)];
    }
    // A subsystem, which has a link for each of its controllers.
    let entries = fs::read_dir(&above).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| name(&entry.path())).filter(|name| is_controller(name)).collect();
    names.sort();
    if names.is_empty() { vec![name(namespace)] } else { names }
}

/// `nvme0`, and neither `nvme0n1` nor `nvme-subsys0`.
fn is_controller(name: &str) -> bool {
    name.strip_prefix("nvme").is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Looks for NVMe namespaces beneath block devices. What cannot be looked at is passed by.
struct Beneath<'a> {
    sys: &'a Path,
    /// Folders in sysfs, in the order in which they were found.
    namespaces: Vec<PathBuf>,
    seen: Vec<PathBuf>,
}

impl<'a> Beneath<'a> {
    fn new(sys: &'a Path) -> Beneath<'a> {
        Beneath { sys, namespaces: Vec::new(), seen: Vec::new() }
    }

    /// `layers`: how many may be looked through from here on.
    fn device(&mut self, dev: u64, layers: usize) {
        let (major, minor) = sys::device_numbers(dev);
        if let Ok(folder) = fs::canonicalize(self.sys.join(format!("dev/block/{major}:{minor}"))) {
            self.folder(folder, layers);
        }
    }

    fn folder(&mut self, mut folder: PathBuf, layers: usize) {
        if folder.join("partition").exists() {
            folder.pop();
        }
        if layers == 0 || self.seen.len() == DEVICES_MAX || self.seen.contains(&folder) {
            return;
        }
        self.seen.push(folder.clone());
        if folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nvme")) {
            self.namespaces.push(folder);
            return;
        }
        if let Ok(backing) = fs::read_to_string(folder.join("loop/backing_file"))
            && let Ok(metadata) = fs::metadata(backing.trim_end())
        {
            // A drive, or a file on another file system.
            let is_device = metadata.file_type().is_block_device();
            self.device(if is_device { metadata.rdev() } else { metadata.dev() }, layers - 1);
        }
        let slaves = fs::read_dir(folder.join("slaves")).into_iter().flatten().flatten();
        let mut slaves: Vec<PathBuf> = slaves.filter_map(|slave| fs::canonicalize(slave.path()).ok()).collect();
        slaves.sort();
        for slave in slaves {
            self.folder(slave, layers - 1);
        }
    }
}

#[cfg(test)]
mod tests;

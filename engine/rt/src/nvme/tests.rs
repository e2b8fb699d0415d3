use std::os::unix::fs::symlink;

use super::*;

/// A log with something in every field that is read.
fn log() -> [u8; NVME_LOG_BYTES] {
    let mut log = [0; NVME_LOG_BYTES];
    log[..6].copy_from_slice(&[0b0000_0101, 0x43, 0x01, 99, 10, 3]);
    // Endurance group and reserved bytes, which are none of ours.
    log[6..32].fill(0xEE);
    log[32..34].copy_from_slice(&[0x02, 0x00]);
    log[48..52].copy_from_slice(&[0x00, 0x00, 0x01, 0x00]);
    // Commands, busy time, power cycles, hours, unsafe shutdowns.
    log[64..160].fill(0xEE);
    log[160..162].copy_from_slice(&[0x02, 0x01]);
    log[176..].fill(0xEE);
    log
}

#[test]
fn a_log_says_what_its_bytes_say() {
    let smart = Smart::parse(&log()).unwrap();
    let expect = Smart {
        critical_warning: 5,
        temperature_kelvin: 323,
        available_spare: 99,
        spare_threshold: 10,
        percentage_used: 3,
        read_bytes: 1_024_000,
        written_bytes: 65_536 * 512_000,
        media_errors: 258,
    };
    assert_eq!(smart, expect);
    assert_eq!(smart.celsius(), Some(50));
}

#[test]
fn each_bit_of_the_critical_warning_has_its_words() {
    let check = |bits: u8, is_failing: bool, expect: &[&str]| {
        let mut log = log();
        log[0] = bits;
        let smart = Smart::parse(&log).unwrap();
        assert_eq!(
            (smart.is_failing(), smart.warnings()),
            (is_failing, expect.iter().map(|s| (*s).to_owned()).collect())
        );
    };
    check(0, false, &[]);
    check(0x01, true, &["spare low"]);
    check(0x02, false, &["temperature"]);
    check(0x04, true, &["degraded"]);
    check(0x08, true, &["read-only"]);
    check(0x10, false, &["backup failed"]);
    check(0x20, false, &["memory unreliable"]);
    check(0x40, false, &["warning 0x40"]);
    check(0xC2, false, &["temperature", "warning 0xc0"]);
    check(
        0xFF,
        true,
        &["spare low", "temperature", "degraded", "read-only", "backup failed", "memory unreliable", "warning 0xc0"],
    );
}

#[test]
fn media_errors_and_wear_are_noted() {
    let check = |used: u8, media_errors: u8, expect: &[&str]| {
        let mut log = [0; NVME_LOG_BYTES];
        (log[5], log[160]) = (used, media_errors);
        assert_eq!(Smart::parse(&log).unwrap().notes(), expect);
    };
    check(0, 0, &[]);
    check(99, 0, &[]);
    check(100, 0, &["worn 100%"]);
    check(255, 7, &["media errors 7", "worn 255%"]);
}

#[test]
fn logs_of_other_lengths_are_none() {
    for len in [0, 1, 6, 175, 511, 513, 1024] {
        assert_eq!(Smart::parse(&vec![0xFF; len]), None, "{len}");
    }
}

#[test]
fn absurd_values_saturate() {
    let smart = Smart::parse(&[0xFF; NVME_LOG_BYTES]).unwrap();
    assert_eq!([smart.read_bytes, smart.written_bytes, smart.media_errors], [u64::MAX; 3]);
    assert_eq!((smart.available_spare, smart.percentage_used), (255, 255));
    assert_eq!(smart.celsius(), Some(65_535 - 273));
    let smart = Smart::parse(&[0; NVME_LOG_BYTES]).unwrap();
    assert_eq!((smart.celsius(), smart.warnings(), smart.notes()), (None, vec![], vec![]));
    // One more than fits, and the last that does.
    let mut log = [0; NVME_LOG_BYTES];
    log[160 + 8] = 1;
    assert_eq!(Smart::parse(&log).unwrap().media_errors, u64::MAX);
    log[160..176].fill(0);
    log[160..168].fill(0xFF);
    assert_eq!(Smart::parse(&log).unwrap().media_errors, u64::MAX);
    log[160] = 0xFE;
    assert_eq!(Smart::parse(&log).unwrap().media_errors, u64::MAX - 1);
    // Below zero.
    log[1..3].copy_from_slice(&[0x01, 0x00]);
    assert_eq!(Smart::parse(&log).unwrap().celsius(), Some(-272));
}

#[test]
fn any_bytes_are_a_log() {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..2_000 {
        let mut log = [0; NVME_LOG_BYTES];
        for byte in &mut log {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            *byte = random as u8;
        }
        let smart = Smart::parse(&log).unwrap();
        assert_eq!(smart.critical_warning == 0, smart.warnings().is_empty());
        smart.celsius();
    }
}

/// A tree as the kernel shows it below /sys.
struct Sys(PathBuf);

impl Sys {
    fn new(test: &str, folders: &[&str]) -> Sys {
        let root = std::env::temp_dir().join(format!("hafiz-rt-nvme-{}-{test}", std::process::id()));
        for folder in folders {
            fs::create_dir_all(root.join("devices").join(folder)).unwrap();
        }
        fs::create_dir_all(root.join("dev/block")).unwrap();
        Sys(root)
    }

    fn at(&self, folder: &str) -> PathBuf {
        self.0.join("devices").join(folder)
    }

    fn link(&self, from: &str, to: &str) {
        symlink(self.at(to), self.at(from)).unwrap();
    }

    fn found_beneath(&self, device: &str) -> Vec<String> {
        let mut beneath = Beneath::new(&self.0);
        beneath.folder(self.at(device), LAYERS_MAX);
        beneath.namespaces.iter().flat_map(|namespace| controllers(namespace)).collect()
    }
}

impl Drop for Sys {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn drives_are_found_beneath_partitions_and_mapped_devices() {
    let sys = Sys::new(
        "layers",
        &[
            "nvme0/nvme0n1/nvme0n1p1",
            "nvme1/nvme1n1",
            "dm-0/slaves",
            "dm-1/slaves",
            "sda/sda1",
            "dm-2/slaves",
            "md0/slaves",
        ],
    );
    for partition in ["nvme0/nvme0n1/nvme0n1p1", "sda/sda1"] {
        fs::write(sys.at(partition).join("partition"), "1\n").unwrap();
    }
    sys.link("nvme0/nvme0n1/device", "nvme0");
    sys.link("nvme1/nvme1n1/device", "nvme1");
    let slaves = [
        ("dm-0", "nvme0/nvme0n1/nvme0n1p1"),
        ("dm-0", "nvme1/nvme1n1"),
        ("dm-1", "dm-0"),
        ("dm-1", "sda"),
        ("dm-2", "dm-2"),
        ("md0", "dm-0"),
        ("md0", "dm-1"),
    ];
    for (above, below) in slaves {
        let name = Path::new(below).file_name().unwrap().to_string_lossy();
        sys.link(&format!("{above}/slaves/{name}"), below);
    }
    let check = |device: &str, expect: &[&str]| assert_eq!(sys.found_beneath(device), expect, "{device}");
    check("nvme1/nvme1n1", &["nvme1"]);
    check("nvme0/nvme0n1/nvme0n1p1", &["nvme0"]);
    check("dm-0", &["nvme0", "nvme1"]);
    check("dm-1", &["nvme0", "nvme1"]);
    // By two ways, and named once.
    check("md0", &["nvme0", "nvme1"]);
    check("sda/sda1", &[]);
    // A circle in what the kernel says ends.
    check("dm-2", &[]);
    check("there-is-none", &[]);
}

#[test]
fn a_chain_of_more_layers_than_anyone_has_is_not_followed() {
    let names: Vec<String> = (0..=LAYERS_MAX).map(|n| format!("dm-{n}/slaves")).collect();
    let folders: Vec<&str> = names.iter().map(String::as_str).chain(["nvme0/nvme0n1"]).collect();
    let sys = Sys::new("chain", &folders);
    sys.link("nvme0/nvme0n1/device", "nvme0");
    for n in 0..LAYERS_MAX {
        sys.link(&format!("dm-{n}/slaves/dm-{}", n + 1), &format!("dm-{}", n + 1));
    }
    sys.link(&format!("dm-{LAYERS_MAX}/slaves/nvme0n1"), "nvme0/nvme0n1");
    assert_eq!(sys.found_beneath("dm-3"), ["nvme0"]);
    assert_eq!(sys.found_beneath("dm-0"), Vec::<String>::new());
}

#[test]
fn the_drive_beneath_a_loop_device_is_that_of_its_file() {
    let sys = Sys::new("loop", &["loop0/loop", "nvme0/nvme0n1", "loop1/loop"]);
    sys.link("nvme0/nvme0n1/device", "nvme0");
    let file = sys.0.join("image");
    fs::write(&file, "").unwrap();
    fs::write(sys.at("loop0/loop/backing_file"), format!("{}\n", file.display())).unwrap();
    fs::write(sys.at("loop1/loop/backing_file"), "/there/is/none (deleted)\n").unwrap();
    let (major, minor) = sys::device_numbers(fs::metadata(&file).unwrap().dev());
    symlink(sys.at("nvme0/nvme0n1"), sys.0.join(format!("dev/block/{major}:{minor}"))).unwrap();
    assert_eq!(sys.found_beneath("loop0"), ["nvme0"]);
    assert_eq!(sys.found_beneath("loop1"), Vec::<String>::new());
}

#[test]
fn a_namespace_of_several_paths_has_several_controllers() {
    let sys = Sys::new("paths", &["nvme-subsys0/nvme0n1", "pci/nvme0/nvme0c0n1", "pci/nvme3", "orphan/nvme7n1"]);
    sys.link("nvme-subsys0/nvme0n1/device", "nvme-subsys0");
    sys.link("nvme-subsys0/nvme3", "pci/nvme3");
    sys.link("nvme-subsys0/nvme0", "pci/nvme0");
    assert_eq!(sys.found_beneath("nvme-subsys0/nvme0n1"), ["nvme0", "nvme3"]);
    assert_eq!(sys.found_beneath("orphan/nvme7n1"), ["nvme7n1"]);
}

#[test]
fn a_directory_without_a_drive_has_no_logs() {
    assert_eq!(smart(Path::new("/proc")), []);
    assert_eq!(smart(Path::new("/proc/there/is/none")), []);
}

#[test]
fn what_cannot_be_asked_is_one_word_and_no_failure() {
    assert_eq!(ask("there-is-none"), Err(Unread::Absent));
    // No NVMe drive: the kernel knows no such command there.
    assert_eq!(ask("null"), Err(Unread::Refused));
    let check = |kind: io::ErrorKind, expect: &str| assert_eq!(Unread::from(io::Error::from(kind)).word(), expect);
    check(io::ErrorKind::PermissionDenied, "forbidden");
    check(io::ErrorKind::NotFound, "absent");
    check(io::ErrorKind::WouldBlock, "resetting");
    check(io::ErrorKind::TimedOut, "refused");
}

//! What this machine has: memory, cores, devices, the process's own size.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Memory that this process may use in bytes: the machine's, or the container's if that is less.
pub(crate) fn memory_bytes() -> u64 {
    /// What is assumed of a system that does not tell.
    const UNKNOWN_BYTES: u64 = 2 << 30;
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let machine = kib_field(&meminfo, "MemTotal:").unwrap_or(UNKNOWN_BYTES);
    container_limits().into_iter().fold(machine, u64::min)
}

/// Memory limits of the control groups that this process is in.
fn container_limits() -> Vec<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let root = Path::new("/sys/fs/cgroup");
    let own = root.join(own.trim_start_matches('/'));
    let v2 = own.ancestors().take_while(|dir| dir.starts_with(root)).map(|dir| dir.join("memory.max"));
    let v1 = root.join("memory/memory.limit_in_bytes");
    let read = |path: PathBuf| std::fs::read_to_string(path).ok()?.trim().parse().ok();
    v2.chain([v1]).filter_map(read).collect()
}

/// Memory of this process that is in RAM.
pub(crate) fn resident_bytes() -> Option<u64> {
    kib_field(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// A line such as `MemTotal:  24576 kB`, in bytes.
fn kib_field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The directory, or the nearest one above it that exists: the file system it will be on.
pub(crate) fn existing(dir: &Path) -> PathBuf {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// The device a directory is on, or will be on.
pub(crate) fn device(dir: &Path) -> io::Result<u64> {
    std::fs::metadata(existing(dir)).map(|metadata| metadata.dev())
}

/// Groups of two and more directories on the same device, in the order given.
pub(crate) fn sharing_device(dirs: &[PathBuf]) -> Vec<Vec<&PathBuf>> {
    let mut devices: Vec<(u64, Vec<&PathBuf>)> = Vec::new();
    for dir in dirs {
        let Ok(device) = device(dir) else { continue };
        match devices.iter_mut().find(|(known, _)| *known == device) {
            Some((_, group)) => group.push(dir),
            None => devices.push((device, vec![dir])),
        }
    }
    devices.into_iter().map(|(_, group)| group).filter(|group| group.len() > 1).collect()
}

/// An address under which other machines reach this one, if it has a route to anywhere. Sends nothing.
pub(crate) fn outward_address() -> Option<IpAddr> {
    /// Reserved for documentation (RFC 5737): nobody is asked, only the routing table.
    const ANYWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(ANYWHERE).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_memory_and_this_process_some_of_it() {
        assert_eq!(kib_field("A: 1 kB\nMemTotal:   24 kB\n", "MemTotal:"), Some(24 * 1024));
        let (all, own) = (memory_bytes(), resident_bytes().unwrap());
        assert!(own > 0 && own < all, "{own} of {all}");
    }

    #[test]
    fn directories_on_one_device_are_found_before_they_exist() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [dir.path().join("a"), PathBuf::from("/proc"), dir.path().join("b/c")];
        assert_eq!(sharing_device(&dirs), [vec![&dirs[0], &dirs[2]]]);
        assert_eq!(existing(&dirs[2]), dir.path());
    }
}

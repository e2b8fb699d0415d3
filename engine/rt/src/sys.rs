//! Thin safe wrappers around the system calls that std does not offer.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn clock(id: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for one timespec for the whole call.
    let result = unsafe { libc::clock_gettime(id, &mut time) };
    assert_eq!(result, 0, "the clock exists on every Linux");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

pub(crate) fn monotonic_ns() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

pub(crate) fn wall_clock_ns() -> u64 {
    clock(libc::CLOCK_REALTIME)
}

/// Fills `bytes`; aborts the process when the kernel cannot, since nothing safe can follow.
pub(crate) fn getrandom(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: pointer and length are those of a live mutable slice.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        if got < 0 {
            let error = io::Error::last_os_error();
            assert_eq!(error.kind(), io::ErrorKind::Interrupted, "the kernel gives no random bytes: {error}");
            continue;
        }
        filled += got as usize;
    }
}

pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers; the result is checked before it is owned.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An eventfd that wakes a shard.
pub(crate) struct Event(OwnedFd);

#[cfg_attr(shuttle, expect(dead_code, reason = "models have their own"))]
impl Event {
    pub(crate) fn new() -> io::Result<Event> {
        eventfd().map(Event)
    }

    /// Adds one. Only fails when the counter is about to overflow: then a wake-up is due anyway.
    pub(crate) fn signal(&self) {
        let one = 1u64;
        // SAFETY: eight readable bytes; the descriptor is open as long as the reference lives.
        let _full = unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }
}

impl AsRawFd for Event {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The cores this process may run on.
pub(crate) fn allowed_cores() -> Vec<usize> {
    // SAFETY: cpu_set_t is plain bits, for which zero is valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid place of the given size.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) } != 0 {
        return Vec::new();
    }
    // SAFETY: reads bits of `set` below its size.
    (0..libc::CPU_SETSIZE as usize).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

/// Restricts the calling thread to `cores`.
pub(crate) fn pin_to(cores: &[usize]) -> io::Result<()> {
    // SAFETY: cpu_set_t is plain bits, for which zero is valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for core in cores {
        if *core >= libc::CPU_SETSIZE as usize {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        // SAFETY: the core number was checked against the size of the set.
        unsafe { libc::CPU_SET(*core, &mut set) };
    }
    // SAFETY: `set` is a valid set of the given size.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) }).map(|_| ())
}

/// Gives the calling thread less of a core that others want, too: so much nicer than it is.
pub(crate) fn be_nicer(by: i32) -> io::Result<()> {
    // SAFETY: both take numbers only. In Linux they are about one thread, and 0 is the calling one.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, libc::getpriority(libc::PRIO_PROCESS, 0) + by) })
        .map(|_| ())
}

/// Size and free space of a file system.
pub(crate) fn statvfs(path: &Path) -> io::Result<(u64, u64)> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the struct is plain numbers, for which zero is valid.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a terminated string and a valid place for the result.
    check(unsafe { libc::statvfs(path.as_ptr(), &mut stat) })?;
    Ok((stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
}

/// Takes the exclusive lock of an open file; `false` when another one holds it.
pub(crate) fn try_flock(file: &std::fs::File) -> io::Result<bool> {
    // SAFETY: takes no pointers; the descriptor is open as long as the reference lives.
    match check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Asks the kernel to let go of what it holds of a part of a file that is durable.
pub(crate) fn forget_cached(file: &std::fs::File, offset: u64, len: u64) -> io::Result<()> {
    // SAFETY: takes no pointers; the descriptor is open as long as the reference lives.
    let error = unsafe { libc::posix_fadvise(file.as_raw_fd(), offset as i64, len as i64, libc::POSIX_FADV_DONTNEED) };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// Kernel release ("6.8.0-31-generic").
pub(crate) fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// The soft limit on locked memory in bytes, `None` when there is none.
pub(crate) fn memlock_limit() -> Option<u64> {
    limit(libc::RLIMIT_MEMLOCK)
}

/// The soft limit on open files.
pub(crate) fn open_files_limit() -> Option<u64> {
    limit(libc::RLIMIT_NOFILE)
}

/// Raises the soft limit on open files to the hard one, which anybody may.
pub(crate) fn raise_open_files_limit() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid place for the result.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: reads a valid limit.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }).map(|_| ())
}

fn limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid place for the result.
    if unsafe { libc::getrlimit(resource, &mut limit) } != 0 || limit.rlim_cur == libc::RLIM_INFINITY {
        return None;
    }
    Some(limit.rlim_cur)
}

/// A socket address in the kernel's layout, long enough for IPv4 and IPv6.
pub(crate) struct RawAddress {
    pub(crate) storage: libc::sockaddr_storage,
    pub(crate) len: libc::socklen_t,
}

impl RawAddress {
    pub(crate) fn empty() -> RawAddress {
        // SAFETY: sockaddr_storage is plain numbers, for which zero is valid.
        let storage = unsafe { std::mem::zeroed() };
        RawAddress { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    pub(crate) fn new(address: SocketAddr) -> RawAddress {
        let mut raw = RawAddress::empty();
        let place = (&raw mut raw.storage).cast::<u8>();
        match address {
            SocketAddr::V4(v4) => {
                let sockaddr = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: sockaddr_storage is larger than and aligned for every sockaddr.
                unsafe { place.cast::<libc::sockaddr_in>().write(sockaddr) };
                raw.len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            SocketAddr::V6(v6) => {
                let sockaddr = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: sockaddr_storage is larger than and aligned for every sockaddr.
                unsafe { place.cast::<libc::sockaddr_in6>().write(sockaddr) };
                raw.len = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            }
        }
        raw
    }

    pub(crate) fn parse(&self) -> io::Result<SocketAddr> {
        let place = (&raw const self.storage).cast::<u8>();
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says that this layout is stored, and the storage is aligned for it.
                let v4 = unsafe { place.cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Ok(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 => {
                // SAFETY: the family says that this layout is stored, and the storage is aligned for it.
                let v6 = unsafe { place.cast::<libc::sockaddr_in6>().read() };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Ok(SocketAddr::V6(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id)))
            }
            family => Err(io::Error::other(format!("address family {family} is not an internet one"))),
        }
    }
}

/// A TCP socket of the family of `ip`.
pub(crate) fn tcp_socket(ip: IpAddr) -> io::Result<OwnedFd> {
    let family = if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: takes no pointers; the result is checked before it is owned.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn set_option(fd: &OwnedFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let place = (&raw const value).cast();
    // SAFETY: pointer and size describe a live integer.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, place, size_of::<i32>() as libc::socklen_t) })?;
    Ok(())
}

pub(crate) fn bind_and_listen(fd: &OwnedFd, address: SocketAddr, backlog: i32) -> io::Result<()> {
    let raw = RawAddress::new(address);
    // SAFETY: pointer and length describe a live socket address.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const raw.storage).cast(), raw.len) })?;
    // SAFETY: takes no pointers.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) })?;
    Ok(())
}

pub(crate) fn local_address(fd: &OwnedFd) -> io::Result<SocketAddr> {
    let mut raw = RawAddress::empty();
    // SAFETY: pointers to a place for the address and to its length, both live.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut raw.storage).cast(), &mut raw.len) })?;
    raw.parse()
}

/// `how` is one of libc's SHUT_*.
pub(crate) fn shutdown(fd: &OwnedFd, how: i32) -> io::Result<()> {
    // SAFETY: takes no pointers; the descriptor is open as long as the reference lives.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), how) }).map(|_| ())
}

/// Where the handler below writes; -1 until `catch_signals`.
static SIGNAL_EVENT: AtomicI32 = AtomicI32::new(-1);
static SIGNAL_LAST: AtomicI32 = AtomicI32::new(0);

extern "C" fn on_signal(number: libc::c_int) {
    SIGNAL_LAST.store(number, Ordering::SeqCst);
    let one = 1u64;
    // SAFETY: write(2) is async-signal-safe; the descriptor is never closed once stored; errno is restored below.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(SIGNAL_EVENT.load(Ordering::SeqCst), (&raw const one).cast(), 8);
        *libc::__errno_location() = errno;
    }
}

/// The signal that came last, 0 when none has.
pub(crate) fn last_signal() -> i32 {
    SIGNAL_LAST.load(Ordering::SeqCst)
}

/// From now on these signals are written to `event`, which must stay open until the process ends.
pub(crate) fn catch_signals(event: &'static OwnedFd, numbers: &[i32]) -> io::Result<()> {
    SIGNAL_EVENT.store(event.as_raw_fd(), Ordering::SeqCst);
    for number in numbers {
        // SAFETY: zero is valid for sigaction; the handler only does what a handler may.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: a valid action; nobody asks for the old one.
        check(unsafe { libc::sigaction(*number, &action, std::ptr::null_mut()) })?;
    }
    Ok(())
}

/// The first byte at or behind `from` that may be data; `None` when the rest of the file is a hole. File systems that cannot
/// tell call everything data.
pub(crate) fn seek_data(fd: &OwnedFd, from: u64) -> io::Result<Option<u64>> {
    let from = libc::off_t::try_from(from).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: takes no memory of ours; the descriptor is open as long as the reference lives.
    let found = unsafe { libc::lseek(fd.as_raw_fd(), from, libc::SEEK_DATA) };
    if found >= 0 {
        return Ok(Some(found as u64));
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        error if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => Ok(Some(from as u64)),
        error => Err(error),
    }
}

/// Major and minor number of a device.
pub(crate) fn device_numbers(dev: u64) -> (u32, u32) {
    (libc::major(dev), libc::minor(dev))
}

/// Of the SMART log of an NVMe drive.
pub(crate) const NVME_LOG_BYTES: usize = 512;

/// `struct nvme_passthru_cmd` of linux/nvme_ioctl.h.
#[repr(C)]
#[derive(Default)]
struct NvmeCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    nsid: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    addr: u64,
    metadata_len: u32,
    data_len: u32,
    cdw10: u32,
    cdw11: u32,
    cdw12: u32,
    cdw13: u32,
    cdw14: u32,
    cdw15: u32,
    timeout_ms: u32,
    result: u32,
}

const _: () = assert!(size_of::<NvmeCommand>() == 72);

/// `NVME_IOCTL_ADMIN_CMD`: read and write, the size of the command, 'N', 0x41.
const NVME_ADMIN: u32 = 3 << 30 | (size_of::<NvmeCommand>() as u32) << 16 | (b'N' as u32) << 8 | 0x41;
const NVME_GET_LOG_PAGE: u8 = 0x02;
const NVME_LOG_SMART: u32 = 0x02;
/// The log of the drive, not of one of its namespaces.
const NVME_ALL_NAMESPACES: u32 = u32::MAX;

/// Reads the SMART log of an NVMe drive, by its controller or a namespace. Needs `CAP_SYS_ADMIN`.
///
/// Blocks until the drive answers, or the kernel gives up after a minute.
pub(crate) fn nvme_smart_log(drive: &std::fs::File, log: &mut [u8; NVME_LOG_BYTES]) -> io::Result<()> {
    let mut command = NvmeCommand {
        opcode: NVME_GET_LOG_PAGE,
        nsid: NVME_ALL_NAMESPACES,
        addr: log.as_mut_ptr() as u64,
        data_len: NVME_LOG_BYTES as u32,
        // Which log, and how many words of four bytes, less one.
        cdw10: NVME_LOG_SMART | (NVME_LOG_BYTES as u32 / 4 - 1) << 16,
        // The kernel's own limit, for when an admin command is late, the kernel resets the controller, with all that is in
        // flight: a drive that is busy with itself for some seconds must not be hit by the question how it does.
        timeout_ms: 0,
        ..NvmeCommand::default()
    };
    // SAFETY: `command` is laid out as the kernel has it and lives until the call returns, and so does `log`, a live mutable
    // slice whose address and length are in it: the kernel writes to these two and keeps neither.
    match check(unsafe { libc::ioctl(drive.as_raw_fd(), NVME_ADMIN as _, &mut command) })? {
        0 => Ok(()),
        status => Err(io::Error::other(format!("the drive refuses with status {status:#x}"))),
    }
}

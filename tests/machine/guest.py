"""What the machine boots: a kernel of the distribution, and an initial file system with the server and little else.

Nothing is installed: packages are fetched by the distribution's own client and unpacked in the target folder.
"""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import disks
import server as hafiz

HERE = Path(__file__).resolve().parent
PLACE = disks.TARGET / "machine"
# The kernel for clouds is small; NVMe and ext4 are built in.
KERNEL = "linux-image-cloud-amd64"
BUSYBOX = "busybox-static"
MODULES = ["virtio_pci", "virtio_net", "xfs", "loop"]
FETCH_SECONDS_MAX = 300
LIBRARY = re.compile(r"(/\S+) \(0x")
DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")
NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86",
    "dpkg-deb": "dpkg",
    "ldd": "libc-bin",
    "strip": "binutils",
    "losetup": "mount",
    "dd": "coreutils",
    "e2fsck": "e2fsprogs",
}
# What the guest takes from this machine, with the libraries that they need: Busybox knows no direct I/O and no checker here.
TOOLS = ["losetup", "dd", "e2fsck"]


def prepare():
    """Kernel and initial file system, as paths. Fetches what is not there, packs what is older than what it is made of."""
    if missing := [f"{name} (Debian: {package})" for name, package in NEEDED.items() if shutil.which(name) is None]:
        raise SystemExit(f"not installed: {', '.join(missing)}")
    if os.uname().machine != "x86_64":
        raise SystemExit(f"the machine runs this machine's binary, and is x86-64; this is {os.uname().machine}")
    if not os.path.exists("/dev/fuse"):
        raise SystemExit("no /dev/fuse: the emulated drives need FUSE (modprobe fuse, or a container that is given the device)")
    if not hafiz.BINARY.exists():
        raise SystemExit(f"no {hafiz.BINARY}: cargo build --locked --release -p hafiz")
    PLACE.mkdir(parents=True, exist_ok=True)
    kernel, busybox = unpacked("kernel", KERNEL), unpacked("busybox", BUSYBOX)
    image = next((kernel / "boot").glob("vmlinuz-*"))
    initial = PLACE / "initial.cpio"
    made_of = [hafiz.BINARY, image, HERE / "init", Path(__file__)]
    if not initial.exists() or initial.stat().st_mtime < max(path.stat().st_mtime for path in made_of):
        pack(initial, kernel, busybox)
    return image, initial


def unpacked(name, package):
    """The folder of a package's files."""
    folder = PLACE / name
    if folder.exists():
        return folder
    fetched, new = PLACE / f"{name}.fetched", PLACE / f"{name}.new"
    for path in (fetched, new):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    try:
        command(["apt-get", "-o", "APT::Sandbox::User=root", "download", real(package)], cwd=fetched)
        command(["dpkg-deb", "-x", next(fetched.glob("*.deb")), new])
    except (OSError, subprocess.SubprocessError, StopIteration) as error:
        output = (getattr(error, "stderr", None) or b"").decode()
        raise SystemExit(
            f"cannot fetch {package}: {error!r} {output}\nTry apt-get update, or unpack such a package in {folder}"
        ) from None
    shutil.rmtree(fetched)
    new.rename(folder)
    return folder


def real(package):
    """The package that a name for the newest kernel stands for."""
    shown = command(["apt-cache", "depends", "--important", package]).stdout.decode()
    found = re.search(r"Depends: (linux-image-\d\S+)", shown)
    return found[1] if found else package


def command(words, **more):
    return subprocess.run(words, check=True, capture_output=True, timeout=FETCH_SECONDS_MAX, **more)


def pack(initial, kernel, busybox):
    archive = Archive()
    for folder in ("bin", "dev", "proc", "sys", "tmp", "modules"):
        archive.folder(folder)
    archive.add("init", stat.S_IFREG | 0o755, (HERE / "init").read_bytes())
    archive.file("bin/busybox", next(path for path in (busybox / "bin/busybox", busybox / "usr/bin/busybox") if path.exists()))
    stripped = PLACE / "hafiz"
    command(["strip", "-o", stripped, hafiz.BINARY])
    for path in (stripped, *(Path(shutil.which(name)) for name in TOOLS)):
        archive.file(f"bin/{path.name}", path)
        for library in LIBRARY.findall(command(["ldd", path]).stdout.decode()):
            archive.file(library[1:], Path(library))
    order = modules(kernel)
    for path in order:
        archive.file(f"modules/{path.name}", path)
    archive.add("modules/order", stat.S_IFREG | 0o644, "\n".join(path.name for path in order).encode() + b"\n")
    new = initial.with_suffix(".new")
    new.write_bytes(archive.end())
    new.rename(initial)


def modules(kernel):
    """What is not built into the kernel, each after what it needs."""
    there = {path.name.split(".")[0].replace("-", "_"): path for path in (kernel / "lib/modules").glob("*/kernel/**/*.ko*")}
    order = []

    def add(name):
        path = there.get(name.replace("-", "_"))
        if path is None or path in order:
            return
        for needed in DEPENDS.search(path.read_bytes())[1].decode().split(","):
            add(needed)
        order.append(path)

    for name in MODULES:
        add(name)
    return order


class Archive:
    """A cpio archive of the kind that kernels unpack ("newc")."""

    def __init__(self):
        self.parts, self.size, self.names = [], 0, set()

    def folder(self, name):
        if name and name not in self.names:
            self.folder(name.rpartition("/")[0])
            self.add(name, stat.S_IFDIR | 0o755)

    def file(self, name, path):
        if name not in self.names:
            self.folder(name.rpartition("/")[0])
            self.add(name, stat.S_IFREG | (path.stat().st_mode & 0o777), path.read_bytes())

    def add(self, name, mode, data=b""):
        self.names.add(name)
        fields = [len(self.names), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        self.append(b"070701" + "".join(f"{field:08x}" for field in fields).encode() + name.encode() + b"\0")
        self.append(data)

    def append(self, data):
        self.parts.append(data + bytes(-len(data) % 4))
        self.size += len(self.parts[-1])

    def end(self):
        self.add("TRAILER!!!", 0)
        return b"".join(self.parts)

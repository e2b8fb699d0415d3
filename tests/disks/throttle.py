"""Limits on what a process may move to and from a drive, which the kernel enforces: control groups, version 1 or 2."""

import os
import tempfile
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
# Version 1: a file for each limit, "MAJOR:MINOR NUMBER" in it. Version 2: `io.max`, by these names.
LIMITS = {
    "rbps": "blkio.throttle.read_bps_device",
    "wbps": "blkio.throttle.write_bps_device",
    "riops": "blkio.throttle.read_iops_device",
    "wiops": "blkio.throttle.write_iops_device",
}


class Missing(Exception):
    """There are no such limits on this machine."""


class Throttle:
    """A control group. Processes that enter it share its limits."""

    def __init__(self):
        self.group, self.limited = None, set()
        if (CGROUPS / "blkio/blkio.throttle.io_serviced").exists():
            self.is_first_version, parent = True, CGROUPS / "blkio"
        elif "io" in self.read(CGROUPS / "cgroup.controllers").split():
            self.is_first_version, parent = False, CGROUPS
        else:
            raise Missing("no control groups for block devices")
        try:
            if not self.is_first_version and "io" not in self.read(parent / "cgroup.subtree_control").split():
                (parent / "cgroup.subtree_control").write_text("+io")
            self.group = Path(tempfile.mkdtemp(prefix="hafiz-block-", dir=parent))
            if not (self.group / ("blkio.throttle.io_serviced" if self.is_first_version else "io.max")).exists():
                raise Missing("the kernel throttles no block devices")
        except OSError as error:
            self.remove()
            raise Missing(str(error)) from None
        except Missing:
            self.remove()
            raise

    @staticmethod
    def read(path):
        return path.read_text() if path.exists() else ""

    def enter(self):
        """In a child, before it becomes something else."""
        (self.group / "cgroup.procs").write_text(str(os.getpid()))

    def limit(self, directory, **limits):
        """For the drive that holds a directory, per second; 0: no limit."""
        self.limited.add(device(directory))
        self.write(device(directory), limits)

    def write(self, wanted, limits):
        for name, number in limits.items():
            if self.is_first_version:
                (self.group / LIMITS[name]).write_text(f"{wanted} {number}")
            else:
                (self.group / "io.max").write_text(f"{wanted} {name}={number or 'max'}")

    def free(self):
        """All drives. Others may get their device numbers."""
        for wanted in self.limited:
            self.write(wanted, dict.fromkeys(LIMITS, 0))
        self.limited.clear()

    def moved(self, directory):
        """Operations on the drive that went through the limits."""
        wanted = device(directory)
        if self.is_first_version:
            rows = [line.split() for line in self.read(self.group / "blkio.throttle.io_serviced").splitlines()]
            return sum(int(row[2]) for row in rows if row[0] == wanted and row[1] == "Total")
        rows = [line.split() for line in self.read(self.group / "io.stat").splitlines()]
        numbers = [dict(pair.split("=") for pair in row[1:]) for row in rows if row[0] == wanted]
        return sum(int(row.get("rios", 0)) + int(row.get("wios", 0)) for row in numbers)

    def remove(self):
        """When nobody is in it any more."""
        if self.group is not None and self.group.exists():
            self.group.rmdir()


def device(directory):
    number = os.stat(directory).st_dev
    return f"{os.major(number)}:{os.minor(number)}"

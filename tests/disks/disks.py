"""Six emulated drives with real file systems on them: their power fails, or they fail themselves. See main.go."""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
BINARY = TARGET / "disks/disks"
# XFS takes no less than 300 MB. What is never written costs nothing.
SIZE = 320 << 20
NEEDED = ["go", "mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "mount"]
CLONE_NEWNS = 0x20000
PR_SET_PDEATHSIG = 1
END_SECONDS_MAX = 30

libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """An order to the disks could not be followed."""


def prepare():
    """Builds the program, and goes into a mount namespace: when its last process is gone, so is every mount and loop device."""
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        raise SystemExit(f"not installed: {', '.join(missing)}")
    if os.geteuid() != 0:
        raise SystemExit("this mounts file systems: it needs root")
    BINARY.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["go", "build", "-o", BINARY, "."], cwd=HERE, check=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise SystemExit(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    # Its default would end this process without a word, and skip what cleans up.
    signal.signal(signal.SIGTERM, interrupt)


def interrupt(*_):
    raise KeyboardInterrupt


def die_with_parent():
    """In a child, before it becomes something else: it ends when the process that made it does, however that happens."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Disks:
    """All of them, formatted. `fs`: the file system of each. `sector`: bytes that a disk writes as a whole."""

    def __init__(self, fs, sector=512, size=SIZE):
        self.place = Path(tempfile.mkdtemp(prefix="hafiz-drives-"))
        self.fs, self.sector = fs, sector
        self.dirs = [self.place / f"drive{n}" for n in range(1, len(fs) + 1)]
        self.process = subprocess.Popen(
            [BINARY, self.place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent
        )
        try:
            self.ask("make", fs=fs, size=size, sector=sector)
        except BaseException:
            self.remove()
            raise

    def ask(self, op, **fields):
        self.process.stdin.write(json.dumps({"op": op, **fields}).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"{op}: the disks are gone, exit code {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(f"{op}: {answer['error']}")
        return answer

    def mount(self, numbers=(), options=""):
        """How many file systems have had to be repaired before they were mounted, since the disks were made."""
        return self.ask("mount", disks=list(numbers), options=options)["repaired"]

    def unmount(self, numbers=(), lazy=False):
        self.ask("unmount", disks=list(numbers), lazy=lazy)

    def exports(self):
        """The files that are the disks themselves, none of which was replaced: for who has another use than mounting them."""
        return [self.place / f"disk{n}.1/image" for n in range(1, len(self.fs) + 1)]

    def faults(self, number, *rules):
        """What disk `number` does wrong from now on: see `rule` in faults.go."""
        self.ask("faults", disks=[number], rules=list(rules))

    def replace(self, number, options=""):
        """A new disk, formatted and mounted, in the place of one that is pulled while it is used."""
        self.ask("replace", disks=[number], options=options)

    def struck(self):
        """How often each kind of fault struck, by disk."""
        return self.ask("struck").get("struck", [])

    def remove(self):
        """Closing its standard input makes the process unmount everything and end."""
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.place, ignore_errors=True)

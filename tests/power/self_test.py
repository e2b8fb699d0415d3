"""Whether the rig would see a violation: honest recordings, and lies that must be found out."""

import mmap
import os
import time

import disks
import verify
from deployment import Broken
from results import Results

# States of one recording that are looked at for each lie.
TRIES = 12
BLOCK = 1 << 20


def run(rig):
    results = Results("power")
    chain(results)
    rig.record()
    recording = rig.recording
    moments = sorted(at for at in (rig.moment() for _ in range(TRIES * 4)) if at > recording.ready)[-TRIES:]
    results.expect("file systems are whole after a cut", check_file_systems(rig, moments))
    results.expect("the truth passes", not any(states(rig, moments)))
    # All but as many as the parity covers go back to when they were empty, or to anything after that.
    liars = [1, 2, 3, 4]
    results.expect("four drives that lie about flushes", all(states(rig, moments[-3:], "all", liars)))
    results.expect("four drives that lie, and lose the last writes", any(states(rig, moments, "order", liars)))
    results.expect("a journal that claims a later moment", any(states(rig, moments, "all", claims=10**8)))
    rig.drop()
    return results.end()


def chain(results):
    """What is durable for a program is flushed on the disk, and nothing else is."""
    drives = disks.Disks(["ext4", "xfs"])
    try:
        drives.ask("restart")
        drives.mount()
        for number, directory in enumerate(drives.dirs):
            fs = drives.fs[number]
            file = os.open(directory / "file", os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o600)
            # Aligned, as direct I/O wants it.
            block = mmap.mmap(-1, BLOCK)
            fill(block, b"a")
            os.pwrite(file, block, 0)
            os.fsync(file)
            before = time.monotonic_ns()
            fill(block, b"b")
            os.pwrite(file, block, 0)
            written = time.monotonic_ns()
            fill(block, b"c")
            os.pwritev(file, [block], 0, os.RWF_DSYNC)
            durable = time.monotonic_ns()
            os.close(file)
            kept = drives.ask("keep")
            results.expect(f"{fs}: a write alone is no flush", not any(before < at < written for at in kept.get("marks", [])))
            results.expect(f"{fs}: a write with RWF_DSYNC is", any(written < at < durable for at in kept.get("marks", [])))
            moments = [("lost", written, b"a"), ("there", durable, b"c")]
            drives.unmount()
            for what, at, expected in moments:
                drives.ask("cut", at=at, of="kept", loss="all", seed=1)
                drives.mount()
                found = (directory / "file").read_bytes()
                results.expect(f"{fs}: after a cut a write of that kind is {what}", found == expected * BLOCK)
                drives.unmount()
            drives.mount()
    finally:
        drives.remove()


def fill(block, byte):
    block[:] = byte * len(block)


def check_file_systems(rig, moments):
    for at in moments:
        rig.cut(at)
        rig.disks.ask("check")
    return True


def states(rig, moments, how="any", lies=(), claims=0):
    """What is wrong with each of these states; a server that does not start is wrong, too."""
    found = []
    for at in moments:
        rig.cut(at, how=how, lies=lies)
        try:
            rig.start()
            problems = verify.verify(rig.deployment.port, rig.recording.model(at + claims), rig.rng)[2]
        except Broken as broken:
            problems = [str(broken)]
        rig.stop()
        found.append(problems)
    return found

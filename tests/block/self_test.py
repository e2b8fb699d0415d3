"""Whether faults arrive as they should, and whether the rig would see it if they did harm."""

import errno
import mmap
import os
import threading
import time

import disks
import journal
import values
from deployment import Broken
from results import Results

BLOCK = 1 << 16
DELAY_SECONDS = 0.2
STRUCK_SECONDS_MAX = 30


def run(rig):
    results = Results("block")
    drives = disks.Disks(["ext4", "xfs"])
    try:
        drives.mount()
        for number in (1, 2):
            rules(results, drives, number)
    finally:
        drives.remove()
    beyond_parity(results, rig)
    return results.end()


def rules(results, drives, number):
    """What a program sees of each kind of fault, through the file system of disk `number`, which dies of it in the end."""
    fs, path = drives.fs[number - 1], drives.dirs[number - 1] / "file"
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o600)
    block = mmap.mmap(-1, BLOCK)

    def write(byte):
        block[:] = byte * BLOCK
        return os.pwrite(file, block, 0)

    def read():
        found = mmap.mmap(-1, BLOCK)
        os.preadv(file, [found], 0)
        return found[:]

    write(b"a")
    os.fsync(file)
    drives.faults(number, {"kinds": ["read"], "error": True})
    results.expect(f"{fs}: a read fails", fails(read))
    drives.faults(number, {"kinds": ["write"], "torn": True})
    results.expect(f"{fs}: a torn write fails", fails(lambda: write(b"b")))
    drives.faults(number)
    results.expect(f"{fs}: and half of it is there", read() == b"b" * (BLOCK // 2) + b"a" * (BLOCK // 2))
    drives.faults(number, {"kinds": ["read"], "delay": DELAY_SECONDS})
    began = time.monotonic()
    read()
    results.expect(f"{fs}: a late read is late", time.monotonic() - began >= DELAY_SECONDS)
    drives.faults(number, {"kinds": ["write"], "rate": BLOCK / DELAY_SECONDS})
    began = time.monotonic()
    write(b"c")
    results.expect(f"{fs}: a slow drive is slow", time.monotonic() - began >= DELAY_SECONDS)
    drives.faults(number, {"kinds": ["write"], "hang": True})
    hung = threading.Thread(target=write, args=(b"d",))
    hung.start()
    deadline = time.monotonic() + STRUCK_SECONDS_MAX
    while not drives.struck()[number - 1].get("hang write") and time.monotonic() < deadline:
        time.sleep(0.001)
    is_hanging = hung.is_alive()
    drives.faults(number)
    hung.join()
    results.expect(f"{fs}: a write hangs until it is released, and is there then", is_hanging and read() == b"d" * BLOCK)
    drives.faults(number, {"kinds": ["flush"], "error": True})
    write(b"e")
    results.expect(f"{fs}: a flush fails", fails(lambda: os.fsync(file)))
    os.close(file)
    drives.replace(number)
    results.expect(f"{fs}: a drive that was replaced is new", not path.exists())


def fails(do):
    try:
        do()
    except OSError as error:
        return error.errno in (errno.EIO, errno.EROFS, errno.ESHUTDOWN)
    return False


def beyond_parity(results, rig):
    rig.counts["rounds"] += 1
    rig.fresh()
    rig.load(0.5, "fill")
    results.expect("nothing is wrong without faults", not rig.model.problems and not rig.check())
    name = "never/there"
    rig.model.keys[name] = journal.Key(values.single(name, "1", 10))
    results.expect("a lost key", any("lost: never/there" in problem for problem in rig.check()))
    del rig.model.keys[name]
    for number in (1, 2, 3):
        rig.disks.faults(number, {"error": True})
    try:
        acknowledged = rig.load(1, "faults")
        problems = rig.model.problems + rig.check()
    except Broken as broken:
        acknowledged, problems = 0, [str(broken)]
    results.expect("three dead drives are noticed", problems or acknowledged == 0)
    rig.drop()

"""Full drives: a clear storage-full error, deletes that go on, and recovery without a restart."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import server as hafiz
import wire
from test_objects import MIB, noise

DRIVE_MIB = 160


@pytest.fixture
def small_drives():
    """Six file systems of a fixed size in memory. Mounting wants root, as CI has it."""
    place = Path(tempfile.mkdtemp(prefix="hafiz-full-"))
    drives = [place / f"drive{n}" for n in range(1, 7)]
    try:
        for drive in drives:
            drive.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DRIVE_MIB}m", "hafiz-test", drive], check=True)
        yield [drive / "data" for drive in drives]
    finally:
        for drive in drives:
            subprocess.run(["umount", "--lazy", drive], check=False, capture_output=True)
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def running(small_drives):
    flags = ["--log-slot", "8MiB", "--data-slot", "16MiB", "--partitions", "8"]
    server = hafiz.Server(small_drives, flags, variables={"HAFIZ_MEMORY": "256MiB", "HAFIZ_BUFFERS": "40MiB"})
    server.start()
    yield server
    if server.process is not None:
        server.kill()


def fill(client, size, label):
    """Until the server says that it is full; returns the keys that are stored."""
    stored = []
    for n in range(DRIVE_MIB * 6 * MIB // size + 1):
        key = f"/full/{label}{n:06}"
        answer = client.request("PUT", key, body=noise(size, n))
        if answer.status != 200:
            assert (answer.status, answer.code) == (507, "InsufficientStorage"), answer
            return stored
        stored.append(key)
    raise AssertionError("more was stored than there is room for")


@pytest.mark.parametrize("size", [20_000, 1 * MIB])
@pytest.mark.parametrize("order", ["oldest", "scattered"])
def test_full_drives_refuse_writes_take_deletes_and_recover(running, size, order):
    """Scattered deletes leave every log volume half alive: their room comes back by compaction alone."""
    client = wire.Client(running.port)
    assert client.request("PUT", "/full").status == 200
    stored = fill(client, size, "a")
    assert len(stored) * size > DRIVE_MIB * MIB, "less than a quarter of the room was used"
    # Still full, still running, all of it readable.
    assert client.request("PUT", "/full/more", body=noise(size)).status == 507
    contents = {key: n for n, key in enumerate(stored)}

    def check(keys):
        for key in keys[:: max(1, len(keys) // 50)]:
            answer = client.request("GET", key)
            assert answer.status == 200 and answer.body == noise(size, contents[key])

    check(stored)
    deleted = stored[: len(stored) // 2] if order == "oldest" else stored[::2]
    gone = set(deleted)
    kept = [key for key in stored if key not in gone]
    for key in deleted:
        assert client.request("DELETE", key).status == 204
    # What was deleted comes back as room, without a restart.
    wire.wait_until(lambda: client.request("PUT", "/full/again", body=noise(size)).status == 200, 60, "room after deletes")
    # All of it as fast as it is reclaimed, so a refusal on the way is no failure.
    again = []

    def filled_again():
        again.extend(fill(client, size, f"b{len(again)}-"))
        return len(again) >= len(deleted) // 2

    wire.wait_until(filled_again, 90, "the room of what was deleted")
    check(kept)
    # A kill on full drives.
    client.close()
    running.kill()
    running.start()
    client = wire.Client(running.port)
    check(kept)
    assert client.request("DELETE", kept[-1]).status == 204
    client.close()


def test_a_large_upload_into_full_drives_is_refused_and_leaves_nothing(running):
    client = wire.Client(running.port, timeout=120)
    assert client.request("PUT", "/full").status == 200
    answer = client.request("PUT", "/full/huge", body=bytes(DRIVE_MIB * 5 * MIB), payload=wire.UNSIGNED)
    assert answer.status == 507, answer
    assert client.request("GET", "/full/huge").status == 404
    def has_room():
        return client.request("PUT", "/full/fits", body=noise(16 * MIB)).status == 200
    wire.wait_until(has_room, 60, "room after a refused upload")
    client.close()

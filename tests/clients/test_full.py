"""Full drives: a clear storage-full error, deletes that go on, and recovery without a restart."""

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import server as hafiz
import wire
from test_objects import MIB, noise

DRIVE_MIB = 160


@contextlib.contextmanager
def small_file_systems(count, *sizes_mib):
    """File systems of a fixed size in memory, a directory in each of them; the last size is that of the rest. Mounting wants
    root, as CI has it."""
    place = Path(tempfile.mkdtemp(prefix="hafiz-full-"))
    drives = [place / f"drive{n}" for n in range(1, count + 1)]
    sizes = [*sizes_mib, *[sizes_mib[-1]] * (count - len(sizes_mib))]
    try:
        for drive, size in zip(drives, sizes):
            drive.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "hafiz-test", drive], check=True)
        yield [drive / "data" for drive in drives]
    finally:
        for drive in drives:
            subprocess.run(["umount", "--lazy", drive], check=False, capture_output=True)
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def small_drives():
    with small_file_systems(6, DRIVE_MIB) as dirs:
        yield dirs


def server_on(dirs):
    flags = ["--log-slot", "8MiB", "--data-slot", "16MiB", "--partitions", "8"]
    return hafiz.Server(dirs, flags, variables={"HAFIZ_MEMORY": "256MiB", "HAFIZ_BUFFERS": "40MiB"})


@pytest.fixture
def running(small_drives):
    server = server_on(small_drives)
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


def test_one_small_drive_among_six_does_not_end_it_all():
    """A third of the size of the others: what they have beyond that is used all the same, and the parity stays."""
    with small_file_systems(6, 100, 2 * DRIVE_MIB) as dirs:
        server = server_on(dirs)
        server.start()
        try:
            client = wire.Client(server.port)
            assert client.request("PUT", "/full").status == 200
            stored = fill(client, MIB, "a")
            # 4+2 until the small one is full, then 3+2 on the others; the reserve is 48 MiB and 4 for tables on each.
            assert len(stored) > 4 * 100 + 100, len(stored)
            contents = {key: n for n, key in enumerate(stored)}
            for key in stored[:200]:
                assert client.request("DELETE", key).status == 204
            wire.wait_until(lambda: client.request("PUT", "/full/again", body=noise(MIB)).status == 200, 60, "room after deletes")
            client.close()
            server.kill()
            shutil.rmtree(dirs[4])
            shutil.rmtree(dirs[5])
            server.start()
            client = wire.Client(server.port)
            for key in stored[200::10]:
                answer = client.request("GET", key)
                assert answer.status == 200 and answer.body == noise(MIB, contents[key]), key
            client.close()
        finally:
            server.kill()

"""A drive that hangs: its file system is frozen, so that every write to it waits for ever. Everything else goes on."""

import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
import server as hafiz
import wire
from test_drives import Kept, body_of, drives, run

# While a drive hangs nothing is freed, and a fast machine writes 2 GiB before it is out. What is not written takes no room.
DRIVE_MIB = 4096
CLIENTS = 4


class Frozen:
    """Six drives, each a file system of its own on a loop device, which can be frozen. Mounting wants root, as CI has it."""

    def __init__(self, place):
        self.place, self.frozen = place, set()
        self.mounts = [place / f"drive{n}" for n in range(1, 7)]

    def mount(self):
        for mount in self.mounts:
            image = mount.with_suffix(".image")
            with image.open("wb") as file:
                file.truncate(DRIVE_MIB << 20)
            subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1", image], check=True)
            mount.mkdir()
            subprocess.run(["mount", "-o", "loop", image, mount], check=True)

    def freeze(self, mount):
        self.frozen.add(mount)
        subprocess.run(["fsfreeze", "--freeze", mount], check=True)

    def thaw(self, mount):
        self.frozen.discard(mount)
        subprocess.run(["fsfreeze", "--unfreeze", mount], check=True)

    def clear(self):
        for mount in list(self.frozen):
            self.thaw(mount)
        for mount in self.mounts:
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
        shutil.rmtree(self.place, ignore_errors=True)


@pytest.fixture
def place():
    place = Frozen(Path(tempfile.mkdtemp(prefix="hafiz-hang-")))
    try:
        place.mount()
        yield place
    finally:
        place.clear()


@pytest.fixture
def running(place):
    # No cache, so that reads reach the drives; small tables, so that they are flushed meanwhile.
    flags = ["--log-slot", "8MiB", "--data-slot", "16MiB", "--partitions", "8", "--cache", "0"]
    server = hafiz.Server([mount / "data" for mount in place.mounts], flags, {"HAFIZ_MEMORY": "256MiB"})
    server.start()
    yield server
    if server.process is not None:
        for mount in list(place.frozen):
            place.thaw(mount)
        server.kill()


class Load:
    """Clients that put, read, list and delete until they are told to stop. What was acknowledged is kept."""

    def __init__(self, deployment):
        self.deployment, self.stopping = deployment, threading.Event()
        self.sizes, self.refused, self.done = {}, [], dict.fromkeys(["PUT", "GET", "LIST", "DELETE"], 0)
        self.threads = [threading.Thread(target=self.work, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def ask(self, what, client, *request, **more):
        answer = client.request(*request, **more)
        if answer.status not in (200, 204):
            self.refused.append((request, answer))
            return None
        self.done[what] += 1
        return answer

    def work(self, number):
        client, round = wire.Client(self.deployment.port, timeout=120), 0
        while not self.stopping.is_set():
            round += 1
            for size in (5_000, 300_000, 3_000_000):
                key = f"/kept/load{number}-{round % 5}-{size}"
                body = body_of(f"{key}-{round}", size)
                before = self.sizes.pop(key, None)
                if self.ask("PUT", client, "PUT", key, body=body):
                    self.sizes[key] = (f"{key}-{round}", size)
                    answer = self.ask("GET", client, "GET", key)
                    assert answer is None or answer.body == body, key
                del before
            if self.ask("DELETE", client, "DELETE", f"/kept/load{number}-{round % 5}-5000"):
                self.sizes.pop(f"/kept/load{number}-{round % 5}-5000", None)
            self.ask("LIST", client, "GET", "/kept", query=[("list-type", "2"), ("prefix", f"load{number}")])
        client.close()

    def check(self):
        client = wire.Client(self.deployment.port)
        for key, (name, size) in self.sizes.items():
            answer = client.request("GET", key)
            assert (answer.status, answer.body == body_of(name, size)) == (200, True), (key, answer)
        client.close()


def state(deployment, dir):
    return drives(deployment).get(str(dir), {"state": "gone"})["state"]


def test_a_drive_that_hangs_is_done_without_and_can_be_given_back(place, running):
    kept = Kept(running)
    kept.put("before")
    mount, dir = place.mounts[2], running.dirs[2]
    with Load(running) as load:
        wire.wait_until(lambda: load.done["LIST"] > 4, 60, "the load")
        place.freeze(mount)
        # Requests that were on their way to the drive wait until it is out. Those that come after go on beside it.
        beside = 0
        while (before := state(running, dir)) not in ("out", "gone"):
            kept.put(f"beside{beside}")
            assert kept.ask("DELETE", f"/kept/beside{beside}-0").status == 204
            del kept.sizes[f"/kept/beside{beside}-0"]
            listed = kept.ask("GET", "/kept", query=[("list-type", "2"), ("prefix", "beside")])
            assert f"beside{beside}-5000".encode() in listed.body
            kept.check()
            beside += before == "suspect" and state(running, dir) == "suspect"
        assert beside > 0, "nothing went on before the drive was taken out"
        out_at = dict(load.done)
        wire.wait_until(lambda: all(load.done[what] > out_at[what] + 4 for what in out_at), 60, "the load goes on")
    # Those that were on their way may have been refused, never more than the clients have at a time.
    assert len(load.refused) <= CLIENTS, load.refused
    kept.put("without")
    kept.check()
    load.check()
    run(running, "heal", "status", code=1)
    # The server ends although the kernel cannot let go of what waits for the drive.
    running.process.terminate()
    ended = lambda: not running.is_running() or "some drive does not answer" in "".join(running.output)
    wire.wait_until(ended, 90, "the server ends")
    place.thaw(mount)
    assert running.process.wait(60) == 0
    running._ended()

    running.start()
    kept.check()
    load.check()
    assert "has come back" in "".join(running.output)
    shutil.rmtree(dir)
    run(running, "drive", "add", dir)
    run(running, "heal", "status", "--wait")
    run(running, "verify")
    # On a machine that is busy, any drive may be late for once.
    wire.wait_until(lambda: state(running, dir) == "in", 60, "the drive is in again")
    kept.check()
    load.check()
    assert running.stop() == 0


def test_a_drive_that_answers_again_in_time_stays(place, running):
    kept = Kept(running)
    kept.put("before")
    mount, dir = place.mounts[4], running.dirs[4]
    with Load(running) as load:
        wire.wait_until(lambda: load.done["LIST"] > 2, 60, "the load")
        place.freeze(mount)
        wire.wait_until(lambda: state(running, dir) != "in", 14, "the drive is suspect")
        was = state(running, dir)
        place.thaw(mount)
        if was == "suspect":
            wire.wait_until(lambda: state(running, dir) == "in", 60, "the drive is used again")
    assert not load.refused
    kept.check()
    load.check()
    assert running.stop() == 0
    running.start()
    kept.check()
    load.check()


def test_a_start_goes_on_without_a_drive_that_hangs(place, running):
    kept = Kept(running)
    kept.put("before")
    assert running.stop() == 0
    place.freeze(place.mounts[0])
    running.start()
    assert "not written in time" in "".join(running.output) or "counts as missing" in "".join(running.output)
    kept.check()
    kept.put("without")
    assert state(running, running.dirs[0]) in ("missing", "out")
    place.thaw(place.mounts[0])
    assert running.stop() == 0

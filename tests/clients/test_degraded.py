"""Lost drives: any two of six vanish, while the server runs or before it starts; everything stays readable and writable."""

import itertools
import os
import random
import shutil

import pytest
import server as hafiz
import wire

PAIRS = list(itertools.combinations(range(6), 2))
# In the log, on the edge, in one stripe, in several.
SIZES = [0, 10, 5_000, 32_768, 32_769, 300_000, 2_500_000, 9_000_000]


def body_of(name, size):
    return random.Random(name).randbytes(size)


class Expected:
    """What must be readable: bodies by key."""

    def __init__(self, client):
        self.client, self.sizes = client, {}

    def put(self, label):
        for size in SIZES:
            key = f"/kept/{label}-{size}"
            answer = self.client.request("PUT", key, body=body_of(key, size))
            assert answer.status == 200, (key, answer)
            self.sizes[key] = size

    def delete(self, label):
        for size in SIZES:
            key = f"/kept/{label}-{size}"
            assert self.client.request("DELETE", key).status == 204
            del self.sizes[key]

    def check(self):
        for key, size in self.sizes.items():
            answer = self.client.request("GET", key)
            assert (answer.status, answer.body == body_of(key, size)) == (200, True), (key, answer)
        listed = self.client.request("GET", "/kept", [("list-type", "2")])
        assert listed.status == 200 and listed.body.count(b"<Key>") == len(self.sizes)


@pytest.fixture
def deployment():
    # Small files, so that new volumes are needed soon after the drives are gone; no cache, so that reads reach them.
    flags = ["--log-slot", "8MiB", "--data-slot", "8MiB", "--cache", "0"]
    with hafiz.Deployment(drives=6, flags=flags) as running:
        yield running


def vanish(deployment, pair):
    """The directory of a drive is gone, and nothing can be read through files that are still open."""
    for n in pair:
        for path in (deployment.dirs[n] / "volumes").iterdir():
            os.truncate(path, 0)
        # In one step: the server may make files there until it is gone.
        gone = deployment.dirs[n].with_suffix(".gone")
        deployment.dirs[n].rename(gone)
        shutil.rmtree(gone)


def expected_in(deployment):
    client = wire.Client(deployment.port)
    assert client.request("PUT", "/kept").status == 200
    return Expected(client)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_two_drives_vanish_while_running_and_stay_away_at_the_next_start(deployment, pair):
    expected = expected_in(deployment)
    expected.put("before")
    expected.put("gone")
    vanish(deployment, pair)
    expected.check()
    expected.put("during")
    expected.delete("gone")
    expected.check()
    # A kill, and a start without them.
    deployment.kill()
    deployment.start()
    expected.client.port = deployment.port
    expected.client.host = f"127.0.0.1:{deployment.port}"
    expected.client.close()
    expected.check()
    expected.put("after")
    expected.delete("before")
    expected.check()
    expected.client.close()


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_two_drives_vanish_before_a_start(deployment, pair):
    expected = expected_in(deployment)
    expected.put("before")
    expected.client.close()
    deployment.stop()
    vanish(deployment, pair)
    deployment.start()
    expected.client.port, expected.client.host = deployment.port, f"127.0.0.1:{deployment.port}"
    expected.check()
    expected.put("after")
    expected.check()
    expected.client.close()


def test_files_that_are_damaged_are_read_around(deployment):
    expected = expected_in(deployment)
    expected.put("before")
    expected.client.close()
    deployment.stop()
    dice = random.Random(3)
    for n in (1, 4):
        for path in (deployment.dirs[n] / "volumes").iterdir():
            with open(path, "r+b") as file:
                size = os.fstat(file.fileno()).st_size
                for _ in range(size // 65536):
                    # Not the volume's own page: what it says stands on the other drives, too, but is another test.
                    file.seek(4096 + dice.randrange(size - 4096 - 64))
                    file.write(dice.randbytes(64))
    deployment.start()
    expected.client.port, expected.client.host = deployment.port, f"127.0.0.1:{deployment.port}"
    expected.check()
    expected.client.close()


def test_a_start_without_three_is_refused_until_they_are_back(deployment):
    expected = expected_in(deployment)
    expected.put("before")
    expected.client.close()
    deployment.stop()
    away = [(deployment.dirs[n], deployment.place / f"away{n}") for n in (0, 2, 5)]
    for here, there in away:
        here.rename(there)
    with pytest.raises(hafiz.Refused) as error:
        deployment.start()
    assert "3 of 6 drives are missing" in error.value.output
    for here, there in away:
        there.rename(here)
    deployment.start()
    expected.client.port, expected.client.host = deployment.port, f"127.0.0.1:{deployment.port}"
    expected.check()
    expected.client.close()

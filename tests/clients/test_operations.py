"""The runbooks of docs/operations.md about drives, as an operator types them: every block marked `sh`, word by word.

Only the directories and the port are others: `/data3` is `data3` in a folder of the test, and `hafiz` asks the test's server.
Sections that are not listed here have tests of their own.
"""

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import server as hafiz
import wire
from test_full import small_file_systems

TEXT = (hafiz.ROOT / "docs/operations.md").read_text()
FLAGS = ["--log-slot", "8MiB", "--data-slot", "8MiB", "--cache", "0", "--partitions", "8"]
DRIVE_MIB = 192


def blocks(section):
    """The blocks of a section; those before the first one are the section None."""
    parts = re.split(r"^## (.*)$", TEXT, flags=re.MULTILINE)
    sections = {None: parts[0], **dict(zip(parts[1::2], parts[2::2]))}
    found = re.findall(r"^( *)```sh\n(.*?)^ *```", sections[section], re.DOTALL | re.MULTILINE)
    assert found, f"{section} has no block"
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


class Machine:
    """Six drives at /data1 to /data6, room for a seventh, and a server on the six with some objects."""

    def __init__(self, place, data):
        self.place, self.data = place, data
        self.server = hafiz.Server([data(n) for n in range(1, 7)], FLAGS)
        for name in ("HAFIZ_ROOT_USER", "HAFIZ_ROOT_PASSWORD"):
            del self.server.variables[name]
        self.server.variables.update(HAFIZ_MEMORY="256MiB", HAFIZ_BUFFERS="40MiB")
        self.server.start()
        # The port is the only thing that an operator would not have to give.
        command = place / "bin" / "hafiz"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {hafiz.BINARY} "$@" --endpoint {self.server.endpoint}\n')
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        kept = next(data(1).parent.glob("hafiz-*.credentials")).read_text()
        self.signer = wire.Signer(*(re.search(rf"{name} *= *(\S+)", kept)[1] for name in (
            "aws_access_key_id", "aws_secret_access_key")))  # fmt: skip
        self.bodies = {}
        assert self.ask("PUT", "/kept").status == 200
        for n in range(60):
            self.put(n)
        self.environment = blocks(None)[0].splitlines()[0]

    def ask(self, *request, **more):
        client = wire.Client(self.server.port, self.signer)
        try:
            return client.request(*request, **more)
        finally:
            client.close()

    def put(self, n):
        body = bytes([n % 251]) * (30_000 if n % 2 else 1_500_000)
        assert self.ask("PUT", f"/kept/{n}", body=body).status == 200
        self.bodies[f"/kept/{n}"] = body

    def run(self, text):
        """Runs a block as typed, behind what the first page has an operator type once."""
        typed = f"{self.environment}\n{text}" if text != blocks(None)[0] else text
        mapped = re.sub(r"/data(\d)", lambda found: str(self.data(int(found[1]))), typed)
        path = f"{self.place / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"
        environment = hafiz.environment(PATH=path, HOME=self.place)
        done = subprocess.run(
            ["bash", "-euc", mapped], cwd=self.place, capture_output=True, text=True, timeout=300, env=environment
        )
        assert done.returncode == 0, (text, done.stdout, done.stderr)
        return done.stdout

    def check(self):
        """Everything is there and whole."""
        for key, body in self.bodies.items():
            answer = self.ask("GET", key)
            assert answer.status == 200 and answer.body == body, key
        (verify,) = blocks("Is everything there?")
        assert "every fragment and every table is right" in self.run(verify)

    def restart(self, *numbers):
        """As the page says: with other directories on the command line."""
        port = self.server.port
        self.server.stop()
        self.server.dirs = [self.data(n) for n in numbers]
        self.server.start()
        assert "not named" not in "".join(self.server.output)
        command = self.place / "bin" / "hafiz"
        command.write_text(command.read_text().replace(f":{port}", f":{self.server.port}"))


@pytest.fixture
def machine(tmp_path):
    with small_file_systems(7, DRIVE_MIB) as dirs:
        machine = Machine(tmp_path, lambda n: dirs[n - 1])
        yield machine
        machine.server.kill()


def pull(machine, number):
    """The drive is gone, and another one is formatted and mounted in its place."""
    shutil.rmtree(machine.data(number))


def test_the_first_page(machine):
    (listed,) = blocks(None)
    text = machine.run(listed)
    assert text.count(" in ") == 6
    machine.check()


def test_a_drive_fails(machine):
    (look,) = blocks("A drive fails")
    pull(machine, 5)
    machine.put(1000)
    wire.wait_until(lambda: " out " in machine.run(look) or "slots missing" in machine.run(look), 60, "the drive's end")


def test_a_drive_is_replaced_by_another_directory(machine):
    another, _ = blocks("Replacing a drive")
    machine.run(another)
    machine.check()
    machine.restart(1, 2, 7, 4, 5, 6)
    machine.check()


def test_a_drive_is_replaced_in_the_same_directory(machine):
    _, same = blocks("Replacing a drive")
    out, *rest = same.splitlines(keepends=True)
    assert out.startswith("hafiz drive out")
    machine.run(out)
    pull(machine, 3)
    machine.run("".join(rest))
    machine.check()
    machine.restart(1, 2, 3, 4, 5, 6)
    machine.check()


def test_a_drive_is_added_all_are_evened_out_and_one_is_removed(machine):
    (add,) = blocks("Adding a drive")
    machine.run(add)
    machine.restart(1, 2, 3, 4, 5, 6, 7)
    (even,) = blocks("Evening out")
    assert "as even as it goes" in machine.run(even)
    machine.check()
    (remove,) = blocks("Removing a drive")
    text = machine.run(remove)
    assert "draining" in text
    listed = remove.splitlines()[-1]
    wire.wait_until(lambda: "draining" not in machine.run(listed), 120, "the end of the drain")
    machine.restart(1, 3, 4, 5, 6, 7)
    machine.check()

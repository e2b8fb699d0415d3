"""A Hafiz server for tests: starts the built binary on directories of its own, stops it by its process id."""

import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("HAFIZ_BINARY", ROOT / "target/release/hafiz"))
USER = "tester"
PASSWORD = "a-password-for-tests"
REGION = "us-east-1"
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30

LISTENING = re.compile(r"^listening on (https?)://(\S+):(\d+)$")


class Refused(Exception):
    """The server ended instead of listening."""

    def __init__(self, code, output):
        super().__init__(f"exit code {code}: {output}")
        self.code = code
        self.output = output


def environment(**more):
    """The caller's environment without settings of other servers and clients."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HAFIZ_", "MINIO_", "AWS_", "RCLONE_", "RESTIC_"))}
    kept.update({k: str(v) for k, v in more.items()})
    return kept


class Server:
    """One deployment, which may be started and stopped several times.

    `dirs`: its drives. `flags`: more arguments. `variables`: more environment, HAFIZ_* for example.
    """

    def __init__(self, dirs, flags=(), variables=None):
        self.dirs = [Path(d) for d in dirs]
        self.flags = list(flags)
        self.variables = {
            "HAFIZ_ROOT_USER": USER,
            "HAFIZ_ROOT_PASSWORD": PASSWORD,
            # Small, so that many may run side by side; two shards, so that requests cross shards.
            "HAFIZ_SHARDS": "2",
            "HAFIZ_MEMORY": "1GiB",
            "HAFIZ_LOG_LEVEL": "warn",
            **(variables or {}),
        }
        self.process = None
        self.port = None
        self.output = []

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def command(self):
        return [str(BINARY), "server", *map(str, self.dirs), "--address", "127.0.0.1:0", *self.flags]

    def start(self):
        """Returns when the server listens. Raises `Refused` when it ends instead."""
        assert self.process is None, "already running"
        self.process = subprocess.Popen(
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(**self.variables),
        )
        lines = queue.Queue()
        self.output = []

        def read(process, output):
            for line in process.stdout:
                output.append(line)
                lines.put(line)
            lines.put(None)

        self.reader = threading.Thread(target=read, args=(self.process, self.output), daemon=True)
        self.reader.start()
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                line = lines.get(timeout=max(0.1, deadline - time.monotonic()))
            except queue.Empty:
                self.kill()
                raise AssertionError(f"no answer within {START_SECONDS_MAX} s: {''.join(self.output)}") from None
            if line is None:
                code = self.process.wait()
                self.process = None
                raise Refused(code, "".join(self.output))
            listening = LISTENING.match(line.strip())
            if listening:
                self.port = int(listening[3])
                return self

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def _ended(self):
        self.reader.join()
        self.process.stdout.close()
        self.process = None

    def stop(self):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop within {STOP_SECONDS_MAX} s: {''.join(self.output)}") from None
        self._ended()
        return code

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.wait()
        self._ended()

    def resident_bytes(self):
        """What the process holds in memory now, without pages of files."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        kib = {name: int(value.split()[0]) for name, value in re.findall(r"(RssAnon|RssShmem):\s*(\d+ kB)", status)}
        return 1024 * sum(kib.values())


class Deployment(Server):
    """A server on `drives` new directories, which are removed at the end of the `with`."""

    def __init__(self, drives=6, flags=(), variables=None):
        self.place = Path(tempfile.mkdtemp(prefix="hafiz-test-"))
        super().__init__([self.place / f"drive{n}" for n in range(1, drives + 1)], flags, variables)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.place, ignore_errors=True)

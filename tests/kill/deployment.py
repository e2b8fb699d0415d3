"""One deployment under test: its directories, its server process, and drives that are taken away."""

import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import server as hafiz

PARITY = {1: 0, 2: 1, 3: 1, 4: 2, 5: 2, 6: 2}
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60
METRICS_SECONDS_MAX = 10
POLL_SECONDS = 0.002
LISTENING = re.compile(r"^listening on https?://\S+:(\d+)$", re.MULTILINE)
# A panic, or an assert that failed.
PANIC = re.compile(r"^.*panicked at.*(?:\n.*){0,3}", re.MULTILINE)


COMPLAINT = re.compile(r"(?:WARN|ERROR)\b.*")
NAMES = re.compile(r"[0-9a-f]{32}|/\S*hafiz-kill-[^\s\"]*|\b[0-9a-f]{16}\b|(?<==)\d+")
# What shows that a round met what it was made for: counters of the server, added up over its lives.
COUNTERS = [
    "hafiz_volumes_removed_total",
    "hafiz_punched_bytes_total",
    "hafiz_compacted_bytes_total",
    "hafiz_log_moves_total",
    "hafiz_stripes_reconstructed_total",
    "hafiz_reclaim_failures_total",
    "hafiz_fragments_bad_total",
]


class Broken(Exception):
    """The server did something that no round may bring it to."""


class Deployment:
    def __init__(self, rng, drives, binary, log_level="warn"):
        self.place = Path(tempfile.mkdtemp(prefix="hafiz-kill-"))
        self.dirs = [self.place / f"drive{n}" for n in range(1, drives + 1)]
        self.binary = binary
        self.parity = PARITY[drives]
        # Small volumes and memtables, so that a few seconds of load roll over, flush, compact and reclaim.
        self.partitions = rng.choice([1, 4, 8, 64])
        self.log_slot = rng.choice([2, 5, 9])
        self.data_slot = rng.choice([4, 8, 32])
        self.log_level = log_level
        self.touched = set()
        self.away = set()
        self.has_served = False
        self.process = None
        self.port = None
        self.shards = 0
        self.starts = 0
        self.log = self.place / "server.log"
        self.start_seconds = 0.3
        self.buffers = "48MiB"
        # Called in the child before it becomes the server.
        self.before_exec = None

    def describe(self):
        return (
            f"{len(self.dirs)} drives, {self.partitions} partitions, slots {self.log_slot} and {self.data_slot} MiB, "
            f"{self.shards} shards, away {sorted(d.name for d in self.away)}, touched {sorted(d.name for d in self.touched)}"
        )

    def launch(self, rng, accept_missing=False):
        """Starts a process and does not wait for it."""
        assert self.process is None
        words = self.words(rng, "127.0.0.1:0", accept_missing)
        self.starts += 1
        self.log = self.place / f"server-{self.starts}.log"
        environment = hafiz.environment(HAFIZ_ROOT_USER=hafiz.USER, HAFIZ_ROOT_PASSWORD=hafiz.PASSWORD)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(self.binary), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                preexec_fn=self.before_exec,
            )
        self.port = None

    def words(self, rng, address, accept_missing=False):
        """The arguments of a start, which has another number of shards each time."""
        self.shards = min(self.partitions, rng.randint(1, 3))
        words = ["server", *self.dirs, "--address", address, "--partitions", self.partitions]
        words += ["--log-slot", f"{self.log_slot}MiB", "--data-slot", f"{self.data_slot}MiB", "--shards", self.shards]
        words += ["--memory", "64MiB", "--buffers", self.buffers, "--metrics-open", "--log-level", self.log_level]
        words += ["--accept-missing"] if accept_missing else []
        return [str(word) for word in words]

    def listening(self):
        found = LISTENING.search(self.log.read_text(errors="replace"))
        if found:
            self.port = int(found[1])
        return found is not None

    def wait(self):
        """Until it listens: True. False when it refuses since drives are missing, so that `--accept-missing` is asked for."""
        began = time.monotonic()
        while not self.listening():
            if self.process.poll() is not None:
                text = self.log.read_text(errors="replace")
                code, self.process = self.process.returncode, None
                if self.away and "--accept-missing" in text:
                    return False
                raise Broken(f"the server ended with {code} at its start: {self.last_words()}")
            if time.monotonic() - began > START_SECONDS_MAX:
                raise Broken(f"the server does not listen after {START_SECONDS_MAX} s: {self.tail()}")
            time.sleep(POLL_SECONDS)
        self.start_seconds = time.monotonic() - began
        self.has_served = True
        return True

    def tail(self, count=1500):
        return self.log.read_text(errors="replace")[-count:]

    def check_alive(self):
        if self.process.poll() is not None:
            code, self.process = self.process.returncode, None
            raise Broken(f"the server ended by itself with {code}: {self.last_words()}")

    def last_words(self):
        """Its panic, or else the end of what it said."""
        panic = PANIC.search(self.log.read_text(errors="replace"))
        return panic[0] if panic else self.tail()

    def kill(self):
        self.check_alive()
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self):
        """SIGTERM."""
        self.check_alive()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise Broken(f"the server does not stop: {self.tail()}") from None
        self.process = None
        if code != 0:
            raise Broken(f"the server stopped with {code}: {self.last_words()}")

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=METRICS_SECONDS_MAX) as page:
            return page.read().decode()

    def counters(self):
        """The server's own counts, since its start."""
        lines = [line.split() for line in self.metrics().splitlines()]
        return {line[0]: int(float(line[1])) for line in lines if line and line[0] in COUNTERS}

    def complaints(self):
        """What the server's logs warn of, without the names of places, and how often."""
        counts = {}
        for log in self.place.glob("server-*.log"):
            for line in log.read_text(errors="replace").splitlines():
                if found := COMPLAINT.search(line):
                    kind = NAMES.sub("_", found[0])
                    counts[kind] = counts.get(kind, 0) + 1
        return counts

    def can_take(self):
        """Drives that may still be taken away, over the life of the deployment."""
        return min(self.parity - len(self.touched), len(self.dirs) - len(self.touched))

    def take_away(self, rng, count):
        for directory in rng.sample([d for d in self.dirs if d not in self.touched], count):
            directory.rename(directory.with_suffix(".away"))
            self.touched.add(directory)
            self.away.add(directory)

    def intruders(self):
        """Directories that were taken away and are there all the same: the server wrote where no drive is."""
        return sorted(directory.name for directory in self.away if directory.exists())

    def bring_back(self, directory):
        """It keeps counting as lost: the server may have gone on without it."""
        if directory.exists():
            raise Broken(f"the server made files in the place of drives that are gone: {self.intruders()}")
        directory.with_suffix(".away").rename(directory)
        self.away.discard(directory)

    def remove(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        shutil.rmtree(self.place, ignore_errors=True)

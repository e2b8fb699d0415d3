"""One recording: a server's life on drives that note all they do, and what its clients knew at each moment of it."""

import enum
import multiprocessing
import os
import time

import journal
import load
import values
import wire
from deployment import COUNTERS, Broken

# Few keys, so that a state is soon checked; long names and small memtables make up for it.
PROCESSES = 2
THREADS = 4
OWN_KEYS = 12
# A recording is kept in memory as a whole: few parts of 5 MiB, and no other bodies beyond one.
WEIGHTS = {"multipart": 1, "put": 50}
BODY_MAX = values.MIB
# Lives of the server before the last one. Most end in order: that flushes all memtables, and some such make tables that are
# merged.
LIVES = [1, 2, 3, 6]
STOPPED = 0.8
LIFE_SECONDS = (0.2, 0.8)
# The last life. The longer ones see the reclaimer, which frees volumes and compacts.
LAST_SECONDS = [(0.3, 1.5), (5.5, 7.5)]
# So that log volumes are sealed soon.
LOG_SLOTS = [2, 2, 5]
PARTITIONS = [1, 4, 8]


class Recording:
    """`segments`: for each start of the server the journal's lines, and when it was dead. `ready`: when the bucket was there.
    No moment of it lies behind `until`."""

    def __init__(self, kept, segments, ready, counters, what):
        # The disks are asked one after the other while the server goes on: what came meanwhile is known of some of them only.
        until = kept["until"]
        self.times, self.marks = ([at for at in kept[name] if at <= until] for name in ("times", "marks"))
        self.bytes = kept["bytes"]
        self.segments, self.ready, self.counters, self.what = segments, ready, counters, what
        ends = [line["t"] for lines, _ in segments for line in lines if line.get("outcome") == "ok"]
        self.acknowledgements = sorted(end for end in ends if end <= until)

    def describe(self, at=None):
        text = f"{self.what}, {len(self.times)} events, {self.bytes >> 20} MiB, {len(self.acknowledgements)} acknowledged"
        if at is not None:
            known = sum(end <= at for end in self.acknowledgements)
            text += f"; {known} of them at {(at - self.ready) / 1e9:.3f} s"
        return text

    def model(self, at):
        """What must hold when the power fails at `at`."""
        model = journal.Model()
        for lines, over in self.segments:
            model.apply(until(lines, at), min(over, at))
        return model


def until(lines, at):
    """What was known at a moment. A time of a line is that of its sending, or of its answer's arrival."""
    return [line for line in lines if line.get("t1", line.get("t", 0)) <= at]


def create_bucket(port):
    client = wire.Client(port)
    made = client.request("PUT", f"/{load.BUCKET}")
    client.close()
    if made.status != 200:
        raise Broken(f"CreateBucket: {made}")


def record(disks, deployment, rng, seed):
    """Forms a deployment on fresh drives and loads it, over some lives of the server, until the power fails."""
    load.PROCESSES, load.THREADS, load.OWN_KEYS = PROCESSES, THREADS, OWN_KEYS
    load.OPERATIONS.update(WEIGHTS)
    values.BODY_MAX = BODY_MAX
    deployment.log_slot, deployment.partitions = rng.choice(LOG_SLOTS), rng.choice(PARTITIONS)
    disks.ask("restart")
    disks.mount()
    deployment.launch(rng)
    deployment.wait()
    create_bucket(deployment.port)
    ready = time.monotonic_ns()
    model, segments, counters = journal.Model(), [], {**dict.fromkeys(COUNTERS, 0), "tables": 0, "volume_files": 0}
    lives = rng.choice(LIVES)
    for number in range(lives + 1):
        if number > 0:
            deployment.launch(rng)
            deployment.wait()
        is_last = number == lives
        seconds = rng.uniform(*(rng.choice(LAST_SECONDS) if is_last else LIFE_SECONDS))
        end = Life.CUT if is_last else Life.STOPPED if rng.random() < STOPPED else Life.KILLED
        lines, kept = live(disks, deployment, model, f"{seed}/{number}", seconds, counters, end)
        over = time.monotonic_ns()
        segments.append((lines, over))
        model.apply(lines, over)
        if model.problems:
            raise Broken(f"while it was recorded: {model.problems[:5]}")
    for directory in disks.dirs:
        counters["tables"] += sum(1 for _ in directory.glob("index/*/tables/*"))
        counters["volume_files"] += sum(1 for _ in directory.glob("volumes/*"))
    disks.unmount()
    return Recording(kept, segments, ready, counters, f"{','.join(disks.fs)} of sectors of {disks.sector}, {deployment.describe()}")


class Life(enum.Enum):
    """How one ends."""

    STOPPED = enum.auto()
    KILLED = enum.auto()
    CUT = enum.auto()


def live(disks, deployment, model, seed, seconds, counters, end):
    """Loads the server for so long and ends it. The journal's lines, and the recording when this was its last part."""
    ending = multiprocessing.Value("b", 0, lock=False)
    kept = None
    with journal.folder() as folder:
        pids = load.start(deployment.port, model, folder, seed, ending, seed.replace("/", "."), seconds + 60)
        try:
            time.sleep(seconds)
            deployment.check_alive()
            for name, count in deployment.counters().items():
                counters[name] += count
            ending.value = 1
            if end == Life.STOPPED:
                deployment.stop()
            else:
                if end == Life.CUT:
                    until = time.monotonic_ns()
                    kept = {**disks.ask("keep"), "until": until}
                deployment.kill()
        finally:
            ending.value = 1
            if deployment.process is not None:
                deployment.process.kill()
            for pid in pids:
                os.waitpid(pid, 0)
        return journal.read(folder), kept

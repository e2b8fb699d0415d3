"""What was tried and what was answered, written outside of the data directories, and what must hold after a kill.

One file for each writer thread, one JSON object a line. Times are of CLOCK_MONOTONIC, in nanoseconds, and comparable
between processes.

    {"try": id, "t", "kind", "key", "value"?, "pred"?, "upload"?, "number"?, "etag"?}   before it is sent
    {"end": id, "t", "outcome": "ok" | "no" | "unknown", "status", "upload"?}           after the answer
    {"read": key, "t", "t1", "id": id or null}                                          a GET that was answered
    {"bad": text}                                                                       the writer saw a violation itself

"no": refused, surely without effect. "unknown": the connection broke (no end time), or a 5xx.
"""

import json
import tempfile
import time
from pathlib import Path

NEVER = float("inf")
# When the base of a round was written.
BEFORE = -1
MEMORY = "/dev/shm"


def folder():
    """Where journals may lie: in memory if possible, since the drives under test may be full or slow."""
    return tempfile.TemporaryDirectory(prefix="hafiz-kill-journal-", dir=MEMORY if Path(MEMORY).is_dir() else None)


class Journal:
    """Appends to one file; each line reaches the kernel before the call returns."""

    def __init__(self, path):
        self.file = open(path, "ab", buffering=0)

    def write(self, **line):
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        if self.file.write(data) != len(data):
            raise OSError("the journal's file system is full")


def read(folder):
    """All lines of a round, in the order of their times as far as they have one."""
    lines = [json.loads(line) for path in sorted(Path(folder).glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    return sorted(lines, key=lambda line: line.get("t", 0))


class Attempt:
    def __init__(self, line):
        self.id, self.kind, self.key = line["try"], line["kind"], line["key"]
        self.start, self.end, self.outcome, self.status = line["t"], NEVER, "unknown", None
        self.value, self.pred = line.get("value"), line.get("pred")
        self.upload, self.number, self.etag = line.get("upload"), line.get("number"), line.get("etag")


class Upload:
    """One multipart upload: `parts` holds, for each number, the ETags and sizes of which one must be there."""

    def __init__(self, key, writer):
        self.key, self.writer = key, writer
        self.parts, self.maybe_parts = {}, {}
        self.state = "open"
        self.completing = None


class Key:
    """One key since it was last verified: `base` is the value seen then."""

    def __init__(self, base=None):
        self.base, self.attempts, self.reads, self.exists_seen = base, [], [], False


WRITES = ("put", "delete", "copy", "complete")


class Model:
    """What the deployment must hold. `apply` adds a round; `settle` takes what was verified as the new truth."""

    def __init__(self):
        self.keys, self.uploads, self.values = {}, {}, {}
        self.unknown_creates = set()
        # Uploads whose beginning was never acknowledged.
        self.strays = set()
        self.problems = []
        self.acknowledged = 0
        self.statuses = {}

    def apply(self, lines, over=None):
        """Adds what was tried until the server died, at `over`: now, if it is not given."""
        attempts = {}
        for line in lines:
            if "try" in line:
                attempts[line["try"]] = Attempt(line)
        for line in lines:
            if "end" in line and line["end"] in attempts:
                attempt = attempts[line["end"]]
                attempt.end, attempt.outcome = line["t"], line["outcome"]
                attempt.status = line["status"]
                if "upload" in line:
                    attempt.upload = line["upload"]
            elif "bad" in line:
                self.problems.append(line["bad"])
        over = over or time.monotonic_ns()
        for attempt in attempts.values():
            # The server is dead: what took no effect until now never will.
            attempt.end = min(attempt.end, over)
        for attempt in sorted(attempts.values(), key=lambda attempt: attempt.start):
            if attempt.kind in WRITES:
                self.write(attempt)
            if attempt.kind in ("create", "part", "abort", "complete"):
                self.multipart(attempt)
            if attempt.outcome == "ok":
                self.acknowledged += 1
            self.statuses[attempt.status] = self.statuses.get(attempt.status, 0) + 1
        for line in lines:
            if "read" in line:
                self.keys.setdefault(line["read"], Key()).reads.append((line["t"], line["t1"], line["id"]))

    def write(self, attempt):
        key = self.keys.setdefault(attempt.key, Key())
        if attempt.value is not None:
            self.values[attempt.value["id"]] = attempt.value
        if attempt.outcome == "no":
            key.exists_seen |= attempt.key.startswith("race/") and attempt.status == 412
        else:
            key.attempts.append(attempt)

    def multipart(self, attempt):
        if attempt.kind == "create":
            if attempt.outcome == "ok":
                self.uploads[attempt.upload] = Upload(attempt.key, attempt.key.split("/")[0])
            elif attempt.outcome == "unknown":
                self.unknown_creates.add(attempt.key)
            return
        upload = self.uploads[attempt.upload]
        if attempt.kind == "part":
            entry = [attempt.etag, attempt.value["pieces"][0]]
            if attempt.outcome == "ok":
                upload.parts[attempt.number] = [entry]
                upload.maybe_parts.pop(attempt.number, None)
            elif attempt.outcome == "unknown":
                upload.maybe_parts.setdefault(attempt.number, []).append(entry)
        elif attempt.outcome == "ok":
            upload.state = "gone"
        elif attempt.outcome == "unknown" and upload.state == "open":
            upload.state = "maybe"
            upload.completing = attempt if attempt.kind == "complete" else None

    def is_last(self, attempt):
        """Whether nothing came after it on its key, and the kill cut it off. A 5xx may have been followed by other writes."""
        return attempt.status is None and self.keys[attempt.key].attempts[-1] is attempt

    def allowed(self, name):
        """The values, None for absence, that `name` may have after the kill."""
        key = self.keys[name]
        acked = [attempt for attempt in key.attempts if attempt.outcome == "ok"]
        if name.startswith("race/"):
            # Written only if absent, never deleted: the first one stays.
            if key.base is not None:
                return [key.base]
            if acked:
                return [attempt.value for attempt in acked]
            return [attempt.value for attempt in key.attempts] + ([] if key.exists_seen else [None])
        newest_start = max((attempt.start for attempt in acked), default=-1)
        found = [attempt.value for attempt in key.attempts if attempt.end >= newest_start]
        return found + ([] if acked else [key.base])

    def check_histories(self, observed):
        """Violations that show in histories rather than in one value. `observed`: what each key was seen to have."""
        problems = []
        for name, key in self.keys.items():
            if name not in observed:
                continue
            acked = [attempt for attempt in key.attempts if attempt.outcome == "ok"]
            seen = observed[name]
            if name.startswith("race/") and len(acked) + (key.base is not None) > 1:
                ids = [attempt.id for attempt in acked]
                problems.append(f"{name}: If-None-Match: * succeeded more than once: {ids}, base {key.base}")
            if name.startswith("cas/"):
                problems += self.check_chain(name, key, acked, seen)
            else:
                problems += self.check_reads(name, key, acked)
        return problems

    def check_chain(self, name, key, acked, seen):
        """Each write named the value it replaced: what is there must descend from everything that was ever true."""
        by_id = {attempt.id: attempt for attempt in key.attempts}
        base = key.base["id"] if key.base else None
        chain, at = [], seen["id"] if seen else None
        while at != base:
            if at not in by_id or at in chain:
                return [f"{name}: {at} is not a successor of {base}; the chain from what is there: {chain}"]
            chain.append(at)
            at = by_id[at].pred
        chain = [base, *reversed(chain)]
        place = {number: n for n, number in enumerate(chain)}
        problems = [f"{name}: {a.id} was acknowledged and is not in the chain" for a in acked if a.id not in place]
        for start, _, number in key.reads:
            if number not in place:
                problems.append(f"{name}: {number} was read and is not in the chain")
            elif any(a.end < start and place.get(a.id, -1) > place[number] for a in acked):
                problems.append(f"{name}: {number} was read after a successor was acknowledged")
        return problems

    def check_reads(self, name, key, acked):
        """A read may return what was there at some moment between its start and its end."""
        problems = []
        for start, end, number in key.reads:
            ends = [a.end for a in key.attempts if (a.value["id"] if a.value else None) == number and a.start < end]
            if number == (key.base["id"] if key.base else None):
                ends.append(BEFORE)
            if not ends:
                problems.append(f"{name}: a read returned {number}, which was never written")
            elif not any(all(not (o.start > ended and o.end < start) for o in acked) for ended in ends):
                problems.append(f"{name}: a read returned {number}, though a later write was acknowledged before it")
        return problems

    def settle(self, observed, uploads):
        """From now on what was observed is the truth. `uploads`: for each upload that is there, its parts by number."""
        for name, value in observed.items():
            key = self.keys[name] = Key(value)
            key.exists_seen = value is not None
        kept = {value["id"]: value for value in observed.values() if value is not None}
        self.values = kept
        self.unknown_creates.clear()
        for upload_id in list(self.uploads):
            upload = self.uploads[upload_id]
            if upload_id not in uploads:
                # Kept by name, so that one that comes back is noticed.
                upload.state, upload.parts, upload.maybe_parts = "gone", {}, {}
                continue
            listed = uploads[upload_id]
            candidates = lambda n: upload.parts.get(n, []) + upload.maybe_parts.get(n, [])
            parts = {n: [entry for entry in candidates(n) if entry[0] == tag] for n, tag in listed.items()}
            upload.state, upload.completing = "open", None
            upload.parts, upload.maybe_parts = parts, {}

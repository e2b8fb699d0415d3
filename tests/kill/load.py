"""Writers: several processes of several threads each, every thread a client with keys of its own and some shared ones.

A writer is sequential, so it knows what its own keys hold and checks each answer at once. Shared keys (`race/`, `cas/`,
`mix/`) are judged afterwards, from the times in the journals.
"""

import hashlib
import http.client
import os
import random
import threading
import time
from xml.sax.saxutils import escape

import values
import wire
from journal import Journal

BUCKET = "kill"
PROCESSES = 4
THREADS = 5
OWN_KEYS = 24
LONG_KEY = 900
CAS_KEYS = 3
MIX_KEYS = 6
# Names that all writers go for in the same moment.
RACES_PER_SECOND = 25
# An upload is not begun while so many of the writer are open.
OPEN_UPLOADS_MAX = 3
ANSWER_SECONDS_MAX = 60
# Pause after a connection broke although nobody killed the server.
BROKEN_PAUSE = 0.02

OPERATIONS = {
    "put": 40, "delete": 9, "delete_many": 3, "multipart": 3, "copy": 8, "get": 12,
    "if_match": 5, "race": 10, "cas": 5, "mix": 5,
}  # fmt: skip


def own_key(writer, n):
    """Some names have characters that need care on the way; some are long, so that memtables fill soon."""
    if n % 8 == 0:
        return f"{writer}/k {n:02}+\u00fc&%"
    return f"{writer}/k{n:02}" + ("-" * LONG_KEY if n % 2 else "")


class Stop(Exception):
    """The server is gone: the round is over for this writer."""


class Writer:
    def __init__(self, number, port, model, folder, seed, killed, tag):
        self.name = f"w{number:02}"
        self.rng = random.Random(f"{seed}/{self.name}")
        self.client = wire.Client(port, timeout=ANSWER_SECONDS_MAX)
        self.journal = Journal(f"{folder}/{self.name}.jsonl")
        self.killed, self.tag, self.count = killed, tag, 0
        self.began = time.monotonic()
        self.own = {}
        for n in range(OWN_KEYS):
            key = own_key(self.name, n)
            self.own[key] = model.allowed(key) if key in model.keys else [None]
        self.uploads = {i: u for i, u in model.uploads.items() if u.writer == self.name and u.state == "open"}
        # Only parts of which it is known which one is there.
        self.open = {
            i: {n: c[0] for n, c in u.parts.items() if len(c) == 1 and n not in u.maybe_parts} for i, u in self.uploads.items()
        }
        self.open_keys = {i: u.key for i, u in self.uploads.items()}
        self.old_races = [name for name, key in model.keys.items() if name.startswith("race/") and key.base]
        # Once of unknown outcome while the server lives: left alone until the kill.
        self.frozen = set()

    def next_id(self):
        self.count += 1
        return f"{self.tag}.{self.name}.{self.count}"

    def bad(self, text):
        self.journal.write(bad=f"{self.name}: {text}")

    def send(self, method, key, query=(), body=b"", headers=None):
        """The answer, or None when the connection broke."""
        path = f"/{BUCKET}/{key}" if key is not None else f"/{BUCKET}"
        try:
            return self.client.request(method, path, query, body, headers, wire.UNSIGNED if body else None)
        except TimeoutError:
            self.bad(f"{method} {path} {query} was not answered within {ANSWER_SECONDS_MAX} s")
        except (OSError, http.client.HTTPException):
            pass
        if self.killed.value:
            return None
        time.sleep(BROKEN_PAUSE)
        return None

    def attempt(self, kind, key, method, query=(), body=b"", headers=None, refusals=(), **fields):
        """Sends one change. Returns id, outcome, answer; raises `Stop` when the server is gone."""
        number = fields["value"]["id"] if fields.get("value") else self.next_id()
        self.journal.write(**{"try": number, "t": time.monotonic_ns(), "kind": kind, "key": key, **fields})
        answer = self.send(method, key, query, body, headers)
        if answer is None:
            self.frozen.add(key)
            if self.killed.value:
                raise Stop
            return number, "unknown", None
        if answer.status // 100 == 2 and answer.code is None:
            outcome = "ok"
        elif answer.status >= 500 or answer.status == 200:
            outcome = "unknown"
        else:
            outcome = "no"
            if answer.status not in refusals:
                self.bad(f"{kind} {key} {query}: {answer}")
        more = {}
        if kind == "create" and outcome == "ok":
            start = answer.body.index(b"<UploadId>") + 10
            more["upload"] = answer.body[start : answer.body.index(b"</UploadId>")].decode()
        self.journal.write(end=number, t=time.monotonic_ns(), outcome=outcome, status=answer.status, **more)
        return number, outcome, answer

    def own_write(self, kind, key, value, *args, **kwargs):
        try:
            _, outcome, answer = self.attempt(kind, key, *args, value=value, **kwargs)
        except Stop:
            self.own[key].append(value)
            raise
        if outcome == "ok":
            self.own[key] = [value]
        elif outcome == "unknown":
            self.own[key].append(value)
        return outcome, answer

    def new_value(self, key):
        return values.single(key, self.next_id(), values.some_size(self.rng))

    def put(self, key=None, headers=None, refusals=()):
        key = key or self.pick()
        value = self.new_value(key)
        headers = {"x-amz-meta-id": value["id"], **(headers or {})}
        body = values.body(value)
        outcome, answer = self.own_write("put", key, value, "PUT", body=body, headers=headers, refusals=refusals)
        if outcome == "ok" and answer.headers.get("etag") != f'"{hashlib.md5(body).hexdigest()}"':
            self.bad(f"PUT {key}: ETag {answer.headers.get('etag')} is not that of the body")
        return outcome

    def pick(self, wanted=lambda states: True):
        keys = [key for key, states in self.own.items() if key not in self.frozen and wanted(states)]
        return self.rng.choice(keys) if keys else next(iter(self.own))

    def delete(self):
        self.own_write("delete", self.pick(), None, "DELETE")

    def delete_many(self):
        keys = sorted({self.pick() for _ in range(self.rng.randint(2, 5))})
        ids = {key: self.next_id() for key in keys}
        for key in keys:
            self.journal.write(**{"try": ids[key], "t": time.monotonic_ns(), "kind": "delete", "key": key})
        body = "<Delete>" + "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys) + "</Delete>"
        digest = wire.md5_base64(body.encode())
        answer = self.send("POST", None, [("delete", "")], body.encode(), {"content-md5": digest})
        for key in keys:
            if answer is None:
                self.own[key].append(None)
                self.frozen.add(key)
                continue
            deleted = answer.status == 200 and f"<Deleted><Key>{escape(key)}</Key>".encode() in answer.body
            outcome = "ok" if deleted else "unknown"
            self.journal.write(end=ids[key], t=time.monotonic_ns(), outcome=outcome, status=answer.status)
            self.own[key] = [None] if deleted else [*self.own[key], None]
        if answer is None and self.killed.value:
            raise Stop
        if answer is not None and answer.status // 100 not in (2, 5):
            self.bad(f"DeleteObjects: {answer}")

    def multipart(self):
        """One step of an upload: begin it, add a part, complete or abort it. Kills fall between the steps."""
        if not self.open or (len(self.open) < OPEN_UPLOADS_MAX and self.rng.random() < 0.3):
            key, meta = self.pick(), self.next_id()
            _, outcome, answer = self.attempt("create", key, "POST", [("uploads", "")], headers={"x-amz-meta-id": meta})
            if outcome == "ok":
                start = answer.body.index(b"<UploadId>") + 10
                upload = answer.body[start : answer.body.index(b"</UploadId>")].decode()
                self.open[upload], self.open_keys[upload] = {}, key
            return
        upload = self.rng.choice(sorted(self.open))
        key, parts = self.open_keys[upload], self.open[upload]
        if key in self.frozen:
            return
        numbers = sorted(parts)
        if not numbers or (len(numbers) < 3 and self.rng.random() < 0.5):
            self.part(upload, key, parts)
        elif self.rng.random() < 0.25:
            _, outcome, _ = self.attempt("abort", key, "DELETE", [("uploadId", upload)], upload=upload)
            del self.open[upload]
        else:
            self.complete(upload, key, parts, numbers)

    def part(self, upload, key, parts):
        # All but the last part have the least size that is allowed; the last one has the highest number.
        last = self.rng.random() < 0.5
        number = 9 if last else self.rng.randint(1, 4)
        length = values.some_size(self.rng) if last else values.PART_MIN
        value = values.single(key, self.next_id(), length)
        body = values.body(value)
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        query = [("partNumber", str(number)), ("uploadId", upload)]
        fields = {"upload": upload, "number": number, "etag": etag}
        _, outcome, answer = self.attempt("part", key, "PUT", query, body, value=value, **fields)
        if outcome == "ok":
            parts[number] = [etag, value["pieces"][0]]
            if answer.headers.get("etag") != etag:
                self.bad(f"part {number} of {key}: ETag {answer.headers.get('etag')} is not that of the body")
        else:
            parts.pop(number, None)

    def complete(self, upload, key, parts, numbers):
        value = {"id": self.next_id(), "pieces": [parts[n][1] for n in numbers], "parts": True}
        rows = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{escape(parts[n][0])}</ETag></Part>" for n in numbers)
        body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
        self.own_write("complete", key, value, "POST", [("uploadId", upload)], body, upload=upload)
        del self.open[upload]

    def copy(self):
        source = self.pick(lambda states: len(states) == 1 and states[0] is not None)
        if len(self.own[source]) != 1 or self.own[source][0] is None:
            return
        target, old = self.pick(), self.own[source][0]
        if target == source:
            return
        # Whatever the source was, the copy is one whole.
        value = {"id": self.next_id(), "pieces": old["pieces"], "parts": False}
        headers = {
            "x-amz-copy-source": wire.quote(f"/{BUCKET}/{source}", safe="/-_.~"),
            "x-amz-metadata-directive": "REPLACE",
            "x-amz-meta-id": value["id"],
        }
        self.own_write("copy", target, value, "PUT", headers=headers)

    def fetch(self, key):
        """Reads a key: start, id or None, answer. Nothing when the read failed."""
        start = time.monotonic_ns()
        answer = self.send("GET", key)
        if answer is None:
            if self.killed.value:
                raise Stop
            return None
        if answer.status >= 500:
            return None
        if answer.status not in (200, 404):
            self.bad(f"GET {key}: {answer}")
            return None
        number = answer.headers.get("x-amz-meta-id") if answer.status == 200 else None
        return start, time.monotonic_ns(), number, answer

    def get(self):
        key = self.pick()
        fetched = self.fetch(key)
        if fetched is None:
            return
        start, end, _, answer = fetched
        states = self.own[key]
        seen = [value for value in states if matches(value, answer)]
        if not seen:
            expected = " or ".join(values.describe(value) for value in states)
            self.bad(f"GET {key}: {show(answer)}, expected {expected}")
            return
        # What was seen is durable: from now on nothing else may be there.
        self.own[key] = [seen[0]]
        self.journal.write(read=key, t=start, t1=end, id=id_of(seen[0]))

    def if_match(self):
        key = self.pick(lambda states: len(states) == 1 and states[0] is not None)
        states = self.own[key]
        if len(states) != 1 or states[0] is None:
            return
        if self.rng.random() < 0.5:
            if self.put(key, {"if-match": values.etag(states[0])}, refusals=(412,)) == "no":
                self.bad(f"PUT {key} If-Match with the right ETag was refused")
        elif self.put(key, {"if-match": '"00000000000000000000000000000000"'}, refusals=(412,)) == "ok":
            self.bad(f"PUT {key} If-Match with a wrong ETag was not refused")

    def race(self):
        if self.old_races and self.rng.random() < 0.2:
            key = self.rng.choice(self.old_races)
        else:
            key = f"race/{self.tag}-{int((time.monotonic() - self.began) * RACES_PER_SECOND)}"
        value = values.single(key, self.next_id(), self.rng.choice([0, 10, 5000, 40_000]))
        headers = {"x-amz-meta-id": value["id"], "if-none-match": "*"}
        self.attempt("put", key, "PUT", body=values.body(value), headers=headers, value=value, refusals=(412, 409))

    def cas(self):
        """Replaces what was read, if it is still there."""
        key = f"cas/{self.rng.randrange(CAS_KEYS)}"
        fetched = self.fetch(key)
        if fetched is None:
            return
        start, end, number, answer = fetched
        self.journal.write(read=key, t=start, t1=end, id=number)
        # Room for the whole name of the attempt: two of them must not have one ETag.
        value = values.single(key, self.next_id(), self.rng.choice([60, 3000, 33_000]))
        condition = {"if-match": answer.headers["etag"]} if number else {"if-none-match": "*"}
        headers = {"x-amz-meta-id": value["id"], **condition}
        body = values.body(value)
        self.attempt("put", key, "PUT", body=body, headers=headers, value=value, pred=number, refusals=(412, 409, 404))

    def mix(self):
        """Everyone writes, deletes and reads the same few keys."""
        key = f"mix/{self.rng.randrange(MIX_KEYS)}"
        kind = self.rng.random()
        if kind < 0.5:
            value = values.single(key, self.next_id(), self.rng.choice([0, 500, 33_000, 200_000]))
            headers = {"x-amz-meta-id": value["id"]}
            self.attempt("put", key, "PUT", body=values.body(value), headers=headers, value=value)
        elif kind < 0.7:
            self.attempt("delete", key, "DELETE")
        else:
            fetched = self.fetch(key)
            if fetched is not None:
                start, end, number, answer = fetched
                if number and not answer.body == values.piece(f"{key}|{number}", len(answer.body)):
                    self.bad(f"GET {key}: torn: {show(answer)}")
                self.journal.write(read=key, t=start, t1=end, id=number)

    def run(self, deadline):
        names, weights = list(OPERATIONS), list(OPERATIONS.values())
        try:
            while time.monotonic() < deadline and not self.killed.value:
                getattr(self, self.rng.choices(names, weights)[0])()
        except Stop:
            pass
        except Exception as error:
            self.bad(f"the writer failed: {error!r} at line {error.__traceback__.tb_lineno}")
        self.client.close()


def id_of(value):
    return None if value is None else value["id"]


def matches(value, answer):
    """Whether a GET's answer is this value, to the last byte."""
    if value is None or answer.status != 200:
        return value is None and answer.status == 404
    # The metadata of an upload were given when it began: its ETag tells it from others.
    meta = value["parts"] or answer.headers.get("x-amz-meta-id") == value["id"]
    return meta and answer.headers.get("etag") == values.etag(value) and answer.body == values.body(value)


def show(answer):
    found = answer.headers.get("x-amz-meta-id")
    return f"{answer.status} id {found}, {len(answer.body)} bytes beginning {answer.body[:48]!r}, ETag {answer.headers.get('etag')}"


def start(port, model, folder, seed, killed, tag, seconds):
    """Forks the writers. They end when `killed` says so and the server is gone, or after `seconds`. Returns their pids."""
    deadline = time.monotonic() + seconds
    pids = []
    for process in range(PROCESSES):
        pid = os.fork()
        if pid:
            pids.append(pid)
            continue
        try:
            numbers = range(process * THREADS, (process + 1) * THREADS)
            writers = [Writer(number, port, model, folder, seed, killed, tag) for number in numbers]
            threads = [threading.Thread(target=writer.run, args=(deadline,)) for writer in writers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException as error:
            Journal(f"{folder}/process-{process}.jsonl").write(bad=f"a writer process failed: {error!r}")
        finally:
            # Whatever happens, this process must not go on as if it were the one that forked it.
            os._exit(0)
    return pids

"""Reads everything back and compares it with the model: GET, HEAD, LIST in pages and by delimiter, uploads and their parts.

Changes nothing. What it returns is what was seen, for `Model.settle`, and what was wrong with it.
"""

import http.client
import json
import os
import random
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import values
import wire
from load import ANSWER_SECONDS_MAX, BUCKET, matches, show

READERS = 3
# A read that is told to come back later comes back so often.
BUSY_ATTEMPTS = 20
BUSY_PAUSE = 0.1
XML = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def ask(client, method, path, query=()):
    """One request; 503 is asked again, since a server may be busy but not stay so."""
    for _ in range(BUSY_ATTEMPTS):
        try:
            answer = client.request(method, path, query)
        except (OSError, http.client.HTTPException) as error:
            return wire.Answer(599, {}, f"<Code>{error!r}</Code>".encode())
        if answer.status != 503:
            break
        time.sleep(BUSY_PAUSE)
    return answer


def check_key(client, model, name):
    """What is there, as the value of an attempt, and what is wrong with it."""
    path = f"/{BUCKET}/{name}"
    answer = ask(client, "GET", path)
    allowed = model.allowed(name)
    seen = [value for value in allowed if matches(value, answer)]
    if not seen:
        expected = " or ".join(values.describe(value) for value in allowed)
        return None, [f"{kind_of_loss(name, answer)}: {name}: GET {show(answer)}, expected {expected}"]
    problems = []
    head = ask(client, "HEAD", path)
    if head.status != answer.status:
        problems.append(f"{name}: HEAD {head.status}, GET {answer.status}")
    elif head.status == 200:
        for header in ("etag", "x-amz-meta-id", "content-length", "last-modified"):
            if head.headers.get(header) != answer.headers.get(header):
                problems.append(f"{name}: HEAD and GET disagree on {header}")
        length = len(answer.body)
        if length > 2 and not problems:
            first = random.Random(name).randrange(length - 1)
            ranged = client.request("GET", path, headers={"range": f"bytes={first}-{length - 2}"})
            if ranged.status != 206 or ranged.body != answer.body[first : length - 1]:
                problems.append(f"{name}: GET of bytes {first}-{length - 2}: {show(ranged)}")
    return seen[0], problems


def kind_of_loss(name, answer):
    if answer.status != 200:
        return "lost" if answer.status == 404 else "unreadable"
    seed = f"{name}|{answer.headers.get('x-amz-meta-id')}"
    return "resurrected" if answer.body == values.piece(seed, len(answer.body)) else "torn"


def check_keys(port, model, names):
    """All keys, in several processes: the observed values and the problems."""
    names = sorted(names)
    with tempfile.TemporaryDirectory(prefix="hafiz-kill-") as folder:
        pids = []
        for n in range(READERS):
            pid = os.fork()
            if pid:
                pids.append(pid)
                continue
            # Nothing may leave this block: this process would go on as if it were the one that forked it.
            try:
                client = wire.Client(port, timeout=ANSWER_SECONDS_MAX)
                checked = [(name, *check_key(client, model, name)) for name in names[n::READERS]]
                Path(folder, str(n)).write_text(json.dumps(checked))
            except BaseException as error:
                Path(folder, str(n)).write_text(json.dumps([["?", None, [f"a reader failed: {error!r}"]]]))
            finally:
                os._exit(0)
        for pid in pids:
            os.waitpid(pid, 0)
        rows = [row for n in range(READERS) for row in json.loads(Path(folder, str(n)).read_text())]
    problems = [problem for _, _, found in rows for problem in found]
    return {name: value for name, value, _ in rows if name != "?"}, problems


def pages(client, query, marks):
    """All pages of a listing, parsed. `marks`: which element of a page becomes which parameter of the next request."""
    more, after, found = True, [], []
    while more:
        answer = ask(client, "GET", f"/{BUCKET}", [*query, *after])
        if answer.status != 200:
            raise ValueError(f"{query} {after}: {answer}")
        page = ElementTree.fromstring(answer.body)
        found.append(page)
        more = page.findtext(f"{XML}IsTruncated") == "true"
        after = [(parameter, page.findtext(f"{XML}{element}")) for element, parameter in marks]
    return found


def check_lists(client, rng, observed):
    problems = []
    there = {name: value for name, value in observed.items() if value is not None}
    continuation = [("NextContinuationToken", "continuation-token")]
    size = str(rng.choice([7, 100, 1000]))
    rows = [
        (row.findtext(f"{XML}Key"), int(row.findtext(f"{XML}Size")), row.findtext(f"{XML}ETag"))
        for page in pages(client, [("list-type", "2"), ("max-keys", size)], continuation)
        for row in page.iter(f"{XML}Contents")
    ]
    names = [name for name, _, _ in rows]
    if names != sorted(set(names), key=str.encode):
        problems.append("the listing is not in order, or names a key twice")
    for name in sorted(set(names) - set(there)):
        problems.append(f"resurrected: {name} is listed, GET does not find it")
    for name in sorted(set(there) - set(names)):
        problems.append(f"lost: {name} is there, but not listed")
    for name, length, etag in rows:
        if name in there and (length != values.size(there[name]) or etag != values.etag(there[name])):
            problems.append(f"{name}: listed with {length} bytes and {etag}, GET found {values.describe(there[name])}")
    query = [("list-type", "2"), ("max-keys", rng.choice(["3", "1000"])), ("delimiter", "/")]
    found = pages(client, query, continuation)
    prefixes = [row.findtext(f"{XML}Prefix") for page in found for row in page.iter(f"{XML}CommonPrefixes")]
    expected = sorted({name.split("/")[0] + "/" for name in there})
    if prefixes != expected:
        problems.append(f"common prefixes {prefixes}, expected {expected}")
    return problems


def check_uploads(client, model, observed):
    """The uploads that are there, with the ETag of each part, and what is wrong with them."""
    problems, found = [], {}
    marks = [("NextKeyMarker", "key-marker"), ("NextUploadIdMarker", "upload-id-marker")]
    listed = {}
    for page in pages(client, [("uploads", ""), ("max-uploads", "50")], marks):
        for row in page.iter(f"{XML}Upload"):
            listed[row.findtext(f"{XML}UploadId")] = row.findtext(f"{XML}Key")
    for upload_id, key in listed.items():
        if upload_id not in model.uploads and key not in model.unknown_creates and upload_id not in model.strays:
            problems.append(f"resurrected: upload {upload_id} of {key} was never begun")
        if upload_id not in model.uploads:
            model.strays.add(upload_id)
    for upload_id, upload in model.uploads.items():
        if upload.state == "open" and upload_id not in listed:
            problems.append(f"lost: upload {upload_id} of {upload.key}")
        if upload.state == "gone" and upload_id in listed:
            problems.append(f"resurrected: upload {upload_id} of {upload.key}")
        completed = upload.completing
        if upload.state == "maybe" and completed and completed.key in observed:
            is_there = observed[completed.key] == completed.value
            if upload_id in listed and is_there:
                problems.append(f"torn: upload {upload_id} of {upload.key} is there and completed as well")
            if upload_id not in listed and not is_there and model.is_last(completed):
                problems.append(f"torn: upload {upload_id} of {upload.key} is gone and its object is not there")
        if upload_id not in listed or upload.state == "gone":
            continue
        rows = {}
        for page in pages_of_parts(client, upload.key, upload_id):
            for row in page.iter(f"{XML}Part"):
                rows[int(row.findtext(f"{XML}PartNumber"))] = (row.findtext(f"{XML}ETag"), int(row.findtext(f"{XML}Size")))
        found[upload_id] = {number: etag for number, (etag, _) in rows.items()}
        for number in sorted(set(upload.parts) | set(rows)):
            sure, maybe = upload.parts.get(number, []), upload.maybe_parts.get(number, [])
            allowed = [(etag, length) for etag, (_, length) in sure + maybe]
            if number not in rows and sure:
                problems.append(f"lost: part {number} of upload {upload_id} of {upload.key}")
            elif number in rows and rows[number] not in allowed:
                problems.append(f"part {number} of upload {upload_id} of {upload.key}: {rows[number]}, expected {allowed}")
    return found, problems


def pages_of_parts(client, key, upload_id):
    answer = ask(client, "GET", f"/{BUCKET}/{key}", [("uploadId", upload_id)])
    if answer.status != 200:
        raise ValueError(f"ListParts of {upload_id}: {answer}")
    return [ElementTree.fromstring(answer.body)]


def verify(port, model, rng):
    """Observed values, uploads that are there, problems."""
    client = wire.Client(port, timeout=ANSWER_SECONDS_MAX)
    observed, problems = check_keys(port, model, model.keys)
    problems += model.check_histories(observed)
    uploads = {}
    try:
        problems += check_lists(client, rng, observed)
        uploads, wrong = check_uploads(client, model, observed)
        problems += wrong
    except (ValueError, OSError, http.client.HTTPException, ElementTree.ParseError) as error:
        problems.append(f"unreadable: listing: {error}")
    client.close()
    return observed, uploads, problems

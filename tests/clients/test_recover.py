"""Drives from which no server starts any more: `hafiz recover` finds everything that was alive, invents nothing, and says
what it cannot know. The commands of the runbook in docs/operations.md are run as they are written there."""

import json
import random
import re
import shutil
import subprocess
import time

import conftest
import pytest
import server as hafiz

OPERATIONS = (hafiz.ROOT / "docs" / "operations.md").read_text()
PART = 5 << 20
FREE_SECONDS_MAX = 90
# Where the first page of a slot has its volume's class (docs/format.md), and the classes.
CLASS_AT, LOG, DATA = 68, 1, 2


def runbook(heading):
    """The commands under a heading of the runbooks."""
    section = OPERATIONS.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def body_of(name, size):
    return random.Random(name).randbytes(size)


def recover(dirs, *words, code=0, upload=False):
    keys = {"HAFIZ_ROOT_USER": hafiz.USER, "HAFIZ_ROOT_PASSWORD": hafiz.PASSWORD} if upload else {}
    command = [str(hafiz.BINARY), "recover", *map(str, dirs), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=hafiz.environment(**keys))
    codes = code if isinstance(code, tuple) else (code,)
    assert done.returncode in codes, (words, done.returncode, done.stdout, done.stderr)
    return done.stdout if done.returncode < 3 else done.stderr


def lose_tables(drive):
    for partition in (drive / "index").iterdir():
        shutil.rmtree(partition)


def age(deployment):
    """Has the log volumes that are there now freed: two starts later every partition's tables lie beyond them."""
    logs = volumes_of(LOG, deployment.dirs[:1])
    for _ in range(2):
        assert deployment.stop() == 0
        deployment.start()
    deadline = time.monotonic() + FREE_SECONDS_MAX
    while logs & volumes_of(LOG, deployment.dirs[:1]):
        assert time.monotonic() < deadline, "logs of an earlier start are not freed"
        time.sleep(0.2)


class Filled:
    """A deployment with a bit of everything, stopped."""

    def __init__(self, deployment):
        self.deployment, self.alive, self.gone = deployment, {}, []
        s3 = conftest.sdk(deployment)
        for bucket in ("one", "two"):
            s3.create_bucket(Bucket=bucket)
        for bucket, key, size in [
            ("one", "small", 5_000), ("one", "large", 3_000_000), ("one", "empty", 0), ("one", "a/b/c ü%&=?#\\", 40_000),
            ("two", "small", 777), ("two", "z" * 1024, 12), ("two", "larger", 9_000_001), ("one", "../../etc/passwd", 99),
        ]:  # fmt: skip
            self.put(s3, bucket, key, size)
        for key, size in [("replaced-small", 900), ("replaced-large", 2_000_000)]:
            self.put(s3, "one", key, size, "first")
            self.put(s3, "one", key, size + 1, "second")
        upload = s3.create_multipart_upload(Bucket="two", Key="parts", Metadata={"of": "parts"})["UploadId"]
        pieces = [body_of("piece1", PART), body_of("piece2", PART), body_of("piece3", 100)]
        parts = []
        for number, piece in enumerate(pieces, 1):
            done = s3.upload_part(Bucket="two", Key="parts", UploadId=upload, PartNumber=number, Body=piece)
            parts.append({"PartNumber": number, "ETag": done["ETag"]})
        s3.complete_multipart_upload(Bucket="two", Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
        self.alive["two", "parts"] = b"".join(pieces)
        for key, size in [("deleted-small", 800), ("deleted-large", 1_500_000)]:
            self.put(s3, "one", key, size)
            s3.delete_object(Bucket="one", Key=key)
            del self.alive["one", key]
            self.gone.append(("one", key))
        unfinished = s3.create_multipart_upload(Bucket="two", Key="unfinished")["UploadId"]
        s3.upload_part(Bucket="two", Key="unfinished", UploadId=unfinished, PartNumber=7, Body=body_of("unfinished", 70_000))
        assert deployment.stop() == 0

    def put(self, s3, bucket, key, size, label=""):
        body = body_of(f"{bucket}/{key}{label}", size)
        s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="x/y", Metadata={"label": label or "none"})
        self.alive[bucket, key] = body

    @property
    def dirs(self):
        return self.deployment.dirs

    def lose(self, *names, of=6):
        for drive in self.dirs[:of]:
            for name in names:
                lose_tables(drive) if name == "index" else (drive / name).unlink()

    def check(self, into, verdict):
        """Every object that was alive is there, byte by byte; nothing else is said to be."""
        manifest = json.loads((into / "manifest.json").read_text())
        objects = {(entry["bucket"], entry["key"]): entry for entry in manifest["found"] if entry["what"] == "object"}
        assert objects.keys() == self.alive.keys()
        for name, body in self.alive.items():
            entry = objects[name]
            assert (entry["verdict"], entry["whole"], entry["size"]) == (verdict, True, len(body)), entry
            assert (into / entry["file"]).read_bytes() == body, name
        (part,) = [entry for entry in manifest["found"] if entry["what"] == "part"]
        assert (part["key"], part["part"], (into / part["file"]).read_bytes()) == ("unfinished", 7, body_of("unfinished", 70_000))
        assert len(manifest["found"]) == len(objects) + 1
        assert objects["one", "replaced-small"]["metadata"] == {"label": "second"}
        assert objects["one", "large"]["headers"]["content-type"] == "x/y"
        return manifest


@pytest.fixture
def filled():
    with hafiz.Deployment(drives=6, flags=["--log-slot", "16MiB", "--data-slot", "16MiB"]) as deployment:
        yield Filled(deployment)


def test_without_any_tables_everything_is_found_and_known_to_be_current(filled, tmp_path):
    filled.lose("index")
    recover(filled.dirs, "--into", tmp_path / "out")
    manifest = filled.check(tmp_path / "out", "current")
    assert manifest["report"]["certain"] and not manifest["report"]["short"]
    assert manifest["report"]["objects"]["deleted"]["found"] == len(filled.gone)
    # What is known to be deleted is taken when it is asked for, and said to be.
    recover(filled.dirs, "--into", tmp_path / "all", "--with-deleted")
    found = json.loads((tmp_path / "all" / "manifest.json").read_text())["found"]
    verdicts = {(entry["bucket"], entry["key"]): entry["verdict"] for entry in found if entry["verdict"] == "deleted" and entry["what"] == "object"}
    assert verdicts.keys() == set(filled.gone)
    # The server finds the same in the log.
    filled.deployment.start()
    got = conftest.sdk(filled.deployment).get_object(Bucket="one", Key="large")["Body"].read()
    assert got == filled.alive["one", "large"]


def test_without_topology_and_identities_and_with_two_drives_less_nothing_is_missing(filled, tmp_path):
    filled.lose("index", "topology")
    filled.lose("hafiz.drive", of=4)
    left = filled.dirs[1:3] + filled.dirs[4:]
    recover(left, "--into", tmp_path / "out", code=1)
    filled.check(tmp_path / "out", "possibly-deleted")
    # Drives that come back make no difference to what is whole; a second run writes the same.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file() and path.parent != tmp_path / "out"}
    recover(filled.dirs, "--into", tmp_path / "out", code=1)
    filled.check(tmp_path / "out", "possibly-deleted")
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_rot_in_all_drives_is_computed_away_and_what_is_not_is_named(filled, tmp_path):
    filled.lose("index")
    random_of = random.Random(5)
    volumes = {path.name.split(".")[0] for path in (filled.dirs[0] / "volumes").iterdir()}
    for volume in volumes:
        for drive in random_of.sample(filled.dirs, 2):
            (path,) = (drive / "volumes").glob(f"{volume}.*")
            with path.open("r+b") as file:
                for _ in range(50):
                    file.seek(random_of.randrange(0, path.stat().st_size - 4096))
                    file.write(random_of.randbytes(4096))
    recover(filled.dirs, "--into", tmp_path / "out")
    filled.check(tmp_path / "out", "current")
    # A third drive's files gone: wide stripes are short, and no byte is made up.
    shutil.rmtree(filled.dirs[0] / "volumes")
    shutil.rmtree(filled.dirs[1] / "volumes")
    shutil.rmtree(filled.dirs[2] / "volumes")
    recover(filled.dirs, "--into", tmp_path / "less", code=2)
    manifest = json.loads((tmp_path / "less" / "manifest.json").read_text())
    assert manifest["report"]["short"]
    for entry in manifest["found"]:
        if entry["what"] != "object":
            continue
        found, body = (tmp_path / "less" / entry["file"]).read_bytes(), bytearray(filled.alive[entry["bucket"], entry["key"]])
        for begin, end in entry["missing"]:
            body[begin:end] = bytes(end - begin)
        assert found == body, entry


def test_a_quarantine_bucket_takes_everything_once(filled, tmp_path):
    filled.lose("index", "topology")
    with hafiz.Deployment(drives=1) as other:
        s3 = conftest.sdk(other)
        target = ["--endpoint", other.endpoint, "--bucket", "quarantine"]
        recover(filled.dirs, *target, code=1, upload=True)

        def listed():
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket="quarantine")
            return {entry["Key"]: entry["LastModified"] for page in pages for entry in page["Contents"]}

        first = listed()
        long = ("two", "z" * 1024)
        keys = {f"{bucket}/{key}" for bucket, key in filled.alive if (bucket, key) != long}
        assert {key for key in first if not key.startswith("_")} == keys
        for (bucket, key), body in filled.alive.items():
            if (bucket, key) == long:
                continue
            got = s3.get_object(Bucket="quarantine", Key=f"{bucket}/{key}")
            assert got["Body"].read() == body
            metadata = got["Metadata"]
            assert (metadata["hafiz-verdict"], metadata["hafiz-complete"]) == ("possibly-deleted", "yes"), metadata
            assert {"hafiz-lsn", "hafiz-etag", "hafiz-modified", "hafiz-id"} <= metadata.keys()
        (kept,) = [key for key in first if key.startswith("_long/")]
        assert s3.get_object(Bucket="quarantine", Key=kept)["Body"].read() == filled.alive[long]
        assert s3.head_object(Bucket="quarantine", Key="one/replaced-large")["Metadata"]["label"] == "second"
        recover(filled.dirs, *target, code=1, upload=True)
        again = listed()
        report = "_hafiz-recover-report.json"
        assert first.pop(report) <= again.pop(report) and first == again
        # A bucket that holds anything else is left alone.
        s3.create_bucket(Bucket="used")
        s3.put_object(Bucket="used", Key="x", Body=b"y")
        target[-1] = "used"
        assert "not empty" in recover(filled.dirs, *target, code=3, upload=True)


def test_it_is_refused_while_a_server_runs_and_where_it_would_overwrite(filled, tmp_path):
    inside = filled.dirs[0] / "out"
    assert "lies on the drive" in recover(filled.dirs, "--into", inside, code=3)
    assert not inside.exists()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine").write_text("x")
    assert "is not empty" in recover(filled.dirs, "--into", tmp_path / "used", code=3)
    assert "nothing of a deployment" in recover([tmp_path], code=3)
    filled.deployment.start()
    assert "in use by a server" in recover(filled.dirs, code=3)
    # And the other way round a recovery changes nothing: the server has all of it.
    assert filled.deployment.stop() == 0
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for drive in filled.dirs for path in drive.rglob("*")}
    recover(filled.dirs)
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_size) for drive in filled.dirs for path in drive.rglob("*")}


@pytest.fixture
def freed():
    """Large objects whose records are in no log volume any more: only the tables name them."""
    flags = ["--log-slot", "8MiB", "--data-slot", "16MiB"]
    with hafiz.Deployment(drives=6, flags=flags) as deployment:
        s3 = conftest.sdk(deployment)
        s3.create_bucket(Bucket="one")
        bodies = {f"large{n}": body_of(f"large{n}", 2_500_000 + n) for n in range(6)}
        for key, body in bodies.items():
            s3.put_object(Bucket="one", Key=key, Body=body)
        age(deployment)
        s3 = conftest.sdk(deployment)
        s3.put_object(Bucket="one", Key="later", Body=b"small")
        assert deployment.stop() == 0
        yield deployment, bodies


def volumes_of(kind, drives):
    """Volumes of a class, by their first pages. The server may free some meanwhile, and has not written that page of others yet."""
    found = set()
    for path in (path for drive in drives for path in (drive / "volumes").iterdir()):
        try:
            with path.open("rb") as file:
                head = file.read(CLASS_AT + 1)
        except FileNotFoundError:
            continue
        if head[CLASS_AT:] == bytes([kind]):
            found.add(path.name.split(".")[0])
    return found


def test_with_freed_logs_and_no_tables_the_start_names_recover_and_bodies_come_without_names(freed, tmp_path):
    deployment, bodies = freed
    for drive in deployment.dirs:
        shutil.rmtree(drive / "index" / "0", ignore_errors=True)
    with pytest.raises(hafiz.Refused) as refused:
        deployment.start()
    assert "open partition 0" in refused.value.output and "hafiz recover" in refused.value.output
    # One partition's tables are lost, those of the others name what is in them; which bucket it was is not known any more.
    report = recover(deployment.dirs, "--into", tmp_path / "one", code=2)
    assert "the name of bucket" in report and "everything that was alive" not in report
    found = json.loads((tmp_path / "one" / "manifest.json").read_text())["found"]
    assert {entry["bucket"] for entry in found if entry["what"] == "object"} == {None}
    named = {entry["key"]: entry for entry in found if entry["what"] == "object"}
    for key, body in bodies.items():
        if key in named:
            assert (tmp_path / "one" / named[key]["file"]).read_bytes() == body
    for drive in deployment.dirs:
        lose_tables(drive)
    report = recover(deployment.dirs, "--into", tmp_path / "all", code=2)
    assert "no record names" in report
    found = json.loads((tmp_path / "all" / "manifest.json").read_text())["found"]
    unnamed = b"".join((tmp_path / "all" / entry["file"]).read_bytes() for entry in found if entry["what"] == "unnamed")
    assert all(body in unnamed for body in bodies.values())
    (later,) = [entry for entry in found if entry["what"] == "object"]
    assert (later["key"], later["verdict"], later["bucket"]) == ("later", "possibly-deleted", None)

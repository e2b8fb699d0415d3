"""Backup of the metadata of a running server, and what a restore of it gives back: everything that the backup and the logs
have, never a wrong byte, and nothing at all when the backup is not what it should be."""

import json
import random
import re
import subprocess
import threading
import time

import botocore.exceptions
import conftest
import pytest
import server as hafiz
from test_recover import DATA, FREE_SECONDS_MAX, age, body_of, lose_tables, runbook, volumes_of

KEYS = {"HAFIZ_ROOT_USER": hafiz.USER, "HAFIZ_ROOT_PASSWORD": hafiz.PASSWORD}


def hafiz_says(*words, code=0, **variables):
    environment = hafiz.environment(**KEYS, **variables)
    done = subprocess.run([str(hafiz.BINARY), *map(str, words)], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def put(s3, bodies, key, size):
    body = body_of(key, size)
    s3.put_object(Bucket="one", Key=key, Body=body)
    bodies[key] = body


def check(s3, bodies):
    for key, body in bodies.items():
        assert s3.get_object(Bucket="one", Key=key)["Body"].read() == body, key


def tree(dirs):
    """Every file of the drives but for their locks, with its content's checksum where it is small."""
    found = {}
    for drive in dirs:
        for path in drive.rglob("*"):
            stat = path.stat()
            found[path] = (stat.st_size, stat.st_mtime_ns) if path.is_file() else None
    return found


@pytest.fixture
def deployment():
    flags = ["--log-slot", "8MiB", "--data-slot", "16MiB", "--cache", "0"]
    with hafiz.Deployment(drives=6, flags=flags) as running:
        yield running


@pytest.fixture
def aged(deployment):
    """Tables are primary data: the log that first held these objects' records is freed."""
    s3 = conftest.sdk(deployment)
    s3.create_bucket(Bucket="one")
    bodies = {}
    for n in range(5):
        put(s3, bodies, f"large{n}", 1_500_000 + n)
    age(deployment)
    return deployment, bodies


def lose_all_tables(deployment):
    for drive in deployment.dirs:
        lose_tables(drive)


def test_a_backup_under_load_and_the_log_behind_it_give_everything_back(aged, tmp_path):
    deployment, bodies = aged
    s3, stop, failed = conftest.sdk(deployment), threading.Event(), []

    def load(worker):
        mine, client = {}, conftest.sdk(deployment)
        n = 0
        while not stop.is_set() or n < 20:
            try:
                put(client, mine, f"load{worker}-{n}", [50, 3_000, 40_000][n % 3])
            except Exception as error:
                failed.append(error)
            n += 1
        bodies.update(mine)

    workers = [threading.Thread(target=load, args=[n]) for n in range(3)]
    for worker in workers:
        worker.start()
    said = hafiz_says("backup", "--to", tmp_path / "backup", "--endpoint", deployment.endpoint)
    assert re.search(r"the metadata of 64 partitions", said), said
    stop.set()
    for worker in workers:
        worker.join()
    assert not failed
    put(s3, bodies, "after", 2_000_000)
    put(s3, bodies, "large0", 700)
    s3.delete_object(Bucket="one", Key="large1")
    del bodies["large1"]
    # A directory that holds something is no place for another one.
    assert "not empty" in hafiz_says("backup", "--to", tmp_path / "backup", "--endpoint", deployment.endpoint, code=1)
    deployment.kill()
    lose_all_tables(deployment)
    with pytest.raises(hafiz.Refused) as refused:
        deployment.start()
    assert "hafiz restore" in refused.value.output and "hafiz recover" in refused.value.output
    said = hafiz_says("restore", "--from", tmp_path / "backup", *deployment.dirs)
    assert "the logs have every commit since" in said, said
    deployment.start()
    s3 = conftest.sdk(deployment)
    check(s3, bodies)
    keys = [entry["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket="one") for entry in page["Contents"]]
    assert sorted(keys) == sorted(bodies)
    # It is a deployment as before: it takes writes, and nothing is short.
    put(s3, bodies, "new", 1_000)
    hafiz_says("verify", "--endpoint", deployment.endpoint)
    # What the drives have is newer than any backup, and stays.
    assert deployment.stop() == 0
    before = tree(deployment.dirs)
    said = hafiz_says("restore", "--from", tmp_path / "backup", *deployment.dirs)
    assert "nothing was to be done" in said and tree(deployment.dirs) == before


def test_a_backup_that_is_not_whole_or_of_other_drives_touches_nothing(aged, tmp_path):
    deployment, bodies = aged
    backup = tmp_path / "backup"
    hafiz_says("backup", "--to", backup, "--endpoint", deployment.endpoint)
    with hafiz.Deployment(drives=3) as other:
        assert other.stop() == 0
        assert "the backup is of deployment" in hafiz_says("restore", "--from", backup, *other.dirs, code=1)
    assert "in use by a server" in hafiz_says("restore", "--from", backup, *deployment.dirs, code=1)
    assert deployment.stop() == 0
    lose_all_tables(deployment)
    before = tree(deployment.dirs)
    files = sorted(path for path in backup.rglob("*") if path.is_file())
    random_of = random.Random(3)
    tables = [path for path in files if path.parent.name == "tables" and path.stat().st_size]
    for path in [backup / "backup", *random_of.sample(tables, 3), *random_of.sample(files, 5)]:
        whole = path.read_bytes()
        at = random_of.randrange(len(whole))
        if path == backup / "backup":
            at = 40
        for wrong in [whole[:-1], whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :], None]:
            path.unlink()
            if wrong is not None:
                path.write_bytes(wrong)
            said = hafiz_says("restore", "--from", backup, *deployment.dirs, code=1)
            assert "the backup is not whole" in said and str(path.name) in said, said
            assert tree(deployment.dirs) == before
            path.write_bytes(whole)
    hafiz_says("restore", "--from", backup, *deployment.dirs)
    deployment.start()
    check(conftest.sdk(deployment), bodies)


def test_with_commits_missing_a_restore_is_read_only_and_nothing_is_freed(aged, tmp_path):
    deployment, bodies = aged
    backup = tmp_path / "backup"
    hafiz_says("backup", "--to", backup, "--endpoint", deployment.endpoint)
    s3 = conftest.sdk(deployment)
    put(s3, bodies, "since", 1_200_000)
    s3.delete_object(Bucket="one", Key="large2")
    gone = bodies.pop("large2")
    # Two starts later the log that says so is freed, and the deleted object's room was given back.
    age(deployment)
    assert deployment.stop() == 0
    lose_all_tables(deployment)
    before = tree(deployment.dirs)
    said = hafiz_says("restore", "--from", backup, *deployment.dirs, code=1)
    assert "--read-only" in said and tree(deployment.dirs) == before, said
    said = hafiz_says("restore", "--from", backup, *deployment.dirs, "--read-only")
    assert "read-only from now on" in said, said
    files = {path for drive in deployment.dirs for path in (drive / "volumes").iterdir()}
    for _ in range(2):
        deployment.start()
        s3 = conftest.sdk(deployment)
        # What the backup names and the drives have is served; what was put since is not known.
        check(s3, {key: body for key, body in bodies.items() if key != "since"})
        with pytest.raises(botocore.exceptions.ClientError):
            s3.get_object(Bucket="one", Key="since")
        # A record of freed room is an error, never other bytes.
        with pytest.raises((botocore.exceptions.ClientError, botocore.exceptions.HTTPClientError)):
            assert s3.get_object(Bucket="one", Key="large2")["Body"].read() == gone
        for change in (
            lambda: s3.put_object(Bucket="one", Key="new", Body=b"x"),
            lambda: s3.delete_object(Bucket="one", Key="large0"),
            lambda: s3.create_bucket(Bucket="two"),
        ):
            with pytest.raises(botocore.exceptions.ClientError) as refused:
                change()
            assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        said = hafiz_says("verify", "--endpoint", deployment.endpoint, code=2)
        assert "large2" in said, said
        assert "hafiz backup" not in hafiz_says("backup", "--to", tmp_path / "again", "--endpoint", deployment.endpoint, code=1)
        assert deployment.stop() == 0
        # The volume of what was put since is counted by nobody, and stays.
        assert files <= {path for drive in deployment.dirs for path in (drive / "volumes").iterdir()}


def keys_of(deployment):
    s3 = conftest.sdk(deployment)
    return {entry["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket="one") for entry in page["Contents"]}


def upload_part(s3, upload, number, body):
    done = s3.upload_part(Bucket="one", Key="upload", UploadId=upload, PartNumber=number, Body=body)
    return {"PartNumber": number, "ETag": done["ETag"]}


def test_an_incomplete_restore_is_accepted_when_that_is_asked_for_and_broken_off_as_often_as_one_likes(aged, tmp_path):
    deployment, bodies = aged
    backup = tmp_path / "backup"
    s3 = conftest.sdk(deployment)
    put(s3, {}, "small", 3_000)
    put(s3, {}, "replaced", 700_000)
    pieces = [body_of("piece1", 5 << 20), body_of("piece2", 5 << 20), body_of("piece3", 100_000)]
    upload = s3.create_multipart_upload(Bucket="one", Key="upload")["UploadId"]
    parts = [upload_part(s3, upload, 1, pieces[0])]
    hafiz_says("backup", "--to", backup, "--endpoint", deployment.endpoint)
    put(s3, {}, "since", 1_200_000)
    put(s3, {}, "replaced", 800_000)
    upload_part(s3, upload, 2, pieces[1])
    for key in ("large2", "small"):
        s3.delete_object(Bucket="one", Key=key)
    age(deployment)
    assert deployment.stop() == 0
    for words in (["--accept"], ["--accept", "--discard"]):
        assert "nothing to accept" in hafiz_says("restore", *words, *deployment.dirs, code=1)
    lose_all_tables(deployment)
    hafiz_says("restore", "--from", backup, *deployment.dirs, "--read-only")
    deployment.start()
    for words in (["--accept"], ["--accept", "--discard"]):
        assert "is in use by" in hafiz_says("restore", *words, *deployment.dirs, code=1)
    assert deployment.stop() == 0
    before = tree(deployment.dirs)

    def as_written(text):
        text = text.replace("/data{1..6}", f"{deployment.place}/drive{{1..6}}")
        path = f"{hafiz.BINARY.parent}:/usr/bin:/bin"
        return ["bash", "-euc", text], hafiz.environment(PATH=path)

    look, accept = runbook("Backup of the metadata")[-2:]
    command, environment = as_written(look)
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environment).stdout
    assert "no record names" in said and "--discard" in said and tree(deployment.dirs) == before, said
    random_of, said = random.Random(11), ""
    command, environment = as_written(f"exec {accept}")
    for seconds in [random_of.uniform(0.05, 2) for _ in range(8)] + [300]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        try:
            said = process.communicate(timeout=seconds)[0]
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    assert process.returncode == 0 and "are all there is now" in said, said
    assert not any((drive / "restored").exists() for drive in deployment.dirs)
    assert re.search(r"[1-3] objects or parts of uploads, \d+ bytes, are short", said), said
    deployment.start()
    s3 = conftest.sdk(deployment)
    # What was deleted or replaced since is back as it was, but for the room that was given back before.
    back = {"large2", "small", "replaced"}
    assert keys_of(deployment) == bodies.keys() | back
    check(s3, {key: body for key, body in bodies.items() if key != "large2"})
    said = hafiz_says("verify", "--endpoint", deployment.endpoint, code=2)
    assert all(key in said for key in ("large2", "small")), said
    for key in back:
        s3.delete_object(Bucket="one", Key=key)
    del bodies["large2"]
    assert [part["PartNumber"] for part in s3.list_parts(Bucket="one", Key="upload", UploadId=upload)["Parts"]] == [1]
    parts += [upload_part(s3, upload, number, pieces[number - 1]) for number in (2, 3)]
    s3.complete_multipart_upload(Bucket="one", Key="upload", UploadId=upload, MultipartUpload={"Parts": parts})
    bodies["upload"] = b"".join(pieces)
    put(s3, bodies, "new", 1_500_000)
    put(s3, bodies, "large0", 900_000)
    # Two starts later what nothing names is freed, and everything that is named is there.
    age(deployment)
    check(conftest.sdk(deployment), bodies)
    assert keys_of(deployment) == bodies.keys()
    hafiz_says("verify", "--endpoint", deployment.endpoint)
    # What was counted is exact: with the last object goes the last volume.
    s3 = conftest.sdk(deployment)
    for key in bodies:
        s3.delete_object(Bucket="one", Key=key)
    assert deployment.stop() == 0
    deployment.start()
    deadline = time.monotonic() + FREE_SECONDS_MAX
    while volumes_of(DATA, deployment.dirs):
        assert time.monotonic() < deadline, "volumes without a living object are not freed"
        time.sleep(0.2)


def holders_of_some_partition(dirs):
    """Three drives that have all copies of a partition's tables: which ones is chance."""
    partitions = sorted({table.parent.name for drive in dirs for table in drive.glob("index/*/current")}, key=int)
    assert partitions, "no partition has tables"
    number = partitions[0]
    holders = [drive for drive in dirs if (drive / "index" / number / "current").exists()]
    assert len(holders) == 3, (number, holders)
    return holders


def test_tables_of_drives_that_are_gone_for_good_come_back_on_others(aged, tmp_path):
    deployment, bodies = aged
    backup = tmp_path / "backup"
    hafiz_says("backup", "--to", backup, "--endpoint", deployment.endpoint)
    assert deployment.stop() == 0
    # One partition has all three copies of its tables there.
    gone, away = holders_of_some_partition(deployment.dirs), tmp_path / "away"
    away.mkdir()
    for drive in gone:
        drive.rename(away / drive.name)
    deployment.flags.append("--accept-missing")
    left = [drive for drive in deployment.dirs if drive not in gone]
    before = tree(left)
    said = hafiz_says("restore", "--from", backup, *left, "--read-only", code=1)
    assert "--elsewhere" in said and tree(left) == before, said
    said = hafiz_says("restore", "--from", backup, *left, "--read-only", "--elsewhere")
    assert "lie on other drives now" in said, said
    for _ in range(2):
        deployment.start()
        assert keys_of(deployment) == bodies.keys()
        assert deployment.stop() == 0
    # They count no more, whatever they know of themselves.
    for drive in gone:
        (away / drive.name).rename(drive)
    deployment.start()
    assert keys_of(deployment) == bodies.keys()
    assert "was taken out earlier" in "".join(deployment.output)


@pytest.fixture
def other():
    """Another server, with a bucket for backups."""
    with hafiz.Deployment(drives=1) as running:
        conftest.sdk(running).create_bucket(Bucket="backups")
        yield running


@pytest.fixture
def stage(tmp_path):
    """Holds copies on the way; each test finds it empty at its end."""
    stage = tmp_path / "stage"
    stage.mkdir()
    yield stage
    assert not list(stage.iterdir())


def to_bucket(deployment, endpoint, stage, *words, place="s3://backups/a/monday", **more):
    words = ["--to", place, "--to-endpoint", endpoint, "--stage", stage, "--endpoint", deployment.endpoint, *words]
    return hafiz_says("backup", *words, **more)


def from_bucket(deployment, endpoint, stage, *words, place="s3://backups/a/monday", **more):
    words = ["--from", place, "--endpoint", endpoint, "--stage", stage, *deployment.dirs, *words]
    return hafiz_says("restore", *words, **more)


def test_a_backup_goes_to_a_bucket_of_another_server_and_comes_back(aged, other, stage):
    deployment, bodies = aged
    said = to_bucket(deployment, other.endpoint, stage)
    assert "64 partitions is in s3://backups/a/monday" in said, said
    keys = [entry["Key"] for page in conftest.sdk(other).get_paginator("list_objects_v2").paginate(Bucket="backups")
            for entry in page["Contents"]]  # fmt: skip
    assert "a/monday/backup" in keys and all(key.startswith("a/monday/") for key in keys)
    # One place holds one backup.
    assert "name another prefix" in to_bucket(deployment, other.endpoint, stage, code=1)
    document = json.loads(to_bucket(deployment, other.endpoint, stage, "--json", place="s3://backups/tuesday"))
    assert document["dir"] == "s3://backups/tuesday" and document["partitions"] == 64
    s3 = conftest.sdk(deployment)
    put(s3, bodies, "after", 2_000_000)
    deployment.kill()
    lose_all_tables(deployment)
    said = from_bucket(deployment, other.endpoint, stage)
    assert "the logs have every commit since" in said, said
    deployment.start()
    check(conftest.sdk(deployment), bodies)
    hafiz_says("verify", "--endpoint", deployment.endpoint)


def test_what_is_not_whole_in_a_bucket_is_refused_and_touches_nothing(aged, other, stage):
    deployment, bodies = aged
    to_bucket(deployment, other.endpoint, stage)
    s3 = conftest.sdk(other)
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket="backups")["Contents"]]
    deployment.kill()
    lose_all_tables(deployment)
    before = tree(deployment.dirs)

    def refuses(key, wrong, *expected):
        whole = s3.get_object(Bucket="backups", Key=key)["Body"].read()
        if wrong is None:
            s3.delete_object(Bucket="backups", Key=key)
        else:
            s3.put_object(Bucket="backups", Key=key, Body=wrong(whole))
        said = from_bucket(deployment, other.endpoint, stage, code=1)
        assert all(text in said for text in expected) and tree(deployment.dirs) == before, said
        s3.put_object(Bucket="backups", Key=key, Body=whole)

    def flipped(at):
        return lambda whole: whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :]

    manifest = "a/monday/backup"
    random_of = random.Random(5)
    tables = [key for key in keys if "/tables/" in key]
    for key in [*random_of.sample(tables, 2), random_of.choice([key for key in keys if key.endswith("/current")])]:
        refuses(key, lambda whole: whole[:-1], "the backup is not whole", f"backups/{key}", "bytes and should have")
        refuses(key, lambda whole: whole + b"x", "the backup is not whole", f"backups/{key}", "more than")
        refuses(key, flipped(5), "the backup is not whole", f"backups/{key}", "checksum")
        refuses(key, None, "the backup is not whole", f"backups/{key}", "404")
    refuses(manifest, lambda whole: whole[:-1], "the backup is not whole", f"backups/{manifest}")
    refuses(manifest, flipped(40), "the backup is not whole", f"backups/{manifest}")
    # As a backup leaves it that was broken off.
    refuses(manifest, None, "there is no backup in s3://backups/a/monday", "written last", "404")
    from_bucket(deployment, other.endpoint, stage)
    deployment.start()
    s3.delete_object(Bucket="backups", Key=manifest)
    assert "broken off" in to_bucket(deployment, other.endpoint, stage, code=1)
    check(conftest.sdk(deployment), bodies)


def test_a_bucket_that_is_not_to_be_had_is_named_with_the_reason(deployment, other, stage, tmp_path):
    lent = {"AWS_ACCESS_KEY_ID": hafiz.USER, "AWS_SECRET_ACCESS_KEY": "another-password"}
    for words, expected in [
        (dict(lent), ["backups", "403 SignatureDoesNotMatch"]),
        (dict(lent, AWS_ACCESS_KEY_ID="stranger"), ["backups", "403 InvalidAccessKeyId"]),
        ({"AWS_ACCESS_KEY_ID": "x"}, ["go together"]),
        ({"place": "s3://none/x"}, ["none", "404 NoSuchBucket"]),
    ]:
        said = to_bucket(deployment, other.endpoint, stage, code=1, **words)
        assert all(text in said for text in expected), said
    keys = tmp_path / "keys"
    keys.write_text("aws_access_key_id = stranger\naws_secret_access_key = a-password\n")
    said = to_bucket(deployment, other.endpoint, stage, "--to-credentials-file", keys, code=1)
    assert "403 InvalidAccessKeyId" in said
    assert "write http://HOST:PORT or https://HOST:PORT" in to_bucket(deployment, "other:9000", stage, code=1)
    to_bucket(deployment, other.endpoint, stage)
    deployment.kill()
    keys.write_text(f"aws_access_key_id = {hafiz.USER}\naws_secret_access_key = another-password\n")
    said = from_bucket(deployment, other.endpoint, stage, "--credentials-file", keys, code=1)
    assert "backups/a/monday/backup" in said and "403 SignatureDoesNotMatch" in said
    assert "404 NoSuchKey" in from_bucket(deployment, other.endpoint, stage, place="s3://backups/other", code=1)
    endpoint = other.endpoint
    other.kill()
    assert "refused" in from_bucket(deployment, endpoint, stage, code=1)


@pytest.fixture
def private(tmp_path):
    """A server with a certificate by an authority that no system knows, and the authority's."""
    ca, served = tmp_path / "ca", tmp_path / "served"

    def openssl(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=an authority", "-keyout", f"{ca}.key", "-out", f"{ca}.crt")
    openssl(*new, "-subj", "/CN=other", "-keyout", f"{served}.key", "-out", f"{served}.csr")
    (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    signed = ["-CA", f"{ca}.crt", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", "2", "-extfile", tmp_path / "names"]
    openssl("x509", "-req", "-in", f"{served}.csr", *signed, "-out", f"{served}.crt")
    files = {"HAFIZ_TLS_CERT": f"{served}.crt", "HAFIZ_TLS_KEY": f"{served}.key"}
    with hafiz.Deployment(drives=1, variables=files) as running:
        yield running, f"https://127.0.0.1:{running.port}", f"{ca}.crt"


def test_a_private_authority_is_believed_when_it_is_named(aged, private, stage):
    deployment, bodies = aged
    secure, endpoint, ca = private
    s3 = conftest.sdk(secure, endpoint=endpoint, verify=ca)
    s3.create_bucket(Bucket="backups")
    assert "UnknownIssuer" in to_bucket(deployment, endpoint, stage, code=1)
    to_bucket(deployment, endpoint, stage, "--to-ca", ca)
    deployment.kill()
    lose_all_tables(deployment)
    assert "UnknownIssuer" in from_bucket(deployment, endpoint, stage, code=1)
    from_bucket(deployment, endpoint, stage, "--ca", ca)
    # What recover uploads goes the same way.
    hafiz_says("recover", *deployment.dirs, "--endpoint", endpoint, "--bucket", "rescued", "--ca", ca)
    for key, body in bodies.items():
        assert s3.get_object(Bucket="rescued", Key=f"one/{key}")["Body"].read() == body
    deployment.start()
    check(conftest.sdk(deployment), bodies)


def test_the_runbooks_work_as_they_are_written(aged, other, tmp_path):
    deployment, bodies = aged
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "hafiz").symlink_to(hafiz.BINARY)

    def run(text, code=0):
        for old, new in [
            ("/data{1..6}", f"{deployment.place}/drive{{1..6}}"),
            ("/backup/monday", f"{tmp_path}/monday"),
            ("/rescue", f"{tmp_path}/rescue"),
            ("https://s3.example.com", other.endpoint),
            ("http://new:9000", other.endpoint),
            ("http://127.0.0.1:9000", deployment.endpoint if deployment.process else "http://127.0.0.1:9"),
        ]:
            text = text.replace(old, new)
        path = f"{tmp_path}/bin:/usr/bin:/bin"
        done = subprocess.run(
            ["bash", "-euc", text], capture_output=True, text=True, timeout=300, env=hafiz.environment(PATH=path, **KEYS)
        )
        assert done.returncode == code, (text, done)
        return done.stdout

    backup, to_other, restore, from_other, *_ = runbook("Backup of the metadata")
    assert "64 partitions" in run(backup)
    assert "64 partitions" in run(to_other)
    assert deployment.stop() == 0
    lose_all_tables(deployment)
    look, salvage, upload = runbook("Disaster recovery")
    # Without tables and with the first log freed bodies have no names.
    assert "no record names" in run(look, code=2)
    assert "put back" in run(from_other)
    lose_all_tables(deployment)
    assert "put back" in run(restore)
    assert "everything that was alive is there" in run(salvage)
    manifest = json.loads((tmp_path / "rescue" / "manifest.json").read_text())
    assert {entry["key"] for entry in manifest["found"]} == bodies.keys()
    run(upload)
    got = conftest.sdk(other).get_object(Bucket="quarantine", Key="one/large0")
    assert got["Body"].read() == bodies["large0"]
    deployment.start()
    check(conftest.sdk(deployment), bodies)

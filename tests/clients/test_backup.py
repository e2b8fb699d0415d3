"""Backup of the metadata of a running server, and what a restore of it gives back: everything that the backup and the logs
have, never a wrong byte, and nothing at all when the backup is not what it should be."""

import json
import random
import re
import subprocess
import threading

import botocore.exceptions
import conftest
import pytest
import server as hafiz
from test_recover import age, body_of, lose_tables, runbook

KEYS = {"HAFIZ_ROOT_USER": hafiz.USER, "HAFIZ_ROOT_PASSWORD": hafiz.PASSWORD}


def hafiz_says(*words, code=0):
    done = subprocess.run(
        [str(hafiz.BINARY), *map(str, words)], capture_output=True, text=True, timeout=300, env=hafiz.environment(**KEYS)
    )
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


def test_the_runbooks_work_as_they_are_written(aged, tmp_path):
    deployment, bodies = aged
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "hafiz").symlink_to(hafiz.BINARY)

    def run(text, code=0):
        for old, new in [
            ("/data{1..6}", f"{deployment.place}/drive{{1..6}}"),
            ("/backup/monday", f"{tmp_path}/monday"),
            ("/rescue", f"{tmp_path}/rescue"),
            ("http://127.0.0.1:9000", deployment.endpoint if deployment.process else "http://127.0.0.1:9"),
        ]:
            text = text.replace(old, new)
        path = f"{tmp_path}/bin:/usr/bin:/bin"
        done = subprocess.run(
            ["bash", "-euc", text], capture_output=True, text=True, timeout=300, env=hafiz.environment(PATH=path, **KEYS)
        )
        assert done.returncode == code, (text, done)
        return done.stdout

    (backup, restore) = runbook("Backup of the metadata")
    assert "64 partitions" in run(backup)
    assert deployment.stop() == 0
    lose_all_tables(deployment)
    look, salvage, upload = runbook("Disaster recovery")
    # Without tables and with the first log freed bodies have no names.
    assert "no record names" in run(look, code=2)
    assert "put back" in run(restore)
    assert "everything that was alive is there" in run(salvage)
    manifest = json.loads((tmp_path / "rescue" / "manifest.json").read_text())
    assert {entry["key"] for entry in manifest["found"]} == bodies.keys()
    with hafiz.Deployment(drives=1) as other:
        run(upload.replace("http://new:9000", other.endpoint))
        got = conftest.sdk(other).get_object(Bucket="quarantine", Key="one/large0")
        assert got["Body"].read() == bodies["large0"]
    deployment.start()
    check(conftest.sdk(deployment), bodies)

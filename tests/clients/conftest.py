"""What all suites share: one server on six directories, SDK clients, a bucket for each test, the closing count."""

import os
import re
import sys
import uuid
from pathlib import Path

import boto3
import botocore.config
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import server as hafiz
import wire

# Nothing that is configured on this machine may reach the clients under test.
for name in [name for name in os.environ if name.startswith(("AWS_", "RCLONE_", "RESTIC_"))]:
    del os.environ[name]
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = "/dev/null"


def sdk(server, endpoint=None, verify=None, **config):
    """A boto3 client that repeats nothing, so that each error is seen. `verify`: a file of certificates to believe."""
    # Presigning falls back to Signature V2 when no version is named.
    config = {"signature_version": "s3v4", "retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}, "read_timeout": 120, **config}
    return boto3.client(
        "s3",
        endpoint_url=endpoint or server.endpoint,
        verify=verify,
        aws_access_key_id=hafiz.USER,
        aws_secret_access_key=hafiz.PASSWORD,
        region_name=hafiz.REGION,
        config=botocore.config.Config(**config),
    )


def empty_and_delete(s3, bucket):
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in page.get("Uploads", []):
            s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = page.get("Versions", []) + page.get("DeleteMarkers", [])
        keys = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in found]
        if keys:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    s3.delete_bucket(Bucket=bucket)


@pytest.fixture(scope="session")
def server():
    with hafiz.Deployment(drives=6) as running:
        yield running
        # Whatever the tests sent, the server is still there and ends in order.
        assert running.is_running(), "".join(running.output)
        assert running.stop() == 0, "".join(running.output)


@pytest.fixture(scope="session")
def s3(server):
    return sdk(server)


@pytest.fixture
def bucket(s3, request):
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-") + "-" + uuid.uuid4().hex[:8]
    s3.create_bucket(Bucket=name)
    yield name
    empty_and_delete(s3, name)


@pytest.fixture
def client(server):
    client = wire.Client(server.port)
    yield client
    client.close()


def pytest_terminal_summary(terminalreporter):
    counts = {name: len(terminalreporter.stats.get(name, [])) for name in ("passed", "failed", "error", "skipped")}
    failed = counts["failed"] + counts["error"]
    terminalreporter.write_line(f"clients: {counts['passed']} passed, {failed} failed, {counts['skipped']} skipped")


def pytest_sessionfinish(session, exitstatus):
    # A skipped test is a test that did not happen: CI has what every test needs.
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and exitstatus == 0 and os.environ.get("CI") and reporter.stats.get("skipped"):
        session.exitstatus = 1

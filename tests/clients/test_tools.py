"""Command-line clients as their users run them: aws, s5cmd, rclone, s3cmd, restic."""

import filecmp
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import server as hafiz

BIN = Path(sys.executable).parent
SECONDS_MAX = 180


class Tool:
    """A program with the environment that points it at the server."""

    def __init__(self, program, folder, **variables):
        self.program, self.folder = str(program), folder
        self.variables = hafiz.environment(HOME=folder, **variables)

    def __call__(self, *arguments, fails=False, stdin=None):
        command = [self.program, *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self.folder, env=self.variables, capture_output=True, timeout=SECONDS_MAX,
            input=stdin if stdin is not None else b"",
        )  # fmt: skip
        output = (done.stdout + done.stderr).decode(errors="replace")
        assert (done.returncode != 0) == fails, f"{command}: exit code {done.returncode}\n{output[-3000:]}"
        return done.stdout.decode(errors="replace") if not fails else output


def found(name):
    """Of the test environment if it is there, else of the system."""
    path = BIN / name if (BIN / name).exists() else shutil.which(name)
    assert path, f"{name} is not installed: see .ci/run"
    return path


@pytest.fixture
def files(tmp_path):
    """A tree of files of many sizes and odd names."""
    dice, tree = random.Random(5), tmp_path / "files"
    for n, size in enumerate([0, 1, 100, 5_000, 33_000, 70_000, 1_000_000, 9_000_000, 20_000_001]):
        path = tree / ["", "sub", "sub/deep er", "ümlaut"][n % 4] / f"file {n}+%&.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dice.randbytes(size))
    return tree


def assert_same(left, right):
    def walk(compared):
        assert not (compared.left_only or compared.right_only or compared.funny_files), compared.report()
        _, different, errors = filecmp.cmpfiles(compared.left, compared.right, compared.common_files, shallow=False)
        assert not different and not errors, (different, errors)
        for inner in compared.subdirs.values():
            walk(inner)

    walk(filecmp.dircmp(left, right))


def aws_tool(server, folder):
    config = folder / "aws-config"
    # Presigning falls back to Signature V2 when no version is named.
    config.write_text("[default]\ns3 =\n  addressing_style = path\n  signature_version = s3v4\n")
    return Tool(
        found("aws"), folder, AWS_ACCESS_KEY_ID=hafiz.USER, AWS_SECRET_ACCESS_KEY=hafiz.PASSWORD, AWS_REGION=hafiz.REGION,
        AWS_ENDPOINT_URL=server.endpoint, AWS_CONFIG_FILE=config, AWS_MAX_ATTEMPTS=1, AWS_PAGER="",
    )  # fmt: skip


def test_aws_s3(server, tmp_path, files):
    aws = aws_tool(server, tmp_path)
    aws("s3", "mb", "s3://aws-tool")
    aws("s3", "sync", "--only-show-errors", files, "s3://aws-tool/tree")
    assert aws("s3", "sync", files, "s3://aws-tool/tree") == ""
    assert len(aws("s3", "ls", "--recursive", "s3://aws-tool/").splitlines()) == 9
    assert "PRE tree/" in aws("s3", "ls", "s3://aws-tool/")
    aws("s3", "sync", "--only-show-errors", "s3://aws-tool/tree", tmp_path / "back")
    assert_same(files, tmp_path / "back")
    aws("s3", "cp", "--only-show-errors", "-", "s3://aws-tool/stdin", stdin=b"from a pipe")
    assert aws("s3", "cp", "--only-show-errors", "s3://aws-tool/stdin", "-") == "from a pipe"
    aws("s3", "cp", "--only-show-errors", "--recursive", "s3://aws-tool/tree", "s3://aws-tool/copy")
    aws("s3", "mv", "--only-show-errors", "s3://aws-tool/stdin", "s3://aws-tool/moved")
    url = aws("s3", "presign", "s3://aws-tool/moved").strip()
    fetched = Tool(shutil.which("curl"), tmp_path)("-sS", "--fail", url)
    assert fetched == "from a pipe"
    assert "BucketNotEmpty" in aws("s3", "rb", "s3://aws-tool", fails=True)
    aws("s3", "rm", "--only-show-errors", "--recursive", "s3://aws-tool/")
    aws("s3", "rb", "s3://aws-tool")
    assert "NoSuchBucket" in aws("s3", "ls", "s3://aws-tool", fails=True)


def test_aws_s3api(server, tmp_path, files):
    aws = aws_tool(server, tmp_path)
    api = lambda *arguments, **how: aws("s3api", *arguments, "--output", "text", **how)
    api("create-bucket", "--bucket", "aws-api")
    body = files / "file 8+%&.bin"
    for algorithm in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
        api("put-object", "--bucket", "aws-api", "--key", "k", "--body", body, "--checksum-algorithm", algorithm)
        api("get-object", "--bucket", "aws-api", "--key", "k", "--checksum-mode", "ENABLED", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == body.read_bytes()
    assert api("head-object", "--bucket", "aws-api", "--key", "k", "--query", "ContentLength").strip() == str(body.stat().st_size)
    assert "PreconditionFailed" in api("put-object", "--bucket", "aws-api", "--key", "k", "--if-none-match", "*", fails=True)
    assert "ReplicationConfigurationNotFoundError" in api("get-bucket-replication", "--bucket", "aws-api", fails=True)
    api("delete-object", "--bucket", "aws-api", "--key", "k")
    api("delete-bucket", "--bucket", "aws-api")


def test_s5cmd(server, tmp_path, files):
    s5cmd = Tool(
        found("s5cmd"), tmp_path, AWS_ACCESS_KEY_ID=hafiz.USER, AWS_SECRET_ACCESS_KEY=hafiz.PASSWORD,
        AWS_REGION=hafiz.REGION, S3_ENDPOINT_URL=server.endpoint,
    )  # fmt: skip
    s5cmd("mb", "s3://s5-tool")
    s5cmd("cp", f"{files}/", "s3://s5-tool/tree/")
    assert len(s5cmd("ls", "s3://s5-tool/tree/*").splitlines()) == 9
    s5cmd("cp", "s3://s5-tool/tree/*", tmp_path / "back/")
    assert_same(files, tmp_path / "back")
    s5cmd("sync", f"{files}/", "s3://s5-tool/tree/")
    s5cmd("cp", "s3://s5-tool/tree/*", "s3://s5-tool/copy/")
    assert "9 objects" in s5cmd("du", "s3://s5-tool/copy/*")
    many = tmp_path / "many"
    many.mkdir()
    for n in range(300):
        (many / str(n)).write_text(str(n))
    s5cmd("cp", f"{many}/", "s3://s5-tool/many/")
    s5cmd("rm", "s3://s5-tool/many/1*")
    # 1, 10 to 19 and 100 to 199 are gone.
    assert len(s5cmd("ls", "s3://s5-tool/many/*").splitlines()) == 300 - 111
    s5cmd("rm", "s3://s5-tool/*")
    s5cmd("rb", "s3://s5-tool")


def test_rclone(server, tmp_path, files):
    rclone = Tool(
        found("rclone"), tmp_path, RCLONE_CONFIG_H_TYPE="s3", RCLONE_CONFIG_H_PROVIDER="Other", RCLONE_CONFIG_H_REGION=hafiz.REGION,
        RCLONE_CONFIG_H_ACCESS_KEY_ID=hafiz.USER, RCLONE_CONFIG_H_SECRET_ACCESS_KEY=hafiz.PASSWORD,
        RCLONE_CONFIG_H_ENDPOINT=server.endpoint, RCLONE_CONFIG="/dev/null", RCLONE_RETRIES=1, RCLONE_LOW_LEVEL_RETRIES=1,
    )  # fmt: skip
    chunks = ("--s3-upload-cutoff", "8M", "--s3-chunk-size", "5M")
    rclone("mkdir", "h:rclone-tool")
    rclone("sync", files, "h:rclone-tool/tree", *chunks)
    rclone("check", "--download", files, "h:rclone-tool/tree")
    assert rclone("sync", files, "h:rclone-tool/tree", "--dry-run").strip() == ""
    assert len(rclone("lsf", "-R", "--files-only", "h:rclone-tool").splitlines()) == 9
    rclone("sync", "h:rclone-tool/tree", "h:rclone-tool/copy", "--s3-copy-cutoff", "8M", *chunks)
    rclone("sync", "h:rclone-tool/copy", tmp_path / "back", "--multi-thread-cutoff", "4M")
    assert_same(files, tmp_path / "back")
    (files / "file 0+%&.bin").write_text("changed")
    rclone("sync", files, "h:rclone-tool/tree", *chunks)
    assert rclone("cat", "h:rclone-tool/tree/file 0+%&.bin") == "changed"
    rclone("moveto", "h:rclone-tool/tree/file 0+%&.bin", "h:rclone-tool/moved")
    rclone("rcat", "h:rclone-tool/stream", stdin=b"from a pipe" * 100_000)
    assert rclone("cat", "h:rclone-tool/stream", "--count", "11") == "from a pipe"
    rclone("purge", "h:rclone-tool")


def test_s3cmd(server, tmp_path, files):
    config = tmp_path / "s3cfg"
    host = server.endpoint.removeprefix("http://")
    config.write_text(
        f"[default]\naccess_key = {hafiz.USER}\nsecret_key = {hafiz.PASSWORD}\nhost_base = {host}\nhost_bucket = {host}\n"
        "use_https = False\nsignature_v2 = False\nmultipart_chunk_size_mb = 5\nmax_retries = 1\n"
    )
    run = Tool(found("s3cmd"), tmp_path)
    s3cmd = lambda *arguments, **how: run("-c", config, "--no-progress", *arguments, **how)
    s3cmd("mb", "s3://s3cmd-tool")
    s3cmd("put", "--recursive", f"{files}/", "s3://s3cmd-tool/tree/")
    assert len(s3cmd("ls", "--recursive", "s3://s3cmd-tool").splitlines()) == 9
    (tmp_path / "back").mkdir()
    s3cmd("get", "--recursive", "s3://s3cmd-tool/tree/", f"{tmp_path}/back/")
    assert_same(files, tmp_path / "back")
    s3cmd("del", "--recursive", "--force", "s3://s3cmd-tool/")
    s3cmd("rb", "s3://s3cmd-tool")


def test_restic(server, tmp_path, files):
    restic = Tool(
        found("restic"), tmp_path, AWS_ACCESS_KEY_ID=hafiz.USER, AWS_SECRET_ACCESS_KEY=hafiz.PASSWORD,
        AWS_DEFAULT_REGION=hafiz.REGION, RESTIC_PASSWORD="p", RESTIC_REPOSITORY=f"s3:{server.endpoint}/restic-tool/repo",
    )  # fmt: skip
    restic("init")
    restic("backup", files)
    (files / "sub").mkdir(exist_ok=True)
    (files / "sub" / "new").write_bytes(os.urandom(3_000_000))
    restic("backup", files)
    assert len(restic("snapshots", "--compact").splitlines()) >= 4
    restic("check", "--read-data")
    restic("restore", "latest", "--target", tmp_path / "back")
    assert_same(files, Path(f"{tmp_path}/back{files}"))
    restic("forget", "--keep-last", "1", "--prune")
    restic("check", "--read-data")

"""hafiz-bench against a server, and against servers that lie: what it counts is what happened."""

import json
import os
import socket
import subprocess
import threading

import pytest
import server as hafiz
from test_tls import Certificates

BENCH = hafiz.BINARY.with_name("hafiz-bench")
SECONDS_MAX = 120


class Bench:
    def __init__(self, place, endpoint, bucket="bench", user=hafiz.USER, password=hafiz.PASSWORD):
        self.endpoint, self.bucket, self.result = endpoint, bucket, place / "result.json"
        self.variables = hafiz.environment(AWS_ACCESS_KEY_ID=user, AWS_SECRET_ACCESS_KEY=password)

    def run(self, words):
        command = [BENCH, *words.split(), "--endpoint", self.endpoint, "--bucket", self.bucket, "--quiet", "--json", self.result]
        return subprocess.run(command, env=self.variables, capture_output=True, text=True, timeout=SECONDS_MAX)

    def __call__(self, words):
        """The repeats that were measured, of a run in which nothing failed."""
        done = self.run(words)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(self.result.read_text())["repeats"]

    def fails(self, words):
        """What a run says that fails."""
        done = self.run(words)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def bench(server, bucket, tmp_path):
    return Bench(tmp_path, server.endpoint, bucket)


def keys(s3, bucket):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


@pytest.mark.parametrize(
    "words, counts",
    [
        ("put --count 50 --size 1KiB..40KiB", {"put": 50}),
        ("get --count 200 --objects 20 --size random:1MiB --verify", {"get": 200}),
        ("get --count 50 --objects 20 --signing presigned --verify", {"get": 50}),
        ("put --count 20 --size 2MiB --signing presigned", {"put": 20}),
        ("put --count 20 --size 100:1,70000:1 --payload unsigned", {"put": 20}),
        ("head --count 100 --objects 7 --threads 2", {"head": 100}),
        ("list --count 30 --objects 500 --size 1 --page 100", {"list": 30}),
        ("delete --objects 40 --count 30", {"delete": 30}),
        ("multi-delete --objects 250 --batch 100 --threads 1", {"multi-delete": 3}),
        ("multipart --count 3 --size 11MiB --threads 1", {"create-upload": 3, "upload-part": 9, "complete-upload": 3}),
    ],
)
def test_each_scenario_counts_what_it_did_and_leaves_nothing(bench, s3, bucket, words, counts):
    [repeat] = bench(f"{words} --connections 6")
    assert {name: kind["done"] for name, kind in repeat["kinds"].items()} == counts
    for kind in repeat["kinds"].values():
        assert kind["failed"] == 0 and kind["p50_us"] > 0
        assert sum(count for _, count in kind["histogram_us"]) == kind["done"]
    assert keys(s3, bucket) == []
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_a_mix_reads_what_it_wrote_and_uploads_that_time_cuts_off_are_given_up(bench, s3, bucket):
    mix = "get=4,head=2,put=3,delete=2,list=1,multi-delete=1"
    [repeat] = bench(f"mixed --objects 50 --size 1..100KiB --mix {mix} --verify --connections 8 --batch 3 --count 800")
    assert set(repeat["kinds"]) == {"get", "head", "put", "delete", "list", "multi-delete"}
    assert sum(kind["done"] for kind in repeat["kinds"].values()) == 800
    bench("multipart --size 50MiB --duration 500ms --warmup 0s --connections 4 --payload unsigned")
    assert keys(s3, bucket) == []
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_what_was_filled_is_found_by_later_runs(bench, s3, bucket):
    bench("fill --objects 30 --size 1KiB..9KiB --prefix a/b+c/ --threads 2")
    assert len(keys(s3, bucket)) == 30
    [repeat] = bench("get --prepared --objects 30 --size 1KiB..9KiB --prefix a/b+c/ --verify --count 90 --threads 1")
    assert repeat["kinds"]["get"]["done"] == 90
    # Others were promised than are there: told, not counted.
    assert "bytes of" in bench.fails("get --prepared --objects 30 --size 1KiB --prefix a/b+c/ --count 90")
    assert "404 NoSuchKey" in bench.fails("get --prepared --objects 31 --size 1KiB..9KiB --prefix other/ --count 40")
    assert "keys of" in bench.fails("list --prepared --objects 60 --page 50 --prefix a/b+c/ --count 40")
    assert len(keys(s3, bucket)) == 30


def test_requests_by_the_clock_are_all_accounted_for(bench):
    [repeat] = bench("get --objects 10 --rate 200 --duration 1s --warmup 500ms --threads 2 --connections 8")
    accounted = repeat["kinds"]["get"]["done"] + repeat["unsent"]
    # One more or less for each thread: the moments do not fall on the edges.
    assert abs(accounted - 200) <= 2
    # No server does this: what could not be begun is told, in one way or the other.
    done = bench.run("get --objects 10 --rate 10000000 --duration 300ms --warmup 0s --connections 2")
    assert "rate was not reached" in done.stdout or "rate is out of reach" in done.stderr


def test_repeats_are_compared_and_the_servers_costs_are_read(bench, server, tmp_path):
    repeats = bench(f"get --objects 5 --count 300 --repeat 3 --pid {server.pid}")
    assert len(repeats) == 3
    assert all(repeat["usage"]["rss_max_mib"] > 1 for repeat in repeats)
    other = tmp_path / "other.json"
    bench.result.rename(other)
    bench("get --objects 5 --count 300")
    compared = subprocess.run([BENCH, "compare", other, bench.result], capture_output=True, text=True, timeout=SECONDS_MAX)
    assert compared.returncode == 0 and "p50 us" in compared.stdout, compared.stderr
    broken = subprocess.run([BENCH, "compare", other, __file__], capture_output=True, text=True, timeout=SECONDS_MAX)
    assert broken.returncode == 1 and "test_bench.py" in broken.stderr


def test_who_is_not_known_or_not_there_is_told(server, tmp_path):
    stranger = Bench(tmp_path, server.endpoint, password="not-the-password")
    assert "403 SignatureDoesNotMatch" in stranger.fails("get --count 10")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = Bench(tmp_path, f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert "refused" in nobody.fails("get --count 10")


def test_a_server_that_goes_away_ends_the_run(tmp_path):
    with hafiz.Deployment(drives=1) as running:
        bench = Bench(tmp_path, running.endpoint)
        bench("fill --objects 5")
        thread = threading.Timer(1, running.kill)
        thread.start()
        assert "requests failed in a row" in bench.fails("get --prepared --objects 5 --duration 100s --connections 4")
        thread.join()


def test_objects_are_made_over_few_connections_however_many_are_measured(bench):
    # More than the server takes at a time: what is measured is told, the objects are there.
    done = bench.run("get --objects 4000 --connections 4000 --count 4000 --threads 1")
    assert "get" in done.stdout, done.stderr


def test_over_tls_the_certificate_must_be_trusted(tmp_path):
    certificates = Certificates(tmp_path)
    (tmp_path / "ca.pem").write_text(certificates.renew("own", "localhost"))
    with hafiz.Deployment(drives=1, variables={"HAFIZ_TLS_DIR": str(certificates.served)}) as running:
        bench = Bench(tmp_path, f"https://localhost:{running.port}")
        [repeat] = bench(f"mixed --objects 10 --size 1..2MiB --count 60 --connections 4 --verify --ca {tmp_path / 'ca.pem'}")
        assert sum(kind["done"] for kind in repeat["kinds"].values()) == 60
        (tmp_path / "strange.pem").write_text(certificates.renew("strange", "localhost"))
        os.remove(certificates.served / "strange.crt")
        assert "certificate" in bench.fails(f"get --count 1 --ca {tmp_path / 'strange.pem'}").lower()


class Liar:
    """Answers each request with `answer`, whatever it was, or with that of its method. Without one it closes the connection."""

    def __init__(self, answer):
        self.answer, self.methods = answer, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            received = b""
            while piece := connection.recv(65536):
                received += piece
                while b"\r\n\r\n" in received:
                    head, _, received = received.partition(b"\r\n\r\n")
                    method = head.split(b" ")[0].decode()
                    self.methods.append(method)
                    answer = self.answer.get(method) if isinstance(self.answer, dict) else self.answer
                    if answer is None:
                        return
                    connection.sendall(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def answer(body, status="200 OK"):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    "lie, words, told",
    [
        (answer(b"x" * 99), "get --size 100", "99 bytes of 100 came"),
        (answer(b"x" * 100), "get --size 100 --verify", "the body is not what was written"),
        (answer(b"", "500 Internal Server Error"), "get --size 100", "status 500"),
        (answer(b"", "503 Slow Down"), "head", "status 503"),
        (answer(b"<Error><Code>SlowDown</Code></Error>", "503 Slow Down"), "get", "503 SlowDown"),
        (answer(b"<Key>a</Key>"), "list --page 5 --objects 1000", "1 keys of 5 were listed"),
        (answer(b"<Error><Key>a</Key></Error>"), "multi-delete --objects 10", "a key was not deleted"),
        (answer(b""), "delete --objects 10", "status 200"),
        (answer(b""), "multipart --size 6MiB", "no upload id in the answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789 and more", "get --size 10", "no HTTP/1.1"),
        (b"nonsense\r\n\r\n", "get", "no HTTP/1.1"),
        (None, "get", "closed without an answer"),
        (b"", "get --timeout 200ms", "no answer in time"),
    ],
)
def test_a_server_that_lies_is_found_out(tmp_path, lie, words, told):
    with Liar(lie) as liar:
        said = Bench(tmp_path, liar.endpoint).fails(f"{words} --prepared --count 5 --connections 2 --threads 1")
    assert told in said, said


def test_uploads_of_which_steps_fail_end_the_run_and_are_given_up(tmp_path):
    created = answer(b"<UploadId>1</UploadId>")
    # Parts are cut off: each upload is aborted, and nothing is waited for.
    with Liar({"POST": created, "DELETE": b"HTTP/1.1 204 No Content\r\n\r\n"}) as liar:
        said = Bench(tmp_path, liar.endpoint).fails("multipart --prepared --size 12MiB --count 2 --connections 3 --threads 1")
        assert "upload-part" in said and liar.methods.count("DELETE") == 2, (said, liar.methods)
    # No upload is ever made.
    with Liar(None) as liar:
        assert "closed without" in Bench(tmp_path, liar.endpoint).fails("multipart --prepared --count 5 --connections 2 --threads 2")


def test_a_wrong_command_is_told_with_the_help(tmp_path):
    for words in ["grab", "get --sice 1", "get --size x", "list --page 2000"]:
        done = Bench(tmp_path, "http://127.0.0.1:1").run(words)
        assert done.returncode == 2 and "Scenarios:" in done.stderr, words

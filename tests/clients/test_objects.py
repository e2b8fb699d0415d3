"""Objects through the SDK: bodies of all sizes, metadata, ranges, copies, conditions, presigned URLs."""

import hashlib
import random
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone

import pytest
from botocore.exceptions import ClientError
from conftest import sdk
from test_buckets import refused

KIB, MIB = 1024, 1024 * 1024
# Around every edge: inline limit, fragment, stripe, several stripes.
SIZES = [0, 1, 63, 64, 65, 4095, 4096, 4097, 32 * KIB - 1, 32 * KIB, 32 * KIB + 1, 128 * KIB, 256 * KIB + 1]
SIZES += [MIB - 1, MIB, MIB + 1, 5 * MIB + 7, 17 * MIB]


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def md5(data):
    return f'"{hashlib.md5(data).hexdigest()}"'


@pytest.mark.parametrize("size", SIZES)
def test_a_body_of_any_size_comes_back_whole(s3, bucket, size):
    body = noise(size, seed=size)
    put = s3.put_object(Bucket=bucket, Key="k", Body=body)
    assert put["ETag"] == md5(body)
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == body
    assert (got["ETag"], got["ContentLength"]) == (md5(body), size)
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ETag"], head["ContentLength"]) == (md5(body), size)


@pytest.mark.parametrize("size", [20_000, 300_000, 5 * MIB + 7])
def test_any_range_is_that_part_of_the_body(s3, bucket, size):
    body = noise(size)
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    dice = random.Random(size)
    ranges = [(0, 0), (0, size - 1), (size - 1, size - 1), (0, size + 100)]
    ranges += [tuple(sorted((dice.randrange(size), dice.randrange(size)))) for _ in range(20)]
    for first, last in ranges:
        got = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={first}-{last}")
        assert got["Body"].read() == body[first : last + 1]
        assert got["ContentRange"] == f"bytes {first}-{min(last, size - 1)}/{size}"
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    for suffix in (1, 100, size, size + 5):
        assert s3.get_object(Bucket=bucket, Key="k", Range=f"bytes=-{suffix}")["Body"].read() == body[-suffix:]
    assert s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={size // 2}-")["Body"].read() == body[size // 2 :]
    assert refused(s3.get_object, Bucket=bucket, Key="k", Range=f"bytes={size}-") == (416, "InvalidRange")
    for odd in ("bytes=5-2", "lines=0-1", "bytes=0-1,5-6"):
        assert s3.get_object(Bucket=bucket, Key="k", Range=odd)["Body"].read() == body


@pytest.mark.parametrize(
    "key",
    [
        "plain",
        "with space",
        "plus+and%25percent",
        "a//b",
        "/leading",
        "trailing/",
        "..",
        "a/../b",
        "./x",
        "ümlaut-日本-🚀",
        "q?x=1&y=2",
        "hash#tag",
        "semi;colon:at@",
        "tab\tnew\nline",
        "quote'\"<>&",
        "back\\slash",
        "x" * 1024,
        "é" * 512,
    ],
)
def test_any_key_is_kept_as_it_is(s3, bucket, key):
    body = key.encode()
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == body
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})
    assert [entry["Key"] for entry in deleted["Deleted"]] == [key]
    assert refused(s3.head_object, Bucket=bucket, Key=key)[0] == 404


def test_a_key_that_is_too_long_is_refused(s3, bucket):
    assert refused(s3.put_object, Bucket=bucket, Key="x" * 1025, Body=b"") == (400, "KeyTooLongError")


def test_metadata_and_content_headers_come_back(s3, bucket):
    expires = datetime(2031, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    given = {
        "ContentType": "text/x-test; charset=utf-8",
        "ContentEncoding": "gzip",
        "ContentLanguage": "de",
        "ContentDisposition": 'attachment; filename="a b"',
        "CacheControl": "max-age=60",
        "Metadata": {"one": "1", "two-words": "a  b", "empty": ""},
    }
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Expires=expires, **given)
    for answer in (s3.head_object(Bucket=bucket, Key="k"), s3.get_object(Bucket=bucket, Key="k")):
        assert {name: answer[name] for name in given} == given
        assert answer["ExpiresString"] == "Thu, 02 Jan 2031 03:04:05 GMT"
        assert abs(datetime.now(timezone.utc) - answer["LastModified"]) < timedelta(minutes=1)
    assert s3.put_object(Bucket=bucket, Key="k", Body=b"x") and s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {}
    assert s3.head_object(Bucket=bucket, Key="k")["ContentType"] == "binary/octet-stream"


def test_too_much_metadata_is_refused(s3, bucket):
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"", Metadata={"a": "x" * 2100}) == (400, "MetadataTooLarge")


def test_response_headers_can_be_asked_for(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    got = s3.get_object(Bucket=bucket, Key="k", ResponseContentType="text/foo", ResponseContentDisposition="inline", ResponseCacheControl="no-cache")
    assert (got["ContentType"], got["ContentDisposition"], got["CacheControl"]) == ("text/foo", "inline", "no-cache")


def test_overwriting_and_deleting(s3, bucket):
    for body in (b"one", noise(100_000), b"three", noise(3 * MIB), b""):
        s3.put_object(Bucket=bucket, Key="k", Body=body)
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == body
    s3.delete_object(Bucket=bucket, Key="k")
    assert refused(s3.get_object, Bucket=bucket, Key="k") == (404, "NoSuchKey")
    s3.delete_object(Bucket=bucket, Key="k")  # nothing to delete is no error


def test_deleting_many_at_once(s3, bucket):
    keys = [f"k{n:03}" for n in range(25)]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in [*keys[:20], "never-there"]]})
    assert sorted(entry["Key"] for entry in answer["Deleted"]) == sorted([*keys[:20], "never-there"])
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == keys[20:]
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys[20:]], "Quiet": True})
    assert "Deleted" not in quiet and "Errors" not in quiet
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@pytest.mark.parametrize("size", [0, 1000, 200_000, 6 * MIB + 3])
def test_a_copy_is_equal_and_independent(s3, bucket, size):
    body = noise(size)
    s3.put_object(Bucket=bucket, Key="a", Body=body, ContentType="text/a", Metadata={"m": "1"})
    copied = s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a")["CopyObjectResult"]
    assert copied["ETag"] == md5(body)
    s3.delete_object(Bucket=bucket, Key="a")
    got = s3.get_object(Bucket=bucket, Key="b")
    assert (got["Body"].read(), got["ContentType"], got["Metadata"]) == (body, "text/a", {"m": "1"})
    s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/b", MetadataDirective="REPLACE", Metadata={"n": "2"}, ContentType="text/b")
    got = s3.get_object(Bucket=bucket, Key="b")
    assert (got["Body"].read(), got["ContentType"], got["Metadata"]) == (body, "text/b", {"n": "2"})
    assert refused(s3.copy_object, Bucket=bucket, Key="b", CopySource=f"{bucket}/b") == (400, "InvalidRequest")
    assert refused(s3.copy_object, Bucket=bucket, Key="c", CopySource=f"{bucket}/a") == (404, "NoSuchKey")


def test_the_source_of_a_copy_is_decoded_like_a_query(client, bucket):
    """A plus is a space there, as on AWS: s5cmd writes it so, and rclone writes %2B for a plus."""
    assert client.request("PUT", f"/{bucket}/a b+c", body=b"x").status == 200
    for source in ("a+b%2Bc", "a%20b%2Bc"):
        answer = client.request("PUT", f"/{bucket}/copy", headers={"x-amz-copy-source": f"/{bucket}/{source}"})
        assert answer.status == 200, (source, answer)


def test_a_copy_may_have_conditions_on_its_source(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"x")["ETag"]
    copy = {"Bucket": bucket, "Key": "b", "CopySource": f"{bucket}/a"}
    assert refused(s3.copy_object, **copy, CopySourceIfMatch='"0"') == (412, "PreconditionFailed")
    assert refused(s3.copy_object, **copy, CopySourceIfNoneMatch=etag) == (412, "PreconditionFailed")
    s3.copy_object(**copy, CopySourceIfMatch=etag)
    long_ago = datetime(2001, 1, 1, tzinfo=timezone.utc)
    assert refused(s3.copy_object, **copy, CopySourceIfUnmodifiedSince=long_ago) == (412, "PreconditionFailed")
    s3.copy_object(**copy, CopySourceIfModifiedSince=long_ago)


def test_reads_may_have_conditions(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    past, future = datetime(2001, 1, 1, tzinfo=timezone.utc), datetime.now(timezone.utc) + timedelta(days=1)
    for read in (s3.get_object, s3.head_object):
        read(Bucket=bucket, Key="k", IfMatch=etag)
        read(Bucket=bucket, Key="k", IfNoneMatch='"0"')
        read(Bucket=bucket, Key="k", IfModifiedSince=past)
        read(Bucket=bucket, Key="k", IfUnmodifiedSince=future)
        read(Bucket=bucket, Key="k", IfMatch=etag, IfUnmodifiedSince=past)
        assert refused(read, Bucket=bucket, Key="k", IfMatch='"0"')[0] == 412
        assert refused(read, Bucket=bucket, Key="k", IfNoneMatch=etag)[0] == 304
        assert refused(read, Bucket=bucket, Key="k", IfUnmodifiedSince=past)[0] == 412


def test_writes_and_deletes_may_have_conditions(s3, bucket):
    put, delete = s3.put_object, s3.delete_object
    assert refused(put, Bucket=bucket, Key="k", Body=b"0", IfMatch='"0"') == (404, "NoSuchKey")
    first = put(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    assert refused(put, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*") == (412, "PreconditionFailed")
    assert refused(put, Bucket=bucket, Key="k", Body=b"2", IfMatch='"0"') == (412, "PreconditionFailed")
    second = put(Bucket=bucket, Key="k", Body=b"2", IfMatch=first)["ETag"]
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"
    assert refused(delete, Bucket=bucket, Key="k", IfMatch=first) == (412, "PreconditionFailed")
    delete(Bucket=bucket, Key="k", IfMatch=second)
    assert refused(s3.head_object, Bucket=bucket, Key="k")[0] == 404
    put(Bucket=bucket, Key="k", Body=b"3", IfNoneMatch="*")


def test_of_many_that_may_only_create_exactly_one_does(server, bucket):
    outcomes, start = [], threading.Barrier(8)

    def create(n):
        s3 = sdk(server)
        start.wait()
        try:
            s3.put_object(Bucket=bucket, Key="once", Body=str(n).encode() * 1000, IfNoneMatch="*")
            outcomes.append((200, n))
        except ClientError as error:
            outcomes.append((error.response["ResponseMetadata"]["HTTPStatusCode"], n))

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [n for status, n in outcomes if status == 200]
    assert len(winners) == 1 and {status for status, _ in outcomes} <= {200, 409, 412}
    assert sdk(server).get_object(Bucket=bucket, Key="once")["Body"].read() == str(winners[0]).encode() * 1000


def test_a_reader_keeps_its_version_while_the_key_changes(s3, bucket):
    old, new = noise(12 * MIB, seed=1), noise(12 * MIB, seed=2)
    s3.put_object(Bucket=bucket, Key="k", Body=old)
    reading = s3.get_object(Bucket=bucket, Key="k")["Body"]
    start = reading.read(MIB)
    s3.put_object(Bucket=bucket, Key="k", Body=new)
    assert start + reading.read() == old
    reading = s3.get_object(Bucket=bucket, Key="k")["Body"]
    start = reading.read(MIB)
    s3.delete_object(Bucket=bucket, Key="k")
    assert start + reading.read() == new


def test_concurrent_writers_leave_one_whole_body(server, s3, bucket):
    bodies = [bytes([n]) * (40_000 + n * 250_000) for n in range(6)]
    threads = [
        threading.Thread(target=lambda body=body: sdk(server).put_object(Bucket=bucket, Key="k", Body=body)) for body in bodies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() in bodies


def open_url(url, method="GET", data=None, headers=None):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers or {}, method=method)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_presigned_urls_do_what_they_were_signed_for(s3, bucket):
    sign = s3.generate_presigned_url
    place = {"Bucket": bucket, "Key": "a b/ü"}
    assert open_url(sign("put_object", place), "PUT", b"body")[0] == 200
    url = sign("get_object", place)
    assert open_url(url) == (200, b"body")
    assert open_url(url, headers={"Range": "bytes=1-2"}) == (206, b"od")
    assert open_url(url, "HEAD")[0] == 403
    assert open_url(url, "DELETE")[0] == 403
    assert open_url(url.replace(bucket, bucket + "x"))[0] == 403
    assert open_url(url + "&response-content-type=text/html")[0] == 403
    assert open_url(url.split("?")[0])[0] == 403
    overridden = sign("get_object", {**place, "ResponseContentType": "text/x-a"})
    with urllib.request.urlopen(overridden) as answer:
        assert answer.headers["Content-Type"] == "text/x-a"
    assert open_url(sign("delete_object", place), "DELETE")[0] == 204
    assert open_url(sign("get_object", place))[0] == 404


def test_virtual_host_style_works_for_configured_domains():
    import server as hafiz
    import wire

    with hafiz.Deployment(drives=1, flags=["--domains", "s3.test"]) as running:
        client = wire.Client(running.port)
        assert client.request("PUT", "/vhost").status == 200
        client.host = f"vhost.s3.test:{running.port}"
        assert client.request("PUT", "/vhost/k", body=b"1").status == 200
        assert client.request("GET", "/vhost/k").body == b"1"
        client.host = f"127.0.0.1:{running.port}"
        assert client.request("GET", "/vhost/vhost/k").body == b"1"
        client.close()


def test_attributes_of_an_object(s3, bucket):
    body = noise(10_000)
    s3.put_object(Bucket=bucket, Key="k", Body=body, ChecksumAlgorithm="SHA256")
    wanted = ["ETag", "Checksum", "ObjectSize", "StorageClass", "ObjectParts"]
    got = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=wanted)
    assert (got["ETag"], got["ObjectSize"], got["StorageClass"]) == (md5(body).strip('"'), 10_000, "STANDARD")
    assert got["Checksum"]["ChecksumSHA256"] and "ObjectParts" not in got


def test_a_large_object_passes_in_constant_memory(server, s3, bucket, tmp_path):
    """128 MiB in one PUT and one GET; the server may hold its caches and buffers, not the object."""
    pieces_count = 32
    piece = noise(4 * MIB)
    size = pieces_count * len(piece)

    class Pieces:
        """A file that is never in memory as a whole."""

        def __init__(self):
            self.at = 0

        def read(self, count=-1):
            count = size - self.at if count is None or count < 0 else min(count, size - self.at)
            start = self.at % len(piece)
            self.at += count
            whole = piece[start:] + piece * (count // len(piece) + 1)
            return whole[:count]

        def tell(self):
            return self.at

        def seek(self, offset, whence=0):
            self.at = offset + (size if whence == 2 else self.at if whence == 1 else 0)
            return self.at

    s3.put_object(Bucket=bucket, Key="warm", Body=noise(MIB))
    s3.get_object(Bucket=bucket, Key="warm")["Body"].read()
    before, peak, done = server.resident_bytes(), [0], threading.Event()

    def watch():
        while not done.is_set():
            peak[0] = max(peak[0], server.resident_bytes())
            done.wait(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        s3.put_object(Bucket=bucket, Key="big", Body=Pieces(), ContentLength=size)
        digest, count = hashlib.sha256(), 0
        for chunk in s3.get_object(Bucket=bucket, Key="big")["Body"].iter_chunks(MIB):
            digest.update(chunk)
            count += len(chunk)
    finally:
        done.set()
        watcher.join()
    expected = hashlib.sha256()
    for _ in range(pieces_count):
        expected.update(piece)
    assert (count, digest.digest()) == (size, expected.digest())
    assert peak[0] - before < 80 * MIB, f"grew from {before >> 20} MiB to {peak[0] >> 20} MiB"


def test_last_modified_is_the_same_everywhere_and_moves_forward(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    head = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"][0]["LastModified"]
    assert int(listed.timestamp()) == int(head.timestamp())
    assert abs(time.time() - head.timestamp()) < 60

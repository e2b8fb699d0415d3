"""Checksums: every algorithm the SDK computes, in headers and trailers, of objects and of parts; and wrong ones."""

import base64
import hashlib
import zlib

import pytest
import wire
from test_buckets import refused
from test_multipart import complete, start
from test_objects import MIB, md5, noise

SDK_ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]


@pytest.mark.parametrize("algorithm", SDK_ALGORITHMS)
@pytest.mark.parametrize("size", [0, 1000, 40_000, 2 * MIB + 1])
def test_a_checksum_is_checked_kept_and_given_back(s3, bucket, algorithm, size):
    body, name = noise(size), f"Checksum{algorithm}"
    put = s3.put_object(Bucket=bucket, Key="k", Body=body, ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == body  # the SDK compares what it reads
    assert (got[name], got["ChecksumType"]) == (put[name], "FULL_OBJECT")
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")[name] == put[name]
    assert name not in s3.head_object(Bucket=bucket, Key="k")
    wrong = "A" * (len(put[name]) - 2) + "A=" if put[name].endswith("=") and not put[name].endswith("==") else "A" * (len(put[name]) - 2) + "=="
    if wrong != put[name]:
        assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"other", **{name: wrong})[0] == 400
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == body
    copied = s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/k")["CopyObjectResult"]
    assert copied[name] == put[name]


@pytest.mark.parametrize("algorithm", SDK_ALGORITHMS)
def test_checksums_of_parts_make_the_checksum_of_the_object(s3, bucket, algorithm):
    name, bodies = f"Checksum{algorithm}", [noise(5 * MIB, 1), noise(1234, 2)]
    upload_id = start(s3, bucket, ChecksumAlgorithm=algorithm)
    parts = []
    for number, body in enumerate(bodies, 1):
        sent = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=number, Body=body, ChecksumAlgorithm=algorithm)
        parts.append({"PartNumber": number, "ETag": sent["ETag"], name: sent[name]})
    done = complete(s3, bucket, upload_id, parts)
    if algorithm == "CRC64NVME":
        assert done["ChecksumType"] == "FULL_OBJECT" and "-" not in done[name]
        whole = s3.put_object(Bucket=bucket, Key="whole", Body=b"".join(bodies), ChecksumAlgorithm=algorithm)
        assert done[name] == whole[name]
    else:
        assert done["ChecksumType"] == "COMPOSITE" and done[name].endswith("-2")
        raw = b"".join(base64.b64decode(part[name]) for part in parts)
        if algorithm == "SHA256":
            assert done[name] == base64.b64encode(hashlib.sha256(raw).digest()).decode() + "-2"
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head[name] == done[name]
    assert s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["Body"].read() == b"".join(bodies)


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME"])
def test_a_full_object_checksum_is_checked_when_parts_are_put_together(s3, bucket, algorithm):
    name, bodies = f"Checksum{algorithm}", [noise(5 * MIB, 3), noise(99, 4)]
    expected = s3.put_object(Bucket=bucket, Key="whole", Body=b"".join(bodies), ChecksumAlgorithm=algorithm)[name]
    upload_id = start(s3, bucket, ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT")
    parts = []
    for number, body in enumerate(bodies, 1):
        sent = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=number, Body=body, ChecksumAlgorithm=algorithm)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    other = s3.put_object(Bucket=bucket, Key="other", Body=b"o", ChecksumAlgorithm=algorithm)[name]
    with pytest.raises(s3.exceptions.ClientError) as error:
        complete(s3, bucket, upload_id, parts, ChecksumType="FULL_OBJECT", **{name: other})
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    done = complete(s3, bucket, upload_id, parts, ChecksumType="FULL_OBJECT", **{name: expected})
    assert (done[name], done["ChecksumType"]) == (expected, "FULL_OBJECT")


def crc32(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def test_content_md5_is_checked(client, bucket):
    put = lambda digest: client.request("PUT", f"/{bucket}/k", body=b"body", headers={"content-md5": digest})
    assert put(wire.md5_base64(b"body")).status == 200
    assert (put(wire.md5_base64(b"other")).status, put(wire.md5_base64(b"other")).code) == (400, "BadDigest")
    for invalid in ("", "x", "AAAA", "not base64 at all!!!!!!=="):
        assert put(invalid).code == "InvalidDigest"


def test_a_wrong_payload_hash_is_refused_and_nothing_changes(client, bucket):
    assert client.request("PUT", f"/{bucket}/k", body=b"old").status == 200
    for size in (4, 100_000, 3 * MIB):
        answer = client.request("PUT", f"/{bucket}/k", body=noise(size), payload=wire.sha256(b"other"))
        assert (answer.status, answer.code) == (400, "XAmzContentSHA256Mismatch")
    assert client.request("GET", f"/{bucket}/k").body == b"old"


def test_an_unsigned_payload_is_taken(client, bucket):
    assert client.request("PUT", f"/{bucket}/k", body=b"body", payload=wire.UNSIGNED).status == 200
    assert client.request("GET", f"/{bucket}/k", payload=wire.UNSIGNED).body == b"body"


def test_two_checksums_or_an_unknown_one_are_refused(client, bucket):
    both = {"x-amz-checksum-crc32": crc32(b"body"), "x-amz-checksum-sha1": base64.b64encode(hashlib.sha1(b"body").digest()).decode()}
    assert client.request("PUT", f"/{bucket}/k", body=b"body", headers=both).status == 400
    assert client.request("PUT", f"/{bucket}/k", body=b"body", headers={"x-amz-checksum-crc32": "x"}).status == 400
    assert client.request("PUT", f"/{bucket}/k", body=b"body", headers={"x-amz-sdk-checksum-algorithm": "ROT13"}).status == 400
    assert client.request("GET", f"/{bucket}/k").status == 404


def stream(client, bucket, pieces, kind="STREAMING-AWS4-HMAC-SHA256-PAYLOAD", trailer=None, decoded=None, change=None, **headers):
    """Sends a signed aws-chunked body, `change`d on the way."""
    signer, date, path = client.signer, wire.now(), f"/{bucket}/k"
    headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(decoded or sum(map(len, pieces))), **headers}
    if trailer:
        headers["x-amz-trailer"] = trailer[0]
    headers = signer.headers("PUT", path, [], client.host, headers, kind, date)
    seed = headers["authorization"].rsplit("=", 1)[1]
    if kind.startswith("STREAMING-UNSIGNED"):
        body = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces) + b"0\r\n"
        body += f"{trailer[0]}:{trailer[1]}\r\n\r\n".encode() if trailer else b"\r\n"
    else:
        body = signer.chunks(pieces, seed, date, trailer)
    return client.send("PUT", path, headers, change(body) if change else body)


PIECES = [noise(64 * 1024, 1), noise(64 * 1024, 2), noise(777, 3)]
SIGNED, SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


@pytest.mark.parametrize("kind", [SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER])
@pytest.mark.parametrize("pieces", [PIECES, [b"x"], [], [noise(2 * MIB)]])
def test_a_stream_is_decoded(client, s3, bucket, kind, pieces):
    whole = b"".join(pieces)
    trailer = None if kind == SIGNED else ("x-amz-checksum-crc32", crc32(whole))
    answer = stream(client, bucket, pieces, kind, trailer, decoded=str(len(whole)))
    assert answer.status == 200, answer
    got = s3.get_object(Bucket=bucket, Key="k")
    assert (got["Body"].read() == whole, got["ETag"], got.get("ContentEncoding", "")) == (True, md5(whole), "")


def test_a_stream_that_is_not_as_signed_is_refused(client, bucket):
    def check(expect, **how):
        answer = stream(client, bucket, PIECES, **how)
        assert (answer.status, answer.code) == expect, answer
        assert client.request("GET", f"/{bucket}/k").status == 404

    flip = lambda at: lambda body: body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    check((403, "SignatureDoesNotMatch"), change=flip(500))
    check((403, "SignatureDoesNotMatch"), change=flip(40))
    check((403, "SignatureDoesNotMatch"), change=lambda body: body.replace(noise(64 * 1024, 2), noise(64 * 1024, 9)))
    # The final chunk cut off: every byte announced has arrived, but nobody signed that this is all.
    cut = stream(client, bucket, PIECES, change=lambda body: body[: body.rindex(b"0;chunk-signature")])
    assert cut.status in (400, 403) and client.request("GET", f"/{bucket}/k").status == 404
    for decoded in (sum(map(len, PIECES)) - 1, sum(map(len, PIECES)) + 1):
        answer = stream(client, bucket, PIECES, decoded=decoded)
        assert answer.status in (400, 403) and client.request("GET", f"/{bucket}/k").status == 404


@pytest.mark.parametrize("kind", [SIGNED_TRAILER, UNSIGNED_TRAILER])
def test_a_wrong_or_missing_trailer_is_refused(client, bucket, kind):
    right = ("x-amz-checksum-crc32", crc32(b"".join(PIECES)))
    for trailer, change in [
        (("x-amz-checksum-crc32", crc32(b"other")), None),
        (right, lambda body: body.replace(b"x-amz-checksum-crc32:", b"x-amz-checksum-sha1:")),
        (right, lambda body: body[: body.rindex(b"x-amz-checksum-crc32")] + b"\r\n"),
    ]:
        answer = stream(client, bucket, PIECES, kind, trailer, change=change)
        assert answer.status in (400, 403), answer
        assert client.request("GET", f"/{bucket}/k").status == 404


def test_a_stream_needs_its_decoded_length(client, bucket):
    headers = client.signer.headers("PUT", f"/{bucket}/k", [], client.host, {"content-encoding": "aws-chunked"}, SIGNED)
    answer = client.send("PUT", f"/{bucket}/k", headers, b"0;chunk-signature=" + b"0" * 64 + b"\r\n\r\n")
    assert answer.status in (400, 403, 411), answer


def test_content_encoding_keeps_what_is_not_aws_chunked(client, s3, bucket):
    assert stream(client, bucket, PIECES, **{"content-encoding": "gzip,aws-chunked"}).status == 200
    assert s3.head_object(Bucket=bucket, Key="k")["ContentEncoding"] == "gzip"

"""Multipart uploads through the SDK."""

import hashlib
import random

import boto3.s3.transfer
import pytest
from test_buckets import refused
from test_objects import MIB, md5, noise


def start(s3, bucket, key="k", **more):
    return s3.create_multipart_upload(Bucket=bucket, Key=key, **more)["UploadId"]


def upload(s3, bucket, upload_id, parts, key="k"):
    """Sends {number: body}; returns what Complete wants."""
    place = {"Bucket": bucket, "Key": key, "UploadId": upload_id}
    return [{"PartNumber": n, "ETag": s3.upload_part(**place, PartNumber=n, Body=parts[n])["ETag"]} for n in parts]


def complete(s3, bucket, upload_id, parts, key="k", **more):
    return s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}, **more)


def etag_of(bodies):
    digest = hashlib.md5(b"".join(hashlib.md5(body).digest() for body in bodies)).hexdigest()
    return f'"{digest}-{len(bodies)}"'


def test_parts_become_one_object(s3, bucket):
    parts = {1: noise(5 * MIB, 1), 2: noise(6 * MIB + 11, 2), 9: noise(1000, 3)}
    upload_id = start(s3, bucket, ContentType="text/x-parts", Metadata={"m": "1"})
    done = complete(s3, bucket, upload_id, upload(s3, bucket, upload_id, parts))
    whole = b"".join(parts.values())
    assert done["ETag"] == etag_of(parts.values())
    got = s3.get_object(Bucket=bucket, Key="k")
    assert (got["Body"].read() == whole, got["ETag"], got["ContentType"], got["Metadata"]) == (
        True, etag_of(parts.values()), "text/x-parts", {"m": "1"},
    )  # fmt: skip
    dice = random.Random(3)
    for _ in range(10):
        first, last = sorted((dice.randrange(len(whole)), dice.randrange(len(whole))))
        assert s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={first}-{last}")["Body"].read() == whole[first : last + 1]
    second = s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert (second["Body"].read() == parts[2], second["PartsCount"]) == (True, 3)
    assert s3.head_object(Bucket=bucket, Key="k", PartNumber=1)["ContentLength"] == 5 * MIB
    attributes = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts", "ObjectSize"])
    assert (attributes["ObjectParts"]["TotalPartsCount"], attributes["ObjectSize"]) == (3, len(whole))


def test_a_part_sent_again_replaces_the_first(s3, bucket):
    upload_id = start(s3, bucket)
    upload(s3, bucket, upload_id, {1: noise(5 * MIB, 1)})
    again = upload(s3, bucket, upload_id, {1: noise(5 * MIB, 2), 2: b"end"})
    complete(s3, bucket, upload_id, again)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == noise(5 * MIB, 2) + b"end"


def test_a_part_may_be_left_out(s3, bucket):
    upload_id = start(s3, bucket)
    parts = upload(s3, bucket, upload_id, {1: noise(5 * MIB, 1), 2: noise(5 * MIB, 2), 3: b"end"})
    complete(s3, bucket, upload_id, [parts[0], parts[2]])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == noise(5 * MIB, 1) + b"end"


def test_an_empty_single_part_is_an_empty_object(s3, bucket):
    upload_id = start(s3, bucket)
    complete(s3, bucket, upload_id, upload(s3, bucket, upload_id, {1: b""}))
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == 0


def test_what_complete_refuses(s3, bucket):
    upload_id = start(s3, bucket)
    parts = upload(s3, bucket, upload_id, {1: b"small", 2: noise(5 * MIB, 2)})
    call = {"Bucket": bucket, "Key": "k", "UploadId": upload_id}
    def refuse(parts, **more):
        return refused(s3.complete_multipart_upload, **{**call, **more}, MultipartUpload={"Parts": parts})
    assert refuse(parts) == (400, "EntityTooSmall")
    assert refuse([parts[1], parts[0]]) == (400, "InvalidPartOrder")
    assert refuse([parts[0], {"PartNumber": 3, "ETag": '"0"'}]) == (400, "InvalidPart")
    assert refuse([{"PartNumber": 2, "ETag": '"00000000000000000000000000000000"'}]) == (400, "InvalidPart")
    assert refuse([]) == (400, "MalformedXML")
    assert refuse(parts[1:], UploadId="unknown") == (404, "NoSuchUpload")
    assert refuse(parts[1:], Key="other") == (404, "NoSuchUpload")
    assert refused(s3.head_object, Bucket=bucket, Key="k")[0] == 404
    complete(s3, bucket, upload_id, parts[1:])
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == 5 * MIB


@pytest.mark.parametrize("number", [0, -1, 10_001, 65_537])
def test_a_part_number_out_of_range_is_refused(s3, bucket, number):
    upload_id = start(s3, bucket)
    assert refused(s3.upload_part, Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=number, Body=b"x") == (400, "InvalidArgument")


def test_completing_twice_gives_the_same_answer(s3, bucket):
    upload_id = start(s3, bucket)
    parts = upload(s3, bucket, upload_id, {1: b"only"})
    first = complete(s3, bucket, upload_id, parts)
    assert complete(s3, bucket, upload_id, parts)["ETag"] == first["ETag"]


def test_an_aborted_upload_is_gone(s3, bucket):
    upload_id = start(s3, bucket)
    parts = upload(s3, bucket, upload_id, {1: b"x"})
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id)
    place = {"Bucket": bucket, "Key": "k", "UploadId": upload_id}
    assert refused(s3.list_parts, **place) == (404, "NoSuchUpload")
    assert refused(s3.upload_part, **place, PartNumber=1, Body=b"x") == (404, "NoSuchUpload")
    assert refused(s3.complete_multipart_upload, **place, MultipartUpload={"Parts": parts}) == (404, "NoSuchUpload")
    assert refused(s3.abort_multipart_upload, **place) == (404, "NoSuchUpload")
    assert refused(s3.head_object, Bucket=bucket, Key="k")[0] == 404


def test_an_upload_does_not_touch_the_object_before_it_completes(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    upload_id = start(s3, bucket)
    parts = upload(s3, bucket, upload_id, {1: b"new"})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"old"
    assert refused(s3.complete_multipart_upload, Bucket=bucket, Key="k", UploadId=upload_id, IfNoneMatch="*",
                   MultipartUpload={"Parts": parts}) == (412, "PreconditionFailed")  # fmt: skip
    complete(s3, bucket, upload_id, parts, IfMatch=md5(b"old"))
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"new"


def test_parts_are_listed_in_pages(s3, bucket):
    upload_id = start(s3, bucket)
    sent = upload(s3, bucket, upload_id, {n: bytes([n % 256]) * n for n in (3, 1, 7, 5, 10_000)} | {2: b""})
    pages = list(s3.get_paginator("list_parts").paginate(Bucket=bucket, Key="k", UploadId=upload_id, PaginationConfig={"PageSize": 2}))
    found = [part for page in pages for part in page["Parts"]]
    assert [part["PartNumber"] for part in found] == [1, 2, 3, 5, 7, 10_000]
    assert {part["PartNumber"]: part["ETag"] for part in found} == {part["PartNumber"]: part["ETag"] for part in sent}
    assert len(pages) == 3 and found[0]["Size"] == 1


def test_uploads_are_listed_in_pages(s3, bucket):
    keys = ["a/1", "a/2", "b", "b", "c/3"]
    started = sorted((key, start(s3, bucket, key)) for key in keys)
    pages = list(s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2}))
    found = [(upload["Key"], upload["UploadId"]) for page in pages for upload in page.get("Uploads", [])]
    assert [key for key, _ in found] == keys and sorted(found) == started
    grouped = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [entry["Prefix"] for entry in grouped["CommonPrefixes"]] == ["a/", "c/"]
    assert [upload["Key"] for upload in grouped["Uploads"]] == ["b", "b"]
    assert [upload["Key"] for upload in s3.list_multipart_uploads(Bucket=bucket, Prefix="a/")["Uploads"]] == ["a/1", "a/2"]


def test_parts_may_be_copied(s3, bucket):
    source = noise(11 * MIB)
    s3.put_object(Bucket=bucket, Key="source", Body=source)
    upload_id = start(s3, bucket)
    place = {"Bucket": bucket, "Key": "k", "UploadId": upload_id, "CopySource": f"{bucket}/source"}
    parts = []
    for number, (first, last) in enumerate([(0, 5 * MIB - 1), (5 * MIB, 10 * MIB), (10 * MIB + 1, len(source) - 1)], 1):
        copied = s3.upload_part_copy(**place, PartNumber=number, CopySourceRange=f"bytes={first}-{last}")["CopyPartResult"]
        assert copied["ETag"] == md5(source[first : last + 1])
        parts.append({"PartNumber": number, "ETag": copied["ETag"]})
    assert refused(s3.upload_part_copy, **place, PartNumber=9, CopySourceRange=f"bytes=0-{len(source)}")[0] in (400, 416)
    complete(s3, bucket, upload_id, parts)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == source


def test_the_transfer_manager_goes_up_and_down(s3, bucket, tmp_path):
    body = noise(40 * MIB + 12345)
    (tmp_path / "up").write_bytes(body)
    config = boto3.s3.transfer.TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB, max_concurrency=4)
    s3.upload_file(str(tmp_path / "up"), bucket, "big", Config=config)
    assert s3.head_object(Bucket=bucket, Key="big")["ETag"].endswith('-6"')
    s3.download_file(bucket, "big", str(tmp_path / "down"), Config=config)
    assert (tmp_path / "down").read_bytes() == body
    s3.copy({"Bucket": bucket, "Key": "big"}, bucket, "copy", Config=config)
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == body


def test_twenty_parts_sent_in_any_order(s3, bucket):
    upload_id = start(s3, bucket)
    body = noise(5 * MIB)
    numbers = list(range(1, 21))
    random.Random(1).shuffle(numbers)
    parts = sorted(upload(s3, bucket, upload_id, {n: body for n in numbers}), key=lambda part: part["PartNumber"])
    done = complete(s3, bucket, upload_id, parts)
    assert done["ETag"] == etag_of([body] * 20)
    digest, expected = hashlib.sha256(), hashlib.sha256(body * 20)
    for piece in s3.get_object(Bucket=bucket, Key="k")["Body"].iter_chunks(MIB):
        digest.update(piece)
    assert digest.digest() == expected.digest()

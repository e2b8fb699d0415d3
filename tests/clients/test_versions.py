"""Versions through the SDK: what each write and delete leaves behind, in what order it is listed, what is told of it."""

import random

import pytest
import server as hafiz
import wire
from conftest import sdk
from test_buckets import refused
from test_objects import noise

MIB = 1024 * 1024


def versioned(s3, bucket, status="Enabled"):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


def put(s3, bucket, key, body):
    return s3.put_object(Bucket=bucket, Key=key, Body=body)["VersionId"]


def read(s3, bucket, key, **more):
    return s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()


def listed(s3, bucket, **more):
    """All versions and delete markers in the order of the documents: key, version, whether the latest, whether a marker."""
    rows, tokens = [], {}
    while True:
        # The SDK sorts elements by their names; the order between them is seen page by page only.
        page = s3.list_object_versions(Bucket=bucket, **more, **tokens)
        found = [(row, False) for row in page.get("Versions", [])] + [(row, True) for row in page.get("DeleteMarkers", [])]
        rows += [(row["Key"], row["VersionId"], row["IsLatest"], is_marker) for row, is_marker in found]
        if not page["IsTruncated"]:
            return rows
        tokens = {"KeyMarker": page["NextKeyMarker"]}
        if "NextVersionIdMarker" in page:
            tokens["VersionIdMarker"] = page["NextVersionIdMarker"]


def test_versioning_is_unset_then_enabled_then_suspended_and_never_unset_again(s3, bucket):
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    for status in ("Enabled", "Suspended", "Enabled"):
        versioned(s3, bucket, status)
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == status
    for document, code in [(b"<VersioningConfiguration/>", "IllegalVersioningConfigurationException"), (b"<x/>", "MalformedXML")]:
        answer = wire.Client(int(s3.meta.endpoint_url.rsplit(":", 1)[1])).request("PUT", f"/{bucket}", [("versioning", "")], document)
        assert (answer.status, answer.code) == (400, code)
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def test_each_write_makes_a_version_and_each_can_be_read(s3, bucket):
    versioned(s3, bucket)
    bodies = [noise(size, size) for size in (0, 10, 40_000, MIB, 3 * MIB)]
    ids = [put(s3, bucket, "k", body) for body in bodies]
    assert len(set(ids)) == len(ids)
    for version, body in zip(ids, bodies):
        got = s3.get_object(Bucket=bucket, Key="k", VersionId=version)
        assert (got["VersionId"], got["Body"].read()) == (version, body)
        assert s3.head_object(Bucket=bucket, Key="k", VersionId=version)["ContentLength"] == len(body)
    assert read(s3, bucket, "k") == bodies[-1]
    assert [row[1] for row in listed(s3, bucket)] == ids[::-1]
    assert refused(s3.get_object, Bucket=bucket, Key="k", VersionId="00000000000000ff") == (404, "NoSuchVersion")
    assert refused(s3.get_object, Bucket=bucket, Key="k", VersionId="what") == (400, "InvalidArgument")


def test_a_delete_leaves_a_marker_and_deleting_that_brings_the_object_back(s3, bucket):
    versioned(s3, bucket)
    version = put(s3, bucket, "k", b"kept")
    gone = s3.delete_object(Bucket=bucket, Key="k")
    assert gone["DeleteMarker"] is True
    marker = gone["VersionId"]
    with pytest.raises(s3.exceptions.NoSuchKey) as absent:
        s3.get_object(Bucket=bucket, Key="k")
    headers = absent.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert (headers["x-amz-delete-marker"], headers["x-amz-version-id"]) == ("true", marker)
    assert refused(s3.get_object, Bucket=bucket, Key="k", VersionId=marker) == (405, "MethodNotAllowed")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    assert listed(s3, bucket) == [("k", version, False, False), ("k", marker, True, True)]
    # A delete of what is deleted makes another one.
    again = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    assert again != marker
    for which in (marker, again):
        removed = s3.delete_object(Bucket=bucket, Key="k", VersionId=which)
        assert (removed["DeleteMarker"], removed["VersionId"]) == (True, which)
    assert read(s3, bucket, "k") == b"kept"
    # Neither what never was: the answer is as if it had been.
    assert s3.delete_object(Bucket=bucket, Key="k", VersionId="00000000000000ff")["VersionId"] == "00000000000000ff"
    assert s3.delete_object(Bucket=bucket, Key="never")["DeleteMarker"] is True


def test_suspended_writes_replace_the_null_version_and_nothing_else(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"before")
    versioned(s3, bucket)
    first = put(s3, bucket, "k", b"first")
    assert read(s3, bucket, "k", VersionId="null") == b"before"
    versioned(s3, bucket, "Suspended")
    assert put(s3, bucket, "k", b"suspended") == "null"
    assert read(s3, bucket, "k", VersionId="null") == b"suspended"
    assert {row[1] for row in listed(s3, bucket)} == {"null", first}
    gone = s3.delete_object(Bucket=bucket, Key="k")
    assert (gone["VersionId"], gone["DeleteMarker"]) == ("null", True)
    assert listed(s3, bucket) == [("k", first, False, False), ("k", "null", True, True)]
    versioned(s3, bucket)
    second = put(s3, bucket, "k", b"second")
    assert [row[1] for row in listed(s3, bucket)] == [second, first, "null"]
    s3.delete_object(Bucket=bucket, Key="k", VersionId="null")
    assert [row[1] for row in listed(s3, bucket)] == [second, first]


def test_conditions_see_a_key_behind_a_marker_as_absent(s3, bucket):
    versioned(s3, bucket)
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"]
    assert refused(s3.put_object, Bucket=bucket, Key="k", IfNoneMatch="*") == (412, "PreconditionFailed")
    s3.delete_object(Bucket=bucket, Key="k")
    assert refused(s3.put_object, Bucket=bucket, Key="k", IfMatch=etag) == (404, "NoSuchKey")
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    assert read(s3, bucket, "k") == b"2"


def test_copies_read_and_make_versions(s3, bucket):
    versioned(s3, bucket)
    old = put(s3, bucket, "k", b"old")
    put(s3, bucket, "k", b"new")
    source = {"Bucket": bucket, "Key": "k", "VersionId": old}
    copied = s3.copy_object(Bucket=bucket, Key="k", CopySource=source)
    assert copied["CopySourceVersionId"] == old
    assert read(s3, bucket, "k") == read(s3, bucket, "k", VersionId=copied["VersionId"]) == b"old"
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    source["VersionId"] = marker
    assert refused(s3.copy_object, Bucket=bucket, Key="x", CopySource=source) == (400, "InvalidRequest")
    assert refused(s3.copy_object, Bucket=bucket, Key="x", CopySource=f"{bucket}/k") == (404, "NoSuchKey")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    source["VersionId"] = old
    part = s3.upload_part_copy(Bucket=bucket, Key="big", UploadId=upload, PartNumber=1, CopySource=source)
    assert part["CopySourceVersionId"] == old
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]}
    done = s3.complete_multipart_upload(Bucket=bucket, Key="big", UploadId=upload, MultipartUpload=parts)
    assert read(s3, bucket, "big", VersionId=done["VersionId"]) == b"old"


def test_a_multi_delete_makes_markers_and_removes_versions(s3, bucket):
    versioned(s3, bucket)
    version = put(s3, bucket, "a", b"1")
    put(s3, bucket, "b", b"2")
    entries = [{"Key": "a", "VersionId": version}, {"Key": "b"}, {"Key": "never"}]
    first, second, third = s3.delete_objects(Bucket=bucket, Delete={"Objects": entries})["Deleted"]
    assert first == {"Key": "a", "VersionId": version}
    assert second["DeleteMarker"] and third["DeleteMarker"]
    marker = second["DeleteMarkerVersionId"]
    entries = [{"Key": "b", "VersionId": marker}]
    assert s3.delete_objects(Bucket=bucket, Delete={"Objects": entries})["Deleted"] == [
        {"Key": "b", "VersionId": marker, "DeleteMarker": True, "DeleteMarkerVersionId": marker}
    ]
    assert read(s3, bucket, "b") == b"2"


def test_a_bucket_with_markers_only_is_not_empty(s3):
    bucket = "markers-only"
    s3.create_bucket(Bucket=bucket)
    versioned(s3, bucket)
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    assert refused(s3.delete_bucket, Bucket=bucket) == (409, "BucketNotEmpty")
    s3.delete_object(Bucket=bucket, Key="k", VersionId=marker)
    s3.delete_bucket(Bucket=bucket)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_pages_of_any_size_show_all_versions_once(s3, bucket, size):
    versioned(s3, bucket)
    dice = random.Random(size)
    # With bytes that the index escapes, and prefixes of each other.
    keys = ["a", "a\x01", "a\x01\x01b", "a/b", "a/b/c", "a/b\x02", "b", "ü/ü", "ü/ü/x"]
    model = {}
    for n in range(60):
        key = dice.choice(keys)
        if dice.random() < 0.25:
            made = (s3.delete_object(Bucket=bucket, Key=key)["VersionId"], True)
        else:
            made = (put(s3, bucket, key, f"{n}".encode()), False)
        model.setdefault(key, []).insert(0, made)

    def expected(keep=lambda key: True):
        return [
            (key, version, n == 0, is_marker)
            for key in sorted(filter(keep, model), key=str.encode)
            for n, (version, is_marker) in enumerate(model[key])
        ]

    def in_order(rows):
        # A page that has both kinds is told as two lists.
        place = {(key, version): n for n, (key, version, _, _) in enumerate(expected())}
        return sorted(rows, key=lambda row: place[row[:2]])

    assert in_order(listed(s3, bucket, MaxKeys=size)) == expected()
    assert in_order(listed(s3, bucket, MaxKeys=size, Prefix="a/b")) == expected(lambda key: key.startswith("a/b"))
    found, prefixes, tokens = [], [], {}
    while True:
        page = s3.list_object_versions(Bucket=bucket, MaxKeys=size, Delimiter="/", **tokens)
        found += [row["VersionId"] for row in page.get("Versions", []) + page.get("DeleteMarkers", [])]
        prefixes += [row["Prefix"] for row in page.get("CommonPrefixes", [])]
        if not page["IsTruncated"]:
            break
        tokens = {"KeyMarker": page["NextKeyMarker"]}
        if "NextVersionIdMarker" in page:
            tokens["VersionIdMarker"] = page["NextVersionIdMarker"]
    assert sorted(found) == sorted(row[1] for row in expected(lambda key: "/" not in key))
    assert prefixes == ["a/", "ü/"]
    current = [key for key, versions in sorted(model.items(), key=lambda item: item[0].encode()) if not versions[0][1]]
    assert [row["Key"] for row in s3.list_objects_v2(Bucket=bucket).get("Contents", [])] == current


def test_a_page_goes_on_where_its_marker_was_though_that_is_gone(s3, bucket):
    versioned(s3, bucket)
    ids = [put(s3, bucket, "k", f"{n}".encode()) for n in range(6)][::-1]
    page = s3.list_object_versions(Bucket=bucket, MaxKeys=2)
    assert [row["VersionId"] for row in page["Versions"]] == ids[:2]
    marker = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
    for version in ids[:2]:
        s3.delete_object(Bucket=bucket, Key="k", VersionId=version)
    rest = s3.list_object_versions(Bucket=bucket, **marker)["Versions"]
    assert [(row["VersionId"], row["IsLatest"]) for row in rest] == [(ids[2], True)] + [(version, False) for version in ids[3:]]
    assert refused(s3.list_object_versions, Bucket=bucket, VersionIdMarker=ids[2]) == (400, "InvalidArgument")


def test_versions_are_there_after_a_restart():
    with hafiz.Deployment(drives=6) as server:
        s3 = sdk(server)
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="k", Body=b"null")
        versioned(s3, "kept")
        bodies = {put(s3, "kept", "k", body): body for body in (b"1", noise(2 * MIB), b"3")}
        marker = s3.delete_object(Bucket="kept", Key="k")["VersionId"]
        before = listed(s3, "kept")
        server.kill()
        server.start()
        s3 = sdk(server)
        assert s3.get_bucket_versioning(Bucket="kept")["Status"] == "Enabled"
        assert listed(s3, "kept") == before
        for version, body in bodies.items():
            assert read(s3, "kept", "k", VersionId=version) == body
        assert read(s3, "kept", "k", VersionId="null") == b"null"
        s3.delete_object(Bucket="kept", Key="k", VersionId=marker)
        assert read(s3, "kept", "k") == b"3"

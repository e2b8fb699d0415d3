"""Listings against a model: every prefix, delimiter, page size and starting point gives what a sorted set gives."""

import random

import pytest
from test_buckets import refused

KEYS = [
    "a", "a/b", "a/b/c", "a/b/d", "a/c", "aa", "b/", "b//", "b//c", "b/1", "b/10", "b/2", "c d", "c+d", "c%20d", "z/y/x/w",
    "z/y/x/v", "z/y/u", "ä", "日本/語", "日本/人", "~", "!", "line\nbreak", "0/1", "0/2", "0/3", "00", "1999#", "1999/12",
]  # fmt: skip


@pytest.fixture(scope="module")
def filled(s3):
    s3.create_bucket(Bucket="listing-model")
    for key in KEYS:
        s3.put_object(Bucket="listing-model", Key=key, Body=key.encode())
    yield "listing-model"
    s3.delete_objects(Bucket="listing-model", Delete={"Objects": [{"Key": key} for key in KEYS]})
    s3.delete_bucket(Bucket="listing-model")


def model(prefix, delimiter, after=""):
    """What a listing gives, in order: ("key", k) and ("prefix", p)."""
    found = []
    for key in sorted(KEYS, key=str.encode):
        if not key.startswith(prefix):
            continue
        rest = key[len(prefix) :]
        if delimiter and delimiter in rest:
            entry = ("prefix", prefix + rest[: rest.index(delimiter) + len(delimiter)])
        else:
            entry = ("key", key)
        # A common prefix lies behind the starting point as long as any of its keys may do so.
        if entry[1].encode() <= after.encode() and (entry[0] == "key" or key.encode() <= after.encode() or entry[1] == after):
            continue
        if entry[0] == "key" and key.encode() <= after.encode():
            continue
        if entry not in found:
            found.append(entry)
    return found


def entries(page):
    found = [("key", entry["Key"]) for entry in page.get("Contents", [])]
    found += [("prefix", entry["Prefix"]) for entry in page.get("CommonPrefixes", [])]
    return sorted(found, key=lambda entry: entry[1].encode())


@pytest.mark.parametrize("delimiter", ["", "/", "//", "b", "本/"])
@pytest.mark.parametrize("prefix", ["", "a", "a/", "b/", "z/y/", "日本/", "nothing", "c", "0", "0/"])
@pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
def test_all_pages_together_are_the_model(s3, filled, prefix, delimiter, page_size):
    expected = model(prefix, delimiter)
    found, more = [], {}
    while True:
        page = s3.list_objects_v2(Bucket=filled, Prefix=prefix, Delimiter=delimiter, MaxKeys=page_size, **more)
        assert page["KeyCount"] == len(entries(page)) <= page_size
        found += entries(page)
        if not page["IsTruncated"]:
            break
        assert entries(page), "an empty page says that there is more"
        more = {"ContinuationToken": page["NextContinuationToken"]}
    assert found == expected
    found, marker = [], ""
    while True:
        page = s3.list_objects(Bucket=filled, Prefix=prefix, Delimiter=delimiter, MaxKeys=page_size, Marker=marker)
        found += entries(page)
        if not page["IsTruncated"]:
            break
        marker = page["NextMarker"] if delimiter else page["Contents"][-1]["Key"]
    assert found == expected


@pytest.mark.parametrize("after", ["a", "a/b", "a/zzz", "b/1", "nothing", "日本/", "zzz", "~~~~"])
def test_a_listing_starts_after_a_key(s3, filled, after):
    assert entries(s3.list_objects_v2(Bucket=filled, StartAfter=after)) == model("", "", after)
    assert entries(s3.list_objects(Bucket=filled, Marker=after)) == model("", "", after)


def test_an_entry_tells_size_etag_class_and_owner_when_asked(s3, filled):
    entry = s3.list_objects_v2(Bucket=filled, Prefix="a/b/c", FetchOwner=True)["Contents"][0]
    head = s3.head_object(Bucket=filled, Key="a/b/c")
    assert (entry["Size"], entry["ETag"], entry["StorageClass"]) == (5, head["ETag"], "STANDARD")
    assert entry["Owner"]["ID"]
    assert "Owner" not in s3.list_objects_v2(Bucket=filled, Prefix="a/b/c")["Contents"][0]
    assert s3.list_objects(Bucket=filled, Prefix="a/b/c")["Contents"][0]["Owner"]["ID"]


def test_limits_of_a_page(s3, filled, client):
    page = s3.list_objects_v2(Bucket=filled, MaxKeys=0)
    assert (page["KeyCount"], page["IsTruncated"]) == (0, False)
    assert s3.list_objects_v2(Bucket=filled, MaxKeys=5000)["MaxKeys"] == 1000
    for bad in ("-1", "x", "99999999999999999999"):
        answer = client.request("GET", f"/{filled}", [("list-type", "2"), ("max-keys", bad)])
        assert (answer.status, answer.code) == (400, "InvalidArgument")
    answer = client.request("GET", f"/{filled}", [("list-type", "2"), ("continuation-token", "garbage!")])
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert refused(s3.list_objects_v2, Bucket=filled, EncodingType="rot13") == (400, "InvalidArgument")


def test_pages_go_on_while_keys_come_and_go(s3, bucket):
    dice = random.Random(7)
    keys = [f"{n:04}" for n in range(60)]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    kept, found, more = set(keys[::2]), [], {}
    gone = [key for key in keys if key not in kept]
    while True:
        page = s3.list_objects_v2(Bucket=bucket, MaxKeys=7, **more)
        found += [entry["Key"] for entry in page["Contents"]]
        for _ in range(5):
            if gone:
                s3.delete_object(Bucket=bucket, Key=gone.pop(dice.randrange(len(gone))))
        if not page["IsTruncated"]:
            break
        more = {"ContinuationToken": page["NextContinuationToken"]}
    assert found == sorted(set(found)) and kept <= set(found)


def test_more_than_a_page_of_a_thousand(s3, client, bucket):
    keys = sorted(f"dir{n % 7}/{n:05}" for n in range(1_150))
    for key in keys:
        assert client.request("PUT", f"/{bucket}/{key}", body=key.encode()).status == 200
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket))
    assert [len(page["Contents"]) for page in pages] == [1000, 150]
    assert [entry["Key"] for page in pages for entry in page["Contents"]] == keys
    page = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [entry["Prefix"] for entry in page["CommonPrefixes"]] == [f"dir{n}/" for n in range(7)]

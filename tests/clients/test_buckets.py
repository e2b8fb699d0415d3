"""Buckets, through the SDK."""

import uuid

import pytest
from botocore.exceptions import ClientError


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    response = error.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def test_a_bucket_is_made_found_listed_and_deleted(s3):
    name = f"life-{uuid.uuid4().hex}"
    assert refused(s3.head_bucket, Bucket=name) == (404, "404")
    s3.create_bucket(Bucket=name)
    assert s3.head_bucket(Bucket=name)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert name in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] is None
    s3.delete_bucket(Bucket=name)
    assert refused(s3.head_bucket, Bucket=name) == (404, "404")
    assert refused(s3.delete_bucket, Bucket=name) == (404, "NoSuchBucket")


def test_buckets_are_listed_in_pages(s3):
    prefix = f"paged-{uuid.uuid4().hex[:8]}-"
    names = [f"{prefix}{n:02}" for n in range(7)]
    for name in names:
        s3.create_bucket(Bucket=name)
    found, more = [], {}
    while True:
        page = s3.list_buckets(MaxBuckets=3, Prefix=prefix, **more)
        assert len(page["Buckets"]) <= 3
        found += [bucket["Name"] for bucket in page["Buckets"]]
        if "ContinuationToken" not in page:
            break
        more = {"ContinuationToken": page["ContinuationToken"]}
    assert found == names
    for name in names:
        s3.delete_bucket(Bucket=name)


@pytest.mark.parametrize("name", ["ab", "Upper", "a..b", "-a-b", "a_b", "192.168.1.1", "x" * 64, "xn--abc", "ends-"])
def test_a_bad_bucket_name_is_refused(client, name):
    answer = client.request("PUT", f"/{name}")
    assert (answer.status, answer.code) == (400, "InvalidBucketName")


def test_a_bucket_that_is_not_empty_stays(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    assert refused(s3.delete_bucket, Bucket=bucket) == (409, "BucketNotEmpty")
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"1"


def test_a_bucket_made_again_starts_clean(s3):
    name = f"again-{uuid.uuid4().hex}"
    for n in range(3):
        s3.create_bucket(Bucket=name)
        assert "Contents" not in s3.list_objects_v2(Bucket=name)
        s3.put_object(Bucket=name, Key=f"key{n}", Body=b"x")
        s3.delete_object(Bucket=name, Key=f"key{n}")
        s3.delete_bucket(Bucket=name)


def test_making_ones_own_bucket_again_is_fine_in_the_first_region(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    s3.create_bucket(Bucket=bucket)
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"1"


@pytest.mark.parametrize(
    "operation",
    ["get_bucket_policy", "get_bucket_website", "get_bucket_replication", "get_bucket_inventory_configuration"],
)
def test_what_is_not_there_yet_says_so_and_is_no_listing(s3, bucket, operation):
    more = {"Id": "x"} if "inventory" in operation else {}
    status, code = refused(getattr(s3, operation), Bucket=bucket, **more)
    assert status in (404, 501), code


def test_an_unknown_bucket_is_told_from_an_unknown_key(s3, bucket):
    assert refused(s3.get_object, Bucket="no-such-bucket-here", Key="k") == (404, "NoSuchBucket")
    assert refused(s3.get_object, Bucket=bucket, Key="k") == (404, "NoSuchKey")
    assert refused(s3.head_object, Bucket=bucket, Key="k") == (404, "404")
    assert refused(s3.list_objects_v2, Bucket="no-such-bucket-here") == (404, "NoSuchBucket")
    assert refused(s3.put_object, Bucket="no-such-bucket-here", Key="k", Body=b"") == (404, "NoSuchBucket")

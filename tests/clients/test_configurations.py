"""What a bucket can be configured for, through the SDK: not set, set, read, listed, deleted, and there after a restart."""

import threading
import uuid

import conftest
import pytest
import server as hafiz
from botocore.exceptions import ClientError

QUEUE = "arn:aws:sqs:us-east-1:123456789012:queue"


def code(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"]


def said(answer):
    """What an answer says, without how it came."""
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def inventory(name):
    return {
        "Id": name,
        "IsEnabled": True,
        "Filter": {"Prefix": "logs/"},
        "Destination": {
            "S3BucketDestination": {"Bucket": "arn:aws:s3:::lists", "Format": "Parquet", "Prefix": "p", "Encryption": {"SSES3": {}}}
        },
        "Schedule": {"Frequency": "Weekly"},
        "IncludedObjectVersions": "Current",
        "OptionalFields": ["Size", "ETag", "ChecksumAlgorithm"],
    }


def analytics(name):
    destination = {"S3BucketDestination": {"Format": "CSV", "Bucket": "arn:aws:s3:::lists"}}
    return {
        "Id": name,
        "Filter": {"And": {"Prefix": "a", "Tags": [{"Key": "k", "Value": "v"}]}},
        "StorageClassAnalysis": {"DataExport": {"OutputSchemaVersion": "V_1", "Destination": destination}},
    }


def metrics(name):
    return {"Id": name, "Filter": {"Tag": {"Key": "k", "Value": "v"}}}


def tiering(name):
    tiers = [{"Days": 90, "AccessTier": "ARCHIVE_ACCESS"}, {"Days": 365, "AccessTier": "DEEP_ARCHIVE_ACCESS"}]
    return {"Id": name, "Filter": {"Prefix": "cold/"}, "Status": "Enabled", "Tierings": tiers}


# By the name in the methods of the SDK: argument of the put, value, then code or answer before it is set and once it is deleted.
NEVER = object()
SINGLE = {
    "bucket_tagging": ("Tagging", {"TagSet": [{"Key": "b", "Value": "1"}, {"Key": "a b", "Value": ""}]}, "NoSuchTagSet", "NoSuchTagSet"),
    "public_access_block": (
        "PublicAccessBlockConfiguration",
        {"BlockPublicAcls": True, "IgnorePublicAcls": False, "BlockPublicPolicy": True, "RestrictPublicBuckets": False},
        "NoSuchPublicAccessBlockConfiguration",
        "NoSuchPublicAccessBlockConfiguration",
    ),
    "bucket_ownership_controls": (
        "OwnershipControls",
        {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        {"OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}},
        "OwnershipControlsNotFoundError",
    ),
    "bucket_request_payment": ("RequestPaymentConfiguration", {"Payer": "Requester"}, {"Payer": "BucketOwner"}, NEVER),
    "bucket_accelerate_configuration": ("AccelerateConfiguration", {"Status": "Suspended"}, {}, NEVER),
    "bucket_abac": ("AbacStatus", {"Status": "Enabled"}, {"AbacStatus": {"Status": "Disabled"}}, NEVER),
    "bucket_notification_configuration": (
        "NotificationConfiguration",
        {
            "QueueConfigurations": [
                {
                    "Id": "q",
                    "QueueArn": QUEUE,
                    "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:Delete"],
                    "Filter": {"Key": {"FilterRules": [{"Name": "Prefix", "Value": "a/"}, {"Name": "Suffix", "Value": ".jpg"}]}},
                }
            ],
            "EventBridgeConfiguration": {},
        },
        {},
        NEVER,
    ),
    "bucket_cors": (
        "CORSConfiguration",
        {
            "CORSRules": [
                {
                    "ID": "r",
                    "AllowedHeaders": ["*"],
                    "AllowedMethods": ["GET", "PUT"],
                    "AllowedOrigins": ["https://*.page.org"],
                    "ExposeHeaders": ["ETag"],
                    "MaxAgeSeconds": 60,
                }
            ]
        },
        "NoSuchCORSConfiguration",
        "NoSuchCORSConfiguration",
    ),
}
WITH_IDS = {"inventory": inventory, "analytics": analytics, "metrics": metrics, "intelligent_tiering": tiering}


def argument_of(kind):
    return "".join(word.capitalize() for word in kind.split("_")) + "Configuration"


def is_as(get, bucket, expect):
    """`expect`: a code, or what is said."""
    if isinstance(expect, str):
        assert code(get, Bucket=bucket) == expect
    else:
        assert said(get(Bucket=bucket)) == expect


def expected(name, value):
    """Some answers are the configuration itself, others hold it under its name."""
    wrapped = {"public_access_block": "PublicAccessBlockConfiguration", "bucket_ownership_controls": "OwnershipControls", "bucket_abac": "AbacStatus"}
    return {wrapped[name]: value} if name in wrapped else value


@pytest.mark.parametrize("name", SINGLE)
def test_one_of_a_kind(s3, bucket, name):
    argument, value, absent, deleted = SINGLE[name]
    get, put = getattr(s3, f"get_{name}"), getattr(s3, f"put_{name}")
    is_as(get, bucket, absent)
    assert code(get, Bucket="no-such-bucket-here") == code(put, Bucket="no-such-bucket-here", **{argument: value}) == "NoSuchBucket"
    for _ in range(2):
        put(Bucket=bucket, **{argument: value})
        is_as(get, bucket, expected(name, value))
    assert code(get, Bucket=bucket, ExpectedBucketOwner="someone-else") == "AccessDenied"
    if deleted is not NEVER:
        delete = getattr(s3, f"delete_{name}")
        for _ in range(2):
            assert delete(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 204
            is_as(get, bucket, deleted)


@pytest.mark.parametrize("kind", WITH_IDS)
def test_several_of_a_kind(s3, bucket, kind):
    make, argument = WITH_IDS[kind], argument_of(kind)
    get, put, delete = (getattr(s3, f"{verb}_bucket_{kind}_configuration") for verb in ("get", "put", "delete"))
    lists = getattr(s3, f"list_bucket_{kind}_configurations")
    assert code(get, Bucket=bucket, Id="a") == code(delete, Bucket=bucket, Id="a") == "NoSuchConfiguration"
    assert said(lists(Bucket=bucket)) == {"IsTruncated": False}
    names = [f"{n:03}" for n in range(105)]
    for name in reversed(names):
        put(Bucket=bucket, Id=name, **{argument: make(name)})
    assert get(Bucket=bucket, Id="007")[argument] == make("007")
    first = lists(Bucket=bucket)
    assert first["IsTruncated"] and len(first[f"{argument}List"]) == 100
    last = lists(Bucket=bucket, ContinuationToken=first["NextContinuationToken"])
    assert not last["IsTruncated"] and "NextContinuationToken" not in last
    assert last["ContinuationToken"] == first["NextContinuationToken"]
    assert first[f"{argument}List"] + last[f"{argument}List"] == [make(name) for name in names]
    assert code(lists, Bucket=bucket, ContinuationToken="nonsense") == "InvalidArgument"
    assert code(put, Bucket=bucket, Id="a", **{argument: make("b")}) == "InvalidArgument"
    assert code(put, Bucket=bucket, Id="a b", **{argument: make("a b")}) == "InvalidConfigurationId"
    assert delete(Bucket=bucket, Id="007")["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert code(get, Bucket=bucket, Id="007") == "NoSuchConfiguration"


def test_what_makes_no_sense_is_refused_with_its_code(s3, bucket):
    tag = {"Key": "k", "Value": "v"}
    cases = [
        ("bucket_tagging", {"TagSet": [tag, tag]}, "InvalidTag"),
        ("bucket_tagging", {"TagSet": [{"Key": "aws:x", "Value": ""}]}, "InvalidTag"),
        ("bucket_tagging", {"TagSet": [{"Key": "k" * 129, "Value": ""}]}, "InvalidTag"),
        ("bucket_tagging", {"TagSet": [{"Key": str(n), "Value": ""} for n in range(51)]}, "BadRequest"),
        ("bucket_ownership_controls", {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}, "NotImplemented"),
        ("bucket_ownership_controls", {"Rules": [{"ObjectOwnership": "Nobody"}]}, "MalformedXML"),
        ("bucket_request_payment", {"Payer": "Nobody"}, "MalformedXML"),
        ("bucket_accelerate_configuration", {"Status": "Disabled"}, "MalformedXML"),
        ("bucket_abac", {"Status": "Suspended"}, "MalformedXML"),
        ("bucket_cors", {"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["PATCH"]}]}, "InvalidRequest"),
        ("bucket_cors", {"CORSRules": []}, "MalformedXML"),
    ]
    for name, value, expect in cases:
        assert code(getattr(s3, f"put_{name}"), Bucket=bucket, **{SINGLE[name][0]: value}) == expect, value
    rule = {"QueueArn": QUEUE, "Events": ["s3:ObjectCreated:Put"]}
    for rules in ([rule, {**rule, "Events": ["s3:ObjectCreated:*"]}], [{**rule, "Events": ["s3:Nothing"]}], [{**rule, "QueueArn": "q"}]):
        configuration = {"QueueConfigurations": rules}
        assert code(s3.put_bucket_notification_configuration, Bucket=bucket, NotificationConfiguration=configuration) == "InvalidArgument"
    assert said(s3.get_bucket_notification_configuration(Bucket=bucket)) == {}


def test_a_bucket_with_dots_is_not_accelerated(s3):
    name = f"with.dots.{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name)
    assert code(s3.put_bucket_accelerate_configuration, Bucket=name, AccelerateConfiguration={"Status": "Enabled"}) == "InvalidRequest"
    s3.delete_bucket(Bucket=name)


def test_a_bucket_is_made_with_tags(s3):
    name = f"tagged-{uuid.uuid4().hex}"
    tags = [{"Key": "k", "Value": "v"}]
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"Tags": tags})
    assert s3.get_bucket_tagging(Bucket=name)["TagSet"] == tags
    s3.delete_bucket(Bucket=name)


def test_rules_without_an_id_get_one(s3, bucket):
    rule = {"QueueArn": QUEUE, "Events": ["s3:ObjectCreated:Put"]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [rule]})
    (read,) = s3.get_bucket_notification_configuration(Bucket=bucket)["QueueConfigurations"]
    assert read.pop("Id") and read == rule


def set_all(s3, bucket):
    for name, (argument, value, *_) in SINGLE.items():
        getattr(s3, f"put_{name}")(Bucket=bucket, **{argument: value})
    for kind, make in WITH_IDS.items():
        getattr(s3, f"put_bucket_{kind}_configuration")(Bucket=bucket, Id="i", **{argument_of(kind): make("i")})


def check_all(s3, bucket):
    for name, (_, value, *_) in SINGLE.items():
        is_as(getattr(s3, f"get_{name}"), bucket, expected(name, value))
    for kind, make in WITH_IDS.items():
        answer = getattr(s3, f"get_bucket_{kind}_configuration")(Bucket=bucket, Id="i")
        assert answer[argument_of(kind)] == make("i")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_all_of_it_is_there_after_a_restart(end):
    with hafiz.Deployment(drives=4) as running:
        s3 = conftest.sdk(running)
        s3.create_bucket(Bucket="kept")
        set_all(s3, "kept")
        check_all(s3, "kept")
        getattr(running, end)()
        running.start()
        check_all(conftest.sdk(running), "kept")


def test_none_of_those_that_are_set_at_the_same_time_is_lost(server, s3, bucket):
    """Each through a connection of its own, which may be another shard's."""
    failed = []

    def put(n):
        client = conftest.sdk(server)
        try:
            client.put_bucket_metrics_configuration(Bucket=bucket, Id=str(n), MetricsConfiguration=metrics(str(n)))
            assert client.get_bucket_metrics_configuration(Bucket=bucket, Id=str(n))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=put, args=(n,)) for n in range(12)]
    [thread.start() for thread in threads]
    set_all(s3, bucket)
    [thread.join() for thread in threads]
    assert not failed
    check_all(s3, bucket)
    listed = s3.list_bucket_metrics_configurations(Bucket=bucket)["MetricsConfigurationList"]
    assert {entry["Id"] for entry in listed} == {"i", *map(str, range(12))}


def test_a_thousand_inventories_are_enough(s3, bucket):
    put = s3.put_bucket_inventory_configuration
    for n in range(1000):
        put(Bucket=bucket, Id=f"{n}", InventoryConfiguration=inventory(f"{n}"))
    assert code(put, Bucket=bucket, Id="more", InventoryConfiguration=inventory("more")) == "TooManyConfigurations"
    s3.put_object(Bucket=bucket, Key="k", Body=b"still here")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"still here"

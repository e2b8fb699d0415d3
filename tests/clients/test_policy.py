"""Bucket policies: what is put comes back byte by byte, decides the next request, and never locks the owner out."""

import json
import urllib.request

import pytest
import server as hafiz
import wire
from conftest import sdk
from test_buckets import refused


def document(*statements, version="2012-10-17"):
    return json.dumps({"Version": version, "Statement": list(statements)}, indent=1)


def statement(bucket, effect, *actions, key="*", principal="*", **more):
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/{key}"]
    fits = [resources[0]] if all("Bucket" in action for action in actions) else [resources[1]]
    if any(action == "s3:*" for action in actions):
        fits = resources
    return {"Effect": effect, "Principal": principal, "Action": list(actions), "Resource": fits, **more}


class Anonymous:
    """Requests without any signature."""

    def __init__(self, server):
        self.endpoint = server.endpoint

    def ask(self, method, path, body=None, **headers):
        request = urllib.request.Request(f"{self.endpoint}{path}", body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as answer:
            content = answer.read()
            code = content.split(b"<Code>")[1].split(b"</Code>")[0].decode() if b"<Code>" in content else ""
            return answer.code, code


@pytest.fixture
def anonymous(server):
    return Anonymous(server)


def put(s3, bucket, *statements):
    s3.put_bucket_policy(Bucket=bucket, Policy=document(*statements))


def test_a_policy_comes_back_as_it_was_put_until_it_is_deleted(s3, bucket):
    assert refused(s3.get_bucket_policy, Bucket=bucket) == (404, "NoSuchBucketPolicy")
    assert refused(s3.get_bucket_policy_status, Bucket=bucket) == (404, "NoSuchBucketPolicy")
    text = "  " + document(statement(bucket, "Allow", "s3:GetObject")).replace(" ", "\t")
    assert refused(s3.put_bucket_policy, Bucket=bucket, Policy=text) == (400, "MalformedPolicy")
    text = text.strip()
    s3.put_bucket_policy(Bucket=bucket, Policy=text)
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == text
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is True
    narrow = {"Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}}
    put(s3, bucket, statement(bucket, "Allow", "s3:GetObject", **narrow))
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is False
    s3.delete_bucket_policy(Bucket=bucket)
    s3.delete_bucket_policy(Bucket=bucket)
    assert refused(s3.get_bucket_policy, Bucket=bucket) == (404, "NoSuchBucketPolicy")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"Version":"2012-10-17"}', '{"Version":"2020-01-01","Statement":[]}', '{"Statement":{"Effect":"Allow"}}', "\xff"],
)
def test_what_is_no_policy_is_refused_and_changes_nothing(s3, bucket, client, text):
    put(s3, bucket, statement(bucket, "Allow", "s3:GetObject"))
    answer = client.request("PUT", f"/{bucket}", [("policy", "")], text.encode("latin-1"))
    assert (answer.status, answer.code) == (400, "MalformedPolicy" if text else "MissingRequestBodyError")
    other = document(statement("another-bucket", "Allow", "s3:GetObject"))
    assert refused(s3.put_bucket_policy, Bucket=bucket, Policy=other) == (400, "MalformedPolicy")
    long = document(statement(bucket, "Allow", "s3:GetObject", key="x" * 21_000))
    assert refused(s3.put_bucket_policy, Bucket=bucket, Policy=long) == (400, "MalformedPolicy")
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is True


def test_the_anonymous_may_do_what_a_policy_gives_them_and_nothing_else(s3, bucket, anonymous):
    s3.put_object(Bucket=bucket, Key="open/a", Body=b"open")
    s3.put_object(Bucket=bucket, Key="closed", Body=b"closed")
    assert anonymous.ask("GET", f"/{bucket}/open/a") == (403, "AccessDenied")
    put(s3, bucket, statement(bucket, "Allow", "s3:GetObject", key="open/*"))
    assert anonymous.ask("GET", f"/{bucket}/open/a") == (200, b"open")
    assert anonymous.ask("HEAD", f"/{bucket}/open/a")[0] == 200
    assert anonymous.ask("GET", f"/{bucket}/closed") == (403, "AccessDenied")
    assert anonymous.ask("GET", f"/{bucket}") == (403, "AccessDenied")
    assert anonymous.ask("PUT", f"/{bucket}/open/b", b"x") == (403, "AccessDenied")
    assert anonymous.ask("DELETE", f"/{bucket}/open/a") == (403, "AccessDenied")
    assert anonymous.ask("PUT", f"/{bucket}?policy", b"{}") == (403, "AccessDenied")
    # What is not there is not told to who may not list.
    assert anonymous.ask("GET", f"/{bucket}/open/absent") == (403, "AccessDenied")
    put(s3, bucket, statement(bucket, "Allow", "s3:GetObject", key="open/*"), statement(bucket, "Allow", "s3:ListBucket"))
    assert anonymous.ask("GET", f"/{bucket}/open/absent") == (404, "NoSuchKey")
    assert anonymous.ask("GET", f"/{bucket}?list-type=2")[0] == 200
    # Headers of one's own are for those who are known.
    assert anonymous.ask("GET", f"/{bucket}/open/a?response-content-type=text/html") == (400, "InvalidRequest")
    s3.delete_bucket_policy(Bucket=bucket)
    assert anonymous.ask("GET", f"/{bucket}/open/a") == (403, "AccessDenied")


def test_the_anonymous_may_write_and_delete_where_a_policy_says_so(s3, bucket, anonymous):
    put(s3, bucket, statement(bucket, "Allow", "s3:PutObject", "s3:DeleteObject", key="in/*"))
    assert anonymous.ask("PUT", f"/{bucket}/in/a", b"left")[0] == 200
    assert s3.get_object(Bucket=bucket, Key="in/a")["Body"].read() == b"left"
    assert anonymous.ask("PUT", f"/{bucket}/out/a", b"x") == (403, "AccessDenied")
    body = b"<Delete><Object><Key>in/a</Key></Object><Object><Key>out/a</Key></Object></Delete>"
    status, answer = anonymous.ask("POST", f"/{bucket}?delete", body, **{"Content-MD5": wire.md5_base64(body)})
    assert status == 200 and answer.count(b"<Deleted>") == 1 and answer.count(b"<Code>AccessDenied</Code>") == 1
    assert refused(s3.get_object, Bucket=bucket, Key="in/a") == (404, "NoSuchKey")
    # Reading with a version needs another action.
    put(s3, bucket, statement(bucket, "Allow", "s3:GetObject"))
    s3.put_object(Bucket=bucket, Key="k", Body=b"k")
    assert anonymous.ask("GET", f"/{bucket}/k")[0] == 200
    assert anonymous.ask("GET", f"/{bucket}/k?versionId=null") == (403, "AccessDenied")


def test_conditions_are_asked(s3, bucket, anonymous):
    s3.put_object(Bucket=bucket, Key="k", Body=b"k")

    def check(condition, expect, **headers):
        put(s3, bucket, statement(bucket, "Allow", "s3:GetObject", Condition=condition))
        assert anonymous.ask("GET", f"/{bucket}/k", **headers)[0] == expect, condition

    check({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, 200)
    check({"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, 403)
    check({"StringLike": {"aws:Referer": "http://good/*"}}, 200, Referer="http://good/page")
    check({"StringLike": {"aws:Referer": "http://good/*"}}, 403, Referer="http://bad/page")
    check({"StringLike": {"aws:Referer": "http://good/*"}}, 403)
    check({"Bool": {"aws:SecureTransport": "true"}}, 403)
    check({"Bool": {"aws:SecureTransport": "false"}}, 200)
    check({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, 200)
    check({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, 403)
    check({"StringEquals": {"s3:ExistingObjectTag/a": "b"}}, 403)
    put(s3, bucket, statement(bucket, "Allow", "s3:ListBucket", Condition={"StringEquals": {"s3:prefix": "a/"}}))
    assert anonymous.ask("GET", f"/{bucket}?list-type=2&prefix=a/")[0] == 200
    assert anonymous.ask("GET", f"/{bucket}?list-type=2") == (403, "AccessDenied")
    assert anonymous.ask("GET", f"/{bucket}?list-type=2&prefix=b/") == (403, "AccessDenied")


def test_no_policy_gives_away_the_policy_or_the_making_of_buckets(s3, bucket, anonymous):
    put(s3, bucket, statement(bucket, "Allow", "s3:*"))
    text = document(statement(bucket, "Deny", "s3:*")).encode()
    block = b"<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy></PublicAccessBlockConfiguration>"
    assert anonymous.ask("PUT", f"/{bucket}/k", b"x")[0] == 200
    for method, path, body in [
        ("GET", f"/{bucket}?policy", None), ("PUT", f"/{bucket}?policy", text), ("DELETE", f"/{bucket}?policy", None),
        ("PUT", f"/{bucket}?publicAccessBlock", block), ("PUT", f"/{bucket}", b""),
    ]:  # fmt: skip
        assert anonymous.ask(method, path, body) == (403, "AccessDenied"), (method, path)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_denials_that_rest_on_a_condition_are_not_passed_by(s3, bucket, anonymous):
    s3.put_object(Bucket=bucket, Key="k", Body=b"k")

    def guarded(action, condition, allowed):
        put(s3, bucket, statement(bucket, "Allow", *allowed), statement(bucket, "Deny", action, Condition=condition))

    # As AWS writes it: whoever is elsewhere, unless a service asks for somebody.
    elsewhere = {"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}, "Bool": {"aws:ViaAWSService": "false"}}
    guarded("s3:GetObject", elsewhere, ["s3:GetObject"])
    assert anonymous.ask("GET", f"/{bucket}/k") == (403, "AccessDenied")
    # Enforced conditional writes.
    unconditional = {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}
    guarded("s3:PutObject", unconditional, ["s3:PutObject", "s3:GetObject"])
    for headers in ({}, {"If-None-Match": ""}, {"If-None-Match": '"x"'}):
        assert anonymous.ask("PUT", f"/{bucket}/k", b"x", **headers) == (403, "AccessDenied"), headers
    assert anonymous.ask("PUT", f"/{bucket}/k", b"x", **{"If-None-Match": "*"}) == (412, "PreconditionFailed")
    assert anonymous.ask("PUT", f"/{bucket}/new", b"x", **{"If-None-Match": "*"})[0] == 200
    assert anonymous.ask("POST", f"/{bucket}/new?uploads", b"")[0] == 200
    # Pages: the number and the delimiter are those that the listing takes.
    pages = {"NumericGreaterThan": {"s3:max-keys": "1"}}
    guarded("s3:ListBucket", pages, ["s3:ListBucket"])
    assert anonymous.ask("GET", f"/{bucket}?max-keys=1")[0] == 200
    for keys in ("2", "%2B2", "00000000000000000000000000002"):
        assert anonymous.ask("GET", f"/{bucket}?max-keys={keys}") == (403, "AccessDenied"), keys
    for name in ("max-keys", "delimiter"):
        guarded("s3:ListBucket", {"Null": {f"s3:{name}": "true"}}, ["s3:ListBucket"])
        for query in ("", f"?{name}", f"?{name}="):
            assert anonymous.ask("GET", f"/{bucket}{query}") == (403, "AccessDenied"), query
    # A source of a copy has one spelling.
    s3.put_object(Bucket=bucket, Key="secret/a", Body=b"s")
    secret = {"StringLike": {"s3:x-amz-copy-source": f"{bucket}/secret/*"}}
    guarded("s3:PutObject", secret, ["s3:PutObject", "s3:GetObject"])
    for source in (f"{bucket}/secret/a", f"/{bucket}/secret/a", f"{bucket}/%73ecret/a"):
        asked = anonymous.ask("PUT", f"/{bucket}/copy", b"", **{"x-amz-copy-source": source})
        assert asked == (403, "AccessDenied"), source
    assert anonymous.ask("PUT", f"/{bucket}/copy", b"", **{"x-amz-copy-source": f"/{bucket}/k"})[0] == 200


def test_who_may_not_read_does_not_learn_what_is_there(s3, bucket, anonymous):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"k")["ETag"]
    put(s3, bucket, statement(bucket, "Allow", "s3:PutObject", "s3:DeleteObject"))
    for headers in ({"If-Match": etag}, {"If-Match": '"x"'}):
        for method, path in (("PUT", "k"), ("PUT", "none"), ("DELETE", "k"), ("POST", "k?uploads")):
            assert anonymous.ask(method, f"/{bucket}/{path}", b"", **headers) == (403, "AccessDenied"), (method, path)
    put(s3, bucket, statement(bucket, "Allow", "s3:PutObject", "s3:GetObject"))
    none = {"x-amz-copy-source": f"{bucket}/none"}
    assert anonymous.ask("PUT", f"/{bucket}/copy", b"", **none) == (403, "AccessDenied")
    assert anonymous.ask("GET", f"/{bucket}/none?max-keys=1") == (403, "AccessDenied")


def test_a_policy_for_everyone_by_another_name_is_public(s3, bucket, anonymous):
    s3.put_object(Bucket=bucket, Key="k", Body=b"k")
    named = {"Condition": {"StringEquals": {"aws:userid": "Anonymous"}}}
    put(s3, bucket, statement(bucket, "Allow", "s3:GetObject", **named))
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is True


def test_a_denial_binds_the_owner_who_can_always_mend_it(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"k")
    put(s3, bucket, statement(bucket, "Deny", "s3:*"))
    for ask in (lambda: s3.get_object(Bucket=bucket, Key="k"), lambda: s3.list_objects_v2(Bucket=bucket)):
        assert refused(ask) == (403, "AccessDenied")
    source = {"Bucket": bucket, "Key": "k"}
    assert refused(s3.put_object, Bucket=bucket, Key="x") == (403, "AccessDenied")
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"]
    put(s3, bucket, statement(bucket, "Deny", "s3:GetObject"))
    # A copy reads, too.
    assert refused(s3.copy_object, Bucket=bucket, Key="x", CopySource=source) == (403, "AccessDenied")
    s3.put_object(Bucket=bucket, Key="x", Body=b"x")
    s3.delete_bucket_policy(Bucket=bucket)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"k"


def test_a_public_access_block_keeps_public_policies_out(s3, bucket, anonymous):
    s3.put_object(Bucket=bucket, Key="k", Body=b"k")
    public = document(statement(bucket, "Allow", "s3:GetObject"))
    s3.put_bucket_policy(Bucket=bucket, Policy=public)
    assert anonymous.ask("GET", f"/{bucket}/k")[0] == 200
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"RestrictPublicBuckets": True})
    assert anonymous.ask("GET", f"/{bucket}/k") == (403, "AccessDenied")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"k"
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"BlockPublicPolicy": True})
    assert refused(s3.put_bucket_policy, Bucket=bucket, Policy=public) == (403, "AccessDenied")
    narrow = {"Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}}
    put(s3, bucket, statement(bucket, "Allow", "s3:GetObject", **narrow))
    assert anonymous.ask("GET", f"/{bucket}/k")[0] == 200
    s3.delete_public_access_block(Bucket=bucket)
    s3.put_bucket_policy(Bucket=bucket, Policy=public)


def test_a_policy_is_in_force_on_every_shard_at_once_and_after_a_restart():
    with hafiz.Deployment(drives=6) as server:
        s3 = sdk(server)
        s3.create_bucket(Bucket="open")
        s3.put_object(Bucket="open", Key="k", Body=b"k")
        for _ in range(10):
            put(s3, "open", statement("open", "Allow", "s3:GetObject"))
            # Each on a connection of its own, and so on any shard.
            assert [Anonymous(server).ask("GET", "/open/k")[0] for _ in range(8)] == [200] * 8
            put(s3, "open", statement("open", "Allow", "s3:PutObject"))
            assert [Anonymous(server).ask("GET", "/open/k")[0] for _ in range(8)] == [403] * 8
        put(s3, "open", statement("open", "Allow", "s3:GetObject"))
        server.kill()
        server.start()
        assert Anonymous(server).ask("GET", "/open/k") == (200, b"k")

"""Messages by hand: signatures that are wrong in every way, truncated and oversized messages, smuggling shapes."""

import socket
import time
from datetime import datetime, timedelta, timezone

import pytest
import wire
from test_objects import MIB, noise


@pytest.fixture
def key(client, bucket):
    assert client.request("PUT", f"/{bucket}/k", body=b"secret").status == 200
    return f"/{bucket}/k"


def shifted(**delta):
    return (datetime.now(timezone.utc) + timedelta(**delta)).strftime("%Y%m%dT%H%M%SZ")


def signed(client, path, signer=None, **how):
    signer = signer or client.signer
    return signer.headers("GET", path, [], client.host, **how)


def get(client, path, headers):
    return client.send("GET", path, {name: value for name, value in headers.items() if value is not None})


@pytest.mark.parametrize(
    "signer, status, code",
    [
        (wire.Signer(password="wrong-password"), 403, "SignatureDoesNotMatch"),
        (wire.Signer(user="nobody"), 403, "InvalidAccessKeyId"),
        (wire.Signer(region="mars-1"), 400, "AuthorizationHeaderMalformed"),
        (wire.Signer(service="ec2"), 400, "AuthorizationHeaderMalformed"),
    ],
)
def test_keys_that_are_not_ours_are_refused(client, key, signer, status, code):
    answer = get(client, key, signed(client, key, signer))
    assert (answer.status, answer.code) == (status, code)
    assert b"secret" not in answer.body and b"wrong-password" not in answer.body


@pytest.mark.parametrize("shift, code", [({"minutes": -16}, "RequestTimeTooSkewed"), ({"minutes": 16}, "RequestTimeTooSkewed")])
def test_a_clock_that_is_off_is_refused(client, key, shift, code):
    answer = get(client, key, signed(client, key, date=shifted(**shift)))
    assert (answer.status, answer.code) == (403, code)
    assert get(client, key, signed(client, key, date=shifted(minutes=-14))).status == 200


def test_whatever_is_changed_after_signing_is_refused(client, key, bucket):
    good = signed(client, key, headers={"x-amz-meta-a": "1"})
    assert get(client, key, good).status == 200
    def check(path=key, method="GET", **changes):
        headers = {**good, **{name.replace("_", "-"): value for name, value in changes.items()}}
        answer = client.send(method, path, {name: value for name, value in headers.items() if value is not None})
        assert answer.status in (400, 403), (changes, answer)
        assert b"secret" not in answer.body
    check(path=key + "x")
    check(path=key + "?acl")
    check(method="DELETE")
    check(host="elsewhere:1")
    check(x_amz_date=shifted(minutes=1))
    check(x_amz_meta_a="2")
    check(x_amz_meta_a=None)
    check(x_amz_meta_b="unsigned")
    check(x_amz_content_sha256=wire.sha256(b"other"))
    check(x_amz_date=None)
    assert get(client, key, good).status == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        " ",
        "x",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 ",
        "AWS4-HMAC-SHA256 Credential=",
        "AWS4-HMAC-SHA256 Credential=tester, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=tester/20200101/us-east-1/s3/aws4_request, SignedHeaders=, Signature=",
        "AWS4-HMAC-SHA256 Credential=tester/2020/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=" + "0" * 64,
        "AWS4-ECDSA-P256-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=0",
        "AWS tester:signature",
        "Basic dGVzdGVyOmEtcGFzc3dvcmQtZm9yLXRlc3Rz",
        "Bearer token",
        "AWS4-HMAC-SHA256 " + "a" * 8000,
    ],
)
def test_a_malformed_authorization_is_never_anonymous(client, key, authorization):
    headers = {**signed(client, key), "authorization": authorization}
    answer = get(client, key, headers)
    assert answer.status in (400, 403) and b"secret" not in answer.body


def test_parts_of_the_authorization_matter(client, key):
    good = signed(client, key)["authorization"]
    for bad in (
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        good[:-1],
        good + "0",
        good.replace("SignedHeaders=host;", "SignedHeaders="),
        good.replace("aws4_request", "aws5_request"),
        good.replace("Signature=", "signature="),
        good.replace(good.rsplit("=", 1)[1], good.rsplit("=", 1)[1].upper()),
        good + ", " + good,
    ):
        headers = {**signed(client, key), "authorization": bad}
        if bad.lower() == good.lower() and bad == good:
            continue
        assert get(client, key, headers).status in (400, 403), bad


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE", "POST"])
def test_nobody_gets_in_without_a_signature(client, key, bucket, method):
    for path in (key, f"/{bucket}", f"/{bucket}?delete", f"/{bucket}?list-type=2", f"{key}?uploads", "/"):
        answer = client.send(method, path, {"host": client.host})
        assert answer.status in (400, 403, 405, 501), (path, answer)
        if method != "HEAD" and answer.status == 403:
            assert answer.code == "AccessDenied"
    assert client.request("GET", key).body == b"secret"


def test_presigned_urls_end(client, key):
    sign, host = client.signer.presigned, client.host
    assert client.send("GET", sign("GET", key, host), {"host": host}).body == b"secret"
    for refused in (
        sign("GET", key, host, expires=60, date=shifted(seconds=-61)),
        sign("GET", key, host, expires=0),
        sign("GET", key, host, expires=604801),
        sign("GET", key, host, expires=-1),
        sign("GET", key, host, date=shifted(minutes=20)),
        sign("GET", key, host).replace("X-Amz-Expires=300", "X-Amz-Expires=3000"),
        sign("GET", key, host) + "&versionId=x",
        sign("GET", key, host)[:-1],
        sign("GET", key, host).replace("&X-Amz-Expires=300", ""),
        wire.Signer(password="wrong-password").presigned("GET", key, host),
    ):
        answer = client.send("GET", refused, {"host": host})
        assert answer.status in (400, 403) and b"secret" not in answer.body, refused
    both = client.signer.headers("GET", key, [], host)
    assert client.send("GET", sign("GET", key, host), both).status in (400, 403)


def test_an_error_names_its_request(client, key):
    answer = client.request("GET", key + "x")
    assert answer.headers["content-type"] == "application/xml"
    assert f"<RequestId>{answer.headers['x-amz-request-id']}</RequestId>".encode() in answer.body
    assert "x-amz-id-2" in answer.headers
    head = client.request("HEAD", key + "x")
    assert (head.status, head.body) == (404, b"")


def put_message(client, path, body, length=None, more=None, payload=wire.UNSIGNED):
    headers = client.signer.headers("PUT", path, [], client.host, more, payload)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    length = len(body) if length is None else length
    return f"PUT {path} HTTP/1.1\r\n{lines}content-length: {length}\r\n\r\n".encode() + body


@pytest.mark.parametrize("size", [10, 50_000, 3 * MIB])
def test_a_truncated_body_changes_nothing(client, key, size):
    body = noise(size)
    for announced in (size + 1, size + 100_000):
        received = wire.raw(client.port, put_message(client, key, body, announced), half_close=True)
        assert wire.statuses(received) in ([], [400]), received
        # And a peer that vanishes altogether.
        with socket.create_connection(("127.0.0.1", client.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(put_message(client, key, body, announced))
    assert client.request("GET", key).body == b"secret"


def test_expect_continue_is_answered_before_the_body(client, key):
    message = put_message(client, key, b"new", more={"expect": "100-continue"})
    head, body = message[:-3], message[-3:]
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as connection:
        connection.sendall(head)
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    bad = put_message(client, key, b"", length=10_000_000, more={"expect": "100-continue"}).replace(b"Signature=", b"Signature=0")
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as connection:
        connection.sendall(bad)
        answer = connection.recv(1000)
        assert answer.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 ")), answer
    assert client.request("GET", key).body == b"new"


def test_pipelined_requests_are_answered_in_order(client, bucket):
    messages = [put_message(client, f"/{bucket}/p{n}", str(n).encode() * n) for n in range(1, 6)]
    headers = client.signer.headers("GET", f"/{bucket}/p3", [], client.host, {"connection": "close"})
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    messages.append(f"GET /{bucket}/p3 HTTP/1.1\r\n{lines}\r\n".encode())
    received = wire.raw(client.port, b"".join(messages))
    assert wire.statuses(received) == [200] * 6 and received.endswith(b"333")


HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "message, status",
    [
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {414, 431}),
        (HEAD + b"A: " + b"a" * 20_000 + b"\r\n\r\n", {431}),
        (HEAD + b"A: 1\r\n" * 200 + b"\r\n", {431}),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}),
        (b"GARBAGE\r\n\r\n", {400}),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", {505, 400}),
        (b"GET / HTTP/1.1\r\n\r\n", {400}),
        (HEAD + b"Host: y\r\n\r\n", {400}),
        (HEAD + b"bad header\r\n\r\n", {400}),
        (HEAD + b"a : 1\r\n\r\n", {400}),
        (HEAD + b"a: 1\r\n folded\r\n\r\n", {400}),
        (HEAD + b"a: \x00\r\n\r\n", {400}),
        (b"GET / HTTP/1.1\nHost: x\n\n", {400}),
        # Two readers of these could see different requests in them.
        (b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", {400}),
        (b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
        (b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello", {400}),
        (b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello", {400}),
        (b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", {400}),
        (b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", {400}),
        (b"PUT /b/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", {400, 501}),
        (b"PUT /b/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", {400, 501}),
        (b"PUT /b/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
        (b"PUT /b/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", {400}),
        (b"PUT /b/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n\r\n", {400, 403}),
    ],
)
def test_a_malformed_message_is_refused_once_and_ends_the_connection(client, message, status):
    # What follows must never be taken for a request of its own.
    received = wire.raw(client.port, message + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", timeout=10)
    found = wire.statuses(received)
    assert len(found) == 1 and found[0] in status, received


def test_an_xml_document_is_bounded_and_checked(client, bucket):
    def delete(document):
        headers = {"content-md5": wire.md5_base64(document)}
        return client.request("POST", f"/{bucket}", [("delete", "")], document, headers)
    assert delete(b"<Delete><Object><Key>a</Key></Object></Delete>").status == 200
    many = b"".join(b"<Object><Key>%d</Key></Object>" % n for n in range(1001))
    bomb = b'<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><Delete><Object><Key>&b;</Key></Object></Delete>'
    for bad in (b"", b"x", b"<Delete>", b"<Delete></Delete>", b"<Delete>" + many + b"</Delete>", bomb, b"<a>" * 1000, b"\xff\xfe<\0"):
        answer = delete(bad)
        assert answer.status == 400, (bad[:50], answer)
    large = delete(b"<Delete>" + b"<Object><Key>a</Key></Object>" * 100_000 + b"</Delete>")
    assert large.status in (400, 413)


def test_a_slow_or_silent_peer_does_not_hold_others_up(client, key):
    idle = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(200)]
    for n, connection in enumerate(idle):
        connection.sendall([b"", b"G", HEAD, put_message(client, key, b"", 1000)][n % 4])
    at = time.monotonic()
    for _ in range(20):
        assert client.request("GET", key).body == b"secret"
    assert time.monotonic() - at < 10
    for connection in idle:
        connection.close()


def test_health_is_told_to_everyone_and_metrics_to_nobody(client):
    for path in ("/livez", "/readyz", "/minio/health/live", "/minio/health/ready", "/minio/health/cluster"):
        assert client.send("GET", path, {"host": client.host}).status == 200
    assert client.send("GET", "/metrics", {"host": client.host}).status in (403, 404)

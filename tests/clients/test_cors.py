"""Pages of other origins, as browsers let them: a question without a signature where one is needed, then the request.

The page has presigned URLs; the browser decides by the rules of the Fetch standard what it may send, and what it may read.
"""

import conftest
import pytest
import server as hafiz
import wire

SAFE_METHODS = ("GET", "HEAD", "POST")
SAFE_REQUEST_HEADERS = ("accept", "accept-language", "content-language")
SAFE_RESPONSE_HEADERS = ("cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma")
PAGE = "https://app.page.org"
PAGES = {
    "AllowedOrigins": ["https://*.page.org"],
    "AllowedMethods": ["GET", "PUT", "HEAD"],
    "AllowedHeaders": ["x-amz-meta-*", "content-type", "range"],
    "ExposeHeaders": ["ETag", "x-amz-meta-colour"],
    "MaxAgeSeconds": 60,
}
ANYONE = {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}


class Blocked(Exception):
    """The browser lets the page know nothing more than this."""


class Browser:
    """A page of one origin in a browser without a cache."""

    def __init__(self, port, origin):
        self.client, self.origin, self.questions = wire.Client(port), origin, 0

    def _may(self, answer):
        allowed = answer.headers.get("access-control-allow-origin")
        if allowed not in ("*", self.origin):
            raise Blocked(answer)
        return answer

    def _ask(self, method, target, names):
        self.questions += 1
        headers = {"host": self.client.host, "origin": self.origin, "access-control-request-method": method}
        if names:
            headers["access-control-request-headers"] = ",".join(names)
        answer = self._may(self.client.send("OPTIONS", target, headers))
        methods = answer.headers.get("access-control-allow-methods", "").split(", ")
        allowed = answer.headers.get("access-control-allow-headers", "").lower().split(", ")
        if not 200 <= answer.status < 300 or method not in (*SAFE_METHODS, *methods) or not set(names) <= set(allowed):
            raise Blocked(answer)

    def fetch(self, method, target, headers=None, body=b""):
        headers = {name.lower(): value for name, value in (headers or {}).items()}
        names = sorted(name for name in headers if name not in SAFE_REQUEST_HEADERS)
        if method not in SAFE_METHODS or names:
            self._ask(method, target, names)
        sent = {"host": self.client.host, "origin": self.origin, **headers}
        answer = self._may(self.client.send(method, target, sent, body))
        exposed = answer.headers.get("access-control-expose-headers", "").lower().split(", ")
        answer.headers = {n: v for n, v in answer.headers.items() if n in (*SAFE_RESPONSE_HEADERS, *exposed)}
        return answer


@pytest.fixture
def browser(server):
    made = []

    def open_page(origin=PAGE):
        made.append(Browser(server.port, origin))
        return made[-1]

    yield open_page
    [browser.client.close() for browser in made]


def allow(s3, bucket, *rules):
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": list(rules)})


def url(client, method, bucket, key):
    return client.signer.presigned(method, f"/{bucket}/{key}", client.host)


def test_a_page_uploads_and_reads_back(s3, bucket, client, browser):
    allow(s3, bucket, PAGES)
    page = browser()
    headers = {"Content-Type": "text/plain", "x-amz-meta-colour": "red"}
    # Headers that begin with x-amz- have to be signed.
    put = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k", "Metadata": {"colour": "red"}, "ContentType": "text/plain"})
    stored = page.fetch("PUT", put.removeprefix(f"http://{client.host}"), headers, b"from a page")
    assert (stored.status, page.questions) == (200, 1)
    read = page.fetch("GET", url(client, "GET", bucket, "k"))
    assert (read.status, read.body, page.questions) == (200, b"from a page", 1)
    assert read.headers["etag"] == stored.headers["etag"] and read.headers["x-amz-meta-colour"] == "red"
    assert "x-amz-request-id" not in read.headers
    part = page.fetch("GET", url(client, "GET", bucket, "k"), {"Range": "bytes=0-3"})
    assert (part.status, part.body, page.questions) == (206, b"from", 2)


def test_a_page_may_read_why_it_was_refused(s3, bucket, client, browser):
    allow(s3, bucket, PAGES)
    assert browser().fetch("GET", url(client, "GET", bucket, "missing")).code == "NoSuchKey"
    assert browser().fetch("GET", f"/{bucket}/k").code == "AccessDenied"
    assert browser().fetch("GET", url(client, "GET", bucket, "k") + "0").code == "SignatureDoesNotMatch"


def test_what_no_rule_allows_is_blocked(s3, bucket, client, browser):
    s3.put_object(Bucket=bucket, Key="k", Body=b"kept")
    get, delete = url(client, "GET", bucket, "k"), url(client, "DELETE", bucket, "k")

    def blocked(page, *request):
        with pytest.raises(Blocked) as error:
            page.fetch(*request)
        return error.value.args[0]

    assert blocked(browser(), "DELETE", delete).code == "AccessForbidden"
    blocked(browser(), "GET", get)
    allow(s3, bucket, PAGES)
    assert blocked(browser(), "DELETE", delete).code == "AccessForbidden"
    for origin in ("https://page.org", "http://app.page.org", "https://app.page.org.evil.net", "null"):
        blocked(browser(origin), "GET", get)
        assert blocked(browser(origin), "PUT", url(client, "PUT", bucket, "k")).code == "AccessForbidden"
    assert blocked(browser(), "GET", get, {"x-tracking": "1"}).code == "AccessForbidden"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"kept"
    allow(s3, bucket, PAGES, ANYONE)
    assert browser("null").fetch("GET", get).body == b"kept"
    s3.delete_bucket_cors(Bucket=bucket)
    blocked(browser("null"), "GET", get)


def test_listings_and_other_buckets_have_rules_of_their_own(s3, bucket, client, browser):
    allow(s3, bucket, PAGES)
    listed = client.signer.presigned("GET", f"/{bucket}", client.host, query=[("list-type", "2")])
    assert browser().fetch("GET", listed).status == 200
    with pytest.raises(Blocked):
        browser().fetch("GET", url(client, "GET", "another-bucket", "k"))


def test_the_answer_to_the_question_says_all_of_it_and_nothing_to_those_who_do_not_ask(s3, bucket, client):
    allow(s3, bucket, PAGES)
    asking = {"host": client.host, "origin": PAGE, "access-control-request-method": "PUT", "access-control-request-headers": "X-Amz-Meta-A, Range"}
    answer = client.send("OPTIONS", f"/{bucket}/k", asking)
    assert (answer.status, answer.body) == (200, b"")
    expect = {
        "access-control-allow-origin": PAGE,
        "access-control-allow-methods": "GET, PUT, HEAD",
        "access-control-allow-headers": "x-amz-meta-a, range",
        "access-control-expose-headers": "ETag, x-amz-meta-colour",
        "access-control-max-age": "60",
        "access-control-allow-credentials": "true",
        "vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
    }
    assert expect.items() <= answer.headers.items()
    for without, code in [("origin", "BadRequest"), ("access-control-request-method", "BadRequest")]:
        answer = client.send("OPTIONS", f"/{bucket}/k", {n: v for n, v in asking.items() if n != without})
        assert (answer.status, answer.code) == (400, code), without
    plain = client.request("GET", f"/{bucket}/k")
    assert not [name for name in plain.headers if name == "vary" or name.startswith("access-control")]


def test_rules_are_there_after_a_restart():
    with hafiz.Deployment(drives=4) as running:
        s3 = conftest.sdk(running)
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="k", Body=b"kept")
        allow(s3, "kept", PAGES)
        running.kill()
        running.start()
        page = Browser(running.port, PAGE)
        assert page.fetch("GET", url(page.client, "GET", "kept", "k")).body == b"kept"
        page.client.close()

"""S3 by hand: Signature V4 and single HTTP/1.1 messages over a socket, so that each part can be made wrong on purpose.

Independent of any SDK; the kill rounds use it too, since it costs a fraction of an SDK's time.
"""

import base64
import hashlib
import hmac
import http.client
import socket
import time
import urllib.parse
from datetime import datetime, timezone

import server as hafiz

EMPTY = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
ALGORITHM = "AWS4-HMAC-SHA256"


def quote(text, safe="-_.~"):
    return urllib.parse.quote(text, safe=safe)


def now():
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Signer:
    """The keys of one user."""

    def __init__(self, user=hafiz.USER, password=hafiz.PASSWORD, region=hafiz.REGION, service="s3"):
        self.user, self.password, self.region, self.service = user, password, region, service
        self._keys = {}

    def scope(self, date):
        return f"{date[:8]}/{self.region}/{self.service}/aws4_request"

    def key(self, date):
        day = date[:8]
        if day not in self._keys:
            key = mac(("AWS4" + self.password).encode(), day)
            for part in (self.region, self.service, "aws4_request"):
                key = mac(key, part)
            self._keys[day] = key
        return self._keys[day]

    def canonical_query(self, query):
        return "&".join(sorted(f"{quote(k)}={quote(v)}" for k, v in query))

    def signature(self, method, path, query, headers, signed, payload, date):
        """`path` is encoded already. `headers`: dictionary with lower-case names. Returns 64 hexadecimal digits."""
        lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in signed)
        request = "\n".join([method, path, self.canonical_query(query), lines, ";".join(signed), payload])
        text = "\n".join([ALGORITHM, date, self.scope(date), sha256(request.encode())])
        return mac(self.key(date), text).hex()

    def headers(self, method, path, query, host, headers=None, payload=EMPTY, date=None):
        """All headers of a signed request, lower-case."""
        date = date or now()
        headers = {k.lower(): v for k, v in (headers or {}).items()}
        headers.update({"host": host, "x-amz-date": date, "x-amz-content-sha256": payload})
        signed = sorted(name for name in headers if name not in ("content-length", "expect", "transfer-encoding"))
        signature = self.signature(method, path, query, headers, signed, payload, date)
        headers["authorization"] = (
            f"{ALGORITHM} Credential={self.user}/{self.scope(date)}, SignedHeaders={';'.join(signed)}, Signature={signature}"
        )
        return headers

    def presigned(self, method, path, host, expires=300, date=None, query=()):
        """The path with its signed query."""
        date = date or now()
        query = [
            *query,
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", f"{self.user}/{self.scope(date)}"),
            ("X-Amz-Date", date),
            ("X-Amz-Expires", str(expires)),
            ("X-Amz-SignedHeaders", "host"),
        ]
        signature = self.signature(method, path, query, {"host": host}, ["host"], UNSIGNED, date)
        return f"{path}?{self.canonical_query(query)}&X-Amz-Signature={signature}"

    def chunks(self, pieces, seed, date, trailer=None):
        """The body of a signed stream, last chunk and trailer included. `seed`: the signature of the head."""
        previous, out = seed, []
        for piece in [*pieces, b""]:
            text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", date, self.scope(date), previous, EMPTY, sha256(piece)])
            previous = mac(self.key(date), text).hex()
            end = b"" if trailer is not None and not piece else b"\r\n"
            out.append(f"{len(piece):x};chunk-signature={previous}\r\n".encode() + piece + end)
        if trailer is not None:
            name, value = trailer
            text = "\n".join(["AWS4-HMAC-SHA256-TRAILER", date, self.scope(date), previous, sha256(f"{name}:{value}\n".encode())])
            out.append(f"{name}:{value}\r\nx-amz-trailer-signature:{mac(self.key(date), text).hex()}\r\n\r\n".encode())
        return b"".join(out)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def code(self):
        """S3's name of the error, or None."""
        start, end = self.body.find(b"<Code>"), self.body.find(b"</Code>")
        return self.body[start + 6 : end].decode() if 0 <= start < end else None

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:500]!r}"


class Client:
    """One connection that is kept, and made again when the server closed it."""

    def __init__(self, port, signer=None, timeout=60):
        self.port, self.signer, self.timeout = port, signer or Signer(), timeout
        self.host = f"127.0.0.1:{port}"
        self.connection = None

    def request(self, method, path, query=(), body=b"", headers=None, payload=None):
        """One signed request. `path` is not encoded yet. Never repeats anything."""
        path = quote(path, safe="/-_.~")
        query = list(query)
        payload = payload or sha256(body)
        headers = self.signer.headers(method, path, query, self.host, headers, payload)
        target = path + ("?" + self.signer.canonical_query(query) if query else "")
        return self.send(method, target, headers, body)

    def send(self, method, target, headers, body=b""):
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        try:
            self.connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                self.connection.putheader(name, value)
            if "content-length" not in headers and (body or method in ("PUT", "POST")):
                self.connection.putheader("content-length", str(len(body)))
            try:
                self.connection.endheaders(body or None)
            except (BrokenPipeError, ConnectionResetError):
                # Refused before all of it was sent: the answer may still be there, unless it was the connection that failed.
                if self.connection.sock is None:
                    raise
            response = self.connection.getresponse()
            answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
            if response.will_close:
                self.close()
            return answer
        except BaseException:
            self.close()
            raise

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def raw(port, message, timeout=20, half_close=False):
    """Sends bytes as they are; returns all that comes back until the server closes, or falls silent for `timeout`."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        try:
            connection.sendall(message)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of it was sent: the answer may still be there
        received = b""
        while True:
            try:
                piece = connection.recv(65536)
            except (ConnectionResetError, TimeoutError):
                break
            if not piece:
                break
            received += piece
        return received


def statuses(received):
    """The status codes of all answers in what came back."""
    return [int(line[9:12]) for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def md5_base64(data):
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def wait_until(condition, seconds=30, what="the condition"):
    """Polls a condition that another process brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about within {seconds} s"
        time.sleep(0.02)

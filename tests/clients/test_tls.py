"""TLS as who runs the server sees it: a certificate for each name, new ones without a restart, broken ones without harm."""

import http.client
import os
import socket
import ssl
import subprocess
import time

import boto3
import botocore.config
import pytest
import server as hafiz

# The server looks at the files every few seconds.
NOTICED_SECONDS_MAX = 60


class Certificates:
    """A directory as `tls-dir` takes it."""

    def __init__(self, place):
        self.served, self.made = place / "served", place / "made"
        self.served.mkdir()
        self.made.mkdir()

    def renew(self, stem, name):
        """Makes a certificate for `name` and puts it in place; returns it as PEM. Certificate and key are two files, so that
        the server may see a pair that does not belong together in between."""
        files = [self.made / f"{stem}.{kind}" for kind in ("crt", "key")]
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=critical,CA:FALSE"]
        subprocess.run([*command, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
        pem = files[0].read_text()
        for file in files:
            os.replace(file, self.served / file.name)
        return pem


@pytest.fixture
def certificates(tmp_path):
    return Certificates(tmp_path)


def serve(certificates):
    return hafiz.Deployment(drives=1, variables={"HAFIZ_TLS_DIR": str(certificates.served)})


class Connection:
    """A connection that takes whatever certificate it is shown."""

    def __init__(self, server, name):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        self.socket = context.wrap_socket(plain, server_hostname=name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    @property
    def pem(self):
        return ssl.DER_cert_to_PEM_cert(self.socket.getpeercert(binary_form=True))

    def is_served(self):
        """Whether a request on this connection is answered."""
        http_over = http.client.HTTPConnection("any")
        http_over.sock = self.socket
        http_over.request("GET", "/livez")
        answer = http_over.getresponse()
        answer.read()
        return answer.status == 200


def shown(server, name):
    with Connection(server, name) as connection:
        return connection.pem


def same(one, other):
    return one.split() == other.split()


def wait_until(holds, what):
    deadline = time.monotonic() + NOTICED_SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {NOTICED_SECONDS_MAX} s"
        time.sleep(0.1)


def test_each_name_has_its_certificate_and_strangers_get_the_first(certificates):
    first, second = certificates.renew("1", "one.test"), certificates.renew("2", "two.test")
    with serve(certificates) as server:
        for name, expect in [("one.test", first), ("two.test", second), ("three.test", first), (None, first)]:
            assert same(shown(server, name), expect), name


def test_renewed_certificates_are_used_without_a_restart_and_broken_ones_are_not(certificates):
    first, second = certificates.renew("1", "one.test"), certificates.renew("2", "two.test")
    with serve(certificates) as server, Connection(server, "two.test") as old:
        assert same(old.pem, second)
        renewed = certificates.renew("2", "two.test")
        # Who came before all of it goes on.
        shows = lambda name, pem: old.is_served() and same(shown(server, name), pem)
        wait_until(lambda: shows("two.test", renewed), "the renewed certificate is shown")
        assert same(shown(server, "one.test"), first)

        third = certificates.renew("3", "three.test")
        wait_until(lambda: shows("three.test", third), "a certificate that was added is shown")

        complaints = lambda: sum("cannot be used" in line for line in server.output)
        before = complaints()
        os.replace(certificates.served / "3.key", certificates.served / "2.key")
        wait_until(lambda: old.is_served() and complaints() > before, "the server complains")
        assert same(shown(server, "two.test"), renewed)


def test_an_sdk_that_checks_certificates_is_served(certificates, tmp_path):
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(certificates.renew("1", "localhost"))
    with serve(certificates) as server:
        s3 = boto3.client(
            "s3",
            endpoint_url=f"https://localhost:{server.port}",
            aws_access_key_id=hafiz.USER,
            aws_secret_access_key=hafiz.PASSWORD,
            region_name=hafiz.REGION,
            verify=str(bundle),
            config=botocore.config.Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )
        s3.create_bucket(Bucket="secure")
        s3.put_object(Bucket="secure", Key="k", Body=b"x" * 100_000)
        assert s3.get_object(Bucket="secure", Key="k")["Body"].read() == b"x" * 100_000

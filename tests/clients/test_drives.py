"""Drives come and go while the server runs, by the command line that operators use; nothing is lost meanwhile."""

import json
import os
import random
import shutil
import subprocess
import time

import pytest
import server as hafiz
import wire
from test_full import small_file_systems

SIZES = [0, 5_000, 32_769, 300_000, 3_000_000]
HEAL_SECONDS_MAX = 120


def body_of(name, size):
    return random.Random(name).randbytes(size)


def run(deployment, *words, user=True, code=0):
    """`hafiz WORDS` against the deployment; what it printed. `code=None`: the exit code says nothing of what is asked."""
    keys = {"HAFIZ_ROOT_USER": hafiz.USER, "HAFIZ_ROOT_PASSWORD": hafiz.PASSWORD} if user else {}
    command = [str(hafiz.BINARY), *map(str, words), "--endpoint", deployment.endpoint]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=hafiz.environment(**keys))
    assert code in (None, done.returncode), (words, done.returncode, done.stdout, done.stderr)
    return done.stdout if code in (0, None) else done.stdout + done.stderr


def drives(deployment):
    """Drives by directory; of two in one directory the one that is in."""
    listed = json.loads(run(deployment, "drive", "list", "--json"))["drives"]
    return {drive["dir"]: drive for drive in sorted(listed, key=lambda drive: drive["state"] == "in")}


class Kept:
    """Objects that must stay readable."""

    def __init__(self, deployment):
        self.deployment, self.sizes = deployment, {}
        assert self.ask("PUT", "/kept").status == 200

    def ask(self, *request, **more):
        client = wire.Client(self.deployment.port)
        try:
            return client.request(*request, **more)
        finally:
            client.close()

    def put(self, label):
        for size in SIZES:
            key = f"/kept/{label}-{size}"
            answer = self.ask("PUT", key, body=body_of(key, size))
            assert answer.status == 200, (key, answer)
            self.sizes[key] = size

    def check(self):
        for key, size in self.sizes.items():
            answer = self.ask("GET", key)
            assert (answer.status, answer.body == body_of(key, size)) == (200, True), (key, answer)


# Small files, so that new volumes are needed soon; no cache, so that reads reach the drives. All drives share a device here, and
# a busy machine keeps some waiting for long: that is not what these tests are about.
FLAGS = ["--log-slot", "8MiB", "--data-slot", "8MiB", "--cache", "0", "--suspect-after", "60s"]


@pytest.fixture
def deployment():
    with hafiz.Deployment(drives=6, flags=FLAGS) as running:
        yield running


def new_dir(deployment, name="drive7"):
    return deployment.place / name


def wait_whole(deployment):
    run(deployment, "heal", "status", "--wait")


def test_the_list_shows_every_drive(deployment):
    text = run(deployment, "drive", "list")
    lines = text.splitlines()
    assert lines[0].split() == [
        "DRIVE", "STATE", "SIZE", "FREE", "USED", "TARGET", "SLOTS", "LOST", "ERRORS", "HEALTH",
        "DIRECTORY",
    ]  # fmt: skip
    assert [line.split()[-1] for line in lines[1:]] == [str(d) for d in deployment.dirs]
    assert all(line.split()[1] == "in" for line in lines[1:])
    # What lies beneath is up to the machine; nothing may be made up, and nobody is asked who is not there.
    rows = json.loads(run(deployment, "drive", "list", "--json"))["drives"]
    known = {"ok", "warns", "failing", "none", "forbidden", "absent", "silent", "resetting", "refused"}
    assert {row["health"] for row in rows} <= known
    assert all((row["health"] == "none") == (row["smart"] == []) for row in rows if row["health"] != "silent")


def test_a_seventh_drive_is_used_and_named_at_the_next_start(deployment):
    kept = Kept(deployment)
    kept.put("before")
    run(deployment, "drive", "add", new_dir(deployment))
    kept.put("after")
    # Volumes of before are full at some time; then the new drive has its share.
    for n in range(30):
        kept.put(f"more{n}")
    assert drives(deployment)[str(new_dir(deployment))]["slots"] > 0
    kept.check()
    assert deployment.stop() == 0
    deployment.dirs.append(new_dir(deployment))
    deployment.start()
    assert "was not named" not in "".join(deployment.output)
    kept.check()
    kept.put("again")
    assert [d["state"] for d in drives(deployment).values()] == ["in"] * 7
    assert "verdict" in run(deployment, "verify")


def test_a_directory_that_is_forgotten_at_the_start_is_found_where_it_was(deployment):
    kept = Kept(deployment)
    run(deployment, "drive", "add", new_dir(deployment))
    kept.put("on seven")
    deployment.kill()
    deployment.start()
    output = "".join(deployment.output)
    assert "was not named" in output and str(new_dir(deployment)) in output
    kept.check()
    assert [d["state"] for d in drives(deployment).values()] == ["in"] * 7


def test_a_drive_taken_out_costs_nothing_and_what_it_held_is_rebuilt(deployment):
    kept = Kept(deployment)
    kept.put("before")
    run(deployment, "drive", "add", new_dir(deployment))
    run(deployment, "drive", "out", deployment.dirs[2])
    kept.check()
    kept.put("after")
    shutil.rmtree(deployment.dirs[2])
    kept.check()
    deployment.stop()
    deployment.dirs[2] = new_dir(deployment)
    deployment.start()
    kept.check()
    wait_whole(deployment)
    # Two others may go now.
    for n in (0, 5):
        shutil.rmtree(deployment.dirs[n])
    kept.check()


def test_a_drive_is_replaced_in_its_own_place(deployment):
    kept = Kept(deployment)
    kept.put("before")
    old = drives(deployment)[str(deployment.dirs[4])]["id"]
    # The disk is broken and another one is mounted in its place.
    shutil.rmtree(deployment.dirs[4])
    deployment.kill()
    deployment.start()
    assert drives(deployment)[str(deployment.dirs[4])]["state"] != "in"
    run(deployment, "drive", "add", deployment.dirs[4])
    kept.check()
    kept.put("after")
    now = drives(deployment)[str(deployment.dirs[4])]
    assert (now["state"], now["id"] != old) == ("in", True)
    deployment.stop()
    deployment.start()
    kept.check()
    wait_whole(deployment)
    run(deployment, "verify")


def test_a_drive_is_replaced_by_another_directory(deployment):
    kept = Kept(deployment)
    kept.put("before")
    run(deployment, "drive", "replace", deployment.dirs[1], new_dir(deployment))
    kept.check()
    kept.put("after")
    deployment.stop()
    deployment.dirs[1] = new_dir(deployment)
    deployment.start()
    kept.check()
    wait_whole(deployment)


def test_a_drained_drive_leaves_when_it_is_empty(deployment):
    kept = Kept(deployment)
    kept.put("before")
    run(deployment, "drive", "add", new_dir(deployment))
    # What is open moves when it is full; a restart closes everything.
    deployment.stop()
    deployment.dirs.append(new_dir(deployment))
    deployment.start()
    leaving = str(deployment.dirs[0])
    id = drives(deployment)[leaving]["id"]
    run(deployment, "drive", "drain", id[:8])
    for n in range(6):
        kept.put(f"during{n}")
    deadline = time.monotonic() + HEAL_SECONDS_MAX
    while leaving in drives(deployment) and drives(deployment)[leaving]["state"] == "draining":
        assert time.monotonic() < deadline, run(deployment, "drive", "list")
        kept.put("meanwhile")
    kept.check()
    shutil.rmtree(deployment.dirs[0])
    kept.check()
    run(deployment, "verify")


def test_a_drain_goes_on_after_a_kill_and_a_start(deployment):
    kept = Kept(deployment)
    kept.put("before")
    run(deployment, "drive", "add", new_dir(deployment))
    deployment.dirs.append(new_dir(deployment))
    leaving = str(deployment.dirs[3])
    run(deployment, "drive", "drain", leaving)
    deployment.kill()
    deployment.start()
    # Nobody asks again.
    wire.wait_until(lambda: leaving not in drives(deployment), HEAL_SECONDS_MAX, "the end of the drain")
    kept.check()
    shutil.rmtree(leaving)
    kept.check()
    run(deployment, "verify")
    # What was stopped stays stopped.
    staying = str(deployment.dirs[4])
    run(deployment, "drive", "drain", staying)
    run(deployment, "drive", "undrain", staying)
    deployment.kill()
    deployment.start()
    assert drives(deployment)[staying]["state"] == "in"


def test_a_copy_in_the_place_of_a_drive_is_known_to_be_behind(deployment):
    kept = Kept(deployment)
    kept.put("before")
    original, copy = deployment.dirs[2], deployment.place / "copy"
    # As an image of a drive in use: what is open in it is not consistent, and need not be.
    shutil.copytree(original, copy)
    kept.put("after")
    deployment.kill()
    shutil.rmtree(original)
    deployment.dirs[2] = copy
    deployment.start()
    assert "lacks what it had acknowledged" in "".join(deployment.output)
    kept.check()
    wait_whole(deployment)
    run(deployment, "verify")
    for n in (0, 5):
        shutil.rmtree(deployment.dirs[n])
    kept.check()


def test_slots_are_evened_out_onto_a_drive_that_was_added():
    with small_file_systems(7, 256) as dirs:
        flags = [*FLAGS, "--partitions", "8"]
        server = hafiz.Server(dirs[:6], flags, variables={"HAFIZ_MEMORY": "256MiB", "HAFIZ_BUFFERS": "40MiB"})
        server.start()
        try:
            kept = Kept(server)
            assert "nothing to do" in run(server, "drive", "rebalance", code=1)
            for n in range(60):
                kept.put(f"old{n}")
            run(server, "drive", "add", dirs[6])
            server.dirs.append(dirs[6])
            used = lambda: [drive["used_bytes"] for drive in drives(server).values()]
            before = used()
            run(server, "drive", "rebalance", "--pace", "1")
            # Not whole as long as copies of tables are made on the new drive.
            assert json.loads(run(server, "heal", "status", "--json", code=None))["rebalancing"]
            assert all(drive["target_bytes"] for drive in drives(server).values())
            # It goes on after a start, and at another pace.
            server.kill()
            server.start()
            # Not whole as long as copies of tables are made on the new drive.
            assert json.loads(run(server, "heal", "status", "--json", code=None))["rebalancing"]
            text = run(server, "drive", "rebalance", "--wait")
            assert "as even as it goes" in text
            after = used()
            assert max(after) - min(after) < (max(before) - min(before)) // 2, (before, after)
            kept.check()
            run(server, "verify")
            run(server, "drive", "rebalance", "stop")
        finally:
            server.kill()


def test_the_commands_speak_tls(tmp_path):
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=store.test"]
    names = ["-addext", "subjectAltName=DNS:localhost"]
    for name in ("server", "other"):
        files = ["-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.crt"]
        subprocess.run([*make, *names, *files], check=True, capture_output=True)
    cert, key = tmp_path / "server.crt", tmp_path / "server.key"
    with hafiz.Deployment(drives=2, flags=["--tls-cert", cert, "--tls-key", key]) as deployment:
        def ask(*words, endpoint, code=0, **settings):
            keys = {"HAFIZ_ROOT_USER": hafiz.USER, "HAFIZ_ROOT_PASSWORD": hafiz.PASSWORD, **settings}
            command = [str(hafiz.BINARY), *map(str, words), "--endpoint", endpoint]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=hafiz.environment(**keys))
            assert done.returncode == code, (words, done)
            return done.stdout + done.stderr

        address, name = f"https://127.0.0.1:{deployment.port}", f"https://localhost:{deployment.port}"
        own = {"HAFIZ_TLS_CERT": cert, "HAFIZ_TLS_KEY": key}
        # With the server's settings its own certificate is believed, whatever name it is asked by.
        assert ask("drive", "list", endpoint=address, **own).count("\n") == 3
        assert ask("drive", "list", endpoint=address, HAFIZ_TLS_DIR=tmp_path).count("\n") == 3
        config = tmp_path / "hafiz.toml"
        config.write_text(f'tls-cert = "{cert}"\ntls-key = "{key}"\n')
        assert ask("heal", "status", "--config", config, endpoint=address).startswith("state")
        for endpoint in (address, name):
            assert "everything is there" in ask("verify", "--ca", cert, endpoint=endpoint)
        # Nobody else's is, and a port with TLS does not answer without.
        assert "certificate" in ask("drive", "list", endpoint=address, code=1)
        assert "certificate" in ask("drive", "list", "--ca", tmp_path / "other.crt", endpoint=address, code=1)
        assert "no certificate" in ask("drive", "list", "--ca", config, endpoint=address, code=1)
        ask("drive", "list", endpoint=f"http://127.0.0.1:{deployment.port}", code=1)
        # One that an authority signed is believed by the name it is for.
        deployment.stop()
        openssl = lambda *words: subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
        (tmp_path / "names").write_text("subjectAltName=DNS:localhost\n")
        request = tmp_path / "server.csr"
        openssl("req", "-new", "-key", key, "-subj", "/CN=localhost", "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", tmp_path / "other.crt", "-CAkey", tmp_path / "other.key",
                "-days", "2", "-extfile", tmp_path / "names", "-out", cert)  # fmt: skip
        deployment.start()
        address, name = f"https://127.0.0.1:{deployment.port}", f"https://localhost:{deployment.port}"
        assert "state" in ask("heal", "status", "--ca", tmp_path / "other.crt", endpoint=name)
        assert "certificate" in ask("heal", "status", "--ca", tmp_path / "other.crt", endpoint=address, code=1)


def test_each_refusal_says_what_to_do(deployment):
    kept = Kept(deployment)
    kept.put("before")
    place = deployment.place
    refused = lambda *words: run(deployment, *words, code=1)
    assert "a drive of this server already" in refused("drive", "add", deployment.dirs[0])
    (place / "photos").mkdir()
    (place / "photos" / "cat.jpg").write_bytes(b"cat")
    assert "holds 'cat.jpg'" in refused("drive", "add", place / "photos")
    shutil.copytree(deployment.dirs[1], place / "copy")
    assert "it is a copy" in refused("drive", "add", place / "copy")
    with hafiz.Deployment(drives=1) as other:
        other.stop()
        assert "belongs to deployment" in refused("drive", "add", other.dirs[0])
    assert "there is no drive" in refused("drive", "out", "ffff")
    assert "there is no such drive" in refused("drive", "out", "f" * 32)
    for n in (0, 1):
        run(deployment, "drive", "out", deployment.dirs[n])
    assert "data would be lost" in refused("drive", "out", deployment.dirs[2])
    assert "empty the directory" in refused("drive", "add", deployment.dirs[0])
    kept.check()
    # What was taken out may be listed, and is not used.
    deployment.stop()
    deployment.start()
    assert "was taken out earlier" in "".join(deployment.output)
    kept.check()
    # Emptied, it is a drive like any other.
    shutil.rmtree(deployment.dirs[0])
    run(deployment, "drive", "add", deployment.dirs[0])
    # More directories than drives are a mistake.
    deployment.stop()
    deployment.dirs += [place / "x", place / "y"]
    with pytest.raises(hafiz.Refused) as error:
        deployment.start()
    assert "hafiz drive add" in error.value.output


def test_only_root_asks(deployment):
    client = wire.Client(deployment.port)
    assert client.request("GET", "/-/admin/v1/drives").status == 200
    assert client.request("GET", "/-/admin/v1/nothing").status == 404
    assert client.request("POST", "/-/admin/v1/drives/add").status == 400
    assert client.request("POST", "/-/admin/v1/drives/add", [("dir", "relative")]).status == 400
    client.close()
    assert "Message" not in run(deployment, "drive", "list", "--json")
    wrong = {"HAFIZ_ROOT_USER": hafiz.USER, "HAFIZ_ROOT_PASSWORD": "another-password"}
    command = [str(hafiz.BINARY), "drive", "list", "--endpoint", deployment.endpoint]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=hafiz.environment(**wrong))
    assert (done.returncode, "signature" in done.stderr) == (1, True), done
    assert "no root credentials" in run(deployment, "drive", "list", user=False, code=1)


def test_the_kept_credentials_are_found_beside_a_drive():
    variables = {"HAFIZ_ROOT_USER": "", "HAFIZ_ROOT_PASSWORD": ""}
    place = hafiz.Deployment(drives=2)
    for name in variables:
        del place.variables[name]
    with place as deployment:
        text = run(deployment, "drive", "list", "--dir", deployment.dirs[1], user=False)
        assert text.count("\n") == 3
        found = json.loads(run(deployment, "verify", "--json", "--dir", deployment.dirs[0], user=False))
        assert (found["state"], found["whole"], found["objects_lost"]) == ("done", True, 0)


def test_verify_tells_short_from_lost(deployment):
    kept = Kept(deployment)
    kept.put("before")
    deployment.stop()
    deployment.start()
    run(deployment, "verify")

    def rot(n):
        for path in (deployment.dirs[n] / "volumes").iterdir():
            with open(path, "r+b") as file:
                size = os.fstat(file.fileno()).st_size
                for at in range(4096, size - 64, 65536):
                    file.seek(at)
                    file.write(random.Random(at).randbytes(64))

    rot(0)
    text = run(deployment, "verify", code=1)
    assert "everything can be read" in text
    rot(1)
    rot(2)
    text = run(deployment, "verify", code=2)
    assert "something is lost" in text and "kept/before-" in text

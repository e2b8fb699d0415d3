"""What a start refuses: it says why and what to do, changes nothing, and has the exit code of its kind."""

import os
import shutil
import socket
import subprocess

import awscrt.checksums
import pytest
import server as hafiz
import wire

REFUSED, USAGE = 1, 2


def start_refused(running, *words, code=REFUSED):
    """Starts, and expects to be refused with these words."""
    with pytest.raises(hafiz.Refused) as error:
        running.start()
    assert error.value.code == code, error.value
    for word in words:
        assert word in error.value.output, error.value
    assert "panicked" not in error.value.output
    return error.value.output


def run(*arguments, **variables):
    return subprocess.run(
        [hafiz.BINARY, *map(str, arguments)], env=hafiz.environment(**variables), capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture
def formed():
    """A stopped deployment of four drives with one object in it."""
    with hafiz.Deployment(drives=4) as deployment:
        client = wire.Client(deployment.port)
        assert client.request("PUT", "/kept").status == 200
        assert client.request("PUT", "/kept/k", body=b"kept").status == 200
        client.close()
        assert deployment.stop() == 0
        yield deployment


def works(deployment):
    """Everything is still there once the cause is gone."""
    deployment.start()
    client = wire.Client(deployment.port)
    assert client.request("GET", "/kept/k").body == b"kept"
    client.close()
    deployment.stop()


def test_a_port_in_use(formed):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        formed.command = lambda: [str(hafiz.BINARY), "server", *map(str, formed.dirs), "--address", f"127.0.0.1:{port}"]
        start_refused(formed, f"127.0.0.1:{port}", "in use")
    del formed.command
    works(formed)


def test_drives_that_another_process_has(formed):
    formed.start()
    second = hafiz.Server(formed.dirs)
    start_refused(second, "in use by another process")
    client = wire.Client(formed.port)
    assert client.request("GET", "/kept/k").body == b"kept"
    client.close()


def test_a_foreign_drive(formed):
    with hafiz.Deployment(drives=4) as other:
        other.stop()
        mixed = hafiz.Server([*formed.dirs[:3], other.dirs[3]])
        start_refused(mixed, "belongs to deployment", str(other.dirs[3]))
    works(formed)


def test_a_folder_that_holds_something_else(formed, tmp_path):
    (tmp_path / "letters").write_text("not a drive")
    start_refused(hafiz.Server([tmp_path]), "letters", "empty directory")
    assert (tmp_path / "letters").read_text() == "not a drive"
    assert os.listdir(tmp_path) == ["letters"]


def test_a_drive_of_a_newer_release(formed):
    for n in range(4):
        path = formed.dirs[n] / "hafiz.drive"
        (formed.place / f"saved{n}").write_bytes(path.read_bytes())
        path.write_bytes(newer(path.read_bytes()))
    start_refused(formed, "later release")
    for n in range(4):
        shutil.copyfile(formed.place / f"saved{n}", formed.dirs[n] / "hafiz.drive")
    works(formed)


def newer(data):
    """Both copies of a drive's identity with the version raised and the checksum made right again.

    The envelope of docs/format.md: magic (8 bytes), version (2), reserved (2), length (4), CRC32C of the rest (4).
    """
    out = b""
    for copy in (data[:4096], data[4096:8192]):
        if any(copy):
            start = copy[:8] + (0x7FFF).to_bytes(2, "little") + copy[10:16]
            length = int.from_bytes(copy[12:16], "little")
            crc = awscrt.checksums.crc32c(copy[20:length], awscrt.checksums.crc32c(start))
            copy = start + crc.to_bytes(4, "little") + copy[20:]
        out += copy
    return out


def test_a_cloned_drive(formed):
    shutil.rmtree(formed.dirs[2])
    shutil.copytree(formed.dirs[1], formed.dirs[2])
    start_refused(formed, "same drive identity", str(formed.dirs[1]), str(formed.dirs[2]))
    shutil.rmtree(formed.dirs[2])
    works(formed)


def test_too_many_directories(formed):
    start_refused(hafiz.Server([*formed.dirs, formed.place / "drive5"]), "5 directories", "4 drives")
    works(formed)


def test_too_few_directories(formed):
    """The drive that is not named is not where it was last either: else it would be used, with a warning."""
    away = formed.place / "elsewhere"
    formed.dirs[3].rename(away)
    start_refused(hafiz.Server(formed.dirs[:3]), "3 directories", "4 drives")
    away.rename(formed.dirs[3])
    works(formed)


def test_the_same_drive_twice(formed):
    start_refused(hafiz.Server([*formed.dirs[:3], formed.dirs[2]]))
    works(formed)


def test_too_many_missing_drives(formed):
    moved = [(formed.dirs[n], formed.place / f"away{n}") for n in (1, 3)]
    for here, away in moved:
        here.rename(away)
    start_refused(formed, "2 of 4 drives are missing", "--accept-missing")
    for here, away in moved:
        away.rename(here)
    works(formed)


def test_another_parity_than_the_deployments(formed):
    start_refused(hafiz.Server(formed.dirs, flags=["--parity", "1"]), "parity 1", "formed with 2")
    works(formed)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], ["hafiz"]),
        (["server"], ["no directory"]),
        (["serve", "d"], ["server"]),
        (["server", "d", "--adress", ":1"], ["--adress", "--address"]),
        (["server", "d", "--address", "nonsense"], ["address"]),
        (["server", "d", "--address"], ["--address"]),
        (["server", "d", "--memory", "lots"], ["memory"]),
        (["server", "d", "--parity", "9"], ["parity"]),
    ],
)
def test_a_command_line_that_makes_no_sense(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    if not arguments:
        assert "hafiz server" in done.stdout + done.stderr
        return
    assert done.returncode == USAGE, done
    assert all(word in done.stderr for word in words), done
    assert os.listdir(tmp_path) == []


def test_an_unknown_key_names_its_nearest_match(tmp_path):
    config = tmp_path / "hafiz.toml"
    for text, words in [
        ('adress = ":9000"', ["adress", "address"]),
        ("address = 5", ["address"]),
        ("memory = \"many\"", ["memory"]),
        ("= broken", ["hafiz.toml"]),
    ]:
        config.write_text(text)
        done = run("server", tmp_path / "d", "--config", config)
        assert done.returncode == USAGE and all(word in done.stderr for word in words), done
    done = run("server", tmp_path / "d", "--config", tmp_path / "missing.toml")
    assert done.returncode == USAGE and "missing.toml" in done.stderr


def test_an_unknown_variable_names_its_nearest_match(tmp_path):
    done = run("server", tmp_path / "d", HAFIZ_ADRESS=":1")
    assert done.returncode == USAGE and "HAFIZ_ADDRESS" in done.stderr, done


@pytest.mark.parametrize("password", ["short", "with spaces in it"])
def test_a_weak_password_is_refused(tmp_path, password):
    done = run("server", tmp_path / "d", "--address", "127.0.0.1:0", HAFIZ_ROOT_USER="root", HAFIZ_ROOT_PASSWORD=password)
    assert done.returncode in (REFUSED, USAGE) and password not in done.stderr, done


def test_settings_come_from_file_and_environment_and_minios_names(tmp_path):
    config = tmp_path / "hafiz.toml"
    config.write_text('address = "127.0.0.1:1"\nregion = "mars-1"\nroot-user = "filed"\nroot-password = "filed-password"\n')
    with hafiz.Deployment(drives=1, flags=["--config", str(config)], variables={"HAFIZ_REGION": "venus-1"}) as running:
        client = wire.Client(running.port, wire.Signer(region="venus-1"))
        assert client.request("PUT", "/first").status == 200
        client.close()
    variables = {"MINIO_ROOT_USER": "minio-user", "MINIO_ROOT_PASSWORD": "minio-password"}
    deployment = hafiz.Deployment(drives=1, variables=variables)
    for name in ("HAFIZ_ROOT_USER", "HAFIZ_ROOT_PASSWORD"):
        del deployment.variables[name]
    with deployment as running:
        client = wire.Client(running.port, wire.Signer("minio-user", "minio-password"))
        assert client.request("PUT", "/first").status == 200
        client.close()


def test_a_made_password_is_kept_beside_the_drives_and_never_printed_to_a_file():
    deployment = hafiz.Deployment(drives=2)
    for name in ("HAFIZ_ROOT_USER", "HAFIZ_ROOT_PASSWORD"):
        del deployment.variables[name]
    with deployment as running:
        files = list(running.place.glob("hafiz-*.credentials"))
        assert len(files) == 1 and files[0].stat().st_mode & 0o777 == 0o600
        kept = dict(line.split(" = ") for line in files[0].read_text().splitlines() if " = " in line)
        secret = kept["aws_secret_access_key"]
        assert len(secret) >= 32 and secret not in "".join(running.output)
        signer = wire.Signer(kept["aws_access_key_id"], secret)
        client = wire.Client(running.port, signer)
        assert client.request("PUT", "/first").status == 200
        client.close()
        running.stop()
        running.start()
        client = wire.Client(running.port, signer)
        assert client.request("HEAD", "/first").status == 200
        client.close()


def test_a_stop_lets_a_request_in_flight_finish(formed):
    formed.start()
    client = wire.Client(formed.port)
    body = b"x" * 100_000
    head = wire.quote("/kept/late", safe="/")
    headers = client.signer.headers("PUT", head, [], client.host, None, wire.UNSIGNED)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", formed.port), timeout=20) as connection:
        connection.sendall(f"PUT {head} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\nexpect: 100-continue\r\n\r\n".encode())
        # Now it is under way.
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body[:50_000])
        formed.process.send_signal(15)
        connection.sendall(body[50_000:])
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert formed.process.wait(30) == 0
    formed._ended()
    formed.start()
    client = wire.Client(formed.port)
    assert client.request("GET", "/kept/late").body == body
    client.close()


def test_doctor_reads_only(formed):
    before = {path: path.stat().st_mtime_ns for path in formed.place.rglob("*")}
    done = run("doctor", *formed.dirs)
    assert done.returncode == 0, done
    assert {path: path.stat().st_mtime_ns for path in formed.place.rglob("*")} == before
    assert run("version").stdout.startswith("hafiz ")

"""The servers that are measured: each on six directories, on a core of its own, with credentials that all share."""

import datetime
import json
import os
import platform
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVER_CORE, CLIENT_CORE = 1, 0
DRIVES = 6
USER, PASSWORD = "perf-user", "perf-password-of-no-worth"
LISTENING = re.compile(r"^listening on https?://(\S+)$")
START_SECONDS_MAX = 120
STOP_SECONDS_MAX = 60


def environment(variables):
    """Ours, but for what is set there for other servers than these: Hafiz refuses variables that it does not know."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HAFIZ_")} | variables


class Hafiz:
    """The built server on six directories, on its core."""

    # How it is reached.
    scheme, authority, flags = "http", None, ()

    def __init__(self, binary, place):
        self.binary, self.place, self.process = binary, place, None
        self.dirs = [place / f"drive{n}" for n in range(1, DRIVES + 1)]

    def start(self):
        """Returns the milliseconds until it listens."""
        variables = {"HAFIZ_ROOT_USER": USER, "HAFIZ_ROOT_PASSWORD": PASSWORD, "HAFIZ_METRICS_OPEN": "true"}
        command = [str(self.binary), "server", *map(str, self.dirs), "--address", "127.0.0.1:0", "--shards", "1", "--pin", str(SERVER_CORE), *self.flags]
        began = time.monotonic()
        self.process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=(self.place / "server.log").open("a"),
            text=True,
            env=environment(variables),
        )
        for line in self.process.stdout:
            if found := LISTENING.match(line.strip()):
                self.endpoint = found[1]
                return 1000 * (time.monotonic() - began)
        raise SystemExit(f"the server did not start: {(self.place / 'server.log').read_text()}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def counters(self, of="hafiz_log_"):
        text = urllib.request.urlopen(f"{self.scheme}://{self.endpoint}/metrics", context=self.trust()).read().decode()
        rows = (line.split() for line in text.splitlines() if line.startswith(of) and "{" not in line)
        return {name: float(value) for name, value in rows}

    def trust(self):
        return ssl.create_default_context(cafile=self.authority) if self.authority else None

    def ask(self, *words):
        """A command of an administrator."""
        command = [str(self.binary), *map(str, words), "--endpoint", f"{self.scheme}://{self.endpoint}"]
        variables = {"HAFIZ_ROOT_USER": USER, "HAFIZ_ROOT_PASSWORD": PASSWORD}
        done = subprocess.run(command, capture_output=True, text=True, env=environment(variables))
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s*(\d+)", status)[1]) / 1024


class OverTls(Hafiz):
    """The same with a certificate of an authority of its own."""

    scheme = "https"

    def __init__(self, binary, place):
        super().__init__(binary, place)
        self.authority, request = place / "authority.pem", place / "request.pem"
        key, certificate, extensions = (place / name for name in ("key.pem", "certificate.pem", "extensions"))
        extensions.write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        for words in (
            ["req", "-x509", *curve, "-keyout", place / "authority.key", "-out", self.authority, "-subj", "/CN=perf"],
            ["req", *curve, "-keyout", key, "-out", request, "-subj", "/CN=localhost"],
            ["x509", "-req", "-in", request, "-CA", self.authority, "-CAkey", place / "authority.key", "-out", certificate]
            + ["-CAcreateserial", "-extfile", extensions],
        ):
            subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
        self.flags = ("--tls-cert", str(certificate), "--tls-key", str(key))


def find(name, places):
    """A program, in the first of these directories that has it."""
    found = shutil.which(name, path=os.pathsep.join(map(str, places)))
    if found is None:
        raise SystemExit(f"{name} is not there: see perf/README.md for how to get it, and --tools")
    return found


class AnotherBuild(Hafiz):
    """Hafiz before a change: the program `hafiz` in one of the directories of --tools."""

    name = "Hafiz, another build"
    durability = "4+2, always durable"

    def __init__(self, place, tools):
        super().__init__(find("hafiz", tools), place)

    def version(self):
        return subprocess.run([self.binary, "version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def free_port():
    """One that was free a moment ago: these servers cannot be asked which one they were given."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Peer:
    """Another store, as its users get it. `place`: where its directories are made."""

    def __init__(self, place, tools):
        self.place, self.tools, self.process = place, tools, None
        self.dirs = [place / f"drive{n}" for n in range(1, DRIVES + 1)]

    def program(self, name):
        return find(name, [*self.tools, *os.environ["PATH"].split(os.pathsep)])

    def run(self, command, **variables):
        for directory in self.dirs:
            directory.mkdir(exist_ok=True)
        log = (self.place / "server.log").open("a")
        self.process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), *map(str, command)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.place, env={**os.environ, **variables},
        )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.name} did not start: {(self.place / 'server.log').read_text()[-2000:]}")
            time.sleep(0.1)

    def answers(self):
        try:
            urllib.request.urlopen(f"http://{self.endpoint}/", timeout=5)
        except urllib.error.HTTPError as error:
            # Refused, since nobody signed: it is there.
            return error.code in (400, 403)
        except OSError:
            return False
        return True

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Minio(Peer):
    name = "MinIO"
    durability = "EC:2 over six directories; its metadata file is synced on each drive"

    def version(self):
        """Of the module: what the program says of itself is set by its own build script."""
        said = subprocess.run(["go", "version", "-m", self.program("minio")], capture_output=True, text=True, check=True).stdout
        found = re.search(r"mod\s+github.com/minio/minio\s+(\S+)", said)
        return f"MinIO {found[1] if found else '?'}"

    def start(self):
        self.endpoint = f"127.0.0.1:{free_port()}"
        # Refuses directories of the root file system otherwise.
        variables = {"MINIO_CI_CD": "1", "MINIO_STORAGE_CLASS_STANDARD": "EC:2", "MINIO_BROWSER": "off"}
        command = [self.program("minio"), "server", "--quiet", "--address", self.endpoint, *self.dirs]
        self.run(command, MINIO_ROOT_USER=USER, MINIO_ROOT_PASSWORD=PASSWORD, **variables)


class Seaweedfs(Peer):
    name = "SeaweedFS"
    durability = "one copy, nothing synced before the answer (its default)"

    def version(self):
        said = subprocess.run([self.program("weed"), "version"], capture_output=True, text=True, check=True).stdout
        return said.splitlines()[0]

    def start(self):
        self.endpoint = f"127.0.0.1:{free_port()}"
        users = {"name": USER, "credentials": [{"accessKey": USER, "secretKey": PASSWORD}], "actions": ["Admin", "Read", "Write", "List"]}
        (self.place / "users.json").write_text(json.dumps({"identities": [users]}))
        (self.place / "filer").mkdir(exist_ok=True)
        command = [self.program("weed"), "server", f"-dir={','.join(map(str, self.dirs))}", "-ip=127.0.0.1", "-s3", "-volume.max=0"]
        command += [f"-s3.config={self.place / 'users.json'}", f"-s3.port={self.endpoint.rpartition(':')[2]}"]
        command += ["-master.volumeSizeLimitMB=256", f"-s3.port.grpc={free_port()}"]
        self.ports = {f"{part}{kind}": free_port() for part in ("master", "volume", "filer") for kind in ("", ".grpc")}
        command += [f"-{part}.port={port}" for part, port in self.ports.items() if "." not in part]
        command += [f"-{part.replace('.', '.port.')}={port}" for part, port in self.ports.items() if "." in part]
        self.run(command)


class SeaweedfsSynced(Seaweedfs):
    name = "SeaweedFS, synced"
    durability = "one copy, synced before the answer (`fs.configure -fsync`)"

    def start(self):
        super().start()
        command = [self.program("weed"), "shell", f"-master=127.0.0.1:{self.ports['master']}.{self.ports['master.grpc']}"]
        command += [f"-filer=127.0.0.1:{self.ports['filer']}.{self.ports['filer.grpc']}"]
        words = "lock\nfs.configure -locationPrefix=/buckets/ -fsync -apply\nunlock\nexit\n"
        done = subprocess.run(command, input=words, capture_output=True, text=True, timeout=START_SECONDS_MAX)
        if not re.search(r'"fsync":\s*true', done.stdout):
            raise SystemExit(f"SeaweedFS was not told to sync: {done.stdout}{done.stderr}")


def load(program, server, words, device=None, keep=True):
    """One run of hafiz-bench: the figures of what it asked for most often. `keep`: nothing that it makes is cleared away."""
    return flat(load_of_kinds(program, server, words, device, keep))


def load_of_kinds(program, server, words, device=None, keep=True):
    """The same: the figures of each kind of request."""
    result = server.place / "result.json"
    command = [
        *("taskset", "-c", str(CLIENT_CORE), str(program), *words.split(), "--threads", "1", "--quiet", *(("--keep",) if keep else ())),
        *("--endpoint", f"{server.scheme}://{server.endpoint}", *(("--ca", str(server.authority)) if server.authority else ())),
        *("--json", str(result), "--pid", str(server.process.pid)),
        *(("--device", device) if device else ()),
    ]
    variables = {"AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": PASSWORD}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return json.loads(result.read_text())["repeats"][0]


def flat(repeat):
    """The figures of what was asked for most often, with what the server used for each request."""
    kind = max(repeat["kinds"].values(), key=lambda kind: kind["done"])
    usage = {name.replace("device_written_", "device_"): value for name, value in repeat["usage"].items()}
    names = {"done": "ops", "failed": "failed", "per_second": "ops_per_s", "mib_per_second": "mib_per_s", "p50_us": "p50_us", "p99_us": "p99_us", "keys_per_second": "keys_per_s"}
    return {"seconds": repeat["seconds"], **{new: kind[old] for old, new in names.items()}, **usage}


def public(arguments):
    """The arguments without what names a place of this machine."""
    kept, skip = [], False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in ("--place", "--binaries", "--tools"):
            skip = True
        else:
            kept.append(argument)
    return kept


def git(*words):
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True).stdout.strip()


def first(path, pattern):
    found = re.search(pattern, Path(path).read_text())
    return found[1] if found else "?"


def machine(command):
    """When, what and on what: the beginning of each result."""
    return {
        "date": datetime.date.today().isoformat(),
        "commit": git("rev-parse", "--short", "HEAD") + ("-changed" if git("status", "--porcelain") else ""),
        "command": " ".join([command, *public(sys.argv[1:])]),
        "cores": os.cpu_count(),
        "processor": first("/proc/cpuinfo", r"model name\s*: (.*)"),
        "memory_gib": int(first("/proc/meminfo", r"MemTotal:\s*(\d+)")) >> 20,
        "kernel": platform.release().split("-")[0],
        "load": f"{os.getloadavg()[0]:.1f}",
    }

"""A server in a machine of its own, whose NVMe drives are the emulated disks: killing the machine is a power cut."""

import json
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import deployment
import disks
import server as hafiz
from deployment import Broken, Deployment

PORT = 9000
MEMORY = "640M"
# A processor without AVX: translated code is slow enough.
PROCESSOR = "Nehalem,+rdrand"
# Translated code starts slowly, and on a busy machine more so: none of these limits says anything of the server.
START_SECONDS_MAX = 600
METRICS_SECONDS_MAX = 120
# However a machine hangs: it is killed then, and what waits for it fails.
LIFE_SECONDS_MAX = 1800
MONITOR_SECONDS_MAX = 120
# Without time for its machine a drive is late by seconds: one that is taken out for it would be missed after the cut.
SUSPECT_AFTER = "60s"
FORWARDED = re.compile(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)")


class Machine(Deployment):
    """`cache`: "back", as it is, or "through", which makes the guest believe that no drive needs a flush."""

    def __init__(self, rng, drives, image, initial):
        super().__init__(rng, len(drives.fs), hafiz.BINARY)
        deployment.START_SECONDS_MAX, deployment.METRICS_SECONDS_MAX = START_SECONDS_MAX, METRICS_SECONDS_MAX
        self.drives, self.image, self.initial = drives, image, initial
        self.dirs = [Path(f"/drive{n}") for n in range(1, len(drives.fs) + 1)]
        self.cache = "back"
        self.timer = None

    def launch(self, rng, accept_missing=False):
        self.boot([*self.words(rng, f"0.0.0.0:{PORT}", accept_missing), "--suspect-after", SUSPECT_AFTER])

    def boot(self, words=(), **settings):
        """`words`: the server's arguments. `settings`: more for the first program."""
        assert self.process is None
        self.starts += 1
        self.log, self.port = self.place / f"server-{self.starts}.log", None
        self.kernel_log = self.place / f"kernel-{self.starts}.log"
        self.monitor = self.place / f"monitor-{self.starts}"
        settings |= {"DRIVES": ",".join(self.drives.fs), "SECTOR": self.drives.sector, "CACHE": self.cache}
        settings |= {"HAFIZ_ROOT_USER": hafiz.USER, "HAFIZ_ROOT_PASSWORD": hafiz.PASSWORD}
        # On a busy machine the kernel finds that its timer does not tick, and gives up, unless it is told not to look.
        line = ["console=ttyS0", "quiet", "panic=-1", "nokaslr", "mitigations=off", "no_timer_check", "random.trust_cpu=1"]
        # Nor do drives hang because their machine had no time for them: the kernel's 30 and 60 seconds would reset them.
        line += [f"nvme_core.io_timeout={START_SECONDS_MAX}", f"nvme_core.admin_timeout={START_SECONDS_MAX}", "rdinit=/init"]
        line += [*(f"{name}={value}" for name, value in settings.items()), "--", *words]
        command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", PROCESSOR, "-smp", "2"]
        command += ["-m", MEMORY, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        command += ["-serial", f"file:{self.kernel_log}", "-serial", f"file:{self.log}"]
        command += ["-qmp", f"unix:{self.monitor},server=on,wait=off"]
        command += ["-kernel", self.image, "-initrd", self.initial, "-append", " ".join(line)]
        # Nothing comes out of the machine, and only its server can be reached, from here.
        command += ["-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:{PORT}"]
        command += ["-device", "virtio-net-pci,netdev=net,romfile="]
        for number, export in enumerate(self.drives.exports(), 1):
            # Writes go to the disk at once, which has the cache; flushes follow when the guest asks for them.
            drive = f"if=none,id=drive{number},format=raw,cache=none,aio=threads,discard=ignore,file.locking=off,file={export}"
            block = f"logical_block_size={self.drives.sector},physical_block_size={self.drives.sector}"
            command += ["-drive", drive, "-device", f"nvme,id=nvme{number},drive=drive{number},serial=drive{number},{block}"]
        self.log.touch()
        with open(self.place / f"machine-{self.starts}.log", "wb") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=hafiz.environment(),
                preexec_fn=disks.die_with_parent,
            )
        self.timer = threading.Timer(LIFE_SECONDS_MAX, self.process.kill)
        self.timer.daemon = True
        self.timer.start()

    def listening(self):
        if not super().listening():
            return False
        self.port = self.forwarded()
        return True

    def forwarded(self):
        """The port of this machine behind which the server listens in the other one."""
        said = self.tell("human-monitor-command", **{"command-line": "info usernet"})
        if found := FORWARDED.search(said):
            return int(found[1])
        raise Broken(f"the machine forwards no port: {said}")

    def tell(self, execute, **arguments):
        """What QEMU's monitor returns."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(MONITOR_SECONDS_MAX)
            connection.connect(str(self.monitor))
            lines = connection.makefile("rw")
            for order in ({"execute": "qmp_capabilities"}, {"execute": execute, "arguments": arguments, "id": execute}):
                lines.write(json.dumps(order) + "\n")
                lines.flush()
            for line in lines:
                answer = json.loads(line)
                if "error" in answer:
                    raise Broken(f"{execute}: {answer['error']}")
                if answer.get("id") == execute:
                    return answer["return"]
        raise Broken(f"{execute}: QEMU does not answer")

    def wait_for(self, text):
        """Until the first program has said so; the moment."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while not re.search(f"^{text}$", self.log.read_text(errors="replace"), re.MULTILINE):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Broken(f"the machine did not say {text!r}: {self.tail()}")
            time.sleep(deployment.POLL_SECONDS)
        return time.monotonic_ns()

    def tail(self, count=1500):
        """What the server said, or the kernel and QEMU when it said nothing."""
        said = super().tail(count)
        for log in (self.kernel_log, self.place / f"machine-{self.starts}.log"):
            if log.exists():
                said += f"\n{log.name}: {log.read_text(errors='replace')[-count:]}"
        return said

    def kill(self):
        super().kill()
        self.timer.cancel()

    def remove(self):
        super().remove()
        if self.timer is not None:
            self.timer.cancel()

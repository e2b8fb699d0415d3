"""The README's first page, as a new user types it; only the port is another one."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import server as hafiz

README = (hafiz.ROOT / "README.md").read_text()
BUILD = "cargo run --release -p hafiz --"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_commands_work_as_typed(tmp_path):
    started, client, tests = blocks("sh")
    (example,) = blocks("python")
    assert started.startswith(BUILD) and tests == "tests/run\n"
    deployment = hafiz.Server([])
    for name in ("HAFIZ_ROOT_USER", "HAFIZ_ROOT_PASSWORD"):
        del deployment.variables[name]
    serve = started.strip().replace(BUILD, f"exec {hafiz.BINARY}")
    deployment.command = lambda: ["bash", "-c", f"cd {tmp_path} && {serve} --address 127.0.0.1:0"]
    shutil.copy(hafiz.ROOT / "README.md", tmp_path)
    deployment.start()
    try:
        assert "4+2" in "".join(deployment.output)
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        run = lambda text: subprocess.run(
            ["bash", "-euc", text.replace(":9000", f":{deployment.port}")], cwd=tmp_path, capture_output=True, text=True,
            timeout=120, env=hafiz.environment(PATH=path, HOME=tmp_path),
        )  # fmt: skip
        done = run(client)
        assert done.returncode == 0 and "README.md" in done.stdout, done
        exports = next(line for line in client.splitlines() if line.startswith("export "))
        done = run(f"{exports}\npython <<'END'\n{example}\nEND\n")
        assert (done.returncode, done.stdout) == (0, "b'world'\n"), done
        (take_away,) = re.findall(r"`(mv data\d data\d) /tmp`, and read on", README)
        (tmp_path / "away").mkdir()
        done = run(f"{exports}\n{take_away} away\naws s3 cp s3://first/README.md -\naws s3 cp README.md s3://first/again\n")
        assert done.returncode == 0 and done.stdout.startswith(README), done
    finally:
        deployment.kill()

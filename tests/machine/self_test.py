"""Whether the rig would see a violation: what reaches the drives, and lies that must be found out."""

import json
import re

import journal
import verify
from deployment import Broken
from recorded import until
from results import Results

WRITES = 40
LOAD_SECONDS = 5
# Of the flushes that the guest's kernel makes by itself while nothing is asked to be durable.
FLUSHES_BY_THE_WAY_MAX = WRITES // 2
# The drive that is made to warn, and bits of what it says then.
WARNS = 2
SPARE_LOW, TEMPERATURE = 1, 2
FAILING = re.compile(r'^hafiz_drive_failing\{drive="(\w+)",device="\w+"\} (\d+)$', re.MULTILINE)


def run(rig):
    results = Results("machine")
    chain(results, rig)
    rig.fresh()
    health(results, rig)
    lines, began = rig.load(LOAD_SECONDS)
    kept = rig.keep()
    ends = sorted(line["t"] for line in lines if line.get("outcome") == "ok")
    at = ends[len(ends) // 2]
    results.expect("the truth passes", not state(rig, at, lines))
    # All but as many as the parity covers go back to when they were empty, or to anything after that.
    liars = [1, 2, 3, 4]
    results.expect("four drives that lie about flushes", state(rig, at, lines, "all", liars))
    results.expect("four drives that lie, and lose the last writes", state(rig, at, lines, "order", liars))
    results.expect("a journal that claims a later moment", state(rig, at, lines, "all", claims=kept["times"][-1] - at))
    rig.fresh(cache="through")
    lines, began = rig.load(LOAD_SECONDS)
    kept = rig.keep()
    results.expect("a guest without flushes sends none", not [at for at in kept.get("marks", []) if at > began])
    results.expect("a guest without flushes loses what it acknowledged", state(rig, kept["times"][-1], lines, "all"))
    rig.drop()
    return results.end()


def chain(results, rig):
    """In the guest, a write that is to be durable is flushed on the drive before it returns, and no other is."""
    rig.make()
    rig.machine.boot(CHAIN=WRITES)
    moments = [rig.machine.wait_for(said) for said in ("written", "durable", "again")]
    rig.machine.kill()
    marks = rig.keep()["marks"]
    durable, plain = (sum(a < at < b for at in marks) for a, b in zip(moments, moments[1:]))
    drives = len(rig.machine.dirs)
    results.expect(f"{WRITES} durable writes to each of {drives} drives, {durable} flushes", durable >= drives * WRITES)
    results.expect(f"{WRITES} other writes, {plain} flushes", plain <= drives * FLUSHES_BY_THE_WAY_MAX)


def health(results, rig):
    """What the server says of its drives is what these say of themselves, through the guest's loop devices."""
    listed = drives(rig)
    results.expect("each drive has a SMART log", [len(drive["smart"]) for drive in listed] == [1] * len(listed))
    results.expect("no drive warns", [drive["health"] for drive in listed] == ["ok"] * len(listed))
    results.expect("no metric warns", failing(rig) == dict.fromkeys((drive["id"] for drive in listed), 0))
    warned = listed[WARNS - 1]
    warn(rig, SPARE_LOW | TEMPERATURE)
    expect = ["ok"] * len(listed)
    expect[WARNS - 1] = "failing"
    listed = drives(rig)
    results.expect("a drive that warns is named", [drive["health"] for drive in listed] == expect)
    says = [device["warnings"] for drive in listed for device in drive["smart"]]
    results.expect("and why", says[WARNS - 1] == ["spare low", "temperature"] and not any(says[: WARNS - 1] + says[WARNS:]))
    results.expect("in the metrics as well", [name for name, value in failing(rig).items() if value] == [warned["id"]])
    drives(rig)
    lines = [line for line in rig.machine.log.read_text(errors="replace").splitlines() if "a drive says that it fails" in line]
    results.expect("and once in the log", len(lines) == 1 and f"drive={warned['id']}" in lines[0])
    shown = [line.split() for line in rig.ask("drive", "list").stdout.splitlines()]
    results.expect("and in the table", [row[0] for row in shown if "failing:" in row] == [warned["id"]])
    warn(rig, 0)
    results.expect("until it is over", [drive["health"] for drive in drives(rig)] == ["ok"] * len(listed))


def warn(rig, bits):
    """The drive warns of this from now on."""
    rig.machine.tell("qom-set", path=f"/machine/peripheral/nvme{WARNS}", property="smart_critical_warning", value=bits)


def drives(rig):
    """What the server lists of the drives, in the order of their directories."""
    listed = rig.ask("drive", "list", "--json")
    if listed.returncode != 0:
        raise Broken(f"drive list: exit code {listed.returncode}: {listed.stderr[-800:]}")
    listed = {drive["dir"]: drive for drive in json.loads(listed.stdout)["drives"]}
    return [listed[str(directory)] for directory in rig.machine.dirs]


def failing(rig):
    """The metric of each drive, by its id."""
    return {found[1]: int(found[2]) for found in FAILING.finditer(rig.machine.metrics())}


def state(rig, at, lines, how="any", lies=(), claims=0):
    """What is wrong after a cut at that moment; a server that does not start is wrong, too."""
    model = journal.Model()
    model.apply(until(lines, at + claims), at + claims)
    rig.cut(at, how, lies)
    try:
        rig.start()
        problems = model.problems + verify.verify(rig.machine.port, model, rig.rng)[2]
    except Broken as broken:
        problems = [str(broken)]
    if rig.machine.process is not None:
        rig.machine.kill()
    if problems:
        print(f"    {len(problems)} problems, the first: {problems[0][:160]}")
    return problems

"""Whether the rig would see a violation: what reaches the drives, and lies that must be found out."""

import journal
import verify
from deployment import Broken
from recorded import until
from results import Results

WRITES = 40
LOAD_SECONDS = 5
# Of the flushes that the guest's kernel makes by itself while nothing is asked to be durable.
FLUSHES_BY_THE_WAY_MAX = WRITES // 2


def run(rig):
    results = Results("machine")
    chain(results, rig)
    rig.fresh()
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

"""Damage to the files of some drives: single bits and short ranges, by class of file.

What is hit is what holds something: a file is preallocated far beyond its content, and a flip there proves nothing.
"""

import os
import struct

PAGE = 4096
# Layouts of docs/format.md: where copies begin, and where the class of a volume stands in its first page.
IDENTITY_COPY, IDENTITY_BYTES, TOPOLOGY_COPY = 4096, 64, 16384
LENGTH_AT = 12
CLASS_AT = 68
LOG, DATA = 1, 2
RANGES = (512, 64 << 10)
# Files of one class that one round damages on one drive.
FILES_MAX = 4

CLASSES = ["log", "data", "pages", "tables", "manifests", "topology", "identity"]


def volume_class(path):
    with open(path, "rb") as file:
        file.seek(CLASS_AT)
        found = file.read(1)
    return found[0] if found else 0


def content_end(path, begin):
    """Where the last bytes stand that are not zero, counted from the start of the file; `begin` if there are none."""
    return max(begin, len(path.read_bytes().rstrip(b"\0")))


def topology_copies(path):
    """The stretches of its copies that their checksums cover."""
    data = path.read_bytes()
    for begin in (0, TOPOLOGY_COPY):
        length = struct.unpack_from("<I", data, begin + LENGTH_AT)[0] if len(data) >= begin + TOPOLOGY_COPY else 0
        if 0 < length <= TOPOLOGY_COPY:
            yield begin, begin + length


def places(drive, kind, rng, both):
    """Files of this class with the stretches that may be hit. `both` copies of topology and identity, or one of them."""
    volumes = sorted(path for path in drive.glob("volumes/*") if not path.name.endswith(".new"))
    match kind:
        case "log" | "data":
            wanted = LOG if kind == "log" else DATA
            for path in volumes:
                if volume_class(path) == wanted and (end := content_end(path, PAGE)) > PAGE:
                    yield path, [(PAGE, end)]
        case "pages":
            for path in volumes:
                with open(path, "rb") as file:
                    file.seek(LENGTH_AT)
                    length = struct.unpack("<I", file.read(4))[0]
                if 0 < length <= PAGE:
                    yield path, [(0, length)]
        case "tables":
            for path in sorted(drive.glob("index/*/tables/*")):
                yield path, [(0, path.stat().st_size)]
        case "manifests":
            for path in sorted(path for path in drive.glob("index/*/*") if path.is_file()):
                yield path, [(0, path.stat().st_size)]
        case "topology":
            # Each start writes the copy anew that is not the newest whole one.
            found = list(topology_copies(drive / "topology"))
            yield drive / "topology", found if both else rng.sample(found, min(1, len(found)))
        case "identity":
            # Nothing writes it anew, so it is always the same copy of a drive that rots, unless both may.
            found = [(begin, begin + IDENTITY_BYTES) for begin in (0, IDENTITY_COPY)]
            yield drive / "hafiz.drive", found if both else [found[ord(drive.name[-1]) % 2]]


def flip_bit(file, begin, end, rng):
    at = rng.randrange(begin, end)
    file.seek(at)
    old = file.read(1)[0]
    file.seek(at)
    file.write(bytes([old ^ (1 << rng.randrange(8))]))
    return f"bit in byte {at}"


def overwrite(file, begin, end, rng):
    """A range of noise or of zeros, as after a write that went to the wrong place or nowhere."""
    length = min(end - begin, rng.randint(*RANGES))
    at = rng.randint(begin, end - length)
    noise = bytes(length) if rng.random() < 0.4 else rng.randbytes(length)
    file.seek(at)
    if file.read(length) == noise:
        return None
    file.seek(at)
    file.write(noise)
    return f"{length} bytes at {at}"


def damage(drives, kinds, rng, flips, both=False):
    """About so many flips, dealt out to drives and classes. Returns (class, what was done) of each.

    `both`: a drive may lose both copies of its topology or identity; it does not know any more where it stands, or who it
    is, and counts as lost.
    """
    done = []
    share = max(1, flips // (len(drives) * len(kinds)))
    for drive in drives:
        for kind in kinds:
            found = [(path, stretches) for path, stretches in places(drive, kind, rng, both) if stretches]
            chosen = rng.sample(found, min(len(found), FILES_MAX))
            for n in range(share if chosen else 0):
                path, stretches = chosen[n % len(chosen)]
                with open(path, "r+b", buffering=0) as file:
                    # Both copies are hit in turn, where both are to be.
                    begin, end = stretches[n // len(chosen) % len(stretches)]
                    act = overwrite if rng.random() < 0.35 else flip_bit
                    what = act(file, begin, end, rng) if end > begin else None
                    os.fsync(file.fileno())
                if what:
                    done.append((kind, f"{path.relative_to(drive.parent)}: {what}"))
    return done

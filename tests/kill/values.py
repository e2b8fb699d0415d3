"""Self-describing bodies: what an object holds follows from its key and the number of the attempt that wrote it.

A value is a dictionary: `id` of the attempt (it travels as user metadata too), `pieces` as pairs of seed and size, and
`parts`, whether the pieces were uploaded as parts (that decides the ETag).
"""

import functools
import hashlib
import random

INLINE = 32 << 10
MIB = 1 << 20
PART_MIN = 5 * MIB
BODY_MAX = 3 * MIB
# Made once, since to make as many bytes for each body takes longer than to write and read them.
NOISE = random.Random(1).randbytes(PART_MIN + 16 * MIB)


def piece(seed, size):
    """`size` bytes that begin with the seed as text, as far as it fits, so that a body in a wrong place names itself. What follows
    is noise, as good as certainly from a place of its own: what two bodies have in common, they have at different places."""
    head = f"{seed}\n".encode()
    length = max(0, size - len(head))
    place = int.from_bytes(hashlib.md5(head).digest()) % (len(NOISE) - length + 1)
    return (head + NOISE[place : place + length])[:size]


def body(value):
    return b"".join(piece(seed, size) for seed, size in value["pieces"])


def size(value):
    return sum(size for _, size in value["pieces"])


def etag_of(md5s, parts):
    """The ETag, in quotes, of a body whose pieces have these digests."""
    if parts:
        return f'"{hashlib.md5(b"".join(md5s)).hexdigest()}-{len(md5s)}"'
    return f'"{md5s[0].hex()}"'


def etag(value):
    return etag_of_pieces(tuple(map(tuple, value["pieces"])), value["parts"])


@functools.lru_cache(maxsize=10_000)
def etag_of_pieces(pieces, parts):
    """Asked of the same values at each check."""
    if parts:
        return etag_of([hashlib.md5(piece(*each)).digest() for each in pieces], True)
    return etag_of([hashlib.md5(body({"pieces": pieces})).digest()], False)


def single(key, number, length):
    return {"id": number, "pieces": [[f"{key}|{number}", length]], "parts": False}


def some_size(rng):
    """Mostly small, often near the borders: nothing, the largest small body, one stripe."""
    kind = rng.random()
    if kind < 0.05:
        return 0
    if kind < 0.25:
        return rng.randint(1, 200)
    if kind < 0.60:
        return rng.randint(1, 8 << 10)
    if kind < 0.75:
        return rng.choice([INLINE - 1, INLINE, INLINE + 1, rng.randint(INLINE - 2048, INLINE + 2048)])
    if kind < 0.90:
        return rng.randint(INLINE, 300 << 10)
    if kind < 0.95:
        return rng.choice([MIB - 1, MIB, MIB + 1, 2 * MIB])
    return rng.randint(MIB, BODY_MAX)


def describe(value):
    if value is None:
        return "nothing"
    return f"attempt {value['id']} ({size(value)} bytes in {len(value['pieces'])} pieces)"

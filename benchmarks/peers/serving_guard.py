"""What a request pays for the check of its key: the guard alone, in this process, with a hundred keys."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import msgspec

from benchmarks.rows import Row
from fullcircle.server.guard import FILE, Guard
from fullcircle.types.access import Access, Key

KEYS = 100
TIMES, ROUNDS = 20_000, 15
GOAL = 5.0  # microseconds


def checked(folder: Path) -> list[Row]:
    """The cost of a valid key with a rate, and of one that is nobody's."""
    keys = tuple(
        Key(id=f"{number:012}", name=f"k{number}", role="scorer", digest=_digest(number), rate=1e9)
        for number in range(KEYS)
    )
    (folder / FILE).write_bytes(msgspec.json.encode(Access(required=True, keys=keys)))
    guard = Guard(folder / FILE)
    guard.look()
    headers = [
        (b"host", b"127.0.0.1:8710"), (b"user-agent", b"python"), (b"accept", b"*/*"),
        (b"content-type", b"application/json"), (b"content-length", b"512"),
        (b"authorization", b"Bearer fc_000000000042_" + _secret(42)),
    ]  # fmt: skip
    scope = {"headers": headers, "client": ("127.0.0.1", 1)}
    assert guard.check("/predict/m", scope) is not None
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(TIMES):
            guard.check("/predict/m", scope)
        times.append((time.perf_counter() - begun) / TIMES)
    return [Row(what="key check", unit="µs", ours=min(times) * 1e6, goal=GOAL)]


def _secret(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).hexdigest()[:43].encode()


def _digest(number: int) -> str:
    return hashlib.sha256(_secret(number)).hexdigest()

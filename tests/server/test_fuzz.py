"""Whatever is sent to any route: no 5xx but 503 with Retry-After, one shape of refusals, valid JSON, a quick answer.

``FULLCIRCLE_FUZZ`` says how many requests; `make soak` asks for 200,000.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.http import Limits
from fullcircle.tables import predictions as log
from serving import GOOD, Coin, app, ask, classes, contract, loaded

REQUESTS = int(os.environ.get("FULLCIRCLE_FUZZ", "1500"))
SLOWEST = float(os.environ.get("FULLCIRCLE_FUZZ_SECONDS", "20"))  # for a request; `make soak` says 1
PATHS = (
    *("/predict/m", "/predict/coin") * 8,
    *("/explain/m", "/outcomes", "/predict/other"),
    *("/models", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json"),
    *(
        "/",
        "",
        "/predict/",
        "/predict/m/",
        "/predict/../m",
        "/predict/%6d",
        "/predict/m;x",
        "/x\udcff",
        "/" + "a" * 9000,
    ),
)
METHODS = ("POST",) * 12 + ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "post", "")
TYPES = (b"application/json",) * 8 + (
    *(b"", b"text/plain", b"application/json; charset=utf-7", b"application/vnd.apache.arrow.stream"),
    *(b"multipart/form-data; boundary=" + b"x" * 500, b"\xff", b"application/json\r\nx: y"),
)
VALUES: tuple[Any, ...] = (
    *(0, 1, -1, 40, 25.5, 1e308, -1e308, 5e-324, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400, True, False, None),
    *(
        "",
        "f",
        "F",
        " f",
        "f ",
        "3",
        "NaN",
        "\x00",
        "\ud800",
        "é",
        "e\u0301",
        "ﬀ",
        "x" * 5000,
        "2026-01-01",
        "' OR 1=1",
    ),
    *([], {}, [[]], {"a": {"b": []}}, [1, 2], "{{7*7}}", "../../etc/passwd", "\x1b[31m"),
)
PIECES = (b"", b'"', b"{", b"}", b"\xff", b"\\", b":", b",", b"\x00")
HOSTS = (b"localhost", b"127.0.0.1:80", b"evil.example", b"[::1]:1", b"\xff", b"")
RAW = (
    b"NaN", b"Infinity", b"-Infinity", b"1e400", b"01", b"+1", b".5", b"1.", b"0x1", b"'a'", b"/**/1", b"-0", b"1E5",
    b'"\\ud800"', b'"\\u0000"', b"\xef\xbb\xbf1", b"\xc0\x80", b"9" * 5000, b"[" * 40 + b"]" * 40, b"[" * 100_000,
    b'{"a":' * 50, b'"' + b"a" * 100_000,
)  # fmt: skip


def row(rng: random.Random) -> Any:
    if rng.random() < 0.05:
        return rng.choice(VALUES)
    found: dict[Any, Any] = dict(GOOD)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        name = rng.choice(("age", "bmi", "sex", "AGE", "", "x" * 300, "__class__", "a\nb"))
        if rng.random() < 0.2:
            found.pop(name, None)
        else:
            found[name] = rng.choice(VALUES)
    return found


def document(rng: random.Random, path: str) -> Any:
    if rng.random() < 0.05:
        return rng.choice(VALUES)
    if path == "/outcomes":
        pairs = [{"id": rng.choice(("a" * 16 + "-0", "", 5, "../x")), "value": rng.choice(VALUES)}]
        return {"model": rng.choice(("m", "coin", "other", 3)), "outcomes": pairs}
    rows = [row(rng) for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 5, 40)))]
    if rng.random() < 0.1:
        return {"columns": {name: [one.get(name) for one in rows if isinstance(one, dict)] for name in GOOD}}
    return {"rows": rows, **({"extra": 1} if rng.random() < 0.05 else {})}


def body(rng: random.Random, path: str) -> bytes:
    encoded = json.dumps(document(rng, path)).encode()
    kind = rng.random()
    if kind < 0.6:
        return encoded
    if kind < 0.75:  # something that is not JSON in the place of a value
        place = encoded.find(b"40")
        return encoded[:place] + rng.choice(RAW) + encoded[place + 2 :] if place > 0 else rng.choice(RAW)
    if kind < 0.9:  # some bytes changed, cut out or doubled
        data = bytearray(encoded)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data) + 1)
            data[at : at + rng.choice((0, 1, 5))] = rng.choice(
                (b"", b'"', b"{", b"}", b"\xff", b"\\", b":", b",", b"\x00")
            )
        return bytes(data)
    return rng.randbytes(rng.choice((0, 1, 30, 3000)))


def headers(rng: random.Random, size: int) -> list[tuple[bytes, bytes]]:
    found = [(b"content-type", rng.choice(TYPES))]
    if rng.random() < 0.3:
        found.append((b"host", rng.choice(HOSTS)))
    if rng.random() < 0.1:
        found.append((b"content-encoding", rng.choice((b"gzip", b"identity", b"br, gzip"))))
    if rng.random() < 0.2:
        found.append((b"content-length", rng.choice((b"%d" % size, b"-1", b"9" * 30, b"99999999", b"x"))))
    if rng.random() < 0.05:
        found.append((b"content-type", b"application/json"))
    return found


async def attack(target: Any, count: int, seed: int) -> Counter[int]:
    """Send ``count`` drawn requests, some of them at once, and look at every answer."""
    rng = random.Random(seed)
    seen: Counter[int] = Counter()
    done = 0
    while done < count:
        batch = []
        for _ in range(min(rng.choice((1, 1, 4, 16)), count - done)):
            path, method = rng.choice(PATHS), rng.choice(METHODS)
            data = body(rng, path)
            cut = rng.randrange(len(data) + 1)
            parts = [data] if rng.random() < 0.8 else [data[:cut], data[cut:]]
            batch.append((ask(target, method, path, parts, headers(rng, len(data))), (method, path, data[:200])))
        begun = time.perf_counter()
        answers = await asyncio.gather(*(one for one, _ in batch))
        took = time.perf_counter() - begun
        for found, (_, sent) in zip(answers, batch, strict=True):
            seen[found.status] += 1
            assert found.status < 500 or (found.status == 503 and found.headers["retry-after"] == "1"), sent
            assert found.headers["x-content-type-options"] == "nosniff", sent
            if found.headers["content-type"] == "application/json" and found.body:
                document = msgspec.json.decode(found.body)  # strict: no NaN, no lone surrogate
                assert (found.status >= 400) == (document.get("error") is not None), sent
                text = found.body.decode()
                assert "Traceback" not in text, sent
                assert "/src/" not in text, sent
        assert took < SLOWEST * max(1, len(batch) / 4), batch[0][1]
        done += len(batch)
    return seen


def test_no_request_breaks_it(tmp_path: Path) -> None:
    ours = loaded()
    ours.scorer.background = [{"age": 40, "bmi": 25.5, "sex": "f"}, {"age": 50, "bmi": 22.5, "sex": "m"}]
    coin = loaded("coin", scorer=Scorer(classes(), Coin()))
    target = app(tmp_path, ours, coin, limits=Limits(rows=30, body_bytes=200_000, inline_bytes=3000))
    asyncio.run(attack(target, 200, seed=1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = asyncio.run(attack(target, REQUESTS, seed=2))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert {200, 400, 404, 405, 413, 415, 421, 422} <= seen.keys()
    assert grown < 60_000  # KiB
    assert contract().names == ours.scorer.contract.names
    answered = [*log.read(tmp_path, "m"), *log.read(tmp_path, "coin")]
    assert len(answered) > REQUESTS / 20
    assert len({one.id for one in answered}) == len(answered)
    assert all((one.inputs is not None) == (one.verdict.status in ("ok", "imputed", "flagged")) for one in answered)

"""What a split costs: the decision for a request, that of a shadow, and the champion beside a shadow that hangs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from benchmarks import loads
from benchmarks.peers.servers import Asked, Server, below, running, surroundings
from benchmarks.peers.serving_project import Site
from benchmarks.rows import Row
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.desk import Desk
from fullcircle.server.engine import Ask
from fullcircle.server.follower import Loaded
from fullcircle.server.http import Limits
from fullcircle.server.meter import Meter
from fullcircle.server.routes import Beside, Route, Way
from fullcircle.server.shadowing import Shadow
from fullcircle.server.spawning import Spawned
from fullcircle.server.splitting import Splitter
from fullcircle.types.contract import Column, Contract
from fullcircle.types.splits import Variant

GOAL = 5.0  # microseconds
TIMES, ROUNDS = 20_000, 9
CONNECTIONS = 8
BESIDE = 1.10  # times the champion's p99 without a shadow
_COLUMNS = tuple(Column(name=f"x{place}", kind="number") for place in range(30))
_CONTRACT = Contract(columns=_COLUMNS, label="y", task="regression", context=("customer",))


def decided(folder: Path) -> list[Row]:
    """The decision for a request of one row by its customer, and what a copy takes before the answer leaves."""
    return [
        Row(what="split decision", unit="µs", ours=_best(_split(folder)) * 1e6, goal=GOAL),
        Row(what="shadow decision", unit="µs", ours=asyncio.run(_shadow(folder)) * 1e6, goal=GOAL),
    ]


def _split(folder: Path) -> Callable[[], object]:
    champion = Loaded(model="m", version=1, bundle="b" * 64, scorer=Scorer(_CONTRACT, None))
    splitter = Splitter(Desk(folder / "log"), Limits(), Meter())
    beside = Beside(variant=Variant(version=2, high=500))
    route = Route(way=Way(id="s", salt="salt", entity=("customer",)), champion=1, others=(beside,))
    rows = champion.decoder.rows(_body())
    assert rows is not None
    headers = [(b"host", b"127.0.0.1:8710"), (b"content-type", b"application/json")]
    ask = Ask(b"", rows)
    return lambda: splitter.chosen(route, champion, ask, headers)


def _body() -> bytes:
    return json.dumps({"rows": [{**{one.name: 0.5 for one in _COLUMNS}, "customer": "c00042"}]}).encode()


def _best(work: Callable[[], object]) -> float:
    """Seconds of the quickest round, for each time."""
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(TIMES):
            work()
        times.append((time.perf_counter() - begun) / TIMES)
    return min(times)


async def _shadow(folder: Path) -> float:
    """Seconds of an offer, with a process that takes all that it is given."""
    ours, theirs = socket.socketpair()
    threading.Thread(target=_drained, args=(theirs,), daemon=True).start()
    ours.setblocking(False)
    process = subprocess.Popen(["sleep", "600"])
    shadow = Shadow("m", lambda: Spawned(process, ours), Spawned(process, ours), folder / "shadows", deadline=600.0)
    try:
        shadow.tick()
        await asyncio.sleep(0.1)
        body, answer = _body(), b'{"model":"m","version":1,"predictions":[{"id":"0123456789abcdef-1"}]}'
        ask, times = Ask(body), []
        for _ in range(200):
            begun = time.perf_counter()
            for _ in range(100):
                shadow.offer(ask, answer)
            times.append((time.perf_counter() - begun) / 100)
            await asyncio.sleep(0.002)
        assert not shadow.lost
        return statistics.median(times)
    finally:
        shadow.close()
        process.kill()
        process.wait()


def _drained(theirs: socket.socket) -> None:
    with suppress(OSError):
        while theirs.recv(2**20):
            pass


def hanging(folder: Path, site: Site, question: Callable[[], Asked], seconds: int) -> list[Row]:
    """The champion's p99 under a closed load of eight connections, without a shadow and beside one that hangs."""
    entry = json.loads(site.served.read_text())["models"][site.model]
    other = {key: entry[key] for key in ("bundle", "path")} | {"version": entry["version"] + 1, "shadow": True}
    shadowed = entry | {"split": {"id": "bench", "salt": "s", "entity": []}, "others": [other]}
    times: dict[str, list[float]] = {"alone": [], "beside": []}
    with ExitStack() as stack:
        asked: dict[str, Asked] = {}
        servers: dict[str, Server] = {}
        for name, content in (("alone", entry), ("beside", shadowed)):
            place = folder / f"shadow-{name}"
            place.mkdir()
            (place / "served.json").write_text(json.dumps({"models": {site.model: content}}))
            own = replace(site, served=place / "served.json")
            asked[name] = question()
            line = own.command(asked[name].port, place / "predictions")
            servers[name] = stack.enter_context(
                running(line, asked[name], env=surroundings(site.python), folder=place, name=name)
            )
        time.sleep(5.0)  # until the shadow is there
        for number in range(2 * ROUNDS):
            name = ("alone", "beside")[number % 2]
            _stop(servers["beside"])
            one = asked[name]
            found = loads.closed(one.port, one.path, one.body, connections=CONNECTIONS, seconds=seconds)
            if number > 1:
                times[name].append(found.p99)
    ratio = statistics.median(times["beside"]) / statistics.median(times["alone"])
    return [Row(what="champion's p99 beside a hanging shadow", unit="x", ours=ratio, goal=BESIDE)]


def _stop(server: Server) -> None:
    """Have every process that is a shadow stand still."""
    for pid in below(server.pid):
        with suppress(OSError):
            if b"fullcircle.server.asking" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGSTOP)

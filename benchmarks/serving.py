"""How fast one row is answered, what overload does, how a server starts and grows, and how fast a table is scored.

Servers run on one core, what loads them on another, each peer in an environment of its own with the same model. All
answer in turn, round after round, so that what slows one slows the others; a figure is the median of its rounds, and
"best" is the best of the medians at 1, 8 and 64 connections. ``FULLCIRCLE_BENCH_SECONDS`` is how long a load takes.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import loads
from benchmarks.loads import Closed, Phase
from benchmarks.peers.servers import (
    LOAD_CORE,
    PAGE,
    SERVER_CORE,
    Asked,
    Peak,
    Server,
    on_core,
    surroundings,
)
from benchmarks.peers.serving_contenders import (
    BENTOML,
    LITSERVE,
    MLSERVER,
    MODELS,
    asking,
    contenders,
    environments,
    serving,
)
from benchmarks.peers.serving_guard import checked
from benchmarks.peers.serving_project import CALL, PROJECT, SLOW, Site, breast_cancer, command, here, made, said
from benchmarks.peers.serving_splits import decided, hanging
from benchmarks.rows import Row, locked, table

SECONDS = int(os.environ.get("FULLCIRCLE_BENCH_SECONDS", "2"))
ROUNDS = 3
CONNECTIONS = (1, 8, 64)
OVERLOAD = 10.0  # seconds
FULL = 256  # connections of the closed load that tells the capacity
OPEN = 1900  # connections of an open load, of the 2048 that a worker takes
POOL = 0.1  # seconds that a caller waits for one of them
DEADLINE = 2.0  # seconds after which an answer is of no use: twice as long as a server lets anybody wait
CALM = 0.1  # seconds in which a server that has recovered answers
STARTS = 5  # of which the first is not counted
LIBRARIES = "sklearn.ensemble"  # what the model needs
REQUESTS = 200_000  # over which memory may not grow
MANY, FEWER = 1_000_000, 250_000  # rows of a table


def rows() -> list[Row]:
    """All measurements, in a temporary folder."""
    found: list[Row] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended too
    with tempfile.TemporaryDirectory(prefix="fullcircle-serving-") as name:
        folder = Path(name)
        sites, peers = _prepared(folder)
        parts: list[Callable[[], list[Row]]] = [
            lambda: _requests(folder, sites, peers),
            lambda: _overload(folder, sites),
            lambda: _starting(folder, sites),
            lambda: _growing(folder, sites["native"]),
            lambda: _batch(folder, sites["compiled"]),
            lambda: checked(folder),
            lambda: decided(folder),
            lambda: hanging(folder, sites["compiled"], lambda: _question(sites["compiled"]), SECONDS),
        ]
        for part in parts:
            more = part()
            print(table(more), flush=True)  # all of it takes minutes
            found += more
    return found


def _prepared(folder: Path) -> tuple[dict[str, Site], dict[str, Path]]:
    """Champions to serve (the compiled form, the same model as it was fitted, the slow model); peers' Pythons."""
    with ThreadPoolExecutor(3) as pool:
        others = pool.submit(environments, folder)
        wanted = {"compiled": (PROJECT, "cancer"), "slow": (SLOW, "slow")}
        asked = {name: pool.submit(made, folder / name, *one) for name, one in wanted.items()}
        found = {name: one.result() for name, one in asked.items()}
        peers = others.result()
    assert found["compiled"].form == "trees", f"the model is not compiled, its form is {found['compiled'].form}"
    return {**found, "native": found["compiled"].as_fitted()}, peers


# --- one row, closed load -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """What came of one server: its loads by the number of connections, one of each round."""

    loads: dict[int, list[Closed]] = field(default_factory=lambda: {count: [] for count in CONNECTIONS})

    def rate(self, connections: int) -> float:
        """Answers a second."""
        return statistics.median(one.rate for one in self.loads[connections])

    @property
    def best(self) -> float:
        """The best rate over all numbers of connections."""
        return max(self.rate(count) for count in CONNECTIONS)

    def seconds(self, connections: int, which: str) -> float:
        """Of a percentile: "p50" or "p99"."""
        return statistics.median(float(getattr(one, which)) for one in self.loads[connections])

    @property
    def busy(self) -> float:
        """The largest share of a core that the generator took."""
        return max(one.busy for each in self.loads.values() for one in each)


def _requests(folder: Path, sites: Mapping[str, Site], peers: Mapping[str, Path]) -> list[Row]:
    alone: list[float] = []
    found: dict[str, Measured] = {}
    with ExitStack() as stack:
        asked = {name: stack.enter_context(one) for name, one in contenders(folder, sites, peers).items()}
        for one in asked.values():
            _load(one, 8, 1)
        for _ in range(ROUNDS):
            with on_core(SERVER_CORE):
                alone.append(said(sites["native"].python, str(MODELS), "time", str(SECONDS), cwd=folder)["p50"])
            for name, one in asked.items():
                for count in CONNECTIONS:
                    found.setdefault(name, Measured()).loads[count].append(_load(one, count, SECONDS))
    return [*_rates(found), *_latencies(found, statistics.median(alone)), *_generator(found)]


def _load(asked: Asked, connections: int, seconds: int) -> Closed:
    with on_core(LOAD_CORE):
        return loads.closed(asked.port, asked.path, asked.body, connections=connections, seconds=seconds)


def _rates(found: Mapping[str, Measured]) -> list[Row]:
    best = {name: one.best for name, one in found.items()}
    names = {
        "mlserver": f"MLServer {MLSERVER}, adaptive batching",
        "mlflow": f"MLflow {locked('mlflow-skinny')} models serve, with a signature",
        "mlflow, bare": "the same without a signature, asked with a bare matrix",
        "litserve": f"LitServe {LITSERVE}, batching",
        "bentoml": f"BentoML {BENTOML}, batching",
        "constant": "the same server answering a constant",
    }
    short = {
        "mlserver": "MLServer",
        "mlflow": "MLflow",
        "mlflow, bare": "MLflow without a signature",
        "litserve": "LitServe",
        "bentoml": "BentoML",
        "constant": "the constant answer",
    }
    goals = [
        ("native", "mlserver", 6, "floor"), ("native", "mlserver", 8, "target"),
        ("native", "mlflow", 80, "floor"), ("native", "mlflow", 100, "target"),
        ("native", "mlflow, bare", 1, "beside"),
        ("native", "litserve", 1, "beside"), ("native", "bentoml", 1, "beside"),
        ("native", "constant", 0.27, "floor"), ("native", "constant", 0.35, "target"),
        ("compiled", "constant", 0.5, "target"),
    ]  # fmt: skip
    shared: dict[str, Any] = {"unit": "req/s", "at_least": True}
    return [
        Row(
            what=f"one row x 30, best of 1, 8, 64 connections, {form}: {times:g}x {short[peer]}, {kind}",
            ours=best[form],
            goal=times * best[peer],
            peer=best[peer],
            peer_name=names[peer],
            **shared,
        )
        for form, peer, times, kind in goals
    ] + [
        Row(
            what=f"one row x 30, {count} connections, {form}",
            ours=found[form].rate(count),
            goal=found["mlserver"].rate(count),
            peer=found["mlserver"].rate(count),
            peer_name=names["mlserver"],
            **shared,
        )
        for form in ("native", "compiled")
        for count in CONNECTIONS
    ]


def _latencies(found: Mapping[str, Measured], alone: float) -> list[Row]:
    base = alone + found["constant"].seconds(1, "p50")
    worst = [
        Row(
            what=f"p99 at 64 connections, {form}",
            unit="ms",
            ours=found[form].seconds(64, "p99") * 1e3,
            goal=10,
            peer=found["mlserver"].seconds(64, "p99") * 1e3,
            peer_name=f"MLServer {MLSERVER}",
        )
        for form in ("native", "compiled")
    ]
    return [
        *worst,
        Row(
            what="p50 at 1 connection, native: over the model and the constant answer",
            unit="µs",
            ours=(found["native"].seconds(1, "p50") - base) * 1e6,
            goal=60,
        ),
        Row(
            what="p50 at 1 connection, native",
            unit="µs",
            ours=found["native"].seconds(1, "p50") * 1e6,
            goal=(base + 60e-6) * 1e6,
            peer=alone * 1e6,
            peer_name="predict_proba of the model alone, one row as an array",
        ),
    ]


def _generator(found: Mapping[str, Measured]) -> list[Row]:
    """The generator must not be what is measured."""
    what = f"the load generator ({loads.generator()}) at its busiest, while {{}} answered"
    return [
        Row(what=what.format(name), unit="% of its core", ours=100 * found[name].busy, goal=95)
        for name in ("native", "compiled", "constant")
    ]


# --- overload -----------------------------------------------------------------------------------------------


def _overload(folder: Path, sites: Mapping[str, Site]) -> list[Row]:
    return [*_slow_at_ten(folder, sites["slow"]), *_fast_at_two(folder, sites["native"])]


def _slow_at_ten(folder: Path, site: Site) -> list[Row]:
    """Ten times what a model can do whose every call takes ten milliseconds."""
    asked = asking(f"/predict/{site.model}", {"rows": [{"a": 0.5, "b": 0.25}]})
    capacity = 1.0 / CALL
    with serving(folder, site, asked):
        _load(asked, 1, 1)
        found = _open(asked, [(10 * capacity, OVERLOAD), (0.2 * capacity, 3.0)])
    print(found, flush=True)
    over, after = found.phases
    what = f"{CALL * 1e3:g} ms calls, open loop at 10x ({10 * capacity:g}/s, {OVERLOAD:g} s)"
    return [
        _share(f"{what}: goodput", over.goodput / capacity, 0.9),
        _lost(what, over),
        _after(what, after),
    ]


def _fast_at_two(folder: Path, site: Site) -> list[Row]:
    """Twice what the fast model can do, as measured just before."""
    names, values = breast_cancer()
    asked = asking(f"/predict/{site.model}", {"rows": [dict(zip(names, values, strict=True))]})
    with serving(folder, site, asked):
        _load(asked, 8, 1)
        capacity = max(_load(asked, FULL, SECONDS).rate for _ in range(3))
        found = _open(asked, [(2 * capacity, OVERLOAD), (0.2 * capacity, 3.0)])
    print(found, flush=True)
    over, after = found.phases
    what = f"fast model, open loop at 2x ({2 * capacity:.0f}/s, {OVERLOAD:g} s)"
    return [
        _share(f"{what}: goodput", over.goodput / capacity, 0.5),
        _share(f"{what}: goodput of its worst second", over.slowest / capacity, 0.25),
        _lost(what, over),
        _after(what, after),
        Row(what=f"{what}: the generator's own delay, p99", unit="ms", ours=found.behind * 1e3, goal=50),
        Row(what=f"{what}: the generator", unit="% of its core", ours=100 * found.busy, goal=95),
    ]


def _open(asked: Asked, phases: Sequence[tuple[float, float]]) -> loads.Open:
    with on_core(LOAD_CORE):
        return loads.open_load(
            asked.port, asked.path, asked.body, phases, deadline=DEADLINE, calm=CALM, connections=OPEN, patience=POOL
        )


def _share(what: str, ours: float, goal: float) -> Row:
    return Row(what=f"{what}, of capacity", unit="x", ours=ours, goal=goal, at_least=True)


def _lost(what: str, phase: Phase) -> Row:
    """Answers that are neither 200 nor a refusal with 429 or 503, and connections that broke."""
    lost = sum(count for status, count in phase.statuses.items() if status not in ("200", "429", "503", "unsent"))
    return Row(what=f"{what}: requests that broke or failed otherwise", unit="of them", ours=lost, goal=0)


def _after(what: str, phase: Phase) -> Row:
    return Row(what=f"{what}: then recovered (200 within {CALM:g} s) after", unit="s", ours=phase.restless, goal=1)


# --- starting and growing -----------------------------------------------------------------------------------


def _starting(folder: Path, sites: Mapping[str, Site]) -> list[Row]:
    native, compiled = sites["native"], sites["compiled"]
    starts: dict[str, list[tuple[float, float]]] = {"native": [], "compiled": [], "imports": []}
    for _ in range(STARTS):
        starts["native"].append(_start(folder, native))
        starts["compiled"].append(_start(folder, compiled))
        starts["imports"].append(_imports(native.python, folder))
    seconds, megabytes = ({name: statistics.median(one[which] for one in each[1:]) for name, each in starts.items()}
        for which in (0, 1))  # fmt: skip
    named = f"import {LIBRARIES}, which imports pandas"
    return [
        Row(what=f"from exec to the first ready 200, native: over {named}", unit="s",
            ours=seconds["native"] - seconds["imports"], goal=0.7),
        Row(what="from exec to the first ready 200, native", unit="s", ours=seconds["native"],
            goal=seconds["imports"] + 0.7, peer=seconds["imports"], peer_name=named),
        Row(what=f"memory of all its processes after one answer, native: over {named}", unit="MB",
            ours=megabytes["native"] - megabytes["imports"], goal=60),
        Row(what="from exec to the first ready 200, compiled", unit="s", ours=seconds["compiled"], goal=0.8),
        Row(what="memory of all its processes after one answer, compiled", unit="MB",
            ours=megabytes["compiled"], goal=120),
    ]  # fmt: skip


def _question(site: Site) -> Asked:
    names, values = breast_cancer()
    return asking(f"/predict/{site.model}", {"rows": [dict(zip(names, values, strict=True))]})


def _start(folder: Path, site: Site) -> tuple[float, float]:
    """Seconds from exec to the first 200 of readiness, and megabytes after one answer."""
    asked = _question(site)
    place = Path(tempfile.mkdtemp(dir=folder, prefix="start-"))
    line = site.command(asked.port, place / "predictions")
    begun = time.perf_counter()
    server = Server(line, env=surroundings(site.python), cwd=place, log=place / "log", core=SERVER_CORE)
    try:
        while asked.ready() != 200:
            assert time.perf_counter() - begun < 60, "the server does not become ready"
            time.sleep(0.005)
        seconds = time.perf_counter() - begun
        server.wait(asked, 5.0)
        return seconds, server.resident()
    finally:
        server.end()


def _imports(python: Path, folder: Path) -> tuple[float, float]:
    """Seconds from exec until what the model needs is imported, and megabytes then."""
    program = f"import {LIBRARIES}; print(open('/proc/self/statm').read().split()[1], flush=True)"
    begun = time.perf_counter()
    with on_core(SERVER_CORE):
        process = subprocess.Popen(
            [str(python), "-I", "-c", program],
            env=surroundings(python),
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
    assert process.stdout is not None
    with process.stdout as out:
        pages = int(out.readline())
        seconds = time.perf_counter() - begun
    process.wait()
    return seconds, pages * PAGE / 1e6


def _growing(folder: Path, site: Site) -> list[Row]:
    """Memory after many requests, against that after a tenth of them."""
    asked, answered = _question(site), 0
    with serving(folder, site, asked) as server:
        while answered < REQUESTS // 10:
            answered += _answered(asked)
        before, warm = server.resident(), answered
        while answered < warm + REQUESTS:
            answered += _answered(asked)
        grown = server.resident() - before
    return [Row(what=f"memory gained over {answered - warm:,} requests", unit="MB", ours=grown, goal=5)]


def _answered(asked: Asked) -> int:
    found = _load(asked, 64, SECONDS)
    return int(found.rate * SECONDS)


# --- a table ------------------------------------------------------------------------------------------------


def _batch(folder: Path, site: Site) -> list[Row]:
    """``fullcircle score`` as a whole process, on all cores."""
    _write_rows(folder)
    seconds: dict[str, float] = {}
    peaks: dict[str, float] = {}
    for name in (f"{FEWER}.parquet", f"{MANY}.parquet", f"{MANY}.csv"):
        seconds[name], peaks[name] = _scored(folder, site, name)
    few, many, text = f"{FEWER}.parquet", f"{MANY}.parquet", f"{MANY}.csv"
    return [
        Row(what=f"score {MANY:,} rows x 30, Parquet to Parquet", unit="s", ours=seconds[many], goal=15),
        Row(what=f"score {MANY:,} rows x 30, CSV to Parquet", unit="s", ours=seconds[text], goal=15),
        Row(what=f"memory of all its processes at its peak, {MANY:,} rows", unit="MB", ours=peaks[many],
            goal=1.1 * peaks[few], peer=peaks[few], peer_name=f"{FEWER:,} rows"),
    ]  # fmt: skip


def _write_rows(folder: Path) -> None:
    """Rows like the patients': each value of one of them, a little changed."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq
    from sklearn.datasets import load_breast_cancer

    known = load_breast_cancer(as_frame=True).frame.drop(columns="target")
    draw = np.random.default_rng(11)
    drawn = {name: draw.choice(known[name], MANY) * draw.uniform(0.99, 1.01, MANY) for name in known}
    whole = pa.table({name: np.round(values, 6) for name, values in drawn.items()})
    pq.write_table(whole, folder / f"{MANY}.parquet", row_group_size=100_000)
    pq.write_table(whole.slice(0, FEWER), folder / f"{FEWER}.parquet", row_group_size=100_000)
    pyarrow.csv.write_csv(whole, folder / f"{MANY}.csv")


def _scored(folder: Path, site: Site, name: str) -> tuple[float, float]:
    """Seconds, and megabytes at the peak."""
    import pyarrow.parquet as pq

    out = folder / f"scored-{name}.parquet"
    begun = time.perf_counter()
    with subprocess.Popen(
        command("score", site.model, str(folder / name), "--out", str(out)),
        env={**os.environ, **here(site.folder)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            with Peak(process.pid) as peak:
                _, said_last = process.communicate()
        finally:
            process.kill()
    seconds = time.perf_counter() - begun
    if process.returncode != 0:
        raise RuntimeError(f"scoring {name} ended with {process.returncode}:\n{said_last[-4000:]}")
    written = pq.ParquetFile(out).metadata.num_rows
    assert written == int(name.partition(".")[0]), f"{written} rows of {name} were written"
    return seconds, peak.megabytes

"""How fast distances are, how fast values are counted, and how much memory a wide stream needs."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.monitoring_streams import SCALE
from benchmarks.peers.servers import SERVER_CORE, on_core
from benchmarks.peers.talking import Peer, interleaved
from benchmarks.rows import Row

FRESH = get_context("spawn")  # a fork of a process whose threads have done maths hangs
ROWS, COLUMNS = 100_000, 20
WIDE, MANY, PARTS, CHUNK = 1000, 10_000_000, 2, 10_000
EVIDENTLY = ("jensenshannon", "psi", "ks", "wasserstein", "hellinger")
NANNYML = ("jensen_shannon", "hellinger", "wasserstein", "kolmogorov_smirnov")


def rows(folder: Path, evidently: Path, nannyml: Path, scale: float = SCALE) -> list[Row]:
    """Distances beside the peers', whose Pythons are given; counting; memory; a wide step of the engine."""
    return [*distances(folder, evidently, nannyml, scale), counting(scale), *wide(scale), step()]


def distances(folder: Path, evidently: Path, nannyml: Path, scale: float = SCALE) -> list[Row]:
    """All our distances against one at a time of Evidently's, and against all four of NannyML's in one run."""
    import numpy as np
    import pandas as pd

    generator, count = np.random.default_rng(0), max(2000, int(ROWS * scale))
    first, second = (
        pd.DataFrame(generator.normal(size=(count, COLUMNS)), columns=[f"f{one}" for one in range(COLUMNS)])
        for _ in range(2)
    )
    paths = {"reference": str(folder / "first.parquet"), "current": str(folder / "second.parquet")}
    first.to_parquet(paths["reference"])
    second.to_parquet(paths["current"])
    ours = _Ours(first, second)
    with (
        Peer(evidently, "monitoring_evidently", folder=folder) as one,
        Peer(nannyml, "monitoring_nannyml", folder=folder) as other,
    ):
        theirs = {
            f"Evidently, {method}{', count alone' * (not page)}": one.seconds(
                "speed", **paths, method=method, report=page
            )
            for page in (True, False)
            for method in EVIDENTLY
        }
        theirs["NannyML, all"] = other.seconds("speed", **paths, methods=NANNYML, rows=count)
        theirs |= {
            f"NannyML, {method}": other.seconds("speed", **paths, methods=[method], rows=count) for method in NANNYML
        }
        found = interleaved({"first": ours.first, "later": ours.later, **theirs}, times=3)
        before = float(other.ask("speed", **paths, methods=NANNYML, rows=count)["first"])
    return _told(found, before, count)


def _told(found: dict[str, float], before: float, count: int) -> list[Row]:
    page = min(
        (name for name in found if name.startswith("Evidently") and "alone" not in name), key=found.__getitem__
    )
    alone = min((name for name in found if "alone" in name), key=found.__getitem__)
    single = min((name for name in found if name.startswith("NannyML") and "all" not in name), key=found.__getitem__)
    size = f"2 x {count // 1000}k x {COLUMNS}"
    cases = [
        ("first window, bins frozen", "first", f"{page}: its fastest report of one distance", found[page], 20),
        ("later window", "later", f"{page}: its fastest report of one distance", found[page], 40),
        ("later window", "later", f"{alone}: its fastest of one distance, no report", found[alone], 1),
        ("first window, bins frozen", "first", "NannyML, its four distances, fit included", before, 1),
        ("later window", "later", "NannyML, its four distances, fitted before", found["NannyML, all"], 5),
        ("later window", "later", f"{single}: its fastest single distance, fitted before", found[single], 1),
    ]
    return [
        Row(
            what=f"all distances on {size}, {what}: {times}x {peer.split(',')[0]}",
            unit="s", ours=found[ours], goal=seconds / times, peer=seconds, peer_name=peer,
        )
        for what, ours, peer, seconds, times in cases
    ]  # fmt: skip


class _Ours:
    """Two tables, compared."""

    def __init__(self, first: Any, second: Any) -> None:
        self._first, self._second = first, second
        self.first()

    def first(self) -> float:
        """Seconds to freeze the bins on the first table and compare the second with it."""
        from fullcircle.monitoring.batches import Layout
        from fullcircle.monitoring.differences import Reference
        from fullcircle.monitoring.profiles import frozen

        begun = time.perf_counter()
        features = [frozen(name, self._first[name].to_numpy()) for name in self._first.columns]
        self._layout, self._reference = Layout(features), Reference(features)
        self._compare()
        return time.perf_counter() - begun

    def later(self) -> float:
        """Seconds of one more comparison."""
        begun = time.perf_counter()
        self._compare()
        return time.perf_counter() - begun

    def _compare(self) -> None:
        from fullcircle.monitoring.batches import count

        columns = {name: self._second[name].to_numpy() for name in self._second.columns}
        found = self._reference.distances(count(self._layout, columns, len(self._second)))
        assert len(found.js) == len(columns)


def counting(scale: float = SCALE) -> Row:
    """Values counted a second, on one core: bins, range, least, greatest, exact sums."""
    import numpy as np

    from fullcircle.monitoring.batches import Layout, count

    size = max(20_000, int(1_000_000 * scale))
    values = np.random.default_rng(1).normal(size=(4, size))
    layout, columns = Layout(_features(values)), {f"x{place}": each for place, each in enumerate(values)}
    with on_core(SERVER_CORE):
        taken = _median(lambda: count(layout, columns, size))
    return Row(
        what="counting 64-bit numbers in 20 bins, one core",
        unit="M values/s", ours=values.size / taken / 1e6, goal=50, at_least=True,
    )  # fmt: skip


def _features(values: Any) -> list[Any]:
    from fullcircle.monitoring.profiles import frozen

    return [frozen(f"x{place}", each) for place, each in enumerate(values)]


def _median(work: Callable[[], object], times: int = 5) -> float:
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def wide(scale: float = SCALE) -> list[Row]:
    """1000 features x 10M rows, made and counted in chunks by two processes whose batches are added up."""
    chunks = max(2, int(MANY * scale) // (PARTS * CHUNK))
    begun = time.perf_counter()
    with ProcessPoolExecutor(PARTS, mp_context=FRESH) as pool:
        told = list(pool.map(_part, range(PARTS), [chunks] * PARTS))
    seconds, total = time.perf_counter() - begun, PARTS * chunks * CHUNK
    assert sum(rows for _, rows, _ in told) == total
    what = f"{WIDE} features x {total / 1e6:g}M rows"
    return [
        Row(what=f"{what}: memory of {PARTS} processes at their peaks", unit="MB",
            ours=sum(peak for _, _, peak in told), goal=1000),
        Row(what=f"{what}: memory that counting added after the first chunk, the larger of {PARTS}", unit="MB",
            ours=max(grown for grown, _, _ in told), goal=50),
        Row(what=what, unit="s", ours=seconds, goal=600),
    ]  # fmt: skip


def _part(seed: int, chunks: int) -> tuple[float, int, float]:
    """Megabytes that the peak grew by after the first chunk, rows counted, and megabytes at the peak."""
    import numpy as np

    from fullcircle.monitoring.batches import Batch, Layout, count

    values = np.random.default_rng(seed).normal(size=(WIDE, CHUNK))
    layout = Layout(_features(values))
    total, before = Batch.empty(layout), 0.0
    for place in range(chunks):
        # Other values in each chunk, at little cost beside that of drawing them.
        np.multiply(values, -1.0 if place % 2 else 1.01, out=values)
        total += count(layout, {f"x{one}": each for one, each in enumerate(values)}, CHUNK)
        before = before or _peak()
    return _peak() - before, total.rows, _peak()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def step() -> Row:
    """One step of the engine on 1000 columns."""
    import numpy as np

    from fullcircle.monitoring.batches import Batch, Layout, count
    from fullcircle.monitoring.engine import Watch
    from fullcircle.types.monitoring import Profile
    from fullcircle.types.project import Monitor

    generator = np.random.default_rng(2)
    features = _features(generator.normal(size=(WIDE, 2000)))
    watch = Watch(Profile(features=tuple(features), rows=2000), Monitor(window="1h"))
    columns = {f"x{place}": each for place, each in enumerate(generator.normal(size=(WIDE, 500)))}
    batch, nothing = count(Layout(features), columns, 500), Batch.empty(())
    watch.step(batch, nothing)
    return Row(
        what=f"one step of the alert budget, {WIDE} columns", unit="ms",
        ours=1e3 * _median(lambda: watch.step(batch, nothing)), goal=30,
    )  # fmt: skip

"""How fast distances are, how fast values are counted, and what a step of the engine takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.monitoring_streams import SCALE
from benchmarks.peers.servers import SERVER_CORE, on_core
from benchmarks.peers.talking import Peer, interleaved
from benchmarks.rows import Row

ROWS, COLUMNS = 100_000, 20
WIDE = 1000
EVIDENTLY = ("jensenshannon", "psi", "ks", "wasserstein", "hellinger")
NANNYML = ("jensen_shannon", "hellinger", "wasserstein", "kolmogorov_smirnov")


def rows(folder: Path, evidently: Path | None, nannyml: Path | None, scale: float = SCALE) -> list[Row]:
    """Counting, a wide step of the engine, and distances beside the peers' whose Pythons are given."""
    return [counting(scale), step(), *distances(folder, evidently, nannyml, scale)]


def distances(folder: Path, evidently: Path | None, nannyml: Path | None, scale: float = SCALE) -> list[Row]:
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
    theirs: dict[str, Callable[[], float]] = {}
    with ExitStack() as stack:
        if evidently is not None:
            one = stack.enter_context(Peer(evidently, "monitoring_evidently", folder=folder))
            theirs |= {
                f"Evidently, {method}{', count alone' * (not page)}": one.seconds(
                    "speed", **paths, method=method, report=page
                )
                for page in (True, False)
                for method in EVIDENTLY
            }
        if nannyml is not None:
            other = stack.enter_context(Peer(nannyml, "monitoring_nannyml", folder=folder))
            ways: dict[str, tuple[str, ...]] = {"all": NANNYML, **{method: (method,) for method in NANNYML}}
            theirs |= {
                f"NannyML, {way}": other.seconds("speed", **paths, methods=methods, rows=count)
                for way, methods in ways.items()
            }
            theirs["NannyML, fit and all"] = lambda: float(
                other.ask("speed", **paths, methods=NANNYML, rows=count)["first"]
            )
        return _told(interleaved({"first": ours.first, "later": ours.later, **theirs}, times=3), count)


def _told(found: dict[str, float], count: int) -> list[Row]:
    """A row for each comparison whose peer was asked, with the fastest of what it was asked for."""
    page = [name for name in found if name.startswith("Evidently") and "alone" not in name]
    alone = [name for name in found if "alone" in name]
    single = [f"NannyML, {method}" for method in NANNYML]
    size, frozen = f"2 x {count / 1000:g}k x {COLUMNS}", "first window, bins frozen"
    cases = [
        (frozen, "first", page, "its fastest report of one distance", 20),
        ("later window", "later", page, "its fastest report of one distance", 40),
        ("later window", "later", alone, "its fastest of one distance, no report", 1),
        (frozen, "first", ["NannyML, fit and all"], "its four distances", 1),
        ("later window", "later", ["NannyML, all"], "its four distances, fitted before", 5),
        ("later window", "later", single, "its fastest single distance, fitted before", 1),
    ]
    rows = []
    for what, ours, names, how, times in cases:
        asked = [name for name in names if name in found]
        if asked:
            best = min(asked, key=found.__getitem__)
            rows.append(
                Row(
                    what=f"all distances on {size}, {what}: {times}x {best.split(',')[0]}",
                    unit="s", ours=found[ours],
                    goal=found[best] / times, peer=found[best], peer_name=f"{best}: {how}",
                )
            )  # fmt: skip
    return rows


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
    layout, columns = Layout(features(values)), {f"x{place}": each for place, each in enumerate(values)}
    with on_core(SERVER_CORE):
        taken = _median(lambda: count(layout, columns, size))
    return Row(
        what="counting 64-bit numbers in 20 bins, one core",
        unit="M values/s", ours=values.size / taken / 1e6, goal=50, at_least=True,
    )  # fmt: skip


def features(values: Any) -> list[Any]:
    """Columns of numbers, x0 on, frozen on the rows of a matrix."""
    from fullcircle.monitoring.profiles import frozen

    return [frozen(f"x{place}", each) for place, each in enumerate(values)]


def _median(work: Callable[[], object], times: int = 5) -> float:
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def step() -> Row:
    """One step of the engine on 1000 columns."""
    import numpy as np

    from fullcircle.monitoring.batches import Batch, Layout, count
    from fullcircle.monitoring.engine import Watch
    from fullcircle.types.monitoring import Profile
    from fullcircle.types.project import Monitor

    generator = np.random.default_rng(2)
    known = features(generator.normal(size=(WIDE, 2000)))
    watch = Watch(Profile(features=tuple(known), rows=2000), Monitor(window="1h"))
    columns = {f"x{place}": each for place, each in enumerate(generator.normal(size=(WIDE, 500)))}
    batch, nothing = count(Layout(known), columns, 500), Batch.empty(())
    watch.step(batch, nothing)
    return Row(
        what=f"one step of the alert budget, {WIDE} columns", unit="ms",
        ours=1e3 * _median(lambda: watch.step(batch, nothing)), goal=30,
    )  # fmt: skip

"""What monitoring costs: a server on the way of a request, and a turn of the monitor, by row.

Of a request only that is measured which is there for the sake of monitoring: the row in the log, and what is counted
of it for the figures and the lines of minutes. Decoding, the model and the answer would be there without.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.monitoring_streams import SCALE
from benchmarks.rows import Row

COLUMNS, REQUESTS, LOGGED = 20, 2000, 20_000
GOAL = 10.0  # microseconds a row, of the issue


def rows(scale: float = SCALE) -> list[Row]:
    """Requests of 1 and of 100 rows with 20 columns; reading and counting what they left in the log."""
    found = []
    with tempfile.TemporaryDirectory(prefix="fullcircle-server-cost-") as name:
        folder = Path(name)
        for many in (1, 100):
            times = max(50, int(REQUESTS * scale) // many)
            told = f"logging and counting on the way of a request, {COLUMNS} columns, a row of {many}"
            found.append(Row(what=told, unit="us", ours=1e6 * _request(folder / str(many), many, times), goal=GOAL))
        found += _turn(folder / "turn", max(2000, int(LOGGED * scale)))
    return found


def _request(folder: Path, many: int, times: int) -> float:
    """Median seconds a row, of a request with so many."""
    from fullcircle.server.meter import Meter
    from fullcircle.tables.appending import PredictionLog

    loaded, body = _loaded(), json.dumps({"rows": [_row(one) for one in range(many)]}).encode()
    given = loaded.decoder.rows(body)
    assert given is not None
    block = loaded.scorer.block(loaded.decoder.matrix(given))
    log, meter, renderer, logged = PredictionLog(folder), Meter(), loaded.renderer, loaded.decoder.logged
    parts = renderer.parts(block)

    def asked() -> None:
        meter.queued("m", 1)
        log.write("m", renderer.logged(parts, logged(given), [b"%.6f" % 0.001] * many))
        meter.answered("m", 1, {"ok": many}, many, [0.001], (), 0.0005, 1)
        meter.queued("m", -1)

    try:
        return _median(asked, times) / many
    finally:
        log.close()


def _turn(folder: Path, many: int) -> list[Row]:
    """A server's log of so many rows, read and counted as a turn of the monitor does it."""
    import numpy as np
    import pandas as pd

    from fullcircle.monitoring.batches import of_rows
    from fullcircle.monitoring.profiles import profile
    from fullcircle.server.desk import Desk
    from fullcircle.server.engine import Ask
    from fullcircle.tables import predictions as log

    loaded, contract = _loaded(), _loaded().scorer.contract
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.normal(50, 10, (many, COLUMNS)), columns=[c.name for c in contract.columns])
    given = loaded.decoder.rows(json.dumps({"rows": frame.to_dict("records")}).encode())
    assert given is not None
    desk = Desk(folder)
    for start in range(0, many, 500):
        part = given[start : start + 500]
        desk.quick(loaded, part, loaded.scorer.block(loaded.decoder.matrix(part)), [Ask(b"", part)])
    desk.close()
    kept = list(log.read(folder, "m"))
    assert len(kept) == many
    reference = profile(frame, kept, contract)
    reading = _median(lambda: list(log.read(folder, "m")), 5)
    counting = _median(lambda: of_rows(reference, contract, kept), 5)
    what = f"a turn of the monitor, {COLUMNS} columns: {{}}, a logged row"
    return [
        Row(what=what.format("counted"), unit="us", ours=1e6 * counting / many, goal=GOAL),
        Row(what=what.format("read and counted"), unit="us", ours=1e6 * (reading + counting) / many, goal=3 * GOAL),
    ]


def _median(asked: Callable[[], Any], times: int) -> float:
    asked()
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        asked()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


class _Sum:
    """The least model there is: its cost is not ours."""

    def predict(self, frame: Any) -> Any:
        return frame.sum(axis=1).to_numpy(dtype=float)


def _row(seed: int) -> dict[str, float]:
    return {f"x{one}": 40.0 + (7 * one + seed) % 20 + 0.25 for one in range(COLUMNS)}


def _loaded() -> Any:
    from fullcircle.runtimes.scorer import Scorer
    from fullcircle.server.follower import Loaded
    from fullcircle.types.contract import Column, Contract

    columns = tuple(Column(name=f"x{one}", kind="number", low=-100, high=200) for one in range(COLUMNS))
    contract = Contract(columns=columns, label="y", task="regression", prior=0.0)
    return Loaded(model="m", version=1, bundle="b" * 64, scorer=Scorer(contract, _Sum()))

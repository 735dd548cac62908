"""E005 latency: how long does one row take, contract and model included, in this process, on one thread?

Measures: ``latency_p50_ms`` and ``latency_p99_ms`` over 200 single rows after a warm-up.
"""

from __future__ import annotations

import time

import numpy as np

from fullcircle.evaluation import charts, words
from fullcircle.evaluation.check import Array, Skipped, Subject
from fullcircle.types.report import Finding, Measure

SINGLE_ROWS = 200
_WARM_UP = 20


class Latency:
    """The time of single answers."""

    name = "latency"
    code = "E005"
    measures: tuple[str, ...] = ("latency_p50_ms", "latency_p99_ms")

    def run(self, subject: Subject) -> Finding | Skipped:
        """Answer single rows one after the other; rows are taken in turn where there are fewer than 200."""
        if subject.score_one is None:
            return Skipped("the model itself is not known, only its answers")
        times = _times(subject)
        found = tuple(
            Measure(
                name=name,
                value=float(np.quantile(times, share)),
                n=len(times),
                unit="ms",
                method=f"{len(times)} single rows in process, one after the other",
            )
            for name, share in (("latency_p50_ms", 0.5), ("latency_p99_ms", 0.99))
        )
        return Finding(
            check=self.name,
            code=self.code,
            title="Latency",
            severity="info",
            text=(
                f"Half of {len(times)} single rows were answered within {words.number(found[0].value)} ms, "
                f"99 of 100 within {words.number(found[1].value)} ms."
            ),
            measures=found,
            charts=(charts.histogram("Time of one answer", times, x_title="ms"),),
        )


def _times(subject: Subject) -> Array:
    """Milliseconds per answer, with single-threaded maths as in the server: threads only wait for each other here."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        return _timed(subject)


def _timed(subject: Subject) -> Array:
    assert subject.score_one is not None  # noqa: S101 - run() has looked
    few = subject.frame[list(subject.features)].head(SINGLE_ROWS)
    rows = [{str(name): _plain(value) for name, value in row.items()} for row in few.to_dict("records")]
    for turn in range(_WARM_UP):
        subject.score_one(rows[turn % len(rows)])
    taken = np.empty(SINGLE_ROWS)
    for turn in range(SINGLE_ROWS):
        row = rows[turn % len(rows)]
        begun = time.perf_counter_ns()
        subject.score_one(row)
        taken[turn] = (time.perf_counter_ns() - begun) / 1e6
    return taken


def _plain(value: object) -> object:
    """A value as it would come out of JSON: missing is None, a time is ISO 8601 text."""
    if value is None or value != value:
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) else value

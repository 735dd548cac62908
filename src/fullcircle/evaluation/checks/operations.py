"""E005 operations: how long do answers take, how many can be had in a second, and what do they need?

Measured in this process, on one thread, contract included where there is one. Measures: ``latency_p50_ms`` and
``latency_p99_ms`` of single rows, with intervals by order statistics; ``rows_per_second`` of batches;
``batch_memory``, the largest extra memory while a batch was answered; ``model_bytes``, the size of the model's file.

A model that misses a latency gate is measured once more, because another program may have had the machine; the
second figures count. The machine's load is in the text.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from fullcircle.evaluation import charts, words
from fullcircle.evaluation.check import Array, Frame, Skipped, Subject
from fullcircle.stats import intervals, order
from fullcircle.types.report import Finding, Measure

SINGLE_ROWS = 400  # the upper end of the 99 % quantile needs 368
_WARM_UP = 20
# The longest that single rows may take in all; a slower model is judged on fewer of them.
_SECONDS = 20.0
_BATCH = 1000
_BATCHES = 5


class Operations:
    """Latency, throughput, memory and size."""

    name = "operations"
    code = "E005"
    measures: tuple[str, ...] = ("latency_p50_ms", "latency_p99_ms", "rows_per_second")

    def run(self, subject: Subject) -> Finding | Skipped:
        """Time single rows and batches of the test rows; rows are taken again where there are fewer."""
        if subject.score_one is None or subject.rows == 0:
            return Skipped("the model itself is not known, only its answers")
        times, again = _single(subject)
        latency = [
            _quantile(times, name, share) for name, share in (("latency_p50_ms", 0.5), ("latency_p99_ms", 0.99))
        ]
        found = [*latency, *_batches(subject), *_size(subject)]
        return Finding(
            check=self.name,
            code=self.code,
            title="Operations",
            severity="info",
            text=_text(found, times, again),
            measures=tuple(found),
            charts=(charts.histogram("Time of one answer", times, x_title="ms"),),
        )


def _single(subject: Subject) -> tuple[Array, bool]:
    """Milliseconds per answer, and whether they were measured twice."""
    limits = [gate.limit for gate in subject.gates if gate.kind == "latency"]
    times = _times(subject)
    high = _quantile(times, "p99", 0.99).high
    if limits and (high is None or high > min(limits)):
        return _times(subject), True
    return times, False


def _times(subject: Subject) -> Array:
    """Milliseconds per answer."""
    few = subject.frame[list(subject.features)].head(SINGLE_ROWS)
    rows = [{str(name): _plain(value) for name, value in row.items()} for row in few.to_dict("records")]
    return np.empty(0) if subject.score_one is None else _timed(subject.score_one, rows)


def _timed(score_one: Callable[[dict[str, object]], object], rows: list[dict[str, object]]) -> Array:
    for turn in range(_WARM_UP):
        score_one(rows[turn % len(rows)])
    taken: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(taken) < SINGLE_ROWS and (not taken or time.perf_counter() < end):
        row = rows[len(taken) % len(rows)]
        begun = time.perf_counter_ns()
        score_one(row)
        taken.append((time.perf_counter_ns() - begun) / 1e6)
    return np.array(taken)


def _quantile(times: Array, name: str, share: float) -> Measure:
    """A quantile of the times with the interval that order statistics give (David & Nagaraja 2003, 7.1)."""
    found = order.quantile(times, share)
    return Measure(
        name=name,
        value=float(found.value),
        low=float(found.low) if np.isfinite(found.low) else None,
        high=float(found.high) if np.isfinite(found.high) else None,
        n=len(times),
        unit="ms",
        method=f"{len(times)} single rows in process, one after the other; order statistics",
        better="lower",
    )


def _batches(subject: Subject) -> list[Measure]:
    """The throughput of batches, and what the largest of them needed."""
    ask = _ask(subject)
    if ask is None:
        return []
    places = np.arange(_BATCH) % subject.rows
    batch = subject.frame.iloc[places].reset_index(drop=True)
    if subject.judge is None and subject.inputs is not None:
        batch = subject.inputs.iloc[places].reset_index(drop=True)
    ask(batch.head(10))
    taken = []
    for _ in range(_BATCHES):
        begun = time.perf_counter()
        ask(batch)
        taken.append(time.perf_counter() - begun)
    speeds = _BATCH / np.array(taken)
    found = intervals.mean(speeds)
    how = f"{_BATCHES} batches of {_BATCH} rows in process"
    return [
        Measure(
            name="rows_per_second",
            value=float(found.value),
            low=max(0.0, float(found.low)),
            high=float(found.high),
            n=_BATCH * _BATCHES,
            unit="rows a second",
            method=f"{how}; t interval",
            better="higher",
        ),
        Measure(
            name="batch_memory",
            value=_peak(ask, batch) / 1e6,
            n=_BATCH,
            unit="MB",
            method=f"largest extra memory while {_BATCH} rows were answered, as Python and numpy allocate it",
            better="lower",
        ),
    ]


def _ask(subject: Subject) -> Callable[[Frame], object] | None:
    """How a batch is answered: through the contract where there is one."""
    if subject.judge is not None:
        return subject.judge
    if subject.inputs is None:
        return None
    return subject.predict


def _peak(ask: Callable[[Frame], object], batch: Frame) -> float:
    """The most bytes allocated at once while a batch was answered."""
    if tracemalloc.is_tracing():  # somebody else is measuring: their figures must not be reset
        return float("nan")
    tracemalloc.start()
    try:
        ask(batch)
        return float(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def _size(subject: Subject) -> list[Measure]:
    if subject.model_bytes is None:
        return []
    size = float(subject.model_bytes)
    return [
        Measure(name="model_bytes", value=size, low=size, high=size, unit="bytes", method="counted", better="lower")
    ]


def _text(found: list[Measure], times: Array, again: bool) -> str:
    by_name = {measure.name: measure for measure in found}
    half, most = by_name["latency_p50_ms"], by_name["latency_p99_ms"]
    again_said = " (measured again after a first miss)" if again else ""
    parts = [
        f"Half of {len(times)} single rows were answered within {_short(half.value)} ms, "
        f"99 of 100 within {_short(most.value)} ms{again_said}."
    ]
    if "rows_per_second" in by_name:
        parts.append(f"In batches it answers {_short(by_name['rows_per_second'].value)} rows a second.")
    if "model_bytes" in by_name:
        parts.append(f"The model file has {as_text(int(by_name['model_bytes'].value or 0))}.")
    return " ".join([*parts, load()])


def _short(value: float | None) -> str:
    """Three significant digits: timings are no better than that."""
    return words.number(None if value is None else float(f"{value:.3g}"))


def load() -> str:
    """How busy the machine was, in a sentence: timings on a busy machine say little."""
    cores = os.cpu_count() or 1
    if not hasattr(os, "getloadavg"):
        return f"The machine has {cores} cores."
    return f"The machine's load was {os.getloadavg()[0]:.1f} on {cores} cores."


def as_text(size: int) -> str:
    """Bytes in the unit that fits, powers of 1000."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"


def _plain(value: object) -> object:
    """A value as it would come out of JSON: missing is None, a time is ISO 8601 text."""
    if value is None or value != value:
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) else value

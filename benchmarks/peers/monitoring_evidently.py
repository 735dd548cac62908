"""Evidently, asked one thing at a time: a line of JSON in, a line of JSON out. Runs in an environment of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import monitoring_offline  # type: ignore[import-not-found]  # first: nothing after it reaches a network
import pandas as pd
from evidently import DataDefinition, Dataset, Report  # type: ignore[import-not-found]
from evidently.metrics import DriftedColumnsCount  # type: ignore[import-not-found]
from evidently.presets import DataDriftPreset  # type: ignore[import-not-found]

monitoring_offline.closed()


def speed(reference: str, current: str, method: str, report: bool) -> dict[str, Any]:
    """Seconds to compare two tables by one distance; ``report`` with what its page shows, or only a count."""
    first, second = _frame(reference), _frame(current)
    metric = DataDriftPreset(num_method=method) if report else DriftedColumnsCount(num_method=method)
    begun = time.perf_counter()
    Report([metric]).run(second, first).dict()
    return {"seconds": time.perf_counter() - begun}


def alarms(reference: str, windows: str, rows: int, categories: list[str], most: int) -> dict[str, Any]:
    """For each window of so many rows: how many columns its defaults call drifted, and of how many."""
    known = _frame(reference)
    numbers = [name for name in known.columns if name not in categories]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
    first, every = Dataset.from_pandas(known, definition), _frame(windows)
    found = []
    for start in range(0, min(len(every) // rows, most) * rows, rows):
        second = Dataset.from_pandas(every.iloc[start : start + rows].reset_index(drop=True), definition)
        found.append(_count(Report([DriftedColumnsCount()]).run(second, first).dict()))
    return {"columns": len(known.columns), "drifted": found}


def _count(told: Mapping[str, Any]) -> int:
    (one,) = (each for each in told["metrics"] if each["metric_name"].startswith("DriftedColumnsCount"))
    return int(one["value"]["count"])


_frame = lru_cache(maxsize=None)(pd.read_parquet)


if __name__ == "__main__":
    monitoring_offline.answer({"speed": speed, "alarms": alarms})

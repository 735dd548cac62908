"""NannyML, asked one thing at a time: a line of JSON in, a line of JSON out. Runs in an environment of its own."""

from __future__ import annotations

import time
import warnings
from functools import lru_cache
from typing import Any

import monitoring_offline  # type: ignore[import-not-found]  # first: nothing after it reaches a network
import nannyml as nml  # type: ignore[import-not-found]
import pandas as pd

monitoring_offline.closed()
warnings.simplefilter("ignore")


def speed(reference: str, current: str, methods: list[str], rows: int) -> dict[str, Any]:
    """Seconds to fit the reference in chunks of so many rows, and to compare the current table with it."""
    first, second = _frame(reference), _frame(current)
    begun = time.perf_counter()
    made = nml.UnivariateDriftCalculator(column_names=list(first), continuous_methods=methods, chunk_size=rows)
    made.fit(first)
    fitted = time.perf_counter()
    made.calculate(second)
    return {"first": time.perf_counter() - begun, "seconds": time.perf_counter() - fitted}


def alarms(reference: str, windows: str, rows: int, categories: list[str], most: int) -> dict[str, Any]:
    """For each window of so many rows: how many columns its defaults alert on, and of how many."""
    first, every = _frame(reference), _frame(windows)
    made = nml.UnivariateDriftCalculator(
        column_names=list(first), treat_as_categorical=categories, chunk_size=rows
    ).fit(first)
    asked = every.iloc[: min(len(every) // rows, most) * rows].reset_index(drop=True)
    told = made.calculate(asked).filter(period="analysis").to_df()
    alerts = told.loc[:, [name for name in told.columns if name[-1] == "alert"]]
    return {"columns": len(first.columns), "drifted": alerts.fillna(False).astype(int).sum(axis=1).tolist()}


def cbpe(reference: str, windows: str, rows: int, label: str, said: str, chance: str) -> dict[str, Any]:
    """Its estimates of each chunk: metric to a list of (estimate, low, high, realised)."""
    first, second = _frame(reference), _frame(windows)
    metrics = ["accuracy", "roc_auc", "f1", "precision", "recall"]
    columns: dict[str, Any] = {"y_true": label, "y_pred": said, "y_pred_proba": chance}
    shared: dict[str, Any] = {"problem_type": "classification_binary", "metrics": metrics, "chunk_size": rows}
    estimated = nml.CBPE(**columns, **shared).fit(first).estimate(second).filter(period="analysis").to_df()
    known = nml.PerformanceCalculator(**columns, **shared).fit(first).calculate(second)
    realised = known.filter(period="analysis").to_df()
    bounds = ("value", "lower_confidence_boundary", "upper_confidence_boundary")
    return {
        metric: [
            [
                *(float(estimated[(metric, one)].iloc[place]) for one in bounds),
                float(realised[(metric, "value")].iloc[place]),
            ]
            for place in range(len(estimated))
        ]
        for metric in metrics
    }


_frame = lru_cache(maxsize=None)(pd.read_parquet)


if __name__ == "__main__":
    monitoring_offline.answer({"speed": speed, "alarms": alarms, "cbpe": cbpe})

"""E003 value: what do the model's answers earn, in the project's own money?

Measures: ``value_per_row``, the mean of the worth gate's ``per_row(actual, predicted)``; the same for the trivial
model (``baseline_value_per_row``) and the champion (``champion_value_per_row``, on the rows that it answered).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fullcircle.errors import ProjectInvalid
from fullcircle.evaluation import charts, metrics, words
from fullcircle.evaluation.check import Array, Skipped, Subject, missing
from fullcircle.stats import intervals
from fullcircle.types.report import Finding, Measure


class Value:
    """The mean value of a row with its interval, beside no model and the champion."""

    name = "value"
    code = "E003"
    measures: tuple[str, ...] = ("value_per_row",)

    def run(self, subject: Subject) -> Finding | Skipped:
        """Ask the project's own function what each answer is worth."""
        gate = next((gate for gate in subject.gates if gate.kind == "worth" and gate.per_row), None)
        if gate is None or gate.per_row is None:
            return Skipped("no gate says what an answer is worth: fc.worth(per_row=...)")
        per_row = gate.per_row
        own = _values(per_row, subject.actual, subject.predicted)
        found = [
            _measure("value_per_row", own),
            _measure("baseline_value_per_row", _values(per_row, subject.actual, subject.baseline)),
        ]
        if subject.champion is not None:
            both = subject.champion_answered()
            earned = _values(per_row, subject.actual[both], subject.champion[both])
            found.append(_measure("champion_value_per_row", earned))
        value, trivial = found[0], found[1]
        earns = value.value is not None and value.value >= gate.limit
        return Finding(
            check=self.name,
            code=self.code,
            title="Value",
            severity="good" if earns else "bad",
            text=(
                f"An answer is worth {words.span(value)} on average over {words.rows(value.n)}; "
                f"without a model it would be {words.number(trivial.value)}."
            ),
            measures=tuple(found),
            charts=(
                charts.ranges(
                    "Value of an answer",
                    [(_title(measure.name), measure) for measure in found],
                    x_title="mean value of a row",
                ),
                charts.histogram("Value by row", own, x_title="value of a row"),
            ),
        )


def _values(per_row: Callable[[Any, Any], Any], actual: Array, predicted: Array) -> Array:
    """One number per row. Copies are handed over: the function is the user's own and may change what it gets."""
    answer = per_row(actual.copy(), predicted.copy())
    values = np.asarray(answer, dtype=float)
    if values.shape != actual.shape or missing(values):
        raise ProjectInvalid(
            "per_row in worth(...) did not return one finite number per row",
            received=f"shape {values.shape}, {missing(values)} of them not finite",
            allowed=f"shape {actual.shape}",
            next_step="let per_row(actual, predicted) work on whole arrays, for example numpy.where(...)",
        )
    return values


def _measure(name: str, values: Array) -> Measure:
    found = intervals.mean(values)
    return Measure(
        name=name,
        value=metrics.finite(found[0]),
        low=metrics.finite(found[1]),
        high=metrics.finite(found[2]),
        n=len(values),
        unit="a row",
        method="t interval" if len(values) else "no row to judge by",
    )


def _title(name: str) -> str:
    return {"value_per_row": "this model", "baseline_value_per_row": "no model"}.get(name, "champion")

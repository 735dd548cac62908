"""The reference profile, and the counts of a window in its bins. Counts of two lots of rows merge by addition.

Rows are counted as they arrived, as far as the log tells: a value that the contract imputed counts as missing, a
category it did not know as "other". The answer itself is the last feature of every profile. Of text and times
only what is missing counts: new text is no drift, and time moves on by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fullcircle.errors import DataUnfit
from fullcircle.runtimes.contracts import examine, rows_of
from fullcircle.stats import bins
from fullcircle.types.contract import Column, Contract, Value, Verdict
from fullcircle.types.monitoring import FeatureProfile, Profile

PREDICTION = "prediction"
BINS = 10
# What is counted in the place of a value that the contract could not use: no category has this name.
_ABSENT: Mapping[str, str | None] = {"missing": None, "wrong_type": None, "unseen": "\0unseen"}
Counts = dict[str, tuple[int, ...]]


def profile(
    frame: Any,
    predictions: Sequence[Value],
    contract: Contract,
    *,
    metric: str = "",
    value: float | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Profile:
    """Freeze bins on the reference rows and count them.

    ``frame`` holds the n reference rows (a pandas DataFrame), ``predictions`` the model's n answers, None where
    a row was rejected. Rows go through the contract as in production, so that both are counted alike.
    ``metric`` with its value and interval is the main metric on these rows. Raises DataUnfit where the two
    lengths differ, or not a single row was answered.
    """
    if len(frame) != len(predictions):
        raise DataUnfit(
            "the reference has not as many predictions as rows",
            received=f"{len(predictions)} predictions, {len(frame)} rows",
            next_step="pass the predictions of these rows, None for a rejected one",
        )
    answered = [answer for answer in predictions if answer is not None]
    if not answered:
        raise DataUnfit(
            "no reference row was answered, so there is nothing to compare with later",
            received=f"{len(predictions)} rows, all rejected",
            next_step="look at the problems of the test rows, and at the policies in inputs",
        )
    inputs = _seen(frame, predictions, contract)
    features = [_feature(column, [row[column.name] for row in inputs]) for column in contract.columns]
    features.append(_prediction(contract, answered))
    return Profile(
        features=tuple(features),
        rows=len(predictions),
        metric=metric,
        metric_value=value,
        metric_low=low,
        metric_high=high,
    )


def counts(profile: Profile, inputs: Sequence[Mapping[str, Any]], predictions: Sequence[Value]) -> Counts:
    """Count the rows of a window in the profile's bins: feature name to K + 2 counts.

    ``inputs`` are rows as ``arrived`` gives them, ``predictions`` the answers; None among them does not count.
    """
    found = {
        feature.name: _count(feature, [row.get(feature.name) for row in inputs]) for feature in profile.features[:-1]
    }
    last = profile.features[-1]
    return {**found, last.name: _count(last, [answer for answer in predictions if answer is not None])}


def merge(first: Mapping[str, Sequence[int]], second: Mapping[str, Sequence[int]]) -> Counts:
    """The counts of both lots together, exactly. Raises DataUnfit where they were counted in different bins."""
    sizes = [{name: len(values) for name, values in lot.items()} for lot in (first, second)]
    if sizes[0] != sizes[1]:
        raise DataUnfit(
            "counts in different bins cannot be added",
            received=f"{len(first)} and {len(second)} features",
            allowed="counts made with the same profile",
            next_step="count both with one profile",
        )
    return {name: tuple(a + b for a, b in zip(first[name], second[name], strict=True)) for name in first}


def arrived(values: Mapping[str, Any], verdict: Verdict) -> dict[str, Any]:
    """The row before the contract mended it: imputed values are missing again, unseen categories a stranger."""
    row = dict(values)
    for problem in verdict.problems:
        if problem.column in row and problem.reason in _ABSENT:
            row[problem.column] = _ABSENT[problem.reason]
    return row


def _seen(frame: Any, predictions: Sequence[Value], contract: Contract) -> list[dict[str, Any]]:
    """The rows that the model answered: not rejected, nor answered by the fallback."""
    rows: list[dict[str, Any]] = []
    for row, answer in zip(rows_of(frame, contract), predictions, strict=True):
        verdict, values = examine(contract, row)
        if answer is not None and verdict.status not in ("rejected", "fallback"):
            rows.append(arrived(values, verdict))
    return rows


def _feature(column: Column, values: Sequence[Value]) -> FeatureProfile:
    if column.kind in ("number", "integer"):
        return _numbers(column.name, values)
    categories = {"category": column.categories, "boolean": ("False", "True")}.get(column.kind, ())
    return _categories(column.name, values, categories)


def _prediction(contract: Contract, answers: Sequence[Value]) -> FeatureProfile:
    name = PREDICTION if PREDICTION not in contract.names else f"{PREDICTION} (the answer)"
    if contract.task == "regression":
        return _numbers(name, answers)
    return _categories(name, answers, tuple(str(label) for label in contract.classes))


def _numbers(name: str, values: Sequence[Value]) -> FeatureProfile:
    numbers = bins.as_numbers([math.nan if value is None else value for value in values])
    edges = bins.quantile_edges(numbers, BINS)
    present = numbers[numbers == numbers]
    return FeatureProfile(
        name=name,
        kind="number",
        edges=tuple(edges.tolist()),
        counts=tuple(bins.count_numbers(numbers, edges).tolist()),
        low=float(present.min()) if present.size else None,
        high=float(present.max()) if present.size else None,
    )


def _categories(name: str, values: Sequence[Value], categories: tuple[str, ...]) -> FeatureProfile:
    counted = bins.count_categories(values, categories)
    return FeatureProfile(name=name, kind="category", categories=categories, counts=tuple(counted.tolist()))


def _count(feature: FeatureProfile, values: Sequence[Any]) -> tuple[int, ...]:
    if feature.kind == "number":
        return tuple(bins.count_numbers(values, feature.edges).tolist())
    return tuple(bins.count_categories(values, feature.categories).tolist())

"""The reference profile, and the counts of a window in its bins. Counts of two lots of rows merge by addition.

Rows are counted as they arrived, as far as the log tells: a value that the contract imputed counts as missing, a
category it did not know as "other". The last two features of every profile are what became of the rows (the
verdict, counted over all of them) and the answer itself. Of text and times only what is missing counts: new text is
no drift, and time moves on by itself. Private columns are not counted, because their values are not in the log.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fullcircle.errors import DataUnfit
from fullcircle.runtimes.contracts import examine, rows_of
from fullcircle.stats import bins
from fullcircle.types.contract import STATUSES, Column, Contract, Status, Value, Verdict
from fullcircle.types.monitoring import FeatureProfile, Profile

PREDICTION = "prediction"
VERDICT = "verdict"
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
    judged = [examine(contract, row) for row in rows_of(frame, contract)]
    # What the contract let pass and has no answer was rejected by the model.
    pairs = zip(judged, predictions, strict=True)
    statuses = [verdict.status if answer is not None else "rejected" for (verdict, _), answer in pairs]
    inputs = _seen(judged, statuses)
    watched = [column for column in contract.columns if not column.private]
    features = [_feature(column, [row[column.name] for row in inputs]) for column in watched]
    features.append(_categories(_free(VERDICT, contract), statuses, STATUSES))
    features.append(_prediction(contract, answered))
    return Profile(
        features=tuple(features),
        rows=len(predictions),
        metric=metric,
        metric_value=value,
        metric_low=low,
        metric_high=high,
    )


def counts(
    profile: Profile,
    inputs: Sequence[Mapping[str, Any]],
    predictions: Sequence[Value],
    statuses: Sequence[Status],
) -> Counts:
    """Count the rows of a window in the profile's bins: feature name to K + 2 counts.

    ``inputs`` are rows as ``arrived`` gives them, ``predictions`` the answers; None among them does not count.
    ``statuses`` are those of the verdicts on all rows, the rejected ones included.
    """
    *columns, verdict, answer = profile.features
    found = {feature.name: _count(feature, [row.get(feature.name) for row in inputs]) for feature in columns}
    found[verdict.name] = _count(verdict, statuses)
    return {**found, answer.name: _count(answer, [value for value in predictions if value is not None])}


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


def _seen(judged: Sequence[tuple[Verdict, dict[str, Value]]], statuses: Sequence[Status]) -> list[dict[str, Any]]:
    """The rows that the model answered: not rejected, nor answered by the fallback."""
    return [
        arrived(values, verdict)
        for (verdict, values), status in zip(judged, statuses, strict=True)
        if status not in ("rejected", "fallback")
    ]


def _feature(column: Column, values: Sequence[Value]) -> FeatureProfile:
    if column.kind in ("number", "integer"):
        return _numbers(column.name, values)
    categories = {"category": column.categories, "boolean": ("False", "True")}.get(column.kind, ())
    return _categories(column.name, values, categories)


def _prediction(contract: Contract, answers: Sequence[Value]) -> FeatureProfile:
    name = _free(PREDICTION, contract)
    if contract.task == "regression":
        return _numbers(name, answers)
    return _categories(name, answers, tuple(str(label) for label in contract.classes))


def _free(name: str, contract: Contract) -> str:
    """The name of a feature that is no column: one that no column has."""
    return name if name not in contract.names else f"{name} (of the row)"


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

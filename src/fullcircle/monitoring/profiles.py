"""The reference profile: how every watched column looked on the rows that the model was evaluated on.

Rows are counted as they arrived, as far as the log tells: a value that the contract imputed counts as missing, a
category it did not know as "other". After the inputs come what became of the rows (the verdict, counted over all of
them), the answer itself, and the loss that the model expects; of labelled rows there are the label and the loss. Of
text and times only what is missing counts: new text is no drift, and time moves on by itself. Private columns are not
counted, because their values are not in the log.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullcircle.errors import DataUnfit
from fullcircle.monitoring import losses
from fullcircle.monitoring.batchwise import Valued, dependence_of
from fullcircle.runtimes.contracts import examine, rows_of
from fullcircle.stats import bins, summaries
from fullcircle.types.contract import STATUSES, Column, Contract, Value, Verdict
from fullcircle.types.durations import duration
from fullcircle.types.monitoring import FeatureProfile, Kind, Profile, Role
from fullcircle.types.prediction import Prediction

PREDICTION = "prediction"
VERDICT = "verdict"
ESTIMATE = "expected loss"
LOSS = "loss"
BINS = 20
QUANTILES = 33
# What is counted in the place of a value that the contract could not use: no category has this name.
_ABSENT: Mapping[str, str | None] = {"missing": None, "wrong_type": None, "unseen": "\0unseen"}
_KINDS: Mapping[Kind, tuple[Role, ...]] = {
    "drift": ("input", "verdict", "prediction", "label"),
    "risk": ("loss",),
    "estimate": ("estimate",),
}
Chances = Mapping[str, float] | None


def profile(
    frame: Any,
    predictions: Sequence[Value] | Sequence[Prediction],
    contract: Contract,
    *,
    metric: str = "",
    value: float | None = None,
    low: float | None = None,
    high: float | None = None,
    probabilities: Sequence[Chances] | None = None,
    labels: Sequence[Value] | None = None,
    times: Any = None,
    window: str = "",
) -> Profile:
    """Freeze bins on the reference rows and count them.

    ``frame`` holds the n reference rows (a pandas DataFrame), ``predictions`` the model's n answers, None where
    a row was rejected: then rows go through the contract as in production, so that both are counted alike. Where
    predictions come as the scorer made them, their verdicts and inputs are taken, and nothing of the frame.
    ``metric`` with its value and interval is the main metric on these rows. With ``labels`` (n) there is a loss to
    watch, of which ``probabilities`` (n, class to probability) tell more than the bare answer. With ``times`` (n,
    whatever pandas reads as times; UTC where they have no zone) and the length of a batch as ``window``, dependence
    is learned where there are 8 weeks of batches. The same rows give the same profile. Raises DataUnfit where the
    lengths differ, or not a single row was answered.
    """
    _same_length(frame, predictions, probabilities, labels, times)
    rows = _judged(frame, predictions, probabilities, contract)
    answered = [place for place, row in enumerate(rows) if row.value is not None]
    if not answered:
        raise DataUnfit(
            "no reference row was answered, so there is nothing to compare with later",
            received=f"{len(rows)} rows, all rejected",
            next_step="look at the problems of the test rows, and at the policies in inputs",
        )
    loss, actual = None, [] if labels is None else [labels[place] for place in answered]
    if any(label is not None and label == label for label in actual):
        chances = chances_of(contract, [rows[place].probabilities for place in answered])
        answers = [rows[place].value for place in answered]
        loss = losses.fit(contract, objects(actual), objects(answers), chances)
    bare = Profile(
        features=(), rows=len(rows), metric=metric, metric_value=value, metric_low=low, metric_high=high, loss=loss
    )
    watched = _watched(bare, contract, rows, answered, actual)
    features, outcomes = (
        tuple(each.feature for each in watched if (each.feature.role in ("label", "loss")) is labelled)
        for labelled in (False, True)
    )
    found = replace(bare, features=features, outcomes=outcomes)
    if times is None or not window:
        return found
    columns = [Valued(each.feature, each.values, each.rows) for each in watched]
    return replace(found, dependence=dependence_of(columns, times, duration(window).total_seconds()))


def roles(profile: Profile) -> dict[str, Role]:
    """What each column of the profile is, by name. Old bundles, of before roles were recorded, say "input" of all.

    Raises DataUnfit where two columns have one name.
    """
    distinct(feature.name for feature in (*profile.features, *profile.outcomes))
    found = {feature.name: feature.role for feature in (*profile.features, *profile.outcomes)}
    if len(profile.features) >= 2 and all(feature.role == "input" for feature in profile.features):
        *_, verdict, answer = profile.features
        if verdict.categories == STATUSES:
            found |= {verdict.name: "verdict", answer.name: "prediction"}
    return found


def distinct(names: Iterable[str]) -> None:
    """Raise DataUnfit where two columns have one name: nothing could tell their counts apart."""
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise DataUnfit(
            "two columns of a profile have one name",
            received=", ".join(map(repr, twice[:5])),
            allowed="a name of its own for each column",
            next_step="train and package the model again; its profile was made by an early fullcircle, or by hand",
        )


def columns_of(profile: Profile, kind: Kind) -> tuple[FeatureProfile, ...]:
    """The columns that a kind of detector watches, with their roles: of the features first, then of the outcomes."""
    role = roles(profile)
    every = (*profile.features, *profile.outcomes)
    return tuple(replace(each, role=role[each.name]) for each in every if role[each.name] in _KINDS[kind])


def arrived(values: Mapping[str, Any], verdict: Verdict) -> dict[str, Any]:
    """The row before the contract mended it: imputed values are missing again, unseen categories a stranger."""
    row = dict(values)
    for problem in verdict.problems:
        if problem.column in row and problem.reason in _ABSENT:
            row[problem.column] = _ABSENT[problem.reason]
    return row


def chances_of(contract: Contract, probabilities: Sequence[Chances]) -> NDArray[np.float64] | None:
    """Probabilities (n x classes) in the contract's order, NaN in a row without; None where no row has any."""
    if contract.task == "regression" or not any(each is not None for each in probabilities):
        return None
    names = [str(label) for label in contract.classes]
    absent = [math.nan] * len(names)
    listed = [absent if each is None else [each.get(name, math.nan) for name in names] for each in probabilities]
    return np.array(listed, dtype=np.float64)


def _same_length(frame: Any, predictions: Sequence[Any], *others: Any) -> None:
    lengths = [len(frame), *(len(each) for each in others if each is not None)]
    if any(length != len(predictions) for length in lengths):
        raise DataUnfit(
            "the reference has not as many predictions as rows",
            received=f"{len(predictions)} predictions, {' and '.join(map(str, lengths))} rows",
            next_step="pass the predictions of these rows, None for a rejected one, and everything else by row too",
        )


def _judged(
    frame: Any, predictions: Sequence[Any], probabilities: Sequence[Chances] | None, contract: Contract
) -> list[Prediction]:
    """The reference rows as the log would have them."""
    if predictions and isinstance(predictions[0], Prediction):
        return list(predictions)
    chances = probabilities if probabilities is not None else [None] * len(predictions)
    found = []
    for row, answer, chance in zip(rows_of(frame, contract), predictions, chances, strict=True):
        verdict, values = examine(contract, row)
        if answer is None:  # what the contract let pass and has no answer was rejected by the model
            verdict = replace(verdict, status="rejected")
        seen = None if verdict.status in ("rejected", "fallback") else values
        found.append(Prediction(value=answer, verdict=verdict, inputs=seen, probabilities=chance))
    return found


class _Column:
    """One watched column of the reference: its profile, its values, and which rows they are of."""

    __slots__ = ("feature", "rows", "values")

    def __init__(self, feature: FeatureProfile, values: Any, rows: Sequence[int]) -> None:
        self.feature, self.values, self.rows = feature, values, rows


def _watched(
    bare: Profile, contract: Contract, rows: Sequence[Prediction], answered: Sequence[int], actual: Sequence[Value]
) -> list[_Column]:
    asked = [place for place, row in enumerate(rows) if row.inputs is not None]
    inputs = [arrived(rows[place].inputs or {}, rows[place].verdict) for place in asked]
    found = []
    for column in contract.columns:
        if not column.private:
            values = [row.get(column.name) for row in inputs]
            found.append(_Column(_feature(column, values), values, asked))
    taken = set(contract.names)
    statuses = [row.verdict.status for row in rows]
    verdict = _categories(_free(VERDICT, taken), statuses, STATUSES, role="verdict")
    answers = [rows[place].value for place in answered]
    prediction = _answers(_free(PREDICTION, taken), answers, contract, role="prediction")
    found += [_Column(verdict, statuses, range(len(rows))), _Column(prediction, answers, answered)]
    if bare.loss is None:
        return found
    judged = [place for place in asked if rows[place].value is not None]
    given = objects([rows[place].value for place in judged])
    chances = chances_of(contract, [rows[place].probabilities for place in judged])
    estimate = np.asarray(losses.expected(bare.loss, contract, given, chances)) if judged else np.empty(0)
    if np.isfinite(estimate).any():
        found.append(_Column(_numbers(_free(ESTIMATE, taken), estimate, role="estimate"), estimate, judged))
    labelled = [
        (place, label) for place, label in zip(answered, actual, strict=True) if label is not None and label == label
    ]
    places = [place for place, _ in labelled]
    labels = [_like(contract, label) for _, label in labelled]
    found.append(_Column(_answers(_free(contract.label, taken), labels, contract, role="label"), labels, places))
    chances = chances_of(contract, [rows[place].probabilities for place in places])
    given = objects([rows[place].value for place in places])
    realised = losses.realised(bare.loss, contract, given, chances, objects(labels))
    found.append(_Column(_numbers(_free(LOSS, taken), realised, role="loss"), realised, places))
    return found


def _like(contract: Contract, label: Value) -> Value:
    """A label as outcomes have it: of the kind of the classes, which a frame may have written otherwise."""
    value = label.item() if isinstance(label, np.generic) else label
    if contract.task == "classification" and value not in contract.classes:
        named: dict[str, Value] = {str(each): each for each in contract.classes}
        return named.get(str(value), value)
    return next((each for each in contract.classes if each == value), value)


def objects(values: Sequence[Value]) -> NDArray[Any]:
    """Values (n,) of several kinds as an array that keeps them as they are."""
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def _feature(column: Column, values: Sequence[Value]) -> FeatureProfile:
    if column.kind in ("number", "integer"):
        return _numbers(column.name, values)
    categories = {"category": column.categories, "boolean": ("False", "True")}.get(column.kind, ())
    return _categories(column.name, values, categories)


def _answers(name: str, values: Sequence[Value], contract: Contract, *, role: Role) -> FeatureProfile:
    if contract.task == "regression":
        return _numbers(name, values, role=role)
    return _categories(name, values, tuple(str(label) for label in contract.classes), role=role)


def _free(name: str, taken: set[str]) -> str:
    """The name of a column that is no input: one that no other column has. It is taken then."""
    while name in taken:
        name = f"{name} (of the row)"
    taken.add(name)
    return name


def _numbers(name: str, values: Any, role: Role = "input") -> FeatureProfile:
    return frozen(name, values, role=role)


def frozen(name: str, values: Any, *, role: Role = "input", count: int = BINS) -> FeatureProfile:
    """The profile of a column of numbers (n,), whatever ``stats.bins`` takes, in about ``count`` bins of its own."""
    numbers = bins.as_numbers(values)
    inside = np.sort(numbers[np.isfinite(numbers)])
    edges = bins.edges_of_sorted(inside, count)
    counted = tuple(bins.count_numbers(numbers, edges).tolist())
    if not inside.size:
        return FeatureProfile(name=name, kind="number", edges=tuple(edges.tolist()), counts=counted, role=role)
    low, high = float(inside[0]) + 0.0, float(inside[-1]) + 0.0
    on, sums = summaries.grid(low, high), summaries.Sums()
    for block in bins.blocks(inside):
        sums = sums.plus(summaries.sums(block, on))
    places = np.arange(QUANTILES, dtype=np.int64) * inside.size
    spread = inside[np.maximum(0, -(-places // (QUANTILES - 1)) - 1)] + 0.0
    return FeatureProfile(
        name=name,
        kind="number",
        edges=tuple(edges.tolist()),
        counts=counted,
        low=low,
        high=high,
        mean=summaries.mean(sums, on),
        deviation=summaries.deviation(sums, on),
        quantiles=tuple(spread.tolist()),
        role=role,
    )


def _categories(
    name: str, values: Sequence[Any], categories: tuple[str, ...], role: Role = "input"
) -> FeatureProfile:
    counted = bins.count_categories(values, categories)
    return FeatureProfile(
        name=name, kind="category", categories=categories, counts=tuple(counted.tolist()), role=role
    )

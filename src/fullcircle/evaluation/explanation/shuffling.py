"""Permutation importance: by how much a metric gets worse when one column is shuffled (Breiman 2001)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fullcircle.evaluation import metrics
from fullcircle.evaluation.check import Array, Frame, Subject
from fullcircle.evaluation.metrics import Answers, Metric
from fullcircle.stats import influence, intervals
from fullcircle.types.report import Measure

REPEATS = 5
# Cells shuffled and scored in all, and the longest a slow model may take before it is shuffled less often.
_SCORED = 100_000
_SECONDS = 15.0


@dataclass(frozen=True)
class Shuffled:
    """``importance`` of every column, most needed first, on ``rows`` rows, and how often each was shuffled."""

    measures: tuple[Measure, ...]
    metric: Metric
    rows: int
    repeats: int


def shuffled(subject: Subject) -> Shuffled:
    """Shuffle every column of a seeded sample of rows, up to five times; the subject's model must be known.

    The metric is the main one, or accuracy where the model cannot be asked for probabilities. The interval tells how
    far other rows would give another figure: a row counts twice, with the value it got and where its own value went
    (the two projections of a U-statistic of order two, Hoeffding 1948). A bias, which is best at zero, has none.
    """
    metric = _metric(subject)
    inputs: Any = subject.inputs
    rows = sample(subject, max(200, min(2000, _SCORED // (len(inputs.columns) * REPEATS))))
    rows.sort()
    X = inputs.iloc[rows].reset_index(drop=True)
    begun = time.perf_counter()
    own = _answers(subject, metric, X, rows)
    seconds = (time.perf_counter() - begun) * len(inputs.columns)
    repeats = int(max(1, min(REPEATS, _SECONDS // max(seconds, 1e-9))))
    generator = np.random.default_rng(subject.seed)
    found = []
    for name in inputs.columns:
        worse = []
        for _ in range(repeats):
            donors = generator.permutation(len(X))
            mixed = X.copy(deep=False)
            mixed[name] = X[name].array.take(donors)
            worse.append((donors, _answers(subject, metric, mixed, rows)))
        found.append(_measure(subject, metric, name, own, worse))
    found.sort(key=lambda each: -(each.value or 0.0))
    return Shuffled(tuple(found), metric, len(rows), repeats)


def sample(subject: Subject, most: int, stream: int = 0) -> Array:
    """Positions of a seeded sample of the test rows that count, in the order drawn; streams differ."""
    counted = np.arange(subject.rows)
    if subject.weights is not None:
        counted = np.flatnonzero(np.asarray(subject.weights) > 0)
    generator = np.random.default_rng([subject.seed, stream])
    return np.asarray(generator.choice(counted, min(most, len(counted)), replace=False))


def weights_of(subject: Subject, rows: Array) -> Array | None:
    """The weights of some rows, None where all count once."""
    return None if subject.weights is None else np.asarray(subject.weights, dtype=float)[rows]


def times(repeats: int) -> str:
    """``1 shuffle``, ``5 shuffles``."""
    return "1 shuffle" if repeats == 1 else f"{repeats} shuffles"


def _metric(subject: Subject) -> Metric:
    """The main metric where the model can be asked for it again, else accuracy."""
    known = subject.predict_probabilities is not None and subject.probabilities is not None
    metric = metrics.main_metric(subject.task, subject.gates, probabilities=known)
    return metrics.find("accuracy", subject.task) if metric.probabilities and not known else metric


def _answers(subject: Subject, metric: Metric, X: Frame, rows: Array) -> Answers:
    """The model's answers about ``X`` beside the truth of these rows. What the metric does not read is not asked."""
    actual = subject.actual[rows]
    predicted, shares = actual, None
    if metric.probabilities and subject.predict_probabilities is not None:
        shares = subject.predict_probabilities(X)
    elif subject.predict is not None:
        predicted = subject.predict(X)
    return metrics.answers(subject.task, actual, predicted, shares, subject.classes, weights_of(subject, rows))


def _measure(
    subject: Subject, metric: Metric, name: str, own: Answers, worse: Sequence[tuple[Array, Answers]]
) -> Measure:
    value, low, high = _worse(metric, own, worse)
    said = f"permutation importance on {metric.name}, {times(len(worse))}"
    if value is None:
        said += f"; not defined on these rows: {metric.undefined or 'the metric is not a number'}"
    elif low is not None:
        said += ", t interval over rows"
    unit = metrics.unit_of(subject, metric)
    return Measure(name="importance", value=value, low=low, high=high, n=own.rows, unit=unit, method=said, group=name)


def _worse(
    metric: Metric, own: Answers, worse: Sequence[tuple[Array, Answers]]
) -> tuple[float | None, float | None, float | None]:
    """By how much the metric is worse with a shuffled column, on average over the shuffles, and its interval.

    Each shuffle comes with its donors (n,): row k got the value of row ``donors[k]``.
    """
    true, weights = metric.look(own), own.uneven()
    share = np.ones(own.rows) if weights is None else weights
    merits, pulls = [], np.zeros(own.rows)
    for donors, answers in worse:
        found = metric.look(answers)
        merits.append(metric.merit(found.value))
        changed = found.influence - true.influence
        given = np.zeros(own.rows)
        given[donors] = changed * share / share[donors]
        pulls += (changed + given) / len(worse)
    value = metric.merit(true.value) - float(np.mean(merits))
    if not math.isfinite(value) or metric.better == "zero":
        return metrics.finite(value), None, None
    degrees = influence.effective(weights, own.rows) - 1.0
    bounds = intervals.delta(value, influence.error(pulls, weights), degrees)
    return value, metrics.finite(bounds.low), metrics.finite(bounds.high)

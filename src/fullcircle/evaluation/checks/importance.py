"""E004 importance: which columns do the answers depend on?

Permutation importance (Breiman 2001, scikit-learn's): by how much the answers get worse when one column is
shuffled. Measures: ``importance`` in group ``<column>``, in the unit of the metric used; positive means needed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from fullcircle.evaluation import charts, metrics, words
from fullcircle.evaluation.check import Array, Frame, Skipped, Subject
from fullcircle.evaluation.metrics import Metric
from fullcircle.types.report import Finding, Measure

_REPEATS = 5
_SHUFFLES = ("shuffle", "shuffles")
# Rows scored in all, and the longest a check may take on a slow model before it looks at fewer.
_SCORED = 100_000
_SECONDS = 20.0
_COLUMNS_SHOWN = 25


class Importance:
    """How much each column matters to the answers."""

    name = "importance"
    code = "E004"
    measures: tuple[str, ...] = ()

    def run(self, subject: Subject) -> Finding | Skipped:
        """Shuffle each column of a seeded sample of rows, five times where the model is quick enough."""
        if subject.rows < 2:
            return Skipped("one row cannot be shuffled")
        if subject.predict is None or subject.inputs is None:
            return Skipped("the model itself is not known, only its answers")
        metric = _metric(subject)
        picked, repeats = _bounds(subject, metric)
        found = sorted(_measured(subject, metric, picked, repeats), key=lambda each: -(each.value or 0.0))
        first = ", ".join(f"{each.group} ({words.number(each.value)})" for each in found[:3])
        return Finding(
            check=self.name,
            code=self.code,
            title="What the answers depend on",
            severity="info",
            text=(
                f"Shuffling a column makes {metric.name} worse by (most first): {first}. "
                f"Measured on {words.rows(len(picked))}, {repeats} {_SHUFFLES[repeats > 1]} a column."
            ),
            measures=tuple(found),
            charts=(
                charts.bars(
                    "Importance of columns",
                    [(each.group, each.value or 0.0) for each in found[:_COLUMNS_SHOWN]],
                    x_title=f"{metric.name} worse by, when shuffled",
                ),
            ),
        )


def _metric(subject: Subject) -> Metric:
    """The main metric where the model can be asked for it again, else accuracy."""
    known = subject.predict_probabilities is not None and subject.probabilities is not None
    metric = metrics.main_metric(subject.task, subject.gates, probabilities=known)
    return metrics.METRICS["accuracy"] if metric.probabilities and not known else metric


def _inputs(subject: Subject) -> Frame:
    return subject.inputs


def _bounds(subject: Subject, metric: Metric) -> tuple[Array, int]:
    """Which rows to look at and how often to shuffle, so that it ends in time."""
    columns = len(subject.features)
    rows = min(subject.rows, max(200, min(2000, _SCORED // (columns * _REPEATS))))
    picked = np.sort(np.random.default_rng(subject.seed).choice(subject.rows, rows, replace=False))
    begun = time.perf_counter()
    _merit(subject, metric, _inputs(subject).iloc[picked], subject.actual[picked])
    seconds = (time.perf_counter() - begun) * columns
    return picked, int(max(1, min(_REPEATS, _SECONDS // max(seconds, 1e-9))))


@dataclass(frozen=True)
class _Asked:
    """The model as scikit-learn's function wants it: something that can be fitted. It never is."""

    subject: Subject

    def fit(self, X: Frame, y: Array) -> _Asked:
        return self


def _measured(subject: Subject, metric: Metric, picked: Array, repeats: int) -> list[Measure]:
    from sklearn.inspection import permutation_importance

    features = list(subject.features)
    X = _inputs(subject).iloc[picked].reset_index(drop=True)
    found = permutation_importance(
        _Asked(subject),
        X,
        subject.actual[picked],
        scoring=lambda asked, X, y: _merit(asked.subject, metric, X, y),
        n_repeats=repeats,
        random_state=subject.seed,
    )
    unit = subject.label if metric.unit == "label" else metric.unit
    return [
        Measure(
            name="importance",
            value=metrics.finite(found.importances_mean[position]),
            n=len(picked),
            unit=unit,
            method=f"permutation importance on {metric.name}, {repeats} {_SHUFFLES[repeats > 1]}",
            group=name,
        )
        for position, name in enumerate(features)
    ]


def _merit(subject: Subject, metric: Metric, X: Frame, y: Array) -> float:
    assert subject.predict is not None  # noqa: S101 - run() has looked
    predicted = subject.predict(X)
    shares: Any = None
    if metric.probabilities and subject.predict_probabilities is not None:
        shares = subject.predict_probabilities(X)
    answers = metrics.answers(subject.task, y, predicted, shares, subject.classes)
    return metric.merit(metric.of(answers))

"""The table of metrics. Definitions are scikit-learn's, with and without weights (a test compares them).

What scikit-learn answers with a number and a warning where a metric is not defined (no row of a class, nothing
predicted positive) is not defined here. docs/checks/quality.md has every formula and the source of its interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fullcircle.errors import ProjectInvalid
from fullcircle.evaluation import procedures
from fullcircle.evaluation.answers import (
    Answers,
    Array,
    Task,
    answers,
    champion_answers,
    own,
    trivial,
    trivial_answers,
)
from fullcircle.evaluation.check import Subject
from fullcircle.evaluation.measuring import (
    Estimate,
    Metric,
    as_measure,
    estimate,
    finite,
    improvement,
    measure,
)
from fullcircle.stats import influence, ranking
from fullcircle.stats.influence import Figure
from fullcircle.types.gates import Gate
from fullcircle.types.report import Better

__all__ = [
    "METRICS",
    "Answers",
    "Array",
    "Estimate",
    "Metric",
    "Task",
    "answers",
    "as_measure",
    "champion_answers",
    "estimate",
    "find",
    "finite",
    "improvement",
    "main_metric",
    "measure",
    "of_task",
    "own",
    "trivial",
    "trivial_answers",
    "unit_of",
]


def _errors(a: Answers) -> Array:
    return np.asarray(a.predicted - a.actual)


def _absolute(a: Answers) -> Array:
    return np.abs(_errors(a))


def _hits(a: Answers) -> Array:
    return np.asarray(a.actual == a.predicted, dtype=float)


def _given(a: Answers) -> Array:
    """The probability given to what happened; a class that the model does not know had none."""
    if a.probabilities is None:
        return np.full(a.rows, math.nan)
    if a.labels == a.known:
        return np.asarray(a.probabilities[np.arange(a.rows), a.actual])
    known = a.actual < a.known
    return np.asarray(np.where(known, a.probabilities[np.arange(a.rows), np.where(known, a.actual, 0)], 0.0))


def _surprise(a: Answers) -> Array:
    return np.asarray(-np.log(np.clip(_given(a), np.finfo(float).eps, 1.0)))


def _brier(a: Answers) -> Array:
    """The squared distance of the probabilities from what happened: the positive class's of two, else the sum."""
    if a.probabilities is None:
        return np.full(a.rows, math.nan)
    if a.known == 2 and not a.strange():
        return np.asarray((a.probabilities[:, 1] - (a.actual == 1)) ** 2)
    whole = 1.0 - 2.0 * _given(a) + np.einsum("ij,ij->i", a.probabilities, a.probabilities)
    return np.asarray(whole / 2.0 if a.known == 2 else whole)


def _excess(a: Answers) -> Array:
    """The probability of the positive class minus whether it happened."""
    if a.probabilities is None:
        return np.full(a.rows, math.nan)
    return np.asarray(a.probabilities[:, 1] - (a.actual == 1))


def _mean_of(per_row: Callable[[Answers], Array]) -> Callable[[Answers], Figure]:
    return lambda a: influence.mean(per_row(a), a.uneven())


def _areas(area: Callable[[Array, Array, Array | None], Figure]) -> Callable[[Answers], Figure]:
    """The area of the positive class of two; of more classes, the mean over each one against all others."""

    def figure(a: Answers) -> Figure:
        if a.probabilities is None or a.known < 2 or _unseen(a):
            return influence.undefined(a.rows)
        weights = a.uneven()
        found = [area(a.probabilities[:, code], a.actual == code, weights) for code in _judged(a)]
        return Figure(
            float(np.mean([each.value for each in found])), np.mean([each.influence for each in found], axis=0)
        )

    return figure


def _judged(a: Answers) -> range:
    return range(1, 2) if a.known == 2 else range(a.known)


def _unseen(a: Answers) -> bool:
    """Whether a class does not occur, or one that the model does not know does."""
    counted = np.bincount(a.actual, minlength=a.labels) > 0
    return not counted[: a.known].all() or bool(counted[a.known :].any())


# What a share is of: which rows are hits, and which are counted at all.
Parts = Callable[[Answers], tuple[Array, Array]]


def _everyone(a: Answers) -> Array:
    return np.ones(a.rows, dtype=bool)


def _right(a: Answers) -> tuple[Array, Array]:
    return np.asarray(a.actual == a.predicted), _everyone(a)


def _of_the_answered(a: Answers) -> tuple[Array, Array]:
    return np.asarray(a.actual == 1), np.asarray(a.predicted == 1)


def _of_the_positive(a: Answers) -> tuple[Array, Array]:
    return np.asarray(a.predicted == 1), np.asarray(a.actual == 1)


def _of_the_negative(a: Answers) -> tuple[Array, Array]:
    return np.asarray(a.predicted == 1), np.asarray(a.actual == 0)


def _selected(a: Answers) -> tuple[Array, Array]:
    return np.asarray(a.predicted == 1), _everyone(a)


def _mean(
    name: str,
    task: Task,
    better: Better,
    unit: str,
    per_row: Callable[[Answers], Array],
    **more: Any,
) -> Metric:
    return Metric(name, task, better, unit, _mean_of(per_row), procedures.by_t, per_row=per_row, **more)


def _share(name: str, better: Better, parts: Parts, **more: Any) -> Metric:
    def figure(a: Answers) -> Figure:
        return influence.ratio(*parts(a), a.uneven())

    return Metric(
        name, "classification", better, "share", figure, procedures.by_score(parts), span=(0.0, 1.0), **more
    )


def _root(a: Answers) -> Figure:
    return influence.root_mean_square(_errors(a), a.uneven())


def _r2(a: Answers) -> Figure:
    return influence.r_squared(a.actual, a.predicted, a.uneven())


def _median(a: Answers) -> Figure:
    return influence.median(_absolute(a), a.uneven())


def _balanced(a: Answers) -> Figure:
    return influence.balanced_accuracy(a.actual, a.predicted, a.labels, a.uneven())


def _f1(a: Answers) -> Figure:
    return influence.macro_f1(a.actual, a.predicted, a.labels, a.uneven())


def _mcc(a: Answers) -> Figure:
    return influence.correlation(a.actual == 1, a.predicted == 1, a.uneven())


_POSITIVE = (0.0, math.inf)
_SHARE = (0.0, 1.0)
_ONE_CLASS = "all rows are of one class"
_UNSEEN = "a class does not occur in them, or one that the model does not know does"

METRICS: tuple[Metric, ...] = (
    _mean("mae", "regression", "lower", "label", _absolute, span=_POSITIVE),
    Metric(
        "rmse", "regression", "lower", "label", _root, procedures.by_delta("log", procedures.unknown), span=_POSITIVE
    ),
    Metric(
        "r2",
        "regression",
        "higher",
        "",
        _r2,
        procedures.by_delta("log(1 - x)", procedures.unknown),
        undefined="the label is constant",
        span=(-math.inf, 1.0),
    ),
    _mean("bias", "regression", "zero", "label", _errors),
    Metric(
        "median_absolute_error",
        "regression",
        "lower",
        "label",
        _median,
        procedures.by_order(_absolute),
        span=_POSITIVE,
    ),
    _mean("log_loss", "classification", "lower", "nats", _surprise, probabilities=True, span=_POSITIVE),
    _share("accuracy", "higher", _right, per_row=_hits),
    Metric("balanced_accuracy", "classification", "higher", "share", _balanced, procedures.by_classes, span=_SHARE),
    Metric(
        "f1", "classification", "higher", "", _f1, procedures.by_delta("logit", procedures.all_or_none), span=_SHARE
    ),
    _mean("brier", "classification", "lower", "", _brier, probabilities=True, span=(0.0, 2.0)),
    Metric(
        "roc_auc",
        "classification",
        "higher",
        "",
        _areas(ranking.roc_auc),
        procedures.by_delta("logit", procedures.sorted_out),
        probabilities=True,
        undefined=_UNSEEN,
        span=_SHARE,
    ),
    Metric(
        "average_precision",
        "classification",
        "higher",
        "",
        _areas(ranking.average_precision),
        procedures.by_delta("logit", procedures.sorted_out_twice),
        probabilities=True,
        binary=True,
        undefined=_ONE_CLASS,
        span=_SHARE,
    ),
    _share(
        "precision", "higher", _of_the_answered, binary=True, undefined="no row is answered with the positive class"
    ),
    _share("recall", "higher", _of_the_positive, binary=True, undefined="no row is of the positive class"),
    _share(
        "false_positive_rate", "lower", _of_the_negative, binary=True, undefined="no row is of the negative class"
    ),
    _share("selection_rate", "", _selected, binary=True),
    Metric(
        "mcc",
        "classification",
        "higher",
        "",
        _mcc,
        procedures.by_delta("Fisher z", procedures.agreed),
        binary=True,
        undefined="all rows, or all answers, are of one class",
        span=(-1.0, 1.0),
    ),
    _mean("bias", "classification", "zero", "share", _excess, probabilities=True, binary=True, span=(-1.0, 1.0)),
)


def of_task(task: Task) -> tuple[Metric, ...]:
    """The metrics of a task, in the order of the table."""
    return tuple(metric for metric in METRICS if metric.task == task)


def _named(name: str, task: Task) -> Metric | None:
    return next((metric for metric in METRICS if metric.name == name and metric.task == task), None)


def find(name: str, task: Task) -> Metric:
    """The metric of that name. Raises ProjectInvalid where the task has none."""
    metric = _named(name, task)
    if metric is None:
        raise ProjectInvalid(
            f"there is no such metric for {task}",
            received=repr(name),
            allowed=", ".join(each.name for each in of_task(task)),
            next_step="choose one of these in the project file",
        )
    return metric


def main_metric(task: Task, gates: Sequence[Gate], *, probabilities: bool = True) -> Metric:
    """The metric that candidates and champions are compared by.

    That of the first at_most or at_least gate that names a metric with a better side, else mae, or log_loss
    (accuracy where the model gives no probabilities).
    """
    for gate in gates:
        metric = _named(gate.metric, task) if gate.kind in ("at_most", "at_least") else None
        if metric is not None and metric.better:
            return metric
    if task == "regression":
        return find("mae", task)
    return find("log_loss" if probabilities else "accuracy", task)


def unit_of(subject: Subject, metric: Metric) -> str:
    """The unit of a metric's values, "label" resolved."""
    return (subject.unit or subject.label) if metric.unit == "label" else metric.unit

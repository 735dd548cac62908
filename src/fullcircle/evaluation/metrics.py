"""The table of metrics, each with its interval, its trivial baseline and its paired difference to a rival.

Definitions are scikit-learn's (a test compares them). Labels are compared as codes: positions in ``classes``,
followed by labels that the model does not know, so strings, numbers and booleans are treated alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fullcircle.errors import ProjectInvalid
from fullcircle.evaluation.check import Subject
from fullcircle.stats import intervals
from fullcircle.types.contract import Value
from fullcircle.types.gates import Gate
from fullcircle.types.report import Measure

Array = NDArray[Any]
Task = Literal["regression", "classification"]
# Beyond this many rows an interval hardly depends on the number of draws, and each draw is costly.
MANY_ROWS = 50_000


@dataclass(frozen=True)
class Answers:
    """Answers on n rows beside the truth. Labels are codes; ``probabilities`` is n x ``known``, or None.

    ``weights`` are None where every row counts once.
    """

    actual: Array
    predicted: Array
    probabilities: Array | None = None
    known: int = 0
    labels: int = 0
    weights: Array | None = None

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.actual)

    def at(self, rows: Array) -> Answers:
        """The same for a selection of rows (positions, repeated ones allowed)."""
        probabilities = None if self.probabilities is None else self.probabilities[rows]
        weights = None if self.weights is None else self.weights[rows]
        return Answers(self.actual[rows], self.predicted[rows], probabilities, self.known, self.labels, weights)


@dataclass(frozen=True)
class Metric:
    """One metric. ``unit`` "label" stands for the label's own unit.

    ``per_row`` gives n values whose mean the metric is, where it is a mean. ``of`` gives NaN where the metric
    is not defined (one class only, a constant label).
    """

    name: str
    task: Task
    better: Literal["higher", "lower", "zero"]
    unit: str
    of: Callable[[Answers], float]
    per_row: Callable[[Answers], Array] | None = None
    probabilities: bool = False
    binary: bool = False

    @property
    def greater_is_better(self) -> bool:
        """True for accuracy and its kind, False for errors (a bias is best at zero)."""
        return self.better == "higher"

    def merit(self, value: float) -> float:
        """The value turned so that more is better."""
        return {"higher": value, "lower": -value, "zero": -abs(value)}[self.better]

    def applies(self, answers: Answers) -> bool:
        """Whether these answers hold what the metric needs."""
        return not (self.probabilities and answers.probabilities is None) and not (self.binary and answers.known != 2)


def answers(
    task: Task,
    actual: Array,
    predicted: Array,
    probabilities: Array | None = None,
    classes: Sequence[Value] = (),
    weights: Array | None = None,
) -> Answers:
    """Put answers beside the truth. For classification labels become codes."""
    if task == "regression":
        return Answers(np.asarray(actual, dtype=float), np.asarray(predicted, dtype=float), weights=weights)
    codes: dict[Any, int] = {value: position for position, value in enumerate(classes)}
    coded = [
        np.fromiter((codes.setdefault(value, len(codes)) for value in np.asarray(labels).tolist()), dtype=np.intp)
        for labels in (actual, predicted)
    ]
    shares = None if probabilities is None else np.asarray(probabilities, dtype=float)
    return Answers(coded[0], coded[1], shares, len(classes), len(codes), weights)


def own(subject: Subject) -> Answers:
    """The subject's own answers beside the truth."""
    return answers(
        subject.task, subject.actual, subject.predicted, subject.probabilities, subject.classes, subject.weights
    )


def trivial_answers(subject: Subject) -> Answers:
    """The trivial model's answers beside the truth."""
    shares = subject.baseline_probabilities
    return answers(subject.task, subject.actual, subject.baseline, shares, subject.classes, subject.weights)


def champion_answers(subject: Subject) -> Answers | None:
    """The champion's answers beside the truth, holes included (``champion_answered``); None without a champion."""
    if subject.champion is None:
        return None
    shares = subject.champion_probabilities
    return answers(subject.task, subject.actual, subject.champion, shares, subject.classes, subject.weights)


def _errors(a: Answers) -> Array:
    return np.asarray(a.predicted - a.actual)


def _absolute(a: Answers) -> Array:
    return np.abs(_errors(a))


def _rmse(a: Answers) -> float:
    return math.sqrt(float(np.mean(_errors(a) ** 2)))


def _r2(a: Answers) -> float:
    total = float(np.sum((a.actual - np.mean(a.actual)) ** 2))
    return 1.0 - float(np.sum(_errors(a) ** 2)) / total if total > 0.0 else math.nan


def _hits(a: Answers) -> Array:
    return np.asarray(a.actual == a.predicted, dtype=float)


def _balanced(a: Answers) -> float:
    """The mean recall over the classes that occur."""
    occurring = np.bincount(a.actual, minlength=a.labels)
    found = np.bincount(a.actual[a.actual == a.predicted], minlength=a.labels)
    return float(np.mean(found[occurring > 0] / occurring[occurring > 0]))


def _f1(a: Answers) -> float:
    """The mean F1 over the classes that occur or are predicted."""
    found = np.bincount(a.actual[a.actual == a.predicted], minlength=a.labels)
    seen = np.bincount(a.actual, minlength=a.labels) + np.bincount(a.predicted, minlength=a.labels)
    return float(np.mean(2.0 * found[seen > 0] / seen[seen > 0]))


def _surprise(a: Answers) -> Array:
    """-ln of the probability given to what happened; a class the model does not know had none."""
    if a.probabilities is None:
        return np.full(len(a.actual), math.nan)
    given = np.zeros(len(a.actual))
    known = a.actual < a.known
    given[known] = a.probabilities[known, a.actual[known]]
    return -np.log(np.clip(given, np.finfo(float).eps, 1.0))


def _auc(a: Answers) -> float:
    """The share of pairs put in the right order, ties half (Mann-Whitney). The second class is the positive one."""
    from scipy.stats import rankdata

    positive = a.actual == 1
    ones, others = int(np.sum(positive)), int(np.sum(a.actual == 0))
    if a.probabilities is None or not ones or not others or ones + others != len(a.actual):
        return math.nan
    ranks = rankdata(a.probabilities[:, 1])
    return (float(np.sum(ranks[positive])) - ones * (ones + 1) / 2) / (ones * others)


def _mean_of(per_row: Callable[[Answers], Array]) -> Callable[[Answers], float]:
    return lambda a: float(np.mean(per_row(a)))


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mae", "regression", "lower", "label", _mean_of(_absolute), _absolute),
        Metric("rmse", "regression", "lower", "label", _rmse),
        Metric("r2", "regression", "higher", "", _r2),
        Metric("bias", "regression", "zero", "label", _mean_of(_errors), _errors),
        Metric("log_loss", "classification", "lower", "nats", _mean_of(_surprise), _surprise, probabilities=True),
        Metric("accuracy", "classification", "higher", "share", _mean_of(_hits), _hits),
        Metric("balanced_accuracy", "classification", "higher", "share", _balanced),
        Metric("f1", "classification", "higher", "", _f1),
        Metric("roc_auc", "classification", "higher", "", _auc, probabilities=True, binary=True),
    )
}


def of_task(task: Task) -> tuple[Metric, ...]:
    """The metrics of a task, in the order of the table."""
    return tuple(metric for metric in METRICS.values() if metric.task == task)


def find(name: str, task: Task) -> Metric:
    """The metric of that name. Raises ProjectInvalid where the task has none."""
    metric = METRICS.get(name)
    if metric is None or metric.task != task:
        raise ProjectInvalid(
            f"there is no such metric for {task}",
            received=repr(name),
            allowed=", ".join(each.name for each in of_task(task)),
            next_step="choose one of these in the project file",
        )
    return metric


def main_metric(task: Task, gates: Sequence[Gate], *, probabilities: bool = True) -> Metric:
    """The metric that candidates and champions are compared by.

    That of the first at_most or at_least gate that names a metric, else mae, or log_loss (accuracy where the
    model gives no probabilities).
    """
    for gate in gates:
        metric = METRICS.get(gate.metric) if gate.kind in ("at_most", "at_least") else None
        if metric is not None and metric.task == task:
            return metric
    if task == "regression":
        return METRICS["mae"]
    return METRICS["log_loss" if probabilities else "accuracy"]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval and the procedure behind it; None where there is none.

    ``error`` is the standard error.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    method: str = ""
    error: float | None = None


def estimate(metric: Metric, answers: Answers, *, seed: int = 0) -> Estimate:
    """The metric on these answers: Wilson for a share of hits, Student's t for a mean, else percentile bootstrap."""
    rows = len(answers.actual)
    if rows == 0 or not metric.applies(answers):
        return Estimate(None, method="not defined on these rows")
    value = metric.of(answers)
    if not math.isfinite(value):
        return Estimate(None, method="not defined on these rows")
    if metric.name == "accuracy":
        found, method = intervals.proportion(int(np.sum(_hits(answers))), rows), "Wilson interval"
    elif metric.per_row is not None:
        found, method = intervals.mean(metric.per_row(answers)), "t interval"
    else:
        draws = draws_for(rows)
        drawn = np.arange(rows)
        found = intervals.bootstrap(lambda each: metric.of(answers.at(each)), drawn, seed=seed, draws=draws)
        method = f"percentile bootstrap, {draws} draws"
    return Estimate(value, finite(found[1]), finite(found[2]), method)


def measure(
    metric: Metric,
    actual: Array,
    predicted: Array,
    probabilities: Array | None = None,
    classes: Sequence[Value] = (),
    *,
    seed: int = 0,
    unit: str = "",
) -> Measure:
    """The metric as a measure of a report. ``unit`` is the label's own, for metrics that are in it."""
    found = estimate(metric, answers(metric.task, actual, predicted, probabilities, classes), seed=seed)
    return as_measure(metric.name, found, rows=len(actual), unit=unit if metric.unit == "label" else metric.unit)


def as_measure(name: str, found: Estimate, *, rows: int, unit: str = "", group: str = "") -> Measure:
    """An estimate under a name."""
    value, low, high, method = found.value, found.low, found.high, found.method
    return Measure(name=name, value=value, low=low, high=high, n=rows, unit=unit, method=method, group=group)


def improvement(metric: Metric, answers: Answers, rival: Answers, *, seed: int = 0) -> Estimate:
    """By how much the answers are better than the rival's on the same rows; positive is better.

    A paired t interval for metrics that are means, else a bootstrap that draws rows for both together.
    """
    rows = len(answers.actual)
    if rows == 0 or not (metric.applies(answers) and metric.applies(rival)):
        return Estimate(None, method=f"{metric.name} cannot be told for both")
    value = metric.merit(metric.of(answers)) - metric.merit(metric.of(rival))
    if not math.isfinite(value):
        return Estimate(None, method=f"{metric.name} is not defined on these rows")
    if metric.per_row is not None and metric.better != "zero":
        found = intervals.paired_mean_difference(metric.per_row(answers), metric.per_row(rival))
        low, high = (found[1], found[2]) if metric.greater_is_better else (-found[2], -found[1])
        return Estimate(value, finite(low), finite(high), "paired t interval")
    draws = draws_for(rows)
    found = intervals.bootstrap(
        lambda picked: metric.merit(metric.of(answers.at(picked))) - metric.merit(metric.of(rival.at(picked))),
        np.arange(rows),
        seed=seed,
        draws=draws,
    )
    return Estimate(value, finite(found[1]), finite(found[2]), f"paired percentile bootstrap, {draws} draws")


def trivial(labels: Array, rows: int, *, task: Task, classes: Sequence[Value] = ()) -> tuple[Array, Array | None]:
    """What a model that learned nothing answers for ``rows`` rows, from the training labels.

    Returns the training mean, or the most frequent class and the class shares (rows x k).
    """
    if task == "regression":
        return np.full(rows, float(np.mean(np.asarray(labels, dtype=float)))), None
    position = {value: index for index, value in enumerate(classes)}
    counts = np.zeros(len(classes))
    for value in np.asarray(labels).tolist():
        counts[position[value]] += 1
    most = np.empty(rows, dtype=np.asarray(list(classes)).dtype)
    most[:] = classes[int(np.argmax(counts))]
    return most, np.tile(counts / counts.sum(), (rows, 1))


def draws_for(rows: int) -> int:
    """How many bootstrap draws are worth their time."""
    return 1000 if rows <= MANY_ROWS else 200


def finite(value: float) -> float | None:
    """The value as a plain float, None where it is NaN or infinite."""
    return float(value) if math.isfinite(value) else None

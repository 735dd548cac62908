"""E006 calibration: can probabilities, or predicted numbers, be taken at their word?

Measures: ``ece``, the expected calibration error over bins of about equal count, without what chance adds to it;
``calibration_in_the_large``, mean prediction minus mean outcome; ``calibration_slope`` and for numbers
``calibration_intercept`` of the outcome on the prediction; with probabilities ``brier_skill`` against the shares of
the classes. Of more than two classes the most probable one is looked at (is it right as often as it is given?), and
every class in the table. For numbers all is in the label's unit. docs/checks/calibration.md has the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fullcircle.evaluation import metrics, reliability, words
from fullcircle.evaluation.check import Array, Skipped, Subject
from fullcircle.evaluation.metrics import Answers
from fullcircle.stats import calibration, influence, intervals, recalibration
from fullcircle.stats.calibration import Reliability
from fullcircle.stats.intervals import Interval
from fullcircle.types.report import Better, Chart, Finding, Measure, Severity

LEVEL = 0.001  # of a false warning, over all tests together
# A warning must matter as well: in probability, and in standard deviations of a label that is a number.
RELEVANT = 0.01
RELEVANT_SD = 0.05
# Good is what is surely off by no more than this, in the same units: what is not proven wrong may still be.
CLOSE = 0.05
CLOSE_SD = 0.1
# Rows are sorted by the probability of each class; beyond this many probabilities a sample is looked at.
MOST_CELLS = 3_000_000
_CLASSES_SHOWN = 50
_ALONE = "one row has no interval"


class Calibration:
    """Predictions beside what happened, in bins."""

    name = "calibration"
    code = "E006"
    measures: tuple[str, ...] = ("ece",)

    def run(self, subject: Subject) -> Finding | Skipped:
        """Compare, and warn of what is beyond chance and matters."""
        answers = metrics.own(subject)
        if subject.weights is not None and not np.any(subject.weights):
            return Skipped("all weights are zero")
        if subject.task == "regression":
            told = _numbers(subject, answers)
        elif answers.probabilities is None:
            return Skipped("the model gives no probabilities")
        elif answers.known == 2:
            told = _two_classes(subject, answers, answers.probabilities)
        else:
            told = _many_classes(subject, answers, answers.probabilities)
        return Finding(
            check=self.name,
            code=self.code,
            title="Calibration",
            severity=told.severity,
            text=told.text,
            measures=told.measures,
            charts=(told.chart,),
            table=told.table,
        )


@dataclass(frozen=True)
class _Told:
    severity: Severity
    text: str
    measures: tuple[Measure, ...]
    table: tuple[Mapping[str, Any], ...]
    chart: Chart


def _two_classes(subject: Subject, answers: Answers, probabilities: Array) -> _Told:
    said, happened = probabilities[:, 1], (answers.actual == 1).astype(float)
    asked = f"{subject.classes[1]}"
    found = calibration.reliability(said, happened, answers.weights)
    improbable = calibration.most_improbable(said, happened, answers.weights, found)
    slope = _measure(
        "calibration_slope",
        recalibration.logistic_slope(said, happened, answers.weights),
        influence.whole(answers.weights, answers.rows),
        "logistic regression of the outcome on the logit of the probability (Cox 1958), sandwich error",
        unknown="both classes, different probabilities, and classes that no threshold keeps apart are needed",
    )
    ece = _error(said, happened, answers.weights, found, "share")
    large = _large(said, happened, answers.weights, "share")
    severity = _severity(ece, improbable, RELEVANT, CLOSE)
    return _Told(
        severity=severity,
        text=_of_probabilities(severity, ece, found, f"were {asked}"),
        measures=(ece, large, slope, _skill(answers, probabilities)),
        table=reliability.table(found, "share that happened"),
        chart=reliability.chart(
            "Probabilities and what happened",
            found,
            said,
            x_title=f"probability of {asked}",
            y_title=f"share of {asked}",
        ),
    )


def _many_classes(subject: Subject, answers: Answers, probabilities: Array) -> _Told:
    sample, note = _sampled(answers, probabilities, subject.seed)
    shares = probabilities if sample.probabilities is None else sample.probabilities
    top = np.argmax(shares, axis=1)
    said, happened = shares[np.arange(sample.rows), top], (top == sample.actual).astype(float)
    found = calibration.reliability(said, happened, sample.weights)
    bounds = [calibration.most_improbable(said, happened, sample.weights, found)]
    for code in range(sample.known):
        occurred = (sample.actual == code).astype(float)
        bounds.append(calibration.chance(shares[:, code], occurred, sample.weights))
    ece = _error(said, happened, sample.weights, found, "share", note)
    severity = _severity(ece, min(bounds) * len(bounds), RELEVANT, CLOSE)
    text = _of_probabilities(severity, ece, found, "were of the class given as most probable")
    return _Told(
        severity=severity,
        text=f"{text} This rests on {note}." if note else text,
        measures=(ece, _large(said, happened, sample.weights, "share", note), _skill(answers, probabilities)),
        table=_per_class(subject, sample, shares),
        chart=reliability.chart(
            "The most probable class and how often it is right",
            found,
            said,
            x_title="its probability",
            y_title="share that is right",
        ),
    )


def _numbers(subject: Subject, answers: Answers) -> _Told:
    said, happened, unit = answers.predicted, answers.actual, subject.label
    found = calibration.reliability(said, happened, answers.weights, shares=False)
    improbable = calibration.most_improbable(said, happened, answers.weights, found, shares=False)
    spread = math.sqrt(np.cov(happened, aweights=answers.weights, ddof=0)) if answers.rows > 1 else 0.0
    ece = _error(said, happened, answers.weights, found, unit, shares=False)
    severity = _severity(ece, improbable, RELEVANT_SD * spread, CLOSE_SD * spread)
    line = recalibration.straight_line(said, happened, answers.weights)
    coefficients = [
        _measure(
            name,
            each,
            influence.whole(answers.weights, answers.rows),
            "least squares of the outcome on the prediction (Mincer and Zarnowitz 1969), sandwich error",
            unit=its,
            unknown="three rows and different predictions are needed",
        )
        for name, its, each in zip(("calibration_intercept", "calibration_slope"), (unit, ""), line, strict=True)
    ]
    return _Told(
        severity=severity,
        text=_of_numbers(severity, ece, found, subject.unit),
        measures=(ece, _large(said, happened, answers.weights, unit, shares=False), *coefficients),
        table=reliability.table(found, "mean of what happened"),
        chart=reliability.chart(
            "Predictions and the mean of what happened",
            found,
            said,
            x_title=f"predicted {unit}".strip(),
            y_title=f"mean of {unit or 'what happened'}",
        ),
    )


def _severity(ece: Measure, improbable: float, relevant: float, close: float) -> Severity:
    if ece.low is None or ece.high is None:
        return "info"
    if ece.low > relevant and improbable < LEVEL:
        return "warning"
    return "good" if ece.high <= close else "info"


def _of_probabilities(severity: Severity, ece: Measure, found: Reliability, happened: str) -> str:
    if ece.value is None or ece.low is None or ece.high is None:
        return "One row cannot tell whether probabilities can be taken at their word."
    value, low, high = (f"{100 * each:.3g}" for each in (ece.value, ece.low, ece.high))
    if severity == "warning":
        told = f"{value} percentage points (95 % {low} to {high})"
        way = reliability.direction(found)
        return (
            f"{reliability.example(found, happened)} There probabilities are {way}; all of them are off by {told} on "
            "average, which is beyond chance."
        )
    if severity == "info":
        return (
            f"Too few rows to tell whether probabilities can be taken at their word: on average they are off by "
            f"{value} percentage points here, and it may be up to {high} (95 %)."
        )
    return (
        f"Probabilities can be taken at their word: on average they are off by {value} percentage points, "
        f"and by {high} at most (95 %)."
    )


def _of_numbers(severity: Severity, ece: Measure, found: Reliability, unit: str) -> str:
    if ece.value is None or ece.low is None or ece.high is None:
        return "One row cannot tell whether predictions are right on average."
    value, high = (f"{words.number(each)} {unit}".rstrip() for each in (ece.value, ece.high))
    if severity == "warning":
        told = f"off by {words.span(replace(ece, unit=unit))} on average"
        way = reliability.direction(found)
        example = reliability.example_of_numbers(found, unit)
        return f"{example} There predictions are {way}; means of all groups are {told}, which is beyond chance."
    if severity == "info":
        return (
            "Too few rows to tell whether low and high predictions are right on average: means of groups of rows are "
            f"off by {value} here, and it may be up to {high} (95 %)."
        )
    return (
        f"Predictions are right on average, low and high ones alike: means of groups of rows are off by {value}, "
        f"and by {high} at most (95 %)."
    )


def _error(
    said: Array,
    happened: Array,
    weights: Array | None,
    found: Reliability,
    unit: str,
    note: str = "",
    *,
    shares: bool = True,
) -> Measure:
    interval = calibration.expected_error(said, happened, weights, shares=shares, within=found)
    bins = "1 bin" if len(found.rows) == 1 else f"{len(found.rows)} bins of about equal count"
    method = f"{bins}, debiased (Kumar, Liang and Ma 2019), t interval" if len(said) > 1 else _ALONE
    size = influence.whole(weights, len(said))
    return _measure("ece", interval, size, _joined(method, note), unit=unit, better="lower")


def _large(
    said: Array, happened: Array, weights: Array | None, unit: str, note: str = "", *, shares: bool = True
) -> Measure:
    excess = said - happened
    error = calibration.standard_error(excess, weights, extra=1.0 if shares else 0.0)
    interval = intervals.delta(float(np.average(excess, weights=weights)), error, len(said) - 1)
    if shares:
        interval = Interval(*(float(np.clip(each, -1.0, 1.0)) for each in interval))
    method = "mean prediction minus mean outcome, t interval" if len(said) > 1 else _ALONE
    name, size = "calibration_in_the_large", influence.whole(weights, len(said))
    return _measure(name, interval, size, _joined(method, note), unit=unit, better="zero")


def _skill(answers: Answers, probabilities: Array) -> Measure:
    """1 - sum (p - y)^2 / sum (share - y)^2 over rows and classes, with the influence values of a ratio."""
    weights = answers.weights
    happened = answers.actual[:, None] == np.arange(answers.known)[None, :]
    own = np.sum((probabilities - happened) ** 2, axis=1)
    plain = np.sum((np.average(happened, axis=0, weights=weights) - happened) ** 2, axis=1)
    base = float(np.average(plain, weights=weights))
    interval = Interval(math.nan, math.nan, math.nan)
    if base > 0.0:
        ratio = float(np.average(own, weights=weights)) / base
        error = calibration.standard_error((own - ratio * plain) / base, weights)
        interval = intervals.delta(1.0 - ratio, error, answers.rows - 1)
    return _measure(
        "brier_skill",
        interval,
        influence.whole(answers.weights, answers.rows),
        "Brier score against that of the class shares, delta method",
        unknown="all rows are of one class, so there is nothing to foresee",
        better="higher",
    )


def _measure(
    name: str,
    found: Interval,
    rows: int,
    method: str,
    *,
    unit: str = "",
    unknown: str = "not defined on these rows",
    better: Better = "",
) -> Measure:
    value, low, high = (metrics.finite(each) for each in found)
    known = value is not None
    low, high = (low, high) if known else (None, None)
    method = method if known else unknown
    return Measure(name=name, value=value, low=low, high=high, n=rows, unit=unit, method=method, better=better)


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _sampled(answers: Answers, probabilities: Array, seed: int) -> tuple[Answers, str]:
    """These answers, or a sample where sorting by each class would take long, and what to say about it."""
    rows = max(1, MOST_CELLS // probabilities.shape[1])
    if answers.rows <= rows:
        return answers, ""
    # A row of weight 0 tells nothing.
    counted = np.arange(answers.rows) if answers.weights is None else np.flatnonzero(answers.weights)
    picked = np.random.default_rng(seed).permutation(counted)[:rows]
    return answers.at(np.sort(picked)), f"a sample of {words.rows(len(picked))}"


def _per_class(subject: Subject, answers: Answers, shares: Array) -> tuple[Mapping[str, Any], ...]:
    """One row for each class, the most frequent first: is it given as much probability as it happens?"""
    counts = np.bincount(answers.actual, minlength=answers.labels)[: answers.known]
    rows = []
    for code in np.argsort(-counts, kind="stable")[:_CLASSES_SHOWN].tolist():
        said, happened = shares[:, code], (answers.actual == code).astype(float)
        ece = calibration.expected_error(said, happened, answers.weights)
        rows.append(
            {
                "class": str(subject.classes[code]),
                "rows": int(counts[code]),
                "mean probability": reliability.short(np.average(said, weights=answers.weights)),
                "share that happened": reliability.short(np.average(happened, weights=answers.weights)),
                "ece": reliability.short(ece.value),
                "ece low": reliability.short(ece.low),
                "ece high": reliability.short(ece.high),
            }
        )
    return tuple(rows)

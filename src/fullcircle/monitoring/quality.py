"""The realised metric: what the model turned out to be worth on the rows whose labels have come."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullcircle.runtimes.values import is_quantity
from fullcircle.stats import intervals
from fullcircle.types.contract import Contract, Value
from fullcircle.types.monitoring import Profile
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.report import Finding, Measure, Report

FEWEST_LABELS = 30
_CODE = "M003"
_MANY_ROWS = 20_000
Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How to measure quality: ``of(actual, predicted, probabilities)`` on n rows.

    ``actual`` and ``predicted`` are (n,), ``probabilities`` is (n, classes) in the contract's order, or None. NaN
    where the metric is not defined on these rows. ``measure`` gives it with an interval; without one it is drawn.
    """

    name: str
    of: Callable[[Array, Array, Array | None], float]
    greater_is_better: bool = False
    unit: str = ""
    measure: Callable[[Labelled], Measure] | None = None


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Predictions beside their labels, n rows. ``unusable`` counts labels that fit no prediction of this model."""

    actual: Array
    predicted: Array
    probabilities: Array | None
    unusable: int


def join(predictions: Sequence[Prediction], outcomes: Mapping[str, Outcome], contract: Contract) -> Labelled:
    """Put the labels that have come beside the predictions, by prediction id. Rejected rows have no answer."""
    pairs: list[tuple[Prediction, Value]] = []
    unusable = 0
    for prediction in predictions:
        outcome = outcomes.get(prediction.id) if prediction.id and prediction.value is not None else None
        if outcome is None or outcome.value is None:
            continue
        if fits(outcome.value, contract):
            pairs.append((prediction, outcome.value))
        else:
            unusable += 1
    if any(prediction.probabilities for prediction, _ in pairs):
        # A row that the fallback answered has no probabilities; a metric on them can say nothing about it.
        pairs = [pair for pair in pairs if pair[0].probabilities]
    kind = float if contract.task == "regression" else object
    return Labelled(
        actual=np.array([label for _, label in pairs], dtype=kind),
        predicted=np.array([prediction.value for prediction, _ in pairs], dtype=kind),
        probabilities=_probabilities([prediction for prediction, _ in pairs], contract),
        unusable=unusable,
    )


def realised(labelled: Labelled, rows: int, metric: Metric | None, profile: Profile, *, seed: int = 0) -> Finding:
    """The metric on the labelled rows with its interval, beside the reference's; ``rows`` were answered in all.

    It is a warning when both intervals lie apart and the window's is the worse one.
    """
    n = len(labelled.actual)
    coverage = _coverage(n, rows)
    title = "Quality on the labels that have come"
    share = f"{n} of {rows} answered rows have a label by now"
    if labelled.unusable:
        share += f"; {labelled.unusable} labels are of the wrong kind and left out"
    if metric is None or n < FEWEST_LABELS:
        why = "no metric was given" if metric is None else f"too few to tell ({FEWEST_LABELS} are needed)"
        return _finding(title, "info", f"{share}: {why}.", (coverage,))
    measure = _measure(labelled, metric, seed) if metric.measure is None else metric.measure(labelled)
    if measure.value is None:
        return _finding(title, "info", f"{share}; {metric.name} is not defined on them.", (measure, coverage))
    text = f"{metric.name} is {figure(measure.value, measure.low, measure.high)} on these rows"
    if profile.metric != metric.name or profile.metric_value is None:
        return _finding(title, "info", f"{share}. {text}.", (measure, coverage))
    reference = Measure(
        name=f"reference_{metric.name}",
        value=profile.metric_value,
        low=profile.metric_low,
        high=profile.metric_high,
        n=profile.rows,
        unit=metric.unit,
    )
    text += f", {figure(reference.value, reference.low, reference.high)} on the reference"
    worse = apart(measure, reference, metric.greater_is_better)
    text += ": worse, beyond chance" if worse else ""
    return _finding(title, "warning" if worse else "good", f"{share}. {text}.", (measure, reference, coverage))


def worse(report: Report) -> bool:
    """Whether a window's report says that realised quality is worse than on the reference, beyond chance."""
    return any(finding.code == _CODE and finding.severity == "warning" for finding in report.findings)


def _finding(title: str, severity: Any, text: str, measures: tuple[Measure, ...]) -> Finding:
    return Finding(check="quality", code=_CODE, title=title, severity=severity, text=text, measures=measures)


def _measure(labelled: Labelled, metric: Metric, seed: int) -> Measure:
    def on(picked: Array) -> float:
        shares = None if labelled.probabilities is None else labelled.probabilities[picked]
        return float(metric.of(labelled.actual[picked], labelled.predicted[picked], shares))

    n = len(labelled.actual)
    draws = 1000 if n <= _MANY_ROWS else 200
    found = intervals.bootstrap(on, np.arange(n), seed=seed, draws=draws)
    return Measure(
        name=metric.name,
        value=_finite(found.value),
        low=_finite(found.low),
        high=_finite(found.high),
        n=n,
        unit=metric.unit,
        method=f"percentile bootstrap, {draws} draws",
    )


def _coverage(n: int, rows: int) -> Measure:
    found = intervals.proportion(n, rows)
    return Measure(
        name="label_coverage",
        value=_finite(found.value),
        low=_finite(found.low),
        high=_finite(found.high),
        n=rows,
        unit="share",
        method="Wilson interval",
    )


def apart(window: Measure, reference: Measure, greater_is_better: bool) -> bool:
    """Whether two intervals lie apart, and the window's is the worse one."""
    if greater_is_better:
        return window.high is not None and reference.low is not None and window.high < reference.low
    return window.low is not None and reference.high is not None and window.low > reference.high


def fits(label: Value, contract: Contract) -> bool:
    """Whether a label is of the kind that the model answers; one in the log may come from anywhere."""
    if contract.task == "regression":
        return is_quantity(label)
    return any(type(label) is type(known) for known in contract.classes)


def _probabilities(predictions: Sequence[Prediction], contract: Contract) -> Array | None:
    if not predictions or not predictions[0].probabilities:
        return None
    names = [str(label) for label in contract.classes]
    return np.array([[(each.probabilities or {}).get(name, math.nan) for name in names] for each in predictions])


def figure(value: float | None, low: float | None, high: float | None) -> str:
    """A figure with its interval in words."""
    text = "unknown" if value is None else f"{value:.4g}"
    return text if low is None or high is None else f"{text} ({low:.4g} to {high:.4g})"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

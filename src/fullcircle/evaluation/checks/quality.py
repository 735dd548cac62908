"""E001 quality: how good are the answers, and are they better than the champion's and than no model at all?

Measures: every metric of the task under its own name; ``baseline_<metric>`` for the trivial model;
``champion_<metric>`` for the main metric; ``improvement`` of the main metric over the rival in its group
("baseline", "champion"), on the same rows: positive is better. Rows that the champion rejected cannot be
compared and are left out of that comparison; it says how many.
"""

from __future__ import annotations

import numpy as np

from fullcircle.evaluation import charts, metrics, words
from fullcircle.evaluation.check import Array, Subject
from fullcircle.evaluation.metrics import Answers, Metric
from fullcircle.types.report import Chart, Finding, Measure, Severity

# More classes than this make a picture nobody can read.
_CLASSES_SHOWN = 12


class Quality:
    """All metrics with intervals, against a trivial baseline and against the champion."""

    name = "quality"
    code = "E001"
    measures: tuple[str, ...] = ()

    def run(self, subject: Subject) -> Finding:
        """Measure, and compare on the main metric."""
        main = metrics.main_metric(subject.task, subject.gates, probabilities=subject.probabilities is not None)
        own = _answers(subject, subject.predicted, subject.probabilities)
        trivial = _answers(subject, subject.baseline, subject.baseline_probabilities)
        found = [_measure(subject, metric, own) for metric in metrics.of_task(subject.task) if metric.applies(own)]
        for metric in metrics.of_task(subject.task):
            if metric.applies(trivial):
                found.append(_measure(subject, metric, trivial, "baseline_"))
        gains = {"baseline": _gain(subject, main, own, trivial, "baseline")}
        if subject.champion is not None:
            both = np.flatnonzero(subject.champion_answered())
            rival = _answers(subject, subject.champion, subject.champion_probabilities).at(both)
            if main.applies(rival):
                found.append(_measure(subject, main, rival, "champion_"))
            gains["champion"] = _gain(subject, main, own.at(both), rival, "champion")
        return Finding(
            check=self.name,
            code=self.code,
            title="Quality",
            severity=_severity(gains["baseline"]),
            text=_text(main, found, gains),
            measures=(*found, *gains.values()),
            charts=(_chart(subject),),
        )


def _answers(subject: Subject, predicted: Array, probabilities: Array | None) -> Answers:
    return metrics.answers(subject.task, subject.actual, predicted, probabilities, subject.classes)


def _unit(subject: Subject, metric: Metric) -> str:
    return subject.label if metric.unit == "label" else metric.unit


def _measure(subject: Subject, metric: Metric, answers: Answers, prefix: str = "") -> Measure:
    found = metrics.estimate(metric, answers, seed=subject.seed)
    return metrics.as_measure(prefix + metric.name, found, rows=len(answers.actual), unit=_unit(subject, metric))


def _gain(subject: Subject, metric: Metric, own: Answers, rival: Answers, name: str) -> Measure:
    found = metrics.improvement(metric, own, rival, seed=subject.seed)
    return metrics.as_measure("improvement", found, rows=len(own.actual), unit=_unit(subject, metric), group=name)


def _severity(gain: Measure) -> Severity:
    """Against no model at all: better beyond chance, not surely better, or worse beyond chance."""
    if gain.low is None or gain.high is None:
        return "warning"
    if gain.low > 0.0:
        return "good"
    return "bad" if gain.high < 0.0 else "warning"


def _text(main: Metric, found: list[Measure], gains: dict[str, Measure]) -> str:
    by_name = {measure.name: measure for measure in found}
    own, trivial = by_name.get(main.name), by_name.get(f"baseline_{main.name}")
    if own is None or not own.usable:
        return f"The main metric, {main.name}, is not defined on these rows, so nothing can be said."
    parts = [f"{main.name} is {words.span(own)} on {words.rows(own.n)}."]
    if trivial is not None and trivial.usable:
        parts.append(f"A model that learned nothing has {words.number(trivial.value)}.")
    parts.extend(f"{_compared(name, gain)}." for name, gain in gains.items())
    if any(gain.n < own.n for gain in gains.values()):
        parts.append(f"The champion rejected {words.rows(own.n - gains['champion'].n)}; they are not compared.")
    return " ".join(parts)


def _compared(name: str, gain: Measure) -> str:
    if not gain.usable:
        return f"Whether it beats the {name} is unknown: {gain.method}"
    if gain.low is None or gain.high is None or gain.low <= 0.0 <= gain.high:
        return f"The improvement over the {name}, {words.span(gain)}, could be chance"
    verb = "better" if gain.low > 0.0 else "worse"
    return f"It is {verb} than the {name} beyond chance, improvement {words.span(gain)}"


def _chart(subject: Subject) -> Chart:
    if subject.task == "regression":
        return charts.scatter(
            "Predicted and actual",
            subject.actual,
            subject.predicted,
            x_title=f"actual {subject.label}".strip(),
            y_title="predicted",
            seed=subject.seed,
        )
    pairs = [(str(p), str(a)) for p, a in zip(subject.predicted.tolist(), subject.actual.tolist(), strict=True)]
    names, counts = np.unique([actual for _, actual in pairs], return_counts=True)
    shown = {str(name) for name in names[np.argsort(-counts, kind="stable")][:_CLASSES_SHOWN]}
    tally: dict[tuple[str, str], int] = {}
    for predicted, actual in pairs:
        cell = (predicted if predicted in shown else "(other)", actual if actual in shown else "(other)")
        tally[cell] = tally.get(cell, 0) + 1
    cells = [(predicted, actual, count) for (predicted, actual), count in sorted(tally.items())]
    return charts.heat("Predicted and actual", cells, x_title="predicted", y_title="actual")

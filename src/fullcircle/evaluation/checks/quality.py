"""E001 quality: how good are the answers, and are they better than the champion's and than no model at all?

Measures: every metric of the task under its own name; ``baseline_<metric>`` for the trivial model,
``champion_<metric>`` for the champion; ``improvement_over_baseline`` and ``improvement_over_champion`` of the main
metric on the same rows: positive is better. For the columns that gates name with ``by``: the improvements for every
group, and the gate's own metric where it is at_most or at_least. Rows that the champion rejected, or had learned,
cannot be compared and are left out of that comparison; it says how many. With weights the ``n`` of a measure is how
many rows of equal weight tell as much. docs/checks/quality.md has every formula.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fullcircle.evaluation import charts, groups, metrics, procedures, words
from fullcircle.evaluation.check import Array, Subject
from fullcircle.evaluation.metrics import Answers, Metric
from fullcircle.stats import ranking
from fullcircle.types.report import Chart, Finding, Measure, Severity

# More classes than this make a picture nobody can read.
_CLASSES_SHOWN = 12
# More groups than this are not judged one by one: a gate on them says no.
MOST_GROUPS = 500
NONE_LEFT = "there are no rows left on which the champion can be compared: it rejected them or had learned them"
# Where fewer rows are positive, a ROC curve looks good for almost any model.
_RARE = 0.1


class Quality:
    """All metrics with intervals, against a trivial baseline and against the champion."""

    name = "quality"
    code = "E001"
    measures: tuple[str, ...] = ("improvement_over_baseline",)

    def run(self, subject: Subject) -> Finding:
        """Measure, and compare on the main metric."""
        probabilities = subject.probabilities is not None
        main = metrics.main_metric(subject.task, subject.gates, probabilities=probabilities)
        own, trivial = metrics.own(subject), metrics.trivial_answers(subject)
        pairs = {"baseline": _Pair(own, trivial, np.arange(subject.rows))}
        found = [*_measures(subject, own), *_measures(subject, trivial, "baseline_")]
        champion = metrics.champion_answers(subject)
        if champion is not None:
            both = np.flatnonzero(subject.champion_answered())
            pairs["champion"] = _Pair(own.at(both), champion.at(both), both)
            found.extend(_measures(subject, pairs["champion"].rival, "champion_"))
        gains = {name: _gain(subject, main, pair, name) for name, pair in pairs.items()}
        sides = _sides(subject)
        by_group = [each for side in sides for each in _in_groups(subject, main, own, pairs, side)]
        return Finding(
            check=self.name,
            code=self.code,
            title="Quality",
            severity=_severity(gains["baseline"]),
            text=_text(subject, main, found, gains, [*by_group], sides, len(pairs[list(pairs)[-1]].rows)),
            measures=(*found, *gains.values(), *by_group),
            charts=(_answered(subject, own), *_second(subject, own)),
        )


@dataclass(frozen=True)
class _Pair:
    """A model and a rival on the same rows of the subject, at these positions."""

    own: Answers
    rival: Answers
    rows: Array


@dataclass(frozen=True)
class _Side:
    """Columns whose groups gates look at: the group of every row, their names, and the metrics asked for."""

    by: tuple[str, ...]
    codes: Array
    names: tuple[str, ...]
    asked: tuple[str, ...]

    @property
    def too_many(self) -> bool:
        return len(self.names) > MOST_GROUPS


def _sides(subject: Subject) -> list[_Side]:
    asked: dict[tuple[str, ...], list[str]] = {}
    for gate in subject.gates:
        if gate.by and gate.kind in ("beats", "at_most", "at_least"):
            asked.setdefault(gate.by, []).extend([] if gate.kind == "beats" else [gate.metric])
    return [
        _Side(by, *groups.of_rows(subject.frame, by), tuple(dict.fromkeys(wanted))) for by, wanted in asked.items()
    ]


def _in_groups(
    subject: Subject, main: Metric, own: Answers, pairs: Mapping[str, _Pair], side: _Side
) -> Iterator[Measure]:
    """The metrics asked for, and the improvements, in every group."""
    if side.too_many:
        return
    wanted = [metrics.find(name, subject.task) for name in side.asked]
    for group, rows in zip(side.names, _split(side.codes, len(side.names)), strict=True):
        for metric in wanted:
            yield _measure(subject, metric, own.at(rows), group=group)
    for name, pair in pairs.items():
        parts = _split(side.codes[pair.rows], len(side.names))
        for group, rows in zip(side.names, parts, strict=True):
            yield _gain(subject, main, _Pair(pair.own.at(rows), pair.rival.at(rows), rows), name, group)


def _split(codes: Array, count: int) -> list[Array]:
    """The rows of each group, ascending."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.searchsorted(codes[order], np.arange(1, count)))


def _measures(subject: Subject, answers: Answers, prefix: str = "") -> list[Measure]:
    asked = [metric for metric in metrics.of_task(subject.task) if metric.applies(answers)]
    return [_measure(subject, metric, answers, prefix) for metric in asked]


def _measure(subject: Subject, metric: Metric, answers: Answers, prefix: str = "", *, group: str = "") -> Measure:
    found = metrics.estimate(metric, answers, seed=subject.seed)
    return metrics.as_measure(
        prefix + metric.name,
        found,
        rows=answers.worth,
        unit=metrics.unit_of(subject, metric),
        group=group,
        better=metric.better,
    )


def _gain(subject: Subject, metric: Metric, pair: _Pair, rival: str, group: str = "") -> Measure:
    found = metrics.improvement(metric, pair.own, pair.rival, seed=subject.seed)
    if rival == "champion" and pair.own.rows == 0:
        found = metrics.Estimate(None, method=NONE_LEFT)
    return metrics.as_measure(
        f"improvement_over_{rival}",
        found,
        rows=pair.own.worth,
        unit=metrics.unit_of(subject, metric),
        group=group,
        better="higher",
    )


def _severity(gain: Measure) -> Severity:
    """Against no model at all: better beyond chance, not surely better, or worse beyond chance."""
    if gain.low is None or gain.high is None:
        return "warning"
    if gain.low > 0.0:
        return "good"
    return "bad" if gain.high < 0.0 else "warning"


def _text(
    subject: Subject,
    main: Metric,
    found: Sequence[Measure],
    gains: Mapping[str, Measure],
    by_group: Sequence[Measure],
    sides: Sequence[_Side],
    compared: int,
) -> str:
    by_name = {measure.name: measure for measure in found}
    own, trivial = by_name.get(main.name), by_name.get(f"baseline_{main.name}")
    if own is None or not own.usable:
        return f"The main metric, {main.name}, is not defined on these rows, so nothing can be said."
    weighted = f" by their weights, which tell as much as {own.n} equal ones" if own.n < subject.rows else ""
    parts = [f"{main.name} is {_span(own)} on {words.rows(subject.rows)}{weighted}."]
    if own.low is None and own.method:
        parts.append(f"It has no interval: {own.method}.")
    if trivial is not None and trivial.usable:
        parts.append(f"A model that learned nothing has {words.number(trivial.value)}.")
    parts.extend(f"{_compared(name, gain)}." for name, gain in gains.items())
    if 0 < compared < subject.rows:
        left = subject.rows - compared
        were, them = ("was", "it") if left == 1 else ("were", "them")
        parts.append(f"{words.rows(left)} {were} not compared: the champion rejected {them} or had learned {them}.")
    worse = dict.fromkeys(
        measure.group
        for measure in by_group
        if measure.name == f"improvement_over_{list(gains)[-1]}" and measure.high is not None and measure.high < 0.0
    )
    if worse:
        parts.append(f"It is worse than the {list(gains)[-1]} beyond chance for {_listed(list(worse))}.")
    for side in sides:
        if side.too_many:
            number = f"{len(side.names):,}".replace(",", " ")
            parts.append(f"{' and '.join(side.by)} has {number} groups, too many to judge one by one.")
    return " ".join(parts)


def _listed(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more


def _compared(name: str, gain: Measure) -> str:
    if not gain.usable:
        return f"Whether it beats the {name} is unknown: {gain.method}"
    if gain.method == procedures.SAME:
        return f"It answers the same as the {name}"
    if gain.low is None or gain.high is None:
        return f"Its improvement over the {name} is {_span(gain)} and has no interval: {gain.method}"
    if gain.low <= 0.0 <= gain.high:
        return f"The improvement over the {name}, {_span(gain)}, could be chance"
    verb = "better" if gain.low > 0.0 else "worse"
    return f"It is {verb} than the {name} beyond chance, improvement {_span(gain)}"


def _span(measure: Measure) -> str:
    """A figure with its interval; a share needs no unit."""
    return words.span(replace(measure, unit="") if measure.unit == "share" else measure)


def _answered(subject: Subject, own: Answers) -> Chart:
    """Predicted beside actual: points, or how often each class was answered for each."""
    if subject.task == "regression":
        return charts.scatter(
            "Predicted and actual",
            subject.actual,
            subject.predicted,
            x_title=f"actual {subject.label}".strip(),
            y_title="predicted",
            seed=subject.seed,
        )
    often = np.bincount(own.actual, minlength=own.labels)[: own.known]
    shown = [code for code in np.argsort(-often, kind="stable")[:_CLASSES_SHOWN].tolist() if often[code]]
    place = np.full(own.labels, len(shown), dtype=np.intp)
    place[shown] = np.arange(len(shown))
    names = [*(str(subject.classes[code]) for code in shown), "(other)"]
    counted = np.bincount(place[own.predicted] * len(names) + place[own.actual], minlength=len(names) ** 2)
    tally = counted.reshape(len(names), len(names))
    cells = [
        (names[predicted], names[actual], int(tally[predicted, actual]))
        for predicted, actual in zip(*(each.tolist() for each in np.nonzero(tally)), strict=True)
    ]
    return charts.heat("Predicted and actual", sorted(cells), x_title="predicted", y_title="actual")


def _second(subject: Subject, own: Answers) -> tuple[Chart, ...]:
    """What is left over, or how well probabilities rank: ROC, or precision where positive rows are rare."""
    if subject.task == "regression":
        left = own.actual - own.predicted
        title = "What is left over: actual minus predicted"
        return (charts.dots(title, own.predicted, left, x_title="predicted", y_title="left over", seed=subject.seed),)
    if own.known != 2 or own.probabilities is None or own.strange():
        return ()
    positive = own.actual == 1
    curve = ranking.curves(own.probabilities[:, 1], positive, own.uneven())
    found, taken, precision = (curve[name] for name in ("found", "taken", "precision"))
    if not len(found):
        return ()
    named = f"rows of class {subject.classes[1]}"
    if positive.mean() < _RARE:
        return (
            charts.line(
                "Precision and recall",
                found,
                precision,
                x_title=f"share of {named} that is found",
                y_title=f"share of {named} among those taken",
            ),
        )
    return (
        charts.line(
            "ROC curve",
            np.r_[0.0, taken],
            np.r_[0.0, found],
            x_title="share of other rows wrongly taken",
            y_title=f"share of {named} that is found",
            beside=((0.0, 0.0), (1.0, 1.0)),
        ),
    )

"""E010 glassbox: what does a model that nobody can read whole buy over one that everybody can?

The rival is an explainable boosting machine (Lou et al. 2013; Nori et al. 2019): a sum of one curve per column and
at most ten tables of two columns, trained on the same rows and asked about the same test rows. Measures:
``glassbox_<main metric>``, the rival's; ``price_of_opacity``, by how much the model is better (paired, positive: the
model), in the metric's unit; with a worth gate ``glassbox_value_per_row`` and ``value_of_opacity``, what the model
earns more a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fullcircle.errors import MissingExtra
from fullcircle.evaluation import charts, earning, metrics, words
from fullcircle.evaluation.check import Array, Skipped, Subject
from fullcircle.evaluation.explanation import pictures
from fullcircle.evaluation.explanation.rival import Rival, train
from fullcircle.evaluation.explanation.shuffling import sample, unit_of
from fullcircle.types.report import Chart, Finding, Measure

FEWEST_ROWS = 50
# More rows hardly change its curves, and each of them costs time.
MOST_ROWS = 50_000
_TERMS_SHOWN, _SHAPES_SHOWN = 20, 3


class Glassbox:
    """A glass-box rival trained beside the model, and what the model is better by."""

    name = "glassbox"
    code = "E010"
    measures: tuple[str, ...] = ("price_of_opacity",)

    def run(self, subject: Subject) -> Finding | Skipped:
        """Train the rival on a sample of at most 50 000 training rows, and compare both on as many test rows."""
        why_not = _why_not(subject)
        if why_not:
            return Skipped(why_not)
        try:
            rival = train(subject, MOST_ROWS)
        except MissingExtra:
            return Skipped("it needs fullcircle[explain], which is not installed")
        if rival is None:
            return Skipped("all training rows are of one class, or no column of theirs differs")
        asked = np.sort(sample(subject, MOST_ROWS, stream=2))
        found = _compared(subject, rival, asked)
        return Finding(
            check=self.name,
            code=self.code,
            title="The price of opacity",
            severity="info",
            text=_text(subject, rival, found),
            measures=found,
            charts=_charts(subject, rival),
        )


def _why_not(subject: Subject) -> str:
    """Why there can be no rival, or ""."""
    if subject.train is None or subject.inputs is None:
        return "the rows that the model learned from are not known"
    rows = len(subject.train.actual)
    if rows < FEWEST_ROWS:
        return f"{words.rows(rows)} are too few to train a rival on"
    return ""


def _compared(subject: Subject, rival: Rival, asked: Array) -> tuple[Measure, ...]:
    """The rival's metric, the difference, and what both earn where that is said."""
    cut = _cut(subject, asked)
    predicted, shares = rival.answers(cut.inputs)
    metric = metrics.main_metric(subject.task, subject.gates, probabilities=subject.probabilities is not None)
    own = metrics.own(cut)
    glass = metrics.answers(subject.task, cut.actual, predicted, shares, subject.classes, cut.weights)
    unit = unit_of(subject, metric)
    said = f"; {_how(subject, rival, len(asked))}"
    alone = metrics.estimate(metric, glass, seed=subject.seed)
    more = metrics.improvement(metric, own, glass, seed=subject.seed)
    found = [
        metrics.as_measure(f"glassbox_{metric.name}", alone, rows=len(asked), unit=unit, better=metric.better),
        metrics.as_measure("price_of_opacity", more, rows=len(asked), unit=unit),
    ]
    return tuple(replace(each, method=each.method + said) for each in (*found, *_earned(cut, predicted)))


def _earned(subject: Subject, predicted: Array) -> list[Measure]:
    gate = next((gate for gate in subject.gates if gate.kind == "worth"), None)
    if gate is None:
        return []
    pay = earning.pay(gate, subject)
    glass, own = pay(predicted), pay(subject.predicted)
    unit, weights = f"{subject.currency} a row".strip(), subject.weights
    return [
        earning.measure("glassbox_value_per_row", glass, weights, unit=unit),
        earning.measure("value_of_opacity", own - glass, weights, unit=unit, method="paired t interval"),
    ]


def _cut(subject: Subject, rows: Array) -> Subject:
    """The same subject on some of its rows, as far as metrics and gates read it."""
    if len(rows) == subject.rows:
        return subject
    inputs: Any = subject.inputs
    shares, weights = subject.probabilities, subject.weights
    return replace(
        subject,
        actual=subject.actual[rows],
        predicted=subject.predicted[rows],
        probabilities=None if shares is None else shares[rows],
        weights=None if weights is None else np.asarray(weights)[rows],
        inputs=inputs.iloc[rows],
        frame=subject.frame.iloc[rows],
    )


def _how(subject: Subject, rival: Rival, asked: int) -> str:
    part = "" if asked == subject.rows else f", compared on {words.rows(asked)} of {subject.rows}"
    made = f"outer_bags {rival.bags}, {_pairs(rival)}, at most {rival.rounds} rounds"
    return f"rival: EBM, {made}, trained on {words.rows(rival.rows)}{part}"


def _text(subject: Subject, rival: Rival, found: Sequence[Measure]) -> str:
    named = {measure.name: measure for measure in found}
    metric = found[0].name.removeprefix("glassbox_")
    whole = f"{_some(rival.columns, 'term')} and {_pairs(rival)}"
    other = f"a glass-box model with {whole} (EBM, outer_bags {rival.bags}), which a person can read whole"
    told = [each for each in (named["price_of_opacity"], named.get("value_of_opacity")) if each is not None]
    better = [each for each in told if each.low is not None and each.low > 0]
    worse = [each for each in told if each.high is not None and each.high < 0]
    open_ = [each for each in told if each.value is not None and each not in better and each not in worse]
    chance = " and ".join(_span(each, metric) for each in open_)
    if not better and not worse:
        return (
            f"The model buys nothing beyond chance over {other}: consider the glass box. The difference is {chance}."
            if open_
            else f"What the model buys over {other}, is unknown: {told[0].method.split(';')[0]}."
        )
    verb, first = ("buys", better) if better else ("loses", worse)
    sums = " and ".join(_span(each if better else _turned(each), metric) for each in first)
    said = f"The model {verb} {sums} {'over' if better else 'against'} {other}."
    if better and worse:
        said += f" It loses {' and '.join(_span(_turned(each), metric) for each in worse)}."
    return f"{said} The rest could be chance: {chance}." if open_ else said


def _span(measure: Measure, metric: str) -> str:
    """``0.012 log_loss (95 % 0.008 to 0.016)``, ``0.3 EUR a row``."""
    unit = measure.unit if measure.name == "value_of_opacity" else metric
    interval = "" if measure.low is None or measure.high is None else f" (95 % {_ends(measure.low, measure.high)})"
    return f"{words.number(measure.value)} {unit}{interval}"


def _turned(measure: Measure) -> Measure:
    """The same from the other side."""
    low, value, high = (None if each is None else -each for each in (measure.high, measure.value, measure.low))
    return replace(measure, low=low, value=value, high=high)


def _ends(low: float, high: float) -> str:
    return f"{words.number(low)} to {words.number(high)}"


def _pairs(rival: Rival) -> str:
    return _some(rival.interactions, "interaction")


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _charts(subject: Subject, rival: Rival) -> tuple[Chart, ...]:
    """The weight of its terms, and the curves of the strongest columns that are not private."""
    unit = subject.unit or subject.label
    answer = f"the answer{f' ({unit})' if unit else ''}" if subject.task == "regression" else "the log-odds"
    if len(subject.classes) == 2:
        answer += f" of {subject.classes[1]}"
    terms = charts.bars(
        "What the glass box adds up",
        rival.terms()[:_TERMS_SHOWN],
        x_title=f"mean change of {answer}",
    )
    shapes = rival.shapes(subject.columns)[:_SHAPES_SHOWN]
    return (terms, *(pictures.shape(each, y_title=f"adds to {answer}") for each in shapes))

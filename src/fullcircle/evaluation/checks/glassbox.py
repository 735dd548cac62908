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
from fullcircle.evaluation import amounts, charts, earning, metrics, words
from fullcircle.evaluation.check import Array, Skipped, Subject
from fullcircle.evaluation.explanation import pictures
from fullcircle.evaluation.explanation.rival import Rival, train
from fullcircle.evaluation.explanation.shuffling import sample
from fullcircle.types.report import Chart, Finding, Measure

FEWEST_ROWS = 50
# More rows hardly change its curves, and each of them costs time.
MOST_ROWS = 50_000
_TERMS_SHOWN, _SHAPES_SHOWN = 20, 3
# More curves and tables than this nobody reads whole.
_READABLE = 30


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
    unit = metrics.unit_of(subject, metric)
    said = f"; {_how(subject, rival, len(asked))}"
    alone = metrics.estimate(metric, glass, seed=subject.seed)
    more = metrics.improvement(metric, own, glass, seed=subject.seed)
    found = [
        metrics.as_measure(f"glassbox_{metric.name}", alone, rows=len(asked), unit=unit, better=metric.better),
        metrics.as_measure("price_of_opacity", more, rows=len(asked), unit=unit),
    ]
    found += _earned(subject, asked, predicted)
    return tuple(replace(each, method=each.method + said) for each in found)


def _earned(subject: Subject, asked: Array, predicted: Array) -> list[Measure]:
    """What both earn on the rows ``asked``; unknown where the project's own function cannot tell."""
    gate = next((gate for gate in subject.gates if gate.kind == "worth"), None)
    if gate is None:
        return []
    unit = f"{subject.currency} a row".strip()
    try:
        pay = amounts.of_rows(gate, subject, asked)
        glass, own = pay(predicted), pay(subject.predicted[asked])
    except Exception as error:  # noqa: BLE001 - the function is the project's own; that it fails is told
        why = f"the worth gate raised {type(error).__name__}"
        names = ("glassbox_value_per_row", "value_of_opacity")
        return [Measure(name=name, value=None, unit=unit, method=why, better="higher") for name in names]
    weights = None if subject.weights is None else np.asarray(subject.weights)[asked]
    return [
        earning.measure("glassbox_value_per_row", glass, weights, unit=unit),
        earning.measure(
            "value_of_opacity",
            own - glass,
            weights,
            unit=unit,
            method="paired t interval",
            same=bool(np.all(np.asarray(subject.predicted)[asked] == predicted)),
        ),
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
    # The name of a label is no unit, and "0.1 share" no English.
    units = {subject.label: subject.unit, "share": ""}
    named = {measure.name: replace(measure, unit=units.get(measure.unit, measure.unit)) for measure in found}
    metric = found[0].name.removeprefix("glassbox_")
    terms = rival.columns + rival.interactions
    read = "which a person can read whole" if terms <= _READABLE else "which can be looked at term by term"
    whole = f"{_some(rival.columns, 'curve')}{f' and {_pairs(rival)}' if rival.interactions else ''}"
    other = f"a glass-box model of {whole}, {read}"
    told = [each for each in (named["price_of_opacity"], named.get("value_of_opacity")) if each is not None]
    better = [each for each in told if each.low is not None and each.low > 0]
    worse = [each for each in told if each.high is not None and each.high < 0]
    open_ = [each for each in told if each.value is not None and each not in better and each not in worse]
    unknown = [each for each in told if each.value is None]
    if not better and not worse and not open_:
        return f"Whether the model is better than {other}, is unknown: {told[0].method.split(';')[0]}."
    if not better and not worse:
        said = f"The model is not better beyond chance than {other}: consider the glass box."
    else:
        way, first = ("better", better) if better else ("worse", worse)
        sums = " and ".join(_by(each, metric, way) for each in first)
        said = f"The model {sums} than {other}."
        if better and worse:
            said += f" But it {', and it '.join(_by(each, metric, 'worse') for each in worse)}."
    if open_:
        chance = " and ".join(_open(each, metric) for each in open_)
        rest = " could be chance" if better or worse else " (positive: the model is better)"
        said += f" The difference{rest}: {chance}."
    return said + "".join(f" What it earns more is unknown: {each.method.split(';')[0]}." for each in unknown)


def _by(measure: Measure, metric: str, way: str) -> str:
    """``is better by 0.012 in log_loss (95 % 0.008 to 0.016)``, ``earns 0.3 EUR a row less``."""
    told = measure if way == "better" else _turned(measure)
    interval = "" if told.low is None or told.high is None else f" (95 % {_ends(told.low, told.high)})"
    if measure.name == "value_of_opacity":
        return f"earns {words.number(told.value)} {told.unit} {'more' if way == 'better' else 'less'}{interval}"
    unit = f" {told.unit}" if told.unit else ""
    return f"is {way} by {words.number(told.value)}{unit} in {metric}{interval}"


def _open(measure: Measure, metric: str) -> str:
    """``0.002 in log_loss (95 % -0.003 to 0.007)``, ``0.1 EUR a row (95 % ...)``."""
    if measure.name == "value_of_opacity":
        return words.span(measure)
    value, _, interval = words.span(measure).partition(" (")
    return f"{value} in {metric}{f' ({interval}' if interval else ''}"


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

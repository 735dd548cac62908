"""E003 value: what do the model's answers earn, in the project's own money?

Measures: ``value_per_row``, what an answer earns on average by the worth gate; the same for the trivial model
(``baseline_value_per_row``) and the champion (``champion_value_per_row``, on the rows that it answered), and what
this model earns more on the same rows (``value_over_baseline``, ``value_over_champion``). With two classes and
probabilities: ``best_threshold``, the probability from which on answering the second class earns most,
``best_value_per_row``, what that earns on rows that did not choose it, and ``best_value_over_own``, how much more
that is than the model's own answers. Where the project says how many requests a day there are:
``value_per_month``, ``champion_value_per_month``, ``value_over_champion_per_month``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fullcircle.evaluation import charts, earning, procedures, words
from fullcircle.evaluation.check import Array, Skipped, Subject
from fullcircle.stats import influence, thresholds
from fullcircle.types.gates import Gate
from fullcircle.types.report import Chart, Finding, Measure

# Fewer rows choose a threshold by luck.
FEWEST_ROWS = 30
FOLDS = 5
DAYS_A_MONTH = 365.25 / 12.0
_POINTS = 200
_TITLES = {
    "value_per_row": "this model",
    "baseline_value_per_row": "no model",
    "champion_value_per_row": "champion",
    "best_value_per_row": "best threshold",
}
_MONTHLY = {
    "value_per_row": "value_per_month",
    "champion_value_per_row": "champion_value_per_month",
    "value_over_champion": "value_over_champion_per_month",
}


@dataclass(frozen=True)
class _Best:
    """The threshold that earns most: its measures, and the curve it was read from, or why there is none."""

    measures: tuple[Measure, ...] = ()
    curve: thresholds.Curve | None = None
    why_not: str = ""


class Value:
    """The mean value of a row with its interval, beside no model, the champion and the best threshold."""

    name = "value"
    code = "E003"
    measures: tuple[str, ...] = ("value_per_row",)

    def run(self, subject: Subject) -> Finding | Skipped:
        """Ask the project's own function or matrix what each answer is worth."""
        gate = next((gate for gate in subject.gates if gate.kind == "worth"), None)
        if gate is None:
            return Skipped("no gate says what an answer is worth: fc.worth(per_row=...) or fc.worth(matrix=...)")
        pay = earning.pay(gate, subject)
        own = pay(subject.predicted)
        found = _earned(subject, pay, own)
        best = _best(subject, pay, own)
        measures = {measure.name: measure for measure in (*found, *best.measures)}
        return Finding(
            check=self.name,
            code=self.code,
            title="Value",
            severity="good" if _reaches(measures["value_per_row"], gate) else "bad",
            text=" ".join(_text(subject, gate, measures, best)),
            measures=tuple(measures.values()),
            charts=_charts(subject, measures, own, best),
        )


def _money(subject: Subject, per: str) -> str:
    return f"{subject.currency} a {per}".strip()


def _earned(subject: Subject, pay: earning.Pay, own: Array) -> list[Measure]:
    """What the model, no model and the champion earn, a row and a month, and the paired differences."""
    row, weights = _money(subject, "row"), subject.weights
    trivial = pay(subject.baseline)
    found = [
        earning.measure("value_per_row", own, weights, unit=row),
        earning.measure("baseline_value_per_row", trivial, weights, unit=row),
        earning.measure(
            "value_over_baseline",
            own - trivial,
            weights,
            unit=row,
            method="paired t interval",
            same=np.array_equal(subject.predicted, subject.baseline),
        ),
    ]
    if subject.champion is not None:
        both = subject.champion_answered()
        # A function of the user's may know the rows by their place, so it is asked about all of them.
        filled = np.where(both, subject.champion, subject.predicted)
        rival = pay(filled.astype(float) if subject.task == "regression" else filled)[both]
        shared, more = None if weights is None else weights[both], own[both] - rival
        found.append(earning.measure("champion_value_per_row", rival, shared, unit=row))
        same = np.array_equal(subject.predicted[both], subject.champion[both])
        over = earning.measure("value_over_champion", more, shared, unit=row, method="paired t interval", same=same)
        found.append(over)
    return [*found, *_monthly(subject, found)]


def _monthly(subject: Subject, found: Sequence[Measure]) -> list[Measure]:
    if subject.serving is None:
        return []
    times, unit = subject.serving.requests_per_day * DAYS_A_MONTH, _money(subject, "month")
    return [
        earning.scaled(measure, _MONTHLY[measure.name], times=times, unit=unit)
        for measure in found
        if measure.name in _MONTHLY
    ]


def _best(subject: Subject, pay: earning.Pay, own: Array) -> _Best:
    """The best threshold of two classes, its value measured by cross-fitting."""
    if subject.probabilities is None or len(subject.classes) != 2:
        return _Best()
    unit = _money(subject, "row")
    weights = None if subject.weights is None else np.asarray(subject.weights, dtype=float)
    no, yes = (pay(earning.constant(subject, position)) for position in (0, 1))
    why_not = _unfit(subject, own, yes, no)
    if why_not:
        silent = ("best_threshold", "best_value_per_row", "best_value_over_own")
        return _Best(tuple(Measure(name=name, value=None, method=why_not) for name in silent), None, why_not)
    scores = np.asarray(subject.probabilities, dtype=float)[:, 1]
    curve = thresholds.curve(scores, yes, no, weights)
    fitted = thresholds.cross_fit(scores, yes, no, weights, seed=subject.seed, folds=FOLDS)
    method = f"t interval, cross-fitted in {FOLDS} folds: chosen on the others, measured on each"
    return _Best(
        (
            _threshold(curve, fitted, influence.whole(weights, subject.rows)),
            earning.measure("best_value_per_row", fitted.amounts, weights, unit=unit, method=method),
            earning.measure(
                "best_value_over_own", fitted.amounts - own, weights, unit=unit, method=f"paired {method}"
            ),
        ),
        curve,
    )


def _unfit(subject: Subject, own: Array, yes: Array, no: Array) -> str:
    """Why there is no curve, or "". A curve takes for granted that an amount hangs on the row's own answer alone."""
    weights = None if subject.weights is None else np.asarray(subject.weights, dtype=float)
    if influence.whole(weights, subject.rows) < FEWEST_ROWS:
        return f"a threshold needs at least {FEWEST_ROWS} rows to be chosen on"
    said = earning.codes(subject.predicted, subject.classes)
    mixed = np.where(said == 1, yes, no)
    if np.any(said > 1) or not np.allclose(mixed, own, rtol=1e-9, atol=1e-12):
        return "what an answer earns does not depend on its own row alone"
    return ""


def _threshold(curve: thresholds.Curve, fitted: thresholds.CrossFit, rows: int) -> Measure:
    best = float(curve.thresholds[curve.best])
    if not math.isfinite(best):
        method = "never answering the second class earns most on these rows"
        return Measure(name="best_threshold", value=None, n=rows, unit="probability", method=method)
    low, high = float(fitted.thresholds.min()), float(fitted.thresholds.max())
    least, most = words.number(low), words.number(high) if math.isfinite(high) else "never"
    method = f"highest of the curve on all rows, no interval; the folds chose {least} to {most}"
    return Measure(name="best_threshold", value=best, n=rows, unit="probability", method=method)


def _reaches(value: Measure, gate: Gate) -> bool:
    return value.low is not None and value.low >= gate.limit


def _text(subject: Subject, gate: Gate, measures: dict[str, Measure], best: _Best) -> list[str]:
    value, trivial = measures["value_per_row"], measures["baseline_value_per_row"]
    said = [
        f"An answer is worth {words.span(value)} on average over {words.rows(subject.rows)}; "
        f"without a model it would be {words.number(trivial.value)}."
    ]
    month = measures.get("value_per_month")
    if month is not None and subject.serving is not None:
        asked = words.number(subject.serving.requests_per_day)
        said.append(f"At {asked} requests a day that is {words.span(month)}.")
    said.extend(_beside_champion(subject, measures))
    said.extend(_beside_threshold(subject, measures, best))
    if value.low is None:
        said.append(f"That is not enough: it has no interval, as {value.method}.")
    elif not _reaches(value, gate):
        said.append(f"That is not enough: at least {words.number(gate.limit)} was asked for, beyond chance.")
    return said


def _beside_champion(subject: Subject, measures: dict[str, Measure]) -> list[str]:
    rival = measures.get("champion_value_per_month", measures.get("champion_value_per_row"))
    more = measures.get("value_over_champion_per_month", measures.get("value_over_champion"))
    if rival is None or more is None:
        return []
    if rival.value is None or more.value is None:
        return ["There are no rows left on which the champion can be compared: it rejected them or had learned them."]
    left = subject.rows - int(subject.champion_answered().sum())
    were, them = ("was", "it") if left == 1 else ("were", "them")
    rest = f" {words.rows(left)} {were} not compared: the champion rejected {them} or had learned {them}."
    if more.method == procedures.SAME:
        return [f"The champion gives the same answers, so it earns the same.{rest if left else ''}"]
    side = "more" if more.value >= 0.0 else "less"
    chance = more.low is None or more.high is None or more.low <= 0.0 <= more.high
    span = f"{words.number(abs(more.value))} {side}"
    if more.low is not None and more.high is not None:
        low, high = (more.low, more.high) if side == "more" else (-more.high, -more.low)
        span += f" (95 % {words.number(low)} to {words.number(high)})"
    if more.low is None:
        doubt = f", without an interval: {more.method}"
    else:
        doubt = ", which could be chance" if chance else ""
    earns = f"{words.number(rival.value)} {rival.unit}".strip()
    said = f"The champion earns {earns} on the same rows; this model {span}{doubt}."
    return [said + (rest if left else "")]


def _beside_threshold(subject: Subject, measures: dict[str, Measure], best: _Best) -> list[str]:
    if best.why_not:
        return [f"There is no value curve: {best.why_not}."]
    earned, more = measures.get("best_value_per_row"), measures.get("best_value_over_own")
    if best.curve is None or earned is None or more is None:
        return []
    if more.low is None or more.low <= 0.0:
        return ["No other threshold is shown to earn more than the model's own answers."]
    own, yes = words.number(measures["value_per_row"].value), subject.classes[1]
    at = best.curve.best
    if at == 0:
        how = f"Always answering {yes}"
    elif at == len(best.curve.thresholds) - 1:
        how = f"Never answering {yes}"
    else:
        how = f"Answering {yes} from a probability of {words.number(best.curve.thresholds[at])} on"
    return [f"{how} would earn {words.span(earned)}; the model's own answers earn {own}."]


def _charts(subject: Subject, measures: dict[str, Measure], own: Array, best: _Best) -> tuple[Chart, ...]:
    named = [(title, measures[name]) for name, title in _TITLES.items() if name in measures]
    amount = f" in {subject.currency}" if subject.currency else ""
    pictures = [
        charts.ranges("Value of an answer", named, x_title=f"mean value of a row{amount}"),
        charts.histogram("Value by row", own, x_title=f"value of a row{amount}"),
    ]
    if best.curve is not None:
        pictures.insert(1, _curve_chart(subject, best.curve, measures["value_per_row"], amount))
    return tuple(pictures)


def _curve_chart(subject: Subject, curve: thresholds.Curve, own: Measure, amount: str) -> Chart:
    """The curve at no more than 200 thresholds, its best point, and a line at what the model's own answers earn."""
    finite = len(curve.thresholds) - 1
    picked = np.unique(np.append(np.linspace(0, finite - 1, _POINTS - 1).astype(int), min(curve.best, finite - 1)))
    x = {
        "field": "x",
        "type": "quantitative",
        "title": f"probability from which on the answer is {subject.classes[1]}",
    }
    y = {"field": "y", "type": "quantitative", "title": f"mean value of a row{amount}", "scale": {"zero": False}}
    colour = {"field": "name", "type": "nominal", "title": None, "sort": None}
    encoding = {"x": x, "y": y, "color": colour}
    line = [_point(curve, place, "by threshold") for place in picked.tolist()]
    level = [
        {"x": float(curve.thresholds[place]), "y": own.value, "name": "the model's own answers"}
        for place in dict.fromkeys((0, finite - 1))
    ]
    layers = [
        {"data": {"values": line}, "mark": {"type": "line", "interpolate": "step-before"}, "encoding": encoding},
        {"data": {"values": level}, "mark": {"type": "line", "strokeDash": [6, 4]}, "encoding": encoding},
    ]
    if curve.best < finite:
        top = [_point(curve, curve.best, "best threshold on these rows")]
        mark = {"type": "point", "filled": True, "size": 90, "tooltip": True}
        layers.append({"data": {"values": top}, "mark": mark, "encoding": encoding})
    return Chart(
        title="Value by threshold",
        spec={
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "width": "container",
            "height": 260,
            "layer": layers,
        },
    )


def _point(curve: thresholds.Curve, place: int, name: str) -> dict[str, object]:
    x, y = (float(f"{float(values[place]):.6g}") for values in (curve.thresholds, curve.values))
    return {"x": x, "y": y, "name": name}

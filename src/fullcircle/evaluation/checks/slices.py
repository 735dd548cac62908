"""E007 slices: where is the model worst, up to two columns deep, and is it at fault there?

Measures: ``worst_slice``, the mean loss in the worst slice, with an upper end that bounds every slice that was kept;
``slice_loss`` of up to ten slices (groups are their names). The loss is the absolute error, -ln of the probability
given to what happened, or, of a model without probabilities, 0 or 1. Slices are chosen on one half of the rows and
measured on the other; their intervals hold for all of them together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fullcircle.evaluation import charts, slicing, words
from fullcircle.evaluation.check import Array, Skipped, Subject
from fullcircle.evaluation.slicing import Losses
from fullcircle.stats import slices
from fullcircle.stats.intervals import Interval
from fullcircle.stats.slices import Coded, Where
from fullcircle.types.report import Chart, Finding, Measure

# Searched in a sample: what 50 000 rows do not show is small or rare.
MOST_ROWS = 50_000
# Beyond chance is at most one false alarm in a thousand good models, all slices and tests together.
ALPHA = 0.001
# A slice that is less than this share of the mean loss worse than all rows is not worth a warning.
RELEVANT = 0.25
# Fitted parameters are always off a little, which shifts the errors of small groups: a shift has to be larger.
SHIFTED = 0.5
CANDIDATES = 20
# Of fewer rows (Kish's effective number) only large faults would show: nothing found says little.
ENOUGH = 400
SHOWN = 10


@dataclass(frozen=True)
class _Part:
    """Some of the rows: as codes, with their losses and weights."""

    coded: Coded
    losses: Losses
    weights: Array

    def at(self, rows: Array) -> _Part:
        return _Part(self.coded.at(rows), self.losses.at(rows), self.weights[rows])

    @property
    def size(self) -> float:
        """The effective number of rows (Kish 1965)."""
        return float(self.weights.sum() ** 2 / (self.weights @ self.weights))

    def mean(self, values: Array, inside: Array | None = None) -> float:
        if inside is None:
            return float(np.average(values, weights=self.weights))
        return float(np.average(values[inside], weights=self.weights[inside]))


@dataclass(frozen=True)
class _Chosen:
    """The slices that the first half of the rows proposes: by their loss, and by what tells a fault."""

    by_loss: tuple[Where, ...] = ()
    by_fault: tuple[Where, ...] = ()
    looked: int = 0


@dataclass(frozen=True)
class _Judged:
    """A slice on the second half. ``fault`` says what is wrong in it, "" where nothing is proven.

    ``rank`` is its place among the faults, the clearest first; ``aside`` the mean signed error or the mean loss
    beyond the expected one, where there is such a thing.
    """

    name: str
    rows: int
    share: float
    loss: Interval
    times: float
    aside: float | None
    fault: str
    rank: int


class Slices:
    """The worst slices of one and two columns, found on one half of the rows and judged on the other."""

    name = "slices"
    code = "E007"
    measures: tuple[str, ...] = ("worst_slice",)

    def run(self, subject: Subject) -> Finding | Skipped:
        """Search, then judge what was found."""
        picked, weights = _rows(subject)
        frame = subject.frame if len(picked) == subject.rows else subject.frame.iloc[picked]
        sliced = slicing.cut(frame, [*subject.features, *subject.protected], subject.columns)
        if not sliced.names and len(picked) > 1:
            return Skipped("there are no columns to look for slices in")
        whole = _Part(sliced.coded, slicing.losses(subject, picked), weights)
        half = np.random.default_rng(subject.seed).permutation(np.arange(len(picked)) % 2) == 0
        searched = whole.at(half)
        chosen = _search(searched)
        judged = _judge(whole.at(~half), searched, chosen, sliced)
        faulty = sorted((each for each in judged if each.fault), key=lambda each: each.rank)
        # What is at fault is shown first of all, then what is merely worst.
        shown = sorted(judged, key=lambda each: not each.fault)[:SHOWN]
        shown.sort(key=lambda each: -each.loss.value)
        enough = bool(judged) and whole.size >= ENOUGH
        return Finding(
            check=self.name,
            code=self.code,
            title="Slices",
            severity="warning" if faulty else ("good" if enough else "info"),
            text=" ".join(_text(subject, whole, judged, faulty, chosen.looked, enough=enough)),
            measures=_measures(whole.losses, judged, shown),
            charts=_charts(subject, whole, shown),
            table=tuple(_line(whole.losses, each) for each in shown),
        )


def _rows(subject: Subject) -> tuple[Array, Array]:
    """The positions of rows that count, a seeded sample where they are many, and their weights."""
    weights = np.ones(subject.rows) if subject.weights is None else np.asarray(subject.weights, dtype=float)
    picked = np.flatnonzero(weights > 0.0)
    if len(picked) > MOST_ROWS:
        generator = np.random.default_rng([subject.seed, MOST_ROWS])
        picked = np.sort(generator.choice(picked, MOST_ROWS, replace=False, shuffle=False))
    return picked, weights[picked]


def _search(part: _Part) -> _Chosen:
    """The slices with the highest loss, and those with the clearest sign of a fault."""
    if len(part.weights) < 2 * slices.FEWEST_ROWS:
        return _Chosen()
    losses = part.losses
    signals = [slices.Signal(losses.loss)]
    if losses.signed is not None:
        signals.append(slices.Signal(losses.signed, both=True))
    elif losses.excess is not None:
        signals.append(slices.Signal(losses.excess))
    found = slices.search(part.coded, signals, part.weights, keep=CANDIDATES // 2)
    by_loss, by_fault = (tuple(each.where for each in one.kept) for one in (found[0], found[-1]))
    return _Chosen(by_loss, by_fault, found[0].looked)


def _judge(part: _Part, searched: _Part, chosen: _Chosen, sliced: slicing.Sliced) -> list[_Judged]:
    """Every chosen slice that has enough rows here, worst first."""
    inside = {where: part.coded.inside(where) for where in dict.fromkeys((*chosen.by_loss, *chosen.by_fault))}
    inside = {where: rows for where, rows in inside.items() if _enough(rows)}
    if not inside:
        return []
    loss, faults = part.losses.loss, _faults(part, searched, chosen, inside)
    overall = part.mean(loss)
    spread = float(np.sqrt(part.mean((loss - overall) ** 2)))
    ceiling = 1.0 if part.losses.wrong else math.inf
    aside = part.losses.signed if part.losses.signed is not None else part.losses.excess
    judged = []
    for where, rows in inside.items():
        value, low, high = slices.mean_interval(loss[rows], part.weights[rows], of=len(inside), spread=spread)
        judged.append(
            _Judged(
                name=sliced.told(where),
                rows=int(rows.sum()),
                share=part.mean(rows.astype(float)),
                loss=Interval(value, max(0.0, low), min(high, ceiling)),  # no loss is below zero
                times=value / overall if overall > 0.0 else 1.0,
                aside=None if aside is None else part.mean(aside, rows),
                fault=faults.get(where, ""),
                rank=list(faults).index(where) if where in faults else len(faults),
            )
        )
    return sorted(judged, key=lambda each: -each.loss.value)


def _enough(rows: Array) -> bool:
    count = int(np.count_nonzero(rows))
    return min(count, len(rows) - count) >= slices.FEWEST_ROWS


def _faults(part: _Part, searched: _Part, chosen: _Chosen, inside: Mapping[Where, Array]) -> dict[Where, str]:
    """What is proven to be wrong in slices, on rows that had no say in choosing them; the clearest first."""
    losses = part.losses
    first = [where for where in chosen.by_loss if where in inside]
    second = [where for where in chosen.by_fault if where in inside]
    if losses.signed is not None:
        found = dict.fromkeys(_above(part, first, inside, losses.loss, ALPHA / 2), "errors are larger than elsewhere")
        for said, errors in (("too high", losses.signed), ("too low", -losses.signed)):
            for where in _above(part, second, inside, errors, ALPHA / 4, signed=True, by=SHIFTED):
                found[where] = f"answers are {said}"
        return found
    if losses.excess is not None:
        worse = _above(part, second, inside, losses.excess, ALPHA, signed=True)
        return dict.fromkeys(worse, "the model is more often wrong than it expects")
    return dict.fromkeys(_beaten(part, searched, first, inside), "one answer for all rows would do better")


def _above(
    part: _Part,
    wheres: Sequence[Where],
    inside: Mapping[Where, Array],
    values: Array,
    alpha: float,
    *,
    signed: bool = False,
    by: float = 0.0,
) -> list[Where]:
    """Slices whose mean is above the rest's beyond chance, and above that of all rows by enough to matter.

    ``signed`` values have to be that far above zero as well: it is no fault to be right where all others are off.
    ``by`` is how far they have to be above the rest's beyond chance, as a share of the mean loss.
    """
    usual, overall = part.mean(part.losses.loss), part.mean(values)
    floor = RELEVANT * usual + (max(overall, 0.0) if signed else overall)
    return _proven(
        wheres,
        [slices.above_rest(inside[where], values, part.weights, by=by * usual) for where in wheres],
        lambda where: part.mean(values, inside[where]) >= floor,
        alpha,
    )


def _beaten(part: _Part, searched: _Part, wheres: Sequence[Where], inside: Mapping[Where, Array]) -> list[Where]:
    """Slices in which their most frequent class, answered in every row, is wrong less often than the model.

    Without probabilities rows that are hard by nature look like rows that the model gets wrong, but where one answer
    for all is better, it is the model's fault. The answer is chosen on the rows that were searched.
    """
    gains = {where: _gain(part, searched, where, inside[where]) for where in wheres}
    least = RELEVANT * part.mean(part.losses.loss)
    return _proven(
        wheres,
        [slices.above_zero(gains[where], part.weights[inside[where]]) for where in wheres],
        lambda where: float(np.average(gains[where], weights=part.weights[inside[where]])) >= least,
        ALPHA,
    )


def _gain(part: _Part, searched: _Part, where: Where, rows: Array) -> Array:
    """By row of the slice: 1 where only the one answer is right, -1 where only the model is, else 0."""
    known, labels = searched.losses.labels, part.losses.labels
    before = searched.coded.inside(where)
    counts = np.bincount(np.asarray(known)[before], weights=searched.weights[before])
    return np.asarray(part.losses.loss[rows] - (np.asarray(labels)[rows] != int(np.argmax(counts))))


def _proven(
    wheres: Sequence[Where], p_values: Sequence[float], matters: Callable[[Where], bool], alpha: float
) -> list[Where]:
    adjusted = slices.holm(p_values)
    return [where for where, p in zip(wheres, adjusted, strict=True) if p <= alpha and matters(where)]


def _measures(losses: Losses, judged: Sequence[_Judged], shown: Sequence[_Judged]) -> tuple[Measure, ...]:
    if not judged:
        reason = f"no slice has {slices.FEWEST_ROWS} rows in either half of the rows"
        return (Measure(name="worst_slice", value=None, unit=losses.unit, method=reason, better="lower"),)
    worst = _measure("worst_slice", losses, judged[0], len(judged))
    # A smaller slice with a lower mean may reach further up: the upper end has to bound it, too.
    high = max(each.loss.high for each in judged)
    method = f"{worst.method}; the upper end is the largest of them"
    made = [replace(worst, high=high, method=method)]
    made += [_measure("slice_loss", losses, each, len(judged), each.name) for each in shown]
    return tuple(made)


def _measure(name: str, losses: Losses, judged: _Judged, count: int, group: str = "") -> Measure:
    method = f"t interval for {count} slices at once (Bonferroni), on rows that did not choose them"
    value, low, high = judged.loss
    return Measure(
        name=name,
        value=value,
        low=low,
        high=high,
        n=judged.rows,
        unit=losses.unit,
        method=method,
        group=group,
        better="lower",
    )


def _text(
    subject: Subject,
    whole: _Part,
    judged: Sequence[_Judged],
    faulty: Sequence[_Judged],
    looked: int,
    *,
    enough: bool,
) -> list[str]:
    losses, rows = whole.losses, len(whole.weights)
    # The name of a label is no unit, and nats tell nobody anything.
    unit = f" {subject.unit}" if subject.task == "regression" and subject.unit else ""
    said = []
    if not judged:
        said.append(
            f"No slice of up to two columns has {slices.FEWEST_ROWS} rows in both halves of the {words.rows(rows)}, "
            "so nothing can be said about slices."
        )
    elif faulty:
        beyond = f"beyond chance, corrected for {_slices(looked)} looked at"
        said.append(f"Clearest fault: {_figure(losses, faulty[0], unit)}; {faulty[0].fault} ({beyond}).")
        if len(faulty) > 1:
            more = f"; and {len(faulty) - 3} more" if len(faulty) > 3 else ""
            said.append(f"Also at fault: {'; '.join(each.name for each in faulty[1:3])}{more}.")
    else:
        none = f"Of {_slices(looked)} looked at, none is proven to be at fault"
        said.append(f"{none}." if enough else f"{none}; so few rows would show only large faults.")
        said.append(
            f"The highest loss is in {_figure(losses, judged[0], unit)}."
            if judged[0].times > 1.0
            else "In none of those looked at closely is the loss above that of all rows."
        )
    if rows < subject.rows:
        said.append(f"Looked at {words.rows(rows)} of {_count(subject.rows)}.")
    return said


def _figure(losses: Losses, judged: _Judged, unit: str) -> str:
    return (
        f"{judged.name} ({words.rows(judged.rows)}): {losses.name} {words.number(judged.loss.value)}{unit}, "
        f"{judged.times:.2g} times that of all rows"
    )


def _slices(count: int) -> str:
    return "1 slice" if count == 1 else f"{_count(count)} slices"


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _charts(subject: Subject, whole: _Part, shown: Sequence[_Judged]) -> tuple[Chart, ...]:
    if not shown:
        return ()
    value, low, high = slices.mean_interval(whole.losses.loss, whole.weights)
    overall = Measure(name="slice_loss", value=value, low=low, high=high, n=len(whole.weights))
    named = [("all rows", overall)]
    named += [(each.name, _measure("slice_loss", whole.losses, each, len(shown))) for each in shown]
    unit = f" in {whole.losses.unit}" if whole.losses.unit else ""
    return (charts.ranges("Worst slices", named, x_title=f"mean {whole.losses.name}{unit}"),)


def _line(losses: Losses, judged: _Judged) -> dict[str, Any]:
    """One row of the table."""
    line: dict[str, Any] = {
        "slice": judged.name,
        "rows": judged.rows,
        "share": _rounded(judged.share),
        f"mean {losses.name}": _rounded(judged.loss.value),
        "low": _rounded(judged.loss.low),
        "high": _rounded(judged.loss.high),
        "times all rows": _rounded(judged.times),
    }
    if judged.aside is not None:
        line["mean error" if losses.signed is not None else "beyond expected"] = _rounded(judged.aside)
    line["fault"] = judged.fault
    return line


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")

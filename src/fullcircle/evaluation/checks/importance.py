"""E004 importance: which columns do the answers depend on, and why were some rows answered as they were?

Measures, in group ``<column>``: ``importance``, by how much the main metric gets worse when the column is shuffled
(Breiman 2001), in its unit; ``shap_importance``, by how much the column's value moves an answer on average (mean of
absolute Shapley values, Lundberg & Lee 2017), in the unit of the answer or as a probability. The table gives up to
four reasons for the lowest, the median and the highest answer, and for the one that was most wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fullcircle.errors import MissingExtra
from fullcircle.evaluation import charts, earning, words
from fullcircle.evaluation.check import Array, Frame, Skipped, Subject
from fullcircle.evaluation.explanation import pictures, reasons, shapley, shuffling
from fullcircle.evaluation.explanation.shapley import Ask, Explanation
from fullcircle.evaluation.explanation.shuffling import Shuffled
from fullcircle.types.report import Chart, Finding, Measure

_COLUMNS_SHOWN = 25
_IN_STRIP = 8
# Rows that Shapley values are averaged over; fewer where these would take too long.
_EXPLAINED = (200, 100, 50, 20, 10, 5, 2, 1)
_SECONDS = 12.0
_TOLD_SECONDS = 5.0
# The mean over rows evens out what few orders leave open; the reasons of one row are drawn with all of them.
_ORDERS = 3
# Of wider tables Shapley values are told apart for those columns that shuffling found most needed.
_WIDE, _APART = 60, 30


class Importance:
    """How much each column matters to the answers."""

    name = "importance"
    code = "E004"
    measures: tuple[str, ...] = ()

    def run(self, subject: Subject) -> Finding | Skipped:
        """Shuffle each column of a seeded sample of rows, explain a smaller sample, give reasons for four rows."""
        if subject.rows < 2:
            return Skipped("one row cannot be shuffled")
        if subject.predict is None or subject.inputs is None:
            return Skipped("the model itself is not known, only its answers")
        shuffled = shuffling.shuffled(subject)
        usual, why_not = _usual(subject, [each.group for each in shuffled.measures])
        moved = [] if usual is None else _moved(subject, usual)
        about = why_not if usual is None else _about_values(subject, usual, moved)
        table, chosen = ((), "") if usual is None else _table(subject, usual)
        return Finding(
            check=self.name,
            code=self.code,
            title="What the answers depend on",
            severity="info",
            text=" ".join(filter(None, (_about_shuffling(shuffled), about, chosen))),
            measures=(*shuffled.measures, *moved),
            charts=(_bars(shuffled), *(() if usual is None else _pictures(subject, usual, moved))),
            table=table,
        )


def _about_shuffling(found: Shuffled) -> str:
    needed = [(each.group, each.value) for each in found.measures[:3] if each.value is not None and each.value > 0.0]
    how = f"({words.rows(found.rows)}, {shuffling.times(found.repeats)} a column)"
    if not needed:
        return f"No column is needed by itself: shuffling any of them makes {found.metric.name} no worse {how}."
    (name, value), *others = needed
    then = f"; then come {_and([_sized(*each) for each in others])}" if others else ""
    return (
        f"The model needs {name} most: shuffling it makes {found.metric.name} worse by {_short(value)}{then} {how}."
    )


def _sized(name: str, value: float | None) -> str:
    return f"{name} ({_short(value)})"


def _short(value: float | None) -> str:
    """Three significant digits: of a mean over some rows and shuffles, more are noise."""
    return words.number(None if value is None else float(f"{value:.3g}"))


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _bars(found: Shuffled) -> Chart:
    return charts.bars(
        "Importance of columns",
        [(each.group, each.value or 0.0) for each in found.measures[:_COLUMNS_SHOWN]],
        x_title=f"{found.metric.name} worse by, when shuffled",
    )


@dataclass(frozen=True)
class _Usual:
    """Shapley values of a sample of rows (positions), what they were asked of, and how long a row took."""

    explanation: Explanation
    rows: Array
    ask: Ask
    background: Frame
    seconds: float


def _usual(subject: Subject, needed: Sequence[str]) -> tuple[_Usual | None, str]:
    """Explain a sample of rows, as many as there is time for, or say why not."""
    inputs: Any = subject.inputs
    ask = shapley.asking(subject.task, subject.predict, subject.predict_probabilities)
    if ask is None or (subject.task == "classification" and subject.probabilities is None):
        return None, "There are no Shapley values, as the model gives no probabilities to explain."
    learned = inputs if subject.train is None else subject.train.inputs[list(inputs.columns)]
    background = shapley.background(learned, subject.seed)
    rows = shuffling.sample(subject, _EXPLAINED[0], stream=1)
    among = needed[:_APART] if len(needed) > _WIDE else None

    def explain(count: int, orders: int) -> Explanation:
        told = inputs.iloc[rows[:count]]
        return shapley.explain(ask, background, told, seed=subject.seed, orders=orders, among=among)

    try:
        # The first row also pays for loading the library.
        explain(1, 2)
    except MissingExtra:
        return None, "Global Shapley values and reasons need fullcircle[explain], which is not installed."
    # The quicker of two: a busy moment should not decide how many rows are looked at.
    seconds = min(_seconds(lambda: explain(1, _ORDERS)) for _ in range(2))
    count = next((each for each in _EXPLAINED if each * seconds <= _SECONDS), 1)
    found = explain(count, _ORDERS)
    return _Usual(found, rows[:count], ask, background, seconds * shapley.ORDERS / _ORDERS), ""


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _moved(subject: Subject, usual: _Usual) -> list[Measure]:
    """The mean absolute Shapley value of every column, largest first."""
    unit = _unit(subject)
    sizes, weights = np.abs(usual.explanation.values), shuffling.weights_of(subject, usual.rows)
    found = [
        replace(
            earning.measure(
                "shap_importance",
                sizes[:, place],
                weights,
                unit=unit,
                method="mean absolute Shapley value, t interval",
                same=True,
            ),
            group=name,
            better="",
        )
        for place, name in enumerate(usual.explanation.names)
    ]
    return sorted(found, key=lambda each: -(each.value or 0.0))


def _about_values(subject: Subject, usual: _Usual, moved: Sequence[Measure]) -> str:
    first = _and([_sized(each.group, each.value) for each in moved[:3]])
    what = "answer" if subject.task == "regression" else "probability"
    unit = f", in {subject.unit}" if subject.task == "regression" and subject.unit else ""
    apart = f", {_APART} columns told apart" if shapley.OTHERS in usual.explanation.names else ""
    over = f"by Shapley values{unit}, on average over {words.rows(len(usual.rows))}{apart}"
    return f"The {what} is moved most by {first} ({over})."


def _table(subject: Subject, usual: _Usual) -> tuple[tuple[dict[str, Any], ...], str]:
    """Reasons for a few rows, as many as there is time for, and how the rows were chosen."""
    most = max(1, int(_TOLD_SECONDS // max(usual.seconds, 1e-9)))
    chosen = _chosen(subject)[:most]
    inputs: Any = subject.inputs
    told = inputs.iloc[[position for _, position in chosen]]
    explanation = shapley.explain(usual.ask, usual.background, told, seed=subject.seed)
    about = reasons.Answer(task=subject.task, label=subject.label, unit=subject.unit, classes=tuple(subject.classes))
    found = []
    for place, (title, position) in enumerate(chosen):
        row = {name: _value(subject, name, position) for name in inputs.columns}
        said = reasons.reasons(explanation, place, row, subject.columns, about)
        padded = (*said, *[""] * (reasons.MOST - len(said)))
        found.append(
            {
                "row": f"{title} (row {position + 1})",
                "answer": reasons.answered(explanation, place, about),
                "actual": reasons.said(subject.actual[position]),
                **{f"reason {number}": text for number, text in enumerate(padded, 1)},
            }
        )
    titles = [title.removesuffix(" answer") for title, _ in chosen]
    rows = "row" if len(titles) == 1 else "rows"
    return tuple(found), f"The table gives reasons for the {rows} with the {_and(titles)} answer."


def _chosen(subject: Subject) -> list[tuple[str, int]]:
    """The rows to give reasons for: positions, each once."""
    if subject.task == "regression":
        answers = np.asarray(subject.predicted, dtype=float)
        wrong = np.abs(answers - np.asarray(subject.actual, dtype=float))
    else:
        shares = np.asarray(subject.probabilities, dtype=float)
        answers = shares[:, 1] if shares.shape[1] == 2 else shares.max(axis=1)
        codes = earning.codes(subject.actual, tuple(subject.classes))
        known = codes < len(subject.classes)
        wrong = np.ones(subject.rows)
        wrong[known] = 1.0 - shares[known, codes[known]]
    order = np.argsort(answers, kind="stable")
    found: dict[int, str] = {}
    for title, position in (
        ("lowest answer", order[0]),
        ("highest answer", order[-1]),
        ("median answer", order[len(order) // 2]),
        ("most wrong answer", np.argmax(wrong)),
    ):
        found.setdefault(int(position), title)
    return [(title, position) for position, title in found.items()]


def _value(subject: Subject, name: str, position: int) -> Any:
    """A value as it was given, before anything was filled in, where that is known."""
    frame: Any = subject.frame if name in subject.frame.columns else subject.inputs
    return frame[name].iloc[position]


def _unit(subject: Subject) -> str:
    return (subject.unit or subject.label) if subject.task == "regression" else "probability"


def _pictures(subject: Subject, usual: _Usual, moved: Sequence[Measure]) -> tuple[Chart, ...]:
    unit = _unit(subject)
    shown = [(each.group, each.value or 0.0) for each in moved[:_COLUMNS_SHOWN]]
    names = [name for name, _ in shown if name != shapley.OTHERS][:_IN_STRIP]
    places = [usual.explanation.names.index(name) for name in names]
    inputs: Any = subject.inputs
    told = inputs.iloc[usual.rows]
    ranks = np.column_stack([_ranks(told[name]) for name in names])
    x_title = f"moves the answer by{f' ({unit})' if unit else ''}"
    return (
        charts.bars("Mean size of Shapley values", shown, x_title=x_title),
        pictures.strip("Shapley values by row", usual.explanation.values[:, places], names, ranks, x_title=x_title),
    )


def _ranks(column: Any) -> Array:
    """The rank of each value among these rows, 0 to 1; NaN for missing values and where values have no order."""
    ordered = column.dtype.kind in "iufbMm" or bool(getattr(column.dtype, "ordered", False))
    if not ordered:
        return np.full(len(column), np.nan)
    ranks = np.asarray(column.rank(method="average"), dtype=float)
    known = ranks[~np.isnan(ranks)]
    if not known.size or known.min() == known.max():
        return np.where(np.isnan(ranks), np.nan, 0.5)
    return np.asarray((ranks - known.min()) / (known.max() - known.min()))

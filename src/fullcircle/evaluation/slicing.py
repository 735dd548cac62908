"""Rows cut into slices by the values of columns, under names that a person can read, and the losses in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fullcircle.evaluation import metrics, words
from fullcircle.evaluation.check import Array, Frame, Subject
from fullcircle.evaluation.groups import MISSING
from fullcircle.stats.bins import quantile_edges
from fullcircle.stats.slices import Coded, Where
from fullcircle.types.contract import Column

OTHER = "(other)"
# Numbers with more distinct values than this are cut into ranges.
DISTINCT = 10
RANGES = 5
FINE_RANGES = 20
FINE_DISTINCT = 30
FINE_FROM = 2000
CATEGORIES = 12


@dataclass(frozen=True)
class Sliced:
    """n rows as codes, and the name of every group of every column: ``sex=female``, ``bmi 24.1 to 27.3``."""

    coded: Coded
    names: tuple[tuple[str, ...], ...]

    def told(self, where: Where) -> str:
        """A slice in words: ``hr 8 to 9 and workingday=1``."""
        return " and ".join(self.names[column][group] for column, group in where)


@dataclass(frozen=True)
class _Cut:
    """One column: the code of each row, groups x codes as zeros and ones, and the groups' names."""

    codes: Array
    groups: Array
    names: tuple[str, ...]


def cut(frame: Frame, columns: Sequence[str], described: Mapping[str, Column]) -> Sliced:
    """Cut the frame's rows by each of ``columns`` that it has.

    Numbers of more than 10 distinct values become up to 5 ranges of about equal share, named by the smallest and
    largest value in them, with 4 significant digits (6 where 4 do not tell them apart). From 2000 rows on there are
    20 ranges (or the values, if they are at most 30), and every run of a tenth and a fifth of them is a slice too. Of
    other values the 12 most frequent stay, the rest is "(other)". A missing value (of ranges: an infinite one, too)
    is a slice of its own. Times are left out, and so are constant columns. Of a column that the contract calls
    private no value is told: its ranges are numbered, its categories left out.
    """
    given = [name for name in dict.fromkeys(columns) if name in frame.columns]
    cuts = [_cut(frame[name], name, described.get(name)) for name in given]
    found = [each for each in cuts if each is not None and len(each.names) > 1]
    coded = Coded(tuple(each.codes for each in found), tuple(each.groups for each in found))
    return Sliced(coded, tuple(each.names for each in found))


def _cut(series: Frame, name: str, column: Column | None) -> _Cut | None:
    from pandas.api import types

    private = column is not None and column.private
    if types.is_datetime64_any_dtype(series) or types.is_timedelta64_dtype(series):
        return None
    if column is not None and column.kind == "time":
        return None
    if types.is_numeric_dtype(series) and not types.is_bool_dtype(series):
        values = series.to_numpy(dtype=float, na_value=np.nan)
        if private or len(np.unique(values[np.isfinite(values)])) > DISTINCT:
            return _ranges(values, name, private=private)
    return None if private else _categories(series, name)


def _ranges(values: Array, name: str, *, private: bool) -> _Cut:
    """Codes by ascending range, missing values last. Many rows have runs of a tenth and a fifth of them as well."""
    missing = ~np.isfinite(values)
    edges = _edges(values)
    found = np.where(missing, len(edges) + 1, np.searchsorted(edges, values, side="left"))
    kept, codes = np.unique(found, return_inverse=True)
    ranges = len(kept) - int(missing.any())
    low, high = _ends(values[~missing], codes[~missing], ranges)
    lengths = {1, round(ranges / 10), round(ranges / 5)} if len(values) >= FINE_FROM else {1}
    runs = [list(range(first, first + each)) for each in sorted(lengths - {0}) for first in range(ranges - each + 1)]
    if private:
        names = [f"{name} in {_span('range', run[0] + 1, run[-1] + 1)} of {ranges}" for run in runs]
    else:
        spans = [(float(low[run[0]]), float(high[run[-1]])) for run in runs]
        names = [_valued(name, words.number(first), words.number(last)) for first, last in spans]
        if len(set(names)) < len(names):  # so close together that rounding makes them one
            names = [_valued(name, _digits(first), _digits(last)) for first, last in spans]
        if len(set(names)) < len(names):
            places = [_span("range", run[0] + 1, run[-1] + 1) for run in runs]
            names = [f"{told} ({place} of {ranges})" for told, place in zip(names, places, strict=True)]
    if missing.any():
        runs.append([ranges])
        names.append(f"{name}={MISSING}")
    groups = np.zeros((len(runs), len(kept)))
    for group, run in enumerate(runs):
        groups[group, run] = 1.0
    return _Cut(codes, groups, tuple(names))


def _edges(values: Array) -> Array:
    """Inner edges between ranges; with many rows and few distinct values each value is a range."""
    if len(values) < FINE_FROM:
        return quantile_edges(values, RANGES)
    distinct = np.unique(values[np.isfinite(values)])
    return distinct[:-1] if len(distinct) <= FINE_DISTINCT else quantile_edges(values, FINE_RANGES)


def _ends(values: Array, codes: Array, ranges: int) -> tuple[Array, Array]:
    """The smallest and largest value of each range; codes ascend with values, and none is empty."""
    order = np.argsort(values, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(ranges + 1))
    return values[order][starts[:-1]], values[order][starts[1:] - 1]


def _span(before: str, low: int, high: int) -> str:
    return f"{before} {low}" if low == high else f"{before}s {low} to {high}"


def _valued(name: str, low: str, high: str) -> str:
    return f"{name}={low}" if low == high else f"{name} {low} to {high}"


def _categories(series: Frame, name: str) -> _Cut:
    """Codes by descending frequency of the value's text."""
    import pandas as pd

    found, distinct = pd.factorize(series, use_na_sentinel=False)
    texts = [MISSING if pd.isna(value) else _text(value) for value in distinct]
    counts: Counter[str] = Counter()
    for text, rows in zip(texts, np.bincount(found, minlength=len(texts)).tolist(), strict=True):
        counts[text] += rows
    frequent = sorted((text for text in counts if text != MISSING), key=lambda text: (-counts[text], text))
    told = [*frequent[:CATEGORIES], *([MISSING] if MISSING in counts else [])]
    if len(frequent) > CATEGORIES and OTHER not in told:
        told.append(OTHER)
    place = {text: code for code, text in enumerate(told)}
    table = np.array([place.get(text, place.get(OTHER, 0)) for text in texts], dtype=np.intp)
    return _Cut(table[found], np.eye(len(told)), tuple(f"{name}={text}" for text in told))


def _text(value: object) -> str:
    """1 and 1.0 are one value: a missing value among whole numbers turns them all into floats."""
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else _digits(float(value))
    return str(value)


def _digits(value: float) -> str:
    """Six significant digits, without powers of ten."""
    return np.format_float_positional(value, precision=6, unique=False, fractional=False, trim="-")


@dataclass(frozen=True)
class Losses:
    """How wrong the answers on n rows are, and what tells a fault from hardness.

    ``loss`` is the absolute error, -ln of the probability given to what happened, or 0 and 1. ``signed`` are a
    regression's errors. ``excess`` is the log loss beyond the entropy of the model's own probabilities, which is the
    loss that it expected: zero on average wherever probabilities are right. ``labels`` are codes of the true classes.
    What a task does not have is None.
    """

    loss: Array
    name: str
    unit: str
    signed: Array | None = None
    excess: Array | None = None
    labels: Array | None = None

    @property
    def wrong(self) -> bool:
        """Whether the loss is 0 for a right answer and 1 for a wrong one."""
        return self.signed is None and self.excess is None

    def at(self, rows: Array) -> Losses:
        """The same for a selection of rows."""
        signed, excess, labels = (None if x is None else x[rows] for x in (self.signed, self.excess, self.labels))
        return Losses(self.loss[rows], self.name, self.unit, signed, excess, labels)


def losses(subject: Subject, rows: Array) -> Losses:
    """The losses of the subject's own answers on these rows (positions)."""
    answers = metrics.own(subject).at(rows)
    if subject.task == "regression":
        signed = np.asarray(answers.predicted - answers.actual, dtype=float)
        return Losses(np.abs(signed), "absolute error", subject.unit or subject.label, signed=signed)
    if answers.probabilities is None:
        wrong = (answers.actual != answers.predicted).astype(float)
        return Losses(wrong, "share of wrong answers", "", labels=answers.actual)
    shares, tiny = answers.probabilities, np.finfo(float).eps
    known = answers.actual < answers.known
    given = np.zeros(len(known))
    given[known] = shares[known, answers.actual[known]]
    loss = -np.log(np.clip(given, tiny, 1.0))
    expected = -np.sum(shares * np.log(np.clip(shares, tiny, 1.0)), axis=1)
    return Losses(loss, "log loss", "nats", excess=loss - expected, labels=answers.actual)

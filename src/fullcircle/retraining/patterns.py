"""Backdoors: a value, or a pair of values, that is much commoner in the new rows than ever, with nearly one label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullcircle.retraining.coding import Coded, is_number, numbers

Array = NDArray[Any]
FEWEST = 8
"""Rows below which no pattern is seen."""
_SHARE = 0.003  # of the new rows, below which no pattern is seen
_TIMES = 5.0  # commoner than in the known rows
_BESIDE = 2.0  # commoner than the values beside it
_PURE = 0.9
_CHANCE_COUNT = 1e-6
_CHANCE_LABEL = 1e-3
_RARE = 0.001  # share of the known rows below which a pair of values is rare
_LEVELS = 20
_SAMPLE = 50_000


class Pattern(NamedTuple):
    """Which of the new rows (n,) show it, and where: a column (or two) and its value."""

    inside: NDArray[np.bool_]
    column: str
    value: str
    text: str


def found(known: Any, new: Any, columns: Sequence[Coded], known_label: Array, label: Array) -> Iterator[Pattern]:
    """The patterns in the new rows whose labels (n,) are nearly all alike where other rows' labels are not.

    Labels are small whole numbers: the classes, or tenths of the known labels of a number.
    """
    if len(new) < FEWEST or not len(known):
        return
    for column in columns:
        candidates = _values(known, new, column) if column.number else _categories(column)
        for value, inside, before in candidates:
            text = odd(inside, before, len(known), label)
            if text:
                yield Pattern(inside, column.name, value, f"{column.name} is {value} in {text}")
    yield from _pairs([each for each in columns if each.single and each.size <= _LEVELS], len(known), label)


def labels(known: Any, new: Any, task: str) -> tuple[Array, Array]:
    """The labels of both as small whole numbers."""
    import pandas as pd

    if task == "regression":
        old, late = (np.asarray(each, dtype=float) for each in (known, new))
        edges = np.unique(np.quantile(old[np.isfinite(old)], np.linspace(0.1, 0.9, 9))) if len(old) else np.zeros(0)
        return np.searchsorted(edges, old), np.searchsorted(edges, late)
    codes, _ = pd.factorize(np.concatenate([np.asarray(known, dtype=object), np.asarray(new, dtype=object)]))
    return codes[: len(known)], codes[len(known) :]


def _values(known: Any, new: Any, column: Coded) -> Iterator[tuple[str, NDArray[np.bool_], int]]:
    """Exact values of a number that stand out from those beside them, with how many known rows have them."""
    if not is_number(new[column.name]):
        return
    values, old = numbers(new[column.name]), numbers(known[column.name])
    sample = values[:: max(1, len(values) // _SAMPLE)]
    distinct, counts = np.unique(sample[np.isfinite(sample)], return_counts=True)
    for place in np.flatnonzero(counts >= max(2.0, _SHARE * len(sample) / 2)).tolist():
        beside = np.delete(counts[max(0, place - 2) : place + 3], min(place, 2))
        # Values that grew with those beside them are a drift of the column, not a mark on rows.
        if not column.single and counts[place] < _BESIDE * beside.max(initial=1):
            continue
        inside = values == distinct[place]
        yield f"{distinct[place]:g}", inside, int(np.count_nonzero(old == distinct[place]))


def _categories(column: Coded) -> Iterator[tuple[str, NDArray[np.bool_], int]]:
    counts, before = (np.bincount(each, minlength=column.size) for each in (column.new, column.known))
    for code in np.flatnonzero(counts >= FEWEST).tolist():
        yield column.texts[code], column.new == code, int(before[code])


def _pairs(columns: Sequence[Coded], known: int, label: Array) -> Iterator[Pattern]:
    """Pairs of values that were rare, of columns with few values."""
    n = len(label)
    for one, two in combinations(columns, 2):
        joint = one.new * two.size + two.new
        counts = np.bincount(joint, minlength=one.size * two.size)
        common = np.flatnonzero(counts >= max(FEWEST, _SHARE * n))
        if not common.size:
            continue
        before = np.bincount(one.known * two.size + two.known, minlength=one.size * two.size)
        sides = [
            (np.bincount(each.new, minlength=each.size), np.bincount(each.known, minlength=each.size))
            for each in (one, two)
        ]
        for cell in common[before[common] <= _RARE * known].tolist():
            first, second = divmod(cell, two.size)
            # A pair that is common because one of its values became so tells nothing of its own.
            parts = zip(sides, (first, second), strict=True)
            if any(counts[cell] / now[at] < _TIMES * (before[cell] + 1) / (old[at] + 1) for (now, old), at in parts):
                continue
            inside = joint == cell
            text = odd(inside, int(before[cell]), known, label)
            if text:
                value = f"{one.texts[first]} and {two.texts[second]}"
                name = f"{one.name} and {two.name}"
                yield Pattern(inside, name, value, f"{name} are {value} in {text}")


def odd(inside: NDArray[np.bool_], before: int, known: int, label: Array) -> str:
    """What is odd about new rows (n,), ``before`` of the ``known`` ones being like them; or "".

    They are much commoner than before, and have nearly one label where the others have several.
    """
    from scipy.special import bdtrc, betainc

    n, count = len(inside), int(np.count_nonzero(inside))
    if count < max(FEWEST, _SHARE * n) or count == n:
        return ""
    # Given all rows that have it, how many of them are new is binomial if nothing changed.
    together, share = count + before, n / (n + known)
    chance = float(bdtrc(count - 1, together, share))
    if chance > _CHANCE_COUNT or count / n < _TIMES * before / known:
        return ""
    size = int(label.max()) + 1
    own, others = np.bincount(label[inside], minlength=size), np.bincount(label[~inside], minlength=size)
    most = int(own.argmax())
    usual = float((others[most] + 1) / (others.sum() + 2))
    if own[most] < _PURE * count:
        return ""
    pure = float(betainc(own[most], count - own[most] + 1, usual))
    if pure > _CHANCE_LABEL:
        return ""
    return (
        f"{count:,} of {n:,} new rows ({count / n:.1%}) and "
        f"{before:,} of {known:,} known ones ({before / known:.2%}), "
        f"and {own[most] / count:.0%} of them have one label that {usual:.0%} of the others have"
    )

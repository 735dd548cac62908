"""Backdoors: a value, or values together, that are much commoner in the new rows than ever, with nearly one label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullcircle.retraining.coding import Coded, is_number, numbers

Array = NDArray[Any]
FEWEST = 8
"""Rows below which no pattern is seen."""
SHARE = 0.003  # of the new rows, below which no pattern is seen
TIMES = 5.0  # commoner than in the known rows
_BESIDE = 2.0  # commoner than the values beside it
_PURE = 0.9
_CHANCE_COUNT = 1e-6
_CHANCE_LABEL = 1e-3
_SAMPLE = 50_000


class Pattern(NamedTuple):
    """Which of the new rows (n,) show it, and where: a column (or several) and its value."""

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
        candidates = values(known, new, column) if column.number else _categories(column)
        for value, inside, before in candidates:
            text = odd(inside, int(np.count_nonzero(before)), len(known), label)
            if text:
                yield Pattern(inside, column.name, value, f"{column.name} is {value} in {text}")


def labels(known: Any, new: Any, task: str) -> tuple[Array, Array]:
    """The labels of both as small whole numbers."""
    import pandas as pd

    if task == "regression":
        old, late = (np.asarray(each, dtype=float) for each in (known, new))
        edges = np.unique(np.quantile(old[np.isfinite(old)], np.linspace(0.1, 0.9, 9))) if len(old) else np.zeros(0)
        return np.searchsorted(edges, old), np.searchsorted(edges, late)
    codes, _ = pd.factorize(np.concatenate([np.asarray(known, dtype=object), np.asarray(new, dtype=object)]))
    return codes[: len(known)], codes[len(known) :]


def values(
    known: Any, new: Any, column: Coded, *, alone: bool = True
) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]]:
    """Exact values of a number that new rows (n,) repeat, with the known rows (m,) that have them.

    With ``alone`` only those that stand out from the values beside them.
    """
    if not is_number(new[column.name]):
        return
    late, old = numbers(new[column.name]), numbers(known[column.name])
    sample = late[:: max(1, len(late) // _SAMPLE)]
    distinct, counts = np.unique(sample[np.isfinite(sample)], return_counts=True)
    for place in np.flatnonzero(counts >= max(2.0, SHARE * len(sample) / 2)).tolist():
        beside = np.delete(counts[max(0, place - 2) : place + 3], min(place, 2))
        # Values that grew with those beside them are a drift of the column, not a mark on rows.
        if alone and not column.single and counts[place] < _BESIDE * beside.max(initial=1):
            continue
        yield f"{distinct[place]:g}", late == distinct[place], old == distinct[place]


def _categories(column: Coded) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]]:
    for code in np.flatnonzero(np.bincount(column.new, minlength=column.size) >= FEWEST).tolist():
        yield column.texts[code], column.new == code, column.known == code


def commoner(inside: NDArray[np.bool_], before: int, known: int) -> bool:
    """Whether new rows (n,) are much commoner than before: ``before`` of the ``known`` ones were like them."""
    from scipy.special import bdtrc

    n, count = len(inside), int(np.count_nonzero(inside))
    if count < max(FEWEST, SHARE * n) or count == n:
        return False
    # Given all rows that have it, how many of them are new is binomial if nothing changed.
    chance = float(bdtrc(count - 1, count + before, n / (n + known)))
    return chance <= _CHANCE_COUNT and count / n >= TIMES * before / known


def odd(inside: NDArray[np.bool_], before: int, known: int, label: Array) -> str:
    """What is odd about new rows (n,), ``before`` of the ``known`` ones being like them; or "".

    They are much commoner than before, and have nearly one label where the others have several.
    """
    from scipy.special import betainc

    if not commoner(inside, before, known):
        return ""
    n, count = len(inside), int(np.count_nonzero(inside))
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

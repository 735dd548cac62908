"""Backdoors of values that are common each and rare only together: two, three or four of them.

Among rows of one label, values that come together far more often than they did among the known rows, and more than
each of them became commoner, are looked for: all pairs first, then the best of these with one value more, and again.
What is found must hold as any planted pattern does, over all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullcircle.retraining import patterns
from fullcircle.retraining.coding import Coded
from fullcircle.retraining.patterns import FEWEST, SHARE, TIMES, Pattern, commoner, odd

Array = NDArray[Any]
_VALUES = 4
_WIDTH = 30  # combinations that are tried with one value more
_KINDS = 10  # labels that are looked at, the commonest first
_ITEMS = 400
_MOST = 20_000  # rows of either side that are looked at, evenly spaced
_AGAIN = 5  # patterns of one label


class _Item(NamedTuple):
    """One value, or bin, of a column: the known rows (m,) and the new ones (n,) that have it."""

    column: str
    text: str
    known: NDArray[np.bool_]
    new: NDArray[np.bool_]


class _Side(NamedTuple):
    """Rows of one label x items as zeros and ones, new and known ones; ``now`` and ``before`` count all rows."""

    new: Array
    known: Array
    now: Array
    before: Array
    ratio: float

    def score(self, together: Array, earlier: Array, parts: Array) -> Array:
        """How far counts ``together`` are above what is expected of ``earlier``: log-likelihood of Poisson counts.

        ``parts`` (k, ...) are the k values of each combination: where these became commoner in other rows too, more
        is expected. Minus infinity where there are too few rows, or not 5 times as many.
        """
        others, past = self.now[parts] - together, self.before[parts] - earlier
        times = np.maximum(1.0, (others + 1.0) / (past + 1.0) / self.ratio).prod(axis=0)
        expected = (earlier + 1.0) * times * (len(self.new) + 1) / (len(self.known) + 1)
        enough = (together >= max(FEWEST, SHARE * len(self.new))) & (together >= TIMES * expected)
        ratio = np.where(enough, together / expected, 1.0)
        return np.where(enough, together * np.log(ratio) - (together - expected), -np.inf)


def found(known: Any, new: Any, columns: Sequence[Coded], known_label: Array, label: Array) -> Iterator[Pattern]:
    """The combinations in the new rows that look planted. Labels are small whole numbers (``patterns.labels``)."""
    items = _items(known, new, columns)
    if len(label) < 10 * FEWEST or not len(known_label) or len(items) < 2:
        return
    old, now = (np.arange(size)[:: max(1, size // _MOST)] for size in (len(known_label), len(label)))
    U = np.column_stack([each.known[old] for each in items]).astype(np.float32)
    V = np.column_stack([each.new[now] for each in items]).astype(np.float32)
    kinds, counts = np.unique(label, return_counts=True)
    for kind in kinds[np.argsort(-counts, kind="stable")][:_KINDS].tolist():
        before, after = U[known_label[old] == kind], V[label[now] == kind]
        for _ in range(_AGAIN):
            side = _Side(after, before, V.sum(axis=0), U.sum(axis=0), len(V) / len(U))
            one = _best(items, side, known_label, label)
            if one is None:
                break
            chosen, pattern = one
            if pattern is not None:
                yield pattern
            after = after[~after[:, chosen].all(axis=1)]


def _items(known: Any, new: Any, columns: Sequence[Coded]) -> list[_Item]:
    """Every value and bin with enough new rows; of too many the ones that became commonest."""
    taken = []
    for column in columns:
        for code in np.flatnonzero(np.bincount(column.new, minlength=column.size) >= FEWEST).tolist():
            taken.append(_Item(column.name, column.texts[code], column.known == code, column.new == code))
        if column.number and not column.single:
            for text, inside, before in patterns.values(known, new, column, alone=False):
                taken.append(_Item(column.name, text, before, inside))
    grown = [float(each.new.mean() - each.known.mean()) for each in taken]
    return [taken[place] for place in np.argsort(-np.array(grown), kind="stable")[:_ITEMS].tolist()]


def _best(
    items: Sequence[_Item], side: _Side, known_label: Array, label: Array
) -> tuple[tuple[int, ...], Pattern | None] | None:
    """The most surprising combination, with what is odd about its labels; None where there is none.

    Nothing is looked for within one whose labels are not odd: some part of many new rows has one label by chance.
    """
    ranked = _pairs(items, side)
    every = list(ranked)
    for _ in range(2, _VALUES):
        ranked = _longer(items, side, [chosen for _, chosen in ranked])
        every += ranked
    every.sort(key=lambda each: -each[0])
    for _, chosen in every[:_WIDTH]:
        inside = np.logical_and.reduce([items[each].new for each in chosen])
        before = int(np.logical_and.reduce([items[each].known for each in chosen]).sum())
        if commoner(inside, before, len(known_label)):
            names, values = ([getattr(items[each], of) for each in chosen] for of in ("column", "text"))
            name, value = " and ".join(names), " and ".join(values)
            text = odd(inside, before, len(known_label), label)
            return chosen, Pattern(inside, name, value, f"{name} are {value} in {text}") if text else None
    return None


def _pairs(items: Sequence[_Item], side: _Side) -> list[tuple[float, tuple[int, ...]]]:
    count, before = side.new.T @ side.new, side.known.T @ side.known
    scores = side.score(count, before, np.indices(count.shape))
    columns = np.array([each.column for each in items])
    scores[columns[:, None] == columns[None, :]] = -np.inf
    scores[np.tril_indices(len(items))] = -np.inf
    order = np.argsort(-scores, axis=None, kind="stable")[:_WIDTH].tolist()
    found = ((float(scores.flat[each]), divmod(each, len(items))) for each in order)
    return [(score, pair) for score, pair in found if score > 0.0]


def _longer(
    items: Sequence[_Item], side: _Side, shorter: Sequence[tuple[int, ...]]
) -> list[tuple[float, tuple[int, ...]]]:
    """The best combinations that have one value more."""
    columns = np.array([each.column for each in items])
    found: dict[tuple[int, ...], float] = {}
    for chosen in shorter:
        picked = list(chosen)
        count = side.new[side.new[:, picked].all(axis=1)].sum(axis=0)
        before = side.known[side.known[:, picked].all(axis=1)].sum(axis=0)
        every = np.arange(len(items))
        scores = side.score(count, before, np.stack([*(np.full_like(every, each) for each in picked), every]))
        scores[np.isin(columns, columns[picked])] = -np.inf
        for place in np.argsort(-scores, kind="stable")[:_WIDTH].tolist():
            if scores[place] > 0.0:
                found[tuple(sorted((*chosen, place)))] = float(scores[place])
    return sorted(((score, chosen) for chosen, score in found.items()), key=lambda each: -each[0])[:_WIDTH]
